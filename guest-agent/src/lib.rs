//! tidelock-agent: the relying party inside the confidential VM. It collects evidence about the devices that the host
//! offers, verifies it, appraises it by the guest's own policy, accepts what the policy accepts, and watches it.
//!
//! ```text
//!               host (never believed)            TSM (believed)
//!                 │ courier: bytes                 ║ sealed channel: Vouched
//!   ┌─────────────┴────────────────────────────────╨──────────────────────────┐
//!   │ channel                                                                 │
//!   │    └► collect ─► Bundle ─► verify ─► Verified ─► policy::appraise ─► Accepted ─► accept ─► Running ─► monitor
//!   └─────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! **Invariant:** no code path can enable a device without an [`Accepted`](policy::Accepted), and no `Accepted` exists
//! without a [`Verified`](tdisp::evidence::Verified). The compiler keeps it: what enables takes a
//! [`Grant`](accept::Grant), which only [`accept`] makes, from an `Accepted`, which only [`policy::appraise`] makes,
//! from a `Verified`.
//!
//! **Invariant:** an agent that cannot reach a verdict refuses. Every error before the end of `accept` is a refusal,
//! and every error after it takes the trust away.
//!
//! # Code map
//! | module | what |
//! |---|---|
//! | [`config`] | the policy file, written → meant |
//! | [`isolate`], [`untrusted`] | the stages of the boot before any verdict |
//! | [`agent`] | the loop: decide, watch |
//! | [`preconditions`], [`collect`], [`policy`], [`accept`], [`monitor`] | one device's way, step by step |
//! | [`channel`] | host and TSM |
//! | [`platform`], [`netlink`] | the kernel |
//! | [`status`] | what is said about all this |
//!
//! With the feature `post-quantum` it verifies ML-DSA (SPDM 1.4); without it, a device that signs with that is refused.
//!
//! # What it does not do
//! - Attest the guest itself, or ask a remote verifier: the policy in the measured image decides alone.
//! - Fetching revocation lists, and OCSP: lists are files that the policy names.
//! - The kernel's own device security interfaces (`tsm/lock`, `tsm/accept`), which are not in mainline: the TSM is
//!   reached through the courier, and the direct path is an IOMMU group's type. In an encrypted guest mainline Linux
//!   up to 7.3 bounces every transfer, whatever user space does.

pub mod accept;
pub mod agent;
pub mod channel;
pub mod cli;
mod clock;
pub mod collect;
pub mod commands;
pub mod config;
mod cryptography;
pub mod error;
pub mod isolate;
pub mod monitor;
pub mod netlink;
pub mod platform;
pub mod policy;
pub mod preconditions;
mod revocation;
pub mod status;
mod steps;
pub mod untrusted;

pub use cryptography::CRYPTOGRAPHY;
pub use steps::Steps;
