//! As much of a certificate chain as the machines need: the key that signs, and for a requester with pinned roots the
//! link from that key to the root. Everything else about certificates is judged by `evidence`.

use super::{connection::Connection, error::Misbehaviour, msg::certificate};
use crate::crypto::{
    Digest, SignAlg, same,
    x509::{PublicKey, X509Error},
};
use alloc::{format, vec::Vec};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Certificates of one chain. Device chains have three to five.
const CERTIFICATES_MAX: usize = 16;

/// The certificates of a chain object, the leaf last; at least one.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    root_hash: &'a [u8],
    certificates: Vec<(&'a [u8], X509Certificate<'a>)>,
}

impl<'a> Chain<'a> {
    /// Takes a whole chain object apart.
    pub(super) fn decode(object: &'a [u8], connection: &Connection) -> Result<Self, Misbehaviour> {
        let (version, hash_size) = (connection.negotiated.version, connection.context.hash_size);
        let object = certificate::Chain::decode(object, version, hash_size).map_err(unusable)?;
        let mut rest = object.certificates;
        let mut certificates = Vec::new();
        while !rest.is_empty() {
            if certificates.len() == CERTIFICATES_MAX {
                return Err(unusable(format_args!(
                    "it has more than {CERTIFICATES_MAX} certificates"
                )));
            }
            let (after, certificate) = X509Certificate::from_der(rest).map_err(unusable)?;
            certificates.push((&rest[..rest.len() - after.len()], certificate));
            rest = after;
        }
        Ok(Self {
            root_hash: object.root_hash,
            certificates,
        })
    }

    /// The leaf's key, as the provider wants it. It must be of the negotiated algorithm.
    pub(super) fn leaf_key(&self, alg: SignAlg) -> Result<Vec<u8>, Misbehaviour> {
        let (_, leaf) = self
            .certificates
            .last()
            .ok_or_else(|| unusable("it has no certificate"))?;
        let key = key_of(leaf).and_then(|key| key.for_alg(alg).map(<[u8]>::to_vec));
        key.map_err(|error| unusable(format_args!("its leaf is of no use: {error}")))
    }

    /// Whether the chain begins with one of the `pinned` roots and each certificate is signed by the one before.
    pub(super) fn check_rooted(
        &self,
        pinned: &[Digest],
        connection: &Connection,
    ) -> Result<(), Misbehaviour> {
        let found = self.root(connection)?;
        if !pinned.contains(&found) {
            let pinned = pinned.len();
            return Err(Misbehaviour::UntrustedRoot { found, pinned });
        }
        self.check_linked(connection)
    }

    /// The digest of the root, with which the chain must begin.
    fn root(&self, connection: &Connection) -> Result<Digest, Misbehaviour> {
        let (root, _) = self
            .certificates
            .first()
            .ok_or_else(|| unusable("it has no certificate"))?;
        let found = connection.digest(root);
        if same(found.as_ref(), self.root_hash) {
            return Ok(found);
        }
        Err(unusable(
            "it does not begin with the root that its header names; a pinned root must be in it",
        ))
    }

    /// Whether the chain begins with the root that its header names and each certificate is signed by the one before.
    pub(super) fn check_linked(&self, connection: &Connection) -> Result<(), Misbehaviour> {
        self.root(connection)?;
        let pairs = self.certificates.iter().zip(self.certificates.iter().skip(1));
        for (number, ((_, issuer), (subject, _))) in pairs.enumerate() {
            let signed = key_of(issuer).and_then(|key| key.check_signed(subject, &*connection.provider));
            signed.map_err(|error| {
                unusable(format_args!(
                    "certificate {} is not signed by the one before: {error}",
                    number + 1
                ))
            })?;
        }
        Ok(())
    }
}

fn key_of(certificate: &X509Certificate<'_>) -> Result<PublicKey, X509Error> {
    PublicKey::from_der(certificate.public_key().raw)
}

/// A key without a chain, as the provider wants it. It must be of the negotiated algorithm.
pub(super) fn public_key(der: &[u8], alg: SignAlg) -> Result<Vec<u8>, Misbehaviour> {
    let key = PublicKey::from_der(der).and_then(|key| key.for_alg(alg).map(<[u8]>::to_vec));
    key.map_err(unusable)
}

fn unusable(error: impl core::fmt::Display) -> Misbehaviour {
    Misbehaviour::Chain(format!("{error}"))
}
