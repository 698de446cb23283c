//! Requesters that authenticate themselves in turn.

use super::{Ends, Identity, Pair, Told, VERSIONS, assert_all_speak, pair::suite::Suite, ready, told, usual};
use std::sync::{Arc, OnceLock};
use tdisp::spdm::{
    Goal, Misbehaviour, Transport, Trust,
    algorithms::MULTI_KEY,
    msg::{Code, Version, capabilities::Flags, error::ErrorCode, key_exchange::Mutual as Way},
    responder::{Event, MultiKey, Mutual, PublicKey, Slot, usage},
};

pub(super) fn own() -> &'static Identity {
    static OWN: OnceLock<Identity> = OnceLock::new();
    OWN.get_or_init(|| Identity::new("requester"))
}

pub(super) const WAYS: [Way; 3] = [Way::SIGNATURE, Way::ENCAPSULATED, Way::GET_DIGESTS];

/// A requester with its chain in a slot, and a responder that asks for it.
pub(super) fn ends(ends: Ends, slot: u8, way: Way) -> Ends {
    let mut ends = ends;
    let own = own();
    let mut identity = tdisp::spdm::Identity::default();
    identity.slots[usize::from(slot)] = Some(Slot::new(own.chain.clone(), own.signer.clone()));
    ends.asking.identity = Some(identity);
    let algs = ends.asking.offer.sign.clone();
    ends.asking.offer.requester_sign = algs.clone();
    ends.answering.offer.requester_sign = algs;
    ends.answering.mutual = Some(Mutual {
        session: way,
        chain: Some((slot, own.chain.clone())),
        ..Mutual::new(Trust::Pinned(vec![own.root]))
    });
    ends
}

fn mutual(ends: &mut Ends) -> &mut Mutual {
    ends.answering.mutual.as_mut().unwrap()
}

fn assert_authenticated(pair: &Pair, slot: u8) {
    let id = ready(pair)[0];
    let known = Event::RequesterAuthenticated {
        session: Some(id),
        slot,
        identity: own().chain.clone(),
    };
    assert!(pair.responder_events.contains(&known), "{:?}", pair.failure());
}

#[test]
fn a_session_is_mutually_authenticated_in_every_version_and_way() {
    for case in Ends::all() {
        for way in WAYS {
            for slot in [0, 3, 7] {
                let mut pair = ends(case.clone(), slot, way).connected();
                assert_eq!(ready(&pair).len(), 1, "{way} {:?}", pair.failure());
                assert_authenticated(&pair, slot);
                assert_all_speak(&mut pair);
            }
        }
    }
}

#[test]
fn a_handshake_in_clear_is_mutually_authenticated_too() {
    for version in VERSIONS {
        for way in WAYS {
            let mut ends = ends(Ends::of(version, Transport::Doe), 2, way);
            ends.asking.handshake_in_clear = true;
            ends.answering.handshake_in_clear = true;
            let mut pair = ends.connected();
            assert_authenticated(&pair, 2);
            assert_all_speak(&mut pair);
        }
    }
}

#[test]
fn a_requesters_chain_comes_in_as_many_portions_as_it_takes() {
    let mut ends = ends(Ends::usual(), 1, Way::ENCAPSULATED);
    ends.answering.transfer_size = 400;
    ends.asking.transfer_size = 0x1200;
    let pair = ends.connected();
    assert_authenticated(&pair, 1);
    assert!(pair.carried.len() > 20);
}

