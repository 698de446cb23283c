//! FINISH and FINISH_RSP (DSP0274 §10).

use super::{Code, Context, Header, Payload, Version, field};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// FINISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// The requester's slot, with a signature; 0 without.
    pub slot: u8,
    /// Opaque data (1.4; before it is empty).
    pub opaque: &'a [u8],
    /// The requester's signature over TH, with mutual authentication.
    pub signature: Option<&'a [u8]>,
    /// HMAC over TH.
    pub verify_data: &'a [u8],
}

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::FINISH;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        let signed = header.param1 & 1 != 0;
        Ok(Self {
            version: header.version,
            slot: if signed {
                field::slot_or_key(header.param2)?
            } else {
                0
            },
            opaque: read_opaque(r, header.version)?,
            signature: field::read_if(r, signed, context.requester_signature_size, "finish signature")?,
            verify_data: r.take(context.hash_size, "requester verify data")?,
        })
    }

    fn header(&self) -> Header {
        Header::new(
            self.version,
            Self::CODE,
            [u8::from(self.signature.is_some()), self.slot],
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_opaque(out, self.version, self.opaque);
        out.bytes(self.signature.unwrap_or_default());
        out.bytes(self.verify_data);
    }
}

/// FINISH_RSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// Opaque data (1.4; before it is empty).
    pub opaque: &'a [u8],
    /// HMAC over TH; there only when the handshake is in clear.
    pub verify_data: Option<&'a [u8]>,
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::FINISH_RSP;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            opaque: read_opaque(r, header.version)?,
            verify_data: field::read_if(
                r,
                context.handshake_in_clear,
                context.hash_size,
                "responder verify data",
            )?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_opaque(out, self.version, self.opaque);
        out.bytes(self.verify_data.unwrap_or_default());
    }
}

/// Opaque data, which 1.4 put first in the messages that end a handshake.
pub(super) fn read_opaque<'a>(r: &mut Reader<'a>, version: Version) -> Result<&'a [u8], DecodeError> {
    match version >= Version::V1_4 {
        true => field::read_opaque(r),
        false => Ok(&[]),
    }
}

/// As [`read_opaque`] reads it.
pub(super) fn write_opaque(out: &mut Vec<u8>, version: Version, opaque: &[u8]) {
    if version >= Version::V1_4 {
        field::write_counted(out, opaque);
    }
}
