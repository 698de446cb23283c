//! KEY_EXCHANGE and KEY_EXCHANGE_RSP (DSP0274 §10).

use super::field::{self, Summary};
use super::{Code, Context, Header, NONCE_SIZE, Payload, Version};
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// KEY_EXCHANGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// Which measurements the response shall sum up.
    pub summary: Summary,
    /// The slot whose key shall sign, or [`super::SLOT_PUBLIC_KEY`].
    pub slot: u8,
    /// The requester's half of the session ID.
    pub session: u16,
    /// SessionPolicy (1.2; before it is reserved and 0). Bit 0, TerminationPolicy: whether the session may go on when what is
    /// measured changes. Bit 1, EventAllPolicy (1.3): the session is told of all events.
    pub policy: u8,
    /// Random bytes.
    pub random: [u8; NONCE_SIZE],
    /// The requester's public value: X‖Y, big-endian, of an elliptic curve, or the key to encapsulate with (1.4).
    pub exchange: &'a [u8],
    /// Opaque data, at most 1024 bytes: it offers secured message versions.
    pub opaque: &'a [u8],
}

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::KEY_EXCHANGE;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        let session = r.u16("requester session ID")?;
        let policy = r.u8("session policy")?;
        r.reserved(1)?;
        Ok(Self {
            version: header.version,
            summary: Summary::read(header.param1)?,
            slot: field::slot_or_key(header.param2)?,
            session,
            policy: if header.version >= Version::V1_2 {
                policy
            } else {
                0
            },
            random: r.array("requester random data")?,
            exchange: r.take(context.exchange_request_size, "requester exchange data")?,
            opaque: field::read_opaque(r)?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.summary.0, self.slot])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u16(self.session);
        out.u8(if self.version >= Version::V1_2 {
            self.policy
        } else {
            0
        });
        out.zeros(1);
        out.bytes(&self.random);
        out.bytes(self.exchange);
        field::write_counted(out, self.opaque);
    }
}

open_enum! {
    /// How the responder wants the requester to authenticate itself (DSP0274 MutAuthRequested).
    pub struct Mutual(u8) {
        /// Not at all.
        NONE = 0,
        /// By a signature in FINISH, with a chain the responder knows.
        SIGNATURE = 1,
        /// First by encapsulated requests.
        ENCAPSULATED = 2,
        /// First by an encapsulated GET_DIGESTS that comes with the response.
        GET_DIGESTS = 4,
    }
}

/// KEY_EXCHANGE_RSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// Seconds after which a silent session ends; 0 for never.
    pub heartbeat_s: u8,
    /// The responder's half of the session ID.
    pub session: u16,
    /// Mutual authentication.
    pub mutual: Mutual,
    /// SlotIDParam: the requester's slot in bits 3:0, when `mutual` is [`Mutual::SIGNATURE`].
    pub requester_slot: u8,
    /// Random bytes.
    pub random: [u8; NONCE_SIZE],
    /// The responder's public value, or a ciphertext (1.4).
    pub exchange: &'a [u8],
    /// Summary of the measurements, if one was asked for.
    pub summary: Option<&'a [u8]>,
    /// Opaque data, at most 1024 bytes: it names the secured message version.
    pub opaque: &'a [u8],
    /// Over TH, which ends where the signature starts.
    pub signature: &'a [u8],
    /// HMAC over TH1; not there when the handshake is in clear.
    pub verify_data: Option<&'a [u8]>,
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::KEY_EXCHANGE_RSP;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            heartbeat_s: header.param1,
            session: r.u16("responder session ID")?,
            mutual: read_mutual(r.u8("mutual authentication")?)?,
            requester_slot: r.u8("requester slot")?,
            random: r.array("responder random data")?,
            exchange: r.take(context.exchange_response_size, "responder exchange data")?,
            summary: field::read_if(r, context.summary_asked, context.hash_size, "measurement summary")?,
            opaque: field::read_opaque(r)?,
            signature: r.take(context.signature_size, "key exchange signature")?,
            verify_data: field::read_if(
                r,
                !context.handshake_in_clear,
                context.hash_size,
                "responder verify data",
            )?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.heartbeat_s, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u16(self.session);
        out.u8(self.mutual.0);
        out.u8(self.requester_slot);
        out.bytes(&self.random);
        out.bytes(self.exchange);
        out.bytes(self.summary.unwrap_or_default());
        field::write_counted(out, self.opaque);
        out.bytes(self.signature);
        out.bytes(self.verify_data.unwrap_or_default());
    }
}

/// At most one way: combinations have no meaning.
fn read_mutual(value: u8) -> Result<Mutual, DecodeError> {
    match Mutual(value) {
        one @ (Mutual::NONE | Mutual::SIGNATURE | Mutual::ENCAPSULATED | Mutual::GET_DIGESTS) => Ok(one),
        Mutual(found) => Err(DecodeError::Invalid {
            what: "mutual authentication",
            found: u64::from(found),
            wanted: "0, 1, 2 or 4",
        }),
    }
}
