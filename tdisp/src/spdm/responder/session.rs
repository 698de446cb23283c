//! Sessions: KEY_EXCHANGE, FINISH, and what is said in them.

use super::{
    After, Asked, At, DECRYPT, Event, INVALID, Refusal, Reply, Responder, UNEXPECTED, VendorAsked, usage,
};
use crate::{
    clock::Instant,
    crypto::{CryptoError, same},
    spdm::{
        connection::{Connection, SECURED_VERSIONS},
        msg::{
            Code, Payload,
            capabilities::Flags,
            end_session,
            error::ErrorCode,
            finish, heartbeat,
            key_exchange::{self, Mutual},
            key_update::{self, Operation},
            vendor,
            version::Entry,
        },
        opaque, secured,
        session::{Handshake, Role, Session, Shared},
        signing,
        transcript::Transcript,
    },
};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

/// Sessions, whatever the configuration says: far fewer than there are ids.
const SESSIONS_MAX: usize = 1024;

/// The open sessions, a bounded number.
pub(super) struct Sessions {
    open: Vec<(u32, Open)>,
    max: usize,
    /// Our half of the last session's id.
    last: u16,
}

/// A session, by how far it is.
pub(super) enum Open {
    /// FINISH is waited for.
    Shaking(Box<Shaking>),
    /// It has started.
    Live(Box<Live>),
}

pub(super) struct Shaking {
    pub(super) handshake: Handshake,
    expires: Instant,
    /// How long the session may be silent.
    silence: Option<Duration>,
}

pub(super) struct Live {
    pub(super) session: Session,
    connection: Connection,
    /// L1/L2 in this session.
    pub(super) l1: Transcript,
    /// New keys are in use that the requester has not tried yet.
    verify_awaited: bool,
    /// How long the session may be silent, and until when it may now.
    silence: Option<(Duration, Instant)>,
}

impl Live {
    /// A message came.
    fn heard(&mut self, now: Instant) {
        self.silence = self.silence.map(|(longest, _)| (longest, now.after(longest)));
    }

    /// A request begins L1/L2 anew unless it asks for measurements.
    pub(super) fn forget_transcripts(&mut self, code: Code) {
        if code != Code::GET_MEASUREMENTS {
            self.l1 = self.connection.measurement_transcript();
        }
    }
}

impl Open {
    fn expiry(&self) -> Option<Instant> {
        match self {
            Self::Shaking(shaking) => Some(shaking.expires),
            Self::Live(live) => live.silence.map(|(_, until)| until),
        }
    }
}

impl Sessions {
    pub(super) fn new(max: usize) -> Self {
        Self {
            open: Vec::new(),
            max: max.min(SESSIONS_MAX),
            last: 0,
        }
    }

    pub(super) fn find(&mut self, id: u32) -> Option<&mut Open> {
        let found = self.open.iter_mut().find(|(open, _)| *open == id);
        found.map(|(_, open)| open)
    }

    /// A record of a session came, and opened.
    pub(super) fn heard(&mut self, id: u32, now: Instant) {
        if let Some(Open::Live(live)) = self.find(id) {
            live.heard(now);
        }
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Open> {
        let at = self.open.iter().position(|(open, _)| *open == id)?;
        Some(self.open.remove(at).1)
    }

    /// Drops all; tells which of them had started.
    pub(super) fn clear(&mut self) -> Vec<u32> {
        let live = self.live();
        self.open.clear();
        live
    }

    /// Whether a session that has started is held open by heartbeats.
    fn beats(&mut self, id: u32) -> bool {
        matches!(self.find(id), Some(Open::Live(live)) if live.silence.is_some())
    }

    pub(super) fn live(&self) -> Vec<u32> {
        let live = self.open.iter().filter(|(_, open)| matches!(open, Open::Live(_)));
        live.map(|(id, _)| *id).collect()
    }

    pub(super) fn expired(&self, now: Instant) -> Vec<u32> {
        let past = |open: &Open| open.expiry().is_some_and(|at| at <= now);
        let expired = self.open.iter().filter(|(_, open)| past(open));
        expired.map(|(id, _)| *id).collect()
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.open.iter().filter_map(|(_, open)| open.expiry()).min()
    }

    /// Our half of a new session's id: not 0, and not one in use.
    fn new_id(&mut self) -> Result<u16, Refusal> {
        if self.open.len() >= self.max {
            return Err(Refusal::new(ErrorCode::SESSION_LIMIT_EXCEEDED));
        }
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            let taken = self.open.iter().any(|(id, _)| id >> 16 == u32::from(self.last));
            if !taken {
                return Ok(self.last);
            }
        }
    }

