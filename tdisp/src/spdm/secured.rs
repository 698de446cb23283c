//! Secured messages (DSP0277) as DOE carries them: no sequence number on the wire, no random padding.
//!
//! ```text
//! u16 requester's id ‖ u16 responder's id ‖ u16 length ‖ ciphertext ‖ tag            header = additional data
//! plaintext = u16 size ‖ message ‖ padding            nonce = IV xor sequence (u64, little-endian, at byte 0)
//! ```
//! A [`Half`] is one direction of one session: it counts its own records, never uses a number twice and is
//! of no further use after a record that does not open. Sessions that authenticate without encrypting are not
//! implemented.

use super::key_schedule::{IV_SIZE, Schedule};
use crate::{
    crypto::{Aead, AeadAlg, CryptoError, Secret, TAG_SIZE},
    wire::{DecodeError, Reader, Write},
};
use alloc::{boxed::Box, vec::Vec};
use zeroize::Zeroizing;

/// Bytes of the header in front of the ciphertext.
pub const HEADER_SIZE: usize = 6;
/// Bytes that a record adds to the message it carries.
pub const OVERHEAD: usize = HEADER_SIZE + APPLICATION_LENGTH_SIZE + TAG_SIZE;

const APPLICATION_LENGTH_SIZE: usize = 2;

/// The id of a session: the requester's half in the low 16 bits, the responder's in the high ones.
pub const fn session_id(requester: u16, responder: u16) -> u32 {
    (responder as u32) << 16 | requester as u32
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
    /// The direction has no sequence number left.
    #[error("the session has used all its sequence numbers; open another")]
    Exhausted,
    /// The message does not fit the 16-bit length of a record.
    #[error("a message of {size} bytes does not fit a record, at most 65517 do")]
    TooLong {
        /// Bytes of the message.
        size: usize,
    },
}

/// A record as it came, not yet opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The session it claims to belong to.
    pub session: u32,
    header: [u8; HEADER_SIZE],
    sealed: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes the body of a DOE object of the secured type apart. Up to three zero bytes may follow the record, as
    /// DOE pads to four.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let header = reader.array::<HEADER_SIZE>("record header")?;
        let mut fields = Reader::new(&header);
        let session = fields.u32("session id")?;
        let length = fields.u16("record length")?;
        if usize::from(length) < APPLICATION_LENGTH_SIZE + TAG_SIZE {
            return Err(DecodeError::Invalid {
                what: "record length",
                found: length.into(),
                wanted: "at least 18",
            });
        }
        let sealed = reader.take(length.into(), "record")?;
        let padding = reader.rest();
        if padding.len() > 3 || padding.iter().any(|byte| *byte != 0) {
            let extra = padding.len();
            return Err(DecodeError::Trailing { extra });
        }
        Ok(Self {
            session,
            header,
            sealed,
        })
    }
}

/// One direction of a session: its secret, its keys and the number of its next record.
pub struct Half {
    secret: Secret,
    aead: Box<dyn Aead>,
    iv: Secret,
    sequence: u64,
}

impl Half {
    /// The direction whose secret is `secret`, at its first record.
    pub fn new(schedule: &Schedule<'_>, aead: AeadAlg, secret: Secret) -> Result<Self, CryptoError> {
        let key = schedule.key(&secret, aead);
        Ok(Self {
            aead: schedule.provider.aead(aead, key.expose())?,
            iv: schedule.iv(&secret),
            secret,
            sequence: 0,
        })
    }

    /// The same direction after a KEY_UPDATE, at its first record.
    pub fn updated(&self, schedule: &Schedule<'_>, aead: AeadAlg) -> Result<Self, CryptoError> {
        Self::new(schedule, aead, schedule.updated(&self.secret))
    }

    /// Seals `message` as the next record of `session`.
    pub fn seal(&mut self, session: u32, message: &[u8]) -> Result<Vec<u8>, RecordError> {
        let size = message.len();
        let too_long = RecordError::TooLong { size };
        let length = u16::try_from(APPLICATION_LENGTH_SIZE + size + TAG_SIZE).map_err(|_| too_long)?;
        let mut record = Vec::with_capacity(OVERHEAD + size);
        record.u32(session);
        record.u16(length);
        let mut body = Vec::with_capacity(usize::from(length));
        body.u16(length - (APPLICATION_LENGTH_SIZE + TAG_SIZE) as u16);
        body.bytes(message);
        let nonce = self.next_nonce()?;
        self.aead.seal(nonce, &record, &mut body)?;
        record.bytes(&body);
        Ok(record)
    }

