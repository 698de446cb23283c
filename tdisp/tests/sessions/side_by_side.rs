//! Several sessions at once.

use super::{
    Ends, Event, Pair, Told, VERSIONS, assert_all_speak, assert_speaks,
    pair::measurements,
    providers::{Drawing, RingBut},
    ready, told,
};
use std::sync::Arc;
use tdisp::spdm::{
    Error, Misbehaviour, Misuse, Requester, Responder, Transport,
    events::Types,
    msg::{Code, Version, error::ErrorCode, send_event::Dmtf},
};

/// Two sessions on a key exchange, and two on a pre-shared key that were opened between them.
fn four_sessions(ends: Ends) -> Pair {
    let mut pair = ends.with_psk(true).connected();
    for _ in 0..2 {
        pair.requester.open_psk_session(pair.now).unwrap();
        pair.run();
    }
    pair.requester.open_session(pair.now).unwrap();
    pair.run();
    assert_eq!(pair.requester.sessions().len(), 4);
    pair
}

#[test]
fn sessions_of_both_kinds_go_side_by_side_and_end_one_by_one() {
    for ends in Ends::all() {
        let mut pair = four_sessions(ends.with_encapsulated());
        let mut sessions = pair.requester.sessions();
        for (turn, session) in sessions.clone().into_iter().enumerate() {
            assert_all_speak(&mut pair);
            match turn % 2 {
                0 => pair.requester.update_keys_in(pair.now, session).unwrap(),
                _ => pair.requester.update_own_keys_in(pair.now, session).unwrap(),
            }
            pair.run();
        }
        assert_all_speak(&mut pair);
        while let Some(session) = sessions.pop() {
            pair.requester.end_session_in(pair.now, session).unwrap();
            pair.run();
            assert_eq!(pair.responder.sessions(), sessions);
            assert_all_speak(&mut pair);
        }
    }
}

#[test]
fn handshakes_in_clear_and_on_pre_shared_keys_do_not_get_in_each_others_way() {
    let mut ends = Ends::usual();
    ends.asking.handshake_in_clear = true;
    ends.answering.handshake_in_clear = true;
    assert_all_speak(&mut four_sessions(ends));
}

#[test]
fn a_session_beyond_what_the_responder_has_room_for_is_refused_and_the_others_stay() {
    let mut ends = Ends::usual().with_psk(true);
    ends.answering.sessions_max = 2;
    let mut pair = ends.connected();
    pair.requester.open_psk_session(pair.now).unwrap();
    pair.run();
    assert_all_speak(&mut pair);
    let sessions = pair.responder.sessions();
    pair.requester.open_session(pair.now).unwrap();
    pair.run();
    let refused = pair.failure().map(ToString::to_string).unwrap_or_default();
    assert!(
        refused.contains(ErrorCode::SESSION_LIMIT_EXCEEDED.name().unwrap()),
        "{refused}"
    );
    assert_eq!(pair.responder.sessions(), sessions);
}

#[test]
fn a_session_beyond_what_the_requester_has_room_for_is_not_asked_for() {
    let mut ends = Ends::usual().with_psk(true);
    ends.asking.sessions_max = 1;
    let mut pair = ends.connected();
    let limit = Err(Misuse::SessionLimit { max: 1 });
    assert_eq!(pair.requester.open_session(pair.now), limit);
    assert_eq!(pair.requester.open_psk_session(pair.now), limit);
    assert_all_speak(&mut pair);
}

#[test]
fn every_handshake_in_a_session_is_unexpected() {
    use super::pair::by_hand::ByHand;
    let ends = Ends::usual().with_psk(true);
    let mut hand = ByHand::live(ends.answering);
    let offered = hand.offered();
    let request = hand.key_exchange_with(&offered);
    let answer = hand.secured(&request).unwrap();
    assert_eq!(answer[1..3], [0x7f, ErrorCode::UNEXPECTED_REQUEST.0]);
    assert_eq!(hand.responder.sessions().len(), 1);
}

