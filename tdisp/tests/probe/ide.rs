//! IDE_KM: queries, keys, and the two sets of them.

use super::*;
use tdisp::{
    crypto::Secret,
    ide_km::{
        Responder,
        msg::{Direction, Key, KeySub, Message, ObjectId, Slot, Status, SubStream},
        registers::{Control, LinkStream, SelectiveStream, Streams},
        responder::Port,
    },
};

const WAYS: [Direction; 2] = [Direction::Receive, Direction::Transmit];
const SUB_STREAMS: [SubStream; 3] = [SubStream::PR, SubStream::NPR, SubStream::CPL];
/// A stream that nobody has keyed.
const FRESH: u8 = 9;

fn slot(stream: u8, key_set: bool, direction: Direction, sub_stream: SubStream) -> Slot {
    Slot {
        stream,
        key_sub: KeySub::new(key_set, direction, sub_stream),
        port: 0,
    }
}

fn key(initial: u64) -> Key {
    Key {
        key: Secret::new((0..32).collect()),
        initial,
    }
}

fn bytes(message: &Message<'_>) -> Vec<u8> {
    let mut object = Vec::new();
    message.encode(&mut object);
    object
}

fn send(pair: &mut Pair, message: &Message<'_>) -> Option<Vec<u8>> {
    pair.vendor(Protocol::IDE_KM, &bytes(message))
}

/// The status of the KP_ACK to a KEY_PROG, which must name the same slot.
fn status(pair: &mut Pair, slot: Slot, key: Key) -> Status {
    acknowledged(
        &send(pair, &Message::KeyProg(slot, key)).expect("an acknowledgement"),
        slot,
    )
}

fn acknowledged(answer: &[u8], slot: Slot) -> Status {
    assert_eq!(answer.len(), 7);
    match Message::decode(answer) {
        Ok(Message::KpAck(found, status)) if found == slot => status,
        other => panic!("a KP_ACK for {slot:?}, not {other:?}"),
    }
}

/// The slots of a set.
fn all_of(stream: u8, key_set: bool) -> impl Iterator<Item = Slot> {
    WAYS.into_iter()
        .flat_map(move |way| SUB_STREAMS.map(|sub| slot(stream, key_set, way, sub)))
}

/// The good keys of a set, all of them, or the first so many.
fn program(pair: &mut Pair, stream: u8, key_set: bool, count: usize) {
    for slot in all_of(stream, key_set).take(count) {
        assert_eq!(status(pair, slot, key(1)), Status::SUCCESSFUL);
    }
}

#[track_caller]
fn acks(pair: &mut Pair, message: &Message<'_>, slot: Slot) {
    let wanted = Message::KGostopAck(slot);
    assert_eq!(
        send(pair, message).as_deref(),
        Some(&bytes(&wanted)[..]),
        "{message:?}"
    );
}

#[test]
fn a_query_is_answered_for_each_port_and_for_no_other() {
    let mut config = config(Ide::Required);
    let port = |device_function| Port {
        device_function,
        bus: 7,
        segment: 1,
        ..Port::default()
    };
    config.ports = vec![port(8), port(0x10), port(0x18)];
    let device = Dsm::new(config, Box::new(honest()), Arc::new(Ring));
    let mut pair = Pair::connected(device);
    // The last ends the conversation: an error comes, after which a requester begins anew.
    for index in 0..=3 {
        let answer = send(&mut pair, &Message::Query { port: index });
        match answer.as_deref().map(Message::decode) {
            Some(Ok(Message::QueryResp(found))) => {
                let wanted = (index, 8 * (index + 1), 7, 1, 2);
                let place = (
                    found.port,
                    found.device_function,
                    found.bus,
                    found.segment,
                    found.port_max,
                );
                assert_eq!(place, wanted);
            }
            None => assert_eq!(index, 3),
            other => panic!("{other:?} for port {index}"),
        }
    }
}

