//! The whole card: three functions, their security manager, their workers, and the platform's view of them.

use super::FUNCTIONS;
use super::dma::Bus;
use super::enforcer::Enforcer;
use super::function::Function;
use super::manager::{Manager, SecurityManager};
use super::nic::{self, Wake};
use super::vfio::Port;
use crate::lie::Lie;
use crate::platform::{Answer, Platform, Request};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Functions with a network card in them.
const NETWORK: [usize; 2] = [1, 2];
/// Bytes that a probe through the gate may ask for.
const PROBE_MAX: u64 = 1 << 20;

/// The card.
pub struct Card {
    enforcer: Arc<Enforcer>,
    manager: Arc<Manager>,
    functions: Vec<Arc<Function>>,
    workers: Vec<(Arc<Wake>, JoinHandle<()>)>,
}

impl Card {
    /// A card whose security manager is `manager`, as after power-on, with its workers running.
    pub fn new(manager: Box<dyn SecurityManager>, lies: Vec<Lie>) -> Self {
        let enforcer = Arc::new(Enforcer::default());
        let manager = Arc::new(Manager::new(manager, enforcer.clone(), lies));
        let bus = |index| Bus::new(index, enforcer.clone());
        let mut functions = vec![Arc::new(Function::manager(bus(0), manager.clone()))];
        let mut workers = Vec::new();
        for index in NETWORK {
            let wake = Arc::new(Wake::default());
            let function = Function::network(bus(index), manager.clone(), wake.clone());
            workers.extend(function.nic().map(|nic| {
                let wake = wake.clone();
                (wake.clone(), std::thread::spawn(move || nic::work(&nic, &wake)))
            }));
            functions.push(Arc::new(function));
        }
        Self {
            enforcer,
            manager,
            functions,
            workers,
        }
    }

    /// The security manager, for the socket.
    pub fn manager(&self) -> &Arc<Manager> {
        &self.manager
    }

    /// The facts and counts of the platform.
    pub fn enforcer(&self) -> &Enforcer {
        &self.enforcer
    }

    /// Listens for a VMM at `fn0`, `fn1` and `fn2` in `directory`.
    pub fn listen(&self, directory: &Path) -> Result<Vec<Port>, (PathBuf, vfio_user::Error)> {
        let port = |(index, function): (usize, &Arc<Function>)| {
            let path = directory.join(format!("fn{index}"));
            Port::listen(&path, function.clone()).map_err(|error| (path, error))
        };
        self.functions.iter().enumerate().map(port).collect()
    }

    fn function(&self, function: u8) -> Result<&Arc<Function>, String> {
        let found = self.functions.get(usize::from(function));
        found.ok_or_else(|| {
            format!(
                "there is no function {function}; the card has 0 to {}",
                FUNCTIONS - 1
            )
        })
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        for (wake, worker) in self.workers.drain(..) {
            wake.stop();
            // A worker that panicked said so on standard error already.
            let _ = worker.join();
        }
    }
}

impl Platform for Card {
    fn request(&self, request: &Request) -> Result<Answer, String> {
        let mut answer = Answer::done();
        match *request {
            Request::Share { gpa, len } => {
                self.enforcer.share(gpa, len).map_err(|error| error.to_string())?;
            }
            Request::Unshare { gpa, len } => {
                self.enforcer
                    .unshare(gpa, len)
                    .map_err(|error| error.to_string())?;
            }
            Request::Dma { function, enabled } => {
                self.function(function)?;
                self.enforcer.enable_dma(function.into(), enabled);
            }
            Request::Mmio { function, range_id } => {
                let bar = self.function(function)?.bar(range_id.into());
                let (base, len) = bar.ok_or_else(|| {
                    format!("function {function} has no range {range_id}, or the guest has not placed it yet")
                })?;
                (answer.base, answer.len) = (Some(base), Some(len));
            }
            Request::Counters => answer.functions = Some(self.enforcer.counters()),
            Request::DmaProbe {
                function,
                iova,
                len,
                write,
            } => {
                let len = usize::try_from(len.min(PROBE_MAX)).unwrap_or_default();
                let verdict = self.function(function)?.bus().begin().probe(iova, len, write);
                answer.allowed = Some(verdict.is_ok());
                answer.why = verdict.err().map(|why| why.to_string());
            }
            Request::Fault { function } => {
                self.function(function)?;
                self.manager.fault(function.into(), &"an observer asked for it");
            }
        }
        Ok(answer)
    }

    fn tsm_gone(&self) {
        tracing::info!("the TSM is gone: no shares, no DMA to private memory");
        self.enforcer.drop_tsm();
    }
}
