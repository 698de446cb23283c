//! One interface's state on the device's side. A state holds exactly what it needs, so that nothing outlives it: the
//! nonce is there in LOCKED alone, and the report and the session in LOCKED and RUN.
//! [`super::responder`] has the picture of how they follow each other.

use super::msg::{LockFlags, NONCE_SIZE, State};
use crate::crypto::same;
use alloc::{collections::BTreeSet, vec::Vec};
use zeroize::Zeroizing;

/// CONFIG_UNLOCKED, CONFIG_LOCKED, RUN or ERROR.
#[derive(Debug)]
pub(super) enum Interface {
    Unlocked,
    Locked(Locked),
    Run(Held),
    Error,
}

/// What a lock holds until it ends.
#[derive(Debug)]
pub(super) struct Held {
    /// The session that it was made over.
    pub(super) session: u32,
    /// Its default IDE stream; `None` on a device without IDE.
    pub(super) stream: Option<u8>,
    /// The interface report as it was when the lock was made.
    pub(super) report: Vec<u8>,
    /// The flags that it was made with.
    pub(super) flags: LockFlags,
    /// Peer-to-peer streams that are bound to it; none before it runs.
    pub(super) peers: BTreeSet<u8>,
}

impl Held {
    /// Whether the lock hangs on a stream.
    pub(super) fn uses(&self, stream: u8) -> bool {
        self.stream == Some(stream) || self.peers.contains(&stream)
    }
}

/// A lock that is not started.
pub(super) struct Locked {
    held: Held,
    nonce: Zeroizing<[u8; NONCE_SIZE]>,
}

impl core::fmt::Debug for Locked {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Locked({:?})", self.held)
    }
}

impl Locked {
    pub(super) fn new(held: Held, nonce: Zeroizing<[u8; NONCE_SIZE]>) -> Self {
        Self { held, nonce }
    }

    /// The right nonce starts the interface, and dies of it. A wrong one leaves the lock as it was.
    pub(super) fn start(self, nonce: &[u8; NONCE_SIZE]) -> Result<Held, Self> {
        match same(&*self.nonce, nonce) {
            true => Ok(self.held),
            false => Err(self),
        }
    }
}

impl Interface {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Unlocked => State::UNLOCKED,
            Self::Locked(_) => State::LOCKED,
            Self::Run(_) => State::RUN,
            Self::Error => State::ERROR,
        }
    }

    /// What it runs with, if it runs.
    pub(super) fn running(&mut self) -> Option<&mut Held> {
        match self {
            Self::Run(held) => Some(held),
            _ => None,
        }
    }

    /// What its lock holds, if there is one.
    pub(super) fn held(&self) -> Option<&Held> {
        match self {
            Self::Locked(locked) => Some(&locked.held),
            Self::Run(held) => Some(held),
            Self::Unlocked | Self::Error => None,
        }
    }
}
