//! Sessions: the key exchange and its end, the keys, and the records under them (DSP0274 §12, DSP0277).

use tdisp::{
    crypto::{Digest, Secret},
    spdm::{
        key_schedule::{Directions, Schedule},
        msg::Code,
        secured,
        signing::Context,
    },
};

use super::{At, Entry, Follow, Said, assign, digest, identity::Signed, lane::Lane};
use crate::spdm::{
    check::{Check, Kind},
    field::Fields,
    known::Known,
    record::{Half, Order, provider},
    secrets::{Secrets, Set},
};

/// A session from its key exchange on.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u32,
    /// The message that opened it.
    pub(super) number: usize,
    /// Which of the secrets are its.
    set: Option<usize>,
    pub(super) lane: Lane,
    pub(super) known: Known,
    /// TH so far.
    th: Vec<u8>,
    /// TH as it was when FINISH came first: one that is put off, and said again, is in it once.
    th_before_finish: Option<Vec<u8>>,
    /// Why TH cannot be rebuilt, if it cannot: the secrets' hashes of it are taken then.
    blind: Option<String>,
    keys: Keys,
    /// The records' keys, as far as they are known.
    pub(super) halves: [Option<Half>; 2],
    pub(super) order: Option<Order>,
    /// The application's keys, as the secrets have them, until the handshake is over.
    pub(super) waiting: [Option<Half>; 2],
    /// Whether FINISH or PSK_FINISH is still to come.
    pub(super) in_handshake: bool,
    /// How many records were opened, and how many could not be.
    pub(super) opened: usize,
    pub(super) last: (usize, String),
}

/// As much of the key schedule as the secrets give.
#[derive(Debug, Default)]
struct Keys {
    handshake_secret: Option<Secret>,
    handshake: [Option<Secret>; 2],
    master: Option<Secret>,
}

pub(super) const REQUEST: usize = 0;
pub(super) const RESPONSE: usize = 1;

/// The key schedule of a connection, if its hash can be computed.
pub(super) fn schedule(known: &Known) -> Option<Schedule<'static>> {
    Some(Schedule {
        provider: provider(),
        hash: known.hash_alg().ok()?,
        version: known.version,
    })
}

/// The handshake secret: what the secrets have, or what follows from the shared secret.
pub(super) fn handshake_secret(schedule: &Schedule<'_>, set: &Set, psk: bool) -> Option<Secret> {
    let shared = if psk { ["psk", "dhe"] } else { ["dhe", "psk"] };
    match shared.iter().find_map(|key| set.get(key)) {
        Some(shared) if psk => Some(schedule.handshake_secret_from_psk(shared)),
        Some(shared) => Some(schedule.handshake_secret(shared)),
        None => set.get("handshake_secret").cloned(),
    }
}

/// Compares what was derived with what the secrets say, where they say it; answers the secrets' own value then.
fn compared(set: &Set, name: &str, derived: Option<Secret>, entry: &mut Entry) -> Option<Secret> {
    match (derived, set.get(name)) {
        (Some(derived), Some(told)) => {
            let check = Check::equal(
                Kind::Key,
                format!("{name} of the secrets"),
                told.expose(),
                derived.expose(),
            );
            entry.checks.push(check);
            Some(told.clone())
        }
        (derived, told) => derived.or_else(|| told.cloned()),
    }
}

