//! The requester: who asks. It finds out who the responder is, opens a session and speaks in it.
//!
//! ```text
//! connect ─► VERSION ─► CAPABILITIES ─► ALGORITHMS ─► DIGESTS ─► CERTIFICATE ⟲ ─► CHALLENGE_AUTH ─┬─► Identified
//!                                                                            Goal::Session   │   (Goal::Identity)
//!                          END_SESSION_ACK ◄─ Established ◄─ FINISH_RSP ◄─ KEY_EXCHANGE_RSP ◄┘
//!                                              ⟲ MEASUREMENTS, VENDOR_DEFINED_RESPONSE, KEY_UPDATE_ACK, HEARTBEAT_ACK
//! ```
//! Each box is what is waited for, and a type of its own; an answer consumes it and gives the next. Every arrow checks
//! before it goes: one offered bit for each selection, portions that add up, the chain's digest, its root if roots are
//! pinned, the signature over the nonce, the signature over the key exchange, the proof of the same keys.
//!
//! Anything else ends the connection: the state, with the session and its secrets in it, is dropped, and
//! [`Event::Failed`] says why. Busy and ResponseNotReady are waited out, a bounded number of times, by the caller's
//! clock. An object that nobody asked for is ignored.
//!
//! Memory is bounded: an answer by [`RequesterConfig::transfer_size`], a chain by its 16-bit length, and of transcripts only
//! VCA is kept, the rest hashed as it goes by.
//!
//! Not implemented: mutual authentication (a wish for it is refused), sessions on a pre-shared key, chunking, versions but
//! those in [`VERSIONS`](super::VERSIONS).

mod config;
mod identify;
mod session;
mod step;

pub use config::{Event, Goal, MeasurementRecord, RequesterConfig, Timing, Trust};

use super::{
    error::{Error, Misbehaviour, Misuse},
    msg::{
        Code, Context, Header, Payload, Version,
        error::{self as error_msg, ErrorCode},
        respond_if_ready,
    },
    secured::{self, Record},
    transport::Transport,
};
use crate::{
    clock::Instant,
    crypto::Provider,
    doe::{Object, ObjectType},
    wire::DecodeError,
};
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use core::{mem, time::Duration};
use identify::{
    ExpectAlgorithms, ExpectCapabilities, ExpectCertificate, ExpectChallengeAuth, ExpectDigests,
    ExpectVersion, Identified,
};
use session::{
    Established, ExpectEndSessionAck, ExpectFinish, ExpectHeartbeatAck, ExpectKeyExchange,
    ExpectKeyUpdateAck, ExpectKeyVerified, ExpectMeasurements, ExpectVendor, Ready,
};
use step::{Ask, Channel, Exchange, Fault, Output, Pending, Received};

