//! What a device tells of itself when it is asked, and lies in it: its log, what it is, its events.

use super::{VERSIONS, asked, asking, chain, classes, everything, for_challenges, log, pair, pair_of, slot};
use crate::harness::{Pair, responder_config};
use tdisp::{
    clock::Instant,
    doe::Object,
    spdm::{
        Error, Event, Misbehaviour, Misuse, Requester, RequesterConfig, ResponderConfig,
        events::{Subscription, Types},
        msg::{Context, Payload, Version, event_types::EventType, mel, send_event::Dmtf},
        requester::CsrWish,
    },
};

/// A pair whose requester takes no more than this at once.
fn pair_of_size(transfer_size: u32) -> Pair {
    let asking = RequesterConfig {
        transfer_size,
        ..asking(Version::V1_3)
    };
    pair_of(asking, everything())
}

#[test]
fn a_log_is_fetched_in_as_many_portions_as_it_takes() {
    for transfer_size in [0x1200, 0x200] {
        let mut pair = pair_of_size(transfer_size);
        for session in [pair.requester.session(), None] {
            pair.requester.measurement_log(pair.now, session).unwrap();
            assert_eq!(asked(&mut pair), Event::MeasurementLog(log()));
        }
    }
}

/// Immunity: an attacker's length of 0 had a requester ask for ever.
#[test]
fn empty_or_growing_portions_of_a_log_end_the_connection() {
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, Spoil); 5] = [
        ("an empty portion", |body| {
            body[4..8].fill(0);
            body.truncate(12);
        }),
        ("a portion beyond what came", |body| body[5] = 0xff),
        ("a huge portion", |body| body[4..8].fill(0xff)),
        ("a huge remainder", |body| body[8..12].fill(0xff)),
        ("another remainder", |body| body[8] ^= 1),
    ];
    for (what, spoil) in spoils {
        let mut pair = pair_of_size(0x200);
        let mut seen = 0;
        pair.bend = Some(Box::new(move |body| {
            seen += 1;
            if seen == 2 {
                spoil(body);
            }
        }));
        pair.requester.measurement_log(pair.now, None).unwrap();
        let told = asked(&mut pair);
        assert!(matches!(told, Event::Failed(_)), "{what}: {told:?}");
    }
}

#[test]
fn endpoint_info_is_told_and_its_signature_checked() {
    let mut pair = pair(Version::V1_3);
    for (session, nonce) in [
        (pair.requester.session(), Some([7; 32])),
        (None, Some([8; 32])),
        (None, None),
    ] {
        pair.requester.endpoint_info(pair.now, session, nonce).unwrap();
        let wanted = Event::EndpointInfo {
            info: classes(),
            signed: nonce.is_some(),
        };
        assert_eq!(asked(&mut pair), wanted);
    }
}

#[test]
fn a_wrong_signature_of_endpoint_info_ends_the_connection() {
    let mut pair = pair(Version::V1_3);
    pair.bend = Some(Box::new(|body| {
        let last = body.iter().rposition(|byte| *byte != 0).unwrap();
        body[last] ^= 1;
    }));
    pair.requester
        .endpoint_info(pair.now, None, Some([7; 32]))
        .unwrap();
    let failed = asked(&mut pair);
    assert!(
        matches!(
            failed,
            Event::Failed(Error::Peer {
                what: Misbehaviour::BadSignature,
                ..
            })
        ),
        "{failed:?}"
    );
}

#[test]
fn event_types_are_told_and_subscribed_to() {
    let mut pair = pair(Version::V1_3);
    let session = pair.requester.session().unwrap();
    pair.requester.event_types(pair.now, session).unwrap();
    assert_eq!(asked(&mut pair), Event::EventTypes(Types::ALL));
    let types = Types::of(&[EventType::CERTIFICATE_CHANGED]);
    pair.requester.subscribe(pair.now, session, types).unwrap();
    assert_eq!(asked(&mut pair), Event::Subscribed(types));
    pair.responder.notify(Dmtf::CertificateChanged(1));
    assert_eq!(pair.responder.sessions_with_events(), [session]);
}

#[test]
fn what_the_responder_has_not_is_not_asked_for() {
    let lacks = |what| Err(Misuse::Lacks { what });
    for version in VERSIONS {
        let bare = ResponderConfig {
            versions: vec![version],
            ..responder_config()
        };
        let mut pair = pair_of(asking(version), bare);
        let (now, session) = (pair.now, pair.requester.session());
        let requester = &mut pair.requester;
        assert_eq!(
            requester.get_csr(now, session, CsrWish::default()),
            lacks("CSR_CAP")
        );
        assert_eq!(
            requester.get_key_pair_info(now, session, 1),
            lacks("GET_KEY_PAIR_INFO_CAP")
        );
        assert_eq!(requester.measurement_log(now, None), lacks("MEL_CAP"));
        assert_eq!(requester.endpoint_info(now, None, None), lacks("EP_INFO_CAP"));
        assert_eq!(requester.event_types(now, session.unwrap()), lacks("EVENT_CAP"));
        assert_eq!(requester.event_types(now, 7), Err(Misuse::NoSession));
    }
    let mut old = pair(Version::V1_2);
    assert_eq!(old.requester.measurement_log(old.now, None), lacks("MEL_CAP"));
    let session = old.requester.session().unwrap();
    let mut told = Subscription::default();
    told.set(Types::ALL);
    told.notify(Dmtf::CertificateChanged(1));
    assert_eq!(
        old.requester.tell_events(old.now, session, &mut told),
        Err(Misuse::Lacks { what: "EVENT_CAP" })
    );
}

