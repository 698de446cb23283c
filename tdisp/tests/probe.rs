//! What a validator probes a device's IDE_KM and TDISP for, through its mailbox and a session: one test a row.
//!
//! The rows are the probe list of the reference (§7, §8), the error tables of PCIe §11.3, and the cases of the TEE-IO validator
//! (`doc/tdisp_test`, `doc/ide_test` of its repository), whose numbers are named where a row is theirs. Where its case 2.1.6
//! counts REQ_MSGS from GET_TDISP_VERSION as bit 0, Table 11-9 has the code less 80h: `0xfe`, which is what is wanted here.

mod device_support;
#[path = "probe/ide.rs"]
mod ide;
#[path = "probe/optional.rs"]
mod optional;

use device_support::*;
use std::sync::Arc;
use tdisp::{
    crypto::Ring,
    doe::{Object, ObjectType},
    dsm::{Dsm, Event, Personality},
    ide_km,
    spdm::{
        self, Requester, RequesterConfig, Trust,
        msg::{
            Code, Payload, Version,
            vendor::{Body, PciSig, Protocol, Request as VendorRequest},
        },
    },
    tdi::{
        msg::{Error, ErrorCode, InterfaceId, Lock, LockFlags, Request, Response, State, Vdm},
        report::{Attributes, Range, Report},
        responder::{Ide, Optional},
    },
    wire::Write,
};

const STATES: [State; 4] = [State::UNLOCKED, State::LOCKED, State::RUN, State::ERROR];
/// Keyed by [`probed`]: the default stream.
const STREAM: u8 = 3;
/// All flags that the device has.
const FLAGS: LockFlags = LockFlags(0b1_1111);
const ALL_FLAGS: Lock = Lock { flags: FLAGS, ..LOCK };

/// A session with a device that has everything that TDISP has, whose default stream is keyed and in use.
fn probed() -> Pair {
    Pair::connected(everything(honest())).keyed().0
}

fn everything(personality: impl Personality + 'static) -> Dsm {
    let mut config = config(Ide::Required);
    config.spdm.versions = spdm::VERSIONS.to_vec();
    config.tdi.lock_flags = FLAGS;
    config.tdi.optional = Optional {
        peer_streams: true,
        mmio_attributes: true,
        vendor: true,
    };
    Dsm::new(config, Box::new(personality), Arc::new(Ring))
}

fn error(code: ErrorCode) -> Response<'static> {
    Response::Error(Error::new(code, 0))
}

fn unsupported(code: u8) -> Response<'static> {
    Response::Error(Error::new(ErrorCode::UNSUPPORTED_REQUEST, code.into()))
}

/// One of each request, as it would be right in the state where it is legal.
fn requests(nonce: [u8; 32]) -> [Request<'static>; 11] {
    let range = Range {
        attributes: Attributes::NON_TEE,
        ..report().ranges[0]
    };
    let vdm = Vdm {
        registry: Vdm::PCI_SIG,
        vendor: &[1, 0],
        data: b"hello",
    };
    [
        Request::GetVersion,
        Request::GetCapabilities { tsm_caps: 0 },
        Request::Lock(LOCK),
        Request::GetReport {
            offset: 0,
            length: 0x400,
        },
        Request::GetState,
        Request::Start { nonce },
        Request::Stop,
        Request::BindP2p { stream: STREAM },
        Request::UnbindP2p { stream: STREAM },
        Request::SetMmioAttribute(range),
        Request::Vdm(vdm),
    ]
}

fn object(version: u8, code: u8, interface: InterfaceId, body: &[u8]) -> Vec<u8> {
    let mut object = vec![version, code, 0, 0];
    object.u32(interface.function);
    object.zeros(8);
    object.bytes(body);
    object
}

// ---- TDISP_VERSION, TDISP_CAPABILITIES ----

#[test]
fn the_version_is_1_0_alone() {
    let versions = probed().ask(&Request::GetVersion);
    assert_eq!(versions, Response::Version(vec![tdisp::tdi::msg::Version::V1_0]));
}

