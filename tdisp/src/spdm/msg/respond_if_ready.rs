//! RESPOND_IF_READY (DSP0274 §10): asks again for what was not ready; the response is the first request's.

use super::{Code, Context, Header, Payload, Version};
use crate::wire::{DecodeError, Reader};
use alloc::vec::Vec;

/// RESPOND_IF_READY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The connection's version.
    pub version: Version,
    /// The request that was not ready.
    pub code: Code,
    /// The token that came with the error.
    pub token: u8,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::RESPOND_IF_READY;

    fn read(header: Header, _: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            code: Code(header.param1),
            token: header.param2,
        })
    }

    fn header(&self) -> Header {
        Header {
            version: self.version,
            code: Self::CODE,
            param1: self.code.0,
            param2: self.token,
        }
    }

    fn write(&self, _: &mut Vec<u8>) {}
}
