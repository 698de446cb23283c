//! The session with one device, and the machines that speak in it.

use std::{collections::VecDeque, fmt, sync::Arc};

use tdisp::{
    clock::Instant,
    crypto::Provider,
    relay::guest::{Negotiated, TdiState},
    spdm::{
        self, Event, Goal, Misuse, Requester, RequesterConfig, Trust,
        algorithms::{KEY_SCHEDULE_SPDM, Offer, aead_bit, dh_bit, hash_bit, kem_bit, pqc_sign_bit, sign_bit},
        msg::vendor::{PciSig, Protocol},
    },
    tdi::{
        self,
        msg::{ErrorCode, InterfaceId, Lock, LockFlags},
        requester::{Answer, Progress},
    },
};

use zeroize::Zeroizing;

use super::{
    ide::{Ide, Next, STREAM},
    step::Ask,
};

/// Bytes of the largest message in chunks.
const CHUNKED_MAX: u32 = 0x2_0000;

/// A session, from GET_VERSION to END_SESSION. Dropped, its secrets are gone.
pub(super) struct Link {
    spdm: Requester,
    ide: Ide,
    provider: Arc<dyn Provider>,
    happened: VecDeque<Happened>,
    /// What an answered step has to say next.
    next: Option<Zeroizing<Vec<u8>>>,
}

/// What a session tells.
#[derive(Debug)]
pub(super) enum Happened {
    /// Version and algorithms are settled.
    Negotiated(Negotiated),
    /// The certificate chain object.
    Certificates(Vec<u8>),
    /// The device has proven that it holds the leaf's key.
    Challenged,
    /// VCA ‖ GET_MEASUREMENTS ‖ MEASUREMENTS.
    Measurements(Vec<u8>),
    /// The session is up.
    Ready,
    /// The answer to a TDISP object.
    Tdisp(Vec<u8>),
    /// IDE keys are in use, so many in the root port's table; or the device has no port for them.
    Ide(Option<usize>),
    /// The session is closed, as asked.
    Ended,
    /// The session is over.
    Failed(String),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?})", self.spdm.session())
    }
}

impl Link {
    /// Nothing is said yet. Whose root the device's chain has is the relying party's to judge: the TSM vouches for the
    /// chain's digest, and for the device's holding the leaf's key.
    pub(super) fn new(slot: u8, offer: &Offer, provider: &Arc<dyn Provider>) -> Self {
        let later = |offer: &Offer| {
            offer.sign.iter().any(|alg| alg.is_post_quantum())
                || offer.exchange.iter().any(|alg| alg.is_kem())
        };
        let config = RequesterConfig {
            slot,
            offer: offer.clone(),
            // What these make is more than a mailbox takes at once.
            chunk: later(offer).then_some(CHUNKED_MAX),
            roots: Trust::RelyingPartyDecides,
            goal: Goal::Identity,
            ..RequesterConfig::default()
        };
        Self {
            spdm: Requester::new(config, Arc::clone(provider)),
            ide: Ide::new(),
            provider: Arc::clone(provider),
            happened: VecDeque::new(),
            next: None,
        }
    }

    /// GET_VERSION through CHALLENGE.
    pub(super) fn connect(&mut self, now: Instant) {
        self.spdm.connect(now);
    }

    /// KEY_EXCHANGE and FINISH.
    pub(super) fn open_session(&mut self, now: Instant) {
        let asked = self.spdm.open_session(now);
        self.asked(asked);
    }

    /// GET_MEASUREMENTS, signed; in the session if there is one.
    pub(super) fn measure(&mut self, now: Instant, nonce: Option<[u8; 32]>) {
        let asked = self.spdm.measure(now, nonce);
        self.asked(asked);
    }

    /// IDE keys for the device's port, if it has one.
    pub(super) fn program_ide(&mut self, now: Instant) {
        match self.ide.begin() {
            Ok(object) => self.vendor(now, Protocol::IDE_KM, &object),
            Err(error) => self.happened.push_back(Happened::Failed(error)),
        }
    }

    /// A TDISP object.
    pub(super) fn tdisp(&mut self, now: Instant, object: &[u8]) {
        self.vendor(now, Protocol::TDISP, object);
    }

    fn vendor(&mut self, now: Instant, protocol: Protocol, object: &[u8]) {
        let mut payload = Zeroizing::new(Vec::new());
        PciSig { protocol, object }.encode(&mut payload);
        let asked = self.spdm.vendor(now, &payload);
        self.asked(asked);
    }

    /// END_SESSION.
    pub(super) fn end(&mut self, now: Instant) {
        let asked = self.spdm.end_session(now);
        self.asked(asked);
    }

    pub(super) fn handle(&mut self, now: Instant, object: &[u8]) {
        self.spdm.handle(now, object);
        self.collect();
        if let Some(object) = self.next.take() {
            self.vendor(now, Protocol::IDE_KM, &object);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.spdm.handle_timeout(now);
    }

    pub(super) fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        self.spdm.poll_transmit(out)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.spdm.poll_timeout()
    }

    pub(super) fn poll_event(&mut self) -> Option<Happened> {
        self.collect();
        self.happened.pop_front()
    }

    /// Takes the machine's events over; answers about IDE stay here.
    fn collect(&mut self) {
        while let Some(event) = self.spdm.poll_event() {
            let happened = match event {
                Event::Connected(negotiated) => Happened::Negotiated(negotiated_bits(&negotiated)),
                Event::Certificates { chain, .. } => Happened::Certificates(chain),
                Event::Challenged => Happened::Challenged,
                Event::Measurements(record) => Happened::Measurements(record.blob),
                Event::SessionReady { .. } => Happened::Ready,
                Event::Vendor(payload) => match self.answered(&payload) {
                    Some(happened) => happened,
                    None => continue,
                },
                Event::SessionEnded => Happened::Ended,
                Event::Failed(error) => Happened::Failed(error.to_string()),
                _ => continue,
            };
            self.happened.push_back(happened);
        }
    }

