//! What a responder asks of a requester, and answers that are none.

use super::{
    Ends, Identity, Told, VERSIONS, assert_all_speak, mutual,
    pair::{Pair, by_hand::ByHand, suite::Suite},
    ready, renewal, told,
    unsigned::{SIZES, asked_to_sign},
    usual,
};
use std::time::Duration;
use tdisp::spdm::{
    Error, Event, Goal, Misbehaviour, Misuse, Responder, Transport,
    events::Types,
    msg::{
        Code, Payload, Version, capabilities::Flags, certificate, encapsulated, endpoint_info,
        error::ErrorCode, event_types::EventType, key_exchange::Mutual as Way, send_event::Dmtf,
    },
    responder::{MultiKey, Slot},
};

/// A requester with `own` in slot 1, in a session, that answers what it is asked there.
fn with_identity(version: Version, own: &Identity) -> Pair {
    let mut ends = Ends::of(version, Transport::Doe).with_encapsulated();
    let mut identity = tdisp::spdm::Identity::default();
    identity.slots[1] = Some(Slot::new(own.chain.clone(), own.signer.clone()));
    ends.asking.identity = Some(identity);
    ends.connected()
}

/// What the requester answers to a request in the session.
fn answer(pair: &mut Pair, request: &[u8]) -> Vec<u8> {
    let session = pair.requester.session().unwrap();
    pair.responder.ask(session, request).unwrap();
    pair.responder_events.clear();
    pair.requester.fetch_requests(pair.now, session).unwrap();
    pair.run();
    match &pair.responder_events[..] {
        [Told::Answered { response, .. }] => response.clone(),
        other => panic!("{other:?} {:?}", pair.requester_events),
    }
}

fn error(version: Version, code: ErrorCode, data: u8) -> Vec<u8> {
    vec![version.0, Code::ERROR.0, code.0, data]
}

#[test]
fn a_requester_with_a_key_and_no_chain_has_no_digests_to_tell() {
    for version in VERSIONS {
        let mut ends = Ends::of(version, Transport::Doe).with_encapsulated();
        ends = mutual::with_public_key(mutual::ends(ends, 0, Way::ENCAPSULATED));
        let mut pair = ends.connected();
        let told = answer(&mut pair, &[version.0, Code::GET_DIGESTS.0, 0, 0]);
        let code = ErrorCode::UNSUPPORTED_REQUEST;
        assert_eq!(told, error(version, code, Code::GET_DIGESTS.0));
        assert_all_speak(&mut pair);
    }
}

#[test]
fn a_requester_tells_its_slots_as_its_version_does() {
    for version in VERSIONS {
        let mut pair = with_identity(version, usual());
        let told = answer(&mut pair, &[version.0, Code::GET_DIGESTS.0, 0, 0]);
        // Which slots there are at all came with 1.3.
        let supported = if version < Version::V1_3 { 0 } else { 2 };
        assert_eq!(told[..4], [version.0, Code::DIGESTS.0, supported, 2]);
        assert_eq!(told.len(), 4 + 48);
    }
}

#[test]
fn a_requester_tells_the_model_of_a_certificate_where_it_has_several_keys() {
    for version in [Version::V1_3, Version::V1_4] {
        for (modes, info) in [(MultiKey::No, 0), (MultiKey::Only, 1)] {
            let mut ends = Ends::of(version, Transport::Doe).with_encapsulated();
            let mut identity = tdisp::spdm::Identity::default();
            identity.slots[1] = Some(Slot::new(usual().chain.clone(), usual().signer.clone()));
            identity.multi_key = modes;
            ends.asking.identity = Some(identity);
            let mut pair = ends.connected();
            let told = answer(&mut pair, &get_certificate(version, false, false));
            assert_eq!(told[..4], [version.0, Code::CERTIFICATE.0, 1, info]);
        }
    }
}

