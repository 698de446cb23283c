//! The device security manager's place in the card: one object that answers data objects, reached both through
//! function 0's mailbox and through the socket, and told of faults by all functions.
//!
//! ```text
//!   mailbox ─┐ object            ┌─ states ─► Enforcer (before the answer goes out)
//!            ├──────► Manager ───┤
//!   socket ──┘        ▲ fault    └─ answer, late, too short, or none (lies at this level)
//!                 config watch
//! ```

use super::FUNCTIONS;
use super::enforcer::Enforcer;
use super::gate::TdiState;
use crate::lie::Lie;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tdisp::clock::Instant;

/// How late an answer is under [`Lie::LateAnswer`]. The specification allows a device one second.
pub const LATE: Duration = Duration::from_secs(3);

/// What answers data objects. Both directions are whole objects with their 8-byte header.
pub trait SecurityManager: Send {
    /// Answers an object, or stays silent.
    fn object(&mut self, now: Instant, object: &[u8]) -> Option<Vec<u8>>;
    /// Something that a locked interface does not survive happened to `function`.
    fn fault(&mut self, function: usize);
    /// The state of each function's interface.
    fn states(&self) -> [TdiState; FUNCTIONS];
}

/// An answer, and how it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The object, if there is one.
    pub object: Option<Vec<u8>>,
    /// How long to wait before giving it.
    pub delay: Duration,
    /// Whether to end the connection instead.
    pub hang_up: bool,
}

/// The security manager with its clock and its lies.
pub struct Manager {
    inner: Mutex<Box<dyn SecurityManager>>,
    enforcer: Arc<Enforcer>,
    lies: Vec<Lie>,
    started: std::time::Instant,
}

impl Manager {
    /// Lets `inner` answer for the device whose DMA `enforcer` guards.
    pub fn new(inner: Box<dyn SecurityManager>, enforcer: Arc<Enforcer>, lies: Vec<Lie>) -> Self {
        Self {
            inner: Mutex::new(inner),
            enforcer,
            lies,
            started: std::time::Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn SecurityManager>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the gate where every interface stands. The lock is held meanwhile, so that states arrive in order.
    fn tell(&self, inner: &dyn SecurityManager) {
        for (function, state) in inner.states().into_iter().enumerate() {
            if self.enforcer.state(function) != state {
                tracing::info!(function, %state, "interface");
                self.enforcer.set_state(function, state);
            }
        }
    }

    /// Answers an object.
    pub fn exchange(&self, object: &[u8]) -> Answer {
        let mut inner = self.lock();
        let answer = inner.object(Instant::at(self.started.elapsed()), object);
        self.tell(&**inner);
        drop(inner);
        // Byte 2 of the header is the object's type, and 0 is discovery, about which nobody lies.
        let lies: &[Lie] = if object.get(2) == Some(&0) {
            &[]
        } else {
            &self.lies
        };
        let told = |lie| lies.contains(&lie);
        Answer {
            object: answer.map(|object| {
                if told(Lie::WrongLength) {
                    lengthened(object)
                } else {
                    object
                }
            }),
            delay: if told(Lie::LateAnswer) {
                LATE
            } else {
                Duration::ZERO
            },
            hang_up: told(Lie::HangUp),
        }
    }

    /// Something that a locked interface does not survive happened to `function`.
    pub fn fault(&self, function: usize, why: &dyn std::fmt::Display) {
        let mut inner = self.lock();
        let before = inner.states();
        inner.fault(function);
        if before != inner.states() {
            tracing::warn!(function, %why, "a locked interface fails");
        }
        self.tell(&**inner);
    }
}

/// The object with a length field that is one double word too large.
fn lengthened(mut object: Vec<u8>) -> Vec<u8> {
    if let Some(length) = object.get_mut(4) {
        *length = length.wrapping_add(1);
    }
    object
}
