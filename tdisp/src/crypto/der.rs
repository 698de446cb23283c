//! The little DER that `x509-parser` leaves to its user: strict, bounded, and read in one direction only.

use crate::wire::{DecodeError, Reader};
use alloc::{vec, vec::Vec};

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OBJECT_ID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// The content of the element at the cursor, which must have this tag and a minimal definite length.
pub(crate) fn element<'a>(r: &mut Reader<'a>, tag: u8, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let found = r.u8(what)?;
    if found != tag {
        return Err(DecodeError::Invalid {
            what,
            found: found.into(),
            wanted: "the DER tag of its type",
        });
    }
    let first = r.u8(what)?;
    let (size, minimal) = match first {
        0..=0x7f => (usize::from(first), true),
        0x81 => r.u8(what).map(|size| (usize::from(size), size > 0x7f))?,
        0x82 => {
            let [high, low] = r.array(what)?;
            (usize::from(high) << 8 | usize::from(low), high > 0)
        }
        0x83 => {
            let [high, middle, low] = r.array(what)?.map(usize::from);
            (high << 16 | middle << 8 | low, high > 0)
        }
        _ => (0, false),
    };
    if !minimal {
        return Err(DecodeError::Invalid {
            what,
            found: first.into(),
            wanted: "a minimal DER length below 16 MiB",
        });
    }
    r.take(size, what)
}

/// Turns the DER form of an ECDSA signature, SEQUENCE { r INTEGER, s INTEGER }, into r‖s of `width` bytes each.
pub(crate) fn ecdsa_fixed(der: &[u8], width: usize) -> Result<Vec<u8>, DecodeError> {
    let content = Reader::all(der, |r| element(r, SEQUENCE, "ECDSA signature"))?;
    Reader::all(content, |reader| {
        let mut fixed = scalar(reader, width)?;
        fixed.append(&mut scalar(reader, width)?);
        Ok(fixed)
    })
}

/// Turns r‖s, of the same width each and at most 64 bytes, into the DER form of an ECDSA signature.
pub(crate) fn ecdsa_der(fixed: &[u8]) -> Vec<u8> {
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let content = [integer(r), integer(s)].concat();
    let size = content.len() as u8;
    let head = match size {
        0..=0x7f => vec![SEQUENCE, size],
        _ => vec![SEQUENCE, 0x81, size],
    };
    [head, content].concat()
}

/// The INTEGER of a magnitude of at most 64 bytes.
fn integer(magnitude: &[u8]) -> Vec<u8> {
    let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
    let shortest = &magnitude[zeros..];
    // A leading zero where the first bit would make it negative, and for zero itself.
    let padded = shortest.first().is_none_or(|first| *first >= 0x80);
    let mut der = vec![INTEGER, (shortest.len() + usize::from(padded)) as u8];
    der.extend(padded.then_some(0));
    der.extend_from_slice(shortest);
    der
}

/// A positive INTEGER in its shortest form, as `width` bytes.
fn scalar(r: &mut Reader<'_>, width: usize) -> Result<Vec<u8>, DecodeError> {
    let what = "ECDSA signature";
    let content = element(r, INTEGER, what)?;
    let bad = |wanted| DecodeError::Invalid {
        what,
        found: content.len() as u64,
        wanted,
    };
    let magnitude = match content {
        [] => return Err(bad("an integer of at least one byte")),
        [0x80..=0xff, ..] => return Err(bad("no negative integer")),
        [0] => return Err(bad("no zero")),
        [0, 0..=0x7f, ..] => return Err(bad("integers in their shortest form")),
        [0, magnitude @ ..] => magnitude,
        magnitude => magnitude,
    };
    let zeros = width
        .checked_sub(magnitude.len())
        .ok_or(bad("integers of the curve's width"))?;
    let mut fixed = alloc::vec![0; zeros];
    fixed.extend_from_slice(magnitude);
    Ok(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_brought_to_its_width() {
        let der = [0x30, 7, 2, 1, 5, 2, 2, 0, 0x80];
        assert_eq!(ecdsa_fixed(&der, 2).unwrap(), [0, 5, 0, 0x80]);
    }

    #[test]
    fn a_signature_goes_to_der_and_back() {
        for fixed in [[0, 5, 0, 0x80], [0x80, 0, 0x7f, 1], [0xff; 4], [0, 1, 0, 1]] {
            assert_eq!(ecdsa_fixed(&ecdsa_der(&fixed), 2).unwrap(), fixed);
        }
        assert_eq!(ecdsa_der(&[0, 0]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        let wide = ecdsa_der(&[0xff; 128]);
        assert_eq!(wide[..3], [0x30, 0x81, 134]);
    }

    #[test]
    fn case_27_zero_negative_long_or_junk_encodings_are_refused() {
        let cases: [(&str, &[u8]); 9] = [
            ("r = 0", &[0x30, 6, 2, 1, 0, 2, 1, 1]),
            ("s negative", &[0x30, 6, 2, 1, 1, 2, 1, 0x80]),
            ("empty integer", &[0x30, 5, 2, 0, 2, 1, 1]),
            ("leading zero", &[0x30, 7, 2, 2, 0, 1, 2, 1, 1]),
            ("wider than the curve", &[0x30, 8, 2, 3, 1, 2, 3, 2, 1, 1]),
            ("junk behind s", &[0x30, 7, 2, 1, 1, 2, 1, 1, 0]),
            ("junk behind the sequence", &[0x30, 6, 2, 1, 1, 2, 1, 1, 0]),
            (
                "a long form of a short length",
                &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 1],
            ),
            ("an indefinite length", &[0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0]),
        ];
        for (name, der) in cases {
            assert!(ecdsa_fixed(der, 2).is_err(), "{name}");
        }
    }
}
