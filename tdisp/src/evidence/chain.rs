//! The certificate chain object of SPDM and the strict validation of its path.
//!
//! ```text
//!   u16 length ‖ u16 0 ‖ H(root) ‖ root ‖ intermediate … ‖ leaf          DSP0274 §10.6.1, SPDM 1.2 and 1.3
//!                          │        │      signs            │
//!                          └─ of ───┘ must be pinned         └ its key signs the measurements
//! ```
//!
//! The rules are RFC 5280's, less what device chains do not use: a certificate that needs more (name constraints,
//! policies marked critical) is refused, not half understood. Every certificate, the root among them, is checked for
//! version 3, no extension twice, no unknown critical extension, the time, an issuer that is the subject before it,
//! and a signature by the key before it (the root's own for the root). All but the leaf must be CAs that may sign
//! certificates and whose path length allows what follows; the leaf must be none, may sign, and has a key of the
//! negotiated algorithm.
//!
//! Not done here: revocation.

use crate::{
    clock::UnixTime,
    crypto::{
        Digest, HashAlg, Provider, SignAlg, digest, same,
        x509::{PublicKey, X509Error},
    },
    spdm::msg::{Version, certificate},
    wire::DecodeError,
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use x509_parser::prelude::{
    FromDer, ParsedExtension, SubjectPublicKeyInfo, X509Certificate, X509Name, X509Version,
};

mod identity;
pub use identity::{Identity, IdentityRule, PciIdentity};

/// Bytes of the longest chain object: its length field has 16 bits.
pub const SIZE_MAX: usize = 0xffff;

/// Certificates in the longest chain.
pub const LENGTH_MAX: usize = 8;

/// A root that may vouch for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// What the operator calls it.
    pub name: String,
    /// SHA-256, SHA-384 or SHA-512 of the root certificate's DER; which one its size says.
    pub digest: Digest,
}

/// What a chain must be.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The negotiated version, which the object's header is in.
    pub version: Version,
    /// The negotiated hash, which the object's root hash is made with.
    pub hash: HashAlg,
    /// The negotiated signature algorithm, which the leaf's key must be for.
    pub leaf: SignAlg,
    /// The roots that this device's rule allows.
    pub roots: &'a [Root],
    /// The time that validity is judged by.
    pub now: UnixTime,
    /// What the leaf must say about the device.
    pub identity: &'a IdentityRule,
}

/// What a valid chain proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its public key, as [`Provider::verify`] takes it.
    pub public_key: Vec<u8>,
    /// Whom it names.
    pub identity: Identity,
}

/// Why a chain is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object does not have its form.
    #[error("the certificate chain object is malformed: {0}; the host or the device damaged it")]
    Malformed(DecodeError),
    /// The object is longer than SPDM allows.
    #[error("the certificate chain has {found} bytes, wanted at most 65535")]
    TooLarge {
        /// Its length.
        found: usize,
    },
    /// Too few certificates, or too many.
    #[error("the certificate chain has {found} certificates, wanted 2 to 8, root first")]
    Length {
        /// How many; a count above 8 is not finished.
        found: usize,
    },
    /// The root hash in the object is not the first certificate's.
    #[error("the certificate chain names the root {found}, but its first certificate is {wanted}")]
    RootHash {
        /// In the object.
        found: Box<Digest>,
        /// Of the first certificate.
        wanted: Box<Digest>,
    },
    /// The root is none of those that this device's rule allows.
    #[error(
        "the device's chain leads to the root {found} ({subject}), which is not pinned for this device; wanted {}. \
         If that root is the vendor's, add its digest to the device's rule",
        names(.wanted)
    )]
    RootNotPinned {
        /// Digest of the first certificate, by the negotiated hash.
        found: Box<Digest>,
        /// Its subject.
        subject: String,
        /// The pinned roots.
        wanted: Vec<Root>,
    },
    /// A certificate breaks a rule.
    #[error("certificate {position} of the chain ({subject}): {fault}")]
    Certificate {
        /// Which one; 0 is the root.
        position: usize,
        /// Whom it names; empty if that could not be read.
        subject: String,
        /// Which rule.
        fault: Fault,
    },
    /// The leaf does not say about the device what the rule wants.
    #[error("{0}")]
    Identity(identity::Mismatch),
}

