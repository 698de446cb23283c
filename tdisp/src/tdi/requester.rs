//! The TSM's side of TDISP: one machine for each TDI, which builds requests and judges answers.
//!
//! ```text
//!   request method ──► object to send, inside the session
//!   the answer     ──► handle ──► More(object): send that too (a report comes in portions)
//!                             └─► Done(Answer)
//! ```
//!
//! * One request is outstanding at a time for a TDI, and an SPDM session carries one for all: that is within every device's
//!   NUM_REQ_THIS and NUM_REQ_ALL, which are at least 1.
//! * What the device's capabilities do not announce is not asked, once they are known.
//! * One LOCK is made for a TDI until a STOP was answered: the nonce of a lock is kept here, used by START, and gone.
//! * An answer must have the interface and the code of its request. An answer that does not is refused, and the request
//!   is over; the TDI's state is unknown then: ask for it, or stop it.
//! * A report is put together from portions that must agree with each other about its size.

use super::{
    msg::{
        Capabilities, Code, ErrorCode, Header, InterfaceId, Lock, LockFlags, NONCE_SIZE, OwnedVdm, PAGE_SIZE,
        Request, Response, State, Vdm, Version,
    },
    report::{self, Attributes, Range},
};
use crate::wire::DecodeError;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Send this object and bring its answer.
    More(Vec<u8>),
    /// The request is done.
    Done(Answer),
}

/// What a request brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The device speaks our version.
    Version,
    /// What the device's TDISP can.
    Capabilities(Capabilities),
    /// The TDI is locked. Its nonce is kept for START.
    Locked,
    /// The whole interface report.
    Report(Vec<u8>),
    /// The state that the device reports.
    State(State),
    /// The TDI runs.
    Started,
    /// The TDI is unlocked.
    Stopped,
    /// The peer-to-peer stream is bound to the TDI.
    PeerBound,
    /// It is not any more.
    PeerUnbound,
    /// The range is as it was asked to be.
    AttributeSet,
    /// What the vendor's part of the device says.
    Vendor(OwnedVdm),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device refused. The TDI's state is as it was.
    #[error("the device refused {request}: {code} (data {data:#x})")]
    Refused {
        /// What it refused.
        request: Code,
        /// Why.
        code: ErrorCode,
        /// By code.
        data: u32,
        /// A vendor's own words about it.
        vendor: Option<OwnedVdm>,
    },
    /// The answer is malformed.
    #[error("the device's answer to {request} is malformed: {fault}")]
    Malformed {
        /// What was asked.
        request: Code,
        /// What is wrong.
        fault: DecodeError,
    },
    /// The answer is about another interface.
    #[error("the device answered for interface {found}, wanted {wanted}")]
    Interface {
        /// Whose answer it is.
        found: InterfaceId,
        /// Who was asked.
        wanted: InterfaceId,
    },
    /// The answer is to another request, or in another version.
    #[error("the device answered {request} with {found} in version {version}")]
    Code {
        /// What was asked.
        request: Code,
        /// What came.
        found: Code,
        /// The version that it came in.
        version: Version,
    },
    /// The device does not speak TDISP 1.0.
    #[error("the device does not speak TDISP 1.0; it offers {0:?}")]
    Versions(Vec<Version>),
    /// The caller brought an answer that nothing was asked for.
    #[error("{0}")]
    Misuse(#[from] Misuse),
    /// A portion of the report does not fit the others.
    #[error("a portion of the interface report has {found} as {what}, wanted {wanted}")]
    Portion {
        /// What does not fit.
        what: &'static str,
        /// The device's value.
        found: usize,
        /// The value, or its limit.
        wanted: usize,
    },
}

/// The caller's mistake: nothing was sent, and nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// A request is outstanding.
    #[error("a TDISP request is outstanding; hand over its answer first")]
    Busy,
    /// No request is outstanding.
    #[error("no TDISP request is outstanding that this could answer")]
    NothingAsked,
    /// The TDI was locked before.
    #[error("the TDI was locked already; stop it before it is locked again")]
    LockedBefore,
    /// There is no lock to start.
    #[error("the TDI has no lock that could be started")]
    NotLocked,
    /// The device does not announce the request.
    #[error("the device's TDISP capabilities do not have {0}")]
    NotAnnounced(Code),
    /// The device does not announce the flags.
    #[error("the device's TDISP capabilities do not have the lock flags {0:#x}; lock without them")]
    FlagsNotAnnounced(u16),
    /// The reporting offset is not on the page grid.
    #[error("MMIO_REPORTING_OFFSET is {0:#x}, wanted a multiple of 4 KiB")]
    Offset(u64),
}

/// The machine of one TDI.
pub struct Requester {
    interface: InterfaceId,
    asked: Option<Asked>,
    lock: LockUse,
    /// What the device announced, once it did.
    capabilities: Option<Capabilities>,
}

impl core::fmt::Debug for Requester {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "tdi::Requester({})", self.interface)
    }
}

/// What was asked.
enum Asked {
    Simple(Code),
    Report(Assembling),
}

