//! Every TDISP request in every state of an interface, and what the machine refuses beyond that.

mod providers;

use providers::{Drawing, RingBut};
use tdisp::{
    crypto::Ring,
    tdi::{
        Responder,
        msg::{
            Capabilities, Code, Error, ErrorCode, Header, InterfaceId, Lock, LockFlags, Request, Response,
            State, Vdm, Version,
        },
        report::{Attributes, Range, SIZE_MAX},
        responder::{Config, Device, Event, Ide, Misconfigured, Optional, Step},
    },
    wire::Write,
};

const TDI: InterfaceId = InterfaceId::new(0x0101);
const SIBLING: InterfaceId = InterfaceId::new(0x0102);
const SESSION: u32 = 7;
const LOCK: Lock = Lock {
    flags: LockFlags::NO_FW_UPDATE,
    default_stream: 3,
    mmio_reporting_offset: 0x1000,
    bind_p2p_address_mask: 0,
};

/// A device whose IDE streams are as the test says.
struct Streams(&'static [(u8, u32)]);

impl Device for Streams {
    fn stream_is_secure(&self, stream: u8, session: u32) -> bool {
        self.0.contains(&(stream, session))
    }
}

const READY: Streams = Streams(&[(3, SESSION), (3, 8)]);

struct Dsm {
    responder: Responder,
    report: Result<Vec<u8>, Misconfigured>,
}

impl Dsm {
    fn new() -> Self {
        let config = Config {
            interfaces: vec![TDI, SIBLING],
            ide: Ide::Required,
            lock_flags: LockFlags(0b1_0111),
            address_width: 52,
            portion_max: 100,
            optional: Optional::default(),
        };
        Self {
            responder: Responder::new(config),
            report: Ok((0..250).collect()),
        }
    }

    /// Brings the interface into a state by the shortest way.
    fn in_state(state: State) -> (Self, [u8; 32]) {
        let mut dsm = Self::new();
        let mut nonce = [0; 32];
        if state != State::UNLOCKED {
            nonce = dsm.lock();
        }
        match state {
            State::RUN => assert_eq!(dsm.ask(&Request::Start { nonce }), Response::Start),
            State::ERROR => dsm.responder.fault(TDI),
            _ => {}
        }
        assert_eq!(dsm.responder.state(TDI), Some(state));
        while dsm.responder.poll_event().is_some() {}
        (dsm, nonce)
    }

    fn lock(&mut self) -> [u8; 32] {
        match self.ask(&Request::Lock(LOCK)) {
            Response::Lock { nonce } => nonce,
            other => panic!("a lock, not {other:?}"),
        }
    }

    fn ask(&mut self, request: &Request<'_>) -> Response<'static> {
        let mut object = Vec::new();
        request.encode(TDI, &mut object);
        self.send(&object)
    }

    fn send(&mut self, object: &[u8]) -> Response<'static> {
        self.send_over(SESSION, object)
    }

    fn send_over(&mut self, session: u32, object: &[u8]) -> Response<'static> {
        let answer = match self.responder.handle(session, object, &READY) {
            Step::Respond(answer) => answer,
            Step::Lock(token) => self.responder.locked(token, self.report.clone(), &Ring),
            Step::Stop(token) => self.responder.stopped(token),
            Step::Silent => panic!("an answer"),
            other => panic!("an optional request of a device that has none: {other:?}"),
        };
        let (header, body) = Header::decode(&answer).expect("an answer has a header");
        assert_eq!(header.version, Version::V1_0);
        Response::decode(header.code, Box::leak(body.to_vec().into_boxed_slice()))
            .expect("an answer is well-formed")
    }

    fn events(&mut self) -> Vec<State> {
        let events = std::iter::from_fn(|| self.responder.poll_event());
        events
            .map(|Event { interface, state }| {
                assert_eq!(interface, TDI);
                state
            })
            .collect()
    }
}

fn error(code: ErrorCode, data: u32) -> Response<'static> {
    Response::Error(Error::new(code, data))
}

