//! Algorithms by name: `ecdsa-p384-sha384-secp384r1-aes256gcm`, or single ones.

use std::str::FromStr;
use tdisp::crypto::{AeadAlg, ExchangeAlg, HashAlg, SignAlg};
use tdisp::spdm::algorithms::Offer;

/// One algorithm or several, as one name on the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suite {
    sign: Vec<SignAlg>,
    hash: Vec<HashAlg>,
    exchange: Vec<ExchangeAlg>,
    aead: Vec<AeadAlg>,
}

#[derive(Clone, Copy)]
enum Item {
    Sign(SignAlg),
    Hash(HashAlg),
    Exchange(ExchangeAlg),
    Aead(AeadAlg),
}

/// Names without their hyphens. None begins another one.
const ITEMS: [(&str, &str, Item); 16] = [
    ("ecdsap256", "ecdsa-p256", Item::Sign(SignAlg::EcdsaP256)),
    ("ecdsap384", "ecdsa-p384", Item::Sign(SignAlg::EcdsaP384)),
    ("mldsa44", "ml-dsa-44", Item::Sign(SignAlg::MlDsa44)),
    ("mldsa65", "ml-dsa-65", Item::Sign(SignAlg::MlDsa65)),
    ("mldsa87", "ml-dsa-87", Item::Sign(SignAlg::MlDsa87)),
    ("sha256", "sha256", Item::Hash(HashAlg::Sha256)),
    ("sha384", "sha384", Item::Hash(HashAlg::Sha384)),
    ("sha512", "sha512", Item::Hash(HashAlg::Sha512)),
    ("secp256r1", "secp256r1", Item::Exchange(ExchangeAlg::EcdhP256)),
    ("secp384r1", "secp384r1", Item::Exchange(ExchangeAlg::EcdhP384)),
    ("mlkem512", "ml-kem-512", Item::Exchange(ExchangeAlg::MlKem512)),
    ("mlkem768", "ml-kem-768", Item::Exchange(ExchangeAlg::MlKem768)),
    ("mlkem1024", "ml-kem-1024", Item::Exchange(ExchangeAlg::MlKem1024)),
    ("aes128gcm", "aes128gcm", Item::Aead(AeadAlg::Aes128Gcm)),
    ("aes256gcm", "aes256gcm", Item::Aead(AeadAlg::Aes256Gcm)),
    (
        "chacha20poly1305",
        "chacha20poly1305",
        Item::Aead(AeadAlg::ChaCha20Poly1305),
    ),
];

/// A name that says no algorithms.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{at}` in the suite `{name}` is no algorithm here; wanted any of {}, joined by hyphens",
    ITEMS.map(|(_, name, _)| name).join(", ")
)]
pub struct NoSuite {
    name: String,
    at: String,
}

impl FromStr for Suite {
    type Err = NoSuite;

    fn from_str(name: &str) -> Result<Self, NoSuite> {
        let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
        let plain = plain.to_ascii_lowercase();
        let mut rest = plain.as_str();
        let mut suite = Self::default();
        while !rest.is_empty() || plain.is_empty() {
            let found = ITEMS.iter().find(|(key, _, _)| rest.starts_with(key));
            let (key, _, item) = found.ok_or_else(|| NoSuite {
                name: name.to_owned(),
                at: rest.to_owned(),
            })?;
            suite.add(*item);
            rest = &rest[key.len()..];
        }
        Ok(suite)
    }
}

impl Suite {
    fn add(&mut self, item: Item) {
        match item {
            Item::Sign(alg) => self.sign.push(alg),
            Item::Hash(alg) => self.hash.push(alg),
            Item::Exchange(alg) => self.exchange.push(alg),
            Item::Aead(alg) => self.aead.push(alg),
        }
    }

    /// What all of `suites` name, by preference; of a kind that none names, what `usual` has.
    pub fn offer(suites: &[Self], usual: Offer) -> Offer {
        fn named<T: Copy + PartialEq>(suites: &[Suite], of: fn(&Suite) -> &Vec<T>, usual: Vec<T>) -> Vec<T> {
            let mut all = Vec::new();
            for alg in suites.iter().flat_map(of) {
                if !all.contains(alg) {
                    all.push(*alg);
                }
            }
            if all.is_empty() { usual } else { all }
        }
        Offer {
            sign: named(suites, |suite| &suite.sign, usual.sign),
            hash: named(suites, |suite| &suite.hash, usual.hash),
            exchange: named(suites, |suite| &suite.exchange, usual.exchange),
            aead: named(suites, |suite| &suite.aead, usual.aead),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(names: &[&str]) -> Offer {
        let suites: Vec<Suite> = names.iter().map(|name| name.parse().unwrap()).collect();
        Suite::offer(&suites, Offer::default())
    }

    #[test]
    fn a_suite_is_read_with_its_hyphens_anywhere() {
        for name in [
            "ecdsa-p256-sha256-secp256r1-aes128gcm",
            "ECDSA_P256-SHA-256-secp256r1-aes-128-gcm",
        ] {
            let offer = offer(&[name]);
            assert_eq!(
                (offer.sign, offer.hash, offer.exchange, offer.aead),
                (
                    vec![SignAlg::EcdsaP256],
                    vec![HashAlg::Sha256],
                    vec![ExchangeAlg::EcdhP256],
                    vec![AeadAlg::Aes128Gcm]
                )
            );
        }
    }

    #[test]
    fn several_suites_are_a_list_by_preference_and_the_rest_is_as_usual() {
        let offer = offer(&["chacha20poly1305", "aes128gcm", "aes128gcm"]);
        assert_eq!(offer.aead, [AeadAlg::ChaCha20Poly1305, AeadAlg::Aes128Gcm]);
        assert_eq!(offer.hash, Offer::default().hash);
    }

    #[test]
    fn what_is_no_algorithm_is_named() {
        let error = "ecdsa-p384-md5".parse::<Suite>().unwrap_err().to_string();
        assert!(
            error.starts_with("`md5` in the suite `ecdsa-p384-md5`"),
            "{error}"
        );
        assert!("".parse::<Suite>().is_err());
    }
}
