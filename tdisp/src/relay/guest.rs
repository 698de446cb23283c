//! Guest ↔ TSM: the requests and answers inside the [sealed](super::sealed) channel.
//!
//! They are shaped like SEV-TIO's guest messages: [`Request::TdiInfo`] is the one thing that a verdict rests on,
//! and every request that enables something names the [lock generation](TdiInfo::generation) that the verdict is
//! about, so that the TSM refuses it when the device was locked anew in between.
//!
//! A message is `u8 code ‖ body`.

use super::{Rid, TdiId, text};
use crate::{
    open_enum,
    wire::{DecodeError, Reader, Write},
};
use alloc::{string::String, vec::Vec};

pub use crate::tdi::msg::State as TdiState;

/// Bytes in the page that [`Request::ValidateMmio`] counts.
pub const PAGE_SIZE: u64 = 4096;

/// What the guest asks of the TSM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// What the TSM knows about the TDI behind one of the guest's functions.
    TdiInfo {
        /// The function's address in the guest.
        guest: Rid,
    },
    /// Have the device measured anew, with this nonce.
    RefreshMeasurements {
        /// The TDI.
        tdi: TdiId,
        /// The lock that is meant.
        generation: u64,
        /// Fresh random bytes of the guest's.
        nonce: [u8; 32],
    },
    /// Make a range of the interface report private at a guest physical address, after checking that it is there.
    ValidateMmio(ValidateMmio),
    /// TDISP START: the TDI goes from LOCKED to RUN.
    Start {
        /// The TDI.
        tdi: TdiId,
        /// The lock that is meant.
        generation: u64,
        /// The [report count](TdiInfo::report_count) that the verdict saw.
        report_count: u64,
    },
    /// Let the TDI reach the guest's private memory.
    EnableDma {
        /// The TDI.
        tdi: TdiId,
        /// The lock that is meant.
        generation: u64,
    },
    /// Take that back.
    DisableDma {
        /// The TDI.
        tdi: TdiId,
    },
    /// TDISP STOP: the TDI goes to UNLOCKED, its lock is void.
    Stop {
        /// The TDI.
        tdi: TdiId,
    },
    /// Make a range of guest memory reachable for every device: bounce buffers.
    Share {
        /// First guest physical address.
        gpa: u64,
        /// Bytes.
        len: u64,
    },
    /// Make such a range private again.
    Unshare {
        /// First guest physical address.
        gpa: u64,
        /// Bytes.
        len: u64,
    },
}

/// The body of [`Request::ValidateMmio`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidateMmio {
    /// The TDI.
    pub tdi: TdiId,
    /// The lock that is meant.
    pub generation: u64,
    /// The range's id in the interface report.
    pub range_id: u16,
    /// Where the range's first page is in the guest, in bytes.
    pub gpa: u64,
    /// Pages of [`PAGE_SIZE`] bytes.
    pub pages: u64,
}

/// What the TSM answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// The answer to [`Request::TdiInfo`].
    TdiInfo(TdiInfo),
    /// The answer to [`Request::ValidateMmio`].
    MmioValidated {
        /// Whether any page was not yet validated before. `false` on a first validation means that it was not one.
        changed: bool,
    },
    /// Any other request was done.
    Done,
    /// The request was not done, and changed nothing.
    Refused {
        /// Why, for machines.
        status: Status,
        /// Why, for people; at most [`TEXT_SIZE_MAX`](super::TEXT_SIZE_MAX) bytes.
        reason: String,
    },
}

