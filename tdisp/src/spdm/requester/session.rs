//! Opening a session, and speaking in it; and measurements, which are asked for in it or before it.

use super::{
    Event, MeasurementRecord, Next, State,
    identify::{Identified, expect},
    step::{Channel, Exchange, Fault, Output},
};
use crate::{
    clock::Instant,
    crypto::{KeyAgreement, same},
    spdm::{
        connection::SECURED_VERSIONS,
        error::Misbehaviour,
        msg::{
            Context, Payload, Summary,
            capabilities::Flags,
            end_session as end_msg, finish as finish_msg, heartbeat as heartbeat_msg,
            key_exchange as exchange_msg,
            key_update::{self, Operation},
            measurements::{self, Signed},
            vendor::{self as vendor_msg, Body},
        },
        opaque,
        secured::{self, Record, RecordError},
        session::{Handshake, Role, Session, Shared},
        signing,
    },
};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

/// Bytes of VENDOR_DEFINED_REQUEST around a PCI-SIG payload.
const VENDOR_ENVELOPE_SIZE: usize = 4 + 2 + 1 + 2 + 2;

/// What seals and opens records: a handshake or a session.
pub(super) trait Secured {
    fn id(&self) -> u32;
    fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError>;
    fn open<'a>(&mut self, record: Record<'a>) -> Result<&'a mut [u8], RecordError>;
}

macro_rules! secured {
    ($type:ty) => {
        impl Secured for $type {
            fn id(&self) -> u32 {
                <$type>::id(self)
            }
            fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
                <$type>::seal(self, message, out)
            }
            fn open<'a>(&mut self, record: Record<'a>) -> Result<&'a mut [u8], RecordError> {
                <$type>::open(self, record)
            }
        }
    };
}
secured!(Handshake);
secured!(Session);

// KEY_EXCHANGE

pub(super) fn key_exchange(peer: Identified, output: &mut Output<'_>) -> Next {
    let negotiated = &peer.connection.negotiated;
    let agreement = peer
        .connection
        .provider
        .key_agreement(peer.connection.exchange_alg()?)?;
    let mut offered = Vec::new();
    opaque::encode_supported(negotiated.version, SECURED_VERSIONS, &mut offered);
    let [low, high] = output.random()?;
    // Not 0, which some responders take for no session.
    let session = (u16::from(low) | u16::from(high) << 8).max(1);
    let request = exchange_msg::Request {
        version: negotiated.version,
        summary: Summary::NONE,
        slot: peer.slot,
        session,
        policy: 0,
        random: output.random()?,
        exchange: agreement.public(),
        opaque: &offered,
    };
    output.ask(Channel::Clear, peer.connection.peer_crypto_time, &request);
    Ok(State::KeyExchange(Box::new(ExpectKeyExchange {
        peer,
        agreement,
        session,
    })))
}

pub(super) struct ExpectKeyExchange {
    peer: Identified,
    agreement: Box<dyn KeyAgreement>,
    session: u16,
}

impl ExpectKeyExchange {
    pub(super) fn on_response(self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let connection = &self.peer.connection;
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
        let mut th = connection.transcript_from_vca();
        th.add(self.peer.chain_hash.as_ref());
        th.add(exchange.request);
        th.add(&bytes[..bytes.len().saturating_sub(tail)]);
        let context = signing::Context::KeyExchangeRsp;
        self.peer.verify(context, &th, message.signature)?;
        th.add(message.signature);
        let shared = self.agreement.agree(message.exchange);
        let shared = shared.map_err(|_| Misbehaviour::BadPublicValue)?;
        let id = secured::session_id(self.session, message.session);
        let mut handshake = Handshake::new(
            connection,
            Role::Requester,
            id,
            (Shared::Exchanged(&shared), selected),
            th,
        )?;
        if let Some(found) = message.verify_data {
            if !same(found, handshake.exchange_proof().expose()) {
                return Err(Misbehaviour::BadVerifyData.into());
            }
            handshake.add(found);
        }
        let heartbeat = Duration::from_secs(message.heartbeat_s.into());
        Ok(finish(self.peer, handshake, heartbeat, output))
    }
}

// FINISH

fn finish(peer: Identified, mut handshake: Handshake, heartbeat: Duration, output: &mut Output<'_>) -> State {
    let context = &peer.connection.context;
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
        false => Channel::Session,
    };
    output.ask(channel, peer.connection.peer_crypto_time, &request);
    State::Finish(Box::new(ExpectFinish {
        peer,
        handshake,
        heartbeat,
    }))
}

pub(super) struct ExpectFinish {
    peer: Identified,
    handshake: Handshake,
    heartbeat: Duration,
}

