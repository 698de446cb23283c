//! The device's security manager: one mailbox, or one MCTP endpoint, behind which SPDM, IDE_KM and TDISP hang together. DOE has
//! discovery besides.
//!
//! ```text
//!                ┌────────────────────────────── Dsm ────────────────────────────────┐
//!   units of the │  discovery (DOE)                                                  │
//!   transport    │                                                                   │
//!  ◄───────────► │  spdm::Responder ── VendorRequest ──┬─► ide_km::Responder         │──► Event
//!                │        │                            └─► tdi::Responder            │
//!                │        │ SessionEnded ───► keys erased ── Insecure ──► TDIs ERROR │
//!                │        └────────────────────────────────────────────► TDIs ERROR  │
//!                └────────── Personality: report, measurements, stop ────────────────┘
//! ```
//! * IDE_KM and TDISP are answered inside a session that encrypts, and nowhere else. There the SPDM responder stays silent.
//! * Teardown cascades: a session that ends, however it ends, erases the keys of its IDE streams and sends the TDIs that
//!   were locked over it to ERROR; a stopped stream does the same to the TDIs that were locked with it.
//! * What the device says about itself is the [`Personality`]'s: the machine keeps the rules, and a model that is to lie
//!   lies there and nowhere else.
//!
//! Time and randomness are given. What is not here: the mailbox's registers, and the functions themselves; who has those
//! acts on [`Event::TdiState`] and calls [`Dsm::fault`].

mod personality;

use crate::{
    clock::Instant,
    crypto::{CryptoError, Provider},
    doe::{Object, ObjectType, discovery, object::PCI_SIG},
    ide_km,
    spdm::{
        self, Transport,
        msg::{
            send_event::Dmtf,
            vendor::{PciSig, Protocol},
        },
        responder::{Event as SpdmEvent, ResponderConfig},
    },
    tdi::{
        self,
        msg::{InterfaceId, State},
        responder::{Misconfigured, Step},
    },
};
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
pub use personality::{Honest, Personality};

/// What a device is.
#[derive(Debug)]
pub struct Config {
    /// Its SPDM side. The measurements in it are replaced by the personality's.
    pub spdm: ResponderConfig,
    /// Its interfaces.
    pub tdi: tdi::responder::Config,
    /// Its ports with IDE; none on a link without.
    pub ports: Vec<ide_km::responder::Port>,
}

/// What a device tells whoever models the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A TDI changed its state.
    TdiState {
        /// Which.
        interface: InterfaceId,
        /// To what.
        state: State,
    },
    /// A lock was refused, because the device's configuration cannot be locked.
    LockRefused {
        /// Of what.
        interface: InterfaceId,
        /// Why.
        why: Misconfigured,
    },
    /// A session is up.
    SessionStarted {
        /// Which.
        id: u32,
    },
    /// A session is gone, and all that hung on it.
    SessionEnded {
        /// Which.
        id: u32,
    },
    /// The device's own cryptography failed.
    Failed(CryptoError),
}

/// The machine.
pub struct Dsm {
    transport: Transport,
    spdm: spdm::Responder,
    ide: ide_km::Responder,
    tdi: tdi::Responder,
    personality: Box<dyn Personality>,
    provider: Arc<dyn Provider>,
    discovered: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl core::fmt::Debug for Dsm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Dsm({:?})", self.tdi)
    }
}

