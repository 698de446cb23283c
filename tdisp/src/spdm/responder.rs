//! The responder: who answers. It shows its certificates and measurements, signs, and holds the device's end of sessions.
//!
//! ```text
//!          GET_VERSION        GET_CAPABILITIES    NEGOTIATE_ALGORITHMS
//!   Start ────────────► Versioned ──────────► Capable ──────────► Agreed ⟲ GET_DIGESTS GET_CERTIFICATE CHALLENGE
//!     ▲ GET_VERSION from anywhere: sessions and keys go             │        GET_MEASUREMENTS
//!                                                                   │ KEY_EXCHANGE
//!                                      END_SESSION ◄─ Live ◄─────── Shaking
//!                                                      ⟲      FINISH
//! ```
//! Outside a session and in each session there is one state, and what may come in it is listed in one place. Whatever
//! else comes is answered with the error that the standard has for it and changes nothing, but for two things: a record
//! that does not open and a wrong proof in FINISH end the session that they belong to. The PCI-SIG's vendor-defined requests
//! (IDE_KM, TDISP) outside a session are not answered at all (PCIe §6.33.3, §11.3).
//!
//! Memory is bounded: transcripts are running hashes, sessions at most [`ResponderConfig::sessions_max`], and a handshake
//! that is not finished in time is dropped.
//!
//! Not implemented, and answered as unsupported: mutual authentication, sessions on a pre-shared key, chunking, events, and
//! changing certificates or keys. All slots share one signer.

mod identity;
mod negotiate;
mod session;

use super::{
    algorithms::{MeasurementHash, Offer},
    msg::{
        Code, Header, Payload, Version,
        error::{self as error_msg, ErrorCode},
        measurements::Kind,
        vendor::{self as vendor_msg, Body},
    },
    secured::Record,
    transport::Transport,
};
use crate::{
    clock::Instant,
    crypto::{CryptoError, HashAlg, Provider, Signer},
    doe::{Object, ObjectType},
    wire::DecodeError,
};
use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::time::Duration;
use negotiate::{Agreed, Phase};
use session::{Open, Sessions};

/// What a responder is told once.
#[derive(Clone)]
pub struct ResponderConfig {
    /// Certificate chain objects by slot: header, root hash in the negotiated hash, certificates. All end with `signer`'s key.
    pub chains: [Option<Vec<u8>>; 8],
    /// The private key of every chain's leaf.
    pub signer: Arc<dyn Signer>,
    /// What is measured, in ascending order of index.
    pub measurements: Vec<Measurement>,
    /// What digests among the measurements are made with.
    pub measurement_hash: MeasurementHash,
    /// Algorithms, by preference. Of the signature algorithms only the signer's is chosen.
    pub offer: Offer,
    /// Sessions, those in their handshake included. Further ones are refused.
    pub sessions_max: usize,
    /// How long a handshake may take before it is dropped.
    pub handshake_time: Duration,
    /// Seconds that a session may be silent, told to the requester; it ends after twice as many. 0 for as long as it likes.
    pub heartbeat_s: u8,
    /// Whether the handshake may go in clear, if the requester wants it too.
    pub handshake_in_clear: bool,
    /// Bytes of the largest message that this side takes (DataTransferSize), at least 42.
    pub transfer_size: u32,
    /// CTExponent: signatures take at most 2^n µs.
    pub ct_exponent: u8,
}

impl ResponderConfig {
    /// One chain in slot 0, and defaults for the rest.
    pub fn new(chain: Vec<u8>, signer: Arc<dyn Signer>, measurements: Vec<Measurement>) -> Self {
        let mut chains = [const { None }; 8];
        chains[0] = Some(chain);
        Self {
            chains,
            signer,
            measurements,
            measurement_hash: MeasurementHash::Hash(HashAlg::Sha384),
            offer: Offer::default(),
            sessions_max: 4,
            handshake_time: Duration::from_secs(60),
            heartbeat_s: 0,
            handshake_in_clear: false,
            transfer_size: 0x1200,
            ct_exponent: 20,
        }
    }
}

impl core::fmt::Debug for ResponderConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ResponderConfig({:?})", self.offer)
    }
}

