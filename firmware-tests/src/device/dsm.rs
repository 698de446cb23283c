//! The card's firmware: the security manager that speaks SPDM and TDISP, and what it says of the card, true or not.
//!
//! ```text
//!   object ─► discovery
//!          └► spdm::Responder ── PCI-SIG request in a session ──► tdi::Responder ─► Firmware: report, shown state
//!                    │ session ended                                  ▲
//!                    └────────────────────────────────────────────────┘ what was locked over it fails
//! ```
//! The emulated link has no IDE, so a lock asks for no stream, and IDE_KM is not answered.

use super::FUNCTIONS;
use super::config::ConfigSpace;
use super::gate::TdiState;
use super::manager::SecurityManager;
use super::measured::{Measured, shown};
use super::report::{function, interface, report};
use super::signer::Replaying;
use crate::identity::{self, Identity};
use crate::lie::Lie;
use std::sync::{Arc, Mutex, PoisonError};
use tdisp::clock::Instant;
use tdisp::crypto::{CryptoError, Ring, Signer};
use tdisp::doe::{Object, ObjectType, discovery};
use tdisp::spdm::msg::vendor::{PciSig, Protocol};
use tdisp::spdm::responder::{Event, Measurement, Responder, ResponderConfig};
use tdisp::tdi::msg::{InterfaceId, Lock, LockFlags, State};
use tdisp::tdi::responder::{self as tdi, Device, Ide, Misconfigured, Step};

/// The configuration space of each function, shared with the function.
pub type Configs = [Arc<Mutex<ConfigSpace>>; FUNCTIONS];

/// Flags that a lock may have.
const LOCK_FLAGS: LockFlags = LockFlags(LockFlags::NO_FW_UPDATE.0 | LockFlags::LOCK_MSIX.0);
/// What discovery shows.
const PROTOCOLS: [ObjectType; 3] = [ObjectType::DISCOVERY, ObjectType::SPDM, ObjectType::SECURED_SPDM];

/// What the card says of itself.
struct Firmware {
    configs: Configs,
    lies: Vec<Lie>,
}

/// The security manager.
pub struct Dsm {
    spdm: Responder,
    tdi: tdi::Responder,
    firmware: Firmware,
}

impl Dsm {
    /// A security manager with `identity` for the card with these registers, that lies as told.
    pub fn new(identity: &Identity, configs: Configs, lies: Vec<Lie>) -> Result<Self, CryptoError> {
        let chain = if lies.contains(&Lie::OtherRoot) {
            &identity.rogue
        } else {
            &identity.vendor
        };
        let key = identity::signer(identity)?;
        let signer: Arc<dyn Signer> = match lies.contains(&Lie::NonceReplay) {
            true => Arc::new(Replaying(key)),
            false => Arc::new(key),
        };
        let measurements = shown(&lies).iter().map(measurement).collect();
        let config = ResponderConfig::new(chain.object(), signer, measurements);
        let tdi = tdi::Responder::new(tdi::Config {
            interfaces: [1, 2].map(interface).to_vec(),
            ide: Ide::Absent,
            lock_flags: LOCK_FLAGS,
            address_width: 52,
            portion_max: 1024,
        });
        Ok(Self {
            spdm: Responder::new(config, Arc::new(Ring)),
            tdi,
            firmware: Firmware { configs, lies },
        })
    }

    fn events(&mut self, now: Instant) {
        while let Some(event) = self.spdm.poll_event() {
            match event {
                Event::VendorRequest { session, payload } => {
                    let answer = self.vendor(session, &payload);
                    self.spdm.respond_vendor(now, answer.as_deref());
                }
                Event::SessionEnded { id } => self.tdi.session_ended(id),
                Event::SessionStarted { .. } => {}
                Event::Failed(error) => tracing::warn!(%error, "the security manager failed"),
            }
        }
    }

