//! SET_KEY_PAIR_INFO and SET_KEY_PAIR_INFO_ACK (DSP0274 1.3 §10): changes, erases or makes a key pair of the responder's.

use super::key_pair_info::{Usage, read_mask, write_mask};
use super::{Code, Context, Header, Payload, Version, header::header_only};
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

open_enum! {
    /// What to do with a key pair.
    pub struct Operation(u8) {
        /// Change its parameters.
        CHANGE = 0,
        /// Erase it.
        ERASE = 1,
        /// Make a new one.
        GENERATE = 2,
    }
}

/// SET_KEY_PAIR_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// What to do; one that is not named is the machine's to refuse.
    pub operation: Operation,
    /// KeyPairID, from 1 on.
    pub key_pair: u8,
    /// What the pair shall be; absent, and not written, in [`Operation::ERASE`].
    pub desired: Option<Desired<'a>>,
}

/// What a key pair shall be. 0 leaves a field as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Desired<'a> {
    /// What it is used for.
    pub usage: Usage,
    /// Its algorithm: at most one bit of [`key_algorithm`](super::key_pair_info::key_algorithm).
    pub algorithm: u32,
    /// The slots that it goes with, one bit each.
    pub slots: u8,
    /// Its post-quantum algorithm (1.4; before it is empty): see [`mask`](super::key_pair_info::mask).
    pub pqc_algorithm: &'a [u8],
}

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::SET_KEY_PAIR_INFO;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let operation = Operation(header.param1);
        let key_pair = r.u8("key pair ID")?;
        let erase = operation == Operation::ERASE;
        Ok(Self {
            version: header.version,
            operation,
            key_pair,
            desired: (!erase).then(|| Desired::read(r, header.version)).transpose()?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.operation.0, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u8(self.key_pair);
        if self.operation != Operation::ERASE {
            self.desired.unwrap_or_default().write(self.version, out);
        }
    }
}

impl<'a> Desired<'a> {
    fn read(r: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        r.reserved(1)?;
        Ok(Self {
            usage: Usage(r.u16("desired key usage")?),
            algorithm: r.u32("desired key algorithm")?,
            slots: r.u8("desired slots")?,
            pqc_algorithm: read_mask(r, version >= Version::V1_4)?,
        })
    }

    fn write(&self, version: Version, out: &mut Vec<u8>) {
        out.zeros(1);
        out.u16(self.usage.0);
        out.u32(self.algorithm);
        out.u8(self.slots);
        write_mask(out, version >= Version::V1_4, self.pqc_algorithm);
    }
}

header_only! {
    /// SET_KEY_PAIR_INFO_ACK.
    pub struct Response = SET_KEY_PAIR_INFO_ACK;
}
