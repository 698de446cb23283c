//! What an SPDM connection negotiates, by the names that people know (DSP0274 §10.4, the tables of NEGOTIATE_ALGORITHMS).

use super::Refusal;
use crate::relay::guest::Negotiated;
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// One thing that is negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// The version of SPDM.
    Version,
    /// What the device signs with (BaseAsymSel).
    Signature,
    /// What it signs with instead (PqcAsymSel, 1.4).
    PostQuantumSignature,
    /// What transcripts are hashed with (BaseHashSel).
    Hash,
    /// What measurements are hashed with (MeasurementHashAlgo).
    MeasurementHash,
    /// The Diffie-Hellman group.
    Group,
    /// The key encapsulation mechanism, instead of a group (1.4).
    Kem,
    /// The AEAD cipher suite.
    Cipher,
    /// The key schedule.
    KeySchedule,
}

impl Parameter {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Version,
        Self::Signature,
        Self::PostQuantumSignature,
        Self::Hash,
        Self::MeasurementHash,
        Self::Group,
        Self::Kem,
        Self::Cipher,
        Self::KeySchedule,
    ];

    /// Its value: for the version its byte in message headers, else the selected bits.
    pub fn of(self, negotiated: &Negotiated) -> u32 {
        match self {
            Self::Version => negotiated.version.into(),
            Self::Signature => negotiated.asym,
            Self::PostQuantumSignature => negotiated.pqc_asym,
            Self::Hash => negotiated.hash,
            Self::MeasurementHash => negotiated.measurement_hash,
            Self::Group => negotiated.dhe.into(),
            Self::Kem => negotiated.kem.into(),
            Self::Cipher => negotiated.aead.into(),
            Self::KeySchedule => negotiated.key_schedule.into(),
        }
    }

    /// The parameter with the same purpose and the other kind of algorithms, classical or post-quantum. Of the two a
    /// connection has one: the other is 0.
    pub fn other(self) -> Option<Self> {
        match self {
            Self::Signature => Some(Self::PostQuantumSignature),
            Self::PostQuantumSignature => Some(Self::Signature),
            Self::Group => Some(Self::Kem),
            Self::Kem => Some(Self::Group),
            _ => None,
        }
    }

    /// The parameter that says what was selected for this one's purpose: this one, or the [other](Self::other) where that has
    /// a selection instead.
    pub(super) fn selected(self, negotiated: &Negotiated) -> Result<Self, Refusal> {
        let Some(other) = self.other() else {
            return Ok(self);
        };
        match [self, other].map(|what| what.of(negotiated)) {
            [_, 0] => Ok(self),
            [0, _] => Ok(other),
            found => Err(Refusal::Both {
                what: [self, other],
                found,
            }),
        }
    }

    /// Whether its algorithms are the post-quantum ones of a purpose that has classical ones too.
    pub fn is_post_quantum(self) -> bool {
        matches!(self, Self::PostQuantumSignature | Self::Kem)
    }

    /// A value in words: `ECDSA P-384`, or `SHA-384 or SHA-512` of several bits.
    pub fn words(self, value: u32) -> String {
        if self == Self::Version {
            return format!("{}.{}", value >> 4, value & 0xf);
        }
        let name = |bit: u32| {
            self.names()
                .get(bit as usize)
                .map_or_else(|| format!("bit {bit}"), ToString::to_string)
        };
        let bits: Vec<_> = (0..u32::BITS)
            .filter(|bit| value >> bit & 1 != 0)
            .map(name)
            .collect();
        match bits.is_empty() {
            true => "none".to_string(),
            false => bits.join(" or "),
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Version => &[],
            Self::Signature => &[
                "RSASSA 2048",
                "RSAPSS 2048",
                "RSASSA 3072",
                "RSAPSS 3072",
                "ECDSA P-256",
                "RSASSA 4096",
                "RSAPSS 4096",
                "ECDSA P-384",
                "ECDSA P-521",
                "SM2",
                "Ed25519",
                "Ed448",
            ],
            Self::PostQuantumSignature => &[
                "ML-DSA-44",
                "ML-DSA-65",
                "ML-DSA-87",
                "SLH-DSA-SHA2-128s",
                "SLH-DSA-SHAKE-128s",
                "SLH-DSA-SHA2-128f",
                "SLH-DSA-SHAKE-128f",
                "SLH-DSA-SHA2-192s",
                "SLH-DSA-SHAKE-192s",
                "SLH-DSA-SHA2-192f",
                "SLH-DSA-SHAKE-192f",
                "SLH-DSA-SHA2-256s",
                "SLH-DSA-SHAKE-256s",
                "SLH-DSA-SHA2-256f",
                "SLH-DSA-SHAKE-256f",
            ],
            Self::Hash => &[
                "SHA-256", "SHA-384", "SHA-512", "SHA3-256", "SHA3-384", "SHA3-512", "SM3",
            ],
            Self::MeasurementHash => &[
                "raw bit streams",
                "SHA-256",
                "SHA-384",
                "SHA-512",
                "SHA3-256",
                "SHA3-384",
                "SHA3-512",
                "SM3",
            ],
            Self::Group => &[
                "FFDHE 2048",
                "FFDHE 3072",
                "FFDHE 4096",
                "P-256",
                "P-384",
                "P-521",
                "SM2",
            ],
            Self::Kem => &["ML-KEM-512", "ML-KEM-768", "ML-KEM-1024"],
            Self::Cipher => &["AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305", "SM4-GCM"],
            Self::KeySchedule => &["SPDM's"],
        }
    }
}

impl core::fmt::Display for Parameter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Version => "SPDM version",
            Self::Signature => "signature algorithm",
            Self::PostQuantumSignature => "post-quantum signature algorithm",
            Self::Hash => "hash algorithm",
            Self::MeasurementHash => "measurement hash",
            Self::Group => "key exchange group",
            Self::Kem => "key encapsulation mechanism",
            Self::Cipher => "cipher",
            Self::KeySchedule => "key schedule",
        })
    }
}
