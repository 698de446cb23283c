//! What the responder asks of a requester in its turn, and the events that either tells the other.

use super::{asked, asking, classes, endpoint_info, everything, pair, pair_of};
use crate::harness::{Identity, Pair, requester, responder};
use std::sync::Arc;
use tdisp::{
    crypto::{CryptoError, HashAlg, RingSigner, SignAlg, Signable, Signer},
    doe::Object,
    spdm::{
        Event, Identity as Own, Misbehaviour, Misuse, RequesterConfig, ResponderConfig, Trust,
        events::{Subscription, Types, What},
        msg::{
            Code, Context, Payload, Version,
            capabilities::{self, Flags},
            endpoint_info::{Request, Signed, Subject},
            error::ErrorCode,
            event_types::{self, EventType},
            send_event::{self, Dmtf},
            subscribe,
        },
        responder::{Delay, Event as Told, Mutual, Slot, Wait},
        signing,
    },
};

#[test]
fn events_of_the_requesters_are_told_and_acknowledged() {
    let config = ResponderConfig {
        hears_events: true,
        ..everything()
    };
    let asking = RequesterConfig {
        events: Types::ALL,
        ..asking(Version::V1_3)
    };
    let mut pair = pair_of(asking, config);
    let session = pair.requester.session().unwrap();
    let mut told = Subscription::default();
    assert_eq!(
        pair.requester.tell_events(pair.now, session, &mut told),
        Ok(false)
    );
    told.set(Types::ALL);
    told.notify(Dmtf::CertificateChanged(4));
    assert_eq!(pair.requester.tell_events(pair.now, session, &mut told), Ok(true));
    assert_eq!(asked(&mut pair), Event::EventsTold);
    told.acknowledged();
    assert!(!told.is_pending());
    let heard = pair.responder_events.pop();
    assert!(
        matches!(heard, Some(Told::Told { events, .. }) if events[0].what == What::Dmtf(Dmtf::CertificateChanged(4)))
    );
}

/// Both ends know each other, and the responder may ask.
fn mutual_pair(version: Version) -> Pair {
    mutual_pair_signing(version, Identity::usual().signer.clone())
}

/// Such two whose requester signs so.
fn mutual_pair_signing(version: Version, signer: Arc<dyn Signer>) -> Pair {
    let (asking, answering) = mutual(version, signer);
    pair_of(asking, answering)
}

fn mutual(version: Version, signer: Arc<dyn Signer>) -> (RequesterConfig, ResponderConfig) {
    let usual = Identity::usual();
    let mut slots = [const { None }; 8];
    slots[0] = Some(Slot::new(usual.chain.clone(), signer));
    let mut asking = RequesterConfig {
        identity: Some(Own {
            slots,
            ..Own::default()
        }),
        encapsulated: true,
        endpoint_info: Some(endpoint_info()),
        events: Types::of(&[EventType::CERTIFICATE_CHANGED]),
        ..asking(version)
    };
    asking.offer.requester_sign = vec![SignAlg::EcdsaP384];
    let mut answering = ResponderConfig {
        mutual: Some(Mutual::new(Trust::Pinned(vec![usual.root]))),
        encapsulated: true,
        hears_events: true,
        ..everything()
    };
    answering.offer.requester_sign = vec![SignAlg::EcdsaP384];
    (asking, answering)
}

/// Has the requester fetch what the responder asks, and answer.
fn fetch(pair: &mut Pair) {
    let session = pair.requester.session().unwrap();
    pair.requester.fetch_requests(pair.now, session).unwrap();
    pair.run();
}

