//! Private keys in memory.

use crate::crypto::{CryptoError, HashAlg, SignAlg, Signable, Signer};
use alloc::{vec, vec::Vec};
use ring::{
    rand,
    signature::{self, EcdsaKeyPair, KeyPair, RsaEncoding, RsaKeyPair},
};

/// An ECDSA or RSA private key held in memory, from PKCS#8 DER.
pub struct RingSigner {
    alg: SignAlg,
    key: Key,
}

enum Key {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl core::fmt::Debug for RingSigner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "RingSigner({})", self.alg)
    }
}

impl RingSigner {
    /// Reads a PKCS#8 v1 key of `alg`'s curve or modulus size.
    pub fn from_pkcs8(alg: SignAlg, der: &[u8]) -> Result<Self, CryptoError> {
        let bad = CryptoError::BadKey("PKCS#8 private key");
        let ecdsa = |alg| EcdsaKeyPair::from_pkcs8(alg, der, &rand::SystemRandom::new()).map(Key::Ecdsa);
        let key = match alg {
            SignAlg::EcdsaP256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            SignAlg::EcdsaP384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            SignAlg::MlDsa44 | SignAlg::MlDsa65 | SignAlg::MlDsa87 => {
                return Err(CryptoError::Unsupported("ML-DSA"));
            }
            _ => RsaKeyPair::from_pkcs8(der).map(Key::Rsa),
        };
        let key = key.map_err(|_| bad)?;
        match &key {
            Key::Rsa(key) if key.public().modulus_len() != alg.signature_size() => Err(bad),
            _ => Ok(Self { alg, key }),
        }
    }

    /// The public key, as [`Provider::verify`](crate::crypto::Provider::verify) takes it.
    pub fn public_key(&self) -> &[u8] {
        match &self.key {
            Key::Ecdsa(key) => key.public_key().as_ref(),
            Key::Rsa(key) => key.public_key().as_ref(),
        }
    }
}

impl Signer for RingSigner {
    fn algorithm(&self) -> SignAlg {
        self.alg
    }

    fn signs_with(&self, hash: HashAlg) -> bool {
        match self.alg {
            SignAlg::EcdsaP256 => hash == HashAlg::Sha256,
            SignAlg::EcdsaP384 => hash == HashAlg::Sha384,
            _ => true,
        }
    }

    fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        if !self.signs_with(what.hash) {
            return Err(CryptoError::Unsupported("signing with this hash"));
        }
        let random = rand::SystemRandom::new();
        let failed = |_| CryptoError::NoEntropy;
        match &self.key {
            Key::Ecdsa(key) => {
                let signed = key.sign(&random, &what.message).map_err(failed)?;
                Ok(signed.as_ref().to_vec())
            }
            Key::Rsa(key) => {
                let mut signed = vec![0; self.alg.signature_size()];
                key.sign(padding(self.alg, what.hash), &random, &what.message, &mut signed)
                    .map_err(failed)?;
                Ok(signed)
            }
        }
    }
}

fn padding(alg: SignAlg, hash: HashAlg) -> &'static dyn RsaEncoding {
    let pss = matches!(
        alg,
        SignAlg::RsaPss2048 | SignAlg::RsaPss3072 | SignAlg::RsaPss4096
    );
    match (pss, hash) {
        (false, HashAlg::Sha256) => &signature::RSA_PKCS1_SHA256,
        (false, HashAlg::Sha384) => &signature::RSA_PKCS1_SHA384,
        (false, HashAlg::Sha512) => &signature::RSA_PKCS1_SHA512,
        (true, HashAlg::Sha256) => &signature::RSA_PSS_SHA256,
        (true, HashAlg::Sha384) => &signature::RSA_PSS_SHA384,
        (true, HashAlg::Sha512) => &signature::RSA_PSS_SHA512,
    }
}
