//! Peers that promise less protection than this side wants, keep it busy without end, or make it keep without bound.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;

use harness::{
    Identity, Pair,
    by_hand::{ByHand, get_certificate},
    requester, requester_config, responder, responder_config,
    suite::Suite,
};
use std::{sync::Arc, time::Duration};
use tdisp::{
    crypto::{HashAlg, Provider, Ring, Secret, SignAlg, Signable, x509::PublicKey},
    spdm::{
        Error, Event, Goal, Misbehaviour, Misuse, RequesterConfig, ResponderConfig,
        msg::{
            Code, Payload, Summary, Version,
            capabilities::{Flags, Sizes},
            certificate, challenge,
            chunk::{self, Chunk, SendAck},
            digests,
            error::ErrorCode,
            measurements,
        },
        requester::PreShared,
        responder::{Delay, Psk, Slot, Wait},
    },
};
use x509_parser::prelude::{FromDer, X509Certificate};

fn failure(pair: &Pair) -> &Misbehaviour {
    match pair.failure() {
        Some(Error::Peer { what, .. }) => what,
        other => panic!("{other:?}: {:?}", pair.requester_events),
    }
}

// Records without encryption

fn psk() -> Psk {
    Psk {
        keys: Arc::new(|_: &[u8]| Some(Secret::new(vec![7; 48]))),
        context: true,
    }
}

#[test]
fn no_session_is_opened_with_who_does_not_encrypt_if_this_side_does() {
    let asking = RequesterConfig {
        goal: Goal::Identity,
        psk: Some(PreShared {
            hint: vec![1],
            key: Secret::new(vec![7; 48]),
        }),
        ..requester_config()
    };
    let answering = ResponderConfig {
        psk: Some(psk()),
        capabilities: Flags(u32::MAX).without(Flags::ENCRYPT),
        ..responder_config()
    };
    let mut pair = Pair::of(requester(asking), responder(answering));
    pair.connect();
    assert_eq!(pair.requester_events.last(), Some(&Event::Challenged));
    let wanted = Err(Misuse::Lacks {
        what: "ENCRYPT_CAP and MAC_CAP, as this side has them",
    });
    assert_eq!(pair.requester.open_session(pair.now), wanted);
    assert_eq!(pair.requester.open_psk_session(pair.now), wanted);
    assert_eq!(pair.requester.session(), None);
}

#[test]
fn a_session_is_opened_with_who_does_not_encrypt_if_this_side_does_not_either() {
    let only_mac = |flags: Flags| flags.without(Flags::ENCRYPT);
    let asking = RequesterConfig {
        goal: Goal::Identity,
        capabilities: only_mac(Flags(u32::MAX)),
        ..requester_config()
    };
    let mut pair = Pair::of(requester(asking), responder(responder_config()));
    pair.connect();
    pair.requester.open_session(pair.now).unwrap();
    pair.run();
    assert!(pair.requester.session().is_some(), "{:?}", pair.requester_events);
}

#[test]
fn a_version_of_secured_messages_that_was_not_offered_is_refused() {
    let mut pair = Pair::new();
    pair.bend = Some(Box::new(|body| {
        if body[1] == Code::KEY_EXCHANGE_RSP.0 {
            // Behind header, session, random, public value and the opaque data's own headers.
            assert_eq!(body[148..150], [0, 0x12]);
            body[149] = 0x13;
        }
    }));
    pair.connect();
    assert_eq!(failure(&pair), &Misbehaviour::SecuredVersion { found: 0x1300 });
}

/// The context binds an answer to its request, whatever the signature over both says.
#[test]
fn an_answer_with_another_requests_context_is_refused() {
    let config = |goal| RequesterConfig {
        versions: vec![Version::V1_3],
        goal,
        ..requester_config()
    };
    let answering = || ResponderConfig {
        versions: vec![Version::V1_3],
        ..responder_config()
    };
    for code in [Code::CHALLENGE_AUTH, Code::MEASUREMENTS] {
        let mut pair = Pair::of(requester(config(Goal::Identity)), responder(answering()));
        pair.bend = Some(Box::new(move |body| {
            let at = match code {
                Code::CHALLENGE_AUTH => 86,
                _ => 167,
            };
            if body[1] == code.0 {
                assert!(at + 8 + 96 <= body.len());
                body[at] ^= 1;
            }
        }));
        pair.connect();
        if code == Code::MEASUREMENTS {
            pair.requester.measure(pair.now, None).unwrap();
            pair.run();
        }
        assert_eq!(failure(&pair), &Misbehaviour::WrongContext, "{code}");
    }
}