#[test]
fn a_requesters_chain_of_64_kib_and_more_is_taken_from_1_4_on_up_to_what_is_configured() {
    let large = Suite::P384.new_identity("large", 70_000);
    assert!(large.chain.len() > 0x1_0000);
    for (version, max, taken) in [
        (Version::V1_4, 0x2_0000, true),
        (Version::V1_4, 0x1_0000, false),
        (Version::V1_3, 0x2_0000, false),
    ] {
        let mut ends = ends(Ends::of(version, Transport::Doe), 0, Way::ENCAPSULATED);
        (ends.asking.transfer_size, ends.answering.transfer_size) = (0x8000, 0x8000);
        let slot = Slot::new(large.chain.clone(), large.signer.clone());
        ends.asking.identity.as_mut().unwrap().slots[0] = Some(slot);
        mutual(&mut ends).roots = Trust::Pinned(vec![large.root]);
        mutual(&mut ends).chain_size_max = max;
        let pair = ends.connected();
        let sessions = pair.requester.sessions().len();
        assert_eq!(sessions, usize::from(taken), "{version} {:?}", told(&pair));
    }
}

#[test]
fn the_responder_chooses_among_a_requesters_slots() {
    let mut ends = ends(Ends::usual(), 1, Way::ENCAPSULATED);
    let slots = &mut ends.asking.identity.as_mut().unwrap().slots;
    slots[5] = slots[1].clone();
    for (wanted, found) in [(Some(5), 5), (Some(1), 1), (None, 1)] {
        let mut ends = ends.clone();
        mutual(&mut ends).slot = wanted;
        assert_authenticated(&ends.connected(), found);
    }
}

#[test]
fn a_slot_that_the_requester_does_not_have_brings_no_session_up() {
    let mut ends = ends(Ends::usual(), 1, Way::ENCAPSULATED);
    mutual(&mut ends).slot = Some(2);
    let pair = ends.connected();
    assert!(ready(&pair).is_empty());
    let why = Misbehaviour::EmptySlot {
        slot: 2,
        provisioned: 2,
    };
    assert!(matches!(&told(&pair)[..], [Told::RequesterRefused { why: found, .. }] if *found == why));
}

#[test]
fn a_requester_with_an_unknown_root_gets_no_session() {
    for way in [Way::ENCAPSULATED, Way::GET_DIGESTS] {
        let mut ends = ends(Ends::usual(), 0, way);
        mutual(&mut ends).roots = Trust::Pinned(vec![usual().root]);
        let pair = ends.connected();
        assert!(ready(&pair).is_empty());
        assert!(matches!(
            told(&pair)[..],
            [Event::RequesterRefused {
                why: Misbehaviour::UntrustedRoot { .. },
                ..
            }]
        ));
        assert!(pair.responder.sessions().is_empty());
    }
}

#[test]
fn a_requester_whose_certificate_a_leaf_has_signed_gets_no_session() {
    let minted = Identity::minted("owner");
    for way in [Way::ENCAPSULATED, Way::GET_DIGESTS] {
        let mut ends = ends(Ends::usual(), 0, way);
        let slot = Slot::new(minted.chain.clone(), minted.signer.clone());
        ends.asking.identity.as_mut().unwrap().slots[0] = Some(slot);
        mutual(&mut ends).roots = Trust::Pinned(vec![minted.root]);
        let pair = ends.connected();
        assert!(ready(&pair).is_empty());
        let [Event::RequesterRefused { why, .. }] = told(&pair)[..] else {
            panic!("{:?}", pair.responder_events);
        };
        let why = why.to_string();
        assert!(
            why.contains("certificate 1 (CN=owner leaf): it is not a CA"),
            "{why}"
        );
    }
}

#[test]
fn a_requester_that_signs_with_another_key_gets_no_session() {
    for way in WAYS {
        let mut ends = ends(Ends::usual(), 0, way);
        let slot = ends.asking.identity.as_mut().unwrap().slots[0].as_mut().unwrap();
        slot.signer = usual().signer.clone();
        let pair = ends.connected();
        assert!(ready(&pair).is_empty());
        assert!(pair.responder.sessions().is_empty());
        assert_eq!(pair.failure().unwrap().awaited(), Code::FINISH_RSP);
    }
}

