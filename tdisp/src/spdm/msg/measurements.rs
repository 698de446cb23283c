//! GET_MEASUREMENTS and MEASUREMENTS (DSP0274 §10), and the blocks of a measurement record.

use super::field::{self, RequesterContext};
use super::{Code, Context, Header, NONCE_SIZE, Payload, Version};
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Attribute bit 0: the response shall be signed.
const SIGNATURE: u8 = 0x01;

open_enum! {
    /// What GET_MEASUREMENTS asks for: one of these, or else the index of one measurement.
    pub struct Operation(u8) {
        /// How many measurements there are.
        COUNT = 0,
        /// All of them.
        ALL = 0xff,
    }
}

/// What a signed response needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// Fresh random bytes.
    pub nonce: [u8; NONCE_SIZE],
    /// The slot whose key shall sign, 0 to 7, or 0xf for a provisioned public key. In 1.0 it is always 0.
    pub slot: u8,
}

/// GET_MEASUREMENTS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The connection's version.
    pub version: Version,
    /// What is wanted.
    pub operation: Operation,
    /// The raw bit streams rather than digests, where the responder can (1.2).
    pub raw: bool,
    /// Measurements as they would be now rather than as they were at reset (1.3).
    pub fresh: bool,
    /// With it the response is signed.
    pub signed: Option<Signed>,
    /// From 1.3 on (`None` is written as zeros there); not written before.
    pub context: Option<RequesterContext>,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::GET_MEASUREMENTS;

    fn read(header: Header, r: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        let signed = header.param1 & SIGNATURE != 0;
        Ok(Self {
            version: header.version,
            operation: Operation(header.param2),
            raw: header.version >= Version::V1_2 && header.param1 & 2 != 0,
            fresh: header.version >= Version::V1_3 && header.param1 & 4 != 0,
            signed: signed.then(|| Signed::read(r, header.version)).transpose()?,
            context: field::read_context(r, header.version)?,
        })
    }

    fn header(&self) -> Header {
        let bits = [self.signed.is_some(), self.raw, self.fresh];
        let attributes = bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        Header::new(self.version, Self::CODE, [attributes, self.operation.0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(signed) = &self.signed {
            out.bytes(&signed.nonce);
            if self.version >= Version::V1_1 {
                out.u8(signed.slot);
            }
        }
        field::write_context(out, self.version, self.context);
    }
}

impl Signed {
    fn read(r: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        let nonce = r.array("measurement nonce")?;
        let slot = match version >= Version::V1_1 {
            true => field::signing_slot(r.u8("slot")?)?,
            false => 0,
        };
        Ok(Self { nonce, slot })
    }
}

/// MEASUREMENTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// How many measurements there are, when that was asked for; 0 otherwise.
    pub count: u8,
    /// The slot that signed, in bits 3:0; in bits 5:4, from 1.2 on, whether measurements changed during the session
    /// (0 not detected as unsupported, 1 changed, 2 not changed).
    pub param2: u8,
    /// The record.
    pub record: Record<'a>,
    /// The responder's random bytes.
    pub nonce: [u8; NONCE_SIZE],
    /// Opaque data, at most 1024 bytes.
    pub opaque: &'a [u8],
    /// The request's context repeated (1.3).
    pub context: Option<RequesterContext>,
    /// Over L1, which ends where the signature starts; there if it was asked for.
    pub signature: Option<&'a [u8]>,
}

impl Response<'_> {
    /// The slot that signed.
    pub fn slot(&self) -> u8 {
        self.param2 & 0x0f
    }
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::MEASUREMENTS;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        let blocks = r.u8("measurement block count")?;
        let length = r.u24("measurement record length")?;
        let record = r.take(length as usize, "measurement record")?;
        Ok(Self {
            version: header.version,
            count: header.param1,
            param2: header.param2,
            record: Record::decode(record, blocks)?,
            nonce: r.array("measurement nonce")?,
            opaque: field::read_opaque(r)?,
            context: field::read_context(r, header.version)?,
            signature: field::read_if(
                r,
                context.signature_asked,
                context.signature_size,
                "measurement signature",
            )?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.count, self.param2])
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut record = Vec::new();
        self.record.encode(&mut record);
        out.u8(u8::try_from(self.record.blocks.len()).unwrap_or(u8::MAX));
        out.u24(u32::try_from(record.len()).unwrap_or(u32::MAX));
        out.bytes(&record);
        out.bytes(&self.nonce);
        field::write_counted(out, self.opaque);
        field::write_context(out, self.version, self.context);
        out.bytes(self.signature.unwrap_or_default());
    }
}

