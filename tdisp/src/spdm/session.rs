//! A session as both ends see it: first the handshake's keys, then the application's.
//!
//! ```text
//!             Exchanged ──────────► Handshake ───────────────────────► Session
//! shared secret, TH1 known          FINISH and its proofs are added    TH2 known; KEY_UPDATE replaces halves
//! pre-shared key, TH1 known         PSK_FINISH, where there is one
//! ```
//! A handshake becomes a session by being consumed, so that the application's keys exist only after the proofs. Secrets are
//! zeroized when the value that holds them goes.

use super::{
    connection::Connection,
    key_schedule::{Directions, Schedule},
    msg::version::Entry,
    secured::{Half, Order, Protection, Record, RecordError},
    transcript::Transcript,
};
use crate::crypto::{CryptoError, Digest, HashAlg, Provider, Secret};
use alloc::{sync::Arc, vec::Vec};

/// Which end of the session this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Requester,
    Responder,
}

/// What both ends have in common before the handshake. It also says which messages may end the handshake: FINISH the one
/// that began with KEY_EXCHANGE, PSK_FINISH the one that began with PSK_EXCHANGE, and never the other way round.
pub(super) enum Shared<'a> {
    /// What KEY_EXCHANGE and its response gave.
    Exchanged(&'a Secret),
    /// The key that PSK_EXCHANGE named.
    PreShared(&'a Secret),
}

/// The version of secured messages that 1.2 settled the byte order in.
const SETTLED: Entry = Entry(0x1200);

impl Connection {
    /// What protects a session of this connection in the version of secured messages chosen.
    pub(super) fn protection(&self, secured: Entry) -> Result<Protection, CryptoError> {
        let order = match secured.version() < SETTLED.version() {
            true => Order::Unsettled,
            false => Order::Little,
        };
        let aead = self.negotiated.algorithms.aead;
        let aead = aead.ok_or(CryptoError::Unsupported("a session without a negotiated cipher"))?;
        Ok(Protection {
            aead,
            transport: self.transport,
            encrypted: self.encrypts(),
            order,
            records_max: self.records_max,
        })
    }
}

/// What keys are derived with.
#[derive(Clone)]
struct Derivation {
    provider: Arc<dyn Provider>,
    hash: HashAlg,
    version: super::msg::Version,
    protection: Protection,
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

    fn handshake_secret(&self, shared: &Shared<'_>) -> Secret {
        match shared {
            Shared::Exchanged(shared) => self.schedule().handshake_secret(shared),
            Shared::PreShared(key) => self.schedule().handshake_secret_from_psk(key),
        }
    }

    fn records(&self, id: u32, directions: Directions) -> Result<Records, CryptoError> {
        let half = |secret| Half::new(&self.schedule(), self.protection, secret);
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
    fn seal(
        &mut self,
        provider: &dyn Provider,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        self.sending.seal(provider, self.id, message, out)
    }

    /// A peer counts in one order, both when it seals and when it opens.
    fn open<'a>(&mut self, record: Record<'a>) -> Result<&'a mut [u8], RecordError> {
        let message = self.receiving.open(record)?;
        self.sending.settle(self.receiving.order());
        Ok(message)
    }
}

/// A session between KEY_EXCHANGE_RSP and FINISH_RSP, or between PSK_EXCHANGE_RSP and PSK_FINISH_RSP.
pub(super) struct Handshake {
    derivation: Derivation,
    handshake_secret: Secret,
    directions: Directions,
    th1: Digest,
    th: Transcript,
    records: Records,
}

impl Handshake {
    /// From what both ends share and the transcript through the responder's signature, or on a pre-shared key through
    /// what precedes the responder's proof. `secured` is the version of secured messages.
    pub(super) fn new(
        connection: &Connection,
        role: Role,
        id: u32,
        (shared, secured): (Shared<'_>, Entry),
        th: Transcript,
    ) -> Result<Self, CryptoError> {
        let derivation = Derivation {
            provider: connection.provider.clone(),
            hash: connection.negotiated.algorithms.hash,
            version: connection.negotiated.version,
            protection: connection.protection(secured)?,
            role,
        };
        let th1 = th.digest();
        let handshake_secret = derivation.handshake_secret(&shared);
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

    /// The responder's proof in KEY_EXCHANGE_RSP or PSK_EXCHANGE_RSP: over TH1.
    pub(super) fn exchange_proof(&self) -> Secret {
        let schedule = self.derivation.schedule();
        schedule.verify_data(&self.directions.response, &self.th1)
    }

    /// The requester's proof in FINISH or PSK_FINISH: over the transcript up to it.
    pub(super) fn finish_proof(&self) -> Secret {
        let schedule = self.derivation.schedule();
        schedule.verify_data(&self.directions.request, &self.th.digest())
    }

    /// The responder's proof in a FINISH_RSP in clear: over the transcript through its header.
    pub(super) fn finish_response_proof(&self) -> Secret {
        let schedule = self.derivation.schedule();
        schedule.verify_data(&self.directions.response, &self.th.digest())
    }

    /// The transcript as it stands: what the requester signs in FINISH.
    pub(super) fn transcript(&self) -> &Transcript {
        &self.th
    }

    /// Adds to the transcript.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.th.add(bytes);
    }

    /// Appends `message` to `out` as a record.
    pub(super) fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        self.records.seal(&*self.derivation.provider, message, out)
    }

