//! The threat cases that a verification alone can decide, each named after its number, and what a person reads.

use super::*;
use crate::{
    crypto::{HashAlg, Ring, digest},
    evidence::CrlRule,
    evidence::testing::{
        Certificate, Plan,
        crl::CrlPlan,
        pin,
        scene::{GUEST, NONCE, Scene, block, expectation, judge, range, vouched},
    },
    spdm::msg::{Version, algorithms::TableKind, capabilities::Flags, measurements::Signed},
};
use alloc::{
    string::{String, ToString},
    vec,
};

/// A scene in which everything is genuine but what `spoil` changes; the text of its refusal.
fn spoiled(spoil: impl FnOnce(&mut Scene)) -> String {
    let mut scene = Scene::good();
    spoil(&mut scene);
    scene.refusal()
}

/// A good scene about which the TSM says something else; the text of its refusal.
fn vouching(spoil: impl FnOnce(&mut TdiInfo)) -> String {
    let scene = Scene::good();
    let bundle = scene.bundle();
    let mut info = scene.info(&bundle);
    spoil(&mut info);
    judge(&bundle, info, &[pin(&scene.chain)])
        .unwrap_err()
        .to_string()
}

/// A good scene whose host brings something else; the text of its refusal.
fn bringing(spoil: impl FnOnce(&mut Bundle)) -> String {
    let scene = Scene::good();
    let genuine = scene.bundle();
    let mut bundle = genuine.clone();
    spoil(&mut bundle);
    judge(&bundle, scene.info(&genuine), &[pin(&scene.chain)])
        .unwrap_err()
        .to_string()
}

/// A good scene whose host brings something else, and the TSM vouches for it; the text of its refusal.
fn vouched_bytes(spoil: impl FnOnce(&mut Bundle)) -> String {
    let scene = Scene::good();
    let mut bundle = scene.bundle();
    spoil(&mut bundle);
    judge(&bundle, scene.info(&bundle), &[pin(&scene.chain)])
        .unwrap_err()
        .to_string()
}

#[test]
fn genuine_evidence_is_verified_and_says_what_it_is_about() {
    let scene = Scene::good();
    let verified = scene.judge().unwrap();
    assert_eq!(verified.identity().subject, "CN=Device 1");
    assert_eq!(verified.identity().root, pin(&scene.chain));
    assert_eq!(verified.measurement(2).unwrap().value, [2; 48]);
    assert_eq!(verified.measurements().len(), 3);
    assert_eq!(verified.report(), &scene.report);
    assert_eq!((verified.lock().generation, verified.lock().report_count), (7, 1));
    assert_eq!(
        (verified.lock().guest, verified.lock().tdi),
        (GUEST, TdiId(0x1001))
    );
    assert_eq!(
        verified.bundle(),
        &Bundle {
            measurements: verified.bundle().measurements.clone(),
            ..scene.bundle()
        }
    );
}

#[test]
fn verified_evidence_can_be_verified_again() {
    let scene = Scene::good();
    let verified = scene.judge().unwrap();
    let info = scene.info(verified.bundle());
    assert!(judge(verified.bundle(), info, &[pin(&scene.chain)]).is_ok());
}

#[test]
fn case_01_a_replayed_evidence_set_is_refused() {
    let mut old = Scene::good();
    old.asked.signed = Some(Signed {
        nonce: [1; 32],
        slot: 0,
    });
    let old = old.bundle();
    let text = bringing(|bundle| bundle.measurements = old.measurements);
    assert!(
        text.starts_with("the digest of the measurements that the host brought is "),
        "{text}"
    );
    assert!(
        text.ends_with("what came was altered, is another device's, or is out of date"),
        "{text}"
    );
}

#[test]
fn case_02_measurements_for_another_nonce_are_refused() {
    let text = spoiled(|scene| {
        scene.asked.signed = Some(Signed {
            nonce: [1; 32],
            slot: 0,
        })
    });
    assert_eq!(
        text,
        "the measurements answer another nonce than the one drawn for this verification: they are a replay"
    );
}

