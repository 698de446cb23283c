//! Requesters that leave out what they were asked for, and responders that ask for more of them than there is.

use super::{
    Ends, Identity, Told, mutual,
    pair::{
        Fault, Pair,
        by_hand::{ByHand, HandSession},
        requester, responder,
    },
    usual,
};
use tdisp::spdm::{
    Goal, Misbehaviour,
    msg::{
        Code, Payload, Summary, Version,
        capabilities::{Flags, Sizes},
        certificate, challenge,
        error::ErrorCode,
        finish,
        key_exchange::Mutual as Way,
    },
    responder::Slot,
};

pub(super) const SIZES: Sizes = Sizes {
    transfer: 0x1200,
    message: 0x1200,
};

/// A requester that can authenticate itself, in a handshake in which it is asked to.
pub(super) fn asked_to_sign(version: Version, way: Way) -> ByHand {
    let ends = mutual::ends(Ends::of(version, Default::default()), 0, way);
    let mut hand = ByHand::start(ends.answering);
    hand.offer.requester_sign = hand.offer.sign.clone();
    let more = Flags::MUT_AUTH | Flags::ENCAP | Flags::CHAL | Flags::CERT;
    hand.agree_in(version, more, SIZES);
    hand.key_exchange(7).unwrap();
    hand
}

/// The proof alone would be right: whoever holds the handshake's keys makes it.
#[test]
fn finish_without_the_signature_that_was_asked_for_brings_no_session_up() {
    for version in super::VERSIONS {
        for way in mutual::WAYS {
            let mut hand = asked_to_sign(version, way);
            let finish = hand.right_finish();
            let answer = hand.secured(&finish).unwrap();
            let refused = match way {
                Way::SIGNATURE => ErrorCode::INVALID_REQUEST,
                _ => ErrorCode::REQUEST_IN_FLIGHT,
            };
            assert_eq!(answer[1..3], [0x7f, refused.0], "{version} {way}");
            assert!(hand.responder.sessions().is_empty(), "{version} {way}");
        }
    }
}

/// Who has answered with an error is as unknown as before, and the conversation about that is over.
#[test]
fn finish_of_who_did_not_say_who_it_is_brings_no_session_up() {
    for version in super::VERSIONS {
        let mut hand = asked_to_sign(version, Way::ENCAPSULATED);
        let get = [version.0, Code::GET_ENCAPSULATED_REQUEST.0, 0, 0];
        let request = hand.secured(&get).unwrap();
        assert_eq!(request[1], Code::ENCAPSULATED_REQUEST.0);
        let error = [version.0, 0x7f, ErrorCode::UNSPECIFIED.0, 0];
        let deliver = [version.0, Code::DELIVER_ENCAPSULATED_RESPONSE.0, request[2], 0];
        let answer = hand.secured(&[deliver, error].concat()).unwrap();
        assert_eq!(answer[1], 0x7f);
        let finish = hand.right_finish();
        let answer = hand.secured(&finish).unwrap();
        assert_eq!(answer[1..3], [0x7f, ErrorCode::DECRYPT_ERROR.0], "{version}");
        assert!(hand.responder.sessions().is_empty(), "{version}");
        assert_eq!(hand.secured(&finish).unwrap()[1], 0x7f, "the handshake is over");
    }
}

#[test]
fn offsets_and_lengths_of_a_requesters_chain_at_their_ends_give_a_portion_or_an_error() {
    let mut ends = Ends::usual().with_encapsulated();
    let own: &Identity = usual();
    let mut identity = tdisp::spdm::Identity::default();
    identity.slots[1] = Some(Slot::new(own.chain.clone(), own.signer.clone()));
    ends.asking.identity = Some(identity);
    let mut pair = Pair::of(requester(ends.asking), responder(ends.answering));
    pair.connect();
    let session = pair.requester.session().unwrap();
    let size = own.chain.len() as u32;
    for offset in [0, 1, size - 1, size, size + 1, 0xfffe, 0xffff] {
        for length in [1, size, 0x7fff, 0xffff] {
            let request = certificate::Request {
                version: Version::V1_2,
                slot: 1,
                size_asked: false,
                large: false,
                offset,
                length,
            };
            pair.responder.ask(session, &request.to_vec()).unwrap();
            pair.requester.fetch_requests(pair.now, session).unwrap();
            pair.responder_events.clear();
            pair.run();
            let answered = pair.responder_events.iter().find_map(|event| match event {
                Told::Answered { response, .. } => Some(response.clone()),
                _ => None,
            });
            let answered = answered.unwrap_or_else(|| panic!("{:?}", pair.requester_events));
            let there = answered[1] == Code::CERTIFICATE.0;
            assert_eq!(there, offset < size, "{offset} {length}: {answered:02x?}");
        }
    }
}

