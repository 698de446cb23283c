//! `tidelock-xdp` on real interfaces: two ends of a cable (veth), each in a network namespace of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidelock-xdp");
const NATIVE: [&str; 2] = ["--mode", "native"];
const GENERIC: [&str; 2] = ["--mode", "generic"];

fn main() {
    let arguments = Arguments::from_args();
    let missing = missing();
    let trial = |name: &str, test: fn(&Cable)| {
        let missing = missing.clone();
        Trial::ignorable_test(name, move || match missing {
            Some(why) => Ok(Completion::ignored_with(why)),
            None => run(test).map(|()| Completion::Completed),
        })
    };
    let trials = vec![
        trial("native_mode_is_native_and_the_counters_are_exact", |cable| {
            carries(cable, NATIVE, "native")
        }),
        trial("generic_mode_is_generic_and_the_counters_are_exact", |cable| {
            carries(cable, GENERIC, "generic")
        }),
        trial(
            "a_driver_without_native_xdp_is_an_error_and_no_silent_fallback",
            no_fallback,
        ),
        trial("a_second_program_is_refused_and_the_first_stays", second),
        trial("the_program_is_off_when_its_process_is_killed", killed),
        trial("two_capabilities_are_enough", two_capabilities),
        trial("status_shows_mode_program_and_counters", status),
        trial(
            "rules_read_again_take_the_old_ones_place_and_bad_ones_change_nothing",
            reload,
        ),
        trial("an_interface_that_is_not_there_is_named", |cable| {
            let error = cable.refused("nothere0", "default = 'pass'", NATIVE);
            assert!(error.contains("nothere0") && error.contains("ip link"), "{error}");
        }),
        trial(
            "rules_that_make_no_sense_are_refused_before_anything_is_loaded",
            |cable| {
                let error = cable.refused("near", "default = 'pass'\nports = 22", NATIVE);
                assert!(error.contains("unknown field `ports`"), "{error}");
            },
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Why this machine cannot run these tests.
fn missing() -> Option<String> {
    let namespace = format!("tl{}-try", std::process::id());
    let made = Command::new("ip").args(["netns", "add", &namespace]).output();
    let output = match made {
        Err(error) => return Some(format!("there is no `ip` (iproute2): {error}")),
        Ok(output) => output,
    };
    if !output.status.success() {
        return Some(format!(
            "no network namespace can be made: {}",
            words(&output.stderr)
        ));
    }
    let veth = [
        "link", "add", "name", "one", "type", "veth", "peer", "name", "two",
    ];
    let link = Command::new("ip").args(["-n", &namespace]).args(veth).output();
    let _ = Command::new("ip").args(["netns", "del", &namespace]).output();
    let failed = link.ok().filter(|output| !output.status.success())?;
    Some(format!("no veth pair can be made: {}", words(&failed.stderr)))
}

fn run(test: fn(&Cable)) -> Result<(), Failed> {
    let cable = Cable::new();
    test(&cable);
    Ok(())
}

/// Namespace `…-n` holds `near` (10.9.9.1), on which programs run; `…-f` holds `far` (10.9.9.2), which sends.
struct Cable {
    near: String,
    far: String,
    rules: PathBuf,
}

impl Cable {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tl{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let rules = std::env::temp_dir().join(format!("{name}.toml"));
        let cable = Self {
            near: format!("{name}-n"),
            far: format!("{name}-f"),
            rules,
        };
        for namespace in [&cable.near, &cable.far] {
            ip(&["netns", "add", namespace]);
        }
        ip(&[
            "-n",
            &cable.near,
            "link",
            "add",
            "near",
            "type",
            "veth",
            "peer",
            "name",
            "far",
            "netns",
            &cable.far,
        ]);
        for (namespace, name, address) in [
            (&cable.near, "near", "10.9.9.1/24"),
            (&cable.far, "far", "10.9.9.2/24"),
        ] {
            // Without IPv6's own chatter, every packet is one that a test sent.
            ip(&[
                "netns",
                "exec",
                namespace,
                "sysctl",
                "-qw",
                &format!("net.ipv6.conf.{name}.disable_ipv6=1"),
            ]);
            ip(&["-n", namespace, "address", "add", address, "dev", name]);
            ip(&["-n", namespace, "link", "set", name, "up"]);
        }
        cable
    }

    fn command(&self, wrapper: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.near]).args(wrapper);
        command
    }

    fn attach(&self, rules: &str, mode: [&str; 2]) -> Running {
        self.attach_as(&[PROGRAM], rules, mode)
    }

    fn attach_as(&self, program: &[&str], rules: &str, mode: [&str; 2]) -> Running {
        fs::write(&self.rules, rules).unwrap();
        let mut command = self.command(program);
        command
            .args(["attach", "--json", "--dev", "near"])
            .args(mode)
            .arg("--rules")
            .arg(&self.rules);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines }
    }

    fn refused(&self, dev: &str, rules: &str, mode: [&str; 2]) -> String {
        fs::write(&self.rules, rules).unwrap();
        let mut command = self.command(&[PROGRAM]);
        command
            .args(["attach", "--dev", dev])
            .args(mode)
            .arg("--rules")
            .arg(&self.rules);
        let output = command.output().unwrap();
        assert!(!output.status.success(), "it was taken");
        words(&output.stderr)
    }

    fn status(&self) -> Value {
        let output = self.command(&[PROGRAM, "status", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output.stderr)))
    }

    /// Sends `count` UDP datagrams with 10 bytes from the far end. No answer is awaited.
    fn send(&self, count: u32, port: u16) {
        let script = format!("for i in $(seq {count}); do printf 0123456789 >/dev/udp/10.9.9.1/{port}; done");
        let output = Command::new("ip")
            .args(["netns", "exec", &self.far, "bash", "-c", &script])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", words(&output.stderr));
    }

    /// Both ends know each other's address, so that there is no ARP to count.
    fn introduce(&self) {
        let address = |namespace: &str, name: &str| {
            let output = ip(&["-n", namespace, "-json", "link", "show", name]);
            let links: Value = serde_json::from_slice(&output.stdout).unwrap();
            links[0]["address"].as_str().unwrap().to_owned()
        };
        let (near, far) = (address(&self.near, "near"), address(&self.far, "far"));
        ip(&[
            "-n",
            &self.far,
            "neighbour",
            "replace",
            "10.9.9.1",
            "lladdr",
            &near,
            "dev",
            "far",
            "nud",
            "permanent",
        ]);
        ip(&[
            "-n",
            &self.near,
            "neighbour",
            "replace",
            "10.9.9.2",
            "lladdr",
            &far,
            "dev",
            "near",
            "nud",
            "permanent",
        ]);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
        let _ = fs::remove_file(&self.rules);
    }
}

