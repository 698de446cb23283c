//! One virtual machine each: the whole flow with a stock kernel in the guest, and what it does with devices that lie.

use firmware_tests::artifact::{Environment, program};
use firmware_tests::demo::{report::Verdict, run};
use firmware_tests::flow::guest::{Guest, GuestImage};
use firmware_tests::flow::platform::Platform;
use firmware_tests::flow::{TDIS, guest_bdf, policy};
use firmware_tests::need::{Need, trial};
use firmware_tests::platform::{Client, Role};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);

fn main() {
    let mut tests = vec![
        flow(
            "the demo shows what it is to show",
            the_demo_shows_what_it_is_to_show,
        ),
        flow(
            "a device loses its verdict with its state, and DMA with its verdict",
            a_verdict_dies_with_the_state,
        ),
        flow(
            "function 0 answers through the DOE mailbox that the guest's kernel shows",
            identified_through_sysfs,
        ),
        flow(
            "a device that replays a signature is not even connected",
            a_replayed_signature_ends_the_connect,
        ),
        flow("an interrupted demo says so and leaves no process behind", || {
            interrupted(libc::SIGINT, Some(2))
        }),
        flow("a killed demo leaves no process behind", || {
            interrupted(libc::SIGKILL, None)
        }),
    ];
    tests.extend(LIES.map(|lies| {
        let name = lies.iter().map(|lie| lie.lie).collect::<Vec<_>>().join(" and ");
        flow(&format!("a device is refused for its lie: {name}"), move || {
            refused_for(lies)
        })
    }));
    // One machine at a time: each has two processors under emulation.
    let arguments = Arguments {
        test_threads: Some(1),
        ..Arguments::from_args()
    };
    libtest_mimic::run(&arguments, tests).exit();
}

fn flow(name: &str, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let programs = [
        "tidelock-device",
        "tidelock-tsm",
        "tidelockd",
        "tidelock",
        "tidelock-agent",
        "tidelock-probe",
    ];
    let needs: Vec<Need> = [Need::Environment]
        .into_iter()
        .chain(programs.map(Need::Program))
        .collect();
    trial(name, &needs, test)
}

/// A lie, the function that it is about, and what the agent's reason must say.
struct LieOf {
    lie: &'static str,
    function: u8,
    reason: &'static str,
}

const LIES: [&[LieOf]; 3] = [
    &[
        LieOf {
            lie: "measurement-swapped:1",
            function: 1,
            reason: "measurement 17",
        },
        LieOf {
            lie: "state-not-locked:2",
            function: 2,
            reason: "LOCKED",
        },
    ],
    &[
        LieOf {
            lie: "truncated-report:1",
            function: 1,
            reason: "report",
        },
        LieOf {
            lie: "report-of-other-function:2",
            function: 2,
            reason: "another function",
        },
    ],
    &[LieOf {
        lie: "other-root",
        function: 1,
        reason: "not pinned",
    }],
];

const RUN: &str = "stage untrusted agent untrusted\nagent run >&2 &\nstage run agent status --wait --json\n";

#[derive(Deserialize)]
struct Status {
    devices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    bdf: String,
    verdict: Verdict,
    reason: String,
}

impl Status {
    fn of(&self, function: u8) -> Result<&Device, Failed> {
        let bdf = guest_bdf(function);
        Ok(self
            .devices
            .iter()
            .find(|device| device.bdf == bdf)
            .ok_or("the agent is silent about a function")?)
    }
}

/// A connected platform with a device that tells `lies`, and a guest that runs `script` with a strict policy.
fn boot(folder: &tempfile::TempDir, lies: &[&str], script: &str) -> Result<(Platform, Guest), Failed> {
    let environment = Environment::find()?;
    let mut platform = Platform::start(folder.path(), lies)?;
    platform.start_daemon()?;
    let reference = serde_json::from_value(platform.reference()?)?;
    platform.tidelock(&["connect", "nic0"])?;
    let policy = policy::strict(&reference, &TDIS, 9);
    let image = GuestImage {
        policy,
        script: script.into(),
        programs: vec![],
    }
    .build(&environment)?;
    let guest = Guest::boot(&environment, &image, &platform, LIMIT)?;
    Ok((platform, guest))
}

