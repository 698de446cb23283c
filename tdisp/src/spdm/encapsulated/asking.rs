//! The responder's part: what it asks, and what it makes of the answers.

use super::{PUBLIC_KEY, check_slot_held, check_usage};
use crate::{
    crypto::{CryptoError, Digest, SignAlg, same, x509::path::Role},
    spdm::{
        chain::{self, Chain, public_key},
        connection::Connection,
        error::Misbehaviour,
        msg::{
            Code, Context, Header, Payload, RequesterContext, SLOT_PUBLIC_KEY, Summary, Version,
            capabilities::Flags,
            certificate, challenge, check_padding, digests,
            error::{self as error_msg, ErrorCode},
        },
        portions::Portions,
        requester::Trust,
        responder::usage,
        signing,
        transcript::Transcript,
    },
    wire::DecodeError,
};
use alloc::{borrow::Cow, boxed::Box, vec::Vec};

/// Bytes of DELIVER_ENCAPSULATED_RESPONSE in front of the answer.
const DELIVER_HEADER_SIZE: u32 = 4;

/// What the requester's identity is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::spdm) enum Purpose {
    /// It shall sign a challenge (basic mutual authentication).
    Challenge,
    /// It will sign FINISH, so that its chain is all that is wanted.
    Session,
}

/// How the requester is asked.
#[derive(Debug, Clone, Copy)]
pub(in crate::spdm) struct Wanted<'a> {
    pub(in crate::spdm) purpose: Purpose,
    /// The slot whose chain is asked for, or else the first that it has for that purpose.
    pub(in crate::spdm) slot: Option<u8>,
    pub(in crate::spdm) roots: &'a Trust,
    /// Bytes of the largest message that this side takes.
    pub(in crate::spdm) transfer_size: u32,
    /// Bytes of the largest chain that this side takes.
    pub(in crate::spdm) chain_size_max: usize,
}

/// Who the requester is. In a session nothing is proven by that yet: FINISH does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::spdm) struct Known {
    /// Its slot, or [`PUBLIC_KEY`].
    pub(in crate::spdm) slot: u8,
    /// The chain object, or the provisioned key.
    pub(in crate::spdm) bytes: Vec<u8>,
    /// Digest of these.
    pub(in crate::spdm) hash: Digest,
    /// Its DIGESTS, part of TH where the requester has several keys (1.3).
    pub(in crate::spdm) digests: Option<Vec<u8>>,
    alg: SignAlg,
    key: Vec<u8>,
}

/// Why the requester remains unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::spdm) enum Unknown {
    /// It asks for time, which ends the flow (DSP0274: a requester may not be not ready).
    NotReady,
    /// It answered what it must not.
    Peer(Misbehaviour),
    /// Our own side fails.
    Ours(CryptoError),
}

impl From<DecodeError> for Unknown {
    fn from(error: DecodeError) -> Self {
        Self::Peer(Misbehaviour::Malformed(error))
    }
}

impl From<Misbehaviour> for Unknown {
    fn from(what: Misbehaviour) -> Self {
        Self::Peer(what)
    }
}

impl From<CryptoError> for Unknown {
    fn from(error: CryptoError) -> Self {
        Self::Ours(error)
    }
}

/// What an answer leads to.
pub(in crate::spdm) enum Turn {
    /// The next request.
    Ask(Asking),
    /// There is nothing left to ask.
    Known(Box<Known>),
}

/// A request that waits for its answer.
pub(in crate::spdm) struct Asking {
    request: Vec<u8>,
    m1: Transcript,
    step: Step,
}

/// What is waited for, with all that is known so far.
enum Step {
    Digests,
    Certificate(Box<Fetching>),
    Challenge(Box<Known>, Option<RequesterContext>),
}

struct Fetching {
    digest: Digest,
    digests: Vec<u8>,
    portions: Portions,
}

impl Known {
    /// A requester whose chain object, or key, was provisioned.
    pub(in crate::spdm) fn provisioned(
        slot: u8,
        bytes: &[u8],
        connection: &Connection,
    ) -> Result<Self, Misbehaviour> {
        let alg = requester_alg(connection)?;
        let (bytes, key) = match slot {
            PUBLIC_KEY => (Cow::Borrowed(bytes), public_key(bytes, alg)?),
            _ => {
                let shown = chain::in_hash(bytes, connection);
                let key = Chain::decode(&shown, connection)?.leaf_key(alg)?;
                (shown, key)
            }
        };
        Ok(Self {
            slot,
            hash: connection.digest(&bytes),
            bytes: bytes.to_vec(),
            digests: None,
            alg,
            key,
        })
    }