impl ExpectFinish {
    pub(super) fn handshake_mut(&mut self) -> &mut dyn Secured {
        &mut self.handshake
    }

    pub(super) fn on_response(mut self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let context = &self.peer.connection.context;
        let (message, bytes) = exchange.read::<finish_msg::Response<'_>>(context)?;
        let tail = message.verify_data.map_or(0, <[u8]>::len);
        self.handshake.add(&bytes[..bytes.len().saturating_sub(tail)]);
        if let Some(found) = message.verify_data {
            if !same(found, self.handshake.finish_response_proof().expose()) {
                return Err(Misbehaviour::BadVerifyData.into());
            }
            self.handshake.add(found);
        }
        let established = Established {
            peer: self.peer,
            session: self.handshake.finished()?,
            heartbeat: (!self.heartbeat.is_zero()).then_some(self.heartbeat),
        };
        let id = established.id();
        output.tell(Event::SessionReady { id });
        Ok(established.into())
    }
}

/// A session that is up.
pub(super) struct Established {
    pub(super) peer: Identified,
    session: Session,
    /// How long the session may be silent.
    heartbeat: Option<Duration>,
}

impl Established {
    pub(super) fn id(&self) -> u32 {
        self.session.id()
    }

    pub(super) fn session_mut(&mut self) -> &mut dyn Secured {
        &mut self.session
    }

    pub(super) fn heartbeat_at(&self, now: Instant) -> Option<Instant> {
        self.heartbeat.map(|period| now.after(period))
    }

    pub(super) fn can_update_keys(&self) -> bool {
        self.peer
            .connection
            .negotiated
            .peer_flags
            .contains(Flags::KEY_UPD)
    }

    /// Bytes of the largest payload that fits what the responder takes in one piece.
    pub(super) fn vendor_payload_max(&self) -> usize {
        let size = self.peer.connection.negotiated.peer_transfer_size as usize;
        let size = size.min(usize::from(u16::MAX));
        size.saturating_sub(VENDOR_ENVELOPE_SIZE + secured::OVERHEAD)
    }

    fn context(&self) -> &Context {
        &self.peer.connection.context
    }

    fn ask<'m>(&self, output: &mut Output<'_>, message: &impl Payload<'m>) {
        output.ask(Channel::Session, Duration::ZERO, message);
    }
}

impl From<Established> for State {
    fn from(established: Established) -> Self {
        Self::Established(Box::new(established))
    }
}

// GET_MEASUREMENTS

/// Where measurements can be asked for.
pub(super) enum Ready {
    Identified(Box<Identified>),
    Established(Box<Established>),
}

impl Ready {
    fn peer(&self) -> &Identified {
        match self {
            Self::Identified(peer) => peer,
            Self::Established(established) => &established.peer,
        }
    }

    fn channel(&self) -> Channel {
        match self {
            Self::Identified(_) => Channel::Clear,
            Self::Established(_) => Channel::Session,
        }
    }

    fn into_state(self) -> State {
        match self {
            Self::Identified(peer) => State::Identified(peer),
            Self::Established(established) => State::Established(established),
        }
    }
}

pub(super) fn measure(ready: Ready, nonce: Option<[u8; 32]>, output: &mut Output<'_>) -> Next {
    let peer = ready.peer();
    let nonce = nonce.map_or_else(|| output.random(), Ok)?;
    let request = measurements::Request {
        version: peer.connection.negotiated.version,
        operation: measurements::Operation::ALL,
        raw: false,
        fresh: false,
        signed: Some(Signed {
            nonce,
            slot: peer.slot,
        }),
        context: None,
    };
    output.ask(ready.channel(), peer.connection.peer_crypto_time, &request);
    Ok(State::Measurements(Box::new(ExpectMeasurements { ready, nonce })))
}

pub(super) struct ExpectMeasurements {
    ready: Ready,
    nonce: [u8; 32],
}

impl ExpectMeasurements {
    pub(super) fn session(&self) -> Option<u32> {
        match &self.ready {
            Ready::Identified(_) => None,
            Ready::Established(established) => Some(established.id()),
        }
    }

    pub(super) fn session_mut(&mut self) -> Option<&mut dyn Secured> {
        match &mut self.ready {
            Ready::Identified(_) => None,
            Ready::Established(established) => Some(established.session_mut()),
        }
    }

