//! Revocation lists for the tests, good and bad: made by hand, since nobody's builder makes bad ones.

use super::Plan;
use alloc::{vec, vec::Vec};
use rcgen::{KeyPair, SigningKey};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A list to be made. Tests spoil what they are about.
pub(in crate::evidence) struct CrlPlan {
    /// Which certificate of the chain issues it.
    pub(in crate::evidence) issuer: usize,
    pub(in crate::evidence) version: Option<u8>,
    pub(in crate::evidence) this_update: &'static str,
    pub(in crate::evidence) next_update: Option<&'static str>,
    /// Serial numbers, and what the entry says beside.
    pub(in crate::evidence) revoked: Vec<(Vec<u8>, Vec<Extension>)>,
    pub(in crate::evidence) extensions: Vec<Extension>,
    /// Signs with this instead of the issuer's key.
    pub(in crate::evidence) signed_by: Option<KeyPair>,
}

#[derive(Clone)]
pub(in crate::evidence) struct Extension {
    /// Content of its OBJECT IDENTIFIER.
    pub(in crate::evidence) oid: &'static [u8],
    pub(in crate::evidence) critical: bool,
    pub(in crate::evidence) value: Vec<u8>,
}

/// 2.5.29.n
pub(in crate::evidence) fn extension(oid: &'static [u8], critical: bool, value: &[u8]) -> Extension {
    Extension {
        oid,
        critical,
        value: value.to_vec(),
    }
}

pub(in crate::evidence) const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
pub(in crate::evidence) const REASON: &[u8] = &[0x55, 0x1d, 21];
pub(in crate::evidence) const DELTA: &[u8] = &[0x55, 0x1d, 27];
pub(in crate::evidence) const DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 28];
pub(in crate::evidence) const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];
pub(in crate::evidence) const PRIVATE: &[u8] = &[0x2a, 3, 4];

impl CrlPlan {
    /// A list that is good, by a certificate of the chain, and names none.
    pub(in crate::evidence) fn of(issuer: usize) -> Self {
        Self {
            issuer,
            version: Some(1),
            this_update: "261101000000Z",
            next_update: Some("261201000000Z"),
            revoked: Vec::new(),
            extensions: vec![extension(CRL_NUMBER, false, &[2, 1, 7])],
            signed_by: None,
        }
    }

    /// Revokes a certificate of the chain.
    pub(in crate::evidence) fn revoking(mut self, plan: &Plan, position: usize) -> Self {
        let ders = plan.ders();
        let (_, certificate) = X509Certificate::from_der(&ders[position]).unwrap();
        let reason = extension(REASON, false, &[0x0a, 1, 1]);
        self.revoked
            .push((certificate.raw_serial().to_vec(), vec![reason]));
        self
    }

    pub(in crate::evidence) fn der(&self, plan: &Plan) -> Vec<u8> {
        let ders = plan.ders();
        let (_, issuer) = X509Certificate::from_der(&ders[self.issuer]).unwrap();
        self.der_named(plan, issuer.subject().as_raw())
    }

    /// The list, with another name as its issuer.
    pub(in crate::evidence) fn der_named(&self, plan: &Plan, issuer: &[u8]) -> Vec<u8> {
        let algorithm = tlv(0x30, &tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]));
        let version = self.version.map(|version| tlv(2, &[version])).unwrap_or_default();
        let time = |text: &str| tlv(0x17, text.as_bytes());
        let revoked = self.revoked.iter().map(|(serial, beside)| {
            let beside = match beside.is_empty() {
                true => Vec::new(),
                false => tlv(0x30, &extensions(beside)),
            };
            tlv(0x30, &[tlv(2, serial), time(self.this_update), beside].concat())
        });
        let revoked: Vec<u8> = revoked.flatten().collect();
        let revoked = match revoked.is_empty() {
            true => Vec::new(),
            false => tlv(0x30, &revoked),
        };
        let of_list = match self.extensions.is_empty() {
            true => Vec::new(),
            false => tlv(0xa0, &tlv(0x30, &extensions(&self.extensions))),
        };
        let signed = tlv(
            0x30,
            &[
                version,
                algorithm.clone(),
                issuer.to_vec(),
                time(self.this_update),
                self.next_update.map(time).unwrap_or_default(),
                revoked,
                of_list,
            ]
            .concat(),
        );
        let key = self
            .signed_by
            .as_ref()
            .unwrap_or(&plan.certificates[self.issuer].key);
        let signature = [&[0], &key.sign(&signed).unwrap()[..]].concat();
        tlv(0x30, &[signed, algorithm, tlv(3, &signature)].concat())
    }
}

fn extensions(extensions: &[Extension]) -> Vec<u8> {
    let each = extensions.iter().map(|extension| {
        let critical = match extension.critical {
            true => tlv(1, &[0xff]),
            false => Vec::new(),
        };
        let (oid, value) = (tlv(6, extension.oid), tlv(4, &extension.value));
        tlv(0x30, &[oid, critical, value].concat())
    });
    each.flatten().collect()
}

pub(in crate::evidence) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let digits = [16, 8, 0].map(|shift| (content.len() >> shift) as u8);
    let digits: Vec<u8> = digits.into_iter().skip_while(|digit| *digit == 0).collect();
    let mut element = vec![tag];
    match content.len() {
        0..=0x7f => element.push(content.len() as u8),
        _ => {
            element.push(0x80 | digits.len() as u8);
            element.extend(digits);
        }
    }
    element.extend_from_slice(content);
    element
}
