//! What a requester asks of a device beyond the usual, and large messages both ways between our two ends; and responders that
//! answer such questions wrongly.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;

use harness::{Identity, Pair, requester, requester_config, responder, responder_config};
use std::sync::{Arc, Mutex};
use tdisp::{
    crypto::{RingSigner, SignAlg},
    spdm::{
        Error, Event, Goal, Identity as Own, Measurement, Misbehaviour, Misuse, RequesterConfig,
        ResponderConfig, Trust,
        events::{Subscription, Types, What},
        msg::{
            Code, Context, Payload, Version, chunk,
            chunk::Chunk,
            endpoint_info::{self, DeviceClass, DeviceClasses, Signed, Subject},
            error::ErrorCode,
            event_types::{self, EventType},
            key_pair_info::{Abilities, Usage, key_algorithm},
            measurements::{Dmtf as Measured, Kind},
            mel::{Entry, Log},
            send_event::Dmtf,
            set_certificate::Model,
            set_key_pair_info::Operation,
            subscribe,
        },
        pkcs10::common_name,
        requester::{CsrWish, KeyPairWish, SlotWish},
        responder::{
            ChangesKeyPairs, Delay, EndpointInfo, Event as ResponderEvent, KeyCsr, KeyPair, KeyPairs, Mutual,
            NotDone, Provisioning, Slot, Store, Wait,
        },
    },
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

const VERSIONS: [Version; 3] = [Version::V1_2, Version::V1_3, Version::V1_4];

#[derive(Default)]
struct Shelf(Mutex<Vec<u8>>);

impl Store for Shelf {
    fn write(&self, slot: u8, _: Option<&[u8]>, _: Model, _: Option<u8>) -> Result<(), NotDone> {
        self.0.lock().unwrap().push(slot);
        Ok(())
    }
}

struct Obedient;

impl ChangesKeyPairs for Obedient {
    fn change(&self, _: u8, _: Operation, wanted: &KeyPair) -> Result<KeyPair, NotDone> {
        Ok(wanted.clone())
    }
}

fn log() -> Vec<u8> {
    let entry = |number| Entry {
        number,
        measurement: 2,
        value: Measured {
            kind: Kind::INFORMATIONAL,
            raw: true,
            value: b"a step of the boot",
        },
    };
    let mut log = Vec::new();
    Log {
        entries: (1..=20).map(entry).collect(),
    }
    .encode(&mut log);
    log
}

fn classes() -> Vec<u8> {
    let class = DeviceClass {
        registry: 3,
        vendor: &[0x36, 0x1b],
        subordinates: vec![],
    };
    let mut info = Vec::new();
    DeviceClasses {
        identifiers: vec![class],
    }
    .encode(&mut info);
    info
}

fn everything() -> ResponderConfig {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let signer = RingSigner::from_pkcs8(SignAlg::EcdsaP384, &pair.serialize_der()).unwrap();
    let csr = KeyCsr {
        public_key: signer.public_key().to_vec(),
        name: common_name("a device"),
        signer,
    };
    ResponderConfig {
        versions: VERSIONS.to_vec(),
        provisioning: Provisioning {
            csr: Some(Arc::new(csr)),
            store: Some(Arc::new(Shelf::default())),
            ..Provisioning::default()
        },
        key_pairs: Some(KeyPairs {
            pairs: vec![KeyPair {
                abilities: Abilities(0x3f),
                usages: Usage::CHALLENGE | Usage::MEASUREMENTS,
                algorithm: key_algorithm::ECC_P384,
                algorithms: key_algorithm::ECC_P384,
                slots: 1,
                public_key_info: b"info".to_vec(),
                ..KeyPair::default()
            }],
            changer: Some(Arc::new(Obedient)),
        }),
        mel: Some(log()),
        endpoint_info: Some(EndpointInfo {
            device_classes: classes(),
            signed: true,
        }),
        events: Types::ALL,
        ..responder_config()
    }
}

/// A pair in a session that has everything, in a version.
fn pair(version: Version) -> Pair {
    pair_of(
        RequesterConfig {
            versions: vec![version],
            ..requester_config()
        },
        everything(),
    )
}

fn pair_of(asking: RequesterConfig, answering: ResponderConfig) -> Pair {
    let mut pair = Pair::of(requester(asking), responder(answering));
    pair.connect();
    assert!(pair.requester.session().is_some(), "{:?}", pair.requester_events);
    pair.requester_events.clear();
    pair.responder_events.clear();
    pair
}

/// The one event that a question leads to.
fn asked(pair: &mut Pair) -> Event {
    pair.run();
    assert_eq!(pair.requester_events.len(), 1, "{:?}", pair.requester_events);
    pair.requester_events.remove(0)
}

#[test]
fn a_certificate_signing_request_is_fetched_in_a_session_and_outside() {
    for version in VERSIONS {
        let mut pair = pair(version);
        for session in [pair.requester.session(), None] {
            pair.requester
                .get_csr(pair.now, session, CsrWish::default())
                .unwrap();
            let Event::Csr(csr) = asked(&mut pair) else {
                panic!()
            };
            let (_, request) = X509CertificationRequest::from_der(&csr).unwrap();
            request.verify_signature().unwrap();
        }
    }
}

#[test]
fn a_device_that_needs_a_reset_says_under_which_tag_and_the_connection_stays() {
    let mut config = everything();
    config.provisioning.after_reset = true;
    let asking = RequesterConfig {
        versions: vec![Version::V1_3],
        ..requester_config()
    };
    let mut pair = pair_of(asking, config);
    let session = pair.requester.session();
    pair.requester
        .get_csr(pair.now, session, CsrWish::default())
        .unwrap();
    let refused = Event::Refused {
        awaited: Code::CSR,
        code: ErrorCode::RESET_REQUIRED,
        data: 1,
    };
    assert_eq!(asked(&mut pair), refused);
    assert_eq!(pair.requester.session(), session);
    pair.responder.reset();
    pair.connect();
    pair.requester_events.clear();
    let session = pair.requester.session();
    pair.requester
        .get_csr(
            pair.now,
            session,
            CsrWish {
                tag: 1,
                ..CsrWish::default()
            },
        )
        .unwrap();
    assert!(matches!(asked(&mut pair), Event::Csr(_)));
}

#[test]
fn a_slot_is_filled_and_emptied_and_used() {
    let mut pair = pair(Version::V1_3);
    let session = pair.requester.session();
    let chain = Identity::usual().chain.clone();
    let wish = SlotWish {
        slot: 2,
        chain: Some(chain),
        model: Model::NONE,
        key_pair: 0,
    };
    pair.requester
        .set_certificate(pair.now, session, wish.clone())
        .unwrap();
    assert_eq!(asked(&mut pair), Event::CertificateSet { slot: 2 });
    pair.requester
        .set_certificate(pair.now, session, SlotWish { chain: None, ..wish })
        .unwrap();
    assert_eq!(asked(&mut pair), Event::CertificateSet { slot: 2 });
}

#[test]
fn key_pairs_are_told_and_changed() {
    for version in [Version::V1_3, Version::V1_4] {
        let mut pair = pair(version);
        let session = pair.requester.session();
        let wish = KeyPairWish {
            id: 1,
            operation: Operation::CHANGE,
            usage: Usage::CHALLENGE,
            algorithm: 0,
            pqc_algorithm: 0,
            slots: 0,
        };
        pair.requester.set_key_pair_info(pair.now, session, wish).unwrap();
        assert_eq!(asked(&mut pair), Event::KeyPairSet { id: 1 });
        pair.requester.get_key_pair_info(pair.now, session, 1).unwrap();
        let Event::KeyPairInfo(info) = asked(&mut pair) else {
            panic!()
        };
        assert_eq!(
            (info.total, info.usage, info.algorithm),
            (1, Usage::CHALLENGE, key_algorithm::ECC_P384)
        );
        pair.requester.get_key_pair_info(pair.now, session, 2).unwrap();
        assert!(matches!(
            asked(&mut pair),
            Event::Refused {
                code: ErrorCode::INVALID_REQUEST,
                ..
            }
        ));
    }
}

#[test]
fn a_log_is_fetched_in_as_many_portions_as_it_takes() {
    for transfer_size in [0x1200, 0x200] {
        let asking = RequesterConfig {
            versions: vec![Version::V1_3],
            transfer_size,
            ..requester_config()
        };
        let mut pair = pair_of(asking, everything());
        for session in [pair.requester.session(), None] {
            pair.requester.measurement_log(pair.now, session).unwrap();
            assert_eq!(asked(&mut pair), Event::MeasurementLog(log()));
        }
    }
}

#[test]
fn endpoint_info_is_told_and_its_signature_checked() {
    let mut pair = pair(Version::V1_3);
    for (session, nonce) in [
        (pair.requester.session(), Some([7; 32])),
        (None, Some([8; 32])),
        (None, None),
    ] {
        pair.requester.endpoint_info(pair.now, session, nonce).unwrap();
        let wanted = Event::EndpointInfo {
            info: classes(),
            signed: nonce.is_some(),
        };
        assert_eq!(asked(&mut pair), wanted);
    }
}

#[test]
fn a_wrong_signature_of_endpoint_info_ends_the_connection() {
    let mut pair = pair(Version::V1_3);
    pair.bend = Some(Box::new(|body| {
        let last = body.iter().rposition(|byte| *byte != 0).unwrap();
        body[last] ^= 1;
    }));
    pair.requester
        .endpoint_info(pair.now, None, Some([7; 32]))
        .unwrap();
    let failed = asked(&mut pair);
    assert!(
        matches!(
            failed,
            Event::Failed(Error::Peer {
                what: Misbehaviour::BadSignature,
                ..
            })
        ),
        "{failed:?}"
    );
}

#[test]
fn event_types_are_told_and_subscribed_to() {
    let mut pair = pair(Version::V1_3);
    let session = pair.requester.session().unwrap();
    pair.requester.event_types(pair.now, session).unwrap();
    assert_eq!(asked(&mut pair), Event::EventTypes(Types::ALL));
    let types = Types::of(&[EventType::CERTIFICATE_CHANGED]);
    pair.requester.subscribe(pair.now, session, types).unwrap();
    assert_eq!(asked(&mut pair), Event::Subscribed(types));
    pair.responder.notify(Dmtf::CertificateChanged(1));
    assert_eq!(pair.responder.sessions_with_events(), [session]);
}

#[test]
fn what_the_responder_has_not_is_not_asked_for() {
    let lacks = |what| Err(Misuse::Lacks { what });
    for version in VERSIONS {
        let asking = RequesterConfig {
            versions: vec![version],
            ..requester_config()
        };
        let mut pair = pair_of(
            asking,
            ResponderConfig {
                versions: vec![version],
                ..responder_config()
            },
        );
        let (now, session) = (pair.now, pair.requester.session());
        let requester = &mut pair.requester;
        assert_eq!(
            requester.get_csr(now, session, CsrWish::default()),
            lacks("CSR_CAP")
        );
        assert_eq!(
            requester.get_key_pair_info(now, session, 1),
            lacks("GET_KEY_PAIR_INFO_CAP")
        );
        assert_eq!(requester.measurement_log(now, None), lacks("MEL_CAP"));
        assert_eq!(requester.endpoint_info(now, None, None), lacks("EP_INFO_CAP"));
        assert_eq!(requester.event_types(now, session.unwrap()), lacks("EVENT_CAP"));
        assert_eq!(requester.event_types(now, 7), Err(Misuse::NoSession));
    }
    let mut old = pair(Version::V1_2);
    assert_eq!(old.requester.measurement_log(old.now, None), lacks("MEL_CAP"));
}

// Large messages, both ways

/// The smallest sizes that leave room for something.
fn small(version: Version, ours: u32, theirs: u32) -> (RequesterConfig, ResponderConfig) {
    let asking = RequesterConfig {
        versions: vec![version],
        transfer_size: ours,
        chunk: Some(0x2_0000),
        ..requester_config()
    };
    let measurement = |index| Measurement {
        index,
        kind: Kind::FIRMWARE,
        raw: false,
        value: vec![index; 48],
        bit_stream: None,
    };
    let answering = ResponderConfig {
        transfer_size: theirs,
        chunk: Some(0x2_0000),
        measurements: (1..30).map(measurement).collect(),
        ..everything()
    };
    (asking, answering)
}

#[test]
fn everything_is_said_in_chunks_as_small_as_they_go() {
    for version in VERSIONS {
        // NEGOTIATE_ALGORITHMS and ALGORITHMS come before chunks.
        for (ours, theirs) in [(64, 0x1200), (0x1200, 64), (64, 64)] {
            let (asking, answering) = small(version, ours, theirs);
            let mut pair = Pair::of(requester(asking), responder(answering));
            pair.say_everything();
            assert_eq!(pair.failure(), None, "{version} {ours} {theirs}");
            let measured = pair.requester_events.iter().find_map(|event| match event {
                Event::Measurements(record) => Some(record),
                _ => None,
            });
            let (_, message) = measured.unwrap().blob.split_at(0);
            assert!(message.len() > 1500, "{version} {ours} {theirs}");
            assert!(pair.requester_events.contains(&Event::SessionEnded));
        }
    }
}

#[test]
fn large_requests_and_their_large_answers_pass_in_a_session() {
    for version in VERSIONS {
        let (asking, answering) = small(version, 300, 200);
        let mut pair = pair_of(asking, answering);
        let payload: Vec<u8> = (0..20_000u32).map(|at| at as u8).collect();
        pair.requester.vendor(pair.now, &payload).unwrap();
        let Event::Vendor(answer) = asked(&mut pair) else {
            panic!()
        };
        let backwards: Vec<u8> = payload[..1]
            .iter()
            .chain(payload[1..].iter().rev())
            .copied()
            .collect();
        assert_eq!(answer, backwards);
        let chain = Identity::usual().chain.clone();
        assert!(chain.len() > 200);
        let wish = SlotWish {
            slot: 1,
            chain: Some(chain),
            model: Model::NONE,
            key_pair: 0,
        };
        let session = pair.requester.session();
        pair.requester.set_certificate(pair.now, session, wish).unwrap();
        assert_eq!(asked(&mut pair), Event::CertificateSet { slot: 1 });
        pair.requester
            .get_csr(pair.now, session, CsrWish::default())
            .unwrap();
        assert!(matches!(asked(&mut pair), Event::Csr(_)));
    }
}

#[test]
fn vendor_messages_beyond_64_kib_pass_in_1_4() {
    let (asking, answering) = small(Version::V1_4, 0x1000, 0x1000);
    let mut pair = pair_of(asking, answering);
    let payload = vec![9; 0x1_8000];
    pair.requester.vendor(pair.now, &payload).unwrap();
    assert_eq!(asked(&mut pair), Event::Vendor(payload));
    let (asking, answering) = small(Version::V1_3, 0x1000, 0x1000);
    let mut pair = pair_of(asking, answering);
    let refused = pair.requester.vendor(pair.now, &vec![9; 0x1_0000]);
    assert!(
        matches!(refused, Err(Misuse::TooLong { max: 0xffff, .. })),
        "{refused:?}"
    );
}

#[test]
fn what_is_larger_than_the_responder_takes_at_all_is_not_sent() {
    let (asking, mut answering) = small(Version::V1_2, 0x1000, 0x200);
    answering.chunk = Some(0x400);
    let mut pair = pair_of(asking, answering);
    let refused = pair.requester.vendor(pair.now, &[9; 0x400]);
    assert!(matches!(refused, Err(Misuse::TooLong { .. })), "{refused:?}");
    let info = CsrWish {
        info: vec![0; 0x400],
        ..CsrWish::default()
    };
    let refused = pair.requester.get_csr(pair.now, None, info);
    assert!(
        matches!(refused, Err(Misuse::TooLong { max: 0x400, .. })),
        "{refused:?}"
    );
}

#[test]
fn a_refusal_of_a_large_request_is_a_refusal_of_the_request() {
    let (asking, answering) = small(Version::V1_3, 0x1000, 100);
    let mut pair = pair_of(asking, answering);
    let session = pair.requester.session();
    let chain = Identity::new("other").chain;
    let wish = SlotWish {
        slot: 1,
        chain: Some(chain),
        model: Model::NONE,
        key_pair: 0,
    };
    pair.requester.set_certificate(pair.now, session, wish).unwrap();
    let refused = Event::Refused {
        awaited: Code::SET_CERTIFICATE_RSP,
        code: ErrorCode::INVALID_REQUEST,
        data: 0,
    };
    assert_eq!(asked(&mut pair), refused);
    assert_eq!(pair.requester.session(), session);
}

/// What comes of measurements fetched in clear from a responder whose chunks are bent.
fn bent(version: Version, mut bend: impl FnMut(u32, &mut Vec<u8>) + 'static) -> Event {
    let (mut asking, answering) = small(version, 200, 0x1200);
    asking.goal = Goal::Identity;
    let mut pair = Pair::of(requester(asking), responder(answering));
    pair.connect();
    pair.requester_events.clear();
    let mut seen = 0;
    pair.bend = Some(Box::new(move |body| {
        bend(seen, body);
        seen += 1;
    }));
    pair.requester.measure(pair.now, None).unwrap();
    asked(&mut pair)
}

#[test]
fn measurements_in_chunks_are_measurements() {
    for version in VERSIONS {
        let told = bent(version, |_, _| ());
        assert!(matches!(told, Event::Measurements(record) if record.signed));
    }
}

#[test]
fn a_wrong_chunk_of_an_answer_ends_the_connection_and_nothing_is_believed() {
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, Spoil); 9] = [
        ("another handle", |body| body[3] ^= 1),
        ("a sequence number too high", |body| body[4] += 1),
        ("a sequence number far off", |body| body[5] = 0xff),
        ("the last flag early", |body| body[2] |= 1),
        ("a chunk size of 0", |body| body[8..12].fill(0)),
        ("a chunk size beyond what came", |body| body[8] = 0xff),
        ("a huge chunk size", |body| body[8..12].fill(0xff)),
        ("another message", |body| body[1] = Code::MEASUREMENTS.0),
        ("another version", |body| body[0] = 0x10),
    ];
    for version in VERSIONS {
        for number in 1..4 {
            for (what, spoil) in spoils {
                let told = bent(version, move |seen, body| {
                    if seen == number {
                        spoil(body)
                    }
                });
                assert!(
                    matches!(told, Event::Failed(_)),
                    "{what} in chunk {number}: {told:?}"
                );
            }
        }
    }
}