    /// The handshake that began last: FINISH in clear does not say of which session it is.
    fn last_shaking(&self) -> Option<u32> {
        let shaking = |(_, open): &&(u32, Open)| matches!(open, Open::Shaking(_));
        self.open.iter().rfind(shaking).map(|(id, _)| *id)
    }

    fn shaking_mut(&mut self, id: u32) -> Result<&mut Shaking, Refusal> {
        match self.find(id) {
            Some(Open::Shaking(shaking)) => Ok(shaking),
            _ => Err(UNEXPECTED),
        }
    }
}

// KEY_EXCHANGE

impl Responder {
    pub(super) fn key_exchange(&mut self, asked: Asked<'_>) -> Reply {
        let random = self.random()?;
        let (message, request) = self.read::<key_exchange::Request<'_>>(asked)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let connection = &agreed.connection;
        let protects = Flags::ENCRYPT | Flags::MAC;
        if !connection.negotiated.peer_flags.contains(protects) {
            return Err(Refusal::unsupported(Code::KEY_EXCHANGE));
        }
        let identity = self.identity(message.slot, usage::KEY_EXCHANGE)?;
        let mut selected = Vec::new();
        let version = select_secured(&opaque::decode_supported(message.version, message.opaque)?)?;
        opaque::encode_selected(message.version, version, &mut selected);
        let alg = connection.negotiated.algorithms.exchange.ok_or(INVALID)?;
        let encapsulated = connection.provider.encapsulate(alg, message.exchange);
        let agreed_on = encapsulated.map_err(bad_value)?;
        let own_id = self.sessions.new_id()?;
        let summary = self.summary(message.summary)?;
        let heartbeat_s = self.heartbeat_s(connection);
        let mut response = key_exchange::Response {
            version: message.version,
            heartbeat_s,
            session: own_id,
            mutual: Mutual::NONE,
            requester_slot: 0,
            random,
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
        let mut handshake = Handshake::new(
            connection,
            Role::Responder,
            id,
            (Shared::Exchanged(&agreed_on.secret), version),
            th,
        )?;
        let proof = handshake.exchange_proof();
        if !connection.context.handshake_in_clear {
            handshake.add(proof.expose());
            response.verify_data = Some(proof.expose());
        }
        let reply = response.to_vec();
        agreed.check_fits(reply.len())?;
        let shaking = Shaking {
            handshake,
            expires: asked.now.after(self.config.handshake_time),
            silence: (heartbeat_s > 0).then(|| Duration::from_secs(u64::from(heartbeat_s) * 2)),
        };
        self.sessions.open.push((id, Open::Shaking(Box::new(shaking))));
        Ok(Some(reply))
    }

    /// A heartbeat is for requesters that have one.
    fn heartbeat_s(&self, connection: &Connection) -> u8 {
        let ours = self.config.flags(connection.negotiated.version);
        match ours.and(connection.negotiated.peer_flags).any(Flags::HBEAT) {
            true => self.config.heartbeat_s,
            false => 0,
        }
    }
}

/// A public value that is none is the requester's fault; anything else that fails is ours.
fn bad_value(error: CryptoError) -> Refusal {
    match error {
        CryptoError::BadKey(_) => INVALID,
        ours => ours.into(),
    }
}

/// The highest version of secured messages that both sides speak.
fn select_secured(offered: &[Entry]) -> Result<Entry, Refusal> {
    let ours = SECURED_VERSIONS.iter().rev();
    let mut common = ours.filter(|ours| offered.iter().any(|theirs| theirs.version() == ours.version()));
    common.next().copied().ok_or(INVALID)
}

// FINISH

impl Responder {
    /// FINISH comes in clear if that was agreed to, and then it is for the handshake that began last; otherwise it comes in
    /// its session. With a wrong proof the session is gone; with wrong fields nothing changes; else the session starts once
    /// the answer is on its way.
    pub(super) fn finish(&mut self, asked: Asked<'_>) -> Reply {
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let id = match (asked.at, agreed.connection.context.handshake_in_clear) {
            (At::Clear, true) => self.sessions.last_shaking().ok_or(UNEXPECTED)?,
            (At::Clear, false) => return Err(Refusal::new(ErrorCode::SESSION_REQUIRED)),
            (At::Session(_), true) => return Err(UNEXPECTED),
            (At::Session(id), false) => id,
        };
        let (message, request) = self.read::<finish::Request<'_>>(asked)?;
        // Nobody asked for the requester's signature.
        if message.signature.is_some() {
            return Err(INVALID);
        }
        let in_clear = asked.at == At::Clear;
        let handshake = &mut self.sessions.shaking_mut(id)?.handshake;
        self.after = Some(After::Close(id));
        let head = request.len().saturating_sub(message.verify_data.len());
        handshake.add(&request[..head]);
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
        if in_clear {
            handshake.add(proof.expose());
            response.verify_data = Some(proof.expose());
        }
        self.after = Some(After::Start(id));
        Ok(Some(response.to_vec()))
    }

