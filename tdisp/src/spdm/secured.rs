//! Secured messages (DSP0277 1.0 to 1.2): what an SPDM session sends, one record for each message.
//!
//! ```text
//! u16 requester's id ‖ u16 responder's id ‖ [u16 sequence] ‖ u16 length ‖ ciphertext ‖ tag
//! ╰──────────────────── additional data ─────────────────────────────╯
//! plaintext = u16 size ‖ [message type] ‖ message ‖ random padding              (size counts type and message)
//! nonce     = IV xor sequence (u64), little-endian at byte 0
//! ```
//! The parts in brackets and how much padding there is depend on what carries the records:
//! [`transport`](super::transport) has them.
//!
//! A session of two ends that authenticate but do not encrypt has records without size and padding: the message goes as it
//! is, and all that is before the tag is additional data.
//!
//! Up to 1.1 the byte order of the sequence number in the nonce was read both ways, big-endian at the nonce's end being
//! the other one. Number 0 looks the same in both, so number 1, and no other record, is tried in both where
//! [`Order::Unsettled`] says so; what opened it holds from then on.
//!
//! A [`Half`] is one direction of one session. It counts its own records, never uses a number twice, and is of no further
//! use after a record that does not open. Records are sealed and opened where they lie: [`Half::seal`] writes into the
//! caller's buffer, [`Half::open`] leaves the message in it, and whoever owns the buffer overwrites it afterwards
//! ([`wipe`]), for a message may carry keys.

use super::{
    key_schedule::{IV_SIZE, Schedule},
    transport::Transport,
};
use crate::{
    crypto::{Aead, AeadAlg, CryptoError, Provider, Secret, TAG_SIZE, wipe},
    wire::{DecodeError, Reader, Write},
};
use alloc::{boxed::Box, vec::Vec};
use core::ops::Range;

/// Bytes that a record on DOE adds to the message it carries.
pub const OVERHEAD: usize = Transport::Doe.record_overhead();

/// Bytes of the size in front of an encrypted message.
const SIZE_SIZE: usize = 2;

/// Random padding, at most: MCTP's.
const PADDING_MAX: usize = 32;

/// The id of a session: the requester's half in the low 16 bits, the responder's in the high ones.
pub const fn session_id(requester: u16, responder: u16) -> u32 {
    (responder as u32) << 16 | requester as u32
}

impl Transport {
    /// Bytes that a record adds to the message it carries, at most.
    pub const fn record_overhead(self) -> usize {
        let padding = self.random_padding_max() as usize;
        self.record_header_size() + SIZE_SIZE + self.type_size() + padding + TAG_SIZE
    }

    const fn record_header_size(self) -> usize {
        4 + self.sequence_size() + 2
    }

    const fn type_size(self) -> usize {
        self.inner_type().is_some() as usize
    }
}

/// The byte order of the sequence number in the nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// At the nonce's start: what 1.2 says, and what nearly all that speak 1.0 and 1.1 do.
    Little,
    /// At the nonce's end.
    Big,
    /// Little-endian until a record shows that the peer does otherwise.
    Unsettled,
}

/// What protects a session's records, and how they look. The same holds for both directions and for all their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// The cipher.
    pub aead: AeadAlg,
    /// What carries the records.
    pub transport: Transport,
    /// Whether messages are encrypted, or authenticated only.
    pub encrypted: bool,
    /// The order of the sequence number's bytes.
    pub order: Order,
    /// Records that one key may protect.
    pub records_max: u64,
}

impl Protection {
    /// DOE, encrypted, as 1.2 has it, and as many records as there are numbers.
    pub const fn new(aead: AeadAlg) -> Self {
        Self {
            aead,
            transport: Transport::Doe,
            encrypted: true,
            order: Order::Little,
            records_max: u64::MAX,
        }
    }
}

/// Why a record could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record is not built as the standard says.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The record was not sealed with this direction's key and number.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The record is in order and holds no SPDM message, but another that MCTP carries: nothing that is served here.
    #[error("the record holds a message of type {found}; only SPDM's (5) are served in a session")]
    Foreign {
        /// Its type.
        found: u8,
    },
    /// The record on the wire says another number than its own.
    #[error("record {found} came in the place of record {wanted} (low 16 bits of both)")]
    Sequence {
        /// What the record says.
        found: u16,
        /// What is due.
        wanted: u16,
    },
    /// The direction's key has protected all the records that it may.
    #[error("the key has protected all the {records} records that it may; update the session's keys before")]
    Exhausted {
        /// How many.
        records: u64,
    },
    /// The message does not fit the 16-bit length of a record.
    #[error("a message of {size} bytes does not fit a record, at most {max} do")]
    TooLong {
        /// Bytes of the message.
        size: usize,
        /// What fits.
        max: usize,
    },
}

