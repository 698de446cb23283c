//! Cryptography whose randomness a test decides.

use tdisp::crypto::{
    Ability, Aead, AeadAlg, CryptoError, ExchangeAlg, Hash, HashAlg, KeyAgreement, Provider, Ring, Secret,
    SignAlg, Signable,
};

/// `ring`, but for its random bytes: these over and over, or none.
pub(crate) struct Drawing(pub(crate) Option<Vec<u8>>);

impl Provider for Drawing {
    fn supports(&self, ability: Ability) -> bool {
        Ring.supports(ability)
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
    fn key_agreement(&self, group: ExchangeAlg) -> Result<Box<dyn KeyAgreement>, CryptoError> {
        Ring.key_agreement(group)
    }
    fn aead(&self, alg: AeadAlg, key: &[u8]) -> Result<Box<dyn Aead>, CryptoError> {
        Ring.aead(alg, key)
    }
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        let bytes = self.0.as_ref().ok_or(CryptoError::NoEntropy)?;
        for (place, byte) in out.iter_mut().zip(bytes.iter().cycle()) {
            *place = *byte;
        }
        Ok(())
    }
}
