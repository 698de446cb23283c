//! The shell around the core: sockets, key files, the clock. It decides nothing.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tdisp::{
    clock,
    relay::host::{Answer, Command, Decoder},
    spdm::algorithms::Offer,
};

use super::{
    core::{Core, Output},
    keys::Keys,
    platform::{Effect, Effected},
};
use crate::{
    CRYPTOGRAPHY,
    platform::{Client, Role},
};

/// Where the TSM's sockets and files are.
#[derive(Debug, Clone)]
pub struct Options {
    /// The unix socket to listen on for the host.
    pub host: PathBuf,
    /// The device's platform socket.
    pub platform: PathBuf,
    /// The directory for the VMs' keys.
    pub keys: PathBuf,
    /// Whether devices get IDE keys.
    pub ide: bool,
    /// The algorithms that devices are offered.
    pub offer: Offer,
}

/// Why the TSM ended, or never began.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {source}; {cure}", path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
    cure: &'static str,
}

/// How often a wait looks whether the process should end.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait for the host to take an answer.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// Serves one host after the other until `stop` is set. Ends with every key deleted; the platform drops what was shared
/// and enabled when its connection closes.
pub fn serve(options: &Options, stop: &AtomicBool) -> Result<(), Error> {
    let failed = |what, path: &Path, cure| {
        let path = path.to_owned();
        move |source| Error {
            what,
            path,
            source,
            cure,
        }
    };
    let keys = Keys::open(&options.keys).map_err(failed(
        "the directory of keys cannot be used:",
        &options.keys,
        "make it, writable",
    ))?;
    let mut platform = Platform {
        path: options.platform.clone(),
        client: None,
    };
    platform.client().map_err(failed(
        "no platform at",
        &options.platform,
        "start tidelock-device first",
    ))?;
    let listener = listen(&options.host).map_err(failed(
        "cannot listen at",
        &options.host,
        "see that the directory is there and no other TSM runs",
    ))?;
    let _file = SocketFile(options.host.clone());
    let mut shell = Shell {
        core: Core::new(Arc::new(CRYPTOGRAPHY), options.ide).with_offer(options.offer.clone()),
        keys,
        platform,
        start: Instant::now(),
        stop,
    };
    tracing::info!(
        "the emulated TSM is up: its platform, its memory protection and its IDE link are emulated"
    );
    shell
        .accept(&listener)
        .map_err(failed("the host's socket failed:", &options.host, "start anew"))
}

struct Shell<'a> {
    core: Core,
    keys: Keys,
    platform: Platform,
    start: Instant,
    stop: &'a AtomicBool,
}

impl Shell<'_> {
    fn accept(&mut self, listener: &UnixListener) -> io::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    self.core.host_arrived();
                    let ended = self.converse(&stream);
                    tracing::info!(
                        reason = ended.err().map(|error| error.to_string()),
                        "the host is gone"
                    );
                    self.core.host_lost(self.now());
                    self.drain(None)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LOOK / 10),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Bytes in, commands to the core, its outputs done, for as long as this host is there.
    fn converse(&mut self, mut stream: &UnixStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(WRITE_MAX))?;
        let mut decoder = Decoder::<Command>::default();
        let mut piece = vec![0; 64 * 1024];
        while !self.stop.load(Ordering::Relaxed) {
            while let Some(command) = decoder.next().map_err(io::Error::other)? {
                if self.platform.is_lost() {
                    self.core.platform_lost();
                }
                self.core.handle(self.now(), command);
                self.drain(Some(stream))?;
            }
            stream.set_read_timeout(Some(self.wait()))?;
            match stream.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => decoder.push(&piece[..read]),
                Err(error) if is_timeout(&error) => {
                    self.core.handle_timeout(self.now());
                    self.drain(Some(stream))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Until the core wants the clock, or it is time to look at `stop`.
    fn wait(&self) -> Duration {
        let due = self.core.poll_timeout().map_or(LOOK, |at| at.since(self.now()));
        due.clamp(Duration::from_millis(1), LOOK)
    }

    /// Does what the core wants done, in order.
    fn drain(&mut self, mut host: Option<&UnixStream>) -> io::Result<()> {
        let mut result = Ok(());
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Answer(answer) => {
                    if let Some(stream) = host
                        && let Err(error) = send(stream, &answer)
                    {
                        // The effects are still to be done; the host is not there to hear of them.
                        (result, host) = (Err(error), None);
                    }
                }
                Output::Effect(effect) => {
                    let done = self.platform.perform(effect);
                    if self.platform.client.is_none() {
                        self.core.platform_lost();
                    }
                    self.core.effected(self.now(), done);
                }
                Output::StoreKey { vm, key } => {
                    let stored = self.keys.store(vm, &key);
                    self.core.stored(
                        self.now(),
                        stored.map_err(|error| format!("the key's file: {error}")),
                    );
                }
                Output::DeleteKey { vm } => {
                    let deleted = self.keys.delete(vm);
                    self.core.stored(
                        self.now(),
                        deleted.map_err(|error| format!("the key's file: {error}")),
                    );
                }
                Output::Log(line) => tracing::info!("{line}"),
            }
        }
        result
    }

    fn now(&self) -> clock::Instant {
        clock::Instant::at(self.start.elapsed())
    }
}

/// The connection to the device model's platform side; made anew when it is lost.
#[derive(Debug)]
struct Platform {
    path: PathBuf,
    client: Option<Client>,
}

impl Platform {
    fn client(&mut self) -> io::Result<&mut Client> {
        if self.client.is_none() {
            self.client = Some(Client::connect(&self.path, Role::Tsm)?);
        }
        self.client
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Whether a connection that was there is gone; it is made anew when it is needed.
    fn is_lost(&mut self) -> bool {
        self.client.take_if(|client| client.counters().is_err()).is_some()
    }

    fn perform(&mut self, effect: Effect) -> Result<Effected, String> {
        let client = self
            .client()
            .map_err(|error| format!("the platform cannot be reached: {error}"))?;
        let done = match effect {
            Effect::Share { gpa, len } => client.share(gpa, len).map(|()| Effected::Done),
            Effect::Unshare { gpa, len } => client.unshare(gpa, len).map(|()| Effected::Done),
            Effect::Hold { function } => client.hold(function).map(|()| Effected::Done),
            Effect::Dma { function, enabled } => client.dma(function, enabled).map(|()| Effected::Done),
            Effect::Mmio { function, range_id } => client
                .mmio(function, range_id)
                .map(|(base, len)| Effected::Mmio { base, len }),
        };
        done.map_err(|error| {
            // A refusal is an answer; anything else leaves it open what the next line would answer.
            if error.kind() != io::ErrorKind::Other {
                self.client = None;
            }
            format!("the platform refused: {error}")
        })
    }
}

fn send(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut frame = Vec::new();
    answer.encode(&mut frame);
    stream.write_all(&frame)
}

/// A dead TSM's socket is replaced; a living one's is not.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Removes the socket's file when dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