#[test]
fn a_requester_without_an_identity_gets_a_session_only_where_none_is_required() {
    let mut ends = ends(Ends::usual(), 0, Way::ENCAPSULATED);
    ends.asking.identity = None;
    let pair = ends.clone().connected();
    assert!(ready(&pair).is_empty());
    mutual(&mut ends).required = false;
    let mut pair = ends.connected();
    assert_eq!(ready(&pair).len(), 1);
    assert!(matches!(told(&pair)[..], [Event::SessionStarted { .. }]));
    assert_all_speak(&mut pair);
}

#[test]
fn a_challenge_is_answered_in_kind_in_every_version() {
    for case in Ends::all() {
        for slot in [0, 4] {
            let mut ends = ends(case.clone(), slot, Way::NONE);
            mutual(&mut ends).challenge = true;
            ends.asking.goal = Goal::Identity;
            let mut pair = ends.connected();
            assert_eq!(pair.failure(), None);
            let known = Event::RequesterAuthenticated {
                session: None,
                slot,
                identity: own().chain.clone(),
            };
            assert_eq!(told(&pair), [&known]);
            // The connection goes on as any.
            pair.requester.open_session(pair.now).unwrap();
            pair.run();
            assert_all_speak(&mut pair);
        }
    }
}

#[test]
fn a_requester_that_cannot_answer_a_challenge_is_not_asked_to() {
    for case in Ends::all() {
        let able = ends(case, 0, Way::NONE);
        let mut without_identity = able.clone();
        without_identity.asking.identity = None;
        let without = |flags| {
            let mut ends = able.clone();
            ends.asking.capabilities = Flags(u32::MAX).without(flags);
            ends
        };
        let unable = [without_identity, without(Flags::CHAL), without(Flags::MUT_AUTH)];
        for mut ends in unable {
            mutual(&mut ends).challenge = true;
            let mut pair = ends.connected();
            assert_eq!(pair.failure(), None);
            assert!(matches!(told(&pair)[..], [Event::SessionStarted { .. }]));
            assert_all_speak(&mut pair);
        }
    }
}

#[test]
fn a_requester_that_cannot_be_asked_gets_a_session_only_where_that_is_not_required() {
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        for way in [Way::ENCAPSULATED, Way::GET_DIGESTS] {
            for required in [true, false] {
                let mut ends = ends(Ends::of(version, Transport::Doe), 0, way);
                ends.asking.capabilities = Flags(u32::MAX).without(Flags::ENCAP);
                mutual(&mut ends).required = required;
                let pair = ends.connected();
                assert_eq!(ready(&pair).is_empty(), required, "{version} {way}");
                let authenticated = |event: &&Event| matches!(event, Event::RequesterAuthenticated { .. });
                assert!(!told(&pair).iter().any(authenticated));
            }
        }
    }
}

#[test]
fn a_challenge_that_another_key_answers_is_refused() {
    let mut ends = ends(Ends::usual(), 0, Way::NONE);
    mutual(&mut ends).challenge = true;
    ends.asking.goal = Goal::Identity;
    let slot = ends.asking.identity.as_mut().unwrap().slots[0].as_mut().unwrap();
    slot.signer = usual().signer.clone();
    let pair = ends.connected();
    assert!(matches!(
        told(&pair)[..],
        [Event::RequesterRefused {
            session: None,
            why: Misbehaviour::BadSignature
        }]
    ));
}

/// A requester with a provisioned key and no chain.
pub(super) fn with_public_key(ends: Ends) -> Ends {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let mut ends = ends;
    let own = own();
    let mut rest = &own.chain[4 + 48..];
    let mut leaf = rest;
    while !rest.is_empty() {
        leaf = rest;
        rest = X509Certificate::from_der(rest).unwrap().0;
    }
    let key = X509Certificate::from_der(leaf)
        .unwrap()
        .1
        .public_key()
        .raw
        .to_vec();
    ends.asking.identity = Some(tdisp::spdm::Identity {
        public_key: Some(PublicKey {
            key: key.clone(),
            signer: own.signer.clone(),
        }),
        ..Default::default()
    });
    mutual(&mut ends).public_key = Some(key);
    ends
}

