//! Large messages at the responder: CHUNK_SEND brings requests, CHUNK_GET fetches responses (DSP0274 1.2 §10).
//!
//! ```text
//!   CHUNK_SEND ⟲ acknowledged ── last ─► the whole request is answered as if it had come at once; the answer goes in the
//!                                        last acknowledgement
//!   an answer larger than the requester takes: ERROR LargeResponse, handle ─► CHUNK_GET ⟲ CHUNK_RESPONSE ── last ─► done
//! ```
//! One large message is under way at a time. Any other request ends that, and is answered as if there had been none: nothing
//! waits for a requester that has given up. Transcripts have the whole messages, and nothing of how they came.

use super::{After, Asked, At, Extended, INVALID, Refusal, Reply, Responder, UNEXPECTED};
use crate::crypto::Wiped;
use crate::spdm::{
    chunk::{Assembler, ChunkError, Progress, Splitter, is_chunkable},
    msg::{
        Code, Header, Payload, Version,
        chunk::{self as msg, Chunk},
        error::ErrorCode,
    },
};
use alloc::vec::Vec;

/// What is under way in chunks.
#[derive(Default)]
pub(super) struct Chunks {
    /// The request that is coming, and where.
    receiving: Option<(At, Assembler)>,
    /// The response that is to be fetched.
    sending: Option<Sending>,
    /// The answer that is being made goes into this acknowledgement.
    ack: Option<Ack>,
    /// Of the last large response.
    handle: u8,
}

struct Sending {
    at: At,
    splitter: Splitter,
    /// What follows once all of it has gone out.
    after: Option<After>,
}

/// An acknowledgement that waits for what it acknowledges with.
#[derive(Clone, Copy)]
struct Ack {
    version: Version,
    handle: u8,
    sequence: u32,
    /// The answer is an error that did not wait for the last chunk.
    early: bool,
}

impl Chunks {
    /// A request came that goes on with nothing: what was under way is dropped.
    pub(super) fn interrupted_by(&mut self, code: Code) {
        if code != Code::CHUNK_SEND {
            self.receiving = None;
        }
        if code != Code::CHUNK_GET {
            self.sending = None;
        }
    }

    /// Whether there is a response to be fetched there.
    pub(super) fn waits_at(&self, at: At) -> bool {
        self.sending.as_ref().is_some_and(|sending| sending.at == at)
    }

    /// No answer is being made any more.
    pub(super) fn forget_ack(&mut self) {
        self.ack = None;
    }
}

impl Responder {
    /// A part of a large request.
    pub(super) fn chunk_send(&mut self, asked: Asked<'_>) -> Reply {
        let header = Header::peek(asked.message)?;
        let (message, _) = match self.read::<msg::Send<'_>>(asked) {
            Ok(read) => read,
            Err(refusal) => {
                self.chunks.receiving = None;
                // What says not even which chunk it is gets an error of its own.
                let (handle, sequence) = msg::peek(asked.message).ok_or(refusal)?;
                self.acknowledge(header.version, handle, sequence, true);
                return Err(refusal);
            }
        };
        let chunk = message.chunk;
        match self.assemble(asked.at, &chunk) {
            Err(error) => {
                self.acknowledge(header.version, chunk.handle, chunk.sequence, true);
                Err(error.into())
            }
            Ok(Progress::More(assembler)) => {
                self.chunks.receiving = Some((asked.at, assembler));
                Ok(Some(acknowledgement(header.version, &chunk)))
            }
            Ok(Progress::Whole(request)) => {
                self.acknowledge(header.version, chunk.handle, chunk.sequence, false);
                let inner = Header::peek(&request)?;
                if !is_chunkable(inner.code) {
                    return Err(INVALID);
                }
                self.answer(Asked {
                    message: &request,
                    measured: true,
                    ..asked
                })
            }
        }
    }

    fn assemble(&mut self, at: At, chunk: &Chunk<'_>) -> Result<Progress, ChunkError> {
        match self.chunks.receiving.take() {
            Some((from, assembler)) if from == at => assembler.join(chunk),
            _ => Assembler::begin(chunk, self.message_max()).map(Progress::More),
        }
    }

    fn acknowledge(&mut self, version: Version, handle: u8, sequence: u32, early: bool) {
        self.chunks.ack = Some(Ack {
            version,
            handle,
            sequence,
            early,
        });
    }

    /// A part of a large response. A wrong number or handle changes nothing.
    pub(super) fn chunk_get(&mut self, asked: Asked<'_>) -> Reply {
        let (message, _) = self.read::<msg::Get>(asked)?;
        let Some(sending) = self.chunks.sending.as_mut() else {
            return Err(UNEXPECTED);
        };
        let wanted = (sending.at, sending.splitter.handle(), sending.splitter.sequence());
        if wanted != (asked.at, message.handle, message.sequence) {
            return Err(INVALID);
        }
        let chunk = sending.splitter.next_chunk().ok_or(UNEXPECTED)?;
        let version = message.version;
        let response = msg::Response { version, chunk }.to_vec();
        if sending.splitter.is_done() {
            self.after = self.chunks.sending.take().and_then(|sent| sent.after);
        }
        Ok(Some(response))
    }

    /// What goes out for an answer: itself, in the acknowledgement of its request's last chunk if it came in chunks, or else,
    /// where it is larger than the requester takes at once, that it is to be fetched.
    pub(super) fn in_pieces(&mut self, at: At, answer: Vec<u8>) -> Vec<u8> {
        let ack = self.chunks.ack.take();
        let overhead = ack.map_or(0, |ack| wrapped(ack, &[]).len());
        let reach = self.phase.reach();
        let fits = reach.is_none_or(|reach| answer.len() + overhead <= reach.room(at != At::Clear));
        let answer = match fits {
            true => answer,
            false => {
                let refusal = self.hold_large(at, answer);
                self.error_message(refusal)
            }
        };
        match ack {
            Some(ack) => wrapped(ack, &answer),
            None => answer,
        }
    }

    /// Keeps a large response for CHUNK_GET; the error that says so, or that it cannot be had.
    fn hold_large(&mut self, at: At, answer: Vec<u8>) -> Refusal {
        let too_large = Refusal::response_too_large(answer.len());
        let in_session = at != At::Clear;
        let reach = self.phase.reach();
        let Some(reach) = reach.filter(|reach| reach.chunks && answer.len() <= reach.most(in_session)) else {
            return too_large;
        };
        let handle = self.chunks.handle.wrapping_add(1);
        let answer = Wiped::new(answer);
        let Some(splitter) = Splitter::new(reach.version, handle, answer, reach.room(in_session)) else {
            return too_large;
        };
        self.chunks.handle = handle;
        self.chunks.sending = Some(Sending {
            at,
            splitter,
            after: self.after.take(),
        });
        Refusal {
            extended: Extended::Handle(handle),
            ..Refusal::new(ErrorCode::LARGE_RESPONSE)
        }
    }
}

fn acknowledgement(version: Version, chunk: &Chunk<'_>) -> Vec<u8> {
    let ack = Ack {
        version,
        handle: chunk.handle,
        sequence: chunk.sequence,
        early: false,
    };
    wrapped(ack, &[])
}

fn wrapped(ack: Ack, response: &[u8]) -> Vec<u8> {
    let message = msg::SendAck {
        version: ack.version,
        early_error: ack.early,
        handle: ack.handle,
        sequence: ack.sequence,
        response,
    };
    message.to_vec()
}

impl From<ChunkError> for Refusal {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::TooLarge { .. } => Self::new(ErrorCode::REQUEST_TOO_LARGE),
            _ => INVALID,
        }
    }
}
