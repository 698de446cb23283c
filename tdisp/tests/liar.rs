//! A requester before a responder that lies, or a wire that does.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;
#[path = "liar/signed.rs"]
mod signed;

use harness::{
    Fault, Identity, Pair, measurements, requester, requester_config, responder, responder_config,
};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tdisp::{
    clock::Instant,
    crypto::{CryptoError, HashAlg, SignAlg, Signable, Signer},
    spdm::{
        Error, Goal, Misbehaviour, ResponderConfig, Timing,
        msg::{
            Code, Payload, Version,
            certificate::{self, Chain},
            error::{self, ErrorCode, NotReady},
        },
    },
};

const V: Version = Version::V1_2;

/// Connects while `lie` changes each message with `code` that the responder says, and tells why that failed.
fn lied(code: Code, mut lie: impl FnMut(&mut Vec<u8>) + 'static) -> Error {
    let mut pair = Pair::new();
    pair.bend = Some(Box::new(move |body| {
        if body[1] == code.0 {
            lie(body);
        }
    }));
    pair.say_everything();
    let failure = pair.failure().cloned();
    assert_eq!(pair.requester.session(), None);
    failure.unwrap_or_else(|| panic!("the lie was believed: {:?}", pair.requester_events))
}

/// Connects to a responder of its own making.
fn failed_with(config: ResponderConfig) -> Error {
    let mut pair = Pair::of(requester(requester_config()), responder(config));
    pair.say_everything();
    let failure = pair.failure().cloned();
    failure.unwrap_or_else(|| panic!("the lie was believed: {:?}", pair.requester_events))
}

fn peer(error: Error) -> (Code, Misbehaviour) {
    match error {
        Error::Peer { awaited, what } => (awaited, what),
        other => panic!("not the peer's fault: {other}"),
    }
}

// What is negotiated

#[test]
fn a_selection_is_exactly_one_bit_that_was_offered() {
    // Signature, hash, and the masks of groups, ciphers and key schedules.
    for field in [12..16, 16..20, 38..40, 42..44, 46..48] {
        let bits = field.len() * 8;
        let honest = {
            let mut pair = Pair::new();
            pair.connect();
            pair.carried[5][8..][field.clone()].to_vec()
        };
        let masks = (0..bits).map(|bit| 1u64 << bit).chain([0, 3, 0x90, u64::MAX]);
        for mask in masks {
            let mask = mask.to_le_bytes()[..field.len()].to_vec();
            if mask == honest {
                continue;
            }
            let at = field.clone();
            let error = lied(Code::ALGORITHMS, move |body| {
                body[at.clone()].copy_from_slice(&mask)
            });
            assert_eq!(error.awaited(), Code::ALGORITHMS, "{field:?}: {error}");
        }
    }
}

#[test]
fn a_responder_below_the_floor_is_not_spoken_to() {
    for low in [0x10, 0x11] {
        let error = lied(Code::VERSION, move |body| body[7] = low);
        let (awaited, what) = peer(error);
        assert_eq!(awaited, Code::VERSION);
        assert_eq!(
            what,
            Misbehaviour::NoCommonVersion {
                offered: vec![Version(low)],
                wanted: vec![V]
            }
        );
    }
}

#[test]
fn a_negotiation_that_was_changed_on_its_way_is_found_out_by_the_signature() {
    // A capability that neither side needs, and the time that signatures take.
    for (code, at, bit) in [
        (Code::CAPABILITIES, 9, 0x20),
        (Code::CAPABILITIES, 5, 1),
        (Code::VERSION, 4, 1),
    ] {
        let (awaited, what) = peer(lied(code, move |body| body[at] ^= bit));
        assert_eq!(
            (awaited, what),
            (Code::CHALLENGE_AUTH, Misbehaviour::BadSignature),
            "{code} {at}"
        );
    }
}

#[test]
fn a_responder_without_what_the_goal_needs_is_named_what_it_lacks() {
    for (byte, bit) in [(8, 1u8), (8, 2), (8, 6), (8, 7), (9, 1)] {
        let error = lied(Code::CAPABILITIES, move |body| body[byte] &= !(1 << bit));
        assert_eq!(error.awaited(), Code::CAPABILITIES, "{error}");
    }
}

