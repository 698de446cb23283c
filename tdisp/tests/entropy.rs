//! Platforms that have no random bytes at some moment: nothing that has to be fresh is made without them, and that is told.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;
mod providers;

use harness::{Identity, Pair, requester_config, responder_config};
use providers::{Drawing, Own, RingBut};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tdisp::{
    crypto::{CryptoError, Provider, Ring, Secret, SignAlg},
    ide_km,
    relay::sealed::{self, Guest, Tsm},
    spdm::{
        Error, Event, Identity as OwnIdentity, Requester, RequesterConfig, Responder, ResponderConfig, Trust,
        msg::{Version, key_exchange::Mutual as Way},
        responder::{Event as Told, Mutual, Slot},
    },
};

/// Has random bytes each time but one.
struct Failing {
    at: Option<usize>,
    draws: AtomicUsize,
}

impl Failing {
    fn at(at: Option<usize>) -> Arc<RingBut<Self>> {
        let draws = AtomicUsize::new(0);
        Arc::new(RingBut(Self { at, draws }))
    }
}

impl Own for Failing {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        match Some(self.draws.fetch_add(1, Ordering::Relaxed)) == self.at {
            true => Err(CryptoError::NoEntropy),
            false => Ring.random(out),
        }
    }
}

/// Two ends that authenticate each other with a challenge and in a session; the responder has keys of its own replaced then, and
/// the requester measures it.
fn talk(version: Version, asking: Arc<dyn Provider>, answering: Arc<dyn Provider>) -> Pair {
    let usual = Identity::usual();
    let mut identity = OwnIdentity::default();
    identity.slots[0] = Some(Slot::new(usual.chain.clone(), usual.signer.clone()));
    let mut ask = RequesterConfig {
        versions: vec![version],
        identity: Some(identity),
        encapsulated: true,
        ..requester_config()
    };
    ask.offer.requester_sign = vec![SignAlg::EcdsaP384];
    let mut answer = ResponderConfig {
        versions: vec![version],
        mutual: Some(Mutual {
            session: Way::ENCAPSULATED,
            challenge: true,
            ..Mutual::new(Trust::Pinned(vec![usual.root]))
        }),
        encapsulated: true,
        ..responder_config()
    };
    answer.offer.requester_sign = vec![SignAlg::EcdsaP384];
    let mut pair = Pair::of(Requester::new(ask, asking), Responder::new(answer, answering));
    pair.connect();
    if let Some(session) = pair.requester.session() {
        pair.responder.update_keys(session).unwrap();
        pair.requester.fetch_requests(pair.now, session).unwrap();
        pair.run();
    }
    if pair.failure().is_none() {
        pair.requester.measure(pair.now, None).unwrap();
        pair.run();
        pair.collect();
    }
    pair
}

const VERSIONS: [Version; 2] = [Version::V1_2, Version::V1_3];

#[test]
fn a_requester_makes_nothing_fresh_without_random_bytes_and_says_so() {
    for version in VERSIONS {
        let failing = Failing::at(None);
        let pair = talk(version, failing.clone(), Arc::new(Ring));
        assert_eq!(pair.failure(), None);
        let draws = failing.0.draws.load(Ordering::Relaxed);
        assert!(draws >= 5, "{draws}");
        for at in 0..draws {
            let pair = talk(version, Failing::at(Some(at)), Arc::new(Ring));
            let dry = matches!(
                pair.failure(),
                Some(Error::Platform {
                    source: CryptoError::NoEntropy,
                    ..
                })
            );
            assert!(dry, "{version}, draw {at}: {:?}", pair.failure());
        }
    }
}

#[test]
fn a_responder_makes_nothing_fresh_without_random_bytes_and_says_so() {
    for version in VERSIONS {
        let failing = Failing::at(None);
        let pair = talk(version, Arc::new(Ring), failing.clone());
        assert_eq!(pair.failure(), None);
        let draws = failing.0.draws.load(Ordering::Relaxed);
        assert!(draws >= 5, "{draws}");
        for at in 0..draws {
            let pair = talk(version, Arc::new(Ring), Failing::at(Some(at)));
            let dry = Told::Failed(CryptoError::NoEntropy);
            assert!(
                pair.responder_events.contains(&dry),
                "{version}, draw {at}: {:?}",
                pair.responder_events
            );
            let refused = |event: &Event| matches!(event, Event::Failed(_) | Event::Refused { .. });
            assert!(pair.requester_events.iter().any(refused), "{version}, draw {at}");
        }
    }
}

#[test]
fn no_keys_of_a_stream_are_made_without_random_bytes() {
    let refused = ide_km::Requester::new(0, 3).program(&RingBut(Drawing(None)));
    assert!(matches!(
        refused,
        Err(ide_km::requester::Error::NoKey(CryptoError::NoEntropy))
    ));
}

#[test]
fn no_channel_to_the_tsm_is_opened_without_random_bytes_at_either_end() {
    let key = Secret::new(vec![7; 32]);
    let dry = || Arc::new(RingBut(Drawing(None)));
    let refused = Guest::begin(&key, dry()).map(drop);
    assert_eq!(refused, Err(sealed::Error::Crypto(CryptoError::NoEntropy)));
    let (_, hello) = Guest::begin(&key, Arc::new(Ring)).unwrap();
    let mut tsm = Tsm::new(key, dry()).unwrap();
    let refused = tsm.receive(&hello).map(drop);
    assert_eq!(refused, Err(sealed::Error::Crypto(CryptoError::NoEntropy)));
}
