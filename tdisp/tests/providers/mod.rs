//! `ring`'s cryptography, but for the part that a test decides.

#![allow(dead_code, reason = "each test program uses its own part")]

use tdisp::crypto::{
    Ability, Aead, AeadAlg, CryptoError, ExchangeAlg, Hash, HashAlg, KeyAgreement, Provider, Ring, Secret,
    SignAlg, Signable,
};

/// What a stand-in for the provider has of its own; what it does not state is `ring`'s.
pub(crate) trait Own: Send + Sync {
    fn supports(&self, ability: Ability) -> bool {
        Ring.supports(ability)
    }
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        Ring.random(out)
    }
}

/// `ring`, but for what this has of its own.
#[derive(Default)]
pub(crate) struct RingBut<T>(pub(crate) T);

impl<T: Own> Provider for RingBut<T> {
    fn supports(&self, ability: Ability) -> bool {
        self.0.supports(ability)
    }
    fn hash(&self, alg: HashAlg) -> Box<dyn Hash> {
        Ring.hash(alg)
    }
    fn hmac(&self, alg: HashAlg, key: &[u8], parts: &[&[u8]]) -> Secret {
        Ring.hmac(alg, key, parts)
    }
    fn verify(
        &self,
        alg: SignAlg,
        key: &[u8],
        what: &Signable<'_>,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        Ring.verify(alg, key, what, signature)
    }
    fn key_agreement(&self, alg: ExchangeAlg) -> Result<Box<dyn KeyAgreement>, CryptoError> {
        Ring.key_agreement(alg)
    }
    fn aead(&self, alg: AeadAlg, key: &[u8]) -> Result<Box<dyn Aead>, CryptoError> {
        Ring.aead(alg, key)
    }
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.random(out)
    }
}

/// Random bytes that are these over and over, or none.
pub(crate) struct Drawing(pub(crate) Option<Vec<u8>>);

impl Own for Drawing {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        let bytes = self.0.as_ref().ok_or(CryptoError::NoEntropy)?;
        for (place, byte) in out.iter_mut().zip(bytes.iter().cycle()) {
            *place = *byte;
        }
        Ok(())
    }
}
