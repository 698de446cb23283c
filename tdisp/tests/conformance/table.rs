//! What the standard says is answered to each request code in each state: the specification that the responder is held
//! against.

use super::client::{self, Heard};

/// Where a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In clear, before anything was said.
    Start,
    /// In clear, after VERSION.
    Version,
    /// In clear, after CAPABILITIES.
    Capabilities,
    /// In clear, after ALGORITHMS.
    Algorithms,
    /// In clear, after DIGESTS.
    Digests,
    /// In clear, after the last CERTIFICATE.
    Certificate,
    /// In clear, after CHALLENGE_AUTH.
    Challenged,
    /// In clear, while FINISH is awaited in a session.
    BesideHandshake,
    /// In a session whose FINISH is awaited.
    Handshake,
    /// In clear, while there is a session.
    BesideSession,
    /// In a session that has started.
    Session,
    /// In a session that has new keys which nobody has tried yet.
    VerifyAwaited,
    /// In clear, after END_SESSION_ACK.
    Ended,
    /// In a session on a pre-shared key whose PSK_FINISH is awaited.
    PskHandshake,
    /// In such a session once it has started.
    PskSession,
    /// In clear, while a large request comes in chunks.
    Chunking,
}

/// What a device has, as far as the table asks.
#[derive(Debug, Clone, Copy)]
pub struct Device {
    /// Its capability flags.
    pub capabilities: u32,
    /// Whether its sessions have a heartbeat period.
    pub beats: bool,
}

impl Place {
    pub const ALL: [Self; 16] = [
        Self::Start,
        Self::Version,
        Self::Capabilities,
        Self::Algorithms,
        Self::Digests,
        Self::Certificate,
        Self::Challenged,
        Self::BesideHandshake,
        Self::Handshake,
        Self::BesideSession,
        Self::Session,
        Self::VerifyAwaited,
        Self::Ended,
        Self::PskHandshake,
        Self::PskSession,
        Self::Chunking,
    ];

    /// Whether it is in a session.
    pub fn is_secured(self) -> bool {
        matches!(
            self,
            Self::Handshake | Self::Session | Self::VerifyAwaited | Self::PskHandshake | Self::PskSession
        )
    }

    /// Whether a connection of this version with such a device comes here.
    pub fn is_of(self, version: u8, device: Device) -> bool {
        let has = |flags| device.capabilities & flags != 0;
        match self {
            Self::PskHandshake | Self::PskSession => has(PSK),
            Self::Chunking => version >= 0x12 && has(client::CHUNK),
            _ => self.is_in(version),
        }
    }

    /// Whether a connection of this version with the usual device comes here.
    pub fn is_in(self, version: u8) -> bool {
        let session =
            self.is_secured() || matches!(self, Self::BesideHandshake | Self::BesideSession | Self::Ended);
        version >= 0x11 || !session
    }

    /// Whether algorithms are agreed on and the request is in clear.
    fn is_agreed_in_clear(self) -> bool {
        !self.is_secured() && !matches!(self, Self::Start | Self::Version | Self::Capabilities)
    }
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The response of this code.
    Is(u8),
    /// ERROR with this code and data.
    Error(u8, u8),
    Silence,
}

impl Answer {
    pub fn of(heard: &Heard) -> Self {
        match heard {
            Heard::Nothing => Self::Silence,
            Heard::Clear(body) | Heard::Secured(body) if body[1] == 0x7f => Self::Error(body[2], body[3]),
            Heard::Clear(body) | Heard::Secured(body) => Self::Is(body[1]),
        }
    }
}

pub const INVALID: Answer = Answer::Error(0x01, 0);
pub const UNEXPECTED: Answer = Answer::Error(0x04, 0);
pub const DECRYPT: Answer = Answer::Error(0x06, 0);
pub const SESSION_REQUIRED: Answer = Answer::Error(0x0b, 0);
pub const VERSION_MISMATCH: Answer = Answer::Error(0x41, 0);

pub const NO_PENDING: Answer = Answer::Error(0x45, 0);

pub fn unsupported(code: u8) -> Answer {
    Answer::Error(0x07, code)
}

/// A request, the version that brought it, and the capabilities of the responder of which one must be there.
pub struct Request {
    pub code: u8,
    pub since: u8,
    pub needs: u32,
}

const fn request(code: u8, since: u8, needs: u32) -> Request {
    Request { code, since, needs }
}

/// Capabilities that say that there are measurements, without or with signatures.
const MEAS: u32 = 3 << 3;
const PSK: u32 = 3 << 10;

