//! What a virtual machine is made of, and where it comes from.
//!
//! ```text
//!  ./x env ──► <cache>/env/<key>/{root, manifest.json} ──► Environment ──┬─► QEMU (through the root's own loader)
//!  cargo build ──► target/<profile>/<program> ──► program() ──┐          ├─► kernel image
//!                                                             └──► Initramfs ──► target/tidelock/<hash>.cpio
//! ```
//!
//! The environment holds another distribution release than this machine. Nothing of it is installed or entered: its
//! programs run through its own dynamic loader with its own libraries, so neither root nor a chroot is needed.

mod cpio;
mod initramfs;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use initramfs::Initramfs;

/// Something that a virtual machine needs is not there or cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// No test environment was found.
    #[error("no test environment in {}: run `./x env`", looked.display())]
    NoEnvironment {
        /// Where it was looked for.
        looked: PathBuf,
    },
    /// The environment's manifest does not say what it should.
    #[error("{}: {error}; make the environment anew with `./x env --refresh`", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// A program of this workspace was not built.
    #[error("{} is not built: `cargo build --workspace --bins` builds it", path.display())]
    NotBuilt {
        /// Where it should be.
        path: PathBuf,
    },
    /// The kernel has no such module.
    #[error(
        "Linux {kernel} has no module {name}, neither built in nor in modules.dep: mend the name, or firmware-tests/env/excludes"
    )]
    NoModule {
        /// The module asked for.
        name: String,
        /// The kernel release.
        kernel: String,
    },
    /// A program that helps to build failed.
    #[error("{command}: {error}")]
    Command {
        /// The program and what it was to work on.
        command: String,
        /// What it said.
        error: String,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
}

/// The versions in an environment, as its manifest gives them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Manifest {
    /// QEMU's version, like `11.1.3`.
    pub qemu: String,
    /// The guest kernel's release, as `uname -r` says it in the guest.
    pub kernel: String,
    /// BusyBox' version.
    pub busybox: String,
    /// The distribution release that the packages come from.
    pub release: String,
    /// When it was made, in UTC.
    pub made: String,
}

/// The folder that `./x env` made: QEMU, a guest kernel with its modules, BusyBox.
#[derive(Debug, Clone)]
pub struct Environment {
    root: PathBuf,
    manifest: Manifest,
}

impl Environment {
    /// The environment that `TIDELOCK_ENV` names (`./x` sets it), or else the one that `./x env` made last.
    pub fn find() -> Result<Self, ArtifactError> {
        Self::open(
            &std::env::var_os("TIDELOCK_ENV").map_or_else(|| cache().join("env/current"), PathBuf::from),
        )
    }

    /// The environment in `folder`.
    pub fn open(folder: &Path) -> Result<Self, ArtifactError> {
        // The loader's library path and QEMU's options name files in it: a link that moves on would mix two of them.
        let missing = |_| ArtifactError::NoEnvironment {
            looked: folder.into(),
        };
        let folder = folder.canonicalize().map_err(missing)?;
        let path = folder.join("manifest.json");
        let text = std::fs::read(&path).map_err(missing)?;
        let manifest = serde_json::from_slice(&text).map_err(|error| ArtifactError::Manifest {
            path,
            error: error.to_string(),
        })?;
        Ok(Self {
            root: folder.join("root"),
            manifest,
        })
    }

    /// The versions in it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder that its paths are relative to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The guest kernel's image.
    pub fn kernel_image(&self) -> PathBuf {
        self.modules().join("vmlinuz")
    }

    /// A command that runs the environment's program `path` (absolute in the environment), with its libraries.
    pub fn command(&self, path: &str) -> Command {
        let mut command = self.loader();
        command.arg(self.inside(path));
        command
    }

    /// The environment's dynamic loader, to be given options or a program.
    pub(crate) fn loader(&self) -> Command {
        let mut command = Command::new(self.root.join("lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(self.root.join(LIBRARIES));
        command
    }

    /// QEMU for x86-64, which finds its modules and firmware in the environment.
    pub fn qemu(&self) -> Command {
        let mut command = self.command("/usr/bin/qemu-system-x86_64");
        command.env("QEMU_MODULE_DIR", self.root.join(LIBRARIES).join("qemu"));
        for folder in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(self.root.join(folder));
        }
        command
    }

    /// The folder of the kernel's modules.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("usr/lib/modules").join(&self.manifest.kernel)
    }

    /// Where `path`, absolute in the environment, is on this machine.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

/// The program `name` of this workspace, beside the one that runs (a test's is one folder deeper).
pub fn program(name: &str) -> Result<PathBuf, ArtifactError> {
    let path = build_folder()?.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(ArtifactError::NotBuilt { path })
    }
}

/// `target/<profile>`: where cargo put the program that runs, and its siblings.
fn build_folder() -> Result<PathBuf, ArtifactError> {
    let this = std::env::current_exe().map_err(|error| ArtifactError::File {
        path: "/proc/self/exe".into(),
        error,
    })?;
    let folder = this.parent().unwrap_or(Path::new("/"));
    let deps = folder
        .file_name()
        .is_some_and(|name| name == "deps" || name == "examples");
    Ok(if deps {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    }
    .to_path_buf())
}

/// Where `./x` keeps what outlives target/; the rule is the same as there.
pub(crate) fn cache() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    if let Some(folder) = variable("TIDELOCK_CACHE") {
        return folder.into();
    }
    if rustix::process::geteuid().is_root() {
        return "/var/cache/tidelock".into();
    }
    variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(|| "/var/tmp".into())
        .join("tidelock")
}

/// Reads a file, or says which one could not be read.
fn read(path: &Path) -> Result<Vec<u8>, ArtifactError> {
    std::fs::read(path).map_err(|error| ArtifactError::File {
        path: path.into(),
        error,
    })
}

/// What `command` prints, or an error that names `subject` and carries what it said.
fn output(command: &mut Command, subject: &str) -> Result<Vec<u8>, ArtifactError> {
    let name = format!("{} {subject}", command.get_program().to_string_lossy());
    let failed = |error: String| ArtifactError::Command { command: name, error };
    match command.output() {
        Ok(out) if out.status.success() => Ok(out.stdout),
        Ok(out) => Err(failed(format!(
            "{}: {}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        ))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Where the environment's shared libraries are.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_manifest_is_no_environment_and_says_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let error = Environment::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("./x env"), "{error}");
    }

    #[test]
    fn a_manifest_that_lacks_a_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("manifest.json"), r#"{"qemu": "11.1.3"}"#).unwrap();
        let error = Environment::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("kernel") && error.contains("--refresh"), "{error}");
    }
}