#[test]
fn a_provisioned_key_stands_for_a_requesters_chain() {
    for case in Ends::all() {
        let mut ends = with_public_key(ends(case, 0, Way::ENCAPSULATED));
        mutual(&mut ends).challenge = true;
        let mut pair = ends.connected();
        assert_eq!(ready(&pair).len(), 1, "{:?}", pair.failure());
        let slots: Vec<_> = told(&pair)
            .iter()
            .filter_map(|event| match event {
                Event::RequesterAuthenticated { session, slot, .. } => Some((session.is_some(), *slot)),
                _ => None,
            })
            .collect();
        assert_eq!(slots, [(false, 0x0f), (true, 0x0f)]);
        assert_all_speak(&mut pair);
    }
}

#[test]
fn several_keys_of_a_requester_have_their_digests_in_the_transcript() {
    for version in [Version::V1_3, Version::V1_4] {
        for way in [Way::ENCAPSULATED, Way::GET_DIGESTS] {
            for (modes, wanted, several) in [
                (MultiKey::No, true, false),
                (MultiKey::Only, false, true),
                (MultiKey::Negotiated, false, false),
                (MultiKey::Negotiated, true, true),
            ] {
                let mut ends = ends(Ends::of(version, Transport::Doe), 6, way);
                ends.asking.identity.as_mut().unwrap().multi_key = modes;
                mutual(&mut ends).multi_key = wanted;
                mutual(&mut ends).challenge = true;
                let pair = ends.connected();
                assert_authenticated(&pair, 6);
                let agreed = pair.requester_events.iter().find_map(|event| match event {
                    tdisp::spdm::Event::Connected(agreed) => Some(agreed.algorithms.other_params),
                    _ => None,
                });
                assert_eq!(agreed.unwrap() & MULTI_KEY != 0, several, "{modes:?} {wanted}");
            }
        }
    }
}

/// KEY_EXCHANGE_RSP, which asks for the rest, is fetched in chunks outside the session in which that goes on.
#[test]
fn ends_that_take_little_at_once_authenticate_each_other_too() {
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        for way in WAYS {
            for size in [64, 300] {
                let mut ends = ends(Ends::of(version, Transport::Doe), 6, way);
                (ends.asking.transfer_size, ends.answering.transfer_size) = (size, size);
                (ends.asking.chunk, ends.answering.chunk) = (Some(0x2_0000), Some(0x2_0000));
                let mut pair = ends.connected();
                assert_eq!(pair.failure(), None, "{version} {way} {size}");
                assert_authenticated(&pair, 6);
                assert_all_speak(&mut pair);
            }
        }
    }
}

/// A requester with several keys (1.3), whose key in slot 6 may be used for this.
fn with_usage(version: Version, usage: u16, way: Way) -> Ends {
    let mut ends = ends(Ends::of(version, Transport::Doe), 6, way);
    let identity = ends.asking.identity.as_mut().unwrap();
    identity.multi_key = MultiKey::Only;
    identity.slots[6].as_mut().unwrap().key.usage = usage;
    ends
}

fn not_for(allowed: u16, wanted: u16) -> Misbehaviour {
    Misbehaviour::KeyUsage {
        slot: 6,
        allowed,
        wanted,
    }
}

/// Whether the responder has told that it refuses its requester for this.
fn refused_for(pair: &Pair, wanted: Misbehaviour) -> bool {
    matches!(told(pair)[..], [Told::RequesterRefused { why, .. }] if *why == wanted)
}

