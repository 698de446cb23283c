//! GET_MEASUREMENTS, in a session or outside.
//!
//! What is asked for one by one is signed together: L1/L2 goes on from request to request until one is signed, and begins
//! anew with any other request.

use super::{
    Event, MeasurementRecord,
    link::{Identity, Link, Measuring, NO_SIGNER},
    operation::{Expect, Next},
    step::{Channel, Exchange, Output},
};
use crate::spdm::{
    error::{Misbehaviour, Misuse},
    msg::{
        Context, NONCE_SIZE, RequesterContext, Version,
        capabilities::Flags,
        measurements::{self, Operation, Record, Signed},
    },
    responder::usage,
    signing,
};
use alloc::sync::Arc;
use core::time::Duration;

/// What to measure, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// All, one index, or how many there are.
    pub operation: Operation,
    /// Whether the answer, and all that was asked for since the last signed one, shall be signed.
    pub signed: bool,
    /// The nonce to sign; a fresh one if there is none.
    pub nonce: Option<[u8; NONCE_SIZE]>,
    /// Raw bit streams rather than digests, where the responder has them (1.2).
    pub raw: bool,
    /// As things are now rather than as they were at reset (1.3).
    pub fresh: bool,
}

impl Measure {
    /// All measurements, signed over `nonce` or else over a fresh one.
    pub const fn all(nonce: Option<[u8; NONCE_SIZE]>) -> Self {
        Self {
            operation: Operation::ALL,
            signed: true,
            nonce,
            raw: false,
            fresh: false,
        }
    }

    /// Whether the responder can, in that session or outside.
    pub(super) fn check(&self, link: &Link, session: Option<u32>) -> Result<(), Misuse> {
        let peer = link.peer.as_deref().ok_or(Misuse::NotConnected)?;
        let needed = if self.signed {
            Flags::MEAS_SIG
        } else {
            Flags::MEAS_MASK
        };
        let known = link.identity(session).is_some() || !self.signed;
        let format = peer.connection.negotiated.algorithms.measurement_hash;
        let can = known && format.is_some() && peer.flags().any(needed);
        can.then_some(()).ok_or(Misuse::NoMeasurements)?;
        if !self.signed {
            return Ok(());
        }
        let signer = link.signer(session, usage::MEASUREMENTS)?;
        // The request does not say whose key, and it is the first slot's.
        let of_first = peer.connection.negotiated.version == Version::V1_0;
        match of_first && signer.slot != 0 {
            true => Err(Misuse::Lacks { what: ONLY_FIRST }),
            false => Ok(()),
        }
    }
}

/// Before 1.1.
const ONLY_FIRST: &str = "measurements signed by another key than that of slot 0 (1.1)";

pub(super) fn measure(link: &mut Link, session: Option<u32>, what: Measure, output: &mut Output<'_>) -> Next {
    let peer = link.peer()?;
    let version = peer.connection.negotiated.version;
    let nonce = what.nonce.map_or_else(|| output.random(), Ok)?;
    let known = || link.identity(session).ok_or(NO_SIGNER).cloned();
    let signer = what.signed.then(known).transpose()?;
    let signed = signer.as_ref().map(|signer| Signed {
        nonce,
        slot: signer.short_slot(),
    });
    let request = measurements::Request {
        version,
        operation: what.operation,
        raw: what.raw && version >= Version::V1_2,
        fresh: what.fresh && version >= Version::V1_3,
        signed,
        context: output.requester_context(version)?,
    };
    let extra = match signer {
        Some(_) => peer.connection.peer_crypto_time,
        None => Duration::ZERO,
    };
    output.ask(Channel::of(session), extra, &request);
    let expect = ExpectMeasurements {
        session,
        signer,
        nonce,
        operation: what.operation,
        context: request.context,
    };
    Ok(Some(expect.into()))
}

pub(super) struct ExpectMeasurements {
    session: Option<u32>,
    /// Whose key is to sign, if one is.
    signer: Option<Arc<Identity>>,
    nonce: [u8; NONCE_SIZE],
    operation: Operation,
    context: Option<RequesterContext>,
}

impl Expect for ExpectMeasurements {
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        let Link { peer, sessions, .. } = link;
        let peer = peer
            .as_deref_mut()
            .ok_or(Misbehaviour::NotNegotiated { what: "algorithm" })?;
        let context = Context {
            signature_asked: self.signer.is_some(),
            ..peer.connection.context
        };
        let (message, bytes) = exchange.read::<measurements::Response<'_>>(&context)?;
        self.check(&message)?;
        let begun = match self.session {
            None => peer.l1.take(),
            Some(id) => sessions.live_mut(id)?.l1.take(),
        };
        let mut measuring = begun.unwrap_or_else(|| Measuring::new(&peer.connection));
        let signature = message.signature.unwrap_or_default();
        measuring.l1.add(exchange.request);
        measuring
            .l1
            .add(&bytes[..bytes.len().saturating_sub(signature.len())]);
        measuring.blob.extend_from_slice(exchange.request);
        measuring.blob.extend_from_slice(bytes);
        let blob = match &self.signer {
            Some(signer) => {
                peer.verify(signer, signing::Context::Measurements, &measuring.l1, signature)?;
                measuring.blob
            }
            None => {
                let blob = measuring.blob.clone();
                match self.session {
                    None => peer.l1 = Some(measuring),
                    Some(id) => sessions.live_mut(id)?.l1 = Some(measuring),
                }
                blob
            }
        };
        output.tell(Event::Measurements(MeasurementRecord {
            blob,
            nonce: self.nonce,
            signer: self.signer.map(|signer| signer.slot),
            count: (self.operation == Operation::COUNT).then_some(message.count),
            record: encode(&message.record),
        }));
        Ok(None)
    }
}

impl ExpectMeasurements {
    fn check(&self, message: &measurements::Response<'_>) -> Result<(), Misbehaviour> {
        if let Some(signer) = &self.signer {
            super::identify::expect("slot of MEASUREMENTS", message.slot(), signer.short_slot())?;
        }
        if message.context != self.context {
            return Err(Misbehaviour::WrongContext);
        }
        let blocks = message.record.blocks.as_slice();
        let asked = match self.operation {
            Operation::ALL => true,
            Operation::COUNT => blocks.is_empty(),
            Operation(index) => matches!(blocks, [one] if one.index == index),
        };
        let found = blocks.first().map_or(0, |block| u64::from(block.index));
        let wanted = u64::from(self.operation.0);
        let what = "index of the measurement";
        asked
            .then_some(())
            .ok_or(Misbehaviour::Inconsistent { what, found, wanted })
    }
}

fn encode(record: &Record<'_>) -> alloc::vec::Vec<u8> {
    let mut bytes = alloc::vec::Vec::new();
    record.encode(&mut bytes);
    bytes
}
