//! What the command line may say of SPDM.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Read and talk SPDM: recordings, and devices.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a recorded conversation field by field, and check everything in it that can be recomputed.
    ///
    /// FILE is a pcap or pcapng file of link type 292 (PCI DOE) or 291 (MCTP). Signatures are checked with the keys of
    /// the certificate chains in the recording. With the sessions' secrets, transcripts, keys, verify data and records
    /// are recomputed too, and records are shown decrypted. The last line says how much was checked, and what could not
    /// be; the first message at which something disagrees is the error.
    #[command(after_help = DECODE)]
    Decode(Decode),
}

/// `decode`.
#[derive(Debug, Args)]
pub struct Decode {
    /// The recording.
    #[arg(value_name = "FILE.pcap")]
    pub(super) file: PathBuf,
    /// Secrets of its sessions, as JSON; see docs/debugging-spdm.md for the keys.
    #[arg(long, value_name = "FILE.json")]
    pub(super) secrets: Option<PathBuf>,
    /// Print each message's bytes, too.
    #[arg(long)]
    pub(super) hex: bool,
    /// Print one line a message instead of all fields.
    #[arg(long, short)]
    pub(super) brief: bool,
    /// Print nothing but the last line, and the first disagreement.
    #[arg(long, short, conflicts_with_all = ["hex", "brief"])]
    pub(super) quiet: bool,
}

const DECODE: &str = "\
Exit codes:
  0  everything that could be checked agrees
  1  something disagrees, or a file cannot be read; the message says which, what was found and what was wanted
  2  the command line cannot be read

Examples:
  tidelock spdm decode trace.pcap
  tidelock spdm decode trace.pcap --secrets trace.json --brief
  tidelock spdm decode trace.pcap --json | jq 'select(.name == \"MEASUREMENTS\")'";