#[test]
fn a_question_that_goes_on_behind_its_end_is_an_invalid_request() {
    let version = Version::V1_2;
    let mut pair = with_identity(version, usual());
    for (behind, goes) in [
        (&[][..], true),
        (&[0], true),
        (&[0; 3], true),
        (&[0; 4], false),
        (&[0, 1], false),
    ] {
        let question = [&[version.0, Code::GET_DIGESTS.0, 0, 0], behind].concat();
        let told = answer(&mut pair, &question);
        match goes {
            true => assert_eq!(told[1], Code::DIGESTS.0, "{behind:?}"),
            false => assert_eq!(told, error(version, ErrorCode::INVALID_REQUEST, 0), "{behind:?}"),
        }
    }
}

#[test]
fn each_challenge_of_a_requester_and_its_answer_have_nonces_of_their_own() {
    for version in [Version::V1_2, Version::V1_3] {
        let mut ends = mutual::ends(Ends::of(version, Transport::Doe), 3, Way::NONE);
        ends.answering.mutual.as_mut().unwrap().challenge = true;
        ends.asking.goal = Goal::Identity;
        let mut pair = ends.pair();
        pair.connect();
        pair.connect();
        // Behind the DOE header and that of what carries it comes the message itself.
        let inside = |carrier: Code, at: usize, code: Code| -> Vec<Vec<u8>> {
            let carried = pair.carried.iter().filter(|object| object[9] == carrier.0);
            let messages = carried.filter_map(|object| object.get(at..));
            let messages = messages.filter(|message| message.get(1) == Some(&code.0));
            messages.map(<[u8]>::to_vec).collect()
        };
        let asked = inside(Code::ENCAPSULATED_RESPONSE_ACK, 16, Code::CHALLENGE);
        let answered = inside(Code::DELIVER_ENCAPSULATED_RESPONSE, 12, Code::CHALLENGE_AUTH);
        assert_eq!((asked.len(), answered.len()), (2, 2));
        assert_ne!(asked[0][4..36], asked[1][4..36]);
        if version >= Version::V1_3 {
            assert_ne!(asked[0][36..44], asked[1][36..44], "contexts");
        }
        assert_ne!(answered[0][52..84], answered[1][52..84]);
        assert!(answered.iter().all(|auth| auth[2..4] == [3, 1 << 3]));
    }
}

fn get_certificate(version: Version, size_asked: bool, large: bool) -> Vec<u8> {
    let request = certificate::Request {
        version,
        slot: 1,
        size_asked,
        large,
        offset: 0,
        length: if size_asked { 0 } else { 0xffff },
    };
    request.to_vec()
}

#[test]
fn a_requester_tells_the_size_of_its_chain_alone_if_that_is_asked_for() {
    let own = usual();
    for version in [Version::V1_3, Version::V1_4] {
        let mut pair = with_identity(version, own);
        let told = answer(&mut pair, &get_certificate(version, true, false));
        assert_eq!(told[1], Code::CERTIFICATE.0);
        let (portion, remainder) = (&told[4..6], &told[6..8]);
        assert_eq!(portion, [0, 0]);
        assert_eq!(remainder, (own.chain.len() as u16).to_le_bytes());
        assert_eq!(told.len(), 8);
    }
}

#[test]
fn a_requesters_chain_whose_size_16_bits_cannot_tell_has_the_large_form_alone() {
    let version = Version::V1_4;
    for (size, whole) in [(0x1_0000, true), (0xffff, false)] {
        let mut own = Suite::P384.new_identity("large", 0);
        own.chain.resize(size, 0);
        let mut pair = with_identity(version, &own);
        let told = answer(&mut pair, &get_certificate(version, false, false));
        let mut too_large = error(version, ErrorCode::DATA_TOO_LARGE, 0);
        too_large.extend_from_slice(&(size as u32).to_le_bytes());
        match whole {
            true => assert_eq!(told, too_large),
            false => assert_eq!((told[1], told.len() + 4), (Code::CERTIFICATE.0, 0x1200)),
        }
        let told = answer(&mut pair, &get_certificate(version, false, true));
        assert_eq!(told[1], Code::CERTIFICATE.0, "{told:02x?}");
        let portion = u32::from_le_bytes(told[8..12].try_into().unwrap()) as usize;
        let remainder = u32::from_le_bytes(told[12..16].try_into().unwrap()) as usize;
        assert_eq!(told.len(), 16 + portion);
        assert_eq!(portion + remainder, size);
        // It is as much as the responder takes at once, with what is around it.
        assert_eq!(told.len() + 4, 0x1200);
    }
}

