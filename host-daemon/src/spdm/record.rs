//! Records of a session as a bystander opens them (DSP0277).
//!
//! ```text
//! u32 session ‖ [MCTP: u16 sequence] ‖ u16 length ‖ cipher ‖ tag             additional data = all before the cipher
//! plain = u16 size ‖ [MCTP: u8 type] ‖ message ‖ padding                      without encryption: the message itself
//! ```
//! A bystander is more patient than [`tdisp::spdm::secured`]: he goes on behind a record that does not open, and finds
//! out which byte order of the sequence number the two sides use, for up to DSP0277 1.1 both have been read into it.

use tdisp::{
    crypto::{AeadAlg, Provider, Secret, TAG_SIZE},
    spdm::key_schedule::{IV_SIZE, Schedule},
    wire::{DecodeError, Reader},
};

use super::frame::Carrier;

/// A record as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The session's ID.
    pub session: u32,
    /// The low bits of its number, where the carrier has them.
    pub sequence: Option<u16>,
    /// What is authenticated and not encrypted.
    header: Vec<u8>,
    /// Cipher and tag.
    sealed: Vec<u8>,
}

impl Record {
    /// Takes the body of a secured message apart.
    pub fn read(body: &[u8], carrier: Carrier) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let session = reader.u32("session ID")?;
        let sequence = match carrier {
            Carrier::Mctp => Some(reader.u16("sequence number")?),
            Carrier::Doe => None,
        };
        let length = usize::from(reader.u16("record length")?);
        let head = reader.consumed();
        if length < TAG_SIZE {
            return Err(DecodeError::Invalid {
                what: "record length",
                found: length as u64,
                wanted: "at least the 16 bytes of the tag",
            });
        }
        let sealed = reader.take(length, "record")?.to_vec();
        let rest = reader.rest();
        if rest.len() > 3 || rest.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Trailing { extra: rest.len() });
        }
        Ok(Self {
            session,
            sequence,
            header: body.get(..head).unwrap_or_default().to_vec(),
            sealed,
        })
    }

    /// Bytes of cipher and tag.
    pub fn size(&self) -> usize {
        self.sealed.len()
    }
}

/// What was in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The application data.
    pub data: Vec<u8>,
    /// How many bytes stood behind it.
    pub padding: usize,
    /// What is odd about it.
    pub fault: Option<String>,
}

/// How the sequence number stands in the nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// At byte 0, least significant first: what DSP0277 says from 1.2 on.
    Little,
    /// At the end, most significant first.
    Big,
    /// At byte 0, most significant first.
    BigInFront,
}

impl Order {
    const ALL: [Self; 3] = [Self::Little, Self::Big, Self::BigInFront];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Little => "little-endian at byte 0",
            Self::Big => "big-endian at the end",
            Self::BigInFront => "big-endian at byte 0",
        }
    }

    fn nonce(self, iv: &[u8], sequence: u64) -> [u8; IV_SIZE] {
        let mut nonce = [0; IV_SIZE];
        match self {
            Self::Little => nonce[..8].copy_from_slice(&sequence.to_le_bytes()),
            Self::Big => nonce[4..].copy_from_slice(&sequence.to_be_bytes()),
            Self::BigInFront => nonce[..8].copy_from_slice(&sequence.to_be_bytes()),
        }
        nonce.iter_mut().zip(iv).for_each(|(byte, iv)| *byte ^= iv);
        nonce
    }
}

/// What holds for both directions of a session.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Derives keys.
    pub schedule: Schedule<'a>,
    /// The cipher.
    pub aead: AeadAlg,
    /// Whether records are encrypted, not only authenticated.
    pub encrypted: bool,
}

/// One direction of a session: its secret and the number of its next record.
#[derive(Debug, Clone)]
pub struct Half {
    secret: Secret,
    /// The number of the next record.
    pub sequence: u64,
    /// A KEY_UPDATE was seen whose key has not been used yet.
    pub update_due: bool,
}

impl Half {
    /// The direction with that secret, at its first record.
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            sequence: 0,
            update_due: false,
        }
    }

    /// Opens the next record with this key or, if a KEY_UPDATE is due, with the next one, whose first record it then is.
    /// `order` is what is known of the byte order so far. Nothing changes if it does not open.
    pub fn open(&mut self, rules: &Rules<'_>, order: &mut Option<Order>, record: &Record) -> Option<Opened> {
        if let Some(opened) = self.open_as(rules, order, record) {
            self.sequence += 1;
            return Some(opened);
        }
        if !self.update_due {
            return None;
        }
        let mut next = Self::new(rules.schedule.updated(&self.secret));
        let opened = next.open_as(rules, order, record)?;
        next.sequence = 1;
        *self = next;
        Some(opened)
    }

    fn open_as(&self, rules: &Rules<'_>, order: &mut Option<Order>, record: &Record) -> Option<Opened> {
        // The first record's number is 0, which all orders have alike.
        let count = if self.sequence == 0 { 1 } else { Order::ALL.len() };
        let known = *order;
        for candidate in Order::ALL.into_iter().take(count) {
            if self.sequence > 0 && known.is_some_and(|known| known != candidate) {
                continue;
            }
            let Some(plain) = self.plain(rules, candidate, record) else {
                continue;
            };
            if self.sequence > 0 {
                *order = Some(candidate);
            }
            return Some(application(plain, rules.encrypted));
        }
        None
    }

    fn plain(&self, rules: &Rules<'_>, order: Order, record: &Record) -> Option<Vec<u8>> {
        let schedule = &rules.schedule;
        let key = schedule.key(&self.secret, rules.aead);
        let aead = schedule.provider.aead(rules.aead, key.expose()).ok()?;
        let nonce = order.nonce(schedule.iv(&self.secret).expose(), self.sequence);
        if rules.encrypted {
            let mut data = record.sealed.clone();
            return aead
                .open(nonce, &record.header, &mut data)
                .ok()
                .map(|plain| plain.to_vec());
        }
        let (message, tag) = record.sealed.split_at(record.sealed.len() - TAG_SIZE);
        let covered = [&record.header, message].concat();
        aead.open(nonce, &covered, &mut tag.to_vec()).ok()?;
        Some(message.to_vec())
    }
}

