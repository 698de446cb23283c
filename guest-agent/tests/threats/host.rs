//! A host that withholds, delays, repeats, cuts or garbles its answers: at every request of the flow.

use crate::world::host::Shared;
use crate::world::{NET0, RID0, World, assert_refused};
use guest_agent::channel;
use guest_agent::platform::Path;
use guest_agent::status::Verdict;
use std::cell::Cell;
use std::rc::Rc;
use tdisp::relay::guest::TdiState;

type Mischief = fn(&mut Vec<u8>);

/// What can be done to the bytes of one answer, and in which words it is refused.
const MISCHIEFS: [(&str, Mischief, &str); 8] = [
    ("withheld", |bytes| bytes.clear(), "nothing came in time"),
    (
        "cut",
        |bytes| bytes.truncate(bytes.len() - 1),
        "nothing came in time",
    ),
    (
        "twice",
        |bytes| bytes.extend(bytes.clone()),
        "an answer came late, twice or unasked",
    ),
    (
        "wrong id",
        |bytes| bytes[5] ^= 0x55,
        "an answer came late, twice or unasked",
    ),
    (
        "endless length",
        |bytes| bytes[..4].fill(0xff),
        "announces a frame of 4294967295 bytes",
    ),
    (
        "no length",
        |bytes| bytes[..4].fill(0),
        "announces a frame of 0 bytes",
    ),
    ("unknown kind", |bytes| bytes[4] = 0x99, "a frame is malformed"),
    (
        "flood",
        |bytes| *bytes = vec![0x11; 200_000],
        "announces a frame of 286331153 bytes",
    ),
];

/// Does `mischief` to the answer to the `at`-th request, and to all after it if `lasting`. Answers how many were asked.
fn spoil(host: &Shared, at: u32, lasting: bool, mischief: Mischief) -> Rc<Cell<u32>> {
    let asked = Rc::new(Cell::new(0));
    let count = Rc::clone(&asked);
    host.lie(|lies| {
        lies.bytes = Some(Box::new(move |_, bytes| {
            count.set(count.get() + 1);
            if count.get() == at || lasting && count.get() > at {
                mischief(bytes);
            }
        }));
    });
    asked
}

#[test]
fn one_spoilt_answer_at_any_request_refuses_with_its_step_and_leaves_nothing_enabled() {
    let mut honest = World::honest();
    let asked = spoil(&honest.host, u32::MAX, false, |_| {});
    honest.accepted();
    // The first two are the greeting and the opening of the channel.
    for at in 3..=asked.get() {
        for (name, mischief, words) in MISCHIEFS {
            let mut world = World::honest();
            spoil(&world.host, at, false, mischief);
            let reason = world.refused(&[words]).reason;
            assert!(reason.contains(": "), "{name} at {at}: {reason}");
        }
    }
}

#[test]
fn a_host_that_spoils_everything_from_some_request_on_never_leaves_a_driver_with_direct_access() {
    let mut honest = World::honest();
    let asked = spoil(&honest.host, u32::MAX, false, |_| {});
    honest.accepted();
    for at in 3..=asked.get() {
        for (name, mischief, _) in MISCHIEFS {
            let mut world = World::honest();
            spoil(&world.host, at, true, mischief);
            let device = world.report().devices.remove(0);
            assert_eq!(device.verdict, Verdict::Refused, "{name} at {at}");
            let enabled = world
                .host
                .tdi(RID0)
                .is_some_and(|tdi| tdi.dma || tdi.state == TdiState::RUN);
            let function = world.kernel.function(NET0);
            assert!(
                function.driver.is_none() || function.path == Path::Bounce && !enabled,
                "{name} at {at}: {function:?}"
            );
            assert_eq!(*world.kernel.attached.borrow(), 0);
        }
    }
}

#[test]
fn a_host_that_spoils_the_greeting_cannot_be_reached_and_every_device_is_refused() {
    for at in 1..=2 {
        for (name, mischief, _) in MISCHIEFS {
            let mut world = World::honest();
            spoil(&world.host, at, true, mischief);
            let device = world.report().devices.remove(0);
            assert_eq!(device.verdict, Verdict::Refused, "{name} at {at}");
            assert_eq!(world.kernel.function(NET0).driver, None, "{name} at {at}");
        }
    }
}

#[test]
fn a_host_that_hangs_up_is_named_with_what_was_asked() {
    let world = World::honest();
    world.host.hang_up();
    let error = crate::world::link(&world.host).unwrap_err();
    assert!(matches!(error, channel::Error::Stream { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "greeting the host: the host has hung up, waited 200ms"
    );
}

#[test]
fn a_host_that_refuses_is_quoted() {
    let mut world = World::lying(|lies| {
        lies.answer = Some(Box::new(|request, response| {
            if matches!(request, tdisp::relay::courier::Request::Bind { .. }) {
                *response = tdisp::relay::courier::Response::Refused {
                    code: tdisp::relay::courier::Code::DEVICE,
                    reason: "the device answers LOCK with InvalidDeviceConfiguration".into(),
                };
            }
        }));
    });
    world.refused(&[
        "lock",
        "the host refuses (DEVICE): the device answers LOCK with InvalidDeviceConfiguration",
    ]);
}

#[test]
fn one_lost_answer_does_not_void_a_verdict_but_silence_does() {
    let mut world = World::honest();
    let host = world.host.clone();
    world.decide(|agent| {
        spoil(&host, 1, false, |bytes| bytes.clear());
        assert!(!agent.watch(), "{}", agent.report().devices[0].reason);
        host.hang_up();
        assert!(agent.watch());
        assert_refused(&agent.report().devices[0], &["monitor", "the host has hung up"]);
    });
    assert!(world.kernel.function(NET0).path == Path::Bounce || world.kernel.function(NET0).driver.is_none());
}

#[test]
fn a_tsm_that_speaks_with_another_key_cannot_be_reached() {
    let world = World::honest();
    let key = tdisp::crypto::Secret::new(vec![8; 32]);
    let provider = std::sync::Arc::new(tdisp::crypto::Ring);
    let timeout = std::time::Duration::from_millis(50);
    let error = channel::Link::open(Box::new(world.host.clone()), key, provider, timeout).unwrap_err();
    assert!(
        error.to_string().contains("opening the channel to the TSM"),
        "{error}"
    );
}
