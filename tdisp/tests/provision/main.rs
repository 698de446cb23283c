//! What an owner puts into a device, and what a device tells of itself: each request of that, right and wrong, to a responder.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod csr;
mod endpoint_info;
mod events;
#[path = "../pair/mod.rs"]
mod harness;
mod key_pairs;
mod lacking;
mod log;
mod slots;

use harness::{by_hand::ByHand, responder_config};
use std::sync::{Arc, Mutex};
use tdisp::{
    crypto::{RingSigner, SignAlg},
    spdm::{
        ResponderConfig,
        events::Types,
        msg::{
            Code, Payload, Version,
            capabilities::{Flags, Sizes},
            endpoint_info::{DeviceClass, DeviceClasses},
            error::ErrorCode,
            event_types::EventType,
            key_pair_info::{Abilities, Usage, key_algorithm},
            set_certificate::Model,
            set_key_pair_info::Operation,
        },
        pkcs10::common_name,
        responder::{ChangesKeyPairs, EndpointInfo, KeyCsr, KeyPair, KeyPairs, NotDone, Provisioning, Store},
    },
};

const V: Version = Version::V1_3;

const SIZES: Sizes = Sizes {
    transfer: 0x1200,
    message: 0x1200,
};

/// A device's storage, which remembers what it was told.
#[derive(Default)]
struct Shelf {
    written: Mutex<Vec<(u8, Option<Vec<u8>>)>>,
    fails: Option<NotDone>,
}

impl Store for Shelf {
    fn write(&self, slot: u8, chain: Option<&[u8]>, _: Model, _: Option<u8>) -> Result<(), NotDone> {
        if let Some(error) = self.fails {
            return Err(error);
        }
        self.written
            .lock()
            .unwrap()
            .push((slot, chain.map(<[u8]>::to_vec)));
        Ok(())
    }
}

/// Changes key pairs as it is told.
struct Obedient;

impl ChangesKeyPairs for Obedient {
    fn change(&self, _: u8, operation: Operation, wanted: &KeyPair) -> Result<KeyPair, NotDone> {
        let mut pair = wanted.clone();
        if operation == Operation::GENERATE {
            pair.public_key_info = b"new".to_vec();
        }
        Ok(pair)
    }
}

fn maker() -> Arc<KeyCsr<RingSigner>> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let signer = RingSigner::from_pkcs8(SignAlg::EcdsaP384, &pair.serialize_der()).unwrap();
    Arc::new(KeyCsr {
        public_key: signer.public_key().to_vec(),
        name: common_name("a device"),
        signer,
    })
}

fn pairs() -> KeyPairs {
    let pair = |slots, abilities| KeyPair {
        abilities,
        usages: Usage::CHALLENGE | Usage::MEASUREMENTS,
        usage: Usage::CHALLENGE,
        algorithms: key_algorithm::ECC_P256 | key_algorithm::ECC_P384,
        algorithm: if slots != 0 { key_algorithm::ECC_P384 } else { 0 },
        pqc_algorithms: 1,
        pqc_algorithm: 0,
        slots,
        public_key_info: b"known".to_vec(),
    };
    KeyPairs {
        pairs: vec![
            pair(1, Abilities(0x3f)),
            pair(0, Abilities(0x3f)),
            pair(0, Abilities(0)),
        ],
        changer: Some(Arc::new(Obedient)),
    }
}

fn classes() -> Vec<u8> {
    let class = DeviceClass {
        registry: 3,
        vendor: &[0x36, 0x1b],
        subordinates: vec![&[7]],
    };
    let mut info = Vec::new();
    DeviceClasses {
        identifiers: vec![class],
    }
    .encode(&mut info);
    info
}

/// A responder that has everything.
fn everything(shelf: &Arc<Shelf>) -> ResponderConfig {
    ResponderConfig {
        versions: vec![Version::V1_2, Version::V1_3, Version::V1_4],
        provisioning: Provisioning {
            csr: Some(maker()),
            store: Some(shelf.clone()),
            ..Provisioning::default()
        },
        key_pairs: Some(pairs()),
        mel: Some((0..100).collect()),
        endpoint_info: Some(EndpointInfo {
            device_classes: classes(),
            signed: true,
        }),
        events: Types::of(&[EventType::CERTIFICATE_CHANGED, EventType::MEASUREMENT_CHANGED]),
        hears_events: true,
        ..responder_config()
    }
}

fn live_with(version: Version, config: ResponderConfig) -> ByHand {
    ByHand::live_in(
        version,
        config,
        if version >= V { Flags::EVENT } else { Flags(0) },
        SIZES,
    )
}

fn live(version: Version) -> ByHand {
    live_with(version, everything(&Arc::default()))
}

/// The answer to a message in the session.
fn ask<'m>(hand: &mut ByHand, message: &impl Payload<'m>) -> Vec<u8> {
    hand.secured(&message.to_vec()).unwrap()
}

fn error_of(answer: &[u8]) -> Option<(ErrorCode, u8)> {
    (answer[1] == Code::ERROR.0).then(|| (ErrorCode(answer[2]), answer[3]))
}

const INVALID: Option<(ErrorCode, u8)> = Some((ErrorCode::INVALID_REQUEST, 0));
const UNEXPECTED: Option<(ErrorCode, u8)> = Some((ErrorCode::UNEXPECTED_REQUEST, 0));
