//! GET_ENDPOINT_INFO: what class of device it is, perhaps signed (DSP0274 1.3 §10).

use super::{Asked, INVALID, Refusal, Reply, Responder, UNEXPECTED, usage};
use crate::spdm::{
    msg::{
        Code, Payload,
        capabilities::Flags,
        endpoint_info::{self, Subject},
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
