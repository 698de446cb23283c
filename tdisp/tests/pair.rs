//! Requester against responder.

#[path = "pair/mod.rs"]
mod harness;

use harness::{Fault, Pair, requester, requester_config, responder, responder_config};
use std::time::Duration;
use tdisp::{
    clock::Instant,
    spdm::{
        Error, Event, Goal, Misbehaviour, Misuse, RequesterConfig, ResponderConfig, Timing, Trust, msg::Code,
        responder::Event as Told,
    },
};

#[test]
fn two_ends_open_a_session_measure_speak_renew_their_keys_and_part() {
    let mut pair = Pair::new();
    let started = std::time::Instant::now();
    pair.connect();
    println!("handshake of both ends: {:?}", started.elapsed());
    let id = pair.requester.session().expect("a session");
    assert_eq!(pair.carried.len(), 16, "eight requests, each with one answer");
    assert_eq!(pair.responder.sessions(), [id]);
    let nonce = [0xa5; 32];
    pair.requester.measure(pair.now, Some(nonce)).unwrap();
    pair.run();
    pair.requester.vendor(pair.now, &[1, 2, 3, 4]).unwrap();
    pair.run();
    pair.requester.update_keys(pair.now).unwrap();
    pair.run();
    pair.requester.vendor(pair.now, &[1, 5, 6]).unwrap();
    pair.run();
    pair.requester.end_session(pair.now).unwrap();
    pair.run();
    let told: Vec<_> = pair.requester_events.iter().map(name).collect();
    assert_eq!(
        told,
        [
            "Connected",
            "Certificates",
            "Challenged",
            "SessionReady",
            "Measurements",
            "Vendor 1432",
            "KeysUpdated",
            "Vendor 165",
            "SessionEnded"
        ]
    );
    let ended = Told::SessionEnded { id };
    assert_eq!(pair.responder_events.last(), Some(&ended));
    assert!(pair.responder.sessions().is_empty());
}

fn name(event: &Event) -> String {
    match event {
        Event::Connected(_) => "Connected".into(),
        Event::Certificates { .. } => "Certificates".into(),
        Event::Challenged => "Challenged".into(),
        Event::Measurements(_) => "Measurements".into(),
        Event::SessionReady { .. } => "SessionReady".into(),
        Event::Vendor(payload) => payload
            .iter()
            .fold("Vendor ".into(), |text, byte| format!("{text}{byte}")),
        Event::KeysUpdated => "KeysUpdated".into(),
        Event::SessionEnded => "SessionEnded".into(),
        Event::Failed(error) => format!("Failed: {error}"),
    }
}

/// Whatever happens to one object, both ends come through or the requester says what it waited for; and afterwards a new
/// connection works, with one session at each end.
fn survives(fault: impl Fn(usize) -> Vec<Fault>) {
    let mut plain = Pair::new();
    plain.say_everything();
    assert_eq!(plain.failure(), None);
    for at in 0..plain.carried.len() {
        for fault in fault(at) {
            let mut pair = Pair::new();
            pair.fault = Some((at, fault));
            pair.say_everything();
            let came_through = pair.requester_events.contains(&Event::SessionEnded);
            let failed = pair.failure().is_some();
            assert!(
                came_through != failed,
                "object {at}, {fault:?}: {:?}",
                pair.requester_events
            );
            assert_eq!(pair.requester.session(), None, "object {at}, {fault:?}");
            pair.fault = None;
            pair.requester_events.clear();
            pair.connect();
            assert_eq!(pair.failure(), None, "after object {at}, {fault:?}");
            let sessions: Vec<u32> = pair.requester.session().into_iter().collect();
            assert_eq!(
                pair.responder.sessions(),
                sessions,
                "after object {at}, {fault:?}"
            );
            assert_eq!(sessions.len(), 1, "after object {at}, {fault:?}");
        }
    }
}

#[test]
fn a_lost_object_ends_in_a_timeout_that_names_what_was_awaited() {
    survives(|_| vec![Fault::Drop]);
}

#[test]
fn an_object_that_comes_twice_leaves_no_session_half_open() {
    survives(|_| vec![Fault::Duplicate]);
}

#[test]
fn an_object_cut_short_leaves_no_session_half_open() {
    survives(|_| vec![Fault::Shorten, Fault::Truncate]);
}

#[test]
fn an_object_that_comes_too_late_leaves_no_session_half_open() {
    survives(|_| vec![Fault::Delay]);
}

#[test]
fn an_object_replayed_in_place_of_the_next_leaves_no_session_half_open() {
    survives(|_| vec![Fault::Replay]);
}

#[test]
fn a_flipped_bit_anywhere_leaves_no_session_half_open() {
    // Some bits of each object: all of the headers', then ever fewer, other ones in each object.
    survives(|at| {
        let header = (0..12).map(|byte| byte * 8 + (byte + at) % 8);
        let body = (0..10).map(|step: usize| 96 + at * 7 + step * step * 97);
        header.chain(body).map(Fault::Flip).collect()
    });
}

#[test]
fn silence_at_each_step_is_an_error_that_names_the_message() {
    let names = [
        Code::VERSION,
        Code::CAPABILITIES,
        Code::ALGORITHMS,
        Code::DIGESTS,
        Code::CERTIFICATE,
        Code::CHALLENGE_AUTH,
        Code::KEY_EXCHANGE_RSP,
        Code::FINISH_RSP,
        Code::MEASUREMENTS,
    ];
    for (step, name) in names.into_iter().enumerate() {
        let mut pair = Pair::new();
        pair.fault = Some((2 * step + 1, Fault::Drop));
        pair.say_everything();
        let Some(Error::TimedOut { awaited, waited }) = pair.failure() else {
            panic!("{name}: {:?}", pair.requester_events);
        };
        assert_eq!(*awaited, name);
        assert!(*waited >= Timing::default().answer, "{waited:?}");
    }
}
