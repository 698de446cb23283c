//! The responder: who answers. It shows its certificates and measurements, signs, and holds the device's end of sessions.
//!
//! ```text
//!          GET_VERSION        GET_CAPABILITIES    NEGOTIATE_ALGORITHMS
//!   Start ────────────► Versioned ──────────► Capable ──────────► Agreed ⟲ GET_DIGESTS GET_CERTIFICATE CHALLENGE
//!     ▲ GET_VERSION from anywhere: sessions and keys go             │        GET_MEASUREMENTS
//!                                                                   │ KEY_EXCHANGE, PSK_EXCHANGE
//!                                      END_SESSION ◄─ Live ◄─────── Shaking
//!                                                      ⟲      FINISH, PSK_FINISH
//! ```
//! A requester may be asked who it is, and other things, in its turn: `encap` has that flow, and while it goes on nothing else
//! is answered.
//!
//! Outside a session and in each session there is one state, and what may come in it is listed in one place, `dispatch`.
//! Whatever else comes is answered with the error that the standard has for it and changes nothing, but for two things: a
//! record that does not open and a wrong proof in FINISH or PSK_FINISH end the session that they belong to. The PCI-SIG's vendor-defined
//! requests (IDE_KM, TDISP) outside a session, or in one that authenticates only, are not answered at all (PCIe §6.33.3, §11.3).
//!
//! A device is what its [`ResponderConfig`] has. Each group of messages is a file of its own, with functions that take an
//! `Asked` and give a `Reply`; its requests are rows of `dispatch`, its capabilities in [`ResponderConfig::flags`].
//!
//! Memory is bounded: transcripts are running hashes, sessions at most [`ResponderConfig::sessions_max`], and a handshake
//! that is not finished in time is dropped.

mod chunk;
mod config;
mod dispatch;
mod encap;
mod endpoint;
mod events;
mod handshake;
mod identity;
mod keys;
mod measure;
mod mel;
mod mutual;
mod negotiate;
mod patience;
mod provision;
mod psk;
mod session;

pub use config::{Measured, Measurement, MultiKey, PublicKey, ResponderConfig, Slot, usage};
pub use endpoint::EndpointInfo;
pub use keys::{ChangesKeyPairs, KeyPair, KeyPairs};
pub use mutual::Mutual;
pub use patience::{Delay, Wait};
pub use provision::{Csr, KeyCsr, NotDone, Provisioning, Store, WantedCsr};
pub use psk::{PreSharedKeys, Psk};

pub(super) use config::{held, holder, provisioned};

use super::{
    error::Misbehaviour,
    msg::{
        Header, Payload, Version,
        error::{self as error_msg, ErrorCode, Extended},
        mel as mel_msg,
        send_event::Dmtf,
        vendor::{self as vendor_msg, Body},
    },
    secured::{Record, RecordError},
    transport::Kind,
};
use crate::{
    clock::Instant,
    crypto::{CryptoError, Provider, Wiped},
    wire::DecodeError,
};
use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use chunk::Chunks;
use dispatch::{Asked, At};
use encap::Flow;
use events::Subscriptions;
use negotiate::Phase;
use patience::Patience;
use provision::Provisioned;
use session::{Open, Sessions};

/// What a responder tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A PCI-SIG request came in a session; [`Responder::respond_vendor`] answers it.
    VendorRequest {
        /// The session.
        session: u32,
        /// The payload, protocol byte first. It may carry IDE's keys.
        payload: Wiped,
    },
    /// A requester has finished a session's handshake.
    SessionStarted {
        /// The session.
        id: u32,
    },
    /// A session that had started is gone, with its keys: ended, lost, or dropped with the connection.
    SessionEnded {
        /// The session.
        id: u32,
    },
    /// The requester told of events.
    Told {
        /// The session.
        session: u32,
        /// The events, in the order of their numbers.
        events: Vec<super::events::Event>,
    },
    /// A requester has proven who it is: in the session named, or by a challenge.
    RequesterAuthenticated {
        /// The session, if it was in one.
        session: Option<u32>,
        /// Its slot; 0xf for a key that was provisioned.
        slot: u8,
        /// Its chain object, or the key that was provisioned.
        identity: Vec<u8>,
    },
    /// A requester that was asked to authenticate itself, or for something else, has answered what does not go.
    RequesterRefused {
        /// The session whose handshake cannot be finished now, if it was for one.
        session: Option<u32>,
        /// What was wrong.
        why: Misbehaviour,
    },
    /// The requester uses new keys of ours in a session, as [`Responder::update_keys`] wanted.
    KeysUpdated {
        /// The session.
        session: u32,
    },
    /// What the requester answers to [`Responder::ask`].
    Answered {
        /// The session.
        session: u32,
        /// The whole message, ERROR perhaps.
        response: Vec<u8>,
    },
    /// What the requester says of itself, after [`Responder::ask_endpoint_info`].
    RequesterEndpointInfo {
        /// The session.
        session: u32,
        /// Device classes, as [`DeviceClasses`](crate::spdm::msg::endpoint_info::DeviceClasses) reads them.
        info: Vec<u8>,
        /// Whether it has signed that, with our nonce.
        signed: bool,
    },
    /// Our own side could not do what it must; the requester was told that something failed.
    Failed(CryptoError),
}

