//! A session as both ends see it: first the handshake's keys, then the application's.
//!
//! ```text
//!             Exchanged ──────────► Handshake ───────────────────────► Session
//! shared secret, TH1 known          FINISH and its proofs are added    TH2 known; KEY_UPDATE replaces halves
//! ```
//! A handshake becomes a session by being consumed, so that the application's keys exist only after the proofs. Secrets are
//! zeroized when the value that holds them goes.

use super::{
    connection::Connection,
    key_schedule::{Directions, Schedule},
    secured::{Half, Record, RecordError},
    transcript::Transcript,
};
use crate::crypto::{AeadAlg, CryptoError, Digest, HashAlg, Provider, Secret};
use alloc::{sync::Arc, vec::Vec};

/// Which end of the session this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Requester,
    Responder,
}

/// What keys are derived with.
#[derive(Clone)]
struct Derivation {
    provider: Arc<dyn Provider>,
    hash: HashAlg,
    aead: AeadAlg,
    version: super::msg::Version,
    role: Role,
}

impl Derivation {
    fn schedule(&self) -> Schedule<'_> {
        Schedule {
            provider: &*self.provider,
            hash: self.hash,
            version: self.version,
        }
    }

    fn records(&self, id: u32, directions: Directions) -> Result<Records, CryptoError> {
        let half = |secret| Half::new(&self.schedule(), self.aead, secret);
        let (request, response) = (half(directions.request)?, half(directions.response)?);
        let (sending, receiving) = match self.role {
            Role::Requester => (request, response),
            Role::Responder => (response, request),
        };
        Ok(Records {
            id,
            sending,
            receiving,
        })
    }
}

/// The two directions of one session.
#[derive(Debug)]
struct Records {
    id: u32,
    sending: Half,
    receiving: Half,
}

impl Records {
    fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>, RecordError> {
        self.sending.seal(self.id, message)
    }

    fn open(&mut self, record: &Record<'_>) -> Result<Vec<u8>, RecordError> {
        self.receiving.open(record)
    }
}

/// A session between KEY_EXCHANGE_RSP and FINISH_RSP.
pub(super) struct Handshake {
    derivation: Derivation,
    handshake_secret: Secret,
    directions: Directions,
    th1: Digest,
    th: Transcript,
    records: Records,
}

impl Handshake {
    /// From the shared secret and the transcript through the responder's signature.
    pub(super) fn new(
        connection: &Connection,
        role: Role,
        id: u32,
        shared: &Secret,
        th: Transcript,
    ) -> Result<Self, CryptoError> {
        let aead = connection.negotiated.algorithms.aead;
        let derivation = Derivation {
            provider: connection.provider.clone(),
            hash: connection.negotiated.algorithms.hash,
            aead: aead.ok_or(CryptoError::Unsupported("a session without a negotiated cipher"))?,
            version: connection.negotiated.version,
            role,
        };
        let th1 = th.digest();
        let handshake_secret = derivation.schedule().handshake_secret(shared);
        let directions = derivation.schedule().handshake(&handshake_secret, &th1);
        let records = derivation.records(id, directions.clone())?;
        Ok(Self {
            derivation,
            handshake_secret,
            directions,
            th1,
            th,
            records,
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.records.id
    }

    /// The responder's proof in KEY_EXCHANGE_RSP: over TH1.
    pub(super) fn exchange_proof(&self) -> Secret {
        let schedule = self.derivation.schedule();
        schedule.verify_data(&self.directions.response, &self.th1)
    }

    /// The requester's proof in FINISH: over the transcript through FINISH's header.
    pub(super) fn finish_proof(&self) -> Secret {
        let schedule = self.derivation.schedule();
        schedule.verify_data(&self.directions.request, &self.th.digest())
    }

    /// The responder's proof in a FINISH_RSP in clear: over the transcript through its header.
    pub(super) fn finish_response_proof(&self) -> Secret {
        let schedule = self.derivation.schedule();
        schedule.verify_data(&self.directions.response, &self.th.digest())
    }

    /// Adds to the transcript.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.th.add(bytes);
    }

    pub(super) fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>, RecordError> {
        self.records.seal(message)
    }

    pub(super) fn open(&mut self, record: &Record<'_>) -> Result<Vec<u8>, RecordError> {
        self.records.open(record)
    }

    /// Goes over to the application's keys; the transcript is whole.
    pub(super) fn finished(self) -> Result<Session, CryptoError> {
        let schedule = self.derivation.schedule();
        let master = schedule.master_secret(&self.handshake_secret);
        let directions = schedule.application(&master, &self.th.digest());
        let records = self.derivation.records(self.records.id, directions)?;
        Ok(Session {
            derivation: self.derivation,
            records,
            receiving_next: None,
        })
    }
}

impl core::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Handshake({:#010x})", self.records.id)
    }
}

/// A session after its handshake.
pub(super) struct Session {
    derivation: Derivation,
    records: Records,
    /// The requester has asked for new keys both ways: the acknowledgement comes under this one, a refusal under the old.
    receiving_next: Option<Half>,
}

impl Session {
    pub(super) fn id(&self) -> u32 {
        self.records.id
    }

