//! What must be answered, with everything that the answers prove: the successful cases of the DMTF's
//! SPDM-Responder-Validator, whose numbers the comments have, and what it leaves out of sessions of other kinds.

use super::{
    client::{CHUNK, Client, ENCAP, HANDSHAKE_IN_CLEAR, Heard, MUT_AUTH, PSK, PSK_HINT},
    crypto::P384,
    device, each_connection,
    harness::Identity,
    matrix::{reach, reach_with},
    table::{Answer, DECRYPT, INVALID, Place, UNEXPECTED, unsupported},
};
use tdisp::spdm::{
    Trust,
    msg::{capabilities::Flags, key_exchange},
    responder::Mutual,
};

// CERTIFICATE: 5.6, and 5.7 and 5.9 in the large form

/// GET_CERTIFICATE in the large form, after the fields that it has instead.
fn large(slot: u8, attributes: u8, offset: u32, length: u32) -> Vec<u8> {
    let head = [0x14, 0x82, slot | 0x80, attributes, 0, 0, 0, 0];
    [&head[..], &offset.to_le_bytes(), &length.to_le_bytes()].concat()
}

/// A CERTIFICATE in the large form: its portion, and how much is left.
fn large_portion(answer: &[u8]) -> (&[u8], u32) {
    assert_eq!(
        answer[..3],
        [0x14, 0x02, 0x80],
        "the large form, as it was asked for"
    );
    assert!(answer[3] & 7 <= 3, "a known model");
    assert_eq!(answer[4..8], [0; 4], "the fields of the small form");
    let word = |at: usize| u32::from_le_bytes(answer[at..at + 4].try_into().unwrap());
    (&answer[16..16 + word(8) as usize], word(12))
}

#[test]
fn the_room_in_a_slot_is_told_whatever_window_is_named() {
    each_connection(|version, mctp| {
        if version < 0x13 {
            return;
        }
        let mut client = reach(Place::Certificate, version, mctp);
        let held = client.chain.len();
        let mut request = client.get_certificate(0, 0xffff, 0xaa55);
        request[3] = 1;
        let Heard::Clear(answer) = client.clear(&request) else {
            panic!("no answer");
        };
        assert_eq!(answer[..3], [version, 0x02, 0]);
        assert_eq!(answer[4..6], [0, 0], "no portion");
        let room = usize::from(u16::from_le_bytes([answer[6], answer[7]]));
        assert_eq!((answer.len(), room >= held), (8, true), "{room} bytes for {held}");
        if version >= 0x14 {
            let Heard::Clear(answer) = client.clear(&large(0, 1, u32::MAX, 0xaa55_aa55)) else {
                panic!("no answer");
            };
            assert_eq!(answer.len(), 16);
            let (portion, room) = large_portion(&answer);
            assert_eq!((portion.len(), room as usize >= held), (0, true));
        }
    });
}

#[test]
fn the_large_form_has_the_same_chain_and_the_same_refusals_and_is_a_capability() {
    for mctp in [false, true] {
        let mut client = reach(Place::Certificate, 0x14, mctp);
        let mut chain = Vec::new();
        loop {
            let Heard::Clear(answer) = client.clear(&large(0, 0, chain.len() as u32, 0x400)) else {
                panic!("no answer");
            };
            let (portion, rest) = large_portion(&answer);
            assert!((1..=0x400).contains(&portion.len()));
            chain.extend_from_slice(portion);
            if rest == 0 {
                break;
            }
        }
        assert_eq!(chain, client.chain);
        for slot in 1..=15 {
            let heard = client.clear(&large(slot, 0, 0, 0x400));
            assert_eq!(Answer::of(&heard), INVALID, "slot {slot}");
        }
        let beyond = client.clear(&large(0, 0, u32::MAX, 0x400));
        assert_eq!(Answer::of(&beyond), INVALID);
        let mut without = device::config(mctp);
        without.capabilities = Flags(!Flags::LARGE_RESPONSE.0);
        let mut client = reach_with(without, 0, Place::Certificate, 0x14, mctp);
        let heard = client.clear(&large(0, 0, 0, 0x400));
        assert_eq!(Answer::of(&heard), unsupported(0x82));
    }
}

