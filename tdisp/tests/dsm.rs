//! The whole device behind its mailbox, spoken to by a real requester: sessions, IDE keys and locks hang together, and
//! fall together.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod device_support;
mod vouched;

use device_support::*;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU8, Ordering},
};
use tdisp::{
    crypto::Ring,
    doe::{Object, ObjectType, discovery},
    dsm::{Dsm, Event, Honest, Personality},
    ide_km::{self, msg::Direction},
    spdm::{
        self, Requester, RequesterConfig, Transport, Trust,
        events::{Types, What},
        msg::{
            Payload, Version,
            capabilities::Flags,
            send_event::Dmtf,
            vendor::{Body, PciSig, Protocol, Request as VendorRequest},
        },
        responder::Measurement,
    },
    tdi::{
        self,
        msg::{InterfaceId, Lock, LockFlags, Request, State},
        report::Report,
        requester::Answer,
        responder::{Ide, Misconfigured, NotSettable},
    },
};

/// A TDI that runs over a keyed stream.
fn running() -> (Pair, ide_km::Requester) {
    let (mut pair, keys) = Pair::connected(device(Ide::Required, honest())).keyed();
    pair.tdisp(|tsm| tsm.lock(LOCK)).expect("a lock");
    pair.tdisp(tdi::Requester::start).expect("a start");
    assert_eq!(pair.states(), [(TDI, State::LOCKED), (TDI, State::RUN)]);
    (pair, keys)
}

#[test]
fn a_tdi_is_locked_reported_started_and_stopped_in_a_session() {
    let (mut pair, _) = Pair::connected(device(Ide::Required, honest())).keyed();
    assert_eq!(pair.tdisp(tdi::Requester::version), Ok(Answer::Version));
    assert_eq!(pair.tdisp(|tsm| tsm.lock(LOCK)), Ok(Answer::Locked));
    let Ok(Answer::Report(bytes)) = pair.tdisp(tdi::Requester::report) else {
        panic!("a report")
    };
    let found = Report::decode(&bytes).unwrap();
    assert_eq!(
        found.ranges[0].first_page, 0x180,
        "with the reporting offset added"
    );
    assert_eq!(pair.tdisp(tdi::Requester::start), Ok(Answer::Started));
    assert_eq!(pair.tdisp(tdi::Requester::state), Ok(Answer::State(State::RUN)));
    assert_eq!(pair.tdisp(tdi::Requester::stop), Ok(Answer::Stopped));
    assert_eq!(
        pair.states(),
        [(TDI, State::LOCKED), (TDI, State::RUN), (TDI, State::UNLOCKED)]
    );
}

/// A device and a requester that speak this version over this transport.
fn connected(version: Version, transport: Transport) -> Pair {
    let mut device = config(Ide::Required);
    device.spdm.transport = transport;
    device.spdm.versions = vec![version];
    let requester = RequesterConfig {
        transport,
        versions: vec![version],
        ..RequesterConfig::default()
    };
    let device = Dsm::new(device, Box::new(honest()), Arc::new(Ring));
    Pair::connected_as(device, requester)
}

const TRANSPORTS: [Transport; 2] = [Transport::Doe, Transport::Mctp];

#[test]
fn a_tdi_runs_and_falls_with_its_session_in_every_version_and_over_both_transports() {
    for version in [Version::V1_1, Version::V1_2, Version::V1_3, Version::V1_4] {
        for transport in TRANSPORTS {
            let (mut pair, _) = connected(version, transport).keyed();
            assert_eq!(pair.tdisp(tdi::Requester::version), Ok(Answer::Version));
            pair.tdisp(|tsm| tsm.lock(LOCK)).expect("a lock");
            let Ok(Answer::Report(bytes)) = pair.tdisp(tdi::Requester::report) else {
                panic!("a report in {version} over {transport:?}")
            };
            assert!(Report::decode(&bytes).is_ok());
            assert_eq!(pair.tdisp(tdi::Requester::start), Ok(Answer::Started));
            pair.seen.clear();
            pair.spdm.end_session(NOW).unwrap();
            pair.exchange();
            assert_eq!(
                pair.states(),
                [(TDI, State::ERROR)],
                "{version} over {transport:?}"
            );
        }
    }
}