#[test]
fn events_go_to_the_requester_when_it_fetches_them_and_once() {
    for version in [Version::V1_3, Version::V1_4] {
        let mut pair = mutual_pair(version);
        let session = pair.requester.session().unwrap();
        pair.requester.subscribe(pair.now, session, Types::ALL).unwrap();
        asked(&mut pair);
        pair.responder.notify(Dmtf::CertificateChanged(1));
        pair.responder.notify(Dmtf::MeasurementPreUpdate([3; 32]));
        fetch(&mut pair);
        let Event::Told { events, .. } = pair.requester_events.remove(0) else {
            panic!()
        };
        let told: Vec<_> = events
            .into_iter()
            .map(|event| (event.number, event.what))
            .collect();
        let wanted = [
            (1, What::Dmtf(Dmtf::CertificateChanged(1))),
            (2, What::Dmtf(Dmtf::MeasurementPreUpdate([3; 32]))),
        ];
        assert_eq!(told, wanted);
        assert_eq!(pair.responder.sessions_with_events(), []);
        pair.requester_events.clear();
        fetch(&mut pair);
        let nothing = Event::Refused {
            awaited: Code::ENCAPSULATED_REQUEST,
            code: ErrorCode::NO_PENDING_REQUESTS,
            data: 0,
        };
        assert_eq!(pair.requester_events, [nothing]);
    }
}

#[test]
fn more_events_than_there_is_room_for_are_told_as_lost() {
    let mut pair = mutual_pair(Version::V1_3);
    let session = pair.requester.session().unwrap();
    pair.requester.subscribe(pair.now, session, Types::ALL).unwrap();
    asked(&mut pair);
    (0..100).for_each(|_| pair.responder.notify(Dmtf::CertificateChanged(1)));
    let mut told = Vec::new();
    while !pair.responder.sessions_with_events().is_empty() {
        fetch(&mut pair);
        for event in pair.requester_events.drain(..) {
            if let Event::Told { events, .. } = event {
                told.extend(events);
            }
        }
    }
    let last = told.pop().unwrap();
    let acknowledged = told.len() as u32;
    assert_eq!(
        last.what,
        What::Dmtf(Dmtf::Lost {
            acknowledged,
            last: 100
        })
    );
    assert_eq!(last.number, 101);
}

#[test]
fn what_a_requester_is_is_told_and_its_signature_checked() {
    for version in [Version::V1_3, Version::V1_4] {
        let mut pair = mutual_pair(version);
        let session = pair.requester.session().unwrap();
        for nonce in [None, Some([9; 32])] {
            pair.responder.ask_endpoint_info(session, nonce).unwrap();
            fetch(&mut pair);
            let wanted = Told::RequesterEndpointInfo {
                session,
                info: classes(),
                signed: nonce.is_some(),
            };
            assert_eq!(
                pair.responder_events.pop(),
                Some(wanted),
                "{:?}",
                pair.requester_events
            );
        }
    }
    // Who has not shown who it is cannot sign.
    let mut anonymous = pair(Version::V1_3);
    let session = anonymous.requester.session().unwrap();
    let refused = anonymous.responder.ask_endpoint_info(session, Some([9; 32]));
    assert_eq!(refused, Err(Misuse::NoIdentity));
}

/// Signs as its owner does, but what that says of itself: then something else.
struct Untrue(Arc<RingSigner>);

impl Signer for Untrue {
    fn algorithm(&self) -> SignAlg {
        self.0.algorithm()
    }

    fn signs_with(&self, hash: HashAlg) -> bool {
        self.0.signs_with(hash)
    }

    fn sign(&self, what: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        match what.context == signing::Context::RequesterEndpointInfo.text().as_bytes() {
            true => self.0.sign(&Signable::plain(what.hash, b"something else")),
            false => self.0.sign(what),
        }
    }
}

#[test]
fn a_wrong_signature_of_what_a_requester_is_is_refused_and_nothing_is_told() {
    for version in [Version::V1_3, Version::V1_4] {
        let signer = Untrue(Identity::usual().signer.clone());
        let mut pair = mutual_pair_signing(version, Arc::new(signer));
        let session = pair.requester.session().unwrap();
        pair.responder.ask_endpoint_info(session, Some([9; 32])).unwrap();
        fetch(&mut pair);
        let wanted = Told::RequesterRefused {
            session: None,
            why: Misbehaviour::BadSignature,
        };
        assert_eq!(pair.responder_events, [wanted], "{:?}", pair.requester_events);
    }
}

