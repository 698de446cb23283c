//! What the responder asks in its turn: GET_ENCAPSULATED_REQUEST and DELIVER_ENCAPSULATED_RESPONSE.
//!
//! ```text
//!   CHALLENGE_AUTH, KEY_EXCHANGE_RSP that ask for it, or `fetch_requests`
//!      │
//!   GET_ENCAPSULATED_REQUEST ─► ENCAPSULATED_REQUEST ─► DELIVER_ENCAPSULATED_RESPONSE ─► ..._ACK ─► over
//!                                                        ▲ the next request               │
//!                                                        └────────────────────────────────┘
//! ```
//! What is asked is answered, with ERROR where it is not to be: who the requester is where it has an identity to show, new
//! keys and events in a session. When the responder has nothing left to ask, what was begun before goes on.

use super::{
    Event, endpoint, events,
    identify::{self, Aim},
    link::Link,
    operation::{Expect, Next},
    session::{self, Shaken},
    step::{Channel, Exchange, Fault, Output},
};
use crate::spdm::{
    encapsulated::{Answering, Own, PUBLIC_KEY},
    error::Misbehaviour,
    events::received,
    msg::{
        Code, Header, Payload, Version, check_padding, digests,
        encapsulated::{self as encapsulated_msg, Next as NextMessage},
        error::{self as error_msg, ErrorCode},
        key_exchange::Mutual,
        key_update::{self, Operation as KeyOperation},
        send_event,
    },
    responder::usage,
};
use alloc::vec::Vec;
use core::time::Duration;

/// Requests that a responder may make in a row: a chain in the smallest portions, and more.
const REQUESTS_MAX: u32 = 4096;

/// What goes on once the responder has nothing left to ask.
pub(super) enum Then {
    /// What identifying is for.
    Proceed(Aim),
    /// The end of a session's handshake.
    Finish(Shaken),
    /// Nothing: the caller wanted to know.
    Rest(u32),
}

impl Then {
    fn session(&self) -> Option<u32> {
        match self {
            Self::Proceed(_) => None,
            Self::Finish(shaken) => Some(shaken.id),
            Self::Rest(session) => Some(*session),
        }
    }
}

/// A conversation in which the responder asks.
pub(super) struct Asked {
    then: Then,
    channel: Channel,
    answering: Answering,
    /// New keys of the responder's are expected, and it has not shown yet that it has them.
    verify_awaited: bool,
    /// Requests that are still answered.
    left: u32,
}

impl Asked {
    fn new(link: &Link, channel: Channel, then: Then) -> Result<Self, Fault> {
        Ok(Self {
            then,
            channel,
            answering: Answering::new(&link.peer()?.connection),
            verify_awaited: false,
            left: REQUESTS_MAX,
        })
    }

    /// Whether the connection may do without it: the caller has asked for what it follows from.
    fn is_optional(&self) -> bool {
        matches!(self.then, Then::Proceed(aim) if aim.is_optional())
    }

    /// The responder asks something.
    fn on_request(mut self, id: u8, request: &[u8], link: &mut Link, output: &mut Output<'_>) -> Next {
        self.left = self.left.checked_sub(1).ok_or(Misbehaviour::Endless {
            requests: REQUESTS_MAX,
        })?;
        let answer = self.answer(request, link, output)?;
        let peer = link.peer()?;
        let deliver = encapsulated_msg::Deliver {
            version: peer.connection.negotiated.version,
            id,
            message: &answer,
        };
        output.ask(self.channel, peer.connection.peer_crypto_time, &deliver);
        Ok(Some(ExpectAck { asked: self, id }.into()))
    }

    fn answer(&mut self, request: &[u8], link: &mut Link, output: &mut Output<'_>) -> Result<Vec<u8>, Fault> {
        let code = Header::peek(request)?.code;
        if let Then::Rest(session) = self.then {
            match code {
                Code::KEY_UPDATE => return self.key_update(request, session, link, output),
                Code::SEND_EVENT => return send_event(request, session, link, output),
                Code::GET_SUPPORTED_EVENT_TYPES => return events::supported(request, link, output),
                Code::SUBSCRIBE_EVENT_TYPES => return events::subscribed(request, session, link, output),
                Code::GET_ENDPOINT_INFO => return endpoint::answer(request, link, output),
                _ => {}
            }
        }
        let connection = &link.peer()?.connection;
        let in_session = self.then.session().is_some();
        match &output.config.identity {
            Some(identity) => Ok(self.answering.answer(identity, connection, in_session, request)?),
            None => Ok(refuse(link, ErrorCode::UNSUPPORTED_REQUEST, code.0)?),
        }
    }

    /// The responder's own keys alone: it has no say in ours. What it sends next comes under the new ones.
    fn key_update(
        &mut self,
        request: &[u8],
        session: u32,
        link: &mut Link,
        output: &mut Output<'_>,
    ) -> Result<Vec<u8>, Fault> {
        let context = link.peer()?.connection.context.encapsulated();
        let (message, size) = key_update::Request::decode(request, &context)?;
        check_padding(request, size)?;
        match (message.operation, self.verify_awaited) {
            (KeyOperation::UPDATE_KEY, false) => {
                link.sessions.live_mut(session)?.session.await_new_receiving()?;
                self.verify_awaited = true;
            }
            (KeyOperation::VERIFY_NEW_KEY, true) => {
                // Whoever says so under the old key does not have the new one.
                if link.sessions.live_mut(session)?.session.came_under_old_key() {
                    return Err(Misbehaviour::BadVerifyData.into());
                }
                self.verify_awaited = false;
                output.tell(Event::KeysUpdated);
            }
            _ => return Ok(refuse(link, ErrorCode::INVALID_REQUEST, 0)?),
        }
        let response = key_update::Response {
            version: message.version,
            operation: message.operation,
            tag: message.tag,
        };
        Ok(response.to_vec())
    }

