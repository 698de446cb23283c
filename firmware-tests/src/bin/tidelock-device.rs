//! `tidelock-device`: the emulated TEE-IO network card as a process.

use clap::{Parser, Subcommand};
use firmware_tests::device::card::Card;
use firmware_tests::device::discovery::DiscoveryOnly;
use firmware_tests::device::{socket, vfio};
use firmware_tests::lie::Lie;
use firmware_tests::{identity, platform};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;

/// A model of a TEE-IO network card, for trying the whole flow without hardware.
#[derive(Parser)]
#[command(
    version,
    after_help = "Start with: tidelock-device provision /tmp/card && tidelock-device reference --identity /tmp/card"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the card's identity: a vendor root, an intermediate, a leaf and its key, and a rogue root for lies.
    Provision {
        /// Directory to make it in. An identity that is there already is kept, and is an error.
        directory: PathBuf,
    },
    /// Serve the card: three functions over vfio-user, its security manager over TCP, its platform side.
    #[command(after_help = format!("Lies:\n{}", Lie::help()))]
    Serve(Serve),
    /// Print the digests that a policy pins: the vendor root and the published measurements.
    Reference {
        /// Directory that `provision` made.
        #[arg(long, value_name = "DIR")]
        identity: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Serve {
    /// Directory that `provision` made.
    #[arg(long, value_name = "DIR")]
    identity: PathBuf,
    /// Directory for the functions' vfio-user sockets fn0, fn1 and fn2. QEMU connects once all are there.
    #[arg(long, value_name = "DIR")]
    vfio_user: PathBuf,
    /// Address to answer data objects at, in the framing of the DMTF emulators, such as 127.0.0.1:2323. With port 0
    /// the system chooses; the first line printed says which.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Platform socket, where the emulated TSM says which memory the card may touch.
    #[arg(long, value_name = "SOCK")]
    platform: PathBuf,
    /// Lie in a named way, for one function or for all. May be repeated.
    #[arg(long, value_name = "NAME[:FUNCTION]")]
    lie: Vec<Lie>,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level())
        .init();
    let done = match arguments.command {
        Command::Provision { directory } => provision(&directory),
        Command::Serve(serve) => serve.run(),
        Command::Reference { identity, json } => reference(&identity, json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidelock-device: {error}");
            ExitCode::FAILURE
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

fn provision(directory: &Path) -> Result<(), Failure> {
    identity::provision(directory)?;
    println!(
        "made the identity of {} in {}",
        identity::DEVICE_NAME,
        directory.display()
    );
    Ok(())
}

fn reference(directory: &Path, json: bool) -> Result<(), Failure> {
    let _identity = identity::load(directory)?;
    let _ = json;
    Err("the card has no measurements yet".into())
}

impl Serve {
    fn run(self) -> Result<(), Failure> {
        let _identity = identity::load(&self.identity)?;
        std::fs::create_dir_all(&self.vfio_user)?;
        let card = Arc::new(Card::new(Box::new(DiscoveryOnly), self.lie));
        let objects = TcpListener::bind(self.listen).map_err(|error| format!("{}: {error}", self.listen))?;
        let platform = listen(&self.platform)?;
        let ports = card
            .listen(&self.vfio_user)
            .map_err(|(path, error)| format!("{}: {error}", path.display()))?;
        println!("listening on {}", objects.local_addr()?);
        let (ended, first) = mpsc::channel();
        for port in ports {
            spawn(&ended, move || vfio_ended(&port));
        }
        let manager = card.manager().clone();
        spawn(&ended, move || {
            describe("the DOE socket", socket::serve(&objects, &manager))
        });
        spawn(&ended, move || {
            describe("the platform socket", platform::serve(&platform, card))
        });
        // None of them ends while all is well.
        Err(first.recv()?.into())
    }
}

/// Runs `serve` in a thread; what ended it, or that it panicked, is told to the one who waits.
fn spawn(ended: &mpsc::Sender<String>, serve: impl FnOnce() -> String + Send + 'static) {
    let ended = ended.clone();
    std::thread::spawn(move || {
        let why = std::panic::catch_unwind(std::panic::AssertUnwindSafe(serve));
        // If nobody waits any more, the process is ending.
        let _ = ended.send(why.unwrap_or_else(|_| "a thread panicked".into()));
    });
}

fn vfio_ended(port: &vfio::Port) -> String {
    format!("a vfio-user socket: {}", port.serve())
}

fn describe(what: &str, result: std::io::Result<()>) -> String {
    match result {
        Ok(()) => format!("{what} was closed"),
        Err(error) => format!("{what}: {error}"),
    }
}

/// Listens at `path`; a socket that is left there from before is replaced.
fn listen(path: &Path) -> Result<UnixListener, String> {
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        // A failure shows right below, as an address in use.
        let _ = std::fs::remove_file(path);
    }
    UnixListener::bind(path).map_err(|error| format!("{}: {error}", path.display()))
}
