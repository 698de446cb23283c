//! SET_CERTIFICATE: who may write which slot, with what, and when it counts.

use super::{
    INVALID, SIZES, Shelf, UNEXPECTED, V, ask, ask_in_clear, error_of, everything, live, live_until_reset,
    live_with, refusal, usual,
};
use crate::harness::{Identity, by_hand::ByHand, responder_config};
use std::sync::Arc;
use tdisp::spdm::{
    ResponderConfig,
    msg::{
        Code, Context, Payload, Version,
        capabilities::Flags,
        certificate::{self, Chain},
        error::ErrorCode,
        set_certificate::{self, Model},
    },
    responder::{NotDone, Store},
};

pub(crate) fn set(version: Version, slot: u8, chain: Option<&[u8]>) -> set_certificate::Request<'_> {
    set_certificate::Request {
        version,
        slot,
        model: Model::NONE,
        key_pair: 0,
        chain,
    }
}

/// The usual device's chain, as a version has it.
pub(crate) fn chain() -> Vec<u8> {
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
    let mut hand = live(V);
    assert_eq!(refusal(&mut hand, &set(V, 0, Some(&chain()))), UNEXPECTED);
    assert_eq!(refusal(&mut hand, &set(V, 0, None)), UNEXPECTED);
    let mut clear = |slot| error_of(&ask_in_clear(&mut hand, &set(V, slot, Some(&chain()))));
    assert_eq!((clear(0), clear(1)), (UNEXPECTED, UNEXPECTED));
    let mut config = usual();
    config.provisioning.trusted_environment = true;
    let mut hand = ByHand::agreed_in(V, config, Flags(0), SIZES);
    let mut clear = |slot| error_of(&ask_in_clear(&mut hand, &set(V, slot, Some(&chain()))));
    assert_eq!((clear(0), clear(1)), (None, None));
}

#[test]
fn a_chain_that_does_not_hang_together_or_is_of_another_key_is_refused() {
    let good = chain();
    let mut hand = live(V);
    let mut refused = |what: &str, chain: &[u8]| {
        assert_eq!(refusal(&mut hand, &set(V, 1, Some(chain))), INVALID, "{what}");
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
    assert_eq!(refusal(&mut hand, &set(V, 1, Some(&good))), None);
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
            assert_eq!(refusal(&mut hand, &request), INVALID, "{model} {key_pair}");
        }
    }
}

#[test]
fn a_chain_counts_after_a_reset_where_one_is_needed() {
    let mut hand = live_until_reset(V);
    let refused = refusal(&mut hand, &set(V, 2, Some(&chain())));
    assert_eq!(refused, Some((ErrorCode::RESET_REQUIRED, 0)));
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
        let refused = refusal(&mut hand, &set(V, 1, Some(&chain())));
        assert_eq!(refused, Some((code, 0)));
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

#[test]
fn a_slot_that_was_erased_can_be_filled_again_be_it_the_only_one() {
    for version in [V, Version::V1_4] {
        let mut config = usual();
        config.provisioning.trusted_environment = true;
        let mut hand = ByHand::agreed_in(version, config, Flags(0), SIZES);
        let mut clear = |message: &[u8]| hand.clear(message).unwrap();
        let erased = clear(&set(version, 0, None).to_vec());
        assert_eq!(erased[1], Code::SET_CERTIFICATE_RSP.0);
        let digests = clear(&[version.0, 0x81, 0, 0]);
        assert_eq!(
            error_of(&digests),
            Some((ErrorCode::UNSPECIFIED, 0)),
            "there are none"
        );
        let fetched = clear(&get_certificate(version, 0, false));
        assert_eq!(error_of(&fetched), INVALID);
        let filled = clear(&set(version, 0, Some(&chain())).to_vec());
        assert_eq!(filled[1], Code::SET_CERTIFICATE_RSP.0, "{filled:02x?}");
        assert_eq!(clear(&[version.0, 0x81, 0, 0])[3], 1);
    }
}

fn get_certificate(version: Version, slot: u8, size_asked: bool) -> Vec<u8> {
    let request = certificate::Request {
        version,
        slot,
        size_asked,
        large: false,
        offset: 0,
        length: 0xffff,
    };
    request.to_vec()
}

/// A storage of three slots of 0x1000 bytes.
struct Small;

impl Store for Small {
    fn write(&self, _: u8, _: Option<&[u8]>, _: Model, _: Option<u8>) -> Result<(), NotDone> {
        Ok(())
    }

    fn capacity(&self, slot: u8) -> u32 {
        if slot < 3 { 0x1000 } else { 0 }
    }
}

#[test]
fn slots_that_can_be_written_are_supported_and_told_with_their_size_though_they_are_empty() {
    let mut config = usual();
    config.provisioning.store = Some(Arc::new(Small));
    let mut hand = live_with(V, config);
    let mut ask = |message: &[u8]| hand.secured(message).unwrap();
    assert_eq!(ask(&[V.0, 0x81, 0, 0])[2..4], [0b111, 1]);
    for slot in 0..3 {
        let answer = ask(&get_certificate(V, slot, true));
        let told = certificate::Response::decode_exact(&answer, &Context::new(V)).unwrap();
        assert_eq!((told.portion, told.remainder), (&[][..], 0x1000));
    }
    assert_eq!(error_of(&ask(&get_certificate(V, 3, true))), INVALID);
    assert_eq!(
        error_of(&ask(&get_certificate(V, 2, false))),
        INVALID,
        "it is empty"
    );
    assert_eq!(error_of(&ask(&set(V, 2, Some(&chain())).to_vec())), None);
    assert_eq!(error_of(&ask(&set(V, 3, Some(&chain())).to_vec())), INVALID);
    assert_eq!(ask(&[V.0, 0x81, 0, 0])[2..4], [0b111, 0b101]);
}

#[test]
fn a_slot_that_cannot_be_written_has_room_for_what_it_holds() {
    let mut hand = live_with(V, responder_config_in(V));
    assert_eq!(hand.secured(&[V.0, 0x81, 0, 0]).unwrap()[2..4], [1, 1]);
    let answer = hand.secured(&get_certificate(V, 0, true)).unwrap();
    let told = certificate::Response::decode_exact(&answer, &Context::new(V)).unwrap();
    assert_eq!((told.portion, told.remainder as usize), (&[][..], chain().len()));
    let answer = hand.secured(&get_certificate(V, 1, true)).unwrap();
    assert_eq!(error_of(&answer), INVALID);
}

fn responder_config_in(version: Version) -> ResponderConfig {
    ResponderConfig {
        versions: vec![version],
        ..responder_config()
    }
}