    pub(super) fn on_response(self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let peer = self.ready.peer();
        let context = Context {
            signature_asked: true,
            ..peer.connection.context
        };
        let (message, bytes) = exchange.read::<measurements::Response<'_>>(&context)?;
        expect("slot of MEASUREMENTS", message.slot(), peer.slot)?;
        let mut l1 = peer.connection.measurement_transcript();
        l1.add(exchange.request);
        l1.add(peer.connection.unsigned(bytes));
        let signature = message.signature.unwrap_or_default();
        peer.verify(signing::Context::Measurements, &l1, signature)?;
        output.tell(Event::Measurements(MeasurementRecord {
            blob: [&peer.connection.vca, exchange.request, bytes].concat(),
            nonce: self.nonce,
        }));
        Ok(self.ready.into_state())
    }
}

// VENDOR_DEFINED

pub(super) fn vendor(established: Established, payload: &[u8], output: &mut Output<'_>) -> State {
    let version = established.context().version;
    let request = vendor_msg::Request(Body::pci_sig(version, payload));
    established.ask(output, &request);
    State::Vendor(Box::new(ExpectVendor(established)))
}

pub(super) struct ExpectVendor(pub(super) Established);

impl ExpectVendor {
    pub(super) fn on_response(self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let (message, _) = exchange.read::<vendor_msg::Response<'_>>(self.0.context())?;
        if message.0.as_pci_sig().is_none() {
            let registry = message.0.registry.0;
            return Err(Misbehaviour::ForeignVendor { registry }.into());
        }
        output.tell(Event::Vendor(message.0.payload.to_vec()));
        Ok(self.0.into())
    }
}

// KEY_UPDATE: both directions at once. The answer comes under the new response key; then the new request key is tried.

pub(super) fn update_keys(mut established: Established, output: &mut Output<'_>) -> Next {
    let [tag] = output.random()?;
    let request = key_update::Request {
        version: established.context().version,
        operation: Operation::UPDATE_ALL_KEYS,
        tag,
    };
    established.ask(output, &request);
    established.session.await_new_receiving()?;
    let state = ExpectKeyUpdateAck { established, tag };
    Ok(State::KeyUpdateAck(Box::new(state)))
}

pub(super) struct ExpectKeyUpdateAck {
    pub(super) established: Established,
    tag: u8,
}

impl ExpectKeyUpdateAck {
    pub(super) fn on_response(mut self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let operation = Operation::UPDATE_ALL_KEYS;
        check_ack(exchange, &self.established, operation, self.tag)?;
        self.established.session.update_sending()?;
        let tag = self.tag.wrapping_add(1);
        let request = key_update::Request {
            version: self.established.context().version,
            operation: Operation::VERIFY_NEW_KEY,
            tag,
        };
        self.established.ask(output, &request);
        Ok(State::KeyVerified(Box::new(ExpectKeyVerified {
            established: self.established,
            tag,
        })))
    }
}

pub(super) struct ExpectKeyVerified {
    pub(super) established: Established,
    tag: u8,
}

impl ExpectKeyVerified {
    pub(super) fn on_response(self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let operation = Operation::VERIFY_NEW_KEY;
        check_ack(exchange, &self.established, operation, self.tag)?;
        output.tell(Event::KeysUpdated);
        Ok(self.established.into())
    }
}

fn check_ack(
    exchange: &Exchange<'_>,
    established: &Established,
    operation: Operation,
    tag: u8,
) -> Result<(), Fault> {
    let (ack, _) = exchange.read::<key_update::Response>(established.context())?;
    expect("operation of KEY_UPDATE_ACK", ack.operation.0, operation.0)?;
    Ok(expect("tag of KEY_UPDATE_ACK", ack.tag, tag)?)
}

// HEARTBEAT

pub(super) fn heartbeat(established: Established, output: &mut Output<'_>) -> State {
    let version = established.context().version;
    established.ask(output, &heartbeat_msg::Request { version });
    State::HeartbeatAck(Box::new(ExpectHeartbeatAck(established)))
}

pub(super) struct ExpectHeartbeatAck(pub(super) Established);

impl ExpectHeartbeatAck {
    pub(super) fn on_response(self, exchange: &Exchange<'_>, _: &mut Output<'_>) -> Next {
        exchange.read::<heartbeat_msg::Response>(self.0.context())?;
        Ok(self.0.into())
    }
}

// END_SESSION

pub(super) fn end_session(established: Established, output: &mut Output<'_>) -> State {
    let request = end_msg::Request {
        version: established.context().version,
        clear_negotiated_state: false,
    };
    established.ask(output, &request);
    State::EndSessionAck(Box::new(ExpectEndSessionAck(established)))
}

pub(super) struct ExpectEndSessionAck(pub(super) Established);

impl ExpectEndSessionAck {
    pub(super) fn on_response(self, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        exchange.read::<end_msg::Response>(self.0.context())?;
        output.tell(Event::SessionEnded);
        Ok(State::Identified(Box::new(self.0.peer)))
    }
}
