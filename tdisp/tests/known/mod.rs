//! Known answers that another implementation gave: `openssl.json` says which.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use serde_json::Value;
use tdisp::{
    crypto::{ExchangeAlg, HashAlg, Ring, SignAlg, Signable, digest, x509::PublicKey},
    spdm::msg::{Version, certificate::Chain},
};

/// Signatures, keys and certificates of every algorithm, by OpenSSL.
pub struct OpenSsl(Value);

/// A signature over [`OpenSsl::message`].
pub struct Signed {
    pub name: String,
    pub alg: SignAlg,
    pub hash: HashAlg,
    pub context: Vec<u8>,
    pub key: KeyPair,
    pub signature: Vec<u8>,
}

#[derive(Clone)]
pub struct KeyPair {
    /// SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    pub pkcs8: Vec<u8>,
}

/// A requester's half of ML-KEM, made of a seed, and what was answered.
pub struct Exchanged {
    pub alg: ExchangeAlg,
    pub seed: Vec<u8>,
    pub request: Vec<u8>,
    pub answer: Vec<u8>,
    pub secret: Vec<u8>,
}

impl Signed {
    /// The key's form that a provider takes.
    pub fn public_key(&self) -> Vec<u8> {
        let key = PublicKey::from_der(&self.key.spki).unwrap();
        key.for_alg(self.alg).unwrap().to_vec()
    }

    /// What was signed of [`OpenSsl::message`].
    pub fn what<'a>(&'a self, message: &'a [u8]) -> Signable<'a> {
        Signable {
            context: &self.context,
            ..Signable::plain(self.hash, message)
        }
    }
}

/// A certificate that signs itself, and one that it has issued.
pub struct Issued {
    pub name: String,
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
}

impl Issued {
    /// Both as SPDM's chain object.
    pub fn chain(&self, version: Version, hash: HashAlg) -> Vec<u8> {
        let mut object = Vec::new();
        Chain {
            root_hash: digest(&Ring, hash, &self.issuer).as_ref(),
            certificates: &[&self.issuer[..], &self.subject].concat(),
        }
        .encode(version, &mut object);
        object
    }
}

impl OpenSsl {
    pub fn read() -> Self {
        Self(serde_json::from_str(include_str!("openssl.json")).unwrap())
    }

    pub fn message(&self) -> Vec<u8> {
        bytes(&self.0["message"])
    }

    pub fn signed(&self) -> Vec<Signed> {
        let signed = |value: &Value| {
            let (alg, hash) = (text(&value["alg"]), text(&value["hash"]));
            Signed {
                name: format!("{alg} {hash} {}", text(&value["context"])),
                alg: named(&SignAlg::ALL, alg),
                hash: named(&HashAlg::ALL, hash),
                context: bytes(&value["context"]),
                key: self.key(text(&value["key"])),
                signature: bytes(&value["signature"]),
            }
        };
        list(&self.0["sign"]).iter().map(signed).collect()
    }

    /// By algorithms of one kind alone.
    pub fn signed_by(&self, post_quantum: bool) -> impl Iterator<Item = Signed> {
        let all = self.signed().into_iter();
        all.filter(move |signed| signed.alg.is_post_quantum() == post_quantum)
    }

    pub fn key(&self, name: &str) -> KeyPair {
        let key = list(&self.0["keys"]).iter().find(|key| key["name"] == name);
        let key = key.unwrap();
        KeyPair {
            spki: bytes(&key["spki"]),
            pkcs8: bytes(&key["pkcs8"]),
        }
    }

    pub fn exchanged(&self) -> Vec<Exchanged> {
        let exchanged = |value: &Value| Exchanged {
            alg: named(&ExchangeAlg::ALL, text(&value["alg"])),
            seed: bytes(&value["seed"]),
            request: bytes(&value["request"]),
            answer: bytes(&value["answer"]),
            secret: bytes(&value["secret"]),
        };
        list(&self.0["exchange"]).iter().map(exchanged).collect()
    }

    /// The certificates of that name.
    pub fn issued(&self, name: &str) -> Issued {
        let mut all = self.certificates().into_iter();
        all.find(|issued| issued.name == name).unwrap()
    }

    pub fn certificates(&self) -> Vec<Issued> {
        let issued = |value: &Value| Issued {
            name: text(&value["name"]).to_owned(),
            issuer: bytes(&value["issuer"]),
            subject: bytes(&value["subject"]),
        };
        list(&self.0["certificates"]).iter().map(issued).collect()
    }
}

/// The one whose name in the code this is.
fn named<T: Copy + std::fmt::Debug>(all: &[T], name: &str) -> T {
    *all.iter().find(|one| format!("{one:?}") == name).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex(text(value))
}

pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}
