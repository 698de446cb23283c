//! The owner of the order of operations: journal, TSM, ways to the devices, evidence, and what the operator sees.
//!
//! ```text
//!  operation ─► check ─► journal.begin ─► TSM (carrying objects) ─► journal.done ─► view
//!                                            └─ fails ─► journal.failed ─► ask the TSM what stands ─► view
//! ```
//! One operation at a time: the TSM has it so, and nothing here may overtake anything.

mod operate;
mod recover;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    rc::Rc,
};

use tdisp::relay::{
    ObjectKind, TdiId, VmId,
    courier::Code,
    host::{self, Owner},
};

use crate::{
    api,
    config::{Config, Lease},
    errand::{Errand, Mailboxes},
    evidence::Evidence,
    journal::{self, Journal, Replay},
    tsm::{self, Tsm},
};

/// What the operator sees; the engine writes it, everybody reads it.
pub type View = Rc<RefCell<api::Status>>;

/// A device by its place in the configuration, and one of its functions.
type Slot = (usize, u8);

/// The engine.
pub struct Engine {
    config: Rc<Config>,
    view: View,
    tsm: Box<dyn Tsm>,
    mailboxes: Mailboxes,
    evidence: Evidence,
    journal: Journal,
    bound: BTreeMap<Slot, TdiId>,
    past: Option<Replay>,
    up: bool,
    /// Held as long as the state directory is ours; the kernel lets go of it however the daemon ends.
    _lock: File,
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such thing is configured.
    #[error("{0}")]
    Unknown(String),
    /// It cannot be done now.
    #[error("{0}")]
    State(String),
    /// The TSM, or the way to a device, failed.
    #[error(transparent)]
    Tsm(#[from] tsm::Error),
    /// The journal failed: nothing is begun that could not be taken back.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// Another daemon has the state directory.
    #[error("{} is held by another tidelockd; stop that one, or name another state_dir", .0.display())]
    Held(PathBuf),
    /// The evidence cache failed.
    #[error("the evidence cannot be kept: {0}; see that state_dir is writable and has room")]
    Evidence(#[from] std::io::Error),
}

impl Error {
    /// Whose fault, for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown",
            Self::State(_) => "state",
            Self::Tsm(error) => error.kind(),
            Self::Journal(_) | Self::Evidence(_) | Self::Held(_) => "platform",
        }
    }

    /// The same for a guest.
    pub fn courier_code(&self) -> Code {
        match self {
            Self::Tsm(tsm::Error::Refused {
                code: host::Code::CHANNEL,
                ..
            }) => Code::CHANNEL,
            _ => match self.kind() {
                "unknown" => Code::UNKNOWN,
                "state" => Code::BUSY,
                "device" => Code::DEVICE,
                _ => Code::TSM,
            },
        }
    }
}

impl Engine {
    /// Opens the state directory. The TSM is looked for later, by [`Engine::start`].
    pub fn new(config: Rc<Config>, view: View) -> Result<Self, Error> {
        let lock = lock(&config.state_dir)?;
        let (journal, past) = Journal::open(&config.state_dir)?;
        let evidence = Evidence::open(&config.state_dir)?;
        let locks = config.state_dir.join("locks");
        fs::create_dir_all(&locks)?;
        let tsm = tsm::backend(&config);
        *view.borrow_mut() = blank(&config, &*tsm);
        let mailboxes = Mailboxes::new(&config.devices, locks);
        let bound = BTreeMap::new();
        Ok(Self {
            config,
            view,
            tsm,
            mailboxes,
            evidence,
            journal,
            bound,
            past: Some(past),
            up: false,
            _lock: lock,
        })
    }

    /// Whether the TSM is there, as far as can be said without asking it.
    pub fn is_up(&self) -> bool {
        self.up && self.tsm.is_alive()
    }

    /// A piece of an evidence object of one of a VM's TDIs, and the whole object's size.
    pub fn object(&self, vm: VmId, tdi: TdiId, kind: ObjectKind) -> Result<&[u8], (Code, String)> {
        let slot = self
            .bound
            .iter()
            .find(|(_, bound)| **bound == tdi)
            .map(|(slot, _)| *slot);
        let slot = slot.filter(|slot| self.lease_of(*slot).is_some_and(|(owner, _)| owner == vm));
        let Some((device, _)) = slot else {
            return Err((
                Code::UNKNOWN,
                format!("no TDI {tdi} is bound to this VM; bind it first"),
            ));
        };
        let held = self.evidence.of_tdi(tdi, self.config.devices[device].bdf, kind);
        held.ok_or_else(|| (Code::ABSENT, format!("the host has no {kind} of TDI {tdi}")))
    }

