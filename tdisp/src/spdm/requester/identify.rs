//! From the first message to a proven identity.

use super::{
    Event, Goal, Trust,
    link::{Identity, Link, Peer},
    mutual,
    operation::{Expect, Next},
    psk, session,
    step::{Channel, Exchange, Output},
};
use crate::{
    crypto::{
        Digest, same,
        x509::{self, path::Role},
    },
    spdm::{
        ability,
        algorithms::{MULTI_KEY, Needs, Offer},
        chain::Chain,
        connection::{Connection, Negotiated, Own, Reach},
        encapsulated::check_slot_held,
        error::Misbehaviour,
        msg::{
            Context, RequesterContext, SLOT_PUBLIC_KEY, Version, algorithms,
            capabilities::{self, Flags, Sizes},
            certificate, challenge, digests,
            key_exchange::Mutual,
            mel, version,
        },
        portions::Portions,
        responder::usage,
        signing,
    },
};
use alloc::{boxed::Box, format, vec::Vec};
use core::time::Duration;

/// What stands for a provisioned key where a slot has four bits.
const PUBLIC_KEY: u8 = 0x0f;

pub(super) fn start(output: &mut Output<'_>) -> Next {
    output.ask(Channel::Clear, Duration::ZERO, &version::Request);
    Ok(Some(ExpectVersion.into()))
}

pub(super) struct ExpectVersion;

impl Expect for ExpectVersion {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let (message, bytes) = exchange.read::<version::Response>(&Context::new(Version::V1_0))?;
        let wanted = &output.config.versions;
        let Some(version) = message.highest_common(wanted) else {
            let offered = message.versions.iter().map(|entry| entry.version()).collect();
            let wanted = wanted.clone();
            return Err(Misbehaviour::NoCommonVersion { offered, wanted }.into());
        };
        let flags = output.config.flags(version);
        let transfer = output.config.transfer_size;
        let in_chunks = output.config.chunk.filter(|_| flags.contains(Flags::CHUNK));
        let request = capabilities::Request {
            version,
            ct_exponent: 0,
            extended_flags: 0,
            flags,
            sizes: Some(Sizes {
                transfer,
                message: in_chunks.unwrap_or(transfer).max(transfer),
            }),
            algorithms_asked: output.config.supported_asked
                && version >= Version::V1_3
                && flags.contains(Flags::CHUNK),
        };
        // Whatever the responder takes, it gives its algorithms in chunks if they are many.
        link.reach = Some(Reach::before_capabilities(version, flags, own(output)));
        output.ask(Channel::Clear, Duration::ZERO, &request);
        let expect = ExpectCapabilities {
            version,
            flags: request.flags,
            supported_asked: request.algorithms_asked,
            vca: [exchange.request, bytes].concat(),
        };
        Ok(Some(expect.into()))
    }
}

fn own(output: &Output<'_>) -> Own {
    Own {
        transfer_size: output.config.transfer_size,
        transport: output.config.transport,
    }
}

/// What the responder must be able to do for the configured goal.
fn required(output: &Output<'_>, version: Version) -> Flags {
    let config = output.config;
    let identity = match (&config.public_key, config.challenge) {
        (None, true) => Flags::CERT | Flags::CHAL,
        (None, false) => Flags::CERT,
        (Some(_), true) => Flags::PUB_KEY_ID | Flags::CHAL,
        (Some(_), false) => Flags::PUB_KEY_ID,
    };
    // A requester that does not encrypt does not need a responder that does.
    let protects = config.flags(version).and(Flags::ENCRYPT | Flags::MAC);
    let session = Flags::KEY_EX | protects;
    match config.goal {
        Goal::Connection => Flags(0),
        Goal::Identity => identity,
        Goal::Session => identity | session,
        Goal::PskSession => protects,
    }
}

pub(super) struct ExpectCapabilities {
    version: Version,
    flags: Flags,
    /// Whether the answer may list the responder's algorithms.
    supported_asked: bool,
    vca: Vec<u8>,
}

impl Expect for ExpectCapabilities {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let version = self.version;
        let context = Context {
            algorithms_asked: self.supported_asked,
            ..Context::new(version)
        };
        let (message, bytes) = exchange.read::<capabilities::Response<'_>>(&context)?;
        let peer_flags = message.flags.and(ability::known(version));
        let missing = required(output, version).0 & !peer_flags.0;
        if missing != 0 {
            return Err(Misbehaviour::MissingCapabilities { missing }.into());
        }
        if let Some(block) = message.algorithms {
            expect(
                "supported algorithms that nobody asked for",
                1,
                self.supported_asked.into(),
            )?;
            algorithms::Request::of_supported_block(version, block)?;
            let block = block.to_vec();
            output.tell(Event::Supported { version, block });
        }
        let several = version >= Version::V1_3 && wants_several(output, peer_flags);
        let offer = offer(output, several);
        let request = algorithms::Request {
            version,
            offer: offer.to_set(version),
        };
        output.ask(Channel::Clear, Duration::ZERO, &request);
        let exponent = message.ct_exponent.min(capabilities::CT_EXPONENT_MAX);
        let reach = Reach::new(version, self.flags.and(peer_flags), message.sizes, own(output));
        link.reach = Some(reach);
        let expect = ExpectAlgorithms {
            offer,
            several,
            flags: self.flags,
            peer_flags,
            reach,
            peer_crypto_time: Duration::from_micros(1 << exponent),
            vca: [&self.vca, exchange.request, bytes].concat(),
        };
        Ok(Some(expect.into()))
    }
}