#[test]
fn an_answer_announced_as_larger_than_is_taken_or_too_small_is_refused_at_once() {
    for size in [0u32, 42, 100, 0x2_0001, u32::MAX] {
        let told = bent(Version::V1_3, move |seen, body| {
            if seen == 1 {
                body[12..16].copy_from_slice(&size.to_le_bytes());
            }
        });
        assert!(matches!(told, Event::Failed(_)), "{size}: {told:?}");
    }
}

#[test]
fn a_large_answer_within_a_large_answer_is_refused() {
    let told = bent(Version::V1_3, |seen, body| {
        if seen >= 1 {
            *body = vec![0x13, 0x7f, 0x0f, 0, 1];
        }
    });
    assert!(
        matches!(
            told,
            Event::Failed(Error::Peer {
                what: Misbehaviour::Refused { .. },
                ..
            })
        ),
        "{told:?}"
    );
}

#[test]
fn a_large_answer_is_not_fetched_from_who_cannot_have_one() {
    let config = RequesterConfig {
        goal: Goal::Identity,
        ..requester_config()
    };
    let mut pair = Pair::of(requester(config), responder(responder_config()));
    pair.connect();
    pair.requester_events.clear();
    pair.bend = Some(Box::new(|body| *body = vec![0x12, 0x7f, 0x0f, 0, 1]));
    pair.requester.measure(pair.now, None).unwrap();
    let told = asked(&mut pair);
    assert!(
        matches!(
            told,
            Event::Failed(Error::Peer {
                what: Misbehaviour::Refused { .. },
                ..
            })
        ),
        "{told:?}"
    );
}

