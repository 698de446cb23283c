//! Chunks as they go over the wire, and what becomes of a connection in which one is wrong.

use super::{VERSIONS, asked, connected, small};
use crate::harness::{requester_config, responder_config};
use tdisp::spdm::{
    Error, Event, Goal, Misbehaviour, RequesterConfig,
    msg::{
        Code, Context, Payload, Version,
        chunk::{self, Chunk},
    },
};

type Spoil = fn(&mut Vec<u8>);

/// What comes of measurements fetched in clear from a responder whose chunks are bent.
fn bent(version: Version, mut bend: impl FnMut(u32, &mut Vec<u8>) + 'static) -> Event {
    let (mut asking, answering) = small(version, 200, 0x1200);
    asking.goal = Goal::Identity;
    let mut pair = connected(asking, answering);
    let mut seen = 0;
    pair.bend = Some(Box::new(move |body| {
        bend(seen, body);
        seen += 1;
    }));
    pair.requester.measure(pair.now, None).unwrap();
    asked(&mut pair)
}

/// Whether the connection ended because the responder refused a message.
const fn is_refusal(told: &Event) -> bool {
    matches!(
        told,
        Event::Failed(Error::Peer {
            what: Misbehaviour::Refused { .. },
            ..
        })
    )
}

#[test]
fn measurements_in_chunks_are_measurements() {
    for version in VERSIONS {
        let told = bent(version, |_, _| ());
        assert!(matches!(told, Event::Measurements(record) if record.signer == Some(0)));
    }
}

#[test]
fn a_wrong_chunk_of_an_answer_ends_the_connection_and_nothing_is_believed() {
    let spoils: [(&str, Spoil); 9] = [
        ("another handle", |body| body[3] ^= 1),
        ("a sequence number too high", |body| body[4] += 1),
        ("a sequence number far off", |body| body[5] = 0xff),
        ("the last flag early", |body| body[2] |= 1),
        ("a chunk size of 0", |body| body[8..12].fill(0)),
        ("a chunk size beyond what came", |body| body[8] = 0xff),
        ("a huge chunk size", |body| body[8..12].fill(0xff)),
        ("another message", |body| body[1] = Code::MEASUREMENTS.0),
        ("another version", |body| body[0] = 0x10),
    ];
    for version in VERSIONS {
        for number in 1..4 {
            for (what, spoil) in spoils {
                let told = bent(version, move |seen, body| {
                    if seen == number {
                        spoil(body)
                    }
                });
                assert!(
                    matches!(told, Event::Failed(_)),
                    "{what} in chunk {number}: {told:?}"
                );
            }
        }
    }
}

#[test]
fn an_answer_announced_as_larger_than_is_taken_or_too_small_is_refused_at_once() {
    for size in [0u32, 42, 100, 0x2_0001, u32::MAX] {
        let told = bent(Version::V1_3, move |seen, body| {
            if seen == 1 {
                body[12..16].copy_from_slice(&size.to_le_bytes());
            }
        });
        assert!(matches!(told, Event::Failed(_)), "{size}: {told:?}");
    }
}

#[test]
fn a_large_answer_within_a_large_answer_is_refused() {
    let told = bent(Version::V1_3, |seen, body| {
        if seen >= 1 {
            *body = vec![0x13, 0x7f, 0x0f, 0, 1];
        }
    });
    assert!(is_refusal(&told), "{told:?}");
}

#[test]
fn a_large_answer_is_not_fetched_from_who_cannot_have_one() {
    let config = RequesterConfig {
        goal: Goal::Identity,
        ..requester_config()
    };
    let mut pair = connected(config, responder_config());
    pair.bend = Some(Box::new(|body| *body = vec![0x12, 0x7f, 0x0f, 0, 1]));
    pair.requester.measure(pair.now, None).unwrap();
    let told = asked(&mut pair);
    assert!(is_refusal(&told), "{told:?}");
}

#[test]
fn a_wrong_acknowledgement_of_a_chunk_ends_the_connection() {
    let spoils: [(&str, Spoil); 5] = [
        ("another handle", |body| body[3] ^= 1),
        ("another sequence number", |body| body[4] ^= 1),
        ("an answer before the last chunk", |body| {
            body.extend([0x12, 0x60, 0, 0, 0, 0, 0, 0])
        }),
        ("another message", |body| body[1] = Code::CHUNK_RESPONSE.0),
        ("nothing behind an early error", |body| {
            body[2] = 1;
            body.truncate(6);
        }),
    ];
    for (what, spoil) in spoils {
        let (mut asking, answering) = small(Version::V1_2, 0x1200, 64);
        asking.goal = Goal::Identity;
        let mut pair = connected(asking, answering);
        pair.bend = Some(Box::new(move |body| {
            if body[1] == Code::CHUNK_SEND_ACK.0 {
                spoil(body)
            }
        }));
        pair.requester.open_session(pair.now).unwrap();
        let told = asked(&mut pair);
        assert!(matches!(told, Event::Failed(_)), "{what}: {told:?}");
    }
}

/// The wire formats are the same whichever way a message went.
#[test]
fn a_chunk_of_ours_is_what_others_read() {
    let chunk = Chunk {
        handle: 3,
        sequence: 1,
        last: true,
        large_size: None,
        part: b"the rest",
    };
    let message = chunk::Send {
        version: Version::V1_2,
        chunk,
    }
    .to_vec();
    assert_eq!(message[..12], [0x12, 0x85, 1, 3, 1, 0, 0, 0, 8, 0, 0, 0]);
    let context = Context::new(Version::V1_4);
    let message = [&[0x14, 0x06, 0, 3, 0, 0, 1, 0, 8, 0, 0, 0][..], b"the rest"].concat();
    let read = chunk::Response::decode_exact(&message, &context).unwrap();
    assert_eq!(read.chunk.sequence, 0x1_0000);
}
