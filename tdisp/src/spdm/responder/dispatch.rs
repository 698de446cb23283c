//! What may come where: one row for each request, and nothing is answered that has none.
//!
//! | place | when |
//! |---|---|
//! | capable | outside any session, before algorithms are agreed on: chunks, in which NEGOTIATE_ALGORITHMS may come |
//! | clear | outside any session, once algorithms are agreed on |
//! | handshake | in a session that FINISH or PSK_FINISH has not completed |
//! | live | in a session after that |
//!
//! GET_VERSION, GET_CAPABILITIES and NEGOTIATE_ALGORITHMS come before algorithms are agreed on, and see to the order
//! themselves. A row whose first version is later than the connection's, or whose capability is not shown, is as if it were
//! not there: the request is unsupported, wherever it comes.

use super::{INVALID, Refusal, Reply, Responder, UNEXPECTED, session::Open};
use crate::{
    clock::Instant,
    spdm::{
        msg::{Code, Header, Version, capabilities::Flags, error::ErrorCode},
        transcript::{forgets_challenge, forgets_measurements},
    },
};

/// Where a request comes, and its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Outside any session.
    Clear,
    /// In a session.
    Session(u32),
}

/// A request that may be answered here and now.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) now: Instant,
    pub(super) at: At,
    /// The whole message; in clear the transport's padding may follow it.
    pub(super) message: &'a [u8],
    /// Whether its size was looked at before: it came in chunks, or was held back.
    pub(super) measured: bool,
}

/// One request.
struct Row {
    code: Code,
    /// The first version that has it.
    since: Version,
    /// Capabilities of which this side shows one; none if it needs none.
    ours: Flags,
    /// Capabilities that the requester must have, all of them.
    theirs: Flags,
    places: Places,
    answer: fn(&mut Responder, Asked<'_>) -> Reply,
}

/// A set of places.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Places(u8);

impl Places {
    /// In clear, whatever is agreed on.
    const EARLY: Self = Self(1);
    const CLEAR: Self = Self(2);
    const HANDSHAKE: Self = Self(4);
    const LIVE: Self = Self(8);
    const CLEAR_AND_LIVE: Self = Self(2 | 8);
    const CLEAR_AND_HANDSHAKE: Self = Self(2 | 4);
    const ANYWHERE: Self = Self(2 | 4 | 8);
    const CAPABLE: Self = Self(16);
    const CAPABLE_AND_ANYWHERE: Self = Self(16 | 2 | 4 | 8);