#[test]
fn a_wrong_acknowledgement_of_a_chunk_ends_the_connection() {
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, Spoil); 5] = [
        ("another handle", |body| body[3] ^= 1),
        ("another sequence number", |body| body[4] ^= 1),
        ("an answer before the last chunk", |body| {
            body.extend([0x12, 0x60, 0, 0, 0, 0, 0, 0])
        }),
        ("another message", |body| body[1] = Code::CHUNK_RESPONSE.0),
        ("nothing behind an early error", |body| {
            body[2] = 1;
            body.truncate(6);
        }),
    ];
    for (what, spoil) in spoils {
        let (mut asking, answering) = small(Version::V1_2, 0x1200, 64);
        asking.goal = Goal::Identity;
        let mut pair = Pair::of(requester(asking), responder(answering));
        pair.connect();
        pair.requester_events.clear();
        pair.bend = Some(Box::new(move |body| {
            if body[1] == Code::CHUNK_SEND_ACK.0 {
                spoil(body)
            }
        }));
        pair.requester.open_session(pair.now).unwrap();
        let told = asked(&mut pair);
        assert!(matches!(told, Event::Failed(_)), "{what}: {told:?}");
    }
}

#[test]
fn a_responder_that_takes_its_time_over_chunks_or_what_is_in_them_is_waited_for() {
    let busy = |code| Delay {
        code,
        how: Wait::Busy(2),
    };
    let not_ready = |code| Delay {
        code,
        how: Wait::NotReady {
            exponent: 10,
            multiplier: 4,
        },
    };
    for delay in [
        busy(Code::CHUNK_SEND),
        busy(Code::CHUNK_GET),
        busy(Code::KEY_EXCHANGE),
        not_ready(Code::KEY_EXCHANGE),
        not_ready(Code::GET_MEASUREMENTS),
    ] {
        let (mut asking, mut answering) = small(Version::V1_2, 64, 64);
        answering.delays = vec![delay];
        asking.timing.retries = 200;
        let mut pair = pair_of(asking, answering);
        pair.requester.measure(pair.now, None).unwrap();
        assert!(matches!(asked(&mut pair), Event::Measurements(_)), "{delay:?}");
    }
}

