//! Configuration tracking: what a write to configuration space means to a locked interface.
//!
//! A device security manager must notice when the host changes registers that a locked interface stands on
//! (PCIe 6.x §11.4.2). Any of these moves a locked or running interface to ERROR; anything else is harmless.

use super::config::{COMMAND_BUS_MASTER, COMMAND_MEMORY, ConfigSpace};

/// A change that a locked interface does not survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Memory Space Enable was cleared.
    #[error("Memory Space Enable was cleared")]
    MemorySpace,
    /// Bus Master Enable was cleared.
    #[error("Bus Master Enable was cleared")]
    BusMaster,
    /// A BAR was moved.
    #[error("BAR {index} was moved from {from:#x} to {to:#x}")]
    Bar {
        /// Which one.
        index: usize,
        /// Its address before.
        from: u32,
        /// Its address now.
        to: u32,
    },
    /// The function was reset.
    #[error("the function was reset")]
    Reset,
}

/// What changed from `before` to `after`, if it matters; the first of several.
pub fn breach(before: &ConfigSpace, after: &ConfigSpace) -> Option<Breach> {
    let cleared = before.command() & !after.command();
    if cleared & COMMAND_MEMORY != 0 {
        return Some(Breach::MemorySpace);
    }
    if cleared & COMMAND_BUS_MASTER != 0 {
        return Some(Breach::BusMaster);
    }
    let moved = before.bars().zip(after.bars()).find(|(a, b)| a.base != b.base);
    moved.map(|(a, b)| Breach::Bar {
        index: a.index,
        from: a.base,
        to: b.base,
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::{BAR0, COMMAND, Identity};
    use super::*;

    fn enabled() -> ConfigSpace {
        let mut space = ConfigSpace::new(Identity {
            vendor: 1,
            device: 2,
            class: 3,
            subsystem: 4,
            multifunction: false,
        });
        space.add_bar(0, 4096);
        space.write(BAR0, &0xfe00_0000u32.to_le_bytes());
        space.write(COMMAND, &(COMMAND_MEMORY | COMMAND_BUS_MASTER).to_le_bytes());
        space
    }

    #[track_caller]
    fn check(at: usize, value: u32, expected: Option<Breach>) {
        let before = enabled();
        let mut after = before.clone();
        after.write(at, &value.to_le_bytes());
        assert_eq!(breach(&before, &after), expected);
    }

    #[test]
    fn clearing_memory_space_or_bus_master_is_a_breach() {
        check(COMMAND, u32::from(COMMAND_BUS_MASTER), Some(Breach::MemorySpace));
        check(COMMAND, u32::from(COMMAND_MEMORY), Some(Breach::BusMaster));
    }

    #[test]
    fn moving_a_bar_is_a_breach() {
        let moved = Breach::Bar {
            index: 0,
            from: 0xfe00_0000,
            to: 0xfe10_0000,
        };
        check(BAR0, 0xfe10_0000, Some(moved));
    }

    #[test]
    fn rewriting_the_same_values_is_harmless() {
        check(BAR0, 0xfe00_0000, None);
        check(
            COMMAND,
            u32::from(COMMAND_MEMORY | COMMAND_BUS_MASTER | 1 << 10),
            None,
        );
        check(0x3c, 11, None);
    }
}