    pub(super) fn open<'a>(&mut self, record: Record<'a>) -> Result<&'a mut [u8], RecordError> {
        self.records.open(record)
    }

    /// Goes over to the application's keys; the transcript is whole.
    pub(super) fn finished(mut self) -> Result<Session, CryptoError> {
        // What the handshake's records have shown need not be found out again.
        self.derivation.protection.order = self.records.receiving.order();
        let schedule = self.derivation.schedule();
        let master = schedule.master_secret(&self.handshake_secret);
        let th2 = self.th.digest();
        let directions = schedule.application(&master, &th2);
        let exporter = schedule.exporter(&master, &th2);
        let records = self.derivation.records(self.records.id, directions)?;
        Ok(Session {
            derivation: self.derivation,
            records,
            receiving_next: None,
            under_old_key: false,
            exporter,
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
    /// The peer has been asked to use new keys, or has said that it will: what it sends next comes under this one, a refusal under
    /// the old.
    receiving_next: Option<Half>,
    /// A key was expected, and a record came that was not under it.
    under_old_key: bool,
    exporter: Secret,
}

impl Session {
    /// The export master secret: keys for what is not SPDM are derived from it.
    pub(super) fn exporter(&self) -> &Secret {
        &self.exporter
    }

    /// Whether the record that was to come under a new key did not.
    pub(super) fn came_under_old_key(&self) -> bool {
        self.under_old_key
    }

    /// How many records the keys of both directions may still protect: of the direction that has fewer.
    pub(super) fn records_left(&self) -> u64 {
        self.records.sending.left().min(self.records.receiving.left())
    }

    /// Appends `message` to `out` as a record.
    pub(super) fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        self.records.seal(&*self.derivation.provider, message, out)
    }

    pub(super) fn open<'a>(&mut self, record: Record<'a>) -> Result<&'a mut [u8], RecordError> {
        if let Some(next) = self.receiving_next.take() {
            // Whoever is busy says so under the old key, and may use the new one when asked again.
            self.receiving_next = self.records.receiving.change_if_sealed_by(next, &record);
            self.under_old_key = self.receiving_next.is_some();
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
        self.under_old_key = false;
        self.receiving_next = Some(self.updated(&self.records.receiving)?);
        Ok(())
    }

    fn updated(&self, half: &Half) -> Result<Half, CryptoError> {
        half.updated(&self.derivation.schedule())
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
            transport::Transport,
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
            transport: crate::spdm::transport::Transport::Doe,
            negotiated: Negotiated {
                version: Version::V1_2,
                algorithms,
                peer_flags: Flags::ENCRYPT | Flags::MAC,
                peer_transfer_size: 0x1000,
                peer_message_size: 0x1000,
            },
            own_flags: Flags::ENCRYPT | Flags::MAC,
            records_max: u64::MAX,
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
            let handshake = Handshake::new(&connection, role, 5, (Shared::Exchanged(&shared), SETTLED), th);
            let handshake = handshake.unwrap();
            handshake.finished().unwrap()
        };
        (end(Role::Requester), end(Role::Responder))
    }

    fn sealed(from: &mut Session, message: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        from.seal(message, &mut record).unwrap();
        record
    }

    fn carry(from: &mut Session, to: &mut Session, message: &[u8]) -> Result<Vec<u8>, RecordError> {
        let mut record = sealed(from, message);
        let record = Record::decode(Transport::Doe, &mut record).unwrap();
        to.open(record).map(|message| message.to_vec())
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
        let mut record = sealed(&mut requester, b"mirror");
        let record = Record::decode(Transport::Doe, &mut record).unwrap();
        assert!(requester.open(record).is_err());
    }
}
