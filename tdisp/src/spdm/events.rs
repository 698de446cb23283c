//! Events (DSP0274 1.3, "Event mechanism"), as either end has them: who tells of events keeps a [`Subscription`] for each
//! session, who is told reads what comes with [`received`].
//!
//! ```text
//!   SUBSCRIBE_EVENT_TYPES ─► Subscription ◄── notify: numbered, queued, or lost where the queue is full
//!                                 │ next: SEND_EVENT, the same until
//!                                 └ acknowledged: EVENT_ACK
//! ```
//! - Events of a session are numbered from 1 on; those of one message follow one another.
//! - A queue is bounded. Events that find no room are lost, and that is an event of its own, which comes after what was queued
//!   and says up to which number they are.
//! - Only the DMTF's events are told here. Those of other bodies are passed on as they are.

use super::msg::{
    Payload, Version,
    event_types::{EventType, Group, Groups, REGISTRY_DMTF, REVISION_DMTF},
    send_event::{self, Dmtf},
};
use crate::wire::DecodeError;
use alloc::{collections::VecDeque, vec::Vec};

/// Events that wait for one session.
pub const QUEUE_MAX: usize = 32;

/// A set of the DMTF's event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Types(u8);

impl Types {
    /// All of them.
    pub const ALL: Self = Self(0x1e);

    /// Those of a list.
    pub fn of(list: &[EventType]) -> Self {
        let bit = |kind: &EventType| 1u8.checked_shl(kind.0.into()).unwrap_or(0) & Self::ALL.0;
        Self(list.iter().fold(0, |bits, kind| bits | bit(kind)))
    }

    /// Whether a type is in it.
    pub fn has(self, kind: EventType) -> bool {
        self.0 & Self::of(&[kind]).0 != 0
    }

    /// The same with another one.
    #[must_use]
    pub fn with(self, kind: EventType) -> Self {
        Self(self.0 | Self::of(&[kind]).0)
    }

    /// Whether there is none in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As a list of groups, as SUPPORTED_EVENT_TYPES and SUBSCRIBE_EVENT_TYPES carry it: how many they are, and the list.
    pub fn to_list(self) -> (u8, Vec<u8>) {
        let types: Vec<_> = EventType::ALL
            .into_iter()
            .filter(|kind| self.has(*kind))
            .collect();
        let mut groups = Groups::default();
        if !types.is_empty() {
            groups.groups.push(Group::dmtf(&types));
        }
        let mut list = Vec::new();
        groups.encode(&mut list);
        (groups.count(), list)
    }

    /// What a peer tells of that has this list: events of other bodies are not looked at.
    pub fn offered(count: u8, list: &[u8]) -> Result<Self, DecodeError> {
        let groups = Groups::decode(list, count)?;
        let ours = groups.groups.iter().find(|group| group.is_dmtf());
        let types = ours.map(|group| group.types.iter().copied().map(EventType).collect::<Vec<_>>());
        Ok(Self::of(&types.unwrap_or_default()))
    }

    /// What a peer subscribes to with this list: all of it must be among `self`.
    pub fn subscribed(self, count: u8, list: &[u8]) -> Result<Self, DecodeError> {
        let mut wanted = 0;
        for group in Groups::decode(list, count)?.groups {
            wanted |= self.subscribed_in(&group)?.0;
        }
        Ok(Self(wanted))
    }

    fn subscribed_in(self, group: &Group<'_>) -> Result<Self, DecodeError> {
        let invalid = |what, found: u16, wanted| DecodeError::Invalid {
            what,
            found: found.into(),
            wanted,
        };
        if !group.is_dmtf() {
            let found = group.registry.into();
            return Err(invalid(
                "event group's registry",
                found,
                "0, the DMTF's, without a vendor ID",
            ));
        }
        if group.revision != REVISION_DMTF {
            return Err(invalid("event group version", group.revision, "1"));
        }
        match (group.all, &group.types[..]) {
            (true, []) => Ok(self),
            (false, [_, ..]) => {
                let types: Vec<_> = group.types.iter().copied().map(EventType).collect();
                match types.iter().find(|kind| !self.has(**kind)) {
                    None => Ok(Self::of(&types)),
                    Some(kind) => Err(invalid("event type", kind.0, "one that is supported")),
                }
            }
            (_, types) => Err(invalid(
                "event type count",
                types.len().min(usize::from(u16::MAX)) as u16,
                "none with all events of a group, and at least one otherwise",
            )),
        }
    }
}

