//! The evidence cache: certificates, measurements and reports as the TSM handed them over.
//!
//! Nothing here is believed by anybody: the guest compares each object with the digest that the TSM tells it. The cache
//! is also on disk, so that a daemon that was killed can go on serving what stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use tdisp::relay::{ObjectKind, Rid, TdiId, host::Owner};

use crate::journal::write_atomically;

/// The cache.
#[derive(Debug)]
pub struct Evidence {
    directory: PathBuf,
    held: BTreeMap<String, Vec<u8>>,
}

impl Evidence {
    /// Opens the cache in `state_dir`, with what an earlier daemon left there.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let directory = state_dir.join("evidence");
        fs::create_dir_all(&directory)?;
        let mut held = BTreeMap::new();
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            match entry.file_name().into_string() {
                Ok(name) if !name.ends_with(".new") => drop(held.insert(name, fs::read(entry.path())?)),
                _ => {}
            }
        }
        Ok(Self { directory, held })
    }

    /// Keeps an object in the place of an older one.
    pub fn keep(&mut self, owner: Owner, kind: ObjectKind, bytes: Vec<u8>) -> io::Result<()> {
        let name = name(owner, kind);
        write_atomically(&self.directory.join(&name), &bytes)?;
        self.held.insert(name, bytes);
        Ok(())
    }

    /// An object of a TDI: its own, or its device's where it has none of its own.
    pub fn of_tdi(&self, tdi: TdiId, device: Rid, kind: ObjectKind) -> Option<&[u8]> {
        let own = self.held.get(&name(Owner::Tdi(tdi), kind));
        own.or_else(|| self.held.get(&name(Owner::Device(device), kind)))
            .map(Vec::as_slice)
    }

    /// Bytes of a device's object; 0 if there is none.
    pub fn size(&self, owner: Owner, kind: ObjectKind) -> usize {
        self.held.get(&name(owner, kind)).map_or(0, Vec::len)
    }

    /// Forgets everything that is of none of `owners`, and what a daemon that was killed left half written.
    pub fn retain(&mut self, owners: &[Owner]) -> io::Result<()> {
        let names = |owner: &Owner| KINDS.map(|kind| name(*owner, kind));
        let kept: BTreeSet<_> = owners.iter().flat_map(names).collect();
        self.held.retain(|name, _| kept.contains(name));
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| kept.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Forgets everything of one owner.
    pub fn forget(&mut self, owner: Owner) {
        for kind in KINDS {
            let name = name(owner, kind);
            if self.held.remove(&name).is_some() {
                // A file that cannot be removed is overwritten, or compared with a digest that it does not have.
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
    }
}

const KINDS: [ObjectKind; 3] = [
    ObjectKind::CERTIFICATES,
    ObjectKind::MEASUREMENTS,
    ObjectKind::REPORT,
];

fn name(owner: Owner, kind: ObjectKind) -> String {
    let kind = kind.to_string().to_lowercase();
    match owner {
        Owner::Device(device) => format!("device-{device}-{kind}"),
        Owner::Tdi(tdi) => format!("tdi-{}-{kind}", tdi.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_nothing_that_stands_is_forgotten_on_the_disk_too() {
        let dir = tempfile::tempdir().unwrap();
        let (device, kind) = (Rid(0x100), ObjectKind::REPORT);
        let mut evidence = Evidence::open(dir.path()).unwrap();
        for tdi in [TdiId(1), TdiId(2)] {
            evidence.keep(Owner::Tdi(tdi), kind, b"report".to_vec()).unwrap();
        }
        fs::write(dir.path().join("evidence/half.new"), "ha").unwrap();
        evidence.retain(&[Owner::Tdi(TdiId(2))]).unwrap();
        assert_eq!(evidence.of_tdi(TdiId(1), device, kind), None);
        assert_eq!(evidence.of_tdi(TdiId(2), device, kind), Some(&b"report"[..]));
        let left = fs::read_dir(dir.path().join("evidence")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["tdi-2-report"]);
    }

    #[test]
    fn a_tdis_own_measurements_come_before_its_devices_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (device, tdi, kind) = (Rid(0x100), TdiId(7), ObjectKind::MEASUREMENTS);
        let mut evidence = Evidence::open(dir.path()).unwrap();
        assert_eq!(evidence.of_tdi(tdi, device, kind), None);
        evidence
            .keep(Owner::Device(device), kind, b"device".to_vec())
            .unwrap();
        assert_eq!(evidence.of_tdi(tdi, device, kind), Some(&b"device"[..]));
        evidence.keep(Owner::Tdi(tdi), kind, b"tdi".to_vec()).unwrap();
        let mut evidence = Evidence::open(dir.path()).unwrap();
        assert_eq!(evidence.of_tdi(tdi, device, kind), Some(&b"tdi"[..]));
        evidence.forget(Owner::Tdi(tdi));
        assert_eq!(
            Evidence::open(dir.path()).unwrap().of_tdi(tdi, device, kind),
            Some(&b"device"[..])
        );
    }
}
