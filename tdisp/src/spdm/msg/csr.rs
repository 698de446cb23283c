//! GET_CSR and CSR (DSP0274 1.2 §10): a certificate signing request for a key of the responder's.
//!
//! What 1.3 added is in the header's parameters, which 1.2 has reserved.

use super::{Code, Context, Header, Payload, Version, field};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Attribute bits 2:0.
const MODEL: u8 = 0x07;
/// Attribute bits 5:3.
const TAG_SHIFT: u8 = 3;
/// Attribute bit 7.
const OVERWRITE: u8 = 0x80;

/// GET_CSR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// KeyPairID (1.3; 0 where the connection is not multi-key, and before).
    pub key_pair: u8,
    /// CSRCertModel, 0 to 7 (1.3; 0 where the connection is not multi-key, and before).
    pub model: u8,
    /// CSRTrackingTag, 0 to 7: which request an earlier ResetRequired was the answer to (1.3; 0 for none).
    pub tag: u8,
    /// Whether the requests that still wait for a reset may be forgotten (1.3).
    pub overwrite: bool,
    /// RequesterInfo: a PKCS#10 CertificationRequestInfo in DER that says what the request shall have in it, or nothing.
    pub info: &'a [u8],
    /// Opaque data, at most 1024 bytes.
    pub opaque: &'a [u8],
}

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::GET_CSR;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let v1_3 = header.version >= Version::V1_3;
        let attributes = if v1_3 { header.param2 } else { 0 };
        let info_size = usize::from(r.u16("requester info length")?);
        let opaque_size = field::opaque_length(r)?;
        Ok(Self {
            version: header.version,
            key_pair: if v1_3 { header.param1 } else { 0 },
            model: attributes & MODEL,
            tag: attributes >> TAG_SHIFT & 0x07,
            overwrite: attributes & OVERWRITE != 0,
            info: r.take(info_size, "requester info")?,
            opaque: r.take(opaque_size, "opaque data")?,
        })
    }

    fn header(&self) -> Header {
        let overwrite = if self.overwrite { OVERWRITE } else { 0 };
        let attributes = self.model & MODEL | (self.tag & 0x07) << TAG_SHIFT | overwrite;
        let params = match self.version >= Version::V1_3 {
            true => [self.key_pair, attributes],
            false => [0, 0],
        };
        Header::new(self.version, Self::CODE, params)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (info, opaque) = (field::fitting(self.info), field::fitting(self.opaque));
        out.u16(field::counted(info));
        out.u16(field::counted(opaque));
        out.bytes(info);
        out.bytes(opaque);
    }
}

/// CSR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// The PKCS#10 CertificationRequest in DER; not empty.
    pub csr: &'a [u8],
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::CSR;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let size = r.u16("CSR length")?;
        r.reserved(2)?;
        if size == 0 {
            return Err(DecodeError::Invalid {
                what: "CSR length",
                found: 0,
                wanted: "at least 1",
            });
        }
        Ok(Self {
            version: header.version,
            csr: r.take(usize::from(size), "CSR")?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        let csr = field::fitting(self.csr);
        out.u16(field::counted(csr));
        out.zeros(2);
        out.bytes(csr);
    }
}