fn refused_for(lies: &[LieOf]) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let names: Vec<&str> = lies.iter().map(|lie| lie.lie).collect();
    let (_platform, mut guest) = boot(&folder, &names, RUN)?;
    guest.follow(|_| (), || Ok(()))?;
    let status: Status = guest.said("run")?;
    for lie in lies {
        let device = status.of(lie.function)?;
        assert_eq!(device.verdict, Verdict::Refused, "{}: {}", lie.lie, device.reason);
        assert!(
            device.reason.contains(lie.reason),
            "{}: {}",
            lie.lie,
            device.reason
        );
    }
    Ok(())
}

fn a_replayed_signature_ends_the_connect() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let mut platform = Platform::start(folder.path(), &["nonce-replay"])?;
    platform.start_daemon()?;
    let error = platform
        .tidelock(&["connect", "nic0"])
        .expect_err("its signature is stale")
        .to_string();
    assert!(
        error.contains("MEASUREMENTS") && error.contains("signature"),
        "{error}"
    );
    let status = platform.tidelock(&["status"])?;
    assert_eq!(
        status["status"]["devices"][0]["state"], "disconnected",
        "{status}"
    );
    assert!(platform.counters()?.iter().all(|function| !function.dma_enabled));
    Ok(())
}

fn the_demo_shows_what_it_is_to_show() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let options = run::Options {
        directory: folder.path().into(),
        stop: Arc::default(),
    };
    let report = run::run(&options, &mut |_| ())?;
    assert_eq!(report.failures, Vec::<String>::new());
    assert_eq!(
        report.devices[0].dma_refused, 1,
        "nothing but the private page that it was made to try"
    );
    assert_eq!(
        report.devices[1].dma_refused, 0,
        "a bounced function never strays"
    );
    Ok(())
}

/// Pages that a function can reach, among those that a driver's mappings start at: the last MiB below 4 GiB.
fn reachable(observer: &mut Client, function: u8) -> Result<usize, Failed> {
    let pages = (0xfff0_0000u64..0x1_0000_0000).step_by(4096);
    let mut count = 0;
    for iova in pages {
        count += usize::from(observer.dma_probe(function, iova, 64, false)?.is_ok());
    }
    Ok(count)
}

fn a_verdict_dies_with_the_state() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let script = format!("{RUN}stage void until_refused\n");
    let script = UNTIL_REFUSED.to_owned() + &script;
    let (platform, mut guest) = boot(&folder, &[], &script)?;
    let mut observer = Client::connect(&platform.platform_socket(), Role::Observer)?;
    let (mut before, mut accepted) = (None, 0);
    guest.follow(
        |stage| match stage.name.as_str() {
            // A page of the guest's kernel: the IOMMU maps it in a bounced function's domain, nothing shares it.
            "untrusted" => before = observer.dma_probe(1, 16 << 20, 64, false).ok(),
            "run" => {
                accepted = reachable(&mut observer, 1).unwrap_or(0);
                observer.fault(1).expect("an observer can make an interface fail");
            }
            _ => (),
        },
        || Ok(()),
    )?;
    let before = before.ok_or("no canary was sent before the verdict")?;
    let why = before.expect_err("a private page is out of reach before the verdict");
    assert!(why.contains("private"), "{why}");
    assert!(
        accepted > 0,
        "an accepted function reaches what its driver mapped"
    );
    assert_eq!(guest.said::<Status>("run")?.of(1)?.verdict, Verdict::Accepted);
    assert_eq!(
        reachable(&mut observer, 1)?,
        0,
        "a function in ERROR reaches nothing"
    );
    let void: Status = guest.said("void")?;
    assert_eq!(void.of(1)?.verdict, Verdict::Refused);
    assert!(void.of(1)?.reason.contains("ERROR"), "{}", void.of(1)?.reason);
    assert_eq!(void.of(2)?.verdict, Verdict::Accepted, "its sibling is as it was");
    Ok(())
}

const UNTIL_REFUSED: &str = r#"
until_refused() {
    tries=0
    while [ $tries -lt 60 ]; do
        agent status --json >/tmp/status
        grep -q '"refused"' /tmp/status && break
        tries=$((tries + 1))
        sleep 0.5
    done
    cat /tmp/status
}
"#;