/// The requester's machine. Objects are whole DOE data objects, both ways.
pub struct Requester {
    config: RequesterConfig,
    provider: Arc<dyn Provider>,
    state: Result<State, Error>,
    pending: Option<Pending>,
    heartbeat_at: Option<Instant>,
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Requester {
    /// A requester without a connection.
    pub fn new(mut config: RequesterConfig, provider: Arc<dyn Provider>) -> Self {
        config.offer = config.offer.of_requester(&*provider);
        Self {
            config,
            provider,
            state: Ok(State::Idle),
            pending: None,
            heartbeat_at: None,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Starts anew, from whatever was: a session that is up is dropped with its keys, and the responder, which is told by
    /// the first message, drops it too. What was still to be sent or told of the old connection no longer is.
    pub fn connect(&mut self, now: Instant) {
        (self.pending, self.heartbeat_at) = (None, None);
        self.outbox.clear();
        self.events.clear();
        self.begin(now, Code::VERSION, |_, output| Ok(identify::start(output)));
    }

    /// Opens a session on a connection that is [`Goal::Identity`]'s, or whose session has ended.
    pub fn open_session(&mut self, now: Instant) -> Result<(), Misuse> {
        match self.ready()? {
            State::Identified(_) => self.begin(now, Code::KEY_EXCHANGE_RSP, |state, output| match state {
                State::Identified(peer) => session::key_exchange(*peer, output),
                other => Ok(other),
            }),
            _ => return Err(Misuse::HasSession),
        }
        Ok(())
    }

    /// Asks for all measurements, signed over `nonce` or else over a fresh one: in the session if one is up.
    pub fn measure(&mut self, now: Instant, nonce: Option<[u8; 32]>) -> Result<(), Misuse> {
        match self.ready()? {
            State::Idle => return Err(Misuse::NotConnected),
            state if !state.can_measure() => return Err(Misuse::NoMeasurements),
            _ => {}
        }
        self.begin(now, Code::MEASUREMENTS, |state, output| {
            match state.into_ready() {
                Ok(ready) => session::measure(ready, nonce, output),
                Err(other) => Ok(other),
            }
        });
        Ok(())
    }

    /// Sends a PCI-SIG payload, protocol byte first, in the session.
    pub fn vendor(&mut self, now: Instant, payload: &[u8]) -> Result<(), Misuse> {
        let max = self.established()?.vendor_payload_max();
        let size = payload.len();
        if size > max {
            return Err(Misuse::TooLong { size, max });
        }
        self.begin_established(now, Code::VENDOR_DEFINED_RESPONSE, |established, output| {
            Ok(session::vendor(established, payload, output))
        });
        Ok(())
    }

    /// Replaces the session's keys, in both directions.
    pub fn update_keys(&mut self, now: Instant) -> Result<(), Misuse> {
        if !self.established()?.can_update_keys() {
            return Err(Misuse::NoKeyUpdate);
        }
        self.begin_established(now, Code::KEY_UPDATE_ACK, session::update_keys);
        Ok(())
    }

    /// Ends the session; the connection stays.
    pub fn end_session(&mut self, now: Instant) -> Result<(), Misuse> {
        self.established()?;
        self.begin_established(now, Code::END_SESSION_ACK, |established, output| {
            Ok(session::end_session(established, output))
        });
        Ok(())
    }

    /// A DOE object came in.
    pub fn handle(&mut self, now: Instant, object: &[u8]) {
        let Some(pending) = self.pending.take_if(|pending| pending.retry_at.is_none()) else {
            return;
        };
        match self.receive(&pending, object) {
            Ok(Received::Response(response)) => self.step(now, &pending, &response),
            Ok(Received::Later { after, again }) => self.postpone(now, pending, after, again),
            Err(fault) => self.fail(pending.awaited, fault),
        }
    }

    /// Time has passed. Harmless if it is too early.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.pending.take() {
            Some(pending) if pending.retry_at.is_some_and(|at| at <= now) => self.transmit(now, pending),
            Some(pending) if pending.retry_at.is_none() && pending.deadline <= now => {
                let waited = now.since(pending.sent);
                self.fail(pending.awaited, Fault::TimedOut(waited));
            }
            Some(early) => self.pending = Some(early),
            None if self.heartbeat_at.is_some_and(|at| at <= now) => {
                self.begin_established(now, Code::HEARTBEAT_ACK, |established, output| {
                    Ok(session::heartbeat(established, output))
                });
            }
            None => {}
        }
    }

    /// Appends the next object to send to `out`; whether there was one.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let next = self.outbox.pop_front();
        next.as_ref().is_some_and(|object| {
            out.extend_from_slice(object);
            true
        })
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.pending {
            Some(pending) => Some(pending.retry_at.unwrap_or(pending.deadline)),
            None => self.heartbeat_at,
        }
    }

    /// What there is to tell.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The message that is waited for, if one is.
    pub fn awaited(&self) -> Option<Code> {
        self.pending.as_ref().map(|pending| pending.awaited)
    }

    /// The session's id, if one is up.
    pub fn session(&self) -> Option<u32> {
        self.state.as_ref().ok()?.session()
    }

    // Below: sending.