// CHALLENGE_AUTH: 6.1 to 6.3, 6.11 to 6.18

#[test]
fn a_challenge_is_signed_over_what_was_said_of_digests_and_certificates_and_no_more() {
    each_connection(|version, mctp| {
        for summary in [0, 1, 0xff] {
            let mut client = reach(Place::Algorithms, version, mctp);
            client.digests();
            client.certificate(0);
            client.challenged(0, summary);
            // Begun anew, with nothing, digests alone, and a certificate alone before it.
            client.challenged(0, summary);
            client.digests();
            client.challenged(0, summary);
            client.certificate(0);
            client.challenged(0, summary);
            client.negotiate();
            client.challenged(0, summary);
        }
    });
}

// MEASUREMENTS: 7.1, 7.5 to 7.11

/// The blocks of a record: index, specification, and what was measured.
fn blocks(record: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut rest = record;
    while let [index, specification, low, high, after @ ..] = rest {
        let size = usize::from(u16::from_le_bytes([*low, *high]));
        blocks.push((*index, *specification, after[..size].to_vec()));
        rest = &after[size..];
    }
    assert!(rest.is_empty());
    blocks
}

/// GET_MEASUREMENTS; the answer up to its signature is in L1, and a signature is checked.
fn measure(client: &mut Client, l1: &mut Vec<u8>, signed: bool, operation: u8) -> Vec<u8> {
    let request = client.get_measurements(signed.then_some(0), operation);
    let heard = match client.session.is_some() {
        true => client.secured(&request),
        false => client.clear(&request),
    };
    let (Heard::Clear(answer) | Heard::Secured(answer)) = heard else {
        panic!("no answer");
    };
    assert_eq!(answer[1], 0x60, "{answer:02x?}");
    let record = u32::from_le_bytes([answer[5], answer[6], answer[7], 0]) as usize;
    let at = 8 + record + 32;
    let opaque = usize::from(u16::from_le_bytes([answer[at], answer[at + 1]]));
    let size = at + 2 + opaque + client.context_size();
    assert_eq!(
        answer[size - client.context_size()..size],
        request[request.len() - client.context_size()..]
    );
    l1.extend_from_slice(&request);
    l1.extend_from_slice(&answer[..size]);
    if signed {
        let signature = &answer[size..size + client.suite.signature_size()];
        let vca: &[u8] = if client.version >= 0x12 { &client.vca } else { &[] };
        let transcript = [vca, &l1[..]].concat();
        assert!(client.verifies("responder-measurements signing", &transcript, signature));
        // The slot; and from 1.2 on that nothing changed, or that nobody looks.
        let unchanged = if client.version >= 0x12 {
            &[0, 0x20][..]
        } else {
            &[0]
        };
        assert!(unchanged.contains(&answer[3]), "{:02x}", answer[3]);
        l1.clear();
    } else {
        assert_eq!(
            answer[3] & 0x30,
            0,
            "only what is signed says whether something changed"
        );
    }
    let found = blocks(&answer[8..8 + record]);
    assert_eq!(usize::from(answer[4]), found.len());
    answer
}

#[test]
fn measurements_are_counted_shown_one_by_one_and_signed_in_clear_and_in_a_session() {
    each_connection(|version, mctp| {
        for place in [Place::Certificate, Place::Session] {
            if !place.is_in(version) {
                continue;
            }
            let mut client = reach(place, version, mctp);
            let mut l1 = Vec::new();
            let count = measure(&mut client, &mut l1, false, 0);
            assert_eq!((count[2], count[4]), (3, 0));
            let all = measure(&mut client, &mut l1, true, 0xff);
            let all = blocks(&all[8..8 + usize::from(u16::from_le_bytes([all[5], all[6]]))]);
            assert_eq!(all.len(), 3);
            for (index, specification, value) in &all {
                assert_eq!(*specification, 1);
                let one = measure(&mut client, &mut l1, false, *index);
                let one = blocks(&one[8..8 + usize::from(u16::from_le_bytes([one[5], one[6]]))]);
                assert_eq!(one, [(*index, *specification, value.clone())]);
            }
            measure(&mut client, &mut l1, true, all[0].0);
            measure(&mut client, &mut l1, true, 0);
        }
    });
}