fn application(plain: Vec<u8>, encrypted: bool) -> Opened {
    if !encrypted {
        return Opened {
            data: plain,
            padding: 0,
            fault: None,
        };
    }
    let mut reader = Reader::new(&plain);
    let size = reader.u16("application data length").map_or(0, usize::from);
    match reader.take(size, "application data") {
        Ok(data) => Opened {
            data: data.to_vec(),
            padding: reader.remaining(),
            fault: None,
        },
        Err(error) => Opened {
            data: plain.clone(),
            padding: 0,
            fault: Some(error.to_string()),
        },
    }
}

/// The cryptography of whatever is computed here.
#[cfg(feature = "post-quantum")]
pub const CRYPTOGRAPHY: tdisp::crypto::PostQuantum<tdisp::crypto::Ring> =
    tdisp::crypto::PostQuantum(tdisp::crypto::Ring);

/// The cryptography of whatever is computed here.
#[cfg(not(feature = "post-quantum"))]
pub const CRYPTOGRAPHY: tdisp::crypto::Ring = tdisp::crypto::Ring;

/// The same, for who borrows it.
pub fn provider() -> &'static dyn Provider {
    &CRYPTOGRAPHY
}

#[cfg(test)]
mod tests {
    use super::*;
    use tdisp::{crypto::HashAlg, spdm::msg::Version};

    fn rules(encrypted: bool) -> Rules<'static> {
        Rules {
            schedule: Schedule {
                provider: provider(),
                hash: HashAlg::Sha384,
                version: Version::V1_1,
            },
            aead: AeadAlg::Aes256Gcm,
            encrypted,
        }
    }

    fn sealed(order: Order, sequence: u64, encrypted: bool) -> Record {
        let (half, rules) = (Half::new(Secret::new(vec![7; 48])), rules(encrypted));
        let key = rules.schedule.key(&half.secret, rules.aead);
        let aead = provider().aead(rules.aead, key.expose()).unwrap();
        let nonce = order.nonce(rules.schedule.iv(&half.secret).expose(), sequence);
        let (plain, mut data) = match encrypted {
            true => (vec![], b"\x02\0hi\0\0".to_vec()),
            false => (b"hi".to_vec(), vec![]),
        };
        let size = plain.len() + data.len() + TAG_SIZE;
        let header = [&9u32.to_le_bytes()[..], &(size as u16).to_le_bytes()].concat();
        let tag = aead
            .seal(nonce, &[&header[..], &plain].concat(), &mut data)
            .unwrap();
        Record::read(&[header, plain, data, tag.to_vec()].concat(), Carrier::Doe).unwrap()
    }

    #[test]
    fn the_byte_order_is_found_at_the_second_record_and_kept() {
        for wanted in Order::ALL {
            let (mut half, mut order) = (Half::new(Secret::new(vec![7; 48])), None);
            for sequence in 0..3 {
                let opened = half
                    .open(&rules(true), &mut order, &sealed(wanted, sequence, true))
                    .unwrap();
                assert_eq!((&opened.data[..], opened.padding), (&b"hi"[..], 2));
                assert_eq!(order.is_some(), sequence > 0);
            }
            assert_eq!(order, Some(wanted));
        }
    }

    #[test]
    fn records_that_are_not_encrypted_are_checked_too() {
        let mut record = sealed(Order::Little, 0, false);
        let mut half = Half::new(Secret::new(vec![7; 48]));
        let opened = half.clone().open(&rules(false), &mut None, &record).unwrap();
        assert_eq!(opened.data, b"hi");
        record.sealed[0] ^= 1;
        assert_eq!(half.open(&rules(false), &mut None, &record), None);
        assert_eq!(half.sequence, 0);
    }

    #[test]
    fn a_record_is_cut_off_or_followed_by_more_only_with_a_word() {
        let whole = [&[1, 0, 2, 0, 18, 0][..], &[0; 18]].concat();
        assert!(Record::read(&whole, Carrier::Doe).is_ok());
        for end in 0..whole.len() {
            assert!(Record::read(&whole[..end], Carrier::Doe).is_err());
        }
        let more = [&whole[..], &[0, 1]].concat();
        assert!(Record::read(&more, Carrier::Doe).is_err());
        let mctp = [&whole[..4], &[3, 0], &whole[4..]].concat();
        assert_eq!(Record::read(&mctp, Carrier::Mctp).unwrap().sequence, Some(3));
    }
}
