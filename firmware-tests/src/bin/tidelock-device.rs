//! `tidelock-device`: the emulated TEE-IO network card as a process.

use clap::{Parser, Subcommand};
use firmware_tests::device::card::Card;
use firmware_tests::device::dsm::{Dsm, TRANSFER_SIZE};
use firmware_tests::device::manager::SecurityManager;
use firmware_tests::device::report::Interfaces;
use firmware_tests::device::responder::ability;
use firmware_tests::device::responder::options::Protocol;
use firmware_tests::device::responder::standalone::Standalone;
use firmware_tests::device::responder::suite::Suite;
use firmware_tests::device::{FUNCTIONS, measured, socket};
use firmware_tests::lie::Lie;
use firmware_tests::{identity, platform};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::Permissions;
use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use tdisp::spdm::Transport;

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
        /// What its keys are: ecdsa-p384, ecdsa-p256, ml-dsa-44, ml-dsa-65 or ml-dsa-87.
        #[arg(long, value_name = "NAME", default_value = "ecdsa-p384")]
        suite: Suite,
    },
    /// Serve the card: its security manager over TCP, and for a VMM its functions and its platform side.
    ///
    /// With --listen alone it is a responder for other people's requesters and validators: SPDM, IDE_KM and TDISP in the
    /// framing of the DMTF emulators, connection after connection, each with a card as after power-on.
    #[command(after_help = format!(
        "{EXAMPLES}\nCapabilities (+ adds, - takes away):\n{}\nLies:\n{}",
        ability::help(),
        Lie::help()
    ))]
    Serve(Box<Serve>),
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

/// How others are pointed at the card.
const EXAMPLES: &str = "\
Examples:
  A responder at the port that the DMTF's tools connect to, and its root certificate for them:
    tidelock-device provision /tmp/card
    tidelock-device serve --identity /tmp/card --listen 127.0.0.1:2323
    spdm_requester_emu --trans PCI_DOE --ver 1.2 --hash SHA_384 --asym ECDSA_P384
  The same over MCTP, in 1.1 only, with other algorithms, a heartbeat and GET_CSR:
    tidelock-device serve --listen 127.0.0.1:2323 --transport mctp --spdm 1.1 \\
      --suite ecdsa-p256-sha256-secp256r1-aes128gcm --heartbeat 60 --capabilities +csr
  Every version, for SPDM-Responder-Validator or TEE-IO-Validator:
    tidelock-device serve --listen 127.0.0.1:2323 --spdm 1.0,1.1,1.2,1.3,1.4 --heartbeat 240
  Sessions on the emulators' pre-shared key, and by mutual authentication with their sample requester:
    tidelock-device serve --listen 127.0.0.1:2323 --psk spdm-emu \\
      --mutual-auth basic,encap --requester-root ecp384/ca.cert.der
  The page docs/responder-for-validators.md has more.
";