/// A record as it came, not yet opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The session it claims to belong to.
    pub session: u32,
    sequence: Option<u16>,
    header_size: usize,
    /// Header, ciphertext and tag.
    bytes: &'a mut [u8],
}

impl<'a> Record<'a> {
    /// Takes the body of a transport's message of the secured type apart: a DOE object's, which may end with up to three
    /// zeros that are not the record's, or what follows MCTP's type byte.
    pub fn decode(transport: Transport, body: &'a mut [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let session = reader.u32("session id")?;
        let sequence = match transport.sequence_size() {
            0 => None,
            _ => Some(reader.u16("record sequence number")?),
        };
        let length = reader.u16("record length")?;
        if usize::from(length) < TAG_SIZE {
            return Err(DecodeError::Invalid {
                what: "record length",
                found: length.into(),
                wanted: "at least the 16 of its tag",
            });
        }
        let header_size = reader.consumed();
        reader.take(length.into(), "record")?;
        let end = reader.consumed();
        let trailing = reader.rest();
        let most = if transport.pads() { 3 } else { 0 };
        if trailing.len() > most || trailing.iter().any(|byte| *byte != 0) {
            let extra = trailing.len();
            return Err(DecodeError::Trailing { extra });
        }
        Ok(Self {
            session,
            sequence,
            header_size,
            bytes: &mut body[..end],
        })
    }
}

/// One direction of a session: its secret, its keys and the number of its next record.
pub struct Half {
    secret: Secret,
    aead: Box<dyn Aead>,
    iv: Secret,
    protection: Protection,
    sequence: u64,
}

impl Half {
    /// The direction whose secret is `secret`, at its first record.
    pub fn new(schedule: &Schedule<'_>, protection: Protection, secret: Secret) -> Result<Self, CryptoError> {
        let key = schedule.key(&secret, protection.aead);
        Ok(Self {
            aead: schedule.provider.aead(protection.aead, key.expose())?,
            iv: schedule.iv(&secret),
            secret,
            protection,
            sequence: 0,
        })
    }

    /// The same direction after a KEY_UPDATE, at its first record.
    pub fn updated(&self, schedule: &Schedule<'_>) -> Result<Self, CryptoError> {
        Self::new(schedule, self.protection, schedule.updated(&self.secret))
    }

    /// How many records its key may still protect.
    pub fn left(&self) -> u64 {
        self.protection.records_max.saturating_sub(self.sequence)
    }

    /// The byte order that is in use; [`Order::Unsettled`] until a record has shown it.
    pub fn order(&self) -> Order {
        self.protection.order
    }

    /// Goes over to the order that the other direction has turned out to have. Too late after a record whose nonce
    /// depends on it: then nothing changes, as the peer has opened that one.
    pub fn settle(&mut self, order: Order) {
        if self.protection.order == Order::Unsettled && self.sequence <= 1 {
            self.protection.order = order;
        }
    }

