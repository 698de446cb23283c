//! `certificates`: what is in the slots, asked in a session, where it changes nothing.

use super::{Ends, OWNERS_SLOT, identified, measured, owners, proven, slot, usual};
use crate::pair::{Pair, answering::Answering, requester, responder, suite::Suite};
use tdisp::{
    crypto::Secret,
    spdm::{
        Error, Event, Goal, Misbehaviour, Misuse, Transport, Trust, VERSIONS,
        msg::{Code, Payload, Version, certificate, digests, error::ErrorCode},
        responder::{Delay, Psk, Slot, Wait},
    },
};

/// What is told of the chain in a slot.
fn shown(pair: &mut Pair, session: u32, slot: u8) -> Vec<Event> {
    pair.requester.certificates(pair.now, session, slot).unwrap();
    pair.run();
    std::mem::take(&mut pair.requester_events)
}

fn chain(session: u32, slot: u8, chain: &[u8]) -> [Event; 1] {
    let chain = chain.to_vec();
    [Event::ChainShown { session, slot, chain }]
}

#[test]
fn every_slot_is_shown_in_a_session_in_every_version_and_whose_key_counts_stays() {
    for version in &VERSIONS[1..] {
        for transport in [Transport::Doe, Transport::Mctp] {
            let mut pair = Ends::of(*version).over(transport).connected();
            let session = pair.requester.session().unwrap();
            for (slot, identity) in [(OWNERS_SLOT, owners()), (0, usual())] {
                assert_eq!(
                    shown(&mut pair, session, slot),
                    chain(session, slot, &identity.chain),
                    "{version}"
                );
                measured(&mut pair, Some(session), 0);
                measured(&mut pair, None, 0);
            }
            assert!(
                pair.carried
                    .iter()
                    .all(|unit| !is_clear(unit, transport) || is_measuring(unit))
            );
        }
    }
}

fn is_clear(unit: &[u8], transport: Transport) -> bool {
    use tdisp::spdm::transport::Kind;
    matches!(transport.unwrap(unit), Ok(Some((Kind::Clear, _))))
}

fn is_measuring(unit: &[u8]) -> bool {
    let of = |at: usize| Code(unit[at]);
    [of(9), of(2)]
        .iter()
        .any(|code| matches!(*code, Code::GET_MEASUREMENTS | Code::MEASUREMENTS))
}

#[test]
fn what_is_shown_in_a_session_is_in_no_transcript_outside() {
    for version in &VERSIONS[1..] {
        let mut pair = Ends::of(*version).connected();
        let session = pair.requester.session().unwrap();
        for slot in [3, 0] {
            shown(&mut pair, session, 3);
            assert_eq!(
                identified(&mut pair, slot).last(),
                Some(&Event::Challenged),
                "{version}"
            );
            shown(&mut pair, session, 0);
            pair.requester.open_session(pair.now).unwrap();
            pair.run();
            assert_eq!(pair.failure(), None, "{version}");
            pair.requester_events.clear();
        }
        assert_eq!(pair.responder.sessions().len(), 3);
    }
}

#[test]
fn an_empty_slot_and_a_root_that_is_not_pinned_are_told_and_the_session_stays() {
    for version in &VERSIONS[1..] {
        let mut ends = Ends::of(*version);
        ends.asking.roots = Trust::Pinned(vec![usual().root]);
        let mut pair = ends.connected();
        let session = pair.requester.session().unwrap();
        let empty = Misbehaviour::EmptySlot {
            slot: 1,
            provisioned: 0b1001,
        };
        let why = empty;
        assert_eq!(
            shown(&mut pair, session, 1),
            [Event::SlotRefused { slot: 1, why }]
        );
        let why = Misbehaviour::UntrustedRoot {
            found: owners().root,
            pinned: 1,
        };
        assert_eq!(
            shown(&mut pair, session, 3),
            [Event::SlotRefused { slot: 3, why }]
        );
        assert_eq!(shown(&mut pair, session, 0), chain(session, 0, &usual().chain));
        measured(&mut pair, Some(session), 0);
    }
}