/// A `tidelock-xdp attach` at work; killed if the test forgets it.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: `{line}`"))
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status();
        assert!(status.unwrap().success());
    }

    fn interrupt(mut self) -> Value {
        self.signal("-INT");
        let stats = self.line();
        assert!(self.child.wait().unwrap().success());
        stats
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ONE_PORT: &str = "default = 'drop'
    [[rule]]
    action = 'pass'
    protocol = 'udp'
    source = '10.9.9.2'
    destination_ports = '7000-7001'";

/// Ethernet 14, IPv4 20, UDP 8, data 10.
const BYTES: u64 = 52;

fn carries(cable: &Cable, mode: [&str; 2], name: &str) {
    cable.introduce();
    let mut running = cable.attach(ONE_PORT, mode);
    let attached = running.line();
    assert_eq!(
        (&attached["mode"], &attached["name"]),
        (&name.into(), &"near".into())
    );
    let shown = ip(&["-n", &cable.near, "-details", "-json", "link", "show", "near"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    // The kernel's own numbers, as iproute2 shows them: 1 native, 2 generic.
    assert_eq!(shown[0]["xdp"]["mode"], if name == "native" { 1 } else { 2 });
    assert_eq!(shown[0]["xdp"]["prog"]["id"], attached["program_id"]);
    cable.send(7, 7001);
    cable.send(5, 7002);
    let stats = running.interrupt();
    assert_eq!(
        (&stats["passed_packets"], &stats["passed_bytes"]),
        (&7.into(), &(7 * BYTES).into())
    );
    assert_eq!(
        (&stats["dropped_packets"], &stats["dropped_bytes"]),
        (&5.into(), &(5 * BYTES).into())
    );
    assert_eq!(
        (
            &stats["rules"][0]["passed_packets"],
            &stats["default"]["dropped_packets"]
        ),
        (&7.into(), &5.into())
    );
    let shown = ip(&["-n", &cable.near, "-json", "link", "show", "near"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert!(shown[0].get("xdp").is_none(), "{shown}");
}

fn no_fallback(cable: &Cable) {
    ip(&["-n", &cable.near, "link", "set", "lo", "up"]);
    let error = cable.refused("lo", "default = 'pass'", NATIVE);
    assert!(
        error.contains("native") && error.contains("never chosen for you"),
        "{error}"
    );
    assert_eq!(cable.status(), Value::Array(vec![]));
}

fn second(cable: &Cable) {
    let mut first = cable.attach("default = 'pass'", NATIVE);
    let attached = first.line();
    let error = cable.refused("near", "default = 'drop'", NATIVE);
    assert!(error.contains("another XDP program"), "{error}");
    assert_eq!(cable.status()[0]["program_id"], attached["program_id"]);
    first.interrupt();
}

fn killed(cable: &Cable) {
    let mut running = cable.attach("default = 'drop'", NATIVE);
    running.line();
    assert_eq!(cable.status().as_array().unwrap().len(), 1);
    drop(running);
    assert_eq!(cable.status(), Value::Array(vec![]));
}

/// With the most rules there can be, because without CAP_PERFMON the verifier follows more paths.
fn two_capabilities(cable: &Cable) {
    let copy = std::env::temp_dir().join(format!("{}-program", cable.near));
    fs::copy(PROGRAM, &copy).unwrap();
    let rule = |i| {
        format!(
            "[[rule]]\naction = 'drop'\nsource = '10.{i}.0.0/16'\nsource_ports = '1-{}'\n",
            i + 9
        )
    };
    let rules: String = (0..64).map(rule).collect();
    let capabilities = [
        "--inh-caps",
        "-all,+bpf,+net_admin",
        "--ambient-caps",
        "-all,+bpf,+net_admin",
    ];
    let bounding = ["--bounding-set", "-all,+bpf,+net_admin", "--no-new-privs"];
    let user = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    ];
    let program = [&user[..], &capabilities, &bounding, &[copy.to_str().unwrap()]].concat();
    let mut running = cable.attach_as(&program, &format!("default = 'drop'\n{rules}"), NATIVE);
    assert_eq!(running.line()["mode"], "native");
    running.interrupt();
    fs::remove_file(&copy).unwrap();
}

fn status(cable: &Cable) {
    cable.introduce();
    let mut running = cable.attach(ONE_PORT, NATIVE);
    let attached = running.line();
    cable.send(3, 7000);
    let found = &cable.status()[0];
    assert_eq!(
        (&found["name"], &found["mode"]),
        (&"near".into(), &"native".into())
    );
    assert_eq!(
        (&found["program"], &found["program_id"]),
        (&"tidelock_xdp".into(), &attached["program_id"])
    );
    assert_eq!(found["stats"]["rules"][0]["passed_packets"], 3);
    running.interrupt();
}

fn reload(cable: &Cable) {
    cable.introduce();
    let mut running = cable.attach(ONE_PORT, NATIVE);
    let first = running.line();
    cable.send(2, 7000);
    fs::write(&cable.rules, "default = 'pass'").unwrap();
    running.signal("-HUP");
    assert_eq!(running.line()["passed_packets"], 2);
    let second = running.line();
    assert_eq!(second["mode"], "native");
    assert_ne!(second["program_id"], first["program_id"]);
    fs::write(&cable.rules, "default = 'sometimes'").unwrap();
    running.signal("-HUP");
    cable.send(3, 9);
    assert_eq!(cable.status()[0]["program_id"], second["program_id"]);
    let stats = running.interrupt();
    assert_eq!(
        (&stats["passed_packets"], &stats["dropped_packets"]),
        (&3.into(), &0.into())
    );
}

fn ip(arguments: &[&str]) -> Output {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        words(&output.stderr)
    );
    output
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
