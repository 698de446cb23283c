//! `./x demo`: the whole flow under emulation, and its report.

pub mod html;
pub mod report;
pub mod run;
pub mod text;

/// What every reader of the figures has to know.
const ABOUT_FIGURES: &str = "\
The figures come from software emulation: they say which path was taken, not how fast hardware is. Here a copy through a bounce \
buffer is cheap, while each 4 KiB page that the guest maps for the device costs a message from QEMU's IOMMU to the device model's \
process, and another when it is unmapped; so sending, which maps every page, is slower when it is direct.";
