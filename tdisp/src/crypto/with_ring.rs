//! [`Provider`] on `ring` 0.17.

use super::{
    Aead, AeadAlg, CryptoError, DhGroup, Digest, Hash, HashAlg, KeyAgreement, Provider, Ring, Secret,
    SignAlg, Signer,
};
use alloc::{boxed::Box, vec, vec::Vec};
use ring::{aead, agreement, digest, hmac, rand, rand::SecureRandom, signature};

impl Provider for Ring {
    fn hash(&self, alg: HashAlg) -> Box<dyn Hash> {
        Box::new(Running(digest::Context::new(match alg {
            HashAlg::Sha256 => &digest::SHA256,
            HashAlg::Sha384 => &digest::SHA384,
            HashAlg::Sha512 => &digest::SHA512,
        })))
    }

    fn hmac(&self, alg: HashAlg, key: &[u8], parts: &[&[u8]]) -> Secret {
        let alg = match alg {
            HashAlg::Sha256 => hmac::HMAC_SHA256,
            HashAlg::Sha384 => hmac::HMAC_SHA384,
            HashAlg::Sha512 => hmac::HMAC_SHA512,
        };
        let mut context = hmac::Context::with_key(&hmac::Key::new(alg, key));
        parts.iter().for_each(|part| context.update(part));
        Secret::new(context.sign().as_ref().to_vec())
    }

    fn verify(&self, alg: SignAlg, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let alg: &dyn signature::VerificationAlgorithm = match alg {
            SignAlg::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_FIXED,
            SignAlg::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_FIXED,
        };
        signature::UnparsedPublicKey::new(alg, key)
            .verify(message, signature)
            .map_err(|_| CryptoError::BadSignature)
    }

    fn key_agreement(&self, group: DhGroup) -> Result<Box<dyn KeyAgreement>, CryptoError> {
        let alg = agreement_alg(group);
        let private = agreement::EphemeralPrivateKey::generate(alg, &rand::SystemRandom::new())
            .map_err(|_| CryptoError::NoEntropy)?;
        let public = private.compute_public_key().map_err(|_| CryptoError::NoEntropy)?;
        // SEC1 uncompressed: 04 ‖ X ‖ Y. SPDM carries X ‖ Y.
        Ok(Box::new(Ephemeral {
            group,
            private,
            public: public.as_ref()[1..].to_vec(),
        }))
    }

    fn aead(&self, alg: AeadAlg, key: &[u8]) -> Result<Box<dyn Aead>, CryptoError> {
        let alg = match alg {
            AeadAlg::Aes128Gcm => &aead::AES_128_GCM,
            AeadAlg::Aes256Gcm => &aead::AES_256_GCM,
            AeadAlg::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        let key = aead::UnboundKey::new(alg, key).map_err(|_| CryptoError::BadKey("AEAD key"))?;
        Ok(Box::new(Key(aead::LessSafeKey::new(key))))
    }

    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        rand::SystemRandom::new()
            .fill(out)
            .map_err(|_| CryptoError::NoEntropy)
    }
}

fn agreement_alg(group: DhGroup) -> &'static agreement::Algorithm {
    match group {
        DhGroup::P256 => &agreement::ECDH_P256,
        DhGroup::P384 => &agreement::ECDH_P384,
    }
}

struct Running(digest::Context);

impl Hash for Running {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn digest(&self) -> Digest {
        Digest::new(self.0.clone().finish().as_ref()).expect("SHA-2 digests fit 64 bytes")
    }
    fn fork(&self) -> Box<dyn Hash> {
        Box::new(Self(self.0.clone()))
    }
}

struct Ephemeral {
    group: DhGroup,
    private: agreement::EphemeralPrivateKey,
    public: Vec<u8>,
}

impl KeyAgreement for Ephemeral {
    fn public(&self) -> &[u8] {
        &self.public
    }
    fn agree(self: Box<Self>, peer_public: &[u8]) -> Result<Secret, CryptoError> {
        let mut point = vec![4];
        point.extend_from_slice(peer_public);
        let peer = agreement::UnparsedPublicKey::new(agreement_alg(self.group), point);
        agreement::agree_ephemeral(self.private, &peer, |shared| Secret::new(shared.to_vec()))
            .map_err(|_| CryptoError::BadKey("peer's public value"))
    }
}

struct Key(aead::LessSafeKey);

impl Aead for Key {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut Vec<u8>) -> Result<(), CryptoError> {
        self.0
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(aad),
                data,
            )
            .map_err(|_| CryptoError::BadKey("plaintext length"))
    }
    fn open(&self, nonce: [u8; 12], aad: &[u8], data: &mut Vec<u8>) -> Result<(), CryptoError> {
        let opened = self.0.open_in_place(
            aead::Nonce::assume_unique_for_key(nonce),
            aead::Aad::from(aad),
            data,
        );
        let size = opened.map(|plain| plain.len()).map_err(|_| CryptoError::BadTag);
        data.truncate(*size.as_ref().unwrap_or(&0));
        size.map(drop)
    }
}

/// An ECDSA private key held in memory, from PKCS#8 DER.
pub struct RingSigner {
    alg: SignAlg,
    key: signature::EcdsaKeyPair,
}

impl core::fmt::Debug for RingSigner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "RingSigner({:?})", self.alg)
    }
}

impl RingSigner {
    /// Reads a PKCS#8 v1 key of `alg`'s curve.
    pub fn from_pkcs8(alg: SignAlg, der: &[u8]) -> Result<Self, CryptoError> {
        let signing = match alg {
            SignAlg::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            SignAlg::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        };
        let key = signature::EcdsaKeyPair::from_pkcs8(signing, der, &rand::SystemRandom::new())
            .map_err(|_| CryptoError::BadKey("PKCS#8 private key"))?;
        Ok(Self { alg, key })
    }

    /// The public key as a SEC1 uncompressed point.
    pub fn public_key(&self) -> &[u8] {
        signature::KeyPair::public_key(&self.key).as_ref()
    }
}

impl Signer for RingSigner {
    fn algorithm(&self) -> SignAlg {
        self.alg
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signed = self
            .key
            .sign(&rand::SystemRandom::new(), message)
            .map_err(|_| CryptoError::NoEntropy)?;
        Ok(signed.as_ref().to_vec())
    }
}
