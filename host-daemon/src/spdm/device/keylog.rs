//! A provider that remembers the secrets that it agrees on, so that a recording can be read afterwards.

use std::sync::{Arc, Mutex, PoisonError};

use tdisp::crypto::{
    Ability, Aead, AeadAlg, CryptoError, Encapsulated, ExchangeAlg, Hash, HashAlg, KeyAgreement, Provider,
    Secret, SignAlg, Signable,
};

/// Does what `P` does, and keeps every shared secret, in the order in which they came.
#[derive(Debug, Clone)]
pub struct KeyLog<P> {
    inner: P,
    log: Log,
}

/// The secrets so far.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Secret>>>);

impl Log {
    fn keep(&self, secret: &Secret) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(secret.clone());
    }

    /// Takes them out.
    pub fn take(&self) -> Vec<Secret> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P> KeyLog<P> {
    /// Begins, with where the secrets go.
    pub fn new(inner: P) -> (Self, Log) {
        let log = Log::default();
        let this = Self {
            inner,
            log: log.clone(),
        };
        (this, log)
    }
}

struct Logged(Box<dyn KeyAgreement>, Log);

impl KeyAgreement for Logged {
    fn public(&self) -> &[u8] {
        self.0.public()
    }

    fn agree(self: Box<Self>, answer: &[u8]) -> Result<Secret, CryptoError> {
        let Self(inner, log) = *self;
        let secret = inner.agree(answer)?;
        log.keep(&secret);
        Ok(secret)
    }
}

impl<P: Provider> Provider for KeyLog<P> {
    fn supports(&self, ability: Ability) -> bool {
        self.inner.supports(ability)
    }

    fn hash(&self, alg: HashAlg) -> Box<dyn Hash> {
        self.inner.hash(alg)
    }

    fn hmac(&self, alg: HashAlg, key: &[u8], parts: &[&[u8]]) -> Secret {
        self.inner.hmac(alg, key, parts)
    }

    fn verify(
        &self,
        alg: SignAlg,
        key: &[u8],
        what: &Signable<'_>,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner.verify(alg, key, what, signature)
    }

    fn key_agreement(&self, alg: ExchangeAlg) -> Result<Box<dyn KeyAgreement>, CryptoError> {
        let inner = self.inner.key_agreement(alg)?;
        Ok(Box::new(Logged(inner, self.log.clone())))
    }

    fn encapsulate(&self, alg: ExchangeAlg, peer: &[u8]) -> Result<Encapsulated, CryptoError> {
        self.inner.encapsulate(alg, peer)
    }

    fn aead(&self, alg: AeadAlg, key: &[u8]) -> Result<Box<dyn Aead>, CryptoError> {
        self.inner.aead(alg, key)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.inner.random(out)
    }
}
