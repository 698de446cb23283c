//! The four bytes before every message, the codes, and what a decoder must know of the connection (DSP0274).

use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

open_enum! {
    /// An SPDM version as message headers carry it: major in the high nibble, minor in the low one.
    pub struct Version(u8) {
        /// DSP0274 1.0.
        V1_0 = 0x10,
        /// DSP0274 1.1.
        V1_1 = 0x11,
        /// DSP0274 1.2.
        V1_2 = 0x12,
        /// DSP0274 1.3.
        V1_3 = 0x13,
        /// DSP0274 1.4.
        V1_4 = 0x14,
    }
}

open_enum! {
    /// Request and response codes (DSP0274 tables "Request codes" and "Response codes"); requests have bit 7 set.
    pub struct Code(u8) {
        /// Response to GET_DIGESTS.
        DIGESTS = 0x01,
        /// Response to GET_CERTIFICATE.
        CERTIFICATE = 0x02,
        /// Response to CHALLENGE.
        CHALLENGE_AUTH = 0x03,
        /// Response to GET_VERSION.
        VERSION = 0x04,
        /// Response to CHUNK_SEND.
        CHUNK_SEND_ACK = 0x05,
        /// Response to CHUNK_GET.
        CHUNK_RESPONSE = 0x06,
        /// Response to GET_ENDPOINT_INFO.
        ENDPOINT_INFO = 0x07,
        /// Response to GET_MEASUREMENTS.
        MEASUREMENTS = 0x60,
        /// Response to GET_CAPABILITIES.
        CAPABILITIES = 0x61,
        /// Response to GET_SUPPORTED_EVENT_TYPES.
        SUPPORTED_EVENT_TYPES = 0x62,
        /// Response to NEGOTIATE_ALGORITHMS.
        ALGORITHMS = 0x63,
        /// Response to KEY_EXCHANGE.
        KEY_EXCHANGE_RSP = 0x64,
        /// Response to FINISH.
        FINISH_RSP = 0x65,
        /// Response to PSK_EXCHANGE.
        PSK_EXCHANGE_RSP = 0x66,
        /// Response to PSK_FINISH.
        PSK_FINISH_RSP = 0x67,
        /// Response to HEARTBEAT.
        HEARTBEAT_ACK = 0x68,
        /// Response to KEY_UPDATE.
        KEY_UPDATE_ACK = 0x69,
        /// Response to GET_ENCAPSULATED_REQUEST.
        ENCAPSULATED_REQUEST = 0x6a,
        /// Response to DELIVER_ENCAPSULATED_RESPONSE.
        ENCAPSULATED_RESPONSE_ACK = 0x6b,
        /// Response to END_SESSION.
        END_SESSION_ACK = 0x6c,
        /// Response to GET_CSR.
        CSR = 0x6d,
        /// Response to SET_CERTIFICATE.
        SET_CERTIFICATE_RSP = 0x6e,
        /// Response to GET_MEASUREMENT_EXTENSION_LOG.
        MEASUREMENT_EXTENSION_LOG = 0x6f,
        /// Response to SUBSCRIBE_EVENT_TYPES.
        SUBSCRIBE_EVENT_TYPES_ACK = 0x70,
        /// Response to SEND_EVENT.
        EVENT_ACK = 0x71,
        /// Response to GET_KEY_PAIR_INFO.
        KEY_PAIR_INFO = 0x7c,
        /// Response to SET_KEY_PAIR_INFO.
        SET_KEY_PAIR_INFO_ACK = 0x7d,
        /// Response to VENDOR_DEFINED_REQUEST.
        VENDOR_DEFINED_RESPONSE = 0x7e,
        /// Instead of any response.
        ERROR = 0x7f,
        /// Digests of the certificate chains.
        GET_DIGESTS = 0x81,
        /// A portion of a certificate chain.
        GET_CERTIFICATE = 0x82,
        /// A signature over a nonce.
        CHALLENGE = 0x83,
        /// The versions that the responder speaks; starts a connection anew.
        GET_VERSION = 0x84,
        /// A part of a large request.
        CHUNK_SEND = 0x85,
        /// A part of a large response.
        CHUNK_GET = 0x86,
        /// Information about the endpoint.
        GET_ENDPOINT_INFO = 0x87,
        /// Measurements, perhaps signed.
        GET_MEASUREMENTS = 0xe0,
        /// Capabilities of both sides.
        GET_CAPABILITIES = 0xe1,
        /// Event types.
        GET_SUPPORTED_EVENT_TYPES = 0xe2,
        /// Algorithms for the connection.
        NEGOTIATE_ALGORITHMS = 0xe3,
        /// Opens a session with a Diffie-Hellman exchange.
        KEY_EXCHANGE = 0xe4,
        /// Ends the handshake that KEY_EXCHANGE began.
        FINISH = 0xe5,
        /// Opens a session with a pre-shared key.
        PSK_EXCHANGE = 0xe6,
        /// Ends the handshake that PSK_EXCHANGE began.
        PSK_FINISH = 0xe7,
        /// Keeps a session alive.
        HEARTBEAT = 0xe8,
        /// New session keys.
        KEY_UPDATE = 0xe9,
        /// Asks for a request of the responder's.
        GET_ENCAPSULATED_REQUEST = 0xea,
        /// Delivers the response to it.
        DELIVER_ENCAPSULATED_RESPONSE = 0xeb,
        /// Ends a session.
        END_SESSION = 0xec,
        /// A certificate signing request.
        GET_CSR = 0xed,
        /// Writes a certificate chain.
        SET_CERTIFICATE = 0xee,
        /// A portion of the measurement extension log.
        GET_MEASUREMENT_EXTENSION_LOG = 0xef,
        /// Which events to be told of.
        SUBSCRIBE_EVENT_TYPES = 0xf0,
        /// Tells of events.
        SEND_EVENT = 0xf1,
        /// Information about a key pair.
        GET_KEY_PAIR_INFO = 0xfc,
        /// Changes a key pair.
        SET_KEY_PAIR_INFO = 0xfd,
        /// A message that another body defines.
        VENDOR_DEFINED_REQUEST = 0xfe,
        /// Asks again for a response that was not ready.
        RESPOND_IF_READY = 0xff,
    }
}

