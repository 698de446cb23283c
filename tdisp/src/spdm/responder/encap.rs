//! Requests that the responder makes: GET_ENCAPSULATED_REQUEST and DELIVER_ENCAPSULATED_RESPONSE.
//!
//! ```text
//!   CHALLENGE_AUTH, KEY_EXCHANGE_RSP that ask for it, or a wish in a session
//!      │
//!   offered ──GET_ENCAPSULATED_REQUEST──► asked ──DELIVER_ENCAPSULATED_RESPONSE──► nothing left: over
//!                                         ▲   │
//!                                         └───┘ the next request
//! ```
//! While a requester is to authenticate itself, or an answer of its is waited for, every other request is answered with
//! RequestInFlight; only GET_VERSION, which ends everything, goes through, and what fetches the response that began it in
//! chunks. An answer that does not go is answered with InvalidResponseCode and ends the flow: the requester remains unknown,
//! and a session that waits for it cannot be finished.

use super::{
    Asked, At, Event, INVALID, Refusal, Reply, Responder, UNEXPECTED,
    mutual::Requester,
    session::{Kind, Open},
};
use crate::crypto::Secret;
use crate::spdm::{
    encapsulated::{Asking, Known, Purpose, Turn, Unknown, Wanted},
    error::{Misbehaviour, Misuse},
    msg::{
        Code, Header, NONCE_SIZE, Payload, Version,
        capabilities::Flags,
        check_padding,
        encapsulated::{Ack, Deliver, Get, Next, Request},
        error::ErrorCode,
        key_exchange,
        key_update::{self, Operation},
        send_event,
    },
};
use alloc::{boxed::Box, vec::Vec};

/// Bytes of ENCAPSULATED_REQUEST in front of the request.
const HEADER_SIZE: usize = 4;

/// Wishes of one session, at most.
const WISHES_MAX: usize = 16;

/// What is asked of the requester, from the first request to the last answer.
pub(super) struct Flow {
    /// Where its messages go.
    at: At,
    /// The session whose handshake waits for it.
    session: Option<u32>,
    /// The number of the request that waits for its answer; none before the first is fetched.
    asked: Option<u8>,
    task: Task,
}

pub(super) enum Task {
    /// Who the requester is.
    Authenticate(Purpose, Box<Asking>),
    /// It shall expect new keys of ours, or find out that they work.
    UpdateKey(key_update::Request),
    /// What it says of itself, signed over a nonce perhaps.
    EndpointInfo(Vec<u8>),
    /// It is told of events that it has subscribed to.
    Tell(Vec<u8>),
    /// Whatever else: its answer is told.
    Ask(Vec<u8>),
}

/// What this side wants to ask in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    UpdateKey,
    EndpointInfo(Option<[u8; NONCE_SIZE]>),
    Ask(Vec<u8>),
}

impl Task {
    fn request(&self) -> Vec<u8> {
        match self {
            Self::Authenticate(_, asking) => asking.request().to_vec(),
            Self::UpdateKey(request) => request.to_vec(),
            Self::Tell(request) | Self::EndpointInfo(request) | Self::Ask(request) => request.clone(),
        }
    }
}

impl Flow {
    /// Whether it concerns a session, which may be gone.
    pub(super) fn is_of(&self, id: u32) -> bool {
        self.at == At::Session(id) || self.session == Some(id)
    }
}

/// What an answer comes to.
pub(super) enum Outcome {
    Next(Task),
    Done,
    /// It is over, and the requester shall use this slot.
    Slot(u8),
}

impl Responder {
    /// Asks the requester for new keys of this side's records in a session, when it next fetches requests.
    pub fn update_keys(&mut self, session: u32) -> Result<(), Misuse> {
        self.wish(session, Flags::ENCAP | Flags::KEY_UPD, Wish::UpdateKey)
    }

