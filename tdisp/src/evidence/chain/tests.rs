use super::*;
use crate::{
    crypto::Ring,
    evidence::testing::{Certificate, NOW, Plan, object, pin},
};
use alloc::{vec, vec::Vec};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};

fn judge(object: &[u8], roots: &[Root], rule: &IdentityRule) -> Result<Leaf, Error> {
    judge_as(object, roots, rule, (Role::Responder, None))
}

fn judge_as(
    object: &[u8],
    roots: &[Root],
    rule: &IdentityRule,
    (role, model): (Role, Option<Model>),
) -> Result<Leaf, Error> {
    let rules = Rules {
        role,
        model,
        ..rules(roots, rule)
    };
    validate(object, &rules, &Ring)
}

fn rules<'a>(roots: &'a [Root], identity: &'a IdentityRule) -> Rules<'a> {
    Rules {
        version: Version::V1_2,
        hash: HashAlg::Sha384,
        leaf: SignAlg::EcdsaP384,
        roots,
        now: NOW,
        identity,
        role: Role::Responder,
        model: None,
        crls: Crls::default(),
    }
}

/// Judges a chain by its own root.
fn check(plan: &Plan) -> Result<Leaf, Error> {
    let object = plan.object();
    judge(&object, &[pin(&object)], &IdentityRule::default())
}

/// The text a person reads when this chain is refused.
fn refusal(plan: &Plan) -> String {
    check(plan).unwrap_err().to_string()
}

fn spoiled(spoil: impl FnOnce(&mut Plan)) -> String {
    let mut plan = Plan::good();
    spoil(&mut plan);
    refusal(&plan)
}

#[test]
fn a_good_chain_yields_the_leafs_key_and_names() {
    let plan = Plan::good();
    let leaf = check(&plan).unwrap();
    assert_eq!(leaf.public_key, plan.signer().public_key());
    assert_eq!(leaf.identity.subject, "CN=Device 1");
    assert_eq!(
        leaf.identity.pci,
        Some(PciIdentity {
            vendor: 0x1b36,
            device: 0x7ee0
        })
    );
    assert_eq!(leaf.identity.device_info.as_deref(), Some("Tidelock:NIC:1"));
    assert!(leaf.identity.hardware_identity);
}

#[test]
fn case_21_a_leaf_that_is_a_ca_is_refused() {
    let text = spoiled(|plan| plan.leaf().params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert!(
        text.starts_with("certificate 2 of the chain (CN=Device 1): it is a CA, but stands at the end"),
        "{text}"
    );
}

#[test]
fn case_21_a_leaf_issued_by_a_leaf_is_refused() {
    let text = spoiled(|plan| plan.certificates.push(Certificate::leaf("Forged")));
    assert_eq!(
        text,
        "certificate 2 of the chain (CN=Device 1): it is not a CA, but another certificate is issued by it"
    );
}

#[test]
fn case_22_an_unknown_critical_extension_is_refused() {
    for position in 0..3 {
        let text = spoiled(|plan| plan.certificates[position].extend(&[1, 2, 3, 4], true, vec![5, 0]));
        assert!(
            text.contains("it has the critical extension 1.2.3.4, which is not understood"),
            "{text}"
        );
    }
    let mut plan = Plan::good();
    plan.leaf().extend(&[1, 2, 3, 4], false, vec![5, 0]);
    assert!(check(&plan).is_ok(), "one that is not critical is overlooked");
}

#[test]
fn name_constraints_which_are_not_processed_are_refused() {
    let text = spoiled(|plan| {
        plan.model().params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("a".into())],
            excluded_subtrees: vec![],
        });
    });
    assert!(text.contains("critical extension 2.5.29.30"), "{text}");
}

#[test]
fn case_23_a_root_that_is_not_pinned_for_this_device_is_refused() {
    let (ours, other) = (Plan::good().object(), Plan::good().object());
    let error = judge(&ours, &[pin(&other)], &IdentityRule::default()).unwrap_err();
    let (found, wanted) = (pin(&ours), pin(&other));
    assert_eq!(
        error.to_string(),
        format!(
            "the device's chain leads to the root {} (CN=Vendor root), which is not pinned for this device; wanted {} ({}). \
             If that root is the vendor's, add its digest to the device's rule",
            found.digest, wanted.digest, wanted.name
        )
    );
    let none = judge(&ours, &[], &IdentityRule::default())
        .unwrap_err()
        .to_string();
    assert!(none.contains("wanted none: no root is pinned"), "{none}");
}

