//! What must be refused before a session, one test for each mistake that others have made.

use crate::samples::{VERSIONS, bytes, connection, offer};
use tdisp::crypto::{HashAlg, SignAlg};
use tdisp::doe::{Object, ObjectType};
use tdisp::spdm::algorithms::{MeasurementHash, Needs, Offer};
use tdisp::spdm::msg::algorithms::{Table, TableKind};
use tdisp::spdm::msg::capabilities::Flags;
use tdisp::spdm::msg::certificate::Chain;
use tdisp::spdm::msg::digests;
use tdisp::spdm::msg::measurements::{Dmtf, Kind, Record};
use tdisp::spdm::msg::version::Entry;
use tdisp::spdm::msg::*;
use tdisp::wire::DecodeError;

const V1_2: Context = Context::new(Version::V1_2);

/// Why a message is refused.
fn refusal(message: &[u8], context: &Context) -> String {
    match Message::decode(message, context) {
        Ok((message, _)) => panic!("read as {message:?}"),
        Err(error) => error.to_string(),
    }
}

fn capabilities_request(version: u8, exponent: u8, flags: u32, transfer: u32, most: u32) -> Vec<u8> {
    let mut message = vec![version, 0xe1, 0, 0, 0, exponent, 0, 0];
    message.extend(flags.to_le_bytes());
    message.extend(transfer.to_le_bytes());
    message.extend(most.to_le_bytes());
    message
}

#[test]
fn a_data_object_whose_length_is_not_what_came_is_refused() {
    let object = |dw: u32, size: usize| {
        let mut bytes = vec![1, 0, 1, 0];
        bytes.extend(dw.to_le_bytes());
        bytes.resize(size, 0);
        Object::decode(&bytes).is_ok()
    };
    assert!(object(3, 12));
    assert!(object(0xfffc_0003, 12), "reserved bits are ignored");
    assert!(object(0, 1 << 20), "0 stands for 2^18 DW");
    for (dw, size) in [
        (2, 8),
        (1, 4),
        (1, 8),
        (0, 8),
        (4, 12),
        (3, 11),
        (3, 13),
        (3, 16),
        (0x4_0003, 16),
    ] {
        assert!(!object(dw, size), "{dw} DW in {size} bytes");
    }
    let mut discovery = vec![1, 0, 0, 0, 2, 0, 0, 0];
    assert_eq!(
        Object::decode(&discovery).map(|object| object.kind),
        Ok(ObjectType::DISCOVERY)
    );
    discovery[2] = 2;
    assert!(
        Object::decode(&discovery).is_err(),
        "a secured message is not empty"
    );
    discovery[0] = 2;
    assert!(
        Object::decode(&discovery).is_ok(),
        "whose types are another vendor's"
    );
}

#[test]
fn a_version_other_than_the_negotiated_one_is_refused() {
    assert!(refusal(&[0x15, 0x81, 0, 0], &V1_2).contains("SPDM version is 0x15"));
    assert!(refusal(&[0x11, 0x81, 0, 0], &V1_2).contains("the version negotiated"));
    assert!(refusal(&[0x12, 0x84, 0, 0], &V1_2).contains("1.0, as always in GET_VERSION"));
    assert!(refusal(&[0x20, 0x7f, 3, 0], &V1_2).contains("any 1.x"));
    assert!(
        Message::decode(&[0x10, 0x7f, 3, 0], &V1_2).is_ok(),
        "an error may come before a version"
    );
}

#[test]
fn a_version_list_without_versions_is_refused_and_alpha_is_ignored() {
    let context = Context::new(Version::V1_0);
    assert!(refusal(&[0x10, 4, 0, 0, 0, 0], &context).contains("version count"));
    let message = [0x10, 4, 0, 0, 0, 3, 0x01, 0x10, 0x2f, 0x12, 0, 0x20];
    let (response, _) = version::Response::decode(&message, &context).unwrap();
    assert_eq!(response.highest_common(&VERSIONS), Some(Version::V1_2));
    assert_eq!(response.highest_common(&[Version::V1_4]), None);
    assert_eq!(
        (response.versions[1].alpha(), Entry::of(Version::V1_2)),
        (0xf, Entry(0x1200))
    );
}

