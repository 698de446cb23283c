//! Evidence that somebody else's device gave: the measurements and certificates of recorded conversations, verified from end to end.
//!
//! The recordings are not part of this repository. They are read from `../shared/vectors` beside the workspace, or
//! from the folder that `TIDELOCK_VECTORS` names; where there is none, every test here counts as ignored.

mod vectors_support;
mod vouched;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;
use std::path::PathBuf;
use tdisp::{
    clock::UnixTime,
    crypto::{Digest, Ring},
    evidence::{
        Bundle, Crls, Expectation, Floor, IdentityRule, Parameter, PciIdentity, Refusal, Root, Verified,
        verify,
    },
    relay::guest::{Negotiated, TdiInfo},
    spdm::msg::{Context, Payload, Version, measurements},
    tdi::report::{Attributes, Info, Range, Report},
};
use vectors_support::hex;
use vouched::{GUEST, locked, vouched};

fn main() {
    let arguments = Arguments::from_args();
    let verified = GOOD
        .iter()
        .map(|recording| trial(recording, "is verified", check_verified));
    let refused = GOOD
        .iter()
        .map(|recording| trial(recording, "is refused when a byte changes", check_altered));
    let named = GOOD
        .iter()
        .map(|recording| trial(recording, "names its device", check_names));
    let weak = [
        trial(
            &P256,
            "is refused by the default floor and verified by a lower one",
            check_floor,
        ),
        trial(
            &OLD,
            "is refused, because nothing proves what was negotiated before 1.2",
            check_old,
        ),
    ];
    let trials = verified.chain(refused).chain(named).chain(weak);
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// A recording, and the slot and sizes that its conversation was negotiated with.
struct Recording {
    name: &'static str,
    version: Version,
    hash_size: usize,
    negotiated: Negotiated,
}

const fn p384(name: &'static str, version: Version) -> Recording {
    Recording {
        name,
        version,
        hash_size: 48,
        negotiated: vouched::p384(version.0),
    }
}

const GOOD: [Recording; 5] = [
    p384("doe_1.2_p384_enc", Version::V1_2),
    p384("doe_1.2_p384_clear", Version::V1_2),
    p384("doe_1.2_p384_encmut", Version::V1_2),
    p384("doe_1.3_p384_enc", Version::V1_3),
    p384("doe_1.4_p384_enc", Version::V1_4),
];

const OLD: Recording = p384("doe_1.1_p384_enc", Version::V1_1);

const P256: Recording = Recording {
    name: "doe_1.2_p256_sha256_aes128",
    version: Version::V1_2,
    hash_size: 32,
    negotiated: Negotiated {
        version: 0x12,
        measurement_hash: 2,
        asym: 0x10,
        pqc_asym: 0,
        hash: 1,
        dhe: 8,
        kem: 0,
        aead: 1,
        key_schedule: 1,
    },
};

fn trial(recording: &'static Recording, sentence: &str, check: fn(&Evidence) -> Result<(), Failed>) -> Trial {
    Trial::ignorable_test(format!("{}: {sentence}", recording.name), move || {
        match folder() {
            Err(reason) => Ok(Completion::ignored_with(reason)),
            Ok(folder) => check(&Evidence::read(&folder, recording)?).map(|()| Completion::Completed),
        }
    })
}

fn folder() -> Result<PathBuf, String> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors"));
    let folder = std::env::var_os("TIDELOCK_VECTORS").map_or(beside, PathBuf::from);
    match folder.join("README.md").is_file() {
        true => Ok(folder),
        false => Err(format!(
            "no recordings in {}; set TIDELOCK_VECTORS",
            folder.display()
        )),
    }
}

fn check_verified(evidence: &Evidence) -> Result<(), Failed> {
    let verified = evidence.judge(&evidence.bundle, Floor::default())?;
    let measured = verified.measurements();
    same("measurements", measured.len(), 8)?;
    same("first index", measured[0].index, 1)?;
    same("lock", verified.lock().generation, 1)?;
    same("ranges", verified.report().ranges.len(), 1)
}

fn check_altered(evidence: &Evidence) -> Result<(), Failed> {
    for at in (0..evidence.bundle.measurements.len()).step_by(13) {
        let mut bundle = evidence.bundle.clone();
        bundle.measurements[at] ^= 4;
        if evidence.judge(&bundle, Floor::default()).is_ok() {
            return Err(format!("byte {at} of the transcript changed unnoticed").into());
        }
    }
    for at in (4..evidence.bundle.certificates.len()).step_by(31) {
        let mut bundle = evidence.bundle.clone();
        bundle.certificates[at] ^= 4;
        if evidence.judge(&bundle, Floor::default()).is_ok() {
            return Err(format!("byte {at} of the certificates changed unnoticed").into());
        }
    }
    Ok(())
}

