//! GET_CSR: what is signed, what the requester may want in it, and requests that wait for a reset.

use super::{INVALID, V, ask, ask_in_clear, error_of, live, live_until_reset, live_with, refusal, usual};
use crate::harness::by_hand::ByHand;
use std::sync::Arc;
use tdisp::spdm::{
    ResponderConfig, algorithms,
    msg::{
        Code, Context, Payload, Version,
        capabilities::{self, Flags, Sizes},
        csr,
        error::ErrorCode,
    },
    responder::{Csr, MultiKey, NotDone, WantedCsr},
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

fn get_csr(version: Version) -> csr::Request<'static> {
    csr::Request {
        version,
        key_pair: 0,
        model: 0,
        tag: 0,
        overwrite: false,
        info: &[],
        opaque: &[],
    }
}

#[test]
fn a_device_signs_a_request_for_a_certificate() {
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        let mut hand = live(version);
        let answer = ask(&mut hand, &get_csr(version));
        let response = csr::Response::decode_exact(&answer, &Context::new(version)).unwrap();
        let (rest, request) = X509CertificationRequest::from_der(response.csr).unwrap();
        assert!(rest.is_empty());
        request.verify_signature().unwrap();
        assert_eq!(
            request.certification_request_info.subject.to_string(),
            "CN=a device"
        );
    }
}

/// Immunity: a subject was converted before its length was known to fit.
#[test]
fn requester_info_that_is_no_der_is_refused_whatever_its_lengths() {
    let mut hand = live(V);
    let good: &[u8] = &[0x30, 11, 2, 1, 0, 0x30, 0, 0x30, 4, 0x30, 0, 3, 0];
    assert_eq!(
        refusal(
            &mut hand,
            &csr::Request {
                info: good,
                ..get_csr(V)
            }
        ),
        None
    );
    for size in 1..good.len() {
        let request = csr::Request {
            info: &good[..size],
            ..get_csr(V)
        };
        assert_eq!(refusal(&mut hand, &request), INVALID, "{size} bytes");
    }
    for (at, length) in [
        (1, 0xff),
        (1, 0x84),
        (3, 0xff),
        (6, 0x7f),
        (6, 0x84),
        (8, 0xff),
        (10, 1),
    ] {
        let mut info = good.to_vec();
        info[at] = length;
        let request = csr::Request {
            info: &info,
            ..get_csr(V)
        };
        assert_eq!(
            refusal(&mut hand, &request),
            INVALID,
            "length {length:#x} at {at}"
        );
    }
    for info in [&[0][..], &[0x30], &[0x30, 0x80], &[0xff; 1000]] {
        assert_eq!(refusal(&mut hand, &csr::Request { info, ..get_csr(V) }), INVALID);
    }
}

#[test]
fn opaque_data_of_a_certificate_request_is_in_the_agreed_format() {
    let mut hand = live(V);
    let element = [1, 0, 0, 0, 0, 0, 4, 0, 1, 2, 3, 4];
    assert_eq!(
        refusal(
            &mut hand,
            &csr::Request {
                opaque: &element,
                ..get_csr(V)
            }
        ),
        None
    );
    for opaque in [&element[..11], &[2, 0, 0, 0], &[1]] {
        assert_eq!(
            refusal(&mut hand, &csr::Request { opaque, ..get_csr(V) }),
            INVALID
        );
    }
}

#[test]
fn a_key_pair_and_a_model_are_named_with_several_keys_and_not_with_one() {
    let mut hand = live(V);
    for (key_pair, model) in [(1, 0), (0, 1), (1, 1)] {
        let request = csr::Request {
            key_pair,
            model,
            ..get_csr(V)
        };
        assert_eq!(refusal(&mut hand, &request), INVALID, "{key_pair} {model}");
    }
    let config = ResponderConfig {
        multi_key: MultiKey::Only,
        ..usual()
    };
    let mut several = ByHand::start(config);
    several.version = V;
    several.offer.other_params |= algorithms::MULTI_KEY;
    let wrong = |hand: &mut ByHand, key_pair, model| {
        let request = csr::Request {
            key_pair,
            model,
            ..get_csr(V)
        };
        error_of(&ask_in_clear(hand, &request))
    };
    several.say_vca();
    several.context.multi_key = true;
    assert_eq!(wrong(&mut several, 1, 1), None);
    for (key_pair, model) in [(0, 0), (1, 0), (0, 1), (1, 4), (1, 7)] {
        assert_eq!(
            wrong(&mut several, key_pair, model),
            INVALID,
            "{key_pair} {model}"
        );
    }
}

