//! The DOE mailbox against a register file that behaves well, late or badly.

use std::time::Duration;
use tdisp::clock::Instant;
use tdisp::doe::mailbox::{Aftermath, Error, Limits, Mailbox, Step};
use tdisp::doe::{Object, ObjectType};

const CAPABILITY: u16 = 0x140;
const CONTROL: u16 = CAPABILITY + 0x08;
const STATUS: u16 = CAPABILITY + 0x0c;
const WRITE: u16 = CAPABILITY + 0x10;
const READ: u16 = CAPABILITY + 0x14;
const BUSY: u32 = 1;
const ERROR: u32 = 1 << 2;
const READY: u32 = 1 << 31;
const LIMITS: Limits = Limits {
    poll: Duration::from_millis(2),
    timeout: Duration::from_millis(100),
    object_max: 64,
};

/// A function's DOE registers.
#[derive(Default)]
struct Device {
    /// What it answers.
    response: Vec<u32>,
    /// How long it takes to answer; `None` for ever.
    takes: Option<Duration>,
    /// It sets the error bit instead of answering.
    fails: bool,
    /// An abort does nothing.
    ignores_abort: bool,
    /// Busy with another user's object until then.
    busy_until: Duration,
    /// Reads give all ones.
    absent: bool,
    /// So they do from this access on.
    gone_at: Option<usize>,
    accesses: usize,
    /// The error bit is set once so many dwords were read.
    spoiled_at: Option<usize>,
    /// Dwords of an object that somebody left.
    stale: Vec<u32>,
    written: Vec<u32>,
    go: Option<Instant>,
    read: usize,
    aborts: usize,
}

impl Device {
    fn answering(response: &[u8]) -> Self {
        Self {
            response: dwords(response),
            takes: Some(Duration::from_millis(11)),
            ..Self::default()
        }
    }

    fn pending(&self, now: Instant) -> &[u32] {
        let due = self
            .go
            .zip(self.takes)
            .is_some_and(|(go, takes)| now.since(go) >= takes);
        match due && !self.fails {
            true => &self.response,
            false => &self.stale,
        }
    }

