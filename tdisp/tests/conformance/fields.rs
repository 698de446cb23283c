//! Every field of every request with every wrong value, each in its place. The numbers in the comments are the cases of
//! the DMTF's SPDM-Responder-Validator.

use super::{
    client::{
        CERT, CHAL, Client, ENCAP, ENCRYPT, HANDSHAKE_IN_CLEAR, HBEAT, Heard, KEY_EX, KEY_UPD, MAC, MUT_AUTH,
        PSK,
    },
    each_connection,
    matrix::{reach, right, say},
    table::{Answer, INVALID, Place, REQUESTS, UNEXPECTED, VERSION_MISMATCH},
};
use std::ops::RangeInclusive;

/// Says `message` where the client is; the answer.
fn ask(client: &mut Client, place: Place, message: &[u8]) -> Answer {
    Answer::of(&say(client, place, message))
}

/// Refuses `message` with `wanted`, in an ERROR of `version`.
#[track_caller]
fn refuses(client: &mut Client, place: Place, message: &[u8], wanted: Answer, version: u8) {
    let heard = say(client, place, message);
    assert_eq!(Answer::of(&heard), wanted, "to {message:02x?} in {place:?}");
    if let Heard::Clear(error) | Heard::Secured(error) = heard {
        assert_eq!(error[0], version, "the version of the ERROR to {message:02x?}");
    }
}

fn with(message: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut message = message.to_vec();
    message[at] = byte;
    message
}

// GET_VERSION: 1.1

#[test]
fn version_lists_what_is_spoken_and_is_itself_in_1_0() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Start, version, mctp);
        let Heard::Clear(answer) = client.clear(&Client::get_version()) else {
            panic!("no answer");
        };
        assert_eq!(answer[..2], [0x10, 0x04]);
        let entries: Vec<u8> = answer[6..6 + 2 * usize::from(answer[5])]
            .chunks(2)
            .map(|entry| entry[1])
            .collect();
        assert!(entries.contains(&version), "{entries:02x?}");
        assert!(entries.iter().all(|entry| (0x10..=0x14).contains(entry)));
    });
}

#[test]
fn get_version_in_another_version_than_1_0_is_a_mismatch_wherever_it_comes() {
    each_connection(|version, mctp| {
        for place in [
            Place::Start,
            Place::Version,
            Place::Capabilities,
            Place::Algorithms,
        ] {
            let mut client = reach(place, version, mctp);
            for other in [0, 0x0f, 0x11, 0x12, 0x20, 0xff] {
                refuses(&mut client, place, &[other, 0x84, 0, 0], VERSION_MISMATCH, 0x10);
            }
        }
    });
}

// The version in the header: 2.2, 3.2, 4.2, 5.2, 6.4, 7.2, 8.3, 9.3, 12.2, 13.2, 16.2

#[test]
fn a_request_in_a_version_that_is_not_the_agreed_one_is_a_mismatch() {
    each_connection(|version, mctp| {
        let places = [
            Place::Capabilities,
            Place::Algorithms,
            Place::Handshake,
            Place::Session,
        ];
        for place in places.into_iter().filter(|place| place.is_in(version)) {
            let mut client = reach(place, version, mctp);
            for request in REQUESTS.iter().filter(|request| request.code != 0x84) {
                let message = right(&client, request.code);
                for other in [version - 1, version + 1, 0, 0x20, 0xff] {
                    let message = with(&message, 0, other);
                    refuses(&mut client, place, &message, VERSION_MISMATCH, version);
                }
            }
        }
    });
}

#[test]
fn get_capabilities_in_a_version_that_is_not_listed_is_a_mismatch_in_1_0() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Version, version, mctp);
        let message = client.get_capabilities();
        for other in [0, 0x0f, 0x15, 0x1f, 0x20, 0xff] {
            refuses(
                &mut client,
                Place::Version,
                &with(&message, 0, other),
                VERSION_MISMATCH,
                0x10,
            );
            // As it is in 1.0: how long it must be is not known of a version that there is not.
            let head = [other, 0xe1, 0, 0];
            refuses(&mut client, Place::Version, &head, VERSION_MISMATCH, 0x10);
        }
        client.say_capabilities();
    });
}

// GET_CAPABILITIES: 2.4, 2.6