#[test]
fn a_request_that_needs_a_reset_waits_for_it_under_a_tag() {
    let mut hand = live_until_reset(V);
    let with_tag = |tag| csr::Request { tag, ..get_csr(V) };
    let required = |tag| Some((ErrorCode::RESET_REQUIRED, tag));
    assert_eq!(refusal(&mut hand, &with_tag(1)), INVALID, "no such request");
    for tag in 1..=7 {
        assert_eq!(refusal(&mut hand, &get_csr(V)), required(tag));
    }
    assert_eq!(
        refusal(&mut hand, &get_csr(V)),
        Some((ErrorCode::BUSY, 0)),
        "all tags are taken"
    );
    assert_eq!(
        refusal(&mut hand, &with_tag(3)),
        required(3),
        "there was no reset"
    );
    let both = csr::Request {
        overwrite: true,
        ..with_tag(3)
    };
    assert_eq!(refusal(&mut hand, &both), INVALID);
    hand.responder.reset();
    hand.say_vca();
    let mut clear = |message| ask_in_clear(&mut hand, &message);
    assert_eq!(clear(with_tag(3))[1], Code::CSR.0);
    assert_eq!(error_of(&clear(with_tag(3))), INVALID, "it was fetched");
    assert_eq!(clear(with_tag(7))[1], Code::CSR.0);
    assert_eq!(
        error_of(&clear(csr::Request {
            overwrite: true,
            ..get_csr(V)
        })),
        required(1)
    );
    assert_eq!(error_of(&clear(with_tag(2))), INVALID, "it was overwritten");
}

#[test]
fn a_new_connection_is_no_reset() {
    let mut hand = live_until_reset(V);
    assert_eq!(
        refusal(&mut hand, &get_csr(V)),
        Some((ErrorCode::RESET_REQUIRED, 1))
    );
    hand.say_vca();
    let answer = ask_in_clear(&mut hand, &csr::Request { tag: 1, ..get_csr(V) });
    assert_eq!(error_of(&answer), Some((ErrorCode::RESET_REQUIRED, 1)));
}

#[test]
fn a_request_of_1_2_that_needs_a_reset_is_there_after_it() {
    let mut hand = live_until_reset(Version::V1_2);
    for _ in 0..2 {
        let refused = refusal(&mut hand, &get_csr(Version::V1_2));
        assert_eq!(refused, Some((ErrorCode::RESET_REQUIRED, 0)));
    }
    hand.responder.reset();
    hand.say_vca();
    let answer = ask_in_clear(&mut hand, &get_csr(Version::V1_2));
    assert_eq!(answer[1], Code::CSR.0);
}

#[test]
fn a_tag_where_no_reset_is_needed_is_refused() {
    let mut hand = live(V);
    assert_eq!(
        refusal(&mut hand, &csr::Request { tag: 1, ..get_csr(V) }),
        INVALID
    );
}

#[test]
fn a_request_that_is_too_large_to_be_fetched_stays_for_who_can_take_it() {
    let mut config = usual();
    config.provisioning.after_reset = true;
    let mut hand = live_with(V, config);
    ask(&mut hand, &get_csr(V));
    hand.responder.reset();
    let narrow = Sizes {
        transfer: 100,
        message: 100,
    };
    let fetch = csr::Request { tag: 1, ..get_csr(V) }.to_vec();
    hand.agree_in(V, Flags(0), narrow);
    let answer = hand.clear(&fetch).unwrap();
    assert_eq!(error_of(&answer), Some((ErrorCode::RESPONSE_TOO_LARGE, 0)));
    hand.say_vca();
    assert_eq!(hand.clear(&fetch).unwrap()[1], Code::CSR.0);
}

/// Makes so many bytes of whatever it is asked for.
struct Sized(usize);

impl Csr for Sized {
    fn request(&self, _: &WantedCsr<'_>) -> Result<Vec<u8>, NotDone> {
        Ok(vec![0x30; self.0])
    }
}

#[test]
fn what_no_certificate_request_can_be_is_a_failure_of_the_device() {
    for after_reset in [false, true] {
        for (size, fails) in [(0, true), (1, false), (0xffff, false), (0x1_0000, true)] {
            let mut config = usual();
            config.provisioning.csr = Some(Arc::new(Sized(size)));
            config.provisioning.after_reset = after_reset;
            let answer = ask(&mut live_with(V, config), &get_csr(V));
            let failed = Some((ErrorCode::OPERATION_FAILED, 0));
            assert_eq!(error_of(&answer) == failed, fails, "{size}: {answer:02x?}");
        }
    }
}

#[test]
fn a_device_says_that_it_needs_a_reset_if_certificates_wait_for_one() {
    let told = |after_reset: bool, csr: bool, store: bool| {
        let mut config = usual();
        let provisioning = &mut config.provisioning;
        provisioning.after_reset = after_reset;
        provisioning.csr.take_if(|_| !csr);
        provisioning.store.take_if(|_| !store);
        let mut hand = ByHand::versioned(config);
        hand.version = V;
        let answer = hand.clear(&hand.capabilities().to_vec()).unwrap();
        let (told, _) = capabilities::Response::decode_padded(&answer, &Context::new(V)).unwrap();
        told.flags.contains(Flags::CERT_INSTALL_RESET)
    };
    for csr in [false, true] {
        assert!(told(true, csr, true), "{csr}");
        assert!(!told(false, csr, true), "{csr}");
        assert!(!told(true, csr, false), "{csr}");
    }
}
