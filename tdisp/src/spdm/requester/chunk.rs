//! Large messages at the requester: requests that go in CHUNK_SEND, answers that are fetched with CHUNK_GET.
//!
//! ```text
//!   whole ── too large for the responder ─► sending ⟲ CHUNK_SEND_ACK ── the last one has the answer ─┐
//!     │ ERROR LargeResponse                    │ the answer is ERROR LargeResponse                    ├─► the answer
//!     └────────────────────────────────────────┴─► fetching ⟲ CHUNK_RESPONSE ── the last one ─────────┘
//! ```
//! One step of this is one message; what goes out and what comes in is put together here, and nobody else sees parts.

use super::step::Fault;
use crate::crypto::Wiped;
use crate::spdm::{
    chunk::{Assembler, Progress, Splitter, is_chunkable},
    connection::Reach,
    error::Misbehaviour,
    msg::{
        Code, Context, Header, Payload, Version, chunk as msg,
        error::{self as error_msg, ErrorCode},
    },
    transport::Transport,
};
use alloc::vec::Vec;

/// How a request goes and its answer comes.
#[derive(Debug, Default)]
pub(super) enum Carriage {
    /// In one message each.
    #[default]
    Whole,
    /// The request goes in chunks, the last of which has been sent or not.
    Sending(Splitter),
    /// The answer is fetched in chunks; none has come before there is an assembler.
    Fetching(u8, Option<Assembler>),
}

/// What a part of an answer leads to.
pub(super) enum Step {
    /// The next message to send.
    Send(Carriage, Wiped),
    /// The answer, whole.
    Answer(Wiped),
}

/// Who takes the parts.
pub(super) struct Receiver {
    pub(super) version: Version,
    pub(super) transport: Transport,
    /// Whether messages are in clear, and padded.
    pub(super) in_clear: bool,
    /// Bytes of the largest message that is put together.
    pub(super) max: usize,
}

impl Carriage {
    /// A request that is too large for one message, and its first chunk; nothing if it goes whole.
    pub(super) fn send(request: &Wiped, in_session: bool, reach: &Reach) -> Option<(Self, Wiped)> {
        let code = Code(request.get(1).copied()?);
        let room = reach.room(in_session);
        if request.len() <= room || request.len() > reach.most(in_session) || !is_chunkable(code) {
            return None;
        }
        let mut splitter = Splitter::new(reach.version, HANDLE, request.clone(), room)?;
        let first = next_chunk(reach.version, &mut splitter)?;
        Some((Self::Sending(splitter), first))
    }

    /// The message that is waited for, instead of the `answer`.
    pub(super) fn awaits(&self, answer: Code) -> Code {
        match self {
            Self::Whole => answer,
            Self::Sending(_) => Code::CHUNK_SEND_ACK,
            Self::Fetching(..) => Code::CHUNK_RESPONSE,
        }
    }

    /// The message that [`Self::awaits`] names came.
    pub(super) fn on_message(self, receiver: &Receiver, message: Wiped) -> Result<Step, Fault> {
        match self {
            Self::Whole => Ok(Step::Answer(message)),
            Self::Sending(splitter) => on_ack(splitter, receiver, &message),
            Self::Fetching(handle, assembler) => on_part(handle, assembler, receiver, &message),
        }
    }

    /// The responder has a large answer: its first chunk is asked for. An answer that is being fetched has none in it.
    pub(super) fn fetch(&self, error: &error_msg::Response<'_>, receiver: &Receiver) -> Option<Step> {
        let handle = error.large_response()?;
        match self {
            Self::Fetching(..) => None,
            _ => Some(get(receiver.version, handle, None)),
        }
    }
}

/// What was fetched in chunks is the answer, and none that is to be fetched: there would be no end to that.
pub(super) fn check_fetched(answer: &[u8]) -> Result<(), Fault> {
    let header = Header::peek(answer)?;
    let (code, data) = (ErrorCode(header.param1), header.param2);
    match (header.code, code) {
        (Code::ERROR, ErrorCode::LARGE_RESPONSE) => Err(Misbehaviour::Refused { code, data }.into()),
        _ => Ok(()),
    }
}

/// One request is under way at a time, so that one handle does.
const HANDLE: u8 = 0;

fn next_chunk(version: Version, splitter: &mut Splitter) -> Option<Wiped> {
    let chunk = splitter.next_chunk()?;
    Some(Wiped::new(msg::Send { version, chunk }.to_vec()))
}

fn get(version: Version, handle: u8, assembler: Option<Assembler>) -> Step {
    let sequence = assembler.as_ref().map_or(0, Assembler::sequence);
    let get = msg::Get {
        version,
        handle,
        sequence,
    };
    Step::Send(Carriage::Fetching(handle, assembler), Wiped::new(get.to_vec()))
}

/// An acknowledgement is of the chunk that was sent last. Before the last chunk it has nothing in it, unless it is an error.
fn on_ack(mut splitter: Splitter, receiver: &Receiver, message: &[u8]) -> Result<Step, Fault> {
    let context = Context::new(receiver.version);
    // What it has in it goes to the end, padding included.
    let (ack, _) = msg::SendAck::decode(message, &context)?;
    expect(
        "handle of CHUNK_SEND_ACK",
        ack.handle.into(),
        splitter.handle().into(),
    )?;
    let sent = splitter.sequence().saturating_sub(1);
    expect(
        "sequence number of CHUNK_SEND_ACK",
        ack.sequence.into(),
        sent.into(),
    )?;
    let early = ack.early_error.then(|| Header::peek(ack.response)).transpose()?;
    if let Some(Header { code: found, .. }) = early.filter(|header| header.code != Code::ERROR) {
        return Err(Misbehaviour::Unexpected { found }.into());
    }
    if ack.early_error || splitter.is_done() {
        return Ok(Step::Answer(Wiped::new(ack.response.to_vec())));
    }
    expect(
        "bytes of an answer before the last chunk",
        ack.response.len() as u64,
        0,
    )?;
    match next_chunk(receiver.version, &mut splitter) {
        Some(next) => Ok(Step::Send(Carriage::Sending(splitter), next)),
        None => Ok(Step::Answer(Wiped::new(Vec::new()))),
    }
}

fn on_part(
    handle: u8,
    assembler: Option<Assembler>,
    receiver: &Receiver,
    message: &[u8],
) -> Result<Step, Fault> {
    let context = Context::new(receiver.version);
    let read = receiver
        .transport
        .read::<msg::Response<'_>>(receiver.in_clear, message, &context);
    let (response, _) = read?;
    let chunk = response.chunk;
    expect("handle of CHUNK_RESPONSE", chunk.handle.into(), handle.into())?;
    let progress = match assembler {
        None => Assembler::begin(&chunk, receiver.max).map(Progress::More),
        Some(assembler) => assembler.join(&chunk),
    };
    match progress.map_err(Misbehaviour::Chunk)? {
        Progress::More(assembler) => Ok(get(receiver.version, handle, Some(assembler))),
        Progress::Whole(message) => Ok(Step::Answer(message)),
    }
}

fn expect(what: &'static str, found: u64, wanted: u64) -> Result<(), Misbehaviour> {
    if found == wanted {
        return Ok(());
    }
    Err(Misbehaviour::Inconsistent { what, found, wanted })
}
