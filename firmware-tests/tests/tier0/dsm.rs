//! The card's security manager, asked by a TSM in this process: an honest card, and each lie.

use super::Rig;
use firmware_tests::device::card::Card;
use firmware_tests::device::dsm::Dsm;
use firmware_tests::device::gate::TdiState;
use firmware_tests::device::measured;
use firmware_tests::device::report::interface;
use firmware_tests::identity::{self, Identity};
use firmware_tests::lie::Lie;
use firmware_tests::platform::{Client, Role};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tdisp::clock::Instant;
use tdisp::crypto::Ring;
use tdisp::ide_km::{self, msg::Direction};
use tdisp::spdm::msg::vendor::{PciSig, Protocol};
use tdisp::spdm::requester::{Event, Requester, RequesterConfig, Trust};
use tdisp::tdi;
use tdisp::tdi::msg::{Lock, LockFlags, State};
use tdisp::tdi::report::Report;
use tdisp::tdi::requester::{Answer, Progress};

const LOCK: Lock = Lock {
    flags: LockFlags::NO_FW_UPDATE,
    default_stream: 0,
    mmio_reporting_offset: 0,
    bind_p2p_address_mask: 0,
};

/// One identity for all tests: keys take their time.
fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| identity::provision(tempfile::tempdir().unwrap().path()).unwrap())
}

fn rig(lies: &[&str]) -> Rig {
    let lies: Vec<Lie> = lies.iter().map(|lie| lie.parse().unwrap()).collect();
    let told = lies.clone();
    Rig::with(
        |configs| Box::new(Dsm::new(identity(), configs, told).unwrap()),
        lies,
    )
}

/// A TSM's connection to a card.
struct Tsm {
    card: Arc<Card>,
    spdm: Requester,
    tdis: BTreeMap<u8, tdi::Requester>,
}

impl Tsm {
    fn new(rig: &Rig, roots: Trust) -> Self {
        let config = RequesterConfig {
            roots,
            ..RequesterConfig::default()
        };
        Self {
            card: rig.card.clone(),
            spdm: Requester::new(config, Arc::new(Ring)),
            tdis: [1, 2]
                .map(|function| (function, tdi::Requester::new(interface(function))))
                .into(),
        }
    }

    /// A TSM with a session, and IDE keys in the card over it.
    #[track_caller]
    fn connected(rig: &Rig) -> Self {
        let mut tsm = Self::in_session(rig);
        tsm.program_ide_keys();
        tsm
    }

    /// A TSM with a session.
    #[track_caller]
    fn in_session(rig: &Rig) -> Self {
        let mut tsm = Self::new(rig, Trust::Pinned(vec![identity().vendor.root_digest()]));
        tsm.spdm.connect(Instant::START);
        let events = tsm.run();
        assert!(
            matches!(events.last(), Some(Event::SessionReady { .. })),
            "{events:?}"
        );
        tsm
    }

    /// Carries objects until nothing moves; what the requester told.
    fn run(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut object = Vec::new();
        while self.spdm.poll_transmit(&mut object) {
            let answer = self.card.manager().exchange(&object);
            if let Some(answer) = answer.object {
                self.spdm.handle(Instant::START, &answer);
            }
            object.clear();
            events.extend(std::iter::from_fn(|| self.spdm.poll_event()));
        }
        events
    }

    fn measurements(&mut self) -> Event {
        self.spdm.measure(Instant::START, Some([7; 32])).unwrap();
        self.run().pop().unwrap()
    }

    /// Runs one TDISP request to its end.
    fn ask(
        &mut self,
        function: u8,
        request: impl FnOnce(&mut tdi::Requester) -> Result<Vec<u8>, tdi::requester::Misuse>,
    ) -> Result<Answer, tdi::requester::Error> {
        let mut object = request(self.tdis.get_mut(&function).unwrap()).unwrap();
        loop {
            let answer = self.vendor(Protocol::TDISP, &object);
            match self.tdis.get_mut(&function).unwrap().handle(&answer)? {
                Progress::More(next) => object = next,
                Progress::Done(done) => return Ok(done),
            }
        }
    }

    /// One vendor-defined exchange in the session.
    #[track_caller]
    fn vendor(&mut self, protocol: Protocol, object: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        PciSig { protocol, object }.encode(&mut payload);
        self.spdm.vendor(Instant::START, &payload).unwrap();
        let Some(Event::Vendor(answer)) = self.run().pop() else {
            panic!("no answer to a vendor-defined request");
        };
        PciSig::decode(&answer).unwrap().object.to_vec()
    }

