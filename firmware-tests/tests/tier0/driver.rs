//! A tiny virtio-net driver over a vfio-user client, with guest memory in a file.
//!
//! Guest memory is 1 MiB, mapped for the device at [`IOVA`]. Queue `q` has its rings at [`ring`]; buffers are one
//! page each, from [`BUFFERS`] on.

use firmware_tests::device::virtio::net::HEADER;
use firmware_tests::device::virtio::registers::{OFFERED, RX, TX};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use vfio_bindings::bindings::vfio::VFIO_PCI_CONFIG_REGION_INDEX;
use vfio_user::Client;

/// Where the device sees guest memory.
pub(crate) const IOVA: u64 = 0x8000_0000;
/// Bytes of guest memory.
pub(crate) const MEMORY: u64 = 1 << 20;
/// Guest physical address of the first buffer.
pub(crate) const BUFFERS: u64 = 0x4_0000;
/// Bytes of a buffer.
pub(crate) const BUFFER: u64 = 0x1000;
/// Descriptors of a queue.
pub(crate) const SIZE: u16 = 16;
/// Guest physical address of queue `q`'s rings: descriptors, then at +0x400 available, at +0x800 used.
pub(crate) const fn ring(q: usize) -> u64 {
    0x1_0000 + 0x1000 * q as u64
}

/// A function plugged in.
pub(crate) struct Driver {
    pub(crate) client: Client,
    memory: File,
    next: [u16; 2],
    seen: [u16; 2],
    free: Vec<u16>,
}

impl Driver {
    /// Connects, maps guest memory, and enables memory space and bus mastering.
    pub(crate) fn connect(socket: &Path) -> Self {
        let mut client = Client::new(socket).unwrap();
        let memory = tempfile::tempfile().unwrap();
        memory.set_len(MEMORY).unwrap();
        client.dma_map(0, IOVA, MEMORY, memory.as_raw_fd()).unwrap();
        let mut driver = Self {
            client,
            memory,
            next: [0; 2],
            seen: [0; 2],
            free: (0..SIZE).collect(),
        };
        driver.write_config(0x10, 0xfe80_0000);
        driver.write_config(0x18, 0xfe90_0000);
        driver.write_config(4, 6);
        driver
    }

    pub(crate) fn read_config(&mut self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        self.client
            .region_read(VFIO_PCI_CONFIG_REGION_INDEX, at, &mut bytes)
            .unwrap();
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn write_config(&mut self, at: u64, value: u32) {
        self.client
            .region_write(VFIO_PCI_CONFIG_REGION_INDEX, at, &value.to_le_bytes())
            .unwrap();
    }

    pub(crate) fn read_bar<const N: usize>(&mut self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.client.region_read(0, at, &mut bytes).unwrap();
        bytes
    }

    pub(crate) fn write_bar(&mut self, at: u64, bytes: &[u8]) {
        self.client.region_write(0, at, bytes).unwrap();
    }

    pub(crate) fn poke(&self, gpa: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, gpa).unwrap();
    }

    pub(crate) fn peek<const N: usize>(&self, gpa: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read_exact_at(&mut bytes, gpa).unwrap();
        bytes
    }

    fn peek_u16(&self, gpa: u64) -> u16 {
        u16::from_le_bytes(self.peek(gpa))
    }

    /// Resets the device and starts it, with empty queues.
    pub(crate) fn start(&mut self) {
        self.start_with(OFFERED & !(1 << 29)); // without event indices: flags are simpler to drive
        self.fill();
    }

    /// Resets the device and agrees on features; the queues are to be set up.
    pub(crate) fn negotiate(&mut self, features: u64) {
        self.write_bar(0x14, &[0]);
        self.write_bar(0x14, &[3]);
        for select in 0..2u32 {
            self.write_bar(0x08, &select.to_le_bytes());
            self.write_bar(0x0c, &((features >> (32 * select)) as u32).to_le_bytes());
        }
        self.write_bar(0x14, &[3 | 8]);
        assert_eq!(self.read_bar::<1>(0x14), [11], "the device takes the features");
    }

