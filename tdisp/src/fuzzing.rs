//! What a fuzzer calls: one function a target, each of which takes any bytes.
//!
//! ```text
//!   tdisp/fuzz/fuzz_targets/NAME.rs ──► TARGETS[NAME](bytes) ──► decoder   what was read, written and read again is the same
//!   this module's tests ──────────────►                     └──► machine   a script of objects, clock steps and commands
//! ```
//! * A target returns, whatever the bytes. It panics when a promise is broken that the code's documentation makes: that is what
//!   the fuzzer, and the tests that replay the corpus, look for.
//! * [`messages`]: the decoders. [`machines`]: the requester, the responder and the device. [`askers`]: those who ask it.
//!   [`judge`]: certificate chains, revocation lists and evidence.
//! * [`gullible`]: what they have for cryptography, since nobody finds a signature by chance.
//!
//! All of this is built for tests and with the feature `fuzzing` only, which adds this module and changes nothing else.

mod abilities;
pub mod askers;
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
    ("tdi_requester", askers::tdi_requester),
    ("ide_km_requester", askers::ide_km_requester),
    ("doe_mailbox", askers::doe_mailbox),
    ("revocation_list", judge::revocation_list),
    ("public_key", judge::public_key),
];

#[cfg(test)]
mod tests;