#[test]
fn the_capabilities_are_in_their_bounds() {
    let mut pair = probed();
    let answer = pair.ask(&Request::GetCapabilities { tsm_caps: 0 });
    let Response::Capabilities(found) = answer else {
        panic!("capabilities, not {answer:?}")
    };
    assert_eq!(found.dsm_caps, 0);
    assert_eq!(
        found.requests[..2],
        [0xfe, 0x0f],
        "the bit of a request is its code less 80h"
    );
    assert_eq!(found.requests[2..], [0; 14]);
    assert_eq!(found.lock_flags.0 & 0xffe0, 0);
    assert!(found.address_width >= 52, "address width {}", found.address_width);
    assert_eq!(
        (found.outstanding_here, found.outstanding_all),
        (1, 1),
        "NUM_REQ_THIS, NUM_REQ_ALL: one is answered after the other"
    );
    let mut plain = Pair::connected(device(Ide::Required, honest()));
    let answer = plain.ask(&Request::GetCapabilities { tsm_caps: u32::MAX });
    let Response::Capabilities(found) = answer else {
        panic!("capabilities, not {answer:?}")
    };
    assert_eq!(found.requests[..2], [0xfe, 0], "without optional requests");
}

// ---- states × requests ----

/// What each request is answered in a state, and the state after it.
fn expected(state: State, request: &Request<'_>) -> (Option<ErrorCode>, State) {
    use ErrorCode as E;
    let (unlocked, locked, run) = (
        state == State::UNLOCKED,
        state == State::LOCKED,
        state == State::RUN,
    );
    let legal = |legal: bool, after: State| match legal {
        true => (None, after),
        false => (Some(E::INVALID_INTERFACE_STATE), state),
    };
    match request {
        Request::GetVersion | Request::GetCapabilities { .. } | Request::GetState => (None, state),
        Request::Lock(_) => legal(unlocked, State::LOCKED),
        Request::GetReport { .. } => legal(locked || run, state),
        Request::Start { .. } => legal(locked, State::RUN),
        Request::Stop => (None, State::UNLOCKED),
        // The default stream may not be bound, was not bound, and the range is not one that can be changed.
        Request::BindP2p { .. } | Request::UnbindP2p { .. } | Request::SetMmioAttribute(_) => match run {
            true => (Some(E::INVALID_REQUEST), state),
            false => (Some(E::INVALID_INTERFACE_STATE), state),
        },
        Request::Vdm(_) => (Some(E::UNSUPPORTED_REQUEST), state),
    }
}

#[test]
fn each_request_in_each_state_is_answered_as_the_tables_say_and_a_refused_one_changes_nothing() {
    let mut pair = probed();
    for state in STATES {
        for row in 0..requests([0; 32]).len() {
            let nonce = pair.bring_to(state, LOCK);
            let request = requests(nonce)[row];
            let (refusal, after) = expected(state, &request);
            let answer = pair.ask(&request);
            let code = request.code();
            match refusal {
                None => assert_eq!(answer.code().0, code.0 & 0x7f, "{code} in {state}"),
                Some(ErrorCode::UNSUPPORTED_REQUEST) => {
                    assert_eq!(answer, unsupported(code.0), "{code} in {state}")
                }
                Some(refusal) => assert_eq!(answer, error(refusal), "{code} in {state}"),
            }
            pair.assert_state(after);
        }
    }
}

#[test]
fn an_unknown_code_is_unsupported_in_each_state_and_changes_nothing() {
    let mut pair = probed();
    for state in STATES {
        pair.bring_to(state, LOCK);
        for code in (0..=0xff)
            .filter(|code| !(0x81..=0x8b).contains(code))
            .step_by(7)
            .chain([0x80, 0x8c, 0x7f])
        {
            assert_eq!(
                pair.send(&object(0x10, code, TDI, &[])),
                unsupported(code),
                "{code:#x} in {state}"
            );
        }
        pair.assert_state(state);
    }
}

#[test]
fn a_wrong_interface_is_invalid_for_each_request() {
    let mut pair = probed();
    let others = [
        InterfaceId::new(0x0103),
        InterfaceId::in_segment(0, 0x0101),
        InterfaceId {
            function: 0x8000_0101,
        },
    ];
    for other in others {
        for request in requests([0; 32]) {
            let mut object = Vec::new();
            request.encode(other, &mut object);
            assert_eq!(
                pair.send(&object),
                error(ErrorCode::INVALID_INTERFACE),
                "{} for {other:?}",
                request.code()
            );
        }
    }
}

#[test]
fn another_version_is_a_mismatch_for_each_request() {
    let mut pair = probed();
    for version in [0x00, 0x0f, 0x11, 0x15, 0x20, 0xff] {
        for code in 0x81..=0x8b {
            let answer = pair.send(&object(version, code, TDI, &[]));
            assert_eq!(
                answer,
                error(ErrorCode::VERSION_MISMATCH),
                "{code:#x} in {version:#x}"
            );
        }
    }
}

