//! What the command line may say.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Talk to tidelockd, the host's owner of TEE-IO devices.
///
/// A device earns its way into a confidential VM in three steps. `connect` has the TSM make a session with the
/// device and fetch its certificates and measurements; `bind` has it lock one function for a VM; then the guest
/// checks the evidence and decides. Nothing here can make a guest trust a device: only the guest does that.
#[derive(Debug, Parser)]
#[command(name = "tidelock", version, after_help = EXIT_CODES)]
pub struct Args {
    /// The daemon's api_socket; `spdm` needs no daemon.
    #[arg(
        long,
        global = true,
        display_order = 1000,
        value_name = "PATH",
        env = "TIDELOCK_SOCKET",
        default_value = "/run/tidelock/api.sock"
    )]
    pub(super) socket: PathBuf,
    /// Print JSON instead of a table: the daemon's answer on one line; of `spdm`, what it has found.
    #[arg(long, global = true, display_order = 1000)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the TSM, the devices with the steps of their last connect, and the VMs with what they have bound.
    Status,
    /// Make a session with a device: DOE discovery, SPDM, certificates, measurements, keys.
    ///
    /// The TSM holds the session's secrets; the daemon only carries DOE objects.
    Connect {
        /// A [[device]] name of the configuration.
        device: String,
    },
    /// Unbind the device's functions and end its session.
    Disconnect {
        /// A [[device]] name of the configuration.
        device: String,
    },
    /// Print who a device says it is: certificate subjects and measurements.
    ///
    /// Uses a session of the host's own, so the device must be disconnected. These are facts for an inventory.
    /// They are never evidence for a guest: the host holds this session's secrets and could have made them up.
    Identify {
        /// A [[device]] name of the configuration.
        device: String,
    },
    /// Lock a function for the VM that has the lease, and fetch its interface report.
    Bind {
        /// A [[device]] name of the configuration.
        device: String,
        /// Function number, 0 to 7.
        function: u8,
    },
    /// Turn a function's DMA off, stop it, and take it from its VM.
    Unbind {
        /// A [[device]] name of the configuration.
        device: String,
        /// Function number, 0 to 7.
        function: u8,
    },
    /// Wait until the TSM is there and every configured VM has its key.
    WaitReady {
        /// Longest wait in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u64,
    },
    /// Read and talk SPDM without the daemon: recordings, and devices.
    Spdm {
        /// What to do.
        #[command(subcommand)]
        command: Box<crate::spdm::args::Command>,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory.
    Man {
        /// The directory.
        directory: PathBuf,
    },
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; the message says what was found, what was wanted and what to do
  2  the command line cannot be read
  3  the daemon cannot be reached or gives no answer
  4  wait-ready: not ready in time
  5  spdm: nobody vouches for the device's root certificate

Examples:
  tidelock wait-ready && tidelock connect nic0
  tidelock status --json | jq '.status.devices[].steps'";