#[derive(clap::Args)]
struct Serve {
    /// Directory that `provision` made. Without it the card has an identity that nobody has seen before, whose root
    /// certificate is in a file that the second line printed names.
    #[arg(long, visible_alias = "keys", value_name = "DIR")]
    identity: Option<PathBuf>,
    /// Directory for the functions' vfio-user sockets fn0, fn1 and fn2. QEMU connects once all are there.
    #[arg(long, value_name = "DIR", requires = "platform", requires = "identity")]
    vfio_user: Option<PathBuf>,
    /// Address to answer messages at, in the framing of the DMTF emulators, such as 127.0.0.1:2323. With port 0
    /// the system chooses; the first line printed says which.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Platform socket, where the emulated TSM says which memory the card may touch.
    #[arg(long, value_name = "SOCK", requires = "vfio_user")]
    platform: Option<PathBuf>,
    /// Lie in a named way, for one function or for all. May be repeated.
    #[arg(long, value_name = "NAME[:FUNCTION]")]
    lie: Vec<Lie>,
    #[command(flatten)]
    protocol: Protocol,
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
        Command::Provision { directory, suite } => provision(&directory, suite),
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

fn provision(directory: &Path, suite: Suite) -> Result<(), Failure> {
    let protocol = Protocol {
        suite: vec![suite],
        ..Protocol::default()
    };
    identity::provision_with(directory, protocol.sign()?)?;
    say(&format!(
        "made the identity of {} in {}\n",
        identity::DEVICE_NAME,
        directory.display()
    ))
}

fn reference(directory: &Path, json: bool) -> Result<(), Failure> {
    let root = identity::load(directory)?.vendor.root_digest().to_string();
    let measured = measured::reference();
    if json {
        let values = measured
            .iter()
            .map(|measured| (measured.index.to_string(), measured.value.to_string()));
        let values: serde_json::Map<_, _> = values.map(|(index, value)| (index, value.into())).collect();
        let values = serde_json::json!({ "root_sha384": root, "measurements": values });
        return say(&format!("{values}\n"));
    }
    let mut text = format!("root certificate, SHA-384\n  {root}\n\nmeasurements, SHA-384\n");
    for measured in measured {
        let line = format!("  {:>3}  {}  {}\n", measured.index, measured.value, measured.name);
        text.push_str(&line);
    }
    say(&text)
}

/// Prints. Whoever reads may have seen enough, and that is no failure.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("writing failed: {error}").into())
        }
        _ => Ok(()),
    }
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
        for lie in &self.lie {
            tracing::warn!(%lie, "this card lies");
        }
        match (&self.identity, &self.vfio_user, &self.platform) {
            (Some(identity), Some(vfio_user), Some(platform)) => self.whole(identity, vfio_user, platform),
            _ => self.alone(),
        }
    }

    fn bind(&self) -> Result<TcpListener, Failure> {
        let bound = TcpListener::bind(self.listen);
        Ok(bound.map_err(|error| format!("{}: {error}", self.listen))?)
    }

    /// The security manager alone.
    fn alone(&self) -> Result<(), Failure> {
        let (identity, made) = match &self.identity {
            Some(directory) => (identity::load(directory)?, None),
            None => {
                let made = tempfile::Builder::new().prefix("tidelock-device-").tempdir()?;
                let identity = identity::provision_with(made.path(), self.protocol.sign()?)?;
                (identity, Some(made))
            }
        };
        let card = Standalone::new(identity, self.protocol.clone(), self.lie.clone())?;
        let listener = self.bind()?;
        say(&format!("listening on {}\n", listener.local_addr()?))?;
        if let Some(made) = &made {
            let root = made.path().join("root.der");
            say(&format!("root certificate {}\n", root.display()))?;
        }
        let (ended, first) = mpsc::channel();
        spawn(&ended, move || failed("the socket", card.serve(&listener)));
        until_asked(&ended, &first)
    }

    /// The card with its functions and its platform.
    fn whole(&self, identity: &Path, vfio_user: &Path, platform: &Path) -> Result<(), Failure> {
        if self.protocol.transport != Transport::Doe {
            return Err(
                "--transport mctp is for a card without --vfio-user: functions have a DOE mailbox".into(),
            );
        }
        if self.protocol.tdi != Interfaces::default() {
            return Err(
                "--tdi is for a card without --vfio-user: functions have the requester IDs of their place on the bus"
                    .into(),
            );
        }
        let identity = identity::load(identity)?;
        std::fs::create_dir_all(vfio_user)?;
        let dsm = |configs| Dsm::with(&identity, configs, self.lie.clone(), &self.on_the_bus());
        let dsm = |configs| dsm(configs).map(|dsm| Box::new(dsm) as Box<dyn SecurityManager>);
        let card = Arc::new(Card::new(dsm, self.lie.clone())?);
        let objects = self.bind()?;
        let listener = listen(platform)?;
        let ports = card
            .listen(vfio_user)
            .map_err(|(path, error)| format!("{}: {error}", path.display()))?;
        say(&format!("listening on {}\n", objects.local_addr()?))?;
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
            failed("the platform socket", platform::serve(&listener, card))
        });
        let end = until_asked(&ended, &first);
        remove_sockets(vfio_user, platform);
        end
    }

    /// A mailbox is small: a certificate chain takes several answers.
    fn on_the_bus(&self) -> Protocol {
        let transfer_size = self.protocol.transfer_size.unwrap_or(TRANSFER_SIZE);
        Protocol {
            transfer_size: Some(transfer_size),
            ..self.protocol.clone()
        }
    }
}

/// Waits for a signal, or for what should not end.
fn until_asked(ended: &mpsc::Sender<End>, first: &mpsc::Receiver<End>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    spawn(ended, move || match signals.forever().next() {
        Some(_) => End::Asked,
        None => End::Failed("signals no longer arrive".into()),
    });
    match first.recv()? {
        End::Asked => Ok(()),
        End::Failed(why) => Err(why.into()),
    }
}

/// Sockets without a server would make the next one's users wait.
fn remove_sockets(vfio_user: &Path, platform: &Path) {
    let functions = (0..FUNCTIONS).map(|function| vfio_user.join(format!("fn{function}")));
    for path in functions.chain([platform.to_owned()]) {
        // Whoever removed it first has done the same.
        let _ = std::fs::remove_file(path);
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