#[test]
fn a_request_of_another_length_is_invalid() {
    let mut pair = probed();
    for state in [State::LOCKED, State::RUN] {
        pair.bring_to(state, LOCK);
        // A vendor's message may have any length from 2 on.
        for request in &requests([0; 32])[..10] {
            let mut object = Vec::new();
            request.encode(TDI, &mut object);
            let whole = object.len();
            object.push(0);
            for size in [16, whole - 1, whole + 1]
                .into_iter()
                .filter(|size| *size >= 16 && *size != whole)
            {
                let answer = pair.send(&object[..size]);
                assert_eq!(
                    answer,
                    error(ErrorCode::INVALID_REQUEST),
                    "{} of {size} bytes",
                    request.code()
                );
            }
        }
        pair.assert_state(state);
    }
}

#[test]
fn a_request_without_a_whole_header_is_silent() {
    for size in [0, 1, 2, 15] {
        let mut pair = probed();
        pair.bring_to(State::RUN, LOCK);
        assert_eq!(
            pair.vendor(Protocol::TDISP, &vec![0x10; size]),
            None,
            "{size} bytes"
        );
        assert_eq!(pair.device.state(TDI), Some(State::RUN));
    }
}

// ---- LOCK ----

#[test]
fn a_lock_with_all_flags_that_are_announced_is_given() {
    probed().bring_to(State::LOCKED, ALL_FLAGS);
}

#[test]
fn a_lock_without_ide_keys_is_an_invalid_request_and_leaves_the_interface_unlocked() {
    let mut pair = Pair::connected(everything(honest()));
    assert_eq!(
        pair.ask(&Request::Lock(LOCK)),
        error(ErrorCode::INVALID_REQUEST),
        "validator 3.2"
    );
    pair.assert_state(State::UNLOCKED);
    let mut keyed = pair.keyed().0;
    for default_stream in [0, 2, 4, 0xff] {
        let lock = Lock {
            default_stream,
            ..LOCK
        };
        assert_eq!(
            keyed.ask(&Request::Lock(lock)),
            error(ErrorCode::INVALID_REQUEST),
            "stream {default_stream}"
        );
        keyed.assert_state(State::UNLOCKED);
    }
}

#[test]
fn a_lock_with_flags_that_are_not_announced_is_an_invalid_request() {
    let mut pair = Pair::connected(device(Ide::Required, honest())).keyed().0;
    for bit in 0..16 {
        let flags = LockFlags(1 << bit);
        let answer = pair.ask(&Request::Lock(Lock { flags, ..LOCK }));
        match 0b1_0111 >> bit & 1 {
            1 => assert_eq!(answer.code().0, 3, "flag {bit}"),
            _ => assert_eq!(answer, error(ErrorCode::INVALID_REQUEST), "flag {bit}"),
        }
        assert_eq!(pair.ask(&Request::Stop), Response::Stop);
    }
}

#[test]
fn a_lock_with_a_reporting_offset_off_the_page_grid_is_an_invalid_request() {
    let mut pair = probed();
    for mmio_reporting_offset in [1, 0xfff, 0x1001, u64::MAX] {
        let lock = Lock {
            mmio_reporting_offset,
            ..LOCK
        };
        assert_eq!(pair.ask(&Request::Lock(lock)), error(ErrorCode::INVALID_REQUEST));
        pair.assert_state(State::UNLOCKED);
    }
    let negative = Lock {
        mmio_reporting_offset: 0u64.wrapping_sub(0x1000),
        ..LOCK
    };
    assert_eq!(
        pair.ask(&Request::Lock(negative)).code().0,
        3,
        "a two's complement offset"
    );
}

#[test]
fn a_second_lock_is_refused_and_the_first_is_as_it_was() {
    let mut pair = probed();
    let nonce = pair.bring_to(State::LOCKED, LOCK);
    assert_eq!(
        pair.ask(&Request::Lock(LOCK)),
        error(ErrorCode::INVALID_INTERFACE_STATE),
        "validator 3.3"
    );
    assert_eq!(pair.ask(&Request::Start { nonce }), Response::Start);
    assert_eq!(
        pair.ask(&Request::Lock(LOCK)),
        error(ErrorCode::INVALID_INTERFACE_STATE),
        "validator 3.4"
    );
    pair.assert_state(State::RUN);
}

// ---- GET_DEVICE_INTERFACE_REPORT ----

