//! MEASUREMENT_EXTENSION_LOG: the portions that are told, and to whom.

use super::{INVALID, UNEXPECTED, V, ask, ask_in_clear, error_of, live, usual};
use crate::harness::by_hand::ByHand;
use tdisp::spdm::msg::{Context, Payload, error::ErrorCode, mel};

const fn get(offset: u32, length: u32) -> mel::Request {
    mel::Request {
        version: V,
        offset,
        length,
    }
}

/// A portion and what remains, or the error that came instead.
type LogPortion = Result<(Vec<u8>, u32), Option<(ErrorCode, u8)>>;

fn log(hand: &mut ByHand, offset: u32, length: u32) -> LogPortion {
    let answer = ask(hand, &get(offset, length));
    match mel::Response::decode_exact(&answer, &Context::new(V)) {
        Ok(response) => Ok((response.portion.to_vec(), response.remainder)),
        Err(_) => Err(error_of(&answer)),
    }
}

/// Immunity: an offset and a length of 32 bits each were added in 32 bits.
#[test]
fn log_offsets_and_lengths_at_their_ends_give_a_portion_or_an_error() {
    let mut hand = live(V);
    let whole: Vec<u8> = (0..100).collect();
    assert_eq!(log(&mut hand, 0, u32::MAX), Ok((whole.clone(), 0)));
    assert_eq!(log(&mut hand, 10, 20), Ok((whole[10..30].to_vec(), 70)));
    assert_eq!(log(&mut hand, 99, u32::MAX), Ok((vec![99], 0)));
    for (offset, length) in [
        (0, 0),
        (100, 1),
        (101, 1),
        (0xffff, 1),
        (0x1_0000, 0xffff),
        (0x7fff_ffff, 0x8000_0000),
        (u32::MAX - 9, 20),
        (u32::MAX, 1),
        (u32::MAX, u32::MAX),
    ] {
        assert_eq!(
            log(&mut hand, offset, length),
            Err(INVALID),
            "{offset:#x} {length:#x}"
        );
    }
    for (offset, length, size) in [
        (1, u32::MAX, 99),
        (50, u32::MAX - 49, 50),
        (0, 0x1_0000, 100),
        (0, 0xffff, 100),
    ] {
        assert_eq!(log(&mut hand, offset, length).unwrap().0.len(), size);
    }
}

#[test]
fn a_log_is_told_to_who_has_agreed_on_its_format() {
    let mut hand = ByHand::start(usual());
    hand.version = V;
    hand.say_vca();
    assert_eq!(error_of(&ask_in_clear(&mut hand, &get(0, 1))), UNEXPECTED);
}