    /// Appends `message` to `out`, sealed as the next record of `session`. After an error `out` is as it was.
    pub fn seal(
        &mut self,
        provider: &dyn Provider,
        session: u32,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let start = out.len();
        let sealed = self.seal_behind(provider, session, message, out);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// [`Self::seal`] into a buffer of its own.
    pub fn seal_to_vec(
        &mut self,
        provider: &dyn Provider,
        session: u32,
        message: &[u8],
    ) -> Result<Vec<u8>, RecordError> {
        let mut record = Vec::new();
        self.seal(provider, session, message, &mut record)?;
        Ok(record)
    }

    fn seal_behind(
        &mut self,
        provider: &dyn Provider,
        session: u32,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let Protection {
            transport, encrypted, ..
        } = self.protection;
        let mut random = [0; 1 + PADDING_MAX];
        let padding = padding(provider, &self.protection, &mut random)?;
        let application = transport.type_size() + message.len();
        let around = if encrypted { SIZE_SIZE } else { 0 } + padding.len() + TAG_SIZE;
        let too_long = RecordError::TooLong {
            size: message.len(),
            max: usize::from(u16::MAX) - around - transport.type_size(),
        };
        let length = u16::try_from(application + around).map_err(|_| too_long)?;
        let number = self.next_number()?;
        let start = out.len();
        out.reserve(transport.record_header_size() + usize::from(length));
        out.u32(session);
        if transport.sequence_size() > 0 {
            out.u16(number as u16);
        }
        out.u16(length);
        let mut covered = out.len();
        if encrypted {
            out.u16(application as u16);
        }
        out.extend(transport.inner_type());
        out.bytes(message);
        out.bytes(padding);
        if !encrypted {
            covered = out.len();
        }
        let nonce = self.nonce(number, self.protection.order);
        let (aad, data) = out[start..].split_at_mut(covered - start);
        let tag = self.aead.seal(nonce, aad, data)?;
        out.bytes(&tag);
        Ok(())
    }

    /// Opens the next record, in its place: the SPDM message is the answer. After an error the direction, and with it
    /// the session, is lost; but for [`RecordError::Foreign`], which leaves it as it is.
    pub fn open<'a>(&mut self, record: Record<'a>) -> Result<&'a mut [u8], RecordError> {
        let spdm = self.protection.transport.inner_type();
        match self.open_any(record)? {
            (found, message) if found == spdm => Ok(message),
            (found, _) => Err(RecordError::Foreign {
                found: found.unwrap_or_default(),
            }),
        }
    }

    /// [`Self::open`] of a message of any type; the type too, where the transport has one.
    pub fn open_any<'a>(
        &mut self,
        mut record: Record<'a>,
    ) -> Result<(Option<u8>, &'a mut [u8]), RecordError> {
        let data = self.open_in_place(&mut record)?;
        let data = &mut record.bytes[data];
        if self.protection.transport.inner_type().is_none() {
            return Ok((None, data));
        }
        let kind = Reader::new(data).u8("message type in a record")?;
        Ok((Some(kind), &mut data[1..]))
    }

    /// Goes over to `next` if the record that came is `next`'s first: asked of a record before it is opened, which this does
    /// not do. Gives `next` back if it is not.
    pub fn change_if_sealed_by(&mut self, mut next: Self, record: &Record<'_>) -> Option<Self> {
        let mut copy = record.bytes.to_vec();
        let mut trial = Record {
            bytes: &mut copy,
            ..*record
        };
        let is_next = next.open_in_place(&mut trial).is_ok();
        wipe(&mut copy);
        next.sequence = 0;
        if !is_next {
            return Some(next);
        }
        *self = next;
        None
    }

    /// Says where in the record its application data is, now that it can be read.
    fn open_in_place(&mut self, record: &mut Record<'_>) -> Result<Range<usize>, RecordError> {
        let number = self.next_number()?;
        let wanted = number as u16;
        if let Some(found) = record.sequence.filter(|found| *found != wanted) {
            return Err(RecordError::Sequence { found, wanted });
        }
        let tag = record.bytes.len().saturating_sub(TAG_SIZE);
        let covered = match self.protection.encrypted {
            true => record.header_size,
            false => tag,
        };
        let (aad, sealed) = record.bytes.split_at_mut(covered);
        self.decrypt(number, aad, sealed)?;
        if !self.protection.encrypted {
            return Ok(record.header_size..tag);
        }
        let mut reader = Reader::new(&record.bytes[..tag]);
        reader.take(record.header_size, "record header")?;
        let size = reader.u16("application data length")?;
        let start = reader.consumed();
        reader.take(size.into(), "application data")?;
        Ok(start..reader.consumed())
    }

    fn decrypt(&mut self, number: u64, aad: &[u8], sealed: &mut [u8]) -> Result<(), CryptoError> {
        let order = self.protection.order;
        if order != Order::Unsettled || number != 1 {
            return self.aead.open(self.nonce(number, order), aad, sealed).map(drop);
        }
        let untouched = sealed.to_vec();
        let little = self.aead.open(self.nonce(number, Order::Little), aad, sealed);
        if little.is_ok() {
            self.protection.order = Order::Little;
            return Ok(());
        }
        sealed.copy_from_slice(&untouched);
        self.aead.open(self.nonce(number, Order::Big), aad, sealed)?;
        self.protection.order = Order::Big;
        Ok(())
    }

    fn next_number(&mut self) -> Result<u64, RecordError> {
        let (number, records) = (self.sequence, self.protection.records_max);
        if number >= records {
            return Err(RecordError::Exhausted { records });
        }
        self.sequence = number + 1;
        Ok(number)
    }

    fn nonce(&self, number: u64, order: Order) -> [u8; IV_SIZE] {
        let mut nonce = [0; IV_SIZE];
        match order {
            Order::Little | Order::Unsettled => nonce[..8].copy_from_slice(&number.to_le_bytes()),
            Order::Big => nonce[IV_SIZE - 8..].copy_from_slice(&number.to_be_bytes()),
        }
        for (byte, iv) in nonce.iter_mut().zip(self.iv.expose()) {
            *byte ^= iv;
        }
        nonce
    }
}

impl core::fmt::Debug for Half {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Half(next record {})", self.sequence)
    }
}

/// Fresh random padding, where the transport wants some: it hides how long the message is.
fn padding<'r>(
    provider: &dyn Provider,
    protection: &Protection,
    random: &'r mut [u8; 1 + PADDING_MAX],
) -> Result<&'r [u8], CryptoError> {
    let most = usize::from(protection.transport.random_padding_max());
    if most == 0 || !protection.encrypted {
        return Ok(&[]);
    }
    provider.random(random)?;
    let [count, bytes @ ..] = random;
    Ok(&bytes[..1 + usize::from(*count) % most])
}

#[cfg(test)]
mod tests;