/// What the specification answers to a request, by state: U L R E.
fn matrix(nonce: [u8; 32]) -> Vec<(Request<'static>, [Outcome; 4])> {
    use Outcome::{Done, Unsupported, Wrong};
    let range = Range {
        first_page: 1,
        pages: 1,
        attributes: Attributes::default(),
        id: 0,
    };
    let vdm = Vdm {
        registry: 0,
        vendor: &[],
        data: &[],
    };
    vec![
        (Request::GetVersion, [Done(None); 4]),
        (Request::GetCapabilities { tsm_caps: 0 }, [Done(None); 4]),
        (
            Request::Lock(LOCK),
            [Done(Some(State::LOCKED)), Wrong, Wrong, Wrong],
        ),
        (
            Request::GetReport {
                offset: 0,
                length: 0xffff,
            },
            [Wrong, Done(None), Done(None), Wrong],
        ),
        (Request::GetState, [Done(None); 4]),
        (
            Request::Start { nonce },
            [Wrong, Done(Some(State::RUN)), Wrong, Wrong],
        ),
        (
            Request::Stop,
            [
                Done(None),
                Done(Some(State::UNLOCKED)),
                Done(Some(State::UNLOCKED)),
                Done(Some(State::UNLOCKED)),
            ],
        ),
        (Request::BindP2p { stream: 1 }, [Unsupported; 4]),
        (Request::UnbindP2p { stream: 1 }, [Unsupported; 4]),
        (Request::SetMmioAttribute(range), [Unsupported; 4]),
        (Request::Vdm(vdm), [Unsupported; 4]),
    ]
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// Answered by its response; the state changes to this, or not.
    Done(Option<State>),
    /// INVALID_INTERFACE_STATE, and nothing changes.
    Wrong,
    /// UNSUPPORTED_REQUEST, and nothing changes.
    Unsupported,
}

#[test]
fn every_request_in_every_state_is_answered_as_specified_and_changes_no_more_than_it_should() {
    let states = [State::UNLOCKED, State::LOCKED, State::RUN, State::ERROR];
    for (column, state) in states.into_iter().enumerate() {
        for row in 0..matrix([0; 32]).len() {
            let (mut dsm, nonce) = Dsm::in_state(state);
            let (request, outcomes) = matrix(nonce).swap_remove(row);
            let response = dsm.ask(&request);
            let code = request.code();
            let (answer, events) = match outcomes[column] {
                Outcome::Done(change) => (Code(code.0 & 0x7f), Vec::from_iter(change)),
                Outcome::Wrong | Outcome::Unsupported => (Code::ERROR, vec![]),
            };
            assert_eq!(response.code(), answer, "{code} in {state}: {response:?}");
            match outcomes[column] {
                Outcome::Wrong => assert_eq!(response, error(ErrorCode::INVALID_INTERFACE_STATE, 0)),
                Outcome::Unsupported => {
                    assert_eq!(response, error(ErrorCode::UNSUPPORTED_REQUEST, code.0.into()));
                }
                Outcome::Done(_) => {}
            }
            let after = events.last().copied().unwrap_or(state);
            assert_eq!(dsm.responder.state(TDI), Some(after), "{code} in {state}");
            assert_eq!(dsm.events(), events, "{code} in {state}");
            assert_eq!(
                dsm.responder.state(SIBLING),
                Some(State::UNLOCKED),
                "{code} in {state}"
            );
        }
    }
}

#[test]
fn the_checks_come_in_the_order_of_the_specification() {
    let (mut dsm, _) = Dsm::in_state(State::RUN);
    let object = |version: u8, code: u8, interface: u32, body: &[u8]| {
        let mut object = Vec::new();
        object.bytes(&[version, code, 0, 0]);
        object.u32(interface);
        object.zeros(8);
        object.bytes(body);
        object
    };
    // Each has every later fault too.
    let ask = |dsm: &mut Dsm, object: Vec<u8>| dsm.send(&object);
    assert_eq!(
        ask(&mut dsm, object(0x15, 0xee, 9, &[1])),
        error(ErrorCode::VERSION_MISMATCH, 0)
    );
    assert_eq!(
        ask(&mut dsm, object(0x10, 0xee, 9, &[1])),
        error(ErrorCode::UNSUPPORTED_REQUEST, 0xee)
    );
    assert_eq!(
        ask(&mut dsm, object(0x10, 0x83, 9, &[1])),
        error(ErrorCode::INVALID_INTERFACE, 0)
    );
    assert_eq!(
        ask(&mut dsm, object(0x10, 0x83, 0x0101, &[1])),
        error(ErrorCode::INVALID_REQUEST, 0)
    );
    let mut misaligned = vec![0; 20];
    misaligned[4] = 1;
    assert_eq!(
        ask(&mut dsm, object(0x10, 0x83, 0x0101, &misaligned)),
        error(ErrorCode::INVALID_INTERFACE_STATE, 0)
    );
    let (mut dsm, _) = Dsm::in_state(State::UNLOCKED);
    assert_eq!(
        ask(&mut dsm, object(0x10, 0x83, 0x0101, &misaligned)),
        error(ErrorCode::INVALID_REQUEST, 0)
    );
}

