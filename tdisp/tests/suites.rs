//! Whole conversations with every suite of classical algorithms, over keys and certificates that OpenSSL made.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "known/device.rs"]
mod device;
mod known;
#[path = "pair/mod.rs"]
mod pair;

use device::Suite;
use known::OpenSsl;
use pair::{Pair, requester, responder};
use std::sync::Arc;
use tdisp::{
    crypto::{AeadAlg, ExchangeAlg, HashAlg, Provider, Ring, RingSigner, SignAlg, digest},
    spdm::{
        Identity, Trust,
        msg::{Version, key_exchange::Mutual as Way},
        responder::{Event, Mutual, Slot},
    },
};

/// What one test says of a conversation: names of key and certificates, and the suite.
fn converse(key: &str, certificates: &str, suite: Suite) {
    let provider: Arc<dyn Provider> = Arc::new(Ring);
    let signer = RingSigner::from_pkcs8(suite.sign, &OpenSsl::read().key(key).pkcs8).unwrap();
    suite.check(&mut suite.pair(certificates, Arc::new(signer), &provider));
}

const SUITE: Suite = Suite::USUAL;

#[test]
fn ecdsa_with_each_group_and_cipher() {
    let keys = [
        ("P256", "ECDSA P256 Sha256", SignAlg::EcdsaP256, HashAlg::Sha256),
        ("P384", "ECDSA P384 Sha384", SignAlg::EcdsaP384, HashAlg::Sha384),
    ];
    for (key, certificates, sign, hash) in keys {
        for exchange in [ExchangeAlg::EcdhP256, ExchangeAlg::EcdhP384] {
            for aead in AeadAlg::ALL {
                converse(
                    key,
                    certificates,
                    Suite {
                        sign,
                        hash,
                        exchange,
                        aead,
                        ..SUITE
                    },
                );
            }
        }
    }
}

#[test]
fn rsa_of_each_size_and_padding_with_each_hash() {
    let keys = [
        (
            "Rsa2048",
            "2048 Sha256",
            [SignAlg::RsaSsa2048, SignAlg::RsaPss2048],
        ),
        (
            "Rsa3072",
            "3072 Sha384",
            [SignAlg::RsaSsa3072, SignAlg::RsaPss3072],
        ),
        (
            "Rsa4096",
            "4096 Sha512",
            [SignAlg::RsaSsa4096, SignAlg::RsaPss4096],
        ),
    ];
    for (key, certificates, algs) in keys {
        for (sign, padding) in algs.into_iter().zip(["RSASSA", "RSAPSS"]) {
            for hash in HashAlg::ALL {
                let suite = Suite { sign, hash, ..SUITE };
                converse(key, &format!("{padding} {certificates}"), suite);
            }
        }
    }
}

/// Certificates may be signed with another hash than the connection's.
#[test]
fn a_chain_with_the_other_curves_hash_is_as_good() {
    for (key, certificates, sign, hash) in [
        ("P256", "ECDSA P256 Sha384", SignAlg::EcdsaP256, HashAlg::Sha256),
        ("P384", "ECDSA P384 Sha256", SignAlg::EcdsaP384, HashAlg::Sha384),
    ] {
        converse(key, certificates, Suite { sign, hash, ..SUITE });
    }
}

#[test]
fn a_chain_of_either_end_names_its_root_by_whichever_hash_is_agreed_on() {
    let suite = Suite {
        sign: SignAlg::RsaPss3072,
        ..SUITE
    };
    let known = OpenSsl::read().certificates();
    let certificates = "RSAPSS 3072 Sha384";
    let issued = known.iter().find(|issued| issued.name == certificates).unwrap();
    let chain = issued.chain(suite.version, suite.hash);
    let key = OpenSsl::read().key("Rsa3072").pkcs8;
    let signer = Arc::new(RingSigner::from_pkcs8(suite.sign, &key).unwrap());
    for hash in HashAlg::ALL {
        let roots = Trust::Pinned(vec![digest(&Ring, hash, &issued.issuer)]);
        for way in [Way::ENCAPSULATED, Way::SIGNATURE] {
            let (mut asking, mut answering) = suite.ends(certificates, signer.clone(), &Ring);
            answering.offer.hash = HashAlg::ALL.to_vec();
            asking.offer.hash = vec![hash];
            for offer in [&mut asking.offer, &mut answering.offer] {
                offer.requester_sign = vec![suite.sign];
            }
            let mut identity = Identity::default();
            identity.slots[0] = Some(Slot::new(chain.clone(), signer.clone()));
            asking.identity = Some(identity);
            asking.roots = roots.clone();
            answering.mutual = Some(Mutual {
                session: way,
                chain: Some((0, chain.clone())),
                ..Mutual::new(roots.clone())
            });
            let mut pair = Pair::of(requester(asking), responder(answering));
            pair.connect();
            assert_eq!(pair.failure(), None, "{hash} {way}");
            let authenticated = |event: &Event| matches!(event, Event::RequesterAuthenticated { .. });
            assert!(pair.responder_events.iter().any(authenticated), "{hash} {way}");
        }
    }
}

#[test]
fn each_version_with_sessions() {
    for version in [Version::V1_1, Version::V1_2, Version::V1_3, Version::V1_4] {
        converse("P384", "ECDSA P384 Sha384", Suite { version, ..SUITE });
    }
}

#[test]
fn evidence_takes_a_chain_of_each_algorithm_and_no_other_leaf() {
    let keys = SignAlg::ALL.into_iter().filter(|alg| !alg.is_post_quantum());
    for sign in keys {
        let family = match sign {
            SignAlg::EcdsaP256 => "ECDSA P256 Sha384",
            SignAlg::EcdsaP384 => "ECDSA P384 Sha256",
            SignAlg::RsaSsa2048 => "RSASSA 2048 Sha256",
            SignAlg::RsaSsa3072 => "RSASSA 3072 Sha384",
            SignAlg::RsaSsa4096 => "RSASSA 4096 Sha512",
            SignAlg::RsaPss2048 => "RSAPSS 2048 Sha256",
            SignAlg::RsaPss3072 => "RSAPSS 3072 Sha384",
            _ => "RSAPSS 4096 Sha512",
        };
        Suite { sign, ..SUITE }.judge_chain(family, &Ring);
    }
}
