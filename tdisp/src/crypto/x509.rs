//! Keys and signatures as X.509 names them, for the provider to work with.
//!
//! RFC 5280 and 5480 (elliptic curves), 4055 and 8017 (RSA), 9881 (ML-DSA). Algorithm identifiers have one encoding each
//! in DER, so they are compared as bytes: what differs in a single one is another algorithm.

use super::{CryptoError, HashAlg, Provider, SignAlg, Signable, der};
use crate::wire::{DecodeError, Reader};
use alloc::{borrow::Cow, string::String, vec, vec::Vec};
use x509_parser::asn1_rs::Oid;

pub mod path;

/// A public key, with what it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    bytes: Vec<u8>,
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// On the curve secp256r1.
    P256,
    /// On the curve secp384r1.
    P384,
    /// RSA with a modulus of so many bits.
    Rsa(usize),
    /// ML-DSA-44.
    MlDsa44,
    /// ML-DSA-65.
    MlDsa65,
    /// ML-DSA-87.
    MlDsa87,
}

/// Why a key or a signature is no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    /// It does not have its form.
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    /// It is of an algorithm that is not known here.
    #[error("the algorithm {found} is not known here")]
    Algorithm {
        /// Its object id, and its parameters in hexadecimal if there are any.
        found: String,
    },
    /// The key is for another algorithm.
    #[error("the key is for {found}, wanted one for {wanted}")]
    Key {
        /// What it is for.
        found: KeyKind,
        /// What was wanted.
        wanted: SignAlg,
    },
    /// The signature's algorithm and the issuer's key do not go together.
    #[error("it is signed with {found}, and its issuer's key is for {key}")]
    Mismatch {
        /// The signature's algorithm.
        found: &'static str,
        /// The issuer's key.
        key: KeyKind,
    },
    /// The provider cannot verify signatures like it.
    #[error("it is signed with {0}, which the cryptographic provider cannot verify")]
    Unsupported(SignAlg),
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
}

impl PublicKey {
    /// Reads a whole SubjectPublicKeyInfo, as certificates have it, and RFC 7250 without a certificate.
    pub fn from_der(spki: &[u8]) -> Result<Self, X509Error> {
        let what = "public key";
        let content = Reader::all(spki, |r| der::element(r, der::SEQUENCE, what))?;
        let (named, bits) = Reader::all(content, |r| {
            Ok((
                der::element(r, der::SEQUENCE, what)?,
                der::element(r, der::BIT_STRING, what)?,
            ))
        })?;
        let bytes = whole_bytes(bits, what)?;
        let known = KEYS.iter().find(|(identifier, _)| *identifier == named);
        let kind = match known {
            Some((_, kind)) => *kind,
            None if named == RSA_KEY => KeyKind::Rsa(modulus_bits(bytes)?),
            None => return Err(unknown(named)),
        };
        if let Some(wanted) = kind.size().filter(|size| *size != bytes.len()) {
            return Err(X509Error::Malformed(DecodeError::Invalid {
                what: "bytes of the public key",
                found: bytes.len() as u64,
                wanted: match wanted {
                    65 => "65, for a point of P-256",
                    97 => "97, for a point of P-384",
                    _ => "as many as ML-DSA has for this parameter set",
                },
            }));
        }
        Ok(Self {
            kind,
            bytes: bytes.to_vec(),
        })
    }

    /// The key, as [`Provider::verify`] takes it, if it is one for `alg`.
    pub fn for_alg(&self, alg: SignAlg) -> Result<&[u8], X509Error> {
        match self.kind.is_for(alg) {
            true => Ok(&self.bytes),
            false => Err(X509Error::Key {
                found: self.kind,
                wanted: alg,
            }),
        }
    }

    /// What kind it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Whether a whole certificate is signed by this key, with an algorithm that goes with it.
    pub fn check_signed(&self, certificate: &[u8], provider: &dyn Provider) -> Result<(), X509Error> {
        let signed = Signed::read(certificate)?;
        let scheme = Scheme::read(signed.algorithm)?;
        let mismatch = X509Error::Mismatch {
            found: scheme.name(),
            key: self.kind,
        };
        let alg = scheme.with_key(self.kind).ok_or(mismatch)?;
        let signature = match scheme {
            Scheme::Ecdsa(_) => Cow::Owned(
                der::ecdsa_fixed(signed.signature, alg.signature_size() / 2)
                    .map_err(|_| X509Error::Signature)?,
            ),
            _ => Cow::Borrowed(signed.signature),
        };
        let what = Signable::plain(scheme.hash(), signed.content);
        provider
            .verify(alg, &self.bytes, &what, &signature)
            .map_err(|error| match error {
                CryptoError::Unsupported(_) => X509Error::Unsupported(alg),
                _ => X509Error::Signature,
            })
    }
}

