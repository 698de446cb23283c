//! Files: roots to read, captures and certificates to write.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tdisp::{
    crypto::{HashAlg, RingSigner, Secret, SignAlg, Signer as _, x509::PublicKey},
    evidence::Root,
    spdm::{
        Identity, RequesterConfig,
        msg::{Version, certificate::Chain},
        requester::PreShared,
        responder::Slot,
    },
};
use x509_parser::{
    pem::Pem,
    prelude::{FromDer, X509Certificate},
};

use super::{
    Error,
    facts::Facts,
    talk::{Opened, Opening},
};
use crate::spdm::{
    args::Hint,
    certificate::plain,
    hex,
    pcap::{Capture, LINK_DOE, Writer},
    record::provider,
    unhex,
};

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path: PathBuf = path.into();
    move |source| Error::File {
        path: path.clone(),
        source,
    }
}

/// Reads a root certificate, in DER or the first in PEM.
pub(super) fn root(path: &Path) -> Result<Root, Error> {
    let bytes = fs::read(path).map_err(failed(path))?;
    let refused = |why: String| Error::Root {
        path: path.into(),
        why,
    };
    let der = match bytes.starts_with(b"-----") {
        true => {
            let mut blocks = Pem::iter_from_buffer(&bytes);
            let block = blocks
                .next()
                .ok_or_else(|| refused("it has no PEM block".into()))?;
            block.map_err(|error| refused(error.to_string()))?.contents
        }
        false => bytes,
    };
    let (rest, certificate) = X509Certificate::from_der(&der).map_err(|error| refused(error.to_string()))?;
    if !rest.is_empty() {
        return Err(refused(format!("{} bytes follow the certificate", rest.len())));
    }
    Ok(Root {
        name: plain(&certificate.subject().to_string()),
        digest: tdisp::crypto::digest(provider(), HashAlg::Sha384, &der),
    })
}

/// Writes a capture.
pub(super) fn save(path: &Path, capture: &Capture) -> Result<(), Error> {
    let link = capture.packets.first().map_or(LINK_DOE, |packet| packet.link);
    let write = || {
        let file = std::io::BufWriter::new(fs::File::create(path)?);
        let mut writer = Writer::begin(file, link)?;
        for packet in &capture.packets {
            writer.packet(Duration::from_nanos(packet.time_ns), &packet.bytes)?;
        }
        Ok(())
    };
    write().map_err(failed(path))
}

/// A session's secrets, as `decode --secrets` reads them.
pub(super) fn secrets(opened: &Opened) -> String {
    let key = match opened.on {
        Opening::KeyExchange => "dhe",
        Opening::PreShared => "psk",
    };
    let secret = hex(opened.secret.expose());
    let chains = opened.own_chain.as_ref().map_or(String::new(), |chain| {
        format!(", \"chains\": {{\"requester\": {{\"0\": \"{}\"}}}}", hex(chain))
    });
    format!(
        "{{\"session_id\": {}, \"{key}\": \"{secret}\"{chains}}}\n",
        opened.id
    )
}

/// Writes them, for nobody else to read.
pub(super) fn save_secrets(path: &Path, opened: &Opened) -> Result<(), Error> {
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(secrets(opened).as_bytes())
    };
    write().map_err(failed(path))
}

/// Reads a pre-shared key: hexadecimal digits if it is nothing else, or else the bytes that are there.
pub(super) fn psk(path: &Path, hint: &Hint) -> Result<PreShared, Error> {
    let bytes = fs::read(path).map_err(failed(path))?;
    let digits = unhex(bytes.trim_ascii()).filter(|key| !key.is_empty());
    let key = digits.unwrap_or(bytes);
    if key.is_empty() {
        return Err(Error::Own {
            path: path.into(),
            why: "it is empty; wanted a pre-shared key".into(),
        });
    }
    Ok(PreShared {
        hint: hint.0.clone(),
        key: Secret::new(key),
    })
}

