//! Frames on a byte stream: `u32 length ‖ that many bytes`, decoded piece by piece in bounded memory.

use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;
use core::marker::PhantomData;

/// Why a byte stream is given up. The stream cannot be read on after it: there is no way to find the next frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame says that it is longer than its protocol allows, or empty.
    #[error("the peer announces a frame of {found} bytes; wanted 1 to {max}")]
    Length {
        /// Bytes announced.
        found: u32,
        /// The protocol's limit.
        max: usize,
    },
    /// More bytes were pushed than two frames can have, without any frame being taken out.
    #[error("the peer sent {found} bytes ahead; wanted at most {max}")]
    Flood {
        /// Bytes held and pushed.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A frame's content is malformed.
    #[error("a frame is malformed: {0}")]
    Malformed(#[from] DecodeError),
}

/// One side's messages of a protocol. Sealed: only this crate's protocols have them.
pub trait Message: Sealed {
    /// What a frame holds: the message, and its id in a protocol that has ids.
    type Frame;

    /// Bytes of the longest frame, its length field not counted.
    #[doc(hidden)]
    const FRAME_SIZE_MAX: usize;

    /// Reads a frame's content.
    #[doc(hidden)]
    fn decode(r: &mut Reader<'_>) -> Result<Self::Frame, DecodeError>;
}

/// Outside this crate it cannot be named.
pub trait Sealed {}

/// Turns the peer's bytes, as they come, into its messages. Holds two frames at most; after an error it answers
/// that error for ever, since the start of the next frame is not known.
#[derive(Debug)]
pub struct Decoder<M> {
    frames: Frames,
    messages: PhantomData<M>,
}

impl<M: Message> Default for Decoder<M> {
    fn default() -> Self {
        Self {
            frames: Frames::new(M::FRAME_SIZE_MAX),
            messages: PhantomData,
        }
    }
}

impl<M: Message> Decoder<M> {
    /// Takes bytes; then call [`next`](Self::next) until it answers `None`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// The next message, with its id where there are ids, if a whole frame is there.
    #[allow(clippy::should_implement_trait)] // not an iterator: more may come after `None`
    pub fn next(&mut self) -> Result<Option<M::Frame>, FrameError> {
        let Some(frame) = self.frames.pop()? else {
            return Ok(None);
        };
        let decoded = Reader::all(&frame, M::decode);
        decoded.map(Some).map_err(|error| self.frames.fail(error.into()))
    }
}

/// Takes bytes as they come and gives whole frames, without their length.
#[derive(Debug)]
struct Frames {
    held: Vec<u8>,
    frame_size_max: usize,
    broken: Option<FrameError>,
}

const LENGTH_SIZE: usize = 4;

impl Frames {
    fn new(frame_size_max: usize) -> Self {
        Self {
            held: Vec::new(),
            frame_size_max,
            broken: None,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let max = 2 * (LENGTH_SIZE + self.frame_size_max);
        let found = self.held.len() + bytes.len();
        if self.broken.is_none() && found > max {
            self.fail(FrameError::Flood { found, max });
        }
        if self.broken.is_none() {
            self.held.extend_from_slice(bytes);
        }
    }

    /// The next whole frame, if one is there. An error stays.
    fn pop(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let Ok(found) = Reader::new(&self.held).u32("frame length") else {
            return Ok(None);
        };
        let size = usize::try_from(found).unwrap_or(usize::MAX);
        if size == 0 || size > self.frame_size_max {
            let max = self.frame_size_max;
            return Err(self.fail(FrameError::Length { found, max }));
        }
        if self.held.len() < LENGTH_SIZE + size {
            return Ok(None);
        }
        let frame = self.held[LENGTH_SIZE..LENGTH_SIZE + size].to_vec();
        self.held.drain(..LENGTH_SIZE + size);
        Ok(Some(frame))
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.held = Vec::new();
        self.broken.insert(error).clone()
    }
}

/// Appends one frame whose content `content` writes.
pub(super) fn encode(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    content(&mut body);
    out.u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.bytes(&body);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// All that `bytes` hold.
    pub(in crate::relay) fn decode<M: Message>(bytes: &[u8]) -> Result<Vec<M::Frame>, FrameError> {
        let mut decoder = Decoder::<M>::default();
        let mut messages = Vec::new();
        decoder.push(bytes);
        while let Some(message) = decoder.next()? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_come_in() {
        let mut stream = Vec::new();
        encode(&mut stream, |out| out.bytes(b"first"));
        encode(&mut stream, |out| out.bytes(b"2"));
        for step in 1..stream.len() {
            let mut decoder = Frames::new(16);
            let mut frames = Vec::new();
            for piece in stream.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.pop().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [b"first".to_vec(), b"2".to_vec()], "in pieces of {step}");
        }
    }

    #[test]
    fn a_frame_longer_than_allowed_breaks_the_stream_before_it_is_kept() {
        let mut decoder = Frames::new(16);
        decoder.push(&17u32.to_le_bytes());
        let error = FrameError::Length { found: 17, max: 16 };
        assert_eq!(decoder.pop(), Err(error.clone()));
        decoder.push(&[1, 0, 0, 0, 9]);
        assert_eq!(decoder.pop(), Err(error), "a broken stream stays broken");
    }

    #[test]
    fn an_empty_frame_is_refused() {
        let mut decoder = Frames::new(16);
        decoder.push(&[0; 4]);
        assert!(matches!(decoder.pop(), Err(FrameError::Length { found: 0, .. })));
    }

    #[test]
    fn a_peer_that_runs_far_ahead_is_cut_off() {
        let mut decoder = Frames::new(16);
        decoder.push(&[1; 41]);
        assert!(matches!(
            decoder.pop(),
            Err(FrameError::Flood { found: 41, max: 40 })
        ));
    }
}
