//! Observing a physical function, and taking the steps of a plan, one by one, each read back.

use std::collections::BTreeSet;

use rustix::io::Errno;

use crate::driver::{set_switch, switch};
use crate::plan::{Observed, ObservedVf, Step};
use crate::sysfs::{self, Attribute, Root};
use crate::{Bdf, Error, Function};

/// What a plan's steps need of the kernel.
pub trait Kernel {
    /// New VFs of `pf` are no more offered to drivers.
    fn autoprobe_off(&mut self, pf: Bdf) -> Result<(), Error>;
    /// `pf` has `count` VFs. The kernel itself takes 0.1 s to enable and 1 s to disable.
    fn set_count(&mut self, pf: Bdf, count: u16) -> Result<(), Error>;
    /// VF `index` has `driver`.
    fn bind(&mut self, pf: Bdf, index: u16, driver: &str) -> Result<(), Error>;
    /// VF `index` has no driver.
    fn unbind(&mut self, pf: Bdf, index: u16) -> Result<(), Error>;
}

/// The steps stopped at one that failed. Those before it hold; observe and plan again to go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {} of {total}, to {step}, failed: {error}", done + 1)]
pub struct Stopped {
    /// How many steps were taken.
    pub done: usize,
    /// How many there were.
    pub total: usize,
    /// The step that failed.
    pub step: Step,
    /// Why.
    #[source]
    pub error: Box<Error>,
}

/// Takes the steps in order until one fails.
pub fn apply(kernel: &mut dyn Kernel, pf: Bdf, steps: &[Step]) -> Result<(), Stopped> {
    for (done, step) in steps.iter().enumerate() {
        take(kernel, pf, step).map_err(|error| Stopped {
            done,
            total: steps.len(),
            step: step.clone(),
            error: Box::new(error),
        })?;
    }
    Ok(())
}

fn take(kernel: &mut dyn Kernel, pf: Bdf, step: &Step) -> Result<(), Error> {
    match step {
        Step::AutoprobeOff => kernel.autoprobe_off(pf),
        Step::Unbind { index, .. } => kernel.unbind(pf, *index),
        Step::Count { to, .. } => kernel.set_count(pf, *to),
        Step::Bind { index, driver } => kernel.bind(pf, *index, driver),
    }
}

/// What `pf` has now; `leased` are the VFs promised to VMs, which the kernel does not know.
///
/// # Errors
/// [`Error::Missing`] if the function cannot have VFs.
pub fn observe(root: &Root, pf: Bdf, leased: &BTreeSet<Bdf>) -> Result<Observed, Error> {
    let total = read_count(root, pf, Attribute::TotalVfs)?;
    let count = read_count(root, pf, Attribute::NumVfs)?;
    let vfs = (0..count).map(|index| {
        let vf = virtual_function(root, pf, index)?;
        Ok(ObservedVf {
            bdf: vf.bdf(),
            driver: vf.driver()?,
            leased: leased.contains(&vf.bdf()),
        })
    });
    let vfs = vfs.collect::<Result<_, Error>>()?;
    let autoprobe = switch(&root.attribute(pf, Attribute::VfAutoprobe))?;
    Ok(Observed {
        pf,
        total,
        autoprobe,
        vfs,
    })
}

/// The VF of `pf` with this index.
pub fn virtual_function(root: &Root, pf: Bdf, index: u16) -> Result<Function, Error> {
    let path = root.virtfn(pf, index);
    let missing = || Error::Missing {
        what: "the virtual function",
        path: path.clone(),
        cure: "the PF has fewer VFs now: observe and plan again",
    };
    let name = sysfs::link_name(&path)?.ok_or_else(missing)?;
    let bdf = name
        .parse()
        .map_err(|_| sysfs::malformed(&path, &name, "a link to a PCI function"))?;
    Function::open(root, bdf)
}

/// The running kernel, by its sysfs.
impl Kernel for Root {
    fn autoprobe_off(&mut self, pf: Bdf) -> Result<(), Error> {
        set_switch(self.attribute(pf, Attribute::VfAutoprobe), false)
    }

    fn set_count(&mut self, pf: Bdf, count: u16) -> Result<(), Error> {
        let path = self.attribute(pf, Attribute::NumVfs);
        sysfs::write(&path, &count.to_string(), count_cure)?;
        let found = read_count(self, pf, Attribute::NumVfs)?;
        if found == count {
            return Ok(());
        }
        let cure =
            "the PF's driver made fewer: it may be short of queues, interrupts or bus numbers (see dmesg)";
        Err(Error::NoEffect {
            path,
            found: found.to_string(),
            wanted: count.to_string(),
            cure,
        })
    }

    fn bind(&mut self, pf: Bdf, index: u16, driver: &str) -> Result<(), Error> {
        virtual_function(self, pf, index)?.bind(driver)
    }

    fn unbind(&mut self, pf: Bdf, index: u16) -> Result<(), Error> {
        virtual_function(self, pf, index)?.unbind()
    }
}

fn read_count(root: &Root, pf: Bdf, attribute: Attribute) -> Result<u16, Error> {
    let path = root.attribute(pf, attribute);
    if !sysfs::exists(&path) {
        let cure = "the function is no SR-IOV physical function, or SR-IOV is off in its firmware";
        return Err(Error::Missing {
            what: "SR-IOV",
            path,
            cure,
        });
    }
    let count = sysfs::read_number(&path)?;
    count
        .try_into()
        .map_err(|_| sysfs::malformed(&path, &count.to_string(), "at most 65535"))
}

fn count_cure(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::BUSY => Some("the PF has VFs: the number changes only through 0 (plan again)"),
        Errno::NOENT => Some("the PF has no driver: bind one that supports SR-IOV"),
        Errno::RANGE => Some("ask for at most sriov_totalvfs"),
        Errno::NOMEM | Errno::NOSPC => {
            Some("no room for the VFs' BARs or bus numbers: see dmesg, try pci=realloc or pci=assign-busses")
        }
        Errno::NOSYS => Some("the PF's driver has no SR-IOV support"),
        _ => None,
    }
}
