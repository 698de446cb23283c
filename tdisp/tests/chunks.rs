//! Large messages in parts: what is taken apart comes together again, and nothing else does.

#![allow(clippy::unwrap_used, reason = "a test may")]

use proptest::prelude::*;
use tdisp::crypto::Wiped;
use tdisp::spdm::{
    chunk::{Assembler, ChunkError, Progress, Splitter, is_chunkable},
    msg::{Code, Context, Payload, Version, chunk as msg, chunk::Chunk},
};

const MAX: usize = 0x1_0000;

fn splitter(version: Version, size: usize, room: usize) -> Option<Splitter> {
    let message: Vec<u8> = (0..size).map(|at| at as u8).collect();
    Splitter::new(version, 7, Wiped::new(message), room)
}

/// The chunks of a message, as messages.
fn sent(version: Version, size: usize, room: usize) -> Vec<Vec<u8>> {
    let mut splitter = splitter(version, size, room).unwrap();
    let mut sent = Vec::new();
    while let Some(chunk) = splitter.next_chunk() {
        sent.push(msg::Send { version, chunk }.to_vec());
    }
    sent
}

fn read(message: &[u8], version: Version) -> Chunk<'_> {
    msg::Send::decode_exact(message, &Context::new(version))
        .unwrap()
        .chunk
}

