//! Fields that several messages have.

use super::Version;
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Bytes of opaque data that one message may carry (DSP0274, OpaqueDataLength).
pub const OPAQUE_MAX: usize = 1024;

/// Slots for certificate chains.
pub const SLOTS: u8 = 8;

/// Bytes of a nonce.
pub const NONCE_SIZE: usize = 32;

/// Instead of a slot: the peer's public key was provisioned.
pub const SLOT_PUBLIC_KEY: u8 = 0xff;

/// RequesterContext, which 1.3 added: the response repeats it.
pub type RequesterContext = [u8; 8];

open_enum! {
    /// Which measurements a summary hash is over (DSP0274 MeasurementSummaryHashType).
    pub struct Summary(u8) {
        /// No summary.
        NONE = 0,
        /// Those of the trusted computing base.
        TCB = 1,
        /// All.
        ALL = 0xff,
    }
}

impl Summary {
    /// Refuses a type that the specification does not have.
    pub(super) fn read(value: u8) -> Result<Self, DecodeError> {
        match Self(value) {
            known @ (Self::NONE | Self::TCB | Self::ALL) => Ok(known),
            Self(found) => Err(DecodeError::Invalid {
                what: "measurement summary hash type",
                found: u64::from(found),
                wanted: "0 (none), 1 (TCB) or 0xff (all)",
            }),
        }
    }
}

/// A slot number, 0 to 7.
pub(super) fn slot(value: u8) -> Result<u8, DecodeError> {
    if value < SLOTS {
        return Ok(value);
    }
    Err(DecodeError::Invalid {
        what: "slot",
        found: u64::from(value),
        wanted: "0 to 7",
    })
}

/// A slot number, or [`SLOT_PUBLIC_KEY`].
pub(super) fn slot_or_key(value: u8) -> Result<u8, DecodeError> {
    match value {
        SLOT_PUBLIC_KEY => Ok(value),
        _ => slot(value),
    }
}

/// The slot of a signature in a byte's low half: 0 to 7, or 0xf for a provisioned public key.
pub(super) fn signing_slot(value: u8) -> Result<u8, DecodeError> {
    match value & 0x0f {
        public_key @ 0x0f => Ok(public_key),
        other => slot(other),
    }
}

/// A u16 length and as many bytes of opaque data.
pub(super) fn read_opaque<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let length = opaque_length(r)?;
    r.take(length, "opaque data")
}

/// The u16 length of opaque data that comes later in the message.
pub(super) fn opaque_length(r: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let length = usize::from(r.u16("opaque data length")?);
    if length <= OPAQUE_MAX {
        return Ok(length);
    }
    Err(DecodeError::Invalid {
        what: "opaque data length",
        found: length as u64,
        wanted: "at most 1024",
    })
}

/// The u16 length of `bytes` and the bytes: the first 65535 of them, which is more than any message may carry.
pub(super) fn write_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.u16(length);
    out.bytes(&bytes[..usize::from(length)]);
}

/// As many of `bytes` as a u16 counts, which is more than any message may carry.
pub(super) fn fitting(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(usize::from(u16::MAX))]
}

/// The length of `bytes` in a u16 field.
pub(super) fn counted(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX)
}

/// The requester's context, from 1.3 on.
pub(super) fn read_context(
    r: &mut Reader<'_>,
    version: Version,
) -> Result<Option<RequesterContext>, DecodeError> {
    if version < Version::V1_3 {
        return Ok(None);
    }
    r.array("requester context").map(Some)
}

/// As [`read_context`] reads it: from 1.3 on it is always there, before never.
pub(super) fn write_context(out: &mut Vec<u8>, version: Version, context: Option<RequesterContext>) {
    if version >= Version::V1_3 {
        out.bytes(&context.unwrap_or_default());
    }
}

/// `size` bytes if `there`.
pub(super) fn read_if<'a>(
    r: &mut Reader<'a>,
    there: bool,
    size: usize,
    what: &'static str,
) -> Result<Option<&'a [u8]>, DecodeError> {
    there.then(|| r.take(size, what)).transpose()
}
