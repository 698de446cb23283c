//! Cases 23 to 42: certificates and measurements against the policy.

use crate::known::OpenSsl;
use crate::world::{World, assert_refused, device::Device};
use tdisp::crypto::{CryptoError, ExchangeAlg, HashAlg, Ring, RingSigner, SignAlg, Signable, Signer};
use tdisp::spdm::msg::{Version, measurements::Kind};

#[test]
fn case_23_a_root_that_is_not_pinned_for_this_device_is_refused() {
    let mut world = World::honest();
    let root = world.host.0.borrow().devices.values().next().unwrap().root();
    world.replace(&root, &"ab".repeat(48));
    world.refused(&[
        "verify",
        "leads to the root",
        "CN=Example root",
        "not pinned for this device",
    ]);
}

#[test]
fn case_25_another_device_than_the_policy_names_is_refused() {
    let mut world = World::with_policy(
        "[device.xdp]",
        "[device.identity]\npci = \"1b36:7ee0\"\n[device.xdp]",
    );
    world.refused(&[
        "verify",
        "the device's certificate states the PCI ids nothing, wanted 1b36:7ee0",
    ]);
}

#[test]
fn case_29_a_clock_outside_the_validity_is_refused_and_never_skipped() {
    let mut world = World::honest();
    world.kernel.now += 400 * 86_400;
    world.refused(&["verify", "expired"]);
    let mut world = World::honest();
    world.kernel.now = 0;
    world.refused(&["clock", "the clock says 0", "before this image was made"]);
}

/// A world whose policy has these lists, each in its file, and this word on them.
fn with_lists(lists: &[Vec<u8>], crl: &str) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let files = lists.iter().enumerate().map(|(number, list)| {
        let path = folder.path().join(format!("{number}.crl"));
        std::fs::write(&path, list).unwrap();
        format!("{:?}", path.to_str().unwrap())
    });
    let files: Vec<_> = files.collect();
    let mut world = World::honest();
    world.replace(
        "\n[[device]]",
        &format!("crls = [{}]\n\n[[device]]", files.join(", ")),
    );
    world.replace("driver =", &format!("crl = {crl:?}\ndriver ="));
    (world, folder)
}

/// The list of the world's device's root, put into the file that the policy names.
fn give_list(world: &World, folder: &tempfile::TempDir, revoked: bool) {
    let list = world
        .host
        .0
        .borrow()
        .devices
        .values()
        .next()
        .unwrap()
        .revocation_list(revoked);
    std::fs::write(folder.path().join("0.crl"), list).unwrap();
}

#[test]
fn case_30_a_revoked_certificate_is_refused() {
    let (mut world, folder) = with_lists(&[vec![]], "when-present");
    give_list(&world, &folder, true);
    world.refused(&[
        "verify",
        "CN=Example NIC",
        "was revoked on Nov  2",
        "KeyCompromise",
    ]);
    give_list(&world, &folder, false);
    let accepted = world.accepted();
    assert!(accepted.evidence.unwrap().revocation_checked);
}

#[test]
fn case_31_a_list_that_is_out_of_date_from_the_future_or_damaged_is_refused() {
    let (mut world, folder) = with_lists(&[vec![]], "when-present");
    give_list(&world, &folder, false);
    world.kernel.now += 30 * 86_400;
    world.refused(&[
        "verify",
        "revocation list 0 (of CN=Example root)",
        "a newer one was due on Dec  1",
    ]);
    let (mut world, _folder) = with_lists(&[b"no list".to_vec()], "when-present");
    world.refused(&["verify", "revocation list 0", "no well-formed revocation list"]);
    let (mut world, _folder) = with_lists(&[b"-----BEGIN X509 CRL-----".to_vec()], "when-present");
    world.refused(&["verify", "text in PEM", "openssl crl -outform DER"]);
}

#[test]
fn case_31_a_list_of_another_root_of_the_same_name_is_refused() {
    let (mut world, folder) = with_lists(&[vec![]], "when-present");
    let other = World::honest();
    give_list(&other, &folder, false);
    world.refused(&[
        "verify",
        "its signature is not by the CA of the chain that bears its issuer's name",
    ]);
}

#[test]
fn case_33_without_the_list_that_the_policy_requires_the_device_is_refused() {
    let (mut world, folder) = with_lists(&[vec![]], "required");
    std::fs::remove_file(folder.path().join("0.crl")).unwrap();
    world.refused(&["verify", "0.crl: No such file", "put it there, or take it out"]);
    give_list(&world, &folder, false);
    world.accepted();
}

#[test]
fn case_34_a_version_below_the_floor_is_refused() {
    let mut world = World::with_policy(
        "[device.xdp]",
        "[device.spdm]\nmin_version = \"1.3\"\n[device.xdp]",
    );
    world.refused(&["verify", "SPDM 1.2, wanted at least 1.3"]);
}

/// Says that it has signed.
struct Unsigned;

impl Signer for Unsigned {
    fn algorithm(&self) -> SignAlg {
        SignAlg::MlDsa65
    }
    fn signs_with(&self, _: HashAlg) -> bool {
        true
    }
    fn sign(&self, _: &Signable<'_>) -> Result<Vec<u8>, CryptoError> {
        Ok(vec![0; SignAlg::MlDsa65.signature_size()])
    }
}

fn chain_by_openssl(name: &str) -> Vec<u8> {
    OpenSsl::read().issued(name).chain(Version::V1_4, HashAlg::Sha384)
}

