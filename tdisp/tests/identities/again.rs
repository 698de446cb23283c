//! `identify`: the same once more, or another slot, or none that goes.

use super::{Ends, OWNERS_SLOT, identified, measured, owners, proven, said, slot, usual};
use crate::pair::{Identity, suite::Suite};
use tdisp::{
    crypto::Digest,
    spdm::{
        Error, Event, Goal, Misbehaviour, Misuse, Transport, Trust, VERSIONS,
        algorithms::Offer,
        msg::{Code, SLOT_PUBLIC_KEY, Version, capabilities::Flags, error::ErrorCode},
        responder::{Delay, Event as Told, Mutual, PublicKey, Slot, Wait, usage},
    },
};

/// The versions that have several keys.
const SEVERAL: [Version; 2] = [Version::V1_3, Version::V1_4];

#[test]
fn a_device_proves_the_key_of_any_slot_in_every_version_and_opens_no_session_for_it() {
    for version in VERSIONS {
        for transport in [Transport::Doe, Transport::Mctp] {
            let mut pair = Ends::of(*version).over(transport).connected();
            let sessions = pair.requester.sessions();
            for (slot, identity) in [(OWNERS_SLOT, owners()), (0, usual()), (0, usual()), (3, owners())] {
                assert_eq!(identified(&mut pair, slot), proven(slot, identity), "{version}");
                if *version > Version::V1_0 || slot == 0 {
                    measured(&mut pair, None, slot);
                }
            }
            assert_eq!(pair.requester.sessions(), sessions, "none more, none less");
            assert_eq!(pair.responder.sessions(), sessions);
            assert_eq!(pair.requester.provisioned(), Some(0b1001));
        }
    }
}

#[test]
fn in_1_0_measurements_are_signed_by_the_key_of_slot_0_and_asked_of_nobody_else() {
    let mut pair = Ends::of(Version::V1_0).connected();
    measured(&mut pair, None, 0);
    assert_eq!(identified(&mut pair, 3), proven(3, owners()));
    let what = "measurements signed by another key than that of slot 0 (1.1)";
    let asked = pair.requester.measure(pair.now, None);
    assert_eq!(asked, Err(Misuse::Lacks { what }));
    assert_eq!(identified(&mut pair, 0), proven(0, usual()));
    measured(&mut pair, None, 0);
}

#[test]
fn each_time_the_device_signs_another_nonce() {
    let mut pair = Ends::of(Version::V1_2).connected();
    let mut nonces = Vec::new();
    for _ in 0..3 {
        identified(&mut pair, 0);
        let challenge = pair.carried.iter().rfind(|object| object[9] == Code::CHALLENGE.0);
        nonces.push(challenge.unwrap()[12..44].to_vec());
    }
    nonces.dedup();
    assert_eq!(nonces.len(), 3);
    let once = [
        Code::GET_DIGESTS,
        Code::DIGESTS,
        Code::GET_CERTIFICATE,
        Code::CERTIFICATE,
        Code::CHALLENGE,
        Code::CHALLENGE_AUTH,
    ];
    assert_eq!(said(&pair), [once; 3].concat());
}

#[test]
fn whoever_has_connected_for_less_finds_out_later_and_opens_a_session_then() {
    for version in VERSIONS {
        let mut ends = Ends::of(*version);
        ends.asking.goal = Goal::Connection;
        let mut pair = ends.connected();
        assert_eq!(pair.requester.provisioned(), None);
        assert_eq!(pair.requester.open_session(pair.now), Err(Misuse::NoIdentity));
        assert_eq!(identified(&mut pair, 3), proven(3, owners()));
        if *version > Version::V1_0 {
            pair.requester.open_session(pair.now).unwrap();
            pair.run();
            assert_eq!(pair.responder.sessions().len(), 1, "{:?}", pair.failure());
        }
    }
}

#[test]
fn without_a_challenge_the_key_counts_with_its_chain() {
    let mut ends = Ends::of(Version::V1_2);
    ends.asking.challenge = false;
    let mut pair = ends.connected();
    assert_eq!(identified(&mut pair, 3), proven(3, owners())[..1]);
    measured(&mut pair, None, 3);
    pair.requester.open_session(pair.now).unwrap();
    pair.run();
    assert_eq!(pair.responder.sessions().len(), 2);
}

