//! GET_KEY_PAIR_INFO and SET_KEY_PAIR_INFO: the device's key pairs, and changes of them (DSP0274 1.3 §10).
//!
//! What a key pair can be says what may be asked of it: every wish beyond that is refused before the device is asked, and
//! what the device has then done is what is told from then on, in DIGESTS too: a slot's key is used for what its key pair is
//! used for, and not at all once the pair was taken off the slot.

use super::{Asked, INVALID, Refusal, Reply, Responder, UNEXPECTED, provision::NotDone};
use crate::crypto::Signer;
use crate::spdm::msg::{
    Payload, Version,
    digests::Key,
    error::ErrorCode,
    key_pair_info::{self, Abilities, Usage, mask},
    set_key_pair_info::{self, Desired, Operation},
};
use crate::wire::Write;
use alloc::{sync::Arc, vec::Vec};

/// The device's key pairs.
#[derive(Clone, Default)]
pub struct KeyPairs {
    /// The key pairs: the first has the ID 1, and there are at most 255.
    pub pairs: Vec<KeyPair>,
    /// Who changes them (SET_KEY_PAIR_INFO_CAP); without it their abilities are not shown.
    pub changer: Option<Arc<dyn ChangesKeyPairs>>,
}

/// A key pair.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPair {
    /// What may be done with it.
    pub abilities: Abilities,
    /// What it may be used for.
    pub usages: Usage,
    /// What it is used for.
    pub usage: Usage,
    /// The algorithms that it may have: bits of [`key_algorithm`](crate::spdm::msg::key_pair_info::key_algorithm).
    pub algorithms: u32,
    /// The algorithm that it has, or none.
    pub algorithm: u32,
    /// The post-quantum algorithms that it may have, as in NEGOTIATE_ALGORITHMS (1.4).
    pub pqc_algorithms: u32,
    /// The post-quantum algorithm that it has, or none.
    pub pqc_algorithm: u32,
    /// The slots that it goes with, one bit each.
    pub slots: u8,
    /// The DER AlgorithmIdentifier of its public key, as [`key_algorithm`](crate::spdm::pkcs10::key_algorithm) makes one;
    /// empty without a key.
    pub public_key_info: Vec<u8>,
}

/// Changes key pairs. Whoever speaks to the device may ask for that, in clear and before it is known who that is: SPDM wants no
/// session for it. A device that does, outside the places where it trusts everyone, has no changer there.
pub trait ChangesKeyPairs: Send + Sync {
    /// Makes of key pair `id`, from 1 on, what `wanted` says; what it is then. Generating gives it a new key of the algorithm
    /// in `wanted`; an erased one has no algorithm any more.
    fn change(&self, id: u8, operation: Operation, wanted: &KeyPair) -> Result<KeyPair, NotDone>;

    /// Who signs with key pair `id`: asked for when a certificate for it is set. The keys that slots have need none here.
    fn signer(&self, _id: u8) -> Option<Arc<dyn Signer>> {
        None
    }
}

impl Responder {
    pub(super) fn get_key_pair_info(&mut self, asked: Asked<'_>) -> Reply {
        let (message, _) = self.read::<key_pair_info::Request>(asked)?;
        let keys = self.config.key_pairs.as_ref().ok_or(UNEXPECTED)?;
        let pair = keys.get(message.key_pair).ok_or(INVALID)?;
        let (mut pqc_algorithms, mut pqc_algorithm) = (Vec::new(), Vec::new());
        pqc_algorithms.u32(pair.pqc_algorithms);
        pqc_algorithm.u32(pair.pqc_algorithm);
        let response = key_pair_info::Response {
            version: message.version,
            total: keys.pairs.len().min(usize::from(u8::MAX)) as u8,
            key_pair: message.key_pair,
            abilities: match keys.changer {
                Some(_) => pair.abilities,
                None => Abilities::default(),
            },
            usages: pair.usages,
            usage: pair.usage,
            algorithms: pair.algorithms,
            algorithm: pair.algorithm,
            slots: pair.slots,
            public_key_info: &pair.public_key_info,
            pqc_algorithms: &pqc_algorithms,
            pqc_algorithm: &pqc_algorithm,
        };
        Ok(Some(response.to_vec()))
    }

    pub(super) fn set_key_pair_info(&mut self, asked: Asked<'_>) -> Reply {
        let (message, _) = self.read::<set_key_pair_info::Request<'_>>(asked)?;
        let keys = self.config.key_pairs.as_mut().ok_or(UNEXPECTED)?;
        let changer = keys.changer.clone().ok_or(UNEXPECTED)?;
        let pair = keys.get(message.key_pair).ok_or(INVALID)?;
        let wanted = pair.wanted(&message)?;
        if keys.is_taken(message.key_pair, &wanted) {
            return Err(FAILED);
        }
        let changed = changer.change(message.key_pair, message.operation, &wanted)?;
        if let Some(place) = keys.pairs.get_mut(usize::from(message.key_pair) - 1) {
            *place = changed;
        }
        if message.operation != Operation::CHANGE {
            self.forget_key(message.key_pair);
        }
        let version = message.version;
        Ok(Some(set_key_pair_info::Response { version }.to_vec()))
    }
}

impl Responder {
    /// The key of a pair is gone, or another one: chains of the old one's are nobody's.
    fn forget_key(&mut self, pair: u8) {
        self.provisioned.forget_key(pair);
        let slots = self.config.slots.iter_mut().flatten();
        slots
            .filter(|slot| slot.key.pair == pair)
            .for_each(|slot| slot.key.pair = NO_PAIR);
    }
}

