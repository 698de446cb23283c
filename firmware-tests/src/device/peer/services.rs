//! What the peer serves: a TCP sink, a TCP source, a UDP generator.

use super::{guest_address, peer_address};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Duration;
use smoltcp::wire::{IpAddress, IpEndpoint};

/// TCP port that discards what it gets.
pub const SINK_PORT: u16 = 5001;
/// TCP port that sends as many bytes as asked for.
pub const SOURCE_PORT: u16 = 5002;
/// UDP port that takes `send COUNT PORT`.
pub const GENERATOR_PORT: u16 = 5003;

/// Bytes that one connection may ask the source for: 16 GiB.
pub const SOURCE_BYTES_MAX: u64 = 1 << 34;
/// Datagrams that one order may ask the generator for.
pub const GENERATOR_COUNT_MAX: u32 = 1_000_000;

/// Connections at a time on each TCP port.
const CONNECTIONS: usize = 8;
/// Bytes in flight on a connection in the direction that matters.
const WINDOW: usize = 1 << 20;
/// Bytes in flight in the other direction.
const SMALL: usize = 4096;
/// A peer that is silent for so long while something is due is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Digits of the largest number of bytes, with some room.
const LINE_MAX: usize = 24;
/// Bytes of a generated datagram's payload.
const DATAGRAM: usize = 256;
/// Datagrams queued in the socket at most.
const DATAGRAMS: usize = 128;

/// The sockets and how far each is.
pub(super) struct Services {
    function: u8,
    sinks: Vec<SocketHandle>,
    sources: Vec<Source>,
    generator: Generator,
    sunk_bytes: u64,
}

struct Source {
    handle: SocketHandle,
    line: Vec<u8>,
    left: Option<u64>,
}

struct Generator {
    handle: SocketHandle,
    left: u32,
    port: u16,
}

impl Services {
    pub(super) fn new(function: u8, sockets: &mut SocketSet<'static>) -> Self {
        let sinks = (0..CONNECTIONS).map(|_| sockets.add(connection(WINDOW, SMALL)));
        let sinks = sinks.collect();
        let source = |_| Source {
            handle: sockets.add(connection(SMALL, WINDOW)),
            line: Vec::new(),
            left: None,
        };
        let sources = (0..CONNECTIONS).map(source).collect();
        let buffer = || {
            udp::PacketBuffer::new(
                vec![udp::PacketMetadata::EMPTY; DATAGRAMS],
                vec![0; DATAGRAMS * DATAGRAM],
            )
        };
        let mut socket = udp::Socket::new(buffer(), buffer());
        // The port is not 0 and the socket is closed, so this cannot fail.
        let _ = socket.bind(GENERATOR_PORT);
        let generator = Generator {
            handle: sockets.add(socket),
            left: 0,
            port: 0,
        };
        Self {
            function,
            sinks,
            sources,
            generator,
            sunk_bytes: 0,
        }
    }

    pub(super) fn sunk_bytes(&self) -> u64 {
        self.sunk_bytes
    }

    /// Moves every service on. Answers whether a socket has something new to send.
    pub(super) fn serve(&mut self, sockets: &mut SocketSet<'static>) -> bool {
        let mut moved = false;
        for handle in &self.sinks {
            let sunk = sink(sockets.get_mut(*handle));
            self.sunk_bytes += sunk;
            moved |= sunk > 0;
        }
        for source in &mut self.sources {
            moved |= source.serve(sockets.get_mut(source.handle));
        }
        moved
            | self
                .generator
                .serve(self.function, sockets.get_mut(self.generator.handle))
    }
}

fn connection(received: usize, sent: usize) -> tcp::Socket<'static> {
    let mut socket = tcp::Socket::new(
        tcp::SocketBuffer::new(vec![0; received]),
        tcp::SocketBuffer::new(vec![0; sent]),
    );
    socket.set_timeout(Some(SILENCE));
    // One poll reads a whole batch before it answers: that is delay enough.
    socket.set_ack_delay(None);
    socket
}