#[test]
fn a_chain_of_another_algorithm_is_shown_to_who_judges_chains_otherwise() {
    let other = Suite::P256.new_identity("other", 0);
    let mut ends = Ends::of(Version::V1_2);
    ends.answering.slots[5] = Some(Slot::new(other.chain.clone(), other.signer.clone()));
    ends.asking.roots = Trust::RelyingPartyDecides;
    let mut pair = ends.connected();
    let session = pair.requester.session().unwrap();
    let told = shown(&mut pair, session, 5);
    assert!(
        matches!(&told[..], [Event::ChainShown { slot: 5, .. }]),
        "{told:?}"
    );
}

#[test]
fn chains_come_in_as_many_portions_as_it_takes_and_in_chunks() {
    for version in &VERSIONS[1..] {
        for (ours, theirs, chunk) in [
            (300, 0x1200, None),
            (0x1200, 300, None),
            (0x1200, 300, Some(0x2_0000)),
            (300, 0x1200, Some(0x2_0000)),
        ] {
            let mut ends = Ends::of(*version);
            (ends.asking.transfer_size, ends.answering.transfer_size) = (ours, theirs);
            (ends.asking.chunk, ends.answering.chunk) = (chunk, chunk);
            let mut pair = Pair::of(requester(ends.asking), responder(ends.answering));
            pair.connect();
            if pair.failure().is_some() {
                // KEY_EXCHANGE_RSP is larger than that, and there are no chunks for it.
                assert!(chunk.is_none() || *version < Version::V1_2, "{version} {ours}");
                continue;
            }
            pair.requester_events.clear();
            let session = pair.requester.session().unwrap();
            for (slot, identity) in [(3, owners()), (0, usual())] {
                assert_eq!(
                    shown(&mut pair, session, slot),
                    chain(session, slot, &identity.chain),
                    "{version} {ours} {theirs} {chunk:?}"
                );
            }
        }
    }
}

#[test]
fn a_chain_of_64_kib_and_more_is_shown_in_the_large_form_and_proves_its_key() {
    let large = Suite::P384.new_identity("large", 70_000);
    let mut ends = Ends::of(Version::V1_4);
    ends.answering.slots[6] = Some(slot(&large));
    ends.asking.roots = Trust::RelyingPartyDecides;
    // More than a record holds.
    for transfer_size in [0x1200, 0x2_0000] {
        let mut ends = ends.clone();
        (ends.asking.transfer_size, ends.answering.transfer_size) = (transfer_size, transfer_size);
        let mut pair = ends.connected();
        let session = pair.requester.session().unwrap();
        assert_eq!(shown(&mut pair, session, 6), chain(session, 6, &large.chain));
        assert_eq!(identified(&mut pair, 6), proven(6, &large));
        measured(&mut pair, None, 6);
    }
    ends.asking.chain_size_max = 0x1_0000;
    let mut pair = ends.connected();
    let session = pair.requester.session().unwrap();
    let told = shown(&mut pair, session, 6);
    let [Event::Failed(Error::Peer { what, .. })] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(
        matches!(what, Misbehaviour::Inconsistent { wanted: 0x1_0000, .. }),
        "{what}"
    );
}

#[test]
fn a_device_that_is_busy_or_not_ready_is_waited_for_in_a_session_as_well() {
    let not_ready = Wait::NotReady {
        exponent: 18,
        multiplier: 2,
    };
    for version in &VERSIONS[1..] {
        for how in [Wait::Busy(3), not_ready] {
            let mut ends = Ends::of(*version).with_psk();
            ends.asking.goal = Goal::PskSession;
            let codes = [Code::GET_DIGESTS, Code::GET_CERTIFICATE];
            ends.answering.delays = codes.map(|code| Delay { code, how }).to_vec();
            let mut pair = ends.connected();
            let session = pair.requester.session().unwrap();
            assert_eq!(
                shown(&mut pair, session, 3),
                chain(session, 3, &owners().chain),
                "{version}"
            );
        }
    }
}

