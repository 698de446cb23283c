//! Data objects over TCP, in the framing of the DMTF emulators, for requesters that have no PCI bus.
//!
//! Each frame, both ways: command, transport and size, big-endian, then `size` bytes. A request that is ignored has
//! no answering frame. One connection after the other: a device has one mailbox, and its requesters take turns.

use super::manager::Manager;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use tdisp::wire::{Reader, Write as _};

/// Transport number of PCI DOE.
const TRANSPORT_DOE: u32 = 2;
/// Bytes of a frame's header.
const HEADER: usize = 12;
/// Bytes of a frame's payload at most: the largest data object taken.
pub const PAYLOAD_MAX: usize = super::mailbox::OBJECT_DW_MAX * 4;
/// How long the rest of a begun frame may take.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// What answers a hello.
const SERVER_HELLO: &[u8] = b"Server Hello!\0";

tdisp::open_enum! {
    /// What a frame is for.
    pub struct Command(u32) {
        /// A data object.
        NORMAL = 1,
        /// Another session follows; echoed.
        CONTINUE = 0xfffd,
        /// The conversation ends; echoed.
        SHUTDOWN = 0xfffe,
        /// Answers a command that is not known.
        UNKNOWN = 0xffff,
        /// A hello.
        TEST = 0xdead,
    }
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub command: Command,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads one; `None` at the end of the stream. A frame of another transport, or one that is too large, is an
    /// error.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        if !fill(from, &mut header)? {
            return Ok(None);
        }
        let mut reader = Reader::new(&header);
        let mut next = || reader.u32_be("frame header").map_err(io::Error::other);
        let (command, transport, size) = (Command(next()?), next()?, next()? as usize);
        if transport != TRANSPORT_DOE || size > PAYLOAD_MAX {
            let why = format!(
                "a frame of transport {transport} with {size} bytes; wanted {TRANSPORT_DOE} and at most {PAYLOAD_MAX}"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let mut payload = vec![0; size];
        from.read_exact(&mut payload)?;
        Ok(Some(Self { command, payload }))
    }

    /// Writes it in one send.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.u32_be(self.command.0);
        bytes.u32_be(TRANSPORT_DOE);
        bytes.u32_be(self.payload.len() as u32);
        bytes.bytes(&self.payload);
        to.write_all(&bytes)
    }
}

/// Fills `out`, or answers false at the end of the stream before its first byte.
fn fill(from: &mut impl Read, out: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < out.len() {
        match from.read(&mut out[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Serves connections one after the other, until the listener fails.
pub fn serve(listener: &TcpListener, manager: &Manager) -> io::Result<()> {
    for stream in listener.incoming() {
        if let Err(error) = converse(stream?, manager) {
            tracing::warn!(%error, "a requester's connection ended");
        }
    }
    Ok(())
}

/// One connection, until either side ends it.
fn converse(mut stream: TcpStream, manager: &Manager) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        // Between frames a requester may think as long as it likes; within one it may not.
        stream.set_read_timeout(None)?;
        if stream.peek(&mut [0])? == 0 {
            return Ok(());
        }
        stream.set_read_timeout(Some(FRAME_TIMEOUT))?;
        let Some(frame) = Frame::read(&mut stream)? else {
            return Ok(());
        };
        let last = frame.command == Command::SHUTDOWN;
        let answer = match frame.command {
            Command::NORMAL => match object(manager, &frame.payload) {
                Ok(answer) => answer,
                Err(HungUp) => return Ok(()),
            },
            Command::TEST => Some(SERVER_HELLO.to_vec()),
            Command::CONTINUE | Command::SHUTDOWN => Some(Vec::new()),
            _ => Some(Vec::new()),
        };
        if let Some(payload) = answer {
            let command = if frame.command.name().is_some() {
                frame.command
            } else {
                Command::UNKNOWN
            };
            Frame { command, payload }.write(&mut stream)?;
        }
        if last {
            return Ok(());
        }
    }
}

struct HungUp;

fn object(manager: &Manager, object: &[u8]) -> Result<Option<Vec<u8>>, HungUp> {
    let answer = manager.exchange(object);
    std::thread::sleep(answer.delay);
    match answer.hang_up {
        true => Err(HungUp),
        false => Ok(answer.object),
    }
}
