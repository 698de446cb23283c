//! Which driver has a function, and changing that so that the change is seen to have happened.
//!
//! ```text
//! bind(D):  is D loaded? ─► driver_override = D ─► unbind the present driver ─► drivers_probe ─► `driver` → D ?
//!                                  ▲                                                              │ no
//!                                  └──────────── put the old override back ◄──────────────────────┘
//! ```
//! `new_id` is never used: it outlives the intent, applies to every function of that ID, and fails when repeated.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::sysfs::{self, Attribute, Root};
use crate::{Bdf, Error, Function};

impl Function {
    /// The driver that has the function, if any.
    pub fn driver(&self) -> Result<Option<String>, Error> {
        sysfs::link_name(&self.attribute(Attribute::Driver))
    }

    /// The only driver that may take the function, if one was named.
    pub fn driver_override(&self) -> Result<Option<String>, Error> {
        let text = sysfs::read(&self.attribute(Attribute::DriverOverride))?;
        Ok(Some(text).filter(|name| name != "(null)" && !name.is_empty()))
    }

    /// Names the only driver that may take the function; `None` lets any driver that matches. Read back.
    pub fn set_driver_override(&self, driver: Option<&str>) -> Result<(), Error> {
        let path = self.attribute(Attribute::DriverOverride);
        driver.map_or(Ok(()), check_name)?;
        // An empty line clears it; nothing at all would be no write.
        sysfs::write(&path, driver.unwrap_or("\n"), sysfs::no_special_cure)?;
        let found = self.driver_override()?;
        if found.as_deref() == driver {
            return Ok(());
        }
        Err(Error::NoEffect {
            path,
            found: found.unwrap_or_default(),
            wanted: driver.unwrap_or_default().to_owned(),
            cure: "something else writes driver_override: look for driverctl or a udev rule",
        })
    }

    /// Makes `driver` the function's driver, taking it from another if need be.
    ///
    /// Does nothing if it is so already. The override stays, so that no other driver takes the function later.
    /// If the driver does not take the function, the override is as it was before, and the function has no driver.
    ///
    /// # Errors
    /// [`Error::Missing`] if the driver is not loaded; [`Error::NoEffect`] if it does not take the function.
    pub fn bind(&self, driver: &str) -> Result<(), Error> {
        check_name(driver)?;
        if self.driver()?.as_deref() == Some(driver) {
            return Ok(());
        }
        let path = self.root().pci_driver_dir(driver);
        if !sysfs::exists(&path) {
            let cure = "load its module first (modprobe)";
            return Err(Error::Missing {
                what: "the driver",
                path,
                cure,
            });
        }
        let before = self.driver_override()?;
        self.set_driver_override(Some(driver))?;
        self.take(driver).inspect_err(|_| {
            // The error to tell is the first one; the next bind sets the override anew.
            let _ = self.set_driver_override(before.as_deref());
        })
    }

    fn take(&self, driver: &str) -> Result<(), Error> {
        self.unbind()?;
        probe(self.root(), self.bdf())?;
        let found = self.wait_for_driver(driver)?;
        if found.as_deref() == Some(driver) {
            return Ok(());
        }
        Err(Error::NoEffect {
            path: self.attribute(Attribute::Driver),
            found: found.unwrap_or_else(|| "no driver".to_owned()),
            wanted: driver.to_owned(),
            cure: "the driver refused the function: dmesg says why",
        })
    }

    /// Takes the function from its driver. Does nothing if it has none.
    pub fn unbind(&self) -> Result<(), Error> {
        if self.driver()?.is_none() {
            return Ok(());
        }
        sysfs::write(
            &self.attribute(Attribute::DriverUnbind),
            &self.bdf().to_string(),
            unbind_cure,
        )?;
        match self.driver()? {
            None => Ok(()),
            Some(found) => Err(Error::NoEffect {
                path: self.attribute(Attribute::Driver),
                found,
                wanted: "no driver".to_owned(),
                cure: "another program binds it again: look for driverctl or a udev rule",
            }),
        }
    }

    /// A probe may be deferred until what the driver needs is there, so a missing link is given a little time.
    fn wait_for_driver(&self, driver: &str) -> Result<Option<String>, Error> {
        let deadline = Instant::now() + DEFERRED_PROBE;
        loop {
            let found = self.driver()?;
            if found.as_deref() == Some(driver) || Instant::now() >= deadline {
                return Ok(found);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Offers the function to the drivers that match it (or to the one that its override names).
///
/// Success does not mean that one took it: ask [`Function::driver`].
pub fn probe(root: &Root, bdf: Bdf) -> Result<(), Error> {
    sysfs::write(&root.drivers_probe(), &bdf.to_string(), probe_cure)
}

/// Says whether the kernel offers new functions, and functions to new drivers, by itself; read back.
///
/// Off is what a guest wants before any device has earned trust.
pub fn set_drivers_autoprobe(root: &Root, on: bool) -> Result<(), Error> {
    set_switch(root.drivers_autoprobe(), on)
}

/// Whether the kernel offers new functions to drivers by itself.
pub fn drivers_autoprobe(root: &Root) -> Result<bool, Error> {
    switch(&root.drivers_autoprobe())
}

pub(crate) fn switch(path: &std::path::Path) -> Result<bool, Error> {
    match sysfs::read(path)?.as_str() {
        "1" => Ok(true),
        "0" => Ok(false),
        other => Err(sysfs::malformed(path, other, "0 or 1")),
    }
}

pub(crate) fn set_switch(path: PathBuf, on: bool) -> Result<(), Error> {
    let wanted = if on { "1" } else { "0" };
    sysfs::write(&path, wanted, sysfs::no_special_cure)?;
    if switch(&path)? == on {
        return Ok(());
    }
    let found = if on { "0" } else { "1" }.to_owned();
    Err(Error::NoEffect {
        path,
        found,
        wanted: wanted.to_owned(),
        cure: "something else writes it too",
    })
}

/// A driver's name becomes part of a path and of a line.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b'@' | b' ');
    let special = name.is_empty() || name == "." || name == ".." || name.len() > NAME_BYTES_MAX;
    if !special && name.bytes().all(plain) && name.trim() == name {
        return Ok(());
    }
    let found = name.chars().take(NAME_BYTES_MAX).collect();
    Err(Error::Caller {
        what: "a driver's name",
        found,
        wanted: "a name as under /sys/bus/pci/drivers",
    })
}

fn unbind_cure(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::NODEV => Some("the driver has let go already, or the function is gone: look again"),
        Errno::BUSY => Some("a user holds it: stop the VM or close what has it open, then repeat"),
        _ => None,
    }
}

fn probe_cure(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::NODEV => Some("the function is gone: check with `lspci -D`"),
        Errno::INVAL => Some("the driver refused the function, or its override names none that is loaded"),
        _ => None,
    }
}

const NAME_BYTES_MAX: usize = 64;
const DEFERRED_PROBE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(2);
