//! GET_CAPABILITIES and CAPABILITIES (DSP0274 §10): 4 bytes in 1.0 (request only), 12 in 1.1, 20 from 1.2 on.

use super::{Code, Context, Header, Payload, Version};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

/// Smallest DataTransferSize (DSP0274 MinDataTransferSize).
pub const DATA_TRANSFER_SIZE_MIN: u32 = 42;

/// Largest CTExponent: 2^31 µs are 36 minutes, and a larger exponent is a shift out of range waiting to happen.
pub const CT_EXPONENT_MAX: u8 = 31;

/// Bit 0 of param1, 1.3: the response shall have, or has, the supported algorithms.
const ALGORITHMS: u8 = 1;

/// Bytes of a supported algorithms block that lists nothing: no padding is as long.
const BLOCK_SIZE_MIN: usize = 30;

/// Capability flags of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

#[allow(missing_docs, reason = "the names are the specification's own, one bit each")]
impl Flags {
    pub const CACHE: Self = Self(1);
    pub const CERT: Self = Self(1 << 1);
    pub const CHAL: Self = Self(1 << 2);
    pub const MEAS_NO_SIG: Self = Self(1 << 3);
    pub const MEAS_SIG: Self = Self(2 << 3);
    pub const MEAS_FRESH: Self = Self(1 << 5);
    pub const ENCRYPT: Self = Self(1 << 6);
    pub const MAC: Self = Self(1 << 7);
    pub const MUT_AUTH: Self = Self(1 << 8);
    pub const KEY_EX: Self = Self(1 << 9);
    pub const PSK: Self = Self(1 << 10);
    pub const PSK_WITH_CONTEXT: Self = Self(2 << 10);
    pub const ENCAP: Self = Self(1 << 12);
    pub const HBEAT: Self = Self(1 << 13);
    pub const KEY_UPD: Self = Self(1 << 14);
    pub const HANDSHAKE_IN_THE_CLEAR: Self = Self(1 << 15);
    pub const PUB_KEY_ID: Self = Self(1 << 16);
    pub const CHUNK: Self = Self(1 << 17);
    pub const ALIAS_CERT: Self = Self(1 << 18);
    pub const SET_CERT: Self = Self(1 << 19);
    pub const CSR: Self = Self(1 << 20);
    pub const CERT_INSTALL_RESET: Self = Self(1 << 21);
    pub const EP_INFO_NO_SIG: Self = Self(1 << 22);
    pub const EP_INFO_SIG: Self = Self(2 << 22);
    pub const MEL: Self = Self(1 << 24);
    pub const EVENT: Self = Self(1 << 25);
    pub const MULTI_KEY_ONLY: Self = Self(1 << 26);
    pub const MULTI_KEY_NEGOTIATED: Self = Self(2 << 26);
    pub const GET_KEY_PAIR_INFO: Self = Self(1 << 28);
    pub const SET_KEY_PAIR_INFO: Self = Self(1 << 29);
    pub const SET_KEY_PAIR_RESET: Self = Self(1 << 30);
    pub const LARGE_RESPONSE: Self = Self(1 << 31);

    pub(in crate::spdm) const MEAS_MASK: Self = Self(3 << 3);
    pub(in crate::spdm) const PSK_MASK: Self = Self(3 << 10);
    pub(in crate::spdm) const EP_INFO_MASK: Self = Self(3 << 22);
    pub(in crate::spdm) const MULTI_KEY_MASK: Self = Self(3 << 26);
}

impl Flags {
    /// Whether all bits of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any bit of `flags` is set.
    pub const fn any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Whether the side with these flags uses several keys on a connection (1.3): it has nothing else, or it can and
    /// the other side's OtherParams agrees.
    pub const fn multi_key(self, agreed: bool) -> bool {
        match self.0 & Self::MULTI_KEY_MASK.0 {
            0 => false,
            mode => mode == Self::MULTI_KEY_ONLY.0 || agreed,
        }
    }