#[test]
fn case_56_an_mmio_offset_off_the_page_grid_is_refused() {
    for offset in [1, 0x800, 0xffff_ffff_ffff_ffff] {
        let (mut dsm, _) = Dsm::in_state(State::UNLOCKED);
        let lock = Lock {
            mmio_reporting_offset: offset,
            ..LOCK
        };
        let refused = dsm.ask(&Request::Lock(lock));
        assert_eq!(
            refused,
            error(ErrorCode::INVALID_REQUEST, 0),
            "{offset:#x}: ranges are whole pages"
        );
        assert_eq!(dsm.responder.state(TDI), Some(State::UNLOCKED));
    }
}

#[test]
fn an_object_without_a_whole_header_is_not_answered() {
    let mut dsm = Dsm::new();
    for size in 0..16 {
        assert!(matches!(
            dsm.responder.handle(SESSION, &vec![0x10; size], &READY),
            Step::Silent
        ));
    }
}

#[test]
fn a_request_of_any_other_length_is_invalid_and_changes_nothing() {
    for state in [State::UNLOCKED, State::LOCKED, State::RUN, State::ERROR] {
        for row in 0..7 {
            let (mut dsm, nonce) = Dsm::in_state(state);
            let (request, _) = matrix(nonce).swap_remove(row);
            let mut object = Vec::new();
            request.encode(TDI, &mut object);
            let whole = object.len();
            object.push(0);
            for size in (16..=whole + 1).filter(|size| *size != whole) {
                let wanted = error(ErrorCode::INVALID_REQUEST, 0);
                assert_eq!(
                    dsm.send(&object[..size]),
                    wanted,
                    "{} of {size} bytes",
                    request.code()
                );
            }
            assert_eq!(dsm.responder.state(TDI), Some(state));
        }
    }
}

#[test]
fn a_response_code_and_an_unknown_code_are_unsupported_requests() {
    let mut dsm = Dsm::new();
    for code in (0u8..=0xff).filter(|code| !(0x81..=0x87).contains(code)) {
        let mut object = vec![0x10, code, 0, 0];
        object.u32(TDI.function);
        object.zeros(8);
        assert_eq!(
            dsm.send(&object),
            error(ErrorCode::UNSUPPORTED_REQUEST, code.into())
        );
    }
}

#[test]
fn the_supported_requests_are_announced_by_the_bit_of_their_code() {
    let Response::Capabilities(capabilities) = Dsm::new().ask(&Request::GetCapabilities { tsm_caps: 0 })
    else {
        panic!("capabilities")
    };
    assert_eq!(
        capabilities.requests[0], 0xfe,
        "0x7f is the usual mistake: off by one"
    );
    assert_eq!(
        capabilities,
        Capabilities {
            requests: Capabilities::REQUESTS_MANDATORY,
            ..capabilities
        }
    );
}

#[test]
fn a_nonce_dies_with_its_use_and_with_its_lock() {
    let (mut dsm, old) = Dsm::in_state(State::RUN);
    assert_eq!(dsm.ask(&Request::Stop), Response::Stop);
    let new = dsm.lock();
    assert_ne!(old, new);
    assert_eq!(
        dsm.ask(&Request::Start { nonce: old }),
        error(ErrorCode::INVALID_NONCE, 0)
    );
    assert_eq!(
        dsm.responder.state(TDI),
        Some(State::LOCKED),
        "a wrong nonce leaves the lock as it was"
    );
    let mirrored = new.map(|byte| !byte);
    assert_eq!(
        dsm.ask(&Request::Start { nonce: mirrored }),
        error(ErrorCode::INVALID_NONCE, 0)
    );
    assert_eq!(dsm.ask(&Request::Start { nonce: new }), Response::Start);
    assert_eq!(
        dsm.ask(&Request::Start { nonce: new }),
        error(ErrorCode::INVALID_INTERFACE_STATE, 0)
    );
    dsm.responder.fault(TDI);
    assert_eq!(dsm.ask(&Request::Stop), Response::Stop);
    dsm.lock();
    assert_eq!(
        dsm.ask(&Request::Start { nonce: new }),
        error(ErrorCode::INVALID_NONCE, 0)
    );
}

