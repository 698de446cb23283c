//! The device interface report of a network function: what its registers are at the moment of a lock.

use super::config::{COMMAND_MEMORY, ConfigSpace};
use super::function::{MSIX_BAR, VECTORS};
use super::peer::guest_mac;
use tdisp::tdi::msg::{InterfaceId, Lock, LockFlags, PAGE_SIZE};
use tdisp::tdi::report::{Attributes, Info, Range, Report};

/// Bus number that the card answers TDISP for. A card learns its bus from configuration writes; those do not reach an
/// emulated one, so it is where the lab's root port puts it.
pub const BUS: u16 = 1;

/// The interface that `function` is.
pub const fn interface(function: u8) -> InterfaceId {
    InterfaceId::new(BUS << 8 | function as u16)
}

/// The function that an interface is, if it is one of the card's network functions.
pub fn function(of: InterfaceId) -> Option<u8> {
    [1, 2].into_iter().find(|function| interface(*function) == of)
}

/// Why a function cannot be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotLockable {
    /// Memory Space Enable is clear.
    #[error("memory space is disabled: enable the function first")]
    MemoryDisabled,
    /// BARs are not placed, or overlap.
    #[error("its BARs are not placed, or overlap: place them first")]
    Bars,
}

/// The report of `function` with registers `config`, for `lock`.
pub fn report(function: u8, config: &ConfigSpace, lock: &Lock) -> Result<Report, NotLockable> {
    if config.command() & COMMAND_MEMORY == 0 {
        return Err(NotLockable::MemoryDisabled);
    }
    if config.bars().any(|bar| bar.base == 0) {
        return Err(NotLockable::Bars);
    }
    let range = |bar: super::config::Bar| Range {
        first_page: u64::from(bar.base).wrapping_add(lock.mmio_reporting_offset) / PAGE_SIZE,
        pages: bar.size / PAGE_SIZE as u32,
        attributes: match bar.index {
            MSIX_BAR => Attributes::MSIX_TABLE | Attributes::MSIX_PBA,
            _ => Attributes::default(),
        },
        id: bar.index as u16,
    };
    let no_update = lock.flags.contains(LockFlags::NO_FW_UPDATE);
    let report = Report {
        info: if no_update {
            Info::DMA | Info::NO_FW_UPDATE
        } else {
            Info::DMA
        },
        msix_control: VECTORS - 1,
        ranges: config.bars().map(range).collect(),
        specific: guest_mac(function).to_vec(),
        ..Report::default()
    };
    report.check().map_err(|_| NotLockable::Bars)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::super::config::{BAR0, COMMAND};
    use super::super::function::network_layout;
    use super::*;

    const LOCK: Lock = Lock {
        flags: LockFlags::NO_FW_UPDATE,
        default_stream: 0,
        mmio_reporting_offset: 0x10_0000,
        bind_p2p_address_mask: 0,
    };

    fn placed(bars: [u32; 2], command: u16) -> ConfigSpace {
        let mut config = network_layout().config;
        config.write(BAR0, &bars[0].to_le_bytes());
        config.write(BAR0 + 8, &bars[1].to_le_bytes());
        config.write(COMMAND, &command.to_le_bytes());
        config
    }

    #[test]
    fn a_report_has_every_bar_with_the_offset_added() {
        let made = report(1, &placed([0xfe80_0000, 0xfe90_0000], COMMAND_MEMORY), &LOCK).unwrap();
        let mut bytes = Vec::new();
        made.encode(&mut bytes);
        assert_eq!(Report::decode(&bytes).as_ref(), Ok(&made));
        let ranges: Vec<_> = made
            .ranges
            .iter()
            .map(|range| (range.id, range.address(), range.size()))
            .collect();
        assert_eq!(ranges, [(0, 0xfe90_0000, 0x4000), (2, 0xfea0_0000, 0x1000)]);
        assert!(made.info.contains(Info::NO_FW_UPDATE));
    }

    #[test]
    fn a_function_that_is_off_or_whose_bars_overlap_is_not_locked() {
        let off = report(1, &placed([0xfe80_0000, 0xfe90_0000], 0), &LOCK);
        assert_eq!(off, Err(NotLockable::MemoryDisabled));
        for bars in [[0, 0xfe90_0000], [0xfe80_0000, 0xfe80_1000]] {
            assert_eq!(
                report(1, &placed(bars, COMMAND_MEMORY), &LOCK),
                Err(NotLockable::Bars)
            );
        }
    }

    #[test]
    fn interfaces_and_functions_name_each_other() {
        assert_eq!(function(interface(2)), Some(2));
        assert_eq!(
            (function(interface(0)), function(InterfaceId::new(1))),
            (None, None)
        );
    }
}
