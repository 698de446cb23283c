//! What signatures and sessions are made over when digests and certificates are asked for more than once.

use super::{Ends, identified, owners, proven, usual};
use crate::pair::{
    by_hand::{ByHand, get_certificate},
    endowed::Shelf,
};
use std::sync::Arc;
use tdisp::{
    crypto::{HashAlg, Provider as _, Ring, SignAlg},
    spdm::{
        Event, Goal, ResponderConfig, Transport,
        msg::{
            Payload, Summary, Version,
            capabilities::{Flags, Sizes},
            certificate, challenge,
            set_certificate::Model,
        },
        requester::SlotWish,
        responder::Provisioning,
        signing,
        transcript::Transcript,
    },
};

const VERSIONS: [Version; 4] = [Version::V1_1, Version::V1_2, Version::V1_3, Version::V1_4];
const SIZES: Sizes = Sizes {
    transfer: 0x1200,
    message: 0x1200,
};

/// A message in clear; what was said, without padding.
fn digests(hand: &mut ByHand) -> Vec<u8> {
    let request = [hand.version.0, 0x81, 0, 0];
    let response = hand.clear(&request).unwrap();
    [&request[..], &response].concat()
}

fn certificates(hand: &mut ByHand) -> Vec<u8> {
    let request = get_certificate(hand.version, 0xffff);
    let response = hand.clear(&request).unwrap();
    let (_, size) = certificate::Response::decode_padded(&response, &hand.context).unwrap();
    [&request[..], &response[..size]].concat()
}

/// Whether CHALLENGE_AUTH is signed over M1 with exactly these digests and certificates in it.
#[track_caller]
fn assert_signed_over(hand: &mut ByHand, b: &[u8]) {
    let version = hand.version;
    let request = challenge::Request {
        version,
        slot: 0,
        summary: Summary::NONE,
        nonce: [9; 32],
        context: (version >= Version::V1_3).then_some([8; 8]),
    };
    let request = request.to_vec();
    let response = hand.clear(&request).unwrap();
    let (message, size) = challenge::Response::decode_padded(&response, &hand.context).unwrap();
    let mut m1 = Transcript::new(&Ring, HashAlg::Sha384, version);
    for part in [
        hand.vca(),
        b,
        &request,
        &response[..size - message.signature.len()],
    ] {
        m1.add(part);
    }
    let signed = signing::message(version, signing::Context::ChallengeAuth, &m1);
    let key = usual().signer.public_key();
    Ring.verify(SignAlg::EcdsaP384, key, &signed, message.signature)
        .unwrap();
}

fn live(version: Version) -> ByHand {
    ByHand::live_in(version, Ends::of(version).answering, Flags(0), SIZES)
}

#[test]
fn get_digests_begins_what_a_challenge_signs_anew() {
    for version in VERSIONS {
        let mut hand = live(version);
        digests(&mut hand);
        certificates(&mut hand);
        let b = [
            digests(&mut hand),
            certificates(&mut hand),
            certificates(&mut hand),
        ]
        .concat();
        assert_signed_over(&mut hand, &b);
        // After a challenge there is nothing in it, and digests may be left out.
        assert_signed_over(&mut hand, &[]);
        let b = certificates(&mut hand);
        assert_signed_over(&mut hand, &b);
    }
}

#[test]
fn in_a_session_certificates_leave_what_a_challenge_signs_and_digests_begin_it_anew() {
    for version in VERSIONS {
        let mut hand = live(version);
        let b = [digests(&mut hand), certificates(&mut hand)].concat();
        let answer = hand.secured(&get_certificate(version, 0xffff)).unwrap();
        assert_eq!(answer[1], 0x02);
        assert_signed_over(&mut hand, &b);
        digests(&mut hand);
        assert_eq!(hand.secured(&[version.0, 0x81, 0, 0]).unwrap()[1], 0x01);
        let b = certificates(&mut hand);
        assert_signed_over(&mut hand, &b);
    }
}

/// A device with several keys, and a store for chains of the key in slot 0.
fn several(version: Version) -> Ends {
    let mut ends = Ends::of(version).with_several_keys();
    ends.answering = ResponderConfig {
        provisioning: Provisioning {
            store: Some(Arc::<Shelf>::default()),
            ..Provisioning::default()
        },
        ..ends.answering
    };
    ends
}

#[test]
fn sessions_have_the_first_digests_in_their_transcript_however_often_others_came() {
    for version in [Version::V1_3, Version::V1_4] {
        for transport in [Transport::Doe, Transport::Mctp] {
            let mut pair = several(version).over(transport).connected();
            let session = pair.requester.session();
            // The next DIGESTS has one more.
            let wish = SlotWish {
                slot: 5,
                chain: Some(usual().chain.clone()),
                model: Model::DEVICE,
                key_pair: 1,
            };
            pair.requester.set_certificate(pair.now, session, wish).unwrap();
            pair.run();
            assert_eq!(pair.requester_events, [Event::CertificateSet { slot: 5 }]);
            pair.requester_events.clear();
            for (slot, identity) in [(3, owners()), (5, usual()), (0, usual())] {
                assert_eq!(identified(&mut pair, slot), proven(slot, identity), "{version}");
                assert_eq!(pair.requester.provisioned(), Some(0b10_1001));
                pair.requester.open_session(pair.now).unwrap();
                pair.run();
                let told = std::mem::take(&mut pair.requester_events);
                assert!(matches!(told[..], [Event::SessionReady { .. }]), "{told:?}");
                pair.requester.end_session(pair.now).unwrap();
                pair.run();
                pair.requester_events.clear();
            }
        }
    }
}

#[test]
fn digests_in_a_session_are_not_the_first_that_sessions_have() {
    for version in [Version::V1_3, Version::V1_4] {
        let mut ends = several(version).with_psk();
        ends.asking.goal = Goal::PskSession;
        let mut pair = ends.connected();
        let session = pair.requester.session().unwrap();
        pair.requester.certificates(pair.now, session, 3).unwrap();
        pair.run();
        let wish = SlotWish {
            slot: 5,
            chain: Some(usual().chain.clone()),
            model: Model::DEVICE,
            key_pair: 1,
        };
        pair.requester
            .set_certificate(pair.now, Some(session), wish)
            .unwrap();
        pair.run();
        pair.requester_events.clear();
        assert_eq!(identified(&mut pair, 3), proven(3, owners()), "{version}");
        pair.requester.open_session(pair.now).unwrap();
        pair.run();
        assert_eq!(pair.failure(), None, "{version}");
        assert_eq!(pair.responder.sessions().len(), 2);
    }
}
