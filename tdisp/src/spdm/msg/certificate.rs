//! GET_CERTIFICATE and CERTIFICATE (DSP0274 §10), and the certificate chain object that their portions make up.

use super::{Code, Context, Header, Payload, Version, field};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Bit 7 of param1, 1.4: offsets and lengths are the 32-bit ones.
const LARGE: u8 = 0x80;
/// Bit 0 of param2, 1.3: only the size of the slot is asked for.
const SIZE_ASKED: u8 = 0x01;

/// GET_CERTIFICATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The connection's version.
    pub version: Version,
    /// The slot, 0 to 7.
    pub slot: u8,
    /// Whether only the slot's size is asked for (1.3).
    pub size_asked: bool,
    /// The form with 32-bit fields (1.4).
    pub large: bool,
    /// First byte wanted.
    pub offset: u32,
    /// Bytes wanted at most; 0xffff (or, in the large form, 0xffff_ffff) for as many as there are.
    pub length: u32,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::GET_CERTIFICATE;

    fn read(header: Header, r: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        let (slot, large) = read_slot(header)?;
        let window = read_window(r, large, ["certificate offset", "certificate length"])?;
        Ok(Self {
            version: header.version,
            slot,
            size_asked: header.version >= Version::V1_3 && header.param2 & SIZE_ASKED != 0,
            large,
            offset: window[0],
            length: window[1],
        })
    }

    fn header(&self) -> Header {
        Header::new(
            self.version,
            Self::CODE,
            [
                self.slot | if self.large { LARGE } else { 0 },
                if self.size_asked { SIZE_ASKED } else { 0 },
            ],
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_window(out, self.large, [self.offset, self.length]);
    }
}

/// CERTIFICATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// The slot, 0 to 7.
    pub slot: u8,
    /// CertificateInfo: the certificate model in its low three bits (1.3; before it is reserved and 0).
    pub certificate_info: u8,
    /// The form with 32-bit fields (1.4).
    pub large: bool,
    /// Bytes of the chain object from the offset asked for. May be empty: whoever loops over portions must end then.
    pub portion: &'a [u8],
    /// Bytes of the chain object behind the portion.
    pub remainder: u32,
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::CERTIFICATE;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let (slot, large) = read_slot(header)?;
        let [portion, remainder] = read_window(
            r,
            large,
            ["certificate portion length", "certificate remainder length"],
        )?;
        Ok(Self {
            version: header.version,
            slot,
            certificate_info: if header.version >= Version::V1_3 {
                header.param2
            } else {
                0
            },
            large,
            portion: r.take(portion as usize, "certificate portion")?,
            remainder,
        })
    }

    fn header(&self) -> Header {
        Header::new(
            self.version,
            Self::CODE,
            [
                self.slot | if self.large { LARGE } else { 0 },
                self.certificate_info,
            ],
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        let most = if self.large { u32::MAX } else { u32::from(u16::MAX) };
        let portion = u32::try_from(self.portion.len()).unwrap_or(most).min(most);
        write_window(out, self.large, [portion, self.remainder]);
        out.bytes(&self.portion[..portion as usize]);
    }
}

/// The object that a slot holds (DSP0274 "Certificate chain format"): its length, the root certificate's hash, and the
/// certificates in DER from the root, or what it signed, to the leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Digest of the root certificate.
    pub root_hash: &'a [u8],
    /// The certificates, one DER structure behind the other; not empty.
    pub certificates: &'a [u8],
}

impl<'a> Chain<'a> {
    /// Reads a whole chain object. Its length field, 16 bits before 1.4 and 32 bits from then on, counts all of it.
    pub fn decode(object: &'a [u8], version: Version, hash_size: usize) -> Result<Self, DecodeError> {
        let mut r = Reader::new(object);
        let length = if version >= Version::V1_4 {
            r.u32("chain length")?
        } else {
            let length = r.u16("chain length")?;
            r.reserved(2)?;
            u32::from(length)
        };
        if length as usize != object.len() {
            return Err(DecodeError::Invalid {
                what: "chain length",
                found: u64::from(length),
                wanted: "as many bytes as came",
            });
        }
        let root_hash = r.take(hash_size, "root certificate hash")?;
        match r.rest() {
            [] => Err(DecodeError::Truncated {
                what: "certificates",
                need: 1,
                have: 0,
            }),
            certificates => Ok(Self {
                root_hash,
                certificates,
            }),
        }
    }

    /// Appends the object. Before 1.4 a chain of 64 KiB or more has no encoding; its length field then is wrong, and
    /// every receiver refuses it.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let length = 4 + self.root_hash.len() + self.certificates.len();
        if version >= Version::V1_4 {
            out.u32(u32::try_from(length).unwrap_or(u32::MAX));
        } else {
            out.u16(u16::try_from(length).unwrap_or(u16::MAX));
            out.zeros(2);
        }
        out.bytes(self.root_hash);
        out.bytes(self.certificates);
    }
}

/// The slot in param1's low four bits, and whether the message is in the large form.
fn read_slot(header: Header) -> Result<(u8, bool), DecodeError> {
    let large = header.version >= Version::V1_4 && header.param1 & LARGE != 0;
    Ok((field::slot(header.param1 & 0x0f)?, large))
}

/// Two u16, and in the large form two u32 that count instead.
fn read_window(r: &mut Reader<'_>, large: bool, what: [&'static str; 2]) -> Result<[u32; 2], DecodeError> {
    let small = [u32::from(r.u16(what[0])?), u32::from(r.u16(what[1])?)];
    if !large {
        return Ok(small);
    }
    Ok([r.u32(what[0])?, r.u32(what[1])?])
}

fn write_window(out: &mut Vec<u8>, large: bool, window: [u32; 2]) {
    if large {
        out.zeros(4);
        window.iter().for_each(|value| out.u32(*value));
    } else {
        let narrow = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        window.iter().for_each(|value| out.u16(narrow(*value)));
    }
}
