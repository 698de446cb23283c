//! What a requester is told, and what it tells.

use super::{provision::KeyPairInfo, psk::PreShared};
use crate::{
    crypto::Digest,
    spdm::{
        ability,
        algorithms::Offer,
        connection::{DEFAULT_VERSIONS, Negotiated, SECURED_VERSIONS},
        encapsulated::Identity,
        error::{Error, Misbehaviour},
        events::{self, Types},
        msg::{Code, Summary, Version, capabilities::Flags, error::ErrorCode, version::Entry},
        portions::CHAIN_SIZE_MAX,
        responder::EndpointInfo,
        transport::Transport,
    },
};
use alloc::vec::Vec;
use core::time::Duration;

/// What a requester is told once.
#[derive(Debug, Clone)]
pub struct RequesterConfig {
    /// The versions accepted; the highest that the responder has too is spoken.
    pub versions: Vec<Version>,
    /// What carries the messages.
    pub transport: Transport,
    /// The slot whose chain and key `connect` uses, 0 to 7; [`identify`](super::Requester::identify) asks for others.
    pub slot: u8,
    /// The responder's key, if it was provisioned and there is no chain: SubjectPublicKeyInfo in DER (PUB_KEY_ID_CAP).
    pub public_key: Option<Vec<u8>>,
    /// Which certificate chains go.
    pub roots: Trust,
    /// How far `connect` goes.
    pub goal: Goal,
    /// Whether CHALLENGE is a part of that. Without it a session still proves who the responder is.
    pub challenge: bool,
    /// Whether to use several keys with a responder that leaves the choice (1.3).
    pub multi_key: bool,
    /// How long things may take.
    pub timing: Timing,
    /// The algorithms offered.
    pub offer: Offer,
    /// Whether to ask for all algorithms that the responder has (1.3), which comes as [`Event::Supported`]. The answer may
    /// be large, so that only who has [`Self::chunk`] can ask.
    pub supported_asked: bool,
    /// Which measurements CHALLENGE and session handshakes shall sum up, told with [`Event::Summary`]; a responder without
    /// measurements sums up none.
    pub summary: Summary,
    /// Whether the handshake may go in clear, if the responder wants it too. The application's messages never do.
    pub handshake_in_clear: bool,
    /// Bytes of the largest message that this side takes (DataTransferSize), at least 42.
    pub transfer_size: u32,
    /// Bytes of the largest message that this side takes and gives in chunks (MaxSPDMmsgSize, CHUNK_CAP, 1.2).
    pub chunk: Option<u32>,
    /// What this side says of itself, if the responder asks (EP_INFO_CAP, 1.3); signed with [`Self::identity`].
    pub endpoint_info: Option<EndpointInfo>,
    /// The events of its own that this side tells of (EVENT_CAP, 1.3); none if it tells of none.
    pub events: Types,
    /// Bytes of the largest certificate chain that this side takes; before 1.4 none can be larger than 65535.
    pub chain_size_max: usize,
    /// Sessions at a time.
    pub sessions_max: usize,
    /// What is asked for with a session.
    pub session_policy: SessionPolicy,
    /// What this side authenticates itself with, if the responder asks for it; [`Self::offer`] must have an algorithm for that.
    pub identity: Option<Identity>,
    /// The key of sessions on a pre-shared key.
    pub psk: Option<PreShared>,
    /// Whether the responder may make requests of its own in a session (ENCAP_CAP). With `identity` it may.
    pub encapsulated: bool,
    /// Versions of secured messages offered.
    pub secured_versions: Vec<Entry>,
    /// Records that one key of a session may protect: before that the session's keys are updated, if the responder can.
    pub records_max: u64,
    /// Capabilities that may be shown: any that is not among them is off.
    pub capabilities: Flags,
}

impl RequesterConfig {
    /// The versions accepted that have all that is wanted.
    pub(super) fn spoken(&self) -> Vec<Version> {
        let has = |version: &Version| *version >= Version::V1_2 || !self.session_policy.ends_with_change;
        self.versions.iter().copied().filter(has).collect()
    }

    /// The capabilities shown in a version.
    pub(super) fn flags(&self, version: Version) -> Flags {
        let mut flags = Flags::ENCRYPT | Flags::MAC | Flags::KEY_EX | Flags::HBEAT | Flags::KEY_UPD;
        if self.handshake_in_clear {
            flags = flags | Flags::HANDSHAKE_IN_THE_CLEAR;
        }
        if self.chunk.is_some() {
            flags = flags | Flags::CHUNK;
        }
        if let Some(info) = &self.endpoint_info {
            let signs = info.signed && self.identity.is_some();
            flags = flags
                | if signs {
                    Flags::EP_INFO_SIG
                } else {
                    Flags::EP_INFO_NO_SIG
                };
        }
        if !self.events.is_empty() {
            flags = flags | Flags::EVENT;
        }
        if let Some(identity) = &self.identity {
            flags = flags | identity.flags();
        }
        if self.psk.is_some() {
            flags = flags | Flags::PSK;
        }
        if self.encapsulated {
            flags = flags | Flags::ENCAP;
        }
        flags.and(self.capabilities).and(ability::known(version))
    }
}

