//! What an endpoint says of itself, perhaps signed (DSP0274 1.3 §10).

use super::{
    Event,
    identify::expect,
    inquiry::Inquiry,
    link::Peer,
    step::{Exchange, Fault},
};
use crate::spdm::{
    msg::{
        Context, NONCE_SIZE, Payload,
        endpoint_info::{self, DeviceClasses, Signed, Subject},
    },
    signing,
};
use alloc::vec::Vec;

/// What device classes a responder is of; with a nonce it has to sign that.
pub(super) struct EndpointInfo {
    pub(super) nonce: Option<[u8; NONCE_SIZE]>,
}

impl Inquiry for EndpointInfo {
    fn request(&mut self, peer: &Peer, _: usize) -> Result<Vec<u8>, Fault> {
        let slot = match self.nonce {
            Some(_) => peer.identity()?.slot & 0x0f,
            None => 0,
        };
        let request = endpoint_info::Request {
            version: peer.connection.negotiated.version,
            subject: Subject::DEVICE_CLASS,
            signed: self.nonce.map(|nonce| Signed { nonce, slot }),
        };
        Ok(request.to_vec())
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        let connection = &peer.connection;
        let context = Context {
            signature_asked: self.nonce.is_some(),
            ..connection.context
        };
        let (message, bytes) = exchange.read::<endpoint_info::Response<'_>>(&context)?;
        DeviceClasses::decode(message.info)?;
        if let Some(signature) = message.signature {
            expect(
                "slot of ENDPOINT_INFO",
                message.slot,
                peer.identity()?.slot & 0x0f,
            )?;
            // IL1: VCA, the request, and the response up to its signature.
            let mut il1 = connection.transcript_from_vca();
            il1.add(exchange.request);
            il1.add(connection.unsigned(bytes));
            peer.verify(signing::Context::EndpointInfo, &il1, signature)?;
        }
        Ok(Some(Event::EndpointInfo {
            info: message.info.to_vec(),
            signed: message.signature.is_some(),
        }))
    }
}
