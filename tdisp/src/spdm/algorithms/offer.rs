//! What one side offers, and what comes of it: NEGOTIATE_ALGORITHMS made and answered, ALGORITHMS judged.

use super::{
    AEAD, Chosen, DH, HASH, KEM, KEY_SCHEDULE_SPDM, MEASUREMENT_DMTF, MULTI_KEY, MeasurementHash,
    OPAQUE_FORMAT_0, OPAQUE_FORMAT_1, PQC_SIGN, SIGN, bit, from_bit, hash_bit, mask, sign_bit,
};
use crate::crypto::{Ability, AeadAlg, ExchangeAlg, HashAlg, Provider, SignAlg, Signer};
use crate::spdm::msg::algorithms::{Request, Response, Set, Table, TableKind};
use crate::spdm::msg::{Version, capabilities::Flags};
use crate::wire::DecodeError;
use alloc::vec::Vec;

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
    /// Formats of the measurement extension log: [`SPECIFICATION_DMTF`] or 0 (1.3; before it is reserved and 0).
    ///
    /// [`SPECIFICATION_DMTF`]: crate::spdm::msg::mel::SPECIFICATION_DMTF
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
    /// The responder hashes something.
    pub hash: bool,
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
        hash: true,
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
        let signs = Flags::CHAL | Flags::MEAS_SIG | Flags::EP_INFO_SIG;
        let identity = Flags::CERT | Flags::PUB_KEY_ID;
        Self {
            hash: responder.any(identity | signs | Flags::KEY_EX | Flags::PSK_MASK),
            sign: exchange || responder.any(signs),
            exchange,
            session,
            requester_sign: both.any(Flags::MUT_AUTH),
        }
    }

    /// Whether a choice has all that is needed. The one key schedule has to be offered, and from 1.2 on the general format
    /// of opaque data.
    fn met_by(self, chosen: &Chosen, request: &Request<'_>) -> bool {
        let schedule = request.offer.table(TableKind::KEY_SCHEDULE) & KEY_SCHEDULE_SPDM != 0;
        let general = chosen.other_params & OPAQUE_FORMAT_1 != 0 || request.version < Version::V1_2;
        (!self.sign || chosen.sign.is_some())
            && (!self.exchange || chosen.exchange.is_some())
            && (!self.session || chosen.aead.is_some() && schedule && general)
            && (!self.requester_sign || chosen.requester_sign.is_some())
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

    /// The same for a responder: without what it cannot do or sign.
    #[must_use]
    pub fn of_responder(mut self, own: &Answering<'_>) -> Self {
        self.retain_supported(own.provider);
        if !own.signers.is_empty() {
            let all = self.sign.clone();
            self.hash
                .retain(|hash| all.iter().any(|alg| own.signs(*alg, *hash)));
        }
        let hashes = &self.hash;
        self.sign
            .retain(|alg| hashes.iter().any(|hash| own.signs(*alg, *hash)));
        self.requester_sign
            .retain(|alg| verifies(own.provider, *alg, hashes));
        self
    }

    /// The same for a responder that shows `flags`: nothing is chosen for what it does with nobody.
    #[must_use]
    pub fn within(mut self, flags: Flags) -> Self {
        let whoever = Flags(u32::MAX);
        let own = Needs::of(whoever, flags);
        if !own.sign {
            self.sign.clear();
        }
        if !own.exchange {
            self.exchange.clear();
        }
        if !own.session {
            self.aead.clear();
        }
        if !own.requester_sign {
            self.requester_sign.clear();
        }
        if !flags.any(Flags::MEL) {
            self.mel_specification = 0;
        }
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
            hash: match (set.hash, self.hash.first()) {
                (0, Some(unused)) if !needs.hash => *unused,
                (mask, _) => chosen(&HASH, &self.hash, mask, "hash algorithm")?,
            },
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
    /// nothing in common of what is needed.
    pub fn choose(&self, request: &Request<'_>, own: &Answering<'_>) -> Option<Chosen> {
        let (offered, bits) = (&request.offer, Bits::of(request.version));
        let table = |kind| u32::from(offered.table(kind));
        let mut ours = self.clone();
        ours.retain_supported(own.provider);
        let (sign, hash) = ours.choose_pair(offered, &bits, own)?;
        let hash = [hash];
        ours.requester_sign
            .retain(|alg| verifies(own.provider, *alg, &hash));
        let requester_masks = [table(TableKind::REQUESTER_ASYM), table(TableKind::REQUESTER_PQC)];
        let exchange_masks = [table(TableKind::DHE), table(TableKind::KEM)];
        let other = self.other_params & offered.other_params & bits.other_params;
        let formats = [OPAQUE_FORMAT_1, OPAQUE_FORMAT_0];
        let format = formats.into_iter().find(|bit| other & bit != 0);
        let measured = offered.measurement_specification & MEASUREMENT_DMTF != 0;
        let chosen = Chosen {
            sign,
            hash: hash[0],
            exchange: first([&DH, bits.kem], &ours.exchange, exchange_masks),
            aead: first([&AEAD, &[]], &ours.aead, [table(TableKind::AEAD), 0]),
            requester_sign: first([&SIGN, bits.pqc_sign], &ours.requester_sign, requester_masks),
            measurement_hash: own.measurement_hash.filter(|_| measured),
            other_params: format.unwrap_or_default() | other & MULTI_KEY,
            mel_specification: self.mel_specification & offered.mel_specification & bits.mel_specification,
        };
        own.needs.met_by(&chosen, request).then_some(chosen)
    }

    /// A signature algorithm and a hash that a key of ours goes with. Without a key, the hash alone.
    fn choose_pair(
        &self,
        offered: &Set<'_>,
        bits: &Bits,
        own: &Answering<'_>,
    ) -> Option<(Option<SignAlg>, HashAlg)> {
        let hashes = self.hash.iter().copied();
        let hashes = hashes.filter(|hash| offered.hash & hash_bit(*hash) != 0);
        let signs = self.sign.iter().copied();
        let mut signs = signs.filter(|alg| {
            offered.asym & sign_bit(*alg) != 0 || offered.pqc_asym & bit(bits.pqc_sign, *alg) != 0
        });
        let with = |alg, hash| own.signs(alg, hash).then_some((Some(alg), hash));
        let pair = signs.find_map(|alg| hashes.clone().find_map(|hash| with(alg, hash)));
        let mut hashes = hashes;
        let mut alone = || {
            let unused = self.hash.first().filter(|_| !own.needs.hash);
            hashes.next().or(unused.copied())
        };
        pair.or_else(|| alone().map(|hash| (None, hash)))
    }
}

/// What a responder chooses by, beside what it offers.
pub struct Answering<'a> {
    /// What it can do.
    pub provider: &'a dyn Provider,
    /// Its keys.
    pub signers: Vec<&'a dyn Signer>,
    /// What the two sides must agree on.
    pub needs: Needs,
    /// What measurements are hashed with; `None` for a device without measurements.
    pub measurement_hash: Option<MeasurementHash>,
}

impl Answering<'_> {
    fn signs(&self, alg: SignAlg, hash: HashAlg) -> bool {
        let mut signers = self.signers.iter();
        signers.any(|signer| signer.algorithm() == alg && signer.signs_with(hash))
    }
}

impl core::fmt::Debug for Answering<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Answering({:?})", self.needs)
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
