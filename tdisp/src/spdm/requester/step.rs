//! What a step of the requester's machine sees, and what it may ask for.

use super::{
    chunk::Carriage,
    config::{Event, RequesterConfig, Timing},
};
use crate::crypto::Wiped;
use crate::{
    clock::Instant,
    crypto::{CryptoError, Digest, Provider},
    spdm::{
        error::{Error, Misbehaviour},
        msg::{Code, Context, Payload, RequesterContext, Version, error::ErrorCode},
        secured::RecordError,
        transport::Transport,
    },
    wire::DecodeError,
};
use alloc::{collections::VecDeque, sync::Arc};
use core::time::Duration;

/// In clear, or in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Clear,
    Session(u32),
}

impl Channel {
    pub(super) fn of(session: Option<u32>) -> Self {
        session.map_or(Self::Clear, Self::Session)
    }

    pub(super) fn session(self) -> Option<u32> {
        match self {
            Self::Clear => None,
            Self::Session(id) => Some(id),
        }
    }
}

/// A request whose answer is waited for.
pub(super) struct Pending {
    /// The request as transcripts have it. It may carry keys, in KEY_PROG for one.
    pub(super) request: Wiped,
    /// What is sent in its place the next time: RESPOND_IF_READY, or a part of it or a wish for a part of its answer.
    pub(super) again: Option<Wiped>,
    /// Whether it goes, and its answer comes, in chunks.
    pub(super) carriage: Carriage,
    pub(super) channel: Channel,
    pub(super) awaited: Code,
    pub(super) limit: Duration,
    pub(super) sent: Instant,
    pub(super) deadline: Instant,
    /// Set while the responder is given time: nothing is on its way then.
    pub(super) retry_at: Option<Instant>,
    pub(super) retries_left: u8,
}

impl Pending {
    pub(super) fn new(now: Instant, ask: Ask, timing: &Timing) -> Self {
        Self {
            awaited: ask.awaited(),
            request: ask.request,
            again: None,
            carriage: Carriage::Whole,
            channel: ask.channel,
            limit: timing.answer.saturating_add(ask.extra.min(timing.crypto_max)),
            sent: now,
            deadline: now,
            retry_at: None,
            retries_left: timing.retries,
        }
    }
}

/// A request that a step wants sent.
pub(super) struct Ask {
    pub(super) request: Wiped,
    pub(super) channel: Channel,
    /// What the responder may take beyond the usual.
    pub(super) extra: Duration,
}

impl Ask {
    /// The request's code.
    pub(super) fn code(&self) -> Code {
        Code(self.request.get(1).copied().unwrap_or_default())
    }

    /// A response's code is its request's without the top bit.
    pub(super) fn awaited(&self) -> Code {
        Code(self.request.get(1).map_or(0, |code| code & 0x7f))
    }
}

/// What a step may use and what it wants done.
pub(super) struct Output<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a RequesterConfig,
    pub(super) provider: &'a Arc<dyn Provider>,
    pub(super) events: &'a mut VecDeque<Event>,
    pub(super) ask: Option<Ask>,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        now: Instant,
        config: &'a RequesterConfig,
        provider: &'a Arc<dyn Provider>,
        events: &'a mut VecDeque<Event>,
    ) -> Self {
        Self {
            now,
            config,
            provider,
            events,
            ask: None,
        }
    }

    pub(super) fn ask<'m>(&mut self, channel: Channel, extra: Duration, message: &impl Payload<'m>) {
        self.ask = Some(Ask {
            request: Wiped::new(message.to_vec()),
            channel,
            extra,
        });
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Tells of a summary of measurements, if there is one.
    pub(super) fn tell_summary(&mut self, summary: Option<&[u8]>) {
        if let Some(digest) = summary.and_then(Digest::new) {
            self.tell(Event::Summary(digest));
        }
    }

    pub(super) fn random<const N: usize>(&self) -> Result<[u8; N], CryptoError> {
        let mut bytes = [0; N];
        self.provider.random(&mut bytes)?;
        Ok(bytes)
    }

    /// A fresh context for the request, where the version has one (1.3).
    pub(super) fn requester_context(
        &self,
        version: Version,
    ) -> Result<Option<RequesterContext>, CryptoError> {
        (version >= Version::V1_3).then(|| self.random()).transpose()
    }
}

/// A request and its response.
pub(super) struct Exchange<'a> {
    pub(super) request: &'a [u8],
    pub(super) response: &'a [u8],
    pub(super) channel: Channel,
    pub(super) transport: Transport,
}

impl<'a> Exchange<'a> {
    /// The response and its bytes without padding, which only a message in clear can have.
    pub(super) fn read<M: Payload<'a>>(&self, context: &Context) -> Result<(M, &'a [u8]), DecodeError> {
        let in_clear = self.channel == Channel::Clear;
        self.transport.read(in_clear, self.response, context)
    }
}

pub(super) enum Received {
    Response(Wiped),
    Refused {
        code: ErrorCode,
        data: u8,
    },
    Later {
        after: Duration,
        again: Option<Wiped>,
    },
    /// Chunks go on with this message.
    More(Carriage, Wiped),
}

/// An [`Error`] that does not yet know what was waited for.
pub(super) enum Fault {
    Bytes(DecodeError),
    Peer(Misbehaviour),
    TimedOut(Duration),
    Platform(CryptoError),
}

impl Fault {
    pub(super) fn waiting_for(self, awaited: Code) -> Error {
        match self {
            Self::Bytes(source) => Error::Bytes { awaited, source },
            Self::Peer(what) => Error::Peer { awaited, what },
            Self::TimedOut(waited) => Error::TimedOut { awaited, waited },
            Self::Platform(source) => Error::Platform { awaited, source },
        }
    }
}

impl From<DecodeError> for Fault {
    fn from(source: DecodeError) -> Self {
        Self::Bytes(source)
    }
}

impl From<Misbehaviour> for Fault {
    fn from(what: Misbehaviour) -> Self {
        Self::Peer(what)
    }
}

impl From<CryptoError> for Fault {
    fn from(source: CryptoError) -> Self {
        Self::Platform(source)
    }
}

impl From<RecordError> for Fault {
    fn from(error: RecordError) -> Self {
        Self::Peer(Misbehaviour::Record(error))
    }
}
