//! DIGESTS, CERTIFICATE, CHALLENGE_AUTH, MEASUREMENTS, ENDPOINT_INFO and what asks for them (DSP0274 §10).

use tdisp::{
    spdm::msg::{Code, Header, Version, measurements::Kind},
    wire::DecodeError,
};

use super::opaque::{integer, opaque, text};
use crate::spdm::{field::Walk, known::Known, names};

pub(super) fn params(header: Header) -> [String; 2] {
    let (first, second) = (u64::from(header.param1), u64::from(header.param2));
    let slot = |value: u64| names::slot(value & 0xf, 0xf);
    let v1_3 = header.version >= Version::V1_3;
    let large = header.version >= Version::V1_4 && first & 0x80 != 0;
    match header.code {
        Code::DIGESTS if v1_3 => [
            format!("supported: {}", names::slots(first)),
            format!("provisioned: {}", names::slots(second)),
        ],
        Code::DIGESTS => [String::new(), format!("provisioned: {}", names::slots(second))],
        Code::GET_CERTIFICATE => {
            let size = if v1_3 && second & 1 == 1 {
                "only the slot's size"
            } else {
                ""
            };
            [slot(first) + if large { ", large" } else { "" }, size.into()]
        }
        Code::CERTIFICATE => {
            let model = if v1_3 {
                names::value(second & 7, names::MODEL)
            } else {
                String::new()
            };
            [slot(first) + if large { ", large" } else { "" }, model]
        }
        Code::CHALLENGE => [names::slot(first, 0xff), names::value(second, names::SUMMARY)],
        Code::CHALLENGE_AUTH => {
            let mutual = header.version >= Version::V1_1 && first & 0x80 != 0;
            let mutual = if mutual {
                ", wants basic mutual authentication"
            } else {
                ""
            };
            [slot(first) + mutual, names::slots(second)]
        }
        Code::GET_MEASUREMENTS => {
            let operation = match second {
                0 => "how many there are".into(),
                0xff => "all".into(),
                index => format!("index {index}"),
            };
            let attributes = [(0, "signed"), (1, "raw"), (2, "as they are now")];
            [names::bits(first, &attributes), operation]
        }
        Code::MEASUREMENTS => {
            let changed = match second >> 4 & 3 {
                0 => "changes not detected",
                1 => "changed in this session",
                2 => "not changed in this session",
                _ => "reserved 3",
            };
            let changed = if header.version >= Version::V1_2 {
                changed
            } else {
                ""
            };
            [format!("{first} indices"), format!("{}, {changed}", slot(second))]
        }
        Code::GET_ENDPOINT_INFO => {
            let what = names::value(first, &[(1, "device class identifier")]);
            [what, slot(second)]
        }
        _ => [String::new(), slot(second)],
    }
}

pub(super) fn digests(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    let slots: Vec<_> = (0..8).filter(|slot| header.param2 >> slot & 1 == 1).collect();
    for slot in &slots {
        w.bytes("Digest", known.hash_size())?;
        w.means(format!("of the chain in slot {slot}"));
    }
    if header.version < Version::V1_3 || !known.multi_key {
        return Ok(());
    }
    for slot in &slots {
        w.u8("KeyPairID")?;
        w.means(format!("slot {slot}"));
    }
    for slot in &slots {
        let info = w.u8("CertificateInfo")?;
        w.means(format!(
            "slot {slot}: {}",
            names::value(u64::from(info) & 7, names::MODEL)
        ));
    }
    for slot in &slots {
        let usage = w.u16("KeyUsageMask")?;
        w.means(format!(
            "slot {slot}: {}",
            names::bits(usage.into(), names::KEY_USAGE)
        ));
    }
    Ok(())
}

fn is_large(header: Header) -> bool {
    header.version >= Version::V1_4 && header.param1 & 0x80 != 0
}

pub(super) fn get_certificate(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    if !is_large(header) {
        w.u16("Offset")?;
        w.u16("Length")?;
        return Ok(());
    }
    w.u16("ShortOffset")?;
    w.u16("ShortLength")?;
    w.u32("Offset")?;
    w.u32("Length")?;
    Ok(())
}

pub(super) fn certificate(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    let portion = if is_large(header) {
        w.u16("ShortPortionLength")?;
        w.u16("ShortRemainderLength")?;
        let portion = w.u32("PortionLength")?;
        w.u32("RemainderLength")?;
        portion
    } else {
        let portion = w.u16("PortionLength")?;
        w.u16("RemainderLength")?;
        portion.into()
    };
    w.bytes("CertChain", portion as usize).map(drop)
}

