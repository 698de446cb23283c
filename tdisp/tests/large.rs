//! Large messages and a responder: requests that come in chunks, answers that are fetched in chunks, and requesters that get
//! them wrong.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;

use harness::{Identity, by_hand::ByHand, many_measurements, responder_config};
use proptest::prelude::*;
use tdisp::{
    crypto::{HashAlg, Provider, Ring, SignAlg, Wiped},
    spdm::{
        ResponderConfig,
        chunk::{Assembler, Progress, Splitter},
        msg::{
            Code, Context, Payload, Version,
            capabilities::{Flags, Sizes},
            certificate, chunk as msg,
            chunk::Chunk,
            digests, end_session,
            error::{self, ErrorCode},
            measurements::{self, Operation, Signed},
            vendor::{self, Body},
        },
        responder::{Event, Slot},
        signing,
        transcript::Transcript,
    },
};

const MESSAGE_MAX: u32 = 0x1_0000;

const VERSIONS: [Version; 3] = [Version::V1_2, Version::V1_3, Version::V1_4];

fn sizes(transfer: u32) -> Sizes {
    Sizes {
        transfer,
        message: MESSAGE_MAX,
    }
}

/// A responder that takes `transfer` bytes at once, and chunks.
fn config(transfer: u32) -> ResponderConfig {
    ResponderConfig {
        transfer_size: transfer,
        chunk: Some(MESSAGE_MAX),
        versions: VERSIONS.to_vec(),
        measurements: many_measurements(19), // more than fits 400 bytes
        ..responder_config()
    }
}

fn agreed(version: Version, ours: u32, theirs: u32) -> ByHand {
    ByHand::agreed_in(version, config(theirs), Flags::CHUNK, sizes(ours))
}

fn live(version: Version, ours: u32, theirs: u32) -> ByHand {
    ByHand::live_in(version, config(theirs), Flags::CHUNK, sizes(ours))
}

/// Says a message, in the session if there is one.
fn say(hand: &mut ByHand, message: &[u8]) -> Option<Vec<u8>> {
    match hand.session.is_some() {
        true => hand.secured(message),
        false => hand.clear(message),
    }
}

/// The chunks of a message, as CHUNK_SENDs of `room` bytes.
fn chunks(version: Version, message: &[u8], room: usize) -> Vec<Vec<u8>> {
    let message = Wiped::new(message.to_vec());
    let mut splitter = Splitter::new(version, 9, message, room).unwrap();
    let mut sent = Vec::new();
    while let Some(chunk) = splitter.next_chunk() {
        sent.push(msg::Send { version, chunk }.to_vec());
    }
    sent
}

/// Sends a message in chunks; the last acknowledgement's response.
fn send(hand: &mut ByHand, message: &[u8], room: usize) -> Vec<u8> {
    let version = hand.version;
    let chunks = chunks(version, message, room);
    for (number, chunk) in chunks.iter().enumerate() {
        let answer = say(hand, chunk).unwrap();
        let (ack, _) = msg::SendAck::decode(&answer, &Context::new(version)).unwrap();
        assert_eq!(
            (ack.handle, ack.sequence, ack.early_error),
            (9, number as u32, false)
        );
        if number + 1 == chunks.len() {
            return ack.response.to_vec();
        }
        assert!(ack.response.is_empty());
    }
    unreachable!("there is a last chunk");
}

/// The answer: if it is that there is a large one, that, fetched.
fn fetched(hand: &mut ByHand, answer: Vec<u8>) -> Vec<u8> {
    let version = hand.version;
    let context = Context::new(version);
    let Some(handle) = error::Response::decode(&answer, &context)
        .ok()
        .and_then(|(error, _)| error.large_response())
    else {
        return answer;
    };
    let mut assembler: Option<Assembler> = None;
    for sequence in 0.. {
        let get = msg::Get {
            version,
            handle,
            sequence,
        };
        let answer = say(hand, &get.to_vec()).unwrap();
        let (response, _) = msg::Response::decode(&answer, &context).unwrap();
        match assembler.take() {
            None => assembler = Some(Assembler::begin(&response.chunk, MESSAGE_MAX as usize).unwrap()),
            Some(begun) => match begun.join(&response.chunk).unwrap() {
                Progress::More(more) => assembler = Some(more),
                Progress::Whole(message) => return message.to_vec(),
            },
        }
    }
    unreachable!("chunks end");
}

