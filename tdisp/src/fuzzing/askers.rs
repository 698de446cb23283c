//! The sides that ask a device, each driven by a script of what they are asked for and what they hear: the TSM's TDISP and IDE_KM,
//! and the mailbox that carries them.
//!
//! Scripts are [`steps`]: `u8 step ‖ u16 size ‖ bytes`, again and again.

use super::{gullible::Gullible, messages::steps};
use crate::{
    clock::Instant,
    doe::{
        Object,
        mailbox::{Limits, Mailbox, Step},
    },
    ide_km::{
        self,
        msg::{Direction, Message, ObjectId},
    },
    tdi::{
        self,
        msg::{Code, Header, Lock, LockFlags, Response, Vdm},
        report::{Attributes, Range, SIZE_MAX},
        requester::{Answer, Progress},
    },
    wire::Reader,
};
use alloc::vec::Vec;
use core::time::Duration;

use super::machines::INTERFACES;

/// The TSM's side of TDISP. Step 0 hears the bytes, step 1 hears them as the body of the answer to what was asked, step 2 as an
/// error; 3 gives up; the others ask, which for, the step says.
///
/// Promises: a second LOCK only after a STOP was answered, START only with a lock, no report longer than offsets reach.
pub fn tdi_requester(script: &[u8]) {
    let mut tsm = tdi::Requester::new(INTERFACES[0]);
    let mut asked: Option<Code> = None;
    // Whether the device may hold a lock that no answered STOP has ended.
    let mut locked = false;
    for (step, bytes) in steps(script) {
        let object = match step {
            0 => tsm_hears(&mut tsm, bytes, &mut locked, asked.take()),
            1 | 2 => {
                let code = match (step, asked) {
                    (1, Some(code)) => Code(code.0 & 0x7f),
                    _ => Code::ERROR,
                };
                let mut answer = Vec::new();
                Response::Stop.encode(INTERFACES[0], &mut answer);
                answer[1] = code.0;
                answer.extend_from_slice(bytes);
                tsm_hears(&mut tsm, &answer, &mut locked, asked.take())
            }
            3 => {
                tsm.abandon();
                asked = None;
                continue;
            }
            _ => ask(&mut tsm, step, bytes),
        };
        let Some(object) = object else { continue };
        let (header, _) = Header::decode(&object).expect("what is sent is a TDISP object");
        assert_eq!(header.interface, INTERFACES[0]);
        match header.code {
            Code::LOCK => {
                assert!(!locked, "a second lock without a stop");
                locked = true;
            }
            Code::START => assert!(locked, "a start without a lock"),
            _ => {}
        }
        asked = Some(header.code);
    }
}

fn ask(tsm: &mut tdi::Requester, what: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut r = Reader::new(bytes);
    let lock = Lock {
        flags: LockFlags(r.u16("flags").unwrap_or(1)),
        default_stream: 3,
        mmio_reporting_offset: r.u64("offset").unwrap_or_default(),
        bind_p2p_address_mask: 0,
    };
    let vdm = Vdm {
        registry: 0,
        vendor: &[1, 0],
        data: bytes,
    };
    let range = Range {
        first_page: 0x80,
        pages: 1,
        attributes: Attributes::default(),
        id: 0,
    };
    let asked = match what % 11 {
        0 => tsm.version(),
        1 => tsm.capabilities(),
        2 => tsm.lock(lock),
        3 => tsm.report(),
        4 => tsm.state(),
        5 => tsm.start(),
        6 => tsm.stop(),
        7 => tsm.bind_peer(7),
        8 => tsm.unbind_peer(7),
        9 => tsm.set_mmio_attribute(&range, true),
        _ => tsm.vendor(vdm),
    };
    asked.ok() // a script may ask what cannot be
}

/// What it sends next, if the answer is not the last.
fn tsm_hears(
    tsm: &mut tdi::Requester,
    answer: &[u8],
    locked: &mut bool,
    asked: Option<Code>,
) -> Option<Vec<u8>> {
    match tsm.handle(answer) {
        Ok(Progress::More(object)) => Some(object),
        Ok(Progress::Done(done)) => {
            if let Answer::Report(report) = &done {
                assert!(report.len() <= SIZE_MAX, "{} bytes of report", report.len());
            }
            *locked &= done != Answer::Stopped;
            None
        }
        Err(tdi::requester::Error::Refused { .. }) if asked == Some(Code::LOCK) => {
            *locked = false;
            None
        }
        Err(_) => None,
    }
}