/// What putting chunks together leads to.
fn assembled(chunks: &[Chunk<'_>]) -> Result<Option<Vec<u8>>, ChunkError> {
    let mut assembler = Assembler::begin(&chunks[0], MAX)?;
    for chunk in &chunks[1..] {
        match assembler.join(chunk)? {
            Progress::More(more) => assembler = more,
            Progress::Whole(message) => return Ok(Some(message.to_vec())),
        }
    }
    Ok(None)
}

proptest! {
    #[test]
    fn a_message_taken_apart_comes_together_again(size in 60usize..20_000, room in 42usize..6_000, wide: bool) {
        let version = if wide { Version::V1_4 } else { Version::V1_2 };
        let Some(mut splitter) = splitter(version, size, room) else {
            prop_assert!(size <= room, "{size} bytes do not fit into {room}");
            return Ok(());
        };
        let mut sent = Vec::new();
        while let Some(chunk) = splitter.next_chunk() {
            prop_assert_eq!(chunk.large_size.is_some(), sent.is_empty(), "the first says how large the whole is");
            sent.push(msg::Response { version, chunk }.to_vec());
        }
        // No chunk but the last has room for more.
        let (last, others) = sent.split_last().unwrap();
        prop_assert!(others.iter().all(|message| message.len() == room) && last.len() <= room);
        let context = Context::new(version);
        let chunks: Vec<_> = sent.iter().map(|message| msg::Response::decode_exact(message, &context).unwrap().chunk).collect();
        let whole: Vec<u8> = (0..size).map(|at| at as u8).collect();
        prop_assert_eq!(assembled(&chunks).unwrap(), Some(whole));
    }
}

/// Three chunks of a good message, one field of one of them changed.
fn spoiled(number: usize, spoil: impl FnOnce(&mut Chunk<'_>)) -> Result<Option<Vec<u8>>, ChunkError> {
    let sent = sent(Version::V1_2, 150, 64);
    assert_eq!(sent.len(), 3);
    let mut chunks: Vec<_> = sent.iter().map(|chunk| read(chunk, Version::V1_2)).collect();
    spoil(&mut chunks[number]);
    assembled(&chunks)
}

#[test]
fn a_good_message_is_assembled() {
    assert_eq!(spoiled(0, |_| ()).unwrap().unwrap().len(), 150);
}

#[test]
fn a_chunk_under_another_handle_is_refused() {
    for handle in [0, 6, 8, 255] {
        let error = spoiled(1, |chunk| chunk.handle = handle).unwrap_err();
        assert!(
            matches!(
                error,
                ChunkError::Field {
                    what: "chunk handle",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_chunk_out_of_order_is_refused() {
    for sequence in [0, 2, 0xffff, u32::MAX] {
        assert!(
            spoiled(1, |chunk| chunk.sequence = sequence).is_err(),
            "{sequence}"
        );
    }
    assert!(spoiled(0, |chunk| chunk.sequence = 1).is_err(), "none before it");
}

#[test]
fn a_last_flag_that_comes_early_or_not_at_all_is_refused() {
    for number in 0..2 {
        assert!(
            spoiled(number, |chunk| chunk.last = true).is_err(),
            "chunk {number}"
        );
    }
    assert!(spoiled(2, |chunk| chunk.last = false).is_err());
}

#[test]
fn chunks_of_more_bytes_than_were_announced_are_refused() {
    assert!(spoiled(0, |chunk| chunk.large_size = Some(149)).is_err());
    assert!(spoiled(0, |chunk| chunk.large_size = Some(151)).is_err());
    assert!(
        spoiled(0, |chunk| chunk.large_size = Some(48)).is_err(),
        "the first is all"
    );
    assert!(spoiled(1, |chunk| chunk.part = &[0; 150]).is_err());
}

#[test]
fn a_chunk_or_a_message_with_no_reason_to_be_one_is_refused() {
    assert!(spoiled(1, |chunk| chunk.part = &chunk.part[..29]).is_err());
    assert!(spoiled(0, |chunk| chunk.part = &chunk.part[..25]).is_err());
    for size in [None, Some(0), Some(42)] {
        assert!(spoiled(0, |chunk| chunk.large_size = size).is_err());
    }
}

#[test]
fn a_first_chunk_as_large_as_the_message_or_larger_is_refused() {
    let begun = |size: u32, part: &[u8]| {
        let chunk = Chunk {
            handle: 7,
            sequence: 0,
            last: false,
            large_size: Some(size),
            part,
        };
        Assembler::begin(&chunk, MAX).map(drop)
    };
    for size in [43, 60, 100] {
        let missing = size - 1;
        for part in [size, size + 1, 2 * size] {
            let beyond = ChunkError::Beyond { size: part, missing };
            assert_eq!(begun(size as u32, &vec![1; part]), Err(beyond));
        }
        assert_eq!(begun(size as u32, &vec![1; missing]), Ok(()));
    }
    // A message of 42 bytes fits any chunk, and a first chunk has at least 26 of a larger one.
    assert!(matches!(
        begun(42, &[1; 41]),
        Err(ChunkError::TooSmall {
            size: 42,
            least: 43,
            ..
        })
    ));
    assert!(matches!(
        begun(43, &[1; 25]),
        Err(ChunkError::TooSmall {
            size: 25,
            least: 26,
            ..
        })
    ));
    assert_eq!(begun(43, &[1; 26]), Ok(()));
}

#[test]
fn a_message_larger_than_this_side_takes_is_refused_before_a_byte_is_kept() {
    for size in [MAX as u32 + 1, u32::MAX] {
        let error = spoiled(0, |chunk| chunk.large_size = Some(size)).unwrap_err();
        let size = size as usize;
        assert_eq!(error, ChunkError::TooLarge { size, max: MAX });
    }
}

#[test]
fn chunk_numbers_do_not_wrap() {
    // 65536 chunks of 30 bytes, of which the first has 4 bytes less.
    let most = 0x1_0000 * 30 - 4;
    assert!(splitter(Version::V1_3, most, 42).is_some());
    assert!(splitter(Version::V1_3, most + 1, 42).is_none());
    let mut wide = splitter(Version::V1_4, most + 1, 42).unwrap();
    let last = std::iter::from_fn(|| wide.next_chunk().map(|chunk| chunk.sequence)).last();
    assert_eq!(last, Some(0x1_0000));
    // Whoever counts over 16 bits and begins again at 0 is refused.
    let part = [0; 30];
    let mut chunk = Chunk {
        handle: 1,
        sequence: 0,
        last: false,
        large_size: Some(u32::MAX),
        part: &part[..26],
    };
    let mut assembler = Assembler::begin(&chunk, usize::MAX).unwrap();
    (chunk.large_size, chunk.part) = (None, &part);
    for sequence in 1..=0xffff {
        chunk.sequence = sequence;
        let Ok(Progress::More(more)) = assembler.join(&chunk) else {
            panic!("{sequence}")
        };
        assembler = more;
    }
    chunk.sequence = 0;
    assert!(assembler.join(&chunk).is_err());
}

#[test]
fn what_fits_one_message_is_not_taken_apart() {
    assert!(splitter(Version::V1_2, 48, 64).is_none());
    assert!(splitter(Version::V1_2, 0, 64).is_none());
    assert!(splitter(Version::V1_2, 49, 64).is_some());
}

#[test]
fn what_carries_or_comes_before_chunks_goes_in_none() {
    let never = [
        Code::GET_VERSION,
        Code::GET_CAPABILITIES,
        Code::CHUNK_SEND,
        Code::CHUNK_GET,
        Code::RESPOND_IF_READY,
    ];
    assert!(never.iter().all(|code| !is_chunkable(*code)));
    assert!(is_chunkable(Code::GET_MEASUREMENTS) && is_chunkable(Code::SET_CERTIFICATE));
}
