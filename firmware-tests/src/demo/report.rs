//! What a demo run found: the data of `report.json`, and the expectations that decide the exit code.
//!
//! Filled in by [`super::run`] from what the processes measured; nothing here is computed from what was hoped for.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Tidelock, guest kernel, QEMU, the machine: name → version or description.
    pub versions: BTreeMap<String, String>,
    /// What happened, in order of its start.
    pub steps: Vec<Step>,
    /// One entry a TDI, in order of its function number.
    pub devices: Vec<Device>,
    /// What was emulated, and by what.
    pub emulated: Vec<String>,
    /// What was real.
    pub real: Vec<String>,
    /// Whole run, from the first step to the last, in milliseconds.
    pub total_ms: f64,
    /// What did not go as it should; empty exactly when the run succeeded.
    pub failures: Vec<String>,
}

/// One step of the flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// Who did it.
    pub actor: Actor,
    /// Milliseconds from the start of the run.
    pub start_ms: f64,
    /// How long it took, in milliseconds.
    pub ms: f64,
}

/// Who did a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// The demo itself, in the part of the operator and the VMM.
    Operator,
    /// The host daemon, with the TSM behind it.
    Host,
    /// The confidential guest.
    Guest,
}

impl Actor {
    /// As a person reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator and VMM",
            Self::Host => "tidelockd and TSM",
            Self::Guest => "guest",
        }
    }
}

/// The agent's decision about one TDI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It may do direct DMA.
    Accepted,
    /// It stays untrusted.
    Refused,
}

/// How a TDI's data reaches the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// By the device itself, anywhere its driver maps.
    Direct,
    /// Copied through the shared bounce buffers.
    Bounce,
    /// Not at all: no driver is bound.
    None,
}

/// One TDI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Function number on the device.
    pub function: u8,
    /// Its address in the guest.
    pub bdf: String,
    /// The agent's decision.
    pub verdict: Verdict,
    /// Why, in plain words.
    pub reason: String,
    /// The path its data takes after the verdict.
    pub path: Path,
    /// Bounce events of this device while its traffic was measured before the verdict (swiotlb tracepoint).
    pub bounce_events_before: u64,
    /// The same after the verdict.
    pub bounce_events_after: u64,
    /// What the guest received before the verdict, in MiB/s.
    pub mib_s_before: f64,
    /// What it received after the verdict, the same traffic, in MiB/s.
    pub mib_s_after: f64,
    /// What the guest sent before the verdict, in MiB/s.
    pub sent_mib_s_before: f64,
    /// What it sent after the verdict, the same traffic, in MiB/s.
    pub sent_mib_s_after: f64,
    /// The XDP program on it, if one is attached.
    pub xdp: Option<Xdp>,
    /// Accesses of this function that the platform's DMA gate refused over the whole run.
    pub dma_refused: u64,
    /// The agent's own steps to its decision, in order.
    pub steps: Vec<AgentStep>,
    /// What the agent read in the evidence: name → value, as the agent says it.
    pub evidence: BTreeMap<String, String>,
}

/// One step of the agent's on its way to a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStep {
    /// Its name.
    pub name: String,
    /// How long it took, in milliseconds by the guest's clock.
    pub ms: f64,
}

/// What the kernel says of an attached XDP program, and what the program counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xdp {
    /// `native` or `generic`, read back from the kernel.
    pub mode: String,
    /// Packets passed on to the stack.
    pub passed: u64,
    /// Packets dropped.
    pub dropped: u64,
}

impl Device {
    /// Direct over bounced throughput of what was received, measured in this run.
    pub fn ratio(&self) -> Option<f64> {
        (self.path == Path::Direct && self.mib_s_before > 0.0).then(|| self.mib_s_after / self.mib_s_before)
    }
}

/// What the demo is to show of each function; anything else is a failure of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// Function number.
    pub function: u8,
    /// The decision that its evidence deserves.
    pub verdict: Verdict,
}

/// Compares what was found with what the demo is to show; one sentence for each difference.
pub fn judge(devices: &[Device], expected: &[Expectation]) -> Vec<String> {
    expected
        .iter()
        .flat_map(|expected| judge_one(devices, *expected))
        .collect()
}