/// Requester flags that contradict each other, and the versions in which they do.
#[rustfmt::skip] // a table is read by its columns
const CONTRADICTIONS: &[(u32, RangeInclusive<u8>, &str)] = &[
    (CERT | CHAL | MUT_AUTH | KEY_EX | PSK | ENCAP | HBEAT | KEY_UPD, ANY, "KEY_EX and PSK without ENCRYPT and MAC"),
    (CERT | CHAL | ENCRYPT | MAC | MUT_AUTH | ENCAP | HBEAT | KEY_UPD, ANY, "ENCRYPT and MAC without KEY_EX and PSK"),
    (CERT | CHAL | ENCRYPT | MAC | MUT_AUTH | KEY_EX | HBEAT | KEY_UPD, 0x11..=0x11, "MUT_AUTH without ENCAP"),
    (CERT | CHAL | PUB_KEY_ID, ANY, "certificates and a public key at once"),
    (ENCRYPT | MAC | PSK << 1, ANY, "a PSK_CAP of 2, which is the responder's"),
    (ENCRYPT | MAC | (PSK * 3), ANY, "a PSK_CAP of 3"),
    (CERT | CHAL | HANDSHAKE_IN_CLEAR, ANY, "a handshake in clear without one"),
    (ENCRYPT | MAC | PSK | HANDSHAKE_IN_CLEAR, ANY, "a handshake in clear that has no KEY_EXCHANGE"),
    (CERT | CHAL | HBEAT, ANY, "a heartbeat without sessions"),
    (CERT | CHAL | KEY_UPD, ANY, "key updates without sessions"),
    (CHAL, ANY, "challenges without an identity"),
    (MUT_AUTH | ENCAP | KEY_EX | ENCRYPT | MAC, ANY, "mutual authentication without an identity"),
    (CERT, ANY, "certificates for nothing"),
    (CERT | CHAL | 3 << 22, 0x13..=0x14, "an EP_INFO_CAP of 3"),
    (CERT | CHAL | 3 << 26, 0x13..=0x14, "a MULTI_KEY_CAP of 3"),
    (PUB_KEY_ID | CHAL | 1 << 26, 0x13..=0x14, "several keys without certificates"),
    (CERT | CHAL | 1 << 25, 0x13..=0x14, "events without sessions"),
];

const ANY: RangeInclusive<u8> = 0x11..=0x14;
const PUB_KEY_ID: u32 = 1 << 16;

#[test]
fn capabilities_that_contradict_each_other_are_refused_in_the_version_asked_for() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Version, version, mctp);
        let usual = client.flags;
        for (flags, _, why) in CONTRADICTIONS
            .iter()
            .filter(|(_, versions, _)| versions.contains(&version))
        {
            client.flags = *flags;
            let message = client.get_capabilities();
            let heard = client.clear(&message);
            assert_eq!(Answer::of(&heard), INVALID, "{why} in {version:02x}");
            assert!(
                matches!(&heard, Heard::Clear(error) if error[0] == version),
                "{why}: {heard:02x?}"
            );
        }
        client.flags = usual;
        client.say_capabilities();
    });
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    each_connection(|version, mctp| {
        if version < 0x12 {
            return;
        }
        let mut client = reach(Place::Version, version, mctp);
        let message = client.get_capabilities();
        // The last two are for who takes chunks.
        for (transfer, largest) in [
            (0u32, 0x1200u32),
            (41, 0x1200),
            (0x1201, 0x1200),
            (u32::MAX, 0),
            (0x11ff, 0x1200),
            (42, u32::MAX),
        ] {
            let sizes = [transfer.to_le_bytes(), largest.to_le_bytes()].concat();
            let message = [&message[..12], &sizes].concat();
            refuses(&mut client, Place::Version, &message, INVALID, version);
        }
        for exponent in 32..=255 {
            refuses(
                &mut client,
                Place::Version,
                &with(&message, 5, exponent),
                INVALID,
                version,
            );
        }
        client.say_capabilities();
    });
}

