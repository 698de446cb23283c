//! IDE_KM objects: byte order, and what must be refused.

use tdisp::crypto::Secret;
use tdisp::ide_km::msg::*;

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
