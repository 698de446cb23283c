//! DOE, SPDM, secured messages, IDE_KM, TDISP, evidence and relay messages as pure state machines.
//!
//! Nothing here opens a file or a socket, reads a clock or keeps a global: bytes, time and randomness
//! are arguments, and what a machine wants done it says as an output.

#![forbid(unsafe_code)]

extern crate alloc;

pub mod clock;
pub mod crypto;
pub mod doe;
pub mod dsm;
pub mod evidence;
pub mod ide_km;
pub mod relay;
pub mod spdm;
pub mod tdi;
pub mod wire;
