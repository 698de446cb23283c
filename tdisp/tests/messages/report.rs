//! The device interface report: golden bytes, and what must be refused.

use tdisp::tdi::report::{Attributes, Bar, Info, RANGES_MAX, Range, Report, Uncovered};

fn range(id: u16, first_page: u64, pages: u32) -> Range {
    Range {
        first_page,
        pages,
        attributes: Attributes(0),
        id,
    }
}

fn with_ranges(ranges: Vec<Range>) -> Report {
    Report {
        info: Info::NO_FW_UPDATE | Info::DMA,
        ranges,
        ..Report::default()
    }
}

fn bytes(report: &Report) -> Vec<u8> {
    let mut out = Vec::new();
    report.encode(&mut out);
    out
}

/// Why a report with these ranges is refused; empty if it is not.
fn refusal(ranges: Vec<Range>) -> String {
    let report = with_ranges(ranges);
    let read = Report::decode(&bytes(&report));
    assert_eq!(
        read.as_ref().err(),
        report.check().err().as_ref(),
        "the check says what the reader does"
    );
    read.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_report_is_these_bytes() {
    let mut report = with_ranges(vec![Range {
        attributes: Attributes::MSIX_TABLE | Attributes::MSIX_PBA,
        ..range(4, 0x0001_0203_0405, 0x10)
    }]);
    report.msix_control = 0x8003;
    report.lnr_control = 0x0102;
    report.tph_control = 0x0304_0506;
    report.specific = b"xyz".to_vec();
    let wire = [
        &[
            3, 0, 0, 0, 0x03, 0x80, 0x02, 0x01, 0x06, 0x05, 0x04, 0x03, 1, 0, 0, 0,
        ][..],
        &[5, 4, 3, 2, 1, 0, 0, 0, 0x10, 0, 0, 0, 3, 0, 4, 0],
        &[3, 0, 0, 0, b'x', b'y', b'z'],
    ]
    .concat();
    assert_eq!(bytes(&report), wire);
    assert_eq!(Report::decode(&wire), Ok(report));
    for cut in 0..wire.len() {
        assert!(Report::decode(&wire[..cut]).is_err(), "{cut} bytes");
    }
    assert!(
        Report::decode(&[&wire[..], &[0]].concat()).is_err(),
        "a byte more"
    );
}

#[test]
fn ranges_may_touch_and_a_bar_may_have_several() {
    let ranges = vec![
        range(0, 4, 2),
        range(0, 6, 1),
        range(2, 0, 4),
        range(4, (1 << 52) - 1, 1),
    ];
    assert_eq!(refusal(ranges), "");
}

#[test]
fn an_empty_range_is_refused() {
    assert!(refusal(vec![range(0, 4, 0)]).contains("at least 1"));
}

#[test]
fn a_range_that_leaves_the_address_space_is_refused() {
    for first_page in [1 << 52, (1 << 52) - 1, u64::MAX, u64::MAX - 1] {
        let wrong = refusal(vec![range(0, first_page, 2)]);
        assert!(wrong.contains("64-bit address space"), "{first_page:#x}: {wrong}");
    }
}

#[test]
fn ranges_out_of_order_are_refused() {
    assert!(refusal(vec![range(2, 0, 1), range(0, 8, 1)]).contains("IDs in ascending order"));
    assert!(refusal(vec![range(1, 8, 1), range(1, 0, 1)]).contains("within a BAR"));
}

#[test]
fn ranges_that_share_a_page_are_refused_within_a_bar_and_across() {
    assert!(refusal(vec![range(0, 0, 2), range(0, 1, 2)]).contains("no other range has"));
    assert!(refusal(vec![range(0, 8, 2), range(2, 0, 9)]).contains("no other range has"));
    assert!(refusal(vec![range(0, 8, 1), range(0, 8, 1)]).contains("no other range has"));
    // Not neighbours in the list, and the middle one is inside the first.
    assert!(refusal(vec![range(0, 0, 9), range(1, 16, 1), range(2, 4, 1)]).contains("no other range has"));
}

#[test]
fn more_ranges_than_the_most_are_refused_before_they_are_read() {
    let ranges = |count: u32| (0..count).map(|i| range(0, u64::from(i), 1)).collect::<Vec<_>>();
    assert_eq!(refusal(ranges(RANGES_MAX)), "");
    assert!(refusal(ranges(RANGES_MAX + 1)).contains("at most 256"));
    let mut wire = bytes(&with_ranges(Vec::new()));
    wire[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Report::decode(&wire).is_err());
}

#[test]
fn device_specific_information_longer_than_the_report_is_refused() {
    for length in [1, 0xffff, 0x1_0000, u32::MAX] {
        let mut wire = bytes(&with_ranges(Vec::new()));
        wire[16..20].copy_from_slice(&length.to_le_bytes());
        assert!(Report::decode(&wire).is_err(), "{length}");
    }
}

#[test]
fn a_report_longer_than_its_offsets_reach_is_refused() {
    let with_specific = |size| {
        let mut report = with_ranges(Vec::new());
        report.specific = vec![0; size];
        Report::decode(&bytes(&report)).is_ok()
    };
    assert!(with_specific(0xffff - 20));
    assert!(!with_specific(0xffff - 19));
}

#[test]
fn the_firmware_update_bit_means_that_no_update_is_permitted() {
    assert_eq!(Info(1).to_string(), "no firmware update");
    assert_eq!(
        Info(2).to_string(),
        "firmware update permitted, DMA without PASID"
    );
}

#[test]
fn a_report_is_shown_to_people_as_a_table() {
    let mut report = with_ranges(vec![
        range(0, 0xd_0000, 4),
        Range {
            attributes: Attributes::NON_TEE | Attributes::UPDATABLE,
            ..range(2, 0xd_0010, 1)
        },
        Range {
            attributes: Attributes::MSIX_TABLE | Attributes::MSIX_PBA,
            ..range(4, 0x8_0000_0000, 0x4_0000)
        },
    ]);
    report.specific = vec![0; 3];
    report.msix_control = 0x8003;
    report.tph_control = 0x1_0001;
    let shown = "\
firmware update   not permitted while locked
DMA               without PASID
MSI-X control     0x8003
TPH control       0x10001
device-specific   3 bytes

BAR          first byte          last byte         size  attributes
  0          0xd0000000         0xd0003fff       16 KiB  protected
  2          0xd0010000         0xd0010fff        4 KiB  not protected, updatable
  4      0x800000000000     0x80003fffffff        1 GiB  protected, MSI-X table, MSI-X pending bits";
    assert_eq!(report.to_string(), shown);
}

#[test]
fn a_report_without_ranges_says_so() {
    let mut report = with_ranges(Vec::new());
    report.info = Info::ATS | Info::PRS;
    let shown = "firmware update   permitted while locked\nDMA               translated (ATS), page requests (PRS)\n\
                 device-specific   0 bytes\nno MMIO ranges";
    assert_eq!(report.to_string(), shown);
}

const OFFSET: u64 = 0x10_0000;

fn bar(index: u8, base: u64, size: u64) -> Bar {
    Bar { index, base, size }
}

#[test]
fn ranges_that_are_the_bars_cover_them() {
    let report = with_ranges(vec![
        range(0, 0x180, 2),
        range(0, 0x182, 2),
        range(2, 0x200, 1),
        range(8, 0x300, 1),
        range(9, 0x400, 1),
    ]);
    let bars = [bar(0, 0x8_0000, 0x4000), bar(2, 0x10_0000, 0x1000)];
    assert_eq!(report.covers(&bars, OFFSET), Ok(()));
    assert_eq!(
        with_ranges(vec![range(0, 0, 1)]).covers(&[bar(0, 0xffff_ffff_ffff_f000, 0x1000)], 0x1000),
        Ok(()),
        "an offset wraps"
    );
}

#[test]
fn case_58_a_bar_that_is_not_wholly_in_the_report_is_refused() {
    let report = with_ranges(vec![range(0, 0x180, 3)]);
    let bars = [bar(0, 0x8_0000, 0x4000)];
    let text = report.covers(&bars, OFFSET).unwrap_err().to_string();
    assert_eq!(text, "BAR 0: its ranges have 0x3000 bytes, wanted 0x4000");
    let longer = with_ranges(vec![range(0, 0x180, 5)]);
    assert!(matches!(
        longer.covers(&bars, OFFSET),
        Err(Uncovered::Size { .. })
    ));
    let missing = with_ranges(Vec::new());
    assert_eq!(missing.covers(&bars, OFFSET), Err(Uncovered::Missing(0)));
}

#[test]
fn case_51_a_range_of_a_bar_that_is_not_there_is_refused() {
    let report = with_ranges(vec![range(0, 0x180, 4), range(3, 0x200, 1)]);
    assert_eq!(
        report.covers(&[bar(0, 0x8_0000, 0x4000)], OFFSET),
        Err(Uncovered::NoBar(3))
    );
}

#[test]
fn case_57_a_range_that_is_not_where_its_bar_is_is_refused() {
    let bars = [bar(0, 0x8_0000, 0x4000)];
    let shifted = with_ranges(vec![range(0, 0x181, 4)]);
    let text = shifted.covers(&bars, OFFSET).unwrap_err().to_string();
    assert_eq!(
        text,
        "BAR 0: a range begins at 0x81000, wanted 0x80000, so that nothing is left out"
    );
    let gap = with_ranges(vec![range(0, 0x180, 1), range(0, 0x182, 2)]);
    assert!(matches!(gap.covers(&bars, OFFSET), Err(Uncovered::Gap { .. })));
}

#[test]
fn case_56_a_bar_off_the_grid_or_smaller_than_a_page_is_no_range() {
    let report = with_ranges(vec![range(0, 0x180, 4)]);
    for wrong in [
        bar(0, 0x8_0800, 0x4000),
        bar(0, 0x8_0000, 0x800),
        bar(0, 0x8_0000, 0x3000),
        bar(0, 0x9_0000, 0x3000),
    ] {
        assert!(matches!(
            report.covers(&[wrong], OFFSET),
            Err(Uncovered::Misplaced { .. })
        ));
    }
}
