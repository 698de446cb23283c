//! The files of the repository, and what cargo says about them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The files that belong to the repository, by their path from its top, sorted.
#[derive(Debug)]
pub struct Repository {
    root: PathBuf,
    files: Vec<String>,
}

impl Repository {
    /// The repository that this crate lies in.
    pub fn open() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or("the docs crate has no parent folder")?;
        let mut files = match listed_by_git(root) {
            Some(files) => files,
            None => walked(root)?, // an unpacked archive has no history
        };
        files.retain(|file| root.join(file).is_file());
        files.sort();
        files.dedup();
        Ok(Self {
            root: root.into(),
            files,
        })
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// The files whose names end with `ending`.
    pub fn ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = &'a str> {
        self.files().filter(move |file| file.ends_with(ending))
    }

    /// Whether `path` is a file of the repository, or a folder with files.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files()
            .any(|file| file == path || file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }

    /// What is in a file; empty if it is no text.
    pub fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.root.join(file)).unwrap_or_default()
    }

    /// What `cargo metadata` says, without using the network.
    pub fn metadata(&self, options: &[&str]) -> Result<Value, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let out = Command::new(cargo)
            .current_dir(&self.root)
            .args(["metadata", "--offline", "--format-version", "1"])
            .args(options)
            .output()
            .map_err(|error| format!("cargo metadata: {error}"))?;
        if !out.status.success() {
            return Err(format!(
                "cargo metadata: {}",
                String::from_utf8_lossy(&out.stderr)
            ));
        }
        serde_json::from_slice(&out.stdout).map_err(|error| format!("cargo metadata: {error}"))
    }
}

/// Tracked files, and new ones that are not ignored: a rule should speak before the commit, not after it.
fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let out = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let files: Vec<String> = text
        .split('\0')
        .filter(|file| !file.is_empty())
        .map(String::from)
        .collect();
    (out.status.success() && !files.is_empty()).then_some(files)
}

fn walked(root: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            if path.is_file() {
                files.push(name);
            } else if name != "target" && name != ".git" {
                folders.push(path);
            }
        }
    }
    Ok(files)
}