    /// These flags but for those of `flags`.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// Both sides' flags.
    pub const fn and(self, flags: Self) -> Self {
        Self(self.0 & flags.0)
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The sizes that 1.2 added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// DataTransferSize: bytes of the largest message that the side takes in one piece.
    pub transfer: u32,
    /// MaxSPDMmsgSize: bytes of the largest message that it takes at all, in chunks if need be.
    pub message: u32,
}

/// GET_CAPABILITIES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The version that the requester has chosen.
    pub version: Version,
    /// CTExponent: cryptographic operations take at most 2^n µs; 0 in 1.0, which has no such field.
    pub ct_exponent: u8,
    /// Extended flags (1.4; before they are reserved and 0).
    pub extended_flags: u16,
    /// What the requester can; none in 1.0, which has no such field.
    pub flags: Flags,
    /// From 1.2 on; not written before.
    pub sizes: Option<Sizes>,
    /// Whether the response shall list the supported algorithms (1.3): a wish of who has [`Flags::CHUNK`] only.
    pub algorithms_asked: bool,
}

impl Payload<'_> for Request {
    const CODE: Code = Code::GET_CAPABILITIES;

    fn read(header: Header, r: &mut Reader<'_>, _: &Context) -> Result<Self, DecodeError> {
        let version = header.version;
        let body = match version > Version::V1_0 {
            true => Body::read(r, version)?,
            false => Body::default(),
        };
        check_requester(version, body.flags)?;
        let algorithms_asked = version >= Version::V1_3 && header.param1 & ALGORITHMS != 0;
        // What was asked for may be larger than DataTransferSize.
        if algorithms_asked && !body.flags.contains(Flags::CHUNK) {
            return Err(DecodeError::Invalid {
                what: "wish for the supported algorithms",
                found: 1,
                wanted: "0, as there is no CHUNK_CAP",
            });
        }
        Ok(Self {
            version,
            ct_exponent: body.ct_exponent,
            extended_flags: body.extended_flags,
            flags: body.flags,
            sizes: body.sizes,
            algorithms_asked,
        })
    }

    fn header(&self) -> Header {
        Header::new(
            self.version,
            Self::CODE,
            [if self.algorithms_asked { ALGORITHMS } else { 0 }, 0],
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.version > Version::V1_0 {
            let body = Body {
                ct_exponent: self.ct_exponent,
                extended_flags: self.extended_flags,
                flags: self.flags,
                sizes: self.sizes,
            };
            body.write(out, self.version);
        }
    }
}

/// CAPABILITIES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The request's version.
    pub version: Version,
    /// CTExponent: cryptographic operations take at most 2^n µs.
    pub ct_exponent: u8,
    /// Extended flags (1.4; before they are reserved and 0).
    pub extended_flags: u16,
    /// What the responder can.
    pub flags: Flags,
    /// From 1.2 on; not written before.
    pub sizes: Option<Sizes>,
    /// The supported algorithms block, if the request asked for it (1.3): NEGOTIATE_ALGORITHMS from its third byte on.
    pub algorithms: Option<&'a [u8]>,
    /// Whether param1 says that the block is there. Some responders only append it.
    pub algorithms_told: bool,
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::CAPABILITIES;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        let version = header.version;
        let body = Body::read(r, version)?;
        check_responder(version, body.flags)?;
        let algorithms_told = version >= Version::V1_3 && header.param1 & ALGORITHMS != 0;
        let listed = algorithms_told || context.algorithms_asked && begins_block(r, version);
        Ok(Self {
            version,
            ct_exponent: body.ct_exponent,
            extended_flags: body.extended_flags,
            flags: body.flags,
            sizes: body.sizes,
            algorithms: listed.then(|| read_algorithms(r)).transpose()?,
            algorithms_told,
        })
    }

    fn header(&self) -> Header {
        Header::new(
            self.version,
            Self::CODE,
            [if self.algorithms_told { ALGORITHMS } else { 0 }, 0],
        )
    }

    fn write(&self, out: &mut Vec<u8>) {
        let body = Body {
            ct_exponent: self.ct_exponent,
            extended_flags: self.extended_flags,
            flags: self.flags,
            sizes: self.sizes,
        };
        body.write(out, self.version);
        out.bytes(self.algorithms.unwrap_or_default());
    }
}