#[test]
fn capabilities_have_the_length_of_their_version() {
    for (version, size) in [(0x10, 4), (0x11, 12), (0x12, 20), (0x13, 20), (0x14, 20)] {
        let message = capabilities_request(version, 0, 0, 4096, 4096);
        let (_, consumed) = Message::decode(&message, &Context::new(Version(version))).unwrap();
        assert_eq!(consumed, size);
    }
}

#[test]
fn a_message_in_a_version_that_there_never_was_is_written_as_it_is_read() {
    let measurements = [&[0, 0xe0, 1, 0xff][..], &[7; 41]].concat();
    for message in [capabilities_request(0, 12, 0, 4096, 4096), measurements] {
        for version in 0..=0xff {
            let message = [&[version], &message[1..]].concat();
            let context = Context::new(Version(version));
            let (read, consumed) = Message::decode(&message, &context).unwrap();
            let mut again = Vec::new();
            read.encode(&mut again);
            assert_eq!(again.len(), consumed, "{read:?}");
        }
    }
}

#[test]
fn a_supported_algorithms_block_is_as_long_as_it_says_and_only_there_when_flagged() {
    let context = Context::new(Version::V1_3);
    let read = |flag, length: u8| {
        let mut message = capabilities_request(0x13, 0, 0, 4096, 4096);
        message[1..3].copy_from_slice(&[0x61, flag]);
        message.extend([0, 0, length, 0, 9]);
        let (response, consumed) = capabilities::Response::decode(&message, &context).ok()?;
        assert_eq!(response.to_vec(), message[..consumed]);
        Some(consumed)
    };
    assert_eq!(
        (read(0, 5), read(1, 5), read(1, 4)),
        (Some(20), Some(25), Some(24))
    );
    assert_eq!((read(1, 3), read(1, 0), read(1, 6)), (None, None, None));
}

#[test]
fn a_ct_exponent_above_31_is_refused() {
    for exponent in 0..=255 {
        let message = capabilities_request(0x12, exponent, 0, 4096, 4096);
        let read = Message::decode(&message, &V1_2).is_ok();
        assert_eq!(read, exponent <= 31, "{exponent}");
    }
}

#[test]
fn transfer_sizes_that_contradict_each_other_are_refused() {
    let chunk = Flags::CHUNK.0;
    let read = |flags, transfer, most| {
        let message = capabilities_request(0x12, 0, flags, transfer, most);
        Message::decode(&message, &V1_2).is_ok()
    };
    assert!(read(0, 42, 42) && read(chunk, 42, u32::MAX));
    assert!(!read(0, 41, 41), "below the least");
    assert!(!read(chunk, 4096, 4095), "a message smaller than a transfer");
    assert!(!read(0, 4096, 4097), "larger messages without chunks");
}

#[test]
fn capability_flags_that_contradict_each_other_are_refused() {
    let session = Flags::KEY_EX | Flags::MAC | Flags::ENCRYPT;
    let certified = Flags::CERT | session;
    let kept = [
        Flags(0),
        session,
        certified,
        certified | Flags::MUT_AUTH,
        session | Flags::PSK,
    ];
    let broken = [
        Flags::KEY_EX,
        Flags::MAC,
        Flags::HBEAT,
        Flags::CERT,
        Flags::MUT_AUTH | session,
        Flags::PUB_KEY_ID | certified,
        Flags::PSK_WITH_CONTEXT | session,
        Flags::PSK | Flags::MAC | Flags::HANDSHAKE_IN_THE_CLEAR,
    ];
    let read = |flags: Flags| {
        let message = capabilities_request(0x12, 0, flags.0, 4096, 4096);
        Message::decode(&message, &V1_2).is_ok()
    };
    kept.iter().for_each(|flags| assert!(read(*flags), "{flags:x?}"));
    broken
        .iter()
        .for_each(|flags| assert!(!read(*flags), "{flags:x?}"));
}

