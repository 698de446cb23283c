//! Requester against responder.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;

use harness::{Fault, Pair, requester, requester_config, responder, responder_config};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
};
use std::time::Duration;
use tdisp::{
    clock::Instant,
    spdm::{
        Error, Event, Goal, Misbehaviour, Misuse, RequesterConfig, ResponderConfig, Timing, Trust,
        msg::Code,
        requester::Measure,
        responder::{Delay, Event as Told, Wait},
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
        other => format!("{other:?}"),
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
    // Some bits of each object: half of the headers' bytes', then ever fewer, other ones in each object.
    survives(|at| {
        let header = (at % 2..12).step_by(2).map(|byte| byte * 8 + (byte + at) % 8);
        let body = (0..8).map(|step: usize| 96 + at * 7 + step * step * 97);
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

/// A pair of usual ends, one of them told something else.
fn pair_of(asking: impl FnOnce(&mut RequesterConfig), answering: impl FnOnce(&mut ResponderConfig)) -> Pair {
    let (mut ask, mut answer) = (requester_config(), responder_config());
    asking(&mut ask);
    answering(&mut answer);
    Pair::of(requester(ask), responder(answer))
}

#[test]
fn a_chain_comes_in_as_many_portions_as_the_smaller_side_needs() {
    for (ours, theirs) in [(0x1200, 0x1200), (400, 0x1200), (0x1200, 400), (377, 400)] {
        let mut pair = pair_of(
            |ask| ask.transfer_size = ours,
            |answer| answer.transfer_size = theirs,
        );
        pair.connect();
        assert!(
            pair.requester.session().is_some(),
            "{ours} {theirs}: {:?}",
            pair.requester_events
        );
        let chain = pair.requester_events.iter().find_map(|event| match event {
            Event::Certificates { chain, .. } => Some(chain),
            _ => None,
        });
        assert_eq!(chain, Some(&harness::Identity::usual().chain));
    }
}

#[test]
fn a_handshake_goes_in_clear_only_if_both_ends_want_it() {
    for (ours, theirs) in [(true, true), (true, false), (false, true)] {
        let mut pair = pair_of(
            |ask| ask.handshake_in_clear = ours,
            |answer| answer.handshake_in_clear = theirs,
        );
        pair.say_everything();
        assert!(
            pair.requester_events.contains(&Event::SessionEnded),
            "{:?}",
            pair.requester_events
        );
        // The fifteenth object is FINISH; its DOE type is 1 in clear and 2 in the session.
        let kind = pair.carried[14][2];
        assert_eq!(kind, if ours && theirs { 1 } else { 2 });
    }
}

#[test]
fn an_identity_is_proven_and_measured_without_a_session_which_may_follow() {
    let mut pair = pair_of(|ask| ask.goal = Goal::Identity, |_| {});
    pair.connect();
    assert_eq!(pair.requester_events.last(), Some(&Event::Challenged));
    assert_eq!(pair.requester.vendor(pair.now, &[1]), Err(Misuse::NoSession));
    pair.requester.measure(pair.now, Some([1; 32])).unwrap();
    pair.run();
    let Some(Event::Measurements(record)) = pair.requester_events.last() else {
        panic!("{:?}", pair.requester_events);
    };
    assert_eq!(record.nonce, [1; 32]);
    pair.requester.open_session(pair.now).unwrap();
    pair.run();
    assert!(pair.requester.session().is_some(), "{:?}", pair.requester_events);
}

#[test]
fn measurements_are_told_as_the_exact_bytes_that_were_signed() {
    let mut pair = Pair::in_session();
    pair.requester.measure(pair.now, Some([0x5a; 32])).unwrap();
    pair.run();
    let Some(Event::Measurements(record)) = pair.requester_events.last() else {
        panic!("{:?}", pair.requester_events);
    };
    // VCA is the bodies of the first six objects, none of which has padding.
    let vca: Vec<u8> = pair.carried[..6]
        .iter()
        .flat_map(|object| object[8..].to_vec())
        .collect();
    let (head, rest) = record.blob.split_at(vca.len());
    assert_eq!(head, vca);
    let (request, response) = rest.split_at(37);
    assert_eq!(request[..4], [0x12, 0xe0, 1, 0xff]);
    assert_eq!(request[4..36], [0x5a; 32]);
    assert_eq!(response[..2], [0x12, 0x60]);
    // Header, three blocks of 51+4, 51+4 and 11+4 bytes, nonce, no opaque data, signature.
    assert_eq!(response.len(), 8 + 55 + 55 + 15 + 32 + 2 + 96);
}

#[test]
fn a_requester_that_is_told_of_new_measurements_sees_them_and_the_change() {
    let mut pair = Pair::in_session();
    let mut changed = harness::measurements();
    changed[1].value = vec![0x99; 48];
    pair.responder.set_measurements(changed);
    let mut content_changed = Vec::new();
    for _ in 0..2 {
        pair.requester.measure(pair.now, None).unwrap();
        pair.run();
        let Some(Event::Measurements(record)) = pair.requester_events.last() else {
            panic!("{:?}", pair.requester_events);
        };
        assert!(record.blob.windows(48).any(|window| window == [0x99; 48]));
        let response = record.blob.len() - (8 + 55 + 55 + 15 + 32 + 2 + 96);
        content_changed.push(record.blob[response + 3] >> 4);
    }
    assert_eq!(content_changed, [1, 2], "changed, then not changed");
}

#[test]
fn every_session_has_keys_of_its_own() {
    let mut pair = Pair::in_session();
    pair.requester.vendor(pair.now, &[1, 2, 3]).unwrap();
    pair.run();
    let first = pair.carried.last().unwrap().clone();
    pair.connect();
    pair.requester.vendor(pair.now, &[1, 2, 3]).unwrap();
    pair.run();
    assert_ne!(pair.carried.last().unwrap(), &first);
    let ended = pair
        .responder_events
        .iter()
        .filter(|event| matches!(event, Told::SessionEnded { .. }));
    assert_eq!(ended.count(), 1, "the new connection ends the old session");
}

#[test]
fn a_session_is_up_while_it_waits_for_an_answer_and_gone_when_another_begins() {
    let mut pair = Pair::in_session();
    let id = pair.requester.session();
    pair.requester.measure(pair.now, None).unwrap();
    assert_eq!(pair.requester.session(), id);
    pair.run();
    pair.requester.vendor(pair.now, &[1]).unwrap();
    assert_eq!(pair.requester.session(), id);
    pair.requester.connect(pair.now);
    assert_eq!(pair.requester.session(), None);
    pair.run();
    assert!(pair.requester.session().is_some());
    assert_eq!(pair.failure(), None);
}

#[test]
fn a_hundred_connections_leave_one_session() {
    let mut pair = Pair::new();
    for _ in 0..100 {
        pair.connect();
    }
    assert_eq!(pair.responder.sessions().len(), 1);
    assert_eq!(pair.failure(), None);
}

#[test]
fn a_silent_device_is_a_timeout_of_the_vendor_answer_and_the_session_goes() {
    let mut pair = Pair::in_session();
    pair.device_is_silent = true;
    pair.requester.vendor(pair.now, &[1, 2, 3]).unwrap();
    pair.run();
    let awaited = pair.failure().map(Error::awaited);
    assert_eq!(awaited, Some(Code::VENDOR_DEFINED_RESPONSE));
    assert_eq!(pair.requester.session(), None);
}

#[test]
fn a_call_that_does_not_fit_the_state_changes_nothing_and_says_why() {
    let mut idle = Pair::new();
    assert_eq!(idle.requester.measure(idle.now, None), Err(Misuse::NotConnected));
    assert_eq!(idle.requester.end_session(idle.now), Err(Misuse::NotConnected));
    idle.requester.connect(idle.now);
    let busy = Err(Misuse::Busy {
        awaited: Code::VERSION,
    });
    assert_eq!(idle.requester.measure(idle.now, None), busy);
    let mut pair = Pair::in_session();
    assert_eq!(
        pair.requester.vendor_in(pair.now, 7, &[1]),
        Err(Misuse::NoSession)
    );
    let size = 0x1200;
    let too_long = pair.requester.vendor(pair.now, &vec![1; size]);
    assert!(matches!(too_long, Err(Misuse::TooLong { .. })), "{too_long:?}");
    let Err(Misuse::TooLong { max, .. }) = too_long else {
        return;
    };
    pair.requester.vendor(pair.now, &vec![1; max]).unwrap();
    pair.run();
    assert_eq!(pair.failure(), None, "what fits goes through");
}

#[test]
fn an_idle_session_is_kept_alive_by_heartbeats_and_ends_without_them() {
    let mut pair = pair_of(|_| {}, |answer| answer.heartbeat_s = 10);
    pair.connect();
    let id = pair.requester.session().unwrap();
    for _ in 0..5 {
        pair.now = pair.requester.poll_timeout().expect("the next heartbeat");
        pair.responder.handle_timeout(pair.now);
        pair.requester.handle_timeout(pair.now);
        pair.run();
    }
    assert_eq!(pair.now.since(Instant::START), Duration::from_secs(50));
    assert_eq!(pair.responder.sessions(), [id]);
    pair.now = pair.responder.poll_timeout().expect("the end of patience");
    pair.responder.handle_timeout(pair.now);
    assert_eq!(pair.now.since(Instant::START), Duration::from_secs(70));
    assert!(pair.responder.sessions().is_empty());
    assert_eq!(pair.responder.poll_event(), Some(Told::SessionEnded { id }));
}

#[test]
fn objects_that_nobody_asked_for_are_ignored() {
    let mut pair = Pair::in_session();
    for object in pair.carried.clone() {
        pair.requester.handle(pair.now, &object);
    }
    pair.collect();
    assert_eq!(pair.requester_events, []);
    assert!(pair.requester.session().is_some());
}

#[test]
fn a_timeout_that_comes_too_early_changes_nothing() {
    let early = Duration::from_millis(1);
    // The answer is waited for.
    let mut pair = Pair::new();
    pair.requester.connect(pair.now);
    pair.requester.handle_timeout(pair.now.after(early));
    assert_eq!(pair.requester.awaited(), Some(Code::VERSION));
    pair.run();
    assert!(pair.requester.session().is_some());
    // The responder is given time, in which it has nothing to say.
    let mut pair = pair_of(
        |_| {},
        |answer| {
            answer.delays = vec![Delay {
                code: Code::GET_DIGESTS,
                how: Wait::Busy(1),
            }];
        },
    );
    pair.requester.connect(pair.now);
    while pair.carry() {}
    let busy = pair.carried.last().cloned().unwrap();
    let due = pair.requester.poll_timeout().unwrap();
    assert_eq!(due.since(pair.now), Timing::default().retry_after);
    pair.requester.handle_timeout(pair.now.after(early));
    pair.requester.handle(pair.now.after(early), &busy);
    assert!(!pair.requester.poll_transmit(&mut Vec::new()));
    assert_eq!(pair.requester.poll_timeout(), Some(due));
    pair.run();
    assert!(pair.requester.session().is_some(), "{:?}", pair.failure());
    // That time may be longer than an answer may take.
    let mut pair = pair_of(
        |ask| ask.timing.retry_after = Timing::default().answer * 2,
        |answer| {
            answer.delays = vec![Delay {
                code: Code::GET_DIGESTS,
                how: Wait::Busy(1),
            }];
        },
    );
    pair.requester.connect(pair.now);
    while pair.carry() {}
    pair.requester
        .handle_timeout(pair.now.after(Timing::default().answer));
    assert_eq!(pair.requester.awaited(), Some(Code::DIGESTS));
    pair.run();
    assert!(pair.requester.session().is_some(), "{:?}", pair.failure());
    // A session is silent for less than its period.
    let mut pair = pair_of(|_| {}, |answer| answer.heartbeat_s = 10);
    pair.connect();
    let due = pair.requester.poll_timeout().unwrap();
    pair.requester.handle_timeout(pair.now.after(early));
    assert!(!pair.requester.poll_transmit(&mut Vec::new()));
    assert_eq!(pair.requester.poll_timeout(), Some(due));
}

#[test]
fn what_is_asked_again_is_waited_for_anew() {
    let how = Wait::Busy(1);
    let code = Code::GET_DIGESTS;
    let mut pair = pair_of(|_| {}, |answer| answer.delays = vec![Delay { code, how }]);
    // The seventh object is GET_DIGESTS, and the ninth its second try.
    pair.fault = Some((8, Fault::Drop));
    pair.connect();
    let Some(Error::TimedOut { awaited, waited }) = pair.failure() else {
        panic!("{:?}", pair.requester_events)
    };
    assert_eq!((*awaited, *waited), (Code::DIGESTS, Timing::default().answer));
    let both = Timing::default().answer + Timing::default().retry_after;
    assert_eq!(pair.now.since(Instant::START), both);
}

#[test]
fn a_connection_that_begins_anew_says_and_tells_nothing_of_the_old_one() {
    let mut pair = Pair::in_session();
    pair.requester.vendor(pair.now, &[1, 2]).unwrap();
    pair.requester.connect(pair.now);
    pair.requester.connect(pair.now);
    let before = pair.carried.len();
    pair.run();
    let said: Vec<_> = pair.carried[before..]
        .iter()
        .map(|object| Code(object[9]))
        .collect();
    assert_eq!(
        said[..3],
        [Code::GET_VERSION, Code::VERSION, Code::GET_CAPABILITIES]
    );
    let begun = |event: &&Event| matches!(event, Event::Connected(_));
    assert_eq!(pair.requester_events.iter().filter(begun).count(), 1);
    // What was not told in time is not told later.
    pair.requester_events.clear();
    pair.requester.end_session(pair.now).unwrap();
    let mut object = Vec::new();
    assert!(pair.requester.poll_transmit(&mut object));
    pair.responder.handle(pair.now, &object);
    let mut answer = Vec::new();
    assert!(pair.responder.poll_transmit(&mut answer));
    pair.requester.handle(pair.now, &answer);
    pair.requester.connect(pair.now);
    pair.run();
    assert!(
        matches!(pair.requester_events[0], Event::Connected(_)),
        "{:?}",
        pair.requester_events
    );
}

#[test]
fn a_session_that_is_not_there_is_asked_for_nothing_and_nobody_unknown_for_a_session() {
    let mut pair = Pair::in_session();
    let (now, other) = (pair.now, pair.requester.session().unwrap() ^ 1);
    let none = Err(Misuse::NoSession);
    let all = Measure::all(None);
    assert_eq!(pair.requester.measure_in(now, Some(other), all), none);
    assert_eq!(pair.requester.vendor_in(now, other, &[1]), none);
    assert_eq!(pair.requester.update_keys_in(now, other), none);
    assert_eq!(pair.requester.update_own_keys_in(now, other), none);
    assert_eq!(pair.requester.end_session_in(now, other), none);
    assert_eq!(pair.requester.fetch_requests(now, other), none);
    assert_eq!(pair.requester.awaited(), None);
    let mut pair = pair_of(|ask| ask.goal = Goal::Connection, |_| {});
    pair.connect();
    assert_eq!(pair.requester.open_session(now), Err(Misuse::NoIdentity));
}

#[test]
fn a_request_as_large_as_the_responder_takes_at_once_goes_whole() {
    for (size, exchanges) in [(101, 1), (100, 1), (99, 2)] {
        let mut pair = pair_of(
            |ask| ask.chunk = Some(0x1_0000),
            |answer| {
                answer.chunk = Some(0x1_0000);
                answer.transfer_size = size;
            },
        );
        pair.connect();
        pair.carried.clear();
        // VENDOR_DEFINED_REQUEST has eleven bytes around its payload.
        pair.requester.vendor(pair.now, &[1; 100 - 11]).unwrap();
        pair.run();
        assert_eq!(pair.carried.len(), 2 * exchanges, "{size}");
    }
}

#[test]
fn a_responder_with_another_root_is_not_spoken_to_though_it_can_sign() {
    let other = harness::Identity::new("other");
    let mut pair = pair_of(
        |_| {},
        |answer| {
            *answer = ResponderConfig::new(other.chain.clone(), other.signer.clone(), Vec::new());
        },
    );
    pair.connect();
    let Some(Error::Peer {
        awaited: Code::CERTIFICATE,
        what: Misbehaviour::UntrustedRoot { found, pinned: 1 },
    }) = pair.failure()
    else {
        panic!("{:?}", pair.requester_events);
    };
    assert_eq!(*found, other.root);
    assert_eq!(pair.carried.len(), 10, "nothing was said after CERTIFICATE");
}

#[test]
fn without_pinned_roots_nobody_is_trusted() {
    let mut pair = pair_of(|ask| ask.roots = RequesterConfig::default().roots, |_| {});
    pair.connect();
    assert!(matches!(
        pair.failure(),
        Some(Error::Peer {
            what: Misbehaviour::UntrustedRoot { pinned: 0, .. },
            ..
        })
    ));
}

#[test]
fn a_relying_party_may_decide_about_the_root_later() {
    let other = harness::Identity::new("other");
    let mut pair = pair_of(
        |ask| ask.roots = Trust::RelyingPartyDecides,
        |answer| {
            *answer = ResponderConfig::new(other.chain.clone(), other.signer.clone(), Vec::new());
        },
    );
    pair.connect();
    assert!(pair.requester.session().is_some());
}

/// How a requester that pins its root takes a responder with this identity.
fn judged(identity: &harness::Identity) -> Option<Error> {
    let mut pair = pair_of(
        |ask| ask.roots = Trust::Pinned(vec![identity.root]),
        |answer| {
            *answer = ResponderConfig::new(identity.chain.clone(), identity.signer.clone(), Vec::new());
        },
    );
    pair.connect();
    pair.failure().cloned()
}

#[test]
fn a_certificate_that_a_leaf_has_signed_is_not_trusted() {
    let failure = judged(&harness::Identity::minted("vendor")).unwrap().to_string();
    assert!(
        failure.contains("certificate 1 (CN=vendor leaf): it is not a CA"),
        "{failure}"
    );
}

#[test]
fn a_pinned_root_vouches_for_a_path_alone_that_keeps_every_rule() {
    type Spoil = fn(&mut CertificateParams, &mut CertificateParams);
    let cases: [(Spoil, &str); 8] = [
        (|_, _| {}, ""),
        (|ca, _| ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)), ""),
        (
            |ca, _| ca.key_usages = vec![KeyUsagePurpose::DigitalSignature],
            "certificate 1 (CN=the middle): its key usage does not include signing certificates",
        ),
        (
            |ca, _| ca.custom_extensions.push(critical()),
            "certificate 1 (CN=the middle): it has the critical extension 1.2.3.4",
        ),
        (
            |_, leaf| leaf.custom_extensions.push(critical()),
            "certificate 2 (CN=the leaf): it has the critical extension 1.2.3.4",
        ),
        (
            |_, leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "certificate 2 (CN=the leaf): it is a CA",
        ),
        (
            |_, leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement],
            "certificate 2 (CN=the leaf): its key usage does not include signatures",
        ),
        (
            |_, leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "certificate 2 (CN=the leaf): its extended key usage allows neither an SPDM responder",
        ),
    ];
    for (spoil, wanted) in cases {
        let (mut ca, mut leaf) = (harness::authority("the middle"), harness::leaf("the leaf"));
        spoil(&mut ca, &mut leaf);
        let failure = judged(&harness::Identity::of("the", ca, leaf));
        match wanted {
            "" => assert_eq!(failure, None),
            _ => assert!(
                failure
                    .as_ref()
                    .is_some_and(|failure| failure.to_string().contains(wanted)),
                "{failure:?}, wanted {wanted}"
            ),
        }
    }
}

fn critical() -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    extension
}