// KEY_EXCHANGE_RSP and FINISH_RSP: 8.1, 8.2, 8.7, 8.8, 9.1, 9.2, 9.8 to 9.10

#[test]
fn sessions_open_with_every_summary_and_several_live_side_by_side() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = reach(Place::Certificate, version, mctp);
        let mut sessions = Vec::new();
        for summary in [0, 1, 0xff] {
            client.shake(0, summary);
            client.finish();
            sessions.push(client.session.take().expect("a session"));
        }
        for session in sessions {
            client.session = Some(session);
            client.secured_answer(&client.simple(0x81, 0, 0));
            client.secured_answer(&client.simple(0xec, 0, 0));
        }
    });
}

#[test]
fn a_handshake_in_clear_is_finished_in_clear_and_a_wrong_proof_ends_it() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let shaking = || {
            let mut config = device::config(mctp);
            config.handshake_in_clear = true;
            reach_with(config, HANDSHAKE_IN_CLEAR, Place::Handshake, version, mctp)
        };
        let mut client = shaking();
        assert!(client.in_clear());
        client.finish();
        client.secured_answer(&client.simple(0xec, 0, 0));
        let mut client = shaking();
        let mut wrong = client.right_finish();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(Answer::of(&client.clear(&wrong)), DECRYPT);
        assert_eq!(Answer::of(&client.clear(&wrong)), UNEXPECTED);
    });
}

// PSK_EXCHANGE_RSP and PSK_FINISH_RSP: 10.1 to 10.6, 11.1 to 11.8

fn psk(place: Place, version: u8, mctp: bool) -> Client {
    reach_with(device::everything(mctp), PSK, place, version, mctp)
}

#[test]
fn a_session_on_a_pre_shared_key_opens_and_ends() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = psk(Place::PskSession, version, mctp);
        client.secured_answer(&client.simple(0xe8, 0, 0));
        client.update(2);
        client.secured_answer(&client.simple(0xe9, 3, 9));
        client.secured_answer(&client.simple(0xec, 0, 0));
        client.psk_shake();
        client.psk_finish();
        client.secured_answer(&client.simple(0xec, 0, 0));
    });
}

#[test]
fn a_psk_exchange_with_wrong_fields_is_refused() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = psk(Place::Algorithms, version, mctp);
        let opaque = client.opaque();
        let good = client.psk_exchange(0, PSK_HINT, &opaque);
        let mut wrong: Vec<_> = (2..=254u8)
            .map(|summary| client.psk_exchange(summary, PSK_HINT, &opaque))
            .collect();
        for length_at in [6, 8, 10] {
            let mut message = good.clone();
            message[length_at..length_at + 2].fill(0xff);
            wrong.push(message);
        }
        wrong.push(client.psk_exchange(0, b"another", &opaque));
        wrong.push(client.psk_exchange(0, &[0; 300], &opaque));
        for message in wrong {
            assert_eq!(Answer::of(&client.clear(&message)), INVALID, "{message:02x?}");
        }
        client.psk_shake();
    });
}

#[test]
fn a_psk_finish_without_a_proof_is_refused_and_with_a_wrong_one_ends_the_handshake() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut client = psk(Place::PskHandshake, version, mctp);
        for size in [4, 5, 20, 51, 60] {
            let mut message = client.simple(0xe7, 0, 0);
            message.resize(size, 0);
            assert_eq!(Answer::of(&client.secured(&message)), INVALID, "{size} bytes");
        }
        client.psk_finish();
        let mut client = psk(Place::PskHandshake, version, mctp);
        let mut message = client.simple(0xe7, 0, 0);
        message.resize(if version >= 0x14 { 54 } else { 52 }, 0);
        assert_eq!(Answer::of(&client.secured(&message)), DECRYPT);
        assert!(!matches!(client.secured(&message), Heard::Secured(_)));
    });
}

// ENCAPSULATED_REQUEST: 14.1

