//! The host side: `tidelockd`, the untrusted courier and device owner, and the operator's command `tidelock`.
//!
//! ```text
//!   operator ──api──┐                                  ┌── tsm ──► the TSM: holds every session's secrets
//!   guest ──courier─┼──► engine ── journal, evidence ──┤
//!                   │    (order of operations)         └── transport ──► DOE mailbox of the device
//! ```
//!
//! # Invariants
//! - The daemon is never trusted: it carries DOE objects and sealed messages that it cannot read, and evidence that the
//!   guest compares with what the TSM says.
//! - A change of several steps is in the journal before its first step; after `kill -9` a restart asks the TSM what stands,
//!   and adopts it or takes it back.
//! - A failure leaves a function unbound and its DMA off, or as it was.
//! - An SPDM session of the host's own gives facts for an inventory, never evidence for a guest.
//!
//! # What it does not do
//! - Hand functions to a VMM (VFIO descriptors) or carve VFs.
//! - Bind on mainline kernels: only the VMM could, and there is no interface for it yet.

pub mod api;
pub mod cli;
pub mod config;
pub mod courier;
pub mod daemon;
pub mod engine;
pub mod errand;
pub mod evidence;
pub mod journal;
pub mod socket;
pub mod spdm;
pub mod steps;
pub mod transport;
pub mod tsm;
