//! Who a responder is, asked more than once: by another slot or the same one, at rest or in a session.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod again;
#[path = "../pair/mod.rs"]
mod pair;
mod shown;
mod signers;
mod transcripts;

use pair::{Identity, Pair, requester, requester_config, responder, responder_config, suite::Suite};
use std::sync::{Arc, OnceLock};
use tdisp::{
    crypto::Secret,
    spdm::{
        Event, Goal, RequesterConfig, ResponderConfig, Transport, Trust,
        msg::{Code, Version},
        requester::{Measure, PreShared},
        responder::{KeyPairs, MultiKey, Psk, Slot},
    },
};

/// The owner's chain, in slot 3.
fn owners() -> &'static Identity {
    static OWNERS: OnceLock<Identity> = OnceLock::new();
    OWNERS.get_or_init(|| Suite::P384.new_identity("owner", 0))
}

const OWNERS_SLOT: u8 = 3;

fn usual() -> &'static Identity {
    Identity::usual()
}

fn slot(identity: &Identity) -> Slot {
    Slot::new(identity.chain.clone(), identity.signer.clone())
}

/// Both ends of one test, before they are what it wants: a device with two chains, and who pins the roots of both.
#[derive(Clone)]
struct Ends {
    asking: RequesterConfig,
    answering: ResponderConfig,
}

impl Ends {
    /// To a session, where the version has any.
    fn of(version: Version) -> Self {
        let mut answering = ResponderConfig {
            versions: vec![version],
            endpoint_info: Some(pair::endowed::endpoint_info()),
            ..responder_config()
        };
        answering.slots[usize::from(OWNERS_SLOT)] = Some(slot(owners()));
        Self {
            asking: RequesterConfig {
                versions: vec![version],
                roots: Trust::Pinned(vec![usual().root, owners().root]),
                goal: match version {
                    Version::V1_0 => Goal::Identity,
                    _ => Goal::Session,
                },
                ..requester_config()
            },
            answering,
        }
    }

    fn over(mut self, transport: Transport) -> Self {
        (self.asking.transport, self.answering.transport) = (transport, transport);
        self
    }

    fn with_several_keys(mut self) -> Self {
        self.asking.multi_key = true;
        self.answering.multi_key = MultiKey::Negotiated;
        self.answering.key_pairs = Some(KeyPairs::default());
        self
    }

    fn with_psk(mut self) -> Self {
        let key = || Secret::new(b"which nobody should use elsewhere".to_vec());
        self.asking.psk = Some(PreShared {
            hint: Vec::new(),
            key: key(),
        });
        self.answering.psk = Some(Psk {
            keys: Arc::new(move |_: &[u8]| Some(key())),
            context: true,
        });
        self
    }

    fn pair(self) -> Pair {
        Pair::of(requester(self.asking), responder(self.answering))
    }

    /// As far as the goal is; nothing is left to be told.
    fn connected(self) -> Pair {
        let mut pair = self.pair();
        pair.connect();
        assert_eq!(pair.failure(), None);
        pair.requester_events.clear();
        pair.responder_events.clear();
        pair.carried.clear();
        pair
    }
}

/// What is told of the next identification.
fn identified(pair: &mut Pair, slot: u8) -> Vec<Event> {
    pair.requester.identify(pair.now, slot).unwrap();
    pair.run();
    // Where nothing was to be said, it is told at once.
    pair.collect();
    std::mem::take(&mut pair.requester_events)
}

/// What is told of a chain that was proven to be the device's.
fn proven(slot: u8, identity: &Identity) -> [Event; 2] {
    let chain = identity.chain.clone();
    [Event::Certificates { slot, chain }, Event::Challenged]
}

/// The messages that went in clear, requests and answers.
fn said(pair: &Pair) -> Vec<Code> {
    let clear = pair.carried.iter().filter(|object| object[2] == 1);
    clear.map(|object| Code(object[9])).collect()
}

/// Measurements, signed by the key of a slot; what was asked for and answered from VCA on.
fn measured(pair: &mut Pair, session: Option<u32>, slot: u8) -> Vec<u8> {
    let nonce = [0x5a; 32];
    let what = Measure::all(Some(nonce));
    pair.requester.measure_in(pair.now, session, what).unwrap();
    pair.run();
    let told = std::mem::take(&mut pair.requester_events);
    let [Event::Measurements(record)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(record.signer.map(|signer| signer & 0x0f), Some(slot));
    let blob = &record.blob;
    let at = blob.windows(32).position(|bytes| bytes == nonce).unwrap();
    // Behind the nonce GET_MEASUREMENTS names the slot, from 1.1 on.
    if blob[at - 4] > Version::V1_0.0 {
        assert_eq!(blob[at + 32], slot);
    }
    blob.clone()
}