/// One measurement, in the DMTF's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// 1 to 254.
    pub index: u8,
    /// What it is of.
    pub kind: Kind,
    /// Whether `value` is a raw bit stream rather than a digest.
    pub raw: bool,
    /// The value.
    pub value: Vec<u8>,
}

/// What a responder tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A PCI-SIG request came in a session; [`Responder::respond_vendor`] answers it.
    VendorRequest {
        /// The session.
        session: u32,
        /// The payload, protocol byte first.
        payload: Vec<u8>,
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
    /// Our own side could not do what it must; the requester was told that something failed.
    Failed(CryptoError),
}

/// The responder's machine. Objects are whole DOE data objects, both ways; each that comes in gets at most one answer.
pub struct Responder {
    config: ResponderConfig,
    provider: Arc<dyn Provider>,
    phase: Phase,
    sessions: Sessions,
    /// The session whose vendor-defined request is to be answered.
    vendor: Option<u32>,
    /// Measurements changed since they were last signed.
    changed: bool,
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Responder {
    /// A responder that nobody has spoken to yet.
    pub fn new(mut config: ResponderConfig, provider: Arc<dyn Provider>) -> Self {
        config.offer = config.offer.of_responder(&*provider, &*config.signer);
        Self {
            sessions: Sessions::new(config.sessions_max),
            config,
            provider,
            phase: Phase::Start,
            vendor: None,
            changed: false,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A DOE object came in. It takes the place of a vendor-defined request that has not been answered.
    pub fn handle(&mut self, now: Instant, object: &[u8]) {
        self.vendor = None;
        self.expire(now);
        // What is no SPDM object is the business of others behind the same mailbox.
        let Ok(object) = Object::decode(object) else {
            return;
        };
        match object.kind {
            ObjectType::SPDM => self.on_clear(now, object.body),
            ObjectType::SECURED_SPDM => self.on_record(now, object.body),
            _ => {}
        }
    }

    /// Time has passed. Harmless if it is too early.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
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
        self.sessions.next_expiry()
    }

    /// What there is to tell.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Answers the last [`Event::VendorRequest`]: with a payload, protocol byte first, or with silence. Without such a
    /// request, or when its session has gone since, nothing happens.
    pub fn respond_vendor(&mut self, _now: Instant, payload: Option<&[u8]>) {
        let (Some(id), Some(payload)) = (self.vendor.take(), payload) else {
            return;
        };
        let Some(agreed) = self.phase.agreed() else { return };
        let version = agreed.connection.negotiated.version;
        let fits = payload.len() <= usize::from(u16::MAX);
        let reply = match fits {
            true => self.fitting(vendor_msg::Response(Body::pci_sig(version, payload)).to_vec()),
            false => Err(Refusal::new(ErrorCode::RESPONSE_TOO_LARGE)),
        };
        self.send_secured(id, reply);
    }

    /// What is measured from now on. A requester that asks in the same connection is told of the change.
    pub fn set_measurements(&mut self, measurements: Vec<Measurement>) {
        self.changed |= self.config.measurements != measurements;
        self.config.measurements = measurements;
    }

    /// Forgets the connection and every session with its keys, as a reset of the device does.
    pub fn reset(&mut self) {
        self.phase = Phase::Start;
        self.vendor = None;
        self.changed = false;
        for id in self.sessions.clear() {
            self.events.push_back(Event::SessionEnded { id });
        }
    }

    /// The sessions that have started.
    pub fn sessions(&self) -> Vec<u32> {
        self.sessions.live()
    }

    // Below: what comes in clear.

    fn on_clear(&mut self, now: Instant, body: &[u8]) {
        let reply = self.answer_clear(now, body);
        let message = match reply {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(refusal) => self.error_message(refusal),
        };
        self.send(ObjectType::SPDM, &message);
    }

    fn answer_clear(&mut self, now: Instant, body: &[u8]) -> Reply {
        let header = Header::peek(body)?;
        if header.code == Code::GET_VERSION {
            return self.get_version(body);
        }
        self.check(header, body.len())?;
        match header.code {
            Code::GET_CAPABILITIES => self.get_capabilities(body),
            Code::NEGOTIATE_ALGORITHMS => self.negotiate_algorithms(body),
            code => self.answer_agreed(now, code, body),
        }
    }

    /// What may come in clear once algorithms are agreed on.
    fn answer_agreed(&mut self, now: Instant, code: Code, body: &[u8]) -> Reply {
        let Some(agreed) = self.phase.agreed_mut() else {
            return Err(UNEXPECTED);
        };
        agreed.forget_transcripts(code);
        match code {
            Code::GET_DIGESTS => self.get_digests(None, body),
            Code::GET_CERTIFICATE => self.get_certificate(None, body),
            Code::CHALLENGE => self.challenge(body),
            Code::GET_MEASUREMENTS => self.get_measurements(None, body),
            Code::KEY_EXCHANGE => self.key_exchange(now, body),
            Code::FINISH => self.finish_in_clear(now, body),
            Code::HEARTBEAT | Code::KEY_UPDATE | Code::END_SESSION => {
                Err(Refusal::new(ErrorCode::SESSION_REQUIRED))
            }
            Code::VENDOR_DEFINED_REQUEST => vendor_in_clear(agreed, body),
            _ => Err(UNEXPECTED),
        }
    }

    /// What holds for every request but GET_VERSION: a size we take, the agreed version, a code we know.
    fn check(&self, header: Header, size: usize) -> Result<(), Refusal> {
        // A message in clear comes with its padding.
        if size > (self.config.transfer_size as usize).next_multiple_of(4) {
            return Err(Refusal::new(ErrorCode::REQUEST_TOO_LARGE));
        }
        let agreed = self.phase.version().unwrap_or(header.version);
        if agreed != header.version {
            return Err(Refusal::new(ErrorCode::VERSION_MISMATCH));
        }
        if KNOWN.contains(&header.code) {
            return Ok(());
        }
        Err(Refusal::unsupported(header.code))
    }

    // Below: what comes in a session.

    fn on_record(&mut self, now: Instant, body: &[u8]) {
        let mut body = body.to_vec();
        let record = match Record::decode(Transport::Doe, &mut body) {
            Ok(record) => record,
            Err(error) => return self.refuse_in_clear(error.into()),
        };
        let id = record.session;
        let opened = match self.sessions.find(id) {
            Some(Open::Shaking(shaking)) => shaking.handshake.open(record),
            Some(Open::Live(live)) => live.session.open(record),
            None => return self.refuse_in_clear(Refusal::new(ErrorCode::DECRYPT_ERROR)),
        };
        match opened {
            Ok(message) => self.on_secured(now, id, message),
            Err(_) => {
                self.close(id);
                self.refuse_in_clear(Refusal::new(ErrorCode::DECRYPT_ERROR));
            }
        }
    }

    fn on_secured(&mut self, now: Instant, id: u32, message: &[u8]) {
        let header = match Header::peek(message) {
            Ok(header) => header,
            Err(error) => return self.send_secured(id, Err(error.into())),
        };
        if let Err(refusal) = self.check_secured(header, message.len()) {
            return self.send_secured(id, Err(refusal));
        }
        // A handshake in clear is finished in clear.
        let in_session = self
            .phase
            .agreed()
            .is_some_and(|agreed| !agreed.connection.context.handshake_in_clear);
        match self.sessions.find(id) {
            Some(Open::Shaking(_)) if header.code == Code::FINISH && in_session => {
                self.finish_in_session(now, id, message);
            }
            Some(Open::Live(live)) => {
                live.heard(now);
                live.forget_transcripts(header.code);
                let reply = self.answer_live(id, header.code, message);
                self.send_secured(id, reply);
                if header.code == Code::END_SESSION {
                    self.close(id);
                }
            }
            _ => self.send_secured(id, Err(UNEXPECTED)),
        }
    }

    /// As [`Self::check`], but GET_VERSION, which is in 1.0 as ever, and the end of a handshake on a pre-shared key, which is
    /// not known outside, are out of place here.
    fn check_secured(&self, header: Header, size: usize) -> Result<(), Refusal> {
        match header.code {
            Code::GET_VERSION | Code::PSK_FINISH => Err(UNEXPECTED),
            _ => self.check(header, size),
        }
    }

    /// What may come in a session that has started.
    fn answer_live(&mut self, id: u32, code: Code, message: &[u8]) -> Reply {
        match code {
            Code::GET_DIGESTS => self.get_digests(Some(id), message),
            Code::GET_CERTIFICATE => self.get_certificate(Some(id), message),
            Code::GET_MEASUREMENTS => self.get_measurements(Some(id), message),
            Code::VENDOR_DEFINED_REQUEST => self.vendor_defined(id, message),
            Code::HEARTBEAT => self.heartbeat(message),
            Code::KEY_UPDATE => self.key_update(id, message),
            Code::END_SESSION => self.end_session(message),
            _ => Err(UNEXPECTED),
        }
    }

    // Below: what goes out.

    fn send(&mut self, kind: ObjectType, body: &[u8]) {
        let mut object = Vec::with_capacity(body.len() + 12);
        Object::new(kind, body).encode(&mut object);
        self.outbox.push_back(object);
    }

    /// Seals an answer. A session that cannot seal is of no more use.
    fn send_secured(&mut self, id: u32, reply: Reply) {
        let message = match reply {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(refusal) => self.error_message(refusal),
        };
        let mut record = Vec::new();
        let sealed = match self.sessions.find(id) {
            Some(Open::Shaking(shaking)) => shaking.handshake.seal(&message, &mut record),
            Some(Open::Live(live)) => live.session.seal(&message, &mut record),
            None => return,
        };
        match sealed {
            Ok(()) => self.send(ObjectType::SECURED_SPDM, &record),
            Err(_) => self.close(id),
        }
    }

    fn refuse_in_clear(&mut self, refusal: Refusal) {
        let message = self.error_message(refusal);
        self.send(ObjectType::SPDM, &message);
    }

    fn error_message(&mut self, refusal: Refusal) -> Vec<u8> {
        if let Some(error) = refusal.ours {
            self.events.push_back(Event::Failed(error));
        }
        let version = self.phase.version().unwrap_or(Version::V1_0);
        error_msg::Response::new(version, refusal.code, refusal.data).to_vec()
    }

    /// An answer, if it fits what the requester takes in one piece.
    fn fitting(&self, message: Vec<u8>) -> Reply {
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        agreed.check_fits(message.len())?;
        Ok(Some(message))
    }

    fn close(&mut self, id: u32) {
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

/// The requests that have an answer somewhere; all others are unsupported wherever they come.
const KNOWN: &[Code] = &[
    Code::GET_VERSION,
    Code::GET_CAPABILITIES,
    Code::NEGOTIATE_ALGORITHMS,
    Code::GET_DIGESTS,
    Code::GET_CERTIFICATE,
    Code::CHALLENGE,
    Code::GET_MEASUREMENTS,
    Code::KEY_EXCHANGE,
    Code::FINISH,
    Code::HEARTBEAT,
    Code::KEY_UPDATE,
    Code::END_SESSION,
    Code::VENDOR_DEFINED_REQUEST,
    Code::RESPOND_IF_READY,
];

/// An answer, silence, or an ERROR.
type Reply = Result<Option<Vec<u8>>, Refusal>;

/// An ERROR to be sent.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    code: ErrorCode,
    data: u8,
    /// Our own failure, where it is that.
    ours: Option<CryptoError>,
}

impl Refusal {
    const fn new(code: ErrorCode) -> Self {
        Self {
            code,
            data: 0,
            ours: None,
        }
    }

    const fn unsupported(code: Code) -> Self {
        Self {
            data: code.0,
            ..Self::new(ErrorCode::UNSUPPORTED_REQUEST)
        }
    }
}

const UNEXPECTED: Refusal = Refusal::new(ErrorCode::UNEXPECTED_REQUEST);
const INVALID: Refusal = Refusal::new(ErrorCode::INVALID_REQUEST);

impl From<DecodeError> for Refusal {
    fn from(_: DecodeError) -> Self {
        Self::new(ErrorCode::INVALID_REQUEST)
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

/// Nobody's vendor-defined requests are served in clear; the PCI-SIG's are not even answered.
fn vendor_in_clear(agreed: &Agreed, body: &[u8]) -> Reply {
    let (request, _) = vendor_msg::Request::decode_padded(body, &agreed.connection.context)?;
    if request.0.registry == vendor_msg::Registry::PCI_SIG {
        return Ok(None);
    }
    Err(Refusal::unsupported(Code::VENDOR_DEFINED_REQUEST))
}