/// A requester that asks for one is told at once, and need not wait: the DMTF's emulator begins with port 1.
#[test]
fn a_port_that_is_not_there_is_refused_by_an_error_of_spdms() {
    let of = |port| Slot {
        port,
        ..slot(FRESH, false, Direction::Receive, SubStream::PR)
    };
    for message in [
        Message::Query { port: 1 },
        Message::Query { port: 0xff },
        Message::KSetGo(of(1)),
        Message::KSetStop(of(0xff)),
    ] {
        let mut pair = probed();
        pair.bring_to(State::RUN, LOCK);
        let mut payload = Vec::new();
        PciSig {
            protocol: Protocol::IDE_KM,
            object: &bytes(&message),
        }
        .encode(&mut payload);
        pair.spdm.vendor(NOW, &payload).unwrap();
        let Some(spdm::Event::Failed(error)) = pair.exchange().pop() else {
            panic!("an ERROR to {message:?}")
        };
        let wanted = "the responder refuses with INVALID_REQUEST";
        assert!(error.to_string().contains(wanted), "{error} to {message:?}");
        assert_eq!(pair.device.state(TDI), Some(State::RUN));
    }
}

#[test]
fn each_key_of_both_sets_is_taken() {
    let mut pair = Pair::connected(everything(honest()));
    for key_set in [false, true] {
        program(&mut pair, FRESH, key_set, 6);
    }
}

#[test]
fn a_key_of_another_length_is_acknowledged_as_incorrect_length() {
    let mut pair = Pair::connected(everything(honest()));
    for key_set in [false, true] {
        let slot = slot(FRESH, key_set, Direction::Receive, SubStream::PR);
        let mut whole = bytes(&Message::KeyProg(slot, key(1)));
        whole.extend([0; 8]);
        for size in (7..=whole.len()).filter(|size| *size != whole.len() - 8) {
            let answer = pair
                .vendor(Protocol::IDE_KM, &whole[..size])
                .expect("an acknowledgement");
            assert_eq!(
                acknowledged(&answer, slot),
                Status::INCORRECT_LENGTH,
                "{size} bytes"
            );
        }
    }
}

#[test]
fn a_key_for_a_port_that_is_not_there_is_acknowledged_as_unsupported_port_index() {
    let mut pair = Pair::connected(everything(honest()));
    for port in [1, 2, 0x7f, 0xff] {
        let slot = Slot {
            port,
            ..slot(FRESH, false, Direction::Transmit, SubStream::CPL)
        };
        assert_eq!(
            status(&mut pair, slot, key(1)),
            Status::UNSUPPORTED_PORT_INDEX,
            "port {port}"
        );
    }
}

#[test]
fn a_key_for_a_sub_stream_from_3_on_is_acknowledged_as_unsupported_value() {
    let mut pair = Pair::connected(everything(honest()));
    for sub_stream in 3..16 {
        for way in WAYS {
            let slot = slot(FRESH, true, way, SubStream(sub_stream));
            assert_eq!(
                status(&mut pair, slot, key(1)),
                Status::UNSUPPORTED_VALUE,
                "sub-stream {sub_stream}"
            );
        }
    }
}

#[test]
fn a_key_with_another_initial_value_than_1_is_acknowledged_as_unsupported_value() {
    let mut pair = Pair::connected(everything(honest()));
    for initial in [0, 2, 0xff, 1 << 32, 1 << 56, u64::MAX] {
        let slot = slot(FRESH, false, Direction::Receive, SubStream::NPR);
        assert_eq!(
            status(&mut pair, slot, key(initial)),
            Status::UNSUPPORTED_VALUE,
            "{initial:#x}"
        );
    }
    let none = slot(FRESH, false, Direction::Receive, SubStream::PR);
    assert_eq!(
        send(&mut pair, &Message::KSetStop(none)).map(|answer| answer[0]),
        Some(6),
        "nothing was programmed"
    );
}

#[test]
fn a_key_for_a_stream_that_no_register_has_is_acknowledged_as_unsupported_value() {
    let mut config = config(Ide::Required);
    config.ports = vec![written(&[Control::selective(STREAM, true)])];
    let mut pair = Pair::connected(Dsm::new(config, Box::new(honest()), Arc::new(Ring)));
    for stream in [0, 2, 4, 0xff] {
        let slot = slot(stream, false, Direction::Receive, SubStream::PR);
        assert_eq!(
            status(&mut pair, slot, key(1)),
            Status::UNSUPPORTED_VALUE,
            "validator 2.6, stream {stream}"
        );
    }
    program(&mut pair, STREAM, false, 6);
}

/// A port whose registers have these selective streams.
fn written(controls: &[Control]) -> Port {
    let streams = controls.iter().map(|control| SelectiveStream {
        control: *control,
        ..SelectiveStream::default()
    });
    Port {
        capability: 2 | (controls.len().saturating_sub(1) as u32) << 16,
        streams: Streams {
            link: Vec::new(),
            selective: streams.collect(),
        },
        written: true,
        ..Port::default()
    }
}

