//! The guest's first and only file system: BusyBox, the kernel modules asked for, our programs, and an init script.
//!
//! Programs come with the shared libraries that they have on this machine. Modules are unpacked and listed in load
//! order in `/modules/order`. The init script starts after a prelude that mounts the kernel's file
//! systems and has the functions `load_modules`, `link_port NAME`, `say JSON` and `power_off`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tdisp::crypto::{HashAlg, Provider, Ring};

use super::cpio::{Entry, Tree};
use super::{ArtifactError, Environment, build_folder, output, read};

/// What every init script starts with.
const PRELUDE: &str = include_str!("prelude.sh");

/// What goes into an initramfs.
#[derive(Debug, Clone)]
pub struct Initramfs {
    environment: Environment,
    init: String,
    modules: Vec<String>,
    programs: Vec<(PathBuf, String)>,
    borrowed: Vec<String>,
    files: Vec<(String, u32, Vec<u8>)>,
}

impl Initramfs {
    /// One whose init is the shell script `init`; see the module's documentation for what it can use.
    pub fn new(environment: &Environment, init: &str) -> Self {
        Self {
            environment: environment.clone(),
            init: init.into(),
            modules: Vec::new(),
            programs: Vec::new(),
            borrowed: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Adds a kernel module and those it depends on; one that is built into the kernel needs nothing.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.into());
        self
    }

    /// Adds the program `from` of this machine at `to`, with its shared libraries and without its debug information.
    #[must_use]
    pub fn program(mut self, from: &Path, to: &str) -> Self {
        self.programs.push((from.into(), to.into()));
        self
    }

    /// Adds a program of the environment at its own path (like `/usr/sbin/ip`), with the environment's libraries.
    #[must_use]
    pub fn borrow(mut self, path: &str) -> Self {
        self.borrowed.push(path.into());
        self
    }

    /// Adds a file with the given permission bits.
    #[must_use]
    pub fn file(mut self, to: &str, mode: u32, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((to.into(), mode, contents.into()));
        self
    }

    /// The archive's path. It is made only if no archive of exactly these contents was made before.
    pub fn build(&self) -> Result<PathBuf, ArtifactError> {
        let folder = build_folder()?
            .parent()
            .unwrap_or(Path::new("."))
            .join("tidelock");
        let path = folder.join(format!("{}.cpio", self.key()?));
        if let Ok(archive) = std::fs::File::options().append(true).open(&path) {
            // So that it counts as lately used; if the time cannot be set, it is made again one day.
            let _ = archive.set_modified(SystemTime::now());
            return Ok(path);
        }
        let failed = |error| ArtifactError::File {
            path: path.clone(),
            error,
        };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        forget_old_ones(&folder);
        let archive = self.tree()?.archive();
        // Renamed when whole, because tests run side by side and may be killed.
        let new = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
        std::fs::write(new.path(), archive).map_err(failed)?;
        new.persist(&path).map_err(|error| failed(error.error))?;
        Ok(path)
    }

