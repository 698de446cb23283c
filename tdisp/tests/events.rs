//! Events: what is told, in which order, and what is told of what could not be.

#![allow(clippy::unwrap_used, reason = "a test may")]

use tdisp::spdm::{
    events::{Event, QUEUE_MAX, Subscription, Types, What, received},
    msg::{
        Context, Payload, Version,
        event_types::{EventType, Group, Groups},
        send_event::{self, Dmtf},
    },
};

const ROOM: usize = 4096;

fn changed(slot: u8) -> Dmtf {
    Dmtf::CertificateChanged(1 << slot)
}

fn subscription() -> Subscription {
    let mut subscription = Subscription::default();
    subscription.set(Types::ALL);
    subscription
}

/// The next message's events.
fn next(subscription: &mut Subscription, room: usize) -> Option<Vec<Event>> {
    let message = subscription.next(Version::V1_3, room)?;
    assert!(message.len() <= room.max(60));
    let request = send_event::Request::decode_exact(&message, &Context::new(Version::V1_3)).unwrap();
    Some(received(&request).unwrap())
}

fn numbers(events: &[Event]) -> Vec<u32> {
    events.iter().map(|event| event.number).collect()
}

#[test]
fn events_are_numbered_and_told_until_they_are_acknowledged() {
    let mut subscription = subscription();
    assert_eq!(next(&mut subscription, ROOM), None);
    subscription.notify(changed(1));
    subscription.notify(changed(2));
    let first = next(&mut subscription, ROOM).unwrap();
    assert_eq!(numbers(&first), [1, 2]);
    assert_eq!(first[1].what, What::Dmtf(changed(2)));
    subscription.notify(changed(3));
    assert_eq!(
        numbers(&next(&mut subscription, ROOM).unwrap()),
        [1, 2, 3],
        "once more"
    );
    subscription.acknowledged();
    assert_eq!(next(&mut subscription, ROOM), None);
    subscription.acknowledged();
    subscription.notify(changed(4));
    assert_eq!(numbers(&next(&mut subscription, ROOM).unwrap()), [4]);
}

#[test]
fn only_what_was_subscribed_to_is_told() {
    let mut subscription = Subscription::default();
    subscription.notify(changed(1));
    assert!(!subscription.is_pending());
    subscription.set(Types::of(&[EventType::MEASUREMENT_CHANGED]));
    subscription.notify(changed(1));
    assert!(!subscription.is_pending());
    subscription.notify(Dmtf::MeasurementChanged([1; 32]));
    assert!(subscription.is_pending());
    subscription.set(Types::default());
    assert!(!subscription.is_pending());
}

#[test]
fn a_message_has_as_many_events_as_fit_and_at_least_one() {
    let mut subscription = subscription();
    (0..4).for_each(|slot| subscription.notify(changed(slot)));
    assert_eq!(numbers(&next(&mut subscription, 8 + 2 * 15).unwrap()), [1, 2]);
    subscription.acknowledged();
    assert_eq!(numbers(&next(&mut subscription, 8 + 2 * 15 - 1).unwrap()), [3]);
    subscription.acknowledged();
    assert_eq!(numbers(&next(&mut subscription, 0).unwrap()), [4]);
}

#[test]
fn events_that_find_no_room_are_lost_and_that_is_told_after_the_others() {
    let mut subscription = subscription();
    (0..QUEUE_MAX + 3).for_each(|_| subscription.notify(changed(0)));
    let told = next(&mut subscription, ROOM).unwrap();
    assert_eq!(numbers(&told), (1..=QUEUE_MAX as u32).collect::<Vec<_>>());
    subscription.acknowledged();
    let last = QUEUE_MAX as u32 + 3;
    let told = next(&mut subscription, ROOM).unwrap();
    let acknowledged = QUEUE_MAX as u32;
    assert_eq!(
        told,
        [Event {
            number: last + 1,
            what: What::Dmtf(Dmtf::Lost { acknowledged, last })
        }]
    );
    subscription.acknowledged();
    subscription.notify(changed(0));
    assert_eq!(numbers(&next(&mut subscription, ROOM).unwrap()), [last + 2]);
}

fn message<'a>(numbers: &[u32], kind: u16, detail: &'a [u8]) -> send_event::Request<'a> {
    let event = |number: &u32| send_event::Event {
        number: *number,
        registry: 0,
        vendor: &[],
        kind,
        detail,
    };
    send_event::Request {
        version: Version::V1_3,
        events: numbers.iter().map(event).collect(),
    }
}

