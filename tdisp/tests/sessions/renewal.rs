//! KEY_UPDATE between a requester or a responder and a peer by hand that does it wrong.

use super::{
    Ends, KEY, Told, VERSIONS,
    pair::{answering::Answering, by_hand::ByHand},
    unsigned::SIZES,
};
use tdisp::{
    crypto::Secret,
    spdm::{
        Error, Event, Goal, Misbehaviour, Transport,
        msg::{Code, Version, capabilities::Flags, error::ErrorCode, key_update::Operation},
    },
};

const TAG: u8 = 0x5a;

/// A requester in a session whose other end the test has.
pub(super) fn answering(version: Version) -> Answering {
    let mut ends = Ends::of(version, Transport::Doe)
        .with_psk(false)
        .with_encapsulated();
    ends.asking.goal = Goal::PskSession;
    Answering::of(ends.connected(), &Secret::new(KEY.to_vec()))
}

fn key_update(version: Version, operation: Operation, tag: u8) -> [u8; 4] {
    [version.0, Code::KEY_UPDATE.0, operation.0, tag]
}

fn key_update_ack(version: Version, operation: Operation, tag: u8) -> [u8; 4] {
    [version.0, Code::KEY_UPDATE_ACK.0, operation.0, tag]
}

fn refused(awaited: Code, what: Misbehaviour) -> [Event; 1] {
    [Event::Failed(Error::Peer { awaited, what })]
}

// The requester asks

/// The requester has asked for new keys, and the answer to that is the test's.
fn asked_to_update(version: Version, operation: Operation) -> (Answering, u8) {
    let mut hand = answering(version);
    let (now, session) = (hand.now, hand.session);
    match operation {
        Operation::UPDATE_KEY => hand.requester.update_own_keys_in(now, session).unwrap(),
        _ => hand.requester.update_keys_in(now, session).unwrap(),
    }
    let request = hand.asked();
    let tag = request[3];
    assert_eq!(request, key_update(version, operation, tag));
    (hand, tag)
}

/// It asks whether its new keys work, under them, and hears that they do.
fn verified(hand: &mut Answering) {
    hand.update_request();
    let request = hand.asked();
    assert_eq!(
        request[..3],
        key_update(hand.version, Operation::VERIFY_NEW_KEY, 0)[..3]
    );
    hand.say(&key_update_ack(
        hand.version,
        Operation::VERIFY_NEW_KEY,
        request[3],
    ));
    assert_eq!(hand.events(), [Event::KeysUpdated]);
}

#[test]
fn new_keys_in_both_directions_are_acknowledged_under_the_new_one_and_not_under_the_old() {
    for version in VERSIONS {
        let all = Operation::UPDATE_ALL_KEYS;
        let (mut hand, tag) = asked_to_update(version, all);
        hand.update_response();
        hand.say(&key_update_ack(version, all, tag));
        verified(&mut hand);
        let (mut hand, tag) = asked_to_update(version, all);
        hand.say(&key_update_ack(version, all, tag));
        assert_eq!(
            hand.events(),
            refused(Code::KEY_UPDATE_ACK, Misbehaviour::BadVerifyData)
        );
        assert_eq!(hand.requester.session(), None);
    }
}

#[test]
fn new_keys_of_the_requester_are_acknowledged_under_the_responders_old_one() {
    for version in VERSIONS {
        let own = Operation::UPDATE_KEY;
        let (mut hand, tag) = asked_to_update(version, own);
        hand.say(&key_update_ack(version, own, tag));
        verified(&mut hand);
        let (mut hand, tag) = asked_to_update(version, own);
        hand.update_response();
        hand.say(&key_update_ack(version, own, tag));
        let [Event::Failed(Error::Peer { what, .. })] = &hand.events()[..] else {
            panic!("new keys that nobody asked for")
        };
        assert!(matches!(what, Misbehaviour::Record(_)), "{what}");
    }
}

#[test]
fn an_acknowledgement_of_another_key_update_is_refused() {
    let version = Version::V1_2;
    let (own, all) = (Operation::UPDATE_KEY, Operation::UPDATE_ALL_KEYS);
    for (operation, tag_off, what) in [
        (all, 0, "operation of KEY_UPDATE_ACK"),
        (own, 1, "tag of KEY_UPDATE_ACK"),
    ] {
        let (mut hand, tag) = asked_to_update(version, own);
        hand.say(&key_update_ack(version, operation, tag.wrapping_add(tag_off)));
        is_about(&hand.events(), what);
        // The same of the answer to the trial.
        let (mut hand, tag) = asked_to_update(version, own);
        hand.say(&key_update_ack(version, own, tag));
        hand.update_request();
        let tag = hand.asked()[3];
        let said = match operation == own {
            true => Operation::VERIFY_NEW_KEY,
            false => own,
        };
        hand.say(&key_update_ack(version, said, tag.wrapping_add(tag_off)));
        is_about(&hand.events(), what);
    }
}

fn is_about(events: &[Event], wanted: &str) {
    let [Event::Failed(Error::Peer { what, .. })] = events else {
        panic!("{events:?}")
    };
    assert!(
        matches!(what, Misbehaviour::Inconsistent { what, .. } if *what == wanted),
        "{what}"
    );
}

// The responder asks

/// A requester that fetches what the responder asks.
fn fetching(version: Version) -> Answering {
    let mut hand = answering(version);
    hand.requester.fetch_requests(hand.now, hand.session).unwrap();
    assert_eq!(hand.asked()[1], Code::GET_ENCAPSULATED_REQUEST.0);
    hand
}

