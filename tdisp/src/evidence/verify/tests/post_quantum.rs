//! Connections of 1.4 with ML-DSA and ML-KEM, up to the signature, which `ring` cannot verify: that it is all that is missing
//! shows that the rest was taken. `tdisp/tests/post_quantum.rs` has signatures.

use super::*;
use crate::evidence::Parameter;

/// What a scene is refused with that lacks nothing but a provider.
const UNSUPPORTED: &str = "the device signs with ML-DSA-65 and SHA-384, and this program cannot verify that: build it with the \
     feature `post-quantum`, or have the device sign with a classical algorithm";

/// A post-quantum scene in which everything is genuine but what `spoil` changes; the text of its refusal.
fn spoiled(spoil: impl FnOnce(&mut Scene)) -> String {
    let mut scene = Scene::post_quantum();
    spoil(&mut scene);
    scene.refusal()
}

/// Where a TSM says that something else was negotiated.
fn saying(spoil: impl FnOnce(&mut Negotiated)) -> String {
    let scene = Scene::post_quantum();
    let bundle = scene.bundle();
    let mut info = scene.info(&bundle);
    spoil(&mut info.spdm);
    scene.judge_as(&bundle, info).unwrap_err().to_string()
}

#[test]
fn a_signature_that_the_provider_cannot_verify_is_told_apart_from_a_wrong_one() {
    assert_eq!(spoiled(|_| {}), UNSUPPORTED);
}

#[test]
fn case_35_post_quantum_algorithms_are_refused_unless_the_floor_lists_them() {
    let text = spoiled(|scene| scene.floor = Floor::default());
    assert_eq!(
        text,
        "the post-quantum signature algorithm negotiated is ML-DSA-65, wanted ECDSA P-384: the policy allows nothing \
         post-quantum for this; list there what is welcome"
    );
    let text = spoiled(|scene| scene.floor.kem = 0);
    assert_eq!(
        text,
        "the key encapsulation mechanism negotiated is ML-KEM-768, wanted P-384: the policy allows nothing post-quantum for \
         this; list there what is welcome"
    );
    let text = spoiled(|scene| scene.floor.pqc_asym = 4);
    assert_eq!(
        text,
        "the post-quantum signature algorithm negotiated is ML-DSA-65, wanted ML-DSA-87 or ECDSA P-384: somebody may have \
         forced a weaker one"
    );
    let text = spoiled(|scene| (scene.floor.kem, scene.floor.dhe) = (4, 0));
    assert_eq!(
        text,
        "the key encapsulation mechanism negotiated is ML-KEM-768, wanted ML-KEM-1024: somebody may have forced a weaker one"
    );
}

#[test]
fn case_35_classical_algorithms_are_refused_where_the_floor_lists_post_quantum_ones_alone() {
    let floor = Floor {
        asym: 0,
        pqc_asym: 6,
        ..Floor::default()
    };
    let mut scene = Scene::good();
    scene.floor = floor;
    assert_eq!(
        scene.refusal(),
        "the signature algorithm negotiated is ECDSA P-384, wanted ML-DSA-65 or ML-DSA-87: somebody may have forced a weaker \
         one"
    );
    scene.floor = Floor {
        dhe: 0,
        kem: 6,
        ..Floor::default()
    };
    assert_eq!(
        scene.refusal(),
        "the key exchange group negotiated is P-384, wanted ML-KEM-768 or ML-KEM-1024: somebody may have forced a weaker one"
    );
}

#[test]
fn a_floor_that_lists_both_kinds_takes_either() {
    let both = Scene::post_quantum().floor;
    let mut scene = Scene::good();
    scene.floor = both;
    assert!(scene.judge().is_ok());
    let classical = |scene: &mut Scene| {
        (scene.choice.pqc_asym, scene.choice.asym) = (0, 0x80);
        scene.choose(TableKind::KEM, 0);
        scene.choose(TableKind::DHE, 0x10);
    };
    let mut scene = Scene::post_quantum();
    classical(&mut scene);
    assert!(scene.judge().is_ok(), "{}", scene.refusal());
}

