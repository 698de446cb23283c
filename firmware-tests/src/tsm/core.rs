//! The TSM's core: commands, effects' answers and time in; outputs out. No socket, file or clock.
//!
//! ```text
//!   command ─► script(command) ─► Operation{todo, undo} ─┐
//!                                                        ▼
//!        ┌───── begin the next step ◄──────── run ── nothing left ──► reply
//!        ▼                                     ▲
//!   Carry / effect out ── its answer ─► commit ┘       a step fails: todo := undo, the reply becomes Failed
//! ```

use std::{collections::VecDeque, sync::Arc};

use tdisp::{
    clock::Instant,
    crypto::{HashAlg, Provider, Secret, digest},
    relay::{
        Rid, TdiId, VmId,
        guest::{Response, Status, TdiState},
        host::{Answer, Code, Command, Done},
        sealed,
    },
    spdm::algorithms::Offer,
};

use super::{
    link::{Link, Tdi as Machine},
    platform::{Effect, Effected},
    state::{Digest, State},
    step::{Ask, Failure, Reply, Step, Told},
};

/// The TSM without its surroundings.
pub struct Core {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) ide: bool,
    pub(super) offer: Offer,
    pub(super) state: State,
    operation: Option<Operation>,
    /// The device that a Carry went to and from which nothing came back yet.
    pub(super) owed: Option<Rid>,
    /// The TDISP machine for an interface that no TDI of ours stands for.
    pub(super) leftover: Option<Machine>,
    pub(super) host: bool,
    outputs: VecDeque<Output>,
}

/// What the core wants done, in order.
#[derive(Debug)]
pub enum Output {
    /// Send this to the host.
    Answer(Answer),
    /// Have the platform do this, and give what became of it to [`Core::effected`].
    Effect(Effect),
    /// Store this key for the VM, and tell [`Core::stored`].
    StoreKey {
        /// The VM.
        vm: VmId,
        /// Its key.
        key: Secret,
    },
    /// Delete the VM's key, and tell [`Core::stored`].
    DeleteKey {
        /// The VM.
        vm: VmId,
    },
    /// Something an operator should read.
    Log(String),
}

#[derive(Debug)]
struct Operation {
    reply: Reply,
    todo: VecDeque<Step>,
    undo: Vec<Step>,
    current: Option<Step>,
    failure: Option<Failure>,
}

impl Core {
    /// Nothing is known yet. With `ide`, devices get IDE keys; one that does not know IDE_KM is silent about them, which
    /// ends the session, so that it must be left out for such devices.
    pub fn new(provider: Arc<dyn Provider>, ide: bool) -> Self {
        Self {
            provider,
            ide,
            offer: Offer::default(),
            state: State::default(),
            operation: None,
            owed: None,
            leftover: None,
            host: false,
            outputs: VecDeque::new(),
        }
    }

    /// Devices are offered these algorithms.
    pub fn with_offer(self, offer: Offer) -> Self {
        Self { offer, ..self }
    }

    /// A host connected.
    pub fn host_arrived(&mut self) {
        self.host = true;
    }

    /// The host's connection is gone: what it was in the middle of is taken back.
    pub fn host_lost(&mut self, now: Instant) {
        self.host = false;
        if let Some(operation) = &mut self.operation {
            operation.reply = Reply::Nobody;
        }
        if let Some(device) = self.owed.take() {
            self.session_lost(
                device,
                Failure::carry("the host hung up in the middle of a carriage"),
            );
        }
        self.run(now);
    }

    /// The platform's connection is gone, and with it every share and every open gate.
    pub fn platform_lost(&mut self) {
        self.state.tdis.values_mut().for_each(|tdi| {
            tdi.dma_enabled = false;
            tdi.validated.clear();
        });
        self.state.vms.values_mut().for_each(|vm| vm.shares.clear());
        self.log("the platform's connection is gone: every share and DMA enable is void".into());
    }