    /// Makes a session of a handshake whose proofs are all there.
    pub(super) fn start(&mut self, now: Instant, id: u32) {
        if let Err(error) = self.try_start(now, id) {
            self.close(id);
            self.events.push_back(Event::Failed(error));
        }
    }

    fn try_start(&mut self, now: Instant, id: u32) -> Result<(), CryptoError> {
        let (Some(agreed), Some(Open::Shaking(shaking))) = (self.phase.agreed(), self.sessions.remove(id))
        else {
            return Ok(());
        };
        let live = Live {
            session: shaking.handshake.finished()?,
            connection: agreed.connection.clone(),
            l1: agreed.connection.measurement_transcript(),
            verify_awaited: false,
            silence: shaking.silence.map(|longest| (longest, now.after(longest))),
        };
        self.sessions.open.push((id, Open::Live(Box::new(live))));
        self.events.push_back(Event::SessionStarted { id });
        Ok(())
    }
}

// In the session

impl Responder {
    /// The PCI-SIG's requests are for the device, in a session; outside they are not even answered. Nobody else's are served.
    pub(super) fn vendor_defined(&mut self, asked: Asked<'_>) -> Reply {
        let (request, _) = self.read::<vendor::Request<'_>>(asked)?;
        let At::Session(session) = asked.at else {
            return match request.0.registry == vendor::Registry::PCI_SIG {
                true => Ok(None),
                false => Err(Refusal::unsupported(Code::VENDOR_DEFINED_REQUEST)),
            };
        };
        if request.0.as_pci_sig().is_none() {
            return Err(Refusal::unsupported(Code::VENDOR_DEFINED_REQUEST));
        }
        let large = request.0.large.is_some();
        self.vendor = Some(VendorAsked { session, large });
        self.events.push_back(Event::VendorRequest {
            session,
            payload: request.0.payload.to_vec(),
        });
        Ok(None)
    }

    pub(super) fn heartbeat(&mut self, asked: Asked<'_>) -> Reply {
        let (heartbeat::Request { version }, _) = self.read(asked)?;
        // A session without a period has no heartbeat.
        let beats = match asked.at {
            At::Session(id) => self.sessions.beats(id),
            At::Clear => false,
        };
        if !beats {
            return Err(UNEXPECTED);
        }
        Ok(Some(heartbeat::Response { version }.to_vec()))
    }

    pub(super) fn end_session(&mut self, asked: Asked<'_>) -> Reply {
        let (end_session::Request { version, .. }, _) = self.read(asked)?;
        if let At::Session(id) = asked.at {
            self.after = Some(After::Close(id));
        }
        Ok(Some(end_session::Response { version }.to_vec()))
    }

    /// New request keys count from the next request on, new response keys from this answer on. The next KEY_UPDATE must
    /// be the one that tries the new request keys.
    pub(super) fn key_update(&mut self, asked: Asked<'_>) -> Reply {
        let (request, _) = self.read::<key_update::Request>(asked)?;
        let At::Session(id) = asked.at else {
            return Err(UNEXPECTED);
        };
        let Some(Open::Live(live)) = self.sessions.find(id) else {
            return Err(UNEXPECTED);
        };
        match request.operation {
            Operation::VERIFY_NEW_KEY if live.verify_awaited => live.verify_awaited = false,
            Operation::UPDATE_KEY if !live.verify_awaited => {
                live.session.update_receiving()?;
                live.verify_awaited = true;
            }
            Operation::UPDATE_ALL_KEYS if !live.verify_awaited => {
                live.session.update_receiving()?;
                live.session.update_sending()?;
                live.verify_awaited = true;
            }
            _ => return Err(INVALID),
        }
        let response = key_update::Response {
            version: request.version,
            operation: request.operation,
            tag: request.tag,
        };
        Ok(Some(response.to_vec()))
    }
}