/// Immunity: an attacker's length of 0 had a requester ask for ever.
#[test]
fn empty_or_growing_portions_of_a_log_end_the_connection() {
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, Spoil); 5] = [
        ("an empty portion", |body| {
            body[4..8].fill(0);
            body.truncate(12);
        }),
        ("a portion beyond what came", |body| body[5] = 0xff),
        ("a huge portion", |body| body[4..8].fill(0xff)),
        ("a huge remainder", |body| body[8..12].fill(0xff)),
        ("another remainder", |body| body[8] ^= 1),
    ];
    for (what, spoil) in spoils {
        let asking = RequesterConfig {
            versions: vec![Version::V1_3],
            transfer_size: 0x200,
            ..requester_config()
        };
        let mut pair = pair_of(asking, everything());
        let mut seen = 0;
        pair.bend = Some(Box::new(move |body| {
            seen += 1;
            if seen == 2 {
                spoil(body);
            }
        }));
        pair.requester.measurement_log(pair.now, None).unwrap();
        let told = asked(&mut pair);
        assert!(matches!(told, Event::Failed(_)), "{what}: {told:?}");
    }
}

#[test]
fn events_of_the_requesters_are_told_and_acknowledged() {
    let config = ResponderConfig {
        hears_events: true,
        ..everything()
    };
    let asking = RequesterConfig {
        versions: vec![Version::V1_3],
        events: Types::ALL,
        ..requester_config()
    };
    let mut pair = pair_of(asking, config);
    let session = pair.requester.session().unwrap();
    let mut told = Subscription::default();
    assert_eq!(
        pair.requester.tell_events(pair.now, session, &mut told),
        Ok(false)
    );
    told.set(Types::ALL);
    told.notify(Dmtf::CertificateChanged(4));
    assert_eq!(pair.requester.tell_events(pair.now, session, &mut told), Ok(true));
    assert_eq!(asked(&mut pair), Event::EventsTold);
    told.acknowledged();
    assert!(!told.is_pending());
    let heard = pair.responder_events.pop();
    assert!(
        matches!(heard, Some(ResponderEvent::Told { events, .. }) if events[0].what == What::Dmtf(Dmtf::CertificateChanged(4)))
    );
}