impl KeyKind {
    fn is_for(self, alg: SignAlg) -> bool {
        match alg {
            SignAlg::EcdsaP256 => self == Self::P256,
            SignAlg::EcdsaP384 => self == Self::P384,
            SignAlg::RsaSsa2048 | SignAlg::RsaPss2048 => self == Self::Rsa(2048),
            SignAlg::RsaSsa3072 | SignAlg::RsaPss3072 => self == Self::Rsa(3072),
            SignAlg::RsaSsa4096 | SignAlg::RsaPss4096 => self == Self::Rsa(4096),
            SignAlg::MlDsa44 => self == Self::MlDsa44,
            SignAlg::MlDsa65 => self == Self::MlDsa65,
            SignAlg::MlDsa87 => self == Self::MlDsa87,
        }
    }

    /// Bytes of a key, where all of a kind have the same.
    fn size(self) -> Option<usize> {
        match self {
            Self::P256 => Some(65),
            Self::P384 => Some(97),
            Self::Rsa(_) => None,
            Self::MlDsa44 => Some(1312),
            Self::MlDsa65 => Some(1952),
            Self::MlDsa87 => Some(2592),
        }
    }
}

impl core::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::P256 => f.write_str("ECDSA P-256"),
            Self::P384 => f.write_str("ECDSA P-384"),
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::MlDsa44 => f.write_str("ML-DSA-44"),
            Self::MlDsa65 => f.write_str("ML-DSA-65"),
            Self::MlDsa87 => f.write_str("ML-DSA-87"),
        }
    }
}

/// The parts of a certificate. What is around the signed one is not signed itself; in DER it has one form only.
struct Signed<'a> {
    /// The TBSCertificate, with its tag and length.
    content: &'a [u8],
    /// Content of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn read(certificate: &'a [u8]) -> Result<Self, DecodeError> {
        let what = "certificate";
        let whole = Reader::all(certificate, |r| der::element(r, der::SEQUENCE, what))?;
        Reader::all(whole, |r| {
            let inner = signed_algorithm(der::element(r, der::SEQUENCE, what)?)?;
            let content = &whole[..r.consumed()];
            let algorithm = der::element(r, der::SEQUENCE, what)?;
            let bits = der::element(r, der::BIT_STRING, what)?;
            // The algorithm that is signed must be the one that is used (RFC 5280 §4.1.1.2).
            if inner != algorithm {
                return Err(DecodeError::Invalid {
                    what: "signature algorithm",
                    found: algorithm.len() as u64,
                    wanted: "the one that the signed part names too",
                });
            }
            Ok(Self {
                content,
                algorithm,
                signature: whole_bytes(bits, what)?,
            })
        })
    }
}

/// The content of the AlgorithmIdentifier in a TBSCertificate: after the version, if there is one, and the serial number.
fn signed_algorithm(content: &[u8]) -> Result<&[u8], DecodeError> {
    let what = "signed part of a certificate";
    let mut r = Reader::new(content);
    if content.first() == Some(&der::CONTEXT_0) {
        der::element(&mut r, der::CONTEXT_0, what)?;
    }
    der::element(&mut r, der::INTEGER, what)?;
    der::element(&mut r, der::SEQUENCE, what)
}

/// How a certificate is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Ecdsa(HashAlg),
    RsaSsa(HashAlg),
    RsaPss(HashAlg),
    MlDsa(SignAlg),
}

impl Scheme {
    fn read(named: &[u8]) -> Result<Self, X509Error> {
        let known = SCHEMES.iter().find(|(identifier, _)| *identifier == named);
        if let Some((_, scheme)) = known {
            return Ok(*scheme);
        }
        let pss = named.strip_prefix(RSA_PSS).and_then(pss_hash);
        pss.map(Self::RsaPss).ok_or_else(|| unknown(named))
    }

    /// The algorithm that this is with a key.
    fn with_key(self, key: KeyKind) -> Option<SignAlg> {
        let all = SignAlg::ALL.into_iter().filter(|alg| key.is_for(*alg));
        let fits = |alg: &SignAlg| match self {
            Self::Ecdsa(_) => matches!(alg, SignAlg::EcdsaP256 | SignAlg::EcdsaP384),
            Self::RsaSsa(_) => matches!(
                alg,
                SignAlg::RsaSsa2048 | SignAlg::RsaSsa3072 | SignAlg::RsaSsa4096
            ),
            Self::RsaPss(_) => matches!(
                alg,
                SignAlg::RsaPss2048 | SignAlg::RsaPss3072 | SignAlg::RsaPss4096
            ),
            Self::MlDsa(own) => *alg == own,
        };
        all.into_iter().find(fits)
    }

    fn hash(self) -> HashAlg {
        match self {
            Self::Ecdsa(hash) | Self::RsaSsa(hash) | Self::RsaPss(hash) => hash,
            // It has its own; this one is not looked at.
            Self::MlDsa(_) => HashAlg::Sha512,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ecdsa(_) => "ECDSA",
            Self::RsaSsa(_) => "RSASSA PKCS#1 v1.5",
            Self::RsaPss(_) => "RSAPSS",
            Self::MlDsa(SignAlg::MlDsa44) => "ML-DSA-44",
            Self::MlDsa(SignAlg::MlDsa65) => "ML-DSA-65",
            Self::MlDsa(_) => "ML-DSA-87",
        }
    }
}

