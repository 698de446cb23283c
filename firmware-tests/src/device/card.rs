//! The whole card: three functions, their security manager, their workers, and the platform's view of them.

use super::FUNCTIONS;
use super::dma::Bus;
use super::dsm::Configs;
use super::enforcer::Enforcer;
use super::function::{Function, Layout, manager_layout, network_layout};
use super::manager::{Manager, SecurityManager};
use super::nic::{self, Wake};
use super::vfio::Port;
use crate::lie::Lie;
use crate::platform::{Answer, Platform, Request};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

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
    /// A card as after power-on, with its workers running. `manager` makes its security manager, which looks at the
    /// functions' registers.
    pub fn new<E>(
        manager: impl FnOnce(Configs) -> Result<Box<dyn SecurityManager>, E>,
        lies: Vec<Lie>,
    ) -> Result<Self, E> {
        let layouts = [manager_layout(), network_layout(), network_layout()];
        let configs = layouts.each_ref().map(Layout::power_on);
        let enforcer = Arc::new(Enforcer::default());
        let manager = Arc::new(Manager::new(manager(configs.clone())?, enforcer.clone(), lies));
        let bus = |index| Bus::new(index, enforcer.clone());
        let [layout, network @ ..] = &layouts;
        let mut functions = vec![Arc::new(Function::manager(
            layout,
            configs[0].clone(),
            bus(0),
            manager.clone(),
        ))];
        let mut workers = Vec::new();
        for (index, layout) in (1..).zip(network) {
            let wake = Arc::new(Wake::default());
            let config = configs[index].clone();
            let function = Function::network(layout, config, bus(index), manager.clone(), wake.clone());
            workers.extend(function.nic().map(|nic| {
                let wake = wake.clone();
                (wake.clone(), std::thread::spawn(move || nic::work(&nic, &wake)))
            }));
            functions.push(Arc::new(function));
        }
        Ok(Self {
            enforcer,
            manager,
            functions,
            workers,
        })
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
                let enabled = self.enforcer.enable_dma(function.into(), enabled);
                enabled.map_err(|error| error.to_string())?;
            }
            Request::Hold { function } => {
                self.function(function)?;
                self.enforcer.hold(function.into());
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
