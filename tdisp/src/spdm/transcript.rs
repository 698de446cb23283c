//! The running hash of a transcript (DSP0274 §10.9, §10.11, §10.16).
//!
//! Which bytes go in, unpadded and in this order:
//! * **A** (VCA): GET_VERSION through ALGORITHMS, kept as bytes because the hash is not known before its end.
//! * **M1/M2**: A ‖ B ‖ C. B = the digests and certificates exchanged outside a session since the last GET_DIGESTS, which
//!   begins it anew wherever it comes, and the last CHALLENGE_AUTH; C = CHALLENGE ‖ CHALLENGE_AUTH without signature. The
//!   standard does not say what several GET_DIGESTS in a row add up to; other implementations do it so.
//! * **L1/L2**: A (from 1.2 on) ‖ every GET_MEASUREMENTS ‖ MEASUREMENTS since the last signed one, the last without
//!   signature. One accumulator outside a session and one in each.
//! * **TH**: A ‖ the first DIGESTS outside a session, if several keys are used (1.3) ‖ H(chain) ‖ KEY_EXCHANGE ‖
//!   KEY_EXCHANGE_RSP up to its signature ‖ signature = **TH1** ‖ verify data ‖ FINISH ‖ its verify data ‖ FINISH_RSP = **TH2**.

use super::msg::{Code, Version};
use crate::crypto::{Digest, Hash, HashAlg, Provider};
use alloc::{boxed::Box, vec::Vec};

/// Whether a request, wherever it comes, begins M1/M2 anew: it gives up on a CHALLENGE that has not come, GET_DIGESTS because
/// it begins an identification of its own.
pub(super) const fn forgets_challenge(code: Code) -> bool {
    matches!(
        code,
        Code::GET_DIGESTS
            | Code::GET_MEASUREMENTS
            | Code::GET_MEASUREMENT_EXTENSION_LOG
            | Code::KEY_EXCHANGE
            | Code::FINISH
            | Code::PSK_EXCHANGE
            | Code::PSK_FINISH
            | Code::HEARTBEAT
            | Code::KEY_UPDATE
            | Code::END_SESSION
            | Code::GET_ENCAPSULATED_REQUEST
            | Code::DELIVER_ENCAPSULATED_RESPONSE
    )
}

/// Whether a request begins L1/L2 anew, in the session that it comes in or outside: any does that neither asks for
/// measurements nor only carries or repeats another.
pub(super) const fn forgets_measurements(code: Code) -> bool {
    !matches!(
        code,
        Code::GET_MEASUREMENTS | Code::RESPOND_IF_READY | Code::CHUNK_SEND | Code::CHUNK_GET
    )
}

/// Bytes of a transcript that are kept, at most, where what this side has to tell needs no more.
const KEPT_MAX: usize = 0x4000;

/// Bytes of room that is made for what is kept, at a time: to double it each time would make twice of [`KEPT_MAX`].
const KEPT_STEP: usize = 0x400;

/// A transcript being hashed. Below 1.2, where the transcript itself is what is signed, its bytes are kept too. Who adds to
/// it as often as the peer likes asks before whether there is room (`has_room`), and else refuses what was asked.
pub struct Transcript {
    alg: HashAlg,
    hash: Box<dyn Hash>,
    bytes: Option<Vec<u8>>,
}

impl Transcript {
    /// An empty transcript.
    pub fn new(provider: &dyn Provider, hash: HashAlg, version: Version) -> Self {
        Self {
            alg: hash,
            hash: provider.hash(hash),
            bytes: (version < Version::V1_2).then(Vec::new),
        }
    }

    /// Adds bytes: whole messages without transport padding, or the parts that the rules above name.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        if let Some(kept) = &mut self.bytes {
            if kept.capacity() - kept.len() < bytes.len() {
                kept.reserve_exact(bytes.len().next_multiple_of(KEPT_STEP));
            }
            kept.extend_from_slice(bytes);
        }
    }

    /// Whether so many bytes more can be kept, or need not be. `told` are the bytes of what this side can be asked for: in
    /// small portions, each with its request and header, they take up to twice as many.
    pub(super) fn has_room(&self, more: usize, told: usize) -> bool {
        let max = told.saturating_mul(2).saturating_add(KEPT_MAX / 2).max(KEPT_MAX);
        let kept = self.bytes.as_ref();
        kept.is_none_or(|kept| kept.len().saturating_add(more) <= max)
    }

    /// The hash of what was added so far.
    pub fn digest(&self) -> Digest {
        self.hash.digest()
    }

    /// What it is hashed with.
    pub fn hash_alg(&self) -> HashAlg {
        self.alg
    }

    /// The bytes, where the version signs them instead of their hash.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }
}

impl Clone for Transcript {
    fn clone(&self) -> Self {
        Self {
            alg: self.alg,
            hash: self.hash.fork(),
            bytes: self.bytes.clone(),
        }
    }
}

impl core::fmt::Debug for Transcript {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Transcript({})", self.digest())
    }
}
