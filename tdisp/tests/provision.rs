//! What an owner puts into a device, and what a device tells of itself: each request of that, right and wrong, to a responder.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;

use harness::{Identity, by_hand::ByHand, responder_config};
use std::sync::{Arc, Mutex};
use tdisp::{
    crypto::{HashAlg, Provider, Ring, RingSigner, SignAlg},
    spdm::{
        ResponderConfig,
        events::{Types, What},
        msg::{
            Code, Context, Payload, Version,
            capabilities::{Flags, Sizes},
            certificate::{self, Chain},
            csr, endpoint_info,
            endpoint_info::{DeviceClass, DeviceClasses, Signed, Subject},
            error::ErrorCode,
            event_types::{self, EventType, Group, Groups},
            key_pair_info::{self, Abilities, Usage, key_algorithm},
            mel,
            send_event::{self, Dmtf},
            set_certificate::{self, Model},
            set_key_pair_info::{self, Desired, Operation},
            subscribe,
        },
        pkcs10::common_name,
        responder::{
            ChangesKeyPairs, EndpointInfo, Event, KeyCsr, KeyPair, KeyPairs, MultiKey, NotDone, Provisioning,
            Store,
        },
        signing,
        transcript::Transcript,
    },
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

const V: Version = Version::V1_3;

const SIZES: Sizes = Sizes {
    transfer: 0x1200,
    message: 0x1200,
};

/// A device's storage, which remembers what it was told.
#[derive(Default)]
struct Shelf {
    written: Mutex<Vec<(u8, Option<Vec<u8>>)>>,
    fails: Option<NotDone>,
}

impl Store for Shelf {
    fn write(&self, slot: u8, chain: Option<&[u8]>, _: Model, _: Option<u8>) -> Result<(), NotDone> {
        if let Some(error) = self.fails {
            return Err(error);
        }
        self.written
            .lock()
            .unwrap()
            .push((slot, chain.map(<[u8]>::to_vec)));
        Ok(())
    }
}

/// Changes key pairs as it is told.
struct Obedient;

impl ChangesKeyPairs for Obedient {
    fn change(&self, _: u8, operation: Operation, wanted: &KeyPair) -> Result<KeyPair, NotDone> {
        let mut pair = wanted.clone();
        if operation == Operation::GENERATE {
            pair.public_key_info = b"new".to_vec();
        }
        Ok(pair)
    }
}

fn maker() -> Arc<KeyCsr<RingSigner>> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let signer = RingSigner::from_pkcs8(SignAlg::EcdsaP384, &pair.serialize_der()).unwrap();
    Arc::new(KeyCsr {
        public_key: signer.public_key().to_vec(),
        name: common_name("a device"),
        signer,
    })
}

fn pairs() -> KeyPairs {
    let pair = |slots, abilities| KeyPair {
        abilities,
        usages: Usage::CHALLENGE | Usage::MEASUREMENTS,
        usage: Usage::CHALLENGE,
        algorithms: key_algorithm::ECC_P256 | key_algorithm::ECC_P384,
        algorithm: if slots != 0 { key_algorithm::ECC_P384 } else { 0 },
        pqc_algorithms: 1,
        pqc_algorithm: 0,
        slots,
        public_key_info: b"known".to_vec(),
    };
    KeyPairs {
        pairs: vec![
            pair(1, Abilities(0x3f)),
            pair(0, Abilities(0x3f)),
            pair(0, Abilities(0)),
        ],
        changer: Some(Arc::new(Obedient)),
    }
}

fn classes() -> Vec<u8> {
    let class = DeviceClass {
        registry: 3,
        vendor: &[0x36, 0x1b],
        subordinates: vec![&[7]],
    };
    let mut info = Vec::new();
    DeviceClasses {
        identifiers: vec![class],
    }
    .encode(&mut info);
    info
}

/// A responder that has everything.
fn everything(shelf: &Arc<Shelf>) -> ResponderConfig {
    ResponderConfig {
        versions: vec![Version::V1_2, Version::V1_3, Version::V1_4],
        provisioning: Provisioning {
            csr: Some(maker()),
            store: Some(shelf.clone()),
            ..Provisioning::default()
        },
        key_pairs: Some(pairs()),
        mel: Some((0..100).collect()),
        endpoint_info: Some(EndpointInfo {
            device_classes: classes(),
            signed: true,
        }),
        events: Types::of(&[EventType::CERTIFICATE_CHANGED, EventType::MEASUREMENT_CHANGED]),
        hears_events: true,
        ..responder_config()
    }
}