#[test]
fn discovery_is_data_object_exchanges_alone() {
    let mut device = config(Ide::Absent);
    device.spdm.transport = Transport::Mctp;
    let mut device = Dsm::new(device, Box::new(honest()), Arc::new(Ring));
    let (mut body, mut object) = (Vec::new(), Vec::new());
    discovery::Request { index: 0, version: 0 }.encode(&mut body);
    Object::new(ObjectType::DISCOVERY, &body).encode(&mut object);
    device.handle(NOW, &object);
    assert!(!device.poll_transmit(&mut Vec::new()));
}

#[test]
fn a_lock_without_ide_keys_is_refused_unless_the_device_is_said_to_have_no_ide() {
    let mut pair = Pair::connected(device(Ide::Required, honest()));
    let refused = pair.tdisp(|tsm| tsm.lock(LOCK)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the device refused LOCK: INVALID_REQUEST (data 0x0)"
    );
    let mut pair = Pair::connected(device(Ide::Absent, honest()));
    assert_eq!(pair.tdisp(|tsm| tsm.lock(LOCK)), Ok(Answer::Locked));
}

/// No stream's end tells of it: the session itself does.
#[test]
fn a_tdi_of_a_device_without_ide_falls_with_its_own_session_and_no_other() {
    for started in [false, true] {
        let mut pair = Pair::connected(device(Ide::Absent, honest()));
        pair.tdisp(|tsm| tsm.lock(LOCK)).expect("a lock");
        if started {
            pair.tdisp(tdi::Requester::start).expect("a start");
        }
        let other = pair.open_another();
        pair.seen.clear();
        pair.spdm.end_session_in(NOW, other).unwrap();
        pair.exchange();
        assert_eq!(pair.states(), []);
        pair.spdm.end_session(NOW).unwrap();
        pair.exchange();
        assert_eq!(pair.states(), [(TDI, State::ERROR)], "started: {started}");
    }
}

#[test]
fn the_end_of_the_session_sends_its_tdis_to_error() {
    let (mut pair, _) = running();
    pair.spdm.end_session(NOW).unwrap();
    pair.exchange();
    assert_eq!(pair.states(), [(TDI, State::ERROR)]);
    assert_eq!(pair.device.state(SIBLING), Some(State::UNLOCKED));
}

#[test]
fn a_new_connection_sends_the_old_sessions_tdis_to_error_and_only_stop_helps() {
    let (pair, _) = running();
    let mut again = Pair::connected_again(pair);
    assert_eq!(again.states(), [(TDI, State::ERROR)]);
    assert_eq!(
        again.tdisp(tdi::Requester::state),
        Ok(Answer::State(State::ERROR))
    );
    assert!(again.tdisp(|tsm| tsm.lock(LOCK)).is_err());
    assert_eq!(again.tdisp(tdi::Requester::stop), Ok(Answer::Stopped));
    assert_eq!(again.states(), [(TDI, State::UNLOCKED)]);
}

impl Pair {
    fn connected_again(mut pair: Self) -> Self {
        pair.tsm = tdi::Requester::new(TDI);
        pair.spdm.connect(NOW);
        pair.exchange();
        pair
    }
}

#[test]
fn a_stopped_ide_stream_sends_its_tdis_to_error() {
    let (mut pair, mut keys) = running();
    pair.keys(|keys| keys.stop().expect("a set"), &mut keys);
    assert_eq!(pair.states(), [(TDI, State::ERROR)]);
}

#[test]
fn a_record_that_does_not_open_ends_the_session_and_sends_its_tdis_to_error() {
    let (mut pair, _) = running();
    let mut payload = Vec::new();
    PciSig {
        protocol: Protocol::TDISP,
        object: &[0; 16],
    }
    .encode(&mut payload);
    pair.spdm.vendor(NOW, &payload).unwrap();
    let mut object = Vec::new();
    assert!(pair.spdm.poll_transmit(&mut object));
    let last = object.len() - 6;
    object[last] ^= 1;
    pair.device.handle(NOW, &object);
    pair.seen.extend(std::iter::from_fn(|| pair.device.poll_event()));
    assert_eq!(pair.states(), [(TDI, State::ERROR)]);
}