#[test]
fn a_requester_sums_up_no_measurements() {
    let mut ends = mutual::ends(Ends::usual(), 0, Way::NONE);
    ends.answering.mutual.as_mut().unwrap().challenge = true;
    ends.asking.goal = Goal::Identity;
    let mut pair = ends.pair();
    pair.bend = Some(Box::new(|body| {
        // Behind ENCAPSULATED_RESPONSE_ACK's own eight bytes.
        if body[1] == Code::ENCAPSULATED_RESPONSE_ACK.0 && body.get(9) == Some(&Code::CHALLENGE.0) {
            body[11] = 0xff;
        }
    }));
    pair.connect();
    let invalid = Misbehaviour::Refused {
        code: ErrorCode::INVALID_REQUEST,
        data: 0,
    };
    assert!(
        matches!(told(&pair)[..], [Told::RequesterRefused { why, .. }] if *why == invalid),
        "{:?}",
        told(&pair)
    );
}

// Answers that are none

fn deliver(version: Version, id: u8, message: &[u8]) -> Vec<u8> {
    let head = [version.0, Code::DELIVER_ENCAPSULATED_RESPONSE.0, id, 0];
    [&head[..], message].concat()
}

/// A requester by hand that is to authenticate itself, up to its DIGESTS; and the number of the request that follows.
fn certificate_awaited(version: Version) -> (ByHand, u8) {
    let mut hand = asked_to_sign(version, Way::ENCAPSULATED);
    let get = [version.0, Code::GET_ENCAPSULATED_REQUEST.0, 0, 0];
    let id = hand.secured(&get).unwrap()[2];
    let digests = [&[version.0, Code::DIGESTS.0, 1, 1][..], &[7; 48]].concat();
    let ack = hand.secured(&deliver(version, id, &digests)).unwrap();
    assert_eq!(ack[1], Code::ENCAPSULATED_RESPONSE_ACK.0);
    assert_eq!(ack[2], id + 1, "each request has its number");
    (hand, ack[2])
}

fn certificate(version: Version, portion: &[u8], remainder: u32) -> Vec<u8> {
    let response = certificate::Response {
        version,
        slot: 0,
        certificate_info: 0,
        large: false,
        portion,
        remainder,
    };
    response.to_vec()
}

fn why_refused(hand: &mut ByHand) -> Option<Misbehaviour> {
    let mut events = std::iter::from_fn(|| hand.responder.poll_event());
    events.find_map(|event| match event {
        Told::RequesterRefused { why, .. } => Some(why),
        _ => None,
    })
}

#[test]
fn a_portion_of_a_requesters_chain_is_neither_empty_nor_more_than_was_asked_for() {
    for version in VERSIONS {
        // Less four bytes around the answer, and the answer's own eight.
        let asked = 0x1200 - 12;
        // What others follow is never a few bytes.
        let cases = [
            (0, 100, 22, false),
            (21, 100, 22, false),
            (22, 100, 22, true),
            (asked + 1, 0, 1, false),
            (asked, 100, 22, true),
        ];
        for (portion, remainder, least, goes) in cases {
            let (mut hand, id) = certificate_awaited(version);
            let said = certificate(version, &vec![7; portion], remainder);
            let answer = hand.secured(&deliver(version, id, &said)).unwrap();
            let why = match goes {
                true => None,
                false => Some(Misbehaviour::Portion {
                    portion,
                    least,
                    asked,
                }),
            };
            assert_eq!(answer[1] == Code::ENCAPSULATED_RESPONSE_ACK.0, goes, "{portion}");
            assert_eq!(why_refused(&mut hand), why);
        }
    }
}

