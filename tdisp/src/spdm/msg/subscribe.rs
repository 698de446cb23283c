//! SUBSCRIBE_EVENT_TYPES and SUBSCRIBE_EVENT_TYPES_ACK (DSP0274 1.3 §10): which events to be told of.

use super::{Code, Context, Header, Payload, Version, header::header_only};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// SUBSCRIBE_EVENT_TYPES. It takes the place of what was subscribed to before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's version.
    pub version: Version,
    /// How many groups the list has; with 0 of them nothing is subscribed to any more, and nothing follows the header.
    pub count: u8,
    /// The list; see [`Groups::decode`](super::event_types::Groups::decode).
    pub list: &'a [u8],
}

impl<'a> Payload<'a> for Request<'a> {
    const CODE: Code = Code::SUBSCRIBE_EVENT_TYPES;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let count = header.param1;
        let list = match count {
            0 => &[],
            _ => {
                let size = r.u32("event group list length")?;
                r.take(size as usize, "event group list")?
            }
        };
        Ok(Self {
            version: header.version,
            count,
            list,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.count, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.count > 0 {
            out.u32(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
            out.bytes(self.list);
        }
    }
}

header_only! {
    /// SUBSCRIBE_EVENT_TYPES_ACK.
    pub struct Response = SUBSCRIBE_EVENT_TYPES_ACK;
}