fn live_with(version: Version, config: ResponderConfig) -> ByHand {
    ByHand::live_in(
        version,
        config,
        if version >= V { Flags::EVENT } else { Flags(0) },
        SIZES,
    )
}

fn live(version: Version) -> ByHand {
    live_with(version, everything(&Arc::default()))
}

/// The answer to a message in the session.
fn ask<'m>(hand: &mut ByHand, message: &impl Payload<'m>) -> Vec<u8> {
    hand.secured(&message.to_vec()).unwrap()
}

fn error_of(answer: &[u8]) -> Option<(ErrorCode, u8)> {
    (answer[1] == Code::ERROR.0).then(|| (ErrorCode(answer[2]), answer[3]))
}

const INVALID: Option<(ErrorCode, u8)> = Some((ErrorCode::INVALID_REQUEST, 0));
const UNEXPECTED: Option<(ErrorCode, u8)> = Some((ErrorCode::UNEXPECTED_REQUEST, 0));

fn get_csr(version: Version) -> csr::Request<'static> {
    csr::Request {
        version,
        key_pair: 0,
        model: 0,
        tag: 0,
        overwrite: false,
        info: &[],
        opaque: &[],
    }
}

// GET_CSR

#[test]
fn a_device_signs_a_request_for_a_certificate() {
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        let mut hand = live(version);
        let answer = ask(&mut hand, &get_csr(version));
        let response = csr::Response::decode_exact(&answer, &Context::new(version)).unwrap();
        let (rest, request) = X509CertificationRequest::from_der(response.csr).unwrap();
        assert!(rest.is_empty());
        request.verify_signature().unwrap();
        assert_eq!(
            request.certification_request_info.subject.to_string(),
            "CN=a device"
        );
    }
}

/// Immunity: a subject was converted before its length was known to fit.
#[test]
fn requester_info_that_is_no_der_is_refused_whatever_its_lengths() {
    let mut hand = live(V);
    let good: &[u8] = &[0x30, 11, 2, 1, 0, 0x30, 0, 0x30, 4, 0x30, 0, 3, 0];
    assert_eq!(
        error_of(&ask(
            &mut hand,
            &csr::Request {
                info: good,
                ..get_csr(V)
            }
        )),
        None
    );
    for size in 1..good.len() {
        let request = csr::Request {
            info: &good[..size],
            ..get_csr(V)
        };
        assert_eq!(error_of(&ask(&mut hand, &request)), INVALID, "{size} bytes");
    }
    for (at, length) in [
        (1, 0xff),
        (1, 0x84),
        (3, 0xff),
        (6, 0x7f),
        (6, 0x84),
        (8, 0xff),
        (10, 1),
    ] {
        let mut info = good.to_vec();
        info[at] = length;
        let request = csr::Request {
            info: &info,
            ..get_csr(V)
        };
        assert_eq!(
            error_of(&ask(&mut hand, &request)),
            INVALID,
            "length {length:#x} at {at}"
        );
    }
    for info in [&[0][..], &[0x30], &[0x30, 0x80], &[0xff; 1000]] {
        assert_eq!(
            error_of(&ask(&mut hand, &csr::Request { info, ..get_csr(V) })),
            INVALID
        );
    }
}

#[test]
fn opaque_data_of_a_certificate_request_is_in_the_agreed_format() {
    let mut hand = live(V);
    let element = [1, 0, 0, 0, 0, 0, 4, 0, 1, 2, 3, 4];
    assert_eq!(
        error_of(&ask(
            &mut hand,
            &csr::Request {
                opaque: &element,
                ..get_csr(V)
            }
        )),
        None
    );
    for opaque in [&element[..11], &[2, 0, 0, 0], &[1]] {
        assert_eq!(
            error_of(&ask(&mut hand, &csr::Request { opaque, ..get_csr(V) })),
            INVALID
        );
    }
}

#[test]
fn a_key_pair_and_a_model_are_named_with_several_keys_and_not_with_one() {
    let mut hand = live(V);
    for (key_pair, model) in [(1, 0), (0, 1), (1, 1)] {
        let request = csr::Request {
            key_pair,
            model,
            ..get_csr(V)
        };
        assert_eq!(error_of(&ask(&mut hand, &request)), INVALID, "{key_pair} {model}");
    }
    let config = ResponderConfig {
        multi_key: MultiKey::Only,
        ..everything(&Arc::default())
    };
    let mut several = ByHand::start(config);
    several.version = V;
    several.context = Context::new(V);
    several.offer.other_params |= tdisp::spdm::algorithms::MULTI_KEY;
    let wrong = |hand: &mut ByHand, key_pair, model| {
        let answer = hand
            .clear(
                &csr::Request {
                    key_pair,
                    model,
                    ..get_csr(V)
                }
                .to_vec(),
            )
            .unwrap();
        error_of(&answer)
    };
    several.say_vca();
    several.context.multi_key = true;
    assert_eq!(wrong(&mut several, 1, 1), None);
    for (key_pair, model) in [(0, 0), (1, 0), (0, 1), (1, 4), (1, 7)] {
        assert_eq!(
            wrong(&mut several, key_pair, model),
            INVALID,
            "{key_pair} {model}"
        );
    }
}

