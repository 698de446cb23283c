//! The operator's command `tidelock`: asks the daemon, prints tables for people or JSON for programs.

mod args;
mod table;

use std::{
    io::Write,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{CommandFactory, Parser};

use crate::{
    api::{self, Answer, ClientError, Request},
    spdm::{args as spdm, decode, device},
};
use args::{Args, Command};

pub use args::Args as Arguments;

/// What ended the command early, with its exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("tidelockd is not ready after {after_s} s: {why}; see its log, or wait longer with --timeout")]
    NotReady { after_s: u64, why: String },
    #[error("writing failed: {0}")]
    Output(#[from] std::io::Error),
    #[error("{0}")]
    Decode(#[from] decode::Error),
    #[error("{0}")]
    Device(#[from] device::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Output(_) | Self::Decode(_) => 1,
            Self::Device(error) => error.code(),
            Self::Client(_) => 3,
            Self::NotReady { .. } => 4,
        }
    }
}

/// Parses the command line, does what it says, and answers the exit code.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Whoever reads it may be gone; the exit code says the same.
            let _ = writeln!(anstream::stderr(), "tidelock: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let request = match &args.command {
        Command::Status => Request::Status {},
        Command::Connect { device } => Request::Connect {
            device: device.clone(),
        },
        Command::Disconnect { device } => Request::Disconnect {
            device: device.clone(),
        },
        Command::Identify { device } => Request::Identify {
            device: device.clone(),
        },
        Command::Bind { device, function } => Request::Bind {
            device: device.clone(),
            function: *function,
        },
        Command::Unbind { device, function } => Request::Unbind {
            device: device.clone(),
            function: *function,
        },
        Command::WaitReady { timeout } => return wait_ready(&args.socket, *timeout, args.json),
        Command::Spdm { command } => return run_spdm(command, args.json),
        Command::Completions { shell } => {
            // The generator panics where writing fails.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "tidelock", &mut script);
            let mut out = std::io::stdout().lock();
            return end(out.write_all(&script).map_err(Failure::from), out);
        }
        Command::Man { directory } => return Ok(clap_mangen::generate_to(Args::command(), directory)?),
    };
    print(api::call(&args.socket, &request)?, args.json)
}

fn run_spdm(command: &spdm::Command, json: bool) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(anstream::stdout().lock());
    let ask = match command {
        spdm::Command::Decode(args) => {
            return end(decode::run(args, json, &mut out).map_err(Failure::from), out);
        }
        spdm::Command::Identify(args) => device::Ask::Identify(args),
        spdm::Command::Certs(args) => device::Ask::Certs(args),
        spdm::Command::Measure(args) => device::Ask::Measure(args),
    };
    end(device::run(ask, json, &mut out).map_err(Failure::from), out)
}

/// Writes what is still to be written. Whoever reads may have seen enough, and that is no failure.
fn end(done: Result<(), Failure>, mut out: impl Write) -> Result<(), Failure> {
    match done.and(out.flush().map_err(Failure::from)) {
        Err(
            Failure::Output(error)
            | Failure::Decode(decode::Error::Output(error))
            | Failure::Device(device::Error::Output(error)),
        ) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn print(answer: Answer, json: bool) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    end(write(answer, json, &mut out), out)
}

fn write(answer: Answer, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if json {
        serde_json::to_writer(&mut *out, &answer).map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    if let Some(error) = answer.error {
        return Err(Failure::Refused(error.message));
    }
    if !json {
        table::print(&answer, out)?;
    }
    Ok(())
}

fn wait_ready(socket: &Path, timeout_s: u64, json: bool) -> Result<(), Failure> {
    let end = Instant::now() + Duration::from_secs(timeout_s);
    loop {
        let why = match api::call(socket, &Request::Status {}) {
            Ok(answer) => match &answer.status {
                Some(status) if status.ready => return print(answer, json),
                Some(status) => format!("the TSM is {}: {}", status.tsm.state, status.tsm.note),
                None => "it gives no status".into(),
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() >= end {
            return Err(Failure::NotReady {
                after_s: timeout_s,
                why,
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
