//! Mutual authentication: the responder, whose place it is to answer, asks who the requester is (DSP0274 §10, encapsulated
//! requests). Its requests and their responses travel inside GET_ENCAPSULATED_REQUEST's response,
//! DELIVER_ENCAPSULATED_RESPONSE and its response; here are the messages inside, and not what is around them.
//!
//! ```text
//!                  DIGESTS                CERTIFICATE ⟲              a session: its chain is known, FINISH will be signed
//!   [`Asking`] ──────────────► Certificate ────────────┬──────────────► Known
//!                                                      │ CHALLENGE_AUTH   ▲
//!   a provisioned key ─────────────────────────────────┴──► Challenge ────┘
//! ```
//! The requester answers with [`Answering`], which keeps the transcript that its signature is over: M1/M2 of these
//! messages is VCA and then what was inside, from the first GET_DIGESTS on.

mod answering;
mod asking;

pub(super) use answering::{Answering, Own};
pub(super) use asking::{Asking, Known, Purpose, Turn, Unknown, Wanted};

use super::{
    error::Misbehaviour,
    msg::{capabilities::Flags, challenge},
    responder::{MultiKey, PublicKey, Slot},
};

/// What a requester authenticates itself with, if it is asked to.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Certificate chains and their keys, by slot.
    pub slots: [Option<Slot>; 8],
    /// A key that the responder was provisioned with, instead of any chain (PUB_KEY_ID_CAP).
    pub public_key: Option<PublicKey>,
    /// Whether a connection may use, or always uses, several of these keys (1.3).
    pub multi_key: MultiKey,
}

impl Identity {
    /// The capabilities of a requester that has it.
    pub(super) fn flags(&self) -> Flags {
        let mutual = Flags::MUT_AUTH | Flags::ENCAP | Flags::CHAL;
        let holds = match (self.slots.iter().any(Option::is_some), &self.public_key) {
            (true, _) => Flags::CERT | Flags::LARGE_RESPONSE | self.multi_key.flags(),
            (false, Some(_)) => Flags::PUB_KEY_ID,
            (false, None) => return Flags(0),
        };
        mutual | holds
    }
}

/// Whether CHALLENGE_AUTH counts the slot that it signs for among those with a chain; a provisioned key has none.
pub(super) fn check_slot_held(message: &challenge::Response<'_>) -> Result<(), Misbehaviour> {
    let (slot, provisioned) = (message.slot, message.slots);
    match slot == PUBLIC_KEY || provisioned >> slot & 1 == 1 {
        true => Ok(()),
        false => Err(Misbehaviour::EmptySlot { slot, provisioned }),
    }
}

/// Whether a slot's key is for a `wanted` use, as its owner's DIGESTS say on a connection with several keys (1.3).
pub(super) fn check_usage(slot: u8, allowed: u16, wanted: u16) -> Result<(), Misbehaviour> {
    match allowed & wanted {
        0 => Err(Misbehaviour::KeyUsage {
            slot,
            allowed,
            wanted,
        }),
        _ => Ok(()),
    }
}

/// What stands for a provisioned key where a slot has four bits.
pub(super) const PUBLIC_KEY: u8 = 0x0f;
