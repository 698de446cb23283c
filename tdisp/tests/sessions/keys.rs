//! What becomes of a session's keys: updates by either end, limits, and what protects records at all.

use super::{Ends, Event, TRANSPORTS, Told, VERSIONS, assert_all_speak, assert_speaks, ready};
use std::time::Duration;
use tdisp::spdm::{
    Misuse, SECURED_VERSIONS, Transport,
    msg::{Code, Version, capabilities::Flags, error::ErrorCode},
};

#[test]
fn keys_are_updated_by_either_end_in_every_version() {
    for ends in Ends::all() {
        let mut pair = ends.with_encapsulated().connected();
        let session = pair.requester.session().unwrap();
        for _ in 0..3 {
            pair.requester.update_own_keys_in(pair.now, session).unwrap();
            pair.run();
            assert_speaks(&mut pair, session);
            pair.requester.update_keys_in(pair.now, session).unwrap();
            pair.run();
            assert_speaks(&mut pair, session);
            pair.responder.update_keys(session).unwrap();
            pair.responder_events.clear();
            pair.requester.fetch_requests(pair.now, session).unwrap();
            pair.run();
            assert_eq!(pair.responder_events, [Told::KeysUpdated { session }]);
            let done = [Event::KeysUpdated, Event::RequestsAnswered { session }];
            assert_eq!(pair.requester_events[1..], done);
            assert_speaks(&mut pair, session);
        }
    }
}

#[test]
fn a_responder_with_nothing_to_ask_says_so_as_its_version_does() {
    for version in VERSIONS {
        let mut pair = Ends::of(version, Transport::Doe).with_encapsulated().connected();
        let session = pair.requester.session().unwrap();
        pair.requester_events.clear();
        pair.requester.fetch_requests(pair.now, session).unwrap();
        pair.run();
        let code = match version < Version::V1_3 {
            true => ErrorCode::UNEXPECTED_REQUEST,
            false => ErrorCode::NO_PENDING_REQUESTS,
        };
        let refused = Event::Refused {
            awaited: Code::ENCAPSULATED_REQUEST,
            code,
            data: 0,
        };
        assert_eq!(pair.requester_events, [refused]);
        assert_speaks(&mut pair, session);
    }
}

#[test]
fn what_the_responder_asks_else_is_answered_and_ends_nothing() {
    let mut pair = Ends::usual().with_encapsulated().connected();
    let session = pair.requester.session().unwrap();
    pair.responder
        .ask(session, &[0x12, Code::GET_DIGESTS.0, 0, 0])
        .unwrap();
    pair.responder_events.clear();
    pair.requester.fetch_requests(pair.now, session).unwrap();
    pair.run();
    let response = vec![0x12, 0x7f, ErrorCode::UNSUPPORTED_REQUEST.0, Code::GET_DIGESTS.0];
    assert_eq!(pair.responder_events, [Told::Answered { session, response }]);
    assert_all_speak(&mut pair);
}

#[test]
fn requests_of_the_responder_are_for_both_sides_to_want() {
    let mut one = Ends::usual().with_encapsulated();
    one.asking.encapsulated = false;
    let mut other = Ends::usual().with_encapsulated();
    other.answering.encapsulated = false;
    for ends in [one, other] {
        let mut pair = ends.connected();
        let session = pair.requester.session().unwrap();
        assert_eq!(pair.responder.update_keys(session), Err(Misuse::NoEncapsulation));
        let asked = pair.requester.fetch_requests(pair.now, session);
        assert_eq!(asked, Err(Misuse::NoEncapsulation));
    }
}

#[test]
fn keys_that_are_nearly_worn_are_replaced_before_they_are() {
    for transport in TRANSPORTS {
        let mut ends = Ends::of(Version::V1_2, transport);
        ends.asking.records_max = 16;
        ends.answering.records_max = 16;
        let mut pair = ends.connected();
        let session = pair.requester.session().unwrap();
        let mut updates = 0;
        for _ in 0..100 {
            assert_speaks(&mut pair, session);
            let updated = pair.requester_events.iter();
            updates += updated.filter(|event| **event == Event::KeysUpdated).count();
        }
        assert!((6..=10).contains(&updates), "{updates}");
    }
}

#[test]
fn a_session_whose_keys_are_worn_ends_where_they_cannot_be_replaced() {
    let mut ends = Ends::usual();
    ends.answering.records_max = 16;
    ends.answering.capabilities = Flags(!Flags::KEY_UPD.0);
    let mut pair = ends.connected();
    let session = pair.requester.session().unwrap();
    for _ in 0..16 {
        assert_speaks(&mut pair, session);
    }
    pair.requester.vendor_in(pair.now, session, &[1, 2]).unwrap();
    pair.run();
    assert!(pair.failure().is_some());
    assert!(pair.responder.sessions().is_empty());
}

#[test]
fn a_session_without_encryption_is_authenticated_and_carries_its_messages_in_clear() {
    for ends in Ends::all() {
        for (asking, answering) in [(true, false), (false, true), (true, true)] {
            let mut ends = ends.clone();
            let without = Flags(!Flags::ENCRYPT.0);
            if asking {
                ends.asking.capabilities = without;
            }
            if answering {
                ends.answering.capabilities = without;
            }
            // A requester that encrypts wants a responder that does.
            let wants = !asking && answering;
            let mut pair = ends.connected();
            assert_eq!(ready(&pair).is_empty(), wants, "{:?}", pair.failure());
            if wants {
                continue;
            }
            pair.carried.clear();
            assert_all_speak(&mut pair);
            let seen = pair.carried[0].windows(4).any(|window| window == [1, 2, 3, 4]);
            assert!(seen, "{:02x?}", pair.carried[0]);
        }
    }
}

#[test]
fn each_version_of_secured_messages_is_spoken_if_no_higher_one_is_common() {
    for secured in SECURED_VERSIONS {
        let mut ends = Ends::usual();
        ends.answering.secured_versions = vec![*secured];
        let mut pair = ends.connected();
        for _ in 0..300 {
            assert_all_speak(&mut pair);
        }
        let mut ends = Ends::usual();
        ends.asking.secured_versions = vec![*secured];
        assert_all_speak(&mut ends.connected());
    }
}

#[test]
fn the_exported_secret_is_the_same_at_both_ends_and_another_in_each_session() {
    let mut pair = Ends::usual().connected();
    pair.requester.open_session(pair.now).unwrap();
    pair.run();
    let mut seen = Vec::new();
    for session in pair.requester.sessions() {
        let asking = pair.requester.exporter(session).unwrap().expose().to_vec();
        assert_eq!(pair.responder.exporter(session).unwrap().expose(), asking);
        assert!(!seen.contains(&asking));
        seen.push(asking);
    }
    assert_eq!(seen.len(), 2);
    assert!(pair.requester.exporter(1).is_none());
}

#[test]
fn a_silent_session_is_kept_by_heartbeats_and_ends_after_two_periods_without() {
    let mut ends = Ends::usual();
    ends.answering.heartbeat_s = 10;
    let mut pair = ends.connected();
    for _ in 0..5 {
        let due = pair.requester.poll_timeout().unwrap();
        pair.now = due;
        pair.requester.handle_timeout(due);
        pair.run();
        assert_eq!(pair.responder.sessions().len(), 1);
    }
    let last = pair.now;
    pair.responder
        .handle_timeout(last.after(Duration::from_millis(19_999)));
    assert_eq!(pair.responder.sessions().len(), 1);
    pair.responder.handle_timeout(last.after(Duration::from_secs(20)));
    assert!(pair.responder.sessions().is_empty());
}