impl Follow<'_> {
    /// KEY_EXCHANGE_RSP or PSK_EXCHANGE_RSP: a session begins.
    pub(super) fn exchanged(&mut self, request: &Said, response: &Said, entry: &mut Entry) {
        let known = self.connection.known.clone();
        let half = |said: &Said, name: &str| said.message.fields.int(name).unwrap_or(0) as u16;
        let id = secured::session_id(half(request, "ReqSessionID"), half(response, "RspSessionID"));
        entry.notes.push(format!("session {id:#010x}"));
        let psk = request.code() == Code::PSK_EXCHANGE;
        let th = match psk {
            true => {
                let unsigned = response.until("ResponderVerifyData");
                [&self.connection.vca()[..], &request.bytes, unsigned].concat()
            }
            false => self.exchange_signed(request, response, &known, entry),
        };
        let slot = request.message.param2();
        let blind = match self.connection.is_negotiated() {
            false => Some("the capture began after the negotiation".into()),
            true if psk || self.chain(slot, false).is_some() => None,
            true => Some(not_shown(slot)),
        };
        let set = self.plan.get(&response.number).copied();
        let told = set.and_then(|set| self.secrets?.sets.get(set)?.session);
        entry.checks.extend(told.map(|told| check_id(told, id)));
        let mut session = Session {
            id,
            number: response.number,
            set,
            lane: Lane::default(),
            order: None,
            th,
            th_before_finish: None,
            blind,
            keys: Keys::default(),
            halves: [None, None],
            waiting: [None, None],
            in_handshake: true,
            opened: 0,
            last: (entry.number, entry.title.clone()),
            known: known.clone(),
        };
        let verify = response.part("ResponderVerifyData");
        self.exchanges.push(assign::Exchange {
            number: response.number,
            connection: self.connection.number,
            id,
            psk,
            known: known.clone(),
            request: request.bytes.clone(),
            response: response.bytes.clone(),
            unsigned: response
                .until(if psk { "ResponderVerifyData" } else { "Signature" })
                .len(),
            th1: session.th_digest(),
            verify: verify.map(<[u8]>::to_vec),
        });
        session.handshake(self.secrets, psk, verify, [request, response], entry);
        session.th.extend_from_slice(verify.unwrap_or_default());
        if psk && known.psk_without_finish() {
            session.apply(self.secrets, entry);
        }
        if let Some(mut old) = self.sessions.insert(id, session)
            && let Some(secrets) = self.secrets
        {
            old.last = (entry.number, entry.title.clone());
            entry.checks.extend(old.unfinished(secrets));
        }
    }

    /// Checks the signature in KEY_EXCHANGE_RSP; answers TH through it.
    fn exchange_signed(&self, request: &Said, response: &Said, known: &Known, entry: &mut Entry) -> Vec<u8> {
        let slot = request.message.param2();
        let chain = self.chain(slot, false);
        let hash = chain.as_ref().and_then(|chain| digest(known, chain).ok());
        let hash = hash.as_ref().map(|hash| hash.as_ref()).unwrap_or_default();
        let tail = [hash, &request.bytes, response.until("Signature")].concat();
        let a = self.connection.vca();
        let with = |d: &[u8]| [&a[..], d, &tail].concat();
        let mut transcripts = Vec::new();
        let digests = self.connection.shown.digests.as_ref();
        if let (true, Some([first, last])) = (known.multi_key, digests) {
            transcripts.push((String::new(), with(first)));
            transcripts.push(("the last DIGESTS".into(), with(last)));
            transcripts.push(("without DIGESTS".into(), with(&[])));
        } else {
            transcripts.push((String::new(), with(&[])));
            transcripts.extend(digests.map(|[first, _]| ("with DIGESTS".into(), with(first))));
        }
        let signature = response.part("Signature").unwrap_or_default();
        let mut all: Vec<_> = transcripts.iter().map(|(_, bytes)| bytes.clone()).collect();
        let signed = Signed {
            what: "KEY_EXCHANGE_RSP over TH",
            context: Context::KeyExchangeRsp,
            transcripts,
            signature,
            slot,
            chain,
        };
        let index = self.sign(signed, known, entry).unwrap_or(0);
        let mut th = all.swap_remove(index);
        th.extend_from_slice(signature);
        th
    }

    /// Which session a FINISH is of: its own, or in clear the last that waits for one.
    fn finishing(&mut self, at: At) -> Option<&mut Session> {
        match at {
            At::Session(id) => self.sessions.get_mut(&id),
            At::Clear => {
                let waiting = self.sessions.values_mut().filter(|session| session.in_handshake);
                waiting.max_by_key(|session| session.number)
            }
        }
    }

    pub(super) fn finish_request(&mut self, at: At, request: &Said, entry: &mut Entry) {
        let signed = request.code() == Code::FINISH && request.message.param1() & 1 == 1;
        let mutual = signed.then(|| self.mutual(request));
        let negotiated = self.connection.is_negotiated();
        let Some(session) = self.finishing(at) else {
            return entry.notes.push("no session waits for it".into());
        };
        entry.session = Some(session.id);
        session
            .th
            .clone_from(session.th_before_finish.get_or_insert_with(|| session.th.clone()));
        if let Some(mutual) = mutual {
            session.finish_signed(request, mutual, negotiated, entry);
        } else {
            session.th.extend_from_slice(request.until("RequesterVerifyData"));
        }
        let verify = request.part("RequesterVerifyData").unwrap_or_default();
        session.verify(REQUEST, verify, entry);
        session.th.extend_from_slice(verify);
    }

    pub(super) fn finish_response(&mut self, at: At, response: &Said, entry: &mut Entry) {
        let secrets = self.secrets;
        let Some(session) = self.finishing(at) else { return };
        entry.session = Some(session.id);
        session
            .th
            .extend_from_slice(response.until("ResponderVerifyData"));
        if let Some(verify) = response.part("ResponderVerifyData") {
            session.verify(RESPONSE, verify, entry);
            session.th.extend_from_slice(verify);
        }
        session.apply(secrets, entry);
    }

    /// What a requester's signature in FINISH may have of his in TH, and the chain that it is checked with.
    fn mutual(&self, request: &Said) -> Mutual {
        let slot = request.message.param2() & 0xf;
        let known = &self.connection.known;
        let shown = &self.connection.requester;
        let chain = self
            .chain(slot, true)
            .or_else(|| shown.chains.values().next_back().cloned());
        let hash = chain.as_ref().and_then(|chain| digest(known, chain).ok());
        let hash = hash
            .as_ref()
            .map(|hash| hash.as_ref().to_vec())
            .unwrap_or_default();
        let mut before = Vec::new();
        if let (true, Some([first, last])) = (known.requester_multi_key, &shown.digests) {
            before.push((String::new(), [&last[..], &hash].concat()));
            before.push((
                "the first encapsulated DIGESTS".into(),
                [&first[..], &hash].concat(),
            ));
            before.push(("without encapsulated DIGESTS".into(), hash));
        } else {
            before.push((String::new(), hash.clone()));
            let with = shown
                .digests
                .as_ref()
                .map(|[_, last]| [&last[..], &hash].concat());
            before.extend(with.map(|with| ("with encapsulated DIGESTS".into(), with)));
        }
        Mutual { slot, chain, before }
    }

    pub(super) fn key_update(&mut self, at: At, request: &Said) {
        if let At::Session(id) = at
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.update(request.message.param1(), false);
        }
    }

    pub(super) fn ended(&mut self, at: At, entry: &mut Entry) {
        if let At::Session(id) = at
            && let Some(session) = self.sessions.remove(&id)
            && let Some(secrets) = self.secrets
        {
            entry.checks.extend(session.unfinished(secrets));
        }
    }

    /// The key exchanges that were seen.
    pub(super) fn into_exchanges(self) -> Vec<assign::Exchange> {
        self.exchanges
    }
}

