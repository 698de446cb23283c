//! HEARTBEAT and HEARTBEAT_ACK (DSP0274 §10): they keep a session alive that says a heartbeat period.

use super::{Code, Context, Header, Payload, Version};
use crate::wire::{DecodeError, Reader};
use alloc::vec::Vec;

/// HEARTBEAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The connection's version.
    pub version: Version,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::HEARTBEAT;

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

/// HEARTBEAT_ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The connection's version.
    pub version: Version,
}

impl Payload<'_> for Response {
    const CODE: Code = Code::HEARTBEAT_ACK;

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
