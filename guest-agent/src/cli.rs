//! The command line of `tidelock-agent`.

use crate::{config, status};
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Decides, inside a confidential VM, which devices are trusted
#[derive(Debug, Parser)]
#[command(name = "tidelock-agent", version, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub struct Arguments {
    /// The policy
    #[arg(long, global = true, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// Where the report, the isolation record and the socket are
    #[arg(long, global = true, value_name = "DIR", default_value = status::DEFAULT_DIRECTORY)]
    pub state_dir: PathBuf,
    /// The socket of the running agent [default: agent.sock in the state directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub status_socket: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep every function from getting a driver; at boot, before any driver is loaded
    Isolate,
    /// Bind the machine's own functions, and put devices into what they may do before their verdict
    Untrusted,
    /// Verify, appraise and accept the devices of the policy, then watch them until told to end
    Run {
        /// Write a line to this file descriptor when every device has its verdict
        #[arg(long, value_name = "N")]
        ready_fd: Option<u32>,
    },
    /// Show the verdicts
    Status {
        /// Wait until every device has one
        #[arg(long)]
        wait: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Take a device's trust away
    Revoke {
        /// Its address, such as 0000:01:00.1
        bdf: String,
    },
    /// Read a policy and say what is wrong with it
    CheckPolicy {
        /// The policy
        file: PathBuf,
    },
    /// Print a completion script
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man {
        /// Into this directory
        dir: PathBuf,
    },
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As it should.
    Ok = 0,
    /// A device that the guest needs is refused or missing, or its trust is gone.
    Refused = 1,
    /// The configuration or the command line is wrong.
    Config = 2,
    /// The host or the TSM cannot be reached.
    Channel = 3,
    /// The guest's kernel or file system is not as it must be.
    Platform = 4,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  as it should be; for `status`: every required device is accepted
  1  a required device is refused, missing or pending
  2  the configuration or the command line is wrong
  3  the host or the TSM cannot be reached
  4  the kernel or the image is not as it must be (the message says how)";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        super::Arguments::command().debug_assert();
    }
}
