//! Every request in every state, and peers that lie.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;
#[path = "hostile/matrix.rs"]
mod matrix;

use harness::{by_hand::ByHand, responder_config};
use proptest::prelude::{ProptestConfig, any, proptest};
use tdisp::spdm::msg::{
    Code, Payload, Summary, Version, algorithms as algorithms_msg, certificate, challenge, digests,
    end_session,
    error::ErrorCode,
    heartbeat,
    key_update::{self, Operation},
    measurements, respond_if_ready,
    vendor::{self, Body, Registry},
};
use tdisp::{
    crypto::{HashAlg, Provider, Ring, SignAlg},
    doe::ObjectType,
    spdm::{Measurement, msg::capabilities::Flags, signing, transcript::Transcript},
};

const V: Version = Version::V1_2;

/// Where a request comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Start,
    Versioned,
    Capable,
    Agreed,
    InHandshake,
    InSession,
}

impl Place {
    fn reach(self) -> ByHand {
        let config = responder_config();
        match self {
            Self::Start => ByHand::start(config),
            Self::Versioned => ByHand::versioned(config),
            Self::Capable => ByHand::capable(config),
            Self::Agreed => ByHand::agreed(config),
            Self::InHandshake => ByHand::shaking(config),
            Self::InSession => ByHand::live(config),
        }
    }

    fn is_secured(self) -> bool {
        matches!(self, Self::InHandshake | Self::InSession)
    }
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Is(Code),
    Error(ErrorCode),
    Silence,
}

fn ask(place: Place, request: &[u8]) -> Answer {
    let mut hand = place.reach();
    let answer = match place.is_secured() {
        true => hand.secured(request),
        false => hand.clear(request),
    };
    match answer {
        None => Answer::Silence,
        Some(answer) if answer[1] == Code::ERROR.0 => Answer::Error(ErrorCode(answer[2])),
        Some(answer) => Answer::Is(Code(answer[1])),
    }
}

/// A request of each code that the responder knows, right in itself.
fn right(code: Code) -> Vec<u8> {
    let hand = ByHand::start(responder_config());
    match code {
        Code::GET_VERSION => vec![0x10, code.0, 0, 0],
        Code::GET_CAPABILITIES => hand.capabilities().to_vec(),
        Code::NEGOTIATE_ALGORITHMS => algorithms_msg::Request {
            version: V,
            offer: tdisp::spdm::algorithms::Offer::default().to_set(V),
        }
        .to_vec(),
        Code::GET_DIGESTS => digests::Request { version: V }.to_vec(),
        Code::GET_CERTIFICATE => get_certificate(0, 0, 0x400),
        Code::CHALLENGE => challenge::Request {
            version: V,
            slot: 0,
            summary: Summary::ALL,
            nonce: [9; 32],
            context: None,
        }
        .to_vec(),
        Code::GET_MEASUREMENTS => get_measurements(measurements::Operation::ALL),
        Code::HEARTBEAT => heartbeat::Request { version: V }.to_vec(),
        Code::KEY_UPDATE => key_update(Operation::UPDATE_KEY),
        Code::END_SESSION => end_session::Request {
            version: V,
            clear_negotiated_state: false,
        }
        .to_vec(),
        Code::VENDOR_DEFINED_REQUEST => vendor::Request(Body::pci_sig(V, &[1, 0x10, 0x81, 0, 0])).to_vec(),
        Code::RESPOND_IF_READY => respond_if_ready::Request {
            version: V,
            code: Code::CHALLENGE,
            token: 1,
        }
        .to_vec(),
        // FINISH with a wrong proof, and all that the responder does not know: enough bytes for any of them.
        _ => [&[V.0, code.0, 0, 0][..], &[0; 48]].concat(),
    }
}

fn get_certificate(slot: u8, offset: u16, length: u16) -> Vec<u8> {
    certificate::Request {
        version: V,
        slot,
        size_asked: false,
        large: false,
        offset: offset.into(),
        length: length.into(),
    }
    .to_vec()
}

fn get_measurements(operation: measurements::Operation) -> Vec<u8> {
    measurements::Request {
        version: V,
        operation,
        raw: false,
        fresh: false,
        signed: None,
        context: None,
    }
    .to_vec()
}

