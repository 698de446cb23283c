//! Key pairs and the slots that they go with: who signs for a slot, and what DIGESTS and KEY_PAIR_INFO tell of it.

use super::{
    INVALID, SIZES, V, error_of,
    slots::{chain, set},
    usual,
};
use crate::harness::{Identity, by_hand::ByHand, endowed::Obedient};
use std::sync::Arc;
use tdisp::{
    crypto::{RingSigner, Signer},
    spdm::{
        ResponderConfig,
        msg::{
            Code, Context, Payload, Summary,
            capabilities::Flags,
            challenge,
            digests::{self, Key},
            key_pair_info::{self, Abilities, Usage, key_algorithm},
            set_certificate::{self, Model},
            set_key_pair_info::{self, Desired, Operation},
        },
        responder::{ChangesKeyPairs, KeyPair, KeyPairs, MultiKey, NotDone, Slot},
    },
};

/// A connection with several keys: the usual one is pair 1, and `more` what else there is.
fn several(more: impl FnOnce(&mut ResponderConfig)) -> ByHand {
    let mut config = usual();
    config.multi_key = MultiKey::Only;
    config.provisioning.trusted_environment = true;
    config.key_pairs = Some(KeyPairs {
        pairs: vec![free_pair(1), free_pair(0)],
        changer: None,
    });
    more(&mut config);
    let mut hand = ByHand::start(config);
    hand.offer.other_params |= tdisp::spdm::algorithms::MULTI_KEY;
    hand.agree_in(V, Flags(0), SIZES);
    hand.context.multi_key = true;
    hand
}

/// A key pair that may be anything, in these slots.
fn free_pair(slots: u8) -> KeyPair {
    let any = Usage(0xf);
    KeyPair {
        abilities: Abilities(0x3f),
        usages: any,
        usage: any,
        algorithms: key_algorithm::ECC_P384,
        algorithm: key_algorithm::ECC_P384,
        slots,
        public_key_info: b"known".to_vec(),
        ..KeyPair::default()
    }
}

fn set_for(slot: u8, key_pair: u8, chain: &[u8]) -> Vec<u8> {
    let request = set_certificate::Request {
        model: Model::GENERIC,
        key_pair,
        ..set(V, slot, Some(chain))
    };
    request.to_vec()
}

/// What DIGESTS tells of a slot's key.
fn told_of(hand: &mut ByHand, slot: u8) -> Key {
    let answer = hand.clear(&[V.0, 0x81, 0, 0]).unwrap();
    let (digests, _) = digests::Response::decode_padded(&answer, &hand.context).unwrap();
    let found = digests.slots.iter().find(|told| told.number == slot).unwrap();
    found.key.unwrap()
}

#[test]
fn a_key_whose_slot_was_given_to_another_gets_a_certificate_elsewhere() {
    let other = Identity::new("other");
    let mut hand = several(|config| {
        let signer = other.signer.clone();
        let bare = Slot::new(Vec::new(), signer);
        let key = Key { pair: 2, ..bare.key };
        config.slots[1] = Some(Slot { key, ..bare });
    });
    for (slot, pair, chain) in [(1, 1, &chain()), (2, 2, &other.chain)] {
        let answer = hand.clear(&set_for(slot, pair, chain)).unwrap();
        assert_eq!(error_of(&answer), None, "pair {pair}");
        assert_eq!(told_of(&mut hand, slot).pair, pair);
    }
    let wrong = hand.clear(&set_for(3, 2, &chain())).unwrap();
    assert_eq!(error_of(&wrong), INVALID, "it is of pair 1");
}

/// Makes a key pair, as which it signs.
struct Forge(Arc<RingSigner>);

impl ChangesKeyPairs for Forge {
    fn change(&self, _: u8, _: Operation, wanted: &KeyPair) -> Result<KeyPair, NotDone> {
        Ok(wanted.clone())
    }

    fn signer(&self, id: u8) -> Option<Arc<dyn Signer>> {
        (id == 2).then(|| self.0.clone() as Arc<dyn Signer>)
    }
}

