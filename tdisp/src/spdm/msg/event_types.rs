//! GET_SUPPORTED_EVENT_TYPES and SUPPORTED_EVENT_TYPES (DSP0274 1.3 §10), and the event groups that they and
//! SUBSCRIBE_EVENT_TYPES list.
//!
//! A list comes as bytes, and [`Groups::decode`] takes it apart: a responder has been seen to send counted bytes that are
//! no groups, and a recording of it has to be readable all the same.

use super::{Code, Context, Header, Payload, Version, header::header_only};
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

header_only! {
    /// GET_SUPPORTED_EVENT_TYPES.
    pub struct Request = GET_SUPPORTED_EVENT_TYPES;
}

/// SUPPORTED_EVENT_TYPES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// How many groups the list has.
    pub count: u8,
    /// The list; see [`Groups::decode`].
    pub list: &'a [u8],
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::SUPPORTED_EVENT_TYPES;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let size = r.u32("event group list length")?;
        Ok(Self {
            version: header.version,
            count: header.param1,
            list: r.take(size as usize, "event group list")?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.count, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u32(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        out.bytes(self.list);
    }
}

/// Event groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups<'a> {
    /// At most 255.
    pub groups: Vec<Group<'a>>,
}

/// Event types of one body's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    /// Whose registry the vendor's ID is from: a [`Registry`](super::vendor::Registry) in one byte; the DMTF is 0.
    pub registry: u8,
    /// The vendor's ID, at most 255 bytes; the DMTF's is empty.
    pub vendor: &'a [u8],
    /// EventGroupVer.
    pub revision: u16,
    /// In SUBSCRIBE_EVENT_TYPES: all events of the group, whatever its types are; the list of types is then empty.
    pub all: bool,
    /// The types.
    pub types: Vec<u16>,
}

open_enum! {
    /// Event types of the DMTF's group.
    pub struct EventType(u16) {
        /// Events were lost; see [`super::send_event::Dmtf::Lost`].
        EVENT_LOST = 1,
        /// Measurements have changed.
        MEASUREMENT_CHANGED = 2,
        /// Measurements will change with the next reset.
        MEASUREMENT_PRE_UPDATE = 3,
        /// Certificates have changed.
        CERTIFICATE_CHANGED = 4,
    }
}

impl EventType {
    /// All that the DMTF has.
    pub const ALL: [Self; 4] = [
        Self::EVENT_LOST,
        Self::MEASUREMENT_CHANGED,
        Self::MEASUREMENT_PRE_UPDATE,
        Self::CERTIFICATE_CHANGED,
    ];
}

/// The DMTF's registry.
pub const REGISTRY_DMTF: u8 = 0;

/// EventGroupVer of the DMTF's group.
pub const REVISION_DMTF: u16 = 1;

/// Attribute bit 0.
const ALL: u32 = 1;

impl<'a> Groups<'a> {
    /// Reads a list that must be exactly `count` groups, none of them twice.
    pub fn decode(list: &'a [u8], count: u8) -> Result<Self, DecodeError> {
        Reader::all(list, |r| {
            let mut groups = Vec::<Group<'a>>::new();
            for _ in 0..count {
                let group = Group::read(r)?;
                let same =
                    |other: &Group<'_>| (other.registry, other.vendor) == (group.registry, group.vendor);
                if groups.iter().any(same) {
                    return Err(DecodeError::Invalid {
                        what: "event group's registry",
                        found: u64::from(group.registry),
                        wanted: "each group once",
                    });
                }
                groups.push(group);
            }
            Ok(Self { groups })
        })
    }

    /// The list; how many groups it has is [`Groups::count`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.groups.iter().for_each(|group| group.write(out));
    }

    /// How many groups there are.
    pub fn count(&self) -> u8 {
        u8::try_from(self.groups.len()).unwrap_or(u8::MAX)
    }
}

impl<'a> Group<'a> {
    /// Event types of the DMTF's.
    pub fn dmtf(types: &[EventType]) -> Self {
        Self {
            registry: REGISTRY_DMTF,
            vendor: &[],
            revision: REVISION_DMTF,
            all: false,
            types: types.iter().map(|event| event.0).collect(),
        }
    }

    /// Whether it is the DMTF's.
    pub fn is_dmtf(&self) -> bool {
        self.registry == REGISTRY_DMTF && self.vendor.is_empty()
    }

    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let registry = r.u8("event group's registry")?;
        let size = r.u8("event group's vendor ID length")?;
        let vendor = r.take(usize::from(size), "event group's vendor ID")?;
        let count = r.u16("event type count")?;
        let revision = r.u16("event group version")?;
        let all = r.u32("event group attributes")? & ALL != 0;
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(r.u16("event type")?);
            r.reserved(2)?;
        }
        Ok(Self {
            registry,
            vendor,
            revision,
            all,
            types,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let vendor = &self.vendor[..self.vendor.len().min(usize::from(u8::MAX))];
        let types = &self.types[..self.types.len().min(usize::from(u16::MAX))];
        out.u8(self.registry);
        out.u8(vendor.len() as u8);
        out.bytes(vendor);
        out.u16(types.len() as u16);
        out.u16(self.revision);
        out.u32(if self.all { ALL } else { 0 });
        for event in types {
            out.u16(*event);
            out.zeros(2);
        }
    }
}
