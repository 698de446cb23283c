//! The requester: who asks. It finds out who the responder is, opens sessions and speaks in them.
//!
//! ```text
//! connect ─► VERSION ─► CAPABILITIES ─► ALGORITHMS ─┬─► DIGESTS ─► CERTIFICATE ⟲ ─┬─► CHALLENGE_AUTH ─┬─► at rest
//!                           provisioned key         ├──────────────────────────────┘   (or without)   │
//!              at rest ─► identify ─────────────────┘                                 and then at rest │
//!              at rest ◄── FINISH_RSP ◄── KEY_EXCHANGE_RSP ◄── open_session, or Goal::Session ─────────┘
//!              at rest ◄── PSK_FINISH_RSP (or without) ◄── PSK_EXCHANGE_RSP ◄── open_psk_session, or Goal::PskSession
//!              at rest ⟲ MEASUREMENTS, VENDOR_DEFINED_RESPONSE, KEY_UPDATE_ACK, HEARTBEAT_ACK, END_SESSION_ACK
//!              at rest ⟲ questions: CSR, ENDPOINT_INFO, DIGESTS and CERTIFICATE in a session, … (`inquiry`)
//! ```
//! Outside sessions the key counts that was proven last; a session keeps the one that it was opened with.
//! A responder may ask in its turn, where CHALLENGE_AUTH or KEY_EXCHANGE_RSP say so and where the caller fetches it: `mutual`.
//! Each word in capitals is what is waited for, and a type of its own (`operation`); an answer consumes it and gives the
//! next. What outlives an answer is the link: the responder as far as it is known, and the sessions open with it. One request
//! is under way at a time. Every arrow checks before it goes: one offered bit for each selection, portions that add up,
//! the chain's digest, its root if roots are pinned, the signature over the nonce, the signature over the key exchange, the
//! proof of the same keys.
//!
//! Anything else ends the connection: the link, with the sessions and their secrets in it, is dropped, and
//! [`Event::Failed`] says why. An ERROR to what a connection may do without, `identify` and questions, is only told. Busy and
//! ResponseNotReady are waited out, a bounded number of times, by the caller's clock. A unit that nobody asked for is ignored.
//!
//! Memory is bounded: an answer by [`RequesterConfig::transfer_size`], in chunks by [`RequesterConfig::chunk`], a chain by [`RequesterConfig::chain_size_max`],
//! sessions by [`RequesterConfig::sessions_max`], and of transcripts VCA and measurements are kept, the rest hashed as it
//! goes by (from 1.2 on; what came before signs the bytes themselves).

mod certificates;
mod chunk;
mod config;
mod endpoint;
mod events;
mod identify;
mod inquiry;
mod link;
mod measure;
mod mel;
mod mutual;
mod operation;
mod provision;
mod psk;
mod receive;
mod session;
mod step;

pub use config::{Event, Goal, MeasurementRecord, RequesterConfig, SessionPolicy, Timing, Trust};
pub use measure::Measure;
pub use provision::{CsrWish, KeyPairInfo, KeyPairWish, SlotWish};
pub use psk::PreShared;

use super::{
    error::Misuse,
    msg::{Code, capabilities::Flags, error::ErrorCode, key_update::Operation as KeyOperation},
    responder::usage,
    transport::Kind,
};
use crate::crypto::Wiped;
use crate::{
    clock::Instant,
    crypto::{Provider, Secret},
};
use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use chunk::Carriage;
use link::{Link, Peer};
use operation::{Next, Operation};
use step::{Ask, Channel, Exchange, Fault, Output, Pending, Received};

/// Records that are left when keys are replaced, at most.
const RECORDS_LOW_MAX: u64 = 1024;

/// Records under a new key that its update may take: the acknowledgement of it, and the one that it is in use.
const RECORDS_OF_UPDATE: u64 = 2;

