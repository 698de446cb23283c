//! Which bit stands for which algorithm (DSP0274 §10), and what two sides may agree on.

use super::msg::algorithms::{Response, Set, Table, TableKind};
use super::msg::{Context, Version};
use crate::crypto::{AeadAlg, DhGroup, HashAlg, SignAlg};
use crate::wire::DecodeError;
use alloc::vec::Vec;

/// OtherParams: opaque data in the general format, which 1.2 has and later versions require for sessions.
pub const OPAQUE_FORMAT_1: u8 = 0x02;
/// OtherParams: opaque data in no common format.
pub const OPAQUE_FORMAT_0: u8 = 0x01;
/// OtherParams: a connection with several keys an endpoint (1.3).
pub const MULTI_KEY: u8 = 0x10;
/// MeasurementSpecification: the DMTF's.
pub const MEASUREMENT_DMTF: u8 = 0x01;
/// The one key schedule there is.
pub const KEY_SCHEDULE_SPDM: u16 = 0x01;

/// Signature algorithms and their bits.
const SIGN: [(u32, SignAlg); 2] = [
    (1 << 4, SignAlg::EcdsaP256Sha256),
    (1 << 7, SignAlg::EcdsaP384Sha384),
];
/// Hashes and their bits.
const HASH: [(u32, HashAlg); 3] = [
    (1, HashAlg::Sha256),
    (1 << 1, HashAlg::Sha384),
    (1 << 2, HashAlg::Sha512),
];
/// Groups and their bits.
const DH: [(u32, DhGroup); 2] = [(1 << 3, DhGroup::P256), (1 << 4, DhGroup::P384)];
/// Ciphers and their bits.
const AEAD: [(u32, AeadAlg); 3] = [
    (1, AeadAlg::Aes128Gcm),
    (1 << 1, AeadAlg::Aes256Gcm),
    (1 << 2, AeadAlg::ChaCha20Poly1305),
];

/// MeasurementHashAlgo's bits (DSP0274 "MeasurementHashAlgo"): what DMTF measurements are hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasurementHash {
    /// Bit 0: raw bit streams only.
    Raw,
    /// Bits 1 to 3.
    Hash(HashAlg),
}

impl MeasurementHash {
    /// From its one bit; `None` for any other mask.
    pub fn from_bit(mask: u32) -> Option<Self> {
        match mask {
            1 => Some(Self::Raw),
            _ if mask & 1 == 0 => from_bit(&HASH, mask >> 1).map(Self::Hash),
            _ => None,
        }
    }

    /// Its bit.
    pub fn bit(self) -> u32 {
        match self {
            Self::Raw => 1,
            Self::Hash(hash) => bit(&HASH, hash) << 1,
        }
    }
}

/// The bit of a signature algorithm in BaseAsymAlgo and, as a u16, in ReqBaseAsymAlg.
pub fn sign_bit(alg: SignAlg) -> u32 {
    bit(&SIGN, alg)
}

/// The bit of a hash in BaseHashAlgo.
pub fn hash_bit(alg: HashAlg) -> u32 {
    bit(&HASH, alg)
}

/// The bit of a group in the DHE structure.
pub fn dh_bit(group: DhGroup) -> u16 {
    bit(&DH, group) as u16
}

/// The bit of a cipher in the AEAD structure.
pub fn aead_bit(alg: AeadAlg) -> u16 {
    bit(&AEAD, alg) as u16
}

/// The hash that one bit of BaseHashAlgo stands for; `None` for any other mask.
pub fn hash_from_bit(mask: u32) -> Option<HashAlg> {
    from_bit(&HASH, mask)
}

/// The signature algorithm that one bit of BaseAsymAlgo stands for; `None` for any other mask.
pub fn sign_from_bit(mask: u32) -> Option<SignAlg> {
    from_bit(&SIGN, mask)
}

/// What one side offers, each list in its order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Signatures of the responder.
    pub sign: Vec<SignAlg>,
    /// Hashes.
    pub hash: Vec<HashAlg>,
    /// Groups.
    pub dh: Vec<DhGroup>,
    /// Ciphers.
    pub aead: Vec<AeadAlg>,
    /// Signatures of the requester; empty without mutual authentication.
    pub requester_sign: Vec<SignAlg>,
    /// OtherParams (1.2; before it is reserved and 0).
    pub other_params: u8,
}