#[test]
fn a_lock_belongs_to_the_session_that_made_it() {
    for (state, nonce) in [State::LOCKED, State::RUN].map(|state| (state, Dsm::in_state(state).1)) {
        for request in [
            Request::Start { nonce },
            Request::GetReport { offset: 0, length: 1 },
            Request::Stop,
        ] {
            let (mut dsm, _) = Dsm::in_state(state);
            let mut object = Vec::new();
            request.encode(TDI, &mut object);
            let refused = match (request.code(), state) {
                (Code::START, State::RUN) => ErrorCode::INVALID_INTERFACE_STATE,
                _ => ErrorCode::INVALID_REQUEST,
            };
            assert_eq!(
                dsm.send_over(8, &object),
                error(refused, 0),
                "{} in {state}",
                request.code()
            );
            assert_eq!(dsm.responder.state(TDI), Some(state));
        }
    }
    let (mut dsm, _) = Dsm::in_state(State::ERROR);
    let mut stop = Vec::new();
    Request::Stop.encode(TDI, &mut stop);
    assert_eq!(
        dsm.send_over(8, &stop),
        Response::Stop,
        "an interface in ERROR is nobody's"
    );
}

#[test]
fn a_lock_needs_ide_keys_of_the_same_session() {
    for streams in [Streams(&[]), Streams(&[(4, SESSION)]), Streams(&[(3, 9)])] {
        let mut dsm = Dsm::new();
        let mut object = Vec::new();
        Request::Lock(LOCK).encode(TDI, &mut object);
        let Step::Respond(answer) = dsm.responder.handle(SESSION, &object, &streams) else {
            panic!("a refusal")
        };
        let (header, body) = Header::decode(&answer).expect("an answer has a header");
        let response = Response::decode(header.code, body).unwrap();
        assert_eq!(response, error(ErrorCode::INVALID_REQUEST, 0), "Table 11-12");
        assert_eq!(dsm.responder.state(TDI), Some(State::UNLOCKED));
    }
}

#[test]
fn a_flag_that_is_not_supported_is_an_invalid_request() {
    let mut dsm = Dsm::new();
    let lock = Lock {
        flags: LockFlags::BIND_P2P,
        ..LOCK
    };
    assert_eq!(
        dsm.ask(&Request::Lock(lock)),
        error(ErrorCode::INVALID_REQUEST, 0)
    );
    assert_eq!(dsm.responder.state(TDI), Some(State::UNLOCKED));
}

#[test]
fn a_device_that_cannot_be_locked_stays_unlocked() {
    let mut dsm = Dsm::new();
    dsm.report = Err(Misconfigured::PhantomFunctions);
    assert_eq!(
        dsm.ask(&Request::Lock(LOCK)),
        error(ErrorCode::INVALID_DEVICE_CONFIGURATION, 0)
    );
    assert_eq!(dsm.responder.state(TDI), Some(State::UNLOCKED));
    assert_eq!(dsm.events(), []);
}

/// Offsets have 16 bits, and nothing at all can be asked for of an empty report.
#[test]
fn a_report_that_could_never_be_read_is_no_configuration_to_lock() {
    for (size, locks) in [(0, false), (1, true), (SIZE_MAX, true), (SIZE_MAX + 1, false)] {
        let mut dsm = Dsm::new();
        dsm.report = Ok(vec![7; size]);
        let answer = dsm.ask(&Request::Lock(LOCK));
        match locks {
            true => assert!(matches!(answer, Response::Lock { .. }), "{size}"),
            false => assert_eq!(
                answer,
                error(ErrorCode::INVALID_DEVICE_CONFIGURATION, 0),
                "{size}"
            ),
        }
        let state = if locks { State::LOCKED } else { State::UNLOCKED };
        assert_eq!(dsm.responder.state(TDI), Some(state));
    }
}