    const fn has(self, place: Self) -> bool {
        self.0 & place.0 != 0
    }
}

const NONE: Flags = Flags(0);
const MEASURED: Flags = Flags::MEAS_MASK;
const SESSIONS: Flags = Flags(Flags::KEY_EX.0 | Flags::PSK_MASK.0);

/// The requests that have an answer somewhere.
#[rustfmt::skip] // a table is read by its columns
const REQUESTS: &[Row] = &[
    row(Code::GET_VERSION, Version::V1_0, NONE, Places::EARLY, Responder::get_version),
    row(Code::GET_CAPABILITIES, Version::V1_0, NONE, Places::EARLY, Responder::get_capabilities),
    row(Code::NEGOTIATE_ALGORITHMS, Version::V1_0, NONE, Places::EARLY, Responder::negotiate_algorithms),
    row(Code::RESPOND_IF_READY, Version::V1_0, NONE, Places::ANYWHERE, Responder::respond_if_ready),
    row(Code::VENDOR_DEFINED_REQUEST, Version::V1_0, NONE, Places::CLEAR_AND_LIVE, Responder::vendor_defined),
    // Who the device is, and what it runs.
    row(Code::GET_DIGESTS, Version::V1_0, Flags::CERT, Places::CLEAR_AND_LIVE, Responder::get_digests),
    row(Code::GET_CERTIFICATE, Version::V1_0, Flags::CERT, Places::CLEAR_AND_LIVE, Responder::get_certificate),
    row(Code::CHALLENGE, Version::V1_0, Flags::CHAL, Places::CLEAR, Responder::challenge),
    row(Code::GET_MEASUREMENTS, Version::V1_0, MEASURED, Places::CLEAR_AND_LIVE, Responder::get_measurements),
    // Sessions.
    row(Code::KEY_EXCHANGE, Version::V1_1, Flags::KEY_EX, Places::CLEAR, Responder::key_exchange).with(Flags::KEY_EX),
    row(Code::FINISH, Version::V1_1, Flags::KEY_EX, Places::CLEAR_AND_HANDSHAKE, Responder::finish).with(Flags::KEY_EX),
    row(Code::PSK_EXCHANGE, Version::V1_1, Flags::PSK_MASK, Places::CLEAR, Responder::psk_exchange).with(Flags::PSK),
    row(Code::PSK_FINISH, Version::V1_1, Flags::PSK_WITH_CONTEXT, Places::HANDSHAKE, Responder::psk_finish).with(Flags::PSK),
    row(Code::HEARTBEAT, Version::V1_1, Flags::HBEAT, Places::LIVE, Responder::heartbeat).with(Flags::HBEAT),
    row(Code::KEY_UPDATE, Version::V1_1, Flags::KEY_UPD, Places::LIVE, Responder::key_update).with(Flags::KEY_UPD),
    row(Code::GET_ENCAPSULATED_REQUEST, Version::V1_1, Flags::ENCAP, Places::ANYWHERE, Responder::get_encapsulated_request).with(Flags::ENCAP),
    row(Code::DELIVER_ENCAPSULATED_RESPONSE, Version::V1_1, Flags::ENCAP, Places::ANYWHERE, Responder::deliver_encapsulated_response).with(Flags::ENCAP),
    row(Code::END_SESSION, Version::V1_1, SESSIONS, Places::LIVE, Responder::end_session),
    // Large messages.
    row(Code::CHUNK_SEND, Version::V1_2, Flags::CHUNK, Places::CAPABLE_AND_ANYWHERE, Responder::chunk_send).with(Flags::CHUNK),
    row(Code::CHUNK_GET, Version::V1_2, Flags::CHUNK, Places::CAPABLE_AND_ANYWHERE, Responder::chunk_get).with(Flags::CHUNK),
    // What its owner puts into the device.
    row(Code::GET_CSR, Version::V1_2, Flags::CSR, Places::CLEAR_AND_LIVE, Responder::get_csr),
    row(Code::SET_CERTIFICATE, Version::V1_2, Flags::SET_CERT, Places::CLEAR_AND_LIVE, Responder::set_certificate),
    row(Code::GET_KEY_PAIR_INFO, Version::V1_3, Flags::GET_KEY_PAIR_INFO, Places::CLEAR_AND_LIVE, Responder::get_key_pair_info),
    row(Code::SET_KEY_PAIR_INFO, Version::V1_3, Flags::SET_KEY_PAIR_INFO, Places::CLEAR_AND_LIVE, Responder::set_key_pair_info),
    // What else it has to say.
    row(Code::GET_MEASUREMENT_EXTENSION_LOG, Version::V1_3, Flags::MEL, Places::CLEAR_AND_LIVE, Responder::get_log),
    row(Code::GET_ENDPOINT_INFO, Version::V1_3, Flags::EP_INFO_MASK, Places::CLEAR_AND_LIVE, Responder::get_endpoint_info),
    row(Code::GET_SUPPORTED_EVENT_TYPES, Version::V1_3, Flags::EVENT, Places::LIVE, Responder::get_event_types),
    row(Code::SUBSCRIBE_EVENT_TYPES, Version::V1_3, Flags::EVENT, Places::LIVE, Responder::subscribe),
    row(Code::SEND_EVENT, Version::V1_3, NONE, Places::LIVE, Responder::send_event).with(Flags::EVENT),
];

const fn row(
    code: Code,
    since: Version,
    ours: Flags,
    places: Places,
    answer: fn(&mut Responder, Asked<'_>) -> Reply,
) -> Row {
    Row {
        code,
        since,
        ours,
        theirs: NONE,
        places,
        answer,
    }
}

impl Row {
    /// The same where the requester must have `theirs`.
    const fn with(self, theirs: Flags) -> Self {
        Self { theirs, ..self }
    }
}

impl Responder {
    /// The answer to a message, wherever it comes from: the transport, a chunked request, or a request held back.
    pub(super) fn answer(&mut self, asked: Asked<'_>) -> Reply {
        let header = Header::peek(asked.message)?;
        if self.resynch.is_some() && header.code != Code::GET_VERSION {
            return Err(Refusal::new(ErrorCode::REQUEST_RESYNCH));
        }
        let row = self.row_for(asked, header)?;
        if row.places != Places::EARLY {
            self.check_in_flight(asked.at, header.code)?;
            self.check_place(asked.at, row)?;
            self.hold_back(asked, header)?;
            self.forget_transcripts(asked.at, header.code);
        } else if asked.at != At::Clear {
            return Err(UNEXPECTED);
        }
        (row.answer)(self, asked)
    }

    /// What holds for every request: a size we take, the agreed version, a code that is supported. GET_VERSION is in 1.0
    /// as ever.
    fn row_for(&self, asked: Asked<'_>, header: Header) -> Result<&'static Row, Refusal> {
        let padding = if self.config.transport.pads() { 3 } else { 0 };
        if !asked.measured && asked.message.len() > self.config.transfer_size as usize + padding {
            return Err(Refusal::new(ErrorCode::REQUEST_TOO_LARGE));
        }
        let version = self.phase.version().unwrap_or(header.version);
        let is_known = self.config.versions.contains(&header.version);
        if header.code != Code::GET_VERSION && (header.version != version || !is_known) {
            return Err(Refusal::new(ErrorCode::VERSION_MISMATCH));
        }
        let ours = self.config.flags(version);
        let theirs = self
            .phase
            .agreed()
            .map(|agreed| agreed.connection.negotiated.peer_flags);
        let has = |row: &&Row| {
            row.code == header.code
                && (row.since <= version || header.code == Code::GET_VERSION)
                && (row.ours == NONE || ours.any(row.ours))
                && theirs.is_none_or(|theirs| theirs.contains(row.theirs))
                // No capability says who listens to events.
                && (row.code != Code::SEND_EVENT || self.config.hears_events)
        };
        let row = REQUESTS.iter().find(has);
        row.ok_or(Refusal::unsupported(header.code))
    }

    fn check_place(&mut self, at: At, row: &Row) -> Result<(), Refusal> {
        let reach = self.phase.reach().ok_or(UNEXPECTED)?;
        let place = match at {
            At::Clear if self.phase.agreed().is_none() => {
                let in_chunks = row.places.has(Places::CAPABLE) && reach.chunks;
                return in_chunks.then_some(()).ok_or(UNEXPECTED);
            }
            At::Clear => Places::CLEAR,
            At::Session(id) => match self.sessions.find(id) {
                Some(Open::Shaking(_)) => Places::HANDSHAKE,
                Some(Open::Live(_)) => Places::LIVE,
                None => return Err(INVALID),
            },
        };
        if row.places.has(place) {
            return Ok(());
        }
        // The error that says so came with 1.2.
        match place == Places::CLEAR && reach.version >= Version::V1_2 {
            true => Err(Refusal::new(ErrorCode::SESSION_REQUIRED)),
            false => Err(UNEXPECTED),
        }
    }

    /// A request begins transcripts anew that it does not belong to.
    fn forget_transcripts(&mut self, at: At, code: Code) {
        let Some(agreed) = self.phase.agreed_mut() else {
            return;
        };
        if forgets_challenge(code) {
            agreed.forget_m1();
        }
        if forgets_measurements(code) {
            self.forget_measurements(at);
        }
    }
}
