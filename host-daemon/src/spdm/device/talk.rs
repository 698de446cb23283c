//! A conversation with a device, recorded as it goes. The one loop around the requester's machine.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tdisp::{
    clock,
    crypto::Secret,
    spdm::{
        Error, Event, Goal, Misbehaviour, Misuse, Negotiated, Requester, RequesterConfig, Trust,
        msg::{Code, Header, SLOTS, Version, capabilities::Flags},
        requester::Measure,
        transport::{Kind, Transport},
    },
};

use super::keylog::{KeyLog, Log};
use crate::{
    spdm::{
        names,
        pcap::{Capture, LINK_DOE, LINK_MCTP, Packet},
        record::CRYPTOGRAPHY,
    },
    transport::{self, Mailbox},
};

/// Carries one unit to the device, and its answer back.
pub trait Carry {
    /// One exchange.
    fn carry(&mut self, unit: &[u8]) -> impl Future<Output = Result<Vec<u8>, transport::Error>> + Send;
}

impl Carry for Mailbox {
    async fn carry(&mut self, unit: &[u8]) -> Result<Vec<u8>, transport::Error> {
        self.exchange(unit).await
    }
}

/// What to ask a device, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Versions, algorithms, slot, transport.
    pub config: RequesterConfig,
    /// What to measure, if that is wanted.
    pub measure: Option<Measure>,
    /// Whether to do that in a session, and what it is opened on.
    pub session: Option<Opening>,
    /// Whether to ask who is in every slot that holds a chain, from the configuration's on: in the session, where one is
    /// opened, and there for the chain alone.
    pub every_slot: bool,
}

/// What a session is opened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The device's key.
    KeyExchange,
    /// The pre-shared key.
    PreShared,
}

/// A session that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Its ID.
    pub id: u32,
    /// What it was opened on.
    pub on: Opening,
    /// The secret that its keys are derived from.
    pub secret: Secret,
    /// The chain that this side authenticates itself with, which a device that has it never asks for.
    pub own_chain: Option<Vec<u8>>,
}

/// Why a conversation ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A unit did not get through, or its answer did not.
    #[error("at {request}: {source}")]
    Way {
        /// The message that was sent.
        request: String,
        /// Why.
        source: transport::Error,
    },
    /// The requester gave up.
    #[error("the device was not understood: {0}")]
    Spdm(#[from] Error),
    /// The device cannot do what was asked for.
    #[error("{0}")]
    Lacks(#[from] Lack),
    /// The device does not say who is in a slot, though others.
    #[error("slot {slot} is not shown: {why}")]
    Slot {
        /// The slot.
        slot: u8,
        /// What it says instead.
        why: Misbehaviour,
    },
}

/// What was asked for, and the device or the version spoken has not.
#[derive(Debug, thiserror::Error)]
pub enum Lack {
    /// The version is too old.
    #[error(
        "SPDM {spoken} is spoken, and has no {what}; wanted {since} or later: see --spdm, or leave it out"
    )]
    Version {
        /// What was asked for.
        what: &'static str,
        /// The first version that has it.
        since: &'static str,
        /// The version spoken.
        spoken: String,
    },
    /// The slot is empty.
    #[error("{0}")]
    Slot(Misbehaviour),
    /// The device is not able to.
    #[error("the device has no {what}; `identify` shows what it has{cure}")]
    Capability {
        /// What was asked for.
        what: &'static str,
        /// What else would do.
        cure: &'static str,
    },
    /// The requester refuses for another reason.
    #[error("{0}")]
    Other(#[from] Misuse),
}

/// What came of it.
#[derive(Debug)]
pub struct Talk {
    /// Everything that was said.
    pub capture: Capture,
    /// Why it ended early, if it did.
    pub failure: Option<Failure>,
    /// The session, if one was opened.
    pub opened: Option<Opened>,
}

