//! IDE key management: both sides together, the device against a peer that does what it likes, and the order of a key's
//! bytes.

mod providers;

use providers::{Drawing, RingBut};
use tdisp::{
    crypto::{AeadAlg, Provider, Ring, Secret},
    ide_km::{
        Requester, Responder,
        msg::{
            Direction, Key, KeySub, Message, ObjectId, QueryCapabilities, REGISTERS_MAX, Registers, Slot,
            Status, SubStream,
        },
        registers::{AddressAssociation, Control, LinkStream, SelectiveStream, StreamStatus, Streams},
        requester::{Answer, Error, Progress},
        responder::{Event, Port},
    },
    tdi::responder::Misconfigured,
};

const SESSION: u32 = 7;

fn device() -> Responder {
    Responder::new(vec![Port {
        capability: 0x11,
        control: 0x22,
        ..Port::default()
    }])
}

/// Carries objects until the request is done.
fn run(device: &mut Responder, tsm: &mut Requester, first: &[u8]) -> Result<Answer, Error> {
    let mut object = first.to_vec();
    loop {
        match tsm.handle(&device.handle(SESSION, &object).expect("an answer"))? {
            Progress::More(next) => object = next.to_vec(),
            Progress::Done(answer) => return Ok(answer),
        }
    }
}

fn program(device: &mut Responder, tsm: &mut Requester) -> Vec<(KeySub, Key)> {
    let first = tsm.program(&Ring).expect("keys");
    match run(device, tsm, &first) {
        Ok(Answer::Programmed(keys)) => keys,
        other => panic!("keys, not {other:?}"),
    }
}

fn go(device: &mut Responder, tsm: &mut Requester) {
    for direction in [Direction::Receive, Direction::Transmit] {
        let object = tsm.go(direction).expect("a programmed set");
        assert!(matches!(run(device, tsm, &object), Ok(Answer::Going(found)) if found == direction));
    }
}

fn events(device: &mut Responder) -> Vec<Event> {
    std::iter::from_fn(|| device.poll_event()).collect()
}

/// The stream has keys in use.
const fn secure() -> Event {
    Event::Secure {
        stream: 3,
        session: SESSION,
    }
}

/// It has none any more.
const fn insecure() -> Event {
    Event::Insecure {
        stream: 3,
        session: SESSION,
    }
}

fn slot(key_set: bool, direction: Direction, sub_stream: SubStream) -> Slot {
    Slot {
        stream: 3,
        key_sub: KeySub::new(key_set, direction, sub_stream),
        port: 0,
    }
}

fn key(byte: u8) -> Key {
    Key {
        key: Secret::new(vec![byte; 32]),
        initial: 1,
    }
}

fn send(device: &mut Responder, session: u32, message: &Message<'_>) -> Option<Vec<u8>> {
    let mut object = Vec::new();
    message.encode(&mut object);
    device.handle(session, &object)
}

#[test]
fn a_stream_is_secure_when_six_keys_are_programmed_and_both_directions_go() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    let query = tsm.query().unwrap();
    let registers = run(&mut device, &mut tsm, &query).unwrap();
    assert!(matches!(
        registers,
        Answer::Registers {
            port_max: 0,
            capability: 0x11,
            control: 0x22,
            ..
        }
    ));
    let keys = program(&mut device, &mut tsm);
    assert_eq!(keys.len(), 6);
    assert!(!device.is_secure(3, SESSION));
    go(&mut device, &mut tsm);
    assert!(device.is_secure(3, SESSION));
    assert!(!device.is_secure(3, 8), "not over another session");
    assert!(!device.is_secure(4, SESSION), "not another stream");
    assert_eq!(events(&mut device), [secure()]);
    let stop = tsm.stop().unwrap();
    assert!(matches!(run(&mut device, &mut tsm, &stop), Ok(Answer::Stopped)));
    assert!(!device.is_secure(3, SESSION));
    assert_eq!(events(&mut device), [insecure()]);
}

#[test]
fn no_two_keys_are_equal() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    let mut keys = program(&mut device, &mut tsm);
    go(&mut device, &mut tsm);
    keys.extend(program(&mut device, &mut tsm));
    assert_eq!(keys.len(), 12);
    for (number, (_, key)) in keys.iter().enumerate() {
        assert!(keys[number + 1..].iter().all(|(_, other)| key != other));
    }
}