    /// Asks the requester something in a session, when it next fetches requests: `request` is a whole SPDM message, SEND_EVENT
    /// or GET_ENDPOINT_INFO for one. [`Event::Answered`] has the answer.
    pub fn ask(&mut self, session: u32, request: &[u8]) -> Result<(), Misuse> {
        self.wish(session, Flags::ENCAP, Wish::Ask(request.to_vec()))
    }

    /// The export master secret of a session that has started (DSP0274 §12): keys for what is not SPDM are derived from it.
    pub fn exporter(&mut self, session: u32) -> Option<&Secret> {
        match self.sessions.find(session) {
            Some(Open::Live(live)) => Some(live.session.exporter()),
            _ => None,
        }
    }

    pub(super) fn wish(&mut self, session: u32, needed: Flags, wish: Wish) -> Result<(), Misuse> {
        let agreed = self.phase.agreed().ok_or(Misuse::NotConnected)?;
        let negotiated = &agreed.connection.negotiated;
        let ours = self.config.flags(negotiated.version);
        if !ours.and(negotiated.peer_flags).contains(needed) {
            return Err(Misuse::NoEncapsulation);
        }
        match self.sessions.find(session) {
            Some(Open::Live(live)) if live.wishes.len() < WISHES_MAX => live.wishes.push_back(wish),
            Some(Open::Live(_)) => return Err(Misuse::TooMany { max: WISHES_MAX }),
            _ => return Err(Misuse::NoSession),
        }
        Ok(())
    }

    /// The requester has been told to authenticate itself.
    pub(super) fn begin_authentication(
        &mut self,
        at: At,
        session: Option<u32>,
        asking: Asking,
        way: key_exchange::Mutual,
    ) {
        let purpose = match session {
            Some(_) => Purpose::Session,
            None => Purpose::Challenge,
        };
        self.flow = Some(Flow {
            at,
            session,
            // GET_DIGESTS is taken for asked by such a response; its number is 0.
            asked: (way == key_exchange::Mutual::GET_DIGESTS).then_some(0),
            task: Task::Authenticate(purpose, Box::new(asking)),
        });
    }

    /// Refuses what comes in between.
    pub(super) fn check_in_flight(&self, at: At, code: Code) -> Result<(), Refusal> {
        let carries = matches!(
            code,
            Code::GET_ENCAPSULATED_REQUEST
                | Code::DELIVER_ENCAPSULATED_RESPONSE
                | Code::CHUNK_SEND
                | Code::CHUNK_GET
                | Code::RESPOND_IF_READY
        );
        // KEY_EXCHANGE_RSP begins what goes on in the session, and may have to be fetched outside first.
        let fetches = code == Code::CHUNK_GET && self.chunks.waits_at(at);
        match &self.flow {
            Some(flow) if !fetches && (!carries || flow.at != at) => Err(IN_FLIGHT),
            _ => Ok(()),
        }
    }

    pub(super) fn get_encapsulated_request(&mut self, asked: Asked<'_>) -> Reply {
        let (Get { version }, _) = self.read(asked)?;
        let flow = match self.flow.take() {
            None => self.flow_of_wish(asked.at, version)?,
            Some(flow) if flow.asked.is_none() => flow,
            waiting => {
                self.flow = waiting;
                return Err(UNEXPECTED);
            }
        };
        const FIRST: u8 = 1;
        let message = flow.task.request();
        self.flow = Some(Flow {
            asked: Some(FIRST),
            ..flow
        });
        let response = Request {
            version,
            id: FIRST,
            message: &message,
        };
        Ok(Some(response.to_vec()))
    }