#[test]
fn a_crypto_timeout_out_of_range_is_refused_from_32_to_255() {
    for exponent in 0..=255u8 {
        let error = lied(Code::CAPABILITIES, move |body| {
            body[5] = exponent.wrapping_add(u8::from(exponent == 20))
        });
        // In range it goes on to the signature, which does not cover the lie.
        let wanted = if exponent <= 31 {
            Code::CHALLENGE_AUTH
        } else {
            Code::CAPABILITIES
        };
        assert_eq!(error.awaited(), wanted, "{exponent}: {error}");
    }
}

// Certificates

#[test]
fn an_empty_or_tiny_portion_is_refused_and_so_is_one_larger_than_asked() {
    for size in [0usize, 1, 21, 0x11fc] {
        let error = lied(Code::CERTIFICATE, move |body| {
            let portion = vec![1; size];
            *body = certificate::Response {
                version: V,
                slot: 0,
                certificate_info: 0,
                large: false,
                portion: &portion,
                remainder: 100,
            }
            .to_vec();
        });
        let wanted = Misbehaviour::Portion {
            portion: size,
            least: 22,
            asked: 0x1200 - 8,
        };
        assert_eq!(peer(error), (Code::CERTIFICATE, wanted));
    }
}

#[test]
fn portions_without_end_are_refused_once_they_do_not_add_up() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let error = lied(Code::CERTIFICATE, move |body| {
        count.fetch_add(1, Ordering::Relaxed);
        *body = certificate::Response {
            version: V,
            slot: 0,
            certificate_info: 0,
            large: false,
            portion: &[7; 22],
            remainder: 0x7000,
        }
        .to_vec();
    });
    let wanted = Misbehaviour::Inconsistent {
        what: "size of the certificate chain",
        found: 0x702c,
        wanted: 0x7016,
    };
    assert_eq!(peer(error), (Code::CERTIFICATE, wanted));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn a_chain_larger_than_its_length_field_can_say_is_refused() {
    let error = lied(Code::CERTIFICATE, |body| {
        *body = certificate::Response {
            version: V,
            slot: 0,
            certificate_info: 0,
            large: false,
            portion: &[7; 16],
            remainder: 0xfff0,
        }
        .to_vec();
    });
    assert_eq!(error.awaited(), Code::CERTIFICATE, "{error}");
}

#[test]
fn a_chain_other_than_the_one_whose_digest_was_told_is_refused() {
    for at in [12, 60, 400, 900] {
        let (awaited, what) = peer(lied(Code::CERTIFICATE, move |body| body[at] ^= 1));
        assert_eq!(awaited, Code::CERTIFICATE);
        assert!(matches!(what, Misbehaviour::WrongDigest { .. }), "{what}");
    }
    let (awaited, what) = peer(lied(Code::DIGESTS, |body| body[4] ^= 1));
    assert_eq!(awaited, Code::CERTIFICATE);
    assert!(matches!(what, Misbehaviour::WrongDigest { .. }), "{what}");
}

#[test]
fn a_certificate_of_another_slot_is_refused() {
    let error = lied(Code::CERTIFICATE, |body| body[2] = 1);
    assert!(matches!(
        peer(error),
        (Code::CERTIFICATE, Misbehaviour::Inconsistent { .. })
    ));
}

#[test]
fn an_empty_slot_is_named_with_those_that_are_not() {
    let mut config = responder_config();
    config.slots.swap(0, 3);
    let wanted = Misbehaviour::EmptySlot {
        slot: 0,
        provisioned: 8,
    };
    assert_eq!(peer(failed_with(config)), (Code::DIGESTS, wanted));
}

/// A responder whose chain has the usual root in its header, and these certificates.
fn with_certificates(certificates: &[u8]) -> ResponderConfig {
    let usual = Identity::usual();
    let mut chain = Vec::new();
    Chain {
        root_hash: usual.root.as_ref(),
        certificates,
    }
    .encode(V, &mut chain);
    ResponderConfig::new(chain, usual.signer.clone(), measurements())
}

