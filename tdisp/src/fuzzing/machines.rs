//! The machines, each driven by a script: what its peer sends, how the clock goes, what its owner asks of it.
//!
//! A script is `u8 step ‖ u16 size ‖ bytes`, again and again; the step's low three bits say what is done:
//!
//! | step | what |
//! |---|---|
//! | 0 | the bytes come in as they are |
//! | 1 | the bytes come in as an SPDM message in clear |
//! | 2 | the bytes come in as a message of the session that is up, whose tag is right |
//! | 3 | the clock goes on by the first four bytes, in milliseconds |
//! | 4 | the clock goes on to the time that the machine has asked for |
//! | 5 to 7 | the machine's owner asks: which thing, the step's high five bits say; the bytes go with it |

use super::{
    abilities,
    gullible::{self, Gullible},
    judge::{CERTIFICATES, chain_object},
    messages::{sealed, steps},
};
use crate::{
    clock::Instant,
    crypto::HashAlg,
    doe::{Object, ObjectType},
    dsm::{self, Dsm, Honest},
    ide_km::responder::Port,
    spdm::{
        Event, Measurement, Misuse, Requester, RequesterConfig, Responder, ResponderConfig, Trust, VERSIONS,
        events::Types,
        msg::{
            Code, Header, Version, key_pair_info::Usage, measurements::Kind, send_event::Dmtf,
            set_certificate::Model, set_key_pair_info::Operation,
        },
        requester::{CsrWish, KeyPairWish, SlotWish},
        secured::session_id,
    },
    tdi::{
        self,
        msg::{InterfaceId, LockFlags, State},
        report::{Attributes, Info, Range, Report},
        responder::{Ide, Optional},
    },
    wire::Reader,
};
use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec, vec::Vec};
use core::time::Duration;

/// The interfaces of [`dsm`]'s device.
pub const INTERFACES: [InterfaceId; 2] = [InterfaceId::new(0x0101), InterfaceId::new(0x0102)];

/// A machine as all of them are: objects and time in, objects out.
trait Machine {
    fn handle(&mut self, now: Instant, object: &[u8]);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_timeout(&self) -> Option<Instant>;
    /// What its owner asks of it.
    fn ask(&mut self, now: Instant, what: u8, bytes: &[u8]);
    /// Takes what it tells and the object that it sends, and sees that it keeps its promises.
    fn settle(&mut self) -> Option<Vec<u8>>;
}

fn play(machine: &mut impl Machine, script: &[u8]) {
    let mut now = Instant::START;
    let mut overheard = Overheard::default();
    for (step, bytes) in steps(script) {
        match step & 7 {
            0 => machine.handle(now, bytes),
            1 => {
                overheard.hear(bytes);
                machine.handle(now, &object(ObjectType::SPDM, bytes));
            }
            2 => {
                if let Ok(record) = sealed(overheard.session(), bytes) {
                    machine.handle(now, &object(ObjectType::SECURED_SPDM, &record));
                }
            }
            3 => {
                let pause = Reader::new(bytes).u32("pause").unwrap_or(1);
                now = now.after(Duration::from_millis(pause.into()));
                timeout(machine, now);
            }
            4 => {
                now = now.max(machine.poll_timeout().unwrap_or(now));
                timeout(machine, now);
            }
            _ => machine.ask(now, step >> 3, bytes),
        }
        if let Some(sent) = machine.settle() {
            let sent = Object::decode(&sent).expect("what is sent is an object");
            if sent.kind == ObjectType::SPDM {
                overheard.hear(sent.body);
            }
        }
    }
}

/// Both halves of the id of the session that KEY_EXCHANGE and its response named last, whichever side sent them.
#[derive(Default)]
struct Overheard {
    requester: u16,
    responder: u16,
}

impl Overheard {
    fn hear(&mut self, message: &[u8]) {
        let mut r = Reader::new(message);
        let (Ok(header), Ok(half)) = (Header::read(&mut r), r.u16("half of a session id")) else {
            return;
        };
        match header.code {
            Code::KEY_EXCHANGE => self.requester = half,
            Code::KEY_EXCHANGE_RSP => self.responder = half,
            _ => {}
        }
    }

    fn session(&self) -> u32 {
        session_id(self.requester, self.responder)
    }
}

fn timeout(machine: &mut impl Machine, now: Instant) {
    machine.handle_timeout(now);
    let again = machine.poll_timeout();
    assert!(
        again.is_none_or(|at| at > now),
        "at {now:?} it asks to be called again at {again:?}: its owner would never sleep"
    );
}

fn object(kind: ObjectType, body: &[u8]) -> Vec<u8> {
    let mut object = Vec::new();
    Object::new(kind, body).encode(&mut object);
    object
}

