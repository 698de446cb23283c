//! Devices that sign with ML-DSA, judged by an agent that is built for it.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../../tdisp/tests/known/mod.rs"]
mod known;
mod world;

use known::OpenSsl;
use std::sync::Arc;
use tdisp::crypto::{ExchangeAlg, HashAlg, MlDsaSigner, Ring, SignAlg};
use tdisp::spdm::msg::Version;
use world::{World, device::Device};

const BOTH: &str =
    "[device.spdm]\npost_quantum_signatures = [\"ml-dsa-65\"]\nkems = [\"ml-kem-768\"]\n\n[device.xdp]";

fn chain(certificates: &str) -> Vec<u8> {
    OpenSsl::read()
        .issued(certificates)
        .chain(Version::V1_4, HashAlg::Sha384)
}

fn ml_dsa(sign: SignAlg, exchange: ExchangeAlg) -> World {
    let key = OpenSsl::read().key(&format!("{sign:?}"));
    let signer = MlDsaSigner::from_pkcs8(sign, &key.pkcs8, Arc::new(Ring)).unwrap();
    World::of(Device::of_1_4(
        chain(&sign.to_string()),
        Box::new(signer),
        exchange,
    ))
}

/// One with ML-DSA-65 and ML-KEM-768, and this in its policy.
fn world(policy: &str) -> World {
    let mut world = ml_dsa(SignAlg::MlDsa65, ExchangeAlg::MlKem768);
    world.replace("[device.xdp]", policy);
    world
}

#[test]
fn a_device_with_ml_dsa_and_ml_kem_is_accepted_where_the_policy_lists_them() {
    let evidence = world(BOTH).accepted().evidence.unwrap();
    assert_eq!(evidence.spdm, "1.4");
    assert_eq!(
        evidence.algorithms,
        ["ML-DSA-65", "SHA-384", "ML-KEM-768", "AES-256-GCM"]
    );
    world(&BOTH.replace(
        "[\"ml-dsa-65\"]",
        "[\"ml-dsa-87\", \"ml-dsa-65\"]\nsignatures = []",
    ))
    .accepted();
}

#[test]
fn case_35_each_kind_is_refused_where_the_policy_does_not_list_it() {
    world("[device.xdp]").refused(&[
        "verify",
        "the post-quantum signature algorithm negotiated is ML-DSA-65, wanted ECDSA P-384",
        "list there what is welcome",
    ]);
    world(&BOTH.replace("ml-dsa-65", "ml-dsa-87")).refused(&[
        "verify",
        "the post-quantum signature algorithm negotiated is ML-DSA-65, wanted ML-DSA-87 or ECDSA P-384",
    ]);
    world(&BOTH.replace("kems", "#")).refused(&[
        "verify",
        "the key encapsulation mechanism negotiated is ML-KEM-768, wanted P-384",
    ]);
    world(&BOTH.replace("ml-kem-768\"]", "ml-kem-1024\"]\ngroups = []")).refused(&[
        "verify",
        "the key encapsulation mechanism negotiated is ML-KEM-768, wanted ML-KEM-1024",
    ]);
}

#[test]
fn case_36_a_tsm_that_says_another_algorithm_is_not_believed() {
    let mut world = world(BOTH);
    world
        .host
        .lie(|lies| lies.info = Some(Box::new(|_, info| info.spdm.kem = 4)));
    world.refused(&[
        "verify",
        "the key encapsulation mechanism is ML-KEM-768, the TSM says ML-KEM-1024",
    ]);
}

#[test]
fn case_13_another_key_of_the_same_kind_is_not_the_certificates() {
    let signer = MlDsaSigner::from_seed(SignAlg::MlDsa65, &[9; 32], Arc::new(Ring)).unwrap();
    let device = Device::of_1_4(chain("ML-DSA-65"), Box::new(signer), ExchangeAlg::MlKem768);
    let mut world = World::of(device);
    world.replace("[device.xdp]", BOTH);
    world.refused(&["verify", "is not by the key in the device's certificate"]);
}
