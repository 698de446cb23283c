//! What a responder is told once: what its device has. The capabilities that it shows follow from that.

use super::{
    endpoint::EndpointInfo,
    keys::{KeyPairs, NO_PAIR},
    mutual::Mutual,
    patience::Delay,
    provision::Provisioning,
    psk::Psk,
};
use crate::{
    crypto::{HashAlg, Signer},
    spdm::{
        ability,
        algorithms::{MeasurementHash, Offer},
        connection::{DEFAULT_VERSIONS, SECURED_VERSIONS},
        events::Types,
        msg::{SLOTS, Version, capabilities::Flags, digests::Key, measurements::Kind, version::Entry},
        transport::Transport,
    },
};
use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

/// What a responder is told once. What is not there is off: its capability flags are 0, and its requests are unsupported.
#[derive(Clone)]
pub struct ResponderConfig {
    /// The versions spoken.
    pub versions: Vec<Version>,
    /// What carries the messages.
    pub transport: Transport,
    /// Keys and their certificate chains, by slot.
    pub slots: [Option<Slot>; 8],
    /// A key that the requester was provisioned with, instead of any chain (PUB_KEY_ID_CAP).
    pub public_key: Option<PublicKey>,
    /// Whether a connection may use, or always uses, several keys (1.3).
    pub multi_key: MultiKey,
    /// Whether there are measurements, and whether they are signed.
    pub measured: Measured,
    /// What is measured, in ascending order of index.
    pub measurements: Vec<Measurement>,
    /// What digests among the measurements are made with.
    pub measurement_hash: MeasurementHash,
    /// Algorithms, by preference. Of the signature algorithms only the signers' are chosen.
    pub offer: Offer,
    /// Sessions, those in their handshake included. Further ones are refused.
    pub sessions_max: usize,
    /// How long a handshake may take before it is dropped.
    pub handshake_time: Duration,
    /// Seconds that a session may be silent, told to the requester; it ends after twice as many. 0 for as long as it likes.
    pub heartbeat_s: u8,
    /// Whether the handshake may go in clear, if the requester wants it too.
    pub handshake_in_clear: bool,
    /// Sessions on pre-shared keys.
    pub psk: Option<Psk>,
    /// How requesters authenticate themselves in turn.
    pub mutual: Option<Mutual>,
    /// Whether this side may make requests of its own in a session: new keys, for one (ENCAP_CAP). With `mutual` it may.
    pub encapsulated: bool,
    /// Versions of secured messages, by major and minor number.
    pub secured_versions: Vec<Entry>,
    /// Records that one key of a session may protect: then the session ends, unless the requester has had the keys
    /// updated before.
    pub records_max: u64,
    /// Bytes of the largest message that this side takes (DataTransferSize), at least 42.
    pub transfer_size: u32,
    /// CTExponent: signatures take at most 2^n µs.
    pub ct_exponent: u8,
    /// Bytes of the largest message that this side takes and gives in chunks (MaxSPDMmsgSize, CHUNK_CAP).
    pub chunk: Option<u32>,
    /// Who makes certificate signing requests, and who keeps certificates that are set.
    pub provisioning: Provisioning,
    /// The key pairs, where they are told of (GET_KEY_PAIR_INFO_CAP, 1.3).
    pub key_pairs: Option<KeyPairs>,
    /// The measurement extension log, in the DMTF's format (MEL_CAP, 1.3).
    pub mel: Option<Vec<u8>>,
    /// What the device says of itself (EP_INFO_CAP, 1.3).
    pub endpoint_info: Option<EndpointInfo>,
    /// The events that sessions may be told of (EVENT_CAP, 1.3); none if it tells of none.
    pub events: Types,
    /// Whether the requester's events are listened to (1.3).
    pub hears_events: bool,
    /// Capabilities that may be shown: any that is not among them is off, whatever the device has.
    pub capabilities: Flags,
    /// Requests that are not answered at once.
    pub delays: Vec<Delay>,
}

/// A key, and the certificate chain whose leaf it is of.
#[derive(Clone)]
pub struct Slot {
    /// The chain object: header, root hash, certificates. If it begins with its root, it is shown with that root's hash in the
    /// negotiated algorithm; else the one that it was made with is the only one to offer. Empty where the slot holds none: a
    /// chain may be set for its key.
    pub chain: Vec<u8>,
    /// The private key of the leaf.
    pub signer: Arc<dyn Signer>,
    /// What DIGESTS says of the key on a connection with several keys (1.3): on others any use is allowed.
    pub key: Key,
}

impl Slot {
    /// A chain whose key is the device's first, for every use.
    pub fn new(chain: Vec<u8>, signer: Arc<dyn Signer>) -> Self {
        let key = Key {
            pair: 1,
            certificate_info: MODEL_DEVICE,
            usage: usage::ANY,
        };
        Self { chain, signer, key }
    }

