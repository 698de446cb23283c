//! Guest ↔ host: what the guest asks of the party that carries its bytes.
//!
//! ```text
//!   guest                                    host
//!     │ Hello{version} ─────────────────────► │
//!     │ ◄───────────────────── Hello{version} │
//!     │ Bind{guest, flags} ─────────────────► │  the host asks the TSM to lock the TDI
//!     │ ◄───────────────────────── Bound{tdi} │
//!     │ Object{tdi, kind, offset} ──────────► │  as often as it takes: Assembly puts the chunks together
//!     │ ◄────── Chunk{kind, total, offset, …} │
//!     │ Guest{sealed} ──────────────────────► │  passed to the TSM unread
//!     │ ◄────────────────────── Guest{sealed} │
//! ```
//!
//! * A frame is `u32 length ‖ u8 kind ‖ u32 id ‖ body`; length counts what follows it, at most
//!   [`FRAME_SIZE_MAX`].
//! * The guest speaks first; every request gets exactly one response, with the request's id.
//! * Whatever cannot be done is answered [`Response::Refused`].
//!
//! Nothing here is believed by the guest: a wrong TDI id, a forged chunk or a false refusal costs service, never
//! trust.

use super::{ObjectKind, Rid, TdiId, frame, text};
use crate::{
    open_enum,
    wire::{DecodeError, Reader, Write},
};
use alloc::{string::String, vec::Vec};

pub use super::frame::{Decoder, Message};

/// The version of this protocol.
pub const VERSION: u16 = 1;

/// Bytes of the longest frame, its length field not counted.
pub const FRAME_SIZE_MAX: usize = 64 * 1024;

/// Bytes of the longest [`Response::Chunk`]'s content.
pub const CHUNK_SIZE_MAX: usize = 32 * 1024;

/// Bytes of the largest object. A certificate chain, the largest of them, is at most 64 KiB in SPDM 1.2.
pub const OBJECT_SIZE_MAX: u32 = 1024 * 1024;

/// Bytes of the longest sealed message.
pub const SEALED_SIZE_MAX: usize = 4096;

/// What the guest asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The first request on a stream.
    Hello {
        /// The guest's [`VERSION`].
        version: u16,
    },
    /// Lock the TDI behind a function.
    Bind {
        /// The function's address in the guest.
        guest: Rid,
        /// TDISP lock flags.
        flags: u16,
    },
    /// Stop the TDI behind a function and forget it.
    Unbind {
        /// The function's address in the guest.
        guest: Rid,
    },
    /// A piece of an evidence object.
    Object {
        /// The TDI as [`Response::Bound`] named it.
        tdi: TdiId,
        /// Which object.
        kind: ObjectKind,
        /// Where the piece begins, in bytes.
        offset: u32,
    },
    /// A message for the TSM.
    Guest {
        /// A [`sealed`](super::sealed) message.
        sealed: Vec<u8>,
    },
}

/// What the host answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// The answer to [`Request::Hello`].
    Hello {
        /// The host's [`VERSION`].
        version: u16,
    },
    /// The TDI is locked.
    Bound {
        /// Its name from now on.
        tdi: TdiId,
    },
    /// The TDI is stopped.
    Unbound,
    /// A piece of an object.
    Chunk(Chunk),
    /// The TSM's answer.
    Guest {
        /// A [`sealed`](super::sealed) message.
        sealed: Vec<u8>,
    },
    /// The request was not done.
    Refused {
        /// Why, for machines.
        code: Code,
        /// Why, for people; at most [`TEXT_SIZE_MAX`](super::TEXT_SIZE_MAX) bytes.
        reason: String,
    },
}

/// A piece of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Which object.
    pub kind: ObjectKind,
    /// Bytes of the whole object.
    pub total: u32,
    /// Where the piece begins, in bytes.
    pub offset: u32,
    /// The piece, at most [`CHUNK_SIZE_MAX`].
    pub bytes: Vec<u8>,
}

open_enum! {
    /// Why the host refused.
    pub struct Code(u16) {
        /// The request is malformed or out of place.
        BAD_REQUEST = 1,
        /// No function or TDI of that name is this VM's.
        UNKNOWN = 2,
        /// The function is bound already.
        BUSY = 3,
        /// The host has no such object (yet).
        ABSENT = 4,
        /// The TSM refused or failed.
        TSM = 5,
        /// The device refused or failed.
        DEVICE = 6,
        /// The TSM could not use the sealed message: open the channel anew.
        CHANNEL = 7,
    }
}