#[test]
fn new_keys_go_into_the_other_set_and_the_stream_stays_secure() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    let first = program(&mut device, &mut tsm);
    go(&mut device, &mut tsm);
    let second = program(&mut device, &mut tsm);
    assert_ne!(first[0].0.key_set(), second[0].0.key_set());
    go(&mut device, &mut tsm);
    assert!(device.is_secure(3, SESSION));
    assert_eq!(events(&mut device), [secure()]);
    let old = Message::KSetGo(slot(first[0].0.key_set(), Direction::Receive, SubStream::PR));
    assert_eq!(send(&mut device, SESSION, &old), None, "the old keys are erased");
}

const SUB_STREAMS: [SubStream; 3] = [SubStream::PR, SubStream::NPR, SubStream::CPL];

/// The K_GOSTOP_ACK of a slot.
fn going(slot: Slot) -> Option<Vec<u8>> {
    let mut acknowledged = Vec::new();
    Message::KGostopAck(slot).encode(&mut acknowledged);
    Some(acknowledged)
}

/// Some requesters program a key and say K_SET_GO, sub-stream for sub-stream; others program all keys first.
#[test]
fn a_sub_stream_goes_once_its_key_is_there_and_the_stream_is_secure_once_all_six_are() {
    let mut device = device();
    for direction in [Direction::Receive, Direction::Transmit] {
        for sub_stream in SUB_STREAMS {
            let slot = slot(false, direction, sub_stream);
            let start = Message::KSetGo(slot);
            assert_eq!(
                send(&mut device, SESSION, &start),
                None,
                "{direction:?} {sub_stream} without its key"
            );
            assert!(!device.is_secure(3, SESSION));
            send(&mut device, SESSION, &Message::KeyProg(slot, key(1))).expect("an acknowledgement");
            assert!(!device.is_secure(3, SESSION), "a key that waits");
            assert_eq!(send(&mut device, SESSION, &start), going(slot));
        }
    }
    assert!(device.is_secure(3, SESSION));
    assert_eq!(events(&mut device), [secure()]);
}

#[test]
fn one_sub_stream_in_each_direction_is_not_a_secure_stream() {
    let mut device = device();
    for direction in [Direction::Receive, Direction::Transmit] {
        let slot = slot(false, direction, SubStream::PR);
        send(&mut device, SESSION, &Message::KeyProg(slot, key(1))).expect("an acknowledgement");
        assert_eq!(send(&mut device, SESSION, &Message::KSetGo(slot)), going(slot));
    }
    assert!(!device.is_secure(3, SESSION));
    assert_eq!(events(&mut device), []);
}

#[test]
fn one_direction_is_not_a_secure_stream() {
    let mut device = device();
    for sub_stream in SUB_STREAMS {
        let slot = slot(false, Direction::Receive, sub_stream);
        send(&mut device, SESSION, &Message::KeyProg(slot, key(1))).expect("an acknowledgement");
    }
    let slot = slot(false, Direction::Receive, SubStream::PR);
    assert_eq!(send(&mut device, SESSION, &Message::KSetGo(slot)), going(slot));
    assert!(!device.is_secure(3, SESSION));
}

#[test]
fn a_set_in_use_can_be_programmed_anew_and_the_stream_stays_secure() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    program(&mut device, &mut tsm);
    go(&mut device, &mut tsm);
    for direction in [Direction::Receive, Direction::Transmit] {
        for sub_stream in SUB_STREAMS {
            let slot = slot(false, direction, sub_stream);
            let answer = send(&mut device, SESSION, &Message::KeyProg(slot, key(9))).unwrap();
            assert_eq!(
                Message::decode(&answer),
                Ok(Message::KpAck(slot, Status::SUCCESSFUL))
            );
            assert_eq!(send(&mut device, SESSION, &Message::KSetGo(slot)), going(slot));
            assert!(device.is_secure(3, SESSION));
        }
    }
    assert_eq!(events(&mut device), [secure()]);
}

