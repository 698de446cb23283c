//! GET_CSR and SET_CERTIFICATE: how a device gets certificates of its owner's (DSP0274 1.2 §10).
//!
//! ```text
//!                     GET_CSR, a new one                    the device is reset                 GET_CSR, its tag
//!   device that needs ────────────────► kept under a tag ─────────────────────► may be fetched ─────────────────► CSR
//!   a reset             ResetRequired, tag
//!
//!   SET_CERTIFICATE ─► the chain is checked ─► the device's storage takes it ─► it is in the slot, at once or after a reset
//! ```
//! - A CSR is signed by the device: see [`Csr`]. What the requester wants in it is checked first, and is never written
//!   before its length is known.
//! - A chain has to belong to a key of the device's: the leaf's key must verify what the device's signs. It begins with the
//!   root that its header names, and each certificate must be signed by the one before.
//! - An erased slot keeps its key, and may be filled again.
//! - Slot 0 is the vendor's: it is written in a trusted environment only. The others are written in a session, too.

use super::{Asked, At, INVALID, Refusal, Reply, Responder, Slot, UNEXPECTED};
use crate::{
    crypto::{CryptoError, HashAlg, SignAlg, Signer},
    spdm::{
        chain::Chain,
        msg::{
            Payload, Version, csr,
            digests::Key,
            error::ErrorCode,
            set_certificate::{self, Model},
        },
        opaque,
        pkcs10::{Applicant, RequesterInfo},
    },
};
use alloc::{sync::Arc, vec::Vec};

/// Makes certificate signing requests.
pub trait Csr: Send + Sync {
    /// A PKCS#10 CertificationRequest in DER, of at most 65535 bytes.
    fn request(&self, wanted: &WantedCsr<'_>) -> Result<Vec<u8>, NotDone>;
}

/// What a requester wants a certificate for.
#[derive(Debug, Clone, Copy)]
pub struct WantedCsr<'a> {
    /// The negotiated signature algorithm: the key must be of it.
    pub sign: SignAlg,
    /// The negotiated hash.
    pub hash: HashAlg,
    /// KeyPairID, on a connection with several keys (1.3).
    pub key_pair: Option<u8>,
    /// What the certificate shall say whose it is, on such a connection; otherwise [`Model::NONE`].
    pub model: Model,
    /// What the requester wants in the request.
    pub info: RequesterInfo<'a>,
    /// Opaque data, in the negotiated format.
    pub opaque: &'a [u8],
}

/// Keeps certificate chains over resets.
pub trait Store: Send + Sync {
    /// Writes a slot, or erases it: the chain object, header and root hash included.
    fn write(
        &self,
        slot: u8,
        chain: Option<&[u8]>,
        model: Model,
        key_pair: Option<u8>,
    ) -> Result<(), NotDone>;

    /// Bytes of the largest chain object that a slot has room for, as they are told (SlotSizeRequested, 1.3); 0 if there is no
    /// such slot. To refuse a larger one is up to [`Self::write`].
    fn capacity(&self, _slot: u8) -> u32 {
        CAPACITY
    }
}

/// The most that every version can tell.
const CAPACITY: u32 = u16::MAX as u32;

/// Why a device has not done what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// It is occupied; the requester may try again.
    #[error("the device is busy")]
    Busy,
    /// It never does this.
    #[error("the device does not do this")]
    Refused,
    /// It should have, and could not.
    #[error("the device failed")]
    Failed,
}

impl From<NotDone> for Refusal {
    fn from(not_done: NotDone) -> Self {
        Self::new(match not_done {
            NotDone::Busy => ErrorCode::BUSY,
            NotDone::Refused => ErrorCode::INVALID_REQUEST,
            NotDone::Failed => ErrorCode::OPERATION_FAILED,
        })
    }
}

