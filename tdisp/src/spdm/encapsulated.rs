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

use super::responder::{PublicKey, Slot};

/// What a requester authenticates itself with, if it is asked to.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Certificate chains and their keys, by slot.
    pub slots: [Option<Slot>; 8],
    /// A key that the responder was provisioned with, instead of any chain (PUB_KEY_ID_CAP).
    pub public_key: Option<PublicKey>,
}

/// What stands for a provisioned key where a slot has four bits.
pub(super) const PUBLIC_KEY: u8 = 0x0f;
