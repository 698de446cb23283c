//! The kernel that the agent runs on, through sysfs, procfs, the kernel's log and rtnetlink.

use super::{Bar, Error, Interface, Packets, Path, Platform, Translation, kernel_log, memory_map};
use crate::accept::Grant;
use crate::config::high::{Clock, Xdp};
use crate::netlink;
use core::ops::Range;
use rustix::system::RebootCommand;
use sriov::{Bdf, Function, Group, GroupType, Root};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The driver that every untrusted function is kept for, and that no kernel has.
const NO_DRIVER: &str = "tidelock-isolated";

/// The kernel; its directories are parameters.
#[derive(Debug, Clone)]
pub struct Linux {
    sys: Root,
    proc: PathBuf,
    log: PathBuf,
}

impl Default for Linux {
    fn default() -> Self {
        Self {
            sys: Root::new("/sys"),
            proc: "/proc".into(),
            log: "/dev/kmsg".into(),
        }
    }
}

impl Linux {
    /// A kernel whose file systems are elsewhere.
    pub fn at(sys: Root, proc: PathBuf, log: PathBuf) -> Self {
        Self { sys, proc, log }
    }

    fn function(&self, bdf: Bdf) -> Result<Function, Error> {
        Ok(Function::open(&self.sys, bdf)?)
    }

    fn group(&self, bdf: Bdf) -> Result<Group, Error> {
        self.function(bdf)?.iommu_group()?.ok_or_else(|| {
            Error::new(
                format!("{bdf} is in no IOMMU group"),
                "a guest with a virtual IOMMU",
                "give the machine a vIOMMU and boot with intel_iommu=on (or the platform's equal)",
            )
        })
    }

    /// The function's group, if it is alone in it: the type is the whole group's, and what is accepted must not carry
    /// its neighbours along.
    fn own_group(&self, bdf: Bdf) -> Result<Group, Error> {
        let group = self.group(bdf)?;
        match group
            .members()?
            .iter()
            .find(|member| member.bdf != bdf && !member.bridge)
        {
            None => Ok(group),
            Some(other) => Err(Error::new(
                format!("{} is in the same IOMMU group as {bdf}", other.bdf),
                "a group of the device's own",
                "give the machine's devices access control services (ACS), or attach one device to each port",
            )),
        }
    }

    fn read(&self, path: &str) -> Result<String, Error> {
        let path = self.proc.join(path);
        std::fs::read_to_string(&path).map_err(|error| {
            let found = format!("{} cannot be read ({error})", path.display());
            Error::new(found, "procfs", "mount it at /proc and run the agent as root")
        })
    }

    fn interfaces_now(&self, bdf: Bdf) -> Result<Vec<Interface>, Error> {
        let names = self.function(bdf)?.net_interfaces()?;
        names.into_iter().map(|name| self.interface(name)).collect()
    }

    fn interface(&self, name: String) -> Result<Interface, Error> {
        let path = self.sys.path().join("class/net").join(&name).join("ifindex");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        match text.trim().parse() {
            Ok(index) => Ok(Interface { name, index }),
            Err(_) => Err(Error::new(
                format!("{} holds `{}`", path.display(), text.trim()),
                "the interface's number",
                "see the kernel log (dmesg) whether the interface went away",
            )),
        }
    }
}

impl Platform for Linux {
    fn boot_id(&self) -> Result<String, Error> {
        Ok(self.read("sys/kernel/random/boot_id")?.trim().to_owned())
    }

    fn command_line(&self) -> Result<String, Error> {
        self.read("cmdline")
    }

    fn bounce_pool(&self) -> Result<Range<u64>, Error> {
        if !kernel_log::is_bounce_forced(&self.command_line()?) {
            return Err(Error::new(
                "the kernel does not bounce every transfer",
                "`swiotlb=force` on its command line",
                "boot with it, or give the device until_verdict and on_refusal = \"unbound\"",
            ));
        }
        kernel_log::pool(&kernel_log::read(&self.log)?).ok_or_else(|| {
            Error::new(
                format!("{} does not say where the bounce buffers are", self.log.display()),
                "a line `software IO TLB: mapped [mem …]`",
                "an unencrypted kernel writes it only if its memory can grow beyond 4 GiB (QEMU: -m SIZE,slots=1,maxmem=8G); if the log was overwritten, make it larger (log_buf_len=1M)",
            )
        })
    }

