//! How messages travel: what is around them in clear, and what differs in a session.
//!
//! ```text
//! DOE (PCIe §6.30)              u16 vendor ‖ u8 type ‖ u8 0 ‖ u32 length in DW ‖ message ‖ zeros to a DW
//! MCTP (DSP0275, DSP0276)       u8 type ‖ message
//! ```
//! | | DOE | MCTP |
//! |---|---|---|
//! | type of a message in clear, of a record | 1, 2 | 5, 6 |
//! | zeros behind a message | up to 3 | none |
//! | bytes of the sequence number in a record | 0 | 2 |
//! | random bytes behind a message in a record | 0 | 1 to 32 |
//! | in front of a message in a record | nothing | type 5 |

use super::msg::{Context, Payload};
use crate::{
    doe::{Object, ObjectType, object::PCI_SIG},
    open_enum,
    wire::{DecodeError, Reader, Write},
};
use alloc::vec::Vec;

/// What carries the messages of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// PCIe data objects: a unit is one object.
    #[default]
    Doe,
    /// MCTP: a unit is one message, its type byte first.
    Mctp,
}

/// What a unit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An SPDM message.
    Clear,
    /// A record of a session.
    Record,
}

open_enum! {
    /// MCTP message types (DSP0239); the top bit, an integrity check, is not used here.
    pub struct MctpType(u8) {
        /// SPDM.
        SPDM = 5,
        /// Secured messages.
        SECURED = 6,
    }
}

impl Transport {
    /// A unit around an SPDM message or a record.
    pub fn wrap(self, kind: Kind, body: &[u8]) -> Vec<u8> {
        let mut unit = Vec::with_capacity(body.len() + 12);
        match self {
            Self::Doe => Object::new(kind.object_type(), body).encode(&mut unit),
            Self::Mctp => {
                unit.u8(kind.mctp_type().0);
                unit.bytes(body);
            }
        }
        unit
    }

    /// What is in a unit, padding included; `None` if it is well-formed but nothing of SPDM's.
    pub fn unwrap(self, unit: &[u8]) -> Result<Option<(Kind, &[u8])>, DecodeError> {
        match self {
            Self::Doe => {
                let object = Object::decode(unit)?;
                let kind = match (object.vendor, object.kind) {
                    (PCI_SIG, ObjectType::SPDM) => Kind::Clear,
                    (PCI_SIG, ObjectType::SECURED_SPDM) => Kind::Record,
                    _ => return Ok(None),
                };
                Ok(Some((kind, object.body)))
            }
            Self::Mctp => {
                let mut r = Reader::new(unit);
                let kind = match MctpType(r.u8("MCTP message type")?) {
                    MctpType::SPDM => Kind::Clear,
                    MctpType::SECURED => Kind::Record,
                    _ => return Ok(None),
                };
                Ok(Some((kind, r.rest())))
            }
        }
    }

    /// A message, and its bytes without what pads them: zeros up to a DW, in clear and on DOE.
    pub(super) fn read<'a, M: Payload<'a>>(
        self,
        in_clear: bool,
        bytes: &'a [u8],
        context: &Context,
    ) -> Result<(M, &'a [u8]), DecodeError> {
        if !in_clear || !self.pads() {
            return Ok((M::decode_exact(bytes, context)?, bytes));
        }
        let (message, size) = M::decode_padded(bytes, context)?;
        Ok((message, bytes.get(..size).unwrap_or_default()))
    }

    /// Whether zeros may follow a message or a record in its unit, up to a DW's end.
    pub const fn pads(self) -> bool {
        matches!(self, Self::Doe)
    }

    /// Bytes of the sequence number that a record shows.
    pub const fn sequence_size(self) -> usize {
        match self {
            Self::Doe => 0,
            Self::Mctp => 2,
        }
    }

    /// Random bytes behind a message in a record, at most; with 0 there are none, otherwise there is at least one.
    pub const fn random_padding_max(self) -> u8 {
        match self {
            Self::Doe => 0,
            Self::Mctp => 32,
        }
    }

    /// The byte in front of a message in a record.
    pub const fn inner_type(self) -> Option<u8> {
        match self {
            Self::Doe => None,
            Self::Mctp => Some(MctpType::SPDM.0),
        }
    }
}

impl Kind {
    const fn object_type(self) -> ObjectType {
        match self {
            Self::Clear => ObjectType::SPDM,
            Self::Record => ObjectType::SECURED_SPDM,
        }
    }

    const fn mctp_type(self) -> MctpType {
        match self {
            Self::Clear => MctpType::SPDM,
            Self::Record => MctpType::SECURED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrapped_is_found_again_with_padding_where_the_transport_pads() {
        for kind in [Kind::Clear, Kind::Record] {
            let body = [0x10, 0x84, 0, 0, 7];
            let doe = Transport::Doe.wrap(kind, &body);
            let padded = [&body[..], &[0; 3]].concat();
            assert_eq!(Transport::Doe.unwrap(&doe), Ok(Some((kind, &padded[..]))));
            let mctp = Transport::Mctp.wrap(kind, &body);
            assert_eq!(mctp.len(), 6);
            assert_eq!(Transport::Mctp.unwrap(&mctp), Ok(Some((kind, &body[..]))));
        }
    }

    #[test]
    fn units_of_others_are_passed_over_and_broken_ones_refused() {
        let discovery = [1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Transport::Doe.unwrap(&discovery), Ok(None));
        let foreign = [2, 0, 1, 0, 3, 0, 0, 0, 0x10, 0x84, 0, 0];
        assert_eq!(Transport::Doe.unwrap(&foreign), Ok(None));
        assert_eq!(Transport::Mctp.unwrap(&[0x7e, 1]), Ok(None));
        assert_eq!(Transport::Mctp.unwrap(&[0x85, 1]), Ok(None));
        assert!(Transport::Doe.unwrap(&discovery[..8]).is_err());
        assert!(Transport::Mctp.unwrap(&[]).is_err());
    }
}
