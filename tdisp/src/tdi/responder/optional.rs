//! The requests that a device may have or not: peer-to-peer streams, MMIO attributes, vendors' messages
//! (PCIe §11.3.18 to §11.3.23, §11.3.25).

use super::{
    super::{
        msg::{Capabilities, Code, Error, ErrorCode, InterfaceId, LockFlags, OwnedVdm, Response},
        report::{Attributes, Range, Report},
    },
    Attributing, Binding, Device, Hearing, Ide, MANDATORY, Responder, Unbinding, encode,
};
use alloc::vec::Vec;

/// Requests beyond those that every device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Optional {
    /// BIND_P2P_STREAM and UNBIND_P2P_STREAM.
    pub peer_streams: bool,
    /// SET_MMIO_ATTRIBUTE.
    pub mmio_attributes: bool,
    /// Vendor-defined messages.
    pub vendor: bool,
}

/// Why a vendor's message has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VendorRefusal {
    /// It is of a vendor that the device does not know, or says what it does not understand.
    Unsupported,
    /// The vendor's own error: it is the extended data of VENDOR_SPECIFIC_ERROR.
    Vendor(OwnedVdm),
}

/// The device cannot change a range so. That is not fatal: the range is as it was, and the interface runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSettable;

impl Optional {
    /// Whether it has this request.
    pub(super) fn has(self, code: Code) -> bool {
        match code {
            Code::BIND_P2P | Code::UNBIND_P2P => self.peer_streams,
            Code::SET_MMIO_ATTRIBUTE => self.mmio_attributes,
            Code::VDM => self.vendor,
            _ => false,
        }
    }

    /// REQ_MSGS_SUPPORTED with these.
    pub(super) fn announced(self) -> [u8; 16] {
        let all = (Code::GET_VERSION.0..=Code::VDM.0).map(Code);
        let codes: Vec<_> = all
            .filter(|code| MANDATORY.contains(code) || self.has(*code))
            .collect();
        Capabilities::requests_of(&codes)
    }
}

impl Responder {
    /// The stream's registers are locked and what was sent before is in order; or the device cannot do that. Answers what to
    /// send.
    pub fn bound(&mut self, token: Binding, done: Result<(), NotSettable>) -> Vec<u8> {
        let Binding {
            interface, stream, ..
        } = token;
        let session = token.session;
        // The token is from a time when it ran; it may have come back late.
        let running = self.interfaces.get_mut(&interface).and_then(|it| it.running());
        let held = running.filter(|held| held.session == session);
        match (held, done) {
            (Some(held), Ok(())) => {
                held.peers.insert(stream);
                encode(interface, &Response::BindP2p)
            }
            (Some(_), Err(NotSettable)) => refused(interface, ErrorCode::INVALID_REQUEST),
            (None, _) => refused(interface, ErrorCode::INVALID_INTERFACE_STATE),
        }
    }

    /// The interface sends nothing over the stream any more. Answers what to send.
    pub fn unbound(&mut self, token: Unbinding) -> Vec<u8> {
        let Unbinding { interface, stream } = token;
        match self.interfaces.get_mut(&interface).and_then(|it| it.running()) {
            Some(held) => {
                held.peers.remove(&stream);
                encode(interface, &Response::UnbindP2p)
            }
            None => refused(interface, ErrorCode::INVALID_INTERFACE_STATE),
        }
    }

    /// The range is open or closed now; or the device cannot do that. Answers what to send.
    pub fn attribute_set(&mut self, token: Attributing, done: Result<(), NotSettable>) -> Vec<u8> {
        match done {
            Ok(()) => encode(token.interface, &Response::SetMmioAttribute),
            Err(NotSettable) => refused(token.interface, ErrorCode::INVALID_REQUEST),
        }
    }

    /// The vendor's part of the device has answered, or refused. Answers what to send.
    pub fn vendor_answered(&mut self, token: Hearing, answer: Result<OwnedVdm, VendorRefusal>) -> Vec<u8> {
        match answer {
            Ok(answer) => encode(token.interface, &Response::Vdm(answer.as_vdm())),
            Err(VendorRefusal::Unsupported) => {
                let error = Error::new(ErrorCode::UNSUPPORTED_REQUEST, Code::VDM.0.into());
                encode(token.interface, &Response::Error(error))
            }
            Err(VendorRefusal::Vendor(words)) => {
                let mut extended = Vec::new();
                words.as_vdm().encode(&mut extended);
                encode(token.interface, &Response::Error(Error::of_vendor(&extended)))
            }
        }
    }

    /// The peer-to-peer streams that are bound to an interface, in ascending order.
    pub fn peer_streams(&self, interface: InterfaceId) -> Vec<u8> {
        let held = self.interfaces.get(&interface).and_then(|it| it.held());
        held.map_or_else(Vec::new, |held| held.peers.iter().copied().collect())
    }

    /// The conditions of §11.3.18: the lock allows it, the keys are all there and of the lock's session, and the registers
    /// have the stream once, not as the default, and apart from others.
    pub(super) fn check_bind(
        &self,
        interface: InterfaceId,
        stream: u8,
        session: u32,
        device: &dyn Device,
    ) -> Result<Binding, ErrorCode> {
        let held = self.interfaces.get(&interface).and_then(|it| it.held());
        let held = held.ok_or(ErrorCode::INVALID_INTERFACE_STATE)?;
        let allowed = held.flags.contains(LockFlags::BIND_P2P) && !held.uses(stream);
        let keyed = self.config.ide == Ide::Required && device.stream_is_secure(stream, held.session);
        match allowed && keyed && device.peer_stream(stream).is_ok() {
            true => Ok(Binding {
                interface,
                stream,
                session,
            }),
            false => Err(ErrorCode::INVALID_REQUEST),
        }
    }

    pub(super) fn check_unbind(&self, interface: InterfaceId, stream: u8) -> Result<Unbinding, ErrorCode> {
        let held = self.interfaces.get(&interface).and_then(|it| it.held());
        let held = held.ok_or(ErrorCode::INVALID_INTERFACE_STATE)?;
        match held.peers.contains(&stream) {
            true => Ok(Unbinding { interface, stream }),
            false => Err(ErrorCode::INVALID_REQUEST),
        }
    }

    /// §11.3.22: bits 1:0 are zero, and the range lies in one of the report's that is updatable. Of the attributes only
    /// bit 2 means something; the others are reserved, and ignored.
    pub(super) fn check_attribute(
        &self,
        interface: InterfaceId,
        range: Range,
    ) -> Result<Attributing, ErrorCode> {
        let held = self.interfaces.get(&interface).and_then(|it| it.held());
        let held = held.ok_or(ErrorCode::INVALID_INTERFACE_STATE)?;
        let must_be_zero = Attributes::MSIX_TABLE | Attributes::MSIX_PBA;
        // A report that cannot be read has no ranges that anybody could agree upon.
        let report = Report::decode(&held.report).unwrap_or_default();
        let settable = report.ranges.iter().any(|reported| {
            reported.attributes.contains(Attributes::UPDATABLE)
                && reported.id == range.id
                && reported.first_page <= range.first_page
                && range.end_page() <= reported.end_page()
        });
        if range.attributes.0 & must_be_zero.0 != 0 || !settable {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let attributes = Attributes(range.attributes.0 & Attributes::NON_TEE.0);
        let range = Range { attributes, ..range };
        Ok(Attributing { interface, range })
    }
}

fn refused(interface: InterfaceId, code: ErrorCode) -> Vec<u8> {
    encode(interface, &Response::Error(Error::new(code, 0)))
}