/// The responder's machine. It takes and gives units of its transport; each that comes in gets at most one answer.
pub struct Responder {
    config: ResponderConfig,
    provider: Arc<dyn Provider>,
    phase: Phase,
    sessions: Sessions,
    patience: Patience,
    chunks: Chunks,
    provisioned: Provisioned,
    subscriptions: Subscriptions,
    /// What is being asked of the requester.
    flow: Option<Flow>,
    /// The vendor-defined request that is to be answered.
    vendor: Option<VendorAsked>,
    /// What follows once the answer that is being made has gone out.
    after: Option<After>,
    /// The requester is to be told that the connection begins anew, in the version that it had.
    resynch: Option<Version>,
    /// Measurements changed since they were last signed.
    changed: bool,
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

/// A vendor-defined request that waits for its answer.
struct VendorAsked {
    session: u32,
    /// Whether it came in the large form (1.4), in which it is then answered.
    large: bool,
}

/// What follows an answer: the answer itself still goes under the keys that the request came under.
enum After {
    /// A handshake is complete, and its session starts.
    Start(u32),
    /// A session ends.
    Close(u32),
}

impl Responder {
    /// A responder that nobody has spoken to yet.
    pub fn new(mut config: ResponderConfig, provider: Arc<dyn Provider>) -> Self {
        config.offer.mel_specification = match config.mel {
            Some(_) => mel_msg::SPECIFICATION_DMTF,
            None => 0,
        };
        Self {
            sessions: Sessions::new(config.sessions_max),
            provisioned: Provisioned::new(&config.slots),
            config,
            provider,
            phase: Phase::Start,
            patience: Patience::default(),
            chunks: Chunks::default(),
            subscriptions: Subscriptions::default(),
            flow: None,
            vendor: None,
            after: None,
            resynch: None,
            changed: false,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A unit of the transport came in. It takes the place of a vendor-defined request that has not been answered.
    pub fn handle(&mut self, now: Instant, unit: &[u8]) {
        self.vendor = None;
        self.chunks.forget_ack();
        self.expire(now);
        // What is nothing of SPDM's is the business of others behind the same mailbox.
        match self.config.transport.unwrap(unit) {
            Ok(Some((Kind::Clear, message))) => self.on_message(now, At::Clear, message),
            Ok(Some((Kind::Record, record))) => self.on_record(now, record),
            Ok(None) | Err(_) => {}
        }
    }

    /// Time has passed. Harmless if it is too early.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
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
        self.sessions.next_expiry()
    }

    /// What there is to tell.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Answers the last [`Event::VendorRequest`]: with a payload, protocol byte first, or with silence. Without such a
    /// request, or when its session has gone since, nothing happens.
    pub fn respond_vendor(&mut self, now: Instant, payload: Option<&[u8]>) {
        let (Some(asked), Some(payload)) = (self.vendor.take(), payload) else {
            return;
        };
        let Some(agreed) = self.phase.agreed() else { return };
        let version = agreed.connection.negotiated.version;
        let mut body = Body::pci_sig(version, payload);
        body.large = body.large.or(asked.large.then_some(0));
        let reply = match payload.len() <= Body::payload_max(version) {
            true => Ok(Some(vendor_msg::Response(body).to_vec())),
            false => {
                let empty = vendor_msg::Response(Body::pci_sig(version, &[])).to_vec();
                Err(Refusal::response_too_large(empty.len() + payload.len()))
            }
        };
        self.reply(now, At::Session(asked.session), reply);
    }

    /// Answers the last [`Event::VendorRequest`] with an error: its content is wrong (InvalidRequest).
    pub fn refuse_vendor(&mut self, now: Instant) {
        if let Some(asked) = self.vendor.take() {
            self.reply(now, At::Session(asked.session), Err(INVALID));
        }
    }

    /// What is measured from now on. A requester that asks in the same connection is told of the change, and its session ends
    /// if its policy wants that (SessionPolicy, TerminationPolicy). Sessions that want to know of such events are told.
    pub fn set_measurements(&mut self, measurements: Vec<Measurement>) {
        let Some(changed) = events::changed_measurements(&self.config.measurements, &measurements) else {
            return;
        };
        self.changed = true;
        self.config.measurements = measurements;
        self.notify(Dmtf::MeasurementChanged(changed));
        for id in self.sessions.ended_by_change() {
            self.close(id);
        }
    }

    /// Forgets the connection and every session with its keys, as a reset of the device does; what was provisioned and waits
    /// for a reset counts from now on.
    pub fn reset(&mut self) {
        self.forget();
        for (number, slot) in self.provisioned.reset() {
            self.put_slot(number, slot);
        }
    }

    /// Forgets the connection and every session with its keys.
    fn forget(&mut self) {
        self.phase = Phase::Start;
        self.chunks = Chunks::default();
        self.subscriptions = Subscriptions::default();
        self.patience = Patience::default();
        self.flow = None;
        self.vendor = None;
        self.after = None;
        self.resynch = None;
        self.changed = false;
        for id in self.sessions.clear() {
            self.events.push_back(Event::SessionEnded { id });
        }
    }

    /// Forgets the connection, and the requester is told to begin anew when it next says anything (RequestResynch).
    pub fn resynch(&mut self) {
        let spoken = self.phase.version();
        self.forget();
        self.resynch = spoken;
    }

    /// The sessions that have started.
    pub fn sessions(&self) -> Vec<u32> {
        self.sessions.live()
    }

    // Below: what comes in.

    fn on_record(&mut self, now: Instant, body: &[u8]) {
        if self.resynch.is_some() {
            return self.reply(now, At::Clear, Err(Refusal::new(ErrorCode::REQUEST_RESYNCH)));
        }
        let mut body = Wiped::new(body.to_vec());
        let record = match Record::decode(self.config.transport, &mut body) {
            Ok(record) => record,
            Err(error) => return self.reply(now, At::Clear, Err(error.into())),
        };
        let id = record.session;
        let opened = match self.sessions.find(id) {
            Some(Open::Shaking(shaking)) => shaking.handshake.open(record),
            Some(Open::Live(live)) => live.session.open(record),
            None => return self.reply(now, At::Clear, Err(DECRYPT)),
        };
        match opened {
            Ok(message) => {
                self.sessions.heard(id, now);
                self.on_message(now, At::Session(id), message);
            }
            // In order, and nobody's here: no answer could be in its language.
            Err(RecordError::Foreign { .. }) => self.sessions.heard(id, now),
            Err(_) => {
                self.close(id);
                self.reply(now, At::Clear, Err(DECRYPT));
            }
        }
    }

    fn on_message(&mut self, now: Instant, at: At, message: &[u8]) {
        if let Ok(header) = Header::peek(message) {
            self.chunks.interrupted_by(header.code);
        }
        let reply = self.answer(Asked {
            now,
            at,
            message,
            measured: false,
        });
        self.reply(now, at, reply);
    }

    /// A request, and its bytes without the padding that a message in clear may have.
    fn read<'a, M: Payload<'a>>(&self, asked: Asked<'a>) -> Result<(M, &'a [u8]), Refusal> {
        let context = self.phase.context().ok_or(UNEXPECTED)?;
        let in_clear = asked.at == At::Clear;
        Ok(self.config.transport.read(in_clear, asked.message, &context)?)
    }

    // Below: what goes out.

    /// Sends an answer to where the request came from, and does what follows it.
    fn reply(&mut self, now: Instant, at: At, reply: Reply) {
        let message = match reply {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(refusal) => self.error_message(refusal),
        };
        let message = self.in_pieces(at, message);
        match at {
            At::Clear => self.send(Kind::Clear, &message),
            At::Session(id) => self.send_secured(id, &message),
        }
        match self.after.take() {
            Some(After::Start(id)) => self.start(now, id),
            Some(After::Close(id)) => self.close(id),
            None => {}
        }
    }

    fn send(&mut self, kind: Kind, body: &[u8]) {
        self.outbox.push_back(self.config.transport.wrap(kind, body));
    }

    /// Seals an answer. A session that cannot seal is of no more use.
    fn send_secured(&mut self, id: u32, message: &[u8]) {
        let mut record = Vec::new();
        let sealed = match self.sessions.find(id) {
            Some(Open::Shaking(shaking)) => shaking.handshake.seal(message, &mut record),
            Some(Open::Live(live)) => live.session.seal(message, &mut record),
            None => return,
        };
        match sealed {
            Ok(()) => self.send(Kind::Record, &record),
            Err(_) => self.close(id),
        }
    }

    fn error_message(&mut self, refusal: Refusal) -> Vec<u8> {
        if let Some(error) = refusal.ours {
            self.events.push_back(Event::Failed(error));
        }
        let connection = self.phase.version().or(self.resynch);
        let version = refusal.version.or(connection).unwrap_or(Version::V1_0);
        refusal.to_message(version)
    }

    /// Bytes of the largest request that is taken, in chunks.
    fn message_max(&self) -> usize {
        self.config.chunk.unwrap_or(self.config.transfer_size) as usize
    }

    fn close(&mut self, id: u32) {
        self.subscriptions.remove(id);
        self.flow.take_if(|flow| flow.is_of(id));
        if let Some(Open::Live(_)) = self.sessions.remove(id) {
            self.events.push_back(Event::SessionEnded { id });
        }
    }

    fn expire(&mut self, now: Instant) {
        for id in self.sessions.expired(now) {
            self.close(id);
        }
    }
}

impl core::fmt::Debug for Responder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Responder({:?}, sessions {:x?})",
            self.phase,
            self.sessions.live()
        )
    }
}

