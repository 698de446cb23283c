//! Certificate revocation lists (RFC 5280 §5): lists that the guest was given, not ones that it fetches.
//!
//! A list is believed if the CA of the chain that it names as its issuer has signed it and may sign lists, if it is complete
//! (no delta, no indirect list, no part of a distribution), if it is of now (thisUpdate ≤ now ≤ nextUpdate, both there), and if
//! it has no critical extension that is not understood. One that is for a CA of the chain and is not believed is a refusal:
//! an old list must not hide a new one. Lists of other issuers are passed over.

use super::{Error, Rules, printable};
use crate::{
    clock::UnixTime,
    crypto::{Provider, x509::PublicKey},
};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use x509_parser::prelude::{
    CertificateRevocationList, FromDer, RevokedCertificate, X509Certificate, X509Extension, X509Version,
};

/// Bytes of the longest list that is read: some 25 000 certificates.
pub const SIZE_MAX: usize = 1 << 20;

/// Lists that one verification takes at most.
pub const LISTS_MAX: usize = 64;

/// Revocation lists, and what is to be without one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Crls<'a> {
    /// The lists, each in DER; of any issuers, at most [`LISTS_MAX`].
    pub lists: &'a [Vec<u8>],
    /// What is to be without one.
    pub rule: CrlRule,
}

/// What is to be where no list is of a CA of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum CrlRule {
    /// The chain is judged without.
    #[default]
    WhenPresent,
    /// The chain is refused.
    Required,
}

/// Why a list is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlFault {
    /// It is no list.
    #[error("it is no well-formed revocation list of X.509 version 2, in DER")]
    Malformed,
    /// It is too long.
    #[error("it has {found} bytes, wanted at most {SIZE_MAX}")]
    TooLarge {
        /// Its length.
        found: usize,
    },
    /// It is from the future.
    #[error("it is of {found}, and it is {now}; check the clock: it must be set before a device is judged")]
    FromTheFuture {
        /// thisUpdate.
        found: String,
        /// The time given.
        now: String,
    },
    /// Its time is over.
    #[error("a newer one was due on {found}, and it is {now}; give the newest, or check the clock")]
    Expired {
        /// nextUpdate.
        found: String,
        /// The time given.
        now: String,
    },
    /// It does not say until when it is good.
    #[error(
        "it does not say when the next one is due (nextUpdate), so that an old one would be good for ever"
    )]
    Endless,
    /// It lists what came since another list.
    #[error("it lists only the changes since another list (a delta); give the complete list")]
    Delta,
    /// It is for a part of the issuer's certificates, or for other issuers'.
    #[error(
        "it is for a part of the certificates, or for other issuers' (extension {oid}); give the complete list of one CA"
    )]
    Partial {
        /// Which extension says so.
        oid: String,
    },
    /// It has a critical extension that is not understood here.
    #[error("it has the critical extension {oid}, which is not understood and so may not be ignored")]
    UnknownCritical {
        /// Which.
        oid: String,
    },
    /// The CA may not sign lists.
    #[error("the key usage of its issuer does not include signing such lists (cRLSign)")]
    KeyUsage,
    /// It is not signed by the CA's key.
    #[error("its signature is not by the CA of the chain that bears its issuer's name")]
    Signature,
}

/// Whether no certificate of a valid path is revoked. Answers whether every CA of it had a list.
pub(super) fn check(
    path: &[X509Certificate<'_>],
    rules: &Rules<'_>,
    provider: &dyn Provider,
) -> Result<bool, Error> {
    let lists = rules.crls.lists;
    if lists.len() > LISTS_MAX {
        return Err(Error::TooManyLists { found: lists.len() });
    }
    let mut covered = [false; super::LENGTH_MAX];
    for (number, list) in lists.iter().enumerate() {
        let untold = |fault| Error::Crl {
            number,
            issuer: String::new(),
            fault,
        };
        let list = List::read(list).map_err(untold)?;
        for position in list.judge(path, number, rules.now, provider)? {
            covered[position] = true;
        }
    }
    let cas = path.len().saturating_sub(1);
    let missing = covered.iter().take(cas).position(|covered| !covered);
    match (missing, rules.crls.rule) {
        (Some(position), CrlRule::Required) => Err(Error::NoCrl {
            position,
            subject: printable(path[position].subject()),
        }),
        (missing, _) => Ok(missing.is_none()),
    }
}

struct List<'a>(CertificateRevocationList<'a>);

impl<'a> List<'a> {
    fn read(list: &'a [u8]) -> Result<Self, CrlFault> {
        if list.len() > SIZE_MAX {
            return Err(CrlFault::TooLarge { found: list.len() });
        }
        match CertificateRevocationList::from_der(list) {
            Ok(([], list)) if list.version() == Some(X509Version::V2) => Ok(Self(list)),
            _ => Err(CrlFault::Malformed),
        }
    }

