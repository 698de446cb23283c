//! Host ↔ TSM: commands of the party that owns the hardware to the party that owns the sessions.
//!
//! The TSM makes every SPDM message itself and holds the session's secrets; the host only carries DOE objects
//! between it and the device, as SEV-TIO has it.
//!
//! ```text
//!   host                                          TSM                      device
//!    │ command (one at a time) ───────────────────► │
//!    │ ◄─────────────────────── Carry{device, object} │
//!    │ ──────────────── the object, by DOE ─────────────────────────────────► │
//!    │ ◄───────────────────────────────────────────────────── its answer ──── │
//!    │ Carried{object}, or CarryFailed{reason} ───► │   as often as the command takes
//!    │ ◄────────────────── Object{owner, kind, bytes} │   evidence for the host's cache; not answered
//!    │ ◄─────────────────────── Done or Failed ────── │   ends the command
//! ```
//!
//! * A frame is `u32 length ‖ u8 code ‖ body`; length counts what follows it, at most [`FRAME_SIZE_MAX`].
//! * The host sends a command, or — only after [`Answer::Carry`] — what became of the carriage.
//! * A carriage that fails ends the command with [`Answer::Failed`]; nothing is left half-done by the TSM.

use super::{
    ObjectKind, Rid, TdiId, VmId, frame,
    guest::{Negotiated, TdiState, flag},
    text,
};
use crate::{
    open_enum,
    wire::{DecodeError, Reader, Write},
};
use alloc::{string::String, vec::Vec};

pub use super::frame::{Decoder, Message};

/// The version of this protocol.
pub const VERSION: u16 = 2;

/// Bytes of the longest frame, its length field not counted: a DOE object of 1 MiB and its header.
pub const FRAME_SIZE_MAX: usize = 1024 * 1024 + 64;

/// What the host sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// What the TSM is and holds.
    Status,
    /// Make a key and a guest channel for a VM.
    VmCreate {
        /// The VM.
        vm: VmId,
    },
    /// Stop the VM's TDIs and forget its key.
    VmDestroy {
        /// The VM.
        vm: VmId,
    },
    /// Make a session with a device, authenticated by one of its certificate slots.
    DevConnect {
        /// The DSM's function.
        device: Rid,
        /// The slot, 0 to 7.
        slot: u8,
    },
    /// Stop the device's TDIs and end the session.
    DevDisconnect {
        /// The DSM's function.
        device: Rid,
    },
    /// What the TSM knows about a device.
    DevStatus {
        /// The DSM's function.
        device: Rid,
    },
    /// Lock a TDI for a VM.
    TdiBind(Bind),
    /// Stop a TDI.
    TdiUnbind {
        /// The TDI.
        tdi: TdiId,
    },
    /// A message of the guest's [`sealed`](super::sealed) channel.
    GuestRequest {
        /// The VM.
        vm: VmId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// The device's answer to what was carried.
    Carried {
        /// A DOE data object.
        object: Vec<u8>,
    },
    /// The device could not be reached, or did not answer.
    CarryFailed {
        /// Why, for people.
        reason: String,
    },
}

/// The body of [`Command::TdiBind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// The DSM's function.
    pub device: Rid,
    /// The device's name of the TDI: TDISP FUNCTION_ID.
    pub function_id: u32,
    /// The VM.
    pub vm: VmId,
    /// The function's address in the guest.
    pub guest: Rid,
    /// TDISP lock flags.
    pub flags: u16,
    /// MMIO_REPORTING_OFFSET, bytes, added to every address in the interface report.
    pub mmio_offset: u64,
}

/// What the TSM sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Carry this to the device and bring what it answers.
    Carry {
        /// The DSM's function.
        device: Rid,
        /// A DOE data object.
        object: Vec<u8>,
    },
    /// Evidence, for the host to keep and give to the guest.
    Object {
        /// Whose it is.
        owner: Owner,
        /// What it is.
        kind: ObjectKind,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The command was done.
    Done(Done),
    /// The command was not done.
    Failed {
        /// Why, for machines.
        code: Code,
        /// Why, for people; at most [`TEXT_SIZE_MAX`](super::TEXT_SIZE_MAX) bytes.
        reason: String,
    },
}

