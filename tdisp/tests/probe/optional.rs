//! BIND_P2P_STREAM, UNBIND_P2P_STREAM, SET_MMIO_ATTRIBUTE and vendors' messages.

use super::*;
use tdisp::{
    dsm::Honest,
    ide_km::{
        msg::Direction,
        registers::{AddressAssociation, Control, SelectiveStream, Streams},
        responder::Port,
    },
    spdm::responder::Measurement,
    tdi::{
        msg::OwnedVdm,
        responder::{Misconfigured, NotSettable, VendorRefusal},
    },
};

const PEER: u8 = 7;

/// Programs another stream and starts it.
fn key_peer(pair: &mut Pair, stream: u8) -> ide_km::Requester {
    let mut keys = ide_km::Requester::new(0, stream);
    pair.keys(|keys| keys.program(&Ring).expect("keys").to_vec(), &mut keys);
    for way in [Direction::Receive, Direction::Transmit] {
        pair.keys(|keys| keys.go(way).expect("a programmed set"), &mut keys);
    }
    keys
}

const P2P: Lock = Lock {
    flags: LockFlags(0b1000),
    ..LOCK
};
const BIND: Request<'_> = Request::BindP2p { stream: PEER };
const UNBIND: Request<'_> = Request::UnbindP2p { stream: PEER };

#[test]
fn a_peer_stream_with_keys_is_bound_once_and_unbound_once() {
    let mut pair = probed();
    key_peer(&mut pair, PEER);
    pair.bring_to(State::RUN, P2P);
    assert_eq!(
        pair.ask(&UNBIND),
        error(ErrorCode::INVALID_REQUEST),
        "it was not bound"
    );
    assert_eq!(pair.ask(&BIND), Response::BindP2p);
    assert_eq!(
        pair.ask(&BIND),
        error(ErrorCode::INVALID_REQUEST),
        "it is bound already"
    );
    assert_eq!(pair.ask(&UNBIND), Response::UnbindP2p);
    assert_eq!(pair.ask(&UNBIND), error(ErrorCode::INVALID_REQUEST));
    pair.assert_state(State::RUN);
}

#[test]
fn a_peer_stream_is_not_bound_without_its_keys_or_the_locks_flag_or_as_the_default() {
    let mut pair = probed();
    pair.bring_to(State::RUN, P2P);
    assert_eq!(
        pair.ask(&BIND),
        error(ErrorCode::INVALID_REQUEST),
        "it has no keys"
    );
    assert_eq!(
        pair.ask(&Request::BindP2p { stream: STREAM }),
        error(ErrorCode::INVALID_REQUEST),
        "the default stream"
    );
    key_peer(&mut pair, PEER);
    pair.bring_to(State::RUN, LOCK);
    assert_eq!(
        pair.ask(&BIND),
        error(ErrorCode::INVALID_REQUEST),
        "locked without BIND_P2P"
    );
    pair.assert_state(State::RUN);
}

#[test]
fn a_bound_stream_that_stops_sends_the_interface_to_error_and_an_unbound_one_does_not() {
    for (unbound, after) in [(false, State::ERROR), (true, State::RUN)] {
        let mut pair = probed();
        let mut keys = key_peer(&mut pair, PEER);
        pair.bring_to(State::RUN, P2P);
        assert_eq!(pair.ask(&BIND), Response::BindP2p);
        if unbound {
            assert_eq!(pair.ask(&UNBIND), Response::UnbindP2p);
        }
        pair.keys(|keys| keys.stop().unwrap(), &mut keys);
        pair.assert_state(after);
    }
}

#[test]
fn a_peer_stream_is_not_bound_that_the_registers_have_twice_or_across_another() {
    let block = |id, default, first_mib: u32| SelectiveStream {
        control: Control(Control::selective(id, default).0 | 1),
        // Valid; base and limit are the same MiB.
        addresses: vec![AddressAssociation([1 | first_mib << 8 | first_mib << 20, 0, 0])],
        ..SelectiveStream::default()
    };
    let cases = [
        (vec![block(PEER, false, 1)], true),
        (vec![], false),
        (vec![block(PEER, false, 1), block(PEER, false, 2)], false),
        (vec![block(PEER, false, 1), block(8, false, 1)], false),
        (vec![block(PEER, false, 1), block(8, false, 2)], true),
    ];
    for (blocks, wanted) in cases {
        let selective = [vec![block(STREAM, true, 9)], blocks].concat();
        let mut config = config(Ide::Required);
        config.tdi.lock_flags = FLAGS;
        config.tdi.optional.peer_streams = true;
        config.ports = vec![Port {
            streams: Streams {
                link: Vec::new(),
                selective,
            },
            written: false,
            ..Port::default()
        }];
        let device = Dsm::new(config, Box::new(honest()), Arc::new(Ring));
        let mut pair = Pair::connected(device).keyed().0;
        key_peer(&mut pair, PEER);
        // The registers change behind the keys, as software does it that means ill.
        pair.device.port_mut(0).unwrap().written = true;
        pair.bring_to(State::RUN, P2P);
        let answer = pair.ask(&BIND);
        match wanted {
            true => assert_eq!(answer, Response::BindP2p),
            false => assert_eq!(answer, error(ErrorCode::INVALID_REQUEST)),
        }
    }
}

