//! Ends that take no more than 42 bytes at once, the least there is: from the algorithms on everything goes in chunks. And
//! ends that take more than a record holds, whose length has 16 bits.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;

use harness::{Pair, by_hand::ByHand, requester, responder, responder_config, suite::Suite};
use tdisp::{
    crypto::Wiped,
    spdm::{
        Error, Event, Measurement, Misbehaviour, Misuse, RequesterConfig, ResponderConfig, Transport,
        chunk::Splitter,
        msg::{
            Code, Context, Payload, Version, algorithms,
            capabilities::{self, DATA_TRANSFER_SIZE_MIN, Flags},
            chunk as msg, digests,
            error::ErrorCode,
            measurements,
        },
        responder::Event as Told,
        transport::Kind,
    },
};

const SUITE: Suite = Suite::P384;
const MESSAGE_MAX: u32 = 0x1_0000;
const VERSIONS: [Version; 3] = [Version::V1_2, Version::V1_3, Version::V1_4];

/// Two ends that take `transfer` bytes at once, and chunks.
fn pair(
    (version, transport): (Version, Transport),
    [asking, answering]: [u32; 2],
    change: impl FnOnce(&mut RequesterConfig, &mut ResponderConfig),
) -> Pair {
    let mut ask = RequesterConfig {
        transfer_size: asking,
        chunk: Some(MESSAGE_MAX),
        ..SUITE.requester(version, transport)
    };
    let mut answer = ResponderConfig {
        transfer_size: answering,
        chunk: Some(MESSAGE_MAX),
        ..SUITE.responder(version, transport)
    };
    change(&mut ask, &mut answer);
    Pair::of(requester(ask), responder(answer))
}

fn unchanged(_: &mut RequesterConfig, _: &mut ResponderConfig) {}

/// The messages in clear, with padding.
fn in_clear(pair: &Pair, transport: Transport) -> Vec<Vec<u8>> {
    let units = pair
        .carried
        .iter()
        .filter_map(|unit| transport.unwrap(unit).unwrap());
    units
        .filter(|(kind, _)| *kind == Kind::Clear)
        .map(|(_, message)| message.to_vec())
        .collect()
}

#[test]
fn ends_that_take_42_bytes_agree_on_algorithms_in_chunks_and_go_all_the_way() {
    for version in VERSIONS {
        for transport in [Transport::Doe, Transport::Mctp] {
            for sizes in [[42, 42], [42, 0x1200], [0x1200, 42]] {
                let mut pair = pair((version, transport), sizes, unchanged);
                pair.connect();
                let session = pair.requester.session();
                assert!(
                    session.is_some(),
                    "{version} {transport:?} {sizes:?}: {:?}",
                    pair.requester_events
                );
                pair.requester.measure(pair.now, None).unwrap();
                pair.run();
                let last = pair.requester_events.last();
                assert!(matches!(last, Some(Event::Measurements(_))), "{last:?}");
                let said = in_clear(&pair, transport);
                let padded = (DATA_TRANSFER_SIZE_MIN as usize).next_multiple_of(4);
                if sizes == [42, 42] {
                    assert!(said.iter().all(|message| message.len() <= padded), "{said:02x?}");
                }
                // What is small enough goes whole, and no more is asked than there is.
                let whole = said
                    .iter()
                    .any(|message| message[1] == Code::NEGOTIATE_ALGORITHMS.0);
                assert_eq!(whole, sizes[1] != 42);
                let whole = said.iter().any(|message| message[1] == Code::ALGORITHMS.0);
                assert_eq!(whole, sizes == [0x1200, 0x1200]);
            }
        }
    }
}

/// The first chunks of a message and the last, each as CHUNK_SEND.
fn chunks(version: Version, message: Vec<u8>) -> Vec<Vec<u8>> {
    let room = DATA_TRANSFER_SIZE_MIN as usize;
    let mut splitter = Splitter::new(version, 3, Wiped::new(message), room).unwrap();
    let mut sent = Vec::new();
    while let Some(chunk) = splitter.next_chunk() {
        sent.push(msg::Send { version, chunk }.to_vec());
    }
    sent
}

/// Any message of this code, large enough for two chunks.
fn large(version: Version, code: Code) -> Vec<u8> {
    let mut message = vec![0; 60];
    message[..2].copy_from_slice(&[version.0, code.0]);
    message
}

/// What the last acknowledgement has in it.
fn send(hand: &mut ByHand, message: Vec<u8>) -> Vec<u8> {
    let mut answer = Vec::new();
    for chunk in chunks(hand.version, message) {
        answer = hand.clear(&chunk).unwrap();
    }
    let (ack, _) = msg::SendAck::decode(&answer, &Context::new(hand.version)).unwrap();
    ack.response.to_vec()
}

fn config() -> ResponderConfig {
    ResponderConfig {
        chunk: Some(MESSAGE_MAX),
        ..responder_config()
    }
}

