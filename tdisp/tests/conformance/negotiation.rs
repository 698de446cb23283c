//! What CAPABILITIES and ALGORITHMS say: each capability with those that it needs, and, out of all the algorithms that there
//! are, one for each thing that a capability needs. The numbers in the comments are the cases of the DMTF's
//! SPDM-Responder-Validator.

use super::{
    client::{
        CERT, CHAL, CHUNK, Client, ENCAP, ENCRYPT, HANDSHAKE_IN_CLEAR, HBEAT, Heard, KEY_EX, KEY_UPD, MAC,
        MUT_AUTH, SESSION_FLAGS,
    },
    crypto::P384,
    device, each_connection,
    harness::Identity,
    matrix::reach_with,
    table::{Answer, INVALID, Place},
};
use tdisp::spdm::{ResponderConfig, Trust, msg::capabilities::Flags, responder::Mutual};

const MEAS: u32 = 3 << 3;
const MEAS_SIG: u32 = 2 << 3;
const MEAS_FRESH: u32 = 1 << 5;
const PSK_ANY: u32 = 3 << 10;
const PUB_KEY_ID: u32 = 1 << 16;
const SET_CERT: u32 = 1 << 19;
const CSR: u32 = 1 << 20;
const MEL: u32 = 1 << 24;
const MULTI_KEY: u32 = 3 << 26;
const GET_KEY_PAIR_INFO: u32 = 1 << 28;
const SET_KEY_PAIR_INFO: u32 = 1 << 29;
const SET_KEY_PAIR_RESET: u32 = 1 << 30;

/// What a requester of the suite can.
const ASKING: u32 = SESSION_FLAGS | MUT_AUTH | ENCAP | CHUNK;

/// The usual device and one with everything, whole, and without each capability that others lean on.
fn devices(mctp: bool) -> Vec<ResponderConfig> {
    let mut mutual = device::everything(mctp);
    mutual.offer.requester_sign.clone_from(&mutual.offer.sign);
    mutual.mutual = Some(Mutual::new(Trust::Pinned(vec![Identity::usual().root])));
    mutual.handshake_in_clear = true;
    let whole = [device::config(mctp), mutual];
    let lacks = [
        0,
        CERT,
        CERT | PSK_ANY,
        CHAL,
        MEAS,
        MAC,
        KEY_EX,
        PSK_ANY,
        KEY_EX | PSK_ANY,
        ENCAP,
        MUT_AUTH,
        CHUNK,
        SET_CERT,
        GET_KEY_PAIR_INFO,
    ];
    let without = |config: &ResponderConfig, lacking: u32| ResponderConfig {
        capabilities: Flags(!lacking),
        ..config.clone()
    };
    let each = whole
        .iter()
        .flat_map(|config| lacks.map(|lacking| without(config, lacking)));
    each.collect()
}

// CAPABILITIES: 2.1, 2.3, 2.5, 2.7, 2.8

/// Of who has any of the first, any of the second is wanted.
#[rustfmt::skip] // a table is read by its columns
const WANTED: &[(u32, u32)] = &[
    (ENCRYPT | MAC | HBEAT | KEY_UPD, KEY_EX | PSK_ANY),
    (KEY_EX | PSK_ANY, ENCRYPT | MAC),
    (HANDSHAKE_IN_CLEAR, KEY_EX),
    (CHAL | KEY_EX | MEAS_SIG | MUT_AUTH, CERT | PUB_KEY_ID),
    (MUT_AUTH, CHAL | KEY_EX),
    (MEAS_FRESH, MEAS),
    (SET_CERT | MULTI_KEY, CERT),
    (CSR, SET_CERT),
    (MULTI_KEY, GET_KEY_PAIR_INFO),
    (SET_KEY_PAIR_RESET, SET_KEY_PAIR_INFO),
];

/// Bits of which not all may be there at once.
const CONTRARY: [u32; 3] = [MEAS, PSK_ANY, CERT | PUB_KEY_ID];