#[test]
fn case_35_what_was_not_offered_and_more_than_one_is_refused() {
    let offered = "wanted exactly one of those that were offered";
    for mask in [0x8000, 6, 3] {
        let text = spoiled(|scene| {
            scene.offer.pqc_asym = 3;
            scene.choice.pqc_asym = mask;
        });
        assert!(
            text.ends_with(&alloc::format!(
                "as post-quantum signature algorithm, {offered} (ML-DSA-44 or ML-DSA-65 or RSASSA 2048 or RSAPSS 2048 or RSASSA \
                 3072 or RSAPSS 3072 or ECDSA P-256 or RSASSA 4096 or RSAPSS 4096 or ECDSA P-384)"
            )),
            "{mask:#x}: {text}"
        );
    }
    for mask in [8, 3, 6] {
        let text = spoiled(|scene| scene.choose(TableKind::KEM, mask));
        assert!(
            text.contains(&alloc::format!("as key encapsulation mechanism, {offered}")),
            "{mask:#x}: {text}"
        );
    }
    let text = spoiled(|scene| scene.choice.pqc_asym = 0);
    assert!(
        text.starts_with(&alloc::format!(
            "the device selected none as signature algorithm, {offered}"
        )),
        "{text}"
    );
    let text = spoiled(|scene| scene.choose(TableKind::KEM, 0));
    assert_eq!(
        text,
        "the device selected none as key exchange group, wanted exactly one of those that were offered (P-256 or P-384 or \
         ML-KEM-512 or ML-KEM-768 or ML-KEM-1024)"
    );
}

#[test]
fn case_35_a_choice_of_both_kinds_for_one_purpose_is_refused_though_each_is_allowed() {
    let text = spoiled(|scene| scene.choice.asym = 0x80);
    assert_eq!(
        text,
        "the device selected ECDSA P-384 as signature algorithm and ML-DSA-65 as post-quantum signature algorithm, wanted one \
         of the two"
    );
    let text = spoiled(|scene| scene.choose(TableKind::DHE, 0x10));
    assert_eq!(
        text,
        "the device selected P-384 as key exchange group and ML-KEM-768 as key encapsulation mechanism, wanted one of the two"
    );
}

#[test]
fn case_35_a_signature_algorithm_that_nobody_knows_here_is_refused_though_the_floor_lists_it() {
    let text = spoiled(|scene| {
        scene.floor.pqc_asym = u32::MAX;
        scene.offer.pqc_asym = 8;
        scene.choice.pqc_asym = 8;
    });
    assert_eq!(
        text,
        "the post-quantum signature algorithm negotiated is SLH-DSA-SHA2-128s, wanted ML-DSA-44 or ML-DSA-65 or ML-DSA-87 or \
         RSASSA 2048 or RSAPSS 2048 or RSASSA 3072 or RSAPSS 3072 or ECDSA P-256 or RSASSA 4096 or RSAPSS 4096 or ECDSA P-384: \
         somebody may have forced a weaker one"
    );
}

#[test]
fn case_36_another_negotiation_than_the_tsms_is_refused() {
    type Spoil = fn(&mut Negotiated);
    let cases: [(Spoil, &str); 4] = [
        (
            |spdm| spdm.pqc_asym = 4,
            "post-quantum signature algorithm is ML-DSA-65, the TSM says ML-DSA-87",
        ),
        (
            |spdm| (spdm.asym, spdm.pqc_asym) = (0x80, 0),
            "signature algorithm is none, the TSM says ECDSA P-384",
        ),
        (
            |spdm| spdm.kem = 1,
            "key encapsulation mechanism is ML-KEM-768, the TSM says ML-KEM-512",
        ),
        (
            |spdm| (spdm.dhe, spdm.kem) = (0x10, 0),
            "key exchange group is none, the TSM says P-384",
        ),
    ];
    for (spoil, wanted) in cases {
        assert_eq!(
            saying(spoil),
            alloc::format!("the transcript says that the {wanted}: it is of another session")
        );
    }
}

#[test]
fn before_1_4_the_post_quantum_fields_mean_nothing() {
    for version in [Version::V1_2, Version::V1_3] {
        let text = spoiled(|scene| {
            scene.version = version;
            scene.offered_versions = vec![version];
            scene.asked.version = version;
        });
        assert!(
            text.starts_with("the device selected none as signature algorithm"),
            "{version}: {text}"
        );
    }
    let mut scene = Scene::good();
    (scene.offer.pqc_asym, scene.choice.pqc_asym) = (2, 0);
    scene.choose(TableKind::KEM, 2);
    let bundle = scene.bundle();
    let mut info = scene.info(&bundle);
    let text = scene.judge_as(&bundle, info.clone()).unwrap_err().to_string();
    assert!(
        text.starts_with(
            "the transcript says that the key encapsulation mechanism is none, the TSM says ML-KEM-768"
        ),
        "{text}"
    );
    info.spdm.kem = 0;
    assert_eq!(scene.judge_as(&bundle, info).unwrap().negotiated().kem, 0);
}

#[test]
fn each_parameter_and_its_other_are_each_others() {
    for what in Parameter::ALL {
        assert!(
            what.other().is_none_or(|other| other.other() == Some(what)),
            "{what}"
        );
    }
    assert_eq!(
        Parameter::PostQuantumSignature.words(1 << 14 | 2),
        "ML-DSA-65 or SLH-DSA-SHAKE-256f"
    );
    assert_eq!(Parameter::Kem.words(1 << 3 | 4), "ML-KEM-1024 or bit 3");
}
