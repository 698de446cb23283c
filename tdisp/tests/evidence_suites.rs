//! Evidence of whole conversations with each suite of classical algorithms and in each version that signs all of what was
//! negotiated, over keys and certificates that OpenSSL made.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "known/device.rs"]
mod device;
mod known;
#[path = "pair/mod.rs"]
mod pair;
mod vouched;

use device::Suite;
use known::OpenSsl;
use std::sync::Arc;
use tdisp::{
    clock::UnixTime,
    crypto::{AeadAlg, Digest, HashAlg, Provider, Ring, RingSigner, SignAlg},
    evidence::{Bundle, Crls, Expectation, Floor, IdentityRule, Parameter, Refusal, Root, Verified, verify},
    relay::guest::Negotiated,
    spdm::{
        Event,
        algorithms::{aead_bit, dh_bit, hash_bit, sign_bit},
        msg::{Version, measurements::Kind},
        responder::Measurement,
    },
    tdi::report::Report,
};
use vouched::{GUEST, locked, vouched};

const NONCE: [u8; 32] = [5; 32];

/// What a host brings of a conversation that a TSM had with this suite.
struct Evidence {
    suite: Suite,
    bundle: Bundle,
}

impl Evidence {
    fn of(key: &str, certificates: &str, suite: Suite) -> Self {
        let provider: Arc<dyn Provider> = Arc::new(Ring);
        let signer = RingSigner::from_pkcs8(suite.sign, &OpenSsl::read().key(key).pkcs8).unwrap();
        let mut pair = suite.pair(certificates, Arc::new(signer), &provider);
        pair.responder.set_measurements(vec![Measurement {
            index: 1,
            kind: Kind::FIRMWARE,
            raw: false,
            value: vec![0x11; suite.hash.size()],
            bit_stream: None,
        }]);
        pair.connect();
        pair.requester.measure(pair.now, Some(NONCE)).unwrap();
        pair.run();
        assert_eq!(pair.failure(), None, "{suite:?}");
        let mut bundle = Bundle::default();
        Report::default().encode(&mut bundle.report);
        for event in pair.requester_events {
            match event {
                Event::Certificates { chain, .. } => bundle.certificates = chain,
                Event::Measurements(record) => bundle.measurements = record.blob,
                _ => {}
            }
        }
        Self { suite, bundle }
    }

    fn negotiated(&self) -> Negotiated {
        let Suite {
            version,
            sign,
            hash,
            exchange,
            aead,
        } = self.suite;
        Negotiated {
            version: version.0,
            measurement_hash: hash_bit(hash) << 1,
            asym: sign_bit(sign),
            hash: hash_bit(hash),
            dhe: dh_bit(exchange),
            aead: aead_bit(aead),
            key_schedule: 1,
        }
    }

    fn judge(&self, bundle: &Bundle, floor: Floor) -> Result<Verified, Refusal> {
        let root = Digest::new(&bundle.certificates[4..4 + self.suite.hash.size()]).unwrap();
        let roots = [Root {
            name: "OpenSSL's".into(),
            digest: root,
        }];
        let expected = Expectation {
            nonce: NONCE,
            guest: GUEST,
            function_id: None,
            roots: &roots,
            identity: IdentityRule::default(),
            now: UnixTime(1_795_132_800), // 2026-11-20
            floor,
            crls: Crls::default(),
        };
        let said = vouched(locked(bundle, self.negotiated()));
        verify(bundle, &said, &expected, &Ring)
    }

    /// It holds where the floor allows its suite, and nowhere else, and not with a byte changed.
    fn check(&self) {
        let found = self.negotiated();
        let floor = Floor {
            version: 0x12,
            asym: found.asym,
            hash: found.hash,
            measurement_hash: found.measurement_hash,
            dhe: found.dhe,
            aead: found.aead,
        };
        let suite = self.suite;
        let verified = self
            .judge(&self.bundle, floor)
            .unwrap_or_else(|refusal| panic!("{suite:?}: {refusal}"));
        assert_eq!(verified.negotiated(), &found);
        assert!(!verified.measurements().is_empty());
        let higher = Floor {
            asym: !found.asym,
            ..floor
        };
        let refused = self.judge(&self.bundle, higher).unwrap_err();
        assert!(
            matches!(
                refused,
                Refusal::Algorithm {
                    what: Parameter::Signature,
                    ..
                }
            ),
            "case 35, {suite:?}: {refusal}",
            refusal = refused
        );
        let mut forged = self.bundle.clone();
        let last = forged.measurements.len() - 1;
        forged.measurements[last] ^= 1;
        assert_eq!(
            self.judge(&forged, floor).unwrap_err(),
            Refusal::Signature,
            "{suite:?}"
        );
    }
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
        Evidence::of(key, certificates, Suite { sign, hash, ..SUITE }).check();
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
            Evidence::of("P384", "ECDSA P384 Sha384", suite).check();
        }
    }
}
