//! Conversations with devices: what the machines have to say goes to the host as objects to carry, and what comes back
//! goes to the machines, whose events end the current step.

use tdisp::{
    clock::Instant,
    relay::{
        ObjectKind, Rid, TdiId,
        guest::TdiState,
        host::{Answer, Code, Owner},
    },
};

use super::{
    core::{Core, gone},
    link::{Happened, Heard, Link, Tdi as Machine},
    step::{Failure, Step},
};

impl Core {
    /// Has the link with `device` say something, and sees what comes of it.
    pub(super) fn speak(
        &mut self,
        now: Instant,
        device: Rid,
        say: impl FnOnce(&mut Link, Instant),
    ) -> Result<(), Failure> {
        let link = self.state.link(device).ok_or_else(|| {
            Failure::device(format!("there is no session with {device}; connect the device"))
        })?;
        say(link, now);
        self.pump(now, device);
        Ok(())
    }

    /// What became of a Carry.
    pub(super) fn carried(&mut self, now: Instant, result: Result<Vec<u8>, String>) {
        let Some(device) = self.owed.take() else {
            let reason = "nothing was to be carried; wanted a command";
            return self.answer(Answer::Failed {
                code: Code::BAD_REQUEST,
                reason: reason.into(),
            });
        };
        // An answer that comes after its operation gave up is nobody's.
        if self.speaking() != Some(device) {
            return;
        }
        match (result, self.state.link(device)) {
            (Ok(object), Some(link)) => {
                link.handle(now, &object);
                self.pump(now, device);
            }
            (Err(reason), _) => self.session_lost(device, Failure::carry(reason)),
            (Ok(_), None) => {}
        }
        self.run(now);
    }

    /// Moves what the machines have to say: events to the current step, objects to the host.
    pub(super) fn pump(&mut self, now: Instant, device: Rid) {
        while self.speaking() == Some(device) {
            let Some(link) = self.state.link(device) else {
                return;
            };
            if let Some(happened) = link.poll_event() {
                self.happened(device, happened);
            } else if let Some(object) = self.machine().and_then(Machine::poll_transmit) {
                if let Some(link) = self.state.link(device) {
                    link.tdisp(now, &object);
                }
            } else {
                return self.transmit(device);
            }
        }
    }

    /// The TDISP machine of the current step.
    fn machine(&mut self) -> Option<&mut Machine> {
        match self.current()?.clone() {
            Step::Ask { tdi, .. } => self.state.tdis.get_mut(&tdi).map(|tdi| &mut tdi.machine),
            Step::StopLeftover { .. } => self.leftover.as_mut(),
            _ => None,
        }
    }

    fn transmit(&mut self, device: Rid) {
        if self.owed.is_some() {
            return;
        }
        let mut object = Vec::new();
        if self
            .state
            .link(device)
            .is_some_and(|link| link.poll_transmit(&mut object))
        {
            if !self.host {
                return self.session_lost(device, Failure::carry("no host is there to carry"));
            }
            self.owed = Some(device);
            self.answer(Answer::Carry { device, object });
        }
    }

    fn happened(&mut self, device: Rid, happened: Happened) {
        match happened {
            Happened::Negotiated(spdm) => self.with_device(device, |device| device.spdm = spdm),
            Happened::Certificates(bytes) => {
                let digest = self.digest(&bytes);
                self.with_device(device, |device| device.certificates = digest);
                self.evidence(Owner::Device(device), ObjectKind::CERTIFICATES, bytes);
            }
            Happened::Measurements(bytes) => self.measured(device, bytes),
            Happened::Challenged => self.over(device, |step| matches!(step, Step::Connect { .. })),
            Happened::Ready => self.over(device, |step| matches!(step, Step::OpenSession { .. })),
            Happened::Ended => self.over(device, |step| matches!(step, Step::EndSession { .. })),
            Happened::Ide(keys) => {
                let line = match keys {
                    Some(keys) => format!(
                        "IDE keys of {device} are in use; {keys} of the root port are in a table (emulated)"
                    ),
                    None => format!("{device} has no port with IDE"),
                };
                self.log(line);
                self.over(device, |step| matches!(step, Step::ProgramIde { .. }));
            }
            Happened::Tdisp(object) => match self.machine().map(|machine| machine.handle(&object)) {
                Some(Some(heard)) => self.heard(device, heard),
                Some(None) => {}
                None => self.over(device, |_| false),
            },
            Happened::Failed(reason) => {
                let during = self.current();
                let during = during.map_or("nothing".into(), Step::name);
                self.session_lost(device, Failure::device(format!("{during}: {reason}")));
            }
        }
    }

