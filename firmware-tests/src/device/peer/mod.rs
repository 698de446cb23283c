//! The network behind a virtio function: one host at 10.77.N.1/24 for function N (the guest is .2), on smoltcp.
//!
//! | what | where |
//! |---|---|
//! | ICMP echo | the address |
//! | TCP sink: reads and discards | port [`SINK_PORT`] |
//! | TCP source: sends as many bytes as a decimal line asks for, then closes | port [`SOURCE_PORT`] |
//! | UDP generator: `send COUNT PORT` makes it send COUNT datagrams of 256 bytes to PORT | port [`GENERATOR_PORT`] |
//!
//! Time and frames are given; nothing here blocks. Every buffer and every count asked for has a bound.

mod services;
mod wire;

pub use services::{GENERATOR_COUNT_MAX, GENERATOR_PORT, SINK_PORT, SOURCE_BYTES_MAX, SOURCE_PORT};

use services::Services;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address};
use std::time::Duration;
use wire::Wire;

/// The address of the peer behind `function`.
pub const fn peer_address(function: u8) -> Ipv4Address {
    Ipv4Address::new(10, 77, function, 1)
}

/// The address that the guest gives itself on `function`.
pub const fn guest_address(function: u8) -> Ipv4Address {
    Ipv4Address::new(10, 77, function, 2)
}

/// The MAC address that `function` has for the guest.
pub const fn guest_mac(function: u8) -> [u8; 6] {
    [0x52, 0x54, 0x00, 0x7e, 0xe0, function]
}

/// The MAC address of the peer behind `function`.
pub const fn peer_mac(function: u8) -> [u8; 6] {
    [0x52, 0x54, 0x00, 0x7e, 0xe1, function]
}

/// Rounds of service within one poll: a bound on the time that one poll takes.
const ROUNDS_MAX: usize = 16;

/// One host with its services.
pub struct Peer {
    interface: Interface,
    sockets: SocketSet<'static>,
    services: Services,
    wire: Wire,
}

impl Peer {
    /// The host behind `function`.
    pub fn new(function: u8) -> Self {
        let mut wire = Wire::default();
        let mac = HardwareAddress::Ethernet(EthernetAddress(peer_mac(function)));
        let mut config = Config::new(mac);
        config.random_seed = u64::from(function) + 1;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // The list is empty and takes at least one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(peer_address(function)), 24));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let services = Services::new(function, &mut sockets);
        Self {
            interface,
            sockets,
            services,
            wire,
        }
    }

    /// An empty buffer for [`Peer::put`], used again after its frame was read.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.wire.buffer()
    }

    /// A frame from the guest, to be read by the next poll.
    pub fn put(&mut self, frame: Vec<u8>) {
        self.wire.put(frame);
    }

    /// Gives back a buffer that holds no frame.
    pub fn discard(&mut self, buffer: Vec<u8>) {
        self.wire.recycle(buffer);
    }

    /// The oldest frame for the guest.
    pub fn front(&self) -> Option<&[u8]> {
        self.wire.front()
    }

    /// The oldest frame for the guest is delivered, or lost.
    pub fn pop(&mut self) {
        self.wire.pop();
    }

    /// The guest's side is down: frames for it go nowhere.
    pub fn drain(&mut self) {
        while self.wire.front().is_some() {
            self.wire.pop();
        }
    }

    /// Reads what was put, serves, and fills the frames for the guest. `now` is the time since any fixed moment.
    pub fn poll(&mut self, now: Duration) {
        let now = instant(now);
        for _ in 0..ROUNDS_MAX {
            self.interface.poll(now, &mut self.wire, &mut self.sockets);
            if !self.services.serve(&mut self.sockets) || self.wire.is_full() {
                break;
            }
        }
    }

    /// How long until it has something to do by itself; `None` if it waits for the guest.
    pub fn poll_delay(&mut self, now: Duration) -> Option<Duration> {
        let delay = self.interface.poll_delay(instant(now), &self.sockets)?;
        Some(Duration::from_micros(delay.total_micros()))
    }

    /// Bytes that the TCP sink discarded.
    pub fn sunk_bytes(&self) -> u64 {
        self.services.sunk_bytes()
    }
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
