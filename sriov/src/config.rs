//! Config space: registers, and the two capability lists, walked so that no device can hold us in a loop.
//!
//! Offsets and bits are those of PCI Express Base 6.x chapter 7; the constants' names are the specification's.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sysfs::{self, Attribute, Root};
use crate::{Bdf, Error};

/// Registers of a function by offset: the config file, or bytes in a test.
pub trait Registers {
    /// The aligned 32-bit register at `offset` bytes.
    fn read(&self, offset: u16) -> Result<u32, Error>;
}

/// The config file of one function.
///
/// Nothing serialises two users of a function's registers, the kernel included: who drives a DOE mailbox
/// through this must know that nobody else does (see the crate's documentation).
#[derive(Debug)]
pub struct ConfigSpace {
    file: File,
    path: PathBuf,
}

impl ConfigSpace {
    /// Opens for reading.
    pub fn open(root: &Root, bdf: Bdf) -> Result<Self, Error> {
        Self::open_path(root.attribute(bdf, Attribute::Config), false)
    }

    /// Opens for reading and writing, which takes root's rights.
    pub fn open_writable(root: &Root, bdf: Bdf) -> Result<Self, Error> {
        Self::open_path(root.attribute(bdf, Attribute::Config), true)
    }

    fn open_path(path: PathBuf, writable: bool) -> Result<Self, Error> {
        Ok(Self {
            file: sysfs::open_config(&path, writable)?,
            path,
        })
    }

    /// Writes the aligned 32-bit register at `offset` bytes.
    pub fn write(&self, offset: u16, value: u32) -> Result<(), Error> {
        self.write_bytes(offset, &value.to_le_bytes())
    }

    /// Sets `bits` of the 16-bit register at `offset` and reads them back.
    fn set_u16(&self, offset: u16, bits: u16) -> Result<(), Error> {
        let before = self.read_u16(offset)?;
        self.write_bytes(offset, &(before | bits).to_le_bytes())?;
        let after = self.read_u16(offset)?;
        if after & bits == bits {
            return Ok(());
        }
        Err(Error::NoEffect {
            path: self.path.clone(),
            found: format!("{after:#06x} at {offset:#x}"),
            wanted: format!("bits {bits:#06x}"),
            cure: "the device does not take these bits: it may be in a low-power state, in reset, or gone",
        })
    }

    fn read_u16(&self, offset: u16) -> Result<u16, Error> {
        let mut bytes = [0; 2];
        self.read_bytes(offset, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn read_bytes(&self, offset: u16, bytes: &mut [u8]) -> Result<(), Error> {
        self.file
            .read_exact_at(bytes, u64::from(offset))
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::UnexpectedEof => self.too_short(offset, bytes.len()),
                _ => sysfs::refused("read config space", &self.path, &e),
            })
    }

    fn write_bytes(&self, offset: u16, bytes: &[u8]) -> Result<(), Error> {
        // A plain file (a test's tree) would grow where config space ends; sysfs answers a short write.
        self.read_bytes(offset, &mut [0; 4][..bytes.len()])?;
        let put = self.file.write_all_at(bytes, u64::from(offset));
        put.map_err(|e| sysfs::refused("write config space", &self.path, &e))
    }

    fn too_short(&self, offset: u16, bytes: usize) -> Error {
        Error::ConfigTooShort {
            path: self.path.clone(),
            offset,
            bytes,
        }
    }

    /// The config file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the function decode its memory BARs and master the bus (MSE and BME of the Command register).
    ///
    /// A device locked under TDISP keeps these as they are; set them before the lock.
    pub fn enable_memory_and_bus_master(&self) -> Result<(), Error> {
        self.set_u16(COMMAND, COMMAND_MEMORY_SPACE | COMMAND_BUS_MASTER)
    }

    /// True if both MSE and BME are set.
    pub fn is_memory_and_bus_master_enabled(&self) -> Result<bool, Error> {
        let both = COMMAND_MEMORY_SPACE | COMMAND_BUS_MASTER;
        Ok(self.read_u16(COMMAND)? & both == both)
    }
}

