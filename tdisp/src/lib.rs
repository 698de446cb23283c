//! DOE, SPDM, secured messages, IDE_KM, TDISP, evidence and relay messages as pure state machines.
//!
//! DSP0274 1.0 to 1.4, DSP0277 1.0 to 1.2, and PCIe 6.x for DOE, IDE_KM and TDISP.
//!
//! ```text
//!        guest                        host                      TSM                         device
//!   ┌───────────────┐           ┌──────────────┐          ┌─────────────────┐         ┌────────────────┐
//!   │ evidence      │  relay::  │              │  relay:: │ tdi::Requester  │         │ dsm::Dsm       │
//!   │ relay::sealed │◄─courier─►│ doe::mailbox │◄──host──►│ ide_km::Reque…  │◄──DOE──►│ spdm, ide_km,  │
//!   └───────────────┘           └──────────────┘          │ spdm::Requester │         │ tdi responders │
//!        ▲                                                └────────┬────────┘         └────────────────┘
//!        └── what is believed: relay::sealed, end to end ──────────┘
//! ```
//!
//! Post-quantum algorithms (SPDM 1.4) are behind the feature `post-quantum`, and then a provider that is passed in.
//!
//! Nothing here opens a file or a socket, reads a clock or keeps a global: bytes, time and randomness
//! are arguments, and what a machine wants done it says as an output.
//!
//! | Module | What it is |
//! |---|---|
//! | [`wire`] | reading and writing integers and byte strings; the one place where leftover bytes are refused |
//! | [`clock`], [`crypto`] | time and cryptography as they are given |
//! | [`doe`] | data objects, discovery, and a mailbox as register steps |
//! | [`spdm`] | messages, transcripts, keys, secured messages, requester and responder |
//! | [`ide_km`], [`tdi`] | IDE key management and TDISP: messages, and both sides |
//! | [`dsm`] | a whole device behind one mailbox |
//! | [`relay`] | what guest, host and TSM say to each other |
//! | [`evidence`] | from bytes that a host brought to facts that a guest may build on |
//!
//! **Invariants:**
//! * No bytes make a function here panic.
//! * Each wire format is read and written in one file.
//! * [`relay::Vouched`] is made only by opening an authentic response, and [`evidence::Verified`] only by
//!   [`evidence::verify()`], which takes one.
//! * TDISP and IDE_KM are answered inside a session that encrypts, and nowhere else; a session that ends takes its keys and
//!   locks with it.
//!
//! Not implemented: SLH-DSA and extended algorithms, events of other bodies than the DMTF, OCSP.

#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate self as tdisp; // tests here and in tests/ share samples

pub mod clock;
pub mod crypto;
pub mod doe;
pub mod dsm;
pub mod evidence;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod ide_km;
pub mod relay;
pub mod spdm;
pub mod tdi;
pub mod wire;
