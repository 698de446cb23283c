//! What a requester asks of a device beyond the usual, and large messages both ways between our two ends; and responders that
//! answer such questions wrongly.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod chunks;
#[path = "../pair/mod.rs"]
mod harness;
mod in_turn;
mod large;
mod owner;
mod told;

use harness::{
    Identity, Pair,
    endowed::{self, Obedient, VERSIONS, classes, endpoint_info},
    many_measurements, requester, requester_config, responder,
};
use std::sync::Arc;
use tdisp::spdm::{
    Event, RequesterConfig, ResponderConfig,
    events::Types,
    msg::{
        Version,
        key_pair_info::{Abilities, Usage, key_algorithm},
        measurements::{Dmtf as Measured, Kind},
        mel::{Entry, Log},
        set_certificate::Model,
        set_key_pair_info::Operation,
    },
    requester::{KeyPairWish, SlotWish},
    responder::{KeyPair, KeyPairs},
};

fn log() -> Vec<u8> {
    let entry = |number| Entry {
        number,
        measurement: 2,
        value: Measured {
            kind: Kind::INFORMATIONAL,
            raw: true,
            value: b"a step of the boot",
        },
    };
    let mut log = Vec::new();
    Log {
        entries: (1..=20).map(entry).collect(),
    }
    .encode(&mut log);
    log
}

/// A responder that has everything, and hears no events.
fn everything() -> ResponderConfig {
    ResponderConfig {
        key_pairs: Some(KeyPairs {
            pairs: vec![KeyPair {
                abilities: Abilities(0x3f),
                usages: Usage::CHALLENGE | Usage::MEASUREMENTS,
                algorithm: key_algorithm::ECC_P384,
                algorithms: key_algorithm::ECC_P384,
                slots: 1,
                public_key_info: b"info".to_vec(),
                ..KeyPair::default()
            }],
            changer: Some(Arc::new(Obedient)),
        }),
        mel: Some(log()),
        events: Types::ALL,
        hears_events: false,
        ..endowed::everything(&Arc::default())
    }
}

/// A requester that speaks one version.
fn asking(version: Version) -> RequesterConfig {
    RequesterConfig {
        versions: vec![version],
        ..requester_config()
    }
}

/// A pair in a session that has everything, in a version.
fn pair(version: Version) -> Pair {
    pair_of(asking(version), everything())
}

/// Such two in a session, of which nothing is left to be told.
fn pair_of(asking: RequesterConfig, answering: ResponderConfig) -> Pair {
    let mut pair = connected(asking, answering);
    assert!(pair.requester.session().is_some());
    pair.responder_events.clear();
    pair
}

/// Such two as far as they come of themselves.
fn connected(asking: RequesterConfig, answering: ResponderConfig) -> Pair {
    let mut pair = Pair::of(requester(asking), responder(answering));
    pair.connect();
    assert_eq!(pair.failure(), None);
    pair.requester_events.clear();
    pair
}

/// The one event that a question leads to.
fn asked(pair: &mut Pair) -> Event {
    pair.run();
    assert_eq!(pair.requester_events.len(), 1, "{:?}", pair.requester_events);
    pair.requester_events.remove(0)
}

/// The smallest sizes that leave room for something.
fn small(version: Version, ours: u32, theirs: u32) -> (RequesterConfig, ResponderConfig) {
    let asking = RequesterConfig {
        transfer_size: ours,
        chunk: Some(0x2_0000),
        ..asking(version)
    };
    let answering = ResponderConfig {
        transfer_size: theirs,
        chunk: Some(0x2_0000),
        measurements: many_measurements(29),
        ..everything()
    };
    (asking, answering)
}

/// A chain for a slot, or nothing.
fn slot(slot: u8, chain: Option<Vec<u8>>) -> SlotWish {
    SlotWish {
        slot,
        chain,
        model: Model::NONE,
        key_pair: 0,
    }
}

/// Key pair 1 for challenges alone.
fn for_challenges() -> KeyPairWish {
    KeyPairWish {
        id: 1,
        operation: Operation::CHANGE,
        usage: Usage::CHALLENGE,
        algorithm: 0,
        pqc_algorithm: 0,
        slots: 0,
    }
}

/// The usual device's chain.
fn chain() -> Vec<u8> {
    Identity::usual().chain.clone()
}