#[test]
fn a_requesters_chain_beyond_64_kib_in_the_small_form_is_refused_with_its_size_in_1_4_and_unspecified_before()
{
    for version in [Version::V1_3, Version::V1_4] {
        let mut ends = Ends::of(version, Default::default()).with_encapsulated();
        let mut identity = tdisp::spdm::Identity::default();
        identity.slots[1] = Some(Slot::new(vec![1; 0x1_0203], usual().signer.clone()));
        ends.asking.identity = Some(identity);
        let mut pair = Pair::of(requester(ends.asking), responder(ends.answering));
        pair.connect();
        let session = pair.requester.session().unwrap();
        let request = certificate::Request {
            version,
            slot: 1,
            size_asked: false,
            large: false,
            offset: 0,
            length: 0xffff,
        };
        pair.responder.ask(session, &request.to_vec()).unwrap();
        pair.requester.fetch_requests(pair.now, session).unwrap();
        pair.run();
        let response = match version < Version::V1_4 {
            true => vec![version.0, 0x7f, ErrorCode::UNSPECIFIED.0, 0],
            false => vec![version.0, 0x7f, ErrorCode::DATA_TOO_LARGE.0, 0, 3, 2, 1, 0],
        };
        let refused = Told::Answered { session, response };
        assert!(
            pair.responder_events.contains(&refused),
            "{:?}",
            pair.responder_events
        );
    }
}

/// A session has proven who is who: a signature over a responder's nonce there would only be one to use elsewhere.
#[test]
fn a_requester_signs_no_challenge_in_a_session() {
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        let mut ends = mutual::ends(Ends::of(version, Default::default()), 0, Way::ENCAPSULATED);
        ends.asking.encapsulated = true;
        let mut pair = Pair::of(requester(ends.asking), responder(ends.answering));
        pair.connect();
        let session = pair.requester.session().unwrap();
        let request = challenge::Request {
            version,
            slot: 0,
            summary: Summary::NONE,
            nonce: [5; 32],
            context: (version >= Version::V1_3).then_some([6; 8]),
        };
        pair.responder.ask(session, &request.to_vec()).unwrap();
        pair.requester.fetch_requests(pair.now, session).unwrap();
        pair.run();
        let refused = Told::Answered {
            session,
            response: vec![
                version.0,
                0x7f,
                ErrorCode::UNSUPPORTED_REQUEST.0,
                Code::CHALLENGE.0,
            ],
        };
        assert!(pair.responder_events.contains(&refused), "{version}");
    }
}

#[test]
fn a_signature_in_finish_is_by_the_slot_that_was_asked_for() {
    for version in super::VERSIONS {
        let mut hand = asked_to_sign(version, Way::SIGNATURE);
        let mut finish = |slot| {
            let message = finish::Request {
                version,
                slot,
                opaque: &[],
                signature: Some(&[1; 96]),
                verify_data: &[2; 48],
            };
            hand.secured(&message.to_vec()).unwrap()
        };
        let another = finish(5);
        assert_eq!(another[1..3], [0x7f, ErrorCode::INVALID_REQUEST.0], "{version}");
        let wrong = finish(0);
        assert_eq!(wrong[1..3], [0x7f, ErrorCode::DECRYPT_ERROR.0], "{version}");
        assert!(hand.responder.sessions().is_empty());
    }
}

/// What goes in clear is changed on its way: each field is looked at, and not the signature alone.
#[test]
fn a_requesters_answer_to_a_challenge_that_differs_from_the_question_is_refused() {
    let version = Version::V1_3;
    let mut ends = mutual::ends(Ends::of(version, Default::default()), 0, Way::NONE);
    ends.answering.mutual.as_mut().unwrap().challenge = true;
    ends.asking.goal = Goal::Identity;
    let honest = ends.clone().connected();
    // Behind the DOE header and DELIVER_ENCAPSULATED_RESPONSE's comes the message itself.
    const INNER: usize = 8 + 4;
    let answered = honest.carried.iter().position(|object| {
        object.get(9) == Some(&Code::DELIVER_ENCAPSULATED_RESPONSE.0)
            && object.get(INNER + 1) == Some(&Code::CHALLENGE_AUTH.0)
    });
    let refused_with = |byte: usize| {
        let mut pair = ends.clone().pair();
        let flip = Fault::Flip((INNER + byte) * 8);
        pair.fault = Some((answered.expect("a CHALLENGE_AUTH of the requester's"), flip));
        pair.connect();
        let why = pair.responder_events.iter().find_map(|event| match event {
            Told::RequesterRefused { why, .. } => Some(why.clone()),
            _ => None,
        });
        why.unwrap_or_else(|| panic!("{:?}", pair.responder_events))
    };
    let slot = "slot of the requester's CHALLENGE_AUTH";
    let found = refused_with(2);
    assert!(matches!(found, Misbehaviour::Inconsistent { what, .. } if what == slot));
    assert!(matches!(refused_with(3), Misbehaviour::EmptySlot { .. }));
    assert!(matches!(refused_with(4), Misbehaviour::WrongDigest { .. }));
    let context = "whether the requester repeats the context";
    let found = refused_with(4 + 48 + 32 + 2);
    assert!(matches!(found, Misbehaviour::Inconsistent { what, .. } if what == context));
}

