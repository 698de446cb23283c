//! Cases 62 to 76: the state machine, before, during and after acceptance.

use crate::world::{NET0, RID0, World, assert_refused};
use guest_agent::platform::Path;
use guest_agent::status::{Directory, Isolated, Report, Tainted, Verdict};
use guest_agent::{isolate, status, untrusted};
use tdisp::relay::TdiId;
use tdisp::relay::guest::{Binding, Request, Response, TdiState};

/// Accepts, lets `happen` happen, looks once: the device must be refused with a reason that has `words`, and stay so.
#[track_caller]
fn voided(happen: impl FnOnce(&World0), words: &[&str]) {
    let mut world = World::honest();
    let host = world.host.clone();
    world.decide(|agent| {
        let device = agent.report().devices[0].clone();
        assert_eq!(device.verdict, Verdict::Accepted, "{}", device.reason);
        assert!(!agent.watch(), "nothing has happened yet");
        happen(&World0 { host });
        assert!(agent.watch(), "it was not noticed");
        let device = agent.report().devices[0].clone();
        assert_refused(&device, &["monitor", "the verdict is void"]);
        assert_refused(&device, words);
        assert_eq!((device.path, device.xdp), (status::Path::Bounce, None));
        // No way back without a full verification.
        assert!(!agent.watch() && !agent.is_watching());
    });
    assert_eq!(world.host.asked("start"), 1);
    world.assert_nothing_enabled();
}

struct World0 {
    host: crate::world::host::Shared,
}

#[test]
fn case_62_74_an_interface_in_error_loses_its_trust() {
    voided(
        |world| world.host.change(RID0, |tdi| tdi.state = TdiState::ERROR),
        &["in state ERROR; wanted RUN"],
    );
}

#[test]
fn case_63_a_locked_looking_interface_that_is_not_bound_is_refused() {
    let mut world = World::lying(|lies| {
        lies.info = Some(Box::new(|n, info| {
            if n == 3 {
                info.status = Binding::UNBOUND;
            }
        }))
    });
    world.refused(&["verify", "the TSM knows no interface", "UNBOUND"]);
}

#[test]
fn case_64_another_interface_bound_under_the_same_address_is_refused() {
    for at in [3, 4] {
        let mut world = World::lying(move |lies| {
            lies.info = Some(Box::new(move |n, info| {
                if n == at {
                    info.tdi = TdiId(0x9999);
                }
            }))
        });
        world.refused(&["0x9999", "wanted"]);
        assert_eq!(world.host.asked("start"), 0);
    }
}

#[test]
fn case_65_66_a_driver_that_was_there_first_is_found_taken_away_and_alerted() {
    let mut world = World::honest();
    world.kernel.function(NET0).driver = Some("virtio-pci".into());
    let record = isolate::isolate(&world.config(), &mut world.kernel).unwrap();
    assert_eq!(
        record.tainted,
        [Tainted {
            bdf: NET0.into(),
            driver: "virtio-pci".into()
        }]
    );
    assert_eq!(world.kernel.function(NET0).driver, None);
    let mut link = crate::world::link(&world.host).unwrap();
    let kept = untrusted::begin(&world.config(), &record, &mut world.kernel, &mut link).unwrap();
    assert!(
        kept[0].contains("had driver virtio-pci before the agent isolated it"),
        "{}",
        kept[0]
    );
    assert_eq!(world.kernel.function(NET0).driver, None);
    drop(link);
    world.past.isolated = Some(record);
    let device = world.refused(&[
        "preconditions",
        "ALERT: driver virtio-pci had the device",
        "reboot",
    ]);
    assert_eq!(
        device.path,
        status::Path::None,
        "a tainted device does not even bounce"
    );
}

#[test]
fn case_66_without_the_first_stage_no_device_is_accepted() {
    let mut world = World::honest();
    world.past.isolated = None;
    let device = world.refused(&[
        "preconditions",
        "nothing shows that the device had no driver before",
        "tidelock-agent isolate",
    ]);
    assert_eq!(device.path, status::Path::None);
}

#[test]
fn case_65_a_driver_with_direct_access_and_no_verdict_is_refused() {
    let mut world = World::honest();
    world.kernel.function(NET0).driver = Some("virtio-pci".into());
    world.refused(&[
        "preconditions",
        "ALERT: driver virtio-pci has the device with direct access and no verdict",
    ]);
}

#[test]
fn case_68_a_success_without_dma_is_refused() {
    let mut world = World::lying(|lies| {
        lies.instead = Some(Box::new(|request| {
            matches!(request, Request::EnableDma { .. }).then_some(Response::Done)
        }));
    });
    world.refused(&["enable-dma", "the interface runs, but its DMA is off"]);
    assert_eq!(
        world.host.asked_after("enable-dma")[..3],
        ["info", "disable-dma", "stop"]
    );
}

