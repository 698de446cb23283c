//! The configuration: what is taken, and in which words the rest is refused.

use guest_agent::config::{self, high};
use std::path::Path;
use tdisp::evidence::{CrlRule, Floor};

const EXAMPLE: &str = include_str!("../agent.example.toml");

fn refusal(text: &str) -> String {
    config::parse(Path::new("agent.toml"), text)
        .expect_err("was taken")
        .to_string()
}

/// The example with `line` put in place of the one that begins with `key`; its number.
fn with(key: &str, line: &str) -> (String, usize) {
    let number = EXAMPLE
        .lines()
        .position(|old| old.starts_with(key))
        .expect("no such line");
    let lines = EXAMPLE
        .lines()
        .enumerate()
        .map(|(n, old)| if n == number { line } else { old });
    (lines.collect::<Vec<_>>().join("\n"), number + 1)
}

#[test]
fn the_example_is_a_policy() {
    let config = config::parse(Path::new("agent.example.toml"), EXAMPLE).unwrap();
    let device = &config.devices[0];
    assert_eq!(
        (device.name.as_str(), device.lock.require, device.lock.forbid),
        ("net0", 1, 8)
    );
    assert_eq!(device.measurements.len(), 5);
    assert_eq!(device.measurements[&3], high::Expected::SvnMin(7));
    assert_eq!(config.time.not_before.unwrap().0, 1_793_491_200);
    assert!(config.is_platform("0000:00:1f.3".parse().unwrap()));
    assert!(config.is_platform("0000:01:00.0".parse().unwrap()));
    assert!(!config.is_platform("0000:01:00.1".parse().unwrap()));
}