#[test]
fn a_root_pinned_by_another_hash_is_the_same_root() {
    let ders = Plan::good().ders();
    let digest = digest(&Ring, HashAlg::Sha256, &ders[0]);
    let root = Root {
        name: "by SHA-256".into(),
        digest,
    };
    let leaf = judge(
        &object(&ders),
        core::slice::from_ref(&root),
        &IdentityRule::default(),
    )
    .unwrap();
    assert_eq!(leaf.identity.root, root);
}

#[test]
fn case_24_the_same_subject_with_another_key_is_refused() {
    for position in 1..3 {
        let text = spoiled(|plan| plan.certificates[position].signed_by = Some(Certificate::ca("x").key));
        assert!(
            text.contains("its signature is not by the key of the certificate before it"),
            "{text}"
        );
    }
}

#[test]
fn a_root_that_did_not_sign_itself_is_refused() {
    let text = spoiled(|plan| plan.root().signed_by = Some(Certificate::ca("x").key));
    assert!(text.starts_with("certificate 0 of the chain"), "{text}");
}

#[test]
fn an_issuer_that_is_not_the_certificate_before_is_refused() {
    let ders = Plan::good().ders();
    let swapped = object(&[ders[0].clone(), ders[2].clone()]);
    let error = judge(&swapped, &[pin(&swapped)], &IdentityRule::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "certificate 1 of the chain (CN=Device 1): it was issued by CN=Vendor model, wanted the certificate before it, CN=Vendor root"
    );
}

#[test]
fn names_in_certificates_reach_nobodys_terminal_as_commands() {
    let mut plan = Plan::good();
    let name = alloc::format!("\u{1b}[2J\n{}", "x".repeat(10_000));
    let names = &mut plan.model().params.distinguished_name;
    names.push(rcgen::DnType::CommonName, name.as_str());
    let ders = plan.ders();
    let swapped = object(&[ders[0].clone(), ders[2].clone()]);
    let error = judge(&swapped, &[pin(&swapped)], &IdentityRule::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("it was issued by"), "{text}");
    assert!(!text.contains(char::is_control) && text.len() < 1000, "{text}");
}

#[test]
fn case_25_other_pci_ids_than_the_rules_are_refused() {
    let object = Plan::good().object();
    let rule = IdentityRule {
        pci: Some(PciIdentity {
            vendor: 0x10de,
            device: 0x2331,
        }),
        ..IdentityRule::default()
    };
    let error = judge(&object, &[pin(&object)], &rule).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the device's certificate states the PCI ids 1b36:7ee0, wanted 10de:2331; either the rule or the device is another one"
    );
}

#[test]
fn case_26_missing_dmtf_names_are_refused_where_the_rule_wants_them() {
    let mut plan = Plan::good();
    plan.leaf().params.custom_extensions.clear();
    plan.leaf().params.subject_alt_names.clear();
    let object = plan.object();
    let judge = |rule| judge(&object, &[pin(&object)], &rule).unwrap_err().to_string();
    let hardware = judge(IdentityRule {
        hardware_identity: true,
        ..IdentityRule::default()
    });
    assert!(
        hardware.contains("states its kind as nothing, wanted hardware identity (1.3.6.1.4.1.412.274.2)"),
        "{hardware}"
    );
    let info = judge(IdentityRule {
        device_info: Some("Tidelock:NIC:1".into()),
        ..IdentityRule::default()
    });
    assert!(
        info.contains("states the device nothing, wanted Tidelock:NIC:1"),
        "{info}"
    );
}

#[test]
fn case_26_malformed_device_names_are_refused() {
    for (pci, info) in [
        ("Vendor=1b36", "a:b:c"),
        ("Vendor=1b36:Vendor=10de:Device=7ee0", "a:b:c"),
        ("Vendor=xyz:Device=7ee0", "a:b:c"),
        ("Vendor=1b36:Device=7ee0", "a:\u{1b}[2J:c"),
    ] {
        let mut plan = Plan::good();
        *plan.leaf() = Certificate::leaf("Device 1").with_names(pci, info);
        assert!(
            refusal(&plan).contains("its extension 2.5.29.17 is malformed"),
            "{pci} {info}"
        );
    }
}