#[test]
fn a_requesters_certificate_is_of_the_slot_that_was_asked_for_and_ends_where_it_ends() {
    for version in VERSIONS {
        let (mut hand, id) = certificate_awaited(version);
        let mut said = certificate(version, &[7; 100], 100);
        said[2] = 1;
        assert_eq!(
            hand.secured(&deliver(version, id, &said)).unwrap()[1],
            Code::ERROR.0
        );
        let why = Misbehaviour::Inconsistent {
            what: "slot of CERTIFICATE",
            found: 1,
            wanted: 0,
        };
        assert_eq!(why_refused(&mut hand), Some(why), "{version}");
        for behind in [&[0; 4][..], &[0, 1]] {
            let (mut hand, id) = certificate_awaited(version);
            let said = [&certificate(version, &[7; 100], 100), behind].concat();
            assert_eq!(
                hand.secured(&deliver(version, id, &said)).unwrap()[1],
                Code::ERROR.0
            );
            let why = why_refused(&mut hand);
            assert!(matches!(why, Some(Misbehaviour::Malformed(_))), "{why:?}");
        }
    }
}

#[test]
fn portions_of_a_requesters_chain_add_up_to_what_the_first_said() {
    for version in VERSIONS {
        for remainder in [69, 71] {
            let (mut hand, id) = certificate_awaited(version);
            let said = deliver(version, id, &certificate(version, &[7; 100], 100));
            let id = hand.secured(&said).unwrap()[2];
            let said = deliver(version, id, &certificate(version, &[7; 30], remainder));
            assert_eq!(
                hand.secured(&said).unwrap()[2],
                ErrorCode::INVALID_RESPONSE_CODE.0
            );
            let why = Misbehaviour::Inconsistent {
                what: "size of the certificate chain",
                found: 130 + u64::from(remainder),
                wanted: 200,
            };
            assert_eq!(why_refused(&mut hand), Some(why), "{version}");
        }
        // And not to more than its length field can say.
        let (mut hand, id) = certificate_awaited(version);
        let said = deliver(version, id, &certificate(version, &[7; 100], 0xff9c));
        assert_eq!(
            hand.secured(&said).unwrap()[2],
            ErrorCode::INVALID_RESPONSE_CODE.0
        );
        assert!(why_refused(&mut hand).is_some(), "{version}");
    }
}

/// A requester may not be not ready (DSP0274): that ends the conversation, and what waits for it.
#[test]
fn a_requester_that_asks_for_time_to_say_who_it_is_gets_no_session() {
    for version in VERSIONS {
        let (mut hand, id) = certificate_awaited(version);
        let head = error(version, ErrorCode::RESPONSE_NOT_READY, 0);
        let not_ready = [&head[..], &[10, Code::GET_CERTIFICATE.0, 1, 1]].concat();
        let ack = hand.secured(&deliver(version, id, &not_ready)).unwrap();
        let nothing = encapsulated::Ack {
            version,
            id: 0,
            answered: id,
            next: encapsulated::Next::Nothing,
        };
        assert_eq!(ack, nothing.to_vec(), "{version}");
        assert_eq!(why_refused(&mut hand), None);
        let finish = hand.right_finish();
        assert_eq!(hand.secured(&finish).unwrap()[2], ErrorCode::DECRYPT_ERROR.0);
        assert!(hand.responder.sessions().is_empty());
    }
}

