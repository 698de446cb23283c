//! Which bit stands for which algorithm (DSP0274 §10), and what two sides may agree on.

use super::msg::algorithms::{Request, Response, Set, Table, TableKind};
use super::msg::{Context, Version, capabilities::Flags};
use crate::crypto::{Ability, AeadAlg, CryptoError, ExchangeAlg, HashAlg, Provider, SignAlg, Signer};
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

/// What one side offers, each list in its order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Signatures of the responder. Post-quantum ones are offered from 1.4 on.
    pub sign: Vec<SignAlg>,
    /// Hashes.
    pub hash: Vec<HashAlg>,
    /// Groups and, from 1.4 on, key encapsulation mechanisms.
    pub exchange: Vec<ExchangeAlg>,
    /// Ciphers.
    pub aead: Vec<AeadAlg>,
    /// Signatures of the requester; empty without mutual authentication.
    pub requester_sign: Vec<SignAlg>,
    /// OtherParams (1.2; before it is reserved and 0).
    pub other_params: u8,
    /// Formats of the measurement extension log: [`MEL_DMTF`] or 0 (1.3; before it is reserved and 0).
    pub mel_specification: u8,
}

impl Default for Offer {
    /// What TEE-IO devices must have: P-384, SHA-384 and AES-256-GCM, and no weaker choice.
    fn default() -> Self {
        Self {
            sign: Vec::from([SignAlg::EcdsaP384]),
            hash: Vec::from([HashAlg::Sha384]),
            exchange: Vec::from([ExchangeAlg::EcdhP384]),
            aead: Vec::from([AeadAlg::Aes256Gcm]),
            requester_sign: Vec::new(),
            other_params: OPAQUE_FORMAT_1,
            mel_specification: 0,
        }
    }
}

/// What two sides must agree on, because capabilities that both have need it (DSP0274 "ALGORITHMS response").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// The responder signs.
    pub sign: bool,
    /// Sessions are opened by KEY_EXCHANGE.
    pub exchange: bool,
    /// There are sessions: a cipher, a key schedule and, from 1.2 on, the general format of opaque data.
    pub session: bool,
    /// The requester signs.
    pub requester_sign: bool,
}

impl Needs {
    /// What a session that KEY_EXCHANGE opens needs.
    pub const SESSION: Self = Self {
        sign: true,
        exchange: true,
        session: true,
        requester_sign: false,
    };

    /// From the flags of both sides.
    pub fn of(requester: Flags, responder: Flags) -> Self {
        let both = requester.and(responder);
        let exchange = both.any(Flags::KEY_EX);
        let psk = requester.any(Flags::PSK_MASK) && responder.any(Flags::PSK_MASK);
        let session = (exchange || psk) && both.any(Flags::ENCRYPT | Flags::MAC);
        Self {
            sign: exchange || responder.any(Flags::CHAL | Flags::MEAS_SIG | Flags::EP_INFO_SIG),
            exchange,
            session,
            requester_sign: both.any(Flags::MUT_AUTH),
        }
    }
}