#[test]
fn an_extension_that_is_there_twice_is_refused() {
    let text = spoiled(|plan| {
        plan.leaf().extend(&[1, 2, 3, 4], false, vec![5, 0]);
        plan.leaf().extend(&[1, 2, 3, 4], false, vec![5, 0]);
    });
    assert!(
        text.contains("its extension 1.2.3.4 is malformed or there twice"),
        "{text}"
    );
}

#[test]
fn case_28_a_chain_too_long_is_refused() {
    let mut plan = Plan::good();
    plan.certificates.splice(
        1..2,
        (0..6).map(|number| Certificate::ca(&format!("CA {number}"))),
    );
    assert!(check(&plan).is_ok(), "8 certificates are allowed");
    plan.certificates.insert(1, Certificate::ca("one more"));
    assert_eq!(
        refusal(&plan),
        "the certificate chain has 9 certificates, wanted 2 to 8, root first"
    );
    plan.certificates.splice(1.., []);
    assert_eq!(
        refusal(&plan),
        "the certificate chain has 1 certificates, wanted 2 to 8, root first"
    );
}

#[test]
fn case_28_a_chain_larger_than_a_requester_takes_is_refused() {
    let error = judge(&vec![0; 0x20001], &[], &IdentityRule::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate chain has 131073 bytes, wanted at most 131072"
    );
}

#[test]
fn a_chain_of_64_kib_and_more_is_taken_in_1_4_and_has_no_form_before() {
    let mut plan = Plan::good();
    plan.leaf().extend(&[1, 2, 3, 4], false, vec![0; 70_000]);
    let ders = plan.ders();
    let root = digest(&Ring, HashAlg::Sha384, &ders[0]);
    let pinned = Root {
        name: "vendor".into(),
        digest: root,
    };
    let chain = certificate::Chain {
        root_hash: root.as_ref(),
        certificates: &ders.concat(),
    };
    let anyone = IdentityRule::default();
    for (version, taken) in [(Version::V1_4, true), (Version::V1_3, false)] {
        let mut object = Vec::new();
        chain.encode(version, &mut object);
        let rules = Rules {
            version,
            ..rules(core::slice::from_ref(&pinned), &anyone)
        };
        let judged = validate(&object, &rules, &Ring);
        assert_eq!(judged.is_ok(), taken, "{version} {judged:?}");
    }
}

#[test]
fn case_28_deeply_nested_asn1_is_refused_without_a_panic() {
    let mut nested = Vec::new();
    for _ in 0..15_000 {
        nested.extend_from_slice(&[0x30, 0x82, 0xff, 0xff]);
    }
    let object = object(&[nested]);
    let error = judge(&object, &[pin(&object)], &IdentityRule::default()).unwrap_err();
    assert!(
        error.to_string().contains("no well-formed X.509 certificate"),
        "{error}"
    );
}

#[test]
fn case_29_an_expired_or_future_certificate_is_refused_and_both_times_are_told() {
    let text = spoiled(|plan| plan.leaf().params.not_after = date_time_ymd(2026, 6, 1));
    assert!(
        text.contains("it expired on Jun  1 00:00:00 2026 +00:00, and it is Nov 20"),
        "{text}"
    );
    let text = spoiled(|plan| plan.model().params.not_before = date_time_ymd(2026, 12, 1));
    assert!(
        text.contains("it is valid from Dec  1 00:00:00 2026 +00:00, and it is Nov 20"),
        "{text}"
    );
    let object = Plan::good().object();
    let (hash, leaf, identity) = (HashAlg::Sha384, SignAlg::EcdsaP384, &IdentityRule::default());
    let rules = Rules {
        version: Version::V1_2,
        hash,
        leaf,
        roots: &[pin(&object)],
        now: UnixTime(0),
        identity,
        role: Role::Responder,
        model: None,
        crls: Crls::default(),
    };
    let text = validate(&object, &rules, &Ring).unwrap_err().to_string();
    assert!(
        text.contains("it is Jan  1 00:00:00 1970 +00:00; check the clock"),
        "{text}"
    );
}