#[test]
fn a_session_ends_when_measurements_change_unless_its_policy_leaves_that_to_the_responder() {
    let mut changed = measurements();
    changed[0].value[0] ^= 1;
    for (ends, ends_with_change) in Ends::all().flat_map(|ends| [(ends.clone(), false), (ends, true)]) {
        let mut ends = ends.with_psk(true);
        ends.asking.session_policy.ends_with_change = ends_with_change;
        let version = ends.asking.versions[0];
        if ends_with_change && version < Version::V1_2 {
            continue;
        }
        let mut pair = ends.connected();
        pair.requester.open_psk_session(pair.now).unwrap();
        pair.run();
        pair.responder.set_measurements(measurements());
        assert_eq!(pair.responder.sessions().len(), 2, "nothing changed");
        pair.responder.set_measurements(changed.clone());
        let left = if ends_with_change { 0 } else { 2 };
        assert_eq!(pair.responder.sessions().len(), left, "{version}");
    }
}

#[test]
fn who_wants_that_sessions_end_with_a_change_speaks_no_version_that_cannot_say_so() {
    let spoken = |versions: &[Version]| {
        let mut ends = Ends::of(Version::V1_1, Transport::Doe);
        ends.asking.session_policy.ends_with_change = true;
        ends.asking.versions = versions.to_vec();
        let mut pair = ends.pair();
        pair.connect();
        match pair.failure() {
            Some(Error::Peer { what, .. }) => what.clone(),
            other => panic!("{other:?}"),
        }
    };
    let refused = |wanted: &[Version]| Misbehaviour::NoCommonVersion {
        offered: vec![Version::V1_1],
        wanted: wanted.to_vec(),
    };
    assert_eq!(spoken(&[Version::V1_1]), refused(&[]));
    let both = [Version::V1_1, Version::V1_2];
    assert_eq!(spoken(&both), refused(&both[1..]));
}

#[test]
fn sessions_whose_policy_wants_all_events_are_told_of_them_where_there_are_any() {
    for (version, events) in VERSIONS
        .into_iter()
        .flat_map(|version| [(version, true), (version, false)])
    {
        let mut ends = Ends::of(version, Transport::Doe)
            .with_psk(true)
            .with_encapsulated();
        ends.asking.session_policy.all_events = true;
        if events {
            ends.answering.events = Types::ALL;
        }
        let mut pair = ends.connected();
        pair.requester.open_psk_session(pair.now).unwrap();
        pair.run();
        let sessions = pair.requester.sessions();
        assert_eq!(sessions.len(), 2, "{version}");
        pair.responder.notify(Dmtf::CertificateChanged(1));
        let told = if events && version >= Version::V1_3 {
            sessions
        } else {
            Vec::new()
        };
        assert_eq!(pair.responder.sessions_with_events(), told, "{version}");
    }
}

