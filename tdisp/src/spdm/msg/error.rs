//! ERROR (DSP0274 §10, "ERROR response message"): instead of any response.

use super::{Code, Context, Header, Payload, Version};
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Bytes of extended error data that one message may carry.
pub const EXTENDED_MAX: usize = 32;

open_enum! {
    /// Error codes.
    pub struct ErrorCode(u8) {
        /// A field of the request is not valid.
        INVALID_REQUEST = 0x01,
        /// Try again later.
        BUSY = 0x03,
        /// The request may not come now.
        UNEXPECTED_REQUEST = 0x04,
        /// Something else.
        UNSPECIFIED = 0x05,
        /// The secured message could not be decrypted (1.1).
        DECRYPT_ERROR = 0x06,
        /// The request is not supported; the data is its code.
        UNSUPPORTED_REQUEST = 0x07,
        /// An encapsulated request has no answer yet (1.1).
        REQUEST_IN_FLIGHT = 0x08,
        /// An encapsulated response has a wrong code (1.1).
        INVALID_RESPONSE_CODE = 0x09,
        /// No more sessions (1.1).
        SESSION_LIMIT_EXCEEDED = 0x0a,
        /// The request must come in a session (1.2).
        SESSION_REQUIRED = 0x0b,
        /// A reset is needed for the request to take effect (1.2).
        RESET_REQUIRED = 0x0c,
        /// The response is larger than the requester takes; extended data: its size in bytes (1.2).
        RESPONSE_TOO_LARGE = 0x0d,
        /// The request is larger than the responder takes (1.2).
        REQUEST_TOO_LARGE = 0x0e,
        /// The response is to be fetched in chunks; extended data: the handle (1.2).
        LARGE_RESPONSE = 0x0f,
        /// A message was lost (1.2).
        MESSAGE_LOST = 0x10,
        /// The policy is not acceptable (1.3).
        INVALID_POLICY = 0x11,
        /// The certificate chain has no place in fields of 16 bits; extended data: its size in bytes (1.4).
        DATA_TOO_LARGE = 0x12,
        /// The version is not supported.
        VERSION_MISMATCH = 0x41,
        /// Ask again later; extended data: [`NotReady`].
        RESPONSE_NOT_READY = 0x42,
        /// Start again with GET_VERSION.
        REQUEST_RESYNCH = 0x43,
        /// The operation failed (1.2).
        OPERATION_FAILED = 0x44,
        /// There is no encapsulated request.
        NO_PENDING_REQUESTS = 0x45,
        /// The session was terminated (1.2).
        REQUEST_SESSION_TERMINATED = 0x46,
        /// The responder is in a state where it cannot (1.3).
        INVALID_STATE = 0x47,
        /// Another body's error: the data says whose.
        VENDOR = 0xff,
    }
}

/// ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version, or 1.0 before there is one.
    pub version: Version,
    /// What is wrong.
    pub code: ErrorCode,
    /// Error data, by code.
    pub data: u8,
    /// Extended error data, by code; at most 32 bytes.
    pub extended: &'a [u8],
}

impl<'a> Response<'a> {
    /// An error without extended data.
    pub fn new(version: Version, code: ErrorCode, data: u8) -> Self {
        Self {
            version,
            code,
            data,
            extended: &[],
        }
    }

    /// When and how to ask again, if the error is RESPONSE_NOT_READY.
    pub fn not_ready(&self) -> Option<NotReady> {
        match (self.code, self.extended) {
            (ErrorCode::RESPONSE_NOT_READY, &[exponent, code, token, multiplier]) => Some(NotReady {
                exponent,
                code: Code(code),
                token,
                multiplier,
            }),
            _ => None,
        }
    }

    /// The handle to fetch chunks with, if the error is LARGE_RESPONSE.
    pub fn large_response(&self) -> Option<u8> {
        match (self.code, self.extended) {
            (ErrorCode::LARGE_RESPONSE, &[handle]) => Some(handle),
            _ => None,
        }
    }

    /// Bytes of what is too large, if the error is DATA_TOO_LARGE, or RESPONSE_TOO_LARGE of who tells that.
    pub fn actual_size(&self) -> Option<u32> {
        if !matches!(
            self.code,
            ErrorCode::DATA_TOO_LARGE | ErrorCode::RESPONSE_TOO_LARGE
        ) {
            return None;
        }
        let mut r = Reader::new(self.extended);
        let size = r.u32("actual size").ok()?;
        r.rest().is_empty().then_some(size)
    }
}

/// What some errors add, as it goes into [`Response::extended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// Nothing.
    Nothing,
    /// RESPONSE_NOT_READY.
    NotReady(NotReady),
    /// LARGE_RESPONSE: the handle to fetch chunks with.
    Handle(u8),
    /// RESPONSE_TOO_LARGE and DATA_TOO_LARGE: bytes of what is too large.
    ActualSize(u32),
}

impl Extended {
    /// Bytes of what is too large.
    pub fn actual_size(size: usize) -> Self {
        Self::ActualSize(u32::try_from(size).unwrap_or(u32::MAX))
    }

    /// The extended data.
    pub fn to_vec(self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Nothing => {}
            Self::NotReady(ready) => out.bytes(&ready.to_bytes()),
            Self::Handle(handle) => out.u8(handle),
            Self::ActualSize(size) => out.u32(size),
        }
        out
    }
}

/// RESPONSE_NOT_READY's extended data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotReady {
    /// RDTExponent: the response is ready in 2^exponent µs. As it came: see [`NotReady::delay_us`].
    pub exponent: u8,
    /// The request that is not ready.
    pub code: Code,
    /// To be repeated in RESPOND_IF_READY.
    pub token: u8,
    /// RDTM: after that many times the delay the response is dropped; at least [`NotReady::MULTIPLIER_MIN`].
    pub multiplier: u8,
}

impl NotReady {
    /// Less would drop a response when it is ready, if not before.
    pub const MULTIPLIER_MIN: u8 = 2;

    /// The extended data.
    pub fn to_bytes(self) -> [u8; 4] {
        [self.exponent, self.code.0, self.token, self.multiplier]
    }

    /// Microseconds to wait; `None` for more than 2^40 (12 days), which is no wait but a fault.
    pub fn delay_us(self) -> Option<u64> {
        (self.exponent <= 40).then(|| 1 << self.exponent)
    }
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::ERROR;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let code = ErrorCode(header.param1);
        let size = match code {
            ErrorCode::RESPONSE_NOT_READY => 4,
            ErrorCode::LARGE_RESPONSE => 1,
            ErrorCode::DATA_TOO_LARGE if header.version >= Version::V1_4 => 4,
            // Responders have been seen that leave the size out.
            ErrorCode::RESPONSE_TOO_LARGE if header.version >= Version::V1_2 && r.remaining() >= 4 => 4,
            // Its length is not in a place that all bodies share: what came is what there is.
            ErrorCode::VENDOR => r.remaining(),
            _ => 0,
        };
        if size > EXTENDED_MAX {
            return Err(DecodeError::Invalid {
                what: "extended error data in bytes",
                found: size as u64,
                wanted: "at most 32",
            });
        }
        Ok(Self {
            version: header.version,
            code,
            data: header.param2,
            extended: r.take(size, "extended error data")?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.code.0, self.data])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.bytes(self.extended);
    }
}