#[test]
fn case_03_measurements_that_are_not_valid_or_not_fresh_are_refused() {
    let text = vouching(|info| info.measurements_valid = false);
    assert!(
        text.starts_with("the TSM holds no valid measurements of this device"),
        "{text}"
    );
    let text = vouching(|info| info.measurements_fresh = false);
    assert!(
        text.starts_with("the TSM says that the measurements are not fresh"),
        "{text}"
    );
}

#[test]
fn case_07_a_nonce_that_was_not_drawn_is_refused() {
    let mut scene = Scene::good();
    scene.asked.signed = Some(Signed {
        nonce: [0; 32],
        slot: 0,
    });
    let (bundle, roots) = (scene.bundle(), [pin(&scene.chain)]);
    let expected = Expectation {
        nonce: [0; 32],
        ..expectation(&roots)
    };
    let refused = verify(&bundle, &vouched(scene.info(&bundle)), &expected, &Ring).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("the nonce to be expected is all zeros"),
        "{refused}"
    );
}

#[test]
fn case_08_a_nonce_shorter_than_asked_is_refused() {
    let text = vouched_bytes(|bundle| {
        let at = bundle
            .measurements
            .windows(32)
            .position(|window| window == NONCE)
            .unwrap();
        bundle.measurements.remove(at);
    });
    assert!(
        text.starts_with("the measurements' transcript is malformed"),
        "{text}"
    );
}

#[test]
fn case_09_a_genuine_device_of_another_vm_is_refused() {
    let other = Scene::good().bundle();
    let text = bringing(|bundle| *bundle = other);
    assert!(
        text.starts_with("the digest of the certificate chain that the host brought is "),
        "{text}"
    );
    let text = vouching(|info| info.function_id = 0x0102);
    assert_eq!(
        text,
        "the TSM locked the device's interface 0x00000102, wanted 0x00000101: this is another function's"
    );
}

#[test]
fn case_12_certificates_altered_by_one_bit_are_refused() {
    let text = bringing(|bundle| bundle.certificates[200] ^= 1);
    assert!(
        text.starts_with("the digest of the certificate chain that the host brought is "),
        "{text}"
    );
}

#[test]
fn case_13_measurements_of_an_identical_device_are_refused() {
    let other = Scene::good().bundle().measurements;
    let text = bringing(|bundle| bundle.measurements = other.clone());
    assert!(
        text.starts_with("the digest of the measurements that the host brought is "),
        "{text}"
    );
    let text = vouched_bytes(|bundle| bundle.measurements = other);
    assert_eq!(
        text,
        "the signature over the measurements is not by the key in the device's certificate"
    );
}

#[test]
fn case_14_the_report_of_a_sibling_is_refused() {
    let mut sibling = Scene::good();
    sibling.report.ranges[0].first_page = 0x400;
    let text = bringing(|bundle| bundle.report = sibling.bundle().report);
    assert!(
        text.starts_with("the digest of the interface report that the host brought is "),
        "{text}"
    );
}

#[test]
fn case_15_a_digest_of_smaller_strength_is_refused() {
    let scene = Scene::good();
    let bundle = scene.bundle();
    let weak = digest(&Ring, HashAlg::Sha256, &bundle.report);
    let mut info = scene.info(&bundle);
    info.report_digest = [0; 48];
    info.report_digest[..32].copy_from_slice(weak.as_ref());
    let text = judge(&bundle, info, &[pin(&scene.chain)])
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("the digest of the interface report"), "{text}");
}

#[test]
fn case_16_an_empty_object_with_the_digest_of_nothing_is_refused() {
    for (clear, wanted) in [
        (
            (|bundle| bundle.certificates.clear()) as fn(&mut Bundle),
            "certificate chain",
        ),
        (|bundle| bundle.measurements.clear(), "measurements"),
        (|bundle| bundle.report.clear(), "interface report"),
    ] {
        let text = vouched_bytes(clear);
        assert_eq!(
            text,
            alloc::format!("the host brought no {wanted}; without it nothing can be verified")
        );
    }
}

