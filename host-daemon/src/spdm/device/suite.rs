//! Algorithms by name: `ecdsa-p384-sha384-secp384r1-aes256gcm`, or single ones.

use std::str::FromStr;

use tdisp::{
    crypto::{AeadAlg, ExchangeAlg, HashAlg, SignAlg},
    spdm::algorithms::Offer,
};

/// One algorithm or several, as one name on the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suite {
    sign: Vec<SignAlg>,
    hash: Vec<HashAlg>,
    exchange: Vec<ExchangeAlg>,
    aead: Vec<AeadAlg>,
}

/// A name that says no algorithms.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{at}` in the suite `{name}` is no algorithm here; wanted any of {}, joined by hyphens",
    names()
)]
pub struct NoSuite {
    name: String,
    at: String,
}

fn names() -> String {
    let sign = SIGN.iter().map(|(name, _)| *name);
    let hash = HASH.iter().map(|(name, _)| *name);
    let exchange = EXCHANGE.iter().map(|(name, _)| *name);
    let aead = AEAD.iter().map(|(name, _)| *name);
    sign.chain(hash)
        .chain(exchange)
        .chain(aead)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What `--suite` takes, for its help.
pub fn help() -> String {
    format!(
        "Algorithms to offer, by preference: a suite such as ecdsa-p384-sha384, or single ones; of a kind that is not named, all \
         that there are. Names: {}",
        names()
    )
}

const SIGN: &[(&str, SignAlg)] = &[
    ("ecdsa-p256", SignAlg::EcdsaP256),
    ("ecdsa-p384", SignAlg::EcdsaP384),
    ("rsassa-2048", SignAlg::RsaSsa2048),
    ("rsassa-3072", SignAlg::RsaSsa3072),
    ("rsassa-4096", SignAlg::RsaSsa4096),
    ("rsapss-2048", SignAlg::RsaPss2048),
    ("rsapss-3072", SignAlg::RsaPss3072),
    ("rsapss-4096", SignAlg::RsaPss4096),
    ("ml-dsa-44", SignAlg::MlDsa44),
    ("ml-dsa-65", SignAlg::MlDsa65),
    ("ml-dsa-87", SignAlg::MlDsa87),
];

const HASH: &[(&str, HashAlg)] = &[
    ("sha256", HashAlg::Sha256),
    ("sha384", HashAlg::Sha384),
    ("sha512", HashAlg::Sha512),
];

const EXCHANGE: &[(&str, ExchangeAlg)] = &[
    ("secp256r1", ExchangeAlg::EcdhP256),
    ("secp384r1", ExchangeAlg::EcdhP384),
    ("ml-kem-512", ExchangeAlg::MlKem512),
    ("ml-kem-768", ExchangeAlg::MlKem768),
    ("ml-kem-1024", ExchangeAlg::MlKem1024),
];

const AEAD: &[(&str, AeadAlg)] = &[
    ("aes128gcm", AeadAlg::Aes128Gcm),
    ("aes256gcm", AeadAlg::Aes256Gcm),
    ("chacha20poly1305", AeadAlg::ChaCha20Poly1305),
];

impl FromStr for Suite {
    type Err = NoSuite;

    fn from_str(name: &str) -> Result<Self, NoSuite> {
        let plain = folded(name);
        let (mut rest, mut suite) = (plain.as_str(), Self::default());
        loop {
            let before = rest;
            take(&mut rest, SIGN, &mut suite.sign);
            take(&mut rest, HASH, &mut suite.hash);
            take(&mut rest, EXCHANGE, &mut suite.exchange);
            take(&mut rest, AEAD, &mut suite.aead);
            if rest.is_empty() && !plain.is_empty() {
                return Ok(suite);
            }
            if rest == before {
                return Err(NoSuite {
                    name: name.into(),
                    at: rest.into(),
                });
            }
        }
    }
}

fn folded(name: &str) -> String {
    let plain = name.chars().filter(|c| !matches!(c, '-' | '_'));
    plain.collect::<String>().to_ascii_lowercase()
}

/// Takes the name that `rest` begins with, if one of `known` is it.
fn take<T: Copy>(rest: &mut &str, known: &[(&str, T)], into: &mut Vec<T>) {
    for (name, alg) in known {
        if let Some(after) = rest.strip_prefix(folded(name).as_str()) {
            into.push(*alg);
            *rest = after;
            return;
        }
    }
}

/// What all of `suites` name, by preference; of a kind that none names, everything that there is.
pub fn offer(suites: &[Suite]) -> Offer {
    fn named<T: Copy + PartialEq>(suites: &[Suite], of: fn(&Suite) -> &Vec<T>, all: &[T]) -> Vec<T> {
        let mut found = Vec::new();
        for alg in suites.iter().flat_map(of) {
            if !found.contains(alg) {
                found.push(*alg);
            }
        }
        if found.is_empty() { all.to_vec() } else { found }
    }
    Offer {
        sign: named(suites, |suite| &suite.sign, &SignAlg::ALL),
        hash: named(suites, |suite| &suite.hash, &HashAlg::ALL),
        exchange: named(suites, |suite| &suite.exchange, &ExchangeAlg::ALL),
        aead: named(suites, |suite| &suite.aead, &AeadAlg::ALL),
        ..Offer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_read_with_its_hyphens_anywhere_and_says_what_it_does_not_know() {
        let suite: Suite = "ecdsa-p256-sha256-secp256r1-aes128gcm".parse().unwrap();
        assert_eq!(suite, "ECDSAP256_SHA-256-secp256r1-aes128-gcm".parse().unwrap());
        let chosen = offer(&[suite, "sha384".parse().unwrap()]);
        assert_eq!(chosen.sign, [SignAlg::EcdsaP256]);
        assert_eq!(chosen.hash, [HashAlg::Sha256, HashAlg::Sha384]);
        assert_eq!(offer(&["sha384".parse().unwrap()]).sign, SignAlg::ALL);
        let error = "ecdsa-p384-md5".parse::<Suite>().unwrap_err().to_string();
        assert!(
            error.starts_with("`md5` in the suite `ecdsa-p384-md5`"),
            "{error}"
        );
        assert!("".parse::<Suite>().is_err());
    }
}
