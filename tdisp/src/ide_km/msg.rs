//! IDE_KM objects (PCIe §6.33.3), as they travel in the PCI-SIG's vendor-defined SPDM messages.

use super::registers::{Capability, Streams};
use crate::crypto::Secret;
use crate::open_enum;
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Bytes of an AES-256 key.
pub const KEY_SIZE: usize = 32;

/// Bytes of registers in a QUERY_RESP: what 256 selective streams with 15 address associations and eight link streams take
/// is 51264 bytes; the rest is for what later versions put behind them.
pub const REGISTERS_MAX: usize = 64 * 1024;

open_enum! {
    /// Object IDs.
    pub struct ObjectId(u8) {
        /// Asks for a port's IDE registers.
        QUERY = 0,
        /// The registers.
        QUERY_RESP = 1,
        /// Programs one key.
        KEY_PROG = 2,
        /// How that went.
        KP_ACK = 3,
        /// Start using a key set.
        K_SET_GO = 4,
        /// Stop using it, and forget it.
        K_SET_STOP = 5,
        /// Done, for both.
        K_GOSTOP_ACK = 6,
        /// Asks for a key that the port made.
        GET_KEY = 7,
        /// The key.
        GET_KEY_ACK = 8,
        /// Sets the limit of what one key may encrypt.
        EN_AEAD_LC = 9,
        /// Done.
        EN_AEAD_LC_ACK = 10,
    }
}

open_enum! {
    /// How a KEY_PROG went.
    pub struct Status(u8) {
        /// The key is programmed.
        SUCCESSFUL = 0,
        /// The object has a wrong length.
        INCORRECT_LENGTH = 1,
        /// The port index is not one of the device's.
        UNSUPPORTED_PORT_INDEX = 2,
        /// A field has a value that is not supported.
        UNSUPPORTED_VALUE = 3,
        /// Something else.
        UNSPECIFIED_FAILURE = 4,
        /// The key is not one that may be used.
        INVALID_KEY = 5,
        /// The initial value is not one that may be used.
        INVALID_INITIAL_VALUE = 6,
    }
}

open_enum! {
    /// Sub-streams: one key each.
    pub struct SubStream(u8) {
        /// Posted requests.
        PR = 0,
        /// Non-posted requests.
        NPR = 1,
        /// Completions.
        CPL = 2,
    }
}

/// One direction of a sub-stream, from where the port stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What the port receives.
    Receive,
    /// What the port sends.
    Transmit,
}

/// Key set, direction and sub-stream in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeySub(pub u8);

impl KeySub {
    /// Of its parts. Of `sub_stream` the low four bits count.
    pub const fn new(key_set: bool, direction: Direction, sub_stream: SubStream) -> Self {
        Self(key_set as u8 | (direction as u8) << 1 | sub_stream.0 << 4)
    }

    /// Which of the two key sets.
    pub const fn key_set(self) -> bool {
        self.0 & 1 != 0
    }

    /// Which direction.
    pub const fn direction(self) -> Direction {
        match self.0 & 2 {
            0 => Direction::Receive,
            _ => Direction::Transmit,
        }
    }

    /// Which sub-stream.
    pub const fn sub_stream(self) -> SubStream {
        SubStream(self.0 >> 4)
    }
}

/// Which key an object is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Stream ID.
    pub stream: u8,
    /// Key set, direction, sub-stream.
    pub key_sub: KeySub,
    /// Port index.
    pub port: u8,
}

/// A key with its initial value.
#[derive(Debug, Clone)]
pub struct Key {
    /// 32 bytes, as AES takes them. On the wire the bytes of each DW are reversed.
    pub key: Secret,
    /// Initial value of the invocation field; [`Key::INITIAL`] in all known uses.
    pub initial: u64,
}

impl Key {
    /// The initial value that a port uses unless it makes its own.
    pub const INITIAL: u64 = 1;
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        crate::crypto::same(self.key.expose(), other.key.expose()) && self.initial == other.initial
    }
}

impl Eq for Key {}

/// The answer to a QUERY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers<'a> {
    /// Version and abilities of the port's IDE_KM; 0 before PCIe 7.0. See [`QueryCapabilities`].
    pub abilities: QueryCapabilities,
    /// Port index.
    pub port: u8,
    /// Device and function number of the port.
    pub device_function: u8,
    /// Bus number.
    pub bus: u8,
    /// Segment.
    pub segment: u8,
    /// Highest port index.
    pub port_max: u8,
    /// IDE capability register.
    pub capability: u32,
    /// IDE control register.
    pub control: u32,
    /// Link stream register blocks, then selective ones: whole DW. [`Registers::streams`] reads them.
    pub blocks: &'a [u8],
}

