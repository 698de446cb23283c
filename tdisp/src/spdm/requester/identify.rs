//! From the first message to a proven identity, and from there to another one.
//!
//! ```text
//!  ALGORITHMS ─┐
//!   identify ──┴─► GET_DIGESTS ─► GET_CERTIFICATE ⟲ ─► CHALLENGE ─► its key counts ─► what it was for: a session, or rest
//! ```
//! Where the caller asks again, at rest, none of it is needed: an ERROR is told ([`Event::Refused`]), and so is a slot that
//! does not do ([`Event::SlotRefused`]), and the identity that was there before goes on to count.

use super::{
    Event, Goal, RequesterConfig, Trust,
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
        error::{Misbehaviour, Misuse},
        msg::{
            Context, RequesterContext, SLOT_PUBLIC_KEY, SLOTS, Version, algorithms,
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
use alloc::{boxed::Box, format, sync::Arc, vec::Vec};
use core::time::Duration;

pub(super) fn start(output: &mut Output<'_>) -> Next {
    output.ask(Channel::Clear, Duration::ZERO, &version::Request);
    Ok(Some(ExpectVersion.into()))
}

pub(super) struct ExpectVersion;

impl Expect for ExpectVersion {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let (message, bytes) = exchange.read::<version::Response>(&Context::new(Version::V1_0))?;
        let wanted = output.config.spoken();
        let Some(version) = message.highest_common(&wanted) else {
            let offered = message.versions.iter().map(|entry| entry.version()).collect();
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
        let aim = Aim::of_connection(output.config);
        match output.config.goal {
            Goal::Connection | Goal::PskSession => proceed(aim, link, output),
            Goal::Identity | Goal::Session => identify(aim, link, output),
        }
    }
}

/// What is identified, and what for.
#[derive(Clone, Copy)]
pub(super) struct Aim {
    /// The slot, or [`SLOT_PUBLIC_KEY`] for the key that was provisioned.
    slot: u8,
    /// How far connecting goes from there; nothing where the caller has asked at rest.
    goal: Option<Goal>,
}

impl Aim {
    fn of_connection(config: &RequesterConfig) -> Self {
        let slot = config
            .public_key
            .as_ref()
            .map_or(config.slot, |_| SLOT_PUBLIC_KEY);
        Self {
            slot,
            goal: Some(config.goal),
        }
    }

    /// Whether the connection may do without it.
    pub(super) fn is_optional(self) -> bool {
        self.goal.is_none()
    }

    /// What is in the slot does not do: that is told, or ends a connection that is for nothing else.
    fn refuse(self, why: Misbehaviour, output: &mut Output<'_>) -> Next {
        if !self.is_optional() {
            return Err(why.into());
        }
        let slot = self.slot;
        output.tell(Event::SlotRefused { slot, why });
        Ok(None)
    }
}

/// Whether the caller may ask who is in a slot.
pub(super) fn check(slot: u8, peer: &Peer, config: &RequesterConfig) -> Result<(), Misuse> {
    let shown = match slot {
        SLOT_PUBLIC_KEY if config.public_key.is_none() => Err("key that was provisioned on this side"),
        SLOT_PUBLIC_KEY => Ok((Flags::PUB_KEY_ID, "PUB_KEY_ID_CAP")),
        0..SLOTS => Ok((Flags::CERT, "CERT_CAP")),
        _ => Err("slot of that number: there are 0 to 7, and 0xff for a provisioned key"),
    };
    let (shown, name) = shown.map_err(|what| Misuse::Lacks { what })?;
    let signs = peer.connection.negotiated.algorithms.sign.is_some();
    let needs = [
        (peer.flags().any(shown), name),
        (!config.challenge || peer.flags().any(Flags::CHAL), "CHAL_CAP"),
        (signs, "algorithm of signatures that was agreed on"),
    ];
    match needs.into_iter().find(|(has, _)| !has) {
        Some((_, what)) => Err(Misuse::Lacks { what }),
        None => Ok(()),
    }
}

/// The caller asks, at rest, who is in a slot.
pub(super) fn again(slot: u8, link: &mut Link, output: &mut Output<'_>) -> Next {
    identify(Aim { slot, goal: None }, link, output)
}

/// Who the responder is: by its certificates, or by the key that was provisioned.
fn identify(aim: Aim, link: &mut Link, output: &mut Output<'_>) -> Next {
    let peer = link.peer_mut()?;
    let provisioned = output.config.public_key.as_ref();
    if let Some(provisioned) = provisioned.filter(|_| aim.slot == SLOT_PUBLIC_KEY) {
        let alg = peer.connection.sign_alg()?;
        let key = x509::PublicKey::from_der(provisioned).and_then(|key| key.for_alg(alg).map(<[u8]>::to_vec));
        let key = match key {
            Ok(key) => key,
            Err(error) => {
                let why = format!("the provisioned key is of no use: {error}");
                return aim.refuse(Misbehaviour::Chain(why), output);
            }
        };
        let identity = Identity {
            slot: SLOT_PUBLIC_KEY,
            hash: peer.connection.digest(provisioned),
            key,
            usage: usage::ANY,
        };
        return challenge(aim, identity, link, output);
    }
    let version = peer.connection.negotiated.version;
    output.ask(Channel::Clear, Duration::ZERO, &digests::Request { version });
    Ok(Some(ExpectDigests(aim).into()))
}

pub(super) struct ExpectDigests(Aim);

impl Expect for ExpectDigests {
    fn is_optional(&self) -> bool {
        self.0.is_optional()
    }

    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let peer = link.peer_mut()?;
        let (message, bytes) = exchange.read::<digests::Response<'_>>(&peer.connection.context)?;
        let provisioned = message.provisioned();
        peer.add_to_m1([exchange.request, bytes]);
        peer.provisioned = Some(provisioned);
        if peer.connection.context.multi_key && peer.digests.is_none() {
            peer.digests = Some(bytes.to_vec());
        }
        let slot = self.0.slot;
        let Some(digest) = message.digest(slot).and_then(Digest::new) else {
            return self
                .0
                .refuse(Misbehaviour::EmptySlot { slot, provisioned }, output);
        };
        let expect = ExpectCertificate {
            aim: self.0,
            digest,
            usage: message.usage(slot),
            portions: portions(slot, peer),
        };
        expect.ask_on(peer, output)
    }
}

/// Of a chain, in the large form with who has it.
pub(super) fn portions(slot: u8, peer: &Peer) -> Portions {
    let version = peer.connection.negotiated.version;
    let large = version >= Version::V1_4 && peer.flags().any(Flags::LARGE_RESPONSE);
    Portions::of(slot, large)
}

pub(super) struct ExpectCertificate {
    aim: Aim,
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
        let connection = &link.peer()?.connection;
        let slot = self.portions.slot();
        let bytes = self.portions.into_bytes();
        check_digest(&bytes, self.digest, connection)?;
        let key = leaf_key(&bytes, &output.config.roots, connection);
        let key = match key {
            Ok(key) => key,
            Err(why) => return self.aim.refuse(why, output),
        };
        let identity = Identity {
            slot,
            hash: self.digest,
            key,
            usage: self.usage,
        };
        output.tell(Event::Certificates { slot, chain: bytes });
        challenge(self.aim, identity, link, output)
    }
}