    /// The key of a key pair, for every use, that has no chain yet.
    pub(super) fn of_pair(pair: u8, signer: Arc<dyn Signer>) -> Self {
        let new = Self::new(Vec::new(), signer);
        let key = Key { pair, ..new.key };
        Self { key, ..new }
    }
}

/// The slots that hold a chain, with their numbers.
pub(in crate::spdm) fn held(slots: &[Option<Slot>; 8]) -> impl Iterator<Item = (u8, &Slot)> + Clone {
    let numbered = (0u8..).zip(slots);
    let there = numbered.filter_map(|(number, slot)| slot.as_ref().map(|slot| (number, slot)));
    there.filter(|(_, slot)| !slot.chain.is_empty())
}

/// A slot, if it holds a chain.
pub(in crate::spdm) fn holder(slots: &[Option<Slot>; 8], wanted: u8) -> Option<&Slot> {
    let found = held(slots).find(|(number, _)| *number == wanted);
    found.map(|(_, slot)| slot)
}

/// The slots that hold a chain, one bit each.
pub(in crate::spdm) fn provisioned(slots: &[Option<Slot>; 8]) -> u8 {
    held(slots).fold(0, |mask, (number, _)| mask | 1 << number)
}

/// Bits of [`Key::usage`] (DSP0274 1.3, "Key usage bit mask").
pub mod usage {
    /// KEY_EXCHANGE_RSP.
    pub const KEY_EXCHANGE: u16 = 1;
    /// CHALLENGE_AUTH.
    pub const CHALLENGE: u16 = 1 << 1;
    /// MEASUREMENTS.
    pub const MEASUREMENTS: u16 = 1 << 2;
    /// ENDPOINT_INFO.
    pub const ENDPOINT_INFO: u16 = 1 << 3;
    /// All of these.
    pub const ANY: u16 = KEY_EXCHANGE | CHALLENGE | MEASUREMENTS | ENDPOINT_INFO;
}

/// Certificate model of a chain that the vendor made for this device.
const MODEL_DEVICE: u8 = 1;

/// A key without a chain.
#[derive(Clone)]
pub struct PublicKey {
    /// The public key as both sides hold it, SubjectPublicKeyInfo in DER: transcripts have its digest.
    pub key: Vec<u8>,
    /// Its private half.
    pub signer: Arc<dyn Signer>,
}

/// How many keys a connection uses (MULTI_KEY_CAP, 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultiKey {
    /// One.
    #[default]
    No,
    /// Several, always.
    Only,
    /// Several, if the requester wants that.
    Negotiated,
}

/// Whether measurements can be had (MEAS_CAP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// No.
    No,
    /// Yes, without a signature.
    Unsigned,
    /// Yes, and signed on request.
    Signed,
}

/// One measurement, in the DMTF's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// 1 to 254.
    pub index: u8,
    /// What it is of.
    pub kind: Kind,
    /// Whether `value` is a raw bit stream rather than a digest.
    pub raw: bool,
    /// The value.
    pub value: Vec<u8>,
    /// What `value` is the digest of, for who asks for raw bit streams (1.2). Without it the value is all there is.
    pub bit_stream: Option<Vec<u8>>,
}

impl ResponderConfig {
    /// One chain in slot 0, and defaults for the rest.
    pub fn new(chain: Vec<u8>, signer: Arc<dyn Signer>, measurements: Vec<Measurement>) -> Self {
        let mut slots = [const { None }; 8];
        slots[0] = Some(Slot::new(chain, signer));
        Self {
            versions: DEFAULT_VERSIONS.to_vec(),
            transport: Transport::Doe,
            slots,
            public_key: None,
            multi_key: MultiKey::No,
            measured: Measured::Signed,
            measurements,
            measurement_hash: MeasurementHash::Hash(HashAlg::Sha384),
            offer: Offer::default(),
            sessions_max: 4,
            handshake_time: Duration::from_secs(60),
            heartbeat_s: 0,
            handshake_in_clear: false,
            psk: None,
            mutual: None,
            encapsulated: false,
            secured_versions: SECURED_VERSIONS.to_vec(),
            records_max: u64::MAX,
            transfer_size: 0x1200,
            ct_exponent: 20,
            chunk: None,
            provisioning: Provisioning::default(),
            key_pairs: None,
            mel: None,
            endpoint_info: None,
            events: Types::default(),
            hears_events: false,
            capabilities: Flags(u32::MAX),
            delays: Vec::new(),
        }
    }

