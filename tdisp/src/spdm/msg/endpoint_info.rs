//! GET_ENDPOINT_INFO and ENDPOINT_INFO (DSP0274 1.3 §10): what an endpoint says of itself, perhaps signed.

use super::{Code, Context, Header, NONCE_SIZE, Payload, Version, field};
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Attribute bit 0: the response shall be signed.
const SIGNATURE: u8 = 0x01;

open_enum! {
    /// What is asked for.
    pub struct Subject(u8) {
        /// Which class of device it is: [`DeviceClasses`].
        DEVICE_CLASS = 1,
    }
}

/// What a signed response needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// Fresh random bytes.
    pub nonce: [u8; NONCE_SIZE],
    /// The slot whose key shall sign, 0 to 7, or 0xf for a provisioned public key.
    pub slot: u8,
}

/// GET_ENDPOINT_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The connection's version.
    pub version: Version,
    /// What is asked for; one that is not named is the machine's to refuse.
    pub subject: Subject,
    /// With it the response is signed.
    pub signed: Option<Signed>,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::GET_ENDPOINT_INFO;

    fn read(header: Header, r: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        let attributes = r.u8("endpoint info attributes")?;
        r.reserved(3)?;
        let signed = match attributes & SIGNATURE != 0 {
            true => Some(Signed {
                slot: field::signing_slot(header.param2)?,
                nonce: r.array("endpoint info nonce")?,
            }),
            false => None,
        };
        Ok(Self {
            version: header.version,
            subject: Subject(header.param1),
            signed,
        })
    }

    fn header(&self) -> Header {
        let slot = self.signed.map_or(0, |signed| signed.slot);
        Header::new(self.version, Self::CODE, [self.subject.0, slot])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u8(if self.signed.is_some() { SIGNATURE } else { 0 });
        out.zeros(3);
        if let Some(signed) = &self.signed {
            out.bytes(&signed.nonce);
        }
    }
}

/// ENDPOINT_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// The slot that signed; 0 without a signature.
    pub slot: u8,
    /// The responder's random bytes, with a signature.
    pub nonce: Option<[u8; NONCE_SIZE]>,
    /// What was asked for: for the device class, [`DeviceClasses`].
    pub info: &'a [u8],
    /// Over IL1, which ends where the signature starts; there if it was asked for.
    pub signature: Option<&'a [u8]>,
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::ENDPOINT_INFO;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        r.reserved(4)?;
        let signed = context.signature_asked;
        let nonce = signed.then(|| r.array("endpoint info nonce")).transpose()?;
        let size = r.u32("endpoint info length")?;
        Ok(Self {
            version: header.version,
            slot: if signed {
                field::signing_slot(header.param2)?
            } else {
                0
            },
            nonce,
            info: r.take(size as usize, "endpoint info")?,
            signature: field::read_if(r, signed, context.signature_size, "endpoint info signature")?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, self.slot])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.zeros(4);
        out.bytes(self.nonce.as_ref().map_or(&[], |nonce| &nonce[..]));
        out.u32(u32::try_from(self.info.len()).unwrap_or(u32::MAX));
        out.bytes(self.info);
        out.bytes(self.signature.unwrap_or_default());
    }
}

/// Which classes of device an endpoint is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceClasses<'a> {
    /// One identifier a class, at most 255.
    pub identifiers: Vec<DeviceClass<'a>>,
}

/// One identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceClass<'a> {
    /// Whose registry the vendor's ID is from: a [`Registry`](super::vendor::Registry) in one byte.
    pub registry: u8,
    /// The vendor's ID, at most 255 bytes.
    pub vendor: &'a [u8],
    /// Identifiers of the vendor's own, at most 255 of at most 255 bytes.
    pub subordinates: Vec<&'a [u8]>,
}

impl<'a> DeviceClasses<'a> {
    /// Reads all of an endpoint's information.
    pub fn decode(info: &'a [u8]) -> Result<Self, DecodeError> {
        Reader::all(info, |r| {
            let count = r.u8("device class identifier count")?;
            r.reserved(3)?;
            let identifiers = (0..count).map(|_| DeviceClass::read(r));
            Ok(Self {
                identifiers: identifiers.collect::<Result<_, _>>()?,
            })
        })
    }

    /// Appends the information.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.u8(u8::try_from(self.identifiers.len()).unwrap_or(u8::MAX));
        out.zeros(3);
        self.identifiers.iter().for_each(|class| class.write(out));
    }
}

impl<'a> DeviceClass<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let size = r.u8("device class identifier length")?;
        let element = r.take(usize::from(size), "device class identifier")?;
        Reader::all(element, |r| {
            let registry = r.u8("registry")?;
            let vendor = read_short(r, "vendor ID")?;
            let count = r.u8("subordinate identifier count")?;
            let subordinates = (0..count).map(|_| read_short(r, "subordinate identifier"));
            Ok(Self {
                registry,
                vendor,
                subordinates: subordinates.collect::<Result<_, _>>()?,
            })
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut element = Vec::from([self.registry]);
        write_short(&mut element, self.vendor);
        element.u8(u8::try_from(self.subordinates.len()).unwrap_or(u8::MAX));
        self.subordinates
            .iter()
            .for_each(|subordinate| write_short(&mut element, subordinate));
        write_short(out, &element);
    }
}

/// A u8 length and as many bytes.
fn read_short<'a>(r: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let size = r.u8(what)?;
    r.take(usize::from(size), what)
}

fn write_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(usize::from(u8::MAX))];
    out.u8(bytes.len() as u8);
    out.bytes(bytes);
}
