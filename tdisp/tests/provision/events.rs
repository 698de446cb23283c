//! Events both ways: which there are, who has subscribed to them, and in which order they are told.

use super::{
    INVALID, SIZES, V, ask, error_of, live, live_with, refusal,
    slots::{chain, set},
    usual,
};
use crate::harness::{by_hand::ByHand, responder_config};
use std::sync::Arc;
use tdisp::crypto::Secret;
use tdisp::spdm::{
    Measurement, ResponderConfig,
    events::{Types, What},
    msg::{
        Code, Context, Payload, Summary, Version,
        capabilities::Flags,
        error::ErrorCode,
        event_types::{self, EventType, Group, Groups},
        psk_exchange,
        send_event::{self, Dmtf},
        subscribe,
    },
    responder::{Event, Psk},
};

#[test]
fn event_types_are_told_in_a_session_and_lost_events_are_among_them() {
    let mut hand = live(V);
    let answer = ask(&mut hand, &event_types::Request { version: V });
    let response = event_types::Response::decode_exact(&answer, &Context::new(V)).unwrap();
    let types = Types::offered(response.count, response.list).unwrap();
    let wanted = [
        EventType::EVENT_LOST,
        EventType::CERTIFICATE_CHANGED,
        EventType::MEASUREMENT_CHANGED,
    ];
    assert_eq!(types, Types::of(&wanted));
    for message in [vec![V.0, 0xe2, 0, 0], vec![V.0, 0xf0, 0, 0]] {
        let answer = hand.clear(&message).unwrap();
        assert_eq!(error_of(&answer), Some((ErrorCode::SESSION_REQUIRED, 0)));
    }
}