    /// Checks a signature of the requester's.
    pub(in crate::spdm) fn verify(
        &self,
        connection: &Connection,
        context: signing::Context,
        transcript: &Transcript,
        signature: &[u8],
    ) -> Result<(), Misbehaviour> {
        let message = signing::message(connection.negotiated.version, context, transcript);
        let provider = &connection.provider;
        let verified = provider.verify(self.alg, &self.key, &message, signature);
        verified.map_err(|_| Misbehaviour::BadSignature)
    }

    /// Adds to TH what stands in it for a requester that authenticates itself.
    pub(in crate::spdm) fn add_to(&self, connection: &Connection, mut add: impl FnMut(&[u8])) {
        let several = connection.context.requester_multi_key;
        if let Some(digests) = self.digests.as_ref().filter(|_| several) {
            add(digests);
        }
        add(self.hash.as_ref());
    }
}

impl Asking {
    /// Begins with GET_DIGESTS.
    pub(in crate::spdm) fn start(connection: &Connection) -> Self {
        let version = connection.negotiated.version;
        Self {
            request: digests::Request { version }.to_vec(),
            m1: connection.mutual_transcript(),
            step: Step::Digests,
        }
    }

    /// Begins with CHALLENGE, to a requester whose key was provisioned.
    pub(in crate::spdm) fn challenge(known: Known, connection: &Connection) -> Result<Self, Unknown> {
        challenge(known, connection.mutual_transcript(), connection)
    }

    /// The request that waits.
    pub(in crate::spdm) fn request(&self) -> &[u8] {
        &self.request
    }

    /// The answer came; padding may follow it.
    pub(in crate::spdm) fn on_response(
        self,
        connection: &Connection,
        wanted: Wanted<'_>,
        response: &[u8],
    ) -> Result<Turn, Unknown> {
        check_error(response)?;
        let inside = connection.context.encapsulated();
        let Self {
            request,
            mut m1,
            step,
            ..
        } = self;
        m1.add(&request);
        match step {
            Step::Digests => {
                let (message, bytes) = read::<digests::Response<'_>>(response, &inside)?;
                m1.add(bytes);
                let fetching = Fetching::new(&message, bytes, connection, wanted)?;
                Ok(Turn::Ask(fetching.ask_on(m1, connection, wanted)))
            }
            Step::Certificate(fetching) => fetching.on_response(response, m1, connection, wanted),
            Step::Challenge(known, context) => {
                let (message, bytes) = read::<challenge::Response<'_>>(response, &inside)?;
                check_challenge(&known, &message, context)?;
                m1.add(&bytes[..bytes.len().saturating_sub(message.signature.len())]);
                let context = signing::Context::RequesterChallengeAuth;
                known.verify(connection, context, &m1, message.signature)?;
                Ok(Turn::Known(known))
            }
        }
    }
}

impl Fetching {
    fn new(
        message: &digests::Response<'_>,
        bytes: &[u8],
        connection: &Connection,
        wanted: Wanted<'_>,
    ) -> Result<Self, Misbehaviour> {
        let provisioned = message.provisioned();
        // A session's FINISH is part of its key exchange.
        let usage = match wanted.purpose {
            Purpose::Challenge => usage::CHALLENGE,
            Purpose::Session => usage::KEY_EXCHANGE,
        };
        let mut numbers = message.slots.iter().map(|slot| slot.number);
        let first = message.slots.first().map_or(0, |slot| slot.number);
        let fit = numbers.find(|slot| message.usage(*slot) & usage != 0);
        let slot = wanted.slot.or(fit).unwrap_or(first);
        let digest = message.digest(slot).and_then(Digest::new);
        let negotiated = &connection.negotiated;
        check_usage(slot, message.usage(slot), usage)?;
        let large = negotiated.version >= Version::V1_4 && negotiated.peer_flags.any(Flags::LARGE_RESPONSE);
        Ok(Self {
            digest: digest.ok_or(Misbehaviour::EmptySlot { slot, provisioned })?,
            digests: bytes.to_vec(),
            portions: Portions::of(slot, large),
        })
    }

    fn ask_on(mut self, m1: Transcript, connection: &Connection, wanted: Wanted<'_>) -> Asking {
        let room = wanted.transfer_size.saturating_sub(DELIVER_HEADER_SIZE);
        let request = self.portions.ask(connection.negotiated.version, room);
        Asking {
            request: request.to_vec(),
            m1,
            step: Step::Certificate(Box::new(self)),
        }
    }

