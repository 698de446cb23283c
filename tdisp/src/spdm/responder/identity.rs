//! GET_DIGESTS and GET_CERTIFICATE, in clear and in a session; CHALLENGE, in clear.

use super::{
    Asked, At, Extended, INVALID, Refusal, Reply, Responder, Slot, UNEXPECTED, held, holder, provisioned,
    usage,
};
use crate::{
    crypto::{Digest, Signer},
    spdm::{
        chain,
        connection::Connection,
        msg::{
            Code, Payload, SLOT_PUBLIC_KEY, Version, capabilities::Flags, certificate, challenge, digests,
            error::ErrorCode, key_exchange::Mutual,
        },
        signing,
    },
};
use alloc::{sync::Arc, vec::Vec};

/// Bytes of CERTIFICATE in front of the portion, and of its large form.
const HEADER_SIZE: usize = 8;
const LARGE_HEADER_SIZE: usize = 16;

/// What stands for the provisioned key where a slot has four bits.
pub(super) const PUBLIC_KEY: u8 = 0x0f;

/// Who signs.
pub(super) struct Identity {
    /// The slot as four bits.
    pub(super) slot: u8,
    /// Digest of the chain object or of the provisioned key.
    pub(super) hash: Digest,
    pub(super) signer: Arc<dyn Signer>,
}

impl Responder {
    pub(super) fn get_digests(&mut self, asked: Asked<'_>) -> Reply {
        let (message, request) = self.read::<digests::Request>(asked)?;
        let agreed = self.phase.agreed_mut().ok_or(UNEXPECTED)?;
        let connection = &agreed.connection;
        let held = held(&self.config.slots);
        let hashes: Vec<_> = held
            .clone()
            .map(|(_, slot)| connection.digest(&chain::in_hash(&slot.chain, connection)))
            .collect();
        if hashes.is_empty() {
            return Err(Refusal::new(ErrorCode::UNSPECIFIED));
        }
        let several = connection.context.multi_key;
        let slots = held.zip(&hashes).map(|((number, slot), hash)| digests::Slot {
            number,
            digest: hash.as_ref(),
            key: several.then(|| self.config.key_of(number, slot)),
        });
        let response = digests::Response {
            version: message.version,
            supported: match message.version < Version::V1_3 {
                true => 0,
                false => self.config.supported_slots(message.version),
            },
            slots: slots.collect(),
        };
        let response = response.to_vec();
        agreed.check_fits(asked.at, response.len())?;
        if asked.at == At::Clear {
            agreed.add_to_m1([request, &response], told(&self.config.slots))?;
            if several && agreed.digests.is_none() {
                agreed.digests = Some(response.clone());
            }
        }
        Ok(Some(response))
    }

    pub(super) fn get_certificate(&mut self, asked: Asked<'_>) -> Reply {
        let (message, request) = self.read::<certificate::Request>(asked)?;
        // The large form is a capability of its own (1.4).
        if message.large && !self.config.flags(message.version).contains(Flags::LARGE_RESPONSE) {
            return Err(Refusal::unsupported(Code::GET_CERTIFICATE));
        }
        let agreed = self.phase.agreed_mut().ok_or(UNEXPECTED)?;
        let slot = holder(&self.config.slots, message.slot);
        let connection = &agreed.connection;
        let room = room(connection, asked.at, message.large);
        let chain = slot.map(|slot| chain::in_hash(&slot.chain, connection));
        let (portion, mut remainder) = portion(chain.as_deref().unwrap_or_default(), &message, room)?;
        if message.size_asked {
            let size = self.config.slot_size(message.version, message.slot);
            remainder = size.ok_or(INVALID)?;
        }
        let several = agreed.connection.context.multi_key;
        let response = certificate::Response {
            version: message.version,
            slot: message.slot,
            certificate_info: slot
                .filter(|_| several)
                .map_or(0, |slot| slot.key.certificate_info),
            large: message.large,
            portion,
            remainder,
        };
        let response = response.to_vec();
        if asked.at == At::Clear {
            agreed.add_to_m1([request, &response], told(&self.config.slots))?;
        }
        Ok(Some(response))
    }

