//! A device model that can lie, an emulated TSM, and QEMU end-to-end tests

use tdisp::crypto::{PostQuantum, Ring};

pub mod artifact;
pub mod demo;
pub mod device;
pub mod flow;
pub mod guest;
pub mod identity;
pub mod libspdm;
pub mod lie;
pub mod need;
pub mod platform;
pub mod process;
pub mod tsm;
pub mod vm;

/// What device and TSM compute with.
pub const CRYPTOGRAPHY: PostQuantum<Ring> = PostQuantum(Ring);