/// What the TSM knows about a TDI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdiInfo {
    /// The function that was asked about.
    pub guest: Rid,
    /// Whether a TDI is bound to it. Unless it is, the other fields mean nothing.
    pub status: Binding,
    /// The TDI's name.
    pub tdi: TdiId,
    /// The device's name of the TDI: TDISP FUNCTION_ID (requester id 15:0, segment 23:16, segment valid 24).
    pub function_id: u32,
    /// The TDISP state that the device reported last.
    pub state: TdiState,
    /// Counts the locks of all TDIs: another lock is another number.
    pub generation: u64,
    /// Counts how often the interface report was read in this lock.
    pub report_count: u64,
    /// The TDISP flags that the TDI was locked with.
    pub lock_flags: u16,
    /// Whether the TDI may reach private memory.
    pub dma_enabled: bool,
    /// Whether [`measurements`](Self::measurements_digest) is the digest of anything.
    pub measurements_valid: bool,
    /// Whether the measurements were taken with a nonce of this guest's, in this lock.
    pub measurements_fresh: bool,
    /// What the SPDM session was negotiated with.
    pub spdm: Negotiated,
    /// The certificate slot that authenticated the session, 0 to 7.
    pub slot: u8,
    /// SHA-384 of the certificate chain object.
    pub certificates_digest: [u8; 48],
    /// SHA-384 of VCA ‖ GET_MEASUREMENTS ‖ MEASUREMENTS.
    pub measurements_digest: [u8; 48],
    /// SHA-384 of the interface report.
    pub report_digest: [u8; 48],
}

/// What an SPDM connection was negotiated with: the selected bits as ALGORITHMS carries them (DSP0274 §10.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Negotiated {
    /// SPDM version as in message headers: `0x12` is 1.2.
    pub version: u8,
    /// MeasurementHashAlgo.
    pub measurement_hash: u32,
    /// BaseAsymSel; 0 where a post-quantum signature algorithm was selected.
    pub asym: u32,
    /// PqcAsymSel (1.4); 0 where a classical one was.
    pub pqc_asym: u32,
    /// BaseHashSel.
    pub hash: u32,
    /// DHE group selected; 0 where a key encapsulation mechanism was.
    pub dhe: u16,
    /// Key encapsulation mechanism selected (1.4); 0 where a DHE group was.
    pub kem: u16,
    /// AEAD cipher suite selected.
    pub aead: u16,
    /// Key schedule selected.
    pub key_schedule: u16,
}

open_enum! {
    /// Whether a TDI is bound to a function.
    pub struct Binding(u8) {
        /// It is.
        BOUND = 0,
        /// The guest has no such function, or it can have no TDI.
        INVALID = 1,
        /// It is not.
        UNBOUND = 2,
    }
}

open_enum! {
    /// Why the TSM refused.
    pub struct Status(u16) {
        /// The request is malformed.
        BAD_REQUEST = 1,
        /// No TDI of that name is this guest's.
        INVALID_TDI = 2,
        /// The TDI is not bound any more.
        UNBOUND = 3,
        /// The TDI was locked, or its report read, anew: verify again.
        STALE = 4,
        /// The TDI is in a state in which this cannot be done.
        WRONG_STATE = 5,
        /// The interface report has no such range.
        NOT_REPORTED = 6,
        /// The range is shorter than that.
        OUT_OF_RANGE = 7,
        /// The host has not mapped all of the range there.
        NOT_MAPPED = 8,
        /// The address is not a multiple of the page size, or what is mapped there is not in such pages.
        NOT_4K = 9,
        /// What is mapped there is not this TDI's range in order.
        NOT_UNIFORM = 10,
        /// The device answered wrongly or not at all.
        DEVICE = 11,
        /// The TSM cannot do this now: too many ranges, no random bytes.
        RESOURCES = 12,
    }
}

mod code {
    pub(super) const TDI_INFO: u8 = 1;
    pub(super) const REFRESH_MEASUREMENTS: u8 = 2;
    pub(super) const VALIDATE_MMIO: u8 = 3;
    pub(super) const START: u8 = 4;
    pub(super) const ENABLE_DMA: u8 = 5;
    pub(super) const DISABLE_DMA: u8 = 6;
    pub(super) const STOP: u8 = 7;
    pub(super) const SHARE: u8 = 8;
    pub(super) const UNSHARE: u8 = 9;

    pub(super) const DONE: u8 = 0x40;
    pub(super) const REFUSED: u8 = 0x7f;
}

