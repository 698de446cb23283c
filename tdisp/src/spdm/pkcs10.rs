//! Certificate signing requests (PKCS#10, RFC 2986): what GET_CSR says about the one that it wants, and the one that a device
//! makes.
//!
//! ```text
//! CertificationRequest      SEQUENCE { info, signature algorithm, BIT STRING signature over info }
//! CertificationRequestInfo  SEQUENCE { INTEGER 0, subject Name, subjectPublicKeyInfo, [0] attributes }
//! ```

use crate::{
    crypto::{
        CryptoError, HashAlg, SignAlg, Signable, Signer,
        der::{self, BIT_STRING, CONTEXT_0, INTEGER, OBJECT_ID, SEQUENCE},
    },
    wire::{DecodeError, Reader},
};
use alloc::{vec, vec::Vec};

const NULL: u8 = 0x05;
const SET: u8 = 0x31;
const CONTEXT_1: u8 = 0xa1;
const CONTEXT_2: u8 = 0xa2;

/// RequesterInfo of GET_CSR: a CertificationRequestInfo, whose key is not looked at, as the responder puts its own there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequesterInfo<'a> {
    /// The subject wanted: RelativeDistinguishedNames, one behind the other; empty for the responder's choice.
    pub subject: &'a [u8],
    /// The attributes wanted, one behind the other; may be empty.
    pub attributes: &'a [u8],
}

impl<'a> RequesterInfo<'a> {
    /// Reads a whole RequesterInfo; nothing at all is one that wants nothing. Every element must end where the one around it
    /// says: whoever trusted the lengths inside would read, or write, beyond them.
    pub fn decode(info: &'a [u8]) -> Result<Self, DecodeError> {
        if info.is_empty() {
            return Ok(Self::default());
        }
        let what = "requester info";
        let content = Reader::all(info, |r| der::element(r, SEQUENCE, what))?;
        Reader::all(content, |r| {
            check_version(der::element(r, INTEGER, "version of the requester info")?)?;
            let subject = der::element(r, SEQUENCE, "subject in the requester info")?;
            check_name(subject)?;
            check_key(der::element(r, SEQUENCE, "key in the requester info")?)?;
            let attributes = match r.remaining() {
                0 => &[],
                _ => der::element(r, CONTEXT_0, "attributes in the requester info")?,
            };
            check_attributes(attributes)?;
            Ok(Self { subject, attributes })
        })
    }
}

fn check_version(version: &[u8]) -> Result<(), DecodeError> {
    match version {
        [0] => Ok(()),
        other => Err(DecodeError::Invalid {
            what: "version of the requester info",
            found: other.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
            wanted: "0",
        }),
    }
}

/// Sets of pairs of an OID and a value.
fn check_name(name: &[u8]) -> Result<(), DecodeError> {
    let what = "subject in the requester info";
    each(name, |r| {
        let set = der::element(r, SET, what)?;
        each(set, |r| {
            let pair = der::element(r, SEQUENCE, what)?;
            Reader::all(pair, |r| {
                der::element(r, OBJECT_ID, what)?;
                any(r, what)
            })
        })
    })
}

fn check_key(key: &[u8]) -> Result<(), DecodeError> {
    let what = "key in the requester info";
    Reader::all(key, |r| {
        der::element(r, SEQUENCE, what)?;
        der::element(r, BIT_STRING, what).map(drop)
    })
}

/// Pairs of an OID and a set of values.
fn check_attributes(attributes: &[u8]) -> Result<(), DecodeError> {
    let what = "attributes in the requester info";
    each(attributes, |r| {
        let pair = der::element(r, SEQUENCE, what)?;
        Reader::all(pair, |r| {
            der::element(r, OBJECT_ID, what)?;
            der::element(r, SET, what).map(drop)
        })
    })
}

/// Reads elements until none are left; each reads at least one byte, or fails.
fn each(
    content: &[u8],
    mut read: impl FnMut(&mut Reader<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut r = Reader::new(content);
    while r.remaining() > 0 {
        read(&mut r)?;
    }
    Ok(())
}

/// An element of any type.
fn any(r: &mut Reader<'_>, what: &'static str) -> Result<(), DecodeError> {
    let tag = r.clone().u8(what)?;
    der::element(r, tag, what).map(drop)
}

/// Who asks for a certificate.
#[derive(Clone, Copy)]
pub struct Applicant<'a> {
    /// The private key.
    pub signer: &'a dyn Signer,
    /// Its public key, as [`Provider::verify`](crate::crypto::Provider::verify) takes it.
    pub public_key: &'a [u8],
    /// Its name: RelativeDistinguishedNames, one behind the other, as [`common_name`] makes one. What the requester
    /// wants to call it goes first.
    pub name: &'a [u8],
}