#[test]
fn before_algorithms_nothing_but_them_comes_in_chunks() {
    for code in [Code::GET_DIGESTS, Code::KEY_EXCHANGE, Code::GET_MEASUREMENTS] {
        let mut hand = ByHand::capable_with(config(), Flags::CHUNK);
        let answer = send(&mut hand, large(Version::V1_2, code));
        assert_eq!(
            answer[1..3],
            [Code::ERROR.0, ErrorCode::UNEXPECTED_REQUEST.0],
            "{code:?}"
        );
    }
    for code in [Code::GET_VERSION, Code::GET_CAPABILITIES, Code::CHUNK_GET] {
        let mut hand = ByHand::capable_with(config(), Flags::CHUNK);
        let answer = send(&mut hand, large(Version::V1_2, code));
        assert_eq!(
            answer[1..3],
            [Code::ERROR.0, ErrorCode::INVALID_REQUEST.0],
            "{code:?}"
        );
        // Nothing of the connection is lost by that.
        hand.agree();
    }
}

#[test]
fn before_algorithms_chunks_are_for_both_sides_to_have() {
    let chunk = chunks(Version::V1_2, large(Version::V1_2, Code::NEGOTIATE_ALGORITHMS)).remove(0);
    let unexpected = [Code::ERROR.0, ErrorCode::UNEXPECTED_REQUEST.0];
    let unsupported = [Code::ERROR.0, ErrorCode::UNSUPPORTED_REQUEST.0];
    let mut early = ByHand::versioned(config());
    assert_eq!(early.clear(&chunk).unwrap()[1..3], unexpected);
    let mut requester_has_none = ByHand::capable(config());
    assert_eq!(requester_has_none.clear(&chunk).unwrap()[1..3], unexpected);
    let mut responder_has_none = ByHand::capable_with(responder_config(), Flags::CHUNK);
    assert_eq!(responder_has_none.clear(&chunk).unwrap()[1..3], unsupported);
}

#[test]
fn chunks_of_algorithms_that_are_left_midway_are_no_hindrance() {
    let mut hand = ByHand::capable_with(config(), Flags::CHUNK);
    let first = chunks(Version::V1_2, large(Version::V1_2, Code::NEGOTIATE_ALGORITHMS)).remove(0);
    hand.clear(&first).unwrap();
    hand.agree();
    let request = digests::Request {
        version: hand.version,
    };
    assert_eq!(hand.clear(&request.to_vec()).unwrap()[1], Code::DIGESTS.0);
}

/// The block that the requester is told of.
fn supported(pair: &Pair) -> Option<&[u8]> {
    pair.requester_events.iter().find_map(|event| match event {
        Event::Supported { block, .. } => Some(&block[..]),
        _ => None,
    })
}

#[test]
fn a_responder_lists_its_algorithms_to_who_asks_whatever_that_takes_at_once() {
    for version in VERSIONS {
        for transfer in [42, 0x1200] {
            let mut pair = pair((version, Transport::Doe), [transfer, 0x1200], |ask, _| {
                ask.supported_asked = true
            });
            pair.connect();
            assert!(pair.requester.session().is_some(), "{:?}", pair.requester_events);
            let block = supported(&pair);
            assert_eq!(block.is_some(), version >= Version::V1_3, "{version}");
            let Some(block) = block else { continue };
            let read = algorithms::Request::of_supported_block(version, block).unwrap();
            assert_eq!(read.offer, SUITE.offer().to_set(version));
            assert_eq!(read.to_supported_block(), block);
        }
    }
}

#[test]
fn algorithms_are_not_listed_where_one_side_has_no_chunks_or_nobody_asked() {
    let case = (Version::V1_3, Transport::Doe);
    type Change = fn(&mut RequesterConfig, &mut ResponderConfig);
    let changes: [Change; 3] = [
        |ask, _| (ask.supported_asked, ask.chunk) = (true, None),
        |ask, answer| (ask.supported_asked, answer.chunk) = (true, None),
        |_, _| {},
    ];
    for change in changes {
        let mut pair = pair(case, [0x1200, 0x1200], change);
        pair.connect();
        assert!(pair.requester.session().is_some(), "{:?}", pair.requester_events);
        assert_eq!(supported(&pair), None);
    }
}

#[test]
fn a_list_that_nobody_asked_for_or_that_does_not_read_ends_the_connection() {
    let block = algorithms::Request {
        version: Version::V1_3,
        offer: SUITE.offer().to_set(Version::V1_3),
    }
    .to_supported_block();
    for asked in [false, true] {
        let mut pair = pair(
            (Version::V1_3, Transport::Doe),
            [0x1200, 0x1200],
            |ask, answer| {
                ask.supported_asked = asked;
                answer.chunk = answer.chunk.filter(|_| asked);
            },
        );
        let mut block = block.clone();
        if asked {
            // One structure more than there is.
            block[0] += 1;
        }
        pair.bend = Some(Box::new(move |body| {
            if body[1] == Code::CAPABILITIES.0 {
                body[2] |= 1;
                body.truncate(20);
                body.extend_from_slice(&block);
            }
        }));
        pair.connect();
        match (asked, pair.failure()) {
            (
                false,
                Some(Error::Peer {
                    what: Misbehaviour::Inconsistent { what, .. },
                    ..
                }),
            ) => {
                assert!(what.contains("nobody asked"), "{what}");
            }
            (true, Some(Error::Bytes { .. })) => {}
            (_, other) => panic!("{asked}: {other:?}"),
        }
    }
}

