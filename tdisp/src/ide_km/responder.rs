//! The device's side of IDE_KM: ports that are asked, and streams that are keyed (PCIe §6.33.3).
//!
//! * A port belongs to the session that programmed the first key at it, until that session ends or all keys there are
//!   stopped. What another session sends about it, QUERY too, is discarded.
//! * Where a port's registers are [`written`](Port::written), a stream's ID must be in one of their blocks.
//! * K_SET_GO needs the key of the sub-stream that it names; without it, it is discarded. The stream needs all six to be
//!   secure, and to be locked with.
//! * K_SET_STOP and the end of the session erase keys; where a secure stream ends by it, an [`Event`] says so, and the
//!   TDIs that were locked with it are to go to ERROR.
//! * A port that is not there is for the caller to refuse, where the object has no acknowledgement that could say so
//!   ([`Responder::lacks_port`]).
//! * What is malformed or unknown is not acknowledged, but for a KEY_PROG, whose KP_ACK has statuses for that. GET_KEY and
//!   EN_AEAD_LC are not acknowledged either: the port makes no keys and has no limit to set, and its QUERY_RESP says so.

use super::{
    msg::{Key, Message, ObjectId, QueryCapabilities, Registers, Slot, Status},
    registers::{SelectiveStream, Streams},
    stream::{NoSubStream, Stopped, Stream},
};
use crate::tdi::responder::Misconfigured;
use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

/// One port of the device, as QUERY shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Port {
    /// Device and function number.
    pub device_function: u8,
    /// Bus number.
    pub bus: u8,
    /// Segment.
    pub segment: u8,
    /// IDE capability register.
    pub capability: u32,
    /// IDE control register.
    pub control: u32,
    /// Register blocks, as many as the capability register announces.
    pub streams: Streams,
    /// Whether the blocks are what software wrote, so that stream IDs and the default stream are judged by them. A model whose
    /// registers nobody writes leaves it false, and takes every stream ID.
    pub written: bool,
}

/// A stream changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Both directions of the stream have keys in use.
    Secure {
        /// Stream ID.
        stream: u8,
        /// Whose keys they are: a stream of the same ID at a port of another session's is another stream.
        session: u32,
    },
    /// A secure stream is secure no longer.
    Insecure {
        /// Stream ID.
        stream: u8,
        /// Whose keys they were.
        session: u32,
    },
}

/// The machine.
#[derive(Debug, Default)]
pub struct Responder {
    ports: Vec<Port>,
    streams: BTreeMap<StreamAt, Stream>,
    events: VecDeque<Event>,
}

/// A stream at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct StreamAt {
    port: u8,
    stream: u8,
}

impl Responder {
    /// Ports by index, at most 256; none is a device without IDE, which answers nothing here.
    pub fn new(ports: Vec<Port>) -> Self {
        Self {
            ports,
            ..Self::default()
        }
    }

    /// Takes an IDE_KM object that came over a session; answers what to send, if anything.
    pub fn handle(&mut self, session: u32, object: &[u8]) -> Option<Vec<u8>> {
        // A stream without keys is nobody's.
        self.streams.retain(|_, keys| !keys.is_empty());
        match Message::decode(object) {
            Ok(Message::Query { port }) => self.query(port, session),
            Ok(other) => self.respond(session, other).map(encode),
            Err(_) => {
                let slot = wrong_length(object).filter(|slot| self.may_speak(slot.port, session))?;
                Some(encode(Message::KpAck(slot, Status::INCORRECT_LENGTH)))
            }
        }
    }

    /// Whether an object asks about a port that is not there, and PCIe has no answer to it. SPDM has: it wants an ERROR where
    /// nothing says that a request is to be ignored, or else its requester would wait.
    pub fn lacks_port(&self, object: &[u8]) -> bool {
        let port = match Message::decode(object) {
            Ok(Message::Query { port }) => port,
            Ok(Message::KSetGo(slot) | Message::KSetStop(slot)) => slot.port,
            _ => return false,
        };
        usize::from(port) >= self.ports.len()
    }

    /// The registers of a port, which a model keeps up with what software writes to them.
    pub fn port_mut(&mut self, port: u8) -> Option<&mut Port> {
        self.ports.get_mut(usize::from(port))
    }

    /// Whether the registers have this stream as the only default stream, for TC 0. Where no port's are written, there is nothing
    /// to tell by, and it is.
    pub fn check_default_stream(&self, stream: u8) -> Result<(), Misconfigured> {
        if !self.ports.iter().any(|port| port.written) {
            return Ok(());
        }
        let mut defaults = self.written_blocks().filter(|block| block.control.is_default());
        let (Some(block), None) = (defaults.next(), defaults.next()) else {
            return Err(Misconfigured::DefaultStream(stream));
        };
        match (block.control.id() == stream, block.control.traffic_class()) {
            (true, 0) => Ok(()),
            (true, _) => Err(Misconfigured::TrafficClass(stream)),
            (false, _) => Err(Misconfigured::DefaultStream(stream)),
        }
    }

    /// Whether the registers have this stream once, not as the default, and apart from all others that are enabled.
    pub fn check_peer_stream(&self, stream: u8) -> Result<(), Misconfigured> {
        if !self.ports.iter().any(|port| port.written) {
            return Ok(());
        }
        let refused = Misconfigured::PeerStream(stream);
        let mut found = self.written_blocks().filter(|block| block.control.id() == stream);
        let (Some(block), None) = (found.next(), found.next()) else {
            return Err(refused);
        };
        let mut others = self.written_blocks().filter(|other| {
            let is_other = other.control.id() != stream;
            is_other && other.control.enabled() && !other.control.is_default()
        });
        match block.control.is_default() || others.any(|other| other.overlaps(block)) {
            true => Err(refused),
            false => Ok(()),
        }
    }

