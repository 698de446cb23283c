//! One virtual machine under QEMU, without KVM: a q35 with a vIOMMU, whose PCIe devices come from other processes.
//!
//! ```text
//!  q35, TCG, 1 GiB memfd shared with the device model (file offset = guest physical address)
//!  ├─ intel-iommu (caching mode: every mapping is told to the device model)
//!  ├─ pcie-root-port ── bus 01: vfio-user functions 01:00.0, .1, … (one socket each)
//!  ├─ virtio-serial ── org.tidelock.results.0 (guest → test), and the ports asked for
//!  ├─ fw_cfg files
//!  └─ serial console ──► console.log
//! ```
//!
//! A [`Vm`] ends with its owner: it is killed when dropped, when its time is over, and when the thread that booted it
//! ends. Every error carries the last lines of the console, with the panic where the kernel panicked.

mod console;
mod qmp;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use serde_json::Value;

use crate::artifact::Environment;
use crate::guest::{GuestError, Results};
use crate::process::die_with_parent;
use console::Console;

/// Why a machine did not do what it was booted for.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The machine could not be started.
    #[error("QEMU could not be started ({what}): {error}")]
    Start {
        /// What was being done.
        what: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// The guest did not say what was waited for.
    #[error("{error} while waiting for {what}; the console's last lines:\n{console}")]
    Guest {
        /// What was waited for.
        what: String,
        /// What came instead.
        error: GuestError,
        /// The console's last lines.
        console: String,
    },
    /// The machine did not end in time, and was killed.
    #[error(
        "the machine had not ended after {waited:.1?} and was killed; the console's last lines:\n{console}"
    )]
    Late {
        /// How long it ran.
        waited: Duration,
        /// The console's last lines.
        console: String,
    },
    /// QEMU ended with an error.
    #[error("QEMU ended with {status}; the console's last lines:\n{console}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The console's last lines.
        console: String,
    },
    /// QEMU's control socket did not do as told.
    #[error("QEMU's control socket ({command}): {error}; the console's last lines:\n{console}")]
    Control {
        /// The command that was given.
        command: String,
        /// What went wrong.
        error: String,
        /// The console's last lines.
        console: String,
    },
}

/// A virtio-serial port's other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// QEMU connects to this socket, on which somebody must listen before the machine boots.
    Connect(PathBuf),
    /// QEMU listens on this socket.
    Listen(PathBuf),
}

/// A machine to be booted.
#[derive(Debug, Clone)]
pub struct Machine {
    environment: Environment,
    folder: PathBuf,
    initrd: PathBuf,
    arguments: Vec<String>,
    memory_mib: u32,
    processors: u32,
    iommu: bool,
    functions: Vec<(u8, PathBuf)>,
    ports: Vec<(String, Port)>,
    firmware_files: Vec<(String, PathBuf)>,
    extra: Vec<String>,
    limit: Duration,
}

impl Machine {
    /// A machine that boots the environment's kernel with `initrd`, and keeps its sockets and its console's log in
    /// `folder` (which must exist, with a short path: a socket's may have 107 bytes).
    pub fn new(environment: &Environment, folder: &Path, initrd: &Path) -> Self {
        Self {
            environment: environment.clone(),
            folder: folder.into(),
            initrd: initrd.into(),
            arguments: Vec::new(),
            memory_mib: 1024,
            processors: 2,
            iommu: true,
            functions: Vec::new(),
            ports: Vec::new(),
            firmware_files: Vec::new(),
            extra: Vec::new(),
            limit: Duration::from_secs(120),
        }
    }

    /// Adds an argument to the kernel's command line, like `swiotlb=force`.
    #[must_use]
    pub fn kernel_argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Leaves the vIOMMU out.
    #[must_use]
    pub fn without_iommu(mut self) -> Self {
        self.iommu = false;
        self
    }

