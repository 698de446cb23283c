//! A report as people read it: a table.
//!
//! ```text
//! firmware update   not permitted while locked
//! DMA               without PASID
//! MSI-X control     0x8003
//! device-specific   6 bytes
//!
//! BAR         first byte     last byte         size  attributes
//!   0         0xd0000000     0xd0003fff      16 KiB  protected, MSI-X table
//! ```
//! Addresses have the lock's MMIO_REPORTING_OFFSET added, as in the report.

use super::{Attributes, Info, Range, Report};
use alloc::format;

impl core::fmt::Display for Report {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let update = match self.info.contains(Info::NO_FW_UPDATE) {
            true => "not permitted while locked",
            false => "permitted while locked",
        };
        writeln!(f, "firmware update   {update}")?;
        writeln!(f, "DMA               {}", Dma(self.info))?;
        for (name, register) in [
            ("MSI-X control", u32::from(self.msix_control)),
            ("LNR control", self.lnr_control.into()),
            ("TPH control", self.tph_control),
        ] {
            if register != 0 {
                writeln!(f, "{name:<18}{register:#06x}")?;
            }
        }
        writeln!(f, "device-specific   {} bytes", self.specific.len())?;
        if self.ranges.is_empty() {
            return write!(f, "no MMIO ranges");
        }
        write!(
            f,
            "\nBAR  {:>18} {:>18} {:>12}  attributes",
            "first byte", "last byte", "size"
        )?;
        self.ranges.iter().try_for_each(|range| write!(f, "\n{range}"))
    }
}

impl core::fmt::Display for Range {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (first, size) = (self.address(), self.size());
        let last = first.wrapping_add(size.wrapping_sub(1));
        let size = match size {
            size if size.is_multiple_of(GIB) => format!("{} GiB", size / GIB),
            size if size.is_multiple_of(MIB) => format!("{} MiB", size / MIB),
            size => format!("{} KiB", size / KIB),
        };
        let (id, attributes) = (self.id, self.attributes);
        write!(f, "{id:>3}  {first:>#18x} {last:>#18x} {size:>12}  {attributes}")
    }
}

/// How the interface reaches memory.
struct Dma(Info);

impl core::fmt::Display for Dma {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let ways = [
            (Info::DMA, "without PASID"),
            (Info::DMA_WITH_PASID, "with PASID"),
            (Info::ATS, "translated (ATS)"),
            (Info::PRS, "page requests (PRS)"),
        ];
        let mut set = ways.iter().filter(|(bit, _)| self.0.contains(*bit));
        match set.next() {
            None => f.write_str("none"),
            Some((_, first)) => {
                f.write_str(first)?;
                set.try_for_each(|(_, name)| write!(f, ", {name}"))
            }
        }
    }
}

impl core::fmt::Display for Info {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let update = if self.contains(Self::NO_FW_UPDATE) {
            "no firmware update"
        } else {
            "firmware update permitted"
        };
        let names = [
            (Self::DMA, "DMA without PASID"),
            (Self::DMA_WITH_PASID, "DMA with PASID"),
            (Self::ATS, "ATS"),
            (Self::PRS, "PRS"),
        ];
        f.write_str(update)?;
        let set = names.iter().filter(|(bit, _)| self.contains(*bit));
        for (_, name) in set {
            write!(f, ", {name}")?;
        }
        Ok(())
    }
}

impl core::fmt::Display for Attributes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let names = [
            (Self::MSIX_TABLE, "MSI-X table"),
            (Self::MSIX_PBA, "MSI-X pending bits"),
            (Self::UPDATABLE, "updatable"),
        ];
        f.write_str(if self.contains(Self::NON_TEE) {
            "not protected"
        } else {
            "protected"
        })?;
        let set = names.iter().filter(|(bit, _)| self.contains(*bit));
        for (_, name) in set {
            write!(f, ", {name}")?;
        }
        Ok(())
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