/// The owner of a stream's keys. Step 0 hears the bytes, step 1 the honest device's answer to what was asked, step 2 that
/// answer with its status byte replaced; 3 gives up; the others ask.
///
/// Promises: nothing goes before six keys were acknowledged, what the device receives before what it transmits; and after a
/// failure nothing but a stop.
pub fn ide_km_requester(script: &[u8]) {
    let mut keys = ide_km::Requester::new(0, 3);
    let mut device = ide_km::Responder::new(alloc::vec![ide_km::responder::Port::default()]);
    let provider = Gullible::default();
    let mut asked: Option<Vec<u8>> = None;
    let mut owner = Owner::default();
    for (step, bytes) in steps(script) {
        let object = match step {
            0..=2 => {
                let honest = asked.take().and_then(|asked| device.handle(1, &asked));
                let mut answer = if step == 0 {
                    bytes.to_vec()
                } else {
                    honest.unwrap_or_default()
                };
                if let (2, [status, ..], Some(place)) = (step, bytes, answer.get_mut(4)) {
                    *place = *status;
                }
                owner.hears(&mut keys, &answer)
            }
            3 => {
                let used = |object: Vec<u8>| {
                    Message::decode(&object).is_ok_and(|message| message.id() != ObjectId::QUERY)
                };
                if asked.take().is_some_and(used) {
                    (owner.programmed, owner.receives) = (false, false);
                }
                keys.abandon();
                continue;
            }
            _ => match step % 5 {
                0 => keys.query().ok(),
                1 => keys.program(&provider).ok().map(|object| object.to_vec()),
                2 => keys.go(Direction::Receive).ok(),
                3 => keys.go(Direction::Transmit).ok(),
                _ => keys.stop().ok(),
            },
        };
        let Some(object) = object else { continue };
        match Message::decode(&object).expect("what is sent is an IDE_KM object") {
            Message::KSetGo(slot) => {
                assert!(owner.programmed, "a set goes that is not programmed");
                let transmits = slot.key_sub.direction() == Direction::Transmit;
                assert!(
                    !transmits || owner.receives,
                    "the device transmits before it receives"
                );
            }
            Message::KeyProg(..) | Message::KSetStop(_) => {
                (owner.programmed, owner.receives) = (false, false)
            }
            other => assert_eq!(other.id(), ObjectId::QUERY),
        }
        asked = Some(object);
    }
}

/// What the owner of the keys was told.
#[derive(Default)]
struct Owner {
    programmed: bool,
    receives: bool,
}

impl Owner {
    fn hears(&mut self, keys: &mut ide_km::Requester, answer: &[u8]) -> Option<Vec<u8>> {
        use ide_km::requester::{Answer, Progress};
        match keys.handle(answer) {
            Ok(Progress::More(object)) => return Some(object.to_vec()),
            Ok(Progress::Done(Answer::Programmed(keys))) => {
                assert_eq!(keys.len(), 6);
                self.programmed = true;
            }
            Ok(Progress::Done(Answer::Going(Direction::Receive))) => self.receives = true,
            Ok(Progress::Done(_)) => {}
            Err(_) => {}
        }
        None
    }
}

/// A mailbox. `u8 size` of the object that is sent, in DW, and then what the registers read, a DW each; where it waits, time
/// goes on by as much. When there are no more DW, the device is busy for ever.
///
/// Promises: it ends, in as many steps as its times and the response's size allow; what it brings has the length that its header
/// says, and not more than the limit. Whether an object of its type may be that short is for who reads it.
pub fn doe_mailbox(bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    let limits = Limits {
        poll: Duration::from_millis(10),
        timeout: Duration::from_millis(200),
        object_max: 256,
    };
    let mut object = Vec::new();
    let size = r.u8("size").unwrap_or(0);
    Object::new(
        crate::doe::ObjectType::SPDM,
        &alloc::vec![7; 4 * usize::from(size)],
    )
    .encode(&mut object);
    let mut mailbox = Mailbox::new(0x100, limits);
    let mut now = Instant::START;
    let Ok(()) = mailbox.start(now, &object) else {
        return;
    };
    for _ in 0..STEPS_MAX {
        match mailbox.step(now) {
            Step::ReadConfig { .. } => mailbox.answer(r.u32("register").unwrap_or(BUSY)),
            Step::WriteConfig { .. } => {}
            Step::Wait { until } => {
                assert!(until > now, "a wait for what is over");
                now = until;
            }
            Step::Done(response) => {
                assert!(response.len() <= limits.object_max, "{} bytes", response.len());
                let mut length = Reader::new(response.get(4..).unwrap_or_default());
                let dw = length.u32("length").expect("a header") % (1 << 18);
                assert_eq!(dw as usize * 4, response.len());
                return;
            }
            Step::Failed(_) => return,
        }
    }
    panic!("the exchange does not end");
}

/// Twice 200 ms in steps of 10 ms, 255 DW of the request, 64 of the response with two steps each, and some registers.
const STEPS_MAX: usize = 1000;
/// Status register: busy.
const BUSY: u32 = 1;