/// The rule that a certificate breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is no certificate.
    #[error("it is no well-formed X.509 certificate")]
    Malformed,
    /// It is not of version 3.
    #[error("it is of X.509 version {found}, wanted 3")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It has the same extension twice, or one that is malformed.
    #[error("its extension {oid} is malformed or there twice")]
    Extension {
        /// Which.
        oid: String,
    },
    /// It has a critical extension that is not understood here.
    #[error("it has the critical extension {oid}, which is not understood and so may not be ignored")]
    UnknownCritical {
        /// Which.
        oid: String,
    },
    /// Its time is over.
    #[error("it expired on {found}, and it is {now}; renew the device's certificates, or check the clock")]
    Expired {
        /// End of validity.
        found: String,
        /// The time given.
        now: String,
    },
    /// Its time has not come.
    #[error(
        "it is valid from {found}, and it is {now}; check the clock: it must be set before a device is judged"
    )]
    NotYetValid {
        /// Begin of validity.
        found: String,
        /// The time given.
        now: String,
    },
    /// Its issuer is not the certificate before it.
    #[error("it was issued by {found}, wanted the certificate before it, {wanted}")]
    Issuer {
        /// Its issuer.
        found: String,
        /// Subject of the certificate before it.
        wanted: String,
    },
    /// Its signature is not by the key before it.
    #[error(
        "its signature is not by the key of the certificate before it: another key bears the same name, or it was altered"
    )]
    Signature,
    /// The signature or the key is of an algorithm that is not accepted.
    #[error("it uses the algorithm {found}, wanted ECDSA on P-256 or P-384, RSA or ML-DSA as SPDM has them")]
    Algorithm {
        /// Object id.
        found: String,
    },
    /// A CA is wanted.
    #[error("it is not a CA, but another certificate is issued by it")]
    NotCa,
    /// A leaf is wanted.
    #[error("it is a CA, but stands at the end of the chain, where the device's own certificate belongs")]
    LeafIsCa,
    /// Its path length is too short for what follows.
    #[error("it allows {found} CAs after it, and {wanted} follow")]
    PathLength {
        /// Its path length constraint.
        found: u32,
        /// CAs between it and the leaf.
        wanted: usize,
    },
    /// Its key may not be used so.
    #[error("its key usage does not include {wanted}")]
    KeyUsage {
        /// What is wanted.
        wanted: &'static str,
    },
    /// Its key is for another purpose.
    #[error("its extended key usage allows neither an SPDM responder nor any server")]
    Purpose,
    /// The leaf's key is not for the negotiated algorithm.
    #[error("its key is for {found}, but the session was negotiated with {wanted}")]
    LeafKey {
        /// What the key is for.
        found: String,
        /// What was negotiated.
        wanted: SignAlg,
    },
}

/// Checks a chain object against the rules; what it answers is proven by the pinned root.
pub fn validate(object: &[u8], rules: &Rules<'_>, provider: &dyn Provider) -> Result<Leaf, Error> {
    let (root_hash, certificates) = split(object, rules)?;
    let root = pinned(root_hash, certificates[0].as_raw(), rules, provider)?;
    let mut issuer = &certificates[0];
    for (position, certificate) in certificates.iter().enumerate() {
        let link = Link {
            certificate,
            issuer,
            cas_after: (certificates.len() - 2).saturating_sub(position),
        };
        let checked =
            link.check(rules.now, provider)
                .and_then(|()| match position + 1 == certificates.len() {
                    true => leaf_rules(certificate, rules.leaf),
                    false => link.ca_rules(),
                });
        checked.map_err(|fault| broken(position, certificate, fault))?;
        issuer = certificate;
    }
    let identity = identity::read(issuer, root, provider)
        .map_err(|fault| broken(certificates.len() - 1, issuer, fault))?;
    rules.identity.check(&identity).map_err(Error::Identity)?;
    Ok(Leaf {
        public_key: issuer.public_key().subject_public_key.data.to_vec(),
        identity,
    })
}

/// The root hash and the certificates, each decoded.
fn split<'a>(object: &'a [u8], rules: &Rules<'_>) -> Result<(&'a [u8], Vec<X509Certificate<'a>>), Error> {
    if object.len() > SIZE_MAX {
        return Err(Error::TooLarge { found: object.len() });
    }
    let chain = certificate::Chain::decode(object, rules.version, rules.hash.size());
    let chain = chain.map_err(Error::Malformed)?;
    let certificates = certificates(chain.certificates)?;
    match certificates.len() {
        2..=LENGTH_MAX => Ok((chain.root_hash, certificates)),
        found => Err(Error::Length { found }),
    }
}

