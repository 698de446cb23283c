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