#[test]
fn a_requester_that_refuses_new_keys_or_asks_for_time_leaves_the_old_ones() {
    for version in VERSIONS {
        let not_ready = ErrorCode::RESPONSE_NOT_READY;
        for code in [not_ready, ErrorCode::INVALID_REQUEST] {
            let ends = Ends::of(version, Transport::Doe).with_encapsulated();
            let mut hand = ByHand::live_in(version, ends.answering, Flags::ENCAP, SIZES);
            let session = hand.session.as_ref().unwrap().id;
            hand.responder.update_keys(session).unwrap();
            let get = [version.0, Code::GET_ENCAPSULATED_REQUEST.0, 0, 0];
            let id = hand.secured(&get).unwrap()[2];
            let said = error(version, code, 3);
            let answer = hand.secured(&deliver(version, id, &said)).unwrap();
            let why = match code == not_ready {
                true => None,
                false => Some(Misbehaviour::Refused { code, data: 3 }),
            };
            assert_eq!(answer[1] == Code::ENCAPSULATED_RESPONSE_ACK.0, why.is_none());
            assert_eq!(why_refused(&mut hand), why, "{version}");
            let heard = hand.secured(&[version.0, Code::GET_DIGESTS.0, 0, 0]).unwrap();
            assert_eq!(heard[1], Code::DIGESTS.0);
        }
    }
}

// What waits to be asked

#[test]
fn no_more_than_sixteen_requests_wait_for_a_requester_to_fetch_them() {
    let mut pair = Ends::usual().with_encapsulated().connected();
    let session = pair.requester.session().unwrap();
    for _ in 0..16 {
        pair.responder.update_keys(session).unwrap();
    }
    let full = Err(Misuse::TooMany { max: 16 });
    assert_eq!(pair.responder.update_keys(session), full);
    pair.requester.fetch_requests(pair.now, session).unwrap();
    pair.run();
    pair.responder.update_keys(session).unwrap();
    assert_eq!(pair.responder.update_keys(session), full);
    assert_eq!(pair.responder.update_keys(session + 1), Err(Misuse::NoSession));
}

#[test]
fn a_session_that_ends_takes_its_own_conversation_along_and_no_others() {
    for in_clear in [false, true] {
        let mut ends = mutual::ends(Ends::usual(), 0, Way::ENCAPSULATED);
        ends.asking.handshake_in_clear = in_clear;
        ends.answering.handshake_in_clear = in_clear;
        ends.answering.heartbeat_s = 4;
        ends.answering.handshake_time = Duration::from_secs(9);
        let mut pair = ends.connected();
        assert_eq!(ready(&pair).len(), 1);
        pair.requester.open_session(pair.now).unwrap();
        while pair.requester.awaited() != Some(Code::ENCAPSULATED_REQUEST) {
            assert!(pair.carry());
        }
        let begun = pair.now;
        let mut code_after = |seconds| {
            let now = begun.after(Duration::from_secs(seconds));
            let message = [0x12, Code::GET_DIGESTS.0, 0, 0];
            let unit = Transport::Doe.wrap(tdisp::spdm::transport::Kind::Clear, &message);
            pair.responder.handle(now, &unit);
            let mut answer = Vec::new();
            assert!(pair.responder.poll_transmit(&mut answer));
            [answer[9], answer[10]]
        };
        let in_flight = [0x7f, ErrorCode::REQUEST_IN_FLIGHT.0];
        // The first session, silent for twice its period, ends; the second's handshake still waits.
        assert_eq!(code_after(8), in_flight, "{in_clear}");
        assert_eq!(code_after(9)[0], Code::DIGESTS.0, "{in_clear}");
        assert!(pair.responder.sessions().is_empty());
    }
}

/// A requester by hand in a session, and the ENCAPSULATED_REQUEST that it has fetched.
fn asked(version: Version, ask: impl FnOnce(&mut Responder, u32)) -> (ByHand, Vec<u8>) {
    let mut ends = Ends::of(version, Transport::Doe).with_encapsulated();
    ends.answering.events = Types::of(&[EventType::CERTIFICATE_CHANGED]);
    let more = match version >= Version::V1_3 {
        true => Flags::ENCAP | Flags::EVENT,
        false => Flags::ENCAP,
    };
    let mut hand = ByHand::agreed_in(version, ends.answering, more, SIZES);
    hand.policy = if version >= Version::V1_3 { 2 } else { 0 };
    hand.key_exchange(7).unwrap();
    hand.finish();
    ask(&mut hand.responder, hand.session.as_ref().unwrap().id);
    let get = [version.0, Code::GET_ENCAPSULATED_REQUEST.0, 0, 0];
    let fetched = hand.secured(&get).unwrap();
    assert_eq!(fetched[1], Code::ENCAPSULATED_REQUEST.0, "{version}");
    (hand, fetched)
}

