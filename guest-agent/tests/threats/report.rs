//! Cases 43 to 61: the interface report against the lock, the configuration and what the guest sees.

use crate::world::device::Device;
use crate::world::{NET0, World};
use guest_agent::platform::Translation;
use tdisp::relay::guest::{Request, Response, Status, TdiState};
use tdisp::tdi::report::{Attributes, Info, Range};

fn range(change: impl Fn(&mut Range) + 'static) -> World {
    World::with_device(move |device| change(&mut device.report.ranges[0]))
}

fn info(change: impl Fn(Info) -> Info + 'static) -> World {
    World::with_device(move |device| device.report.info = change(device.report.info))
}

#[test]
fn case_44_another_interface_than_the_policy_names_is_refused() {
    let named = |id: &str| {
        World::with_policy(
            "[device.xdp]",
            &format!("[device.identity]\nfunction_id = {id}\n[device.xdp]"),
        )
    };
    named("0x0100_0101").accepted();
    named("0x0100_0102").refused(&["verify", "interface 0x01000101, wanted 0x01000102"]);
}

#[test]
fn case_45_an_interface_that_is_not_locked_is_refused() {
    let mut world = World::lying(|lies| {
        lies.tsm = Some(Box::new(|n, tdi| {
            if n == 3 {
                tdi.state = TdiState::UNLOCKED;
            }
        }));
    });
    world.refused(&["verify", "in state UNLOCKED; wanted LOCKED"]);
}

#[test]
fn case_46_a_device_that_may_change_its_firmware_while_locked_is_refused() {
    info(|_| Info::DMA).refused(&[
        "appraise",
        "reports that its firmware can be updated while locked",
    ]);
    let mut world = World::lying(|lies| lies.tsm = Some(Box::new(|_, tdi| tdi.flags = 0)));
    world.refused(&["appraise", "locked without no-fw-update"]);
}

#[test]
fn case_47_an_unlocked_msix_table_is_refused_where_the_policy_wants_it_locked() {
    let policy = "[device.lock]\nrequire = [\"no-fw-update\", \"lock-msix\"]\n[device.xdp]";
    World::with_policy("[device.xdp]", policy).accepted();
    let mut world = World::with_policy("[device.xdp]", policy);
    world
        .host
        .lie(|lies| lies.tsm = Some(Box::new(|_, tdi| tdi.flags = 1)));
    world.refused(&["appraise", "locked without lock-msix"]);
}

#[test]
fn case_48_translation_that_differs_from_the_configuration_is_refused() {
    let mut world = info(|info| info | Info::ATS);
    world.refused(&[
        "appraise",
        "reports address translation (ATS) on, its configuration says off",
        "it off",
    ]);
    let mut world = World::honest();
    world.kernel.function(NET0).translation = Translation {
        pasid: true,
        ..Translation::default()
    };
    world.refused(&[
        "appraise",
        "reports DMA with PASID off, its configuration says on",
    ]);
    let mut world = info(|info| info | Info::ATS);
    world.kernel.function(NET0).translation.ats = true;
    world.refused(&["appraise", "the device uses address translation (ATS)"]);
    let mut world = info(|info| info | Info::ATS);
    world.kernel.function(NET0).translation.ats = true;
    world.replace("[device.xdp]", "[device.mmio]\ntranslation = true\n[device.xdp]");
    world.accepted();
}

#[test]
fn case_49_peer_to_peer_that_nobody_asked_for_is_refused() {
    let flags = |flags| World::lying(move |lies| lies.tsm = Some(Box::new(move |_, tdi| tdi.flags = flags)));
    flags(0b1001).refused(&["appraise", "locked with bind-p2p", "a lock without it"]);
    flags(0b10_0001).refused(&["appraise", "locked with unknown flag 5"]);
}

#[test]
fn case_50_redirection_is_the_policys_choice() {
    World::honest().accepted();
    let policy = "[device.lock]\nrequire = [\"all-request-redirect\"]\n[device.xdp]";
    let mut world = World::with_policy("[device.xdp]", policy);
    world
        .host
        .lie(|lies| lies.tsm = Some(Box::new(|_, tdi| tdi.flags = 0)));
    world.refused(&["appraise", "locked without all-request-redirect"]);
}

#[test]
fn case_51_a_range_for_a_bar_that_is_not_there_is_refused() {
    range(|range| range.id = 1).refused(&[
        "appraise",
        "a range for BAR 1, which the guest does not see",
        "BAR 0, BAR 4",
    ]);
}