    /// Resets the device and starts it, with empty rings and no buffer to receive into.
    pub(crate) fn start_with(&mut self, features: u64) {
        self.negotiate(features);
        for q in [RX, TX] {
            self.poke(ring(q), &[0; 0x1000]);
            self.write_bar(0x16, &(q as u16).to_le_bytes());
            self.write_bar(0x18, &SIZE.to_le_bytes());
            for (register, offset) in [(0x20, 0), (0x28, 0x400), (0x30, 0x800)] {
                self.write_bar(register, &(IOVA + ring(q) + offset).to_le_bytes());
            }
            self.write_bar(0x1c, &1u16.to_le_bytes());
        }
        self.write_bar(0x14, &[15]);
        (self.next, self.seen, self.free) = ([0; 2], [0; 2], (0..SIZE).collect());
    }

    /// Gives the device all receive buffers.
    fn fill(&mut self) {
        for index in 0..SIZE {
            self.descriptor(RX, index, IOVA + buffer(RX, index), BUFFER as u32, 2, 0);
            self.offer(RX, index);
        }
        self.notify(RX);
    }

    pub(crate) fn descriptor(&self, q: usize, index: u16, iova: u64, len: u32, flags: u16, next: u16) {
        let mut bytes = iova.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.poke(ring(q) + 16 * u64::from(index), &bytes);
    }

    /// Makes the chain that starts at `head` available.
    pub(crate) fn offer(&mut self, q: usize, head: u16) {
        let at = ring(q) + 0x400;
        self.poke(at + 4 + 2 * u64::from(self.next[q] % SIZE), &head.to_le_bytes());
        self.next[q] = self.next[q].wrapping_add(1);
        self.poke(at + 2, &self.next[q].to_le_bytes());
    }

    pub(crate) fn notify(&mut self, q: usize) {
        self.write_bar(0x3000 + 4 * q as u64, &(q as u16).to_le_bytes());
    }

    /// Sends a frame; false if all buffers are under way.
    pub(crate) fn send(&mut self, frame: &[u8]) -> bool {
        self.reclaim();
        let Some(index) = self.free.pop() else {
            return false;
        };
        let at = buffer(TX, index);
        self.poke(at, &[0; HEADER]);
        self.poke(at + HEADER as u64, frame);
        self.descriptor(TX, index, IOVA + at, (HEADER + frame.len()) as u32, 0, 0);
        self.offer(TX, index);
        self.notify(TX);
        true
    }

    /// Whether a frame can be sent now.
    pub(crate) fn has_room(&mut self) -> bool {
        self.reclaim();
        !self.free.is_empty()
    }

    /// How many sent chains the device has completed so far.
    pub(crate) fn completed(&self, q: usize) -> u16 {
        self.peek_u16(ring(q) + 0x802)
    }

    fn reclaim(&mut self) {
        while let Some((head, _)) = self.take_used(TX) {
            self.free.push(head);
        }
    }

    fn take_used(&mut self, q: usize) -> Option<(u16, u32)> {
        if self.completed(q) == self.seen[q] {
            return None;
        }
        let [a, b, _, _, len @ ..] = self.peek::<8>(ring(q) + 0x804 + 8 * u64::from(self.seen[q] % SIZE));
        self.seen[q] = self.seen[q].wrapping_add(1);
        Some((u16::from_le_bytes([a, b]), u32::from_le_bytes(len)))
    }

    /// The next frame that was received, and its buffer back to the device.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        let (head, len) = self.take_used(RX)?;
        let bytes: [u8; BUFFER as usize] = self.peek(buffer(RX, head));
        self.offer(RX, head);
        self.notify(RX);
        Some(bytes[..len as usize].get(HEADER..).unwrap_or_default().to_vec())
    }
}

/// Guest physical address of a queue's buffer.
pub(crate) fn buffer(q: usize, index: u16) -> u64 {
    BUFFERS + BUFFER * (u64::from(SIZE) * q as u64 + u64::from(index))
}
