//! What a requester is told, and what it tells.

use crate::{
    crypto::Digest,
    spdm::{algorithms::Offer, connection::Negotiated, error::Error, msg::Version},
};
use alloc::vec::Vec;
use core::time::Duration;

/// What a requester is told once.
#[derive(Debug, Clone)]
pub struct RequesterConfig {
    /// The slot whose chain and key are used, 0 to 7.
    pub slot: u8,
    /// Which certificate chains go.
    pub roots: Trust,
    /// How far `connect` goes.
    pub goal: Goal,
    /// How long things may take.
    pub timing: Timing,
    /// The algorithms offered.
    pub offer: Offer,
    /// The lowest version accepted; [`VERSIONS`](crate::spdm::VERSIONS) has those that there are.
    pub floor: Version,
    /// Whether the handshake may go in clear, if the responder wants it too. The application's messages never do.
    pub handshake_in_clear: bool,
    /// Bytes of the largest message that this side takes (DataTransferSize), at least 42.
    pub transfer_size: u32,
}

impl Default for RequesterConfig {
    fn default() -> Self {
        Self {
            slot: 0,
            roots: Trust::Pinned(Vec::new()),
            goal: Goal::Session,
            timing: Timing::default(),
            offer: Offer::default(),
            floor: Version::V1_2,
            handshake_in_clear: false,
            transfer_size: 0x1200,
        }
    }
}

/// Who decides whether the responder's root certificate is a good one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// This machine: the chain must begin with a root certificate that has one of these digests (in the negotiated hash),
    /// and each certificate must be signed by the one before. Anything else is a failure, never a warning.
    Pinned(Vec<Digest>),
    /// Somebody else, later, with the chain that [`Event::Certificates`] shows. This is the TSM's lot: it proves that
    /// the session's other end holds the leaf key, and vouches for the chain's digest; the guest that relies on it judges the
    /// chain against its own roots.
    RelyingPartyDecides,
}

/// How far `connect` goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// To [`Event::Challenged`]: the responder's identity is proven. Measurements may be asked for then.
    Identity,
    /// To [`Event::SessionReady`].
    Session,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// For an answer, the way there and back included.
    pub answer: Duration,
    /// What a responder may ask for on top, at most, where it must compute a signature (CTExponent).
    pub crypto_max: Duration,
    /// Between tries when the responder is busy; what it asks for itself with ResponseNotReady is held to ten times this.
    pub retry_after: Duration,
    /// Tries of one request after the first.
    pub retries: u8,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(5),
            crypto_max: Duration::from_secs(30),
            retry_after: Duration::from_millis(100),
            retries: 8,
        }
    }
}

/// What a requester tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Version, capabilities and algorithms are settled. Nothing of it is authenticated before [`Event::Challenged`].
    Connected(Negotiated),
    /// The chain object of the slot: its digest is the one told, and its leaf has a key of the negotiated algorithm.
    Certificates {
        /// The slot.
        slot: u8,
        /// The whole chain object.
        chain: Vec<u8>,
    },
    /// The responder has signed our nonce, and all that was said before, with the leaf key.
    Challenged,
    /// Measurements, signed over our nonce.
    Measurements(MeasurementRecord),
    /// The session is up.
    SessionReady {
        /// Its id.
        id: u32,
    },
    /// The answer to `vendor`: the PCI-SIG's payload, protocol byte first.
    Vendor(Vec<u8>),
    /// The session has new keys.
    KeysUpdated,
    /// The session is closed, as asked.
    SessionEnded,
    /// The connection is over, and with it the session.
    Failed(Error),
}

/// Signed measurements, as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasurementRecord {
    /// VCA ‖ GET_MEASUREMENTS ‖ MEASUREMENTS with its signature: the exact bytes.
    pub blob: Vec<u8>,
    /// The nonce that was asked with.
    pub nonce: [u8; 32],
}