#[test]
fn events_out_of_order_are_put_into_it_and_a_gap_or_a_repetition_is_refused() {
    let read = |numbers: &[u32]| received(&message(numbers, 4, &[1])).map(|events| self::numbers(&events));
    assert_eq!(read(&[3, 1, 2]), Ok(vec![1, 2, 3]));
    assert_eq!(read(&[u32::MAX, u32::MAX - 1]), Ok(vec![u32::MAX - 1, u32::MAX]));
    for numbers in [&[1, 3][..], &[1, 1], &[1, 2, 2], &[0, u32::MAX], &[2, 4, 3, 6]] {
        assert!(read(numbers).is_err(), "{numbers:?}");
    }
}

#[test]
fn an_event_of_the_dmtfs_that_is_none_is_refused_and_anothers_is_passed_on() {
    assert!(received(&message(&[1], 5, &[1])).is_err());
    assert!(received(&message(&[1], 4, &[1, 2])).is_err());
    let mut others = message(&[1], 500, &[7]);
    (others.events[0].registry, others.events[0].vendor) = (3, &[1, 0]);
    let What::Other {
        registry: 3,
        kind: 500,
        ..
    } = received(&others).unwrap()[0].what
    else {
        panic!()
    };
}

fn list(groups: &[Group<'_>]) -> (u8, Vec<u8>) {
    let groups = Groups {
        groups: groups.to_vec(),
    };
    let mut list = Vec::new();
    groups.encode(&mut list);
    (groups.count(), list)
}

#[test]
fn a_subscription_is_to_types_that_are_offered_and_to_nothing_else() {
    let offered = Types::of(&[EventType::EVENT_LOST, EventType::CERTIFICATE_CHANGED]);
    let subscribed = |group: Group<'_>| {
        let (count, list) = list(&[group]);
        offered.subscribed(count, &list)
    };
    let lost = Group::dmtf(&[EventType::EVENT_LOST]);
    assert_eq!(subscribed(lost.clone()), Ok(Types::of(&[EventType::EVENT_LOST])));
    assert_eq!(
        subscribed(Group {
            all: true,
            ..Group::dmtf(&[])
        }),
        Ok(offered)
    );
    for (what, group) in [
        (
            "a type not offered",
            Group::dmtf(&[EventType::EVENT_LOST, EventType::MEASUREMENT_CHANGED]),
        ),
        ("an unknown type", Group::dmtf(&[EventType(0x1001)])),
        ("no type", Group::dmtf(&[])),
        (
            "all, and a type",
            Group {
                all: true,
                ..lost.clone()
            },
        ),
        (
            "another body's",
            Group {
                registry: 3,
                vendor: &[1, 0],
                ..lost.clone()
            },
        ),
        ("another version", Group { revision: 2, ..lost }),
    ] {
        assert!(subscribed(group).is_err(), "{what}");
    }
}

#[test]
fn types_make_the_list_that_they_are_read_from() {
    let types = Types::of(&[EventType::EVENT_LOST, EventType::MEASUREMENT_PRE_UPDATE]);
    let (count, list) = types.to_list();
    assert_eq!((count, Types::offered(count, &list)), (1, Ok(types)));
    assert_eq!(Types::default().to_list(), (0, vec![]));
    assert_eq!(
        Types::of(&[EventType(0), EventType(9), EventType(u16::MAX)]),
        Types::default()
    );
}

#[test]
fn what_happens_while_a_loss_is_still_to_be_told_is_lost_with_it() {
    let mut subscription = subscription();
    (0..=QUEUE_MAX).for_each(|_| subscription.notify(changed(1)));
    assert!(next(&mut subscription, 100).unwrap().len() < QUEUE_MAX);
    subscription.acknowledged();
    subscription.notify(changed(2));
    let mut told = Vec::new();
    while let Some(events) = next(&mut subscription, ROOM) {
        told.extend(events);
        subscription.acknowledged();
    }
    let acknowledged = QUEUE_MAX as u32;
    let last = acknowledged + 2;
    let lost = Dmtf::Lost { acknowledged, last };
    assert_eq!(told.last().unwrap().what, What::Dmtf(lost));
}