/// The identity, and what is up, after an identification that came to nothing.
#[track_caller]
fn assert_as_it_was(pair: &mut crate::pair::Pair, version: Version) {
    measured(pair, None, 0);
    for session in pair.requester.sessions() {
        measured(pair, Some(session), 0);
    }
    assert_eq!(identified(pair, 0), proven(0, usual()), "{version}");
}

#[test]
fn an_empty_slot_is_told_with_those_that_are_not_and_leaves_all_as_it_was() {
    for version in VERSIONS {
        let mut pair = Ends::of(*version).connected();
        for slot in [1, 7] {
            let why = Misbehaviour::EmptySlot {
                slot,
                provisioned: 0b1001,
            };
            assert!(why.to_string().contains("slots 0 and 3"), "{why}");
            assert_eq!(identified(&mut pair, slot), [Event::SlotRefused { slot, why }]);
        }
        assert_as_it_was(&mut pair, *version);
    }
}

#[test]
fn a_root_that_is_not_pinned_is_refused_and_the_identity_before_goes_on_to_count() {
    let mut ends = Ends::of(Version::V1_2);
    ends.asking.roots = Trust::Pinned(vec![usual().root]);
    let mut pair = ends.connected();
    let why = Misbehaviour::UntrustedRoot {
        found: owners().root,
        pinned: 1,
    };
    assert_eq!(
        identified(&mut pair, 3),
        [Event::SlotRefused { slot: 3, why }],
        "its chain is not even told"
    );
    assert!(!said(&pair).contains(&Code::CHALLENGE));
    assert_as_it_was(&mut pair, Version::V1_2);
}

#[test]
fn a_chain_of_another_algorithm_is_refused_and_leaves_all_as_it_was() {
    let mut ends = Ends::of(Version::V1_2);
    // Its header is of the negotiated hash, its leaf has a key of another curve.
    let other = Suite::P256.new_identity("other", 0);
    ends.answering.slots[5] = Some(Slot::new(other.chain.clone(), other.signer.clone()));
    ends.asking.roots = Trust::RelyingPartyDecides;
    let mut pair = ends.connected();
    let told = identified(&mut pair, 5);
    assert!(
        matches!(&told[..], [Event::SlotRefused { slot: 5, why: Misbehaviour::Chain(why) }] if why.contains("leaf")),
        "{told:?}"
    );
    assert_as_it_was(&mut pair, Version::V1_2);
}

#[test]
fn a_key_that_is_not_for_challenges_is_refused_where_one_is_wanted() {
    for version in SEVERAL {
        let mut ends = Ends::of(version).with_several_keys();
        let allowed = usage::ANY & !usage::CHALLENGE;
        ends.answering.slots[3].as_mut().unwrap().key.usage = allowed;
        let mut pair = ends.clone().connected();
        let told = identified(&mut pair, 3);
        let why = Misbehaviour::KeyUsage {
            slot: 3,
            allowed,
            wanted: usage::CHALLENGE,
        };
        let [shown, _] = proven(3, owners());
        assert_eq!(
            told,
            [shown.clone(), Event::SlotRefused { slot: 3, why }],
            "{version}"
        );
        assert_as_it_was(&mut pair, version);
        // For a session it is good enough.
        ends.asking.challenge = false;
        let mut pair = ends.connected();
        assert_eq!(identified(&mut pair, 3), [shown]);
        pair.requester.open_session(pair.now).unwrap();
        pair.run();
        assert_eq!(pair.responder.sessions().len(), 2, "{:?}", pair.failure());
    }
}

#[test]
fn a_key_signs_what_it_is_for_and_the_caller_is_told_before_it_is_asked_for_more() {
    let mut ends = Ends::of(Version::V1_3).with_several_keys();
    ends.answering.slots[3].as_mut().unwrap().key.usage = usage::CHALLENGE;
    let mut pair = ends.connected();
    let session = pair.requester.session();
    assert_eq!(identified(&mut pair, 3), proven(3, owners()));
    let what = "key for that in its slot (KeyUsageMask of DIGESTS)";
    let lacks = Err(Misuse::Lacks { what });
    let all = tdisp::spdm::requester::Measure::all(None);
    assert_eq!(pair.requester.measure_in(pair.now, None, all), lacks);
    assert_eq!(pair.requester.open_session(pair.now), lacks);
    assert_eq!(pair.requester.endpoint_info(pair.now, None, Some([1; 32])), lacks);
    // The session has another key, which is for all.
    measured(&mut pair, session, 0);
}