/// An answer, silence, or an ERROR.
type Reply = Result<Option<Vec<u8>>, Refusal>;

/// An ERROR to be sent.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    code: ErrorCode,
    data: u8,
    extended: Extended,
    /// The version that the ERROR is in, where it is not the connection's.
    version: Option<Version>,
    /// Our own failure, where it is that.
    ours: Option<CryptoError>,
}

impl Refusal {
    const fn new(code: ErrorCode) -> Self {
        Self {
            code,
            data: 0,
            extended: Extended::Nothing,
            version: None,
            ours: None,
        }
    }

    /// The same, told in `version`: the connection has none yet, or is none of it.
    const fn told_in(self, version: Version) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    /// The answer, of so many bytes, is more than the requester takes.
    fn response_too_large(size: usize) -> Self {
        Self {
            extended: Extended::actual_size(size),
            ..Self::new(ErrorCode::RESPONSE_TOO_LARGE)
        }
    }

    /// Whether a proof was wrong: then keys are in doubt, not only a message.
    fn is_of_proof(&self) -> bool {
        self.code == ErrorCode::DECRYPT_ERROR
    }

    const fn unsupported(code: super::msg::Code) -> Self {
        Self {
            data: code.0,
            ..Self::new(ErrorCode::UNSUPPORTED_REQUEST)
        }
    }