#[test]
fn a_second_get_capabilities_that_differs_is_unexpected_and_one_that_does_not_is_answered_again() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Capabilities, version, mctp);
        let message = client.get_capabilities();
        for at in 2..message.len() {
            let message = with(&message, at, message[at] ^ 1);
            refuses(&mut client, Place::Capabilities, &message, UNEXPECTED, version);
        }
        assert_eq!(ask(&mut client, Place::Capabilities, &message), Answer::Is(0x61));
        client.say_algorithms();
        let again = client.negotiate_algorithms();
        assert_eq!(ask(&mut client, Place::Algorithms, &again), Answer::Is(0x63));
        for at in 2..again.len() {
            let message = with(&again, at, again[at] ^ 1);
            refuses(&mut client, Place::Algorithms, &message, UNEXPECTED, version);
        }
        client.shake_if_possible();
    });
}

// NEGOTIATE_ALGORITHMS: 3.4

#[test]
fn algorithms_whose_lengths_do_not_fit_are_refused() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Capabilities, version, mctp);
        let message = client.negotiate_algorithms();
        let mut wrong = vec![
            with(&message, 4, message[4] - 1),
            with(&message, 4, message[4] + 1),
            with(&message, 5, 1),
            with(&message, 28, 21),
            with(&message, 29, 21),
            with(&message, 28, 255),
        ];
        if version >= 0x11 {
            let table = message.len() - 16;
            wrong.push(with(&message, 2, 3));
            wrong.push(with(&message, 2, 5));
            wrong.push(with(&message, 2, 255));
            for bits in [0x10, 0x30, 0x2f, 0xff, 0x00] {
                wrong.push(with(&message, table + 1, bits));
            }
            // Extended algorithms that are not there, in each of the four.
            let mut extended = message.clone();
            (0..4).for_each(|number| extended[table + 1 + 4 * number] = 0x2f);
            wrong.push(extended);
            // Not in ascending order, and twice.
            wrong.push(with(&message, table, 4));
            wrong.push(with(&message, table + 4, 2));
        }
        // Longer than any may be, with all the bytes that it says.
        let mut long = message.clone();
        long.extend_from_slice(&[0; 129]);
        let length = (long.len() as u16).to_le_bytes();
        long[4..6].copy_from_slice(&length);
        wrong.push(long);
        for message in wrong {
            refuses(&mut client, Place::Capabilities, &message, INVALID, version);
        }
        client.say_algorithms();
    });
}

#[test]
fn algorithms_without_one_that_both_have_are_refused() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Capabilities, version, mctp);
        let message = client.negotiate_algorithms();
        for field in [8..12, 12..16] {
            let mut message = message.clone();
            message[field].fill(0);
            refuses(&mut client, Place::Capabilities, &message, INVALID, version);
        }
        client.say_algorithms();
    });
}

// GET_CERTIFICATE: 5.4

#[test]
fn a_certificate_of_a_slot_that_is_empty_or_is_none_is_refused() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Algorithms, version, mctp);
        for slot in 1..=15 {
            let message = client.get_certificate(slot, 0, 0x400);
            refuses(&mut client, Place::Algorithms, &message, INVALID, version);
        }
        client.certificate(0);
    });
}

#[test]
fn a_certificate_from_beyond_its_end_or_of_no_bytes_is_refused() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Certificate, version, mctp);
        let end = client.chain.len() as u16;
        for (offset, length) in [
            (end, 1),
            (end + 1, 0x400),
            (0xffff, 0x400),
            (0xffff, 0xffff),
            (0, 0),
        ] {
            let message = client.get_certificate(0, offset, length);
            refuses(&mut client, Place::Certificate, &message, INVALID, version);
        }
        for length in [1, 2, end - 1, end, 0xffff] {
            let message = client.get_certificate(0, 0, length);
            assert_eq!(ask(&mut client, Place::Certificate, &message), Answer::Is(0x02));
        }
    });
}

// CHALLENGE: 6.6

#[test]
fn a_challenge_of_a_slot_that_is_empty_or_is_none_is_refused() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Certificate, version, mctp);
        for slot in 1..=255 {
            let message = client.challenge(slot, 0);
            refuses(&mut client, Place::Certificate, &message, INVALID, version);
        }
        client.challenged(0, 0);
    });
}

#[test]
fn a_summary_of_no_known_kind_is_refused() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Algorithms, version, mctp);
        for summary in 2..=254 {
            let message = client.challenge(0, summary);
            refuses(&mut client, Place::Algorithms, &message, INVALID, version);
        }
        if version >= 0x11 {
            for summary in 2..=254 {
                let message = client.key_exchange_with(0, summary, &[4; 96], &client.opaque());
                refuses(&mut client, Place::Algorithms, &message, INVALID, version);
            }
        }
    });
}