#[test]
fn capabilities_are_shown_together_with_those_that_they_need() {
    each_connection(|version, mctp| {
        for config in devices(mctp) {
            let lacking = !config.capabilities.0;
            let client = reach_with(config, ASKING, Place::Capabilities, version, mctp);
            let has = client.their_flags;
            assert_eq!(has & lacking, 0, "{has:08x}");
            for (shown, wanted) in WANTED {
                let kept = has & shown == 0 || has & wanted != 0;
                assert!(kept, "{shown:x} without {wanted:x} in {version:02x}: {has:08x}");
            }
            for all in CONTRARY {
                assert_ne!(has & all, all, "{has:08x} in {version:02x}");
            }
            // Later a requester may be authenticated without a request of the responder's own.
            if version == 0x11 {
                assert!(has & MUT_AUTH == 0 || has & ENCAP != 0, "{has:08x}");
            }
        }
    });
}

/// Says GET_CAPABILITIES after VERSION; what comes back.
fn capabilities(client: &mut Client, wants_algorithms: bool) -> Vec<u8> {
    client.say_version();
    let mut request = client.get_capabilities();
    request[2] = u8::from(wants_algorithms);
    match client.clear(&request) {
        Heard::Clear(answer) => answer,
        other => panic!("no answer in clear: {other:02x?}"),
    }
}

#[test]
fn sizes_are_equal_without_chunks_and_in_their_order_with_them() {
    each_connection(|version, mctp| {
        for config in devices(mctp) {
            let mut client = Client::new(device::wire(mctp, config), mctp, version, &P384);
            let answer = capabilities(&mut client, false);
            assert_eq!(answer[..3], [version, 0x61, 0]);
            if version < 0x12 {
                assert_eq!(answer.len(), 12);
                continue;
            }
            assert_eq!(answer.len(), 20);
            let word = |at: usize| u32::from_le_bytes(answer[at..at + 4].try_into().unwrap());
            let (has, transfer, largest) = (word(8), word(12), word(16));
            assert!(transfer >= 42);
            match has & CHUNK {
                0 => assert_eq!(largest, transfer),
                _ => assert!(largest >= transfer, "{largest:x} after {transfer:x}"),
            }
        }
    });
}

// GET_CAPABILITIES that wants the supported algorithms: 2.4, 2.8

#[test]
fn the_supported_algorithms_are_listed_where_both_sides_take_chunks() {
    each_connection(|version, mctp| {
        for lacking in [0, CHUNK] {
            let config = ResponderConfig {
                capabilities: Flags(!lacking),
                ..device::everything(mctp)
            };
            let mut client = Client::new(device::wire(mctp, config), mctp, version, &P384);
            client.flags |= if version >= 0x12 { CHUNK } else { 0 };
            let answer = capabilities(&mut client, true);
            assert_eq!(answer[1], 0x61, "{answer:02x?}");
            let is_listed = version >= 0x13 && lacking == 0;
            assert_eq!(answer[2], u8::from(is_listed), "in {version:02x}");
            if is_listed {
                listed(&answer[20..], version, mctp);
            }
        }
    });
}

/// The block: NEGOTIATE_ALGORITHMS from its third byte on.
fn listed(block: &[u8], version: u8, mctp: bool) {
    let length = usize::from(u16::from_le_bytes([block[2], block[3]]));
    let tables = usize::from(block[0]);
    assert_eq!(length, 30 + 4 * tables);
    // Over DOE padding follows.
    let spare = if mctp { 0 } else { 3 };
    assert!((length..=length + spare).contains(&block.len()));
    assert_eq!(block[1], 0, "reserved");
    assert_eq!(block[18..26], [0; 8], "reserved");
    assert_eq!(block[26..29], [0; 3], "no extended algorithms, and reserved");
    if version == 0x13 {
        assert_eq!(block[14..18], [0; 4], "no post-quantum signatures yet");
    }
    let kinds: Vec<u8> = block[30..length].chunks(4).map(|table| table[0]).collect();
    let last = if version >= 0x14 { 7 } else { 5 };
    assert!(kinds.is_sorted_by(|a, b| a < b), "{kinds:?}");
    assert!(kinds.iter().all(|kind| (2..=last).contains(kind)), "{kinds:?}");
}

#[test]
fn who_takes_no_chunks_may_not_ask_for_the_supported_algorithms() {
    each_connection(|version, mctp| {
        let mut client = Client::new(device::wire(mctp, device::everything(mctp)), mctp, version, &P384);
        let answer = capabilities(&mut client, true);
        match version >= 0x13 {
            true => {
                assert_eq!(Answer::of(&Heard::Clear(answer.clone())), INVALID);
                assert_eq!(answer[0], version);
            }
            // Reserved before.
            false => assert_eq!(answer[1..3], [0x61, 0]),
        }
        client.negotiate();
    });
}