/// The wire formats are the same whichever way a message went.
#[test]
fn a_chunk_of_ours_is_what_others_read() {
    let chunk = Chunk {
        handle: 3,
        sequence: 1,
        last: true,
        large_size: None,
        part: b"the rest",
    };
    let message = chunk::Send {
        version: Version::V1_2,
        chunk,
    }
    .to_vec();
    assert_eq!(message[..12], [0x12, 0x85, 1, 3, 1, 0, 0, 0, 8, 0, 0, 0]);
    let context = Context::new(Version::V1_4);
    let message = [&[0x14, 0x06, 0, 3, 0, 0, 1, 0, 8, 0, 0, 0][..], b"the rest"].concat();
    let read = chunk::Response::decode_exact(&message, &context).unwrap();
    assert_eq!(read.chunk.sequence, 0x1_0000);
}

// What the responder asks and tells in its turn

/// Both ends know each other, and the responder may ask.
fn mutual_pair(version: Version) -> Pair {
    let usual = Identity::usual();
    let mut slots = [const { None }; 8];
    slots[0] = Some(Slot::new(usual.chain.clone(), usual.signer.clone()));
    let mut asking = RequesterConfig {
        versions: vec![version],
        identity: Some(Own {
            slots,
            ..Own::default()
        }),
        encapsulated: true,
        endpoint_info: Some(EndpointInfo {
            device_classes: classes(),
            signed: true,
        }),
        events: Types::of(&[EventType::CERTIFICATE_CHANGED]),
        ..requester_config()
    };
    asking.offer.requester_sign = vec![SignAlg::EcdsaP384];
    let mut answering = ResponderConfig {
        mutual: Some(Mutual::new(Trust::Pinned(vec![usual.root]))),
        encapsulated: true,
        hears_events: true,
        ..everything()
    };
    answering.offer.requester_sign = vec![SignAlg::EcdsaP384];
    pair_of(asking, answering)
}