#[test]
fn no_more_of_a_log_is_asked_for_than_there_is_room_for_and_than_is_left() {
    let mut pair = pair_of_size(0x200);
    pair.carried.clear();
    pair.requester.measurement_log(pair.now, None).unwrap();
    assert_eq!(asked(&mut pair), Event::MeasurementLog(log()));
    let requests = pair.carried.iter().filter_map(|object| {
        let body = Object::decode(object).unwrap().body;
        mel::Request::decode(body, &Context::new(Version::V1_3)).ok()
    });
    let lengths: Vec<_> = requests.map(|(request, _)| request.length as usize).collect();
    let room = 0x200 - 12;
    let last = log().len() - room * (lengths.len() - 1);
    assert!(lengths.len() > 1 && last < room);
    assert!(lengths[..lengths.len() - 1].iter().all(|length| *length == room));
    assert_eq!(lengths.last(), Some(&last));
}

/// Else there would be a million of them.
#[test]
fn a_portion_of_a_log_behind_which_others_follow_is_not_a_few_bytes() {
    let mut pair = pair_of_size(0x200);
    pair.bend = Some(Box::new(|body| {
        let field = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
        let whole = field(4) + field(8);
        body[4..8].copy_from_slice(&1u32.to_le_bytes());
        body[8..12].copy_from_slice(&(whole - 1).to_le_bytes());
        body.truncate(13);
    }));
    pair.requester.measurement_log(pair.now, None).unwrap();
    let told = asked(&mut pair);
    let what = |event: &Event| match event {
        Event::Failed(Error::Peer { what, .. }) => Some(what.clone()),
        _ => None,
    };
    assert!(
        matches!(what(&told), Some(Misbehaviour::Portion { portion: 1, .. })),
        "{told:?}"
    );
}

#[test]
fn an_answer_about_another_slot_or_key_pair_than_was_asked_about_ends_the_connection() {
    type Ask = fn(&mut Requester, Instant) -> Result<(), Misuse>;
    type Spoil = fn(&mut Vec<u8>);
    let cases: [(&str, Ask, Spoil); 3] = [
        (
            "slot of ENDPOINT_INFO",
            |requester, now| requester.endpoint_info(now, None, Some([7; 32])),
            |body| body[3] ^= 1,
        ),
        (
            "slot of SET_CERTIFICATE_RSP",
            |requester, now| requester.set_certificate(now, None, slot(2, Some(chain()))),
            |body| body[2] ^= 1,
        ),
        (
            "key pair ID of KEY_PAIR_INFO",
            |requester, now| requester.get_key_pair_info(now, None, 1),
            |body| body[5] ^= 1,
        ),
    ];
    for (field, ask, spoil) in cases {
        let mut config = everything();
        config.provisioning.trusted_environment = true;
        let mut pair = pair_of(asking(Version::V1_3), config);
        pair.bend = Some(Box::new(spoil));
        ask(&mut pair.requester, pair.now).unwrap();
        let told = asked(&mut pair);
        let Event::Failed(Error::Peer {
            what: Misbehaviour::Inconsistent { what, .. },
            ..
        }) = told
        else {
            panic!("{field}: {told:?}")
        };
        assert_eq!(what, field);
    }
}

#[test]
fn answers_that_are_malformed_within_or_go_on_behind_their_end_tell_nothing() {
    let classes_beyond_the_end = |body: &mut Vec<u8>| body[12] += 1;
    let more = |body: &mut Vec<u8>| body.push(1);
    let mut info = pair(Version::V1_3);
    info.bend = Some(Box::new(classes_beyond_the_end));
    info.requester.endpoint_info(info.now, None, None).unwrap();
    assert!(matches!(asked(&mut info), Event::Failed(_)));
    let mut keys = pair(Version::V1_3);
    keys.bend = Some(Box::new(more));
    keys.requester
        .set_key_pair_info(keys.now, None, for_challenges())
        .unwrap();
    assert!(matches!(asked(&mut keys), Event::Failed(_)));
}

#[test]
fn endpoint_info_is_signed_with_the_slot_that_is_asked_for() {
    let mut config = everything();
    config.key_pairs = None;
    config.slots[2] = config.slots[0].clone();
    let asking = RequesterConfig {
        slot: 2,
        ..asking(Version::V1_3)
    };
    let mut pair = pair_of(asking, config);
    pair.requester
        .endpoint_info(pair.now, None, Some([7; 32]))
        .unwrap();
    let wanted = Event::EndpointInfo {
        info: classes(),
        signed: true,
    };
    assert_eq!(asked(&mut pair), wanted);
}
