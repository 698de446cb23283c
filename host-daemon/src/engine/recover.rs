//! What stands? Asked of the TSM after a start, after the TSM was away, and after a failure.
//!
//! The journal says what the daemon meant to stand; the TSM says what does. Both: adopted. Only the TSM: taken back.
//! Only the journal: it is gone, and the operator is told.

use tdisp::relay::{
    TdiId, VmId,
    host::{Owner, TdiStatus},
};

use super::{CONNECTED, DISCONNECTED, Engine, Error, Slot};
use crate::{
    api,
    journal::{Change, Replay},
    tsm,
};

impl Engine {
    /// Finds the TSM, gives every VM its key, and sorts out what an earlier life left.
    pub async fn start(&mut self) -> Result<(), Error> {
        let result = self.find().await;
        if let Err(error) = &result {
            let mut view = self.view.borrow_mut();
            (view.tsm.state, view.tsm.note) = ("down".into(), error.to_string());
        }
        result
    }

    async fn find(&mut self) -> Result<(), Error> {
        self.tsm.open().await?;
        for vm in self.config.vms.iter().map(|vm| vm.id).collect::<Vec<_>>() {
            self.tsm.create_vm(vm).await?;
        }
        // Kept until everything is sorted out: if the TSM goes away in the middle, the next try finds the same past.
        let standing = || Replay {
            in_flight: Vec::new(),
            standing: self.standing(),
        };
        let past = self.past.clone().unwrap_or_else(standing);
        self.past = Some(past.clone());
        let Replay { in_flight, standing } = past;
        let told = |change| format!("{} was in flight", named(change));
        let mut told: Vec<_> = in_flight.iter().map(told).collect();
        self.bound.clear();
        for device in 0..self.config.devices.len() {
            self.sort_out(device, &standing, &mut told).await?;
        }
        self.write_off(&standing, &mut told)?;
        self.evidence.retain(&self.owners())?;
        self.journal.sorted_out()?;
        (self.past, self.up) = (None, true);
        told.iter().for_each(|line| tracing::info!("recovery: {line}"));
        let mut view = self.view.borrow_mut();
        view.tsm = api::Tsm {
            backend: self.tsm.name().into(),
            state: "up".into(),
            note: self.tsm.note().into(),
        };
        (view.ready, view.recovered) = (true, told);
        Ok(())
    }

    /// Whose evidence is of use: connected devices and bound TDIs.
    fn owners(&self) -> Vec<Owner> {
        let devices = (0..self.config.devices.len()).filter(|device| self.is_connected(*device));
        let devices = devices.map(|device| Owner::Device(self.config.devices[device].bdf));
        devices
            .chain(self.bound.values().map(|tdi| Owner::Tdi(*tdi)))
            .collect()
    }

    /// What stood before the TSM was away.
    fn standing(&self) -> Vec<Change> {
        let view = self.view.borrow();
        let devices = view.devices.iter().filter(|device| device.state == CONNECTED);
        let connects = devices.map(|device| Change::Connect {
            device: device.name.clone(),
        });
        let binds = self.bound.keys().map(|slot| self.bind_of(*slot));
        connects.chain(binds).collect()
    }

    fn bind_of(&self, (device, function): Slot) -> Change {
        Change::Bind {
            device: self.config.devices[device].name.clone(),
            function,
        }
    }

    async fn sort_out(
        &mut self,
        device: usize,
        standing: &[Change],
        told: &mut Vec<String>,
    ) -> Result<(), Error> {
        let config = self.config.devices[device].clone();
        let status = match self.tsm.device(config.bdf).await {
            Ok(status) => status,
            Err(error) if error.is_lost() => return Err(error.into()),
            Err(tsm::Error::Unsupported { .. }) => return Ok(()),
            // One device of which nothing can be said does not keep the others waiting.
            Err(error) => {
                self.show_device(device, |shown| shown.error = Some(error.to_string()));
                return Ok(());
            }
        };
        let connect = Change::Connect {
            device: config.name.clone(),
        };
        let ours = standing.contains(&connect) || self.tsm.has_sessions_of_others();
        let adopted = status.connected && ours;
        let standing = if adopted { standing } else { &[] };
        for tdi in &status.tdis {
            told.push(self.adopt_or_unbind(device, tdi, standing).await?);
        }
        if adopted {
            told.push(format!("{} is still connected: adopted", config.name));
        } else {
            if status.connected {
                let (tsm, mut errand) = self.errand();
                let done = outcome(tsm.disconnect(config.bdf, &mut errand).await)?;
                told.push(format!("{} had a session: disconnected{done}", config.name));
            }
            self.mailboxes.close(config.bdf).await;
        }
        self.show_sorted_out(device, adopted);
        Ok(())
    }

    async fn adopt_or_unbind(
        &mut self,
        device: usize,
        tdi: &TdiStatus,
        standing: &[Change],
    ) -> Result<String, Error> {
        let name = self.config.devices[device].name.clone();
        let slot = self.lease_for(device, tdi);
        if let Some(slot) = slot.filter(|slot| standing.contains(&self.bind_of(*slot))) {
            self.bound.insert(slot, tdi.tdi);
            return Ok(format!("function {} of {name} is still bound: adopted", slot.1));
        }
        let (tsm, mut errand) = self.errand();
        let done = outcome(tsm.unbind(tdi.tdi, &mut errand).await)?;
        Ok(format!(
            "interface {:#x} of {name}: unbound{done}",
            tdi.function_id
        ))
    }

