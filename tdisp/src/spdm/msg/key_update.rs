//! KEY_UPDATE and KEY_UPDATE_ACK (DSP0274 §10).

use super::{Code, Context, Header, Payload, Version};
use crate::open_enum;
use crate::wire::{DecodeError, Reader};
use alloc::vec::Vec;

open_enum! {
    /// What to do with the keys.
    pub struct Operation(u8) {
        /// New keys for the requester's direction.
        UPDATE_KEY = 1,
        /// New keys for both directions.
        UPDATE_ALL_KEYS = 2,
        /// The new keys work.
        VERIFY_NEW_KEY = 3,
    }
}

/// KEY_UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The connection's version.
    pub version: Version,
    /// What to do; one that is not named is the machine's to refuse.
    pub operation: Operation,
    /// Repeated in the response.
    pub tag: u8,
}

/// KEY_UPDATE_ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The connection's version.
    pub version: Version,
    /// The request's.
    pub operation: Operation,
    /// The request's.
    pub tag: u8,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::KEY_UPDATE;

    fn read(header: Header, _: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            operation: Operation(header.param1),
            tag: header.param2,
        })
    }

    fn header(&self) -> Header {
        Header {
            version: self.version,
            code: Self::CODE,
            param1: self.operation.0,
            param2: self.tag,
        }
    }

    fn write(&self, _: &mut Vec<u8>) {}
}

impl Payload<'_> for Response {
    const CODE: Code = Code::KEY_UPDATE_ACK;

    fn read(header: Header, _: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            operation: Operation(header.param1),
            tag: header.param2,
        })
    }

    fn header(&self) -> Header {
        Header {
            version: self.version,
            code: Self::CODE,
            param1: self.operation.0,
            param2: self.tag,
        }
    }

    fn write(&self, _: &mut Vec<u8>) {}
}
