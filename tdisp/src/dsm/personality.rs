//! What a device says about itself.

use crate::{
    spdm::responder::Measurement,
    tdi::{
        msg::{InterfaceId, Lock, PAGE_SIZE, State},
        report::Report,
        responder::Misconfigured,
    },
};
use alloc::{collections::BTreeMap, vec::Vec};

/// What a device says about itself, asked when it has to say it. The rules are the machine's: a personality can make
/// statements false, not states wrong.
pub trait Personality: Send {
    /// Freezes an interface's configuration for this lock, and reports it. MMIO addresses have the lock's
    /// [`mmio_reporting_offset`](Lock::mmio_reporting_offset) added.
    fn report(&mut self, interface: InterfaceId, lock: &Lock) -> Result<Vec<u8>, Misconfigured>;

    /// What is measured now, in ascending order of index.
    fn measurements(&mut self) -> Vec<Measurement>;

    /// Stops an interface's DMA and interrupts and scrubs its secrets, before STOP is answered.
    fn stop(&mut self, _interface: InterfaceId) {}

    /// The state that an interface shows.
    fn shown_state(&self, _interface: InterfaceId, state: State) -> State {
        state
    }

    /// The answer to a TDISP request, when the honest one is this; `None` is silence.
    fn answer(&mut self, _request: &[u8], honest: Vec<u8>) -> Option<Vec<u8>> {
        Some(honest)
    }
}

/// A device that says what is so.
#[derive(Debug, Clone, Default)]
pub struct Honest {
    /// What each interface is, at MMIO_REPORTING_OFFSET 0.
    pub reports: BTreeMap<InterfaceId, Report>,
    /// What is measured.
    pub measurements: Vec<Measurement>,
}

impl Personality for Honest {
    fn report(&mut self, interface: InterfaceId, lock: &Lock) -> Result<Vec<u8>, Misconfigured> {
        let mut report = self.reports.get(&interface).ok_or(Misconfigured)?.clone();
        for range in &mut report.ranges {
            // A two's complement offset, modulo the 64-bit address space.
            range.first_page = range.address().wrapping_add(lock.mmio_reporting_offset) / PAGE_SIZE;
        }
        let mut bytes = Vec::new();
        report.encode(&mut bytes);
        // What nobody could accept is a configuration that cannot be locked.
        Report::decode(&bytes).map(|_| bytes).map_err(|_| Misconfigured)
    }

    fn measurements(&mut self) -> Vec<Measurement> {
        self.measurements.clone()
    }
}