/// Whose evidence an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The device's: certificates, and measurements that no guest asked for.
    Device(Rid),
    /// A TDI's: its report, and measurements with its guest's nonce.
    Tdi(TdiId),
}

/// What a command that was done brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nothing more to say.
    Ok,
    /// The answer to [`Command::Status`].
    Status(Status),
    /// The answer to [`Command::DevStatus`].
    DevStatus(DevStatus),
    /// The answer to [`Command::TdiBind`].
    Bound {
        /// The TDI's name.
        tdi: TdiId,
    },
    /// The answer to [`Command::GuestRequest`]: a message for the guest.
    Guest {
        /// A [`sealed`](super::sealed) message.
        bytes: Vec<u8>,
    },
}

/// What the TSM is and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The TSM's [`VERSION`].
    pub version: u16,
    /// Devices with a session.
    pub devices: u32,
    /// VMs with a key.
    pub vms: u32,
    /// Bound TDIs.
    pub tdis: u32,
}

/// What the TSM knows about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevStatus {
    /// Whether there is a session.
    pub connected: bool,
    /// The slot that authenticated it.
    pub slot: u8,
    /// What it was negotiated with.
    pub spdm: Negotiated,
    /// SHA-384 of the certificate chain object.
    pub certificates_digest: [u8; 48],
    /// SHA-384 of the last measurements' exchange; zeros if there is none.
    pub measurements_digest: [u8; 48],
    /// The device's bound TDIs, at most 65535.
    pub tdis: Vec<TdiStatus>,
}

/// What the TSM knows about a bound TDI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdiStatus {
    /// Its name.
    pub tdi: TdiId,
    /// The device's name of it: TDISP FUNCTION_ID.
    pub function_id: u32,
    /// Whose it is.
    pub vm: VmId,
    /// The function's address in the guest.
    pub guest: Rid,
    /// The state that the device reported last.
    pub state: TdiState,
    /// The number of its lock.
    pub generation: u64,
    /// Whether it may reach private memory.
    pub dma_enabled: bool,
}

open_enum! {
    /// Why the TSM failed a command.
    pub struct Code(u16) {
        /// The command is malformed or out of place.
        BAD_REQUEST = 1,
        /// No VM, device or TDI of that name.
        UNKNOWN = 2,
        /// It exists, is connected or is bound already.
        EXISTS = 3,
        /// The host failed to carry.
        CARRY = 4,
        /// The device answered wrongly, or refused.
        DEVICE = 5,
        /// The guest's message could not be used; its channel is closed.
        CHANNEL = 6,
        /// The platform failed: keys, files, random bytes.
        PLATFORM = 7,
    }
}

impl Command {
    /// Appends the command as one frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::encode(out, |out| match self {
            Self::Status => out.u8(code::STATUS),
            Self::VmCreate { vm } => {
                out.u8(code::VM_CREATE);
                vm.encode(out);
            }
            Self::VmDestroy { vm } => {
                out.u8(code::VM_DESTROY);
                vm.encode(out);
            }
            Self::DevConnect { device, slot } => {
                about(code::DEV_CONNECT, *device, out);
                out.u8(*slot);
            }
            Self::DevDisconnect { device } => about(code::DEV_DISCONNECT, *device, out),
            Self::DevStatus { device } => about(code::DEV_STATUS, *device, out),
            Self::TdiBind(bind) => bind.encode(out),
            Self::TdiUnbind { tdi } => {
                out.u8(code::TDI_UNBIND);
                tdi.encode(out);
            }
            Self::GuestRequest { vm, bytes } => {
                out.u8(code::GUEST_REQUEST);
                vm.encode(out);
                out.bytes(bytes);
            }
            Self::Carried { object } => {
                out.u8(code::CARRIED);
                out.bytes(object);
            }
            Self::CarryFailed { reason } => {
                out.u8(code::CARRY_FAILED);
                text::encode(reason, out);
            }
        });
    }
}

