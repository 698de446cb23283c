//! Ways to a device's DOE mailbox: whole data objects out, whole data objects back, one in flight.
//!
//! ```text
//!             exchange(object) ─► answer
//!   ┌──────────────┴──────────────┐
//!  emulator: TCP, DMTF framing   sysfs: config space, mailbox registers stepped by tdisp::doe::mailbox
//! ```
//! A transport moves bytes and knows nothing of SPDM. Every exchange is bounded in size and time, and after the
//! first error a [`Mailbox`] is given up: a late answer can then never be taken for the answer to a later request.

mod discovery;
mod emulator;
mod sysfs;

use std::{path::Path, time::Duration};

use tdisp::{relay::Rid, spdm::transport::Transport};

use crate::config::{Device, Doe};

pub use emulator::{CONNECTING, OBJECT_SIZE_MAX};

/// An open way to one DOE mailbox.
#[derive(Debug)]
pub struct Mailbox {
    way: Way,
    broken: bool,
}

#[derive(Debug)]
enum Way {
    Emulator(emulator::Socket),
    Sysfs(Box<sysfs::Registers>),
}

impl Mailbox {
    /// Opens the way that the configuration names and asks DOE discovery for SPDM and secured SPDM.
    /// `locks` is the directory of the per-device lock files.
    pub async fn open(device: &Device, locks: &std::path::Path) -> Result<Self, Error> {
        match &device.doe {
            Doe::Emulator { address, timeout } => Self::connect(address, *timeout, Transport::Doe).await,
            Doe::Sysfs { root, timeout } => Self::sysfs(root, device.bdf, *timeout, locks).await,
        }
    }

    /// Opens the way through a socket. On DOE discovery is asked for SPDM and secured SPDM; MCTP has no such thing.
    pub async fn connect(address: &str, timeout: Duration, transport: Transport) -> Result<Self, Error> {
        let mut socket = emulator::Socket::open(address, timeout, transport).await?;
        if transport == Transport::Doe {
            socket.discover().await?;
        }
        let way = Way::Emulator(socket);
        Ok(Self { way, broken: false })
    }

    /// Opens the way through config space below `root`, which is sysfs.
    pub async fn sysfs(root: &Path, bdf: Rid, timeout: Duration, locks: &Path) -> Result<Self, Error> {
        let registers = sysfs::Registers::open(root, bdf, timeout, locks).await?;
        let way = Way::Sysfs(Box::new(registers));
        Ok(Self { way, broken: false })
    }

    /// Carries one unit there, and the answer back: a data object with its 8-byte header, or a message with MCTP's type byte.
    pub async fn exchange(&mut self, object: &[u8]) -> Result<Vec<u8>, Error> {
        if self.broken {
            return Err(Error::GivenUp);
        }
        let answer = match &mut self.way {
            Way::Emulator(socket) => socket.exchange(object).await,
            Way::Sysfs(registers) => registers.exchange(object).await,
        };
        self.broken = answer.is_err();
        answer
    }

    /// Says goodbye where the way has a word for it.
    pub async fn close(self) {
        if let (Way::Emulator(socket), false) = (self.way, self.broken) {
            socket.close().await;
        }
    }
}

/// Why an object did not get through. The peer's fault where it says "device", the platform's otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error(
        "the device's socket {address} cannot be reached: {source}; start the device, or mend the address"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The peer closed the connection.
    #[error("the device hung up during {during}; wanted an answer")]
    HungUp {
        /// What was going on.
        during: &'static str,
    },
    /// No answer in time.
    #[error("the device gave no answer to {during} in {} ms", .after.as_millis())]
    TimedOut {
        /// What was going on.
        during: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// Bytes came that nobody asked for.
    #[error("the device sent {found} bytes that nobody asked for; wanted one answer to one request")]
    Unasked {
        /// How many were seen.
        found: usize,
    },
    /// A frame or an object is not what it should be.
    #[error("the device's {what} is {found}; wanted {wanted}")]
    Malformed {
        /// Which field or object.
        what: &'static str,
        /// Its value.
        found: String,
        /// What would have been right.
        wanted: String,
    },
    /// The device has no mailbox for SPDM.
    #[error("DOE discovery lists {found}; wanted SPDM (0001:01) and secured SPDM (0001:02)")]
    NoSpdm {
        /// What it lists.
        found: String,
    },
    /// Reading or writing failed.
    #[error("{during} failed: {source}")]
    Io {
        /// What was going on.
        during: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else uses the mailbox.
    #[error("the mailbox of {bdf} is taken: {by}; {cure}")]
    Taken {
        /// The function.
        bdf: String,
        /// By whom.
        by: String,
        /// What to do.
        cure: String,
    },
    /// The mailbox's registers did not do as they should.
    #[error("the device's DOE mailbox: {0}")]
    Mailbox(#[source] tdisp::doe::mailbox::Error),
    /// Config space or sysfs cannot be used.
    #[error(transparent)]
    Kernel(#[from] sriov::Error),
    /// An earlier exchange failed.
    #[error("the way to the device was given up after an earlier failure; connect the device again")]
    GivenUp,
}
