//! Sessions on a pre-shared key.

use super::{Ends, HINT, KEY, assert_all_speak, pair::by_hand::ByHand, ready};
use tdisp::{
    crypto::Secret,
    doe::Object,
    spdm::{
        Error, Event, Goal, Misbehaviour, Misuse, SECURED_VERSIONS,
        msg::{
            Code, Context, Payload, Summary, Version,
            capabilities::{Flags, Sizes},
            error::ErrorCode,
            finish, psk_exchange, psk_finish,
        },
        opaque,
        requester::PreShared,
        responder::EndpointInfo,
    },
};

#[test]
fn a_session_comes_up_on_a_pre_shared_key_in_every_version_with_and_without_a_context() {
    for ends in Ends::all() {
        for context in [true, false] {
            let mut ends = ends.clone().with_psk(context);
            ends.asking.goal = Goal::PskSession;
            let mut pair = ends.connected();
            assert_eq!(ready(&pair).len(), 1, "{:?}", pair.requester_events);
            assert_all_speak(&mut pair);
            let session = pair.requester.session().unwrap();
            let key = pair.requester.exporter(session).unwrap().expose();
            assert_eq!(pair.responder.exporter(session).unwrap().expose(), key);
            let codes: Vec<_> = pair.carried.iter().map(Vec::len).collect();
            assert_eq!(
                codes.len(),
                6 + if context { 4 } else { 2 } + 2,
                "no more messages than needed"
            );
            pair.requester.end_session(pair.now).unwrap();
            pair.run();
            assert!(pair.responder.sessions().is_empty());
        }
    }
}

#[test]
fn a_device_without_any_certificate_has_sessions_on_a_pre_shared_key() {
    for mut ends in Ends::all() {
        ends = ends.with_psk(true);
        ends.answering.slots = Default::default();
        ends.asking.goal = Goal::PskSession;
        let mut pair = ends.connected();
        assert_eq!(ready(&pair).len(), 1, "{:?}", pair.failure());
        assert_all_speak(&mut pair);
        let now = pair.now;
        assert_eq!(pair.requester.open_session(now), Err(Misuse::NoIdentity));
    }
}

/// Nobody's key is known, so that nobody's signature can be judged.
#[test]
fn in_a_session_on_a_pre_shared_key_nothing_signed_is_asked_for() {
    let mut ends = Ends::of(Version::V1_3, Default::default()).with_psk(true);
    ends.asking.goal = Goal::PskSession;
    ends.answering.endpoint_info = Some(EndpointInfo {
        device_classes: vec![0],
        signed: true,
    });
    let mut pair = ends.connected();
    let (now, session) = (pair.now, pair.requester.session());
    let signed = pair.requester.endpoint_info(now, session, Some([7; 32]));
    assert_eq!(signed, Err(Misuse::NoIdentity));
    assert_eq!(pair.requester.measure(now, None), Err(Misuse::NoMeasurements));
    assert_all_speak(&mut pair);
}

#[test]
fn two_sessions_on_one_key_have_different_keys() {
    for context in [true, false] {
        let mut ends = Ends::usual().with_psk(context);
        ends.asking.goal = Goal::PskSession;
        let mut pair = ends.connected();
        pair.requester.open_psk_session(pair.now).unwrap();
        pair.run();
        let keys = pair.requester.sessions();
        let keys: Vec<_> = keys
            .iter()
            .map(|id| pair.requester.exporter(*id).unwrap().expose())
            .collect();
        assert_eq!(keys.len(), 2);
        assert_ne!(keys[0], keys[1]);
    }
}

#[test]
fn another_key_under_the_same_hint_is_found_out_by_the_proof() {
    for context in [true, false] {
        let mut ends = Ends::usual().with_psk(context);
        ends.asking.goal = Goal::PskSession;
        ends.asking.psk = Some(PreShared {
            hint: HINT.to_vec(),
            key: Secret::new(KEY[1..].to_vec()),
        });
        let pair = ends.connected();
        let wrong = Error::Peer {
            awaited: Code::PSK_EXCHANGE_RSP,
            what: Misbehaviour::BadVerifyData,
        };
        assert_eq!(pair.failure(), Some(&wrong));
    }
}

#[test]
fn a_hint_that_names_no_key_is_refused() {
    let mut ends = Ends::usual().with_psk(true);
    ends.asking.goal = Goal::PskSession;
    ends.asking.psk = Some(PreShared {
        hint: b"another".to_vec(),
        key: Secret::new(KEY.to_vec()),
    });
    let mut pair = ends.connected();
    let refused = Error::Peer {
        awaited: Code::PSK_EXCHANGE_RSP,
        what: Misbehaviour::Refused {
            code: ErrorCode::INVALID_REQUEST,
            data: 0,
        },
    };
    assert_eq!(pair.failure(), Some(&refused));
    assert!(pair.responder.sessions().is_empty());
    assert_eq!(
        pair.requester.open_psk_session(pair.now),
        Err(Misuse::NotConnected)
    );
}

