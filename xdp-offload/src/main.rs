//! `tidelock-xdp`: packet rules on an interface for as long as the command runs, and what XDP runs where.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use xdp_offload::{Attached, Interface, Mode, Offload, Rules, Stats, interface, interfaces};

/// Packet rules in XDP, in the mode asked for or not at all.
#[derive(Parser)]
#[command(name = "tidelock-xdp", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done; attach: interrupted, and the program is off again
  1  failed; the message says what was found and what to do
  2  the command line cannot be read";

#[derive(Subcommand)]
enum Command {
    /// Put rules on an interface until interrupted; then take them off and say what they did. SIGHUP reads the
    /// rules again and puts them in place without letting a packet by; rules that do not load change nothing.
    Attach {
        /// The interface.
        #[arg(long, value_name = "INTERFACE")]
        dev: String,
        /// The rules, in TOML.
        #[arg(long, value_name = "FILE")]
        rules: PathBuf,
        /// native: in the driver. generic: slower, with any driver. None is chosen for you.
        #[arg(long, value_name = "native|generic")]
        mode: Mode,
        /// One JSON object a line, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Check a file of rules without loading them.
    Check {
        /// The rules, in TOML.
        #[arg(value_name = "FILE")]
        rules: PathBuf,
    },
    /// Show every XDP program of this network namespace, and the counters of ours.
    Status {
        /// One JSON array, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages.
    Man {
        /// Where to.
        directory: PathBuf,
    },
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidelock-xdp: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Attach {
            dev,
            rules,
            mode,
            json,
        } => attach(&dev, &rules, mode, json),
        Command::Check { rules } => check(&read(&rules)?),
        Command::Status { json } => status(json),
        Command::Completions { shell } => completions(shell),
        Command::Man { directory } => Ok(clap_mangen::generate_to(Arguments::command(), directory)?),
    }
}

fn read(path: &Path) -> Result<Rules, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?)
}

fn attach(dev: &str, path: &Path, mode: Mode, json: bool) -> Result<(), Failure> {
    // Before the program is there, so that no interruption leaves before saying what it did.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let rules = read(path)?;
    let mut attached = Offload::load(&rules)?.attach(interface::index(dev)?, mode)?;
    say_attached(dev, &attached, &rules, json)?;
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        match reload(&mut attached, path) {
            Ok((rules, before)) => {
                said(&before, json, || totals(&before))?;
                say_attached(dev, &attached, &rules, json)?;
            }
            Err(error) => eprintln!("tidelock-xdp: the rules stay as they are: {error}"),
        }
    }
    let stats = attached.detach()?;
    said(&stats, json, || totals(&stats))
}

fn reload(attached: &mut Attached, path: &Path) -> Result<(Rules, Stats), Failure> {
    let rules = read(path)?;
    let before = attached.replace(Offload::load(&rules)?)?;
    Ok((rules, before))
}

fn say_attached(dev: &str, attached: &Attached, rules: &Rules, json: bool) -> Result<(), Failure> {
    let count = rules.rules().len();
    said(&AttachedNow::new(dev, attached), json, || {
        format!(
            "{dev}: {count} rules in {} mode, program {}",
            attached.mode(),
            attached.program_id()
        )
    })
}

#[derive(Serialize)]
struct AttachedNow<'a> {
    name: &'a str,
    ifindex: u32,
    mode: Mode,
    program_id: u32,
}

impl<'a> AttachedNow<'a> {
    fn new(name: &'a str, attached: &Attached) -> Self {
        Self {
            name,
            ifindex: attached.ifindex(),
            mode: attached.mode(),
            program_id: attached.program_id(),
        }
    }
}

fn check(rules: &Rules) -> Result<(), Failure> {
    let (count, default, non_ip) = (rules.rules().len(), rules.default_action(), rules.non_ip());
    writeln!(
        io::stdout(),
        "{count} rules; other IP: {default}; other frames: {non_ip}"
    )?;
    Ok(())
}

fn status(json: bool) -> Result<(), Failure> {
    let found = interfaces()?;
    said(&found, json, || match found.as_slice() {
        [] => "no interface runs an XDP program".to_owned(),
        found => found.iter().map(line).collect::<Vec<_>>().join("\n"),
    })
}

fn line(found: &Interface) -> String {
    let mode = found.mode.map_or("hardware".to_owned(), |mode| mode.to_string());
    let name = found.program.as_deref().unwrap_or("(name needs CAP_SYS_ADMIN)");
    let stats = found
        .stats
        .as_ref()
        .map_or(String::new(), |stats| format!(": {}", totals(stats)));
    format!(
        "{}: {name} (program {}) in {mode} mode{stats}",
        found.name, found.program_id
    )
}

fn totals(stats: &Stats) -> String {
    let Stats {
        passed_packets,
        passed_bytes,
        dropped_packets,
        dropped_bytes,
        ..
    } = stats;
    format!(
        "passed {passed_packets} packets ({passed_bytes} bytes), dropped {dropped_packets} ({dropped_bytes} bytes)"
    )
}

/// Says the same to a program or to a person. Nobody listening is no failure of ours.
fn said(value: &impl Serialize, json: bool, words: impl FnOnce() -> String) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string(value)?
    } else {
        words()
    };
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tidelock-xdp", &mut script);
    Ok(io::stdout().write_all(&script)?)
}