fn key_update(operation: Operation) -> Vec<u8> {
    key_update::Request {
        version: V,
        operation,
        tag: 0x5a,
    }
    .to_vec()
}

fn refusal(answer: Option<Vec<u8>>) -> Option<ErrorCode> {
    let answer = answer?;
    (answer[1] == Code::ERROR.0).then_some(ErrorCode(answer[2]))
}

// The responder, asked wrongly

#[test]
fn psk_finish_does_not_finish_a_handshake_that_key_exchange_began() {
    let mut hand = Place::InHandshake.reach();
    let refused = refusal(hand.secured(&right(Code::PSK_FINISH)));
    assert_eq!(refused, Some(ErrorCode::UNSUPPORTED_REQUEST));
    assert!(hand.responder.sessions().is_empty());
    hand.finish();
    assert_eq!(hand.responder.sessions().len(), 1);
}

#[test]
fn a_wrong_proof_in_finish_ends_the_handshake() {
    let mut hand = Place::InHandshake.reach();
    let right = hand.right_finish();
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(hand.secured(&wrong)), Some(ErrorCode::DECRYPT_ERROR));
    assert_eq!(refusal(hand.secured(&right)), Some(ErrorCode::DECRYPT_ERROR));
    assert!(hand.responder.sessions().is_empty());
}

#[test]
fn a_finish_that_claims_a_signature_nobody_asked_for_is_refused() {
    let mut hand = Place::InHandshake.reach();
    let mut message = hand.right_finish();
    message[2] = 1;
    assert_eq!(refusal(hand.secured(&message)), Some(ErrorCode::INVALID_REQUEST));
    assert!(hand.responder.sessions().is_empty());
}

#[test]
fn a_request_in_another_version_is_a_version_mismatch() {
    for place in [Place::Capable, Place::Agreed, Place::InSession] {
        for version in (0..=255).filter(|version| *version != V.0) {
            let mut request = right(Code::GET_DIGESTS);
            request[0] = version;
            let found = ask(place, &request);
            assert_eq!(
                found,
                Answer::Error(ErrorCode::VERSION_MISMATCH),
                "{version:#x} in {place:?}"
            );
        }
    }
    for version in (0..=255).filter(|version| *version != V.0) {
        let mut request = right(Code::GET_CAPABILITIES);
        request[0] = version;
        let found = ask(Place::Versioned, &request);
        assert_eq!(found, Answer::Error(ErrorCode::VERSION_MISMATCH), "{version:#x}");
    }
}

#[test]
fn a_request_cut_at_any_byte_is_invalid() {
    let codes = [
        (Place::Versioned, Code::GET_CAPABILITIES),
        (Place::Capable, Code::NEGOTIATE_ALGORITHMS),
        (Place::Agreed, Code::GET_CERTIFICATE),
        (Place::Agreed, Code::CHALLENGE),
        (Place::InSession, Code::GET_CERTIFICATE),
        (Place::InSession, Code::VENDOR_DEFINED_REQUEST),
    ];
    for (place, code) in codes {
        let request = right(code);
        // In clear a message is cut by whole DWs, since DOE makes up for the rest with zeros.
        let step = if place.is_secured() { 1 } else { 4 };
        for end in (0..request.len())
            .step_by(step)
            .filter(|end| *end >= 4 || place.is_secured())
        {
            let found = ask(place, &request[..end]);
            assert_eq!(
                found,
                Answer::Error(ErrorCode::INVALID_REQUEST),
                "{code} cut at {end} in {place:?}"
            );
        }
    }
}

#[test]
fn bytes_behind_a_request_are_padding_of_three_zeros_at_most() {
    // 37 bytes.
    let request = measurements::Request {
        version: V,
        operation: measurements::Operation::ALL,
        raw: false,
        fresh: false,
        signed: Some(measurements::Signed {
            nonce: [1; 32],
            slot: 0,
        }),
        context: None,
    }
    .to_vec();
    let with = |tail: &[u8]| [&request[..], tail].concat();
    let (right, invalid) = (
        Answer::Is(Code::MEASUREMENTS),
        Answer::Error(ErrorCode::INVALID_REQUEST),
    );
    assert_eq!(ask(Place::Agreed, &with(&[0, 0, 0])), right);
    assert_eq!(ask(Place::Agreed, &with(&[0, 0, 1])), invalid);
    assert_eq!(ask(Place::Agreed, &with(&[0; 7])), invalid);
    assert_eq!(ask(Place::InSession, &request), right);
    assert_eq!(ask(Place::InSession, &with(&[0])), invalid);
}

