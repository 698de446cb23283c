//! GET_KEY_PAIR_INFO and KEY_PAIR_INFO (DSP0274 1.3 §10): what a key pair of the responder's is and can be.

use super::{Code, Context, Header, Payload, Version, field};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// GET_KEY_PAIR_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The connection's version.
    pub version: Version,
    /// KeyPairID, from 1 on.
    pub key_pair: u8,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::GET_KEY_PAIR_INFO;

    fn read(header: Header, r: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        Ok(Self {
            version: header.version,
            key_pair: r.u8("key pair ID")?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u8(self.key_pair);
    }
}

/// What may be done with a key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities(pub u16);

impl Abilities {
    /// GenKeyCap: a new pair may be generated.
    pub const GENERATE: Self = Self(1);
    /// ErasableCap: the pair may be erased.
    pub const ERASE: Self = Self(1 << 1);
    /// CertAssocCap: the slots that it goes with may be changed.
    pub const ASSOCIATE: Self = Self(1 << 2);
    /// KeyUsageCap: its usage may be changed.
    pub const USAGE: Self = Self(1 << 3);
    /// AsymAlgoCap: its algorithm may be changed.
    pub const ALGORITHM: Self = Self(1 << 4);
    /// ShareableCap: it may go with several slots.
    pub const SHARE: Self = Self(1 << 5);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for Abilities {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a key signs (KeyUsageMask).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage(pub u16);

impl Usage {
    /// KEY_EXCHANGE_RSP and FINISH.
    pub const KEY_EXCHANGE: Self = Self(1);
    /// CHALLENGE_AUTH.
    pub const CHALLENGE: Self = Self(1 << 1);
    /// MEASUREMENTS.
    pub const MEASUREMENTS: Self = Self(1 << 2);
    /// ENDPOINT_INFO.
    pub const ENDPOINT_INFO: Self = Self(1 << 3);
    /// What the standards say.
    pub const STANDARD: Self = Self(1 << 14);
    /// What the vendor says.
    pub const VENDOR: Self = Self(1 << 15);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for Usage {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Asymmetric algorithms of a key pair: other bits than those of NEGOTIATE_ALGORITHMS, as a key has no padding scheme.
#[allow(missing_docs, reason = "the names are the algorithms' own, one bit each")]
pub mod key_algorithm {
    pub const RSA_2048: u32 = 1;
    pub const RSA_3072: u32 = 1 << 1;
    pub const RSA_4096: u32 = 1 << 2;
    pub const ECC_P256: u32 = 1 << 3;
    pub const ECC_P384: u32 = 1 << 4;
    pub const ECC_P521: u32 = 1 << 5;
    pub const SM2: u32 = 1 << 6;
    pub const ED25519: u32 = 1 << 7;
    pub const ED448: u32 = 1 << 8;
}

/// KEY_PAIR_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// How many key pairs there are.
    pub total: u8,
    /// The request's KeyPairID.
    pub key_pair: u8,
    /// What may be done with it; nothing where there is no SET_KEY_PAIR_INFO_CAP.
    pub abilities: Abilities,
    /// What it may be used for.
    pub usages: Usage,
    /// What it is used for.
    pub usage: Usage,
    /// The algorithms that it may have: bits of [`key_algorithm`].
    pub algorithms: u32,
    /// The algorithm that it has: at most one of them.
    pub algorithm: u32,
    /// The slots that it goes with, one bit each.
    pub slots: u8,
    /// The DER AlgorithmIdentifier of its public key.
    pub public_key_info: &'a [u8],
    /// The post-quantum algorithms that it may have, a mask of as many bytes as the responder likes (1.4; before it is
    /// empty). See [`mask`].
    pub pqc_algorithms: &'a [u8],
    /// The post-quantum algorithm that it has (1.4; before it is empty).
    pub pqc_algorithm: &'a [u8],
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::KEY_PAIR_INFO;

    fn read(header: Header, r: &mut Reader<'a>, _: &Context) -> Result<Self, DecodeError> {
        let total = r.u8("total of key pairs")?;
        let key_pair = r.u8("key pair ID")?;
        let abilities = Abilities(r.u16("key pair capabilities")?);
        let usages = Usage(r.u16("key usage capabilities")?);
        let usage = Usage(r.u16("key usage")?);
        let algorithms = r.u32("key algorithms")?;
        let algorithm = r.u32("key algorithm")?;
        let info_size = r.u16("public key info length")?;
        let slots = r.u8("associated slots")?;
        let public_key_info = r.take(usize::from(info_size), "public key info")?;
        let v1_4 = header.version >= Version::V1_4;
        Ok(Self {
            version: header.version,
            total,
            key_pair,
            abilities,
            usages,
            usage,
            algorithms,
            algorithm,
            slots,
            public_key_info,
            pqc_algorithms: read_mask(r, v1_4)?,
            pqc_algorithm: read_mask(r, v1_4)?,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [0, 0])
    }

    fn write(&self, out: &mut Vec<u8>) {
        let info = field::fitting(self.public_key_info);
        out.u8(self.total);
        out.u8(self.key_pair);
        out.u16(self.abilities.0);
        out.u16(self.usages.0);
        out.u16(self.usage.0);
        out.u32(self.algorithms);
        out.u32(self.algorithm);
        out.u16(field::counted(info));
        out.u8(self.slots);
        out.bytes(info);
        let v1_4 = self.version >= Version::V1_4;
        write_mask(out, v1_4, self.pqc_algorithms);
        write_mask(out, v1_4, self.pqc_algorithm);
    }
}

/// A mask of algorithms, least significant byte first, as an integer. Bits beyond 32, which no algorithm has, are an error.
pub fn mask(bytes: &[u8]) -> Result<u32, DecodeError> {
    let beyond = bytes.iter().skip(4).find(|byte| **byte != 0);
    if let Some(found) = beyond {
        return Err(DecodeError::Invalid {
            what: "post-quantum algorithms beyond bit 31",
            found: u64::from(*found),
            wanted: "none",
        });
    }
    Ok(bytes
        .iter()
        .take(4)
        .rev()
        .fold(0, |mask, byte| mask << 8 | u32::from(*byte)))
}

/// A u8 length and as many bytes, if `there`.
pub(super) fn read_mask<'a>(r: &mut Reader<'a>, there: bool) -> Result<&'a [u8], DecodeError> {
    if !there {
        return Ok(&[]);
    }
    let size = r.u8("post-quantum algorithms length")?;
    r.take(usize::from(size), "post-quantum algorithms")
}

/// As [`read_mask`] reads it.
pub(super) fn write_mask(out: &mut Vec<u8>, there: bool, mask: &[u8]) {
    if there {
        let mask = &mask[..mask.len().min(usize::from(u8::MAX))];
        out.u8(mask.len() as u8);
        out.bytes(mask);
    }
}