#[test]
fn a_fault_and_a_reset_send_locked_tdis_to_error() {
    let (mut pair, _) = running();
    pair.device.fault(TDI);
    assert_eq!(
        pair.device.poll_event(),
        Some(Event::TdiState {
            interface: TDI,
            state: State::ERROR
        })
    );
    let (mut pair, _) = running();
    pair.device.reset(NOW);
    let events: Vec<_> = std::iter::from_fn(|| pair.device.poll_event()).collect();
    assert!(
        events.contains(&Event::TdiState {
            interface: TDI,
            state: State::ERROR
        }),
        "{events:?}"
    );
}

#[test]
fn tdisp_and_ide_km_outside_a_session_are_not_answered() {
    let mut device = device(Ide::Absent, honest());
    let config = RequesterConfig {
        roots: Trust::RelyingPartyDecides,
        versions: vec![Version::V1_2],
        goal: spdm::Goal::Identity,
        ..RequesterConfig::default()
    };
    let mut requester = Requester::new(config, Arc::new(Ring));
    requester.connect(NOW);
    let mut object = Vec::new();
    while requester.poll_transmit(&mut object) {
        device.handle(NOW, &object);
        let mut answer = Vec::new();
        assert!(device.poll_transmit(&mut answer));
        requester.handle(NOW, &answer);
        object.clear();
    }
    let mut lock = Vec::new();
    Request::Lock(LOCK).encode(TDI, &mut lock);
    for (protocol, object) in [(Protocol::TDISP, lock), (Protocol::IDE_KM, vec![0, 0, 0])] {
        let (mut payload, mut doe) = (Vec::new(), Vec::new());
        PciSig {
            protocol,
            object: &object,
        }
        .encode(&mut payload);
        let message = VendorRequest(Body::pci_sig(Version::V1_2, &payload)).to_vec();
        Object::new(ObjectType::SPDM, &message).encode(&mut doe);
        device.handle(NOW, &doe);
        assert!(!device.poll_transmit(&mut Vec::new()), "{protocol} in clear");
    }
    assert_eq!(device.state(TDI), Some(State::UNLOCKED));
}

/// Either end may be the one that cannot encrypt. What is the session's own is answered as ever.
#[test]
fn tdisp_and_ide_km_are_not_answered_in_a_session_that_authenticates_only() {
    let mut lock = Vec::new();
    Request::Lock(LOCK).encode(TDI, &mut lock);
    for version in [Version::V1_1, Version::V1_2, Version::V1_3, Version::V1_4] {
        for ends in [(false, false), (true, false), (true, true)] {
            for (protocol, object) in [(Protocol::TDISP, &lock), (Protocol::IDE_KM, &key_prog())] {
                let mut pair = encrypting(version, ends);
                pair.spdm.measure(NOW, None).unwrap();
                let measured = pair.exchange();
                assert!(
                    matches!(measured[..], [spdm::Event::Measurements(_)]),
                    "{measured:?}"
                );
                let answered = pair.vendor(protocol, object).is_some();
                assert_eq!(answered, ends == (true, true), "{protocol} in {version}");
                let state = match answered && protocol == Protocol::TDISP {
                    true => State::LOCKED,
                    false => State::UNLOCKED,
                };
                assert_eq!(pair.device.state(TDI), Some(state));
            }
        }
    }
}

/// A session of a device and a requester that can encrypt, or authenticate only.
fn encrypting(version: Version, (device_can, requester_can): (bool, bool)) -> Pair {
    let capabilities = |encrypts| match encrypts {
        true => Flags(u32::MAX),
        false => Flags(u32::MAX).without(Flags::ENCRYPT),
    };
    let mut device = config(Ide::Absent);
    device.spdm.versions = vec![version];
    device.spdm.capabilities = capabilities(device_can);
    let requester = RequesterConfig {
        versions: vec![version],
        capabilities: capabilities(requester_can),
        ..RequesterConfig::default()
    };
    let device = Dsm::new(device, Box::new(honest()), Arc::new(Ring));
    Pair::connected_as(device, requester)
}

