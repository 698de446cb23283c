//! Every panic would be the host's to cause.

use super::*;
use crate::evidence::chain;
use proptest::prelude::*;
use std::sync::OnceLock;

fn genuine() -> &'static Bundle {
    static GENUINE: OnceLock<Bundle> = OnceLock::new();
    GENUINE.get_or_init(|| Scene::good().bundle())
}

/// Cuts a piece out and puts another in its place.
fn spliced(bytes: &[u8], at: prop::sample::Index, cut: usize, put: &[u8]) -> Vec<u8> {
    let at = at.index(bytes.len());
    let end = bytes.len().min(at + cut);
    [&bytes[..at], put, &bytes[end..]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_transcript_makes_the_parser_panic(
        at: prop::sample::Index, cut in 0usize..40, put in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let spoiled = spliced(&genuine().measurements, at, cut, &put);
        let _ = Transcript::parse(&spoiled, &Floor::default());
        let _ = Transcript::parse(&put, &Floor::default());
    }

    #[test]
    fn no_chain_makes_the_validator_panic(
        at: prop::sample::Index, cut in 0usize..40, put in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let good = &genuine().certificates;
        let mut spoiled = spliced(good, at, cut, &put);
        if let Some([low, high, ..]) = spoiled.get_mut(..4) {
            // The right length, so that what is within is looked at.
            [*low, *high] = u16::try_from(good.len() - cut.min(good.len()) + put.len()).unwrap().to_le_bytes();
        }
        let identity = IdentityRule::default();
        let rules = chain::Rules {
            version: Version::V1_2,
            hash: HashAlg::Sha384,
            leaf: crate::crypto::SignAlg::EcdsaP384Sha384,
            roots: &[pin(good)],
            now: crate::evidence::testing::NOW,
            identity: &identity,
        };
        let _ = chain::validate(&spoiled, &rules, &Ring);
    }

    #[test]
    fn no_report_makes_the_verifier_panic(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let _ = Report::decode(&bytes);
    }
}