    fn on_response(
        mut self,
        response: &[u8],
        mut m1: Transcript,
        connection: &Connection,
        wanted: Wanted<'_>,
    ) -> Result<Turn, Unknown> {
        let inside = connection.context.encapsulated();
        let (message, bytes) = read::<certificate::Response<'_>>(response, &inside)?;
        m1.add(bytes);
        if !self.portions.take(&message, wanted.chain_size_max)? {
            return Ok(Turn::Ask(self.ask_on(m1, connection, wanted)));
        }
        let known = self.complete(connection, wanted)?;
        match wanted.purpose {
            Purpose::Session => Ok(Turn::Known(Box::new(known))),
            Purpose::Challenge => challenge(known, m1, connection).map(Turn::Ask),
        }
    }

    /// The whole chain is there.
    fn complete(self, connection: &Connection, wanted: Wanted<'_>) -> Result<Known, Misbehaviour> {
        let slot = self.portions.slot();
        let bytes = self.portions.into_bytes();
        let found = connection.digest(&bytes);
        if !same(found.as_ref(), self.digest.as_ref()) {
            return Err(wrong_chain(found, self.digest));
        }
        let chain = Chain::decode(&bytes, connection)?;
        if let Trust::Pinned(roots) = wanted.roots {
            chain.check_rooted(roots, Role::Requester, connection)?;
        }
        let alg = requester_alg(connection)?;
        Ok(Known {
            slot,
            hash: found,
            digests: Some(self.digests),
            alg,
            key: chain.leaf_key(alg)?,
            bytes,
        })
    }
}

fn challenge(known: Known, m1: Transcript, connection: &Connection) -> Result<Asking, Unknown> {
    let version = connection.negotiated.version;
    let mut nonce = [0; 32];
    connection.provider.random(&mut nonce)?;
    let mut context = RequesterContext::default();
    connection.provider.random(&mut context)?;
    let context = (version >= Version::V1_3).then_some(context);
    let request = challenge::Request {
        version,
        slot: match known.slot {
            PUBLIC_KEY => SLOT_PUBLIC_KEY,
            slot => slot,
        },
        summary: Summary::NONE,
        nonce,
        context,
    };
    Ok(Asking {
        request: request.to_vec(),
        m1,
        step: Step::Challenge(Box::new(known), context),
    })
}

fn check_challenge(
    known: &Known,
    message: &challenge::Response<'_>,
    context: Option<RequesterContext>,
) -> Result<(), Misbehaviour> {
    expect("slot of the requester's CHALLENGE_AUTH", message.slot, known.slot)?;
    check_slot_held(message)?;
    if !same(message.chain_hash, known.hash.as_ref()) {
        let said = Digest::new(message.chain_hash).unwrap_or(known.hash);
        return Err(wrong_chain(known.hash, said));
    }
    let repeated = u8::from(message.context == context);
    expect("whether the requester repeats the context", repeated, 1)
}

/// An ERROR in place of the answer.
fn check_error(response: &[u8]) -> Result<(), Unknown> {
    if Header::peek(response)?.code != Code::ERROR {
        return Ok(());
    }
    let (error, _) = error_msg::Response::decode(response, &Context::new(Version::V1_0))?;
    if error.code == ErrorCode::RESPONSE_NOT_READY {
        return Err(Unknown::NotReady);
    }
    let (code, data) = (error.code, error.data);
    Err(Misbehaviour::Refused { code, data }.into())
}

/// The message and its bytes without what the transport padded the one around it with.
fn read<'a, M: Payload<'a>>(response: &'a [u8], inside: &Context) -> Result<(M, &'a [u8]), DecodeError> {
    let (message, size) = M::decode(response, inside)?;
    check_padding(response, size)?;
    Ok((message, response.get(..size).unwrap_or_default()))
}

fn requester_alg(connection: &Connection) -> Result<SignAlg, Misbehaviour> {
    let alg = connection.negotiated.algorithms.requester_sign;
    alg.ok_or(Misbehaviour::NotNegotiated {
        what: "signature algorithm of the requester",
    })
}

fn expect(what: &'static str, found: u8, wanted: u8) -> Result<(), Misbehaviour> {
    if found == wanted {
        return Ok(());
    }
    Err(Misbehaviour::Inconsistent {
        what,
        found: found.into(),
        wanted: wanted.into(),
    })
}

fn wrong_chain(found: Digest, said: Digest) -> Misbehaviour {
    Misbehaviour::WrongDigest {
        what: "the requester's certificate chain",
        found: Box::new(found),
        said: Box::new(said),
    }
}
