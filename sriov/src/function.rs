//! One PCI function: what it is, where its memory lies, which network interfaces it carries.

use std::path::Path;

use crate::config::{self, Capability, ConfigSpace, Registers, TrustedIo};
use crate::sysfs::{self, Attribute, Root};
use crate::{Bdf, Error, Group};

/// A function that was there when it was opened.
///
/// Nothing is kept but its identity: every other question is asked of the kernel when it is put.
#[derive(Debug, Clone)]
pub struct Function {
    root: Root,
    bdf: Bdf,
    identity: Identity,
}

/// What a function says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Class code: base class 23:16, subclass 15:8, programming interface 7:0.
    pub class: u32,
}

/// A base address register that the kernel has given addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// 0 to 5. The upper half of a 64-bit BAR has no entry.
    pub index: u8,
    /// First address, in the CPU's physical address space.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// The kernel's `IORESOURCE_*` bits.
    pub flags: u64,
}

impl Bar {
    /// True for memory, false for I/O ports.
    pub fn is_memory(&self) -> bool {
        self.flags & IORESOURCE_MEM != 0
    }

    /// True if the BAR takes two registers.
    pub fn is_64_bit(&self) -> bool {
        self.flags & IORESOURCE_MEM_64 != 0
    }

    /// True if reads have no side effects.
    pub fn is_prefetchable(&self) -> bool {
        self.flags & IORESOURCE_PREFETCH != 0
    }
}

/// A feature of a DOE mailbox, as the kernel discovered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoeFeature {
    /// Vendor ID; 1 is PCI-SIG.
    pub vendor: u16,
    /// Data object type; for PCI-SIG 0 is discovery, 1 SPDM, 2 secured SPDM.
    pub kind: u8,
}

impl Function {
    /// Opens the function at `bdf`.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none.
    pub fn open(root: &Root, bdf: Bdf) -> Result<Self, Error> {
        let path = root.function_dir(bdf);
        if !sysfs::exists(&path) {
            let cure = "check the address with `lspci -D`; a hot-plugged function may need a rescan";
            return Err(Error::Missing {
                what: "the function",
                path,
                cure,
            });
        }
        Ok(Self {
            root: root.clone(),
            bdf,
            identity: Identity::read(root, bdf)?,
        })
    }

    /// Its address.
    pub fn bdf(&self) -> Bdf {
        self.bdf
    }

    /// The sysfs it was found in.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Its directory in sysfs.
    pub fn path(&self) -> std::path::PathBuf {
        self.root.function_dir(self.bdf)
    }

    /// Vendor, device and class as the kernel read them.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Vendor ID.
    pub fn vendor(&self) -> u16 {
        self.identity.vendor
    }

    /// Device ID.
    pub fn device(&self) -> u16 {
        self.identity.device
    }

    /// Class code, 24 bits.
    pub fn class(&self) -> u32 {
        self.identity.class
    }

    /// True for a bridge, whose driver never stands in the way of its group.
    pub fn is_bridge(&self) -> bool {
        self.identity.class >> 16 == CLASS_BRIDGE
    }

    /// The physical function, if this is a virtual one.
    pub fn physical_function(&self) -> Result<Option<Bdf>, Error> {
        self.link_to_function(&self.attribute(Attribute::PhysFn))
    }

    /// The IOMMU group; `None` if the kernel has put the function in none.
    pub fn iommu_group(&self) -> Result<Option<Group>, Error> {
        let path = self.attribute(Attribute::IommuGroup);
        let Some(name) = sysfs::link_name(&path)? else {
            return Ok(None);
        };
        let id = name
            .parse()
            .map_err(|_| sysfs::malformed(&path, &name, "a link to a group's number"))?;
        Ok(Some(Group::new(&self.root, id)))
    }

    /// The BARs that have addresses, in order.
    pub fn bars(&self) -> Result<Vec<Bar>, Error> {
        let path = self.attribute(Attribute::Resource);
        let text = sysfs::read(&path)?;
        let mut bars = Vec::new();
        for (index, line) in (0..BARS).zip(text.lines()) {
            let bar = parse_bar(index, line);
            bars.extend(
                bar.ok_or_else(|| sysfs::malformed(&path, line, "first address, last address, flags"))?,
            );
        }
        Ok(bars)
    }

    /// Reads the aligned 32-bit register at `offset` bytes of config space.
    pub fn read_config(&self, offset: u16) -> Result<u32, Error> {
        ConfigSpace::open(&self.root, self.bdf)?.read(offset)
    }

    /// Writes the aligned 32-bit register at `offset` bytes of config space.
    pub fn write_config(&self, offset: u16, value: u32) -> Result<(), Error> {
        self.config_writable()?.write(offset, value)
    }

    /// Config space for reading.
    pub fn config(&self) -> Result<ConfigSpace, Error> {
        ConfigSpace::open(&self.root, self.bdf)
    }

    /// Config space for reading and writing.
    pub fn config_writable(&self) -> Result<ConfigSpace, Error> {
        ConfigSpace::open_writable(&self.root, self.bdf)
    }

