//! The measurements' transcript: VCA ‖ GET_MEASUREMENTS ‖ MEASUREMENTS, read to the last byte.
//!
//! ```text
//!   GET_VERSION VERSION GET_CAPABILITIES CAPABILITIES NEGOTIATE_ALGORITHMS ALGORITHMS GET_MEASUREMENTS MEASUREMENTS
//!   └──────────────────────────────── VCA ───────────────────────────────────────────┘       without its signature ┘
//!   └───────────────────────────────────────────── L1/L2, which is signed ─────────────────────────────────────────┘
//! ```

use super::{Floor, Parameter, Refusal, chain::Model};
use crate::{
    crypto::{HashAlg, Provider, SignAlg, Signable},
    relay::guest::Negotiated,
    spdm::{
        algorithms::{MeasurementHash, hash_bit, hash_from_bit, sign_bit, sign_from_bit},
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
        let (offer, choice) = (&request.offer, &response.choice);
        one_of(Parameter::Signature, choice.asym, offer.asym)?;
        one_of(Parameter::Hash, choice.hash, offer.hash)?;
        let table = |what, kind| {
            let mask = |set: &Set<'_>| set.table(kind);
            one_of(what, mask(choice).into(), mask(offer).into()).map(|()| mask(choice))
        };
        Ok(Negotiated {
            version: self.context.version.0,
            measurement_hash: response.measurement_hash,
            asym: choice.asym,
            hash: choice.hash,
            dhe: table(Parameter::Group, TableKind::DHE)?,
            aead: table(Parameter::Cipher, TableKind::AEAD)?,
            key_schedule: table(Parameter::KeySchedule, TableKind::KEY_SCHEDULE)?,
        })
    }
}

fn one_of(what: Parameter, found: u32, offered: u32) -> Result<(), Refusal> {
    match found.count_ones() == 1 && found & offered == found {
        true => Ok(()),
        false => Err(Refusal::NotOffered { what, found, offered }),
    }
}

/// The algorithms that are known here; whether the provider has the two together is seen when it is to verify.
fn understood(negotiated: &Negotiated) -> Result<(SignAlg, HashAlg), Refusal> {
    let unknown = |what, found, allowed| Refusal::Algorithm { what, found, allowed };
    let signatures = SignAlg::ALL.into_iter().fold(0, |all, alg| all | sign_bit(alg));
    let sign = sign_from_bit(negotiated.asym);
    let sign = sign.ok_or(unknown(Parameter::Signature, negotiated.asym, signatures))?;
    let hashes = HashAlg::ALL.into_iter().fold(0, |all, alg| all | hash_bit(alg));
    let hash = hash_from_bit(negotiated.hash);
    let hash = hash.ok_or(unknown(Parameter::Hash, negotiated.hash, hashes))?;
    Ok((sign, hash))
}

fn malformed(what: &'static str, found: u64, wanted: &'static str) -> Refusal {
    Refusal::Transcript(DecodeError::Invalid { what, found, wanted })
}