#[test]
fn case_20_another_slot_than_the_tsms_is_refused() {
    let text = vouching(|info| info.slot = 2);
    assert_eq!(
        text,
        "the measurements are signed with the key of slot 0, wanted slot 2, whose certificates the TSM used"
    );
    let text = spoiled(|scene| scene.param2 = 0x22);
    assert!(text.contains("slot 2, wanted slot 0"), "{text}");
}

#[test]
fn case_23_a_chain_to_another_vendors_root_is_refused() {
    let scene = Scene::good();
    let bundle = scene.bundle();
    let text = judge(&bundle, scene.info(&bundle), &[pin(&Plan::good().object())])
        .unwrap_err()
        .to_string();
    assert!(text.contains("which is not pinned for this device"), "{text}");
}

#[test]
fn case_24_a_chain_of_the_same_names_with_other_keys_is_refused() {
    let text = spoiled(|scene| {
        // The genuine root is pinned and sent; who is below it only bears the same names.
        let impostor = Plan::good();
        let mut ders = impostor.ders();
        ders[0] = scene.plan.ders().swap_remove(0);
        scene.chain = crate::evidence::testing::object(&ders);
        scene.plan = impostor;
    });
    assert!(text.contains("another key bears the same name"), "{text}");
}

#[test]
fn case_27_a_signature_that_is_no_signature_is_refused() {
    for fill in [0, 0xff] {
        let text = vouched_bytes(|bundle| {
            let at = bundle.measurements.len() - 96;
            bundle.measurements[at..].fill(fill);
        });
        assert_eq!(
            text,
            "the signature over the measurements is not by the key in the device's certificate"
        );
    }
}

#[test]
fn case_27_a_leaf_key_on_another_curve_is_refused() {
    let mut scene = Scene::good();
    *scene.plan.leaf() = Certificate::p256_leaf("Device 1");
    let mut genuine = Scene::good();
    genuine.chain = scene.plan.object();
    let text = genuine.refusal();
    assert!(text.contains("its key is for ECDSA P-256"), "{text}");
}

#[test]
fn case_29_a_clock_at_1970_is_told_apart_from_a_bad_certificate() {
    let scene = Scene::good();
    let (bundle, roots) = (scene.bundle(), [pin(&scene.chain)]);
    let expected = Expectation {
        now: UnixTime(0),
        ..expectation(&roots)
    };
    let refused = verify(&bundle, &vouched(scene.info(&bundle)), &expected, &Ring).unwrap_err();
    assert!(refused.to_string().contains("check the clock"), "{refused}");
}

#[test]
fn case_34_a_version_below_the_floor_is_refused() {
    let text = spoiled(|scene| {
        scene.version = Version::V1_1;
        scene.asked.version = Version::V1_1;
    });
    assert_eq!(
        text,
        "the device was spoken to in SPDM 1.1, wanted at least 1.2: somebody may have forced an old version"
    );
    let scene = Scene::good();
    let (bundle, roots) = (scene.bundle(), [pin(&scene.chain)]);
    let floor = Floor {
        version: 0x13,
        ..Floor::default()
    };
    let expected = Expectation {
        floor,
        ..expectation(&roots)
    };
    let refused = verify(&bundle, &vouched(scene.info(&bundle)), &expected, &Ring).unwrap_err();
    assert!(
        refused.to_string().contains("in SPDM 1.2, wanted at least 1.3"),
        "{refused}"
    );
}

#[test]
fn a_version_that_the_device_does_not_offer_is_refused() {
    let text = spoiled(|scene| scene.offered_versions = vec![Version::V1_3]);
    assert_eq!(
        text,
        "SPDM 1.2 was used, which the device does not offer in VERSION"
    );
}

