//! Provisioning, key pairs, events, measurement extension log (DSP0274 1.2 and 1.3, §10).

use tdisp::{
    spdm::msg::{Code, Header, Version},
    wire::DecodeError,
};

use super::identity::value;
use crate::spdm::{certificate, field::Walk, known::Known, names};

pub(super) fn params(header: Header, version: Version, _: &Known) -> [String; 2] {
    let (first, second) = (u64::from(header.param1), u64::from(header.param2));
    let v1_3 = version >= Version::V1_3;
    let none = String::new;
    match header.code {
        Code::GET_CSR if v1_3 => [
            format!("key pair {first}"),
            format!(
                "{}{}{}",
                names::value(second & 7, names::MODEL),
                if second & 0x80 != 0 { ", overwrite" } else { "" },
                match second >> 3 & 7 {
                    0 => none(),
                    tag => format!(", tracking tag {tag}"),
                }
            ),
        ],
        Code::CSR if v1_3 && second != 0 => [none(), format!("reset tag {second}")],
        Code::SET_CERTIFICATE => {
            let model = format!(", {}", names::value(first >> 4 & 7, names::MODEL));
            let erase = if v1_3 && first & 0x80 != 0 { ", erase" } else { "" };
            let model = if v1_3 { model } else { none() };
            let pair = if v1_3 {
                format!("key pair {second}")
            } else {
                none()
            };
            [names::slot(first & 0xf, 0xf) + &model + erase, pair]
        }
        Code::SET_CERTIFICATE_RSP => [names::slot(first & 0xf, 0xf), none()],
        Code::SET_KEY_PAIR_INFO => [
            names::value(first, &[(0, "change"), (1, "erase"), (2, "generate")]),
            none(),
        ],
        Code::SUPPORTED_EVENT_TYPES | Code::SUBSCRIBE_EVENT_TYPES => {
            [format!("{first} event groups"), none()]
        }
        _ => [none(), none()],
    }
}

pub(super) fn get_csr(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let requester = w.u16("RequesterInfoLength")?;
    let opaque = w.u16("OpaqueDataLength")?;
    w.bytes("RequesterInfo", requester.into())?;
    w.bytes("OpaqueData", opaque.into()).map(drop)
}

pub(super) fn csr(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let length = w.u16("CSRLength")?;
    w.reserved(2)?;
    let bytes = w.bytes("CSRData", length.into())?;
    w.means(certificate::request(bytes).unwrap_or_default());
    Ok(())
}

/// The chain object says its own length; without a chain there is nothing, as when a slot is erased.
pub(super) fn set_certificate(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    if w.remaining() < 4 {
        return Ok(());
    }
    let mut ahead = tdisp::wire::Reader::new(w.peek());
    let length = match header.version >= Version::V1_4 {
        true => ahead.u32("Length")? as usize,
        false => ahead.u16("Length")?.into(),
    };
    // Some senders say the certificates' length only, or none.
    let size = if (4..=w.remaining()).contains(&length) {
        length
    } else {
        w.remaining()
    };
    let chain = w.bytes("CertChain", size)?;
    if let (Some(fields), Some(last)) = (
        certificate::chain(chain, header.version, known.hash_size()),
        w.last(),
    ) {
        last.inside = fields;
        let base = last.at.start;
        crate::spdm::field::shift(&mut last.inside, base);
    }
    Ok(())
}

pub(super) fn key_pair_info(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    w.u8("TotalKeyPairs")?;
    w.u8("KeyPairID")?;
    let capabilities = w.u16("Capabilities")?;
    w.means(names::bits(capabilities.into(), KEY_PAIR));
    for name in ["KeyUsageCapabilities", "CurrentKeyUsage"] {
        let usage = w.u16(name)?;
        w.means(names::bits(usage.into(), names::KEY_USAGE));
    }
    for name in ["AsymAlgoCapabilities", "CurrentAsymAlgo"] {
        let mask = w.u32(name)?;
        w.means(names::bits(mask.into(), KEY_ALGORITHM));
    }
    let length = w.u16("PublicKeyInfoLen")?;
    let slots = w.u8("AssocCertSlotMask")?;
    w.means(names::slots(slots.into()));
    w.bytes("PublicKeyInfo", length.into())?;
    if header.version >= Version::V1_4 && w.remaining() > 0 {
        pqc(w, "PqcAsymAlgoCapabilities")?;
        pqc(w, "CurrentPqcAsymAlgo")?;
    }
    Ok(())
}

