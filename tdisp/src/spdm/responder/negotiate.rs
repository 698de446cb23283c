//! GET_VERSION, GET_CAPABILITIES, NEGOTIATE_ALGORITHMS.
//!
//! Each comes once in a connection. A GET_CAPABILITIES or NEGOTIATE_ALGORITHMS that comes again is a retry if it is the same
//! to the byte, and is answered with the same bytes; if it is not, it is unexpected.

use super::{Asked, At, INVALID, MultiKey, Refusal, Reply, Responder, TOO_MUCH, UNEXPECTED};
use crate::{
    crypto::Digest,
    spdm::{
        algorithms::{Answering, MULTI_KEY, Needs},
        connection::{Connection, Negotiated, Own, Reach},
        msg::{
            Context, Payload, Version, algorithms,
            capabilities::{self, Flags, Sizes},
            error::ErrorCode,
            version::{self, Entry},
        },
        transcript::Transcript,
    },
};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

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
    /// GET_VERSION and VERSION.
    said: Vec<u8>,
    exchange: Exchanged,
    peer_flags: Flags,
    reach: Reach,
}

/// A request and what it was answered, without padding.
struct Exchanged {
    request: Vec<u8>,
    response: Vec<u8>,
}

impl Exchanged {
    fn new(request: &[u8], response: &[u8]) -> Self {
        Self {
            request: request.to_vec(),
            response: response.to_vec(),
        }
    }

    /// The same answer to the same request.
    fn again(&self, request: &[u8]) -> Reply {
        match self.request == request {
            true => Ok(Some(self.response.clone())),
            false => Err(UNEXPECTED),
        }
    }
}

/// A connection with algorithms, and the transcripts that go on over several requests in clear.
pub(super) struct Agreed {
    pub(super) connection: Connection,
    exchange: Exchanged,
    /// The first DIGESTS, where sessions' transcripts have it.
    pub(super) digests: Option<Vec<u8>>,
    /// M1/M2: VCA and what came of digests and certificates since the last GET_DIGESTS or CHALLENGE.
    m1: Option<Transcript>,
    /// L1/L2 in clear.
    pub(super) l1: Option<Transcript>,
}

impl Phase {
    pub(super) fn version(&self) -> Option<Version> {
        match self {
            Self::Start | Self::Versioned(_) => None,
            Self::Capable(capable) => Some(capable.reach.version),
            Self::Agreed(agreed) => Some(agreed.connection.negotiated.version),
        }
    }

    /// What the requester takes, once it has told that.
    pub(super) fn reach(&self) -> Option<Reach> {
        match self {
            Self::Start | Self::Versioned(_) => None,
            Self::Capable(capable) => Some(capable.reach),
            Self::Agreed(agreed) => Some(agreed.connection.reach()),
        }
    }