#[test]
fn a_new_connection_ends_all_sessions_and_shares_no_keys_with_the_old_one() {
    let mut pair = Ends::of(Version::V1_3, Transport::Doe).with_psk(true).connected();
    pair.requester.open_psk_session(pair.now).unwrap();
    pair.run();
    let keys = |pair: &super::Pair| -> Vec<Vec<u8>> {
        let sessions = pair.requester.sessions();
        let key = |id: &u32| pair.requester.exporter(*id).unwrap().expose().to_vec();
        sessions.iter().map(key).collect()
    };
    let before = keys(&pair);
    let old = pair.responder.sessions();
    pair.responder_events.clear();
    pair.connect();
    let ended: Vec<_> = told(&pair)
        .iter()
        .filter_map(|event| match event {
            Told::SessionEnded { id } => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(ended, old);
    assert!(keys(&pair).iter().all(|key| !before.contains(key)));
    assert_all_speak(&mut pair);
}

#[test]
fn a_session_in_its_handshake_is_not_there_yet() {
    let mut pair = Ends::usual().pair();
    pair.requester.connect(pair.now);
    while pair.requester.awaited() != Some(Code::FINISH_RSP) {
        assert!(pair.carry());
    }
    assert_eq!(
        (pair.requester.session(), pair.requester.sessions()),
        (None, vec![])
    );
    assert!(pair.responder.sessions().is_empty());
    pair.run();
    assert_all_speak(&mut pair);
}

#[test]
fn a_session_that_is_gone_waits_for_no_events() {
    let mut ends = Ends::of(Version::V1_3, Transport::Doe).with_encapsulated();
    ends.answering.events = Types::ALL;
    let mut pair = ends.connected();
    pair.requester.open_session(pair.now).unwrap();
    pair.run();
    let sessions = pair.requester.sessions();
    for session in &sessions {
        pair.requester.subscribe(pair.now, *session, Types::ALL).unwrap();
        pair.run();
    }
    pair.responder.notify(Dmtf::CertificateChanged(1));
    assert_eq!(pair.responder.sessions_with_events(), sessions);
    pair.requester.end_session_in(pair.now, sessions[0]).unwrap();
    pair.run();
    assert_eq!(pair.responder.sessions_with_events(), sessions[1..]);
}

#[test]
fn a_hundred_connections_leave_no_more_than_one() {
    let mut pair = Ends::usual().with_psk(false).pair();
    for _ in 0..100 {
        pair.connect();
        pair.requester.open_psk_session(pair.now).unwrap();
        pair.run();
        assert_eq!(pair.responder.sessions().len(), 2);
        assert_eq!(pair.requester.sessions().len(), 2);
        pair.carried.clear();
    }
}

#[test]
fn a_record_of_one_session_does_not_open_in_another() {
    let mut pair = Ends::usual().connected();
    pair.requester.open_session(pair.now).unwrap();
    pair.run();
    let [first, second] = pair.requester.sessions()[..] else {
        panic!("two sessions")
    };
    pair.carried.clear();
    assert_speaks(&mut pair, first);
    // The same record with the other's id.
    let mut forged = pair.carried[0].clone();
    forged[8..12].copy_from_slice(&second.to_le_bytes());
    pair.responder.handle(pair.now, &forged);
    let mut answer = Vec::new();
    assert!(pair.responder.poll_transmit(&mut answer));
    assert_eq!(answer[9..11], [0x7f, ErrorCode::DECRYPT_ERROR.0]);
    assert_eq!(pair.responder.sessions(), [first]);
    assert_speaks(&mut pair, first);
    assert_eq!(ready(&pair).len(), 0);
    assert!(
        !pair
            .requester_events
            .iter()
            .any(|event| matches!(event, Event::Failed(_)))
    );
    assert_eq!(pair.requester.awaited(), None::<Code>);
}

/// A responder that has forgotten its sessions, and not the connection, may draw an id again.
#[test]
fn a_session_with_the_id_of_an_open_one_ends_the_connection() {
    type Open = fn(&mut Pair) -> Result<(), Misuse>;
    let opens: [(Open, Option<bool>); 3] = [
        (|pair| pair.requester.open_session(pair.now), None),
        (|pair| pair.requester.open_psk_session(pair.now), Some(true)),
        (|pair| pair.requester.open_psk_session(pair.now), Some(false)),
    ];
    for (open, context) in opens {
        let ends = Ends::usual().with_psk(context.unwrap_or(true));
        // Each side's half of the id is always the same.
        let draws = Arc::new(RingBut(Drawing(Some(vec![7, 1]))));
        let answers = |config| Responder::new(config, draws.clone());
        let mut pair = Pair::of(
            Requester::new(ends.asking, draws.clone()),
            answers(ends.answering.clone()),
        );
        pair.connect();
        let id = pair.requester.session().unwrap();
        pair.responder = answers(ends.answering);
        for request in [0, 2, 4] {
            let mut said_before = Vec::new();
            pair.responder.handle(pair.now, &pair.carried[request]);
            assert!(pair.responder.poll_transmit(&mut said_before));
            assert_eq!(said_before, pair.carried[request + 1]);
        }
        open(&mut pair).unwrap();
        pair.run();
        let twice = Misbehaviour::SessionTwice { id };
        assert!(
            matches!(pair.failure(), Some(tdisp::spdm::Error::Peer { what, .. }) if *what == twice),
            "{:?}",
            pair.requester_events
        );
        assert!(pair.requester.sessions().is_empty());
    }
}
