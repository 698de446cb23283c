//! Two ends whose certificates and keys OpenSSL made, with any suite of algorithms.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use crate::known::OpenSsl;
use crate::pair::{self, Pair};
use std::sync::Arc;
use tdisp::{
    clock::UnixTime,
    crypto::{AeadAlg, ExchangeAlg, HashAlg, Provider, SignAlg, Signer, digest, x509::PublicKey},
    evidence::chain,
    spdm::{
        Event, Requester, RequesterConfig, Responder, ResponderConfig, Trust,
        algorithms::{MeasurementHash, Offer},
        msg::Version,
    },
};
use x509_parser::prelude::{FromDer, X509Certificate};

#[derive(Debug, Clone, Copy)]
pub struct Suite {
    pub version: Version,
    pub sign: SignAlg,
    pub hash: HashAlg,
    pub exchange: ExchangeAlg,
    pub aead: AeadAlg,
}

impl Suite {
    /// What most devices have.
    pub const USUAL: Self = Self {
        version: Version::V1_2,
        sign: SignAlg::EcdsaP384,
        hash: HashAlg::Sha384,
        exchange: ExchangeAlg::EcdhP384,
        aead: AeadAlg::Aes256Gcm,
    };

    pub fn offer(&self) -> Offer {
        Offer {
            sign: vec![self.sign],
            hash: vec![self.hash],
            exchange: vec![self.exchange],
            aead: vec![self.aead],
            ..Offer::default()
        }
    }

    /// Both ends, of which the requester pins the root. Nothing that they say needs chunks.
    pub fn pair(&self, certificates: &str, signer: Arc<dyn Signer>, provider: &Arc<dyn Provider>) -> Pair {
        self.pair_of_size(TRANSFER_SIZE, certificates, signer, provider)
    }

    /// The same with messages of `size` bytes at most, and larger ones in chunks.
    pub fn pair_of_size(
        &self,
        size: u32,
        certificates: &str,
        signer: Arc<dyn Signer>,
        provider: &Arc<dyn Provider>,
    ) -> Pair {
        let (requester, responder) = self.ends_of_size(size, certificates, signer, &**provider);
        Pair::of(
            Requester::new(requester, provider.clone()),
            Responder::new(responder, provider.clone()),
        )
    }

    /// What both ends are told.
    pub fn ends(
        &self,
        certificates: &str,
        signer: Arc<dyn Signer>,
        provider: &dyn Provider,
    ) -> (RequesterConfig, ResponderConfig) {
        self.ends_of_size(TRANSFER_SIZE, certificates, signer, provider)
    }

    fn ends_of_size(
        &self,
        size: u32,
        certificates: &str,
        signer: Arc<dyn Signer>,
        provider: &dyn Provider,
    ) -> (RequesterConfig, ResponderConfig) {
        let chunk = (size < TRANSFER_SIZE).then_some(TRANSFER_SIZE);
        let issued = OpenSsl::read().issued(certificates);
        let root = digest(provider, self.hash, &issued.issuer);
        let requester = RequesterConfig {
            roots: Trust::Pinned(vec![root]),
            versions: vec![self.version],
            offer: self.offer(),
            transfer_size: size,
            chunk,
            ..RequesterConfig::default()
        };
        let chain = issued.chain(self.version, self.hash);
        let responder = ResponderConfig {
            versions: vec![self.version],
            offer: self.offer(),
            measurement_hash: MeasurementHash::Hash(self.hash),
            transfer_size: size,
            chunk,
            ..ResponderConfig::new(chain, signer, pair::measurements())
        };
        (requester, responder)
    }

    /// What evidence says of a chain whose leaf has a key for the suite's algorithm.
    pub fn judge_chain(&self, certificates: &str, provider: &dyn Provider) {
        let issued = OpenSsl::read().issued(certificates);
        let object = issued.chain(self.version, self.hash);
        let root = chain::Root {
            name: "root".into(),
            digest: digest(provider, self.hash, &issued.issuer),
        };
        let judged = |object: &[u8], leaf| {
            let rules = chain::Rules {
                version: self.version,
                hash: self.hash,
                leaf,
                roots: std::slice::from_ref(&root),
                now: UnixTime(1_795_132_800), // 2026-11-20
                identity: &chain::IdentityRule::default(),
                role: chain::Role::Responder,
                model: None,
                crls: chain::Crls::default(),
            };
            chain::validate(object, &rules, provider)
        };
        let leaf = judged(&object, self.sign).unwrap();
        let key = public_key(&issued.subject);
        assert_eq!(leaf.public_key, key.for_alg(self.sign).unwrap(), "{certificates}");
        for other in SignAlg::ALL {
            let right = key.for_alg(other).is_ok();
            assert_eq!(
                judged(&object, other).is_ok(),
                right,
                "{certificates} for {other}"
            );
        }
        let mut forged = object.clone();
        *forged.last_mut().unwrap() ^= 1;
        let text = judged(&forged, self.sign).unwrap_err().to_string();
        assert!(
            text.contains("its signature is not by the key"),
            "{certificates}: {text}"
        );
    }

    /// All that can be said, and that it was said with this suite.
    pub fn check(&self, pair: &mut Pair) {
        pair.say_everything();
        assert_eq!(pair.failure(), None, "{self:?}");
        let chosen = pair.requester_events.iter().find_map(|event| match event {
            Event::Connected(negotiated) => Some(negotiated),
            _ => None,
        });
        let (version, chosen) = chosen.map(|found| (found.version, found.algorithms)).unwrap();
        assert_eq!(version, self.version);
        assert_eq!(
            (chosen.sign, chosen.hash, chosen.exchange, chosen.aead),
            (Some(self.sign), self.hash, Some(self.exchange), Some(self.aead))
        );
        let told = |wanted: fn(&Event) -> bool| pair.requester_events.iter().any(wanted);
        assert!(told(|event| matches!(event, Event::Challenged)), "{self:?}");
        assert!(told(|event| matches!(event, Event::Measurements(_))), "{self:?}");
        assert!(told(|event| matches!(event, Event::SessionEnded)), "{self:?}");
    }
}

fn public_key(certificate: &[u8]) -> PublicKey {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    PublicKey::from_der(certificate.public_key().raw).unwrap()
}

/// Large enough for what ML-DSA-87 and ML-KEM-1024 make of KEY_EXCHANGE_RSP, so that nothing goes in chunks.
const TRANSFER_SIZE: u32 = 0x4000;