fn measurements() -> Vec<Measurement> {
    vec![
        Measurement {
            index: 1,
            kind: Kind::FIRMWARE,
            raw: false,
            value: vec![0x22; 48],
            bit_stream: None,
        },
        Measurement {
            index: 5,
            kind: Kind::FIRMWARE_SECURITY_VERSION,
            raw: true,
            value: vec![7, 0, 0, 0, 0, 0, 0, 0],
            bit_stream: None,
        },
    ]
}

/// The responder that [`responder()`] is about.
#[must_use]
pub fn new_responder() -> Responder {
    responder_of(VERSIONS)
}

/// The same, with fewer versions.
pub fn responder_of(versions: &[Version]) -> Responder {
    let config = ResponderConfig {
        versions: versions.to_vec(),
        ..responder_config()
    };
    Responder::new(abilities::of_responder(config), Arc::new(Gullible::default()))
}

fn responder_config() -> ResponderConfig {
    let chain = chain_object(CERTIFICATES);
    ResponderConfig {
        heartbeat_s: 10,
        ..ResponderConfig::new(chain, Arc::new(Gullible::default()), measurements())
    }
}

/// The requester that [`requester()`] is about.
#[must_use]
pub fn new_requester() -> Requester {
    let config = RequesterConfig {
        versions: VERSIONS.to_vec(),
        roots: Trust::Pinned(vec![gullible::digest(HashAlg::Sha384)]),
        ..RequesterConfig::default()
    };
    Requester::new(abilities::of_requester(config), Arc::new(Gullible::default()))
}

/// The device that [`dsm()`] is about.
#[must_use]
pub fn new_dsm() -> Dsm {
    let range = Range {
        first_page: 0x80,
        pages: 4,
        attributes: Attributes::default(),
        id: 0,
    };
    let report = Report {
        info: Info::DMA,
        ranges: vec![range],
        ..Report::default()
    };
    let config = dsm::Config {
        spdm: responder_config(),
        tdi: tdi::responder::Config {
            interfaces: INTERFACES.to_vec(),
            ide: Ide::Absent,
            lock_flags: LockFlags(0b1_0111),
            address_width: 52,
            portion_max: 32,
            optional: Optional {
                peer_streams: true,
                mmio_attributes: true,
                vendor: true,
            },
        },
        ports: vec![Port::default()],
    };
    let honest = Honest {
        reports: BTreeMap::from(INTERFACES.map(|interface| (interface, report.clone()))),
        measurements: measurements(),
    };
    Dsm::new(config, Box::new(honest), Arc::new(Gullible::default()))
}

/// A responder. Its owner answers vendor-defined requests (0), keeps silent to them (1), changes measurements (2), resets (3),
/// tells of an event (4), asks the requester what the bytes say (5).
pub fn responder(script: &[u8]) {
    play(&mut Answering(new_responder()), script);
}

struct Answering(Responder);

