//! The registers of IDE's extended capability (PCIe §7.9.26), as QUERY_RESP shows them: link streams' blocks, then selective
//! streams' blocks, each with its address associations.
//!
//! ```text
//!   IDE capability ── says how many ──► link block ×1–8        control, status                       2 DW
//!                                       selective block ×1–256 capability, control, status,
//!                                                              RID association ×2, address
//!                                                              association ×(0–15)×3               5 + 3n DW
//! ```
//! Each register is kept as it is, so that reading and writing gives the same bytes; methods say what its fields mean.

use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// IDE Capability register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Capability(pub u32);

impl Capability {
    /// Link IDE streams are supported.
    pub const LINK: Self = Self(1);
    /// Selective IDE streams are supported.
    pub const SELECTIVE: Self = Self(1 << 1);
    /// A selective stream's TLPs may flow through.
    pub const FLOW_THROUGH: Self = Self(1 << 2);
    /// Headers may be encrypted in part.
    pub const PARTIAL_HEADER: Self = Self(1 << 3);
    /// TLPs may be aggregated.
    pub const AGGREGATION: Self = Self(1 << 4);
    /// A PCRC is supported.
    pub const PCRC: Self = Self(1 << 5);
    /// IDE_KM is supported.
    pub const IDE_KM: Self = Self(1 << 6);
    /// Selective streams may carry configuration requests.
    pub const SELECTIVE_CONFIGURATION: Self = Self(1 << 7);
    /// Streams may be limited to TEE traffic.
    pub const TEE_LIMITED: Self = Self(1 << 24);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Register blocks of link streams: one for each traffic class supported, 0 to 8.
    pub const fn link_streams(self) -> usize {
        match self.contains(Self::LINK) {
            true => 1 + (self.0 >> 13 & 7) as usize,
            false => 0,
        }
    }

    /// Register blocks of selective streams, 0 to 256.
    pub const fn selective_streams(self) -> usize {
        match self.contains(Self::SELECTIVE) {
            true => 1 + (self.0 >> 16 & 0xff) as usize,
            false => 0,
        }
    }
}

/// Control register of a stream, of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Control(pub u32);

impl Control {
    /// Of a selective stream with this ID for TC 0, which is the default stream or not, and is not enabled yet.
    pub const fn selective(id: u8, default: bool) -> Self {
        Self((id as u32) << 24 | (default as u32) << 22)
    }

    /// Whether the stream is enabled.
    pub const fn enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// Traffic class.
    pub const fn traffic_class(self) -> u8 {
        (self.0 >> 19 & 7) as u8
    }

    /// Whether it is the default stream. Selective streams only.
    pub const fn is_default(self) -> bool {
        self.0 >> 22 & 1 != 0
    }

    /// Whether it is limited to TEE traffic. Selective streams only.
    pub const fn is_tee_limited(self) -> bool {
        self.0 >> 23 & 1 != 0
    }

    /// Stream ID.
    pub const fn id(self) -> u8 {
        (self.0 >> 24) as u8
    }
}

/// Status register of a stream, of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct StreamStatus(pub u32);

impl StreamStatus {
    /// Whether the stream is in the Secure state, rather than Insecure or one that is reserved.
    pub const fn is_secure(self) -> bool {
        self.0 & 0xf == 2
    }

    /// Whether a TLP failed its integrity check.
    pub const fn integrity_failed(self) -> bool {
        self.0 >> 31 != 0
    }
}

/// Register block of a link stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct LinkStream {
    /// Control.
    pub control: Control,
    /// Status.
    pub status: StreamStatus,
}

/// Register block of a selective stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct SelectiveStream {
    /// Capability, less its count of address associations in bits 3:0, which is [`Self::addresses`]'.
    pub capability: u32,
    /// Control.
    pub control: Control,
    /// Status.
    pub status: StreamStatus,
    /// RID association.
    pub requesters: RequesterAssociation,
    /// Address associations; 15 at most.
    pub addresses: Vec<AddressAssociation>,
}

/// RID association registers 1 and 2: the requesters at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct RequesterAssociation(pub [u32; 2]);

impl RequesterAssociation {
    /// First and last requester ID, if the registers are valid. The segment is above the requester's 16 bits.
    pub const fn range(self) -> Option<(u32, u32)> {
        let [limit, base] = self.0;
        let segment = base >> 24 << 16;
        match base & 1 {
            0 => None,
            _ => Some((segment | base >> 8 & 0xffff, segment | limit >> 8 & 0xffff)),
        }
    }
}