const BEYOND_A_RECORD: u32 = 0x2_0000;

/// What a device says in a session that is larger than a record.
fn measures_much(_: &mut RequesterConfig, answer: &mut ResponderConfig) {
    let manifest = |index| Measurement {
        index,
        kind: measurements::Kind::MANIFEST,
        raw: true,
        value: vec![index; 40_000],
        bit_stream: None,
    };
    answer.measurements = (1..3).map(manifest).collect();
}

/// Whether the device has ended a session: its keys would have gone, and its functions with them.
fn session_ended(pair: &Pair) -> bool {
    let ended = |event: &Told| matches!(event, Told::SessionEnded { .. });
    pair.responder_events.iter().any(ended)
}

#[test]
fn an_answer_that_no_record_holds_comes_in_chunks_and_without_them_is_too_large() {
    for transport in [Transport::Doe, Transport::Mctp] {
        for in_chunks in [true, false] {
            let sizes = [BEYOND_A_RECORD; 2];
            let mut pair = pair((Version::V1_2, transport), sizes, |ask, answer| {
                ask.chunk = in_chunks.then_some(BEYOND_A_RECORD);
                measures_much(ask, answer);
            });
            pair.connect();
            assert!(pair.requester.session().is_some(), "{:?}", pair.requester_events);
            pair.requester.measure(pair.now, None).unwrap();
            pair.run();
            assert!(!session_ended(&pair));
            match (in_chunks, pair.failure()) {
                (true, None) => {}
                (false, Some(Error::Peer { what, .. })) => {
                    let code = ErrorCode::RESPONSE_TOO_LARGE;
                    assert!(matches!(what, Misbehaviour::Refused { code: found, .. } if *found == code));
                }
                (_, other) => panic!("{transport:?} in chunks {in_chunks}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_log_and_a_chain_that_no_record_holds_come_in_portions() {
    let sizes = [BEYOND_A_RECORD; 2];
    let log = vec![7; 70_000];
    let mut pair = pair((Version::V1_3, Transport::Doe), sizes, |ask, answer| {
        (ask.chunk, answer.chunk) = (None, None);
        answer.mel = Some(log.clone());
    });
    pair.connect();
    let session = pair.requester.session();
    pair.requester.measurement_log(pair.now, session).unwrap();
    pair.run();
    assert!(!session_ended(&pair));
    assert_eq!(pair.failure(), None);
    let last = pair.requester_events.last();
    assert!(matches!(last, Some(Event::MeasurementLog(bytes)) if *bytes == log));
}

#[test]
fn a_request_that_no_record_holds_goes_in_chunks_and_without_them_is_the_callers_mistake() {
    for in_chunks in [true, false] {
        let sizes = [BEYOND_A_RECORD; 2];
        let mut pair = pair((Version::V1_4, Transport::Doe), sizes, |ask, answer| {
            let chunk = in_chunks.then_some(BEYOND_A_RECORD);
            (ask.chunk, answer.chunk) = (chunk, chunk);
        });
        pair.connect();
        assert!(pair.requester.session().is_some(), "{:?}", pair.requester_events);
        let payload = vec![1; 70_000];
        let asked = pair.requester.vendor(pair.now, &payload);
        if !in_chunks {
            assert!(matches!(asked, Err(Misuse::TooLong { .. })), "{asked:?}");
            continue;
        }
        asked.unwrap();
        pair.run();
        assert_eq!(pair.failure(), None);
        let last = pair.requester_events.last();
        assert!(matches!(last, Some(Event::Vendor(answer)) if answer.len() == payload.len()));
    }
}

#[test]
fn a_list_that_is_appended_and_not_told_of_is_read_and_written_as_it_came() {
    let block = algorithms::Request {
        version: Version::V1_3,
        offer: SUITE.offer().to_set(Version::V1_3),
    }
    .to_supported_block();
    let mut message = vec![0x13, 0x61, 0, 0, 0, 12, 0, 0];
    message.extend_from_slice(&(Flags::CHUNK | Flags::CERT | Flags::CHAL).0.to_le_bytes());
    message.extend_from_slice(&[0x40, 0, 0, 0, 0x40, 0, 0, 0]);
    message.extend_from_slice(&block);
    let context = Context {
        algorithms_asked: true,
        ..Context::new(Version::V1_3)
    };
    let read = capabilities::Response::decode_exact(&message, &context).unwrap();
    assert_eq!(read.algorithms, Some(&block[..]));
    assert_eq!(read.to_vec(), message);
}
