//! The device interface report: golden bytes, and what must be refused.

use tdisp::tdi::report::{Attributes, Info, RANGES_MAX, Range, Report};

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
fn a_report_is_shown_to_people() {
    let mut report = with_ranges(vec![
        range(0, 0xd_0000, 4),
        Range {
            attributes: Attributes::NON_TEE | Attributes::UPDATABLE,
            ..range(2, 0xd_0010, 1)
        },
    ]);
    report.specific = vec![0; 3];
    let shown = "interface: no firmware update, DMA without PASID\n\
                 range 0: 0xd0000000, 16 KiB, protected\n\
                 range 2: 0xd0010000, 4 KiB, not protected, updatable\n\
                 device-specific information: 3 bytes";
    assert_eq!(report.to_string(), shown);
}
