//! The operations: connect, disconnect, bind, unbind, a guest's message, the end.

use tdisp::relay::{
    ObjectKind, TdiId, VmId,
    host::{Bind, Owner},
};

use super::{CONNECTED, DISCONNECTED, Engine, Error, Slot};
use crate::{
    api,
    journal::{Change, Ticket},
    steps::Step,
    tsm,
};

impl Engine {
    /// Makes a session with a device.
    pub async fn connect(&mut self, name: &str) -> Result<api::Device, Error> {
        let device = self.device(name)?;
        if self.is_connected(device) {
            return Err(Error::State(format!(
                "{name} is connected already; disconnect it first"
            )));
        }
        let ticket = self.journal.begin(Change::Connect { device: name.into() })?;
        let (bdf, slot) = (self.config.devices[device].bdf, self.config.devices[device].slot);
        let (tsm, mut errand) = self.errand();
        let result = tsm.connect(bdf, slot, &mut errand).await;
        let (steps, evidence) = (errand.steps.list().to_vec(), errand.evidence);
        let connected = result
            .map_err(Error::from)
            .and_then(|()| self.stand(&ticket, evidence));
        match connected {
            Ok(()) => {
                self.show_device(device, |shown| {
                    (shown.state, shown.error, shown.steps) = (CONNECTED.into(), None, steps);
                });
                Ok(self.shown_device(device))
            }
            Err(error) => {
                self.taken_back(&ticket, device, &error).await;
                self.show_device(device, |shown| {
                    (shown.error, shown.steps) = (Some(error.to_string()), steps);
                });
                Err(error)
            }
        }
    }

    /// Unbinds a device's functions and ends its session.
    pub async fn disconnect(&mut self, name: &str) -> Result<api::Device, Error> {
        let device = self.device(name)?;
        if !self.is_connected(device) {
            return Err(Error::State(format!(
                "{name} is not connected; there is nothing to disconnect"
            )));
        }
        self.disconnect_anyway(device).await?;
        Ok(self.shown_device(device))
    }

    pub(super) async fn disconnect_anyway(&mut self, device: usize) -> Result<(), Error> {
        let (name, bdf) = (
            self.config.devices[device].name.clone(),
            self.config.devices[device].bdf,
        );
        let ticket = self.journal.begin(Change::Disconnect { device: name })?;
        let (tsm, mut errand) = self.errand();
        let result = tsm.disconnect(bdf, &mut errand).await;
        self.mailboxes.close(bdf).await;
        match result {
            Ok(()) => {
                self.gone(device);
                self.show_device(device, |shown| shown.error = None);
                Ok(self.journal.done(&ticket)?)
            }
            // Whether there still is a session, the TSM says: most drop it even if the device does not answer.
            Err(error) => {
                let error = Error::from(error);
                self.taken_back(&ticket, device, &error).await;
                self.show_device(device, |shown| shown.error = Some(error.to_string()));
                Err(error)
            }
        }
    }

    /// Locks a function for the VM that has the lease, with the lease's flags and `flags`.
    pub async fn bind(&mut self, slot: Slot, flags: u16) -> Result<TdiId, Error> {
        let name = self.config.devices[slot.0].name.clone();
        let (vm, lease) = self.lease_of(slot).ok_or_else(|| {
            Error::Unknown(format!(
                "function {} of {name} is leased to no VM; add a [[vm.tdi]]",
                slot.1
            ))
        })?;
        let bind = Bind {
            device: self.config.devices[slot.0].bdf,
            function_id: lease.interface,
            vm,
            guest: lease.guest,
            flags: lease.lock | flags,
            mmio_offset: 0,
        };
        if !self.is_connected(slot.0) {
            return Err(Error::State(format!(
                "{name} is not connected; run: tidelock connect {name}"
            )));
        }
        if self.bound.contains_key(&slot) {
            return Err(Error::State(format!(
                "function {} of {name} is bound already; unbind it first",
                slot.1
            )));
        }
        let ticket = self.journal.begin(Change::Bind {
            device: name,
            function: slot.1,
        })?;
        let (tsm, mut errand) = self.errand();
        let result = tsm.bind(bind, &mut errand).await;
        let (steps, evidence) = (errand.steps.list().to_vec(), errand.evidence);
        let bound = result.map_err(Error::from);
        match bound.and_then(|tdi| self.stand(&ticket, evidence).map(|()| tdi)) {
            Ok(tdi) => {
                self.bound.insert(slot, tdi);
                self.show_tdi(slot, |shown| (shown.error, shown.steps) = (None, steps));
                Ok(tdi)
            }
            Err(error) => {
                self.taken_back(&ticket, slot.0, &error).await;
                self.show_tdi(slot, |shown| {
                    (shown.error, shown.steps) = (Some(error.to_string()), steps);
                });
                Err(error)
            }
        }
    }

    /// Takes a function from its VM.
    pub async fn unbind(&mut self, slot: Slot) -> Result<(), Error> {
        let name = self.config.devices[slot.0].name.clone();
        let Some(tdi) = self.bound.get(&slot).copied() else {
            return Err(Error::State(format!(
                "function {} of {name} is not bound",
                slot.1
            )));
        };
        let ticket = self.journal.begin(Change::Unbind {
            device: name,
            function: slot.1,
        })?;
        let (tsm, mut errand) = self.errand();
        match tsm.unbind(tdi, &mut errand).await {
            Ok(()) => {
                self.released(slot);
                Ok(self.journal.done(&ticket)?)
            }
            // Whether it is still bound, the TSM says: most let go of it even if the device does not answer.
            Err(error) => {
                let error = Error::from(error);
                self.taken_back(&ticket, slot.0, &error).await;
                self.show_tdi(slot, |shown| shown.error = Some(error.to_string()));
                Err(error)
            }
        }
    }

