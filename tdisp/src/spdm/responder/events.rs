//! Events: GET_SUPPORTED_EVENT_TYPES and SUBSCRIBE_EVENT_TYPES, and what the device has to tell; and SEND_EVENT, where the
//! requester tells (DSP0274 1.3 §10).
//!
//! What happens is queued for each session that wants to know. It goes out when the requester asks for encapsulated requests.

use super::{Asked, At, Event, Measurement, Reply, Responder, UNEXPECTED};
use crate::spdm::{
    events::{Subscription, Types, received},
    msg::{
        Payload, event_types,
        event_types::EventType,
        send_event::{self, Dmtf, Indices},
        subscribe,
    },
};
use alloc::vec::Vec;

/// What each session is told of.
#[derive(Default)]
pub(super) struct Subscriptions(Vec<(u32, Subscription)>);

impl Subscriptions {
    pub(super) fn find(&mut self, session: u32) -> Option<&mut Subscription> {
        let found = self.0.iter_mut().find(|(id, _)| *id == session);
        found.map(|(_, subscription)| subscription)
    }

    /// A session is gone, and whoever has its id later begins with nothing.
    pub(super) fn remove(&mut self, session: u32) {
        self.0.retain(|(id, _)| *id != session);
    }

    fn set(&mut self, session: u32, types: Types) {
        match self.find(session) {
            Some(subscription) => subscription.set(types),
            None => {
                let mut subscription = Subscription::default();
                subscription.set(types);
                self.0.push((session, subscription));
            }
        }
    }
}

/// The indices of the measurements that are not what they were, or were not there; `None` if there is none such.
pub(super) fn changed_measurements(before: &[Measurement], after: &[Measurement]) -> Option<Indices> {
    let gone = before.iter().filter(|measurement| !after.contains(measurement));
    let new = after.iter().filter(|measurement| !before.contains(measurement));
    let mut indices = Indices::default();
    for measurement in gone.chain(new) {
        if let Some(byte) = indices.get_mut(usize::from(measurement.index / 8)) {
            *byte |= 1 << (measurement.index % 8);
        }
    }
    (indices != Indices::default()).then_some(indices)
}

impl Responder {
    /// Tells every session that has subscribed to events of its type that something has happened. It goes out when the
    /// requester next asks for what the responder has to say.
    pub fn notify(&mut self, event: Dmtf) {
        for (_, subscription) in &mut self.subscriptions.0 {
            subscription.notify(event);
        }
    }

    /// The sessions that have something to be told.
    pub fn sessions_with_events(&self) -> Vec<u32> {
        let pending = self.subscriptions.0.iter().filter(|(_, told)| told.is_pending());
        pending.map(|(id, _)| *id).collect()
    }

    /// A session's policy is that it is told of everything (SessionPolicy, EventAllPolicy).
    pub(super) fn subscribe_to_all(&mut self, session: u32) {
        let all = self.event_types();
        self.subscriptions.set(session, all);
    }

    pub(super) fn certificate_changed(&mut self, slot: u8) {
        let slots = 1u8.checked_shl(slot.into()).unwrap_or_default();
        self.notify(Dmtf::CertificateChanged(slots));
    }

    /// What was lost is told to whoever is told of anything.
    fn event_types(&self) -> Types {
        match self.config.events.is_empty() {
            true => Types::default(),
            false => self.config.events.with(EventType::EVENT_LOST),
        }
    }

    pub(super) fn get_event_types(&mut self, asked: Asked<'_>) -> Reply {
        let (event_types::Request { version }, _) = self.read(asked)?;
        let (count, list) = self.event_types().to_list();
        let list = &list;
        Ok(Some(event_types::Response { version, count, list }.to_vec()))
    }

    pub(super) fn subscribe(&mut self, asked: Asked<'_>) -> Reply {
        let (message, _) = self.read::<subscribe::Request<'_>>(asked)?;
        let At::Session(session) = asked.at else {
            return Err(UNEXPECTED);
        };
        let types = self.event_types().subscribed(message.count, message.list)?;
        self.subscriptions.set(session, types);
        let version = message.version;
        Ok(Some(subscribe::Response { version }.to_vec()))
    }

    /// The requester tells.
    pub(super) fn send_event(&mut self, asked: Asked<'_>) -> Reply {
        let (message, _) = self.read::<send_event::Request<'_>>(asked)?;
        let At::Session(session) = asked.at else {
            return Err(UNEXPECTED);
        };
        let events = received(&message)?;
        self.events.push_back(Event::Told { session, events });
        let version = message.version;
        Ok(Some(send_event::Response { version }.to_vec()))
    }
}