    /// The responder has nothing left to ask; `slot` is the one that it wants to see used.
    fn done(self, slot: Option<u8>, link: &mut Link, output: &mut Output<'_>) -> Next {
        match self.then {
            Then::Proceed(aim) => identify::proceed(aim, link, output),
            Then::Finish(shaken) => {
                let own = own(slot.unwrap_or(0), link, output)?;
                let digests = self.answering.digests();
                session::finish(shaken, Some((own, digests)), link, output)
            }
            Then::Rest(session) => {
                output.tell(Event::RequestsAnswered { session });
                Ok(None)
            }
        }
    }
}

/// The key that signs FINISH.
fn own(slot: u8, link: &Link, output: &Output<'_>) -> Result<Own, Fault> {
    let connection = &link.peer()?.connection;
    let identity = output.config.identity.as_ref();
    let own = identity.and_then(|identity| Own::find(identity, slot, usage::KEY_EXCHANGE, connection));
    Ok(own.ok_or(Misbehaviour::WantsOther { slot })?)
}

pub(super) fn refuse(link: &Link, code: ErrorCode, data: u8) -> Result<Vec<u8>, Misbehaviour> {
    let version = link.peer()?.connection.negotiated.version;
    Ok(error_msg::Response::new(version, code, data).to_vec())
}

fn send_event(request: &[u8], session: u32, link: &Link, output: &mut Output<'_>) -> Result<Vec<u8>, Fault> {
    let context = link.peer()?.connection.context.encapsulated();
    let (message, size) = send_event::Request::decode(request, &context)?;
    check_padding(request, size)?;
    let events = received(&message)?;
    output.tell(Event::Told { session, events });
    let version = message.version;
    Ok(send_event::Response { version }.to_vec())
}

/// Asks what the responder wants to ask.
fn fetch(channel: Channel, link: &Link, output: &mut Output<'_>) -> Result<(), Misbehaviour> {
    let version = link.peer()?.connection.negotiated.version;
    output.ask(channel, Duration::ZERO, &encapsulated_msg::Get { version });
    Ok(())
}

/// The caller wants to know.
pub(super) fn fetch_requests(link: &mut Link, session: u32, output: &mut Output<'_>) -> Next {
    let asked = Asked::new(link, Channel::Session(session), Then::Rest(session))?;
    fetch(asked.channel, link, output)?;
    Ok(Some(ExpectAnyRequest(asked).into()))
}

/// CHALLENGE_AUTH says that the responder wants to challenge this side.
pub(super) fn be_challenged(aim: Aim, link: &mut Link, output: &mut Output<'_>) -> Next {
    let asked = Asked::new(link, Channel::Clear, Then::Proceed(aim))?;
    fetch(asked.channel, link, output)?;
    Ok(Some(ExpectRequest(asked).into()))
}

/// KEY_EXCHANGE_RSP says how this side shall authenticate itself.
pub(super) fn authenticate(
    shaken: Shaken,
    (way, slot): (Mutual, u8),
    link: &mut Link,
    output: &mut Output<'_>,
) -> Next {
    let connection = &link.peer()?.connection;
    let version = connection.negotiated.version;
    let channel = match connection.context.handshake_in_clear {
        true => Channel::Clear,
        false => Channel::Session(shaken.id),
    };
    match way {
        Mutual::NONE => session::finish(shaken, None, link, output),
        Mutual::SIGNATURE => {
            let own = own(slot & PUBLIC_KEY, link, output)?;
            session::finish(shaken, Some((own, None)), link, output)
        }
        Mutual::GET_DIGESTS => {
            let asked = Asked::new(link, channel, Then::Finish(shaken))?;
            let implied = digests::Request { version }.to_vec();
            asked.on_request(0, &implied, link, output)
        }
        _ => {
            let asked = Asked::new(link, channel, Then::Finish(shaken))?;
            fetch(channel, link, output)?;
            Ok(Some(ExpectRequest(asked).into()))
        }
    }
}

/// A request that was announced.
pub(super) struct ExpectRequest(Asked);

impl Expect for ExpectRequest {
    fn is_optional(&self) -> bool {
        self.0.is_optional()
    }

    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        on_first(self.0, link, exchange, output)
    }
}

/// A request, if there is any.
pub(super) struct ExpectAnyRequest(Asked);

impl Expect for ExpectAnyRequest {
    fn is_optional(&self) -> bool {
        true
    }

    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        on_first(self.0, link, exchange, output)
    }
}

fn on_first(asked: Asked, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
    let context = &link.peer()?.connection.context;
    let (message, _) = exchange.read::<encapsulated_msg::Request<'_>>(context)?;
    asked.on_request(message.id, message.message, link, output)
}

/// What the responder makes of an answer.
pub(super) struct ExpectAck {
    asked: Asked,
    id: u8,
}

impl Expect for ExpectAck {
    fn is_optional(&self) -> bool {
        self.asked.is_optional()
    }

    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let connection = &link.peer()?.connection;
        let version = connection.negotiated.version;
        let (message, _) = exchange.read::<encapsulated_msg::Ack<'_>>(&connection.context)?;
        if version >= Version::V1_2 {
            let what = "number of the request answered in ENCAPSULATED_RESPONSE_ACK";
            identify::expect(what, message.answered, self.id)?;
        }
        match message.next {
            NextMessage::Message(request) => self.asked.on_request(message.id, request, link, output),
            NextMessage::Slot(slot) => self.asked.done(Some(slot), link, output),
            NextMessage::Nothing => self.asked.done(None, link, output),
        }
    }
}
