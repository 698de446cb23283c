//! Watches what a verdict rests on: the lock, the state, DMA, the path. What moves voids the verdict.

use crate::accept::Running;
use crate::channel::Link;
use crate::config::high::Device;
use crate::error::{Fault, Refusal, Step};
use crate::platform::{Packets, Path, Platform};

/// Whether the device may stay trusted.
pub fn check(
    running: &Running,
    device: &Device,
    link: &mut Link,
    platform: &dyn Platform,
) -> Result<(), Refusal> {
    // Once more on a channel made anew: a lost message is no reason to take a device away, a second one is.
    let info = match link.info(device.bdf) {
        Ok(info) => Ok(info),
        Err(_) => link.reopen().and_then(|()| link.info(device.bdf)),
    };
    let info = info.map_err(|error| void(Fault::Host, error.to_string()))?;
    running
        .still_holds(&info)
        .map_err(|what| void(Fault::Device, what))?;
    let kernel = |error: crate::platform::Error| void(Fault::Guest, error.to_string());
    if platform.path(device.bdf).map_err(kernel)? != Path::Direct {
        return Err(void(
            Fault::Guest,
            "its transfers are bounced again; wanted the direct path".to_owned(),
        ));
    }
    match platform.driver(device.bdf).map_err(kernel)? {
        Some(driver) if driver == device.driver => Ok(()),
        found => {
            let found = found.map_or("no driver".to_owned(), |driver| format!("driver {driver}"));
            Err(void(
                Fault::Guest,
                format!("{found} has the device; wanted {}", device.driver),
            ))
        }
    }
}

/// Whether the packet programs are still at work, as they were attached.
pub fn check_packets(packets: &[Box<dyn Packets>]) -> Result<(), Refusal> {
    packets
        .iter()
        .try_for_each(|program| program.check())
        .map_err(|error| void(Fault::Guest, error.to_string()))
}

fn void(fault: Fault, what: String) -> Refusal {
    let cure = "the verdict is void: the device must be verified anew (restart the agent) before it is trusted again";
    Refusal::new(Step::Monitor, fault, format!("{what}; {cure}"))
}