#[test]
fn each_mistake_is_refused_with_its_line_what_was_found_and_what_is_known() {
    let digest = "1 = \"ab\"";
    for (key, line, wanted) in [
        (
            "timeout_ms",
            "timeout = 1",
            "unknown field `timeout`, expected one of `port`, `key`, `timeout_ms`",
        ),
        (
            "timeout_ms",
            "timeout_ms = \"1\"",
            "invalid type: string \"1\", expected u64",
        ),
        (
            "functions",
            "functions = [\"0000:*\"]",
            "`0000:*` is no address: wanted one like",
        ),
        ("functions", "functions = [\"*\"]", "`*` is no address"),
        (
            "functions",
            "functions = [\"0000:01:*\"]",
            "also named in [platform]",
        ),
        (
            "source",
            "source = \"ntp\"",
            "unknown variant `ntp`, expected `system` or `rtc`",
        ),
        ("not_before", "not_before = 10:00:00", "wanted a date"),
        (
            "sha384",
            "sha384 = \"00\"",
            "2 characters; wanted a SHA-384 digest: 96 hexadecimal digits",
        ),
        ("bdf", "bdf = \"01:00.1\"", "`01:00.1` is no address"),
        (
            "roots",
            "roots = [\"other\"]",
            "no [[root]] is named `other`; known: `example-nic-vendor`",
        ),
        (
            "crls",
            "crl_files = []",
            "unknown field `crl_files`, expected one of `name`, `sha384`, `crls`",
        ),
        (
            "crl =",
            "crl = \"always\"",
            "unknown variant `always`, expected `when-present` or `required`",
        ),
        (
            "crl =",
            "crl = \"required\"",
            "lists are required, and none of the device's roots names any",
        ),
        (
            "until_verdict",
            "until_verdict = \"direct\"",
            "unknown variant `direct`, expected `bounce` or `unbound`",
        ),
        (
            "on_refusal",
            "on_refusal = \"ignore\"",
            "expected one of `bounce`, `unbound`, `power-off`",
        ),
        ("required", "needed = true", "unknown field `needed`"),
        ("min_version", "min_version = \"1.1\"", "`1.1` is no floor"),
        (
            "signatures",
            "signatures = [\"ecdsa-p521\"]",
            "unknown signature algorithm `ecdsa-p521`, expected one of `rsassa-2048`",
        ),
        (
            "signatures",
            "signatures = [\"ml-dsa-65\"]",
            "`ml-dsa-65` is a post-quantum signature algorithm: it belongs in `post_quantum_signatures`",
        ),
        (
            "signatures",
            "signatures = []",
            "nothing is allowed, so that no device could be trusted: name one here, or in `post_quantum_signatures`",
        ),
        (
            "post_quantum_signatures",
            "post_quantum_signatures = [\"ml-dsa-65\", \"ml-dsa-66\"]",
            "unknown post-quantum signature algorithm `ml-dsa-66`, expected one of `ml-dsa-44`, `ml-dsa-65`, `ml-dsa-87`",
        ),
        (
            "post_quantum_signatures",
            "post_quantum_signatures = [\"ecdsa-p384\"]",
            "`ecdsa-p384` is a signature algorithm: it belongs in `signatures`",
        ),
        (
            "post_quantum_signatures",
            "post_quantum_signatures = \"ml-dsa-65\"",
            "invalid type: string \"ml-dsa-65\", expected a sequence",
        ),
        (
            "post_quantum_signatures",
            "pqc_signatures = []",
            "unknown field `pqc_signatures`, expected one of `min_version`, `signatures`, `post_quantum_signatures`, `groups`, `kems`",
        ),
        (
            "groups",
            "groups = [\"\"]",
            "unknown key exchange group ``, expected one of `secp256r1`, `secp384r1`",
        ),
        (
            "groups",
            "groups = []",
            "nothing is allowed, so that no device could be trusted: name one here, or in `kems`",
        ),
        (
            "kems",
            "kems = [\"ML-KEM-768\"]",
            "unknown key encapsulation mechanism `ML-KEM-768`, expected one of `ml-kem-512`, `ml-kem-768`, `ml-kem-1024`",
        ),
        (
            "kems",
            "kems = [\"secp384r1\"]",
            "`secp384r1` is a key exchange group: it belongs in `groups`",
        ),
        ("1 = ", digest, "2 characters; wanted a SHA-384 digest"),
        ("1 = ", "1 = []", "an empty list allows nothing"),
        (
            "1 = ",
            "0 = \"any\"",
            "unknown key `0`, expected a measurement index from 1 to 254, or `unlisted`",
        ),
        ("1 = ", "one = \"any\"", "unknown key `one`"),
        (
            "1 = ",
            "1 = { svn = 3 }",
            "unknown field `svn`, expected `svn_min` or `mode`",
        ),
        ("1 = ", "1 = { }", "wanted exactly one of `svn_min` and `mode`"),
        (
            "unlisted",
            "unlisted = \"accept\"",
            "unknown variant `accept`, expected `refuse` or `ignore`",
        ),
        (
            "require = ",
            "require = [\"no-update\"]",
            "unknown lock flag `no-update`, expected one of `no-fw-update`",
        ),
        (
            "forbid",
            "forbid = [\"no-fw-update\"]",
            "`no-fw-update` is both required and forbidden",
        ),
        ("max_ranges", "max_ranges = -1", "expected usize"),
        (
            "mode",
            "mode = \"auto\"",
            "unknown variant `auto`, expected `native` or `generic`",
        ),
        ("protocol", "protocol = \"xtp\"", "`xtp` is no protocol"),
        (
            "destination_ports",
            "destination_ports = \"9-1\"",
            "`9-1` is no range of ports",
        ),
        (
            "destination_ports",
            "destination = \"10.0.0.1/8\"",
            "address bits beyond its prefix",
        ),
        (
            "destination_ports",
            "destination_prots = 9",
            "unknown field `destination_prots`",
        ),
    ] {
        let (text, number) = with(key, line);
        let message = refusal(&text);
        assert!(message.contains(wanted), "{line}: {message}");
        if !line.is_empty() && !message.contains("platform") {
            assert!(
                message.starts_with(&format!("agent.toml:{number}: ")),
                "{line}: {message}"
            );
        }
    }
}

/// The example with these lines in the place of its lists.
fn listing(lists: &str) -> String {
    let listed = ["signatures", "post_quantum_signatures", "groups", "kems"];
    let others = EXAMPLE
        .lines()
        .filter(|line| !listed.iter().any(|key| line.starts_with(key)));
    let text = others.collect::<Vec<_>>().join("\n");
    text.replace("min_version", &format!("{lists}\nmin_version"))
}

