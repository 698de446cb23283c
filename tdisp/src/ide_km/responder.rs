//! The device's side of IDE_KM: ports that are asked, and streams that are keyed (PCIe §6.33.3).
//!
//! * A stream belongs to the session that programmed its first key, until that session ends or all its keys are
//!   stopped. What another session sends about it is discarded.
//! * K_SET_GO needs all keys of the set and direction; without them it is discarded.
//! * K_SET_STOP and the end of the session erase keys; where a secure stream ends by it, an [`Event`] says so, and the
//!   TDIs that were locked with it are to go to ERROR.
//! * What is malformed or unknown is not acknowledged, but for a KEY_PROG, whose KP_ACK has statuses for that.

use super::{
    msg::{Message, ObjectId, Registers, Slot, Status},
    stream::{Refusal, Stopped, Stream},
};
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
    /// Link stream register blocks, then selective ones: whole DW.
    pub blocks: Vec<u8>,
}

/// A stream changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Both directions of the stream have keys in use.
    Secure {
        /// Stream ID.
        stream: u8,
    },
    /// A secure stream is secure no longer.
    Insecure {
        /// Stream ID.
        stream: u8,
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
        let mut out = Vec::new();
        self.respond(session, object)?.encode(&mut out);
        Some(out)
    }

    /// Whether the stream is keyed and in use at every port that has it, over this session.
    pub fn is_secure(&self, stream: u8, session: u32) -> bool {
        let mut at_ports = self
            .streams
            .iter()
            .filter(|(at, _)| at.stream == stream)
            .peekable();
        at_ports.peek().is_some() && at_ports.all(|(_, keys)| keys.session == session && keys.is_secure())
    }

    /// The session is over: its streams' keys are erased.
    pub fn session_ended(&mut self, session: u32) {
        let ended = self.streams.extract_if(.., |_, keys| keys.session == session);
        let secure = ended.filter(|(_, keys)| keys.is_secure());
        self.events
            .extend(secure.map(|(at, _)| Event::Insecure { stream: at.stream }));
    }

    /// What changed since the last call.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn respond(&mut self, session: u32, object: &[u8]) -> Option<Message<'_>> {
        // A stream without keys is nobody's.
        self.streams.retain(|_, keys| !keys.is_empty());
        match Message::decode(object) {
            Ok(Message::Query { port }) => self.query(port),
            Ok(Message::KeyProg(slot, key)) => {
                let status = match self
                    .stream(slot, session)?
                    .map(|stream| stream.program(slot.key_sub, key))
                {
                    Ok(Ok(())) => Status::SUCCESSFUL,
                    Ok(Err(Refusal::SubStream)) => Status::UNSUPPORTED_VALUE,
                    Ok(Err(Refusal::InUse)) => Status::UNSPECIFIED_FAILURE,
                    Err(status) => status,
                };
                Some(Message::KpAck(slot, status))
            }
            Ok(Message::KSetGo(slot)) => self.go(slot, session),
            Ok(Message::KSetStop(slot)) => self.stop(slot, session),
            Ok(_) => None,
            Err(_) => wrong_length(object).map(|slot| Message::KpAck(slot, Status::INCORRECT_LENGTH)),
        }
    }

    fn query(&self, port: u8) -> Option<Message<'_>> {
        let found = self.ports.get(usize::from(port))?;
        Some(Message::QueryResp(Registers {
            port,
            device_function: found.device_function,
            bus: found.bus,
            segment: found.segment,
            port_max: u8::try_from(self.ports.len() - 1).unwrap_or(u8::MAX),
            capability: found.capability,
            control: found.control,
            blocks: &found.blocks,
        }))
    }

    /// The stream, made if it is new; `None` if it is another session's.
    fn stream(&mut self, slot: Slot, session: u32) -> Option<Result<&mut Stream, Status>> {
        if usize::from(slot.port) >= self.ports.len() {
            return Some(Err(Status::UNSUPPORTED_PORT_INDEX));
        }
        let at = StreamAt {
            port: slot.port,
            stream: slot.stream,
        };
        let stream = self.streams.entry(at).or_insert_with(|| Stream::new(session));
        (stream.session == session).then_some(Ok(stream))
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
            self.events.push_back(Event::Secure { stream: slot.stream });
        }
        Some(Message::KGostopAck(slot))
    }

    /// A stream that nobody has keys for is stopped already.
    fn stop(&mut self, slot: Slot, session: u32) -> Option<Message<'static>> {
        let at = StreamAt {
            port: slot.port,
            stream: slot.stream,
        };
        let Some(stream) = self.streams.get_mut(&at) else {
            return (usize::from(slot.port) < self.ports.len()).then_some(Message::KGostopAck(slot));
        };
        if stream.session != session {
            return None;
        }
        if stream.stop(slot.key_sub) == Stopped::Secure {
            self.events.push_back(Event::Insecure { stream: slot.stream });
        }
        Some(Message::KGostopAck(slot))
    }
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