/// The hash of RSAPSS parameters in which all is as SPDM and TLS have it: one hash for the message and the mask, and a salt
/// of its length. A hash's own parameters are NULL or absent, each of both times (RFC 4055 §2.1).
fn pss_hash(parameters: &[u8]) -> Option<HashAlg> {
    let like = |hash: &HashAlg| {
        let forms = [(true, true), (false, false), (true, false), (false, true)];
        forms
            .into_iter()
            .any(|nulls| pss_parameters(*hash, nulls) == parameters)
    };
    HashAlg::ALL.into_iter().find(like)
}

fn pss_parameters(hash: HashAlg, nulls: (bool, bool)) -> Vec<u8> {
    let named = |null: bool| {
        let last = match hash {
            HashAlg::Sha256 => 1,
            HashAlg::Sha384 => 2,
            HashAlg::Sha512 => 3,
        };
        let oid = [0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, last];
        let null: &[u8] = if null { &[5, 0] } else { &[] };
        tlv(der::SEQUENCE, &[&oid, null])
    };
    let mask = tlv(der::SEQUENCE, &[MGF1, &named(nulls.1)]);
    tlv(
        der::SEQUENCE,
        &[
            &tlv(0xa0, &[&named(nulls.0)]),
            &tlv(0xa1, &[&mask]),
            &[0xa2, 3, 2, 1, hash.size() as u8],
        ],
    )
}

/// An element with less than 128 bytes in it.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut element = vec![tag, content.len() as u8];
    element.extend(content);
    element
}

/// The content of a BIT STRING that has whole bytes.
fn whole_bytes<'a>(bits: &'a [u8], what: &'static str) -> Result<&'a [u8], DecodeError> {
    match bits {
        [0, bytes @ ..] => Ok(bytes),
        _ => Err(DecodeError::Invalid {
            what,
            found: bits.first().copied().unwrap_or_default().into(),
            wanted: "no unused bits in its BIT STRING",
        }),
    }
}

/// Bits of the modulus in an RSAPublicKey, SEQUENCE { n INTEGER, e INTEGER }.
fn modulus_bits(key: &[u8]) -> Result<usize, DecodeError> {
    let what = "RSA public key";
    let content = Reader::all(key, |r| der::element(r, der::SEQUENCE, what))?;
    let modulus = Reader::all(content, |r| {
        let modulus = der::element(r, der::INTEGER, what)?;
        der::element(r, der::INTEGER, what).map(|_| modulus)
    })?;
    let magnitude = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let first = magnitude.first().copied().unwrap_or_default();
    Ok((8 * magnitude.len()).saturating_sub(first.leading_zeros() as usize))
}

fn unknown(named: &[u8]) -> X509Error {
    let mut reader = Reader::new(named);
    let oid = der::element(&mut reader, der::OBJECT_ID, "algorithm");
    let mut found = match oid {
        Ok(oid) => Oid::new(Cow::Borrowed(oid)).to_id_string(),
        Err(error) => return error.into(),
    };
    let parameters = named.get(reader.consumed()..).unwrap_or_default();
    if !parameters.is_empty() {
        found.push(' ');
    }
    let shown = parameters.iter().take(SHOWN_MAX);
    found.extend(shown.flat_map(|byte| hex(*byte)));
    X509Error::Algorithm { found }
}

fn hex(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 0x0f].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('?'))
}

/// Bytes of parameters that a message shows.
const SHOWN_MAX: usize = 64;

/// Contents of the AlgorithmIdentifiers of keys.
const KEYS: [(&[u8], KeyKind); 5] = [
    (
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
        KeyKind::P256,
    ),
    (
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22",
        KeyKind::P384,
    ),
    (b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11", KeyKind::MlDsa44),
    (b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12", KeyKind::MlDsa65),
    (b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13", KeyKind::MlDsa87),
];
/// The same of an RSA key: rsaEncryption, with NULL.
const RSA_KEY: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// Contents of the AlgorithmIdentifiers of signatures that have no parameters, or NULL.
const SCHEMES: [(&[u8], Scheme); 9] = [
    (
        b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
        Scheme::Ecdsa(HashAlg::Sha256),
    ),
    (
        b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
        Scheme::Ecdsa(HashAlg::Sha384),
    ),
    (
        b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04",
        Scheme::Ecdsa(HashAlg::Sha512),
    ),
    (
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
        Scheme::RsaSsa(HashAlg::Sha256),
    ),
    (
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00",
        Scheme::RsaSsa(HashAlg::Sha384),
    ),
    (
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00",
        Scheme::RsaSsa(HashAlg::Sha512),
    ),
    (
        b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11",
        Scheme::MlDsa(SignAlg::MlDsa44),
    ),
    (
        b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12",
        Scheme::MlDsa(SignAlg::MlDsa65),
    ),
    (
        b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13",
        Scheme::MlDsa(SignAlg::MlDsa87),
    ),
];
/// id-RSASSA-PSS, before its parameters.
const RSA_PSS: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
/// id-mgf1.
const MGF1: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";