// GET_MEASUREMENTS: 7.4

#[test]
fn a_measurement_that_is_not_there_is_refused() {
    each_connection(|version, mctp| {
        let mut client = reach(Place::Algorithms, version, mctp);
        // The device has 1, 2 and 5.
        for index in (0..=254).filter(|index| ![0, 1, 2, 5].contains(index)) {
            for signed in [None, Some(0)] {
                let message = client.get_measurements(signed, index);
                refuses(&mut client, Place::Algorithms, &message, INVALID, version);
            }
        }
        for index in [0, 1, 2, 5, 255] {
            let message = client.get_measurements(None, index);
            assert_eq!(ask(&mut client, Place::Algorithms, &message), Answer::Is(0x60));
        }
    });
}

#[test]
fn measurements_signed_by_a_slot_that_is_empty_or_is_none_are_refused() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = reach(Place::Algorithms, version, mctp);
        for slot in 1..=15 {
            let message = client.get_measurements(Some(slot), 1);
            refuses(&mut client, Place::Algorithms, &message, INVALID, version);
        }
    });
}

// KEY_EXCHANGE: 8.6

#[test]
fn a_key_exchange_with_a_slot_that_is_empty_or_is_none_is_refused() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = reach(Place::Algorithms, version, mctp);
        let message = client.key_exchange_request(0, 0);
        for slot in 1..=255 {
            refuses(
                &mut client,
                Place::Algorithms,
                &with(&message, 3, slot),
                INVALID,
                version,
            );
        }
        client.shake(0, 0);
    });
}

#[test]
fn a_key_exchange_with_wrong_lengths_or_no_point_is_refused() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = reach(Place::Algorithms, version, mctp);
        let opaque = client.opaque();
        let good = client.key_exchange_with(0, 0, &client.suite.ephemeral().1, &opaque);
        let length_at = 40 + client.suite.point_size();
        let mut wrong = vec![
            client.key_exchange_with(0, 0, &[0; 96], &opaque),
            client.key_exchange_with(0, 0, &[0xff; 96], &opaque),
            client.key_exchange_with(0, 0, &[7; 96], &opaque),
            [&good[..length_at], &[0xff, 0xff], &good[length_at + 2..]].concat(),
        ];
        // Opaque data longer than the 1024 bytes that the standard allows.
        wrong.push(client.key_exchange_with(0, 0, &client.suite.ephemeral().1, &[0; 1028]));
        for length in 0..=255u8 {
            // Over DOE the last zeros may be the object's padding, and its padding may be theirs.
            let spare = if mctp { 0 } else { 3 };
            if usize::from(length).abs_diff(opaque.len()) > spare {
                wrong.push(with(&good, length_at, length));
            }
        }
        for message in wrong {
            refuses(&mut client, Place::Algorithms, &message, INVALID, version);
        }
        client.shake(0, 0);
    });
}

// FINISH: 9.6, 9.7

#[test]
fn a_finish_with_wrong_fields_is_refused_and_the_right_one_is_still_taken() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = reach(Place::Handshake, version, mctp);
        let hash = client.suite.hash_size();
        // A signature that nobody asked for, of slots that are and are none, without room for one and with it.
        for slot in (0..=15).chain([0xff]) {
            for rest in [hash, hash + client.suite.signature_size()] {
                let message = client.finish_with(1, slot, &vec![0; rest]);
                refuses(&mut client, Place::Handshake, &message, INVALID, version);
            }
        }
        for rest in (0..hash).chain([hash + 1]) {
            let message = client.finish_with(0, 0, &vec![0; rest]);
            refuses(&mut client, Place::Handshake, &message, INVALID, version);
        }
        client.finish();
        client.secured_answer(&client.simple(0xec, 0, 0));
    });
}

#[test]
fn a_finish_with_a_wrong_proof_is_an_error_of_decryption_and_the_handshake_is_over() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = reach(Place::Handshake, version, mctp);
        let mut message = client.right_finish();
        let last = message.len() - 1;
        message[last] ^= 1;
        refuses(
            &mut client,
            Place::Handshake,
            &message,
            super::table::DECRYPT,
            version,
        );
        message[last] ^= 1;
        let again = client.secured(&message);
        assert!(
            !matches!(again, Heard::Secured(_)),
            "the session answers again: {again:02x?}"
        );
        client.shake(0, 0);
        client.finish();
    });
}

