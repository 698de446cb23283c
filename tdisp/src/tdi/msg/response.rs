//! Responses of the device security manager (PCIe §11.3).

use super::{Code, ErrorCode, InterfaceId, LockFlags, NONCE_SIZE, State, Vdm, Version, header, unknown};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

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
    /// NUM_REQ_THIS: requests that may be outstanding for this interface; at least 1.
    pub outstanding_here: u8,
    /// NUM_REQ_ALL: requests that may be outstanding for all interfaces; at least 1.
    pub outstanding_all: u8,
}

impl Capabilities {
    /// REQ_MSGS_SUPPORTED of the seven requests that every device must have.
    pub const REQUESTS_MANDATORY: [u8; 16] = [0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// REQ_MSGS_SUPPORTED of these requests.
    pub fn requests_of(codes: &[Code]) -> [u8; 16] {
        codes.iter().fold([0; 16], |mut requests, code| {
            let bit = code.request_bit();
            requests[bit as usize / 8] |= 1 << (bit % 8);
            requests
        })
    }

    /// Whether a request is supported. Bit 0 stands for no request: where it is set, the peer is one of those that
    /// count the bits from GET_TDISP_VERSION, and is read as it means it.
    pub fn supports(&self, request: Code) -> bool {
        let off_by_one = u32::from(self.requests[0] & 1);
        let bit = request.request_bit().wrapping_sub(off_by_one);
        let byte = self.requests.get(bit as usize / 8);
        byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }

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

impl<'a> Error<'a> {
    /// A vendor's error, whose extended data is a [`Vdm`] in bytes.
    pub fn of_vendor(extended: &'a [u8]) -> Self {
        Self {
            code: ErrorCode::VENDOR,
            data: u32::try_from(extended.len()).unwrap_or(u32::MAX),
            extended,
        }
    }

    /// What the vendor says, if it is a vendor's error in the form that the specification wants (Table 11-28).
    pub fn vendor(&self) -> Option<Vdm<'a>> {
        let of_vendor = self.code == ErrorCode::VENDOR;
        of_vendor.then(|| Vdm::decode(self.extended).ok()).flatten()
    }
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
