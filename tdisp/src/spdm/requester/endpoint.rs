//! What an endpoint says of itself, perhaps signed (DSP0274 1.3 §10).

use super::{
    Event,
    identify::expect,
    inquiry::Inquiry,
    link::{Identity, Link, Peer},
    mutual::refuse,
    step::{Exchange, Fault, Output},
};
use crate::spdm::{
    encapsulated::Own,
    msg::{
        Code, Context, NONCE_SIZE, Payload, check_padding,
        endpoint_info::{self, DeviceClasses, Signed, Subject},
        error::ErrorCode,
    },
    responder::usage,
    signing,
};
use alloc::{sync::Arc, vec::Vec};

/// The responder asks what this side is, and perhaps wants that signed.
pub(super) fn answer(request: &[u8], link: &Link, output: &Output<'_>) -> Result<Vec<u8>, Fault> {
    let invalid = || Ok(refuse(link, ErrorCode::INVALID_REQUEST, 0)?);
    let unsupported = || {
        let code = Code::GET_ENDPOINT_INFO.0;
        Ok(refuse(link, ErrorCode::UNSUPPORTED_REQUEST, code)?)
    };
    let connection = &link.peer()?.connection;
    let Some(info) = &output.config.endpoint_info else {
        return unsupported();
    };
    let read = endpoint_info::Request::decode(request, &connection.context.encapsulated());
    let Ok((message, size)) = read.and_then(|read| check_padding(request, read.1).map(|()| read)) else {
        return invalid();
    };
    if message.subject != Subject::DEVICE_CLASS {
        return invalid();
    }
    let mut response = endpoint_info::Response {
        version: message.version,
        slot: 0,
        nonce: None,
        info: &info.device_classes,
        signature: None,
    };
    let Some(signed) = message.signed else {
        return Ok(response.to_vec());
    };
    let Some(identity) = output.config.identity.as_ref().filter(|_| info.signed) else {
        return unsupported();
    };
    let Some(own) = Own::find(identity, signed.slot, usage::ENDPOINT_INFO, connection) else {
        return invalid();
    };
    response.slot = own.slot;
    response.nonce = Some(output.random()?);
    let mut il1 = connection.transcript_from_vca();
    il1.add(&request[..size]);
    il1.add(&response.to_vec());
    let context = signing::Context::RequesterEndpointInfo;
    let signature = own
        .signer
        .sign(&signing::message(message.version, context, &il1))?;
    response.signature = Some(&signature);
    Ok(response.to_vec())
}

/// What device classes a responder is of; with a nonce it has to sign that, with the key named.
pub(super) struct EndpointInfo {
    pub(super) signed: Option<([u8; NONCE_SIZE], Arc<Identity>)>,
}

impl Inquiry for EndpointInfo {
    fn request(&mut self, peer: &Peer, _: usize) -> Result<Vec<u8>, Fault> {
        let request = endpoint_info::Request {
            version: peer.connection.negotiated.version,
            subject: Subject::DEVICE_CLASS,
            signed: self.signed.as_ref().map(|(nonce, signer)| Signed {
                nonce: *nonce,
                slot: signer.short_slot(),
            }),
        };
        Ok(request.to_vec())
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        let connection = &peer.connection;
        let context = Context {
            signature_asked: self.signed.is_some(),
            ..connection.context
        };
        let (message, bytes) = exchange.read::<endpoint_info::Response<'_>>(&context)?;
        DeviceClasses::decode(message.info)?;
        if let (Some(signature), Some((_, signer))) = (message.signature, &self.signed) {
            expect("slot of ENDPOINT_INFO", message.slot, signer.short_slot())?;
            // IL1: VCA, the request, and the response up to its signature.
            let mut il1 = connection.transcript_from_vca();
            il1.add(exchange.request);
            il1.add(connection.unsigned(bytes));
            peer.verify(signer, signing::Context::EndpointInfo, &il1, signature)?;
        }
        Ok(Some(Event::EndpointInfo {
            info: message.info.to_vec(),
            signed: message.signature.is_some(),
        }))
    }
}