#[test]
fn case_35_algorithms_below_the_floor_are_refused() {
    let text = spoiled(|scene| (scene.choice.asym, scene.choice.hash) = (0x10, 0x01));
    assert!(
        text.starts_with("the signature algorithm negotiated is ECDSA P-256, wanted ECDSA P-384:"),
        "{text}"
    );
    let text = spoiled(|scene| scene.measurement_hash = 2);
    assert!(
        text.starts_with("the measurement hash negotiated is SHA-256, wanted SHA-384 or SHA-512:"),
        "{text}"
    );
    let text = spoiled(|scene| {
        scene.offer.asym |= 1;
        scene.choice.asym = 1;
    });
    assert!(
        text.starts_with("the signature algorithm negotiated is RSASSA 2048, "),
        "RSA 2048: {text}"
    );
    let text = spoiled(|scene| scene.choice.hash = 0x01);
    assert!(
        text.starts_with("the hash algorithm negotiated is SHA-256, wanted SHA-384:"),
        "{text}"
    );
}

#[test]
fn case_35_algorithms_that_were_not_offered_are_refused() {
    let text = spoiled(|scene| scene.choice.asym = 0x90);
    assert_eq!(
        text,
        "the device selected ECDSA P-256 or ECDSA P-384 as signature algorithm, wanted exactly one of those that were offered (ECDSA P-256 or ECDSA P-384)"
    );
    let text = spoiled(|scene| scene.offer.hash = 0x01);
    assert_eq!(
        text,
        "the device selected SHA-384 as hash algorithm, wanted exactly one of those that were offered (SHA-256)"
    );
    for kind in [TableKind::DHE, TableKind::AEAD, TableKind::KEY_SCHEDULE] {
        for mask in [0, 0x8000] {
            let text = spoiled(|scene| scene.choose(kind, mask));
            assert!(text.starts_with("the device selected"), "{kind} {mask}: {text}");
        }
    }
}

#[test]
fn case_36_another_negotiation_than_the_tsms_is_refused() {
    type Spoil = fn(&mut Negotiated);
    let cases: [(Spoil, &str); 7] = [
        (
            |spdm| spdm.version = 0x13,
            "SPDM version is 1.2, the TSM says 1.3",
        ),
        (
            |spdm| spdm.asym = 0x10,
            "signature algorithm is ECDSA P-384, the TSM says ECDSA P-256",
        ),
        (
            |spdm| spdm.hash = 1,
            "hash algorithm is SHA-384, the TSM says SHA-256",
        ),
        (
            |spdm| spdm.measurement_hash = 8,
            "measurement hash is SHA-384, the TSM says SHA-512",
        ),
        (
            |spdm| spdm.dhe = 8,
            "key exchange group is P-384, the TSM says P-256",
        ),
        (
            |spdm| spdm.aead = 1,
            "cipher is AES-256-GCM, the TSM says AES-128-GCM",
        ),
        (
            |spdm| spdm.key_schedule = 0,
            "key schedule is SPDM's, the TSM says none",
        ),
    ];
    for (spoil, wanted) in cases {
        let text = vouching(|info| spoil(&mut info.spdm));
        assert_eq!(
            text,
            alloc::format!("the transcript says that the {wanted}: it is of another session")
        );
    }
}

#[test]
fn case_37_measurements_without_a_signature_are_refused() {
    let text = spoiled(|scene| scene.flags = Flags::CERT | Flags::CHAL | Flags::MEAS_NO_SIG);
    assert!(
        text.starts_with("the measurements are not signed, wanted a signature by the device's key"),
        "{text}"
    );
    let text = spoiled(|scene| scene.asked.signed = None);
    assert!(
        text.ends_with("the request did not ask for a signature"),
        "{text}"
    );
    let text = vouched_bytes(|bundle| bundle.measurements.truncate(bundle.measurements.len() - 96));
    assert!(
        text.contains("measurement signature: 96 bytes wanted, 0 left"),
        "{text}"
    );
}