/// Has the requester fetch what the responder asks, and answer.
fn fetch(pair: &mut Pair) {
    let session = pair.requester.session().unwrap();
    pair.requester.fetch_requests(pair.now, session).unwrap();
    pair.run();
}

#[test]
fn events_go_to_the_requester_when_it_fetches_them_and_once() {
    for version in [Version::V1_3, Version::V1_4] {
        let mut pair = mutual_pair(version);
        let session = pair.requester.session().unwrap();
        pair.requester.subscribe(pair.now, session, Types::ALL).unwrap();
        asked(&mut pair);
        pair.responder.notify(Dmtf::CertificateChanged(1));
        pair.responder.notify(Dmtf::MeasurementPreUpdate([3; 32]));
        fetch(&mut pair);
        let Event::Told { events, .. } = pair.requester_events.remove(0) else {
            panic!()
        };
        let told: Vec<_> = events
            .into_iter()
            .map(|event| (event.number, event.what))
            .collect();
        let wanted = [
            (1, What::Dmtf(Dmtf::CertificateChanged(1))),
            (2, What::Dmtf(Dmtf::MeasurementPreUpdate([3; 32]))),
        ];
        assert_eq!(told, wanted);
        assert_eq!(pair.responder.sessions_with_events(), []);
        pair.requester_events.clear();
        fetch(&mut pair);
        let nothing = Event::Refused {
            awaited: Code::ENCAPSULATED_REQUEST,
            code: ErrorCode::NO_PENDING_REQUESTS,
            data: 0,
        };
        assert_eq!(pair.requester_events, [nothing]);
    }
}

