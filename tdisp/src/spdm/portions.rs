//! A certificate chain as it comes: in portions that GET_CERTIFICATE asks for one after the other (DSP0274 §10), whichever
//! side asks; and how small a portion of anything may be.

use super::{
    error::Misbehaviour,
    msg::{Version, capabilities::DATA_TRANSFER_SIZE_MIN, certificate},
};
use alloc::vec::Vec;

/// Bytes of the largest chain object that is taken, unless a configuration says otherwise: SPDM 1.4 would allow 4 GiB.
pub const CHAIN_SIZE_MAX: usize = 0x2_0000;

/// Bytes of a chain object whose length field, and whose remainders, have 16 bits.
const SHORT_CHAIN_MAX: usize = 0xffff;

/// Bytes of CERTIFICATE in front of the portion, and of its large form.
const HEADER_SIZE: u32 = 8;
const LARGE_HEADER_SIZE: u32 = 16;

/// Bytes of a portion behind which others follow, at least, unless fewer were asked for: what the smallest message of all, of
/// 42 bytes, has room for behind the headers of CERTIFICATE's large form in an encapsulated answer.
const PORTION_MIN: usize = DATA_TRANSFER_SIZE_MIN as usize - LARGE_HEADER_SIZE as usize - 4;

/// Whether a portion is not more than was asked for, and not so little that others without end would follow.
pub(super) fn check_size(portion: usize, asked: usize, remainder: usize) -> Result<(), Misbehaviour> {
    let least = match remainder {
        0 => 1,
        _ => PORTION_MIN.min(asked).max(1),
    };
    match (least..=asked).contains(&portion) {
        true => Ok(()),
        false => Err(Misbehaviour::Portion {
            portion,
            least,
            asked,
        }),
    }
}

/// What has come of a chain.
pub(super) struct Portions {
    slot: u8,
    bytes: Vec<u8>,
    /// The whole chain's size, once the first portion has come.
    size: Option<usize>,
    /// Bytes that the current portion may have at most.
    asked: u32,
    /// Whether the large form is used, for chains of 64 KiB and more (1.4).
    large: bool,
}

impl Portions {
    /// Nothing yet of the chain in a slot.
    pub(super) fn of(slot: u8, large: bool) -> Self {
        Self {
            slot,
            bytes: Vec::new(),
            size: None,
            asked: 0,
            large,
        }
    }

    pub(super) fn slot(&self) -> u8 {
        self.slot
    }

    /// The request for the next portion, whose answer has `room` bytes.
    pub(super) fn ask(&mut self, version: Version, room: u32) -> certificate::Request {
        let (header, most) = match self.large {
            true => (LARGE_HEADER_SIZE, u32::MAX),
            false => (HEADER_SIZE, SHORT_CHAIN_MAX as u32),
        };
        self.asked = room.saturating_sub(header).min(most);
        certificate::Request {
            version,
            slot: self.slot,
            size_asked: false,
            large: self.large,
            offset: self.bytes.len() as u32,
            length: self.asked,
        }
    }

    /// Takes the portion that was asked for, of a chain of at most `max` bytes. Whether the chain is whole now.
    pub(super) fn take(
        &mut self,
        message: &certificate::Response<'_>,
        max: usize,
    ) -> Result<bool, Misbehaviour> {
        let same = |what, found: u8, wanted: u8| match found == wanted {
            true => Ok(()),
            false => Err(inconsistent(what, found.into(), wanted.into())),
        };
        same("slot of CERTIFICATE", message.slot, self.slot)?;
        same(
            "large form of CERTIFICATE",
            message.large.into(),
            self.large.into(),
        )?;
        let size = self.check(message.portion.len(), message.remainder as usize, max)?;
        self.size = Some(size);
        self.bytes.extend_from_slice(message.portion);
        Ok(self.bytes.len() == size)
    }

    /// The chain, once it is whole.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A portion is of the [size](check_size) that one has, and adds up to the same whole as the first.
    fn check(&self, portion: usize, remainder: usize, max: usize) -> Result<usize, Misbehaviour> {
        check_size(portion, self.asked as usize, remainder)?;
        let max = match self.large {
            true => max,
            false => max.min(SHORT_CHAIN_MAX),
        };
        let what = "size of the certificate chain";
        let size = self.bytes.len().saturating_add(portion).saturating_add(remainder);
        if size > max {
            return Err(inconsistent(what, size, max));
        }
        match self.size {
            Some(before) if before != size => Err(inconsistent(what, size, before)),
            _ => Ok(size),
        }
    }
}

fn inconsistent(what: &'static str, found: usize, wanted: usize) -> Misbehaviour {
    Misbehaviour::Inconsistent {
        what,
        found: found as u64,
        wanted: wanted as u64,
    }
}
