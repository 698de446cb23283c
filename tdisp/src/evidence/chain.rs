//! The certificate chain object of SPDM and the strict validation of its path.
//!
//! ```text
//!   u16 length ‖ u16 0 ‖ H(root) ‖ root ‖ intermediate … ‖ leaf          DSP0274 §10.6.1; from SPDM 1.4 on u32 length
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
        x509::{
            PublicKey, X509Error,
            path::{self, printable},
        },
    },
    spdm::{
        CHAIN_SIZE_MAX,
        msg::{Version, certificate},
    },
};
use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

mod error;
mod identity;
mod revocation;
pub use crate::crypto::x509::path::Role;
pub use error::{Error, Fault};
pub use identity::{Identity, IdentityRule, Mismatch, PciIdentity};
pub use revocation::{CrlFault, CrlRule, Crls, LISTS_MAX, SIZE_MAX as CRL_SIZE_MAX};

/// Bytes of the longest chain object: what a requester takes. Before 1.4 its length field has 16 bits and allows half of that.
pub const SIZE_MAX: usize = CHAIN_SIZE_MAX;

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
    let leaf = certificates.len() - 1;
    check_path(&certificates, rules, provider)
        .map_err(|(position, fault)| broken(position, &certificates[position], fault))?;
    let mut identity = identity::read(&certificates, root, provider)?;
    let model = rules.model.map_or(Ok(()), |model| identity.check_model(model));
    model.map_err(|fault| broken(leaf, &certificates[leaf], fault))?;
    rules.identity.check(&identity).map_err(Error::Identity)?;
    identity.revocation_checked = revocation::check(&certificates, rules, provider)?;
    Ok(Leaf {
        public_key: certificates[leaf].public_key().subject_public_key.data.to_vec(),
        identity,
    })
}

/// The rules of every path, a root that has signed itself, the time, and a leaf whose key is for what it is used for.
fn check_path(
    certificates: &[X509Certificate<'_>],
    rules: &Rules<'_>,
    provider: &dyn Provider,
) -> Result<(), (usize, Fault)> {
    let of_path = |(position, fault): (usize, path::Fault)| (position, fault.into());
    path::check(certificates, provider).map_err(of_path)?;
    path::issued_by(&certificates[0], &certificates[0], provider).map_err(|fault| of_path((0, fault)))?;
    for (position, certificate) in certificates.iter().enumerate() {
        validity(certificate, rules.now).map_err(|fault| (position, fault))?;
    }
    let leaf = certificates.len() - 1;
    leaf_rules(&certificates[leaf], rules).map_err(|fault| of_path((leaf, fault)))
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
            fault: path::Fault::Malformed.into(),
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

/// Whether the leaf's key may sign, and is of the negotiated algorithm.
fn leaf_rules(certificate: &X509Certificate<'_>, rules: &Rules<'_>) -> Result<(), path::Fault> {
    path::check_leaf(certificate, rules.role)?;
    let wanted = rules.leaf;
    match PublicKey::from_der(certificate.public_key().raw) {
        Ok(key) => Ok(key.for_alg(wanted).map(drop)?),
        Err(X509Error::Algorithm { found }) => Err(path::Fault::LeafKey { found, wanted }),
        Err(error) => Err(error.into()),
    }
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

fn broken(position: usize, certificate: &X509Certificate<'_>, fault: Fault) -> Error {
    Error::Certificate {
        position,
        subject: printable(certificate.subject()),
        fault,
    }
}

mod oid {
    /// DMTF: this certificate names the hardware (DSP0274, id-DMTF-hardware-identity).
    pub(super) const HARDWARE_IDENTITY: &str = "1.3.6.1.4.1.412.274.2";
    /// DMTF: subject alternative name manufacturer:product:serial (DSP0274, id-DMTF-device-info).
    pub(super) const DEVICE_INFO: &str = "1.3.6.1.4.1.412.274.1";
    /// PCI-SIG: subject alternative name Vendor=…:Device=… (PCIe §6.31.3).
    pub(super) const PCI_NAME: &str = "2.23.147";
}

#[cfg(test)]
mod tests;