/// What two sides agreed on. What neither needs may be `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Signatures of the responder.
    pub sign: Option<SignAlg>,
    /// Hash.
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
            TableKind::KEY_SCHEDULE => KEY_SCHEDULE_SPDM,
            TableKind::REQUESTER_PQC => self.requester_sign.map_or(0, pqc_sign_bit) as u16,
            TableKind::KEM => self.exchange.map_or(0, kem_bit),
            _ => 0,
        };
        let tables = offered.tables.iter().map(|table| Table {
            kind: table.kind,
            mask: mask(table.kind),
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

impl Offer {
    /// The same for a requester with `provider`: without what that cannot do, so that no peer chooses it.
    #[must_use]
    pub fn of_requester(mut self, provider: &dyn Provider) -> Self {
        self.retain_supported(provider);
        let hashes = &self.hash;
        self.sign.retain(|alg| verifies(provider, *alg, hashes));
        self
    }

    /// The same for a responder that signs with `signer`: without what `provider` cannot do, and what cannot be signed.
    #[must_use]
    pub fn of_responder(mut self, provider: &dyn Provider, signer: &dyn Signer) -> Self {
        self.retain_supported(provider);
        self.hash.retain(|hash| signer.signs_with(*hash));
        self.sign.retain(|alg| *alg == signer.algorithm());
        let hashes = &self.hash;
        self.requester_sign.retain(|alg| verifies(provider, *alg, hashes));
        self
    }

    fn retain_supported(&mut self, provider: &dyn Provider) {
        self.hash.retain(|hash| provider.supports(Ability::Hash(*hash)));
        self.exchange
            .retain(|alg| provider.supports(Ability::Exchange(*alg)));
        self.aead.retain(|alg| provider.supports(Ability::Aead(*alg)));
    }

    /// As the fields of NEGOTIATE_ALGORITHMS in `version`, which may not know all that there is.
    pub fn to_set(&self, version: Version) -> Set<'static> {
        let table = |kind, mask: u32| Table {
            kind,
            mask: mask as u16,
            extended: &[],
        };
        let bits = Bits::of(version);
        let mut tables = Vec::from([
            table(TableKind::DHE, mask(&DH, &self.exchange)),
            table(TableKind::AEAD, mask(&AEAD, &self.aead)),
            table(TableKind::REQUESTER_ASYM, mask(&SIGN, &self.requester_sign)),
            table(TableKind::KEY_SCHEDULE, u32::from(KEY_SCHEDULE_SPDM)),
            table(
                TableKind::REQUESTER_PQC,
                mask(bits.pqc_sign, &self.requester_sign),
            ),
            table(TableKind::KEM, mask(bits.kem, &self.exchange)),
        ]);
        tables.retain(|table| table.mask != 0 && version >= Version::V1_1);
        Set {
            measurement_specification: MEASUREMENT_DMTF,
            other_params: self.other_params & bits.other_params,
            asym: mask(&SIGN, &self.sign),
            hash: mask(&HASH, &self.hash),
            pqc_asym: mask(bits.pqc_sign, &self.sign),
            mel_specification: self.mel_specification & bits.mel_specification,
            tables,
            ..Set::default()
        }
    }

    /// What the peer chose from this offer. Each choice must be exactly one bit that was offered: a choice that was
    /// not is how a peer, or who sits between, would have us speak something weaker. Between a classical and a
    /// post-quantum algorithm for one purpose the choice is one or the other (1.4).
    pub fn accept(&self, response: &Response<'_>, needs: Needs) -> Result<Chosen, DecodeError> {
        self.refuse_unoffered(response, needs)?;
        let set = &response.choice;
        let table = |kind| u32::from(set.table(kind));
        let bits = Bits::of(response.version);
        let sign = Purpose {
            what: "signature algorithm",
            tables: [&SIGN, bits.pqc_sign],
            offered: &self.sign,
            needed: needs.sign,
        };
        let requester_sign = Purpose {
            what: "requester's signature algorithm",
            offered: &self.requester_sign,
            needed: needs.requester_sign,
            ..sign
        };
        let exchange = Purpose {
            what: "key exchange algorithm",
            tables: [&DH, bits.kem],
            offered: &self.exchange,
            needed: needs.exchange,
        };
        let aead = Purpose {
            what: "AEAD",
            tables: [&AEAD, &[]],
            offered: &self.aead,
            needed: needs.session,
        };
        let requester_masks = [table(TableKind::REQUESTER_ASYM), table(TableKind::REQUESTER_PQC)];
        Ok(Chosen {
            sign: sign.chosen([set.asym, set.pqc_asym])?,
            hash: chosen(&HASH, &self.hash, set.hash, "hash algorithm")?,
            exchange: exchange.chosen([table(TableKind::DHE), table(TableKind::KEM)])?,
            aead: aead.chosen([table(TableKind::AEAD), 0])?,
            requester_sign: requester_sign.chosen(requester_masks)?,
            measurement_hash: read_measurement_hash(response)?,
            other_params: set.other_params,
            mel_specification: set.mel_specification,
        })
    }

    /// Refuses choices in fields of which this offer has nothing, or only ever one thing.
    fn refuse_unoffered(&self, response: &Response<'_>, needs: Needs) -> Result<(), DecodeError> {
        let set = &response.choice;
        let bits = Bits::of(response.version);
        let format = set.other_params & (OPAQUE_FORMAT_0 | OPAQUE_FORMAT_1);
        let format = match needs.session && response.version >= Version::V1_2 {
            true => format == OPAQUE_FORMAT_1,
            false => format != OPAQUE_FORMAT_0 | OPAQUE_FORMAT_1,
        };
        let schedule = set.table(TableKind::KEY_SCHEDULE);
        let beyond = |table: &&Table<'_>| {
            let ours = TableKind::DHE..=bits.last_table;
            !table.extended.is_empty() || table.mask != 0 && !ours.contains(&table.kind)
        };
        let stray = set.tables.iter().find(beyond);
        let extended = set.extended_asym.len() + set.extended_hash.len();
        let specification = u32::from(set.measurement_specification);
        let rules = [
            (
                schedule == KEY_SCHEDULE_SPDM || schedule == 0 && !needs.session,
                "key schedule",
                u32::from(schedule),
            ),
            (
                format && set.other_params & !self.other_params == 0,
                "other parameters",
                u32::from(set.other_params),
            ),
            (
                specification <= u32::from(MEASUREMENT_DMTF),
                "measurement specification",
                specification,
            ),
            (
                set.mel_specification & !self.mel_specification == 0,
                "measurement extension log specification",
                u32::from(set.mel_specification),
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
    /// nothing in common of what is needed. `measurement_hash` is `None` for a device without measurements.
    pub fn choose(
        &self,
        request: &Request<'_>,
        needs: Needs,
        measurement_hash: Option<MeasurementHash>,
    ) -> Option<Chosen> {
        let (offered, bits) = (&request.offer, Bits::of(request.version));
        let table = |kind| u32::from(offered.table(kind));
        let sign = |algs: &[SignAlg], masks| first([&SIGN, bits.pqc_sign], algs, masks);
        let other = self.other_params & offered.other_params & bits.other_params;
        let format = [OPAQUE_FORMAT_1, OPAQUE_FORMAT_0]
            .into_iter()
            .find(|bit| other & bit != 0)
            .unwrap_or_default();
        let measured = offered.measurement_specification & MEASUREMENT_DMTF != 0;
        let requester_masks = [table(TableKind::REQUESTER_ASYM), table(TableKind::REQUESTER_PQC)];
        let exchange_masks = [table(TableKind::DHE), table(TableKind::KEM)];
        let chosen = Chosen {
            sign: sign(&self.sign, [offered.asym, offered.pqc_asym]),
            hash: first([&HASH, &[]], &self.hash, [offered.hash, 0])?,
            exchange: first([&DH, bits.kem], &self.exchange, exchange_masks),
            aead: first([&AEAD, &[]], &self.aead, [table(TableKind::AEAD), 0]),
            requester_sign: sign(&self.requester_sign, requester_masks),
            measurement_hash: measurement_hash.filter(|_| measured),
            other_params: format | other & MULTI_KEY,
            mel_specification: self.mel_specification & offered.mel_specification & bits.mel_specification,
        };
        let schedule = offered.table(TableKind::KEY_SCHEDULE) & KEY_SCHEDULE_SPDM != 0;
        let general = format == OPAQUE_FORMAT_1 || request.version < Version::V1_2;
        let kept = (!needs.sign || chosen.sign.is_some())
            && (!needs.exchange || chosen.exchange.is_some())
            && (!needs.session || chosen.aead.is_some() && schedule && general)
            && (!needs.requester_sign || chosen.requester_sign.is_some());
        kept.then_some(chosen)
    }
}

fn verifies(provider: &dyn Provider, alg: SignAlg, hashes: &[HashAlg]) -> bool {
    let mut hashes = hashes.iter();
    hashes.any(|hash| provider.supports(Ability::Verify(alg, *hash)))
}

/// What a version knows of fields that came later: bits of a field that it has not are not read and not written.
struct Bits {
    pqc_sign: &'static [(u32, SignAlg)],
    kem: &'static [(u32, ExchangeAlg)],
    last_table: TableKind,
    other_params: u8,
    mel_specification: u8,
}

impl Bits {
    fn of(version: Version) -> Self {
        let post_quantum = version >= Version::V1_4;
        let opaque = OPAQUE_FORMAT_0 | OPAQUE_FORMAT_1;
        Self {
            pqc_sign: if post_quantum { &PQC_SIGN } else { &[] },
            kem: if post_quantum { &KEM } else { &[] },
            last_table: if post_quantum {
                TableKind::KEM
            } else {
                TableKind::KEY_SCHEDULE
            },
            other_params: match version {
                Version::V1_0 | Version::V1_1 => 0,
                Version::V1_2 => opaque,
                _ => opaque | MULTI_KEY,
            },
            mel_specification: if version >= Version::V1_3 { u8::MAX } else { 0 },
        }
    }
}

/// One thing to be agreed on, for which there are classical and post-quantum algorithms in fields of their own.
struct Purpose<'a, T> {
    what: &'static str,
    tables: [&'a [(u32, T)]; 2],
    offered: &'a [T],
    needed: bool,
}

impl<T: Copy + PartialEq> Purpose<'_, T> {
    fn chosen(&self, masks: [u32; 2]) -> Result<Option<T>, DecodeError> {
        match masks {
            [0, 0] if !self.needed => Ok(None),
            [mask, 0] => chosen(self.tables[0], self.offered, mask, self.what).map(Some),
            [0, mask] => chosen(self.tables[1], self.offered, mask, self.what).map(Some),
            [_, mask] => Err(DecodeError::Invalid {
                what: self.what,
                found: u64::from(mask),
                wanted: "either a classical or a post-quantum one, not both",
            }),
        }
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

/// The first of those preferred that is in either offered mask.
fn first<T: Copy + PartialEq>(tables: [&[(u32, T)]; 2], preferred: &[T], offered: [u32; 2]) -> Option<T> {
    let in_one = |alg: T, at: usize| offered[at] & bit(tables[at], alg) != 0;
    preferred
        .iter()
        .copied()
        .find(|alg| in_one(*alg, 0) || in_one(*alg, 1))
}
