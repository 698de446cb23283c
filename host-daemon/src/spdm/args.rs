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
    /// Ask a device who it is: versions, capabilities, algorithms, slots, certificates, and a proof of its key.
    ///
    /// What it says is checked by two programs: the requester that asks, and then `decode`'s reading of what was said.
    #[command(after_help = DEVICE)]
    Identify(Identify),
    /// Fetch a device's certificate chains, print them, and write them into files.
    #[command(after_help = DEVICE)]
    Certs(Certs),
    /// Fetch a device's measurements, signed where it can.
    #[command(after_help = DEVICE)]
    Measure(Measure),
}

/// `identify`.
#[derive(Debug, Args)]
pub struct Identify {
    #[command(flatten)]
    pub(super) device: Device,
    /// The slot whose chain and key are asked for, or `all` that hold a chain.
    #[arg(long, value_name = "N|all", default_value = "0", help_heading = TALK)]
    pub(super) slot: Slots,
}

/// `certs`.
#[derive(Debug, Args)]
pub struct Certs {
    #[command(flatten)]
    pub(super) device: Device,
    /// The slot whose chain is fetched, or `all` that hold one. With --session the others are fetched in the session.
    #[arg(long, value_name = "N|all", default_value = "0", help_heading = TALK)]
    pub(super) slot: Slots,
    /// Write slotN.chain, the chain object, and slotN-M.der and slotN-M.pem, its certificates, into this directory.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

/// `measure`.
#[derive(Debug, Args)]
pub struct Measure {
    #[command(flatten)]
    pub(super) device: Device,
    /// The slot whose key signs.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=7), help_heading = TALK)]
    pub(super) slot: u8,
    /// One measurement, 1 to 254, instead of all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=254))]
    pub(super) index: Option<u8>,
    /// Raw bit streams instead of digests, where the device has them (1.2).
    #[arg(long)]
    pub(super) raw: bool,
    /// As things are now instead of as they were at reset (1.3).
    #[arg(long)]
    pub(super) fresh: bool,
}

/// Which device.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Way {
    /// Talk to a responder behind a TCP socket, in the framing of the DMTF emulators.
    #[arg(long, value_name = "ADDR", help_heading = WHICH)]
    pub(super) connect: Option<String>,
    /// Talk to a function's DOE mailbox in config space. Needs root, and nobody else may use the mailbox.
    #[arg(long, value_name = "BDF", help_heading = WHICH)]
    pub(super) doe: Option<sriov::Bdf>,
    /// Take a recorded conversation instead of having one.
    #[arg(long, value_name = "FILE.pcap", help_heading = WHICH)]
    pub(super) replay: Option<PathBuf>,
}

/// Which device, and how to talk to it.
#[derive(Debug, Args)]
pub struct Device {
    #[command(flatten)]
    pub(super) way: Way,
    /// Secrets of the recording's sessions, as JSON: what was said in them is heard too. May be repeated.
    #[arg(long, value_name = "FILE.json", requires = "replay", help_heading = WHICH)]
    pub(super) secrets: Vec<PathBuf>,
    /// What carries messages on the socket.
    #[arg(long, value_enum, default_value_t = Carrier::Doe, conflicts_with_all = ["doe", "replay"], help_heading = TALK)]
    pub(super) transport: Carrier,
    /// Versions to accept; the highest that the device has too is spoken.
    #[arg(long, value_name = "1.x", value_delimiter = ',', value_parser = version, default_value = "1.0,1.1,1.2,1.3,1.4", help_heading = TALK)]
    pub(super) spdm: Vec<tdisp::spdm::msg::Version>,
    /// Algorithms to offer, by preference: a suite such as ecdsa-p384-sha384, or single ones. Of a kind that is not
    /// named, all that there are.
    #[arg(long, value_name = "SUITE", value_delimiter = ',', long_help = super::device::suite::help(), help_heading = TALK)]
    pub(super) suite: Vec<super::device::suite::Suite>,
    /// A root certificate that may vouch for the device, in DER or PEM. May be repeated. Without one, nobody vouches.
    #[arg(long, value_name = "FILE")]
    pub(super) root: Vec<PathBuf>,
    /// Longest wait for one answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = TALK)]
    pub(super) timeout: u64,
    /// How often a request is said again to a device that is busy or not ready.
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = TALK)]
    pub(super) retries: u8,
    /// Write what was said as a pcap file, which `decode` reads; also when it ends badly.
    #[arg(long, value_name = "FILE.pcap", conflicts_with = "replay", help_heading = KEEP)]
    pub(super) save: Option<PathBuf>,
    /// Open a session, and ask for measurements in it.
    #[arg(long, conflicts_with = "replay", help_heading = SESSION)]
    pub(super) session: bool,
    /// A file with the pre-shared key that the session is opened on: its bytes, or as hexadecimal.
    #[arg(long, value_name = "FILE", requires = "session", help_heading = SESSION)]
    pub(super) psk: Option<PathBuf>,
    /// Tells the device which pre-shared key it is: text, or bytes as 0xHEX.
    #[arg(long, value_name = "HINT", requires = "psk", default_value = "", help_heading = SESSION)]
    pub(super) psk_hint: Hint,
    /// Authenticate this side, if the device asks for it: a PEM file with the certificates, root first, and the private
    /// key in PKCS#8.
    #[arg(long, value_name = "FILE.pem", conflicts_with = "replay", help_heading = SESSION)]
    pub(super) identity: Option<PathBuf>,
    /// Write the session's secrets, which `decode --secrets` reads. Whoever has them can read the recording.
    #[arg(long, value_name = "FILE.json", requires = "session", help_heading = KEEP)]
    pub(super) save_secrets: Option<PathBuf>,
    /// Root of sysfs.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/sys",
        requires = "doe",
        hide = true
    )]
    pub(super) sysfs: PathBuf,
    /// Directory of lock files of mailboxes; tidelockd's is `locks` in its state_dir.
    #[arg(long, value_name = "DIR", default_value = "/run/lock", requires = "doe", help_heading = TALK)]
    pub(super) locks: PathBuf,
}

