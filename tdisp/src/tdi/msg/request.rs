//! Requests of the TSM (PCIe §11.3).

use super::{Code, InterfaceId, LockFlags, NONCE_SIZE, PAGE_SIZE, Vdm, header, unknown};
use crate::tdi::report::Range;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

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
    SetMmioAttribute(Range),
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
            Code::SET_MMIO_ATTRIBUTE => Range::read(r).map(Self::SetMmioAttribute),
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