#[test]
fn an_error_to_any_of_its_requests_leaves_all_as_it_was() {
    for (request, answer) in [
        (Code::GET_DIGESTS, Code::DIGESTS),
        (Code::GET_CERTIFICATE, Code::CERTIFICATE),
        (Code::CHALLENGE, Code::CHALLENGE_AUTH),
    ] {
        for version in VERSIONS {
            let mut pair = Ends::of(*version).connected();
            pair.bend = Some(Box::new(move |body: &mut Vec<u8>| {
                if body[1] == answer.0 {
                    *body = vec![body[0], Code::ERROR.0, ErrorCode::UNSPECIFIED.0, 0];
                }
            }));
            let refused = Event::Refused {
                awaited: answer,
                code: ErrorCode::UNSPECIFIED,
                data: 0,
            };
            let told = identified(&mut pair, 3);
            assert_eq!(told.last(), Some(&refused), "{version} {request}");
            assert!(!told.contains(&Event::Challenged));
            // For the responder it has answered; what both count from there on is the same for all that.
            pair.bend = None;
            assert_as_it_was(&mut pair, *version);
            assert_eq!(identified(&mut pair, 3), proven(3, owners()));
        }
    }
}

#[test]
fn what_is_said_wrong_ends_the_connection_as_ever() {
    for (code, at, awaited) in [
        (Code::DIGESTS, 10, Code::CERTIFICATE),
        (Code::CHALLENGE_AUTH, 40, Code::CHALLENGE_AUTH),
    ] {
        let mut pair = Ends::of(Version::V1_2).connected();
        pair.bend = Some(Box::new(move |body: &mut Vec<u8>| {
            if body[1] == code.0 {
                body[at] ^= 1;
            }
        }));
        pair.requester.identify(pair.now, 0).unwrap();
        pair.run();
        assert!(
            matches!(pair.failure(), Some(Error::Peer { awaited: found, .. }) if *found == awaited),
            "{:?}",
            pair.failure()
        );
        assert!(pair.requester.sessions().is_empty());
    }
}

#[test]
fn a_device_that_is_busy_or_not_ready_is_waited_for() {
    let not_ready = Wait::NotReady {
        exponent: 18,
        multiplier: 2,
    };
    for version in VERSIONS {
        for code in [Code::GET_DIGESTS, Code::GET_CERTIFICATE, Code::CHALLENGE] {
            for how in [Wait::Busy(3), not_ready] {
                let mut ends = Ends::of(*version);
                ends.asking.goal = Goal::Connection;
                ends.answering.delays = vec![Delay { code, how }];
                let mut pair = ends.connected();
                assert_eq!(identified(&mut pair, 3), proven(3, owners()), "{version} {code}");
                assert_eq!(identified(&mut pair, 0), proven(0, usual()), "{version} {code}");
            }
        }
    }
}

#[test]
fn a_provisioned_key_proves_itself_again_and_has_no_slot_besides() {
    for version in &VERSIONS[1..] {
        for challenge in [true, false] {
            let mut ends = Ends::of(*version);
            let identity = usual();
            let key = Suite::P384.public_key_info();
            ends.asking.public_key = Some(key.clone());
            ends.asking.challenge = challenge;
            ends.answering.slots = Default::default();
            ends.answering.public_key = Some(PublicKey {
                key,
                signer: identity.signer.clone(),
            });
            let mut pair = ends.connected();
            let told = identified(&mut pair, SLOT_PUBLIC_KEY);
            assert_eq!(told, [Event::Challenged][..usize::from(challenge)], "{version}");
            measured(&mut pair, None, 0x0f);
            let what = "CERT_CAP";
            assert_eq!(pair.requester.identify(pair.now, 0), Err(Misuse::Lacks { what }));
            pair.requester.open_session(pair.now).unwrap();
            pair.run();
            assert_eq!(pair.responder.sessions().len(), 2, "{:?}", pair.failure());
        }
    }
}

