//! What the agent verifies with.

use tdisp::crypto::Ring;

/// `ring`, and beside it what verifies ML-DSA.
#[cfg(feature = "post-quantum")]
pub const CRYPTOGRAPHY: tdisp::crypto::PostQuantum<Ring> = tdisp::crypto::PostQuantum(Ring);

/// `ring`, which verifies no ML-DSA: a device that signs with it is refused.
#[cfg(not(feature = "post-quantum"))]
pub const CRYPTOGRAPHY: Ring = Ring;
