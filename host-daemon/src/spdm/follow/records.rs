//! Records of a session: opened, compared with what the secrets say, and then messages like others.

use tdisp::crypto::AeadAlg;

use super::{
    At, Direction, Entry, Follow,
    session::{REQUEST, RESPONSE, Session, schedule},
};
use crate::spdm::{
    check::{Check, Kind},
    frame::{Carrier, Unit},
    record::{Half, Opened, Order, Record, Rules},
    secrets::Secrets,
};

impl Follow<'_> {
    pub(super) fn record(&mut self, unit: &Unit, entry: &mut Entry) {
        entry.title = "secured message".into();
        let record = match Record::read(&unit.body, unit.carrier) {
            Ok(record) => record,
            Err(error) => {
                let check = Check::disagrees(Kind::Record, "its format", error.to_string(), "a whole record");
                return entry.checks.push(check);
            }
        };
        entry.session = Some(record.session);
        let at = At::Session(record.session);
        let encrypted = self.connection.known.encrypts();
        let aead = self.connection.known.aead_alg();
        let Some(session) = self.sessions.get_mut(&record.session) else {
            return self.of_no_session(&record, entry);
        };
        let opened = match session.open(&record, aead, encrypted, entry) {
            Some(opened) => opened,
            None => {
                entry.notes.push(format!("sealed, {} bytes", record.size()));
                return;
            }
        };
        entry.bytes.clone_from(&opened.data);
        session.compare(self.secrets, &opened.data, unit.carrier, entry);
        if let Some(fault) = opened.fault {
            entry.checks.push(Check::disagrees(
                Kind::Record,
                "application data",
                fault,
                "at most what was encrypted",
            ));
        }
        if opened.padding > 0 {
            entry
                .notes
                .push(format!("{} bytes of random padding", opened.padding));
        }
        let message = match (unit.carrier, &opened.data[..]) {
            (Carrier::Doe, data) => data,
            (Carrier::Mctp, [5, data @ ..]) => data,
            (Carrier::Mctp, data) => {
                let kind = data.first().copied().unwrap_or(0);
                entry.title = format!("MCTP message of type {kind}, secured");
                return;
            }
        };
        // Other protocols are let through sessions, too; nothing that begins otherwise is SPDM 1.x.
        match message.first() {
            Some(version) if version >> 4 == 1 => self.message(at, message, false, entry),
            _ => entry.title = "not SPDM, secured".into(),
        }
    }

    /// A record of a session that is not open. Where the capture has the connection from its beginning on, there is none
    /// that could have been missed.
    fn of_no_session(&self, record: &Record, entry: &mut Entry) {
        let why = format!("session {:#010x} was not seen to begin", record.session);
        entry
            .notes
            .push(format!("sealed, {} bytes: {why}", record.size()));
        entry.checks.push(match self.connection.is_negotiated() {
            false => Check::not_checked(Kind::Record, "AEAD", why),
            true => {
                let open: Vec<_> = self.sessions.keys().map(|id| format!("{id:#010x}")).collect();
                let wanted = match open.is_empty() {
                    true => "no record: no session is open".into(),
                    false => format!("one that is open: {}", open.join(", ")),
                };
                Check::disagrees(
                    Kind::Record,
                    "its session",
                    format!("{:#010x}", record.session),
                    wanted,
                )
            }
        });
    }
}

