//! The measurements' transcript: VCA ‖ GET_MEASUREMENTS ‖ MEASUREMENTS, read to the last byte.
//!
//! ```text
//!   GET_VERSION VERSION GET_CAPABILITIES CAPABILITIES NEGOTIATE_ALGORITHMS ALGORITHMS GET_MEASUREMENTS MEASUREMENTS
//!   └──────────────────────────────── VCA ───────────────────────────────────────────┘       without its signature ┘
//!   └───────────────────────────────────────────── L1/L2, which is signed ─────────────────────────────────────────┘
//! ```

use super::{Floor, Parameter, Refusal, chain::Model};
use crate::{
    crypto::{Ability, HashAlg, Provider, SignAlg, Signable},
    relay::guest::Negotiated,
    spdm::{
        algorithms::{
            MeasurementHash, hash_bit, hash_from_bit, pqc_sign_bit, pqc_sign_from_bit, sign_bit,
            sign_from_bit,
        },
        msg::{
            Context, Header, Payload, Version,
            algorithms::{self, Set, TableKind},
            capabilities::{self, Flags},
            measurements, version,
        },
        signing, transcript,
    },
    wire::DecodeError,
};

/// A transcript that is well-formed, and in which each selection was offered.
#[derive(Debug)]
pub(super) struct Transcript<'a> {
    pub(super) negotiated: Negotiated,
    /// How the device makes its chains, if its capabilities tell.
    pub(super) model: Option<Model>,
    pub(super) sign: SignAlg,
    pub(super) hash: HashAlg,
    pub(super) measurement_hash: MeasurementHash,
    pub(super) asked: measurements::Request,
    pub(super) nonce: [u8; 32],
    pub(super) answer: measurements::Response<'a>,
    pub(super) signature: &'a [u8],
    l1: &'a [u8],
}

impl<'a> Transcript<'a> {
    pub(super) fn parse(blob: &'a [u8], floor: &Floor) -> Result<Self, Refusal> {
        let mut cursor = Cursor {
            blob,
            at: 0,
            context: Context::new(Version::V1_0),
        };
        let capabilities = cursor.version_and_capabilities()?;
        if !capabilities.any(Flags::MEAS_SIG) {
            return Err(Refusal::Unsigned(
                "the device states no capability to sign measurements",
            ));
        }
        let negotiated = cursor.algorithms()?;
        // Before the rest, whose form hangs on it: a downgrade is to be called by its name.
        floor.check(&negotiated)?;
        let (sign, hash) = understood(&negotiated)?;
        cursor.context.hash_size = hash.size();
        cursor.context.signature_size = sign.signature_size();
        let asked: measurements::Request = cursor.next()?;
        let signed = asked
            .signed
            .ok_or(Refusal::Unsigned("the request did not ask for a signature"))?;
        cursor.context.signature_asked = true;
        let answer: measurements::Response<'a> = cursor.next()?;
        let missing = Refusal::Unsigned("the response has no signature");
        let signature = answer.signature.ok_or(missing)?;
        let measurement_hash = MeasurementHash::from_bit(negotiated.measurement_hash).ok_or_else(|| {
            malformed(
                "measurement hash",
                negotiated.measurement_hash.into(),
                "one bit that is known",
            )
        })?;
        let l1 = cursor.end(signature.len())?;
        Ok(Self {
            negotiated,
            model: model(capabilities),
            sign,
            hash,
            measurement_hash,
            asked,
            nonce: signed.nonce,
            answer,
            signature,
            l1,
        })
    }

    /// Whether there is a way to verify the signature, and those of certificates that are made like it.
    pub(super) fn check_verifiable(&self, provider: &dyn Provider) -> Result<(), Refusal> {
        let (sign, hash) = (self.sign, self.hash);
        match provider.supports(Ability::Verify(sign, hash)) {
            true => Ok(()),
            false => Err(Refusal::Unsupported { sign, hash }),
        }
    }

    /// Whether the signature is by this key.
    pub(super) fn check_signature(&self, public_key: &[u8], provider: &dyn Provider) -> Result<(), Refusal> {
        let message = signed_message(self.answer.version, self.hash, self.l1, provider);
        provider
            .verify(self.sign, public_key, &message, self.signature)
            .map_err(|_| Refusal::Signature)
    }
}

/// With several keys each slot has its own model, which only DIGESTS tells; else the capability does (DSP0274 §10.6.1).
fn model(capabilities: Flags) -> Option<Model> {
    let several = capabilities.any(Flags::MULTI_KEY_ONLY | Flags::MULTI_KEY_NEGOTIATED);
    match capabilities.any(Flags::ALIAS_CERT) {
        _ if several => None,
        true => Some(Model::Alias),
        false => Some(Model::Device),
    }
}

/// What is signed over L1/L2.
pub(super) fn signed_message(
    version: Version,
    hash: HashAlg,
    l1: &[u8],
    provider: &dyn Provider,
) -> Signable<'static> {
    let mut transcript = transcript::Transcript::new(provider, hash, version);
    transcript.add(l1);
    signing::message(version, signing::Context::Measurements, &transcript)
}

