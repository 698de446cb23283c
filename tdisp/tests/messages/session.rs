//! What must be refused in handshakes and sessions, one test for each mistake that others have made.

use crate::samples::{VERSIONS, connection};
use tdisp::spdm::msg::encapsulated::{self, Next};
use tdisp::spdm::msg::vendor::{Body, PciSig, Protocol};
use tdisp::spdm::msg::version::Entry;
use tdisp::spdm::msg::*;
use tdisp::spdm::opaque;

const V1_2: Context = Context::new(Version::V1_2);

#[test]
fn a_key_exchange_response_has_verify_data_unless_the_handshake_is_in_clear() {
    let mut message = vec![0x12, 0x64, 0, 0, 1, 0, 0, 0];
    message.extend([0; 32 + 96 + 48]);
    message.extend([0, 0]);
    message.extend([0; 96]);
    let clear = Context {
        handshake_in_clear: true,
        ..connection(Version::V1_2)
    };
    let (response, consumed) = key_exchange::Response::decode(&message, &clear).unwrap();
    assert_eq!((response.verify_data, consumed), (None, message.len()));
    assert!(key_exchange::Response::decode(&message, &connection(Version::V1_2)).is_err());
    message.extend([9; 48]);
    let (response, _) = key_exchange::Response::decode(&message, &connection(Version::V1_2)).unwrap();
    assert_eq!(response.verify_data, Some(&[9; 48][..]));
}

#[test]
fn mutual_authentication_in_two_ways_at_once_is_refused() {
    for way in 0..=255u8 {
        let mut message = vec![0x12, 0x64, 0, 0, 1, 0, way, 0];
        message.extend([0; 32 + 96 + 48 + 2 + 96 + 48]);
        let read = Message::decode(&message, &connection(Version::V1_2)).is_ok();
        assert_eq!(read, [0, 1, 2, 4].contains(&way), "{way}");
    }
}

#[test]
fn a_summary_of_an_unknown_kind_is_refused() {
    for kind in 0..=255u8 {
        let mut message = vec![0x12, 0xe4, kind, 0, 1, 0, 0, 0];
        message.extend([0; 32 + 96 + 2]);
        let read = Message::decode(&message, &connection(Version::V1_2)).is_ok();
        assert_eq!(read, [0, 1, 0xff].contains(&kind), "{kind}");
    }
}

#[test]
fn finish_has_opaque_data_from_1_4_on_and_not_before() {
    let mut message = vec![0, 0xe5, 0, 0];
    message.extend([0; 2 + 48]);
    for version in &VERSIONS[1..] {
        message[0] = version.0;
        let (_, consumed) = finish::Request::decode(&message, &connection(*version)).unwrap();
        assert_eq!(consumed, if *version >= Version::V1_4 { 54 } else { 52 });
    }
}

#[test]
fn a_psk_exchange_whose_lengths_exceed_it_is_refused() {
    let lengths = |hint: u16, context: u16, opaque: u16| {
        let mut message = vec![0x12, 0xe6, 0, 0, 1, 0];
        [hint, context, opaque]
            .iter()
            .for_each(|length| message.extend(length.to_le_bytes()));
        message.extend([0; 12]);
        Message::decode(&message, &V1_2).map(|(_, consumed)| consumed)
    };
    assert_eq!(lengths(4, 4, 4), Ok(24));
    for (hint, context, opaque) in [
        (0xffff, 0xffff, 0xffff),
        (13, 0, 0),
        (4, 4, 5),
        (0, 0, 1025),
        (0xffff, 1, 0),
    ] {
        assert!(
            lengths(hint, context, opaque).is_err(),
            "{hint}, {context}, {opaque}"
        );
    }
}

#[test]
fn an_encapsulated_ack_has_four_more_bytes_from_1_2_on() {
    let message = [0x11, 0x6b, 0, 0];
    let (ack, consumed) = encapsulated::Ack::decode(&message, &Context::new(Version::V1_1)).unwrap();
    assert_eq!((ack.next, consumed), (Next::Nothing, 4));
    assert!(encapsulated::Ack::decode(&[0x12, 0x6b, 0, 0], &V1_2).is_err());
    let slot = [0x12, 0x6b, 0, 2, 7, 0, 0, 0, 3];
    let (ack, consumed) = encapsulated::Ack::decode(&slot, &V1_2).unwrap();
    assert_eq!((ack.answered, ack.next, consumed), (7, Next::Slot(3), 9));
    for kind in 3..=255 {
        let message = [0x12, 0x6b, 0, kind, 7, 0, 0, 0, 3];
        assert!(
            encapsulated::Ack::decode(&message, &V1_2).is_err(),
            "payload type {kind}"
        );
    }
}

