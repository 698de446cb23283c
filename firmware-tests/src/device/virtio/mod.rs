//! The virtio-net function of the card (virtio 1.2): registers, split queues, frames.
//!
//! ```text
//!   registers ── what the driver programmed ──► queue ── chains of buffers ──► net ── frames ──► peer
//!                                                 └──────── every byte through dma::Transfers ────────┘
//! ```
//! Not implemented, and not offered: packed queues, indirect descriptors, a control queue, several queue pairs,
//! receive offloads (so that native XDP attaches), legacy registers.

pub mod net;
pub mod queue;
pub mod registers;
