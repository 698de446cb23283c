//! A device model that can lie, an emulated TSM, and QEMU end-to-end tests

pub mod artifact;
pub mod demo;
pub mod guest;
pub mod need;
pub mod process;
pub mod vm;
