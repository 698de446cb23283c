//! Opaque data: the general format (DSP0274 1.2, OpaqueDataFmt1) and DSP0277's own of 1.1, with what DSP0277 has in them.

use tdisp::{
    spdm::msg::Version,
    wire::{DecodeError, Reader},
};

use crate::spdm::{field::Walk, names};

/// "DMTF", which opaque data of 1.1 begins with.
const DMTF: u32 = 0x444d_5446;

/// A u16 length and as many bytes, taken apart if they are in a format that is known.
pub(super) fn opaque(w: &mut Walk<'_>, version: Version) -> Result<(), DecodeError> {
    let length = w.u16("OpaqueDataLength")?;
    data(w, version, length.into())
}

/// Opaque data whose length came before.
pub(super) fn data(w: &mut Walk<'_>, version: Version, length: usize) -> Result<(), DecodeError> {
    let bytes = w.bytes("OpaqueData", length)?;
    let mut probe = Walk::new(bytes, 0);
    // Opaque data may be anything: what is not in a known format stays a byte string.
    if length > 0 && elements(&mut probe, version).is_ok() && probe.remaining() < 4 {
        w.inside(|w| {
            elements(w, version)?;
            w.reserved(w.remaining())
        });
    }
    Ok(())
}

fn elements(w: &mut Walk<'_>, version: Version) -> Result<(), DecodeError> {
    let count = if version >= Version::V1_2 {
        let count = w.u8("TotalElements")?;
        w.reserved(3)?;
        count
    } else {
        let id = w.u32("SpecID")?;
        w.means("DMTF");
        if id != DMTF {
            return Err(DecodeError::Invalid {
                what: "SpecID",
                found: id.into(),
                wanted: "DMTF",
            });
        }
        w.u8("OpaqueVersion")?;
        let count = w.u8("TotalElements")?;
        w.reserved(2)?;
        count
    };
    (0..count).try_for_each(|_| w.group("Element", element))
}

fn element(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let registry = w.u8("ID")?;
    w.means(names::value(registry.into(), names::REGISTRY));
    let vendor = usize::from(w.u8("VendorLen")?);
    if vendor > 0 {
        w.bytes("VendorID", vendor)?;
    }
    let length = usize::from(w.u16("OpaqueElementDataLen")?);
    w.bytes("OpaqueElementData", length)?;
    if registry == 0 && vendor == 0 {
        w.inside(secured_message);
    }
    let unpadded = 4 + vendor + length;
    w.reserved(unpadded.next_multiple_of(4) - unpadded)
}

/// What DSP0277 has in an element.
fn secured_message(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    w.u8("SMDataVersion")?;
    let id = w.u8("SMDataID")?;
    w.means(names::value(
        id.into(),
        &[
            (0, "version selected"),
            (1, "versions supported"),
            (2, "AEAD limit"),
        ],
    ));
    match id {
        0 => version(w),
        1 => {
            let count = w.u8("VersionCount")?;
            (0..count).try_for_each(|_| version(w))
        }
        2 => {
            let exponent = w.u8("AeadLimitExponent")?;
            w.means(format!("at most 2^{exponent} records a key"));
            Ok(())
        }
        _ => {
            w.rest("Data");
            Ok(())
        }
    }
}

fn version(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    let entry = w.u16("SecuredMessageVersion")?;
    w.means(format!("DSP0277 {}", names::entry(entry)));
    Ok(())
}

/// Whether a value reads as text.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let trimmed = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    (trimmed.len() >= 4 && trimmed.iter().all(printable))
        .then(|| format!("{:?}", String::from_utf8_lossy(trimmed)))
}

/// A little-endian integer of at most eight bytes.
pub(super) fn integer(bytes: &[u8]) -> Option<u64> {
    let mut padded = bytes.to_vec();
    padded.resize(8.max(bytes.len()), 0);
    (bytes.len() <= 8)
        .then(|| Reader::new(&padded).u64("integer").ok())
        .flatten()
}