fn ask(hand: &mut ByHand, message: &[u8]) -> Vec<u8> {
    let answer = say(hand, message).unwrap();
    fetched(hand, answer)
}

fn error_of(answer: &[u8]) -> Option<ErrorCode> {
    (answer[1] == Code::ERROR.0).then(|| ErrorCode(answer[2]))
}

/// The error in an acknowledgement that did not wait for the last chunk.
fn early_error(version: Version, answer: &[u8]) -> Option<ErrorCode> {
    let (ack, _) = msg::SendAck::decode(answer, &Context::new(version)).ok()?;
    assert!(ack.early_error);
    error_of(ack.response)
}

fn get_measurements(version: Version, signed: bool) -> Vec<u8> {
    measurements::Request {
        version,
        operation: Operation::ALL,
        raw: false,
        fresh: false,
        signed: signed.then_some(Signed {
            nonce: [5; 32],
            slot: 0,
        }),
        context: (version >= Version::V1_3).then_some([6; 8]),
    }
    .to_vec()
}

fn get_digests(version: Version) -> Vec<u8> {
    digests::Request { version }.to_vec()
}

#[test]
fn a_request_in_chunks_is_answered_as_if_it_had_come_at_once() {
    for version in VERSIONS {
        let mut hand = agreed(version, 0x1200, 100);
        let request = hand.key_exchange_with(&hand.offered());
        let request = [&[version.0][..], &request[1..]].concat();
        assert!(request.len() > 100);
        assert_eq!(
            error_of(&hand.clear(&request).unwrap()),
            Some(ErrorCode::REQUEST_TOO_LARGE)
        );
        let answer = send(&mut hand, &request, 100);
        assert_eq!(answer[1], Code::KEY_EXCHANGE_RSP.0, "{answer:02x?}");
    }
}

#[test]
fn a_large_answer_is_announced_and_fetched() {
    for version in VERSIONS {
        for in_session in [false, true] {
            let mut hand = match in_session {
                true => live(version, 400, 0x1200),
                false => agreed(version, 100, 0x1200),
            };
            let answer = say(&mut hand, &get_measurements(version, false)).unwrap();
            assert_eq!(error_of(&answer), Some(ErrorCode::LARGE_RESPONSE));
            let answer = fetched(&mut hand, answer);
            let (response, _) = measurements::Response::decode(
                &answer,
                &Context {
                    signature_asked: false,
                    ..hand.context
                },
            )
            .unwrap();
            assert_eq!(response.record.blocks.len(), 19);
        }
    }
}

/// Immunity: an ERROR LargeResponse, and the chunks after it, once began L1/L2 anew.
#[test]
fn a_large_response_does_not_begin_the_measurements_transcript_anew() {
    for version in VERSIONS {
        let mut hand = agreed(version, 100, 0x1200);
        let mut l1 = Transcript::new(&Ring, HashAlg::Sha384, version);
        l1.add(hand.vca());
        let first = get_measurements(version, false);
        l1.add(&first);
        l1.add(&ask(&mut hand, &first));
        let second = get_measurements(version, true);
        let answer = ask(&mut hand, &second);
        l1.add(&second);
        let (unsigned, signature) = answer.split_at(answer.len() - 96);
        l1.add(unsigned);
        let what = signing::message(version, signing::Context::Measurements, &l1);
        let key = Identity::usual().signer.public_key();
        Ring.verify(SignAlg::EcdsaP384, key, &what, signature).unwrap();
    }
}

