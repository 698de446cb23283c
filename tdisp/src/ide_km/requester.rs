//! The TSM's side of IDE_KM: one machine for each stream at a port of the device.
//!
//! ```text
//!   query()            QUERY                          ──► Registers
//!   program()          KEY_PROG ×6, fresh random keys ──► Programmed(keys): give them to the root port
//!   go(Receive)        K_SET_GO                       ──► Going: at both ends, before
//!   go(Transmit)       K_SET_GO                       ──► Going
//!   stop()             K_SET_STOP, each set and way   ──► Stopped
//! ```
//! * Each key is drawn for one sub-stream and direction, and used once. The keys of a set that failed are never used.
//! * An acknowledgement must name the very slot that was asked about. After a KEY_PROG or K_SET_GO that failed nothing but
//!   [`Requester::stop`] is left: the device may hold keys that no root port has.
//! * What the device receives goes before what it transmits, and the whole set is programmed before either.
//! * [`Requester::program`] again takes the other key set, and [`Requester::go`] switches to it.

use super::{
    msg::{
        Direction, KEY_SIZE, Key, KeySub, Message, ObjectId, QueryCapabilities, Registers, Slot, Status,
        SubStream,
    },
    stream::SUB_STREAMS,
};
use crate::{
    crypto::{CryptoError, Provider, Secret},
    wire::DecodeError,
};
use alloc::{vec, vec::Vec};
use zeroize::Zeroizing;

/// What to do next.
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// Send this object and bring its answer. It may hold a key, and is erased when it is dropped.
    More(Zeroizing<Vec<u8>>),
    /// The request is done.
    Done(Answer),
}

/// What a request brought.
#[derive(Debug)]
pub enum Answer {
    /// The port's registers.
    Registers {
        /// Version and abilities of the port's IDE_KM.
        abilities: QueryCapabilities,
        /// Highest port index.
        port_max: u8,
        /// IDE capability register.
        capability: u32,
        /// IDE control register.
        control: u32,
        /// Stream register blocks, as they came: [`Streams::decode`](super::registers::Streams::decode) reads them.
        blocks: Vec<u8>,
    },
    /// The device holds these keys. From where it stands: what it receives the root port transmits.
    Programmed(Vec<(KeySub, Key)>),
    /// The device uses the set in this direction.
    Going(Direction),
    /// The device has erased all keys.
    Stopped,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device refused a key.
    #[error("the device refused an IDE key for stream {}: {status}", slot.stream)]
    Refused {
        /// Which.
        slot: Slot,
        /// Why.
        status: Status,
    },
    /// The answer is malformed.
    #[error("the device's IDE_KM answer is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The answer is not to what was asked.
    #[error(
        "the device's IDE_KM answer is {found}, not the answer to {wanted} of the same stream, port and key"
    )]
    Unexpected {
        /// What came.
        found: ObjectId,
        /// What was asked.
        wanted: ObjectId,
    },
    /// There was no randomness for a key.
    #[error("no IDE key could be drawn: {0}")]
    NoKey(CryptoError),
    /// The caller's mistake: a request is outstanding.
    #[error("an IDE_KM request is outstanding; hand over its answer first")]
    Busy,
    /// The caller's mistake: nothing was asked.
    #[error("no IDE_KM request is outstanding that this could answer")]
    NothingAsked,
    /// The caller's mistake: the keys are not all programmed.
    #[error("the IDE key set is not programmed; program it before it is used")]
    NotProgrammed,
    /// The caller's mistake: the device would transmit before it receives.
    #[error("the device does not receive with this key set yet; start that direction first, at both ends")]
    ReceiveFirst,
    /// The caller's mistake: a request failed, and the stream was not stopped.
    #[error(
        "an IDE_KM request for this stream failed before; stop the stream at both ends, then program it anew"
    )]
    StopFirst,
}

/// The machine of one stream at one port.
#[derive(Debug)]
pub struct Requester {
    port: u8,
    stream: u8,
    /// The set that is programmed, or is to be programmed next.
    key_set: bool,
    programmed: bool,
    /// Whether the device receives with that set.
    receives: bool,
    /// Sets that the device may hold keys of.
    held: [bool; 2],
    /// Whether a request failed since the last stop.
    failed: bool,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Nothing,
    Query,
    Program {
        done: Vec<(KeySub, Key)>,
        left: Vec<(KeySub, Key)>,
    },
    Go(Slot),
    Stop {
        asked: Slot,
        left: Vec<Slot>,
    },
}