#[test]
fn the_report_is_given_locked_and_running_and_nowhere_else() {
    let mut pair = probed();
    let mut wanted = Vec::new();
    let mut shifted = report();
    shifted.ranges[0].first_page += LOCK.mmio_reporting_offset / 4096;
    shifted.encode(&mut wanted);
    for state in STATES {
        pair.bring_to(state, LOCK);
        let mut whole = Vec::new();
        let found = loop {
            match pair.ask(&Request::GetReport {
                offset: whole.len() as u16,
                length: 0x400,
            }) {
                Response::Report { portion, remainder } => {
                    assert!(!portion.is_empty() && portion.len() <= 32);
                    whole.extend_from_slice(portion);
                    if remainder == 0 {
                        break Ok(whole);
                    }
                }
                other => break Err(other),
            }
        };
        match state {
            State::LOCKED | State::RUN => assert_eq!(found.as_ref(), Ok(&wanted)),
            _ => assert_eq!(found, Err(error(ErrorCode::INVALID_INTERFACE_STATE))),
        }
        pair.assert_state(state);
    }
    let read = Report::decode(&wanted).unwrap();
    assert_eq!(read.info.0 & 0xffe0, 0, "validator 4.5.2: reserved bits");
    assert!(
        read.ranges.iter().all(|range| range.attributes.0 & 0xfff0 == 0),
        "validator 4.5.3"
    );
}

#[test]
fn an_offset_at_or_behind_the_end_and_a_length_of_0_are_invalid_requests() {
    let mut pair = probed();
    let mut bytes = Vec::new();
    report().encode(&mut bytes);
    let total = bytes.len() as u16;
    for state in [State::LOCKED, State::RUN] {
        pair.bring_to(state, LOCK);
        for (offset, length) in [
            (total, 1),
            (total + 1, 1),
            (0xffff, 1),
            (0xffff, 0xffff),
            (0x8000, 0x8000),
            (0, 0),
            (1, 0),
            (total, 0),
        ] {
            let answer = pair.ask(&Request::GetReport { offset, length });
            assert_eq!(
                answer,
                error(ErrorCode::INVALID_REQUEST),
                "offset {offset}, length {length}"
            );
        }
        let answer = pair.ask(&Request::GetReport {
            offset: total - 1,
            length: 0xffff,
        });
        assert_eq!(
            answer,
            Response::Report {
                portion: &bytes[bytes.len() - 1..],
                remainder: 0
            }
        );
        pair.assert_state(state);
    }
}

// ---- START ----

#[test]
fn a_nonce_that_is_not_the_locks_is_refused_and_the_lock_stays() {
    let mut pair = probed();
    let old = pair.bring_to(State::LOCKED, LOCK);
    let nonce = pair.bring_to(State::LOCKED, LOCK);
    let inverted = nonce.map(|byte| !byte);
    let mirrored: [u8; 32] = core::array::from_fn(|at| nonce[31 - at]);
    let mut nearly = nonce;
    nearly[31] ^= 1;
    for wrong in [old, inverted, mirrored, nearly, [0; 32], [0xff; 32]] {
        assert_eq!(
            pair.ask(&Request::Start { nonce: wrong }),
            error(ErrorCode::INVALID_NONCE)
        );
        pair.assert_state(State::LOCKED);
    }
    assert_eq!(pair.ask(&Request::Start { nonce }), Response::Start);
}

#[test]
fn a_nonce_works_once_and_not_after_stop_or_error() {
    let mut pair = probed();
    let nonce = pair.bring_to(State::RUN, LOCK);
    assert_eq!(
        pair.ask(&Request::Start { nonce }),
        error(ErrorCode::INVALID_INTERFACE_STATE),
        "validator 6.4"
    );
    assert_eq!(pair.ask(&Request::Stop), Response::Stop);
    assert_eq!(
        pair.ask(&Request::Start { nonce }),
        error(ErrorCode::INVALID_INTERFACE_STATE),
        "validator 6.3"
    );
    pair.bring_to(State::LOCKED, LOCK);
    assert_eq!(
        pair.ask(&Request::Start { nonce }),
        error(ErrorCode::INVALID_NONCE)
    );
    let nonce = pair.bring_to(State::ERROR, LOCK);
    assert_eq!(
        pair.ask(&Request::Start { nonce }),
        error(ErrorCode::INVALID_INTERFACE_STATE)
    );
    pair.bring_to(State::LOCKED, LOCK);
    assert_eq!(
        pair.ask(&Request::Start { nonce }),
        error(ErrorCode::INVALID_NONCE)
    );
}

// ---- STOP ----

#[test]
fn a_stop_unlocks_in_each_state() {
    let mut pair = probed();
    for state in STATES {
        pair.bring_to(state, LOCK);
        assert_eq!(pair.ask(&Request::Stop), Response::Stop, "in {state}");
        pair.assert_state(State::UNLOCKED);
        pair.bring_to(State::RUN, LOCK);
    }
}

// ---- in clear, and teardown ----

#[test]
fn tdisp_and_ide_km_in_clear_are_silent_and_change_nothing() {
    for version in [Version::V1_1, Version::V1_2, Version::V1_3, Version::V1_4] {
        speak_in_clear(version);
    }
}