#[test]
fn more_events_than_there_is_room_for_are_told_as_lost() {
    let mut pair = mutual_pair(Version::V1_3);
    let session = pair.requester.session().unwrap();
    pair.requester.subscribe(pair.now, session, Types::ALL).unwrap();
    asked(&mut pair);
    (0..100).for_each(|_| pair.responder.notify(Dmtf::CertificateChanged(1)));
    let mut told = Vec::new();
    while !pair.responder.sessions_with_events().is_empty() {
        fetch(&mut pair);
        for event in pair.requester_events.drain(..) {
            if let Event::Told { events, .. } = event {
                told.extend(events);
            }
        }
    }
    let last = told.pop().unwrap();
    let acknowledged = told.len() as u32;
    assert_eq!(
        last.what,
        What::Dmtf(Dmtf::Lost {
            acknowledged,
            last: 100
        })
    );
    assert_eq!(last.number, 101);
}

#[test]
fn what_a_requester_is_is_told_and_its_signature_checked() {
    for version in [Version::V1_3, Version::V1_4] {
        let mut pair = mutual_pair(version);
        let session = pair.requester.session().unwrap();
        for nonce in [None, Some([9; 32])] {
            pair.responder.ask_endpoint_info(session, nonce).unwrap();
            fetch(&mut pair);
            let wanted = ResponderEvent::RequesterEndpointInfo {
                session,
                info: classes(),
                signed: nonce.is_some(),
            };
            assert_eq!(
                pair.responder_events.pop(),
                Some(wanted),
                "{:?}",
                pair.requester_events
            );
        }
    }
    // Who has not shown who it is cannot sign.
    let mut anonymous = pair(Version::V1_3);
    let session = anonymous.requester.session().unwrap();
    let refused = anonymous.responder.ask_endpoint_info(session, Some([9; 32]));
    assert_eq!(refused, Err(Misuse::NoIdentity));
}