#[test]
fn a_port_that_is_not_there_is_told_from_what_is_to_be_ignored() {
    let device = device();
    let lacks = |message: &Message<'_>| {
        let mut object = Vec::new();
        message.encode(&mut object);
        device.lacks_port(&object)
    };
    let here = slot(false, Direction::Receive, SubStream::PR);
    let gone = Slot { port: 1, ..here };
    assert!(lacks(&Message::Query { port: 1 }) && lacks(&Message::KSetGo(gone)));
    assert!(lacks(&Message::KSetStop(gone)));
    assert!(!lacks(&Message::Query { port: 0 }) && !lacks(&Message::KSetGo(here)));
    assert!(!lacks(&Message::KSetStop(here)));
    assert!(!lacks(&Message::KeyProg(gone, key(1))), "its KP_ACK has a status");
    assert!(!lacks(&Message::KGostopAck(gone)) && !device.lacks_port(&[0, 0]));
}

#[test]
fn the_end_of_the_session_erases_the_keys_of_its_streams() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    program(&mut device, &mut tsm);
    go(&mut device, &mut tsm);
    device.session_ended(8);
    assert!(device.is_secure(3, SESSION));
    device.session_ended(SESSION);
    assert!(!device.is_secure(3, SESSION));
    assert_eq!(events(&mut device), [secure(), insecure()]);
}

#[test]
fn a_stream_that_never_was_secure_ends_without_a_word() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    program(&mut device, &mut tsm);
    device.session_ended(SESSION);
    assert_eq!(events(&mut device), []);
}

/// The TSM does not ask for it, and a device that is asked is not secure for that.
#[test]
fn a_stream_that_is_transmitted_on_and_not_received_is_not_secure() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    program(&mut device, &mut tsm);
    let transmit = slot(false, Direction::Transmit, SubStream::PR);
    assert!(send(&mut device, SESSION, &Message::KSetGo(transmit)).is_some());
    assert!(!device.is_secure(3, SESSION));
    assert_eq!(events(&mut device), []);
    let receive = slot(false, Direction::Receive, SubStream::PR);
    assert!(send(&mut device, SESSION, &Message::KSetGo(receive)).is_some());
    assert!(device.is_secure(3, SESSION));
}

#[test]
fn a_query_shows_the_ports_register_blocks() {
    let streams = Streams {
        link: vec![LinkStream {
            control: Control(1 << 24),
            status: StreamStatus(2),
        }],
        selective: vec![SelectiveStream {
            control: Control::selective(3, true),
            addresses: vec![AddressAssociation([1, 2, 3])],
            ..SelectiveStream::default()
        }],
    };
    let port = Port {
        capability: 3,
        streams: streams.clone(),
        ..Port::default()
    };
    let answer = send(
        &mut Responder::new(vec![port]),
        SESSION,
        &Message::Query { port: 0 },
    )
    .unwrap();
    let Ok(Message::QueryResp(found)) = Message::decode(&answer) else {
        panic!("registers")
    };
    assert_eq!(found.streams(), Ok((streams, &[][..])));
}

#[test]
fn another_session_cannot_touch_a_stream_that_has_an_owner() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    program(&mut device, &mut tsm);
    go(&mut device, &mut tsm);
    let slot = slot(true, Direction::Receive, SubStream::PR);
    for message in [
        Message::KeyProg(slot, key(1)),
        Message::KSetGo(slot),
        Message::KSetStop(slot),
    ] {
        assert_eq!(send(&mut device, 8, &message), None);
    }
    assert!(device.is_secure(3, SESSION));
}

#[test]
fn a_stream_whose_keys_are_all_stopped_has_no_owner() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    program(&mut device, &mut tsm);
    let stop = tsm.stop().unwrap();
    run(&mut device, &mut tsm, &stop).unwrap();
    let message = Message::KeyProg(slot(false, Direction::Receive, SubStream::PR), key(1));
    assert!(send(&mut device, 8, &message).is_some());
}

#[test]
fn stopping_erases_both_sets_also_when_new_keys_were_half_programmed() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    program(&mut device, &mut tsm);
    go(&mut device, &mut tsm);
    let first = tsm.program(&Ring).unwrap();
    device.handle(SESSION, &first).unwrap();
    tsm.abandon();
    assert!(device.is_secure(3, SESSION));
    let stop = tsm.stop().unwrap();
    assert!(matches!(run(&mut device, &mut tsm, &stop), Ok(Answer::Stopped)));
    assert!(!device.is_secure(3, SESSION));
    assert_eq!(events(&mut device), [secure(), insecure()]);
    let again = tsm.stop().unwrap();
    assert!(
        matches!(run(&mut device, &mut tsm, &again), Ok(Answer::Stopped)),
        "stopping twice is no error"
    );
}