    /// A command of the host's.
    pub fn handle(&mut self, now: Instant, command: Command) {
        match command {
            Command::Carried { object } => self.carried(now, Ok(object)),
            Command::CarryFailed { reason } => self.carried(now, Err(reason)),
            _ if self.operation.is_some() => {
                let reason = "a command is still going on; wanted the result of the carriage, or nothing";
                self.answer(Answer::Failed {
                    code: Code::BAD_REQUEST,
                    reason: reason.into(),
                });
            }
            command => match self.script(command) {
                Ok((reply, steps)) => {
                    self.operation = Some(Operation {
                        reply,
                        todo: steps.into(),
                        undo: Vec::new(),
                        current: None,
                        failure: None,
                    });
                    self.run(now);
                }
                Err(Failure { code, reason, .. }) => self.answer(Answer::Failed { code, reason }),
            },
        }
    }

    /// What became of an [`Output::Effect`].
    pub fn effected(&mut self, now: Instant, result: Result<Effected, String>) {
        let Some(step) = self.take_current() else { return };
        let done = result
            .map_err(Failure::platform)
            .and_then(|effected| self.commit(&step, effected));
        self.ended(done);
        self.run(now);
    }

    /// What became of an [`Output::StoreKey`] or [`Output::DeleteKey`].
    pub fn stored(&mut self, now: Instant, result: Result<(), String>) {
        let Some(step) = self.take_current() else { return };
        if let (Step::DeleteKey { vm }, Ok(())) = (&step, &result) {
            self.state.vms.remove(vm);
        }
        self.ended(result.map_err(Failure::platform));
        self.run(now);
    }

