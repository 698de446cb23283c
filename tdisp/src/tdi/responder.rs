//! The device's side of TDISP: a table of interfaces, and the rules by which their states change.
//!
//! ```text
//!                 LOCK                    START, with the nonce
//!   ┌──────────┐ ─────────► ┌──────────┐ ──────────────────────► ┌───────┐
//!   │ UNLOCKED │            │  LOCKED  │                         │  RUN  │
//!   └──────────┘ ◄───────── └────┬─────┘                         └──┬──┬─┘
//!     ▲  ▲        STOP           │ fault, end of session,           │  │
//!     │  └───────────────────────┼───────────── STOP ───────────────┘  │
//!     │             STOP    ┌────▼────┐    or of its IDE stream        │
//!     └──────────────────── │  ERROR  │ ◄──────────────────────────────┘
//!                           └─────────┘
//! ```
//!
//! A request is checked in the order that the specification gives its errors (PCIe §11.3, reference order): header,
//! version, code, interface, length, state, content. A request that fails a check changes nothing; in particular one
//! that comes in the wrong state is answered INVALID_INTERFACE_STATE and leaves the state alone.
//!
//! Where a request needs something done to the device, the machine first checks, then hands out a token
//! ([`Locking`], [`Stopping`]), and changes state only when the token comes back with what became of it. A token that
//! is dropped has changed nothing.
//!
//! Requests arrive inside a secured session only: who calls [`Responder::handle`] knows its id. A lock belongs to the
//! session that made it: another session, which anybody who reaches the mailbox can open, may not read its report, start
//! it or stop it; or else it could stop it and lock it anew behind the owner's back.
//!
//! BIND_P2P_STREAM, UNBIND_P2P_STREAM, SET_MMIO_ATTRIBUTE and vendor-defined messages are there if [`Optional`] says so, and
//! are UNSUPPORTED_REQUEST where it does not. A refusal of theirs changes nothing either.

mod configuration;
mod optional;
mod tokens;

use super::{
    interface::{Held, Interface, Locked},
    msg::{
        Capabilities, Code, Error, ErrorCode, HEADER_SIZE, Header, InterfaceId, Lock, LockFlags, NONCE_SIZE,
        Request, Response, State, Version,
    },
    report::SIZE_MAX,
};
use crate::{crypto::Provider, wire::DecodeError};
use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
pub use configuration::{Configuration, Misconfigured, Space, SpaceKind};
pub use optional::{NotSettable, Optional, VendorRefusal};
pub use tokens::{Attributing, Binding, Hearing, Locking, Step, Stopping, Unbinding};
use zeroize::Zeroizing;

/// What the device is.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its interfaces.
    pub interfaces: Vec<InterfaceId>,
    /// Whether a lock needs an IDE stream.
    pub ide: Ide,
    /// Flags that a lock may have.
    pub lock_flags: LockFlags,
    /// Bits of the addresses that the device can send; [`ADDRESS_WIDTH`] is what TEE-IO systems expect at least.
    pub address_width: u8,
    /// Bytes of the report that one answer carries at most; at least 1.
    pub portion_max: u16,
    /// Requests beyond those that every device has.
    pub optional: Optional,
}

impl Config {
    /// A device with IDE and these interfaces: all lock flags but BIND_P2P, no optional request.
    pub fn new(interfaces: Vec<InterfaceId>) -> Self {
        Self {
            interfaces,
            ide: Ide::Required,
            lock_flags: LockFlags::NO_FW_UPDATE
                | LockFlags::SYS_CACHE_LINE_SIZE
                | LockFlags::LOCK_MSIX
                | LockFlags::ALL_REQUEST_REDIRECT,
            address_width: ADDRESS_WIDTH,
            portion_max: u16::MAX,
            optional: Optional::default(),
        }
    }
}

/// Bits of addresses that TEE-IO systems expect a device to send at least.
pub const ADDRESS_WIDTH: u8 = 52;

/// Whether a lock needs an IDE stream whose keys were set over the same session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ide {
    /// It does, as the specification says.
    Required,
    /// The device's link has no IDE, as in an emulated machine: locks are given without. Such a lock says nothing about
    /// what happens on the link. It also does without the one thing that tells the TSM's session from others: whoever
    /// reaches the mailbox can reset the connection, so that TDIs go to ERROR, and then stop and lock them over a session of
    /// his own, which with IDE lacks the stream's keys. A real device must never be built with it.
    Absent,
}