#[test]
fn a_path_longer_than_a_ca_allows_is_refused() {
    let text = spoiled(|plan| plan.root().params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    assert_eq!(
        text,
        "certificate 0 of the chain (CN=Vendor root): it allows 0 CAs after it, and 1 follow"
    );
    let mut plan = Plan::good();
    plan.root().params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    plan.model().params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    assert!(check(&plan).is_ok());
}

#[test]
fn keys_that_may_not_sign_are_refused() {
    let text = spoiled(|plan| plan.model().params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert!(
        text.contains("does not include signing certificates (keyCertSign)"),
        "{text}"
    );
    let text = spoiled(|plan| plan.leaf().params.key_usages = vec![KeyUsagePurpose::KeyAgreement]);
    assert!(
        text.contains("does not include signatures (digitalSignature)"),
        "{text}"
    );
    let text = spoiled(|plan| plan.leaf().params.key_usages.clear());
    assert!(
        text.contains("does not include signatures (digitalSignature)"),
        "{text}"
    );
    let text =
        spoiled(|plan| plan.leaf().params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]);
    assert!(text.contains("extended key usage allows neither"), "{text}");
}

#[test]
fn case_27_a_leaf_key_of_another_algorithm_than_negotiated_is_refused() {
    let text = spoiled(|plan| *plan.leaf() = Certificate::p256_leaf("Device 1"));
    assert!(
        text.contains("its key is for ECDSA P-256, but the session was negotiated with ECDSA P-384"),
        "{text}"
    );
}

#[test]
fn a_certificate_signed_by_another_algorithm_is_refused() {
    let text = spoiled(|plan| {
        plan.leaf().signed_by = Some(KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap());
    });
    assert!(
        text.contains("it uses the algorithm 1.3.101.112, wanted ECDSA"),
        "{text}"
    );
}

#[test]
fn a_root_hash_of_another_certificate_is_refused() {
    let mut object = Plan::good().object();
    object[10] ^= 1;
    let text = judge(&object, &[pin(&object)], &IdentityRule::default())
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("the certificate chain names the root"), "{text}");
}

#[test]
fn a_length_that_is_not_what_came_is_refused() {
    let good = Plan::good().object();
    let roots = [pin(&good)];
    for cut in [0, 3, 4, 51, 52, 53, good.len() - 1] {
        assert!(
            judge(&good[..cut], &roots, &IdentityRule::default()).is_err(),
            "cut at {cut}"
        );
    }
    let mut padded = good.clone();
    padded.push(0);
    assert!(judge(&padded, &roots, &IdentityRule::default()).is_err());
}

#[test]
fn no_single_byte_of_a_chain_can_change() {
    let good = Plan::good().object();
    let roots = [pin(&good)];
    // Bytes 2 and 3 are reserved; every other byte is covered by a digest, a signature or a check.
    let covered = (0..good.len()).filter(|at| !(2..4).contains(at));
    let unnoticed = covered.filter(|at| {
        let mut altered = good.clone();
        altered[*at] ^= 0x40;
        judge(&altered, &roots, &IdentityRule::default()).is_ok()
    });
    assert_eq!(unnoticed.collect::<Vec<_>>(), [0usize; 0]);
}

#[test]
fn a_name_that_could_drive_a_terminal_is_not_printed_raw() {
    let mut plan = Plan::good();
    *plan.leaf() = Certificate::leaf("Device\u{1b}[2J");
    plan.leaf().params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert!(!refusal(&plan).contains('\u{1b}'));
}

/// DMTF's extension with these kinds, by the last number of their object ids.
fn kinds(leaf: &mut Certificate, kinds: &[u8]) {
    let each = kinds
        .iter()
        .map(|kind| vec![0x30, 12, 6, 10, 0x2b, 6, 1, 4, 1, 0x83, 0x1c, 0x82, 0x12, *kind]);
    let content: Vec<u8> = each.flatten().collect();
    leaf.params.custom_extensions.clear();
    leaf.extend(
        &[1, 3, 6, 1, 4, 1, 412, 274, 6],
        false,
        [vec![0x30, content.len() as u8], content].concat(),
    );
}