fn check_names(evidence: &Evidence) -> Result<(), Failed> {
    let verified = evidence.judge(&evidence.bundle, Floor::default())?;
    let identity = verified.identity();
    same(
        "device",
        identity.device_info.as_deref(),
        Some("ACME:WIDGET:1234567890"),
    )?;
    same("PCI name", identity.pci, None)?;
    let pci = Some(PciIdentity { vendor: 1, device: 2 });
    let rule = IdentityRule {
        pci,
        ..IdentityRule::default()
    };
    let refused = evidence.judge_as(&evidence.bundle, Floor::default(), rule);
    same("refusal", refused.is_err(), true)
}

fn check_floor(evidence: &Evidence) -> Result<(), Failed> {
    let refused = evidence.judge(&evidence.bundle, Floor::default()).map(drop);
    let wanted = Refusal::Algorithm {
        what: Parameter::Signature,
        found: 0x10,
        allowed: 0x80,
        instead: 0,
    };
    same("default floor", refused, Err(wanted))?;
    let floor = Floor {
        asym: 0x90,
        measurement_hash: 6,
        hash: 3,
        dhe: 0x18,
        aead: 3,
        ..Floor::default()
    };
    evidence.judge(&evidence.bundle, floor)?;
    Ok(())
}

fn check_old(evidence: &Evidence) -> Result<(), Failed> {
    let refused = evidence
        .judge(
            &evidence.bundle,
            Floor {
                version: 0x10,
                ..Floor::default()
            },
        )
        .map(drop);
    same(
        "1.1",
        refused,
        Err(Refusal::Version {
            found: 0x11,
            floor: 0x12,
        }),
    )
}

fn same<T: PartialEq + core::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), Failed> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, wanted {wanted:?}").into()),
    }
}

/// What a host would bring of a recorded conversation.
struct Evidence {
    recording: &'static Recording,
    bundle: Bundle,
    nonce: [u8; 32],
    slot: u8,
}

impl Evidence {
    fn read(folder: &std::path::Path, recording: &'static Recording) -> Result<Self, Failed> {
        let text = std::fs::read_to_string(folder.join(format!("{}.json", recording.name)))?;
        let json: Value = serde_json::from_str(&text)?;
        let mut measurements = hex(&json["A"])?;
        let secured = json["secured"].as_array().ok_or("no secured messages")?;
        let (request, response) = exchange(secured, |message| message[1] == 0xe0).ok_or("no measurements")?;
        let context = Context::new(recording.version);
        let asked = measurements::Request::decode_exact(&request, &context)?;
        let signed = asked.signed.ok_or("the recorded measurements are signed")?;
        measurements.extend([request, response].concat());
        let certificates = hex(&json["chains"][signed.slot.to_string()])?;
        let report = report();
        let bundle = Bundle {
            certificates,
            measurements,
            report,
        };
        Ok(Self {
            recording,
            bundle,
            nonce: signed.nonce,
            slot: signed.slot,
        })
    }

    fn judge(&self, bundle: &Bundle, floor: Floor) -> Result<Verified, Refusal> {
        self.judge_as(bundle, floor, IdentityRule::default())
    }

    /// Verifies a bundle that the TSM vouches for.
    fn judge_as(&self, bundle: &Bundle, floor: Floor, identity: IdentityRule) -> Result<Verified, Refusal> {
        let root = &self.bundle.certificates[4..4 + self.recording.hash_size];
        let roots = [Root {
            name: "recorded".into(),
            digest: Digest::new(root).expect("a digest"),
        }];
        let expected = Expectation {
            nonce: self.nonce,
            guest: GUEST,
            function_id: None,
            roots: &roots,
            identity,
            now: UnixTime(1_795_132_800),
            floor,
            crls: Crls::default(),
        };
        let info = TdiInfo {
            slot: self.slot,
            ..locked(bundle, self.recording.negotiated)
        };
        verify(bundle, &vouched(info), &expected, &Ring)
    }
}

/// The first exchange whose request is the one wanted.
fn exchange(messages: &[Value], wanted: impl Fn(&[u8]) -> bool) -> Option<(Vec<u8>, Vec<u8>)> {
    messages.iter().find_map(|pair| {
        let (request, response) = (hex(&pair[0]).ok()?, hex(&pair[1]).ok()?);
        (request.len() > 4 && wanted(&request)).then_some((request, response))
    })
}

/// An interface report of our own: the recorded one is a sample whose ranges are outside of any address space.
fn report() -> Vec<u8> {
    let range = Range {
        first_page: 0x100,
        pages: 4,
        attributes: Attributes::default(),
        id: 0,
    };
    let report = Report {
        info: Info::NO_FW_UPDATE,
        ranges: vec![range],
        ..Report::default()
    };
    let mut bytes = Vec::new();
    report.encode(&mut bytes);
    bytes
}
