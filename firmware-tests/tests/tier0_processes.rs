//! The flow through real processes and sockets, without a VM; and what is left of it when one of them is killed.

#![allow(clippy::unwrap_used, reason = "a broken world ends the test")]

#[path = "flow/processes.rs"]
mod processes;

use std::time::Instant;

use firmware_tests::{
    CRYPTOGRAPHY, identity,
    need::{Need, trial},
};
use libtest_mimic::{Arguments, Failed, Trial};
use processes::{AT, LIMIT, Processes, VmGuest, kill, text};
use tdisp::{
    clock::UnixTime,
    crypto::{HashAlg, Provider, Ring, digest},
    evidence::{Crls, Expectation, Floor, IdentityRule, Refusal, Root, verify},
    relay::{
        ObjectKind, TdiId,
        courier::{self, Code},
        guest::{Binding, Request, Response, TdiState},
    },
};

fn main() {
    let tests = vec![
        test("a device earns its way in and loses it again", earns),
        test(
            "evidence by ML-DSA over ML-KEM is verified where the guest's floor lists them",
            post_quantum,
        ),
        test(
            "a daemon that is killed is replaced by one that adopts what stands",
            daemon_killed,
        ),
        test(
            "a TSM that is killed takes every gate with it, and the next one starts anew",
            tsm_killed,
        ),
        test("a guest that starts anew binds anew", guest_restarts),
        test("what is not leased is refused", not_leased),
        test("the daemon's end unbinds and disconnects", clean_end),
        test(
            "a device that hangs up or lies about lengths fails the connect at a named step",
            lying_device,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn test(name: &str, run: fn()) -> Trial {
    let needs = ["tidelock-device", "tidelock-tsm", "tidelockd", "tidelock"].map(Need::Program);
    trial(name, &needs, move || {
        run();
        Ok::<_, Failed>(())
    })
}

/// Bind, START and DMA for function 1.
fn accept(guest: &mut VmGuest) -> TdiId {
    let tdi = guest.bind();
    let info = guest.info();
    assert_eq!(
        (info.status, info.state, info.tdi),
        (Binding::BOUND, TdiState::LOCKED, tdi)
    );
    let (generation, report_count) = (info.generation, info.report_count);
    assert_eq!(
        guest.tsm(&Request::Start {
            tdi,
            generation,
            report_count
        }),
        Response::Done
    );
    assert_eq!(guest.tsm(&Request::EnableDma { tdi, generation }), Response::Done);
    tdi
}

fn earns() {
    let world = Processes::start(&[]);
    let plugged = world.plug();
    world.done(&["connect", "nic0"]);
    let steps = world.status()["devices"][0]["steps"].clone();
    let ms: f64 = steps
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["ms"].as_f64().unwrap())
        .sum();
    eprintln!(
        "connect took {ms:.2} ms in {} steps",
        steps.as_array().unwrap().len()
    );
    let mut guest = world.guest();
    let tdi = guest.bind();
    let info = guest.info();
    assert_eq!((info.state, info.lock_flags), (TdiState::LOCKED, 1));
    assert!(
        plugged.reads_private().is_err(),
        "a locked TDI reaches nothing private"
    );
    let generation = info.generation;
    let refresh = Request::RefreshMeasurements {
        tdi,
        generation,
        nonce: [9; 32],
    };
    assert_eq!(guest.tsm(&refresh), Response::Done);
    let info = guest.info();
    assert!(info.measurements_fresh);
    for (kind, wanted) in [
        (ObjectKind::CERTIFICATES, info.certificates_digest),
        (ObjectKind::MEASUREMENTS, info.measurements_digest),
        (ObjectKind::REPORT, info.report_digest),
    ] {
        let object = guest.object(tdi, kind);
        assert_eq!(digest(&Ring, HashAlg::Sha384, &object).as_ref(), wanted, "{kind}");
    }
    let start = Request::Start {
        tdi,
        generation,
        report_count: info.report_count,
    };
    assert_eq!(guest.tsm(&start), Response::Done);
    assert!(plugged.reads_private().is_err(), "RUN alone opens nothing");
    assert_eq!(guest.tsm(&Request::EnableDma { tdi, generation }), Response::Done);
    assert_eq!(plugged.reads_private(), Ok(()));
    plugged.fault();
    assert!(plugged.reads_private().is_err(), "a TDI in ERROR reaches nothing");
    let info = guest.info();
    assert_eq!((info.state, info.dma_enabled), (TdiState::ERROR, false));
    assert_eq!(guest.tsm(&Request::Stop { tdi }), Response::Done);
    assert_eq!(guest.info().status, Binding::UNBOUND);
    assert_eq!(world.status()["vms"][0]["tdis"][0]["state"], "unbound");
}

fn post_quantum() {
    let world = Processes::start_with(&[], "ml-dsa-65-ml-kem-768");
    let plugged = world.plug();
    world.done(&["connect", "nic0"]);
    let mut guest = world.guest();
    let tdi = guest.bind();
    let (bundle, info) = guest.evidence(tdi, [9; 32]);
    assert_eq!((info.spdm.asym, info.spdm.pqc_asym), (0, 2));
    assert_eq!((info.spdm.dhe, info.spdm.kem), (0, 2));
    let root = identity::load(&world.path("identity"))
        .unwrap()
        .vendor
        .root_digest();
    let roots = [Root {
        name: "vendor".into(),
        digest: root,
    }];
    let judged = |floor, provider: &dyn Provider| {
        let expected = Expectation {
            nonce: [9; 32],
            guest: AT,
            function_id: None,
            roots: &roots,
            identity: IdentityRule::default(),
            now: UnixTime(1_795_132_800), // 2026-11-20
            floor,
            crls: Crls::default(),
        };
        verify(&bundle, &info, &expected, provider)
    };
    let floor = Floor {
        pqc_asym: 2,
        kem: 2,
        ..Floor::default()
    };
    let verified = judged(floor, &CRYPTOGRAPHY).unwrap();
    assert_eq!(verified.negotiated(), &info.spdm);
    let refused = judged(Floor::default(), &CRYPTOGRAPHY).unwrap_err();
    assert!(matches!(refused, Refusal::Algorithm { .. }), "{refused}");
    let refused = judged(floor, &Ring).unwrap_err();
    assert!(matches!(refused, Refusal::Unsupported { .. }), "{refused}");
    let (generation, report_count) = (info.generation, info.report_count);
    let start = Request::Start {
        tdi,
        generation,
        report_count,
    };
    assert_eq!(guest.tsm(&start), Response::Done);
    assert_eq!(guest.tsm(&Request::EnableDma { tdi, generation }), Response::Done);
    assert_eq!(plugged.reads_private(), Ok(()));
}

fn daemon_killed() {
    let mut world = Processes::start(&[]);
    let plugged = world.plug();
    world.done(&["connect", "nic0"]);
    let tdi = accept(&mut world.guest());
    kill(world.daemon.take().unwrap());
    assert_eq!(
        plugged.reads_private(),
        Ok(()),
        "the daemon is not what a guest's verdict hangs on"
    );
    world.start_daemon();
    let status = world.status();
    assert_eq!(status["devices"][0]["state"], "connected", "{status}");
    assert_eq!(status["vms"][0]["tdis"][0]["state"], "bound", "{status}");
    assert!(status["recovered"].to_string().contains("adopted"), "{status}");
    let mut guest = world.guest();
    let info = guest.info();
    assert_eq!(
        (info.state, info.dma_enabled, info.tdi),
        (TdiState::RUN, true, tdi)
    );
    let report = guest.object(tdi, ObjectKind::REPORT);
    assert_eq!(
        digest(&Ring, HashAlg::Sha384, &report).as_ref(),
        info.report_digest
    );
    world.done(&["unbind", "nic0", "1"]);
    assert!(plugged.reads_private().is_err());
}

fn tsm_killed() {
    let mut world = Processes::start(&[]);
    let plugged = world.plug();
    world.done(&["connect", "nic0"]);
    accept(&mut world.guest());
    assert_eq!(plugged.reads_private(), Ok(()));
    kill(world.tsm.take().unwrap());
    let killed = Instant::now();
    while plugged.reads_private().is_ok() {
        assert!(killed.elapsed() < LIMIT, "the gate stays open without a TSM");
    }
    world.start_tsm();
    world.done(&["wait-ready", "--timeout", "10"]);
    let status = wait_until(&world, |status| status["devices"][0]["state"] == "disconnected");
    assert_eq!(status["vms"][0]["tdis"][0]["state"], "unbound", "{status}");
    world.done(&["connect", "nic0"]);
    accept(&mut world.guest());
    assert_eq!(
        plugged.reads_private(),
        Ok(()),
        "and it all works again, with a new key"
    );
}

fn wait_until(world: &Processes, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let start = Instant::now();
    loop {
        let status = world.status();
        if wanted(&status) {
            return status;
        }
        assert!(start.elapsed() < LIMIT, "{status}\n{}", world.logs());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn guest_restarts() {
    let world = Processes::start(&[]);
    let plugged = world.plug();
    world.done(&["connect", "nic0"]);
    let first = accept(&mut world.guest());
    let mut guest = world.guest();
    let second = guest.bind();
    assert_ne!(first, second);
    assert!(plugged.reads_private().is_err(), "a new lock starts without DMA");
    assert_eq!(guest.info().state, TdiState::LOCKED);
}

fn not_leased() {
    let world = Processes::start(&[]);
    let mut guest = world.guest();
    let other = courier::Request::Bind {
        guest: tdisp::relay::Rid(0x0102),
        flags: 0,
    };
    assert!(matches!(
        guest.ask(other),
        courier::Response::Refused {
            code: Code::UNKNOWN,
            ..
        }
    ));
    let early = guest.ask(courier::Request::Bind { guest: AT, flags: 0 });
    let courier::Response::Refused { reason, .. } = early else {
        panic!("{early:?}")
    };
    assert_eq!(reason, "nic0 is not connected; run: tidelock connect nic0");
    let object = courier::Request::Object {
        tdi: TdiId(1),
        kind: ObjectKind::REPORT,
        offset: 0,
    };
    assert!(matches!(
        guest.ask(object),
        courier::Response::Refused {
            code: Code::UNKNOWN,
            ..
        }
    ));
    let rubbish = courier::Request::Guest { sealed: vec![1; 40] };
    assert!(matches!(
        guest.ask(rubbish),
        courier::Response::Refused {
            code: Code::CHANNEL,
            ..
        }
    ));
    assert_eq!(
        guest.info().status,
        Binding::UNBOUND,
        "a good channel opens after a bad message"
    );
}

fn clean_end() {
    let mut world = Processes::start(&[]);
    let plugged = world.plug();
    world.done(&["connect", "nic0"]);
    accept(&mut world.guest());
    assert!(world.daemon.take().unwrap().end(), "{}", world.logs());
    assert!(plugged.reads_private().is_err());
    assert!(!world.path("api.sock").exists() && !world.path("courier.sock").exists());
    assert!(
        world.path("keys/vm-1.key").exists(),
        "a guest that lives on keeps its channel"
    );
    assert!(world.tsm.take().unwrap().end(), "{}", world.logs());
    assert!(!world.path("keys/vm-1.key").exists() && !world.path("tsm.sock").exists());
}

fn lying_device() {
    for (lie, wanted) in [("hang-up", "at get_version"), ("wrong-length", "connect failed")] {
        let world = Processes::start(&[lie]);
        let out = world.tidelock(&["connect", "nic0"]);
        assert_eq!(out.status.code(), Some(1), "{lie}");
        assert!(text(&out).contains(wanted), "{lie}: {}", text(&out));
        let status = world.status();
        assert_eq!(status["devices"][0]["state"], "disconnected", "{lie}: {status}");
    }
}