impl Request {
    /// Appends the request.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::TdiInfo { guest } => {
                out.u8(code::TDI_INFO);
                guest.encode(out);
            }
            Self::RefreshMeasurements {
                tdi,
                generation,
                nonce,
            } => {
                about(code::REFRESH_MEASUREMENTS, *tdi, out);
                out.u64(*generation);
                out.bytes(nonce);
            }
            Self::ValidateMmio(validate) => validate.encode(out),
            Self::Start {
                tdi,
                generation,
                report_count,
            } => {
                about(code::START, *tdi, out);
                out.u64(*generation);
                out.u64(*report_count);
            }
            Self::EnableDma { tdi, generation } => {
                about(code::ENABLE_DMA, *tdi, out);
                out.u64(*generation);
            }
            Self::DisableDma { tdi } => about(code::DISABLE_DMA, *tdi, out),
            Self::Stop { tdi } => about(code::STOP, *tdi, out),
            Self::Share { gpa, len } => memory(code::SHARE, *gpa, *len, out),
            Self::Unshare { gpa, len } => memory(code::UNSHARE, *gpa, *len, out),
        }
    }

    /// Decodes a whole message.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::all(bytes, |r| {
            let generation = "lock generation";
            Ok(match r.u8("request code")? {
                code::TDI_INFO => Self::TdiInfo {
                    guest: Rid::decode(r)?,
                },
                code::REFRESH_MEASUREMENTS => Self::RefreshMeasurements {
                    tdi: TdiId::decode(r)?,
                    generation: r.u64(generation)?,
                    nonce: r.array("nonce")?,
                },
                code::VALIDATE_MMIO => Self::ValidateMmio(ValidateMmio::decode(r)?),
                code::START => Self::Start {
                    tdi: TdiId::decode(r)?,
                    generation: r.u64(generation)?,
                    report_count: r.u64("report count")?,
                },
                code::ENABLE_DMA => Self::EnableDma {
                    tdi: TdiId::decode(r)?,
                    generation: r.u64(generation)?,
                },
                code::DISABLE_DMA => Self::DisableDma {
                    tdi: TdiId::decode(r)?,
                },
                code::STOP => Self::Stop {
                    tdi: TdiId::decode(r)?,
                },
                code::SHARE => Self::Share {
                    gpa: r.u64("address")?,
                    len: r.u64("length")?,
                },
                code::UNSHARE => Self::Unshare {
                    gpa: r.u64("address")?,
                    len: r.u64("length")?,
                },
                found => return Err(unknown_code(found, "a guest request")),
            })
        })
    }
}

impl ValidateMmio {
    fn encode(&self, out: &mut Vec<u8>) {
        about(code::VALIDATE_MMIO, self.tdi, out);
        out.u64(self.generation);
        out.u16(self.range_id);
        out.u64(self.gpa);
        out.u64(self.pages);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            tdi: TdiId::decode(r)?,
            generation: r.u64("lock generation")?,
            range_id: r.u16("range id")?,
            gpa: r.u64("address")?,
            pages: r.u64("pages")?,
        })
    }
}

impl Response {
    /// Appends the response.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::TdiInfo(info) => {
                out.u8(code::TDI_INFO);
                info.encode(out);
            }
            Self::MmioValidated { changed } => {
                out.u8(code::VALIDATE_MMIO);
                out.u8((*changed).into());
            }
            Self::Done => out.u8(code::DONE),
            Self::Refused { status, reason } => {
                out.u8(code::REFUSED);
                out.u16(status.0);
                text::encode(reason, out);
            }
        }
    }

    /// Decodes a whole message.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::all(bytes, |r| {
            Ok(match r.u8("response code")? {
                code::TDI_INFO => Self::TdiInfo(TdiInfo::decode(r)?),
                code::VALIDATE_MMIO => Self::MmioValidated {
                    changed: flag(r, "changed")?,
                },
                code::DONE => Self::Done,
                code::REFUSED => Self::Refused {
                    status: Status(r.u16("status")?),
                    reason: text::decode(r)?,
                },
                found => return Err(unknown_code(found, "an answer of the TSM")),
            })
        })
    }

    /// Whether this is an answer that `request` can have.
    pub(super) fn answers(&self, request: &Request) -> bool {
        match (self, request) {
            (Self::Refused { .. }, _) => true,
            (Self::TdiInfo(info), Request::TdiInfo { guest }) => info.guest == *guest,
            (Self::MmioValidated { .. }, Request::ValidateMmio(_)) => true,
            (Self::Done, Request::TdiInfo { .. } | Request::ValidateMmio(_)) => false,
            (Self::Done, _) => true,
            (Self::TdiInfo(_) | Self::MmioValidated { .. }, _) => false,
        }
    }
}

