//! A TSM and a device that hang up, answer late, twice, truncated, or something else: the daemon says at which step, ends
//! with a failure, and leaves nothing that it cannot take back.

#![allow(clippy::unwrap_used, reason = "a broken world ends the test")]

mod world;

use std::{
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tdisp::relay::{
    ObjectKind, Rid, TdiId, VmId,
    courier::{Code, Request, Response, VERSION},
    guest::TdiState,
    host::{self, Answer, Command, DevStatus, Done, Owner, Status, TdiStatus},
};
use world::{GET_VERSION, Play, Port, Reply, World, no_device, plain, text};

const DEVICE: Rid = Rid(0x0100);

/// A TSM whose connect carries GET_VERSION twice, and fails as the carriage does.
fn carrying(command: &Command) -> Play {
    let carry = || Answer::Carry {
        device: DEVICE,
        object: GET_VERSION.to_vec(),
    };
    match command {
        Command::DevConnect { .. } | Command::Carried { .. } => Play::Answer(vec![carry()]),
        Command::CarryFailed { reason } => Play::Answer(vec![Answer::Failed {
            code: tdisp::relay::host::Code::CARRY,
            reason: reason.clone(),
        }]),
        other => plain(other),
    }
}

/// The daemon in the foreground.
fn daemon(config: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidelockd"));
    command.arg("--config").arg(config);
    command
}

/// How a program ended, and what it said.
#[track_caller]
fn check(out: &Output, code: i32, wanted: &str) {
    let said = text(out);
    assert_eq!(out.status.code(), Some(code), "{said:?}, wanted {wanted:?}");
    assert!(said.contains(wanted), "{said:?} does not contain {wanted:?}");
}

#[test]
fn a_device_that_misbehaves_fails_the_connect_at_a_named_step_and_leaves_it_disconnected() {
    type Answers = fn() -> Reply;
    let cases: [(&str, Answers, &str); 6] = [
        (
            "hangs up",
            || Reply::HangUp,
            "connect, at get_version, failed: the device hung up",
        ),
        (
            "is silent",
            || Reply::Silence,
            "the device gave no answer to an exchange in 300 ms",
        ),
        (
            "truncates",
            || Reply::Raw(b"\0\0\0\x01\0\0\0\x02\0\0\0\x0cabc".to_vec()),
            "gave no answer",
        ),
        (
            "answers twice",
            || Reply::Frames(vec![GET_VERSION.to_vec(); 2]),
            "bytes that nobody asked for",
        ),
        (
            "says a huge length",
            || Reply::Raw(b"\0\0\0\x01\0\0\0\x02\xff\0\0\0".to_vec()),
            "frame size is",
        ),
        (
            "speaks another command",
            || Reply::Raw(b"\0\0\0\x09\0\0\0\x02\0\0\0\0".to_vec()),
            "frame command is 0x9",
        ),
    ];
    for (name, answers, wanted) in cases {
        let mut world = World::new();
        let tsm = world.tsm(carrying);
        let device = world.device(move |_| answers());
        world.ready(&device);
        let out = world.tidelock(&["connect", "nic0"]);
        check(&out, 1, wanted);
        tsm.until(|command| matches!(command, Command::CarryFailed { .. }));
        let shown = &world.status()["devices"][0];
        assert_eq!(shown["state"], "disconnected", "{name}");
        assert!(
            shown["error"].as_str().unwrap().contains(wanted),
            "{name}: {shown}"
        );
        let kept = std::fs::read_dir(world.path("state/evidence")).unwrap().count();
        assert_eq!(kept, 0, "{name}: evidence of nothing that stands");
        assert_eq!(world.end(), Some(0), "{name}: {}", world.log());
    }
}

#[test]
fn a_tsm_that_misbehaves_fails_the_connect_and_is_found_again() {
    type Plays = fn() -> Play;
    let cases: [(&str, Plays, &str); 5] = [
        ("hangs up", || Play::HangUp, "the TSM hung up during connect"),
        (
            "sends rubbish",
            || Play::Raw(vec![0xff; 8]),
            "the TSM's answer to connect cannot be read",
        ),
        (
            "answers something else",
            || Play::Answer(vec![Answer::Done(Done::Bound { tdi: TdiId(1) })]),
            "the TSM answered connect with a TDI's name; wanted that it is done",
        ),
        (
            "hands over evidence without end",
            || {
                let object = |tdi| Answer::Object {
                    owner: Owner::Tdi(TdiId(tdi)),
                    kind: ObjectKind::REPORT,
                    bytes: vec![0; 8],
                };
                Play::Answer((0..100).map(object).chain([Answer::Done(Done::Ok)]).collect())
            },
            "the TSM handed over more than 6 objects during connect",
        ),
        (
            "refuses",
            || {
                let (code, reason) = (tdisp::relay::host::Code::PLATFORM, "no random bytes".into());
                Play::Answer(vec![Answer::Failed { code, reason }])
            },
            "connect failed: no random bytes",
        ),
    ];
    for (name, plays, wanted) in cases {
        let mut world = World::new();
        let _tsm = world.tsm(move |command| match command {
            Command::DevConnect { .. } => plays(),
            other => plain(other),
        });
        let device = world.device(|_| Reply::Silence);
        world.ready(&device);
        let out = world.tidelock(&["connect", "nic0"]);
        check(&out, 1, wanted);
        let out = world.tidelock(&["wait-ready", "--timeout", "10"]);
        assert!(out.status.success(), "{name}: {}", text(&out));
        assert_eq!(world.end(), Some(0), "{name}: {}", world.log());
    }
}

#[test]
fn a_tsm_of_another_version_is_not_used() {
    let mut world = World::new();
    let _tsm = world.tsm(|command| match command {
        Command::Status => {
            let status = Status {
                version: 9,
                devices: 0,
                vms: 0,
                tdis: 0,
            };
            Play::Answer(vec![Answer::Done(Done::Status(status))])
        }
        other => plain(other),
    });
    let device = world.device(|_| Reply::Silence);
    world.start(&device);
    let out = world.tidelock(&["wait-ready", "--timeout", "1"]);
    let wanted = host::VERSION;
    check(
        &out,
        4,
        &format!("the TSM speaks version 9 of the host protocol; wanted {wanted}"),
    );
}

#[test]
fn without_a_tsm_the_daemon_waits_and_says_so() {
    let mut world = World::new();
    let device = world.device(|_| Reply::Silence);
    world.start(&device);
    let out = world.tidelock(&["wait-ready", "--timeout", "1"]);
    check(&out, 4, "cannot be reached");
    let _tsm = world.tsm(plain);
    assert!(
        world
            .tidelock(&["wait-ready", "--timeout", "10"])
            .status
            .success()
    );
}

#[test]
fn the_service_manager_is_told_when_the_daemon_is_ready_and_when_it_ends() {
    let mut world = World::new();
    let notified = std::os::unix::net::UnixDatagram::bind(world.path("notify.sock")).unwrap();
    notified.set_read_timeout(Some(world::LIMIT)).unwrap();
    let said = || {
        let mut bytes = [0; 64];
        let size = notified.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..size]).trim().to_owned()
    };
    let _tsm = world.tsm(plain);
    let device = world.device(|_| Reply::Silence);
    world.ready(&device);
    assert_eq!(said(), "READY=1");
    assert_eq!(world.end(), Some(0));
    assert_eq!(said(), "STOPPING=1");
}

