//! Events: which there are, which to be told of, and telling the responder of the requester's own (DSP0274 1.3 §10).

use super::{
    Event,
    inquiry::Inquiry,
    link::Peer,
    step::{Exchange, Fault},
};
use crate::spdm::{
    events::Types,
    msg::{Payload, event_types, send_event, subscribe},
};
use alloc::vec::Vec;

/// Which types of events the responder tells of.
pub(super) struct SupportedTypes;

impl Inquiry for SupportedTypes {
    fn request(&mut self, peer: &Peer, _: usize) -> Result<Vec<u8>, Fault> {
        let version = peer.connection.negotiated.version;
        Ok(event_types::Request { version }.to_vec())
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        let (message, _) = exchange.read::<event_types::Response<'_>>(&peer.connection.context)?;
        let types = Types::offered(message.count, message.list)?;
        Ok(Some(Event::EventTypes(types)))
    }
}

/// The types of events to be told of from now on.
pub(super) struct Subscribe(pub(super) Types);

impl Inquiry for Subscribe {
    fn request(&mut self, peer: &Peer, _: usize) -> Result<Vec<u8>, Fault> {
        let (count, list) = self.0.to_list();
        let request = subscribe::Request {
            version: peer.connection.negotiated.version,
            count,
            list: &list,
        };
        Ok(request.to_vec())
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        exchange.read::<subscribe::Response>(&peer.connection.context)?;
        Ok(Some(Event::Subscribed(self.0)))
    }
}

/// Events of the requester's, as [`Subscription`](crate::spdm::events::Subscription) has made the message.
pub(super) struct Tell(pub(super) Vec<u8>);

impl Inquiry for Tell {
    fn request(&mut self, _: &Peer, _: usize) -> Result<Vec<u8>, Fault> {
        Ok(self.0.clone())
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        exchange.read::<send_event::Response>(&peer.connection.context)?;
        Ok(Some(Event::EventsTold))
    }
}
