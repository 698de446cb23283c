//! Large messages in parts (DSP0274 1.2, "Large SPDM message transfer"): who sends one takes it apart, who receives one
//! puts it together. Both ends do both: requests go by CHUNK_SEND, responses are fetched by CHUNK_GET.
//!
//! ```text
//!   Splitter ── chunk 0: size of the whole ─► ── chunk 1 ─► … ── last chunk ─► Assembler ── the whole message
//!                                                                                 └─ anything else: ChunkError, and it is gone
//! ```
//! - A chunk goes on where the one before ended: the next number, the same handle, no more than is missing. The one that
//!   completes the message is the last, and says so; no other does.
//! - Memory is bounded: no more is kept than has come, and never more than the receiver's MaxSPDMmsgSize, which the first
//!   chunk's announcement is held to.
//! - Numbers do not wrap: a message that needs more of them than there are (16 bits before 1.4) is not taken apart at all.

use super::msg::{
    Code, Version,
    capabilities::DATA_TRANSFER_SIZE_MIN,
    chunk::{Chunk, OVERHEAD, OVERHEAD_FIRST},
};
use crate::crypto::Wiped;
use alloc::vec::Vec;

/// A message on its way out.
pub struct Splitter {
    message: Wiped,
    handle: u8,
    /// Of the next chunk.
    sequence: u32,
    /// Bytes that have been given out.
    given: usize,
    /// Bytes of a CHUNK_SEND or CHUNK_RESPONSE.
    room: usize,
}

impl Splitter {
    /// Takes a message that is to go in messages of at most `room` bytes, but not of less than the smallest
    /// DataTransferSize. `None` if chunks cannot be numbered, or there is nothing to take apart.
    pub fn new(version: Version, handle: u8, message: Wiped, room: usize) -> Option<Self> {
        let room = room.max(DATA_TRANSFER_SIZE_MIN as usize);
        let behind_first = message.len().checked_sub(room - OVERHEAD_FIRST)?;
        let chunks = 1 + behind_first.div_ceil(room - OVERHEAD);
        let fits =
            chunks as u64 <= u64::from(sequence_max(version)) + 1 && u32::try_from(message.len()).is_ok();
        (fits && behind_first > 0).then_some(Self {
            message,
            handle,
            sequence: 0,
            given: 0,
            room,
        })
    }

    /// Which large message it is.
    pub fn handle(&self) -> u8 {
        self.handle
    }

    /// The number of the chunk that [`Self::next_chunk`] gives.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Whether every chunk was given out.
    pub fn is_done(&self) -> bool {
        self.given == self.message.len()
    }

    /// The next chunk; `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Chunk<'_>> {
        if self.is_done() {
            return None;
        }
        let first = self.sequence == 0;
        let overhead = if first { OVERHEAD_FIRST } else { OVERHEAD };
        let end = self.message.len().min(self.given + self.room - overhead);
        let part = self.message.get(self.given..end)?;
        let chunk = Chunk {
            handle: self.handle,
            sequence: self.sequence,
            last: end == self.message.len(),
            large_size: first.then_some(self.message.len() as u32),
            part,
        };
        self.given = end;
        self.sequence = self.sequence.saturating_add(1);
        Some(chunk)
    }
}

impl core::fmt::Debug for Splitter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (given, size) = (self.given, self.message.len());
        write!(f, "Splitter({}: {given} of {size} bytes)", self.handle)
    }
}

/// A message on its way in, of which at least the first chunk has come and at least the last has not.
pub struct Assembler {
    message: Wiped,
    handle: u8,
    /// Of the next chunk.
    sequence: u32,
    /// Bytes of the whole message.
    size: usize,
}

/// What a chunk leads to.
#[derive(Debug)]
pub enum Progress {
    /// More have to come.
    More(Assembler),
    /// The whole message.
    Whole(Wiped),
}