    fn vendor(&mut self, session: u32, payload: &[u8]) -> Option<Vec<u8>> {
        let request = PciSig::decode(payload).ok()?;
        if request.protocol != Protocol::TDISP {
            return None;
        }
        let object = match self.tdi.handle(session, request.object, &self.firmware) {
            Step::Respond(object) => object,
            Step::Silent => return None,
            Step::Lock(token) => {
                let report = self.firmware.report(token.interface(), token.lock());
                self.tdi.locked(token, report, &Ring)
            }
            Step::Stop(token) => self.tdi.stopped(token),
        };
        let mut answer = Vec::new();
        PciSig {
            protocol: Protocol::TDISP,
            object: &object,
        }
        .encode(&mut answer);
        Some(answer)
    }
}

impl SecurityManager for Dsm {
    fn object(&mut self, now: Instant, object: &[u8]) -> Option<Vec<u8>> {
        let decoded = Object::decode(object).ok()?;
        if decoded.kind == ObjectType::DISCOVERY {
            return discover(decoded.body);
        }
        self.spdm.handle(now, object);
        self.events(now);
        let mut answer = Vec::new();
        self.spdm.poll_transmit(&mut answer).then_some(answer)
    }

    fn fault(&mut self, function: usize) {
        if let Ok(function) = u8::try_from(function) {
            self.tdi.fault(interface(function));
        }
    }

    fn states(&self) -> [TdiState; FUNCTIONS] {
        std::array::from_fn(|function| match self.tdi.state(interface(function as u8)) {
            Some(State::LOCKED) => TdiState::Locked,
            Some(State::RUN) => TdiState::Run,
            Some(State::ERROR) => TdiState::Error,
            _ => TdiState::Unlocked,
        })
    }
}

fn discover(body: &[u8]) -> Option<Vec<u8>> {
    let request = discovery::Request::decode(body).ok()?;
    let index = usize::from(request.index);
    let found = PROTOCOLS.get(index);
    let next = PROTOCOLS
        .get(index + 1)
        .map_or(0, |_| request.index.wrapping_add(1));
    let response = discovery::Response {
        vendor: if found.is_some() {
            tdisp::doe::object::PCI_SIG
        } else {
            0xffff
        },
        kind: found.copied().unwrap_or(ObjectType::DISCOVERY),
        next: if found.is_some() { next } else { 0 },
    };
    let (mut body, mut answer) = (Vec::new(), Vec::new());
    response.encode(&mut body);
    Object::new(ObjectType::DISCOVERY, &body).encode(&mut answer);
    Some(answer)
}

fn measurement(measured: &Measured) -> Measurement {
    Measurement {
        index: measured.index,
        kind: measured.kind,
        raw: false,
        value: measured.value.as_ref().to_vec(),
    }
}

impl Firmware {
    fn lies_about(&self, function: u8, lie: impl Fn(&Lie) -> Option<crate::lie::Scope>) -> bool {
        self.lies
            .iter()
            .filter_map(lie)
            .any(|scope| scope.includes(function))
    }

    /// The report for a lock, whatever is made of it by a lie.
    fn report(&self, locked: InterfaceId, lock: &Lock) -> Result<Vec<u8>, Misconfigured> {
        let honest = function(locked).ok_or(Misconfigured)?;
        let other = self.lies_about(honest, |lie| match lie {
            Lie::ReportOfOtherFunction(scope) => Some(*scope),
            _ => None,
        });
        let described = if other { 3 - honest } else { honest };
        let config = self.configs[usize::from(described)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let report = report(described, &config, lock).map_err(|why| {
            tracing::warn!(function = described, %why, "a lock is refused");
            Misconfigured
        })?;
        let mut bytes = Vec::new();
        report.encode(&mut bytes);
        let truncated = self.lies_about(honest, |lie| match lie {
            Lie::TruncatedReport(scope) => Some(*scope),
            _ => None,
        });
        bytes.truncate(if truncated { bytes.len() / 2 } else { bytes.len() });
        Ok(bytes)
    }
}

impl Device for Firmware {
    /// There is no stream on an emulated link.
    fn stream_is_secure(&self, _: u8, _: u32) -> bool {
        false
    }

    fn shown_state(&self, shown: InterfaceId, state: State) -> State {
        let lies = function(shown).is_some_and(|function| {
            self.lies_about(function, |lie| match lie {
                Lie::StateNotLocked(scope) => Some(*scope),
                _ => None,
            })
        });
        if lies && state == State::LOCKED {
            State::UNLOCKED
        } else {
            state
        }
    }
}