impl Session {
    /// Opens a record, trying first the direction that is due.
    pub(super) fn open(
        &mut self,
        record: &Record,
        aead: Result<AeadAlg, String>,
        encrypted: bool,
        entry: &mut Entry,
    ) -> Option<Opened> {
        self.opened += 1;
        let schedule = schedule(&self.known);
        let not = |why: String| Check::not_checked(Kind::Record, "AEAD", why);
        let rules = match (schedule, aead) {
            (Some(schedule), Ok(aead)) => Rules {
                schedule,
                aead,
                encrypted,
            },
            (_, aead) => {
                let name = aead.err().or(self.known.hash_alg().err()).unwrap_or_default();
                let why = format!("{name} is not offered by the cryptographic provider");
                entry.checks.push(not(why));
                return None;
            }
        };
        let due = if entry.direction == Direction::Request {
            REQUEST
        } else {
            RESPONSE
        };
        self.begin_unseen(&rules, record, due);
        let half_known = self.halves.iter().any(Option::is_none);
        for side in [due, 1 - due] {
            let Some(half) = &mut self.halves[side] else {
                continue;
            };
            // What is said in a direction whose key is not known may have been a KEY_UPDATE.
            half.update_due |= half_known;
            let (sequence, was_due, order) = (half.sequence, half.update_due, self.order);
            let Some(opened) = half.open(&rules, &mut self.order, record) else {
                continue;
            };
            entry.direction = [Direction::Request, Direction::Response][side];
            let updated = was_due && !half.update_due;
            said_of(record, entry, updated, if updated { 0 } else { sequence });
            if let (None, Some(order)) = (order, self.order)
                && order != Order::Little
            {
                let note = format!("the sequence number is {} in the nonce", order.name());
                entry.notes.push(note);
            }
            self.last = (entry.number, entry.title.clone());
            return Some(opened);
        }
        entry.checks.push(match &mut self.halves[due] {
            Some(half) => {
                half.sequence += 1;
                let wanted = format!(
                    "record {} of its direction in session {:#010x}",
                    half.sequence - 1,
                    self.id
                );
                Check::disagrees(Kind::Record, "AEAD", "a record that does not open", wanted)
            }
            None => not(format!(
                "no secrets of session {:#010x} of message {}",
                self.id, self.number
            )),
        });
        None
    }

    /// Goes over to the application's keys with the first record that they open, if the handshake cannot be followed.
    fn begin_unseen(&mut self, rules: &Rules<'_>, record: &Record, due: usize) {
        let blind = self.in_handshake && self.halves.iter().all(Option::is_none);
        let opens = |half: &Option<Half>| {
            let mut half = half.clone()?;
            half.open(rules, &mut None, record)
        };
        if blind
            && [due, 1 - due]
                .iter()
                .any(|side| opens(&self.waiting[*side]).is_some())
        {
            self.halves = std::mem::take(&mut self.waiting);
            self.in_handshake = false;
        }
    }

    /// Compares what a record held with what the secrets say.
    pub(super) fn compare(
        &self,
        secrets: Option<&Secrets>,
        data: &[u8],
        carrier: Carrier,
        entry: &mut Entry,
    ) {
        let Some(list) = self.set(secrets).and_then(|set| set.secured.as_ref()) else {
            return;
        };
        let Some(wanted) = list.get(self.opened - 1) else {
            return entry.checks.push(Check::disagrees(
                Kind::Message,
                "secured of the secrets",
                format!("record {} of session {:#010x}", self.opened, self.id),
                format!("{} records", list.len()),
            ));
        };
        // MCTP's type byte may have been left out.
        let typed = carrier == Carrier::Mctp
            && data
                .get(1..)
                .is_some_and(|rest| super::same_but_padding(rest, wanted));
        let check = match typed || super::same_but_padding(data, wanted) {
            true => Check::agrees(Kind::Message, "secured of the secrets", ""),
            false => Check::disagrees(
                Kind::Message,
                "secured of the secrets",
                super::differs(data, wanted),
                super::differs(wanted, data),
            ),
        };
        entry.checks.push(check);
    }
}

/// The checks of a record that has opened.
fn said_of(record: &Record, entry: &mut Entry, updated: bool, number: u64) {
    if updated {
        let how = "KEY_UPDATE: it opens its first record";
        entry.checks.push(Check::agrees(Kind::Key, "updated key", how));
    }
    let check = Check::agrees(Kind::Record, "AEAD", format!("number {number}"));
    entry.checks.push(check);
    let wanted = number & 0xffff;
    if let Some(said) = record.sequence.filter(|said| u64::from(*said) != wanted) {
        let (found, wanted) = (said.to_string(), wanted.to_string());
        let check = Check::disagrees(Kind::Record, "sequence number", found, wanted);
        entry.checks.push(check);
    }
}