/// The chain is the one that DIGESTS told of.
pub(super) fn check_digest(chain: &[u8], said: Digest, connection: &Connection) -> Result<(), Misbehaviour> {
    let found = connection.digest(chain);
    match same(found.as_ref(), said.as_ref()) {
        true => Ok(()),
        false => Err(wrong_chain(found, said)),
    }
}

/// The key of a chain's leaf, if roots are pinned then of one that leads to one of them.
fn leaf_key(chain: &[u8], roots: &Trust, connection: &Connection) -> Result<Vec<u8>, Misbehaviour> {
    let chain = Chain::decode(chain, connection)?;
    if let Trust::Pinned(roots) = roots {
        chain.check_rooted(roots, Role::Responder, connection)?;
    }
    chain.leaf_key(connection.sign_alg()?)
}

impl Expect for ExpectCertificate {
    fn is_optional(&self) -> bool {
        self.aim.is_optional()
    }

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

/// CHALLENGE, unless it is not wanted: then the key counts before it is proven, for which a session or signed measurements
/// are.
fn challenge(aim: Aim, identity: Identity, link: &mut Link, output: &mut Output<'_>) -> Next {
    let peer = link.peer_mut()?;
    if !output.config.challenge {
        peer.identity = Some(Arc::new(identity));
        return proceed(aim, link, output);
    }
    if let Err(why) = identity.check_for(usage::CHALLENGE) {
        return aim.refuse(why, output);
    }
    let version = peer.connection.negotiated.version;
    let request = challenge::Request {
        version,
        slot: identity.slot,
        summary: peer.summary(output.config.summary),
        nonce: output.random()?,
        context: output.requester_context(version)?,
    };
    output.ask(Channel::Clear, peer.connection.peer_crypto_time, &request);
    let expect = ExpectChallengeAuth {
        aim,
        identity,
        context: request.context,
    };
    Ok(Some(expect.into()))
}

/// What follows once it is known who the responder is.
pub(super) fn proceed(aim: Aim, link: &mut Link, output: &mut Output<'_>) -> Next {
    match aim.goal {
        None | Some(Goal::Connection | Goal::Identity) => Ok(None),
        Some(Goal::Session) => session::key_exchange(link, output),
        Some(Goal::PskSession) => psk::exchange(link, output),
    }
}

pub(super) struct ExpectChallengeAuth {
    aim: Aim,
    /// Whose key counts once it has signed.
    identity: Identity,
    context: Option<RequesterContext>,
}

impl Expect for ExpectChallengeAuth {
    fn is_optional(&self) -> bool {
        self.aim.is_optional()
    }

    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let peer = link.peer_mut()?;
        let (message, bytes) =
            exchange.read::<challenge::Response<'_>>(&peer.summary_context(output.config.summary))?;
        let identity = self.identity;
        expect("slot of CHALLENGE_AUTH", message.slot, identity.short_slot())?;
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
        peer.verify(&identity, signing::Context::ChallengeAuth, &m1, message.signature)?;
        peer.identity = Some(Arc::new(identity));
        output.tell(Event::Challenged);
        output.tell_summary(message.summary);
        match mutual {
            true => mutual::be_challenged(self.aim, link, output),
            false => proceed(self.aim, link, output),
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
