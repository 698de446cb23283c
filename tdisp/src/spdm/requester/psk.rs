//! Sessions on a pre-shared key.
//!
//! A responder with a context of its own (PSK_CAP 10b) wants PSK_FINISH; with one that has none the session is up as soon as its
//! proof is right. The transcript is of these messages and VCA: no certificate has a part in it.

use super::{
    Event,
    link::{Link, Live, Open},
    operation::{Expect, Next},
    session::{Shaken, check_selected},
    step::{Channel, Exchange, Output},
};
use crate::{
    crypto::{Secret, same},
    spdm::{
        error::Misbehaviour,
        msg::{Payload, capabilities::Flags, psk_exchange, psk_finish},
        opaque, secured,
        session::{Handshake, Role, Shared},
    },
};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

/// Bytes of the requester's context.
const CONTEXT_SIZE: usize = 32;

/// A key that the responder has too.
#[derive(Debug, Clone)]
pub struct PreShared {
    /// What tells the responder which key it is; may be empty.
    pub hint: Vec<u8>,
    /// The key.
    pub key: Secret,
}

pub(super) fn exchange(link: &mut Link, output: &mut Output<'_>) -> Next {
    let peer = link.peer()?;
    let version = peer.connection.negotiated.version;
    let config = output.config;
    let what = "pre-shared key";
    let shared = config.psk.as_ref().ok_or(Misbehaviour::NotNegotiated { what })?;
    let mut offered = Vec::new();
    opaque::encode_supported(version, &config.secured_versions, &mut offered);
    let session = super::session::new_id(output)?;
    let context: [u8; CONTEXT_SIZE] = output.random()?;
    let request = psk_exchange::Request {
        version,
        summary: peer.summary(config.summary),
        policy: config.session_policy.bits(version, peer.flags()),
        session,
        hint: &shared.hint,
        psk_context: &context,
        opaque: &offered,
    };
    output.ask(Channel::Clear, peer.connection.peer_crypto_time, &request);
    let key = shared.key.clone();
    Ok(Some(ExpectPskExchange { key, session }.into()))
}

pub(super) struct ExpectPskExchange {
    key: Secret,
    session: u16,
}

impl Expect for ExpectPskExchange {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let peer = link.peer()?;
        let connection = &peer.connection;
        let (message, bytes) =
            exchange.read::<psk_exchange::Response<'_>>(&peer.summary_context(output.config.summary))?;
        check_context(message.psk_context, peer.flags())?;
        let secured = check_selected(connection, message.opaque, output)?;
        let mut th = connection.transcript_from_vca();
        th.add(exchange.request);
        th.add(&bytes[..bytes.len().saturating_sub(message.verify_data.len())]);
        let id = secured::session_id(self.session, message.session);
        let shared = (Shared::PreShared(&self.key), secured);
        let mut handshake = Handshake::new(connection, Role::Requester, id, shared, th)?;
        if !same(message.verify_data, handshake.exchange_proof().expose()) {
            return Err(Misbehaviour::BadVerifyData.into());
        }
        handshake.add(message.verify_data);
        output.tell_summary(message.summary);
        let heartbeat = Duration::from_secs(message.heartbeat_s.into());
        let shaken = Shaken {
            id,
            heartbeat,
            identity: None,
        };
        if !peer.flags().any(Flags::PSK_WITH_CONTEXT) {
            return live(shaken, handshake, link, output);
        }
        let mut request = psk_finish::Request {
            version: message.version,
            opaque: &[],
            verify_data: &[],
        };
        handshake.add(&request.to_vec());
        let proof = handshake.finish_proof();
        request.verify_data = proof.expose();
        handshake.add(request.verify_data);
        output.ask(Channel::Session(id), connection.peer_crypto_time, &request);
        link.sessions.add(id, Open::Shaking(Box::new(handshake)))?;
        Ok(Some(ExpectPskFinish(shaken).into()))
    }
}

/// The responder has a context if it says so, and only then (PSK_CAP).
fn check_context(found: &[u8], flags: Flags) -> Result<(), Misbehaviour> {
    let wanted = flags.any(Flags::PSK_WITH_CONTEXT);
    if found.is_empty() != wanted {
        return Ok(());
    }
    Err(Misbehaviour::Inconsistent {
        what: "whether there is a context of the responder's",
        found: (!found.is_empty()).into(),
        wanted: wanted.into(),
    })
}

pub(super) struct ExpectPskFinish(Shaken);

impl Expect for ExpectPskFinish {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let mut handshake = link.sessions.take_shaking(self.0.id)?;
        let context = &link.peer()?.connection.context;
        let (_, bytes) = exchange.read::<psk_finish::Response<'_>>(context)?;
        handshake.add(bytes);
        live(self.0, handshake, link, output)
    }
}

/// All proofs are there.
pub(super) fn live(shaken: Shaken, handshake: Handshake, link: &mut Link, output: &mut Output<'_>) -> Next {
    let Shaken {
        id,
        heartbeat,
        identity,
    } = shaken;
    let live = Live::new(handshake.finished()?, identity, heartbeat, output.now);
    link.sessions.add(id, Open::Live(Box::new(live)))?;
    output.tell(Event::SessionReady { id });
    Ok(None)
}
