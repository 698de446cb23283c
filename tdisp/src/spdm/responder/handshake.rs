//! KEY_EXCHANGE and FINISH, and the start of a session.

use super::{
    After, Asked, At, DECRYPT, Event, INVALID, Refusal, Reply, Responder, UNEXPECTED,
    mutual::Requester,
    session::{Before, Kind, Live, Open, POLICY_LEFT_TO_US, Shaking},
    usage,
};
use crate::{
    clock::Instant,
    crypto::{CryptoError, same},
    spdm::{
        connection::Connection,
        msg::{
            Code, Payload, Version, capabilities::Flags, error::ErrorCode, finish, key_exchange,
            version::Entry,
        },
        opaque, secured,
        session::{Handshake, Role, Shared},
        signing,
    },
};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

/// Bit 1 of SessionPolicy (1.3): the requester subscribes to all events.
const POLICY_ALL_EVENTS: u8 = 1 << 1;

// KEY_EXCHANGE

impl Responder {
    pub(super) fn key_exchange(&mut self, asked: Asked<'_>) -> Reply {
        let (message, request) = self.read::<key_exchange::Request<'_>>(asked)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let connection = &agreed.connection;
        self.check_session(connection, Code::KEY_EXCHANGE, message.policy)?;
        let identity = self.identity(message.slot, usage::KEY_EXCHANGE)?;
        let (secured, selected) = self.select_secured(message.version, message.opaque)?;
        let alg = connection.negotiated.algorithms.exchange.ok_or(INVALID)?;
        let encapsulated = connection.provider.encapsulate(alg, message.exchange);
        let agreed_on = encapsulated.map_err(bad_value)?;
        let demand = self.demand(connection)?;
        let own_id = self.sessions.new_id(self.random()?)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let connection = &agreed.connection;
        let summary = self.summary(message.summary)?;
        let heartbeat_s = self.heartbeat_s(connection);
        let mut response = key_exchange::Response {
            version: message.version,
            heartbeat_s,
            session: own_id,
            mutual: demand.way,
            requester_slot: demand.slot,
            random: self.random()?,
            exchange: &agreed_on.answer,
            summary: summary.as_ref().map(AsRef::as_ref),
            opaque: &selected,
            signature: &[],
            verify_data: None,
        };
        let mut th = agreed.session_transcript(&identity.hash);
        th.add(request);
        th.add(&response.to_vec());
        let to_sign = signing::message(message.version, signing::Context::KeyExchangeRsp, &th);
        let signature = identity.signer.sign(&to_sign)?;
        response.signature = &signature;
        th.add(&signature);
        let id = secured::session_id(message.session, own_id);
        let shared = (Shared::Exchanged(&agreed_on.secret), secured);
        let mut handshake = Handshake::new(connection, Role::Responder, id, shared, th)?;
        let proof = handshake.exchange_proof();
        let in_clear = connection.context.handshake_in_clear;
        if !in_clear {
            handshake.add(proof.expose());
            response.verify_data = Some(proof.expose());
        }
        let reply = response.to_vec();
        agreed.check_fits(asked.at, reply.len())?;
        let kind = Kind::Exchanged(demand.requester);
        self.open(asked.now, handshake, kind, (message.policy, heartbeat_s));
        if let Some(asking) = demand.asking {
            let at = if in_clear { At::Clear } else { At::Session(id) };
            self.begin_authentication(at, Some(id), asking, demand.way);
        }
        Ok(Some(reply))
    }

    /// What any handshake needs: records that are authenticated, and a policy that this side can keep.
    pub(super) fn check_session(
        &self,
        connection: &Connection,
        code: Code,
        policy: u8,
    ) -> Result<(), Refusal> {
        let version = connection.negotiated.version;
        let ours = self.config.flags(version);
        if !ours.and(connection.negotiated.peer_flags).any(Flags::MAC) {
            return Err(Refusal::unsupported(code));
        }
        if wants_all_events(policy, version) && !ours.any(Flags::EVENT) {
            return Err(INVALID);
        }
        Ok(())
    }

    /// The version of secured messages, and the opaque data that says so.
    pub(super) fn select_secured(
        &self,
        version: Version,
        opaque: &[u8],
    ) -> Result<(Entry, Vec<u8>), Refusal> {
        let offered = opaque::decode_supported(version, opaque)?;
        let ours = &self.config.secured_versions;
        let secured = opaque::select(ours, offered.as_deref()).ok_or(INVALID)?;
        let mut selected = Vec::new();
        opaque::encode_selected(version, secured, &mut selected);
        Ok((secured, selected))
    }