/// What the machine must know of the rest of the device to judge a request.
pub trait Device {
    /// Whether all keys of an IDE stream are set and in use, and were set over this session.
    fn stream_is_secure(&self, stream: u8, session: u32) -> bool;

    /// Whether the IDE registers have this stream, and no other, as the default stream, for TC 0.
    fn default_stream(&self, _stream: u8) -> Result<(), Misconfigured> {
        Ok(())
    }

    /// Whether the IDE registers have this stream once, not as the default stream, and apart from all others.
    fn peer_stream(&self, _stream: u8) -> Result<(), Misconfigured> {
        Ok(())
    }

    /// The state that GET_DEVICE_INTERFACE_STATE answers. An honest device answers the one that it is in.
    fn shown_state(&self, _interface: InterfaceId, state: State) -> State {
        state
    }
}

/// An interface changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Which.
    pub interface: InterfaceId,
    /// To what.
    pub state: State,
}

/// The machine.
#[derive(Debug)]
pub struct Responder {
    config: Config,
    interfaces: BTreeMap<InterfaceId, Interface>,
    events: VecDeque<Event>,
}

impl Responder {
    /// All interfaces are unlocked.
    pub fn new(config: Config) -> Self {
        let unlocked = config
            .interfaces
            .iter()
            .map(|interface| (*interface, Interface::Unlocked));
        Self {
            interfaces: unlocked.collect(),
            config,
            events: VecDeque::new(),
        }
    }

    /// Takes a TDISP object that came over a session.
    pub fn handle(&mut self, session: u32, object: &[u8], device: &dyn Device) -> Step {
        let Ok((header, body)) = Header::decode(object) else {
            return Step::Silent;
        };
        match self.check(&header, body) {
            Ok(request) => self.act(&header, request, session, device),
            Err(refusal) => respond(header.interface, &Response::Error(refusal)),
        }
    }

    /// The configuration is frozen and this is the report of it; or it cannot be. Answers what to send.
    pub fn locked(
        &mut self,
        token: Locking,
        report: Result<Vec<u8>, Misconfigured>,
        provider: &dyn Provider,
    ) -> Vec<u8> {
        let interface = token.interface;
        match self.commit_lock(token, report, provider) {
            Ok(nonce) => encode(interface, &Response::Lock { nonce: *nonce }),
            Err(code) => encode(interface, &Response::Error(Error::new(code, 0))),
        }
    }

    /// The interface is quiet and its secrets are gone. Answers what to send.
    pub fn stopped(&mut self, token: Stopping) -> Vec<u8> {
        self.change(token.interface, Interface::Unlocked);
        encode(token.interface, &Response::Stop)
    }

    /// Something happened to the function that voids its lock: BARs, bus mastering, a reset, a poisoned packet.
    pub fn fault(&mut self, interface: InterfaceId) {
        self.fail(|candidate, _| candidate == interface);
    }

    /// A session is over: what was locked over it is in ERROR (PCIe §11.4.5).
    pub fn session_ended(&mut self, session: u32) {
        self.fail(|_, held| held.session == session);
    }

    /// An IDE stream of a session is insecure: what was locked over that session with it, or has it bound, is in ERROR.
    pub fn stream_stopped(&mut self, stream: u8, session: u32) {
        self.fail(|_, held| held.session == session && held.uses(stream));
    }

    /// The state that an interface is in; `None` of one that the device does not have.
    pub fn state(&self, interface: InterfaceId) -> Option<State> {
        self.interfaces.get(&interface).map(Interface::state)
    }

