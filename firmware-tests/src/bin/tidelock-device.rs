//! `tidelock-device`: the emulated TEE-IO network card as a process.

use clap::{Parser, Subcommand};
use firmware_tests::device::card::Card;
use firmware_tests::device::dsm::Dsm;
use firmware_tests::device::manager::SecurityManager;
use firmware_tests::device::{FUNCTIONS, measured, socket};
use firmware_tests::lie::Lie;
use firmware_tests::{identity, platform};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::Permissions;
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;

/// A model of a TEE-IO network card, for trying the whole flow without hardware.
#[derive(Parser)]
#[command(
    version,
    after_help = "Start with: tidelock-device provision /tmp/card && tidelock-device reference --identity /tmp/card\n\n\
        Exit codes:\n  0  done; serve: ended by a signal\n  1  failed; the message says what was found and what to do\n  \
        2  the command line cannot be read"
)]
struct Arguments {
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
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(arguments.log)
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
    let root = identity::load(directory)?.vendor.root_digest().to_string();
    let measured = measured::reference();
    if json {
        let values = measured
            .iter()
            .map(|measured| (measured.index.to_string(), measured.value.to_string()));
        let values: serde_json::Map<_, _> = values.map(|(index, value)| (index, value.into())).collect();
        println!(
            "{}",
            serde_json::json!({ "root_sha384": root, "measurements": values })
        );
        return Ok(());
    }
    println!("root certificate, SHA-384\n  {root}\n\nmeasurements, SHA-384");
    for measured in measured {
        println!("  {:>3}  {}  {}", measured.index, measured.value, measured.name);
    }
    Ok(())
}

/// Why the process ends.
enum End {
    /// It was asked to.
    Asked,
    /// Something that should not end did.
    Failed(String),
}

impl Serve {
    fn run(self) -> Result<(), Failure> {
        let identity = identity::load(&self.identity)?;
        std::fs::create_dir_all(&self.vfio_user)?;
        for lie in &self.lie {
            tracing::warn!(%lie, "this card lies");
        }
        let dsm = |configs| Dsm::new(&identity, configs, self.lie.clone());
        let dsm = |configs| dsm(configs).map(|dsm| Box::new(dsm) as Box<dyn SecurityManager>);
        let card = Arc::new(Card::new(dsm, self.lie.clone())?);
        let objects = TcpListener::bind(self.listen).map_err(|error| format!("{}: {error}", self.listen))?;
        let platform = listen(&self.platform)?;
        let ports = card
            .listen(&self.vfio_user)
            .map_err(|(path, error)| format!("{}: {error}", path.display()))?;
        println!("listening on {}", objects.local_addr()?);
        let (ended, first) = mpsc::channel();
        for port in ports {
            spawn(&ended, move || {
                End::Failed(format!("a vfio-user socket: {}", port.serve()))
            });
        }
        let manager = card.manager().clone();
        spawn(&ended, move || {
            failed("the DOE socket", socket::serve(&objects, &manager))
        });
        spawn(&ended, move || {
            failed("the platform socket", platform::serve(&platform, card))
        });
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        spawn(&ended, move || match signals.forever().next() {
            Some(_) => End::Asked,
            None => End::Failed("signals no longer arrive".into()),
        });
        let end = first.recv()?;
        self.remove_sockets();
        match end {
            End::Asked => Ok(()),
            End::Failed(why) => Err(why.into()),
        }
    }

    /// Sockets without a server would make the next one's users wait.
    fn remove_sockets(&self) {
        let functions = (0..FUNCTIONS).map(|function| self.vfio_user.join(format!("fn{function}")));
        for path in functions.chain([self.platform.clone()]) {
            // Whoever removed it first has done the same.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Runs `serve` in a thread; what ended it, or that it panicked, is told to the one who waits.
fn spawn(ended: &mpsc::Sender<End>, serve: impl FnOnce() -> End + Send + 'static) {
    let ended = ended.clone();
    std::thread::spawn(move || {
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(serve));
        // If nobody waits any more, the process is ending.
        let _ = ended.send(end.unwrap_or_else(|_| End::Failed("a thread panicked".into())));
    });
}

fn failed(what: &str, result: std::io::Result<()>) -> End {
    End::Failed(match result {
        Ok(()) => format!("{what} was closed"),
        Err(error) => format!("{what}: {error}"),
    })
}

/// Listens at `path`; a socket that is left there from before is replaced.
fn listen(path: &Path) -> Result<UnixListener, String> {
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        // A failure shows right below, as an address in use.
        let _ = std::fs::remove_file(path);
    }
    let listener = UnixListener::bind(path).and_then(|listener| {
        // Who may connect may say that he is the TSM.
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map(|()| listener)
    });
    listener.map_err(|error| format!("{}: {error}", path.display()))
}