#[test]
fn an_acknowledgement_of_new_keys_that_goes_on_behind_its_end_leaves_the_old_ones() {
    for version in VERSIONS {
        let (mut hand, fetched) = asked(version, |responder, session| {
            responder.update_keys(session).unwrap();
        });
        let ack = [version.0, Code::KEY_UPDATE_ACK.0, fetched[6], fetched[7]];
        let said = [&ack[..], &[0, 0, 1]].concat();
        let answer = hand.secured(&deliver(version, fetched[2], &said)).unwrap();
        assert_eq!(answer[1..3], [Code::ERROR.0, ErrorCode::INVALID_RESPONSE_CODE.0]);
        let why = why_refused(&mut hand);
        assert!(matches!(why, Some(Misbehaviour::Malformed(_))), "{why:?}");
        let heard = hand.secured(&[version.0, Code::GET_DIGESTS.0, 0, 0]).unwrap();
        assert_eq!(heard[1], Code::DIGESTS.0);
    }
}

#[test]
fn events_are_told_again_until_they_are_acknowledged() {
    for version in [Version::V1_3, Version::V1_4] {
        let refused = error(version, ErrorCode::UNSPECIFIED, 0);
        for said in [&refused[..], &[version.0, Code::EVENT_ACK.0, 0, 0, 1]] {
            let (mut hand, fetched) = asked(version, |responder, _| {
                responder.notify(Dmtf::CertificateChanged(1));
            });
            let answer = hand.secured(&deliver(version, fetched[2], said)).unwrap();
            assert_eq!(answer[1..3], [Code::ERROR.0, ErrorCode::INVALID_RESPONSE_CODE.0]);
            match why_refused(&mut hand) {
                Some(Misbehaviour::Malformed(_)) => assert_ne!(said, refused),
                Some(Misbehaviour::Refused { .. }) => assert_eq!(said, refused),
                other => panic!("{other:?}"),
            }
            let session = hand.session.as_ref().unwrap().id;
            assert_eq!(hand.responder.sessions_with_events(), [session]);
        }
    }
}

#[test]
fn what_a_requester_is_is_not_believed_if_it_is_malformed_refused_or_goes_on_behind_its_end() {
    for version in [Version::V1_3, Version::V1_4] {
        let info = |info: &[u8]| {
            let response = endpoint_info::Response {
                version,
                slot: 0,
                nonce: None,
                info,
                signature: None,
            };
            response.to_vec()
        };
        let good = info(&[0, 0, 0, 0]);
        let refused = error(version, ErrorCode::UNSUPPORTED_REQUEST, Code::GET_ENDPOINT_INFO.0);
        let cases = [
            (good.clone(), true),
            ([&good[..], &[0, 1]].concat(), false),
            (info(&[2, 0, 0, 0]), false),
            (info(&[]), false),
            (refused.clone(), false),
        ];
        for (said, goes) in cases {
            let (mut hand, fetched) = asked(version, |responder, session| {
                responder.ask_endpoint_info(session, None).unwrap();
            });
            let answer = hand.secured(&deliver(version, fetched[2], &said)).unwrap();
            assert_eq!(
                answer[1] == Code::ENCAPSULATED_RESPONSE_ACK.0,
                goes,
                "{said:02x?}"
            );
            let events: Vec<_> = std::iter::from_fn(|| hand.responder.poll_event()).collect();
            let told = events
                .iter()
                .any(|event| matches!(event, Told::RequesterEndpointInfo { .. }));
            assert_eq!(told, goes, "{events:?}");
            let by_name = events.iter().any(|event| {
                matches!(
                    event,
                    Told::RequesterRefused {
                        why: Misbehaviour::Refused { .. },
                        ..
                    }
                )
            });
            assert_eq!(by_name, said == refused, "{events:?}");
        }
    }
}

