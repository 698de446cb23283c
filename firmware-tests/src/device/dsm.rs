//! The card's firmware: its security manager, and what it says of the card, true or not.
//!
//! The rules of SPDM, IDE_KM and TDISP are [`tdisp::dsm::Dsm`]'s. Here is what it stands on: the identity, the
//! measurements, and reports made from the functions' registers; and here are the lies about them.
//!
//! A lock wants IDE keys that were set over the same session, as on a real card. They are kept and encrypt nothing: the
//! emulated link has no IDE.

use super::FUNCTIONS;
use super::config::ConfigSpace;
use super::function::IDE_CAPABILITY;
use super::gate::TdiState;
use super::manager::SecurityManager;
use super::measured::{Measured, shown};
use super::report::{BUS, Interfaces, report};
use super::responder::options::{Protocol, Unfit};
use super::signer::Replaying;
use crate::CRYPTOGRAPHY;
use crate::identity::{self, Identity};
use crate::lie::{Lie, Scope};
use std::sync::{Arc, Mutex, PoisonError};
use tdisp::clock::Instant;
use tdisp::crypto::Signer;
use tdisp::dsm::{self, Event, Personality};
use tdisp::ide_km::registers::{SelectiveStream, Streams};
use tdisp::ide_km::responder::Port;
use tdisp::spdm::responder::Measurement;
use tdisp::tdi::msg::{InterfaceId, Lock, LockFlags, State};
use tdisp::tdi::responder::{self as tdi, Ide, Misconfigured, Optional};

/// The configuration space of each function, shared with the function.
pub type Configs = [Arc<Mutex<ConfigSpace>>; FUNCTIONS];

/// Flags that a lock may have.
const LOCK_FLAGS: LockFlags = LockFlags(LockFlags::NO_FW_UPDATE.0 | LockFlags::LOCK_MSIX.0);
/// Bits of the addresses that the card can send.
const ADDRESS_WIDTH: u8 = 52;
/// Bytes of a report that one answer carries: so few that a report takes several, as on a small device.
const PORTION_MAX: u16 = 32;
/// Bytes of an SPDM message that the card takes and gives: a certificate chain takes several answers.
pub const TRANSFER_SIZE: u32 = 1024;

/// The security manager.
pub struct Dsm {
    machine: dsm::Dsm,
    interfaces: Interfaces,
}

impl Dsm {
    /// A security manager with `identity` for the card with these registers, that lies as told.
    pub fn new(identity: &Identity, configs: Configs, lies: Vec<Lie>) -> Result<Self, Unfit> {
        let protocol = Protocol {
            transfer_size: Some(TRANSFER_SIZE),
            ..Protocol::default()
        };
        Self::with(identity, configs, lies, &protocol)
    }

    /// The same, that speaks SPDM as `protocol` says.
    pub fn with(
        identity: &Identity,
        configs: Configs,
        lies: Vec<Lie>,
        protocol: &Protocol,
    ) -> Result<Self, Unfit> {
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
        let interfaces = protocol.tdi.clone();
        let port = Port {
            bus: BUS as u8,
            capability: IDE_CAPABILITY,
            streams: Streams {
                link: Vec::new(),
                selective: vec![SelectiveStream::default()],
            },
            ..Port::default()
        };
        let config = dsm::Config {
            spdm: protocol.config(identity, chain, signer)?,
            tdi: tdi::Config {
                interfaces: interfaces.all().to_vec(),
                ide: Ide::Required,
                lock_flags: LOCK_FLAGS,
                address_width: ADDRESS_WIDTH,
                portion_max: PORTION_MAX,
                optional: Optional::default(),
            },
            // Without a command line there is one.
            ports: vec![port; usize::from(protocol.ide_ports.max(1))],
        };
        let firmware = Firmware {
            configs,
            lies,
            interfaces: interfaces.clone(),
        };
        Ok(Self {
            machine: dsm::Dsm::new(config, Box::new(firmware), Arc::new(CRYPTOGRAPHY)),
            interfaces,
        })
    }
}

impl SecurityManager for Dsm {
    /// Sessions have no heartbeat here and a handshake that is late is dropped when the next object comes, so that
    /// objects are the only clock needed.
    fn object(&mut self, now: Instant, object: &[u8]) -> Option<Vec<u8>> {
        self.machine.handle(now, object);
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Failed(error) => tracing::warn!(%error, "the security manager failed"),
                event => tracing::debug!(?event, "security manager"),
            }
        }
        let mut answer = Vec::new();
        self.machine.poll_transmit(&mut answer).then_some(answer)
    }

    fn fault(&mut self, function: usize) {
        if let Some(interface) = self.interfaces.of(function) {
            self.machine.fault(interface);
        }
    }

    fn states(&self) -> [TdiState; FUNCTIONS] {
        std::array::from_fn(|function| {
            let interface = self.interfaces.of(function);
            match interface.and_then(|interface| self.machine.state(interface)) {
                Some(State::LOCKED) => TdiState::Locked,
                Some(State::RUN) => TdiState::Run,
                Some(State::ERROR) => TdiState::Error,
                _ => TdiState::Unlocked,
            }
        })
    }
}

fn measurement(measured: &Measured) -> Measurement {
    Measurement {
        index: measured.index,
        kind: measured.kind,
        raw: false,
        value: measured.value.as_ref().to_vec(),
        bit_stream: Some(measured.bit_stream.clone()),
    }
}

/// What the card says of itself.
struct Firmware {
    configs: Configs,
    lies: Vec<Lie>,
    interfaces: Interfaces,
}

impl Firmware {
    /// Whether a lie that `scope` knows is told about an interface.
    fn lies_about(&self, interface: InterfaceId, scope: impl Fn(&Lie) -> Option<Scope>) -> bool {
        let function = self.interfaces.function(interface);
        let mut told = self.lies.iter().filter_map(scope);
        told.any(|scope| function.is_some_and(|function| scope.includes(function)))
    }
}

impl Personality for Firmware {
    fn report(&mut self, locked: InterfaceId, lock: &Lock) -> Result<Vec<u8>, Misconfigured> {
        let honest = self.interfaces.function(locked).ok_or(Misconfigured::Other)?;
        let other = self.lies_about(locked, |lie| match lie {
            Lie::ReportOfOtherFunction(scope) => Some(*scope),
            _ => None,
        });
        let described = if other { 3 - honest } else { honest };
        let config = &self.configs[usize::from(described)];
        let config = config.lock().unwrap_or_else(PoisonError::into_inner);
        let report = report(described, &config, lock).map_err(|why| {
            tracing::warn!(function = described, %why, "a lock is refused");
            Misconfigured::Other
        })?;
        let mut bytes = Vec::new();
        report.encode(&mut bytes);
        let truncated = self.lies_about(locked, |lie| match lie {
            Lie::TruncatedReport(scope) => Some(*scope),
            _ => None,
        });
        bytes.truncate(if truncated { bytes.len() / 2 } else { bytes.len() });
        Ok(bytes)
    }

    fn measurements(&mut self) -> Vec<Measurement> {
        shown(&self.lies).iter().map(measurement).collect()
    }

    fn shown_state(&self, interface: InterfaceId, state: State) -> State {
        let lies = self.lies_about(interface, |lie| match lie {
            Lie::StateNotLocked(scope) => Some(*scope),
            _ => None,
        });
        if lies && state == State::LOCKED {
            State::UNLOCKED
        } else {
            state
        }
    }
}
