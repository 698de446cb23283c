//! TDISP messages (PCIe §11.3), as they travel in the PCI-SIG's vendor-defined SPDM messages.
//!
//! A responder answers a bad message by what is wrong with it first, so that reading goes in steps: [`Header::decode`]
//! (anything shorter has no answer), then the version, the code, the interface, and then [`Request::decode`] of what
//! follows the header, whose length must be exact.

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
    /// Message types (PCIe §11.3.2); requests have bit 7 set, and a response is its request's code without it.
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
    /// Whether this is a request's code.
    pub fn is_request(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Its bit in REQ_MSGS: the code without bit 7, so that GET_TDISP_VERSION is bit 1. Some peers are off by one.
    pub fn request_bit(self) -> u32 {
        u32::from(self.0 & 0x7f)
    }
}

open_enum! {
    /// Error codes (PCIe §11.3.29).
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
    /// States of an interface (PCIe §11.2.2).
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

/// INTERFACE_ID (PCIe §11.3.1): FUNCTION_ID and eight reserved bytes.
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

/// What LOCK_INTERFACE_REQUEST asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Flags.
    pub flags: LockFlags,
    /// Stream ID of the default IDE stream.
    pub default_stream: u8,
    /// MMIO_REPORTING_OFFSET: added to addresses in the report, modulo 2^64; a multiple of 4 KiB.
    pub mmio_reporting_offset: u64,
    /// BIND_P2P_ADDRESS_MASK.
    pub bind_p2p_address_mask: u64,
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

/// A request, without its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// GET_TDISP_VERSION.
    GetVersion,
    /// GET_TDISP_CAPABILITIES.
    GetCapabilities {
        /// TSM_CAPS: 0.
        tsm_caps: u32,
    },
    /// LOCK_INTERFACE_REQUEST.
    Lock(Lock),
    /// GET_DEVICE_INTERFACE_REPORT.
    GetReport {
        /// First byte wanted.
        offset: u16,
        /// Bytes wanted at most.
        length: u16,
    },
    /// GET_DEVICE_INTERFACE_STATE.
    GetState,
    /// START_INTERFACE_REQUEST.
    Start {
        /// The lock's nonce.
        nonce: [u8; NONCE_SIZE],
    },
    /// STOP_INTERFACE_REQUEST.
    Stop,
    /// BIND_P2P_STREAM_REQUEST.
    BindP2p {
        /// Stream ID.
        stream: u8,
    },
    /// UNBIND_P2P_STREAM_REQUEST.
    UnbindP2p {
        /// Stream ID.
        stream: u8,
    },
    /// SET_MMIO_ATTRIBUTE_REQUEST.
    SetMmioAttribute(super::report::Range),
    /// A vendor-defined message.
    Vdm(Vdm<'a>),
}

impl<'a> Request<'a> {
    /// Reads what follows the header of a request with `code`, to the last byte.
    pub fn decode(code: Code, body: &'a [u8]) -> Result<Self, DecodeError> {
        Reader::all(body, |r| match code {
            Code::GET_VERSION => Ok(Self::GetVersion),
            Code::GET_CAPABILITIES => Ok(Self::GetCapabilities {
                tsm_caps: r.u32("TSM capabilities")?,
            }),
            Code::LOCK => Lock::read(r).map(Self::Lock),
            Code::GET_REPORT => Ok(Self::GetReport {
                offset: r.u16("report offset")?,
                length: r.u16("report length")?,
            }),
            Code::GET_STATE => Ok(Self::GetState),
            Code::START => Ok(Self::Start {
                nonce: r.array("start nonce")?,
            }),
            Code::STOP => Ok(Self::Stop),
            Code::BIND_P2P => Ok(Self::BindP2p {
                stream: r.u8("peer-to-peer stream ID")?,
            }),
            Code::UNBIND_P2P => Ok(Self::UnbindP2p {
                stream: r.u8("peer-to-peer stream ID")?,
            }),
            Code::SET_MMIO_ATTRIBUTE => super::report::Range::read(r).map(Self::SetMmioAttribute),
            Code::VDM => Vdm::read(r).map(Self::Vdm),
            Code(found) => Err(unknown(found, "0x81 to 0x8b")),
        })
    }

    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            Self::GetVersion => Code::GET_VERSION,
            Self::GetCapabilities { .. } => Code::GET_CAPABILITIES,
            Self::Lock(_) => Code::LOCK,
            Self::GetReport { .. } => Code::GET_REPORT,
            Self::GetState => Code::GET_STATE,
            Self::Start { .. } => Code::START,
            Self::Stop => Code::STOP,
            Self::BindP2p { .. } => Code::BIND_P2P,
            Self::UnbindP2p { .. } => Code::UNBIND_P2P,
            Self::SetMmioAttribute(_) => Code::SET_MMIO_ATTRIBUTE,
            Self::Vdm(_) => Code::VDM,
        }
    }

    /// Appends header and request.
    pub fn encode(&self, interface: InterfaceId, out: &mut Vec<u8>) {
        header(self.code(), interface).encode(out);
        match self {
            Self::GetVersion | Self::GetState | Self::Stop => {}
            Self::GetCapabilities { tsm_caps } => out.u32(*tsm_caps),
            Self::Lock(lock) => lock.write(out),
            Self::GetReport { offset, length } => {
                out.u16(*offset);
                out.u16(*length);
            }
            Self::Start { nonce } => out.bytes(nonce),
            Self::BindP2p { stream } | Self::UnbindP2p { stream } => out.u8(*stream),
            Self::SetMmioAttribute(range) => range.write(out),
            Self::Vdm(vdm) => vdm.write(out),
        }
    }
}

