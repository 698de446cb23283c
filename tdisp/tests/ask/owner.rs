//! What an owner asks for and puts in: certificates and the requests for them, and key pairs.

use super::{VERSIONS, asked, asking, chain, everything, for_challenges, pair, pair_of, slot};
use tdisp::spdm::{
    Event,
    msg::{
        Code, Version,
        error::ErrorCode,
        key_pair_info::{Usage, key_algorithm},
    },
    requester::CsrWish,
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

#[test]
fn a_certificate_signing_request_is_fetched_in_a_session_and_outside() {
    for version in VERSIONS {
        let mut pair = pair(version);
        for session in [pair.requester.session(), None] {
            pair.requester
                .get_csr(pair.now, session, CsrWish::default())
                .unwrap();
            let Event::Csr(csr) = asked(&mut pair) else {
                panic!()
            };
            let (_, request) = X509CertificationRequest::from_der(&csr).unwrap();
            request.verify_signature().unwrap();
        }
    }
}

#[test]
fn a_device_that_needs_a_reset_says_under_which_tag_and_the_connection_stays() {
    let mut config = everything();
    config.provisioning.after_reset = true;
    let mut pair = pair_of(asking(Version::V1_3), config);
    let session = pair.requester.session();
    pair.requester
        .get_csr(pair.now, session, CsrWish::default())
        .unwrap();
    let refused = Event::Refused {
        awaited: Code::CSR,
        code: ErrorCode::RESET_REQUIRED,
        data: 1,
    };
    assert_eq!(asked(&mut pair), refused);
    assert_eq!(pair.requester.session(), session);
    pair.responder.reset();
    pair.connect();
    pair.requester_events.clear();
    let session = pair.requester.session();
    let again = CsrWish {
        tag: 1,
        ..CsrWish::default()
    };
    pair.requester.get_csr(pair.now, session, again).unwrap();
    assert!(matches!(asked(&mut pair), Event::Csr(_)));
}

#[test]
fn a_slot_is_filled_and_emptied_and_used() {
    let mut pair = pair(Version::V1_3);
    let session = pair.requester.session();
    for chain in [Some(chain()), None] {
        let wish = slot(2, chain);
        pair.requester.set_certificate(pair.now, session, wish).unwrap();
        assert_eq!(asked(&mut pair), Event::CertificateSet { slot: 2 });
    }
}

#[test]
fn key_pairs_are_told_and_changed() {
    for version in [Version::V1_3, Version::V1_4] {
        let mut pair = pair(version);
        let session = pair.requester.session();
        pair.requester
            .set_key_pair_info(pair.now, session, for_challenges())
            .unwrap();
        assert_eq!(asked(&mut pair), Event::KeyPairSet { id: 1 });
        pair.requester.get_key_pair_info(pair.now, session, 1).unwrap();
        let Event::KeyPairInfo(info) = asked(&mut pair) else {
            panic!()
        };
        assert_eq!(
            (info.total, info.usage, info.algorithm),
            (1, Usage::CHALLENGE, key_algorithm::ECC_P384)
        );
        pair.requester.get_key_pair_info(pair.now, session, 2).unwrap();
        assert!(matches!(
            asked(&mut pair),
            Event::Refused {
                code: ErrorCode::INVALID_REQUEST,
                ..
            }
        ));
    }
}
