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
//! Then the path is held against the revocation lists that were given ([`Crls`]).

use crate::{
    clock::UnixTime,
    crypto::{
        Digest, HashAlg, Provider, SignAlg, digest, same,
        x509::{PublicKey, X509Error},
    },
    spdm::msg::{Version, certificate},
};
use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};
use x509_parser::prelude::{
    ASN1Time, ExtendedKeyUsage, FromDer, ParsedExtension, SubjectPublicKeyInfo, X509Certificate, X509Name,
    X509Version,
};

mod error;
mod identity;
mod revocation;
pub use error::{Error, Fault};
pub use identity::{Identity, IdentityRule, Mismatch, PciIdentity};
pub use revocation::{CrlFault, CrlRule, Crls, LISTS_MAX, SIZE_MAX as CRL_SIZE_MAX};

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
    /// What the leaf's key is to be used for.
    pub role: Role,
    /// How the device makes its chains, where that is known.
    pub model: Option<Model>,
    /// Revocation lists, and what is to be without.
    pub crls: Crls<'a>,
}

/// What a leaf's key is used for, which its extended key usage must allow if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Role {
    /// To answer as an SPDM responder: a device.
    #[default]
    Responder,
    /// To ask as an SPDM requester, where both authenticate each other.
    Requester,
}

/// How a device makes its certificate chains (DSP0274 §10.6.1), which tells where the one of its hardware is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Model {
    /// The leaf is the device's, made with it, and names the hardware.
    Device,
    /// The leaf is an alias that the device made for its firmware; the device's own certificate is a CA above it.
    Alias,
    /// The leaf is made for a key pair of whatever use.
    Generic,
}

impl core::fmt::Display for Model {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Device => "model of device certificates",
            Self::Alias => "model of alias certificates",
            Self::Generic => "model of generic certificates",
        })
    }
}

/// What a valid chain proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its public key, as [`Provider::verify`] takes it.
    pub public_key: Vec<u8>,
    /// Whom it names.
    pub identity: Identity,
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
                    true => leaf_rules(certificate, rules),
                    false => link.ca_rules(),
                });
        checked.map_err(|fault| broken(position, certificate, fault))?;
        issuer = certificate;
    }
    let leaf = certificates.len() - 1;
    let mut identity = identity::read(&certificates, root, provider)?;
    let model = rules.model.map_or(Ok(()), |model| identity.check_model(model));
    model.map_err(|fault| broken(leaf, issuer, fault))?;
    rules.identity.check(&identity).map_err(Error::Identity)?;
    identity.revocation_checked = revocation::check(&certificates, rules, provider)?;
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
fn leaf_rules(certificate: &X509Certificate<'_>, rules: &Rules<'_>) -> Result<(), Fault> {
    let wanted = rules.leaf;
    if certificate.is_ca() {
        return Err(Fault::LeafIsCa);
    }
    let usage = certificate.key_usage().ok().flatten();
    if !usage.is_some_and(|usage| usage.value.digital_signature()) {
        return Err(Fault::KeyUsage {
            wanted: "signatures (digitalSignature)",
        });
    }
    if let Ok(Some(purpose)) = certificate.extended_key_usage()
        && !rules.role.is_in(purpose.value)
    {
        return Err(Fault::Purpose {
            wanted: rules.role.words(),
        });
    }
    match PublicKey::from_der(certificate.public_key().raw) {
        Ok(key) => Ok(key.for_alg(wanted).map(drop)?),
        Err(X509Error::Algorithm { found }) => Err(Fault::LeafKey { found, wanted }),
        Err(error) => Err(error.into()),
    }
}

impl Role {
    /// Whether an extended key usage allows it.
    fn is_in(self, purpose: &ExtendedKeyUsage<'_>) -> bool {
        let (known, oid) = match self {
            Self::Responder => (purpose.server_auth, oid::SPDM_RESPONDER),
            Self::Requester => (purpose.client_auth, oid::SPDM_REQUESTER),
        };
        let spdm = || purpose.other.iter().any(|other| other.to_id_string() == oid);
        purpose.any || known || spdm()
    }

    fn words(self) -> &'static str {
        match self {
            Self::Responder => "an SPDM responder nor any server",
            Self::Requester => "an SPDM requester nor any client",
        }
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
            // What it constrains would go unseen, whether it calls itself critical or not.
            ParsedExtension::NameConstraints(_) => return Err(Fault::UnknownCritical { oid }),
            _ if extension.critical => return Err(Fault::UnknownCritical { oid }),
            _ => {}
        }
        seen.push(oid);
    }
    Ok(())
}

/// A time as people read it.
fn time_text(UnixTime(time): UnixTime) -> String {
    ASN1Time::from_timestamp(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}

fn validity(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), Fault> {
    let (from, until) = (
        certificate.validity().not_before,
        certificate.validity().not_after,
    );
    if now.0 < from.timestamp() {
        return Err(Fault::NotYetValid {
            found: from.to_string(),
            now: time_text(now),
        });
    }
    if now.0 > until.timestamp() {
        return Err(Fault::Expired {
            found: until.to_string(),
            now: time_text(now),
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

mod oid {
    /// DMTF: extended key usage of an SPDM responder (DSP0274, id-DMTF-eku-responder-auth).
    pub(super) const SPDM_RESPONDER: &str = "1.3.6.1.4.1.412.274.3";
    /// DMTF: extended key usage of an SPDM requester (DSP0274, id-DMTF-eku-requester-auth).
    pub(super) const SPDM_REQUESTER: &str = "1.3.6.1.4.1.412.274.4";
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