#[test]
fn a_requester_that_can_is_asked_for_its_certificates_and_gets_no_session_without() {
    each_connection(|version, mctp| {
        if version == 0x10 {
            return;
        }
        let mut config = device::config(mctp);
        config.offer.requester_sign.clone_from(&config.offer.sign);
        let roots = Trust::Pinned(vec![Identity::usual().root]);
        config.mutual = Some(Mutual {
            session: key_exchange::Mutual::ENCAPSULATED,
            required: false,
            ..Mutual::new(roots)
        });
        let shaking = || reach_with(config.clone(), MUT_AUTH | ENCAP, Place::Handshake, version, mctp);
        let mut client = shaking();
        let Heard::Secured(asked) = client.secured(&client.simple(0xea, 0, 0)) else {
            panic!("no encapsulated request");
        };
        assert_eq!((asked[0], asked[1]), (version, 0x6a));
        assert!(asked[2] != 0, "a request has a number");
        assert_eq!((asked[4], asked[5]), (version, 0x81), "GET_DIGESTS comes first");
        // Whatever else comes meanwhile opens no session.
        for code in (0x80..=0xffu8).filter(|code| ![0xea, 0xeb, 0xfe].contains(code)) {
            let message = match code {
                0x84 => Client::get_version(),
                0xe5 => client.finish_with(0, 0, &[0; 48]),
                _ => client.simple(code, 0, 0),
            };
            let heard = client.secured(&message);
            assert!(
                matches!(Answer::of(&heard), Answer::Error(..)),
                "{code:02x}: {heard:02x?}"
            );
            if code == 0xe5 {
                client = shaking();
                client.secured(&client.simple(0xea, 0, 0));
            }
        }
        // An answer of another number, and one that is none.
        for (number, answer) in [
            (asked[2].wrapping_add(1), vec![version, 0x01, 0, 0]),
            (asked[2], vec![version, 0x7f]),
        ] {
            let mut client = shaking();
            client.secured(&client.simple(0xea, 0, 0));
            let message = [&client.simple(0xeb, number, 0)[..], &answer].concat();
            let heard = client.secured(&message);
            assert!(
                matches!(Answer::of(&heard), Answer::Error(..) | Answer::Silence),
                "{heard:02x?}"
            );
        }
        // A requester without the capability is asked for nothing.
        reach_with(config.clone(), 0, Place::Session, version, mctp);
    });
}

// CHUNK_SEND_ACK and CHUNK_RESPONSE: 19.2, 5.8

#[test]
fn chunks_out_of_their_order_are_refused() {
    each_connection(|version, mctp| {
        if version < 0x12 {
            return;
        }
        for order in [&[1u16][..], &[0, 2], &[0, 1, 2, 1], &[0, 1, 3]] {
            let mut client = reach_with(device::everything(mctp), CHUNK, Place::Algorithms, version, mctp);
            let (last, before) = order.split_last().expect("chunks");
            for sequence in before {
                let message = client.chunk(*sequence);
                assert_eq!(Answer::of(&client.clear(&message)), Answer::Is(0x05));
            }
            let message = client.chunk(*last);
            let heard = client.clear(&message);
            // An ERROR, or an acknowledgement that says that one was found early.
            let refused = match &heard {
                Heard::Clear(answer) if answer[1] == 0x05 => answer[2] & 1 == 1,
                heard => Answer::of(heard) == INVALID,
            };
            assert!(refused, "{order:?} in {version:02x}: {heard:02x?}");
            client.digests();
        }
    });
}

#[test]
fn a_certificate_too_large_for_one_piece_comes_whole_in_chunks() {
    each_connection(|version, mctp| {
        if version < 0x12 {
            return;
        }
        let mut client = Client::new(device::wire(mctp, device::everything(mctp)), mctp, version, &P384);
        client.flags |= CHUNK;
        client.transfer_size = 200;
        client.message_size = 0x1_0000;
        client.negotiate();
        let request = client.get_certificate(0, 0, 0xffff);
        let Heard::Clear(late) = client.clear(&request) else {
            panic!("no answer");
        };
        assert_eq!(late[1..4], [0x7f, 0x0f, 0], "LargeResponse");
        let large = client.chunks(late[4]);
        assert_eq!(large[1], 0x02);
        let portion = usize::from(u16::from_le_bytes([large[4], large[5]]));
        assert_eq!(large[6..8], [0, 0], "the whole chain");
        assert_eq!(large.len(), 8 + portion);
        assert_eq!(client.suite.hash(&large[8..]), client.digests()[0].1);
    });
}
