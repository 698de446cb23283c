//! VENDOR_DEFINED_REQUEST and VENDOR_DEFINED_RESPONSE (DSP0274 §10), and the PCI-SIG's envelope in them, which
//! IDE_KM and TDISP travel in (PCIe §6.31).

use super::{Code, Context, Header, Payload, Version, field};
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Bit 7 of param1, 1.4: the 32-bit length counts.
const LARGE: u8 = 0x80;

open_enum! {
    /// Whose registry a vendor ID is from (DSP0274 "Registry or standards body ID").
    pub struct Registry(u16) {
        /// The DMTF.
        DMTF = 0,
        /// The Trusted Computing Group.
        TCG = 1,
        /// USB-IF.
        USB = 2,
        /// The PCI-SIG.
        PCI_SIG = 3,
        /// IANA private enterprise numbers.
        IANA = 4,
    }
}

/// What both directions carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body<'a> {
    /// The connection's version.
    pub version: Version,
    /// Whose registry `vendor` is from.
    pub registry: Registry,
    /// The vendor's ID, at most 255 bytes; the PCI-SIG's are two, little-endian.
    pub vendor: &'a [u8],
    /// The form with a 32-bit length (1.4) carries here what stands in place of the 16-bit one: reserved, but peers
    /// have been seen to send noise in it, and a transcript has to have it.
    pub large: Option<u16>,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Body<'a> {
    /// A payload of the PCI-SIG's own: a protocol byte and an object. One that 16 bits cannot count is in the large form
    /// (1.4; before, it has no encoding).
    pub fn pci_sig(version: Version, payload: &'a [u8]) -> Self {
        let is_large = version >= Version::V1_4 && payload.len() > usize::from(u16::MAX);
        Self {
            version,
            registry: Registry::PCI_SIG,
            vendor: &PCI_SIG_VENDOR,
            large: is_large.then_some(0),
            payload,
        }
    }

    /// Bytes of the largest payload in a version.
    pub fn payload_max(version: Version) -> usize {
        match version >= Version::V1_4 {
            true => u32::MAX as usize,
            false => usize::from(u16::MAX),
        }
    }

    /// The PCI-SIG's envelope, if it is that.
    pub fn as_pci_sig(&self) -> Option<PciSig<'a>> {
        if self.registry != Registry::PCI_SIG || self.vendor != PCI_SIG_VENDOR {
            return None;
        }
        PciSig::decode(self.payload).ok()
    }

    fn read(header: Header, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let registry = Registry(r.u16("registry")?);
        let vendor_size = r.u8("vendor ID length")?;
        let vendor = r.take(usize::from(vendor_size), "vendor ID")?;
        let short = r.u16("vendor payload length")?;
        let large = header.version >= Version::V1_4 && header.param1 & LARGE != 0;
        let size = if large {
            r.u32("vendor payload length")?
        } else {
            u32::from(short)
        };
        Ok(Self {
            version: header.version,
            registry,
            vendor,
            large: large.then_some(short),
            payload: r.take(size as usize, "vendor payload")?,
        })
    }

    fn header(&self, code: Code) -> Header {
        Header::new(
            self.version,
            code,
            [if self.large.is_some() { LARGE } else { 0 }, 0],
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        let vendor = &self.vendor[..self.vendor.len().min(usize::from(u8::MAX))];
        out.u16(self.registry.0);
        out.u8(vendor.len() as u8);
        out.bytes(vendor);
        match self.large {
            None => field::write_counted(out, self.payload),
            Some(reserved) => {
                out.u16(reserved);
                out.u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
                out.bytes(self.payload);
            }
        }
    }
}

/// VENDOR_DEFINED_REQUEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a>(pub Body<'a>);

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::VENDOR_DEFINED_REQUEST;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        Body::read(header, r).map(Self)
    }

    fn header(&self) -> Header {
        self.0.header(Self::CODE)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
}

/// VENDOR_DEFINED_RESPONSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a>(pub Body<'a>);

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::VENDOR_DEFINED_RESPONSE;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        Body::read(header, r).map(Self)
    }

    fn header(&self) -> Header {
        self.0.header(Self::CODE)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
}

/// The PCI-SIG's own vendor ID.
pub const PCI_SIG_VENDOR: [u8; 2] = [0x01, 0x00];

open_enum! {
    /// Protocol IDs of the PCI-SIG (PCIe §6.31).
    pub struct Protocol(u8) {
        /// IDE key management, [`crate::ide_km`].
        IDE_KM = 0,
        /// TDISP, [`crate::tdi`].
        TDISP = 1,
    }
}

/// A payload of the PCI-SIG's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciSig<'a> {
    /// Whose object it is.
    pub protocol: Protocol,
    /// The object.
    pub object: &'a [u8],
}

impl<'a> PciSig<'a> {
    /// Reads a whole payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        Ok(Self {
            protocol: Protocol(r.u8("PCI-SIG protocol ID")?),
            object: r.rest(),
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.u8(self.protocol.0);
        out.bytes(self.object);
    }
}
