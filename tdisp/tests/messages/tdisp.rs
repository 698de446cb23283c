//! TDISP messages: what must be refused, one test for each mistake that others have made.

use tdisp::spdm::msg::vendor::{PciSig, Protocol};
use tdisp::tdi::msg::*;
use tdisp::tdi::report::{Attributes, Range};

const INTERFACE: InterfaceId = InterfaceId::new(0x0101);

fn lock() -> Lock {
    Lock {
        flags: LockFlags::NO_FW_UPDATE | LockFlags::LOCK_MSIX,
        default_stream: 3,
        mmio_reporting_offset: 0xd000_0000,
        bind_p2p_address_mask: 0,
    }
}

fn requests() -> Vec<Request<'static>> {
    let range = Range {
        first_page: 0x8000,
        pages: 4,
        attributes: Attributes::NON_TEE,
        id: 2,
    };
    vec![
        Request::GetVersion,
        Request::GetCapabilities { tsm_caps: 0 },
        Request::Lock(lock()),
        Request::GetReport {
            offset: 0xffff,
            length: 0xffff,
        },
        Request::GetState,
        Request::Start { nonce: [7; 32] },
        Request::Stop,
        Request::BindP2p { stream: 1 },
        Request::UnbindP2p { stream: 1 },
        Request::SetMmioAttribute(range),
    ]
}

fn responses() -> Vec<Response<'static>> {
    vec![
        Response::Version(vec![Version::V1_0, Version(0x20)]),
        Response::Capabilities(Capabilities {
            dsm_caps: 0,
            requests: Capabilities::REQUESTS_MANDATORY,
            lock_flags: LockFlags(0x1f),
            address_width: 52,
            outstanding_here: 0,
            outstanding_all: 0,
        }),
        Response::Lock { nonce: [7; 32] },
        Response::Report {
            portion: b"a portion",
            remainder: 0xffff,
        },
        Response::State(State::RUN),
        Response::Start,
        Response::Stop,
        Response::BindP2p,
        Response::UnbindP2p,
        Response::SetMmioAttribute,
        Response::Error(Error::new(ErrorCode::INVALID_NONCE, 0)),
        Response::Error(Error {
            code: ErrorCode::VENDOR,
            data: 5,
            extended: &[0, 2, 1, 0, 9],
        }),
    ]
}

#[test]
fn every_message_comes_back_and_one_byte_less_or_more_is_refused() {
    let mut bytes = Vec::new();
    for request in requests() {
        bytes.clear();
        request.encode(INTERFACE, &mut bytes);
        let (header, body) = Header::decode(&bytes).unwrap();
        assert_eq!((header.version, header.interface), (Version::V1_0, INTERFACE));
        assert_eq!(Request::decode(header.code, body).as_ref(), Ok(&request));
        for cut in 0..body.len() {
            assert!(
                Request::decode(header.code, &body[..cut]).is_err(),
                "{cut} bytes of {request:?}"
            );
        }
        let longer = [body, &[0]].concat();
        assert!(
            Request::decode(header.code, &longer).is_err(),
            "a byte more of {request:?}"
        );
    }
    for response in responses() {
        bytes.clear();
        response.encode(INTERFACE, &mut bytes);
        let (header, body) = Header::decode(&bytes).unwrap();
        assert_eq!(Response::decode(header.code, body).as_ref(), Ok(&response));
        for cut in 0..body.len() {
            assert!(
                Response::decode(header.code, &body[..cut]).is_err(),
                "{cut} bytes of {response:?}"
            );
        }
        let longer = [body, &[0]].concat();
        assert!(
            Response::decode(header.code, &longer).is_err(),
            "a byte more of {response:?}"
        );
    }
}

#[test]
fn a_vendor_defined_message_takes_what_there_is() {
    let vdm = Vdm {
        registry: 1,
        vendor: &[0x98, 0x1e],
        data: b"said",
    };
    let mut bytes = Vec::new();
    Request::Vdm(vdm).encode(INTERFACE, &mut bytes);
    let (header, body) = Header::decode(&bytes).unwrap();
    assert_eq!(Request::decode(header.code, body), Ok(Request::Vdm(vdm)));
    assert!(
        Request::decode(Code::VDM, &[1, 3, 0, 0]).is_err(),
        "a vendor ID longer than the message"
    );
}