fn speak_in_clear(version: Version) {
    let mut device = everything(honest());
    let config = RequesterConfig {
        roots: Trust::RelyingPartyDecides,
        goal: spdm::Goal::Identity,
        versions: vec![version],
        ..RequesterConfig::default()
    };
    let mut requester = Requester::new(config, Arc::new(Ring));
    requester.connect(NOW);
    let mut sent = Vec::new();
    let in_clear = |device: &mut Dsm| {
        let tdisp = requests([0; 32]).map(|request| {
            let mut object = Vec::new();
            request.encode(TDI, &mut object);
            (Protocol::TDISP, object)
        });
        let ide = (0..=10).map(|id| (Protocol::IDE_KM, vec![id; if id == 0 { 3 } else { 7 }]));
        for (protocol, object) in tdisp.into_iter().chain(ide) {
            let (mut payload, mut unit) = (Vec::new(), Vec::new());
            PciSig {
                protocol,
                object: &object,
            }
            .encode(&mut payload);
            let message = VendorRequest(Body::pci_sig(version, &payload)).to_vec();
            Object::new(ObjectType::SPDM, &message).encode(&mut unit);
            device.handle(NOW, &unit);
            assert!(
                !device.poll_transmit(&mut Vec::new()),
                "{protocol} {object:02x?} in clear"
            );
        }
    };
    while requester.poll_transmit(&mut sent) {
        // Before algorithms are agreed on, whatever comes is out of order for SPDM itself; and any request between
        // GET_DIGESTS and CHALLENGE voids what CHALLENGE_AUTH signs.
        if requester.awaited() == Some(Code::DIGESTS) {
            in_clear(&mut device);
        }
        device.handle(NOW, &sent);
        let mut answer = Vec::new();
        assert!(device.poll_transmit(&mut answer));
        requester.handle(NOW, &answer);
        sent.clear();
    }
    in_clear(&mut device);
    assert_eq!(device.state(TDI), Some(State::UNLOCKED));
    assert!(
        core::iter::from_fn(|| requester.poll_event()).any(|event| matches!(event, spdm::Event::Challenged))
    );
}

#[test]
fn the_end_of_the_session_sends_locked_and_running_interfaces_to_error() {
    for state in STATES {
        let mut pair = probed();
        pair.bring_to(state, LOCK);
        pair.spdm.end_session(NOW).unwrap();
        pair.exchange();
        let after = match state {
            State::UNLOCKED => State::UNLOCKED,
            _ => State::ERROR,
        };
        assert_eq!(pair.device.state(TDI), Some(after), "from {state}");
        let told = pair.seen.contains(&Event::TdiState {
            interface: TDI,
            state: State::ERROR,
        });
        assert_eq!(told, matches!(state, State::LOCKED | State::RUN));
    }
}

#[test]
fn after_the_session_only_stop_helps_and_a_lock_wants_keys_of_the_new_session() {
    let mut pair = probed();
    let nonce = pair.bring_to(State::LOCKED, LOCK);
    pair.spdm.end_session(NOW).unwrap();
    pair.exchange();
    pair.spdm.connect(NOW);
    pair.exchange();
    pair.assert_state(State::ERROR);
    assert_eq!(
        pair.ask(&Request::Start { nonce }),
        error(ErrorCode::INVALID_INTERFACE_STATE)
    );
    assert_eq!(
        pair.ask(&Request::Lock(LOCK)),
        error(ErrorCode::INVALID_INTERFACE_STATE)
    );
    assert_eq!(pair.ask(&Request::Stop), Response::Stop);
    assert_eq!(
        pair.ask(&Request::Lock(LOCK)),
        error(ErrorCode::INVALID_REQUEST),
        "the keys went with the session"
    );
    pair.keyed().0.bring_to(State::RUN, LOCK);
}

#[test]
fn a_stopped_stream_sends_locked_and_running_interfaces_to_error() {
    for state in STATES {
        let (mut pair, mut keys) = Pair::connected(everything(honest())).keyed();
        pair.bring_to(state, LOCK);
        pair.keys(|keys: &mut ide_km::Requester| keys.stop().unwrap(), &mut keys);
        let after = match state {
            State::UNLOCKED => State::UNLOCKED,
            _ => State::ERROR,
        };
        pair.assert_state(after);
        assert_eq!(pair.ask(&Request::Stop), Response::Stop);
        assert_eq!(
            pair.ask(&Request::Lock(LOCK)),
            error(ErrorCode::INVALID_REQUEST),
            "its keys are gone"
        );
    }
}
