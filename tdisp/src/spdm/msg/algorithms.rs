//! NEGOTIATE_ALGORITHMS and ALGORITHMS (DSP0274 §10). The bits' meaning is in [`crate::spdm::algorithms`].

use super::{Code, Context, Header, Payload, Version};
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Bytes of the largest NEGOTIATE_ALGORITHMS or ALGORITHMS.
pub const LENGTH_MAX: u16 = 128;

open_enum! {
    /// What an algorithm structure is about.
    pub struct TableKind(u8) {
        /// Diffie-Hellman groups.
        DHE = 2,
        /// AEAD cipher suites.
        AEAD = 3,
        /// Signature algorithms of the requester.
        REQUESTER_ASYM = 4,
        /// Key schedules.
        KEY_SCHEDULE = 5,
        /// Post-quantum signature algorithms of the requester (1.4).
        REQUESTER_PQC = 6,
        /// Key encapsulation mechanisms (1.4).
        KEM = 7,
    }
}

/// One algorithm structure (1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table<'a> {
    /// What it is about; ascending in a message.
    pub kind: TableKind,
    /// Bits offered, or the one chosen.
    pub mask: u16,
    /// Extended algorithms, 4 bytes each.
    pub extended: &'a [u8],
}

/// The fields that offer and choice have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Set<'a> {
    /// MeasurementSpecification: bit 0 is the DMTF's.
    pub measurement_specification: u8,
    /// OtherParams: opaque data format in bits 3:0 (bit 1 is format 1), multi-key in bit 4 (1.3). Before 1.2 it is
    /// reserved and 0.
    pub other_params: u8,
    /// Signature algorithms.
    pub asym: u32,
    /// Hash algorithms.
    pub hash: u32,
    /// Post-quantum signature algorithms (1.4; before it is reserved and 0).
    pub pqc_asym: u32,
    /// Formats of the measurement extension log (1.3; before it is reserved and 0).
    pub mel_specification: u8,
    /// Extended signature algorithms, 4 bytes each.
    pub extended_asym: &'a [u8],
    /// Extended hash algorithms, 4 bytes each.
    pub extended_hash: &'a [u8],
    /// Algorithm structures (1.1).
    pub tables: Vec<Table<'a>>,
}

impl<'a> Set<'a> {
    /// The mask for one kind; 0 where there is no structure.
    pub fn table(&self, kind: TableKind) -> u16 {
        let found = self.tables.iter().find(|table| table.kind == kind);
        found.map_or(0, |table| table.mask)
    }

    /// What is offered, from the length on.
    fn read_offer(r: &mut Reader<'a>, header: Header) -> Result<Self, DecodeError> {
        let length = read_length(r)?;
        let mut offer = Self {
            measurement_specification: r.u8("measurement specification")?,
            other_params: read_other_params(r, header.version)?,
            asym: r.u32("signature algorithms")?,
            hash: r.u32("hash algorithms")?,
            pqc_asym: read_pqc(r, header.version)?,
            ..Self::default()
        };
        r.reserved(8)?;
        let counts = [r.u8("extended signature count")?, r.u8("extended hash count")?];
        r.reserved(1)?;
        offer.mel_specification = gate(header.version, r.u8("measurement extension log specification")?);
        offer.extended_asym = r.take(4 * usize::from(counts[0]), "extended signature algorithms")?;
        offer.extended_hash = r.take(4 * usize::from(counts[1]), "extended hash algorithms")?;
        offer.tables = Self::read_tables(r, header)?;
        check_length(length, r.consumed())?;
        Ok(offer)
    }

    fn read_tables(r: &mut Reader<'a>, header: Header) -> Result<Vec<Table<'a>>, DecodeError> {
        let count = if header.version >= Version::V1_1 {
            header.param1
        } else {
            0
        };
        let mut tables = Vec::<Table<'a>>::new();
        for _ in 0..count {
            let table = Table::read(r)?;
            if tables.last().is_some_and(|before| before.kind >= table.kind) {
                return Err(DecodeError::Invalid {
                    what: "algorithm structure type",
                    found: u64::from(table.kind.0),
                    wanted: "a type above the one before",
                });
            }
            tables.push(table);
        }
        Ok(tables)
    }

    fn write_tail(&self, out: &mut Vec<u8>) {
        out.bytes(self.extended_asym);
        out.bytes(self.extended_hash);
        self.tables.iter().for_each(|table| table.write(out));
    }

    fn tail_size(&self) -> usize {
        let tables = self.tables.iter().map(|table| 4 + table.extended.len());
        self.extended_asym.len() + self.extended_hash.len() + tables.sum::<usize>()
    }
}

impl<'a> Table<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = TableKind(r.u8("algorithm structure type")?);
        let counts = r.u8("algorithm counts")?;
        if counts >> 4 != 2 {
            return Err(DecodeError::Invalid {
                what: "bytes of fixed algorithms",
                found: u64::from(counts >> 4),
                wanted: "2",
            });
        }
        Ok(Self {
            kind,
            mask: r.u16("fixed algorithms")?,
            extended: r.take(4 * usize::from(counts & 0x0f), "extended algorithms")?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u8(self.kind.0);
        out.u8(0x20 | (self.extended.len() / 4) as u8 & 0x0f);
        out.u16(self.mask);
        out.bytes(self.extended);
    }
}

/// NEGOTIATE_ALGORITHMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// What the requester offers.
    pub offer: Set<'a>,
}

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::NEGOTIATE_ALGORITHMS;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            offer: Set::read_offer(r, header)?,
        })
    }

    fn header(&self) -> Header {
        header(self.version, Self::CODE, &self.offer)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let offer = &self.offer;
        out.u16((32 + offer.tail_size()) as u16);
        out.u8(offer.measurement_specification);
        out.u8(offer.other_params);
        out.u32(offer.asym);
        out.u32(offer.hash);
        out.u32(offer.pqc_asym);
        out.zeros(8);
        write_counts(out, offer);
        out.zeros(1);
        out.u8(offer.mel_specification);
        offer.write_tail(out);
    }
}

