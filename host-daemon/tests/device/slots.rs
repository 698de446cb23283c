//! `--slot`: one, or all that hold a chain.

use super::{Desk, Device, TRANSPORTS, check, tidelock};
use serde_json::Value;
use std::path::PathBuf;
use tdisp::{
    crypto::{HashAlg, SignAlg},
    spdm::{
        msg::capabilities::Flags,
        responder::{KeyPairs, MultiKey, usage},
    },
};

/// A device whose slots 0 and 3 hold chains of two vendors, at a desk that has the second one's root as well.
fn two() -> (Device, Device) {
    let (mut device, other) = (Device::new(), Device::new());
    device.config.slots[3] = other.config.slots[0].clone();
    (device, other)
}

/// The desk, and the words that name the second root.
fn desk((device, other): &(Device, Device)) -> (Desk, String) {
    let desk = Desk::with(device);
    let root = desk.path("other.der");
    std::fs::write(&root, &other.root).unwrap();
    (desk, format!("--root {}", root.display()))
}

/// A key that signs nothing of a kind.
fn without(two: &mut (Device, Device), slot: usize, use_: u16) {
    let config = &mut two.0.config;
    config.multi_key = MultiKey::Only;
    config.key_pairs = Some(KeyPairs::default());
    config.slots[slot].as_mut().unwrap().key.usage = usage::ANY & !use_;
}

const PROVEN: [&str; 4] = [
    "certificates   slot 0",
    "certificates   slot 3",
    "challenge      verified: ECDSA P-384, slot 0, CN=test device",
    "challenge      verified: ECDSA P-384, slot 3, CN=test device",
];

#[test]
fn all_slots_are_shown_and_proven_in_every_version_and_over_both_transports() {
    let mut two = two();
    for (name, transport) in TRANSPORTS {
        two.0.config.transport = transport;
        let (desk, root) = desk(&two);
        for version in ["1.0", "1.1", "1.2", "1.3", "1.4"] {
            let more = format!("--transport {name} --spdm {version} --slot all {root}");
            desk.check(&format!("identify {more}"), 0, &PROVEN);
            let out = desk.path(&format!("{name}-{version}"));
            let words = format!("certs {more} --out {}", out.display());
            desk.check(&words, 0, &["slot 0, ", "slot 3, "]);
            assert!(out.join("slot0.chain").is_file() && out.join("slot3-0.pem").is_file());
        }
    }
}

#[test]
fn a_session_shows_the_others_in_it_and_what_was_saved_is_decoded_and_replayed() {
    let two = two();
    let (desk, root) = desk(&two);
    for version in ["1.1", "1.2", "1.3", "1.4"] {
        let [trace, secrets] = [desk.path("trace.pcap"), desk.path("trace.json")];
        let (trace, secrets) = (trace.display(), secrets.display());
        let kept = format!("--save {trace} --save-secrets {secrets}");
        let words = format!("certs --session --spdm {version} --slot all {root} {kept}");
        desk.check(&words, 0, &["slot 0, ", "slot 3, "]);
        let decoded = tidelock(&format!("decode {trace} --secrets {secrets}"))
            .output()
            .unwrap();
        check(&decoded, 0, &["certificate chain in slot 3"]);
        let words = format!("certs --replay {trace} --secrets {secrets} --slot all {root}");
        let replayed = tidelock(&words).arg("--root").arg(&desk.root).output().unwrap();
        check(&replayed, 0, &["slot 0, ", "slot 3, "]);
    }
}

#[test]
fn every_chain_must_be_vouched_for_where_all_are_asked_for() {
    let two = two();
    let (desk, root) = desk(&two);
    let refused = "the certificate chain in slot 3 is refused: it leads to the root";
    for command in ["identify", "certs"] {
        desk.check(&format!("{command} --slot all"), 1, &[refused]);
        desk.check(&format!("{command} --slot all {root}"), 0, &[]);
        let nobody = desk.ask(&format!("{command} --slot all"), None);
        check(&nobody, 5, &["nobody vouches"]);
        desk.check(command, 0, &[]);
    }
}

#[test]
fn an_empty_slot_is_told_with_those_that_are_not() {
    let mut two = two();
    let wanted = ["slot 1 holds no certificate chain; slots 0 and 3 do"];
    let (desk, _) = desk(&two);
    for command in ["identify", "certs", "measure"] {
        desk.check(&format!("{command} --slot 1"), 1, &wanted);
    }
    // Where slot 0 is none of them, the others are asked for.
    two.0.config.slots[0] = None;
    two.0.config.slots[6] = two.0.config.slots[3].clone();
    let desk = Desk::with(&two.0);
    let other = desk.path("other.der");
    std::fs::write(&other, &two.1.root).unwrap();
    let wanted = [
        "challenge      verified: ECDSA P-384, slot 3",
        "challenge      verified: ECDSA P-384, slot 6",
    ];
    check(&desk.ask("identify --slot all", Some(&other)), 0, &wanted);
    desk.check(
        "certs",
        1,
        &["slot 0 holds no certificate chain; slots 3 and 6 do"],
    );
}

#[test]
fn a_key_that_answers_no_challenge_proves_nothing_and_its_chain_is_shown() {
    for slot in [0, 3] {
        let mut two = two();
        without(&mut two, slot, usage::CHALLENGE);
        let (desk, root) = desk(&two);
        let unproven = format!("with the key of this chain, in slot {slot}");
        let unasked = format!("of slot {slot} none: the device has not shown");
        let words = format!("identify --slot all --spdm 1.3 {root}");
        desk.check(
            &words,
            1,
            &[
                PROVEN[0],
                PROVEN[1],
                PROVEN[if slot == 0 { 3 } else { 2 }],
                &unproven,
                &unasked,
            ],
        );
        let words = format!("certs --slot all --spdm 1.4 {root}");
        desk.check(&words, 0, &["slot 0, ", "slot 3, "]);
    }
}

