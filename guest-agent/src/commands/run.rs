//! `tidelock-agent run`: decide, say so, watch until told to end.

use super::{Error, directory, file, open_link, past, put, socket};
use crate::CRYPTOGRAPHY;
use crate::agent::Agent;
use crate::cli::{Arguments, Exit};
use crate::config;
use crate::platform::{Linux, Platform};
use crate::status::{Directory, Report, Request, Server, Verdict};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(super) fn run(arguments: &Arguments, ready_fd: Option<u32>) -> Result<Exit, Error> {
    let config = config::load(&arguments.config)?;
    let directory = directory(arguments)?;
    let mut platform = Linux::default();
    let past = past(&directory, &platform)?;
    let path = socket(arguments, &directory);
    let server =
        Server::listen(&path).map_err(|error| file(format!("the socket {}", path.display()), error))?;
    let told_to_end = end_on_signals()?;

    // Before anything takes time: whoever waits must not take an earlier run's verdicts for this one's.
    put(directory.put_report(&Report::pending(&config, platform.boot_id()?)))?;
    let link = open_link(&config);
    let unreachable = link.is_err();
    let mut agent = Agent::new(&config, &mut platform, link, past)?;
    agent.decide(&CRYPTOGRAPHY, &mut |report| tell_last(report, &directory));
    if !agent.report().is_complete() {
        agent.end("a device that the guest needs is not trusted, so none is; see its reason");
    }
    let served = serve(&mut agent, &server, &directory, ready_fd, &told_to_end);
    agent.end("the agent ended, and nothing stays trusted that nobody watches");
    put(directory.put_report(agent.report()))?;
    served?;
    Ok(
        match (
            told_to_end.load(Ordering::Relaxed),
            agent.report().is_complete(),
            unreachable,
        ) {
            (true, ..) | (_, true, _) => Exit::Ok,
            (false, false, true) => Exit::Channel,
            (false, false, false) => Exit::Refused,
        },
    )
}

/// Says that the verdicts are there, then watches until no device is trusted any more, or a signal comes.
fn serve(
    agent: &mut Agent<'_>,
    server: &Server,
    directory: &Directory,
    ready_fd: Option<u32>,
    told_to_end: &AtomicBool,
) -> Result<(), Error> {
    put(directory.put_report(agent.report()))?;
    ready(ready_fd)?;
    let mut next = Instant::now() + PERIOD;
    while agent.is_watching() && !told_to_end.load(Ordering::Relaxed) {
        let mut changed = false;
        let wait = next.saturating_duration_since(Instant::now());
        let served = server.serve(wait, |request| match request {
            Request::Status => Ok(agent.report().clone()),
            Request::Revoke { bdf } => {
                agent.revoke(&bdf)?;
                changed = true;
                Ok(agent.report().clone())
            }
        });
        served.map_err(|error| file("serving the status socket".to_owned(), error))?;
        if Instant::now() >= next {
            changed |= agent.watch();
            next = Instant::now() + PERIOD;
        }
        if changed {
            tell_all(agent.report());
            put(directory.put_report(agent.report()))?;
        }
    }
    Ok(())
}

fn end_on_signals() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        let registered = signal_hook::flag::register(signal, Arc::clone(&flag));
        registered.map_err(|error| file("catching signals".to_owned(), error))?;
    }
    Ok(flag)
}

/// Through /proc, so that the descriptor needs no unsafe adoption.
fn ready(fd: Option<u32>) -> Result<(), Error> {
    let Some(fd) = fd else { return Ok(()) };
    let open = std::fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/self/fd/{fd}"));
    let written = open.and_then(|mut pipe| pipe.write_all(b"ready\n"));
    written.map_err(|error| file(format!("saying ready on descriptor {fd}"), error))
}

/// Says the newest verdict, and keeps the report for those who wait.
fn tell_last(report: &Report, directory: &Directory) {
    if let Some(device) = report
        .devices
        .iter()
        .rfind(|device| device.verdict != Verdict::Pending)
    {
        tell(device);
    }
    // What cannot be written now is written, or fails, at the end.
    let _ = directory.put_report(report);
}

fn tell_all(report: &Report) {
    report
        .devices
        .iter()
        .filter(|device| device.verdict == Verdict::Refused)
        .for_each(tell);
}

fn tell(device: &crate::status::DeviceReport) {
    match device.verdict {
        Verdict::Accepted => eprintln!("tidelock-agent: {} ({}) accepted", device.name, device.bdf),
        _ => eprintln!(
            "tidelock-agent: {} ({}) refused: {}",
            device.name, device.bdf, device.reason
        ),
    }
}

/// How often each trusted device is looked at.
const PERIOD: Duration = Duration::from_secs(1);