impl frame::Sealed for Command {}

impl Message for Command {
    type Frame = Self;

    const FRAME_SIZE_MAX: usize = FRAME_SIZE_MAX;

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("command code")? {
            code::STATUS => Self::Status,
            code::VM_CREATE => Self::VmCreate { vm: VmId::decode(r)? },
            code::VM_DESTROY => Self::VmDestroy { vm: VmId::decode(r)? },
            code::DEV_CONNECT => Self::DevConnect {
                device: Rid::decode(r)?,
                slot: r.u8("slot")?,
            },
            code::DEV_DISCONNECT => Self::DevDisconnect {
                device: Rid::decode(r)?,
            },
            code::DEV_STATUS => Self::DevStatus {
                device: Rid::decode(r)?,
            },
            code::TDI_BIND => Self::TdiBind(Bind::decode(r)?),
            code::TDI_UNBIND => Self::TdiUnbind {
                tdi: TdiId::decode(r)?,
            },
            code::GUEST_REQUEST => Self::GuestRequest {
                vm: VmId::decode(r)?,
                bytes: r.rest().to_vec(),
            },
            code::CARRIED => Self::Carried {
                object: r.rest().to_vec(),
            },
            code::CARRY_FAILED => Self::CarryFailed {
                reason: text::decode(r)?,
            },
            found => return Err(unknown(found, "command code", "a command")),
        })
    }
}

impl Bind {
    fn encode(&self, out: &mut Vec<u8>) {
        about(code::TDI_BIND, self.device, out);
        out.u32(self.function_id);
        self.vm.encode(out);
        self.guest.encode(out);
        out.u16(self.flags);
        out.u64(self.mmio_offset);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            device: Rid::decode(r)?,
            function_id: r.u32("function id")?,
            vm: VmId::decode(r)?,
            guest: Rid::decode(r)?,
            flags: r.u16("lock flags")?,
            mmio_offset: r.u64("MMIO reporting offset")?,
        })
    }
}

impl Answer {
    /// Appends the answer as one frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::encode(out, |out| match self {
            Self::Carry { device, object } => {
                about(code::CARRY, *device, out);
                out.bytes(object);
            }
            Self::Object { owner, kind, bytes } => {
                out.u8(code::OBJECT);
                owner.encode(out);
                out.u8(kind.0);
                out.bytes(bytes);
            }
            Self::Done(done) => done.encode(out),
            Self::Failed { code, reason } => {
                out.u8(code::FAILED);
                out.u16(code.0);
                text::encode(reason, out);
            }
        });
    }
}

impl frame::Sealed for Answer {}

impl Message for Answer {
    type Frame = Self;

    const FRAME_SIZE_MAX: usize = FRAME_SIZE_MAX;

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("answer code")? {
            code::CARRY => Self::Carry {
                device: Rid::decode(r)?,
                object: r.rest().to_vec(),
            },
            code::OBJECT => Self::Object {
                owner: Owner::decode(r)?,
                kind: ObjectKind::decode(r)?,
                bytes: r.rest().to_vec(),
            },
            code::FAILED => Self::Failed {
                code: Code(r.u16("code")?),
                reason: text::decode(r)?,
            },
            found => Self::Done(Done::decode(found, r)?),
        })
    }
}

impl Owner {
    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Device(device) => about(1, device, out),
            Self::Tdi(tdi) => {
                out.u8(2);
                tdi.encode(out);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8("owner")? {
            1 => Rid::decode(r).map(Self::Device),
            2 => TdiId::decode(r).map(Self::Tdi),
            found => Err(unknown(found, "owner", "1 device or 2 TDI")),
        }
    }
}

