//! Data objects or MCTP messages over TCP, in the framing of the DMTF emulators, for requesters that have no PCI bus.
//!
//! Each frame, both ways: command, transport and size, big-endian, then `size` bytes. A request that is ignored has
//! no answering frame. One connection after the other: a device has one mailbox, and its requesters take turns.

use super::manager::Manager;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tdisp::spdm::Transport;
use tdisp::spdm::msg::{Code, Header, error::ErrorCode};
use tdisp::spdm::transport::Kind;
use tdisp::wire::{Reader, Write as _};

/// The number of a transport.
const fn number(transport: Transport) -> u32 {
    match transport {
        Transport::Mctp => 1,
        Transport::Doe => 2,
    }
}

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
    pub fn read(from: &mut impl Read, link: Transport) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        if !fill(from, &mut header)? {
            return Ok(None);
        }
        let mut reader = Reader::new(&header);
        let mut next = || reader.u32_be("frame header").map_err(io::Error::other);
        let (command, transport, size) = (Command(next()?), next()?, next()? as usize);
        let wanted = number(link);
        if transport != wanted || size > PAYLOAD_MAX {
            let why = format!(
                "a frame of transport {transport} with {size} bytes; wanted {wanted} and at most {PAYLOAD_MAX}"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let mut payload = vec![0; size];
        from.read_exact(&mut payload)?;
        Ok(Some(Self { command, payload }))
    }

    /// Writes it in one send.
    pub fn write(&self, to: &mut impl Write, link: Transport) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.u32_be(self.command.0);
        bytes.u32_be(number(link));
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

/// How a requester is spoken with.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// What the frames carry.
    pub transport: Transport,
    /// How long a requester may think between frames; `None` for as long as it likes.
    pub idle: Option<Duration>,
}

/// How a requester has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// With nothing to follow.
    ForGood,
    /// It said that it, or another one, goes on where it was.
    ToContinue,
}

/// Serves connections one after the other, until the listener fails.
pub fn serve(listener: &TcpListener, manager: &Manager) -> io::Result<()> {
    let link = Link {
        transport: Transport::Doe,
        idle: None,
    };
    for stream in listener.incoming() {
        if let Err(error) = converse(stream?, manager, link) {
            tracing::warn!(%error, "a requester's connection ended");
        }
    }
    Ok(())
}

/// One connection, until either side ends it.
pub fn converse(mut stream: TcpStream, manager: &Manager, link: Link) -> io::Result<Left> {
    stream.set_nodelay(true)?;
    let mut left = Left::ForGood;
    loop {
        // Within a frame a requester may not think as long as between frames.
        stream.set_read_timeout(link.idle)?;
        if stream.peek(&mut [0])? == 0 {
            return Ok(left);
        }
        let mut timed = Timed::new(&stream);
        let Some(frame) = Frame::read(&mut timed, link.transport)? else {
            return Ok(left);
        };
        let answer = match frame.command {
            Command::NORMAL => match message(manager, &frame.payload, link.transport) {
                Ok(answer) => answer,
                Err(HungUp) => return Ok(Left::ForGood),
            },
            Command::TEST => Some(SERVER_HELLO.to_vec()),
            _ => Some(Vec::new()),
        };
        if let Some(payload) = answer {
            let command = match frame.command.name() {
                Some(_) => frame.command,
                None => Command::UNKNOWN,
            };
            Frame { command, payload }.write(&mut stream, link.transport)?;
        }
        match frame.command {
            Command::SHUTDOWN => return Ok(Left::ForGood),
            Command::CONTINUE => left = Left::ToContinue,
            Command::NORMAL => left = Left::ForGood,
            _ => {}
        }
    }
}

