//! MSI-X vectors as the VMM wires them: one event descriptor each, written to raise the interrupt.

use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// The vectors of one function.
#[derive(Debug)]
pub struct Interrupts(Mutex<Vec<Option<File>>>);

impl Interrupts {
    /// `count` vectors, none wired.
    pub fn new(count: usize) -> Self {
        Self(Mutex::new((0..count).map(|_| None).collect()))
    }

    /// Wires vectors from `start` on, as VFIO_DEVICE_SET_IRQS does: with no descriptors and no count all are
    /// unwired, with a count but no descriptors those. Vectors that do not exist are ignored.
    pub fn wire(&self, start: usize, count: usize, events: Vec<File>) {
        let mut vectors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = count == 0 && events.is_empty();
        let range = if all {
            0..usize::MAX
        } else {
            start..start.saturating_add(count)
        };
        let mut events = events.into_iter();
        let in_range = vectors
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| range.contains(index));
        in_range.for_each(|(_, vector)| *vector = events.next());
    }

    /// Raises a vector; nothing happens if it is not wired.
    pub fn trigger(&self, vector: usize) {
        let vectors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(event)) = vectors.get(vector) {
            let mut event = event;
            if let Err(error) = event.write_all(&1u64.to_ne_bytes()) {
                tracing::debug!(vector, %error, "an interrupt was not taken");
            }
        }
    }
}
