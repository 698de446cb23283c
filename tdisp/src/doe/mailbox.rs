//! The mailbox in a function's configuration space (PCIe §6.30), as register accesses to be made.
//!
//! ```text
//!              busy, error or stale object: ABORT
//!            ┌───────────────────────────────────┐
//!  start ─► Check ─► Send DW… ─► GO ─► Await ─► Receive DW… ─► Done(object)
//!                                        │         │
//!              error or timeout: ABORT   └────┬────┘
//!                                             ▼
//!                                         Settling ─► Failed
//! ```
//! - *Check* reads the status once; a mailbox that another left in a mess is aborted once, and then used.
//! - *Send* writes the object's DWs and sets GO; *Await* polls the status until an object is ready.
//! - *Receive* reads a DW and acknowledges it by a write, as many times as the object's own length says; before the
//!   last acknowledgement the object must still be ready (or it was shorter), after it no longer (or it is longer).
//! - *Settling* waits, for as long as a response may take, until an abort has taken effect.
//!
//! One object is in flight at a time, and nobody else may touch the mailbox meanwhile: the caller must own it.

use super::object::{HEADER_SIZE, Object, length_dw};
use crate::clock::Instant;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;
use core::time::Duration;

/// Offsets of the registers from the start of the DOE extended capability.
const CONTROL: u16 = 0x08;
const STATUS: u16 = 0x0c;
const WRITE_MAILBOX: u16 = 0x10;
const READ_MAILBOX: u16 = 0x14;

/// Control register: abort.
const ABORT: u32 = 1;
/// Control register: the object is complete.
const GO: u32 = 1 << 31;
/// Status register: an object is being taken or made.
const BUSY: u32 = 1;
/// Status register: something went wrong.
const ERROR: u32 = 1 << 2;
/// Status register: an object is ready to be read.
const READY: u32 = 1 << 31;
/// What a read gives when no device answers.
const ABSENT: u32 = u32::MAX;

/// Bounds of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time between two looks at the status.
    pub poll: Duration,
    /// Time from GO until an object must be ready; also for an abort to take effect and a busy mailbox to become free.
    pub timeout: Duration,
    /// Bytes of the longest object taken, its header among them.
    pub object_max: usize,
}

impl Default for Limits {
    /// A millisecond, the specification's one second, and 256 KiB.
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(1),
            timeout: Duration::from_secs(1),
            object_max: 256 * 1024,
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read four bytes of configuration space and give them to [`Mailbox::answer`].
    ReadConfig {
        /// Where, in bytes from the start of configuration space.
        offset: u16,
    },
    /// Write four bytes of configuration space.
    WriteConfig {
        /// Where, in bytes from the start of configuration space.
        offset: u16,
        /// What.
        value: u32,
    },
    /// Nothing until then.
    Wait {
        /// When to ask again.
        until: Instant,
    },
    /// The exchange is over, and this is the response: a whole data object.
    Done(Vec<u8>),
    /// The exchange is over.
    Failed(Error),
}

/// Why an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An exchange is going on, or none is.
    #[error("{0}")]
    Misuse(&'static str),
    /// What was to be sent is no data object.
    #[error("the request is no data object: {0}")]
    Request(#[from] DecodeError),
    /// Reads give all ones.
    #[error("the device does not answer configuration reads: it is gone or asleep")]
    Absent,
    /// The mailbox did not become free.
    #[error(
        "the mailbox stays busy, even after an abort: another user has it, or the function needs a reset"
    )]
    Stuck,
    /// No object was ready in time.
    #[error("no response in {waited:?}; {after}")]
    Timeout {
        /// How long it was waited for.
        waited: Duration,
        /// What the mailbox is like now.
        after: Aftermath,
    },
    /// The device set the error bit.
    #[error("the device reports a mailbox error; {after}")]
    Device {
        /// What the mailbox is like now.
        after: Aftermath,
    },
    /// The response says a length that it cannot have or that is not taken.
    #[error("the response says to be {found} bytes, wanted 8 to {max}; {after}")]
    Length {
        /// Its length, in bytes.
        found: usize,
        /// The most that is taken.
        max: usize,
        /// What the mailbox is like now.
        after: Aftermath,
    },
    /// The response ended before its length.
    #[error("the response ended before its {said} bytes; {after}")]
    Short {
        /// Its length, in bytes.
        said: usize,
        /// What the mailbox is like now.
        after: Aftermath,
    },
    /// The response goes on behind its length.
    #[error("the response goes on after its {said} bytes; {after}")]
    Long {
        /// Its length, in bytes.
        said: usize,
        /// What the mailbox is like now.
        after: Aftermath,
    },
}

