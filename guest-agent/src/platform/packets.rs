//! Packet programs of xdp-offload, attached by the agent and kept as long as the device is trusted.

use super::{Counted, Error, Interface, Packets};
use crate::config::high::Xdp;
use xdp_offload::{Attached, Mode, Offload};

pub(super) fn attach(interface: &Interface, xdp: &Xdp) -> Result<Box<dyn Packets>, Error> {
    let failed = |error| lift(interface, &error);
    let loaded = Offload::load(&xdp.rules).map_err(failed)?;
    let attached = loaded.attach(interface.index, xdp.mode).map_err(failed)?;
    Ok(Box::new(Program {
        attached,
        interface: interface.clone(),
    }))
}

struct Program {
    attached: Attached,
    interface: Interface,
}

impl Packets for Program {
    fn mode(&self) -> &'static str {
        match self.attached.mode() {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }

    fn check(&self) -> Result<(), Error> {
        self.attached
            .check_mode()
            .map_err(|error| lift(&self.interface, &error))
    }

    fn counted(&self) -> Result<Counted, Error> {
        let stats = self
            .attached
            .stats()
            .map_err(|error| lift(&self.interface, &error))?;
        Ok(Counted {
            passed: stats.passed_packets,
            dropped: stats.dropped_packets,
        })
    }
}

fn lift(interface: &Interface, error: &xdp_offload::Error) -> Error {
    Error::new(
        format!("{}: {error}", interface.name),
        "the packet program of the policy at work",
        "see the kernel log (dmesg)",
    )
}