/// The second byte of a QUERY_RESP, which was reserved before PCIe 7.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct QueryCapabilities(pub u8);

impl QueryCapabilities {
    /// The port makes initial values.
    pub const MAKES_INITIAL_VALUES: Self = Self(1 << 4);
    /// The port makes keys, which GET_KEY asks for.
    pub const MAKES_KEYS: Self = Self(1 << 5);
    /// The port limits what one key encrypts.
    pub const LIMITS: Self = Self(1 << 6);
    /// EN_AEAD_LC sets that limit.
    pub const LIMIT_SETTABLE: Self = Self(1 << 7);

    /// Version of the capabilities, in bits 3:0.
    pub const fn version(self) -> u8 {
        self.0 & 0xf
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What one key may encrypt at most, set for a stream at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AeadLimit {
    /// Stream ID.
    pub stream: u8,
    /// Two's logarithm of the count of blocks, in six bits; 0 stands for 64.
    pub exponent: u8,
    /// Port index.
    pub port: u8,
}

/// An IDE_KM object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// QUERY.
    Query {
        /// Port index.
        port: u8,
    },
    /// QUERY_RESP.
    QueryResp(Registers<'a>),
    /// KEY_PROG.
    KeyProg(Slot, Key),
    /// KP_ACK.
    KpAck(Slot, Status),
    /// K_SET_GO.
    KSetGo(Slot),
    /// K_SET_STOP.
    KSetStop(Slot),
    /// K_GOSTOP_ACK.
    KGostopAck(Slot),
    /// GET_KEY.
    GetKey(Slot),
    /// GET_KEY_ACK.
    GetKeyAck(Slot, Key),
    /// EN_AEAD_LC.
    EnableAeadLimit(AeadLimit),
    /// EN_AEAD_LC_ACK.
    AeadLimitAck(AeadLimit),
}

impl<'a> Message<'a> {
    /// Reads a whole object. Of one that is not known the ID is refused, so that it gets no ack; what follows the
    /// fields of a known one is refused too, but for QUERY_RESP, whose length is the registers'.
    pub fn decode(object: &'a [u8]) -> Result<Self, DecodeError> {
        Reader::all(object, |r| match ObjectId(r.u8("IDE_KM object ID")?) {
            ObjectId::QUERY => {
                r.reserved(1)?;
                Ok(Self::Query {
                    port: r.u8("IDE port index")?,
                })
            }
            ObjectId::QUERY_RESP => Registers::read(r).map(Self::QueryResp),
            ObjectId::KEY_PROG => {
                let (slot, _) = Slot::read(r)?;
                Ok(Self::KeyProg(slot, Key::read(r)?))
            }
            ObjectId::KP_ACK => {
                let (slot, status) = Slot::read(r)?;
                Ok(Self::KpAck(slot, Status(status)))
            }
            ObjectId::K_SET_GO => Slot::read(r).map(|(slot, _)| Self::KSetGo(slot)),
            ObjectId::K_SET_STOP => Slot::read(r).map(|(slot, _)| Self::KSetStop(slot)),
            ObjectId::K_GOSTOP_ACK => Slot::read(r).map(|(slot, _)| Self::KGostopAck(slot)),
            ObjectId::GET_KEY => Slot::read(r).map(|(slot, _)| Self::GetKey(slot)),
            ObjectId::GET_KEY_ACK => {
                let (slot, _) = Slot::read(r)?;
                Ok(Self::GetKeyAck(slot, Key::read(r)?))
            }
            ObjectId::EN_AEAD_LC => AeadLimit::read(r).map(Self::EnableAeadLimit),
            ObjectId::EN_AEAD_LC_ACK => AeadLimit::read(r).map(Self::AeadLimitAck),
            ObjectId(found) => Err(DecodeError::Invalid {
                what: "IDE_KM object ID",
                found: u64::from(found),
                wanted: "0 to 10",
            }),
        })
    }

    /// Its object ID.
    pub fn id(&self) -> ObjectId {
        match self {
            Self::Query { .. } => ObjectId::QUERY,
            Self::QueryResp(_) => ObjectId::QUERY_RESP,
            Self::KeyProg(..) => ObjectId::KEY_PROG,
            Self::KpAck(..) => ObjectId::KP_ACK,
            Self::KSetGo(_) => ObjectId::K_SET_GO,
            Self::KSetStop(_) => ObjectId::K_SET_STOP,
            Self::KGostopAck(_) => ObjectId::K_GOSTOP_ACK,
            Self::GetKey(_) => ObjectId::GET_KEY,
            Self::GetKeyAck(..) => ObjectId::GET_KEY_ACK,
            Self::EnableAeadLimit(_) => ObjectId::EN_AEAD_LC,
            Self::AeadLimitAck(_) => ObjectId::EN_AEAD_LC_ACK,
        }
    }

    /// Appends the object. A KEY_PROG or GET_KEY_ACK puts the key into `out`: zeroize that when it is sent, and give it room for the
    /// whole message before, so that it does not grow and leave copies behind.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.u8(self.id().0);
        match self {
            Self::Query { port } => out.bytes(&[0, *port]),
            Self::QueryResp(registers) => registers.write(out),
            Self::KeyProg(slot, key) | Self::GetKeyAck(slot, key) => {
                slot.write(out, 0);
                key.write(out);
            }
            Self::KpAck(slot, status) => slot.write(out, status.0),
            Self::KSetGo(slot) | Self::KSetStop(slot) | Self::KGostopAck(slot) | Self::GetKey(slot) => {
                slot.write(out, 0);
            }
            Self::EnableAeadLimit(limit) | Self::AeadLimitAck(limit) => limit.write(out),
        }
    }
}

impl Slot {
    /// The fields behind the ID, and the byte that is KP_ACK's status and reserved elsewhere.
    fn read(r: &mut Reader<'_>) -> Result<(Self, u8), DecodeError> {
        r.reserved(2)?;
        let stream = r.u8("IDE stream ID")?;
        let status = r.u8("IDE_KM status")?;
        let slot = Self {
            stream,
            key_sub: KeySub(r.u8("IDE key sub-stream")?),
            port: r.u8("IDE port index")?,
        };
        Ok((slot, status))
    }