impl Applicant<'_> {
    /// A CertificationRequest in DER, signed over `hash` if the key can, or else over a hash that it can.
    pub fn request(&self, hash: HashAlg, wanted: &RequesterInfo<'_>) -> Result<Vec<u8>, CryptoError> {
        let mut hashes = [hash].into_iter().chain(HashAlg::ALL);
        let hash = hashes.find(|hash| self.signer.signs_with(*hash));
        let hash = hash.ok_or(CryptoError::Unsupported("a hash that the key signs"))?;
        let alg = self.signer.algorithm();
        let subject = match wanted.subject {
            [] => self.name,
            subject => subject,
        };
        let info = element(
            SEQUENCE,
            &[
                &element(INTEGER, &[&[0]]),
                &element(SEQUENCE, &[subject]),
                &public_key_info(alg, self.public_key),
                &element(CONTEXT_0, &[wanted.attributes]),
            ],
        );
        let signature = self.signer.sign(&Signable::plain(hash, &info))?;
        let signature = match alg {
            SignAlg::EcdsaP256 | SignAlg::EcdsaP384 => der::ecdsa_der(&signature),
            _ => signature,
        };
        Ok(element(
            SEQUENCE,
            &[&info, &signature_algorithm(alg, hash), &bits(&signature)],
        ))
    }
}

/// One RelativeDistinguishedName: a common name.
pub fn common_name(name: &str) -> Vec<u8> {
    let pair = [
        element(OBJECT_ID, &[&[0x55, 0x04, 0x03]]),
        element(der::UTF8_STRING, &[name.as_bytes()]),
    ];
    element(SET, &[&element(SEQUENCE, &[&pair.concat()])])
}

/// SubjectPublicKeyInfo.
pub fn public_key_info(alg: SignAlg, public_key: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&key_algorithm(alg), &bits(public_key)])
}

/// The AlgorithmIdentifier of a public key.
pub fn key_algorithm(alg: SignAlg) -> Vec<u8> {
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    match alg {
        SignAlg::EcdsaP256 => algorithm(EC, &element(OBJECT_ID, &[P256])),
        SignAlg::EcdsaP384 => algorithm(EC, &element(OBJECT_ID, &[P384])),
        SignAlg::MlDsa44 | SignAlg::MlDsa65 | SignAlg::MlDsa87 => algorithm(&ml_dsa(alg), &[]),
        _ => algorithm(&pkcs1(1), &[NULL, 0]),
    }
}

/// The AlgorithmIdentifier of a signature.
fn signature_algorithm(alg: SignAlg, hash: HashAlg) -> Vec<u8> {
    let number = match hash {
        HashAlg::Sha256 => 2,
        HashAlg::Sha384 => 3,
        HashAlg::Sha512 => 4,
    };
    match alg {
        SignAlg::EcdsaP256 | SignAlg::EcdsaP384 => {
            algorithm(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, number], &[])
        }
        SignAlg::RsaSsa2048 | SignAlg::RsaSsa3072 | SignAlg::RsaSsa4096 => {
            algorithm(&pkcs1(9 + number), &[NULL, 0])
        }
        SignAlg::RsaPss2048 | SignAlg::RsaPss3072 | SignAlg::RsaPss4096 => {
            algorithm(&pkcs1(10), &pss_parameters(hash))
        }
        SignAlg::MlDsa44 | SignAlg::MlDsa65 | SignAlg::MlDsa87 => algorithm(&ml_dsa(alg), &[]),
    }
}

/// RSASSA-PSS-params (RFC 8017 §A.2.3), with a salt as long as the hash.
fn pss_parameters(hash: HashAlg) -> Vec<u8> {
    let last = match hash {
        HashAlg::Sha256 => 1,
        HashAlg::Sha384 => 2,
        HashAlg::Sha512 => 3,
    };
    let hashed = algorithm(
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last],
        &[NULL, 0],
    );
    let mask = algorithm(&pkcs1(8), &hashed);
    let salt = element(INTEGER, &[&[hash.size() as u8]]);
    element(
        SEQUENCE,
        &[
            &element(CONTEXT_0, &[&hashed]),
            &element(CONTEXT_1, &[&mask]),
            &element(CONTEXT_2, &[&salt]),
        ],
    )
}

/// 1.2.840.113549.1.1.`last`.
fn pkcs1(last: u8) -> [u8; 9] {
    [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last]
}

/// 2.16.840.1.101.3.4.3.17 to 19.
fn ml_dsa(alg: SignAlg) -> [u8; 9] {
    let last = match alg {
        SignAlg::MlDsa44 => 17,
        SignAlg::MlDsa65 => 18,
        _ => 19,
    };
    [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, last]
}

fn algorithm(oid: &[u8], parameters: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&element(OBJECT_ID, &[oid]), parameters])
}

/// A BIT STRING of whole bytes.
fn bits(bytes: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], bytes])
}

/// An element in DER, of parts that are less than 16 MiB together.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    let [_, high, middle, low] = (size as u32).to_be_bytes();
    let mut out = match size {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        0x100..=0xffff => vec![tag, 0x82, middle, low],
        _ => vec![tag, 0x83, high, middle, low],
    };
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}
