//! From the first message to a proven identity.

use super::{
    Event, Goal, Next, State, Trust, session,
    step::{Channel, Exchange, Output},
};
use crate::{
    crypto::{Digest, same},
    spdm::{
        algorithms::Needs,
        chain::Chain,
        connection::{Connection, Negotiated},
        error::Misbehaviour,
        msg::{
            Context, Summary, Version, algorithms,
            capabilities::{self, Flags, Sizes},
            certificate, challenge, digests, version,
        },
        signing,
        transcript::Transcript,
    },
};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

/// Bytes of a chain object: its length field has 16 bits in the versions spoken here.
const CHAIN_SIZE_MAX: usize = 0xffff;

/// Bytes of CERTIFICATE in front of the portion.
const CERTIFICATE_HEADER_SIZE: u32 = 8;

pub(super) fn start(output: &mut Output<'_>) -> State {
    output.ask(Channel::Clear, Duration::ZERO, &version::Request);
    State::Version(ExpectVersion)
}

pub(super) struct ExpectVersion;

impl ExpectVersion {
    pub(super) fn on_response(self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let (message, bytes) = exchange.read::<version::Response>(&Context::new(Version::V1_0))?;
        let wanted = output.versions();
        let Some(version) = message.highest_common(&wanted) else {
            let offered = message.versions.iter().map(|entry| entry.version()).collect();
            return Err(Misbehaviour::NoCommonVersion { offered, wanted }.into());
        };
        let size = output.config.transfer_size;
        let request = capabilities::Request {
            version,
            ct_exponent: 0,
            extended_flags: 0,
            flags: flags(output),
            sizes: Some(Sizes {
                transfer: size,
                message: size,
            }),
            algorithms_asked: false,
        };
        output.ask(Channel::Clear, Duration::ZERO, &request);
        Ok(State::Capabilities(ExpectCapabilities {
            version,
            flags: request.flags,
            vca: [exchange.request, bytes].concat(),
        }))
    }
}

/// What this requester can. It has no certificate of its own.
fn flags(output: &Output<'_>) -> Flags {
    let flags = Flags::ENCRYPT | Flags::MAC | Flags::KEY_EX | Flags::HBEAT | Flags::KEY_UPD;
    match output.config.handshake_in_clear {
        true => flags | Flags::HANDSHAKE_IN_THE_CLEAR,
        false => flags,
    }
}

/// What the responder must be able to do for the configured goal.
fn required(goal: Goal) -> Flags {
    let identity = Flags::CERT | Flags::CHAL;
    match goal {
        Goal::Identity => identity,
        Goal::Session => identity | Flags::KEY_EX | Flags::ENCRYPT | Flags::MAC,
    }
}

pub(super) struct ExpectCapabilities {
    version: Version,
    flags: Flags,
    vca: Vec<u8>,
}

impl ExpectCapabilities {
    pub(super) fn on_response(self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let context = Context::new(self.version);
        let (message, bytes) = exchange.read::<capabilities::Response<'_>>(&context)?;
        let missing = required(output.config.goal).0 & !message.flags.0;
        if missing != 0 {
            return Err(Misbehaviour::MissingCapabilities { missing }.into());
        }
        let request = algorithms::Request {
            version: self.version,
            offer: output.config.offer.to_set(self.version),
        };
        output.ask(Channel::Clear, Duration::ZERO, &request);
        let exponent = message.ct_exponent.min(capabilities::CT_EXPONENT_MAX);
        Ok(State::Algorithms(ExpectAlgorithms {
            version: self.version,
            needs: Needs::of(self.flags, message.flags),
            handshake_in_clear: self.flags.and(message.flags).any(Flags::HANDSHAKE_IN_THE_CLEAR),
            peer_flags: message.flags,
            peer_sizes: message.sizes,
            peer_crypto_time: Duration::from_micros(1 << exponent),
            vca: [&self.vca, exchange.request, bytes].concat(),
        }))
    }
}

pub(super) struct ExpectAlgorithms {
    version: Version,
    needs: Needs,
    handshake_in_clear: bool,
    peer_flags: Flags,
    peer_sizes: Option<Sizes>,
    peer_crypto_time: Duration,
    vca: Vec<u8>,
}