/// Its floor.
fn floor(lists: &str) -> Floor {
    let config = config::parse(Path::new("agent.toml"), &listing(lists)).expect("was refused");
    config.devices[0].floor
}

#[test]
fn what_may_be_negotiated_is_what_the_lists_name_and_without_them_nothing_post_quantum() {
    let usual = Floor::default();
    let example = config::parse(Path::new("agent.toml"), EXAMPLE).unwrap();
    assert_eq!((example.devices[0].floor, floor("")), (usual, usual));
    assert_eq!((usual.pqc_asym, usual.kem), (0, 0));
    let both = "post_quantum_signatures = [\"ml-dsa-65\", \"ml-dsa-87\"]\nkems = [\"ml-kem-1024\"]";
    let more = Floor {
        pqc_asym: 6,
        kem: 4,
        ..usual
    };
    assert_eq!(floor(both), more);
    let alone = Floor { dhe: 0, ..more };
    assert_eq!(floor(&format!("{both}\ngroups = []")), alone);
    let others = "signatures = [\"ecdsa-p256\", \"rsapss-3072\"]\ngroups = [\"secp256r1\", \"secp384r1\"]";
    let other = Floor {
        asym: 0x18,
        dhe: 0x18,
        ..usual
    };
    assert_eq!(floor(others), other);
}

#[test]
fn post_quantum_signatures_alone_are_a_policy_for_an_agent_that_verifies_them() {
    let alone = "signatures = []\npost_quantum_signatures = [\"ml-dsa-65\"]";
    if cfg!(feature = "post-quantum") {
        assert_eq!((floor(alone).asym, floor(alone).pqc_asym), (0, 2));
    } else {
        let message = refusal(&listing(alone));
        assert!(
            message.contains("build it with the feature `post-quantum`"),
            "{message}"
        );
    }
}

#[test]
fn a_policy_that_any_firmware_meets_is_refused() {
    let digest = "1".repeat(96);
    let text = EXAMPLE
        .replace(&format!("\"{digest}\""), "\"any\"")
        .replace("2 = [", "#")
        .replace("3 = {", "#")
        .replace("254 = {", "#");
    assert!(
        refusal(&text).contains("any firmware would be trusted"),
        "{}",
        refusal(&text)
    );
}

#[test]
fn a_device_without_a_root_is_refused() {
    let (text, _) = with("roots", "roots = []");
    assert!(refusal(&text).contains("a chain that ends anywhere proves nothing"));
}

#[test]
fn a_root_names_the_files_with_its_revocation_lists() {
    let (text, _) = with(
        "crls",
        "crls = [\"/etc/tidelock/b.crl\", \"/etc/tidelock/a.crl\"]",
    );
    let text = text.replace("crl = \"when-present\"", "crl = \"required\"");
    let config = config::parse(Path::new("agent.toml"), &text).unwrap();
    let device = &config.devices[0];
    assert_eq!(device.crl, CrlRule::Required);
    let named: Vec<_> = device.crls.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(named, ["/etc/tidelock/a.crl", "/etc/tidelock/b.crl"]);
    let without = EXAMPLE
        .replace("crl = \"when-present\"", "")
        .replace("crls = []", "");
    let config = config::parse(Path::new("agent.toml"), &without).unwrap();
    assert_eq!(
        (config.devices[0].crl, config.devices[0].crls.len()),
        (CrlRule::WhenPresent, 0)
    );
}

#[test]
fn two_devices_at_one_address_are_refused() {
    let device = EXAMPLE.split("[[device]]").nth(1).unwrap();
    let text = format!("{EXAMPLE}\n[[device]]{}", device.replace("net0", "net1"));
    assert!(refusal(&text).contains("this address is given twice"));
}

#[test]
fn a_missing_file_is_named_with_what_to_do() {
    let message = config::load(Path::new("/nowhere/agent.toml"))
        .expect_err("was taken")
        .to_string();
    assert!(
        message.starts_with("/nowhere/agent.toml: cannot be read"),
        "{message}"
    );
    assert!(message.contains("--config"), "{message}");
}
