//! The registers of a modern virtio PCI device (virtio 1.2 §4.1.4), all in BAR 0:
//! ```text
//!   0x0000  common configuration      0x2000  device configuration (MAC, link status)
//!   0x1000  interrupt status          0x3000  notifications, 4 bytes a queue
//! ```

use super::super::config::ConfigSpace;
use super::super::gate::Ranges;
use super::queue::{Queue, SIZE_MAX};

/// Bytes of the BAR.
pub const BAR_SIZE: u32 = 0x4000;
/// Queue the guest receives on.
pub const RX: usize = 0;
/// Queue the guest sends on.
pub const TX: usize = 1;
/// Queues.
pub const QUEUES: usize = 2;
/// Value of a vector register that stands for none.
pub const NO_VECTOR: u16 = 0xffff;

/// The device validates checksums that the driver left open.
pub const F_CSUM: u64 = 1 << 0;
/// The device has a MAC address.
pub const F_MAC: u64 = 1 << 5;
/// The driver may send TCP/IPv4 segments larger than the MTU.
pub const F_HOST_TSO4: u64 = 1 << 11;
/// A received frame may span several chains.
pub const F_MRG_RXBUF: u64 = 1 << 15;
/// The device has a link status.
pub const F_STATUS: u64 = 1 << 16;
/// Both sides say at which index they want to be woken.
pub const F_EVENT_IDX: u64 = 1 << 29;
/// Not a legacy device.
pub const F_VERSION_1: u64 = 1 << 32;
/// Addresses are the IOMMU's.
pub const F_ACCESS_PLATFORM: u64 = 1 << 33;

/// What is offered. [`F_ACCESS_PLATFORM`] and [`F_VERSION_1`] are not optional for the driver.
pub const OFFERED: u64 =
    F_CSUM | F_MAC | F_HOST_TSO4 | F_MRG_RXBUF | F_STATUS | F_EVENT_IDX | F_VERSION_1 | F_ACCESS_PLATFORM;

const STATUS_FEATURES_OK: u8 = 8;
const STATUS_DRIVER_OK: u8 = 4;
const STATUS_NEEDS_RESET: u8 = 64;

/// What a register write asks the device to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The queues moved or changed.
    Queues,
    /// The driver put something into queue `0`.
    Notified(usize),
}

/// The registers' values.
#[derive(Debug)]
pub struct Registers {
    mac: [u8; 6],
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    config_vector: u16,
    status: u8,
    interrupt_status: u8,
    selected: u16,
    /// The queues, [`RX`] and [`TX`].
    pub queues: [Queue; QUEUES],
    vectors: [u16; QUEUES],
}

impl Registers {
    /// Registers as after a reset.
    pub fn new(mac: [u8; 6]) -> Self {
        Self {
            mac,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            config_vector: NO_VECTOR,
            status: 0,
            interrupt_status: 0,
            selected: 0,
            queues: Default::default(),
            vectors: [NO_VECTOR; QUEUES],
        }
    }

    /// Whether the driver accepted `feature`.
    pub fn negotiated(&self, feature: u64) -> bool {
        self.driver_features & feature != 0
    }

    /// Whether the driver runs, with features that both sides know, and the device has not given up on it.
    pub fn is_live(&self) -> bool {
        let live = STATUS_FEATURES_OK | STATUS_DRIVER_OK;
        self.status & (live | STATUS_NEEDS_RESET) == live
    }

    /// The MSI-X vector of a queue, if the driver gave it one.
    pub fn vector(&self, queue: usize) -> Option<usize> {
        let vector = *self.vectors.get(queue)?;
        (vector != NO_VECTOR).then_some(usize::from(vector))
    }

    /// The device gives up until the driver resets it.
    pub fn set_needs_reset(&mut self) {
        self.status |= STATUS_NEEDS_RESET;
    }

    /// The memory of all enabled queues.
    pub fn rings(&self) -> Ranges {
        let mut rings = Ranges::default();
        let enabled = self.queues.iter().filter(|queue| queue.enabled);
        enabled.for_each(|queue| queue.add_rings(&mut rings));
        rings
    }

