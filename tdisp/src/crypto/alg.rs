//! The algorithms, with the sizes of what they make.

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
    /// All of them, the longest first.
    pub const ALL: [Self; 3] = [Self::Sha512, Self::Sha384, Self::Sha256];

    /// Bytes of a digest.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl core::fmt::Display for HashAlg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SHA-{}", 8 * self.size())
    }
}

/// A signature algorithm, without the hash under it: SPDM negotiates that apart, and X.509 names both as one.
///
/// | Family | Signature | Public key |
/// |---|---|---|
/// | ECDSA (FIPS 186-5) | r‖s, big-endian, each of the curve's width | SEC1 uncompressed point |
/// | RSASSA PKCS#1 v1.5, RSAPSS with a salt as long as the hash (RFC 8017) | as long as the modulus | PKCS#1 `RSAPublicKey` DER |
/// | ML-DSA (FIPS 204, pure) | encoded as the standard has it | encoded as the standard has it |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "a variant is named after what it is")]
pub enum SignAlg {
    EcdsaP256,
    EcdsaP384,
    RsaSsa2048,
    RsaSsa3072,
    RsaSsa4096,
    RsaPss2048,
    RsaPss3072,
    RsaPss4096,
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

impl SignAlg {
    /// All of them, in the order in which they are best chosen.
    pub const ALL: [Self; 11] = [
        Self::MlDsa87,
        Self::MlDsa65,
        Self::MlDsa44,
        Self::EcdsaP384,
        Self::EcdsaP256,
        Self::RsaPss4096,
        Self::RsaPss3072,
        Self::RsaSsa4096,
        Self::RsaSsa3072,
        Self::RsaPss2048,
        Self::RsaSsa2048,
    ];

    /// Bytes of a signature.
    pub const fn signature_size(self) -> usize {
        match self {
            Self::EcdsaP256 => 64,
            Self::EcdsaP384 => 96,
            Self::RsaSsa2048 | Self::RsaPss2048 => 256,
            Self::RsaSsa3072 | Self::RsaPss3072 => 384,
            Self::RsaSsa4096 | Self::RsaPss4096 => 512,
            Self::MlDsa44 => 2420,
            Self::MlDsa65 => 3309,
            Self::MlDsa87 => 4627,
        }
    }

    /// Whether it is one of SPDM's post-quantum algorithms, which are negotiated apart (1.4).
    pub const fn is_post_quantum(self) -> bool {
        matches!(self, Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87)
    }
}

impl core::fmt::Display for SignAlg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::RsaSsa2048 => "RSASSA 2048",
            Self::RsaSsa3072 => "RSASSA 3072",
            Self::RsaSsa4096 => "RSASSA 4096",
            Self::RsaPss2048 => "RSAPSS 2048",
            Self::RsaPss3072 => "RSAPSS 3072",
            Self::RsaPss4096 => "RSAPSS 4096",
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        })
    }
}

/// How two sides come by a shared secret: a Diffie-Hellman group, or a key encapsulation mechanism (FIPS 203).
///
/// The requester sends its public value; the responder answers with its own, or with a ciphertext. Points go X‖Y,
/// big-endian, without the SEC1 tag, as SPDM carries them; the secret is the x coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "a variant is named after what it is")]
pub enum ExchangeAlg {
    EcdhP256,
    EcdhP384,
    MlKem512,
    MlKem768,
    MlKem1024,
}

impl ExchangeAlg {
    /// All of them, in the order in which they are best chosen.
    pub const ALL: [Self; 5] = [
        Self::MlKem1024,
        Self::MlKem768,
        Self::MlKem512,
        Self::EcdhP384,
        Self::EcdhP256,
    ];

    /// Bytes of what the requester sends.
    pub const fn request_size(self) -> usize {
        match self {
            Self::EcdhP256 => 64,
            Self::EcdhP384 => 96,
            Self::MlKem512 => 800,
            Self::MlKem768 => 1184,
            Self::MlKem1024 => 1568,
        }
    }

    /// Bytes of what the responder answers.
    pub const fn response_size(self) -> usize {
        match self {
            Self::EcdhP256 => 64,
            Self::EcdhP384 => 96,
            Self::MlKem512 => 768,
            Self::MlKem768 => 1088,
            Self::MlKem1024 => 1568,
        }
    }

    /// Whether it is a key encapsulation mechanism, which SPDM negotiates apart (1.4).
    pub const fn is_kem(self) -> bool {
        matches!(self, Self::MlKem512 | Self::MlKem768 | Self::MlKem1024)
    }
}

impl core::fmt::Display for ExchangeAlg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::EcdhP256 => "ECDH P-256",
            Self::EcdhP384 => "ECDH P-384",
            Self::MlKem512 => "ML-KEM-512",
            Self::MlKem768 => "ML-KEM-768",
            Self::MlKem1024 => "ML-KEM-1024",
        })
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
    /// All of them, in the order in which they are best chosen.
    pub const ALL: [Self; 3] = [Self::Aes256Gcm, Self::ChaCha20Poly1305, Self::Aes128Gcm];

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

/// One thing that a provider may be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Hashing, and MACs with the hash.
    Hash(HashAlg),
    /// Verifying signatures over this hash. The post-quantum algorithms have their own, and go with any.
    Verify(SignAlg, HashAlg),
    /// Agreeing on a secret, on both sides.
    Exchange(ExchangeAlg),
    /// Encrypting and decrypting.
    Aead(AeadAlg),
}
