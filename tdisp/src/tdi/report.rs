//! The device interface report (PCIe §11.3.11): what an interface says of itself while it is locked.

use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

mod coverage;
mod display;
pub use coverage::{Bar, Uncovered};

/// Bytes of the longest report: offsets into it are 16 bits wide.
pub const SIZE_MAX: usize = 0xffff;

/// MMIO ranges of one report. A function has seven BARs at most (the ROM's among them), each in a few pieces.
pub const RANGES_MAX: u32 = 256;

/// Pages in the address space: an address has 64 bits, a page 2^12 bytes.
const PAGES: u64 = 1 << 52;

/// A report. One that was read has its ranges in order, not empty, within the address space and apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// INTERFACE_INFO.
    pub info: Info,
    /// MSI-X message control.
    pub msix_control: u16,
    /// Lightweight notification control.
    pub lnr_control: u16,
    /// TPH requester control.
    pub tph_control: u32,
    /// MMIO ranges, by BAR and, in a BAR, by address; at most 256.
    pub ranges: Vec<Range>,
    /// Device-specific information.
    pub specific: Vec<u8>,
}

/// INTERFACE_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Info(pub u16);

impl Info {
    /// Firmware updates are NOT permitted while the interface is locked.
    pub const NO_FW_UPDATE: Self = Self(1);
    /// DMA without PASID.
    pub const DMA: Self = Self(1 << 1);
    /// DMA with PASID.
    pub const DMA_WITH_PASID: Self = Self(1 << 2);
    /// Address translation services are supported and enabled.
    pub const ATS: Self = Self(1 << 3);
    /// Page requests are supported and enabled.
    pub const PRS: Self = Self(1 << 4);

    /// Whether all bits of `info` are set.
    pub const fn contains(self, info: Self) -> bool {
        self.0 & info.0 == info.0
    }
}

impl core::ops::BitOr for Info {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Attributes of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Attributes(pub u16);

impl Attributes {
    /// The range has the MSI-X table.
    pub const MSIX_TABLE: Self = Self(1);
    /// The range has the MSI-X pending bit array.
    pub const MSIX_PBA: Self = Self(1 << 1);
    /// The range is not protected: everybody may reach it.
    pub const NON_TEE: Self = Self(1 << 2);
    /// `NON_TEE` can be changed with SET_MMIO_ATTRIBUTE.
    pub const UPDATABLE: Self = Self(1 << 3);

    /// Whether all bits of `attributes` are set.
    pub const fn contains(self, attributes: Self) -> bool {
        self.0 & attributes.0 == attributes.0
    }
}

impl core::ops::BitOr for Attributes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An MMIO range, in pages of 4 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Page number of the first page, with the lock's MMIO_REPORTING_OFFSET added.
    pub first_page: u64,
    /// Pages; at least one.
    pub pages: u32,
    /// Attributes.
    pub attributes: Attributes,
    /// Which BAR: its BAR equivalent indicator.
    pub id: u16,
}

impl Range {
    /// Address of the first byte, with the lock's MMIO_REPORTING_OFFSET added.
    pub fn address(&self) -> u64 {
        self.first_page.wrapping_mul(super::msg::PAGE_SIZE)
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        u64::from(self.pages) * super::msg::PAGE_SIZE
    }

    /// The page behind the last.
    pub fn end_page(&self) -> u64 {
        self.first_page.saturating_add(u64::from(self.pages))
    }

    /// Reads a range that is not empty and ends within the address space.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let range = Self {
            first_page: r.u64("first page of an MMIO range")?,
            pages: r.u32("pages of an MMIO range")?,
            attributes: Attributes(r.u16("attributes of an MMIO range")?),
            id: r.u16("ID of an MMIO range")?,
        };
        range.check()?;
        Ok(range)
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.pages == 0 {
            return Err(invalid("pages of an MMIO range", 0, "at least 1"));
        }
        if self.end_page() > PAGES {
            let wanted = "a page from which the range does not leave the 64-bit address space";
            return Err(invalid("first page of an MMIO range", self.first_page, wanted));
        }
        Ok(())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.u64(self.first_page);
        out.u32(self.pages);
        out.u16(self.attributes.0);
        out.u16(self.id);
    }
}

