//! Every request code in every state.

use super::*;

/// The answer that the standard has for a right request of each code in each place.
fn wanted(place: Place, code: Code) -> Answer {
    use Place::{Agreed, Capable, InHandshake, InSession, Start, Versioned};
    let response = Code(code.0 & 0x7f);
    let unexpected = Answer::Error(ErrorCode::UNEXPECTED_REQUEST);
    match (code, place) {
        (Code::GET_VERSION, Start | Versioned | Capable | Agreed) => Answer::Is(response),
        (Code::GET_VERSION, _) => unexpected,
        // The second time it is a retry, the same to the byte.
        (Code::GET_CAPABILITIES, Versioned | Capable) => Answer::Is(response),
        (Code::NEGOTIATE_ALGORITHMS, Capable | Agreed) => Answer::Is(response),
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
        // This device gives its sessions no heartbeat period.
        (Code::KEY_UPDATE | Code::END_SESSION, InSession) => Answer::Is(response),
        // In a session it is for the device, which says nothing here; outside nobody hears it.
        (Code::VENDOR_DEFINED_REQUEST, Agreed | InSession) => Answer::Silence,
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