const KEY_PAIR: &[(u32, &str)] = &[
    (0, "GenKey"),
    (1, "Erasable"),
    (2, "CertAssoc"),
    (3, "KeyUsage"),
    (4, "AsymAlgo"),
    (5, "ShareableCert"),
];

/// Algorithms of a key pair: other bits than those of NEGOTIATE_ALGORITHMS, as a key has no padding scheme.
const KEY_ALGORITHM: &[(u32, &str)] = &[
    (0, "RSA_2048"),
    (1, "RSA_3072"),
    (2, "RSA_4096"),
    (3, "ECC_P256"),
    (4, "ECC_P384"),
    (5, "ECC_P521"),
    (6, "SM2"),
    (7, "ED25519"),
    (8, "ED448"),
];

/// A mask behind its length in bytes (1.4).
fn pqc(w: &mut Walk<'_>, name: &'static str) -> Result<(), DecodeError> {
    let length = w.u8("PqcAsymAlgoLen")?;
    w.bytes(name, length.into())?;
    Ok(())
}

pub(super) fn set_key_pair_info(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    const ERASE: u8 = 1;
    w.u8("KeyPairID")?;
    if header.param1 == ERASE {
        return Ok(());
    }
    w.reserved(1)?;
    let usage = w.u16("DesiredKeyUsage")?;
    w.means(names::bits(usage.into(), names::KEY_USAGE));
    let mask = w.u32("DesiredAsymAlgo")?;
    w.means(names::bits(mask.into(), KEY_ALGORITHM));
    let slots = w.u8("DesiredAssocCertSlotMask")?;
    w.means(names::slots(slots.into()));
    if header.version >= Version::V1_4 && w.remaining() > 3 {
        pqc(w, "DesiredPqcAsymAlgo")?;
    }
    Ok(())
}

pub(super) fn event_types(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    if header.code == Code::SUBSCRIBE_EVENT_TYPES && header.param1 == 0 && w.remaining() < 4 {
        return Ok(());
    }
    let length = w.u32("EventGroupListLen")?;
    w.bytes("EventGroupList", length as usize)?;
    let count = header.param1;
    w.inside(|w| (0..count).try_for_each(|_| w.group("EventGroup", event_group)));
    Ok(())
}

fn group_id(w: &mut Walk<'_>) -> Result<u8, DecodeError> {
    let registry = w.u8("ID")?;
    w.means(names::value(registry.into(), names::REGISTRY));
    let vendor = w.u8("VendorIDLen")?;
    if vendor > 0 {
        w.bytes("VendorID", vendor.into())?;
    }
    Ok(registry)
}

fn event_group(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let registry = group_id(w)?;
    let count = w.u16("EventTypeCount")?;
    w.u16("EventGroupVer")?;
    let attributes = w.u32("Attributes")?;
    w.means(names::bits(attributes.into(), &[(0, "all")]));
    (0..count).try_for_each(|_| {
        event_type(w, registry)?;
        w.reserved(2)
    })
}

fn event_type(w: &mut Walk<'_>, registry: u8) -> Result<(), DecodeError> {
    let kind = w.u16("EventTypeId")?;
    if registry == 0 {
        w.means(names::value(kind.into(), names::EVENTS));
    }
    Ok(())
}

pub(super) fn send_event(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let count = w.u32("EventCount")?;
    (0..count).try_for_each(|_| {
        w.group("Event", |w| {
            w.u32("EventInstanceId")?;
            w.reserved(4)?;
            let registry = group_id(w)?;
            event_type(w, registry)?;
            let length = w.u16("EventDetailLen")?;
            w.bytes("EventDetail", length.into()).map(drop)
        })
    })
}

pub(super) fn get_log(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    w.u32("Offset")?;
    w.u32("Length").map(drop)
}

pub(super) fn log(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let portion = w.u32("PortionLength")?;
    let remainder = w.u32("RemainderLength")?;
    w.bytes("MEL", portion as usize)?;
    if remainder == 0 && portion > 0 {
        w.inside(entries);
    }
    Ok(())
}

/// The DMTF's format of the log.
fn entries(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let count = w.u32("NumberOfEntries")?;
    w.u32("MELEntriesLen")?;
    w.reserved(8)?;
    (0..count).try_for_each(|_| {
        w.group("Entry", |w| {
            w.u32("MELIndex")?;
            w.u8("MeasIndex")?;
            w.reserved(3)?;
            value(w)
        })
    })
}