    /// What changed since the last call.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The checks that need no knowledge of the device but its table.
    fn check<'a>(&self, header: &Header, body: &'a [u8]) -> Result<Request<'a>, Error<'static>> {
        let refuse = |code| Error::new(code, 0);
        if header.version != Version::V1_0 {
            return Err(refuse(ErrorCode::VERSION_MISMATCH));
        }
        if !MANDATORY.contains(&header.code) && !self.config.optional.has(header.code) {
            return Err(Error::new(ErrorCode::UNSUPPORTED_REQUEST, header.code.0.into()));
        }
        let state = self
            .state(header.interface)
            .ok_or(refuse(ErrorCode::INVALID_INTERFACE))?;
        let request = Request::decode(header.code, body);
        if matches!(
            request,
            Err(DecodeError::Truncated { .. } | DecodeError::Trailing { .. })
        ) {
            return Err(refuse(ErrorCode::INVALID_REQUEST));
        }
        if !legal(header.code, state) {
            return Err(refuse(ErrorCode::INVALID_INTERFACE_STATE));
        }
        request.map_err(|_| refuse(ErrorCode::INVALID_REQUEST))
    }

    fn act(&mut self, header: &Header, request: Request<'_>, session: u32, device: &dyn Device) -> Step {
        let interface = header.interface;
        if OWNERS.contains(&header.code) && self.is_anothers(interface, session) {
            return respond(
                interface,
                &Response::Error(Error::new(ErrorCode::INVALID_REQUEST, 0)),
            );
        }
        let done = match request {
            Request::GetVersion => Ok(Response::Version(Vec::from([Version::V1_0]))),
            Request::GetCapabilities { .. } => Ok(Response::Capabilities(self.capabilities())),
            Request::GetState => self.show(interface, device),
            Request::GetReport { offset, length } => self.report(interface, offset, length),
            Request::Start { nonce } => self.start(interface, &nonce),
            Request::Lock(lock) => match self.check_lock(&lock, session, device) {
                Ok(()) => {
                    return Step::Lock(Locking {
                        interface,
                        lock,
                        session,
                    });
                }
                Err(code) => Err(code),
            },
            Request::Stop => return Step::Stop(Stopping { interface }),
            Request::BindP2p { stream } => match self.check_bind(interface, stream, session, device) {
                Ok(token) => return Step::Bind(token),
                Err(code) => Err(code),
            },
            Request::UnbindP2p { stream } => match self.check_unbind(interface, stream) {
                Ok(token) => return Step::Unbind(token),
                Err(code) => Err(code),
            },
            Request::SetMmioAttribute(range) => match self.check_attribute(interface, range) {
                Ok(token) => return Step::SetAttribute(token),
                Err(code) => Err(code),
            },
            Request::Vdm(vdm) => {
                let said = vdm.to_kept();
                return Step::Vendor(Hearing { interface, said });
            }
        };
        respond(
            interface,
            &done.unwrap_or_else(|code| Response::Error(Error::new(code, 0))),
        )
    }

    /// Whether the interface is locked over another session.
    fn is_anothers(&self, interface: InterfaceId, session: u32) -> bool {
        let held = self.interfaces.get(&interface).and_then(Interface::held);
        held.is_some_and(|held| held.session != session)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            dsm_caps: 0,
            requests: self.config.optional.announced(),
            lock_flags: self.config.lock_flags,
            address_width: self.config.address_width,
            outstanding_here: 1,
            outstanding_all: 1,
        }
    }

    fn show(&self, interface: InterfaceId, device: &dyn Device) -> Result<Response<'static>, ErrorCode> {
        let state = self.state(interface).ok_or(ErrorCode::INVALID_INTERFACE)?;
        Ok(Response::State(device.shown_state(interface, state)))
    }

    /// Offset and length rules (PCIe §11.3.10): nothing beyond the end, and a length of 0 asks for nothing.
    fn report(&self, interface: InterfaceId, offset: u16, length: u16) -> Result<Response<'_>, ErrorCode> {
        let held = self.interfaces.get(&interface).and_then(Interface::held);
        let report = &held.ok_or(ErrorCode::INVALID_INTERFACE_STATE)?.report;
        let rest = report
            .get(usize::from(offset)..)
            .filter(|rest| !rest.is_empty() && length > 0);
        let rest = rest.ok_or(ErrorCode::INVALID_REQUEST)?;
        let size = rest.len().min(length.min(self.config.portion_max.max(1)).into());
        let (portion, remainder) = rest.split_at(size);
        let remainder = u16::try_from(remainder.len()).map_err(|_| ErrorCode::UNSPECIFIED)?;
        Ok(Response::Report { portion, remainder })
    }

    fn start(
        &mut self,
        interface: InterfaceId,
        nonce: &[u8; NONCE_SIZE],
    ) -> Result<Response<'static>, ErrorCode> {
        let place = self
            .interfaces
            .get_mut(&interface)
            .ok_or(ErrorCode::INVALID_INTERFACE)?;
        match core::mem::replace(place, Interface::Error) {
            Interface::Locked(locked) => match locked.start(nonce) {
                Ok(held) => {
                    self.change(interface, Interface::Run(held));
                    Ok(Response::Start)
                }
                Err(locked) => {
                    *place = Interface::Locked(locked);
                    Err(ErrorCode::INVALID_NONCE)
                }
            },
            other => {
                *place = other;
                Err(ErrorCode::INVALID_INTERFACE_STATE)
            }
        }
    }

    fn check_lock(&self, lock: &Lock, session: u32, device: &dyn Device) -> Result<(), ErrorCode> {
        if !self.config.lock_flags.contains(lock.flags) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        if self.config.ide == Ide::Absent {
            return Ok(());
        }
        // Table 11-12: keys that are not there, or are another session's, are the request's fault; registers the device's.
        if !device.stream_is_secure(lock.default_stream, session) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let registers = device.default_stream(lock.default_stream);
        registers.map_err(|_| ErrorCode::INVALID_DEVICE_CONFIGURATION)
    }

    fn commit_lock(
        &mut self,
        token: Locking,
        report: Result<Vec<u8>, Misconfigured>,
        provider: &dyn Provider,
    ) -> Result<Zeroizing<[u8; NONCE_SIZE]>, ErrorCode> {
        // The token is from a time when it was unlocked; it may have come back late.
        if self.state(token.interface) != Some(State::UNLOCKED) {
            return Err(ErrorCode::INVALID_INTERFACE_STATE);
        }
        // An empty report, or one beyond 16-bit offsets, could never be read.
        let readable = report
            .ok()
            .filter(|report| (1..=SIZE_MAX).contains(&report.len()));
        let report = readable.ok_or(ErrorCode::INVALID_DEVICE_CONFIGURATION)?;
        let mut nonce = Zeroizing::new([0; NONCE_SIZE]);
        provider
            .random(&mut *nonce)
            .map_err(|_| ErrorCode::INSUFFICIENT_ENTROPY)?;
        let stream = (self.config.ide == Ide::Required).then_some(token.lock.default_stream);
        let held = Held {
            session: token.session,
            stream,
            report,
            flags: token.lock.flags,
            peers: BTreeSet::new(),
        };
        self.change(
            token.interface,
            Interface::Locked(Locked::new(held, nonce.clone())),
        );
        Ok(nonce)
    }

    fn fail(&mut self, concerns: impl Fn(InterfaceId, &Held) -> bool) {
        for (interface, state) in &mut self.interfaces {
            if state.held().is_some_and(|held| concerns(*interface, held)) {
                *state = Interface::Error;
                self.events.push_back(Event {
                    interface: *interface,
                    state: State::ERROR,
                });
            }
        }
    }

    fn change(&mut self, interface: InterfaceId, to: Interface) {
        let state = to.state();
        let from = self.interfaces.insert(interface, to);
        if from.is_none_or(|from| from.state() != state) {
            self.events.push_back(Event { interface, state });
        }
    }
}