/// NEGOTIATE_ALGORITHMS of 1.2 with one byte changed, perhaps.
fn negotiate(change: Option<(usize, u8)>) -> Vec<u8> {
    let version = Version::V1_2;
    let mut message = bytes(&Message::NegotiateAlgorithms(algorithms::Request {
        version,
        offer: offer(version),
    }));
    if let Some((at, value)) = change {
        message[at] = value;
    }
    message
}

#[test]
fn algorithm_structures_that_do_not_fit_their_count_or_length_are_refused() {
    assert!(Message::decode(&negotiate(None), &V1_2).is_ok());
    let wrong = [
        ((2, 0), "none counted although there are some"),
        ((2, 4), "one more counted than there is"),
        ((4, 47), "a length that is not the sum"),
        ((5, 1), "a length above the most"),
        ((28, 1), "an extended signature that is not there"),
        ((29, 0), "an extended hash that is not counted"),
        ((40, 2), "a structure twice"),
        ((37, 0x10), "fixed algorithms of one byte"),
        ((37, 0x21), "extended algorithms that are not there"),
    ];
    for (change, what) in wrong {
        assert!(
            Message::decode(&negotiate(Some(change)), &V1_2).is_err(),
            "{what}"
        );
    }
}

#[test]
fn fields_of_later_versions_are_not_read_from_earlier_ones() {
    let message = |version: Version| {
        let mut message = negotiate(None);
        message[0] = version.0;
        message[16] = 7; // where 1.4 has post-quantum signatures
        message[31] = 1; // where 1.3 has the measurement log
        let context = Context::new(version);
        let (request, _) = algorithms::Request::decode(&message, &context).unwrap();
        (request.offer.pqc_asym, request.offer.mel_specification)
    };
    assert_eq!(message(Version::V1_2), (0, 0));
    assert_eq!(message(Version::V1_3), (0, 1));
    assert_eq!(message(Version::V1_4), (7, 1));
    let large_certificate = [0x12, 0x82, 0x80, 0, 0, 0, 0, 4];
    let (request, size) = certificate::Request::decode(&large_certificate, &V1_2).unwrap();
    assert_eq!((request.large, request.length, size), (false, 0x400, 8));
}

/// ALGORITHMS that choose what the default offer offers.
fn algorithms() -> algorithms::Response<'static> {
    let mut choice = Offer::default().to_set(Version::V1_2);
    choice.extended_hash = &[];
    algorithms::Response {
        version: Version::V1_2,
        choice,
        measurement_hash: 4,
    }
}