/// Several keys are asked for of who has them only so, and of who can if the configuration wants them (1.3).
fn wants_several(output: &Output<'_>, peer: Flags) -> bool {
    peer.any(Flags::MULTI_KEY_MASK) && peer.multi_key(output.config.multi_key)
}

/// What is offered: of the configuration's offer what the provider can do.
fn offer(output: &Output<'_>, several: bool) -> Offer {
    let mut offer = output.config.offer.clone().of_requester(&**output.provider);
    if several {
        offer.other_params |= MULTI_KEY;
    }
    // A log in another format could not be read.
    offer.mel_specification = mel::SPECIFICATION_DMTF;
    offer
}

pub(super) struct ExpectAlgorithms {
    offer: Offer,
    several: bool,
    flags: Flags,
    peer_flags: Flags,
    reach: Reach,
    peer_crypto_time: Duration,
    vca: Vec<u8>,
}

impl Expect for ExpectAlgorithms {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let version = self.reach.version;
        let (message, bytes) = exchange.read::<algorithms::Response<'_>>(&Context::new(version))?;
        let needs = Needs::of(self.flags, self.peer_flags);
        // The bit says something else here than there: whether the requester shall use several keys.
        let mut offer = self.offer;
        offer.other_params &= !MULTI_KEY;
        if self.flags.any(Flags::MULTI_KEY_MASK) {
            offer.other_params |= MULTI_KEY;
        }
        let chosen = offer.accept(&message, needs)?;
        chosen.check_supported(&**output.provider)?;
        let negotiated = Negotiated {
            version,
            algorithms: chosen,
            peer_flags: self.peer_flags,
            peer_transfer_size: self.reach.sizes.transfer,
            peer_message_size: self.reach.sizes.message,
        };
        let both = self.flags.and(self.peer_flags);
        let mut context = chosen.context(version, both.any(Flags::HANDSHAKE_IN_THE_CLEAR));
        context.multi_key = self.several;
        context.requester_multi_key = self.flags.multi_key(chosen.other_params & MULTI_KEY != 0);
        let connection = Connection {
            provider: output.provider.clone(),
            transport: output.config.transport,
            negotiated,
            own_flags: self.flags,
            records_max: output.config.records_max,
            context,
            vca: [&self.vca, exchange.request, bytes].concat(),
            peer_crypto_time: self.peer_crypto_time,
        };
        link.peer = Some(Box::new(Peer::new(connection)));
        output.tell(Event::Connected(negotiated));
        identify(link, output)
    }
}

/// Who the responder is: by its certificates, or by the key that was provisioned.
fn identify(link: &mut Link, output: &mut Output<'_>) -> Next {
    if matches!(output.config.goal, Goal::Connection | Goal::PskSession) {
        return proceed(link, output);
    }
    let peer = link.peer_mut()?;
    if let Some(provisioned) = &output.config.public_key {
        let alg = peer.connection.sign_alg()?;
        let key = x509::PublicKey::from_der(provisioned).and_then(|key| key.for_alg(alg).map(<[u8]>::to_vec));
        let key =
            key.map_err(|error| Misbehaviour::Chain(format!("the provisioned key is of no use: {error}")))?;
        peer.identity = Some(Identity {
            slot: SLOT_PUBLIC_KEY,
            hash: peer.connection.digest(provisioned),
            key,
            usage: usage::ANY,
        });
        return challenge(link, output);
    }
    let version = peer.connection.negotiated.version;
    output.ask(Channel::Clear, Duration::ZERO, &digests::Request { version });
    Ok(Some(ExpectDigests.into()))
}

pub(super) struct ExpectDigests;

