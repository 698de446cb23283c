//! Why a chain is refused, in words that operators read.

use super::{CrlFault, LISTS_MAX, Model, Root, SIZE_MAX, identity};
use crate::{
    crypto::{Digest, x509::path},
    wire::DecodeError,
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};

/// Why a chain is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object does not have its form.
    #[error("the certificate chain object is malformed: {0}; the host or the device damaged it")]
    Malformed(DecodeError),
    /// The object is longer than any that is taken.
    #[error("the certificate chain has {found} bytes, wanted at most {SIZE_MAX}")]
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
    /// A certificate is revoked.
    #[error(
        "certificate {position} of the chain ({subject}, serial {serial}) was revoked on {since} ({reason}); the device must not \
         be trusted with it"
    )]
    Revoked {
        /// Which one; 0 is the root.
        position: usize,
        /// Whom it names.
        subject: String,
        /// Its serial number, hexadecimal.
        serial: String,
        /// Since when.
        since: String,
        /// Why, as the list says.
        reason: String,
    },
    /// A revocation list is not believed.
    #[error("revocation list {number}{}: {fault}", of(issuer))]
    Crl {
        /// Which of those given, from 0.
        number: usize,
        /// Whom it names as its issuer; empty if that could not be read.
        issuer: String,
        /// Why.
        fault: CrlFault,
    },
    /// The rule wants a revocation list of each CA of the chain, and one has none.
    #[error(
        "no revocation list is given of certificate {position} of the chain ({subject}), and the rule requires one of every CA; \
         give it, or let the rule take lists where there are some"
    )]
    NoCrl {
        /// Which CA; 0 is the root.
        position: usize,
        /// Whom it names.
        subject: String,
    },
    /// More revocation lists than are read.
    #[error("{found} revocation lists are given, wanted at most {LISTS_MAX}")]
    TooManyLists {
        /// How many.
        found: usize,
    },
    /// The leaf does not say about the device what the rule wants.
    #[error("{0}")]
    Identity(identity::Mismatch),
}

/// The rule that a certificate breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// One of every path's.
    #[error(transparent)]
    Path(#[from] path::Fault),
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
    /// It does not go with the model of the chain.
    #[error("{found}, which does not go with the {model} that the device announced")]
    Model {
        /// What was found.
        found: &'static str,
        /// What was announced.
        model: Model,
    },
}

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

fn of(issuer: &str) -> String {
    match issuer {
        "" => String::new(),
        issuer => format!(" (of {issuer})"),
    }
}
