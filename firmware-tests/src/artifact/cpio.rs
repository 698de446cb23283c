//! The archive format of an initramfs: cpio "newc", as Linux' `Documentation/driver-api/early-userspace/buffer-format.rst`
//! describes it: per entry a header of 8-digit hexadecimal fields, the name, and the contents, both padded to 4 bytes.

use std::collections::BTreeMap;

/// One entry of the archive.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// A folder.
    Folder,
    /// A file, with its permission bits.
    File {
        /// Permission bits.
        mode: u32,
        /// What is in it.
        contents: Vec<u8>,
    },
    /// A symbolic link to a path.
    Link(String),
    /// A character device with its major and minor number.
    Device(u32, u32),
}

/// A tree of entries by path (without a leading slash); folders come into being as needed.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// Puts `entry` at `path`, in place of what was there.
    pub(super) fn put(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        for (slash, _) in path.match_indices('/') {
            self.0.entry(path[..slash].into()).or_insert(Entry::Folder);
        }
        self.0.insert(path.into(), entry);
    }

    /// Whether something is at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path.trim_matches('/'))
    }

    /// The archive's bytes. Parents come before children, as the kernel needs it, because the paths are sorted.
    pub(super) fn archive(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, entry)) in (1u32..).zip(&self.0) {
            append(&mut out, number, path, entry);
        }
        append(
            &mut out,
            0,
            "TRAILER!!!",
            &Entry::File {
                mode: 0,
                contents: Vec::new(),
            },
        );
        out
    }
}

fn append(out: &mut Vec<u8>, number: u32, path: &str, entry: &Entry) {
    let (mode, contents, device): (u32, &[u8], (u32, u32)) = match entry {
        Entry::Folder => (0o040_755, &[], (0, 0)),
        Entry::File { mode, contents } => (0o100_000 | mode, contents, (0, 0)),
        Entry::Link(target) => (0o120_777, target.as_bytes(), (0, 0)),
        Entry::Device(major, minor) => (0o020_600, &[], (*major, *minor)),
    };
    // c_ino c_mode c_uid c_gid c_nlink c_mtime c_filesize c_maj c_min c_rmaj c_rmin c_namesize c_chksum
    let fields = [
        number,
        mode,
        0,
        0,
        1,
        0,
        contents.len() as u32,
        0,
        0,
        device.0,
        device.1,
        path.len() as u32 + 1,
        0,
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(contents);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_their_children_and_fields_are_hexadecimal() {
        let mut tree = Tree::default();
        tree.put(
            "/a/b/c",
            Entry::File {
                mode: 0o755,
                contents: b"hello".to_vec(),
            },
        );
        let bytes = tree.archive();
        let text = String::from_utf8_lossy(&bytes);
        let place = |what: &str| {
            text.find(what)
                .unwrap_or_else(|| panic!("no {what:?} in the archive"))
        };
        assert!(place("a\0") < place("a/b\0") && place("a/b\0") < place("a/b/c\0"));
        assert!(bytes.starts_with(b"07070100000001000041ed"));
        assert!(place("000081ed") < place("hello\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
