//! The agent's loop: each device of the policy earns its way in or is refused; then the verdicts are watched.
//!
//! ```text
//!   decide ─► for each device: preconditions ─► collect ─► appraise ─► accept ─► network, packets ─► accepted
//!                                    └───────────────┴─────────┴─────────┴──────────┴─► refuse: on_refusal, with the reason
//!   watch  ─► for each accepted device, again and again: does it still hold? ── no ─► revoke, on_refusal
//! ```

use crate::accept::{self, Running, accept};
use crate::channel::{self, Link};
use crate::collect::{self, Collector};
use crate::config::Config;
use crate::config::high::{Device, Refused};
use crate::error::{Fault, Refusal, Step};
use crate::platform::{self, Packets, Platform};
use crate::policy::{Seen, appraise};
use crate::status::{Evidence, Past, Path, Report, Verdict};
use crate::steps::Steps;
use crate::{clock, monitor, preconditions, untrusted};
use std::collections::BTreeMap;
use tdisp::crypto::Provider;
use tdisp::evidence::{Parameter, Verified};
use tdisp::relay::guest::{Binding, TdiState};

/// The agent, for one run.
pub struct Agent<'a> {
    config: &'a Config,
    platform: &'a mut dyn Platform,
    link: Result<Link, channel::Error>,
    past: Past,
    trusted: BTreeMap<usize, Trusted>,
    report: Report,
}

/// A device that is trusted, and what was attached to it.
struct Trusted {
    running: Running,
    packets: Vec<Box<dyn Packets>>,
}

/// A refusal, and what was verified all the same.
struct Outcome {
    refusal: Refusal,
    evidence: Option<Box<Evidence>>,
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            evidence: None,
        }
    }
}

impl core::fmt::Debug for Agent<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Agent({} trusted of {})",
            self.trusted.len(),
            self.config.devices.len()
        )
    }
}

impl<'a> Agent<'a> {
    /// An agent that has decided nothing. `past` is about this boot only.
    /// Without a link every device is refused.
    pub fn new(
        config: &'a Config,
        platform: &'a mut dyn Platform,
        link: Result<Link, channel::Error>,
        past: Past,
    ) -> Result<Self, platform::Error> {
        let boot_id = platform.boot_id()?;
        let report = Report::pending(config, boot_id);
        Ok(Self {
            config,
            platform,
            link,
            past,
            trusted: BTreeMap::new(),
            report,
        })
    }

    /// Gives every device its verdict. `decided` is called with the report after each one.
    pub fn decide(&mut self, provider: &dyn Provider, decided: &mut dyn FnMut(&Report)) {
        let config = self.config;
        let clock = clock::now(&config.time, self.platform);
        let mut collector = clock.map(|now| Collector {
            provider,
            now,
            nonces: Vec::new(),
            taken: Vec::new(),
        });
        for (n, device) in config.devices.iter().enumerate() {
            let mut steps = Steps::default();
            let earned = match &mut collector {
                Ok(collector) => self.earn(device, collector, &mut steps),
                // A wrong clock decides for all: validity is never skipped.
                Err(refusal) => Err(refusal.clone().into()),
            };
            match earned {
                Ok(trusted) => self.trust(n, trusted),
                Err(outcome) => self.refuse(n, outcome),
            }
            self.report.devices[n].steps = steps.into_inner();
            decided(&self.report);
        }
    }

    /// Looks at each trusted device once; answers whether anything changed.
    pub fn watch(&mut self) -> bool {
        let (mut void, config) = (Vec::new(), self.config);
        for (n, trusted) in &self.trusted {
            if let Ok(link) = &mut self.link {
                let holds = monitor::check(&trusted.running, &config.devices[*n], link, self.platform)
                    .and_then(|()| monitor::check_packets(&trusted.packets));
                void.extend(holds.err().map(|refusal| (*n, refusal)));
            }
        }
        let changed = !void.is_empty();
        void.into_iter()
            .for_each(|(n, refusal)| self.revoke_number(n, refusal));
        changed
    }

    /// Takes a device's trust away because somebody asks for it.
    pub fn revoke(&mut self, bdf: &str) -> Result<(), String> {
        let position = self.report.devices.iter().position(|device| device.bdf == bdf);
        match position.filter(|n| self.trusted.contains_key(n)) {
            Some(n) => {
                let message = "trust was taken away by `tidelock-agent revoke`; restart the agent to verify the device anew";
                self.revoke_number(n, Refusal::new(Step::Monitor, Fault::Guest, message));
                Ok(())
            }
            None => {
                let trusted: Vec<_> = self
                    .trusted
                    .keys()
                    .map(|n| self.report.devices[*n].bdf.as_str())
                    .collect();
                Err(format!(
                    "{bdf} is not trusted; trusted: {}",
                    if trusted.is_empty() {
                        "none".into()
                    } else {
                        trusted.join(", ")
                    }
                ))
            }
        }
    }

