//! A connection as far as it was seen: what was negotiated, what was shown, and what will have been signed.

use std::collections::BTreeMap;

use tdisp::spdm::msg::{Code, Version};

use super::lane::{Lane, Said};
use crate::spdm::{field::Fields, known::Known};

/// See the module. GET_VERSION begins a new one.
#[derive(Debug)]
pub(super) struct Connection {
    /// What messages' sizes depend on.
    pub(super) known: Known,
    /// GET_VERSION and VERSION, GET_CAPABILITIES and CAPABILITIES, NEGOTIATE_ALGORITHMS and ALGORITHMS.
    vca: [Vec<u8>; 3],
    /// Whether multi-key was offered in NEGOTIATE_ALGORITHMS.
    multi_key_offered: bool,
    /// Messages in clear.
    pub(super) lane: Lane,
    /// Digests and certificates for M1/M2.
    pub(super) shown: Shown,
    /// The requester's, in encapsulated messages.
    pub(super) requester: Shown,
    /// Whether a CHALLENGE was answered.
    pub(super) challenged: bool,
    /// Requests that have left no trace in B because of what came between are kept for a second opinion.
    pub(super) number: usize,
}

/// What one side has shown of its identity.
#[derive(Debug, Default, Clone)]
pub(super) struct Shown {
    /// B: digests and certificates since the last GET_DIGESTS, as the rules have it. What several GET_DIGESTS add up to, the
    /// standard leaves open.
    pub(super) b: Vec<u8>,
    /// The same without ever being forgotten, and since the last challenge.
    pub(super) b_all: Vec<u8>,
    pub(super) b_since_challenge: Vec<u8>,
    /// The first DIGESTS and the last one.
    pub(super) digests: Option<[Vec<u8>; 2]>,
    /// Digests by slot, of the last DIGESTS.
    pub(super) digest_of: BTreeMap<u8, Vec<u8>>,
    /// Certificate chain objects by slot.
    pub(super) chains: BTreeMap<u8, Vec<u8>>,
    /// A chain of which a part has come: its slot, and how much.
    pub(super) partial: Option<(u8, Vec<u8>)>,
}

impl Shown {
    /// Adds an exchange to B.
    pub(super) fn add(&mut self, request: &[u8], response: &[u8], begins: bool) {
        if begins {
            self.b.clear();
        }
        for b in [&mut self.b, &mut self.b_all, &mut self.b_since_challenge] {
            b.extend_from_slice(request);
            b.extend_from_slice(response);
        }
    }

    /// After a challenge everything begins anew.
    pub(super) fn challenged(&mut self) {
        self.b.clear();
        self.b_since_challenge.clear();
    }

    /// What B may have been: by the rules first.
    pub(super) fn candidates(&self) -> Vec<(&'static str, &[u8])> {
        let mut found: Vec<(&'static str, &[u8])> = vec![("", &self.b)];
        let others: [(&'static str, &[u8]); 3] = [
            ("B with all that was shown since GET_VERSION", &self.b_all),
            (
                "B with all that was shown since the last challenge",
                &self.b_since_challenge,
            ),
            ("B empty", &[]),
        ];
        for other in others {
            if found.iter().all(|(_, known)| *known != other.1) {
                found.push(other);
            }
        }
        found
    }
}

impl Connection {
    /// A connection that begins; `before` is the one that it follows.
    pub(super) fn begin(before: Option<&Self>) -> Self {
        let keep = |shown: &Shown| Shown {
            chains: shown.chains.clone(),
            ..Shown::default()
        };
        Self {
            known: Known::new(Version::V1_0),
            vca: Default::default(),
            multi_key_offered: false,
            lane: Lane::default(),
            shown: before.map(|before| keep(&before.shown)).unwrap_or_default(),
            requester: before.map(|before| keep(&before.requester)).unwrap_or_default(),
            challenged: false,
            number: before.map_or(0, |before| before.number + 1),
        }
    }

    /// A: the messages that begin every transcript.
    pub(super) fn vca(&self) -> Vec<u8> {
        self.vca.concat()
    }

    /// Whether all of A was seen.
    pub(super) fn is_negotiated(&self) -> bool {
        self.vca.iter().all(|part| !part.is_empty())
    }

    /// Learns from a request, before it is answered.
    pub(super) fn asked(&mut self, request: &Said) {
        if request.code() == Code::GET_CAPABILITIES {
            self.known = Known::new(
                request
                    .message
                    .header
                    .map_or(Version::V1_0, |header| header.version),
            );
            self.known.algorithms_asked = request.message.param1() & 1 == 1;
        }
    }

    /// Learns from an exchange of the negotiation. True if it was one.
    pub(super) fn negotiated(&mut self, request: &Said, response: &Said) -> bool {
        let place = match (request.code(), response.code()) {
            (Code::GET_VERSION, Code::VERSION) => 0,
            (Code::GET_CAPABILITIES, Code::CAPABILITIES) => {
                let flags = |said: &Said| said.message.fields.int("Flags").unwrap_or(0) as u32;
                (self.known.requester, self.known.responder) = (flags(request), flags(response));
                1
            }
            (Code::NEGOTIATE_ALGORITHMS, Code::ALGORITHMS) => {
                let other = |said: &Said| said.message.fields.int("OtherParams").unwrap_or(0);
                self.multi_key_offered = other(request) & MULTI_KEY != 0;
                self.algorithms(response);
                2
            }
            _ => return false,
        };
        self.vca[place] = [&request.bytes[..], &response.bytes].concat();
        true
    }

    fn algorithms(&mut self, response: &Said) {
        let fields = &response.message.fields;
        let int = |name: &str| fields.int(name).unwrap_or(0) as u32;
        let table = |kind: u64| {
            let of_kind = |field: &&crate::spdm::field::Field| {
                field.name == "AlgStruct" && field.inside.int("AlgType") == Some(kind)
            };
            fields
                .iter()
                .find(of_kind)
                .and_then(|field| field.inside.int("AlgSupported"))
                .unwrap_or(0) as u32
        };
        let known = &mut self.known;
        known.asym = int("BaseAsymSel");
        known.pqc = int("PqcAsymSel");
        known.hash = int("BaseHashSel");
        known.dhe = table(2);
        known.aead = table(3);
        known.requester_asym = table(4);
        known.requester_pqc = table(6);
        known.kem = table(7);
        known.other_params = int("OtherParams") as u8;
        known.negotiated = true;
        let chosen = u64::from(known.other_params) & MULTI_KEY != 0;
        let v1_3 = known.version >= Version::V1_3;
        known.multi_key = v1_3 && multi_key(known.responder, self.multi_key_offered);
        known.requester_multi_key = v1_3 && multi_key(known.requester, chosen);
    }
}

const MULTI_KEY: u64 = 0x10;

/// A side uses several keys if it has nothing else, or if it can and the other side agrees (1.3).
fn multi_key(flags: u32, agreed: bool) -> bool {
    match flags >> 26 & 3 {
        0 => false,
        1 => true,
        _ => agreed,
    }
}
