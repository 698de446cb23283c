//! The cryptography that the machines ask for: a small trait passed in, with [`Ring`] as the default.
//!
//! SPDM names algorithms by one-bit masks; here they are enums, and each protocol file maps its own bits. What a
//! provider cannot do it answers with [`CryptoError::Unsupported`], never with a weaker choice.

use alloc::{boxed::Box, vec::Vec};
use zeroize::Zeroizing;

/// A hash function (FIPS 180-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlg {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl HashAlg {
    /// Bytes of a digest.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// A signature algorithm. ECDSA signatures are r‖s, big-endian, each of the curve's width; public keys are SEC1
/// uncompressed points. RSA public keys are PKCS#1 `RSAPublicKey` DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignAlg {
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384Sha384,
}

impl SignAlg {
    /// Bytes of a signature.
    pub const fn signature_size(self) -> usize {
        match self {
            Self::EcdsaP256Sha256 => 64,
            Self::EcdsaP384Sha384 => 96,
        }
    }
}

/// A Diffie-Hellman group. Public values are X‖Y big-endian without the SEC1 tag, as SPDM carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DhGroup {
    /// secp256r1, public 64 bytes, shared secret 32.
    P256,
    /// secp384r1, public 96 bytes, shared secret 48.
    P384,
}

impl DhGroup {
    /// Bytes of a public value.
    pub const fn public_size(self) -> usize {
        match self {
            Self::P256 => 64,
            Self::P384 => 96,
        }
    }
}

/// An authenticated cipher with a 12-byte nonce and a 16-byte tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AeadAlg {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl AeadAlg {
    /// Bytes of a key.
    pub const fn key_size(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }
}

/// Bytes of every AEAD tag here.
pub const TAG_SIZE: usize = 16;

/// A digest of up to 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    bytes: [u8; 64],
    size: u8,
}

impl Digest {
    /// Takes the first 64 bytes of `bytes`: longer input is no digest of ours and answers `None`.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut digest = Self {
            bytes: [0; 64],
            size: u8::try_from(bytes.len()).ok()?,
        };
        digest.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(digest)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.size)]
    }
}

impl core::fmt::Display for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.as_ref().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl core::fmt::Debug for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// A secret byte string: zeroized on drop, never printed, compared in constant time.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Do not copy them anywhere that is not zeroized.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Clone for Secret {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Whether two byte strings are equal, in a time that depends on their lengths alone.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(a, b).into()
}

/// What went wrong in a cryptographic operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The provider does not have the algorithm.
    #[error("{0} is not offered by the cryptographic provider")]
    Unsupported(&'static str),
    /// A signature does not verify.
    #[error("the signature does not verify")]
    BadSignature,
    /// A record's authentication tag does not verify.
    #[error("the authentication tag does not verify")]
    BadTag,
    /// A key or a public value is malformed.
    #[error("the {0} is malformed")]
    BadKey(&'static str),
    /// The random source failed.
    #[error("the random source failed")]
    NoEntropy,
}

/// A running hash.
pub trait Hash: Send + Sync {
    /// Adds bytes.
    fn update(&mut self, bytes: &[u8]);
    /// The digest of what was added so far; the hash goes on.
    fn digest(&self) -> Digest;
    /// A copy that goes its own way.
    fn fork(&self) -> Box<dyn Hash>;
}

/// One side of a key agreement: the private key, used once.
pub trait KeyAgreement: Send + Sync {
    /// The public value, X‖Y.
    fn public(&self) -> &[u8];
    /// The shared secret (the x coordinate) with the peer's public value.
    fn agree(self: Box<Self>, peer_public: &[u8]) -> Result<Secret, CryptoError>;
}

/// An AEAD key.
pub trait Aead: Send + Sync {
    /// Encrypts `data` in place and appends the 16-byte tag.
    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut Vec<u8>) -> Result<(), CryptoError>;
    /// Checks the tag at the end of `data`, decrypts in place and removes the tag; on error `data` is cleared.
    fn open(&self, nonce: [u8; 12], aad: &[u8], data: &mut Vec<u8>) -> Result<(), CryptoError>;
}

/// A private signing key.
pub trait Signer: Send + Sync {
    /// Its algorithm.
    fn algorithm(&self) -> SignAlg;
    /// Hashes and signs `message`.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError>;
}

/// The cryptography of one platform.
pub trait Provider: Send + Sync {
    /// A running hash.
    fn hash(&self, alg: HashAlg) -> Box<dyn Hash>;
    /// HMAC (FIPS 198-1) of the concatenated `parts`. `key` may be empty.
    fn hmac(&self, alg: HashAlg, key: &[u8], parts: &[&[u8]]) -> Secret;
    /// Verifies a signature over the hash of `message`.
    fn verify(
        &self,
        alg: SignAlg,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError>;
    /// A fresh private key for one agreement.
    fn key_agreement(&self, group: DhGroup) -> Result<Box<dyn KeyAgreement>, CryptoError>;
    /// An AEAD key; `key` has the algorithm's size.
    fn aead(&self, alg: AeadAlg, key: &[u8]) -> Result<Box<dyn Aead>, CryptoError>;
    /// Fills `out` from the platform's random source.
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError>;
}

/// The digest of one byte string.
pub fn digest(provider: &dyn Provider, alg: HashAlg, bytes: &[u8]) -> Digest {
    let mut hash = provider.hash(alg);
    hash.update(bytes);
    hash.digest()
}

/// HKDF-Expand (RFC 5869) with `info` given in parts; `size` at most 255 digests.
pub fn hkdf_expand(
    provider: &dyn Provider,
    alg: HashAlg,
    prk: &Secret,
    info: &[&[u8]],
    size: usize,
) -> Secret {
    let mut out: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::with_capacity(size + 64));
    let mut previous = Secret::new(Vec::new());
    let mut counter = 0u8;
    while out.len() < size {
        counter = counter
            .checked_add(1)
            .expect("HKDF output is at most 255 digests");
        let tail = [counter];
        let mut parts = Vec::with_capacity(info.len() + 2);
        parts.push(previous.expose());
        parts.extend_from_slice(info);
        parts.push(&tail);
        let block = provider.hmac(alg, prk.expose(), &parts);
        drop(parts);
        out.extend_from_slice(block.expose());
        previous = block;
    }
    Secret::new(out[..size].to_vec())
}

/// The provider on `ring`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ring;

mod with_ring;
pub use with_ring::RingSigner;