#[test]
fn case_38_measurements_that_are_not_what_they_seem_are_refused() {
    let text = spoiled(|scene| scene.blocks[1] = block(2, Kind::FIRMWARE, false, &[2; 32]));
    assert!(
        text.starts_with("measurement 2: value size is 0x20, wanted a digest of the negotiated size"),
        "{text}"
    );
    let text = spoiled(|scene| scene.blocks[1].0 = 1);
    assert!(
        text.contains("measurement index is 0x1, wanted 1 to 254, each once"),
        "{text}"
    );
    let text = spoiled(|scene| scene.blocks[1].1[1] ^= 1);
    assert!(
        text.starts_with("measurement 2: "),
        "an inner length that does not fit: {text}"
    );
    let text = spoiled(|scene| scene.blocks.clear());
    assert_eq!(text, "the device stated no measurement at all");
    let text = spoiled(|scene| scene.asked.operation = Operation(2));
    assert_eq!(
        text,
        "the TSM asked the device for measurement 0x2 only, wanted all (0xff)"
    );
    let raw = spoiled(|scene| {
        scene.blocks[1] = block(2, Kind::FIRMWARE, true, &[2; 48]);
        scene.param2 = 0x10;
    });
    assert_eq!(
        raw,
        "the device says that its measurements changed while they were taken; measure again"
    );
}

#[test]
fn case_38_a_raw_bit_stream_is_told_from_a_digest() {
    let mut scene = Scene::good();
    scene.blocks[1] = block(2, Kind::FIRMWARE, true, &[2; 48]);
    assert!(
        scene.judge().unwrap().measurement(2).unwrap().raw,
        "so that no policy takes it for a digest"
    );
}

#[test]
fn case_43_a_truncated_or_padded_report_is_refused() {
    let text = vouched_bytes(|bundle| bundle.report.truncate(20));
    assert!(text.starts_with("the interface report is malformed: "), "{text}");
    let text = vouched_bytes(|bundle| bundle.report.push(0));
    assert_eq!(
        text,
        "the interface report is malformed: 1 bytes left over after the last field"
    );
}

#[test]
fn case_44_another_function_or_segment_is_refused() {
    for function_id in [0x0102, 0x0101 | 1 << 24, 0x0101 | 1 << 16] {
        let text = vouching(|info| info.function_id = function_id);
        assert!(
            text.contains("wanted 0x00000101: this is another function's"),
            "{text}"
        );
    }
    let scene = Scene::good();
    let bundle = scene.bundle();
    let info = TdiInfo {
        guest: Rid(0x0102),
        ..scene.info(&bundle)
    };
    let text = judge(&bundle, info, &[pin(&scene.chain)])
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "the TSM's statement is about 0000:01:00.2, wanted 0000:01:00.1"
    );
}

#[test]
fn case_45_a_device_that_is_not_locked_is_refused() {
    for state in [TdiState::UNLOCKED, TdiState::RUN, TdiState::ERROR, TdiState(9)] {
        let text = vouching(|info| info.state = state);
        let begin = alloc::format!("the device's interface is in state {state}, wanted LOCKED");
        assert!(text.starts_with(&begin), "{text}");
    }
}

#[test]
fn case_52_overlapping_ranges_are_refused() {
    let text = spoiled(|scene| scene.report.ranges = vec![range(0, 0x100, 4), range(2, 0x103, 1)]);
    assert!(
        text.starts_with("the interface report is malformed: first page of an MMIO range is 0x103"),
        "{text}"
    );
}

#[test]
fn case_53_a_range_that_is_there_twice_is_refused() {
    let text = spoiled(|scene| scene.report.ranges = vec![range(0, 0x100, 4), range(0, 0x100, 4)]);
    assert!(text.contains("wanted a page that no other range has"), "{text}");
}

#[test]
fn case_55_empty_huge_or_wrapping_ranges_are_refused() {
    let text = spoiled(|scene| scene.report.ranges = vec![range(0, 0x100, 0)]);
    assert!(
        text.contains("pages of an MMIO range is 0x0, wanted at least 1"),
        "{text}"
    );
    for first in [(1 << 52) - 1, u64::MAX] {
        let text = spoiled(|scene| scene.report.ranges = vec![range(0, first, 2)]);
        assert!(text.contains("does not leave the 64-bit address space"), "{text}");
    }
}

