//! A conversation with a device, recorded as it goes. The one loop around the requester's machine.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tdisp::{
    clock,
    crypto::Secret,
    spdm::{
        Error, Event, Goal, Misbehaviour, Negotiated, Requester, RequesterConfig, Trust,
        msg::{Code, capabilities::Flags},
        requester::Measure,
        transport::Transport,
    },
};

use super::keylog::{KeyLog, Log};
use crate::{
    spdm::{
        pcap::{Capture, LINK_DOE, LINK_MCTP, Packet},
        record::CRYPTOGRAPHY,
    },
    transport::{self, Mailbox},
};

/// What to ask a device, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Versions, algorithms, slot, transport.
    pub config: RequesterConfig,
    /// What to measure, if that is wanted.
    pub measure: Option<Measure>,
    /// Whether to do that in a session, and what it is opened on.
    pub session: Option<Opening>,
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
}

/// Why a conversation ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The units did not get through.
    #[error("{0}")]
    Way(#[from] transport::Error),
    /// The requester gave up.
    #[error("{0}")]
    Spdm(#[from] Error),
    /// The device cannot do what was asked for.
    #[error("{0}")]
    Lacks(#[from] tdisp::spdm::Misuse),
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

/// MCTP's header of a recorded packet: one packet, first and last.
const MCTP_HEADER: [u8; 4] = [0, 0, 0, 0xc0];

/// Has the conversation: identity as far as the device has one, then measurements if they are wanted. A device that
/// lacks certificates or CHALLENGE is asked again for as much as it has.
pub async fn talk(mailbox: &mut Mailbox, plan: &Plan) -> Talk {
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
            tape: &mut tape,
        };
        let done = asking.run(mailbox, plan).await;
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
    tape: &'t mut Tape,
}

impl Asking<'_> {
    async fn run(&mut self, mailbox: &mut Mailbox, plan: &Plan) -> Result<(), Failure> {
        self.requester.connect(self.now());
        self.rest(mailbox).await?;
        if let Some(on) = plan.session {
            self.open(mailbox, on).await?;
        }
        if let Some(mut measure) = plan.measure {
            let signs = self
                .negotiated
                .is_some_and(|known| known.peer_flags.any(Flags::MEAS_SIG));
            measure.signed &= signs;
            let session = self.requester.session();
            self.requester.measure_in(self.now(), session, measure)?;
            self.rest(mailbox).await?;
        }
        if self.requester.session().is_some() {
            self.requester.end_session(self.now())?;
            self.rest(mailbox).await?;
        }
        Ok(())
    }

    async fn open(&mut self, mailbox: &mut Mailbox, on: Opening) -> Result<(), Failure> {
        match on {
            Opening::KeyExchange => self.requester.open_session(self.now())?,
            Opening::PreShared => self.requester.open_psk_session(self.now())?,
        }
        let done = self.rest(mailbox).await;
        let secret = match on {
            Opening::KeyExchange => self.log.take().pop(),
            Opening::PreShared => self.psk.clone(),
        };
        let id = self.requester.session().unwrap_or(0);
        *self.opened = secret.map(|secret| Opened { id, on, secret });
        done
    }

    /// Goes on until there is nothing more to say.
    async fn rest(&mut self, mailbox: &mut Mailbox) -> Result<(), Failure> {
        loop {
            while let Some(event) = self.requester.poll_event() {
                match event {
                    Event::Connected(negotiated) => self.negotiated = Some(negotiated),
                    Event::Failed(error) => return Err(error.into()),
                    _ => {}
                }
            }
            let mut unit = Vec::new();
            if self.requester.poll_transmit(&mut unit) {
                self.tape.record(&unit);
                let answer = mailbox.exchange(&unit).await?;
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