    /// Lets the function decode memory and master the bus; read back.
    pub fn enable_memory_and_bus_master(&self) -> Result<(), Error> {
        self.config_writable()?.enable_memory_and_bus_master()
    }

    /// The standard capability list.
    pub fn capabilities(&self) -> Result<Vec<Capability>, Error> {
        config::capabilities(&self.config()?)
    }

    /// The extended capability list.
    pub fn extended_capabilities(&self) -> Result<Vec<Capability>, Error> {
        config::extended_capabilities(&self.config()?)
    }

    /// TEE-IO bit, DOE mailboxes, IDE and ACS.
    pub fn trusted_io(&self) -> Result<TrustedIo, Error> {
        config::trusted_io(&self.config()?)
    }

    /// What the kernel found in the function's DOE mailboxes, without touching them. Empty before Linux 6.16,
    /// which does not publish it.
    pub fn doe_features(&self) -> Result<Vec<DoeFeature>, Error> {
        let names = sysfs::list_if_present(&self.attribute(Attribute::DoeFeatures))?;
        let mut features: Vec<_> = names.iter().filter_map(|name| parse_doe_feature(name)).collect();
        features.sort_unstable();
        features.dedup();
        Ok(features)
    }

    /// Names of the network interfaces that the function's driver made, its virtio children's among them.
    pub fn net_interfaces(&self) -> Result<Vec<String>, Error> {
        let mut names = sysfs::list_if_present(&self.attribute(Attribute::Net))?;
        for child in sysfs::list(&self.path())? {
            if is_virtio_name(&child) {
                names.extend(sysfs::list_if_present(&self.path().join(child).join("net"))?);
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The ways in which the kernel can reset this function, best first (`flr`, `pm`, `bus`, …).
    pub fn reset_methods(&self) -> Result<Vec<String>, Error> {
        let text = sysfs::read_if_present(&self.attribute(Attribute::ResetMethod))?.unwrap_or_default();
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    pub(crate) fn attribute(&self, attribute: Attribute) -> std::path::PathBuf {
        self.root.attribute(self.bdf, attribute)
    }

    pub(crate) fn link_to_function(&self, path: &Path) -> Result<Option<Bdf>, Error> {
        let Some(name) = sysfs::link_name(path)? else {
            return Ok(None);
        };
        name.parse()
            .map(Some)
            .map_err(|_| sysfs::malformed(path, &name, "a link to a PCI function"))
    }
}

impl Identity {
    fn read(root: &Root, bdf: Bdf) -> Result<Self, Error> {
        Ok(Self {
            vendor: read_id(&root.attribute(bdf, Attribute::Vendor))?,
            device: read_id(&root.attribute(bdf, Attribute::Device))?,
            class: sysfs::read_number(&root.attribute(bdf, Attribute::Class))?,
        })
    }
}

fn read_id(path: &Path) -> Result<u16, Error> {
    let value = sysfs::read_number(path)?;
    value
        .try_into()
        .map_err(|_| sysfs::malformed(path, &format!("{value:#x}"), "16 bits"))
}

/// All functions in order of address. One that goes while they are listed is left out.
pub fn functions(root: &Root) -> Result<Vec<Function>, Error> {
    let names = sysfs::list(&root.functions_dir())?;
    let mut addresses: Vec<Bdf> = names.iter().filter_map(|name| name.parse().ok()).collect();
    addresses.sort_unstable();
    let mut functions = Vec::with_capacity(addresses.len());
    for bdf in addresses {
        match Function::open(root, bdf) {
            Err(error) if error.is_absent() => {}
            other => functions.push(other?),
        }
    }
    Ok(functions)
}

/// `Some(None)` for a BAR without addresses, `None` for a line that says nothing.
fn parse_bar(index: u8, line: &str) -> Option<Option<Bar>> {
    let mut fields = line.split(' ').map(|field| {
        let digits = field.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    });
    let (first, last, flags) = (fields.next()??, fields.next()??, fields.next()??);
    if fields.next().is_some() {
        return None;
    }
    if flags == 0 {
        return Some(None);
    }
    let size = last.checked_sub(first)?.checked_add(1)?;
    Some(Some(Bar {
        index,
        base: first,
        size,
        flags,
    }))
}

/// `VVVV:TT`, or the alias `doe_discovery` that the kernel gives 0001:00.
fn parse_doe_feature(name: &str) -> Option<DoeFeature> {
    if name == "doe_discovery" {
        return Some(DoeFeature { vendor: 1, kind: 0 });
    }
    let (vendor, kind) = name.split_once(':')?;
    Some(DoeFeature {
        vendor: u16::from_str_radix(vendor, 16).ok()?,
        kind: u8::from_str_radix(kind, 16).ok()?,
    })
}

fn is_virtio_name(name: &str) -> bool {
    name.strip_prefix("virtio")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

const BARS: u8 = 6;
const CLASS_BRIDGE: u32 = 0x06;
const IORESOURCE_MEM: u64 = 0x0000_0200;
const IORESOURCE_PREFETCH: u64 = 0x0000_2000;
const IORESOURCE_MEM_64: u64 = 0x0010_0000;
