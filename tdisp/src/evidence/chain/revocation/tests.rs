use super::*;
use crate::{
    crypto::{HashAlg, Ring, SignAlg},
    evidence::{
        chain::{IdentityRule, Leaf, Role, validate},
        testing::{
            Certificate, NOW, Plan,
            crl::{
                CERTIFICATE_ISSUER, CRL_NUMBER, CrlPlan, DELTA, DISTRIBUTION_POINT, PRIVATE, extension, tlv,
            },
            pin,
        },
    },
    spdm::msg::Version,
};
use alloc::vec;
use rcgen::{DnType, DnValue, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384};

fn judge(plan: &Plan, lists: &[Vec<u8>], rule: CrlRule) -> Result<Leaf, Error> {
    let object = plan.object();
    let rules = Rules {
        version: Version::V1_2,
        hash: HashAlg::Sha384,
        leaf: SignAlg::EcdsaP384,
        roots: &[pin(&object)],
        now: NOW,
        identity: &IdentityRule::default(),
        role: Role::Responder,
        model: None,
        crls: Crls { lists, rule },
    };
    validate(&object, &rules, &Ring)
}

/// The text a person reads when the good chain is refused for this list by its model's CA.
fn refusal(spoil: impl FnOnce(&mut CrlPlan)) -> String {
    let plan = Plan::good();
    let mut list = CrlPlan::of(1);
    spoil(&mut list);
    let refused = judge(&plan, &[list.der(&plan)], CrlRule::WhenPresent);
    refused.unwrap_err().to_string()
}

#[test]
fn a_chain_none_of_which_is_revoked_is_good_and_says_that_it_was_checked() {
    let plan = Plan::good();
    let other = CrlPlan {
        revoked: vec![(vec![1, 2, 3], vec![])],
        ..CrlPlan::of(0)
    };
    let lists = [other.der(&plan), CrlPlan::of(1).der(&plan)];
    let leaf = judge(&plan, &lists, CrlRule::Required).unwrap();
    assert!(leaf.identity.revocation_checked);
    let leaf = judge(&plan, &lists[..1], CrlRule::WhenPresent).unwrap();
    assert!(!leaf.identity.revocation_checked, "one CA had no list");
    assert!(judge(&plan, &[], CrlRule::WhenPresent).is_ok());
}

#[test]
fn case_30_a_revoked_certificate_is_refused_at_every_place_below_the_root() {
    let plan = Plan::good();
    for (issuer, position, name) in [(0, 1, "Vendor model"), (1, 2, "Device 1")] {
        let list = CrlPlan::of(issuer).revoking(&plan, position).der(&plan);
        let text = judge(&plan, &[list], CrlRule::WhenPresent)
            .unwrap_err()
            .to_string();
        assert!(
            text.starts_with(&alloc::format!(
                "certificate {position} of the chain (CN={name}, serial "
            )),
            "{text}"
        );
        assert!(
            text.ends_with("was revoked on Nov  1 00:00:00 2026 +00:00 (KeyCompromise); the device must not be trusted with it"),
            "{text}"
        );
    }
}

#[test]
fn a_certificate_that_another_ca_revoked_is_not_revoked() {
    let plan = Plan::good();
    let list = CrlPlan::of(0).revoking(&plan, 2).der(&plan);
    assert!(
        judge(&plan, &[list], CrlRule::WhenPresent).is_ok(),
        "the serial number is another issuer's"
    );
}

#[test]
fn a_leaf_that_a_ca_of_the_same_name_and_key_as_the_one_above_it_revoked_is_refused() {
    let mut plan = Plan::good();
    let key = KeyPair::try_from(plan.model().key.serialize_der()).unwrap();
    let again = Certificate {
        key,
        ..Certificate::ca("Vendor model")
    };
    plan.certificates.insert(2, again);
    let lists = [CrlPlan::of(0).der(&plan), CrlPlan::of(1).der(&plan)];
    let leaf = judge(&plan, &lists, CrlRule::Required).unwrap();
    assert!(
        leaf.identity.revocation_checked,
        "a list of one is a list of both"
    );
    let list = CrlPlan::of(2).revoking(&plan, 3).der(&plan);
    let text = judge(&plan, &[list], CrlRule::WhenPresent)
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("certificate 3 of the chain (CN=Device 1"),
        "{text}"
    );
}