#[test]
fn a_key_of_a_requester_signs_no_session_that_it_is_not_for() {
    for version in [Version::V1_3, Version::V1_4] {
        for way in WAYS {
            let pair = with_usage(version, usage::KEY_EXCHANGE, way).connected();
            assert_authenticated(&pair, 6);
            let others = usage::ANY & !usage::KEY_EXCHANGE;
            let mut ends = with_usage(version, others, way);
            let pair = ends.clone().connected();
            assert!(ready(&pair).is_empty());
            // Who has not been shown DIGESTS asks for what this key is not for; who has does not.
            let wants_other = Misbehaviour::WantsOther { slot: 6 };
            let found = match way {
                Way::SIGNATURE => {
                    matches!(pair.failure(), Some(tdisp::spdm::Error::Peer { what, .. }) if *what == wants_other)
                }
                _ => refused_for(&pair, not_for(others, usage::KEY_EXCHANGE)),
            };
            assert!(found, "{version} {way}: {:?}", pair.failure());
            // On a connection with one key the slot's is for all.
            ends.asking.identity.as_mut().unwrap().multi_key = MultiKey::No;
            assert_authenticated(&ends.connected(), 6);
        }
    }
}

#[test]
fn a_key_of_a_requester_answers_no_challenge_that_it_is_not_for() {
    for version in [Version::V1_3, Version::V1_4] {
        for (usage, signs) in [(usage::CHALLENGE, true), (usage::ANY & !usage::CHALLENGE, false)] {
            let mut ends = with_usage(version, usage, Way::NONE);
            mutual(&mut ends).challenge = true;
            ends.asking.goal = Goal::Identity;
            let pair = ends.connected();
            match told(&pair)[..] {
                [Told::RequesterAuthenticated { slot: 6, .. }] => assert!(signs),
                _ => assert!(!signs && refused_for(&pair, not_for(usage, usage::CHALLENGE))),
            }
        }
    }
}

#[test]
fn a_key_of_a_requester_that_is_not_of_the_algorithm_agreed_on_signs_nothing() {
    for case in Ends::all() {
        for way in WAYS {
            let mut ends = ends(case.clone(), 3, way);
            let slot = ends.asking.identity.as_mut().unwrap().slots[3].as_mut().unwrap();
            slot.signer = Suite::P256.identity().signer.clone();
            let pair = ends.connected();
            let wants_other = Misbehaviour::WantsOther { slot: 3 };
            assert!(
                matches!(pair.failure(), Some(tdisp::spdm::Error::Peer { what, .. }) if *what == wants_other),
                "{way}: {:?}",
                pair.failure()
            );
        }
    }
}

#[test]
fn while_the_requester_is_to_authenticate_itself_everything_else_is_in_flight() {
    let mut ends = ends(Ends::usual(), 0, Way::NONE);
    mutual(&mut ends).challenge = true;
    ends.asking.goal = Goal::Identity;
    let mut pair = ends.pair();
    pair.requester.connect(pair.now);
    // Through CHALLENGE_AUTH.
    while pair.requester.awaited() != Some(Code::ENCAPSULATED_REQUEST) {
        assert!(pair.carry());
    }
    let mut say = |message: &[u8]| {
        let unit = Transport::Doe.wrap(tdisp::spdm::transport::Kind::Clear, message);
        pair.responder.handle(pair.now, &unit);
        let mut answer = Vec::new();
        assert!(pair.responder.poll_transmit(&mut answer));
        [answer[9], answer[10]]
    };
    let in_flight = [0x7f, ErrorCode::REQUEST_IN_FLIGHT.0];
    for code in [Code::GET_DIGESTS, Code::END_SESSION, Code::HEARTBEAT] {
        assert_eq!(say(&[0x12, code.0, 0, 0]), in_flight, "{code}");
    }
    assert_eq!(
        say(&[0x12, 0xeb, 1, 0, 0x12, 1, 0, 1])[1],
        ErrorCode::UNEXPECTED_REQUEST.0
    );
    assert_eq!(say(&[0x12, 0xea, 0, 0])[0], 0x6a);
    assert_eq!(say(&[0x12, 0xea, 0, 0])[1], ErrorCode::UNEXPECTED_REQUEST.0);
    assert_eq!(
        say(&[0x12, 0xeb, 9, 0, 0x12, 1, 0, 1])[1],
        ErrorCode::INVALID_REQUEST.0
    );
    assert_eq!(
        say(&[0x12, 0xeb, 1, 0, 0x12, 1, 0, 1])[1],
        ErrorCode::INVALID_RESPONSE_CODE.0
    );
    // The flow is over, and nothing waits.
    assert_eq!(say(&[0x12, 0xea, 0, 0])[1], ErrorCode::UNEXPECTED_REQUEST.0);
    assert_eq!(say(&[0x12, Code::GET_DIGESTS.0, 0, 0])[0], 1);
}

