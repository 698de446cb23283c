//! The run itself: what the operator does, what the guest's script does, and how the report is put together.
//!
//! One screen of order ([`run`]); the parts it calls are in [`crate::flow`].

use super::report::{
    self, Actor, AgentStep, Device, Expectation, Path as DataPath, Report, Step, Verdict, Xdp,
};
use crate::artifact::{ArtifactError, Environment};
use crate::flow::guest::{Guest, GuestError, GuestImage, traffic_stage};
use crate::flow::platform::{Platform, PlatformError};
use crate::flow::policy::{self, Reference};
use crate::flow::stages::{Stage, Stages};
use crate::flow::{TDIS, addresses, guest_bdf};
use crate::platform::{Client, FunctionCounters, Role};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The UDP port whose packets the demo's XDP rule drops (discard).
pub const DROP_PORT: u16 = 9;
/// A UDP port whose packets no rule drops (echo).
const PASS_PORT: u16 = 7;
/// The function whose device lies, and how.
const LIE: &str = "measurement-swapped:2";
/// From boot to the guest's last stage.
const GUEST_LIMIT: Duration = Duration::from_secs(180);
/// What the demo is to show.
const EXPECTED: [Expectation; 2] = [
    Expectation {
        function: 1,
        verdict: Verdict::Accepted,
    },
    Expectation {
        function: 2,
        verdict: Verdict::Refused,
    },
];

/// A page of the guest's memory that no driver shares, below its kernel.
const PRIVATE_PAGE: u64 = 16 << 20;
/// MiB of each measurement, each way.
const TRAFFIC_MIB: u32 = 24;
/// Datagrams that the peer sends to each of the two ports.
const XDP_PACKETS: u32 = 100;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The test environment is not there.
    #[error(transparent)]
    Environment(#[from] ArtifactError),
    /// The emulated platform failed.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The guest failed.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// Something that was to be JSON of a known form is not.
    #[error("{what} is not what the demo can read: {error}")]
    Form {
        /// Whose words.
        what: String,
        /// What is wrong with them.
        error: serde_json::Error,
    },
}

/// What a run needs.
#[derive(Debug)]
pub struct Options {
    /// A directory of this run's own, with a short path.
    pub directory: PathBuf,
    /// Set when the user wants to stop.
    pub stop: Arc<AtomicBool>,
}

/// Runs the whole flow. `on_step` hears of each step as it ends.
pub fn run(options: &Options, on_step: &mut dyn FnMut(&Step)) -> Result<Report, DemoError> {
    let mut clock = Timeline::new(on_step);
    let environment = Environment::find()?;
    let mut platform = clock.step(Actor::Operator, "start device and TSM", || {
        Platform::start(&options.directory, &[LIE])
    })?;
    clock.step(Actor::Operator, "start tidelockd", || platform.start_daemon())?;
    connect(&platform, &mut clock)?;
    let reference: Reference = form("the device's reference", platform.reference()?)?;
    let image = GuestImage {
        policy: policy::strict(&reference, &TDIS, DROP_PORT),
        script: script(),
        programs: vec![],
    };
    let image = clock.step(Actor::Operator, "make the guest image", || {
        image.build(&environment)
    })?;

    let before_boot = Instant::now();
    let mut guest = Guest::boot(&environment, &image, &platform, GUEST_LIMIT)?;
    let gate_failure = follow(&mut guest, &mut platform, options, &mut clock, before_boot)?;
    let stages = clock.step(Actor::Operator, "power the guest off", || guest.wait_off())?;
    let counters = platform.counters()?;
    clock.step(Actor::Host, "disconnect the device: END_SESSION", || {
        platform.tidelock(&["disconnect", "nic0"])
    })?;
    let unclean = clock.step(Actor::Operator, "end all processes", || platform.end());

    let devices = devices(&stages, &counters)?;
    let mut failures = report::judge(&devices, &EXPECTED);
    failures.extend(gate_failure);
    failures.extend(stages.ended().iter().filter_map(stage_failure));
    failures.extend(
        unclean
            .iter()
            .map(|name| format!("{name} did not end cleanly when it was asked to")),
    );
    Ok(Report {
        versions: versions(&environment, &stages)?,
        devices,
        emulated: EMULATED.map(String::from).to_vec(),
        real: REAL.map(String::from).to_vec(),
        total_ms: clock.total_ms(),
        steps: clock.steps,
        failures,
    })
}

