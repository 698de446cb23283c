//! Short texts for people: `u16 length ‖ UTF-8`, bounded, and without control characters, because they end up
//! in logs and on terminals.

use crate::wire::{DecodeError, Reader, Write};
use alloc::{string::String, vec::Vec};

/// Bytes of the longest text.
pub const TEXT_SIZE_MAX: usize = 512;

pub(super) fn encode(text: &str, out: &mut Vec<u8>) {
    let mut clean = String::with_capacity(text.len().min(TEXT_SIZE_MAX));
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if clean.len() + c.len_utf8() > TEXT_SIZE_MAX {
            break;
        }
        clean.push(c);
    }
    out.u16(u16::try_from(clean.len()).unwrap_or(u16::MAX));
    out.bytes(clean.as_bytes());
}

pub(super) fn decode(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let size = usize::from(r.u16("text length")?);
    if size > TEXT_SIZE_MAX {
        return Err(DecodeError::Invalid {
            what: "text length",
            found: size as u64,
            wanted: "at most 512 bytes",
        });
    }
    let text = core::str::from_utf8(r.take(size, "text")?).ok();
    let text = text.filter(|text| !text.chars().any(char::is_control));
    text.map(String::from).ok_or(DecodeError::Invalid {
        what: "text",
        found: size as u64,
        wanted: "UTF-8 without control characters",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(text: &str) -> Result<String, DecodeError> {
        let mut out = Vec::new();
        encode(text, &mut out);
        Reader::all(&out, decode)
    }

    #[test]
    fn a_text_is_cleaned_and_cut_before_it_is_sent() {
        assert_eq!(through("wanted 2,\nfound 3").unwrap(), "wanted 2, found 3");
        let long: String = core::iter::repeat_n('é', 400).collect();
        assert_eq!(through(&long).unwrap().len(), 512);
    }

    #[test]
    fn a_text_that_could_drive_a_terminal_is_refused() {
        assert!(Reader::all(b"\x04\x00\x1b[2J", decode).is_err());
        assert!(Reader::all(b"\x01\x00\xff", decode).is_err());
        assert!(Reader::all(b"\x01\x02", decode).is_err());
    }
}