// Without end

fn part(handle: u8, sequence: u32, last: bool, part: &[u8], whole: usize) -> Vec<u8> {
    let chunk = Chunk {
        handle,
        sequence,
        last,
        large_size: (sequence == 0).then_some(whole as u32),
        part,
    };
    let version = Version::V1_2;
    chunk::Response { version, chunk }.to_vec()
}

/// A pair at rest that may speak in chunks.
fn in_chunks() -> Pair {
    let asking = RequesterConfig {
        goal: Goal::Identity,
        chunk: Some(0x1_0000),
        ..requester_config()
    };
    let answering = ResponderConfig {
        chunk: Some(0x1_0000),
        ..responder_config()
    };
    let mut pair = Pair::of(requester(asking), responder(answering));
    pair.connect();
    assert_eq!(pair.requester_events.last(), Some(&Event::Challenged));
    pair
}

#[test]
fn an_answer_in_chunks_that_says_it_is_to_be_fetched_in_chunks_is_refused() {
    let mut pair = in_chunks();
    let mut large = vec![0x12, 0x7f, 0x0f, 0, 1];
    large.resize(60, 0);
    let mut seen = 0;
    pair.bend = Some(Box::new(move |body| {
        *body = match seen {
            0 => vec![0x12, 0x7f, 0x0f, 0, 1],
            odd if odd % 2 == 1 => part(1, 0, false, &large[..40], large.len()),
            _ => part(1, 1, true, &large[40..], large.len()),
        };
        seen += 1;
    }));
    pair.requester.measure(pair.now, None).unwrap();
    pair.run();
    assert!(
        matches!(failure(&pair), Misbehaviour::Refused { .. }),
        "{:?}",
        pair.requester_events
    );
}

/// Two ends of which one takes requests in chunks, and handshakes in clear.
fn requests_in_chunks() -> Pair {
    let asking = RequesterConfig {
        goal: Goal::Session,
        chunk: Some(0x1_0000),
        handshake_in_clear: true,
        ..requester_config()
    };
    let answering = ResponderConfig {
        chunk: Some(0x1_0000),
        transfer_size: 64,
        handshake_in_clear: true,
        ..responder_config()
    };
    Pair::of(requester(asking), responder(answering))
}

#[test]
fn an_early_end_of_a_request_in_chunks_is_an_error_and_no_answer() {
    let mut pair = requests_in_chunks();
    let mut chain = None;
    // The first chunk of KEY_EXCHANGE is answered with what another message's answer may be.
    pair.bend = Some(Box::new(move |body| {
        if body[1] == Code::CHUNK_SEND_ACK.0 && chain.is_none() {
            let response = [&[0x12, Code::KEY_EXCHANGE_RSP.0, 0, 0][..], &[0; 60]].concat();
            let early = SendAck {
                version: Version::V1_2,
                early_error: true,
                handle: body[3],
                sequence: 0,
                response: &response,
            };
            *body = early.to_vec();
            chain = Some(());
        }
    }));
    pair.connect();
    assert!(
        matches!(failure(&pair), Misbehaviour::Unexpected { .. }),
        "{:?}",
        pair.requester_events
    );
}

#[test]
fn the_first_chunk_of_an_answer_is_of_the_answer_that_was_announced() {
    for (handle, goes) in [(1, true), (2, false)] {
        let mut pair = in_chunks();
        let mut seen = 0;
        pair.bend = Some(Box::new(move |body| {
            *body = match seen {
                0 => vec![0x12, 0x7f, 0x0f, 0, 1],
                _ => part(handle, 0, false, &[7; 40], 60),
            };
            seen += 1;
        }));
        pair.requester.measure(pair.now, None).unwrap();
        pair.run();
        let handle = "handle of CHUNK_RESPONSE";
        let is_about_it =
            matches!(failure(&pair), Misbehaviour::Inconsistent { what, .. } if *what == handle);
        // The right one is asked to go on, and says the same once more.
        assert_eq!(is_about_it, !goes, "{}", failure(&pair));
    }
}