#[test]
fn a_request_in_chunks_may_have_an_answer_that_is_fetched() {
    for version in VERSIONS {
        let mut hand = live(version, 400, 200);
        let payload = vec![7; 500];
        let request = vendor::Request(Body::pci_sig(version, &payload)).to_vec();
        let parts = chunks(version, &request, 200);
        for part in &parts[..parts.len() - 1] {
            assert_eq!(hand.secured(part).unwrap()[1], Code::CHUNK_SEND_ACK.0);
        }
        assert_eq!(hand.secured(parts.last().unwrap()), None, "the device answers");
        let event = std::iter::from_fn(|| hand.responder.poll_event()).last();
        assert!(matches!(event, Some(Event::VendorRequest { payload: came, .. }) if *came == payload));
        hand.responder.respond_vendor(hand.now, Some(&[8; 700]));
        let answer = hand.opened().unwrap();
        let (ack, _) = msg::SendAck::decode(&answer, &Context::new(version)).unwrap();
        assert_eq!((ack.early_error, ack.sequence as usize), (false, parts.len() - 1));
        let answer = fetched(&mut hand, ack.response.to_vec());
        let response = vendor::Response::decode_exact(&answer, &Context::new(version)).unwrap();
        assert_eq!(response.0.payload, [8; 700]);
    }
}

#[test]
fn an_end_of_a_session_in_one_chunk_is_refused_and_the_session_goes_on() {
    let mut hand = live(Version::V1_2, 0x1200, 0x1200);
    // Its own chunk is larger than the whole: that is refused, and the session goes on.
    let request = end_session::Request {
        version: Version::V1_2,
        clear_negotiated_state: false,
    }
    .to_vec();
    let chunk = Chunk {
        handle: 1,
        sequence: 0,
        last: true,
        large_size: Some(4),
        part: &request,
    };
    let answer = hand
        .secured(
            &msg::Send {
                version: Version::V1_2,
                chunk,
            }
            .to_vec(),
        )
        .unwrap();
    assert_eq!(
        early_error(Version::V1_2, &answer),
        Some(ErrorCode::INVALID_REQUEST)
    );
    let answer = hand.secured(&get_digests(Version::V1_2)).unwrap();
    assert_eq!(answer[1], Code::DIGESTS.0);
}

/// The second of three chunks of a good request, spoiled.
fn spoiled(version: Version, spoil: impl FnOnce(&mut Vec<u8>)) -> (ByHand, Vec<u8>) {
    let mut hand = agreed(version, 0x1200, 100);
    let request = [&[version.0][..], &hand.key_exchange_with(&hand.offered())[1..]].concat();
    let mut parts = chunks(version, &request, 90);
    assert_eq!(parts.len(), 3);
    hand.clear(&parts[0]).unwrap();
    spoil(&mut parts[1]);
    let answer = hand.clear(&parts[1]).unwrap();
    (hand, answer)
}

/// What is done to a chunk.
type Spoil = Box<dyn FnOnce(&mut Vec<u8>)>;

