//! The agent's directory, `/run/tidelock`: the report, the isolation record, the socket.
//!
//! Files are replaced whole, so that a reader sees the old one or the new one. The directory is root's alone.

use super::{Past, Report, Verdict};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where it is when the command line does not say otherwise.
pub const DEFAULT_PATH: &str = "/run/tidelock";

/// The directory.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

/// What the `isolate` stage found in this boot. Without it no later stage lets a device do anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolated {
    /// The boot that it is about.
    pub boot_id: String,
    /// Functions that had a driver before the agent could stop it.
    pub tainted: Vec<Tainted>,
}

/// A function that had a driver too early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tainted {
    /// Its address.
    pub bdf: String,
    /// The driver that had it.
    pub driver: String,
}

impl Directory {
    /// The directory at `path`, made if it is not there. One that others can write into is refused: what stands in it
    /// is believed.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o022 != 0 {
            let message = format!(
                "others may write into it (mode {:o}); wanted 0700: chmod it, or name another with --state-dir",
                mode & 0o7777
            );
            return Err(std::io::Error::new(ErrorKind::PermissionDenied, message));
        }
        Ok(Self(path.to_owned()))
    }

    /// The socket of the agent that runs.
    pub fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    /// The last report, of whatever boot; `None` if there is none.
    pub fn report(&self) -> std::io::Result<Option<Report>> {
        self.read("status.json")
    }

    /// Replaces the report.
    pub fn put_report(&self, report: &Report) -> std::io::Result<()> {
        self.write("status.json", report)
    }

    /// The isolation record, of whatever boot; `None` if there is none.
    pub fn isolated(&self) -> std::io::Result<Option<Isolated>> {
        self.read("isolated.json")
    }

    /// Replaces the isolation record.
    pub fn put_isolated(&self, record: &Isolated) -> std::io::Result<()> {
        self.write("isolated.json", record)
    }

    /// What the records say of the boot `boot_id`; those of another are none.
    pub fn past(&self, boot_id: &str) -> std::io::Result<Past> {
        let report = self.report()?.filter(|report| report.boot_id == boot_id);
        let devices = report.into_iter().flat_map(|report| report.devices);
        let accepted = devices.filter(|device| device.verdict == Verdict::Accepted);
        Ok(Past {
            isolated: self.isolated()?.filter(|record| record.boot_id == boot_id),
            accepted: accepted.map(|device| device.bdf).collect(),
        })
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> std::io::Result<Option<T>> {
        match std::fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> std::io::Result<()> {
        let (whole, part) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let mut file = std::fs::File::create(&part)?;
        serde_json::to_writer(&mut file, value)?;
        file.write_all(b"\n")?;
        std::fs::rename(part, whole)
    }
}
