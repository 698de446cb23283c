//! The DMTF emulators' socket framing, client side.
//!
//! Each frame is `u32 command ‖ u32 transport ‖ u32 size`, big-endian, and `size` bytes. TEST "Client Hello!" is
//! answered by TEST; NORMAL carries one DOE data object each way; SHUTDOWN ends. A request that the device ignores
//! yields no frame: silence is a timeout here.

use std::time::Duration;

use tdisp::{
    spdm::transport::Transport,
    wire::{Reader, Write},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Error, discovery::Asked};

/// Bytes of the longest DOE data object: 2^18 DW.
pub const OBJECT_SIZE_MAX: usize = 4 << 18;

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    timeout: Duration,
    transport: Transport,
}

/// What is going on until the peer has taken the connection.
pub const CONNECTING: &str = "connecting";

const NORMAL: u32 = 1;
const SHUTDOWN: u32 = 0xfffe;
const TEST: u32 = 0xdead;
const HELLO: &[u8] = b"Client Hello!\0";
const HEADER_SIZE: usize = 12;

impl Socket {
    pub(super) async fn open(address: &str, limit: Duration, transport: Transport) -> Result<Self, Error> {
        let unreachable = |source| Error::Unreachable {
            address: address.into(),
            source,
        };
        let stream = within(CONNECTING, limit, async {
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            Ok(stream)
        });
        let mut socket = Self {
            stream: stream.await?,
            timeout: limit,
            transport,
        };
        socket.round("the hello", TEST, HELLO).await?;
        Ok(socket)
    }

    /// Asks which protocols the device takes; an error unless SPDM and secured SPDM are among them.
    pub(super) async fn discover(&mut self) -> Result<(), Error> {
        let mut asked = Asked::default();
        while let Some(request) = asked.next() {
            let answer = self.round("DOE discovery", NORMAL, &request).await?;
            asked.answered(&answer)?;
        }
        asked.verdict()
    }

    pub(super) async fn exchange(&mut self, object: &[u8]) -> Result<Vec<u8>, Error> {
        self.round("an exchange", NORMAL, object).await
    }

    pub(super) async fn close(mut self) {
        // Whether the peer echoes it makes no difference: the connection goes either way.
        let _ = self.round("the goodbye", SHUTDOWN, &[]).await;
    }

    async fn round(&mut self, during: &'static str, command: u32, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.expect_silence(during)?;
        let limit = self.timeout;
        within(during, limit, async {
            let mut frame = Vec::with_capacity(HEADER_SIZE + payload.len());
            for word in [
                command,
                number(self.transport),
                u32::try_from(payload.len()).unwrap_or(u32::MAX),
            ] {
                frame.u32_be(word);
            }
            frame.bytes(payload);
            self.stream
                .write_all(&frame)
                .await
                .map_err(|error| broken(during, error))?;
            self.answer(during, command).await
        })
        .await
    }

    /// Strict alternation: nothing may be waiting when a request goes out.
    fn expect_silence(&self, during: &'static str) -> Result<(), Error> {
        match self.stream.try_read(&mut [0; 64]) {
            Ok(0) => Err(Error::HungUp { during }),
            Ok(found) => Err(Error::Unasked { found }),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(broken(during, error)),
        }
    }

    async fn answer(&mut self, during: &'static str, command: u32) -> Result<Vec<u8>, Error> {
        let mut header = [0; HEADER_SIZE];
        self.stream
            .read_exact(&mut header)
            .await
            .map_err(|error| broken(during, error))?;
        let size = frame_size(&header, command, self.transport)?;
        let mut payload = vec![0; size];
        self.stream
            .read_exact(&mut payload)
            .await
            .map_err(|error| broken(during, error))?;
        Ok(payload)
    }
}

/// A transport's number in this framing.
fn number(transport: Transport) -> u32 {
    match transport {
        Transport::Mctp => 1,
        Transport::Doe => 2,
    }
}