    /// Keeps a handshake until it is finished or takes too long.
    pub(super) fn open(
        &mut self,
        now: Instant,
        handshake: Handshake,
        kind: Kind,
        (policy, heartbeat_s): (u8, u8),
    ) {
        let shaking = Shaking {
            kind,
            policy,
            expires: now.after(self.config.handshake_time),
            silence: (heartbeat_s > 0).then(|| Duration::from_secs(u64::from(heartbeat_s) * 2)),
            handshake,
        };
        let id = shaking.handshake.id();
        self.sessions.push(id, Open::Shaking(Box::new(shaking)));
    }

    /// A heartbeat is for requesters that have one.
    pub(super) fn heartbeat_s(&self, connection: &Connection) -> u8 {
        let ours = self.config.flags(connection.negotiated.version);
        match ours.and(connection.negotiated.peer_flags).any(Flags::HBEAT) {
            true => self.config.heartbeat_s,
            false => 0,
        }
    }
}

fn wants_all_events(policy: u8, version: Version) -> bool {
    version >= Version::V1_3 && policy & POLICY_ALL_EVENTS != 0
}

/// A public value that is none is the requester's fault; anything else that fails is ours.
fn bad_value(error: CryptoError) -> Refusal {
    match error {
        CryptoError::BadKey(_) => INVALID,
        ours => ours.into(),
    }
}

// FINISH

impl Responder {
    /// FINISH comes in clear if that was agreed to, and then it is for the key exchange that began last; otherwise it comes in
    /// its session. With a wrong proof the session is gone; with wrong fields nothing changes; else the session starts once
    /// the answer is on its way. In a session that began otherwise it has no place, and changes nothing.
    pub(super) fn finish(&mut self, asked: Asked<'_>) -> Reply {
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let in_clear = agreed.connection.context.handshake_in_clear;
        let id = match (asked.at, in_clear) {
            (At::Clear, true) => self.sessions.last_exchanged().ok_or(UNEXPECTED)?,
            (At::Clear, false) => return Err(Refusal::new(ErrorCode::SESSION_REQUIRED)),
            (At::Session(id), _) => id,
        };
        let Kind::Exchanged(_) = self.sessions.shaking_mut(id)?.kind else {
            return Err(UNEXPECTED);
        };
        if in_clear && asked.at != At::Clear {
            return Err(UNEXPECTED);
        }
        let checked = self.check_finish(asked, id);
        self.after = match &checked {
            Ok(_) => Some(After::Start(id)),
            Err(refusal) => refusal.is_of_proof().then_some(After::Close(id)),
        };
        checked.map(Some)
    }

    fn check_finish(&mut self, asked: Asked<'_>, id: u32) -> Result<Vec<u8>, Refusal> {
        let (message, request) = self.read::<finish::Request<'_>>(asked)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let shaking = self.sessions.shaking_mut(id)?;
        let handshake = &mut shaking.handshake;
        let signature = message.signature.unwrap_or_default();
        let mac_at = request.len().saturating_sub(message.verify_data.len());
        let head = &request[..mac_at.saturating_sub(signature.len())];
        if let Kind::Exchanged(requester) = &shaking.kind {
            requester.check_finish(&agreed.connection, handshake, &message, head)?;
        }
        if !same(message.verify_data, handshake.finish_proof().expose()) {
            return Err(DECRYPT);
        }
        handshake.add(message.verify_data);
        let mut response = finish::Response {
            version: message.version,
            opaque: &[],
            verify_data: None,
        };
        handshake.add(&response.to_vec());
        let proof = handshake.finish_response_proof();
        if asked.at == At::Clear {
            handshake.add(proof.expose());
            response.verify_data = Some(proof.expose());
        }
        Ok(response.to_vec())
    }

    /// Makes a session of a handshake whose proofs are all there.
    pub(super) fn start(&mut self, now: Instant, id: u32) {
        if let Err(error) = self.try_start(now, id) {
            self.close(id);
            self.events.push_back(Event::Failed(error));
        }
    }

    fn try_start(&mut self, now: Instant, id: u32) -> Result<(), CryptoError> {
        let Some(Open::Shaking(shaking)) = self.sessions.remove(id) else {
            return Ok(());
        };
        let version = self.phase.version().unwrap_or(Version::V1_0);
        let all_events = wants_all_events(shaking.policy, version);
        let before = Before {
            // Before 1.2 there was no policy to say otherwise with.
            policy: match version < Version::V1_2 {
                true => POLICY_LEFT_TO_US,
                false => shaking.policy,
            },
            silence: shaking.silence,
        };
        let session = shaking.handshake.finished()?;
        let mut live = Live::new(session, before, now);
        if let Kind::Exchanged(Requester::Known(known)) = shaking.kind {
            self.events.push_back(Event::RequesterAuthenticated {
                session: Some(id),
                slot: known.slot,
                identity: known.bytes.clone(),
            });
            live.requester = Some(known);
        }
        self.sessions.push(id, Open::Live(Box::new(live)));
        if all_events {
            self.subscribe_to_all(id);
        }
        self.events.push_back(Event::SessionStarted { id });
        Ok(())
    }
}
