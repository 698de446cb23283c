//! PSK_EXCHANGE and PSK_EXCHANGE_RSP (DSP0274 §10).

use super::field::{self, Summary};
use super::{Code, Context, Header, Payload, Version};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// PSK_EXCHANGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// Which measurements the response shall sum up.
    pub summary: Summary,
    /// SessionPolicy (1.2; before it is reserved and 0). Bit 0, TerminationPolicy: whether the session may go on when what is
    /// measured changes. Bit 1, EventAllPolicy (1.3): the session is told of all events.
    pub policy: u8,
    /// The requester's half of the session ID.
    pub session: u16,
    /// Which key.
    pub hint: &'a [u8],
    /// The requester's context: fresh random bytes, or more.
    pub psk_context: &'a [u8],
    /// Opaque data, at most 1024 bytes: it offers secured message versions.
    pub opaque: &'a [u8],
}

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::PSK_EXCHANGE;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let session = r.u16("requester session ID")?;
        let hint = usize::from(r.u16("PSK hint length")?);
        let psk_context = usize::from(r.u16("PSK context length")?);
        let opaque = field::opaque_length(r)?;
        Ok(Self {
            version: header.version,
            summary: Summary::read(header.param1)?,
            policy: if header.version >= Version::V1_2 {
                header.param2
            } else {
                0
            },
            session,
            hint: r.take(hint, "PSK hint")?,
            psk_context: r.take(psk_context, "PSK context")?,
            opaque: r.take(opaque, "opaque data")?,
        })
    }

    fn header(&self) -> Header {
        let policy = if self.version >= Version::V1_2 {
            self.policy
        } else {
            0
        };
        Header::new(self.version, Self::CODE, [self.summary.0, policy])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u16(self.session);
        let fields = [self.hint, self.psk_context, self.opaque];
        fields.iter().for_each(|field| out.u16(field::counted(field)));
        fields.iter().for_each(|field| out.bytes(field));
    }
}

/// PSK_EXCHANGE_RSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// Seconds after which a silent session ends; 0 for never.
    pub heartbeat_s: u8,
    /// The responder's half of the session ID.
    pub session: u16,
    /// Summary of the measurements, if one was asked for.
    pub summary: Option<&'a [u8]>,
    /// The responder's context; empty from a responder that has none.
    pub psk_context: &'a [u8],
    /// Opaque data, at most 1024 bytes: it names the secured message version.
    pub opaque: &'a [u8],
    /// HMAC over TH1.
    pub verify_data: &'a [u8],
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::PSK_EXCHANGE_RSP;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        let session = r.u16("responder session ID")?;
        r.reserved(2)?;
        let psk_context = usize::from(r.u16("PSK context length")?);
        let opaque = field::opaque_length(r)?;
        Ok(Self {
            version: header.version,
            heartbeat_s: header.param1,
            session,
            summary: field::read_if(r, context.summary_asked, context.hash_size, "measurement summary")?,
            psk_context: r.take(psk_context, "PSK context")?,
            opaque: r.take(opaque, "opaque data")?,
            verify_data: r.take(context.hash_size, "responder verify data")?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.heartbeat_s, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u16(self.session);
        out.zeros(2);
        out.u16(field::counted(self.psk_context));
        out.u16(field::counted(self.opaque));
        out.bytes(self.summary.unwrap_or_default());
        out.bytes(self.psk_context);
        out.bytes(self.opaque);
        out.bytes(self.verify_data);
    }
}
