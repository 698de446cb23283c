//! A function's PCI configuration space: 4 KiB of registers, which of their bits software may change, and the
//! builders that lay out headers and capabilities (PCIe 6.x chapter 7).
//!
//! Nothing here reacts to a write; [`super::watch`] looks at what one changed and says what it means.

/// Bytes of a PCIe function's configuration space.
pub const SIZE: usize = 4096;

/// Offset of the Command register.
pub const COMMAND: usize = 0x04;
/// Command: the function answers memory accesses.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// Command: the function may master the bus.
pub const COMMAND_BUS_MASTER: u16 = 1 << 2;
/// Offset of the first base address register.
pub const BAR0: usize = 0x10;
/// Base address registers of a type 0 header.
pub const BARS: usize = 6;

/// First byte after the standard header, where capabilities begin.
const CAPABILITIES: usize = 0x40;
/// First byte of the extended capabilities.
const EXTENDED: usize = 0x100;

/// What a function is, for its header.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Vendor ID; the subsystem vendor is the same.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Class code: base class, sub-class, programming interface.
    pub class: u32,
    /// Subsystem ID.
    pub subsystem: u16,
    /// Whether the device has several functions.
    pub multifunction: bool,
}

/// The registers and their write masks.
#[derive(Clone)]
pub struct ConfigSpace {
    bytes: [u8; SIZE],
    writable: [u8; SIZE],
    bar_sizes: [u32; BARS],
    last_pointer: usize,
    next_capability: usize,
    last_extended: Option<usize>,
    next_extended: usize,
}

impl ConfigSpace {
    /// A type 0 header without BARs or capabilities.
    pub fn new(identity: Identity) -> Self {
        let mut space = Self {
            bytes: [0; SIZE],
            writable: [0; SIZE],
            bar_sizes: [0; BARS],
            last_pointer: 0x34,
            next_capability: CAPABILITIES,
            last_extended: None,
            next_extended: EXTENDED,
        };
        space.set_u16(0x00, identity.vendor);
        space.set_u16(0x02, identity.device);
        space.set_u16(0x06, 1 << 4); // Status: there is a capability list
        space.set_u32(0x08, (identity.class << 8) | 1);
        space.bytes[0x0e] = u8::from(identity.multifunction) << 7;
        space.set_u16(0x2c, identity.vendor);
        space.set_u16(0x2e, identity.subsystem);
        // Memory Space, Bus Master, Parity, SERR#, Interrupt Disable.
        space.allow_u16(
            COMMAND,
            COMMAND_MEMORY | COMMAND_BUS_MASTER | (1 << 6) | (1 << 8) | (1 << 10),
        );
        space.writable[0x3c] = 0xff; // Interrupt Line
        space
    }

    /// Adds a 32-bit non-prefetchable memory BAR of `size` bytes, a power of two of at least a page, because a
    /// device interface report counts in pages.
    pub fn add_bar(&mut self, index: usize, size: u32) {
        assert!(
            size.is_power_of_two() && size >= 4096 && index < BARS,
            "BAR {index} of {size} bytes"
        );
        self.bar_sizes[index] = size;
        self.allow_u32(BAR0 + 4 * index, !(size - 1));
    }

    /// Appends a capability of `len` bytes with its header, and answers its offset.
    pub fn add_capability(&mut self, id: u8, len: usize) -> usize {
        let at = self.next_capability;
        assert!(at + len <= EXTENDED, "capability {id:#x} does not fit");
        self.bytes[self.last_pointer] = u8::try_from(at).expect("below 0x100");
        self.bytes[at] = id;
        self.last_pointer = at + 1;
        self.next_capability = (at + len).next_multiple_of(4);
        at
    }

    /// Appends an extended capability of `len` bytes with its header, and answers its offset.
    pub fn add_extended(&mut self, id: u16, version: u8, len: usize) -> usize {
        let at = self.next_extended;
        assert!(at + len <= SIZE, "extended capability {id:#x} does not fit");
        if let Some(last) = self.last_extended {
            let header = self.u32(last) | (at as u32) << 20;
            self.set_u32(last, header);
        }
        self.set_u32(at, u32::from(id) | u32::from(version) << 16);
        self.last_extended = Some(at);
        self.next_extended = (at + len).next_multiple_of(4);
        at
    }

    /// The two bytes at `at`.
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// The four bytes at `at`.
    pub fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    /// Sets two bytes, whatever their write mask.
    pub fn set_u16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets four bytes, whatever their write mask.
    pub fn set_u32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets one byte, whatever its write mask.
    pub fn set_u8(&mut self, at: usize, value: u8) {
        self.bytes[at] = value;
    }

