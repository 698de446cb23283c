//! TDISP messages (PCIe §11.3), as they travel in the PCI-SIG's vendor-defined SPDM messages.
//!
//! A responder answers a bad message by what is wrong with it first, so that reading goes in steps: [`Header::decode`]
//! (anything shorter has no answer), then the version, the code, the interface, and then [`Request::decode`] of what
//! follows the header, whose length must be exact.

mod request;
mod response;

pub use request::{Lock, Request};
pub use response::{Capabilities, Error, Response};

use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Bytes of the header.
pub const HEADER_SIZE: usize = 16;

/// Bytes of the nonce that LOCK gives and START takes.
pub const NONCE_SIZE: usize = 32;

/// Bytes of a page, which addresses are multiples of.
pub const PAGE_SIZE: u64 = 4096;

open_enum! {
    /// A TDISP version: major in the high nibble.
    pub struct Version(u8) {
        /// TDISP 1.0.
        V1_0 = 0x10,
    }
}

open_enum! {
    /// Message types (PCIe §11.3); requests have bit 7 set, and a response is its request's code without it.
    pub struct Code(u8) {
        /// Response to GET_TDISP_VERSION.
        VERSION = 0x01,
        /// Response to GET_TDISP_CAPABILITIES.
        CAPABILITIES = 0x02,
        /// Response to LOCK_INTERFACE.
        LOCK_RESPONSE = 0x03,
        /// Response to GET_DEVICE_INTERFACE_REPORT.
        REPORT = 0x04,
        /// Response to GET_DEVICE_INTERFACE_STATE.
        STATE = 0x05,
        /// Response to START_INTERFACE.
        START_RESPONSE = 0x06,
        /// Response to STOP_INTERFACE.
        STOP_RESPONSE = 0x07,
        /// Response to BIND_P2P_STREAM.
        BIND_P2P_RESPONSE = 0x08,
        /// Response to UNBIND_P2P_STREAM.
        UNBIND_P2P_RESPONSE = 0x09,
        /// Response to SET_MMIO_ATTRIBUTE.
        SET_MMIO_ATTRIBUTE_RESPONSE = 0x0a,
        /// Response to a vendor-defined message.
        VDM_RESPONSE = 0x0b,
        /// Instead of any response.
        ERROR = 0x7f,
        /// GET_TDISP_VERSION.
        GET_VERSION = 0x81,
        /// GET_TDISP_CAPABILITIES.
        GET_CAPABILITIES = 0x82,
        /// LOCK_INTERFACE_REQUEST.
        LOCK = 0x83,
        /// GET_DEVICE_INTERFACE_REPORT.
        GET_REPORT = 0x84,
        /// GET_DEVICE_INTERFACE_STATE.
        GET_STATE = 0x85,
        /// START_INTERFACE_REQUEST.
        START = 0x86,
        /// STOP_INTERFACE_REQUEST.
        STOP = 0x87,
        /// BIND_P2P_STREAM_REQUEST.
        BIND_P2P = 0x88,
        /// UNBIND_P2P_STREAM_REQUEST.
        UNBIND_P2P = 0x89,
        /// SET_MMIO_ATTRIBUTE_REQUEST.
        SET_MMIO_ATTRIBUTE = 0x8a,
        /// Vendor-defined message.
        VDM = 0x8b,
    }
}

impl Code {
    /// Its bit in REQ_MSGS: the code without bit 7, so that GET_TDISP_VERSION is bit 1. Some peers are off by one.
    pub fn request_bit(self) -> u32 {
        u32::from(self.0 & 0x7f)
    }
}

open_enum! {
    /// Error codes (PCIe §11.3).
    pub struct ErrorCode(u32) {
        /// A field of the request is not valid.
        INVALID_REQUEST = 0x01,
        /// Try again later.
        BUSY = 0x03,
        /// Not in the interface's state.
        INVALID_INTERFACE_STATE = 0x04,
        /// Something else.
        UNSPECIFIED = 0x05,
        /// The request is not supported; the data is its code.
        UNSUPPORTED_REQUEST = 0x07,
        /// The version is not supported.
        VERSION_MISMATCH = 0x41,
        /// Another body's error; the data is the length of the extended data.
        VENDOR = 0xff,
        /// The interface is not one of the device's.
        INVALID_INTERFACE = 0x101,
        /// The nonce is not the lock's.
        INVALID_NONCE = 0x102,
        /// There was no randomness for a nonce.
        INSUFFICIENT_ENTROPY = 0x103,
        /// The device is not configured so that it can be locked.
        INVALID_DEVICE_CONFIGURATION = 0x104,
    }
}

open_enum! {
    /// States of an interface (PCIe §11.2).
    pub struct State(u8) {
        /// CONFIG_UNLOCKED.
        UNLOCKED = 0,
        /// CONFIG_LOCKED.
        LOCKED = 1,
        /// RUN.
        RUN = 2,
        /// ERROR.
        ERROR = 3,
    }
}