fn judge_one(devices: &[Device], expected: Expectation) -> Vec<String> {
    let function = expected.function;
    let Some(device) = devices.iter().find(|device| device.function == function) else {
        return vec![format!("function {function}: the agent said nothing of it")];
    };
    let mut wrong = Vec::new();
    let mut check = |holds: bool, text: String| {
        if !holds {
            wrong.push(format!("function {function}: {text}"));
        }
    };
    check(
        device.verdict == expected.verdict,
        format!("found {:?} ({})", device.verdict, device.reason),
    );
    check(!device.reason.is_empty(), "no reason was given".into());
    check(
        device.bounce_events_before > 0,
        "no bounce was seen before the verdict".into(),
    );
    check(device.mib_s_before > 0.0, "no traffic before the verdict".into());
    check(device.mib_s_after > 0.0, "no traffic after the verdict".into());
    match expected.verdict {
        Verdict::Accepted => {
            check(
                device.path == Path::Direct,
                format!("path is {:?}, wanted Direct", device.path),
            );
            check(
                device.bounce_events_after == 0,
                format!("{} bounces after acceptance", device.bounce_events_after),
            );
            match &device.xdp {
                None => check(false, "no XDP program is attached".into()),
                Some(xdp) => {
                    check(
                        xdp.mode == "native",
                        format!("XDP mode is {}, wanted native", xdp.mode),
                    );
                    check(xdp.passed > 0, "XDP passed no packet".into());
                    check(xdp.dropped > 0, "XDP dropped no packet".into());
                }
            }
        }
        Verdict::Refused => {
            check(
                device.path == Path::Bounce,
                format!("path is {:?}, wanted Bounce", device.path),
            );
            check(
                device.bounce_events_after > 0,
                "a refused device was not bounced".into(),
            );
            check(
                device.xdp.is_none(),
                "an XDP program is attached to a refused device".into(),
            );
        }
    }
    wrong
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn accepted() -> Device {
        Device {
            function: 1,
            bdf: "0000:01:00.1".into(),
            verdict: Verdict::Accepted,
            reason: "evidence verified and every rule of the policy holds".into(),
            path: Path::Direct,
            bounce_events_before: 1200,
            bounce_events_after: 0,
            mib_s_before: 40.0,
            mib_s_after: 60.0,
            sent_mib_s_before: 50.0,
            sent_mib_s_after: 20.0,
            xdp: Some(Xdp {
                mode: "native".into(),
                passed: 900,
                dropped: 100,
            }),
            dma_refused: 3,
            steps: vec![AgentStep {
                name: "verify".into(),
                ms: 4.5,
            }],
            evidence: BTreeMap::from([("root".into(), "example-nic-vendor".into())]),
        }
    }

    pub(crate) fn refused() -> Device {
        Device {
            function: 2,
            bdf: "0000:01:00.2".into(),
            verdict: Verdict::Refused,
            reason: "measurement 18: found <aa>, the policy wants bb & nothing else".into(),
            path: Path::Bounce,
            bounce_events_after: 1300,
            mib_s_after: 41.0,
            xdp: None,
            ..accepted()
        }
    }

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

    #[test]
    fn a_run_that_went_as_it_should_has_no_failures() {
        assert_eq!(judge(&[accepted(), refused()], &EXPECTED), Vec::<String>::new());
        assert_eq!(accepted().ratio(), Some(1.5));
        assert_eq!(refused().ratio(), None);
    }

    #[test]
    fn each_thing_that_goes_wrong_is_named() {
        type Break = (&'static str, fn(&mut Device));
        let breaks: [Break; 9] = [
            ("found Refused", |d| d.verdict = Verdict::Refused),
            ("path is Bounce", |d| d.path = Path::Bounce),
            ("7 bounces after acceptance", |d| d.bounce_events_after = 7),
            ("no bounce was seen before", |d| d.bounce_events_before = 0),
            ("no traffic before", |d| d.mib_s_before = 0.0),
            ("no traffic after", |d| d.mib_s_after = 0.0),
            ("no XDP program", |d| d.xdp = None),
            ("mode is generic", |d| {
                d.xdp.as_mut().unwrap().mode = "generic".into()
            }),
            ("dropped no packet", |d| d.xdp.as_mut().unwrap().dropped = 0),
        ];
        for (text, broken) in breaks {
            let mut device = accepted();
            broken(&mut device);
            let found = judge(&[device, refused()], &EXPECTED);
            assert!(found.len() == 1 && found[0].contains(text), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_refused_device_that_is_not_bounced_is_a_failure() {
        let device = Device {
            bounce_events_after: 0,
            path: Path::Direct,
            ..refused()
        };
        assert_eq!(judge(&[accepted(), device], &EXPECTED).len(), 2);
    }

    #[test]
    fn a_device_the_agent_is_silent_about_is_a_failure() {
        assert_eq!(
            judge(&[accepted()], &EXPECTED),
            ["function 2: the agent said nothing of it"]
        );
    }

    #[test]
    fn the_json_has_the_names_that_machines_read() {
        let json = serde_json::to_value(accepted()).unwrap();
        assert_eq!(json["verdict"], "accepted");
        assert_eq!(json["path"], "direct");
        assert_eq!(json["xdp"]["mode"], "native");
    }
}
