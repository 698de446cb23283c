//! The configuration that a lock freezes, and what makes one that cannot be locked (PCIe §11.3.8).

use crate::tdi::msg::{Lock, LockFlags};
use alloc::vec::Vec;

/// Why the device's configuration cannot be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misconfigured {
    /// Phantom functions are enabled.
    #[error("phantom functions are enabled; disable them before the lock")]
    PhantomFunctions,
    /// Two address spaces overlap: BARs, the expansion ROM, the VFs' BARs.
    #[error("address spaces {first} and {second} overlap; place them apart before the lock")]
    Overlap {
        /// Which.
        first: SpaceKind,
        /// And which.
        second: SpaceKind,
    },
    /// An address space leaves the 64-bit address space, or the report's with the lock's offset added.
    #[error(
        "address space {0} leaves the 64-bit address space, as it is or with the lock's MMIO_REPORTING_OFFSET added"
    )]
    Outside(SpaceKind),
    /// A resizable BAR has a size that the device does not support.
    #[error("a resizable BAR has a size that is not supported")]
    BarSize,
    /// SR-IOV's system page size is not supported.
    #[error("the system page size of SR-IOV is not supported")]
    SystemPageSize,
    /// The system's cache line size is not the one that the device is configured for.
    #[error("the device is configured for cache lines of {found} bytes, and the lock says {wanted}")]
    CacheLine {
        /// The device's.
        found: u16,
        /// The lock's.
        wanted: u16,
    },
    /// TPH's steering mode is not supported.
    #[error("the mode that is selected for TPH is not supported by the function")]
    SteeringMode,
    /// No register block has the lock's stream as the default stream, or several have one.
    #[error("the IDE registers do not have stream {0} as the only default stream")]
    DefaultStream(u8),
    /// The default stream is for another traffic class than 0.
    #[error("IDE stream {0} is for another traffic class than TC 0")]
    TrafficClass(u8),
    /// A peer-to-peer stream is configured twice, or not at all, or is the default stream, or overlaps another.
    #[error("the IDE registers do not have stream {0} once, beside the default stream and apart from others")]
    PeerStream(u8),
    /// Something else of the device's own.
    #[error("the device's configuration is one that it cannot lock")]
    Other,
}

/// Which address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpaceKind {
    /// A BAR of the function.
    Bar(u8),
    /// Its expansion ROM.
    Rom,
    /// A BAR of its virtual functions, all of them.
    VirtualBar(u8),
}

impl core::fmt::Display for SpaceKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Bar(index) => write!(f, "BAR {index}"),
            Self::Rom => f.write_str("expansion ROM"),
            Self::VirtualBar(index) => write!(f, "VF BAR {index}"),
        }
    }
}

/// An address space that the function answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Which.
    pub kind: SpaceKind,
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// What of a function's configuration decides whether it can be locked. A device's model fills it in when a lock comes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    /// BARs, ROM and VF BARs that are enabled.
    pub spaces: Vec<Space>,
    /// Whether phantom functions are enabled.
    pub phantom_functions: bool,
    /// Bytes of a cache line that the device is configured for; `None` if it does not care.
    pub cache_line: Option<u16>,
}

impl Configuration {
    /// Whether it can be locked so.
    pub fn check(&self, lock: &Lock) -> Result<(), Misconfigured> {
        if self.phantom_functions {
            return Err(Misconfigured::PhantomFunctions);
        }
        let wanted = match lock.flags.contains(LockFlags::SYS_CACHE_LINE_SIZE) {
            true => 128,
            false => 64,
        };
        if let Some(found) = self.cache_line.filter(|found| *found != wanted) {
            return Err(Misconfigured::CacheLine { found, wanted });
        }
        let offset = lock.mmio_reporting_offset.cast_signed();
        for (at, space) in self.spaces.iter().enumerate() {
            space.check(offset)?;
            let before = self.spaces[..at].iter();
            if let Some(first) = before.into_iter().find(|first| first.overlaps(space)) {
                return Err(Misconfigured::Overlap {
                    first: first.kind,
                    second: space.kind,
                });
            }
        }
        Ok(())
    }
}

impl Space {
    /// The addresses exist, as they are and as they are reported: an offset must not overflow (§11.3.8).
    fn check(&self, offset: i64) -> Result<(), Misconfigured> {
        let outside = Misconfigured::Outside(self.kind);
        // The last address, so that a space may end where the address space does.
        let last = self.size.checked_sub(1).ok_or(outside)?;
        let shown = self.base.checked_add_signed(offset).ok_or(outside)?;
        let ends = self.base.checked_add(last).and(shown.checked_add(last));
        ends.map(drop).ok_or(outside)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let last = |space: &Self| space.base.saturating_add(space.size.saturating_sub(1));
        self.base <= last(other) && other.base <= last(self)
    }
}
