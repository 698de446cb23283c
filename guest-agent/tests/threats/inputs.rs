//! Cases 91 to 98: what comes into the agent beside evidence.

use crate::world::device::Device;
use crate::world::{NET0, NET1, RID1, World, assert_refused};
use guest_agent::status::{Path, Verdict};
use guest_agent::{channel, config, isolate};
use proptest::prelude::*;
use std::time::{Duration, Instant};

#[test]
fn case_91_a_clock_that_goes_back_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("latest");
    let world = || {
        World::with_policy(
            "not_before = 2026-11-01",
            &format!("latest_seen = \"{}\"", seen.display()),
        )
    };
    world().accepted();
    let mut back = world();
    back.kernel.now -= 1;
    back.refused(&["clock", "but it has been 1795132800 before; wanted no step back"]);
    std::fs::write(&seen, "never").unwrap();
    world().refused(&["clock", "`never` is no time"]);
}

#[test]
fn case_94_a_missing_device_is_said_and_fails_the_boot_if_it_is_required() {
    let mut world = World::honest();
    world.kernel.functions.remove(&NET0.parse().unwrap());
    let report = world.report();
    assert_refused(
        &report.devices[0],
        &[
            "preconditions",
            "there is no function at 0000:01:00.1",
            "let the host attach it",
        ],
    );
    assert_eq!(report.devices[0].path, Path::None);
    assert!(!report.is_complete());
    world.replace("on_refusal", "required = false\non_refusal");
    assert!(world.report().is_complete());
    world.replace("on_refusal = \"bounce\"", "on_refusal = \"power-off\"");
    world.report();
    assert!(!world.kernel.powered_off, "the guest can do without it");
    world.replace("required = false\n", "");
    world.report();
    assert!(world.kernel.powered_off);
}

#[test]
fn case_95_a_device_that_no_policy_names_stays_isolated() {
    let mut world = World::honest();
    isolate::isolate(&world.config(), &mut world.kernel).unwrap();
    world.accepted();
    let extra = world.kernel.function(NET1);
    assert_eq!(
        (extra.only.as_deref(), extra.driver.as_deref()),
        (Some("nobody"), None)
    );
    assert!(
        !world
            .kernel
            .done
            .iter()
            .any(|done| done.starts_with("bind") && done.ends_with(NET1))
    );
}

#[test]
fn case_96_one_interface_behind_two_functions_is_refused_for_the_second() {
    let mut world = World::honest();
    let (_, device) = world.policy.split_once("[[device]]").unwrap();
    let second = device.replace("net0", "net1").replace(NET0, NET1);
    world.policy = format!("{}[[device]]{second}", world.policy);
    world.host.0.borrow_mut().devices.insert(RID1, Device::honest());
    world
        .host
        .lie(|lies| lies.info = Some(Box::new(|_, info| info.function_id = 0x0100_0101)));
    world.decide(|agent| {
        assert_eq!(agent.report().devices[0].verdict, Verdict::Accepted);
        assert_refused(
            &agent.report().devices[1],
            &["inform", "is another device's already; wanted one for each"],
        );
        agent.end("end");
    });
    world.assert_nothing_enabled();
}

#[test]
fn case_98_a_command_line_that_trusts_devices_by_itself_is_refused() {
    let mut world = World::honest();
    world.kernel.command_line += " virtio_net.trust=tcb";
    world.refused(&[
        "preconditions",
        "`virtio_net.trust=tcb`",
        "boot the measured command line",
    ]);
    assert_eq!((world.host.asked("refresh"), world.host.asked("start")), (0, 0));
}

/// A host that sends these bytes, whatever it is asked, and then nothing.
struct Babbling(Vec<u8>);

impl channel::Stream for Babbling {
    fn send(&mut self, _: &[u8], _: Instant) -> Result<(), channel::StreamError> {
        Ok(())
    }
    fn receive(&mut self, buffer: &mut [u8], _: Instant) -> Result<usize, channel::StreamError> {
        let size = buffer.len().min(self.0.len()).min(100);
        buffer[..size].copy_from_slice(&self.0[..size]);
        self.0.drain(..size);
        if size == 0 {
            Err(channel::StreamError::Deadline)
        } else {
            Ok(size)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn case_92_no_bytes_of_a_host_make_the_agent_panic_or_open_a_channel(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let key = tdisp::crypto::Secret::new(vec![7; 32]);
        let provider = std::sync::Arc::new(tdisp::crypto::Ring);
        prop_assert!(channel::Link::open(Box::new(Babbling(bytes)), key, provider, Duration::from_millis(10)).is_err());
    }

    #[test]
    fn case_92_no_policy_makes_the_agent_panic(at in 0usize..2500, cut in 0usize..40, put in "[ -~\n]{0,12}") {
        let example = include_str!("../../agent.example.toml");
        let start = at.min(example.len());
        let end = (start + cut).min(example.len());
        let text = format!("{}{put}{}", &example[..start], &example[end..]);
        if let Err(error) = config::parse(std::path::Path::new("agent.toml"), &text) {
            prop_assert!(error.to_string().starts_with("agent.toml"), "{}", error);
        }
    }
}
