//! What must be refused in the messages of provisioning, information and events, one test for each mistake that others have
//! made.

use tdisp::spdm::msg::{
    endpoint_info::{DeviceClass, DeviceClasses},
    error::ErrorCode,
    event_types::{EventType, Group, Groups},
    measurements::{Dmtf, Kind},
    mel::{Entry, Log},
    send_event::{self, Event},
    set_certificate::Model,
    *,
};

const V1_2: Context = Context::new(Version::V1_2);
const V1_3: Context = Context::new(Version::V1_3);
const V1_4: Context = Context::new(Version::V1_4);

fn refused(message: &[u8], context: &Context) -> bool {
    Message::decode(message, context).is_err()
}

#[test]
fn a_certificate_request_whose_lengths_exceed_it_is_refused() {
    let message = |info: u16, opaque: u16| {
        let mut message = vec![0x12, 0xed, 0, 0];
        message.extend(info.to_le_bytes());
        message.extend(opaque.to_le_bytes());
        message.extend([7; 8]);
        message
    };
    assert!(
        !refused(&message(8, 0), &V1_2) && !refused(&message(0, 8), &V1_2) && !refused(&message(3, 5), &V1_2)
    );
    for (info, opaque) in [
        (9, 0),
        (0, 9),
        (8, 1),
        (1, 8),
        (0xffff, 0),
        (0xffff, 1),
        (0, 1025),
        (0, 0xffff),
        (0xffff, 0xffff),
    ] {
        assert!(refused(&message(info, opaque), &V1_2), "{info} and {opaque}");
    }
}

#[test]
fn a_certificate_request_of_1_2_has_no_attributes() {
    let message = [0x12, 0xed, 9, 0xff, 0, 0, 0, 0];
    let request = csr::Request::decode_exact(&message, &V1_2).unwrap();
    assert_eq!(
        (request.key_pair, request.model, request.tag, request.overwrite),
        (0, 0, 0, false)
    );
    assert_eq!(request.to_vec(), [0x12, 0xed, 0, 0, 0, 0, 0, 0]);
    let message = [&[0x13][..], &message[1..]].concat();
    let request = csr::Request::decode_exact(&message, &V1_3).unwrap();
    assert_eq!(
        (request.key_pair, request.model, request.tag, request.overwrite),
        (9, 7, 7, true)
    );
}

#[test]
fn an_empty_csr_is_refused() {
    assert!(refused(&[0x12, 0x6d, 0, 0, 0, 0, 0, 0], &V1_2));
    assert!(!refused(&[0x12, 0x6d, 0, 0, 1, 0, 0, 0, 9], &V1_2));
    assert!(refused(&[0x12, 0x6d, 0, 0, 2, 0, 0, 0, 9], &V1_2));
}

#[test]
fn certificates_are_set_in_slots_0_to_7_only() {
    for slot in 0..=255u8 {
        let message = [0x12, 0xee, slot, 0, 4, 0, 0, 0];
        assert_eq!(refused(&message, &V1_2), slot & 0x0f > 7, "{slot}");
        assert_eq!(refused(&[0x12, 0x6e, slot, 0], &V1_2), slot & 0x0f > 7, "{slot}");
    }
}

#[test]
fn a_chain_to_be_set_is_as_long_as_it_says() {
    for (length, good) in [
        (0u16, false),
        (3, false),
        (4, true),
        (8, true),
        (9, false),
        (0xffff, false),
    ] {
        let mut message = vec![0x12, 0xee, 0, 0];
        message.extend(length.to_le_bytes());
        message.extend([0; 6]);
        assert_eq!(!refused(&message, &V1_2), good, "{length}");
    }
    // From 1.4 on the length has 32 bits.
    let long = [0x14, 0xee, 0, 0, 8, 0, 1, 0, 1, 2, 3, 4];
    assert!(refused(&long, &V1_4) && !refused(&[&[0x13][..], &long[1..]].concat(), &V1_3));
}

