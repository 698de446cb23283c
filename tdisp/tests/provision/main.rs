//! What an owner puts into a device, and what a device tells of itself: each request of that, right and wrong, to a responder.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod csr;
mod endpoint_info;
mod events;
#[path = "../pair/mod.rs"]
mod harness;
mod key_pairs;
mod lacking;
mod log;
mod owners;
mod slots;

use harness::{
    by_hand::ByHand,
    endowed::{Shelf, everything},
};
use std::sync::Arc;
use tdisp::spdm::{
    ResponderConfig,
    msg::{
        Code, Payload, Version,
        capabilities::{Flags, Sizes},
        error::ErrorCode,
    },
};

const V: Version = Version::V1_3;

const SIZES: Sizes = Sizes {
    transfer: 0x1200,
    message: 0x1200,
};

fn live_with(version: Version, config: ResponderConfig) -> ByHand {
    ByHand::live_in(
        version,
        config,
        if version >= V { Flags::EVENT } else { Flags(0) },
        SIZES,
    )
}

fn live(version: Version) -> ByHand {
    live_with(version, usual())
}

/// A responder that has everything, on a storage that nobody looks at.
fn usual() -> ResponderConfig {
    everything(&Arc::<Shelf>::default())
}

/// One whose device takes up what is new after a reset only.
fn live_until_reset(version: Version) -> ByHand {
    let mut config = usual();
    config.provisioning.after_reset = true;
    live_with(version, config)
}

/// The answer to a message in the session.
fn ask<'m>(hand: &mut ByHand, message: &impl Payload<'m>) -> Vec<u8> {
    hand.secured(&message.to_vec()).unwrap()
}

/// How a message in the session is refused, if it is.
fn refusal<'m>(hand: &mut ByHand, message: &impl Payload<'m>) -> Option<(ErrorCode, u8)> {
    error_of(&ask(hand, message))
}

/// The answer to a message in clear.
fn ask_in_clear<'m>(hand: &mut ByHand, message: &impl Payload<'m>) -> Vec<u8> {
    hand.clear(&message.to_vec()).unwrap()
}

fn error_of(answer: &[u8]) -> Option<(ErrorCode, u8)> {
    (answer[1] == Code::ERROR.0).then(|| (ErrorCode(answer[2]), answer[3]))
}

const INVALID: Option<(ErrorCode, u8)> = Some((ErrorCode::INVALID_REQUEST, 0));
const UNEXPECTED: Option<(ErrorCode, u8)> = Some((ErrorCode::UNEXPECTED_REQUEST, 0));