#[test]
fn without_entropy_there_is_no_lock() {
    let mut dsm = Dsm::new();
    let mut object = Vec::new();
    Request::Lock(LOCK).encode(TDI, &mut object);
    let Step::Lock(token) = dsm.responder.handle(SESSION, &object, &READY) else {
        panic!("a lock to be made")
    };
    let answer = dsm.responder.locked(token, Ok(vec![1]), &RingBut(Drawing(None)));
    let (header, body) = Header::decode(&answer).expect("an answer has a header");
    let response = Response::decode(header.code, body).unwrap();
    assert_eq!(response, error(ErrorCode::INSUFFICIENT_ENTROPY, 0));
    assert_eq!(dsm.responder.state(TDI), Some(State::UNLOCKED));
}

#[test]
fn a_lock_that_is_not_carried_out_changes_nothing() {
    let mut dsm = Dsm::new();
    let mut object = Vec::new();
    Request::Lock(LOCK).encode(TDI, &mut object);
    drop(dsm.responder.handle(SESSION, &object, &READY));
    assert_eq!(dsm.responder.state(TDI), Some(State::UNLOCKED));
    let Step::Lock(late) = dsm.responder.handle(SESSION, &object, &READY) else {
        panic!("a lock to be made")
    };
    let nonce = dsm.lock();
    let answer = dsm.responder.locked(late, Ok(vec![1]), &Ring);
    assert_eq!(
        Header::decode(&answer).unwrap().0.code,
        Code::ERROR,
        "a second lock of a locked interface"
    );
    assert_eq!(
        dsm.ask(&Request::Start { nonce }),
        Response::Start,
        "the first lock is as it was"
    );
}

#[test]
fn a_report_is_given_in_portions_and_never_beyond_its_end() {
    let (mut dsm, _) = Dsm::in_state(State::LOCKED);
    let whole: Vec<u8> = (0..250).collect();
    for (offset, length, portion) in [
        (0, 0xffff, 100),
        (0, 100, 100),
        (0, 7, 7),
        (100, 0xffff, 100),
        (200, 0xffff, 50),
        (249, 1, 1),
        (249, 100, 1),
    ] {
        let from = usize::from(offset);
        let remainder = (whole.len() - from - portion) as u16;
        let response = dsm.ask(&Request::GetReport { offset, length });
        assert_eq!(
            response,
            Response::Report {
                portion: &whole[from..from + portion],
                remainder
            }
        );
    }
    for (offset, length) in [(250, 1), (251, 1), (0xffff, 0xffff), (0, 0), (10, 0)] {
        let response = dsm.ask(&Request::GetReport { offset, length });
        assert_eq!(
            response,
            error(ErrorCode::INVALID_REQUEST, 0),
            "{offset} {length}"
        );
    }
}

#[test]
fn the_end_of_a_session_voids_the_locks_made_over_it() {
    for state in [State::LOCKED, State::RUN] {
        let (mut dsm, _) = Dsm::in_state(state);
        dsm.responder.session_ended(8);
        assert_eq!(dsm.events(), []);
        dsm.responder.session_ended(SESSION);
        assert_eq!(dsm.events(), [State::ERROR]);
        assert_eq!(dsm.ask(&Request::GetState), Response::State(State::ERROR));
        assert_eq!(dsm.ask(&Request::Stop), Response::Stop);
    }
}

#[test]
fn a_stopped_ide_stream_voids_the_locks_that_used_it() {
    let (mut dsm, _) = Dsm::in_state(State::RUN);
    dsm.responder.stream_stopped(4, SESSION);
    assert_eq!(dsm.events(), []);
    dsm.responder.stream_stopped(3, 8);
    assert_eq!(dsm.events(), [], "the other session's is another stream");
    dsm.responder.stream_stopped(3, SESSION);
    assert_eq!(dsm.events(), [State::ERROR]);
}

#[test]
fn a_fault_of_an_unlocked_interface_is_nothing() {
    let (mut dsm, _) = Dsm::in_state(State::UNLOCKED);
    dsm.responder.fault(TDI);
    assert_eq!(dsm.responder.state(TDI), Some(State::UNLOCKED));
}

#[test]
fn a_fault_of_one_interface_leaves_its_sibling_locked() {
    let (mut dsm, _) = Dsm::in_state(State::LOCKED);
    dsm.responder.fault(SIBLING);
    assert_eq!(dsm.responder.state(TDI), Some(State::LOCKED));
    assert_eq!(dsm.events(), []);
    dsm.responder.fault(TDI);
    assert_eq!(dsm.events(), [State::ERROR]);
}