impl Code {
    /// Whether this is a request's code.
    pub fn is_request(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// The first four bytes of every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The version that the message is in.
    pub version: Version,
    /// What the message is.
    pub code: Code,
    /// By code.
    pub param1: u8,
    /// By code.
    pub param2: u8,
}

impl Header {
    /// The header of a message, whose `params` are param1 and param2.
    pub const fn new(version: Version, code: Code, params: [u8; 2]) -> Self {
        let [param1, param2] = params;
        Self {
            version,
            code,
            param1,
            param2,
        }
    }

    /// Reads the header of a message, whatever follows.
    pub fn peek(message: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(message))
    }

    /// Reads the header.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: Version(r.u8("SPDM version")?),
            code: Code(r.u8("SPDM code")?),
            param1: r.u8("SPDM param1")?,
            param2: r.u8("SPDM param2")?,
        })
    }

    /// Appends the header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.bytes(&[self.version.0, self.code.0, self.param1, self.param2]);
    }
}

/// What a decoder must know beyond the bytes: SPDM messages do not carry the sizes of their own fields.
///
/// Before algorithms are negotiated the sizes are 0, which is right for the messages that may come then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The version that messages must be in. GET_VERSION and VERSION are always in 1.0, ERROR in any.
    pub version: Version,
    /// Bytes of a digest.
    pub hash_size: usize,
    /// Bytes of a responder's signature.
    pub signature_size: usize,
    /// Bytes of a requester's signature, with mutual authentication.
    pub requester_signature_size: usize,
    /// Bytes of the exchange data in KEY_EXCHANGE.
    pub exchange_request_size: usize,
    /// Bytes of the exchange data in KEY_EXCHANGE_RSP.
    pub exchange_response_size: usize,
    /// Whether both sides have HANDSHAKE_IN_THE_CLEAR: KEY_EXCHANGE_RSP then lacks verify data and FINISH_RSP has it.
    pub handshake_in_clear: bool,
    /// Whether the responder uses several keys on this connection (1.3), as
    /// [`Flags::multi_key`](super::capabilities::Flags::multi_key) has it: its DIGESTS then says which.
    pub multi_key: bool,
    /// Whether the requester does, in what it answers to encapsulated requests.
    pub requester_multi_key: bool,
    /// Whether the request that is being answered asked for a measurement summary hash.
    pub summary_asked: bool,
    /// Whether the request that is being answered asked for a signature (MEASUREMENTS and ENDPOINT_INFO).
    pub signature_asked: bool,
    /// Whether GET_CAPABILITIES asked for the supported algorithms (1.3), which some append without saying so.
    pub algorithms_asked: bool,
}

