//! What the TSM knows: VMs, devices, TDIs.

use std::collections::{BTreeMap, BTreeSet};

use tdisp::relay::{
    Rid, TdiId, VmId,
    guest::{Binding, Negotiated, TdiInfo, TdiState},
    sealed,
};

use super::link::{Link, Tdi as Machine};

/// SHA-384.
pub(super) type Digest = [u8; 48];

/// A VM with a key.
#[derive(Debug)]
pub(super) struct Vm {
    /// Its channel.
    pub(super) channel: sealed::Tsm,
    /// What it shared, (address, bytes).
    pub(super) shares: BTreeSet<(u64, u64)>,
}

/// A device that was connected once.
#[derive(Debug)]
pub(super) struct Device {
    /// The session and the machines that speak in it; `None` when there is no session.
    pub(super) link: Option<Link>,
    /// Slot of the session.
    pub(super) slot: u8,
    /// Of the session.
    pub(super) spdm: Negotiated,
    /// Of the certificate chain object.
    pub(super) certificates: Digest,
    /// Of the last measurements that the host asked for, if there are any.
    pub(super) measurements: Option<Digest>,
    /// Interfaces that were locked and could not be stopped: stopped first thing in the next session.
    pub(super) unclean: BTreeSet<u32>,
}

/// A TDI that is bound, or about to be.
#[derive(Debug)]
pub(super) struct Tdi {
    /// The DSM.
    pub(super) device: Rid,
    /// TDISP FUNCTION_ID.
    pub(super) function_id: u32,
    /// Whose it is.
    pub(super) vm: VmId,
    /// Where that VM sees it.
    pub(super) guest: Rid,
    /// False until the bind is complete: no guest sees it before.
    pub(super) bound: bool,
    /// Its TDISP requester.
    pub(super) machine: Machine,
    /// The state that the device reported last.
    pub(super) state: TdiState,
    /// A LOCK went out, and no STOP was answered since: whatever the device reports, it may be locked.
    pub(super) touched: bool,
    /// Number of its lock.
    pub(super) generation: u64,
    /// How often its report was read in this lock.
    pub(super) report_count: u64,
    /// Its report as the device sent it.
    pub(super) report: Vec<u8>,
    /// Of the report.
    pub(super) report_digest: Digest,
    /// Flags it was locked with.
    pub(super) lock_flags: u16,
    /// MMIO_REPORTING_OFFSET it was locked with: added to every address of its report, modulo 2^64.
    pub(super) mmio_offset: u64,
    /// Whether the gate is open for it.
    pub(super) dma_enabled: bool,
    /// Of measurements with its guest's nonce, in this lock.
    pub(super) measurements: Option<Digest>,
    /// MMIO pages validated: report range and guest physical address.
    pub(super) validated: BTreeSet<(u16, u64)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) vms: BTreeMap<VmId, Vm>,
    pub(super) devices: BTreeMap<Rid, Device>,
    pub(super) tdis: BTreeMap<TdiId, Tdi>,
    tdis_ever: u64,
    locks_ever: u64,
}

impl Tdi {
    /// Whether the device may hold a lock.
    pub(super) fn is_unclean(&self) -> bool {
        self.touched || self.state != TdiState::UNLOCKED
    }

    /// The function's number in its device.
    pub(super) fn function(&self) -> u8 {
        (self.function_id & 7) as u8
    }
}

impl State {
    /// A name that no TDI had before.
    pub(super) fn new_tdi(&mut self) -> TdiId {
        self.tdis_ever += 1;
        TdiId(self.tdis_ever)
    }

    /// A number that no lock had before.
    pub(super) fn new_generation(&mut self) -> u64 {
        self.locks_ever += 1;
        self.locks_ever
    }

    /// The session with `device`, if there is one.
    pub(super) fn link(&mut self, device: Rid) -> Option<&mut Link> {
        self.devices.get_mut(&device)?.link.as_mut()
    }

    /// The names of the TDIs for which `wanted` holds.
    pub(super) fn tdis_where(&self, wanted: impl Fn(&Tdi) -> bool) -> Vec<TdiId> {
        self.tdis
            .iter()
            .filter(|(_, tdi)| wanted(tdi))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The bound TDI that `vm` sees at `guest`.
    pub(super) fn tdi_at(&self, vm: VmId, guest: Rid) -> Option<TdiId> {
        let mut here = self.tdis.iter();
        here.find(|(_, tdi)| tdi.bound && tdi.vm == vm && tdi.guest == guest)
            .map(|(id, _)| *id)
    }

    /// What a guest is told about the TDI.
    pub(super) fn info(&self, guest: Rid, id: Option<TdiId>) -> TdiInfo {
        let found = id.and_then(|id| self.tdis.get(&id).map(|tdi| (id, tdi)));
        let found = found.and_then(|(id, tdi)| Some((id, tdi, self.devices.get(&tdi.device)?)));
        let Some((id, tdi, device)) = found else {
            return TdiInfo::absent(guest, Binding::UNBOUND);
        };
        let measurements = tdi.measurements.or(device.measurements);
        TdiInfo {
            guest,
            status: Binding::BOUND,
            tdi: id,
            function_id: tdi.function_id,
            state: tdi.state,
            generation: tdi.generation,
            report_count: tdi.report_count,
            lock_flags: tdi.lock_flags,
            dma_enabled: tdi.dma_enabled,
            measurements_valid: measurements.is_some(),
            measurements_fresh: tdi.measurements.is_some(),
            spdm: device.spdm,
            slot: device.slot,
            certificates_digest: device.certificates,
            measurements_digest: measurements.unwrap_or([0; 48]),
            report_digest: tdi.report_digest,
        }
    }
}
