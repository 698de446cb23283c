//! A device's private key, of any kind that an identity can have.

use super::{CURVES, IdentityError};
use crate::CRYPTOGRAPHY;
use rcgen::KeyPair;
use std::sync::Arc;
use tdisp::crypto::{CryptoError, HashAlg, MlDsaSigner, Provider, RingSigner, SignAlg, Signable, Signer};
use tdisp::spdm::pkcs10;

/// A key that signs, and says which is its public one.
#[derive(Debug)]
pub enum Key {
    /// On a curve.
    Curve(RingSigner),
    /// ML-DSA.
    MlDsa(MlDsaSigner),
}

impl Key {
    /// Reads PKCS#8.
    pub fn from_pkcs8(alg: SignAlg, der: &[u8]) -> Result<Self, CryptoError> {
        match alg.is_post_quantum() {
            true => MlDsaSigner::from_pkcs8(alg, der, Arc::new(CRYPTOGRAPHY)).map(Self::MlDsa),
            false => RingSigner::from_pkcs8(alg, der).map(Self::Curve),
        }
    }

    /// The public key, as [`Provider::verify`] takes it.
    pub fn public_key(&self) -> &[u8] {
        match self {
            Self::Curve(key) => key.public_key(),
            Self::MlDsa(key) => key.public_key(),
        }
    }

    /// Its SubjectPublicKeyInfo.
    pub fn public_key_info(&self) -> Vec<u8> {
        pkcs10::public_key_info(self.algorithm(), self.public_key())
    }
}

impl Signer for Key {
    fn algorithm(&self) -> SignAlg {
        match self {
            Self::Curve(key) => key.algorithm(),
            Self::MlDsa(key) => key.algorithm(),
        }
    }

    fn signs_with(&self, hash: HashAlg) -> bool {
        match self {
            Self::Curve(key) => key.signs_with(hash),
            Self::MlDsa(key) => key.signs_with(hash),
        }
    }

    fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        match self {
            Self::Curve(key) => key.sign(what),
            Self::MlDsa(key) => key.sign(what),
        }
    }
}

/// The algorithm that a PKCS#8 key is for.
pub(super) fn algorithm(der: &[u8]) -> Option<SignAlg> {
    let all = CURVES.iter().map(|(alg, _)| *alg).chain(ML_DSA);
    all.into_iter().find(|alg| Key::from_pkcs8(*alg, der).is_ok())
}

/// A fresh key, PKCS#8 DER.
pub(super) fn draw(alg: SignAlg) -> Result<Vec<u8>, IdentityError> {
    if !alg.is_post_quantum() {
        return Ok(KeyPair::generate_for(super::curve(alg)?)?.serialize_der());
    }
    let mut seed = [0; 32];
    let drawn = CRYPTOGRAPHY.random(&mut seed);
    drawn.map_err(|_| rcgen::Error::RingUnspecified)?;
    // A version of 0, the algorithm, and a seed in the form that RFC 9881 §6 recommends.
    let der = [
        &[0x30, 0x34, 2, 1, 0][..],
        &pkcs10::key_algorithm(alg),
        &[4, 0x22, 0x80, 0x20],
        &seed,
    ];
    Ok(der.concat())
}

const ML_DSA: [SignAlg; 3] = [SignAlg::MlDsa44, SignAlg::MlDsa65, SignAlg::MlDsa87];
