//! What the agent says about its devices: to a file that any stage of the boot can read, and on a socket while it runs.
//!
//! A report is about one boot: one with another boot id, such as a file that was carried along, is no verdict.

mod directory;
mod server;
mod text;

pub use directory::{DEFAULT_PATH as DEFAULT_DIRECTORY, Directory, Isolated, Tainted};
pub use server::{Request, Server, ask};
pub use text::Shown;

use crate::config::Config;
use crate::config::high::Device;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Everything, as `status --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The boot that it is about.
    pub boot_id: String,
    /// The process that makes it.
    pub pid: u32,
    /// The policy's devices, in its order.
    pub devices: Vec<DeviceReport>,
}

/// What happened earlier in this boot, by the agent's own records.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// What the first stage found; `None` if nothing shows that it ran.
    pub isolated: Option<Isolated>,
    /// Addresses of the devices that an agent before this one had accepted and never given back.
    pub accepted: Vec<String>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Where the guest sees it.
    pub bdf: String,
    /// The policy's name for it.
    pub name: String,
    /// Whether the guest is of no use without it.
    pub required: bool,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, in plain words; for a refusal what was found, what is wanted and what to do. Empty while pending.
    pub reason: String,
    /// How its transfers go.
    pub path: Path,
    /// What its evidence said, as far as it was verified.
    pub evidence: Option<Evidence>,
    /// Its packet program.
    pub xdp: Option<Xdp>,
    /// How long each step took, in order.
    pub steps: Vec<StepTime>,
}

/// What became of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing yet.
    Pending,
    /// It is trusted.
    Accepted,
    /// It is not.
    Refused,
}

/// How transfers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// Straight to the guest's memory.
    Direct,
    /// Copied through shared buffers.
    Bounce,
    /// Not at all.
    None,
}

/// A summary of verified evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Subject of the device's certificate.
    pub subject: String,
    /// The policy's name of the root that it comes from.
    pub root: String,
    /// Whether each CA of its chain had a revocation list.
    #[serde(default)]
    pub revocation_checked: bool,
    /// Protocol version, `"1.2"`.
    pub spdm: String,
    /// The algorithms that it was spoken with, `"ECDSA P-384"`.
    #[serde(default)]
    pub algorithms: Vec<String>,
    /// Measurements, by index.
    pub measurements: Vec<Measurement>,
    /// Names of the lock's flags.
    pub lock_flags: Vec<String>,
    /// The lock that the verdict is about.
    pub generation: u64,
    /// Memory ranges in the interface report.
    pub ranges: usize,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Its index.
    pub index: u8,
    /// Hexadecimal.
    pub value: String,
}

/// A packet program that is attached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Xdp {
    /// `"native"` or `"generic"`, as the kernel says.
    pub mode: String,
    /// Packets given to the network stack.
    pub passed: u64,
    /// Packets dropped.
    pub dropped: u64,
}

/// How long one step took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Its name.
    pub name: String,
    /// Milliseconds.
    pub ms: f64,
}

impl StepTime {
    /// A step of this name that took so long.
    pub fn new(name: impl Into<String>, took: Duration) -> Self {
        Self {
            name: name.into(),
            ms: (took.as_secs_f64() * 1e6).round() / 1e3,
        }
    }
}

impl DeviceReport {
    /// A device about which nothing is known yet.
    pub fn pending(device: &Device) -> Self {
        Self {
            bdf: device.bdf.to_string(),
            name: device.name.clone(),
            required: device.required,
            verdict: Verdict::Pending,
            reason: String::new(),
            path: Path::None,
            evidence: None,
            xdp: None,
            steps: Vec::new(),
        }
    }
}

impl Report {
    /// A report in which nothing is decided.
    pub fn pending(config: &Config, boot_id: String) -> Self {
        let devices = config.devices.iter().map(DeviceReport::pending).collect();
        Self {
            boot_id,
            pid: std::process::id(),
            devices,
        }
    }

    /// Whether every device has its verdict.
    pub fn is_decided(&self) -> bool {
        self.devices
            .iter()
            .all(|device| device.verdict != Verdict::Pending)
    }

    /// Whether every device that the guest needs is trusted.
    pub fn is_complete(&self) -> bool {
        self.devices
            .iter()
            .all(|device| !device.required || device.verdict == Verdict::Accepted)
    }
}