#[test]
fn slots_that_hold_nothing_are_refused_from_0_to_255() {
    let mut hand = Place::Agreed.reach();
    for slot in 0..=255u8 {
        let mut message = right(Code::GET_CERTIFICATE);
        message[2] = slot;
        // Of GET_CERTIFICATE's slot byte the upper half is reserved.
        let held = slot & 0x0f == 0;
        assert_eq!(
            refusal(hand.clear(&message)).is_none(),
            held,
            "GET_CERTIFICATE {slot}"
        );
        let mut message = right(Code::CHALLENGE);
        message[2] = slot;
        assert_eq!(
            refusal(hand.clear(&message)).is_none(),
            slot == 0,
            "CHALLENGE {slot}"
        );
    }
}

#[test]
fn offsets_and_lengths_at_their_ends_give_a_portion_or_an_error() {
    let mut hand = Place::Agreed.reach();
    let size = harness::Identity::usual().chain.len() as u16;
    for offset in [0, 1, size - 1, size, size + 1, 0x7fff, 0xfffe, 0xffff] {
        for length in [0, 1, size, 0x7fff, 0xfffe, 0xffff] {
            let answer = hand.clear(&get_certificate(0, offset, length)).unwrap();
            let wanted = length > 0 && offset < size;
            assert_eq!(answer[1] == Code::CERTIFICATE.0, wanted, "{offset} {length}");
            if wanted {
                let (message, _) = certificate::Response::decode_padded(&answer, &hand.context).unwrap();
                let portion = message.portion.len();
                assert_eq!(
                    portion,
                    usize::from(length.min(size - offset)),
                    "{offset} {length}"
                );
                assert_eq!(message.remainder as usize, usize::from(size - offset) - portion);
            }
        }
    }
}

#[test]
fn a_measurement_that_there_is_not_is_refused() {
    let mut hand = Place::Agreed.reach();
    for index in 0..=255u8 {
        let answer = hand
            .clear(&get_measurements(measurements::Operation(index)))
            .unwrap();
        let there = matches!(index, 0 | 1 | 2 | 5 | 0xff);
        assert_eq!(answer[1] == Code::MEASUREMENTS.0, there, "{index}");
    }
}

#[test]
fn an_offer_with_nothing_in_common_is_refused_and_another_may_follow() {
    let mut hand = Place::Capable.reach();
    // Signatures, hashes, and the masks of the structures.
    for field in [8..12, 12..16, 34..36, 38..40] {
        let mut message = right(Code::NEGOTIATE_ALGORITHMS);
        message[field.clone()].fill(0);
        assert_eq!(
            refusal(hand.clear(&message)),
            Some(ErrorCode::INVALID_REQUEST),
            "{field:?}"
        );
    }
    let answer = hand.clear(&right(Code::NEGOTIATE_ALGORITHMS)).unwrap();
    assert_eq!(answer[1], Code::ALGORITHMS.0);
}

#[test]
fn pci_sig_requests_outside_a_session_are_met_with_silence_and_others_with_an_error() {
    for protocol in [0u8, 1, 2, 0xff] {
        let request = vendor::Request(Body::pci_sig(V, &[protocol, 1, 2, 3])).to_vec();
        assert_eq!(ask(Place::Agreed, &request), Answer::Silence);
    }
    let foreign = Body {
        registry: Registry::TCG,
        ..Body::pci_sig(V, &[1, 2])
    };
    let foreign = vendor::Request(foreign).to_vec();
    let unsupported = Answer::Error(ErrorCode::UNSUPPORTED_REQUEST);
    assert_eq!(ask(Place::Agreed, &foreign), unsupported);
    assert_eq!(ask(Place::InSession, &foreign), unsupported);
}