#[test]
fn an_encapsulated_message_that_encapsulates_another_is_refused() {
    let context = connection(Version::V1_2);
    let nested = [0x12, 0x6a, 1, 0, 0x12, 0x81, 0, 0];
    assert!(encapsulated::inner(&nested, &context).is_err());
    assert!(encapsulated::inner(&nested[4..], &context).is_ok());
    assert!(
        encapsulated::inner(&[0x12, 0x81, 0, 0, 0, 0, 0, 0], &context).is_err(),
        "too much padding"
    );
    assert!(
        encapsulated::Request::decode(&nested[..7], &context).is_err(),
        "less than a header"
    );
}

#[test]
fn an_encapsulated_signature_has_the_requesters_size() {
    let context = Context {
        summary_asked: false,
        ..connection(Version::V1_2)
    };
    let mut message = vec![0x12, 3, 0, 1];
    message.extend([0; 48 + 32 + 2 + 64]);
    let (inner, consumed) = encapsulated::inner(&message, &context).unwrap();
    assert!(matches!(inner, Message::ChallengeAuth(auth) if auth.signature.len() == 64));
    assert_eq!(consumed, message.len());
}

/// A CHUNK_SEND of 1.2, with six bytes of data.
fn chunk(sequence: u16, size: u32, large: u32) -> Vec<u8> {
    let mut message = vec![0x12, 0x85, 0, 1];
    message.extend(sequence.to_le_bytes());
    message.extend([0, 0]);
    message.extend(size.to_le_bytes());
    if sequence == 0 {
        message.extend(large.to_le_bytes());
    }
    message.extend(*b"a part");
    message
}

#[test]
fn a_chunk_that_is_empty_or_larger_than_its_message_or_its_whole_is_refused() {
    let read = |sequence, size, large| Message::decode(&chunk(sequence, size, large), &V1_2).is_ok();
    assert!(read(0, 6, 6) && read(0, 6, u32::MAX) && read(1, 6, 0) && read(0xffff, 6, 0));
    for size in [0, 7, 0xffff, 0x1_0000, u32::MAX] {
        assert!(!read(0, size, u32::MAX), "the first, of {size} bytes");
        assert!(!read(1, size, 0), "the second, of {size} bytes");
    }
    assert!(!read(0, 6, 5), "larger than the whole");
}

#[test]
fn chunk_sequence_numbers_are_16_bits_wide_before_1_4_and_32_from_then_on() {
    let get = [0x12, 0x86, 0, 1, 0xff, 0xff, 1, 0];
    let (narrow, consumed) = chunk::Get::decode(&get, &V1_2).unwrap();
    assert_eq!((narrow.sequence, consumed), (0xffff, 6));
    let wide = [&[0x14][..], &get[1..]].concat();
    let (wide, consumed) = chunk::Get::decode(&wide, &Context::new(Version::V1_4)).unwrap();
    assert_eq!((wide.sequence, consumed), (0x1_ffff, 8));
    // A count that has run over 16 bits does not start again at 0.
    let over = chunk::Get {
        version: Version::V1_2,
        handle: 1,
        sequence: 0x1_0000,
    };
    assert_eq!(over.to_vec()[4..], [0xff, 0xff]);
}

#[test]
fn a_vendor_message_whose_lengths_exceed_it_is_refused() {
    let short = [0x12, 0xfe, 0, 0, 3, 0, 2, 1, 0, 4, 0, 1, 2, 3];
    assert!(vendor::Request::decode(&short, &V1_2).is_err());
    let vendor_id = [0x12, 0xfe, 0, 0, 3, 0, 0xff, 1, 0, 4, 0, 1, 2, 3, 4];
    assert!(vendor::Request::decode(&vendor_id, &V1_2).is_err());
    let large = [
        0x14, 0xfe, 0x80, 0, 3, 0, 2, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1,
    ];
    assert!(vendor::Request::decode(&large, &Context::new(Version::V1_4)).is_err());
}

