//! `tidelock spdm` as a process.

use std::path::Path;
use std::process::{Command, Output};

use firmware_tests::artifact::program;

use crate::case::Case;
use crate::judge::Judge;

/// A conversation that was had, and is kept.
pub(crate) struct Talk {
    case: Case,
    folder: tempfile::TempDir,
    out: Output,
}

/// What opens the sessions on a pre-shared key of libspdm's samples: its NUL belongs to it.
const KEY: &[u8] = b"TestPskData\0";

impl Talk {
    /// `tidelock spdm VERB` with libspdm, vouched for by that root.
    pub(crate) fn with(judge: Judge, verb: &str, root: &Path) -> Self {
        let Judge {
            case,
            folder,
            address,
            ..
        } = &judge;
        let file = |name: &str| folder.path().join(name);
        let mut command = Command::new(program("tidelock").unwrap());
        command.args(["spdm", verb, "--connect", address, "--timeout", "20"]);
        command.args(case.options());
        command
            .arg("--root")
            .arg(root)
            .arg("--save")
            .arg(file("talk.pcap"));
        for word in case.form.ours.split_whitespace() {
            command.arg(word);
            match word {
                "--session" => command.arg("--save-secrets").arg(file("talk.json")),
                "--identity" => command.arg(case.key("requester.pem")),
                "--psk" => {
                    std::fs::write(file("psk"), KEY).unwrap();
                    command.arg(file("psk"))
                }
                _ => &mut command,
            };
        }
        let out = command.output().unwrap();
        Self {
            case: *case,
            folder: judge.folder,
            out,
        }
    }

    /// Whether all went well.
    pub(crate) fn done(&self) -> bool {
        self.out.status.success()
    }

    pub(crate) fn said(&self) -> String {
        text(&self.out)
    }

    /// The recording in brief; panics if anything in it does not agree or, in a session, could not be read.
    pub(crate) fn decoded(&self) -> String {
        let file = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(program("tidelock").unwrap());
        command.args(["spdm", "decode", "--brief"]).arg(file("talk.pcap"));
        if file("talk.json").exists() {
            command.arg("--secrets").arg(file("talk.json"));
        }
        let out = command.output().unwrap();
        let said = text(&out);
        assert!(out.status.success(), "{}: {said}", self.case);
        // A chain that the device knew already is in the secrets alone.
        let whole = ["not checked: nothing", "chain that the recording does not show)"];
        assert!(
            whole.iter().any(|end| said.trim_end().ends_with(end)),
            "{}: {said}",
            self.case
        );
        said
    }
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&[&out.stdout[..], &out.stderr].concat()).into_owned()
}