// ALGORITHMS: 3.1, 3.5, 3.6, 3.8, 3.9

/// NEGOTIATE_ALGORITHMS that offers all that a version knows.
fn offer_of_all(version: u8) -> Vec<u8> {
    let (asym, hash): (u32, u32) = if version >= 0x12 {
        (0xfff, 0x7f)
    } else {
        (0x1ff, 0x3f)
    };
    let (exchange, aead) = if version >= 0x12 { (0x7f, 0xf) } else { (0x3f, 7) };
    let mut tables = vec![(2, exchange), (3, aead), (4, asym as u16), (5, 1)];
    match version {
        0x10 => tables.clear(),
        0x14.. => tables.extend([(6, 0x7fff), (7, 7)]),
        _ => {}
    }
    let mut message = vec![version, 0xe3, tables.len() as u8, 0];
    message.extend_from_slice(&((32 + tables.len() * 4) as u16).to_le_bytes());
    message.extend_from_slice(&[1, if version >= 0x12 { 2 } else { 0 }]);
    message.extend_from_slice(&asym.to_le_bytes());
    message.extend_from_slice(&hash.to_le_bytes());
    let post_quantum: u32 = if version >= 0x14 { 0x7fff } else { 0 };
    message.extend_from_slice(&post_quantum.to_le_bytes());
    message.resize(32, 0);
    message[31] = u8::from(version >= 0x13);
    for (kind, bits) in tables {
        message.extend_from_slice(&[kind, 0x20]);
        message.extend_from_slice(&bits.to_le_bytes());
    }
    message
}

#[test]
fn one_algorithm_is_chosen_for_each_thing_that_a_capability_needs_and_none_for_others() {
    each_connection(|version, mctp| {
        for config in devices(mctp) {
            let mut client = reach_with(config, ASKING, Place::Capabilities, version, mctp);
            let Heard::Clear(answer) = client.clear(&offer_of_all(version)) else {
                panic!("no answer");
            };
            assert_eq!(answer[..2], [version, 0x63], "{answer:02x?}");
            chosen(&answer, version, client.their_flags);
        }
    });
}

/// ALGORITHMS of a responder that `has` these capabilities, to an offer of all.
fn chosen(answer: &[u8], version: u8, has: u32) {
    let word = |at: usize| u32::from_le_bytes(answer[at..at + 4].try_into().unwrap());
    let [measured, signs, hash, post_quantum] = [8, 12, 16, 20].map(word);
    let tables = usize::from(answer[2]);
    let length = usize::from(u16::from_le_bytes([answer[4], answer[5]]));
    assert_eq!(length, 36 + 4 * tables);
    assert_eq!(answer[32..34], [0, 0], "no extended algorithms");
    let has_log = version >= 0x13 && has & MEL != 0;
    assert_eq!(answer[31], u8::from(has_log), "a log of {has:08x}");
    let one = |what: &str, bits: u32, is_needed: bool| {
        assert_eq!(
            bits.count_ones(),
            u32::from(is_needed),
            "{what} {bits:x} of {has:08x} in {version:02x}"
        );
    };
    one("a measurement hash", measured, has & MEAS != 0);
    one("measurements", u32::from(answer[6]), has & MEAS != 0);
    let session = has & (KEY_EX | PSK_ANY) != 0;
    let signed = has & (CHAL | MEAS_SIG | KEY_EX) != 0;
    one("a signature", signs | post_quantum, signed);
    one("a hash", hash, signed || session);
    if version == 0x10 {
        assert_eq!(tables, 0, "structures came with 1.1");
        return;
    }
    let table = |kind: u8| {
        let mut found = answer[36..length].chunks(4).filter(|table| table[0] == kind);
        let bits = found.next().map_or(0, |table| {
            assert_eq!(table[1], 0x20);
            u32::from(u16::from_le_bytes([table[2], table[3]]))
        });
        assert_eq!(found.next(), None, "structure {kind} twice");
        bits
    };
    one("an exchange", table(2) | table(7) << 16, has & KEY_EX != 0);
    one("a cipher", table(3), session);
    one(
        "a requester's signature",
        table(4) | table(6) << 16,
        has & MUT_AUTH != 0,
    );
    one("a key schedule", table(5), session);
    if version >= 0x12 {
        assert_eq!(answer[7], 2, "the general format of opaque data");
    }
}