#[test]
fn a_choice_of_algorithms_that_was_not_offered_or_is_not_one_bit_is_refused() {
    let offer = Offer::default();
    let chosen = offer.accept(&algorithms(), Needs::SESSION).unwrap();
    assert_eq!(
        (chosen.sign, chosen.hash),
        (Some(SignAlg::EcdsaP384), HashAlg::Sha384)
    );
    assert_eq!(
        chosen.measurement_hash,
        Some(MeasurementHash::Hash(HashAlg::Sha384))
    );

    for bit in 0..32 {
        let mask = 1u32 << bit;
        for wrong in [mask, mask | 0x80, mask | 2, 0] {
            let mut response = algorithms();
            response.choice.asym = wrong;
            assert_eq!(
                offer.accept(&response, Needs::SESSION).is_ok(),
                wrong == 0x80,
                "signature {wrong:#x}"
            );
            let mut response = algorithms();
            response.choice.hash = wrong;
            assert_eq!(
                offer.accept(&response, Needs::SESSION).is_ok(),
                wrong == 2,
                "hash {wrong:#x}"
            );
        }
    }
    let tables = algorithms().choice.tables.len();
    for (table, bit) in (0..tables).flat_map(|table| (0..16).map(move |bit| (table, bit))) {
        let right = algorithms().choice.tables[table].mask;
        for wrong in [1 << bit, right | 1 << bit, 0] {
            let mut response = algorithms();
            response.choice.tables[table].mask = wrong;
            assert_eq!(
                offer.accept(&response, Needs::SESSION).is_ok(),
                wrong == right,
                "table {table}: {wrong:#x}"
            );
        }
    }
    let mut response = algorithms();
    response.choice.tables.clear();
    assert!(
        offer.accept(&response, Needs::SESSION).is_err(),
        "no structures at all"
    );
    for (other_params, right) in [(2, true), (0, false), (1, false), (3, false), (0x12, false)] {
        let mut response = algorithms();
        response.choice.other_params = other_params;
        assert_eq!(
            offer.accept(&response, Needs::SESSION).is_ok(),
            right,
            "other parameters {other_params:#x}"
        );
    }
    let mut response = algorithms();
    response.choice.extended_asym = &[3, 0, 5, 0];
    assert!(
        offer.accept(&response, Needs::SESSION).is_err(),
        "an extended algorithm"
    );
    let mut response = algorithms();
    response.choice.tables[0].extended = &[3, 0, 5, 0];
    assert!(
        offer.accept(&response, Needs::SESSION).is_err(),
        "an extended group"
    );
    let mut response = algorithms();
    response.choice.tables.push(Table {
        kind: TableKind::KEM,
        mask: 1,
        extended: &[],
    });
    assert!(
        offer.accept(&response, Needs::SESSION).is_err(),
        "a structure that was not offered"
    );
    for (specification, right) in [(0, true), (1, true), (2, false), (3, false)] {
        let mut response = algorithms();
        response.choice.measurement_specification = specification;
        assert_eq!(
            offer.accept(&response, Needs::SESSION).is_ok(),
            right,
            "measurement specification {specification}"
        );
    }
}

#[test]
fn a_slot_above_7_is_refused() {
    for slot in 0..=255u8 {
        let request = [0x12, 0x82, slot, 0, 0, 0, 0, 4];
        let read = Message::decode(&request, &V1_2).is_ok();
        // Bits 7:4 are reserved.
        assert_eq!(read, slot & 0x0f < 8, "GET_CERTIFICATE of {slot}");
        let mut challenge = vec![0x12, 0x83, slot, 0];
        challenge.extend([0; 32]);
        let read = Message::decode(&challenge, &V1_2).is_ok();
        assert_eq!(read, slot < 8 || slot == SLOT_PUBLIC_KEY, "CHALLENGE of {slot}");
    }
}

#[test]
fn digests_of_sparse_slots_are_found_by_slot_and_not_by_position() {
    let context = connection(Version::V1_3);
    let mut message = vec![0x13, 1, 0b1011_0010, 0b1001_0010];
    for slot in [1u8, 4, 7] {
        message.extend([slot; 48]);
    }
    message.extend([11, 14, 17, 1, 2, 3, 1, 0, 2, 0, 3, 0]);
    let (response, consumed) = digests::Response::decode(&message, &context).unwrap();
    assert_eq!(consumed, message.len());
    assert_eq!(response.digest(4), Some(&[4; 48][..]));
    assert_eq!(response.digest(5), None);
    let key = response.slots[2].key.unwrap();
    assert_eq!((response.slots[2].number, key.pair, key.usage), (7, 17, 3));
    message[3] = 0;
    assert!(refusal(&message, &context).contains("provisioned slots"));
    message[3] = 0b1100_0010;
    assert!(refusal(&message, &context).contains("supported slots"));
}

