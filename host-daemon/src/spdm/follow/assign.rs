//! Which of the secrets are of which session: a recording may have several with the same ID.

use tdisp::crypto::{Digest, same};

use super::{
    Follow,
    session::{handshake_secret, schedule},
};
use crate::spdm::{
    frame::Unit,
    known::Known,
    secrets::{Secrets, Set},
};

/// Whose some secrets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// Which of the secrets.
    pub set: usize,
    /// The message that its session began with; none if no session is left for them.
    pub number: Option<usize>,
    /// The connection that the session is of, counted from the file's beginning.
    pub connection: usize,
}

/// A key exchange that was seen.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) number: usize,
    pub(super) connection: usize,
    pub(super) id: u32,
    pub(super) psk: bool,
    pub(super) known: Known,
    pub(super) request: Vec<u8>,
    pub(super) response: Vec<u8>,
    /// Bytes of the response up to its signature.
    pub(super) unsigned: usize,
    pub(super) th1: Option<Digest>,
    pub(super) verify: Option<Vec<u8>>,
}

/// Follows the units once without secrets, and finds the best session for each of them. What fits nothing goes to the
/// first session of its ID, where the check then says what is wrong.
pub fn assign(units: &[Unit], secrets: &Secrets) -> Vec<Assigned> {
    let mut follow = Follow::new(None, &[]);
    for unit in units {
        follow.take(unit);
    }
    let mut left = follow.into_exchanges();
    let mut assigned = Vec::new();
    for (index, set) in secrets.sets.iter().enumerate() {
        let scores = left.iter().map(|exchange| exchange.score(set));
        // The first of the best.
        let best = scores.enumerate().rev().max_by_key(|(_, score)| *score);
        let found = best
            .filter(|(_, score)| *score >= 0)
            .map(|(at, _)| left.remove(at));
        assigned.push(Assigned {
            set: index,
            number: found.as_ref().map(|exchange| exchange.number),
            connection: found.map_or(0, |exchange| exchange.connection),
        });
    }
    assigned
}

impl Exchange {
    /// How well some secrets fit; below zero, not at all.
    fn score(&self, set: &Set) -> i32 {
        let mut score = 0;
        if let Some(id) = set.session {
            score += if id == self.id { 1 } else { -2 };
        }
        if let Some(k) = set.bytes("K") {
            let exchange = [&self.request[..], &self.response];
            score += if matches_k(k, exchange, self.unsigned) {
                8
            } else {
                0
            };
        }
        if let (Some(wanted), Some(th1)) = (set.bytes("th1"), &self.th1) {
            score += if wanted == th1.as_ref() { 4 } else { 0 };
        }
        if set.get("psk").is_some() != self.psk && (set.get("psk").is_some() || set.get("dhe").is_some()) {
            // Some recorders call a pre-shared key the shared secret.
            score -= 1;
        }
        score + if self.verifies(set) { 16 } else { 0 }
    }

    /// Whether the keys give the verify data in the response.
    fn verifies(&self, set: &Set) -> bool {
        let (Some(schedule), Some(th1), Some(verify)) = (schedule(&self.known), &self.th1, &self.verify)
        else {
            return false;
        };
        let derived = handshake_secret(&schedule, set, self.psk);
        let derived = derived.map(|secret| schedule.handshake(&secret, th1).response);
        let told = set.get("rsp_hs").cloned();
        [derived, told]
            .into_iter()
            .flatten()
            .any(|secret| same(schedule.verify_data(&secret, th1).expose(), verify))
    }
}

/// Whether `k` is the exchange, with the response at least up to its signature, and padded or not.
pub(super) fn matches_k(k: &[u8], [request, response]: [&[u8]; 2], unsigned: usize) -> bool {
    let Some(rest) = k.strip_prefix(request) else {
        return false;
    };
    (0..4).any(|padding| {
        let Some((zeros, rest)) = rest.split_at_checked(padding) else {
            return false;
        };
        let behind = rest.get(response.len()..).unwrap_or_default();
        let rest = &rest[..rest.len().min(response.len())];
        zeros.iter().chain(behind).all(|byte| *byte == 0)
            && behind.len() < 4
            && rest.len() >= unsigned
            && response.starts_with(rest)
    })
}