#[test]
fn without_a_key_on_either_side_there_is_no_such_session() {
    let mut ends = Ends::usual().with_psk(true);
    ends.answering.psk = None;
    let mut pair = ends.connected();
    let now = pair.now;
    assert_eq!(pair.requester.open_psk_session(now), Err(Misuse::NoPreSharedKey));
    let mut ends = Ends::usual().with_psk(true);
    ends.asking.psk = None;
    let mut pair = ends.connected();
    assert_eq!(pair.requester.open_psk_session(now), Err(Misuse::NoPreSharedKey));
}

#[test]
fn a_flipped_bit_anywhere_in_the_handshake_brings_no_session_up() {
    for context in [true, false] {
        let mut ends = Ends::usual().with_psk(context);
        ends.asking.goal = Goal::PskSession;
        ends.asking.timing.retries = 0;
        for object in 6..8 + if context { 2 } else { 0 } {
            for bit in (64..1600).step_by(37) {
                let mut pair = ends.clone().pair();
                pair.fault = Some((object, super::pair::Fault::Flip(bit)));
                pair.connect();
                let both = !pair.requester.sessions().is_empty() && !pair.responder.sessions().is_empty();
                // What differs only in padding, or what nobody looks at, does no harm.
                if both {
                    assert_all_speak(&mut pair);
                }
            }
        }
    }
}

const SIZES: Sizes = Sizes {
    transfer: 0x1200,
    message: 0x1200,
};

/// A requester by hand in a handshake on the pre-shared key.
fn in_psk_handshake(version: Version) -> ByHand {
    let mut ends = Ends::usual().with_psk(true);
    ends.answering.versions = vec![version];
    let mut hand = ByHand::agreed_in(version, ends.answering, Flags::PSK, SIZES);
    let offered = hand.offered();
    let request = psk_exchange::Request {
        version,
        summary: tdisp::spdm::msg::Summary::NONE,
        policy: 1,
        session: 3,
        hint: HINT,
        psk_context: &[7; 32],
        opaque: &offered,
    };
    hand.psk_exchange(&request, &Secret::new(KEY.to_vec()));
    hand
}

#[test]
fn finish_in_a_session_on_a_pre_shared_key_is_unexpected_and_does_not_finish_it() {
    for version in super::VERSIONS {
        let mut hand = in_psk_handshake(version);
        let finish = finish::Request {
            version,
            slot: 0,
            opaque: &[],
            signature: None,
            verify_data: &[0; 48],
        };
        for _ in 0..2 {
            let answer = hand.secured(&finish.to_vec()).unwrap();
            assert_eq!(answer[1..3], [0x7f, ErrorCode::UNEXPECTED_REQUEST.0]);
            assert!(hand.responder.sessions().is_empty());
        }
        hand.psk_finish();
        assert_eq!(hand.responder.sessions().len(), 1);
        let answer = hand.secured(&finish.to_vec()).unwrap();
        assert_eq!(answer[1..3], [0x7f, ErrorCode::UNEXPECTED_REQUEST.0]);
    }
}

/// CVE-2023-31127: a key exchange whose mutual authentication is skipped by ending it as what it is not.
#[test]
fn psk_finish_in_a_session_of_a_key_exchange_is_unexpected_and_does_not_finish_it() {
    for version in super::VERSIONS {
        let mut ends = Ends::usual().with_psk(true);
        ends.answering.versions = vec![version];
        let mut hand = ByHand::agreed_in(version, ends.answering, Flags::PSK, SIZES);
        hand.key_exchange(7).unwrap();
        let finish = hand.right_psk_finish();
        let answer = hand.secured(&finish).unwrap();
        assert_eq!(answer[1..3], [0x7f, ErrorCode::UNEXPECTED_REQUEST.0]);
        assert!(hand.responder.sessions().is_empty());
        hand.finish();
        assert_eq!(hand.responder.sessions().len(), 1);
        let answer = hand.secured(&finish).unwrap();
        assert_eq!(answer[1..3], [0x7f, ErrorCode::UNEXPECTED_REQUEST.0]);
    }
}