impl Report {
    /// Reads a whole report.
    pub fn decode(report: &[u8]) -> Result<Self, DecodeError> {
        if report.len() > SIZE_MAX {
            return Err(invalid("report in bytes", report.len() as u64, "at most 65535"));
        }
        Reader::all(report, |r| {
            let info = Info(r.u16("interface info")?);
            r.reserved(2)?;
            let msix_control = r.u16("MSI-X message control")?;
            let lnr_control = r.u16("LNR control")?;
            let tph_control = r.u32("TPH control")?;
            let ranges = read_ranges(r)?;
            let specific = r.u32("device-specific information length")?;
            Ok(Self {
                info,
                msix_control,
                lnr_control,
                tph_control,
                ranges,
                specific: r.take(specific as usize, "device-specific information")?.to_vec(),
            })
        })
    }

    /// Appends the report, whatever its ranges are: an emulated device may want to lie.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.u16(self.info.0);
        out.zeros(2);
        out.u16(self.msix_control);
        out.u16(self.lnr_control);
        out.u32(self.tph_control);
        out.u32(u32::try_from(self.ranges.len()).unwrap_or(u32::MAX));
        self.ranges.iter().for_each(|range| range.write(out));
        out.u32(u32::try_from(self.specific.len()).unwrap_or(u32::MAX));
        out.bytes(&self.specific);
    }

    /// Whether the ranges are as [`Report::decode`] wants them: few enough, none empty or beyond the address space, in
    /// order and apart.
    pub fn check(&self) -> Result<(), DecodeError> {
        check_count(self.ranges.len() as u64)?;
        self.ranges.iter().try_for_each(Range::check)?;
        check_order(&self.ranges)?;
        check_apart(&self.ranges)
    }
}

fn read_ranges(r: &mut Reader<'_>) -> Result<Vec<Range>, DecodeError> {
    let count = r.u32("MMIO range count")?;
    check_count(u64::from(count))?;
    let ranges = (0..count)
        .map(|_| Range::read(r))
        .collect::<Result<Vec<_>, _>>()?;
    check_order(&ranges)?;
    check_apart(&ranges)?;
    Ok(ranges)
}

fn check_count(count: u64) -> Result<(), DecodeError> {
    match count <= u64::from(RANGES_MAX) {
        true => Ok(()),
        false => Err(invalid("MMIO range count", count, "at most 256")),
    }
}

/// By BAR and, in a BAR, by address.
fn check_order(ranges: &[Range]) -> Result<(), DecodeError> {
    let key = |range: &Range| (range.id, range.first_page);
    match ranges.windows(2).find(|pair| key(&pair[0]) > key(&pair[1])) {
        None => Ok(()),
        Some(pair) if pair[0].id > pair[1].id => {
            let wanted = "IDs in ascending order";
            Err(invalid("ID of an MMIO range", u64::from(pair[1].id), wanted))
        }
        Some(pair) => {
            let wanted = "pages in ascending order within a BAR";
            Err(invalid("first page of an MMIO range", pair[1].first_page, wanted))
        }
    }
}

/// No page twice, within a BAR or across.
fn check_apart(ranges: &[Range]) -> Result<(), DecodeError> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.first_page);
    match sorted
        .windows(2)
        .find(|pair| pair[0].end_page() > pair[1].first_page)
    {
        None => Ok(()),
        Some(pair) => {
            let wanted = "a page that no other range has";
            Err(invalid("first page of an MMIO range", pair[1].first_page, wanted))
        }
    }
}

fn invalid(what: &'static str, found: u64, wanted: &'static str) -> DecodeError {
    DecodeError::Invalid { what, found, wanted }
}
