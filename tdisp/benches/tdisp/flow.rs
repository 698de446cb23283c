//! A whole connection: two suites, and from GET_VERSION to signed measurements in the session.

use crate::{counting::Counting, pair};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::sync::{Arc, LazyLock};
use tdisp::{
    clock::Instant,
    crypto::{AeadAlg, Digest, ExchangeAlg, HashAlg, Provider, Ring, RingSigner, SignAlg, Signer, digest},
    spdm::{
        Event, Requester, RequesterConfig, Responder, ResponderConfig, Trust,
        algorithms::{MeasurementHash, Offer},
        msg::{Version, certificate::Chain},
    },
};

/// Algorithms that belong together, and an identity with them: a root, a middle and a leaf.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) sign: SignAlg,
    pub(crate) hash: HashAlg,
    pub(crate) exchange: ExchangeAlg,
    pub(crate) aead: AeadAlg,
    /// What the ratio of a whole connection to its cryptography is to stay below.
    pub(crate) aim: f64,
    pub(crate) signer: Arc<RingSigner>,
    chain: Vec<u8>,
    root: Digest,
}

pub(crate) static P384: LazyLock<Suite> = LazyLock::new(|| {
    Suite::made(
        "ECDSA P-384, SHA-384, ECDHE P-384, AES-256-GCM",
        &rcgen::PKCS_ECDSA_P384_SHA384,
        (
            SignAlg::EcdsaP384,
            HashAlg::Sha384,
            ExchangeAlg::EcdhP384,
            AeadAlg::Aes256Gcm,
        ),
        1.10,
    )
});

pub(crate) static P256: LazyLock<Suite> = LazyLock::new(|| {
    Suite::made(
        "ECDSA P-256, SHA-256, ECDHE P-256, AES-128-GCM",
        &rcgen::PKCS_ECDSA_P256_SHA256,
        (
            SignAlg::EcdsaP256,
            HashAlg::Sha256,
            ExchangeAlg::EcdhP256,
            AeadAlg::Aes128Gcm,
        ),
        1.25,
    )
});

type Algorithms = (SignAlg, HashAlg, ExchangeAlg, AeadAlg);

impl Suite {
    fn made(
        name: &'static str,
        alg: &'static rcgen::SignatureAlgorithm,
        (sign, hash, exchange, aead): Algorithms,
        aim: f64,
    ) -> Self {
        let key = || KeyPair::generate_for(alg).expect("ring makes keys");
        let (root, middle) = (named("root", true), named("middle", true));
        let (root_key, middle_key, leaf_key) = (key(), key(), key());
        let root_der = root.self_signed(&root_key).expect("it signs");
        let root_issuer = Issuer::new(root, root_key);
        let middle_der = middle.signed_by(&middle_key, &root_issuer).expect("it signs");
        let middle_issuer = Issuer::new(middle, middle_key);
        let leaf_der = named("leaf", false)
            .signed_by(&leaf_key, &middle_issuer)
            .expect("it signs");
        let root = digest(&Ring, hash, root_der.der());
        let certificates = [&root_der.der()[..], middle_der.der(), leaf_der.der()].concat();
        let mut chain = Vec::new();
        Chain {
            root_hash: root.as_ref(),
            certificates: &certificates,
        }
        .encode(Version::V1_2, &mut chain);
        let signer = RingSigner::from_pkcs8(sign, leaf_key.serialized_der()).expect("ring reads its keys");
        Self {
            name,
            sign,
            hash,
            exchange,
            aead,
            aim,
            signer: Arc::new(signer),
            chain,
            root,
        }
    }

    fn offer(&self) -> Offer {
        Offer {
            sign: vec![self.sign],
            hash: vec![self.hash],
            exchange: vec![self.exchange],
            aead: vec![self.aead],
            ..Offer::default()
        }
    }

    pub(crate) fn trust(&self, pinned: bool) -> Trust {
        match pinned {
            true => Trust::Pinned(vec![self.root]),
            false => Trust::RelyingPartyDecides,
        }
    }

    pub(crate) fn requester(&self, trust: Trust, provider: Arc<dyn Provider>) -> Requester {
        let config = RequesterConfig {
            roots: trust,
            offer: self.offer(),
            ..RequesterConfig::default()
        };
        Requester::new(config, provider)
    }

    pub(crate) fn responder(&self, signer: Arc<dyn Signer>, provider: Arc<dyn Provider>) -> Responder {
        let config = ResponderConfig {
            versions: vec![Version::V1_2],
            offer: self.offer(),
            measurement_hash: MeasurementHash::Hash(self.hash),
            ..ResponderConfig::new(self.chain.clone(), signer, pair::measurements())
        };
        Responder::new(config, provider)
    }

    /// From GET_VERSION to signed measurements in the session, both ends; how many objects each side sent.
    pub(crate) fn connect(&self, pinned: bool, provider: &Arc<Counting>) -> usize {
        let signer = provider.signer(&self.signer);
        let mut requester = self.requester(self.trust(pinned), provider.clone());
        let mut responder = self.responder(signer, provider.clone());
        let carry = |requester: &mut Requester| carry(requester, &mut responder);
        whole(&mut requester, carry)
    }
}

/// The requester's part, whatever carries its objects.
pub(crate) fn whole(requester: &mut Requester, mut carry: impl FnMut(&mut Requester) -> usize) -> usize {
    requester.connect(Instant::START);
    let mut exchanges = carry(requester);
    let asked = requester.measure(Instant::START, None);
    asked.expect("there is a session to measure in");
    exchanges += carry(requester);
    let events: Vec<Event> = std::iter::from_fn(|| requester.poll_event()).collect();
    let measured = events.iter().any(|event| matches!(event, Event::Measurements(_)));
    let challenged = events.iter().any(|event| matches!(event, Event::Challenged));
    assert!(challenged && measured, "{events:?}");
    exchanges
}

fn carry(requester: &mut Requester, responder: &mut Responder) -> usize {
    let (mut request, mut response) = (Vec::new(), Vec::new());
    let mut exchanges = 0;
    while requester.poll_transmit(&mut request) {
        responder.handle(Instant::START, &request);
        let answered = responder.poll_transmit(&mut response);
        assert!(answered, "every request is answered");
        requester.handle(Instant::START, &response);
        request.clear();
        response.clear();
        exchanges += 1;
    }
    exchanges
}

fn named(name: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    match ca {
        true => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        false => params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
    }
    params
}