impl Default for Offer {
    /// What TEE-IO devices must have: P-384, SHA-384 and AES-256-GCM, and no weaker choice.
    fn default() -> Self {
        Self {
            sign: Vec::from([SignAlg::EcdsaP384Sha384]),
            hash: Vec::from([HashAlg::Sha384]),
            dh: Vec::from([DhGroup::P384]),
            aead: Vec::from([AeadAlg::Aes256Gcm]),
            requester_sign: Vec::new(),
            other_params: OPAQUE_FORMAT_1,
        }
    }
}

/// What two sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Signatures of the responder.
    pub sign: SignAlg,
    /// Hash.
    pub hash: HashAlg,
    /// Group.
    pub dh: DhGroup,
    /// Cipher.
    pub aead: AeadAlg,
    /// Signatures of the requester, if it was asked for one.
    pub requester_sign: Option<SignAlg>,
    /// What measurements are hashed with; `None` from a responder without measurements.
    pub measurement_hash: Option<MeasurementHash>,
    /// OtherParams.
    pub other_params: u8,
}

impl Chosen {
    /// What decoders must know from now on. Several keys an endpoint (1.3) are not negotiated here: see
    /// [`Context::multi_key`].
    pub fn context(&self, version: Version, handshake_in_clear: bool) -> Context {
        Context {
            hash_size: self.hash.size(),
            signature_size: self.sign.signature_size(),
            requester_signature_size: self.requester_sign.map_or(0, SignAlg::signature_size),
            dh_size: self.dh.public_size(),
            handshake_in_clear,
            ..Context::new(version)
        }
    }

    /// As the fields of ALGORITHMS; structures are those that `offered` has.
    pub fn to_set(&self, offered: &Set<'_>) -> Set<'static> {
        let mask = |kind| match kind {
            TableKind::DHE => dh_bit(self.dh),
            TableKind::AEAD => aead_bit(self.aead),
            TableKind::REQUESTER_ASYM => self.requester_sign.map_or(0, |alg| sign_bit(alg) as u16),
            TableKind::KEY_SCHEDULE => KEY_SCHEDULE_SPDM,
            _ => 0,
        };
        let tables = offered.tables.iter().map(|table| Table {
            kind: table.kind,
            mask: mask(table.kind),
            extended: &[],
        });
        Set {
            measurement_specification: offered.measurement_specification & MEASUREMENT_DMTF,
            other_params: self.other_params,
            asym: sign_bit(self.sign),
            hash: hash_bit(self.hash),
            tables: tables.collect(),
            ..Set::default()
        }
    }
}

impl Offer {
    /// As the fields of NEGOTIATE_ALGORITHMS.
    pub fn to_set(&self) -> Set<'static> {
        let table = |kind, mask| Table {
            kind,
            mask,
            extended: &[],
        };
        let mut tables = Vec::from([
            table(TableKind::DHE, mask(&DH, &self.dh) as u16),
            table(TableKind::AEAD, mask(&AEAD, &self.aead) as u16),
            table(
                TableKind::REQUESTER_ASYM,
                mask(&SIGN, &self.requester_sign) as u16,
            ),
            table(TableKind::KEY_SCHEDULE, KEY_SCHEDULE_SPDM),
        ]);
        tables.retain(|table| table.mask != 0);
        Set {
            measurement_specification: MEASUREMENT_DMTF,
            other_params: self.other_params,
            asym: mask(&SIGN, &self.sign),
            hash: mask(&HASH, &self.hash),
            tables,
            ..Set::default()
        }
    }

    /// What the peer chose from this offer. Each choice must be exactly one bit that was offered: a choice that was
    /// not is how a peer, or who sits between, would have us speak something weaker.
    pub fn accept(&self, response: &Response<'_>) -> Result<Chosen, DecodeError> {
        self.refuse_unoffered(response)?;
        let set = &response.choice;
        let requester = set.table(TableKind::REQUESTER_ASYM);
        Ok(Chosen {
            sign: chosen(&SIGN, &self.sign, set.asym, "signature algorithm")?,
            hash: chosen(&HASH, &self.hash, set.hash, "hash algorithm")?,
            dh: chosen(
                &DH,
                &self.dh,
                u32::from(set.table(TableKind::DHE)),
                "key exchange group",
            )?,
            aead: chosen(&AEAD, &self.aead, u32::from(set.table(TableKind::AEAD)), "AEAD")?,
            requester_sign: match requester {
                0 => None,
                mask => Some(chosen(
                    &SIGN,
                    &self.requester_sign,
                    u32::from(mask),
                    "requester's signature algorithm",
                )?),
            },
            measurement_hash: read_measurement_hash(response)?,
            other_params: set.other_params,
        })
    }