#[test]
fn a_key_that_cannot_be_programmed_is_acknowledged_with_why() {
    let mut device = device();
    let mut status = |session, message: &Message<'_>| {
        let answer = send(&mut device, session, message)?;
        match Message::decode(&answer) {
            Ok(Message::KpAck(_, status)) => Some(status),
            other => panic!("a KP_ACK, not {other:?}"),
        }
    };
    let good = slot(false, Direction::Receive, SubStream::PR);
    assert_eq!(
        status(1, &Message::KeyProg(Slot { port: 1, ..good }, key(1))),
        Some(Status::UNSUPPORTED_PORT_INDEX)
    );
    let sub_stream = slot(false, Direction::Receive, SubStream(3));
    assert_eq!(
        status(1, &Message::KeyProg(sub_stream, key(1))),
        Some(Status::UNSUPPORTED_VALUE)
    );
}

#[test]
fn a_key_prog_of_a_wrong_length_is_acknowledged_so_and_programs_nothing() {
    let mut device = device();
    let mut whole = Vec::new();
    Message::KeyProg(slot(false, Direction::Receive, SubStream::PR), key(1)).encode(&mut whole);
    whole.push(0);
    for size in (0..=whole.len()).filter(|size| *size != whole.len() - 1) {
        let answer = device.handle(SESSION, &whole[..size]);
        match size {
            0..7 => assert_eq!(answer, None, "{size} bytes"),
            _ => {
                let answer = answer.unwrap();
                assert!(matches!(
                    Message::decode(&answer),
                    Ok(Message::KpAck(_, Status::INCORRECT_LENGTH))
                ));
            }
        }
    }
}

#[test]
fn what_is_unknown_or_a_response_is_not_answered() {
    let mut device = device();
    for id in 7..=0xff {
        assert_eq!(device.handle(SESSION, &[id, 0, 0, 0, 0, 0, 0]), None);
    }
    let slot = slot(false, Direction::Receive, SubStream::PR);
    assert_eq!(send(&mut device, SESSION, &Message::KGostopAck(slot)), None);
    assert_eq!(send(&mut device, SESSION, &Message::Query { port: 1 }), None);
    assert_eq!(
        send(&mut Responder::new(vec![]), SESSION, &Message::Query { port: 0 }),
        None,
        "a device without IDE"
    );
}

#[test]
fn the_tsm_refuses_an_acknowledgement_of_another_slot_or_with_a_bad_status() {
    let acknowledge = |change: fn(&mut Slot, &mut Status)| {
        let mut tsm = Requester::new(0, 3);
        let object = tsm.program(&Ring).unwrap();
        let Ok(Message::KeyProg(mut slot, _)) = Message::decode(&object) else {
            panic!("a KEY_PROG")
        };
        let mut status = Status::SUCCESSFUL;
        change(&mut slot, &mut status);
        let mut answer = Vec::new();
        Message::KpAck(slot, status).encode(&mut answer);
        let outcome = tsm.handle(&answer);
        assert!(matches!(
            tsm.go(Direction::Receive),
            Err(Error::Busy | Error::StopFirst)
        ));
        outcome
    };
    assert!(matches!(acknowledge(|_, _| {}), Ok(Progress::More(_))));
    assert!(matches!(
        acknowledge(|slot, _| slot.stream = 4),
        Err(Error::Unexpected { .. })
    ));
    assert!(matches!(
        acknowledge(|slot, _| slot.port = 1),
        Err(Error::Unexpected { .. })
    ));
    assert!(matches!(
        acknowledge(|slot, _| slot.key_sub = KeySub(0x12)),
        Err(Error::Unexpected { .. })
    ));
    let refused = acknowledge(|_, status| *status = Status::UNSUPPORTED_VALUE).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the device refused an IDE key for stream 3: UNSUPPORTED_VALUE"
    );
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let mut tsm = Requester::new(0, 3);
    assert!(matches!(tsm.handle(&[]), Err(Error::NothingAsked)));
    tsm.query().unwrap();
    assert!(matches!(tsm.query(), Err(Error::Busy)));
    let mut answer = Vec::new();
    Message::KGostopAck(slot(false, Direction::Receive, SubStream::PR)).encode(&mut answer);
    let error = tsm.handle(&answer).unwrap_err();
    assert_eq!(
        error,
        Error::Unexpected {
            found: ObjectId::K_GOSTOP_ACK,
            wanted: ObjectId::QUERY
        }
    );
    tsm.query().unwrap();
    assert!(matches!(tsm.handle(&[1, 0, 0]), Err(Error::Malformed(_))));
}