    fn memory(&self) -> Result<Vec<Range<u64>>, Error> {
        let memory = memory_map::system_ram(&self.read("iomem")?);
        match memory.is_empty() {
            false => Ok(memory),
            true => Err(Error::new(
                "/proc/iomem shows no System RAM",
                "the guest's memory map",
                "run the agent as root with CAP_SYS_ADMIN",
            )),
        }
    }

    fn unix_time(&self, source: Clock) -> Result<i64, Error> {
        match source {
            Clock::System => Ok(rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec),
            Clock::Rtc => {
                let path = self.sys.path().join("class/rtc/rtc0/since_epoch");
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                text.trim().parse().map_err(|_| {
                    let found = format!("{} holds `{}`", path.display(), text.trim());
                    Error::new(
                        found,
                        "seconds since 1970",
                        "load the RTC driver, or set time.source = \"system\"",
                    )
                })
            }
        }
    }

    fn functions(&self) -> Result<Vec<Bdf>, Error> {
        Ok(sriov::functions(&self.sys)?.iter().map(Function::bdf).collect())
    }

    fn stop_autoprobe(&mut self) -> Result<(), Error> {
        Ok(sriov::set_drivers_autoprobe(&self.sys, false)?)
    }

    fn probe(&mut self, bdf: Bdf) -> Result<(), Error> {
        if self.driver(bdf)?.is_some() {
            return Ok(());
        }
        match sriov::probe(&self.sys, bdf) {
            // The driver itself may refuse a function of the machine; that is as if it had none.
            Err(error) if error.errno() == Some(rustix::io::Errno::NODEV) => Ok(()),
            done => Ok(done?),
        }
    }

    fn isolate(&mut self, bdf: Bdf) -> Result<(), Error> {
        Ok(self.function(bdf)?.set_driver_override(Some(NO_DRIVER))?)
    }

    fn driver(&self, bdf: Bdf) -> Result<Option<String>, Error> {
        Ok(self.function(bdf)?.driver()?)
    }

    fn unbind(&mut self, bdf: Bdf) -> Result<(), Error> {
        let function = self.function(bdf)?;
        // First the override: nothing takes the function in between.
        function.set_driver_override(Some(NO_DRIVER))?;
        Ok(function.unbind()?)
    }

    fn bind(&mut self, bdf: Bdf, driver: &str) -> Result<(), Error> {
        Ok(self.function(bdf)?.bind(driver)?)
    }

    fn path(&self, bdf: Bdf) -> Result<Path, Error> {
        match self.group(bdf)?.type_()? {
            GroupType::Identity => Ok(Path::Bounce),
            GroupType::Dma | GroupType::DmaFq => Ok(Path::Direct),
            other => Err(Error::new(
                format!("the IOMMU group of {bdf} has type {other}"),
                "identity, DMA or DMA-FQ",
                "release it from VFIO",
            )),
        }
    }

    fn bounce(&mut self, bdf: Bdf) -> Result<(), Error> {
        self.bounce_pool()?;
        Ok(self.group(bdf)?.set_type(GroupType::Identity)?)
    }

    fn direct(&mut self, bdf: Bdf, _: &Grant<'_>) -> Result<(), Error> {
        Ok(self.own_group(bdf)?.set_type(GroupType::Dma)?)
    }

    fn enable_memory_and_bus_master(&mut self, bdf: Bdf) -> Result<(), Error> {
        Ok(self.function(bdf)?.enable_memory_and_bus_master()?)
    }

    fn bars(&self, bdf: Bdf) -> Result<Vec<Bar>, Error> {
        let bars = self.function(bdf)?.bars()?;
        let memory = bars.iter().filter(|bar| bar.is_memory());
        Ok(memory
            .map(|bar| Bar {
                index: bar.index,
                base: bar.base,
                size: bar.size,
            })
            .collect())
    }