#[test]
fn a_chain_whose_header_claims_a_pinned_root_that_it_does_not_begin_with_is_refused() {
    let other = Identity::new("other");
    let (awaited, what) = peer(failed_with(with_certificates(&other.chain[52..])));
    assert_eq!(awaited, Code::CERTIFICATE);
    assert!(matches!(what, Misbehaviour::Chain(_)), "{what}");
}

#[test]
fn a_chain_that_begins_with_the_pinned_root_but_goes_on_with_anothers_is_refused() {
    for (name, why) in [
        (
            "other",
            "certificate 1 (CN=other middle): it was issued by CN=other root",
        ),
        (
            "usual",
            "certificate 1 (CN=usual middle): its signature is not by the key",
        ),
    ] {
        let (usual, other) = (Identity::usual(), Identity::new(name));
        let [root, ..] = split(&usual.chain[52..]);
        let [_, middle, leaf] = split(&other.chain[52..]);
        let mut config = with_certificates(&[root, middle, leaf].concat());
        config.slots[0].as_mut().unwrap().signer = other.signer.clone();
        let (awaited, what) = peer(failed_with(config));
        assert_eq!(awaited, Code::CERTIFICATE);
        assert!(format!("{what}").contains(why), "{what}");
    }
}

/// Each of them signs the next, so that nothing but their number is wrong, and the key that signs.
#[test]
fn a_chain_of_more_than_sixteen_certificates_is_refused() {
    let [root, middle, leaf] = split(&Identity::usual().chain[52..]);
    let other = Identity::new("other");
    let told = |roots| {
        let certificates = [&root.repeat(roots)[..], middle, leaf].concat();
        let mut config = with_certificates(&certificates);
        config.slots[0].as_mut().unwrap().signer = other.signer.clone();
        peer(failed_with(config))
    };
    assert_eq!(told(14), (Code::CHALLENGE_AUTH, Misbehaviour::BadSignature));
    let (awaited, what) = told(15);
    assert_eq!(awaited, Code::CERTIFICATE);
    assert!(format!("{what}").contains("more than 16 certificates"), "{what}");
}

#[test]
fn certificates_that_are_none_are_refused() {
    let garbage: [&[u8]; 3] = [&[0x30], &[0x30, 0x82, 0xff, 0xff, 1, 2], &[0; 64]];
    for certificates in garbage {
        let error = failed_with(with_certificates(certificates));
        assert!(matches!(peer(error), (Code::CERTIFICATE, Misbehaviour::Chain(_))));
    }
}

/// The three certificates of an [`Identity`].
fn split(mut der: &[u8]) -> [&[u8]; 3] {
    [(); 3].map(|()| {
        let size = 4 + usize::from(der[2]) * 256 + usize::from(der[3]);
        let (one, rest) = der.split_at(size);
        der = rest;
        one
    })
}

// Errors

fn error_message(code: ErrorCode) -> Vec<u8> {
    error::Response::new(V, code, 0x12).to_vec()
}

#[test]
fn every_error_at_every_step_is_told_with_its_code_and_the_step() {
    let steps = [
        Code::VERSION,
        Code::CAPABILITIES,
        Code::ALGORITHMS,
        Code::DIGESTS,
        Code::CERTIFICATE,
        Code::CHALLENGE_AUTH,
        Code::KEY_EXCHANGE_RSP,
    ];
    let errors = [
        ErrorCode::INVALID_REQUEST,
        ErrorCode::UNEXPECTED_REQUEST,
        ErrorCode::UNSUPPORTED_REQUEST,
        ErrorCode::REQUEST_RESYNCH,
        ErrorCode(0x99),
    ];
    for step in steps {
        for code in errors {
            let found = peer(lied(step, move |body| *body = error_message(code)));
            let refused = Misbehaviour::Refused { code, data: 0x12 };
            assert_eq!(found, (step, refused));
        }
    }
}

#[test]
fn another_message_than_the_one_awaited_is_refused() {
    let found = peer(lied(Code::DIGESTS, |body| body[1] = Code::CERTIFICATE.0));
    let unexpected = Misbehaviour::Unexpected {
        found: Code::CERTIFICATE,
    };
    assert_eq!(found, (Code::DIGESTS, unexpected));
}