#[test]
fn a_header_shorter_than_16_bytes_is_refused_and_any_version_and_code_is_shown() {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&[0x15, 0xee]);
    for cut in 0..16 {
        assert!(Header::decode(&bytes[..cut]).is_err());
    }
    let (header, body) = Header::decode(&bytes).unwrap();
    assert_eq!((header.version, header.code), (Version(0x15), Code(0xee)));
    assert!(
        Request::decode(header.code, body).is_err(),
        "but not read as a request"
    );
    for code in 0..=0x7f {
        assert!(
            Request::decode(Code(code), &[]).is_err(),
            "a response's code, {code:#x}"
        );
        assert!(Response::decode(Code(code | 0x80), &[]).is_err());
    }
}

#[test]
fn an_interface_id_is_32_bits_of_function_and_64_reserved() {
    let mut bytes = Vec::new();
    Request::GetState.encode(InterfaceId::in_segment(2, 0x1234), &mut bytes);
    assert_eq!(
        bytes,
        [0x10, 0x85, 0, 0, 0x34, 0x12, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    let id = InterfaceId::in_segment(2, 0x1234);
    assert_eq!(
        (id.requester(), id.segment(), id.to_string().as_str()),
        (0x1234, Some(2), "0002:12:06.4")
    );
    assert_eq!(
        (INTERFACE.segment(), INTERFACE.to_string().as_str()),
        (None, "01:00.1")
    );
}

#[test]
fn request_bits_start_at_1() {
    assert_eq!(Code::GET_VERSION.request_bit(), 1);
    let mandatory = (1..=7).fold(0u8, |mask, bit| mask | 1 << bit);
    assert_eq!(Capabilities::REQUESTS_MANDATORY[0], mandatory);
    assert_eq!(Code::STOP.request_bit(), 7);
}

#[test]
fn a_peer_that_counts_request_bits_from_0_is_understood() {
    let supported = |first| {
        let mut capabilities = Capabilities {
            dsm_caps: 0,
            requests: [0; 16],
            lock_flags: LockFlags(0),
            address_width: 52,
            outstanding_here: 0,
            outstanding_all: 0,
        };
        capabilities.requests[0] = first;
        let codes = (0x80..=0xff).filter(|code| capabilities.supports(Code(*code)));
        codes.collect::<Vec<_>>()
    };
    assert_eq!(supported(0xfe), Vec::from_iter(0x81..=0x87));
    assert_eq!(supported(0x7f), Vec::from_iter(0x81..=0x87));
    assert_eq!(supported(0), []);
}

#[test]
fn a_reporting_offset_that_is_no_multiple_of_a_page_is_refused() {
    for (offset, read) in [
        (0, true),
        (0xffff_ffff_ffff_f000, true),
        (1, false),
        (0xfff, false),
    ] {
        let mut bytes = Vec::new();
        let request = Request::Lock(Lock {
            mmio_reporting_offset: offset,
            ..lock()
        });
        request.encode(INTERFACE, &mut bytes);
        assert_eq!(
            Request::decode(Code::LOCK, &bytes[HEADER_SIZE..]).is_ok(),
            read,
            "{offset:#x}"
        );
    }
}

#[test]
fn a_report_portion_longer_or_shorter_than_its_message_is_refused() {
    let read = |portion: u16, there: usize| {
        let mut body = Vec::from(portion.to_le_bytes());
        body.extend([0xff, 0xff]);
        body.resize(4 + there, 0);
        Response::decode(Code::REPORT, &body).is_ok()
    };
    assert!(read(0, 0) && read(9, 9) && read(0xffff, 0xffff));
    for (portion, there) in [(1, 0), (0xffff, 0), (0xffff, 0xfffe), (8, 9), (0, 1)] {
        assert!(!read(portion, there), "{portion} said, {there} there");
    }
}

#[test]
fn a_version_list_without_versions_is_refused() {
    assert!(Response::decode(Code::VERSION, &[0]).is_err());
}

#[test]
fn an_error_with_a_huge_extended_length_is_refused() {
    let mut body = vec![0xff, 0, 0, 0];
    body.extend(u32::MAX.to_le_bytes());
    assert!(Response::decode(Code::ERROR, &body).is_err());
}

#[test]
fn an_unknown_state_is_a_value() {
    let read = Response::decode(Code::STATE, &[9]).unwrap();
    assert_eq!(read, Response::State(State(9)));
    assert_eq!(State(9).to_string(), "0x9");
}

#[test]
fn a_tdisp_object_is_behind_the_protocol_byte() {
    let payload = [1, 0x10, 0x81];
    let read = PciSig::decode(&payload).unwrap();
    assert_eq!((read.protocol, read.object), (Protocol::TDISP, &payload[1..]));
    let mut again = Vec::new();
    read.encode(&mut again);
    assert_eq!(again, payload);
}