struct Cursor<'a> {
    blob: &'a [u8],
    at: usize,
    context: Context,
}

impl<'a> Cursor<'a> {
    fn next<T: Payload<'a>>(&mut self) -> Result<T, Refusal> {
        let (message, size) = T::decode(self.rest(), &self.context).map_err(Refusal::Transcript)?;
        self.at += size;
        Ok(message)
    }

    fn rest(&self) -> &'a [u8] {
        self.blob.get(self.at..).unwrap_or_default()
    }

    /// All of the blob but the signature, which must be its end.
    fn end(&self, signature_size: usize) -> Result<&'a [u8], Refusal> {
        match self.rest().len() {
            0 => Ok(&self.blob[..self.at - signature_size]),
            extra => Err(Refusal::Transcript(DecodeError::Trailing { extra })),
        }
    }

    /// The first four messages: the version that the rest is in, and the device's capabilities.
    fn version_and_capabilities(&mut self) -> Result<Flags, Refusal> {
        let _: version::Request = self.next()?;
        let offered: version::Response = self.next()?;
        let found = Header::peek(self.rest()).map_err(Refusal::Transcript)?.version;
        // Before 1.2 a signature does not cover the VCA, so that nothing would prove what was negotiated.
        if found < Version::V1_2 {
            return Err(Refusal::Version {
                found: found.0,
                floor: Version::V1_2.0,
            });
        }
        if !offered.versions.iter().any(|entry| entry.version() == found) {
            return Err(Refusal::VersionNotOffered { found: found.0 });
        }
        self.context = Context::new(found);
        let asked: capabilities::Request = self.next()?;
        self.context.algorithms_asked = asked.algorithms_asked;
        let device: capabilities::Response<'a> = self.next()?;
        Ok(device.flags)
    }

    /// NEGOTIATE_ALGORITHMS and ALGORITHMS.
    fn algorithms(&mut self) -> Result<Negotiated, Refusal> {
        let request: algorithms::Request<'a> = self.next()?;
        let response: algorithms::Response<'a> = self.next()?;
        let version = self.context.version;
        let (offered, chosen) = (bits(version, &request.offer), bits(version, &response.choice));
        [
            Parameter::Signature,
            Parameter::Hash,
            Parameter::Group,
            Parameter::Cipher,
            Parameter::KeySchedule,
        ]
        .into_iter()
        .try_for_each(|purpose| one_of(purpose.selected(&chosen)?, &chosen, &offered))?;
        Ok(Negotiated {
            measurement_hash: response.measurement_hash,
            ..chosen
        })
    }
}

/// The bits of an offer or a choice. Before 1.4 no structure is about key encapsulation mechanisms, and what stands where
/// post-quantum signature algorithms are later was not read.
fn bits(version: Version, set: &Set<'_>) -> Negotiated {
    let kem = set.table(TableKind::KEM);
    Negotiated {
        version: version.0,
        measurement_hash: 0,
        asym: set.asym,
        pqc_asym: set.pqc_asym,
        hash: set.hash,
        dhe: set.table(TableKind::DHE),
        kem: if version >= Version::V1_4 { kem } else { 0 },
        aead: set.table(TableKind::AEAD),
        key_schedule: set.table(TableKind::KEY_SCHEDULE),
    }
}

fn one_of(what: Parameter, chosen: &Negotiated, offered: &Negotiated) -> Result<(), Refusal> {
    let (found, offer) = (what.of(chosen), what.of(offered));
    match found.count_ones() == 1 && found & offer == found {
        true => Ok(()),
        false => Err(Refusal::NotOffered {
            what,
            found,
            offered: offer,
            instead: what.other().map_or(0, |other| other.of(offered)),
        }),
    }
}

/// The algorithms that are known here; whether the provider has the two together is seen when it is to verify.
fn understood(negotiated: &Negotiated) -> Result<(SignAlg, HashAlg), Refusal> {
    let known = |bit: fn(SignAlg) -> u32| SignAlg::ALL.into_iter().fold(0, |all, alg| all | bit(alg));
    let (classical, post_quantum) = (known(sign_bit), known(pqc_sign_bit));
    let what = Parameter::Signature.selected(negotiated)?;
    let (sign, allowed, instead) = match what.is_post_quantum() {
        true => (pqc_sign_from_bit(negotiated.pqc_asym), post_quantum, classical),
        false => (sign_from_bit(negotiated.asym), classical, post_quantum),
    };
    let sign = sign.ok_or(Refusal::Algorithm {
        what,
        found: what.of(negotiated),
        allowed,
        instead,
    })?;
    let hash = hash_from_bit(negotiated.hash).ok_or_else(|| Refusal::Algorithm {
        what: Parameter::Hash,
        found: negotiated.hash,
        allowed: HashAlg::ALL.into_iter().fold(0, |all, alg| all | hash_bit(alg)),
        instead: 0,
    })?;
    Ok((sign, hash))
}

fn malformed(what: &'static str, found: u64, wanted: &'static str) -> Refusal {
    Refusal::Transcript(DecodeError::Invalid { what, found, wanted })
}