#[test]
fn the_tsm_refuses_the_registers_of_another_port_and_that_another_set_has_stopped() {
    let mut tsm = Requester::new(0, 3);
    let registers = |port| {
        let found = Registers {
            abilities: QueryCapabilities::default(),
            port,
            device_function: 0,
            bus: 0,
            segment: 0,
            port_max: 1,
            capability: 0,
            control: 0,
            blocks: &[],
        };
        let mut answer = Vec::new();
        Message::QueryResp(found).encode(&mut answer);
        answer
    };
    let unexpected = |found, wanted| Err(Error::Unexpected { found, wanted });
    tsm.query().unwrap();
    let refused = tsm.handle(&registers(1)).map(drop);
    assert_eq!(refused, unexpected(ObjectId::QUERY_RESP, ObjectId::QUERY));
    tsm.query().unwrap();
    assert!(tsm.handle(&registers(0)).is_ok());
    let stopped = |slot: Slot| {
        let mut answer = Vec::new();
        Message::KGostopAck(slot).encode(&mut answer);
        answer
    };
    let others: [fn(&mut Slot); 3] = [
        |slot| slot.stream = 4,
        |slot| slot.port = 1,
        |slot| slot.key_sub = KeySub(slot.key_sub.0 ^ 2),
    ];
    for change in others {
        let Ok(Message::KSetStop(mut slot)) = Message::decode(&tsm.stop().unwrap()) else {
            panic!("a K_SET_STOP")
        };
        change(&mut slot);
        let refused = tsm.handle(&stopped(slot)).map(drop);
        assert_eq!(refused, unexpected(ObjectId::K_GOSTOP_ACK, ObjectId::K_SET_STOP));
        assert_eq!(tsm.program(&Ring).map(drop), Err(Error::StopFirst));
    }
    let asked = tsm.stop().unwrap();
    assert!(matches!(
        run(&mut device(), &mut tsm, &asked),
        Ok(Answer::Stopped)
    ));
    assert!(tsm.program(&Ring).is_ok());
}

#[test]
fn registers_are_whole_and_no_more_than_there_can_be() {
    for (size, goes) in [
        (0, true),
        (4, true),
        (6, false),
        (REGISTERS_MAX, true),
        (REGISTERS_MAX + 4, false),
    ] {
        let blocks = vec![0; size];
        let found = Registers {
            abilities: QueryCapabilities::default(),
            port: 0,
            device_function: 0,
            bus: 0,
            segment: 0,
            port_max: 0,
            capability: 0,
            control: 0,
            blocks: &blocks,
        };
        let mut answer = Vec::new();
        Message::QueryResp(found).encode(&mut answer);
        assert_eq!(Message::decode(&answer).is_ok(), goes, "{size}");
    }
}

#[test]
fn a_stop_at_a_port_that_is_not_there_is_not_answered() {
    for (port, there) in [(0, true), (1, false), (255, false)] {
        let stop = Message::KSetStop(Slot {
            port,
            ..slot(false, Direction::Receive, SubStream::PR)
        });
        assert_eq!(send(&mut device(), SESSION, &stop).is_some(), there, "{port}");
    }
}

/// Of two ports only one has registers that software wrote: the other's say nothing.
#[test]
fn registers_that_nobody_wrote_make_no_default_stream() {
    let port = |written| Port {
        streams: Streams {
            link: Vec::new(),
            selective: vec![SelectiveStream {
                control: Control::selective(3, true),
                ..SelectiveStream::default()
            }],
        },
        written,
        ..Port::default()
    };
    let default = |ports| Responder::new(ports).check_default_stream(3);
    assert_eq!(default(vec![port(true), port(false)]), Ok(()));
    assert_eq!(default(vec![port(false), port(false)]), Ok(()));
    let twice = Err(Misconfigured::DefaultStream(3));
    assert_eq!(default(vec![port(true), port(true)]), twice);
    assert_eq!(
        default(vec![
            Port {
                streams: Streams::default(),
                ..port(true)
            },
            port(false)
        ]),
        twice
    );
}