/// Checks a frame's header against the command that it answers; the payload's size.
fn frame_size(header: &[u8], command: u32, wanted: Transport) -> Result<usize, Error> {
    let mut reader = Reader::new(header);
    let mut word = |what| {
        reader
            .u32_be(what)
            .map_err(|error| malformed("frame header", error, "12 bytes"))
    };
    let (found, transport, size) = (word("command")?, word("transport")?, word("size")?);
    if found != command {
        return Err(malformed(
            "frame command",
            format!("{found:#x}"),
            format!("{command:#x}"),
        ));
    }
    if transport != number(wanted) {
        let wanted = format!("{}, {wanted:?}", number(wanted));
        return Err(malformed("frame transport", transport, wanted));
    }
    usize::try_from(size)
        .ok()
        .filter(|size| *size <= OBJECT_SIZE_MAX)
        .ok_or_else(|| malformed("frame size", size, format!("at most {OBJECT_SIZE_MAX} bytes")))
}

fn malformed(what: &'static str, found: impl ToString, wanted: impl ToString) -> Error {
    Error::Malformed {
        what,
        found: found.to_string(),
        wanted: wanted.to_string(),
    }
}

fn broken(during: &'static str, source: std::io::Error) -> Error {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match source.kind() {
        UnexpectedEof | ConnectionReset | BrokenPipe => Error::HungUp { during },
        _ => Error::Io { during, source },
    }
}

async fn within<T>(
    during: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, work)
        .await
        .unwrap_or(Err(Error::TimedOut { during, after: limit }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A peer that greets well, then answers one request with `answer` as raw bytes.
    async fn against(answer: &'static [u8]) -> Result<Vec<u8>, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 26];
            stream.read_exact(&mut hello).await.unwrap();
            stream.write_all(&hello).await.unwrap();
            let mut request = [0; 20];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
            if answer.is_empty() {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        };
        let us = async {
            let mut socket = Socket::open(&address, Duration::from_millis(200), Transport::Doe).await?;
            socket.exchange(&[1, 0, 0, 0, 2, 0, 0, 0]).await
        };
        tokio::select! { answer = us => answer, () = async { peer.await; std::future::pending().await } => unreachable!() }
    }

    #[tokio::test]
    async fn one_frame_goes_out_and_one_comes_back() {
        let answer = against(b"\0\0\0\x01\0\0\0\x02\0\0\0\x04abcd").await.unwrap();
        assert_eq!(answer, b"abcd");
    }

    #[tokio::test]
    async fn a_wrong_frame_is_refused_with_what_was_found_and_wanted() {
        let cases: [(&'static [u8], &str); 6] = [
            (
                b"\0\0\0\x02\0\0\0\x02\0\0\0\x04abcd",
                "frame command is 0x2; wanted 0x1",
            ),
            (
                b"\0\0\0\x01\0\0\0\x01\0\0\0\x04abcd",
                "frame transport is 1; wanted 2",
            ),
            (
                b"\0\0\0\x01\0\0\0\x02\x7f\0\0\0",
                "frame size is 2130706432; wanted at most 1048576",
            ),
            (b"\0\0\0\x01\0\0\0\x02\0\0\0\x04ab", "hung up during an exchange"),
            (b"\0\0\0\x01\0\0", "hung up during an exchange"),
            (b"", "no answer to an exchange in 200 ms"),
        ];
        for (answer, wanted) in cases {
            let message = against(answer).await.unwrap_err().to_string();
            assert!(
                message.contains(wanted),
                "{message:?} does not contain {wanted:?}"
            );
        }
    }

    #[test]
    fn the_longest_object_fits_a_frame_and_one_byte_more_does_not() {
        let header = |size: usize| {
            let mut header = Vec::new();
            for word in [NORMAL, 2, size as u32] {
                header.u32_be(word);
            }
            header
        };
        let longest = frame_size(&header(OBJECT_SIZE_MAX), NORMAL, Transport::Doe);
        assert_eq!(longest.unwrap(), OBJECT_SIZE_MAX);
        assert!(frame_size(&header(OBJECT_SIZE_MAX + 1), NORMAL, Transport::Doe).is_err());
    }

    #[tokio::test]
    async fn a_second_answer_to_one_request_is_refused_before_the_next_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 26];
            stream.read_exact(&mut hello).await.unwrap();
            stream.write_all(&[hello, hello].concat()).await.unwrap();
            stream
        });
        let mut socket = Socket::open(&address, Duration::from_secs(2), Transport::Doe)
            .await
            .unwrap();
        let _open = peer.await.unwrap();
        let error = socket.exchange(&[0; 8]).await.unwrap_err();
        assert!(matches!(error, Error::Unasked { found: 26 }), "{error}");
    }
}
