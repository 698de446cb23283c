//! A guest's network stack over the [`Driver`], to talk to the peer as a guest does.

use super::driver::Driver;
use firmware_tests::device::peer::{guest_address, guest_mac};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

/// The guest's host on one function.
pub(crate) struct Stack {
    pub(crate) interface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) driver: Card,
    begun: std::time::Instant,
}

/// The driver as smoltcp sees it.
pub(crate) struct Card(pub(crate) Driver);

impl Stack {
    pub(crate) fn new(function: u8, driver: Driver) -> Self {
        let mut driver = Card(driver);
        let mac = HardwareAddress::Ethernet(EthernetAddress(guest_mac(function)));
        let mut interface = Interface::new(Config::new(mac), &mut driver, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(IpAddress::Ipv4(guest_address(function)), 24))
                .unwrap();
        });
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            driver,
            begun: std::time::Instant::now(),
        }
    }

    pub(crate) fn poll(&mut self) {
        let now = Instant::from_micros(self.begun.elapsed().as_micros() as i64);
        self.interface.poll(now, &mut self.driver, &mut self.sockets);
    }
}

impl Device for Card {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.0.receive()?;
        Some((Received(frame), Sending(&mut self.0)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        // A burst that is lost at the end of every retransmission can take longer than a test is patient.
        self.0.has_room().then_some(Sending(&mut self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

pub(crate) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub(crate) struct Sending<'a>(&'a mut Driver);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, make: F) -> R {
        let mut frame = vec![0; len];
        let result = make(&mut frame);
        // If all buffers are under way the frame is lost, as frames are; TCP sends it again.
        let _ = self.0.send(&frame);
        result
    }
}
