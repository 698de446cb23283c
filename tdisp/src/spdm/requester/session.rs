//! Opening a session, and speaking in it.

use super::{
    Event,
    identify::expect,
    link::{Identity, Link, Open, Peer},
    mutual,
    operation::{Expect, Next},
    psk,
    step::{Channel, Exchange, Fault, Output},
};
use crate::{
    crypto::{CryptoError, KeyAgreement, same},
    spdm::{
        connection::Connection,
        encapsulated::Own,
        error::Misbehaviour,
        msg::{
            Payload, Version, end_session as end_msg, finish as finish_msg, heartbeat as heartbeat_msg,
            key_exchange as exchange_msg,
            key_update::{self, Operation},
            vendor::{self as vendor_msg, Body},
            version::Entry,
        },
        opaque,
        responder::usage,
        secured,
        session::{Handshake, Role, Shared},
        signing,
    },
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;

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
    opaque::encode_supported(version, &output.config.secured_versions, &mut offered);
    let session = new_id(output)?;
    let signer = Arc::clone(peer.identity()?);
    signer.check_for(usage::KEY_EXCHANGE)?;
    let request = exchange_msg::Request {
        version,
        summary: peer.summary(output.config.summary),
        slot: signer.slot,
        session,
        policy: output.config.session_policy.bits(version, peer.flags()),
        random: output.random()?,
        exchange: agreement.public(),
        opaque: &offered,
    };
    output.ask(Channel::Clear, peer.connection.peer_crypto_time, &request);
    let expect = ExpectKeyExchange {
        agreement,
        session,
        signer,
    };
    Ok(Some(expect.into()))
}

pub(super) struct ExpectKeyExchange {
    agreement: Box<dyn KeyAgreement>,
    session: u16,
    signer: Arc<Identity>,
}

impl Expect for ExpectKeyExchange {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let peer = link.peer()?;
        let connection = &peer.connection;
        let (message, bytes) =
            exchange.read::<exchange_msg::Response<'_>>(&peer.summary_context(output.config.summary))?;
        if !peer.can_authenticate(message.mutual, output) {
            expect("mutual authentication in KEY_EXCHANGE_RSP", message.mutual.0, 0)?;
        }
        let secured = check_selected(connection, message.opaque, output)?;
        // TH up to the signature: KEY_EXCHANGE_RSP without it and without the verify data that may follow it.
        let tail = message.signature.len() + message.verify_data.map_or(0, <[u8]>::len);
        let mut th = peer.session_transcript(&self.signer);
        th.add(exchange.request);
        th.add(&bytes[..bytes.len().saturating_sub(tail)]);
        peer.verify(
            &self.signer,
            signing::Context::KeyExchangeRsp,
            &th,
            message.signature,
        )?;
        th.add(message.signature);
        let shared = self.agreement.agree(message.exchange);
        let shared = shared.map_err(|_| Misbehaviour::BadPublicValue)?;
        let id = secured::session_id(self.session, message.session);
        let with = (Shared::Exchanged(&shared), secured);
        let mut handshake = Handshake::new(connection, Role::Requester, id, with, th)?;
        if let Some(found) = message.verify_data {
            if !same(found, handshake.exchange_proof().expose()) {
                return Err(Misbehaviour::BadVerifyData.into());
            }
            handshake.add(found);
        }
        output.tell_summary(message.summary);
        let shaken = Shaken {
            id,
            heartbeat: Duration::from_secs(message.heartbeat_s.into()),
            identity: Some(self.signer),
        };
        link.sessions.add(id, Open::Shaking(Box::new(handshake)))?;
        let way = (message.mutual, message.requester_slot);
        mutual::authenticate(shaken, way, link, output)
    }
}

/// The version of secured messages that the responder has chosen, which must be one that was offered.
pub(super) fn check_selected(
    connection: &Connection,
    opaque: &[u8],
    output: &Output<'_>,
) -> Result<Entry, Fault> {
    let selected = opaque::decode_selected(connection.negotiated.version, opaque)?;
    let mut ours = output.config.secured_versions.iter();
    match ours.any(|ours| ours.version() == selected.version()) {
        true => Ok(selected),
        false => Err(Misbehaviour::SecuredVersion { found: selected.0 }.into()),
    }
}

