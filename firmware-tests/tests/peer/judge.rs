//! libspdm as a process.

use std::path::Path;
use std::time::Duration;

use firmware_tests::libspdm::Libspdm;
use firmware_tests::process::Process;

use crate::case::Case;

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// libspdm as a responder, for one connection.
pub(crate) struct Judge {
    pub(crate) case: Case,
    pub(crate) folder: tempfile::TempDir,
    _process: Process,
    pub(crate) address: String,
}

impl Judge {
    /// What libspdm says of the device at that port, which it trusts by an option and a file: each thing done or, as an
    /// error, where it stopped.
    pub(crate) fn ask(case: Case, port: &str, trusts: &str, file: &Path) -> Result<String, String> {
        let mut words = words("requester", &case, trusts, file);
        words.extend(["--port".into(), port.into()]);
        let out = Libspdm::find().unwrap().command(words).output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        match out.status.success() {
            true => Ok(said),
            false => Err(format!("{case}: {said}{}", String::from_utf8_lossy(&out.stderr))),
        }
    }

    /// Serves a requester whose chain, should it show one, is to begin with that root.
    pub(crate) fn serve(case: Case, root: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("libspdm.log");
        let mut command = Libspdm::find()
            .unwrap()
            .command(words("responder", &case, "--root", root));
        let mut process = Process::start("libspdm", &mut command, &log).unwrap();
        let told = || said_after(&log, "listening on ");
        let address = process.wait_for("its port", LIMIT, told).unwrap();
        Self {
            case,
            folder,
            _process: process,
            address,
        }
    }
}

fn words(role: &str, case: &Case, trusts: &str, file: &Path) -> Vec<String> {
    let version = case.spdm();
    let words = [
        role,
        "--transport",
        case.carrier(),
        "--spdm",
        &version,
        "--suite",
        case.suite.theirs,
        trusts,
        file.to_str().unwrap(),
    ];
    words
        .into_iter()
        .chain(case.form.theirs.split_whitespace())
        .map(String::from)
        .collect()
}

/// The rest of the log's line that begins with `begin`, once it is whole.
pub(crate) fn said_after(log: &Path, begin: &str) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text
        .split_inclusive('\n')
        .find(|line| line.starts_with(begin) && line.ends_with('\n'))?;
    Some(line[begin.len()..].trim_end().to_owned())
}