    /// The guest's memory; 1024 MiB unless told.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// The guest's processors; 2 unless told.
    #[must_use]
    pub fn processors(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// Puts the vfio-user function served on `socket` at 01:00.`number` in the guest. Somebody must listen already.
    #[must_use]
    pub fn vfio_user(mut self, number: u8, socket: &Path) -> Self {
        self.functions.push((number, socket.into()));
        self
    }

    /// Adds a virtio-serial port.
    #[must_use]
    pub fn port(mut self, name: &str, port: Port) -> Self {
        self.ports.push((name.into(), port));
        self
    }

    /// Shows the contents of `file` to the guest as the fw_cfg file `name`, like `opt/tidelock/vm.key`.
    #[must_use]
    pub fn firmware_file(mut self, name: &str, file: &Path) -> Self {
        self.firmware_files.push((name.into(), file.into()));
        self
    }

    /// Adds an option of QEMU's own, for what this builder has no word for.
    #[must_use]
    pub fn option(mut self, option: &str, value: &str) -> Self {
        self.extra.extend([option.into(), value.into()]);
        self
    }

    /// How long the machine may run before it is killed; two minutes unless told.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Boots the machine. The calling thread must live as long as it does.
    pub fn boot(&self) -> Result<Vm, VmError> {
        let socket = self.folder.join("results.sock");
        // What an earlier machine left in the same folder; if it cannot go, listening says why.
        let _ = std::fs::remove_file(&socket);
        let results = Results::listen(&socket).map_err(|error| VmError::Guest {
            what: "the boot".into(),
            error,
            console: String::new(),
        })?;
        let log = self.folder.join("console.log");
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| VmError::Start { what, error }
        };
        let (reader, writer) = std::io::pipe().map_err(failed("making the console's pipe"))?;
        let mut command = self.command();
        let copy = writer.try_clone().map_err(failed("making the console's pipe"))?;
        command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(copy)
            .process_group(0);
        die_with_parent(&mut command);
        let child = command.spawn().map_err(failed("running it"))?;
        drop(command); // and with it our ends of the pipe, so that the console ends with the machine
        let end = Instant::now() + self.limit;
        // The child is now owned by what kills it, whatever fails from here on.
        let mut vm = Vm {
            child,
            console: Console::default(),
            results,
            folder: self.folder.clone(),
            booted: Instant::now(),
            end,
        };
        vm.console =
            Console::record(reader, &log, end, vm.group()).map_err(failed("recording its console"))?;
        Ok(vm)
    }

    /// The command line, for those who want to run it by hand.
    pub fn command(&self) -> Command {
        let mut command = self.environment.qemu();
        let memory = self.memory_mib;
        command.args([
            "-name",
            "tidelock",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ]);
        // Without the HPET ticks come from the PIT: a guest whose processor waits for a busy host while it sets the HPET's
        // next tick misses it, and has no more until that counter has gone round.
        command.args([
            "-machine",
            "q35,accel=tcg,kernel-irqchip=split,hpet=off,memory-backend=memory",
            "-cpu",
            "max",
        ]);
        // Room to grow beyond 4 GiB, never used: only then does an unencrypted kernel say where its bounce buffers are.
        let room = format!("{memory}M,slots=1,maxmem=8G");
        command.args(["-m", &room, "-smp", &self.processors.to_string()]);
        command.args([
            "-object",
            &format!("memory-backend-memfd,id=memory,size={memory}M,share=on"),
        ]);
        if self.iommu {
            command.args(["-device", "intel-iommu,intremap=on,caching-mode=on"]);
        }
        command.args([
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ]);
        command.arg("-qmp").arg(format!(
            "unix:{},server=on,wait=off",
            escaped(&self.folder.join("qmp.sock"))
        ));
        self.add_functions(&mut command);
        self.add_ports(&mut command);
        for (name, file) in &self.firmware_files {
            command
                .arg("-fw_cfg")
                .arg(format!("name={name},file={}", escaped(file)));
        }
        command.arg("-kernel").arg(self.environment.kernel_image());
        command.arg("-initrd").arg(&self.initrd);
        command
            .args(["-append", &self.kernel_command_line()])
            .args(&self.extra);
        command
    }

    fn kernel_command_line(&self) -> String {
        // The kernel gives up on its timer if it does not see ten ticks in time, which on a busy host says nothing.
        let mut line = String::from("console=ttyS0 panic=-1 no_timer_check quiet");
        if self.iommu {
            line += " intel_iommu=on iommu=strict";
        }
        for argument in &self.arguments {
            line += " ";
            line += argument;
        }
        line
    }

