//! GET_ENDPOINT_INFO: what class of device it is, perhaps signed (DSP0274 1.3 §10).

use super::{
    Asked, At, Event, INVALID, Refusal, Reply, Responder, UNEXPECTED,
    encap::{Outcome, Wish, check_not_error},
    usage,
};
use crate::spdm::{
    encapsulated::Unknown,
    error::{Misbehaviour, Misuse},
    msg::{
        Code, Context, NONCE_SIZE, Payload, Version,
        capabilities::Flags,
        check_padding,
        endpoint_info::{self, DeviceClasses, Signed, Subject},
    },
    signing,
};
use alloc::vec::Vec;

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointInfo {
    /// Which classes of device it is of, as [`DeviceClasses`](crate::spdm::msg::endpoint_info::DeviceClasses) writes them.
    pub device_classes: Vec<u8>,
    /// Whether it says so signed, if it is asked to.
    pub signed: bool,
}

impl Responder {
    /// Asks the requester what it is, in a session, when it next fetches requests: [`Event::RequesterEndpointInfo`]. With a
    /// nonce it has to sign that; who has not authenticated itself in the session cannot.
    pub fn ask_endpoint_info(&mut self, session: u32, nonce: Option<[u8; NONCE_SIZE]>) -> Result<(), Misuse> {
        if nonce.is_some() {
            let known = self.sessions.live_mut(At::Session(session));
            known
                .ok()
                .and_then(|live| live.requester.as_ref())
                .ok_or(Misuse::NoIdentity)?;
        }
        self.wish(session, Flags::ENCAP, Wish::EndpointInfo(nonce))
    }

    /// The request for that, as the requester fetches it.
    pub(super) fn endpoint_request(
        &mut self,
        at: At,
        version: Version,
        nonce: Option<[u8; NONCE_SIZE]>,
    ) -> Vec<u8> {
        let live = self.sessions.live_mut(at).ok();
        let slot = live
            .and_then(|live| live.requester.as_ref())
            .map_or(0, |known| known.slot);
        let request = endpoint_info::Request {
            version,
            subject: Subject::DEVICE_CLASS,
            signed: nonce.map(|nonce| Signed { nonce, slot }),
        };
        request.to_vec()
    }

    pub(super) fn on_endpoint_info(
        &mut self,
        at: At,
        request: &[u8],
        answer: &[u8],
    ) -> Result<Outcome, Unknown> {
        let (Some(agreed), At::Session(session)) = (self.phase.agreed(), at) else {
            return Ok(Outcome::Done);
        };
        check_not_error(answer)?;
        let connection = &agreed.connection;
        let inside = connection.context.encapsulated();
        let (asked, _) = endpoint_info::Request::decode(request, &inside)?;
        let context = Context {
            signature_asked: asked.signed.is_some(),
            ..inside
        };
        let (message, size) = endpoint_info::Response::decode(answer, &context)?;
        check_padding(answer, size)?;
        DeviceClasses::decode(message.info)?;
        if let (Some(signature), Some(signed)) = (message.signature, asked.signed) {
            if message.slot != signed.slot {
                return Err(Misbehaviour::Inconsistent {
                    what: "slot of the requester's ENDPOINT_INFO",
                    found: message.slot.into(),
                    wanted: signed.slot.into(),
                }
                .into());
            }
            let mut il1 = connection.transcript_from_vca();
            il1.add(request);
            il1.add(&answer[..size - signature.len()]);
            let live = self.sessions.live_mut(at).ok();
            let known = live.and_then(|live| live.requester.as_ref());
            let what = "key of the requester's";
            let known = known.ok_or(Misbehaviour::NotNegotiated { what })?;
            known.verify(
                connection,
                signing::Context::RequesterEndpointInfo,
                &il1,
                signature,
            )?;
        }
        self.events.push_back(Event::RequesterEndpointInfo {
            session,
            info: message.info.to_vec(),
            signed: message.signature.is_some(),
        });
        Ok(Outcome::Done)
    }

    pub(super) fn get_endpoint_info(&mut self, asked: Asked<'_>) -> Reply {
        let (message, request) = self.read::<endpoint_info::Request>(asked)?;
        if message.subject != Subject::DEVICE_CLASS {
            return Err(INVALID);
        }
        let info = self.config.endpoint_info.as_ref().ok_or(UNEXPECTED)?;
        let mut response = endpoint_info::Response {
            version: message.version,
            slot: 0,
            nonce: None,
            info: &info.device_classes,
            signature: None,
        };
        let Some(signed) = message.signed else {
            return Ok(Some(response.to_vec()));
        };
        if !self.config.flags(message.version).contains(Flags::EP_INFO_SIG) {
            return Err(Refusal::unsupported(Code::GET_ENDPOINT_INFO));
        }
        let identity = self.identity(signed.slot, usage::ENDPOINT_INFO)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        response.slot = identity.slot;
        response.nonce = Some(self.random()?);
        // IL1: VCA, the request, and the response up to its signature.
        let mut il1 = agreed.connection.transcript_from_vca();
        il1.add(request);
        il1.add(&response.to_vec());
        let to_sign = signing::message(message.version, signing::Context::EndpointInfo, &il1);
        let signature = identity.signer.sign(&to_sign)?;
        response.signature = Some(&signature);
        Ok(Some(response.to_vec()))
    }
}