/// How the mailbox took the abort after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aftermath {
    /// It is free again.
    Free,
    /// It did not become free.
    Stuck,
}

impl core::fmt::Display for Aftermath {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Free => "the mailbox was aborted and is free again",
            Self::Stuck => "the mailbox stays busy after an abort: reset the function",
        })
    }
}

/// A mailbox, and the exchange in it.
#[derive(Debug)]
pub struct Mailbox {
    capability: u16,
    limits: Limits,
    state: State,
    answer: Option<u32>,
}

#[derive(Debug)]
enum State {
    Idle,
    Check(Vec<u8>, Poll),
    Send(Vec<u8>, usize),
    Await(Poll),
    Receive(Receive),
    Settling(Then, Poll),
}

/// A wait that has an end.
#[derive(Debug, Clone, Copy)]
struct Poll {
    next: Instant,
    deadline: Instant,
}

/// What an abort is for.
#[derive(Debug)]
enum Then {
    Send(Vec<u8>),
    Fail(Cause),
}

#[derive(Debug, Clone, Copy)]
enum Cause {
    Timeout,
    Device,
    Length(usize),
    Short(usize),
    Long(usize),
}

#[derive(Debug)]
struct Receive {
    object: Vec<u8>,
    /// Bytes of the object; the header's until that is read.
    size: usize,
    at: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Read,
    /// All but the last acknowledgement is done: the object must still be ready.
    BeforeLast,
    /// The last acknowledgement is done: it must not be ready any more.
    AfterLast,
}

/// A state and, unless it only led on to the next, what to do in it.
type Next = (State, Option<Step>);

impl Mailbox {
    /// A mailbox whose extended capability starts at `capability` in configuration space.
    pub fn new(capability: u16, limits: Limits) -> Self {
        Self {
            capability,
            limits,
            state: State::Idle,
            answer: None,
        }
    }

    /// Begins an exchange: `object` is a whole data object.
    pub fn start(&mut self, now: Instant, object: &[u8]) -> Result<(), Error> {
        if !matches!(self.state, State::Idle) {
            return Err(Error::Misuse("an exchange is going on: step it to its end first"));
        }
        Object::decode(object)?;
        self.answer = None;
        self.state = State::Check(object.to_vec(), self.poll(now));
        Ok(())
    }