/// INTERFACE_ID (PCIe §11.3): FUNCTION_ID and eight reserved bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId {
    /// Requester ID in bits 15:0, segment in 23:16, which bit 24 says to be valid.
    pub function: u32,
}

impl InterfaceId {
    /// Of a requester ID (bus, device, function) without a segment.
    pub const fn new(requester: u16) -> Self {
        Self {
            function: requester as u32,
        }
    }

    /// Of a requester ID in a segment.
    pub const fn in_segment(segment: u8, requester: u16) -> Self {
        Self {
            function: 1 << 24 | (segment as u32) << 16 | requester as u32,
        }
    }

    /// Bus, device and function.
    pub const fn requester(self) -> u16 {
        self.function as u16
    }

    /// The segment, where one is given.
    pub const fn segment(self) -> Option<u8> {
        match self.function >> 24 & 1 {
            0 => None,
            _ => Some((self.function >> 16) as u8),
        }
    }
}

impl core::fmt::Display for InterfaceId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if let Some(segment) = self.segment() {
            write!(f, "{segment:04x}:")?;
        }
        let requester = self.requester();
        write!(
            f,
            "{:02x}:{:02x}.{}",
            requester >> 8,
            requester >> 3 & 0x1f,
            requester & 7
        )
    }
}

/// What every message begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message's version.
    pub version: Version,
    /// What the message is.
    pub code: Code,
    /// The interface that it is about.
    pub interface: InterfaceId,
}

impl Header {
    /// Reads the header and answers what follows it.
    pub fn decode(object: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut r = Reader::new(object);
        let version = Version(r.u8("TDISP version")?);
        let code = Code(r.u8("TDISP message type")?);
        r.reserved(2)?;
        let interface = InterfaceId {
            function: r.u32("TDISP function ID")?,
        };
        r.reserved(8)?;
        let header = Self {
            version,
            code,
            interface,
        };
        Ok((header, r.rest()))
    }

    /// Appends the header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.u8(self.version.0);
        out.u8(self.code.0);
        out.zeros(2);
        out.u32(self.interface.function);
        out.zeros(8);
    }
}

/// Flags of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct LockFlags(pub u16);

impl LockFlags {
    /// Firmware updates are not permitted while locked.
    pub const NO_FW_UPDATE: Self = Self(1);
    /// The system's cache lines are 128 bytes; 64 otherwise.
    pub const SYS_CACHE_LINE_SIZE: Self = Self(1 << 1);
    /// The MSI-X table is locked too.
    pub const LOCK_MSIX: Self = Self(1 << 2);
    /// Peer-to-peer streams may be bound.
    pub const BIND_P2P: Self = Self(1 << 3);
    /// All requests are redirected upstream.
    pub const ALL_REQUEST_REDIRECT: Self = Self(1 << 4);

    /// Whether all bits of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl core::ops::BitOr for LockFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Body of a vendor-defined message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vdm<'a> {
    /// 0 PCI-SIG, 1 CXL.
    pub registry: u8,
    /// The vendor's ID, at most 255 bytes.
    pub vendor: &'a [u8],
    /// What the vendor says.
    pub data: &'a [u8],
}

/// What a vendor says, kept: [`Vdm`] with bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnedVdm {
    /// 0 PCI-SIG, 1 CXL.
    pub registry: u8,
    /// The vendor's ID, at most 255 bytes.
    pub vendor: Vec<u8>,
    /// What the vendor says.
    pub data: Vec<u8>,
}

impl OwnedVdm {
    /// As it is written.
    pub fn as_vdm(&self) -> Vdm<'_> {
        Vdm {
            registry: self.registry,
            vendor: &self.vendor,
            data: &self.data,
        }
    }
}

impl<'a> Vdm<'a> {
    /// The registry of PCI vendor IDs.
    pub const PCI_SIG: u8 = 0;
    /// The registry of CXL.
    pub const CXL: u8 = 1;

    /// Reads a vendor's words: the body of a vendor-defined message, and the extended data of an error, to the end.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Reader::all(bytes, Self::read)
    }

    /// Appends them. Of the vendor's ID 255 bytes are written at most.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Copies it.
    pub fn to_kept(&self) -> OwnedVdm {
        OwnedVdm {
            registry: self.registry,
            vendor: self.vendor.to_vec(),
            data: self.data.to_vec(),
        }
    }

    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let registry = r.u8("TDISP vendor registry")?;
        let size = r.u8("TDISP vendor ID length")?;
        Ok(Self {
            registry,
            vendor: r.take(usize::from(size), "TDISP vendor ID")?,
            data: r.rest(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let vendor = &self.vendor[..self.vendor.len().min(usize::from(u8::MAX))];
        out.bytes(&[self.registry, vendor.len() as u8]);
        out.bytes(vendor);
        out.bytes(self.data);
    }
}

fn header(code: Code, interface: InterfaceId) -> Header {
    Header {
        version: Version::V1_0,
        code,
        interface,
    }
}

fn unknown(found: u8, wanted: &'static str) -> DecodeError {
    DecodeError::Invalid {
        what: "TDISP message type",
        found: u64::from(found),
        wanted,
    }
}