impl ExpectAlgorithms {
    pub(super) fn on_response(self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let context = Context::new(self.version);
        let (message, bytes) = exchange.read::<algorithms::Response<'_>>(&context)?;
        let chosen = output.config.offer.accept(&message, self.needs)?;
        chosen.check_supported(&**output.provider)?;
        let least = capabilities::DATA_TRANSFER_SIZE_MIN;
        let negotiated = Negotiated {
            version: self.version,
            algorithms: chosen,
            peer_flags: self.peer_flags,
            peer_transfer_size: self.peer_sizes.map_or(least, |sizes| sizes.transfer),
            peer_message_size: self.peer_sizes.map_or(least, |sizes| sizes.transfer),
        };
        let connection = Connection {
            provider: output.provider.clone(),
            transport: crate::spdm::transport::Transport::Doe,
            negotiated,
            context: chosen.context(self.version, self.handshake_in_clear),
            vca: [&self.vca, exchange.request, bytes].concat(),
            peer_crypto_time: self.peer_crypto_time,
        };
        output.tell(Event::Connected(negotiated));
        let version = self.version;
        output.ask(Channel::Clear, Duration::ZERO, &digests::Request { version });
        Ok(State::Digests(Box::new(ExpectDigests { connection })))
    }
}

pub(super) struct ExpectDigests {
    connection: Connection,
}

impl ExpectDigests {
    pub(super) fn on_response(self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let (message, bytes) = exchange.read::<digests::Response<'_>>(&self.connection.context)?;
        let slot = output.config.slot;
        let Some(digest) = message.digest(slot).and_then(Digest::new) else {
            let provisioned = message.provisioned();
            return Err(Misbehaviour::EmptySlot { slot, provisioned }.into());
        };
        let mut m1 = self.connection.transcript_from_vca();
        m1.add(exchange.request);
        m1.add(bytes);
        let state = ExpectCertificate {
            connection: self.connection,
            m1,
            digest,
            chain: Vec::new(),
            size: None,
            asked: 0,
        };
        Ok(state.ask_on(output))
    }
}

pub(super) struct ExpectCertificate {
    connection: Connection,
    m1: Transcript,
    /// The chain's, as DIGESTS told.
    digest: Digest,
    /// What has come of the chain.
    chain: Vec<u8>,
    /// The whole chain's size, once the first portion has come.
    size: Option<usize>,
    /// Bytes that the current portion may have at most.
    asked: u32,
}

impl ExpectCertificate {
    fn ask_on(mut self, output: &mut Output<'_>) -> State {
        let room = output
            .config
            .transfer_size
            .saturating_sub(CERTIFICATE_HEADER_SIZE);
        self.asked = room.min(CHAIN_SIZE_MAX as u32);
        let request = certificate::Request {
            version: self.connection.negotiated.version,
            slot: output.config.slot,
            size_asked: false,
            large: false,
            offset: self.chain.len() as u32,
            length: self.asked,
        };
        output.ask(Channel::Clear, Duration::ZERO, &request);
        State::Certificate(Box::new(self))
    }

    pub(super) fn on_response(mut self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let (message, bytes) = exchange.read::<certificate::Response<'_>>(&self.connection.context)?;
        expect("slot of CERTIFICATE", message.slot, output.config.slot)?;
        self.m1.add(exchange.request);
        self.m1.add(bytes);
        let size = self.check_portion(message.portion.len(), message.remainder as usize)?;
        self.size = Some(size);
        self.chain.extend_from_slice(message.portion);
        if self.chain.len() < size {
            return Ok(self.ask_on(output));
        }
        self.complete(output)
    }

    /// A portion is not empty, not more than was asked for, and adds up to the same whole as the first. As none is
    /// empty, there are at most as many as the chain has bytes.
    fn check_portion(&self, portion: usize, remainder: usize) -> Result<usize, Misbehaviour> {
        let asked = self.asked as usize;
        if portion == 0 || portion > asked {
            return Err(Misbehaviour::Portion { portion, asked });
        }
        let what = "size of the certificate chain";
        let size = self.chain.len().saturating_add(portion).saturating_add(remainder);
        if size > CHAIN_SIZE_MAX {
            return Err(inconsistent(what, size, CHAIN_SIZE_MAX));
        }
        match self.size {
            Some(before) if before != size => Err(inconsistent(what, size, before)),
            _ => Ok(size),
        }
    }

