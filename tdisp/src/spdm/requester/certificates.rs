//! A certificate chain that is shown in a session (DSP0274 §10): to look at. Whose key counts, it does not change, and outside
//! the session no transcript has it.

use super::{
    Event, RequesterConfig, Trust, identify,
    inquiry::Inquiry,
    link::Peer,
    step::{Exchange, Fault},
};
use crate::{
    crypto::{Digest, x509::path::Role},
    spdm::{
        chain::Chain,
        connection::Connection,
        error::Misbehaviour,
        msg::{Payload, certificate, digests},
        portions::Portions,
    },
};
use alloc::vec::Vec;

/// The chain in a slot.
pub(super) struct Certificates {
    session: u32,
    slot: u8,
    roots: Trust,
    chain_size_max: usize,
    /// What has come of it, and its digest, once DIGESTS has told that.
    told: Option<(Digest, Portions)>,
}

impl Certificates {
    pub(super) fn of(session: u32, slot: u8, config: &RequesterConfig) -> Self {
        Self {
            session,
            slot,
            roots: config.roots.clone(),
            chain_size_max: config.chain_size_max,
            told: None,
        }
    }

    fn on_digests(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        let (message, _) = exchange.read::<digests::Response<'_>>(&peer.connection.context)?;
        let slot = self.slot;
        let digest = message.digest(slot).and_then(Digest::new);
        self.told = digest.map(|digest| (digest, identify::portions(slot, peer)));
        let provisioned = message.provisioned();
        let empty = || self.refuse(Misbehaviour::EmptySlot { slot, provisioned });
        Ok(self.told.is_none().then(empty))
    }

    fn refuse(&self, why: Misbehaviour) -> Event {
        let slot = self.slot;
        Event::SlotRefused { slot, why }
    }

    /// The whole chain is there.
    fn complete(&self, chain: Vec<u8>, connection: &Connection) -> Event {
        let rooted = match &self.roots {
            Trust::Pinned(roots) => Chain::decode(&chain, connection)
                .and_then(|chain| chain.check_rooted(roots, Role::Responder, connection)),
            Trust::RelyingPartyDecides => Ok(()),
        };
        match rooted {
            Ok(()) => Event::ChainShown {
                session: self.session,
                slot: self.slot,
                chain,
            },
            Err(why) => self.refuse(why),
        }
    }
}

impl Inquiry for Certificates {
    fn request(&mut self, peer: &Peer, room: usize) -> Result<Vec<u8>, Fault> {
        let version = peer.connection.negotiated.version;
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        Ok(match &mut self.told {
            Some((_, portions)) => portions.ask(version, room).to_vec(),
            None => digests::Request { version }.to_vec(),
        })
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        let Some((digest, mut portions)) = self.told.take() else {
            return self.on_digests(exchange, peer);
        };
        let connection = &peer.connection;
        let (message, _) = exchange.read::<certificate::Response<'_>>(&connection.context)?;
        if !portions.take(&message, self.chain_size_max)? {
            self.told = Some((digest, portions));
            return Ok(None);
        }
        let chain = portions.into_bytes();
        identify::check_digest(&chain, digest, connection)?;
        Ok(Some(self.complete(chain, connection)))
    }
}