    /// Reads the BAR. What is not there reads as zero.
    pub fn read(&mut self, at: u64, out: &mut [u8]) {
        out.fill(0);
        match at {
            0..0x40 => copy(&self.common(), at, out),
            0x1000 => {
                // Reading acknowledges.
                copy(&[std::mem::take(&mut self.interrupt_status)], 0, out);
            }
            0x2000..0x2040 => copy(&self.device(), at - 0x2000, out),
            _ => {}
        }
    }

    fn device(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&self.mac);
        bytes[6] = 1; // VIRTIO_NET_S_LINK_UP
        bytes
    }

    fn common(&self) -> [u8; 0x40] {
        let mut bytes = [0; 0x40];
        let mut put = |at: usize, value: u64, len: usize| {
            bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        };
        let window = |features: u64, select: u32| match select {
            0 => features & 0xffff_ffff,
            1 => features >> 32,
            _ => 0,
        };
        put(0x00, self.device_feature_select.into(), 4);
        put(0x04, window(OFFERED, self.device_feature_select), 4);
        put(0x08, self.driver_feature_select.into(), 4);
        put(0x0c, window(self.driver_features, self.driver_feature_select), 4);
        put(0x10, self.config_vector.into(), 2);
        put(0x12, QUEUES as u64, 2);
        put(0x14, self.status.into(), 1);
        put(0x16, self.selected.into(), 2);
        let index = usize::from(self.selected);
        if let (Some(queue), Some(vector)) = (self.queues.get(index), self.vectors.get(index)) {
            put(0x18, queue.size.into(), 2);
            put(0x1a, u64::from(*vector), 2);
            put(0x1c, queue.enabled.into(), 2);
            put(0x1e, index as u64, 2);
            put(0x20, queue.descriptors, 8);
            put(0x28, queue.available, 8);
            put(0x30, queue.used, 8);
        }
        bytes
    }

    /// Writes the BAR. What is not there, or not allowed at the moment, changes nothing.
    pub fn write(&mut self, at: u64, data: &[u8]) -> Effect {
        let mut bytes = [0; 8];
        let len = data.len().min(8);
        bytes[..len].copy_from_slice(&data[..len]);
        let value = u64::from_le_bytes(bytes);
        match at {
            0x00 => self.device_feature_select = value as u32,
            0x08 => self.driver_feature_select = value as u32,
            0x0c => self.accept_features(value as u32),
            0x10 => self.config_vector = value as u16,
            0x14 => return self.set_status(value as u8),
            0x16 => self.selected = value as u16,
            0x18..0x38 => return self.set_queue(at, value, len),
            0x3000..0x4000 => return Effect::Notified(((at - 0x3000) / 4) as usize),
            _ => {}
        }
        Effect::None
    }

    fn accept_features(&mut self, value: u32) {
        let shift = match self.driver_feature_select {
            0 => 0,
            1 => 32,
            _ => return,
        };
        if self.status & STATUS_FEATURES_OK == 0 {
            let window = 0xffff_ffff_u64 << shift;
            self.driver_features = (self.driver_features & !window) | u64::from(value) << shift;
        }
    }

    fn set_status(&mut self, status: u8) -> Effect {
        if status == 0 {
            *self = Self::new(self.mac);
            return Effect::Queues;
        }
        let needed = F_VERSION_1 | F_ACCESS_PLATFORM;
        let acceptable = self.driver_features & !OFFERED == 0 && self.driver_features & needed == needed;
        let withheld = if acceptable { 0 } else { STATUS_FEATURES_OK };
        self.status = (status & !withheld) | (self.status & STATUS_NEEDS_RESET);
        Effect::Queues
    }

    fn set_queue(&mut self, at: u64, value: u64, len: usize) -> Effect {
        let index = usize::from(self.selected);
        let (Some(queue), Some(vector)) = (self.queues.get_mut(index), self.vectors.get_mut(index)) else {
            return Effect::None;
        };
        match at {
            0x1a => *vector = value as u16,
            // Once enabled a queue stays where it is until a reset.
            _ if queue.enabled => {}
            0x18 if (value as u16).is_power_of_two() && value as u16 <= SIZE_MAX => {
                queue.size = value as u16;
            }
            0x1c if value == 1 => {
                queue.enabled = true;
                return Effect::Queues;
            }
            0x20 | 0x24 => set_half(&mut queue.descriptors, at, value, len),
            0x28 | 0x2c => set_half(&mut queue.available, at, value, len),
            0x30 | 0x34 => set_half(&mut queue.used, at, value, len),
            _ => {}
        }
        Effect::None
    }
}

