//! VERSION, GET_CAPABILITIES, CAPABILITIES, NEGOTIATE_ALGORITHMS, ALGORITHMS (DSP0274 §10).

use tdisp::{
    spdm::msg::{Header, Version},
    wire::DecodeError,
};

use crate::spdm::{field::Walk, names};

pub(super) fn version(w: &mut Walk<'_>) -> Result<(), DecodeError> {
    w.reserved(1)?;
    let count = w.u8("VersionNumberEntryCount")?;
    for _ in 0..count {
        let entry = w.u16("VersionNumberEntry")?;
        w.means(names::entry(entry));
    }
    Ok(())
}

pub(super) fn get_capabilities(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    match header.version {
        Version::V1_0 => Ok(()),
        version => flags(w, version, true),
    }
}

pub(super) fn capabilities(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    flags(w, header.version, false)?;
    // Some only append the list, and no padding is as long.
    let listed = header.param1 & 1 == 1 || w.remaining() > 3;
    if header.version < Version::V1_3 || !listed {
        return Ok(());
    }
    w.group("SupportedAlgorithms", |w| {
        let tables = w.u8("NumberOfTables")?;
        w.reserved(1)?;
        offer(w, header.version, tables)
    })
}

fn flags(w: &mut Walk<'_>, version: Version, of_requester: bool) -> Result<(), DecodeError> {
    w.reserved(1)?;
    let exponent = w.u8("CTExponent")?;
    if exponent < 64 {
        w.means(format!("cryptography takes at most {} us", 1u64 << exponent));
    }
    match version >= Version::V1_4 {
        true => w.u16("ExtFlags").map(drop)?,
        false => w.reserved(2)?,
    }
    let flags = w.u32("Flags")?;
    w.means(names::capabilities(flags, of_requester));
    if version >= Version::V1_2 {
        w.u32("DataTransferSize")?;
        w.u32("MaxSPDMmsgSize")?;
    }
    Ok(())
}

pub(super) fn negotiate_algorithms(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    offer(w, header.version, header.param1)
}

fn offer(w: &mut Walk<'_>, version: Version, count: u8) -> Result<(), DecodeError> {
    w.u16("Length")?;
    specification(w, version)?;
    mask(w, "BaseAsymAlgo", names::ASYM)?;
    mask(w, "BaseHashAlgo", names::HASH)?;
    pqc(w, version, "PqcAsymAlgo")?;
    w.reserved(8)?;
    let asym = w.u8("ExtAsymCount")?;
    let hash = w.u8("ExtHashCount")?;
    w.reserved(1)?;
    log(w, version)?;
    extended(w, "ExtAsym", asym)?;
    extended(w, "ExtHash", hash)?;
    tables(w, version, count)
}

pub(super) fn algorithms(w: &mut Walk<'_>, header: Header) -> Result<(), DecodeError> {
    let version = header.version;
    w.u16("Length")?;
    specification(w, version)?;
    mask(w, "MeasurementHashAlgo", names::MEASUREMENT_HASH)?;
    mask(w, "BaseAsymSel", names::ASYM)?;
    mask(w, "BaseHashSel", names::HASH)?;
    pqc(w, version, "PqcAsymSel")?;
    w.reserved(7)?;
    log(w, version)?;
    let asym = w.u8("ExtAsymSelCount")?;
    let hash = w.u8("ExtHashSelCount")?;
    w.reserved(2)?;
    extended(w, "ExtAsymSel", asym)?;
    extended(w, "ExtHashSel", hash)?;
    tables(w, version, header.param1)
}

fn mask(w: &mut Walk<'_>, name: &'static str, bits: &[(u32, &str)]) -> Result<(), DecodeError> {
    let value = w.u32(name)?;
    w.means(names::bits(value.into(), bits));
    Ok(())
}

fn specification(w: &mut Walk<'_>, version: Version) -> Result<(), DecodeError> {
    let specification = w.u8("MeasurementSpecification")?;
    w.means(names::bits(specification.into(), names::DMTF));
    match version >= Version::V1_2 {
        true => {
            let other = w.u8("OtherParams")?;
            w.means(names::bits(other.into(), names::OTHER_PARAMS));
            Ok(())
        }
        false => w.reserved(1),
    }
}

fn pqc(w: &mut Walk<'_>, version: Version, name: &'static str) -> Result<(), DecodeError> {
    match version >= Version::V1_4 {
        true => mask(w, name, names::PQC_ASYM),
        false => w.reserved(4),
    }
}

fn log(w: &mut Walk<'_>, version: Version) -> Result<(), DecodeError> {
    if version < Version::V1_3 {
        return w.reserved(1);
    }
    let specification = w.u8("MELspecification")?;
    w.means(names::bits(specification.into(), names::DMTF));
    Ok(())
}

fn extended(w: &mut Walk<'_>, name: &'static str, count: u8) -> Result<(), DecodeError> {
    if count > 0 {
        w.bytes(name, 4 * usize::from(count))?;
    }
    Ok(())
}

fn tables(w: &mut Walk<'_>, version: Version, count: u8) -> Result<(), DecodeError> {
    let count = if version >= Version::V1_1 { count } else { 0 };
    for _ in 0..count {
        w.group("AlgStruct", |w| {
            let kind = w.u8("AlgType")?;
            let known = names::TABLES.iter().find(|(known, ..)| *known == kind);
            w.means(known.map_or("unknown", |(_, name, _)| name));
            let counts = w.u8("AlgCount")?;
            w.means(format!("{} bytes fixed, {} extended", counts >> 4, counts & 0xf));
            if counts >> 4 == 2 {
                let mask = w.u16("AlgSupported")?;
                w.means(names::bits(mask.into(), known.map_or(&[], |(_, _, bits)| bits)));
            } else {
                w.bytes("AlgSupported", usize::from(counts >> 4))?;
            }
            extended(w, "AlgExternal", counts & 0xf)
        })?;
    }
    Ok(())
}