impl Expect for ExpectDigests {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let peer = link.peer_mut()?;
        let (message, bytes) = exchange.read::<digests::Response<'_>>(&peer.connection.context)?;
        let slot = output.config.slot;
        let usage = message.usage(slot);
        let Some(digest) = message.digest(slot).and_then(Digest::new) else {
            let provisioned = message.provisioned();
            return Err(Misbehaviour::EmptySlot { slot, provisioned }.into());
        };
        peer.add_to_m1([exchange.request, bytes]);
        if peer.connection.context.multi_key && peer.digests.is_none() {
            peer.digests = Some(bytes.to_vec());
        }
        let version = peer.connection.negotiated.version;
        let large = version >= Version::V1_4 && peer.flags().any(Flags::LARGE_RESPONSE);
        let portions = Portions::of(slot, large);
        let expect = ExpectCertificate {
            digest,
            usage,
            portions,
        };
        expect.ask_on(peer, output)
    }
}

pub(super) struct ExpectCertificate {
    /// The chain's, as DIGESTS told.
    digest: Digest,
    /// What the chain's key is for, as DIGESTS told.
    usage: u16,
    portions: Portions,
}

impl ExpectCertificate {
    fn ask_on(mut self, peer: &Peer, output: &mut Output<'_>) -> Next {
        let version = peer.connection.negotiated.version;
        let request = self.portions.ask(version, output.config.transfer_size);
        output.ask(Channel::Clear, Duration::ZERO, &request);
        Ok(Some(self.into()))
    }

    /// The whole chain is there.
    fn complete(self, link: &mut Link, output: &mut Output<'_>) -> Next {
        let peer = link.peer_mut()?;
        let connection = &peer.connection;
        let slot = self.portions.slot();
        let bytes = self.portions.into_bytes();
        let found = connection.digest(&bytes);
        if !same(found.as_ref(), self.digest.as_ref()) {
            return Err(wrong_chain(found, self.digest).into());
        }
        let chain = Chain::decode(&bytes, connection)?;
        if let Trust::Pinned(roots) = &output.config.roots {
            chain.check_rooted(roots, Role::Responder, connection)?;
        }
        peer.identity = Some(Identity {
            slot,
            hash: self.digest,
            key: chain.leaf_key(connection.sign_alg()?)?,
            usage: self.usage,
        });
        output.tell(Event::Certificates { slot, chain: bytes });
        challenge(link, output)
    }
}

impl Expect for ExpectCertificate {
    fn on_response(mut self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let peer = link.peer_mut()?;
        let (message, bytes) = exchange.read::<certificate::Response<'_>>(&peer.connection.context)?;
        peer.add_to_m1([exchange.request, bytes]);
        if !self.portions.take(&message, output.config.chain_size_max)? {
            return self.ask_on(peer, output);
        }
        self.complete(link, output)
    }
}

/// CHALLENGE, unless it is not wanted.
fn challenge(link: &mut Link, output: &mut Output<'_>) -> Next {
    if !output.config.challenge {
        return proceed(link, output);
    }
    let peer = link.peer()?;
    let version = peer.connection.negotiated.version;
    let request = challenge::Request {
        version,
        slot: peer.signer(usage::CHALLENGE)?.slot,
        summary: peer.summary(output.config.summary),
        nonce: output.random()?,
        context: output.requester_context(version)?,
    };
    output.ask(Channel::Clear, peer.connection.peer_crypto_time, &request);
    let expect = ExpectChallengeAuth {
        context: request.context,
    };
    Ok(Some(expect.into()))
}

/// What follows once it is known who the responder is.
pub(super) fn proceed(link: &mut Link, output: &mut Output<'_>) -> Next {
    match output.config.goal {
        Goal::Connection | Goal::Identity => Ok(None),
        Goal::Session => session::key_exchange(link, output),
        Goal::PskSession => psk::exchange(link, output),
    }
}

pub(super) struct ExpectChallengeAuth {
    context: Option<RequesterContext>,
}

impl Expect for ExpectChallengeAuth {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let peer = link.peer_mut()?;
        let (message, bytes) =
            exchange.read::<challenge::Response<'_>>(&peer.summary_context(output.config.summary))?;
        let identity = peer.identity()?;
        expect("slot of CHALLENGE_AUTH", message.slot, identity.slot & PUBLIC_KEY)?;
        check_slot_held(&message)?;
        let mutual = message.mutual;
        if !peer.can_authenticate(Mutual::ENCAPSULATED, output) {
            expect("mutual authentication in CHALLENGE_AUTH", u8::from(mutual), 0)?;
        }
        if message.context != self.context {
            return Err(Misbehaviour::WrongContext.into());
        }
        if !same(message.chain_hash, identity.hash.as_ref()) {
            let said = Digest::new(message.chain_hash).unwrap_or(identity.hash);
            return Err(wrong_chain(identity.hash, said).into());
        }
        let mut m1 = peer.take_m1();
        m1.add(exchange.request);
        m1.add(peer.connection.unsigned(bytes));
        peer.verify(signing::Context::ChallengeAuth, &m1, message.signature)?;
        output.tell(Event::Challenged);
        output.tell_summary(message.summary);
        match mutual {
            true => mutual::be_challenged(link, output),
            false => proceed(link, output),
        }
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
