//! The keys of one IDE stream at one port of the device: two key sets, each with a key for every sub-stream and
//! direction, of which one set at a time is in use in each direction.
//!
//! ```text
//!              KEY_PROG ×3           K_SET_GO ×3
//!   ┌───────┐ ──────────► ┌───────┐ ────────────► ┌────────┐
//!   │ empty │             │ ready │               │ in use │    one such line for each set and direction;
//!   └───────┘ ◄────────── └───────┘               └───┬────┘    K_SET_GO of the other set switches over
//!       ▲       K_SET_STOP                            │
//!       └─────────────────────────────────────────────┘ K_SET_STOP, end of the session
//! ```
//! K_SET_GO names a sub-stream, and may come as soon as that one's key is there; the direction switches over with the one that
//! finds the keys of all three. A key in use is never overwritten: one that is programmed meanwhile, into the same set too,
//! waits for K_SET_GO.
//!
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
    /// By key set: programmed, and not in use.
    waiting: [Set; 2],
    /// By key set: in use, which one of them is at most. It has all its keys then.
    in_use: [Set; 2],
}

/// One key set in one direction: PR, NPR, CPL.
type Set = [Option<Key>; SUB_STREAMS];

/// Sub-streams of a stream.
pub(super) const SUB_STREAMS: usize = 3;

/// There is no such sub-stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoSubStream;

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

    pub(super) fn program(&mut self, sub: KeySub, key: Key) -> Result<(), NoSubStream> {
        let (set, at) = index(sub)?;
        self.half(sub.direction()).waiting[set][at] = Some(key);
        Ok(())
    }

    /// A sub-stream is to use a set; whether it has a key there. Once all three have one, the direction uses the set, and the
    /// keys that were in use are erased.
    pub(super) fn go(&mut self, sub: KeySub) -> bool {
        let Ok((set, at)) = index(sub) else { return false };
        let half = self.half(sub.direction());
        let has_key = half.waiting[set][at].is_some() || half.in_use[set][at].is_some();
        if half.waiting[set].iter().all(Option::is_some) {
            half.in_use = Default::default();
            half.in_use[set] = core::mem::take(&mut half.waiting[set]);
        }
        has_key
    }

    /// Erases a set.
    pub(super) fn stop(&mut self, sub: KeySub) -> Stopped {
        let was_secure = self.is_secure();
        let set = usize::from(sub.key_set());
        let half = self.half(sub.direction());
        (half.waiting[set], half.in_use[set]) = Default::default();
        match was_secure && !self.is_secure() {
            true => Stopped::Secure,
            false => Stopped::Other,
        }
    }

    pub(super) fn is_secure(&self) -> bool {
        self.receive.is_in_use() && self.transmit.is_in_use()
    }

    /// Whether it holds no key at all.
    pub(super) fn is_empty(&self) -> bool {
        [&self.receive, &self.transmit].into_iter().all(Half::is_empty)
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Receive => &mut self.receive,
            Direction::Transmit => &mut self.transmit,
        }
    }
}

impl Half {
    fn is_in_use(&self) -> bool {
        self.in_use.as_flattened().iter().any(Option::is_some)
    }

    fn is_empty(&self) -> bool {
        !self.is_in_use() && self.waiting.as_flattened().iter().all(Option::is_none)
    }
}

/// Which set, and which sub-stream in it.
fn index(sub: KeySub) -> Result<(usize, usize), NoSubStream> {
    let SubStream(sub_stream) = sub.sub_stream();
    match usize::from(sub_stream) {
        at @ 0..SUB_STREAMS => Ok((usize::from(sub.key_set()), at)),
        _ => Err(NoSubStream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;
    use alloc::vec;

    const SUBS: [SubStream; SUB_STREAMS] = [SubStream::PR, SubStream::NPR, SubStream::CPL];

    fn program(stream: &mut Stream, key_set: bool, byte: u8, count: usize) {
        for sub in &SUBS[..count] {
            let sub = KeySub::new(key_set, Direction::Receive, *sub);
            assert_eq!(stream.program(sub, key(byte)), Ok(()));
        }
    }

    fn key(byte: u8) -> Key {
        Key {
            key: Secret::new(vec![byte; 32]),
            initial: Key::INITIAL,
        }
    }

    fn go(stream: &mut Stream, key_set: bool) -> bool {
        stream.go(KeySub::new(key_set, Direction::Receive, SubStream::PR))
    }

    #[track_caller]
    fn assert_in_use(stream: &Stream, key_set: bool, byte: u8) {
        let mut wanted: [Set; 2] = Default::default();
        wanted[usize::from(key_set)] = [(); SUB_STREAMS].map(|()| Some(key(byte)));
        assert!(stream.receive.in_use == wanted, "set {key_set} with key {byte}");
    }

    #[test]
    fn a_key_in_use_stays_until_all_three_of_its_successors_go() {
        for key_set in [false, true] {
            let mut stream = Stream::new(7);
            program(&mut stream, key_set, 1, 3);
            assert!(go(&mut stream, key_set));
            assert_in_use(&stream, key_set, 1);
            for next in [key_set, !key_set] {
                program(&mut stream, next, 2, 2);
                assert!(go(&mut stream, next), "the sub-stream has its key");
                assert_in_use(&stream, key_set, 1);
            }
            program(&mut stream, key_set, 3, 3);
            assert_in_use(&stream, key_set, 1);
            assert!(go(&mut stream, key_set));
            assert_in_use(&stream, key_set, 3);
            assert!(go(&mut stream, key_set), "it goes already");
            assert_in_use(&stream, key_set, 3);
        }
    }

    #[test]
    fn a_stop_erases_what_is_in_use_and_what_waits() {
        let mut stream = Stream::new(7);
        program(&mut stream, false, 1, 3);
        assert!(go(&mut stream, false));
        program(&mut stream, false, 2, 3);
        assert!(!stream.is_empty());
        stream.stop(KeySub::new(false, Direction::Receive, SubStream::PR));
        assert!(stream.is_empty());
        assert!(!go(&mut stream, false));
    }
}
