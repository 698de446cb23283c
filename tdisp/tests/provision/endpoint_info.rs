//! ENDPOINT_INFO: what it is signed over, and what is not told.

use super::{INVALID, V, ask, error_of, live, live_with, refusal, usual};
use crate::harness::{Identity, by_hand::ByHand, endowed::classes};
use tdisp::{
    crypto::{HashAlg, Provider, Ring, SignAlg},
    spdm::{
        msg::{
            Code, Context, Payload,
            endpoint_info::{self, Signed, Subject},
            error::ErrorCode,
        },
        signing,
        transcript::Transcript,
    },
};

const fn signed_in(slot: u8) -> Option<Signed> {
    Some(Signed { nonce: [3; 32], slot })
}

fn endpoint_info(hand: &mut ByHand, signed: Option<Signed>) -> (Vec<u8>, Vec<u8>) {
    let request = endpoint_info::Request {
        version: V,
        subject: Subject::DEVICE_CLASS,
        signed,
    };
    let answer = ask(hand, &request);
    (request.to_vec(), answer)
}

#[test]
fn endpoint_info_is_told_and_signed_over_what_was_agreed_on_and_both_messages() {
    let mut hand = live(V);
    let (_, answer) = endpoint_info(&mut hand, None);
    let plain = endpoint_info::Response::decode_exact(&answer, &Context::new(V)).unwrap();
    assert_eq!((plain.info, plain.signature), (&classes()[..], None));

    let (request, answer) = endpoint_info(&mut hand, signed_in(0));
    let context = Context {
        signature_asked: true,
        ..hand.context
    };
    let signed = endpoint_info::Response::decode_exact(&answer, &context).unwrap();
    assert_eq!(signed.info, classes());
    let mut il1 = Transcript::new(&Ring, HashAlg::Sha384, V);
    [hand.vca(), &request, &answer[..answer.len() - 96]]
        .iter()
        .for_each(|part| il1.add(part));
    let what = signing::message(V, signing::Context::EndpointInfo, &il1);
    let key = Identity::usual().signer.public_key();
    Ring.verify(SignAlg::EcdsaP384, key, &what, signed.signature.unwrap())
        .unwrap();
}

#[test]
fn endpoint_info_of_another_subject_or_slot_is_refused() {
    let mut hand = live(V);
    for subject in [0, 2, 255] {
        let request = endpoint_info::Request {
            version: V,
            subject: Subject(subject),
            signed: None,
        };
        assert_eq!(refusal(&mut hand, &request), INVALID, "{subject}");
    }
    for slot in 1..16 {
        let (_, answer) = endpoint_info(&mut hand, signed_in(slot));
        assert_eq!(error_of(&answer), INVALID, "slot {slot}");
    }
    let mut config = usual();
    config.endpoint_info.as_mut().unwrap().signed = false;
    let mut hand = live_with(V, config);
    let (_, answer) = endpoint_info(&mut hand, signed_in(0));
    assert_eq!(
        error_of(&answer),
        Some((ErrorCode::UNSUPPORTED_REQUEST, Code::GET_ENDPOINT_INFO.0))
    );
}