/// A KEY_PROG that a device takes.
fn key_prog() -> Vec<u8> {
    let mut object = vec![2, 0, 0, 3, 0, 0, 0];
    object.extend([0x5a; 32]);
    object.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    object
}

#[test]
fn what_is_no_known_protocol_or_no_object_is_not_answered_in_a_session_either() {
    let mut pair = Pair::connected(device(Ide::Absent, honest()));
    pair.spdm.vendor(NOW, &[9, 1, 2, 3]).unwrap();
    pair.exchange();
    assert_eq!(pair.device.state(TDI), Some(State::UNLOCKED));
    for object in [&[][..], &[1], &[0; 8]] {
        pair.device.handle(NOW, object);
        assert!(!pair.device.poll_transmit(&mut Vec::new()));
    }
}

#[test]
fn discovery_lists_discovery_spdm_and_secured_spdm() {
    let mut device = device(Ide::Absent, honest());
    let mut ask = |index| {
        let (mut body, mut object) = (Vec::new(), Vec::new());
        discovery::Request { index, version: 0 }.encode(&mut body);
        Object::new(ObjectType::DISCOVERY, &body).encode(&mut object);
        device.handle(NOW, &object);
        let mut answer = Vec::new();
        assert!(device.poll_transmit(&mut answer));
        discovery::Response::decode(Object::decode(&answer).expect("an object").body).expect("a response")
    };
    let found: Vec<_> = (0..4)
        .map(&mut ask)
        .map(|found| (found.vendor, found.kind, found.next))
        .collect();
    assert_eq!(
        found,
        [
            (1, ObjectType::DISCOVERY, 1),
            (1, ObjectType::SPDM, 2),
            (1, ObjectType::SECURED_SPDM, 0),
            (0xffff, ObjectType::DISCOVERY, 0),
        ]
    );
}

/// Says what it likes.
struct Liar(Honest);

impl Personality for Liar {
    fn report(&mut self, _: InterfaceId, lock: &Lock) -> Result<Vec<u8>, Misconfigured> {
        self.0.report(SIBLING, lock)
    }
    fn measurements(&mut self) -> Vec<Measurement> {
        let mut measurements = self.0.measurements();
        measurements[0].value.fill(0xbb);
        measurements
    }
    fn shown_state(&self, _: InterfaceId, _: State) -> State {
        State::RUN
    }
    fn answer(&mut self, _: &[u8], mut honest: Vec<u8>) -> Option<Vec<u8>> {
        honest[2] = 0xaa;
        Some(honest)
    }
}

#[test]
fn a_personality_can_lie_in_what_it_says_and_not_in_what_is() {
    let mut pair = Pair::connected(device(Ide::Absent, Liar(honest())));
    assert_eq!(
        pair.tdisp(tdi::Requester::state),
        Ok(Answer::State(State::RUN)),
        "reserved bytes are ignored"
    );
    assert_eq!(pair.device.state(TDI), Some(State::UNLOCKED));
    pair.spdm.measure(NOW, Some([5; 32])).unwrap();
    let events = pair.exchange();
    let Some(spdm::Event::Measurements(record)) = events.into_iter().next() else {
        panic!("measurements")
    };
    assert!(record.blob.windows(48).any(|window| window == [0xbb; 48]));
}

/// Measures what it is told to.
struct Changing(Honest, Arc<AtomicU8>);

impl Personality for Changing {
    fn report(&mut self, interface: InterfaceId, lock: &Lock) -> Result<Vec<u8>, Misconfigured> {
        self.0.report(interface, lock)
    }
    fn measurements(&mut self) -> Vec<Measurement> {
        let mut measurements = self.0.measurements();
        measurements[1].value.fill(self.1.load(Ordering::Relaxed));
        measurements
    }
}

