//! Certificates for keys that `rcgen` does not know: made for another one, which is then replaced.

use rcgen::{Error, KeyPair, SigningKey};

/// The certificate with the SubjectPublicKeyInfo `new` in the place of `old`, signed by its issuer.
pub(super) fn rekeyed(
    certificate: &[u8],
    old: &[u8],
    new: &[u8],
    issuer: &KeyPair,
) -> Result<Vec<u8>, Error> {
    let bad = Error::CouldNotParseCertificate;
    let (whole, _, _) = element(certificate).ok_or(bad.clone())?;
    let (signed, _, after) = element(whole).ok_or(bad.clone())?;
    let (_, algorithm, _) = element(after).ok_or(bad.clone())?;
    let at = signed.windows(old.len()).position(|window| window == old);
    let (before, rest) = signed.split_at(at.ok_or(bad)?);
    let signed = wrapped(SEQUENCE, &[before, new, &rest[old.len()..]]);
    let signature = issuer.sign(&signed)?;
    let signature = wrapped(BIT_STRING, &[&[0], &signature]);
    Ok(wrapped(SEQUENCE, &[&signed, algorithm, &signature]))
}

/// The first element of some DER: its content, all of it, and what comes after.
fn element(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (head, size) = match *der.get(1)? {
        0x81 => (3, usize::from(*der.get(2)?)),
        0x82 => (4, usize::from(*der.get(2)?) << 8 | usize::from(*der.get(3)?)),
        short => (2, usize::from(short)),
    };
    let (whole, after) = der.split_at_checked(head + size)?;
    Some((&whole[head..], whole, after))
}

/// An element of some parts, of 64 KiB at most.
fn wrapped(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [high, low] = (content.len() as u16).to_be_bytes();
    let head: &[u8] = match content.len() {
        0..0x80 => &[tag, low],
        0x80..0x100 => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, &content].concat()
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 3;
