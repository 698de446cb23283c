//! Opaque data of KEY_EXCHANGE and PSK_EXCHANGE: which version of secured messages to speak (DSP0277), in the general
//! format (DSP0274 1.2, OpaqueDataFmt1) or, in 1.1, in the DMTF's own.

use super::msg::Version;
use super::msg::version::Entry;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Elements that are looked at: no peer has a reason for more in 1024 bytes that are mostly version lists.
const ELEMENTS_MAX: usize = 32;

/// "DMTF", as a little-endian integer: the specification ID that opaque data of 1.1 starts with.
const DMTF_1_1: u32 = 0x444d_5446;
/// Registry 0: the DMTF, whose elements have no vendor ID.
const REGISTRY_DMTF: u8 = 0;
/// OpaqueDataFmt1 in OtherParams.
const GENERAL_FORMAT: u8 = 2;
/// SMDataVersion.
const DATA_VERSION: u8 = 1;
/// SMDataID of the version chosen.
const ID_SELECTED: u8 = 0;
/// SMDataID of the versions offered.
const ID_SUPPORTED: u8 = 1;

/// Appends opaque data that offers versions of secured messages.
pub fn encode_supported(version: Version, offered: &[Entry], out: &mut Vec<u8>) {
    let offered = &offered[..offered.len().min(usize::from(u8::MAX))];
    let mut data = Vec::from([DATA_VERSION, ID_SUPPORTED, offered.len() as u8]);
    offered.iter().for_each(|entry| data.u16(entry.0));
    encode_element(version, &data, out);
}

/// Appends opaque data that names the version chosen.
pub fn encode_selected(version: Version, selected: Entry, out: &mut Vec<u8>) {
    let mut data = Vec::from([DATA_VERSION, ID_SELECTED]);
    data.u16(selected.0);
    encode_element(version, &data, out);
}

/// The versions that a requester offers; `None` if it says nothing of them. Elements that are not about this are passed
/// over; with two that are, the answer is an error.
pub fn decode_supported(version: Version, opaque: &[u8]) -> Result<Option<Vec<Entry>>, DecodeError> {
    let Some(data) = find(version, opaque, ID_SUPPORTED, "offered secured message versions")? else {
        return Ok(None);
    };
    let offered = Reader::all(data, |r| {
        let count = r.u8("secured message version count")?;
        if count == 0 {
            return Err(DecodeError::Invalid {
                what: "secured message version count",
                found: 0,
                wanted: "at least 1",
            });
        }
        (0..count)
            .map(|_| r.u16("secured message version").map(Entry))
            .collect()
    });
    offered.map(Some)
}

/// The version that a responder has chosen: it has to say so.
pub fn decode_selected(version: Version, opaque: &[u8]) -> Result<Entry, DecodeError> {
    let what = "chosen secured message version";
    let data = find(version, opaque, ID_SELECTED, what)?.ok_or(DecodeError::Invalid {
        what,
        found: 0,
        wanted: ONE_ELEMENT,
    })?;
    Reader::all(data, |r| r.u16("secured message version").map(Entry))
}

/// Refuses opaque data that is not in the general format, or any at all where none was agreed on (1.2 and later).
pub fn check(version: Version, other_params: u8, opaque: &[u8]) -> Result<(), DecodeError> {
    let general = version < Version::V1_2 || other_params & 0x0f == GENERAL_FORMAT;
    match general || opaque.is_empty() {
        true if opaque.is_empty() => Ok(()),
        true => elements(version, opaque).map(drop),
        false => Err(DecodeError::Invalid {
            what: "opaque data in bytes",
            found: opaque.len() as u64,
            wanted: "0, as its format was not agreed on",
        }),
    }
}

/// The highest version, by major and minor number, that both sides speak. A requester that offers none is taken for one
/// that speaks those from before the list had to be there.
pub fn select(ours: &[Entry], offered: Option<&[Entry]>) -> Option<Entry> {
    let offered = offered.unwrap_or(&[Entry(0x1000), Entry(0x1100)]);
    let theirs = |ours: &&Entry| offered.iter().any(|theirs| theirs.version() == ours.version());
    ours.iter()
        .filter(theirs)
        .max_by_key(|ours| ours.version())
        .copied()
}

const ONE_ELEMENT: &str = "exactly one element of opaque data with them";

/// What follows the ID in the one DMTF element that has `id`, if there is one. No opaque data at all is no element.
fn find<'a>(
    version: Version,
    opaque: &'a [u8],
    id: u8,
    what: &'static str,
) -> Result<Option<&'a [u8]>, DecodeError> {
    if opaque.is_empty() {
        return Ok(None);
    }
    let all = elements(version, opaque)?;
    let mut found = all.iter().filter_map(|data| match data {
        [DATA_VERSION, found, rest @ ..] if *found == id => Some(rest),
        _ => None,
    });
    match (found.next(), found.count()) {
        (first, 0) => Ok(first),
        (_, more) => Err(DecodeError::Invalid {
            what,
            found: 1 + more as u64,
            wanted: ONE_ELEMENT,
        }),
    }
}

/// The data of the DMTF's elements.
fn elements(version: Version, opaque: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    Reader::all(opaque, |r| {
        let count = read_header(r, version)?;
        let mut data = Vec::new();
        for _ in 0..count {
            let registry = r.u8("opaque element registry")?;
            let vendor = usize::from(r.u8("opaque element vendor ID length")?);
            r.take(vendor, "opaque element vendor ID")?;
            let length = usize::from(r.u16("opaque element length")?);
            let element = r.take(length, "opaque element")?;
            let unpadded = 4 + vendor + length;
            r.reserved(unpadded.next_multiple_of(4) - unpadded)?;
            if registry == REGISTRY_DMTF && vendor == 0 {
                data.push(element);
            }
        }
        Ok(data)
    })
}

/// How many elements follow.
fn read_header(r: &mut Reader<'_>, version: Version) -> Result<u8, DecodeError> {
    let count = if version >= Version::V1_2 {
        let count = r.u8("opaque element count")?;
        r.reserved(3)?;
        count
    } else {
        let id = r.u32("opaque specification ID")?;
        let format = r.u8("opaque format version")?;
        if id != DMTF_1_1 || format != 1 {
            return Err(DecodeError::Invalid {
                what: "opaque specification ID",
                found: u64::from(id),
                wanted: "that of DSP0277, version 1",
            });
        }
        let count = r.u8("opaque element count")?;
        r.reserved(2)?;
        count
    };
    if usize::from(count) <= ELEMENTS_MAX {
        return Ok(count);
    }
    Err(DecodeError::Invalid {
        what: "opaque element count",
        found: u64::from(count),
        wanted: "at most 32",
    })
}

fn encode_element(version: Version, data: &[u8], out: &mut Vec<u8>) {
    if version >= Version::V1_2 {
        out.bytes(&[1, 0, 0, 0]);
    } else {
        out.u32(DMTF_1_1);
        out.bytes(&[1, 1, 0, 0]);
    }
    out.bytes(&[REGISTRY_DMTF, 0]);
    out.u16(data.len() as u16);
    out.bytes(data);
    out.zeros(data.len().next_multiple_of(4) - data.len());
}