#[test]
fn a_session_that_subscribed_is_told_of_measurements_that_change_and_of_what_the_device_says() {
    let firmware = Arc::new(AtomicU8::new(1));
    let mut device = config(Ide::Absent);
    device.spdm.versions = vec![Version::V1_3];
    device.spdm.encapsulated = true;
    device.spdm.events = Types::ALL;
    let personality = Changing(honest(), firmware.clone());
    let device = Dsm::new(device, Box::new(personality), Arc::new(Ring));
    let requester = RequesterConfig {
        versions: vec![Version::V1_3],
        encapsulated: true,
        ..RequesterConfig::default()
    };
    let mut pair = Pair::connected_as(device, requester);
    let session = pair.spdm.session().unwrap();
    pair.spdm.subscribe(NOW, session, Types::ALL).unwrap();
    assert_eq!(pair.exchange(), [spdm::Event::Subscribed(Types::ALL)]);

    pair.device.notify(Dmtf::MeasurementPreUpdate([4; 32]));
    firmware.store(2, Ordering::Relaxed);
    pair.spdm.fetch_requests(NOW, session).unwrap();
    let Some(spdm::Event::Told { events, .. }) = pair.exchange().into_iter().next() else {
        panic!("events")
    };
    let mut indices = [0; 32];
    indices[0] = 1 << 2;
    let told: Vec<_> = events.into_iter().map(|event| event.what).collect();
    let wanted = [
        Dmtf::MeasurementPreUpdate([4; 32]),
        Dmtf::MeasurementChanged(indices),
    ];
    assert_eq!(told, wanted.map(What::Dmtf));
}

/// From the device's mailbox to the guest's verdict: what a TSM hands out is what `evidence` accepts.
#[test]
fn what_the_device_says_is_evidence_that_a_guest_can_verify_in_every_version_that_signs_all() {
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        for transport in TRANSPORTS {
            judge(version, transport);
        }
    }
}

fn judge(version: Version, transport: Transport) {
    use tdisp::{
        clock::UnixTime,
        evidence::{Bundle, Crls, Expectation, Floor, IdentityRule, Root, verify},
        relay::guest::TdiInfo,
    };
    let (mut pair, _) = connected(version, transport).keyed();
    pair.tdisp(|tsm| tsm.lock(LOCK)).unwrap();
    let Ok(Answer::Report(report)) = pair.tdisp(tdi::Requester::report) else {
        panic!("a report")
    };
    pair.spdm.measure(NOW, Some([5; 32])).unwrap();
    let Some(spdm::Event::Measurements(record)) = pair.exchange().into_iter().next() else {
        panic!("measurements")
    };
    let certificates = identity().0.clone();
    let bundle = Bundle {
        certificates,
        measurements: record.blob,
        report,
    };
    let info = vouched::vouched(TdiInfo {
        function_id: TDI.function,
        report_count: 1,
        ..vouched::locked(&bundle, vouched::p384(version.0))
    });
    let roots = [Root {
        name: "vendor".into(),
        digest: root(&bundle.certificates),
    }];
    let expected = Expectation {
        nonce: [5; 32],
        guest: vouched::GUEST,
        function_id: Some(TDI.function),
        roots: &roots,
        identity: IdentityRule::default(),
        now: UnixTime(1_795_132_800),
        floor: Floor::default(),
        crls: Crls::default(),
    };
    let verified = verify(&bundle, &info, &expected, &Ring).unwrap();
    let measured = measurements();
    assert_eq!(verified.measurements().len(), measured.len());
    assert_eq!(
        verified.measurement(measured[0].index).unwrap().value,
        measured[0].value
    );
}

/// Writes down what it is told to do.
struct Told(Honest, Arc<Mutex<Vec<String>>>);

impl Told {
    fn says(&self, what: String) {
        self.1.lock().unwrap().push(what);
    }
}

impl Personality for Told {
    fn report(&mut self, interface: InterfaceId, lock: &Lock) -> Result<Vec<u8>, Misconfigured> {
        match lock.mmio_reporting_offset {
            0 => Err(Misconfigured::PhantomFunctions),
            _ => self.0.report(interface, lock),
        }
    }
    fn measurements(&mut self) -> Vec<Measurement> {
        self.0.measurements()
    }
    fn stop(&mut self, interface: InterfaceId) {
        self.says(format!("stop {interface}"));
    }
    fn unbind_peer(&mut self, interface: InterfaceId, stream: u8) {
        self.says(format!("unbind {interface} from {stream}"));
    }
}