impl Done {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ok => out.u8(code::DONE),
            Self::Status(status) => {
                out.u8(code::DONE_STATUS);
                out.u16(status.version);
                out.u32(status.devices);
                out.u32(status.vms);
                out.u32(status.tdis);
            }
            Self::DevStatus(status) => {
                out.u8(code::DONE_DEV_STATUS);
                status.encode(out);
            }
            Self::Bound { tdi } => {
                out.u8(code::DONE_BOUND);
                tdi.encode(out);
            }
            Self::Guest { bytes } => {
                out.u8(code::DONE_GUEST);
                out.bytes(bytes);
            }
        }
    }

    fn decode(code: u8, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match code {
            code::DONE => Self::Ok,
            code::DONE_STATUS => Self::Status(Status {
                version: r.u16("version")?,
                devices: r.u32("devices")?,
                vms: r.u32("VMs")?,
                tdis: r.u32("TDIs")?,
            }),
            code::DONE_DEV_STATUS => Self::DevStatus(DevStatus::decode(r)?),
            code::DONE_BOUND => Self::Bound {
                tdi: TdiId::decode(r)?,
            },
            code::DONE_GUEST => Self::Guest {
                bytes: r.rest().to_vec(),
            },
            found => return Err(unknown(found, "answer code", "an answer")),
        })
    }
}

impl DevStatus {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(self.connected.into());
        out.u8(self.slot);
        self.spdm.encode(out);
        out.bytes(&self.certificates_digest);
        out.bytes(&self.measurements_digest);
        let count = u16::try_from(self.tdis.len()).unwrap_or(u16::MAX);
        out.u16(count);
        self.tdis
            .iter()
            .take(count.into())
            .for_each(|tdi| tdi.encode(out));
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            connected: flag(r, "connected")?,
            slot: r.u8("slot")?,
            spdm: Negotiated::decode(r)?,
            certificates_digest: r.array("certificates digest")?,
            measurements_digest: r.array("measurements digest")?,
            tdis: (0..r.u16("TDIs")?)
                .map(|_| TdiStatus::decode(r))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl TdiStatus {
    fn encode(&self, out: &mut Vec<u8>) {
        self.tdi.encode(out);
        out.u32(self.function_id);
        self.vm.encode(out);
        self.guest.encode(out);
        out.u8(self.state.0);
        out.u64(self.generation);
        out.u8(self.dma_enabled.into());
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            tdi: TdiId::decode(r)?,
            function_id: r.u32("function id")?,
            vm: VmId::decode(r)?,
            guest: Rid::decode(r)?,
            state: TdiState(r.u8("TDI state")?),
            generation: r.u64("lock generation")?,
            dma_enabled: flag(r, "DMA enabled")?,
        })
    }
}

fn about(code: u8, device: Rid, out: &mut Vec<u8>) {
    out.u8(code);
    device.encode(out);
}

fn unknown(found: u8, what: &'static str, wanted: &'static str) -> DecodeError {
    DecodeError::Invalid {
        what,
        found: found.into(),
        wanted,
    }
}

mod code {
    pub(super) const STATUS: u8 = 1;
    pub(super) const VM_CREATE: u8 = 2;
    pub(super) const VM_DESTROY: u8 = 3;
    pub(super) const DEV_CONNECT: u8 = 4;
    pub(super) const DEV_DISCONNECT: u8 = 5;
    pub(super) const DEV_STATUS: u8 = 6;
    pub(super) const TDI_BIND: u8 = 7;
    pub(super) const TDI_UNBIND: u8 = 8;
    pub(super) const GUEST_REQUEST: u8 = 9;
    pub(super) const CARRIED: u8 = 10;
    pub(super) const CARRY_FAILED: u8 = 11;

    pub(super) const CARRY: u8 = 0x80;
    pub(super) const OBJECT: u8 = 0x81;
    pub(super) const DONE: u8 = 0x82;
    pub(super) const DONE_STATUS: u8 = 0x83;
    pub(super) const DONE_DEV_STATUS: u8 = 0x84;
    pub(super) const DONE_BOUND: u8 = 0x85;
    pub(super) const DONE_GUEST: u8 = 0x86;
    pub(super) const FAILED: u8 = 0x87;
}

#[cfg(test)]
mod tests;