    /// To read requests with.
    pub(super) fn context(&self) -> Option<Context> {
        match self {
            Self::Start | Self::Versioned(_) => None,
            Self::Capable(capable) => Some(Context::new(capable.reach.version)),
            Self::Agreed(agreed) => Some(agreed.connection.context),
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
    /// Refuses an answer of `size` bytes if the requester cannot take it, be it in chunks.
    pub(super) fn check_fits(&self, at: At, size: usize) -> Result<(), Refusal> {
        if size <= self.connection.reach().most(at != At::Clear) {
            return Ok(());
        }
        Err(Refusal::response_too_large(size))
    }

    /// Adds to M1/M2 an answer about chains of `told` bytes and its request, or refuses them: before 1.2 they are kept.
    pub(super) fn add_to_m1(&mut self, messages: [&[u8]; 2], told: usize) -> Result<(), Refusal> {
        let connection = &self.connection;
        let m1 = self.m1.get_or_insert_with(|| connection.transcript_from_vca());
        let size = messages.iter().map(|message| message.len()).sum();
        if !m1.has_room(size, told) {
            return Err(TOO_MUCH);
        }
        messages.iter().for_each(|message| m1.add(message));
        Ok(())
    }

    /// M1/M2, which begins anew.
    pub(super) fn take_m1(&mut self) -> Transcript {
        let begun = self.m1.take();
        begun.unwrap_or_else(|| self.connection.transcript_from_vca())
    }

    pub(super) fn forget_m1(&mut self) {
        self.m1 = None;
    }

    /// TH before KEY_EXCHANGE.
    pub(super) fn session_transcript(&self, identity: &Digest) -> Transcript {
        self.connection
            .session_transcript(self.digests.as_deref(), identity)
    }
}

impl Responder {
    /// Starts anew, whatever was.
    pub(super) fn get_version(&mut self, asked: Asked<'_>) -> Reply {
        let first = Context::new(Version::V1_0);
        if asked.message.first() != Some(&Version::V1_0.0) {
            return Err(Refusal::new(ErrorCode::VERSION_MISMATCH).told_in(Version::V1_0));
        }
        let transport = self.config.transport;
        let (_, request) = transport.read::<version::Request>(true, asked.message, &first)?;
        self.forget();
        let versions = self.config.versions.iter().map(|version| Entry::of(*version));
        let response = version::Response {
            versions: versions.collect(),
        };
        let response = response.to_vec();
        self.phase = Phase::Versioned([request, &response].concat());
        Ok(Some(response))
    }

    /// Begins to speak the request's version, in which also a refusal is told.
    pub(super) fn get_capabilities(&mut self, asked: Asked<'_>) -> Reply {
        let version = Version(asked.message.first().copied().unwrap_or_default());
        let read = self.read_early::<capabilities::Request>(asked, version);
        let said = match &self.phase {
            Phase::Versioned(said) => said,
            Phase::Capable(capable) => {
                let (_, request) = read.map_err(|_| UNEXPECTED)?;
                return capable.exchange.again(request);
            }
            Phase::Start | Phase::Agreed(_) => return Err(UNEXPECTED),
        };
        let (message, request) = read.map_err(|refusal| refusal.told_in(version))?;
        let flags = self.config.flags(version);
        // They may be more than the requester takes at once.
        let listed = (message.algorithms_asked && flags.contains(Flags::CHUNK))
            .then(|| self.supported_algorithms(version));
        let response = capabilities::Response {
            version,
            ct_exponent: self.config.ct_exponent.min(capabilities::CT_EXPONENT_MAX),
            extended_flags: 0,
            flags,
            sizes: Some(self.sizes(version)),
            algorithms: listed.as_deref(),
            algorithms_told: listed.is_some(),
        };
        let response = response.to_vec();
        let own = Own {
            transfer_size: self.config.transfer_size,
            transport: self.config.transport,
        };
        self.phase = Phase::Capable(Capable {
            said: said.clone(),
            exchange: Exchanged::new(request, &response),
            peer_flags: message.flags,
            reach: Reach::new(version, flags.and(message.flags), message.sizes, own),
        });
        Ok(Some(response))
    }

    fn sizes(&self, version: Version) -> Sizes {
        let transfer = self
            .config
            .transfer_size
            .max(capabilities::DATA_TRANSFER_SIZE_MIN);
        let in_chunks = self.config.flags(version).contains(Flags::CHUNK);
        let message = self.config.chunk.filter(|_| in_chunks).unwrap_or(transfer);
        Sizes {
            transfer,
            message: message.max(transfer),
        }
    }

    /// The supported algorithms block (1.3).
    fn supported_algorithms(&self, version: Version) -> Vec<u8> {
        let offer = self.config.offer.clone().within(self.config.flags(version));
        let offer = offer.of_responder(&self.answering());
        let request = algorithms::Request {
            version,
            offer: offer.to_set(version),
        };
        request.to_supported_block()
    }

    /// What can be chosen by.
    fn answering(&self) -> Answering<'_> {
        Answering {
            provider: &*self.provider,
            signers: self.config.signers().map(|signer| &**signer).collect(),
            needs: Needs::default(),
            measurement_hash: None,
        }
    }

    pub(super) fn negotiate_algorithms(&mut self, asked: Asked<'_>) -> Reply {
        let version = self.phase.version().ok_or(UNEXPECTED)?;
        let read = self.read_early::<algorithms::Request<'_>>(asked, version);
        let capable = match &self.phase {
            Phase::Capable(capable) => capable,
            Phase::Agreed(agreed) => {
                let (_, request) = read.map_err(|_| UNEXPECTED)?;
                return agreed.exchange.again(request);
            }
            Phase::Start | Phase::Versioned(_) => return Err(UNEXPECTED),
        };
        let (message, request) = read?;
        let flags = self.config.flags(version);
        let wants_several = message.offer.other_params & MULTI_KEY != 0;
        self.check_multi_key(version, wants_several)?;
        let needs = Needs::of(capable.peer_flags, flags);
        let measured = flags.any(Flags::MEAS_MASK);
        let own = Answering {
            needs,
            measurement_hash: measured.then_some(self.config.measurement_hash),
            ..self.answering()
        };
        let offer = self.config.offer.clone().within(flags);
        let mut chosen = offer.choose(&message, &own).ok_or(INVALID)?;
        let requester_multi_key =
            version >= Version::V1_3 && capable.peer_flags.multi_key(self.wants_several());
        chosen.other_params &= !MULTI_KEY;
        if requester_multi_key {
            chosen.other_params |= MULTI_KEY;
        }
        let mut choice = chosen.to_set(&message.offer);
        if !needs.hash {
            choice.hash = 0;
        }
        let response = algorithms::Response {
            version,
            choice,
            measurement_hash: chosen.measurement_hash.map_or(0, |hash| hash.bit()),
        };
        let response = response.to_vec();
        let clear = flags.and(capable.peer_flags).any(Flags::HANDSHAKE_IN_THE_CLEAR);
        let mut context = chosen.context(version, clear);
        context.requester_multi_key = requester_multi_key;
        context.multi_key = version >= Version::V1_3 && flags.multi_key(wants_several);
        let capabilities = &capable.exchange;
        let vca = [
            &capable.said,
            &capabilities.request,
            &capabilities.response,
            request,
            &response,
        ];
        let connection = Connection {
            provider: self.provider.clone(),
            transport: self.config.transport,
            negotiated: Negotiated {
                version,
                algorithms: chosen,
                peer_flags: capable.peer_flags,
                peer_transfer_size: capable.reach.sizes.transfer,
                peer_message_size: capable.reach.sizes.message,
            },
            own_flags: flags,
            records_max: self.config.records_max,
            context,
            vca: vca.concat(),
            peer_crypto_time: Duration::ZERO,
        };
        self.phase = Phase::Agreed(Box::new(Agreed {
            m1: None,
            l1: None,
            exchange: Exchanged::new(request, &response),
            digests: None,
            connection,
        }));
        Ok(Some(response))
    }

    /// Whether a requester that can shall use several keys (1.3).
    fn wants_several(&self) -> bool {
        self.config.mutual.as_ref().is_some_and(|mutual| mutual.multi_key)
    }

    /// Several keys are wanted of who has them only so, and of nobody who has not (1.3).
    fn check_multi_key(&self, version: Version, wanted: bool) -> Result<(), Refusal> {
        let right = match self.config.multi_key {
            _ if version < Version::V1_3 => true,
            MultiKey::No => !wanted,
            MultiKey::Only => wanted,
            MultiKey::Negotiated => true,
        };
        right.then_some(()).ok_or(INVALID)
    }

    /// A request before there is a connection, and its bytes without padding.
    fn read_early<'a, M: Payload<'a>>(
        &self,
        asked: Asked<'a>,
        version: Version,
    ) -> Result<(M, &'a [u8]), Refusal> {
        let context = Context::new(version);
        Ok(self.config.transport.read(true, asked.message, &context)?)
    }
}