#[test]
fn manual_pages_and_completions_are_made_from_the_command_itself() {
    let world = World::new();
    let directory = world.path("man");
    std::fs::create_dir(&directory).unwrap();
    let out = world.tidelock(&["man", directory.to_str().unwrap()]);
    assert!(out.status.success(), "{}", text(&out));
    assert!(directory.join("tidelock-identify.1").exists());
    let out = world.tidelock(&["completions", "bash"]);
    assert!(text(&out).contains("wait-ready"), "{}", text(&out));
}

/// A TSM that connects, and whose bind never ends; what stands it says as a real one would.
fn binding(connected: &mut bool, bound: &mut bool, command: &Command) -> Play {
    match command {
        Command::DevConnect { .. } => *connected = true,
        Command::DevDisconnect { .. } => *connected = false,
        Command::TdiUnbind { .. } => *bound = false,
        Command::TdiBind(_) => {
            *bound = true;
            return Play::Silence;
        }
        Command::DevStatus { .. } => {
            let tdi = TdiStatus {
                tdi: TdiId(5),
                function_id: 0x0101,
                vm: VmId(1),
                guest: Rid(0x0101),
                state: TdiState::LOCKED,
                generation: 1,
                dma_enabled: false,
            };
            let tdis = if *bound { vec![tdi] } else { Vec::new() };
            let status = DevStatus {
                connected: *connected,
                tdis,
                ..no_device()
            };
            return Play::Answer(vec![Answer::Done(Done::DevStatus(status))]);
        }
        _ => {}
    }
    plain(command)
}

