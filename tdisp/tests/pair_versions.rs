//! Requester against responder, in every version that both speak and over both transports.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;

use harness::{Fault, Pair, requester, responder, suite::Suite};
use std::time::Duration;
use tdisp::{
    clock::Instant,
    crypto::{Provider, Ring},
    spdm::{
        Error, Event, Goal, Misbehaviour, Misuse, RequesterConfig, ResponderConfig, Timing, Transport,
        VERSIONS,
        msg::{
            Code, Context, Payload, Summary, Version,
            capabilities::Flags,
            error::ErrorCode,
            measurements::{self, Block, Operation},
        },
        requester::Measure,
        responder::{
            Delay, EndpointInfo, Event as Told, KeyPairs, Measured, MultiKey, PublicKey, Slot, Wait, usage,
        },
        signing,
        transcript::Transcript,
    },
};

const TRANSPORTS: [Transport; 2] = [Transport::Doe, Transport::Mctp];

/// What is common to both sides of one test.
#[derive(Debug, Clone, Copy)]
struct Case {
    version: Version,
    suite: Suite,
    transport: Transport,
}

impl Case {
    const fn of(version: Version) -> Self {
        Self {
            version,
            suite: Suite::P384,
            transport: Transport::Doe,
        }
    }

    /// Every version, suite and transport.
    fn all() -> impl Iterator<Item = Self> {
        let suites = Suite::ALL.into_iter();
        let pairs = suites.flat_map(|suite| TRANSPORTS.map(|transport| (suite, transport)));
        VERSIONS.iter().flat_map(move |version| {
            pairs.clone().map(|(suite, transport)| Self {
                version: *version,
                suite,
                transport,
            })
        })
    }

    fn asking(self) -> RequesterConfig {
        let mut config = self.suite.requester(self.version, self.transport);
        if self.version == Version::V1_0 {
            config.goal = Goal::Identity;
        }
        config
    }

    fn answering(self) -> ResponderConfig {
        self.suite.responder(self.version, self.transport)
    }

    fn pair(
        self,
        asking: impl FnOnce(&mut RequesterConfig),
        answering: impl FnOnce(&mut ResponderConfig),
    ) -> Pair {
        let (mut ask, mut answer) = (self.asking(), self.answering());
        asking(&mut ask);
        answering(&mut answer);
        Pair::of(requester(ask), responder(answer))
    }
}

fn from(version: Version) -> impl Iterator<Item = Version> {
    VERSIONS.iter().copied().filter(move |later| *later >= version)
}