// Questions without end, and without anybody who could answer any more

/// Else it would answer for ever.
#[test]
fn a_responder_that_asks_without_end_is_answered_4096_times() {
    let version = Version::V1_2;
    let mut hand = renewal::answering(version);
    let session = hand.session;
    hand.requester.fetch_requests(hand.now, session).unwrap();
    hand.asked();
    let question = [version.0, Code::GET_DIGESTS.0, 0, 0];
    let (mut id, mut answered) = (1, None);
    for _ in 0..4096 {
        hand.ask(id, answered, &question);
        hand.delivered(id);
        answered = Some(id);
        id = id.checked_add(1).unwrap_or(1);
    }
    hand.ask(id, answered, &question);
    let endless = Event::Failed(Error::Peer {
        awaited: Code::ENCAPSULATED_RESPONSE_ACK,
        what: Misbehaviour::Endless { requests: 4096 },
    });
    assert_eq!(hand.events().last(), Some(&endless));
}

#[test]
fn an_acknowledgement_of_another_answer_than_the_last_is_refused_where_it_says_of_which_it_is() {
    for version in VERSIONS {
        let mut hand = renewal::answering(version);
        let session = hand.session;
        hand.requester.fetch_requests(hand.now, session).unwrap();
        hand.asked();
        let question = [version.0, Code::GET_DIGESTS.0, 0, 0];
        hand.ask(1, None, &question);
        hand.delivered(1);
        hand.ask(2, Some(7), &question);
        let told = hand.events();
        let refused = told.iter().any(|event| {
            matches!(
                event,
                Event::Failed(Error::Peer {
                    what: Misbehaviour::Inconsistent {
                        found: 7,
                        wanted: 1,
                        ..
                    },
                    ..
                })
            )
        });
        assert_eq!(refused, version >= Version::V1_2, "{version}: {told:?}");
    }
}

#[test]
fn what_a_session_was_asked_is_over_with_the_session() {
    for version in VERSIONS {
        let mut ends = Ends::of(version, Transport::Doe).with_encapsulated();
        ends.answering.heartbeat_s = 4;
        let mut hand = ByHand::live_in(version, ends.answering, Flags::ENCAP, SIZES);
        let session = hand.session.as_ref().unwrap().id;
        hand.responder.update_keys(session).unwrap();
        let get = [version.0, Code::GET_ENCAPSULATED_REQUEST.0, 0, 0];
        assert_eq!(hand.secured(&get).unwrap()[1], Code::ENCAPSULATED_REQUEST.0);
        let digests = [version.0, Code::GET_DIGESTS.0, 0, 0];
        assert_eq!(hand.clear(&digests).unwrap()[2], ErrorCode::REQUEST_IN_FLIGHT.0);
        hand.now = hand.now.after(Duration::from_secs(9));
        assert_eq!(hand.clear(&digests).unwrap()[1], Code::DIGESTS.0, "{version}");
        assert!(hand.responder.sessions().is_empty());
    }
}

#[test]
fn a_new_connection_is_neither_asked_nor_told_what_waited_in_the_one_before() {
    for version in [Version::V1_3, Version::V1_4] {
        let (mut hand, _) = asked(version, |responder, session| {
            responder.update_keys(session).unwrap();
            responder.notify(Dmtf::CertificateChanged(1));
        });
        let session = hand.session.as_ref().unwrap().id;
        assert_eq!(hand.responder.sessions_with_events(), [session]);
        hand.say_vca();
        let told = hand.clear(&[version.0, Code::GET_DIGESTS.0, 0, 0]).unwrap();
        assert_eq!(told[1], Code::DIGESTS.0, "no conversation is in the way");
        assert_eq!(hand.responder.sessions_with_events(), []);
    }
}