const FAILED: Refusal = Refusal::new(ErrorCode::OPERATION_FAILED);

/// KeyPairID of a slot with which no key pair goes.
pub(super) const NO_PAIR: u8 = 0;

impl KeyPairs {
    /// What is told of a slot's key: what its pair is used for by now, if it goes with the slot. Of a pair that is not among
    /// these, what the slot says.
    pub(super) fn key_of(&self, number: u8, key: Key) -> Key {
        match self.get(key.pair) {
            Some(pair) if pair.slots >> number & 1 == 1 => Key {
                usage: pair.usage.0,
                ..key
            },
            None if key.pair != NO_PAIR => key,
            _ => Key {
                pair: NO_PAIR,
                usage: 0,
                ..key
            },
        }
    }

    /// A chain for a pair is in a slot: it goes with that, and no other of its algorithm does.
    pub(super) fn associate(&mut self, id: u8, number: u8) {
        let Some(algorithms) = self.get(id).map(KeyPair::algorithms_in_use) else {
            return;
        };
        for (other, pair) in (1u8..).zip(&mut self.pairs) {
            if other == id {
                pair.slots |= 1 << number;
            } else if pair.algorithms_in_use() == algorithms {
                pair.slots &= !(1 << number);
            }
        }
    }

    fn get(&self, id: u8) -> Option<&KeyPair> {
        self.pairs.get(usize::from(id.checked_sub(1)?))
    }

    /// Whether another pair of the same algorithm goes with one of the slots already: DIGESTS has room for one.
    fn is_taken(&self, id: u8, wanted: &KeyPair) -> bool {
        let others = (1u8..).zip(&self.pairs).filter(|(other, _)| *other != id);
        let same = |pair: &KeyPair| {
            pair.algorithms_in_use() == wanted.algorithms_in_use() && pair.slots & wanted.slots != 0
        };
        others.map(|(_, pair)| pair).any(same)
    }
}

impl KeyPair {
    /// What a request wants to be made of this pair, if it may.
    fn wanted(&self, message: &set_key_pair_info::Request<'_>) -> Result<Self, Refusal> {
        let desired = message.desired.unwrap_or_default();
        match message.operation {
            Operation::CHANGE => self.changed(&desired, message.version),
            Operation::GENERATE => {
                let wanted = self.changed(&desired, message.version)?;
                self.check_may(Abilities::GENERATE)?;
                // A pair in use is not replaced, and one of no algorithm cannot be made.
                match self.slots == 0 && (wanted.algorithm != 0 || wanted.pqc_algorithm != 0) {
                    true => Ok(wanted),
                    false => Err(FAILED),
                }
            }
            Operation::ERASE => {
                self.check_may(Abilities::ERASE)?;
                match self.slots {
                    0 => Ok(self.erased()),
                    _ => Err(FAILED),
                }
            }
            _ => Err(INVALID),
        }
    }

    fn algorithms_in_use(&self) -> (u32, u32) {
        (self.algorithm, self.pqc_algorithm)
    }

    fn erased(&self) -> Self {
        Self {
            algorithm: 0,
            pqc_algorithm: 0,
            usage: Usage::default(),
            public_key_info: Vec::new(),
            ..self.clone()
        }
    }

    fn changed(&self, desired: &Desired<'_>, version: Version) -> Result<Self, Refusal> {
        let mut wanted = self.clone();
        let pqc = if version >= Version::V1_4 {
            mask(desired.pqc_algorithm)?
        } else {
            0
        };
        if desired.usage.0 != 0 {
            self.check_may(Abilities::USAGE)?;
            check_among(desired.usage.0.into(), self.usages.0.into())?;
            wanted.usage = desired.usage;
        }
        if desired.algorithm != 0 || pqc != 0 {
            self.check_may(Abilities::ALGORITHM)?;
            self.check_algorithm(desired.algorithm, pqc)?;
            (wanted.algorithm, wanted.pqc_algorithm) = (desired.algorithm, pqc);
        }
        // Of a pair that stays where it is, no slots stand for those that it goes with.
        let stays = desired.slots == self.slots || desired.slots == 0 && !self.may(Abilities::ASSOCIATE);
        if !stays {
            self.check_may(Abilities::ASSOCIATE)?;
            wanted.slots = desired.slots;
        }
        if !wanted.slots.is_power_of_two() && wanted.slots != 0 {
            self.check_may(Abilities::SHARE)?;
        }
        Ok(wanted)
    }

    /// One algorithm, of those that there may be; and not another one for a key that there is.
    fn check_algorithm(&self, algorithm: u32, pqc: u32) -> Result<(), Refusal> {
        check_among(algorithm, self.algorithms)?;
        check_among(pqc, self.pqc_algorithms)?;
        let one = algorithm.count_ones() + pqc.count_ones() == 1;
        let has_key = self.algorithm != 0 || self.pqc_algorithm != 0;
        let another = (algorithm, pqc) != (self.algorithm, self.pqc_algorithm);
        match one && !(has_key && another) {
            true => Ok(()),
            false => Err(INVALID),
        }
    }

    fn may(&self, ability: Abilities) -> bool {
        self.abilities.contains(ability)
    }

    fn check_may(&self, ability: Abilities) -> Result<(), Refusal> {
        self.may(ability).then_some(()).ok_or(INVALID)
    }
}

fn check_among(bits: u32, all: u32) -> Result<(), Refusal> {
    match bits & !all {
        0 => Ok(()),
        _ => Err(INVALID),
    }
}
