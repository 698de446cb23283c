//! The cable between a virtio function and its peer: two bounded queues of frames and the buffers they use again.

use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::collections::VecDeque;

/// Frames for the guest kept at most; more wait inside the sockets. A frame has at most [`FRAME`] bytes.
const OUTBOX_MAX: usize = 256;
/// Answers that are made while a frame is read go beyond [`OUTBOX_MAX`], up to here; more are lost.
const OUTBOX_HARD_MAX: usize = 2 * OUTBOX_MAX;
/// Buffers kept for use again.
const SPARE_MAX: usize = 64;
/// Bytes of the largest frame sent to the guest: 1500 and the Ethernet header.
const FRAME: usize = 1514;

/// Two queues of frames.
#[derive(Debug, Default)]
pub(super) struct Wire {
    inbox: VecDeque<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

impl Wire {
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    pub(super) fn put(&mut self, frame: Vec<u8>) {
        self.inbox.push_back(frame);
    }

    pub(super) fn front(&self) -> Option<&[u8]> {
        self.outbox.front().map(Vec::as_slice)
    }

    pub(super) fn pop(&mut self) {
        if let Some(frame) = self.outbox.pop_front() {
            self.recycle(frame);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.outbox.len() >= OUTBOX_MAX
    }
}

impl Device for Wire {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let frame = self.inbox.pop_front()?;
        let Self { outbox, spare, .. } = self;
        // The token that reads returns its buffer only by being dropped, so the answer's buffer is its own.
        let answer = spare.pop().unwrap_or_default();
        Some((
            Received { frame, spare },
            Sending {
                outbox,
                buffer: answer,
            },
        ))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        if self.is_full() {
            return None;
        }
        let buffer = self.buffer();
        let outbox = &mut self.outbox;
        Some(Sending { outbox, buffer })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        // The guest leaves checksums of what it sends to the card (VIRTIO_NET_F_CSUM), and between a card and its
        // own peer nothing can be damaged: they are made for the guest, which verifies, and not verified here.
        let mut checksum = ChecksumCapabilities::default();
        (checksum.tcp, checksum.udp) = (Checksum::Tx, Checksum::Tx);
        capabilities.checksum = checksum;
        capabilities
    }
}

/// A frame to be read.
pub(super) struct Received<'a> {
    frame: Vec<u8>,
    spare: &'a mut Vec<Vec<u8>>,
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.frame);
        if self.spare.len() < SPARE_MAX {
            self.spare.push(self.frame);
        }
        result
    }
}

/// A frame to be made.
pub(super) struct Sending<'a> {
    outbox: &'a mut VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, make: F) -> R {
        self.buffer.resize(len, 0);
        let result = make(&mut self.buffer);
        if self.outbox.len() < OUTBOX_HARD_MAX {
            self.outbox.push_back(self.buffer);
        }
        result
    }
}
