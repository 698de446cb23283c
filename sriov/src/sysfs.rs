//! The only file that knows where sysfs keeps things, and the only one that opens them.
//!
//! Every read is bounded: a sysfs attribute is one page, and whatever stands under a root that is not
//! sysfs (a test's tree, a bind mount gone wrong) must not fill memory.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::{Bdf, Error};

/// Where sysfs is mounted: `/sys`, or a tree shaped like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self::new("/sys")
    }
}

impl Root {
    /// A sysfs at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The directory of one function.
    pub fn function_dir(&self, bdf: Bdf) -> PathBuf {
        self.0.join("bus/pci/devices").join(bdf.to_string())
    }

    pub(crate) fn functions_dir(&self) -> PathBuf {
        self.0.join("bus/pci/devices")
    }

    pub(crate) fn attribute(&self, bdf: Bdf, attribute: Attribute) -> PathBuf {
        self.function_dir(bdf).join(attribute.name())
    }

    pub(crate) fn virtfn(&self, pf: Bdf, index: u16) -> PathBuf {
        self.function_dir(pf).join(format!("virtfn{index}"))
    }

    pub(crate) fn pci_driver_dir(&self, driver: &str) -> PathBuf {
        self.0.join("bus/pci/drivers").join(driver)
    }

    pub(crate) fn drivers_probe(&self) -> PathBuf {
        self.0.join("bus/pci/drivers_probe")
    }

    pub(crate) fn drivers_autoprobe(&self) -> PathBuf {
        self.0.join("bus/pci/drivers_autoprobe")
    }

    pub(crate) fn group_type(&self, group: u32) -> PathBuf {
        self.group_dir(group).join("type")
    }

    pub(crate) fn group_devices(&self, group: u32) -> PathBuf {
        self.group_dir(group).join("devices")
    }

    pub(crate) fn group_dir(&self, group: u32) -> PathBuf {
        self.0.join("kernel/iommu_groups").join(group.to_string())
    }

    pub(crate) fn tsm_class(&self) -> PathBuf {
        self.0.join("class/tsm")
    }
}

/// A file, link or directory of a function's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    Vendor,
    Device,
    Class,
    Config,
    Resource,
    Driver,
    DriverUnbind,
    DriverOverride,
    IommuGroup,
    Net,
    DoeFeatures,
    ResetMethod,
    PhysFn,
    TotalVfs,
    NumVfs,
    VfAutoprobe,
    VfioDev,
    TsmDir,
    TsmConnect,
    TsmDisconnect,
    TsmDsm,
    TsmBound,
}

impl Attribute {
    const fn name(self) -> &'static str {
        match self {
            Self::Vendor => "vendor",
            Self::Device => "device",
            Self::Class => "class",
            Self::Config => "config",
            Self::Resource => "resource",
            Self::Driver => "driver",
            Self::DriverUnbind => "driver/unbind",
            Self::DriverOverride => "driver_override",
            Self::IommuGroup => "iommu_group",
            Self::Net => "net",
            Self::DoeFeatures => "doe_features",
            Self::ResetMethod => "reset_method",
            Self::PhysFn => "physfn",
            Self::TotalVfs => "sriov_totalvfs",
            Self::NumVfs => "sriov_numvfs",
            Self::VfAutoprobe => "sriov_drivers_autoprobe",
            Self::VfioDev => "vfio-dev",
            Self::TsmDir => "tsm",
            Self::TsmConnect => "tsm/connect",
            Self::TsmDisconnect => "tsm/disconnect",
            Self::TsmDsm => "tsm/dsm",
            Self::TsmBound => "tsm/bound",
        }
    }
}

/// The text of an attribute without its final newline.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| refused("read", path, &e))?;
    file.take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| refused("read", path, &e))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(malformed(
            path,
            &String::from_utf8_lossy(&bytes),
            "at most one page of text",
        ));
    }
    let mut text = String::from_utf8(bytes)
        .map_err(|e| malformed(path, &String::from_utf8_lossy(e.as_bytes()), "UTF-8 text"))?;
    text.truncate(text.trim_end_matches('\n').len());
    Ok(text)
}

