//! The kernel's PCI/TSM core: `/sys/class/tsm` and `<BDF>/tsm/{connect,disconnect}`.
//!
//! In mainline up to 7.3 one driver registers such a TSM (AMD's), and nothing binds a TDI to a VM: this backend connects,
//! disconnects and shows; what it cannot do it says. It has been tried on a tree of files only, not on hardware.

use std::path::PathBuf;

use sriov::{Bdf, Function, Root, tsm::Support};
use tdisp::relay::{Rid, guest::Negotiated, host::DevStatus};

use super::{Error, Later, Tsm};
use crate::errand::Errand;

pub(super) struct SysfsLink {
    root: Root,
    name: Option<String>,
}

impl SysfsLink {
    pub(super) fn new(root: PathBuf, name: Option<String>) -> Self {
        Self {
            root: Root::new(root),
            name,
        }
    }

    /// The TSM's name: the configured one, or the only one there is.
    fn tsm(&self) -> Result<String, Error> {
        let found = sriov::tsms(&self.root)?;
        let listed = if found.is_empty() {
            "none".into()
        } else {
            found.join(", ")
        };
        let none = |wanted: &str| {
            Error::NoTsm(format!(
                "/sys/class/tsm has {listed}; wanted {wanted}: load the platform's TSM driver (AMD: ccp, with tio on)"
            ))
        };
        match (&self.name, found.as_slice()) {
            (Some(name), found) if found.contains(name) => Ok(name.clone()),
            (Some(name), _) => Err(none(name)),
            (None, [only]) => Ok(only.clone()),
            (None, []) => Err(none("one")),
            (None, _) => Err(none("one, or `name` in [tsm]")),
        }
    }

    fn link(&self, device: Rid) -> Result<sriov::tsm::Link, Error> {
        let bdf = Bdf::from_rid(device.segment().into(), device.requester_id());
        match Function::open(&self.root, bdf)?.tsm()? {
            Support::Offered(link) => Ok(link),
            Support::Incapable => Err(Error::NoTsm(format!(
                "the kernel offers no tsm/ for {bdf}; wanted a function 0 with an IDE capability or the TEE-IO bit"
            ))),
            Support::Unknown => Err(Error::NoTsm(format!(
                "no TSM has registered yet, so nothing is known of {bdf}; wait for one"
            ))),
        }
    }
}

impl Tsm for SysfsLink {
    fn name(&self) -> &'static str {
        "sysfs-link"
    }

    fn note(&self) -> &'static str {
        "connects through the kernel; binding is not in mainline"
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn has_sessions_of_others(&self) -> bool {
        true
    }

    fn open(&mut self) -> Later<'_, ()> {
        Box::pin(async { self.tsm().map(drop) })
    }

    fn lack(&self) -> &'static str {
        "on mainline only the VMM that holds the VM's descriptors could, and no kernel interface for it exists yet"
    }

    fn connect<'a>(&'a mut self, device: Rid, _slot: u8, errand: &'a mut Errand<'_>) -> Later<'a, ()> {
        Box::pin(async move {
            let (tsm, link) = (self.tsm()?, self.link(device)?);
            Ok(errand
                .steps
                .time("tsm/connect", async { link.connect(&tsm) })
                .await?)
        })
    }

    fn disconnect<'a>(&'a mut self, device: Rid, errand: &'a mut Errand<'_>) -> Later<'a, ()> {
        Box::pin(async move {
            let link = self.link(device)?;
            Ok(errand
                .steps
                .time("tsm/disconnect", async { link.disconnect() })
                .await?)
        })
    }

    fn device(&mut self, device: Rid) -> Later<'_, DevStatus> {
        Box::pin(async move {
            // The kernel says whether it is connected, and nothing of what was negotiated or measured.
            Ok(DevStatus {
                connected: self.link(device)?.connected()?.is_some(),
                slot: 0,
                spdm: Negotiated::default(),
                certificates_digest: [0; 48],
                measurements_digest: [0; 48],
                tdis: Vec::new(),
            })
        })
    }
}
