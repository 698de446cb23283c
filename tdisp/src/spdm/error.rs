//! What ends a connection, by who is at fault, and what was waited for when it did.

use super::{
    chunk::ChunkError,
    msg::{Code, Version, error::ErrorCode},
    secured::RecordError,
};
use crate::{
    crypto::{CryptoError, Digest},
    wire::DecodeError,
};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::time::Duration;

/// Why a requester gave up. The connection, its session and all its secrets are gone; `connect` starts anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What came is not a message.
    #[error("waiting for {awaited}: malformed: {source}")]
    Bytes {
        /// The message waited for.
        awaited: Code,
        /// What is wrong with the bytes.
        source: DecodeError,
    },
    /// A well-formed answer that a responder in good order does not give.
    #[error("waiting for {awaited}: {what}")]
    Peer {
        /// The message waited for.
        awaited: Code,
        /// What it did.
        what: Misbehaviour,
    },
    /// No answer came in time.
    #[error("waiting for {awaited}: no answer in {} ms; see whether the device is there", waited.as_millis())]
    TimedOut {
        /// The message waited for.
        awaited: Code,
        /// How long.
        waited: Duration,
    },
    /// Our own side cannot do what it must.
    #[error("waiting for {awaited}: this platform fails: {source}")]
    Platform {
        /// The message waited for.
        awaited: Code,
        /// What failed.
        source: CryptoError,
    },
}

impl Error {
    /// The message that was waited for.
    pub fn awaited(&self) -> Code {
        match self {
            Self::Bytes { awaited, .. }
            | Self::Peer { awaited, .. }
            | Self::TimedOut { awaited, .. }
            | Self::Platform { awaited, .. } => *awaited,
        }
    }
}

/// What a responder did that it must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// It answered with ERROR.
    #[error("the responder refuses with {code} (data {data:#04x})")]
    Refused {
        /// The error code.
        code: ErrorCode,
        /// What the standard adds to that code.
        data: u8,
    },
    /// It said Busy or ResponseNotReady for longer than the configuration allows.
    #[error("the responder was not ready {tries} times; raise the retries if it needs longer")]
    NeverReady {
        /// Tries made.
        tries: u8,
    },
    /// It answered another request than ours.
    #[error("came {found} instead")]
    Unexpected {
        /// The code that came.
        found: Code,
    },
    /// It answered in clear what was asked in the session, or the other way round.
    #[error("an answer {} the session came to a request {} it", in_or_out(*.in_session), in_or_out(!*.in_session))]
    WrongChannel {
        /// Whether the answer came in the session.
        in_session: bool,
    },
    /// A record that does not open, or is of another session.
    #[error("the record does not open: {0}")]
    Record(#[from] RecordError),
    /// It wants this side to sign with a key that it does not have, or not for that.
    #[error("it wants a signature with the key of slot {slot}, which is not ours to give")]
    WantsOther {
        /// The slot; 0xf for a provisioned key.
        slot: u8,
    },
    /// It makes requests of its own without end.
    #[error("it made more than {requests} requests of its own in a row")]
    Endless {
        /// How many were answered.
        requests: u32,
    },
    /// A message within another is not one.
    #[error("its message is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// It speaks no version that we accept.
    #[error("it speaks {}; wanted one of {}", versions(offered), versions(wanted))]
    NoCommonVersion {
        /// Versions that it offered.
        offered: Vec<Version>,
        /// Versions that we accept.
        wanted: Vec<Version>,
    },
    /// It chose no algorithm of a kind that is needed now: its capabilities did not promise what is asked for.
    #[error("it agreed on no {what}: its capabilities have no use for one")]
    NotNegotiated {
        /// The kind.
        what: &'static str,
    },
    /// It lacks what the configuration needs.
    #[error("it lacks the capabilities {missing:#010x} (bits of the CAPABILITIES flags)")]
    MissingCapabilities {
        /// The flags that it lacks.
        missing: u32,
    },
    /// A field differs from what the conversation so far demands.
    #[error("{what} is {found:#x}, wanted {wanted:#x}")]
    Inconsistent {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// What would have been right.
        wanted: u64,
    },
    /// The context of the request did not come back as it was sent (1.3).
    #[error("it answered with another context than it was asked with: the answer is to another request")]
    WrongContext,
    /// A portion of a chain is larger than was asked for, or so small that there would be no end of them.
    #[error("a portion of {portion} bytes came, wanted {least} to {asked}")]
    Portion {
        /// Bytes that came.
        portion: usize,
        /// Bytes that one has at least.
        least: usize,
        /// Bytes asked for.
        asked: usize,
    },
    /// It chose a version of secured messages that was not offered.
    #[error("it chose version {found:#06x} of secured messages, wanted 1.1 or 1.2")]
    SecuredVersion {
        /// Its choice.
        found: u16,
    },
    /// It gave a new session the id of one that is open.
    #[error("it gave the id {id:#010x} of an open session to a new one")]
    SessionTwice {
        /// The id.
        id: u32,
    },
    /// It answered a PCI-SIG request in another vendor's name.
    #[error("the vendor-defined answer is not the PCI-SIG's (registry {registry})")]
    ForeignVendor {
        /// Whose registry.
        registry: u16,
    },
    /// The slot asked for holds no chain.
    #[error("slot {slot} holds no certificate chain; {}", holders(*.provisioned))]
    EmptySlot {
        /// The slot asked for.
        slot: u8,
        /// The slots that hold one, one bit each.
        provisioned: u8,
    },
    /// The key of a slot is not for what is wanted, as its DIGESTS say (1.3).
    #[error(
        "the key of slot {slot} is not for that: its KeyUsageMask is {allowed:#06x}, wanted {wanted:#06x} in it"
    )]
    KeyUsage {
        /// The slot.
        slot: u8,
        /// What the key is for, in bits of [`usage`](crate::spdm::responder::usage).
        allowed: u16,
        /// What it was wanted for.
        wanted: u16,
    },
    /// Its message is larger than the requester takes.
    #[error("a message of {size} bytes came, at most {max} were announced")]
    TooLarge {
        /// Its size.
        size: usize,
        /// What the requester takes.
        max: usize,
    },
    /// The chunks of its answer make up none.
    #[error("the chunks of its answer make up none: {0}")]
    Chunk(ChunkError),
    /// A digest that it gave is not that of what it gave.
    #[error("{what} hashes to {found}, it said {said}")]
    WrongDigest {
        /// What was hashed.
        what: &'static str,
        /// The digest computed.
        found: Box<Digest>,
        /// The digest that it gave.
        said: Box<Digest>,
    },
    /// The certificate chain is not one.
    #[error("the certificate chain is unusable: {0}")]
    Chain(String),
    /// The certificate chain begins with a root that is not pinned.
    #[error("its certificates are rooted in {found}, which is not among the {pinned} pinned roots")]
    UntrustedRoot {
        /// Digest of its root.
        found: Digest,
        /// How many roots are pinned.
        pinned: usize,
    },
    /// A signature by the leaf key does not verify.
    #[error("its signature does not verify with the leaf key of its chain")]
    BadSignature,
    /// The proof that both ends derived the same secrets is wrong.
    #[error("its verify data is wrong: the two ends do not agree on the conversation or the keys")]
    BadVerifyData,
    /// The key exchange value is not a point on the curve.
    #[error("its key exchange value is malformed")]
    BadPublicValue,
}