#[test]
fn a_requester_says_that_it_signs_what_it_is_if_it_is_to_and_has_a_key() {
    let told = |signed, with_key| {
        let usual = Identity::usual();
        let mut identity = Own::default();
        identity.slots[0] = Some(Slot::new(usual.chain.clone(), usual.signer.clone()));
        let mut info = endpoint_info();
        info.signed = signed;
        let asking = RequesterConfig {
            identity: Some(identity).filter(|_| with_key),
            encapsulated: true,
            endpoint_info: Some(info),
            ..asking(Version::V1_3)
        };
        let mut pair = Pair::of(requester(asking), responder(everything()));
        pair.connect();
        let said = pair.carried.iter().find_map(|object| {
            let body = Object::decode(object).unwrap().body;
            capabilities::Request::decode(body, &Context::new(Version::V1_3)).ok()
        });
        said.unwrap()
            .0
            .flags
            .and(Flags::EP_INFO_SIG | Flags::EP_INFO_NO_SIG)
    };
    assert_eq!(told(true, true), Flags::EP_INFO_SIG);
    for (signed, with_key) in [(true, false), (false, true), (false, false)] {
        assert_eq!(
            told(signed, with_key),
            Flags::EP_INFO_NO_SIG,
            "{signed} {with_key}"
        );
    }
}

#[test]
fn a_requester_that_is_not_to_sign_what_it_is_does_not() {
    let version = Version::V1_3;
    let usual = Identity::usual();
    let mut identity = Own::default();
    identity.slots[0] = Some(Slot::new(usual.chain.clone(), usual.signer.clone()));
    let mut info = endpoint_info();
    info.signed = false;
    let unsigned = RequesterConfig {
        identity: Some(identity),
        encapsulated: true,
        endpoint_info: Some(info),
        ..asking(version)
    };
    let answering = ResponderConfig {
        encapsulated: true,
        ..everything()
    };
    let mut pair = pair_of(unsigned, answering);
    let request = Request {
        version,
        subject: Subject::DEVICE_CLASS,
        signed: Some(Signed {
            nonce: [1; 32],
            slot: 0,
        }),
    };
    let refused = answer(&mut pair, &request.to_vec());
    let (code, data) = (ErrorCode::UNSUPPORTED_REQUEST.0, Code::GET_ENDPOINT_INFO.0);
    assert_eq!(refused[1..], [Code::ERROR.0, code, data]);
}

/// The answer of the requester's to a request of the responder's.
fn answer(pair: &mut Pair, request: &[u8]) -> Vec<u8> {
    let session = pair.requester.session().unwrap();
    pair.responder.ask(session, request).unwrap();
    fetch(pair);
    match pair.responder_events.pop() {
        Some(Told::Answered { response, .. }) => response,
        other => panic!("{other:?} {:?}", pair.requester_events),
    }
}

#[test]
fn a_responder_subscribes_to_the_requesters_events() {
    let version = Version::V1_3;
    let mut pair = mutual_pair(version);
    let session = pair.requester.session().unwrap();
    let supported = answer(&mut pair, &event_types::Request { version }.to_vec());
    let response = event_types::Response::decode_exact(&supported, &Context::new(version)).unwrap();
    let types = Types::offered(response.count, response.list).unwrap();
    assert_eq!(
        types,
        Types::of(&[EventType::EVENT_LOST, EventType::CERTIFICATE_CHANGED])
    );
    let (count, list) = types.to_list();
    let list = &list;
    let ack = answer(&mut pair, &subscribe::Request { version, count, list }.to_vec());
    assert_eq!(ack, [0x13, Code::SUBSCRIBE_EVENT_TYPES_ACK.0, 0, 0]);
    assert!(pair.requester_events.contains(&Event::Wanted { session, types }));
    let (count, list) = Types::ALL.to_list();
    let list = &list;
    let refused = answer(&mut pair, &subscribe::Request { version, count, list }.to_vec());
    assert_eq!(refused[1..3], [Code::ERROR.0, ErrorCode::INVALID_REQUEST.0]);
}

