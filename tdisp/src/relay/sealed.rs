//! The guest's channel to the TSM, through a host that may do with the messages what it likes.
//!
//! Both ends hold a key that is this VM's alone, placed by the platform where the host cannot read it.
//!
//! ```text
//!        guest                            host                             TSM
//!   ┌──────────┐ Open: guest random, tag    │                         ┌──────────┐
//!   │ Opening  │ ──────────────────────────►│────────────────────────►│ (any)    │ the old channel is gone
//!   └────┬─────┘                            │ Opened: TSM random, tag │    │     │
//!        ▼       ◄──────────────────────────│◄────────────────────────│    ▼     │
//!   ┌──────────┐ Request n, encrypted       │                         │          │
//!   │ Guest    │ ──────────────────────────►│────────────────────────►│ open     │
//!   │          │ ◄──────────────────────────│◄────────────────────────│          │
//!   └────┬─────┘       Response n, encrypted│                         └────┬─────┘
//!        ▼ anything wrong                   │                              ▼ anything wrong
//!      closed: only a new Open helps                                     closed
//! ```
//!
//! * A message is `u8 version ‖ u8 kind ‖ u16 0 ‖ u64 sequence ‖ content`; its 12-byte header is authenticated.
//! * The keys of a channel come by HKDF-SHA-384 from the VM's key and both random values, one for each direction:
//!   a message of another channel, another VM or the other direction does not open.
//! * Content is AES-256-GCM under the direction's key; the nonce is the sequence number, and each number is used
//!   once.
//! * Requests and responses alternate; response n answers request n.
//! * A message that is repeated, out of order, cut, altered, forged or sent back to its sender closes the channel
//!   with an [`Error`] that says which; what a closed channel is given it refuses.
//! * An Open replaces the TSM's channel. The host can replay an old Open and so interrupt service; it cannot use
//!   the channel that this makes, because the TSM's random value is new.
//! * Only a response that opened becomes a [`Vouched`]; there is no other way to make one.
//! * Derived secrets are erased when they are dropped; the two AEAD keys live in the provider.

use super::guest::{Request, Response, TdiInfo};
use crate::{
    crypto::{Aead, AeadAlg, CryptoError, HashAlg, Provider, Secret, TAG_SIZE, hkdf_expand, same},
    open_enum,
    wire::{DecodeError, Reader, Write},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};

/// Bytes of the shortest key of a VM.
pub const KEY_SIZE_MIN: usize = 32;

/// Why a channel is closed, or could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The VM's key is too short to be one.
    #[error(
        "the VM's key has {found} bytes, wanted at least 32; the platform did not provide it as it should"
    )]
    WeakKey {
        /// Its length.
        found: usize,
    },
    /// The channel was closed by an earlier error, or never opened.
    #[error("the channel to the TSM is not open; open a new one")]
    Closed,
    /// The caller sealed a second message before the first was answered. The channel stays open.
    #[error("the last request has not been answered yet; one at a time")]
    Busy,
    /// The caller answered what nobody asked. The channel stays open.
    #[error("there is no request to answer")]
    NothingAsked,
    /// The message does not have the channel's form.
    #[error("a message of the channel to the TSM is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The message is of another kind, such as a message of one's own sent back.
    #[error(
        "the channel to the TSM brought a message of kind {found}, wanted {wanted}: it was reflected or misplaced"
    )]
    Kind {
        /// Its kind.
        found: Kind,
        /// The kind that was due.
        wanted: Kind,
    },
    /// The message is a repetition, or one before it is missing.
    #[error(
        "the channel to the TSM brought message {found}, wanted {wanted}: it was repeated, lost or reordered"
    )]
    Sequence {
        /// Its number.
        found: u64,
        /// The number that was due.
        wanted: u64,
    },
    /// The message was altered or forged, or made with another key.
    #[error(
        "a message of the channel to the TSM is not authentic: it was altered, or the two ends hold different keys"
    )]
    Forged,
    /// The message is authentic but does not answer the request.
    #[error("the TSM answered something else than it was asked")]
    WrongAnswer,
    /// All sequence numbers are used.
    #[error("the channel to the TSM is used up; open a new one")]
    Exhausted,
    /// The cryptographic provider failed.
    #[error("the channel to the TSM failed: {0}")]
    Crypto(CryptoError),
}