#[test]
fn case_33_without_the_lists_that_the_rule_requires_the_chain_is_refused() {
    let plan = Plan::good();
    let text = judge(&plan, &[], CrlRule::Required).unwrap_err().to_string();
    assert_eq!(
        text,
        "no revocation list is given of certificate 0 of the chain (CN=Vendor root), and the rule requires one of every CA; \
         give it, or let the rule take lists where there are some"
    );
    let text = judge(&plan, &[CrlPlan::of(0).der(&plan)], CrlRule::Required)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("certificate 1 of the chain (CN=Vendor model)"),
        "{text}"
    );
}

#[test]
fn case_31_a_list_whose_time_is_over_is_refused() {
    let text = refusal(|list| list.next_update = Some("261119000000Z"));
    assert_eq!(
        text,
        "revocation list 0 (of CN=Vendor model): a newer one was due on Nov 19 00:00:00 2026 +00:00, and it is Nov 20 00:00:00 \
         2026 +00:00; give the newest, or check the clock"
    );
}

#[test]
fn case_31_a_list_without_a_next_update_is_refused() {
    assert!(
        refusal(|list| list.next_update = None)
            .contains("(nextUpdate), so that an old one would be good for ever")
    );
}

#[test]
fn case_31_a_list_from_the_future_is_refused() {
    assert!(
        refusal(|list| list.this_update = "261125000000Z")
            .contains("it is of Nov 25 00:00:00 2026 +00:00, and it is Nov 20")
    );
}

#[test]
fn case_31_a_list_that_another_key_signed_is_refused() {
    let text = refusal(|list| list.signed_by = Some(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()));
    assert!(
        text.ends_with("its signature is not by the CA of the chain that bears its issuer's name"),
        "{text}"
    );
}

#[test]
fn a_list_by_the_wrong_ca_of_the_chain_is_refused() {
    let plan = Plan::good();
    let root = plan.certificates[0].key.serialize_der();
    let text = refusal(|list| list.signed_by = Some(KeyPair::try_from(root).unwrap()));
    assert!(text.contains("its signature is not by the CA"), "{text}");
}

#[test]
fn no_single_byte_of_a_list_can_change() {
    let plan = Plan::good();
    let good = CrlPlan::of(1).der(&plan);
    let (_, issuer) = {
        let name = plan.ders()[1].clone();
        (0, name)
    };
    let (_, issuer) = X509Certificate::from_der(&issuer).unwrap();
    let name = issuer.subject().as_raw();
    let at = good
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    // In another name it is another issuer's list, which is passed over.
    let unnoticed = (0..good.len())
        .filter(|byte| !(at..at + name.len()).contains(byte))
        .filter(|byte| {
            let mut altered = good.clone();
            altered[*byte] ^= 0x40;
            judge(&plan, &[altered], CrlRule::WhenPresent).is_ok()
        });
    assert_eq!(unnoticed.collect::<Vec<_>>(), [0usize; 0]);
}

#[test]
fn every_truncation_and_every_extension_of_a_list_is_refused() {
    let plan = Plan::good();
    let mut list = CrlPlan::of(1).der(&plan);
    list.push(0);
    for size in (0..=list.len()).filter(|size| *size != list.len() - 1) {
        let text = judge(&plan, &[list[..size].to_vec()], CrlRule::WhenPresent)
            .unwrap_err()
            .to_string();
        assert!(text.contains("no well-formed revocation list"), "{size}: {text}");
    }
}

#[test]
fn a_list_of_version_1_is_refused() {
    for version in [None, Some(0), Some(2)] {
        assert!(
            refusal(|list| list.version = version)
                .contains("no well-formed revocation list of X.509 version 2")
        );
    }
}

#[test]
fn a_delta_list_is_refused() {
    for critical in [true, false] {
        let text = refusal(|list| list.extensions.push(extension(DELTA, critical, &[2, 1, 6])));
        assert!(
            text.contains("it lists only the changes since another list (a delta)"),
            "{text}"
        );
    }
}

#[test]
fn a_list_for_a_part_of_the_certificates_and_an_indirect_one_are_refused() {
    // IssuingDistributionPoint { indirectCRL TRUE }, and one that says nothing.
    for value in [&[0x30, 3, 0x84, 1, 0xff][..], &[0x30, 0]] {
        for critical in [true, false] {
            let point = extension(DISTRIBUTION_POINT, critical, value);
            let text = refusal(|list| list.extensions.push(point));
            assert!(
                text.contains(
                    "it is for a part of the certificates, or for other issuers' (extension 2.5.29.28)"
                ),
                "{text}"
            );
        }
    }
    let other = extension(CERTIFICATE_ISSUER, true, &[0x30, 0]);
    let text = refusal(|list| list.revoked.push((vec![9], vec![other])));
    assert!(text.contains("(extension 2.5.29.29)"), "{text}");
}