    /// Runs a step that the caller asked for.
    fn begin(&mut self, now: Instant, awaited: Code, step: impl FnOnce(State, &mut Output<'_>) -> Next) {
        let state = mem::replace(&mut self.state, Ok(State::Idle)).unwrap_or(State::Idle);
        let mut output = Output::new(&self.config, &self.provider, &mut self.events);
        let result = step(state, &mut output);
        let ask = output.ask;
        self.commit(now, result, ask, awaited);
    }

    fn begin_established(
        &mut self,
        now: Instant,
        awaited: Code,
        step: impl FnOnce(Established, &mut Output<'_>) -> Next,
    ) {
        self.begin(now, awaited, |state, output| match state {
            State::Established(established) => step(*established, output),
            other => Ok(other),
        });
    }

    /// Runs the step that a response asks for.
    fn step(&mut self, now: Instant, pending: &Pending, response: &[u8]) {
        let state = mem::replace(&mut self.state, Ok(State::Idle)).unwrap_or(State::Idle);
        let exchange = Exchange {
            request: &pending.request,
            response,
            channel: pending.channel,
        };
        let mut output = Output::new(&self.config, &self.provider, &mut self.events);
        let result = state.on_response(&exchange, &mut output);
        let ask = output.ask;
        self.commit(now, result, ask, pending.awaited);
    }

    fn commit(&mut self, now: Instant, result: Next, ask: Option<Ask>, awaited: Code) {
        match result {
            Ok(state) => {
                self.heartbeat_at = state.established().and_then(|session| session.heartbeat_at(now));
                self.state = Ok(state);
                if let Some(ask) = ask {
                    self.transmit(now, Pending::new(now, ask, &self.config.timing));
                }
            }
            Err(fault) => self.fail(awaited, fault),
        }
    }

    /// Sends what is pending, for the first time or again.
    fn transmit(&mut self, now: Instant, mut pending: Pending) {
        let message = pending.again.as_ref().unwrap_or(&pending.request);
        let object = match pending.channel {
            Channel::Clear => Ok(object(ObjectType::SPDM, message)),
            Channel::Session => self.seal(message),
        };
        match object {
            Ok(object) => {
                self.outbox.push_back(object);
                pending.retry_at = None;
                pending.sent = now;
                pending.deadline = now.after(pending.limit);
                self.pending = Some(pending);
            }
            Err(fault) => self.fail(pending.awaited, fault),
        }
    }

    fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut record = Vec::new();
        match &mut self.state {
            Ok(state) => state.seal(message, &mut record)?,
            Err(_) => return Err(Fault::Peer(Misbehaviour::WrongChannel { in_session: true })),
        }
        Ok(object(ObjectType::SECURED_SPDM, &record))
    }

    // Below: receiving.

    /// Opens the object and looks for an ERROR in it.
    fn receive(&mut self, pending: &Pending, object: &[u8]) -> Result<Received, Fault> {
        let object = Object::decode(object)?;
        let in_session = match object.kind {
            ObjectType::SPDM => false,
            ObjectType::SECURED_SPDM => true,
            other => {
                return Err(Fault::Bytes(DecodeError::Invalid {
                    what: "DOE object type",
                    found: other.0.into(),
                    wanted: "1 (SPDM) or 2 (secured SPDM)",
                }));
            }
        };
        let (size, max) = (object.body.len(), self.object_body_max());
        if size > max {
            return Err(Fault::Peer(Misbehaviour::TooLarge { size, max }));
        }
        let message = match in_session {
            true => self.open(object.body)?,
            false => object.body.to_vec(),
        };
        let header = Header::peek(&message)?;
        if header.code == Code::ERROR {
            return self.on_error(pending, in_session, &message);
        }
        if in_session != (pending.channel == Channel::Session) {
            return Err(Fault::Peer(Misbehaviour::WrongChannel { in_session }));
        }
        if header.code != pending.awaited {
            let found = header.code;
            return Err(Fault::Peer(Misbehaviour::Unexpected { found }));
        }
        Ok(Received::Response(message))
    }

    /// What was announced, a record's overhead, and padding.
    fn object_body_max(&self) -> usize {
        let transfer_size = self.config.transfer_size as usize;
        transfer_size
            .saturating_add(secured::OVERHEAD)
            .next_multiple_of(4)
    }

    fn open(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut body = body.to_vec();
        let record = Record::decode(Transport::Doe, &mut body)?;
        match &mut self.state {
            Ok(state) => state.open(record).map(|message| message.to_vec()),
            Err(_) => Err(Fault::Peer(Misbehaviour::WrongChannel { in_session: true })),
        }
    }

    /// Busy and ResponseNotReady ask for patience, every other error ends the connection. An error in clear to a request
    /// in the session does so whatever it says: the session's numbers no longer match.
    fn on_error(&self, pending: &Pending, in_session: bool, message: &[u8]) -> Result<Received, Fault> {
        let (error, _) = error_msg::Response::decode(message, &Context::new(Version::V1_0))?;
        let patience = in_session == (pending.channel == Channel::Session);
        if patience && error.code == ErrorCode::BUSY {
            return self.later(pending, self.config.timing.retry_after, None);
        }
        if patience && let Some(not_ready) = error.not_ready() {
            let micros = not_ready.delay_us().unwrap_or(u64::MAX);
            let longest = self.config.timing.retry_after.saturating_mul(10);
            let after = Duration::from_micros(micros).min(longest);
            let again = respond_if_ready::Request {
                version: error.version,
                code: Code(pending.request.get(1).copied().unwrap_or_default()),
                token: not_ready.token,
            };
            return self.later(pending, after, Some(again.to_vec()));
        }
        Err(Fault::Peer(Misbehaviour::Refused {
            code: error.code,
            data: error.data,
        }))
    }

    fn later(&self, pending: &Pending, after: Duration, again: Option<Vec<u8>>) -> Result<Received, Fault> {
        if pending.retries_left == 0 {
            let tries = self.config.timing.retries.saturating_add(1);
            return Err(Fault::Peer(Misbehaviour::NeverReady { tries }));
        }
        Ok(Received::Later { after, again })
    }

    fn postpone(&mut self, now: Instant, pending: Pending, after: Duration, again: Option<Vec<u8>>) {
        self.pending = Some(Pending {
            again,
            retry_at: Some(now.after(after)),
            retries_left: pending.retries_left.saturating_sub(1),
            ..pending
        });
    }

    /// Drops everything.
    fn fail(&mut self, awaited: Code, fault: Fault) {
        let error = fault.waiting_for(awaited);
        (self.pending, self.heartbeat_at) = (None, None);
        self.outbox.clear();
        self.state = Err(error.clone());
        self.events.push_back(Event::Failed(error));
    }

    // Below: what the caller may ask for now.

    fn ready(&self) -> Result<&State, Misuse> {
        if let Some(awaited) = self.awaited() {
            return Err(Misuse::Busy { awaited });
        }
        match &self.state {
            Ok(state) if !matches!(state, State::Idle) => Ok(state),
            _ => Err(Misuse::NotConnected),
        }
    }

    fn established(&self) -> Result<&Established, Misuse> {
        self.ready()?.established().ok_or(Misuse::NoSession)
    }
}

impl core::fmt::Debug for Requester {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Requester(awaits {:?}, session {:?})",
            self.awaited(),
            self.session()
        )
    }
}