    /// Whether the stream is keyed over this session, and in use at every port where it is.
    pub fn is_secure(&self, stream: u8, session: u32) -> bool {
        let ours = |(at, keys): &(&StreamAt, &Stream)| at.stream == stream && keys.session == session;
        let mut at_ports = self.streams.iter().filter(ours).peekable();
        at_ports.peek().is_some() && at_ports.all(|(_, keys)| keys.is_secure())
    }

    /// The session is over: its streams' keys are erased.
    pub fn session_ended(&mut self, session: u32) {
        let ended = self.streams.extract_if(.., |_, keys| keys.session == session);
        let secure = ended.filter(|(_, keys)| keys.is_secure());
        self.events
            .extend(secure.map(|(StreamAt { stream, .. }, _)| Event::Insecure { stream, session }));
    }

    /// What changed since the last call.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn respond(&mut self, session: u32, message: Message<'_>) -> Option<Message<'static>> {
        match message {
            Message::KeyProg(slot, key) => {
                let status = self.program(slot, key, session)?;
                Some(Message::KpAck(slot, status))
            }
            Message::KSetGo(slot) => self.go(slot, session),
            Message::KSetStop(slot) => self.stop(slot, session),
            _ => None,
        }
    }

    fn query(&self, port: u8, session: u32) -> Option<Vec<u8>> {
        let found = self.ports.get(usize::from(port))?;
        if !self.may_speak(port, session) {
            return None;
        }
        let mut blocks = Vec::new();
        found.streams.encode(&mut blocks);
        Some(encode(Message::QueryResp(Registers {
            abilities: QueryCapabilities::default(),
            port,
            device_function: found.device_function,
            bus: found.bus,
            segment: found.segment,
            port_max: u8::try_from(self.ports.len() - 1).unwrap_or(u8::MAX),
            capability: found.capability,
            control: found.control,
            blocks: &blocks,
        })))
    }

    /// Whether no other session owns the port.
    fn may_speak(&self, port: u8, session: u32) -> bool {
        let mut here = self.streams.iter().filter(|(at, _)| at.port == port);
        here.all(|(_, keys)| keys.session == session)
    }

    fn written_blocks(&self) -> impl Iterator<Item = &SelectiveStream> {
        let written = self.ports.iter().filter(|port| port.written);
        written.flat_map(|port| &port.streams.selective)
    }

    /// How a KEY_PROG goes; `None` if it is discarded, because the port is another session's.
    fn program(&mut self, slot: Slot, key: Key, session: u32) -> Option<Status> {
        let Some(port) = self.ports.get(usize::from(slot.port)) else {
            return Some(Status::UNSUPPORTED_PORT_INDEX);
        };
        if !self.may_speak(slot.port, session) {
            return None;
        }
        let known = !port.written || port.streams.has(slot.stream);
        if !known || key.initial != Key::INITIAL {
            return Some(Status::UNSUPPORTED_VALUE);
        }
        let at = StreamAt {
            port: slot.port,
            stream: slot.stream,
        };
        let stream = self.streams.entry(at).or_insert_with(|| Stream::new(session));
        Some(match stream.program(slot.key_sub, key) {
            Ok(()) => Status::SUCCESSFUL,
            Err(NoSubStream) => Status::UNSUPPORTED_VALUE,
        })
    }

    /// The stream, if it is there and this session's.
    fn owned(&mut self, slot: Slot, session: u32) -> Option<&mut Stream> {
        let at = StreamAt {
            port: slot.port,
            stream: slot.stream,
        };
        self.streams
            .get_mut(&at)
            .filter(|stream| stream.session == session)
    }

    fn go(&mut self, slot: Slot, session: u32) -> Option<Message<'static>> {
        let stream = self.owned(slot, session)?;
        let was_secure = stream.is_secure();
        if !stream.go(slot.key_sub) {
            return None;
        }
        if stream.is_secure() && !was_secure {
            let stream = slot.stream;
            self.events.push_back(Event::Secure { stream, session });
        }
        Some(Message::KGostopAck(slot))
    }

    /// A stream that nobody has keys for is stopped already.
    fn stop(&mut self, slot: Slot, session: u32) -> Option<Message<'static>> {
        let at = StreamAt {
            port: slot.port,
            stream: slot.stream,
        };
        let there = usize::from(slot.port) < self.ports.len();
        if !there || !self.may_speak(slot.port, session) {
            return None;
        }
        let Some(stream) = self.streams.get_mut(&at) else {
            return Some(Message::KGostopAck(slot));
        };
        if stream.stop(slot.key_sub) == Stopped::Secure {
            let stream = slot.stream;
            self.events.push_back(Event::Insecure { stream, session });
        }
        Some(Message::KGostopAck(slot))
    }
}

fn encode(message: Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

/// The slot of a KEY_PROG that is too short or too long, if so much of it is there.
fn wrong_length(object: &[u8]) -> Option<Slot> {
    // Its first bytes are those of a K_SET_GO, which ends there.
    let (id, slot) = (object.first()?, object.get(1..SLOT_END)?);
    if *id != ObjectId::KEY_PROG.0 {
        return None;
    }
    match Message::decode(&[&[ObjectId::K_SET_GO.0], slot].concat()) {
        Ok(Message::KSetGo(slot)) => Some(slot),
        _ => None,
    }
}

/// Bytes of the fields that name a key.
const SLOT_END: usize = 7;