const WHICH: &str = "Which device";
const TALK: &str = "How to talk to it";
const SESSION: &str = "Sessions";
const KEEP: &str = "What to keep";

/// What carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Carrier {
    /// PCI data objects.
    Doe,
    /// MCTP messages.
    Mctp,
}

/// Which slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slots {
    /// This one, 0 to 7.
    One(u8),
    /// All that hold a chain.
    All,
}

impl std::str::FromStr for Slots {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(slot @ 0..=7) => Ok(Self::One(slot)),
            Err(_) if text == "all" => Ok(Self::All),
            _ => Err("wanted a slot, 0 to 7, or `all`"),
        }
    }
}

/// Bytes that tell pre-shared keys apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint(pub Vec<u8>);

impl std::str::FromStr for Hint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(digits) = text.strip_prefix("0x") else {
            return Ok(Self(text.into()));
        };
        let bytes = super::unhex(digits.as_bytes());
        bytes
            .map(Self)
            .ok_or("wanted two hexadecimal digits a byte behind 0x")
    }
}

fn version(text: &str) -> Result<tdisp::spdm::msg::Version, String> {
    let known = tdisp::spdm::VERSIONS
        .iter()
        .find(|known| super::names::version(**known) == text);
    known
        .copied()
        .ok_or_else(|| format!("`{text}` is no version here; wanted 1.0, 1.1, 1.2, 1.3 or 1.4"))
}

/// `decode`.
#[derive(Debug, Args)]
pub struct Decode {
    /// The recording, or `-` for standard input.
    #[arg(value_name = "FILE.pcap")]
    pub(super) file: PathBuf,
    /// Secrets of its sessions, as JSON; see docs/debugging-spdm.md for the keys. May be repeated.
    #[arg(long, value_name = "FILE.json")]
    pub(super) secrets: Vec<PathBuf>,
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
  1  something disagrees, or a file is cut off or cannot be read; the message says which, what was found and what was
     wanted
  2  the command line cannot be read

Examples:
  tidelock spdm decode trace.pcap
  tidelock spdm decode trace.pcap --secrets trace.json --brief
  xz -dc trace.pcap.xz | tidelock spdm decode -
  tidelock spdm decode trace.pcap --json | jq 'select(.name == \"MEASUREMENTS\")'";

const DEVICE: &str = "\
Exit codes:
  0  done, and a given root vouches for the device
  1  the device refuses, or something disagrees, or the chain does not lead to a given root
  2  the command line cannot be read
  3  the device cannot be reached, or gives no answer
  5  done, but nobody vouches for the root: give one with --root

Examples:
  tidelock spdm identify --connect 127.0.0.1:2323 --root vendor-root.pem
  tidelock spdm measure --doe 0000:01:00.0 --root vendor-root.der --json
  tidelock spdm certs --connect 127.0.0.1:2323 --transport mctp --spdm 1.2 --out chain
  tidelock spdm certs --connect 127.0.0.1:2323 --slot all --root vendor-root.pem --root owner-root.pem
  tidelock spdm identify --connect 127.0.0.1:2323 --save trace.pcap; tidelock spdm decode trace.pcap
  tidelock spdm measure --connect 127.0.0.1:2323 --session --save t.pcap --save-secrets t.json
  tidelock spdm measure --replay t.pcap --secrets t.json --root vendor-root.pem";