open_enum! {
    /// What a message is.
    pub struct Kind(u8) {
        /// Guest to TSM: a new channel.
        OPEN = 1,
        /// TSM to guest: the channel is there.
        OPENED = 2,
        /// Guest to TSM.
        REQUEST = 3,
        /// TSM to guest.
        RESPONSE = 4,
    }
}

/// What the TSM said, proven to come from it.
///
/// No constructor: only [`Guest::open`] makes one, from a response that authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched<T>(T);

impl<T> Vouched<T> {
    /// The value, no longer marked.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> core::ops::Deref for Vouched<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl Vouched<Response> {
    /// What the TSM knows about a TDI, if this is the answer to that question.
    pub fn tdi_info(self) -> Option<Vouched<TdiInfo>> {
        match self.0 {
            Response::TdiInfo(info) => Some(Vouched(info)),
            _ => None,
        }
    }
}

/// The guest's end before the TSM has answered.
pub struct Opening {
    provider: Arc<dyn Provider>,
    key: Secret,
    random: [u8; RANDOM_SIZE],
}

/// The guest's end.
pub struct Guest {
    channel: Option<Channel>,
    asked: Option<Request>,
}

impl core::fmt::Debug for Opening {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("sealed::Opening")
    }
}

impl core::fmt::Debug for Guest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "sealed::Guest(open: {})", self.is_open())
    }
}

impl Guest {
    /// Begins a channel: the bytes are for the TSM, whose answer [`Opening::opened`] takes.
    pub fn begin(key: &Secret, provider: Arc<dyn Provider>) -> Result<(Opening, Vec<u8>), Error> {
        check_key(key)?;
        let mut random = [0; RANDOM_SIZE];
        provider.random(&mut random).map_err(Error::Crypto)?;
        let message = hello(Kind::OPEN, &random, &open_tag(&*provider, key, &random));
        Ok((
            Opening {
                provider,
                key: key.clone(),
                random,
            },
            message,
        ))
    }

    /// Seals a request; its response comes before the next one.
    pub fn seal(&mut self, request: &Request) -> Result<Vec<u8>, Error> {
        let channel = self.channel.as_mut().ok_or(Error::Closed)?;
        if self.asked.is_some() {
            return Err(Error::Busy);
        }
        let mut plain = Vec::new();
        request.encode(&mut plain);
        let sealed = channel.seal(Kind::REQUEST, &plain);
        self.channel = self.channel.take().filter(|_| sealed.is_ok());
        self.asked = Some(request.clone());
        sealed
    }

    /// Opens the response to the last request. After an error the channel is closed.
    pub fn open(&mut self, response: &[u8]) -> Result<Vouched<Response>, Error> {
        let mut channel = self.channel.take().ok_or(Error::Closed)?;
        let (found, wanted) = (peek(response)?, Kind::RESPONSE);
        let asked = self.asked.take().ok_or(Error::Kind { found, wanted });
        let plain = channel.open(Kind::RESPONSE, response)?;
        let response = Response::decode(&plain)?;
        if !response.answers(&asked?) {
            return Err(Error::WrongAnswer);
        }
        self.channel = Some(channel);
        Ok(Vouched(response))
    }

    /// Whether requests can be sealed.
    pub fn is_open(&self) -> bool {
        self.channel.is_some()
    }
}

impl Opening {
    /// Takes the TSM's answer. An error ends the attempt: begin a new one.
    pub fn opened(self, message: &[u8]) -> Result<Guest, Error> {
        let (random, tag) = parse_hello(Kind::OPENED, message)?;
        let keys = Keys::derive(&*self.provider, &self.key, &self.random, &random);
        if !same(keys.opened_tag(&*self.provider).expose(), &tag) {
            return Err(Error::Forged);
        }
        let channel = Channel::new(&*self.provider, &keys.guest, &keys.tsm)?;
        Ok(Guest {
            channel: Some(channel),
            asked: None,
        })
    }
}

/// The TSM's end: one for each VM, for the VM's whole life.
pub struct Tsm {
    provider: Arc<dyn Provider>,
    key: Secret,
    channel: Option<Channel>,
    asked: bool,
}

impl core::fmt::Debug for Tsm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "sealed::Tsm(open: {})", self.channel.is_some())
    }
}

/// What a message from the guest's side brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A new channel is open; send these bytes back.
    Opened(Vec<u8>),
    /// The guest asks; answer with [`Tsm::seal`].
    Request(Request),
}