/// Reads what this side authenticates itself with. The chain's header has the root's digest in the negotiated hash, so
/// that only one hash is offered then: the first that the key signs with.
pub(super) fn identity(path: &Path, mut config: RequesterConfig) -> Result<RequesterConfig, Error> {
    let bytes = fs::read(path).map_err(failed(path))?;
    let refused = |why: String| Error::Own {
        path: path.into(),
        why: format!("{why}; wanted PEM blocks: the certificates, root first, and a PRIVATE KEY in PKCS#8"),
    };
    let blocks = Pem::iter_from_buffer(&bytes).collect::<Result<Vec<_>, _>>();
    let blocks = blocks.map_err(|error| refused(error.to_string()))?;
    let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
    let certificates: Vec<_> = certificates.map(|block| block.contents.clone()).collect();
    let (Some(root), Some(leaf)) = (certificates.first(), certificates.last()) else {
        return Err(refused("it has no CERTIFICATE".into()));
    };
    let mut keys = blocks.iter().filter(|block| block.label == "PRIVATE KEY");
    let key = keys
        .next()
        .ok_or_else(|| refused("it has no PRIVATE KEY".into()))?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| refused(error.to_string()))?;
    let public = PublicKey::from_der(leaf.public_key().raw).map_err(|error| refused(error.to_string()))?;
    let fits = |alg: &SignAlg| public.for_alg(*alg).is_ok() && !alg.is_post_quantum();
    let algs = SignAlg::ALL.into_iter().filter(fits);
    let signers: Vec<_> = algs
        .filter_map(|alg| RingSigner::from_pkcs8(alg, &key.contents).ok())
        .collect();
    let signs = |hash: &HashAlg| signers.iter().position(|signer| signer.signs_with(*hash));
    let pair = config
        .offer
        .hash
        .iter()
        .find_map(|hash| Some((*hash, signs(hash)?)));
    let (hash, at) = pair.ok_or_else(|| refused("no algorithm of the offer signs with its key".into()))?;
    let signer = signers
        .into_iter()
        .nth(at)
        .ok_or_else(|| refused("its key signs nothing".into()))?;
    let mut chain = Vec::new();
    Chain {
        root_hash: tdisp::crypto::digest(provider(), hash, root).as_ref(),
        certificates: &certificates.concat(),
    }
    .encode(Version::V1_2, &mut chain);
    config.offer.hash = vec![hash];
    config.offer.requester_sign = vec![signer.algorithm()];
    let mut identity = Identity::default();
    identity.slots[0] = Some(Slot::new(chain, Arc::new(signer)));
    config.identity = Some(identity);
    Ok(config)
}

/// Writes the chains' objects and certificates.
pub(super) fn certificates(directory: &Path, facts: &Facts) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let write = |name: String, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).map_err(failed(&path))
    };
    for chain in &facts.chains {
        let slot = chain.slot;
        write(format!("slot{slot}.chain"), &chain.object)?;
        for (number, der) in chain.certificates.iter().enumerate() {
            write(format!("slot{slot}-{number}.der"), der)?;
            write(format!("slot{slot}-{number}.pem"), pem(der).as_bytes())?;
        }
    }
    Ok(())
}

/// A certificate in PEM (RFC 7468).
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = (0..3).fold(0u32, |bits, at| {
                bits << 8 | u32::from(group.get(at).copied().unwrap_or(0))
            });
            for digit in 0..4 {
                let index = (bits >> (18 - 6 * digit) & 0x3f) as usize;
                text.push(if digit <= group.len() {
                    char::from(DIGITS[index])
                } else {
                    '='
                });
            }
        }
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_pem_is_read_again() {
        for size in [0, 1, 2, 3, 47, 48, 49, 200] {
            let der: Vec<u8> = (0..size).map(|byte| (byte * 7) as u8).collect();
            let text = pem(&der);
            let block = Pem::iter_from_buffer(text.as_bytes()).next().unwrap().unwrap();
            assert_eq!(block.contents, der, "{text}");
        }
    }

    #[test]
    fn a_root_that_is_none_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root");
        fs::write(&path, "hello").unwrap();
        let message = root(&path).unwrap_err().to_string();
        assert!(message.contains("wanted X.509 in DER or PEM"), "{message}");
        assert!(matches!(
            root(&directory.path().join("none")),
            Err(Error::File { .. })
        ));
    }
}