impl TdiInfo {
    /// The answer about a function that has no TDI.
    pub fn absent(guest: Rid, status: Binding) -> Self {
        Self {
            guest,
            status,
            tdi: TdiId(0),
            function_id: 0,
            state: TdiState::UNLOCKED,
            generation: 0,
            report_count: 0,
            lock_flags: 0,
            dma_enabled: false,
            measurements_valid: false,
            measurements_fresh: false,
            spdm: Negotiated::default(),
            slot: 0,
            certificates_digest: [0; 48],
            measurements_digest: [0; 48],
            report_digest: [0; 48],
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.guest.encode(out);
        out.u8(self.status.0);
        self.tdi.encode(out);
        out.u32(self.function_id);
        out.u8(self.state.0);
        out.u64(self.generation);
        out.u64(self.report_count);
        out.u16(self.lock_flags);
        out.u8(self.dma_enabled.into());
        out.u8(self.measurements_valid.into());
        out.u8(self.measurements_fresh.into());
        self.spdm.encode(out);
        out.u8(self.slot);
        out.bytes(&self.certificates_digest);
        out.bytes(&self.measurements_digest);
        out.bytes(&self.report_digest);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            guest: Rid::decode(r)?,
            status: Binding(r.u8("status")?),
            tdi: TdiId::decode(r)?,
            function_id: r.u32("function id")?,
            state: TdiState(r.u8("TDI state")?),
            generation: r.u64("lock generation")?,
            report_count: r.u64("report count")?,
            lock_flags: r.u16("lock flags")?,
            dma_enabled: flag(r, "DMA enabled")?,
            measurements_valid: flag(r, "measurements valid")?,
            measurements_fresh: flag(r, "measurements fresh")?,
            spdm: Negotiated::decode(r)?,
            slot: r.u8("slot")?,
            certificates_digest: r.array("certificates digest")?,
            measurements_digest: r.array("measurements digest")?,
            report_digest: r.array("report digest")?,
        })
    }
}

impl Negotiated {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.u8(self.version);
        out.u32(self.measurement_hash);
        out.u32(self.asym);
        out.u32(self.pqc_asym);
        out.u32(self.hash);
        out.u16(self.dhe);
        out.u16(self.kem);
        out.u16(self.aead);
        out.u16(self.key_schedule);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: r.u8("SPDM version")?,
            measurement_hash: r.u32("measurement hash")?,
            asym: r.u32("signature algorithm")?,
            pqc_asym: r.u32("post-quantum signature algorithm")?,
            hash: r.u32("hash algorithm")?,
            dhe: r.u16("key exchange group")?,
            kem: r.u16("key encapsulation mechanism")?,
            aead: r.u16("cipher")?,
            key_schedule: r.u16("key schedule")?,
        })
    }
}

pub(super) fn flag(r: &mut Reader<'_>, what: &'static str) -> Result<bool, DecodeError> {
    match r.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(DecodeError::Invalid {
            what,
            found: found.into(),
            wanted: "0 or 1",
        }),
    }
}

fn about(code: u8, tdi: TdiId, out: &mut Vec<u8>) {
    out.u8(code);
    tdi.encode(out);
}

fn memory(code: u8, gpa: u64, len: u64, out: &mut Vec<u8>) {
    out.u8(code);
    out.u64(gpa);
    out.u64(len);
}

fn unknown_code(found: u8, wanted: &'static str) -> DecodeError {
    DecodeError::Invalid {
        what: "message code",
        found: found.into(),
        wanted,
    }
}

#[cfg(test)]
pub(super) mod tests;
