//! Follows recorded conversations from message to message, and checks what can be checked on the way. No I/O.
//!
//! ```text
//! unit ─┬─ discovery
//!       ├─ clear ──────────────► lane ── request, response ─► connection: VCA, chains, B, C, L, KEY_EXCHANGE …
//!       └─ record ─ open ─ plain ► lane of the session ──────► session: TH, keys, records, L
//!                   │              └ chunks, encapsulated and deferred messages come out of the lane as their own
//!                   └ without keys: sealed, counted as not checked
//! ```
//! What is signed is rebuilt from the messages' own bytes, each to its true end. Where implementations differ in what
//! they count to a transcript, the standard's way is tried first; if another one verifies, the outcome says so.

mod assign;
mod chunks;
mod connection;
mod encap;
mod identity;
mod lane;
mod records;
mod session;

use std::collections::BTreeMap;

use tdisp::{
    crypto::Digest,
    spdm::msg::{self, Code},
};

use super::{
    certificate,
    check::{Check, Kind, Ledger},
    dissect::{self, Message},
    field::Field,
    frame::{self, Carrier, Unit},
    known::Known,
    record::provider,
    secrets::Secrets,
};
use connection::Connection;
use lane::{Lane, Large, Said, asks};
use session::Session;

pub use assign::assign;

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the requester.
    Request,
    /// From the responder.
    Response,
}

impl Direction {
    fn other(self) -> Self {
        match self {
            Self::Request => Self::Response,
            Self::Response => Self::Request,
        }
    }

    /// An arrow; requests go right.
    pub fn arrow(self) -> &'static str {
        match self {
            Self::Request => "->",
            Self::Response => "<-",
        }
    }
}

/// A message that came out of others: of chunks, or of a record.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is called, if it is a message.
    pub message: String,
    /// What it is and where it came from.
    pub title: String,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// All that is to be said of one unit.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Number of its first packet.
    pub number: usize,
    /// How many packets it took.
    pub packets: usize,
    /// Where in the file it begins.
    pub at: usize,
    /// When, in nanoseconds since the epoch.
    pub time_ns: u64,
    /// What carried it.
    pub carrier: Carrier,
    /// What the carrier's header says.
    pub header: String,
    /// Which way it went, as far as can be told.
    pub direction: Direction,
    /// The session that it is of.
    pub session: Option<u32>,
    /// What it is called.
    pub title: String,
    /// Its fields.
    pub fields: Vec<Field>,
    /// Its bytes; those of a record decrypted, where that could be done.
    pub bytes: Vec<u8>,
    /// Messages that were complete with it.
    pub parts: Vec<Part>,
    /// The responder's chain object, if it was complete with this message.
    pub chain: Option<Vec<u8>>,
    /// What a signature in it proves, if that verifies.
    pub proof: Option<Proof>,
    /// What was checked.
    pub checks: Vec<Check>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// A signature that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The slot whose key has signed.
    pub slot: u8,
    /// The messages whose measurements are signed with it.
    pub covers: Vec<usize>,
}

/// Where a message was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Clear,
    Session(u32),
}

/// See the module.
pub struct Follow<'s> {
    secrets: Option<&'s Secrets>,
    /// Which of the secrets are of which key exchange, by the number of its response.
    plan: BTreeMap<usize, usize>,
    /// Which of the secrets are of which connection.
    plan_connections: BTreeMap<usize, Vec<usize>>,
    connection: Connection,
    sessions: BTreeMap<u32, Session>,
    /// The key exchanges that were seen.
    exchanges: Vec<assign::Exchange>,
    /// How many messages in clear were compared with the secrets'.
    plain: usize,
    last: Option<Direction>,
    last_number: usize,
    report: Vec<u8>,
    chains: Vec<identity::ChainSeen>,
    /// What was checked.
    pub ledger: Ledger,
}

/// Instead of a connection's number.
const NO_CONNECTION: usize = usize::MAX;

impl std::fmt::Debug for Follow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Follow({} sessions open)", self.sessions.len())
    }
}

