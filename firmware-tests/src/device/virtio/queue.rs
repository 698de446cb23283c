//! The device's side of a split virtqueue (virtio 1.2 §2.7).
//!
//! The driver owns every byte of the ring and none is trusted: an index is compared with the queue's size before
//! it is used, a chain is at most as long as the queue, and what breaks the rules breaks the queue
//! ([`Broken`]) until the driver resets the device. A ring that cannot be reached at the moment breaks nothing.

use super::super::dma::Transfers;
use super::super::gate::{Ranges, Refusal};
use std::sync::atomic::{Ordering, fence};

/// The largest queue, in descriptors.
pub const SIZE_MAX: u16 = 256;

/// Descriptor flag: the chain goes on.
const NEXT: u16 = 1;
/// Descriptor flag: the device writes.
const WRITE: u16 = 2;
/// Available ring flag: do not interrupt.
const NO_INTERRUPT: u16 = 1;
/// Used ring flag: do not notify.
const NO_NOTIFY: u16 = 1;

/// What the driver got wrong, or why the ring cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The available index ran ahead by more than the queue holds.
    #[error("{ahead} buffers are said to be available in a queue of {size}")]
    Index {
        /// By how much.
        ahead: u16,
        /// The queue's size.
        size: u16,
    },
    /// A descriptor index is outside the table.
    #[error("descriptor {index} does not exist in a table of {size}")]
    Descriptor {
        /// The index.
        index: u16,
        /// The table's size.
        size: u16,
    },
    /// A chain is longer than the queue: it loops.
    #[error("a chain has more descriptors than its queue of {size}: it loops")]
    Loop {
        /// The queue's size.
        size: u16,
    },
    /// A descriptor has flags that were not negotiated, or a readable buffer follows a writable one.
    #[error("descriptor {index} has flags {flags:#x}, which nothing negotiated allows there")]
    Flags {
        /// The descriptor.
        index: u16,
        /// Its flags.
        flags: u16,
    },
    /// The ring itself cannot be reached.
    #[error("the ring cannot be reached: {0}")]
    Ring(#[from] Refusal),
}

impl Broken {
    /// Whether the driver broke the rules, so that only a reset helps.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Ring(_))
    }
}

/// A buffer of the driver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// Device address.
    pub iova: u64,
    /// Bytes.
    pub len: u32,
}

/// The buffers of one request: first those that the device reads, then those it writes.
#[derive(Debug, Default)]
pub struct Chain {
    /// Index of the first descriptor, which completes the chain.
    pub head: u16,
    /// To be read by the device.
    pub readable: Vec<Buffer>,
    /// To be written by the device.
    pub writable: Vec<Buffer>,
}

/// Where the driver put a queue, and how far both sides are.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Descriptors, a power of two.
    pub size: u16,
    /// Whether the driver enabled it.
    pub enabled: bool,
    /// Address of the descriptor table.
    pub descriptors: u64,
    /// Address of the available ring.
    pub available: u64,
    /// Address of the used ring.
    pub used: u64,
    next_available: u16,
    next_used: u16,
    published: u16,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            size: SIZE_MAX,
            enabled: false,
            descriptors: 0,
            available: 0,
            used: 0,
            next_available: 0,
            next_used: 0,
            published: 0,
        }
    }
}

impl Queue {
    /// Adds the memory that the queue takes to `rings`; a queue that wraps around the address space adds nothing.
    pub fn add_rings(&self, rings: &mut Ranges) {
        let size = u64::from(self.size);
        for (start, len) in [
            (self.descriptors, 16 * size),
            (self.available, 6 + 2 * size),
            (self.used, 6 + 8 * size),
        ] {
            // Wrapping or too many: the gate then refuses the ring, which is the answer such a queue deserves.
            let _ = rings.insert(start, len);
        }
    }

    /// Takes the next chain into `chain`; false if there is none.
    pub fn next(&mut self, memory: &Transfers<'_>, chain: &mut Chain) -> Result<bool, Broken> {
        if !self.enabled {
            return Ok(false);
        }
        let ahead = memory
            .load_u16(self.available.wrapping_add(2))?
            .wrapping_sub(self.next_available);
        if ahead > self.size {
            return Err(Broken::Index {
                ahead,
                size: self.size,
            });
        }
        if ahead == 0 {
            return Ok(false);
        }
        // The index was read before the entry that it announces.
        fence(Ordering::Acquire);
        let slot = u64::from(self.next_available % self.size);
        let head = memory.load_u16(self.available.wrapping_add(4 + 2 * slot))?;
        self.walk(memory, head, chain)?;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(true)
    }

