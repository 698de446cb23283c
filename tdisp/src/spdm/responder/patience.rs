//! Answers that take their time: Busy, and ResponseNotReady with RESPOND_IF_READY after it (DSP0274 §10).
//!
//! ```text
//!             a request that a delay is for                     RESPOND_IF_READY, right code and token
//!   nothing ─────────────────────────────► held until it is ready ────────────────────────────────► answered
//!              ResponseNotReady, token          │ ⟲ too early: ResponseNotReady once more
//!                                               └ any other request, or too late: forgotten
//! ```
//! The request is worked on when it is asked for again, so that what is said in between is not in its transcript's way; and
//! of the exchange only the request and its real answer are in a transcript.

use super::{Asked, At, Extended, INVALID, Refusal, Reply, Responder, UNEXPECTED};
use crate::{
    clock::Instant,
    crypto::Wiped,
    spdm::msg::{
        Code, Header,
        error::{ErrorCode, NotReady},
        respond_if_ready,
    },
};
use core::time::Duration;

/// A request that is not answered at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// The request.
    pub code: Code,
    /// What its requester is told.
    pub how: Wait,
}

/// What a requester is told that has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// To try again, as often as this before it is answered.
    Busy(u8),
    /// To ask again in 2^exponent µs.
    NotReady {
        /// RDTExponent, at most 31.
        exponent: u8,
        /// RDTM: it is forgotten after so many times that; at least 2.
        multiplier: u8,
    },
}

/// What is being waited for.
#[derive(Default)]
pub(super) struct Patience {
    held: Option<Held>,
    /// How often each code was told Busy in a row.
    busy: Option<(Code, u8)>,
    token: u8,
}

/// A request that is answered when it is asked for again.
struct Held {
    at: At,
    /// It may carry keys.
    request: Wiped,
    token: u8,
    wait: (u8, u8),
    ready: Instant,
    expires: Instant,
    /// It is asked for, and may be answered now.
    due: bool,
}

impl Responder {
    /// Makes a requester wait, if the configuration has that for its request and it has not waited already.
    pub(super) fn hold_back(&mut self, asked: Asked<'_>, header: Header) -> Result<(), Refusal> {
        let code = header.code;
        if code == Code::RESPOND_IF_READY || self.patience.held.take().is_some_and(|held| held.due) {
            return Ok(());
        }
        let delay = self.config.delays.iter().find(|delay| delay.code == code);
        match delay.map(|delay| delay.how) {
            None => Ok(()),
            Some(Wait::Busy(times)) => self.patience.be_busy(code, times),
            Some(Wait::NotReady { exponent, multiplier }) => {
                let wait = (
                    exponent.min(EXPONENT_MAX),
                    multiplier.max(NotReady::MULTIPLIER_MIN),
                );
                Err(self.patience.hold(asked, wait))
            }
        }
    }

    pub(super) fn respond_if_ready(&mut self, asked: Asked<'_>) -> Reply {
        let (message, _) = self.read::<respond_if_ready::Request>(asked)?;
        let Some(held) = self.patience.held.as_mut() else {
            return Err(UNEXPECTED);
        };
        if held.at != asked.at || message.token != held.token || Some(&message.code.0) != held.request.get(1)
        {
            return Err(INVALID);
        }
        if asked.now > held.expires {
            self.patience.held = None;
            return Err(UNEXPECTED);
        }
        if asked.now < held.ready {
            return Err(held.not_ready());
        }
        held.due = true;
        let request = held.request.clone();
        self.answer(Asked {
            message: &request,
            measured: true,
            ..asked
        })
    }
}

impl Patience {
    fn be_busy(&mut self, code: Code, times: u8) -> Result<(), Refusal> {
        let told = match self.busy {
            Some((before, told)) if before == code => told,
            _ => 0,
        };
        if told >= times {
            self.busy = None;
            return Ok(());
        }
        self.busy = Some((code, told + 1));
        Err(Refusal::new(ErrorCode::BUSY))
    }

    fn hold(&mut self, asked: Asked<'_>, (exponent, multiplier): (u8, u8)) -> Refusal {
        self.token = self.token.wrapping_add(1);
        let delay = Duration::from_micros(1 << exponent);
        let patience = delay.saturating_mul(u32::from(multiplier));
        let held = Held {
            at: asked.at,
            request: Wiped::new(asked.message.to_vec()),
            token: self.token,
            wait: (exponent, multiplier),
            ready: asked.now.after(delay),
            expires: asked.now.after(delay).after(patience),
            due: false,
        };
        let refusal = held.not_ready();
        self.held = Some(held);
        refusal
    }
}

impl Held {
    fn not_ready(&self) -> Refusal {
        let not_ready = NotReady {
            exponent: self.wait.0,
            code: Code(self.request.get(1).copied().unwrap_or_default()),
            token: self.token,
            multiplier: self.wait.1,
        };
        Refusal {
            extended: Extended::NotReady(not_ready),
            ..Refusal::new(ErrorCode::RESPONSE_NOT_READY)
        }
    }
}

/// 2^31 µs are 36 minutes.
const EXPONENT_MAX: u8 = 31;