impl From<CryptoError> for NotDone {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::Unsupported(_) => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// What can be provisioned.
#[derive(Clone, Default)]
pub struct Provisioning {
    /// Who makes certificate signing requests (CSR_CAP).
    pub csr: Option<Arc<dyn Csr>>,
    /// Who keeps certificate chains that are set (SET_CERT_CAP).
    pub store: Option<Arc<dyn Store>>,
    /// Whether what was asked for is there after a reset only (CERT_INSTALL_RESET_CAP).
    pub after_reset: bool,
    /// Whether the device is where only its vendor or owner can speak to it: slot 0 may be written, and others in clear.
    pub trusted_environment: bool,
}

/// What there is to provision, and what was.
#[derive(Default)]
pub(super) struct Provisioned {
    /// The device's keys by key pair, whatever becomes of the slots that they came with.
    keys: Vec<(u8, Arc<dyn Signer>)>,
    /// Requests that were made and wait for a reset, or to be fetched after it: by tag, of which 0 is 1.2's, which has none.
    requests: [Option<Kept>; TAGS],
    /// Slots whose chains count after the next reset; those without one are erased.
    slots: Vec<(u8, Option<Slot>)>,
}

struct Kept {
    csr: Vec<u8>,
    ready: bool,
}

/// CSRTrackingTag has three bits.
const TAGS: usize = 8;

// GET_CSR

impl Responder {
    pub(super) fn get_csr(&mut self, asked: Asked<'_>) -> Reply {
        let (message, _) = self.read::<csr::Request<'_>>(asked)?;
        let wanted = self.wanted_csr(&message)?;
        let after_reset = self.config.provisioning.after_reset;
        if message.tag != 0 && (message.overwrite || !after_reset) {
            return Err(INVALID);
        }
        if after_reset && let Some(kept) = self.kept(asked.at, &message)? {
            return Ok(Some(response(message.version, &kept)));
        }
        let maker = self.config.provisioning.csr.as_ref().ok_or(UNEXPECTED)?;
        let made = maker.request(&wanted)?;
        if made.is_empty() || made.len() > usize::from(u16::MAX) {
            return Err(NotDone::Failed.into());
        }
        if !after_reset {
            return Ok(Some(response(message.version, &made)));
        }
        let tag = self.provisioned.keep(message.version, message.overwrite, made)?;
        Err(reset_required(tag))
    }

    fn wanted_csr<'a>(&self, message: &csr::Request<'a>) -> Result<WantedCsr<'a>, Refusal> {
        let negotiated = &self.phase.agreed().ok_or(UNEXPECTED)?.connection.negotiated;
        let model = Model(message.model);
        let key_pair = self.check_key_pair(message.key_pair, model)?;
        if !message.opaque.is_empty() {
            opaque::check(
                negotiated.version,
                negotiated.algorithms.other_params,
                message.opaque,
            )?;
        }
        Ok(WantedCsr {
            sign: negotiated.algorithms.sign.ok_or(UNEXPECTED)?,
            hash: negotiated.algorithms.hash,
            key_pair,
            model,
            info: RequesterInfo::decode(message.info)?,
            opaque: message.opaque,
        })
    }

    /// With several keys a request says which and what for; with one it says neither.
    fn check_key_pair(&self, key_pair: u8, model: Model) -> Result<Option<u8>, Refusal> {
        let context = &self.phase.agreed().ok_or(UNEXPECTED)?.connection.context;
        let models = [Model::DEVICE, Model::ALIAS, Model::GENERIC];
        match context.multi_key {
            true if key_pair != 0 && models.contains(&model) => Ok(Some(key_pair)),
            false if key_pair == 0 && model == Model::NONE => Ok(None),
            _ => Err(INVALID),
        }
    }

    /// The request that a tag, or in 1.2 the only one, names: once it may be fetched, it is, if the requester can take it.
    fn kept(&mut self, at: At, message: &csr::Request<'_>) -> Result<Option<Vec<u8>>, Refusal> {
        if message.tag == 0 && message.version >= Version::V1_3 {
            return Ok(None);
        }
        let place = self
            .provisioned
            .requests
            .get_mut(usize::from(message.tag))
            .ok_or(INVALID)?;
        if let Some(kept) = place.as_ref().filter(|kept| kept.ready) {
            let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
            agreed.check_fits(at, response(message.version, &kept.csr).len())?;
        }
        match place.take() {
            Some(kept) if kept.ready => Ok(Some(kept.csr)),
            None if message.tag == 0 => Ok(None),
            None => Err(INVALID),
            waiting => {
                *place = waiting;
                Err(reset_required(message.tag))
            }
        }
    }
}