    /// In a version that does not have the error yet, the next best one.
    fn to_message(self, version: Version) -> Vec<u8> {
        let code = known_error(version, self.code);
        let extended = match code == self.code {
            true => self.extended.to_vec(),
            false => Vec::new(),
        };
        let message = error_msg::Response {
            version,
            code,
            data: self.data,
            extended: &extended,
        };
        message.to_vec()
    }
}

/// Versions before 1.2 have no word for sizes, for a session that is missing, and for what is done in neither of them; those
/// before 1.4 none for a chain that their fields cannot count.
fn known_error(version: Version, code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::DATA_TOO_LARGE if version < Version::V1_4 => ErrorCode::UNSPECIFIED,
        _ if version >= Version::V1_2 => code,
        ErrorCode::REQUEST_TOO_LARGE => ErrorCode::INVALID_REQUEST,
        ErrorCode::SESSION_REQUIRED => ErrorCode::UNEXPECTED_REQUEST,
        ErrorCode::RESPONSE_TOO_LARGE | ErrorCode::OPERATION_FAILED => ErrorCode::UNSPECIFIED,
        _ => code,
    }
}

const UNEXPECTED: Refusal = Refusal::new(ErrorCode::UNEXPECTED_REQUEST);
const INVALID: Refusal = Refusal::new(ErrorCode::INVALID_REQUEST);
const DECRYPT: Refusal = Refusal::new(ErrorCode::DECRYPT_ERROR);
/// More would have to be kept of what is to be signed than any requester needs: what begins it anew makes room.
const TOO_MUCH: Refusal = Refusal::new(ErrorCode::UNSPECIFIED);

impl From<DecodeError> for Refusal {
    fn from(_: DecodeError) -> Self {
        INVALID
    }
}

impl From<CryptoError> for Refusal {
    fn from(error: CryptoError) -> Self {
        Self {
            ours: Some(error),
            ..Self::new(ErrorCode::UNSPECIFIED)
        }
    }
}
