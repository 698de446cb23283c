//! The VMs' keys as files: `<directory>/vm-<id>.key`, 32 bytes, for the TSM's owner alone.
//!
//! A real TSM's key never leaves the secure processor and the guest's encrypted memory. Here a file stands for that way:
//! the harness hands it to the guest, and whoever can read it can speak as either end.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use tdisp::{crypto::Secret, relay::VmId};

/// The directory of the keys.
#[derive(Debug)]
pub(super) struct Keys(PathBuf);

impl Keys {
    /// Takes the directory over. Keys of an earlier TSM, which nobody holds the other end of any more, are removed.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if is_key(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self(directory.into()))
    }

    /// Stores a key: whole, or not at all.
    pub(super) fn store(&self, vm: VmId, key: &Secret) -> io::Result<()> {
        let (path, fresh) = (self.path(vm), self.0.join(format!("vm-{vm}.new")));
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(key.expose())?;
        file.sync_all()?;
        fs::rename(fresh, path)
    }

    /// Deletes a key; fine if there is none.
    pub(super) fn delete(&self, vm: VmId) -> io::Result<()> {
        match fs::remove_file(self.path(vm)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, vm: VmId) -> PathBuf {
        self.0.join(format!("vm-{vm}.key"))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // At the end of the TSM its keys are of no use; what cannot be removed now is at the next start.
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| is_key(path)) {
            let _ = fs::remove_file(path);
        }
    }
}

fn is_key(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let number = name
        .strip_prefix("vm-")
        .and_then(|rest| rest.strip_suffix(".key"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_its_owners_and_goes_with_the_tsm_but_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["vm-7.key", "vm-x.key", "other"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let keys = Keys::open(dir.path()).unwrap();
        assert!(
            !dir.path().join("vm-7.key").exists(),
            "an earlier TSM's key is of no use"
        );
        keys.store(VmId(1), &Secret::new(vec![7; 32])).unwrap();
        let path = dir.path().join("vm-1.key");
        assert_eq!(fs::read(&path).unwrap(), [7; 32]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        keys.delete(VmId(9)).unwrap();
        drop(keys);
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}