#[test]
fn what_cannot_be_is_not_asked_in_a_session() {
    let mut pair = Ends::of(Version::V1_2).connected();
    let session = pair.requester.session().unwrap();
    let what = "slot of that number: there are 0 to 7";
    for slot in [8, 0xff] {
        let asked = pair.requester.certificates(pair.now, session, slot);
        assert_eq!(asked, Err(Misuse::Lacks { what }));
    }
    let elsewhere = pair.requester.certificates(pair.now, session ^ 1, 0);
    assert_eq!(elsewhere, Err(Misuse::NoSession));
    pair.requester.end_session(pair.now).unwrap();
    pair.run();
    let after = pair.requester.certificates(pair.now, session, 0);
    assert_eq!(after, Err(Misuse::NoSession));

    let mut ends = Ends::of(Version::V1_2).with_psk();
    ends.asking.goal = Goal::PskSession;
    ends.answering.slots = Default::default();
    let mut pair = ends.connected();
    let session = pair.requester.session().unwrap();
    let what = "CERT_CAP";
    let asked = pair.requester.certificates(pair.now, session, 0);
    assert_eq!(asked, Err(Misuse::Lacks { what }));
}

/// A session whose other end says what a test wants.
fn by_hand() -> Answering {
    let key = Secret::new(b"which nobody should use elsewhere".to_vec());
    let mut ends = Ends::of(Version::V1_2).with_psk();
    ends.asking.goal = Goal::PskSession;
    let psk = ends.answering.psk.as_mut().unwrap();
    *psk = Psk {
        context: false,
        ..psk.clone()
    };
    let mut pair = ends.pair();
    pair.connect();
    Answering::of(pair, &key)
}

const V: Version = Version::V1_2;

/// DIGESTS with one digest, in slot 0.
fn digests_of(digest: &[u8]) -> Vec<u8> {
    let slot = digests::Slot {
        number: 0,
        digest,
        key: None,
    };
    let response = digests::Response {
        version: V,
        supported: 0,
        slots: vec![slot],
    };
    response.to_vec()
}

#[test]
fn a_chain_that_is_not_the_one_that_was_told_of_ends_the_connection() {
    let mut hand = by_hand();
    hand.requester.certificates(hand.now, hand.session, 0).unwrap();
    assert_eq!(hand.asked(), [V.0, Code::GET_DIGESTS.0, 0, 0]);
    hand.say(&digests_of(&[7; 48]));
    assert_eq!(hand.asked()[..2], [V.0, Code::GET_CERTIFICATE.0]);
    let response = certificate::Response {
        version: V,
        slot: 0,
        certificate_info: 0,
        large: false,
        portion: &usual().chain,
        remainder: 0,
    };
    hand.say(&response.to_vec());
    let told = hand.events();
    assert!(
        matches!(
            &told[..],
            [Event::Failed(Error::Peer {
                what: Misbehaviour::WrongDigest { .. },
                ..
            })]
        ),
        "{told:?}"
    );
}

#[test]
fn an_error_in_a_session_is_told_and_the_session_stays() {
    for refused in [Code::GET_DIGESTS, Code::GET_CERTIFICATE] {
        let mut hand = by_hand();
        hand.requester.certificates(hand.now, hand.session, 0).unwrap();
        hand.asked();
        if refused == Code::GET_CERTIFICATE {
            hand.say(&digests_of(&[7; 48]));
            hand.asked();
        }
        hand.say_header(Code::ERROR, [ErrorCode::UNSPECIFIED.0, 0]);
        let refused = Event::Refused {
            awaited: Code(refused.0 & 0x7f),
            code: ErrorCode::UNSPECIFIED,
            data: 0,
        };
        assert_eq!(hand.events(), [refused]);
        assert_eq!(hand.requester.session(), Some(hand.session));
    }
}