#[test]
fn a_request_that_needs_a_reset_waits_for_it_under_a_tag() {
    let mut config = everything(&Arc::default());
    config.provisioning.after_reset = true;
    let mut hand = live_with(V, config);
    let with_tag = |tag| csr::Request { tag, ..get_csr(V) };
    let required = |tag| Some((ErrorCode::RESET_REQUIRED, tag));
    assert_eq!(
        error_of(&ask(&mut hand, &with_tag(1))),
        INVALID,
        "no such request"
    );
    for tag in 1..=7 {
        assert_eq!(error_of(&ask(&mut hand, &get_csr(V))), required(tag));
    }
    assert_eq!(
        error_of(&ask(&mut hand, &get_csr(V))),
        Some((ErrorCode::BUSY, 0)),
        "all tags are taken"
    );
    assert_eq!(
        error_of(&ask(&mut hand, &with_tag(3))),
        required(3),
        "there was no reset"
    );
    let both = csr::Request {
        overwrite: true,
        ..with_tag(3)
    };
    assert_eq!(error_of(&ask(&mut hand, &both)), INVALID);
    hand.responder.reset();
    hand.say_vca();
    let mut clear = |message: &csr::Request<'_>| hand.clear(&message.to_vec()).unwrap();
    assert_eq!(clear(&with_tag(3))[1], Code::CSR.0);
    assert_eq!(error_of(&clear(&with_tag(3))), INVALID, "it was fetched");
    assert_eq!(clear(&with_tag(7))[1], Code::CSR.0);
    assert_eq!(
        error_of(&clear(&csr::Request {
            overwrite: true,
            ..get_csr(V)
        })),
        required(1)
    );
    assert_eq!(error_of(&clear(&with_tag(2))), INVALID, "it was overwritten");
}

#[test]
fn a_new_connection_is_no_reset() {
    let mut config = everything(&Arc::default());
    config.provisioning.after_reset = true;
    let mut hand = live_with(V, config);
    assert_eq!(
        error_of(&ask(&mut hand, &get_csr(V))),
        Some((ErrorCode::RESET_REQUIRED, 1))
    );
    hand.say_vca();
    let answer = hand
        .clear(&csr::Request { tag: 1, ..get_csr(V) }.to_vec())
        .unwrap();
    assert_eq!(error_of(&answer), Some((ErrorCode::RESET_REQUIRED, 1)));
}

#[test]
fn a_request_of_1_2_that_needs_a_reset_is_there_after_it() {
    let mut config = everything(&Arc::default());
    config.provisioning.after_reset = true;
    let mut hand = live_with(Version::V1_2, config);
    for _ in 0..2 {
        let answer = ask(&mut hand, &get_csr(Version::V1_2));
        assert_eq!(error_of(&answer), Some((ErrorCode::RESET_REQUIRED, 0)));
    }
    hand.responder.reset();
    hand.say_vca();
    let answer = hand.clear(&get_csr(Version::V1_2).to_vec()).unwrap();
    assert_eq!(answer[1], Code::CSR.0);
}

#[test]
fn a_tag_where_no_reset_is_needed_is_refused() {
    let mut hand = live(V);
    assert_eq!(
        error_of(&ask(&mut hand, &csr::Request { tag: 1, ..get_csr(V) })),
        INVALID
    );
}

// SET_CERTIFICATE

fn set(version: Version, slot: u8, chain: Option<&[u8]>) -> set_certificate::Request<'_> {
    set_certificate::Request {
        version,
        slot,
        model: Model::NONE,
        key_pair: 0,
        chain,
    }
}

/// The usual device's chain, as a version has it.
fn chain() -> Vec<u8> {
    Identity::usual().chain.clone()
}

/// The digest that DIGESTS tells of a slot.
fn slot_mask(hand: &mut ByHand) -> u8 {
    let answer = hand.secured(&[hand.version.0, 0x81, 0, 0]).unwrap();
    answer[3]
}

