//! The flow without a VM: TSM and device in one thread, and as real processes over sockets.

#![allow(clippy::unwrap_used, reason = "a broken world ends the test")]

#[path = "flow/device.rs"]
mod device;
#[path = "flow/world.rs"]
mod world;

use tdisp::{
    crypto::{HashAlg, Ring, digest},
    relay::{
        ObjectKind, TdiId,
        guest::{Binding, Request, Response, Status, TdiState, ValidateMmio},
        host::{Code, Command, Done, Owner},
    },
    tdi::msg::State,
};
use world::{AT, DEVICE, FAULTS, FUNCTION, VM, World};

fn sha384(bytes: &[u8]) -> Vec<u8> {
    digest(&Ring, HashAlg::Sha384, bytes).as_ref().to_vec()
}

#[test]
fn a_device_earns_its_way_in_and_is_stopped() {
    let mut world = World::connected();
    let tdi = world.bind().unwrap();
    let info = world.info();
    assert_eq!(
        (info.status, info.state, info.tdi),
        (Binding::BOUND, TdiState::LOCKED, tdi)
    );
    assert_eq!(
        (info.lock_flags, info.report_count, info.dma_enabled),
        (1, 1, false)
    );
    assert!(info.measurements_valid && !info.measurements_fresh);
    let generation = info.generation;
    let refresh = Request::RefreshMeasurements {
        tdi,
        generation,
        nonce: [7; 32],
    };
    assert_eq!(world.guest(&refresh), Ok(Response::Done));
    let info = world.info();
    assert!(info.measurements_fresh);
    let object = |owner, kind| {
        let mut all = world.evidence.iter().rev();
        all.find(|(of, is, _)| (*of, *is) == (owner, kind))
            .map(|(_, _, bytes)| sha384(bytes))
            .unwrap()
    };
    assert_eq!(
        object(Owner::Device(DEVICE), ObjectKind::CERTIFICATES),
        info.certificates_digest
    );
    assert_eq!(
        object(Owner::Tdi(tdi), ObjectKind::MEASUREMENTS),
        info.measurements_digest
    );
    assert_eq!(object(Owner::Tdi(tdi), ObjectKind::REPORT), info.report_digest);
    let start = Request::Start {
        tdi,
        generation,
        report_count: info.report_count,
    };
    assert_eq!(world.guest(&start), Ok(Response::Done));
    assert_eq!(world.device.state(FUNCTION), State::RUN);
    assert!(world.gates.is_empty(), "a TDI that runs has no DMA yet");
    assert_eq!(
        world.guest(&Request::EnableDma { tdi, generation }),
        Ok(Response::Done)
    );
    assert!(world.gates.contains(&1) && world.info().dma_enabled);
    assert_eq!(world.guest(&Request::Stop { tdi }), Ok(Response::Done));
    assert!(world.gates.is_empty());
    assert_eq!(world.device.state(FUNCTION), State::UNLOCKED);
    assert_eq!(world.info().status, Binding::UNBOUND);
    assert_eq!(
        world.command(Command::DevDisconnect { device: DEVICE }),
        Ok(Done::Ok)
    );
    assert!(!world.status().connected);
}

#[test]
fn a_guest_can_do_nothing_with_another_lock_another_report_or_another_ones_tdi() {
    let mut world = World::connected();
    let tdi = world.bind().unwrap();
    let info = world.info();
    let (generation, report_count) = (info.generation, info.report_count);
    let cases = [
        (
            Request::Start {
                tdi,
                generation: generation + 1,
                report_count,
            },
            Status::STALE,
        ),
        (
            Request::Start {
                tdi,
                generation,
                report_count: report_count + 1,
            },
            Status::STALE,
        ),
        (
            Request::Start {
                tdi: TdiId(99),
                generation,
                report_count,
            },
            Status::INVALID_TDI,
        ),
        (Request::EnableDma { tdi, generation }, Status::WRONG_STATE),
        (Request::EnableDma { tdi, generation: 0 }, Status::STALE),
        (
            Request::RefreshMeasurements {
                tdi,
                generation: 0,
                nonce: [1; 32],
            },
            Status::STALE,
        ),
        (Request::Stop { tdi: TdiId(99) }, Status::INVALID_TDI),
        (Request::Share { gpa: 0x1000, len: 0 }, Status::NOT_4K),
        (
            Request::Share {
                gpa: 0x1001,
                len: 0x1000,
            },
            Status::NOT_4K,
        ),
        (
            Request::Share {
                gpa: u64::MAX - 0xfff,
                len: 0x2000,
            },
            Status::NOT_4K,
        ),
        (
            Request::Unshare {
                gpa: 0x1000,
                len: 0x1000,
            },
            Status::BAD_REQUEST,
        ),
    ];
    for (request, wanted) in cases {
        match world.guest(&request) {
            Ok(Response::Refused { status, .. }) => assert_eq!(status, wanted, "{request:?}"),
            other => panic!("{request:?}: {other:?}"),
        }
    }
    assert!(world.gates.is_empty());
    assert_eq!(
        world.device.state(FUNCTION),
        State::LOCKED,
        "a refusal changes nothing"
    );
}