fn modelled(plan: &Plan, model: Model) -> Result<Leaf, Error> {
    let object = plan.object();
    let hardware = IdentityRule {
        hardware_identity: true,
        ..IdentityRule::default()
    };
    judge_as(
        &object,
        &[pin(&object)],
        &hardware,
        (Role::Responder, Some(model)),
    )
}

#[test]
fn case_26_the_hardware_is_named_by_the_leaf_of_a_device_and_by_a_ca_above_an_alias() {
    let mut plan = Plan::good();
    assert!(modelled(&plan, Model::Device).unwrap().identity.hardware_leaf);
    let text = modelled(&plan, Model::Alias).unwrap_err().to_string();
    assert!(
        text.ends_with(
            "it is called the certificate of the hardware, which does not go with the model of alias certificates that the \
             device announced"
        ),
        "{text}"
    );
    kinds(plan.model(), &[2]);
    kinds(plan.leaf(), &[5]);
    let leaf = modelled(&plan, Model::Alias).unwrap();
    assert!(leaf.identity.mutable && leaf.identity.hardware_identity && !leaf.identity.hardware_leaf);
    let text = modelled(&plan, Model::Device).unwrap_err().to_string();
    assert!(
        text.contains("it is called a certificate that firmware can change"),
        "{text}"
    );
    assert!(modelled(&plan, Model::Generic).is_ok());
}

#[test]
fn case_26_a_root_that_calls_itself_the_hardware_names_none() {
    let mut plan = Plan::good();
    kinds(plan.root(), &[2]);
    kinds(plan.leaf(), &[5]);
    assert!(modelled(&plan, Model::Alias).is_err());
}

#[test]
fn case_26_a_malformed_list_of_kinds_is_refused_in_any_certificate() {
    for position in 1..3 {
        let mut plan = Plan::good();
        plan.certificates[position].params.custom_extensions.clear();
        plan.certificates[position].extend(&[1, 3, 6, 1, 4, 1, 412, 274, 6], false, vec![0x30, 2, 5, 0]);
        let text = refusal(&plan);
        assert!(
            text.contains("its extension 1.3.6.1.4.1.412.274.6 is malformed"),
            "{text}"
        );
    }
}

#[test]
fn a_key_is_for_the_role_that_its_extended_usage_names() {
    let dmtf = |last| ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 412, 274, last]);
    let cases = [
        (dmtf(3), [true, false]),
        (dmtf(4), [false, true]),
        (ExtendedKeyUsagePurpose::ServerAuth, [true, false]),
        (ExtendedKeyUsagePurpose::ClientAuth, [false, true]),
        (ExtendedKeyUsagePurpose::Any, [true, true]),
        (ExtendedKeyUsagePurpose::CodeSigning, [false, false]),
    ];
    for (purpose, wanted) in cases {
        let mut plan = Plan::good();
        plan.leaf().params.extended_key_usages = vec![purpose.clone()];
        let object = plan.object();
        let found = [Role::Responder, Role::Requester]
            .map(|role| judge_as(&object, &[pin(&object)], &IdentityRule::default(), (role, None)).is_ok());
        assert_eq!(found, wanted, "{purpose:?}");
    }
}

#[test]
fn a_certificate_is_valid_in_its_first_second_and_in_its_last() {
    for spoil in [
        |plan: &mut Plan| plan.leaf().params.not_before = date_time_ymd(2026, 11, 20),
        |plan: &mut Plan| plan.leaf().params.not_after = date_time_ymd(2026, 11, 20),
    ] {
        let mut plan = Plan::good();
        spoil(&mut plan);
        let object = plan.object();
        assert!(judge(&object, &[pin(&object)], &IdentityRule::default()).is_ok());
    }
}

#[test]
fn a_device_that_is_all_that_the_rule_wants_is_taken() {
    let rule = IdentityRule {
        pci: Some(PciIdentity {
            vendor: 0x1b36,
            device: 0x7ee0,
        }),
        device_info: Some("Tidelock:NIC:1".into()),
        hardware_identity: true,
    };
    let object = Plan::good().object();
    assert!(judge(&object, &[pin(&object)], &rule).is_ok());
}
