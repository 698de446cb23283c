//! `tidelock-device serve` as a process.

use std::path::{Path, PathBuf};
use std::process::Command;

use firmware_tests::artifact::program;
use firmware_tests::process::Process;

use crate::case::Case;
use crate::judge::{LIMIT, said_after};

pub(crate) struct Device {
    folder: tempfile::TempDir,
    _process: Process,
    address: String,
}

impl Device {
    /// A device that knows libspdm's root, should it be told to authenticate requesters.
    pub(crate) fn serve(case: Case, options: &str) -> Self {
        Self::serve_knowing(case, options, &case.root())
    }

    /// A device that knows that root for its requesters.
    pub(crate) fn serve_knowing(case: Case, options: &str, root: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program("tidelock-device").unwrap());
        command.env("TMPDIR", folder.path());
        command.args([
            "--log",
            "debug",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--heartbeat",
            "60",
        ]);
        command.args(case.options());
        command.args(options.split_whitespace());
        if options.contains("--mutual-auth") {
            command.arg("--requester-root").arg(root);
            command
                .arg("--requester-chain")
                .arg(case.key("bundle_requester.certchain.der"));
        }
        let log = folder.path().join("device.log");
        let mut process = Process::start("tidelock-device", &mut command, &log).unwrap();
        let told = || said_after(&log, "root certificate ");
        process
            .wait_for("the root certificate's file", LIMIT, told)
            .unwrap();
        let address = said_after(&log, "listening on ").unwrap();
        Self {
            folder,
            _process: process,
            address,
        }
    }

    pub(crate) fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }

    /// The names of the messages in clear, among other things.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("device.log")).unwrap()
    }

    /// Its root certificate's file.
    pub(crate) fn root(&self) -> PathBuf {
        said_after(&self.folder.path().join("device.log"), "root certificate ")
            .unwrap()
            .into()
    }
}
