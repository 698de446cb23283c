//! Whether a report's ranges are the function's BARs, all of them and nothing else (PCIe §11.5.2: what the TSM and the guest
//! check before they believe where a device's memory is).

use super::{Range, Report};
use crate::tdi::msg::PAGE_SIZE;

/// A memory BAR as the one who checks sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Its index, which a range's ID states (the BAR equivalent indicator); 0 to 5, and 7 for the ROM's.
    pub index: u8,
    /// Address; a multiple of its size.
    pub base: u64,
    /// Bytes, a power of two.
    pub size: u64,
}

/// Why the ranges are not the BARs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Uncovered {
    /// A BAR has no range.
    #[error("BAR {0} is not in the report; wanted every BAR, so that none is left to the host")]
    Missing(u8),
    /// A range's ID is of no BAR.
    #[error("the report has a range with ID {0}, and the function has no such BAR")]
    NoBar(u16),
    /// A BAR is smaller than a page, or not on the grid of its size: no range can be it.
    #[error("BAR {index} is {size:#x} bytes at {base:#x}, wanted whole pages at a multiple of its size")]
    Misplaced {
        /// Which.
        index: u8,
        /// Where.
        base: u64,
        /// Bytes.
        size: u64,
    },
    /// A range does not begin where the one before it ended, or the BAR begins.
    #[error("BAR {index}: a range begins at {found:#x}, wanted {wanted:#x}, so that nothing is left out")]
    Gap {
        /// Which BAR.
        index: u8,
        /// First byte of the range, without the reporting offset.
        found: u64,
        /// Where it had to begin.
        wanted: u64,
    },
    /// The ranges end before the BAR does, or behind it.
    #[error("BAR {index}: its ranges have {found:#x} bytes, wanted {wanted:#x}")]
    Size {
        /// Which BAR.
        index: u8,
        /// Bytes of its ranges.
        found: u64,
        /// Bytes of the BAR.
        wanted: u64,
    },
}

impl Report {
    /// Whether the ranges are these BARs: each begins at its BAR, follows the one before it, and together they are all of it.
    /// `offset` is the lock's MMIO_REPORTING_OFFSET. Ranges with IDs from 8 on are the device's own groups, and no BARs.
    pub fn covers(&self, bars: &[Bar], offset: u64) -> Result<(), Uncovered> {
        let stray = self.ranges.iter().map(|range| range.id).find(|id| {
            let is_bar = bars.iter().any(|bar| u16::from(bar.index) == *id);
            *id < OWN_IDS && !is_bar
        });
        match stray {
            Some(id) => Err(Uncovered::NoBar(id)),
            None => bars.iter().try_for_each(|bar| self.covers_bar(bar, offset)),
        }
    }

    fn covers_bar(&self, bar: &Bar, offset: u64) -> Result<(), Uncovered> {
        let Bar { index, base, size } = *bar;
        if !size.is_power_of_two() || size < PAGE_SIZE || base % size != 0 {
            return Err(Uncovered::Misplaced { index, base, size });
        }
        let mut covered: u64 = 0;
        for range in self.ranges.iter().filter(|range| range.id == u16::from(index)) {
            let (found, wanted) = (place(range, offset), base.wrapping_add(covered));
            if found != wanted {
                return Err(Uncovered::Gap { index, found, wanted });
            }
            covered = covered.saturating_add(range.size());
        }
        match covered {
            0 => Err(Uncovered::Missing(index)),
            found if found == size => Ok(()),
            found => Err(Uncovered::Size {
                index,
                found,
                wanted: size,
            }),
        }
    }
}

/// Where a range is in the function's own address space.
fn place(range: &Range, offset: u64) -> u64 {
    range.address().wrapping_sub(offset)
}

/// The first range ID that is no BAR's (Table 11-15).
const OWN_IDS: u16 = 8;