#[test]
fn a_wrong_chunk_is_an_early_error_and_ends_the_large_request() {
    let size = |size: u32| move |part: &mut Vec<u8>| part[8..12].copy_from_slice(&size.to_le_bytes());
    for version in VERSIONS {
        let spoils: [(&str, Spoil); 10] = [
            ("a chunk size of 0", Box::new(size(0))),
            ("a chunk size beyond what came", Box::new(size(200))),
            ("a huge chunk size", Box::new(size(u32::MAX))),
            ("a chunk size of which some would be left", Box::new(size(40))),
            ("another handle", Box::new(|part| part[3] ^= 1)),
            ("a sequence number too low", Box::new(|part| part[4] = 0)),
            ("a sequence number too high", Box::new(|part| part[4] = 2)),
            ("a sequence number far off", Box::new(|part| part[5] = 0xff)),
            ("the last flag early", Box::new(|part| part[2] |= 1)),
            (
                "too little",
                Box::new(|part| {
                    part.truncate(20);
                    part[8..12].copy_from_slice(&8u32.to_le_bytes());
                }),
            ),
        ];
        for (what, spoil) in spoils {
            let (mut hand, answer) = spoiled(version, spoil);
            assert_eq!(
                early_error(version, &answer),
                Some(ErrorCode::INVALID_REQUEST),
                "{what}"
            );
            // Nothing of it is left: the chunk that was right before is none now.
            let request = [&[version.0][..], &hand.key_exchange_with(&hand.offered())[1..]].concat();
            let parts = chunks(version, &request, 90);
            let answer = hand.clear(&parts[1]).unwrap();
            assert_eq!(
                early_error(version, &answer),
                Some(ErrorCode::INVALID_REQUEST),
                "after {what}"
            );
            assert_eq!(
                send(&mut hand, &request, 90)[1],
                Code::KEY_EXCHANGE_RSP.0,
                "after {what}"
            );
        }
    }
}

#[test]
fn a_chunk_that_does_not_say_which_it_is_is_an_error_of_its_own() {
    for version in VERSIONS {
        let (_, answer) = spoiled(version, |part| part.truncate(8));
        assert_eq!(error_of(&answer), Some(ErrorCode::INVALID_REQUEST));
    }
}

#[test]
fn a_request_larger_than_the_responder_takes_is_refused_with_its_first_chunk() {
    for version in VERSIONS {
        let mut hand = agreed(version, 0x1200, 100);
        for size in [MESSAGE_MAX + 1, u32::MAX] {
            let chunk = Chunk {
                handle: 1,
                sequence: 0,
                last: false,
                large_size: Some(size),
                part: &[0; 80],
            };
            let answer = hand.clear(&msg::Send { version, chunk }.to_vec()).unwrap();
            assert_eq!(early_error(version, &answer), Some(ErrorCode::REQUEST_TOO_LARGE));
        }
        let chunk = Chunk {
            handle: 1,
            sequence: 0,
            last: false,
            large_size: Some(MESSAGE_MAX),
            part: &[0; 80],
        };
        let answer = hand.clear(&msg::Send { version, chunk }.to_vec()).unwrap();
        assert_eq!(answer[..3], [version.0, Code::CHUNK_SEND_ACK.0, 0]);
    }
}

#[test]
fn a_message_that_may_not_go_in_chunks_is_refused_within_them() {
    for version in VERSIONS {
        for code in [
            Code::GET_VERSION,
            Code::GET_CAPABILITIES,
            Code::CHUNK_SEND,
            Code::CHUNK_GET,
            Code::RESPOND_IF_READY,
        ] {
            let mut hand = agreed(version, 0x1200, 100);
            let mut request = vec![0; 150];
            request[..2].copy_from_slice(&[version.0, code.0]);
            let answer = send(&mut hand, &request, 100);
            assert_eq!(error_of(&answer), Some(ErrorCode::INVALID_REQUEST), "{code}");
        }
    }
}

#[test]
fn another_request_midway_drops_what_was_under_way_and_is_answered() {
    for version in VERSIONS {
        let mut hand = agreed(version, 0x1200, 100);
        let request = [&[version.0][..], &hand.key_exchange_with(&hand.offered())[1..]].concat();
        let parts = chunks(version, &request, 90);
        hand.clear(&parts[0]).unwrap();
        assert_eq!(hand.clear(&get_digests(version)).unwrap()[1], Code::DIGESTS.0);
        let answer = hand.clear(&parts[1]).unwrap();
        assert_eq!(early_error(version, &answer), Some(ErrorCode::INVALID_REQUEST));

        let mut hand = agreed(version, 100, 0x1200);
        let answer = hand.clear(&get_measurements(version, false)).unwrap();
        let handle = answer[4];
        assert_eq!(hand.clear(&get_digests(version)).unwrap()[1], Code::DIGESTS.0);
        let get = msg::Get {
            version,
            handle,
            sequence: 0,
        };
        assert_eq!(
            error_of(&hand.clear(&get.to_vec()).unwrap()),
            Some(ErrorCode::UNEXPECTED_REQUEST)
        );
    }
}