/// The measurement blocks of one response; no index twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// At most 254 blocks, in the responder's order.
    pub blocks: Vec<Block<'a>>,
}

impl<'a> Record<'a> {
    /// Reads a record that must be exactly `count` blocks.
    pub fn decode(record: &'a [u8], count: u8) -> Result<Self, DecodeError> {
        Reader::all(record, |r| {
            let blocks = (0..count)
                .map(|_| Block::read(r))
                .collect::<Result<Vec<_>, _>>()?;
            let mut seen = [false; 256];
            for block in &blocks {
                if core::mem::replace(&mut seen[usize::from(block.index)], true) {
                    return Err(bad_index(block.index));
                }
            }
            Ok(Self { blocks })
        })
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.blocks.iter().for_each(|block| block.write(out));
    }
}

/// One measurement block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// 1 to 254.
    pub index: u8,
    /// One bit: who says what the measurement means; 1 is DMTF.
    pub specification: u8,
    /// The measurement as that specification has it; see [`Block::dmtf`].
    pub measurement: &'a [u8],
}

/// A measurement in the DMTF's format (DSP0274 "DMTF measurement specification format").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dmtf<'a> {
    /// What was measured.
    pub kind: Kind,
    /// The value is the raw bit stream, not its digest.
    pub raw: bool,
    /// The value.
    pub value: &'a [u8],
}

open_enum! {
    /// What a DMTF measurement is of: bits 6:0 of DMTFSpecMeasurementValueType.
    pub struct Kind(u8) {
        /// Immutable ROM.
        ROM = 0,
        /// Mutable firmware.
        FIRMWARE = 1,
        /// Hardware configuration, such as straps.
        HARDWARE_CONFIGURATION = 2,
        /// Firmware configuration.
        FIRMWARE_CONFIGURATION = 3,
        /// A measurement manifest in free form.
        MANIFEST = 4,
        /// Device mode, structured.
        DEVICE_MODE = 5,
        /// Mutable firmware's version number.
        FIRMWARE_VERSION = 6,
        /// Mutable firmware's security version number, a u64.
        FIRMWARE_SECURITY_VERSION = 7,
        /// Hash-extended measurement (1.3).
        HASH_EXTENDED = 8,
        /// Informational (1.3).
        INFORMATIONAL = 9,
        /// Structured measurement manifest (1.3).
        STRUCTURED_MANIFEST = 10,
    }
}

/// The one bit of [`Block::specification`] that the DMTF has.
pub const SPECIFICATION_DMTF: u8 = 1;

impl<'a> Block<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let index = r.u8("measurement index")?;
        if matches!(index, 0 | 0xff) {
            return Err(bad_index(index));
        }
        let specification = r.u8("measurement specification")?;
        let size = r.u16("measurement size")?;
        Ok(Self {
            index,
            specification,
            measurement: r.take(usize::from(size), "measurement")?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u8(self.index);
        out.u8(self.specification);
        field::write_counted(out, self.measurement);
    }

    /// The measurement, if it is in the DMTF's format.
    pub fn dmtf(&self) -> Result<Dmtf<'a>, DecodeError> {
        if self.specification != SPECIFICATION_DMTF {
            return Err(DecodeError::Invalid {
                what: "measurement specification",
                found: u64::from(self.specification),
                wanted: "1 (DMTF)",
            });
        }
        Dmtf::decode(self.measurement)
    }
}

impl<'a> Dmtf<'a> {
    /// Reads a whole measurement.
    pub fn decode(measurement: &'a [u8]) -> Result<Self, DecodeError> {
        Reader::all(measurement, Self::read)
    }

    /// Reads a measurement that others may follow.
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = r.u8("measurement value type")?;
        let size = r.u16("measurement value size")?;
        Ok(Self {
            kind: Kind(kind & 0x7f),
            raw: kind & 0x80 != 0,
            value: r.take(usize::from(size), "measurement value")?,
        })
    }

    /// Appends the measurement, as a [`Block`] holds it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.u8(self.kind.0 & 0x7f | if self.raw { 0x80 } else { 0 });
        field::write_counted(out, self.value);
    }
}

fn bad_index(index: u8) -> DecodeError {
    DecodeError::Invalid {
        what: "measurement index",
        found: u64::from(index),
        wanted: "1 to 254, each once",
    }
}