#[test]
fn a_slot_is_erased_without_a_chain_and_from_1_3_on() {
    let erase = [0x13, 0xee, 0x95, 3];
    let request = set_certificate::Request::decode_exact(&erase, &V1_3).unwrap();
    assert_eq!(
        (request.slot, request.model, request.key_pair, request.chain),
        (5, Model::DEVICE, 3, None)
    );
    assert!(set_certificate::Request::decode_exact(&[&erase[..], &[4, 0, 0, 0]].concat(), &V1_3).is_err());
    assert!(refused(&[0x12, 0xee, 0x85, 0], &V1_2), "1.2 knows no erasing");
}

#[test]
fn a_key_pairs_public_key_info_and_masks_are_as_long_as_they_say() {
    let mut message = vec![0x14, 0x7c, 0, 0, 1, 1];
    message.extend([0; 6 + 8]);
    message.extend([2, 0, 0, 0xaa, 0xbb, 1, 5, 0]);
    let response = key_pair_info::Response::decode_exact(&message, &V1_4).unwrap();
    assert_eq!(
        (
            response.public_key_info,
            response.pqc_algorithms,
            response.pqc_algorithm
        ),
        (&[0xaa, 0xbb][..], &[5][..], &[][..])
    );
    assert_eq!(key_pair_info::mask(&[1, 2, 0, 0, 0, 0]), Ok(0x201));
    assert!(key_pair_info::mask(&[0, 0, 0, 0, 1]).is_err());
    for (at, value) in [(20, 6), (20, 0xff), (21, 1), (25, 3), (25, 0xff), (27, 1)] {
        let mut bad = message.clone();
        bad[at] = value;
        assert!(
            key_pair_info::Response::decode_exact(&bad, &V1_4).is_err(),
            "{value} at {at}"
        );
    }
    // Before 1.4 there are no masks behind the info.
    message[0] = 0x13;
    let (response, size) = key_pair_info::Response::decode(&message, &V1_3).unwrap();
    assert_eq!((size, response.pqc_algorithms.len()), (message.len() - 3, 0));
}

#[test]
fn only_erasing_a_key_pair_says_nothing_of_what_it_shall_be() {
    for (operation, sizes) in [(0, 13..=13), (1, 5..=5), (2, 13..=13), (3, 13..=13)] {
        for size in 4..20 {
            let mut message = vec![0x13, 0xfd, operation, 0, 1];
            message.resize(size, 0);
            let whole = set_key_pair_info::Request::decode_exact(&message, &V1_3).is_ok();
            assert_eq!(
                whole,
                sizes.contains(&size),
                "operation {operation}, {size} bytes"
            );
        }
    }
}

#[test]
fn log_lengths_near_2_to_the_32_are_held_to_what_came() {
    for portion in [5u32, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_fff4, u32::MAX] {
        let mut message = vec![0x13, 0x6f, 0, 0];
        message.extend(portion.to_le_bytes());
        message.extend(u32::MAX.to_le_bytes());
        message.extend([1, 2, 3, 4]);
        assert!(refused(&message, &V1_3), "{portion:#x}");
    }
}

fn log() -> Vec<u8> {
    let entry = |number| Entry {
        number,
        measurement: 3,
        value: Dmtf {
            kind: Kind::INFORMATIONAL,
            raw: true,
            value: b"ROM",
        },
    };
    let mut log = Vec::new();
    Log {
        entries: vec![entry(1), entry(2)],
    }
    .encode(&mut log);
    log
}

#[test]
fn a_log_that_has_not_the_entries_or_the_bytes_that_it_says_is_refused() {
    let good = log();
    assert_eq!(Log::decode(&good).map(|log| log.entries.len()), Ok(2));
    for size in 0..good.len() {
        assert!(Log::decode(&good[..size]).is_err(), "{size} bytes");
    }
    for count in [0, 1, 3, 0xff] {
        let mut bad = good.clone();
        bad[0] = count;
        assert!(Log::decode(&bad).is_err(), "{count} entries");
        bad[..4].fill(0xff);
        assert!(Log::decode(&bad).is_err(), "2^32 entries");
    }
    for size in [0, good[4] - 1, good[4] + 1] {
        let mut bad = good.clone();
        bad[4] = size;
        assert!(Log::decode(&bad).is_err(), "entries of {size} bytes");
    }
}

