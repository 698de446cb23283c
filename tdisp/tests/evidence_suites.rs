//! Evidence of whole conversations with each suite of classical algorithms and in each version that signs all of what was
//! negotiated, over keys and certificates that OpenSSL made.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "known/device.rs"]
mod device;
#[path = "known/evidence.rs"]
mod evidence;
mod known;
#[path = "pair/mod.rs"]
mod pair;
mod vouched;

use device::Suite;
use evidence::Evidence;
use known::OpenSsl;
use std::sync::Arc;
use tdisp::{
    crypto::{AeadAlg, HashAlg, Ring, RingSigner, SignAlg},
    spdm::msg::Version,
};

fn evidence(key: &str, certificates: &str, suite: Suite) -> Evidence {
    let signer = RingSigner::from_pkcs8(suite.sign, &OpenSsl::read().key(key).pkcs8).unwrap();
    Evidence::of(certificates, Arc::new(signer), suite, Arc::new(Ring))
}

const SUITE: Suite = Suite::USUAL;

#[test]
fn evidence_by_ecdsa_and_rsa_of_each_size_and_padding_is_verified() {
    let suites = [
        ("P256", "ECDSA P256 Sha256", SignAlg::EcdsaP256, HashAlg::Sha256),
        ("P384", "ECDSA P384 Sha384", SignAlg::EcdsaP384, HashAlg::Sha384),
        (
            "Rsa2048",
            "RSASSA 2048 Sha256",
            SignAlg::RsaSsa2048,
            HashAlg::Sha256,
        ),
        (
            "Rsa3072",
            "RSASSA 3072 Sha384",
            SignAlg::RsaSsa3072,
            HashAlg::Sha384,
        ),
        (
            "Rsa4096",
            "RSASSA 4096 Sha512",
            SignAlg::RsaSsa4096,
            HashAlg::Sha512,
        ),
        (
            "Rsa2048",
            "RSAPSS 2048 Sha256",
            SignAlg::RsaPss2048,
            HashAlg::Sha256,
        ),
        (
            "Rsa3072",
            "RSAPSS 3072 Sha384",
            SignAlg::RsaPss3072,
            HashAlg::Sha384,
        ),
        (
            "Rsa4096",
            "RSAPSS 4096 Sha512",
            SignAlg::RsaPss4096,
            HashAlg::Sha512,
        ),
    ];
    for (key, certificates, sign, hash) in suites {
        evidence(key, certificates, Suite { sign, hash, ..SUITE }).check();
    }
}

#[test]
fn evidence_of_each_version_from_1_2_on_and_of_each_cipher_is_verified() {
    for version in [Version::V1_2, Version::V1_3, Version::V1_4] {
        for aead in AeadAlg::ALL {
            let suite = Suite {
                version,
                aead,
                ..SUITE
            };
            evidence("P384", "ECDSA P384 Sha384", suite).check();
        }
    }
}
