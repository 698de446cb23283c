//! The TSM's side of TDISP against an honest device, and against one that answers what it likes.

use tdisp::{
    crypto::Ring,
    tdi::{
        Requester, Responder,
        msg::{Code, ErrorCode, Header, InterfaceId, Lock, LockFlags, Request, Response, State, Version},
        report::{Attributes, Range},
        requester::{Answer, Error, Misuse, Progress},
        responder::{Config, Device, Ide, Optional, Step},
    },
};

const TDI: InterfaceId = InterfaceId::new(0x0101);
const LOCK: Lock = Lock {
    flags: LockFlags(0),
    default_stream: 0,
    mmio_reporting_offset: 0,
    bind_p2p_address_mask: 0,
};

struct NoIde;

impl Device for NoIde {
    fn stream_is_secure(&self, _: u8, _: u32) -> bool {
        false
    }
}

/// A TSM and an honest device whose report has this many bytes.
struct Pair {
    tsm: Requester,
    device: Responder,
    report: Vec<u8>,
}

impl Pair {
    fn new(report_size: usize) -> Self {
        let config = Config {
            interfaces: vec![TDI],
            ide: Ide::Absent,
            lock_flags: LockFlags(0b1_0111),
            address_width: 52,
            portion_max: 100,
            optional: Optional::default(),
        };
        let report = (0..report_size).map(|at| at as u8).collect();
        Self {
            tsm: Requester::new(TDI),
            device: Responder::new(config),
            report,
        }
    }

    fn run(&mut self, ask: fn(&mut Requester) -> Result<Vec<u8>, Misuse>) -> Result<Answer, Error> {
        let mut object = ask(&mut self.tsm)?;
        loop {
            let answer = match self.device.handle(1, &object, &NoIde) {
                Step::Respond(answer) => answer,
                Step::Lock(token) => self.device.locked(token, Ok(self.report.clone()), &Ring),
                Step::Stop(token) => self.device.stopped(token),
                Step::Silent => panic!("an answer"),
                other => panic!("an optional request of a device that has none: {other:?}"),
            };
            match self.tsm.handle(&answer)? {
                Progress::More(next) => object = next,
                Progress::Done(answer) => return Ok(answer),
            }
        }
    }
}

#[test]
fn a_tdi_goes_from_unlocked_to_run_and_back() {
    let mut pair = Pair::new(250);
    assert_eq!(pair.run(Requester::version), Ok(Answer::Version));
    assert!(matches!(
        pair.run(Requester::capabilities),
        Ok(Answer::Capabilities(_))
    ));
    assert_eq!(pair.run(|tsm| tsm.lock(LOCK)), Ok(Answer::Locked));
    assert_eq!(pair.run(Requester::state), Ok(Answer::State(State::LOCKED)));
    assert_eq!(
        pair.run(Requester::report),
        Ok(Answer::Report(pair.report.clone()))
    );
    assert_eq!(pair.run(Requester::start), Ok(Answer::Started));
    assert_eq!(pair.run(Requester::state), Ok(Answer::State(State::RUN)));
    assert_eq!(pair.run(Requester::stop), Ok(Answer::Stopped));
    assert_eq!(
        pair.run(|tsm| tsm.lock(LOCK)),
        Ok(Answer::Locked),
        "after STOP it can be locked again"
    );
}

#[test]
fn reports_of_every_size_come_whole() {
    for size in [1, 99, 100, 101, 200, 0xffff] {
        let mut pair = Pair::new(size);
        pair.run(|tsm| tsm.lock(LOCK)).unwrap();
        assert_eq!(
            pair.run(Requester::report),
            Ok(Answer::Report(pair.report.clone())),
            "{size} bytes"
        );
    }
}

#[test]
fn one_request_is_outstanding_at_a_time() {
    let mut tsm = Requester::new(TDI);
    tsm.state().unwrap();
    assert_eq!(tsm.stop(), Err(Misuse::Busy));
    assert_eq!(tsm.start(), Err(Misuse::Busy));
    tsm.abandon();
    assert!(tsm.stop().is_ok());
    tsm.abandon();
    assert_eq!(
        tsm.handle(&answer(&Response::Stop)),
        Err(Error::Misuse(Misuse::NothingAsked))
    );
}

#[test]
fn a_tdi_is_locked_once_until_it_is_stopped() {
    let mut pair = Pair::new(10);
    assert_eq!(pair.run(Requester::start), Err(Error::Misuse(Misuse::NotLocked)));
    pair.run(|tsm| tsm.lock(LOCK)).unwrap();
    assert_eq!(
        pair.run(|tsm| tsm.lock(LOCK)),
        Err(Error::Misuse(Misuse::LockedBefore))
    );
    pair.run(Requester::start).unwrap();
    assert_eq!(
        pair.run(|tsm| tsm.lock(LOCK)),
        Err(Error::Misuse(Misuse::LockedBefore))
    );
    assert_eq!(
        pair.run(Requester::start),
        Err(Error::Misuse(Misuse::NotLocked)),
        "the nonce is gone"
    );
}

