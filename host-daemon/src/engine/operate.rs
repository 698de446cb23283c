//! The operations: connect, disconnect, bind, unbind, a guest's message, the end.

use tdisp::relay::{
    TdiId, VmId,
    host::{Bind, Owner},
};

use super::{CONNECTED, DISCONNECTED, Engine, Error, Slot};
use crate::{api, journal::Change, steps::Step, tsm};

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
        match self.keep(evidence).and(result.map_err(Error::from)) {
            Ok(()) => {
                self.journal.done(ticket)?;
                self.show_device(device, |shown| {
                    (shown.state, shown.error, shown.steps) = (CONNECTED.into(), None, steps);
                });
                Ok(self.shown_device(device))
            }
            Err(error) => {
                self.mailboxes.close(bdf).await;
                self.journal.failed(ticket, &error.to_string())?;
                self.failed_on(device, &error).await;
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
        // The TSM drops the session in any case: what the device did not answer is told, and stands no more.
        if result.as_ref().is_err_and(tsm::Error::is_lost) {
            self.journal.failed(ticket, "the TSM is gone")?;
        } else {
            self.journal.done(ticket)?;
            self.gone(device);
        }
        match result {
            Ok(()) => {
                self.show_device(device, |shown| shown.error = None);
                Ok(())
            }
            Err(error) => {
                let error = Error::from(error);
                self.failed_on(device, &error).await;
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
        match (self.keep(evidence), result) {
            (Ok(()), Ok(tdi)) => {
                self.journal.done(ticket)?;
                self.bound.insert(slot, tdi);
                self.show_tdi(slot, |shown| (shown.error, shown.steps) = (None, steps));
                Ok(tdi)
            }
            (kept, result) => {
                // Without its evidence a bound function is of no use to anybody.
                if let Ok(tdi) = &result {
                    let (tsm, mut errand) = self.errand();
                    let _ = tsm.unbind(*tdi, &mut errand).await;
                }
                let error = result
                    .err()
                    .map(Error::from)
                    .or(kept.err())
                    .unwrap_or_else(unknown_failure);
                self.journal.failed(ticket, &error.to_string())?;
                self.failed_on(slot.0, &error).await;
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
            Err(error) if error.is_lost() => {
                self.journal.failed(ticket, "the TSM is gone")?;
                let error = Error::from(error);
                self.failed_on(slot.0, &error).await;
                Err(error)
            }
            // The TSM forgets the TDI in any case.
            result => {
                self.journal.done(ticket)?;
                self.released(slot);
                match result.map_err(Error::from) {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        self.failed_on(slot.0, &error).await;
                        self.show_tdi(slot, |shown| shown.error = Some(error.to_string()));
                        Err(error)
                    }
                }
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
        self.keep(evidence)?;
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
        Ok(result?)
    }

    /// Unbinds and disconnects everything, at the end.
    pub async fn shutdown(&mut self) -> Result<(), Error> {
        let mut first = Ok(());
        for slot in self.bound.keys().copied().collect::<Vec<_>>() {
            first = first.and(self.unbind(slot).await);
        }
        for device in 0..self.config.devices.len() {
            if self.is_connected(device) {
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

    /// An operation on a device failed: asks the TSM what stands.
    async fn failed_on(&mut self, device: usize, error: &Error) {
        self.note(error);
        if self.up {
            self.follow(device).await;
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

fn unknown_failure() -> Error {
    Error::State("the operation failed for no reason that was told".into())
}