    fn write(&self, out: &mut Vec<u8>, status: u8) {
        out.bytes(&[0, 0, self.stream, status, self.key_sub.0, self.port]);
    }
}

impl AeadLimit {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.reserved(2)?;
        let stream = r.u8("IDE stream ID")?;
        let exponent = r.u8("AEAD limit exponent")? & EXPONENT;
        r.reserved(1)?;
        Ok(Self {
            stream,
            exponent,
            port: r.u8("IDE port index")?,
        })
    }

    fn write(self, out: &mut Vec<u8>) {
        out.bytes(&[0, 0, self.stream, self.exponent & EXPONENT, 0, self.port]);
    }
}

impl Key {
    /// Eight DW of key, the most significant first, each little-endian; then the initial value, likewise in two DW.
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let wire = r.take(KEY_SIZE, "IDE key")?;
        // In one allocation: a vector that grows leaves copies behind.
        let mut key = Vec::with_capacity(KEY_SIZE);
        key.extend(wire.chunks_exact(4).flat_map(|dw| dw.iter().rev()));
        let high = r.u32("IDE initial value")?;
        let low = r.u32("IDE initial value")?;
        Ok(Self {
            key: Secret::new(key),
            initial: u64::from(high) << 32 | u64::from(low),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.key.expose().len() + 8);
        let dws = self.key.expose().chunks(4);
        dws.for_each(|dw| dw.iter().rev().for_each(|byte| out.u8(*byte)));
        out.u32((self.initial >> 32) as u32);
        out.u32(self.initial as u32);
    }
}

impl<'a> Registers<'a> {
    /// The register blocks that the capability register announces, and the bytes behind them.
    pub fn streams(&self) -> Result<(Streams, &'a [u8]), DecodeError> {
        Streams::decode(Capability(self.capability), self.blocks)
    }

    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let registers = Self {
            abilities: QueryCapabilities(r.u8("IDE_KM capabilities")?),
            port: r.u8("IDE port index")?,
            device_function: r.u8("IDE device and function")?,
            bus: r.u8("IDE bus")?,
            segment: r.u8("IDE segment")?,
            port_max: r.u8("IDE highest port index")?,
            capability: r.u32("IDE capability")?,
            control: r.u32("IDE control")?,
            blocks: r.rest(),
        };
        let size = registers.blocks.len();
        if size.is_multiple_of(4) && size <= REGISTERS_MAX {
            return Ok(registers);
        }
        Err(DecodeError::Invalid {
            what: "IDE stream registers in bytes",
            found: size as u64,
            wanted: "whole DW, at most 65536",
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.bytes(&[
            self.abilities.0,
            self.port,
            self.device_function,
            self.bus,
            self.segment,
            self.port_max,
        ]);
        out.u32(self.capability);
        out.u32(self.control);
        out.bytes(self.blocks);
    }
}

/// Bits of an AEAD limit's exponent.
const EXPONENT: u8 = 0x3f;
