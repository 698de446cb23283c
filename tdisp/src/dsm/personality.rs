//! What a device says about itself.

use crate::{
    spdm::responder::Measurement,
    tdi::{
        msg::{InterfaceId, Lock, OwnedVdm, PAGE_SIZE, State},
        report::{Range, Report},
        responder::{Misconfigured, NotSettable, VendorRefusal},
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

    /// Locks the registers of a peer-to-peer stream for an interface that runs, and puts what it sent before in order.
    fn bind_peer(&mut self, _interface: InterfaceId, _stream: u8) -> Result<(), NotSettable> {
        Ok(())
    }

    /// Ends an interface's traffic over a peer-to-peer stream, before UNBIND_P2P_STREAM is answered.
    fn unbind_peer(&mut self, _interface: InterfaceId, _stream: u8) {}

    /// Opens a range to everybody, or closes it; which,
    /// [`Attributes::NON_TEE`](crate::tdi::report::Attributes::NON_TEE) says. It lies in one of the report's that is updatable.
    fn set_mmio_attribute(&mut self, _interface: InterfaceId, _range: &Range) -> Result<(), NotSettable> {
        Err(NotSettable)
    }

    /// Answers a vendor's message.
    fn vendor(&mut self, _interface: InterfaceId, _said: &OwnedVdm) -> Result<OwnedVdm, VendorRefusal> {
        Err(VendorRefusal::Unsupported)
    }

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
        let mut report = self.reports.get(&interface).ok_or(Misconfigured::Other)?.clone();
        for range in &mut report.ranges {
            // A two's complement offset, modulo the 64-bit address space.
            range.first_page = range.address().wrapping_add(lock.mmio_reporting_offset) / PAGE_SIZE;
        }
        let mut bytes = Vec::new();
        report.encode(&mut bytes);
        // What nobody could accept is a configuration that cannot be locked.
        match Report::decode(&bytes) {
            Ok(_) => Ok(bytes),
            Err(_) => Err(Misconfigured::Other),
        }
    }

    fn measurements(&mut self) -> Vec<Measurement> {
        self.measurements.clone()
    }
}