/// The validator's TDISP cases each program set 0 and start it, in one session and without a K_SET_STOP between them.
#[test]
fn keys_programmed_into_a_set_in_use_wait_for_its_go_and_disturb_no_lock() {
    let mut pair = Pair::connected(everything(honest()));
    let lock = Lock {
        default_stream: FRESH,
        ..LOCK
    };
    for state in [State::LOCKED, State::RUN, State::LOCKED] {
        program(&mut pair, FRESH, false, 6);
        for slot in all_of(FRESH, false) {
            acks(&mut pair, &Message::KSetGo(slot), slot);
        }
        pair.bring_to(state, lock);
        program(&mut pair, FRESH, false, 6);
        pair.assert_state(state);
    }
}

#[test]
fn a_sub_stream_without_its_key_does_not_go_and_a_set_without_all_of_them_gives_no_lock() {
    let lock = Lock {
        default_stream: FRESH,
        ..LOCK
    };
    for count in 0..6 {
        let mut pair = Pair::connected(everything(honest()));
        program(&mut pair, FRESH, false, count);
        let slots: Vec<_> = all_of(FRESH, false).collect();
        for slot in &slots[..count] {
            acks(&mut pair, &Message::KSetGo(*slot), *slot);
        }
        assert_eq!(
            pair.ask(&Request::Lock(lock)),
            error(ErrorCode::INVALID_REQUEST),
            "{count} keys"
        );
        pair.assert_state(State::UNLOCKED);
        let go = Message::KSetGo(slots[count]);
        assert_eq!(send(&mut pair, &go), None, "{count} keys");
    }
    let mut pair = Pair::connected(everything(honest()));
    program(&mut pair, FRESH, false, 6);
    let other_set = Message::KSetGo(slot(FRESH, true, Direction::Receive, SubStream::PR));
    assert_eq!(send(&mut pair, &other_set), None);
}

/// The order in which DMTF/spdm-emu's requester goes about it, and the one that a change proposed for it has.
#[test]
fn keys_of_one_sub_stream_alone_go_and_stop_and_key_for_key_they_make_a_lock() {
    let mut pair = Pair::connected(everything(honest()));
    let posted = WAYS.map(|way| slot(FRESH, false, way, SubStream::PR));
    for slot in posted {
        assert_eq!(status(&mut pair, slot, key(1)), Status::SUCCESSFUL);
    }
    for slot in posted {
        acks(&mut pair, &Message::KSetGo(slot), slot);
    }
    for slot in posted {
        acks(&mut pair, &Message::KSetStop(slot), slot);
    }
    let lock = Lock {
        default_stream: FRESH,
        ..LOCK
    };
    assert_eq!(pair.ask(&Request::Lock(lock)), error(ErrorCode::INVALID_REQUEST));
    for slot in all_of(FRESH, false) {
        assert_eq!(status(&mut pair, slot, key(1)), Status::SUCCESSFUL);
        acks(&mut pair, &Message::KSetGo(slot), slot);
    }
    pair.bring_to(State::LOCKED, lock);
}

#[test]
fn one_direction_alone_gives_no_lock() {
    let mut pair = Pair::connected(everything(honest()));
    program(&mut pair, FRESH, false, 6);
    let receive = slot(FRESH, false, Direction::Receive, SubStream::PR);
    acks(&mut pair, &Message::KSetGo(receive), receive);
    let lock = Lock {
        default_stream: FRESH,
        ..LOCK
    };
    assert_eq!(pair.ask(&Request::Lock(lock)), error(ErrorCode::INVALID_REQUEST));
}

#[test]
fn both_sets_go_stop_and_switch_over_either_way() {
    for first in [false, true] {
        let mut pair = Pair::connected(everything(honest()));
        for key_set in [first, !first] {
            program(&mut pair, FRESH, key_set, 6);
        }
        // The validator sends one for each sub-stream; the first does it.
        let each = |key_set| all_of(FRESH, key_set);
        for slot in each(first).chain(each(!first)) {
            acks(&mut pair, &Message::KSetGo(slot), slot);
        }
        let lock = Lock {
            default_stream: FRESH,
            ..LOCK
        };
        pair.bring_to(State::LOCKED, lock);
        for slot in each(first) {
            acks(&mut pair, &Message::KSetStop(slot), slot);
        }
        pair.assert_state(State::LOCKED);
        for slot in each(!first) {
            acks(&mut pair, &Message::KSetStop(slot), slot);
        }
        pair.assert_state(State::ERROR);
    }
}