#[test]
fn a_peer_stream_is_no_default_stream_and_may_lie_across_one_that_is_not_enabled() {
    const ENABLED: u32 = 1;
    let block = |id, default, more| SelectiveStream {
        control: Control(Control::selective(id, default).0 | more),
        addresses: vec![AddressAssociation([1 | 1 << 8 | 1 << 20, 0, 0])],
        ..SelectiveStream::default()
    };
    let peer = |selective| {
        let port = Port {
            streams: Streams {
                link: Vec::new(),
                selective,
            },
            written: true,
            ..Port::default()
        };
        Responder::new(vec![port]).check_peer_stream(7)
    };
    let refused = Err(Misconfigured::PeerStream(7));
    assert_eq!(peer(vec![block(7, true, ENABLED)]), refused);
    assert_eq!(peer(vec![block(7, false, ENABLED)]), Ok(()));
    assert_eq!(
        peer(vec![block(7, false, ENABLED), block(8, false, ENABLED)]),
        refused
    );
    assert_eq!(peer(vec![block(7, false, ENABLED), block(8, false, 0)]), Ok(()));
    // The default stream takes what no other does.
    assert_eq!(
        peer(vec![block(7, false, ENABLED), block(8, true, ENABLED)]),
        Ok(())
    );
}

#[test]
fn one_request_of_a_stream_is_under_way_at_a_time() {
    let busy = Err(Error::Busy);
    let mut tsm = Requester::new(0, 3);
    program(&mut device(), &mut tsm);
    let asked = tsm.query().unwrap();
    assert_eq!(tsm.query().map(drop), busy);
    assert_eq!(tsm.program(&Ring).map(drop), busy);
    assert_eq!(tsm.go(Direction::Receive).map(drop), busy);
    assert_eq!(tsm.stop().map(drop), busy);
    // What was asked is still asked, and an answer that is wrong does the keys no harm.
    assert!(run(&mut device(), &mut tsm, &asked).is_ok());
    tsm.query().unwrap();
    assert!(tsm.handle(&[]).is_err());
    assert!(tsm.go(Direction::Receive).is_ok());
}

#[test]
fn a_stop_is_of_the_sets_that_the_device_may_hold_keys_of() {
    for (programmed, stops) in [(0, 2), (1, 2), (2, 4), (3, 4)] {
        let (mut device, mut tsm) = (device(), Requester::new(0, 3));
        for _ in 0..programmed {
            program(&mut device, &mut tsm);
            go(&mut device, &mut tsm);
        }
        let mut object = tsm.stop().unwrap();
        let mut stopped = 1;
        while let Progress::More(next) = tsm.handle(&device.handle(SESSION, &object).unwrap()).unwrap() {
            object = next.to_vec();
            stopped += 1;
        }
        assert_eq!(stopped, stops, "{programmed}");
    }
}

#[test]
fn keys_are_the_same_if_their_bytes_and_their_initial_values_are() {
    assert_eq!(key(1), key(1));
    assert_ne!(key(1), key(2));
    assert_ne!(key(1), Key { initial: 2, ..key(1) });
}