impl<'s> Follow<'s> {
    /// Begins, with whatever secrets there are; [`assign`] says which are whose.
    pub fn new(secrets: Option<&'s Secrets>, plan: &[assign::Assigned]) -> Self {
        let mut plan_connections: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for assigned in plan {
            // Without a session it is the first connection that is negotiated.
            let connection = assigned.number.map_or(NO_CONNECTION, |_| assigned.connection);
            plan_connections.entry(connection).or_default().push(assigned.set);
        }
        Self {
            secrets,
            plan: plan.iter().filter_map(|a| Some((a.number?, a.set))).collect(),
            plan_connections,
            connection: Connection::begin(None),
            sessions: BTreeMap::new(),
            exchanges: Vec::new(),
            plain: 0,
            last: None,
            last_number: 0,
            report: Vec::new(),
            chains: Vec::new(),
            ledger: Ledger::default(),
        }
    }

    /// What is known of the connection.
    pub fn known(&self) -> &Known {
        &self.connection.known
    }

    /// Takes the next unit.
    pub fn take(&mut self, unit: &Unit) -> Entry {
        let mut entry = Entry {
            number: unit.number,
            packets: unit.packets,
            at: unit.at,
            time_ns: unit.time_ns,
            carrier: unit.carrier,
            header: unit.header.clone(),
            direction: self.last.map_or(Direction::Request, Direction::other),
            session: None,
            title: String::new(),
            fields: Vec::new(),
            bytes: unit.body.clone(),
            parts: Vec::new(),
            chain: None,
            proof: None,
            checks: Vec::new(),
            notes: Vec::new(),
        };
        for fault in &unit.faults {
            let check = Check::disagrees(Kind::Message, "its carriage", &fault.found, &fault.wanted);
            entry.checks.push(check);
        }
        match unit.kind {
            frame::Kind::Discovery => discovery(unit, &mut entry),
            frame::Kind::Spdm => self.clear(unit, &mut entry),
            frame::Kind::Secured => self.record(unit, &mut entry),
            frame::Kind::Other => entry.title = "not SPDM".into(),
        }
        self.last = Some(entry.direction);
        self.last_number = entry.number;
        for check in &entry.checks {
            self.ledger.count(entry.number, &entry.title, check);
        }
        entry
    }

    /// Ends: says what the secrets have that the recording has not.
    pub fn finish(&mut self) {
        let Some(secrets) = self.secrets else { return };
        self.check_chains();
        let unseen = self.plan_connections.values().flatten();
        let unseen: Vec<_> = unseen
            .filter(|set| secrets.sets[**set].bytes("A").is_some())
            .collect();
        for _ in unseen {
            let check = Check::not_checked(Kind::Transcript, "A", "no such negotiation in the recording");
            self.ledger.count(self.last_number, "the end", &check);
        }
        let mut checks = Vec::new();
        if let Some(plain) = secrets.plain.as_ref().filter(|plain| plain.len() != self.plain) {
            checks.push(Check::disagrees(
                Kind::Message,
                "messages in clear",
                format!("{} in the recording", self.plain),
                format!("{} as the secrets have", plain.len()),
            ));
        }
        for (index, set) in secrets.sets.iter().enumerate() {
            if set.has_keys() && !self.plan.values().any(|planned| *planned == index) {
                let id = set
                    .session
                    .map_or("a session".into(), |id| format!("session {id:#010x}"));
                checks.push(Check::disagrees(
                    Kind::Key,
                    "sessions",
                    "none that these are of",
                    format!("{id} of the secrets"),
                ));
            }
        }
        for session in std::mem::take(&mut self.sessions).into_values() {
            checks.extend(session.unfinished(secrets));
        }
        for key in &secrets.unknown {
            checks.push(Check::not_checked(
                Kind::Key,
                key.clone(),
                format!("{key:?} of the secrets has no known meaning"),
            ));
        }
        for check in &checks {
            self.ledger.count(self.last_number, "the end", check);
        }
    }

    fn clear(&mut self, unit: &Unit, entry: &mut Entry) {
        self.message(At::Clear, &unit.body, unit.carrier == Carrier::Doe, entry);
        let Some(wanted) = self.secrets.and_then(|secrets| secrets.plain.as_ref()) else {
            return;
        };
        match wanted.get(self.plain) {
            Some(wanted) if same_but_padding(&unit.body, wanted) => {
                entry
                    .checks
                    .push(Check::agrees(Kind::Message, "plain of the secrets", ""));
            }
            Some(wanted) => {
                let found = unit.body.strip_suffix(&[0; 3][..]).unwrap_or(&unit.body);
                entry.checks.push(Check::disagrees(
                    Kind::Message,
                    "plain of the secrets",
                    differs(found, wanted),
                    differs(wanted, found),
                ));
            }
            None => {}
        }
        self.plain += 1;
    }