impl Request {
    /// Appends the request as one frame.
    pub fn encode(&self, id: u32, out: &mut Vec<u8>) {
        frame::encode(out, |out| {
            let kind = match self {
                Self::Hello { .. } => kind::HELLO,
                Self::Bind { .. } => kind::BIND,
                Self::Unbind { .. } => kind::UNBIND,
                Self::Object { .. } => kind::OBJECT,
                Self::Guest { .. } => kind::GUEST,
            };
            out.u8(kind);
            out.u32(id);
            match self {
                Self::Hello { version } => out.u16(*version),
                Self::Bind { guest, flags } => {
                    guest.encode(out);
                    out.u16(*flags);
                }
                Self::Unbind { guest } => guest.encode(out),
                Self::Object { tdi, kind, offset } => {
                    tdi.encode(out);
                    out.u8(kind.0);
                    out.u32(*offset);
                }
                Self::Guest { sealed } => out.bytes(sealed),
            }
        });
    }
}

impl frame::Sealed for Request {}

impl Message for Request {
    /// The id of the request, and the message.
    type Frame = (u32, Self);

    const FRAME_SIZE_MAX: usize = FRAME_SIZE_MAX;

    fn decode(r: &mut Reader<'_>) -> Result<Self::Frame, DecodeError> {
        let (kind, id) = (r.u8("frame kind")?, r.u32("request id")?);
        let message = match kind {
            kind::HELLO => Self::Hello {
                version: r.u16("version")?,
            },
            kind::BIND => Self::Bind {
                guest: Rid::decode(r)?,
                flags: r.u16("lock flags")?,
            },
            kind::UNBIND => Self::Unbind {
                guest: Rid::decode(r)?,
            },
            kind::OBJECT => Self::Object {
                tdi: TdiId::decode(r)?,
                kind: ObjectKind::decode(r)?,
                offset: r.u32("offset")?,
            },
            kind::GUEST => Self::Guest { sealed: sealed(r)? },
            _ => return Err(unknown_kind(kind, "a courier request")),
        };
        Ok((id, message))
    }
}

impl Response {
    /// Appends the response to request `id` as one frame.
    pub fn encode(&self, id: u32, out: &mut Vec<u8>) {
        frame::encode(out, |out| {
            let kind = match self {
                Self::Hello { .. } => kind::HELLO,
                Self::Bound { .. } => kind::BIND,
                Self::Unbound => kind::UNBIND,
                Self::Chunk(_) => kind::OBJECT,
                Self::Guest { .. } => kind::GUEST,
                Self::Refused { .. } => kind::REFUSED,
            };
            out.u8(kind | kind::RESPONSE);
            out.u32(id);
            match self {
                Self::Hello { version } => out.u16(*version),
                Self::Bound { tdi } => tdi.encode(out),
                Self::Unbound => {}
                Self::Chunk(chunk) => chunk.encode(out),
                Self::Guest { sealed } => out.bytes(sealed),
                Self::Refused { code, reason } => {
                    out.u16(code.0);
                    text::encode(reason, out);
                }
            }
        });
    }
}

impl frame::Sealed for Response {}

impl Message for Response {
    /// The id of the request, and the message.
    type Frame = (u32, Self);

    const FRAME_SIZE_MAX: usize = FRAME_SIZE_MAX;

    fn decode(r: &mut Reader<'_>) -> Result<Self::Frame, DecodeError> {
        let (kind, id) = (r.u8("frame kind")?, r.u32("request id")?);
        let message = match kind.wrapping_sub(kind::RESPONSE) {
            kind::HELLO => Self::Hello {
                version: r.u16("version")?,
            },
            kind::BIND => Self::Bound {
                tdi: TdiId::decode(r)?,
            },
            kind::UNBIND => Self::Unbound,
            kind::OBJECT => Self::Chunk(Chunk::decode(r)?),
            kind::GUEST => Self::Guest { sealed: sealed(r)? },
            kind::REFUSED => Self::Refused {
                code: Code(r.u16("code")?),
                reason: text::decode(r)?,
            },
            _ => return Err(unknown_kind(kind, "a courier response")),
        };
        Ok((id, message))
    }
}

