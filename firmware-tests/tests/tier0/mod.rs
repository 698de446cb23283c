//! The card without a machine around it: this process is VMM, guest kernel and guest driver at once.

pub(crate) mod driver;
mod dsm;
pub(crate) mod stack;

use driver::Driver;
use firmware_tests::device::FUNCTIONS;
use firmware_tests::device::card::Card;
use firmware_tests::device::dsm::Configs;
use firmware_tests::device::gate::TdiState;
use firmware_tests::device::manager::SecurityManager;
use firmware_tests::lie::Lie;
use firmware_tests::platform::{self, Client, Role};
use std::convert::Infallible;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything here may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// States that a test sets, and a security manager that keeps to them and to the rule about faults.
#[derive(Clone, Default)]
pub(crate) struct States(Arc<Mutex<[TdiState; FUNCTIONS]>>);

impl States {
    fn set(&self, function: usize, state: TdiState) {
        self.0.lock().unwrap()[function] = state;
    }
}

struct Scripted(States);

impl SecurityManager for Scripted {
    /// Answers every object with itself.
    fn object(&mut self, _: tdisp::clock::Instant, object: &[u8]) -> Option<Vec<u8>> {
        Some(object.to_vec())
    }

    fn fault(&mut self, function: usize) {
        let mut states = self.0.0.lock().unwrap();
        if matches!(states[function], TdiState::Locked | TdiState::Run) {
            states[function] = TdiState::Error;
        }
    }

    fn states(&self) -> [TdiState; FUNCTIONS] {
        *self.0.0.lock().unwrap()
    }
}

/// A card with all its sockets in a directory of its own.
pub(crate) struct Rig {
    pub(crate) card: Arc<Card>,
    states: States,
    directory: tempfile::TempDir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::lying(Vec::new())
    }

    pub(crate) fn lying(lies: Vec<Lie>) -> Self {
        let states = States::default();
        let scripted = Box::new(Scripted(states.clone()));
        let rig = Self::with(|_| scripted, lies);
        Self { states, ..rig }
    }

    pub(crate) fn with(manager: impl FnOnce(Configs) -> Box<dyn SecurityManager>, lies: Vec<Lie>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manager = |configs| Ok::<_, Infallible>(manager(configs));
        let card = Arc::new(Card::new(manager, lies).unwrap());
        let ports = card
            .listen(directory.path())
            .map_err(|(path, error)| format!("{path:?}: {error}"));
        for port in ports.unwrap() {
            std::thread::spawn(move || port.serve());
        }
        let listener = UnixListener::bind(directory.path().join("platform")).unwrap();
        let served = card.clone();
        std::thread::spawn(move || platform::serve(&listener, served));
        Self {
            card,
            states: States::default(),
            directory,
        }
    }

    /// The socket of a function.
    pub(crate) fn socket(&self, function: usize) -> PathBuf {
        self.directory.path().join(format!("fn{function}"))
    }

    /// Plugs a function in.
    pub(crate) fn driver(&self, function: usize) -> Driver {
        Driver::connect(&self.socket(function))
    }

    /// Connects to the platform socket.
    pub(crate) fn platform(&self, role: Role) -> std::io::Result<Client> {
        Client::connect(&self.directory.path().join("platform"), role)
    }

    /// Starts a function with access to private memory, as the TSM does for what was accepted.
    pub(crate) fn run(&self, function: usize, tsm: &mut Client) {
        self.set_state(function, TdiState::Run);
        tsm.hold(function as u8).unwrap();
        tsm.dma(function as u8, true).unwrap();
    }

    /// Puts a function's interface into a state, as messages of the TSM would, and tells the gate.
    pub(crate) fn set_state(&self, function: usize, state: TdiState) {
        self.states.set(function, state);
        let _ = self.card.manager().exchange(&[0; 12]);
    }
}

/// Waits until `done` answers something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