#[test]
fn after_kill_9_in_the_middle_of_a_bind_a_restart_unbinds_and_adopts_the_session() {
    let mut world = World::new();
    let (mut connected, mut bound) = (false, false);
    let tsm = world.tsm(move |command| binding(&mut connected, &mut bound, command));
    let device = world.device(|_| Reply::Silence);
    world.ready(&device);
    assert!(world.tidelock(&["connect", "nic0"]).status.success());
    let socket = world.path("api.sock");
    let asking = std::thread::spawn(move || {
        let request = host_daemon::api::Request::Bind {
            device: "nic0".into(),
            function: 1,
        };
        host_daemon::api::call(&socket, &request)
    });
    tsm.until(|command| matches!(command, Command::TdiBind(_)));
    world.kill();
    assert!(asking.join().unwrap().is_err());
    world.ready(&device);
    let seen = tsm.until(|command| matches!(command, Command::TdiUnbind { .. }));
    assert!(
        !seen
            .iter()
            .any(|command| matches!(command, Command::DevDisconnect { .. })),
        "{seen:?}"
    );
    let status = world.status();
    assert_eq!(status["devices"][0]["state"], "connected", "{status}");
    assert_eq!(status["vms"][0]["tdis"][0]["state"], "unbound", "{status}");
    let told = status["recovered"].to_string();
    assert!(
        told.contains("bind of function 1 of nic0 was in flight"),
        "{told}"
    );
    assert!(told.contains("nic0 is still connected: adopted"), "{told}");
    assert_eq!(world.end(), Some(0), "{}", world.log());
    tsm.until(|command| matches!(command, Command::DevDisconnect { .. }));
}

#[test]
fn after_kill_9_in_the_middle_of_a_connect_a_restart_disconnects() {
    let mut world = World::new();
    let mut connected = false;
    let tsm = world.tsm(move |command| match command {
        Command::DevConnect { .. } => {
            connected = true;
            Play::Silence
        }
        Command::DevDisconnect { .. } => {
            connected = false;
            plain(command)
        }
        Command::DevStatus { .. } => {
            let status = DevStatus {
                connected,
                ..no_device()
            };
            Play::Answer(vec![Answer::Done(Done::DevStatus(status))])
        }
        other => plain(other),
    });
    let device = world.device(|_| Reply::Silence);
    world.ready(&device);
    let socket = world.path("api.sock");
    std::thread::spawn(move || {
        host_daemon::api::call(
            &socket,
            &host_daemon::api::Request::Connect {
                device: "nic0".into(),
            },
        )
    });
    tsm.until(|command| matches!(command, Command::DevConnect { .. }));
    world.kill();
    world.ready(&device);
    tsm.until(|command| matches!(command, Command::DevDisconnect { .. }));
    let status = world.status();
    assert_eq!(status["devices"][0]["state"], "disconnected", "{status}");
    assert!(
        status["recovered"]
            .to_string()
            .contains("connect of nic0 was in flight"),
        "{status}"
    );
}

