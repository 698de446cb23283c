//! Opening a session, and speaking in it.

use super::{
    Event,
    identify::expect,
    link::{Link, Live, Open, Peer},
    operation::{Expect, Next},
    step::{Channel, Exchange, Fault, Output},
};
use crate::{
    crypto::{KeyAgreement, same},
    spdm::{
        connection::SECURED_VERSIONS,
        error::Misbehaviour,
        msg::{
            Payload, Summary, Version, end_session as end_msg, finish as finish_msg,
            heartbeat as heartbeat_msg, key_exchange as exchange_msg,
            key_update::{self, Operation},
            vendor::{self as vendor_msg, Body},
        },
        opaque, secured,
        session::{Handshake, Role, Shared},
        signing,
    },
};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

/// SessionPolicy (1.2): what becomes of the session when the responder's code or configuration changes is up to the responder.
/// Whoever relies on measurements asks for them.
const POLICY_LEFT_TO_RESPONDER: u8 = 1;

/// Bytes of VENDOR_DEFINED_REQUEST around a PCI-SIG payload.
const VENDOR_ENVELOPE_SIZE: usize = 4 + 2 + 1 + 2 + 2;

fn ask<'m>(output: &mut Output<'_>, session: u32, message: &impl Payload<'m>) {
    output.ask(Channel::Session(session), Duration::ZERO, message);
}

fn version(link: &Link) -> Result<Version, Misbehaviour> {
    Ok(link.peer()?.connection.negotiated.version)
}

// KEY_EXCHANGE

pub(super) fn key_exchange(link: &mut Link, output: &mut Output<'_>) -> Next {
    let peer = link.peer()?;
    let version = peer.connection.negotiated.version;
    let provider = &peer.connection.provider;
    let agreement = provider.key_agreement(peer.connection.exchange_alg()?)?;
    let mut offered = Vec::new();
    opaque::encode_supported(version, SECURED_VERSIONS, &mut offered);
    let [low, high] = output.random()?;
    // Not 0, which some responders take for no session.
    let session = (u16::from(low) | u16::from(high) << 8).max(1);
    let request = exchange_msg::Request {
        version,
        summary: Summary::NONE,
        slot: peer.identity()?.slot,
        session,
        policy: POLICY_LEFT_TO_RESPONDER,
        random: output.random()?,
        exchange: agreement.public(),
        opaque: &offered,
    };
    output.ask(Channel::Clear, peer.connection.peer_crypto_time, &request);
    Ok(Some(ExpectKeyExchange { agreement, session }.into()))
}

pub(super) struct ExpectKeyExchange {
    agreement: Box<dyn KeyAgreement>,
    session: u16,
}

impl Expect for ExpectKeyExchange {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let peer = link.peer()?;
        let connection = &peer.connection;
        let (message, bytes) = exchange.read::<exchange_msg::Response<'_>>(&connection.context)?;
        expect("mutual authentication in KEY_EXCHANGE_RSP", message.mutual.0, 0)?;
        let selected = opaque::decode_selected(connection.negotiated.version, message.opaque)?;
        if !SECURED_VERSIONS
            .iter()
            .any(|ours| ours.version() == selected.version())
        {
            return Err(Misbehaviour::SecuredVersion { found: selected.0 }.into());
        }
        // TH up to the signature: KEY_EXCHANGE_RSP without it and without the verify data that may follow it.
        let tail = message.signature.len() + message.verify_data.map_or(0, <[u8]>::len);
        let mut th = peer.session_transcript()?;
        th.add(exchange.request);
        th.add(&bytes[..bytes.len().saturating_sub(tail)]);
        peer.verify(signing::Context::KeyExchangeRsp, &th, message.signature)?;
        th.add(message.signature);
        let shared = self.agreement.agree(message.exchange);
        let shared = shared.map_err(|_| Misbehaviour::BadPublicValue)?;
        let id = secured::session_id(self.session, message.session);
        let with = (Shared::Exchanged(&shared), selected);
        let mut handshake = Handshake::new(connection, Role::Requester, id, with, th)?;
        if let Some(found) = message.verify_data {
            if !same(found, handshake.exchange_proof().expose()) {
                return Err(Misbehaviour::BadVerifyData.into());
            }
            handshake.add(found);
        }
        let heartbeat = Duration::from_secs(message.heartbeat_s.into());
        let next = finish(peer, &mut handshake, heartbeat, output)?;
        link.sessions.add(id, Open::Shaking(Box::new(handshake)))?;
        Ok(Some(next.into()))
    }
}

// FINISH

fn finish(
    peer: &Peer,
    handshake: &mut Handshake,
    heartbeat: Duration,
    output: &mut Output<'_>,
) -> Result<ExpectFinish, Fault> {
    let context = &peer.connection.context;
    let id = handshake.id();
    let mut request = finish_msg::Request {
        version: context.version,
        slot: 0,
        opaque: &[],
        signature: None,
        verify_data: &[],
    };
    handshake.add(&request.to_vec());
    let proof = handshake.finish_proof();
    request.verify_data = proof.expose();
    handshake.add(request.verify_data);
    let channel = match context.handshake_in_clear {
        true => Channel::Clear,
        false => Channel::Session(id),
    };
    output.ask(channel, peer.connection.peer_crypto_time, &request);
    Ok(ExpectFinish { id, heartbeat })
}

pub(super) struct ExpectFinish {
    id: u32,
    heartbeat: Duration,
}

