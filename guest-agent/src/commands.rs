//! What each command of `tidelock-agent` does, on the kernel that it runs on.

mod run;

use crate::CRYPTOGRAPHY;
use crate::channel::{self, Link, Serial};
use crate::cli::{Arguments, Command, Exit};
use crate::config::{self, Config};
use crate::platform::{self, Linux, Platform};
use crate::status::{self, Directory, Past, Report, Shown};
use crate::{isolate, untrusted};
use clap::CommandFactory;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tdisp::crypto::Secret;

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// An argument is wrong.
    #[error("{0}")]
    Argument(String),
    /// The host or the TSM cannot be reached.
    #[error("{0}; the devices stay without driver")]
    Channel(#[from] channel::Error),
    /// The kernel is not as it must be.
    #[error(transparent)]
    Platform(#[from] platform::Error),
    /// A file or socket of the agent's own cannot be used.
    #[error("{what}: {error}")]
    File {
        /// Which, and what for.
        what: String,
        /// The kernel's answer.
        error: std::io::Error,
    },
    /// The agent that runs does not answer, or refuses.
    #[error("{0}")]
    Agent(String),
}

impl Error {
    /// The process's exit code for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Argument(_) => Exit::Config,
            Self::Channel(_) => Exit::Channel,
            Self::Platform(_) | Self::File { .. } => Exit::Platform,
            Self::Agent(_) => Exit::Refused,
        }
    }
}

/// Does what the command line says.
pub fn execute(arguments: &Arguments) -> Result<Exit, Error> {
    match &arguments.command {
        Command::Isolate => isolate_stage(arguments),
        Command::Untrusted => untrusted_stage(arguments),
        Command::Run { ready_fd } => run::run(arguments, *ready_fd),
        Command::Status { wait, json } => show_status(arguments, *wait, *json),
        Command::Revoke { bdf } => revoke(arguments, bdf),
        Command::CheckPolicy { file } => check_policy(file),
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Arguments::command(),
                "tidelock-agent",
                &mut std::io::stdout(),
            );
            Ok(Exit::Ok)
        }
        Command::Man { dir } => {
            let written = clap_mangen::generate_to(Arguments::command(), dir);
            written.map_err(|error| file(format!("writing manual pages to {}", dir.display()), error))?;
            Ok(Exit::Ok)
        }
    }
}

fn isolate_stage(arguments: &Arguments) -> Result<Exit, Error> {
    let mut platform = Linux::default();
    // First the device, then the policy: a policy that cannot be read must not leave a device free.
    platform.stop_autoprobe()?;
    let config = config::load(&arguments.config)?;
    let directory = directory(arguments)?;
    let mut record = isolate::isolate(&config, &mut platform)?;
    // A function that was tainted stays so for the boot, however often this stage runs.
    if let Some(before) = read(directory.isolated())?.filter(|before| before.boot_id == record.boot_id) {
        record.tainted.extend(before.tainted);
    }
    put(directory.put_isolated(&record))?;
    for tainted in &record.tainted {
        eprintln!(
            "tidelock-agent: ALERT: driver {} had {} before this stage; it was taken away",
            tainted.driver, tainted.bdf
        );
    }
    let of_policy = |tainted: &status::Tainted| {
        config
            .devices
            .iter()
            .any(|device| device.bdf.to_string() == tainted.bdf)
    };
    Ok(if record.tainted.iter().any(of_policy) {
        Exit::Refused
    } else {
        Exit::Ok
    })
}

fn untrusted_stage(arguments: &Arguments) -> Result<Exit, Error> {
    let config = config::load(&arguments.config)?;
    let mut platform = Linux::default();
    let isolated = past(&directory(arguments)?, &platform)?.isolated.ok_or_else(|| {
        platform::Error::new(
            "this boot has no isolation record",
            "the record of `tidelock-agent isolate`",
            "run it in the initramfs before any module is loaded; the devices stay without driver",
        )
    })?;
    untrusted::bind_platform(&config, &mut platform)?;
    let mut link = open_link(&config)?;
    match untrusted::begin(&config, &isolated, &mut platform, &mut link) {
        Ok(kept) if kept.is_empty() => Ok(Exit::Ok),
        Ok(kept) => {
            kept.iter()
                .for_each(|sentence| eprintln!("tidelock-agent: {sentence}"));
            Ok(Exit::Refused)
        }
        Err(untrusted::Error::Channel(error)) => Err(error.into()),
        Err(untrusted::Error::Platform(error)) => Err(error.into()),
    }
}

