//! SPDM (DSP0274 1.0 to 1.4): the connection between a requester and a responder.
//!
//! ```text
//!             GET_VERSION   GET_CAPABILITIES   NEGOTIATE_ALGORITHMS
//!   start ──────────────► ─────────────────► ──────────────────────► negotiated
//!                                                                        │ GET_DIGESTS, GET_CERTIFICATE, CHALLENGE
//!                                                                        ▼
//!     END_SESSION     ┌─────── established ◄── FINISH ── handshake ◄── identified
//!   ◄─────────────────┘   GET_MEASUREMENTS, VENDOR_DEFINED,  KEY_EXCHANGE
//!                         KEY_UPDATE, HEARTBEAT
//! ```
//! What the versions differ in: 1.0 has no sessions; 1.1 has, and signs transcripts as they are; from 1.2 on a signature says
//! what it is for, and sides say how large messages may be; 1.3 has several keys on a connection, and requests that carry a
//! context; 1.4 has post-quantum algorithms, and chains of 64 KiB and more.
//!
//! - GET_VERSION, in any state, starts anew; the highest version that both sides have counts from then on.
//! - GET_CAPABILITIES and NEGOTIATE_ALGORITHMS tell both sides what the other can; each choice is one bit of an offer.
//! - GET_DIGESTS and GET_CERTIFICATE fetch a certificate chain, CHALLENGE has its key sign all that was said so far. They may come
//!   again, for another slot or the same; the first two in a session as well.
//! - KEY_EXCHANGE agrees on keys and has the chain's key sign them; FINISH proves that both sides have the same.
//! - PSK_EXCHANGE does so with a key that both have, and PSK_FINISH where the responder adds something of its own.
//! - Encapsulated requests turn the tables: the responder asks who the requester is, for new keys, or tells of events.
//! - In an established session messages are secured; IDE_KM and TDISP travel in VENDOR_DEFINED, and nowhere else.
//! - A message larger than what the other side takes at once goes in chunks; what is hashed is the whole.
//! - Beside these a responder may let itself be provisioned, show its log of measurements, and tell of events.
//! - END_SESSION, a record that does not open, or silence beyond the heartbeat ends a session.
//!
//! | what | where |
//! |---|---|
//! | messages as bytes | [`msg`], opaque data in them [`opaque`], bits of algorithms [`algorithms`] |
//! | what is hashed, signed and derived | [`transcript`], [`signing`], [`key_schedule`] |
//! | messages in a session | [`secured`] |
//! | messages in parts | [`chunk`] |
//! | events that are told of, requests for certificates | [`events`], [`pkcs10`] |
//! | what carries messages | [`transport`] |
//! | who the requester is | `encapsulated` |
//! | the two sides | [`requester`], [`responder`] |
//!
//! **Invariant:** a message is read to its true end before it is hashed; a data object's padding is never part of it.

pub mod algorithms;
pub mod msg;
pub mod opaque;
pub mod pkcs10;

mod ability;
mod chain;
pub mod chunk;
mod connection;
mod encapsulated;
pub mod error;
pub mod events;
pub mod key_schedule;
mod portions;
pub mod requester;
pub mod responder;
pub mod secured;
mod session;
pub mod signing;
pub mod transcript;
pub mod transport;

pub use connection::{DEFAULT_VERSIONS, Negotiated, SECURED_VERSIONS, VERSIONS};
pub use encapsulated::Identity;
pub use error::{Error, Misbehaviour, Misuse};
pub use portions::CHAIN_SIZE_MAX;
pub use requester::{Event, Goal, MeasurementRecord, Requester, RequesterConfig, Timing, Trust};
pub use responder::{Measurement, Responder, ResponderConfig};
pub use transport::Transport;