impl Expect for ExpectFinish {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let Self { id, heartbeat } = self;
        let mut handshake = link.sessions.take_shaking(id)?;
        let peer = link.peer()?;
        let (message, bytes) = exchange.read::<finish_msg::Response<'_>>(&peer.connection.context)?;
        let tail = message.verify_data.map_or(0, <[u8]>::len);
        handshake.add(&bytes[..bytes.len().saturating_sub(tail)]);
        if let Some(found) = message.verify_data {
            if !same(found, handshake.finish_response_proof().expose()) {
                return Err(Misbehaviour::BadVerifyData.into());
            }
            handshake.add(found);
        }
        let live = Live::new(handshake.finished()?, heartbeat, output.now);
        link.sessions.add(id, Open::Live(Box::new(live)))?;
        output.tell(Event::SessionReady { id });
        Ok(None)
    }
}

// VENDOR_DEFINED

/// Bytes of the largest payload that fits what the responder takes.
pub(super) fn vendor_payload_max(peer: &Peer) -> usize {
    let negotiated = &peer.connection.negotiated;
    let room = (negotiated.peer_message_size as usize).saturating_sub(VENDOR_ENVELOPE_SIZE);
    // A record's length has 16 bits, in which chunks are.
    let record = usize::from(u16::MAX) - peer.connection.transport.record_overhead();
    let room = match negotiated.peer_message_size > negotiated.peer_transfer_size {
        true => room,
        false => room.min(record - VENDOR_ENVELOPE_SIZE),
    };
    match room > usize::from(u16::MAX) {
        // The large form has a length of four bytes more.
        true => (room - 4).min(Body::payload_max(negotiated.version)),
        false => room,
    }
}

pub(super) fn vendor(link: &mut Link, session: u32, payload: &[u8], output: &mut Output<'_>) -> Next {
    let request = vendor_msg::Request(Body::pci_sig(version(link)?, payload));
    ask(output, session, &request);
    Ok(Some(ExpectVendor.into()))
}

pub(super) struct ExpectVendor;

impl Expect for ExpectVendor {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let context = &link.peer()?.connection.context;
        let (message, _) = exchange.read::<vendor_msg::Response<'_>>(context)?;
        if message.0.as_pci_sig().is_none() {
            let registry = message.0.registry.0;
            return Err(Misbehaviour::ForeignVendor { registry }.into());
        }
        output.tell(Event::Vendor(message.0.payload.to_vec()));
        Ok(None)
    }
}

// KEY_UPDATE: both directions at once. The answer comes under the new response key; then the new request key is tried.

pub(super) fn update_keys(link: &mut Link, session: u32, output: &mut Output<'_>) -> Next {
    let [tag] = output.random()?;
    let request = key_update::Request {
        version: version(link)?,
        operation: Operation::UPDATE_ALL_KEYS,
        tag,
    };
    ask(output, session, &request);
    link.sessions.live_mut(session)?.session.await_new_receiving()?;
    Ok(Some(ExpectKeyUpdateAck { session, tag }.into()))
}

pub(super) struct ExpectKeyUpdateAck {
    session: u32,
    tag: u8,
}

impl Expect for ExpectKeyUpdateAck {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        check_ack(exchange, link, Operation::UPDATE_ALL_KEYS, self.tag)?;
        let live = link.sessions.live_mut(self.session)?;
        live.session.update_sending()?;
        let tag = self.tag.wrapping_add(1);
        let request = key_update::Request {
            version: version(link)?,
            operation: Operation::VERIFY_NEW_KEY,
            tag,
        };
        ask(output, self.session, &request);
        Ok(Some(ExpectKeyVerified { tag }.into()))
    }
}

pub(super) struct ExpectKeyVerified {
    tag: u8,
}

impl Expect for ExpectKeyVerified {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        check_ack(exchange, link, Operation::VERIFY_NEW_KEY, self.tag)?;
        output.tell(Event::KeysUpdated);
        Ok(None)
    }
}

fn check_ack(exchange: &Exchange<'_>, link: &Link, operation: Operation, tag: u8) -> Result<(), Fault> {
    let context = &link.peer()?.connection.context;
    let (ack, _) = exchange.read::<key_update::Response>(context)?;
    expect("operation of KEY_UPDATE_ACK", ack.operation.0, operation.0)?;
    Ok(expect("tag of KEY_UPDATE_ACK", ack.tag, tag)?)
}

// HEARTBEAT

pub(super) fn heartbeat(link: &mut Link, session: u32, output: &mut Output<'_>) -> Next {
    let version = version(link)?;
    ask(output, session, &heartbeat_msg::Request { version });
    Ok(Some(ExpectHeartbeatAck.into()))
}

pub(super) struct ExpectHeartbeatAck;

impl Expect for ExpectHeartbeatAck {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, _: &mut Output<'_>) -> Next {
        exchange.read::<heartbeat_msg::Response>(&link.peer()?.connection.context)?;
        Ok(None)
    }
}

// END_SESSION

pub(super) fn end_session(link: &mut Link, session: u32, output: &mut Output<'_>) -> Next {
    let request = end_msg::Request {
        version: version(link)?,
        clear_negotiated_state: false,
    };
    ask(output, session, &request);
    Ok(Some(ExpectEndSessionAck { session }.into()))
}

pub(super) struct ExpectEndSessionAck {
    session: u32,
}

impl Expect for ExpectEndSessionAck {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        exchange.read::<end_msg::Response>(&link.peer()?.connection.context)?;
        link.sessions.remove(self.session);
        output.tell(Event::SessionEnded);
        Ok(None)
    }
}
