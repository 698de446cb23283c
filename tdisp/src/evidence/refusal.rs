//! Why evidence is refused, in words that operators read.

use super::{Parameter, chain};
use crate::{
    crypto::{Digest, HashAlg, SignAlg},
    relay::{
        ObjectKind, Rid,
        guest::{Binding, TdiState},
    },
    wire::DecodeError,
};
use alloc::{boxed::Box, format, string::String};

/// Why evidence is refused: what was found, what is wanted, and, where there is something, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The TSM has no TDI for the function.
    #[error(
        "the TSM says that {guest} is {found}, wanted BOUND: the device was not locked for this VM, or is not any more; \
         ask the host to bind it"
    )]
    NotBound {
        /// The function.
        guest: Rid,
        /// What the TSM says.
        found: Binding,
    },
    /// The TSM spoke about another function.
    #[error("the TSM's statement is about {found}, wanted {wanted}")]
    OtherFunction {
        /// What it is about.
        found: Rid,
        /// What was asked.
        wanted: Rid,
    },
    /// The TDI is not locked.
    #[error(
        "the device's interface is in state {found}, wanted LOCKED: only what is measured and reported while locked says \
         anything; bind it again and verify anew"
    )]
    NotLocked {
        /// The state that the TSM reports.
        found: TdiState,
    },
    /// The device calls the TDI something else than expected.
    #[error(
        "the TSM locked the device's interface {found:#010x}, wanted {wanted:#010x}: this is another function's"
    )]
    Interface {
        /// TDISP FUNCTION_ID that the TSM locked.
        found: u32,
        /// The one expected.
        wanted: u32,
    },
    /// The TSM holds no measurements.
    #[error("the TSM holds no valid measurements of this device; ask for them with a fresh nonce")]
    NotMeasured,
    /// The measurements are not this guest's, or of an earlier lock.
    #[error(
        "the TSM says that the measurements are not fresh: they were taken before this lock or with another nonce; ask \
         for them again"
    )]
    NotFresh,
    /// The caller's nonce is all zeros.
    #[error(
        "the nonce to be expected is all zeros: it was not drawn from a random source, and proves nothing"
    )]
    NonceNotDrawn,
    /// An object is empty.
    #[error("the host brought no {}; without it nothing can be verified", words(.object))]
    Missing {
        /// Which.
        object: ObjectKind,
    },
    /// An object is not the one that the TSM vouches for.
    #[error(
        "the digest of the {} that the host brought is {found}, but the TSM vouches for {wanted}: what came was altered, \
         is another device's, or is out of date",
        words(.object)
    )]
    Digest {
        /// Which.
        object: ObjectKind,
        /// SHA-384 of what came.
        found: Box<Digest>,
        /// What the TSM states.
        wanted: Box<Digest>,
    },
    /// The measurements' transcript is malformed.
    #[error("the measurements' transcript is malformed: {0}")]
    Transcript(DecodeError),
    /// The version is below the floor.
    #[error("the device was spoken to in SPDM {}, wanted at least {}: somebody may have forced an old version", Parameter::Version.words((*found).into()), Parameter::Version.words((*floor).into()))]
    Version {
        /// Version as in message headers.
        found: u8,
        /// The floor.
        floor: u8,
    },
    /// The version was not among those that the device offered.
    #[error("SPDM {} was used, which the device does not offer in VERSION", Parameter::Version.words((*found).into()))]
    VersionNotOffered {
        /// Version as in message headers.
        found: u8,
    },
    /// An algorithm is below the floor.
    #[error(
        "the {what} negotiated is {}, wanted {}: {}",
        what.words(*found),
        either(*what, *allowed, *instead),
        why(*what, *allowed)
    )]
    Algorithm {
        /// Which.
        what: Parameter,
        /// The selected bit.
        found: u32,
        /// The allowed bits.
        allowed: u32,
        /// The allowed bits of its [other](Parameter::other).
        instead: u32,
    },
    /// An algorithm was selected that was not offered, or more than one.
    #[error(
        "the device selected {} as {what}, wanted exactly one of those that were offered ({})",
        what.words(*found),
        either(*what, *offered, *instead)
    )]
    NotOffered {
        /// Which.
        what: Parameter,
        /// The selected bits.
        found: u32,
        /// The offered bits.
        offered: u32,
        /// The offered bits of its [other](Parameter::other).
        instead: u32,
    },
    /// For one purpose a classical and a post-quantum algorithm were selected.
    #[error(
        "the device selected {} as {} and {} as {}, wanted one of the two",
        what[0].words(found[0]),
        what[0],
        what[1].words(found[1]),
        what[1]
    )]
    Both {
        /// Which.
        what: [Parameter; 2],
        /// The selected bits.
        found: [u32; 2],
    },
    /// The transcript and the TSM disagree about what was negotiated.
    #[error(
        "the transcript says that the {what} is {}, the TSM says {}: it is of another session",
        what.words(*found),
        what.words(*wanted)
    )]
    Negotiated {
        /// Which.
        what: Parameter,
        /// In the transcript.
        found: u32,
        /// The TSM's.
        wanted: u32,
    },
    /// The measurements were not asked to be signed, or the device cannot sign them.
    #[error("the measurements are not signed, wanted a signature by the device's key: {0}")]
    Unsigned(&'static str),
    /// Only a part of the measurements was asked for.
    #[error("the TSM asked the device for measurement {found:#x} only, wanted all (0xff)")]
    NotAll {
        /// The operation asked for.
        found: u8,
    },
    /// The nonce is not the one that was drawn.
    #[error(
        "the measurements answer another nonce than the one drawn for this verification: they are a replay"
    )]
    Nonce,
    /// Another slot was used than the TSM says.
    #[error(
        "the measurements are signed with the key of slot {found}, wanted slot {wanted}, whose certificates the TSM used"
    )]
    Slot {
        /// In the transcript.
        found: u8,
        /// The TSM's.
        wanted: u8,
    },
    /// The device says that a measurement changed while it was taken.
    #[error("the device says that its measurements changed while they were taken; measure again")]
    Changed,
    /// A measurement is not in the DMTF's form, or has the wrong size for a digest.
    #[error("measurement {index}: {fault}")]
    Measurement {
        /// Its index.
        index: u8,
        /// What is wrong.
        fault: DecodeError,
    },
    /// The device listed no measurement.
    #[error("the device stated no measurement at all")]
    NoMeasurements,
    /// The provider cannot verify what the device signs with.
    #[error("the device signs with {sign} and {hash}, and this program cannot verify that: {}", remedy(*sign))]
    Unsupported {
        /// Its signature algorithm.
        sign: SignAlg,
        /// Its hash.
        hash: HashAlg,
    },
    /// The certificate chain is refused.
    #[error("{0}")]
    Chain(#[from] chain::Error),
    /// The signature over the transcript does not verify.
    #[error("the signature over the measurements is not by the key in the device's certificate")]
    Signature,
    /// The interface report is malformed.
    #[error("the interface report is malformed: {0}")]
    Report(DecodeError),
}

/// Bits of a parameter, and of its [other](Parameter::other), in words.
fn either(what: Parameter, bits: u32, instead: u32) -> String {
    match what.other() {
        Some(other) if instead != 0 && bits == 0 => other.words(instead),
        Some(other) if instead != 0 => format!("{} or {}", what.words(bits), other.words(instead)),
        _ => what.words(bits),
    }
}

/// A policy that lists nothing post-quantum is no sign of an attack.
fn why(what: Parameter, allowed: u32) -> &'static str {
    match what.is_post_quantum() && allowed == 0 {
        true => "the policy allows nothing post-quantum for this; list there what is welcome",
        false => "somebody may have forced a weaker one",
    }
}

fn remedy(sign: SignAlg) -> &'static str {
    match sign.is_post_quantum() {
        true => {
            "build it with the feature `post-quantum`, or have the device sign with a classical algorithm"
        }
        false => "have the device sign with another algorithm or hash",
    }
}

fn words(object: &ObjectKind) -> &'static str {
    match *object {
        ObjectKind::CERTIFICATES => "certificate chain",
        ObjectKind::MEASUREMENTS => "measurements",
        ObjectKind::REPORT => "interface report",
        _ => "object",
    }
}
