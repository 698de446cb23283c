//! IDE_KM objects: byte order, and what must be refused.

use tdisp::crypto::Secret;
use tdisp::ide_km::msg::*;
use tdisp::ide_km::registers::{
    AddressAssociation, Capability, Control, LinkStream, RequesterAssociation, SelectiveStream, StreamStatus,
    Streams,
};

const SLOT: Slot = Slot {
    stream: 5,
    key_sub: KeySub::new(true, Direction::Transmit, SubStream::CPL),
    port: 1,
};

fn objects() -> Vec<Message<'static>> {
    let key = || Key {
        key: Secret::new((0..32).collect()),
        initial: 1,
    };
    let limit = AeadLimit {
        stream: 5,
        exponent: 40,
        port: 1,
    };
    let registers = Registers {
        abilities: QueryCapabilities(0x41),
        port: 1,
        device_function: 8,
        bus: 2,
        segment: 0,
        port_max: 7,
        capability: 0x0102_0304,
        control: 0x0506_0708,
        blocks: &[9; 16],
    };
    vec![
        Message::Query { port: 1 },
        Message::QueryResp(registers),
        Message::KeyProg(SLOT, key()),
        Message::KpAck(SLOT, Status::UNSUPPORTED_VALUE),
        Message::KSetGo(SLOT),
        Message::KSetStop(SLOT),
        Message::KGostopAck(SLOT),
        Message::GetKey(SLOT),
        Message::GetKeyAck(SLOT, key()),
        Message::EnableAeadLimit(limit),
        Message::AeadLimitAck(limit),
    ]
}

fn bytes(object: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    object.encode(&mut out);
    out
}

#[test]
fn every_object_comes_back_and_one_byte_less_or_more_is_refused() {
    for object in objects() {
        let mut bytes = bytes(&object);
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(&object));
        bytes.push(0);
        assert!(Message::decode(&bytes).is_err(), "a byte more of {object:?}");
        let fixed = !matches!(object, Message::QueryResp(_));
        for cut in 0..bytes.len() - 1 {
            let whole_registers = !fixed && cut >= 15 && (cut - 15) % 4 == 0;
            assert_eq!(
                Message::decode(&bytes[..cut]).is_ok(),
                whole_registers,
                "{cut} bytes of {object:?}"
            );
        }
    }
}

