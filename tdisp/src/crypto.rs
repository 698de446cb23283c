//! The cryptography that the machines ask for: a small trait passed in, with [`Ring`] as the default.
//!
//! SPDM names algorithms by one-bit masks; here they are enums, and each protocol file maps its own bits. What a
//! provider cannot do it answers with [`CryptoError::Unsupported`], never with a weaker choice.

use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use zeroize::Zeroizing;

mod alg;
pub(crate) mod der;
pub mod x509;
pub use alg::{Ability, AeadAlg, ExchangeAlg, HashAlg, SignAlg, TAG_SIZE};

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

/// Overwrites what is no longer needed, at the speed of a copy. Nobody reads the zeros, so the compiler is told that somebody
/// might: it is the best that safe code can do for a whole buffer. For keys that are kept, [`Secret`] is.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    core::hint::black_box(bytes);
}

/// A message that may carry secrets, on its way: [`wipe`]d when it goes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Wiped(Vec<u8>);

impl Wiped {
    /// Takes the bytes over.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl core::ops::Deref for Wiped {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl core::ops::DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl core::fmt::Debug for Wiped {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Wiped({} bytes)", self.0.len())
    }
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

/// The requester's side of a key agreement: the private key, used once.
pub trait KeyAgreement: Send + Sync {
    /// The public value, of the algorithm's request size.
    fn public(&self) -> &[u8];
    /// The shared secret, from what the responder answered: its public value, or a ciphertext.
    fn agree(self: Box<Self>, answer: &[u8]) -> Result<Secret, CryptoError>;
}

/// The responder's side of a key agreement, done in one step.
#[derive(Debug)]
pub struct Encapsulated {
    /// What the requester is answered, of the algorithm's response size.
    pub answer: Vec<u8>,
    /// The shared secret.
    pub secret: Secret,
}

/// An AEAD key.
pub trait Aead: Send + Sync {
    /// Encrypts `data` in place; the tag is the answer. `data` may be empty: then all that it does is authenticate `aad`.
    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_SIZE], CryptoError>;
    /// Checks the tag at the end of `data` and decrypts what is in front of it, in place: the plaintext is the answer.
    /// On error `data` is of no more use.
    fn open<'d>(&self, nonce: [u8; 12], aad: &[u8], data: &'d mut [u8]) -> Result<&'d mut [u8], CryptoError>;
}

/// What a signature is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signable<'a> {
    /// What `message` is hashed with; ML-DSA has its own hash, and takes no notice.
    pub hash: HashAlg,
    /// The context string, at most 255 bytes (FIPS 204 §5.2). ECDSA and RSA have none, and take no notice.
    pub context: &'a [u8],
    /// The message, not hashed yet.
    pub message: Cow<'a, [u8]>,
}

impl<'a> Signable<'a> {
    /// A message that is signed without a context, as certificates are.
    pub fn plain(hash: HashAlg, message: &'a [u8]) -> Self {
        Self {
            hash,
            context: &[],
            message: Cow::Borrowed(message),
        }
    }
}

/// A private signing key.
pub trait Signer: Send + Sync {
    /// Its algorithm.
    fn algorithm(&self) -> SignAlg;
    /// Whether it signs messages hashed with `hash`.
    fn signs_with(&self, hash: HashAlg) -> bool;
    /// Hashes and signs.
    fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError>;
}

/// The cryptography of one platform.
pub trait Provider: Send + Sync {
    /// Whether it can do this. What it cannot do is not offered to a peer.
    fn supports(&self, ability: Ability) -> bool;
    /// A running hash.
    fn hash(&self, alg: HashAlg) -> Box<dyn Hash>;
    /// HMAC (FIPS 198-1) of the concatenated `parts`. `key` may be empty.
    fn hmac(&self, alg: HashAlg, key: &[u8], parts: &[&[u8]]) -> Secret;
    /// Verifies a signature.
    fn verify(
        &self,
        alg: SignAlg,
        public_key: &[u8],
        what: &Signable<'_>,
        signature: &[u8],
    ) -> Result<(), CryptoError>;
    /// A fresh private key of a requester, for one agreement.
    fn key_agreement(&self, alg: ExchangeAlg) -> Result<Box<dyn KeyAgreement>, CryptoError>;
    /// Answers a requester's public value. In a Diffie-Hellman group that is an agreement with a fresh key; who has key
    /// encapsulation mechanisms answers those himself.
    fn encapsulate(&self, alg: ExchangeAlg, peer_public: &[u8]) -> Result<Encapsulated, CryptoError> {
        if alg.is_kem() {
            return Err(CryptoError::Unsupported("key encapsulation"));
        }
        let own = self.key_agreement(alg)?;
        Ok(Encapsulated {
            answer: own.public().to_vec(),
            secret: own.agree(peer_public)?,
        })
    }
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

#[cfg(feature = "post-quantum")]
mod post_quantum;
#[cfg(feature = "post-quantum")]
pub use post_quantum::{MlDsaSigner, PostQuantum};

mod with_ring;
pub use with_ring::RingSigner;