#[test]
fn new_keys_keep_a_running_interface_running() {
    let (mut pair, mut keys) = Pair::connected(everything(honest())).keyed();
    pair.bring_to(State::RUN, LOCK);
    for _ in 0..3 {
        pair.keys(|keys| keys.program(&Ring).unwrap().to_vec(), &mut keys);
        for way in WAYS {
            pair.keys(|keys| keys.go(way).unwrap(), &mut keys);
        }
        pair.assert_state(State::RUN);
    }
}

#[test]
fn unknown_objects_responses_and_those_that_the_port_does_not_have_are_silent() {
    let mut device = Responder::new(vec![Port::default()]);
    for id in (0..=0xff).filter(|id| ![0, 2, 4, 5].contains(id)) {
        for size in [1, 3, 7, 15, 47] {
            let mut object = vec![0; size];
            object[0] = id;
            assert_eq!(device.handle(1, &object), None, "object {id} of {size} bytes");
        }
    }
    for id in [7, 9, 11, 0xff] {
        let mut pair = probed();
        pair.bring_to(State::RUN, LOCK);
        assert_eq!(
            pair.vendor(Protocol::IDE_KM, &[id, 0, 0, STREAM, 0, 0, 0]),
            None,
            "object {id}"
        );
        assert_eq!(pair.device.state(TDI), Some(State::RUN));
    }
    assert_eq!(ObjectId::GET_KEY.0, 7);
}

/// Programs a stream in one session of several, and starts it.
fn key_in(pair: &mut Pair, session: u32, stream: u8) {
    let slots: Vec<_> = all_of(stream, false).collect();
    for message in slots.iter().map(|slot| Message::KeyProg(*slot, key(1))) {
        pair.vendor_in(session, Protocol::IDE_KM, &bytes(&message))
            .expect("an acknowledgement");
    }
    for message in slots.iter().map(|slot| Message::KSetGo(*slot)) {
        pair.vendor_in(session, Protocol::IDE_KM, &bytes(&message))
            .expect("an acknowledgement");
    }
}

fn tdisp_in(pair: &mut Pair, session: u32, request: &Request<'_>) -> Vec<u8> {
    let mut object = Vec::new();
    request.encode(TDI, &mut object);
    pair.vendor_in(session, Protocol::TDISP, &object)
        .expect("an answer")
}

#[test]
fn of_two_sessions_at_once_each_has_its_own_keys_locks_and_end() {
    let mut pair = Pair::connected(everything(honest()));
    let first = pair.spdm.session().expect("a session");
    let second = pair.open_another();
    key_in(&mut pair, second, STREAM);
    let lock = Request::Lock(LOCK);
    let refused = tdisp_in(&mut pair, first, &lock);
    assert_eq!(
        refused[16..20],
        ErrorCode::INVALID_REQUEST.0.to_le_bytes(),
        "the keys are the second's"
    );
    assert_eq!(
        tdisp_in(&mut pair, second, &lock)[1],
        3,
        "LOCK_INTERFACE_RESPONSE"
    );
    for request in [
        Request::Stop,
        Request::GetReport { offset: 0, length: 4 },
        Request::Start { nonce: [0; 32] },
    ] {
        let refused = tdisp_in(&mut pair, first, &request);
        assert_eq!(refused[1], 0x7f, "{}: the lock is the second's", request.code());
        assert_eq!(pair.device.state(TDI), Some(State::LOCKED));
    }
    pair.spdm.end_session_in(NOW, first).unwrap();
    pair.exchange();
    assert_eq!(
        pair.device.state(TDI),
        Some(State::LOCKED),
        "the other session's end is none of its"
    );
    pair.spdm.end_session_in(NOW, second).unwrap();
    pair.exchange();
    assert_eq!(pair.device.state(TDI), Some(State::ERROR));
}

#[test]
fn a_second_sessions_query_through_the_mailbox_is_discarded() {
    let mut pair = Pair::connected(everything(honest()));
    let second = pair.open_another();
    key_in(&mut pair, second, FRESH);
    let first = pair.spdm.sessions()[0];
    assert_ne!(first, second);
    assert_eq!(
        pair.vendor_in(first, Protocol::IDE_KM, &bytes(&Message::Query { port: 0 })),
        None,
        "validator 5.1"
    );
}

