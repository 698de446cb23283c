//! KEY_PAIR_INFO and SET_KEY_PAIR_INFO: what a device's key pairs are, and what becomes of them.

use super::{INVALID, V, ask, error_of, live, live_with, refusal, usual};
use crate::harness::{by_hand::ByHand, endowed};
use tdisp::spdm::{
    msg::{
        Code, Context, Payload, Version,
        error::ErrorCode,
        key_pair_info::{self, Abilities, Usage, key_algorithm},
        set_key_pair_info::{self, Desired, Operation},
    },
    responder::KeyPair,
};

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
    let all = endowed::key_pairs().pairs;
    for (id, pair) in (1..).zip(&all) {
        assert_eq!(key_pair(&mut hand, id).as_ref(), Ok(pair));
    }
    for id in [0, 4, 255] {
        assert_eq!(key_pair(&mut hand, id), Err(INVALID));
    }
    let mut config = usual();
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
    assert_eq!(refusal(&mut hand, &request), unsupported);
}

fn change(hand: &mut ByHand, id: u8, operation: Operation, desired: Desired<'_>) -> Option<(ErrorCode, u8)> {
    let request = set_key_pair_info::Request {
        version: hand.version,
        operation,
        key_pair: id,
        desired: (operation != Operation::ERASE).then_some(desired),
    };
    refusal(hand, &request)
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
    let none = Desired::default();
    for (id, operation, desired) in [
        (2, Operation::ERASE, none),
        (2, Operation::GENERATE, desired),
        (1, Operation::ERASE, none),
    ] {
        assert_eq!(change(&mut hand, id, operation, desired), failed, "slots have it");
    }
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
    for (id, pair) in (1..).zip(endowed::key_pairs().pairs) {
        assert_eq!(key_pair(&mut hand, id), Ok(pair), "nothing has changed");
    }
}

#[test]
fn a_key_pair_goes_with_several_slots_only_if_it_may_be_shared() {
    let mut config = usual();
    config.key_pairs.as_mut().unwrap().pairs[1].abilities = Abilities(0x3f & !Abilities::SHARE.0);
    let mut hand = live_with(V, config);
    let into = |slots| Desired {
        slots,
        ..Desired::default()
    };
    assert_eq!(change(&mut hand, 2, Operation::CHANGE, into(0b110)), INVALID);
    assert_eq!(key_pair(&mut hand, 2).unwrap().slots, 0);
    assert_eq!(change(&mut hand, 2, Operation::CHANGE, into(0b100)), None);
    assert_eq!(change(&mut hand, 2, Operation::CHANGE, into(0)), None);
    assert_eq!(change(&mut hand, 1, Operation::CHANGE, into(0b011)), None);
}

#[test]
fn a_key_pair_may_be_of_a_post_quantum_algorithm_and_stays_of_it() {
    let mut hand = live(Version::V1_4);
    let made = Desired {
        pqc_algorithm: &[1],
        ..Desired::default()
    };
    assert_eq!(change(&mut hand, 2, Operation::GENERATE, made), None);
    let pair = key_pair(&mut hand, 2).unwrap();
    assert_eq!((pair.algorithm, pair.pqc_algorithm), (0, 1));
    let another = Desired {
        algorithm: key_algorithm::ECC_P256,
        ..Desired::default()
    };
    assert_eq!(change(&mut hand, 2, Operation::CHANGE, another), INVALID);
    assert_eq!(change(&mut hand, 2, Operation::CHANGE, made), None, "the same");
}

#[test]
fn a_slot_has_room_for_a_key_pair_of_each_algorithm() {
    let mut hand = live(V);
    let beside = Desired {
        algorithm: key_algorithm::ECC_P256,
        slots: 1,
        ..Desired::default()
    };
    assert_eq!(change(&mut hand, 2, Operation::GENERATE, beside), None);
    assert_eq!(key_pair(&mut hand, 1).unwrap().slots, 1);
}