impl Dsm {
    /// A device that nobody has spoken to yet.
    pub fn new(config: Config, personality: Box<dyn Personality>, provider: Arc<dyn Provider>) -> Self {
        Self {
            transport: config.spdm.transport,
            spdm: spdm::Responder::new(config.spdm, Arc::clone(&provider)),
            ide: ide_km::Responder::new(config.ports),
            tdi: tdi::Responder::new(config.tdi),
            personality,
            provider,
            discovered: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A unit of the transport came in, a whole DOE data object or MCTP message: it gets one answer at most.
    pub fn handle(&mut self, now: Instant, unit: &[u8]) {
        if self.transport == Transport::Doe
            && let Ok(Object {
                vendor: PCI_SIG,
                kind: ObjectType::DISCOVERY,
                body,
            }) = Object::decode(unit)
        {
            return self.discover(body);
        }
        self.spdm.set_measurements(self.personality.measurements());
        self.spdm.handle(now, unit);
        self.settle(now);
    }

    /// Time has passed. Harmless if it is too early.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.spdm.handle_timeout(now);
        self.settle(now);
    }

    /// Appends the next unit to send to `out`; whether there was one. Act on the events first: an answer to STOP says
    /// that the interface is quiet.
    #[must_use]
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        match self.discovered.pop_front() {
            Some(object) => {
                out.extend_from_slice(&object);
                true
            }
            None => self.spdm.poll_transmit(out),
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.spdm.poll_timeout()
    }

    /// What there is to tell.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Something happened to a function that voids its lock: a BAR write, bus mastering off, a reset, a poisoned packet.
    pub fn fault(&mut self, interface: InterfaceId) {
        self.tdi.fault(interface);
        self.tell();
    }

    /// Tells the sessions that have subscribed to events of its type that something has happened. Of changed measurements they
    /// are told without that.
    pub fn notify(&mut self, event: Dmtf) {
        self.spdm.notify(event);
    }

    /// The device is reset: connection, sessions and keys are gone. Locked TDIs go to ERROR.
    pub fn reset(&mut self, now: Instant) {
        self.spdm.reset();
        self.discovered.clear();
        self.settle(now);
    }

    /// The state that a TDI is in, whatever it shows; `None` of one that the device does not have.
    pub fn state(&self, interface: InterfaceId) -> Option<State> {
        self.tdi.state(interface)
    }

    /// A port's IDE registers, which a model keeps up with what software writes to them. Streams of locked TDIs must not be
    /// written: call [`Dsm::fault`] where they are.
    pub fn port_mut(&mut self, port: u8) -> Option<&mut ide_km::responder::Port> {
        self.ide.port_mut(port)
    }

    /// The device's character.
    pub fn personality_mut(&mut self) -> &mut dyn Personality {
        &mut *self.personality
    }

    fn discover(&mut self, body: &[u8]) {
        let Ok(request) = discovery::Request::decode(body) else {
            return;
        };
        let index = usize::from(request.index);
        let found = DISCOVERED.get(index);
        let next = if index + 1 < DISCOVERED.len() {
            request.index + 1
        } else {
            0
        };
        let response = discovery::Response {
            vendor: if found.is_some() { PCI_SIG } else { NO_VENDOR },
            kind: found.copied().unwrap_or(ObjectType::DISCOVERY),
            next,
        };
        let (mut answer, mut object) = (Vec::new(), Vec::new());
        response.encode(&mut answer);
        Object::new(ObjectType::DISCOVERY, &answer).encode(&mut object);
        self.discovered.push_back(object);
    }

    /// Does what the SPDM side has found to do, and lets the consequences follow.
    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.spdm.poll_event() {
            match event {
                SpdmEvent::VendorRequest { session, payload } => match self.vendor(session, &payload) {
                    Answer::Object(payload) => self.spdm.respond_vendor(now, Some(&payload)),
                    Answer::Nothing => self.spdm.respond_vendor(now, None),
                    Answer::Refusal => self.spdm.refuse_vendor(now),
                },
                SpdmEvent::SessionStarted { id } => self.events.push_back(Event::SessionStarted { id }),
                SpdmEvent::SessionEnded { id } => {
                    self.ide.session_ended(id);
                    self.tdi.session_ended(id);
                    self.events.push_back(Event::SessionEnded { id });
                }
                // What a requester tells of is nothing to its interfaces.
                SpdmEvent::Told { .. } => {}
                SpdmEvent::Failed(error) => self.events.push_back(Event::Failed(error)),
                // Who asks, and with which keys, is no business of the TDIs'.
                SpdmEvent::RequesterAuthenticated { .. }
                | SpdmEvent::RequesterRefused { .. }
                | SpdmEvent::KeysUpdated { .. }
                | SpdmEvent::RequesterEndpointInfo { .. }
                | SpdmEvent::Answered { .. } => {}
            }
            self.tell();
        }
    }

