//! What both ends hold once ALGORITHMS is exchanged: the choice, and the bytes (VCA) that every signature covers.

use super::{
    algorithms::Chosen,
    error::Misbehaviour,
    msg::{
        Context, Version,
        capabilities::{DATA_TRANSFER_SIZE_MIN, Flags, Sizes},
        version::Entry,
    },
    transcript::Transcript,
    transport::Transport,
};
use crate::crypto::{Digest, ExchangeAlg, Provider, SignAlg, digest};
use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

/// The SPDM versions that the machines here can speak, lowest first.
pub const VERSIONS: &[Version] = &[
    Version::V1_0,
    Version::V1_1,
    Version::V1_2,
    Version::V1_3,
    Version::V1_4,
];

/// Those of them that they speak unless told otherwise: the older ones' signatures do not say what they are for.
pub const DEFAULT_VERSIONS: &[Version] = &[Version::V1_2, Version::V1_3, Version::V1_4];

/// The versions of secured messages (DSP0277) that the machines here speak, lowest first. They differ in nothing but that
/// 1.2 settled the byte order of the nonce, in which the others were read both ways.
pub const SECURED_VERSIONS: &[Entry] = &[Entry(0x1000), Entry(0x1100), Entry(0x1200)];

/// What a connection has settled on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The version.
    pub version: Version,
    /// The algorithms.
    pub algorithms: Chosen,
    /// The peer's capability flags.
    pub peer_flags: Flags,
    /// Bytes of the largest message that the peer takes in one piece.
    pub peer_transfer_size: u32,
    /// Bytes of the largest message that the peer takes at all: more than in one piece where both sides have chunks.
    pub peer_message_size: u32,
}

/// What a peer takes, once it has told its capabilities: how large messages go to it, and come from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub(super) version: Version,
    /// Whether both sides have chunks.
    pub(super) chunks: bool,
    /// Bytes of the largest message that the peer takes in one piece, and at all.
    pub(super) sizes: Sizes,
    /// What carries records, whose length has 16 bits.
    pub(super) transport: Transport,
}

impl Reach {
    /// Of what both sides can, and of the sizes that the peer has told, if its version has them: those without have no limit
    /// but a peer's patience, for which this side's is as good a guess as any.
    pub(super) fn new(version: Version, both: Flags, told: Option<Sizes>, own: Own) -> Self {
        let chunks = both.contains(Flags::CHUNK);
        let told = told.unwrap_or(Sizes {
            transfer: own.transfer_size,
            message: own.transfer_size,
        });
        Self {
            version,
            chunks,
            sizes: Sizes {
                message: if chunks { told.message } else { told.transfer },
                ..told
            },
            transport: own.transport,
        }
    }

    /// Before the peer has told anything: the least that every one takes, and chunks if this side has them.
    pub(super) fn before_capabilities(version: Version, own_flags: Flags, own: Own) -> Self {
        let sizes = Sizes {
            transfer: DATA_TRANSFER_SIZE_MIN,
            message: DATA_TRANSFER_SIZE_MIN,
        };
        Self::new(version, own_flags, Some(sizes), own)
    }

    /// Bytes of the largest message that the peer takes in one piece: in a session no more than a record holds, however
    /// much the peer takes.
    pub(super) fn room(&self, in_session: bool) -> usize {
        let room = self.sizes.transfer as usize;
        match in_session {
            true => room.min(usize::from(u16::MAX) - self.transport.record_overhead()),
            false => room,
        }
    }

    /// Bytes of the largest message that the peer takes at all.
    pub(super) fn most(&self, in_session: bool) -> usize {
        match self.chunks {
            true => self.sizes.message as usize,
            false => self.room(in_session),
        }
    }
}

/// What an end knows of itself, where its peer has told nothing yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    pub(super) transfer_size: u32,
    pub(super) transport: Transport,
}

/// A connection after ALGORITHMS.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) transport: Transport,
    pub(super) negotiated: Negotiated,
    /// This side's capability flags.
    pub(super) own_flags: Flags,
    /// Records that one key of a session may protect.
    pub(super) records_max: u64,
    /// For decoding what follows.
    pub(super) context: Context,
    /// GET_VERSION through ALGORITHMS, without padding.
    pub(super) vca: Vec<u8>,
    /// How long the peer may compute before it answers (CTExponent).
    pub(super) peer_crypto_time: Duration,
}

impl Connection {
    /// Whether sessions encrypt what is said in them, or authenticate it only: both ends must be able to.
    pub(super) fn encrypts(&self) -> bool {
        let both = self.own_flags.and(self.negotiated.peer_flags);
        both.contains(Flags::ENCRYPT)
    }

    /// A transcript that begins with VCA.
    pub(super) fn transcript_from_vca(&self) -> Transcript {
        let mut transcript = self.empty_transcript();
        transcript.add(&self.vca);
        transcript
    }

    /// M1/M2 of a requester's CHALLENGE_AUTH before anything is in it: the VCA from 1.2 on.
    pub(super) fn mutual_transcript(&self) -> Transcript {
        self.measurement_transcript()
    }

    /// L1/L2 before the first GET_MEASUREMENTS.
    pub(super) fn measurement_transcript(&self) -> Transcript {
        match self.negotiated.version < Version::V1_2 {
            true => self.empty_transcript(),
            false => self.transcript_from_vca(),
        }
    }

    /// TH before KEY_EXCHANGE: VCA, the first DIGESTS if the responder uses several keys on this connection (1.3), and the
    /// digest of its chain or its provisioned key.
    pub(super) fn session_transcript(&self, digests: Option<&[u8]>, identity: &Digest) -> Transcript {
        let mut th = self.transcript_from_vca();
        if let Some(digests) = digests.filter(|_| self.context.multi_key) {
            th.add(digests);
        }
        th.add(identity.as_ref());
        th
    }

    fn empty_transcript(&self) -> Transcript {
        let hash = self.negotiated.algorithms.hash;
        Transcript::new(&*self.provider, hash, self.negotiated.version)
    }

    /// What the responder signs with.
    pub(super) fn sign_alg(&self) -> Result<SignAlg, Misbehaviour> {
        self.negotiated
            .algorithms
            .sign
            .ok_or(Misbehaviour::NotNegotiated {
                what: "signature algorithm",
            })
    }

    /// How a shared secret is come by.
    pub(super) fn exchange_alg(&self) -> Result<ExchangeAlg, Misbehaviour> {
        self.negotiated
            .algorithms
            .exchange
            .ok_or(Misbehaviour::NotNegotiated {
                what: "key exchange algorithm",
            })
    }

    /// What the peer takes.
    pub(super) fn reach(&self) -> Reach {
        let negotiated = &self.negotiated;
        Reach {
            version: negotiated.version,
            chunks: self.own_flags.and(negotiated.peer_flags).contains(Flags::CHUNK),
            sizes: Sizes {
                transfer: negotiated.peer_transfer_size,
                message: negotiated.peer_message_size,
            },
            transport: self.transport,
        }
    }

    pub(super) fn digest(&self, bytes: &[u8]) -> Digest {
        digest(&*self.provider, self.negotiated.algorithms.hash, bytes)
    }

    /// Where a signed message's signature starts, if it ends the message.
    pub(super) fn unsigned<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        let signature = self.context.signature_size;
        &message[..message.len().saturating_sub(signature)]
    }
}

impl core::fmt::Debug for Connection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Connection({:?})", self.negotiated)
    }
}