/// A device whose range can be changed, and that speaks a vendor's language.
struct Willing(Honest);

impl Willing {
    fn new() -> Self {
        let mut honest = honest();
        for report in honest.reports.values_mut() {
            report.ranges[0].attributes = Attributes::UPDATABLE;
            report.ranges.push(Range {
                id: 2,
                first_page: 0x100,
                pages: 4,
                attributes: Attributes::default(),
            });
        }
        Self(honest)
    }
}

impl Personality for Willing {
    fn report(&mut self, interface: InterfaceId, lock: &Lock) -> Result<Vec<u8>, Misconfigured> {
        self.0.report(interface, lock)
    }
    fn measurements(&mut self) -> Vec<Measurement> {
        self.0.measurements()
    }
    fn set_mmio_attribute(&mut self, interface: InterfaceId, range: &Range) -> Result<(), NotSettable> {
        assert_eq!(interface, TDI);
        assert_eq!(
            range.attributes.0 & !Attributes::NON_TEE.0,
            0,
            "the machine clears what is reserved"
        );
        match range.pages {
            4 => Ok(()),
            _ => Err(NotSettable),
        }
    }
    fn vendor(&mut self, interface: InterfaceId, said: &OwnedVdm) -> Result<OwnedVdm, VendorRefusal> {
        assert_eq!(interface, TDI);
        match (said.registry, &said.vendor[..], &said.data[..]) {
            (Vdm::PCI_SIG, [0x36, 0x1b], b"hello") => Ok(OwnedVdm {
                data: b"hello yourself".to_vec(),
                ..said.clone()
            }),
            (Vdm::PCI_SIG, [0x36, 0x1b], _) => Err(VendorRefusal::Vendor(OwnedVdm {
                data: b"what?".to_vec(),
                ..said.clone()
            })),
            _ => Err(VendorRefusal::Unsupported),
        }
    }
}

/// The updatable range, as the report has it.
fn range() -> Range {
    Range {
        first_page: 0x180,
        attributes: Attributes::default(),
        ..report().ranges[0]
    }
}

#[test]
fn an_updatable_range_is_opened_and_closed_and_a_refusal_is_not_fatal() {
    let mut pair = Pair::connected(everything(Willing::new())).keyed().0;
    pair.bring_to(State::RUN, LOCK);
    for attributes in [Attributes::NON_TEE, Attributes::default(), Attributes(0xfff8)] {
        let request = Request::SetMmioAttribute(Range {
            attributes,
            ..range()
        });
        assert_eq!(pair.ask(&request), Response::SetMmioAttribute, "{attributes:?}");
    }
    let bad = [
        (
            "bit 0 is reserved",
            Range {
                attributes: Attributes(1),
                ..range()
            },
        ),
        (
            "bit 1 is reserved",
            Range {
                attributes: Attributes(2 | 4),
                ..range()
            },
        ),
        (
            "not updatable",
            Range {
                id: 2,
                first_page: 0x200,
                ..range()
            },
        ),
        ("another BAR's id", Range { id: 1, ..range() }),
        (
            "before the range",
            Range {
                first_page: 0x17f,
                ..range()
            },
        ),
        (
            "behind the range",
            Range {
                first_page: 0x181,
                ..range()
            },
        ),
        ("longer than the range", Range { pages: 5, ..range() }),
        (
            "without the offset",
            Range {
                first_page: 0x80,
                ..range()
            },
        ),
        ("empty", Range { pages: 0, ..range() }),
        (
            "out of the address space",
            Range {
                first_page: u64::MAX,
                ..range()
            },
        ),
        (
            "not one that the device can change",
            Range { pages: 1, ..range() },
        ),
    ];
    for (what, range) in bad {
        let answer = pair.ask(&Request::SetMmioAttribute(range));
        assert_eq!(answer, error(ErrorCode::INVALID_REQUEST), "{what}");
        pair.assert_state(State::RUN);
    }
}

