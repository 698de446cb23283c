//! Messages that are larger than either end takes at once, both ways.

use super::{VERSIONS, asked, chain, pair_of, slot, small};
use crate::harness::{Identity, Pair, requester, responder};
use tdisp::spdm::{
    Event, Misuse,
    msg::{Code, Version, error::ErrorCode},
    requester::CsrWish,
    responder::{Delay, Wait},
};

#[test]
fn everything_is_said_in_chunks_as_small_as_they_go() {
    for version in VERSIONS {
        // NEGOTIATE_ALGORITHMS and ALGORITHMS come before chunks.
        for (ours, theirs) in [(64, 0x1200), (0x1200, 64), (64, 64)] {
            let (asking, answering) = small(version, ours, theirs);
            let mut pair = Pair::of(requester(asking), responder(answering));
            pair.say_everything();
            assert_eq!(pair.failure(), None, "{version} {ours} {theirs}");
            let measured = pair.requester_events.iter().find_map(|event| match event {
                Event::Measurements(record) => Some(record),
                _ => None,
            });
            let (_, message) = measured.unwrap().blob.split_at(0);
            assert!(message.len() > 1500, "{version} {ours} {theirs}");
            assert!(pair.requester_events.contains(&Event::SessionEnded));
        }
    }
}

#[test]
fn large_requests_and_their_large_answers_pass_in_a_session() {
    for version in VERSIONS {
        let (asking, answering) = small(version, 300, 200);
        let mut pair = pair_of(asking, answering);
        let payload: Vec<u8> = (0..20_000u32).map(|at| at as u8).collect();
        pair.requester.vendor(pair.now, &payload).unwrap();
        let Event::Vendor(answer) = asked(&mut pair) else {
            panic!()
        };
        let backwards: Vec<u8> = payload[..1]
            .iter()
            .chain(payload[1..].iter().rev())
            .copied()
            .collect();
        assert_eq!(answer, backwards);
        let wish = slot(1, Some(chain()));
        assert!(chain().len() > 200);
        let session = pair.requester.session();
        pair.requester.set_certificate(pair.now, session, wish).unwrap();
        assert_eq!(asked(&mut pair), Event::CertificateSet { slot: 1 });
        pair.requester
            .get_csr(pair.now, session, CsrWish::default())
            .unwrap();
        assert!(matches!(asked(&mut pair), Event::Csr(_)));
    }
}

#[test]
fn vendor_messages_beyond_64_kib_pass_in_1_4() {
    let (asking, answering) = small(Version::V1_4, 0x1000, 0x1000);
    let mut pair = pair_of(asking, answering);
    let payload = vec![9; 0x1_8000];
    pair.requester.vendor(pair.now, &payload).unwrap();
    assert_eq!(asked(&mut pair), Event::Vendor(payload));
    let (asking, answering) = small(Version::V1_3, 0x1000, 0x1000);
    let mut pair = pair_of(asking, answering);
    let refused = pair.requester.vendor(pair.now, &vec![9; 0x1_0000]);
    assert!(
        matches!(refused, Err(Misuse::TooLong { max: 0xffff, .. })),
        "{refused:?}"
    );
}

#[test]
fn what_is_larger_than_the_responder_takes_at_all_is_not_sent() {
    let (asking, mut answering) = small(Version::V1_2, 0x1000, 0x200);
    answering.chunk = Some(0x400);
    let mut pair = pair_of(asking, answering);
    let refused = pair.requester.vendor(pair.now, &[9; 0x400]);
    assert!(matches!(refused, Err(Misuse::TooLong { .. })), "{refused:?}");
    let info = CsrWish {
        info: vec![0; 0x400],
        ..CsrWish::default()
    };
    let refused = pair.requester.get_csr(pair.now, None, info);
    assert!(
        matches!(refused, Err(Misuse::TooLong { max: 0x400, .. })),
        "{refused:?}"
    );
}

#[test]
fn a_refusal_of_a_large_request_is_a_refusal_of_the_request() {
    let (asking, answering) = small(Version::V1_3, 0x1000, 100);
    let mut pair = pair_of(asking, answering);
    let session = pair.requester.session();
    let wish = slot(1, Some(Identity::new("other").chain));
    pair.requester.set_certificate(pair.now, session, wish).unwrap();
    let refused = Event::Refused {
        awaited: Code::SET_CERTIFICATE_RSP,
        code: ErrorCode::INVALID_REQUEST,
        data: 0,
    };
    assert_eq!(asked(&mut pair), refused);
    assert_eq!(pair.requester.session(), session);
}

#[test]
fn a_responder_that_takes_its_time_over_chunks_or_what_is_in_them_is_waited_for() {
    let busy = |code| Delay {
        code,
        how: Wait::Busy(2),
    };
    let not_ready = |code| Delay {
        code,
        how: Wait::NotReady {
            exponent: 10,
            multiplier: 4,
        },
    };
    for delay in [
        busy(Code::CHUNK_SEND),
        busy(Code::CHUNK_GET),
        busy(Code::KEY_EXCHANGE),
        not_ready(Code::KEY_EXCHANGE),
        not_ready(Code::GET_MEASUREMENTS),
    ] {
        let (mut asking, mut answering) = small(Version::V1_2, 64, 64);
        answering.delays = vec![delay];
        asking.timing.retries = 200;
        let mut pair = pair_of(asking, answering);
        pair.requester.measure(pair.now, None).unwrap();
        assert!(matches!(asked(&mut pair), Event::Measurements(_)), "{delay:?}");
    }
}