fn certificates(mut rest: &[u8]) -> Result<Vec<X509Certificate<'_>>, Error> {
    let mut certificates = Vec::new();
    while !rest.is_empty() {
        if certificates.len() == LENGTH_MAX {
            return Err(Error::Length {
                found: LENGTH_MAX + 1,
            });
        }
        let position = certificates.len();
        let malformed = |_| Error::Certificate {
            position,
            subject: String::new(),
            fault: Fault::Malformed,
        };
        let (after, certificate) = X509Certificate::from_der(rest).map_err(malformed)?;
        certificates.push(certificate);
        rest = after;
    }
    Ok(certificates)
}

/// The pinned root that the first certificate is.
fn pinned<'r>(
    root_hash: &[u8],
    root: &[u8],
    rules: &Rules<'r>,
    provider: &dyn Provider,
) -> Result<&'r Root, Error> {
    let wanted = digest(provider, rules.hash, root);
    if !same(root_hash, wanted.as_ref()) {
        let found = Box::new(Digest::new(root_hash).unwrap_or(wanted));
        return Err(Error::RootHash {
            found,
            wanted: Box::new(wanted),
        });
    }
    let matches = |pinned: &&Root| {
        let alg = match pinned.digest.as_ref().len() {
            32 => HashAlg::Sha256,
            48 => HashAlg::Sha384,
            64 => HashAlg::Sha512,
            _ => return false,
        };
        same(digest(provider, alg, root).as_ref(), pinned.digest.as_ref())
    };
    let subject = || X509Certificate::from_der(root).map(|(_, root)| printable(root.subject()));
    rules
        .roots
        .iter()
        .find(matches)
        .ok_or_else(|| Error::RootNotPinned {
            found: Box::new(wanted),
            subject: subject().unwrap_or_default(),
            wanted: rules.roots.to_vec(),
        })
}

/// One certificate and the one before it; the root's is itself.
struct Link<'c, 'a> {
    certificate: &'c X509Certificate<'a>,
    issuer: &'c X509Certificate<'a>,
    cas_after: usize,
}

impl Link<'_, '_> {
    /// The rules for all certificates.
    fn check(&self, now: UnixTime, provider: &dyn Provider) -> Result<(), Fault> {
        let certificate = self.certificate;
        if certificate.version() != X509Version::V3 {
            return Err(Fault::Version {
                found: certificate.version().0.saturating_add(1),
            });
        }
        extensions(certificate)?;
        validity(certificate, now)?;
        if certificate.issuer().as_raw() != self.issuer.subject().as_raw() {
            let found = printable(certificate.issuer());
            let wanted = printable(self.issuer.subject());
            return Err(Fault::Issuer { found, wanted });
        }
        signature(certificate, self.issuer.public_key(), provider)
    }

    /// The rules for certificates that issue others.
    fn ca_rules(&self) -> Result<(), Fault> {
        let constraints = self
            .certificate
            .basic_constraints()
            .ok()
            .flatten()
            .map(|extension| extension.value);
        let constraints = constraints
            .filter(|constraints| constraints.ca)
            .ok_or(Fault::NotCa)?;
        let (limit, wanted) = (constraints.path_len_constraint, self.cas_after);
        if let Some(found) = limit.filter(|limit| wanted > *limit as usize) {
            return Err(Fault::PathLength { found, wanted });
        }
        match self.certificate.key_usage() {
            Ok(Some(usage)) if !usage.value.key_cert_sign() => Err(Fault::KeyUsage {
                wanted: "signing certificates (keyCertSign)",
            }),
            _ => Ok(()),
        }
    }
}

/// The rules for the device's own certificate.
fn leaf_rules(certificate: &X509Certificate<'_>, wanted: SignAlg) -> Result<(), Fault> {
    if certificate.is_ca() {
        return Err(Fault::LeafIsCa);
    }
    let usage = certificate.key_usage().ok().flatten();
    if !usage.is_some_and(|usage| usage.value.digital_signature()) {
        return Err(Fault::KeyUsage {
            wanted: "signatures (digitalSignature)",
        });
    }
    if let Ok(Some(purpose)) = certificate.extended_key_usage() {
        let purpose = purpose.value;
        let responder = purpose
            .other
            .iter()
            .any(|oid| oid.to_id_string() == oid::SPDM_RESPONDER);
        if !(purpose.any || purpose.server_auth || responder) {
            return Err(Fault::Purpose);
        }
    }
    match PublicKey::from_der(certificate.public_key().raw) {
        Ok(key) => Ok(key.for_alg(wanted).map(drop)?),
        Err(X509Error::Algorithm { found }) => Err(Fault::LeafKey { found, wanted }),
        Err(error) => Err(error.into()),
    }
}

