//! DMTF's libspdm, an implementation that others wrote, as a requester and a responder behind a socket.
//!
//! `./x peer` builds it from Debian's sources, with the program of `firmware-tests/peer/` around it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::artifact::cache;

/// libspdm cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoLibspdm {
    /// There is none.
    #[error("no libspdm in {}: `./x peer` builds it", looked.display())]
    NotBuilt {
        /// Where it was looked for.
        looked: PathBuf,
    },
    /// What says what it is cannot be read.
    #[error("{}: {error}; build it anew with `./x peer --refresh`", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

#[derive(serde::Deserialize)]
struct Manifest {
    libspdm: String,
}

/// The folder that `./x peer` made: the program and its sample keys.
#[derive(Debug, Clone)]
pub struct Libspdm {
    folder: PathBuf,
    version: String,
}

impl Libspdm {
    /// The one that `TIDELOCK_PEER` names (`./x` sets it), or else the one that `./x peer` used last.
    pub fn find() -> Result<Self, NoLibspdm> {
        let told = std::env::var_os("TIDELOCK_PEER");
        Self::open(&told.map_or_else(|| cache().join("peer/current"), PathBuf::from))
    }

    /// The one in `folder`.
    pub fn open(folder: &Path) -> Result<Self, NoLibspdm> {
        let missing = |_| NoLibspdm::NotBuilt {
            looked: folder.into(),
        };
        let folder = folder.canonicalize().map_err(missing)?;
        let path = folder.join("manifest.json");
        let text = std::fs::read(&path).map_err(missing)?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| NoLibspdm::Manifest { path, error })?;
        Ok(Self {
            folder,
            version: manifest.libspdm,
        })
    }

    /// Its version, like `3.6.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command that runs it with `arguments`; see `libspdm-peer --help`.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(self.folder.join("libspdm-peer"));
        command.args(arguments).current_dir(self.folder.join("keys"));
        command
    }

    /// A file of its sample keys, such as `ecp384/ca.cert.der`.
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join("keys").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_manifest_is_no_libspdm_and_says_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let error = Libspdm::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("`./x peer`"), "{error}");
        std::fs::write(folder.path().join("manifest.json"), "{}").unwrap();
        let error = Libspdm::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("libspdm") && error.contains("--refresh"),
            "{error}"
        );
    }
}