    /// Reads one message, and does what follows from it.
    fn message(&mut self, at: At, bytes: &[u8], padded: bool, entry: &mut Entry) {
        let mut known = self.connection.known.clone();
        let mut guesses = GUESSES.to_vec();
        if let Ok(header) = msg::Header::peek(bytes) {
            if header.code == Code::GET_CAPABILITIES {
                known.version = header.version;
            }
            let lane = self.lane(at);
            let asked = match header.code {
                Code::DELIVER_ENCAPSULATED_RESPONSE => lane.encapsulated.as_ref(),
                code => lane.asked(code),
            };
            guesses = asked.map_or(guesses, |said| vec![asks(&said.message)]);
        }
        let mut readings = guesses.into_iter().map(|(summary, signature)| {
            (known.summary_asked, known.signature_asked) = (summary, signature);
            (dissect::message(bytes, &known, padded), known.clone())
        });
        let Some(first) = readings.next() else { return };
        let whole = |(message, _): &(Message, Known)| message.fault.is_none();
        let (message, known) = match whole(&first) {
            true => first,
            false => readings.find(whole).unwrap_or(first),
        };
        entry.title = message.name();
        entry.fields.clone_from(&message.fields);
        self.judge(bytes, &message, &known, entry);
        let said = Said {
            number: entry.number,
            bytes: bytes.get(..message.size).unwrap_or_default().to_vec(),
            message,
        };
        match said.code() {
            Code(0) => {}
            code if code.is_request() => {
                entry.direction = Direction::Request;
                self.request(at, said, entry);
            }
            _ => {
                entry.direction = Direction::Response;
                self.response(at, said, entry);
            }
        }
    }

    /// What the codecs say of a message, and whether it is whole.
    fn judge(&mut self, bytes: &[u8], message: &Message, known: &Known, entry: &mut Entry) {
        match &message.fault {
            Some(fault) => {
                let check = Check::disagrees(Kind::Message, "its format", fault, "a whole message");
                entry.checks.push(check);
            }
            None => entry.checks.push(Check::agrees(Kind::Message, "its format", "")),
        }
        let mut again = Vec::new();
        let read = msg::Message::decode(bytes, &known.context()).map(|(read, _)| read.encode(&mut again));
        let odd = match read {
            Err(error) => Some(format!("the codec refuses it: {error}")),
            Ok(()) if !bytes.starts_with(&again) => Some("the codec would write it otherwise".into()),
            Ok(()) if message.fault.is_none() && again.len() != message.size => Some(format!(
                "the codec has it end after {} bytes, not {}",
                again.len(),
                message.size
            )),
            Ok(()) => None,
        };
        match odd {
            None => self.ledger.reencoded += 1,
            Some(odd) => {
                self.ledger.odd += 1;
                entry.notes.push(odd);
            }
        }
    }

    fn lane(&mut self, at: At) -> &mut Lane {
        match at {
            At::Session(id) if self.sessions.contains_key(&id) => match self.sessions.get_mut(&id) {
                Some(session) => &mut session.lane,
                None => &mut self.connection.lane,
            },
            _ => &mut self.connection.lane,
        }
    }

    fn request(&mut self, at: At, request: Said, entry: &mut Entry) {
        self.forget(at, request.code());
        match request.code() {
            Code::GET_VERSION if at == At::Clear => {
                self.connection = Connection::begin(Some(&self.connection));
                for (_, session) in std::mem::take(&mut self.sessions) {
                    if let Some(secrets) = self.secrets {
                        entry.checks.extend(session.unfinished(secrets));
                    }
                }
            }
            Code::GET_CAPABILITIES => self.connection.asked(&request),
            Code::FINISH | Code::PSK_FINISH => self.finish_request(at, &request, entry),
            Code::KEY_UPDATE => self.key_update(at, &request),
            Code::DELIVER_ENCAPSULATED_RESPONSE => self.delivered(at, &request, entry),
            Code::CHUNK_SEND => return self.chunk_sent(at, request, entry),
            _ => {}
        }
        self.lane(at).pending = Some(request);
    }

