//! END_SESSION and END_SESSION_ACK (DSP0274 §10).

use super::{Code, Context, Header, Payload, Version};
use crate::wire::{DecodeError, Reader};
use alloc::vec::Vec;

/// END_SESSION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The connection's version.
    pub version: Version,
    /// Whether the responder shall also forget the negotiated state that it keeps over resets.
    pub clear_negotiated_state: bool,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::END_SESSION;

    fn read(header: Header, _: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            clear_negotiated_state: header.param1 & 1 != 0,
        })
    }

    fn header(&self) -> Header {
        Header {
            version: self.version,
            code: Self::CODE,
            param1: u8::from(self.clear_negotiated_state),
            param2: 0,
        }
    }

    fn write(&self, _: &mut Vec<u8>) {}
}

/// END_SESSION_ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The connection's version.
    pub version: Version,
}

impl Payload<'_> for Response {
    const CODE: Code = Code::END_SESSION_ACK;

    fn read(header: Header, _: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
        })
    }

    fn header(&self) -> Header {
        Header {
            version: self.version,
            code: Self::CODE,
            param1: 0,
            param2: 0,
        }
    }

    fn write(&self, _: &mut Vec<u8>) {}
}
