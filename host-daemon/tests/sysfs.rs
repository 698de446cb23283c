//! The kernel's TSM and the mailbox in config space, on a tree of files that stands for sysfs. A file takes what is written
//! and does nothing, so that this shows what the daemon asks and refuses, not that a kernel would do it.

#![allow(clippy::unwrap_used, reason = "a broken world ends the test")]

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

struct World {
    directory: tempfile::TempDir,
    daemon: Option<Child>,
}

const FUNCTION: &str = "sys/bus/pci/devices/0000:01:00.0";

impl World {
    fn new() -> Self {
        let this = Self {
            directory: tempfile::tempdir().unwrap(),
            daemon: None,
        };
        for (file, text) in [
            ("vendor", "0x1b36\n"),
            ("device", "0x7ee0\n"),
            ("class", "0x088000\n"),
        ] {
            this.put(&format!("{FUNCTION}/{file}"), text.as_bytes());
        }
        this.put(&format!("{FUNCTION}/config"), &config_space());
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn start(&mut self, backend: &str) {
        let directory = self.directory.path().display();
        let config = format!(
            "state_dir = \"{directory}/state\"\napi_socket = \"{directory}/api.sock\"\n[tsm]\nbackend = {backend}\n\
             [[device]]\nname = \"nic0\"\nbdf = \"0000:01:00.0\"\n\
             [device.transport]\nkind = \"sysfs\"\nroot = \"{directory}/sys\"\ntimeout_ms = 100\n"
        );
        let config = config.replace("ROOT", &format!("{directory}/sys"));
        self.put("tidelockd.toml", config.as_bytes());
        let daemon = Command::new(env!("CARGO_BIN_EXE_tidelockd"))
            .arg("--config")
            .arg(self.path("tidelockd.toml"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.daemon = Some(daemon.unwrap());
    }

    fn tidelock(&self, arguments: &[&str]) -> Output {
        let socket = self.path("api.sock");
        Command::new(env!("CARGO_BIN_EXE_tidelock"))
            .arg("--socket")
            .arg(socket)
            .args(arguments)
            .output()
            .unwrap()
    }

    fn expect(&self, arguments: &[&str], code: i32, wanted: &str) {
        let out = self.tidelock(arguments);
        let text = String::from_utf8_lossy(&[&out.stdout[..], &out.stderr[..]].concat()).into_owned();
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(
            text.contains(wanted),
            "{arguments:?}: {text:?} does not contain {wanted:?}"
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// A header without standard capabilities, and a DOE capability whose mailbox never answers.
fn config_space() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(&[0x36, 0x1b, 0xe0, 0x7e]);
    bytes[0x100..0x104].copy_from_slice(&[0x2e, 0, 1, 0]);
    bytes
}

#[test]
fn the_kernels_tsm_is_asked_to_connect_and_its_silence_is_told() {
    let mut world = World::new();
    fs::create_dir_all(world.path("sys/class/tsm/tsm0")).unwrap();
    for file in ["connect", "disconnect", "dsm", "bound"] {
        world.put(&format!("{FUNCTION}/tsm/{file}"), b"\n");
    }
    world.start("\"sysfs-link\"\nroot = \"ROOT\"");
    world.expect(&["wait-ready", "--timeout", "10"], 0, "ready");
    world.expect(&["connect", "nic0"], 0, "connected");
    let connect = world.path(&format!("{FUNCTION}/tsm/connect"));
    assert_eq!(fs::read_to_string(connect).unwrap().trim(), "tsm0");
    world.expect(&["identify", "nic0"], 1, "nic0 is connected");
    world.expect(&["bind", "nic0", "1"], 1, "leased to no VM");
    // A real kernel empties `connect`; a file does not, and the daemon must not believe that it is done.
    world.expect(&["disconnect", "nic0"], 1, "tsm/connect");
    world.expect(&["status"], 0, "connected");
    world.expect(&["connect", "nic0"], 1, "nic0 is connected already");
}

#[test]
fn a_session_that_the_kernel_has_already_is_adopted_and_not_ended() {
    let mut world = World::new();
    fs::create_dir_all(world.path("sys/class/tsm/tsm0")).unwrap();
    for (file, text) in [("connect", "tsm0\n"), ("disconnect", "")] {
        world.put(&format!("{FUNCTION}/tsm/{file}"), text.as_bytes());
    }
    world.start("\"sysfs-link\"\nroot = \"ROOT\"");
    world.expect(
        &["wait-ready", "--timeout", "10"],
        0,
        "nic0 is still connected: adopted",
    );
    let disconnect = world.path(&format!("{FUNCTION}/tsm/disconnect"));
    assert_eq!(
        fs::read_to_string(disconnect).unwrap(),
        "",
        "nobody asked for an end"
    );
}

#[test]
fn a_device_that_the_kernels_tsm_does_not_know_is_shown_and_keeps_nobody_waiting() {
    let mut world = World::new();
    fs::create_dir_all(world.path("sys/class/tsm/tsm0")).unwrap();
    world.start("\"sysfs-link\"\nroot = \"ROOT\"");
    world.expect(
        &["wait-ready", "--timeout", "10"],
        0,
        "the kernel offers no tsm/ for 0000:01:00.0",
    );
}

#[test]
fn without_a_tsm_in_the_kernel_nothing_is_ready() {
    let mut world = World::new();
    world.start("\"sysfs-link\"\nroot = \"ROOT\"");
    world.expect(
        &["wait-ready", "--timeout", "1"],
        4,
        "/sys/class/tsm has none; wanted one",
    );
}

#[test]
fn a_mailbox_is_left_alone_while_the_kernel_has_the_device() {
    let mut world = World::new();
    fs::create_dir_all(world.path("sys/class/tsm/tsm0")).unwrap();
    world.put(&format!("{FUNCTION}/tsm/connect"), b"tsm0\n");
    world.start("\"userspace\"");
    world.expect(
        &["wait-ready", "--timeout", "10"],
        0,
        "never evidence for a guest",
    );
    world.expect(
        &["identify", "nic0"],
        1,
        "the kernel has it connected to tsm0; disconnect it there",
    );
}

#[test]
fn a_mailbox_that_somebody_holds_or_that_never_answers_is_told() {
    let mut world = World::new();
    world.start("\"userspace\"");
    world.expect(&["wait-ready", "--timeout", "10"], 0, "ready");
    world.expect(
        &["identify", "nic0"],
        1,
        "identify, at discovery, failed: the device's DOE mailbox",
    );
    let lock = fs::File::options()
        .read(true)
        .write(true)
        .open(world.path("state/locks/doe-0000:01:00.0"))
        .unwrap();
    lock.lock().unwrap();
    world.expect(&["identify", "nic0"], 1, "the mailbox of 0000:01:00.0 is taken");
    drop(lock);
    world.expect(
        &["connect", "nic0"],
        1,
        "backend \"userspace\" cannot connect a device",
    );
}
