use super::*;
use proptest::prelude::*;

pub(in crate::relay) fn requests() -> impl Strategy<Value = Request> {
    let tdi = || any::<u64>().prop_map(TdiId);
    prop_oneof![
        any::<u32>().prop_map(|guest| Request::TdiInfo { guest: Rid(guest) }),
        (tdi(), any::<u64>(), any::<[u8; 32]>()).prop_map(|(tdi, generation, nonce)| {
            Request::RefreshMeasurements {
                tdi,
                generation,
                nonce,
            }
        }),
        (tdi(), any::<u64>(), any::<u16>(), any::<u64>(), any::<u64>()).prop_map(
            |(tdi, generation, range_id, gpa, pages)| {
                Request::ValidateMmio(ValidateMmio {
                    tdi,
                    generation,
                    range_id,
                    gpa,
                    pages,
                })
            }
        ),
        (tdi(), any::<u64>(), any::<u64>()).prop_map(|(tdi, generation, report_count)| {
            Request::Start {
                tdi,
                generation,
                report_count,
            }
        }),
        (tdi(), any::<u64>()).prop_map(|(tdi, generation)| Request::EnableDma { tdi, generation }),
        tdi().prop_map(|tdi| Request::DisableDma { tdi }),
        tdi().prop_map(|tdi| Request::Stop { tdi }),
        any::<(u64, u64)>().prop_map(|(gpa, len)| Request::Share { gpa, len }),
        any::<(u64, u64)>().prop_map(|(gpa, len)| Request::Unshare { gpa, len }),
    ]
}

pub(in crate::relay) fn negotiated() -> impl Strategy<Value = Negotiated> {
    any::<(u8, [u32; 4], [u16; 4])>().prop_map(
        |(version, [measurement_hash, asym, pqc_asym, hash], [dhe, kem, aead, key_schedule])| Negotiated {
            version,
            measurement_hash,
            asym,
            pqc_asym,
            hash,
            dhe,
            kem,
            aead,
            key_schedule,
        },
    )
}

fn infos() -> impl Strategy<Value = TdiInfo> {
    let names = any::<(u32, u8, u64, u32, u8, u64, u64, u16)>();
    let flags = any::<(bool, bool, bool, u8)>();
    (names, flags, negotiated(), any::<[[u8; 16]; 9]>()).prop_map(|(names, flags, spdm, bytes)| TdiInfo {
        guest: Rid(names.0),
        status: Binding(names.1),
        tdi: TdiId(names.2),
        function_id: names.3,
        state: TdiState(names.4),
        generation: names.5,
        report_count: names.6,
        lock_flags: names.7,
        dma_enabled: flags.0,
        measurements_valid: flags.1,
        measurements_fresh: flags.2,
        slot: flags.3,
        spdm,
        certificates_digest: bytes[..3].as_flattened().try_into().unwrap(),
        measurements_digest: bytes[3..6].as_flattened().try_into().unwrap(),
        report_digest: bytes[6..].as_flattened().try_into().unwrap(),
    })
}

pub(in crate::relay) fn responses() -> impl Strategy<Value = Response> {
    prop_oneof![
        infos().prop_map(Response::TdiInfo),
        any::<bool>().prop_map(|changed| Response::MmioValidated { changed }),
        Just(Response::Done),
        (any::<u16>(), "[a-z éß]{0,80}").prop_map(|(status, reason)| Response::Refused {
            status: Status(status),
            reason
        }),
    ]
}

proptest! {
    #[test]
    fn a_request_comes_back_as_it_was_sent(request in requests()) {
        let mut out = Vec::new();
        request.encode(&mut out);
        prop_assert_eq!(Request::decode(&out).unwrap(), request);
    }

    #[test]
    fn a_response_comes_back_as_it_was_sent(response in responses()) {
        let mut out = Vec::new();
        response.encode(&mut out);
        prop_assert_eq!(Response::decode(&out).unwrap(), response);
    }

    #[test]
    fn a_truncated_or_padded_message_is_refused(request in requests(), response in responses()) {
        let mut out = Vec::new();
        request.encode(&mut out);
        prop_assert!((0..out.len()).all(|cut| Request::decode(&out[..cut]).is_err()));
        out.push(0);
        prop_assert!(Request::decode(&out).is_err());
        let mut out = Vec::new();
        response.encode(&mut out);
        prop_assert!((0..out.len()).all(|cut| Response::decode(&out[..cut]).is_err()));
        out.push(0);
        prop_assert!(Response::decode(&out).is_err());
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Request::decode(&bytes);
        let _ = Response::decode(&bytes);
    }
}

#[test]
fn a_truth_value_other_than_0_and_1_is_refused() {
    assert!(Response::decode(&[code::VALIDATE_MMIO, 2]).is_err());
}

#[test]
fn an_answer_about_another_function_answers_nothing() {
    let info = Response::TdiInfo(TdiInfo::absent(Rid(0x0101), Binding::UNBOUND));
    assert!(info.answers(&Request::TdiInfo { guest: Rid(0x0101) }));
    assert!(!info.answers(&Request::TdiInfo { guest: Rid(0x0102) }));
    assert!(!Response::Done.answers(&Request::TdiInfo { guest: Rid(0x0101) }));
    assert!(!info.answers(&Request::Stop { tdi: TdiId(0) }));
}