/// Why a transcript cannot be rebuilt that has the digest of a chain, or of a key, that was not shown.
pub(super) fn not_shown(slot: u8) -> String {
    match slot {
        0xf | 0xff => "the key was provisioned and is not in the recording".into(),
        slot => format!("the chain in slot {slot} is not in the recording"),
    }
}

struct Mutual {
    slot: u8,
    chain: Option<Vec<u8>>,
    before: Vec<(String, Vec<u8>)>,
}

impl Session {
    pub(super) fn set<'s>(&self, secrets: Option<&'s Secrets>) -> Option<&'s Set> {
        secrets?.sets.get(self.set?)
    }

    /// The hash of TH so far, if it can be rebuilt and computed.
    fn th_digest(&self) -> Option<Digest> {
        let seen = self.blind.is_none();
        seen.then(|| digest(&self.known, &self.th).ok()).flatten()
    }

    /// The same, compared with what the secrets have; if it cannot be rebuilt, what they have.
    fn th_of(&self, set: &Set, name: &str, entry: &mut Entry) -> Option<Digest> {
        let told = set.bytes(name);
        if let Some(why) = &self.blind {
            let check = Check::not_checked(Kind::Transcript, name, why);
            entry.checks.push(check);
            return Digest::new(told?);
        }
        let digest = self.th_digest()?;
        if let Some(told) = told {
            let what = format!("{name} of the secrets");
            entry
                .checks
                .push(Check::equal(Kind::Transcript, what, told, digest.as_ref()));
        }
        Some(digest)
    }

    /// TH1 is complete: compares what the secrets have of it and takes the handshake's keys.
    fn handshake(
        &mut self,
        secrets: Option<&Secrets>,
        psk: bool,
        verify: Option<&[u8]>,
        exchange: [&Said; 2],
        entry: &mut Entry,
    ) {
        let Some(set) = self.set(secrets) else {
            if let Some(verify) = verify {
                self.verify(RESPONSE, verify, entry);
            }
            return;
        };
        if let Some(k) = set.bytes("K") {
            entry.checks.push(check_k(k, exchange, psk));
        }
        let Some(schedule) = schedule(&self.known) else {
            let why = self.known.hash_alg().err().unwrap_or_default();
            let why = format!("{why} is not offered by the cryptographic provider");
            return entry.checks.push(Check::not_checked(Kind::Key, "handshake", why));
        };
        let th1 = self.th_of(set, "th1", entry);
        let derived = handshake_secret(&schedule, set, psk);
        self.keys.handshake_secret = compared(set, "handshake_secret", derived, entry);
        let secret = self.keys.handshake_secret.as_ref();
        let derived = secret
            .zip(th1)
            .map(|(secret, th1)| schedule.handshake(secret, &th1));
        let [request, response] = split(derived);
        self.keys.handshake = [
            compared(set, "req_hs", request, entry),
            compared(set, "rsp_hs", response, entry),
        ];
        if let Some(verify) = verify {
            self.verify(RESPONSE, verify, entry);
        }
        self.halves = self.keys.handshake.clone().map(|secret| secret.map(Half::new));
        // Without the handshake's keys its end is not seen: the application's wait for their first records.
        let told = |name| set.get(name).cloned().map(Half::new);
        self.waiting = [told("req_app"), told("rsp_app")];
    }

    /// Checks a proof that a side has the handshake's keys: the MAC of TH so far.
    fn verify(&self, side: usize, found: &[u8], entry: &mut Entry) {
        let what = ["RequesterVerifyData", "ResponderVerifyData"][side];
        if let Some(why) = &self.blind {
            return entry.checks.push(Check::not_checked(Kind::VerifyData, what, why));
        }
        let (Some(schedule), Some(th)) = (schedule(&self.known), self.th_digest()) else {
            return;
        };
        let check = match &self.keys.handshake[side] {
            Some(secret) => {
                let wanted = schedule.verify_data(secret, &th);
                Check::equal(Kind::VerifyData, what, found, wanted.expose())
            }
            None => Check::not_checked(
                Kind::VerifyData,
                what,
                format!(
                    "no secrets of session {:#010x} of message {}",
                    self.id, self.number
                ),
            ),
        };
        entry.checks.push(check);
    }

    /// Checks the requester's signature; adds what is his, and the signature, to TH.
    fn finish_signed(&mut self, request: &Said, mutual: Mutual, negotiated: bool, entry: &mut Entry) {
        let head = request.until("Signature");
        let signature = request.part("Signature").unwrap_or_default();
        if mutual.chain.is_none() {
            self.blind = Some(not_shown(mutual.slot));
        }
        let th = std::mem::take(&mut self.th);
        let transcripts: Vec<_> = mutual
            .before
            .into_iter()
            .map(|(how, before)| (how, [&th[..], &before, head].concat()))
            .collect();
        let mut all: Vec<_> = transcripts.iter().map(|(_, bytes)| bytes.clone()).collect();
        let signed = Signed {
            what: "FINISH over TH",
            context: Context::Finish,
            transcripts,
            signature,
            slot: mutual.slot,
            chain: mutual.chain,
        };
        let index = if negotiated {
            signed.check(&self.known.encapsulated(), entry)
        } else {
            None
        };
        self.th = all.swap_remove(index.unwrap_or(0));
        self.th.extend_from_slice(signature);
    }

    /// TH2 is complete: the application's keys.
    fn apply(&mut self, secrets: Option<&Secrets>, entry: &mut Entry) {
        self.in_handshake = false;
        let Some(set) = self.set(secrets) else { return };
        let Some(schedule) = schedule(&self.known) else {
            return;
        };
        let th2 = self.th_of(set, "th2", entry);
        let derived = self
            .keys
            .handshake_secret
            .as_ref()
            .map(|secret| schedule.master_secret(secret));
        self.keys.master = compared(set, "master_secret", derived, entry);
        let keyed = self.keys.master.as_ref().zip(th2);
        let derived = keyed
            .as_ref()
            .map(|(master, th2)| schedule.application(master, th2));
        let [request, response] = split(derived);
        let request = compared(set, "req_app", request, entry);
        let response = compared(set, "rsp_app", response, entry);
        let exporter = keyed.map(|(master, th2)| schedule.exporter(master, &th2));
        compared(set, "exp_master", exporter, entry);
        self.halves = [request, response].map(|secret| secret.map(Half::new));
    }

    /// A KEY_UPDATE was seen: 1 is the sender's own direction, 2 both.
    pub(super) fn update(&mut self, operation: u8, by_responder: bool) {
        let own = if by_responder { RESPONSE } else { REQUEST };
        for (side, half) in self.halves.iter_mut().enumerate() {
            let Some(half) = half else { continue };
            half.update_due |= operation == 2 || operation == 1 && side == own;
        }
    }

    /// What the secrets have of a session beyond what was recorded.
    pub(super) fn unfinished(&self, secrets: &Secrets) -> Option<Check> {
        let list = self.set(Some(secrets))?.secured.as_ref()?;
        (self.halves.iter().any(Option::is_some) && list.len() > self.opened).then(|| {
            Check::disagrees(
                Kind::Message,
                "secured of the secrets",
                format!(
                    "{} records of session {:#010x} up to message {}",
                    self.opened, self.id, self.last.0
                ),
                format!("{} records", list.len()),
            )
        })
    }
}