/// AES-256-GCM test case 14 of McGrew and Viega's "The Galois/Counter Mode of Operation", with the key of test case 15:
/// what the hardware at the other end of the link computes with the key that it was given.
#[test]
fn the_bytes_of_a_key_on_the_wire_give_the_key_that_aes_takes() {
    let dws = [
        0xfeff_e992u32,
        0x8665_731c,
        0x6d6a_8f94,
        0x6730_8308,
        0xfeff_e992,
        0x8665_731c,
        0x6d6a_8f94,
        0x6730_8308,
    ];
    let mut object = vec![2, 0, 0, 3, 0, 0x02, 0];
    // The most significant DW first, each little-endian; then the initial value in the same way.
    dws.iter().for_each(|dw| object.extend(dw.to_le_bytes()));
    object.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    let Ok(Message::KeyProg(slot, key)) = Message::decode(&object) else {
        panic!("a KEY_PROG")
    };
    assert_eq!(
        (slot.stream, slot.key_sub.direction(), key.initial),
        (3, Direction::Transmit, 1)
    );
    let plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
    let cipher = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
    let tag = "b094dac5d93471bdec1a502270e3cc6c";
    let mut data = hex(plain);
    let nonce = hex("cafebabefacedbaddecaf888").try_into().unwrap();
    let found = Ring
        .aead(AeadAlg::Aes256Gcm, key.key.expose())
        .unwrap()
        .seal(nonce, &[], &mut data)
        .unwrap();
    assert_eq!((data, found.to_vec()), (hex(cipher), hex(tag)));
    let mut again = Vec::new();
    Message::KeyProg(slot, key).encode(&mut again);
    assert_eq!(again, object);
}

/// The example of the TEE-IO validator's `key_byte_order.md`: an AES-256 key, and the DW of the KEY_PROG in their order.
#[test]
fn a_key_of_the_tsm_goes_over_the_wire_in_order_and_both_ends_encrypt_with_it() {
    let key = hex("df254152056e02e0ef8b7feb9739d4d96a4eb80103241df7cd5e24b49ccd2720");
    let dws = [
        0xdf25_4152u32,
        0x056e_02e0,
        0xef8b_7feb,
        0x9739_d4d9,
        0x6a4e_b801,
        0x0324_1df7,
        0xcd5e_24b4,
        0x9ccd_2720,
        0,
        1,
    ];
    let mut tsm = Requester::new(0, 3);
    let object = tsm.program(&RingBut(Drawing(Some(key.clone())))).unwrap();
    let wanted: Vec<u8> = dws.iter().flat_map(|dw| dw.to_le_bytes()).collect();
    assert_eq!(
        object[7..],
        wanted,
        "eight DW of key, the most significant first, and two of the initial value"
    );
    let Ok(Message::KeyProg(_, of_device)) = Message::decode(&object) else {
        panic!("a KEY_PROG")
    };
    assert_eq!((of_device.key.expose(), of_device.initial), (&key[..], 1));
    let mut device = device();
    let Ok(Answer::Programmed(of_tsm)) = run(&mut device, &mut tsm, &object) else {
        panic!("keys")
    };
    // The first packet of the stream, as PCIe has its nonce: 32 bits of 0, and the invocation field.
    let nonce = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut packet = b"a TLP".to_vec();
    let seal = Ring.aead(AeadAlg::Aes256Gcm, of_tsm[0].1.key.expose()).unwrap();
    let tag = seal.seal(nonce, &[], &mut packet).unwrap();
    packet.extend(tag);
    let open = Ring.aead(AeadAlg::Aes256Gcm, of_device.key.expose()).unwrap();
    assert_eq!(open.open(nonce, &[], &mut packet).unwrap(), b"a TLP");
}

#[test]
fn after_a_refused_key_nothing_but_a_stop_is_left_and_all_keys_go() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    program(&mut device, &mut tsm);
    go(&mut device, &mut tsm);
    let first = tsm.program(&Ring).unwrap();
    let mut refused = device.handle(SESSION, &first).unwrap();
    refused[4] = Status::UNSPECIFIED_FAILURE.0;
    assert!(matches!(tsm.handle(&refused), Err(Error::Refused { .. })));
    assert_eq!(tsm.program(&Ring).unwrap_err(), Error::StopFirst);
    assert_eq!(tsm.go(Direction::Receive).unwrap_err(), Error::StopFirst);
    let stop = tsm.stop().unwrap();
    assert!(matches!(run(&mut device, &mut tsm, &stop), Ok(Answer::Stopped)));
    assert!(!device.is_secure(3, SESSION), "both sets");
    program(&mut device, &mut tsm);
    go(&mut device, &mut tsm);
    assert!(device.is_secure(3, SESSION));
}

#[test]
fn a_lost_answer_about_keys_leaves_nothing_but_a_stop_and_a_lost_query_does_no_harm() {
    let mut tsm = Requester::new(0, 3);
    tsm.query().unwrap();
    tsm.abandon();
    tsm.program(&Ring).unwrap();
    tsm.abandon();
    assert_eq!(tsm.program(&Ring).unwrap_err(), Error::StopFirst);
    assert!(tsm.query().is_ok());
}

