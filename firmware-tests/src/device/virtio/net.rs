//! Frames in and out of the two queues (virtio 1.2 §5.1.6).
//!
//! Sent chains are gathered into frames; a chain that is too long for a frame, or that the gate refuses, is
//! completed and dropped, as a card drops what it cannot fetch. A received frame is spread over as many chains as
//! it takes (merged buffers).

use super::super::dma::Transfers;
use super::queue::{Broken, Chain, Queue};
use super::registers::{F_EVENT_IDX, F_MRG_RXBUF, RX, Registers, TX};

/// Bytes of the header before each frame: version 1, with the count of merged buffers.
pub const HEADER: usize = 12;
/// The largest frame: an Ethernet header and 64 KiB of IPv4, rounded up.
pub const FRAME_MAX: usize = 65_550;

/// Takes one frame that the guest sent into `frame`. `Some(false)`: there was one, but nothing usable in it.
pub fn send(
    registers: &mut Registers,
    memory: &Transfers<'_>,
    chain: &mut Chain,
    frame: &mut Vec<u8>,
) -> Result<Option<bool>, Broken> {
    let queue = &mut registers.queues[TX];
    if !queue.next(memory, chain)? {
        return Ok(None);
    }
    let usable = gather(memory, chain, frame);
    queue.complete(memory, chain.head, 0)?;
    Ok(Some(usable))
}

/// Reads the frame of a chain, without its header. False if it is too short, too long or out of reach.
fn gather(memory: &Transfers<'_>, chain: &Chain, frame: &mut Vec<u8>) -> bool {
    frame.clear();
    let total: u64 = chain.readable.iter().map(|buffer| u64::from(buffer.len)).sum();
    if !(HEADER as u64 + 1..=(HEADER + FRAME_MAX) as u64).contains(&total) {
        return false;
    }
    let mut skip = HEADER;
    for buffer in &chain.readable {
        let skipped = skip.min(buffer.len as usize);
        skip -= skipped;
        let (at, len) = (frame.len(), buffer.len as usize - skipped);
        frame.resize(at + len, 0);
        let from = buffer.iova.saturating_add(skipped as u64);
        if len > 0 && memory.read(from, &mut frame[at..]).is_err() {
            return false;
        }
    }
    true
}

/// What became of a frame for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is in the guest's buffers.
    Done,
    /// The guest's buffers are out of the device's reach, or too small: lost.
    Lost,
    /// The guest offers no buffers at the moment: keep it.
    NoBuffers,
}

/// Puts one frame into the guest's buffers.
pub fn receive(
    registers: &mut Registers,
    memory: &Transfers<'_>,
    chains: &mut Vec<Chain>,
    frame: &[u8],
) -> Result<Delivery, Broken> {
    let merged = registers.negotiated(F_MRG_RXBUF);
    let queue = &mut registers.queues[RX];
    let Some(count) = take_chains(queue, memory, chains, HEADER + frame.len(), merged)? else {
        return Ok(Delivery::NoBuffers);
    };
    let taken = &chains[..count];
    let mut header = [0; HEADER];
    header[10..].copy_from_slice(&(count as u16).to_le_bytes());
    let mut rest = [&header[..], frame].into_iter();
    let mut part = rest.next().unwrap_or_default();
    let mut lost = false;
    for chain in taken {
        let mut written = 0;
        for buffer in &chain.writable {
            let mut room = *buffer;
            while room.len > 0 && !part.is_empty() {
                let len = part.len().min(room.len as usize);
                lost |= memory.write(room.iova, &part[..len]).is_err();
                (room.iova, room.len) = (room.iova.saturating_add(len as u64), room.len - len as u32);
                written += len as u32;
                part = &part[len..];
                if part.is_empty() {
                    part = rest.next().unwrap_or_default();
                }
            }
        }
        queue.complete(memory, chain.head, if lost { 0 } else { written })?;
    }
    Ok(if lost || !part.is_empty() {
        Delivery::Lost
    } else {
        Delivery::Done
    })
}

