//! A guest's whole world in one process, for tests: a kernel, a host, a TSM and a device, each of which may misbehave.

#![allow(dead_code)] // each test file uses another part
#![allow(clippy::unwrap_used)] // it is for tests alone

pub(crate) mod device;
pub(crate) mod host;
pub(crate) mod kernel;

use device::Device;
use guest_agent::CRYPTOGRAPHY;
use guest_agent::agent::Agent;
use guest_agent::channel::Link;
use guest_agent::config::{self, Config};
use guest_agent::status::{DeviceReport, Isolated, Past, Path, Report, Verdict};
use host::{KEY, Lies, Shared};
use kernel::Kernel;
use std::sync::Arc;
use std::time::Duration;
use tdisp::crypto::{Provider, Ring, Secret};
use tdisp::relay::Rid;

pub(crate) const NET0: &str = "0000:01:00.1";
pub(crate) const NET1: &str = "0000:01:00.2";
pub(crate) const RID0: Rid = Rid(0x0101);
pub(crate) const RID1: Rid = Rid(0x0102);

/// The world before the agent runs.
pub(crate) struct World {
    pub(crate) host: Shared,
    pub(crate) kernel: Kernel,
    pub(crate) past: Past,
    pub(crate) policy: String,
}

impl World {
    /// One device at [`NET0`], honest, with a policy that it meets.
    pub(crate) fn honest() -> Self {
        Self::of(Device::honest())
    }

    /// The same with this device.
    pub(crate) fn of(device: Device) -> Self {
        let policy = policy(&device.root());
        Self {
            host: Shared::new([(RID0, device)]),
            kernel: Kernel::new(),
            past: Past {
                isolated: Some(Isolated {
                    boot_id: "boot-1".into(),
                    tainted: vec![],
                }),
                accepted: vec![],
            },
            policy,
        }
    }

    /// The same with lies.
    pub(crate) fn lying(change: impl FnOnce(&mut Lies)) -> Self {
        let world = Self::honest();
        world.host.lie(change);
        world
    }

    /// The same with a device that differs.
    pub(crate) fn with_device(change: impl FnOnce(&mut Device)) -> Self {
        let world = Self::honest();
        world.host.device(RID0, change);
        world
    }

    /// The same with another policy.
    pub(crate) fn with_policy(from: &str, to: &str) -> Self {
        let mut world = Self::honest();
        world.replace(from, to);
        world
    }

    pub(crate) fn replace(&mut self, from: &str, to: &str) {
        assert!(self.policy.contains(from), "the policy has no `{from}`");
        self.policy = self.policy.replace(from, to);
    }

    pub(crate) fn config(&self) -> Config {
        config::parse(std::path::Path::new("agent.toml"), &self.policy).unwrap()
    }

    /// Runs `work` with an agent that has decided.
    pub(crate) fn decide<T>(&mut self, work: impl FnOnce(&mut Agent<'_>) -> T) -> T {
        self.decide_with(&CRYPTOGRAPHY, work)
    }

    pub(crate) fn decide_with<T>(
        &mut self,
        provider: &dyn Provider,
        work: impl FnOnce(&mut Agent<'_>) -> T,
    ) -> T {
        let config = self.config();
        let link = link(&self.host);
        let mut agent = Agent::new(&config, &mut self.kernel, link, self.past.clone()).unwrap();
        agent.decide(provider, &mut |_| {});
        work(&mut agent)
    }

    pub(crate) fn report(&mut self) -> Report {
        self.decide(|agent| agent.report().clone())
    }

    /// Decides; the one device must be accepted.
    #[track_caller]
    pub(crate) fn accepted(&mut self) -> DeviceReport {
        let device = self.report().devices.remove(0);
        assert_eq!(
            (device.verdict, device.path),
            (Verdict::Accepted, Path::Direct),
            "{}",
            device.reason
        );
        device
    }

    /// Decides; the first device must be refused with a reason that has all of `words`, and nothing is left enabled.
    #[track_caller]
    pub(crate) fn refused(&mut self, words: &[&str]) -> DeviceReport {
        let device = self.report().devices.remove(0);
        assert_refused(&device, words);
        self.assert_nothing_enabled();
        device
    }

    #[track_caller]
    pub(crate) fn assert_nothing_enabled(&self) {
        for (guest, tdi) in &self.host.0.borrow().tdis {
            let off = !tdi.dma && tdi.state != tdisp::relay::guest::TdiState::RUN;
            assert!(off, "{guest} is in {} with DMA {}", tdi.state, tdi.dma);
        }
        for (bdf, function) in &self.kernel.functions {
            let direct = function.path == guest_agent::platform::Path::Direct
                && bdf.to_string().starts_with("0000:01:00");
            let bound = function
                .driver
                .as_deref()
                .is_some_and(|driver| driver != "platform");
            assert!(!(direct && bound), "{bdf} has a driver and the direct path");
        }
        assert_eq!(*self.kernel.attached.borrow(), 0, "packet programs are attached");
    }
}

#[track_caller]
pub(crate) fn assert_refused(device: &DeviceReport, words: &[&str]) {
    assert_eq!(device.verdict, Verdict::Refused);
    for word in words {
        assert!(
            device.reason.contains(word),
            "the reason does not say `{word}`: {}",
            device.reason
        );
    }
}

pub(crate) fn link(host: &Shared) -> Result<Link, guest_agent::channel::Error> {
    let key = Secret::new(KEY.to_vec());
    Link::open(
        Box::new(host.clone()),
        key,
        Arc::new(Ring),
        Duration::from_millis(200),
    )
}

/// A policy for [`Device::honest`] at [`NET0`].
pub(crate) fn policy(root: &str) -> String {
    let digest = |byte: &str| byte.repeat(48);
    format!(
        r#"
[platform]
functions = ["0000:00:*", "0000:01:00.0"]

[time]
not_before = 2026-11-01

[[root]]
name = "example-nic-vendor"
sha384 = "{root}"

[[device]]
name = "net0"
bdf = "{NET0}"
roots = ["example-nic-vendor"]
driver = "virtio-pci"
until_verdict = "bounce"
on_refusal = "bounce"

[device.measurements]
1 = "{}"
2 = ["{}"]
3 = {{ svn_min = 7 }}
4 = {{ mode = "operational" }}

[device.xdp]
mode = "native"
"#,
        digest("11"),
        digest("22")
    )
}