#[test]
fn a_tsm_that_hangs_up_in_the_middle_of_a_recovery_costs_no_session() {
    let mut world = World::new();
    let (mut connected, mut bound) = (false, false);
    let hang_up = Arc::new(AtomicBool::new(false));
    let hangs_up = Arc::clone(&hang_up);
    let _tsm = world.tsm(move |command| match command {
        Command::DevStatus { .. } if hangs_up.swap(false, Ordering::Relaxed) => Play::HangUp,
        other => binding(&mut connected, &mut bound, other),
    });
    let device = world.device(|_| Reply::Silence);
    world.ready(&device);
    assert!(world.tidelock(&["connect", "nic0"]).status.success());
    world.kill();
    hang_up.store(true, Ordering::Relaxed);
    world.ready(&device);
    assert!(!hang_up.load(Ordering::Relaxed), "the TSM hung up once");
    let status = world.status();
    assert_eq!(status["devices"][0]["state"], "connected", "{status}");
    let told = status["recovered"].to_string();
    assert!(told.contains("nic0 is still connected: adopted"), "{told}");
    assert_eq!(world.end(), Some(0), "{}", world.log());
}

#[test]
fn after_kill_9_a_binding_is_adopted_only_where_the_guest_of_its_lease_sees_it() {
    for (seen_at, wanted) in [(0x0101, "bound"), (0x0102, "unbound")] {
        let mut world = World::new();
        let (mut connected, mut bound, mut starts) = (false, false, 0);
        let _tsm = world.tsm(move |command| {
            starts += usize::from(*command == Command::Status);
            let guest = Rid(if starts > 1 { seen_at } else { 0x0101 });
            match (binding(&mut connected, &mut bound, command), command) {
                (_, Command::TdiBind(_)) => Play::Answer(vec![Answer::Done(Done::Bound { tdi: TdiId(5) })]),
                (Play::Answer(mut answers), _) => {
                    if let [Answer::Done(Done::DevStatus(status))] = answers.as_mut_slice() {
                        status.tdis.iter_mut().for_each(|tdi| tdi.guest = guest);
                    }
                    Play::Answer(answers)
                }
                (play, _) => play,
            }
        });
        let device = world.device(|_| Reply::Silence);
        world.ready(&device);
        assert!(world.tidelock(&["connect", "nic0"]).status.success());
        assert!(world.tidelock(&["bind", "nic0", "1"]).status.success());
        world.kill();
        world.ready(&device);
        let status = world.status();
        assert_eq!(
            status["vms"][0]["tdis"][0]["state"], wanted,
            "{seen_at:#x}: {status}"
        );
    }
}

