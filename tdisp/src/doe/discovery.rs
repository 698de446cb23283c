//! DOE discovery (PCIe §6.30): which object types a mailbox takes, one index at a time.

use super::ObjectType;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Asks what is at an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// 0 at first, then what the last response named.
    pub index: u8,
    /// 0 for the first form of discovery; 2 where the mailbox's capability version asks for it.
    pub version: u8,
}

impl Request {
    /// Reads a whole object body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        Reader::all(body, |r| {
            let request = Self {
                index: r.u8("discovery index")?,
                version: r.u8("discovery version")?,
            };
            r.reserved(2)?;
            Ok(request)
        })
    }

    /// Appends the object body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.u8(self.index);
        out.u8(self.version);
        out.zeros(2);
    }
}

/// What is at the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Who names `kind`; 0xffff when the index was out of range.
    pub vendor: u16,
    /// An object type that the mailbox takes.
    pub kind: ObjectType,
    /// The next index to ask for; 0 after the last.
    pub next: u8,
}

impl Response {
    /// Reads a whole object body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        Reader::all(body, |r| {
            Ok(Self {
                vendor: r.u16("discovered vendor ID")?,
                kind: ObjectType(r.u8("discovered object type")?),
                next: r.u8("next discovery index")?,
            })
        })
    }

    /// Appends the object body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.u16(self.vendor);
        out.u8(self.kind.0);
        out.u8(self.next);
    }
}