#[test]
fn a_flow_that_ends_with_its_session_holds_nothing_up() {
    let mut ends = ends(Ends::usual(), 0, Way::ENCAPSULATED);
    ends.answering.handshake_time = std::time::Duration::from_secs(9);
    let mut pair = ends.pair();
    pair.requester.connect(pair.now);
    while pair.requester.awaited() != Some(Code::ENCAPSULATED_REQUEST) {
        assert!(pair.carry());
    }
    pair.now = pair.now.after(std::time::Duration::from_secs(10));
    let unit = Transport::Doe.wrap(tdisp::spdm::transport::Kind::Clear, &[0x12, 0x81, 0, 0]);
    pair.responder.handle(pair.now, &unit);
    let mut answer = Vec::new();
    assert!(pair.responder.poll_transmit(&mut answer));
    assert_eq!(answer[9], 1);
}

#[test]
fn the_chain_stays_out_of_reach_of_a_requester_that_is_not_asked() {
    let mut ends = ends(Ends::usual(), 0, Way::NONE);
    ends.answering.mutual = None;
    let pair = ends.connected();
    assert_eq!(ready(&pair).len(), 1);
    assert!(matches!(told(&pair)[..], [Event::SessionStarted { .. }]));
    let _ = Arc::strong_count(&own().signer);
}

#[test]
fn a_requester_does_not_sign_for_a_responder_that_has_not_said_that_it_asks() {
    for way in [Way::SIGNATURE, Way::ENCAPSULATED, Way::GET_DIGESTS] {
        let mut ends = ends(Ends::usual(), 0, way);
        ends.answering.mutual = None;
        let mut pair = ends.pair();
        pair.bend = Some(Box::new(move |body| {
            if body[1] == Code::KEY_EXCHANGE_RSP.0 {
                body[6] = way.0;
            }
        }));
        pair.connect();
        assert!(matches!(
            pair.failure(),
            Some(tdisp::spdm::Error::Peer {
                awaited: Code::KEY_EXCHANGE_RSP,
                what: Misbehaviour::Inconsistent { .. },
            })
        ));
    }
}

#[test]
fn a_requesters_key_that_is_for_nothing_of_a_session_brings_none_up() {
    let connected = |wanted| {
        let mut ends = ends(Ends::of(Version::V1_3, Transport::Doe), 1, Way::ENCAPSULATED);
        let identity = ends.asking.identity.as_mut().unwrap();
        identity.multi_key = MultiKey::Only;
        identity.slots[6] = identity.slots[1].clone();
        identity.slots[1].as_mut().unwrap().key.usage = usage::CHALLENGE;
        mutual(&mut ends).slot = wanted;
        ends.connected()
    };
    let pair = connected(Some(1));
    assert!(ready(&pair).is_empty());
    let not_for_it = Misbehaviour::KeyUsage {
        slot: 1,
        allowed: usage::CHALLENGE,
        wanted: usage::KEY_EXCHANGE,
    };
    assert!(matches!(&told(&pair)[..], [Event::RequesterRefused { why, .. }] if *why == not_for_it));
    assert_authenticated(&connected(None), 6);
}