#[test]
fn a_request_begun_in_a_session_is_not_completed_outside() {
    for version in VERSIONS {
        let mut hand = live(version, 0x1200, 0x1200);
        let request = [&[version.0][..], &hand.key_exchange_with(&hand.offered())[1..]].concat();
        let parts = chunks(version, &request, 90);
        hand.secured(&parts[0]).unwrap();
        let mut answer = Vec::new();
        for part in &parts[1..] {
            answer = hand.clear(part).unwrap();
        }
        assert_eq!(early_error(version, &answer), Some(ErrorCode::INVALID_REQUEST));
    }
}

#[test]
fn a_wrong_wish_for_a_chunk_changes_nothing() {
    for version in VERSIONS {
        let mut hand = agreed(version, 100, 0x1200);
        let get = |handle, sequence| {
            msg::Get {
                version,
                handle,
                sequence,
            }
            .to_vec()
        };
        assert_eq!(
            error_of(&hand.clear(&get(1, 0)).unwrap()),
            Some(ErrorCode::UNEXPECTED_REQUEST),
            "there is none"
        );
        let answer = hand.clear(&get_measurements(version, false)).unwrap();
        let handle = answer[4];
        for (wrong, sequence) in [(handle ^ 1, 0), (handle, 1), (handle, 0xffff)] {
            let answer = hand.clear(&get(wrong, sequence)).unwrap();
            assert_eq!(
                error_of(&answer),
                Some(ErrorCode::INVALID_REQUEST),
                "{wrong} {sequence}"
            );
        }
        let first = hand.clear(&get(handle, 0)).unwrap();
        assert_eq!(first[1], Code::CHUNK_RESPONSE.0);
        assert_eq!(
            error_of(&hand.clear(&get(handle, 0)).unwrap()),
            Some(ErrorCode::INVALID_REQUEST),
            "once more"
        );
        let second = hand.clear(&get(handle, 1)).unwrap();
        assert_eq!(second[1], Code::CHUNK_RESPONSE.0);
    }
}

#[test]
fn a_large_answer_in_a_session_is_not_to_be_had_outside() {
    let version = Version::V1_2;
    let mut hand = live(version, 400, 0x1200);
    let answer = hand.secured(&get_measurements(version, false)).unwrap();
    assert_eq!(error_of(&answer), Some(ErrorCode::LARGE_RESPONSE));
    let get = msg::Get {
        version,
        handle: answer[4],
        sequence: 0,
    }
    .to_vec();
    assert_eq!(
        error_of(&hand.clear(&get).unwrap()),
        Some(ErrorCode::INVALID_REQUEST)
    );
    assert_eq!(hand.secured(&get).unwrap()[1], Code::CHUNK_RESPONSE.0);
}

#[test]
fn without_chunks_on_both_sides_nothing_goes_in_them() {
    for version in VERSIONS {
        let plain = Sizes {
            transfer: 100,
            message: 100,
        };
        let mut hands = [
            ByHand::agreed_in(version, config(0x1200), Flags(0), plain),
            ByHand::agreed_in(
                version,
                ResponderConfig {
                    chunk: None,
                    ..config(0x1200)
                },
                Flags::CHUNK,
                sizes(100),
            ),
        ];
        for hand in &mut hands {
            let answer = hand.clear(&get_measurements(version, false)).unwrap();
            assert_eq!(error_of(&answer), Some(ErrorCode::RESPONSE_TOO_LARGE));
            for message in [
                msg::Get {
                    version,
                    handle: 1,
                    sequence: 0,
                }
                .to_vec(),
                chunks(version, &[0; 100], 60).remove(0),
            ] {
                let answer = hand.clear(&message).unwrap();
                assert_eq!(
                    (error_of(&answer), answer[3]),
                    (Some(ErrorCode::UNSUPPORTED_REQUEST), message[1])
                );
            }
        }
    }
}

