//! How a device gets certificates of its owner's, and its key pairs (DSP0274 1.2 and 1.3 §10).

use super::{
    Event,
    identify::expect,
    inquiry::Inquiry,
    link::Peer,
    step::{Exchange, Fault},
};
use crate::spdm::msg::{
    Payload, csr,
    key_pair_info::{self, Abilities, Usage},
    set_certificate::{self, Model},
    set_key_pair_info::{self, Desired, Operation},
};
use crate::wire::Write;
use alloc::vec::Vec;

/// A certificate signing request that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CsrWish {
    /// What shall be in it: a PKCS#10 CertificationRequestInfo in DER, or nothing.
    pub info: Vec<u8>,
    /// Opaque data, in the negotiated format; at most 1024 bytes.
    pub opaque: Vec<u8>,
    /// KeyPairID, on a connection with several keys (1.3); 0 on others.
    pub key_pair: u8,
    /// CSRCertModel, as [`Model`], on such a connection; 0 on others.
    pub model: u8,
    /// The tag that came with ResetRequired, once the device was reset (1.3); 0 for a new request.
    pub tag: u8,
    /// Whether the device may forget requests that wait for a reset (1.3).
    pub overwrite: bool,
}

impl Inquiry for CsrWish {
    fn request(&mut self, peer: &Peer, _: usize) -> Result<Vec<u8>, Fault> {
        let request = csr::Request {
            version: peer.connection.negotiated.version,
            key_pair: self.key_pair,
            model: self.model,
            tag: self.tag,
            overwrite: self.overwrite,
            info: &self.info,
            opaque: &self.opaque,
        };
        Ok(request.to_vec())
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        let (message, _) = exchange.read::<csr::Response<'_>>(&peer.connection.context)?;
        Ok(Some(Event::Csr(message.csr.to_vec())))
    }
}

/// What a slot shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotWish {
    /// The slot, 0 to 7.
    pub slot: u8,
    /// The chain object, as [`Chain`](crate::spdm::msg::certificate::Chain) writes one; `None` to erase the slot (1.3).
    pub chain: Option<Vec<u8>>,
    /// What the chain says whose it is, on a connection with several keys (1.3); [`Model::NONE`] on others.
    pub model: Model,
    /// KeyPairID, on such a connection; 0 on others.
    pub key_pair: u8,
}

impl Inquiry for SlotWish {
    fn request(&mut self, peer: &Peer, _: usize) -> Result<Vec<u8>, Fault> {
        let request = set_certificate::Request {
            version: peer.connection.negotiated.version,
            slot: self.slot,
            model: self.model,
            key_pair: self.key_pair,
            chain: self.chain.as_deref(),
        };
        Ok(request.to_vec())
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        let (message, _) = exchange.read::<set_certificate::Response>(&peer.connection.context)?;
        expect("slot of SET_CERTIFICATE_RSP", message.slot, self.slot)?;
        Ok(Some(Event::CertificateSet { slot: self.slot }))
    }
}

/// What a key pair of the responder's is and can be, as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPairInfo {
    /// Its ID, from 1 on.
    pub id: u8,
    /// How many key pairs there are.
    pub total: u8,
    /// What may be done with it.
    pub abilities: Abilities,
    /// What it may be used for.
    pub usages: Usage,
    /// What it is used for.
    pub usage: Usage,
    /// The algorithms that it may have: bits of [`key_algorithm`](crate::spdm::msg::key_pair_info::key_algorithm).
    pub algorithms: u32,
    /// The algorithm that it has.
    pub algorithm: u32,
    /// The post-quantum algorithms that it may have (1.4).
    pub pqc_algorithms: u32,
    /// The post-quantum algorithm that it has (1.4).
    pub pqc_algorithm: u32,
    /// The slots that it goes with, one bit each.
    pub slots: u8,
    /// The DER AlgorithmIdentifier of its public key.
    pub public_key_info: Vec<u8>,
}

/// The question for a key pair.
pub(super) struct GetKeyPair {
    pub(super) id: u8,
}

impl Inquiry for GetKeyPair {
    fn request(&mut self, peer: &Peer, _: usize) -> Result<Vec<u8>, Fault> {
        let request = key_pair_info::Request {
            version: peer.connection.negotiated.version,
            key_pair: self.id,
        };
        Ok(request.to_vec())
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        let (message, _) = exchange.read::<key_pair_info::Response<'_>>(&peer.connection.context)?;
        expect("key pair ID of KEY_PAIR_INFO", message.key_pair, self.id)?;
        Ok(Some(Event::KeyPairInfo(KeyPairInfo {
            id: message.key_pair,
            total: message.total,
            abilities: message.abilities,
            usages: message.usages,
            usage: message.usage,
            algorithms: message.algorithms,
            algorithm: message.algorithm,
            pqc_algorithms: key_pair_info::mask(message.pqc_algorithms)?,
            pqc_algorithm: key_pair_info::mask(message.pqc_algorithm)?,
            slots: message.slots,
            public_key_info: message.public_key_info.to_vec(),
        })))
    }
}

/// What a key pair shall be. 0 leaves a field as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPairWish {
    /// Its ID, from 1 on.
    pub id: u8,
    /// What to do with it.
    pub operation: Operation,
    /// What it is used for.
    pub usage: Usage,
    /// Its algorithm: at most one bit of [`key_algorithm`](crate::spdm::msg::key_pair_info::key_algorithm).
    pub algorithm: u32,
    /// Its post-quantum algorithm (1.4), as in NEGOTIATE_ALGORITHMS.
    pub pqc_algorithm: u32,
    /// The slots that it goes with, one bit each.
    pub slots: u8,
}

impl Inquiry for KeyPairWish {
    fn request(&mut self, peer: &Peer, _: usize) -> Result<Vec<u8>, Fault> {
        let mut pqc_algorithm = Vec::new();
        pqc_algorithm.u32(self.pqc_algorithm);
        let desired = Desired {
            usage: self.usage,
            algorithm: self.algorithm,
            slots: self.slots,
            pqc_algorithm: &pqc_algorithm,
        };
        let request = set_key_pair_info::Request {
            version: peer.connection.negotiated.version,
            operation: self.operation,
            key_pair: self.id,
            desired: (self.operation != Operation::ERASE).then_some(desired),
        };
        Ok(request.to_vec())
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        exchange.read::<set_key_pair_info::Response>(&peer.connection.context)?;
        Ok(Some(Event::KeyPairSet { id: self.id }))
    }
}
