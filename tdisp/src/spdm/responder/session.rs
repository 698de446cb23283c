//! The sessions that are open, and what is said in them about themselves.

use super::{
    After, Asked, At, Event, INVALID, Refusal, Reply, Responder, UNEXPECTED, VendorAsked, encap::Wish,
    mutual::Requester,
};
use crate::{
    clock::Instant,
    crypto::Wiped,
    spdm::{
        encapsulated::Known,
        msg::{
            Code, Payload, end_session,
            error::ErrorCode,
            heartbeat,
            key_update::{self, Operation},
            vendor,
        },
        session::{Handshake, Session},
        transcript::Transcript,
    },
};
use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::time::Duration;

/// Sessions, whatever the configuration says: far fewer than there are ids.
const SESSIONS_MAX: usize = 1024;

/// TerminationPolicy, bit 0 of SessionPolicy (1.2): whether the responder decides what becomes of the session when its code or
/// configuration changes. Without it the session ends then.
pub(super) const POLICY_LEFT_TO_US: u8 = 1;

/// The open sessions, a bounded number.
pub(super) struct Sessions {
    open: Vec<(u32, Open)>,
    max: usize,
}

/// A session, by how far it is.
pub(super) enum Open {
    /// FINISH or PSK_FINISH is waited for.
    Shaking(Box<Shaking>),
    /// It has started.
    Live(Box<Live>),
}

pub(super) struct Shaking {
    pub(super) handshake: Handshake,
    pub(super) kind: Kind,
    /// SessionPolicy.
    pub(super) policy: u8,
    pub(super) expires: Instant,
    /// How long the session may be silent.
    pub(super) silence: Option<Duration>,
}

/// How a handshake began, and so how it may end: the one kind with FINISH, the other with PSK_FINISH.
pub(super) enum Kind {
    /// With KEY_EXCHANGE.
    Exchanged(Requester),
    /// With PSK_EXCHANGE.
    PreShared,
}

pub(super) struct Live {
    pub(super) session: Session,
    /// L1/L2 in this session.
    pub(super) l1: Option<Transcript>,
    /// SessionPolicy.
    pub(super) policy: u8,
    /// Who the requester is, if it has authenticated itself.
    pub(super) requester: Option<Box<Known>>,
    /// What this side wants to ask the requester when it fetches that.
    pub(super) wishes: VecDeque<Wish>,
    /// New keys are in use that the requester has not tried yet.
    verify_awaited: bool,
    /// How long the session may be silent, and until when it may now.
    silence: Option<(Duration, Instant)>,
}

impl Live {
    pub(super) fn new(session: Session, shaking: Before, now: Instant) -> Self {
        Self {
            session,
            l1: None,
            policy: shaking.policy,
            requester: None,
            wishes: VecDeque::new(),
            verify_awaited: false,
            silence: shaking.silence.map(|longest| (longest, now.after(longest))),
        }
    }

    /// A message came.
    fn heard(&mut self, now: Instant) {
        self.silence = self.silence.map(|(longest, _)| (longest, now.after(longest)));
    }
}

/// What a session keeps of its handshake but for the keys.
pub(super) struct Before {
    pub(super) policy: u8,
    pub(super) silence: Option<Duration>,
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

    /// Our half of a new session's id: what was `drawn`, or the next one that is not 0 and not in use. Drawn at random it is
    /// all that sets a session on a pre-shared key without a context apart from one whose messages somebody has recorded.
    pub(super) fn new_id(&self, drawn: [u8; 2]) -> Result<u16, Refusal> {
        let drawn = u16::from(drawn[0]) << 8 | u16::from(drawn[1]);
        let full = Refusal::new(ErrorCode::SESSION_LIMIT_EXCEEDED);
        if self.open.len() >= self.max {
            return Err(full);
        }
        let taken = |own: &u16| self.open.iter().any(|(id, _)| id >> 16 == u32::from(*own));
        let mut candidates = (drawn.max(1)..=u16::MAX).chain(1..drawn);
        candidates.find(|own| !taken(own)).ok_or(full)
    }

    /// The key exchange that began last: FINISH in clear does not say of which session it is.
    pub(super) fn last_exchanged(&self) -> Option<u32> {
        let shaking = |(_, open): &&(u32, Open)| match open {
            Open::Shaking(shaking) => matches!(shaking.kind, Kind::Exchanged(_)),
            Open::Live(_) => false,
        };
        self.open.iter().rfind(shaking).map(|(id, _)| *id)
    }

    pub(super) fn push(&mut self, id: u32, open: Open) {
        self.open.push((id, open));
    }

    pub(super) fn live_mut(&mut self, at: At) -> Result<&mut Live, Refusal> {
        match at {
            At::Session(id) => match self.find(id) {
                Some(Open::Live(live)) => Ok(live),
                _ => Err(UNEXPECTED),
            },
            At::Clear => Err(UNEXPECTED),
        }
    }

    /// The sessions that end when what is measured changes: the requester did not leave that to us (SessionPolicy).
    pub(super) fn ended_by_change(&self) -> Vec<u32> {
        let strict = |(id, open): &(u32, Open)| match open {
            Open::Live(live) if live.policy & POLICY_LEFT_TO_US == 0 => Some(*id),
            _ => None,
        };
        self.open.iter().filter_map(strict).collect()
    }

    pub(super) fn shaking_mut(&mut self, id: u32) -> Result<&mut Shaking, Refusal> {
        match self.find(id) {
            Some(Open::Shaking(shaking)) => Ok(shaking),
            _ => Err(UNEXPECTED),
        }
    }
}

// In the session

impl Responder {
    /// The PCI-SIG's requests are for the device, in a session that encrypts; elsewhere they are not even answered. Nobody else's
    /// are served.
    ///
    /// PCIe wants a secure session for IDE_KM and TDISP (§6.33.3, §11.3), and of a device for TEE-IO both ENCRYPT_CAP and
    /// MAC_CAP. A session that authenticates only is not one: the keys of IDE and the nonce of a lock would be there for
    /// everybody between the TSM and the device to read. What comes in it is treated as if there were no session.
    pub(super) fn vendor_defined(&mut self, asked: Asked<'_>) -> Reply {
        let (request, _) = self.read::<vendor::Request<'_>>(asked)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let session = match asked.at {
            At::Session(session) if agreed.connection.encrypts() => session,
            _ if request.0.registry == vendor::Registry::PCI_SIG => return Ok(None),
            _ => return Err(Refusal::unsupported(Code::VENDOR_DEFINED_REQUEST)),
        };
        if request.0.as_pci_sig().is_none() {
            return Err(Refusal::unsupported(Code::VENDOR_DEFINED_REQUEST));
        }
        let large = request.0.large.is_some();
        self.vendor = Some(VendorAsked { session, large });
        self.events.push_back(Event::VendorRequest {
            session,
            payload: Wiped::new(request.0.payload.to_vec()),
        });
        Ok(None)
    }

    pub(super) fn heartbeat(&mut self, asked: Asked<'_>) -> Reply {
        let (heartbeat::Request { version }, _) = self.read(asked)?;
        // Nobody waits for it in a session that may be silent.
        if self.sessions.live_mut(asked.at)?.silence.is_none() {
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
        let live = self.sessions.live_mut(asked.at)?;
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
