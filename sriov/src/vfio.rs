//! Preflight: does a function that is bound to VFIO work, before a customer's VM depends on it?
//!
//! ```text
//! sysfs: driver is vfio-*? group viable? ─► KVM: a VM and its VFIO device ─► iommufd and cdev, or container and group
//!   ─► open the function ─► its IDs through VFIO ─► map and unmap memory ─► reset it ─► its IDs again ─► report
//! ```
//! Everything is closed again before the report is there, so that a VMM finds the function free. The function must
//! not be in use: preflight resets it.
//!
//! vfio-ioctls logs a failed register access and goes on; so what was read is compared with what sysfs says, and a
//! failed read shows as IDs of all ones.
// UNSAFETY: a page range is mapped for DMA, which vfio-ioctls rightly calls unsafe.
#![allow(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iommufd_ioctls::{IommuFd, IommufdError};
use kvm_bindings::{kvm_create_device, kvm_device_type_KVM_DEV_TYPE_VFIO};
use kvm_ioctls::{DeviceFd, Kvm};
use vfio_bindings::bindings::vfio::{
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_INTX_IRQ_INDEX,
    VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioDeviceFd, VfioError, VfioIommufd, VfioOps};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::sysfs::{self, Attribute};
use crate::{Bdf, Error, Function, Member, Root};

/// How user space reaches the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// `/dev/iommu` and the function's own device file: what binding a TDI will need.
    Cdev,
    /// `/dev/vfio/vfio` and the group's device file.
    Group(u32),
}

/// A region of the function: BARs 0 to 5, the ROM (6), config space (7), VGA (8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// VFIO's index of it.
    pub index: u32,
    /// Bytes.
    pub size: u64,
    /// The kernel's `VFIO_REGION_INFO_FLAG_*` bits.
    pub flags: u32,
}

/// How many interrupts the function can send in each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interrupts {
    /// Pin: 0 or 1.
    pub intx: u32,
    /// Message signalled.
    pub msi: u32,
    /// Message signalled, extended.
    pub msi_x: u32,
}

/// What preflight saw of a function that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The function.
    pub bdf: Bdf,
    /// How it was reached.
    pub interface: Interface,
    /// Regions that are not empty.
    pub regions: Vec<Region>,
    /// Its interrupts.
    pub interrupts: Interrupts,
    /// The ways in which the kernel can reset it, best first; without `flr` a reset may touch its siblings.
    pub reset_methods: Vec<String>,
    /// How long it all took.
    pub took: Duration,
}

/// Why a function cannot be given to a VM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It has another driver, or none.
    #[error("{bdf} has {}, wanted vfio-pci or a driver of its family: bind it first", found.as_deref().unwrap_or("no driver"))]
    NotBound {
        /// The function.
        bdf: Bdf,
        /// Its driver.
        found: Option<String>,
    },
    /// No IOMMU stands between it and memory.
    #[error(
        "{bdf} is in no IOMMU group: switch the IOMMU on in firmware and kernel (intel_iommu=on, or AMD-Vi)"
    )]
    NoIommu {
        /// The function.
        bdf: Bdf,
    },
    /// The kernel drives another function of its group.
    #[error(
        "the IOMMU group of {bdf} is held by {}: unbind these, or bind them to vfio-pci too",
        list(blockers)
    )]
    GroupHeld {
        /// The function.
        bdf: Bdf,
        /// Who holds the group.
        blockers: Vec<Member>,
    },
    /// KVM is not there.
    #[error(
        "cannot {step} with KVM: {source}; load kvm_intel or kvm_amd and see that /dev/kvm may be opened"
    )]
    Kvm {
        /// What was tried; reads on after `cannot`.
        step: &'static str,
        /// The kernel's reason.
        source: kvm_ioctls::Error,
    },
    /// iommufd did not take it.
    #[error("cannot use /dev/iommu: {source}; load iommufd and see that the file may be opened")]
    Iommufd {
        /// Why.
        source: IommufdError,
    },
    /// VFIO did not take it.
    #[error(
        "cannot {step}: {source}; see that vfio is loaded, that no VM has the function, and RLIMIT_MEMLOCK"
    )]
    Vfio {
        /// What was tried; reads on after `cannot`.
        step: &'static str,
        /// Why.
        source: VfioError,
    },
    /// There is no memory to map.
    #[error("cannot map memory to try DMA with: {why}")]
    Memory {
        /// Why.
        why: String,
    },
    /// It does not answer, or as another.
    #[error(
        "{bdf} says {found:#010x} through VFIO {when}, wanted {wanted:#010x} (device, vendor): it is gone or faulty"
    )]
    Silent {
        /// The function.
        bdf: Bdf,
        /// `before reset` or `after reset`.
        when: &'static str,
        /// Device ID in the upper half, vendor ID in the lower, as read; all ones if not read.
        found: u32,
        /// The same from sysfs.
        wanted: u32,
    },
    /// sysfs did not say what it should.
    #[error(transparent)]
    Sysfs(#[from] Error),
}

/// Opens, reads, maps and resets the function, and closes it again.
///
/// # Errors
/// [`Unfit`] says what is missing and what to do about it.
pub fn preflight(root: &Root, bdf: Bdf) -> Result<Report, Unfit> {
    let function = Function::open(root, bdf)?;
    let interface = interface(&function)?;
    let started = Instant::now();
    let ops = open(interface, kvm_vfio_device()?)?;
    let device = VfioDevice::new(&function.path(), Arc::clone(&ops), true);
    let device = device.map_err(vfio("open the function"))?;
    check_identity(&function, &device, "before reset")?;
    map_and_unmap(&*ops)?;
    device.reset();
    check_identity(&function, &device, "after reset")?;
    let (regions, interrupts) = (regions(&device), interrupts(&device));
    drop(device);
    let reset_methods = function.reset_methods()?;
    Ok(Report {
        bdf,
        interface,
        regions,
        interrupts,
        reset_methods,
        took: started.elapsed(),
    })
}