#[test]
fn a_refused_lock_may_be_tried_again_and_a_lost_one_not() {
    let mut tsm = Requester::new(TDI);
    tsm.lock(LOCK).unwrap();
    let busy = Response::Error(tdisp::tdi::msg::Error::new(ErrorCode::BUSY, 0));
    let refused = tsm.handle(&answer(&busy)).unwrap_err();
    assert_eq!(refused.to_string(), "the device refused LOCK: BUSY (data 0x0)");
    tsm.lock(LOCK).unwrap();
    tsm.abandon();
    assert_eq!(
        tsm.lock(LOCK),
        Err(Misuse::LockedBefore),
        "the device may hold a lock that nobody knows the nonce of"
    );
    tsm.stop().unwrap();
    assert_eq!(
        tsm.handle(&answer(&Response::Stop)),
        Ok(Progress::Done(Answer::Stopped))
    );
    assert!(tsm.lock(LOCK).is_ok());
}

#[test]
fn case_44_an_answer_of_another_interface_is_refused() {
    let mut tsm = Requester::new(TDI);
    for other in [InterfaceId::new(0x0102), InterfaceId::in_segment(0, 0x0101)] {
        tsm.state().unwrap();
        let mut object = Vec::new();
        Response::State(State::RUN).encode(other, &mut object);
        assert_eq!(
            tsm.handle(&object),
            Err(Error::Interface {
                found: other,
                wanted: TDI
            })
        );
    }
}

#[test]
fn an_answer_to_another_request_or_in_another_version_is_refused() {
    let mut tsm = Requester::new(TDI);
    tsm.start().unwrap_err();
    tsm.state().unwrap();
    let wrong = tsm.handle(&answer(&Response::Stop)).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "the device answered GET_STATE with STOP_RESPONSE in version V1_0"
    );
    tsm.state().unwrap();
    let mut object = answer(&Response::State(State::RUN));
    object[0] = 0x11;
    assert!(matches!(
        tsm.handle(&object),
        Err(Error::Code {
            version: Version(0x11),
            ..
        })
    ));
}

#[test]
fn every_truncation_and_every_extension_of_an_answer_is_refused() {
    let good = answer(&Response::Lock { nonce: [7; 32] });
    for size in (0..=good.len() + 1).filter(|size| *size != good.len()) {
        let mut tsm = Requester::new(TDI);
        tsm.lock(LOCK).unwrap();
        let mut object = good.clone();
        object.resize(size, 0);
        assert!(
            matches!(
                tsm.handle(&object),
                Err(Error::Malformed {
                    request: Code::LOCK,
                    ..
                })
            ),
            "{size} bytes"
        );
        assert_eq!(tsm.start(), Err(Misuse::NotLocked));
    }
}

#[test]
fn a_device_without_our_version_is_refused() {
    let mut tsm = Requester::new(TDI);
    tsm.version().unwrap();
    let versions = vec![Version(0x20), Version(0x30)];
    assert_eq!(
        tsm.handle(&answer(&Response::Version(versions.clone()))),
        Err(Error::Versions(versions))
    );
}

#[test]
fn case_43_portions_that_do_not_fit_together_are_refused() {
    let portion = |size: usize, remainder| {
        answer(&Response::Report {
            portion: &vec![0; size],
            remainder,
        })
    };
    let second = |first: (usize, u16), second: (usize, u16)| {
        let mut tsm = Requester::new(TDI);
        tsm.report().unwrap();
        assert!(matches!(
            tsm.handle(&portion(first.0, first.1)),
            Ok(Progress::More(_))
        ));
        tsm.handle(&portion(second.0, second.1)).unwrap_err().to_string()
    };
    let text = "a portion of the interface report has";
    assert_eq!(
        second((10, 20), (0, 20)),
        format!("{text} 0 as length, wanted 10")
    );
    assert_eq!(
        second((10, 20), (9, 11)),
        format!("{text} 9 as length, wanted 10")
    );
    assert_eq!(second((10, 20), (0, 0)), format!("{text} 0 as length, wanted 1"));
    assert_eq!(
        second((10, 20), (10, 20)),
        format!("{text} 40 as size of the whole, wanted 30")
    );
    assert_eq!(
        second((10, 20), (10, 0)),
        format!("{text} 20 as size of the whole, wanted 30")
    );
    assert_eq!(
        second((10, 20), (30, 0)),
        format!("{text} 40 as size of the whole, wanted 30")
    );
    let mut tsm = Requester::new(TDI);
    tsm.report().unwrap();
    let endless = tsm.handle(&portion(60_000, 60_000)).unwrap_err().to_string();
    assert_eq!(
        endless,
        format!("{text} 120000 as size of the whole, wanted 65535")
    );
    assert!(tsm.report().is_ok(), "a refused report can be asked for again");
}

fn answer(response: &Response<'_>) -> Vec<u8> {
    let mut object = Vec::new();
    response.encode(TDI, &mut object);
    object
}

#[test]
fn a_range_is_opened_to_everybody_or_closed_as_it_is_wanted() {
    let range = Range {
        first_page: 0x180,
        pages: 2,
        attributes: Attributes::UPDATABLE,
        id: 1,
    };
    for (everybody, attributes) in [(true, Attributes::NON_TEE), (false, Attributes::default())] {
        let mut tsm = Requester::new(TDI);
        let object = tsm.set_mmio_attribute(&range, everybody).unwrap();
        let (header, body) = Header::decode(&object).unwrap();
        let asked = Request::SetMmioAttribute(Range { attributes, ..range });
        assert_eq!(Request::decode(header.code, body), Ok(asked));
    }
}