    /// Time has passed; harmless if early.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(device) = self.speaking() {
            if let Some(link) = self.state.link(device) {
                link.handle_timeout(now);
            }
            self.pump(now, device);
            self.run(now);
        }
    }

    /// When [`Core::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let device = self.speaking()?;
        self.state.devices.get(&device)?.link.as_ref()?.poll_timeout()
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// SHA-384.
    pub(super) fn digest(&self, bytes: &[u8]) -> Digest {
        let mut out = [0; 48];
        out.copy_from_slice(digest(&*self.provider, HashAlg::Sha384, bytes).as_ref());
        out
    }

    pub(super) fn log(&mut self, line: String) {
        self.outputs.push_back(Output::Log(line));
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        if self.host {
            self.outputs.push_back(Output::Answer(answer));
        }
    }

    /// The device that the current step speaks with.
    pub(super) fn speaking(&self) -> Option<Rid> {
        match self.operation.as_ref()?.current.as_ref()? {
            Step::Connect { device }
            | Step::Measure { device, .. }
            | Step::OpenSession { device }
            | Step::ProgramIde { device }
            | Step::EndSession { device }
            | Step::StopLeftover { device, .. } => Some(*device),
            Step::Ask { tdi, .. } => self.state.tdis.get(tdi).map(|tdi| tdi.device),
            _ => None,
        }
    }

    /// The step that waits for an answer.
    pub(super) fn current(&self) -> Option<&Step> {
        self.operation.as_ref()?.current.as_ref()
    }

    pub(super) fn take_current(&mut self) -> Option<Step> {
        self.operation.as_mut()?.current.take()
    }

    /// Takes steps until one waits for an answer or none is left.
    pub(super) fn run(&mut self, now: Instant) {
        while let Some(operation) = self
            .operation
            .as_mut()
            .filter(|operation| operation.current.is_none())
        {
            match operation.todo.pop_front() {
                Some(step) => {
                    operation.current = Some(step.clone());
                    if let Err(failure) = self.begin(now, step) {
                        self.take_current();
                        self.ended(Err(failure));
                    }
                }
                None => self.finish(),
            }
        }
    }

    /// The step that was current has ended.
    pub(super) fn ended(&mut self, result: Result<(), Failure>) {
        let (Err(failure), Some(operation)) = (result, self.operation.as_mut()) else {
            return;
        };
        if operation.failure.is_none() {
            operation.todo = std::mem::take(&mut operation.undo).into();
            operation.failure = Some(failure);
        } else if failure.status != Status::UNBOUND {
            self.log(format!("while taking back: {}", failure.reason));
        }
    }

    fn finish(&mut self) {
        let Some(operation) = self.operation.take() else {
            return;
        };
        let failed = operation.failure;
        if let Some(failure) = &failed {
            self.log(format!("not done: {}", failure.reason));
        }
        match (operation.reply, failed) {
            (Reply::Host(done), None) => self.answer(Answer::Done(done)),
            (Reply::Host(_), Some(Failure { code, reason, .. })) => {
                self.answer(Answer::Failed { code, reason });
            }
            (Reply::Guest(vm, told), failed) => self.tell(vm, &told, failed),
            (Reply::Sealed(vm, response), _) => self.seal(vm, &response),
            (Reply::Nobody, _) => {}
        }
    }

    /// Seals a guest's answer.
    fn tell(&mut self, vm: VmId, told: &Told, failed: Option<Failure>) {
        let response = match (failed, told) {
            (Some(Failure { status, reason, .. }), _) => Response::Refused { status, reason },
            (None, Told::Done) => Response::Done,
            (None, Told::Info { guest, tdi }) => Response::TdiInfo(self.state.info(*guest, *tdi)),
            (None, Told::Validated { changed }) => Response::MmioValidated { changed: *changed },
        };
        self.seal(vm, &response);
    }

    pub(super) fn seal(&mut self, vm: VmId, response: &Response) {
        let sealed = match self.state.vms.get_mut(&vm) {
            Some(vm) => vm.channel.seal(response).map_err(|error| error.to_string()),
            None => Err("the VM is gone".into()),
        };
        self.answer(match sealed {
            Ok(bytes) => Answer::Done(Done::Guest { bytes }),
            Err(reason) => Answer::Failed {
                code: Code::CHANNEL,
                reason,
            },
        });
    }

    /// Starts a step: it ends here, or its answer will come.
    fn begin(&mut self, now: Instant, step: Step) -> Result<(), Failure> {
        match step {
            Step::Connect { device } => self.speak(now, device, Link::connect),
            Step::Measure { device, nonce, .. } => {
                self.speak(now, device, |link, now| link.measure(now, nonce))
            }
            Step::OpenSession { device } => self.speak(now, device, Link::open_session),
            Step::ProgramIde { device } => self.speak(now, device, Link::program_ide),
            Step::EndSession { device } => self.speak(now, device, Link::end),
            Step::Ask { tdi, ask } => {
                let tdi = self.state.tdis.get_mut(&tdi).ok_or_else(gone)?;
                tdi.machine.ask(ask).map_err(Failure::device)?;
                tdi.touched |= matches!(ask, Ask::Lock { .. });
                let device = tdi.device;
                self.speak(now, device, |_, _| ())
            }
            Step::StopLeftover { device, function_id } => {
                let mut machine = Machine::new(function_id);
                machine.ask(Ask::Stop).map_err(Failure::device)?;
                self.leftover = Some(machine);
                self.speak(now, device, |_, _| ())
            }
            Step::Hold { tdi } => {
                let function = self.state.tdis.get(&tdi).ok_or_else(gone)?.function();
                self.effect(Effect::Hold { function })
            }
            Step::Gate { tdi, open } => {
                let function = self.state.tdis.get(&tdi).ok_or_else(gone)?.function();
                self.effect(Effect::Dma {
                    function,
                    enabled: open,
                })
            }
            Step::Share { gpa, len, .. } => self.effect(Effect::Share { gpa, len }),
            Step::Unshare { gpa, len, .. } => self.effect(Effect::Unshare { gpa, len }),
            Step::Validate(asked) => {
                let function = self.state.tdis.get(&asked.tdi).ok_or_else(gone)?.function();
                self.effect(Effect::Mmio {
                    function,
                    range_id: asked.range_id,
                })
            }
            Step::StoreKey { vm } => self.make_key(vm),
            Step::DeleteKey { vm } => {
                self.outputs.push_back(Output::DeleteKey { vm });
                Ok(())
            }
            now_done => {
                let done = self.keep_books(now_done);
                self.take_current();
                self.ended(done);
                Ok(())
            }
        }
    }

    /// Steps that need nobody's answer.
    fn keep_books(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Expect { tdi, state: wanted } => {
                let found = self.state.tdis.get(&tdi).ok_or_else(gone)?.state;
                if found != wanted {
                    let reason = format!("the device says that the TDI is {found}; wanted {wanted}");
                    return Err(Failure {
                        code: Code::DEVICE,
                        ..Failure::guest(Status::WRONG_STATE, reason)
                    });
                }
            }
            Step::StopUnlessUnlocked { tdi } => {
                if self
                    .state
                    .tdis
                    .get(&tdi)
                    .is_some_and(|tdi| tdi.state != TdiState::UNLOCKED)
                {
                    self.next(Step::Ask { tdi, ask: Ask::Stop });
                }
            }
            Step::FollowState { tdi } => {
                let open = self.state.tdis.get(&tdi).filter(|tdi| tdi.dma_enabled);
                if open.is_some_and(|tdi| tdi.state != TdiState::RUN) {
                    self.next(Step::Gate { tdi, open: false });
                }
            }
            Step::Bound { tdi } => self.state.tdis.get_mut(&tdi).ok_or_else(gone)?.bound = true,
            Step::Forget { tdi } => self.forget(tdi),
            Step::DropSession { device } => {
                if let Some(device) = self.state.devices.get_mut(&device) {
                    device.link = None;
                    device.measurements = None;
                }
            }
            Step::OnFailure(steps) => {
                // While taking back there is nothing further to take back.
                if let Some(operation) = self.operation.as_mut().filter(|op| op.failure.is_none()) {
                    operation.undo = steps;
                }
            }
            other => {
                return Err(Failure::platform(format!(
                    "no answer can be due for {}",
                    other.name()
                )));
            }
        }
        Ok(())
    }

    pub(super) fn next(&mut self, step: Step) {
        if let Some(operation) = &mut self.operation {
            operation.todo.push_front(step);
        }
    }

    fn forget(&mut self, tdi: TdiId) {
        let Some(tdi) = self.state.tdis.remove(&tdi) else {
            return;
        };
        if tdi.is_unclean()
            && let Some(device) = self.state.devices.get_mut(&tdi.device)
        {
            device.unclean.insert(tdi.function_id);
        }
    }

    fn effect(&mut self, effect: Effect) -> Result<(), Failure> {
        self.outputs.push_back(Output::Effect(effect));
        Ok(())
    }

    fn make_key(&mut self, vm: VmId) -> Result<(), Failure> {
        let mut bytes = vec![0; 32];
        let random = self.provider.random(&mut bytes);
        let key = Secret::new(bytes);
        random.map_err(|error| Failure::platform(format!("no key for VM {vm}: {error}")))?;
        let channel = sealed::Tsm::new(key.clone(), Arc::clone(&self.provider));
        let channel = channel.map_err(|error| Failure::platform(error.to_string()))?;
        self.state.vms.insert(
            vm,
            super::state::Vm {
                channel,
                shares: Default::default(),
            },
        );
        self.outputs.push_back(Output::StoreKey { vm, key });
        Ok(())
    }

    /// An effect was done: now, and not before, it is so.
    fn commit(&mut self, step: &Step, effected: Effected) -> Result<(), Failure> {
        match *step {
            Step::Gate { tdi, open } => {
                if let Some(tdi) = self.state.tdis.get_mut(&tdi) {
                    tdi.dma_enabled = open;
                }
            }
            Step::Share { vm, gpa, len } => {
                if let Some(vm) = self.state.vms.get_mut(&vm) {
                    vm.shares.insert((gpa, len));
                }
            }
            Step::Unshare { vm, gpa, len } => {
                if let Some(vm) = self.state.vms.get_mut(&vm) {
                    vm.shares.remove(&(gpa, len));
                }
            }
            Step::Validate(asked) => {
                let changed = self.validated(&asked, effected)?;
                if let Some(Operation {
                    reply: Reply::Guest(_, told),
                    ..
                }) = &mut self.operation
                {
                    *told = Told::Validated { changed };
                }
            }
            _ => {}
        }
        Ok(())
    }
}

pub(super) fn gone() -> Failure {
    Failure::guest(Status::UNBOUND, "the TDI is not bound any more; bind it again")
}
