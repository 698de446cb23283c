//! The network interface of a PCI function, up and with an address.

use crate::Failure;
use guest_agent::netlink;
use sriov::{Bdf, Function, Root};
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// `10.77.1.2/24`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefixed {
    address: Ipv4Addr,
    prefix: u8,
}

impl FromStr for Prefixed {
    type Err = Failure;
    fn from_str(text: &str) -> Result<Self, Failure> {
        let wrong = || format!("`{text}` found, wanted an address with its prefix, such as 10.77.1.2/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (address, prefix) = (
            address.parse().map_err(|_| wrong())?,
            prefix.parse().map_err(|_| wrong())?,
        );
        if prefix > 32 {
            Err(wrong())
        } else {
            Ok(Self { address, prefix })
        }
    }
}

/// Brings the interface of `bdf` up and gives it `address`.
pub(crate) fn configure(bdf: Bdf, address: Prefixed) -> Result<(), Failure> {
    let name = interface(bdf)?;
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).unwrap_or_default();
    let index = text.trim().parse().map_err(|_| format!("{name} has no number"))?;
    netlink::up(index).map_err(|errno| format!("{name} does not come up: {errno}"))?;
    netlink::add_address(index, address.address, address.prefix).map_err(|errno| {
        format!(
            "{name} does not take {}/{}: {errno}",
            address.address, address.prefix
        )
    })
}

fn interface(bdf: Bdf) -> Result<String, Failure> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let function = Function::open(&Root::default(), bdf).map_err(|error| error.to_string())?;
        let names = function.net_interfaces().map_err(|error| error.to_string())?;
        match names.into_iter().next() {
            Some(name) => return Ok(name),
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            None => return Err(format!("{bdf} has no network interface; is its driver bound?")),
        }
    }
}
