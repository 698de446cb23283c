//! Large messages in parts: CHUNK_SEND and CHUNK_SEND_ACK, CHUNK_GET and CHUNK_RESPONSE (DSP0274 1.2 §10).
//!
//! A chunk is never empty, so that whoever puts chunks together comes to an end. That sequence numbers follow one
//! another, the handle stays and the parts make up the whole is theirs to check.

use super::{Code, Context, Header, Payload, Version};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Bit 0 of param1: the last chunk.
const LAST: u8 = 1;
/// Bit 0 of param1 in CHUNK_SEND_ACK: an error was found before the last chunk.
const EARLY_ERROR: u8 = 1;

/// Bytes of CHUNK_SEND and CHUNK_RESPONSE in front of the part, but for the first chunk's.
pub const OVERHEAD: usize = 12;
/// As [`OVERHEAD`], in the first chunk, which says how large the message is.
pub const OVERHEAD_FIRST: usize = OVERHEAD + 4;

/// A part of a large message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Which large message.
    pub handle: u8,
    /// ChunkSeqNo: 0 for the first; 16 bits wide before 1.4.
    pub sequence: u32,
    /// Whether it is the last.
    pub last: bool,
    /// Bytes of the whole large message: in the first chunk, and nowhere else.
    pub large_size: Option<u32>,
    /// The part; not empty.
    pub part: &'a [u8],
}

impl<'a> Chunk<'a> {
    fn read(header: Header, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let sequence = read_sequence(r, header.version)?;
        if header.version < Version::V1_4 {
            r.reserved(2)?;
        }
        let size = r.u32("chunk size")?;
        let large_size = (sequence == 0).then(|| r.u32("large message size")).transpose()?;
        let invalid = |what, found: u32, wanted| DecodeError::Invalid {
            what,
            found: u64::from(found),
            wanted,
        };
        if size == 0 {
            return Err(invalid("chunk size", size, "at least 1"));
        }
        if let Some(large) = large_size.filter(|large| *large < size) {
            return Err(invalid("large message size", large, "at least the first chunk's"));
        }
        Ok(Self {
            handle: header.param2,
            sequence,
            last: header.param1 & LAST != 0,
            large_size,
            part: r.take(size as usize, "chunk")?,
        })
    }

    fn header(&self, version: Version, code: Code) -> Header {
        Header::new(version, code, [if self.last { LAST } else { 0 }, self.handle])
    }

    fn write(&self, version: Version, out: &mut Vec<u8>) {
        write_sequence(out, version, self.sequence);
        if version < Version::V1_4 {
            out.zeros(2);
        }
        out.u32(u32::try_from(self.part.len()).unwrap_or(u32::MAX));
        if self.sequence == 0 {
            out.u32(self.large_size.unwrap_or_default());
        }
        out.bytes(self.part);
    }
}

/// CHUNK_SEND.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Send<'a> {
    /// The connection's version.
    pub version: Version,
    /// A part of a large request.
    pub chunk: Chunk<'a>,
}

impl<'a> Payload<'a> for Send<'a> {
    const CODE: Code = Code::CHUNK_SEND;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            chunk: Chunk::read(header, r)?,
        })
    }

    fn header(&self) -> Header {
        self.chunk.header(self.version, Self::CODE)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.chunk.write(self.version, out);
    }
}

/// CHUNK_SEND_ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendAck<'a> {
    /// The connection's version.
    pub version: Version,
    /// Whether an error was found before the last chunk: `response` then is that error.
    pub early_error: bool,
    /// The request's.
    pub handle: u8,
    /// The request's.
    pub sequence: u32,
    /// After the last chunk, the response to the large request, to the end of what came; empty before.
    pub response: &'a [u8],
}

impl<'a> Payload<'a> for SendAck<'a> {
    const CODE: Code = Code::CHUNK_SEND_ACK;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let sequence = read_sequence(r, header.version)?;
        // Fewer bytes than a header's are not a response but a data object's padding.
        let response = if r.remaining() < 4 { &[] } else { r.rest() };
        Ok(Self {
            version: header.version,
            early_error: header.param1 & EARLY_ERROR != 0,
            handle: header.param2,
            sequence,
            response,
        })
    }

    fn header(&self) -> Header {
        Header::new(
            self.version,
            Self::CODE,
            [if self.early_error { EARLY_ERROR } else { 0 }, self.handle],
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_sequence(out, self.version, self.sequence);
        out.bytes(self.response);
    }
}

/// CHUNK_GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Get {
    /// The connection's version.
    pub version: Version,
    /// Which large response.
    pub handle: u8,
    /// Which chunk of it.
    pub sequence: u32,
}

impl Payload<'_> for Get {
    const CODE: Code = Code::CHUNK_GET;

    fn read(header: Header, r: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            handle: header.param2,
            sequence: read_sequence(r, header.version)?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, self.handle])
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_sequence(out, self.version, self.sequence);
    }
}

/// CHUNK_RESPONSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// A part of a large response.
    pub chunk: Chunk<'a>,
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::CHUNK_RESPONSE;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            chunk: Chunk::read(header, r)?,
        })
    }

    fn header(&self) -> Header {
        self.chunk.header(self.version, Self::CODE)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.chunk.write(self.version, out);
    }
}

/// Handle and sequence number of a CHUNK_SEND whatever else is wrong with it, if it has all the fields in front of its part.
pub fn peek(message: &[u8]) -> Option<(u8, u32)> {
    let mut r = Reader::new(message.get(..OVERHEAD)?);
    let header = Header::read(&mut r).ok()?;
    let sequence = read_sequence(&mut r, header.version).ok()?;
    Some((header.param2, sequence))
}

fn read_sequence(r: &mut Reader<'_>, version: Version) -> Result<u32, DecodeError> {
    match version >= Version::V1_4 {
        true => r.u32("chunk sequence number"),
        false => r.u16("chunk sequence number").map(u32::from),
    }
}

fn write_sequence(out: &mut Vec<u8>, version: Version, sequence: u32) {
    match version >= Version::V1_4 {
        true => out.u32(sequence),
        // Whoever counts further than 16 bits before 1.4 sends a number that the peer refuses.
        false => out.u16(u16::try_from(sequence).unwrap_or(u16::MAX)),
    }
}
