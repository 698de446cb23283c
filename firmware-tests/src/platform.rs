//! The platform socket: how the emulated TSM, and a test that watches, speak to the device model's platform side.
//!
//! A unix stream socket; one JSON object a line, each way, strictly alternating. The first line says who speaks:
//! ```text
//!   → {"role":"tsm"}                         ← {"ok":true}
//!   → {"op":"share","gpa":4096,"len":8192}   ← {"ok":true}
//!   → {"op":"hold","function":1}             ← {"ok":true}
//!   → {"op":"dma","function":9,"enabled":true} ← {"ok":false,"error":"…"}
//! ```
//! There is one TSM at a time. When its connection ends, every share and every DMA enable that it made is dropped:
//! a platform without its security manager trusts nobody. Observers read counters, try an access, or make an
//! interface fail; nothing that an observer says ever allows an access.

use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes of a request line at most; the longest one takes about a hundred.
const LINE_MAX: u64 = 4096;
/// Bytes of an answer line at most, as the client reads it.
const ANSWER_MAX: u64 = 1 << 20;
/// Connections served at a time.
const CONNECTIONS_MAX: usize = 32;
/// How long the client waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The emulated security manager: tells which pages are shared and which functions may reach private memory.
    Tsm,
    /// A test or an operator who watches.
    Observer,
}

/// The first line of a connection.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Who speaks.
    pub role: Role,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// TSM: pages became shared.
    Share {
        /// Guest physical address.
        gpa: u64,
        /// Bytes.
        len: u64,
    },
    /// TSM: pages became private again. Once answered, the device no longer touches them.
    Unshare {
        /// Guest physical address.
        gpa: u64,
        /// Bytes.
        len: u64,
    },
    /// TSM: DMA of a function is to be enabled only in the lock that its interface is in now. The TSM then asks the
    /// device over its session whether that lock is its own.
    Hold {
        /// Which function.
        function: u8,
    },
    /// TSM: a function may, or may no longer, reach private memory while its interface runs.
    Dma {
        /// Which function.
        function: u8,
        /// Whether it may.
        enabled: bool,
    },
    /// TSM: where an MMIO range of a function is.
    Mmio {
        /// Which function.
        function: u8,
        /// The range's identifier in the interface report: its BAR.
        range_id: u16,
    },
    /// Anyone: what the device did and was refused.
    Counters,
    /// Observer: try one access through the gate, without moving a byte.
    DmaProbe {
        /// Which function.
        function: u8,
        /// Device address.
        iova: u64,
        /// Bytes.
        len: u64,
        /// Whether to write.
        write: bool,
    },
    /// Observer: the function's interface fails, as by a hardware fault.
    Fault {
        /// Which function.
        function: u8,
    },
}

impl Request {
    /// Whether `role` may ask this.
    fn is_for(&self, role: Role) -> bool {
        match self {
            Self::Share { .. }
            | Self::Unshare { .. }
            | Self::Hold { .. }
            | Self::Dma { .. }
            | Self::Mmio { .. } => role == Role::Tsm,
            Self::DmaProbe { .. } | Self::Fault { .. } => role == Role::Observer,
            Self::Counters => true,
        }
    }
}

/// An answer: `ok`, and what the request asked for, or the `error`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// [`Request::Mmio`]: guest physical address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// [`Request::Mmio`]: bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    /// [`Request::Counters`]: one entry a function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<Vec<FunctionCounters>>,
    /// [`Request::DmaProbe`]: whether the access would have been made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<bool>,
    /// [`Request::DmaProbe`]: why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Answer {
    /// Done, with nothing to say.
    pub fn done() -> Self {
        Self {
            ok: true,
            ..Self::default()
        }
    }
}

/// Counts of one function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCounters {
    /// Which function.
    pub function: u8,
    /// TDISP state of its interface: `unlocked`, `locked`, `run` or `error`.
    pub state: String,
    /// Whether the TSM has enabled its DMA.
    pub dma_enabled: bool,
    /// Accesses to guest memory that were made.
    pub allowed: u64,
    /// Bytes that they moved.
    pub allowed_bytes: u64,
    /// Accesses that were refused.
    pub refused: u64,
    /// The last one of them.
    pub last_refused: Option<RefusedAccess>,
    /// Frames from the guest.
    pub tx_packets: u64,
    /// Frames to the guest.
    pub rx_packets: u64,
}

/// A refused access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAccess {
    /// Device address.
    pub iova: u64,
    /// Guest physical address, if the address is mapped.
    pub gpa: Option<u64>,
    /// Bytes.
    pub len: u64,
    /// Whether memory would have changed.
    pub write: bool,
    /// Why it was refused.
    pub why: String,
}

/// What the socket speaks for.
pub trait Platform: Send + Sync + 'static {
    /// Does what was asked, by someone who may ask it.
    fn request(&self, request: &Request) -> Result<Answer, String>;
    /// The TSM's connection ended.
    fn tsm_gone(&self);
}

/// Serves `listener` until the process ends, a thread a connection.
pub fn serve(listener: &UnixListener, platform: Arc<dyn Platform>) -> io::Result<()> {
    let tsm_present = Arc::new(AtomicBool::new(false));
    let connections = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let connection = Connection {
            stream: stream?,
            platform: platform.clone(),
            tsm_present: tsm_present.clone(),
        };
        if connections.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            connections.fetch_sub(1, Ordering::AcqRel);
            continue; // dropping it says enough
        }
        let connections = connections.clone();
        std::thread::spawn(move || {
            if let Err(error) = connection.run() {
                tracing::debug!(%error, "a platform connection ended");
            }
            connections.fetch_sub(1, Ordering::AcqRel);
        });
    }
    Ok(())
}