/// What the guest does between the loading of its drivers and power-off.
fn script() -> String {
    let traffic = |name: &str| {
        TDIS.map(|function| traffic_stage(name, function, TRAFFIC_MIB))
            .concat()
    };
    let (peer, _) = addresses(1);
    [
        "stage untrusted agent untrusted\n".to_owned(),
        traffic("before"),
        "agent run >&2 &\nstage run agent status --wait --json\n".to_owned(),
        traffic("after"),
        format!("stage xdp-1 tidelock-probe xdp --peer {peer} --count {XDP_PACKETS}"),
        format!(" --drop-port {DROP_PORT} --pass-port {PASS_PORT} --json\n"),
        "stage status agent status --json\n".to_owned(),
        format!("stage revoke agent revoke {}\n", guest_bdf(1)),
    ]
    .concat()
}

/// The operator connects the device; the daemon's own steps become steps of the report.
fn connect(platform: &Platform, clock: &mut Timeline<'_>) -> Result<(), DemoError> {
    #[derive(Deserialize)]
    struct Answer {
        device: Connected,
    }
    #[derive(Deserialize)]
    struct Connected {
        steps: Vec<HostStep>,
    }
    #[derive(Deserialize)]
    struct HostStep {
        name: String,
        at_ms: f64,
        ms: f64,
    }
    let start = Instant::now();
    let answer = platform.tidelock(&["connect", "nic0"])?;
    let end = Instant::now();
    clock.record(Actor::Host, "connect the device, all of it", start, end);
    let answer: Answer = form("the answer of `tidelock connect`", answer)?;
    let span = |ms: f64| Duration::from_secs_f64(ms.clamp(0.0, 1e6) / 1000.0);
    for step in answer.device.steps {
        let at = start + span(step.at_ms);
        clock.record(
            Actor::Host,
            &format!("connect: {}", step.name.replace('_', " ")),
            at,
            at + span(step.ms),
        );
    }
    Ok(())
}

/// Follows the guest through its stages, and keeps an eye on everything else meanwhile. What was wrong with the DMA gate, if anything.
fn follow(
    guest: &mut Guest,
    platform: &mut Platform,
    options: &Options,
    clock: &mut Timeline<'_>,
    before_boot: Instant,
) -> Result<Option<String>, DemoError> {
    let socket = platform.platform_socket();
    let mut reached = None;
    let on_stage = |stage: &Stage| match stage.name.as_str() {
        "untrusted" => {
            clock.record(Actor::Guest, &words("untrusted"), stage.start, stage.end);
            let start = Instant::now();
            reached = private_page_reached(&socket);
            clock.record(
                Actor::Operator,
                "function 1 tries a private page: to be refused",
                start,
                Instant::now(),
            );
        }
        "boot" => clock.record(Actor::Guest, "boot the guest", before_boot, stage.end),
        "end" => (),
        name => clock.record(Actor::Guest, &words(name), stage.start, stage.end),
    };
    let look = || {
        if options.stop.load(Ordering::Relaxed) {
            return Err("interrupted; everything that was started has been ended".into());
        }
        platform.check().map_err(|error| error.to_string())
    };
    guest.follow(on_stage, look)?;
    Ok(reached)
}

/// Has function 1 try a page of the guest's kernel, which nothing shares. What is wrong, if it is not refused.
fn private_page_reached(socket: &Path) -> Option<String> {
    let tried = Client::connect(socket, Role::Observer)
        .and_then(|mut client| client.dma_probe(1, PRIVATE_PAGE, 64, false));
    match tried {
        Ok(Err(_refused)) => None,
        Ok(Ok(())) => Some(format!(
            "function 1, untrusted, reached the private page at {PRIVATE_PAGE:#x}"
        )),
        Err(error) => Some(format!(
            "the platform did not say whether function 1 reaches a private page: {error}"
        )),
    }
}

