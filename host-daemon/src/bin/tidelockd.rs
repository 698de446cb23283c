//! The daemon; see `tidelockd --help`.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::Parser;

/// Owns the host's TEE-IO devices: carries DOE objects between the TSM and the devices, and evidence to the guests.
///
/// It is trusted by nobody: the TSM holds the sessions' secrets, and the guests believe only what the TSM vouches for.
/// Operate it with the command `tidelock`.
#[derive(Parser)]
#[command(name = "tidelockd", version, after_help = HELP)]
struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/tidelock/tidelockd.toml")]
    config: PathBuf,
    /// Read the configuration, say whether it is good, and end.
    #[arg(long)]
    check: bool,
}

const HELP: &str = r#"Configuration (unknown keys are refused, with their line):
  state_dir = "/var/lib/tidelock"          journal and evidence cache
  api_socket = "/run/tidelock/api.sock"    for the command tidelock
  [tsm]
  backend = "emulated"                     or "userspace" (inventory only), "sysfs-link" (the kernel's TSM)
  socket = "/run/tidelock/tsm.sock"        emulated: the TSM's host socket
  [[device]]
  name = "nic0"
  bdf = "0000:01:00.0"                     function 0, where the DSM is
  slot = 0                                 certificate slot, 0 to 7
  [device.transport]
  kind = "emulator"                        or "sysfs" (root = "/sys": DOE in config space)
  address = "127.0.0.1:2323"
  timeout_ms = 5000                        longest wait for one answer
  [[vm]]
  id = 1
  courier_socket = "/run/tidelock/vm1.sock"
  [[vm.tdi]]
  device = "nic0"
  function = 1
  guest = "0000:01:00.1"                   where the guest sees it
  lock = ["no-fw-update"]                  system-cache-line-size, lock-msix, bind-p2p, all-request-redirect

Environment: TIDELOCK_LOG=error|warn|info|debug|trace says how much is logged, to standard error.

Exit codes:
  0  ended by a signal, everything unbound and disconnected
  1  failed; the message says what was found, what was wanted and what to do
  2  the command line or the configuration cannot be used"#;

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(level())
        .with_target(false)
        .init();
    let done = match args.check {
        true => host_daemon::config::load(&args.config)
            .map(drop)
            .map_err(Into::into),
        false => host_daemon::daemon::run(&args.config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// `TIDELOCK_LOG`: error, warn, info (the default), debug or trace.
fn level() -> tracing::Level {
    let wanted = std::env::var("TIDELOCK_LOG").ok();
    wanted
        .and_then(|level| level.parse().ok())
        .unwrap_or(tracing::Level::INFO)
}
