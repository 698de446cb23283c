//! What a requester has: the responder as far as it is known, and the sessions that are open with it.

use super::step::{Fault, Output};
use crate::crypto::Wiped;
use crate::{
    clock::Instant,
    crypto::{Digest, Secret},
    spdm::{
        connection::{Connection, Reach},
        encapsulated::check_usage,
        error::{Misbehaviour, Misuse},
        msg::{Code, Context, Summary, capabilities::Flags, key_exchange::Mutual},
        secured::{Record, RecordError},
        session::{Handshake, Session},
        signing,
        transcript::{Transcript, forgets_challenge, forgets_measurements},
    },
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;

/// All that goes when the connection goes.
#[derive(Default)]
pub(super) struct Link {
    /// What the responder takes, once its capabilities are known.
    pub(super) reach: Option<Reach>,
    /// The responder, once algorithms are agreed on.
    pub(super) peer: Option<Box<Peer>>,
    pub(super) sessions: Sessions,
}

impl Link {
    /// The responder. Steps that need one come after ALGORITHMS only.
    pub(super) fn peer(&self) -> Result<&Peer, Misbehaviour> {
        self.peer.as_deref().ok_or(NO_PEER)
    }

    pub(super) fn peer_mut(&mut self) -> Result<&mut Peer, Misbehaviour> {
        self.peer.as_deref_mut().ok_or(NO_PEER)
    }

    /// Whose key signs what is asked for there. A session's is the one that it was opened with, whoever the responder has
    /// proven to be since; where it was opened with none, on a pre-shared key, it is the one that counts outside.
    pub(super) fn identity(&self, session: Option<u32>) -> Option<&Arc<Identity>> {
        let live = session.and_then(|id| self.sessions.live_with(id));
        let outside = || self.peer.as_ref()?.identity.as_ref();
        live.and_then(|live| live.identity.as_ref()).or_else(outside)
    }

    /// Whose key signs there, if the caller may ask it for that `usage`.
    pub(super) fn signer(&self, session: Option<u32>, usage: u16) -> Result<&Arc<Identity>, Misuse> {
        let identity = self.identity(session).ok_or(Misuse::NoIdentity)?;
        let what = "key for that in its slot (KeyUsageMask of DIGESTS)";
        match identity.usage & usage {
            0 => Err(Misuse::Lacks { what }),
            _ => Ok(identity),
        }
    }

    /// A request begins transcripts anew that it does not belong to, as it does at the responder.
    pub(super) fn forget_transcripts(&mut self, session: Option<u32>, code: Code) {
        let Some(peer) = self.peer.as_deref_mut() else {
            return;
        };
        if forgets_challenge(code) {
            peer.m1 = None;
        }
        if !forgets_measurements(code) {
            return;
        }
        match session.map(|id| self.sessions.find(id)) {
            None => peer.l1 = None,
            Some(Some(Open::Live(live))) => live.l1 = None,
            Some(_) => {}
        }
    }
}

const NO_PEER: Misbehaviour = Misbehaviour::NotNegotiated { what: "algorithm" };
pub(super) const NO_SIGNER: Misbehaviour = Misbehaviour::NotNegotiated {
    what: "key that signs",
};

/// A responder with which algorithms are agreed on.
pub(super) struct Peer {
    pub(super) connection: Connection,
    /// Whose key signs outside sessions, once that is known.
    pub(super) identity: Option<Arc<Identity>>,
    /// The slots that hold a chain, one bit each, as DIGESTS said last outside sessions.
    pub(super) provisioned: Option<u8>,
    /// M1/M2: VCA and what came of digests and certificates since the last GET_DIGESTS or CHALLENGE.
    m1: Option<Transcript>,
    /// L1/L2 outside sessions.
    pub(super) l1: Option<Measuring>,
    /// The first DIGESTS outside sessions, where sessions' transcripts have it. Later ones never take its place.
    pub(super) digests: Option<Vec<u8>>,
}

/// A key that signs, and what stands for it in transcripts.
pub(super) struct Identity {
    /// The slot as requests name it: 0 to 7, or 0xff for a provisioned key.
    pub(super) slot: u8,
    /// Digest of the chain object or of the provisioned key.
    pub(super) hash: Digest,
    /// The public key as the provider wants it.
    pub(super) key: Vec<u8>,
    /// What DIGESTS says that it is for; on a connection with one key, for all.
    pub(super) usage: u16,
}

impl Identity {
    /// The slot as four bits have it.
    pub(super) fn short_slot(&self) -> u8 {
        self.slot & 0x0f
    }

    /// Whether its key is for that `usage`.
    pub(super) fn check_for(&self, usage: u16) -> Result<(), Misbehaviour> {
        check_usage(self.slot, self.usage, usage)
    }
}

impl Peer {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            identity: None,
            provisioned: None,
            m1: None,
            l1: None,
            digests: None,
            connection,
        }
    }

    /// Whether both sides have all of these capabilities.
    pub(super) fn both_can(&self, flags: Flags) -> bool {
        self.connection.own_flags.and(self.flags()).contains(flags)
    }

    /// Whether this side has what it takes to authenticate itself in that way, and both sides have said that they can.
    pub(super) fn can_authenticate(&self, way: Mutual, output: &Output<'_>) -> bool {
        let needed = match way {
            Mutual::ENCAPSULATED | Mutual::GET_DIGESTS => Flags::MUT_AUTH | Flags::ENCAP,
            _ => Flags::MUT_AUTH,
        };
        output.config.identity.is_some() && self.both_can(needed)
    }

    pub(super) fn flags(&self) -> Flags {
        self.connection.negotiated.peer_flags
    }

    /// Whose key signs.
    pub(super) fn identity(&self) -> Result<&Arc<Identity>, Misbehaviour> {
        self.identity.as_ref().ok_or(NO_SIGNER)
    }

    /// The summary of measurements to ask for: what is wanted, if there are measurements and a format for them was agreed on.
    pub(super) fn summary(&self, wanted: Summary) -> Summary {
        let formatted = self.connection.negotiated.algorithms.measurement_hash.is_some();
        match self.flags().any(Flags::MEAS_MASK) && formatted {
            true => wanted,
            false => Summary::NONE,
        }
    }

    /// To read an answer with, which has a summary of measurements if one was asked for.
    pub(super) fn summary_context(&self, wanted: Summary) -> Context {
        Context {
            summary_asked: self.summary(wanted) != Summary::NONE,
            ..self.connection.context
        }
    }

    /// Adds to M1/M2.
    pub(super) fn add_to_m1(&mut self, messages: [&[u8]; 2]) {
        let connection = &self.connection;
        let m1 = self.m1.get_or_insert_with(|| connection.transcript_from_vca());
        messages.iter().for_each(|message| m1.add(message));
    }

    /// M1/M2, which begins anew.
    pub(super) fn take_m1(&mut self) -> Transcript {
        let begun = self.m1.take();
        begun.unwrap_or_else(|| self.connection.transcript_from_vca())
    }

    /// TH before KEY_EXCHANGE.
    pub(super) fn session_transcript(&self, signer: &Identity) -> Transcript {
        let digests = self.digests.as_deref();
        self.connection.session_transcript(digests, &signer.hash)
    }

    /// Checks a signature by a key of the responder's.
    pub(super) fn verify(
        &self,
        signer: &Identity,
        context: signing::Context,
        transcript: &Transcript,
        signature: &[u8],
    ) -> Result<(), Misbehaviour> {
        let negotiated = &self.connection.negotiated;
        let message = signing::message(negotiated.version, context, transcript);
        let sign = self.connection.sign_alg()?;
        let provider = &self.connection.provider;
        let verified = provider.verify(sign, &signer.key, &message, signature);
        verified.map_err(|_| Misbehaviour::BadSignature)
    }
}

