//! As much of a certificate chain as the machines need: the key that signs, and where roots are pinned the path from the
//! root to that key. What needs a clock, revocation lists or a rule about whom it names is judged by `evidence`.

use super::{connection::Connection, error::Misbehaviour, msg::certificate};
use crate::crypto::{
    Digest, HashAlg, Provider, SignAlg, der, digest, same,
    x509::{
        PublicKey,
        path::{self, Fault, Role, printable},
    },
};
use crate::wire::Reader;
use alloc::{borrow::Cow, format, vec::Vec};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Certificates of one chain. Device chains have three to five.
const CERTIFICATES_MAX: usize = 16;

/// The certificates of a chain object, the leaf last; at least one.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    root_hash: &'a [u8],
    certificates: Vec<X509Certificate<'a>>,
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
            certificates.push(certificate);
            rest = after;
        }
        Ok(Self {
            root_hash: object.root_hash,
            certificates,
        })
    }

    /// The leaf's key, as the provider wants it. It must be of the negotiated algorithm.
    pub(super) fn leaf_key(&self, alg: SignAlg) -> Result<Vec<u8>, Misbehaviour> {
        let key = PublicKey::from_der(self.leaf()?.public_key().raw);
        let key = key.and_then(|key| key.for_alg(alg).map(<[u8]>::to_vec));
        key.map_err(|error| unusable(format_args!("its leaf is of no use: {error}")))
    }

    fn leaf(&self) -> Result<&X509Certificate<'a>, Misbehaviour> {
        self.certificates.last().ok_or_else(no_certificate)
    }

    /// Whether the chain is a path from one of the `pinned` roots to a leaf whose key may sign in this role.
    pub(super) fn check_rooted(
        &self,
        pinned: &[Digest],
        role: Role,
        connection: &Connection,
    ) -> Result<(), Misbehaviour> {
        let found = self.root(connection)?;
        if !pinned.contains(&found) {
            let pinned = pinned.len();
            return Err(Misbehaviour::UntrustedRoot { found, pinned });
        }
        self.check_path(connection)?;
        let last = self.certificates.len() - 1;
        path::check_leaf(self.leaf()?, role).map_err(|fault| self.broken(last, &fault))
    }

    /// The digest of the root, with which the chain must begin.
    fn root(&self, connection: &Connection) -> Result<Digest, Misbehaviour> {
        let root = self.certificates.first().ok_or_else(no_certificate)?;
        let found = connection.digest(root.as_raw());
        if same(found.as_ref(), self.root_hash) {
            return Ok(found);
        }
        Err(unusable(
            "it does not begin with the root that its header names; a pinned root must be in it",
        ))
    }

    /// Whether the chain is a path from the root that its header names. Of the last certificate only the form and the
    /// issuer are looked at: where the device makes an alias of it (DSP0274 §10.6.1), it is a CA.
    pub(super) fn check_linked(&self, connection: &Connection) -> Result<(), Misbehaviour> {
        self.root(connection)?;
        self.check_path(connection)
    }

    fn check_path(&self, connection: &Connection) -> Result<(), Misbehaviour> {
        path::check(&self.certificates, &*connection.provider)
            .map_err(|(position, fault)| self.broken(position, &fault))
    }

    fn broken(&self, position: usize, fault: &Fault) -> Misbehaviour {
        let subject = self.certificates.get(position);
        let subject = subject.map(|certificate| printable(certificate.subject()));
        let subject = subject.unwrap_or_default();
        unusable(format_args!("certificate {position} ({subject}): {fault}"))
    }
}

/// A chain object as this connection shows it: one that begins with its root names that by the negotiated hash, whichever it
/// was made with. One that does not is left as it is: what its root hashes to is known by one hash alone.
pub(super) fn in_hash<'o>(object: &'o [u8], connection: &Connection) -> Cow<'o, [u8]> {
    let negotiated = &connection.negotiated;
    let mut others = HashAlg::ALL
        .into_iter()
        .filter(|other| *other != negotiated.algorithms.hash);
    let made_with = others.find_map(|other| rooted_by(other, object, &*connection.provider));
    let Some((root, certificates)) = made_with else {
        return Cow::Borrowed(object);
    };
    let mut shown = Vec::new();
    certificate::Chain {
        root_hash: connection.digest(root).as_ref(),
        certificates,
    }
    .encode(negotiated.version, &mut shown);
    Cow::Owned(shown)
}

/// The root and all certificates of a chain object that begins with its root and names it by `hash`.
fn rooted_by<'o>(hash: HashAlg, object: &'o [u8], provider: &dyn Provider) -> Option<(&'o [u8], &'o [u8])> {
    let (root_hash, certificates) = object.get(4..)?.split_at_checked(hash.size())?;
    let mut r = Reader::new(certificates);
    der::element(&mut r, der::SEQUENCE, "root certificate").ok()?;
    let root = certificates.get(..r.consumed())?;
    same(digest(provider, hash, root).as_ref(), root_hash).then_some((root, certificates))
}

/// A key without a chain, as the provider wants it. It must be of the negotiated algorithm.
pub(super) fn public_key(der: &[u8], alg: SignAlg) -> Result<Vec<u8>, Misbehaviour> {
    let key = PublicKey::from_der(der).and_then(|key| key.for_alg(alg).map(<[u8]>::to_vec));
    key.map_err(unusable)
}

fn no_certificate() -> Misbehaviour {
    unusable("it has no certificate")
}

fn unusable(error: impl core::fmt::Display) -> Misbehaviour {
    Misbehaviour::Chain(format!("{error}"))
}