/// A closed socket listens again. Answers whether it is closed.
fn reopen(socket: &mut tcp::Socket<'_>, port: u16) -> bool {
    let closed = !socket.is_open();
    if closed {
        // The port is not 0 and the socket is closed, so this cannot fail.
        let _ = socket.listen(port);
    }
    closed
}

fn sink(socket: &mut tcp::Socket<'_>) -> u64 {
    reopen(socket, SINK_PORT);
    let mut sunk = 0;
    while let Ok(read @ 1..) = socket.recv(|bytes| (bytes.len(), bytes.len())) {
        sunk += read as u64;
    }
    if socket.may_send() && !socket.may_recv() {
        socket.close();
    }
    sunk
}

impl Source {
    fn serve(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        if reopen(socket, SOURCE_PORT) {
            (self.line, self.left) = (Vec::new(), None);
        }
        if self.left.is_none() {
            self.read_line(socket);
        }
        let Some(left) = &mut self.left else { return false };
        let mut moved = false;
        while *left > 0
            && let Ok(sent @ 1..) = socket.send(|room| {
                let len = room.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                room[..len].fill(b'.');
                (len, len)
            })
        {
            *left -= sent as u64;
            moved = true;
        }
        if *left == 0 {
            socket.close();
        }
        moved
    }

    /// Reads up to the line's end; what is no number, or too large, ends the connection.
    fn read_line(&mut self, socket: &mut tcp::Socket<'_>) {
        while self.line.len() < LINE_MAX && !self.line.ends_with(b"\n") {
            let mut byte = [0];
            match socket.recv_slice(&mut byte) {
                Ok(1) => self.line.push(byte[0]),
                _ => break,
            }
        }
        if self.line.ends_with(b"\n") {
            let number = str::from_utf8(&self.line)
                .ok()
                .and_then(|line| line.trim().parse().ok());
            self.left = Some(number.filter(|number| *number <= SOURCE_BYTES_MAX).unwrap_or(0));
        } else if self.line.len() == LINE_MAX || (socket.may_send() && !socket.may_recv()) {
            self.left = Some(0);
        }
    }
}

impl Generator {
    fn serve(&mut self, function: u8, socket: &mut udp::Socket<'_>) -> bool {
        while let Ok((order, _)) = socket.recv() {
            if let Some((count, port)) = parse_order(order) {
                (self.left, self.port) = (count, port);
            }
        }
        let mut to = udp::UdpMetadata::from(IpEndpoint::new(
            IpAddress::Ipv4(guest_address(function)),
            self.port,
        ));
        to.local_address = Some(IpAddress::Ipv4(peer_address(function)));
        let before = self.left;
        while self.left > 0
            && let Ok(payload) = socket.send(DATAGRAM, to)
        {
            payload.fill(b'.');
            self.left -= 1;
        }
        self.left != before
    }
}

/// `send COUNT PORT`.
fn parse_order(order: &[u8]) -> Option<(u32, u16)> {
    let mut words = str::from_utf8(order).ok()?.split_ascii_whitespace();
    let (verb, count, port) = (words.next()?, words.next()?, words.next()?);
    let (count, port): (u32, u16) = (count.parse().ok()?, port.parse().ok()?);
    let valid = verb == "send" && words.next().is_none() && count <= GENERATOR_COUNT_MAX && port != 0;
    valid.then_some((count, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_two_numbers_within_their_bounds() {
        assert_eq!(parse_order(b"send 100 7000\n"), Some((100, 7000)));
        for wrong in [
            "",
            "send",
            "send 1",
            "send 1 0",
            "send -1 7",
            "send 1 70000",
            "get 1 7",
            "send 1 7 8",
            "send 1000001 7",
        ] {
            assert_eq!(parse_order(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(parse_order(&[0xff; 300]), None);
    }
}