    /// Takes all trust away: the agent ends, and nothing unwatched stays enabled.
    pub fn end(&mut self, why: &str) {
        let numbers: Vec<_> = self.trusted.keys().copied().collect();
        for n in numbers {
            self.revoke_number(n, Refusal::new(Step::Monitor, Fault::Guest, why));
        }
    }

    /// Whether any device is trusted, and so watched.
    pub fn is_watching(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// The report, with the counters of this moment.
    pub fn report(&mut self) -> &Report {
        for (n, trusted) in &self.trusted {
            self.report.devices[*n].xdp = xdp(&trusted.packets);
        }
        &self.report
    }

    fn earn(
        &mut self,
        device: &Device,
        collector: &mut Collector<'_>,
        steps: &mut Steps,
    ) -> Result<Trusted, Outcome> {
        steps.time(Step::Preconditions, || {
            preconditions::check(device, &self.past, self.platform)
        })?;
        let link = self
            .link
            .as_mut()
            .map_err(|error| Refusal::channel(Step::Lock, error))?;
        let verified = collector.collect(device, link, self.platform, steps)?;
        let accepted = steps.time(Step::Appraise, || {
            let seen = seen(device, self.platform)?;
            appraise(verified, device, &seen).map_err(|rejection| Outcome {
                evidence: Some(Box::new(summary(&rejection.verified))),
                refusal: Refusal::new(Step::Appraise, Fault::Device, rejection.to_string()),
            })
        })?;
        let running = accept(accepted, device, link, self.platform, steps)?;
        match finish(device, self.platform, steps) {
            Ok(packets) => Ok(Trusted { running, packets }),
            Err(refusal) => {
                let evidence = Some(Box::new(summary(running.verified())));
                accept::revoke(running, link, self.platform);
                Err(Outcome { refusal, evidence })
            }
        }
    }

    fn trust(&mut self, n: usize, trusted: Trusted) {
        let report = &mut self.report.devices[n];
        report.verdict = Verdict::Accepted;
        report.path = Path::Direct;
        let evidence = summary(trusted.running.verified());
        report.reason = format!(
            "the certificates lead to {}; {} measurements and {} memory ranges are as the policy wants, in lock {}",
            evidence.root,
            evidence.measurements.len(),
            evidence.ranges,
            evidence.generation
        );
        report.evidence = Some(evidence);
        self.trusted.insert(n, trusted);
    }

    fn revoke_number(&mut self, n: usize, refusal: Refusal) {
        let Some(trusted) = self.trusted.remove(&n) else {
            return;
        };
        let evidence = Some(Box::new(summary(trusted.running.verified())));
        if let Ok(link) = &mut self.link {
            accept::revoke(trusted.running, link, self.platform);
        }
        // Last: until the driver is gone, no packet shall come in unseen.
        drop(trusted.packets);
        self.refuse(n, Outcome { refusal, evidence });
    }

    /// Puts a device into what the policy wants of a refused one, and says why.
    fn refuse(&mut self, n: usize, outcome: Outcome) {
        let device = &self.config.devices[n];
        let (path, trouble) = self.put_away(device, &outcome.refusal);
        let report = &mut self.report.devices[n];
        report.verdict = Verdict::Refused;
        report.reason = match trouble {
            Some(trouble) => format!("{} | and then: {trouble}", outcome.refusal),
            None => outcome.refusal.to_string(),
        };
        report.path = path;
        report.evidence = outcome.evidence.map(|evidence| *evidence);
        report.xdp = None;
    }

    /// Answers how its transfers go from now on, and what stood in the way.
    fn put_away(&mut self, device: &Device, refusal: &Refusal) -> (Path, Option<String>) {
        let there = self
            .platform
            .functions()
            .is_ok_and(|functions| functions.contains(&device.bdf));
        if !there {
            return (Path::None, self.power_off_if(device.required, device, refusal));
        }
        // First the driver, which is in the guest's own hands.
        let done = self
            .platform
            .unbind(device.bdf)
            .map_err(|error| error.to_string())
            .and_then(|()| match &mut self.link {
                Ok(link) => unlock(device, link),
                Err(_) => Ok(()),
            });
        if let Err(trouble) = done {
            // What may still be locked, or still run, gets no driver: bouncing would only look like being untrusted.
            let after = self.power_off_if(true, device, refusal);
            return (Path::None, Some(after.unwrap_or(trouble)));
        }
        // A boot that is not as it must be is no place to bounce in either, nor is one whose buffers nobody shared.
        let bounce = refusal.step != Step::Preconditions && self.link.is_ok();
        match device.on_refusal {
            Refused::Bounce if bounce => match untrusted::bounce(device, self.platform) {
                Ok(()) => (Path::Bounce, None),
                Err(error) => (Path::None, Some(error.to_string())),
            },
            _ => (Path::None, self.power_off_if(true, device, refusal)),
        }
    }

    fn power_off_if(&mut self, applies: bool, device: &Device, refusal: &Refusal) -> Option<String> {
        if !applies || device.on_refusal != Refused::PowerOff {
            return None;
        }
        // Now, because nobody reads the report afterwards.
        eprintln!(
            "tidelock-agent: {} ({}) refused, so the guest powers off: {refusal}",
            device.name, device.bdf
        );
        self.platform.power_off().err().map(|error| error.to_string())
    }
}

/// What the guest sees of the function.
fn seen(device: &Device, platform: &dyn Platform) -> Result<Seen, Refusal> {
    let gather = || {
        Ok(Seen {
            bars: platform.bars(device.bdf)?,
            memory: platform.memory()?,
            translation: platform.translation(device.bdf)?,
        })
    };
    gather().map_err(|error| Refusal::platform(Step::Appraise, &error))
}

/// The trusted device's packet program and network, as the policy wants them: no packet comes in before its program.
fn finish(
    device: &Device,
    platform: &mut dyn Platform,
    steps: &mut Steps,
) -> Result<Vec<Box<dyn Packets>>, Refusal> {
    let interfaces = platform.interfaces(device.bdf);
    let interfaces = interfaces.map_err(|error| Refusal::platform(Step::Network, &error))?;
    let mut packets = Vec::new();
    if let Some(xdp) = &device.xdp {
        if interfaces.is_empty() {
            return Err(Refusal::new(
                Step::Packets,
                Fault::Guest,
                "the device has no network interface; wanted one for its packet program; remove [device.xdp], or correct the address",
            ));
        }
        packets = steps.time(Step::Packets, || {
            let attached = interfaces.iter().map(|interface| platform.attach(interface, xdp));
            attached
                .collect::<Result<_, _>>()
                .map_err(|error| Refusal::platform(Step::Packets, &error))
        })?;
    }
    steps.time(Step::Network, || {
        let up = interfaces.iter().try_for_each(|interface| platform.up(interface));
        up.map_err(|error| Refusal::platform(Step::Network, &error))
    })?;
    Ok(packets)
}

/// Leaves no lock behind at a device that is not trusted; the TSM's word for it, not its success, is what counts.
fn unlock(device: &Device, link: &mut Link) -> Result<(), String> {
    let attempt = |link: &mut Link| {
        let info = link.info(device.bdf)?;
        collect::release(info.tdi, device, link)?;
        link.info(device.bdf)
    };
    let info = attempt(link).or_else(|_| link.reopen().and_then(|()| attempt(link)));
    let info = info.map_err(|error| error.to_string())?;
    match info.status != Binding::BOUND || !info.dma_enabled && info.state != TdiState::RUN {
        true => Ok(()),
        false => Err(format!(
            "the interface does not stop: it is in state {}, its DMA is {}; it stays without driver",
            info.state,
            if info.dma_enabled { "on" } else { "off" }
        )),
    }
}

fn summary(verified: &Verified) -> Evidence {
    let negotiated = verified.negotiated();
    let shown = [
        Parameter::Signature,
        Parameter::PostQuantumSignature,
        Parameter::Hash,
        Parameter::Group,
        Parameter::Kem,
        Parameter::Cipher,
    ];
    let selected = shown.into_iter().filter(|what| what.of(negotiated) != 0);
    let algorithms = selected.map(|what| what.words(what.of(negotiated)));
    let hex = crate::policy::hex;
    Evidence {
        subject: verified.identity().subject.clone(),
        root: verified.identity().root.name.clone(),
        revocation_checked: verified.identity().revocation_checked,
        spdm: Parameter::Version.words(negotiated.version.into()),
        algorithms: algorithms.collect(),
        measurements: verified
            .measurements()
            .iter()
            .map(|measurement| crate::status::Measurement {
                index: measurement.index,
                value: hex(&measurement.value),
            })
            .collect(),
        lock_flags: crate::policy::flag_names(verified.lock().flags),
        generation: verified.lock().generation,
        ranges: verified.report().ranges.len(),
    }
}

fn xdp(packets: &[Box<dyn Packets>]) -> Option<crate::status::Xdp> {
    let mode = packets.first()?.mode();
    let counted = packets.iter().filter_map(|program| program.counted().ok());
    let total = counted.fold((0, 0), |(passed, dropped), counted| {
        (passed + counted.passed, dropped + counted.dropped)
    });
    Some(crate::status::Xdp {
        mode: mode.to_owned(),
        passed: total.0,
        dropped: total.1,
    })
}