/// Sets an address register: whole, or one half, as drivers do.
fn set_half(register: &mut u64, at: u64, value: u64, len: usize) {
    *register = match (len, at % 8) {
        (8, 0) => value,
        (_, 0) => (*register & !0xffff_ffff) | (value & 0xffff_ffff),
        _ => (*register & 0xffff_ffff) | value << 32,
    };
}

fn copy(bytes: &[u8], at: u64, out: &mut [u8]) {
    let from = bytes.get(at as usize..).unwrap_or_default();
    let len = from.len().min(out.len());
    out[..len].copy_from_slice(&from[..len]);
}

/// Adds the capabilities that lead a driver to the registers (virtio 1.2 §4.1.4).
pub fn add_capabilities(space: &mut ConfigSpace) {
    for (kind, offset, len) in [
        (1u8, 0u32, 0x38u32),
        (2, 0x3000, 0x1000),
        (3, 0x1000, 1),
        (4, 0x2000, 16),
    ] {
        let size: u8 = if kind == 2 { 20 } else { 16 };
        let at = space.add_capability(0x09, size.into());
        space.set_u8(at + 2, size);
        space.set_u8(at + 3, kind);
        space.set_u32(at + 8, offset);
        space.set_u32(at + 12, len);
        if kind == 2 {
            space.set_u32(at + 16, 4); // bytes between two queues' notification addresses
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers() -> Registers {
        Registers::new([2, 0, 0, 0, 0, 1])
    }

    fn accept(registers: &mut Registers, features: u64) -> u8 {
        for select in 0..2u32 {
            registers.write(0x08, &select.to_le_bytes());
            registers.write(0x0c, &((features >> (32 * select)) as u32).to_le_bytes());
        }
        registers.write(0x14, &[1 | 2 | STATUS_FEATURES_OK]);
        let mut status = [0];
        registers.read(0x14, &mut status);
        status[0]
    }

    #[test]
    fn features_are_accepted_only_if_offered_and_with_the_iommu() {
        assert_eq!(
            accept(&mut registers(), OFFERED) & STATUS_FEATURES_OK,
            STATUS_FEATURES_OK
        );
        assert_eq!(
            accept(&mut registers(), OFFERED | 1 << 28) & STATUS_FEATURES_OK,
            0
        );
        assert_eq!(
            accept(&mut registers(), OFFERED & !F_ACCESS_PLATFORM) & STATUS_FEATURES_OK,
            0
        );
    }

    #[test]
    fn a_driver_without_the_features_gets_no_service() {
        let mut registers = registers();
        accept(&mut registers, 0);
        registers.write(0x14, &[15]);
        assert!(!registers.is_live());
        accept(&mut registers, OFFERED);
        registers.write(0x14, &[15]);
        assert!(registers.is_live());
        registers.set_needs_reset();
        assert!(!registers.is_live());
    }

    #[test]
    fn an_enabled_queue_does_not_move() {
        let mut registers = registers();
        registers.write(0x20, &0x1000u32.to_le_bytes());
        registers.write(0x24, &1u32.to_le_bytes());
        registers.write(0x1c, &[1, 0]);
        registers.write(0x20, &0x9000u32.to_le_bytes());
        assert_eq!(registers.queues[RX].descriptors, 0x1_0000_1000);
        assert!(registers.rings().covers(0x1_0000_1000, 16 * 256));
        registers.write(0x14, &[0]);
        assert_eq!(registers.rings(), Ranges::default());
    }

    #[test]
    fn a_queue_size_that_is_no_power_of_two_changes_nothing() {
        let mut registers = registers();
        for size in [0u16, 3, 512, 0xffff] {
            registers.write(0x18, &size.to_le_bytes());
            assert_eq!(registers.queues[RX].size, SIZE_MAX);
        }
    }

    #[test]
    fn any_access_anywhere_is_survived() {
        let mut registers = registers();
        registers.write(0x16, &[0xff, 0xff]);
        for at in (0..0x4100).step_by(1) {
            registers.write(at, &[0xff; 8]);
            registers.read(at, &mut [0; 16]);
        }
    }
}
