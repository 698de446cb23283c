//! Messages field by field, as far as they can be read (DSP0274 §10).
//!
//! One file for each group of messages; [`message`] reads any. What stands behind a message in a data object is no part
//! of it: [`Message::size`] says where the message ends.

mod identity;
mod manage;
mod negotiate;
mod opaque;
mod session;
mod vendor;

use std::ops::Range;

use tdisp::{
    spdm::msg::{Code, Header, Version, error::ErrorCode},
    wire::DecodeError,
};

use super::{
    field::{Field, Fields, Walk},
    known::Known,
    names,
};

pub use vendor::report;

/// A message as it was read.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its header; none if there are not even four bytes.
    pub header: Option<Header>,
    /// Its fields, the header's first.
    pub fields: Vec<Field>,
    /// Bytes of it, without what a data object adds.
    pub size: usize,
    /// Why it could not be read to its end.
    pub fault: Option<String>,
}

impl Message {
    /// Its code; 0 if it has none.
    pub fn code(&self) -> Code {
        self.header.map_or(Code(0), |header| header.code)
    }

    /// What it is called.
    pub fn name(&self) -> String {
        match self.code() {
            Code(0) => "no SPDM message".into(),
            code => match code.name() {
                Some(name) => name.into(),
                None => format!("unknown code {:#04x}", code.0),
            },
        }
    }

    /// param1.
    pub fn param1(&self) -> u8 {
        self.header.map_or(0, |header| header.param1)
    }

    /// param2.
    pub fn param2(&self) -> u8 {
        self.header.map_or(0, |header| header.param2)
    }

    /// Where a field is.
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        self.fields.field(name).map(|field| field.at.clone())
    }
}

/// Reads a message. `padded` says that it came in a data object: up to three zero bytes may follow it.
pub fn message(bytes: &[u8], known: &Known, padded: bool) -> Message {
    let mut walk = Walk::new(bytes, 0);
    let header = Header::peek(bytes).ok();
    let result = take(&mut walk, header, known);
    let size = walk.consumed();
    let left = bytes.get(size..).unwrap_or_default();
    let allowed = if padded { 3 } else { 0 };
    let mut fault = result.err().map(|error| error.to_string());
    if fault.is_none() && (left.len() > allowed || left.iter().any(|byte| *byte != 0)) {
        fault = Some(format!(
            "{} bytes behind the message; wanted {}",
            left.len(),
            if padded { "at most 3, all zero" } else { "none" }
        ));
    }
    if fault.is_some() {
        walk.rest("Rest");
    }
    Message {
        header,
        size: if fault.is_some() { bytes.len() } else { size },
        fields: walk.into_fields(),
        fault,
    }
}

fn take(walk: &mut Walk<'_>, header: Option<Header>, known: &Known) -> Result<(), DecodeError> {
    walk.u8("SPDMVersion")?;
    let version = header.map_or(known.version, |header| header.version);
    walk.means(names::version(version));
    walk.u8("RequestResponseCode")?;
    let code = header.map_or(Code(0), |header| header.code);
    walk.means(code.name().unwrap_or("unknown"));
    let params = header.map(|header| params(header, known)).unwrap_or_default();
    let [first, second] = params;
    walk.u8("Param1")?;
    walk.means(first);
    walk.u8("Param2")?;
    walk.means(second);
    match header {
        Some(header) => body(walk, header, known),
        None => Ok(()),
    }
}

