//! Every panic would be the host's to cause.

use super::*;
use crate::{
    crypto::SignAlg,
    evidence::{
        chain,
        testing::{NOW, object},
    },
};
use proptest::{prelude::*, sample::Index};

/// Cuts a piece out and puts another in its place.
fn spliced(bytes: &[u8], at: Index, cut: usize, put: &[u8]) -> Vec<u8> {
    let at = at.index(bytes.len());
    let end = bytes.len().min(at + cut);
    [&bytes[..at], put, &bytes[end..]].concat()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

#[test]
fn no_transcript_makes_the_parser_panic() {
    let good = Scene::good().bundle().measurements;
    proptest!(|(at: Index, cut in 0usize..40, put in bytes())| {
        let _ = Transcript::parse(&spliced(&good, at, cut, &put), &Floor::default());
        let _ = Transcript::parse(&put, &Floor::default());
    });
}

#[test]
fn no_chain_makes_the_validator_panic() {
    let ders = Plan::good().ders();
    let (roots, identity) = ([pin(&object(&ders))], IdentityRule::default());
    let rules = chain::Rules {
        version: Version::V1_2,
        hash: HashAlg::Sha384,
        leaf: SignAlg::EcdsaP384,
        roots: &roots,
        now: NOW,
        identity: &identity,
        role: chain::Role::Responder,
        model: None,
        crls: Crls::default(),
    };
    proptest!(|(certificate in 1usize..3, at: Index, cut in 0usize..40, put in bytes())| {
        // The right length and root, so that what is within is looked at.
        let mut ders = ders.clone();
        ders[certificate] = spliced(&ders[certificate], at, cut, &put);
        let _ = chain::validate(&object(&ders), &rules, &Ring);
        let _ = chain::validate(&put, &rules, &Ring);
    });
}

#[test]
fn no_report_makes_the_decoder_panic() {
    proptest!(|(bytes in bytes())| {
        let _ = Report::decode(&bytes);
    });
}
