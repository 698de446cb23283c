//! Events: which there are, which to be told of, and telling the responder of the requester's own (DSP0274 1.3 §10).

use super::{
    Event,
    inquiry::Inquiry,
    link::{Link, Peer},
    mutual::refuse,
    step::{Exchange, Fault, Output},
};
use crate::spdm::{
    events::Types,
    msg::{
        Code, Payload, check_padding,
        error::ErrorCode,
        event_types::{self, EventType},
        send_event, subscribe,
    },
};
use alloc::vec::Vec;

/// The responder asks what it may be told of.
pub(super) fn supported(request: &[u8], link: &Link, output: &Output<'_>) -> Result<Vec<u8>, Fault> {
    let event_types::Request { version } = match read(request, link) {
        Ok(message) => message,
        Err(_) => return Ok(refuse(link, ErrorCode::INVALID_REQUEST, 0)?),
    };
    let types = offered(output);
    if types.is_empty() {
        let code = Code::GET_SUPPORTED_EVENT_TYPES.0;
        return Ok(refuse(link, ErrorCode::UNSUPPORTED_REQUEST, code)?);
    }
    let (count, list) = types.to_list();
    let list = &list;
    Ok(event_types::Response { version, count, list }.to_vec())
}

/// The responder wants to be told of some of it.
pub(super) fn subscribed(
    request: &[u8],
    session: u32,
    link: &Link,
    output: &mut Output<'_>,
) -> Result<Vec<u8>, Fault> {
    if offered(output).is_empty() {
        let code = Code::SUBSCRIBE_EVENT_TYPES.0;
        return Ok(refuse(link, ErrorCode::UNSUPPORTED_REQUEST, code)?);
    }
    let wanted = read::<subscribe::Request<'_>>(request, link).and_then(|message| {
        let types = offered(output).subscribed(message.count, message.list)?;
        Ok((message.version, types))
    });
    let Ok((version, types)) = wanted else {
        return Ok(refuse(link, ErrorCode::INVALID_REQUEST, 0)?);
    };
    output.tell(Event::Wanted { session, types });
    Ok(subscribe::Response { version }.to_vec())
}

/// What was lost is told to whoever is told of anything.
fn offered(output: &Output<'_>) -> Types {
    match output.config.events.is_empty() {
        true => Types::default(),
        false => output.config.events.with(EventType::EVENT_LOST),
    }
}

/// An encapsulated request.
fn read<'a, M: Payload<'a>>(request: &'a [u8], link: &Link) -> Result<M, Fault> {
    let context = link.peer()?.connection.context.encapsulated();
    let (message, size) = M::decode(request, &context)?;
    check_padding(request, size)?;
    Ok(message)
}

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
