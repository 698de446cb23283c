//! The host's commands as lists of steps, after everything that can be checked beforehand was checked.

use tdisp::relay::{
    Rid, TdiId, VmId,
    guest::{Negotiated, TdiState},
    host::{self, Bind, Code, Command, DevStatus, Done, Owner, Status, TdiStatus},
    sealed::Incoming,
};

use super::{
    core::Core,
    link::{Link, Tdi as Machine},
    state::{Device, Tdi},
    step::{Ask, Failure, Reply, Step},
};

type Script = Result<(Reply, Vec<Step>), Failure>;

impl Core {
    /// What `command` takes. Changes nothing that its failure would have to take back.
    pub(super) fn script(&mut self, command: Command) -> Script {
        let steps = match command {
            Command::Status => return Ok((Reply::Host(Done::Status(self.status())), Vec::new())),
            Command::DevStatus { device } => {
                return Ok((Reply::Host(Done::DevStatus(self.dev_status(device))), Vec::new()));
            }
            Command::VmCreate { vm } => self.vm_create(vm)?,
            Command::VmDestroy { vm } => self.vm_destroy(vm)?,
            Command::DevConnect { device, slot } => self.dev_connect(device, slot)?,
            Command::DevDisconnect { device } => self.dev_disconnect(device)?,
            Command::TdiBind(bind) => return self.tdi_bind(&bind),
            Command::TdiUnbind { tdi } => {
                self.state
                    .tdis
                    .get(&tdi)
                    .ok_or_else(|| unknown(format!("there is no TDI {tdi}")))?;
                stop(tdi)
            }
            Command::GuestRequest { vm, bytes } => return self.guest_request(vm, &bytes),
            Command::Carried { .. } | Command::CarryFailed { .. } => Vec::new(),
        };
        Ok((Reply::Host(Done::Ok), steps))
    }

    fn status(&self) -> Status {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let connected = self.state.devices.values().filter(|device| device.link.is_some());
        Status {
            version: host::VERSION,
            devices: count(connected.count()),
            vms: count(self.state.vms.len()),
            tdis: count(self.state.tdis.len()),
        }
    }

    fn dev_status(&self, rid: Rid) -> DevStatus {
        let known = self.state.devices.get(&rid);
        let tdis = self.state.tdis.iter().filter(|(_, tdi)| tdi.device == rid);
        DevStatus {
            connected: known.is_some_and(|device| device.link.is_some()),
            slot: known.map_or(0, |device| device.slot),
            spdm: known.map_or(Negotiated::default(), |device| device.spdm),
            certificates_digest: known.map_or([0; 48], |device| device.certificates),
            measurements_digest: known.and_then(|device| device.measurements).unwrap_or([0; 48]),
            tdis: tdis.map(|(id, tdi)| tdi_status(*id, tdi)).collect(),
        }
    }

    fn vm_create(&self, vm: VmId) -> Result<Vec<Step>, Failure> {
        if self.state.vms.contains_key(&vm) {
            return Err(Failure::host(
                Code::EXISTS,
                format!("VM {vm} has a key already; destroy it first"),
            ));
        }
        Ok(vec![
            Step::OnFailure(vec![Step::DeleteKey { vm }]),
            Step::StoreKey { vm },
        ])
    }

    fn vm_destroy(&self, vm: VmId) -> Result<Vec<Step>, Failure> {
        let known = self
            .state
            .vms
            .get(&vm)
            .ok_or_else(|| unknown(format!("there is no VM {vm}")))?;
        let tdis = self.state.tdis_where(|tdi| tdi.vm == vm);
        let unshare = known.shares.iter().map(|(gpa, len)| Step::Unshare {
            vm,
            gpa: *gpa,
            len: *len,
        });
        let rest: Vec<_> = unshare.chain([Step::DeleteKey { vm }]).collect();
        // A device that does not stop must not keep the key alive.
        let mut steps = vec![Step::OnFailure(stop_all(&tdis).chain(rest.clone()).collect())];
        steps.extend(stop_all(&tdis));
        steps.extend(rest);
        Ok(steps)
    }

    fn dev_connect(&mut self, device: Rid, slot: u8) -> Result<Vec<Step>, Failure> {
        if slot > 7 {
            let reason = format!("slot is {slot}, wanted 0 to 7");
            return Err(Failure::host(Code::BAD_REQUEST, reason));
        }
        let known = self.state.devices.entry(device).or_insert_with(|| Device {
            link: None,
            slot,
            spdm: Negotiated::default(),
            certificates: [0; 48],
            measurements: None,
            unclean: Default::default(),
        });
        if known.link.is_some() {
            let reason = format!("{device} is connected already; disconnect it first");
            return Err(Failure::host(Code::EXISTS, reason));
        }
        let link = Link::new(slot, &self.offer, &self.provider);
        (known.link, known.slot) = (Some(link), slot);
        let leftovers = known.unclean.iter();
        let leftovers = leftovers.map(|function_id| Step::StopLeftover {
            device,
            function_id: *function_id,
        });
        let begin = [
            Step::OnFailure(vec![Step::DropSession { device }]),
            Step::Connect { device },
            Step::Measure {
                device,
                nonce: None,
                owner: Owner::Device(device),
            },
            Step::OpenSession { device },
        ];
        let ide = self.ide.then_some(Step::ProgramIde { device });
        Ok(begin.into_iter().chain(ide).chain(leftovers).collect())
    }

