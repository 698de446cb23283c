//! SET_CERTIFICATE and SET_CERTIFICATE_RSP (DSP0274 1.2 §10): a certificate chain for a slot, or nothing for it (1.3).

use super::{Code, Context, Header, Payload, Version, field};
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Bits 3:0 of param1.
const SLOT: u8 = 0x0f;
/// Bits 6:4 of param1, 1.3.
const MODEL_SHIFT: u8 = 4;
/// Bit 7 of param1, 1.3.
const ERASE: u8 = 0x80;

open_enum! {
    /// What the certificates of a chain say whose they are (DSP0274 "CertModel"), in multi-key connections.
    pub struct Model(u8) {
        /// Not said.
        NONE = 0,
        /// Device certificate: the leaf is the hardware's own.
        DEVICE = 1,
        /// Alias certificate: the leaf is of the firmware, signed by the hardware's.
        ALIAS = 2,
        /// Generic certificate: any.
        GENERIC = 3,
    }
}

/// SET_CERTIFICATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// The slot, 0 to 7.
    pub slot: u8,
    /// SetCertModel (1.3; [`Model::NONE`] where the connection is not multi-key, and before).
    pub model: Model,
    /// KeyPairID (1.3; 0 where the connection is not multi-key, and before).
    pub key_pair: u8,
    /// The chain object, as [`Chain`](super::certificate::Chain) has it; `None` to erase the slot (1.3).
    pub chain: Option<&'a [u8]>,
}

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::SET_CERTIFICATE;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let v1_3 = header.version >= Version::V1_3;
        let erase = v1_3 && header.param1 & ERASE != 0;
        Ok(Self {
            version: header.version,
            slot: field::slot(header.param1 & SLOT)?,
            model: Model(if v1_3 {
                header.param1 >> MODEL_SHIFT & 0x07
            } else {
                0
            }),
            key_pair: if v1_3 { header.param2 } else { 0 },
            chain: (!erase).then(|| read_chain(r, header.version)).transpose()?,
        })
    }

    fn header(&self) -> Header {
        let slot = self.slot & SLOT;
        let params = match self.version >= Version::V1_3 {
            true => {
                let erase = if self.chain.is_none() { ERASE } else { 0 };
                [slot | (self.model.0 & 0x07) << MODEL_SHIFT | erase, self.key_pair]
            }
            false => [slot, 0],
        };
        Header::new(self.version, Self::CODE, params)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.bytes(self.chain.unwrap_or_default());
    }
}

/// The object begins with its length: a u32 from 1.4 on, before a u16 and two reserved bytes. It comes whole, with these.
fn read_chain<'a>(r: &mut Reader<'a>, version: Version) -> Result<&'a [u8], DecodeError> {
    let mut ahead = r.clone();
    let length = match version >= Version::V1_4 {
        true => ahead.u32("chain length")?,
        false => u32::from(ahead.u16("chain length")?),
    };
    if length < 4 {
        return Err(DecodeError::Invalid {
            what: "chain length",
            found: u64::from(length),
            wanted: "at least the 4 bytes that say it",
        });
    }
    r.take(length as usize, "certificate chain")
}

/// SET_CERTIFICATE_RSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The connection's version.
    pub version: Version,
    /// The request's.
    pub slot: u8,
}

impl Payload<'_> for Response {
    const CODE: Code = Code::SET_CERTIFICATE_RSP;

    fn read(header: Header, _: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            slot: field::slot(header.param1 & SLOT)?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.slot & SLOT, 0])
    }

    fn write(&self, _: &mut Vec<u8>) {}
}