    fn show_sorted_out(&self, device: usize, connected: bool) {
        let state = if connected { CONNECTED } else { DISCONNECTED };
        self.show_device(device, |shown| (shown.state, shown.error) = (state.into(), None));
        let leases = self.config.vms.iter().flat_map(|vm| &vm.leases);
        let here = leases.filter(|lease| lease.device == device);
        here.for_each(|lease| self.show_tdi((device, lease.function), |_| ()));
    }

    /// The lease that a TDI of the TSM's is for.
    fn lease_for(&self, device: usize, tdi: &TdiStatus) -> Option<Slot> {
        let vm = self.config.vms.iter().find(|vm| vm.id == tdi.vm)?;
        let fits = |lease: &&crate::config::Lease| {
            lease.device == device && lease.interface == tdi.function_id && lease.guest == tdi.guest
        };
        vm.leases
            .iter()
            .find(fits)
            .map(|lease| (lease.device, lease.function))
    }

    /// Notes in the journal what stood and does not any more.
    fn write_off(&mut self, standing: &[Change], told: &mut Vec<String>) -> Result<(), Error> {
        for change in standing {
            let device = self
                .config
                .devices
                .iter()
                .position(|device| device.name == change.device());
            let (stands, undo) = match change {
                Change::Bind {
                    device: name,
                    function,
                } => (
                    device.is_some_and(|device| self.bound.contains_key(&(device, *function))),
                    Change::Unbind {
                        device: name.clone(),
                        function: *function,
                    },
                ),
                other => (
                    device.is_some_and(|device| self.is_connected(device)),
                    Change::Disconnect {
                        device: other.device().into(),
                    },
                ),
            };
            if !stands {
                let ticket = self.journal.begin(undo)?;
                self.journal.done(&ticket)?;
                told.push(format!("{} stands no more", named(change)));
                device
                    .filter(|_| matches!(change, Change::Connect { .. }))
                    .into_iter()
                    .for_each(|device| {
                        self.gone(device);
                    });
            }
        }
        Ok(())
    }

    /// Asks the TSM what stands of a device after a failure: what it has let go of is shown so, and what it holds
    /// without our knowing is taken back.
    pub(super) async fn follow(&mut self, device: usize) {
        let config = self.config.devices[device].clone();
        let status = match self.tsm.device(config.bdf).await {
            Ok(status) => status,
            Err(error) => return self.note(&error.into()),
        };
        let slots: Vec<_> = self.bound.iter().map(|(slot, tdi)| (*slot, *tdi)).collect();
        for (slot, tdi) in slots.iter().filter(|(slot, _)| slot.0 == device) {
            if !status.tdis.iter().any(|known| known.tdi == *tdi) {
                self.write(Change::Unbind {
                    device: config.name.clone(),
                    function: slot.1,
                });
                self.released(*slot);
            }
        }
        if self.is_connected(device) && !status.connected {
            self.write(Change::Disconnect { device: config.name });
            self.mailboxes.close(config.bdf).await;
            return self.gone(device);
        }
        if status.connected && self.tsm.has_sessions_of_others() {
            return self.show_device(device, |shown| shown.state = CONNECTED.into());
        }
        let known = |tdi: &&TdiStatus| slots.iter().any(|(_, bound)| *bound == tdi.tdi);
        let strays: Vec<_> = status
            .tdis
            .iter()
            .filter(|tdi| !known(tdi))
            .map(|tdi| tdi.tdi)
            .collect();
        if let Err(error) = self.let_go(device, &strays, status.connected).await {
            tracing::warn!(%error, "what the TSM held without our knowing is not gone");
            self.note(&error.into());
        }
    }

    async fn let_go(&mut self, device: usize, strays: &[TdiId], session: bool) -> Result<(), tsm::Error> {
        for tdi in strays {
            let (tsm, mut errand) = self.errand();
            tsm.unbind(*tdi, &mut errand).await?;
        }
        if session && !self.is_connected(device) {
            let bdf = self.config.devices[device].bdf;
            let (tsm, mut errand) = self.errand();
            tsm.disconnect(bdf, &mut errand).await?;
        }
        Ok(())
    }

    /// The same for every device that a VM has a function of.
    pub(super) async fn follow_vm(&mut self, vm: VmId) {
        let known = self.config.vms.iter().filter(|known| known.id == vm);
        let mut devices: Vec<_> = known
            .flat_map(|vm| vm.leases.iter().map(|lease| lease.device))
            .collect();
        devices.sort_unstable();
        devices.dedup();
        for device in devices {
            self.follow(device).await;
        }
    }

    /// Notes what is so already.
    fn write(&mut self, change: Change) {
        let noted = self
            .journal
            .begin(change)
            .and_then(|ticket| self.journal.done(&ticket));
        if let Err(error) = noted {
            tracing::error!(%error, "what changed is not in the journal");
        }
    }
}

/// A device that does not answer does not stop a recovery: the TSM has let go of it. A TSM that is gone does.
fn outcome(result: Result<(), tsm::Error>) -> Result<String, Error> {
    match result {
        Err(error) if error.is_lost() => Err(error.into()),
        Err(error) => Ok(format!(" ({error})")),
        Ok(()) => Ok(String::new()),
    }
}

fn named(change: &Change) -> String {
    match change {
        Change::Connect { device } => format!("connect of {device}"),
        Change::Disconnect { device } => format!("disconnect of {device}"),
        Change::Bind { device, function } => format!("bind of function {function} of {device}"),
        Change::Unbind { device, function } => format!("unbind of function {function} of {device}"),
    }
}
