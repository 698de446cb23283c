//! GET_MEASUREMENT_EXTENSION_LOG and MEASUREMENT_EXTENSION_LOG (DSP0274 1.3 §10), and the log that their portions make up.

use super::measurements::Dmtf;
use super::{Code, Context, Header, Payload, Version};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// GET_MEASUREMENT_EXTENSION_LOG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The connection's version.
    pub version: Version,
    /// First byte wanted.
    pub offset: u32,
    /// Bytes wanted at most.
    pub length: u32,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::GET_MEASUREMENT_EXTENSION_LOG;

    fn read(header: Header, r: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            offset: r.u32("log offset")?,
            length: r.u32("log length")?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u32(self.offset);
        out.u32(self.length);
    }
}

/// MEASUREMENT_EXTENSION_LOG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// Bytes of the log from the offset asked for. May be empty: whoever loops over portions must end then.
    pub portion: &'a [u8],
    /// Bytes of the log behind the portion.
    pub remainder: u32,
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::MEASUREMENT_EXTENSION_LOG;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let portion = r.u32("log portion length")?;
        let remainder = r.u32("log remainder length")?;
        Ok(Self {
            version: header.version,
            portion: r.take(portion as usize, "log portion")?,
            remainder,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u32(u32::try_from(self.portion.len()).unwrap_or(u32::MAX));
        out.u32(self.remainder);
        out.bytes(self.portion);
    }
}

/// Bit 0 of MELspecification: the log is in the DMTF's format, which is [`Log`].
pub const SPECIFICATION_DMTF: u8 = 1;

/// Bytes in front of the entries.
const HEADER_SIZE: usize = 16;

/// A measurement extension log in the DMTF's format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log<'a> {
    /// In ascending order of number.
    pub entries: Vec<Entry<'a>>,
}

/// One entry of the log: what was extended into a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// MELIndex: which entry it is.
    pub number: u32,
    /// MeasIndex: the measurement that it was extended into.
    pub measurement: u8,
    /// What was measured.
    pub value: Dmtf<'a>,
}

impl<'a> Log<'a> {
    /// Reads a whole log.
    pub fn decode(log: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(log);
        let count = r.u32("log entry count")?;
        let size = r.u32("size of the log's entries")?;
        r.reserved(HEADER_SIZE - 8)?;
        if size as usize != r.remaining() {
            return Err(DecodeError::Invalid {
                what: "size of the log's entries",
                found: u64::from(size),
                wanted: "as many bytes as came",
            });
        }
        let mut entries = Vec::new();
        // No entry is empty, so that this ends however many are announced.
        for _ in 0..count {
            entries.push(Entry::read(&mut r)?);
        }
        match r.remaining() {
            0 => Ok(Self { entries }),
            extra => Err(DecodeError::Trailing { extra }),
        }
    }

    /// Appends the log.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut entries = Vec::new();
        self.entries.iter().for_each(|entry| entry.write(&mut entries));
        out.u32(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        out.u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        out.zeros(HEADER_SIZE - 8);
        out.bytes(&entries);
    }
}

impl<'a> Entry<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let number = r.u32("log entry number")?;
        let measurement = r.u8("measurement index")?;
        r.reserved(3)?;
        Ok(Self {
            number,
            measurement,
            value: Dmtf::read(r)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u32(self.number);
        out.u8(self.measurement);
        out.zeros(3);
        self.value.encode(out);
    }
}
