//! The emulated TSM as a process; see `tidelock-tsm --help`.

use std::{
    io::IsTerminal,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use clap::{Parser, Subcommand};
use firmware_tests::{device::responder::suite::Suite, tsm};
use tdisp::spdm::algorithms::Offer;

/// The emulated platform security manager: holds the SPDM sessions and says which device may reach what.
///
/// A real TSM is firmware that guests trust because the processor vouches for it. This one stands in its place in tests
/// and demonstrations: the protocols are real, the platform around them is not. It protects nothing.
#[derive(Parser)]
#[command(name = "tidelock-tsm", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// How much is logged to standard error: error, warn, info, debug or trace.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "TIDELOCK_LOG",
        default_value = "info",
        global = true
    )]
    log: tracing::Level,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the host until SIGTERM or SIGINT.
    ///
    /// The host (tidelockd) sends commands; the TSM answers with DOE objects to carry to the device, evidence to keep,
    /// and the end of each command. Guests speak to it through the host in a channel that the host cannot read: its key
    /// is made when the host creates the VM, and lies in DIR/vm-ID.key, for the harness to hand to the guest.
    #[command(after_help = EXIT_CODES)]
    Serve {
        /// Unix socket to listen on for the host.
        #[arg(long, value_name = "SOCK")]
        host: PathBuf,
        /// The device model's platform socket (tidelock-device serve --platform): DMA gate, shared memory, MMIO.
        #[arg(long, value_name = "SOCK")]
        platform: PathBuf,
        /// Directory for the VMs' keys; keys that an earlier TSM left there are removed.
        #[arg(long, value_name = "DIR")]
        keys: PathBuf,
        /// Program no IDE keys: for devices that do not know IDE_KM, whose silence would end the session.
        #[arg(long)]
        without_ide: bool,
        /// Algorithms to offer devices, by preference: a suite such as ml-dsa-65-sha384-ml-kem-768, or single ones. Of a
        /// kind that none names, P-384, SHA-384 and AES-256-GCM.
        #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
        suite: Vec<Suite>,
    },
}

const EXIT_CODES: &str = "\
Exit codes:
  0  ended by a signal; every key is deleted, and the platform drops what was shared and enabled
  1  failed; the message says what was found and what to do
  2  the command line cannot be read

Emulated: the platform, its memory protection (the device model's DMA gate stands for it) and the IDE link (keys are
programmed into the device and kept in a table; nothing is encrypted with them).";

fn main() -> ExitCode {
    let args = Args::parse();
    let Command::Serve {
        host,
        platform,
        keys,
        without_ide,
        suite,
    } = args.command;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(args.log)
        .with_target(false)
        .init();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            tracing::error!("signals cannot be caught: {error}");
            return ExitCode::FAILURE;
        }
    }
    match tsm::serve(
        &tsm::Options {
            host,
            platform,
            keys,
            ide: !without_ide,
            offer: Suite::offer(&suite, Offer::default()),
        },
        &stop,
    ) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