#[test]
fn a_key_is_reversed_within_each_dword_and_the_initial_value_is_high_dword_first() {
    let wire = bytes(&objects()[2]);
    assert_eq!(wire[..7], [2, 0, 0, 5, 0, 0x23, 1]);
    assert_eq!(wire[7..15], [3, 2, 1, 0, 7, 6, 5, 4]);
    assert_eq!(wire[35..], [31, 30, 29, 28, 0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn a_key_sub_stream_byte_is_made_of_key_set_direction_and_sub_stream() {
    assert_eq!(SLOT.key_sub.0, 0x23);
    let parts = (
        SLOT.key_sub.key_set(),
        SLOT.key_sub.direction(),
        SLOT.key_sub.sub_stream(),
    );
    assert_eq!(parts, (true, Direction::Transmit, SubStream::CPL));
    assert_eq!(KeySub::new(false, Direction::Receive, SubStream::NPR).0, 0x10);
}

#[test]
fn an_unknown_object_is_refused() {
    for id in 11..=255 {
        let mut object = bytes(&objects()[4]);
        object[0] = id;
        assert!(Message::decode(&object).is_err(), "{id}");
    }
}

#[test]
fn a_key_is_not_printed() {
    let printed = format!("{:?}", objects()[2]);
    assert!(printed.contains("Secret(32 bytes)"), "{printed}");
}

/// A port with one link stream, and a selective one with two address associations, in bytes.
fn port() -> (u32, Vec<u8>) {
    let dws = [
        0x1100_0001u32, // link stream: ID 0x11, enabled
        0x8000_0002,    // secure, and a TLP failed its check
        0x0000_0012,    // selective stream: capability, two address associations
        0x22c8_0001,    // ID 0x22, TEE-limited, default, TC 1, enabled
        0x0000_0000,    // insecure
        0x00ff_ff00,    // RID limit
        0x0301_0001,    // segment 3, RID base 0x0100, valid
        0x1000_0001 | 0x080 << 8,
        0x0000_0002, // to 0x2_100f_ffff
        0x0000_0001, // from 0x1_0800_0000
        0x0000_0000, // not valid
        0,
        0,
    ];
    let blocks = dws.iter().flat_map(|dw| dw.to_le_bytes()).collect();
    (0b11, blocks)
}

#[test]
fn register_blocks_are_read_as_the_capability_announces_and_written_back() {
    let (capability, blocks) = port();
    let (streams, behind) = Streams::decode(Capability(capability), &blocks).unwrap();
    assert!(behind.is_empty());
    let [link] = streams.link[..] else {
        panic!("{streams:?}")
    };
    assert_eq!((link.control.id(), link.control.enabled()), (0x11, true));
    assert!(link.status.is_secure() && link.status.integrity_failed());
    let [selective] = &streams.selective[..] else {
        panic!("{streams:?}")
    };
    let control = selective.control;
    assert_eq!(
        (control.id(), control.traffic_class(), control.is_default()),
        (0x22, 1, true)
    );
    assert!(control.is_tee_limited() && !selective.status.is_secure());
    assert_eq!(selective.capability, 0x10);
    assert_eq!(selective.requesters.range(), Some((0x3_0100, 0x3_ffff)));
    let addresses: Vec<_> = selective
        .addresses
        .iter()
        .map(|association| association.range())
        .collect();
    assert_eq!(addresses, [Some((0x1_0800_0000, 0x2_100f_ffff)), None]);
    let mut again = Vec::new();
    streams.encode(&mut again);
    assert_eq!(again, blocks);
}

#[test]
fn register_blocks_that_end_early_are_refused_and_what_is_behind_them_is_tolerated() {
    let (capability, mut blocks) = port();
    for cut in 0..blocks.len() {
        assert!(
            Streams::decode(Capability(capability), &blocks[..cut]).is_err(),
            "{cut} bytes"
        );
    }
    blocks.extend([7; 8]);
    let (_, behind) = Streams::decode(Capability(capability), &blocks).unwrap();
    assert_eq!(behind, [7; 8]);
    let registers = Registers {
        abilities: QueryCapabilities(0),
        port: 0,
        device_function: 0,
        bus: 0,
        segment: 0,
        port_max: 0,
        capability,
        control: 0,
        blocks: &blocks,
    };
    let mut wire = Vec::new();
    Message::QueryResp(registers).encode(&mut wire);
    let Ok(Message::QueryResp(found)) = Message::decode(&wire) else {
        panic!("a QUERY_RESP")
    };
    assert_eq!(found.streams().unwrap().1, [7; 8]);
}

#[test]
fn the_most_register_blocks_fit_and_are_counted_by_the_capability() {
    let most = Capability(u32::MAX);
    assert_eq!((most.link_streams(), most.selective_streams()), (8, 256));
    assert_eq!(
        (Capability(0).link_streams(), Capability(0).selective_streams()),
        (0, 0)
    );
    let streams = Streams {
        link: vec![LinkStream::default(); 8],
        selective: vec![
            SelectiveStream {
                addresses: vec![AddressAssociation([1, 2, 3]); 15],
                ..SelectiveStream::default()
            };
            256
        ],
    };
    let mut blocks = Vec::new();
    streams.encode(&mut blocks);
    assert_eq!(blocks.len(), 51_264);
    assert!(blocks.len() <= REGISTERS_MAX);
    assert_eq!(Streams::decode(most, &blocks), Ok((streams, &[][..])));
}

#[test]
fn streams_overlap_by_requesters_or_by_addresses_if_both_are_valid() {
    let stream = |rid: u32, first_mib: u32, last_mib: u32, valid: u32| SelectiveStream {
        control: Control::selective(1, false),
        status: StreamStatus(0),
        requesters: RequesterAssociation([rid << 8, rid << 8 | valid]),
        addresses: vec![AddressAssociation([
            valid | first_mib << 8 | last_mib << 20,
            0,
            0,
        ])],
        ..SelectiveStream::default()
    };
    let one = stream(0x100, 1, 4, 1);
    assert!(!one.overlaps(&stream(0x101, 5, 9, 1)));
    assert!(one.overlaps(&stream(0x101, 4, 9, 1)));
    assert!(one.overlaps(&stream(0x100, 5, 9, 1)));
    assert!(
        !one.overlaps(&stream(0x100, 4, 9, 0)),
        "what is not valid is not there"
    );
}
