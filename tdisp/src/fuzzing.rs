//! What a fuzzer calls: one function a target, each of which takes any bytes.
//!
//! ```text
//!   tdisp/fuzz/fuzz_targets/NAME.rs ──► TARGETS[NAME](bytes) ──► decoder   what was read, written and read again is the same
//!   this module's tests ──────────────►                     └──► machine   a script of objects, clock steps and commands
//! ```
//! * A target returns, whatever the bytes. It panics when a promise is broken that the code's documentation makes: that is what
//!   the fuzzer, and the tests that replay the corpus, look for.
//! * [`messages`]: the decoders. [`machines`]: the requester, the responder and the device. [`judge`]: certificate chains and
//!   evidence.
//! * [`gullible`]: what they have for cryptography, since nobody finds a signature by chance.
//!
//! All of this is built for tests and with the feature `fuzzing` only, which adds this module and changes nothing else.

pub mod gullible;
pub mod judge;
pub mod machines;
pub mod messages;

/// What a fuzzer calls.
pub type Target = fn(&[u8]);

/// All targets, by name: that of the program in `tdisp/fuzz/fuzz_targets` and of the folder in `tdisp/fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("doe_object", messages::doe_object),
    ("spdm_message", messages::spdm_message),
    ("spdm_opaque", messages::spdm_opaque),
    ("secured_record", messages::secured_record),
    ("ide_km", messages::ide_km),
    ("tdisp_message", messages::tdisp_message),
    ("interface_report", messages::interface_report),
    ("relay_courier", messages::relay_courier),
    ("relay_guest", messages::relay_guest),
    ("relay_host", messages::relay_host),
    ("relay_sealed", messages::relay_sealed),
    ("certificate_chain", judge::certificate_chain),
    ("evidence", judge::evidence),
    ("responder", machines::responder),
    ("requester", machines::requester),
    ("dsm", machines::dsm),
];

#[cfg(test)]
mod tests;