impl Lock {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = LockFlags(r.u16("lock flags")?);
        let default_stream = r.u8("default stream ID")?;
        r.reserved(1)?;
        let mmio_reporting_offset = r.u64("MMIO reporting offset")?;
        if mmio_reporting_offset % PAGE_SIZE != 0 {
            return Err(DecodeError::Invalid {
                what: "MMIO reporting offset",
                found: mmio_reporting_offset,
                wanted: "a multiple of 4 KiB",
            });
        }
        Ok(Self {
            flags,
            default_stream,
            mmio_reporting_offset,
            bind_p2p_address_mask: r.u64("BIND_P2P address mask")?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u16(self.flags.0);
        out.u8(self.default_stream);
        out.zeros(1);
        out.u64(self.mmio_reporting_offset);
        out.u64(self.bind_p2p_address_mask);
    }
}

/// Capabilities of the device security manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// DSM_CAPS: 0.
    pub dsm_caps: u32,
    /// REQ_MSGS_SUPPORTED: one bit a request, see [`Code::request_bit`].
    pub requests: [u8; 16],
    /// Flags that a lock may have.
    pub lock_flags: LockFlags,
    /// DEV_ADDR_WIDTH: bits of addresses that the device can send.
    pub address_width: u8,
    /// NUM_REQ_THIS: requests that may be outstanding for this interface, less one.
    pub outstanding_here: u8,
    /// NUM_REQ_ALL: requests that may be outstanding for all interfaces, less one.
    pub outstanding_all: u8,
}

impl Capabilities {
    /// REQ_MSGS_SUPPORTED of the seven requests that every device must have.
    pub const REQUESTS_MANDATORY: [u8; 16] = [0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let dsm_caps = r.u32("DSM capabilities")?;
        let requests = r.array("supported requests")?;
        let lock_flags = LockFlags(r.u16("supported lock flags")?);
        r.reserved(3)?;
        Ok(Self {
            dsm_caps,
            requests,
            lock_flags,
            address_width: r.u8("device address width")?,
            outstanding_here: r.u8("outstanding requests")?,
            outstanding_all: r.u8("outstanding requests")?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u32(self.dsm_caps);
        out.bytes(&self.requests);
        out.u16(self.lock_flags.0);
        out.zeros(3);
        out.bytes(&[self.address_width, self.outstanding_here, self.outstanding_all]);
    }
}

/// Instead of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error<'a> {
    /// What is wrong.
    pub code: ErrorCode,
    /// By code.
    pub data: u32,
    /// Extended data of [`ErrorCode::VENDOR`]; empty with any other code.
    pub extended: &'a [u8],
}

impl Error<'_> {
    /// An error without extended data.
    pub fn new(code: ErrorCode, data: u32) -> Self {
        Self {
            code,
            data,
            extended: &[],
        }
    }
}