impl Provisioned {
    /// Of a device that has these slots.
    pub(super) fn new(slots: &[Option<Slot>; 8]) -> Self {
        let keys = slots
            .iter()
            .flatten()
            .map(|slot| (slot.key.pair, slot.signer.clone()));
        Self {
            keys: keys.collect(),
            ..Self::default()
        }
    }

    /// A key pair's first key is there no more.
    pub(super) fn forget_key(&mut self, pair: u8) {
        self.keys.retain(|(own, _)| *own != pair);
    }

    /// Keeps a request until a reset; its tag.
    fn keep(&mut self, version: Version, overwrite: bool, csr: Vec<u8>) -> Result<u8, Refusal> {
        if overwrite {
            self.requests = Default::default();
        }
        let tags = if version >= Version::V1_3 { 1..TAGS } else { 0..1 };
        let mut free = tags.filter(|tag| self.requests.get(*tag).is_some_and(Option::is_none));
        let tag = free.next().ok_or(Refusal::new(ErrorCode::BUSY))?;
        if let Some(place) = self.requests.get_mut(tag) {
            *place = Some(Kept { csr, ready: false });
        }
        Ok(tag as u8)
    }

    /// Keeps what a slot shall hold after a reset: the last word of it counts, and no other is kept.
    fn put_after_reset(&mut self, number: u8, slot: Option<Slot>) {
        self.slots.retain(|(other, _)| *other != number);
        self.slots.push((number, slot));
    }

    /// The device was reset: what waited for that is done, and the slots that have changed are told.
    pub(super) fn reset(&mut self) -> Vec<(u8, Option<Slot>)> {
        self.requests
            .iter_mut()
            .flatten()
            .for_each(|kept| kept.ready = true);
        core::mem::take(&mut self.slots)
    }
}

fn response(version: Version, csr: &[u8]) -> Vec<u8> {
    csr::Response { version, csr }.to_vec()
}

fn reset_required(tag: u8) -> Refusal {
    Refusal {
        data: tag,
        ..Refusal::new(ErrorCode::RESET_REQUIRED)
    }
}

/// Certificate signing requests by a key in memory.
pub struct KeyCsr<S> {
    /// The private key.
    pub signer: S,
    /// Its public key, as [`Provider::verify`](crate::crypto::Provider::verify) takes it.
    pub public_key: Vec<u8>,
    /// The device's name, as [`common_name`](crate::spdm::pkcs10::common_name) makes one.
    pub name: Vec<u8>,
}

impl<S: Signer> Csr for KeyCsr<S> {
    fn request(&self, wanted: &WantedCsr<'_>) -> Result<Vec<u8>, NotDone> {
        if self.signer.algorithm() != wanted.sign {
            return Err(NotDone::Refused);
        }
        let applicant = Applicant {
            signer: &self.signer,
            public_key: &self.public_key,
            name: &self.name,
        };
        Ok(applicant.request(wanted.hash, &wanted.info)?)
    }
}

// SET_CERTIFICATE

impl Responder {
    pub(super) fn set_certificate(&mut self, asked: Asked<'_>) -> Reply {
        let (message, _) = self.read::<set_certificate::Request<'_>>(asked)?;
        self.check_may_write(asked.at, message.slot)?;
        let store = self.config.provisioning.store.clone().ok_or(UNEXPECTED)?;
        if store.capacity(message.slot) == 0 {
            return Err(INVALID);
        }
        let key_pair = match message.chain {
            Some(_) => self.check_key_pair(message.key_pair, message.model)?,
            None => self.check_erased(&message)?,
        };
        let slot = match message.chain {
            Some(chain) => Some(self.check_chain(&message, chain)?),
            None => None,
        };
        store.write(message.slot, message.chain, message.model, key_pair)?;
        if self.config.provisioning.after_reset {
            self.provisioned.put_after_reset(message.slot, slot);
            return Err(reset_required(0));
        }
        self.put_slot(message.slot, slot);
        let response = set_certificate::Response {
            version: message.version,
            slot: message.slot,
        };
        Ok(Some(response.to_vec()))
    }