/// Address association registers 1 to 3: memory that requests to go over the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct AddressAssociation(pub [u32; 3]);

impl AddressAssociation {
    /// First and last address, if the registers are valid. Both are on the grid of 1 MiB.
    pub const fn range(self) -> Option<(u64, u64)> {
        let [low, limit, base] = self.0;
        let first = (base as u64) << 32 | ((low >> 8 & 0xfff) as u64) << 20;
        let last = (limit as u64) << 32 | ((low >> 20) as u64) << 20 | 0xf_ffff;
        match low & 1 {
            0 => None,
            _ => Some((first, last)),
        }
    }
}

/// All register blocks of a port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Streams {
    /// Link streams.
    pub link: Vec<LinkStream>,
    /// Selective streams.
    pub selective: Vec<SelectiveStream>,
}

impl Streams {
    /// Reads the blocks that the capability register announces, and answers what is behind them, which later versions of the
    /// specification may put there.
    pub fn decode(capability: Capability, blocks: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut r = Reader::new(blocks);
        let link = (0..capability.link_streams()).map(|_| LinkStream::read(&mut r));
        let link = link.collect::<Result<_, _>>()?;
        let selective = (0..capability.selective_streams()).map(|_| SelectiveStream::read(&mut r));
        let selective = selective.collect::<Result<_, _>>()?;
        Ok((Self { link, selective }, r.rest()))
    }

    /// Appends the blocks.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.link.iter().for_each(|stream| stream.write(out));
        self.selective.iter().for_each(|stream| stream.write(out));
    }

    /// Whether a block has this stream ID.
    pub fn has(&self, id: u8) -> bool {
        let link = self.link.iter().map(|stream| stream.control);
        let mut all = link.chain(self.selective.iter().map(|stream| stream.control));
        all.any(|control| control.id() == id)
    }
}

impl LinkStream {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            control: Control(r.u32("link stream control")?),
            status: StreamStatus(r.u32("link stream status")?),
        })
    }

    fn write(self, out: &mut Vec<u8>) {
        out.u32(self.control.0);
        out.u32(self.status.0);
    }
}

impl SelectiveStream {
    /// Whether a requester or an address belongs to both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let meets = |(a, b): (u64, u64), (c, d): (u64, u64)| a <= d && c <= b;
        let wide = |(first, last): (u32, u32)| (u64::from(first), u64::from(last));
        let requesters = match (self.requesters.range(), other.requesters.range()) {
            (Some(ours), Some(theirs)) => meets(wide(ours), wide(theirs)),
            _ => false,
        };
        let ours = self
            .addresses
            .iter()
            .filter_map(|association| association.range());
        requesters
            || ours.into_iter().any(|ours| {
                let mut theirs = other
                    .addresses
                    .iter()
                    .filter_map(|association| association.range());
                theirs.any(|theirs| meets(ours, theirs))
            })
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let capability = r.u32("selective stream capability")?;
        Ok(Self {
            capability: capability & !ASSOCIATIONS,
            control: Control(r.u32("selective stream control")?),
            status: StreamStatus(r.u32("selective stream status")?),
            requesters: RequesterAssociation([
                r.u32("selective stream RID association")?,
                r.u32("selective stream RID association")?,
            ]),
            addresses: (0..capability & ASSOCIATIONS)
                .map(|_| AddressAssociation::read(r))
                .collect::<Result<_, _>>()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let addresses = &self.addresses[..self.addresses.len().min(ASSOCIATIONS as usize)];
        out.u32(self.capability & !ASSOCIATIONS | addresses.len() as u32);
        out.u32(self.control.0);
        out.u32(self.status.0);
        self.requesters.0.iter().for_each(|register| out.u32(*register));
        let registers = addresses.iter().flat_map(|association| association.0);
        registers.for_each(|register| out.u32(register));
    }
}

impl AddressAssociation {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let what = "selective stream address association";
        Ok(Self([r.u32(what)?, r.u32(what)?, r.u32(what)?]))
    }
}

/// Bits of the selective stream's capability that count its address associations, and so the most that there are.
const ASSOCIATIONS: u32 = 0xf;