    pub(super) fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>, RecordError> {
        self.records.seal(message)
    }

    pub(super) fn open(&mut self, record: &Record<'_>) -> Result<Vec<u8>, RecordError> {
        if let Some(mut next) = self.receiving_next.take()
            && let Ok(message) = next.open(record)
        {
            self.records.receiving = next;
            return Ok(message);
        }
        self.records.open(record)
    }

    /// New keys for what this end sends, from its next record on.
    pub(super) fn update_sending(&mut self) -> Result<(), CryptoError> {
        self.records.sending = self.updated(&self.records.sending)?;
        Ok(())
    }

    /// New keys for what this end receives, from the next record on.
    pub(super) fn update_receiving(&mut self) -> Result<(), CryptoError> {
        self.records.receiving = self.updated(&self.records.receiving)?;
        Ok(())
    }

    /// New keys for what this end receives, once a record opens with them.
    pub(super) fn await_new_receiving(&mut self) -> Result<(), CryptoError> {
        self.receiving_next = Some(self.updated(&self.records.receiving)?);
        Ok(())
    }

    fn updated(&self, half: &Half) -> Result<Half, CryptoError> {
        half.updated(&self.derivation.schedule(), self.derivation.aead)
    }
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Session({:#010x})", self.records.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::Ring,
        spdm::{
            algorithms::{Chosen, Offer},
            connection::Negotiated,
            msg::{Version, capabilities::Flags},
        },
    };
    use alloc::vec;
    use core::time::Duration;

    fn connection() -> Connection {
        let offer = Offer::default();
        let algorithms = Chosen {
            sign: offer.sign.first().copied(),
            hash: offer.hash[0],
            exchange: offer.exchange.first().copied(),
            aead: offer.aead.first().copied(),
            requester_sign: None,
            measurement_hash: None,
            other_params: 2,
            mel_specification: 0,
        };
        Connection {
            provider: Arc::new(Ring),
            negotiated: Negotiated {
                version: Version::V1_2,
                algorithms,
                peer_flags: Flags(0),
                peer_transfer_size: 0x1000,
            },
            context: algorithms.context(Version::V1_2, false),
            vca: vec![1, 2, 3],
            peer_crypto_time: Duration::ZERO,
        }
    }

    fn both() -> (Session, Session) {
        let connection = connection();
        let end = |role| {
            let th = connection.transcript_from_vca();
            let shared = Secret::new(vec![9; 48]);
            let handshake = Handshake::new(&connection, role, 5, &shared, th).unwrap();
            handshake.finished().unwrap()
        };
        (end(Role::Requester), end(Role::Responder))
    }

    fn carry(from: &mut Session, to: &mut Session, message: &[u8]) -> Result<Vec<u8>, RecordError> {
        let record = from.seal(message).unwrap();
        to.open(&Record::decode(&record).unwrap())
    }

    #[test]
    fn an_answer_under_the_new_key_makes_it_count_and_no_old_one_opens_after() {
        let (mut requester, mut responder) = both();
        requester.await_new_receiving().unwrap();
        let mut old = Records {
            id: 5,
            sending: responder.updated(&responder.records.sending).unwrap(),
            receiving: responder.updated(&responder.records.receiving).unwrap(),
        };
        core::mem::swap(&mut responder.records, &mut old);
        assert_eq!(carry(&mut responder, &mut requester, b"ack").unwrap(), b"ack");
        assert_eq!(carry(&mut responder, &mut requester, b"more").unwrap(), b"more");
        core::mem::swap(&mut responder.records, &mut old);
        assert!(carry(&mut responder, &mut requester, b"old").is_err());
    }

    #[test]
    fn a_refusal_of_new_keys_comes_under_the_old_one_and_leaves_it() {
        let (mut requester, mut responder) = both();
        requester.await_new_receiving().unwrap();
        assert_eq!(carry(&mut responder, &mut requester, b"no").unwrap(), b"no");
        assert_eq!(carry(&mut responder, &mut requester, b"on").unwrap(), b"on");
        assert_eq!(carry(&mut requester, &mut responder, b"so").unwrap(), b"so");
    }

    #[test]
    fn each_end_reads_what_the_other_wrote_and_not_what_it_wrote_itself() {
        let (mut requester, mut responder) = both();
        assert_eq!(carry(&mut requester, &mut responder, b"to").unwrap(), b"to");
        assert_eq!(carry(&mut responder, &mut requester, b"fro").unwrap(), b"fro");
        let record = requester.seal(b"mirror").unwrap();
        assert!(requester.open(&Record::decode(&record).unwrap()).is_err());
    }
}