    fn check_may_write(&self, at: At, slot: u8) -> Result<(), Refusal> {
        let trusted = self.config.provisioning.trusted_environment;
        match trusted || slot != 0 && at != At::Clear {
            true => Ok(()),
            false => Err(UNEXPECTED),
        }
    }

    fn check_erased(&self, message: &set_certificate::Request<'_>) -> Result<Option<u8>, Refusal> {
        if message.model != Model::NONE {
            return Err(INVALID);
        }
        // Of the model nothing is said, so that only the key pair is checked.
        let model = match message.key_pair {
            0 => Model::NONE,
            _ => Model::GENERIC,
        };
        self.check_key_pair(message.key_pair, model)
    }

    /// What the slot holds from then on: a chain that hangs together, and ends in a key that the device has.
    fn check_chain(&self, message: &set_certificate::Request<'_>, chain: &[u8]) -> Result<Slot, Refusal> {
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let connection = &agreed.connection;
        let decoded = Chain::decode(chain, connection).map_err(|_| INVALID)?;
        decoded.check_linked(connection).map_err(|_| INVALID)?;
        let owner = self.owner_of(message).ok_or(INVALID)?;
        let leaf = decoded.leaf_key(owner.signer.algorithm()).map_err(|_| INVALID)?;
        self.check_owns(&*owner.signer, &leaf)?;
        Ok(Slot {
            chain: chain.to_vec(),
            key: Key {
                certificate_info: message.model.0,
                ..owner.key
            },
            ..owner
        })
    }

    /// The key that a new chain is for, as a slot without a chain: that of the key pair asked for, or else the slot's own, or
    /// else the first.
    fn owner_of(&self, message: &set_certificate::Request<'_>) -> Option<Slot> {
        let own = self.config.slots.get(usize::from(message.slot))?;
        match (message.key_pair, own) {
            (0, Some(own)) if self.config.has_key(own) => Some(Slot {
                chain: Vec::new(),
                ..own.clone()
            }),
            (0, _) => {
                let (pair, signer) = self.provisioned.keys.first()?;
                Some(Slot::of_pair(*pair, signer.clone()))
            }
            (pair, _) => Some(Slot::of_pair(pair, self.signer_of(pair)?)),
        }
    }

    /// Who signs with a key pair: whoever changes key pairs says, or it was there from the beginning.
    fn signer_of(&self, pair: u8) -> Option<Arc<dyn Signer>> {
        let pairs = self.config.key_pairs.as_ref();
        let changer = pairs.and_then(|pairs| pairs.changer.as_ref());
        let first = || {
            let mut keys = self.provisioned.keys.iter();
            keys.find(|(own, _)| *own == pair)
                .map(|(_, signer)| signer.clone())
        };
        changer.and_then(|changer| changer.signer(pair)).or_else(first)
    }

    /// A signature by the device's key must verify with the certificate's.
    fn check_owns(&self, signer: &dyn Signer, public_key: &[u8]) -> Result<(), Refusal> {
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        let challenge: [u8; 32] = self.random()?;
        let what = crate::crypto::Signable::plain(agreed.connection.negotiated.algorithms.hash, &challenge);
        let signature = signer.sign(&what)?;
        let verified = self
            .provider
            .verify(signer.algorithm(), public_key, &what, &signature);
        verified.map_err(|_| INVALID)
    }

    /// The slot's new chain counts from now on, or it holds none any more: its key stays.
    pub(super) fn put_slot(&mut self, number: u8, slot: Option<Slot>) {
        let Some(place) = self.config.slots.get_mut(usize::from(number)) else {
            return;
        };
        match slot {
            Some(slot) => {
                let pairs = self.config.key_pairs.iter_mut();
                pairs.for_each(|pairs| pairs.associate(slot.key.pair, number));
                *place = Some(slot);
            }
            None => place.iter_mut().for_each(|slot| slot.chain.clear()),
        }
        self.certificate_changed(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_set_again_and_again_before_a_reset_is_kept_once() {
        let mut provisioned = Provisioned::default();
        for number in (0..200).map(|n| n % 8) {
            provisioned.put_after_reset(number, None);
        }
        assert_eq!(provisioned.reset().len(), 8);
    }
}