#[test]
fn the_device_does_not_transmit_before_it_receives() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    program(&mut device, &mut tsm);
    assert_eq!(tsm.go(Direction::Transmit).unwrap_err(), Error::ReceiveFirst);
    go(&mut device, &mut tsm);
    program(&mut device, &mut tsm);
    assert_eq!(
        tsm.go(Direction::Transmit).unwrap_err(),
        Error::ReceiveFirst,
        "nor with new keys"
    );
    go(&mut device, &mut tsm);
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

#[test]
fn a_set_does_not_go_by_the_word_of_another_session() {
    let (mut device, mut tsm) = (device(), Requester::new(0, 3));
    program(&mut device, &mut tsm);
    for direction in [Direction::Receive, Direction::Transmit] {
        let message = Message::KSetGo(slot(false, direction, SubStream::PR));
        assert_eq!(send(&mut device, 8, &message), None);
    }
    assert!(!device.is_secure(3, SESSION));
    assert_eq!(events(&mut device), []);
}

#[test]
fn the_tsm_refuses_the_acknowledgement_that_another_set_or_stream_goes() {
    let changes: [fn(&mut Slot); 3] = [
        |slot| slot.stream = 4,
        |slot| slot.port = 1,
        |slot| slot.key_sub = KeySub::new(true, Direction::Receive, SubStream::PR),
    ];
    for change in changes {
        let (mut device, mut tsm) = (device(), Requester::new(0, 3));
        program(&mut device, &mut tsm);
        tsm.go(Direction::Receive).unwrap();
        let mut other = slot(false, Direction::Receive, SubStream::PR);
        change(&mut other);
        let mut answer = Vec::new();
        Message::KGostopAck(other).encode(&mut answer);
        assert!(matches!(tsm.handle(&answer), Err(Error::Unexpected { .. })));
        assert!(matches!(tsm.go(Direction::Receive), Err(Error::StopFirst)));
    }
}

/// All keys of the stream at a port, in use.
fn key_at(device: &mut Responder, session: u32, port: u8) {
    for direction in [Direction::Receive, Direction::Transmit] {
        let at = |sub_stream| Slot {
            port,
            ..slot(false, direction, sub_stream)
        };
        for sub_stream in [SubStream::PR, SubStream::NPR, SubStream::CPL] {
            assert!(send(device, session, &Message::KeyProg(at(sub_stream), key(9))).is_some());
        }
        assert!(send(device, session, &Message::KSetGo(at(SubStream::PR))).is_some());
    }
}

#[test]
fn a_stream_at_another_sessions_port_is_another_stream_though_it_has_the_same_id() {
    const OTHER: u32 = 8;
    let mut device = Responder::new(vec![Port::default(), Port::default()]);
    key_at(&mut device, SESSION, 0);
    key_at(&mut device, OTHER, 1);
    assert!(device.is_secure(3, SESSION) && device.is_secure(3, OTHER));
    let theirs = Event::Secure {
        stream: 3,
        session: OTHER,
    };
    assert_eq!(events(&mut device), [secure(), theirs]);
    let stop = Slot {
        port: 1,
        ..slot(false, Direction::Receive, SubStream::PR)
    };
    assert!(send(&mut device, OTHER, &Message::KSetStop(stop)).is_some());
    assert!(device.is_secure(3, SESSION) && !device.is_secure(3, OTHER));
    let theirs = Event::Insecure {
        stream: 3,
        session: OTHER,
    };
    assert_eq!(events(&mut device), [theirs]);
}

#[test]
fn a_stream_of_one_session_at_two_ports_is_secure_where_it_is_at_both() {
    let mut device = Responder::new(vec![Port::default(), Port::default()]);
    key_at(&mut device, SESSION, 0);
    let half = Slot {
        port: 1,
        ..slot(false, Direction::Receive, SubStream::PR)
    };
    assert!(send(&mut device, SESSION, &Message::KeyProg(half, key(9))).is_some());
    assert!(!device.is_secure(3, SESSION));
    key_at(&mut device, SESSION, 1);
    assert!(device.is_secure(3, SESSION));
}