fn identified_through_sysfs() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let environment = Environment::find()?;
    let mut platform = Platform::start(folder.path(), &[])?;
    platform.start_daemon()?;
    let image = GuestImage {
        policy: policy::strict(&serde_json::from_value(platform.reference()?)?, &TDIS, 9),
        script: IDENTIFY.into(),
        programs: vec!["tidelockd", "tidelock"],
    };
    let mut guest = Guest::boot(&environment, &image.build(&environment)?, &platform, LIMIT)?;
    guest.follow(|_| (), || Ok(()))?;
    let facts: serde_json::Value = guest.said("identify")?;
    let text = facts.to_string();
    assert_eq!(facts["identity"]["spdm"], "1.4", "{text}");
    // The same facts without the daemon, which has let go of the mailbox.
    let asked: serde_json::Value = guest.said("ask")?;
    let same = |ours: &serde_json::Value, daemons: &serde_json::Value| {
        assert_eq!(ours, daemons, "{asked}\n{text}");
    };
    let identity = &facts["identity"];
    same(&asked["spdm"], &identity["spdm"]);
    same(&asked["chains"][0]["root_sha384"], &identity["root_sha384"]);
    let values = |list: &serde_json::Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.map(|measured| measured["value"].to_string()).collect()
    };
    assert!(!values(&identity["measurements"]).is_empty(), "{text}");
    assert_eq!(values(&asked["measurements"]), values(&identity["measurements"]));
    assert_eq!(asked["measurements_signature"]["verified"], true, "{asked}");
    // What was said through the mailbox is a recording like others.
    let decoded: serde_json::Value = guest.said("decode")?;
    assert_eq!(decoded["disagreements"], 0, "{decoded}");
    assert_eq!(decoded["checked"]["signatures"], 3, "{decoded}");
    assert_eq!(decoded["not_checked"], serde_json::json!([]), "{decoded}");
    Ok(())
}

/// Sends the demo a signal while its guest boots; what it answers, and that everything it started is gone.
fn interrupted(signal: i32, code: Option<i32>) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(program("tidelock-demo")?);
    command
        .arg("--out")
        .arg(folder.path().join("out"))
        .env("TMPDIR", folder.path());
    let mut demo = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    until("the guest boots", || {
        processes_of(folder.path())
            .iter()
            .any(|name| name.contains("qemu"))
    })?;
    kill(&demo, signal)?;
    let status = demo.wait()?;
    assert_eq!(status.code(), code);
    until("all processes are gone", || {
        processes_of(folder.path()).is_empty()
    })
}

fn kill(child: &Child, signal: i32) -> Result<(), Failed> {
    let signal = rustix::process::Signal::from_named_raw(signal).ok_or("no such signal")?;
    Ok(rustix::process::kill_process(
        rustix::process::Pid::from_child(child),
        signal,
    )?)
}

fn until(what: &str, mut done: impl FnMut() -> bool) -> Result<(), Failed> {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > Duration::from_secs(30) {
            return Err(format!("waited 30 s until {what}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Command lines of the processes that name a file in `folder`, the demo's own aside.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&*folder) && !line.contains("tidelock-demo"))
        .collect()
}

const IDENTIFY: &str = r#"
cat >/tmp/tidelockd.toml <<END
state_dir = "/tmp/state"
api_socket = "/tmp/api.sock"
[tsm]
backend = "userspace"
[[device]]
name = "nic0"
bdf = "0000:01:00.0"
[device.transport]
kind = "sysfs"
root = "/sys"
END
mkdir -p /tmp/state
tidelockd --config /tmp/tidelockd.toml >&2 &
tries=0
while [ ! -e /tmp/api.sock ] && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
stage identify tidelock --socket /tmp/api.sock --json identify nic0
card="--doe 0000:01:00.0 --locks /tmp/state/locks"
tidelock spdm certs $card --out /tmp/chain >&2
stage ask tidelock spdm measure $card --root /tmp/chain/slot0-0.der --session --save /tmp/ask.pcap \
    --save-secrets /tmp/ask.json --json
decode() { tidelock spdm decode /tmp/ask.pcap --secrets /tmp/ask.json --quiet --json; }
stage decode decode
"#;