/// What both directions carry.
#[derive(Default)]
struct Body {
    ct_exponent: u8,
    extended_flags: u16,
    flags: Flags,
    sizes: Option<Sizes>,
}

impl Body {
    fn read(r: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        r.reserved(1)?;
        let ct_exponent = r.u8("CTExponent")?;
        if ct_exponent > CT_EXPONENT_MAX {
            return Err(DecodeError::Invalid {
                what: "CTExponent",
                found: u64::from(ct_exponent),
                wanted: "at most 31",
            });
        }
        let extended = r.u16("extended flags")?;
        let flags = Flags(r.u32("capability flags")?);
        let sized = version >= Version::V1_2;
        Ok(Self {
            ct_exponent,
            extended_flags: if version >= Version::V1_4 { extended } else { 0 },
            flags,
            sizes: sized.then(|| Sizes::read(r, flags)).transpose()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>, version: Version) {
        out.zeros(1);
        out.u8(self.ct_exponent);
        out.u16(self.extended_flags);
        out.u32(self.flags.0);
        if version >= Version::V1_2 {
            let least = Sizes {
                transfer: DATA_TRANSFER_SIZE_MIN,
                message: DATA_TRANSFER_SIZE_MIN,
            };
            let sizes = self.sizes.unwrap_or(least);
            out.u32(sizes.transfer);
            out.u32(sizes.message);
        }
    }
}

impl Sizes {
    fn read(r: &mut Reader<'_>, flags: Flags) -> Result<Self, DecodeError> {
        let transfer = r.u32("DataTransferSize")?;
        let message = r.u32("MaxSPDMmsgSize")?;
        let invalid = |what, found: u32, wanted| DecodeError::Invalid {
            what,
            found: u64::from(found),
            wanted,
        };
        if transfer < DATA_TRANSFER_SIZE_MIN {
            return Err(invalid("DataTransferSize", transfer, "at least 42"));
        }
        if message < transfer {
            return Err(invalid("MaxSPDMmsgSize", message, "at least DataTransferSize"));
        }
        if message != transfer && !flags.contains(Flags::CHUNK) {
            return Err(invalid(
                "MaxSPDMmsgSize",
                message,
                "DataTransferSize, as there is no CHUNK_CAP",
            ));
        }
        Ok(Self { transfer, message })
    }
}

/// Whether a block follows rather than padding or, in a transcript, the next message: that begins with its version, and a
/// block with a count that is smaller.
fn begins_block(r: &Reader<'_>, version: Version) -> bool {
    let head = || {
        let mut ahead = r.clone();
        let count = ahead.u8("number of algorithm structures")?;
        ahead.reserved(1)?;
        Ok::<_, DecodeError>((count, usize::from(ahead.u16("supported algorithms length")?)))
    };
    let fits = |size| (BLOCK_SIZE_MIN..=r.remaining()).contains(&size);
    version >= Version::V1_3 && head().is_ok_and(|(count, size)| count < version.0 && fits(size))
}

/// The block says its own length at its third byte.
fn read_algorithms<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let mut ahead = r.clone();
    ahead.reserved(2)?;
    let length = ahead.u16("supported algorithms length")?;
    if usize::from(length) < ahead.consumed() - r.consumed() {
        return Err(DecodeError::Invalid {
            what: "supported algorithms length",
            found: u64::from(length),
            wanted: "at least the 4 bytes that say it",
        });
    }
    r.take(usize::from(length), "supported algorithms")
}

/// Flags that a requester may not combine (DSP0274 "Requester flag fields definitions").
fn check_requester(version: Version, flags: Flags) -> Result<(), DecodeError> {
    if version <= Version::V1_0 {
        return Ok(());
    }
    let has = |bits| flags.any(bits);
    let identity = has(Flags::CERT | Flags::PUB_KEY_ID);
    let v1_3 = version >= Version::V1_3;
    let mut rules = Vec::from([
        (flags.0 & Flags::PSK_MASK.0 <= Flags::PSK.0, "PSK_CAP 0 or 1"),
        (
            identity || !has(Flags::CHAL | Flags::MUT_AUTH),
            "CERT_CAP or PUB_KEY_ID_CAP where there is CHAL_CAP or MUT_AUTH_CAP",
        ),
        (
            !has(Flags::MUT_AUTH) || has(Flags::CHAL | Flags::KEY_EX),
            "CHAL_CAP or KEY_EX_CAP where there is MUT_AUTH_CAP",
        ),
        (
            version != Version::V1_1 || !has(Flags::MUT_AUTH) || has(Flags::ENCAP),
            "ENCAP_CAP where there is MUT_AUTH_CAP in 1.1",
        ),
        (
            !identity || has(Flags::CHAL | Flags::KEY_EX) || v1_3 && has(Flags::EP_INFO_SIG),
            "a use for CERT_CAP or PUB_KEY_ID_CAP",
        ),
    ]);
    rules.extend(session_rules(flags, v1_3));
    refuse_broken(flags, &rules)
}

/// Flags that a responder may not combine.
fn check_responder(version: Version, flags: Flags) -> Result<(), DecodeError> {
    let mut rules = Vec::from([
        (!flags.contains(Flags::MEAS_MASK), "MEAS_CAP 0, 1 or 2"),
        (
            flags.any(Flags::MEAS_MASK) || !flags.any(Flags::MEAS_FRESH),
            "MEAS_CAP where there is MEAS_FRESH_CAP",
        ),
    ]);
    if version > Version::V1_0 {
        rules.push((!flags.contains(Flags::PSK_MASK), "PSK_CAP 0, 1 or 2"));
        rules.extend(session_rules(flags, version >= Version::V1_3));
    }
    refuse_broken(flags, &rules)
}

/// Rules for both sides: sessions need protection, and what belongs to sessions needs a way to open one.
fn session_rules(flags: Flags, v1_3: bool) -> [(bool, &'static str); 6] {
    let has = |bits| flags.any(bits);
    let session = has(Flags::KEY_EX | Flags::PSK_MASK);
    let protected = has(Flags::MAC | Flags::ENCRYPT);
    let event = if v1_3 { Flags::EVENT } else { Flags(0) };
    let within = Flags::HANDSHAKE_IN_THE_CLEAR | Flags::HBEAT | Flags::KEY_UPD | event;
    [
        (
            session == protected,
            "KEY_EX_CAP or PSK_CAP together with MAC_CAP or ENCRYPT_CAP",
        ),
        (
            session || !has(within),
            "KEY_EX_CAP or PSK_CAP where there is a capability of sessions",
        ),
        (
            has(Flags::KEY_EX) || !has(Flags::HANDSHAKE_IN_THE_CLEAR),
            "KEY_EX_CAP where there is HANDSHAKE_IN_THE_CLEAR_CAP",
        ),
        (
            !flags.contains(Flags::CERT | Flags::PUB_KEY_ID),
            "CERT_CAP or PUB_KEY_ID_CAP, not both",
        ),
        (
            !v1_3 || !flags.contains(Flags::EP_INFO_MASK) && !flags.contains(Flags::MULTI_KEY_MASK),
            "EP_INFO_CAP and MULTI_KEY_CAP 0, 1 or 2",
        ),
        (
            !v1_3 || !has(Flags::MULTI_KEY_MASK) || has(Flags::CERT) && !has(Flags::PUB_KEY_ID),
            "CERT_CAP where there is MULTI_KEY_CAP",
        ),
    ]
}

fn refuse_broken(flags: Flags, rules: &[(bool, &'static str)]) -> Result<(), DecodeError> {
    match rules.iter().find(|(kept, _)| !kept) {
        None => Ok(()),
        Some((_, wanted)) => Err(DecodeError::Invalid {
            what: "capability flags",
            found: u64::from(flags.0),
            wanted,
        }),
    }
}
