//! Evidence of a whole conversation over keys and certificates that OpenSSL made, as a host brings it.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use crate::{
    device::Suite,
    vouched::{GUEST, locked, vouched},
};
use std::sync::Arc;
use tdisp::{
    clock::UnixTime,
    crypto::{Digest, Provider, Signer},
    evidence::{Bundle, Crls, Expectation, Floor, IdentityRule, Parameter, Refusal, Root, Verified, verify},
    relay::guest::Negotiated,
    spdm::{
        Event,
        algorithms::{aead_bit, dh_bit, hash_bit, kem_bit, pqc_sign_bit, sign_bit},
        msg::measurements::Kind,
        responder::Measurement,
    },
    tdi::report::Report,
};

const NONCE: [u8; 32] = [5; 32];

/// What a host brings of a conversation that a TSM had with this suite.
pub struct Evidence {
    pub suite: Suite,
    pub bundle: Bundle,
    pub provider: Arc<dyn Provider>,
}

impl Evidence {
    pub fn of(
        certificates: &str,
        signer: Arc<dyn Signer>,
        suite: Suite,
        provider: Arc<dyn Provider>,
    ) -> Self {
        let mut pair = suite.pair(certificates, signer, &provider);
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
        Self {
            suite,
            bundle,
            provider,
        }
    }

    pub fn negotiated(&self) -> Negotiated {
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
            pqc_asym: pqc_sign_bit(sign),
            hash: hash_bit(hash),
            dhe: dh_bit(exchange),
            kem: kem_bit(exchange),
            aead: aead_bit(aead),
            key_schedule: 1,
        }
    }

    pub fn judge(&self, bundle: &Bundle, floor: Floor) -> Result<Verified, Refusal> {
        self.judge_as(bundle, floor, self.negotiated(), &*self.provider)
    }

    /// By this provider, where the TSM says that this was negotiated.
    pub fn judge_as(
        &self,
        bundle: &Bundle,
        floor: Floor,
        negotiated: Negotiated,
        provider: &dyn Provider,
    ) -> Result<Verified, Refusal> {
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
        let said = vouched(locked(bundle, negotiated));
        verify(bundle, &said, &expected, provider)
    }

    /// What allows just what was negotiated.
    pub fn floor(&self) -> Floor {
        let found = self.negotiated();
        Floor {
            version: 0x12,
            asym: found.asym,
            pqc_asym: found.pqc_asym,
            hash: found.hash,
            measurement_hash: found.measurement_hash,
            dhe: found.dhe,
            kem: found.kem,
            aead: found.aead,
        }
    }

    /// It holds where the floor allows its suite, and nowhere else, and not with a byte changed.
    pub fn check(&self) {
        let (found, floor) = (self.negotiated(), self.floor());
        let suite = self.suite;
        let verified = self
            .judge(&self.bundle, floor)
            .unwrap_or_else(|refusal| panic!("{suite:?}: {refusal}"));
        assert_eq!(verified.negotiated(), &found);
        assert!(!verified.measurements().is_empty());
        let higher = Floor {
            asym: !found.asym,
            pqc_asym: !found.pqc_asym,
            ..floor
        };
        let refused = self.judge(&self.bundle, higher).unwrap_err();
        assert!(
            matches!(
                refused,
                Refusal::Algorithm {
                    what: Parameter::Signature | Parameter::PostQuantumSignature,
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