fn body(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    let needs_sizes = matches!(
        header.code,
        Code::DIGESTS
            | Code::CHALLENGE_AUTH
            | Code::MEASUREMENTS
            | Code::KEY_EXCHANGE
            | Code::KEY_EXCHANGE_RSP
            | Code::FINISH
            | Code::FINISH_RSP
            | Code::PSK_EXCHANGE_RSP
            | Code::PSK_FINISH
            | Code::ENDPOINT_INFO
    );
    if needs_sizes && !known.negotiated {
        w.rest("Body");
        w.means("its fields' sizes are not known: ALGORITHMS was not seen");
        return Ok(());
    }
    match header.code {
        Code::VERSION => negotiate::version(w),
        Code::GET_CAPABILITIES => negotiate::get_capabilities(w, header),
        Code::CAPABILITIES => negotiate::capabilities(w, header),
        Code::NEGOTIATE_ALGORITHMS => negotiate::negotiate_algorithms(w, header),
        Code::ALGORITHMS => negotiate::algorithms(w, header),
        Code::DIGESTS => identity::digests(w, header, known),
        Code::GET_CERTIFICATE => identity::get_certificate(w, header),
        Code::CERTIFICATE => identity::certificate(w, header),
        Code::CHALLENGE => identity::challenge(w, header),
        Code::CHALLENGE_AUTH => identity::challenge_auth(w, header, known),
        Code::GET_MEASUREMENTS => identity::get_measurements(w, header),
        Code::MEASUREMENTS => identity::measurements(w, header, known),
        Code::GET_ENDPOINT_INFO => identity::get_endpoint_info(w),
        Code::ENDPOINT_INFO => identity::endpoint_info(w, header, known),
        Code::GET_MEASUREMENT_EXTENSION_LOG => manage::get_log(w),
        Code::MEASUREMENT_EXTENSION_LOG => manage::log(w),
        Code::KEY_EXCHANGE => session::key_exchange(w, header, known),
        Code::KEY_EXCHANGE_RSP => session::key_exchange_rsp(w, header, known),
        Code::FINISH => session::finish(w, header, known),
        Code::FINISH_RSP => session::finish_rsp(w, header, known),
        Code::PSK_EXCHANGE => session::psk_exchange(w, header),
        Code::PSK_EXCHANGE_RSP => session::psk_exchange_rsp(w, header, known),
        Code::PSK_FINISH => session::psk_finish(w, header, known),
        Code::PSK_FINISH_RSP => session::psk_finish_rsp(w, header),
        Code::ENCAPSULATED_REQUEST => session::encapsulated(w, "EncapsulatedRequest", known),
        Code::DELIVER_ENCAPSULATED_RESPONSE => session::encapsulated(w, "EncapsulatedResponse", known),
        Code::ENCAPSULATED_RESPONSE_ACK => session::encapsulated_ack(w, header, known),
        Code::CHUNK_SEND | Code::CHUNK_RESPONSE => session::chunk(w, header),
        Code::CHUNK_SEND_ACK => session::chunk_send_ack(w, header, known),
        Code::CHUNK_GET => session::chunk_get(w, header),
        Code::GET_CSR => manage::get_csr(w),
        Code::CSR => manage::csr(w),
        Code::SET_CERTIFICATE => manage::set_certificate(w, header, known),
        Code::GET_KEY_PAIR_INFO => w.u8("KeyPairID").map(drop),
        Code::KEY_PAIR_INFO => manage::key_pair_info(w, header),
        Code::SET_KEY_PAIR_INFO => manage::set_key_pair_info(w, header),
        Code::SUPPORTED_EVENT_TYPES | Code::SUBSCRIBE_EVENT_TYPES => manage::event_types(w, header),
        Code::SEND_EVENT => manage::send_event(w),
        Code::VENDOR_DEFINED_REQUEST | Code::VENDOR_DEFINED_RESPONSE => vendor::defined(w, header),
        Code::ERROR => error(w, header),
        code if code.name().is_none() => {
            w.rest("Body");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn error(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    match ErrorCode(header.param1) {
        ErrorCode::RESPONSE_NOT_READY => w.group("ExtendedErrorData", |w| {
            let exponent = w.u8("RDTExponent")?;
            if exponent < 64 {
                w.means(format!("ready in {} us", 1u64 << exponent));
            }
            let code = w.u8("RequestCode")?;
            w.means(Code(code).to_string());
            w.u8("Token")?;
            w.u8("RDTM")?;
            Ok(())
        }),
        ErrorCode::LARGE_RESPONSE => w.u8("Handle").map(drop),
        ErrorCode::DATA_TOO_LARGE if header.version >= Version::V1_4 => w.u32("ActualSize").map(drop),
        // Responders have been seen that leave it out.
        ErrorCode::RESPONSE_TOO_LARGE if header.version >= Version::V1_2 && w.remaining() >= 4 => {
            w.u32("ActualSize").map(drop)
        }
        ErrorCode::VENDOR => {
            w.rest("ExtendedErrorData");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What param1 and param2 of a message stand for.
fn params(header: Header, known: &Known) -> [String; 2] {
    let (first, second) = (u64::from(header.param1), u64::from(header.param2));
    let version = header.version;
    let none = String::new;
    match header.code {
        Code::GET_CAPABILITIES | Code::CAPABILITIES if first & 1 == 1 => {
            ["supported algorithms".into(), none()]
        }
        Code::NEGOTIATE_ALGORITHMS | Code::ALGORITHMS => [format!("{first} algorithm structures"), none()],
        Code::DIGESTS
        | Code::GET_CERTIFICATE
        | Code::CERTIFICATE
        | Code::CHALLENGE
        | Code::CHALLENGE_AUTH
        | Code::GET_MEASUREMENTS
        | Code::MEASUREMENTS
        | Code::GET_ENDPOINT_INFO
        | Code::ENDPOINT_INFO => identity::params(header),
        Code::KEY_EXCHANGE => [names::value(first, names::SUMMARY), names::slot(second, 0xff)],
        Code::PSK_EXCHANGE => [names::value(first, names::SUMMARY), session::policy(second)],
        Code::KEY_EXCHANGE_RSP | Code::PSK_EXCHANGE_RSP => [session::heartbeat(first), none()],
        Code::FINISH if first & 1 == 1 => ["signed".into(), names::slot(second, 0xff)],
        Code::FINISH => ["not signed".into(), none()],
        Code::KEY_UPDATE | Code::KEY_UPDATE_ACK => {
            let operation = names::value(
                first,
                &[(1, "UpdateKey"), (2, "UpdateAllKeys"), (3, "VerifyNewKey")],
            );
            [operation, "tag".into()]
        }
        Code::END_SESSION if first & 1 == 1 => ["forget the negotiated state".into(), none()],
        Code::ENCAPSULATED_REQUEST | Code::DELIVER_ENCAPSULATED_RESPONSE => ["request ID".into(), none()],
        Code::ENCAPSULATED_RESPONSE_ACK => {
            let kinds = [
                (0, "nothing follows"),
                (1, "a request follows"),
                (2, "a slot number follows"),
            ];
            ["request ID".into(), names::value(second, &kinds)]
        }
        Code::CHUNK_SEND | Code::CHUNK_RESPONSE => {
            let last = if first & 1 == 1 {
                "the last chunk"
            } else {
                "more chunks follow"
            };
            [last.into(), "handle".into()]
        }
        Code::CHUNK_SEND_ACK if first & 1 == 1 => ["error before the last chunk".into(), "handle".into()],
        Code::CHUNK_SEND_ACK | Code::CHUNK_GET => [none(), "handle".into()],
        Code::RESPOND_IF_READY => [Code(header.param1).to_string(), "token".into()],
        Code::ERROR => {
            let code = ErrorCode(header.param1);
            let data = match code {
                ErrorCode::UNSUPPORTED_REQUEST => Code(header.param2).to_string(),
                _ => none(),
            };
            [code.to_string(), data]
        }
        _ => manage::params(header, version, known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spdm::field::Value;

    /// The value of ActualSize in an error, if that is read to its end.
    fn actual_size(error: &[u8]) -> Option<Value> {
        let message = message(error, &Known::new(Version(error[0])), false);
        assert_eq!(message.fault, None, "{error:02x?}");
        message
            .fields
            .field("ActualSize")
            .map(|field| field.value.clone())
    }

    #[test]
    fn an_error_that_something_is_too_large_is_shown_with_the_size_where_its_version_has_one() {
        let size = Some(Value::Int(0x1_1170));
        assert_eq!(actual_size(&[0x14, 0x7f, 0x12, 0, 0x70, 0x11, 1, 0]), size);
        assert_eq!(actual_size(&[0x12, 0x7f, 0x0d, 0, 0x70, 0x11, 1, 0]), size);
        assert_eq!(actual_size(&[0x12, 0x7f, 0x0d, 0]), None);
        assert_eq!(actual_size(&[0x13, 0x7f, 0x12, 0]), None);
    }
}