    /// Opens the next record. After an error the direction, and with it the session, is lost.
    pub fn open(&mut self, record: &Record<'_>) -> Result<Vec<u8>, RecordError> {
        let mut plain = Zeroizing::new(record.sealed.to_vec());
        let nonce = self.next_nonce()?;
        self.aead.open(nonce, &record.header, &mut plain)?;
        let mut reader = Reader::new(&plain);
        let size = reader.u16("application data length")?;
        let message = reader.take(size.into(), "application data")?;
        Ok(message.to_vec())
    }

    fn next_nonce(&mut self) -> Result<[u8; IV_SIZE], RecordError> {
        let number = self.sequence;
        self.sequence = number.checked_add(1).ok_or(RecordError::Exhausted)?;
        let mut nonce = [0; IV_SIZE];
        nonce[..8].copy_from_slice(&number.to_le_bytes());
        for (byte, iv) in nonce.iter_mut().zip(self.iv.expose()) {
            *byte ^= iv;
        }
        Ok(nonce)
    }
}

impl core::fmt::Debug for Half {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Half(next record {})", self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::{HashAlg, Ring},
        spdm::msg::Version,
    };
    use alloc::vec;

    fn half() -> Half {
        let schedule = Schedule {
            provider: &Ring,
            hash: HashAlg::Sha384,
            version: Version::V1_2,
        };
        Half::new(&schedule, AeadAlg::Aes256Gcm, Secret::new(vec![7; 48])).unwrap()
    }

    fn open(half: &mut Half, bytes: &[u8]) -> Result<Vec<u8>, RecordError> {
        half.open(&Record::decode(bytes)?)
    }

    #[test]
    fn records_open_in_the_order_they_were_sealed_and_in_no_other() {
        let (mut sender, mut receiver) = (half(), half());
        let first = sender.seal(9, b"first").unwrap();
        let second = sender.seal(9, b"second").unwrap();
        assert_eq!(open(&mut half(), &second), Err(CryptoError::BadTag.into()));
        assert_eq!(open(&mut receiver, &first).unwrap(), b"first");
        assert_eq!(open(&mut receiver, &second).unwrap(), b"second");
        assert_eq!(open(&mut receiver, &second), Err(CryptoError::BadTag.into()));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_of_a_record_is_refused() {
        let record = half().seal(0x0102_0304, b"message").unwrap();
        for end in 0..record.len() {
            assert!(open(&mut half(), &record[..end]).is_err(), "cut at {end}");
        }
        // The session id is not looked up here, but it is authenticated like the rest.
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut half(), &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn doe_padding_is_ignored_and_anything_longer_or_else_is_refused() {
        let record = half().seal(1, b"message").unwrap();
        let with = |padding: &[u8]| [&record[..], padding].concat();
        assert!(open(&mut half(), &with(&[0, 0, 0])).is_ok());
        assert!(open(&mut half(), &with(&[0, 1])).is_err());
        assert!(open(&mut half(), &with(&[0; 4])).is_err());
    }

    #[test]
    fn an_application_length_longer_than_the_plaintext_is_refused() {
        for claimed in [8u16, 9, 0x7fff, 0xffff] {
            let (mut sender, mut receiver) = (half(), half());
            let mut record = vec![1, 0, 0, 0, 25, 0];
            let mut body = claimed.to_le_bytes().to_vec();
            body.extend_from_slice(b"message");
            let nonce = sender.next_nonce().unwrap();
            sender.aead.seal(nonce, &record, &mut body).unwrap();
            record.extend_from_slice(&body);
            assert!(open(&mut receiver, &record).is_err(), "{claimed}");
        }
    }

    #[test]
    fn a_direction_without_numbers_left_seals_nothing_more() {
        let mut last = half();
        last.sequence = u64::MAX;
        assert_eq!(last.seal(1, b"message"), Err(RecordError::Exhausted));
    }
}