/// A report of which portions are there.
#[derive(Default)]
struct Assembling {
    bytes: Vec<u8>,
    /// The size of the whole, once a portion said it.
    total: Option<usize>,
}

/// What became of the one lock.
enum LockUse {
    None,
    Locked(Zeroizing<[u8; NONCE_SIZE]>),
    /// It is asked for, or its nonce is gone. Whether the device holds a lock that we do not know of is told by its state alone,
    /// and STOP ends it.
    Used,
}

impl Requester {
    /// For one interface; nothing was asked yet.
    pub fn new(interface: InterfaceId) -> Self {
        Self {
            interface,
            asked: None,
            lock: LockUse::None,
            capabilities: None,
        }
    }

    /// The interface.
    pub fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// GET_TDISP_VERSION.
    pub fn version(&mut self) -> Result<Vec<u8>, Misuse> {
        self.ask(Request::GetVersion)
    }

    /// GET_TDISP_CAPABILITIES.
    pub fn capabilities(&mut self) -> Result<Vec<u8>, Misuse> {
        self.ask(Request::GetCapabilities { tsm_caps: 0 })
    }

    /// LOCK_INTERFACE_REQUEST; once until STOP.
    pub fn lock(&mut self, lock: Lock) -> Result<Vec<u8>, Misuse> {
        if !lock.mmio_reporting_offset.is_multiple_of(PAGE_SIZE) {
            return Err(Misuse::Offset(lock.mmio_reporting_offset));
        }
        if let Some(capabilities) = &self.capabilities
            && !capabilities.lock_flags.contains(lock.flags)
        {
            let LockFlags(missing) = LockFlags(lock.flags.0 & !capabilities.lock_flags.0);
            return Err(Misuse::FlagsNotAnnounced(missing));
        }
        if !matches!(self.lock, LockUse::None) {
            return Err(Misuse::LockedBefore);
        }
        let object = self.ask(Request::Lock(lock))?;
        self.lock = LockUse::Used;
        Ok(object)
    }

    /// GET_DEVICE_INTERFACE_REPORT, as often as it takes.
    pub fn report(&mut self) -> Result<Vec<u8>, Misuse> {
        let object = self.ask(whole_report_from(0))?;
        self.asked = Some(Asked::Report(Assembling::default()));
        Ok(object)
    }

    /// GET_DEVICE_INTERFACE_STATE.
    pub fn state(&mut self) -> Result<Vec<u8>, Misuse> {
        self.ask(Request::GetState)
    }

    /// START_INTERFACE_REQUEST with the lock's nonce, which is gone then.
    pub fn start(&mut self) -> Result<Vec<u8>, Misuse> {
        self.idle()?;
        match core::mem::replace(&mut self.lock, LockUse::Used) {
            LockUse::Locked(nonce) => self.ask(Request::Start { nonce: *nonce }),
            other => {
                self.lock = other;
                Err(Misuse::NotLocked)
            }
        }
    }

    /// STOP_INTERFACE_REQUEST.
    pub fn stop(&mut self) -> Result<Vec<u8>, Misuse> {
        self.ask(Request::Stop)
    }

    /// BIND_P2P_STREAM_REQUEST: the TDI may use this stream with a peer device.
    pub fn bind_peer(&mut self, stream: u8) -> Result<Vec<u8>, Misuse> {
        self.ask_optional(Request::BindP2p { stream })
    }

    /// UNBIND_P2P_STREAM_REQUEST.
    pub fn unbind_peer(&mut self, stream: u8) -> Result<Vec<u8>, Misuse> {
        self.ask_optional(Request::UnbindP2p { stream })
    }

    /// SET_MMIO_ATTRIBUTE_REQUEST: whether everybody may reach this range, which lies in one of the report's. A refusal is not
    /// fatal: the TDI runs on, and the range is as it was.
    pub fn set_mmio_attribute(&mut self, range: &Range, everybody: bool) -> Result<Vec<u8>, Misuse> {
        let attributes = match everybody {
            true => Attributes::NON_TEE,
            false => Attributes::default(),
        };
        self.ask_optional(Request::SetMmioAttribute(Range { attributes, ..*range }))
    }

    /// VDM_REQUEST.
    pub fn vendor(&mut self, said: Vdm<'_>) -> Result<Vec<u8>, Misuse> {
        self.ask_optional(Request::Vdm(said))
    }

    /// Takes the answer to what was asked. Unless it is [`Progress::More`], the request is over.
    pub fn handle(&mut self, object: &[u8]) -> Result<Progress, Error> {
        let asked = self.asked.take().ok_or(Misuse::NothingAsked)?;
        let answered = self.answer(asked, object);
        if let Err(Error::Refused {
            request: Code::LOCK, ..
        }) = &answered
        {
            self.lock = LockUse::None;
        }
        answered
    }

    /// The request will not be answered: the carrier failed, or the session is over.
    pub fn abandon(&mut self) {
        self.asked = None;
    }

