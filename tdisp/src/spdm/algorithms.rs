//! Which bit stands for which algorithm (DSP0274 §10), and what two sides have agreed on. What they may agree on is in
//! [`Offer`].

use super::msg::algorithms::{Set, Table, TableKind};
use super::msg::{Context, Version};
use crate::crypto::{Ability, AeadAlg, CryptoError, ExchangeAlg, HashAlg, Provider, SignAlg};

mod offer;
pub use offer::{Answering, Needs, Offer};

/// OtherParams: opaque data in the general format, which 1.2 has and later versions require for sessions.
pub const OPAQUE_FORMAT_1: u8 = 0x02;
/// OtherParams: opaque data in no common format.
pub const OPAQUE_FORMAT_0: u8 = 0x01;
/// OtherParams: a connection with several keys an endpoint (1.3).
pub const MULTI_KEY: u8 = 0x10;
/// MeasurementSpecification: the DMTF's.
pub const MEASUREMENT_DMTF: u8 = 0x01;
/// MELspecification: the DMTF's (1.3).
pub const MEL_DMTF: u8 = 0x01;
/// The one key schedule there is.
pub const KEY_SCHEDULE_SPDM: u16 = 0x01;

/// Signature algorithms and their bits in BaseAsymAlgo and ReqBaseAsymAlg.
const SIGN: [(u32, SignAlg); 8] = [
    (1, SignAlg::RsaSsa2048),
    (1 << 1, SignAlg::RsaPss2048),
    (1 << 2, SignAlg::RsaSsa3072),
    (1 << 3, SignAlg::RsaPss3072),
    (1 << 4, SignAlg::EcdsaP256),
    (1 << 5, SignAlg::RsaSsa4096),
    (1 << 6, SignAlg::RsaPss4096),
    (1 << 7, SignAlg::EcdsaP384),
];
/// Post-quantum signature algorithms and their bits in PqcAsymAlgo and ReqPqcAsymAlg (1.4).
const PQC_SIGN: [(u32, SignAlg); 3] = [
    (1, SignAlg::MlDsa44),
    (1 << 1, SignAlg::MlDsa65),
    (1 << 2, SignAlg::MlDsa87),
];
/// Hashes and their bits.
const HASH: [(u32, HashAlg); 3] = [
    (1, HashAlg::Sha256),
    (1 << 1, HashAlg::Sha384),
    (1 << 2, HashAlg::Sha512),
];
/// Groups and their bits in the DHE structure.
const DH: [(u32, ExchangeAlg); 2] = [(1 << 3, ExchangeAlg::EcdhP256), (1 << 4, ExchangeAlg::EcdhP384)];
/// Key encapsulation mechanisms and their bits in the KEM structure (1.4).
const KEM: [(u32, ExchangeAlg); 3] = [
    (1, ExchangeAlg::MlKem512),
    (1 << 1, ExchangeAlg::MlKem768),
    (1 << 2, ExchangeAlg::MlKem1024),
];
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

/// The bit of a signature algorithm in BaseAsymAlgo and, as a u16, in ReqBaseAsymAlg; 0 for a post-quantum one.
pub fn sign_bit(alg: SignAlg) -> u32 {
    bit(&SIGN, alg)
}

/// The bit of a post-quantum signature algorithm in PqcAsymAlgo and, as a u16, in ReqPqcAsymAlg; 0 for any other.
pub fn pqc_sign_bit(alg: SignAlg) -> u32 {
    bit(&PQC_SIGN, alg)
}

/// The bit of a hash in BaseHashAlgo.
pub fn hash_bit(alg: HashAlg) -> u32 {
    bit(&HASH, alg)
}

/// The bit of a group in the DHE structure; 0 for a key encapsulation mechanism.
pub fn dh_bit(alg: ExchangeAlg) -> u16 {
    bit(&DH, alg) as u16
}

/// The bit of a key encapsulation mechanism in the KEM structure; 0 for a group.
pub fn kem_bit(alg: ExchangeAlg) -> u16 {
    bit(&KEM, alg) as u16
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

/// The signature algorithm that one bit of PqcAsymAlgo stands for; `None` for any other mask.
pub fn pqc_sign_from_bit(mask: u32) -> Option<SignAlg> {
    from_bit(&PQC_SIGN, mask)
}

/// What two sides agreed on. What neither needs may be `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Signatures of the responder.
    pub sign: Option<SignAlg>,
    /// Hash. Where nothing is hashed none is chosen, and this is never used.
    pub hash: HashAlg,
    /// Group or key encapsulation mechanism.
    pub exchange: Option<ExchangeAlg>,
    /// Cipher.
    pub aead: Option<AeadAlg>,
    /// Signatures of the requester, if it was asked for one.
    pub requester_sign: Option<SignAlg>,
    /// What measurements are hashed with; `None` from a responder without measurements.
    pub measurement_hash: Option<MeasurementHash>,
    /// OtherParams.
    pub other_params: u8,
    /// Format of the measurement extension log.
    pub mel_specification: u8,
}

impl Chosen {
    /// Whether `provider` can verify the responder's signatures. Algorithm and hash are chosen apart, so that a pair may
    /// come out of which each is offered, and which is not to be had together.
    pub fn check_supported(&self, provider: &dyn Provider) -> Result<(), CryptoError> {
        match self.sign {
            Some(sign) if !provider.supports(Ability::Verify(sign, self.hash)) => {
                Err(CryptoError::Unsupported(
                    "the responder's choice of a signature algorithm together with its choice of a hash",
                ))
            }
            _ => Ok(()),
        }
    }

    /// What decoders must know from now on. Several keys an endpoint (1.3) are not negotiated here: see
    /// [`Context::multi_key`].
    pub fn context(&self, version: Version, handshake_in_clear: bool) -> Context {
        Context {
            hash_size: self.hash.size(),
            signature_size: self.sign.map_or(0, SignAlg::signature_size),
            requester_signature_size: self.requester_sign.map_or(0, SignAlg::signature_size),
            exchange_request_size: self.exchange.map_or(0, ExchangeAlg::request_size),
            exchange_response_size: self.exchange.map_or(0, ExchangeAlg::response_size),
            handshake_in_clear,
            ..Context::new(version)
        }
    }

    /// As the fields of ALGORITHMS; structures are those that `offered` has.
    pub fn to_set(&self, offered: &Set<'_>) -> Set<'static> {
        let mask = |kind| match kind {
            TableKind::DHE => self.exchange.map_or(0, dh_bit),
            TableKind::AEAD => self.aead.map_or(0, aead_bit),
            TableKind::REQUESTER_ASYM => self.requester_sign.map_or(0, sign_bit) as u16,
            // Who has no cipher has no keys.
            TableKind::KEY_SCHEDULE => self.aead.map_or(0, |_| KEY_SCHEDULE_SPDM),
            TableKind::REQUESTER_PQC => self.requester_sign.map_or(0, pqc_sign_bit) as u16,
            TableKind::KEM => self.exchange.map_or(0, kem_bit),
            _ => 0,
        };
        let tables = offered.tables.iter().map(|table| Table {
            kind: table.kind,
            mask: mask(table.kind) & table.mask,
            extended: &[],
        });
        let measured = self.measurement_hash.is_some();
        Set {
            measurement_specification: if measured { MEASUREMENT_DMTF } else { 0 },
            other_params: self.other_params,
            asym: self.sign.map_or(0, sign_bit),
            hash: hash_bit(self.hash),
            pqc_asym: self.sign.map_or(0, pqc_sign_bit),
            mel_specification: self.mel_specification,
            tables: tables.collect(),
            ..Set::default()
        }
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