#[test]
fn a_device_of_one_slot_whose_key_answers_no_challenge_is_no_empty_one() {
    let mut one = (Device::new(), Device::new());
    without(&mut one, 0, usage::CHALLENGE);
    let (desk, _) = desk(&one);
    desk.check("certs --slot all", 0, &["slot 0, "]);
    let unproven = "with the key of this chain, in slot 0";
    desk.check("identify --slot all", 1, &[PROVEN[0], unproven]);
}

#[test]
fn a_slot_that_the_device_does_not_show_is_named_and_the_others_are_shown() {
    let mut two = two();
    two.0.config.slots[6] = two.0.config.slots[3].clone();
    // Before 1.4 no message has room for its size.
    two.0.config.slots[3].as_mut().unwrap().chain = vec![0; 0x1_0001];
    let (desk, root) = desk(&two);
    for words in ["certs", "certs --session", "identify"] {
        let words = format!("{words} --slot all --spdm 1.2 {root}");
        let wanted = [
            "slot 3 is not shown: the responder refuses with",
            "slot 0, ",
            "slot 6, ",
        ];
        desk.check(&words, 1, &wanted);
    }
}

#[test]
fn a_device_without_challenge_shows_all_its_chains() {
    let mut two = two();
    two.0.config.capabilities = Flags(!Flags::CHAL.0);
    let (desk, root) = desk(&two);
    desk.check(&format!("certs --slot all {root}"), 0, &["slot 0, ", "slot 3, "]);
    desk.check(
        &format!("identify --slot all {root}"),
        1,
        &["no CHALLENGE", PROVEN[1]],
    );
}

#[test]
fn a_program_reads_of_each_chain_whether_its_key_was_proven() {
    let mut two = two();
    without(&mut two, 3, usage::CHALLENGE);
    let (desk, root) = desk(&two);
    let output = desk.ask(&format!("identify --slot all --json {root}"), Some(&desk.root));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |at: usize, key: &str| json["chains"][at][key].clone();
    assert_eq!([of(0, "slot"), of(1, "slot")], [0, 3]);
    assert_eq!(of(0, "challenge")["verified"], true, "{json}");
    assert_eq!(of(1, "challenge"), Value::Null, "{json}");
    assert_eq!(json["challenge"]["verified"], true);
    assert_eq!(json["slots"][1]["slot"], 3);
}

#[test]
fn a_chain_of_another_algorithm_is_shown_with_the_rest() {
    let mut two = two();
    let p256 = Device::of(
        &rcgen::PKCS_ECDSA_P256_SHA256,
        SignAlg::EcdsaP256,
        HashAlg::Sha384,
    );
    two.0.config.slots[1] = p256.config.slots[0].clone();
    let (desk, root) = desk(&two);
    let out: PathBuf = desk.path("chains");
    let words = format!("certs --slot all {root} --out {}", out.display());
    let refused = "the certificate chain in slot 1 is refused";
    desk.check(&words, 1, &["slot 0, ", "slot 1, ", "slot 3, ", refused]);
    assert!(out.join("slot1.chain").is_file());
}

#[test]
fn what_is_no_slot_is_refused_at_once() {
    let desk = Desk::with(&Device::new());
    for (words, wanted) in [
        ("certs --slot 8", "wanted a slot, 0 to 7, or `all`"),
        ("identify --slot every", "wanted a slot, 0 to 7, or `all`"),
        ("measure --slot all", "invalid digit"),
    ] {
        check(&desk.ask(words, Some(&desk.root)), 2, &[wanted]);
    }
}

#[test]
fn all_slots_are_more_than_those_that_a_recording_happens_to_show() {
    let two = two();
    let (desk, root) = desk(&two);
    let trace = desk.path("trace.pcap");
    desk.check(
        &format!("identify --save {}", trace.display()),
        0,
        &[PROVEN[0], PROVEN[2]],
    );
    for command in ["identify", "certs"] {
        let words = format!("{command} --replay {} --slot all {root}", trace.display());
        let replayed = tidelock(&words).arg("--root").arg(&desk.root).output().unwrap();
        let wanted = "the conversation does not show the certificate chain in slot 3";
        check(&replayed, 1, &["slot 0, ", wanted]);
    }
}

#[test]
fn a_session_that_was_asked_for_is_opened_or_its_lack_is_told() {
    let mut one = (Device::new(), Device::new());
    without(&mut one, 0, usage::CHALLENGE);
    let (desk, _) = desk(&one);
    let wanted = "no slot that proves itself, after which a session could be opened";
    desk.check("certs --session --slot all", 1, &["slot 0, ", wanted]);
}

#[test]
fn a_recording_of_one_slot_says_nothing_of_another() {
    let two = two();
    let (desk, _) = desk(&two);
    for (command, recorded) in [("identify", 0), ("certs", 0), ("measure", 3)] {
        let trace = desk.path(&format!("{command}.pcap"));
        let more = format!("--root {}", desk.path("other.der").display());
        let words = format!("{command} --slot {recorded} --save {} {more}", trace.display());
        desk.check(&words, 0, &[]);
        // Who names none is told of the one that is there.
        for (slot, code) in [("", 0), (" --slot 3", i32::from(recorded != 3)), (" --slot 5", 1)] {
            let words = format!("{command} --replay {}{slot} {more}", trace.display());
            let replayed = tidelock(&words).arg("--root").arg(&desk.root).output().unwrap();
            check(&replayed, code, &[]);
        }
    }
}
