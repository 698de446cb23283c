//! The keys of one IDE stream at one port of the device: two key sets, each with a key for every sub-stream and
//! direction, of which one set at a time is in use in each direction.
//!
//! ```text
//!              KEY_PROG ×3           K_SET_GO
//!   ┌───────┐ ──────────► ┌───────┐ ─────────► ┌────────┐
//!   │ empty │             │ ready │            │ in use │    one such line for each set and direction;
//!   └───────┘ ◄────────── └───────┘            └───┬────┘    K_SET_GO of the other set switches over
//!       ▲       K_SET_STOP                         │
//!       └──────────────────────────────────────────┘ K_SET_STOP, end of the session
//! ```
//! The stream is *secure* while both directions have a set in use. Keys are erased when they leave.

use super::msg::{Direction, Key, KeySub, SubStream};

/// Whose stream it is, and its keys.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) session: u32,
    receive: Half,
    transmit: Half,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    sets: [Set; 2],
    in_use: Option<usize>,
}

/// One key set in one direction: PR, NPR, CPL.
type Set = [Option<Key>; SUB_STREAMS];

/// Sub-streams of a stream.
pub(super) const SUB_STREAMS: usize = 3;

/// What a KEY_PROG cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such sub-stream.
    SubStream,
    /// The set is in use; a key in use is never overwritten.
    InUse,
}

/// What a K_SET_STOP did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The stream was secure, and is not any more.
    Secure,
    /// It made no difference to that.
    Other,
}

impl Stream {
    pub(super) fn new(session: u32) -> Self {
        Self {
            session,
            receive: Half::default(),
            transmit: Half::default(),
        }
    }

    pub(super) fn program(&mut self, sub: KeySub, key: Key) -> Result<(), Refusal> {
        let set = usize::from(sub.key_set());
        let half = self.half(sub.direction());
        if half.in_use == Some(set) {
            return Err(Refusal::InUse);
        }
        let SubStream(sub_stream) = sub.sub_stream();
        let place = half.sets[set]
            .get_mut(usize::from(sub_stream))
            .ok_or(Refusal::SubStream)?;
        *place = Some(key);
        Ok(())
    }

    /// Uses a set from now on, if all its keys are there; whether they are. The set that was in use is erased.
    pub(super) fn go(&mut self, sub: KeySub) -> bool {
        let set = usize::from(sub.key_set());
        let half = self.half(sub.direction());
        let ready = half.sets[set].iter().all(Option::is_some);
        if ready {
            let before = half.in_use.replace(set).filter(|before| *before != set);
            if let Some(before) = before {
                half.sets[before] = Set::default();
            }
        }
        ready
    }

    /// Erases a set.
    pub(super) fn stop(&mut self, sub: KeySub) -> Stopped {
        let was_secure = self.is_secure();
        let set = usize::from(sub.key_set());
        let half = self.half(sub.direction());
        half.sets[set] = Set::default();
        half.in_use = half.in_use.filter(|in_use| *in_use != set);
        match was_secure && !self.is_secure() {
            true => Stopped::Secure,
            false => Stopped::Other,
        }
    }

    pub(super) fn is_secure(&self) -> bool {
        self.receive.in_use.is_some() && self.transmit.in_use.is_some()
    }

    /// Whether it holds no key at all.
    pub(super) fn is_empty(&self) -> bool {
        [&self.receive, &self.transmit]
            .into_iter()
            .all(|half| half.sets.as_flattened().iter().all(Option::is_none))
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Receive => &mut self.receive,
            Direction::Transmit => &mut self.transmit,
        }
    }
}