#[test]
fn endpoint_info_without_a_signature_has_no_nonce_and_with_one_its_slot_is_one() {
    let plain = [0x13, 0x07, 0, 0x09, 0, 0, 0, 0, 2, 0, 0, 0, 8, 9];
    let (response, size) = endpoint_info::Response::decode(&plain, &V1_3).unwrap();
    assert_eq!((size, response.info, response.nonce), (14, &[8, 9][..], None));
    let asked = Context {
        signature_asked: true,
        signature_size: 4,
        ..V1_3
    };
    let mut signed = vec![0x13, 0x07, 0, 0x0f, 0, 0, 0, 0];
    signed.extend([7; 32]);
    signed.extend([1, 0, 0, 0, 8, 1, 2, 3, 4]);
    let response = endpoint_info::Response::decode_exact(&signed, &asked).unwrap();
    assert_eq!(response.signature, Some(&[1, 2, 3, 4][..]));
    for slot in 8..0x0f {
        signed[3] = slot;
        assert!(refused(&signed, &asked), "slot {slot}");
    }
    signed[3] = 0;
    for length in [2u32, 5, 0xffff, 0x1_0000, 0xffff_fff0, u32::MAX] {
        signed[40..44].copy_from_slice(&length.to_le_bytes());
        assert!(refused(&signed, &asked), "{length:#x} bytes of info");
    }
}

#[test]
fn a_device_class_whose_parts_do_not_fill_it_is_refused() {
    let good = [1, 0, 0, 0, 9, 3, 2, 1, 0, 1, 3, 7, 8, 9];
    let classes = DeviceClasses::decode(&good).unwrap();
    let wanted = DeviceClass {
        registry: 3,
        vendor: &[1, 0],
        subordinates: vec![&[7, 8, 9]],
    };
    assert_eq!(classes.identifiers, [wanted]);
    for at in [0, 4, 6, 9, 10] {
        for wrong in [good[at] - 1, good[at] + 1, 0xff] {
            let mut bad = good;
            bad[at] = wrong;
            assert!(DeviceClasses::decode(&bad).is_err(), "{wrong} at {at}");
        }
    }
}

#[test]
fn event_groups_are_as_many_as_are_counted_and_each_once() {
    let mut list = Vec::new();
    let vendor = Group {
        registry: 3,
        vendor: &[1, 0],
        ..Group::dmtf(&[])
    };
    Groups {
        groups: vec![Group::dmtf(&EventType::ALL), vendor.clone()],
    }
    .encode(&mut list);
    assert_eq!(Groups::decode(&list, 2).map(|groups| groups.groups.len()), Ok(2));
    for count in [0, 1, 3, 0xff] {
        assert!(Groups::decode(&list, count).is_err(), "{count} groups");
    }
    for size in 0..list.len() {
        assert!(Groups::decode(&list[..size], 2).is_err(), "{size} bytes");
    }
    let mut twice = Vec::new();
    Groups {
        groups: vec![vendor.clone(), vendor],
    }
    .encode(&mut twice);
    assert!(Groups::decode(&twice, 2).is_err());
    // As a sample responder sends them.
    assert!(Groups::decode(&[0, 1, 2, 3, 4, 5, 6, 7], 1).is_err());
}

#[test]
fn nothing_is_subscribed_to_with_a_header_alone() {
    let none = [0x13, 0xf0, 0, 0];
    assert!(subscribe::Request::decode_exact(&none, &V1_3).is_ok());
    assert!(subscribe::Request::decode_exact(&[&none[..], &[0; 4]].concat(), &V1_3).is_err());
    assert!(refused(&[0x13, 0xf0, 1, 0], &V1_3));
    assert!(refused(&[0x13, 0xf0, 1, 0, 0xff, 0xff, 0xff, 0xff, 1], &V1_3));
}