#[test]
fn a_challenge_answered_for_a_slot_that_holds_no_chain_is_refused() {
    let error = lied(Code::CHALLENGE_AUTH, |body| body[3] = 0b1111_1110);
    let empty = Misbehaviour::EmptySlot {
        slot: 0,
        provisioned: 0b1111_1110,
    };
    assert_eq!(peer(error), (Code::CHALLENGE_AUTH, empty));
}

#[test]
fn a_responder_that_is_busy_for_a_while_is_waited_for() {
    let busy_at = |code: Code| {
        let mut left = 3;
        let mut pair = Pair::new();
        pair.bend = Some(Box::new(move |body: &mut Vec<u8>| {
            if body[1] == code.0 && left > 0 {
                left -= 1;
                *body = error_message(ErrorCode::BUSY);
            }
        }));
        pair.connect();
        pair
    };
    let pair = busy_at(Code::DIGESTS);
    assert!(pair.requester.session().is_some(), "{:?}", pair.failure());
    // The responder has counted each CERTIFICATE into what it signs and the requester only the last: the wire lied.
    let pair = busy_at(Code::CERTIFICATE);
    let (awaited, what) = peer(pair.failure().cloned().unwrap());
    assert_eq!(
        (awaited, what),
        (Code::CHALLENGE_AUTH, Misbehaviour::BadSignature)
    );
    let waited = pair.now.since(Instant::START);
    assert_eq!(waited, Timing::default().retry_after * 3);
}

#[test]
fn a_responder_that_is_busy_for_ever_is_given_up() {
    for step in [Code::VERSION, Code::CERTIFICATE, Code::CHALLENGE_AUTH] {
        let found = peer(lied(step, |body| *body = error_message(ErrorCode::BUSY)));
        let tries = Timing::default().retries + 1;
        assert_eq!(found, (step, Misbehaviour::NeverReady { tries }));
    }
}

#[test]
fn a_response_that_is_not_ready_is_asked_for_again_by_its_token() {
    let mut kept: Option<Vec<u8>> = None;
    let mut pair = Pair::new();
    pair.bend = Some(Box::new(move |body| {
        if body[1] == Code::CHALLENGE_AUTH.0 {
            let not_ready = NotReady {
                exponent: 17,
                code: Code::CHALLENGE,
                token: 0x77,
                multiplier: 4,
            };
            let extended = not_ready.to_bytes();
            let error = error::Response {
                extended: &extended,
                ..error::Response::new(V, ErrorCode::RESPONSE_NOT_READY, 0)
            };
            kept = Some(std::mem::replace(body, error.to_vec()));
        } else if let Some(ready) = kept.take() {
            // The answer to RESPOND_IF_READY.
            *body = ready;
        }
    }));
    pair.connect();
    assert!(pair.requester.session().is_some(), "{:?}", pair.requester_events);
    assert_eq!(pair.carried[12][8..12], [0x12, 0xff, 0x83, 0x77]);
    assert_eq!(pair.now.since(Instant::START), Duration::from_micros(1 << 17));
}

#[test]
fn a_response_that_is_not_ready_names_its_request_and_is_not_dropped_when_it_is() {
    for (code, multiplier, what, found, wanted) in [
        (
            Code::GET_DIGESTS,
            2,
            "request code of ResponseNotReady",
            0x81,
            0x82,
        ),
        (Code::GET_CERTIFICATE, 0, "RDTM of ResponseNotReady", 0, 1),
    ] {
        let error = lied(Code::CERTIFICATE, move |body| {
            *body = error::Response {
                extended: &[10, code.0, 1, multiplier],
                ..error::Response::new(V, ErrorCode::RESPONSE_NOT_READY, 0)
            }
            .to_vec();
        });
        let inconsistent = Misbehaviour::Inconsistent { what, found, wanted };
        assert_eq!(peer(error), (Code::CERTIFICATE, inconsistent));
    }
}

