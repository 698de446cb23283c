//! The rules of a certificate path that hold wherever one is followed, whoever pins its root (RFC 5280 §6.1, DSP0274 §10.6.1).
//!
//! They are RFC 5280's, less what device chains do not use: a certificate that needs more (name constraints, policies marked
//! critical) is refused, not half understood. Dates, which need a clock, and the pinned root are their caller's to check.

use super::{PublicKey, X509Error};
use crate::crypto::{Provider, SignAlg};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use x509_parser::prelude::{ExtendedKeyUsage, ParsedExtension, X509Certificate, X509Name, X509Version};

/// What a leaf's key is used for, which its extended key usage must allow if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Role {
    /// To answer as an SPDM responder: a device.
    #[default]
    Responder,
    /// To ask as an SPDM requester, where both authenticate each other.
    Requester,
}

/// The rule that a certificate of a path breaks.
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
    /// The provider cannot verify its signature.
    #[error("it is signed with {found}, and this program cannot verify that{}", remedy(*found))]
    Unsupported {
        /// What it is signed with.
        found: SignAlg,
    },
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
    #[error("its extended key usage allows neither {wanted}")]
    Purpose {
        /// What is wanted.
        wanted: &'static str,
    },
    /// The leaf's key is not for the negotiated algorithm.
    #[error("its key is for {found}, but the session was negotiated with {wanted}")]
    LeafKey {
        /// What the key is for.
        found: String,
        /// What was negotiated.
        wanted: SignAlg,
    },
}

/// Checks every certificate of a path, the root first: of version 3, no extension twice, no unknown critical one; all but the
/// root with an issuer that is the subject before it, and signed by the key before it; all but the last a CA that may sign
/// certificates and whose path length allows what follows. A fault comes with the position of the certificate that has it.
pub(crate) fn check(
    certificates: &[X509Certificate<'_>],
    provider: &dyn Provider,
) -> Result<(), (usize, Fault)> {
    let mut issuer = None;
    for (position, certificate) in certificates.iter().enumerate() {
        let after = certificates.len() - 1 - position;
        let checked = form(certificate)
            .and_then(|()| issuer.map_or(Ok(()), |issuer| issued_by(issuer, certificate, provider)))
            .and_then(|()| after.checked_sub(1).map_or(Ok(()), |cas| ca(certificate, cas)));
        checked.map_err(|fault| (position, fault))?;
        issuer = Some(certificate);
    }
    Ok(())
}

/// The rules for a certificate whose key signs what its owner says: it is no CA, and may sign so.
pub(crate) fn check_leaf(certificate: &X509Certificate<'_>, role: Role) -> Result<(), Fault> {
    if certificate.is_ca() {
        return Err(Fault::LeafIsCa);
    }
    let usage = certificate.key_usage().ok().flatten();
    if !usage.is_some_and(|usage| usage.value.digital_signature()) {
        return Err(Fault::KeyUsage {
            wanted: "signatures (digitalSignature)",
        });
    }
    match certificate.extended_key_usage() {
        Ok(Some(purpose)) if !role.is_in(purpose.value) => Err(Fault::Purpose { wanted: role.words() }),
        _ => Ok(()),
    }
}

/// Whether a certificate bears the name of `issuer` and its signature.
pub(crate) fn issued_by(
    issuer: &X509Certificate<'_>,
    certificate: &X509Certificate<'_>,
    provider: &dyn Provider,
) -> Result<(), Fault> {
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        let found = printable(certificate.issuer());
        let wanted = printable(issuer.subject());
        return Err(Fault::Issuer { found, wanted });
    }
    let key = PublicKey::from_der(issuer.public_key().raw)?;
    Ok(key.check_signed(certificate.as_raw(), provider)?)
}

/// Version 3, every extension once, none malformed, and no critical one that is not understood.
fn form(certificate: &X509Certificate<'_>) -> Result<(), Fault> {
    if certificate.version() != X509Version::V3 {
        return Err(Fault::Version {
            found: certificate.version().0.saturating_add(1),
        });
    }
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
            _ if oid == SPDM_EXTENSION => {}
            // What it constrains would go unseen, whether it calls itself critical or not.
            ParsedExtension::NameConstraints(_) => return Err(Fault::UnknownCritical { oid }),
            _ if extension.critical => return Err(Fault::UnknownCritical { oid }),
            _ => {}
        }
        seen.push(oid);
    }
    Ok(())
}

/// The rules for a certificate that issues others, of which so many more CAs follow.
fn ca(certificate: &X509Certificate<'_>, cas_after: usize) -> Result<(), Fault> {
    let constraints = certificate.basic_constraints().ok().flatten();
    let constraints = constraints.map(|extension| extension.value);
    let constraints = constraints
        .filter(|constraints| constraints.ca)
        .ok_or(Fault::NotCa)?;
    let limit = constraints.path_len_constraint;
    if let Some(found) = limit.filter(|limit| cas_after > *limit as usize) {
        return Err(Fault::PathLength {
            found,
            wanted: cas_after,
        });
    }
    match certificate.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => Err(Fault::KeyUsage {
            wanted: "signing certificates (keyCertSign)",
        }),
        _ => Ok(()),
    }
}

impl Role {
    /// Whether an extended key usage allows it.
    fn is_in(self, purpose: &ExtendedKeyUsage<'_>) -> bool {
        let (known, oid) = match self {
            Self::Responder => (purpose.server_auth, SPDM_RESPONDER),
            Self::Requester => (purpose.client_auth, SPDM_REQUESTER),
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

impl From<X509Error> for Fault {
    fn from(error: X509Error) -> Self {
        match error {
            X509Error::Malformed(_) => Self::Malformed,
            X509Error::Algorithm { found } => Self::Algorithm { found },
            X509Error::Key { found, wanted } => Self::LeafKey {
                found: found.to_string(),
                wanted,
            },
            X509Error::Unsupported(found) => Self::Unsupported { found },
            X509Error::Mismatch { .. } | X509Error::Signature => Self::Signature,
        }
    }
}

fn remedy(alg: SignAlg) -> &'static str {
    match alg.is_post_quantum() {
        true => ": build it with the feature `post-quantum`",
        false => " over the hash that it names",
    }
}

/// A name as it may be printed: a certificate can hold any text, control characters and more.
pub(crate) fn printable(name: &X509Name<'_>) -> String {
    name.to_string()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(NAME_CHARS_MAX)
        .collect()
}

const NAME_CHARS_MAX: usize = 200;

/// DMTF: what kind of certificate it is (DSP0274, id-spdm-cert-oids).
pub(crate) const SPDM_EXTENSION: &str = "1.3.6.1.4.1.412.274.6";
/// DMTF: extended key usage of an SPDM responder (DSP0274, id-DMTF-eku-responder-auth).
const SPDM_RESPONDER: &str = "1.3.6.1.4.1.412.274.3";
/// DMTF: extended key usage of an SPDM requester (DSP0274, id-DMTF-eku-requester-auth).
const SPDM_REQUESTER: &str = "1.3.6.1.4.1.412.274.4";
