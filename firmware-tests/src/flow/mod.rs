//! The whole flow on the emulated platform: its processes, a guest image, and what the guest says of each stage.
//!
//! The demo and the one-VM tests are both short texts in terms of this module.

pub mod guest;
pub mod platform;
pub mod policy;
pub mod stages;

/// All functions of the device model; 0 is the DSM.
pub const DEVICE_FUNCTIONS: [u8; 3] = [0, 1, 2];
/// Those that are TDIs.
pub const TDIS: [u8; 2] = [1, 2];

/// Where a function of the device appears in the guest: behind the first root port.
pub fn guest_bdf(function: u8) -> String {
    format!("0000:01:00.{function}")
}

/// The network peer behind a TDI, and the guest's own address with its prefix length.
pub fn addresses(function: u8) -> (String, String) {
    (format!("10.77.{function}.1"), format!("10.77.{function}.2/24"))
}
