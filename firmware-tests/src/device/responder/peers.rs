//! What the card knows of its requesters: pre-shared keys, and how they authenticate themselves.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::{fs, io};
use tdisp::crypto::{HashAlg, Ring, Secret, digest};
use tdisp::spdm::Trust;
use tdisp::spdm::msg::{Version, certificate, key_exchange};
use tdisp::spdm::responder::{Mutual, Psk};
use tdisp::wire::Reader;

/// Pre-shared keys and their hints.
#[derive(Clone)]
pub struct PskOption(Vec<(Vec<u8>, Secret)>);

/// What libspdm's sample device and spdm-emu use, their hint with the NUL at its end.
const EMULATOR: (&[u8], &[u8]) = (b"TestPskHint\0", b"TestPskData\0");

impl std::fmt::Debug for PskOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} pre-shared keys", self.0.len())
    }
}

/// No pre-shared key.
#[derive(Debug, thiserror::Error)]
pub enum NoPsk {
    /// Neither a key nor a file.
    #[error(
        "`{0}` is neither a key in hexadecimal digits, such as 00112233:hint, nor a file with one a line, nor spdm-emu"
    )]
    Neither(String),
    /// The file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: String,
        /// Why.
        error: io::Error,
    },
}

impl FromStr for PskOption {
    type Err = NoPsk;

    fn from_str(text: &str) -> Result<Self, NoPsk> {
        if text == "spdm-emu" {
            let (hint, key) = EMULATOR;
            return Ok(Self(vec![(hint.to_vec(), Secret::new(key.to_vec()))]));
        }
        if let Some(key) = key(text) {
            return Ok(Self(vec![key]));
        }
        let lines = match fs::read_to_string(text) {
            Ok(lines) => lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NoPsk::Neither(text.to_owned()));
            }
            Err(error) => {
                return Err(NoPsk::File {
                    path: text.to_owned(),
                    error,
                });
            }
        };
        let lines = lines.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        // A line may hold a key: it is not repeated in an error.
        let keys = keys.map(|line| key(line).ok_or_else(|| NoPsk::Neither(format!("a line of {text}"))));
        keys.collect::<Result<_, _>>().map(Self)
    }
}

/// HEX or HEX:HINT; a hint that begins with 0x is hexadecimal too.
fn key(text: &str) -> Option<(Vec<u8>, Secret)> {
    let (key, hint) = text.split_once(':').unwrap_or((text, ""));
    let hint = match hint.strip_prefix("0x") {
        Some(digits) => bytes(digits)?,
        None => hint.as_bytes().to_vec(),
    };
    let key = bytes(key).filter(|key| !key.is_empty())?;
    Some((hint, Secret::new(key)))
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

impl PskOption {
    /// The keys of all of `options`, found by their hints; `None` without any.
    pub fn config(options: &[Self]) -> Option<Psk> {
        let keys: Vec<_> = options.iter().flat_map(|option| option.0.clone()).collect();
        let find = move |hint: &[u8]| {
            let found = keys.iter().find(|(known, _)| known == hint);
            found.map(|(_, key)| Secret::new(key.expose().to_vec()))
        };
        (!options.is_empty()).then(|| Psk {
            keys: Arc::new(find),
            context: true,
        })
    }
}

/// A way in which requesters authenticate themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Not at all.
    None,
    /// CHALLENGE_AUTH asks for it.
    Basic,
    /// KEY_EXCHANGE_RSP asks for it, with encapsulated requests.
    Session(key_exchange::Mutual),
    /// Who cannot gets no session.
    Required,
}

impl FromStr for Way {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "none" => Self::None,
            "basic" => Self::Basic,
            "encap" => Self::Session(key_exchange::Mutual::ENCAPSULATED),
            "digests" => Self::Session(key_exchange::Mutual::GET_DIGESTS),
            "raw" => Self::Session(key_exchange::Mutual::SIGNATURE),
            "required" => Self::Required,
            _ => return Err("wanted none, basic, encap, digests, raw or required".to_owned()),
        })
    }
}

