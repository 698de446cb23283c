//! The data object header (PCIe §6.30).

use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Vendor ID of the PCI-SIG, which names the object types here.
pub const PCI_SIG: u16 = 0x0001;

/// Bytes of the header.
pub const HEADER_SIZE: usize = 8;

/// Bytes of the largest body: the length field counts 2^18 DW, the header's two among them.
pub const BODY_MAX: usize = LENGTH_DW_MAX * 4 - HEADER_SIZE;

const LENGTH_DW_MAX: usize = 1 << 18;

open_enum! {
    /// Data object types that the PCI-SIG has named (PCIe §6.30).
    pub struct ObjectType(u8) {
        /// DOE discovery.
        DISCOVERY = 0,
        /// An SPDM message in clear (CMA-SPDM).
        SPDM = 1,
        /// A secured SPDM message.
        SECURED_SPDM = 2,
    }
}

/// One data object. `body` is as it came: it includes the zero bytes that pad it to a DW.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<'a> {
    /// Who names `kind`; [`PCI_SIG`] for all that this crate speaks.
    pub vendor: u16,
    /// What is in `body`.
    pub kind: ObjectType,
    /// The payload, at most [`BODY_MAX`] bytes.
    pub body: &'a [u8],
}

impl<'a> Object<'a> {
    /// An object of the PCI-SIG's types.
    pub fn new(kind: ObjectType, body: &'a [u8]) -> Self {
        Self {
            vendor: PCI_SIG,
            kind,
            body,
        }
    }

    /// Reads one whole object. Its length field must say exactly as many DW as `bytes` has, at least the header's two and,
    /// for SPDM, one more; reserved bits are ignored.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let vendor = reader.u16("DOE vendor ID")?;
        let kind = ObjectType(reader.u8("DOE object type")?);
        reader.reserved(1)?;
        let length = length_dw(reader.u32("DOE length")?);
        let body = reader.rest();
        let spdm = vendor == PCI_SIG && matches!(kind, ObjectType::SPDM | ObjectType::SECURED_SPDM);
        if length < 2 + usize::from(spdm) || length * 4 != bytes.len() {
            return Err(DecodeError::Invalid {
                what: "DOE length in DW",
                found: length as u64,
                wanted: "the header's 2 (3 with an SPDM message), and as many as came",
            });
        }
        Ok(Self { vendor, kind, body })
    }

    /// Appends the object, padded with zeros to a DW. A body longer than [`BODY_MAX`] has no encoding; what it gives is
    /// an object whose length is wrong, which every receiver refuses.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let length = self.body.len().div_ceil(4) + HEADER_SIZE / 4;
        out.u16(self.vendor);
        out.u8(self.kind.0);
        out.zeros(1);
        out.u32((length % LENGTH_DW_MAX) as u32);
        out.bytes(self.body);
        out.zeros(self.body.len().next_multiple_of(4) - self.body.len());
    }
}

/// The length in DW that a length field stands for: 18 bits, and 0 means 2^18.
pub(super) fn length_dw(field: u32) -> usize {
    match field as usize % LENGTH_DW_MAX {
        0 => LENGTH_DW_MAX,
        length => length,
    }
}