impl Context {
    /// A connection at `version` of which nothing else is negotiated.
    pub const fn new(version: Version) -> Self {
        Self {
            version,
            hash_size: 0,
            signature_size: 0,
            requester_signature_size: 0,
            exchange_request_size: 0,
            exchange_response_size: 0,
            handshake_in_clear: false,
            multi_key: false,
            requester_multi_key: false,
            summary_asked: false,
            signature_asked: false,
            algorithms_asked: false,
        }
    }

    /// The same connection seen by encapsulated messages, in which requester and responder have changed places. What was
    /// asked for is then what the encapsulated request asked for.
    pub const fn encapsulated(self) -> Self {
        Self {
            signature_size: self.requester_signature_size,
            requester_signature_size: self.signature_size,
            multi_key: self.requester_multi_key,
            requester_multi_key: self.multi_key,
            ..self
        }
    }
}

/// A message: how it is read, to its true end, and written, to the byte.
pub trait Payload<'a>: Sized {
    /// Its code.
    const CODE: Code;

    /// Reads what follows `header`. The version is checked already.
    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError>;

    /// Its header.
    fn header(&self) -> Header;

    /// Appends what follows the header.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads a message and says how many bytes it is; what follows is not looked at.
    fn decode(message: &'a [u8], context: &Context) -> Result<(Self, usize), DecodeError> {
        let mut r = Reader::new(message);
        let header = Header::read(&mut r)?;
        check_code(header, Self::CODE)?;
        check_version(header, context)?;
        let payload = Self::read(header, &mut r, context)?;
        Ok((payload, r.consumed()))
    }

    /// [`Payload::decode`] of a message in a DOE data object: up to three zero bytes may follow, and nothing else.
    fn decode_padded(message: &'a [u8], context: &Context) -> Result<(Self, usize), DecodeError> {
        let (payload, consumed) = Self::decode(message, context)?;
        check_padding(message, consumed)?;
        Ok((payload, consumed))
    }

    /// [`Payload::decode`] of a message whose length is known, as within secured messages: nothing may follow.
    fn decode_exact(message: &'a [u8], context: &Context) -> Result<Self, DecodeError> {
        let (payload, consumed) = Self::decode(message, context)?;
        check_end(message, consumed)?;
        Ok(payload)
    }

    /// Appends the message.
    fn encode(&self, out: &mut Vec<u8>) {
        self.header().encode(out);
        self.write(out);
    }

    /// The message as bytes.
    fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// Refuses what a DOE data object may not have behind a message: more than three bytes, or any that is not zero.
