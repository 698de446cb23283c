//! Certificate chains for the tests, good and bad.

pub(super) mod crl;
pub(super) mod scene;

use crate::{
    clock::UnixTime,
    crypto::{HashAlg, Ring, RingSigner, SignAlg, digest},
    evidence::chain::Root,
    wire::Write,
};
use alloc::{format, string::ToString, vec, vec::Vec};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    OtherNameValue, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType, date_time_ymd,
};

/// A moment at which the default chain is valid: 2026-11-20.
pub(super) const NOW: UnixTime = UnixTime(1_795_132_800);

/// A chain to be made: root first, leaf last. Tests spoil what they are about.
pub(super) struct Plan {
    pub(super) certificates: Vec<Certificate>,
}

pub(super) struct Certificate {
    pub(super) params: CertificateParams,
    pub(super) key: KeyPair,
    /// Signs with this instead of the key before it.
    pub(super) signed_by: Option<KeyPair>,
}

impl Certificate {
    fn new(name: &str, alg: &'static rcgen::SignatureAlgorithm) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        Self {
            params,
            key: KeyPair::generate_for(alg).unwrap(),
            signed_by: None,
        }
    }

    pub(super) fn ca(name: &str) -> Self {
        let mut ca = Self::new(name, &PKCS_ECDSA_P384_SHA384);
        ca.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca
    }

    pub(super) fn leaf(name: &str) -> Self {
        let mut leaf = Self::new(name, &PKCS_ECDSA_P384_SHA384);
        leaf.params.is_ca = IsCa::ExplicitNoCa;
        leaf.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf
    }

    pub(super) fn p256_leaf(name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self {
            key,
            ..Self::leaf(name)
        }
    }

    /// Adds the alternative names and the extension that devices carry.
    pub(super) fn with_names(mut self, pci: &str, info: &str) -> Self {
        let name = |oid: &[u64], text: &str| {
            SanType::OtherName((oid.to_vec(), OtherNameValue::Utf8String(text.to_string())))
        };
        self.params.subject_alt_names = vec![
            name(&[2, 23, 147], pci),
            name(&[1, 3, 6, 1, 4, 1, 412, 274, 1], info),
        ];
        let hardware = vec![
            0x30, 14, 0x30, 12, 6, 10, 0x2b, 6, 1, 4, 1, 0x83, 0x1c, 0x82, 0x12, 2,
        ];
        self.extend(&[1, 3, 6, 1, 4, 1, 412, 274, 6], false, hardware);
        self
    }

    pub(super) fn extend(&mut self, oid: &[u64], critical: bool, content: Vec<u8>) {
        let mut extension = CustomExtension::from_oid_content(oid, content);
        extension.set_criticality(critical);
        self.params.custom_extensions.push(extension);
    }
}

impl Plan {
    pub(super) fn good() -> Self {
        let leaf = Certificate::leaf("Device 1").with_names("Vendor=1b36:Device=7ee0", "Tidelock:NIC:1");
        Self {
            certificates: vec![
                Certificate::ca("Vendor root"),
                Certificate::ca("Vendor model"),
                leaf,
            ],
        }
    }

    pub(super) fn root(&mut self) -> &mut Certificate {
        &mut self.certificates[0]
    }

    pub(super) fn model(&mut self) -> &mut Certificate {
        &mut self.certificates[1]
    }

    pub(super) fn leaf(&mut self) -> &mut Certificate {
        self.certificates.last_mut().unwrap()
    }

    /// The certificates' DER, root first.
    pub(super) fn ders(&self) -> Vec<Vec<u8>> {
        let mut before: Option<&Certificate> = None;
        let mut ders = Vec::new();
        for certificate in &self.certificates {
            let issuer = before.unwrap_or(certificate);
            let key = certificate.signed_by.as_ref().unwrap_or(&issuer.key);
            let issuer = Issuer::from_params(&issuer.params, key);
            ders.push(
                certificate
                    .params
                    .signed_by(&certificate.key, &issuer)
                    .unwrap()
                    .der()
                    .to_vec(),
            );
            before = Some(certificate);
        }
        ders
    }

    /// The chain object with SHA-384.
    pub(super) fn object(&self) -> Vec<u8> {
        object(&self.ders())
    }

    /// The leaf's private key.
    pub(super) fn signer(&self) -> RingSigner {
        let key = &self.certificates.last().unwrap().key;
        RingSigner::from_pkcs8(SignAlg::EcdsaP384, key.serialized_der()).unwrap()
    }
}

/// A chain object with SHA-384 of these certificates.
pub(super) fn object(ders: &[Vec<u8>]) -> Vec<u8> {
    let mut object = Vec::new();
    object.u16(u16::try_from(4 + 48 + ders.concat().len()).unwrap());
    object.zeros(2);
    object.bytes(digest(&Ring, HashAlg::Sha384, &ders[0]).as_ref());
    object.bytes(&ders.concat());
    object
}

/// The root of a chain object, pinned.
pub(super) fn pin(object: &[u8]) -> Root {
    let digest = crate::crypto::Digest::new(&object[4..52]).unwrap();
    Root {
        name: format!("vendor-{}", &digest.to_string()[..4]),
        digest,
    }
}