    fn walk(&self, memory: &Transfers<'_>, head: u16, chain: &mut Chain) -> Result<(), Broken> {
        chain.head = head;
        chain.readable.clear();
        chain.writable.clear();
        let mut index = head;
        for _ in 0..self.size {
            let descriptor = self.descriptor(memory, index)?;
            let flags = descriptor.flags;
            let buffer = Buffer {
                iova: descriptor.iova,
                len: descriptor.len,
            };
            match flags & WRITE != 0 {
                true => chain.writable.push(buffer),
                false if chain.writable.is_empty() => chain.readable.push(buffer),
                false => return Err(Broken::Flags { index, flags }),
            }
            if flags & !(NEXT | WRITE) != 0 {
                return Err(Broken::Flags { index, flags });
            }
            if flags & NEXT == 0 {
                return Ok(());
            }
            index = descriptor.next;
        }
        Err(Broken::Loop { size: self.size })
    }

    fn descriptor(&self, memory: &Transfers<'_>, index: u16) -> Result<Descriptor, Broken> {
        if index >= self.size {
            return Err(Broken::Descriptor {
                index,
                size: self.size,
            });
        }
        let mut bytes = [0; 16];
        memory.read(self.descriptors.wrapping_add(16 * u64::from(index)), &mut bytes)?;
        Ok(Descriptor::from(bytes))
    }

    /// Gives back the last chain that [`Queue::next`] took, as if it had not been looked at.
    pub fn put_back(&mut self) {
        self.next_available = self.next_available.wrapping_sub(1);
    }

    /// Completes a chain of which `written` bytes were written. The driver sees it after [`Queue::publish`].
    pub fn complete(&mut self, memory: &Transfers<'_>, head: u16, written: u32) -> Result<(), Broken> {
        let mut element = [0; 8];
        element[..4].copy_from_slice(&u32::from(head).to_le_bytes());
        element[4..].copy_from_slice(&written.to_le_bytes());
        let slot = u64::from(self.next_used % self.size);
        memory.write(self.used.wrapping_add(4 + 8 * slot), &element)?;
        self.next_used = self.next_used.wrapping_add(1);
        Ok(())
    }

    /// Shows the driver what was completed. Answers whether it wants an interrupt for that.
    pub fn publish(&mut self, memory: &Transfers<'_>, event_idx: bool) -> Result<bool, Broken> {
        let (old, new) = (self.published, self.next_used);
        if old == new {
            return Ok(false);
        }
        // Elements before index; and the index before the driver's wish is read.
        fence(Ordering::Release);
        memory.store_u16(self.used.wrapping_add(2), new)?;
        self.published = new;
        fence(Ordering::SeqCst);
        if !event_idx {
            return Ok(memory.load_u16(self.available)? & NO_INTERRUPT == 0);
        }
        let event = memory.load_u16(self.available.wrapping_add(4 + 2 * u64::from(self.size)))?;
        Ok(new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old))
    }

    /// Asks the driver for notifications, or for none while the device works anyway. Answers whether chains
    /// arrived meanwhile, of which no notification will tell.
    pub fn want_notifications(
        &mut self,
        memory: &Transfers<'_>,
        wanted: bool,
        event_idx: bool,
    ) -> Result<bool, Broken> {
        if !self.enabled {
            return Ok(false);
        }
        if !event_idx {
            let flags = if wanted { 0 } else { NO_NOTIFY };
            memory.store_u16(self.used, flags)?;
        } else if wanted {
            let event = self.used.wrapping_add(4 + 8 * u64::from(self.size));
            memory.store_u16(event, self.next_available)?;
        }
        fence(Ordering::SeqCst);
        Ok(wanted && memory.load_u16(self.available.wrapping_add(2))? != self.next_available)
    }
}

struct Descriptor {
    iova: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl From<[u8; 16]> for Descriptor {
    fn from(bytes: [u8; 16]) -> Self {
        let all = u128::from_le_bytes(bytes);
        Self {
            iova: all as u64,
            len: (all >> 64) as u32,
            flags: (all >> 96) as u16,
            next: (all >> 112) as u16,
        }
    }
}