fn object(kind: ObjectType, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 12);
    Object::new(kind, body).encode(&mut out);
    out
}

/// What is waited for, with all that is known so far.
enum State {
    Idle,
    Version(ExpectVersion),
    Capabilities(ExpectCapabilities),
    Algorithms(ExpectAlgorithms),
    Digests(Box<ExpectDigests>),
    Certificate(Box<ExpectCertificate>),
    ChallengeAuth(Box<ExpectChallengeAuth>),
    Identified(Box<Identified>),
    Measurements(Box<ExpectMeasurements>),
    KeyExchange(Box<ExpectKeyExchange>),
    Finish(Box<ExpectFinish>),
    Established(Box<Established>),
    Vendor(Box<ExpectVendor>),
    KeyUpdateAck(Box<ExpectKeyUpdateAck>),
    KeyVerified(Box<ExpectKeyVerified>),
    HeartbeatAck(Box<ExpectHeartbeatAck>),
    EndSessionAck(Box<ExpectEndSessionAck>),
}

/// What a step leads to.
type Next = Result<State, Fault>;

impl State {
    fn on_response(self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        match self {
            Self::Version(state) => state.on_response(exchange, output),
            Self::Capabilities(state) => state.on_response(exchange, output),
            Self::Algorithms(state) => state.on_response(exchange, output),
            Self::Digests(state) => state.on_response(exchange, output),
            Self::Certificate(state) => state.on_response(exchange, output),
            Self::ChallengeAuth(state) => state.on_response(exchange, output),
            Self::Measurements(state) => state.on_response(exchange, output),
            Self::KeyExchange(state) => state.on_response(exchange, output),
            Self::Finish(state) => state.on_response(exchange, output),
            Self::Vendor(state) => state.on_response(exchange, output),
            Self::KeyUpdateAck(state) => state.on_response(exchange, output),
            Self::KeyVerified(state) => state.on_response(exchange, output),
            Self::HeartbeatAck(state) => state.on_response(exchange, output),
            Self::EndSessionAck(state) => state.on_response(exchange, output),
            waiting_for_nothing @ (Self::Idle | Self::Identified(_) | Self::Established(_)) => {
                Ok(waiting_for_nothing)
            }
        }
    }

