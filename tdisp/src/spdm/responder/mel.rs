//! GET_MEASUREMENT_EXTENSION_LOG: the log in portions (DSP0274 1.3 §10).

use super::{Asked, At, INVALID, Reply, Responder, UNEXPECTED};
use crate::spdm::msg::{Payload, mel};

/// Bytes of MEASUREMENT_EXTENSION_LOG in front of the portion.
const HEADER_SIZE: usize = 12;

impl Responder {
    pub(super) fn get_log(&mut self, asked: Asked<'_>) -> Reply {
        let (message, _) = self.read::<mel::Request>(asked)?;
        let agreed = self.phase.agreed().ok_or(UNEXPECTED)?;
        // The requester has no format in which to be told.
        if agreed.connection.negotiated.algorithms.mel_specification == 0 {
            return Err(UNEXPECTED);
        }
        let log = self.config.mel.as_deref().ok_or(UNEXPECTED)?;
        let rest = usize::try_from(message.offset)
            .ok()
            .and_then(|offset| log.get(offset..))
            .ok_or(INVALID)?;
        let room = agreed.connection.reach().room(asked.at != At::Clear);
        let room = room.saturating_sub(HEADER_SIZE);
        let size = rest.len().min(message.length as usize).min(room);
        if size == 0 {
            return Err(INVALID);
        }
        let (portion, behind) = rest.split_at(size);
        let response = mel::Response {
            version: message.version,
            portion,
            remainder: behind.len() as u32,
        };
        Ok(Some(response.to_vec()))
    }
}
