//! Requests of the responder, in which the sides have changed places (DSP0274 §10, mutual authentication).

use tdisp::spdm::{
    msg::{Code, Version},
    signing::Context,
};

use super::{
    At, Entry, Follow, Said,
    identity::{Signed, chain_hash, learn},
    lane::asks,
};
use crate::spdm::{dissect, field::Fields};

impl Follow<'_> {
    /// ENCAPSULATED_REQUEST or ENCAPSULATED_RESPONSE_ACK: what it asks for waits for its answer.
    pub(super) fn encapsulated(&mut self, at: At, response: &Said) {
        let inner = response.part("EncapsulatedRequest").map(<[u8]>::to_vec);
        let inner = inner.map(|bytes| self.inner(&bytes, response.number, None));
        if let Some(request) = inner.as_ref().filter(|said| said.code() == Code::KEY_UPDATE) {
            // The responder's key is what it updates, or all.
            if let At::Session(id) = at
                && let Some(session) = self.sessions.get_mut(&id)
            {
                session.update(request.message.param1(), true);
            }
        }
        self.lane(at).encapsulated = inner;
    }

    fn inner(&self, bytes: &[u8], number: usize, request: Option<&Said>) -> Said {
        let mut known = self.connection.known.encapsulated();
        (known.summary_asked, known.signature_asked) =
            request.map(|said| asks(&said.message)).unwrap_or_default();
        let message = dissect::message(bytes, &known, true);
        Said {
            number,
            bytes: bytes.get(..message.size).unwrap_or_default().to_vec(),
            message,
        }
    }

    /// DELIVER_ENCAPSULATED_RESPONSE: what the requester answers.
    pub(super) fn delivered(&mut self, at: At, deliver: &Said, entry: &mut Entry) {
        let request = self.lane(at).encapsulated.take();
        let Some(bytes) = deliver.part("EncapsulatedResponse") else {
            return;
        };
        let response = self.inner(bytes, deliver.number, request.as_ref());
        if let Some(fault) = &response.message.fault {
            entry.notes.push(format!("the message in it: {fault}"));
        }
        let known = self.connection.known.encapsulated();
        // After MutAuthRequested 4 the GET_DIGESTS that the first of them answers was never sent.
        let nobody = Said {
            number: deliver.number,
            bytes: Vec::new(),
            message: dissect::message(&[], &known, false),
        };
        let request = request.unwrap_or(nobody);
        match response.code() {
            Code::DIGESTS | Code::CERTIFICATE => {
                let shown = &mut self.connection.requester;
                if at == At::Clear {
                    let begins = response.code() == Code::DIGESTS;
                    shown.add(&request.bytes, &response.bytes, begins);
                }
                let whole = learn(shown, &known, [&request, &response], entry);
                if let Some((slot, chain)) = whole {
                    self.whole_chain(&known, slot, &chain, true, entry);
                }
            }
            Code::CHALLENGE_AUTH => self.requester_challenged(&request, &response, entry),
            Code::ENDPOINT_INFO => self.requester_endpoint(&request, &response, entry),
            _ => {}
        }
    }

    fn requester_challenged(&mut self, request: &Said, response: &Said, entry: &mut Entry) {
        let known = self.connection.known.encapsulated();
        let slot = request.message.param1();
        let chain = self.chain(slot, true);
        chain_hash(chain.as_deref(), response, &known, entry);
        let vca = self.connection.vca();
        let c = [&request.bytes[..], response.until("Signature")].concat();
        // From 1.2 on A is part of it; about 1.1 implementations differ.
        let with_a = known.version >= Version::V1_2;
        let shown = &self.connection.requester;
        let mut transcripts = Vec::new();
        for (how, b) in shown.candidates() {
            let both = [
                ([&vca[..], b, &c].concat(), "with A"),
                ([b, &c].concat(), "without A"),
            ];
            for (bytes, a) in both {
                let standard = how.is_empty() && (a == "with A") == with_a;
                transcripts.push((
                    if standard {
                        String::new()
                    } else {
                        format!("{how} {a}")
                    },
                    bytes,
                ));
            }
        }
        transcripts.sort_by_key(|(how, _)| !how.is_empty());
        let signed = Signed {
            what: "the requester's CHALLENGE_AUTH over M1",
            context: Context::RequesterChallengeAuth,
            transcripts,
            signature: response.part("Signature").unwrap_or_default(),
            slot,
            chain,
        };
        self.sign(signed, &known, entry);
        self.connection.requester.challenged();
    }

    fn requester_endpoint(&mut self, request: &Said, response: &Said, entry: &mut Entry) {
        let Some(signature) = response.part("Signature") else {
            return;
        };
        let known = self.connection.known.encapsulated();
        let slot = request.message.fields.int("Param2").unwrap_or(0) as u8 & 0xf;
        let e = [&request.bytes[..], response.until("Signature")].concat();
        let signed = Signed {
            what: "the requester's ENDPOINT_INFO over IL1",
            context: Context::RequesterEndpointInfo,
            transcripts: vec![
                (String::new(), [&self.connection.vca()[..], &e].concat()),
                ("without A".into(), e),
            ],
            signature,
            slot,
            chain: self.chain(slot, true),
        };
        self.sign(signed, &known, entry);
    }
}
