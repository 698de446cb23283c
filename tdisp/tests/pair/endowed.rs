//! A device that has everything that its owner may put in or ask for, and what is behind that.

use super::responder_config;
use std::sync::{Arc, Mutex};
use tdisp::{
    crypto::{RingSigner, SignAlg},
    spdm::{
        ResponderConfig,
        events::Types,
        msg::{
            Version,
            endpoint_info::{DeviceClass, DeviceClasses},
            event_types::EventType,
            key_pair_info::{Abilities, Usage, key_algorithm},
            set_certificate::Model,
            set_key_pair_info::Operation,
        },
        pkcs10::common_name,
        responder::{ChangesKeyPairs, EndpointInfo, KeyCsr, KeyPair, KeyPairs, NotDone, Provisioning, Store},
    },
};

/// The versions that have anything of it.
pub const VERSIONS: [Version; 3] = [Version::V1_2, Version::V1_3, Version::V1_4];

pub fn everything(shelf: &Arc<Shelf>) -> ResponderConfig {
    ResponderConfig {
        versions: VERSIONS.to_vec(),
        provisioning: Provisioning {
            csr: Some(Arc::new(csr())),
            store: Some(shelf.clone()),
            ..Provisioning::default()
        },
        key_pairs: Some(key_pairs()),
        mel: Some((0..100).collect()),
        endpoint_info: Some(endpoint_info()),
        events: Types::of(&[EventType::CERTIFICATE_CHANGED, EventType::MEASUREMENT_CHANGED]),
        hears_events: true,
        ..responder_config()
    }
}

/// Storage, which remembers what it was told.
#[derive(Default)]
pub struct Shelf {
    pub written: Mutex<Vec<(u8, Option<Vec<u8>>)>>,
    pub fails: Option<NotDone>,
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
pub struct Obedient;

impl ChangesKeyPairs for Obedient {
    fn change(&self, _: u8, operation: Operation, wanted: &KeyPair) -> Result<KeyPair, NotDone> {
        let mut pair = wanted.clone();
        if operation == Operation::GENERATE {
            pair.public_key_info = b"new".to_vec();
        }
        Ok(pair)
    }
}

/// One that is in use, one that is not, and one that cannot be changed.
pub fn key_pairs() -> KeyPairs {
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

/// Of a requester as well, which tells the same of itself.
pub fn endpoint_info() -> EndpointInfo {
    EndpointInfo {
        device_classes: classes(),
        signed: true,
    }
}

pub fn classes() -> Vec<u8> {
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

fn csr() -> KeyCsr<RingSigner> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let signer = RingSigner::from_pkcs8(SignAlg::EcdsaP384, &pair.serialize_der()).unwrap();
    KeyCsr {
        public_key: signer.public_key().to_vec(),
        name: common_name("a device"),
        signer,
    }
}