impl Requester {
    /// For one stream at one port; nothing was asked yet.
    pub fn new(port: u8, stream: u8) -> Self {
        Self {
            port,
            stream,
            key_set: false,
            programmed: false,
            receives: false,
            held: [false; 2],
            failed: false,
            asked: Asked::Nothing,
        }
    }

    /// QUERY.
    pub fn query(&mut self) -> Result<Vec<u8>, Error> {
        self.idle()?;
        self.asked = Asked::Query;
        Ok(encode(&Message::Query { port: self.port }))
    }

    /// Six KEY_PROG with fresh keys: the first one; [`Self::handle`] gives the rest.
    pub fn program(&mut self, provider: &dyn Provider) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.idle()?;
        self.sound()?;
        self.key_set ^= self.programmed;
        (self.programmed, self.receives) = (false, false);
        self.held[usize::from(self.key_set)] = true;
        let mut keys = Vec::with_capacity(2 * SUB_STREAMS);
        for direction in [Direction::Transmit, Direction::Receive] {
            for sub_stream in [SubStream::CPL, SubStream::NPR, SubStream::PR] {
                keys.push((KeySub::new(self.key_set, direction, sub_stream), draw(provider)?));
            }
        }
        let object = self.key_prog(&keys);
        self.asked = Asked::Program {
            done: Vec::new(),
            left: keys,
        };
        Ok(object)
    }

    /// K_SET_GO of the set that was programmed: Receive at both ends before Transmit.
    pub fn go(&mut self, direction: Direction) -> Result<Vec<u8>, Error> {
        self.idle()?;
        self.sound()?;
        if !self.programmed {
            return Err(Error::NotProgrammed);
        }
        if direction == Direction::Transmit && !self.receives {
            return Err(Error::ReceiveFirst);
        }
        let slot = self.slot(KeySub::new(self.key_set, direction, SubStream::PR));
        self.asked = Asked::Go(slot);
        Ok(encode(&Message::KSetGo(slot)))
    }

    /// K_SET_STOP of every set that was programmed, in both directions: the first one; [`Self::handle`] gives the rest.
    /// A stream that was never programmed is stopped too: a device acknowledges that.
    pub fn stop(&mut self) -> Result<Vec<u8>, Error> {
        self.idle()?;
        (self.programmed, self.receives) = (false, false);
        let sets = [!self.key_set, self.key_set].into_iter();
        let sets = sets.filter(|set| self.held[usize::from(*set)] || *set == self.key_set);
        let left = sets
            .flat_map(|set| {
                [Direction::Receive, Direction::Transmit].map(|way| KeySub::new(set, way, SubStream::PR))
            })
            .map(|sub| self.slot(sub))
            .collect();
        match self.stop_next(left) {
            Progress::More(object) => Ok(object.to_vec()),
            // The set in turn is always among them.
            Progress::Done(_) => Err(Error::NothingAsked),
        }
    }

    /// Takes the answer to what was asked. Unless it is [`Progress::More`], the request is over.
    pub fn handle(&mut self, object: &[u8]) -> Result<Progress, Error> {
        let asked = core::mem::replace(&mut self.asked, Asked::Nothing);
        let uses_keys = asked.uses_keys();
        let progress = self.answer(asked, object);
        if progress.is_err() && uses_keys {
            self.fail();
        }
        progress
    }

    fn answer(&mut self, asked: Asked, object: &[u8]) -> Result<Progress, Error> {
        if let Asked::Nothing = asked {
            return Err(Error::NothingAsked);
        }
        let answer = Message::decode(object)?;
        match (asked, answer) {
            (Asked::Query, Message::QueryResp(found)) if found.port == self.port => Ok(registers(&found)),
            (Asked::Program { done, left }, Message::KpAck(slot, status)) => {
                self.acknowledged(done, left, slot, status)
            }
            (Asked::Go(slot), Message::KGostopAck(found)) if found == slot => {
                let direction = slot.key_sub.direction();
                self.receives |= direction == Direction::Receive;
                Ok(Progress::Done(Answer::Going(direction)))
            }
            (Asked::Stop { asked, left }, Message::KGostopAck(found)) if found == asked => {
                Ok(self.stop_next(left))
            }
            (asked, answer) => Err(Error::Unexpected {
                found: answer.id(),
                wanted: asked.id(),
            }),
        }
    }

    /// The request will not be answered: a device that has no answer is silent, and then the set is to be stopped.
    pub fn abandon(&mut self) {
        if self.asked.uses_keys() {
            self.fail();
        }
        self.asked = Asked::Nothing;
    }

    /// No key of the set is used any more.
    fn fail(&mut self) {
        (self.programmed, self.receives, self.failed) = (false, false, true);
    }

    fn sound(&self) -> Result<(), Error> {
        match self.failed {
            true => Err(Error::StopFirst),
            false => Ok(()),
        }
    }

    fn idle(&self) -> Result<(), Error> {
        match self.asked {
            Asked::Nothing => Ok(()),
            _ => Err(Error::Busy),
        }
    }

    fn acknowledged(
        &mut self,
        mut done: Vec<(KeySub, Key)>,
        mut left: Vec<(KeySub, Key)>,
        slot: Slot,
        status: Status,
    ) -> Result<Progress, Error> {
        let unexpected = Error::Unexpected {
            found: ObjectId::KP_ACK,
            wanted: ObjectId::KEY_PROG,
        };
        let programmed = left
            .pop()
            .filter(|(sub, _)| self.slot(*sub) == slot)
            .ok_or(unexpected)?;
        if status != Status::SUCCESSFUL {
            return Err(Error::Refused { slot, status });
        }
        done.push(programmed);
        if left.is_empty() {
            self.programmed = true;
            return Ok(Progress::Done(Answer::Programmed(done)));
        }
        let object = self.key_prog(&left);
        self.asked = Asked::Program { done, left };
        Ok(Progress::More(object))
    }

    /// Stops the last of what is left.
    fn stop_next(&mut self, mut left: Vec<Slot>) -> Progress {
        let Some(asked) = left.pop() else {
            (self.held, self.failed) = ([false; 2], false);
            return Progress::Done(Answer::Stopped);
        };
        self.asked = Asked::Stop { asked, left };
        Progress::More(encode(&Message::KSetStop(asked)).into())
    }

    /// KEY_PROG of the last key.
    fn key_prog(&self, keys: &[(KeySub, Key)]) -> Zeroizing<Vec<u8>> {
        let mut object = Zeroizing::new(Vec::with_capacity(KEY_PROG_SIZE));
        if let Some((sub, key)) = keys.last() {
            Message::KeyProg(self.slot(*sub), key.clone()).encode(&mut object);
        }
        object
    }

    fn slot(&self, key_sub: KeySub) -> Slot {
        Slot {
            stream: self.stream,
            key_sub,
            port: self.port,
        }
    }
}