pub fn check_padding(message: &[u8], consumed: usize) -> Result<(), DecodeError> {
    let padding = message.get(consumed..).unwrap_or_default();
    if padding.len() > 3 {
        return Err(DecodeError::Trailing { extra: padding.len() });
    }
    match padding.iter().find(|byte| **byte != 0) {
        None => Ok(()),
        Some(byte) => Err(DecodeError::Invalid {
            what: "padding after the message",
            found: u64::from(*byte),
            wanted: "zero",
        }),
    }
}

/// Refuses bytes behind a message.
pub fn check_end(message: &[u8], consumed: usize) -> Result<(), DecodeError> {
    match message.len().saturating_sub(consumed) {
        0 => Ok(()),
        extra => Err(DecodeError::Trailing { extra }),
    }
}

fn check_code(header: Header, code: Code) -> Result<(), DecodeError> {
    if header.code == code {
        return Ok(());
    }
    Err(DecodeError::Invalid {
        what: "SPDM code",
        found: u64::from(header.code.0),
        wanted: code.name().unwrap_or("another"),
    })
}

pub(super) fn check_version(header: Header, context: &Context) -> Result<(), DecodeError> {
    let (ok, wanted) = match header.code {
        Code::GET_VERSION | Code::VERSION => (
            header.version == Version::V1_0,
            "1.0, as always in GET_VERSION and VERSION",
        ),
        Code::ERROR => (header.version.0 >> 4 == 1, "any 1.x"),
        _ => (header.version == context.version, "the version negotiated"),
    };
    if ok {
        return Ok(());
    }
    Err(DecodeError::Invalid {
        what: "SPDM version",
        found: u64::from(header.version.0),
        wanted,
    })
}

/// A field that is all of param1 or param2. Bits that it does not know are ignored on receive and written as zeros.
pub(super) trait Param {
    fn from_param(param: u8) -> Self;
    fn to_param(self) -> u8;
}

impl Param for u8 {
    fn from_param(param: u8) -> Self {
        param
    }

    fn to_param(self) -> u8 {
        self
    }
}

/// Bit 0.
impl Param for bool {
    fn from_param(param: u8) -> Self {
        param & 1 != 0
    }

    fn to_param(self) -> u8 {
        self.into()
    }
}

impl Param for Code {
    fn from_param(param: u8) -> Self {
        Self(param)
    }

    fn to_param(self) -> u8 {
        self.0
    }
}

/// Declares messages that are a header and nothing more: a version, and at most two fields, which are its parameters.
///
/// `header_only! { /// doc pub struct Request = END_SESSION { /// doc pub clear: bool = param1 } }` makes the struct,
/// with a `version` beside its fields, and its [`Payload`] with that [`Code`]. A parameter without a field is ignored on
/// receive and written as 0. A field's type says by [`Param`] what it makes of the byte.
macro_rules! header_only {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident = $code:ident
        $({ $($(#[$field_meta:meta])* pub $field:ident: $type:ty = $param:ident),* $(,)? })? ;
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            /// The connection's version.
            pub version: $crate::spdm::msg::Version,
            $($($(#[$field_meta])* pub $field: $type,)*)?
        }

        impl $crate::spdm::msg::Payload<'_> for $name {
            const CODE: $crate::spdm::msg::Code = $crate::spdm::msg::Code::$code;

            fn read(
                header: $crate::spdm::msg::Header,
                _: &mut $crate::wire::Reader<'_>,
                _: &$crate::spdm::msg::Context,
            ) -> Result<Self, $crate::wire::DecodeError> {
                Ok(Self {
                    version: header.version,
                    $($($field: $crate::spdm::msg::header::Param::from_param(header.$param),)*)?
                })
            }

            fn header(&self) -> $crate::spdm::msg::Header {
                $crate::spdm::msg::Header {
                    $($($param: $crate::spdm::msg::header::Param::to_param(self.$field),)*)?
                    ..$crate::spdm::msg::Header::new(self.version, Self::CODE, [0, 0])
                }
            }

            fn write(&self, _: &mut ::alloc::vec::Vec<u8>) {}
        }
    )*};
}
pub(super) use header_only;
