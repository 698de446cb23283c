//! The measurement extension log, fetched in portions (DSP0274 1.3 §10).

use super::{
    Event,
    inquiry::Inquiry,
    link::Peer,
    step::{Exchange, Fault},
};
use crate::spdm::{
    error::Misbehaviour,
    msg::{Payload, mel},
    portions,
};
use alloc::vec::Vec;

/// Bytes of the largest log that is fetched; a responder with a larger one is not believed.
const LOG_SIZE_MAX: usize = 1 << 20;

/// Bytes of MEASUREMENT_EXTENSION_LOG in front of the portion.
const HEADER_SIZE: usize = 12;

/// What has come of the log.
#[derive(Default)]
pub(super) struct Log {
    log: Vec<u8>,
    /// The whole log's size, once the first portion has come.
    size: Option<usize>,
    /// Bytes that the current portion may have at most.
    asked: usize,
}

impl Inquiry for Log {
    fn request(&mut self, peer: &Peer, room: usize) -> Result<Vec<u8>, Fault> {
        let left = self
            .size
            .map_or(LOG_SIZE_MAX, |size| size.saturating_sub(self.log.len()));
        self.asked = room.saturating_sub(HEADER_SIZE).min(left);
        let request = mel::Request {
            version: peer.connection.negotiated.version,
            offset: self.log.len() as u32,
            length: self.asked as u32,
        };
        Ok(request.to_vec())
    }

    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault> {
        let (message, _) = exchange.read::<mel::Response<'_>>(&peer.connection.context)?;
        let size = self.check_portion(message.portion.len(), message.remainder as usize)?;
        self.size = Some(size);
        self.log.extend_from_slice(message.portion);
        let whole = self.log.len() == size;
        Ok(whole.then(|| Event::MeasurementLog(core::mem::take(&mut self.log))))
    }
}

impl Log {
    /// A portion is of the [size](portions::check_size) that one has, and adds up to the same whole as the first.
    fn check_portion(&self, portion: usize, remainder: usize) -> Result<usize, Misbehaviour> {
        portions::check_size(portion, self.asked, remainder)?;
        let size = self.log.len().saturating_add(portion).saturating_add(remainder);
        let wanted = self.size.unwrap_or(size).min(LOG_SIZE_MAX);
        if size == wanted {
            return Ok(size);
        }
        Err(Misbehaviour::Inconsistent {
            what: "size of the measurement extension log",
            found: size as u64,
            wanted: wanted as u64,
        })
    }
}
