//! PSK_FINISH and PSK_FINISH_RSP (DSP0274 §10).

use super::finish::{read_opaque, write_opaque};
use super::{Code, Context, Header, Payload, Version};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// PSK_FINISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// Opaque data (1.4; before it is empty).
    pub opaque: &'a [u8],
    /// HMAC over TH.
    pub verify_data: &'a [u8],
}

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::PSK_FINISH;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            opaque: read_opaque(r, header.version)?,
            verify_data: r.take(context.hash_size, "requester verify data")?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_opaque(out, self.version, self.opaque);
        out.bytes(self.verify_data);
    }
}

/// PSK_FINISH_RSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// Opaque data (1.4; before it is empty).
    pub opaque: &'a [u8],
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::PSK_FINISH_RSP;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            opaque: read_opaque(r, header.version)?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_opaque(out, self.version, self.opaque);
    }
}