/// The requester's machine. It takes and gives units of its transport.
pub struct Requester {
    config: RequesterConfig,
    provider: Arc<dyn Provider>,
    link: Link,
    operation: Option<Operation>,
    pending: Option<Pending>,
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Requester {
    /// A requester without a connection.
    pub fn new(config: RequesterConfig, provider: Arc<dyn Provider>) -> Self {
        Self {
            config,
            provider,
            link: Link::default(),
            operation: None,
            pending: None,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Starts anew, from whatever was: sessions that are up are dropped with their keys, and the responder, which is told by
    /// the first message, drops them too. What was still to be sent or told of the old connection no longer is.
    pub fn connect(&mut self, now: Instant) {
        self.drop_all();
        self.events.clear();
        self.begin(now, Code::VERSION, |_, output| identify::start(output));
    }

    /// Asks once more who the responder is, outside sessions: by the chain in a slot, 0 to 7, or by the key that was provisioned
    /// ([`SLOT_PUBLIC_KEY`]), with a fresh CHALLENGE as [`RequesterConfig::challenge`] has it.
    ///
    /// It ends with [`Event::Challenged`], or without CHALLENGE with [`Event::Certificates`]; by a provisioned key nothing is
    /// asked then, and it counts at once. From there on that key is the one that signs outside sessions and opens new ones. A
    /// responder that wants to be told who this side is asks after [`Event::Challenged`]: until nothing is [awaited](Self::awaited)
    /// any more, no other request goes.
    /// Sessions that are open stay as they are: what is signed in them is by the key that they were opened with. No heartbeat
    /// goes before it is over.
    ///
    /// [`Event::Refused`] and [`Event::SlotRefused`] leave all as it was; a responder that refuses to be told who this side is,
    /// after [`Event::Challenged`], has proven itself for all that. What is said wrong, a signature for one, ends the connection.
    ///
    /// [`SLOT_PUBLIC_KEY`]: super::msg::SLOT_PUBLIC_KEY
    pub fn identify(&mut self, now: Instant, slot: u8) -> Result<(), Misuse> {
        identify::check(slot, self.ready()?, &self.config)?;
        self.begin(now, Code::DIGESTS, |link, output| {
            identify::again(slot, link, output)
        });
        Ok(())
    }

    /// The slots that hold a certificate chain, one bit each, as the responder said last outside sessions.
    pub fn provisioned(&self) -> Option<u8> {
        self.link.peer.as_ref()?.provisioned
    }

    /// Opens a session, beside those that are open, on the key that was proven last.
    pub fn open_session(&mut self, now: Instant) -> Result<(), Misuse> {
        let peer = self.ready()?;
        if !peer.flags().any(Flags::KEY_EX) {
            return Err(Misuse::NoIdentity);
        }
        check_protects(peer)?;
        self.link.signer(None, usage::KEY_EXCHANGE)?;
        self.check_room()?;
        self.begin(now, Code::KEY_EXCHANGE_RSP, session::key_exchange);
        Ok(())
    }

    /// Opens a session on the pre-shared key, beside those that are open: who the responder is need not be known.
    pub fn open_psk_session(&mut self, now: Instant) -> Result<(), Misuse> {
        let peer = self.ready()?;
        if self.config.psk.is_none() || !peer.flags().any(Flags::PSK_MASK) {
            return Err(Misuse::NoPreSharedKey);
        }
        check_protects(peer)?;
        self.check_room()?;
        self.begin(now, Code::PSK_EXCHANGE_RSP, psk::exchange);
        Ok(())
    }

    fn check_room(&self) -> Result<(), Misuse> {
        let max = self.config.sessions_max;
        match self.link.sessions.len() >= max {
            true => Err(Misuse::SessionLimit { max }),
            false => Ok(()),
        }
    }

    /// Asks for all measurements, signed over `nonce` or else over a fresh one: in the current session if one is up.
    pub fn measure(&mut self, now: Instant, nonce: Option<[u8; 32]>) -> Result<(), Misuse> {
        self.measure_in(now, self.session(), Measure::all(nonce))
    }

    /// Asks for measurements, in a session or outside.
    pub fn measure_in(&mut self, now: Instant, session: Option<u32>, what: Measure) -> Result<(), Misuse> {
        self.ready()?;
        what.check(&self.link, session)?;
        session.map_or(Ok(()), |id| self.link.sessions.is_live(id))?;
        self.begin(now, Code::MEASUREMENTS, |link, output| {
            measure::measure(link, session, what, output)
        });
        Ok(())
    }

    /// Sends a PCI-SIG payload, protocol byte first, in the current session.
    pub fn vendor(&mut self, now: Instant, payload: &[u8]) -> Result<(), Misuse> {
        let session = self.current()?;
        self.vendor_in(now, session, payload)
    }

    /// Sends a PCI-SIG payload, protocol byte first, in a session.
    pub fn vendor_in(&mut self, now: Instant, session: u32, payload: &[u8]) -> Result<(), Misuse> {
        let max = session::vendor_payload_max(self.ready_in(session)?);
        let size = payload.len();
        if size > max {
            return Err(Misuse::TooLong { size, max });
        }
        self.begin(now, Code::VENDOR_DEFINED_RESPONSE, |link, output| {
            session::vendor(link, session, payload, output)
        });
        Ok(())
    }

    /// Replaces the current session's keys, in both directions.
    pub fn update_keys(&mut self, now: Instant) -> Result<(), Misuse> {
        let session = self.current()?;
        self.update_keys_in(now, session)
    }

    /// Replaces a session's keys, in both directions.
    pub fn update_keys_in(&mut self, now: Instant, session: u32) -> Result<(), Misuse> {
        self.begin_key_update(now, session, KeyOperation::UPDATE_ALL_KEYS)
    }

    /// Replaces the keys of what this side sends in a session.
    pub fn update_own_keys_in(&mut self, now: Instant, session: u32) -> Result<(), Misuse> {
        self.begin_key_update(now, session, KeyOperation::UPDATE_KEY)
    }

    fn begin_key_update(&mut self, now: Instant, session: u32, what: KeyOperation) -> Result<(), Misuse> {
        if !self.ready_in(session)?.both_can(Flags::KEY_UPD) {
            return Err(Misuse::NoKeyUpdate);
        }
        self.begin(now, Code::KEY_UPDATE_ACK, |link, output| {
            session::update_keys(link, session, what, output)
        });
        Ok(())
    }

    /// Asks what the responder wants to ask in a session, and answers: new keys of its own, for one, or events.
    /// [`Event::RequestsAnswered`] comes when it has nothing left, [`Event::Refused`] if it has nothing at all.
    pub fn fetch_requests(&mut self, now: Instant, session: u32) -> Result<(), Misuse> {
        if !self.ready_in(session)?.both_can(Flags::ENCAP) {
            return Err(Misuse::NoEncapsulation);
        }
        self.begin(now, Code::ENCAPSULATED_REQUEST, |link, output| {
            mutual::fetch_requests(link, session, output)
        });
        Ok(())
    }

    /// The export master secret of a session that is up (DSP0274 §12): keys for what is not SPDM are derived from it.
    pub fn exporter(&self, session: u32) -> Option<&Secret> {
        self.link.sessions.exporter(session)
    }

    /// Ends the current session; the connection stays.
    pub fn end_session(&mut self, now: Instant) -> Result<(), Misuse> {
        let session = self.current()?;
        self.end_session_in(now, session)
    }

    /// Ends a session; the connection stays.
    pub fn end_session_in(&mut self, now: Instant, session: u32) -> Result<(), Misuse> {
        self.ready_in(session)?;
        self.begin(now, Code::END_SESSION_ACK, |link, output| {
            session::end_session(link, session, output)
        });
        Ok(())
    }

    /// A unit came in.
    pub fn handle(&mut self, now: Instant, unit: &[u8]) {
        let Some(mut pending) = self.pending.take_if(|pending| pending.retry_at.is_none()) else {
            return;
        };
        match self.receive(&mut pending, unit) {
            Ok(Received::Response(response)) => self.step(now, &pending, &response),
            Ok(Received::More(carriage, message)) => self.go_on(now, pending, carriage, message),
            Ok(Received::Refused { code, data }) => self.refused(&pending, code, data),
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
            None => {
                if let Some((at, session)) = self.link.sessions.next_heartbeat()
                    && at <= now
                {
                    self.begin(now, Code::HEARTBEAT_ACK, |link, output| {
                        session::heartbeat(link, session, output)
                    });
                }
            }
        }
    }

    /// Appends the next unit to send to `out`; whether there was one.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let next = self.outbox.pop_front();
        next.as_ref().is_some_and(|unit| {
            out.extend_from_slice(unit);
            true
        })
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.pending {
            Some(pending) => Some(pending.retry_at.unwrap_or(pending.deadline)),
            None => self.link.sessions.next_heartbeat().map(|(at, _)| at),
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

    /// The current session, which is the one that was opened last, if one is up.
    pub fn session(&self) -> Option<u32> {
        self.link.sessions.live().last()
    }

    /// The sessions that are up, in the order in which they were opened.
    pub fn sessions(&self) -> Vec<u32> {
        self.link.sessions.live().collect()
    }

    // Below: sending.

    /// Runs a step that the caller asked for.
    fn begin(&mut self, now: Instant, awaited: Code, step: impl FnOnce(&mut Link, &mut Output<'_>) -> Next) {
        let mut output = Output::new(now, &self.config, &self.provider, &mut self.events);
        let result = step(&mut self.link, &mut output);
        let ask = output.ask;
        self.commit(now, result, ask, awaited);
    }

    /// Runs the step that a response asks for.
    fn step(&mut self, now: Instant, pending: &Pending, response: &[u8]) {
        let Some(operation) = self.operation.take() else {
            return;
        };
        let exchange = Exchange {
            request: &pending.request,
            response,
            channel: pending.channel,
            transport: self.config.transport,
        };
        if let Channel::Session(id) = pending.channel {
            self.link.sessions.heard(id, now);
        }
        let mut output = Output::new(now, &self.config, &self.provider, &mut self.events);
        let result = operation.on_response(&mut self.link, &exchange, &mut output);
        let ask = output.ask;
        self.commit(now, result, ask, pending.awaited);
    }

    fn commit(&mut self, now: Instant, result: Next, ask: Option<Ask>, awaited: Code) {
        match result {
            Ok(operation) => {
                self.operation = operation;
                if self.operation.is_none() {
                    return self.renew_keys(now);
                }
                if let Some(ask) = ask {
                    self.link.forget_transcripts(ask.channel.session(), ask.code());
                    self.transmit(now, Pending::new(now, ask, &self.config.timing));
                }
            }
            Err(fault) => self.fail(awaited, fault),
        }
    }

    /// Has the keys of a session replaced that have protected nearly as many records as they may.
    fn renew_keys(&mut self, now: Instant) {
        let can = self
            .link
            .peer
            .as_ref()
            .is_some_and(|peer| peer.both_can(Flags::KEY_UPD));
        // An update spends records of the new keys: what counts as low is less than what it leaves, or there is no end of them.
        let max = self.config.records_max;
        let low = (max / 4)
            .clamp(2, RECORDS_LOW_MAX)
            .min(max.saturating_sub(RECORDS_OF_UPDATE + 1));
        if let Some(session) = self.link.sessions.wearing_out(low).filter(|_| can) {
            self.begin(now, Code::KEY_UPDATE_ACK, |link, output| {
                session::update_keys(link, session, KeyOperation::UPDATE_ALL_KEYS, output)
            });
        }
    }

    /// Sends what is pending, for the first time or again.
    fn transmit(&mut self, now: Instant, mut pending: Pending) {
        if pending.again.is_none()
            && let Some(reach) = &self.link.reach
            && let Some((carriage, first)) =
                Carriage::send(&pending.request, pending.channel != Channel::Clear, reach)
        {
            pending.carriage = carriage;
            pending.again = Some(first);
        }
        let message = pending.again.as_ref().unwrap_or(&pending.request);
        let transport = self.config.transport;
        let unit = match pending.channel {
            Channel::Clear => Ok(transport.wrap(Kind::Clear, message)),
            Channel::Session(id) => {
                let record = self.link.sessions.seal(id, message);
                record.map(|record| transport.wrap(Kind::Record, &record))
            }
        };
        match unit {
            Ok(unit) => {
                self.outbox.push_back(unit);
                pending.retry_at = None;
                pending.sent = now;
                pending.deadline = now.after(pending.limit);
                self.pending = Some(pending);
            }
            Err(fault) => self.fail(pending.awaited, fault),
        }
    }

    /// Sends the next chunk, or the wish for one.
    fn go_on(&mut self, now: Instant, pending: Pending, carriage: Carriage, message: Wiped) {
        let pending = Pending {
            carriage,
            again: Some(message),
            ..pending
        };
        self.transmit(now, pending);
    }

    // Below: how it ends.

    /// The request was worth a try.
    fn refused(&mut self, pending: &Pending, code: ErrorCode, data: u8) {
        self.operation = None;
        let awaited = pending.awaited;
        self.events.push_back(Event::Refused { awaited, code, data });
    }

    fn fail(&mut self, awaited: Code, fault: Fault) {
        self.drop_all();
        self.events.push_back(Event::Failed(fault.waiting_for(awaited)));
    }

    /// Nothing is left of the connection.
    fn drop_all(&mut self) {
        self.link = Link::default();
        self.operation = None;
        self.pending = None;
        self.outbox.clear();
    }

    // Below: what the caller may ask for now.

    fn ready(&self) -> Result<&Peer, Misuse> {
        if let Some(awaited) = self.awaited() {
            return Err(Misuse::Busy { awaited });
        }
        self.link.peer.as_deref().ok_or(Misuse::NotConnected)
    }

    fn ready_in(&self, session: u32) -> Result<&Peer, Misuse> {
        let peer = self.ready()?;
        self.link.sessions.is_live(session)?;
        Ok(peer)
    }

    fn current(&self) -> Result<u32, Misuse> {
        self.ready()?;
        self.session().ok_or(Misuse::NoSession)
    }
}

/// A session protects what is said in it as this side wants it: IDE keys travel in it, and a responder that has no encryption
/// would have them authenticated only.
fn check_protects(peer: &Peer) -> Result<(), Misuse> {
    let wanted = peer.connection.own_flags.and(Flags::ENCRYPT | Flags::MAC);
    let what = "ENCRYPT_CAP and MAC_CAP, as this side has them";
    match peer.flags().contains(wanted) {
        true => Ok(()),
        false => Err(Misuse::Lacks { what }),
    }
}

impl core::fmt::Debug for Requester {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Requester(awaits {:?}, sessions {:x?})",
            self.awaited(),
            self.sessions()
        )
    }
}