#[test]
fn a_record_that_does_not_open_ends_its_session_and_only_that() {
    let mut hand = Place::InSession.reach();
    let other = hand.session.take().unwrap();
    hand.key_exchange(8).unwrap();
    hand.finish();
    assert_eq!(hand.responder.sessions().len(), 2);
    let session = hand.session.as_mut().unwrap();
    let mut record = session.seal(session.id, &right(Code::HEARTBEAT));
    *record.last_mut().unwrap() ^= 1;
    let (kind, answer) = hand.say(ObjectType::SECURED_SPDM, &record).unwrap();
    assert_eq!(
        (kind, answer[1], answer[2]),
        (ObjectType::SPDM, 0x7f, ErrorCode::DECRYPT_ERROR.0)
    );
    assert_eq!(hand.responder.sessions(), [other.id]);
    hand.session = Some(other);
    let answer = hand.secured(&right(Code::GET_DIGESTS)).unwrap();
    assert_eq!(answer[1], Code::DIGESTS.0);
}

#[test]
fn a_record_of_no_session_ends_none() {
    let mut hand = Place::InSession.reach();
    let session = hand.session.as_mut().unwrap();
    let record = session.seal(session.id ^ 0x8000_0000, &right(Code::HEARTBEAT));
    let (_, answer) = hand.say(ObjectType::SECURED_SPDM, &record).unwrap();
    assert_eq!(answer[2], ErrorCode::DECRYPT_ERROR.0);
    assert_eq!(hand.responder.sessions().len(), 1);
}

#[test]
fn a_replayed_record_ends_the_session() {
    let mut hand = Place::InSession.reach();
    let session = hand.session.as_mut().unwrap();
    let record = session.seal(session.id, &right(Code::HEARTBEAT));
    let (kind, _) = hand.say(ObjectType::SECURED_SPDM, &record).unwrap();
    assert_eq!(kind, ObjectType::SECURED_SPDM);
    let (_, answer) = hand.say(ObjectType::SECURED_SPDM, &record).unwrap();
    assert_eq!(answer[2], ErrorCode::DECRYPT_ERROR.0);
    assert!(hand.responder.sessions().is_empty());
}

#[test]
fn sessions_are_counted_and_a_handshake_left_alone_gives_its_place_back() {
    let mut hand = Place::Agreed.reach();
    let most = responder_config().sessions_max as u16;
    for own in 0..most {
        hand.key_exchange(own + 1).unwrap();
    }
    let refused = hand.key_exchange(99);
    assert_eq!(refused, Err((ErrorCode::SESSION_LIMIT_EXCEEDED.0, 0)));
    hand.now = hand.responder.poll_timeout().unwrap();
    hand.responder.handle_timeout(hand.now);
    hand.key_exchange(99).unwrap();
    hand.finish();
    assert_eq!(hand.responder.sessions().len(), 1);
}

#[test]
fn a_new_connection_ends_every_session_and_its_keys() {
    let mut hand = Place::InSession.reach();
    hand.clear(&right(Code::GET_VERSION)).unwrap();
    assert!(hand.responder.sessions().is_empty());
    let answer = hand.secured(&right(Code::HEARTBEAT)).unwrap();
    assert_eq!(answer[..3], [0x10, 0x7f, ErrorCode::DECRYPT_ERROR.0]);
}

#[test]
fn key_update_changes_the_request_key_alone_or_both_from_the_answer_on() {
    for operation in [Operation::UPDATE_KEY, Operation::UPDATE_ALL_KEYS] {
        let mut hand = Place::InSession.reach();
        let schedule = hand.schedule();
        let session = hand.session.as_mut().unwrap();
        let record = session.seal(session.id, &key_update(operation));
        session.request = session.request.updated(&schedule).unwrap();
        if operation == Operation::UPDATE_ALL_KEYS {
            session.response = session.response.updated(&schedule).unwrap();
        }
        let (_, answer) = hand.say(ObjectType::SECURED_SPDM, &record).unwrap();
        let session = hand.session.as_mut().unwrap();
        let answer = session.open(&answer);
        assert_eq!(answer[1..], [Code::KEY_UPDATE_ACK.0, operation.0, 0x5a]);
        // A second update before the new key was tried is refused, under the key that counts now.
        let answer = hand.secured(&key_update(Operation::UPDATE_KEY));
        assert_eq!(refusal(answer), Some(ErrorCode::INVALID_REQUEST));
        let answer = hand.secured(&key_update(Operation::VERIFY_NEW_KEY)).unwrap();
        assert_eq!(answer[1], Code::KEY_UPDATE_ACK.0);
        let answer = hand.secured(&key_update(Operation::VERIFY_NEW_KEY));
        assert_eq!(refusal(answer), Some(ErrorCode::INVALID_REQUEST));
    }
}

