//! Sessions on a pre-shared key: PSK_EXCHANGE and PSK_FINISH.
//!
//! A responder with a context of its own proves that its session is fresh and wants PSK_FINISH; one without derives all keys
//! from what the requester sent, and its session starts with PSK_EXCHANGE_RSP.

use super::{After, Asked, At, DECRYPT, INVALID, Reply, Responder, UNEXPECTED, session::Kind};
use crate::{
    crypto::{Secret, same},
    spdm::{
        msg::{Code, Payload, psk_exchange, psk_finish},
        secured,
        session::{Handshake, Role, Shared},
    },
};
use alloc::sync::Arc;

/// Bytes of the responder's context.
const CONTEXT_SIZE: usize = 32;

/// Bytes of the requester's context at least: a nonce, without which nothing of its side sets two sessions apart.
const REQUESTER_CONTEXT_MIN: usize = 32;

/// Keys that were shared before.
pub trait PreSharedKeys: Send + Sync {
    /// The key that a hint, perhaps an empty one, names.
    fn find(&self, hint: &[u8]) -> Option<Secret>;
}

impl<F: Fn(&[u8]) -> Option<Secret> + Send + Sync> PreSharedKeys for F {
    fn find(&self, hint: &[u8]) -> Option<Secret> {
        self(hint)
    }
}

/// How a responder opens sessions on pre-shared keys.
#[derive(Clone)]
pub struct Psk {
    /// The keys.
    pub keys: Arc<dyn PreSharedKeys>,
    /// Whether it adds a context of its own, and wants PSK_FINISH then (PSK_CAP 10b rather than 01b).
    pub context: bool,
}

impl core::fmt::Debug for Psk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Psk(context {})", self.context)
    }
}

impl Responder {
    pub(super) fn psk_exchange(&mut self, asked: Asked<'_>) -> Reply {
        let (message, request) = self.read::<psk_exchange::Request<'_>>(asked)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        self.check_session(&agreed.connection, Code::PSK_EXCHANGE, message.policy)?;
        if message.psk_context.len() < REQUESTER_CONTEXT_MIN {
            return Err(INVALID);
        }
        let psk = self.config.psk.as_ref().ok_or(INVALID)?;
        let (key, with_context) = (psk.keys.find(message.hint).ok_or(INVALID)?, psk.context);
        let (secured, selected) = self.select_secured(message.version, message.opaque)?;
        let own_id = self.sessions.new_id(self.random()?)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let connection = &agreed.connection;
        let heartbeat_s = self.heartbeat_s(connection);
        let summary = self.summary(message.summary)?;
        let random: [u8; CONTEXT_SIZE] = self.random()?;
        let mut response = psk_exchange::Response {
            version: message.version,
            heartbeat_s,
            session: own_id,
            summary: summary.as_ref().map(AsRef::as_ref),
            psk_context: if with_context { &random } else { &[] },
            opaque: &selected,
            verify_data: &[],
        };
        let mut th = connection.transcript_from_vca();
        th.add(request);
        th.add(&response.to_vec());
        let id = secured::session_id(message.session, own_id);
        let shared = (Shared::PreShared(&key), secured);
        let mut handshake = Handshake::new(connection, Role::Responder, id, shared, th)?;
        let proof = handshake.exchange_proof();
        handshake.add(proof.expose());
        response.verify_data = proof.expose();
        let reply = response.to_vec();
        agreed.check_fits(asked.at, reply.len())?;
        self.open(
            asked.now,
            handshake,
            Kind::PreShared,
            (message.policy, heartbeat_s),
        );
        if !with_context {
            self.after = Some(After::Start(id));
        }
        Ok(Some(reply))
    }

    /// With a wrong proof the session is gone; else it starts once the answer is on its way. In a session that
    /// began with KEY_EXCHANGE it has no place, and changes nothing.
    pub(super) fn psk_finish(&mut self, asked: Asked<'_>) -> Reply {
        let At::Session(id) = asked.at else {
            return Err(UNEXPECTED);
        };
        let Kind::PreShared = self.sessions.shaking_mut(id)?.kind else {
            return Err(UNEXPECTED);
        };
        let (message, request) = self.read::<psk_finish::Request<'_>>(asked)?;
        let handshake = &mut self.sessions.shaking_mut(id)?.handshake;
        let head = request.len().saturating_sub(message.verify_data.len());
        handshake.add(&request[..head]);
        if !same(message.verify_data, handshake.finish_proof().expose()) {
            self.after = Some(After::Close(id));
            return Err(DECRYPT);
        }
        handshake.add(message.verify_data);
        let response = psk_finish::Response {
            version: message.version,
            opaque: &[],
        };
        let response = response.to_vec();
        handshake.add(&response);
        self.after = Some(After::Start(id));
        Ok(Some(response))
    }
}
