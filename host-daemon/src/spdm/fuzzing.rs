//! What a fuzzer calls: a recording with its secrets, both of which are files that anybody may have sent.
//!
//! Built for tests and with the feature `fuzzing` only, which adds this module and changes nothing else. `./x fuzz recording`
//! begins with `host-daemon/fuzz/corpus`; the tests here replay that.

use super::{
    decode::follow,
    pcap::Capture,
    print::{self, Detail},
    secrets::Secrets,
};
use std::io::{self, Write};

/// Two files in one: `u16 size (LE) ‖ secrets, JSON ‖ recording, pcap or pcapng`. No secrets where the size is more than
/// there is.
fn parted(bytes: &[u8]) -> (Option<Secrets>, &[u8]) {
    let [low, high, rest @ ..] = bytes else {
        return (None, bytes);
    };
    let size = usize::from(*low) | usize::from(*high) << 8;
    let Some((secrets, recording)) = rest.split_at_checked(size) else {
        return (None, rest);
    };
    let secrets = str::from_utf8(secrets).ok();
    (secrets.and_then(|text| Secrets::read(text).ok()), recording)
}

/// Whatever is in them, it is shown to its end, in words and in JSON that reads again; and every place that is named is one
/// in the recording.
pub fn recording(bytes: &[u8]) {
    let (secrets, recording) = parted(bytes);
    let Ok(capture) = Capture::read(recording) else {
        return;
    };
    let mut shown = 0;
    let followed = follow(&capture, secrets.as_ref(), |entry| -> io::Result<()> {
        assert!(
            entry.at <= recording.len(),
            "{} begins at {}",
            entry.title,
            entry.at
        );
        print::text(entry, Detail::Hex, &mut Counting(&mut shown))?;
        let json = print::json(entry, true).to_string();
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        Ok(())
    });
    let Ok(ledger) = followed else {
        unreachable!("nothing that was written to fails")
    };
    assert_eq!(shown > 0, !capture.packets.is_empty());
    let summary = print::json_summary(&ledger, ledger.first(), capture.cut.as_deref()).to_string();
    assert!(
        serde_json::from_str::<serde_json::Value>(&summary).is_ok(),
        "{summary}"
    );
}

/// Counts what is written.
struct Counting<'c>(&'c mut usize);

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    /// Changes of one byte in each file, spread over it.
    const CHANGES: usize = 100;

    fn corpus() -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/recording");
        let files = fs::read_dir(folder).unwrap();
        files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    #[test]
    fn every_recording_of_the_corpus_is_shown_whatever_byte_of_it_is_wrong_or_missing() {
        for file in corpus() {
            recording(&file);
            for change in 0..CHANGES {
                let at = change * file.len() / CHANGES;
                recording(&file[..at]);
                let mut changed = file.clone();
                changed[at] ^= 1 << (change % 8);
                recording(&changed);
            }
        }
    }

    #[test]
    fn the_corpus_has_recordings_whose_secrets_are_those_of_a_session() {
        let files = corpus();
        assert!(
            files.len() > 3,
            "TIDELOCK_BLESS=1 cargo test -p host-daemon --test own_recordings writes some"
        );
        for file in files {
            let (secrets, recording) = parted(&file);
            let capture = Capture::read(recording).unwrap();
            let Ok(ledger) = follow(&capture, secrets.as_ref(), |_| {
                Ok::<(), std::convert::Infallible>(())
            });
            assert!(
                secrets.is_some() && ledger.first().is_none(),
                "{:?}",
                ledger.first()
            );
        }
    }
}