/// Takes chains with room for `len` bytes, or puts all back. Without merging, one chain has to do.
fn take_chains(
    queue: &mut Queue,
    memory: &Transfers<'_>,
    chains: &mut Vec<Chain>,
    len: usize,
    merged: bool,
) -> Result<Option<usize>, Broken> {
    let (mut room, mut count) = (0, 0);
    while room < len as u64 && (count == 0 || merged) {
        if chains.len() == count {
            chains.push(Chain::default());
        }
        if !queue.next(memory, &mut chains[count])? {
            (0..count).for_each(|_| queue.put_back());
            return Ok(None);
        }
        room += chains[count]
            .writable
            .iter()
            .map(|buffer| u64::from(buffer.len))
            .sum::<u64>();
        count += 1;
    }
    Ok(Some(count))
}

/// Shows the guest what was completed on `queue`; answers whether to interrupt it.
pub fn publish(registers: &mut Registers, memory: &Transfers<'_>, queue: usize) -> Result<bool, Broken> {
    let event_idx = registers.negotiated(F_EVENT_IDX);
    registers.queues[queue].publish(memory, event_idx)
}

/// Asks for notifications on `queue` or for none; answers whether something arrived meanwhile.
pub fn want_notifications(
    registers: &mut Registers,
    memory: &Transfers<'_>,
    queue: usize,
    wanted: bool,
) -> Result<bool, Broken> {
    let event_idx = registers.negotiated(F_EVENT_IDX);
    registers.queues[queue].want_notifications(memory, wanted, event_idx)
}

#[cfg(test)]
mod tests {
    use super::super::super::dma::Bus;
    use super::super::super::memory::Rights;
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    /// Bytes of guest memory: three pages of rings, and one of buffers.
    const MEMORY: u64 = 0x4000;

    /// A queue of four descriptors over memory with these bytes, all of it shared.
    fn rig(bytes: &[u8]) -> (Registers, Bus) {
        let bus = Bus::new(1, Arc::default());
        let file = tempfile::tempfile().unwrap();
        file.set_len(MEMORY).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let both = Rights {
            read: true,
            write: true,
        };
        bus.remap(|memory| memory.map(0, MEMORY, 0, both, file)).unwrap();
        bus.enforcer().share(0, MEMORY).unwrap();
        let mut registers = Registers::new([0; 6]);
        for queue in &mut registers.queues {
            (queue.size, queue.enabled) = (4, true);
            (queue.descriptors, queue.available, queue.used) = (0, 0x40, 0x80);
        }
        (registers, bus)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Whatever a driver writes into its rings, the device comes back with an answer, and moves no more than a
        /// frame at a time.
        #[test]
        fn any_ring_content_is_survived(bytes in prop::collection::vec(prop_oneof![Just(0u8), 0u8..8, any::<u8>()], 0x60)) {
            let (mut registers, bus) = rig(&bytes);
            let (mut chain, mut chains, mut frame) = (Chain::default(), Vec::new(), Vec::new());
            for _ in 0..8 {
                // Errors are as good as frames here.
                let _ = send(&mut registers, &bus.begin(), &mut chain, &mut frame);
                prop_assert!(frame.len() <= FRAME_MAX && chain.readable.len() <= 4);
                let _ = receive(&mut registers, &bus.begin(), &mut chains, &[7; 1514]);
                prop_assert!(chains.len() <= 5);
            }
        }
    }

    #[test]
    fn a_frame_of_64_kib_is_taken_whole() {
        let file_len = 0x3_0000;
        let bus = Bus::new(1, Arc::default());
        let file = tempfile::tempfile().unwrap();
        file.set_len(file_len).unwrap();
        let both = Rights {
            read: true,
            write: true,
        };
        // One buffer, header and frame together; available ring: flags, index 1, head 0.
        let mut descriptor = 0x1_0000u64.to_le_bytes().to_vec();
        descriptor.extend((HEADER as u32 + 65_535).to_le_bytes());
        file.write_all_at(&descriptor, 0).unwrap();
        file.write_all_at(&[0, 0, 1, 0, 0, 0], 0x40).unwrap();
        file.write_all_at(b"end", 0x1_0000 + HEADER as u64 + 65_532)
            .unwrap();
        bus.remap(|memory| memory.map(0, file_len, 0, both, file))
            .unwrap();
        bus.enforcer().share(0, file_len).unwrap();
        let (mut registers, _) = rig(&[]);
        let (mut chain, mut frame) = (Chain::default(), Vec::new());
        let sent = send(&mut registers, &bus.begin(), &mut chain, &mut frame);
        assert_eq!((sent, frame.len()), (Ok(Some(true)), 65_535));
        assert!(frame.ends_with(b"end"));
    }
}
