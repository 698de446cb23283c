//! Certificate chains for people, and the keys in them.

use tdisp::{
    spdm::msg::Version,
    wire::{DecodeError, Reader},
};
use x509_parser::{
    certification_request::X509CertificationRequest,
    prelude::{FromDer, X509Certificate},
    public_key::PublicKey,
};

use super::field::{Field, Value, Walk};

/// Certificates of one chain. Device chains have three to five.
const CERTIFICATES_MAX: usize = 16;

/// A chain object's fields: length, root hash, certificates. `None` if it is not even long enough for that.
pub fn chain(object: &[u8], version: Version, hash_size: usize) -> Option<Vec<Field>> {
    let mut walk = Walk::new(object, 0);
    let head = (|| {
        match version >= Version::V1_4 {
            true => walk.u32("Length").map(drop)?,
            false => {
                walk.u16("Length")?;
                walk.reserved(2)?;
            }
        }
        walk.bytes("RootHash", hash_size).map(drop)
    })();
    head.ok()?;
    let start = walk.consumed();
    let certificates = walk.peek().to_vec();
    let mut fields = walk.into_fields();
    let mut rest = &certificates[..];
    while !rest.is_empty() && fields.len() < CERTIFICATES_MAX + 3 {
        let at = start + certificates.len() - rest.len();
        let Ok((after, certificate)) = X509Certificate::from_der(rest) else {
            fields.push(leaf(
                "Certificate",
                at..object.len(),
                "is no certificate in DER".into(),
            ));
            return Some(fields);
        };
        let size = rest.len() - after.len();
        fields.push(Field {
            name: "Certificate".into(),
            at: at..at + size,
            value: Value::Group,
            meaning: plain(&certificate.subject().to_string()),
            inside: summary(&certificate, at..at + size),
        });
        rest = after;
    }
    Some(fields)
}

fn leaf(name: &str, at: std::ops::Range<usize>, meaning: String) -> Field {
    Field {
        name: name.into(),
        at,
        value: Value::Group,
        meaning,
        inside: Vec::new(),
    }
}

fn summary(certificate: &X509Certificate<'_>, at: std::ops::Range<usize>) -> Vec<Field> {
    let validity = certificate.validity();
    let line = |name: &str, text: String| leaf(name, at.clone(), plain(&text));
    let mut lines = vec![
        line("Issuer", certificate.issuer().to_string()),
        line("Serial", certificate.raw_serial_as_string()),
        line(
            "Valid",
            format!("{} to {}", validity.not_before, validity.not_after),
        ),
        line("Key", key_name(certificate)),
    ];
    if certificate.is_ca() {
        lines.push(line("Authority", "may sign certificates".into()));
    }
    lines
}

/// What kind of key a certificate has.
pub fn key_name(certificate: &X509Certificate<'_>) -> String {
    let key = certificate.public_key();
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        Ok(PublicKey::EC(point)) => format!("EC {}", point.key_size()),
        _ => format!("algorithm {}", key.algorithm.algorithm),
    }
}

/// The subject of a certificate signing request.
pub fn request(der: &[u8]) -> Option<String> {
    let (_, request) = X509CertificationRequest::from_der(der).ok()?;
    Some(plain(&request.certification_request_info.subject.to_string()))
}

/// The certificates of a chain object, in DER.
pub fn certificates(object: &[u8], hash_size: usize) -> Result<Vec<&[u8]>, String> {
    let mut reader = Reader::new(object);
    let head = |error: DecodeError| format!("the certificate chain is cut off: {error}");
    reader.take(4, "chain length").map_err(head)?;
    reader.take(hash_size, "root hash").map_err(head)?;
    let (mut rest, mut found) = (reader.rest(), Vec::new());
    while !rest.is_empty() {
        let (after, _) = X509Certificate::from_der(rest).map_err(|error| {
            format!(
                "certificate {} of the chain cannot be read: {error}",
                found.len() + 1
            )
        })?;
        found.push(&rest[..rest.len() - after.len()]);
        if found.len() > CERTIFICATES_MAX {
            return Err(format!("the chain has more than {CERTIFICATES_MAX} certificates"));
        }
        rest = after;
    }
    match found.is_empty() {
        true => Err("the certificate chain is empty".into()),
        false => Ok(found),
    }
}

/// Text of somebody else's: nothing in it may drive a terminal.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