#[test]
fn a_vendor_message_of_1_4_keeps_the_noise_in_its_reserved_field() {
    let context = Context::new(Version::V1_4);
    let message = [0x14, 0xfe, 0x80, 0, 3, 0, 2, 1, 0, 0xab, 0xbf, 2, 0, 0, 0, 1, 7];
    let request = vendor::Request::decode_exact(&message, &context).unwrap();
    assert_eq!(request.0.large, Some(0xbfab));
    assert_eq!(request.to_vec(), message);
    let object = request.0.as_pci_sig().unwrap();
    assert_eq!((object.protocol, object.object), (Protocol::TDISP, &[7][..]));
}

#[test]
fn another_vendors_payload_is_not_taken_for_the_pci_sigs() {
    let ours = Body::pci_sig(Version::V1_2, &[0, 1, 2]);
    assert!(ours.as_pci_sig().is_some());
    let cxl = Body {
        vendor: &[0x98, 0x1e],
        ..ours
    };
    assert_eq!(cxl.as_pci_sig(), None);
    let dmtf = Body {
        registry: vendor::Registry::DMTF,
        ..ours
    };
    assert_eq!(dmtf.as_pci_sig(), None);
    let empty = Body { payload: &[], ..ours };
    assert_eq!(empty.as_pci_sig(), None);
    assert!(PciSig::decode(&[]).is_err());
}

/// Opaque data of 1.2 with the given elements, each padded.
fn opaque_data(count: u8, elements: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![count, 0, 0, 0];
    for element in elements {
        out.extend_from_slice(element);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

const SUPPORTED: &[u8] = &[0, 0, 5, 0, 1, 1, 1, 0x00, 0x12];
const SELECTED: &[u8] = &[0, 0, 4, 0, 1, 0, 0x00, 0x12];
const LATER: &[u8] = &[0, 0, 3, 0, 1, 2, 64];
const VENDORS: &[u8] = &[3, 2, 1, 0, 3, 0, 1, 1, 9];

#[test]
fn opaque_data_may_have_elements_that_are_not_known_beside_the_one_that_counts() {
    let version = Version::V1_2;
    let elements = [LATER, VENDORS, SUPPORTED, SELECTED];
    let data = opaque_data(4, &elements);
    assert_eq!(
        opaque::decode_supported(version, &data),
        Ok(Some(vec![Entry(0x1200)]))
    );
    assert_eq!(opaque::decode_selected(version, &data), Ok(Entry(0x1200)));
    for count in [0, 1, 2, 3, 5, 33, 255] {
        let data = opaque_data(count, &elements);
        assert!(
            opaque::decode_selected(version, &data).is_err(),
            "{count} elements said, 4 there"
        );
    }
}

#[test]
fn opaque_data_without_a_version_or_with_two_is_refused() {
    let version = Version::V1_2;
    assert!(opaque::decode_selected(version, &opaque_data(0, &[])).is_err());
    assert!(opaque::decode_selected(version, &opaque_data(1, &[SUPPORTED])).is_err());
    assert!(opaque::decode_selected(version, &opaque_data(2, &[SELECTED, SELECTED])).is_err());
    let none = [0, 0, 3, 0, 1, 1, 0];
    assert!(
        opaque::decode_supported(version, &opaque_data(1, &[&none])).is_err(),
        "a list of none"
    );
    let more = [0, 0, 5, 0, 1, 1, 2, 0x00, 0x12];
    assert!(
        opaque::decode_supported(version, &opaque_data(1, &[&more])).is_err(),
        "two said, one there"
    );
    let trailing = [0, 0, 5, 0, 1, 0, 0x00, 0x12, 0];
    assert!(opaque::decode_selected(version, &opaque_data(1, &[&trailing])).is_err());
}

#[test]
fn opaque_data_of_1_1_is_in_the_dmtfs_own_format() {
    let mut data = Vec::new();
    opaque::encode_selected(Version::V1_1, Entry(0x1100), &mut data);
    assert_eq!(data, b"FTMD\x01\x01\0\0\0\0\x04\0\x01\0\x00\x11");
    assert_eq!(opaque::decode_selected(Version::V1_1, &data), Ok(Entry(0x1100)));
    assert!(opaque::decode_selected(Version::V1_2, &data).is_err());
    for (at, value) in [(0, b'G'), (4, 2)] {
        let mut wrong = data.clone();
        wrong[at] = value;
        assert!(
            opaque::decode_selected(Version::V1_1, &wrong).is_err(),
            "byte {at}"
        );
    }
}