#[test]
fn a_response_that_wants_to_be_waited_for_too_long_is_asked_for_sooner_and_given_up() {
    for exponent in [30u8, 63, 64, 255] {
        let error = lied(Code::CERTIFICATE, move |body| {
            let not_ready = [exponent, Code::GET_CERTIFICATE.0, 1, 255];
            *body = error::Response {
                extended: &not_ready,
                ..error::Response::new(V, ErrorCode::RESPONSE_NOT_READY, 0)
            }
            .to_vec();
        });
        assert_eq!(error.awaited(), Code::CERTIFICATE, "{exponent}: {error}");
    }
}

#[test]
fn an_error_in_clear_ends_a_session_that_asked_whatever_it_says() {
    for code in [ErrorCode::BUSY, ErrorCode::DECRYPT_ERROR] {
        let mut pair = Pair::in_session();
        pair.requester.vendor(pair.now, &[1, 2]).unwrap();
        let mut out = Vec::new();
        assert!(pair.requester.poll_transmit(&mut out));
        let object = [&[1, 0, 1, 0, 3, 0, 0, 0][..], &error_message(code)].concat();
        pair.requester.handle(pair.now, &object);
        pair.collect();
        let found = peer(pair.failure().cloned().unwrap());
        let refused = Misbehaviour::Refused { code, data: 0x12 };
        assert_eq!(found, (Code::VENDOR_DEFINED_RESPONSE, refused));
        assert_eq!(pair.requester.session(), None);
    }
}

#[test]
fn an_answer_in_clear_to_a_request_in_the_session_is_not_believed() {
    let mut pair = Pair::in_session();
    pair.requester.vendor(pair.now, &[1, 2]).unwrap();
    let object = [&[
        1, 0, 1, 0, 6, 0, 0, 0, 0x12, 0x7e, 0, 0, 3, 0, 2, 1, 0, 2, 0, 1, 2, 0, 0, 0,
    ][..]]
    .concat();
    pair.requester.handle(pair.now, &object);
    pair.collect();
    let found = peer(pair.failure().cloned().unwrap());
    let wrong = Misbehaviour::WrongChannel { in_session: false };
    assert_eq!(found, (Code::VENDOR_DEFINED_RESPONSE, wrong));
}

#[test]
fn what_ended_a_connection_reads_as_a_sentence() {
    let error = lied(Code::VERSION, |body| body[7] = 0x11);
    assert_eq!(
        error.to_string(),
        "waiting for VERSION: it speaks 1.1; wanted one of 1.2"
    );
    let error = lied(Code::DIGESTS, |body| *body = error_message(ErrorCode::BUSY));
    let wanted =
        "waiting for DIGESTS: the responder was not ready 9 times; raise the retries if it needs longer";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn an_answer_cut_anywhere_is_an_error_that_names_it() {
    let mut honest = Pair::new();
    honest.connect();
    // All answers in clear: the last object is FINISH_RSP, in the session.
    for answer in honest.carried[..15].iter().skip(1).step_by(2) {
        let (code, size) = (Code(answer[9]), answer.len() - 8);
        let step = if size > 400 { 44 } else { 4 };
        for end in (4..size - 4).step_by(step) {
            let error = lied(code, move |body| body.truncate(end));
            assert_eq!(error.awaited(), code, "cut at {end}: {error}");
        }
    }
}

#[test]
fn an_answer_larger_than_announced_is_refused() {
    let found = peer(lied(Code::VERSION, |body| body.resize(0x2000, 0)));
    let wanted = Misbehaviour::TooLarge {
        size: 0x2000,
        max: 0x1218,
    };
    assert_eq!(found, (Code::VERSION, wanted));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_place_of_an_answer_end_in_an_error(
        step in 0usize..8,
        rest in proptest::collection::vec(any::<u8>(), 0..300),
        right_head in any::<bool>(),
    ) {
        let mut pair = Pair::new();
        let mut seen = 0;
        pair.bend = Some(Box::new(move |body| {
            if seen == step {
                let head = if right_head { &body[..4] } else { &[] };
                *body = [head, &rest].concat();
            }
            seen += 1;
        }));
        pair.say_everything();
        prop_assert_eq!(pair.requester.session(), None);
        // The eighth answer, FINISH_RSP, comes in the session, where nobody can bend it.
        prop_assert!(pair.failure().is_some() || step == 7);
    }
}