pub(super) fn challenge(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    w.bytes("Nonce", 32)?;
    context(w, header)
}

pub(super) fn challenge_auth(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    w.bytes("CertChainHash", known.hash_size())?;
    w.bytes("Nonce", 32)?;
    summary(w, known)?;
    opaque(w, header.version)?;
    context(w, header)?;
    w.bytes("Signature", known.signature_size())?;
    w.means(known.sign_name());
    Ok(())
}

/// MeasurementSummaryHash, if the request asked for it.
pub(super) fn summary(w: &mut Walk<'_>, known: &Known) -> Result<(), DecodeError> {
    if known.summary_asked {
        w.bytes("MeasurementSummaryHash", known.hash_size())?;
    }
    Ok(())
}

/// RequesterContext, from 1.3 on.
fn context(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    if header.version >= Version::V1_3 {
        w.bytes("RequesterContext", 8)?;
    }
    Ok(())
}

pub(super) fn get_measurements(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    if header.param1 & 1 == 1 {
        w.bytes("Nonce", 32)?;
        if header.version >= Version::V1_1 {
            let slot = w.u8("SlotIDParam")?;
            w.means(names::slot(u64::from(slot) & 0xf, 0xf));
        }
    }
    context(w, header)
}

pub(super) fn measurements(w: &mut Walk<'_>, header: Header, known: &Known) -> Result<(), DecodeError> {
    let count = w.u8("NumberOfBlocks")?;
    let length = w.u24("MeasurementRecordLength")?;
    w.bytes("MeasurementRecord", length as usize)?;
    w.inside(|w| (0..count).try_for_each(|_| w.group("Block", block)));
    w.bytes("Nonce", 32)?;
    opaque(w, header.version)?;
    context(w, header)?;
    if known.signature_asked {
        w.bytes("Signature", known.signature_size())?;
        w.means(known.sign_name());
    }
    Ok(())
}

fn block(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    w.u8("Index")?;
    let specification = w.u8("MeasurementSpecification")?;
    w.means(names::bits(specification.into(), names::DMTF));
    let size = w.u16("MeasurementSize")?;
    w.bytes("Measurement", size.into())?;
    if specification == 1 {
        w.inside(value);
    }
    Ok(())
}

/// A measurement in the DMTF's format.
pub(super) fn value(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let kind = w.u8("DMTFSpecMeasurementValueType")?;
    let raw = if kind & 0x80 != 0 { "raw" } else { "digest" };
    let kind = Kind(kind & 0x7f);
    w.means(format!("{}, {raw}", kind_name(kind)));
    let size = w.u16("DMTFSpecMeasurementValueSize")?;
    let bytes = w.bytes("DMTFSpecMeasurementValue", size.into())?;
    match (kind, integer(bytes)) {
        (Kind::FIRMWARE_SECURITY_VERSION, Some(number)) => w.means(number.to_string()),
        _ => w.means(text(bytes).unwrap_or_default()),
    }
    Ok(())
}

/// What a measurement is of, in words.
fn kind_name(kind: Kind) -> String {
    kind.name().map_or_else(
        || format!("kind {}", kind.0),
        |name| name.to_lowercase().replace('_', " "),
    )
}

pub(super) fn get_endpoint_info(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let attributes = w.u8("RequestAttributes")?;
    w.means(names::bits(attributes.into(), &[(0, "signed")]));
    w.reserved(3)?;
    if attributes & 1 == 1 {
        w.bytes("Nonce", 32)?;
    }
    Ok(())
}

pub(super) fn endpoint_info(w: &mut Walk<'_>, _: Header, known: &Known) -> Result<(), DecodeError> {
    w.reserved(4)?;
    if known.signature_asked {
        w.bytes("Nonce", 32)?;
    }
    let length = w.u32("EPInfoLen")?;
    w.bytes("EPInfo", length as usize)?;
    w.inside(device_class);
    if known.signature_asked {
        w.bytes("Signature", known.signature_size())?;
        w.means(known.sign_name());
    }
    Ok(())
}

/// Device class identifiers: the only endpoint information there is.
fn device_class(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let count = w.u8("NumIdentifiers")?;
    w.reserved(3)?;
    (0..count).try_for_each(|_| {
        w.group("Identifier", |w| {
            let length = w.u8("IdElemLength")?;
            w.bytes("IdElem", length.into()).map(drop)
        })
    })
}