/// The same, and it has acknowledged that the responder will use new keys.
fn expecting_new_keys(version: Version) -> Answering {
    let mut hand = fetching(version);
    hand.ask(1, None, &key_update(version, Operation::UPDATE_KEY, TAG));
    let ack = hand.delivered(1);
    assert_eq!(ack, key_update_ack(version, Operation::UPDATE_KEY, TAG));
    hand
}

#[test]
fn a_responder_tries_its_new_keys_under_them_and_not_under_the_old() {
    for version in VERSIONS {
        let verify = key_update(version, Operation::VERIFY_NEW_KEY, TAG);
        let mut hand = expecting_new_keys(version);
        hand.update_response();
        hand.ask(2, Some(1), &verify);
        let ack = hand.delivered(2);
        assert_eq!(ack, key_update_ack(version, Operation::VERIFY_NEW_KEY, TAG));
        assert_eq!(hand.events(), [Event::KeysUpdated]);
        let mut hand = expecting_new_keys(version);
        hand.ask(2, Some(1), &verify);
        assert_eq!(
            hand.events(),
            refused(Code::ENCAPSULATED_RESPONSE_ACK, Misbehaviour::BadVerifyData)
        );
        assert_eq!(hand.requester.session(), None);
    }
}

#[test]
fn a_responder_has_new_keys_tried_once_each_and_none_of_the_requesters() {
    for version in VERSIONS {
        let error = [version.0, Code::ERROR.0, ErrorCode::INVALID_REQUEST.0, 0];
        let mut hand = expecting_new_keys(version);
        hand.update_response();
        // Not twice before they are tried, and the requester's own keys not at all.
        let operations = [
            Operation::UPDATE_KEY,
            Operation::UPDATE_ALL_KEYS,
            Operation(0),
            Operation(4),
        ];
        for (operation, id) in operations.into_iter().zip(2..) {
            hand.ask(id, Some(id - 1), &key_update(version, operation, TAG));
            assert_eq!(hand.delivered(id), error, "{operation:?} in {version}");
        }
        hand.ask(6, Some(5), &key_update(version, Operation::VERIFY_NEW_KEY, TAG));
        let ack = hand.delivered(6);
        assert_eq!(ack, key_update_ack(version, Operation::VERIFY_NEW_KEY, TAG));
        // Not tried twice either.
        hand.ask(7, Some(6), &key_update(version, Operation::VERIFY_NEW_KEY, TAG));
        assert_eq!(hand.delivered(7), error, "{version}");
        hand.ask(8, Some(7), &key_update(version, Operation::UPDATE_KEY, TAG));
        let ack = hand.delivered(8);
        assert_eq!(ack, key_update_ack(version, Operation::UPDATE_KEY, TAG));
        assert_eq!(hand.events(), [Event::KeysUpdated]);
    }
}

/// A requester by hand in a session, whom the responder wants to expect new keys.
fn wished_for_new_keys(version: Version) -> ByHand {
    let ends = Ends::of(version, Transport::Doe).with_encapsulated();
    let mut hand = ByHand::live_in(version, ends.answering, Flags::ENCAP, SIZES);
    let session = hand.session.as_ref().unwrap().id;
    hand.responder.update_keys(session).unwrap();
    hand
}

/// ENCAPSULATED_REQUEST, and the KEY_UPDATE in it.
fn fetched(hand: &mut ByHand) -> (u8, Vec<u8>) {
    let get = [hand.version.0, Code::GET_ENCAPSULATED_REQUEST.0, 0, 0];
    let request = hand.secured(&get).unwrap();
    assert_eq!(request[1], Code::ENCAPSULATED_REQUEST.0);
    (request[2], request[4..].to_vec())
}

fn deliver(version: Version, id: u8, message: &[u8]) -> Vec<u8> {
    let head = [version.0, Code::DELIVER_ENCAPSULATED_RESPONSE.0, id, 0];
    [&head[..], message].concat()
}

#[test]
fn a_requesters_acknowledgement_of_another_key_update_changes_no_key() {
    for version in VERSIONS {
        let verify = Operation::VERIFY_NEW_KEY;
        for (operation, tag_off) in [(Operation::UPDATE_KEY, 1), (verify, 0), (Operation(0), 0)] {
            let mut hand = wished_for_new_keys(version);
            let (id, request) = fetched(&mut hand);
            let ack = key_update_ack(version, operation, request[3].wrapping_add(tag_off));
            let answer = hand.secured(&deliver(version, id, &ack)).unwrap();
            assert_eq!(answer[1..3], [0x7f, ErrorCode::INVALID_RESPONSE_CODE.0]);
            assert!(is_refused(&mut hand), "{operation:?} in {version}");
            // The old keys go on.
            let heard = hand.secured(&[version.0, Code::GET_DIGESTS.0, 0, 0]).unwrap();
            assert_eq!(heard[1], Code::DIGESTS.0);
        }
    }
}

fn is_refused(hand: &mut ByHand) -> bool {
    let what = "operation and tag of the requester's KEY_UPDATE_ACK";
    let mut events = std::iter::from_fn(|| hand.responder.poll_event());
    events.any(|event| {
        let Told::RequesterRefused { why, .. } = event else {
            return false;
        };
        matches!(why, Misbehaviour::Inconsistent { what: found, .. } if found == what)
    })
}