/// The answer of the requester's to a request of the responder's.
fn answer(pair: &mut Pair, request: &[u8]) -> Vec<u8> {
    let session = pair.requester.session().unwrap();
    pair.responder.ask(session, request).unwrap();
    fetch(pair);
    match pair.responder_events.pop() {
        Some(ResponderEvent::Answered { response, .. }) => response,
        other => panic!("{other:?} {:?}", pair.requester_events),
    }
}

#[test]
fn a_responder_subscribes_to_the_requesters_events() {
    let version = Version::V1_3;
    let mut pair = mutual_pair(version);
    let session = pair.requester.session().unwrap();
    let supported = answer(&mut pair, &event_types::Request { version }.to_vec());
    let response = event_types::Response::decode_exact(&supported, &Context::new(version)).unwrap();
    let types = Types::offered(response.count, response.list).unwrap();
    assert_eq!(
        types,
        Types::of(&[EventType::EVENT_LOST, EventType::CERTIFICATE_CHANGED])
    );
    let (count, list) = types.to_list();
    let list = &list;
    let ack = answer(&mut pair, &subscribe::Request { version, count, list }.to_vec());
    assert_eq!(ack, [0x13, Code::SUBSCRIBE_EVENT_TYPES_ACK.0, 0, 0]);
    assert!(pair.requester_events.contains(&Event::Wanted { session, types }));
    let (count, list) = Types::ALL.to_list();
    let list = &list;
    let refused = answer(&mut pair, &subscribe::Request { version, count, list }.to_vec());
    assert_eq!(refused[1..3], [Code::ERROR.0, ErrorCode::INVALID_REQUEST.0]);
}

#[test]
fn a_requester_refuses_what_it_has_not_and_what_is_malformed() {
    let version = Version::V1_3;
    let mut pair = mutual_pair(version);
    let ask = |subject, signed| {
        endpoint_info::Request {
            version,
            subject: Subject(subject),
            signed,
        }
        .to_vec()
    };
    let signed = |slot| Some(Signed { nonce: [1; 32], slot });
    for request in [
        ask(2, None),
        ask(1, signed(3)),
        ask(1, signed(0x0f)),
        vec![0x13, 0x87, 1, 0],
        vec![0x13, 0xe2, 0, 0, 1],
    ] {
        let refused = answer(&mut pair, &request);
        assert_eq!(
            refused[1..3],
            [Code::ERROR.0, ErrorCode::INVALID_REQUEST.0],
            "{request:02x?}"
        );
    }
    let usual = RequesterConfig {
        versions: vec![version],
        encapsulated: true,
        ..requester_config()
    };
    let mut bare = pair_of(
        usual,
        ResponderConfig {
            encapsulated: true,
            ..everything()
        },
    );
    for request in [ask(1, None), vec![0x13, 0xe2, 0, 0], vec![0x13, 0xf0, 0, 0]] {
        let refused = answer(&mut bare, &request);
        assert_eq!(
            refused[1..],
            [Code::ERROR.0, ErrorCode::UNSUPPORTED_REQUEST.0, request[1]]
        );
    }
}