fn subscribe_to(hand: &mut ByHand, groups: &[Group<'_>]) -> Option<(ErrorCode, u8)> {
    let groups = Groups {
        groups: groups.to_vec(),
    };
    let mut list = Vec::new();
    groups.encode(&mut list);
    refusal(
        hand,
        &subscribe::Request {
            version: V,
            count: groups.count(),
            list: &list,
        },
    )
}

#[test]
fn a_session_is_told_of_what_it_subscribed_to() {
    let mut hand = live(V);
    hand.responder.notify(Dmtf::CertificateChanged(1));
    assert_eq!(hand.responder.sessions_with_events(), []);
    let certificates = Group::dmtf(&[EventType::CERTIFICATE_CHANGED]);
    assert_eq!(subscribe_to(&mut hand, &[certificates]), None);
    hand.responder.notify(Dmtf::MeasurementChanged([0; 32]));
    assert_eq!(hand.responder.sessions_with_events(), []);
    let id = hand.session.as_ref().unwrap().id;
    ask(&mut hand, &set(V, 1, Some(&chain())));
    assert_eq!(
        hand.responder.sessions_with_events(),
        [id],
        "a certificate has changed"
    );
    assert_eq!(subscribe_to(&mut hand, &[]), None);
    assert_eq!(hand.responder.sessions_with_events(), []);
    for wrong in [EventType::MEASUREMENT_PRE_UPDATE, EventType(9)] {
        assert_eq!(subscribe_to(&mut hand, &[Group::dmtf(&[wrong])]), INVALID);
    }
}

#[test]
fn a_session_that_outlives_a_change_of_measurements_is_told_of_it() {
    let mut hand = ByHand::agreed_in(V, usual(), Flags::EVENT, SIZES);
    hand.policy = 1;
    hand.key_exchange(7).unwrap();
    hand.finish();
    let id = hand.session.as_ref().unwrap().id;
    let measurements = Group::dmtf(&[EventType::MEASUREMENT_CHANGED]);
    assert_eq!(subscribe_to(&mut hand, &[measurements]), None);
    let mut now = responder_config().measurements;
    hand.responder.set_measurements(now.clone());
    assert_eq!(hand.responder.sessions_with_events(), [], "nothing has changed");
    now[1].value[0] ^= 1;
    hand.responder.set_measurements(now);
    assert_eq!(hand.responder.sessions_with_events(), [id]);
}

/// The one event that waits for a requester, which fetches and acknowledges it.
fn fetched(hand: &mut ByHand) -> Dmtf {
    let fetched = hand
        .secured(&[V.0, Code::GET_ENCAPSULATED_REQUEST.0, 0, 0])
        .unwrap();
    let (head, message) = fetched.split_at(4);
    let (told, _) = send_event::Request::decode(message, &Context::new(V)).unwrap();
    assert_eq!(told.events.len(), 1, "{told:?}");
    let event = told.events[0].dmtf().unwrap().unwrap();
    let deliver = [V.0, Code::DELIVER_ENCAPSULATED_RESPONSE.0, head[2], 0];
    let acknowledged = [&deliver[..], &[V.0, Code::EVENT_ACK.0, 0, 0]].concat();
    assert_eq!(
        hand.secured(&acknowledged).unwrap()[1],
        Code::ENCAPSULATED_RESPONSE_ACK.0
    );
    event
}

#[test]
fn an_event_says_which_slot_and_which_measurements_have_changed() {
    let config = ResponderConfig {
        encapsulated: true,
        ..usual()
    };
    let mut hand = ByHand::agreed_in(V, config, Flags::EVENT | Flags::ENCAP, SIZES);
    hand.policy = ALL_EVENTS | 1;
    hand.key_exchange(7).unwrap();
    hand.finish();
    ask(&mut hand, &set(V, 3, Some(&chain())));
    assert_eq!(fetched(&mut hand), Dmtf::CertificateChanged(1 << 3));
    let mut measurements = responder_config().measurements;
    measurements[0].value[0] ^= 1;
    let new = Measurement {
        index: 17,
        ..measurements[1].clone()
    };
    measurements.push(new);
    hand.responder.set_measurements(measurements);
    let mut changed = [0; 32];
    (changed[0], changed[2]) = (1 << 1, 1 << 1);
    assert_eq!(fetched(&mut hand), Dmtf::MeasurementChanged(changed));
    assert_eq!(hand.responder.sessions_with_events(), []);
}

#[test]
fn the_requesters_events_are_told_in_order_or_refused() {
    let mut hand = live(V);
    let event = |number| send_event::Event {
        number,
        registry: 0,
        vendor: &[],
        kind: 4,
        detail: &[2],
    };
    let say = |hand: &mut ByHand, numbers: &[u32]| {
        let events = numbers.iter().map(|number| event(*number)).collect();
        ask(hand, &send_event::Request { version: V, events })
    };
    assert_eq!(say(&mut hand, &[2, 1])[1], Code::EVENT_ACK.0);
    let told = std::iter::from_fn(|| hand.responder.poll_event()).last();
    let Some(Event::Told { events, .. }) = told else {
        panic!("{told:?}")
    };
    let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(events[0].what, What::Dmtf(Dmtf::CertificateChanged(2)));
    assert_eq!(error_of(&say(&mut hand, &[1, 3])), INVALID);
    let deaf = ResponderConfig {
        hears_events: false,
        ..usual()
    };
    let mut hand = live_with(V, deaf);
    let unsupported = Some((ErrorCode::UNSUPPORTED_REQUEST, Code::SEND_EVENT.0));
    assert_eq!(error_of(&say(&mut hand, &[1])), unsupported);
}

/// SessionPolicy: to be told of all events.
const ALL_EVENTS: u8 = 2;

#[test]
fn a_session_whose_policy_wants_all_events_is_told_of_them_from_its_start() {
    for version in [V, Version::V1_4] {
        let mut hand = ByHand::agreed_in(version, usual(), Flags::EVENT, SIZES);
        hand.policy = ALL_EVENTS;
        hand.key_exchange(7).unwrap();
        hand.responder.notify(Dmtf::CertificateChanged(1));
        hand.finish();
        assert_eq!(
            hand.responder.sessions_with_events(),
            [],
            "it was before the session"
        );
        hand.responder.notify(Dmtf::CertificateChanged(1));
        let id = hand.session.as_ref().unwrap().id;
        assert_eq!(hand.responder.sessions_with_events(), [id]);
    }
}

#[test]
fn a_session_on_a_pre_shared_key_whose_policy_wants_all_events_is_told_of_them() {
    let key = || Secret::new(vec![1; 32]);
    let mut config = usual();
    config.psk = Some(Psk {
        keys: Arc::new(move |_: &[u8]| Some(key())),
        context: true,
    });
    let mut hand = ByHand::agreed_in(V, config, Flags::EVENT | Flags::PSK, SIZES);
    let offered = hand.offered();
    let request = psk_exchange::Request {
        version: V,
        summary: Summary::NONE,
        policy: ALL_EVENTS,
        session: 7,
        hint: &[],
        psk_context: &[7; 32],
        opaque: &offered,
    };
    hand.psk_exchange(&request, &key());
    hand.psk_finish();
    hand.responder.notify(Dmtf::CertificateChanged(1));
    let id = hand.session.as_ref().unwrap().id;
    assert_eq!(hand.responder.sessions_with_events(), [id]);
}

#[test]
fn before_1_3_there_is_no_policy_that_wants_all_events() {
    let mut hand = ByHand::agreed_in(Version::V1_2, usual(), Flags(0), SIZES);
    hand.policy = ALL_EVENTS;
    hand.key_exchange(7).unwrap();
    hand.finish();
    hand.responder.notify(Dmtf::CertificateChanged(1));
    assert_eq!(hand.responder.sessions_with_events(), []);
}
