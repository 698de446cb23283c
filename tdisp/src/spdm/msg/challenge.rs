//! CHALLENGE and CHALLENGE_AUTH (DSP0274 §10).

use super::field::{self, RequesterContext, Summary};
use super::{Code, Context, Header, NONCE_SIZE, Payload, Version};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// CHALLENGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The connection's version.
    pub version: Version,
    /// The slot whose key shall sign, or [`super::SLOT_PUBLIC_KEY`].
    pub slot: u8,
    /// Which measurements the response shall sum up.
    pub summary: Summary,
    /// Fresh random bytes.
    pub nonce: [u8; NONCE_SIZE],
    /// From 1.3 on (`None` is written as zeros there); not written before.
    pub context: Option<RequesterContext>,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::CHALLENGE;

    fn read(header: Header, r: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            slot: field::slot_or_key(header.param1)?,
            summary: Summary::read(header.param2)?,
            nonce: r.array("challenge nonce")?,
            context: field::read_context(r, header.version)?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.slot, self.summary.0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.bytes(&self.nonce);
        field::write_context(out, self.version, self.context);
    }
}

/// CHALLENGE_AUTH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// The slot asked for; 0xf where the request said [`super::SLOT_PUBLIC_KEY`].
    pub slot: u8,
    /// Bit 7 of param1: the responder wants to challenge the requester in turn (basic mutual authentication).
    pub mutual: bool,
    /// Slots that hold a chain, one bit each.
    pub slots: u8,
    /// Digest of the chain object in the slot.
    pub chain_hash: &'a [u8],
    /// The responder's random bytes.
    pub nonce: [u8; NONCE_SIZE],
    /// Summary of the measurements, if one was asked for.
    pub summary: Option<&'a [u8]>,
    /// Opaque data, at most 1024 bytes.
    pub opaque: &'a [u8],
    /// The request's context repeated (1.3).
    pub context: Option<RequesterContext>,
    /// Over M1, which ends where the signature starts.
    pub signature: &'a [u8],
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::CHALLENGE_AUTH;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        let slot = match header.param1 & 0x0f {
            public_key @ 0x0f => public_key,
            other => field::slot(other)?,
        };
        Ok(Self {
            version: header.version,
            slot,
            mutual: header.version >= Version::V1_1 && header.param1 & 0x80 != 0,
            slots: header.param2,
            chain_hash: r.take(context.hash_size, "certificate chain hash")?,
            nonce: r.array("challenge nonce")?,
            summary: field::read_if(r, context.summary_asked, context.hash_size, "measurement summary")?,
            opaque: field::read_opaque(r)?,
            context: field::read_context(r, header.version)?,
            signature: r.take(context.signature_size, "challenge signature")?,
        })
    }

    fn header(&self) -> Header {
        Header::new(
            self.version,
            Self::CODE,
            [self.slot | if self.mutual { 0x80 } else { 0 }, self.slots],
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.bytes(self.chain_hash);
        out.bytes(&self.nonce);
        out.bytes(self.summary.unwrap_or_default());
        field::write_counted(out, self.opaque);
        field::write_context(out, self.version, self.context);
        out.bytes(self.signature);
    }
}