impl<'a> Error<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let code = ErrorCode(r.u32("TDISP error code")?);
        let data = r.u32("TDISP error data")?;
        let size = if code == ErrorCode::VENDOR {
            data as usize
        } else {
            0
        };
        Ok(Self {
            code,
            data,
            extended: r.take(size, "TDISP extended error data")?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u32(self.code.0);
        out.u32(self.data);
        out.bytes(self.extended);
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

impl<'a> Vdm<'a> {
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

/// A response, without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response<'a> {
    /// TDISP_VERSION: at least one version.
    Version(Vec<Version>),
    /// TDISP_CAPABILITIES.
    Capabilities(Capabilities),
    /// LOCK_INTERFACE_RESPONSE.
    Lock {
        /// What START must say.
        nonce: [u8; NONCE_SIZE],
    },
    /// DEVICE_INTERFACE_REPORT.
    Report {
        /// Bytes of the report from the offset asked for.
        portion: &'a [u8],
        /// Bytes behind them.
        remainder: u16,
    },
    /// DEVICE_INTERFACE_STATE.
    State(State),
    /// START_INTERFACE_RESPONSE.
    Start,
    /// STOP_INTERFACE_RESPONSE.
    Stop,
    /// BIND_P2P_STREAM_RESPONSE.
    BindP2p,
    /// UNBIND_P2P_STREAM_RESPONSE.
    UnbindP2p,
    /// SET_MMIO_ATTRIBUTE_RESPONSE.
    SetMmioAttribute,
    /// A vendor-defined response.
    Vdm(Vdm<'a>),
    /// TDISP_ERROR.
    Error(Error<'a>),
}

impl<'a> Response<'a> {
    /// Reads what follows the header of a response with `code`, to the last byte.
    pub fn decode(code: Code, body: &'a [u8]) -> Result<Self, DecodeError> {
        Reader::all(body, |r| match code {
            Code::VERSION => read_versions(r).map(Self::Version),
            Code::CAPABILITIES => Capabilities::read(r).map(Self::Capabilities),
            Code::LOCK_RESPONSE => Ok(Self::Lock {
                nonce: r.array("lock nonce")?,
            }),
            Code::REPORT => {
                let portion = r.u16("report portion length")?;
                let remainder = r.u16("report remainder length")?;
                Ok(Self::Report {
                    portion: r.take(usize::from(portion), "report portion")?,
                    remainder,
                })
            }
            Code::STATE => r.u8("interface state").map(State).map(Self::State),
            Code::START_RESPONSE => Ok(Self::Start),
            Code::STOP_RESPONSE => Ok(Self::Stop),
            Code::BIND_P2P_RESPONSE => Ok(Self::BindP2p),
            Code::UNBIND_P2P_RESPONSE => Ok(Self::UnbindP2p),
            Code::SET_MMIO_ATTRIBUTE_RESPONSE => Ok(Self::SetMmioAttribute),
            Code::VDM_RESPONSE => Vdm::read(r).map(Self::Vdm),
            Code::ERROR => Error::read(r).map(Self::Error),
            Code(found) => Err(unknown(found, "0x01 to 0x0b, or 0x7f")),
        })
    }

    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            Self::Version(_) => Code::VERSION,
            Self::Capabilities(_) => Code::CAPABILITIES,
            Self::Lock { .. } => Code::LOCK_RESPONSE,
            Self::Report { .. } => Code::REPORT,
            Self::State(_) => Code::STATE,
            Self::Start => Code::START_RESPONSE,
            Self::Stop => Code::STOP_RESPONSE,
            Self::BindP2p => Code::BIND_P2P_RESPONSE,
            Self::UnbindP2p => Code::UNBIND_P2P_RESPONSE,
            Self::SetMmioAttribute => Code::SET_MMIO_ATTRIBUTE_RESPONSE,
            Self::Vdm(_) => Code::VDM_RESPONSE,
            Self::Error(_) => Code::ERROR,
        }
    }

    /// Appends header and response.
    pub fn encode(&self, interface: InterfaceId, out: &mut Vec<u8>) {
        header(self.code(), interface).encode(out);
        match self {
            Self::Version(versions) => {
                let versions = &versions[..versions.len().min(usize::from(u8::MAX))];
                out.u8(versions.len() as u8);
                versions.iter().for_each(|version| out.u8(version.0));
            }
            Self::Capabilities(capabilities) => capabilities.write(out),
            Self::Lock { nonce } => out.bytes(nonce),
            Self::Report { portion, remainder } => {
                let length = u16::try_from(portion.len()).unwrap_or(u16::MAX);
                out.u16(length);
                out.u16(*remainder);
                out.bytes(&portion[..usize::from(length)]);
            }
            Self::State(state) => out.u8(state.0),
            Self::Vdm(vdm) => vdm.write(out),
            Self::Error(error) => error.write(out),
            Self::Start | Self::Stop | Self::BindP2p | Self::UnbindP2p | Self::SetMmioAttribute => {}
        }
    }
}

fn header(code: Code, interface: InterfaceId) -> Header {
    Header {
        version: Version::V1_0,
        code,
        interface,
    }
}

fn read_versions(r: &mut Reader<'_>) -> Result<Vec<Version>, DecodeError> {
    let count = r.u8("TDISP version count")?;
    if count == 0 {
        return Err(DecodeError::Invalid {
            what: "TDISP version count",
            found: 0,
            wanted: "at least 1",
        });
    }
    let versions = r.take(usize::from(count), "TDISP versions")?;
    Ok(versions.iter().copied().map(Version).collect())
}

fn unknown(found: u8, wanted: &'static str) -> DecodeError {
    DecodeError::Invalid {
        what: "TDISP message type",
        found: u64::from(found),
        wanted,
    }
}
