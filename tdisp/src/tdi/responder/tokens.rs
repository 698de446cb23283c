//! What the machine wants done to the device: each token is one thing that was checked, and is not done yet. A token that is
//! dropped has changed nothing.

use crate::tdi::{
    msg::{InterfaceId, Lock, OwnedVdm},
    report::Range,
};
use alloc::vec::Vec;

/// What [`handle`](super::Responder::handle) wants done.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Send this.
    Respond(Vec<u8>),
    /// Send nothing: what came has no header to answer.
    Silent,
    /// Freeze the interface's configuration and make its report; then call [`locked`](super::Responder::locked).
    Lock(Locking),
    /// Stop the interface's DMA and interrupts and scrub its secrets; then call
    /// [`stopped`](super::Responder::stopped).
    Stop(Stopping),
    /// Lock the registers of a peer-to-peer stream and order what was sent before; then call
    /// [`bound`](super::Responder::bound).
    Bind(Binding),
    /// End the interface's traffic over a peer-to-peer stream; then call [`unbound`](super::Responder::unbound).
    Unbind(Unbinding),
    /// Open a range to everybody, or close it; then call [`attribute_set`](super::Responder::attribute_set).
    SetAttribute(Attributing),
    /// Hear a vendor's message; then call [`vendor_answered`](super::Responder::vendor_answered).
    Vendor(Hearing),
}

/// A lock that is allowed and not yet made.
#[derive(Debug)]
pub struct Locking {
    pub(super) interface: InterfaceId,
    pub(super) lock: Lock,
    pub(super) session: u32,
}

impl Locking {
    /// What is to be locked.
    pub fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// How.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }
}

/// A stop that is not yet done.
#[derive(Debug)]
pub struct Stopping {
    pub(super) interface: InterfaceId,
}

impl Stopping {
    /// What is to be stopped.
    pub fn interface(&self) -> InterfaceId {
        self.interface
    }
}

/// A peer-to-peer stream that may be bound.
#[derive(Debug)]
pub struct Binding {
    pub(super) interface: InterfaceId,
    pub(super) stream: u8,
    pub(super) session: u32,
}

impl Binding {
    /// To what.
    pub fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// Stream ID.
    pub fn stream(&self) -> u8 {
        self.stream
    }
}

/// A peer-to-peer stream that is to be unbound.
#[derive(Debug)]
pub struct Unbinding {
    pub(super) interface: InterfaceId,
    pub(super) stream: u8,
}

impl Unbinding {
    /// From what.
    pub fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// Stream ID.
    pub fn stream(&self) -> u8 {
        self.stream
    }
}

/// A range whose protection is to change, within one that the report calls updatable.
#[derive(Debug)]
pub struct Attributing {
    pub(super) interface: InterfaceId,
    pub(super) range: Range,
}

impl Attributing {
    /// Whose range.
    pub fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// Which, with the lock's MMIO_REPORTING_OFFSET added; [`Attributes::NON_TEE`](crate::tdi::report::Attributes::NON_TEE)
    /// says whether everybody may reach it from now on.
    pub fn range(&self) -> &Range {
        &self.range
    }
}

/// A vendor's message to be answered.
#[derive(Debug)]
pub struct Hearing {
    pub(super) interface: InterfaceId,
    pub(super) said: OwnedVdm,
}

impl Hearing {
    /// To whom.
    pub fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// What.
    pub fn said(&self) -> &OwnedVdm {
        &self.said
    }
}
