//! GET_VERSION and VERSION (DSP0274 §10): always in version 1.0; a GET_VERSION starts the connection anew.

use super::{Code, Context, Header, Payload, Version};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// GET_VERSION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request;

impl Payload<'_> for Request {
    const CODE: Code = Code::GET_VERSION;

    fn read(_: Header, _: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self)
    }

    fn header(&self) -> Header {
        header(Self::CODE)
    }

    fn write(&self, _: &mut Vec<u8>) {}
}

/// A version number entry: major, minor, update and alpha, a nibble each from the top. Secured message versions have
/// the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry(pub u16);

impl Entry {
    /// The entry of a released version.
    pub const fn of(version: Version) -> Self {
        Self((version.0 as u16) << 8)
    }

    /// Major and minor, which is all that two sides must agree on: update and alpha are ignored.
    pub const fn version(self) -> Version {
        Version((self.0 >> 8) as u8)
    }

    /// The alpha number; 0 for a released version.
    pub const fn alpha(self) -> u8 {
        (self.0 & 0xf) as u8
    }
}

/// VERSION.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// What the responder speaks, in its order; at least one, at most 255.
    pub versions: Vec<Entry>,
}

impl Response {
    /// The highest version that is both among `ours` and offered.
    pub fn highest_common(&self, ours: &[Version]) -> Option<Version> {
        let offered = |version: &Version| self.versions.iter().any(|entry| entry.version() == *version);
        ours.iter().copied().filter(offered).max()
    }
}

impl Payload<'_> for Response {
    const CODE: Code = Code::VERSION;

    fn read(_: Header, r: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        r.reserved(1)?;
        let count = r.u8("version count")?;
        if count == 0 {
            return Err(DecodeError::Invalid {
                what: "version count",
                found: 0,
                wanted: "at least 1",
            });
        }
        let versions = (0..count).map(|_| r.u16("version entry").map(Entry));
        Ok(Self {
            versions: versions.collect::<Result<_, _>>()?,
        })
    }

    fn header(&self) -> Header {
        header(Self::CODE)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let versions = &self.versions[..self.versions.len().min(usize::from(u8::MAX))];
        out.zeros(1);
        out.u8(versions.len() as u8);
        versions.iter().for_each(|entry| out.u16(entry.0));
    }
}

fn header(code: Code) -> Header {
    Header::new(Version::V1_0, code, [0, 0])
}
