//! Large messages in parts (DSP0274 1.2 §10): whole again, they are messages like others.

use tdisp::spdm::msg::{self, Code};

use super::{At, Entry, Follow, Large, Part, Said};
use crate::spdm::{
    check::{Check, Kind},
    field::Fields,
    frame::Carrier,
};

impl Follow<'_> {
    /// Adds a chunk to a large message; whether it is whole then, or what is wrong.
    fn add_chunk(large: &mut Large, chunk: &Said) -> Result<bool, Check> {
        const LARGE_MAX: usize = 1 << 24;
        let fields = &chunk.message.fields;
        let number = fields.int("ChunkSeqNo").unwrap_or(0);
        if number != large.next {
            return Err(out_of_place(
                format!("chunk {number}"),
                format!("chunk {}", large.next),
            ));
        }
        large.next += 1;
        large
            .bytes
            .extend_from_slice(fields.string("SPDMchunk").unwrap_or_default());
        match large.bytes.len() > LARGE_MAX {
            true => Err(out_of_place(
                format!("{} bytes in chunks", large.bytes.len()),
                format!("at most {LARGE_MAX}"),
            )),
            false => Ok(chunk.message.param1() & 1 == 1),
        }
    }

    pub(super) fn chunk_sent(&mut self, at: At, request: Said, entry: &mut Entry) {
        let lane = self.lane(at);
        let first = request.message.fields.int("ChunkSeqNo") == Some(0);
        let mut large = lane.sending.take().filter(|_| !first).unwrap_or_default();
        large.handle = request.message.param2();
        let whole = Self::add_chunk(&mut large, &request);
        match whole {
            Ok(true) => {
                self.large(at, &large.bytes, entry);
                // The large request waits for its response, which the last acknowledgement carries.
                let lane = self.lane(at);
                large.request = lane.pending.take();
                lane.sending = Some(large);
            }
            Ok(false) => lane.sending = Some(large),
            Err(check) => entry.checks.push(check),
        }
        self.lane(at).pending = Some(request);
    }

    pub(super) fn chunk_acknowledged(&mut self, at: At, response: &Said, entry: &mut Entry) {
        let Some(inner) = response.part("ResponseToLargeRequest").map(<[u8]>::to_vec) else {
            return;
        };
        let lane = self.lane(at);
        let Some(large) = lane.sending.take() else { return };
        lane.pending = large.request;
        self.large(at, &inner, entry);
    }

    pub(super) fn chunk_got(&mut self, at: At, response: &Said, entry: &mut Entry) {
        let lane = self.lane(at);
        let Some(mut large) = lane.getting.take() else {
            return entry.checks.push(out_of_place(
                "a chunk of a response",
                "an ERROR before it that says that there is a large one",
            ));
        };
        match Self::add_chunk(&mut large, response) {
            Ok(true) => {
                lane.pending = large.request;
                self.large(at, &large.bytes, entry);
            }
            Ok(false) => lane.getting = Some(large),
            Err(check) => entry.checks.push(check),
        }
    }

    /// A message that came in another, or in several.
    fn large(&mut self, at: At, bytes: &[u8], entry: &mut Entry) {
        // Chunks of chunks have no meaning, and could be nested without end.
        let code = msg::Header::peek(bytes).map_or(Code(0), |header| header.code);
        if matches!(
            code,
            Code::CHUNK_SEND | Code::CHUNK_SEND_ACK | Code::CHUNK_GET | Code::CHUNK_RESPONSE
        ) {
            return entry
                .notes
                .push(format!("{code} in chunks; wanted another message"));
        }
        let (title, fields, direction) = (entry.title.clone(), entry.fields.clone(), entry.direction);
        self.message(at, bytes, entry.carrier == Carrier::Doe, entry);
        entry.parts.insert(
            0,
            Part {
                message: entry.title.clone(),
                title: format!("{} of {} bytes, put together", entry.title, bytes.len()),
                fields: std::mem::replace(&mut entry.fields, fields),
            },
        );
        entry.title = title;
        entry.direction = direction;
    }
}

fn out_of_place(found: impl Into<String>, wanted: impl Into<String>) -> Check {
    Check::disagrees(Kind::Message, "its place", found, wanted)
}
