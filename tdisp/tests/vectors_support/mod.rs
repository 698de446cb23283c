//! Recorded SPDM conversations of other implementations, where this checkout has them.
//!
//! They hold certificates of somebody else's and stay outside the repository: the environment variable
//! `TIDELOCK_VECTORS` says where, or else they are looked for in `../shared/vectors` beside the workspace.

#![allow(dead_code, reason = "each test program uses its own part")]

use libtest_mimic::{Completion, Failed, Trial};
use std::path::{Path, PathBuf};
use tdisp::crypto::HashAlg;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The conversations, and whether there is a decoded one (`.json`) beside the recorded one (`.pcap`).
pub(crate) const NAMES: [(&str, bool); 10] = [
    ("doe_1.1_p384_enc", true),
    ("doe_1.2_p256_sha256_aes128", true),
    ("doe_1.2_p384_clear", true),
    ("doe_1.2_p384_enc", true),
    ("doe_1.2_p384_encmut", true),
    ("doe_1.2_psk", false),
    ("doe_1.3_all", false),
    ("doe_1.3_p384_enc", true),
    ("doe_1.3_psk", false),
    ("doe_1.4_p384_enc", true),
];

/// Where the conversations are, or why not.
pub(crate) fn folder() -> Result<PathBuf, String> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("TIDELOCK_VECTORS").map_or_else(beside, PathBuf::from);
    match folder.is_dir() {
        true => Ok(folder),
        false => Err(format!(
            "no recorded conversations in {}: put them there or set TIDELOCK_VECTORS",
            folder.display()
        )),
    }
}

/// A test of one file; without the file it is ignored, with the reason.
pub(crate) fn trial(name: String, file: String, test: fn(&Path) -> Result<(), Failed>) -> Trial {
    Trial::ignorable_test(name, move || match folder().map(|folder| folder.join(&file)) {
        Err(reason) => Ok(Completion::ignored_with(reason)),
        Ok(path) if !path.is_file() => Ok(Completion::ignored_with(format!("no {}", path.display()))),
        Ok(path) => test(&path).map(|()| Completion::Completed),
    })
}

/// A conversation as its `.json` has it.
#[derive(Debug)]
pub(crate) struct Conversation {
    json: serde_json::Value,
}

impl Conversation {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failed> {
        let text = std::fs::read_to_string(path)?;
        Ok(Self {
            json: serde_json::from_str(&text)?,
        })
    }

    /// Unsecured messages: requests and responses, in order.
    pub(crate) fn plain(&self) -> Result<Vec<[Vec<u8>; 2]>, Failed> {
        self.pairs("plain")
    }

    /// Messages that were in secured ones, decrypted.
    pub(crate) fn secured(&self) -> Result<Vec<[Vec<u8>; 2]>, Failed> {
        self.pairs("secured")
    }

    fn pairs(&self, key: &str) -> Result<Vec<[Vec<u8>; 2]>, Failed> {
        let pairs = self.json[key].as_array().ok_or(format!("no {key}"))?;
        let pair = |pair: &serde_json::Value| Ok([hex(&pair[0])?, hex(&pair[1])?]);
        pairs.iter().map(pair).collect()
    }
}

/// Packets of a `.pcap` (microseconds, little-endian), and its link type.
pub(crate) fn pcap(path: &Path) -> Result<(u32, Vec<Vec<u8>>), Failed> {
    let bytes = std::fs::read(path)?;
    let u32_at = |at: usize| -> Result<u32, Failed> {
        let field = bytes.get(at..at + 4).ok_or("the pcap file is cut off")?;
        Ok(u32::from_le_bytes(field.try_into()?))
    };
    if u32_at(0)? != 0xa1b2_c3d4 {
        return Err(format!("{} is no pcap file", path.display()).into());
    }
    let mut packets = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let size = u32_at(at + 8)? as usize;
        at += 16;
        packets.push(
            bytes
                .get(at..at + size)
                .ok_or("the pcap file is cut off")?
                .to_vec(),
        );
        at += size;
    }
    Ok((u32_at(20)?, packets))
}

/// Bytes that are written as hexadecimal digits.
pub(crate) fn hex(value: &serde_json::Value) -> Result<Vec<u8>, Failed> {
    let text = value.as_str().ok_or("no hex string")?;
    let digits = |at| u8::from_str_radix(text.get(at..at + 2).unwrap_or("odd"), 16);
    let bytes = (0..text.len()).step_by(2).map(digits);
    Ok(bytes.collect::<Result<_, _>>()?)
}

/// The SEC1 point of a chain's last certificate.
pub(crate) fn leaf_key(chain: &[u8], hash: HashAlg) -> Result<Vec<u8>, Failed> {
    let mut rest = &chain[4 + hash.size()..];
    loop {
        let (after, certificate) = X509Certificate::from_der(rest)?;
        if after.is_empty() {
            return Ok(certificate.public_key().subject_public_key.data.to_vec());
        }
        rest = after;
    }
}
