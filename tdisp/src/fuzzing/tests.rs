//! The committed corpus, replayed and mutated: what a fuzzer would begin with, without a fuzzer.
//!
//! `TIDELOCK_BLESS=1 cargo test -p tdisp fuzzing` writes the corpus anew, when a format or a script has changed.

mod conversation;
#[path = "../../tests/known/mod.rs"]
mod known;
#[allow(dead_code, reason = "the integration tests use more of it")]
#[path = "../../tests/messages/samples.rs"]
mod samples;
mod seeds;

use super::{TARGETS, Target};
use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Mutations of each file. A fuzzer makes more in a second; Miri takes the files alone, since it takes its time.
const MUTATIONS: u64 = if cfg!(miri) { 0 } else { 500 };

/// Targets that call `ring`, whose code is not Rust: Miri cannot run it (`./x miri`).
const CALLS_RING: &[&str] = match cfg!(miri) {
    true => &["certificate_chain", "public_key"],
    false => &[],
};

#[test]
fn every_target_survives_its_corpus_and_mutations_of_it() {
    for (name, target) in TARGETS.iter().filter(|(name, _)| !CALLS_RING.contains(name)) {
        let corpus = corpus(name);
        assert!(
            !corpus.is_empty(),
            "{name} has no corpus: add seeds for it to fuzzing/tests/seeds.rs"
        );
        for (file, bytes) in &corpus {
            survives(*target, bytes, &format!("{name}/{file}"));
            for seed in 0..MUTATIONS {
                let (_, other) = &corpus[seed as usize % corpus.len()];
                let mutated = mutated(bytes, other, seed);
                survives(*target, &mutated, &format!("{name}/{file}, mutation {seed}"));
            }
        }
    }
}

/// Inputs that broke a promise once, by target.
const FOUND: [(&str, &str); 4] = [
    // A request in a version before 1.0 was read longer than it is written.
    ("spdm_message", "000100e10000000c0000c20202faff0f000000000100"),
    // A list of algorithms that nothing told of was taken for one though it was shorter than any is.
    (
        "spdm_message",
        "14b51461003b001f0400d60202d31467670077000077000010002a1435146b00146b00023514fe8000fffffffe800000ffffffffff7c0002e8",
    ),
    // The promise itself was wrong: an owner of keys that gives up a QUERY, or nothing, goes on with the keys it has.
    (
        "ide_km_requester",
        "0500000100000600000100000100000100000100000100000100000700000100000800000100000600000100000100000100 \
         0001000001000001010000030000000000000000070000010000080000010000090300000100010000000007000001000008 \
         0000010000090000",
    ),
    // The promise itself was wrong: a mailbox does not know how short an SPDM object may be.
    (
        "doe_mailbox",
        "ffff8a8a8a8a8a8affff8a8a8a8a8a8a8a8a00000000000080010001fc020000000000008a8a00000000000080010001fc02 \
         000000000000",
    ),
];

#[test]
fn what_a_fuzzer_found_once_it_does_not_find_again() {
    for (name, hex) in FOUND {
        let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect(name);
        let digits: Vec<u8> = hex
            .chars()
            .filter_map(|c| c.to_digit(16))
            .map(|d| d as u8)
            .collect();
        let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        target(&bytes);
    }
}

#[test]
fn the_corpus_is_what_our_encoders_write() {
    let bless = std::env::var_os("TIDELOCK_BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, bytes) in seeds::all() {
        let path = folder().join(&name);
        if bless {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        } else if fs::read(&path).ok().as_deref() != Some(&bytes[..]) {
            wrong.push(name);
        }
    }
    let cure = "TIDELOCK_BLESS=1 cargo test -p tdisp fuzzing writes them anew";
    assert!(
        wrong.is_empty(),
        "{wrong:?} are not what they would be now: {cure}"
    );
}

#[test]
fn each_target_has_its_program_and_each_program_its_target() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| String::from(*name)).collect();
    let programs = fs::read_dir(folder().with_file_name("fuzz_targets")).unwrap();
    let programs: BTreeSet<String> = programs
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().into())
        .collect();
    assert_eq!(
        targets, programs,
        "a target is a line in TARGETS, a file in fuzz_targets and a [[bin]]"
    );
    let manifest = fs::read_to_string(folder().with_file_name("Cargo.toml")).unwrap();
    for name in targets {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is no [[bin]] of fuzz/Cargo.toml"
        );
    }
}

#[test]
fn the_recorded_conversations_go_all_the_way() {
    use crate::spdm::Event;
    let talk = conversation::with_responder(crate::spdm::msg::Version::V1_2);
    let has = |wanted: fn(&Event) -> bool| talk.events.iter().any(wanted);
    assert!(
        has(|event| matches!(event, Event::Challenged)),
        "{:?}",
        talk.events
    );
    assert!(
        has(|event| matches!(event, Event::Measurements(_))),
        "{:?}",
        talk.events
    );
    assert!(
        has(|event| matches!(event, Event::Vendor(_))),
        "{:?}",
        talk.events
    );
    assert!(
        has(|event| matches!(event, Event::KeysUpdated)),
        "{:?}",
        talk.events
    );
    assert!(
        has(|event| matches!(event, Event::SessionEnded)),
        "{:?}",
        talk.events
    );
}

#[test]
fn good_evidence_is_reached_by_the_evidence_target() {
    assert!(super::judge::accepts(&seeds::good_evidence()));
    assert!(super::judge::accepts(&seeds::post_quantum::evidence()));
}

#[test]
fn the_seeds_of_those_who_ask_reach_what_they_are_for() {
    use super::judge::CERTIFICATES;
    use crate::evidence::{CrlRule, chain};
    for (name, revoked) in [
        ("none-revoked", None),
        ("the-leaf", Some(2)),
        ("the-model", Some(1)),
    ] {
        let list = fs::read(folder().join("revocation_list").join(name)).unwrap();
        let judged = super::judge::held_against(CERTIFICATES, &[list], CrlRule::WhenPresent);
        let found = match judged {
            Err(chain::Error::Revoked { position, .. }) => Some(position),
            Ok(_) => None,
            Err(other) => panic!("{name}: {other}"),
        };
        assert_eq!(found, revoked, "{name}");
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The files of a target, in the order of their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(files) = fs::read_dir(folder().join(target)) else {
        return Vec::new();
    };
    let mut corpus: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.unwrap().path();
            (
                path.file_name().unwrap().to_str().unwrap().into(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    corpus.sort();
    corpus
}

fn survives(target: Target, bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{what} does not survive these bytes: {hex}");
    }
}

/// `bytes` with one to four changes, the same for the same seed.
fn mutated(bytes: &[u8], other: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(6) {
            _ if bytes.is_empty() => bytes.push(random.below(256) as u8),
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, random.below(256) as u8),
            4 => {
                let end = at + random.below(bytes.len() - at + 1);
                bytes.drain(at..end);
            }
            _ => {
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from.min(other.len())..]);
            }
        }
    }
    bytes
}

/// xorshift64.
struct Random(u64);

impl Random {
    /// 0 to `end - 1`; 0 if that is none.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % end.max(1)
    }
}
