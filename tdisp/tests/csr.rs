//! Certificate signing requests: that others can read and verify what a device makes, and what requester's information is.

#![allow(clippy::unwrap_used, reason = "a test may")]

use proptest::prelude::*;
use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, PKCS_ECDSA_P384_SHA384};
use tdisp::{
    crypto::{HashAlg, RingSigner, SignAlg},
    spdm::pkcs10::{Applicant, RequesterInfo, common_name, public_key_info},
};
use x509_parser::{
    certification_request::X509CertificationRequest,
    prelude::{FromDer, X509Certificate},
};

fn key(alg: SignAlg, rcgen: &'static rcgen::SignatureAlgorithm) -> RingSigner {
    let pair = KeyPair::generate_for(rcgen).unwrap();
    RingSigner::from_pkcs8(alg, &pair.serialize_der()).unwrap()
}

fn request(signer: &RingSigner, wanted: &RequesterInfo<'_>) -> Vec<u8> {
    let applicant = Applicant {
        signer,
        public_key: signer.public_key(),
        name: &common_name("a device"),
    };
    applicant.request(HashAlg::Sha384, wanted).unwrap()
}

/// RequesterInfo as another implementation writes it: the info of a request with a name and an extension.
fn info() -> Vec<u8> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "as the owner likes it");
    let unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    params.custom_extensions.push(unknown);
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let der = params.serialize_request(&pair).unwrap().der().to_vec();
    let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
    request.certification_request_info.raw.to_vec()
}

#[test]
fn another_implementation_reads_and_verifies_a_request() {
    let keys = [
        key(SignAlg::EcdsaP256, &rcgen::PKCS_ECDSA_P256_SHA256),
        key(SignAlg::EcdsaP384, &PKCS_ECDSA_P384_SHA384),
    ];
    for signer in keys {
        let der = request(&signer, &RequesterInfo::default());
        let (rest, request) = X509CertificationRequest::from_der(&der).unwrap();
        assert!(rest.is_empty());
        request.verify_signature().unwrap();
        let info = &request.certification_request_info;
        assert_eq!(info.subject.to_string(), "CN=a device");
        assert_eq!(info.subject_pki.subject_public_key.data, signer.public_key());
        assert!(info.attributes().is_empty());
    }
}

#[test]
fn a_name_and_attributes_that_are_wanted_are_in_the_request_and_the_key_is_the_devices() {
    let signer = key(SignAlg::EcdsaP384, &PKCS_ECDSA_P384_SHA384);
    let info = info();
    let wanted = RequesterInfo::decode(&info).unwrap();
    let der = request(&signer, &wanted);
    let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
    request.verify_signature().unwrap();
    let made = &request.certification_request_info;
    assert!(
        made.subject.to_string().contains("as the owner likes it"),
        "{}",
        made.subject
    );
    assert_eq!(
        made.subject_pki.raw,
        public_key_info(SignAlg::EcdsaP384, signer.public_key())
    );
    assert_eq!(request.requested_extensions().unwrap().count(), 1);
}

#[test]
fn no_requester_info_wants_nothing() {
    assert_eq!(RequesterInfo::decode(&[]), Ok(RequesterInfo::default()));
}

#[test]
fn requester_info_cut_at_any_byte_or_with_any_length_wrong_is_refused() {
    let good = info();
    assert!(RequesterInfo::decode(&good).is_ok());
    for size in 1..good.len() {
        assert!(RequesterInfo::decode(&good[..size]).is_err(), "{size} bytes");
    }
    assert!(
        RequesterInfo::decode(&[&good[..], &[0]].concat()).is_err(),
        "a byte more"
    );
    // The lengths of: the info, the version, the subject, a set in it, a pair in that.
    let subject = good.iter().position(|byte| *byte == 0x02).unwrap() + 4;
    for at in [1, subject - 3, subject, subject + 2, subject + 4] {
        for wrong in [0, good[at] - 1, good[at] + 1, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff] {
            let mut bad = good.clone();
            bad[at] = wrong;
            // A form of the same length is no other length.
            if bad != good {
                assert!(RequesterInfo::decode(&bad).is_err(), "length {wrong:#x} at {at}");
            }
        }
    }
}

#[test]
fn requester_info_of_another_version_or_with_another_structure_is_refused() {
    for info in [
        &[0x30, 0][..],
        &[0x30, 3, 2, 1, 0],
        &[0x30, 5, 2, 1, 0, 0x30, 0],
        &[0x31, 3, 2, 1, 0],
        // A subject that is a name, a key that is none.
        &[0x30, 7, 2, 1, 0, 0x30, 0, 0x30, 0],
        &[0x30, 11, 2, 1, 1, 0x30, 0, 0x30, 4, 0x30, 0, 3, 0],
    ] {
        assert!(RequesterInfo::decode(info).is_err(), "{info:02x?}");
    }
    let good: &[u8] = &[0x30, 11, 2, 1, 0, 0x30, 0, 0x30, 4, 0x30, 0, 3, 0];
    assert_eq!(RequesterInfo::decode(good), Ok(RequesterInfo::default()));
}

#[test]
fn a_certificate_is_no_requester_info() {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let certificate = CertificateParams::default().self_signed(&pair).unwrap();
    assert!(X509Certificate::from_der(certificate.der()).is_ok());
    assert!(RequesterInfo::decode(certificate.der()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_of_requester_info_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = RequesterInfo::decode(&bytes);
    }

    #[test]
    fn requester_info_with_any_bytes_changed_does_not_make_the_reader_panic(at: u16, byte: u8) {
        let mut info = info();
        let at = usize::from(at) % info.len();
        info[at] = byte;
        let _ = RequesterInfo::decode(&info);
    }
}
