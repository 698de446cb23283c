//! The way to the host's courier and, sealed inside it, to the TSM.
//!
//! ```text
//!   Link ── requests ──► courier frames ──► Stream (virtio-serial port) ──► tidelockd ──► TSM
//!     │ what the host says: Bound, Chunk, Refused          never believed, only looked at
//!     └ what the TSM says: Vouched<Response>               authenticated end to end
//! ```
//! One request at a time, each with a deadline. The host may answer late, twice, cut off, wrong or without end: each is
//! an [`Error`] that names what was asked, and after one of those nothing more is read from that stream until
//! [`Link::reopen`] has cleared it.

mod courier;
mod link;
mod serial;

pub use courier::Courier;
pub use link::Link;
pub(crate) use link::rid;
pub use serial::Serial;

use core::time::Duration;
use std::time::Instant;
use tdisp::relay::{FrameError, courier::Code, guest::Status};

/// Bytes to and from the host.
pub trait Stream {
    /// Sends all of `bytes`.
    fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), StreamError>;
    /// Receives at least one byte into `buffer`; answers how many.
    fn receive(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<usize, StreamError>;
}

/// Why no bytes come or go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The deadline has passed.
    #[error("nothing came in time")]
    Deadline,
    /// The host has hung up.
    #[error("the host has hung up")]
    Closed,
    /// The kernel refused.
    #[error("{0}")]
    Io(String),
}

/// Why a request was not answered, or its answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The stream failed.
    #[error("{asked}: {error}, waited {waited:?}")]
    Stream {
        /// What was asked.
        asked: &'static str,
        /// How it failed.
        error: StreamError,
        /// The time that the host was given.
        waited: Duration,
    },
    /// The host sends what is no frame.
    #[error("{asked}: {error}")]
    Frame {
        /// What was asked.
        asked: &'static str,
        /// What is wrong.
        error: FrameError,
    },
    /// The answer is one to another request, or to the same one again.
    #[error(
        "{asked}: the host answers request {found}, wanted {wanted}: an answer came late, twice or unasked"
    )]
    WrongId {
        /// What was asked.
        asked: &'static str,
        /// The answer's id.
        found: u32,
        /// The request's id.
        wanted: u32,
    },
    /// The answer is of another kind.
    #[error("{asked}: the host answers with {found}")]
    WrongKind {
        /// What was asked.
        asked: &'static str,
        /// What came.
        found: &'static str,
    },
    /// The host speaks another version of the courier protocol.
    #[error("the host speaks version {found} of the courier protocol, wanted {wanted}")]
    Version {
        /// The host's.
        found: u16,
        /// Ours.
        wanted: u16,
    },
    /// The host refuses.
    #[error("{asked}: the host refuses ({code}): {reason}")]
    Refused {
        /// What was asked.
        asked: &'static str,
        /// Why, for machines.
        code: Code,
        /// Why, in the host's words.
        reason: String,
    },
    /// The chunks make no object.
    #[error("{asked}: {error}")]
    Object {
        /// What was asked.
        asked: &'static str,
        /// What is wrong.
        error: tdisp::relay::courier::AssemblyError,
    },
    /// The pieces come, but so slowly that the whole would take forever.
    #[error(
        "{asked}: the object is not complete after {longest:?}; wanted all its pieces by then; see the host's log"
    )]
    Slow {
        /// What was asked.
        asked: &'static str,
        /// The time that the host was given.
        longest: Duration,
    },
    /// The channel to the TSM is broken.
    #[error("{asked}: {error}")]
    Sealed {
        /// What was asked.
        asked: &'static str,
        /// How.
        error: tdisp::relay::sealed::Error,
    },
    /// The TSM refuses.
    #[error("{asked}: the TSM refuses ({status}): {reason}")]
    Tsm {
        /// What was asked.
        asked: &'static str,
        /// Why, for machines.
        status: Status,
        /// Why, in the TSM's words.
        reason: String,
    },
    /// An earlier error has left the stream where no answer can be told from another.
    #[error("{asked}: the channel was given up after an error: {first}")]
    GivenUp {
        /// What was asked.
        asked: &'static str,
        /// The first error's text.
        first: String,
    },
}