#[test]
fn a_key_update_of_no_kind_is_refused_under_the_old_keys() {
    let mut hand = Place::InSession.reach();
    for operation in [0, 4, 0xff] {
        let answer = hand.secured(&key_update(Operation(operation)));
        assert_eq!(refusal(answer), Some(ErrorCode::INVALID_REQUEST), "{operation}");
    }
}

#[test]
fn an_end_of_session_is_answered_in_it_and_nothing_is_after_it() {
    let mut hand = Place::InSession.reach();
    let answer = hand.secured(&right(Code::END_SESSION)).unwrap();
    assert_eq!(answer[1], Code::END_SESSION_ACK.0);
    assert!(hand.responder.sessions().is_empty());
    let answer = hand.secured(&right(Code::HEARTBEAT));
    assert_eq!(refusal(answer), Some(ErrorCode::DECRYPT_ERROR));
}

#[test]
fn a_key_exchange_that_offers_no_known_secured_messages_is_refused() {
    for elements in [
        &[1, 0, 0, 0, 0, 0, 5, 0, 1, 1, 1, 0, 0x20, 0, 0, 0][..],
        &[1, 0, 0, 0, 0, 0, 3, 0, 1, 1, 0, 0],
        &[2, 0, 0, 0, 0, 0, 5, 0, 1, 1, 1, 0, 0x12, 0, 0, 0],
        &[0],
    ] {
        let mut hand = Place::Agreed.reach();
        let request = hand.key_exchange_with(elements);
        assert_eq!(
            refusal(hand.clear(&request)),
            Some(ErrorCode::INVALID_REQUEST),
            "{elements:x?}"
        );
        assert_eq!(hand.responder.poll_timeout(), None, "no handshake is kept");
    }
}

#[test]
fn a_key_exchange_that_says_nothing_of_secured_messages_gets_the_version_from_before_it_had_to() {
    for elements in [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 9, 0, 3, 0, 1, 1, 0, 0]] {
        let mut hand = Place::Agreed.reach();
        let request = hand.key_exchange_with(elements);
        let answer = hand.clear(&request).unwrap();
        assert_eq!(answer[1], Code::KEY_EXCHANGE_RSP.0, "{elements:x?}");
        let selected = [1, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0x00, 0x11];
        assert!(answer.windows(12).any(|window| window == selected));
    }
}

#[test]
fn a_public_value_that_is_no_point_is_refused() {
    let mut hand = Place::Agreed.reach();
    let mut request = hand.key_exchange_with(&hand.offered());
    for value in [0, 0xff] {
        request[40..136].fill(value);
        assert_eq!(refusal(hand.clear(&request)), Some(ErrorCode::INVALID_REQUEST));
    }
    assert_eq!(hand.responder.poll_timeout(), None, "no handshake is kept");
}

#[test]
fn a_request_longer_than_was_announced_is_too_large() {
    let payload = vec![1; 0x1300];
    let request = vendor::Request(Body::pci_sig(V, &payload)).to_vec();
    let too_large = Answer::Error(ErrorCode::REQUEST_TOO_LARGE);
    assert_eq!(ask(Place::Agreed, &request), too_large);
    assert_eq!(ask(Place::InSession, &request), too_large);
}

#[test]
fn an_answer_that_the_requester_cannot_take_is_an_error_instead() {
    let mut hand = Place::InSession.reach();
    for (size, fits) in [(0x1100, true), (0x1200, false), (0x1_0000, false)] {
        assert_eq!(hand.secured(&right(Code::VENDOR_DEFINED_REQUEST)), None);
        hand.responder.respond_vendor(hand.now, Some(&vec![1; size]));
        let answer = hand.opened().expect("an answer");
        assert_eq!(refusal(Some(answer)).is_none(), fits, "{size}");
    }
}

#[test]
fn an_answer_to_a_vendor_request_comes_once_and_not_after_another_request() {
    let mut hand = Place::InSession.reach();
    assert_eq!(hand.secured(&right(Code::VENDOR_DEFINED_REQUEST)), None);
    hand.responder.respond_vendor(hand.now, Some(&[1, 2]));
    assert!(hand.opened().is_some());
    hand.responder.respond_vendor(hand.now, Some(&[1, 2]));
    assert_eq!(hand.opened(), None);
    assert_eq!(hand.secured(&right(Code::VENDOR_DEFINED_REQUEST)), None);
    assert!(hand.secured(&right(Code::HEARTBEAT)).is_some());
    hand.responder.respond_vendor(hand.now, Some(&[1, 2]));
    assert_eq!(hand.opened(), None);
}