    fn flow_of_wish(&mut self, at: At, version: Version) -> Result<Flow, Refusal> {
        let wish = match self.sessions.live_mut(at) {
            Ok(live) => live.wishes.pop_front(),
            Err(_) => None,
        };
        let task = match wish {
            Some(Wish::UpdateKey) => {
                Task::UpdateKey(self.key_update_request(Operation::UPDATE_KEY, version)?)
            }
            Some(Wish::EndpointInfo(nonce)) => Task::EndpointInfo(self.endpoint_request(at, version, nonce)),
            Some(Wish::Ask(request)) => Task::Ask(request),
            None if let Some(told) = self.next_events(at, version) => Task::Tell(told),
            // The error that says so came with 1.3.
            None if version >= Version::V1_3 => return Err(Refusal::new(ErrorCode::NO_PENDING_REQUESTS)),
            None => return Err(UNEXPECTED),
        };
        Ok(Flow {
            at,
            session: None,
            asked: None,
            task,
        })
    }

    /// What happened that a session wants to know.
    fn next_events(&mut self, at: At, version: Version) -> Option<Vec<u8>> {
        let At::Session(session) = at else { return None };
        let room = self.phase.reach()?.room(true);
        let subscription = self.subscriptions.find(session)?;
        subscription.next(version, room.saturating_sub(HEADER_SIZE))
    }

    fn on_event_ack(&mut self, at: At, answer: &[u8]) -> Result<Outcome, Unknown> {
        let (Some(agreed), At::Session(session)) = (self.phase.agreed(), at) else {
            return Ok(Outcome::Done);
        };
        check_not_error(answer)?;
        let context = agreed.connection.context.encapsulated();
        let (_, size) = send_event::Response::decode(answer, &context)?;
        check_padding(answer, size)?;
        if let Some(subscription) = self.subscriptions.find(session) {
            subscription.acknowledged();
        }
        Ok(Outcome::Done)
    }

    fn key_update_request(
        &self,
        operation: Operation,
        version: Version,
    ) -> Result<key_update::Request, Refusal> {
        let mut tag = [0];
        self.provider.random(&mut tag)?;
        Ok(key_update::Request {
            version,
            operation,
            tag: tag[0],
        })
    }

    pub(super) fn deliver_encapsulated_response(&mut self, asked: Asked<'_>) -> Reply {
        let (message, _) = self.read::<Deliver<'_>>(asked)?;
        let flow = self.flow.take().ok_or(UNEXPECTED)?;
        if flow.asked != Some(message.id) {
            let refusal = if flow.asked.is_some() { INVALID } else { UNEXPECTED };
            self.flow = Some(flow);
            return Err(refusal);
        }
        let (at, session) = (flow.at, flow.session);
        let outcome = match self.on_answer(flow, message.message) {
            Ok(outcome) => outcome,
            Err(Unknown::NotReady) => Outcome::Done,
            Err(Unknown::Ours(error)) => return Err(error.into()),
            Err(Unknown::Peer(why)) => {
                self.events.push_back(Event::RequesterRefused { session, why });
                return Err(Refusal::new(ErrorCode::INVALID_RESPONSE_CODE));
            }
        };
        let mut response = Ack {
            version: message.version,
            id: 0,
            answered: message.id,
            next: Next::Nothing,
        };
        match outcome {
            Outcome::Done => Ok(Some(response.to_vec())),
            Outcome::Slot(slot) => {
                response.next = Next::Slot(slot);
                Ok(Some(response.to_vec()))
            }
            Outcome::Next(task) => {
                // 0 is the number of what was never fetched.
                response.id = message.id.checked_add(1).unwrap_or(1);
                let request = task.request();
                self.flow = Some(Flow {
                    at,
                    session,
                    asked: Some(response.id),
                    task,
                });
                response.next = Next::Message(&request);
                Ok(Some(response.to_vec()))
            }
        }
    }

    fn on_answer(&mut self, flow: Flow, answer: &[u8]) -> Result<Outcome, Unknown> {
        match flow.task {
            Task::Authenticate(purpose, asking) => self.on_identity(flow.session, purpose, *asking, answer),
            Task::UpdateKey(request) => self.on_key_update_ack(flow.at, request, answer),
            Task::EndpointInfo(request) => self.on_endpoint_info(flow.at, &request, answer),
            Task::Tell(_) => self.on_event_ack(flow.at, answer),
            Task::Ask(_) => {
                if let At::Session(session) = flow.at {
                    self.events.push_back(Event::Answered {
                        session,
                        response: answer.to_vec(),
                    });
                }
                Ok(Outcome::Done)
            }
        }
    }

