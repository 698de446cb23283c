//! IOMMU groups: the smallest set of functions that the IOMMU can tell from others.
//!
//! The group's *type* says what its DMA goes through:
//!
//! | type | what a transfer does | in Tidelock's guest |
//! |---|---|---|
//! | `identity` | reaches physical addresses as they are | with `swiotlb=force`: every transfer is bounced |
//! | `DMA` | is translated; each unmap waits for the flush | direct, and only what is mapped |
//! | `DMA-FQ` | is translated; flushes are gathered | direct, faster, a short window after each unmap |

use std::fmt;

use rustix::io::Errno;

use crate::sysfs::{self, Root};
use crate::{Bdf, Error, Function};

/// What DMA of a group goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupType {
    /// No translation.
    Identity,
    /// Translated, strict flushes.
    Dma,
    /// Translated, gathered flushes.
    DmaFq,
    /// All DMA is refused. The kernel sets it, nobody else can.
    Blocked,
    /// A user (VFIO) has the group. The kernel sets it, nobody else can.
    Unmanaged,
}

impl GroupType {
    /// The kernel's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Dma => "DMA",
            Self::DmaFq => "DMA-FQ",
            Self::Blocked => "blocked",
            Self::Unmanaged => "unmanaged",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::Identity,
            Self::Dma,
            Self::DmaFq,
            Self::Blocked,
            Self::Unmanaged,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for GroupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An IOMMU group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    root: Root,
    id: u32,
}

/// One function of a group, and whether it lets user space have the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub bdf: Bdf,
    /// Its driver.
    pub driver: Option<String>,
    /// True for a bridge.
    pub bridge: bool,
}

impl Member {
    /// True if a kernel driver that does DMA has the function, so that VFIO refuses the whole group.
    pub fn blocks_vfio(&self) -> bool {
        let harmless = |driver: &str| matches!(driver, "pci-stub" | "pcieport") || driver.starts_with("vfio");
        !self.bridge && !self.driver.as_deref().is_none_or(harmless)
    }
}

impl Group {
    pub(crate) fn new(root: &Root, id: u32) -> Self {
        Self {
            root: root.clone(),
            id,
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its type now.
    pub fn type_(&self) -> Result<GroupType, Error> {
        let path = self.root.group_type(self.id);
        let text = sysfs::read(&path)?;
        GroupType::parse(&text).ok_or_else(|| sysfs::malformed(&path, &text, "an IOMMU domain type"))
    }

    /// Changes the type, and reads it back. Does nothing if it is so already.
    ///
    /// All functions of the group must be without driver, unless the change is from `DMA` to `DMA-FQ`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EPERM` (before Linux 6.5 `EBUSY`) if a function has a driver; [`Error::NoEffect`] if the kernel chose
    /// another type, as it does for `DMA-FQ` where the IOMMU cannot gather flushes.
    pub fn set_type(&self, wanted: GroupType) -> Result<(), Error> {
        if matches!(wanted, GroupType::Blocked | GroupType::Unmanaged) {
            let found = wanted.to_string();
            return Err(Error::Caller {
                what: "a group's type",
                found,
                wanted: "identity, DMA or DMA-FQ",
            });
        }
        if self.type_()? == wanted {
            return Ok(());
        }
        let path = self.root.group_type(self.id);
        sysfs::write(&path, wanted.as_str(), type_cure)?;
        let found = self.type_()?;
        if found == wanted {
            return Ok(());
        }
        let cure =
            "the platform's IOMMU or the function's firmware requirements rule it out: choose another type";
        Err(Error::NoEffect {
            path,
            found: found.to_string(),
            wanted: wanted.to_string(),
            cure,
        })
    }

    /// The functions in it, in order of address.
    pub fn members(&self) -> Result<Vec<Member>, Error> {
        let names = sysfs::list(&self.root.group_devices(self.id))?;
        // A group can hold devices of other buses too; they have no PCI address.
        let addresses = names.iter().filter_map(|name| name.parse::<Bdf>().ok());
        let mut members = Vec::new();
        for bdf in addresses {
            let function = Function::open(&self.root, bdf)?;
            members.push(Member {
                bdf,
                driver: function.driver()?,
                bridge: function.is_bridge(),
            });
        }
        members.sort_unstable_by_key(|member| member.bdf);
        Ok(members)
    }

    /// The members that keep user space from having the group; empty if the group is viable.
    pub fn blockers(&self) -> Result<Vec<Member>, Error> {
        let mut members = self.members()?;
        members.retain(Member::blocks_vfio);
        Ok(members)
    }
}

fn type_cure(errno: Errno) -> Option<&'static str> {
    match errno {
        // EBUSY before Linux 6.5, EPERM since.
        Errno::BUSY | Errno::PERM => {
            Some("a group's type is fixed while it is used: unbind the drivers of all its functions first")
        }
        Errno::INVAL => Some("the kernel or the IOMMU does not offer this type for this group"),
        Errno::ACCESS => Some("run as root with CAP_SYS_ADMIN and CAP_SYS_RAWIO"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_does_dma_blocks_its_group_and_bridges_and_stubs_do_not() {
        let member = |driver: Option<&str>, bridge| Member {
            bdf: Bdf::from_rid(0, 0),
            driver: driver.map(str::to_owned),
            bridge,
        };
        assert!(member(Some("nvme"), false).blocks_vfio());
        assert!(!member(Some("shpchp"), true).blocks_vfio());
        for driver in [None, Some("vfio-pci"), Some("vfio_pci_igb"), Some("pci-stub")] {
            assert!(!member(driver, false).blocks_vfio(), "{driver:?}");
        }
    }
}