/// This side's half of a session's id: not 0, which some responders take for no session.
pub(super) fn new_id(output: &Output<'_>) -> Result<u16, CryptoError> {
    let [low, high] = output.random()?;
    Ok((u16::from(low) | u16::from(high) << 8).max(1))
}

// FINISH

/// A handshake whose first half is done.
pub(super) struct Shaken {
    pub(super) id: u32,
    pub(super) heartbeat: Duration,
    /// Whose key has signed it; nobody's on a pre-shared key.
    pub(super) identity: Option<Arc<Identity>>,
}

/// Ends the handshake: with a signature where the responder has asked for one, made with the key given and, where this side
/// has several keys, over the DIGESTS that it has shown.
pub(super) fn finish(
    shaken: Shaken,
    own: Option<(Own, Option<&[u8]>)>,
    link: &mut Link,
    output: &mut Output<'_>,
) -> Next {
    let mut handshake = link.sessions.take_shaking(shaken.id)?;
    let connection = &link.peer()?.connection;
    let context = &connection.context;
    let signature;
    let mut request = finish_msg::Request {
        version: context.version,
        slot: 0,
        opaque: &[],
        signature: None,
        verify_data: &[],
    };
    if let Some((own, digests)) = own {
        if let Some(digests) = digests.filter(|_| context.requester_multi_key) {
            handshake.add(digests);
        }
        handshake.add(own.hash.as_ref());
        request.slot = own.slot_in_request();
        request.signature = Some(&[]);
        handshake.add(&request.to_vec());
        let to_sign = signing::message(context.version, signing::Context::Finish, handshake.transcript());
        signature = own.signer.sign(&to_sign)?;
        handshake.add(&signature);
        request.signature = Some(&signature);
    } else {
        handshake.add(&request.to_vec());
    }
    let proof = handshake.finish_proof();
    request.verify_data = proof.expose();
    handshake.add(request.verify_data);
    let channel = match context.handshake_in_clear {
        true => Channel::Clear,
        false => Channel::Session(shaken.id),
    };
    output.ask(channel, connection.peer_crypto_time, &request);
    link.sessions.add(shaken.id, Open::Shaking(Box::new(handshake)))?;
    Ok(Some(ExpectFinish(shaken).into()))
}

pub(super) struct ExpectFinish(Shaken);

impl Expect for ExpectFinish {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let mut handshake = link.sessions.take_shaking(self.0.id)?;
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
        psk::live(self.0, handshake, link, output)
    }
}

// VENDOR_DEFINED

/// Bytes of the largest payload that fits what the responder takes.
pub(super) fn vendor_payload_max(peer: &Peer) -> usize {
    let negotiated = &peer.connection.negotiated;
    let room = peer
        .connection
        .reach()
        .most(true)
        .saturating_sub(VENDOR_ENVELOPE_SIZE);
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

// KEY_UPDATE: of this side's keys, or of both directions' at once. Then the answer comes under the new response key. After it
// the new request key is tried.

pub(super) fn update_keys(
    link: &mut Link,
    session: u32,
    operation: Operation,
    output: &mut Output<'_>,
) -> Next {
    let [tag] = output.random()?;
    let request = key_update::Request {
        version: version(link)?,
        operation,
        tag,
    };
    ask(output, session, &request);
    if operation == Operation::UPDATE_ALL_KEYS {
        link.sessions.live_mut(session)?.session.await_new_receiving()?;
    }
    let expect = ExpectKeyUpdateAck {
        session,
        operation,
        tag,
    };
    Ok(Some(expect.into()))
}

pub(super) struct ExpectKeyUpdateAck {
    session: u32,
    operation: Operation,
    tag: u8,
}

impl Expect for ExpectKeyUpdateAck {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        check_ack(exchange, link, self.operation, self.tag)?;
        let live = link.sessions.live_mut(self.session)?;
        // Both keys were to be new: an answer under the old one says that they are not.
        if live.session.came_under_old_key() {
            return Err(Misbehaviour::BadVerifyData.into());
        }
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