    /// The capabilities shown in a version.
    pub fn flags(&self, version: Version) -> Flags {
        let mut flags = Flags::ENCRYPT | Flags::MAC | Flags::KEY_UPD | Flags::HBEAT | Flags::LARGE_RESPONSE;
        let identity = Flags::CHAL | Flags::KEY_EX;
        if self.slots.iter().any(Option::is_some) {
            flags = flags | identity | Flags::CERT;
        }
        if self.public_key.is_some() {
            flags = flags | identity | Flags::PUB_KEY_ID;
        }
        if self.handshake_in_clear {
            flags = flags | Flags::HANDSHAKE_IN_THE_CLEAR;
        }
        flags = match &self.psk {
            Some(psk) if psk.context => flags | Flags::PSK_WITH_CONTEXT,
            Some(_) => flags | Flags::PSK,
            None => flags,
        };
        if self.mutual.is_some() {
            flags = flags | Flags::MUT_AUTH;
        }
        if self.encapsulated || self.mutual.is_some() || !self.events.is_empty() {
            flags = flags | Flags::ENCAP;
        }
        flags = flags | self.measured.flags() | self.multi_key.flags() | self.optional_flags();
        let shown = flags.and(self.capabilities).and(ability::known(version));
        ability::consistent(version, shown)
    }

    /// Of what a device may do without.
    fn optional_flags(&self) -> Flags {
        let provisioning = &self.provisioning;
        let changes_keys = self.key_pairs.as_ref().is_some_and(|keys| keys.changer.is_some());
        let [tells, tells_signed] = self
            .endpoint_info
            .as_ref()
            .map_or([false; 2], |info| [!info.signed, info.signed]);
        let has = [
            (self.chunk.is_some(), Flags::CHUNK),
            (provisioning.csr.is_some(), Flags::CSR),
            (provisioning.store.is_some(), Flags::SET_CERT),
            (provisioning.after_reset, Flags::CERT_INSTALL_RESET),
            (self.key_pairs.is_some(), Flags::GET_KEY_PAIR_INFO),
            (changes_keys, Flags::SET_KEY_PAIR_INFO),
            (self.mel.is_some(), Flags::MEL),
            (tells, Flags::EP_INFO_NO_SIG),
            (tells_signed, Flags::EP_INFO_SIG),
            (!self.events.is_empty(), Flags::EVENT),
        ];
        let shown = has.iter().filter(|(there, _)| *there);
        shown.fold(Flags(0), |flags, (_, flag)| flags | *flag)
    }

    /// Whether a slot's key is still there: a key pair may have been erased, or made anew.
    pub(super) fn has_key(&self, slot: &Slot) -> bool {
        self.key_pairs.is_none() || slot.key.pair != NO_PAIR
    }

    /// What is told of a slot's key: as its key pair is now, where key pairs are told of.
    pub(super) fn key_of(&self, number: u8, slot: &Slot) -> Key {
        let pairs = self.key_pairs.as_ref();
        pairs.map_or(slot.key, |pairs| pairs.key_of(number, slot.key))
    }

    /// Whether a slot's key may sign for a use: on a connection with several keys it must be meant for that.
    pub(super) fn may_sign(&self, number: u8, slot: &Slot, wanted: Option<u16>) -> bool {
        let key = self.key_of(number, slot);
        let goes_with_it = self.key_pairs.is_none() || key.pair != NO_PAIR;
        goes_with_it && wanted.is_none_or(|wanted| key.usage & wanted != 0)
    }

    /// Bytes that a slot has room for, if there is such a slot: what it holds, where it cannot be written.
    pub(super) fn slot_size(&self, version: Version, number: u8) -> Option<u32> {
        let slot = self.slots.get(usize::from(number))?.as_ref();
        let holds = slot.map(|slot| u32::try_from(slot.chain.len()).unwrap_or(u32::MAX));
        let writable = self.flags(version).any(Flags::SET_CERT);
        let store = self.provisioning.store.as_ref().filter(|_| writable);
        let room = store.map(|store| store.capacity(number)).filter(|room| *room > 0);
        room.max(holds)
    }

    /// The slots that there are, whether they hold a chain or not, one bit each.
    pub(super) fn supported_slots(&self, version: Version) -> u8 {
        let there = (0..SLOTS).filter(|number| self.slot_size(version, *number).is_some());
        there.fold(0, |mask, number| mask | 1 << number)
    }

    /// Every key's owner.
    pub(super) fn signers(&self) -> impl Iterator<Item = &Arc<dyn Signer>> {
        let slots = self.slots.iter().flatten().map(|slot| &slot.signer);
        slots.chain(self.public_key.iter().map(|key| &key.signer))
    }
}

impl Measured {
    fn flags(self) -> Flags {
        match self {
            Self::No => Flags(0),
            Self::Unsigned => Flags::MEAS_NO_SIG | Flags::MEAS_FRESH,
            Self::Signed => Flags::MEAS_SIG | Flags::MEAS_FRESH,
        }
    }
}

impl MultiKey {
    pub(in crate::spdm) fn flags(self) -> Flags {
        match self {
            Self::No => Flags(0),
            Self::Only => Flags::MULTI_KEY_ONLY,
            Self::Negotiated => Flags::MULTI_KEY_NEGOTIATED,
        }
    }
}

impl core::fmt::Debug for ResponderConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ResponderConfig({:?}, {:?})", self.versions, self.offer)
    }
}

impl core::fmt::Debug for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Slot({} bytes, {:?})", self.chain.len(), self.key)
    }
}

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PublicKey({} bytes)", self.key.len())
    }
}