impl Chunk {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(self.kind.0);
        out.u32(self.total);
        out.u32(self.offset);
        out.bytes(&self.bytes);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = ObjectKind::decode(r)?;
        let (total, offset) = (r.u32("object size")?, r.u32("offset")?);
        let bytes = bounded(r, CHUNK_SIZE_MAX, "chunk size", "at most 32 KiB")?;
        Ok(Self {
            kind,
            total,
            offset,
            bytes,
        })
    }
}

/// Puts an object together from chunks asked one after the other. Bounded by [`OBJECT_SIZE_MAX`], whatever
/// the host sends.
#[derive(Debug)]
pub struct Assembly {
    kind: ObjectKind,
    total: Option<u32>,
    bytes: Vec<u8>,
}

/// Why chunks do not make an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// The chunk is of another object.
    #[error("the host sent a piece of {found}, wanted one of {wanted}")]
    Kind {
        /// Kind of the chunk.
        found: ObjectKind,
        /// Kind asked for.
        wanted: ObjectKind,
    },
    /// The chunk is not the one asked for: repeated, skipped or reordered.
    #[error("the host sent the piece at byte {found}, wanted the one at byte {wanted}")]
    Offset {
        /// Where the chunk begins.
        found: u32,
        /// Where the one asked for begins.
        wanted: u32,
    },
    /// The size is zero, over the limit, or not what an earlier chunk said.
    #[error("the host says that the object has {found} bytes, wanted {wanted}")]
    Total {
        /// Size in this chunk.
        found: u32,
        /// What would have been right.
        wanted: String,
    },
    /// The chunk is empty, or reaches beyond the object's end.
    #[error("the host sent a piece of {found} bytes, wanted 1 to {max}")]
    Size {
        /// Bytes in the chunk.
        found: usize,
        /// Bytes that the object still lacks.
        max: usize,
    },
}

impl Assembly {
    /// Nothing of the object is there yet.
    pub fn new(kind: ObjectKind) -> Self {
        Self {
            kind,
            total: None,
            bytes: Vec::new(),
        }
    }

    /// The offset to ask for next.
    pub fn offset(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    /// Adds the chunk that [`offset`](Self::offset) asked for; answers the object when that was the last one.
    pub fn add(&mut self, chunk: &Chunk) -> Result<Option<Vec<u8>>, AssemblyError> {
        let (found, wanted) = (chunk.kind, self.kind);
        if found != wanted {
            return Err(AssemblyError::Kind { found, wanted });
        }
        let (found, wanted) = (chunk.offset, self.offset());
        if found != wanted {
            return Err(AssemblyError::Offset { found, wanted });
        }
        let total = self.total(chunk.total)?;
        let (found, max) = (chunk.bytes.len(), (total - self.offset()) as usize);
        if found == 0 || found > max {
            return Err(AssemblyError::Size { found, max });
        }
        self.bytes.extend_from_slice(&chunk.bytes);
        Ok((found == max).then(|| core::mem::take(&mut self.bytes)))
    }

    fn total(&mut self, found: u32) -> Result<u32, AssemblyError> {
        let wanted = match self.total {
            Some(first) if first == found => return Ok(found),
            Some(first) => alloc::format!("{first} as it said before"),
            None if (1..=OBJECT_SIZE_MAX).contains(&found) => return Ok(*self.total.insert(found)),
            None => alloc::format!("1 to {OBJECT_SIZE_MAX}"),
        };
        Err(AssemblyError::Total { found, wanted })
    }
}

fn sealed(r: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    bounded(r, SEALED_SIZE_MAX, "sealed message size", "at most 4096 bytes")
}

fn bounded(
    r: &mut Reader<'_>,
    max: usize,
    what: &'static str,
    wanted: &'static str,
) -> Result<Vec<u8>, DecodeError> {
    let found = r.remaining();
    if found > max {
        return Err(DecodeError::Invalid {
            what,
            found: found as u64,
            wanted,
        });
    }
    Ok(r.rest().to_vec())
}

fn unknown_kind(kind: u8, wanted: &'static str) -> DecodeError {
    DecodeError::Invalid {
        what: "frame kind",
        found: kind.into(),
        wanted,
    }
}

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const BIND: u8 = 2;
    pub(super) const UNBIND: u8 = 3;
    pub(super) const OBJECT: u8 = 4;
    pub(super) const GUEST: u8 = 5;
    pub(super) const REFUSED: u8 = 0x7f;
    pub(super) const RESPONSE: u8 = 0x80;
}

#[cfg(test)]
mod tests;