    /// Binds for a guest that names the function by its own address. A guest that was started anew binds anew: the old
    /// lock, about which it knows nothing, goes.
    pub async fn bind_for(&mut self, vm: VmId, slot: Slot, flags: u16) -> Result<TdiId, Error> {
        if self.bound.contains_key(&slot) {
            tracing::info!(
                vm = vm.0,
                function = slot.1,
                "the guest binds anew: the old binding is released first"
            );
            self.unbind(slot).await?;
        }
        self.bind(slot, flags).await
    }

    /// The slot of the function that a VM sees at `guest`.
    pub fn slot_at(&self, vm: VmId, guest: tdisp::relay::Rid) -> Option<Slot> {
        let vm = self.config.vms.iter().find(|known| known.id == vm)?;
        let lease = vm.leases.iter().find(|lease| lease.guest == guest)?;
        Some((lease.device, lease.function))
    }

    /// The slot of a function by its device's name.
    pub fn slot(&self, device: &str, function: u8) -> Result<Slot, Error> {
        Ok((self.device(device)?, function))
    }

    /// Passes a guest's sealed message to the TSM.
    pub async fn guest(&mut self, vm: VmId, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (tsm, mut errand) = self.errand();
        let result = tsm.guest(vm, bytes, &mut errand).await;
        let (carried, evidence) = (!errand.steps.list().is_empty(), errand.evidence);
        let kept = self.keep(evidence);
        if result.as_ref().is_err_and(tsm::Error::is_lost) {
            let error = result.map_err(Error::from);
            error
                .as_ref()
                .err()
                .into_iter()
                .for_each(|error| self.note(error));
            return error;
        }
        // What the guest asked is sealed; whether it stopped a TDI the TSM says.
        if carried {
            self.follow_vm(vm).await;
        }
        kept?;
        Ok(result?)
    }

    /// Unbinds and disconnects everything, at the end. Sessions that others may have made are left alone.
    pub async fn shutdown(&mut self) -> Result<(), Error> {
        let mut first = Ok(());
        for slot in self.bound.keys().copied().collect::<Vec<_>>() {
            first = first.and(self.unbind(slot).await);
        }
        for device in 0..self.config.devices.len() {
            if self.is_connected(device) && !self.tsm.has_sessions_of_others() {
                first = first.and(self.disconnect_anyway(device).await);
            }
        }
        first
    }

    /// Who a device says it is, by a session of the host's own.
    pub async fn identify(&mut self, name: &str) -> Result<api::Identity, Error> {
        let device = self.device(name)?;
        if self.is_connected(device) {
            let what = format!(
                "{name} is connected: a session of the host's own would end the TSM's; run: tidelock disconnect {name}"
            );
            return Err(Error::State(what));
        }
        let config = self.config.devices[device].clone();
        let (_, mut errand) = self.errand();
        let identified = tsm::identify(&config, &mut errand).await;
        self.mailboxes.close(config.bdf).await;
        Ok(identified?)
    }

    pub(super) fn device(&self, name: &str) -> Result<usize, Error> {
        let found = self.config.devices.iter().position(|device| device.name == name);
        found.ok_or_else(|| {
            let known: Vec<_> = self
                .config
                .devices
                .iter()
                .map(|device| device.name.as_str())
                .collect();
            let known = if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            };
            Error::Unknown(format!("device \"{name}\" is not configured; known: {known}"))
        })
    }

    /// The device as the operator sees it.
    fn shown_device(&self, device: usize) -> api::Device {
        self.view.borrow().devices[device].clone()
    }

    /// The lease of a function as the operator sees it.
    pub fn shown_tdi(&self, slot: Slot) -> Option<api::Tdi> {
        let name = &self.config.devices[slot.0].name;
        let view = self.view.borrow();
        let mut tdis = view.vms.iter().flat_map(|vm| &vm.tdis);
        tdis.find(|tdi| tdi.device == *name && tdi.function == slot.1)
            .cloned()
    }

    /// The device has no session any more, and so no function of it is bound.
    pub(super) fn gone(&mut self, device: usize) {
        let slots: Vec<_> = self
            .bound
            .keys()
            .copied()
            .filter(|slot| slot.0 == device)
            .collect();
        slots.into_iter().for_each(|slot| self.released(slot));
        self.evidence
            .forget(Owner::Device(self.config.devices[device].bdf));
        self.show_device(device, |shown| shown.state = DISCONNECTED.into());
    }

    pub(super) fn released(&mut self, slot: Slot) {
        if let Some(tdi) = self.bound.remove(&slot) {
            self.evidence.forget(Owner::Tdi(tdi));
        }
        self.show_tdi(slot, |shown| shown.steps = Vec::<Step>::new());
    }

    /// What the TSM did is kept and in the journal: only now it stands.
    fn stand(&mut self, ticket: &Ticket, evidence: Vec<(Owner, ObjectKind, Vec<u8>)>) -> Result<(), Error> {
        self.keep(evidence)?;
        Ok(self.journal.done(ticket)?)
    }

    /// A change failed: the journal gets to know, and whatever the TSM still holds of it goes.
    async fn taken_back(&mut self, ticket: &Ticket, device: usize, error: &Error) {
        if let Err(error) = self.journal.failed(ticket, &error.to_string()) {
            tracing::error!(%error, "a failure is not in the journal; it stays in flight until the next start");
        }
        self.note(error);
        if self.up {
            self.follow(device).await;
        }
        if !self.is_connected(device) {
            self.mailboxes.close(self.config.devices[device].bdf).await;
        }
    }

    pub(super) fn note(&mut self, error: &Error) {
        if let Error::Tsm(error) = error
            && error.is_lost()
        {
            self.lost(error);
        }
    }
}