    /// An answer in one of the PCI-SIG's protocols.
    fn answered(&mut self, payload: &[u8]) -> Option<Happened> {
        let object = match PciSig::decode(payload) {
            Ok(PciSig {
                protocol: Protocol::TDISP,
                object,
            }) => return Some(Happened::Tdisp(object.to_vec())),
            Ok(PciSig {
                protocol: Protocol::IDE_KM,
                object,
            }) => object,
            Ok(other) => {
                return Some(Happened::Failed(format!(
                    "the device answered in protocol {}",
                    other.protocol
                )));
            }
            Err(error) => {
                return Some(Happened::Failed(format!(
                    "the device's answer is malformed: {error}"
                )));
            }
        };
        match self.ide.handle(object, &*self.provider) {
            Ok(Next::Send(object)) => {
                self.next = Some(object);
                None
            }
            Ok(Next::Absent) => Some(Happened::Ide(None)),
            Ok(Next::Programmed) => Some(Happened::Ide(Some(self.ide.root_port_keys()))),
            Err(error) => Some(Happened::Failed(error)),
        }
    }

    /// What the machine does not do now, it will not do later either: the session is of no use.
    fn asked(&mut self, asked: Result<(), Misuse>) {
        if let Err(error) = asked {
            self.happened.push_back(Happened::Failed(error.to_string()));
        }
    }
}

fn negotiated_bits(found: &spdm::Negotiated) -> Negotiated {
    let chosen = &found.algorithms;
    Negotiated {
        version: found.version.0,
        measurement_hash: chosen.measurement_hash.map_or(0, |hash| hash.bit()),
        asym: chosen.sign.map_or(0, sign_bit),
        pqc_asym: chosen.sign.map_or(0, pqc_sign_bit),
        hash: hash_bit(chosen.hash),
        dhe: chosen.exchange.map_or(0, dh_bit),
        kem: chosen.exchange.map_or(0, kem_bit),
        aead: chosen.aead.map_or(0, aead_bit),
        key_schedule: KEY_SCHEDULE_SPDM,
    }
}

/// The TDISP machine of one TDI, with what it has to say.
#[derive(Debug)]
pub(super) struct Tdi {
    machine: tdi::Requester,
    outgoing: Option<Vec<u8>>,
    lock_flags: u16,
}

/// How a TDISP conversation ended.
#[derive(Debug)]
pub(super) enum Heard {
    /// The device answered as it should, and there is nothing to keep.
    Known,
    /// The state that it reports.
    State(TdiState),
    /// Locked with these flags.
    Locked { flags: u16 },
    /// The whole report.
    Report(Vec<u8>),
    /// Running.
    Started,
    /// Unlocked.
    Stopped,
}

impl Tdi {
    /// For the interface of a FUNCTION_ID.
    pub(super) fn new(function_id: u32) -> Self {
        Self {
            machine: tdi::Requester::new(InterfaceId {
                function: function_id,
            }),
            outgoing: None,
            lock_flags: 0,
        }
    }

    /// Begins a conversation; an old one that nobody will answer is given up.
    pub(super) fn ask(&mut self, ask: Ask) -> Result<(), String> {
        self.machine.abandon();
        let object = match ask {
            Ask::Version => self.machine.version(),
            Ask::Capabilities => self.machine.capabilities(),
            Ask::State => self.machine.state(),
            Ask::Lock { flags, mmio_offset } => {
                self.lock_flags = flags;
                self.machine.lock(Lock {
                    flags: LockFlags(flags),
                    default_stream: STREAM,
                    mmio_reporting_offset: mmio_offset,
                    bind_p2p_address_mask: 0,
                })
            }
            Ask::Report => self.machine.report(),
            Ask::Start => self.machine.start(),
            Ask::Stop => self.machine.stop(),
        };
        self.outgoing = Some(object.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// What there is to send.
    pub(super) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.take()
    }

    /// Takes an answer; the end of the conversation, unless there is more to send.
    pub(super) fn handle(&mut self, object: &[u8]) -> Option<Result<Heard, String>> {
        let answer = match self.machine.handle(object) {
            Ok(Progress::More(object)) => {
                self.outgoing = Some(object);
                return None;
            }
            Ok(Progress::Done(answer)) => answer,
            Err(error) => return Some(Err(format!("{error}{}", cure(&error)))),
        };
        Some(Ok(match answer {
            Answer::Version | Answer::Capabilities(_) => Heard::Known,
            Answer::Locked => Heard::Locked {
                flags: self.lock_flags,
            },
            Answer::Report(report) => Heard::Report(report),
            Answer::State(state) => Heard::State(TdiState(state.0)),
            Answer::Started => Heard::Started,
            Answer::Stopped => Heard::Stopped,
            other => {
                return Some(Err(format!(
                    "the device answered {other:?}, which nobody asks for here"
                )));
            }
        }))
    }
}

/// What a person can do about a refusal that is not the device's fault.
fn cure(error: &tdi::requester::Error) -> &'static str {
    match error {
        tdi::requester::Error::Refused {
            code: ErrorCode::INVALID_DEVICE_CONFIGURATION,
            ..
        } => {
            "; the guest enables memory space and bus mastering before it binds, and nothing moves BARs afterwards"
        }
        _ => "",
    }
}
