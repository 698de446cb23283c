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

use harness::{Pair, requester, requester_config, responder, responder_config};
use std::sync::{Arc, Mutex};
use tdisp::{
    crypto::{RingSigner, SignAlg},
    spdm::{
        Event, Measurement, RequesterConfig, ResponderConfig,
        events::Types,
        msg::{
            Version,
            endpoint_info::{DeviceClass, DeviceClasses},
            key_pair_info::{Abilities, Usage, key_algorithm},
            measurements::{Dmtf as Measured, Kind},
            mel::{Entry, Log},
            set_certificate::Model,
            set_key_pair_info::Operation,
        },
        pkcs10::common_name,
        responder::{ChangesKeyPairs, EndpointInfo, KeyCsr, KeyPair, KeyPairs, NotDone, Provisioning, Store},
    },
};

const VERSIONS: [Version; 3] = [Version::V1_2, Version::V1_3, Version::V1_4];

#[derive(Default)]
struct Shelf(Mutex<Vec<u8>>);

impl Store for Shelf {
    fn write(&self, slot: u8, _: Option<&[u8]>, _: Model, _: Option<u8>) -> Result<(), NotDone> {
        self.0.lock().unwrap().push(slot);
        Ok(())
    }
}

struct Obedient;

impl ChangesKeyPairs for Obedient {
    fn change(&self, _: u8, _: Operation, wanted: &KeyPair) -> Result<KeyPair, NotDone> {
        Ok(wanted.clone())
    }
}

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

fn classes() -> Vec<u8> {
    let class = DeviceClass {
        registry: 3,
        vendor: &[0x36, 0x1b],
        subordinates: vec![],
    };
    let mut info = Vec::new();
    DeviceClasses {
        identifiers: vec![class],
    }
    .encode(&mut info);
    info
}

fn everything() -> ResponderConfig {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let signer = RingSigner::from_pkcs8(SignAlg::EcdsaP384, &pair.serialize_der()).unwrap();
    let csr = KeyCsr {
        public_key: signer.public_key().to_vec(),
        name: common_name("a device"),
        signer,
    };
    ResponderConfig {
        versions: VERSIONS.to_vec(),
        provisioning: Provisioning {
            csr: Some(Arc::new(csr)),
            store: Some(Arc::new(Shelf::default())),
            ..Provisioning::default()
        },
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
        endpoint_info: Some(EndpointInfo {
            device_classes: classes(),
            signed: true,
        }),
        events: Types::ALL,
        ..responder_config()
    }
}

/// A pair in a session that has everything, in a version.
fn pair(version: Version) -> Pair {
    pair_of(
        RequesterConfig {
            versions: vec![version],
            ..requester_config()
        },
        everything(),
    )
}

fn pair_of(asking: RequesterConfig, answering: ResponderConfig) -> Pair {
    let mut pair = Pair::of(requester(asking), responder(answering));
    pair.connect();
    assert!(pair.requester.session().is_some(), "{:?}", pair.requester_events);
    pair.requester_events.clear();
    pair.responder_events.clear();
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
        versions: vec![version],
        transfer_size: ours,
        chunk: Some(0x2_0000),
        ..requester_config()
    };
    let measurement = |index| Measurement {
        index,
        kind: Kind::FIRMWARE,
        raw: false,
        value: vec![index; 48],
        bit_stream: None,
    };
    let answering = ResponderConfig {
        transfer_size: theirs,
        chunk: Some(0x2_0000),
        measurements: (1..30).map(measurement).collect(),
        ..everything()
    };
    (asking, answering)
}
