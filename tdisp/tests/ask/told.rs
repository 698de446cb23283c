//! What a device tells of itself when it is asked, and lies in it: its log, what it is, its events.

use super::{VERSIONS, asked, asking, classes, everything, log, pair, pair_of};
use crate::harness::{Pair, responder_config};
use tdisp::spdm::{
    Error, Event, Misbehaviour, Misuse, RequesterConfig, ResponderConfig,
    events::Types,
    msg::{Version, event_types::EventType, send_event::Dmtf},
    requester::CsrWish,
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
}