    /// All functions of one device; QEMU realizes the device with its function 0, which must therefore come last.
    fn add_functions(&self, command: &mut Command) {
        if self.functions.is_empty() {
            return;
        }
        command.args(["-device", "pcie-root-port,id=slot1,chassis=1,slot=1"]);
        let mut functions = self.functions.clone();
        functions.sort_by(|a, b| b.cmp(a));
        for (number, socket) in functions {
            let device = serde_json::json!({
                "driver": "vfio-user-pci",
                "bus": "slot1",
                "addr": format!("0x0.{number:#x}"),
                "multifunction": true,
                "socket": { "type": "unix", "path": socket },
            });
            command.args(["-device", &device.to_string()]);
        }
    }

    fn add_ports(&self, command: &mut Command) {
        let results = Port::Connect(self.folder.join("results.sock"));
        let own = ("org.tidelock.results.0".to_owned(), results);
        command.args(["-device", "virtio-serial-pci,id=serial"]);
        for (number, (name, port)) in [own].iter().chain(&self.ports).enumerate() {
            let socket = match port {
                Port::Connect(path) => format!("path={}", escaped(path)),
                Port::Listen(path) => format!("path={},server=on,wait=off", escaped(path)),
            };
            command.args(["-chardev", &format!("socket,id=port{number},{socket}")]);
            command.args([
                "-device",
                &format!("virtserialport,bus=serial.0,chardev=port{number},name={name}"),
            ]);
        }
    }
}

/// A running machine.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    console: Console,
    results: Results,
    folder: PathBuf,
    booted: Instant,
    end: Instant,
}

impl Vm {
    /// The guest's next JSON line.
    pub fn next(&mut self, limit: Duration) -> Result<Value, VmError> {
        let next = self.results.next(limit);
        next.map_err(|error| self.guest_error("its next line", error))
    }

    /// The guest's next JSON line whose `event` is `name`; others before it are passed over.
    pub fn event(&mut self, name: &str, limit: Duration) -> Result<Value, VmError> {
        let event = self.results.event(name, limit);
        event.map_err(|error| self.guest_error(&format!("the event {name:?}"), error))
    }

    /// Waits until the guest has powered off, at most to the end of the machine's time.
    pub fn wait(mut self) -> Result<(), VmError> {
        while Instant::now() < self.end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return self.ended(status);
            }
            std::thread::sleep(POLL);
        }
        self.kill();
        Err(VmError::Late {
            waited: self.booted.elapsed(),
            console: self.console.tail(),
        })
    }

    /// Has QEMU end the machine now, without asking the guest.
    pub fn quit(mut self) -> Result<(), VmError> {
        self.control("quit", Value::Null)?;
        self.end = self.end.min(Instant::now() + QUIT_GRACE);
        self.wait()
    }

    /// Gives QEMU a command on its control socket (QMP), and returns its answer.
    pub fn control(&mut self, command: &str, arguments: Value) -> Result<Value, VmError> {
        qmp::execute(&self.folder.join("qmp.sock"), command, arguments).map_err(|error| VmError::Control {
            command: command.into(),
            error,
            console: self.console.tail(),
        })
    }

    /// The console's last lines.
    pub fn console(&self) -> String {
        self.console.tail()
    }

    /// How long ago the machine was started.
    pub fn age(&self) -> Duration {
        self.booted.elapsed()
    }

    /// QEMU's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn ended(&mut self, status: ExitStatus) -> Result<(), VmError> {
        self.console.finish();
        if status.success() {
            return Ok(());
        }
        Err(VmError::Failed {
            status,
            console: self.console.tail(),
        })
    }

    fn guest_error(&mut self, what: &str, error: GuestError) -> VmError {
        // Its last words may still be on their way.
        if matches!(error, GuestError::Closed) {
            self.console.finish();
        }
        VmError::Guest {
            what: what.into(),
            error,
            console: self.console.tail(),
        }
    }

    fn group(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    fn kill(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It leads a group of its own, and was not reaped yet, so that the number is still its own.
            let _ = rustix::process::kill_process_group(self.group(), rustix::process::Signal::KILL);
            let _ = self.child.wait();
        }
        self.console.finish();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A path inside a QEMU option, in which a comma is written twice.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// How often a running machine is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How long QEMU may take to end when told to.
const QUIT_GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