#[test]
fn a_guest_gets_what_is_leased_to_it_after_a_greeting_and_nothing_of_another() {
    let mut world = World::new();
    let tsm = world.tsm(|command| match command {
        Command::TdiBind(bind) => {
            let tdi = TdiId(bind.function_id.into());
            let report = Answer::Object {
                owner: Owner::Tdi(tdi),
                kind: ObjectKind::REPORT,
                bytes: b"report".to_vec(),
            };
            Play::Answer(vec![report, Answer::Done(Done::Bound { tdi })])
        }
        other => plain(other),
    });
    let device = world.device(|_| Reply::Silence);
    world.ready(&device);
    assert!(world.tidelock(&["connect", "nic0"]).status.success());
    let (mut one, mut two) = (Port::open(&world, "vm1.sock"), Port::open(&world, "vm2.sock"));
    let bind = |flags| Request::Bind {
        guest: Rid(0x0101),
        flags,
    };
    let code = |response| match response {
        Response::Refused { code, .. } => Some(code),
        _ => None,
    };
    assert_eq!(code(one.ask(&bind(0))), Some(Code::BAD_REQUEST), "not greeted");
    for port in [&mut one, &mut two] {
        let hello = port.ask(&Request::Hello { version: VERSION });
        assert!(matches!(hello, Response::Hello { .. }), "{hello:?}");
    }
    let Response::Bound { tdi } = one.ask(&bind(0)) else {
        panic!("its own function is bound")
    };
    let report = Request::Object {
        tdi,
        kind: ObjectKind::REPORT,
        offset: 0,
    };
    assert!(matches!(one.ask(&report), Response::Chunk(_)), "its own report");
    assert_eq!(code(two.ask(&report)), Some(Code::UNKNOWN), "another VM's report");
    let (no_fw_update, lock_msix) = (1, 4);
    assert!(matches!(two.ask(&bind(lock_msix)), Response::Bound { .. }));
    let second = |command: &Command| matches!(command, Command::TdiBind(bind) if bind.vm == VmId(2));
    let Some(Command::TdiBind(asked)) = tsm.until(second).pop() else {
        panic!("it was a bind")
    };
    assert_eq!(
        asked.function_id & 0xffff,
        0x0102,
        "the lease says which function"
    );
    assert_eq!(
        asked.flags,
        no_fw_update | lock_msix,
        "a guest adds to its lease's flags"
    );
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused_though_its_sockets_are_others() {
    let mut world = World::new();
    let _tsm = world.tsm(plain);
    let device = world.device(|_| Reply::Silence);
    world.ready(&device);
    let text_of = std::fs::read_to_string(world.config(&device)).unwrap();
    let other = world.path("other.toml");
    std::fs::write(
        &other,
        text_of.replace("api.sock", "other.sock").replace("/vm", "/other"),
    )
    .unwrap();
    let out = daemon(&other).output().unwrap();
    check(&out, 1, "state is held by another tidelockd");
    assert!(!world.path("other.sock").exists(), "it leaves nothing behind");
    assert_eq!(world.status()["ready"], true, "the first goes on");
}

#[test]
fn wrong_names_and_wrong_states_are_refused_with_the_cure() {
    let mut world = World::new();
    let _tsm = world.tsm(plain);
    let device = world.device(|_| Reply::HangUp);
    world.ready(&device);
    let cases: [(&[&str], &str); 7] = [
        (
            &["connect", "nic9"],
            "device \"nic9\" is not configured; known: nic0",
        ),
        (&["disconnect", "nic0"], "nic0 is not connected"),
        (
            &["bind", "nic0", "1"],
            "nic0 is not connected; run: tidelock connect nic0",
        ),
        (&["bind", "nic0", "3"], "function 3 of nic0 is leased to no VM"),
        (&["unbind", "nic0", "1"], "function 1 of nic0 is not bound"),
        (
            &["identify", "nic0"],
            "identify, at get_version, failed: the device hung up",
        ),
        (&["identify", "nic9"], "is not configured"),
    ];
    for (arguments, wanted) in cases {
        check(&world.tidelock(arguments), 1, wanted);
    }
    let second = daemon(&world.config(&device)).output().unwrap();
    check(&second, 1, "somebody listens there already");
    assert_eq!(world.end(), Some(0));
    assert!(!world.path("api.sock").exists() && !world.path("vm1.sock").exists());
}

#[test]
fn a_check_says_that_a_configuration_is_good_and_a_log_level_that_is_none_is_refused() {
    let world = World::new();
    let config = world.config(&world.device(|_| Reply::Silence));
    let checked = |level: &str| {
        let mut command = daemon(&config);
        command.env("TIDELOCK_LOG", level).arg("--check");
        command.output().unwrap()
    };
    let good = checked("warn");
    check(&good, 0, "good, with 1 device(s) and 2 VM(s)");
    let bad = checked("loud");
    check(&bad, 2, "invalid value 'loud'");
}

#[test]
fn a_wrong_configuration_ends_with_2_and_a_missing_daemon_with_3() {
    let world = World::new();
    let path = world.path("bad.toml");
    std::fs::write(&path, "stat_dir = \"x\"\n").unwrap();
    let out = daemon(&path).output().unwrap();
    check(&out, 2, "bad.toml:1: unknown field `stat_dir`");
    let out = world.tidelock(&["status"]);
    check(&out, 3, "tidelockd cannot be reached");
}