/// Every extension once, none malformed, and no critical one that is not understood.
fn extensions(certificate: &X509Certificate<'_>) -> Result<(), Fault> {
    let mut seen: Vec<String> = Vec::new();
    for extension in certificate.extensions() {
        let oid = extension.oid.to_id_string();
        if seen.contains(&oid) {
            return Err(Fault::Extension { oid });
        }
        match extension.parsed_extension() {
            ParsedExtension::ParseError { .. } => return Err(Fault::Extension { oid }),
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_) => {}
            _ if oid == oid::SPDM_EXTENSION => {}
            _ if extension.critical => return Err(Fault::UnknownCritical { oid }),
            _ => {}
        }
        seen.push(oid);
    }
    Ok(())
}

fn validity(certificate: &X509Certificate<'_>, UnixTime(now): UnixTime) -> Result<(), Fault> {
    let (from, until) = (
        certificate.validity().not_before,
        certificate.validity().not_after,
    );
    let text = || {
        x509_parser::time::ASN1Time::from_timestamp(now).map_or_else(|_| now.to_string(), |t| t.to_string())
    };
    if now < from.timestamp() {
        return Err(Fault::NotYetValid {
            found: from.to_string(),
            now: text(),
        });
    }
    if now > until.timestamp() {
        return Err(Fault::Expired {
            found: until.to_string(),
            now: text(),
        });
    }
    Ok(())
}

/// Whether the key before it, its issuer's, has signed a certificate.
fn signature(
    certificate: &X509Certificate<'_>,
    issuer: &SubjectPublicKeyInfo<'_>,
    provider: &dyn Provider,
) -> Result<(), Fault> {
    PublicKey::from_der(issuer.raw)?.check_signed(certificate.as_raw(), provider)?;
    Ok(())
}

impl From<X509Error> for Fault {
    fn from(error: X509Error) -> Self {
        match error {
            X509Error::Malformed(_) => Self::Malformed,
            X509Error::Algorithm { found } => Self::Algorithm { found },
            X509Error::Key { found, wanted } => Self::LeafKey {
                found: found.to_string(),
                wanted,
            },
            X509Error::Mismatch { .. } | X509Error::Signature => Self::Signature,
        }
    }
}

fn broken(position: usize, certificate: &X509Certificate<'_>, fault: Fault) -> Error {
    Error::Certificate {
        position,
        subject: printable(certificate.subject()),
        fault,
    }
}

/// A name as it may be printed: a certificate can hold any text, control characters and more.
fn printable(name: &X509Name<'_>) -> String {
    name.to_string()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(NAME_CHARS_MAX)
        .collect()
}

const NAME_CHARS_MAX: usize = 200;

fn names(roots: &[Root]) -> String {
    if roots.is_empty() {
        return "none: no root is pinned".to_string();
    }
    let names: Vec<_> = roots
        .iter()
        .map(|root| format!("{} ({})", root.digest, root.name))
        .collect();
    names.join(" or ")
}

mod oid {
    /// DMTF: extended key usage of an SPDM responder (DSP0274, id-DMTF-eku-responder-auth).
    pub(super) const SPDM_RESPONDER: &str = "1.3.6.1.4.1.412.274.3";
    /// DMTF: what kind of certificate it is (DSP0274, id-spdm-cert-oids).
    pub(super) const SPDM_EXTENSION: &str = "1.3.6.1.4.1.412.274.6";
    /// DMTF: this certificate names the hardware (DSP0274, id-DMTF-hardware-identity).
    pub(super) const HARDWARE_IDENTITY: &str = "1.3.6.1.4.1.412.274.2";
    /// DMTF: subject alternative name manufacturer:product:serial (DSP0274, id-DMTF-device-info).
    pub(super) const DEVICE_INFO: &str = "1.3.6.1.4.1.412.274.1";
    /// PCI-SIG: subject alternative name Vendor=…:Device=… (PCIe §6.31.3).
    pub(super) const PCI_NAME: &str = "2.23.147";
}

#[cfg(test)]
mod tests;