/// Like [`read`]; `None` if the file is not there.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<String>, Error> {
    absent_as_none(read(path))
}

/// A number with or without `0x`.
pub(crate) fn read_number(path: &Path) -> Result<u32, Error> {
    let text = read(path)?;
    number(&text).ok_or_else(|| malformed(path, &text, "a number"))
}

/// Replaces an attribute's text by one write, as the kernel wants it.
pub(crate) fn write(path: &Path, text: &str, cure: Cures) -> Result<(), Error> {
    let put = || {
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(path)?
            .write_all(text.as_bytes())
    };
    put().map_err(|e| {
        let errno = errno(&e);
        let cure = cure(errno).unwrap_or_else(|| general_cure(errno));
        Error::Refused {
            access: format!("write `{text}` to"),
            path: path.to_owned(),
            errno,
            cure,
        }
    })
}

/// What to do about an error number, where the attribute gives it a meaning of its own.
pub(crate) type Cures = fn(Errno) -> Option<&'static str>;

/// For attributes whose error numbers mean the usual.
pub(crate) fn no_special_cure(_: Errno) -> Option<&'static str> {
    None
}

/// The last component of a link's target; `None` if there is no link.
pub(crate) fn link_name(path: &Path) -> Result<Option<String>, Error> {
    let target = fs::read_link(path).map_err(|e| refused("read the link", path, &e));
    let Some(target) = absent_as_none(target)? else {
        return Ok(None);
    };
    let name = target.file_name().and_then(OsStr::to_str).map(str::to_owned);
    name.map(Some)
        .ok_or_else(|| malformed(path, &target.to_string_lossy(), "a link to a named directory"))
}

/// Names in a directory, sorted; names that are not UTF-8 are left out, because the kernel makes none.
pub(crate) fn list(path: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)
        .map_err(|e| refused("list", path, &e))?
        .take(ENTRIES_MAX)
    {
        let entry = entry.map_err(|e| refused("list", path, &e))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// Like [`list`]; empty if the directory is not there.
pub(crate) fn list_if_present(path: &Path) -> Result<Vec<String>, Error> {
    Ok(absent_as_none(list(path))?.unwrap_or_default())
}

/// True if there is something at `path`.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Opens a config file.
pub(crate) fn open_config(path: &Path, writable: bool) -> Result<File, Error> {
    let access = if writable { "open for writing" } else { "open" };
    OpenOptions::new()
        .read(true)
        .write(writable)
        .open(path)
        .map_err(|e| refused(access, path, &e))
}

/// Lifts an I/O error into ours.
pub(crate) fn refused(access: &str, path: &Path, error: &std::io::Error) -> Error {
    let errno = errno(error);
    Error::Refused {
        access: access.to_owned(),
        path: path.to_owned(),
        errno,
        cure: general_cure(errno),
    }
}

/// A [`Error::Malformed`] with its text cut to what fits a line.
pub(crate) fn malformed(path: &Path, found: &str, wanted: &'static str) -> Error {
    Error::Malformed {
        path: path.to_owned(),
        found: found.chars().take(64).collect(),
        wanted,
    }
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16).ok(),
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn absent_as_none<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Refused {
            errno: Errno::NOENT, ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn general_cure(errno: Errno) -> &'static str {
    match errno {
        Errno::ACCESS | Errno::PERM => "run as root, and see that /sys is mounted writable",
        Errno::NOENT | Errno::NODEV | Errno::NXIO => {
            "the function is gone, or the kernel does not offer this: check `lspci -D` and the kernel's configuration"
        }
        Errno::ROFS => "mount /sys writable",
        _ => "see the kernel log (dmesg) for its reason",
    }
}

/// One page: no text attribute of sysfs is longer.
const TEXT_BYTES_MAX: u64 = 4096;
/// More functions than one domain can hold (65 536 requester IDs).
const ENTRIES_MAX: usize = 1 << 17;