fn events(count: u32, events: &[Event<'_>]) -> Vec<u8> {
    let mut message = send_event::Request {
        version: Version::V1_3,
        events: events.to_vec(),
    }
    .to_vec();
    message[4..8].copy_from_slice(&count.to_le_bytes());
    message
}

#[test]
fn events_are_as_many_as_are_counted_and_at_least_one() {
    let event = Event {
        number: 1,
        registry: 0,
        vendor: &[],
        kind: 4,
        detail: &[1],
    };
    let read = |count, events_sent: &[Event<'_>]| {
        send_event::Request::decode_exact(&events(count, events_sent), &V1_3).is_ok()
    };
    assert!(read(1, &[event]) && read(2, &[event, event]));
    for count in [0, 2, 0xffff, 0x1_0000, u32::MAX] {
        assert!(!read(count, &[event]), "{count}");
    }
    assert!(!read(1, &[event, event]) && !read(0, &[]));
}

const fn dmtfs(kind: u16, detail: &[u8]) -> Event<'_> {
    Event {
        number: 1,
        registry: 0,
        vendor: &[],
        kind,
        detail,
    }
}

#[test]
fn an_event_of_the_dmtfs_has_the_detail_of_its_type() {
    for (kind, size) in [(1u16, 8), (2, 32), (3, 32), (4, 1)] {
        for wrong in (0..40).filter(|wrong| *wrong != size) {
            let event = dmtfs(kind, &[0; 40][..wrong]);
            assert!(event.dmtf().unwrap().is_err(), "type {kind}, {wrong} bytes");
        }
        let detail = vec![5; size];
        let read = dmtfs(kind, &detail).dmtf().unwrap().unwrap();
        let mut again = Vec::new();
        read.encode(&mut again);
        assert_eq!((again, read.kind().0), (detail, kind));
    }
    let unknown = dmtfs(5, &[]);
    assert!(unknown.dmtf().unwrap().is_err());
    assert!(
        Event {
            registry: 3,
            vendor: &[1, 0],
            ..unknown
        }
        .dmtf()
        .is_none()
    );
}

#[test]
fn each_error_has_the_extended_data_of_its_code() {
    for code in 0..=254u8 {
        let size = match ErrorCode(code) {
            ErrorCode::RESPONSE_NOT_READY => 4,
            ErrorCode::LARGE_RESPONSE => 1,
            ErrorCode::DATA_TOO_LARGE => 4,
            _ => 0,
        };
        let mut message = vec![0x14, 0x7f, code, 0];
        message.resize(4 + size, 9);
        assert!(
            error::Response::decode_exact(&message, &V1_4).is_ok(),
            "{code:#x}"
        );
        message.push(0);
        assert!(
            error::Response::decode_exact(&message, &V1_4).is_err(),
            "{code:#x} and more"
        );
        assert!(
            refused(&message[..message.len() - 2], &V1_4),
            "{code:#x} and less"
        );
    }
    let too_large = error::Response::decode_exact(&[0x14, 0x7f, 0x12, 0, 1, 0, 1, 0], &V1_4).unwrap();
    assert_eq!(too_large.actual_size(), Some(0x1_0001));
    let v1_3 = error::Response::decode_exact(&[0x13, 0x7f, 0x12, 0], &Context::new(Version::V1_3));
    assert_eq!(
        v1_3.map(|error| error.actual_size()),
        Ok(None),
        "1.3 has no such code"
    );
    let vendors = [&[0x14, 0x7f, 0xff, 3][..], &[0; 33]].concat();
    assert!(refused(&vendors, &V1_4) && !refused(&vendors[..36], &V1_4));
}

/// libspdm has sent both.
#[test]
fn a_response_too_large_is_read_with_its_size_and_without_and_comes_back_the_same() {
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        for (tail, size) in [(&[][..], None), (&[0x34, 0x12, 0, 0], Some(0x1234))] {
            let recorded = [&[version.0, 0x7f, 0x0d, 0], tail].concat();
            let read = error::Response::decode_exact(&recorded, &Context::new(version)).unwrap();
            assert_eq!(read.actual_size(), size);
            assert_eq!(read.to_vec(), recorded);
        }
    }
    let v1_1 =
        error::Response::decode_exact(&[0x11, 0x7f, 0x0d, 0, 1, 0, 0, 0], &Context::new(Version::V1_1));
    assert!(v1_1.is_err(), "1.1 has no such code");
}