    /// Requests that end what was being gathered for a signature, as libspdm and DSP0274 have it.
    fn forget(&mut self, at: At, code: Code) {
        let chunk = matches!(code, Code::CHUNK_SEND | Code::CHUNK_GET | Code::RESPOND_IF_READY);
        if code != Code::GET_MEASUREMENTS && !chunk {
            self.lane(at).measured.clear();
        }
        let resets = matches!(
            code,
            Code::KEY_EXCHANGE
                | Code::GET_MEASUREMENTS
                | Code::FINISH
                | Code::PSK_EXCHANGE
                | Code::PSK_FINISH
                | Code::KEY_UPDATE
                | Code::HEARTBEAT
                | Code::GET_ENCAPSULATED_REQUEST
                | Code::DELIVER_ENCAPSULATED_RESPONSE
                | Code::END_SESSION
        );
        if resets && !self.connection.challenged {
            self.connection.shown.b.clear();
        }
    }

    fn response(&mut self, at: At, response: Said, entry: &mut Entry) {
        let lane = self.lane(at);
        if response.code() == Code::ERROR {
            return self.refused(at, &response);
        }
        let Some(pending) = lane.pending.take() else {
            return self.unasked(at, &response, entry);
        };
        let request = match pending.code() {
            Code::RESPOND_IF_READY => lane.deferred.take().unwrap_or(pending),
            _ => pending,
        };
        match (request.code(), response.code()) {
            (Code::CHUNK_SEND, Code::CHUNK_SEND_ACK) => self.chunk_acknowledged(at, &response, entry),
            (Code::CHUNK_GET, Code::CHUNK_RESPONSE) => self.chunk_got(at, &response, entry),
            (asked, answered) if asked.0 & 0x7f == answered.0 => {
                self.answered(at, &request, &response, entry)
            }
            (asked, answered) => entry.checks.push(Check::disagrees(
                Kind::Message,
                "its code",
                answered.to_string(),
                format!("what answers {asked}"),
            )),
        }
    }

    fn answered(&mut self, at: At, request: &Said, response: &Said, entry: &mut Entry) {
        if at == At::Clear && self.connection.negotiated(request, response) {
            if response.code() == Code::ALGORITHMS {
                self.check_vca(entry);
            }
            return;
        }
        match response.code() {
            Code::DIGESTS | Code::CERTIFICATE => self.shown(at, request, response, entry),
            Code::CHALLENGE_AUTH => self.challenged(request, response, entry),
            Code::MEASUREMENTS => self.measured(at, request, response, entry),
            Code::ENDPOINT_INFO => self.endpoint(request, response, entry),
            Code::KEY_EXCHANGE_RSP | Code::PSK_EXCHANGE_RSP => self.exchanged(request, response, entry),
            Code::FINISH_RSP | Code::PSK_FINISH_RSP => self.finish_response(at, response, entry),
            Code::ENCAPSULATED_REQUEST | Code::ENCAPSULATED_RESPONSE_ACK => self.encapsulated(at, response),
            Code::END_SESSION_ACK => self.ended(at, entry),
            Code::VENDOR_DEFINED_RESPONSE => self.vendor(request, response, entry),
            _ => {}
        }
    }

    /// A response to nothing: the capture began after its request, if it has not the whole connection. Of a session the
    /// keys of one direction alone may be known.
    fn unasked(&mut self, at: At, response: &Said, entry: &mut Entry) {
        match at == At::Clear && self.connection.is_negotiated() {
            true => entry.checks.push(Check::disagrees(
                Kind::Message,
                "its place",
                "a response to no request",
                "its request before it",
            )),
            false => entry.notes.push("its request was not seen".into()),
        }
        if matches!(
            response.code(),
            Code::ENCAPSULATED_REQUEST | Code::ENCAPSULATED_RESPONSE_ACK
        ) {
            self.encapsulated(at, response);
        }
    }