    /// The session that is up, if nothing is waited for.
    fn established(&self) -> Option<&Established> {
        match self {
            Self::Established(established) => Some(established),
            _ => None,
        }
    }

    fn into_ready(self) -> Result<Ready, Self> {
        match self {
            Self::Identified(peer) => Ok(Ready::Identified(peer)),
            Self::Established(established) => Ok(Ready::Established(established)),
            other => Err(other),
        }
    }

    fn can_measure(&self) -> bool {
        match self {
            Self::Identified(peer) => peer.can_measure(),
            Self::Established(established) => established.peer.can_measure(),
            _ => false,
        }
    }

    fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        match self.session_mut() {
            Some(session) => Ok(session.seal(message, out)?),
            None => Err(Fault::Peer(Misbehaviour::WrongChannel { in_session: true })),
        }
    }

    fn open<'a>(&mut self, record: Record<'a>) -> Result<&'a mut [u8], Fault> {
        match self.session_mut() {
            Some(session) if session.id() == record.session => Ok(session.open(record)?),
            Some(session) => Err(Fault::Peer(Misbehaviour::Inconsistent {
                what: "session id",
                found: record.session.into(),
                wanted: session.id().into(),
            })),
            None => Err(Fault::Peer(Misbehaviour::WrongChannel { in_session: true })),
        }
    }

    /// The id of the session that is up.
    fn session(&self) -> Option<u32> {
        Some(match self {
            Self::Established(state) => state.id(),
            Self::Measurements(state) => return state.session(),
            Self::Vendor(state) => state.0.id(),
            Self::KeyUpdateAck(state) => state.established.id(),
            Self::KeyVerified(state) => state.established.id(),
            Self::HeartbeatAck(state) => state.0.id(),
            Self::EndSessionAck(state) => state.0.id(),
            _ => return None,
        })
    }

    /// What seals and opens: the session that is up, or the handshake that will be one.
    fn session_mut(&mut self) -> Option<&mut dyn session::Secured> {
        Some(match self {
            Self::Finish(state) => state.handshake_mut(),
            Self::Established(state) => state.session_mut(),
            Self::Measurements(state) => return state.session_mut(),
            Self::Vendor(state) => state.0.session_mut(),
            Self::KeyUpdateAck(state) => state.established.session_mut(),
            Self::KeyVerified(state) => state.established.session_mut(),
            Self::HeartbeatAck(state) => state.0.session_mut(),
            Self::EndSessionAck(state) => state.0.session_mut(),
            _ => return None,
        })
    }
}