#[test]
fn a_chain_of_the_devices_key_goes_into_a_slot_and_out_again() {
    let shelf = Arc::<Shelf>::default();
    let mut hand = live_with(V, everything(&shelf));
    assert_eq!(slot_mask(&mut hand), 1);
    let answer = ask(&mut hand, &set(V, 3, Some(&chain())));
    assert_eq!(answer, [V.0, Code::SET_CERTIFICATE_RSP.0, 3, 0]);
    assert_eq!(slot_mask(&mut hand), 0b1001);
    assert_eq!(ask(&mut hand, &set(V, 3, None))[1], Code::SET_CERTIFICATE_RSP.0);
    assert_eq!(slot_mask(&mut hand), 1);
    assert_eq!(*shelf.written.lock().unwrap(), [(3, Some(chain())), (3, None)]);
}

#[test]
fn slot_0_is_written_in_a_trusted_environment_and_others_in_a_session() {
    let shelf = Arc::<Shelf>::default();
    let mut hand = live_with(V, everything(&shelf));
    assert_eq!(error_of(&ask(&mut hand, &set(V, 0, Some(&chain())))), UNEXPECTED);
    assert_eq!(error_of(&ask(&mut hand, &set(V, 0, None))), UNEXPECTED);
    let mut clear = |slot| error_of(&hand.clear(&set(V, slot, Some(&chain())).to_vec()).unwrap());
    assert_eq!((clear(0), clear(1)), (UNEXPECTED, UNEXPECTED));
    let mut config = everything(&shelf);
    config.provisioning.trusted_environment = true;
    let mut hand = ByHand::agreed_in(V, config, Flags(0), SIZES);
    let mut clear = |slot| error_of(&hand.clear(&set(V, slot, Some(&chain())).to_vec()).unwrap());
    assert_eq!((clear(0), clear(1)), (None, None));
}