fn split(directions: Option<Directions>) -> [Option<Secret>; 2] {
    match directions {
        Some(directions) => [Some(directions.request), Some(directions.response)],
        None => [None, None],
    }
}

/// session_id of the secrets, which other values may have assigned to a session of another ID.
fn check_id(told: u32, id: u32) -> Check {
    let what = "session_id of the secrets";
    match told == id {
        true => Check::agrees(Kind::Message, what, ""),
        false => Check::disagrees(
            Kind::Message,
            what,
            format!("{told:#010x}"),
            format!("{id:#010x}"),
        ),
    }
}

/// K of the secrets: the exchange up to the signature, or with more of the response; with or without padding.
fn check_k(k: &[u8], exchange: [&Said; 2], psk: bool) -> Check {
    match assign::matches_k(
        k,
        exchange.map(|said| &said.bytes[..]),
        exchange[1]
            .until(if psk { "ResponderVerifyData" } else { "Signature" })
            .len(),
    ) {
        true => Check::agrees(Kind::Transcript, "K of the secrets", ""),
        false => {
            let found = exchange.map(|said| &said.bytes[..]).concat();
            Check::disagrees(
                Kind::Transcript,
                "K of the secrets",
                super::differs(&found, k),
                super::differs(k, &found),
            )
        }
    }
}