/// What sysfs alone can say against it.
fn interface(function: &Function) -> Result<Interface, Unfit> {
    let (bdf, found) = (function.bdf(), function.driver()?);
    if !found.as_deref().is_some_and(|driver| driver.starts_with("vfio")) {
        return Err(Unfit::NotBound { bdf, found });
    }
    let group = function.iommu_group()?.ok_or(Unfit::NoIommu { bdf })?;
    let blockers = group.blockers()?;
    if !blockers.is_empty() {
        return Err(Unfit::GroupHeld { bdf, blockers });
    }
    let cdev = sysfs::exists(&function.attribute(Attribute::VfioDev)) && Path::new(IOMMUFD).exists();
    Ok(if cdev {
        Interface::Cdev
    } else {
        Interface::Group(group.id())
    })
}

/// A VM without CPUs or memory, and the device by which KVM learns which functions are its own.
fn kvm_vfio_device() -> Result<Arc<VfioDeviceFd>, Unfit> {
    let failed = |step| move |source| Unfit::Kvm { step, source };
    let vm = Kvm::new()
        .and_then(|kvm| kvm.create_vm())
        .map_err(failed("make a VM"))?;
    let mut wanted = kvm_create_device {
        type_: kvm_device_type_KVM_DEV_TYPE_VFIO,
        fd: 0,
        flags: 0,
    };
    let device: DeviceFd = vm
        .create_device(&mut wanted)
        .map_err(failed("make a VFIO device"))?;
    Ok(Arc::new(VfioDeviceFd::new_from_kvm(device)))
}

fn open(interface: Interface, kvm: Arc<VfioDeviceFd>) -> Result<Arc<dyn VfioOps>, Unfit> {
    match interface {
        Interface::Cdev => {
            let iommufd = IommuFd::new().map_err(|source| Unfit::Iommufd { source })?;
            let ops = VfioIommufd::new(Arc::new(iommufd), None, Some(kvm));
            Ok(Arc::new(ops.map_err(vfio("make an I/O address space"))?))
        }
        Interface::Group(_) => {
            let ops = VfioContainer::new(Some(kvm));
            Ok(Arc::new(ops.map_err(vfio("open /dev/vfio/vfio"))?))
        }
    }
}

fn check_identity(function: &Function, device: &VfioDevice, when: &'static str) -> Result<(), Unfit> {
    let wanted = u32::from(function.device()) << 16 | u32::from(function.vendor());
    let mut bytes = [0xff; 4];
    device.region_read(VFIO_PCI_CONFIG_REGION_INDEX, &mut bytes, 0);
    let found = u32::from_le_bytes(bytes);
    if found == wanted {
        return Ok(());
    }
    Err(Unfit::Silent {
        bdf: function.bdf(),
        when,
        found,
        wanted,
    })
}

/// As a VMM does with its guest's memory.
fn map_and_unmap(ops: &dyn VfioOps) -> Result<(), Unfit> {
    let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(TRIAL_ADDRESS), TRIAL_BYTES)])
        .map_err(|error| Unfit::Memory {
            why: error.to_string(),
        })?;
    let start = memory.get_host_address(GuestAddress(TRIAL_ADDRESS));
    let start = start.map_err(|error| Unfit::Memory {
        why: error.to_string(),
    })?;
    // SAFETY: `memory` owns these bytes until after they are unmapped below, and nobody makes a reference to them;
    // if unmapping fails, `memory` is leaked, so that the range never becomes somebody else's.
    unsafe { ops.vfio_dma_map(TRIAL_ADDRESS, TRIAL_BYTES, start) }.map_err(vfio("map memory for DMA"))?;
    let unmapped = ops
        .vfio_dma_unmap(TRIAL_ADDRESS, TRIAL_BYTES)
        .map_err(vfio("unmap memory"));
    if unmapped.is_err() {
        std::mem::forget(memory);
    }
    unmapped
}

fn regions(device: &VfioDevice) -> Vec<Region> {
    (VFIO_PCI_BAR0_REGION_INDEX..=VFIO_PCI_CONFIG_REGION_INDEX)
        .map(|index| Region {
            index,
            size: device.get_region_size(index),
            flags: device.get_region_flags(index),
        })
        .filter(|region| region.size != 0)
        .collect()
}

fn interrupts(device: &VfioDevice) -> Interrupts {
    let count = |index| device.get_irq_info(index).map_or(0, |interrupt| interrupt.count);
    Interrupts {
        intx: count(VFIO_PCI_INTX_IRQ_INDEX),
        msi: count(VFIO_PCI_MSI_IRQ_INDEX),
        msi_x: count(VFIO_PCI_MSIX_IRQ_INDEX),
    }
}

fn vfio(step: &'static str) -> impl FnOnce(VfioError) -> Unfit {
    move |source| Unfit::Vfio { step, source }
}

fn list(members: &[Member]) -> String {
    let name = |member: &Member| {
        format!(
            "{} ({})",
            member.bdf,
            member.driver.as_deref().unwrap_or("no driver")
        )
    };
    members.iter().map(name).collect::<Vec<_>>().join(", ")
}

const IOMMUFD: &str = "/dev/iommu";
/// Above the low ranges that some platforms reserve for interrupts.
const TRIAL_ADDRESS: u64 = 1 << 32;
/// One large page.
const TRIAL_BYTES: usize = 2 << 20;
