//! SPDM messages (DSP0274): one file for each request and its response, named after the request's subject.
//!
//! A message is read with a [`Context`], because messages do not carry the sizes of their own fields, and to its true
//! end, because a transcript is over the message and not over the padding that a DOE data object adds:
//! [`Payload::decode_padded`] and [`Payload::decode_exact`] say what may follow. Writing a message that was read gives
//! the bytes that were read; reserved fields are ignored on receive and written as zeros.

pub mod algorithms;
pub mod capabilities;
pub mod certificate;
pub mod challenge;
pub mod chunk;
pub mod csr;
pub mod digests;
pub mod encapsulated;
pub mod end_session;
pub mod endpoint_info;
pub mod error;
pub mod event_types;
pub mod finish;
pub mod heartbeat;
pub mod key_exchange;
pub mod key_pair_info;
pub mod key_update;
pub mod measurements;
pub mod mel;
pub mod psk_exchange;
pub mod psk_finish;
pub mod respond_if_ready;
pub mod send_event;
pub mod set_certificate;
pub mod set_key_pair_info;
pub mod subscribe;
pub mod vendor;
pub mod version;

mod field;
mod header;

pub use field::{NONCE_SIZE, OPAQUE_MAX, RequesterContext, SLOT_PUBLIC_KEY, SLOTS, Summary};
pub use header::{Code, Context, Header, Payload, Version, check_end, check_padding};

use crate::wire::{DecodeError, Write};
use alloc::vec::Vec;

/// Declares [`Message`] with one variant a message.
macro_rules! messages {
    ($($variant:ident($payload:ty)),* $(,)?) => {
        /// Any message, for whoever takes what comes.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs, reason = "a variant is named after the message in it")]
        pub enum Message<'a> {
            $($variant($payload),)*
            /// A message that this crate does not read: its header, and all that follows.
            Unknown(Header, &'a [u8]),
        }

        impl<'a> Message<'a> {
            /// Reads a message and says how many bytes it is; of an unknown one, all.
            pub fn decode(message: &'a [u8], context: &Context) -> Result<(Self, usize), DecodeError> {
                let header = Header::peek(message)?;
                $(if header.code == <$payload as Payload<'a>>::CODE {
                    let (payload, consumed) = Payload::decode(message, context)?;
                    return Ok((Self::$variant(payload), consumed));
                })*
                header::check_version(header, context)?;
                Ok((Self::Unknown(header, &message[4..]), message.len()))
            }

            /// Appends the message.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(payload) => payload.encode(out),)*
                    Self::Unknown(header, rest) => {
                        header.encode(out);
                        out.bytes(rest);
                    }
                }
            }

            /// Its header.
            pub fn header(&self) -> Header {
                match self {
                    $(Self::$variant(payload) => payload.header(),)*
                    Self::Unknown(header, _) => *header,
                }
            }
        }
    };
}

messages! {
    GetVersion(version::Request),
    Version(version::Response),
    GetCapabilities(capabilities::Request),
    Capabilities(capabilities::Response<'a>),
    NegotiateAlgorithms(algorithms::Request<'a>),
    Algorithms(algorithms::Response<'a>),
    GetDigests(digests::Request),
    Digests(digests::Response<'a>),
    GetCertificate(certificate::Request),
    Certificate(certificate::Response<'a>),
    Challenge(challenge::Request),
    ChallengeAuth(challenge::Response<'a>),
    GetMeasurements(measurements::Request),
    Measurements(measurements::Response<'a>),
    KeyExchange(key_exchange::Request<'a>),
    KeyExchangeRsp(key_exchange::Response<'a>),
    Finish(finish::Request<'a>),
    FinishRsp(finish::Response<'a>),
    PskExchange(psk_exchange::Request<'a>),
    PskExchangeRsp(psk_exchange::Response<'a>),
    PskFinish(psk_finish::Request<'a>),
    PskFinishRsp(psk_finish::Response<'a>),
    Heartbeat(heartbeat::Request),
    HeartbeatAck(heartbeat::Response),
    KeyUpdate(key_update::Request),
    KeyUpdateAck(key_update::Response),
    GetEncapsulatedRequest(encapsulated::Get),
    EncapsulatedRequest(encapsulated::Request<'a>),
    DeliverEncapsulatedResponse(encapsulated::Deliver<'a>),
    EncapsulatedResponseAck(encapsulated::Ack<'a>),
    ChunkSend(chunk::Send<'a>),
    ChunkSendAck(chunk::SendAck<'a>),
    ChunkGet(chunk::Get),
    ChunkResponse(chunk::Response<'a>),
    GetCsr(csr::Request<'a>),
    Csr(csr::Response<'a>),
    SetCertificate(set_certificate::Request<'a>),
    SetCertificateRsp(set_certificate::Response),
    GetKeyPairInfo(key_pair_info::Request),
    KeyPairInfo(key_pair_info::Response<'a>),
    SetKeyPairInfo(set_key_pair_info::Request<'a>),
    SetKeyPairInfoAck(set_key_pair_info::Response),
    GetMeasurementExtensionLog(mel::Request),
    MeasurementExtensionLog(mel::Response<'a>),
    GetEndpointInfo(endpoint_info::Request),
    EndpointInfo(endpoint_info::Response<'a>),
    GetSupportedEventTypes(event_types::Request),
    SupportedEventTypes(event_types::Response<'a>),
    SubscribeEventTypes(subscribe::Request<'a>),
    SubscribeEventTypesAck(subscribe::Response),
    SendEvent(send_event::Request<'a>),
    EventAck(send_event::Response),
    EndSession(end_session::Request),
    EndSessionAck(end_session::Response),
    VendorDefinedRequest(vendor::Request<'a>),
    VendorDefinedResponse(vendor::Response<'a>),
    RespondIfReady(respond_if_ready::Request),
    Error(error::Response<'a>),
}
