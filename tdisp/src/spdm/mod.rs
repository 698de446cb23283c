//! SPDM (DSP0274 1.2; messages of 1.0 to 1.4): the connection between a requester and a responder.
//!
//! ```text
//!             GET_VERSION   GET_CAPABILITIES   NEGOTIATE_ALGORITHMS
//!   start ──────────────► ─────────────────► ──────────────────────► negotiated
//!                                                                        │ GET_DIGESTS, GET_CERTIFICATE, CHALLENGE
//!                                                                        ▼
//!     END_SESSION     ┌─────── established ◄── FINISH ── handshake ◄── authenticated
//!   ◄─────────────────┘   GET_MEASUREMENTS, VENDOR_DEFINED,  KEY_EXCHANGE
//!                         KEY_UPDATE, HEARTBEAT
//! ```
//! A GET_VERSION in any state starts anew.

pub mod algorithms;
pub mod msg;
pub mod opaque;

mod chain;
mod connection;
pub mod error;
pub mod key_schedule;
pub mod requester;
pub mod responder;
pub mod secured;
mod session;
pub mod signing;
pub mod transcript;

pub use connection::{Negotiated, SECURED_VERSIONS, VERSIONS};
pub use error::{Error, Misbehaviour, Misuse};
pub use requester::{Event, Goal, MeasurementRecord, Requester, RequesterConfig, Timing, Trust};
pub use responder::{Measurement, Responder, ResponderConfig};
