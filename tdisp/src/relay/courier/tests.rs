use super::*;
use crate::relay::{FrameError, frame::tests::decode};
use proptest::prelude::*;

fn kinds() -> impl Strategy<Value = ObjectKind> {
    (1u8..=3).prop_map(ObjectKind)
}

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        any::<u16>().prop_map(|version| Request::Hello { version }),
        (any::<u32>(), any::<u16>()).prop_map(|(rid, flags)| Request::Bind {
            guest: Rid(rid),
            flags
        }),
        any::<u32>().prop_map(|rid| Request::Unbind { guest: Rid(rid) }),
        (any::<u64>(), kinds(), any::<u32>()).prop_map(|(tdi, kind, offset)| Request::Object {
            tdi: TdiId(tdi),
            kind,
            offset
        }),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|sealed| Request::Guest { sealed }),
    ]
}

fn responses() -> impl Strategy<Value = Response> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        any::<u16>().prop_map(|version| Response::Hello { version }),
        any::<u64>().prop_map(|tdi| Response::Bound { tdi: TdiId(tdi) }),
        Just(Response::Unbound),
        (kinds(), any::<u32>(), any::<u32>(), bytes()).prop_map(|(kind, total, offset, bytes)| {
            Response::Chunk(Chunk {
                kind,
                total,
                offset,
                bytes,
            })
        }),
        bytes().prop_map(|sealed| Response::Guest { sealed }),
        (any::<u16>(), "[a-z éß]{0,80}").prop_map(|(code, reason)| Response::Refused {
            code: Code(code),
            reason
        }),
    ]
}

proptest! {
    #[test]
    fn a_request_comes_back_as_it_was_sent(request in requests(), id: u32) {
        let mut out = Vec::new();
        request.encode(id, &mut out);
        prop_assert_eq!(decode::<Request>(&out).unwrap(), [(id, request)]);
    }

    #[test]
    fn a_response_comes_back_as_it_was_sent(response in responses(), id: u32) {
        let mut out = Vec::new();
        response.encode(id, &mut out);
        prop_assert_eq!(decode::<Response>(&out).unwrap(), [(id, response)]);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Response>(&bytes);
    }

    #[test]
    fn no_chunks_make_an_assembly_panic_or_grow(
        chunks in prop::collection::vec((kinds(), any::<u32>(), 0u32..64, 0usize..64), 0..40)
    ) {
        let mut assembly = Assembly::new(ObjectKind::REPORT);
        for (kind, total, offset, size) in chunks {
            let _ = assembly.add(&Chunk { kind, total, offset, bytes: alloc::vec![0; size] });
        }
        prop_assert!(assembly.bytes.len() <= OBJECT_SIZE_MAX as usize);
    }
}

#[test]
fn a_request_is_no_response_and_the_other_way_round() {
    let mut out = Vec::new();
    Request::Hello { version: 1 }.encode(7, &mut out);
    assert!(matches!(decode::<Response>(&out), Err(FrameError::Malformed(_))));
    let mut out = Vec::new();
    Response::Unbound.encode(7, &mut out);
    assert!(matches!(decode::<Request>(&out), Err(FrameError::Malformed(_))));
}

#[test]
fn a_truncated_or_padded_frame_is_refused() {
    let mut out = Vec::new();
    Request::Bind {
        guest: Rid(0x100),
        flags: 1,
    }
    .encode(7, &mut out);
    let body = out[4..].to_vec();
    for cut in 1..body.len() {
        let mut frame = Vec::new();
        frame::encode(&mut frame, |out| out.bytes(&body[..cut]));
        assert!(decode::<Request>(&frame).is_err(), "cut at {cut}");
    }
    let mut frame = Vec::new();
    frame::encode(&mut frame, |out| {
        out.bytes(&body);
        out.u8(0);
    });
    assert!(decode::<Request>(&frame).is_err());
}

#[test]
fn after_a_malformed_frame_the_stream_is_given_up() {
    let mut decoder = Decoder::<Request>::default();
    decoder.push(&[5, 0, 0, 0, 0x55, 1, 0, 0, 0]);
    let error = decoder.next().unwrap_err();
    let mut good = Vec::new();
    Request::Hello { version: 1 }.encode(1, &mut good);
    decoder.push(&good);
    assert_eq!(decoder.next().unwrap_err(), error);
}

fn chunk(total: u32, offset: u32, bytes: &[u8]) -> Chunk {
    Chunk {
        kind: ObjectKind::REPORT,
        total,
        offset,
        bytes: bytes.to_vec(),
    }
}

#[test]
fn chunks_in_order_make_the_object() {
    let mut assembly = Assembly::new(ObjectKind::REPORT);
    assert_eq!(assembly.add(&chunk(5, 0, b"ab")), Ok(None));
    assert_eq!(assembly.offset(), 2);
    assert_eq!(assembly.add(&chunk(5, 2, b"cde")), Ok(Some(b"abcde".to_vec())));
}

#[test]
fn case_19_repeated_reordered_endless_or_contradictory_chunks_are_refused() {
    let refuse = |first: &Chunk, second: &Chunk| {
        let mut assembly = Assembly::new(ObjectKind::REPORT);
        assert_eq!(assembly.add(first), Ok(None));
        alloc::format!("{}", assembly.add(second).unwrap_err())
    };
    let first = chunk(5, 0, b"ab");
    assert_eq!(
        refuse(&first, &first),
        "the host sent the piece at byte 0, wanted the one at byte 2"
    );
    assert_eq!(
        refuse(&first, &chunk(5, 3, b"de")),
        "the host sent the piece at byte 3, wanted the one at byte 2"
    );
    assert_eq!(
        refuse(&first, &chunk(9, 2, b"cd")),
        "the host says that the object has 9 bytes, wanted 5 as it said before"
    );
    assert_eq!(
        refuse(&first, &chunk(5, 2, b"")),
        "the host sent a piece of 0 bytes, wanted 1 to 3"
    );
    assert_eq!(
        refuse(&first, &chunk(5, 2, b"cdef")),
        "the host sent a piece of 4 bytes, wanted 1 to 3"
    );
    let huge = Assembly::new(ObjectKind::REPORT)
        .add(&chunk(u32::MAX, 0, b"a"))
        .unwrap_err();
    assert_eq!(
        alloc::format!("{huge}"),
        "the host says that the object has 4294967295 bytes, wanted 1 to 1048576"
    );
}

#[test]
fn frames_have_the_bytes_that_the_module_says() {
    let mut out = Vec::new();
    let guest = "0000:01:00.1".parse().unwrap();
    Request::Bind { guest, flags: 5 }.encode(7, &mut out);
    // Length 11 ‖ kind 2 ‖ id 7 ‖ function 0000:01:00.1 ‖ flags 5.
    assert_eq!(out, [11, 0, 0, 0, 2, 7, 0, 0, 0, 1, 1, 0, 0, 5, 0]);
    out.clear();
    Response::Chunk(chunk(5, 2, b"cd")).encode(8, &mut out);
    // Length 16 ‖ kind 0x84 ‖ id 8 ‖ report ‖ total 5 ‖ offset 2 ‖ the bytes.
    assert_eq!(
        out,
        [
            16, 0, 0, 0, 0x84, 8, 0, 0, 0, 3, 5, 0, 0, 0, 2, 0, 0, 0, b'c', b'd'
        ]
    );
}
