//! The whole flow with an honest world, and its order.

mod world;

use guest_agent::status::{Path, Verdict};
use guest_agent::{isolate, platform, untrusted};
use tdisp::relay::guest::TdiState;
use world::{NET0, RID0, World, kernel::Kernel};

#[test]
fn an_honest_device_earns_its_way_in() {
    let mut world = World::honest();
    let device = world.decide(|agent| {
        let device = agent.report().devices[0].clone();
        assert!(agent.is_watching());
        device
    });
    assert_eq!((device.verdict, device.path), (Verdict::Accepted, Path::Direct));
    assert_eq!(
        device.reason,
        "the certificates lead to example-nic-vendor; 4 measurements and 2 memory ranges are as the policy wants, in lock 7"
    );
    let evidence = device.evidence.unwrap();
    assert_eq!(
        (evidence.subject.as_str(), evidence.root.as_str()),
        ("CN=Example NIC", "example-nic-vendor")
    );
    assert_eq!(
        (
            evidence.spdm.as_str(),
            evidence.measurements.len(),
            evidence.ranges
        ),
        ("1.2", 4, 2)
    );
    assert_eq!(
        evidence.algorithms,
        ["ECDSA P-384", "SHA-384", "P-384", "AES-256-GCM"]
    );
    assert_eq!(evidence.lock_flags, ["no-fw-update"]);
    let xdp = device.xdp.unwrap();
    assert_eq!((xdp.mode.as_str(), xdp.passed, xdp.dropped), ("native", 5, 3));
    let steps: Vec<_> = device.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        steps,
        [
            "preconditions",
            "detach",
            "lock",
            "inform",
            "measure",
            "fetch",
            "verify",
            "appraise",
            "validate-mmio",
            "recheck",
            "start",
            "enable-dma",
            "direct",
            "driver",
            "packets",
            "network"
        ]
    );
}

#[test]
fn everything_is_asked_in_order_and_nothing_is_enabled_before_the_verdict() {
    let mut world = World::honest();
    world.accepted();
    let asked = world.host.0.borrow().asked.clone();
    assert_eq!(
        asked,
        [
            "info",
            "info",
            "refresh",
            "info",
            "validate",
            "validate",
            "info",
            "start",
            "enable-dma",
            "info"
        ]
    );
    assert_eq!(
        world.host.0.borrow().validated,
        [(0, 0x8000_0000, 4), (4, 0x8001_0000, 1)]
    );
    assert_eq!(
        world.kernel.done,
        ["unbind", "enable", "direct", "bind", "interfaces", "attach", "up"]
            .map(|what| format!("{what} {NET0}"))
    );
}

#[test]
fn an_untrusted_device_bounces_until_its_verdict() {
    let mut world = World::honest();
    let config = world.config();
    let mut link = world::link(&world.host).unwrap();
    let isolated = world.past.isolated.clone().unwrap();
    let kept = untrusted::begin(&config, &isolated, &mut world.kernel, &mut link).unwrap();
    assert_eq!(kept, [""; 0]);
    assert_eq!(world.host.0.borrow().shared, [(0x3000_0000, 0x400_0000)]);
    let function = world.kernel.function(NET0);
    assert_eq!(
        (function.driver.as_deref(), function.path),
        (Some("virtio-pci"), platform::Path::Bounce)
    );
    drop(link);
    world.accepted();
    assert_eq!(world.kernel.function(NET0).path, platform::Path::Direct);
}

#[test]
fn without_forced_bounce_buffers_no_device_bounces() {
    let mut world = World::honest();
    world.kernel.command_line = "quiet intel_iommu=on".into();
    let (config, isolated) = (world.config(), world.past.isolated.clone().unwrap());
    let mut link = world::link(&world.host).unwrap();
    let error = untrusted::begin(&config, &isolated, &mut world.kernel, &mut link)
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not bounce every transfer"), "{error}");
    assert_eq!(world.kernel.function(NET0).driver, None);
}

#[test]
fn isolation_keeps_every_function_but_the_machines_own_from_a_driver() {
    let world = World::honest();
    let mut kernel = Kernel::new();
    let record = isolate::isolate(&world.config(), &mut kernel).unwrap();
    assert!(!kernel.autoprobe && record.tainted.is_empty());
    for (bdf, function) in &kernel.functions {
        let platform = world.config().is_platform(*bdf);
        assert_eq!(function.only.is_none(), platform, "{bdf}");
    }
    untrusted::bind_platform(&world.config(), &mut kernel).unwrap();
    assert_eq!(
        kernel.function("0000:00:03.0").driver.as_deref(),
        Some("platform")
    );
    assert_eq!(kernel.function(NET0).driver, None);
}

#[test]
fn a_second_run_takes_the_first_ones_lock_away_and_verifies_anew() {
    let mut world = World::honest();
    world.accepted();
    let before = world.host.tdi(RID0).unwrap();
    world.past.accepted.push(NET0.into());
    let device = world.accepted();
    assert_eq!(device.evidence.unwrap().generation, before.generation + 1);
    assert_eq!(world.host.asked("stop"), 1);
}

#[test]
fn when_the_agent_ends_nothing_stays_enabled() {
    let mut world = World::honest();
    world.decide(|agent| {
        agent.end("the agent was told to end");
        assert!(!agent.is_watching());
        world::assert_refused(&agent.report().devices[0], &["the agent was told to end"]);
    });
    world.assert_nothing_enabled();
}

#[test]
fn a_revoked_device_bounces_and_says_who_took_its_trust() {
    let mut world = World::honest();
    world.decide(|agent| {
        assert!(
            agent
                .revoke("0000:01:00.2")
                .unwrap_err()
                .contains("trusted: 0000:01:00.1")
        );
        agent.revoke(NET0).unwrap();
        let device = agent.report().devices[0].clone();
        world::assert_refused(&device, &["taken away by `tidelock-agent revoke`"]);
        assert_eq!((device.path, device.xdp), (Path::Bounce, None));
    });
    world.assert_nothing_enabled();
    assert_eq!(world.host.tdi(RID0).map(|tdi| tdi.state), None::<TdiState>);
}

#[test]
fn what_a_refused_device_may_do_is_the_policys_choice() {
    let mut bounce = World::with_policy("[\"22", "[\"33");
    assert_eq!(bounce.refused(&["measurement 2"]).path, Path::Bounce);
    assert_eq!(bounce.kernel.function(NET0).driver.as_deref(), Some("virtio-pci"));

    let mut unbound = World::with_policy("[\"22", "[\"33");
    unbound.replace("on_refusal = \"bounce\"", "on_refusal = \"unbound\"");
    assert_eq!(unbound.refused(&["measurement 2"]).path, Path::None);
    assert_eq!(unbound.kernel.function(NET0).driver, None);

    let mut off = World::with_policy("[\"22", "[\"33");
    off.replace("on_refusal = \"bounce\"", "on_refusal = \"power-off\"");
    off.refused(&["measurement 2"]);
    assert!(off.kernel.powered_off);
}