struct Connection {
    stream: UnixStream,
    platform: Arc<dyn Platform>,
    tsm_present: Arc<AtomicBool>,
}

/// The TSM's seat; leaving it drops what the TSM said.
struct Seat<'a>(&'a Connection);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.platform.tsm_gone();
        self.0.tsm_present.store(false, Ordering::Release);
    }
}

impl Connection {
    fn run(&self) -> io::Result<()> {
        let mut lines = BufReader::new(&self.stream);
        let Some(line) = read_line(&mut lines, LINE_MAX)? else {
            return Ok(());
        };
        let role = match serde_json::from_slice::<Hello>(&line) {
            Ok(hello) => hello.role,
            Err(error) => {
                return self.answer(Err(format!(
                    "the first line must be {{\"role\":\"tsm\"}} or {{\"role\":\"observer\"}}: {error}"
                )));
            }
        };
        let mut _seat = None;
        if role == Role::Tsm {
            if self.tsm_present.swap(true, Ordering::AcqRel) {
                return self.answer(Err("another TSM is connected; there is one at a time".into()));
            }
            _seat = Some(Seat(self));
        }
        self.answer(Ok(Answer::done()))?;
        while let Some(line) = read_line(&mut lines, LINE_MAX)? {
            self.answer(self.request(role, &line))?;
        }
        Ok(())
    }

    fn request(&self, role: Role, line: &[u8]) -> Result<Answer, String> {
        let request: Request = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if !request.is_for(role) {
            return Err(format!("this is not for {role:?} to ask").to_lowercase());
        }
        self.platform.request(&request)
    }

    fn answer(&self, answer: Result<Answer, String>) -> io::Result<()> {
        let answer = answer.unwrap_or_else(|error| Answer {
            error: Some(error),
            ..Answer::default()
        });
        write_line(&self.stream, &answer)
    }
}

/// One line without its end; `None` at the end of the stream.
fn read_line(from: &mut impl BufRead, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(max).read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() as u64 + 1 == max => {
            let why = format!("a line has more than {max} bytes");
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        }
        _ => Ok(None),
    }
}

fn write_line(mut to: impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// A connection to the platform socket.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects in a role.
    pub fn connect(path: &Path, role: Role) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut client = Self {
            stream: BufReader::new(stream),
        };
        client.exchange(&Hello { role })?;
        Ok(client)
    }

    /// Asks, and waits for the answer; an answer that is not `ok` is an error with its text.
    pub fn request(&mut self, request: &Request) -> io::Result<Answer> {
        self.exchange(request)
    }

    fn exchange(&mut self, line: &impl Serialize) -> io::Result<Answer> {
        write_line(self.stream.get_ref(), line)?;
        let line = read_line(&mut self.stream, ANSWER_MAX)?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::UnexpectedEof, "the platform closed the connection")
        })?;
        let answer: Answer = serde_json::from_slice(&line)?;
        match answer.ok {
            true => Ok(answer),
            false => Err(io::Error::other(
                answer.error.unwrap_or_else(|| "refused without a reason".into()),
            )),
        }
    }

    /// [`Request::Share`].
    pub fn share(&mut self, gpa: u64, len: u64) -> io::Result<()> {
        self.request(&Request::Share { gpa, len }).map(drop)
    }

    /// [`Request::Unshare`].
    pub fn unshare(&mut self, gpa: u64, len: u64) -> io::Result<()> {
        self.request(&Request::Unshare { gpa, len }).map(drop)
    }

    /// [`Request::Hold`].
    pub fn hold(&mut self, function: u8) -> io::Result<()> {
        self.request(&Request::Hold { function }).map(drop)
    }

    /// [`Request::Dma`].
    pub fn dma(&mut self, function: u8, enabled: bool) -> io::Result<()> {
        self.request(&Request::Dma { function, enabled }).map(drop)
    }

    /// [`Request::Mmio`]: the range's guest physical address and bytes.
    pub fn mmio(&mut self, function: u8, range_id: u16) -> io::Result<(u64, u64)> {
        let answer = self.request(&Request::Mmio { function, range_id })?;
        answer
            .base
            .zip(answer.len)
            .ok_or_else(|| incomplete("base and len"))
    }

    /// [`Request::Counters`].
    pub fn counters(&mut self) -> io::Result<Vec<FunctionCounters>> {
        let answer = self.request(&Request::Counters)?;
        answer.functions.ok_or_else(|| incomplete("functions"))
    }

    /// [`Request::DmaProbe`]: `Ok(Err(why))` if the access was refused.
    pub fn dma_probe(
        &mut self,
        function: u8,
        iova: u64,
        len: u64,
        write: bool,
    ) -> io::Result<Result<(), String>> {
        let answer = self.request(&Request::DmaProbe {
            function,
            iova,
            len,
            write,
        })?;
        match answer.allowed.ok_or_else(|| incomplete("allowed"))? {
            true => Ok(Ok(())),
            false => Ok(Err(answer.why.unwrap_or_default())),
        }
    }

    /// [`Request::Fault`].
    pub fn fault(&mut self, function: u8) -> io::Result<()> {
        self.request(&Request::Fault { function }).map(drop)
    }
}

fn incomplete(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the platform's answer has no {what}"),
    )
}