impl<'a> Request<'a> {
    /// Reads the supported algorithms block of CAPABILITIES (1.3): what could be offered to its sender.
    pub fn of_supported_block(version: Version, block: &'a [u8]) -> Result<Self, DecodeError> {
        let offer = Reader::all(block, |r| {
            let tables = r.u8("number of algorithm structures")?;
            r.reserved(1)?;
            Set::read_offer(r, Header::new(version, Self::CODE, [tables, 0]))
        })?;
        Ok(Self { version, offer })
    }

    /// The supported algorithms block of CAPABILITIES (1.3): the same from its third byte on, with a length that says so.
    pub fn to_supported_block(&self) -> Vec<u8> {
        let mut block = Vec::from([self.offer.tables.len() as u8, 0]);
        let mut fields = Vec::new();
        self.write(&mut fields);
        let length = 2 + fields.len();
        block.u16(length as u16);
        block.extend_from_slice(fields.get(2..).unwrap_or_default());
        block
    }
}

/// ALGORITHMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// What the responder chose: at most one bit in each field. Whether that was offered is checked by
    /// [`crate::spdm::algorithms::Offer::accept`].
    pub choice: Set<'a>,
    /// MeasurementHashAlgo: what measurements are hashed with.
    pub measurement_hash: u32,
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::ALGORITHMS;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let length = read_length(r)?;
        let measurement_specification = r.u8("measurement specification")?;
        let other_params = read_other_params(r, header.version)?;
        let measurement_hash = r.u32("measurement hash algorithm")?;
        let mut choice = Set {
            measurement_specification,
            other_params,
            asym: r.u32("signature algorithm")?,
            hash: r.u32("hash algorithm")?,
            pqc_asym: read_pqc(r, header.version)?,
            ..Set::default()
        };
        r.reserved(7)?;
        choice.mel_specification = gate(header.version, r.u8("measurement extension log specification")?);
        let counts = [r.u8("extended signature count")?, r.u8("extended hash count")?];
        r.reserved(2)?;
        choice.extended_asym = r.take(4 * usize::from(counts[0]), "extended signature algorithms")?;
        choice.extended_hash = r.take(4 * usize::from(counts[1]), "extended hash algorithms")?;
        choice.tables = Set::read_tables(r, header)?;
        check_length(length, r.consumed())?;
        Ok(Self {
            version: header.version,
            choice,
            measurement_hash,
        })
    }

    fn header(&self) -> Header {
        header(self.version, Self::CODE, &self.choice)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let choice = &self.choice;
        out.u16((36 + choice.tail_size()) as u16);
        out.u8(choice.measurement_specification);
        out.u8(choice.other_params);
        out.u32(self.measurement_hash);
        out.u32(choice.asym);
        out.u32(choice.hash);
        out.u32(choice.pqc_asym);
        out.zeros(7);
        out.u8(choice.mel_specification);
        write_counts(out, choice);
        out.zeros(2);
        choice.write_tail(out);
    }
}

fn header(version: Version, code: Code, set: &Set<'_>) -> Header {
    Header::new(version, code, [set.tables.len() as u8, 0])
}

fn read_length(r: &mut Reader<'_>) -> Result<u16, DecodeError> {
    let length = r.u16("algorithms length")?;
    if length <= LENGTH_MAX {
        return Ok(length);
    }
    Err(DecodeError::Invalid {
        what: "algorithms length",
        found: u64::from(length),
        wanted: "at most 128",
    })
}

/// The length field counts the message from its first byte to the last structure's end.
fn check_length(length: u16, consumed: usize) -> Result<(), DecodeError> {
    if usize::from(length) == consumed {
        return Ok(());
    }
    Err(DecodeError::Invalid {
        what: "algorithms length",
        found: u64::from(length),
        wanted: "the sum of the fields",
    })
}

/// Four bytes that mean something from 1.4 on only.
fn read_pqc(r: &mut Reader<'_>, version: Version) -> Result<u32, DecodeError> {
    let mask = r.u32("post-quantum signature algorithms")?;
    Ok(if version >= Version::V1_4 { mask } else { 0 })
}

/// A byte that means something from 1.2 on only.
fn read_other_params(r: &mut Reader<'_>, version: Version) -> Result<u8, DecodeError> {
    let params = r.u8("other parameters")?;
    Ok(if version >= Version::V1_2 { params } else { 0 })
}

/// A byte that means something from 1.3 on only.
fn gate(version: Version, value: u8) -> u8 {
    if version >= Version::V1_3 { value } else { 0 }
}

fn write_counts(out: &mut Vec<u8>, set: &Set<'_>) {
    out.u8((set.extended_asym.len() / 4) as u8);
    out.u8((set.extended_hash.len() / 4) as u8);
}