    /// Names the contents: a hash over everything that goes in.
    fn key(&self) -> Result<String, ArtifactError> {
        let mut hash = Ring.hash(HashAlg::Sha256);
        let mut part = |bytes: &[u8]| {
            hash.update(format!("{}:", bytes.len()).as_bytes());
            hash.update(bytes);
        };
        part(b"1"); // the version of this file's own doing: change it when the same parts make another archive
        part(self.environment.root().as_os_str().as_encoded_bytes());
        part(format!("{:?}", self.environment.manifest()).as_bytes());
        part(PRELUDE.as_bytes());
        part(self.init.as_bytes());
        for name in self.modules.iter().chain(&self.borrowed) {
            part(name.as_bytes());
        }
        for (from, to) in &self.programs {
            part(to.as_bytes());
            part(&read(from)?);
        }
        for (to, mode, contents) in &self.files {
            part(format!("{to} {mode:o}").as_bytes());
            part(contents);
        }
        let digest = hash.digest();
        Ok(digest.as_ref()[..12]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }

    fn tree(&self) -> Result<Tree, ArtifactError> {
        let mut tree = Tree::default();
        for folder in [
            "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/sbin", "var",
        ] {
            tree.put(folder, Entry::Folder);
        }
        tree.put("dev/console", Entry::Device(5, 1));
        tree.put("dev/null", Entry::Device(1, 3));
        self.put_busybox(&mut tree)?;
        self.put_modules(&mut tree)?;
        for (from, to) in &self.programs {
            put_program(&mut tree, from, to)?;
        }
        for path in &self.borrowed {
            self.put_borrowed(&mut tree, path)?;
        }
        for (to, mode, contents) in &self.files {
            tree.put(
                to,
                Entry::File {
                    mode: *mode,
                    contents: contents.clone(),
                },
            );
        }
        let init = format!("{PRELUDE}\n{}\n", self.init);
        tree.put(
            "init",
            Entry::File {
                mode: 0o755,
                contents: init.into_bytes(),
            },
        );
        Ok(tree)
    }

    fn put_busybox(&self, tree: &mut Tree) -> Result<(), ArtifactError> {
        let path = self.environment.inside("/usr/bin/busybox");
        let applets = output(Command::new(&path).arg("--list"), "--list")?;
        for applet in String::from_utf8_lossy(&applets).lines() {
            tree.put(&format!("bin/{applet}"), Entry::Link("busybox".into()));
        }
        tree.put(
            "bin/busybox",
            Entry::File {
                mode: 0o755,
                contents: read(&path)?,
            },
        );
        Ok(())
    }

    fn put_modules(&self, tree: &mut Tree) -> Result<(), ArtifactError> {
        let index = Modules::read(&self.environment)?;
        let mut order: Vec<String> = Vec::new();
        for name in &self.modules {
            for path in index.with_dependencies(name)? {
                if !order.contains(&path) {
                    order.push(path);
                }
            }
        }
        let mut list = String::new();
        for path in &order {
            let name = module_name(path);
            let contents = self.unpacked(&self.environment.modules().join(path))?;
            tree.put(
                &format!("modules/{name}.ko"),
                Entry::File {
                    mode: 0o644,
                    contents,
                },
            );
            list += &format!("{name}\n");
        }
        tree.put(
            "modules/order",
            Entry::File {
                mode: 0o644,
                contents: list.into_bytes(),
            },
        );
        Ok(())
    }

    fn unpacked(&self, path: &Path) -> Result<Vec<u8>, ArtifactError> {
        if path.extension().is_some_and(|extension| extension == "xz") {
            return output(
                self.environment.command("/usr/bin/xz").arg("-dc").arg(path),
                &path.to_string_lossy(),
            );
        }
        read(path)
    }

    /// The program keeps to its own loader and libraries, which may be newer than those of this machine's programs.
    fn put_borrowed(&self, tree: &mut Tree, path: &str) -> Result<(), ArtifactError> {
        let from = self.environment.inside(path);
        let listing = output(self.environment.loader().arg("--list").arg(&from), path)?;
        for library in libraries(&listing) {
            let name = library
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            tree.put(
                &format!("borrowed/lib/{name}"),
                Entry::File {
                    mode: 0o755,
                    contents: read(&library)?,
                },
            );
        }
        tree.put(
            &format!("borrowed{path}"),
            Entry::File {
                mode: 0o755,
                contents: read(&from)?,
            },
        );
        let start = format!(
            "#!/bin/sh\nexec /borrowed/lib/ld-linux-x86-64.so.2 --library-path /borrowed/lib /borrowed{path} \"$@\"\n"
        );
        tree.put(
            path,
            Entry::File {
                mode: 0o755,
                contents: start.into_bytes(),
            },
        );
        Ok(())
    }
}

/// Puts a program of this machine at `to`, stripped, and its libraries where the dynamic loader looks for them.
fn put_program(tree: &mut Tree, from: &Path, to: &str) -> Result<(), ArtifactError> {
    let subject = from.to_string_lossy().into_owned();
    for library in libraries(&needed(from, &subject)?) {
        let at = library.to_string_lossy().into_owned();
        if !tree.has(&at) {
            tree.put(
                &at,
                Entry::File {
                    mode: 0o755,
                    contents: read(&library)?,
                },
            );
        }
    }
    // Debug information is most of a development build, and every byte is copied by an emulated processor.
    let stripped = output(
        Command::new("strip")
            .args(["--strip-debug", "-o", "/dev/stdout"])
            .arg(from),
        &subject,
    );
    let contents = match stripped {
        Ok(bytes) if bytes.starts_with(b"\x7fELF") => bytes,
        _ => read(from)?,
    };
    tree.put(
        to,
        Entry::File {
            mode: 0o755,
            contents,
        },
    );
    Ok(())
}

/// What `ldd` prints; nothing for a program that needs no libraries, of which it complains.
fn needed(program: &Path, subject: &str) -> Result<Vec<u8>, ArtifactError> {
    match output(Command::new("ldd").env("LC_ALL", "C").arg(program), subject) {
        Err(ArtifactError::Command { error, .. }) if error.contains("not a dynamic executable") => {
            Ok(Vec::new())
        }
        other => other,
    }
}

/// The files in what `ldd` prints: `name => /path (address)`, or `/path (address)` for the loader itself.
fn libraries(listing: &[u8]) -> BTreeSet<PathBuf> {
    let text = String::from_utf8_lossy(listing);
    text.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// The kernel's module index.
struct Modules {
    kernel: String,
    /// Lines `path: path…`, the dependencies in the order opposite to loading.
    dependencies: String,
    builtin: String,
}

impl Modules {
    fn read(environment: &Environment) -> Result<Self, ArtifactError> {
        let text = |name: &str| {
            let bytes = read(&environment.modules().join(name))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Self {
            kernel: environment.manifest().kernel.clone(),
            dependencies: text("modules.dep")?,
            builtin: text("modules.builtin")?,
        })
    }

    /// The paths of module `name` and of what it depends on, in load order; none if it is built in.
    fn with_dependencies(&self, name: &str) -> Result<Vec<String>, ArtifactError> {
        let wanted = name.replace('-', "_");
        for line in self.dependencies.lines() {
            let Some((path, others)) = line.split_once(':') else {
                continue;
            };
            if module_name(path) == wanted {
                let first_loaded_last = others.split_whitespace().rev();
                return Ok(first_loaded_last.chain([path]).map(String::from).collect());
            }
        }
        if self.builtin.lines().any(|path| module_name(path) == wanted) {
            return Ok(Vec::new());
        }
        Err(ArtifactError::NoModule {
            name: name.into(),
            kernel: self.kernel.clone(),
        })
    }
}

/// `kernel/drivers/vfio/pci/vfio-pci.ko.xz` is `vfio_pci`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// Removes archives that were not made lately, so that the folder does not grow without end.
fn forget_old_ones(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut archives: Vec<_> = entries
        .flatten()
        .filter(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "cpio")
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    archives.sort();
    let surplus = archives.len().saturating_sub(ARCHIVES_KEPT);
    let in_use = |used: &SystemTime| used.elapsed().is_ok_and(|age| age < IN_USE);
    for (_, path) in archives[..surplus].iter().filter(|(used, _)| !in_use(used)) {
        // Another process may have removed it, which is as good.
        let _ = std::fs::remove_file(path);
    }
}

/// More than any run of all tests makes; a few hundred megabytes at most.
const ARCHIVES_KEPT: usize = 24;

/// A machine that was given an archive has read it by then.
const IN_USE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Modules {
        Modules {
            kernel: "7.0".into(),
            dependencies:
                "kernel/a/vfio-pci.ko.xz: kernel/a/core.ko.xz kernel/b/vfio.ko.xz\nkernel/b/vfio.ko.xz:\n"
                    .into(),
            builtin: "kernel/c/virtio_pci.ko\n".into(),
        }
    }

    #[test]
    fn a_module_comes_after_what_it_depends_on() {
        let order = index().with_dependencies("vfio_pci").unwrap();
        assert_eq!(
            order,
            [
                "kernel/b/vfio.ko.xz",
                "kernel/a/core.ko.xz",
                "kernel/a/vfio-pci.ko.xz"
            ]
        );
    }

    #[test]
    fn a_module_that_is_built_in_needs_no_file() {
        assert!(index().with_dependencies("virtio-pci").unwrap().is_empty());
    }

    #[test]
    fn a_module_that_the_kernel_lacks_is_an_error_that_names_it() {
        let error = index().with_dependencies("floppy").unwrap_err().to_string();
        assert!(error.contains("floppy") && error.contains("7.0"), "{error}");
    }

    #[test]
    fn the_libraries_in_a_listing_are_its_absolute_paths() {
        let listing =
            b"\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\t/lib64/ld.so (0x7f)\n";
        let expected: BTreeSet<PathBuf> = ["/lib/libc.so.6", "/lib64/ld.so"].map(PathBuf::from).into();
        assert_eq!(libraries(listing), expected);
    }
}