impl Default for RequesterConfig {
    fn default() -> Self {
        Self {
            versions: DEFAULT_VERSIONS.to_vec(),
            transport: Transport::Doe,
            slot: 0,
            public_key: None,
            roots: Trust::Pinned(Vec::new()),
            goal: Goal::Session,
            challenge: true,
            multi_key: false,
            timing: Timing::default(),
            offer: Offer::default(),
            supported_asked: false,
            summary: Summary::NONE,
            handshake_in_clear: false,
            transfer_size: 0x1200,
            chunk: None,
            endpoint_info: None,
            events: Types::default(),
            chain_size_max: CHAIN_SIZE_MAX,
            sessions_max: 4,
            session_policy: SessionPolicy::default(),
            identity: None,
            psk: None,
            encapsulated: false,
            secured_versions: SECURED_VERSIONS.to_vec(),
            records_max: u64::MAX,
            capabilities: Flags(u32::MAX),
        }
    }
}

/// Who decides whether the responder's root certificate is a good one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// This machine: the chain must begin with a root certificate that has one of these digests (in the negotiated hash),
    /// and be a path from there to a leaf whose key may sign. Anything else is a failure, never a warning. Dates and
    /// revocation lists are not looked at.
    Pinned(Vec<Digest>),
    /// Somebody else, later, with the chain that [`Event::Certificates`] shows. This is the TSM's lot: it proves that
    /// the session's other end holds the leaf key, and vouches for the chain's digest; the guest that relies on it judges the
    /// chain against its own roots.
    RelyingPartyDecides,
}

/// What becomes of a session by itself (SessionPolicy of KEY_EXCHANGE and PSK_EXCHANGE, 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionPolicy {
    /// It ends when the responder's code or configuration changes. Otherwise what becomes of it then is up to the responder, and
    /// whoever relies on measurements asks for them. Before 1.2 nobody can wish so: such versions are not spoken then.
    pub ends_with_change: bool,
    /// It is told of all events that the responder has, from its start on (EventAllPolicy, 1.3). One that has none opens the
    /// session all the same.
    pub all_events: bool,
}

impl SessionPolicy {
    /// TerminationPolicy: what becomes of the session is up to the responder.
    const LEFT_TO_RESPONDER: u8 = 1 << 0;
    /// EventAllPolicy.
    const ALL_EVENTS: u8 = 1 << 1;

    /// SessionPolicy as it is sent in a version, to a responder with these capabilities.
    pub(super) fn bits(self, version: Version, peer: Flags) -> u8 {
        let told = self.all_events && version >= Version::V1_3 && peer.any(Flags::EVENT);
        let left = if self.ends_with_change {
            0
        } else {
            Self::LEFT_TO_RESPONDER
        };
        left | if told { Self::ALL_EVENTS } else { 0 }
    }
}

/// How far `connect` goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// To [`Event::Connected`]: nothing is known of the responder, but what it says of itself.
    Connection,
    /// To [`Event::Challenged`]: the responder's identity is proven. Measurements may be asked for then. Without
    /// [`RequesterConfig::challenge`] to [`Event::Certificates`], of which nothing is proven yet.
    Identity,
    /// To [`Event::SessionReady`].
    Session,
    /// To [`Event::SessionReady`] of a session on the pre-shared key: no certificate is asked for.
    PskSession,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// For an answer, the way there and back included.
    pub answer: Duration,
    /// What a responder may ask for on top, at most, where it must compute a signature (CTExponent), and at a time where its
    /// answer is not ready (ResponseNotReady).
    pub crypto_max: Duration,
    /// Between tries when the responder is busy.
    pub retry_after: Duration,
    /// Tries of one request after the first.
    pub retries: u8,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(5),
            crypto_max: Duration::from_secs(30),
            retry_after: Duration::from_millis(100),
            retries: 8,
        }
    }
}

