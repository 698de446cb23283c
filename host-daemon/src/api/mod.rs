//! The operator's API: JSON lines on a unix socket that its owner alone may open.
//!
//! One request object a line, one answer object a line, in order:
//! ```text
//! → {"op":"connect","device":"nic0"}
//! ← {"ok":true,"device":{"name":"nic0","state":"connected",…}}
//! ← {"ok":false,"error":{"kind":"unknown","message":"device \"nic1\" is not configured; known: nic0"}}
//! ```

mod client;
mod server;

use serde::{Deserialize, Serialize};

use crate::steps::Step;

pub use client::{ClientError, call};
pub use server::serve;

/// What an operator may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Everything the daemon knows.
    Status {},
    /// Make a session with a device.
    Connect {
        /// Its name.
        device: String,
    },
    /// Unbind its functions and end the session.
    Disconnect {
        /// Its name.
        device: String,
    },
    /// Who the device says it is: inventory facts, by a session of the host's own.
    Identify {
        /// Its name.
        device: String,
    },
    /// Lock a function for the VM that has the lease.
    Bind {
        /// Name of the device.
        device: String,
        /// Its function.
        function: u8,
    },
    /// Take a function from its VM.
    Unbind {
        /// Name of the device.
        device: String,
        /// Its function.
        function: u8,
    },
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// To [`Request::Status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// To [`Request::Connect`] and [`Request::Disconnect`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// To [`Request::Bind`] and [`Request::Unbind`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdi: Option<Tdi>,
    /// To [`Request::Identify`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault, for machines: "request", "unknown", "state", "device", "tsm", "unsupported", "platform".
    pub kind: String,
    /// What was found, what was wanted, what to do.
    pub message: String,
}

/// Everything the daemon knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Whether the TSM is there and every configured VM has its key.
    pub ready: bool,
    /// Who holds the secrets.
    pub tsm: Tsm,
    /// The devices, in the configuration's order.
    pub devices: Vec<Device>,
    /// The VMs, in the configuration's order.
    pub vms: Vec<Vm>,
    /// What the last start found in flight or standing, and what was done about it.
    pub recovered: Vec<String>,
}

/// The TSM as the daemon sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tsm {
    /// The backend: "emulated", "userspace" or "sysfs-link".
    pub backend: String,
    /// "up", or "down".
    pub state: String,
    /// What the backend can do, or why it is down.
    pub note: String,
}

/// One device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// The operator's name for it.
    pub name: String,
    /// Its function 0.
    pub bdf: String,
    /// "disconnected", "connected" or "lost".
    pub state: String,
    /// Why the last operation failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Steps of the last connect, complete or not.
    pub steps: Vec<Step>,
    /// Bytes of its certificate chain in the cache.
    pub certificates_size: usize,
    /// Bytes of its measurements in the cache.
    pub measurements_size: usize,
}

/// One VM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Vm {
    /// Its number.
    pub id: u32,
    /// The courier's socket.
    pub courier_socket: String,
    /// Whether its port is connected.
    pub connected: bool,
    /// Its leases.
    pub tdis: Vec<Tdi>,
}

/// One lease and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tdi {
    /// Name of the device.
    pub device: String,
    /// Its function.
    pub function: u8,
    /// Where the guest sees it.
    pub guest: String,
    /// "unbound" or "bound".
    pub state: String,
    /// The TSM's name of the binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdi: Option<u64>,
    /// Why the last operation failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Steps of the last bind, complete or not.
    pub steps: Vec<Step>,
    /// Bytes of its interface report in the cache.
    pub report_size: usize,
}

/// Who a device says it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The operator's name for it.
    pub device: String,
    /// SPDM version, such as "1.2".
    pub spdm: String,
    /// Certificate slot.
    pub slot: u8,
    /// Subject of each certificate, root (or next to it) first.
    pub subjects: Vec<String>,
    /// SHA-384 of the root certificate, in hexadecimal.
    pub root_sha384: String,
    /// What it measured.
    pub measurements: Vec<Measurement>,
    /// What this is worth.
    pub note: String,
    /// Steps of the session.
    pub steps: Vec<Step>,
}

/// One measurement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// Its index.
    pub index: u8,
    /// DMTF measurement value type.
    pub kind: u8,
    /// The value, in hexadecimal.
    pub value: String,
}

impl Answer {
    /// A failure.
    pub fn failed(kind: &str, message: impl Into<String>) -> Self {
        let error = Failure {
            kind: kind.into(),
            message: message.into(),
        };
        Self {
            ok: false,
            error: Some(error),
            ..Self::done()
        }
    }

    /// Done, and nothing to tell yet.
    pub fn done() -> Self {
        Self {
            ok: true,
            status: None,
            device: None,
            tdi: None,
            identity: None,
            error: None,
        }
    }
}
