//! The daemon; see `tidelockd --help`.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

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
    /// How much is logged to standard error: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", env = "TIDELOCK_LOG", default_value = "info")]
    log: tracing::Level,
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

Exit codes:
  0  ended by a signal, everything unbound and disconnected (sessions of the kernel's TSM stay); --check: good
  1  failed; the message says what was found, what was wanted and what to do
  2  the command line or the configuration cannot be used"#;

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(args.log)
        .with_target(false)
        .init();
    let done = match args.check {
        true => check(&args.config).map_err(Into::into),
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

fn check(path: &Path) -> Result<(), host_daemon::config::Error> {
    let config = host_daemon::config::load(path)?;
    let (devices, vms) = (config.devices.len(), config.vms.len());
    println!(
        "{}: good, with {devices} device(s) and {vms} VM(s)",
        path.display()
    );
    Ok(())
}
