//! Requests that the responder makes: GET_ENCAPSULATED_REQUEST and ENCAPSULATED_REQUEST, DELIVER_ENCAPSULATED_RESPONSE
//! and ENCAPSULATED_RESPONSE_ACK (DSP0274 §10).
//!
//! The message inside says its own end; its bytes here run to the end of what came, DOE padding included. [`inner`]
//! reads it.

use super::{Code, Context, Header, Message, Payload, Version, check_padding, header::header_only};
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Reads the message inside, whose sides have changed places, and refuses what follows it but padding; says also how
/// many bytes it is.
pub fn inner<'a>(message: &'a [u8], context: &Context) -> Result<(Message<'a>, usize), DecodeError> {
    let header = Header::peek(message)?;
    if matches!(
        header.code,
        Code::GET_ENCAPSULATED_REQUEST
            | Code::ENCAPSULATED_REQUEST
            | Code::DELIVER_ENCAPSULATED_RESPONSE
            | Code::ENCAPSULATED_RESPONSE_ACK
    ) {
        return Err(DecodeError::Invalid {
            what: "encapsulated SPDM code",
            found: u64::from(header.code.0),
            wanted: "a message that does not encapsulate another",
        });
    }
    let (message_in, consumed) = Message::decode(message, &context.encapsulated())?;
    check_padding(message, consumed)?;
    Ok((message_in, consumed))
}

header_only! {
    /// GET_ENCAPSULATED_REQUEST.
    pub struct Get = GET_ENCAPSULATED_REQUEST;
}

/// ENCAPSULATED_REQUEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// Which request.
    pub id: u8,
    /// The request; see [`inner`].
    pub message: &'a [u8],
}

/// DELIVER_ENCAPSULATED_RESPONSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// The connection's version.
    pub version: Version,
    /// The request's.
    pub id: u8,
    /// The response; see [`inner`].
    pub message: &'a [u8],
}

/// The two that are an ID and a message differ in their code only.
macro_rules! carries_message {
    ($($name:ident = $code:ident),*) => {$(
        impl<'a> Payload<'a> for $name<'a> {
            const CODE: Code = Code::$code;

            fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
                Ok(Self {
                    version: header.version,
                    id: header.param1,
                    message: read_message(r)?,
                })
            }

            fn header(&self) -> Header {
                Header::new(self.version, Self::CODE, [self.id, 0])
            }

            fn write(&self, out: &mut Vec<u8>) {
                out.bytes(self.message);
            }
        }
    )*};
}

carries_message!(
    Request = ENCAPSULATED_REQUEST,
    Deliver = DELIVER_ENCAPSULATED_RESPONSE
);

open_enum! {
    /// What an ENCAPSULATED_RESPONSE_ACK carries.
    pub struct AckKind(u8) {
        /// Nothing: the flow has ended.
        ABSENT = 0,
        /// The next request.
        PRESENT = 1,
        /// The slot whose chain the requester shall use.
        SLOT = 2,
    }
}

/// What follows in an ENCAPSULATED_RESPONSE_ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// The flow has ended.
    Nothing,
    /// The next request; see [`inner`].
    Message(&'a [u8]),
    /// The flow has ended, and the requester shall use the chain in this slot.
    Slot(u8),
}

/// ENCAPSULATED_RESPONSE_ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The connection's version.
    pub version: Version,
    /// Which request follows; 0 if none does.
    pub id: u8,
    /// AckRequestID: which request was answered (1.2; before it is absent and 0).
    pub answered: u8,
    /// What follows.
    pub next: Next<'a>,
}

impl<'a> Payload<'a> for Ack<'a> {
    const CODE: Code = Code::ENCAPSULATED_RESPONSE_ACK;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let mut answered = 0;
        if header.version >= Version::V1_2 {
            answered = r.u8("answered request ID")?;
            r.reserved(3)?;
        }
        let next = match AckKind(header.param2) {
            AckKind::ABSENT => Next::Nothing,
            AckKind::PRESENT => Next::Message(read_message(r)?),
            AckKind::SLOT => Next::Slot(super::field::slot(r.u8("requester slot")?)?),
            AckKind(found) => {
                return Err(DecodeError::Invalid {
                    what: "encapsulated payload type",
                    found: u64::from(found),
                    wanted: "0, 1 or 2",
                });
            }
        };
        Ok(Self {
            version: header.version,
            id: header.param1,
            answered,
            next,
        })
    }

    fn header(&self) -> Header {
        let kind = match self.next {
            Next::Nothing => AckKind::ABSENT,
            Next::Message(_) => AckKind::PRESENT,
            Next::Slot(_) => AckKind::SLOT,
        };
        Header::new(self.version, Self::CODE, [self.id, kind.0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.version >= Version::V1_2 {
            out.u8(self.answered);
            out.zeros(3);
        }
        match self.next {
            Next::Nothing => {}
            Next::Message(message) => out.bytes(message),
            Next::Slot(slot) => out.u8(slot),
        }
    }
}

/// At least a header.
fn read_message<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    Header::read(&mut r.clone())?;
    Ok(r.rest())
}