#[test]
fn a_chunk_that_is_not_the_last_is_acknowledged_with_nothing() {
    for (bytes, goes) in [(0, true), (6, false)] {
        let mut pair = requests_in_chunks();
        let mut first = true;
        pair.bend = Some(Box::new(move |body| {
            if body[1] == Code::CHUNK_SEND_ACK.0 && std::mem::take(&mut first) {
                body.truncate(6);
                body.resize(6 + bytes, 1);
            }
        }));
        pair.connect();
        match goes {
            true => assert!(pair.requester.session().is_some(), "{:?}", pair.failure()),
            false => {
                let wanted = Misbehaviour::Inconsistent {
                    what: "bytes of an answer before the last chunk",
                    found: 6,
                    wanted: 0,
                };
                assert_eq!(failure(&pair), &wanted);
            }
        }
    }
}

#[test]
fn new_keys_are_had_from_who_is_busy_or_not_ready_at_first() {
    let not_ready = Wait::NotReady {
        exponent: 10,
        multiplier: 2,
    };
    for how in [Wait::Busy(2), not_ready] {
        let code = Code::KEY_UPDATE;
        let answering = ResponderConfig {
            delays: vec![Delay { code, how }],
            ..responder_config()
        };
        let mut pair = Pair::of(requester(requester_config()), responder(answering));
        pair.connect();
        pair.requester.update_keys(pair.now).unwrap();
        pair.run();
        let events = &pair.requester_events;
        assert!(events.contains(&Event::KeysUpdated), "{how:?}: {events:?}");
        pair.requester.vendor(pair.now, &[1, 2, 3]).unwrap();
        pair.run();
        assert!(pair.requester_events.contains(&Event::Vendor(vec![1, 3, 2])));
    }
}

#[test]
fn what_a_session_waits_for_is_not_to_be_had_outside() {
    let how = Wait::NotReady {
        exponent: 10,
        multiplier: 200,
    };
    let mut hand = ByHand::live(ResponderConfig {
        delays: vec![Delay {
            code: Code::GET_DIGESTS,
            how,
        }],
        ..responder_config()
    });
    let version = Version::V1_2;
    let not_ready = hand.secured(&digests::Request { version }.to_vec()).unwrap();
    assert_eq!(not_ready[1..3], [0x7f, ErrorCode::RESPONSE_NOT_READY.0]);
    hand.now = hand.now.after(Duration::from_millis(5));
    let again = [
        version.0,
        Code::RESPOND_IF_READY.0,
        Code::GET_DIGESTS.0,
        not_ready[6],
    ];
    let outside = hand.clear(&again).unwrap();
    assert_eq!(outside[1..3], [0x7f, ErrorCode::INVALID_REQUEST.0]);
    assert_eq!(hand.secured(&again).unwrap()[1], Code::DIGESTS.0);
}

// Without bound

/// The most that a responder keeps of what is to be signed where the bytes themselves are signed.
const KEPT_MAX: usize = 0x4000;

fn hand(config: ResponderConfig) -> ByHand {
    let config = ResponderConfig {
        versions: vec![Version::V1_1],
        ..config
    };
    let sizes = Sizes {
        transfer: 0x1200,
        message: 0x1200,
    };
    ByHand::agreed_in(Version::V1_1, config, Flags(0), sizes)
}

fn leaf_key(chain: &[u8]) -> Vec<u8> {
    let mut rest = &chain[4 + 48..];
    let mut key = Vec::new();
    while !rest.is_empty() {
        let (after, certificate) = X509Certificate::from_der(rest).unwrap();
        let found = PublicKey::from_der(certificate.public_key().raw).unwrap();
        key = found.for_alg(SignAlg::EcdsaP384).unwrap().to_vec();
        rest = after;
    }
    key
}

