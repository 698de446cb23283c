//! The kernel's view of the platform's security manager (TSM): `/sys/class/tsm` and `<BDF>/tsm/`.
//!
//! The attributes of a function appear only once a TSM has registered. So before any `tsmN` exists, their
//! absence says nothing: [`Support::Unknown`] is not [`Support::Incapable`]. What a kernel offers is asked
//! of its files, never of its version.

use rustix::io::Errno;

use crate::driver::check_name;
use crate::sysfs::{self, Attribute, Root};
use crate::{Bdf, Error, Function};

/// Names of the platform's registered TSMs (`tsm0`, …). The kernel sends a change uevent once one is ready.
pub fn tsms(root: &Root) -> Result<Vec<String>, Error> {
    let mut names = sysfs::list_if_present(&root.tsm_class())?;
    names.retain(|name| name.starts_with("tsm"));
    Ok(names)
}

/// Whether a function can be connected to a TSM.
#[derive(Debug, Clone)]
pub enum Support {
    /// No TSM has registered (yet): nothing can be said.
    Unknown,
    /// A TSM is there, and the kernel offers it nothing on this function.
    Incapable,
    /// The kernel offers these attributes.
    Offered(Link),
}

/// What the kernel offers of a function under `tsm/`.
#[derive(Debug, Clone)]
pub struct Link {
    function: Function,
    verbs: Vec<String>,
}

impl Function {
    /// Asks what the kernel offers for this function.
    pub fn tsm(&self) -> Result<Support, Error> {
        let verbs = sysfs::list_if_present(&self.attribute(Attribute::TsmDir))?;
        if !verbs.is_empty() {
            return Ok(Support::Offered(Link {
                function: self.clone(),
                verbs,
            }));
        }
        let registered = !tsms(self.root())?.is_empty();
        Ok(if registered {
            Support::Incapable
        } else {
            Support::Unknown
        })
    }
}

impl Link {
    /// Names under `tsm/`: on a host `connect`, `disconnect`, `dsm`, `bound`; in a guest with the out-of-tree
    /// series also `lock`, `accept`, `unlock`.
    pub fn verbs(&self) -> &[String] {
        &self.verbs
    }

    /// The TSM that the device is connected to.
    pub fn connected(&self) -> Result<Option<String>, Error> {
        self.name_in(Attribute::TsmConnect)
    }

    /// The device security manager that answers for this function.
    pub fn dsm(&self) -> Result<Option<Bdf>, Error> {
        let path = self.function.attribute(Attribute::TsmDsm);
        let Some(text) = sysfs::read_if_present(&path)?.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| sysfs::malformed(&path, &text, "a PCI address"))
    }

    /// The TSM that has the function locked, running or in error for a VM.
    pub fn bound(&self) -> Result<Option<String>, Error> {
        self.name_in(Attribute::TsmBound)
    }

    /// Has `tsm` open a session (and IDE streams) with the device; read back. Takes seconds on real devices.
    pub fn connect(&self, tsm: &str) -> Result<(), Error> {
        check_name(tsm)?;
        if self.connected()?.as_deref() == Some(tsm) {
            return Ok(());
        }
        sysfs::write(&self.function.attribute(Attribute::TsmConnect), tsm, connect_cure)?;
        self.expect_connected(Some(tsm))
    }

    /// Ends the session; the kernel unbinds every interface of the device first. Does nothing if there is none.
    pub fn disconnect(&self) -> Result<(), Error> {
        let Some(tsm) = self.connected()? else {
            return Ok(());
        };
        sysfs::write(
            &self.function.attribute(Attribute::TsmDisconnect),
            &tsm,
            connect_cure,
        )?;
        self.expect_connected(None)
    }

    fn expect_connected(&self, wanted: Option<&str>) -> Result<(), Error> {
        let found = self.connected()?;
        if found.as_deref() == wanted {
            return Ok(());
        }
        Err(Error::NoEffect {
            path: self.function.attribute(Attribute::TsmConnect),
            found: found.unwrap_or_else(|| "not connected".to_owned()),
            wanted: wanted.unwrap_or("not connected").to_owned(),
            cure: "the TSM's driver says why in dmesg",
        })
    }

    fn name_in(&self, attribute: Attribute) -> Result<Option<String>, Error> {
        let text = sysfs::read_if_present(&self.function.attribute(attribute))?;
        Ok(text.filter(|text| !text.is_empty()))
    }
}

fn connect_cure(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::BUSY => Some("the device is connected already: disconnect it first"),
        Errno::NXIO => {
            Some("no such TSM, or it is no link TSM, or it does not know the device: see /sys/class/tsm")
        }
        Errno::INVAL => Some("name a TSM as in /sys/class/tsm; to disconnect, the one that is connected"),
        Errno::FAULT => Some("the TSM found no usable DOE mailbox or no free IDE stream"),
        _ => None,
    }
}