    /// Streams' ends reach the TDIs, and TDIs' changes the outside.
    fn tell(&mut self) {
        while let Some(event) = self.ide.poll_event() {
            if let ide_km::responder::Event::Insecure { stream, session } = event {
                self.tdi.stream_stopped(stream, session);
            }
        }
        while let Some(tdi::responder::Event { interface, state }) = self.tdi.poll_event() {
            self.events.push_back(Event::TdiState { interface, state });
        }
    }

    /// An object of the PCI-SIG's that came over a session.
    fn vendor(&mut self, session: u32, payload: &[u8]) -> Answer {
        let Ok(PciSig { protocol, object }) = PciSig::decode(payload) else {
            return Answer::Nothing;
        };
        let answer = match protocol {
            Protocol::IDE_KM if self.ide.lacks_port(object) => return Answer::Refusal,
            Protocol::IDE_KM => self.ide.handle(session, object),
            Protocol::TDISP => {
                let honest = self.tdisp(session, object);
                honest.and_then(|honest| self.personality.answer(object, honest))
            }
            _ => None,
        };
        answer.map_or(Answer::Nothing, |object| Answer::of(protocol, &object))
    }

    fn tdisp(&mut self, session: u32, object: &[u8]) -> Option<Vec<u8>> {
        let view = View {
            ide: &self.ide,
            personality: &*self.personality,
        };
        match self.tdi.handle(session, object, &view) {
            Step::Respond(answer) => Some(answer),
            Step::Silent => None,
            Step::Lock(token) => {
                let interface = token.interface();
                let report = self.personality.report(interface, token.lock());
                if let Err(why) = report {
                    self.events.push_back(Event::LockRefused { interface, why });
                }
                Some(self.tdi.locked(token, report, &*self.provider))
            }
            Step::Stop(token) => {
                self.personality.stop(token.interface());
                Some(self.tdi.stopped(token))
            }
            Step::Bind(token) => {
                let done = self.personality.bind_peer(token.interface(), token.stream());
                Some(self.tdi.bound(token, done))
            }
            Step::Unbind(token) => {
                self.personality.unbind_peer(token.interface(), token.stream());
                Some(self.tdi.unbound(token))
            }
            Step::SetAttribute(token) => {
                let done = self
                    .personality
                    .set_mmio_attribute(token.interface(), token.range());
                Some(self.tdi.attribute_set(token, done))
            }
            Step::Vendor(token) => {
                let answer = self.personality.vendor(token.interface(), token.said());
                Some(self.tdi.vendor_answered(token, answer))
            }
        }
    }
}

/// How an object of the PCI-SIG's is answered.
enum Answer {
    /// With this payload.
    Object(Vec<u8>),
    /// Not at all.
    Nothing,
    /// With an ERROR of SPDM's.
    Refusal,
}

impl Answer {
    fn of(protocol: Protocol, object: &[u8]) -> Self {
        let mut payload = Vec::with_capacity(1 + object.len());
        PciSig { protocol, object }.encode(&mut payload);
        Self::Object(payload)
    }
}

/// What the TDIs must know of the rest.
struct View<'a> {
    ide: &'a ide_km::Responder,
    personality: &'a dyn Personality,
}

impl tdi::responder::Device for View<'_> {
    fn stream_is_secure(&self, stream: u8, session: u32) -> bool {
        self.ide.is_secure(stream, session)
    }

    fn default_stream(&self, stream: u8) -> Result<(), Misconfigured> {
        self.ide.check_default_stream(stream)
    }

    fn peer_stream(&self, stream: u8) -> Result<(), Misconfigured> {
        self.ide.check_peer_stream(stream)
    }

    fn shown_state(&self, interface: InterfaceId, state: State) -> State {
        self.personality.shown_state(interface, state)
    }
}

/// What the mailbox takes, by index.
const DISCOVERED: [ObjectType; 3] = [ObjectType::DISCOVERY, ObjectType::SPDM, ObjectType::SECURED_SPDM];

/// Vendor ID of an index that is out of range.
const NO_VENDOR: u16 = 0xffff;
