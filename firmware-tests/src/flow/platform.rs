//! The emulated platform as processes: the device model, the TSM and `tidelockd`, each on sockets in one directory.
//!
//! ```text
//!   tidelock-device ──vfio-user──► (QEMU, later)
//!        ▲   ▲ DOE (TCP)
//!  gate  │   └───────────── tidelockd ◄── courier ── (guest, later)
//!        └─ tidelock-tsm ◄──host───┘  ▲
//!                                     └── api ── tidelock
//! ```

use crate::artifact::{ArtifactError, program};
use crate::platform::{Client, FunctionCounters, Role};
use crate::process::{Process, ProcessError};
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long each process may take to listen.
const START_LIMIT: Duration = Duration::from_secs(15);
/// The one VM of the emulated platform.
pub const VM: u32 = 1;

/// Why the platform does not stand.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// A program of the workspace is not built.
    #[error(transparent)]
    Program(#[from] ArtifactError),
    /// A process failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file of the run's directory could not be written or read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// A command answered with an error.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command {
        /// What was run.
        command: String,
        /// Its exit status.
        status: String,
        /// What it said.
        stderr: String,
    },
    /// A command answered something that is no JSON.
    #[error("`{command}` did not answer JSON: {error}")]
    Json {
        /// What was run.
        command: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// No TCP port was free on the loopback.
    #[error("no free port on the loopback: {0}")]
    Port(std::io::Error),
}

/// The running platform. Dropped, its processes are gone.
#[derive(Debug)]
pub struct Platform {
    directory: PathBuf,
    // Ended in this order: the daemon tells the TSM, and the TSM the device, that it is over.
    daemon: Option<Process>,
    tsm: Process,
    device: Process,
    address: String,
}

impl Platform {
    /// Makes the device's identity and starts the device, with `lies` as `tidelock-device --lie` takes them, and the TSM, all in
    /// `directory` (with a short path). `tidelockd` comes with [`Self::start_daemon`].
    pub fn start(directory: &Path, lies: &[&str]) -> Result<Self, PlatformError> {
        let (identity, keys) = (directory.join("identity"), directory.join("keys"));
        make_directory(&keys)?;
        make_directory(&directory.join("state"))?;
        answer(command("tidelock-device")?.arg("provision").arg(&identity))?;
        let address = free_address()?;
        let device = start_device(directory, &identity, &address, lies)?;
        let tsm = start_tsm(directory, &keys)?;
        Ok(Self {
            directory: directory.into(),
            daemon: None,
            tsm,
            device,
            address,
        })
    }

    /// Starts `tidelockd`, which makes the VM known to the TSM; returns when the VM's key exists.
    pub fn start_daemon(&mut self) -> Result<(), PlatformError> {
        let path = self.path("tidelockd.toml");
        write(&path, &self.daemon_config())?;
        let mut command = command("tidelockd")?;
        command.arg("--config").arg(path);
        let mut daemon = Process::start("tidelockd", &mut command, &self.path("tidelockd.log"))?;
        daemon.wait_for_path(&self.path("api.sock"), START_LIMIT)?;
        daemon.wait_for_path(&self.path("courier.sock"), START_LIMIT)?;
        daemon.wait_for_path(&self.vm_key(), START_LIMIT)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Runs the operator's command against this daemon; its JSON answer.
    pub fn tidelock(&self, arguments: &[&str]) -> Result<serde_json::Value, PlatformError> {
        let mut command = command("tidelock")?;
        json(
            command
                .arg("--socket")
                .arg(self.path("api.sock"))
                .arg("--json")
                .args(arguments),
        )
    }

    /// The digests that a policy pins for an honest device of this identity.
    pub fn reference(&self) -> Result<serde_json::Value, PlatformError> {
        let mut command = command("tidelock-device")?;
        json(
            command
                .arg("reference")
                .arg("--identity")
                .arg(self.path("identity"))
                .arg("--json"),
        )
    }

    /// The file with the key of the VM's sealed channel.
    pub fn vm_key(&self) -> PathBuf {
        self.path("keys").join(format!("vm-{VM}.key"))
    }

    /// The socket on which the daemon waits for the guest's courier port.
    pub fn courier(&self) -> PathBuf {
        self.path("courier.sock")
    }

    /// The socket of one function, for the VMM.
    pub fn vfio_user(&self, function: u8) -> PathBuf {
        self.path(&format!("fn{function}"))
    }

    /// The device's platform socket: counters, canaries and faults.
    pub fn platform_socket(&self) -> PathBuf {
        self.path("platform.sock")
    }

    /// What the DMA gate let through and refused so far, of each function.
    pub fn counters(&self) -> Result<Vec<FunctionCounters>, PlatformError> {
        let path = self.platform_socket();
        let counters = Client::connect(&path, Role::Observer).and_then(|mut client| client.counters());
        counters.map_err(|error| PlatformError::File { path, error })
    }

    /// A file in the run's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// An error if any of the processes has ended.
    pub fn check(&mut self) -> Result<(), PlatformError> {
        self.device.check("the run to end")?;
        self.tsm.check("the run to end")?;
        match &mut self.daemon {
            Some(daemon) => Ok(daemon.check("the run to end")?),
            None => Ok(()),
        }
    }

    /// Ends all processes in order; the names of those that did not end by themselves with success.
    pub fn end(mut self) -> Vec<&'static str> {
        let mut unclean = Vec::new();
        let daemon = self.daemon.as_mut().map(|daemon| ("tidelockd", daemon));
        let all = daemon.into_iter().chain([
            ("tidelock-tsm", &mut self.tsm),
            ("tidelock-device", &mut self.device),
        ]);
        for (name, process) in all {
            if !process.end() {
                unclean.push(name);
            }
        }
        unclean
    }

