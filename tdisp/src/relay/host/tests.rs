use super::*;
use crate::relay::{frame::tests::decode, guest::tests::negotiated};
use alloc::vec;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

fn commands() -> impl Strategy<Value = Command> {
    let rid = || any::<u32>().prop_map(Rid);
    prop_oneof![
        Just(Command::Status),
        any::<u32>().prop_map(|vm| Command::VmCreate { vm: VmId(vm) }),
        any::<u32>().prop_map(|vm| Command::VmDestroy { vm: VmId(vm) }),
        (rid(), any::<u8>()).prop_map(|(device, slot)| Command::DevConnect { device, slot }),
        rid().prop_map(|device| Command::DevDisconnect { device }),
        rid().prop_map(|device| Command::DevStatus { device }),
        (rid(), any::<(u32, u32, u16, u64)>(), rid()).prop_map(|(device, rest, guest)| {
            let (function_id, vm, flags, mmio_offset) = rest;
            Command::TdiBind(Bind {
                device,
                function_id,
                vm: VmId(vm),
                guest,
                flags,
                mmio_offset,
            })
        }),
        any::<u64>().prop_map(|tdi| Command::TdiUnbind { tdi: TdiId(tdi) }),
        (any::<u32>(), bytes()).prop_map(|(vm, bytes)| Command::GuestRequest { vm: VmId(vm), bytes }),
        bytes().prop_map(|object| Command::Carried { object }),
        "[a-z é]{0,80}".prop_map(|reason| Command::CarryFailed { reason }),
    ]
}

fn dev_status() -> impl Strategy<Value = DevStatus> {
    let tdis = any::<(u64, u32, u32, u32, u8, u64, bool)>().prop_map(|tdi| TdiStatus {
        tdi: TdiId(tdi.0),
        function_id: tdi.1,
        vm: VmId(tdi.2),
        guest: Rid(tdi.3),
        state: TdiState(tdi.4),
        generation: tdi.5,
        dma_enabled: tdi.6,
    });
    let tdis = prop::collection::vec(tdis, 0..4);
    (any::<(bool, u8, u8, u8)>(), negotiated(), tdis).prop_map(|(fields, spdm, tdis)| DevStatus {
        connected: fields.0,
        slot: fields.1,
        spdm,
        certificates_digest: [fields.2; 48],
        measurements_digest: [fields.3; 48],
        tdis,
    })
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        (any::<u32>(), bytes()).prop_map(|(rid, object)| Answer::Carry {
            device: Rid(rid),
            object
        }),
        (any::<bool>(), any::<u32>(), 1u8..=3, bytes()).prop_map(|(device, name, kind, bytes)| {
            let owner = if device {
                Owner::Device(Rid(name))
            } else {
                Owner::Tdi(TdiId(name.into()))
            };
            Answer::Object {
                owner,
                kind: ObjectKind(kind),
                bytes,
            }
        }),
        Just(Answer::Done(Done::Ok)),
        any::<(u16, u32, u32, u32)>().prop_map(|(version, devices, vms, tdis)| {
            Answer::Done(Done::Status(Status {
                version,
                devices,
                vms,
                tdis,
            }))
        }),
        dev_status().prop_map(|status| Answer::Done(Done::DevStatus(status))),
        any::<u64>().prop_map(|tdi| Answer::Done(Done::Bound { tdi: TdiId(tdi) })),
        bytes().prop_map(|bytes| Answer::Done(Done::Guest { bytes })),
        (any::<u16>(), "[a-z é]{0,80}").prop_map(|(code, reason)| Answer::Failed {
            code: Code(code),
            reason
        }),
    ]
}

proptest! {
    #[test]
    fn a_command_comes_back_as_it_was_sent(command in commands()) {
        let mut out = Vec::new();
        command.encode(&mut out);
        prop_assert_eq!(decode::<Command>(&out).unwrap(), [command]);
        prop_assert!(decode::<Answer>(&out).is_err(), "a command is no answer");
    }

    #[test]
    fn an_answer_comes_back_as_it_was_sent(answer in answers()) {
        let mut out = Vec::new();
        answer.encode(&mut out);
        prop_assert_eq!(decode::<Answer>(&out).unwrap(), [answer]);
        prop_assert!(decode::<Command>(&out).is_err(), "an answer is no command");
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(content in prop::collection::vec(any::<u8>(), 1..300)) {
        let mut framed = Vec::new();
        frame::encode(&mut framed, |out| out.bytes(&content));
        for bytes in [&content, &framed] {
            let _ = decode::<Command>(bytes);
            let _ = decode::<Answer>(bytes);
        }
    }
}

#[test]
fn frames_have_the_bytes_that_the_module_says() {
    let mut out = Vec::new();
    let device = "0000:01:00.0".parse().unwrap();
    Command::DevConnect { device, slot: 2 }.encode(&mut out);
    // Length 6 ‖ code 4 ‖ function 0000:01:00.0 ‖ slot 2.
    assert_eq!(out, [6, 0, 0, 0, 4, 0, 1, 0, 0, 2]);
    out.clear();
    Answer::Carry {
        device,
        object: vec![0xaa, 0xbb],
    }
    .encode(&mut out);
    // Length 7 ‖ code 0x80 ‖ function ‖ the object.
    assert_eq!(out, [7, 0, 0, 0, 0x80, 0, 1, 0, 0, 0xaa, 0xbb]);
}

#[test]
fn a_frame_holds_the_largest_doe_object() {
    let mut out = Vec::new();
    let object = vec![0; 1 << 20];
    Answer::Carry {
        device: Rid(0),
        object: object.clone(),
    }
    .encode(&mut out);
    let mut decoder = Decoder::<Answer>::default();
    decoder.push(&out);
    assert_eq!(
        decoder.next(),
        Ok(Some(Answer::Carry {
            device: Rid(0),
            object
        }))
    );
}
