//! The names that more than one relay message uses.

use crate::{
    open_enum,
    wire::{DecodeError, Reader, Write},
};
use alloc::{string::ToString, vec::Vec};

/// A PCI function's address: segment in bits 31:16, requester id (bus 15:8, device 7:3, function 2:0) below.
/// Prints and parses as `0000:01:00.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rid(pub u32);

impl Rid {
    /// The 16-bit requester id, without the segment.
    pub const fn requester_id(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The PCI segment (Linux: domain).
    pub const fn segment(self) -> u16 {
        (self.0 >> 16) as u16
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.u32("function address").map(Self)
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.u32(self.0);
    }
}

impl core::fmt::Display for Rid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let rid = self.requester_id();
        let (bus, device, function) = (rid >> 8, rid >> 3 & 0x1f, rid & 7);
        write!(f, "{:04x}:{bus:02x}:{device:02x}.{function}", self.segment())
    }
}

/// A text is no PCI address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no PCI address; wanted segment:bus:device.function in hexadecimal, such as 0000:01:00.1")]
pub struct ParseRidError;

impl core::str::FromStr for Rid {
    type Err = ParseRidError;

    fn from_str(text: &str) -> Result<Self, ParseRidError> {
        let number = |digits: &str| u32::from_str_radix(digits, 16).map_err(|_| ParseRidError);
        let (segment, rest) = text.split_once(':').ok_or(ParseRidError)?;
        let (bus, rest) = rest.split_once(':').ok_or(ParseRidError)?;
        let (device, function) = rest.split_once('.').ok_or(ParseRidError)?;
        let (segment, bus) = (number(segment)?, number(bus)?);
        let (device, function) = (number(device)?, number(function)?);
        let parsed = Self(segment << 16 | bus << 8 | device << 3 | function);
        // One spelling for each address: this also refuses signs, missing zeros and numbers out of range.
        let canonical = segment <= 0xffff && bus <= 0xff && device <= 0x1f && function <= 7;
        if canonical && parsed.to_string().eq_ignore_ascii_case(text) {
            Ok(parsed)
        } else {
            Err(ParseRidError)
        }
    }
}

/// The TSM's name of one bound TDI; a new bind gets a new one, so an old name never means another device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TdiId(pub u64);

impl TdiId {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.u64("TDI id").map(Self)
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.u64(self.0);
    }
}

impl core::fmt::Display for TdiId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The TSM's name of a confidential VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(pub u32);

impl VmId {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.u32("VM id").map(Self)
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.u32(self.0);
    }
}

impl core::fmt::Display for VmId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.0)
    }
}

open_enum! {
    /// One part of a TDI's evidence.
    pub struct ObjectKind(u8) {
        /// The SPDM certificate chain object: header, root hash, certificates.
        CERTIFICATES = 1,
        /// VCA ‖ GET_MEASUREMENTS ‖ MEASUREMENTS, the exact bytes.
        MEASUREMENTS = 2,
        /// The TDI's interface report.
        REPORT = 3,
    }
}

impl ObjectKind {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = Self(r.u8("object kind")?);
        kind.name().map(|_| kind).ok_or(DecodeError::Invalid {
            what: "object kind",
            found: kind.0.into(),
            wanted: "1 certificates, 2 measurements or 3 report",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_parses_as_it_prints() {
        for text in ["0000:01:00.1", "0001:ff:1f.7", "ffff:00:00.0"] {
            let rid: Rid = text.parse().unwrap();
            assert_eq!(rid.to_string(), text);
        }
        assert_eq!("0000:01:00.2".parse::<Rid>().unwrap().requester_id(), 0x0102);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "01:00.1",
            "0000:01:00",
            "0000:01:20.0",
            "0000:01:00.8",
            "10000:01:00.0",
            "0000:1:00.0",
            "+000:01:00.0",
            "0000:01:00.1 ",
            "0000:100:00.0",
        ] {
            assert_eq!(text.parse::<Rid>(), Err(ParseRidError), "{text}");
        }
    }
}
