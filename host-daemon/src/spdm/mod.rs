//! `tidelock spdm`: what people debug devices with. Recorded conversations field by field, with everything that can be
//! recomputed recomputed.
//!
//! ```text
//!  file ─ pcap ─ frame ─► units ─ follow ─► entries ─ print ─► text or JSON
//!                                  │  ▲
//!              dissect, known ◄────┘  └── secrets
//! ```
//! | what | where |
//! |---|---|
//! | capture files, and messages out of packets | [`pcap`], [`frame`] |
//! | fields of a message, and their names | [`field`], [`dissect`], [`names`], [`certificate`] |
//! | what a connection has agreed on | [`known`] |
//! | the conversation, and what is recomputed of it | [`follow`], [`record`], [`secrets`], [`check`] |
//! | for people and programs | [`mod@print`], [`decode`] |
//! | conversations of our own, which are then recordings like others | [`device`] |
//!
//! Only [`decode`] and [`device`] do I/O.

pub mod args;
pub mod certificate;
pub mod check;
pub mod decode;
pub mod device;
pub mod dissect;
pub mod field;
pub mod follow;
pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod known;
pub mod names;
pub mod pcap;
pub mod print;
pub mod record;
pub mod secrets;

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes of hexadecimal digits, two a byte; `None` if they are not that.
pub fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}