    fn refused(&mut self, at: At, response: &Said) {
        use msg::error::ErrorCode;
        let lane = self.lane(at);
        lane.measured
            .iter_mut()
            .for_each(|measured| measured.before_error = true);
        let Some(pending) = lane.pending.take() else {
            return;
        };
        match ErrorCode(response.message.param1()) {
            ErrorCode::RESPONSE_NOT_READY if pending.code() != Code::RESPOND_IF_READY => {
                lane.deferred = Some(pending);
            }
            ErrorCode::LARGE_RESPONSE => {
                use super::field::Fields;
                let request = match pending.code() {
                    Code::RESPOND_IF_READY => lane.deferred.take(),
                    _ => Some(pending),
                };
                lane.getting = Some(Large {
                    handle: response.message.fields.int("Handle").unwrap_or(0) as u8,
                    request,
                    ..Large::default()
                });
            }
            _ => {}
        }
    }

    /// The report of an interface comes in portions.
    fn vendor(&mut self, request: &Said, response: &Said, entry: &mut Entry) {
        use super::field::{Fields, Value};
        fn payload(said: &Said) -> Option<&[Field]> {
            let payload = said.message.fields.field("Payload")?;
            Some(&payload.inside)
        }
        let Some(object) = payload(response).filter(|fields| fields.int("MessageType") == Some(4)) else {
            return;
        };
        if payload(request).and_then(|fields| fields.int("Offset")) == Some(0) {
            self.report.clear();
        }
        if let Some(Value::Bytes(portion)) = object.field("ReportBytes").map(|field| &field.value) {
            self.report.extend_from_slice(portion);
        }
        if object.int("RemainderLength") != Some(0) {
            return;
        }
        let (fields, fault) = dissect::report(&std::mem::take(&mut self.report));
        entry
            .notes
            .extend(fault.map(|fault| format!("the report is wrong: {fault}")));
        entry.parts.push(Part {
            message: String::new(),
            title: "device interface report".into(),
            fields,
        });
    }
}

/// Whether a request that was not seen may have asked for a summary, and for a signature: the likeliest first.
const GUESSES: [(bool, bool); 4] = [(false, false), (false, true), (true, true), (true, false)];

fn discovery(unit: &Unit, entry: &mut Entry) {
    use super::field::Walk;
    use tdisp::doe::ObjectType;
    let request = unit.body.len() == 4 && entry.direction == Direction::Request;
    let mut walk = Walk::new(&unit.body, 0);
    let result = (|| {
        if request {
            walk.u8("Index")?;
            walk.u8("Version")?;
            return walk.reserved(2);
        }
        walk.u16("VendorID")?;
        let kind = walk.u8("DataObjectType")?;
        walk.means(ObjectType(kind).to_string());
        let next = walk.u8("NextIndex")?;
        if next == 0 {
            walk.means("the last");
        }
        Ok(())
    })();
    entry.title = format!("DOE discovery {}", if request { "request" } else { "response" });
    entry.notes.extend(result.err().map(|error| error.to_string()));
    entry.fields = walk.into_fields();
}

/// The hash of bytes, if it can be computed.
fn digest(known: &Known, bytes: &[u8]) -> Result<Digest, String> {
    let alg = known
        .hash_alg()
        .map_err(|name| format!("{name} is not offered by the cryptographic provider"))?;
    Ok(tdisp::crypto::digest(provider(), alg, bytes))
}

/// Whether two messages are the same but for a data object's padding behind either.
fn same_but_padding(found: &[u8], wanted: &[u8]) -> bool {
    let (short, long) = if found.len() < wanted.len() {
        (found, wanted)
    } else {
        (wanted, found)
    };
    let rest = long.get(short.len()..).unwrap_or_default();
    long.starts_with(short) && rest.len() < 4 && rest.iter().all(|byte| *byte == 0)
}

/// The bytes from where two messages begin to differ.
fn differs(found: &[u8], other: &[u8]) -> String {
    let at = found.iter().zip(other).take_while(|(a, b)| a == b).count();
    let shown = found.get(at..found.len().min(at + 8)).unwrap_or_default();
    let at_end = if shown.is_empty() { "its end" } else { "" };
    format!("{}{at_end} at byte {at} of {}", super::hex(shown), found.len())
}

/// The subject of a chain's last certificate.
fn subject(chain: &[u8], known: &Known) -> String {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let certificates = certificate::certificates(chain, known.hash_size()).unwrap_or_default();
    let leaf = certificates
        .last()
        .and_then(|der| X509Certificate::from_der(der).ok());
    leaf.map_or_else(String::new, |(_, leaf)| {
        certificate::plain(&leaf.subject().to_string())
    })
}