    fn translation(&self, bdf: Bdf) -> Result<Translation, Error> {
        let function = self.function(bdf)?;
        let capabilities = function.extended_capabilities()?;
        // PCIe 6.2 §10.5.1.3, §10.5.2.2, §7.8.9.3: where each capability has its enable bit.
        let enabled = |id: u16, register: u16, bit: u32| -> Result<bool, Error> {
            match capabilities.iter().find(|capability| capability.id == id) {
                None => Ok(false),
                Some(capability) => Ok(function.read_config(capability.offset + register)? & bit != 0),
            }
        };
        Ok(Translation {
            ats: enabled(ID_ATS, 4, 1 << 31)?,
            prs: enabled(ID_PRI, 4, 1)?,
            pasid: enabled(ID_PASID, 4, 1 << 16)?,
        })
    }

    fn interfaces(&mut self, bdf: Bdf) -> Result<Vec<Interface>, Error> {
        if self.function(bdf)?.class() >> 16 != CLASS_NETWORK {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + INTERFACE_DEADLINE;
        loop {
            let found = self.interfaces_now(bdf)?;
            if !found.is_empty() {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(Error::new(
                    format!("{bdf} has no network interface"),
                    "one from its driver",
                    "load the module of its kind (virtio_net for virtio-pci); dmesg says why the driver made none",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn up(&mut self, interface: &Interface) -> Result<(), Error> {
        netlink::up(interface.index).map_err(|errno| {
            let found = format!("{} does not come up ({errno})", interface.name);
            Error::new(
                found,
                "the interface up",
                "run the agent with CAP_NET_ADMIN; see dmesg",
            )
        })
    }

    fn attach(&mut self, interface: &Interface, xdp: &Xdp) -> Result<Box<dyn Packets>, Error> {
        super::packets::attach(interface, xdp)
    }

    fn power_off(&mut self) -> Result<(), Error> {
        rustix::fs::sync();
        rustix::system::reboot(RebootCommand::PowerOff).map_err(|errno| {
            Error::new(
                format!("the guest does not power off ({errno})"),
                "power off",
                "run the agent as root",
            )
        })
    }
}

impl From<sriov::Error> for Error {
    fn from(error: sriov::Error) -> Self {
        Self::new(
            error.to_string(),
            "a function that can be driven so",
            "see the kernel log (dmesg)",
        )
    }
}

const CLASS_NETWORK: u32 = 0x02;
const ID_ATS: u16 = 0x0f;
const ID_PRI: u16 = 0x13;
const ID_PASID: u16 = 0x1b;
/// A driver makes its interface in milliseconds; under full emulation in some tens of them.
const INTERFACE_DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_device_that_shares_its_group_is_not_made_direct() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path();
        let members = sys.join("kernel/iommu_groups/7/devices");
        std::fs::create_dir_all(&members).unwrap();
        let add = |address: &str, class: &str| {
            let function = sys.join("bus/pci/devices").join(address);
            std::fs::create_dir_all(&function).unwrap();
            for (name, text) in [("vendor", "0x1af4"), ("device", "0x1041"), ("class", class)] {
                std::fs::write(function.join(name), text).unwrap();
            }
            symlink("../../../../kernel/iommu_groups/7", function.join("iommu_group")).unwrap();
            symlink(&function, members.join(address)).unwrap();
        };
        let linux = Linux::at(Root::new(sys), "/proc".into(), "/dev/kmsg".into());
        let bdf = "0000:01:00.1".parse().unwrap();
        add("0000:01:00.1", "0x020000");
        add("0000:00:02.0", "0x060400");
        assert!(linux.own_group(bdf).is_ok(), "a bridge is no neighbour");
        add("0000:01:00.2", "0x020000");
        let error = linux.own_group(bdf).unwrap_err().to_string();
        assert!(
            error.contains("0000:01:00.2 is in the same IOMMU group as 0000:01:00.1"),
            "{error}"
        );
    }
}