fn in_or_out(in_session: bool) -> &'static str {
    if in_session { "in" } else { "outside" }
}

fn versions(list: &[Version]) -> String {
    let mut text = String::new();
    for (index, version) in list.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        text.push_str(&format!("{comma}{}.{}", version.0 >> 4, version.0 & 0xf));
    }
    if text.is_empty() { "none".into() } else { text }
}

/// The slots of a mask, as the end of a sentence.
fn holders(mask: u8) -> String {
    let held: Vec<_> = (0..u8::BITS).filter(|slot| mask >> slot & 1 == 1).collect();
    match &held[..] {
        [] => "none does".into(),
        [one] => format!("slot {one} does"),
        [others @ .., last] => {
            let others: Vec<_> = others.iter().map(|slot| format!("{slot}")).collect();
            format!("slots {} and {last} do", others.join(", "))
        }
    }
}

/// A call that does not fit the machine's state: nothing was sent and nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// A request is under way.
    #[error("{awaited} is still awaited; one request at a time")]
    Busy {
        /// The message waited for.
        awaited: Code,
    },
    /// The call needs a connection.
    #[error("there is no connection; call connect and wait for Event::Challenged")]
    NotConnected,
    /// The call needs a session, or another one than it names.
    #[error("there is no such session; call connect and wait for Event::SessionReady")]
    NoSession,
    /// The responder does not sign measurements.
    #[error("the responder does not sign measurements (no MEAS_CAP)")]
    NoMeasurements,
    /// The responder does not renew keys.
    #[error("the responder does not renew keys (no KEY_UPD_CAP)")]
    NoKeyUpdate,
    /// As many sessions are open as the configuration has room for.
    #[error("{max} sessions are open already; end one, or raise `sessions_max`")]
    SessionLimit {
        /// How many.
        max: usize,
    },
    /// It is not known who the responder is: no session can be opened with it.
    #[error("the responder's key is not known; connect with `Goal::Identity` or `Goal::Session`")]
    NoIdentity,
    /// There is no key that both sides have.
    #[error("the configuration has no pre-shared key, or the responder opens no session on one (no PSK_CAP)")]
    NoPreSharedKey,
    /// The responder cannot make requests of its own, or not such.
    #[error(
        "the two sides do not both have the capabilities for such a request of the responder's (ENCAP_CAP)"
    )]
    NoEncapsulation,
    /// Too much is waiting already.
    #[error("{max} requests wait for the requester to fetch them; no more do")]
    TooMany {
        /// How many may wait.
        max: usize,
    },
    /// The responder has not what is asked for, or the version does not.
    #[error("the responder, or the version spoken, has no {what}")]
    Lacks {
        /// The capability.
        what: &'static str,
    },
    /// The payload does not fit.
    #[error("a payload of {size} bytes does not fit, at most {max} do")]
    TooLong {
        /// Its size.
        size: usize,
        /// What fits.
        max: usize,
    },
}