/// A device with peer-to-peer streams, and what it is told to do.
fn told() -> (Dsm, Arc<Mutex<Vec<String>>>) {
    let mut config = config(Ide::Required);
    config.tdi.lock_flags = LockFlags(0b1_1111);
    config.tdi.optional.peer_streams = true;
    let said = Arc::default();
    let personality = Told(honest(), Arc::clone(&said));
    (Dsm::new(config, Box::new(personality), Arc::new(Ring)), said)
}

#[test]
fn the_device_has_stopped_and_unbound_before_it_says_so() {
    const PEER: u8 = 9;
    const BINDS: Lock = Lock {
        flags: LockFlags::BIND_P2P,
        ..LOCK
    };
    let (device, said) = told();
    let (mut pair, _) = Pair::connected(device).keyed();
    let mut keys = ide_km::Requester::new(0, PEER);
    pair.keys(|keys| keys.program(&Ring).expect("keys").to_vec(), &mut keys);
    for way in [Direction::Receive, Direction::Transmit] {
        pair.keys(|keys| keys.go(way).expect("a programmed set"), &mut keys);
    }
    pair.tdisp(|tsm| tsm.lock(BINDS)).expect("a lock");
    pair.tdisp(tdi::Requester::start).expect("a start");
    assert_eq!(pair.tdisp(|tsm| tsm.bind_peer(PEER)), Ok(Answer::PeerBound));
    assert_eq!(*said.lock().unwrap(), Vec::<String>::new());
    assert_eq!(pair.tdisp(|tsm| tsm.unbind_peer(PEER)), Ok(Answer::PeerUnbound));
    assert_eq!(*said.lock().unwrap(), [format!("unbind {TDI} from {PEER}")]);
    assert_eq!(pair.tdisp(tdi::Requester::stop), Ok(Answer::Stopped));
    assert_eq!(said.lock().unwrap().last(), Some(&format!("stop {TDI}")));
}

#[test]
fn a_lock_that_the_configuration_forbids_is_told_with_why() {
    const FORBIDDEN: Lock = Lock {
        mmio_reporting_offset: 0,
        ..LOCK
    };
    let (mut pair, _) = Pair::connected(told().0).keyed();
    assert!(pair.tdisp(|tsm| tsm.lock(FORBIDDEN)).is_err());
    let refused = Event::LockRefused {
        interface: TDI,
        why: Misconfigured::PhantomFunctions,
    };
    assert!(pair.seen.contains(&refused), "{:?}", pair.seen);
    assert_eq!(pair.device.state(TDI), Some(State::UNLOCKED));
}

#[test]
fn a_session_that_is_silent_for_too_long_takes_its_locks_along_at_once() {
    let mut config = config(Ide::Required);
    config.spdm.heartbeat_s = 10;
    let device = Dsm::new(config, Box::new(honest()), Arc::new(Ring));
    let (mut pair, _) = Pair::connected(device).keyed();
    pair.tdisp(|tsm| tsm.lock(LOCK)).expect("a lock");
    let id = pair.spdm.session().unwrap();
    let end = pair.device.poll_timeout().unwrap();
    pair.device.handle_timeout(end);
    let events: Vec<_> = std::iter::from_fn(|| pair.device.poll_event()).collect();
    let fallen = Event::TdiState {
        interface: TDI,
        state: State::ERROR,
    };
    assert!(
        events.contains(&fallen) && events.contains(&Event::SessionEnded { id }),
        "{events:?}"
    );
}

#[test]
fn a_reset_leaves_nothing_to_be_said() {
    let mut device = device(Ide::Required, honest());
    let mut object = Vec::new();
    Object::new(ObjectType::DISCOVERY, &[0; 4]).encode(&mut object);
    device.handle(NOW, &object);
    device.reset(NOW);
    assert!(!device.poll_transmit(&mut Vec::new()));
    device.handle(NOW, &object);
    assert!(device.poll_transmit(&mut Vec::new()));
}

#[test]
fn a_personality_that_says_nothing_of_it_changes_no_range() {
    let mut honest = honest();
    let range = report().ranges[0];
    assert_eq!(honest.set_mmio_attribute(TDI, &range), Err(NotSettable));
    assert_eq!(honest.bind_peer(TDI, 9), Ok(()));
}