impl Machine for Answering {
    fn handle(&mut self, now: Instant, object: &[u8]) {
        self.0.handle(now, object);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    fn ask(&mut self, now: Instant, what: u8, bytes: &[u8]) {
        match what % 6 {
            0 => self.0.respond_vendor(now, Some(bytes)),
            1 => self.0.respond_vendor(now, None),
            2 => {
                let value = Measurement {
                    index: bytes.first().copied().unwrap_or(1),
                    kind: Kind::FIRMWARE,
                    raw: true,
                    value: bytes.to_vec(),
                    bit_stream: None,
                };
                self.0.set_measurements(vec![value]);
            }
            3 => self.0.reset(),
            4 => self.0.notify(Dmtf::CertificateChanged(
                bytes.first().copied().unwrap_or_default(),
            )),
            _ => {
                let session = self.0.sessions().last().copied().unwrap_or_default();
                // A script may ask what cannot be.
                let _ = self.0.ask(session, bytes);
            }
        }
    }

    fn settle(&mut self) -> Option<Vec<u8>> {
        while self.0.poll_event().is_some() {}
        one_object(|out| self.0.poll_transmit(out))
    }
}

/// A requester. Its owner connects (0), opens a session (1), measures (2), sends the bytes (3), renews keys (4), ends the
/// session (5), asks for a certificate signing request with the bytes in it (6), puts them into a slot (7), asks for a key
/// pair (8) and changes it (9), asks for the log (10), what the device is (11), its types of events (12), to be told of
/// them (13), what it wants to ask (14), who it is by the slot that the bytes name (15), and what that slot holds (16).
pub fn requester(script: &[u8]) {
    play(&mut Asking(new_requester()), script);
}

/// Things that a requester's owner asks.
const ASKED: u8 = 17;

struct Asking(Requester);

impl Asking {
    fn ask_more(&mut self, now: Instant, what: u8, session: Option<u32>, bytes: &[u8]) -> Result<(), Misuse> {
        ask_more(&mut self.0, now, what, session, bytes)
    }
}

/// What a device may do without.
pub fn ask_more(
    requester: &mut Requester,
    now: Instant,
    what: u8,
    session: Option<u32>,
    bytes: &[u8],
) -> Result<(), Misuse> {
    let in_session = session.unwrap_or_default();
    let first = bytes.first().copied().unwrap_or(1);
    let slot = bytes.first().copied().unwrap_or(0);
    match what {
        6 => {
            let info = bytes.to_vec();
            requester.get_csr(
                now,
                session,
                CsrWish {
                    info,
                    ..CsrWish::default()
                },
            )
        }
        7 => {
            let wish = SlotWish {
                slot: first & 7,
                chain: (!bytes.is_empty()).then(|| bytes.to_vec()),
                model: Model::NONE,
                key_pair: 0,
            };
            requester.set_certificate(now, session, wish)
        }
        8 => requester.get_key_pair_info(now, session, first),
        9 => {
            let wish = KeyPairWish {
                id: first,
                operation: Operation(first >> 4),
                usage: Usage::CHALLENGE,
                algorithm: 0,
                pqc_algorithm: 0,
                // The one that its chain is in, unless the script takes it off.
                slots: bytes.get(1).copied().unwrap_or(1),
            };
            requester.set_key_pair_info(now, session, wish)
        }
        10 => requester.measurement_log(now, session),
        11 => requester.endpoint_info(now, session, Some([0x11; 32])),
        12 => requester.event_types(now, in_session),
        13 => requester.subscribe(now, in_session, Types::ALL),
        14 => requester.fetch_requests(now, in_session),
        15 => requester.identify(now, slot),
        _ => requester.certificates(now, in_session, slot),
    }
}

impl Machine for Asking {
    fn handle(&mut self, now: Instant, object: &[u8]) {
        self.0.handle(now, object);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    fn ask(&mut self, now: Instant, what: u8, bytes: &[u8]) {
        let session = self.0.session();
        let asked = match what % ASKED {
            0 => {
                self.0.connect(now);
                Ok(())
            }
            1 => self.0.open_session(now),
            2 => self.0.measure(now, Some([0x11; 32])),
            3 => self.0.vendor(now, bytes),
            4 => self.0.update_keys(now),
            5 => self.0.end_session(now),
            what => self.ask_more(now, what, session, bytes),
        };
        let _ = asked; // a script may ask what cannot be
    }

    fn settle(&mut self) -> Option<Vec<u8>> {
        while let Some(event) = self.0.poll_event() {
            if let Event::Failed(_) = event {
                assert_eq!(self.0.session(), None, "after {event:?} there is no session");
            }
        }
        let sent = one_object(|out| self.0.poll_transmit(out));
        if sent.is_some() {
            assert!(self.0.awaited().is_some(), "what was sent is waited for");
            assert!(self.0.poll_timeout().is_some(), "no wait is for ever");
        }
        sent
    }
}

/// A device. Its owner has an interface fail (0), or resets it (1). No interface is locked without a session.
pub fn dsm(script: &[u8]) {
    play(
        &mut Device {
            machine: new_dsm(),
            live: Vec::new(),
        },
        script,
    );
}

struct Device {
    machine: Dsm,
    live: Vec<u32>,
}

impl Machine for Device {
    fn handle(&mut self, now: Instant, object: &[u8]) {
        self.machine.handle(now, object);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.machine.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }

    fn ask(&mut self, now: Instant, what: u8, _: &[u8]) {
        match what % 3 {
            0 => self.machine.fault(INTERFACES[0]),
            1 => self.machine.fault(InterfaceId::new(9)),
            _ => self.machine.reset(now),
        }
    }

    fn settle(&mut self) -> Option<Vec<u8>> {
        while let Some(event) = self.machine.poll_event() {
            match event {
                dsm::Event::SessionStarted { id } => self.live.push(id),
                dsm::Event::SessionEnded { id } => self.live.retain(|live| *live != id),
                _ => {}
            }
        }
        let sent = one_object(|out| self.machine.poll_transmit(out));
        for interface in INTERFACES {
            let state = self.machine.state(interface);
            let locked = matches!(state, Some(State::LOCKED | State::RUN));
            assert!(
                !locked || !self.live.is_empty(),
                "{interface:?} is {state:?} without a session"
            );
        }
        sent
    }
}

/// What a machine sends at once: one object at most.
fn one_object(mut poll: impl FnMut(&mut Vec<u8>) -> bool) -> Option<Vec<u8>> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let sent = poll(&mut first);
    assert!(!poll(&mut second), "two objects at once");
    sent.then_some(first)
}
