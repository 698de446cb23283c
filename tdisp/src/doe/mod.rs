//! Data Object Exchange (PCIe 6.x §6.30): how SPDM messages reach a function through its configuration space.
//!
//! ```text
//!  SPDM message ─► Object (8-byte header, DW padding) ─► Mailbox (registers) ─► device
//!                                                     └► socket of an emulator
//! ```
//! The padding belongs to the object, never to the message inside: whoever hashes a message cuts the padding off first.

pub mod discovery;
pub mod mailbox;
pub mod object;

pub use mailbox::Mailbox;
pub use object::{Object, ObjectType};