#[test]
fn a_chain_that_does_not_hang_together_or_is_of_another_key_is_refused() {
    let good = chain();
    let mut hand = live(V);
    let mut refused = |what: &str, chain: &[u8]| {
        let answer = ask(&mut hand, &set(V, 1, Some(chain)));
        assert_eq!(error_of(&answer), INVALID, "{what}");
    };
    refused("another device's", &Identity::new("other").chain);
    let parts = Chain::decode(&good, V, 48).unwrap();
    let with = |root_hash: &[u8], certificates: &[u8]| {
        let mut chain = Vec::new();
        Chain {
            root_hash,
            certificates,
        }
        .encode(V, &mut chain);
        chain
    };
    refused("another root's hash", &with(&[7; 48], parts.certificates));
    let second = parts.certificates.len() / 3;
    refused(
        "half a certificate",
        &with(parts.root_hash, &parts.certificates[..second - 1]),
    );
    let mut broken = parts.certificates.to_vec();
    *broken.last_mut().unwrap() ^= 1;
    refused("a broken signature", &with(parts.root_hash, &broken));
    refused("no certificates", &[&[52, 0, 0, 0][..], &[1; 48]].concat());
    refused("not even a hash", &[8, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(slot_mask(&mut hand), 1);
    assert_eq!(error_of(&ask(&mut hand, &set(V, 1, Some(&good)))), None);
}

#[test]
fn a_key_pair_or_a_model_with_one_key_is_refused_in_setting_and_in_erasing() {
    let mut hand = live(V);
    let good = chain();
    for (model, key_pair) in [(1, 0), (0, 1), (1, 1), (7, 0)] {
        for chain in [Some(&good[..]), None] {
            let request = set_certificate::Request {
                model: Model(model),
                key_pair,
                ..set(V, 1, chain)
            };
            assert_eq!(error_of(&ask(&mut hand, &request)), INVALID, "{model} {key_pair}");
        }
    }
}

#[test]
fn a_chain_counts_after_a_reset_where_one_is_needed() {
    let mut config = everything(&Arc::default());
    config.provisioning.after_reset = true;
    let mut hand = live_with(V, config);
    let answer = ask(&mut hand, &set(V, 2, Some(&chain())));
    assert_eq!(error_of(&answer), Some((ErrorCode::RESET_REQUIRED, 0)));
    assert_eq!(slot_mask(&mut hand), 1);
    hand.responder.reset();
    hand.say_vca();
    assert_eq!(hand.clear(&[V.0, 0x81, 0, 0]).unwrap()[3], 0b101);
}

#[test]
fn a_storage_that_fails_changes_nothing_and_says_so() {
    for (fails, code) in [
        (NotDone::Busy, ErrorCode::BUSY),
        (NotDone::Refused, ErrorCode::INVALID_REQUEST),
        (NotDone::Failed, ErrorCode::OPERATION_FAILED),
    ] {
        let shelf = Arc::new(Shelf {
            fails: Some(fails),
            ..Shelf::default()
        });
        let mut hand = live_with(V, everything(&shelf));
        let answer = ask(&mut hand, &set(V, 1, Some(&chain())));
        assert_eq!(error_of(&answer), Some((code, 0)));
        assert_eq!(slot_mask(&mut hand), 1);
    }
}

#[test]
fn a_chain_that_was_set_can_be_fetched() {
    let mut hand = live(V);
    ask(&mut hand, &set(V, 5, Some(&chain())));
    let request = certificate::Request {
        version: V,
        slot: 5,
        size_asked: false,
        large: false,
        offset: 0,
        length: 0xffff,
    };
    let answer = ask(&mut hand, &request);
    let response = certificate::Response::decode_exact(&answer, &Context::new(V)).unwrap();
    assert_eq!(response.portion, chain());
}

// Key pairs

fn key_pair(hand: &mut ByHand, id: u8) -> Result<KeyPair, Option<(ErrorCode, u8)>> {
    let version = hand.version;
    let answer = ask(
        hand,
        &key_pair_info::Request {
            version,
            key_pair: id,
        },
    );
    let Ok(info) = key_pair_info::Response::decode_exact(&answer, &Context::new(version)) else {
        return Err(error_of(&answer));
    };
    assert_eq!((info.total, info.key_pair), (3, id));
    Ok(KeyPair {
        abilities: info.abilities,
        usages: info.usages,
        usage: info.usage,
        algorithms: info.algorithms,
        algorithm: info.algorithm,
        pqc_algorithms: key_pair_info::mask(info.pqc_algorithms).unwrap(),
        pqc_algorithm: key_pair_info::mask(info.pqc_algorithm).unwrap(),
        slots: info.slots,
        public_key_info: info.public_key_info.to_vec(),
    })
}

#[test]
fn key_pairs_are_told_by_their_ids_from_1_on() {
    let mut hand = live(Version::V1_4);
    let all = pairs().pairs;
    for (id, pair) in (1..).zip(&all) {
        assert_eq!(key_pair(&mut hand, id).as_ref(), Ok(pair));
    }
    for id in [0, 4, 255] {
        assert_eq!(key_pair(&mut hand, id), Err(INVALID));
    }
    let mut config = everything(&Arc::default());
    config.key_pairs.as_mut().unwrap().changer = None;
    let mut hand = live_with(V, config);
    assert_eq!(
        key_pair(&mut hand, 1).unwrap().abilities,
        Abilities(0),
        "nobody changes them"
    );
    let request = set_key_pair_info::Request {
        version: V,
        operation: Operation::ERASE,
        key_pair: 2,
        desired: None,
    };
    let unsupported = Some((ErrorCode::UNSUPPORTED_REQUEST, Code::SET_KEY_PAIR_INFO.0));
    assert_eq!(error_of(&ask(&mut hand, &request)), unsupported);
}

fn change(hand: &mut ByHand, id: u8, operation: Operation, desired: Desired<'_>) -> Option<(ErrorCode, u8)> {
    let request = set_key_pair_info::Request {
        version: hand.version,
        operation,
        key_pair: id,
        desired: (operation != Operation::ERASE).then_some(desired),
    };
    error_of(&ask(hand, &request))
}

#[test]
fn a_key_pair_is_made_used_shared_and_erased() {
    let mut hand = live(Version::V1_4);
    let desired = Desired {
        algorithm: key_algorithm::ECC_P256,
        slots: 0b110,
        usage: Usage::MEASUREMENTS,
        pqc_algorithm: &[],
    };
    assert_eq!(change(&mut hand, 2, Operation::GENERATE, desired), None);
    let made = key_pair(&mut hand, 2).unwrap();
    assert_eq!(
        (made.algorithm, made.slots, made.usage),
        (key_algorithm::ECC_P256, 0b110, Usage::MEASUREMENTS)
    );
    assert_eq!(made.public_key_info, b"new");
    let failed = Some((ErrorCode::OPERATION_FAILED, 0));
    assert_eq!(
        change(&mut hand, 2, Operation::ERASE, Desired::default()),
        failed,
        "slots have it"
    );
    assert_eq!(
        change(&mut hand, 2, Operation::GENERATE, desired),
        failed,
        "slots have it"
    );
    assert_eq!(
        change(&mut hand, 1, Operation::ERASE, Desired::default()),
        failed,
        "slots have it"
    );
}

#[test]
fn what_a_key_pair_cannot_be_is_refused_before_the_device_is_asked() {
    let nothing = Desired::default();
    let cases = [
        ("no such pair", 0, Operation::CHANGE, nothing),
        ("no such pair", 4, Operation::CHANGE, nothing),
        ("no such operation", 2, Operation(3), nothing),
        (
            "another usage",
            2,
            Operation::CHANGE,
            Desired {
                usage: Usage::KEY_EXCHANGE,
                ..nothing
            },
        ),
        (
            "another algorithm",
            2,
            Operation::CHANGE,
            Desired {
                algorithm: key_algorithm::ED25519,
                ..nothing
            },
        ),
        (
            "two algorithms",
            2,
            Operation::CHANGE,
            Desired {
                algorithm: 0x18,
                ..nothing
            },
        ),
        (
            "an algorithm and a post-quantum one",
            2,
            Operation::CHANGE,
            Desired {
                algorithm: 0x10,
                pqc_algorithm: &[1],
                ..nothing
            },
        ),
        (
            "another post-quantum algorithm",
            2,
            Operation::CHANGE,
            Desired {
                pqc_algorithm: &[2],
                ..nothing
            },
        ),
        (
            "a post-quantum algorithm that nobody has",
            2,
            Operation::CHANGE,
            Desired {
                pqc_algorithm: &[0, 0, 0, 0, 1],
                ..nothing
            },
        ),
        (
            "another algorithm for a key that is there",
            1,
            Operation::CHANGE,
            Desired {
                algorithm: 8,
                ..nothing
            },
        ),
        (
            "a usage that is not to be changed",
            3,
            Operation::CHANGE,
            Desired {
                usage: Usage::MEASUREMENTS,
                ..nothing
            },
        ),
        (
            "an algorithm that is not to be changed",
            3,
            Operation::CHANGE,
            Desired {
                algorithm: 8,
                ..nothing
            },
        ),
        (
            "slots that are not to be changed",
            3,
            Operation::CHANGE,
            Desired { slots: 2, ..nothing },
        ),
        ("what is not to be made", 3, Operation::GENERATE, nothing),
        ("what is not to be erased", 3, Operation::ERASE, nothing),
    ];
    let mut hand = live(Version::V1_4);
    for (what, id, operation, desired) in cases {
        assert_eq!(change(&mut hand, id, operation, desired), INVALID, "{what}");
    }
    let failed = Some((ErrorCode::OPERATION_FAILED, 0));
    assert_eq!(
        change(&mut hand, 2, Operation::GENERATE, nothing),
        failed,
        "a key of no algorithm"
    );
    let taken = Desired {
        algorithm: key_algorithm::ECC_P384,
        slots: 1,
        ..nothing
    };
    assert_eq!(
        change(&mut hand, 2, Operation::GENERATE, taken),
        failed,
        "the slot has one of that algorithm"
    );
    for (id, pair) in (1..).zip(pairs().pairs) {
        assert_eq!(key_pair(&mut hand, id), Ok(pair), "nothing has changed");
    }
}

// MEASUREMENT_EXTENSION_LOG

/// A portion and what remains, or the error that came instead.
type LogPortion = Result<(Vec<u8>, u32), Option<(ErrorCode, u8)>>;

fn log(hand: &mut ByHand, offset: u32, length: u32) -> LogPortion {
    let answer = ask(
        hand,
        &mel::Request {
            version: V,
            offset,
            length,
        },
    );
    match mel::Response::decode_exact(&answer, &Context::new(V)) {
        Ok(response) => Ok((response.portion.to_vec(), response.remainder)),
        Err(_) => Err(error_of(&answer)),
    }
}

/// Immunity: an offset and a length of 32 bits each were added in 32 bits.
#[test]
fn log_offsets_and_lengths_at_their_ends_give_a_portion_or_an_error() {
    let mut hand = live(V);
    let whole: Vec<u8> = (0..100).collect();
    assert_eq!(log(&mut hand, 0, u32::MAX), Ok((whole.clone(), 0)));
    assert_eq!(log(&mut hand, 10, 20), Ok((whole[10..30].to_vec(), 70)));
    assert_eq!(log(&mut hand, 99, u32::MAX), Ok((vec![99], 0)));
    for (offset, length) in [
        (0, 0),
        (100, 1),
        (101, 1),
        (0xffff, 1),
        (0x1_0000, 0xffff),
        (0x7fff_ffff, 0x8000_0000),
        (u32::MAX - 9, 20),
        (u32::MAX, 1),
        (u32::MAX, u32::MAX),
    ] {
        assert_eq!(
            log(&mut hand, offset, length),
            Err(INVALID),
            "{offset:#x} {length:#x}"
        );
    }
    for (offset, length, size) in [
        (1, u32::MAX, 99),
        (50, u32::MAX - 49, 50),
        (0, 0x1_0000, 100),
        (0, 0xffff, 100),
    ] {
        assert_eq!(log(&mut hand, offset, length).unwrap().0.len(), size);
    }
}

#[test]
fn a_log_is_told_to_who_has_agreed_on_its_format() {
    let mut hand = ByHand::start(everything(&Arc::default()));
    hand.version = V;
    hand.context = Context::new(V);
    hand.say_vca();
    let answer = hand
        .clear(
            &mel::Request {
                version: V,
                offset: 0,
                length: 1,
            }
            .to_vec(),
        )
        .unwrap();
    assert_eq!(error_of(&answer), UNEXPECTED);
}

// ENDPOINT_INFO

fn endpoint_info(hand: &mut ByHand, signed: Option<Signed>) -> (Vec<u8>, Vec<u8>) {
    let request = endpoint_info::Request {
        version: V,
        subject: Subject::DEVICE_CLASS,
        signed,
    };
    let answer = ask(hand, &request);
    (request.to_vec(), answer)
}

#[test]
fn endpoint_info_is_told_and_signed_over_what_was_agreed_on_and_both_messages() {
    let mut hand = live(V);
    let (_, answer) = endpoint_info(&mut hand, None);
    let plain = endpoint_info::Response::decode_exact(&answer, &Context::new(V)).unwrap();
    assert_eq!((plain.info, plain.signature), (&classes()[..], None));

    let (request, answer) = endpoint_info(
        &mut hand,
        Some(Signed {
            nonce: [3; 32],
            slot: 0,
        }),
    );
    let context = Context {
        signature_asked: true,
        ..hand.context
    };
    let signed = endpoint_info::Response::decode_exact(&answer, &context).unwrap();
    assert_eq!(signed.info, classes());
    let mut il1 = Transcript::new(&Ring, HashAlg::Sha384, V);
    [hand.vca(), &request, &answer[..answer.len() - 96]]
        .iter()
        .for_each(|part| il1.add(part));
    let what = signing::message(V, signing::Context::EndpointInfo, &il1);
    let key = Identity::usual().signer.public_key();
    Ring.verify(SignAlg::EcdsaP384, key, &what, signed.signature.unwrap())
        .unwrap();
}

#[test]
fn endpoint_info_of_another_subject_or_slot_is_refused() {
    let mut hand = live(V);
    for subject in [0, 2, 255] {
        let request = endpoint_info::Request {
            version: V,
            subject: Subject(subject),
            signed: None,
        };
        assert_eq!(error_of(&ask(&mut hand, &request)), INVALID, "{subject}");
    }
    for slot in 1..16 {
        let (_, answer) = endpoint_info(&mut hand, Some(Signed { nonce: [3; 32], slot }));
        assert_eq!(error_of(&answer), INVALID, "slot {slot}");
    }
    let mut config = everything(&Arc::default());
    config.endpoint_info.as_mut().unwrap().signed = false;
    let mut hand = live_with(V, config);
    let (_, answer) = endpoint_info(
        &mut hand,
        Some(Signed {
            nonce: [3; 32],
            slot: 0,
        }),
    );
    assert_eq!(
        error_of(&answer),
        Some((ErrorCode::UNSUPPORTED_REQUEST, Code::GET_ENDPOINT_INFO.0))
    );
}

// Events

#[test]
fn event_types_are_told_in_a_session_and_lost_events_are_among_them() {
    let mut hand = live(V);
    let answer = ask(&mut hand, &event_types::Request { version: V });
    let response = event_types::Response::decode_exact(&answer, &Context::new(V)).unwrap();
    let types = Types::offered(response.count, response.list).unwrap();
    let wanted = [
        EventType::EVENT_LOST,
        EventType::CERTIFICATE_CHANGED,
        EventType::MEASUREMENT_CHANGED,
    ];
    assert_eq!(types, Types::of(&wanted));
    for message in [vec![V.0, 0xe2, 0, 0], vec![V.0, 0xf0, 0, 0]] {
        let answer = hand.clear(&message).unwrap();
        assert_eq!(error_of(&answer), Some((ErrorCode::SESSION_REQUIRED, 0)));
    }
}

fn subscribe_to(hand: &mut ByHand, groups: &[Group<'_>]) -> Option<(ErrorCode, u8)> {
    let groups = Groups {
        groups: groups.to_vec(),
    };
    let mut list = Vec::new();
    groups.encode(&mut list);
    error_of(&ask(
        hand,
        &subscribe::Request {
            version: V,
            count: groups.count(),
            list: &list,
        },
    ))
}

#[test]
fn a_session_is_told_of_what_it_subscribed_to() {
    let mut hand = live(V);
    hand.responder.notify(Dmtf::CertificateChanged(1));
    assert_eq!(hand.responder.sessions_with_events(), []);
    let certificates = Group::dmtf(&[EventType::CERTIFICATE_CHANGED]);
    assert_eq!(subscribe_to(&mut hand, &[certificates]), None);
    hand.responder.notify(Dmtf::MeasurementChanged([0; 32]));
    assert_eq!(hand.responder.sessions_with_events(), []);
    let id = hand.session.as_ref().unwrap().id;
    ask(&mut hand, &set(V, 1, Some(&chain())));
    assert_eq!(
        hand.responder.sessions_with_events(),
        [id],
        "a certificate has changed"
    );
    assert_eq!(subscribe_to(&mut hand, &[]), None);
    assert_eq!(hand.responder.sessions_with_events(), []);
    for wrong in [EventType::MEASUREMENT_PRE_UPDATE, EventType(9)] {
        assert_eq!(subscribe_to(&mut hand, &[Group::dmtf(&[wrong])]), INVALID);
    }
}

#[test]
fn a_session_that_outlives_a_change_of_measurements_is_told_of_it() {
    let mut hand = ByHand::agreed_in(V, everything(&Arc::default()), Flags::EVENT, SIZES);
    hand.policy = 1;
    hand.key_exchange(7).unwrap();
    hand.finish();
    let id = hand.session.as_ref().unwrap().id;
    let measurements = Group::dmtf(&[EventType::MEASUREMENT_CHANGED]);
    assert_eq!(subscribe_to(&mut hand, &[measurements]), None);
    let mut now = responder_config().measurements;
    hand.responder.set_measurements(now.clone());
    assert_eq!(hand.responder.sessions_with_events(), [], "nothing has changed");
    now[1].value[0] ^= 1;
    hand.responder.set_measurements(now);
    assert_eq!(hand.responder.sessions_with_events(), [id]);
}

#[test]
fn the_requesters_events_are_told_in_order_or_refused() {
    let mut hand = live(V);
    let event = |number| send_event::Event {
        number,
        registry: 0,
        vendor: &[],
        kind: 4,
        detail: &[2],
    };
    let say = |hand: &mut ByHand, numbers: &[u32]| {
        let events = numbers.iter().map(|number| event(*number)).collect();
        ask(hand, &send_event::Request { version: V, events })
    };
    assert_eq!(say(&mut hand, &[2, 1])[1], Code::EVENT_ACK.0);
    let told = std::iter::from_fn(|| hand.responder.poll_event()).last();
    let Some(Event::Told { events, .. }) = told else {
        panic!("{told:?}")
    };
    let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(events[0].what, What::Dmtf(Dmtf::CertificateChanged(2)));
    assert_eq!(error_of(&say(&mut hand, &[1, 3])), INVALID);
    let deaf = ResponderConfig {
        hears_events: false,
        ..everything(&Arc::default())
    };
    let mut hand = live_with(V, deaf);
    let unsupported = Some((ErrorCode::UNSUPPORTED_REQUEST, Code::SEND_EVENT.0));
    assert_eq!(error_of(&say(&mut hand, &[1])), unsupported);
}

// What is off

#[test]
fn what_a_device_has_not_or_a_version_does_not_know_is_unsupported() {
    let codes = [0xed, 0xee, 0xfc, 0xfd, 0xef, 0x87, 0xe2, 0xf0, 0xf1, 0x85, 0x86];
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        let config = ResponderConfig {
            versions: vec![version],
            ..responder_config()
        };
        let mut bare = live_with(version, config);
        for code in codes {
            let message = [&[version.0, code, 0, 0][..], &[0; 60]].concat();
            let unsupported = Some((ErrorCode::UNSUPPORTED_REQUEST, code));
            // Of events of the requester's, which are no capability of the responder's, the message is looked at first.
            let in_session = error_of(&bare.secured(&message).unwrap());
            assert!(
                in_session == unsupported || code == 0xf1 && in_session == INVALID,
                "{code:#x} {in_session:?}"
            );
            let clear = error_of(&bare.clear(&message).unwrap());
            let session = Some((ErrorCode::SESSION_REQUIRED, 0));
            assert!(
                clear == unsupported || code == 0xf1 && clear == session,
                "{code:#x} {clear:?}"
            );
        }
    }
    let mut old = live(Version::V1_2);
    for code in [0xfc, 0xfd, 0xef, 0x87, 0xe2, 0xf0, 0xf1] {
        let message = [&[0x12, code, 0, 0][..], &[0; 60]].concat();
        let answer = old.secured(&message).unwrap();
        assert_eq!(error_of(&answer), Some((ErrorCode::UNSUPPORTED_REQUEST, code)));
    }
}