/// A stage's name as a person reads it.
fn words(stage: &str) -> String {
    match stage {
        "isolate" => "isolate all functions but the platform's",
        "modules" => "load drivers",
        "untrusted" => "open the sealed channel; bounce both TDIs",
        "run" => "lock, verify, appraise; accept or refuse",
        "before-1" => "traffic on function 1, untrusted",
        "before-2" => "traffic on function 2, untrusted",
        "after-1" => "traffic on function 1, after its verdict",
        "after-2" => "traffic on function 2, after its verdict",
        "xdp-1" => "packets for the XDP program to pass and drop",
        "status" => "ask the agent for its verdicts and counters",
        "revoke" => "give the accepted device back: DMA off, STOP",
        other => return other.to_owned(),
    }
    .to_owned()
}

/// A stage that was to succeed and did not. A refused device makes `run` and `status` answer 1: the policy expects it here.
fn stage_failure(stage: &Stage) -> Option<String> {
    let refused_device = matches!(stage.name.as_str(), "run" | "status") && stage.exit == 1;
    (stage.exit != 0 && !refused_device)
        .then(|| format!("stage {:?} ended with exit code {}", stage.name, stage.exit))
}

#[derive(Deserialize)]
struct Traffic {
    bounce_events: u64,
    tx_mib_s: f64,
    rx_mib_s: f64,
}

#[derive(Deserialize)]
struct Status {
    devices: Vec<StatusDevice>,
}

#[derive(Deserialize)]
struct StatusDevice {
    bdf: String,
    verdict: Verdict,
    reason: String,
    path: DataPath,
    #[serde(default)]
    steps: Vec<AgentStep>,
    #[serde(default)]
    evidence: BTreeMap<String, serde_json::Value>,
    xdp: Option<Xdp>,
}

fn devices(stages: &Stages, counters: &[FunctionCounters]) -> Result<Vec<Device>, DemoError> {
    let status: Status = stage_data(stages, "status")?;
    TDIS.iter()
        .filter_map(|function| one_device(*function, stages, &status, counters).transpose())
        .collect()
}

fn one_device(
    function: u8,
    stages: &Stages,
    status: &Status,
    counters: &[FunctionCounters],
) -> Result<Option<Device>, DemoError> {
    let bdf = guest_bdf(function);
    let Some(said) = status.devices.iter().find(|device| device.bdf == bdf) else {
        return Ok(None);
    };
    let before: Traffic = stage_data(stages, &format!("before-{function}"))?;
    let after: Traffic = stage_data(stages, &format!("after-{function}"))?;
    Ok(Some(Device {
        function,
        bdf,
        verdict: said.verdict,
        reason: said.reason.clone(),
        path: said.path,
        bounce_events_before: before.bounce_events,
        bounce_events_after: after.bounce_events,
        mib_s_before: before.rx_mib_s,
        mib_s_after: after.rx_mib_s,
        sent_mib_s_before: before.tx_mib_s,
        sent_mib_s_after: after.tx_mib_s,
        xdp: said.xdp.clone(),
        dma_refused: counters
            .iter()
            .find(|one| one.function == function)
            .map_or(0, |one| one.refused),
        steps: said.steps.clone(),
        evidence: said
            .evidence
            .iter()
            .flat_map(|(name, value)| facts(name, value))
            .collect(),
    }))
}

/// One line of the report for each thing that the agent says of the evidence: measurements apart, lists in one line.
fn facts(name: &str, value: &serde_json::Value) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    struct Measurement {
        index: u8,
        value: String,
    }
    if let Ok(measurements) = Vec::<Measurement>::deserialize(value)
        && !measurements.is_empty()
    {
        return measurements
            .into_iter()
            .map(|one| (format!("measurement {:3}", one.index), one.value))
            .collect();
    }
    vec![(name.replace('_', " "), plain(value))]
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn versions(environment: &Environment, stages: &Stages) -> Result<BTreeMap<String, String>, DemoError> {
    #[derive(Deserialize)]
    struct Boot {
        kernel: String,
    }
    let boot: Boot = stage_data(stages, "boot")?;
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    Ok(BTreeMap::from([
        ("Tidelock".into(), env!("CARGO_PKG_VERSION").into()),
        ("QEMU".into(), environment.manifest().qemu.clone()),
        ("guest kernel".into(), boot.kernel),
        (
            "host kernel".into(),
            rustix::system::uname().release().to_string_lossy().into_owned(),
        ),
        ("host processors".into(), processors.to_string()),
    ]))
}

