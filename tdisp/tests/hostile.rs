//! Every request in every state, and peers that lie.

#[path = "pair/mod.rs"]
mod harness;

use harness::{by_hand::ByHand, responder_config};
use tdisp::spdm::msg::{
    Code, Payload, Summary, Version, algorithms as algorithms_msg, certificate, challenge, digests,
    end_session,
    error::ErrorCode,
    heartbeat,
    key_update::{self, Operation},
    measurements, respond_if_ready,
    vendor::{self, Body, Registry},
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
            offer: tdisp::spdm::algorithms::Offer::default().to_set(),
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

/// The answer that the standard has for a right request of each code in each place.
fn wanted(place: Place, code: Code) -> Answer {
    use Place::{Agreed, Capable, InHandshake, InSession, Start, Versioned};
    let response = Code(code.0 & 0x7f);
    let unexpected = Answer::Error(ErrorCode::UNEXPECTED_REQUEST);
    match (code, place) {
        (Code::GET_VERSION, Start | Versioned | Capable | Agreed) => Answer::Is(response),
        // GET_VERSION is always in 1.0, which no session is.
        (Code::GET_VERSION, _) => Answer::Error(ErrorCode::VERSION_MISMATCH),
        (Code::GET_CAPABILITIES, Versioned) => Answer::Is(response),
        (Code::NEGOTIATE_ALGORITHMS, Capable) => Answer::Is(response),
        (Code::GET_DIGESTS | Code::GET_CERTIFICATE | Code::GET_MEASUREMENTS, Agreed | InSession) => {
            Answer::Is(response)
        }
        (Code::CHALLENGE, Agreed) => Answer::Is(response),
        // The right request of this table has no exchange data.
        (Code::KEY_EXCHANGE, Agreed) => Answer::Error(ErrorCode::INVALID_REQUEST),
        (Code::FINISH | Code::HEARTBEAT | Code::KEY_UPDATE | Code::END_SESSION, Agreed) => {
            Answer::Error(ErrorCode::SESSION_REQUIRED)
        }
        (Code::FINISH, InHandshake) => Answer::Error(ErrorCode::DECRYPT_ERROR),
        (Code::HEARTBEAT | Code::KEY_UPDATE | Code::END_SESSION, InSession) => Answer::Is(response),
        // In a session it is for the device, which says nothing here; outside nobody hears it.
        (Code::VENDOR_DEFINED_REQUEST, Agreed | InSession) => Answer::Silence,
        (Code::PSK_FINISH, InHandshake | InSession) => unexpected,
        (
            Code::GET_CAPABILITIES
            | Code::NEGOTIATE_ALGORITHMS
            | Code::GET_DIGESTS
            | Code::GET_CERTIFICATE
            | Code::CHALLENGE
            | Code::GET_MEASUREMENTS
            | Code::KEY_EXCHANGE
            | Code::FINISH
            | Code::HEARTBEAT
            | Code::KEY_UPDATE
            | Code::END_SESSION
            | Code::VENDOR_DEFINED_REQUEST
            | Code::RESPOND_IF_READY,
            _,
        ) => unexpected,
        _ => Answer::Error(ErrorCode::UNSUPPORTED_REQUEST),
    }
}

fn every_code_in(place: Place) {
    for code in (0..=255).map(Code) {
        let found = ask(place, &right(code));
        assert_eq!(found, wanted(place, code), "{code} in {place:?}");
    }
}

#[test]
fn every_request_before_anything_was_said_gets_the_answer_of_the_standard() {
    every_code_in(Place::Start);
}

#[test]
fn every_request_after_version_gets_the_answer_of_the_standard() {
    every_code_in(Place::Versioned);
}

#[test]
fn every_request_after_capabilities_gets_the_answer_of_the_standard() {
    every_code_in(Place::Capable);
}

#[test]
fn every_request_after_algorithms_gets_the_answer_of_the_standard() {
    every_code_in(Place::Agreed);
}

#[test]
fn every_request_in_a_handshake_gets_the_answer_of_the_standard() {
    every_code_in(Place::InHandshake);
}

#[test]
fn every_request_in_a_session_gets_the_answer_of_the_standard() {
    every_code_in(Place::InSession);
}