/// L1/L2 and the bytes that it is of, which are the evidence.
#[derive(Clone)]
pub(super) struct Measuring {
    pub(super) l1: Transcript,
    /// VCA, whether L1/L2 has it or not, and every GET_MEASUREMENTS and MEASUREMENTS.
    pub(super) blob: Vec<u8>,
}

impl Measuring {
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            l1: connection.measurement_transcript(),
            blob: connection.vca.clone(),
        }
    }
}

/// The open sessions, oldest first; a bounded number.
#[derive(Default)]
pub(super) struct Sessions {
    open: Vec<(u32, Open)>,
}

/// A session, by how far it is.
pub(super) enum Open {
    /// In its handshake.
    Shaking(Box<Handshake>),
    /// It is up.
    Live(Box<Live>),
}

/// A session that is up.
pub(super) struct Live {
    pub(super) session: Session,
    /// Whose key has signed its key exchange; nobody's on a pre-shared key.
    identity: Option<Arc<Identity>>,
    /// L1/L2 in it.
    pub(super) l1: Option<Measuring>,
    /// How long it may be silent, and when to say something for that reason.
    heartbeat: Option<(Duration, Instant)>,
}

impl Live {
    /// A session whose silence counts from `now` on.
    pub(super) fn new(
        session: Session,
        identity: Option<Arc<Identity>>,
        heartbeat: Duration,
        now: Instant,
    ) -> Self {
        Self {
            session,
            identity,
            l1: None,
            heartbeat: (!heartbeat.is_zero()).then(|| (heartbeat, now.after(heartbeat))),
        }
    }
}

