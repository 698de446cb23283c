//! SEND_EVENT and EVENT_ACK (DSP0274 1.3 §10), and what the DMTF's events say.

use super::event_types::{EventType, REGISTRY_DMTF};
use super::{Code, Context, Header, Payload, Version, field, header::header_only};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// SEND_EVENT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// At least one event. That their numbers follow one another is the machine's to check.
    pub events: Vec<Event<'a>>,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// EventInstanceId: counts the events of a session.
    pub number: u32,
    /// Whose registry the vendor's ID is from: a [`Registry`](super::vendor::Registry) in one byte; the DMTF is 0.
    pub registry: u8,
    /// The vendor's ID, at most 255 bytes; the DMTF's is empty.
    pub vendor: &'a [u8],
    /// EventTypeId, in the group that registry and vendor name.
    pub kind: u16,
    /// EventDetail, by type: for the DMTF's, [`Event::dmtf`] reads it.
    pub detail: &'a [u8],
}

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::SEND_EVENT;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let count = r.u32("event count")?;
        if count == 0 {
            return Err(DecodeError::Invalid {
                what: "event count",
                found: 0,
                wanted: "at least 1",
            });
        }
        let mut events = Vec::new();
        // No event is empty, so that this ends however many are announced.
        for _ in 0..count {
            events.push(Event::read(r)?);
        }
        Ok(Self {
            version: header.version,
            events,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u32(u32::try_from(self.events.len()).unwrap_or(u32::MAX));
        self.events.iter().for_each(|event| event.write(out));
    }
}

impl<'a> Event<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let number = r.u32("event instance ID")?;
        r.reserved(4)?;
        let registry = r.u8("event group's registry")?;
        let vendor_size = r.u8("event group's vendor ID length")?;
        let vendor = r.take(usize::from(vendor_size), "event group's vendor ID")?;
        let kind = r.u16("event type")?;
        let size = r.u16("event detail length")?;
        Ok(Self {
            number,
            registry,
            vendor,
            kind,
            detail: r.take(usize::from(size), "event detail")?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let vendor = &self.vendor[..self.vendor.len().min(usize::from(u8::MAX))];
        out.u32(self.number);
        out.zeros(4);
        out.u8(self.registry);
        out.u8(vendor.len() as u8);
        out.bytes(vendor);
        out.u16(self.kind);
        field::write_counted(out, self.detail);
    }

    /// What an event of the DMTF's says; `None` for another body's.
    pub fn dmtf(&self) -> Option<Result<Dmtf, DecodeError>> {
        let dmtf = self.registry == REGISTRY_DMTF && self.vendor.is_empty();
        dmtf.then(|| Dmtf::decode(EventType(self.kind), self.detail))
    }
}

/// Measurements by index, one bit each: bit n of byte m is index 8·m + n.
pub type Indices = [u8; 32];

/// What the DMTF's events say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dmtf {
    /// The events up to `last` were lost, from the one behind `acknowledged` on.
    Lost {
        /// LastAckedEventInstID: the last event that was acknowledged.
        acknowledged: u32,
        /// LastLostEventInstID: the last event that was lost.
        last: u32,
    },
    /// Measurements have changed.
    MeasurementChanged(Indices),
    /// Measurements will change with the next reset.
    MeasurementPreUpdate(Indices),
    /// The certificate chains of these slots have changed, one bit each.
    CertificateChanged(u8),
}

impl Dmtf {
    /// Its type.
    pub fn kind(&self) -> EventType {
        match self {
            Self::Lost { .. } => EventType::EVENT_LOST,
            Self::MeasurementChanged(_) => EventType::MEASUREMENT_CHANGED,
            Self::MeasurementPreUpdate(_) => EventType::MEASUREMENT_PRE_UPDATE,
            Self::CertificateChanged(_) => EventType::CERTIFICATE_CHANGED,
        }
    }

    /// Reads a whole detail.
    pub fn decode(kind: EventType, detail: &[u8]) -> Result<Self, DecodeError> {
        Reader::all(detail, |r| match kind {
            EventType::EVENT_LOST => Ok(Self::Lost {
                acknowledged: r.u32("last acknowledged event")?,
                last: r.u32("last lost event")?,
            }),
            EventType::MEASUREMENT_CHANGED => r.array("changed measurements").map(Self::MeasurementChanged),
            EventType::MEASUREMENT_PRE_UPDATE => {
                r.array("changing measurements").map(Self::MeasurementPreUpdate)
            }
            EventType::CERTIFICATE_CHANGED => r.u8("changed slots").map(Self::CertificateChanged),
            EventType(found) => Err(DecodeError::Invalid {
                what: "event type of the DMTF's",
                found: u64::from(found),
                wanted: "1 to 4",
            }),
        })
    }

    /// Appends the detail.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Lost { acknowledged, last } => {
                out.u32(*acknowledged);
                out.u32(*last);
            }
            Self::MeasurementChanged(indices) | Self::MeasurementPreUpdate(indices) => out.bytes(indices),
            Self::CertificateChanged(slots) => out.u8(*slots),
        }
    }
}

header_only! {
    /// EVENT_ACK.
    pub struct Response = EVENT_ACK;
}
