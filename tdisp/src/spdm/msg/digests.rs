//! GET_DIGESTS and DIGESTS (DSP0274 §10).

use super::{Code, Context, Header, Payload, Version, header::header_only};
use crate::wire::{DecodeError, Reader, Write};
use alloc::vec::Vec;

header_only! {
    /// GET_DIGESTS.
    pub struct Request = GET_DIGESTS;
}

/// What one slot holds. On the wire the fields are arrays, indexed by the position of the slot's bit among the set bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot<'a> {
    /// The slot, 0 to 7.
    pub number: u8,
    /// Digest of the certificate chain object: its header, the root's hash and the certificates.
    pub digest: &'a [u8],
    /// Which key the chain is for, on a multi-key connection.
    pub key: Option<Key>,
}

/// Multi-key fields of a slot (1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// KeyPairID.
    pub pair: u8,
    /// CertificateInfo: the certificate model in its low three bits.
    pub certificate_info: u8,
    /// KeyUsageMask.
    pub usage: u16,
}

/// DIGESTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'a> {
    /// The connection's version.
    pub version: Version,
    /// Slots that exist, one bit each (1.3; before it is reserved and 0).
    pub supported: u8,
    /// Slots that hold a chain, in ascending order; at least one.
    pub slots: Vec<Slot<'a>>,
}

impl<'a> Response<'a> {
    /// The digest of the chain in a slot.
    pub fn digest(&self, slot: u8) -> Option<&'a [u8]> {
        let found = self.slots.iter().find(|held| held.number == slot);
        found.map(|held| held.digest)
    }

    /// What the key of a slot is for: bits of KeyUsageMask, all of them where there is none.
    pub fn usage(&self, slot: u8) -> u16 {
        let found = self.slots.iter().find(|held| held.number == slot);
        let key = found.and_then(|held| held.key);
        key.map_or(u16::MAX, |key| key.usage)
    }

    /// Slots that hold a chain, one bit each.
    pub fn provisioned(&self) -> u8 {
        let bit = |slot: &Slot<'_>| 1u8.checked_shl(u32::from(slot.number)).unwrap_or(0);
        self.slots.iter().fold(0, |mask, slot| mask | bit(slot))
    }
}

impl<'a> Payload<'a> for Response<'a> {
    const CODE: Code = Code::DIGESTS;

    fn read(header: Header, r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        let provisioned = header.param2;
        if provisioned == 0 {
            return Err(DecodeError::Invalid {
                what: "provisioned slots",
                found: 0,
                wanted: "at least one",
            });
        }
        let numbers = (0..super::SLOTS).filter(|slot| provisioned >> slot & 1 == 1);
        let slots = numbers.map(|number| {
            r.take(context.hash_size, "chain digest").map(|digest| Slot {
                number,
                digest,
                key: None,
            })
        });
        let mut slots = slots.collect::<Result<Vec<_>, _>>()?;
        if header.version >= Version::V1_3 && context.multi_key {
            read_keys(&mut slots, r)?;
        }
        let supported = if header.version >= Version::V1_3 {
            header.param1
        } else {
            0
        };
        if supported & provisioned != provisioned && header.version >= Version::V1_3 {
            return Err(DecodeError::Invalid {
                what: "supported slots",
                found: u64::from(supported),
                wanted: "all the provisioned ones among them",
            });
        }
        Ok(Self {
            version: header.version,
            supported,
            slots,
        })
    }

    fn header(&self) -> Header {
        Header::new(self.version, Self::CODE, [self.supported, self.provisioned()])
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.slots.iter().for_each(|slot| out.bytes(slot.digest));
        let keys = || self.slots.iter().filter_map(|slot| slot.key);
        keys().for_each(|key| out.u8(key.pair));
        keys().for_each(|key| out.u8(key.certificate_info));
        keys().for_each(|key| out.u16(key.usage));
    }
}

/// Three arrays, each with one entry a provisioned slot, one after the other.
fn read_keys(slots: &mut [Slot<'_>], r: &mut Reader<'_>) -> Result<(), DecodeError> {
    let pairs = r.take(slots.len(), "key pair IDs")?;
    let infos = r.take(slots.len(), "certificate infos")?;
    for ((slot, pair), info) in slots.iter_mut().zip(pairs).zip(infos) {
        slot.key = Some(Key {
            pair: *pair,
            certificate_info: *info,
            usage: r.u16("key usage mask")?,
        });
    }
    Ok(())
}
