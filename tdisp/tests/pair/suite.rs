//! Algorithms that go together, and identities and configurations for them.

use super::{Identity, authority, leaf, measurements};
use rcgen::{Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use std::sync::{Arc, OnceLock};
use tdisp::{
    crypto::{AeadAlg, ExchangeAlg, HashAlg, Ring, RingSigner, SignAlg, digest},
    spdm::{
        Measurement, RequesterConfig, ResponderConfig, Transport, Trust,
        algorithms::{MeasurementHash, Offer},
        msg::{Version, certificate::Chain},
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Suite {
    P256,
    P384,
}

impl Suite {
    pub const ALL: [Self; 2] = [Self::P256, Self::P384];

    pub fn hash(self) -> HashAlg {
        match self {
            Self::P256 => HashAlg::Sha256,
            Self::P384 => HashAlg::Sha384,
        }
    }

    pub fn sign(self) -> SignAlg {
        match self {
            Self::P256 => SignAlg::EcdsaP256,
            Self::P384 => SignAlg::EcdsaP384,
        }
    }

    pub fn offer(self) -> Offer {
        let (exchange, aead) = match self {
            Self::P256 => (ExchangeAlg::EcdhP256, AeadAlg::Aes128Gcm),
            Self::P384 => (ExchangeAlg::EcdhP384, AeadAlg::Aes256Gcm),
        };
        Offer {
            sign: vec![self.sign()],
            hash: vec![self.hash()],
            exchange: vec![exchange],
            aead: vec![aead],
            ..Offer::default()
        }
    }

    /// The identity that tests of this suite share.
    pub fn identity(self) -> &'static Identity {
        static P256: OnceLock<Identity> = OnceLock::new();
        match self {
            Self::P256 => P256.get_or_init(|| self.new_identity("p256", 0)),
            Self::P384 => Identity::usual(),
        }
    }

    /// SubjectPublicKeyInfo of its identity's leaf.
    pub fn public_key_info(self) -> Vec<u8> {
        let point = self.identity().signer.public_key();
        let head: &[u8] = match self {
            Self::P256 => &[
                0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
                0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
            ],
            Self::P384 => &[
                0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
                0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
            ],
        };
        [head, point].concat()
    }

    /// A root and a leaf, whose chain is larger by `more` bytes.
    pub fn new_identity(self, name: &str, more: usize) -> Identity {
        let algorithm = match self {
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::P384 => &PKCS_ECDSA_P384_SHA384,
        };
        let key = || KeyPair::generate_for(algorithm).unwrap();
        let (root_key, leaf_key) = (key(), key());
        let root = authority(&format!("{name} root"));
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let issuer = Issuer::new(root, root_key);
        let mut leaf = leaf(&format!("{name} leaf"));
        if more > 0 {
            let oid = [1, 3, 6, 1, 4, 1, 99999, 1];
            let extension = rcgen::CustomExtension::from_oid_content(&oid, vec![0; more]);
            leaf.custom_extensions.push(extension);
        }
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
        let root = digest(&Ring, self.hash(), &root_der);
        let mut chain = Vec::new();
        Chain {
            root_hash: root.as_ref(),
            certificates: &[&root_der[..], leaf.der()].concat(),
        }
        .encode(Version::V1_4, &mut chain);
        let signer = RingSigner::from_pkcs8(self.sign(), &leaf_key.serialize_der()).unwrap();
        Identity {
            chain,
            root,
            signer: Arc::new(signer),
        }
    }

    fn measurements(self) -> Vec<Measurement> {
        let mut all = measurements();
        for one in all.iter_mut().filter(|one| !one.raw) {
            one.value.truncate(self.hash().size());
        }
        all
    }

    pub fn requester(self, version: Version, transport: Transport) -> RequesterConfig {
        RequesterConfig {
            versions: vec![version],
            transport,
            offer: self.offer(),
            roots: Trust::Pinned(vec![self.identity().root]),
            ..RequesterConfig::default()
        }
    }

    pub fn responder(self, version: Version, transport: Transport) -> ResponderConfig {
        let identity = self.identity();
        ResponderConfig {
            versions: vec![version],
            transport,
            offer: self.offer(),
            measurement_hash: MeasurementHash::Hash(self.hash()),
            ..ResponderConfig::new(
                identity.chain.clone(),
                identity.signer.clone(),
                self.measurements(),
            )
        }
    }
}