#[test]
fn mmio_is_validated_only_where_the_report_and_the_host_agree_with_the_guest() {
    let (mut world, info) = World::running();
    let good = ValidateMmio {
        tdi: info.tdi,
        generation: info.generation,
        range_id: 2,
        gpa: 0xc000_0000,
        pages: 2,
    };
    let validated = |changed| Ok(Response::MmioValidated { changed });
    assert_eq!(world.guest(&Request::ValidateMmio(good)), validated(true));
    assert_eq!(
        world.guest(&Request::ValidateMmio(good)),
        validated(false),
        "it was validated already"
    );
    let cases = [
        (ValidateMmio { range_id: 5, ..good }, Status::NOT_REPORTED),
        // The guest and the host agree, the device says something else: a report of another function.
        (
            ValidateMmio {
                range_id: 0,
                gpa: 0xc010_0000,
                pages: 1,
                ..good
            },
            Status::NOT_REPORTED,
        ),
        (ValidateMmio { pages: 3, ..good }, Status::OUT_OF_RANGE),
        (ValidateMmio { pages: 0, ..good }, Status::OUT_OF_RANGE),
        (
            ValidateMmio {
                gpa: 0xc000_1000,
                ..good
            },
            Status::NOT_MAPPED,
        ),
        (
            ValidateMmio {
                gpa: 0xc000_0001,
                ..good
            },
            Status::NOT_4K,
        ),
        (
            ValidateMmio {
                generation: 0,
                ..good
            },
            Status::STALE,
        ),
    ];
    for (asked, wanted) in cases {
        match world.guest(&Request::ValidateMmio(asked)) {
            Ok(Response::Refused { status, .. }) => assert_eq!(status, wanted, "{asked:?}"),
            other => panic!("{asked:?}: {other:?}"),
        }
    }
}

#[test]
fn a_tdi_that_left_run_has_its_gate_closed_before_the_guest_is_told() {
    let (mut world, _) = World::running();
    world.device.fault(FUNCTION);
    assert!(world.gates.contains(&1), "nobody has looked yet");
    let info = world.info();
    assert_eq!((info.state, info.dma_enabled), (TdiState::ERROR, false));
    assert!(world.gates.is_empty());
}

#[test]
fn a_lock_is_held_before_the_device_is_asked_whether_it_still_runs() {
    let (mut world, info) = World::running();
    world.held.clear();
    let (tdi, generation) = (info.tdi, info.generation);
    let enabled = world.guest(&Request::EnableDma { tdi, generation });
    assert_eq!(enabled, Ok(Response::Done));
    assert_eq!(world.held.get(&1), Some(&0), "before the first carriage");
    assert_eq!(world.carried, 1, "and then the device is asked");
}

#[test]
fn what_the_platform_refuses_is_not_so() {
    let (mut world, info) = World::running();
    world.platform_fails = true;
    let refused = world.guest(&Request::Share {
        gpa: 0x10_0000,
        len: 0x1000,
    });
    assert!(matches!(refused, Ok(Response::Refused { .. })), "{refused:?}");
    world.platform_fails = false;
    world.core.platform_lost();
    world.gates.clear();
    let (tdi, generation) = (info.tdi, info.generation);
    assert!(
        !world.info().dma_enabled,
        "a platform that is gone took its gates along"
    );
    assert_eq!(
        world.guest(&Request::EnableDma { tdi, generation }),
        Ok(Response::Done)
    );
    assert!(world.info().dma_enabled);
}

#[test]
fn a_tdi_whose_gate_could_not_be_closed_is_stopped_all_the_same() {
    let (mut world, info) = World::running();
    world.platform_fails_once = true;
    let stopped = world.command(Command::TdiUnbind { tdi: info.tdi });
    assert_eq!(stopped.unwrap_err().0, Code::PLATFORM);
    assert!(world.gates.is_empty());
    assert_eq!(world.device.state(FUNCTION), State::UNLOCKED);
    assert!(world.status().tdis.is_empty());
}

#[test]
fn two_things_cannot_have_one_name() {
    let mut world = World::connected();
    world.bind().unwrap();
    assert_eq!(world.bind().unwrap_err().0, Code::EXISTS);
    assert_eq!(world.connect().unwrap_err().0, Code::EXISTS);
    assert_eq!(
        world.command(Command::VmCreate { vm: VM }).unwrap_err().0,
        Code::EXISTS
    );
    assert_eq!(
        world
            .command(Command::TdiUnbind { tdi: TdiId(77) })
            .unwrap_err()
            .0,
        Code::UNKNOWN
    );
    let foreign = tdisp::relay::host::Bind {
        device: DEVICE,
        function_id: 0x0201,
        vm: VM,
        guest: tdisp::relay::Rid(0x0102),
        flags: 0,
        mmio_offset: 0,
    };
    let refused = world.command(Command::TdiBind(foreign));
    assert_eq!(
        refused.unwrap_err().0,
        Code::BAD_REQUEST,
        "another device's function"
    );
    let stray = world.command(Command::Carried { object: vec![0; 12] });
    assert_eq!(stray.unwrap_err().0, Code::BAD_REQUEST);
}