#[test]
fn a_vendor_request_that_is_refused_is_an_invalid_request_once_and_the_session_goes_on() {
    let mut hand = Place::InSession.reach();
    assert_eq!(hand.secured(&right(Code::VENDOR_DEFINED_REQUEST)), None);
    hand.responder.refuse_vendor(hand.now);
    assert_eq!(refusal(hand.opened()), Some(ErrorCode::INVALID_REQUEST));
    hand.responder.refuse_vendor(hand.now);
    assert_eq!(hand.opened(), None);
    assert!(hand.secured(&right(Code::HEARTBEAT)).is_some());
}

#[test]
fn objects_that_are_no_spdm_objects_are_ignored() {
    let mut hand = Place::InSession.reach();
    for object in [
        &[][..],
        &[1, 0, 1, 0],
        &[1, 0, 1, 0, 9, 0, 0, 0, 0x10, 0x84, 0, 0],
        &[1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
    ] {
        hand.responder.handle(hand.now, object);
        let mut out = Vec::new();
        assert!(!hand.responder.poll_transmit(&mut out), "{object:x?}");
    }
    assert_eq!(hand.responder.sessions().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_state_get_at_most_one_answer(
        place in (0usize..6),
        code in any::<u8>(),
        rest in proptest::collection::vec(any::<u8>(), 0..200),
        secured in any::<bool>(),
    ) {
        use Place::{Agreed, Capable, InHandshake, InSession, Start, Versioned};
        let place = [Start, Versioned, Capable, Agreed, InHandshake, InSession][place];
        let mut hand = place.reach();
        let message = [&[V.0, code][..], &rest].concat();
        let kind = if secured { ObjectType::SECURED_SPDM } else { ObjectType::SPDM };
        hand.say(kind, &message);
        if place.is_secured() && !hand.responder.sessions().is_empty() {
            hand.secured(&message);
        }
    }
}

#[test]
fn a_handshake_agreed_to_be_in_clear_is_not_finished_in_the_session() {
    let mut config = responder_config();
    config.handshake_in_clear = true;
    let mut hand = ByHand::capable_with(config, Flags::HANDSHAKE_IN_THE_CLEAR);
    hand.agree();
    hand.key_exchange(7).unwrap();
    let refused = refusal(hand.secured(&right(Code::FINISH)));
    assert_eq!(refused, Some(ErrorCode::UNEXPECTED_REQUEST));
    assert!(hand.responder.sessions().is_empty());
}

#[test]
fn measurements_too_large_to_be_sent_leave_those_that_follow_signed_rightly() {
    let mut config = responder_config();
    config.measurements.push(Measurement {
        index: 9,
        kind: measurements::Kind::MANIFEST,
        raw: true,
        value: vec![1; 0x1300],
        bit_stream: None,
    });
    let mut hand = ByHand::agreed(config);
    let all = get_measurements(measurements::Operation::ALL);
    assert_eq!(refusal(hand.clear(&all)), Some(ErrorCode::RESPONSE_TOO_LARGE));
    let request = measurements::Request {
        version: V,
        operation: measurements::Operation(1),
        raw: false,
        fresh: false,
        signed: Some(measurements::Signed {
            nonce: [1; 32],
            slot: 0,
        }),
        context: None,
    };
    let request = request.to_vec();
    let answer = hand.clear(&request).unwrap();
    hand.context.signature_asked = true;
    let (message, size) = measurements::Response::decode_padded(&answer, &hand.context).unwrap();
    let mut l1 = Transcript::new(&Ring, HashAlg::Sha384, V);
    [hand.vca(), &request, &answer[..size - 96]]
        .into_iter()
        .for_each(|part| l1.add(part));
    let signed = signing::message(V, signing::Context::Measurements, &l1);
    let key = harness::Identity::usual().signer.public_key();
    let signature = message.signature.unwrap();
    assert_eq!(Ring.verify(SignAlg::EcdsaP384, key, &signed, signature), Ok(()));
}
