//! Requester against responder.

#[path = "pair/mod.rs"]
mod harness;

use harness::Pair;
use tdisp::spdm::{Event, responder};

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
    let ended = responder::Event::SessionEnded { id };
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
