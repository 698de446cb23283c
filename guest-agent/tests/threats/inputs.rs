//! Cases 91 to 98: what comes into the agent beside evidence.

use crate::world::device::Device;
use crate::world::{NET0, NET1, RID1, World, assert_refused};
use guest_agent::isolate;
use guest_agent::status::{Path, Verdict};

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