#[test]
fn case_69_dma_before_the_start_is_an_alarm() {
    let mut world = World::lying(|lies| lies.info = Some(Box::new(|n, info| info.dma_enabled |= n == 2)));
    world.refused(&[
        "inform",
        "ALERT: DMA is enabled in state LOCKED before any verdict",
    ]);
    let mut world = World::lying(|lies| lies.info = Some(Box::new(|n, info| info.dma_enabled |= n == 4)));
    world.refused(&["recheck", "DMA is enabled before the start"]);
}

#[test]
fn case_70_a_path_that_stays_on_bounce_buffers_is_not_called_direct() {
    let mut world = World::honest();
    world.kernel.direct_becomes = Path::Bounce;
    world.refused(&["direct", "the kernel still bounces its transfers"]);
}

#[test]
fn case_71_72_a_reset_interface_loses_its_trust() {
    voided(
        |world| world.host.change(RID0, |tdi| tdi.state = TdiState::UNLOCKED),
        &["in state UNLOCKED; wanted RUN"],
    );
}

#[test]
fn case_73_a_device_replugged_under_the_same_address_loses_its_trust() {
    voided(
        |world| world.host.change(RID0, |tdi| tdi.id = TdiId(0x9999)),
        &["another interface is bound: 0x9999"],
    );
    voided(
        |world| world.host.change(RID0, |tdi| tdi.generation += 1),
        &["locked anew"],
    );
    voided(
        |world| drop(world.host.0.borrow_mut().tdis.remove(&RID0)),
        &["no interface is bound any more (UNBOUND)"],
    );
}

#[test]
fn dma_that_goes_off_voids_the_verdict() {
    voided(
        |world| world.host.change(RID0, |tdi| tdi.dma = false),
        &["its DMA is off"],
    );
}

#[test]
fn a_report_read_anew_voids_the_verdict() {
    voided(
        |world| world.host.change(RID0, |tdi| tdi.report_count += 1),
        &["the report was read anew"],
    );
}

#[test]
fn case_76_a_record_of_another_boot_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path()).unwrap();
    let mut world = World::honest();
    let report: Report = world.report();
    directory.put_report(&report).unwrap();
    directory
        .put_isolated(&Isolated {
            boot_id: "boot-1".into(),
            tainted: vec![],
        })
        .unwrap();
    let same = directory.past("boot-1").unwrap();
    assert_eq!((same.accepted.len(), same.isolated.is_some()), (1, true));
    let other = directory.past("boot-2").unwrap();
    assert_eq!((other.accepted.len(), other.isolated.is_some()), (0, false));
}

#[test]
fn after_the_start_every_error_stops_the_interface() {
    for fails in ["direct", "bind", "interfaces", "attach", "up"] {
        let mut world = World::honest();
        world.replace("on_refusal = \"bounce\"", "on_refusal = \"unbound\"");
        world.kernel.fails = Some(fails);
        let device = world.refused(&["see the kernel log"]).reason;
        assert!(!device.starts_with("start"), "{fails}: {device}");
        assert!(
            world.host.asked("start") == 1 && world.host.asked("stop") >= 1,
            "{fails}"
        );
        assert_eq!(world.kernel.function(NET0).driver, None, "{fails}");
    }
}

#[test]
fn a_device_loses_its_dma_before_its_driver() {
    for fails in ["direct", "bind", "interfaces", "attach", "up"] {
        let mut world = World::honest();
        world.kernel.gate = Some(world.host.clone());
        world.kernel.fails = Some(fails);
        world.refused(&["see the kernel log"]);
        assert!(!world.kernel.unbound_with_dma, "{fails}");
    }
    let mut world = World::honest();
    world.kernel.gate = Some(world.host.clone());
    world.decide(|agent| agent.revoke(NET0).unwrap());
    assert!(!world.kernel.unbound_with_dma);
    world.assert_nothing_enabled();
}

#[test]
fn an_interface_that_does_not_stop_gets_no_driver() {
    let mut world = World::lying(|lies| {
        lies.instead = Some(Box::new(|request| match request {
            Request::DisableDma { .. } | Request::Stop { .. } => Some(Response::Done),
            _ => None,
        }));
        // The host keeps it bound, too.
        lies.answer = Some(Box::new(|_, _| {}));
    });
    world.kernel.fails = Some("attach");
    let host = world.host.clone();
    host.0.borrow_mut().keeps_bound = true;
    let device = world.report().devices.remove(0);
    assert_refused(
        &device,
        &[
            "packets",
            "and then: the interface does not stop: it is in state RUN, its DMA is on",
        ],
    );
    assert_eq!(
        (device.path, world.kernel.function(NET0).driver.as_deref()),
        (status::Path::None, None)
    );
}

#[test]
fn a_packet_program_that_somebody_took_off_voids_the_verdict() {
    let mut world = World::honest();
    let stripped = std::rc::Rc::clone(&world.kernel.stripped);
    world.decide(|agent| {
        assert!(!agent.watch());
        *stripped.borrow_mut() = true;
        assert!(agent.watch());
        assert_refused(
            &agent.report().devices[0],
            &["monitor", "another program runs", "the verdict is void"],
        );
    });
    world.assert_nothing_enabled();
}