fn measured(pair: &Pair) -> &tdisp::spdm::MeasurementRecord {
    let found = pair.requester_events.iter().rev().find_map(|event| match event {
        Event::Measurements(record) => Some(record),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no measurements: {:?}", pair.requester_events))
}

fn peer_fault(pair: &Pair) -> (Code, &Misbehaviour) {
    match pair.failure() {
        Some(Error::Peer { awaited, what }) => (*awaited, what),
        other => panic!("{other:?}: {:?}", pair.requester_events),
    }
}

#[test]
fn every_version_and_suite_on_either_transport_goes_all_the_way() {
    for case in Case::all() {
        for clear in [false, true] {
            let mut pair = case.pair(
                |ask| ask.handshake_in_clear = clear,
                |answer| answer.handshake_in_clear = clear,
            );
            if case.version == Version::V1_0 {
                pair.connect();
                assert_eq!(pair.requester_events.last(), Some(&Event::Challenged), "{case:?}");
                pair.requester.measure(pair.now, None).unwrap();
                pair.run();
                assert_eq!(measured(&pair).signer, Some(0));
                let no_session = pair.requester.open_session(pair.now);
                assert_eq!(no_session, Err(Misuse::NoIdentity));
                continue;
            }
            pair.say_everything();
            let ended = pair.requester_events.contains(&Event::SessionEnded);
            assert!(ended, "{case:?} {clear}: {:?}", pair.requester_events);
        }
    }
}

#[test]
fn the_highest_version_that_both_have_is_spoken() {
    let lists: [(&[Version], &[Version], Option<Version>); 4] = [
        (VERSIONS, VERSIONS, Some(Version::V1_4)),
        (&[Version::V1_1, Version::V1_2], VERSIONS, Some(Version::V1_2)),
        (VERSIONS, &[Version::V1_0, Version::V1_3], Some(Version::V1_3)),
        (&[Version::V1_2], &[Version::V1_3, Version::V1_4], None),
    ];
    for (ours, theirs, wanted) in lists {
        let mut pair = Case::of(Version::V1_2).pair(
            |ask| ask.versions = ours.to_vec(),
            |answer| answer.versions = theirs.to_vec(),
        );
        pair.connect();
        let spoken = pair.requester_events.iter().find_map(|event| match event {
            Event::Connected(negotiated) => Some(negotiated.version),
            _ => None,
        });
        assert_eq!(spoken, wanted);
    }
}

#[test]
fn measurements_asked_for_one_by_one_are_signed_together() {
    for case in Case::all().filter(|case| case.version > Version::V1_0) {
        for in_session in [false, true] {
            let mut pair = case.pair(|_| {}, |_| {});
            pair.connect();
            let session = pair.requester.session().filter(|_| in_session);
            let one = |index, signed| Measure {
                operation: Operation(index),
                signed,
                ..Measure::all(Some([9; 32]))
            };
            for (index, signed) in [(0, false), (1, false), (2, false), (5, true)] {
                pair.requester
                    .measure_in(pair.now, session, one(index, signed))
                    .unwrap();
                pair.run();
                let count = (index == 0).then_some(3);
                assert_eq!(measured(&pair).count, count, "{case:?}: {:?}", pair.failure());
            }
            let all = measured(&pair);
            let without_vca = &all.blob[vca_size(&pair, case)..];
            check_signature(case, &pair, without_vca);
            assert_eq!(all.record[..4], [5, 1, 11, 0], "{case:?}");
        }
    }
}

/// VCA is the messages of the first six units.
fn vca(pair: &Pair, case: Case) -> Vec<u8> {
    let header = if case.transport == Transport::Doe { 8 } else { 1 };
    let units = pair.carried[..6].iter();
    units.flat_map(|unit| unit[header..].to_vec()).collect()
}

fn vca_size(pair: &Pair, case: Case) -> usize {
    vca(pair, case).len()
}

/// Whether L1/L2, made by hand, is what was signed.
fn check_signature(case: Case, pair: &Pair, said: &[u8]) {
    let size = case.suite.sign().signature_size();
    let (l1, signature) = said.split_at(said.len() - size);
    let mut transcript = Transcript::new(&Ring, case.suite.hash(), case.version);
    if case.version >= Version::V1_2 {
        transcript.add(&vca(pair, case));
    }
    transcript.add(l1);
    let signed = signing::message(case.version, signing::Context::Measurements, &transcript);
    let key = case.suite.identity().signer.public_key();
    assert_eq!(
        Ring.verify(case.suite.sign(), key, &signed, signature),
        Ok(()),
        "{case:?}"
    );
}

#[test]
fn summaries_of_measurements_come_with_each_proof_where_there_are_measurements() {
    for case in Case::all().filter(|case| case.version > Version::V1_0) {
        let told = |pair: &Pair| {
            let summaries = pair.requester_events.iter().filter_map(|event| match event {
                Event::Summary(digest) => Some(*digest),
                _ => None,
            });
            summaries.collect::<Vec<_>>()
        };
        let connected = |summary, measured| {
            let mut pair = case.pair(|ask| ask.summary = summary, |answer| answer.measured = measured);
            pair.connect();
            assert!(
                pair.requester.session().is_some(),
                "{case:?}: {:?}",
                pair.failure()
            );
            told(&pair)
        };
        let all = connected(Summary::ALL, Measured::Signed);
        assert_eq!(all.len(), 2, "one with CHALLENGE_AUTH, one with KEY_EXCHANGE_RSP");
        assert_eq!(all[0], all[1]);
        assert_ne!(connected(Summary::TCB, Measured::Unsigned), all);
        assert_eq!(connected(Summary::ALL, Measured::No), []);
        assert_eq!(connected(Summary::NONE, Measured::Signed), []);
    }
}

#[test]
fn another_request_begins_what_is_signed_anew_at_both_ends() {
    let mut pair = Case::of(Version::V1_2).pair(|_| {}, |_| {});
    pair.connect();
    let session = pair.requester.session();
    let unsigned = Measure {
        signed: false,
        ..Measure::all(None)
    };
    pair.requester.measure_in(pair.now, session, unsigned).unwrap();
    pair.run();
    let long = measured(&pair).blob.len();
    pair.requester.vendor(pair.now, &[1, 2]).unwrap();
    pair.run();
    pair.requester.measure(pair.now, None).unwrap();
    pair.run();
    let again = measured(&pair);
    assert_eq!(again.signer, Some(0));
    assert!(again.blob.len() < long + 200, "only the signed exchange is in it");
}

#[test]
fn a_responder_that_does_not_sign_measurements_gives_them_unsigned_and_refuses_more() {
    for version in from(Version::V1_0) {
        let mut pair = Case::of(version).pair(|_| {}, |answer| answer.measured = Measured::Unsigned);
        pair.connect();
        let now = pair.now;
        assert_eq!(pair.requester.measure(now, None), Err(Misuse::NoMeasurements));
        let unsigned = Measure {
            signed: false,
            ..Measure::all(None)
        };
        pair.requester.measure_in(now, None, unsigned).unwrap();
        pair.run();
        let found = measured(&pair);
        assert!(found.signer.is_none() && !found.record.is_empty());
    }
}

#[test]
fn a_wish_for_raw_or_fresh_measurements_is_said_in_the_versions_that_know_it() {
    for version in from(Version::V1_0) {
        let mut pair = Case::of(version).pair(|ask| ask.goal = Goal::Identity, |_| {});
        pair.connect();
        for (raw, fresh) in [(false, false), (true, false), (false, true), (true, true)] {
            let wish = Measure {
                signed: false,
                raw,
                fresh,
                ..Measure::all(None)
            };
            pair.carried.clear();
            pair.requester.measure_in(pair.now, None, wish).unwrap();
            pair.run();
            assert!(!measured(&pair).record.is_empty());
            let raw = u8::from(raw && version >= Version::V1_2);
            let fresh = u8::from(fresh && version >= Version::V1_3);
            // Behind the DOE header: version, code, attributes.
            assert_eq!(pair.carried[0][10], raw << 1 | fresh << 2, "{version}");
        }
    }
}

#[test]
fn other_measurements_than_those_asked_for_are_refused() {
    type Lie = fn(&mut Vec<Block<'_>>);
    let cases: [(Operation, Lie, bool); 7] = [
        (Operation(2), |_| {}, true),
        (Operation(2), |blocks| blocks[0].index = 1, false),
        (Operation(2), |blocks| blocks.push(BLOCK), false),
        (Operation(2), |blocks| blocks.clear(), false),
        (Operation::COUNT, |_| {}, true),
        (Operation::COUNT, |blocks| blocks.push(BLOCK), false),
        (Operation::ALL, |blocks| blocks.push(BLOCK), true),
    ];
    for (operation, lie, goes) in cases {
        let mut pair = Case::of(Version::V1_2).pair(|ask| ask.goal = Goal::Identity, |_| {});
        pair.connect();
        pair.bend = Some(Box::new(move |body| with_blocks(body, lie)));
        let wish = Measure {
            operation,
            signed: false,
            ..Measure::all(None)
        };
        pair.requester.measure_in(pair.now, None, wish).unwrap();
        pair.run();
        match goes {
            true => assert_eq!(pair.failure(), None),
            false => {
                let (awaited, what) = peer_fault(&pair);
                assert_eq!(awaited, Code::MEASUREMENTS);
                let index = "index of the measurement";
                assert!(
                    matches!(what, Misbehaviour::Inconsistent { what, .. } if *what == index),
                    "{what}"
                );
            }
        }
    }
}

/// MEASUREMENTS with other blocks.
fn with_blocks(body: &mut Vec<u8>, change: impl FnOnce(&mut Vec<Block<'_>>)) {
    let said = body.clone();
    let context = Context::new(Version::V1_2);
    let (mut message, _) = measurements::Response::decode_padded(&said, &context).unwrap();
    change(&mut message.record.blocks);
    *body = message.to_vec();
}

const BLOCK: Block<'_> = Block {
    index: 3,
    specification: measurements::SPECIFICATION_DMTF,
    measurement: &[0x81, 1, 0, 7],
};

#[test]
fn measurements_are_not_asked_for_of_who_has_none_nor_signed_of_who_is_not_known() {
    for version in from(Version::V1_0) {
        let unsigned = Measure {
            signed: false,
            ..Measure::all(None)
        };
        let none = Err(Misuse::NoMeasurements);
        let mut pair = Case::of(version).pair(|ask| ask.goal = Goal::Connection, |_| {});
        pair.connect();
        let now = pair.now;
        assert_eq!(pair.requester.measure(now, None), none);
        assert_eq!(pair.requester.measure_in(now, None, unsigned), Ok(()));
        let no_measurements = |answer: &mut ResponderConfig| answer.measured = Measured::No;
        let mut pair = Case::of(version).pair(|ask| ask.goal = Goal::Identity, no_measurements);
        pair.connect();
        assert_eq!(pair.requester.measure(now, None), none);
        assert_eq!(pair.requester.measure_in(now, None, unsigned), none);
    }
}

#[test]
fn a_session_may_follow_the_certificates_at_once() {
    for version in from(Version::V1_1) {
        let mut pair = Case::of(version).pair(
            |ask| ask.challenge = false,
            |answer| answer.capabilities = Flags(!Flags::CHAL.0),
        );
        pair.connect();
        assert!(
            pair.requester.session().is_some(),
            "{version}: {:?}",
            pair.failure()
        );
        assert_eq!(pair.carried.len(), 14, "seven exchanges");
        let mut pair = Case::of(version).pair(|_| {}, |answer| answer.capabilities = Flags(!Flags::CHAL.0));
        pair.connect();
        let missing = Flags::CHAL.0;
        assert_eq!(
            peer_fault(&pair).1,
            &Misbehaviour::MissingCapabilities { missing }
        );
    }
}

#[test]
fn a_connection_may_be_all_that_is_wanted_of_a_device_without_keys() {
    for version in from(Version::V1_0) {
        let mut pair = Case::of(version).pair(
            |ask| ask.goal = Goal::Connection,
            |answer| {
                answer.slots = [const { None }; 8];
                answer.measured = Measured::Unsigned;
            },
        );
        pair.connect();
        assert!(
            matches!(pair.requester_events.last(), Some(Event::Connected(_))),
            "{:?}",
            pair.failure()
        );
        let Some(Event::Connected(negotiated)) = pair.requester_events.last() else {
            panic!("{:?}", pair.requester_events);
        };
        assert_eq!(negotiated.algorithms.sign, None);
        assert_eq!(pair.requester.open_session(pair.now), Err(Misuse::NoIdentity));
        let unsigned = Measure {
            signed: false,
            ..Measure::all(None)
        };
        pair.requester.measure_in(pair.now, None, unsigned).unwrap();
        pair.run();
        assert!(!measured(&pair).record.is_empty());
    }
}

#[test]
fn a_provisioned_key_takes_the_place_of_certificates() {
    for case in Case::all().filter(|case| case.version > Version::V1_0) {
        let identity = case.suite.identity();
        let key = case.suite.public_key_info();
        let shows_key = |answer: &mut ResponderConfig| {
            answer.slots = [const { None }; 8];
            answer.public_key = Some(PublicKey {
                key: key.clone(),
                signer: identity.signer.clone(),
            });
        };
        let mut pair = case.pair(|ask| ask.public_key = Some(key.clone()), shows_key);
        pair.say_everything();
        let ended = pair.requester_events.contains(&Event::SessionEnded);
        assert!(ended, "{case:?}: {:?}", pair.requester_events);
        let asked: Vec<_> = pair
            .requester_events
            .iter()
            .filter(|event| matches!(event, Event::Certificates { .. }))
            .collect();
        assert!(asked.is_empty(), "there are no certificates");
        let mut pair = case.pair(|ask| ask.public_key = Some(other_key(case.suite)), shows_key);
        pair.connect();
        assert_eq!(
            peer_fault(&pair).0,
            Code::CHALLENGE_AUTH,
            "another key is not believed"
        );
    }
}

/// One that nobody here has the private half of.
fn other_key(suite: Suite) -> Vec<u8> {
    let mut key = suite.public_key_info();
    let at = key.len() - 1;
    key[at] ^= 1;
    key
}

#[test]
fn a_connection_with_several_keys_uses_the_slots_own_and_says_which() {
    for (theirs, ours) in [
        (MultiKey::Only, false),
        (MultiKey::Negotiated, true),
        (MultiKey::Negotiated, false),
        (MultiKey::No, true),
    ] {
        for version in from(Version::V1_2) {
            let other = Suite::P384.new_identity("other", 0);
            let mut pair = Case::of(version).pair(
                |ask| {
                    ask.multi_key = ours;
                    ask.slot = 5;
                    ask.roots = tdisp::spdm::Trust::Pinned(vec![other.root]);
                },
                |answer| {
                    answer.multi_key = theirs;
                    answer.key_pairs = Some(KeyPairs::default());
                    answer.slots[5] = Some(Slot::new(other.chain.clone(), other.signer.clone()));
                },
            );
            pair.say_everything();
            let ended = pair.requester_events.contains(&Event::SessionEnded);
            assert!(ended, "{theirs:?} {ours} {version}: {:?}", pair.requester_events);
            let several = version >= Version::V1_3
                && (theirs == MultiKey::Only || theirs == MultiKey::Negotiated && ours);
            // DIGESTS has two hashes of 48 bytes, and with several keys 4 bytes more for each.
            let digests = &pair.carried[7][8..];
            let keys = if several {
                vec![1, 1, 1, 1, 0xf, 0, 0xf, 0]
            } else {
                Vec::new()
            };
            assert_eq!(
                digests[..4],
                [version.0, 1, if version < Version::V1_3 { 0 } else { 0x21 }, 0x21]
            );
            assert_eq!(digests[4 + 96..], keys, "{theirs:?} {ours} {version}");
        }
    }
}

/// Both ends of a connection with several keys, of which the first is for every use but one.
fn without(use_: u16, challenge: bool) -> Pair {
    Case::of(Version::V1_3).pair(
        |ask| (ask.multi_key, ask.challenge) = (true, challenge),
        |answer| {
            answer.multi_key = MultiKey::Negotiated;
            answer.key_pairs = Some(KeyPairs::default());
            answer.endpoint_info = Some(EndpointInfo {
                device_classes: vec![0; 4],
                signed: true,
            });
            answer.slots[0].as_mut().unwrap().key.usage = usage::ANY & !use_;
        },
    )
}

#[test]
fn a_requester_asks_no_key_for_what_digests_say_that_it_is_not_for() {
    for (wanted, asked, awaited) in [
        (usage::CHALLENGE, Code::CHALLENGE, Code::CERTIFICATE),
        (usage::KEY_EXCHANGE, Code::KEY_EXCHANGE, Code::CHALLENGE_AUTH),
    ] {
        let mut pair = without(wanted, true);
        pair.connect();
        let refused = Misbehaviour::KeyUsage {
            slot: 0,
            allowed: usage::ANY & !wanted,
            wanted,
        };
        assert_eq!(peer_fault(&pair), (awaited, &refused));
        let mut asked_for = pair.carried.iter().map(|object| Code(object[9]));
        assert!(!asked_for.any(|code| code == asked));
    }
    let mut pair = without(usage::MEASUREMENTS, true);
    pair.connect();
    let what = "key for that in its slot (KeyUsageMask of DIGESTS)";
    let refused = pair.requester.measure(pair.now, None);
    assert_eq!(refused, Err(Misuse::Lacks { what }));
    assert!(pair.requester.session().is_some(), "{:?}", pair.failure());
    let mut pair = without(usage::ENDPOINT_INFO, true);
    pair.connect();
    let signed = pair.requester.endpoint_info(pair.now, None, Some([7; 32]));
    assert_eq!(signed, Err(Misuse::Lacks { what }));
    assert_eq!(pair.requester.endpoint_info(pair.now, None, None), Ok(()));
}

#[test]
fn a_key_is_used_for_nothing_that_its_mask_does_not_have() {
    for (use_, awaited) in [
        (usage::CHALLENGE, Code::CHALLENGE_AUTH),
        (usage::KEY_EXCHANGE, Code::KEY_EXCHANGE_RSP),
    ] {
        let mut pair = without(use_, use_ == usage::CHALLENGE);
        // A requester that does not look at the masks, the last bytes of DIGESTS.
        pair.bend = Some(Box::new(|body: &mut Vec<u8>| {
            if body[1] == Code::DIGESTS.0 {
                let masks = body.len() - 2;
                body[masks..].copy_from_slice(&usage::ANY.to_le_bytes());
            }
        }));
        pair.connect();
        let refused = Misbehaviour::Refused {
            code: ErrorCode::INVALID_REQUEST,
            data: 0,
        };
        assert_eq!(peer_fault(&pair), (awaited, &refused));
    }
}

#[test]
fn chains_of_64_kib_and_more_come_in_the_large_form_and_only_from_1_4_on() {
    let identity = Suite::P384.new_identity("large", 70_000);
    assert!(identity.chain.len() > 0x1_0000);
    for version in from(Version::V1_2) {
        let with = |max: usize| {
            Case::of(version).pair(
                |ask| {
                    ask.roots = tdisp::spdm::Trust::Pinned(vec![identity.root]);
                    ask.chain_size_max = max;
                },
                |answer| answer.slots[0] = Some(Slot::new(identity.chain.clone(), identity.signer.clone())),
            )
        };
        let mut pair = with(0x2_0000);
        pair.connect();
        if version < Version::V1_4 {
            assert_eq!(peer_fault(&pair).0, Code::CERTIFICATE, "{version}");
            continue;
        }
        assert!(pair.requester.session().is_some(), "{:?}", pair.failure());
        let mut pair = with(identity.chain.len());
        pair.connect();
        assert!(pair.requester.session().is_some(), "as large as it may be");
        let mut pair = with(0x1_0000);
        pair.connect();
        let (awaited, what) = peer_fault(&pair);
        assert_eq!(awaited, Code::CERTIFICATE);
        assert!(
            matches!(what, Misbehaviour::Inconsistent { wanted: 0x1_0000, .. }),
            "{what}"
        );
    }
}

#[test]
fn a_chain_comes_in_the_short_form_from_who_has_not_the_large_one() {
    // Bit 7 of the slot's byte asks for the large form.
    for (large, bit) in [(true, 0x80), (false, 0)] {
        let mut pair = Case::of(Version::V1_4).pair(
            |_| {},
            |answer| {
                if !large {
                    answer.capabilities = Flags(u32::MAX).without(Flags::LARGE_RESPONSE);
                }
            },
        );
        pair.connect();
        assert!(pair.requester.session().is_some(), "{:?}", pair.failure());
        let asked = pair
            .carried
            .iter()
            .find(|object| object[9] == Code::GET_CERTIFICATE.0);
        assert_eq!(asked.unwrap()[10] & 0x80, bit);
    }
}

fn delayed(version: Version, code: Code, how: Wait) -> Pair {
    Case::of(version).pair(|_| {}, |answer| answer.delays = vec![Delay { code, how }])
}

#[test]
fn a_device_that_is_busy_or_not_ready_is_waited_for_wherever_it_is() {
    let codes = [
        Code::GET_DIGESTS,
        Code::GET_CERTIFICATE,
        Code::CHALLENGE,
        Code::KEY_EXCHANGE,
        Code::FINISH,
        Code::GET_MEASUREMENTS,
        Code::END_SESSION,
    ];
    let not_ready = Wait::NotReady {
        exponent: 18,
        multiplier: 2,
    };
    for version in from(Version::V1_1) {
        for code in codes {
            for how in [Wait::Busy(3), not_ready] {
                let mut pair = delayed(version, code, how);
                pair.say_everything();
                let ended = pair.requester_events.contains(&Event::SessionEnded);
                assert!(ended, "{version} {code} {how:?}: {:?}", pair.requester_events);
                assert!(pair.now > Instant::START, "somebody has waited");
            }
        }
    }
}

#[test]
fn a_device_that_says_how_many_seconds_it_needs_is_given_them_up_to_the_limit() {
    let how = Wait::NotReady {
        exponent: 24,
        multiplier: 2,
    };
    let connected = |limit| {
        let mut pair = Case::of(Version::V1_2).pair(
            |ask| ask.timing.crypto_max = Duration::from_secs(limit),
            |answer| {
                answer.delays = vec![Delay {
                    code: Code::CHALLENGE,
                    how,
                }];
            },
        );
        pair.connect();
        pair
    };
    let pair = connected(30);
    assert!(pair.requester.session().is_some(), "{:?}", pair.failure());
    assert_eq!(pair.now.since(Instant::START), Duration::from_micros(1 << 24));
    let pair = connected(1);
    assert!(matches!(peer_fault(&pair).1, Misbehaviour::NeverReady { .. }));
    let tries = u32::from(Timing::default().retries);
    assert_eq!(
        pair.now.since(Instant::START),
        Duration::from_secs(1) * tries,
        "no longer than the limit at a time"
    );
}

#[test]
fn a_device_that_is_never_ready_is_given_up() {
    let mut pair = delayed(Version::V1_2, Code::CHALLENGE, Wait::Busy(200));
    pair.connect();
    assert!(matches!(peer_fault(&pair).1, Misbehaviour::NeverReady { .. }));
}

#[test]
fn a_device_that_has_lost_its_state_asks_to_begin_anew_and_has_no_secret_left() {
    for version in from(Version::V1_1) {
        let mut pair = Case::of(version).pair(|_| {}, |_| {});
        pair.connect();
        let id = pair.requester.session().expect("a session");
        pair.responder.resynch();
        assert_eq!(pair.responder.poll_event(), Some(Told::SessionEnded { id }));
        pair.requester.vendor(pair.now, &[1, 2]).unwrap();
        pair.run();
        let code = ErrorCode::REQUEST_RESYNCH;
        assert_eq!(peer_fault(&pair).1, &Misbehaviour::Refused { code, data: 0 });
        assert!(pair.requester.session().is_none() && pair.responder.sessions().is_empty());
        pair.requester_events.clear();
        pair.connect();
        assert!(pair.requester.session().is_some(), "{:?}", pair.failure());
    }
}

#[test]
fn several_sessions_are_open_at_once_and_each_ends_alone() {
    for case in Case::all().filter(|case| case.version > Version::V1_0) {
        let mut pair = case.pair(|_| {}, |_| {});
        pair.connect();
        pair.requester.open_session(pair.now).unwrap();
        pair.run();
        pair.requester.open_session(pair.now).unwrap();
        pair.run();
        let ids = pair.requester.sessions();
        assert_eq!(pair.responder.sessions(), ids, "{case:?}: {:?}", pair.failure());
        assert_eq!(ids.len(), 3);
        assert_eq!(pair.requester.session(), ids.last().copied());
        for id in &ids {
            pair.requester.vendor_in(pair.now, *id, &[1, 2, 3]).unwrap();
            pair.run();
            assert_eq!(pair.requester_events.last(), Some(&Event::Vendor(vec![1, 3, 2])));
        }
        pair.requester.update_keys_in(pair.now, ids[0]).unwrap();
        pair.run();
        pair.requester.end_session_in(pair.now, ids[1]).unwrap();
        pair.run();
        assert_eq!(pair.requester.sessions(), [ids[0], ids[2]]);
        assert_eq!(pair.responder.sessions(), [ids[0], ids[2]]);
        for id in [ids[0], ids[2]] {
            pair.requester.vendor_in(pair.now, id, &[1, 4]).unwrap();
            pair.run();
            assert_eq!(pair.failure(), None);
        }
    }
}

#[test]
fn no_more_sessions_are_opened_than_there_is_room_for() {
    let mut pair = Case::of(Version::V1_2).pair(|ask| ask.sessions_max = 1, |_| {});
    pair.connect();
    let refused = pair.requester.open_session(pair.now);
    assert_eq!(refused, Err(Misuse::SessionLimit { max: 1 }));
    let mut pair = Case::of(Version::V1_2).pair(|_| {}, |answer| answer.sessions_max = 1);
    pair.connect();
    pair.requester.open_session(pair.now).unwrap();
    pair.run();
    let code = ErrorCode::SESSION_LIMIT_EXCEEDED;
    assert_eq!(peer_fault(&pair).1, &Misbehaviour::Refused { code, data: 0 });
}

#[test]
fn idle_sessions_are_each_kept_alive() {
    let mut pair = Case::of(Version::V1_3).pair(|_| {}, |answer| answer.heartbeat_s = 10);
    pair.connect();
    pair.now = pair.now.after(Duration::from_secs(4));
    pair.requester.open_session(pair.now).unwrap();
    pair.run();
    for _ in 0..10 {
        pair.now = pair.requester.poll_timeout().expect("the next heartbeat");
        pair.responder.handle_timeout(pair.now);
        pair.requester.handle_timeout(pair.now);
        pair.run();
    }
    assert_eq!(pair.responder.sessions().len(), 2);
    assert_eq!(pair.now.since(Instant::START), Duration::from_secs(54));
}

#[test]
fn times_for_signatures_are_believed_up_to_31_and_refused_beyond() {
    for exponent in 0..=255u8 {
        let mut pair = Case::of(Version::V1_2).pair(|ask| ask.goal = Goal::Connection, |_| {});
        // CAPABILITIES is the answer with CTExponent in its sixth byte.
        pair.bend = Some(Box::new(move |body: &mut Vec<u8>| {
            if body[1] == Code::CAPABILITIES.0 {
                body[5] = exponent;
            }
        }));
        pair.connect();
        assert_eq!(pair.failure().is_some(), exponent > 31, "{exponent}");
    }
}

#[test]
fn a_signature_is_waited_for_as_long_as_the_device_says_that_it_takes_up_to_the_limit() {
    let case = Case::of(Version::V1_2);
    let mut honest = case.pair(|_| {}, |_| {});
    honest.connect();
    let lost = |code: Code, exponent: u8| {
        let mut pair = case.pair(|ask| ask.timing.crypto_max = Duration::from_secs(30), |_| {});
        pair.bend = Some(Box::new(move |body: &mut Vec<u8>| {
            if body[1] == Code::CAPABILITIES.0 {
                body[5] = exponent;
            }
        }));
        let number = honest.carried.iter().position(|object| object[9] == code.0);
        pair.fault = Some((number.unwrap(), Fault::Drop));
        pair.connect();
        match pair.failure() {
            Some(Error::TimedOut { waited, .. }) => *waited - Timing::default().answer,
            other => panic!("{other:?}"),
        }
    };
    let micros = Duration::from_micros;
    for (exponent, more) in [(0, micros(1)), (20, micros(1 << 20)), (31, micros(30_000_000))] {
        assert_eq!(lost(Code::CHALLENGE, exponent), more, "{exponent}");
        assert_eq!(lost(Code::GET_DIGESTS, exponent), micros(0), "nothing is signed");
    }
}
