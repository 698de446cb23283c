//! A model of a TEE-IO network card: a PCIe device of three functions served to QEMU over vfio-user.
//!
//! ```text
//!   QEMU ◄─vfio-user─► vfio ─► function ─► config, mailbox ──────────► manager ◄── socket (DOE over TCP)
//!                                │ BAR                                    │ states
//!                                ▼                                        ▼
//!                        nic: virtio queues ─ dma ─► memory ◄─ gate ◄─ enforcer ◄── platform socket (TSM)
//!                                └─ peer: a host on smoltcp
//! ```
//! What is real: configuration space and capabilities, the DOE mailbox, virtio-net, and every message of the security
//! manager. What is not: the memory protection. The model holds all guest memory and keeps itself from it by
//! [`gate`], as a platform's hardware would; there is no IDE on an emulated link, and functions 1 and 2 stand in for
//! the virtual functions of one SR-IOV device.

pub mod card;
pub mod config;
pub mod dma;
pub mod dsm;
pub mod enforcer;
pub mod function;
pub mod gate;
pub mod interrupts;
pub mod mailbox;
pub mod manager;
pub mod measured;
pub mod memory;
pub mod nic;
pub mod peer;
pub mod report;
pub mod responder;
pub mod signer;
pub mod socket;
pub mod vfio;
pub mod virtio;
pub mod watch;

/// Functions of the card.
pub const FUNCTIONS: usize = 3;