#[test]
fn an_answer_larger_than_the_requester_takes_at_all_is_an_error() {
    let sizes = Sizes {
        transfer: 100,
        message: 150,
    };
    let mut hand = ByHand::agreed_in(Version::V1_2, config(0x1200), Flags::CHUNK, sizes);
    let answer = hand.clear(&get_measurements(Version::V1_2, false)).unwrap();
    assert_eq!(error_of(&answer), Some(ErrorCode::RESPONSE_TOO_LARGE));
    let mut whole = agreed(Version::V1_2, 0x1200, 0x1200);
    let whole = whole.clear(&get_measurements(Version::V1_2, false)).unwrap();
    let (whole, _) = measurements::Response::decode_padded(&whole, &Context::new(Version::V1_2)).unwrap();
    assert_eq!(
        actual_size(&answer, Version::V1_2),
        Some(whole.to_vec().len() as u32)
    );
}

/// How large what is too large is, as its refusal tells.
fn actual_size(answer: &[u8], version: Version) -> Option<u32> {
    let (error, _) = error::Response::decode_padded(answer, &Context::new(version)).unwrap();
    error.actual_size()
}

#[test]
fn a_chain_beyond_64_kib_in_the_small_form_is_refused_with_its_size_in_1_4_and_unspecified_before() {
    for version in VERSIONS {
        let mut config = config(0x1200);
        let slot = config.slots[0].clone().unwrap();
        let chain = vec![1; 70_000];
        config.slots[1] = Some(Slot { chain, ..slot });
        let mut hand = ByHand::agreed_in(version, config, Flags::CHUNK, sizes(0x1200));
        let request = certificate::Request {
            version,
            slot: 1,
            size_asked: false,
            large: false,
            offset: 0,
            length: 0xffff,
        };
        let answer = hand.clear(&request.to_vec()).unwrap();
        let told = (error_of(&answer), actual_size(&answer, version));
        match version < Version::V1_4 {
            true => assert_eq!(told, (Some(ErrorCode::UNSPECIFIED), None)),
            false => assert_eq!(told, (Some(ErrorCode::DATA_TOO_LARGE), Some(70_000))),
        }
    }
}

#[test]
fn a_portion_of_a_chain_fits_what_the_requester_takes_at_once_and_in_chunks_the_whole_chain_comes() {
    let request = certificate::Request {
        version: Version::V1_2,
        slot: 0,
        size_asked: false,
        large: false,
        offset: 0,
        length: 0xffff,
    };
    let sizes = Sizes {
        transfer: 100,
        message: 100,
    };
    let mut hand = ByHand::agreed_in(Version::V1_2, config(0x1200), Flags(0), sizes);
    let answer = hand.clear(&request.to_vec()).unwrap();
    assert_eq!((answer[1], answer.len()), (Code::CERTIFICATE.0, 100));
    let mut hand = agreed(Version::V1_2, 100, 0x1200);
    let answer = hand.clear(&request.to_vec()).unwrap();
    assert_eq!(error_of(&answer), Some(ErrorCode::LARGE_RESPONSE));
}

