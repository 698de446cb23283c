//! The TSM backends behind one trait: who holds the secrets.
//!
//! | backend      | sessions                         | binds | worth to a guest            |
//! |--------------|----------------------------------|-------|-----------------------------|
//! | `emulated`   | in the emulated TSM's process    | yes   | evidence, vouched by it     |
//! | `userspace`  | in this process                  | no    | none: inventory facts only  |
//! | `sysfs-link` | in the kernel's TSM driver       | no    | none that user space can see|
//!
//! A backend is chosen by the configuration and probed by what it can do, never by a version number. What one
//! cannot do it answers with [`Error::Unsupported`].

mod emulated;
mod sysfs_link;
mod userspace;

use std::{io, path::PathBuf, pin::Pin};

use tdisp::relay::{
    FrameError, Rid, TdiId, VmId,
    host::{Bind, Code, DevStatus},
};

use crate::{config, errand::Errand, transport};

pub use userspace::identify;

/// A future that borrows its backend.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + 'a>>;

/// One backend. An operation that fails leaves nothing half done in the TSM; a verb that a backend does not have is
/// answered with [`Error::Unsupported`].
pub trait Tsm {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;
    /// What it can do, for people.
    fn note(&self) -> &'static str;
    /// Whether it is there, as far as can be said without asking it.
    fn is_alive(&self) -> bool;
    /// Whether others than this daemon make sessions in it too: those are not ours to end because we did not make them.
    fn has_sessions_of_others(&self) -> bool {
        false
    }
    /// Finds the TSM, anew if it was lost.
    fn open(&mut self) -> Later<'_, ()>;
    /// Why it cannot do what it leaves to the verbs below, and what can be done.
    fn lack(&self) -> &'static str {
        "it has no such verb"
    }
    /// Makes a key for a VM; fine if it has one.
    fn create_vm(&mut self, _vm: VmId) -> Later<'_, ()> {
        unsupported(self.name(), "make a VM's key", self.lack())
    }
    /// Makes a session with a device.
    fn connect<'a>(&'a mut self, _device: Rid, _slot: u8, _errand: &'a mut Errand<'_>) -> Later<'a, ()> {
        unsupported(self.name(), "connect a device", self.lack())
    }
    /// Ends it; fine if there is none.
    fn disconnect<'a>(&'a mut self, _device: Rid, _errand: &'a mut Errand<'_>) -> Later<'a, ()> {
        unsupported(self.name(), "disconnect a device", self.lack())
    }
    /// What it knows about a device.
    fn device(&mut self, _device: Rid) -> Later<'_, DevStatus> {
        unsupported(self.name(), "hold a session", self.lack())
    }
    /// Locks a TDI for a VM.
    fn bind<'a>(&'a mut self, _bind: Bind, _errand: &'a mut Errand<'_>) -> Later<'a, TdiId> {
        unsupported(self.name(), "bind a function to a VM", self.lack())
    }
    /// Stops it; fine if the TSM does not know it any more.
    fn unbind<'a>(&'a mut self, _tdi: TdiId, _errand: &'a mut Errand<'_>) -> Later<'a, ()> {
        unsupported(self.name(), "unbind a function", self.lack())
    }
    /// Passes a guest's sealed message on; the sealed answer.
    fn guest<'a>(
        &'a mut self,
        _vm: VmId,
        _bytes: Vec<u8>,
        _errand: &'a mut Errand<'_>,
    ) -> Later<'a, Vec<u8>> {
        unsupported(self.name(), "pass a guest's message on", self.lack())
    }
}

fn unsupported<'a, T: 'a>(backend: &'static str, what: &'static str, why: &'static str) -> Later<'a, T> {
    Box::pin(async move { Err(Error::Unsupported { backend, what, why }) })
}

/// Makes the backend that the configuration names.
pub fn backend(config: &config::Config) -> Box<dyn Tsm> {
    match &config.tsm {
        config::Tsm::Emulated { socket } => Box::new(emulated::Emulated::new(socket.clone())),
        config::Tsm::Userspace => Box::new(userspace::Userspace),
        config::Tsm::SysfsLink { root, name } => {
            Box::new(sysfs_link::SysfsLink::new(root.clone(), name.clone()))
        }
    }
}

/// Why the TSM did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is there.
    #[error("the TSM at {} cannot be reached: {source}; start it, or mend `socket` in [tsm]", path.display())]
    Unreachable {
        /// Its socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It went away, or is silent.
    #[error("the TSM {what} during {during}; what was going on is taken back when it is there again")]
    Lost {
        /// What it did.
        what: String,
        /// The operation.
        during: &'static str,
    },
    /// Its bytes are not the protocol's.
    #[error("the TSM's answer to {during} cannot be read: {source}; is it of the same version?")]
    Malformed {
        /// The operation.
        during: &'static str,
        /// Why.
        source: FrameError,
    },
    /// It answered something else than was asked.
    #[error("the TSM answered {during} with {found}; wanted {wanted}")]
    WrongAnswer {
        /// The operation.
        during: &'static str,
        /// What came.
        found: &'static str,
        /// What would have been right.
        wanted: &'static str,
    },
    /// It speaks another version.
    #[error("the TSM speaks version {found} of the host protocol; wanted {wanted}: install the two together")]
    Version {
        /// Its version.
        found: u16,
        /// Ours.
        wanted: u16,
    },
    /// It refused or failed.
    #[error("{during} failed: {reason}")]
    Refused {
        /// The operation.
        during: &'static str,
        /// For machines.
        code: Code,
        /// For people.
        reason: String,
    },
    /// The way to the device failed.
    #[error("{during} failed: {source}")]
    Device {
        /// The operation and the step of it.
        during: String,
        /// Why.
        source: transport::Error,
    },
    /// The backend has no such verb.
    #[error("backend \"{backend}\" cannot {what}: {why}")]
    Unsupported {
        /// The backend.
        backend: &'static str,
        /// The verb.
        what: &'static str,
        /// Why not, and what can be done.
        why: &'static str,
    },
    /// The kernel refused.
    #[error("{0}")]
    Kernel(#[from] sriov::Error),
    /// There is no such TSM in the kernel.
    #[error("{0}")]
    NoTsm(String),
    /// The device's SPDM conversation failed.
    #[error("{during}: {reason}")]
    Spdm {
        /// What was going on.
        during: &'static str,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whose fault, for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "unsupported",
            Self::Device { .. } | Self::Spdm { .. } => "device",
            Self::Refused { code, .. } => match *code {
                Code::CARRY | Code::DEVICE => "device",
                Code::UNKNOWN => "unknown",
                Code::EXISTS => "state",
                _ => "tsm",
            },
            Self::Kernel(_) => "platform",
            _ => "tsm",
        }
    }

    /// Whether the TSM must be found again before anything else.
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Malformed { .. } | Self::WrongAnswer { .. }
        )
    }
}