#[test]
fn case_52_overlapping_ranges_are_refused() {
    World::with_device(|device| device.report.ranges[1].first_page = 0x103).refused(&[
        "verify",
        "the interface report is malformed",
        "a page that no other range has",
    ]);
}

#[test]
fn case_53_two_ranges_with_one_id_are_refused() {
    let mut world = World::with_device(|device: &mut Device| {
        device.report.ranges[0].pages = 2;
        let second = Range {
            first_page: 0x102,
            ..device.report.ranges[0]
        };
        device.report.ranges.insert(1, second);
    });
    world.refused(&["appraise", "2 ranges with id 0", "each id once"]);
}

#[test]
fn case_54_unprotected_memory_is_refused_unless_the_policy_lists_its_bar() {
    range(|range| range.attributes = Attributes::NON_TEE)
        .refused(&["appraise", "BAR 0 is not protected (non-TEE)"]);
    range(|range| range.attributes = Attributes::UPDATABLE)
        .refused(&["appraise", "BAR 0 can be made unprotected"]);
    let mut world = World::with_device(|device| device.report.ranges[1].attributes = Attributes::NON_TEE);
    world.replace("[device.xdp]", "[device.mmio]\nnon_tee_bars = [4]\n[device.xdp]");
    world.accepted();
}

#[test]
fn case_55_ranges_of_no_page_or_of_far_too_many_are_refused() {
    range(|range| range.pages = 0).refused(&["verify", "pages of an MMIO range is 0x0, wanted at least 1"]);
    range(|range| range.first_page = u64::MAX)
        .refused(&["verify", "does not leave the 64-bit address space"]);
    World::with_device(|device| device.report.ranges[1].pages = u32::MAX)
        .refused(&["appraise", "0xffffffff000 bytes of BAR 4, the guest sees 0x1000"]);
}

#[test]
fn case_56_a_bar_off_its_page_is_refused() {
    let mut world = World::honest();
    world.kernel.function(NET0).bars[1].base += 0x800;
    world.refused(&["appraise", "BAR 4 is at 0x80010800", "the start of a page"]);
}

#[test]
fn case_57_ranges_out_of_order_are_refused() {
    World::with_device(|device| device.report.ranges.reverse()).refused(&[
        "verify",
        "the interface report is malformed",
        "IDs in ascending order",
    ]);
}

#[test]
fn case_58_a_bar_that_the_report_does_not_cover_is_refused() {
    range(|range| range.pages = 3).refused(&[
        "appraise",
        "covers 0x3000 bytes of BAR 0, the guest sees 0x4000",
        "all of the BAR",
    ]);
    let without = || World::with_device(|device| device.report.ranges.truncate(1));
    without().refused(&["appraise", "BAR 4 is not in the report"]);
    let mut allowed = without();
    allowed.replace(
        "[device.xdp]",
        "[device.mmio]\nunreported_bars = [4]\n[device.xdp]",
    );
    allowed.accepted();
}

#[test]
fn case_59_a_bar_in_the_guests_memory_is_refused() {
    let mut world = World::honest();
    world.kernel.function(NET0).bars[0].base = 0x2000_0000;
    world.refused(&[
        "appraise",
        "BAR 0 at 0x20000000 lies in the guest's memory 0x100000-0x40000000",
    ]);
}

#[test]
fn more_ranges_than_the_policy_allows_are_refused() {
    World::with_policy("[device.xdp]", "[device.mmio]\nmax_ranges = 1\n[device.xdp]").refused(&[
        "appraise",
        "lists 2 memory ranges",
        "at most 1",
    ]);
}

#[test]
fn case_60_memory_that_the_tsm_does_not_find_in_its_place_is_refused_and_unlocked() {
    let mut world = World::lying(|lies| {
        lies.instead = Some(Box::new(|request| match request {
            Request::ValidateMmio(range) if range.range_id == 4 => Some(Response::Refused {
                status: Status::NOT_UNIFORM,
                reason: "page 0 is not the range's".into(),
            }),
            _ => None,
        }));
    });
    world.refused(&[
        "validate-mmio",
        "the TSM refuses (NOT_UNIFORM): page 0 is not the range's",
    ]);
    assert_eq!((world.host.asked("start"), world.host.asked("stop")), (0, 1));
}

#[test]
fn case_61_memory_that_was_validated_before_is_refused() {
    let mut world = World::lying(|lies| {
        lies.instead = Some(Box::new(|request| {
            matches!(request, Request::ValidateMmio(_)).then_some(Response::MmioValidated { changed: false })
        }));
    });
    world.refused(&["validate-mmio", "BAR 0 at 0x80000000 was validated before"]);
}
