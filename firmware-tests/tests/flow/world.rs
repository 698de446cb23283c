//! TSM core, device and guest in one thread: a host that carries, a platform that is a table, a clock that is set.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use firmware_tests::tsm::{Core, Effect, Effected, Output};
use tdisp::{
    clock::Instant,
    crypto::{Ring, Secret},
    relay::{
        ObjectKind, Rid, TdiId, VmId,
        guest::{Request, Response, TdiInfo},
        host::{Answer, Bind, Code, Command, DevStatus, Done, Owner},
        sealed::Guest,
    },
};

use super::device::Device;

pub(crate) const DEVICE: Rid = Rid(0x0100);
pub(crate) const VM: VmId = VmId(1);
pub(crate) const FUNCTION: u32 = 0x0101;
pub(crate) const AT: Rid = Rid(0x0101);

/// What goes wrong with a carriage, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The device could not be reached.
    NotCarried,
    /// The answer has lost its last DW, and its length says so.
    Truncated,
    /// The object's length is one DW too many.
    WrongLength,
    /// A bit in the answer's middle is flipped.
    BitFlipped,
    /// The answer is that of the exchange before.
    Stale,
    /// The answer is empty.
    Empty,
    /// The answer comes after the TSM gave up.
    Late,
    /// The host goes away instead of bringing the answer.
    HostGone,
}

pub(crate) const FAULTS: [Fault; 8] = [
    Fault::NotCarried,
    Fault::Truncated,
    Fault::WrongLength,
    Fault::BitFlipped,
    Fault::Stale,
    Fault::Empty,
    Fault::Late,
    Fault::HostGone,
];

/// How a command ended.
pub(crate) type Ended = Result<Done, (Code, String)>;

pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) device: Device,
    pub(crate) now: Instant,
    /// Effects as they stand: open gates by function, shared ranges.
    pub(crate) gates: BTreeSet<u8>,
    pub(crate) shares: BTreeSet<(u64, u64)>,
    /// Functions whose lock is held, and the carriage before which each was.
    pub(crate) held: BTreeMap<u8, usize>,
    /// What the platform refuses from now on.
    pub(crate) platform_fails: bool,
    /// The same for the next effect alone.
    pub(crate) platform_fails_once: bool,
    pub(crate) keys: BTreeMap<VmId, Secret>,
    pub(crate) evidence: Vec<(Owner, ObjectKind, Vec<u8>)>,
    /// The carriage (counted from 0 in each command) at which something goes wrong.
    pub(crate) fault: Option<(usize, Fault)>,
    pub(crate) carried: usize,
    pub(crate) log: Vec<String>,
    last_answer: Vec<u8>,
    guest: Option<Guest>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut core = Core::new(Arc::new(Ring), true);
        core.host_arrived();
        Self {
            core,
            device: Device::new(),
            now: Instant::START,
            gates: BTreeSet::new(),
            shares: BTreeSet::new(),
            held: BTreeMap::new(),
            platform_fails: false,
            platform_fails_once: false,
            keys: BTreeMap::new(),
            evidence: Vec::new(),
            fault: None,
            carried: 0,
            log: Vec::new(),
            last_answer: Vec::new(),
            guest: None,
        }
    }

    /// A VM with a key, a session with the device.
    pub(crate) fn connected() -> Self {
        let mut world = Self::new();
        world.command(Command::VmCreate { vm: VM }).unwrap();
        world.connect().unwrap();
        world
    }

    pub(crate) fn connect(&mut self) -> Ended {
        self.command(Command::DevConnect {
            device: DEVICE,
            slot: 0,
        })
    }

    pub(crate) fn bind(&mut self) -> Result<TdiId, (Code, String)> {
        let bind = Bind {
            device: DEVICE,
            function_id: FUNCTION,
            vm: VM,
            guest: AT,
            flags: 1,
            // An offset that the TSM has to take off again.
            mmio_offset: 0x3e01_0000,
        };
        match self.command(Command::TdiBind(bind))? {
            Done::Bound { tdi } => Ok(tdi),
            other => panic!("bind was answered with {other:?}"),
        }
    }

    pub(crate) fn status(&mut self) -> DevStatus {
        match self.command(Command::DevStatus { device: DEVICE }) {
            Ok(Done::DevStatus(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Runs one command to its end.
    pub(crate) fn command(&mut self, command: Command) -> Ended {
        self.carried = 0;
        self.core.handle(self.now, command);
        let mut ended = None;
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Answer(answer) => ended = self.answered(answer).or(ended),
                Output::Effect(effect) => {
                    let done = self.perform(effect);
                    self.core.effected(self.now, done);
                }
                Output::StoreKey { vm, key } => {
                    self.keys.insert(vm, key);
                    self.core.stored(self.now, Ok(()));
                }
                Output::DeleteKey { vm } => {
                    self.keys.remove(&vm);
                    self.core.stored(self.now, Ok(()));
                }
                Output::Log(line) => self.log.push(line),
            }
        }
        ended.unwrap_or(Err((Code(0), "the host went away".into())))
    }

    fn answered(&mut self, answer: Answer) -> Option<Ended> {
        match answer {
            Answer::Carry { device, object } => {
                assert_eq!(device, DEVICE);
                self.carry(&object);
                None
            }
            Answer::Object { owner, kind, bytes } => {
                self.evidence.push((owner, kind, bytes));
                None
            }
            Answer::Done(done) => Some(Ok(done)),
            Answer::Failed { code, reason } => Some(Err((code, reason))),
        }
    }

    fn carry(&mut self, object: &[u8]) {
        let fault = self
            .fault
            .filter(|(at, _)| *at == self.carried)
            .map(|(_, fault)| fault);
        self.carried += 1;
        self.now = self.now.after(Duration::from_millis(1));
        let mut answer = self.device.exchange(self.now, object).unwrap_or_default();
        let honest = answer.clone();
        match fault {
            Some(Fault::NotCarried) => {
                let reason = "the device hung up".into();
                return self.core.handle(self.now, Command::CarryFailed { reason });
            }
            Some(Fault::HostGone) => {
                self.core.host_lost(self.now);
                return self.core.host_arrived();
            }
            Some(Fault::Truncated) => {
                answer.truncate(answer.len().saturating_sub(4));
                if let Some(length) = answer.get_mut(4) {
                    *length -= 1;
                }
            }
            Some(Fault::WrongLength) => {
                if let Some(length) = answer.get_mut(4) {
                    *length += 1;
                }
            }
            Some(Fault::BitFlipped) => {
                let middle = answer.len() / 2;
                if let Some(byte) = answer.get_mut(middle.max(9)) {
                    *byte ^= 0x10;
                }
            }
            Some(Fault::Stale) => answer = self.last_answer.clone(),
            Some(Fault::Empty) => answer.clear(),
            Some(Fault::Late) => {
                while let Some(due) = self.core.poll_timeout() {
                    self.now = due;
                    self.core.handle_timeout(due);
                }
            }
            None => {}
        }
        self.last_answer = honest;
        self.core.handle(self.now, Command::Carried { object: answer });
    }

    fn perform(&mut self, effect: Effect) -> Result<Effected, String> {
        if self.platform_fails || std::mem::take(&mut self.platform_fails_once) {
            return Err("the platform refused".into());
        }
        match effect {
            Effect::Share { gpa, len } => drop(self.shares.insert((gpa, len))),
            Effect::Unshare { gpa, len } => drop(self.shares.remove(&(gpa, len))),
            Effect::Hold { function } => drop(self.held.insert(function, self.carried)),
            Effect::Dma {
                function,
                enabled: true,
            } if !self.held.contains_key(&function) => return Err("nobody holds the lock".into()),
            Effect::Dma {
                function,
                enabled: true,
            } => drop(self.gates.insert(function)),
            Effect::Dma {
                function,
                enabled: false,
            } => drop(self.gates.remove(&function)),
            Effect::Mmio { range_id: 2, .. } => {
                return Ok(Effected::Mmio {
                    base: 0xc000_0000,
                    len: 0x2000,
                });
            }
            // Not where the device has it: that would be 0xbfff_0000.
            Effect::Mmio { range_id: 0, .. } => {
                return Ok(Effected::Mmio {
                    base: 0xc010_0000,
                    len: 0x1000,
                });
            }
            Effect::Mmio { .. } => return Err("there is no such range".into()),
        }
        Ok(Effected::Done)
    }

    fn relay(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, (Code, String)> {
        match self.command(Command::GuestRequest { vm: VM, bytes })? {
            Done::Guest { bytes } => Ok(bytes),
            other => panic!("a guest's request was answered with {other:?}"),
        }
    }

    /// The guest asks, in a channel that is opened when there is none.
    pub(crate) fn guest(&mut self, request: &Request) -> Result<Response, (Code, String)> {
        if !self.guest.as_ref().is_some_and(Guest::is_open) {
            let key = self.keys[&VM].clone();
            let (opening, message) = Guest::begin(&key, Arc::new(Ring)).unwrap();
            self.guest = Some(opening.opened(&self.relay(message)?).unwrap());
        }
        let mut guest = self.guest.take().unwrap();
        let sealed = guest.seal(request).unwrap();
        // A request that is never answered closes the channel, as it does for a real guest.
        let answer = self.relay(sealed)?;
        let response = guest.open(&answer).unwrap();
        self.guest = Some(guest);
        Ok(response.into_inner())
    }

    pub(crate) fn info(&mut self) -> TdiInfo {
        match self.guest(&Request::TdiInfo { guest: AT }) {
            Ok(Response::TdiInfo(info)) => info,
            other => panic!("{other:?}"),
        }
    }

    /// Bound and running, with DMA.
    pub(crate) fn running() -> (Self, TdiInfo) {
        let mut world = Self::connected();
        let tdi = world.bind().unwrap();
        let info = world.info();
        let (generation, report_count) = (info.generation, info.report_count);
        let start = Request::Start {
            tdi,
            generation,
            report_count,
        };
        assert_eq!(world.guest(&start), Ok(Response::Done));
        assert_eq!(
            world.guest(&Request::EnableDma { tdi, generation }),
            Ok(Response::Done)
        );
        let info = world.info();
        (world, info)
    }
}