/// Whether a signature by a chain's key is over these very bytes, as before 1.2.
fn is_signed(chain: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    let all = parts.concat();
    let what = Signable::plain(HashAlg::Sha384, &all);
    let verified = Ring.verify(SignAlg::EcdsaP384, &leaf_key(chain), &what, signature);
    verified.is_ok()
}

fn is_error(answer: &[u8]) -> bool {
    answer[1..3] == [Code::ERROR.0, ErrorCode::UNSPECIFIED.0]
}

/// Whether a challenge is signed over all that was said.
fn is_challenged(hand: &mut ByHand, chain: &[u8], said: &[u8]) -> bool {
    let request = challenge::Request {
        version: Version::V1_1,
        slot: 0,
        summary: Summary::NONE,
        nonce: [9; 32],
        context: None,
    };
    let request = request.to_vec();
    let answer = hand.clear(&request).unwrap();
    let (_, size) = challenge::Response::decode_padded(&answer, &hand.context).unwrap();
    let (unsigned, signature) = answer[..size].split_at(size - 96);
    is_signed(chain, &[said, &request, unsigned], signature)
}

#[test]
fn what_is_to_be_signed_before_1_2_is_not_kept_without_bound() {
    let version = Version::V1_1;
    let mut hand = hand(responder_config());
    let request = get_certificate(version, 100);
    let mut said = hand.vca().to_vec();
    for again in 0..2 {
        loop {
            let answer = hand.clear(&request).unwrap();
            if is_error(&answer) {
                break;
            }
            said.extend_from_slice(&request);
            said.extend_from_slice(&answer);
            assert!(said.len() <= KEPT_MAX, "{} bytes are kept", said.len());
        }
        assert!(said.len() > KEPT_MAX - 0x100);
        assert!(
            is_challenged(&mut hand, &Identity::usual().chain, &said),
            "what was refused is not in it ({again})"
        );
        said = hand.vca().to_vec();
    }
}

#[test]
fn the_largest_chain_is_signed_before_1_2_in_whatever_portions_it_was_fetched() {
    let large = Suite::P384.new_identity("large", 60_000);
    let mut config = responder_config();
    config.slots[0] = Some(Slot::new(large.chain.clone(), large.signer.clone()));
    let mut hand = hand(config);
    let mut said = hand.vca().to_vec();
    let mut fetched = 0;
    while fetched < large.chain.len() {
        let request = certificate::Request {
            version: Version::V1_1,
            slot: 0,
            size_asked: false,
            large: false,
            offset: fetched as u32,
            length: 34,
        };
        let request = request.to_vec();
        let answer = hand.clear(&request).unwrap();
        let (response, size) = certificate::Response::decode_padded(&answer, &hand.context).unwrap();
        fetched += response.portion.len();
        said.extend_from_slice(&request);
        said.extend_from_slice(&answer[..size]);
    }
    assert!(is_challenged(&mut hand, &large.chain, &said));
}

#[test]
fn measurements_to_be_signed_before_1_2_are_not_kept_without_bound() {
    let mut hand = hand(responder_config());
    let asked = |signed| {
        let request = measurements::Request {
            version: Version::V1_1,
            operation: measurements::Operation::ALL,
            raw: false,
            fresh: false,
            signed,
            context: None,
        };
        request.to_vec()
    };
    let request = asked(None);
    let mut said = 0;
    loop {
        let answer = hand.clear(&request).unwrap();
        if is_error(&answer) {
            break;
        }
        said += request.len() + answer.len();
        assert!(said <= KEPT_MAX + 0x100, "{said} bytes are kept");
    }
    assert!(said > KEPT_MAX - 0x200);
    // An error begins it anew.
    let nonce = [9; 32];
    let request = asked(Some(measurements::Signed { nonce, slot: 0 }));
    let answer = hand.clear(&request).unwrap();
    let mut context = hand.context;
    context.signature_asked = true;
    let (_, size) = measurements::Response::decode_padded(&answer, &context).unwrap();
    let (unsigned, signature) = answer[..size].split_at(size - 96);
    assert!(is_signed(
        &Identity::usual().chain,
        &[&request, unsigned],
        signature
    ));
}