#[test]
fn a_key_pair_that_was_made_gets_a_certificate() {
    let new = Identity::new("new");
    let mut hand = several(|config| {
        let pairs = config.key_pairs.as_mut().unwrap();
        pairs.changer = Some(Arc::new(Forge(new.signer.clone())));
        pairs.pairs[1].algorithm = 0;
    });
    let desired = Desired {
        algorithm: key_algorithm::ECC_P384,
        slots: 0b100,
        ..Desired::default()
    };
    let request = set_key_pair_info::Request {
        version: V,
        operation: Operation::GENERATE,
        key_pair: 2,
        desired: Some(desired),
    };
    assert_eq!(error_of(&hand.clear(&request.to_vec()).unwrap()), None);
    let answer = hand.clear(&set_for(2, 2, &new.chain)).unwrap();
    assert_eq!(error_of(&answer), None);
    assert_eq!(told_of(&mut hand, 2).pair, 2);
    let answer = hand.clear(&challenge(2)).unwrap();
    assert_eq!(answer[1], Code::CHALLENGE_AUTH.0);
}

fn wish(operation: Operation, key_pair: u8, desired: Desired<'_>) -> Vec<u8> {
    let request = set_key_pair_info::Request {
        version: V,
        operation,
        key_pair,
        desired: (operation != Operation::ERASE).then_some(desired),
    };
    request.to_vec()
}

fn challenge(slot: u8) -> Vec<u8> {
    let request = challenge::Request {
        version: V,
        slot,
        summary: Summary::NONE,
        nonce: [1; 32],
        context: Some([2; 8]),
    };
    request.to_vec()
}

fn with_changer(config: &mut ResponderConfig) {
    config.key_pairs.as_mut().unwrap().changer = Some(Arc::new(Obedient));
}

#[test]
fn a_key_pair_that_is_taken_off_its_slots_signs_no_more_until_it_is_back_and_can_be_erased() {
    let mut hand = several(with_changer);
    let mut clear = |message: &[u8]| hand.clear(message).unwrap();
    let elsewhere = |slots| {
        wish(
            Operation::CHANGE,
            1,
            Desired {
                slots,
                ..Desired::default()
            },
        )
    };
    let info = key_pair_info::Request {
        version: V,
        key_pair: 1,
    }
    .to_vec();
    // Behind the header: two IDs, three masks of 16 bits, two of 32, a length.
    let slots_told = 4 + 2 + 6 + 8 + 2;
    assert_eq!(clear(&challenge(0))[1], Code::CHALLENGE_AUTH.0);
    assert_eq!(error_of(&clear(&elsewhere(0))), None);
    assert_eq!(clear(&info)[slots_told], 0);
    assert_eq!(error_of(&clear(&challenge(0))), INVALID);
    assert_eq!(error_of(&clear(&elsewhere(1))), None);
    assert_eq!(clear(&info)[slots_told], 1);
    assert_eq!(clear(&challenge(0))[1], Code::CHALLENGE_AUTH.0);
    assert_eq!(error_of(&clear(&elsewhere(0))), None);
    let erase = wish(Operation::ERASE, 1, Desired::default());
    assert_eq!(error_of(&clear(&erase)), None);
    let again = Desired {
        algorithm: key_algorithm::ECC_P384,
        slots: 1,
        ..Desired::default()
    };
    assert_eq!(error_of(&clear(&wish(Operation::GENERATE, 1, again))), None);
    assert_eq!(
        error_of(&clear(&challenge(0))),
        INVALID,
        "the chain is of the key that was erased"
    );
    assert_eq!(error_of(&clear(&set_for(0, 1, &chain()))), INVALID, "so is this");
    let told = told_of(&mut hand, 0);
    assert_eq!(
        (told.pair, told.usage),
        (0, 0),
        "nobody's key is used for nothing"
    );
}

#[test]
fn on_a_connection_with_one_key_too_a_pair_that_was_taken_off_a_slot_does_not_sign_for_it() {
    let mut config = usual();
    config.provisioning.trusted_environment = true;
    let mut hand = ByHand::agreed_in(V, config, Flags(0), SIZES);
    let mut clear = |message: &[u8]| hand.clear(message).unwrap();
    assert_eq!(clear(&challenge(0))[1], Code::CHALLENGE_AUTH.0);
    assert_eq!(
        error_of(&clear(&wish(Operation::CHANGE, 1, Desired::default()))),
        None
    );
    assert_eq!(error_of(&clear(&challenge(0))), INVALID);
    let filled = clear(&set(V, 0, Some(&chain())).to_vec());
    assert_eq!(filled[1], Code::SET_CERTIFICATE_RSP.0);
    assert_eq!(
        clear(&challenge(0))[1],
        Code::CHALLENGE_AUTH.0,
        "its chain was set anew"
    );
}