// The same of the devices of IDE_KM and TDISP alone, each told whose session it is.

#[test]
fn a_second_sessions_queries_and_keys_are_discarded_until_the_first_is_over() {
    let mut device = Responder::new(vec![Port::default(), Port::default()]);
    let of = slot(1, false, Direction::Receive, SubStream::PR);
    let (query, program) = (Message::Query { port: 0 }, Message::KeyProg(of, key(1)));
    assert!(device.handle(1, &bytes(&query)).is_some());
    assert!(
        device.handle(2, &bytes(&query)).is_some(),
        "nobody owns the port yet"
    );
    assert!(device.handle(1, &bytes(&program)).is_some());
    let other = Message::KeyProg(slot(2, false, Direction::Receive, SubStream::PR), key(1));
    let short = &bytes(&program)[..20];
    for object in [&bytes(&query)[..], &bytes(&program), &bytes(&other), short] {
        assert_eq!(device.handle(2, object), None, "validator 5.1");
    }
    for stop in [Message::KSetStop(of), Message::KSetGo(of)] {
        assert_eq!(device.handle(2, &bytes(&stop)), None);
    }
    assert!(
        device.handle(2, &bytes(&Message::Query { port: 1 })).is_some(),
        "another port"
    );
    device.session_ended(1);
    assert!(device.handle(2, &bytes(&query)).is_some(), "validator 5.2");
    assert_eq!(
        acknowledged(&device.handle(2, &bytes(&program)).unwrap(), of),
        Status::SUCCESSFUL
    );
}

#[test]
fn a_second_sessions_keys_give_no_lock() {
    use tdisp::tdi::{
        Responder as Tdi,
        responder::{Config, Device, Step},
    };
    struct View<'a>(&'a Responder);
    impl Device for View<'_> {
        fn stream_is_secure(&self, stream: u8, session: u32) -> bool {
            self.0.is_secure(stream, session)
        }
    }
    let mut ide = Responder::new(vec![Port::default()]);
    let each = || all_of(STREAM, false);
    each().for_each(|slot| drop(ide.handle(2, &bytes(&Message::KeyProg(slot, key(1)))).unwrap()));
    each().for_each(|slot| drop(ide.handle(2, &bytes(&Message::KSetGo(slot))).unwrap()));
    let mut tdi = Tdi::new(Config::new(vec![TDI]));
    let mut lock = Vec::new();
    Request::Lock(LOCK).encode(TDI, &mut lock);
    let Step::Respond(answer) = tdi.handle(1, &lock, &View(&ide)) else {
        panic!("a refusal")
    };
    assert_eq!(answer[16..20], ErrorCode::INVALID_REQUEST.0.to_le_bytes());
    assert!(matches!(tdi.handle(2, &lock, &View(&ide)), Step::Lock(_)));
}

#[test]
fn a_lock_wants_the_default_stream_of_the_registers_for_traffic_class_0() {
    let default = Control::selective(STREAM, true);
    let cases = [
        (vec![default], None),
        (vec![Control::selective(STREAM, false)], Some("no default stream")),
        (
            vec![Control::selective(STREAM, false), Control::selective(5, true)],
            Some("another default stream"),
        ),
        (
            vec![default, Control::selective(5, true)],
            Some("two default streams"),
        ),
        (vec![Control(default.0 | 3 << 19)], Some("for TC 3")),
    ];
    for (controls, why) in cases {
        let mut config = config(Ide::Required);
        config.ports = vec![written(&controls)];
        let device = Dsm::new(config, Box::new(honest()), Arc::new(Ring));
        let mut pair = Pair::connected(device).keyed().0;
        let answer = pair.ask(&Request::Lock(LOCK));
        match why {
            None => assert_eq!(answer.code().0, 3),
            Some(why) => assert_eq!(answer, error(ErrorCode::INVALID_DEVICE_CONFIGURATION), "{why}"),
        }
    }
}

#[test]
fn link_streams_are_streams_too() {
    let mut port = written(&[]);
    port.capability = 1;
    port.streams.link = vec![LinkStream {
        control: Control::selective(FRESH, false),
        ..LinkStream::default()
    }];
    let mut device = Responder::new(vec![port]);
    let of = slot(FRESH, false, Direction::Receive, SubStream::PR);
    assert_eq!(
        acknowledged(
            &device.handle(1, &bytes(&Message::KeyProg(of, key(1)))).unwrap(),
            of
        ),
        Status::SUCCESSFUL
    );
}
