//! What becomes of a session's keys: updates by either end, limits, and what protects records at all.

use super::{
    Ends, Event, HINT, KEY, TRANSPORTS, Told, VERSIONS, assert_all_speak, assert_speaks,
    pair::{answering::Answering, by_hand::ByHand},
    ready,
    unsigned::SIZES,
};
use std::time::Duration;
use tdisp::{
    crypto::Secret,
    spdm::{
        Error, Goal, Misbehaviour, Misuse, SECURED_VERSIONS, Transport,
        events::Types,
        msg::{
            Code, Payload, Summary, Version, capabilities::Flags, error::ErrorCode, psk_exchange,
            version::Entry,
        },
        secured::{Order, RecordError},
    },
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
fn keys_are_not_replaced_with_who_cannot() {
    for (ours, theirs) in [(false, true), (true, false)] {
        let mut ends = Ends::usual().with_encapsulated();
        ends.asking.records_max = 16;
        let without = Flags(!Flags::KEY_UPD.0);
        if !ours {
            ends.asking.capabilities = without;
        }
        if !theirs {
            ends.answering.capabilities = without;
        }
        let mut pair = ends.connected();
        let session = pair.requester.session().unwrap();
        let (now, no_update) = (pair.now, Err(Misuse::NoKeyUpdate));
        assert_eq!(pair.requester.update_keys(now), no_update);
        assert_eq!(pair.requester.update_keys_in(now, session), no_update);
        assert_eq!(pair.requester.update_own_keys_in(now, session), no_update);
        assert_eq!(pair.responder.update_keys(session), Err(Misuse::NoEncapsulation));
        for _ in 0..16 {
            assert_speaks(&mut pair, session);
        }
        // The keys are worn now, and no message was lost to a wish for new ones.
        pair.requester.vendor_in(pair.now, session, &[1, 2]).unwrap();
        pair.collect();
        let worn = RecordError::Exhausted { records: 16 };
        assert!(
            matches!(pair.failure(), Some(Error::Peer { what: Misbehaviour::Record(what), .. }) if *what == worn),
            "{:?}",
            pair.failure()
        );
    }
}

/// SessionPolicy has had a bit for that since 1.3.
#[test]
fn a_session_that_wants_all_events_is_had_from_who_has_events() {
    const ALL_EVENTS: u8 = 2;
    for (version, events, refused) in [
        (Version::V1_2, false, false),
        (Version::V1_3, false, true),
        (Version::V1_3, true, false),
        (Version::V1_4, false, true),
    ] {
        for policy in [0, ALL_EVENTS, ALL_EVENTS | 1] {
            let mut ends = Ends::of(version, Transport::Doe);
            if events {
                ends.answering.events = Types::ALL;
            }
            let mut hand = ByHand::start(ends.answering);
            hand.policy = policy;
            hand.agree_in(version, Flags(0), SIZES);
            let wanted = match refused && policy & ALL_EVENTS != 0 {
                true => Err((ErrorCode::INVALID_REQUEST.0, 0)),
                false => Ok(()),
            };
            assert_eq!(hand.key_exchange(7), wanted, "{version} {policy}");
        }
    }
}

#[test]
fn a_requester_without_heartbeats_may_be_silent() {
    for (heartbeats, ends) in [(true, true), (false, false)] {
        let mut config = Ends::usual().answering;
        config.heartbeat_s = 10;
        let mut hand = ByHand::start(config);
        if !heartbeats {
            hand.flags = hand.flags.without(Flags::HBEAT);
        }
        hand.agree_in(Version::V1_2, Flags(0), SIZES);
        hand.key_exchange(7).unwrap();
        hand.finish();
        assert_eq!(hand.responder.poll_timeout().is_some(), ends);
    }
}

#[test]
fn a_session_without_encryption_is_authenticated_carries_its_messages_in_clear_and_nothing_for_the_device() {
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
            pair.requester.measure(pair.now, Some([5; 32])).unwrap();
            pair.run();
            let measured = matches!(pair.requester_events.last(), Some(Event::Measurements(_)));
            assert!(measured, "{:?}", pair.requester_events);
            let seen = pair.carried[0].windows(32).any(|window| window == [5; 32]);
            assert!(seen, "{:02x?}", pair.carried[0]);
            pair.requester.vendor(pair.now, &[1, 2, 3, 4]).unwrap();
            pair.run();
            assert!(matches!(pair.failure(), Some(Error::TimedOut { .. })));
            let handed = |event: &Told| matches!(event, Told::VendorRequest { .. });
            assert!(!pair.responder_events.iter().any(handed));
        }
    }
}