impl Tsm {
    /// No channel is open yet.
    pub fn new(key: Secret, provider: Arc<dyn Provider>) -> Result<Self, Error> {
        check_key(&key)?;
        Ok(Self {
            provider,
            key,
            channel: None,
            asked: false,
        })
    }

    /// Takes a message. After an error there is no channel until the guest opens a new one.
    pub fn receive(&mut self, message: &[u8]) -> Result<Incoming, Error> {
        let channel = self.channel.take();
        if peek(message) == Ok(Kind::OPEN) {
            return self.opened(message).map(Incoming::Opened);
        }
        let mut channel = channel.ok_or(Error::Closed)?;
        let plain = channel.open(Kind::REQUEST, message)?;
        if self.asked {
            // Authentic, but the guest never sends a second request before the first is answered.
            return Err(Error::Busy);
        }
        let request = Request::decode(&plain)?;
        self.channel = Some(channel);
        self.asked = true;
        Ok(Incoming::Request(request))
    }

    /// Seals the answer to the last request.
    pub fn seal(&mut self, response: &Response) -> Result<Vec<u8>, Error> {
        let channel = self.channel.as_mut().ok_or(Error::Closed)?;
        if !core::mem::take(&mut self.asked) {
            return Err(Error::NothingAsked);
        }
        let mut plain = Vec::new();
        response.encode(&mut plain);
        let sealed = channel.seal(Kind::RESPONSE, &plain);
        self.channel = self.channel.take().filter(|_| sealed.is_ok());
        sealed
    }

    fn opened(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let (guest, tag) = parse_hello(Kind::OPEN, message)?;
        if !same(open_tag(&*self.provider, &self.key, &guest).expose(), &tag) {
            return Err(Error::Forged);
        }
        let mut random = [0; RANDOM_SIZE];
        self.provider.random(&mut random).map_err(Error::Crypto)?;
        let keys = Keys::derive(&*self.provider, &self.key, &guest, &random);
        self.channel = Some(Channel::new(&*self.provider, &keys.tsm, &keys.guest)?);
        self.asked = false;
        Ok(hello(Kind::OPENED, &random, &keys.opened_tag(&*self.provider)))
    }
}

/// Two directions of one channel, as one end sees them.
struct Channel {
    sending: Direction,
    receiving: Direction,
}

struct Direction {
    key: Box<dyn Aead>,
    sequence: u64,
}

impl Channel {
    fn new(provider: &dyn Provider, sending: &Secret, receiving: &Secret) -> Result<Self, Error> {
        let direction = |key: &Secret| {
            let key = provider
                .aead(AeadAlg::Aes256Gcm, key.expose())
                .map_err(Error::Crypto)?;
            Ok::<_, Error>(Direction { key, sequence: 0 })
        };
        Ok(Self {
            sending: direction(sending)?,
            receiving: direction(receiving)?,
        })
    }

    fn seal(&mut self, kind: Kind, content: &[u8]) -> Result<Vec<u8>, Error> {
        let sequence = self.sending.take_number()?;
        let mut message = Vec::with_capacity(HEADER_SIZE + content.len() + TAG_SIZE);
        header(kind, sequence, &mut message);
        let start = message.len();
        message.extend_from_slice(content);
        let (aad, content) = message.split_at_mut(start);
        let sealed = self.sending.key.seal(nonce(sequence), aad, content);
        message.extend_from_slice(&sealed.map_err(Error::Crypto)?);
        Ok(message)
    }

    fn open(&mut self, wanted: Kind, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut r = Reader::new(message);
        let (found, sequence) = parse_header(&mut r)?;
        if found != wanted {
            return Err(Error::Kind { found, wanted });
        }
        let (aad, content) = message.split_at(r.consumed());
        // The number is claimed by the sender; it is compared before and proven by the tag.
        let due = self.receiving.sequence;
        if sequence != due {
            return Err(Error::Sequence {
                found: sequence,
                wanted: due,
            });
        }
        let mut plain = content.to_vec();
        let opened = self.receiving.key.open(nonce(sequence), aad, &mut plain);
        let size = opened.map_err(|_| Error::Forged)?.len();
        plain.truncate(size);
        self.receiving.take_number()?;
        Ok(plain)
    }
}