#[test]
fn a_provisioned_key_of_another_algorithm_is_refused_and_leaves_all_as_it_was() {
    let mut ends = Ends::of(Version::V1_2).with_psk();
    ends.asking.goal = Goal::PskSession;
    ends.asking.public_key = Some(Suite::P256.public_key_info());
    ends.answering.slots = Default::default();
    ends.answering.public_key = Some(PublicKey {
        key: Suite::P384.public_key_info(),
        signer: usual().signer.clone(),
    });
    let mut pair = ends.connected();
    let told = identified(&mut pair, SLOT_PUBLIC_KEY);
    assert!(
        matches!(
            &told[..],
            [Event::SlotRefused {
                slot: SLOT_PUBLIC_KEY,
                why: Misbehaviour::Chain(_)
            }]
        ),
        "{told:?}"
    );
    assert_eq!(pair.requester.sessions().len(), 1);
    assert_eq!(pair.requester.open_session(pair.now), Err(Misuse::NoIdentity));
}

#[test]
fn what_cannot_be_is_not_asked() {
    let mut pair = Ends::of(Version::V1_2).pair();
    assert_eq!(pair.requester.identify(pair.now, 0), Err(Misuse::NotConnected));
    pair.connect();
    let lacks = |what| Err(Misuse::Lacks { what });
    let wrong = lacks("slot of that number: there are 0 to 7, and 0xff for a provisioned key");
    for slot in [8, 0x0f, 0xfe] {
        assert_eq!(pair.requester.identify(pair.now, slot), wrong);
    }
    let no_key = lacks("key that was provisioned on this side");
    assert_eq!(pair.requester.identify(pair.now, SLOT_PUBLIC_KEY), no_key);
    pair.requester.identify(pair.now, 0).unwrap();
    let awaited = Code::DIGESTS;
    assert_eq!(
        pair.requester.identify(pair.now, 0),
        Err(Misuse::Busy { awaited })
    );

    let mut ends = Ends::of(Version::V1_2);
    ends.asking.goal = Goal::Connection;
    ends.answering.capabilities = Flags(u32::MAX).without(Flags::CHAL);
    let mut pair = ends.connected();
    assert_eq!(pair.requester.identify(pair.now, 0), lacks("CHAL_CAP"));
}

/// Both ends, of which the device challenges who asks, and knows that one's root or another.
fn in_turn(version: Version, own: &Identity, known: Digest) -> Ends {
    let mut ends = Ends::of(version);
    let mut identity = tdisp::spdm::Identity::default();
    identity.slots[2] = Some(slot(own));
    ends.asking.identity = Some(identity);
    let algs = Offer::default().sign;
    ends.asking.offer.requester_sign = algs.clone();
    ends.answering.offer.requester_sign = algs;
    ends.answering.mutual = Some(Mutual {
        challenge: true,
        ..Mutual::new(Trust::Pinned(vec![known]))
    });
    ends
}

#[test]
fn a_requester_that_is_challenged_in_turn_answers_and_is_at_rest_then() {
    for version in &VERSIONS[1..] {
        let own = Identity::new("requester");
        let mut pair = in_turn(*version, &own, own.root).connected();
        for (slot, identity) in [(3, owners()), (0, usual())] {
            assert_eq!(identified(&mut pair, slot), proven(slot, identity), "{version}");
            let known = Told::RequesterAuthenticated {
                session: None,
                slot: 2,
                identity: own.chain.clone(),
            };
            assert_eq!(std::mem::take(&mut pair.responder_events), [known], "{version}");
            assert_eq!(pair.requester.awaited(), None);
            assert_eq!(pair.requester.sessions().len(), 1, "{version}");
        }
    }
}

#[test]
fn a_device_that_does_not_take_who_asks_has_proven_itself_and_the_connection_stays() {
    for version in &VERSIONS[1..] {
        let own = Identity::new("requester");
        let mut ends = in_turn(*version, &own, usual().root).with_psk();
        ends.asking.goal = Goal::PskSession;
        let mut pair = ends.connected();
        for (slot, identity) in [(3, owners()), (0, usual())] {
            let told = identified(&mut pair, slot);
            let [shown, challenged] = proven(slot, identity);
            assert!(
                matches!(
                    &told[..],
                    [first, second, Event::Refused { awaited: Code::ENCAPSULATED_RESPONSE_ACK, .. }]
                        if *first == shown && *second == challenged
                ),
                "{version} {told:?}"
            );
            measured(&mut pair, None, slot);
            assert_eq!(pair.requester.sessions().len(), 1, "{version}");
        }
    }
}