    /// Refuses choices in fields of which this offer has nothing, or only ever one thing.
    fn refuse_unoffered(&self, response: &Response<'_>) -> Result<(), DecodeError> {
        let set = &response.choice;
        let other = u32::from(set.other_params);
        let format = response.version < Version::V1_2 || (other & 0x0f).is_power_of_two();
        let schedule = set.table(TableKind::KEY_SCHEDULE);
        let beyond = |table: &&Table<'_>| {
            let ours = TableKind::DHE..=TableKind::KEY_SCHEDULE;
            !table.extended.is_empty() || table.mask != 0 && !ours.contains(&table.kind)
        };
        let stray = set.tables.iter().find(beyond);
        let extended = set.extended_asym.len() + set.extended_hash.len();
        let specification = u32::from(set.measurement_specification);
        let rules = [
            (schedule == KEY_SCHEDULE_SPDM, "key schedule", u32::from(schedule)),
            (
                set.pqc_asym == 0,
                "post-quantum signature algorithm",
                set.pqc_asym,
            ),
            (
                format && set.other_params & !self.other_params == 0,
                "other parameters",
                other,
            ),
            (
                specification <= u32::from(MEASUREMENT_DMTF),
                "measurement specification",
                specification,
            ),
            (extended == 0, "extended algorithms in bytes", extended as u32),
            (
                stray.is_none(),
                "algorithm structure type",
                stray.map_or(0, |table| u32::from(table.kind.0)),
            ),
        ];
        match rules.iter().find(|(kept, ..)| !kept) {
            None => Ok(()),
            Some((_, what, found)) => Err(unoffered(what, *found)),
        }
    }

    /// What this side, the responder, chooses from the peer's offer, by its own preference; `None` where there is
    /// nothing in common.
    pub fn choose(&self, offered: &Set<'_>, measurement_hash: MeasurementHash) -> Option<Chosen> {
        let table = |kind| u32::from(offered.table(kind));
        let other = self.other_params & offered.other_params;
        let format = [OPAQUE_FORMAT_1, OPAQUE_FORMAT_0]
            .into_iter()
            .find(|bit| other & bit != 0)?;
        let measured = offered.measurement_specification & MEASUREMENT_DMTF != 0;
        Some(Chosen {
            sign: first(&SIGN, &self.sign, offered.asym)?,
            hash: first(&HASH, &self.hash, offered.hash)?,
            dh: first(&DH, &self.dh, table(TableKind::DHE))?,
            aead: first(&AEAD, &self.aead, table(TableKind::AEAD))?,
            requester_sign: first(&SIGN, &self.requester_sign, table(TableKind::REQUESTER_ASYM)),
            measurement_hash: measured.then_some(measurement_hash),
            other_params: format | other & MULTI_KEY,
        })
    }
}

/// One bit or, without measurements, none.
fn read_measurement_hash(response: &Response<'_>) -> Result<Option<MeasurementHash>, DecodeError> {
    match response.measurement_hash {
        0 => Ok(None),
        mask => MeasurementHash::from_bit(mask)
            .map(Some)
            .ok_or(DecodeError::Invalid {
                what: "measurement hash algorithm",
                found: u64::from(mask),
                wanted: "one bit: raw, SHA-256, SHA-384 or SHA-512",
            }),
    }
}

fn bit<T: Copy + PartialEq>(table: &[(u32, T)], alg: T) -> u32 {
    let found = table.iter().find(|(_, entry)| *entry == alg);
    found.map_or(0, |(bit, _)| *bit)
}

fn from_bit<T: Copy>(table: &[(u32, T)], mask: u32) -> Option<T> {
    let found = table.iter().find(|(bit, _)| *bit == mask);
    found.map(|(_, alg)| *alg)
}

fn mask<T: Copy + PartialEq>(table: &[(u32, T)], algs: &[T]) -> u32 {
    algs.iter().fold(0, |mask, alg| mask | bit(table, *alg))
}

fn chosen<T: Copy + PartialEq>(
    table: &[(u32, T)],
    offered: &[T],
    mask: u32,
    what: &'static str,
) -> Result<T, DecodeError> {
    let alg = from_bit(table, mask).filter(|alg| offered.contains(alg));
    alg.ok_or(unoffered(what, mask))
}

fn unoffered(what: &'static str, found: u32) -> DecodeError {
    DecodeError::Invalid {
        what,
        found: u64::from(found),
        wanted: "exactly one bit, of those offered",
    }
}

fn first<T: Copy + PartialEq>(table: &[(u32, T)], preferred: &[T], offered: u32) -> Option<T> {
    preferred
        .iter()
        .copied()
        .find(|alg| offered & bit(table, *alg) != 0)
}
