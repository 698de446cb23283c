//! [`Provider`] on `ring` 0.17.

use super::{
    Ability, Aead, AeadAlg, CryptoError, Digest, ExchangeAlg, Hash, HashAlg, KeyAgreement, Provider, Ring,
    Secret, SignAlg, Signable, TAG_SIZE, der,
};
use alloc::{boxed::Box, vec, vec::Vec};
use ring::{aead, agreement, digest, hmac, rand, rand::SecureRandom, signature};

mod signer;
pub use signer::RingSigner;

impl Provider for Ring {
    fn supports(&self, ability: Ability) -> bool {
        match ability {
            Ability::Hash(_) | Ability::Aead(_) => true,
            Ability::Verify(alg, hash) => Verification::of(alg, hash).is_some(),
            Ability::Exchange(alg) => agreement_alg(alg).is_some(),
        }
    }

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

    fn verify(
        &self,
        alg: SignAlg,
        key: &[u8],
        what: &Signable<'_>,
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let unsupported = CryptoError::Unsupported("the signature algorithm with this hash");
        let with = Verification::of(alg, what.hash).ok_or(unsupported)?;
        // RSA in particular would take the key of another size, whose signatures have another size too.
        if signature.len() != alg.signature_size() {
            return Err(CryptoError::BadSignature);
        }
        let der;
        let (with, signature) = match with {
            Verification::Fixed(with) => (with, signature),
            Verification::Der(with) => {
                der = der::ecdsa_der(signature);
                (with, &der[..])
            }
        };
        signature::UnparsedPublicKey::new(with, key)
            .verify(&what.message, signature)
            .map_err(|_| CryptoError::BadSignature)
    }

    fn key_agreement(&self, alg: ExchangeAlg) -> Result<Box<dyn KeyAgreement>, CryptoError> {
        let unsupported = CryptoError::Unsupported("the key exchange algorithm");
        let alg = agreement_alg(alg).ok_or(unsupported)?;
        let private = agreement::EphemeralPrivateKey::generate(alg, &rand::SystemRandom::new())
            .map_err(|_| CryptoError::NoEntropy)?;
        let public = private.compute_public_key().map_err(|_| CryptoError::NoEntropy)?;
        // SEC1 uncompressed: 04 ‖ X ‖ Y. SPDM carries X ‖ Y.
        Ok(Box::new(Ephemeral {
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

/// How `ring` verifies a signature algorithm over a hash.
enum Verification {
    /// From the signature as it comes.
    Fixed(&'static dyn signature::VerificationAlgorithm),
    /// From its DER form: the pairs of a curve with the other curve's hash are there in no other.
    Der(&'static dyn signature::VerificationAlgorithm),
}

impl Verification {
    fn of(alg: SignAlg, hash: HashAlg) -> Option<Self> {
        use HashAlg::{Sha256, Sha384, Sha512};
        use SignAlg::{
            EcdsaP256, EcdsaP384, RsaPss2048, RsaPss3072, RsaPss4096, RsaSsa2048, RsaSsa3072, RsaSsa4096,
        };
        Some(match (alg, hash) {
            (EcdsaP256, Sha256) => Self::Fixed(&signature::ECDSA_P256_SHA256_FIXED),
            (EcdsaP256, Sha384) => Self::Der(&signature::ECDSA_P256_SHA384_ASN1),
            (EcdsaP384, Sha256) => Self::Der(&signature::ECDSA_P384_SHA256_ASN1),
            (EcdsaP384, Sha384) => Self::Fixed(&signature::ECDSA_P384_SHA384_FIXED),
            (RsaSsa2048 | RsaSsa3072 | RsaSsa4096, hash) => Self::Fixed(match hash {
                Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            }),
            (RsaPss2048 | RsaPss3072 | RsaPss4096, hash) => Self::Fixed(match hash {
                Sha256 => &signature::RSA_PSS_2048_8192_SHA256,
                Sha384 => &signature::RSA_PSS_2048_8192_SHA384,
                Sha512 => &signature::RSA_PSS_2048_8192_SHA512,
            }),
            _ => return None,
        })
    }
}

fn agreement_alg(alg: ExchangeAlg) -> Option<&'static agreement::Algorithm> {
    match alg {
        ExchangeAlg::EcdhP256 => Some(&agreement::ECDH_P256),
        ExchangeAlg::EcdhP384 => Some(&agreement::ECDH_P384),
        ExchangeAlg::MlKem512 | ExchangeAlg::MlKem768 | ExchangeAlg::MlKem1024 => None,
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
    private: agreement::EphemeralPrivateKey,
    public: Vec<u8>,
}

impl KeyAgreement for Ephemeral {
    fn public(&self) -> &[u8] {
        &self.public
    }
    fn agree(self: Box<Self>, answer: &[u8]) -> Result<Secret, CryptoError> {
        let mut point = vec![4];
        point.extend_from_slice(answer);
        let peer = agreement::UnparsedPublicKey::new(self.private.algorithm(), point);
        agreement::agree_ephemeral(self.private, &peer, |shared| Secret::new(shared.to_vec()))
            .map_err(|_| CryptoError::BadKey("peer's public value"))
    }
}

struct Key(aead::LessSafeKey);

impl Aead for Key {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_SIZE], CryptoError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), data);
        let tag = tag.map_err(|_| CryptoError::BadKey("plaintext length"))?;
        tag.as_ref()
            .try_into()
            .map_err(|_| CryptoError::Unsupported("a tag of another size"))
    }
    fn open<'d>(&self, nonce: [u8; 12], aad: &[u8], data: &'d mut [u8]) -> Result<&'d mut [u8], CryptoError> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let opened = self.0.open_in_place(nonce, aead::Aad::from(aad), data);
        opened.map_err(|_| CryptoError::BadTag)
    }
}