impl Direction {
    fn take_number(&mut self) -> Result<u64, Error> {
        let number = self.sequence;
        self.sequence = number.checked_add(1).ok_or(Error::Exhausted)?;
        Ok(number)
    }
}

struct Keys {
    guest: Secret,
    tsm: Secret,
    confirm: Secret,
}

impl Keys {
    fn derive(
        provider: &dyn Provider,
        key: &Secret,
        guest: &[u8; RANDOM_SIZE],
        tsm: &[u8; RANDOM_SIZE],
    ) -> Self {
        // HKDF-Extract with both random values as the salt.
        let salt = [guest.as_slice(), tsm].concat();
        let prk = provider.hmac(HASH, &salt, &[key.expose()]);
        let expand = |label: &[u8], size| hkdf_expand(provider, HASH, &prk, &[LABEL, label], size);
        Self {
            guest: expand(b"guest to TSM", AeadAlg::Aes256Gcm.key_size()),
            tsm: expand(b"TSM to guest", AeadAlg::Aes256Gcm.key_size()),
            confirm: expand(b"opened", HASH.size()),
        }
    }

    fn opened_tag(&self, provider: &dyn Provider) -> Secret {
        provider.hmac(HASH, self.confirm.expose(), &[LABEL, b"opened"])
    }
}

/// Proves that an Open comes from a holder of the VM's key, so that the TSM answers nobody else.
fn open_tag(provider: &dyn Provider, key: &Secret, random: &[u8; RANDOM_SIZE]) -> Secret {
    let prk = provider.hmac(HASH, b"", &[key.expose()]);
    let open = hkdf_expand(provider, HASH, &prk, &[LABEL, b"open"], HASH.size());
    provider.hmac(HASH, open.expose(), &[random])
}

fn check_key(key: &Secret) -> Result<(), Error> {
    match key.expose().len() {
        found if found < KEY_SIZE_MIN => Err(Error::WeakKey { found }),
        _ => Ok(()),
    }
}

fn nonce(sequence: u64) -> [u8; 12] {
    let mut nonce = Vec::with_capacity(12);
    nonce.zeros(4);
    nonce.u64(sequence);
    let mut array = [0; 12];
    array.copy_from_slice(&nonce);
    array
}

fn header(kind: Kind, sequence: u64, out: &mut Vec<u8>) {
    out.u8(VERSION);
    out.u8(kind.0);
    out.u16(0);
    out.u64(sequence);
}

fn parse_header(r: &mut Reader<'_>) -> Result<(Kind, u64), DecodeError> {
    let version = r.u8("channel version")?;
    if version != VERSION {
        return Err(DecodeError::Invalid {
            what: "channel version",
            found: version.into(),
            wanted: "2",
        });
    }
    let kind = Kind(r.u8("message kind")?);
    let reserved = r.u16("reserved")?;
    if reserved != 0 {
        return Err(DecodeError::Invalid {
            what: "reserved",
            found: reserved.into(),
            wanted: "0",
        });
    }
    Ok((kind, r.u64("sequence number")?))
}

fn peek(message: &[u8]) -> Result<Kind, DecodeError> {
    parse_header(&mut Reader::new(message)).map(|(kind, _)| kind)
}

fn hello(kind: Kind, random: &[u8; RANDOM_SIZE], tag: &Secret) -> Vec<u8> {
    let mut message = Vec::new();
    header(kind, 0, &mut message);
    message.bytes(random);
    message.bytes(tag.expose());
    message
}

fn parse_hello(wanted: Kind, message: &[u8]) -> Result<([u8; RANDOM_SIZE], [u8; HASH.size()]), Error> {
    let ((kind, sequence), random, tag) = Reader::all(message, |r| {
        Ok((parse_header(r)?, r.array("random")?, r.array("tag")?))
    })?;
    match (kind, sequence) {
        (found, _) if found != wanted => Err(Error::Kind { found, wanted }),
        (_, 0) => Ok((random, tag)),
        (_, found) => Err(Error::Sequence { found, wanted: 0 }),
    }
}

/// Of the channel and of what goes in it: guest and TSM come from different hands, and one that is older is to be told so.
const VERSION: u8 = 2;
const RANDOM_SIZE: usize = 32;
const HEADER_SIZE: usize = 12;
const HASH: HashAlg = HashAlg::Sha384;
const LABEL: &[u8] = b"tidelock guest channel 2 ";

#[cfg(test)]
mod tests;