    fn daemon_config(&self) -> String {
        let directory = self.directory.display();
        let mut config = format!(
            "state_dir = \"{directory}/state\"\napi_socket = \"{directory}/api.sock\"\n\n\
             [tsm]\nbackend = \"emulated\"\nsocket = \"{directory}/tsm.sock\"\n\n\
             [[device]]\nname = \"nic0\"\nbdf = \"0000:01:00.0\"\n\
             [device.transport]\nkind = \"emulator\"\naddress = \"{}\"\n\n\
             [[vm]]\nid = {VM}\ncourier_socket = \"{directory}/courier.sock\"\n",
            self.address
        );
        for function in super::TDIS {
            // Writing to a String cannot fail.
            let _ = write!(
                config,
                "[[vm.tdi]]\ndevice = \"nic0\"\nfunction = {function}\nguest = \"{}\"\nlock = [\"no-fw-update\"]\n",
                super::guest_bdf(function)
            );
        }
        config
    }
}

fn start_device(
    directory: &Path,
    identity: &Path,
    address: &str,
    lies: &[&str],
) -> Result<Process, PlatformError> {
    let mut command = command("tidelock-device")?;
    command
        .arg("serve")
        .arg("--identity")
        .arg(identity)
        .arg("--vfio-user")
        .arg(directory);
    command
        .arg("--listen")
        .arg(address)
        .arg("--platform")
        .arg(directory.join("platform.sock"));
    for lie in lies {
        command.arg("--lie").arg(lie);
    }
    let mut device = Process::start("tidelock-device", &mut command, &directory.join("device.log"))?;
    device.wait_for_path(&directory.join("platform.sock"), START_LIMIT)?;
    for function in super::DEVICE_FUNCTIONS {
        device.wait_for_path(&directory.join(format!("fn{function}")), START_LIMIT)?;
    }
    Ok(device)
}

fn start_tsm(directory: &Path, keys: &Path) -> Result<Process, PlatformError> {
    let mut command = command("tidelock-tsm")?;
    command.arg("serve").arg("--host").arg(directory.join("tsm.sock"));
    command
        .arg("--platform")
        .arg(directory.join("platform.sock"))
        .arg("--keys")
        .arg(keys);
    let mut tsm = Process::start("tidelock-tsm", &mut command, &directory.join("tsm.log"))?;
    tsm.wait_for_path(&directory.join("tsm.sock"), START_LIMIT)?;
    Ok(tsm)
}

fn command(binary: &str) -> Result<Command, PlatformError> {
    Ok(Command::new(program(binary)?))
}

fn free_address() -> Result<String, PlatformError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(PlatformError::Port)?;
    Ok(listener.local_addr().map_err(PlatformError::Port)?.to_string())
}

fn make_directory(path: &Path) -> Result<(), PlatformError> {
    std::fs::create_dir_all(path).map_err(|error| PlatformError::File {
        path: path.into(),
        error,
    })
}

/// Writes a file of the run.
pub fn write(path: &Path, content: &str) -> Result<(), PlatformError> {
    std::fs::write(path, content).map_err(|error| PlatformError::File {
        path: path.into(),
        error,
    })
}

fn json(command: &mut Command) -> Result<serde_json::Value, PlatformError> {
    let out = answer(command)?;
    serde_json::from_slice(&out).map_err(|error| PlatformError::Json {
        command: words(command),
        error,
    })
}

fn answer(command: &mut Command) -> Result<Vec<u8>, PlatformError> {
    let failed = |command: &Command, status: String, stderr| PlatformError::Command {
        command: words(command),
        status,
        stderr,
    };
    let out = command
        .output()
        .map_err(|error| failed(command, "not started".into(), error.to_string()))?;
    if out.status.success() {
        return Ok(out.stdout);
    }
    Err(failed(
        command,
        out.status.to_string(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    ))
}

fn words(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    command
        .get_args()
        .fold(program, |words, next| words + " " + &next.to_string_lossy())
}
