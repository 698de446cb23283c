//! Files: roots to read, captures and certificates to write.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tdisp::{crypto::HashAlg, evidence::Root};
use x509_parser::{
    pem::Pem,
    prelude::{FromDer, X509Certificate},
};

use super::{Error, facts::Facts};
use crate::spdm::{
    certificate::plain,
    pcap::{Capture, LINK_DOE, Writer},
    record::provider,
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