    /// Judges what the issuer of this list has issued in the path. Answers which certificates are the issuer's, none if it is
    /// not there: two may bear one name and one key, and a list of one is a list of both.
    fn judge(
        &self,
        path: &[X509Certificate<'_>],
        number: usize,
        now: UnixTime,
        provider: &dyn Provider,
    ) -> Result<Vec<usize>, Error> {
        let cas = &path[..path.len().saturating_sub(1)];
        let named = || (0..cas.len()).filter(|position| self.is_named(&cas[*position]));
        let signed = named().filter(|position| self.is_signed_by(&cas[*position], provider));
        let issuers: Vec<usize> = signed.collect();
        let fault = |fault| Error::Crl {
            number,
            issuer: printable(self.0.issuer()),
            fault,
        };
        if issuers.is_empty() && named().next().is_some() {
            return Err(fault(CrlFault::Signature));
        }
        for position in &issuers {
            self.check(&cas[*position], now).map_err(fault)?;
            let issued = &path[position + 1];
            let mut revoked = self.0.iter_revoked_certificates();
            let entry = revoked.find(|entry| entry.user_certificate == issued.tbs_certificate.serial);
            if let Some(entry) = entry {
                return Err(revocation(entry, position + 1, issued));
            }
        }
        Ok(issuers)
    }

    /// Whether a certificate bears the issuer's name: in the same bytes, or in the same words, so that a list is not passed over
    /// because its words are encoded in another way.
    fn is_named(&self, ca: &X509Certificate<'_>) -> bool {
        let (issuer, subject) = (self.0.issuer(), ca.subject());
        issuer.as_raw() == subject.as_raw() || issuer.to_string().eq_ignore_ascii_case(&subject.to_string())
    }

    fn is_signed_by(&self, ca: &X509Certificate<'_>, provider: &dyn Provider) -> bool {
        let key = PublicKey::from_der(ca.public_key().raw);
        key.is_ok_and(|key| key.check_signed(self.0.as_raw(), provider).is_ok())
    }

    fn check(&self, ca: &X509Certificate<'_>, now: UnixTime) -> Result<(), CrlFault> {
        if let Ok(Some(usage)) = ca.key_usage()
            && !usage.value.crl_sign()
        {
            return Err(CrlFault::KeyUsage);
        }
        extensions(self.0.extensions())?;
        for entry in self.0.iter_revoked_certificates() {
            extensions(entry.extensions())?;
        }
        let this = self.0.last_update();
        if now.0 < this.timestamp() {
            let (found, now) = (this.to_string(), super::time_text(now));
            return Err(CrlFault::FromTheFuture { found, now });
        }
        match self.0.next_update() {
            None => Err(CrlFault::Endless),
            Some(next) if now.0 > next.timestamp() => Err(CrlFault::Expired {
                found: next.to_string(),
                now: super::time_text(now),
            }),
            Some(_) => Ok(()),
        }
    }
}

/// Extensions of a list or of an entry in it.
fn extensions(extensions: &[X509Extension<'_>]) -> Result<(), CrlFault> {
    let mut seen: Vec<String> = Vec::new();
    for extension in extensions {
        let oid = extension.oid.to_id_string();
        if seen.contains(&oid) {
            return Err(CrlFault::Malformed);
        }
        match oid.as_str() {
            DELTA => return Err(CrlFault::Delta),
            DISTRIBUTION_POINT | CERTIFICATE_ISSUER => return Err(CrlFault::Partial { oid }),
            _ if extension.critical => return Err(CrlFault::UnknownCritical { oid }),
            _ => seen.push(oid),
        }
    }
    Ok(())
}

fn revocation(entry: &RevokedCertificate<'_>, position: usize, issued: &X509Certificate<'_>) -> Error {
    let reason = entry.reason_code().map(|(_, reason)| reason.to_string());
    Error::Revoked {
        position,
        subject: printable(issued.subject()),
        serial: entry.raw_serial_as_string(),
        since: entry.revocation_date.to_string(),
        reason: reason.unwrap_or_else(|| "unspecified".to_string()),
    }
}

/// Delta CRL indicator (RFC 5280 §5.2.4).
const DELTA: &str = "2.5.29.27";
/// Issuing distribution point (§5.2.5).
const DISTRIBUTION_POINT: &str = "2.5.29.28";
/// Certificate issuer, of an entry (§5.3.3).
const CERTIFICATE_ISSUER: &str = "2.5.29.29";

#[cfg(test)]
mod tests;