/// What one session is told of.
#[derive(Debug, Default)]
pub struct Subscription {
    types: Types,
    /// Of the last event that there was.
    number: u32,
    /// Of the last event that was acknowledged.
    acknowledged: u32,
    queue: VecDeque<(u32, Dmtf)>,
    /// The last event that found no room.
    lost: Option<u32>,
    /// How many from the queue's beginning are on their way.
    sent: usize,
}

impl Subscription {
    /// Other types, or none, from now on. What waits of the types that there were still goes out, unless nothing is
    /// subscribed to any more.
    pub fn set(&mut self, types: Types) {
        self.types = types;
        if types.is_empty() {
            self.queue.clear();
            (self.lost, self.sent) = (None, 0);
        }
    }

    /// Something has happened.
    pub fn notify(&mut self, event: Dmtf) {
        if !self.types.has(event.kind()) {
            return;
        }
        // 2^32 events: the numbers are used up, and what happens from then on is not told.
        let Some(number) = self.number.checked_add(1) else {
            return;
        };
        self.number = number;
        match self.queue.len() < QUEUE_MAX && self.lost.is_none() {
            true => self.queue.push_back((number, event)),
            false => self.lost = Some(number),
        }
    }

    /// Whether there is something to tell.
    pub fn is_pending(&self) -> bool {
        !self.queue.is_empty() || self.lost.is_some()
    }

    /// SEND_EVENT with what there is to tell and fits `room` bytes, if there is something. Until it is acknowledged, the same.
    pub fn next(&mut self, version: Version, room: usize) -> Option<Vec<u8>> {
        if self.queue.is_empty() {
            self.queue_loss()?;
        }
        let mut details = Vec::new();
        let mut size = HEADER_SIZE;
        for (number, event) in &self.queue {
            let mut detail = Vec::new();
            event.encode(&mut detail);
            size += EVENT_SIZE + detail.len();
            if size > room && !details.is_empty() {
                break;
            }
            details.push((*number, event.kind(), detail));
        }
        self.sent = details.len();
        let events = details.iter().map(|(number, kind, detail)| send_event::Event {
            number: *number,
            registry: REGISTRY_DMTF,
            vendor: &[],
            kind: kind.0,
            detail,
        });
        let request = send_event::Request {
            version,
            events: events.collect(),
        };
        Some(request.to_vec())
    }

    /// That events were lost is told behind all that was queued.
    fn queue_loss(&mut self) -> Option<()> {
        let last = self.lost.take()?;
        self.number = self.number.checked_add(1)?;
        let acknowledged = self.acknowledged;
        self.queue
            .push_back((self.number, Dmtf::Lost { acknowledged, last }));
        Some(())
    }

    /// EVENT_ACK came: what was sent last is told.
    pub fn acknowledged(&mut self) {
        for _ in 0..core::mem::take(&mut self.sent) {
            if let Some((number, _)) = self.queue.pop_front() {
                self.acknowledged = number;
            }
        }
    }
}

/// Bytes of SEND_EVENT in front of the events.
const HEADER_SIZE: usize = 8;
/// Bytes of one of the DMTF's events without its detail.
const EVENT_SIZE: usize = 14;

/// An event that a peer told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Counts the events of the session.
    pub number: u32,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Something that the DMTF has a type for.
    Dmtf(Dmtf),
    /// Something that another body has.
    Other {
        /// Whose registry the vendor's ID is from.
        registry: u8,
        /// The vendor's ID.
        vendor: Vec<u8>,
        /// The event's type.
        kind: u16,
        /// What it says.
        detail: Vec<u8>,
    },
}

/// The events of a SEND_EVENT, in the order of their numbers, of which none may be missing or come twice.
pub fn received(message: &send_event::Request<'_>) -> Result<Vec<Event>, DecodeError> {
    let events = message.events.iter().map(|event| {
        let what = match event.dmtf() {
            Some(dmtf) => What::Dmtf(dmtf?),
            None => What::Other {
                registry: event.registry,
                vendor: event.vendor.to_vec(),
                kind: event.kind,
                detail: event.detail.to_vec(),
            },
        };
        let number = event.number;
        Ok(Event { number, what })
    });
    let mut events = events.collect::<Result<Vec<_>, DecodeError>>()?;
    events.sort_by_key(|event| event.number);
    let follows = |pair: &[Event]| matches!(pair, [a, b] if a.number.checked_add(1) == Some(b.number));
    match events.windows(2).find(|pair| !follows(pair)) {
        None => Ok(events),
        Some(pair) => Err(DecodeError::Invalid {
            what: "event instance ID",
            found: pair.last().map_or(0, |event| event.number.into()),
            wanted: "numbers that follow one another",
        }),
    }
}