#[test]
fn case_57_ranges_out_of_order_are_refused() {
    let text = spoiled(|scene| scene.report.ranges.reverse());
    assert!(text.contains("wanted IDs in ascending order"), "{text}");
    let text = spoiled(|scene| scene.report.ranges = vec![range(0, 0x200, 1), range(0, 0x100, 1)]);
    assert!(
        text.contains("wanted pages in ascending order within a BAR"),
        "{text}"
    );
}

#[test]
fn case_63_a_device_that_is_not_bound_is_refused_though_its_state_says_locked() {
    let text = vouching(|info| info.status = Binding::UNBOUND);
    assert!(
        text.starts_with("the TSM says that 0000:01:00.1 is UNBOUND, wanted BOUND"),
        "{text}"
    );
}

#[test]
fn every_truncation_and_every_extension_of_the_transcript_is_refused() {
    let scene = Scene::good();
    let good = scene.bundle();
    let roots = [pin(&scene.chain)];
    let refused = |measurements| {
        let bundle = Bundle {
            measurements,
            ..good.clone()
        };
        judge(&bundle, scene.info(&bundle), &roots).is_err()
    };
    for cut in 0..good.measurements.len() {
        assert!(refused(good.measurements[..cut].to_vec()), "cut at {cut}");
    }
    let mut longer = good.measurements.clone();
    longer.push(0);
    assert!(refused(longer));
}

#[test]
fn no_byte_of_the_transcript_can_change_though_the_tsm_vouch_for_it() {
    let scene = Scene::good();
    let good = scene.bundle();
    let roots = [pin(&scene.chain)];
    for at in 0..good.measurements.len() {
        let mut bundle = good.clone();
        bundle.measurements[at] ^= 0x20;
        assert!(judge(&bundle, scene.info(&bundle), &roots).is_err(), "byte {at}");
    }
}

mod hostile;
mod post_quantum;

/// Judges an honest host's evidence with these revocation lists.
fn with_lists(scene: &Scene, lists: &[Vec<u8>], rule: CrlRule) -> Result<Verified, Refusal> {
    let bundle = scene.bundle();
    let roots = [pin(&scene.chain)];
    let expected = Expectation {
        crls: Crls { lists, rule },
        ..expectation(&roots)
    };
    verify(&bundle, &vouched(scene.info(&bundle)), &expected, &Ring)
}

#[test]
fn case_30_evidence_by_a_revoked_certificate_is_refused() {
    let scene = Scene::good();
    let list = CrlPlan::of(1).revoking(&scene.plan, 2).der(&scene.plan);
    let text = with_lists(&scene, &[list], CrlRule::WhenPresent)
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("certificate 2 of the chain (CN=Device 1, serial ")
            && text.contains("was revoked on Nov  1"),
        "{text}"
    );
}

#[test]
fn case_33_a_host_that_withholds_a_required_list_gains_nothing() {
    let scene = Scene::good();
    let text = with_lists(&scene, &[], CrlRule::Required)
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("no revocation list is given of certificate 0"),
        "{text}"
    );
    let lists = [0, 1].map(|issuer| CrlPlan::of(issuer).der(&scene.plan));
    let verified = with_lists(&scene, &lists, CrlRule::Required).unwrap();
    assert!(verified.identity().revocation_checked);
}

#[test]
fn case_26_a_devices_capability_tells_how_its_chain_is_made() {
    let mut scene = Scene::good();
    scene.flags = scene.flags | Flags::ALIAS_CERT;
    let text = scene.refusal();
    assert!(
        text.contains("the model of alias certificates that the device announced"),
        "{text}"
    );
}

#[test]
fn the_capability_of_a_device_with_several_keys_tells_nothing_of_a_slots_chain() {
    for several in [Flags::MULTI_KEY_ONLY, Flags::MULTI_KEY_NEGOTIATED] {
        let mut scene = Scene::good();
        scene.flags = scene.flags | Flags::ALIAS_CERT | several;
        assert_eq!(scene.judge().map(drop), Ok(()));
    }
}