/// Which request is legal in which state (PCIe Table "TDISP request in TDI states").
fn legal(code: Code, state: State) -> bool {
    match code {
        Code::LOCK => state == State::UNLOCKED,
        Code::GET_REPORT => matches!(state, State::LOCKED | State::RUN),
        Code::START => state == State::LOCKED,
        Code::BIND_P2P | Code::UNBIND_P2P | Code::SET_MMIO_ATTRIBUTE => state == State::RUN,
        _ => true,
    }
}

fn respond(interface: InterfaceId, response: &Response<'_>) -> Step {
    Step::Respond(encode(interface, response))
}

fn encode(interface: InterfaceId, response: &Response<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_SIZE);
    response.encode(interface, &mut out);
    out
}

/// The requests that only the session may make which holds the lock.
const OWNERS: [Code; 6] = [
    Code::GET_REPORT,
    Code::START,
    Code::STOP,
    Code::BIND_P2P,
    Code::UNBIND_P2P,
    Code::SET_MMIO_ATTRIBUTE,
];

/// The requests that [`Capabilities::REQUESTS_MANDATORY`] announces.
const MANDATORY: [Code; 7] = [
    Code::GET_VERSION,
    Code::GET_CAPABILITIES,
    Code::LOCK,
    Code::GET_REPORT,
    Code::GET_STATE,
    Code::START,
    Code::STOP,
];