    /// The current step is done, if what happened is what it waited for.
    fn over(&mut self, device: Rid, expected: impl FnOnce(&Step) -> bool) {
        if self.current().is_some_and(expected) {
            self.take_current();
        } else {
            let during = self.current().map_or("nothing".into(), Step::name);
            let reason = format!("{during}: something else happened than was asked for");
            self.session_lost(device, Failure::device(reason));
        }
    }

    fn with_device(&mut self, device: Rid, change: impl FnOnce(&mut super::state::Device)) {
        if let Some(device) = self.state.devices.get_mut(&device) {
            change(device);
        }
    }

    fn evidence(&mut self, owner: Owner, kind: ObjectKind, bytes: Vec<u8>) {
        self.answer(Answer::Object { owner, kind, bytes });
    }

    fn measured(&mut self, device: Rid, bytes: Vec<u8>) {
        let digest = self.digest(&bytes);
        let current = self.current();
        let owner = match current {
            Some(Step::Measure { owner, .. }) => *owner,
            _ => Owner::Device(device),
        };
        let asked = matches!(current, Some(Step::Measure { .. }));
        match owner {
            Owner::Device(device) => {
                self.with_device(device, |device| device.measurements = Some(digest));
            }
            Owner::Tdi(tdi) => {
                if let Some(tdi) = self.state.tdis.get_mut(&tdi) {
                    tdi.measurements = Some(digest);
                }
            }
        }
        self.evidence(owner, ObjectKind::MEASUREMENTS, bytes);
        if asked {
            self.take_current();
        }
    }

    /// The end of a TDISP conversation.
    fn heard(&mut self, device: Rid, heard: Result<Heard, String>) {
        let Some(step) = self.take_current() else { return };
        let done = match (step, heard) {
            (Step::StopLeftover { function_id, .. }, Ok(_)) => {
                self.with_device(device, |device| {
                    device.unclean.retain(|left| *left != function_id)
                });
                Ok(())
            }
            (Step::Ask { tdi, .. }, Ok(heard)) => self.learn(tdi, heard),
            (step, Err(reason)) => Err(Failure::device(format!("{}: {reason}", step.name()))),
            (_, Ok(_)) => Ok(()),
        };
        self.ended(done);
    }

    fn learn(&mut self, id: TdiId, heard: Heard) -> Result<(), Failure> {
        let generation = matches!(heard, Heard::Locked { .. }).then(|| self.state.new_generation());
        let digest = match &heard {
            Heard::Report(report) => Some(self.digest(report)),
            _ => None,
        };
        let tdi = self.state.tdis.get_mut(&id).ok_or_else(gone)?;
        match heard {
            Heard::Known => {}
            Heard::State(state) => tdi.state = state,
            Heard::Locked { flags } => {
                tdi.state = TdiState::LOCKED;
                tdi.lock_flags = flags;
                tdi.generation = generation.unwrap_or_default();
                (tdi.report_count, tdi.measurements) = (0, None);
                tdi.validated.clear();
            }
            Heard::Report(report) => {
                tdi.report_count += 1;
                tdi.report_digest = digest.unwrap_or([0; 48]);
                tdi.report.clone_from(&report);
                self.evidence(Owner::Tdi(id), ObjectKind::REPORT, report);
            }
            Heard::Started => tdi.state = TdiState::RUN,
            Heard::Stopped => (tdi.state, tdi.touched) = (TdiState::UNLOCKED, false),
        }
        Ok(())
    }

    /// The session cannot be used any more: its secrets go, its gates close, its TDIs are nobody's.
    pub(super) fn session_lost(&mut self, device: Rid, failure: Failure) {
        self.log(format!("the session with {device} is lost: {}", failure.reason));
        self.with_device(device, |device| {
            device.link = None;
            device.measurements = None;
        });
        self.take_current();
        self.ended(Err(failure));
        let lost = self.state.tdis_where(|tdi| tdi.device == device);
        for tdi in lost.into_iter().rev() {
            self.next(Step::Forget { tdi });
            self.next(Step::Gate { tdi, open: false });
        }
    }
}