#[test]
fn a_vendors_message_is_answered_refused_or_unsupported_in_each_state() {
    let mut pair = Pair::connected(everything(Willing::new())).keyed().0;
    let say = |vendor, data| {
        Request::Vdm(Vdm {
            registry: Vdm::PCI_SIG,
            vendor,
            data,
        })
    };
    for state in STATES {
        pair.bring_to(state, LOCK);
        let answer = Vdm {
            registry: Vdm::PCI_SIG,
            vendor: &[0x36, 0x1b],
            data: b"hello yourself",
        };
        assert_eq!(pair.ask(&say(&[0x36, 0x1b], b"hello")), Response::Vdm(answer));
        let Response::Error(refused) = pair.ask(&say(&[0x36, 0x1b], b"")) else {
            panic!("an error")
        };
        let words = refused.vendor().expect("in the vendor's form");
        assert_eq!((refused.code, refused.data), (ErrorCode::VENDOR, 9));
        assert_eq!(
            (words.registry, words.vendor, words.data),
            (0, &[0x36, 0x1b][..], &b"what?"[..])
        );
        assert_eq!(pair.ask(&say(&[1, 2], b"hello")), unsupported(0x8b));
        let other_registry = Request::Vdm(Vdm {
            registry: Vdm::CXL,
            vendor: &[0x36, 0x1b],
            data: b"hello",
        });
        assert_eq!(pair.ask(&other_registry), unsupported(0x8b));
        pair.assert_state(state);
    }
    for body in [&[][..], &[0], &[0, 2, 0x36]] {
        assert_eq!(
            pair.send(&object(0x10, 0x8b, TDI, body)),
            error(ErrorCode::INVALID_REQUEST),
            "{body:?}"
        );
    }
}

#[test]
fn without_the_optional_requests_each_is_unsupported_in_each_state() {
    let mut pair = Pair::connected(device(Ide::Required, honest())).keyed().0;
    for state in STATES {
        pair.bring_to(state, LOCK);
        for request in &requests([0; 32])[7..] {
            assert_eq!(pair.ask(request), unsupported(request.code().0));
        }
        pair.assert_state(state);
    }
}

#[test]
fn the_tsms_side_makes_each_optional_request_and_hears_a_vendors_error() {
    let mut pair = Pair::connected(everything(Willing::new())).keyed().0;
    key_peer(&mut pair, PEER);
    use tdisp::tdi::requester::{Answer, Error as Refused, Misuse};
    assert!(matches!(
        pair.tdisp(|tsm| tsm.capabilities()),
        Ok(Answer::Capabilities(_))
    ));
    pair.tdisp(|tsm| tsm.lock(P2P)).unwrap();
    pair.tdisp(|tsm| tsm.start()).unwrap();
    assert_eq!(pair.tdisp(|tsm| tsm.bind_peer(PEER)), Ok(Answer::PeerBound));
    assert_eq!(pair.tdisp(|tsm| tsm.unbind_peer(PEER)), Ok(Answer::PeerUnbound));
    assert_eq!(
        pair.tdisp(|tsm| tsm.set_mmio_attribute(&range(), true)),
        Ok(Answer::AttributeSet)
    );
    let say = |data| Vdm {
        registry: Vdm::PCI_SIG,
        vendor: &[0x36, 0x1b],
        data,
    };
    assert!(matches!(
        pair.tdisp(|tsm| tsm.vendor(Vdm {
            data: b"hello",
            ..VENDOR
        })),
        Ok(Answer::Vendor(_))
    ));
    let refused = pair.tdisp(|tsm| tsm.vendor(VENDOR)).unwrap_err();
    let Refused::Refused {
        code: ErrorCode::VENDOR,
        vendor: Some(words),
        ..
    } = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(words.as_vdm(), say(b"what?"));
    let mut plain = Pair::connected(device(Ide::Required, honest())).keyed().0;
    plain.tdisp(|tsm| tsm.capabilities()).unwrap();
    let misuse = plain.tdisp(|tsm| tsm.bind_peer(PEER)).unwrap_err();
    assert_eq!(
        misuse.to_string(),
        "the device's TDISP capabilities do not have BIND_P2P"
    );
    let misuse = plain.tdisp(|tsm| tsm.lock(P2P)).unwrap_err();
    assert_eq!(misuse, Refused::Misuse(Misuse::FlagsNotAnnounced(8)));
    let misuse = plain
        .tdisp(|tsm| {
            tsm.lock(Lock {
                mmio_reporting_offset: 1,
                ..LOCK
            })
        })
        .unwrap_err();
    assert_eq!(misuse, Refused::Misuse(Misuse::Offset(1)));
}

const VENDOR: Vdm<'_> = Vdm {
    registry: Vdm::PCI_SIG,
    vendor: &[0x36, 0x1b],
    data: b"",
};