    /// The whole chain is there.
    fn complete(self, output: &mut Output<'_>) -> Next {
        let found = self.connection.digest(&self.chain);
        if !same(found.as_ref(), self.digest.as_ref()) {
            return Err(wrong_chain(found, self.digest).into());
        }
        let chain = Chain::decode(&self.chain, &self.connection)?;
        if let Trust::Pinned(roots) = &output.config.roots {
            chain.check_rooted(roots, &self.connection)?;
        }
        let peer = Identified {
            slot: output.config.slot,
            chain_hash: self.digest,
            leaf_key: chain.leaf_key(self.connection.sign_alg()?)?,
            connection: self.connection,
        };
        output.tell(Event::Certificates {
            slot: peer.slot,
            chain: self.chain,
        });
        let request = challenge::Request {
            version: peer.connection.negotiated.version,
            slot: peer.slot,
            summary: Summary::NONE,
            nonce: output.random()?,
            context: None,
        };
        output.ask(Channel::Clear, peer.connection.peer_crypto_time, &request);
        Ok(State::ChallengeAuth(Box::new(ExpectChallengeAuth {
            peer,
            m1: self.m1,
        })))
    }
}

pub(super) struct ExpectChallengeAuth {
    peer: Identified,
    m1: Transcript,
}

impl ExpectChallengeAuth {
    pub(super) fn on_response(mut self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let peer = self.peer;
        let (message, bytes) = exchange.read::<challenge::Response<'_>>(&peer.connection.context)?;
        expect("slot of CHALLENGE_AUTH", message.slot, peer.slot)?;
        let mutual = u8::from(message.mutual);
        expect("mutual authentication in CHALLENGE_AUTH", mutual, 0)?;
        if !same(message.chain_hash, peer.chain_hash.as_ref()) {
            let said = Digest::new(message.chain_hash).unwrap_or(peer.chain_hash);
            return Err(wrong_chain(peer.chain_hash, said).into());
        }
        self.m1.add(exchange.request);
        self.m1.add(peer.connection.unsigned(bytes));
        peer.verify(signing::Context::ChallengeAuth, &self.m1, message.signature)?;
        output.tell(Event::Challenged);
        match output.config.goal {
            Goal::Identity => Ok(State::Identified(Box::new(peer))),
            Goal::Session => session::key_exchange(peer, output),
        }
    }
}

/// A responder whose identity is proven: its chain is known, and it holds the leaf's key.
pub(super) struct Identified {
    pub(super) connection: Connection,
    pub(super) slot: u8,
    pub(super) chain_hash: Digest,
    leaf_key: Vec<u8>,
}

impl Identified {
    pub(super) fn can_measure(&self) -> bool {
        self.connection.negotiated.peer_flags.any(Flags::MEAS_SIG)
    }

    /// Checks a signature by the leaf's key.
    pub(super) fn verify(
        &self,
        context: signing::Context,
        transcript: &Transcript,
        signature: &[u8],
    ) -> Result<(), Misbehaviour> {
        let negotiated = &self.connection.negotiated;
        let message = signing::message(negotiated.version, context, transcript);
        let sign = self.connection.sign_alg()?;
        let provider = &self.connection.provider;
        let verified = provider.verify(sign, &self.leaf_key, &message, signature);
        verified.map_err(|_| Misbehaviour::BadSignature)
    }
}

/// A small field that must have one value.
pub(super) fn expect(what: &'static str, found: u8, wanted: u8) -> Result<(), Misbehaviour> {
    if found == wanted {
        return Ok(());
    }
    Err(inconsistent(what, found.into(), wanted.into()))
}

fn inconsistent(what: &'static str, found: usize, wanted: usize) -> Misbehaviour {
    Misbehaviour::Inconsistent {
        what,
        found: found as u64,
        wanted: wanted as u64,
    }
}

fn wrong_chain(found: Digest, said: Digest) -> Misbehaviour {
    Misbehaviour::WrongDigest {
        what: "the certificate chain",
        found: Box::new(found),
        said: Box::new(said),
    }
}