    pub(super) fn challenge(&mut self, asked: Asked<'_>) -> Reply {
        let nonce = self.random()?;
        let (message, request) = self.read::<challenge::Request>(asked)?;
        let identity = self.identity(message.slot, usage::CHALLENGE)?;
        let summary = self.summary(message.summary)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let in_turn = self.challenge_in_turn(&agreed.connection)?;
        let agreed = self.phase.agreed_mut().ok_or(UNEXPECTED)?;
        let mut response = challenge::Response {
            version: message.version,
            slot: identity.slot,
            mutual: in_turn.is_some(),
            slots: provisioned(&self.config.slots),
            chain_hash: identity.hash.as_ref(),
            nonce,
            summary: summary.as_ref().map(AsRef::as_ref),
            opaque: &[],
            context: message.context,
            signature: &[],
        };
        let unsigned = response.to_vec();
        agreed.check_fits(
            asked.at,
            unsigned.len() + agreed.connection.context.signature_size,
        )?;
        let mut m1 = agreed.take_m1();
        m1.add(request);
        m1.add(&unsigned);
        let to_sign = signing::message(message.version, signing::Context::ChallengeAuth, &m1);
        let signature = identity.signer.sign(&to_sign)?;
        response.signature = &signature;
        let response = response.to_vec();
        if let Some(asking) = in_turn {
            self.begin_authentication(At::Clear, None, asking, Mutual::NONE);
        }
        Ok(Some(response))
    }

    /// Who signs for a slot, or with [`SLOT_PUBLIC_KEY`] (or [`PUBLIC_KEY`]) for none: there must be a key for that use, and
    /// of the negotiated algorithm.
    pub(super) fn identity(&self, slot: u8, usage: u16) -> Result<Identity, Refusal> {
        let connection = &self.phase.agreed().ok_or(UNEXPECTED)?.connection;
        if matches!(slot, SLOT_PUBLIC_KEY | PUBLIC_KEY) {
            let key = self.config.public_key.as_ref().ok_or(INVALID)?;
            return Identity::new(connection, PUBLIC_KEY, &key.key, &key.signer);
        }
        let held = holder(&self.config.slots, slot).ok_or(INVALID)?;
        let wanted = connection.context.multi_key.then_some(usage);
        if !self.config.may_sign(slot, held, wanted) {
            return Err(INVALID);
        }
        let chain = chain::in_hash(&held.chain, connection);
        Identity::new(connection, slot, &chain, &held.signer)
    }

    pub(super) fn random<const N: usize>(&self) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        self.provider.random(&mut bytes)?;
        Ok(bytes)
    }
}

impl Identity {
    fn new(
        connection: &Connection,
        slot: u8,
        bytes: &[u8],
        signer: &Arc<dyn Signer>,
    ) -> Result<Self, Refusal> {
        if connection.negotiated.algorithms.sign != Some(signer.algorithm()) {
            return Err(INVALID);
        }
        Ok(Self {
            slot,
            hash: connection.digest(bytes),
            signer: Arc::clone(signer),
        })
    }
}

/// Bytes of all chains.
fn told(slots: &[Option<Slot>; 8]) -> usize {
    held(slots).map(|(_, slot)| slot.chain.len()).sum()
}

/// Bytes of the largest portion: where chunks are agreed on, what is asked for comes whole.
fn room(connection: &Connection, at: At, large: bool) -> usize {
    let room = connection.reach().most(at != At::Clear);
    room.saturating_sub(if large { LARGE_HEADER_SIZE } else { HEADER_SIZE })
}

/// The portion of a chain that is asked for, as much of it as there is room for, and how much follows.
fn portion<'c>(
    chain: &'c [u8],
    asked: &certificate::Request,
    room: usize,
) -> Result<(&'c [u8], u32), Refusal> {
    let most = if asked.large {
        u32::MAX
    } else {
        u32::from(u16::MAX)
    };
    // A chain whose rest 16 bits cannot tell has the large form alone.
    let whole = u32::try_from(chain.len()).map_err(|_| INVALID)?;
    if whole > most {
        return Err(Refusal {
            extended: Extended::ActualSize(whole),
            ..Refusal::new(ErrorCode::DATA_TOO_LARGE)
        });
    }
    if asked.size_asked {
        return Ok((&[], whole));
    }
    let rest = chain.get(asked.offset as usize..).ok_or(INVALID)?;
    let size = rest.len().min(asked.length as usize).min(room);
    if size == 0 {
        return Err(INVALID);
    }
    Ok((&rest[..size], (rest.len() - size) as u32))
}