impl Registers for ConfigSpace {
    fn read(&self, offset: u16) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        self.read_bytes(offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

/// One entry of a capability list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// The capability's ID: of [`cap`] in the standard list, of [`ecap`] in the extended one.
    pub id: u16,
    /// Its version; 0 in the standard list, which has none.
    pub version: u8,
    /// Where it begins, in bytes.
    pub offset: u16,
}

/// IDs of standard capabilities.
pub mod cap {
    /// PCI Express.
    pub const PCI_EXPRESS: u16 = 0x10;
    /// MSI-X.
    pub const MSI_X: u16 = 0x11;
}

/// IDs of extended capabilities.
pub mod ecap {
    /// Access Control Services.
    pub const ACS: u16 = 0x0d;
    /// Single Root I/O Virtualization.
    pub const SR_IOV: u16 = 0x10;
    /// Data Object Exchange.
    pub const DOE: u16 = 0x2e;
    /// Integrity and Data Encryption.
    pub const IDE: u16 = 0x30;
}

/// The standard capability list, in its own order.
///
/// # Errors
/// [`Error::BrokenCapabilities`] if the list loops or points below 0x40.
pub fn capabilities(registers: &dyn Registers) -> Result<Vec<Capability>, Error> {
    let mut found = Vec::new();
    if registers.read(COMMAND)? >> 16 & STATUS_CAPABILITIES_LIST == 0 {
        return Ok(found);
    }
    let mut offset = registers.read(CAPABILITIES_POINTER)? as u8 & !3;
    while offset != 0 {
        let at = u16::from(offset);
        if at < 0x40 {
            return Err(broken("standard", at, "a pointer into the header"));
        }
        if found.len() == STANDARD_MAX {
            return Err(broken("standard", at, "the list loops"));
        }
        let header = registers.read(at)?;
        found.push(Capability {
            id: header as u16 & 0xff,
            version: 0,
            offset: at,
        });
        offset = (header >> 8) as u8 & !3;
    }
    Ok(found)
}

/// The extended capability list, in its own order; empty for a function without one.
///
/// # Errors
/// [`Error::BrokenCapabilities`] if the list loops or points below 0x100.
pub fn extended_capabilities(registers: &dyn Registers) -> Result<Vec<Capability>, Error> {
    let mut found = Vec::new();
    let mut offset = EXTENDED_FIRST;
    while offset != 0 {
        if offset < EXTENDED_FIRST {
            return Err(broken("extended", offset, "a pointer into the first 256 bytes"));
        }
        if found.len() == EXTENDED_MAX {
            return Err(broken("extended", offset, "the list loops"));
        }
        let header = match registers.read(offset) {
            Err(Error::ConfigTooShort { .. }) if found.is_empty() => return Ok(found),
            other => other?,
        };
        if header == 0 || header == u32::MAX {
            return Ok(found);
        }
        found.push(Capability {
            id: header as u16,
            version: (header >> 16) as u8 & 0xf,
            offset,
        });
        offset = (header >> 20) as u16 & !3;
    }
    Ok(found)
}

/// What the function's config space says of the trusted I/O it can do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedIo {
    /// Device Capabilities bit 30: the function (and those it manages) can be a TEE device interface.
    pub tee_io: bool,
    /// Where each DOE capability begins, in bytes.
    pub doe_mailboxes: Vec<u16>,
    /// Where the IDE capability begins.
    pub ide: Option<u16>,
    /// Where the ACS capability begins.
    pub acs: Option<u16>,
    /// Where the SR-IOV capability begins.
    pub sr_iov: Option<u16>,
}

/// Reads [`TrustedIo`] from both lists.
pub fn trusted_io(registers: &dyn Registers) -> Result<TrustedIo, Error> {
    let extended = extended_capabilities(registers)?;
    let all = |id| extended.iter().filter(move |c| c.id == id).map(|c| c.offset);
    Ok(TrustedIo {
        tee_io: tee_io(registers)?,
        doe_mailboxes: all(ecap::DOE).collect(),
        ide: all(ecap::IDE).next(),
        acs: all(ecap::ACS).next(),
        sr_iov: all(ecap::SR_IOV).next(),
    })
}

/// TEE-IO Supported, Device Capabilities bit 30 (PCIe 6.x §7.5.3.3).
fn tee_io(registers: &dyn Registers) -> Result<bool, Error> {
    let express = capabilities(registers)?
        .into_iter()
        .find(|c| c.id == cap::PCI_EXPRESS);
    let Some(express) = express else { return Ok(false) };
    // The offset is at most 0xfc, so this cannot wrap; a list that ends there reads past 0xff, not past the file.
    Ok(registers.read(express.offset + DEVICE_CAPABILITIES)? & DEVICE_CAPABILITIES_TEE_IO != 0)
}