    fn on_identity(
        &mut self,
        session: Option<u32>,
        purpose: Purpose,
        asking: Asking,
        answer: &[u8],
    ) -> Result<Outcome, Unknown> {
        let (Some(agreed), Some(mutual)) = (self.phase.agreed(), &self.config.mutual) else {
            return Ok(Outcome::Done);
        };
        let wanted = Wanted {
            purpose,
            slot: mutual.slot,
            roots: &mutual.roots,
            transfer_size: self.config.transfer_size,
            chain_size_max: mutual.chain_size_max,
        };
        match asking.on_response(&agreed.connection, wanted, answer)? {
            Turn::Ask(asking) => Ok(Outcome::Next(Task::Authenticate(purpose, Box::new(asking)))),
            Turn::Known(known) => Ok(self.on_known(session, known)),
        }
    }

    /// Slot 0 is what a requester takes that is told of none.
    fn on_known(&mut self, session: Option<u32>, known: Box<Known>) -> Outcome {
        let slot = known.slot;
        match session {
            None => self.events.push_back(Event::RequesterAuthenticated {
                session: None,
                slot,
                identity: known.bytes,
            }),
            Some(id) => {
                if let Ok(shaking) = self.sessions.shaking_mut(id) {
                    shaking.kind = Kind::Exchanged(Requester::Known(known));
                }
            }
        }
        match slot {
            1..8 => Outcome::Slot(slot),
            _ => Outcome::Done,
        }
    }

    /// The requester expects new keys from now on, so that the request to try them goes under them.
    fn on_key_update_ack(
        &mut self,
        at: At,
        asked: key_update::Request,
        answer: &[u8],
    ) -> Result<Outcome, Unknown> {
        let Some(agreed) = self.phase.agreed() else {
            return Ok(Outcome::Done);
        };
        check_not_error(answer)?;
        let context = agreed.connection.context.encapsulated();
        let (ack, size) = key_update::Response::decode(answer, &context)?;
        check_padding(answer, size)?;
        if (ack.operation, ack.tag) != (asked.operation, asked.tag) {
            return Err(Misbehaviour::Inconsistent {
                what: "operation and tag of the requester's KEY_UPDATE_ACK",
                found: u64::from(ack.operation.0) << 8 | u64::from(ack.tag),
                wanted: u64::from(asked.operation.0) << 8 | u64::from(asked.tag),
            }
            .into());
        }
        if asked.operation == Operation::VERIFY_NEW_KEY {
            if let At::Session(session) = at {
                self.events.push_back(Event::KeysUpdated { session });
            }
            return Ok(Outcome::Done);
        }
        if let Ok(live) = self.sessions.live_mut(at) {
            live.session.update_sending()?;
        }
        let verify = self.key_update_request(Operation::VERIFY_NEW_KEY, asked.version);
        let verify = verify.map_err(|_| Unknown::Ours(crate::crypto::CryptoError::NoEntropy))?;
        Ok(Outcome::Next(Task::UpdateKey(verify)))
    }
}

pub(super) fn check_not_error(answer: &[u8]) -> Result<(), Unknown> {
    let header = Header::peek(answer)?;
    if header.code != Code::ERROR {
        return Ok(());
    }
    let (code, data) = (ErrorCode(header.param1), header.param2);
    match code {
        ErrorCode::RESPONSE_NOT_READY => Err(Unknown::NotReady),
        _ => Err(Misbehaviour::Refused { code, data }.into()),
    }
}

const IN_FLIGHT: Refusal = Refusal::new(ErrorCode::REQUEST_IN_FLIGHT);
