//! A device model that can lie, an emulated TSM, and QEMU end-to-end tests

pub mod demo;
pub mod process;
