//! `./x demo`: the whole flow under emulation, and its report.

pub mod html;
pub mod report;
pub mod run;
pub mod text;

/// What every reader of the figures has to know.
const ABOUT_FIGURES: &str = "\
The figures come from software emulation and say which path was taken, not how fast hardware is. Here a bounced page costs one \
copy in memory, while a directly mapped page costs the guest two messages from QEMU's IOMMU to the device model's process: on \
hardware the mapping is the cheap part and the copy, and its locks, the dear one.";
