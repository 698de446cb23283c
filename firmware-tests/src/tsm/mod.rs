//! An emulated TSM: the party that holds the SPDM sessions and that the guest believes.
//!
//! ```text
//!             host commands (relay::host)              effects, each answered
//!                      │                              ┌─► Platform: share, DMA gate, MMIO
//!   tidelockd ◄──────► shell ◄──inputs/outputs──► core┼─► StoreKey, DeleteKey: <keys>/vm-<id>.key
//!                      │                              └─► Answer: Carry a DOE object, Object, Done, Failed
//!                  (sockets, files, clock)         (pure: commands, answers and time in; outputs out)
//! ```
//! One operation at a time. An operation is a list of steps (`step::Step`) with a list that takes them back: a step
//! that fails drops what is left and runs the other list, so that no failure leaves a function half enabled.
//!
//! What is emulated: the platform itself. On real hardware the TSM is firmware, its keys never are in a file, and the
//! DMA gate is the memory controller's. There is no IDE on the emulated link: the TSM programs the device's side and
//! keeps the root port's keys in a table that nothing encrypts with. The platform has one device: gates are told apart by
//! function number alone.

mod command;
mod core;
mod guest;
mod ide;
mod keys;
mod link;
mod platform;
mod shell;
mod state;
mod step;
mod talk;

pub use self::core::{Core, Output};
pub use platform::{Effect, Effected};
pub use shell::{Error, Options, serve};