#[test]
fn a_requester_refuses_what_it_has_not_and_what_is_malformed() {
    let version = Version::V1_3;
    let mut pair = mutual_pair(version);
    let ask = |subject, signed| {
        Request {
            version,
            subject: Subject(subject),
            signed,
        }
        .to_vec()
    };
    let signed = |slot| Some(Signed { nonce: [1; 32], slot });
    for request in [
        ask(2, None),
        ask(1, signed(3)),
        ask(1, signed(0x0f)),
        vec![0x13, 0x87, 1, 0],
        vec![0x13, 0xe2, 0, 0, 1],
    ] {
        let refused = answer(&mut pair, &request);
        assert_eq!(
            refused[1..3],
            [Code::ERROR.0, ErrorCode::INVALID_REQUEST.0],
            "{request:02x?}"
        );
    }
    let usual = RequesterConfig {
        encapsulated: true,
        ..asking(version)
    };
    let answering = ResponderConfig {
        encapsulated: true,
        ..everything()
    };
    let mut bare = pair_of(usual, answering);
    for request in [ask(1, None), vec![0x13, 0xe2, 0, 0], vec![0x13, 0xf0, 0, 0]] {
        let refused = answer(&mut bare, &request);
        assert_eq!(
            refused[1..],
            [Code::ERROR.0, ErrorCode::UNSUPPORTED_REQUEST.0, request[1]]
        );
    }
}

/// What goes on behind a request's end is not overlooked where the request changes something.
#[test]
fn new_keys_and_events_that_go_on_behind_their_end_are_the_last_that_a_requester_hears() {
    let event = send_event::Event {
        number: 1,
        registry: 0,
        vendor: &[],
        kind: 4,
        detail: &[1],
    };
    let version = Version::V1_3;
    let told = send_event::Request {
        version,
        events: vec![event],
    };
    let new_keys = vec![version.0, Code::KEY_UPDATE.0, 1, 7];
    for request in [new_keys, told.to_vec()] {
        let mut pair = mutual_pair(version);
        let session = pair.requester.session().unwrap();
        let spoiled = [&request[..], &[0, 0, 1]].concat();
        pair.responder.ask(session, &spoiled).unwrap();
        fetch(&mut pair);
        assert!(pair.failure().is_some(), "{:?}", pair.requester_events);
        let told = |event: &Event| matches!(event, Event::Told { .. } | Event::KeysUpdated);
        assert!(!pair.requester_events.iter().any(told));
    }
}

/// The requester is asked what it is, and its signature of that is good.
fn signs_what_it_is(pair: &mut Pair) {
    let session = pair.requester.session().unwrap();
    pair.responder.ask_endpoint_info(session, Some([9; 32])).unwrap();
    fetch(pair);
    let wanted = Told::RequesterEndpointInfo {
        session,
        info: classes(),
        signed: true,
    };
    assert_eq!(pair.responder_events, [wanted], "{:?}", pair.requester_events);
}

/// What carries a conversation goes on in it: chunks both ways, and an answer that is asked for again.
#[test]
fn questions_and_their_answers_pass_in_chunks_and_to_a_responder_that_takes_its_time() {
    let delay = Delay {
        code: Code::DELIVER_ENCAPSULATED_RESPONSE,
        how: Wait::NotReady {
            exponent: 10,
            multiplier: 4,
        },
    };
    for (transfer_size, delays) in [(64, vec![]), (0x1200, vec![delay])] {
        let (mut asking, mut answering) = mutual(Version::V1_3, Identity::usual().signer.clone());
        (asking.transfer_size, answering.transfer_size) = (transfer_size, transfer_size);
        (asking.chunk, answering.chunk) = (Some(0x2_0000), Some(0x2_0000));
        answering.delays = delays;
        let mut pair = pair_of(asking, answering);
        signs_what_it_is(&mut pair);
    }
}

#[test]
fn a_requester_signs_what_it_is_with_the_slot_that_it_has_shown() {
    let (mut asking, answering) = mutual(Version::V1_3, Identity::usual().signer.clone());
    let slots = &mut asking.identity.as_mut().unwrap().slots;
    slots.swap(0, 6);
    let mut pair = pair_of(asking, answering);
    signs_what_it_is(&mut pair);
}