fn stage_data<T: serde::de::DeserializeOwned>(stages: &Stages, name: &str) -> Result<T, DemoError> {
    let stage = stages.get(name).map_err(|error| GuestError::Words {
        error,
        console: String::new(),
    })?;
    form(
        &format!("what the guest said of stage {name:?}"),
        stage.data.clone(),
    )
}

fn form<T: serde::de::DeserializeOwned>(what: &str, value: serde_json::Value) -> Result<T, DemoError> {
    serde_json::from_value(value).map_err(|error| DemoError::Form {
        what: what.into(),
        error,
    })
}

/// Steps with their times from the start of the run.
struct Timeline<'a> {
    zero: Instant,
    steps: Vec<Step>,
    on_step: &'a mut dyn FnMut(&Step),
}

impl<'a> Timeline<'a> {
    fn new(on_step: &'a mut dyn FnMut(&Step)) -> Self {
        Self {
            zero: Instant::now(),
            steps: Vec::new(),
            on_step,
        }
    }

    fn step<T>(&mut self, actor: Actor, name: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.record(actor, name, start, Instant::now());
        done
    }

    fn record(&mut self, actor: Actor, name: &str, start: Instant, end: Instant) {
        let ms = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1000.0;
        let step = Step {
            name: name.into(),
            actor,
            start_ms: ms(self.zero, start),
            ms: ms(start, end),
        };
        (self.on_step)(&step);
        self.steps.push(step);
    }

    fn total_ms(&self) -> f64 {
        self.zero.elapsed().as_secs_f64() * 1000.0
    }
}

const REAL: [&str; 5] = [
    "Linux in the guest: PCI, DOE, IOMMU, swiotlb, virtio_net, the BPF verifier and JIT, native XDP (a stock distribution kernel)",
    "SPDM, IDE_KM and TDISP on the wire between TSM and device; every signature, key and record",
    "certificate chains, signed measurements and the interface report, verified and appraised in the guest",
    "the order of operations of tidelockd and tidelock-agent",
    "the bounce events: counted by the guest kernel's own tracepoint",
];

const EMULATED: [&str; 6] = [
    "the processor and chipset: QEMU with TCG, so no figure says how fast hardware is",
    "the device: tidelock-device, served over vfio-user; its network peer lives in the same process",
    "the TSM: tidelock-tsm, a process shaped like SEV-TIO's firmware interface",
    "memory protection: a gate in the device model that refuses what the guest has not shared or the TSM has not enabled",
    "the VM's launch secret: a key file passed through fw_cfg, which a real platform never shows to the VMM",
    "IDE: keys are programmed by IDE_KM, but there is no link and no packet on it is encrypted",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn evidence_becomes_lines_that_a_person_can_read() {
        assert_eq!(
            facts("lock_flags", &json!(["a", "b"])),
            [("lock flags".into(), "a, b".into())]
        );
        assert_eq!(
            facts("lock_flags", &json!([])),
            [("lock flags".into(), String::new())]
        );
        assert_eq!(facts("spdm", &json!("1.2")), [("spdm".into(), "1.2".into())]);
        assert_eq!(facts("ranges", &json!(2)), [("ranges".into(), "2".into())]);
        let measured = json!([{"index": 17, "value": "ab"}, {"index": 4, "value": "cd"}]);
        let lines = [
            ("measurement  17".into(), "ab".into()),
            ("measurement   4".into(), "cd".into()),
        ];
        assert_eq!(facts("measurements", &measured), lines);
    }

    #[test]
    fn a_refused_device_is_what_the_policy_expects_and_any_other_exit_code_is_a_failure() {
        let now = Instant::now();
        let stage = |name: &str, exit| Stage {
            name: name.into(),
            start: now,
            end: now,
            exit,
            data: json!(null),
        };
        assert_eq!(stage_failure(&stage("run", 1)), None);
        assert_eq!(stage_failure(&stage("before-1", 0)), None);
        assert!(stage_failure(&stage("run", 4)).unwrap().contains("exit code 4"));
        assert!(stage_failure(&stage("before-1", 1)).is_some());
    }
}
