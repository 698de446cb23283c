//! The requester's part: what it answers about itself.

use super::{Identity, PUBLIC_KEY};
use crate::{
    crypto::{CryptoError, Digest, Signer},
    spdm::{
        chain,
        connection::Connection,
        msg::{
            Code, Header, NONCE_SIZE, Payload, SLOT_PUBLIC_KEY, Summary, Version, certificate, challenge,
            check_padding, digests,
            error::{self as error_msg, ErrorCode, Extended},
        },
        responder::{held, holder, provisioned, usage},
        signing,
        transcript::Transcript,
    },
    wire::DecodeError,
};
use alloc::{borrow::Cow, sync::Arc, vec::Vec};

/// Bytes in front of a portion: DELIVER_ENCAPSULATED_RESPONSE's header and CERTIFICATE's, or its large form's.
const HEADERS_SIZE: usize = 4 + 8;
const LARGE_HEADERS_SIZE: usize = 4 + 16;

/// What has been answered so far.
pub(in crate::spdm) struct Answering {
    m1: Transcript,
    /// The first DIGESTS: part of TH where the requester has several keys (1.3).
    digests: Option<Vec<u8>>,
}

/// Who signs for a requester.
pub(in crate::spdm) struct Own {
    /// The slot, or [`PUBLIC_KEY`].
    pub(in crate::spdm) slot: u8,
    /// Digest of the chain object or of the provisioned key.
    pub(in crate::spdm) hash: Digest,
    pub(in crate::spdm) signer: Arc<dyn Signer>,
}

impl Own {
    /// Its slot as a request of eight bits names it.
    pub(in crate::spdm) fn slot_in_request(&self) -> u8 {
        match self.slot {
            PUBLIC_KEY => SLOT_PUBLIC_KEY,
            slot => slot,
        }
    }

    /// The holder of a slot's key, or of the provisioned one. It must sign with the negotiated algorithm, and where there
    /// are several keys be meant for `usage`.
    pub(in crate::spdm) fn find(
        identity: &Identity,
        slot: u8,
        usage: u16,
        connection: &Connection,
    ) -> Option<Self> {
        let (slot, bytes, signer) = match slot {
            PUBLIC_KEY | SLOT_PUBLIC_KEY => {
                let key = identity.public_key.as_ref()?;
                (PUBLIC_KEY, Cow::Borrowed(&key.key[..]), &key.signer)
            }
            _ => {
                let held = holder(&identity.slots, slot)?;
                if connection.context.requester_multi_key && held.key.usage & usage == 0 {
                    return None;
                }
                (slot, chain::in_hash(&held.chain, connection), &held.signer)
            }
        };
        if connection.negotiated.algorithms.requester_sign != Some(signer.algorithm()) {
            return None;
        }
        Some(Self {
            slot,
            hash: connection.digest(&bytes),
            signer: Arc::clone(signer),
        })
    }
}

impl Answering {
    pub(in crate::spdm) fn new(connection: &Connection) -> Self {
        Self {
            m1: connection.mutual_transcript(),
            digests: None,
        }
    }

    /// The DIGESTS that was shown.
    pub(in crate::spdm) fn digests(&self) -> Option<&[u8]> {
        self.digests.as_deref()
    }

    /// The answer to a request that is about who the requester is: an ERROR where it is not, or cannot be answered. In a
    /// session nothing is signed on demand.
    pub(in crate::spdm) fn answer(
        &mut self,
        identity: &Identity,
        connection: &Connection,
        in_session: bool,
        request: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let version = connection.negotiated.version;
        let answered = match Header::peek(request).map(|header| header.code) {
            Ok(Code::GET_DIGESTS) => self.get_digests(identity, connection, request),
            Ok(Code::GET_CERTIFICATE) => self.get_certificate(identity, connection, request),
            Ok(Code::CHALLENGE) if !in_session => self.challenge(identity, connection, request),
            Ok(code) => Err(refused(code)),
            Err(error) => Err(error.into()),
        };
        match answered {
            Ok(message) => Ok(message),
            Err(Refused::Ours(error)) => Err(error),
            Err(Refused::Error(code, data)) => Ok(error_msg::Response::new(version, code, data).to_vec()),
            Err(Refused::DataTooLarge(size)) => Ok(data_too_large(version, size)),
        }
    }

    fn get_digests(&mut self, identity: &Identity, connection: &Connection, request: &[u8]) -> Answer {
        let (message, request) = read::<digests::Request>(request, connection)?;
        let held = held(&identity.slots);
        let hashes: Vec<_> = held
            .clone()
            .map(|(_, slot)| connection.digest(&chain::in_hash(&slot.chain, connection)))
            .collect();
        if hashes.is_empty() {
            return Err(refused(Code::GET_DIGESTS));
        }
        let several = connection.context.requester_multi_key;
        let slots = held.zip(&hashes).map(|((number, slot), hash)| digests::Slot {
            number,
            digest: hash.as_ref(),
            key: several.then_some(slot.key),
        });
        let response = digests::Response {
            version: message.version,
            supported: match message.version < Version::V1_3 {
                true => 0,
                false => provisioned(&identity.slots),
            },
            slots: slots.collect(),
        };
        let response = response.to_vec();
        // M1/M2 begins with it; so does a challenge that is begun anew.
        self.m1 = connection.mutual_transcript();
        self.m1.add(request);
        self.m1.add(&response);
        self.digests.get_or_insert_with(|| response.clone());
        Ok(response)
    }

