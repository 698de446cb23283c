//! The guest: an image with the agent, its policy and a script, booted on the emulated platform.

use super::platform::Platform;
use super::stages::{Stage, StageError, Stages};
use super::{DEVICE_FUNCTIONS, guest_bdf};
use crate::artifact::{ArtifactError, Environment, Initramfs, program};
use crate::guest::GuestError as PortError;
use crate::vm::{Machine, Port, Vm, VmError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const INIT: &str = include_str!("guest-init.sh");
/// How often the guest's run looks at everything else.
const LOOK: Duration = Duration::from_millis(50);

/// Why a guest did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The image could not be made.
    #[error(transparent)]
    Image(#[from] ArtifactError),
    /// The machine failed.
    #[error(transparent)]
    Machine(#[from] VmError),
    /// Its words are of no use.
    #[error("{error}; the console's last lines:\n{console}")]
    Words {
        /// What is wrong with them.
        error: StageError,
        /// The console's last lines.
        console: String,
    },
    /// The caller stopped the run.
    #[error("stopped: {0}")]
    Stopped(String),
}

/// What a guest is made of.
#[derive(Debug, Clone)]
pub struct GuestImage {
    /// The agent's policy file.
    pub policy: String,
    /// What happens between the loading of drivers and power-off; see `guest-init.sh` for what it can use.
    pub script: String,
    /// Programs of this workspace to have in it besides the agent and the probe.
    pub programs: Vec<&'static str>,
}

impl GuestImage {
    /// Builds the image.
    pub fn build(&self, environment: &Environment) -> Result<PathBuf, GuestError> {
        let mut image = Initramfs::new(environment, INIT)
            .module("virtio_net")
            .module("qemu_fw_cfg")
            .file("/script", 0o644, self.script.as_bytes())
            .file("/etc/tidelock/agent.toml", 0o644, self.policy.as_bytes());
        for name in ["tidelock-agent", "tidelock-probe"].iter().chain(&self.programs) {
            image = image.program(&program(name)?, &format!("/usr/bin/{name}"));
        }
        Ok(image.build()?)
    }
}

/// A booted guest and what it has said.
#[derive(Debug)]
pub struct Guest {
    vm: Vm,
    stages: Stages,
}

impl Guest {
    /// Boots `image` with the platform's device, courier and VM key; the machine is killed after `limit`.
    pub fn boot(
        environment: &Environment,
        image: &Path,
        platform: &Platform,
        limit: Duration,
    ) -> Result<Self, GuestError> {
        let folder = platform.path("vm");
        std::fs::create_dir_all(&folder).map_err(|error| ArtifactError::File {
            path: folder.clone(),
            error,
        })?;
        let mut machine = Machine::new(environment, &folder, image)
            .kernel_argument("swiotlb=force")
            .port("org.tidelock.courier.0", Port::Connect(platform.courier()))
            .firmware_file("opt/tidelock/vm.key", &platform.vm_key())
            .limit(limit);
        for function in DEVICE_FUNCTIONS {
            machine = machine.vfio_user(function, &platform.vfio_user(function));
        }
        Ok(Self {
            vm: machine.boot()?,
            stages: Stages::default(),
        })
    }

    /// Follows the guest to its last stage. `on_stage` hears of each stage that ends; `look` is called often, and a reason that it
    /// gives stops the run.
    pub fn follow(
        &mut self,
        mut on_stage: impl FnMut(&Stage),
        mut look: impl FnMut() -> Result<(), String>,
    ) -> Result<(), GuestError> {
        while !self.stages.complete() {
            match self.vm.next(LOOK) {
                Ok(line) => match self.stages.take(line, Instant::now()) {
                    Ok(stage) => stage.into_iter().for_each(&mut on_stage),
                    Err(error) => return Err(self.words(error)),
                },
                Err(VmError::Guest {
                    error: PortError::Late { .. },
                    ..
                }) => look().map_err(GuestError::Stopped)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until it has powered off; what it said.
    pub fn wait_off(self) -> Result<Stages, GuestError> {
        self.vm.wait()?;
        Ok(self.stages)
    }

    /// What it has said so far.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// The JSON that a stage printed, read as `T`.
    pub fn said<T: serde::de::DeserializeOwned>(&self, stage: &str) -> Result<T, GuestError> {
        self.stages.read(stage).map_err(|error| self.words(error))
    }

    fn words(&self, error: StageError) -> GuestError {
        GuestError::Words {
            error,
            console: self.vm.console(),
        }
    }
}

/// A guest script's line that measures traffic of a function as stage `NAME-FUNCTION`.
pub fn traffic_stage(name: &str, function: u8, mib: u32) -> String {
    let ((peer, address), bdf) = (super::addresses(function), guest_bdf(function));
    format!(
        "stage {name}-{function} tidelock-probe traffic --bdf {bdf} --peer {peer} --address {address} --mib {mib} --json\n"
    )
}
