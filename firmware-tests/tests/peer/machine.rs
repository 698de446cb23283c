//! The requester's machine itself, for what `tidelock spdm` does not ask.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use firmware_tests::device::responder::suite::Suite;
use firmware_tests::device::socket::{Command, Frame};
use tdisp::clock::Instant;
use tdisp::crypto::{Ring, digest};
use tdisp::spdm::msg::{Code, Header};
use tdisp::spdm::requester::Measure;
use tdisp::spdm::transport::Kind;
use tdisp::spdm::{Event, Misuse, Requester, RequesterConfig, Trust};

use crate::case::Case;
use crate::judge::Judge;

pub(crate) struct Machine {
    case: Case,
    stream: TcpStream,
    requester: Requester,
    now: Instant,
    /// Messages that libspdm answered.
    answered: usize,
    /// Which of them loses its last bit on the way.
    damaged: Option<usize>,
    /// What was asked in clear.
    in_clear: Vec<Code>,
    _judge: Judge,
}

impl Machine {
    /// A requester that lets chains begin with that root, and libspdm.
    pub(crate) fn connect(case: Case, root: &Path) -> Self {
        let offer = Suite::offer(&[case.suite.ours.parse().unwrap()], Default::default());
        let root = digest(&Ring, offer.hash[0], &std::fs::read(root).unwrap());
        let has = |word: &str| case.form.theirs.contains(word);
        let key = || std::fs::read(case.key("end_responder.key.pub.der")).unwrap();
        let config = RequesterConfig {
            versions: vec![case.version],
            transport: case.transport,
            roots: Trust::Pinned(vec![root]),
            offer,
            public_key: has("--public-key").then(key),
            handshake_in_clear: has("--clear"),
            transfer_size: if has("--transfer-size 256") { 256 } else { 0x1200 },
            encapsulated: has("--asks-keys"),
            multi_key: has("--multi-key"),
            chunk: Some(0x4000),
            ..RequesterConfig::default()
        };
        let judge = Judge::serve(case, &case.root());
        let stream = TcpStream::connect(&judge.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self {
            case,
            stream,
            requester: Requester::new(config, Arc::new(Ring)),
            now: Instant::START,
            answered: 0,
            damaged: None,
            in_clear: Vec::new(),
            _judge: judge,
        }
    }

    /// A session with everything that keeps it up, to its end.
    pub(crate) fn goes_all_the_way(mut self) {
        self.keeps_a_session_up();
        if self.case.form.ours.contains("twice") {
            self.keeps_a_session_up();
        }
        if self.case.form.ours.contains("slots") {
            self.asks_about_slots();
        }
        self.asks(|requester, now| requester.end_session(now));
        self.ends_with(|event| matches!(event, Event::SessionEnded));
    }

    fn keeps_a_session_up(&mut self) {
        self.requester.connect(self.now);
        self.ends_with(|event| matches!(event, Event::SessionReady { .. }));
        let clear = self.case.form.theirs.contains("--clear");
        assert_eq!(self.in_clear.contains(&Code::FINISH), clear, "{}", self.case);
        let session = self.requester.session().unwrap();
        if self.case.form.theirs.contains("--asks-keys") {
            self.asks(|requester, now| requester.fetch_requests(now, session));
            self.ends_with(|event| matches!(event, Event::RequestsAnswered { .. }));
        }
        let before = self.answered;
        self.asks(|requester, now| requester.measure(now, None));
        self.ends_with(|event| matches!(event, Event::Measurements(_)));
        let chunks = self.case.form.theirs.contains("--transfer-size");
        assert_eq!(self.answered - before > 1, chunks, "{}", self.case);
        self.beats();
        self.asks(|requester, now| requester.update_own_keys_in(now, session));
        self.ends_with(|event| matches!(event, Event::KeysUpdated));
        self.asks(|requester, now| requester.update_keys(now));
        self.ends_with(|event| matches!(event, Event::KeysUpdated));
        self.beats();
    }

    /// Who is in slots 0 and 3, beside a session of slot 0 and in it, and in slot 1, which is empty.
    fn asks_about_slots(&mut self) {
        let session = self.requester.session().unwrap();
        for slot in [3, 0, 3, 3] {
            self.asks(|requester, now| requester.identify(now, 1));
            self.ends_with(|event| matches!(event, Event::SlotRefused { slot: 1, .. }));
            self.asks(|requester, now| requester.certificates(now, session, 3));
            self.ends_with(|event| matches!(event, Event::ChainShown { slot: 3, .. }));
            self.asks(|requester, now| requester.identify(now, slot));
            self.ends_with(|event| matches!(event, Event::Challenged));
            for place in [Some(session), None] {
                self.asks(|requester, now| requester.measure_in(now, place, Measure::all(None)));
                self.ends_with(|event| matches!(event, Event::Measurements(_)));
            }
        }
        assert_eq!(self.requester.provisioned(), Some(0b1001));
        // On the key of slot 3, beside the one on that of slot 0.
        self.asks(|requester, now| requester.open_session(now));
        self.ends_with(|event| matches!(event, Event::SessionReady { .. }));
        for session in self.requester.sessions() {
            self.asks(|requester, now| requester.measure_in(now, Some(session), Measure::all(None)));
            self.ends_with(|event| matches!(event, Event::Measurements(_)));
        }
    }

    /// A root that is not known ends it before there is a session.
    pub(crate) fn refuses(mut self) {
        self.requester.connect(self.now);
        self.ends_with(|event| matches!(event, Event::Failed(_)));
        assert_eq!(self.requester.session(), None, "{}", self.case);
    }

    /// How many answers it takes until a session is up.
    pub(crate) fn counts_answers(mut self) -> usize {
        self.requester.connect(self.now);
        self.ends_with(|event| matches!(event, Event::SessionReady { .. }));
        self.answered
    }

    /// An answer that is not as libspdm gave it ends it before there is a session.
    pub(crate) fn refuses_it_without_a_bit_of(mut self, answer: usize) {
        self.damaged = Some(answer);
        self.refuses();
    }

    /// Time passes until the next HEARTBEAT, which is answered.
    fn beats(&mut self) {
        let before = self.answered;
        self.now = self
            .requester
            .poll_timeout()
            .expect("a heartbeat is due some time");
        self.requester.handle_timeout(self.now);
        let events = self.run();
        let failed = events.iter().any(|event| matches!(event, Event::Failed(_)));
        assert!(
            self.answered == before + 1 && !failed,
            "{}: {events:?}",
            self.case
        );
    }

    fn asks(&mut self, ask: impl FnOnce(&mut Requester, Instant) -> Result<(), Misuse>) {
        ask(&mut self.requester, self.now).unwrap();
    }

    fn ends_with(&mut self, wanted: impl FnOnce(&Event) -> bool) {
        let events = self.run();
        assert!(events.last().is_some_and(wanted), "{}: {events:?}", self.case);
    }

    /// Carries messages until nothing moves; what the requester told.
    fn run(&mut self) -> Vec<Event> {
        let (mut events, mut unit) = (Vec::new(), Vec::new());
        while self.requester.poll_transmit(&mut unit) {
            if let Ok(Some((Kind::Clear, message))) = self.case.transport.unwrap(&unit) {
                self.in_clear.push(Header::peek(message).unwrap().code);
            }
            let frame = Frame {
                command: Command::NORMAL,
                payload: std::mem::take(&mut unit),
            };
            frame.write(&mut self.stream, self.case.transport).unwrap();
            let mut answer = Frame::read(&mut self.stream, self.case.transport)
                .unwrap()
                .expect("an answer");
            if let (Some(last), true) = (answer.payload.last_mut(), self.damaged == Some(self.answered)) {
                *last ^= 1;
            }
            self.answered += 1;
            self.requester.handle(self.now, &answer.payload);
            events.extend(std::iter::from_fn(|| self.requester.poll_event()));
        }
        events
    }
}