    fn idle(&self) -> Result<(), Misuse> {
        match self.asked {
            None => Ok(()),
            Some(_) => Err(Misuse::Busy),
        }
    }

    fn ask(&mut self, request: Request<'_>) -> Result<Vec<u8>, Misuse> {
        self.idle()?;
        self.asked = Some(Asked::Simple(request.code()));
        Ok(self.object(request))
    }

    /// A request that a device need not have.
    fn ask_optional(&mut self, request: Request<'_>) -> Result<Vec<u8>, Misuse> {
        let announced = self.capabilities.as_ref();
        match announced.is_some_and(|announced| !announced.supports(request.code())) {
            true => Err(Misuse::NotAnnounced(request.code())),
            false => self.ask(request),
        }
    }

    fn object(&self, request: Request<'_>) -> Vec<u8> {
        let mut object = Vec::new();
        request.encode(self.interface, &mut object);
        object
    }

    fn answer(&mut self, asked: Asked, object: &[u8]) -> Result<Progress, Error> {
        let request = match &asked {
            Asked::Simple(code) => *code,
            Asked::Report(_) => Code::GET_REPORT,
        };
        let response = self.decode(request, object)?;
        let done = |answer| Ok(Progress::Done(answer));
        match (response, asked) {
            (Response::Version(versions), _) => match versions.contains(&Version::V1_0) {
                true => done(Answer::Version),
                false => Err(Error::Versions(versions)),
            },
            (Response::Capabilities(capabilities), _) => {
                self.capabilities = Some(capabilities);
                done(Answer::Capabilities(capabilities))
            }
            (Response::Lock { nonce }, _) => {
                self.lock = LockUse::Locked(Zeroizing::new(nonce));
                done(Answer::Locked)
            }
            (Response::Report { portion, remainder }, Asked::Report(so_far)) => {
                self.portion(so_far, portion, remainder.into())
            }
            (Response::State(state), _) => done(Answer::State(state)),
            (Response::Start, _) => done(Answer::Started),
            (Response::Stop, _) => {
                self.lock = LockUse::None;
                done(Answer::Stopped)
            }
            (Response::BindP2p, _) => done(Answer::PeerBound),
            (Response::UnbindP2p, _) => done(Answer::PeerUnbound),
            (Response::SetMmioAttribute, _) => done(Answer::AttributeSet),
            (Response::Vdm(vdm), _) => done(Answer::Vendor(vdm.to_kept())),
            (Response::Error(error), _) => Err(Error::Refused {
                request,
                code: error.code,
                data: error.data,
                vendor: error.vendor().map(|vendor| vendor.to_kept()),
            }),
            (other, _) => Err(Error::Code {
                request,
                found: other.code(),
                version: Version::V1_0,
            }),
        }
    }

    /// The response, if it is one to this request.
    fn decode<'a>(&self, request: Code, object: &'a [u8]) -> Result<Response<'a>, Error> {
        let malformed = |fault| Error::Malformed { request, fault };
        let (header, body) = Header::decode(object).map_err(malformed)?;
        let expected = [Code(request.0 & 0x7f), Code::ERROR];
        if !expected.contains(&header.code) || header.version != Version::V1_0 {
            return Err(Error::Code {
                request,
                found: header.code,
                version: header.version,
            });
        }
        if header.interface != self.interface {
            return Err(Error::Interface {
                found: header.interface,
                wanted: self.interface,
            });
        }
        Response::decode(header.code, body).map_err(malformed)
    }

    /// Adds a portion: never so little that there would be no end of them, and the same size of the whole each time.
    fn portion(&mut self, report: Assembling, portion: &[u8], remainder: usize) -> Result<Progress, Error> {
        let Assembling { mut bytes, total } = report;
        let found = bytes.len() + portion.len() + remainder;
        let least = if remainder == 0 { 1 } else { PORTION_MIN };
        if portion.len() < least {
            return Err(Error::Portion {
                what: "length",
                found: portion.len(),
                wanted: least,
            });
        }
        let wanted = total.unwrap_or(found.min(report::SIZE_MAX));
        if found != wanted {
            return Err(Error::Portion {
                what: "size of the whole",
                found,
                wanted,
            });
        }
        bytes.extend_from_slice(portion);
        if remainder == 0 {
            return Ok(Progress::Done(Answer::Report(bytes)));
        }
        let offset = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.asked = Some(Asked::Report(Assembling {
            bytes,
            total: Some(found),
        }));
        Ok(Progress::More(self.object(whole_report_from(offset))))
    }
}

/// Bytes of a portion behind which others follow, at least: what SPDM's smallest message, of 42 bytes, has room for behind the
/// headers of VENDOR_DEFINED_RESPONSE (12), of TDISP (16) and of the portion (4).
const PORTION_MIN: usize = 42 - 12 - 16 - 4;

/// The rest of the report from a byte on: 0xFFFF asks for as much as the device gives at once.
fn whole_report_from(offset: u16) -> Request<'static> {
    Request::GetReport {
        offset,
        length: u16::MAX,
    }
}