impl Sessions {
    /// A responder that gives the id of an open session to another one must not have both.
    pub(super) fn add(&mut self, id: u32, open: Open) -> Result<(), Misbehaviour> {
        if self.find(id).is_some() {
            return Err(Misbehaviour::SessionTwice { id });
        }
        self.open.push((id, open));
        Ok(())
    }

    pub(super) fn find(&mut self, id: u32) -> Option<&mut Open> {
        let found = self.open.iter_mut().find(|(open, _)| *open == id);
        found.map(|(_, open)| open)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Open> {
        let at = self.open.iter().position(|(open, _)| *open == id)?;
        Some(self.open.remove(at).1)
    }

    /// A session that is up.
    pub(super) fn live_mut(&mut self, id: u32) -> Result<&mut Live, Fault> {
        match self.find(id) {
            Some(Open::Live(live)) => Ok(live),
            _ => Err(no_session()),
        }
    }

    /// A session in its handshake, to make another of it.
    pub(super) fn take_shaking(&mut self, id: u32) -> Result<Handshake, Fault> {
        match self.remove(id) {
            Some(Open::Shaking(handshake)) => Ok(*handshake),
            _ => Err(no_session()),
        }
    }

    /// The sessions that are up.
    pub(super) fn live(&self) -> impl Iterator<Item = u32> {
        let live = self.open.iter().filter(|(_, open)| matches!(open, Open::Live(_)));
        live.map(|(id, _)| *id)
    }

    pub(super) fn is_live(&self, id: u32) -> Result<(), Misuse> {
        let known = self.live().any(|live| live == id);
        known.then_some(()).ok_or(Misuse::NoSession)
    }

    fn live_with(&self, id: u32) -> Option<&Live> {
        let found = self.open.iter().find(|(open, _)| *open == id);
        match found {
            Some((_, Open::Live(live))) => Some(live),
            _ => None,
        }
    }

    pub(super) fn exporter(&self, id: u32) -> Option<&Secret> {
        self.live_with(id).map(|live| live.session.exporter())
    }

    /// A session with keys that may protect no more than `low` records more.
    pub(super) fn wearing_out(&self, low: u64) -> Option<u32> {
        let worn = |(id, open): &(u32, Open)| match open {
            Open::Live(live) if live.session.records_left() <= low => Some(*id),
            _ => None,
        };
        self.open.iter().find_map(worn)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn seal(&mut self, id: u32, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut record = Vec::new();
        match self.find(id) {
            Some(Open::Shaking(handshake)) => handshake.seal(message, &mut record)?,
            Some(Open::Live(live)) => live.session.seal(message, &mut record)?,
            None => return Err(no_session()),
        }
        Ok(record)
    }

    pub(super) fn open(&mut self, record: Record<'_>) -> Result<Wiped, Fault> {
        let opened: Result<&mut [u8], RecordError> = match self.find(record.session) {
            Some(Open::Shaking(handshake)) => handshake.open(record),
            Some(Open::Live(live)) => live.session.open(record),
            None => return Err(no_session()),
        };
        Ok(Wiped::new(opened?.to_vec()))
    }

    /// Something went over a session's channel.
    pub(super) fn heard(&mut self, id: u32, now: Instant) {
        if let Some(Open::Live(live)) = self.find(id) {
            live.heartbeat = live.heartbeat.map(|(period, _)| (period, now.after(period)));
        }
    }

    /// The next heartbeat: when, and in which session.
    pub(super) fn next_heartbeat(&self) -> Option<(Instant, u32)> {
        let due = |(id, open): &(u32, Open)| match open {
            Open::Live(live) => live.heartbeat.map(|(_, at)| (at, *id)),
            Open::Shaking(_) => None,
        };
        self.open.iter().filter_map(due).min()
    }
}

fn no_session() -> Fault {
    Fault::Peer(Misbehaviour::WrongChannel { in_session: true })
}
