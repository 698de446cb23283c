//! What is signed (DSP0274 §15): the transcript, and from 1.2 on a prefix that says which message it is for.
//!
//! ```text
//! ≥ 1.2:  ("dmtf-spdm-v1.x.*" × 4) ‖ zeros ‖ context ‖ H(transcript)      64 + 36 + H bytes, then hash and sign
//! < 1.2:  transcript                                                      hash and sign
//! ```
//! ML-DSA signs the same bytes, unhashed, with the context's text as its own context string (1.4).

use super::{msg::Version, transcript::Transcript};
use crate::crypto::Signable;
use alloc::{borrow::Cow, vec::Vec};

/// Which message is signed, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// CHALLENGE_AUTH.
    ChallengeAuth,
    /// MEASUREMENTS.
    Measurements,
    /// KEY_EXCHANGE_RSP.
    KeyExchangeRsp,
    /// FINISH of a mutually authenticated session.
    Finish,
    /// CHALLENGE_AUTH of the requester, in an encapsulated exchange.
    RequesterChallengeAuth,
    /// ENDPOINT_INFO.
    EndpointInfo,
    /// ENDPOINT_INFO of the requester, in an encapsulated exchange.
    RequesterEndpointInfo,
}

impl Context {
    /// The text in the prefix.
    pub const fn text(self) -> &'static str {
        match self {
            Self::ChallengeAuth => "responder-challenge_auth signing",
            Self::Measurements => "responder-measurements signing",
            Self::KeyExchangeRsp => "responder-key_exchange_rsp signing",
            Self::Finish => "requester-finish signing",
            Self::RequesterChallengeAuth => "requester-challenge_auth signing",
            Self::EndpointInfo => "responder-endpoint_info signing",
            Self::RequesterEndpointInfo => "requester-endpoint_info signing",
        }
    }
}

/// Bytes that zeros and context take together. Every context is shorter.
const CONTEXT_SIZE: usize = 36;

/// What to sign over `transcript`.
pub fn message(version: Version, context: Context, transcript: &Transcript) -> Signable<'static> {
    let message = match transcript.bytes() {
        Some(bytes) => bytes.to_vec(),
        None => prefixed(version, context, transcript),
    };
    Signable {
        hash: transcript.hash_alg(),
        context: context.text().as_bytes(),
        message: Cow::Owned(message),
    }
}

fn prefixed(version: Version, context: Context, transcript: &Transcript) -> Vec<u8> {
    let text = context.text().as_bytes();
    let mut message = Vec::with_capacity(64 + CONTEXT_SIZE + 64);
    for _ in 0..4 {
        message.extend_from_slice(b"dmtf-spdm-v1.");
        message.push(b'0' + (version.0 & 0x0f));
        message.extend_from_slice(b".*");
    }
    message.resize(64 + CONTEXT_SIZE - text.len(), 0);
    message.extend_from_slice(text);
    message.extend_from_slice(transcript.digest().as_ref());
    message
}