impl Asked {
    /// Whether the device may hold keys by it that the root port does not know to be good.
    fn uses_keys(&self) -> bool {
        matches!(self, Self::Program { .. } | Self::Go(_) | Self::Stop { .. })
    }

    fn id(&self) -> ObjectId {
        match self {
            Self::Nothing | Self::Query => ObjectId::QUERY,
            Self::Program { .. } => ObjectId::KEY_PROG,
            Self::Go(_) => ObjectId::K_SET_GO,
            Self::Stop { .. } => ObjectId::K_SET_STOP,
        }
    }
}

fn registers(found: &Registers<'_>) -> Progress {
    Progress::Done(Answer::Registers {
        abilities: found.abilities,
        port_max: found.port_max,
        capability: found.capability,
        control: found.control,
        blocks: found.blocks.to_vec(),
    })
}

fn draw(provider: &dyn Provider) -> Result<Key, Error> {
    let mut key = Zeroizing::new([0; KEY_SIZE]);
    provider.random(&mut *key).map_err(Error::NoKey)?;
    Ok(Key {
        key: Secret::new(key.to_vec()),
        initial: Key::INITIAL,
    })
}

fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut object = vec![];
    message.encode(&mut object);
    object
}

/// Bytes of a KEY_PROG: room for all of it at once, so that no copy of the key is left behind by growing.
const KEY_PROG_SIZE: usize = 7 + KEY_SIZE + 8;