#[test]
fn an_unknown_critical_extension_of_a_list_or_of_an_entry_is_refused() {
    let unknown = || extension(PRIVATE, true, &[5, 0]);
    assert!(refusal(|list| list.extensions.push(unknown())).contains("critical extension 1.2.3.4"));
    assert!(
        refusal(|list| list.revoked.push((vec![9], vec![unknown()]))).contains("critical extension 1.2.3.4")
    );
    let plan = Plan::good();
    let mut list = CrlPlan::of(1);
    list.extensions.push(extension(PRIVATE, false, &[5, 0]));
    assert!(
        judge(&plan, &[list.der(&plan)], CrlRule::WhenPresent).is_ok(),
        "one that is not critical is overlooked"
    );
}

#[test]
fn an_extension_of_a_list_that_is_there_twice_is_refused() {
    assert!(
        refusal(|list| list.extensions.push(extension(CRL_NUMBER, false, &[2, 1, 8])))
            .contains("no well-formed")
    );
}

#[test]
fn a_ca_that_may_not_sign_lists_has_none() {
    let mut plan = Plan::good();
    plan.model().params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let list = CrlPlan::of(1).der(&plan);
    let text = judge(&plan, &[list], CrlRule::WhenPresent)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("does not include signing such lists (cRLSign)"),
        "{text}"
    );
}

#[test]
fn a_list_of_another_vendor_is_passed_over() {
    let (plan, mut other) = (Plan::good(), Plan::good());
    other
        .model()
        .params
        .distinguished_name
        .push(DnType::CommonName, "Other model");
    let list = CrlPlan::of(1).der(&other);
    let leaf = judge(&plan, core::slice::from_ref(&list), CrlRule::WhenPresent).unwrap();
    assert!(!leaf.identity.revocation_checked);
    assert!(judge(&plan, &[list], CrlRule::Required).is_err());
}

#[test]
fn a_list_whose_issuer_is_written_in_another_encoding_is_not_passed_over() {
    let mut plan = Plan::good();
    let printable = DnValue::PrintableString("Vendor model".try_into().unwrap());
    plan.model()
        .params
        .distinguished_name
        .push(DnType::CommonName, printable);
    // The same words as a UTF8String, as rcgen writes them by default.
    let name = tlv(
        0x30,
        &tlv(
            0x31,
            &tlv(
                0x30,
                &[&tlv(6, &[0x55, 4, 3])[..], &tlv(0x0c, b"Vendor model")].concat(),
            ),
        ),
    );
    let list = CrlPlan::of(1).revoking(&plan, 2).der_named(&plan, &name);
    let text = judge(&plan, &[list], CrlRule::WhenPresent)
        .unwrap_err()
        .to_string();
    assert!(text.contains("was revoked"), "{text}");
}

#[test]
fn lists_too_many_or_too_long_are_refused_before_they_are_read() {
    let plan = Plan::good();
    let text = judge(&plan, &vec![Vec::new(); LISTS_MAX + 1], CrlRule::WhenPresent)
        .unwrap_err()
        .to_string();
    assert_eq!(text, "65 revocation lists are given, wanted at most 64");
    let text = judge(&plan, &[vec![0x30; SIZE_MAX + 1]], CrlRule::WhenPresent)
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "revocation list 0: it has 1048577 bytes, wanted at most 1048576"
    );
}

#[test]
fn a_long_list_is_read_to_its_end() {
    let plan = Plan::good();
    let mut list = CrlPlan::of(1);
    list.revoked = (0..4000u32)
        .map(|serial| (serial.to_be_bytes().to_vec(), vec![]))
        .collect();
    list.revoked
        .iter_mut()
        .for_each(|(serial, _)| serial.insert(0, 1));
    let list = list.revoking(&plan, 2).der(&plan);
    assert!(list.len() > 0x1_0000, "{}", list.len());
    let text = judge(&plan, &[list], CrlRule::WhenPresent)
        .unwrap_err()
        .to_string();
    assert!(text.contains("was revoked"), "{text}");
}

#[test]
fn a_list_is_good_in_its_first_second_and_in_its_last() {
    let plan = Plan::good();
    for (this_update, next_update) in [
        ("261120000000Z", "261201000000Z"),
        ("261101000000Z", "261120000000Z"),
    ] {
        let list = CrlPlan {
            this_update,
            next_update: Some(next_update),
            ..CrlPlan::of(1)
        };
        assert!(judge(&plan, &[list.der(&plan)], CrlRule::WhenPresent).is_ok());
    }
}