pub const REQUESTS: [Request; 28] = [
    request(0x81, 0x10, client::CERT),
    request(0x82, 0x10, client::CERT),
    request(0x83, 0x10, client::CHAL),
    request(0x84, 0x10, u32::MAX),
    request(0x85, 0x12, client::CHUNK),
    request(0x86, 0x12, client::CHUNK),
    request(0x87, 0x13, 3 << 22),
    request(0xe0, 0x10, MEAS),
    request(0xe1, 0x10, u32::MAX),
    request(0xe2, 0x13, 1 << 25),
    request(0xe3, 0x10, u32::MAX),
    request(0xe4, 0x11, client::KEY_EX),
    request(0xe5, 0x11, client::KEY_EX),
    request(0xe6, 0x11, PSK),
    request(0xe7, 0x11, PSK),
    request(0xe8, 0x11, client::HBEAT),
    request(0xe9, 0x11, client::KEY_UPD),
    request(0xea, 0x11, client::ENCAP),
    request(0xeb, 0x11, client::ENCAP),
    request(0xec, 0x11, client::KEY_EX | PSK),
    request(0xed, 0x12, 1 << 20),
    request(0xee, 0x12, 1 << 19),
    request(0xef, 0x13, 1 << 24),
    request(0xf0, 0x13, 1 << 25),
    request(0xfc, 0x13, 1 << 28),
    request(0xfd, 0x13, 1 << 29),
    request(0xfe, 0x10, u32::MAX),
    request(0xff, 0x10, u32::MAX),
];

/// Whether a responder with these capabilities has an answer to the request anywhere.
fn is_supported(code: u8, version: u8, capabilities: u32) -> bool {
    let known = REQUESTS.iter().find(|request| request.code == code);
    known.is_some_and(|request| version >= request.since && capabilities & request.needs != 0)
}

/// The answer to a request of `code` that is right in itself. Before the version is agreed on, `version` is the one that
/// the request has.
pub fn expected(code: u8, place: Place, version: u8, device: Device) -> Answer {
    use Place::{
        Capabilities, Chunking, Handshake, PskHandshake, PskSession, Session, Start, VerifyAwaited, Version,
    };
    let capabilities = device.capabilities;
    let response = Answer::Is(code & 0x7f);
    // What needs a session and comes outside: the error that says so is new in 1.2.
    let outside = if version >= 0x12 {
        SESSION_REQUIRED
    } else {
        UNEXPECTED
    };
    match (code, place) {
        // Begins anew from everywhere outside sessions.
        (0x84, _) if !place.is_secured() => response,
        (0x84, _) => UNEXPECTED,
        (_, _) if !is_supported(code, version, capabilities) => unsupported(code),
        // Once more the same is a retry.
        (0xe1, Version | Capabilities) => response,
        (0xe3, Capabilities) => response,
        (0xe3, _) if place.is_agreed_in_clear() => response,
        // The first chunk of the algorithms.
        (0x85, Capabilities) => response,
        (_, Start | Version | Capabilities) => UNEXPECTED,
        // GET_DIGESTS, GET_CERTIFICATE, GET_MEASUREMENTS
        (0x81 | 0x82 | 0xe0, Session | VerifyAwaited | PskSession) => response,
        (0x81 | 0x82 | 0xe0, _) if place.is_agreed_in_clear() => response,
        // CHALLENGE, KEY_EXCHANGE, PSK_EXCHANGE
        (0x83 | 0xe4 | 0xe6, _) if place.is_agreed_in_clear() => response,
        // FINISH and PSK_FINISH, whose proofs are wrong in this table, HEARTBEAT, KEY_UPDATE, END_SESSION
        (0xe5, Handshake) | (0xe7, PskHandshake) => DECRYPT,
        (0xe5 | 0xe7 | 0xe8 | 0xe9 | 0xec, _) if place.is_agreed_in_clear() => outside,
        // The table's KEY_UPDATE is UpdateKey.
        (0xe9, VerifyAwaited) => INVALID,
        (0xe8, Session | VerifyAwaited | PskSession) if !device.beats => UNEXPECTED,
        (0xe8 | 0xe9 | 0xec, Session | VerifyAwaited | PskSession) => response,
        // GET_ENCAPSULATED_REQUEST where nothing is asked: the error that says so is new in 1.3.
        (0xea, _) if version >= 0x13 => NO_PENDING,
        // CHUNK_SEND of a first chunk, which is out of turn where others came before; CHUNK_GET of nothing.
        (0x85, Chunking) => Answer::Is(0x05),
        (0x85, _) => response,
        // GET_CSR, GET_MEASUREMENT_EXTENSION_LOG, GET_KEY_PAIR_INFO, GET_ENDPOINT_INFO
        (0xed | 0xef | 0xfc | 0x87, Session | VerifyAwaited | PskSession) => response,
        (0xed | 0xef | 0xfc | 0x87, _) if place.is_agreed_in_clear() => response,
        // SET_CERTIFICATE, which is of no slot that there is in this table
        (0xee, Session | VerifyAwaited | PskSession) => INVALID,
        (0xee, _) if place.is_agreed_in_clear() => INVALID,
        // GET_SUPPORTED_EVENT_TYPES, SUBSCRIBE_EVENT_TYPES
        (0xe2 | 0xf0, Session | VerifyAwaited | PskSession) => response,
        (0xe2 | 0xf0, _) if place.is_agreed_in_clear() => outside,
        // VENDOR_DEFINED_REQUEST of the PCI-SIG's: nobody answers outside a session, and here nobody does inside.
        (0xfe, Session | VerifyAwaited | PskSession) => Answer::Silence,
        (0xfe, _) if place.is_agreed_in_clear() => Answer::Silence,
        _ => UNEXPECTED,
    }
}
