//! Key exchange, its end, pre-shared keys, encapsulated requests, chunks (DSP0274 §10).

use tdisp::{
    spdm::msg::{Code, Header, Version},
    wire::DecodeError,
};

use super::{identity::summary, message, opaque};
use crate::spdm::{
    field::{Value, Walk, note},
    known::Known,
    names,
};

pub(super) fn policy(value: u64) -> String {
    names::bits(
        value,
        &[(0, "terminate when measurements change"), (1, "event all")],
    )
}

pub(super) fn heartbeat(seconds: u64) -> String {
    match seconds {
        0 => "no heartbeat".into(),
        _ => format!("heartbeat within {seconds} s"),
    }
}

pub(super) fn key_exchange(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    w.u16("ReqSessionID")?;
    match header.version >= Version::V1_2 {
        true => {
            let value = w.u8("SessionPolicy")?;
            w.means(policy(value.into()));
        }
        false => w.reserved(1)?,
    }
    w.reserved(1)?;
    w.bytes("RandomData", 32)?;
    w.bytes("ExchangeData", known.exchange_size(false))?;
    w.means(exchange(known));
    opaque::opaque(w, header.version)
}

fn exchange(known: &Known) -> String {
    match known.kem {
        0 => names::bits(known.dhe.into(), names::DHE),
        kem => names::bits(kem.into(), names::KEM),
    }
}

pub(super) fn key_exchange_rsp(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    w.u16("RspSessionID")?;
    let mutual = w.u8("MutAuthRequested")?;
    w.means(match mutual {
        0 => "not requested".into(),
        _ => names::bits(mutual.into(), names::MUTUAL),
    });
    let slot = w.u8("SlotIDParam")?;
    w.means(match mutual {
        0 => String::new(),
        _ => names::slot(u64::from(slot) & 0xf, 0xf),
    });
    w.bytes("RandomData", 32)?;
    w.bytes("ExchangeData", known.exchange_size(true))?;
    w.means(exchange(known));
    summary(w, known)?;
    opaque::opaque(w, header.version)?;
    w.bytes("Signature", known.signature_size())?;
    w.means(known.sign_name());
    if !known.in_clear() {
        w.bytes("ResponderVerifyData", known.hash_size())?;
    }
    Ok(())
}

/// Opaque data, which 1.4 put first in the messages that end a handshake.
fn finish_opaque(w: &mut Walk<'_>, version: Version) -> Result<(), DecodeError> {
    match version >= Version::V1_4 {
        true => opaque::opaque(w, version),
        false => Ok(()),
    }
}

pub(super) fn finish(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    finish_opaque(w, header.version)?;
    if header.param1 & 1 == 1 {
        w.bytes("Signature", known.requester_signature_size())?;
        w.means(known.encapsulated().sign_name());
    }
    w.bytes("RequesterVerifyData", known.hash_size()).map(drop)
}

pub(super) fn finish_rsp(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    finish_opaque(w, header.version)?;
    if known.in_clear() {
        w.bytes("ResponderVerifyData", known.hash_size())?;
    }
    Ok(())
}

pub(super) fn psk_exchange(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    w.u16("ReqSessionID")?;
    let hint = w.u16("PSKHintLength")?;
    let context = w.u16("RequesterContextLength")?;
    let length = w.u16("OpaqueDataLength")?;
    let bytes = w.bytes("PSKHint", hint.into())?;
    w.means(opaque::text(bytes).unwrap_or_default());
    w.bytes("RequesterContext", context.into())?;
    opaque::data(w, header.version, length.into())
}

pub(super) fn psk_exchange_rsp(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    w.u16("RspSessionID")?;
    w.reserved(2)?;
    let context = w.u16("ResponderContextLength")?;
    let length = w.u16("OpaqueDataLength")?;
    summary(w, known)?;
    w.bytes("ResponderContext", context.into())?;
    opaque::data(w, header.version, length.into())?;
    w.bytes("ResponderVerifyData", known.hash_size()).map(drop)
}

pub(super) fn psk_finish(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    finish_opaque(w, header.version)?;
    w.bytes("RequesterVerifyData", known.hash_size()).map(drop)
}

pub(super) fn psk_finish_rsp(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    finish_opaque(w, header.version)
}

/// A message in a message, in which the sides have changed places. It runs to the end of what came.
pub(super) fn encapsulated(w: &mut Walk<'_>, name: &'static str, known: &Known) -> Result<(), DecodeError> {
    w.rest(name);
    inner(w, &known.encapsulated());
    Ok(())
}

pub(super) fn encapsulated_ack(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    if header.version >= Version::V1_2 {
        w.u8("AckRequestID")?;
        w.reserved(3)?;
    }
    match header.param2 {
        1 => encapsulated(w, "EncapsulatedRequest", known),
        2 => {
            let slot = w.u8("SlotID")?;
            w.means(names::slot(slot.into(), 0xf));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Takes the last field apart as a message of its own, behind which there may be a data object's padding.
fn inner(w: &mut Walk<'_>, known: &Known) {
    // A message that carries another may not be carried itself: without this there is no end to it.
    let code = w.last().and_then(|last| match &last.value {
        Value::Bytes(bytes) => Header::peek(bytes).ok(),
        _ => None,
    });
    if code.is_some_and(|header| CARRIERS.contains(&header.code)) {
        return w.means("carries another message, which no message in another may");
    }
    let mut fault = None;
    let mut name = String::new();
    w.inside(|w| {
        let start = w.place();
        let bytes = w.peek();
        let found = message(bytes, known, true);
        name = found.name();
        fault.clone_from(&found.fault);
        w.adopt(found.fields, start);
        Ok(())
    });
    w.means(name);
    if let (Some(fault), Some(last)) = (fault, w.last()) {
        note(&mut last.meaning, &fault);
    }
}

const CARRIERS: [Code; 4] = [
    Code::ENCAPSULATED_REQUEST,
    Code::DELIVER_ENCAPSULATED_RESPONSE,
    Code::ENCAPSULATED_RESPONSE_ACK,
    Code::CHUNK_SEND_ACK,
];

fn sequence(w: &mut Walk<'_>, header: Header) -> Result<u32, DecodeError> {
    if header.version >= Version::V1_4 {
        return w.u32("ChunkSeqNo");
    }
    w.u16("ChunkSeqNo").map(u32::from)
}

pub(super) fn chunk(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    let number = sequence(w, header)?;
    if header.version < Version::V1_4 {
        w.reserved(2)?;
    }
    let size = w.u32("ChunkSize")?;
    if number == 0 {
        w.u32("LargeMessageSize")?;
    }
    w.bytes("SPDMchunk", size as usize).map(drop)
}

pub(super) fn chunk_send_ack(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    sequence(w, header)?;
    // Fewer bytes than a header's are no response but a data object's padding.
    if w.remaining() >= 4 {
        w.rest("ResponseToLargeRequest");
        inner(w, known);
    }
    Ok(())
}

pub(super) fn chunk_get(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    sequence(w, header).map(drop)
}