    /// KEY_PROG for all sub-streams, then K_SET_GO for both directions.
    #[track_caller]
    fn program_ide_keys(&mut self) {
        let mut ide = ide_km::Requester::new(0, LOCK.default_stream);
        let first = ide.program(&Ring).unwrap().to_vec();
        self.ide(&mut ide, first);
        for direction in [Direction::Receive, Direction::Transmit] {
            let go = ide.go(direction).unwrap();
            self.ide(&mut ide, go);
        }
    }

    #[track_caller]
    fn ide(&mut self, ide: &mut ide_km::Requester, mut object: Vec<u8>) {
        while let ide_km::requester::Progress::More(next) =
            ide.handle(&self.vendor(Protocol::IDE_KM, &object)).unwrap()
        {
            object = next.to_vec();
        }
    }

    #[track_caller]
    fn lock(&mut self, function: u8) {
        let locked = self.ask(function, |tdi| tdi.lock(LOCK));
        assert_eq!(locked, Ok(Answer::Locked));
    }

    #[track_caller]
    fn start(&mut self, function: u8) {
        let started = self.ask(function, |tdi| tdi.start());
        assert_eq!(started, Ok(Answer::Started));
    }

    #[track_caller]
    fn report(&mut self, function: u8) -> Vec<u8> {
        match self.ask(function, |tdi| tdi.report()) {
            Ok(Answer::Report(report)) => report,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self, function: u8) -> Result<Answer, tdi::requester::Error> {
        self.ask(function, |tdi| tdi.state())
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Indices of the published measurements that a record has.
#[track_caller]
fn published_in(event: Event) -> Vec<u8> {
    let Event::Measurements(record) = event else {
        panic!("{event:?}");
    };
    let all = measured::reference().into_iter();
    all.filter(|measured| contains(&record.blob, measured.value.as_ref()))
        .map(|measured| measured.index)
        .collect()
}

#[test]
fn an_honest_card_shows_the_published_measurements() {
    let rig = rig(&[]);
    let mut tsm = Tsm::connected(&rig);
    assert_eq!(published_in(tsm.measurements()), [1, 2, 3, 4, 17, 18]);
}

#[test]
fn a_lock_without_ide_keys_of_its_session_is_refused() {
    let rig = rig(&[]);
    let _driver = rig.driver(1);
    let mut tsm = Tsm::in_session(&rig);
    let refused = tsm.ask(1, |tdi| tdi.lock(LOCK)).unwrap_err().to_string();
    assert!(refused.contains("INVALID_REQUEST"), "{refused}");
    tsm.program_ide_keys();
    tsm.lock(1);
    // Another session's keys are no keys: the first one's went with it.
    let mut other = Tsm::in_session(&rig);
    assert!(other.ask(1, |tdi| tdi.stop()).is_ok());
    assert!(other.ask(1, |tdi| tdi.lock(LOCK)).is_err());
}

#[test]
fn an_honest_function_is_locked_reported_started_and_stopped() {
    let rig = rig(&[]);
    let _driver = rig.driver(1);
    let mut tsm = Tsm::connected(&rig);
    tsm.lock(1);
    let report = Report::decode(&tsm.report(1)).unwrap();
    let mut platform = rig.platform(Role::Tsm).unwrap();
    for range in &report.ranges {
        assert_eq!(
            platform.mmio(1, range.id).unwrap(),
            (range.address(), range.size())
        );
    }
    assert_eq!(tsm.state(1), Ok(Answer::State(State::LOCKED)));
    tsm.start(1);
    let states = || {
        rig.card
            .enforcer()
            .counters()
            .into_iter()
            .map(|function| function.state)
    };
    assert!(states().eq(["unlocked", "run", "unlocked"]));
    assert_eq!(tsm.ask(1, |tdi| tdi.stop()), Ok(Answer::Stopped));
    assert!(states().eq(["unlocked", "unlocked", "unlocked"]));
}

#[test]
fn a_function_whose_registers_are_off_is_not_locked() {
    let rig = rig(&[]);
    let mut tsm = Tsm::connected(&rig);
    assert!(tsm.ask(1, |tdi| tdi.lock(LOCK)).is_err());
    assert_eq!(rig.card.enforcer().state(1), TdiState::Unlocked);
}

#[test]
fn a_running_interface_whose_bus_mastering_is_cleared_says_so() {
    let rig = rig(&[]);
    let mut driver = rig.driver(1);
    let mut tsm = Tsm::connected(&rig);
    tsm.lock(1);
    tsm.start(1);
    driver.write_config(4, 2);
    assert_eq!(tsm.state(1), Ok(Answer::State(State::ERROR)));
    assert_eq!(rig.card.enforcer().state(1), TdiState::Error);
}

#[test]
fn what_was_locked_over_a_session_fails_with_it() {
    let rig = rig(&[]);
    let _driver = rig.driver(2);
    let mut tsm = Tsm::connected(&rig);
    tsm.lock(2);
    tsm.spdm.end_session(Instant::START).unwrap();
    tsm.run();
    assert_eq!(rig.card.enforcer().state(2), TdiState::Error);
}

/// A TSM over whose session the first function runs, and the platform that holds the function to that.
#[track_caller]
fn held(rig: &Rig) -> (Tsm, Client) {
    let mut platform = rig.platform(Role::Tsm).unwrap();
    let mut tsm = Tsm::connected(rig);
    tsm.lock(1);
    tsm.start(1);
    platform.hold(1).unwrap();
    (tsm, platform)
}

/// Everything that the host can do over a session of its own: reset the connection, stop what failed, lock and start it.
fn lock_anew(rig: &Rig) {
    let mut host = Tsm::connected(rig);
    assert_eq!(host.ask(1, |tdi| tdi.stop()), Ok(Answer::Stopped));
    host.lock(1);
    host.start(1);
    assert_eq!(rig.card.enforcer().state(1), TdiState::Run);
}

#[test]
fn a_host_that_locks_anew_over_a_session_of_its_own_does_not_find_the_old_dma() {
    let rig = rig(&[]);
    let _driver = rig.driver(1);
    let (_tsm, mut platform) = held(&rig);
    platform.dma(1, true).unwrap();
    lock_anew(&rig);
    assert!(!rig.card.enforcer().counters()[1].dma_enabled);
}

#[test]
fn a_host_that_locks_anew_while_the_tsm_waits_for_the_state_gets_no_dma() {
    let rig = rig(&[]);
    let _driver = rig.driver(1);
    let (mut tsm, mut platform) = held(&rig);
    // The device says RUN, and means it; the host keeps the answer back meanwhile.
    assert_eq!(tsm.state(1), Ok(Answer::State(State::RUN)));
    lock_anew(&rig);
    let refused = platform.dma(1, true).unwrap_err().to_string();
    assert!(refused.contains("left the lock that was held"), "{refused}");
}

#[test]
fn measurement_swapped_shows_in_its_function_s_index_alone() {
    let rig = rig(&["measurement-swapped:2"]);
    let mut tsm = Tsm::connected(&rig);
    assert_eq!(published_in(tsm.measurements()), [1, 2, 3, 4, 17]);
}

#[test]
fn other_root_fails_a_requester_with_a_pinned_root() {
    let rig = rig(&["other-root"]);
    let mut tsm = Tsm::new(&rig, Trust::Pinned(vec![identity().vendor.root_digest()]));
    tsm.spdm.connect(Instant::START);
    assert!(matches!(tsm.run().last(), Some(Event::Failed(_))));
}

#[test]
fn nonce_replay_fails_at_the_signature_of_the_measurements() {
    let rig = rig(&["nonce-replay"]);
    let mut tsm = Tsm::connected(&rig);
    assert!(matches!(tsm.measurements(), Event::Failed(_)));
}

#[test]
fn state_not_locked_shows_once_locked() {
    let rig = rig(&["state-not-locked:1"]);
    let (_one, _two) = (rig.driver(1), rig.driver(2));
    let mut tsm = Tsm::connected(&rig);
    tsm.lock(1);
    tsm.lock(2);
    assert_eq!(tsm.state(1), Ok(Answer::State(State::UNLOCKED)));
    assert_eq!(tsm.state(2), Ok(Answer::State(State::LOCKED)));
}

#[test]
fn truncated_report_is_no_report() {
    let rig = rig(&["truncated-report:1"]);
    let _driver = rig.driver(1);
    let mut tsm = Tsm::connected(&rig);
    tsm.lock(1);
    assert!(Report::decode(&tsm.report(1)).is_err());
}

#[test]
fn report_of_other_function_names_the_other_one_s_memory() {
    let rig = rig(&["report-of-other-function:1"]);
    let (_one, mut two) = (rig.driver(1), rig.driver(2));
    two.write_config(0x10, 0xfe84_0000);
    let mut tsm = Tsm::connected(&rig);
    tsm.lock(1);
    let report = Report::decode(&tsm.report(1)).unwrap();
    assert_eq!(report.ranges[0].address(), 0xfe84_0000);
}