#[test]
fn digests_before_1_3_have_no_supported_slots_whatever_the_reserved_byte_says() {
    let context = connection(Version::V1_2);
    let mut message = vec![0x12, 1, 0xff, 1];
    message.extend([7; 48]);
    let (response, consumed) = digests::Response::decode(&message, &context).unwrap();
    assert_eq!(
        (response.supported, consumed, response.slots[0].key),
        (0, 52, None)
    );
}

#[test]
fn a_certificate_portion_longer_than_its_message_is_refused_and_an_empty_one_is_not() {
    for portion in [1u16, 5, 0x7fff, 0xfffe, 0xffff] {
        let mut message = vec![0x12, 2, 0, 0];
        message.extend(portion.to_le_bytes());
        message.extend([0xff, 0xff]);
        assert!(refusal(&message, &V1_2).contains("certificate portion"));
    }
    let context = Context::new(Version::V1_4);
    let mut large = vec![0x14, 2, 0x80, 0, 0, 0, 0, 0];
    large.extend(u32::MAX.to_le_bytes());
    large.extend(u32::MAX.to_le_bytes());
    assert!(refusal(&large, &context).contains("certificate portion"));
    let (empty, _) = certificate::Response::decode(&[0x12, 2, 0, 0, 0, 0, 0xff, 0xff], &V1_2).unwrap();
    assert!(empty.portion.is_empty() && empty.remainder == 0xffff);
}

#[test]
fn the_largest_certificate_portion_comes_back() {
    let portion = vec![0x5a; 0xffff];
    let response = certificate::Response {
        version: Version::V1_2,
        slot: 7,
        certificate_info: 0,
        large: false,
        portion: &portion,
        remainder: 1,
    };
    let message = response.to_vec();
    assert_eq!(message.len(), 8 + 0xffff);
    assert_eq!(certificate::Response::decode_exact(&message, &V1_2), Ok(response));
}

#[test]
fn a_chain_whose_length_is_read_in_part_is_refused() {
    let certificates = vec![0x30; 0x1_0000];
    let chain = Chain {
        root_hash: &[9; 48],
        certificates: &certificates,
    };
    let mut object = Vec::new();
    chain.encode(Version::V1_4, &mut object);
    assert_eq!(
        Chain::decode(&object, Version::V1_4, 48),
        Ok(chain),
        "64 KiB and more in 1.4"
    );
    assert!(
        Chain::decode(&object, Version::V1_2, 48).is_err(),
        "its low 16 bits are not its length"
    );
    object.pop();
    assert!(Chain::decode(&object, Version::V1_4, 48).is_err());
    let mut before = Vec::new();
    chain.encode(Version::V1_2, &mut before);
    assert!(
        Chain::decode(&before, Version::V1_2, 48).is_err(),
        "too long for its length field"
    );
    let mut empty = Vec::new();
    let none = Chain {
        certificates: &[],
        ..chain
    };
    none.encode(Version::V1_2, &mut empty);
    assert!(
        Chain::decode(&empty, Version::V1_2, 48).is_err(),
        "no certificates"
    );
}

#[test]
fn opaque_data_longer_than_1024_bytes_or_than_the_message_is_refused() {
    let context = Context {
        signature_asked: false,
        ..connection(Version::V1_2)
    };
    let message = |said: u16, there: usize| {
        let mut message = vec![0x12, 0x60, 0, 0, 0, 0, 0, 0];
        message.extend([0; 32]);
        message.extend(said.to_le_bytes());
        message.resize(message.len() + there, 0);
        Message::decode(&message, &context).map(|(_, consumed)| consumed)
    };
    assert_eq!(message(1024, 1024), Ok(42 + 1024));
    for (said, there) in [(1025, 1025), (0xffff, 0xffff), (1, 0), (1024, 1023), (0xfffe, 8)] {
        assert!(message(said, there).is_err(), "{said} said, {there} there");
    }
}