    /// Lets software change the bits set in `mask`.
    pub fn allow_u16(&mut self, at: usize, mask: u16) {
        self.writable[at..at + 2].copy_from_slice(&mask.to_le_bytes());
    }

    /// Lets software change the bits set in `mask`.
    pub fn allow_u32(&mut self, at: usize, mask: u32) {
        self.writable[at..at + 4].copy_from_slice(&mask.to_le_bytes());
    }

    /// Reads as software does. Bytes beyond the space read as ones, as an absent register does.
    pub fn read(&self, at: usize, out: &mut [u8]) {
        for (offset, byte) in out.iter_mut().enumerate() {
            *byte = self.bytes.get(at.saturating_add(offset)).copied().unwrap_or(0xff);
        }
    }

    /// Writes as software does: read-only bits and bytes beyond the space stay as they are.
    pub fn write(&mut self, at: usize, data: &[u8]) {
        for (offset, byte) in data.iter().enumerate() {
            let at = at.saturating_add(offset);
            let (Some(old), Some(mask)) = (self.bytes.get(at), self.writable.get(at)) else {
                return;
            };
            self.bytes[at] = (old & !mask) | (byte & mask);
        }
    }

    /// Where BAR `index` is now and its size; `None` if there is no such BAR.
    pub fn bar(&self, index: usize) -> Option<Bar> {
        let size = *self.bar_sizes.get(index).filter(|size| **size != 0)?;
        let base = self.u32(BAR0 + 4 * index) & !0xf;
        Some(Bar { index, base, size })
    }

    /// All BARs in ascending order.
    pub fn bars(&self) -> impl Iterator<Item = Bar> + '_ {
        (0..BARS).filter_map(|index| self.bar(index))
    }

    /// The Command register.
    pub fn command(&self) -> u16 {
        self.u16(COMMAND)
    }

    /// The bytes as they stand, for a measurement of the hardware's configuration.
    pub fn bytes(&self) -> &[u8; SIZE] {
        &self.bytes
    }

    /// What software wrote becomes zero, as after a reset.
    pub fn reset(&mut self) {
        for (byte, mask) in self.bytes.iter_mut().zip(&self.writable) {
            *byte &= !mask;
        }
    }
}

/// A base address register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Which of the six.
    pub index: usize,
    /// Address that software gave it; zero before that.
    pub base: u32,
    /// Bytes.
    pub size: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        ConfigSpace::new(Identity {
            vendor: 0x1b36,
            device: 0x7ee0,
            class: 0x08_8000,
            subsystem: 0x1100,
            multifunction: true,
        })
    }

    #[test]
    fn the_identity_is_read_only() {
        let mut space = space();
        space.write(0, &[0xff; 4]);
        assert_eq!(space.u32(0), 0x7ee0_1b36);
    }

    #[test]
    fn a_bar_answers_its_size_when_ones_are_written() {
        let mut space = space();
        space.add_bar(0, 0x4000);
        space.write(BAR0, &[0xff; 4]);
        assert_eq!(space.u32(BAR0), 0xffff_c000);
        space.write(BAR0, &0xfe00_0000u32.to_le_bytes());
        assert_eq!(
            space.bar(0),
            Some(Bar {
                index: 0,
                base: 0xfe00_0000,
                size: 0x4000
            })
        );
        assert_eq!(space.bar(1), None);
    }

    #[test]
    fn capabilities_form_lists() {
        let mut space = space();
        let (a, b) = (space.add_capability(0x10, 0x3c), space.add_capability(0x11, 12));
        let (c, d) = (space.add_extended(0x0d, 1, 8), space.add_extended(0x2e, 2, 0x18));
        let mut pointer = [0; 2];
        space.read(0x34, &mut pointer[..1]);
        assert_eq!(usize::from(pointer[0]), a);
        space.read(a, &mut pointer);
        assert_eq!((pointer[0], usize::from(pointer[1])), (0x10, b));
        assert_eq!((c, space.u32(c) >> 20), (0x100, d as u32));
        assert_eq!(space.u32(d), 0x0002_002e);
    }

    #[test]
    fn accesses_beyond_the_space_read_ones_and_write_nothing() {
        let mut space = space();
        let mut out = [0; 4];
        space.write(SIZE - 2, &[1; 4]);
        space.read(SIZE - 2, &mut out);
        assert_eq!(out, [0, 0, 0xff, 0xff]);
        space.read(usize::MAX, &mut out);
        assert_eq!(out, [0xff; 4]);
    }
}
