//! What the machines under the fuzzer have beyond the usual: all that a device or a requester may do without.

use super::gullible::Gullible;
use crate::{
    crypto::SignAlg,
    spdm::{
        RequesterConfig, ResponderConfig,
        events::Types,
        msg::{
            endpoint_info::{DeviceClass, DeviceClasses},
            key_pair_info::{Abilities, Usage, key_algorithm},
            set_certificate::Model,
            set_key_pair_info::Operation,
        },
        pkcs10::common_name,
        responder::{ChangesKeyPairs, EndpointInfo, KeyCsr, KeyPair, KeyPairs, NotDone, Provisioning, Store},
    },
};
use alloc::{sync::Arc, vec, vec::Vec};

/// Bytes that each end takes at once: enough for what a version without chunks has to say, and little beyond.
const TRANSFER_SIZE: u32 = 0x200;
/// Bytes that each end takes in chunks.
const MESSAGE_SIZE: u32 = 0x8000;

/// Does what it is told.
struct Obliging;

impl Store for Obliging {
    fn write(&self, slot: u8, _: Option<&[u8]>, _: Model, _: Option<u8>) -> Result<(), NotDone> {
        match slot {
            7 => Err(NotDone::Failed),
            _ => Ok(()),
        }
    }
}

impl ChangesKeyPairs for Obliging {
    fn change(&self, id: u8, _: Operation, wanted: &KeyPair) -> Result<KeyPair, NotDone> {
        match id {
            2 => Err(NotDone::Busy),
            _ => Ok(wanted.clone()),
        }
    }
}

fn endpoint_info() -> EndpointInfo {
    let class = DeviceClass {
        registry: 3,
        vendor: &[1, 0],
        subordinates: vec![&[7]],
    };
    let identifiers = vec![class];
    let mut device_classes = Vec::new();
    DeviceClasses { identifiers }.encode(&mut device_classes);
    EndpointInfo {
        device_classes,
        signed: true,
    }
}

/// The same device with everything.
pub(super) fn of_responder(config: ResponderConfig) -> ResponderConfig {
    let pair = KeyPair {
        abilities: Abilities(0x3f),
        usages: Usage::CHALLENGE | Usage::MEASUREMENTS,
        algorithms: key_algorithm::ECC_P384,
        algorithm: key_algorithm::ECC_P384,
        slots: 1,
        ..KeyPair::default()
    };
    ResponderConfig {
        transfer_size: TRANSFER_SIZE,
        chunk: Some(MESSAGE_SIZE),
        provisioning: Provisioning {
            csr: Some(Arc::new(KeyCsr {
                signer: Gullible::default(),
                public_key: vec![4; SignAlg::EcdsaP384.signature_size() + 1],
                name: common_name("a device"),
            })),
            store: Some(Arc::new(Obliging)),
            after_reset: false,
            trusted_environment: true,
        },
        key_pairs: Some(KeyPairs {
            pairs: vec![pair.clone(), KeyPair { slots: 0, ..pair }],
            changer: Some(Arc::new(Obliging)),
        }),
        mel: Some((0..=255).cycle().take(700).collect()),
        endpoint_info: Some(endpoint_info()),
        events: Types::ALL,
        hears_events: true,
        encapsulated: true,
        ..config
    }
}

/// The same requester with everything.
pub(super) fn of_requester(config: RequesterConfig) -> RequesterConfig {
    RequesterConfig {
        transfer_size: TRANSFER_SIZE,
        chunk: Some(MESSAGE_SIZE),
        endpoint_info: Some(endpoint_info()),
        events: Types::ALL,
        encapsulated: true,
        ..config
    }
}