/// It is a nonce of 32 bytes at least.
#[test]
fn a_requesters_context_of_less_than_32_bytes_brings_no_session_up() {
    for (size, is_taken) in [(0, false), (1, false), (31, false), (32, true), (64, true)] {
        for with_context in [true, false] {
            let version = Version::V1_2;
            let ends = Ends::usual().with_psk(with_context);
            let mut hand = ByHand::agreed_in(version, ends.answering, Flags::PSK, SIZES);
            let offered = hand.offered();
            let context = vec![7; size];
            let request = psk_exchange::Request {
                version,
                summary: tdisp::spdm::msg::Summary::NONE,
                policy: 1,
                session: 3,
                hint: HINT,
                psk_context: &context,
                opaque: &offered,
            };
            let answer = hand.clear(&request.to_vec()).unwrap();
            let wanted = match is_taken {
                true => [Code::PSK_EXCHANGE_RSP.0, 0],
                false => [Code::ERROR.0, ErrorCode::INVALID_REQUEST.0],
            };
            assert_eq!(answer[1..3], wanted, "{size} bytes");
        }
    }
}

/// PSK_CAP says whether there is one. That the handshake is changed on its way would be found out by the proof, too: here the
/// responder is another one than it says.
#[test]
fn a_responder_has_a_context_where_its_capabilities_say_so_and_only_there() {
    for context in [true, false] {
        let mut ends = Ends::usual().with_psk(context);
        ends.asking.goal = Goal::PskSession;
        let mut pair = ends.pair();
        pair.bend = Some(Box::new(move |body| {
            if body[1] != Code::CAPABILITIES.0 {
                return;
            }
            // Bits 11:10 of the flags.
            body[9] = body[9] & !0x0c | if context { 0x04 } else { 0x08 };
        }));
        pair.connect();
        let wrong = Error::Peer {
            awaited: Code::PSK_EXCHANGE_RSP,
            what: Misbehaviour::Inconsistent {
                what: "whether there is a context of the responder's",
                found: context.into(),
                wanted: (!context).into(),
            },
        };
        assert_eq!(pair.failure(), Some(&wrong));
    }
}

#[test]
fn psk_finish_where_the_responder_has_no_context_is_unsupported() {
    let ends = Ends::usual().with_psk(false);
    let mut hand = ByHand::agreed_in(Version::V1_2, ends.answering, Flags::PSK, SIZES);
    hand.key_exchange(7).unwrap();
    let finish = psk_finish::Request {
        version: Version::V1_2,
        opaque: &[],
        verify_data: &[0; 48],
    };
    let answer = hand.secured(&finish.to_vec()).unwrap();
    assert_eq!(
        answer[1..4],
        [0x7f, ErrorCode::UNSUPPORTED_REQUEST.0, Code::PSK_FINISH.0]
    );
}

#[test]
fn a_wrong_proof_in_psk_finish_ends_the_session() {
    let mut hand = in_psk_handshake(Version::V1_3);
    let finish = psk_finish::Request {
        version: Version::V1_3,
        opaque: &[],
        verify_data: &[0; 48],
    };
    let answer = hand.secured(&finish.to_vec()).unwrap();
    assert_eq!(answer[1..3], [0x7f, ErrorCode::DECRYPT_ERROR.0]);
    let answer = hand.secured(&finish.to_vec()).unwrap();
    assert_eq!(answer[1..3], [0x7f, ErrorCode::DECRYPT_ERROR.0]);
    assert_eq!(hand.responder.poll_timeout(), None, "nothing of it is kept");
}

#[test]
fn the_events_of_a_session_on_a_pre_shared_key_are_those_of_any() {
    let mut ends = Ends::usual().with_psk(true);
    ends.asking.goal = Goal::PskSession;
    let pair = ends.connected();
    assert!(matches!(
        pair.requester_events[..],
        [Event::Connected(_), Event::SessionReady { .. }]
    ));
}

#[test]
fn a_requester_says_which_records_it_speaks_and_is_told_the_summary_that_it_asked_for() {
    for version in super::VERSIONS {
        let mut ends = Ends::of(version, Default::default()).with_psk(false);
        ends.asking.goal = Goal::PskSession;
        ends.asking.summary = Summary::ALL;
        let pair = ends.connected();
        let mut offered = Vec::new();
        opaque::encode_supported(version, SECURED_VERSIONS, &mut offered);
        let request = pair.carried.iter().find_map(|object| {
            let body = Object::decode(object).unwrap().body;
            psk_exchange::Request::decode(body, &Context::new(version)).ok()
        });
        assert_eq!(request.unwrap().0.opaque, offered, "{version}");
        let told = |event: &&Event| matches!(event, Event::Summary(_));
        assert_eq!(pair.requester_events.iter().filter(told).count(), 1, "{version}");
    }
}