#[test]
fn what_an_interface_is_and_can_another_session_than_the_locks_may_ask() {
    for state in [State::LOCKED, State::RUN] {
        let (mut dsm, _) = Dsm::in_state(state);
        for request in [
            Request::GetVersion,
            Request::GetCapabilities { tsm_caps: 0 },
            Request::GetState,
        ] {
            let mut object = Vec::new();
            request.encode(TDI, &mut object);
            let answer = dsm.send_over(8, &object);
            assert!(!matches!(answer, Response::Error(_)), "{request:?}: {answer:?}");
        }
    }
}

/// On a device without IDE a stream is a number in a lock, and no stream's end says anything about that.
#[test]
fn without_ide_no_stream_voids_a_lock() {
    let config = Config {
        ide: Ide::Absent,
        ..Config::new(vec![TDI])
    };
    let mut dsm = Dsm {
        responder: Responder::new(config),
        ..Dsm::new()
    };
    dsm.lock();
    dsm.responder.stream_stopped(LOCK.default_stream, SESSION);
    assert_eq!(dsm.responder.state(TDI), Some(State::LOCKED));
}

/// A device with peer-to-peer streams, whose interface runs over a session.
fn running_with_peers(ide: Ide, session: u32) -> Responder {
    let mut config = Config::new(vec![TDI]);
    config.ide = ide;
    config.lock_flags = LockFlags(0b1_1111);
    config.optional.peer_streams = true;
    let mut responder = Responder::new(config);
    run_over(&mut responder, session);
    responder
}

/// Locks the interface anew over a session and starts it.
fn run_over(responder: &mut Responder, session: u32) {
    let lock = Lock {
        flags: LockFlags::BIND_P2P,
        ..LOCK
    };
    let Step::Lock(token) = asked(responder, session, &Request::Lock(lock)) else {
        panic!("a lock to be made")
    };
    let answer = responder.locked(token, Ok(vec![1]), &Ring);
    let (header, body) = Header::decode(&answer).expect("an answer has a header");
    let Ok(Response::Lock { nonce }) = Response::decode(header.code, body) else {
        panic!("a lock")
    };
    assert!(matches!(
        asked(responder, session, &Request::Start { nonce }),
        Step::Respond(_)
    ));
    assert_eq!(responder.state(TDI), Some(State::RUN));
}

fn asked(responder: &mut Responder, session: u32, request: &Request<'_>) -> Step {
    let mut object = Vec::new();
    request.encode(TDI, &mut object);
    responder.handle(session, &object, &Keyed)
}

/// Every stream has its keys.
struct Keyed;

impl Device for Keyed {
    fn stream_is_secure(&self, _: u8, _: u32) -> bool {
        true
    }
}

#[test]
fn a_stream_that_is_bound_too_late_is_not_bound_to_the_next_lock() {
    for next in [SESSION + 1, SESSION] {
        let mut responder = running_with_peers(Ide::Required, SESSION);
        let Step::Bind(late) = asked(&mut responder, SESSION, &Request::BindP2p { stream: 9 }) else {
            panic!("a stream to be bound")
        };
        let Step::Stop(token) = asked(&mut responder, SESSION, &Request::Stop) else {
            panic!("a stop to be made")
        };
        responder.stopped(token);
        if next == SESSION {
            let answer = responder.bound(late, Ok(()));
            assert_eq!(Header::decode(&answer).unwrap().0.code, Code::ERROR);
            continue;
        }
        run_over(&mut responder, next);
        let answer = responder.bound(late, Ok(()));
        assert_eq!(Header::decode(&answer).unwrap().0.code, Code::ERROR);
        assert_eq!(responder.peer_streams(TDI), []);
    }
}

#[test]
fn without_ide_there_is_no_peer_stream() {
    for (ide, binds) in [(Ide::Required, true), (Ide::Absent, false)] {
        let mut responder = running_with_peers(ide, SESSION);
        match asked(&mut responder, SESSION, &Request::BindP2p { stream: 9 }) {
            Step::Bind(token) => drop(responder.bound(token, Ok(()))),
            other => assert!(!binds, "{other:?}"),
        }
        let bound = if binds { vec![9] } else { vec![] };
        assert_eq!(responder.peer_streams(TDI), bound);
    }
}