#[test]
fn case_35_a_device_that_signs_with_ml_dsa_is_refused_without_what_verifies_it() {
    let chain = chain_by_openssl("ML-DSA-65");
    let mut world = World::of(Device::of_1_4(chain, Box::new(Unsigned), ExchangeAlg::EcdhP384));
    let refused = |world: &mut World, words: &[&str]| {
        let device = world.decide_with(&Ring, |agent| agent.report().devices[0].clone());
        assert_refused(&device, words);
        world.assert_nothing_enabled();
    };
    refused(
        &mut world,
        &[
            "verify",
            "the policy allows nothing post-quantum for this; list there what is welcome",
        ],
    );
    world.replace(
        "[device.xdp]",
        "[device.spdm]\npost_quantum_signatures = [\"ml-dsa-65\"]\n\n[device.xdp]",
    );
    refused(
        &mut world,
        &[
            "verify",
            "the device signs with ML-DSA-65 and SHA-384, and this program cannot verify that",
            "build it with the feature `post-quantum`, or have the device sign with a classical algorithm",
        ],
    );
}

#[test]
fn case_35_ml_kem_is_taken_where_the_policy_lists_it() {
    let key = OpenSsl::read().key("P384");
    let signer = || Box::new(RingSigner::from_pkcs8(SignAlg::EcdsaP384, &key.pkcs8).unwrap());
    let device = || {
        let chain = chain_by_openssl("ECDSA P384 Sha384");
        Device::of_1_4(chain, signer(), ExchangeAlg::MlKem768)
    };
    World::of(device()).refused(&[
        "verify",
        "the key encapsulation mechanism negotiated is ML-KEM-768, wanted P-384: the policy allows nothing post-quantum",
    ]);
    let mut world = World::of(device());
    world.replace(
        "[device.xdp]",
        "[device.spdm]\nkems = [\"ml-kem-768\"]\n\n[device.xdp]",
    );
    world.accepted();
}

#[test]
fn case_38_raw_bytes_in_a_digests_place_are_refused() {
    let mut world = World::with_device(|device| device.blocks[0].2 = true);
    world.refused(&[
        "appraise",
        "measurement 1 (FIRMWARE) is raw data",
        "the policy wants the digest 1111",
    ]);
}

#[test]
fn case_38_a_missing_measurement_is_refused() {
    let mut world = World::with_device(|device| drop(device.blocks.remove(1)));
    world.refused(&["appraise", "measurement 2 is missing"]);
}

#[test]
fn case_38_a_measurement_that_is_there_twice_is_refused() {
    let mut world = World::with_device(|device| device.blocks[1].0 = 1);
    world.refused(&["verify", "measurement index is 0x1, wanted 1 to 254, each once"]);
}

#[test]
fn case_38_another_digest_is_refused_with_both_and_what_to_do() {
    let mut world = World::with_device(|device| device.blocks[0].3[0] = 0x99);
    let device = world.refused(&[
        "appraise",
        "measurement 1 (FIRMWARE) is 9911",
        "the policy wants 1111",
        "update the device's firmware",
    ]);
    assert_eq!(
        device.evidence.unwrap().measurements[0].value,
        format!("99{}", "11".repeat(47))
    );
}

#[test]
fn case_39_an_unknown_measurement_is_the_policys_choice() {
    let with_more =
        || World::with_device(|device| device.blocks.push((9, Kind::FIRMWARE, false, vec![9; 48])));
    with_more().refused(&[
        "appraise",
        "measurement 9 (FIRMWARE) is 0909",
        "no measurement that it does not list",
        "add `9 = …`",
    ]);
    let mut ignored = with_more();
    ignored.replace("1 = \"1111", "unlisted = \"ignore\"\n1 = \"1111");
    assert_eq!(ignored.accepted().evidence.unwrap().measurements.len(), 5);
    let mut any = with_more();
    any.replace("1 = \"1111", "9 = \"any\"\n1 = \"1111");
    any.accepted();
}

#[test]
fn case_40_a_device_in_debug_or_recovery_mode_is_refused() {
    let mode = |at: usize, value: u8| World::with_device(move |device| device.blocks[3].3[at] = value);
    mode(12, 2).refused(&[
        "appraise",
        "debugging is or was active (0x2)",
        "take the device out of debug",
    ]);
    mode(4, 8).refused(&["appraise", "not normal operation but recovery"]);
    mode(4, 0x24).refused(&[
        "appraise",
        "not normal operation but normal operation and decommissioned",
    ]);
    World::with_device(|device| device.blocks[3].2 = false).refused(&["verify", "measurement 4"]);
    World::with_device(|device| device.blocks[3].1 = Kind::FIRMWARE)
        .refused(&["appraise", "is no device mode"]);
}

#[test]
fn case_41_firmware_below_the_security_version_floor_is_refused() {
    let mut world = World::with_policy("svn_min = 7", "svn_min = 8");
    world.refused(&[
        "appraise",
        "security version number (measurement 3) is 7",
        "at least 8",
        "update the device's firmware",
    ]);
    let mut world = World::with_device(|device| device.blocks[2].3.truncate(4));
    world.refused(&[
        "appraise",
        "measurement 3 (FIRMWARE_SECURITY_VERSION) is no security version number",
    ]);
}

#[test]
fn every_rule_that_does_not_hold_is_said() {
    let mut world = World::with_device(|device| {
        device.blocks[0].3[0] = 0x99;
        device.blocks[1].3[0] = 0x99;
    });
    world.refused(&["measurement 1", " | measurement 2"]);
}
