//! GET_VERSION, GET_CAPABILITIES, NEGOTIATE_ALGORITHMS.

use super::{Refusal, Reply, Responder};
use crate::spdm::{
    algorithms::Needs,
    connection::{Connection, Negotiated, VERSIONS},
    msg::{
        Code, Context, Payload, Version, algorithms,
        capabilities::{self, Flags, Sizes},
        error::ErrorCode,
        version::{self, Entry},
    },
    secured,
    transcript::Transcript,
};
use alloc::{boxed::Box, vec::Vec};
use core::{mem, time::Duration};

/// How far the connection has come.
pub(super) enum Phase {
    Start,
    /// VERSION is answered; what was said so far.
    Versioned(Vec<u8>),
    /// CAPABILITIES is answered.
    Capable(Capable),
    /// ALGORITHMS is answered.
    Agreed(Box<Agreed>),
}

pub(super) struct Capable {
    vca: Vec<u8>,
    version: Version,
    peer_flags: Flags,
    peer_transfer_size: u32,
}

/// A connection with algorithms, and the transcripts that go on over several requests in clear.
pub(super) struct Agreed {
    pub(super) connection: Connection,
    /// M1/M2: VCA and what came of digests and certificates since the last CHALLENGE.
    pub(super) m1: Transcript,
    /// L1/L2 in clear.
    pub(super) l1: Transcript,
}

impl Phase {
    pub(super) fn version(&self) -> Option<Version> {
        match self {
            Self::Start | Self::Versioned(_) => None,
            Self::Capable(capable) => Some(capable.version),
            Self::Agreed(agreed) => Some(agreed.connection.negotiated.version),
        }
    }

    pub(super) fn agreed(&self) -> Option<&Agreed> {
        match self {
            Self::Agreed(agreed) => Some(agreed),
            _ => None,
        }
    }

    pub(super) fn agreed_mut(&mut self) -> Option<&mut Agreed> {
        match self {
            Self::Agreed(agreed) => Some(agreed),
            _ => None,
        }
    }
}

impl core::fmt::Debug for Phase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Versioned(_) => "versioned",
            Self::Capable(_) => "capable",
            Self::Agreed(_) => "agreed",
        })
    }
}

impl Agreed {
    /// Refuses an answer of `size` bytes if the requester cannot take it in one piece, be it in a session.
    pub(super) fn check_fits(&self, size: usize) -> Result<(), Refusal> {
        if size + secured::OVERHEAD <= self.connection.negotiated.peer_transfer_size as usize {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::RESPONSE_TOO_LARGE))
    }

    /// A request begins L1/L2 anew unless it asks for measurements, and M1/M2 unless it belongs to a challenge.
    pub(super) fn forget_transcripts(&mut self, code: Code) {
        if code != Code::GET_MEASUREMENTS {
            self.l1 = self.connection.measurement_transcript();
        }
        if !matches!(code, Code::GET_DIGESTS | Code::GET_CERTIFICATE | Code::CHALLENGE) {
            self.m1 = self.connection.transcript_from_vca();
        }
    }
}

impl Responder {
    /// Starts anew, whatever was.
    pub(super) fn get_version(&mut self, body: &[u8]) -> Reply {
        let (_, size) = match version::Request::decode_padded(body, &Context::new(Version::V1_0)) {
            Ok(request) => request,
            Err(_) if body.first() != Some(&Version::V1_0.0) => {
                return Err(Refusal::new(ErrorCode::VERSION_MISMATCH));
            }
            Err(error) => return Err(error.into()),
        };
        self.reset();
        let versions = VERSIONS.iter().map(|version| Entry::of(*version)).collect();
        let response = version::Response { versions }.to_vec();
        self.phase = Phase::Versioned([&body[..size], &response].concat());
        Ok(Some(response))
    }

    pub(super) fn get_capabilities(&mut self, body: &[u8]) -> Reply {
        let Phase::Versioned(said) = &self.phase else {
            return Err(Refusal::new(ErrorCode::UNEXPECTED_REQUEST));
        };
        let wanted = Version(body.first().copied().unwrap_or_default());
        if !VERSIONS.contains(&wanted) {
            return Err(Refusal::new(ErrorCode::VERSION_MISMATCH));
        }
        let (request, size) = capabilities::Request::decode_padded(body, &Context::new(wanted))?;
        let response = capabilities::Response {
            version: wanted,
            ct_exponent: self.config.ct_exponent.min(capabilities::CT_EXPONENT_MAX),
            extended_flags: 0,
            flags: self.flags(),
            sizes: Some(Sizes {
                transfer: self.config.transfer_size,
                message: self.config.transfer_size,
            }),
            algorithms: None,
        };
        let response = response.to_vec();
        let least = capabilities::DATA_TRANSFER_SIZE_MIN;
        self.phase = Phase::Capable(Capable {
            vca: [said, &body[..size], &response].concat(),
            version: wanted,
            peer_flags: request.flags,
            peer_transfer_size: request.sizes.map_or(least, |sizes| sizes.transfer),
        });
        Ok(Some(response))
    }

    fn flags(&self) -> Flags {
        let identity = Flags::CERT | Flags::CHAL | Flags::MEAS_SIG;
        let session = Flags::KEY_EX | Flags::ENCRYPT | Flags::MAC | Flags::KEY_UPD | Flags::HBEAT;
        match self.config.handshake_in_clear {
            true => identity | session | Flags::HANDSHAKE_IN_THE_CLEAR,
            false => identity | session,
        }
    }

    pub(super) fn negotiate_algorithms(&mut self, body: &[u8]) -> Reply {
        let Phase::Capable(capable) = &self.phase else {
            return Err(Refusal::new(ErrorCode::UNEXPECTED_REQUEST));
        };
        let context = Context::new(capable.version);
        let (request, size) = algorithms::Request::decode_padded(body, &context)?;
        let needs = Needs::of(capable.peer_flags, self.flags());
        let measurement_hash = Some(self.config.measurement_hash);
        let chosen = self.config.offer.choose(&request, needs, measurement_hash);
        let chosen = chosen.ok_or(Refusal::new(ErrorCode::INVALID_REQUEST))?;
        let response = algorithms::Response {
            version: capable.version,
            choice: chosen.to_set(&request.offer),
            measurement_hash: chosen.measurement_hash.map_or(0, |hash| hash.bit()),
        };
        let response = response.to_vec();
        let clear = self
            .flags()
            .and(capable.peer_flags)
            .any(Flags::HANDSHAKE_IN_THE_CLEAR);
        let Phase::Capable(capable) = mem::replace(&mut self.phase, Phase::Start) else {
            return Err(Refusal::new(ErrorCode::UNEXPECTED_REQUEST));
        };
        let connection = Connection {
            provider: self.provider.clone(),
            negotiated: Negotiated {
                version: capable.version,
                algorithms: chosen,
                peer_flags: capable.peer_flags,
                peer_transfer_size: capable.peer_transfer_size,
            },
            context: chosen.context(capable.version, clear),
            vca: [&capable.vca, &body[..size], &response].concat(),
            peer_crypto_time: Duration::ZERO,
        };
        self.phase = Phase::Agreed(Box::new(Agreed {
            m1: connection.transcript_from_vca(),
            l1: connection.measurement_transcript(),
            connection,
        }));
        Ok(Some(response))
    }
}