// KEY_UPDATE: 13.1, 13.3

#[test]
fn key_updates_go_both_ways_and_only_in_their_order() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = reach(Place::Session, version, mctp);
        for operation in [0, 3, 4, 5, 0x80, 0xff] {
            let message = client.simple(0xe9, operation, 1);
            refuses(&mut client, Place::Session, &message, INVALID, version);
        }
        for operation in [1, 2, 1, 2] {
            client.update(operation);
            for again in [0, 1, 2, 4] {
                let message = client.simple(0xe9, again, 2);
                refuses(&mut client, Place::Session, &message, INVALID, version);
            }
            client.secured_answer(&client.simple(0xe9, 3, 7));
            let message = client.simple(0xe9, 3, 8);
            refuses(&mut client, Place::Session, &message, INVALID, version);
        }
        client.secured_answer(&client.simple(0xec, 0, 0));
    });
}

// Records

#[test]
fn a_record_that_is_changed_anywhere_ends_its_session_and_no_other() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = reach(Place::Session, version, mctp);
        let kept = client.session.take().expect("a session");
        client.shake(0, 0);
        client.finish();
        let message = client.simple(0xec, 0, 0);
        let session = client.session.as_mut().expect("a session");
        let mut record = session.request.seal(mctp, session.id, &message);
        let last = record.len() - 1;
        record[last] ^= 1;
        let heard = client.record(&record);
        assert!(
            matches!(Answer::of(&heard), super::table::DECRYPT | Answer::Silence),
            "a changed record is answered with {heard:02x?}"
        );
        record[last] ^= 1;
        let heard = client.record(&record);
        assert!(
            !matches!(heard, Heard::Secured(_)),
            "the session goes on: {heard:02x?}"
        );
        client.session = Some(kept);
        client.secured_answer(&client.simple(0x81, 0, 0));
        client.secured_answer(&message);
    });
}

#[test]
fn a_record_of_no_session_is_not_answered_in_one() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = reach(Place::Session, version, mctp);
        for id in [0u32, 1, u32::MAX] {
            let session = client.session.as_mut().expect("a session");
            let mut record = session.request.seal(mctp, id, &[version, 0xec, 0, 0]);
            session.request.sequence -= 1;
            record[..4].copy_from_slice(&id.to_le_bytes());
            let heard = client.record(&record);
            assert!(
                !matches!(heard, Heard::Secured(_)),
                "session {id:x} answers {heard:02x?}"
            );
        }
        client.secured_answer(&client.simple(0xec, 0, 0));
    });
}

// Every request, cut short

#[test]
fn a_request_that_is_cut_short_anywhere_is_refused() {
    each_connection(|version, mctp| {
        // Over DOE padding hides what is missing.
        let places = match mctp {
            true => &[
                Place::Version,
                Place::Capabilities,
                Place::Algorithms,
                Place::Handshake,
                Place::Session,
            ][..],
            false => &[Place::Handshake, Place::Session],
        };
        for place in places.iter().copied().filter(|place| place.is_in(version)) {
            let mut client = reach(place, version, mctp);
            let codes: &[u8] = match place {
                Place::Version => &[0x84, 0xe1],
                Place::Capabilities => &[0xe3],
                Place::Algorithms if version == 0x10 => &[0x81, 0x82, 0x83, 0xe0],
                Place::Algorithms => &[0x81, 0x82, 0x83, 0xe0, 0xe4],
                Place::Handshake => &[0xe5],
                _ => &[0x81, 0x82, 0xe0, 0xe9, 0xec],
            };
            for code in codes {
                let message = match code {
                    0xe0 => client.get_measurements(Some(0), 1),
                    _ => right(&client, *code),
                };
                for size in 1..message.len() {
                    // What is left of a GET_CAPABILITIES of 1.0 and 1.1 is none of theirs either.
                    let cut = &message[..size];
                    let found = ask(&mut client, place, cut);
                    assert_eq!(
                        found,
                        INVALID,
                        "{cut:02x?} of {} bytes in {place:?}",
                        message.len()
                    );
                }
            }
        }
    });
}