const NO_KEY_FOR_SESSION: Lack = Lack::Capability {
    what: "slot that proves itself, after which a session could be opened",
    cure: ", and without --session the chains alone are shown",
};

/// MCTP's header of a recorded packet: one packet, first and last.
const MCTP_HEADER: [u8; 4] = [0, 0, 0, 0xc0];

/// Has the conversation: identity as far as the device has one, then measurements if they are wanted. A device that
/// lacks certificates or CHALLENGE is asked again for as much as it has.
pub async fn talk(mailbox: &mut impl Carry, plan: &Plan) -> Talk {
    let mut tape = Tape {
        transport: plan.config.transport,
        at: 0,
        packets: Vec::new(),
    };
    let mut config = RequesterConfig {
        goal: Goal::Identity,
        roots: Trust::RelyingPartyDecides,
        ..plan.config.clone()
    };
    let (provider, log) = KeyLog::new(CRYPTOGRAPHY);
    let provider = Arc::new(provider);
    let mut opened = None;
    let failure = loop {
        let mut asking = Asking {
            requester: Requester::new(config.clone(), provider.clone()),
            log: &log,
            psk: config.psk.as_ref().map(|psk| psk.key.clone()),
            opened: &mut opened,
            start: Instant::now(),
            negotiated: None,
            refused: None,
            tape: &mut tape,
        };
        let done = asking.run(mailbox, plan, config.slot).await;
        match done {
            Ok(()) => break None,
            Err(Failure::Spdm(Error::Peer {
                what: Misbehaviour::MissingCapabilities { missing },
                ..
            })) if lower(&mut config, Flags(missing)) => {}
            // Not every device that speaks 1.3 knows the wish.
            Err(Failure::Spdm(Error::Peer {
                awaited: Code::CAPABILITIES,
                what: Misbehaviour::Refused { .. },
            })) if config.supported_asked => config.supported_asked = false,
            Err(Failure::Spdm(Error::Peer { what, .. })) if plan.every_slot && is_of_slot(&what) => {
                match next_slot(config.slot, &what) {
                    Some(next) => config.slot = next,
                    // What was said tells what became of each slot, and not that a session was wanted.
                    None => break plan.session.map(|_| NO_KEY_FOR_SESSION.into()),
                }
            }
            Err(Failure::Spdm(Error::Peer {
                what: what @ Misbehaviour::EmptySlot { .. },
                ..
            })) => break Some(Lack::Slot(what).into()),
            Err(failure) => break Some(failure),
        }
    };
    let capture = Capture {
        packets: tape.packets,
        cut: None,
    };
    Talk {
        capture,
        failure,
        opened,
    }
}

/// Asks for less, where capabilities are missing; false if nothing less is left.
fn lower(config: &mut RequesterConfig, missing: Flags) -> bool {
    if config.goal == Goal::Connection {
        return false;
    }
    if missing.any(Flags::CERT | Flags::PUB_KEY_ID) {
        config.goal = Goal::Connection;
    } else if config.challenge && missing.any(Flags::CHAL) {
        config.challenge = false;
    } else {
        return false;
    }
    true
}

/// Whether it is the slot that does not do, and another one may.
fn is_of_slot(why: &Misbehaviour) -> bool {
    use Misbehaviour::{Chain, EmptySlot, KeyUsage};
    matches!(why, EmptySlot { .. } | KeyUsage { .. } | Chain(_))
}

/// The slot to begin with instead of this one.
fn next_slot(slot: u8, why: &Misbehaviour) -> Option<u8> {
    let mut higher = slot + 1..SLOTS;
    match why {
        Misbehaviour::EmptySlot { provisioned, .. } => held(*provisioned).find(|slot| higher.contains(slot)),
        _ => higher.next(),
    }
}

/// The slots of a mask.
fn held(mask: u8) -> impl Iterator<Item = u8> {
    (0..SLOTS).filter(move |slot| mask >> slot & 1 == 1)
}