fn broken(list: &'static str, offset: u16, why: &'static str) -> Error {
    Error::BrokenCapabilities { list, offset, why }
}

const COMMAND: u16 = 0x04;
const COMMAND_MEMORY_SPACE: u16 = 1 << 1;
const COMMAND_BUS_MASTER: u16 = 1 << 2;
const STATUS_CAPABILITIES_LIST: u32 = 1 << 4;
const CAPABILITIES_POINTER: u16 = 0x34;
const DEVICE_CAPABILITIES: u16 = 4;
const DEVICE_CAPABILITIES_TEE_IO: u32 = 1 << 30;
const EXTENDED_FIRST: u16 = 0x100;
/// Aligned places from 0x40 to 0xfc: a longer list has been somewhere twice.
const STANDARD_MAX: usize = (0x100 - 0x40) / 4;
/// Aligned places from 0x100 to 0xffc.
const EXTENDED_MAX: usize = (0x1000 - 0x100) / 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Bytes(Vec<u8>);

    impl Registers for Bytes {
        fn read(&self, offset: u16) -> Result<u32, Error> {
            let at = usize::from(offset);
            let word = self.0.get(at..at + 4).and_then(|b| b.try_into().ok());
            word.map(u32::from_le_bytes).ok_or(Error::ConfigTooShort {
                path: "bytes".into(),
                offset,
                bytes: 4,
            })
        }
    }

    fn space(words: &[(usize, u32)]) -> Bytes {
        let mut bytes = vec![0; 4096];
        for (at, word) in words {
            bytes[*at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        Bytes(bytes)
    }

    #[test]
    fn both_lists_are_walked_and_tee_io_is_read() {
        let registers = space(&[
            (0x04, 0x0010_0000),
            (0x34, 0x40),
            (0x40, 0x0002_7010),
            (0x44, 1 << 30),
            (0x70, 0x0000_0011),
            (0x100, 0x1401_000d),
            (0x140, 0x1501_002e),
            (0x150, 0x0001_0030),
        ]);
        let ids: Vec<u16> = capabilities(&registers).unwrap().iter().map(|c| c.id).collect();
        assert_eq!(ids, [cap::PCI_EXPRESS, cap::MSI_X]);
        let expected = TrustedIo {
            tee_io: true,
            doe_mailboxes: vec![0x140],
            ide: Some(0x150),
            acs: Some(0x100),
            sr_iov: None,
        };
        assert_eq!(trusted_io(&registers).unwrap(), expected);
    }

    #[test]
    fn a_list_that_loops_is_an_error_and_no_hang() {
        let standard = space(&[(0x04, 0x0010_0000), (0x34, 0x40), (0x40, 0x4405), (0x44, 0x4005)]);
        let why = capabilities(&standard).unwrap_err();
        assert!(
            matches!(why, Error::BrokenCapabilities { list: "standard", .. }),
            "{why}"
        );
        let extended = space(&[(0x100, 0x1001_000d)]);
        let why = extended_capabilities(&extended).unwrap_err();
        assert!(
            matches!(why, Error::BrokenCapabilities { list: "extended", .. }),
            "{why}"
        );
    }

    #[test]
    fn a_pointer_into_the_header_is_an_error() {
        let standard = space(&[(0x04, 0x0010_0000), (0x34, 0x10)]);
        assert!(matches!(
            capabilities(&standard),
            Err(Error::BrokenCapabilities { offset: 0x10, .. })
        ));
        let extended = space(&[(0x100, 0x0401_000d)]);
        assert!(matches!(
            extended_capabilities(&extended),
            Err(Error::BrokenCapabilities { offset: 0x40, .. })
        ));
    }

    #[test]
    fn a_function_that_fell_off_the_bus_has_no_capabilities_worth_believing() {
        let gone = Bytes(vec![0xff; 4096]);
        assert!(capabilities(&gone).is_err());
        assert_eq!(extended_capabilities(&gone).unwrap(), []);
    }

    proptest! {
        #[test]
        fn no_config_space_makes_the_walk_panic_or_hang(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let registers = Bytes(bytes);
            let _ = trusted_io(&registers);
            let standard = capabilities(&registers).map_or(0, |found| found.len());
            prop_assert!(standard <= STANDARD_MAX);
        }
    }
}