    /// The lease of a function, and the VM that has it.
    fn lease_of(&self, (device, function): Slot) -> Option<(VmId, &Lease)> {
        let mut all = self
            .config
            .vms
            .iter()
            .flat_map(|vm| vm.leases.iter().map(|lease| (vm.id, lease)));
        all.find(|(_, lease)| (lease.device, lease.function) == (device, function))
    }

    /// Keeps the evidence of an errand; its steps.
    fn keep(&mut self, evidence: Vec<(Owner, ObjectKind, Vec<u8>)>) -> Result<(), Error> {
        for (owner, kind, bytes) in evidence {
            self.evidence.keep(owner, kind, bytes)?;
        }
        Ok(())
    }

    fn show_device(&self, device: usize, change: impl FnOnce(&mut api::Device)) {
        let owner = Owner::Device(self.config.devices[device].bdf);
        let mut view = self.view.borrow_mut();
        let shown = &mut view.devices[device];
        change(shown);
        shown.certificates_size = self.evidence.size(owner, ObjectKind::CERTIFICATES);
        shown.measurements_size = self.evidence.size(owner, ObjectKind::MEASUREMENTS);
    }

    fn show_tdi(&self, slot: Slot, change: impl FnOnce(&mut api::Tdi)) {
        let name = &self.config.devices[slot.0].name;
        let mut view = self.view.borrow_mut();
        let mut tdis = view.vms.iter_mut().flat_map(|vm| &mut vm.tdis);
        if let Some(shown) = tdis.find(|tdi| tdi.device == *name && tdi.function == slot.1) {
            let bound = self.bound.get(&slot);
            shown.tdi = bound.map(|tdi| tdi.0);
            shown.state = if bound.is_some() {
                "bound".into()
            } else {
                "unbound".into()
            };
            shown.report_size =
                bound.map_or(0, |tdi| self.evidence.size(Owner::Tdi(*tdi), ObjectKind::REPORT));
            change(shown);
        }
    }

    fn is_connected(&self, device: usize) -> bool {
        self.view.borrow().devices[device].state == CONNECTED
    }

    /// The TSM is gone: nothing is certain until it is there again.
    fn lost(&mut self, error: &tsm::Error) {
        self.up = false;
        let mut view = self.view.borrow_mut();
        view.ready = false;
        view.tsm.state = "down".into();
        view.tsm.note = error.to_string();
    }

    fn errand(&mut self) -> (&mut dyn Tsm, Errand<'_>) {
        (&mut *self.tsm, Errand::new(&mut self.mailboxes))
    }
}

/// One daemon to a state directory, whatever its sockets are called: two would take each other's sessions for strays.
fn lock(state_dir: &Path) -> Result<File, Error> {
    fs::create_dir_all(state_dir)?;
    let path = state_dir.join("lock");
    let file = File::options().create(true).append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Held(state_dir.into())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

const CONNECTED: &str = "connected";
const DISCONNECTED: &str = "disconnected";

fn blank(config: &Config, tsm: &dyn Tsm) -> api::Status {
    let devices = config.devices.iter().map(|device| api::Device {
        name: device.name.clone(),
        bdf: device.bdf.to_string(),
        state: DISCONNECTED.into(),
        ..api::Device::default()
    });
    let tdi = |lease: &Lease| api::Tdi {
        device: config.devices[lease.device].name.clone(),
        function: lease.function,
        guest: lease.guest.to_string(),
        state: "unbound".into(),
        ..api::Tdi::default()
    };
    let vms = config.vms.iter().map(|vm| api::Vm {
        id: vm.id.0,
        courier_socket: vm.courier_socket.display().to_string(),
        connected: false,
        tdis: vm.leases.iter().map(tdi).collect(),
    });
    api::Status {
        version: env!("CARGO_PKG_VERSION").into(),
        ready: false,
        tsm: api::Tsm {
            backend: tsm.name().into(),
            state: "down".into(),
            note: "not looked for yet".into(),
        },
        devices: devices.collect(),
        vms: vms.collect(),
        recovered: Vec::new(),
    }
}
