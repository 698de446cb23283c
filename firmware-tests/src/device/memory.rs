//! Guest memory as the VMM mapped it for one function: device addresses (IOVA) → ranges of the guest's memory file.
//!
//! The VMM sends a mapping per vIOMMU change and passes the memory file's descriptor with each. A file is mapped
//! into this process once, whole, and kept while the connection lasts. The guest's memory is one file that starts
//! at guest physical address 0, so an offset in it **is** a guest physical address (true below 4 GiB of memory).
//! The file must not shrink while it is mapped: the VMM, which owns the whole emulated machine, is trusted that far.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use vm_memory::{FileOffset, MmapRegion};

/// Mappings kept at most; the VMM maps a handful of pages per packet in flight.
const MAPPINGS_MAX: usize = 1 << 20;

/// What a mapping lets the device do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Reads.
    pub read: bool,
    /// Writes.
    pub write: bool,
}

#[derive(Clone)]
struct Mapping {
    len: u64,
    gpa: u64,
    rights: Rights,
    file: Arc<MmapRegion>,
}

/// Part of an access that lies within one mapping.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    /// First device address.
    pub iova: u64,
    /// Where that is in guest physical memory, and in `file`.
    pub gpa: u64,
    /// Bytes.
    pub len: u64,
    /// What the mapping allows.
    pub rights: Rights,
    /// The mapped memory file.
    pub file: &'a MmapRegion,
}

/// The mappings of one function.
#[derive(Default)]
pub struct Memory {
    mappings: BTreeMap<u64, Mapping>,
    files: HashMap<(u64, u64), Arc<MmapRegion>>,
}

impl Memory {
    /// Maps `len` bytes at `iova` to offset `gpa` of `file`; what was mapped there before is replaced.
    pub fn map(&mut self, iova: u64, len: u64, gpa: u64, rights: Rights, file: File) -> io::Result<()> {
        let invalid = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let end = gpa.checked_add(len);
        if len == 0 || iova.checked_add(len).is_none() {
            return invalid(format!("mapping {iova:#x}+{len:#x} is empty or wraps around"));
        }
        if self.mappings.len() >= MAPPINGS_MAX {
            return invalid(format!("{MAPPINGS_MAX} mappings are kept already"));
        }
        let file = self.file(file)?;
        if end.is_none_or(|end| end > file.size() as u64) {
            return invalid(format!(
                "file range {gpa:#x}+{len:#x} ends beyond the file's {:#x} bytes",
                file.size()
            ));
        }
        self.unmap(iova, len);
        let mapping = Mapping {
            len,
            gpa,
            rights,
            file,
        };
        self.mappings.insert(iova, mapping);
        Ok(())
    }

    fn file(&mut self, file: File) -> io::Result<Arc<MmapRegion>> {
        let metadata = file.metadata()?;
        let key = (metadata.dev(), metadata.ino());
        if let Some(known) = self.files.get(&key)
            && known.size() as u64 == metadata.size()
        {
            return Ok(known.clone());
        }
        let size = usize::try_from(metadata.size()).map_err(io::Error::other)?;
        let region = MmapRegion::from_file(FileOffset::new(file, 0), size).map_err(io::Error::other)?;
        let region = Arc::new(region);
        self.files.insert(key, region.clone());
        Ok(region)
    }

    /// Unmaps `len` bytes at `iova`; a mapping that is cut keeps its other parts.
    pub fn unmap(&mut self, iova: u64, len: u64) {
        let end = iova.saturating_add(len);
        while let Some((start, mapping)) = self.last_before(end) {
            let mapping_end = start + mapping.len;
            if start >= end || mapping_end <= iova {
                break;
            }
            let mapping = mapping.clone();
            self.mappings.remove(&start);
            if mapping_end > end {
                let cut = end - start;
                let rest = Mapping {
                    len: mapping.len - cut,
                    gpa: mapping.gpa + cut,
                    ..mapping.clone()
                };
                self.mappings.insert(end, rest);
            }
            if start < iova {
                let len = iova - start;
                self.mappings.insert(start, Mapping { len, ..mapping });
            }
        }
    }

    /// The last mapping that starts before `end`.
    fn last_before(&self, end: u64) -> Option<(u64, &Mapping)> {
        let found = self.mappings.range(..end).next_back();
        found.map(|(start, mapping)| (*start, mapping))
    }

    /// Forgets all mappings and files.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The part of an access at `iova` that the mapping there covers, at most `len` bytes; `None` if nothing is
    /// mapped there.
    pub fn piece(&self, iova: u64, len: u64) -> Option<Piece<'_>> {
        let (start, mapping) = self.mappings.range(..=iova).next_back()?;
        let into = iova - start;
        let left = mapping.len.checked_sub(into).filter(|left| *left > 0)?;
        Some(Piece {
            iova,
            gpa: mapping.gpa + into,
            len: len.min(left),
            rights: mapping.rights,
            file: &mapping.file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Rights = Rights {
        read: true,
        write: true,
    };

    fn file() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x10000).unwrap();
        file
    }

    fn found(memory: &Memory, iova: u64) -> Option<(u64, u64)> {
        memory.piece(iova, 0x10_0000).map(|piece| (piece.gpa, piece.len))
    }

    #[test]
    fn an_access_is_cut_at_the_end_of_its_mapping() {
        let mut memory = Memory::default();
        memory.map(0x8000, 0x2000, 0x1000, BOTH, file()).unwrap();
        assert_eq!(found(&memory, 0x8800), Some((0x1800, 0x1800)));
        assert_eq!(found(&memory, 0x7fff), None);
        assert_eq!(found(&memory, 0xa000), None);
    }

    #[test]
    fn unmapping_the_middle_keeps_both_ends() {
        let mut memory = Memory::default();
        memory.map(0x8000, 0x3000, 0x1000, BOTH, file()).unwrap();
        memory.unmap(0x9000, 0x1000);
        assert_eq!(found(&memory, 0x8000), Some((0x1000, 0x1000)));
        assert_eq!(found(&memory, 0x9000), None);
        assert_eq!(found(&memory, 0xa000), Some((0x3000, 0x1000)));
        memory.unmap(0, u64::MAX);
        assert_eq!(found(&memory, 0x8000), None);
    }

    #[test]
    fn a_later_mapping_replaces_an_earlier_one() {
        let mut memory = Memory::default();
        memory.map(0x8000, 0x1000, 0x1000, BOTH, file()).unwrap();
        memory.map(0x8000, 0x1000, 0x5000, BOTH, file()).unwrap();
        assert_eq!(found(&memory, 0x8000), Some((0x5000, 0x1000)));
    }

    #[test]
    fn ranges_that_wrap_or_leave_the_file_are_refused() {
        let mut memory = Memory::default();
        for (iova, len, gpa) in [
            (0, 0, 0),
            (u64::MAX, 2, 0),
            (0, 0x1000, 0xf001),
            (0, 0x1000, u64::MAX),
        ] {
            assert!(
                memory.map(iova, len, gpa, BOTH, file()).is_err(),
                "{iova:#x} {len:#x} {gpa:#x}"
            );
        }
    }
}
