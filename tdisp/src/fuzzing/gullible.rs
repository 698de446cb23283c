//! Cryptography that believes everything: so that a fuzzer, which can forge nothing, gets behind the signatures and tags.
//!
//! Every digest, MAC and shared secret is the same byte over and over, and nothing is encrypted. A signature, a tag or a
//! public value is refused only if it begins with [`BAD`], so that both outcomes are within reach. Random bytes count up from the
//! instance's first, so that a run can be repeated.

use crate::crypto::{
    Ability, Aead, AeadAlg, CryptoError, Digest, Encapsulated, ExchangeAlg, Hash, HashAlg, KeyAgreement,
    Provider, Secret, SignAlg, Signable, Signer, TAG_SIZE,
};
use alloc::{boxed::Box, vec, vec::Vec};
use core::sync::atomic::{AtomicU8, Ordering};

/// What digests, MACs, keys, signatures and tags consist of.
pub const BYTE: u8 = 0x5a;
/// What makes a signature, a tag or a public value a bad one, as its first byte.
pub const BAD: u8 = 0xff;

/// The provider.
#[derive(Debug, Default)]
pub struct Gullible {
    drawn: AtomicU8,
}

impl Provider for Gullible {
    fn supports(&self, _ability: Ability) -> bool {
        true
    }
    fn hash(&self, alg: HashAlg) -> Box<dyn Hash> {
        Box::new(Same(alg))
    }

    fn hmac(&self, alg: HashAlg, _key: &[u8], _parts: &[&[u8]]) -> Secret {
        Secret::new(vec![BYTE; alg.size()])
    }

    fn verify(
        &self,
        _: SignAlg,
        _key: &[u8],
        _what: &Signable<'_>,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        match signature.first() {
            Some(&BAD) | None => Err(CryptoError::BadSignature),
            Some(_) => Ok(()),
        }
    }

    fn key_agreement(&self, alg: ExchangeAlg) -> Result<Box<dyn KeyAgreement>, CryptoError> {
        Ok(Box::new(Public(vec![BYTE; alg.request_size()])))
    }

    fn encapsulate(&self, alg: ExchangeAlg, peer_public: &[u8]) -> Result<Encapsulated, CryptoError> {
        Ok(Encapsulated {
            answer: vec![BYTE; alg.response_size()],
            secret: agreed(peer_public)?,
        })
    }

    fn aead(&self, _: AeadAlg, _key: &[u8]) -> Result<Box<dyn Aead>, CryptoError> {
        Ok(Box::new(Clear))
    }

    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        for byte in out {
            *byte = self.drawn.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Signer for Gullible {
    fn algorithm(&self) -> SignAlg {
        SignAlg::EcdsaP384
    }

    fn signs_with(&self, _hash: HashAlg) -> bool {
        true
    }

    fn sign(&self, _what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        Ok(vec![BYTE; self.algorithm().signature_size()])
    }
}

/// The digest that everything has.
#[must_use]
pub fn digest(alg: HashAlg) -> Digest {
    let bytes: &[u8] = &[BYTE; 64];
    Digest::new(&bytes[..alg.size()]).expect("a digest has at most 64 bytes")
}

struct Same(HashAlg);

impl Hash for Same {
    fn update(&mut self, _bytes: &[u8]) {}

    fn digest(&self) -> Digest {
        digest(self.0)
    }

    fn fork(&self) -> Box<dyn Hash> {
        Box::new(Self(self.0))
    }
}

struct Public(Vec<u8>);

impl KeyAgreement for Public {
    fn public(&self) -> &[u8] {
        &self.0
    }

    fn agree(self: Box<Self>, answer: &[u8]) -> Result<Secret, CryptoError> {
        agreed(answer)
    }
}

fn agreed(peers: &[u8]) -> Result<Secret, CryptoError> {
    match peers.first() {
        Some(&BAD) | None => Err(CryptoError::BadKey("public value")),
        Some(_) => Ok(Secret::new(vec![BYTE; 32])),
    }
}

struct Clear;

impl Aead for Clear {
    fn seal(&self, _nonce: [u8; 12], _aad: &[u8], _data: &mut [u8]) -> Result<[u8; TAG_SIZE], CryptoError> {
        Ok([BYTE; TAG_SIZE])
    }

    fn open<'d>(
        &self,
        _nonce: [u8; 12],
        _aad: &[u8],
        data: &'d mut [u8],
    ) -> Result<&'d mut [u8], CryptoError> {
        let at = data.len().checked_sub(TAG_SIZE).ok_or(CryptoError::BadTag)?;
        match data.split_at_mut(at) {
            (plain, [first, ..]) if *first != BAD => Ok(plain),
            _ => Err(CryptoError::BadTag),
        }
    }
}