    /// What to do next. The same read is asked for until it is answered.
    pub fn step(&mut self, now: Instant) -> Step {
        loop {
            let state = core::mem::replace(&mut self.state, State::Idle);
            let (state, step) = match state {
                State::Idle => (
                    State::Idle,
                    Some(failed(Error::Misuse("no exchange was started"))),
                ),
                State::Check(object, poll) => self.check(object, poll, now),
                State::Send(object, at) => self.send(object, at, now),
                State::Await(poll) => self.wait(poll, now),
                State::Receive(receive) => self.receive(receive, now),
                State::Settling(then, poll) => self.settle(then, poll, now),
            };
            self.state = state;
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// What the last [`Step::ReadConfig`] read.
    pub fn answer(&mut self, value: u32) {
        self.answer = Some(value);
    }

    fn check(&mut self, object: Vec<u8>, poll: Poll, now: Instant) -> Next {
        let Some(status) = self.answer.take() else {
            return self.look(State::Check, object, poll, now);
        };
        match status {
            ABSENT => (State::Idle, Some(failed(Error::Absent))),
            _ if status & (ERROR | READY) != 0 => self.abort(Then::Send(object), now),
            _ if status & BUSY == 0 => (State::Send(object, 0), None),
            _ if now >= poll.deadline => self.abort(Then::Send(object), now),
            _ => (State::Check(object, self.later(poll, now)), None),
        }
    }

    fn send(&mut self, object: Vec<u8>, at: usize, now: Instant) -> Next {
        match Reader::new(&object[at.min(object.len())..]).u32("DOE DW") {
            Ok(value) => {
                let write = self.write(WRITE_MAILBOX, value);
                (State::Send(object, at + 4), Some(write))
            }
            Err(_) => (State::Await(self.poll(now)), Some(self.write(CONTROL, GO))),
        }
    }

    fn wait(&mut self, poll: Poll, now: Instant) -> Next {
        let Some(status) = self.answer.take() else {
            return self.look(|(), poll| State::Await(poll), (), poll, now);
        };
        match status {
            ABSENT => (State::Idle, Some(failed(Error::Absent))),
            _ if status & ERROR != 0 => self.abort(Then::Fail(Cause::Device), now),
            _ if status & READY != 0 => (State::Receive(Receive::new()), None),
            _ if now >= poll.deadline => self.abort(Then::Fail(Cause::Timeout), now),
            _ => (State::Await(self.later(poll, now)), None),
        }
    }

    fn receive(&mut self, receive: Receive, now: Instant) -> Next {
        let register = match receive.at {
            Phase::Read => READ_MAILBOX,
            Phase::BeforeLast | Phase::AfterLast => STATUS,
        };
        let Some(value) = self.answer.take() else {
            return (State::Receive(receive), Some(self.read(register)));
        };
        match receive.at {
            Phase::Read => self.receive_dw(receive, value, now),
            // A data object may hold all ones, a status may not.
            _ if value == ABSENT => (State::Idle, Some(failed(Error::Absent))),
            _ if value & ERROR != 0 => self.abort(Then::Fail(Cause::Device), now),
            Phase::BeforeLast if value & READY == 0 => {
                self.abort(Then::Fail(Cause::Short(receive.size)), now)
            }
            Phase::BeforeLast => {
                let at = Phase::AfterLast;
                (
                    State::Receive(Receive { at, ..receive }),
                    Some(self.acknowledge()),
                )
            }
            Phase::AfterLast if value & READY != 0 => self.abort(Then::Fail(Cause::Long(receive.size)), now),
            Phase::AfterLast => (State::Idle, Some(Step::Done(receive.object))),
        }
    }

    fn receive_dw(&mut self, mut receive: Receive, value: u32, now: Instant) -> Next {
        receive.object.u32(value);
        if receive.object.len() == HEADER_SIZE {
            receive.size = length_dw(value) * 4;
            if !(HEADER_SIZE..=self.limits.object_max).contains(&receive.size) {
                return self.abort(Then::Fail(Cause::Length(receive.size)), now);
            }
        }
        if receive.object.len() == receive.size {
            receive.at = Phase::BeforeLast;
            return (State::Receive(receive), None);
        }
        (State::Receive(receive), Some(self.acknowledge()))
    }

    fn settle(&mut self, then: Then, poll: Poll, now: Instant) -> Next {
        let Some(status) = self.answer.take() else {
            return self.look(State::Settling, then, poll, now);
        };
        let free = status & (BUSY | ERROR | READY) == 0;
        match then {
            _ if status == ABSENT => (State::Idle, Some(failed(Error::Absent))),
            Then::Send(object) if free => (State::Send(object, 0), None),
            Then::Fail(cause) if free => (State::Idle, Some(self.fail(cause, Aftermath::Free))),
            Then::Send(_) if now >= poll.deadline => (State::Idle, Some(failed(Error::Stuck))),
            Then::Fail(cause) if now >= poll.deadline => {
                (State::Idle, Some(self.fail(cause, Aftermath::Stuck)))
            }
            then => (State::Settling(then, self.later(poll, now)), None),
        }
    }

    /// Reads the status, but not before it is time to.
    fn look<T>(&self, state: impl FnOnce(T, Poll) -> State, with: T, poll: Poll, now: Instant) -> Next {
        let step = match now < poll.next {
            true => Step::Wait { until: poll.next },
            false => self.read(STATUS),
        };
        (state(with, poll), Some(step))
    }

    fn abort(&self, then: Then, now: Instant) -> Next {
        (
            State::Settling(then, self.poll(now)),
            Some(self.write(CONTROL, ABORT)),
        )
    }

    fn acknowledge(&self) -> Step {
        self.write(READ_MAILBOX, 0)
    }

    fn read(&self, register: u16) -> Step {
        Step::ReadConfig {
            offset: self.capability.saturating_add(register),
        }
    }

    fn write(&self, register: u16, value: u32) -> Step {
        Step::WriteConfig {
            offset: self.capability.saturating_add(register),
            value,
        }
    }

    /// A look at once, and more until the timeout.
    fn poll(&self, now: Instant) -> Poll {
        Poll {
            next: now,
            deadline: now.after(self.limits.timeout),
        }
    }

    /// The next look; the last one is at the deadline.
    fn later(&self, poll: Poll, now: Instant) -> Poll {
        Poll {
            next: now.after(self.limits.poll).min(poll.deadline),
            ..poll
        }
    }

    fn fail(&self, cause: Cause, after: Aftermath) -> Step {
        failed(match cause {
            Cause::Timeout => Error::Timeout {
                waited: self.limits.timeout,
                after,
            },
            Cause::Device => Error::Device { after },
            Cause::Length(found) => Error::Length {
                found,
                max: self.limits.object_max,
                after,
            },
            Cause::Short(said) => Error::Short { said, after },
            Cause::Long(said) => Error::Long { said, after },
        })
    }
}

impl Receive {
    fn new() -> Self {
        Self {
            object: Vec::new(),
            size: HEADER_SIZE,
            at: Phase::Read,
        }
    }
}

fn failed(error: Error) -> Step {
    Step::Failed(error)
}