/// A stream that must give a whole frame in a time, however small the pieces are that it comes in.
struct Timed<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl<'a> Timed<'a> {
    fn new(stream: &'a TcpStream) -> Self {
        Self {
            stream,
            until: Instant::now() + FRAME_TIMEOUT,
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let why = format!("the rest of a frame did not come in {FRAME_TIMEOUT:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(out)
    }
}

struct HungUp;

fn message(manager: &Manager, unit: &[u8], transport: Transport) -> Result<Option<Vec<u8>>, HungUp> {
    tracing::debug!("> {}", Named(unit, transport));
    let answer = manager.exchange(unit);
    std::thread::sleep(answer.delay);
    if answer.hang_up {
        return Err(HungUp);
    }
    match &answer.object {
        Some(unit) => tracing::debug!("< {}", Named(unit, transport)),
        None => tracing::debug!("< nothing"),
    }
    Ok(answer.object)
}

/// A message by its name, as far as it is in clear.
struct Named<'a>(&'a [u8], Transport);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(unit, transport) = self;
        match transport.unwrap(unit) {
            Ok(Some((Kind::Clear, message))) => match Header::peek(message) {
                Ok(header) if header.code == Code::ERROR => {
                    write!(
                        f,
                        "{} {:?} {:#x}",
                        header.version,
                        ErrorCode(header.param1),
                        header.param2
                    )
                }
                Ok(header) => write!(f, "{} {}, {} bytes", header.version, header.code, message.len()),
                Err(error) => write!(f, "{error}"),
            },
            Ok(Some((Kind::Record, record))) => write!(f, "a record, {} bytes", record.len()),
            Ok(None) => write!(f, "nothing of SPDM's, {} bytes", unit.len()),
            Err(error) => write!(f, "{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FUNCTIONS;
    use super::super::gate::TdiState;
    use super::super::manager::{LATE, SecurityManager};
    use super::*;
    use crate::lie::Lie;
    use std::sync::Arc;
    use tdisp::clock;

    /// Answers an object with itself, and one whose body begins with 0xff not at all.
    struct Echo;

    impl SecurityManager for Echo {
        fn object(&mut self, _: clock::Instant, object: &[u8]) -> Option<Vec<u8>> {
            (object.get(8) != Some(&0xff)).then(|| object.to_vec())
        }
        fn fault(&mut self, _: usize) {}
        fn states(&self) -> [TdiState; FUNCTIONS] {
            Default::default()
        }
    }

    fn server(lies: Vec<Lie>) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let manager = Manager::new(Box::new(Echo), Arc::default(), lies);
        std::thread::spawn(move || serve(&listener, &manager));
        address
    }

    fn frame(command: Command, payload: &[u8]) -> Frame {
        Frame {
            command,
            payload: payload.to_vec(),
        }
    }

    #[track_caller]
    fn check(stream: &mut TcpStream, sent: Frame, expected: Option<Frame>) {
        sent.write(stream, Transport::Doe).unwrap();
        assert_eq!(Frame::read(stream, Transport::Doe).unwrap(), expected);
    }

    const OBJECT: [u8; 12] = [1, 0, 1, 0, 3, 0, 0, 0, 9, 9, 9, 9];

    #[test]
    fn a_conversation_is_a_hello_objects_and_a_shutdown() {
        let address = server(Vec::new());
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).unwrap();
            let stream = &mut stream;
            check(
                stream,
                frame(Command::TEST, b"Client Hello!\0"),
                Some(frame(Command::TEST, SERVER_HELLO)),
            );
            check(
                stream,
                frame(Command::NORMAL, &OBJECT),
                Some(frame(Command::NORMAL, &OBJECT)),
            );
            check(
                stream,
                frame(Command::CONTINUE, &[]),
                Some(frame(Command::CONTINUE, &[])),
            );
            check(
                stream,
                frame(Command(0x77), b"what"),
                Some(frame(Command::UNKNOWN, &[])),
            );
            check(
                stream,
                frame(Command::SHUTDOWN, &[]),
                Some(frame(Command::SHUTDOWN, &[])),
            );
            assert_eq!(
                Frame::read(stream, Transport::Doe).unwrap(),
                None,
                "the connection is over"
            );
        }
    }

    #[test]
    fn a_request_that_is_ignored_has_no_frame() {
        let mut stream = TcpStream::connect(server(Vec::new())).unwrap();
        let mut silent = OBJECT;
        silent[8] = 0xff;
        frame(Command::NORMAL, &silent)
            .write(&mut stream, Transport::Doe)
            .unwrap();
        check(
            &mut stream,
            frame(Command::NORMAL, &OBJECT),
            Some(frame(Command::NORMAL, &OBJECT)),
        );
    }

    #[test]
    fn frames_of_another_transport_or_too_large_end_the_connection_only() {
        let address = server(Vec::new());
        for header in [
            [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0],
            [0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0, 0, 0],
        ] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&header).unwrap();
            assert!(matches!(
                Frame::read(&mut stream, Transport::Doe),
                Ok(None) | Err(_)
            ));
        }
        let mut stream = TcpStream::connect(address).unwrap();
        check(
            &mut stream,
            frame(Command::NORMAL, &OBJECT),
            Some(frame(Command::NORMAL, &OBJECT)),
        );
    }

    #[test]
    fn a_card_that_hangs_up_does_so_at_the_first_spdm_object() {
        let mut stream = TcpStream::connect(server(vec![Lie::HangUp])).unwrap();
        let mut discovery = OBJECT;
        discovery[2] = 0;
        check(
            &mut stream,
            frame(Command::NORMAL, &discovery),
            Some(frame(Command::NORMAL, &discovery)),
        );
        check(&mut stream, frame(Command::NORMAL, &OBJECT), None);
    }

    #[test]
    fn a_late_card_answers_after_the_time_that_a_device_has() {
        let mut stream = TcpStream::connect(server(vec![Lie::LateAnswer])).unwrap();
        let begun = std::time::Instant::now();
        check(
            &mut stream,
            frame(Command::NORMAL, &OBJECT),
            Some(frame(Command::NORMAL, &OBJECT)),
        );
        assert!(begun.elapsed() >= LATE);
    }
}