impl Assembler {
    /// Begins with the first chunk of a message of at most `max` bytes.
    pub fn begin(chunk: &Chunk<'_>, max: usize) -> Result<Self, ChunkError> {
        expect("chunk sequence number", chunk.sequence.into(), 0)?;
        let size = chunk.large_size.unwrap_or_default() as usize;
        if size > max {
            return Err(ChunkError::TooLarge { size, max });
        }
        let least = DATA_TRANSFER_SIZE_MIN as usize;
        if size <= least {
            return Err(ChunkError::TooSmall {
                what: "large message",
                size,
                least: least + 1,
            });
        }
        // A message that fits a chunk fits a message of its own.
        expect("last chunk flag of the first chunk", chunk.last.into(), 0)?;
        check_part(chunk, least - OVERHEAD_FIRST)?;
        if chunk.part.len() >= size {
            return Err(ChunkError::Beyond {
                size: chunk.part.len(),
                missing: size - 1,
            });
        }
        // All of its room at once: a buffer that grows leaves what it held behind, unwiped.
        let mut message = Wiped::new(Vec::with_capacity(size));
        message.extend_from_slice(chunk.part);
        Ok(Self {
            message,
            handle: chunk.handle,
            sequence: 1,
            size,
        })
    }

    /// Goes on with another chunk. What has come so far goes with an error.
    pub fn join(mut self, chunk: &Chunk<'_>) -> Result<Progress, ChunkError> {
        expect("chunk handle", chunk.handle.into(), self.handle.into())?;
        expect(
            "chunk sequence number",
            chunk.sequence.into(),
            self.sequence.into(),
        )?;
        let missing = self.size - self.message.len();
        let size = chunk.part.len();
        if size > missing {
            return Err(ChunkError::Beyond { size, missing });
        }
        expect("last chunk flag", chunk.last.into(), (size == missing).into())?;
        if !chunk.last {
            check_part(chunk, DATA_TRANSFER_SIZE_MIN as usize - OVERHEAD)?;
        }
        self.message.extend_from_slice(chunk.part);
        if chunk.last {
            return Ok(Progress::Whole(self.message));
        }
        // Before 1.4 no chunk has the number behind the last one that 16 bits hold.
        self.sequence = self.sequence.saturating_add(1);
        Ok(Progress::More(self))
    }

    /// Which large message it is.
    pub fn handle(&self) -> u8 {
        self.handle
    }

    /// The number of the chunk that has to come.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }
}

impl core::fmt::Debug for Assembler {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let come = self.message.len();
        write!(f, "Assembler({}: {come} of {} bytes)", self.handle, self.size)
    }
}

/// Why chunks make up no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A field is not what the chunk before it demands.
    #[error("{what} is {found:#x}, wanted {wanted:#x}")]
    Field {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// What would have been right.
        wanted: u64,
    },
    /// A part goes beyond the end of the message.
    #[error("a chunk of {size} bytes came where at most {missing} are missing")]
    Beyond {
        /// Bytes of the chunk.
        size: usize,
        /// Bytes that it might have had.
        missing: usize,
    },
    /// The whole message is larger than this side takes.
    #[error("a message of {size} bytes is announced, at most {max} are taken")]
    TooLarge {
        /// Bytes announced.
        size: usize,
        /// The most that is taken (MaxSPDMmsgSize).
        max: usize,
    },
    /// There is no reason to send so little in a chunk.
    #[error("a {what} of {size} bytes is too small, wanted at least {least}")]
    TooSmall {
        /// The message or the chunk.
        what: &'static str,
        /// Its bytes.
        size: usize,
        /// The least that it may have.
        least: usize,
    },
}

/// Whether a request may come, and its response go, in chunks. GET_VERSION and GET_CAPABILITIES, before which sizes are not
/// known, and chunks themselves may not; nor may what carries other messages, which would be chunks within chunks.
pub fn is_chunkable(code: Code) -> bool {
    !matches!(
        code,
        Code::GET_VERSION
            | Code::GET_CAPABILITIES
            | Code::CHUNK_SEND
            | Code::CHUNK_GET
            | Code::RESPOND_IF_READY
    )
}

/// The largest chunk sequence number.
fn sequence_max(version: Version) -> u32 {
    match version >= Version::V1_4 {
        true => u32::MAX,
        false => u16::MAX.into(),
    }
}

fn check_part(chunk: &Chunk<'_>, least: usize) -> Result<(), ChunkError> {
    let size = chunk.part.len();
    if size >= least {
        return Ok(());
    }
    let what = "chunk";
    Err(ChunkError::TooSmall { what, size, least })
}

fn expect(what: &'static str, found: u64, wanted: u64) -> Result<(), ChunkError> {
    if found == wanted {
        return Ok(());
    }
    Err(ChunkError::Field { what, found, wanted })
}