#[test]
fn a_pair_that_cannot_be_taken_off_its_slots_is_changed_in_place() {
    let mut hand = several(|config| {
        with_changer(config);
        config.key_pairs.as_mut().unwrap().pairs[0].abilities = Abilities::USAGE;
    });
    let usage = Desired {
        usage: Usage::CHALLENGE,
        ..Desired::default()
    };
    for slots in [0, 1] {
        let message = wish(Operation::CHANGE, 1, Desired { slots, ..usage });
        assert_eq!(error_of(&hand.clear(&message).unwrap()), None, "{slots}");
    }
    let elsewhere = wish(Operation::CHANGE, 1, Desired { slots: 2, ..usage });
    assert_eq!(error_of(&hand.clear(&elsewhere).unwrap()), INVALID);
    assert_eq!(told_of(&mut hand, 0).pair, 1);
}

#[test]
fn digests_tell_what_a_key_pair_is_used_for_after_it_was_changed_and_it_is_used_for_nothing_else() {
    let mut hand = several(with_changer);
    for (usage, is_for) in [(Usage::MEASUREMENTS, false), (Usage::CHALLENGE, true)] {
        let desired = Desired {
            usage,
            slots: 1,
            ..Desired::default()
        };
        let answer = hand.clear(&wish(Operation::CHANGE, 1, desired)).unwrap();
        assert_eq!(error_of(&answer), None);
        assert_eq!(told_of(&mut hand, 0).usage, usage.0);
        let answer = hand.clear(&challenge(0)).unwrap();
        assert_eq!(answer[1] == Code::CHALLENGE_AUTH.0, is_for, "{answer:02x?}");
    }
}

#[test]
fn a_chain_that_is_set_makes_its_key_pair_go_with_the_slot() {
    let mut hand = several(|_| {});
    assert_eq!(error_of(&hand.clear(&set_for(5, 1, &chain())).unwrap()), None);
    let told = told_of(&mut hand, 5);
    assert_eq!((told.pair, told.usage), (1, 0xf));
    let info = key_pair_info::Request {
        version: V,
        key_pair: 1,
    };
    let answer = hand.clear(&info.to_vec()).unwrap();
    let (info, _) = key_pair_info::Response::decode_padded(&answer, &Context::new(V)).unwrap();
    assert_eq!(info.slots, 0b10_0001);
}

#[test]
fn a_key_pair_that_is_erased_takes_no_other_pairs_chain_with_it() {
    let mut hand = several(with_changer);
    let erase = wish(Operation::ERASE, 2, Desired::default());
    assert_eq!(error_of(&hand.clear(&erase).unwrap()), None);
    let told = told_of(&mut hand, 0);
    assert_eq!((told.pair, told.usage), (1, 0xf));
    assert_eq!(hand.clear(&challenge(0)).unwrap()[1], Code::CHALLENGE_AUTH.0);
}

fn slots_of(hand: &mut ByHand, key_pair: u8) -> u8 {
    let request = key_pair_info::Request { version: V, key_pair };
    let answer = hand.clear(&request.to_vec()).unwrap();
    let (info, _) = key_pair_info::Response::decode_padded(&answer, &Context::new(V)).unwrap();
    info.slots
}

#[test]
fn a_chain_that_is_set_takes_its_slot_from_pairs_of_the_same_algorithm_alone() {
    let other = Identity::new("other");
    let mut hand = several(|config| {
        let bare = Slot::new(Vec::new(), other.signer.clone());
        let key = Key { pair: 2, ..bare.key };
        config.slots[1] = Some(Slot { key, ..bare });
        let pairs = &mut config.key_pairs.as_mut().unwrap().pairs;
        pairs[0].slots = 0b10_0001;
        pairs.push(KeyPair {
            algorithm: key_algorithm::ECC_P256,
            ..free_pair(0b10_0000)
        });
    });
    assert_eq!(error_of(&hand.clear(&set_for(5, 2, &other.chain)).unwrap()), None);
    let slots = [1, 2, 3].map(|pair| slots_of(&mut hand, pair));
    assert_eq!(slots, [1, 0b10_0000, 0b10_0000]);
}

#[test]
fn a_slot_with_a_key_of_its_own_takes_a_chain_of_that_key_and_no_other() {
    let other = Identity::new("other");
    let mut config = usual();
    config.key_pairs = None;
    config.provisioning.trusted_environment = true;
    config.slots[1] = Some(Slot::new(Vec::new(), other.signer.clone()));
    let mut hand = ByHand::agreed_in(V, config, Flags(0), SIZES);
    let mut refused = |chain: &[u8]| error_of(&hand.clear(&set(V, 1, Some(chain)).to_vec()).unwrap());
    assert_eq!(refused(&chain()), INVALID, "it is of the first slot's");
    assert_eq!(refused(&other.chain), None);
}