    fn read(&mut self, offset: u16, now: Instant) -> u32 {
        self.accesses += 1;
        if self.absent || self.gone_at.is_some_and(|at| self.accesses > at) {
            return u32::MAX;
        }
        let left = self.pending(now).get(self.read..).unwrap_or_default();
        match offset {
            READ => left.first().copied().unwrap_or(0),
            STATUS
                if self
                    .spoiled_at
                    .is_some_and(|at| self.go.is_some() && self.read >= at) =>
            {
                ERROR | if left.is_empty() { 0 } else { READY }
            }
            STATUS if !left.is_empty() => READY,
            STATUS if self.fails && self.go.is_some() => ERROR,
            STATUS if self.go.is_some() && self.read == 0 => BUSY,
            STATUS if now < Instant::at(self.busy_until) => BUSY,
            STATUS => 0,
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write(&mut self, offset: u16, value: u32, now: Instant) {
        self.accesses += 1;
        match (offset, value) {
            (CONTROL, 1) => {
                self.aborts += 1;
                if !self.ignores_abort {
                    self.go = None;
                    self.busy_until = Duration::ZERO;
                    self.stale.clear();
                }
            }
            (CONTROL, 0x8000_0000) => {
                self.go = Some(now);
                self.read = 0;
            }
            (WRITE, value) => self.written.push(value),
            (READ, _) => self.read += 1,
            _ => panic!("write of {value:#x} to {offset:#x}"),
        }
    }
}

/// Makes one exchange, and says how long it took.
fn exchange(mailbox: &mut Mailbox, device: &mut Device, object: &[u8]) -> (Result<Vec<u8>, Error>, Duration) {
    let mut now = Instant::START;
    mailbox
        .start(now, object)
        .expect("a fresh mailbox and a data object");
    for _ in 0..1_000 {
        match mailbox.step(now) {
            Step::ReadConfig { offset } => mailbox.answer(device.read(offset, now)),
            Step::WriteConfig { offset, value } => device.write(offset, value, now),
            Step::Wait { until } => {
                assert!(until > now, "a wait must let time pass");
                now = until;
            }
            Step::Done(response) => return (Ok(response), now.since(Instant::START)),
            Step::Failed(error) => return (Err(error), now.since(Instant::START)),
        }
    }
    panic!("the exchange does not end");
}

/// One exchange with a fresh mailbox; the device's answer to the standard request.
fn try_with(device: &mut Device) -> (Result<Vec<u8>, Error>, Duration) {
    exchange(
        &mut Mailbox::new(CAPABILITY, LIMITS),
        device,
        &object(b"request!"),
    )
}

fn object(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Object::new(ObjectType::SPDM, body).encode(&mut out);
    out
}

fn dwords(bytes: &[u8]) -> Vec<u32> {
    let dword = |chunk: &[u8]| u32::from_le_bytes(chunk.try_into().expect("whole dwords"));
    bytes.chunks(4).map(dword).collect()
}

/// A response whose length field says `dw` dwords, however many it has.
fn saying(dw: u32, body: &[u8]) -> Vec<u8> {
    let mut response = object(body);
    response[4..8].copy_from_slice(&dw.to_le_bytes());
    response
}

#[test]
fn a_request_is_written_and_its_late_response_read() {
    let response = object(b"response");
    let mut device = Device::answering(&response);
    let mut mailbox = Mailbox::new(CAPABILITY, LIMITS);
    let (answer, took) = exchange(&mut mailbox, &mut device, &object(b"request!"));
    assert_eq!(answer, Ok(response.clone()));
    assert_eq!(device.written, dwords(&object(b"request!")));
    assert_eq!(
        took,
        Duration::from_millis(12),
        "polled each 2 ms, ready after 11"
    );
    assert_eq!(device.aborts, 0);

    let (again, _) = exchange(&mut mailbox, &mut device, &object(b"request!"));
    assert_eq!(
        again,
        Ok(response),
        "the mailbox serves one exchange after another"
    );
}

#[test]
fn all_ones_are_data_in_an_object_and_absence_in_a_status() {
    let response = object(&[0xff; 8]);
    assert_eq!(try_with(&mut Device::answering(&response)).0, Ok(response));
    let mut device = Device {
        absent: true,
        ..Device::default()
    };
    assert_eq!(try_with(&mut device).0, Err(Error::Absent));
}

#[test]
fn a_busy_mailbox_is_waited_for_and_not_aborted() {
    let response = object(b"response");
    let mut device = Device::answering(&response);
    device.busy_until = Duration::from_millis(40);
    let (answer, took) = try_with(&mut device);
    assert_eq!((answer, device.aborts), (Ok(response), 0));
    assert!(took > Duration::from_millis(50));
}

#[test]
fn a_mailbox_busy_beyond_the_timeout_is_aborted_once_and_then_used() {
    let response = object(b"response");
    let mut device = Device::answering(&response);
    device.busy_until = Duration::from_secs(3600);
    assert_eq!(try_with(&mut device).0, Ok(response));
    assert_eq!(device.aborts, 1);
}

#[test]
fn a_mailbox_that_no_abort_frees_is_stuck_and_nothing_is_written_to_it() {
    let mut device = Device {
        busy_until: Duration::from_secs(3600),
        ignores_abort: true,
        ..Device::default()
    };
    let (answer, took) = try_with(&mut device);
    assert_eq!(answer, Err(Error::Stuck));
    assert_eq!(took, 2 * LIMITS.timeout);
    assert!(device.written.is_empty());
}

#[test]
fn an_object_that_somebody_left_is_aborted_away_and_not_taken_for_the_response() {
    let response = object(b"response");
    let mut device = Device::answering(&response);
    device.stale = dwords(&object(b"left over"));
    assert_eq!(try_with(&mut device).0, Ok(response));
    assert_eq!(device.aborts, 1);
}

#[test]
fn an_error_bit_ends_the_exchange_with_an_abort() {
    let mut device = Device {
        fails: true,
        ..Device::default()
    };
    let after = Aftermath::Free;
    assert_eq!(try_with(&mut device).0, Err(Error::Device { after }));
    assert_eq!(device.aborts, 1);
    device.fails = false;
    device.response = dwords(&object(b"response"));
    device.takes = Some(Duration::ZERO);
    assert!(
        try_with(&mut device).0.is_ok(),
        "after the abort the mailbox works"
    );
}

#[test]
fn a_device_that_never_gets_ready_times_out() {
    let mut device = Device::default();
    let (answer, took) = try_with(&mut device);
    let waited = LIMITS.timeout;
    let after = Aftermath::Free;
    assert_eq!(answer, Err(Error::Timeout { waited, after }));
    assert_eq!((took, device.aborts), (LIMITS.timeout, 1));

    let mut device = Device {
        ignores_abort: true,
        ..Device::default()
    };
    let (answer, took) = try_with(&mut device);
    let after = Aftermath::Stuck;
    assert_eq!(answer, Err(Error::Timeout { waited, after }));
    assert_eq!(took, 2 * LIMITS.timeout);
}

#[test]
fn a_response_shorter_than_it_says_is_refused() {
    let mut device = Device::answering(&saying(6, b"response"));
    let after = Aftermath::Free;
    assert_eq!(try_with(&mut device).0, Err(Error::Short { said: 24, after }));
}

#[test]
fn a_response_longer_than_it_says_is_refused() {
    let mut device = Device::answering(&saying(3, b"response"));
    let after = Aftermath::Free;
    assert_eq!(try_with(&mut device).0, Err(Error::Long { said: 12, after }));
    assert_eq!(device.aborts, 1);
}

#[test]
fn a_response_whose_length_is_below_the_header_or_above_the_limit_is_refused_unread() {
    // A length of 0 stands for 2^18 DW.
    for (dw, found) in [(1, 4), (17, 68), (0, 1 << 20), (0x3_ffff, 0xf_fffc)] {
        let mut device = Device::answering(&saying(dw, b"response"));
        let expected = Error::Length {
            found,
            max: 64,
            after: Aftermath::Free,
        };
        assert_eq!(try_with(&mut device).0, Err(expected), "{dw} DW");
        assert!(device.read < 2, "the object is not read");
    }
    let largest = object(&[7; 56]);
    assert_eq!(try_with(&mut Device::answering(&largest)).0, Ok(largest));
}

#[test]
fn what_is_no_data_object_is_not_sent_and_a_second_exchange_is_not_started() {
    let mut mailbox = Mailbox::new(CAPABILITY, LIMITS);
    let now = Instant::START;
    assert!(matches!(mailbox.start(now, b"12345678"), Err(Error::Request(_))));
    assert!(matches!(mailbox.step(now), Step::Failed(Error::Misuse(_))));
    mailbox.start(now, &object(b"request!")).unwrap();
    assert!(matches!(
        mailbox.start(now, &object(b"request!")),
        Err(Error::Misuse(_))
    ));
    let read = Step::ReadConfig { offset: STATUS };
    assert_eq!(mailbox.step(now), read);
    assert_eq!(
        mailbox.step(now),
        read,
        "a read is asked for until it is answered"
    );
}

#[test]
fn a_device_that_goes_away_is_absent_wherever_the_exchange_is() {
    let stale = dwords(&object(b"left over"));
    for stale in [Vec::new(), stale] {
        let with = |gone_at| Device {
            stale: stale.clone(),
            gone_at,
            ..Device::answering(&object(b"response"))
        };
        let mut whole = with(None);
        assert!(try_with(&mut whole).0.is_ok());
        for gone_at in 0..whole.accesses - 1 {
            let gone = try_with(&mut with(Some(gone_at))).0;
            assert_eq!(gone, Err(Error::Absent), "from access {gone_at} on");
        }
    }
}

#[test]
fn an_error_bit_that_comes_while_the_response_is_read_spoils_it() {
    let response = object(b"response");
    // Before the last dword is acknowledged, and after.
    for spoiled_at in [3, 4] {
        let mut device = Device {
            spoiled_at: Some(spoiled_at),
            ..Device::answering(&response)
        };
        let after = Aftermath::Free;
        assert_eq!(
            try_with(&mut device).0,
            Err(Error::Device { after }),
            "{spoiled_at}"
        );
    }
}

#[test]
fn what_was_read_before_an_exchange_is_no_answer_in_it() {
    let mut mailbox = Mailbox::new(CAPABILITY, LIMITS);
    mailbox.answer(0);
    mailbox.start(Instant::START, &object(b"request!")).unwrap();
    assert_eq!(mailbox.step(Instant::START), Step::ReadConfig { offset: STATUS });
}