/// Why requesters cannot be made to authenticate themselves.
#[derive(Debug, thiserror::Error)]
pub enum NoMutual {
    /// Nothing says which requesters are right.
    #[error(
        "--mutual-auth wants --requester-root FILE, the certificate that requesters' chains begin with, in DER"
    )]
    Root,
    /// The responder asks for no chain, and has none.
    #[error(
        "--mutual-auth raw wants --requester-chain FILE: the requester's certificates in DER, root first"
    )]
    Chain,
    /// Two ways at once.
    #[error("--mutual-auth names two of encap, digests and raw: KEY_EXCHANGE_RSP asks for one")]
    Two,
    /// A file is no certificate.
    #[error("{path} is not one certificate in DER: `openssl x509 -outform der` makes one of PEM")]
    NoCertificate {
        /// Which one.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What `ways` ask of requesters whose chains begin with one of `roots`, in a connection with this hash; `chain` is what
/// the card was provisioned with.
pub fn mutual(
    ways: &[Way],
    roots: &[PathBuf],
    chain: Option<&PathBuf>,
    hash: HashAlg,
) -> Result<Option<Mutual>, NoMutual> {
    let mut sessions = ways.iter().filter_map(|way| match way {
        Way::Session(way) => Some(*way),
        _ => None,
    });
    let session = sessions.next();
    if sessions.next().is_some() {
        return Err(NoMutual::Two);
    }
    let challenge = ways.contains(&Way::Basic);
    if session.is_none() && !challenge {
        return Ok(None);
    }
    if roots.is_empty() {
        return Err(NoMutual::Root);
    }
    let roots = roots
        .iter()
        .map(|path| Ok(digest(&Ring, hash, &certificate(path)?)));
    let roots = roots.collect::<Result<_, NoMutual>>()?;
    let chain = chain.map(|path| chain_object(&read(path)?, hash)).transpose()?;
    if session == Some(key_exchange::Mutual::SIGNATURE) && chain.is_none() {
        return Err(NoMutual::Chain);
    }
    Ok(Some(Mutual {
        challenge,
        session: session.unwrap_or(key_exchange::Mutual::NONE),
        chain: chain.map(|chain| (0, chain)),
        required: ways.contains(&Way::Required),
        ..Mutual::new(Trust::Pinned(roots))
    }))
}

fn read(path: &PathBuf) -> Result<Vec<u8>, NoMutual> {
    fs::read(path).map_err(|error| NoMutual::File {
        path: path.clone(),
        error,
    })
}

/// A file with one certificate and nothing else: the digest of anything else would be no requester's root.
fn certificate(path: &PathBuf) -> Result<Vec<u8>, NoMutual> {
    let bytes = read(path)?;
    match first_certificate(&bytes) {
        Some(first) if first.len() == bytes.len() => Ok(bytes),
        _ => Err(NoMutual::NoCertificate { path: path.clone() }),
    }
}

/// The object that SPDM makes of certificates, the root first.
fn chain_object(certificates: &[u8], hash: HashAlg) -> Result<Vec<u8>, NoMutual> {
    let root = first_certificate(certificates).ok_or(NoMutual::Chain)?;
    let root_hash = digest(&Ring, hash, root);
    let chain = certificate::Chain {
        root_hash: root_hash.as_ref(),
        certificates,
    };
    let mut object = Vec::new();
    chain.encode(Version::V1_2, &mut object);
    Ok(object)
}

/// The first of several DER elements.
fn first_certificate(bytes: &[u8]) -> Option<&[u8]> {
    // A certificate is a SEQUENCE of 256 to 65535 bytes.
    let head = Reader::new(bytes).u32_be("certificate").ok()?;
    let certificate = bytes.get(..4 + (head & 0xffff) as usize)?;
    (head >> 16 == 0x3082).then_some(certificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn found(options: &[&str], hint: &[u8]) -> Option<Vec<u8>> {
        let options: Vec<PskOption> = options.iter().map(|text| text.parse().unwrap()).collect();
        let psk = PskOption::config(&options).unwrap();
        psk.keys.find(hint).map(|key| key.expose().to_vec())
    }

    #[test]
    fn a_key_is_found_by_its_hint_and_one_without_a_hint_by_none() {
        let options = ["0011:one", "2233:0x6f6e6500", "4455"];
        assert_eq!(found(&options, b"one"), Some(vec![0, 0x11]));
        assert_eq!(found(&options, b"one\0"), Some(vec![0x22, 0x33]));
        assert_eq!(found(&options, b""), Some(vec![0x44, 0x55]));
        assert_eq!(found(&options, b"two"), None);
        assert_eq!(
            found(&["spdm-emu"], b"TestPskHint\0"),
            Some(b"TestPskData\0".to_vec())
        );
    }

    #[test]
    fn a_file_has_a_key_a_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"# keys of the lab\n\n0102:a\n0304:b\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(found(&[path], b"b"), Some(vec![3, 4]));
    }

    #[test]
    fn what_is_no_key_says_so_without_repeating_what_might_be_one() {
        let error = "0g".parse::<PskOption>().unwrap_err().to_string();
        assert!(error.starts_with("`0g` is neither"), "{error}");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"geheim\n").unwrap();
        let path = file.path().to_str().unwrap();
        let error = path.parse::<PskOption>().unwrap_err().to_string();
        assert!(!error.contains("geheim"), "{error}");
    }

    #[test]
    fn mutual_authentication_is_one_way_in_sessions_with_roots_that_are_there() {
        let way = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.parse().unwrap())
                .collect::<Vec<Way>>()
        };
        let mutual = |names: &[&str]| mutual(&way(names), &[], None, HashAlg::Sha384);
        assert!(matches!(mutual(&["none"]), Ok(None)));
        assert!(matches!(mutual(&["encap"]), Err(NoMutual::Root)));
        assert!(matches!(mutual(&["encap", "raw"]), Err(NoMutual::Two)));
        assert!("both".parse::<Way>().is_err());
    }

    #[test]
    fn a_requesters_root_that_is_no_certificate_in_der_is_refused_before_any_requester_is() {
        let ways = ["basic".parse::<Way>().unwrap()];
        let check = |bytes: &[u8]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(bytes).unwrap();
            mutual(&ways, &[file.path().to_owned()], None, HashAlg::Sha384)
        };
        let root = crate::identity::new(tdisp::crypto::SignAlg::EcdsaP384)
            .unwrap()
            .vendor
            .root;
        assert!(check(&root).is_ok());
        let pem = b"-----BEGIN CERTIFICATE-----\n";
        for wrong in [
            &b""[..],
            pem,
            &root[..root.len() - 1],
            &[&root[..], &[0]].concat(),
        ] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.contains("is not one certificate in DER"), "{error}");
        }
    }
}
