//! Whether and how a requester is to authenticate itself in turn.

use super::{DECRYPT, INVALID, Refusal, Responder};
use crate::spdm::{
    connection::Connection,
    encapsulated::{Asking, Known, PUBLIC_KEY},
    error::Misbehaviour,
    msg::{capabilities::Flags, finish, key_exchange},
    portions::CHAIN_SIZE_MAX,
    requester::Trust,
    session::Handshake,
    signing,
};
use alloc::{boxed::Box, vec::Vec};

/// How a requester is to authenticate itself in turn (MUT_AUTH_CAP). [`Offer::requester_sign`] must have an algorithm for it.
///
/// [`Offer::requester_sign`]: crate::spdm::algorithms::Offer::requester_sign
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutual {
    /// Which of its certificate chains go.
    pub roots: Trust,
    /// Bytes of the largest chain that this side takes; before 1.4 none can be larger than 65535.
    pub chain_size_max: usize,
    /// Its slot whose chain is asked for, or else the first that it has with a key for that.
    pub slot: Option<u8>,
    /// Whether CHALLENGE_AUTH asks it to let itself be challenged.
    pub challenge: bool,
    /// Whether and how KEY_EXCHANGE_RSP asks it for a signature.
    pub session: key_exchange::Mutual,
    /// The slot and the chain object that it was provisioned with here, for [`key_exchange::Mutual::SIGNATURE`].
    pub chain: Option<(u8, Vec<u8>)>,
    /// The key that a requester without chains (PUB_KEY_ID_CAP) was provisioned with here, SubjectPublicKeyInfo in DER.
    pub public_key: Option<Vec<u8>>,
    /// Whether a requester that cannot authenticate itself gets no session by KEY_EXCHANGE.
    pub required: bool,
    /// Whether a requester that can shall use several keys (1.3).
    pub multi_key: bool,
}

impl Mutual {
    /// Every session is authenticated, by encapsulated requests, with a chain that begins with one of `roots`.
    pub fn new(roots: Trust) -> Self {
        Self {
            roots,
            chain_size_max: CHAIN_SIZE_MAX,
            slot: None,
            challenge: false,
            session: key_exchange::Mutual::ENCAPSULATED,
            chain: None,
            public_key: None,
            required: true,
            multi_key: false,
        }
    }
}

/// What a handshake knows of its requester.
pub(super) enum Requester {
    /// Nobody asked.
    NotAsked,
    /// It has been asked, and has not said, or has said what does not go.
    Unknown,
    /// Its key is known, and FINISH must be signed with it.
    Known(Box<Known>),
}

/// What KEY_EXCHANGE_RSP says of it.
pub(super) struct Demand {
    pub(super) way: key_exchange::Mutual,
    pub(super) slot: u8,
    pub(super) requester: Requester,
    /// What is asked first, where something is.
    pub(super) asking: Option<Asking>,
}

impl Demand {
    const NONE: Self = Self {
        way: key_exchange::Mutual::NONE,
        slot: 0,
        requester: Requester::NotAsked,
        asking: None,
    };
}

impl Responder {
    /// What of this requester is asked in a session.
    pub(super) fn demand(&self, connection: &Connection) -> Result<Demand, Refusal> {
        let Some(mutual) = &self.config.mutual else {
            return Ok(Demand::NONE);
        };
        let found = match self.can_authenticate(connection) {
            true => demand(mutual, connection)?,
            false => None,
        };
        match found {
            None if mutual.required && mutual.session != key_exchange::Mutual::NONE => Err(INVALID),
            found => Ok(found.unwrap_or(Demand::NONE)),
        }
    }

    /// What of this requester is asked after a challenge.
    pub(super) fn challenge_in_turn(&self, connection: &Connection) -> Result<Option<Asking>, Refusal> {
        let theirs = connection.negotiated.peer_flags;
        let able = Flags::ENCAP | Flags::CHAL;
        match &self.config.mutual {
            Some(mutual)
                if mutual.challenge && theirs.contains(able) && self.can_authenticate(connection) =>
            {
                if theirs.any(Flags::PUB_KEY_ID) {
                    let Some(key) = &mutual.public_key else {
                        return Ok(None);
                    };
                    let known = Known::provisioned(PUBLIC_KEY, key, connection).map_err(misconfigured)?;
                    return Ok(Asking::challenge(known, connection).ok());
                }
                Ok(Some(Asking::start(connection)))
            }
            _ => Ok(None),
        }
    }

    /// Both sides can, and have an algorithm for it.
    fn can_authenticate(&self, connection: &Connection) -> bool {
        let negotiated = &connection.negotiated;
        let ours = self.config.flags(negotiated.version);
        let both = ours.and(negotiated.peer_flags);
        both.any(Flags::MUT_AUTH) && negotiated.algorithms.requester_sign.is_some()
    }
}

/// The way that is configured, if this requester can go it.
fn demand(mutual: &Mutual, connection: &Connection) -> Result<Option<Demand>, Refusal> {
    let theirs = connection.negotiated.peer_flags;
    let provisioned = |slot, bytes: &[u8]| {
        let known = Known::provisioned(slot, bytes, connection).map_err(misconfigured)?;
        Ok(Some(Demand {
            way: key_exchange::Mutual::SIGNATURE,
            slot,
            requester: Requester::Known(Box::new(known)),
            asking: None,
        }))
    };
    match mutual.session {
        key_exchange::Mutual::NONE => Ok(None),
        _ if theirs.any(Flags::PUB_KEY_ID) => match &mutual.public_key {
            Some(key) => provisioned(PUBLIC_KEY, key),
            None => Ok(None),
        },
        key_exchange::Mutual::SIGNATURE => match &mutual.chain {
            Some((slot, chain)) => provisioned(*slot, chain),
            None => Ok(None),
        },
        way if theirs.contains(Flags::ENCAP | Flags::CERT) => Ok(Some(Demand {
            way,
            slot: 0,
            requester: Requester::Unknown,
            asking: Some(Asking::start(connection)),
        })),
        _ => Ok(None),
    }
}

/// What was provisioned is of no use on this connection.
fn misconfigured(_: Misbehaviour) -> Refusal {
    INVALID
}

impl Requester {
    /// Adds the head of FINISH, with what precedes it in TH, to the transcript, and checks its signature: there must be one
    /// if the requester was asked for it, and none if not.
    pub(super) fn check_finish(
        &self,
        connection: &Connection,
        handshake: &mut Handshake,
        message: &finish::Request<'_>,
        head: &[u8],
    ) -> Result<(), Refusal> {
        let (known, signature) = match (self, message.signature) {
            (Self::NotAsked, None) => {
                handshake.add(head);
                return Ok(());
            }
            (Self::NotAsked, Some(_)) | (Self::Known(_), None) => return Err(INVALID),
            (Self::Unknown, _) => return Err(DECRYPT),
            (Self::Known(known), Some(signature)) => (known, signature),
        };
        // The provisioned key has no slot: four bits say so elsewhere, eight here.
        if message.slot != known.slot && (known.slot, message.slot) != (PUBLIC_KEY, u8::MAX) {
            return Err(INVALID);
        }
        known.add_to(connection, |bytes| handshake.add(bytes));
        handshake.add(head);
        let context = signing::Context::Finish;
        let verified = known.verify(connection, context, handshake.transcript(), signature);
        verified.map_err(|_| DECRYPT)?;
        handshake.add(signature);
        Ok(())
    }
}