/// What a requester tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What the responder could have chosen, as [`algorithms::Request::of_supported_block`] reads it: nothing of it is
    /// authenticated before [`Event::Challenged`]. A responder that has no chunks does not say.
    ///
    /// [`algorithms::Request::of_supported_block`]: crate::spdm::msg::algorithms::Request::of_supported_block
    Supported {
        /// The version that it is in.
        version: Version,
        /// The block, from its first byte on.
        block: Vec<u8>,
    },
    /// Version, capabilities and algorithms are settled. Nothing of it is authenticated before [`Event::Challenged`].
    Connected(Negotiated),
    /// The chain object of the slot: its digest is the one told, and its leaf has a key of the negotiated algorithm. With
    /// [`RequesterConfig::challenge`] it does not count before [`Event::Challenged`].
    Certificates {
        /// The slot.
        slot: u8,
        /// The whole chain object.
        chain: Vec<u8>,
    },
    /// The responder has signed our nonce, and all that was said before, with the leaf key, or with the key that was
    /// provisioned. From now on that key counts outside sessions, and in those that are opened with it.
    Challenged,
    /// The chain object of a slot, as it was shown in a session: its digest is the one told there, and if roots are pinned it
    /// leads to one of them. Whose key counts is as it was.
    ChainShown {
        /// The session.
        session: u32,
        /// The slot.
        slot: u8,
        /// The whole chain object.
        chain: Vec<u8>,
    },
    /// A slot that was asked for at rest does not do: it is empty, its key is not for that or of another algorithm, or its
    /// chain is none that goes. The connection stays as it was, with the identity that it had.
    SlotRefused {
        /// The slot.
        slot: u8,
        /// What there is instead.
        why: Misbehaviour,
    },
    /// The hash over the measurements that [`RequesterConfig::summary`] names: a part of what the responder has proven last.
    Summary(Digest),
    /// Measurements, if it was asked for so signed over our nonce.
    Measurements(MeasurementRecord),
    /// The session is up.
    SessionReady {
        /// Its id.
        id: u32,
    },
    /// The answer to `vendor`: the PCI-SIG's payload, protocol byte first.
    Vendor(Vec<u8>),
    /// A certificate signing request, PKCS#10 in DER.
    Csr(Vec<u8>),
    /// A slot holds what it should.
    CertificateSet {
        /// The slot.
        slot: u8,
    },
    /// A key pair.
    KeyPairInfo(KeyPairInfo),
    /// A key pair is what it should be.
    KeyPairSet {
        /// Its ID.
        id: u8,
    },
    /// The measurement extension log: in the DMTF's format, as [`Log`](crate::spdm::msg::mel::Log) reads it. Nothing of it is
    /// authenticated outside a session; what it says adds up to measurements, or it is wrong.
    MeasurementLog(Vec<u8>),
    /// What the responder says of itself.
    EndpointInfo {
        /// Device classes, as [`DeviceClasses`](crate::spdm::msg::endpoint_info::DeviceClasses) reads them.
        info: Vec<u8>,
        /// Whether it has signed that, with our nonce.
        signed: bool,
    },
    /// The types of events that a session can be told of.
    EventTypes(Types),
    /// The session is told of these types of events from now on.
    Subscribed(Types),
    /// The responder has acknowledged events of ours.
    EventsTold,
    /// The responder has told of events in a session.
    Told {
        /// The session.
        session: u32,
        /// The events, in the order of their numbers.
        events: Vec<events::Event>,
    },
    /// The responder wants to be told of these types of events in a session from now on.
    Wanted {
        /// The session.
        session: u32,
        /// The types.
        types: Types,
    },
    /// What the responder wanted to ask in a session is answered.
    RequestsAnswered {
        /// The session.
        session: u32,
    },
    /// The session has new keys, in one direction or both.
    KeysUpdated,
    /// The session is closed, as asked.
    SessionEnded,
    /// The responder refuses a request that was worth a try. The connection stays as it was.
    Refused {
        /// The message that was waited for.
        awaited: Code,
        /// The error.
        code: ErrorCode,
        /// What the standard adds to that error.
        data: u8,
    },
    /// The connection is over, and with it the session.
    Failed(Error),
}

/// Measurements; signed ones are evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasurementRecord {
    /// VCA ‖ GET_MEASUREMENTS ‖ MEASUREMENTS with its signature: the exact bytes. If some were asked for without a signature
    /// before, GET_MEASUREMENTS ‖ MEASUREMENTS of each of them comes in front of the signed ones.
    pub blob: Vec<u8>,
    /// The nonce that was asked with, if it was asked for a signature.
    pub nonce: [u8; 32],
    /// The slot whose key has signed them, as [`Requester::identify`](super::Requester::identify) names it, if they are signed.
    pub signer: Option<u8>,
    /// How many measurements there are, if that was asked for.
    pub count: Option<u8>,
    /// The measurement record of the answer: blocks, one behind the other.
    pub record: Vec<u8>,
}
