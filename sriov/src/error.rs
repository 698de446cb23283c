//! What can go wrong, by who is at fault, with the value found, what was wanted and what to do.

use std::path::PathBuf;

use rustix::io::Errno;

/// A failed access to a PCI function through the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused to open, read, write or list a file.
    #[error("cannot {access} {}: {errno}; {cure}", path.display())]
    Refused {
        /// `read`, `write "text" to`, `list`, …: reads on with the path.
        access: String,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
        /// What the operator can do.
        cure: &'static str,
    },
    /// A file says something that its format does not allow.
    #[error("{} says `{found}`, wanted {wanted}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its text, cut at 64 characters.
        found: String,
        /// What would have been right.
        wanted: &'static str,
    },
    /// A write was taken without complaint, but reading back shows that it had no effect.
    #[error("{} reads `{found}` after `{wanted}` was asked for; {cure}", path.display())]
    NoEffect {
        /// The file read back.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        wanted: String,
        /// What the operator can do.
        cure: &'static str,
    },
    /// Config space ends before the register.
    #[error(
        "config space of {} ends before the {bytes} bytes at {offset:#x}; root sees all of it, others 64 bytes",
        path.display()
    )]
    ConfigTooShort {
        /// The config file.
        path: PathBuf,
        /// The register's offset in bytes.
        offset: u16,
        /// How many bytes were wanted.
        bytes: usize,
    },
    /// The capability list of a function does not end: the device is broken, or lies.
    #[error("{list} capability list is broken at {offset:#x}: {why}; treat the device as faulty")]
    BrokenCapabilities {
        /// `standard` or `extended`.
        list: &'static str,
        /// Where the walk stopped.
        offset: u16,
        /// Loop, or pointer out of range.
        why: &'static str,
    },
    /// The function lacks what was asked of it.
    #[error("{what} is missing at {}; {cure}", path.display())]
    Missing {
        /// What is missing.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What the operator can do.
        cure: &'static str,
    },
    /// The caller asked for something that makes no sense.
    #[error("{what} cannot be `{found}`: wanted {wanted}")]
    Caller {
        /// The argument.
        what: &'static str,
        /// Its value.
        found: String,
        /// What would have been right.
        wanted: &'static str,
    },
}

impl Error {
    /// The kernel's error number, if the kernel refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// True if the file or function is not there (or no more there: functions are hot-plugged).
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Missing { .. })
            || matches!(self.errno(), Some(Errno::NOENT | Errno::NODEV | Errno::NXIO))
    }
}