fn show_status(arguments: &Arguments, wait: bool, json: bool) -> Result<Exit, Error> {
    let directory = directory(arguments)?;
    let platform = Linux::default();
    let started = Instant::now();
    let report = loop {
        match current_report(arguments, &directory, &platform)? {
            Some(report) if report.is_decided() || !wait => break report,
            Some(report) if !is_alive(report.pid) => {
                let message =
                    "the agent ended before it reached a verdict; see what it said, and start it anew";
                return Err(Error::Agent(message.to_owned()));
            }
            None if !wait || started.elapsed() > START_PATIENCE => {
                let message = "there is no verdict in this boot; start `tidelock-agent run`";
                return Err(Error::Agent(message.to_owned()));
            }
            _ => std::thread::sleep(WAIT),
        }
    };
    if json {
        let line = serde_json::to_string(&report).map_err(|error| Error::Agent(error.to_string()))?;
        println!("{line}");
    } else {
        print!("{}", Shown(&report));
    }
    Ok(if report.is_complete() {
        Exit::Ok
    } else {
        Exit::Refused
    })
}

/// The running agent's report, or the last one that it left in this boot.
fn current_report(
    arguments: &Arguments,
    directory: &Directory,
    platform: &Linux,
) -> Result<Option<Report>, Error> {
    let written = read(directory.report())?;
    let boot_id = platform.boot_id()?;
    let Some(written) = written.filter(|report| report.boot_id == boot_id) else {
        return Ok(None);
    };
    if !written.is_decided() {
        // The agent is at work, and answers nobody meanwhile.
        return Ok(Some(written));
    }
    let live = status::ask(&socket(arguments, directory), &status::Request::Status, PATIENCE);
    Ok(Some(live.unwrap_or(written)))
}

fn revoke(arguments: &Arguments, bdf: &str) -> Result<Exit, Error> {
    let parsed: sriov::Bdf = bdf
        .parse()
        .map_err(|error: sriov::ParseBdfError| Error::Argument(error.to_string()))?;
    let directory = directory(arguments)?;
    let request = status::Request::Revoke {
        bdf: parsed.to_string(),
    };
    let report =
        status::ask(&socket(arguments, &directory), &request, REVOKE_PATIENCE).map_err(Error::Agent)?;
    print!("{}", Shown(&report));
    Ok(Exit::Ok)
}

fn check_policy(file: &Path) -> Result<Exit, Error> {
    let config = config::load(file)?;
    println!(
        "{}: a policy for {} device(s)",
        file.display(),
        config.devices.len()
    );
    Ok(Exit::Ok)
}

/// Greets the host and opens the channel to the TSM.
fn open_link(config: &Config) -> Result<Link, channel::Error> {
    let asked = "reaching the host's courier";
    let waited = config.channel.timeout;
    let failed = |error| channel::Error::Stream { asked, error, waited };
    let key = std::fs::read(&config.channel.key).map(Secret::new).map_err(|error| {
        failed(channel::StreamError::Io(format!(
            "the key shared with the TSM cannot be read from {} ({error}); give the machine that file, and load qemu_fw_cfg",
            config.channel.key.display()
        )))
    })?;
    let port = Serial::open(&config.channel.port, Instant::now() + waited).map_err(failed)?;
    Link::open(Box::new(port), key, Arc::new(CRYPTOGRAPHY), waited)
}

fn past(directory: &Directory, platform: &Linux) -> Result<Past, Error> {
    read(directory.past(&platform.boot_id()?))
}

fn directory(arguments: &Arguments) -> Result<Directory, Error> {
    let path = &arguments.state_dir;
    Directory::open(path).map_err(|error| file(format!("the state directory {}", path.display()), error))
}

fn socket(arguments: &Arguments, directory: &Directory) -> std::path::PathBuf {
    arguments
        .status_socket
        .clone()
        .unwrap_or_else(|| directory.socket())
}

fn read<T>(record: std::io::Result<T>) -> Result<T, Error> {
    record.map_err(|error| file("reading the agent's records".to_owned(), error))
}

fn put(written: std::io::Result<()>) -> Result<(), Error> {
    written.map_err(|error| file("writing the agent's records".to_owned(), error))
}

fn file(what: String, error: std::io::Error) -> Error {
    Error::File { what, error }
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Who waits may be started before the agent is.
const START_PATIENCE: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);
/// Revoking asks the TSM twice, each within the channel's own deadline.
const REVOKE_PATIENCE: Duration = Duration::from_secs(60);