#[test]
fn a_requesters_chain_other_than_the_one_whose_digest_it_told_is_refused() {
    let version = Version::V1_2;
    let mut hand = asked_to_sign(version, Way::ENCAPSULATED);
    let deliver = |id: u8, message: &[u8]| {
        let head = [version.0, Code::DELIVER_ENCAPSULATED_RESPONSE.0, id, 0];
        [&head[..], message].concat()
    };
    let get = [version.0, Code::GET_ENCAPSULATED_REQUEST.0, 0, 0];
    let request = hand.secured(&get).unwrap();
    let digests = [&[version.0, Code::DIGESTS.0, 0, 1][..], &[7; 48]].concat();
    let ack = hand.secured(&deliver(request[2], &digests)).unwrap();
    assert_eq!(ack[1], Code::ENCAPSULATED_RESPONSE_ACK.0);
    let certificate = certificate::Response {
        version,
        slot: 0,
        certificate_info: 0,
        large: false,
        portion: &mutual::own().chain,
        remainder: 0,
    };
    let answer = hand.secured(&deliver(ack[2], &certificate.to_vec())).unwrap();
    assert_eq!(answer[1..3], [0x7f, ErrorCode::INVALID_RESPONSE_CODE.0]);
    let events: Vec<_> = std::iter::from_fn(|| hand.responder.poll_event()).collect();
    let wrong = |event: &Told| {
        matches!(
            event,
            Told::RequesterRefused {
                why: Misbehaviour::WrongDigest { .. },
                ..
            }
        )
    };
    assert!(events.iter().any(wrong), "{events:?}");
}

/// Goes on to another session; the first.
fn go_on_to_another(hand: &mut ByHand) -> HandSession {
    let first = hand.session.take().unwrap();
    hand.key_exchange(8).unwrap();
    hand.finish();
    first
}

#[test]
fn who_a_requester_is_it_says_in_the_session_that_asks_and_nowhere_else() {
    for version in super::VERSIONS {
        let (in_flight, get) = (
            [version.0, 0x7f, ErrorCode::REQUEST_IN_FLIGHT.0],
            [version.0, Code::GET_ENCAPSULATED_REQUEST.0, 0, 0],
        );
        let mut hand = asked_to_sign(version, Way::ENCAPSULATED);
        assert_eq!(hand.clear(&get).unwrap()[..3], in_flight);
        let request = hand.secured(&get).unwrap();
        assert_eq!(request[1], Code::ENCAPSULATED_REQUEST.0);
        let deliver = [version.0, Code::DELIVER_ENCAPSULATED_RESPONSE.0, request[2], 0];
        let digests = [&deliver[..], &[version.0, Code::DIGESTS.0, 1, 1], &[7; 48]].concat();
        assert_eq!(hand.clear(&digests).unwrap()[..3], in_flight, "{version}");
        let ack = hand.secured(&digests).unwrap();
        assert_eq!(ack[1], Code::ENCAPSULATED_RESPONSE_ACK.0, "{version}");
    }
}

#[test]
fn what_one_session_is_asked_another_does_not_answer() {
    for version in super::VERSIONS {
        let ends = Ends::of(version, Default::default()).with_encapsulated();
        let mut hand = ByHand::live_in(version, ends.answering, Flags::ENCAP, SIZES);
        let mut first = go_on_to_another(&mut hand);
        let asked = [version.0, Code::GET_DIGESTS.0, 0, 0];
        hand.responder.ask(first.id, &asked).unwrap();
        let get = [version.0, Code::GET_ENCAPSULATED_REQUEST.0, 0, 0];
        // The second has nothing to fetch.
        assert_eq!(hand.secured(&get).unwrap()[1], 0x7f, "{version}");
        std::mem::swap(hand.session.as_mut().unwrap(), &mut first);
        let request = hand.secured(&get).unwrap();
        assert_eq!(request[4..], asked);
        std::mem::swap(hand.session.as_mut().unwrap(), &mut first);
        let error = [
            version.0,
            0x7f,
            ErrorCode::UNSUPPORTED_REQUEST.0,
            Code::GET_DIGESTS.0,
        ];
        let deliver = [version.0, Code::DELIVER_ENCAPSULATED_RESPONSE.0, request[2], 0];
        let deliver = [deliver, error].concat();
        let in_flight = [version.0, 0x7f, ErrorCode::REQUEST_IN_FLIGHT.0];
        assert_eq!(hand.secured(&deliver).unwrap()[..3], in_flight, "{version}");
        assert_eq!(hand.clear(&deliver).unwrap()[..3], in_flight, "{version}");
        std::mem::swap(hand.session.as_mut().unwrap(), &mut first);
        let session = hand.session.as_ref().unwrap().id;
        assert_eq!(
            hand.secured(&deliver).unwrap()[1],
            Code::ENCAPSULATED_RESPONSE_ACK.0
        );
        let response = error.to_vec();
        let mut events = std::iter::from_fn(|| hand.responder.poll_event());
        let answered = events.find(|event| matches!(event, Told::Answered { .. }));
        assert_eq!(answered, Some(Told::Answered { session, response }), "{version}");
    }
}
