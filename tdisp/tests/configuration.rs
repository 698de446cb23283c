//! What of a function's configuration cannot be locked (PCIe §11.3.8), and in which words that is said.

use tdisp::tdi::{
    msg::{Lock, LockFlags},
    responder::{Configuration, Misconfigured, Space, SpaceKind},
};

const LOCK: Lock = Lock {
    flags: LockFlags(0),
    default_stream: 0,
    mmio_reporting_offset: 0,
    bind_p2p_address_mask: 0,
};

fn space(kind: SpaceKind, base: u64, size: u64) -> Space {
    Space { kind, base, size }
}

fn with(spaces: &[Space]) -> Configuration {
    Configuration {
        spaces: spaces.to_vec(),
        ..Configuration::default()
    }
}

#[test]
fn spaces_apart_can_be_locked_and_may_touch() {
    let spaces = [
        space(SpaceKind::Bar(0), 0x1000, 0x1000),
        space(SpaceKind::Bar(2), 0x2000, 0x2000),
        space(SpaceKind::Rom, 0x8000, 0x1000),
        space(SpaceKind::VirtualBar(0), u64::MAX - 0xfff, 0x1000),
    ];
    assert_eq!(with(&spaces).check(&LOCK), Ok(()));
    let mut upside_down = spaces;
    upside_down.reverse();
    assert_eq!(with(&upside_down).check(&LOCK), Ok(()));
}

#[test]
fn case_52_spaces_that_overlap_are_refused_whichever_they_are() {
    let bar = space(SpaceKind::Bar(0), 0x4000, 0x4000);
    for kind in [SpaceKind::Bar(2), SpaceKind::Rom, SpaceKind::VirtualBar(0)] {
        for (base, size) in [
            (0x4000, 0x4000),
            (0x7fff, 1),
            (0x5000, 0x1000),
            (0, u64::MAX),
            (0x3000, 0x1001),
        ] {
            let refused = with(&[bar, space(kind, base, size)]).check(&LOCK).unwrap_err();
            let text = format!("address spaces BAR 0 and {kind} overlap; place them apart before the lock");
            assert_eq!(refused.to_string(), text);
            let refused = with(&[space(kind, base, size), bar]).check(&LOCK).unwrap_err();
            let text = format!("address spaces {kind} and BAR 0 overlap; place them apart before the lock");
            assert_eq!(refused.to_string(), text);
        }
    }
}

#[test]
fn case_55_a_space_that_leaves_the_address_space_or_does_with_the_offset_is_refused() {
    let kind = SpaceKind::Bar(4);
    for (base, size) in [(u64::MAX - 0xfff, 0x1001), (0x1000, 0), (2, u64::MAX)] {
        let refused = with(&[space(kind, base, size)]).check(&LOCK);
        assert_eq!(refused, Err(Misconfigured::Outside(kind)), "{base:#x}");
    }
    let placed = with(&[space(kind, 0x10_0000, 0x1000)]);
    let check = |offset: i64| {
        placed.check(&Lock {
            mmio_reporting_offset: offset.cast_unsigned(),
            ..LOCK
        })
    };
    assert_eq!(check(-0x10_0000), Ok(()));
    assert_eq!(check(-0x10_1000), Err(Misconfigured::Outside(kind)), "below 0");
    assert_eq!(check(i64::MAX - 0xfff), Ok(()));
    let high = with(&[space(kind, u64::MAX - 0xfff, 0x1000)]);
    let over = Lock {
        mmio_reporting_offset: 0x1000,
        ..LOCK
    };
    assert_eq!(
        high.check(&over),
        Err(Misconfigured::Outside(kind)),
        "over the top"
    );
}

#[test]
fn phantom_functions_are_refused() {
    let configuration = Configuration {
        phantom_functions: true,
        ..Configuration::default()
    };
    assert_eq!(configuration.check(&LOCK), Err(Misconfigured::PhantomFunctions));
}

#[test]
fn case_48_another_cache_line_than_the_locks_is_refused() {
    let of = |cache_line| Configuration {
        cache_line,
        ..Configuration::default()
    };
    let wide = Lock {
        flags: LockFlags::SYS_CACHE_LINE_SIZE,
        ..LOCK
    };
    assert_eq!(of(None).check(&LOCK), Ok(()));
    assert_eq!(of(Some(64)).check(&LOCK), Ok(()));
    assert_eq!(of(Some(128)).check(&wide), Ok(()));
    let refused = of(Some(64)).check(&wide).unwrap_err().to_string();
    assert_eq!(
        refused,
        "the device is configured for cache lines of 64 bytes, and the lock says 128"
    );
    assert!(of(Some(128)).check(&LOCK).is_err());
}