#[test]
fn a_signed_measurement_request_without_its_nonce_or_slot_is_refused() {
    let mut message = vec![0x12, 0xe0, 1, 0xff];
    message.extend([7; 32]);
    assert!(refusal(&message, &V1_2).contains("slot"));
    message.push(8);
    assert!(refusal(&message, &V1_2).contains("slot is 0x8"));
    assert!(refusal(&message[..35], &V1_2).contains("measurement nonce"));
    message[0] = 0x10;
    let (request, consumed) = measurements::Request::decode(&message, &Context::new(Version::V1_0)).unwrap();
    assert_eq!(
        (request.signed.unwrap().slot, consumed),
        (0, 36),
        "1.0 has no slot"
    );
}

#[test]
fn a_measurement_record_that_is_not_its_blocks_is_refused() {
    let block = [1, 1, 4, 0, 0x81, 1, 0, 0xaa];
    assert_eq!(
        Record::decode(&block, 1).unwrap().blocks[0].dmtf(),
        Ok(Dmtf {
            kind: Kind::FIRMWARE,
            raw: true,
            value: &[0xaa],
        })
    );
    assert!(Record::decode(&[], 0).unwrap().blocks.is_empty());
    for count in [0, 2, 255] {
        assert!(Record::decode(&block, count).is_err(), "{count} blocks");
    }
    for index in [0, 0xff] {
        let mut wrong = block;
        wrong[0] = index;
        assert!(Record::decode(&wrong, 1).is_err(), "index {index}");
    }
    let twice = [block, block].concat();
    assert!(
        Record::decode(&twice, 2)
            .unwrap_err()
            .to_string()
            .contains("each once")
    );
    for size in [0xffffu16, 5] {
        let mut wrong = block;
        wrong[2..4].copy_from_slice(&size.to_le_bytes());
        assert!(Record::decode(&wrong, 1).is_err(), "a block of {size} bytes");
    }
    for size in [0u8, 2, 0xff] {
        let mut wrong = block;
        wrong[5] = size;
        let record = Record::decode(&wrong, 1).unwrap();
        assert!(record.blocks[0].dmtf().is_err(), "a value of {size} bytes");
    }
}

#[test]
fn a_measurement_record_longer_than_its_message_is_refused() {
    for length in [[1, 0, 0], [0xff, 0xff, 0], [0xff, 0xff, 0xff]] {
        let mut message = vec![0x12, 0x60, 0, 0, 1];
        message.extend(length);
        assert!(refusal(&message, &V1_2).contains("measurement record"));
    }
}

#[test]
fn an_error_is_as_long_as_its_code_says() {
    let not_ready = [0x12, 0x7f, 0x42, 0, 41, 0xe0, 1, 3];
    let (error, _) = error::Response::decode(&not_ready, &V1_2).unwrap();
    let wait = error.not_ready().unwrap();
    assert_eq!(
        (wait.code, wait.delay_us()),
        (Code::GET_MEASUREMENTS, None),
        "2^41 µs are no wait"
    );
    assert!(refusal(&not_ready[..7], &V1_2).contains("extended error data"));
    let (busy, consumed) = error::Response::decode(&[0x12, 0x7f, 3, 0, 9, 9], &V1_2).unwrap();
    assert_eq!((busy.extended, consumed, busy.not_ready()), (&[][..], 4, None));
    let large = [0x12, 0x7f, 0x0f, 0, 5];
    let (error, _) = error::Response::decode(&large, &V1_2).unwrap();
    assert_eq!(error.large_response(), Some(5));
    let mut vendor = vec![0x12, 0x7f, 0xff, 3];
    vendor.resize(4 + 33, 0);
    assert!(refusal(&vendor, &V1_2).contains("at most 32"));
}

#[test]
fn a_decoder_for_one_message_refuses_another() {
    let wrong = digests::Request::decode(&[0x12, 0x82, 0, 0], &V1_2).unwrap_err();
    let found = DecodeError::Invalid {
        what: "SPDM code",
        found: 0x82,
        wanted: "GET_DIGESTS",
    };
    assert_eq!(wrong, found);
}
