//! The device interface report of a network function: what its registers are at the moment of a lock.

use super::config::{COMMAND_MEMORY, ConfigSpace};
use super::function::{MSIX_BAR, VECTORS};
use super::peer::guest_mac;
use std::str::FromStr;
use tdisp::tdi::msg::{InterfaceId, Lock, LockFlags, PAGE_SIZE};
use tdisp::tdi::report::{Attributes, Info, Range, Report};

/// Bus number that the card answers TDISP for. A card learns its bus from configuration writes; those do not reach an
/// emulated one, so it is where the lab's root port puts it.
pub const BUS: u16 = 1;

/// The interface that `function` is, on that bus.
pub const fn interface(function: u8) -> InterfaceId {
    InterfaceId::new(BUS << 8 | function as u16)
}

/// The interfaces that functions 1 and 2 are: on that bus, or as the card is told. The second may be none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces(Vec<InterfaceId>);

impl Default for Interfaces {
    fn default() -> Self {
        Self(vec![interface(1), interface(2)])
    }
}

/// From requester IDs: `0x101,0x102`.
impl FromStr for Interfaces {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = |text: &str| match text.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16),
            None => text.parse(),
        };
        let ids: Result<Vec<_>, _> = text.split(',').map(id).collect();
        match ids.as_deref() {
            Ok([only]) => Ok(Self(vec![InterfaceId::new(*only)])),
            Ok([one, other]) if one != other => Ok(Self([*one, *other].map(InterfaceId::new).to_vec())),
            _ => Err("wanted one or two requester IDs, such as 0x101,0x102"),
        }
    }
}

impl Interfaces {
    /// All there are.
    pub fn all(&self) -> &[InterfaceId] {
        &self.0
    }

    /// The interface that `function` is, if it is one.
    pub fn of(&self, function: usize) -> Option<InterfaceId> {
        self.0.get(function.checked_sub(1)?).copied()
    }

    /// The function that an interface is, if it is one of the card's.
    pub fn function(&self, of: InterfaceId) -> Option<u8> {
        [1, 2]
            .into_iter()
            .find(|function| self.of(usize::from(*function)) == Some(of))
    }
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
        let usual = Interfaces::default();
        assert_eq!(usual.function(interface(2)), Some(2));
        assert_eq!(
            (usual.function(interface(0)), usual.function(InterfaceId::new(1))),
            (None, None)
        );
        assert_eq!((usual.of(0), usual.of(3)), (None, None));
        let told: Interfaces = "0xbeef,7".parse().unwrap();
        assert_eq!(told.all(), [0xbeef, 7].map(InterfaceId::new));
        assert_eq!(told.function(InterfaceId::new(0xbeef)), Some(1));
        assert_eq!(
            (told.function(interface(1)), told.of(2)),
            (None, Some(told.all()[1]))
        );
        let one: Interfaces = "257".parse().unwrap();
        assert_eq!((one.of(1), one.of(2)), (Some(interface(1)), None));
        for wrong in ["", "0x10000", "1,1", "1,2,3", "beef"] {
            assert!(wrong.parse::<Interfaces>().is_err(), "{wrong}");
        }
    }
}