#[test]
fn vendor_messages_beyond_64_kib_go_in_the_large_form_of_1_4_and_not_before() {
    let size = 0x1_0010;
    for version in [Version::V1_3, Version::V1_4] {
        let config = ResponderConfig {
            chunk: Some(0x2_0000),
            ..config(0x1200)
        };
        let sizes = Sizes {
            transfer: 0x1200,
            message: 0x2_0000,
        };
        let mut hand = ByHand::live_in(version, config, Flags::CHUNK, sizes);
        let request = vendor::Request(Body::pci_sig(version, &[1, 2, 3])).to_vec();
        assert_eq!(hand.secured(&request), None);
        hand.responder.respond_vendor(hand.now, Some(&vec![9; size]));
        let answer = hand.opened().unwrap();
        if version < Version::V1_4 {
            assert_eq!(error_of(&answer), Some(ErrorCode::RESPONSE_TOO_LARGE));
            // The header, the PCI-SIG's two bytes of ID and three counts are in front of the payload.
            let whole = 4 + 2 + 1 + 2 + 2 + size as u32;
            assert_eq!(actual_size(&answer, version), Some(whole));
            continue;
        }
        let answer = fetched_up_to(&mut hand, answer, 0x2_0000);
        let response = vendor::Response::decode_exact(&answer, &Context::new(version)).unwrap();
        assert_eq!((response.0.payload.len(), response.0.large), (size, Some(0)));
    }
}

#[test]
fn a_vendor_message_is_answered_in_the_form_that_it_came_in() {
    for large in [None, Some(0)] {
        let mut hand = live(Version::V1_4, 0x1200, 0x1200);
        let mut body = Body::pci_sig(Version::V1_4, &[1, 2, 3]);
        body.large = large;
        assert_eq!(hand.secured(&vendor::Request(body).to_vec()), None);
        hand.responder.respond_vendor(hand.now, Some(&[1, 9]));
        let answer = hand.opened().unwrap();
        let response = vendor::Response::decode_exact(&answer, &Context::new(Version::V1_4)).unwrap();
        assert_eq!((response.0.payload, response.0.large), (&[1, 9][..], large));
    }
}

/// As [`fetched`], of a message of at most `max` bytes.
fn fetched_up_to(hand: &mut ByHand, answer: Vec<u8>, max: usize) -> Vec<u8> {
    let context = Context::new(hand.version);
    let (error, _) = error::Response::decode(&answer, &context).unwrap();
    let handle = error.large_response().unwrap();
    let get = |sequence| {
        msg::Get {
            version: context.version,
            handle,
            sequence,
        }
        .to_vec()
    };
    let first = hand.secured(&get(0)).unwrap();
    let (first, _) = msg::Response::decode(&first, &context).unwrap();
    let mut assembler = Assembler::begin(&first.chunk, max).unwrap();
    for sequence in 1.. {
        let answer = hand.secured(&get(sequence)).unwrap();
        let (response, _) = msg::Response::decode(&answer, &context).unwrap();
        match assembler.join(&response.chunk).unwrap() {
            Progress::More(more) => assembler = more,
            Progress::Whole(message) => return message.to_vec(),
        }
    }
    unreachable!("chunks end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chunks_of_any_kind_in_any_order_leave_a_responder_that_answers(
        script in proptest::collection::vec((any::<bool>(), 0u8..3, 0u32..4, any::<bool>(), 0u32..300, 0usize..100), 0..12)
    ) {
        let version = Version::V1_3;
        let mut hand = agreed(version, 100, 120);
        for (send, handle, sequence, last, large, part) in script {
            let part = vec![0x13; part];
            let chunk = Chunk { handle, sequence, last, large_size: (sequence == 0).then_some(large), part: &part };
            let message = match send {
                true => msg::Send { version, chunk }.to_vec(),
                false => msg::Get { version, handle, sequence }.to_vec(),
            };
            let answer = hand.clear(&message).unwrap();
            prop_assert!([Code::CHUNK_SEND_ACK.0, Code::CHUNK_RESPONSE.0, Code::ERROR.0].contains(&answer[1]));
        }
        prop_assert_eq!(hand.clear(&get_digests(version)).unwrap()[1], Code::DIGESTS.0);
    }
}
