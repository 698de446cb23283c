//! What an operation is made of.

use tdisp::relay::{
    Rid, TdiId, VmId,
    guest::{self, Response, TdiState, ValidateMmio},
    host::{self, Owner},
};

/// One step. It is checked, then asked for, then committed on its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// SPDM from GET_VERSION through CHALLENGE.
    Connect { device: Rid },
    /// KEY_EXCHANGE and FINISH.
    OpenSession { device: Rid },
    /// Signed measurements; in the session if there is one.
    Measure {
        device: Rid,
        nonce: Option<[u8; 32]>,
        owner: Owner,
    },
    /// IDE keys, if the device has a port for them.
    ProgramIde { device: Rid },
    /// END_SESSION.
    EndSession { device: Rid },
    /// Forget the session's secrets.
    DropSession { device: Rid },
    /// One TDISP conversation about a TDI.
    Ask { tdi: TdiId, ask: Ask },
    /// TDISP STOP to an interface that an earlier session left behind.
    StopLeftover { device: Rid, function_id: u32 },
    /// The TDI must be in this state, as it reported last.
    Expect { tdi: TdiId, state: TdiState },
    /// STOP, unless it reported to be unlocked.
    StopUnlessUnlocked { tdi: TdiId },
    /// If it is not in RUN any more, close the gate.
    FollowState { tdi: TdiId },
    /// Let the platform open the gate only in the lock that the interface is in now.
    Hold { tdi: TdiId },
    /// Open or close the DMA gate.
    Gate { tdi: TdiId, open: bool },
    /// Share guest memory.
    Share { vm: VmId, gpa: u64, len: u64 },
    /// Take that back.
    Unshare { vm: VmId, gpa: u64, len: u64 },
    /// Check what the host mapped, and make it private.
    Validate(ValidateMmio),
    /// Make the key file.
    StoreKey { vm: VmId },
    /// Delete it.
    DeleteKey { vm: VmId },
    /// Guests may see the TDI from here on.
    Bound { tdi: TdiId },
    /// Nobody sees it any more.
    Forget { tdi: TdiId },
    /// From here on a failure runs these, and goes on past those of them that fail.
    OnFailure(Vec<Step>),
}

/// A TDISP conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Version,
    Capabilities,
    State,
    Lock { flags: u16, mmio_offset: u64 },
    Report,
    Start,
    Stop,
}

/// Why an operation was not done, for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: host::Code,
    pub(super) status: guest::Status,
    pub(super) reason: String,
}

impl Failure {
    /// The device answered wrongly, or refused.
    pub(super) fn device(reason: impl Into<String>) -> Self {
        Self {
            code: host::Code::DEVICE,
            status: guest::Status::DEVICE,
            reason: reason.into(),
        }
    }

    /// The host did not carry.
    pub(super) fn carry(reason: impl Into<String>) -> Self {
        Self {
            code: host::Code::CARRY,
            status: guest::Status::DEVICE,
            reason: reason.into(),
        }
    }

    /// The platform failed.
    pub(super) fn platform(reason: impl Into<String>) -> Self {
        Self {
            code: host::Code::PLATFORM,
            status: guest::Status::RESOURCES,
            reason: reason.into(),
        }
    }

    /// A guest asked for what cannot be.
    pub(super) fn guest(status: guest::Status, reason: impl Into<String>) -> Self {
        Self {
            code: host::Code::BAD_REQUEST,
            status,
            reason: reason.into(),
        }
    }

    /// The host asked for what cannot be.
    pub(super) fn host(code: host::Code, reason: impl Into<String>) -> Self {
        Self {
            code,
            status: guest::Status::BAD_REQUEST,
            reason: reason.into(),
        }
    }
}

/// Who gets the end of an operation, and what it says when all went well.
#[derive(Debug)]
pub(super) enum Reply {
    /// The host.
    Host(host::Done),
    /// A guest, through its channel.
    Guest(VmId, Told),
    /// A guest, whose request was refused before anything was begun.
    Sealed(VmId, Response),
    /// Whoever asked is gone.
    Nobody,
}

/// A guest's answer; built at the end, from what is then the case.
#[derive(Debug)]
pub(super) enum Told {
    Done,
    Info { guest: Rid, tdi: Option<TdiId> },
    Validated { changed: bool },
}

impl Step {
    /// What a person is told that was going on.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Connect { .. } => "connecting".into(),
            Self::Measure { .. } => "measuring".into(),
            Self::OpenSession { .. } => "opening the session".into(),
            Self::ProgramIde { .. } => {
                "programming IDE keys (a device without IDE_KM is silent: start tidelock-tsm with --without-ide)".into()
            }
            Self::EndSession { .. } => "ending the session".into(),
            Self::Ask { ask, .. } => format!("TDISP {}", ask.name()),
            Self::StopLeftover { .. } => "stopping a leftover interface".into(),
            Self::Expect { .. } | Self::FollowState { .. } => "checking the state".into(),
            Self::Hold { .. } => "holding the lock".into(),
            Self::Gate { open: true, .. } => "opening the DMA gate".into(),
            Self::Gate { open: false, .. } => "closing the DMA gate".into(),
            Self::Share { .. } => "sharing memory".into(),
            Self::Unshare { .. } => "unsharing memory".into(),
            Self::Validate(_) => "validating MMIO".into(),
            Self::StoreKey { .. } => "storing the VM's key".into(),
            Self::DeleteKey { .. } => "deleting the VM's key".into(),
            Self::StopUnlessUnlocked { .. }
            | Self::DropSession { .. }
            | Self::Bound { .. }
            | Self::Forget { .. }
            | Self::OnFailure(_) => "keeping the books".into(),
        }
    }
}

impl Ask {
    /// The request's name in the standard.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Version => "GET_TDISP_VERSION",
            Self::Capabilities => "GET_TDISP_CAPABILITIES",
            Self::State => "GET_DEVICE_INTERFACE_STATE",
            Self::Lock { .. } => "LOCK_INTERFACE_REQUEST",
            Self::Report => "GET_DEVICE_INTERFACE_REPORT",
            Self::Start => "START_INTERFACE_REQUEST",
            Self::Stop => "STOP_INTERFACE_REQUEST",
        }
    }
}
