//! TDISP (PCIe 6.x chapter 11): locking an interface of a device, reporting what it is, and starting it.

pub mod msg;
pub mod report;