    fn dev_disconnect(&self, device: Rid) -> Result<Vec<Step>, Failure> {
        let known = self
            .state
            .devices
            .get(&device)
            .filter(|device| device.link.is_some());
        known.ok_or_else(|| unknown(format!("there is no session with {device}")))?;
        let tdis = self.state.tdis_where(|tdi| tdi.device == device);
        let last = Step::DropSession { device };
        let mut steps = vec![Step::OnFailure(stop_all(&tdis).chain([last.clone()]).collect())];
        steps.extend(stop_all(&tdis));
        steps.extend([Step::EndSession { device }, last]);
        Ok(steps)
    }

    fn tdi_bind(&mut self, bind: &Bind) -> Script {
        if !self.state.vms.contains_key(&bind.vm) {
            return Err(unknown(format!("there is no VM {}; create it first", bind.vm)));
        }
        if self.state.link(bind.device).is_none() {
            return Err(unknown(format!(
                "there is no session with {}; connect it first",
                bind.device
            )));
        }
        // The device's functions: its bus and device number, and any function number.
        if (bind.function_id ^ u32::from(bind.device.requester_id())) & 0xfff8 != 0 {
            let reason = format!(
                "interface {:#x} is no function of {}",
                bind.function_id, bind.device
            );
            return Err(Failure::host(Code::BAD_REQUEST, reason));
        }
        let same = |tdi: &Tdi| tdi.device == bind.device && tdi.function_id == bind.function_id;
        let taken = |tdi: &Tdi| same(tdi) || (tdi.vm == bind.vm && tdi.guest == bind.guest);
        if let Some(other) = self.state.tdis.values().find(|tdi| taken(tdi)) {
            let reason = format!(
                "interface {:#x} is bound to VM {} at {}; wanted an interface and a guest address that are free",
                other.function_id, other.vm, other.guest
            );
            return Err(Failure::host(Code::EXISTS, reason));
        }
        let tdi = self.state.new_tdi();
        self.state.tdis.insert(tdi, fresh(bind));
        let ask = |ask| Step::Ask { tdi, ask };
        let lock = Ask::Lock {
            flags: bind.flags,
            mmio_offset: bind.mmio_offset,
        };
        let steps = vec![
            Step::OnFailure(vec![Step::Forget { tdi }]),
            ask(Ask::Version),
            ask(Ask::Capabilities),
            ask(Ask::State),
            Step::StopUnlessUnlocked { tdi },
            Step::OnFailure(stop(tdi)),
            ask(lock),
            ask(Ask::State),
            ask(Ask::Report),
            Step::Bound { tdi },
        ];
        Ok((Reply::Host(Done::Bound { tdi }), steps))
    }

    fn guest_request(&mut self, vm: VmId, bytes: &[u8]) -> Script {
        let known = self
            .state
            .vms
            .get_mut(&vm)
            .ok_or_else(|| unknown(format!("there is no VM {vm}")))?;
        match known.channel.receive(bytes) {
            Ok(Incoming::Opened(bytes)) => Ok((Reply::Host(Done::Guest { bytes }), Vec::new())),
            Ok(Incoming::Request(request)) => Ok(self.guest_script(vm, request)),
            Err(error) => Err(Failure::host(Code::CHANNEL, error.to_string())),
        }
    }
}

/// Gate closed, then STOP, then nobody's. What fails of it is tried once more, and then left to the next session.
pub(super) fn stop(tdi: TdiId) -> Vec<Step> {
    let again = Step::OnFailure(stop_steps(tdi).to_vec());
    [again].into_iter().chain(stop_steps(tdi)).collect()
}

fn stop_steps(tdi: TdiId) -> [Step; 3] {
    [
        Step::Gate { tdi, open: false },
        Step::Ask { tdi, ask: Ask::Stop },
        Step::Forget { tdi },
    ]
}

fn stop_all(tdis: &[TdiId]) -> impl Iterator<Item = Step> {
    tdis.iter().copied().flat_map(stop_steps)
}

fn fresh(bind: &Bind) -> Tdi {
    Tdi {
        device: bind.device,
        function_id: bind.function_id,
        vm: bind.vm,
        guest: bind.guest,
        bound: false,
        machine: Machine::new(bind.function_id),
        state: TdiState::UNLOCKED,
        touched: false,
        generation: 0,
        report_count: 0,
        report: Vec::new(),
        report_digest: [0; 48],
        lock_flags: 0,
        mmio_offset: bind.mmio_offset,
        dma_enabled: false,
        measurements: None,
        validated: Default::default(),
    }
}

fn tdi_status(id: TdiId, tdi: &Tdi) -> TdiStatus {
    TdiStatus {
        tdi: id,
        function_id: tdi.function_id,
        vm: tdi.vm,
        guest: tdi.guest,
        state: tdi.state,
        generation: tdi.generation,
        dma_enabled: tdi.dma_enabled,
    }
}

fn unknown(reason: String) -> Failure {
    Failure::host(Code::UNKNOWN, reason)
}