#[test]
fn a_vm_that_goes_leaves_nothing_behind() {
    let (mut world, info) = World::running();
    assert_eq!(
        world.guest(&Request::Share {
            gpa: 0x10_0000,
            len: 0x1000
        }),
        Ok(Response::Done)
    );
    assert_eq!(world.command(Command::VmDestroy { vm: VM }), Ok(Done::Ok));
    assert!(world.gates.is_empty() && world.shares.is_empty() && world.keys.is_empty());
    assert_eq!(world.device.state(info.function_id), State::UNLOCKED);
    assert!(world.status().tdis.is_empty());
}

/// What is done to a world that is as far as the operation needs; whether it went through.
type Operation = (&'static str, fn() -> World, fn(&mut World) -> bool);

fn bound() -> World {
    let mut world = World::connected();
    world.bind().unwrap();
    world.info();
    world
}

fn start(world: &mut World) -> bool {
    let info = match world.guest(&Request::TdiInfo { guest: AT }) {
        Ok(Response::TdiInfo(info)) if info.status == Binding::BOUND => info,
        _ => return false,
    };
    let (tdi, generation, report_count) = (info.tdi, info.generation, info.report_count);
    world.guest(&Request::Start {
        tdi,
        generation,
        report_count,
    }) == Ok(Response::Done)
}

fn refresh(world: &mut World) -> bool {
    let status = world.status();
    let Some(tdi) = status.tdis.first() else {
        return false;
    };
    let (tdi, generation) = (tdi.tdi, tdi.generation);
    world.guest(&Request::RefreshMeasurements {
        tdi,
        generation,
        nonce: [1; 32],
    }) == Ok(Response::Done)
}

fn stop(world: &mut World) -> bool {
    let status = world.status();
    status
        .tdis
        .first()
        .is_some_and(|tdi| world.guest(&Request::Stop { tdi: tdi.tdi }) == Ok(Response::Done))
}

const OPERATIONS: [Operation; 6] = [
    (
        "connect",
        || {
            let mut world = World::new();
            world.command(Command::VmCreate { vm: VM }).unwrap();
            world
        },
        |world| world.connect().is_ok(),
    ),
    ("bind", World::connected, |world| world.bind().is_ok()),
    ("refresh", bound, refresh),
    ("start", bound, start),
    ("stop", || World::running().0, stop),
    (
        "disconnect",
        || World::running().0,
        |world| world.command(Command::DevDisconnect { device: DEVICE }).is_ok(),
    ),
];

/// Whatever goes wrong at whatever carriage of the operation, nothing is left half enabled and the next attempt succeeds.
fn sweep(wanted: &str) {
    let (name, prepare, operate) = OPERATIONS.into_iter().find(|(name, ..)| *name == wanted).unwrap();
    for fault in FAULTS {
        for at in 0.. {
            let mut world = prepare();
            world.fault = Some((at, fault));
            let done = operate(&mut world);
            let place = format!("{fault:?} at carriage {at} of {name}");
            if world.carried <= at && done {
                // Every carriage has had its turn.
                break;
            }
            world.fault = None;
            check_clean(&mut world, done, &place);
            assert!(at < 40, "{place}: no end");
        }
    }
}

#[test]
fn a_connect_that_goes_wrong_anywhere_leaves_nothing_half_enabled() {
    sweep("connect");
}

#[test]
fn a_bind_that_goes_wrong_anywhere_leaves_nothing_half_enabled() {
    sweep("bind");
}

#[test]
fn a_refresh_that_goes_wrong_anywhere_leaves_nothing_half_enabled() {
    sweep("refresh");
}

#[test]
fn a_start_that_goes_wrong_anywhere_leaves_nothing_half_enabled() {
    sweep("start");
}

#[test]
fn a_stop_that_goes_wrong_anywhere_leaves_nothing_half_enabled() {
    sweep("stop");
}

#[test]
fn a_disconnect_that_goes_wrong_anywhere_leaves_nothing_half_enabled() {
    sweep("disconnect");
}

fn check_clean(world: &mut World, done: bool, place: &str) {
    let status = world.status();
    assert!(world.gates.is_empty(), "{place}: a gate is open");
    assert!(!done || status.connected || status.tdis.is_empty(), "{place}");
    if !status.connected {
        assert!(
            status.tdis.is_empty(),
            "{place}: TDIs without a session: {:?}",
            status.tdis
        );
        world
            .connect()
            .unwrap_or_else(|error| panic!("{place}: no new session: {error:?}"));
    }
    for tdi in world.status().tdis {
        world.command(Command::TdiUnbind { tdi: tdi.tdi }).unwrap();
    }
    assert_eq!(
        world.device.state(FUNCTION),
        State::UNLOCKED,
        "{place}: the TDI is not stopped"
    );
    world
        .bind()
        .unwrap_or_else(|error| panic!("{place}: no new bind: {error:?}"));
    assert!(start(world), "{place}: no new start");
}