/// What is said, as packets of a capture.
struct Tape {
    transport: Transport,
    at: usize,
    packets: Vec<Packet>,
}

impl Tape {
    fn record(&mut self, unit: &[u8]) {
        let (link, bytes) = match self.transport {
            Transport::Doe => (LINK_DOE, unit.to_vec()),
            Transport::Mctp => (LINK_MCTP, [&MCTP_HEADER[..], unit].concat()),
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Where the packet will be in the file, if it is saved.
        self.at += if self.packets.is_empty() { 24 + 16 } else { 16 };
        let at = self.at..self.at + bytes.len();
        self.at = at.end;
        self.packets.push(Packet {
            number: self.packets.len() + 1,
            link,
            time_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            at,
            was: bytes.len(),
            bytes,
        });
    }
}

struct Asking<'t> {
    requester: Requester,
    log: &'t Log,
    psk: Option<Secret>,
    opened: &'t mut Option<Opened>,
    start: Instant,
    negotiated: Option<Negotiated>,
    /// What was said last to a question that need not be answered.
    refused: Option<Misbehaviour>,
    tape: &'t mut Tape,
}

impl Asking<'_> {
    /// Begins with the device's `slot`.
    async fn run(&mut self, mailbox: &mut impl Carry, plan: &Plan, slot: u8) -> Result<(), Failure> {
        self.requester.connect(self.now());
        self.rest(mailbox).await?;
        if let Some(on) = plan.session {
            self.open(mailbox, on, &plan.config).await?;
        }
        let unseen = match plan.every_slot {
            true => self.higher_slots(mailbox, slot).await?,
            false => None,
        };
        if let Some(mut measure) = plan.measure {
            self.can_measure(&measure)?;
            measure.signed &= self.can(Flags::MEAS_SIG);
            let session = self.requester.session();
            let asked = self.requester.measure_in(self.now(), session, measure);
            asked.map_err(Lack::from)?;
            self.rest(mailbox).await?;
        }
        if self.requester.session().is_some() {
            self.requester.end_session(self.now()).map_err(Lack::from)?;
            self.rest(mailbox).await?;
        }
        unseen.map_or(Ok(()), Err)
    }

    /// Asks who is in the slots after this one. The first of which that cannot be told is remembered, for the others' sake.
    async fn higher_slots(
        &mut self,
        mailbox: &mut impl Carry,
        first: u8,
    ) -> Result<Option<Failure>, Failure> {
        let mut unseen = None;
        let provisioned = self.requester.provisioned().unwrap_or_default();
        for slot in held(provisioned).filter(|slot| *slot > first) {
            let asked = match self.requester.session() {
                Some(session) => self.requester.certificates(self.now(), session, slot),
                None => self.requester.identify(self.now(), slot),
            };
            asked.map_err(Lack::from)?;
            self.rest(mailbox).await?;
            let refused = self.refused.take();
            unseen = unseen.or(refused.map(|why| Failure::Slot { slot, why }));
        }
        Ok(unseen)
    }

    /// Whether the device has one of these capabilities.
    fn can(&self, flags: Flags) -> bool {
        self.negotiated.is_some_and(|known| known.peer_flags.any(flags))
    }

    fn since(&self, since: Version, name: &'static str, what: &'static str) -> Result<(), Lack> {
        match self.negotiated {
            Some(known) if known.version < since => Err(Lack::Version {
                what,
                since: name,
                spoken: names::version(known.version),
            }),
            _ => Ok(()),
        }
    }

    fn can_measure(&self, measure: &Measure) -> Result<(), Lack> {
        if !self.can(Flags::MEAS_NO_SIG | Flags::MEAS_SIG) {
            return Err(Lack::Capability {
                what: "measurements (MEAS_CAP)",
                cure: "",
            });
        }
        if measure.raw {
            self.since(Version::V1_2, "1.2", "raw measurements (--raw)")?;
        }
        if measure.fresh {
            self.since(Version::V1_3, "1.3", "choice of fresh measurements (--fresh)")?;
        }
        Ok(())
    }

    fn can_open(&self, on: Opening) -> Result<(), Lack> {
        self.since(Version::V1_1, "1.1", "sessions (--session)")?;
        match on {
            Opening::KeyExchange if !self.can(Flags::KEY_EX) => Err(Lack::Capability {
                what: "sessions on its key (KEY_EX_CAP)",
                cure: ", and --psk opens one on a pre-shared key",
            }),
            Opening::KeyExchange if !self.can(Flags::CERT | Flags::PUB_KEY_ID) => Err(Lack::Capability {
                what: "certificates (CERT_CAP), with which it would prove its key",
                cure: ", and --psk opens one on a pre-shared key",
            }),
            Opening::PreShared if !self.can(Flags::PSK | Flags::PSK_WITH_CONTEXT) => Err(Lack::Capability {
                what: "sessions on pre-shared keys (PSK_CAP)",
                cure: ", and without --psk one is opened on its key",
            }),
            _ => Ok(()),
        }
    }

    async fn open(
        &mut self,
        mailbox: &mut impl Carry,
        on: Opening,
        config: &RequesterConfig,
    ) -> Result<(), Failure> {
        self.can_open(on)?;
        let opened = match on {
            Opening::KeyExchange => self.requester.open_session(self.now()),
            Opening::PreShared => self.requester.open_psk_session(self.now()),
        };
        opened.map_err(Lack::from)?;
        let done = self.rest(mailbox).await;
        let secret = match on {
            Opening::KeyExchange => self.log.take().pop(),
            Opening::PreShared => self.psk.clone(),
        };
        let id = self.requester.session().unwrap_or(0);
        let own = config
            .identity
            .as_ref()
            .and_then(|identity| identity.slots[0].as_ref());
        *self.opened = secret.map(|secret| Opened {
            id,
            on,
            secret,
            own_chain: own.map(|slot| slot.chain.clone()),
        });
        done
    }

    /// Goes on until there is nothing more to say.
    async fn rest(&mut self, mailbox: &mut impl Carry) -> Result<(), Failure> {
        loop {
            while let Some(event) = self.requester.poll_event() {
                match event {
                    Event::Connected(negotiated) => self.negotiated = Some(negotiated),
                    Event::Failed(error) => return Err(error.into()),
                    Event::Refused { code, data, .. } => {
                        self.refused = Some(Misbehaviour::Refused { code, data });
                    }
                    // A key that does not sign this is seen by what it has not signed, and its chain is there.
                    Event::SlotRefused {
                        why: why @ Misbehaviour::EmptySlot { .. },
                        ..
                    } => self.refused = Some(why),
                    _ => {}
                }
            }
            let mut unit = Vec::new();
            if self.requester.poll_transmit(&mut unit) {
                self.tape.record(&unit);
                let answer = mailbox.carry(&unit).await.map_err(|source| Failure::Way {
                    request: name(&unit, self.tape.transport),
                    source,
                })?;
                self.tape.record(&answer);
                self.requester.handle(self.now(), &answer);
            } else if let (Some(_), Some(at)) = (self.requester.awaited(), self.requester.poll_timeout()) {
                tokio::time::sleep(at.since(self.now()).max(Duration::from_millis(1))).await;
                self.requester.handle_timeout(self.now());
            } else {
                return Ok(());
            }
        }
    }

    fn now(&self) -> clock::Instant {
        clock::Instant::at(self.start.elapsed())
    }
}

/// What a unit is called, as far as it is in clear.
fn name(unit: &[u8], transport: Transport) -> String {
    let code = match transport.unwrap(unit) {
        Ok(Some((Kind::Clear, message))) => Header::peek(message).ok().map(|header| header.code),
        _ => None,
    };
    code.map_or("a secured message".into(), |code| code.to_string())
}