    fn get_certificate(&mut self, identity: &Identity, connection: &Connection, request: &[u8]) -> Answer {
        let (message, request) = read::<certificate::Request>(request, connection)?;
        let slot = holder(&identity.slots, message.slot).ok_or(INVALID)?;
        let chain = chain::in_hash(&slot.chain, connection);
        let (portion, remainder) = portion(&chain, &message, connection)?;
        let several = connection.context.requester_multi_key;
        let response = certificate::Response {
            version: message.version,
            slot: message.slot,
            certificate_info: if several { slot.key.certificate_info } else { 0 },
            large: message.large,
            portion,
            remainder,
        };
        let response = response.to_vec();
        // Digests begin it anew, and a responder asks for no more than the chains after them.
        let told = identity.slots.iter().flatten().map(|slot| slot.chain.len()).sum();
        if !self.m1.has_room(request.len() + response.len(), told) {
            return Err(TOO_MUCH);
        }
        self.m1.add(request);
        self.m1.add(&response);
        Ok(response)
    }

    fn challenge(&mut self, identity: &Identity, connection: &Connection, request: &[u8]) -> Answer {
        let (message, request) = read::<challenge::Request>(request, connection)?;
        // A requester has no measurements to sum up.
        if message.summary != Summary::NONE {
            return Err(INVALID);
        }
        let own = Own::find(identity, message.slot, usage::CHALLENGE, connection).ok_or(INVALID)?;
        let mut nonce = [0; NONCE_SIZE];
        connection.provider.random(&mut nonce)?;
        let mut response = challenge::Response {
            version: message.version,
            slot: own.slot,
            mutual: false,
            slots: provisioned(&identity.slots),
            chain_hash: own.hash.as_ref(),
            nonce,
            summary: None,
            opaque: &[],
            context: message.context,
            signature: &[],
        };
        self.m1.add(request);
        self.m1.add(&response.to_vec());
        let m1 = core::mem::replace(&mut self.m1, connection.mutual_transcript());
        let context = signing::Context::RequesterChallengeAuth;
        let signature = own
            .signer
            .sign(&signing::message(message.version, context, &m1))?;
        response.signature = &signature;
        Ok(response.to_vec())
    }
}

type Answer = Result<Vec<u8>, Refused>;

/// Why there is no answer but an ERROR.
enum Refused {
    Error(ErrorCode, u8),
    /// The chain, of so many bytes, has no place in the form that it is asked for in.
    DataTooLarge(u32),
    /// Our own side fails.
    Ours(CryptoError),
}

const INVALID: Refused = Refused::Error(ErrorCode::INVALID_REQUEST, 0);
const TOO_MUCH: Refused = Refused::Error(ErrorCode::UNSPECIFIED, 0);

fn refused(code: Code) -> Refused {
    Refused::Error(ErrorCode::UNSUPPORTED_REQUEST, code.0)
}

/// Before 1.4 there is no word for it.
fn data_too_large(version: Version, size: u32) -> Vec<u8> {
    let (code, extended) = match version >= Version::V1_4 {
        true => (ErrorCode::DATA_TOO_LARGE, Extended::ActualSize(size)),
        false => (ErrorCode::UNSPECIFIED, Extended::Nothing),
    };
    let message = error_msg::Response {
        extended: &extended.to_vec(),
        ..error_msg::Response::new(version, code, 0)
    };
    message.to_vec()
}

impl From<DecodeError> for Refused {
    fn from(_: DecodeError) -> Self {
        INVALID
    }
}

impl From<CryptoError> for Refused {
    fn from(error: CryptoError) -> Self {
        Self::Ours(error)
    }
}

/// The request and its bytes without what the transport padded the one around it with.
fn read<'a, M: Payload<'a>>(
    request: &'a [u8],
    connection: &Connection,
) -> Result<(M, &'a [u8]), DecodeError> {
    let (message, size) = M::decode(request, &connection.context.encapsulated())?;
    check_padding(request, size)?;
    Ok((message, request.get(..size).unwrap_or_default()))
}

/// The portion of a chain that is asked for, as much of it as the responder takes at once, and how much follows.
fn portion<'c>(
    chain: &'c [u8],
    asked: &certificate::Request,
    connection: &Connection,
) -> Result<(&'c [u8], u32), Refused> {
    let (headers, most) = match asked.large {
        true => (LARGE_HEADERS_SIZE, u32::MAX),
        false => (HEADERS_SIZE, u32::from(u16::MAX)),
    };
    let whole = u32::try_from(chain.len()).map_err(|_| INVALID)?;
    if whole > most {
        return Err(Refused::DataTooLarge(whole));
    }
    if asked.size_asked {
        return Ok((&[], whole));
    }
    let rest = chain.get(asked.offset as usize..).ok_or(INVALID)?;
    let room = connection.reach().room(true);
    let size = rest
        .len()
        .min(asked.length as usize)
        .min(room.saturating_sub(headers));
    if size == 0 {
        return Err(INVALID);
    }
    Ok((&rest[..size], (rest.len() - size) as u32))
}
