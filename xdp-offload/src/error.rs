//! What can go wrong between rules and a running program.

use std::io;

use rustix::io::Errno;

use crate::{Mode, RuleError};

/// A failed load, attach or question to the kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The rules cannot be.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The kernel did not take the program.
    #[error("the kernel did not load the XDP program: {source}; {cure}")]
    Load {
        /// The kernel's or libbpf's reason.
        source: io::Error,
        /// What the operator can do.
        cure: &'static str,
    },
    /// The kernel did not attach the program in the mode asked for. No other mode was tried.
    #[error("the kernel did not attach the program to interface {ifindex} in {mode} mode: {source}; {cure}")]
    Attach {
        /// The interface.
        ifindex: u32,
        /// The mode asked for.
        mode: Mode,
        /// The kernel's reason.
        source: io::Error,
        /// What the operator can do.
        cure: &'static str,
    },
    /// The kernel says that the program runs in another mode, or not at all. It has been taken off again.
    #[error(
        "interface {ifindex} runs {found} after {wanted} mode was asked for; another program may fight for it"
    )]
    ModeDiffers {
        /// The interface.
        ifindex: u32,
        /// The mode asked for.
        wanted: Mode,
        /// What the kernel says.
        found: String,
    },
    /// A question to the kernel had no answer.
    #[error("cannot {what}: {source}")]
    Kernel {
        /// Reads on after `cannot`.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A map holds something else than this loader wrote.
    #[error("the counters are {found} bytes long, wanted {wanted}: the program is of another version")]
    Layout {
        /// Bytes found.
        found: usize,
        /// Bytes wanted.
        wanted: usize,
    },
    /// There is no such interface.
    #[error("there is no interface `{name}` here: {source}; see `ip link`")]
    NoInterface {
        /// Its name.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// What to do about a program that was not loaded.
pub(crate) fn load(error: libbpf_rs::Error) -> Error {
    let source = io(error);
    let cure = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "it takes CAP_BPF and CAP_NET_ADMIN; if it has them, standard error has the verifier's log"
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong => {
            "the verifier refused it: its log is on standard error; Linux 5.18 or newer is needed"
        }
        io::ErrorKind::OutOfMemory => "memory is short, or RLIMIT_MEMLOCK on kernels before 5.11",
        _ => "standard error has libbpf's reason",
    };
    Error::Load { source, cure }
}

/// What to do about a program that was not attached.
pub(crate) fn attach(ifindex: u32, mode: Mode, source: io::Error) -> Error {
    let cure = match source.raw_os_error() {
        Some(EOPNOTSUPP) if mode == Mode::Native => {
            "the driver has no native XDP, or its settings (MTU, LRO, too few queues) rule it out: dmesg says which; \
             generic mode works everywhere but is slower, and is never chosen for you"
        }
        Some(EOPNOTSUPP) => "the kernel or the interface has no XDP",
        Some(EBUSY | EEXIST) => {
            "another XDP program is there: see `tidelock-xdp status` and `ip link set dev IF xdp off`"
        }
        Some(ENODEV) => "the interface is gone",
        Some(EPERM) => "it takes CAP_NET_ADMIN in the interface's network namespace",
        Some(ENOMEM | ENOSPC) => {
            "the driver is short of queues or memory for XDP: raise queues (ethtool -L) or vCPUs' share"
        }
        Some(EINVAL | ERANGE) => {
            "the interface's MTU or receive offloads (LRO) rule XDP out: dmesg says which"
        }
        _ => "dmesg may say more",
    };
    Error::Attach {
        ifindex,
        mode,
        source,
        cure,
    }
}

pub(crate) fn kernel(what: &'static str) -> impl FnOnce(libbpf_rs::Error) -> Error {
    move |error| Error::Kernel {
        what,
        source: io(error),
    }
}

/// libbpf-rs tells the error number only by kind; its text has the rest.
fn io(error: libbpf_rs::Error) -> io::Error {
    use libbpf_rs::ErrorKind as Kind;
    let kind = match error.kind() {
        Kind::PermissionDenied => io::ErrorKind::PermissionDenied,
        Kind::NotFound => io::ErrorKind::NotFound,
        Kind::InvalidInput => io::ErrorKind::InvalidInput,
        Kind::InvalidData => io::ErrorKind::InvalidData,
        Kind::OutOfMemory => io::ErrorKind::OutOfMemory,
        Kind::TooBig => io::ErrorKind::ArgumentListTooLong,
        Kind::Unsupported => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("{error:#}"))
}

const EPERM: i32 = Errno::PERM.raw_os_error();
const ENOMEM: i32 = Errno::NOMEM.raw_os_error();
const EBUSY: i32 = Errno::BUSY.raw_os_error();
const EEXIST: i32 = Errno::EXIST.raw_os_error();
const ENODEV: i32 = Errno::NODEV.raw_os_error();
const EINVAL: i32 = Errno::INVAL.raw_os_error();
const ENOSPC: i32 = Errno::NOSPC.raw_os_error();
const ERANGE: i32 = Errno::RANGE.raw_os_error();
const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();
