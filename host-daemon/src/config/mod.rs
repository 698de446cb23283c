//! The configuration: what was written (`low`) and what is meant (`high`).
//!
//! ```text
//! file ──toml, unknown keys refused──► low::File ──names resolved, limits checked──► high::Config
//!                    └────────────── Error{path, line, what} ──────────────┘
//! ```
//! Nothing later in the daemon validates a setting again: what [`load`] returns is consistent.

mod high;
mod low;

use std::path::{Path, PathBuf};

pub use high::{Config, Device, Doe, Lease, Tsm, Vm};

/// Why a configuration file was not taken, with the place in it.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {what}", path.display(), line.map_or(String::new(), |line| format!(":{line}")))]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1, where one can be named.
    pub line: Option<usize>,
    /// What was found, what would have been right, what to do.
    pub what: String,
}

/// Reads and resolves the file at `path`.
pub fn load(path: &Path) -> Result<Config, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error {
        path: path.to_owned(),
        line: None,
        what: format!("the configuration cannot be read: {error}; name a readable file with --config"),
    })?;
    parse(path, &text)
}

/// Resolves `text`, which was read from `path`.
pub fn parse(path: &Path, text: &str) -> Result<Config, Error> {
    let at = |span: Option<std::ops::Range<usize>>, what: String| Error {
        path: path.to_owned(),
        line: span.map(|span| line_of(text, span.start)),
        what,
    };
    let file: low::File =
        toml::from_str(text).map_err(|error| at(error.span(), error.message().to_owned()))?;
    high::resolve(file).map_err(|wrong| at(wrong.span, wrong.what))
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"state_dir = "/var/lib/tidelock"
api_socket = "/run/tidelock/api.sock"
[tsm]
backend = "emulated"
socket = "/run/tidelock/tsm.sock"
[[device]]
name = "nic0"
bdf = "0000:01:00.0"
[device.transport]
kind = "emulator"
address = "127.0.0.1:2323"
[[vm]]
id = 1
courier_socket = "/run/tidelock/vm1.sock"
[[vm.tdi]]
device = "nic0"
function = 1
guest = "0000:01:00.1"
lock = ["no-fw-update", "lock-msix"]
"#;

    fn parsed(text: &str) -> Result<Config, Error> {
        parse(Path::new("t.toml"), text)
    }

    #[test]
    fn a_good_file_is_resolved_into_leases_with_interface_and_flags() {
        let config = parsed(GOOD).unwrap();
        let lease = &config.vms[0].leases[0];
        assert_eq!((lease.device, lease.interface, lease.lock), (0, 0x0101, 0b101));
        assert_eq!(lease.guest.to_string(), "0000:01:00.1");
        assert!(matches!(config.tsm, Tsm::Emulated { .. }));
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_line_and_the_cure() {
        let cases: [(&str, &str, &str); 14] = [
            (
                "state_dir",
                "stat_dir",
                "t.toml:1: unknown field `stat_dir`, expected one of",
            ),
            (
                "name = \"nic0\"",
                "nam = \"nic0\"",
                "t.toml:7: unknown field `nam`, expected one of `name`",
            ),
            (
                "\"emulated\"",
                "\"magic\"",
                "t.toml:4: backend is \"magic\", wanted \"emulated\", \"userspace\" or",
            ),
            (
                "\"emulator\"",
                "\"pigeon\"",
                "t.toml:10: kind is \"pigeon\", wanted \"emulator\" or \"sysfs\"",
            ),
            (
                "socket = \"/run/tidelock/tsm.sock\"\n",
                "",
                "t.toml:4: backend \"emulated\" needs `socket`",
            ),
            ("\"0000:01:00.0\"", "\"01:00\"", "t.toml:8: bdf \"01:00\""),
            (
                "\"0000:01:00.0\"",
                "\"0000:01:00.1\"",
                "t.toml:8: bdf 0000:01:00.1 is function 1",
            ),
            (
                "device = \"nic0\"",
                "device = \"nic1\"",
                "t.toml:16: device \"nic1\" is not configured; known: nic0",
            ),
            (
                "function = 1",
                "function = 9",
                "t.toml:17: function is 9, wanted 0 to 7",
            ),
            (
                "\"lock-msix\"",
                "\"lock-msi\"",
                "t.toml:19: lock flag \"lock-msi\" is not known; known: no-fw-update",
            ),
            ("id = 1", "id = -1", "t.toml:13: "),
            (
                "address = \"127.0.0.1:2323\"",
                "address = \"127.0.0.1\"",
                "t.toml:11: address \"127.0.0.1\"",
            ),
            (
                "[[device]]",
                "[[device]]\nslot = 8",
                "t.toml:7: slot is 8, wanted 0 to 7",
            ),
            (
                "[device.transport]\nkind = \"emulator\"\naddress = \"127.0.0.1:2323\"\n",
                "",
                "t.toml:6: missing field `transport`",
            ),
        ];
        for (from, to, wanted) in cases {
            let message = parsed(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(
                message.starts_with(wanted),
                "{to:?}: {message:?} does not start with {wanted:?}"
            );
        }
    }

    #[test]
    fn a_segment_is_part_of_the_interface() {
        let config = parsed(&GOOD.replacen("0000:01:00.0", "0002:01:00.0", 1)).unwrap();
        assert_eq!(config.vms[0].leases[0].interface, 0x0102_0101);
        let message = parsed(&GOOD.replacen("0000:01:00.0", "0100:01:00.0", 1))
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("t.toml:8: bdf 0100:01:00.0 is in segment 0x100"),
            "{message}"
        );
    }

    #[test]
    fn the_same_thing_configured_twice_is_refused() {
        let twice = [
            "[[device]]\nname = \"nic0\"\nbdf = \"0000:02:00.0\"\n[device.transport]\nkind = \"sysfs\"\n",
            "[[device]]\nname = \"nic1\"\nbdf = \"0000:01:00.0\"\n[device.transport]\nkind = \"sysfs\"\n",
            "[[vm]]\nid = 1\ncourier_socket = \"/x\"\n",
            "[[vm]]\nid = 2\ncourier_socket = \"/run/tidelock/vm1.sock\"\n",
            "[[vm.tdi]]\ndevice = \"nic0\"\nfunction = 1\nguest = \"0000:01:00.2\"\n",
            "[[vm.tdi]]\ndevice = \"nic0\"\nfunction = 2\nguest = \"0000:01:00.1\"\n",
        ];
        for extra in twice {
            let message = parsed(&format!("{GOOD}{extra}")).unwrap_err().to_string();
            assert!(message.contains("twice"), "{extra}: {message}");
        }
    }

    #[test]
    fn a_backend_that_cannot_bind_refuses_leases() {
        let text = GOOD.replacen(
            "backend = \"emulated\"\nsocket = \"/run/tidelock/tsm.sock\"",
            "backend = \"userspace\"",
            1,
        );
        let message = parsed(&text).unwrap_err().to_string();
        assert!(message.contains("cannot bind"), "{message}");
    }

    #[test]
    fn a_missing_file_says_what_to_do() {
        let message = load(Path::new("/nonexistent/t.toml")).unwrap_err().to_string();
        assert!(
            message.contains("cannot be read") && message.contains("--config"),
            "{message}"
        );
    }
}