#[test]
fn keys_of_few_records_are_not_renewed_for_ever() {
    for records in 0..8 {
        let mut ends = Ends::usual();
        ends.asking.records_max = records;
        let mut pair = ends.pair();
        let now = pair.now;
        pair.requester.connect(now);
        let mut carried = 0;
        while pair.carry() {
            carried += 1;
            assert!(carried < 100, "with {records} records a key");
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

/// A responder for peers whose secured messages are of these versions, and a requester by hand in a handshake.
fn shaking(secured: Entry, order: Order) -> ByHand {
    let mut ends = Ends::usual();
    ends.answering.secured_versions = vec![secured];
    let mut hand = ByHand::agreed(ends.answering);
    hand.order = order;
    hand.key_exchange(7).unwrap();
    hand
}

const V1_1: Entry = Entry(0x1100);

/// Up to 1.1 the standard was read both ways (DSP0277).
#[test]
fn a_requester_that_counts_records_in_either_byte_order_is_answered_in_that_one_up_to_1_1() {
    for order in [Order::Little, Order::Big] {
        let mut hand = shaking(V1_1, order);
        hand.finish();
        for number in 0..300 {
            let digests = hand.secured(&[0x12, Code::GET_DIGESTS.0, 0, 0]).unwrap();
            assert_eq!(digests[1], Code::DIGESTS.0, "{order:?} {number}");
        }
    }
}

#[test]
fn from_1_2_on_a_requester_that_counts_records_big_endian_is_not_understood() {
    let mut hand = shaking(Entry(0x1200), Order::Big);
    hand.finish();
    let get_digests = [0x12, Code::GET_DIGESTS.0, 0, 0];
    assert_eq!(hand.secured(&get_digests).unwrap()[1], Code::DIGESTS.0);
    let answer = hand.secured(&get_digests).unwrap();
    assert_eq!(answer[1..3], [0x7f, ErrorCode::DECRYPT_ERROR.0]);
    assert!(hand.responder.sessions().is_empty());
}

#[test]
fn a_byte_order_that_the_handshake_has_shown_holds_for_the_session() {
    for order in [Order::Little, Order::Big] {
        for changed in [false, true] {
            let mut hand = shaking(V1_1, order);
            // The first record looks the same in both; FINISH is the second.
            let early = hand.secured(&[0x12, Code::HEARTBEAT.0, 0, 0]).unwrap();
            assert_eq!(early[1..3], [0x7f, ErrorCode::UNEXPECTED_REQUEST.0]);
            hand.order = match (order, changed) {
                (Order::Little, true) => Order::Big,
                (_, true) => Order::Little,
                _ => order,
            };
            hand.finish();
            let get_digests = [0x12, Code::GET_DIGESTS.0, 0, 0];
            assert_eq!(hand.secured(&get_digests).unwrap()[1], Code::DIGESTS.0);
            let code = hand.secured(&get_digests).unwrap()[1];
            assert_eq!(code == Code::DIGESTS.0, !changed, "{order:?}");
        }
    }
}

#[test]
fn a_responder_that_counts_records_in_either_byte_order_is_understood_up_to_1_1() {
    for order in [Order::Little, Order::Big] {
        let mut ends = Ends::usual().with_psk(false);
        ends.asking.goal = Goal::PskSession;
        ends.asking.secured_versions = vec![V1_1];
        let mut hand = Answering::counting(ends.connected(), &Secret::new(KEY.to_vec()), order);
        for number in 0..300 {
            hand.requester.vendor(hand.now, &[1, 2, 3]).unwrap();
            assert_eq!(hand.asked()[1], Code::VENDOR_DEFINED_REQUEST.0);
            hand.say(&[
                0x12,
                Code::VENDOR_DEFINED_RESPONSE.0,
                0,
                0,
                3,
                0,
                2,
                1,
                0,
                3,
                0,
                1,
                3,
                2,
            ]);
            assert_eq!(
                hand.events(),
                [Event::Vendor(vec![1, 3, 2])],
                "{order:?} {number}"
            );
        }
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

/// Encrypted records are authenticated whatever the flags say; a requester that does not want that has no session.
#[test]
fn a_requester_without_message_authentication_gets_no_session() {
    for version in VERSIONS {
        let mut ends = Ends::of(version, Transport::Doe).with_psk(true);
        ends.answering.versions = vec![version];
        let mut hand = ByHand::start(ends.answering);
        hand.flags = hand.flags.without(Flags::MAC);
        hand.agree_in(version, Flags::PSK, SIZES);
        let unsupported = |code: Code| (ErrorCode::UNSUPPORTED_REQUEST.0, code.0);
        assert_eq!(
            hand.key_exchange(7),
            Err(unsupported(Code::KEY_EXCHANGE)),
            "{version}"
        );
        let offered = hand.offered();
        let request = psk_exchange::Request {
            version,
            summary: Summary::NONE,
            policy: 1,
            session: 3,
            hint: HINT,
            psk_context: &[7; 32],
            opaque: &offered,
        };
        let answer = hand.clear(&request.to_vec()).unwrap();
        assert_eq!(
            (answer[2], answer[3]),
            unsupported(Code::PSK_EXCHANGE),
            "{version}"
        );
        assert_eq!(hand.responder.poll_timeout(), None, "no handshake has begun");
    }
}
