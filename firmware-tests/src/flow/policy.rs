//! The guest's policy file for the emulated device, written from the digests that `tidelock-device reference` prints.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What an honest device of one identity shows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reference {
    /// SHA-384 of the root certificate, in hex.
    pub root_sha384: String,
    /// Measurement index → SHA-384 in hex.
    pub measurements: BTreeMap<u8, String>,
}

/// The measurement index that is about one function alone.
pub fn personality_index(function: u8) -> u8 {
    16 + function
}

/// A strict policy for the given functions: everything that the device measures is pinned, one XDP rule drops UDP to `drop_port`.
pub fn strict(reference: &Reference, functions: &[u8], drop_port: u16) -> String {
    let mut out = String::from(HEAD);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "\n[[root]]\nname = \"example-nic-vendor\"\nsha384 = \"{}\"\n",
        reference.root_sha384
    );
    for function in functions {
        let _ = device(&mut out, reference, *function, drop_port);
    }
    out
}

const HEAD: &str = "\
[channel]
port = \"/dev/virtio-ports/org.tidelock.courier.0\"
key = \"/sys/firmware/qemu_fw_cfg/by_name/opt/tidelock/vm.key/raw\"
timeout_ms = 20000

[platform]
functions = [\"0000:00:*\", \"0000:01:00.0\"]

[time]
source = \"system\"
not_before = 2026-11-01
";

fn device(out: &mut String, reference: &Reference, function: u8, drop_port: u16) -> std::fmt::Result {
    let bdf = super::guest_bdf(function);
    writeln!(
        out,
        "\n[[device]]\nname = \"net{function}\"\nbdf = \"{bdf}\"\nroots = [\"example-nic-vendor\"]"
    )?;
    writeln!(
        out,
        "driver = \"virtio-pci\"\nuntil_verdict = \"bounce\"\non_refusal = \"bounce\"\nrequired = false"
    )?;
    writeln!(
        out,
        "\n[device.spdm]\nmin_version = \"1.2\"\n\n[device.measurements]"
    )?;
    for (index, digest) in &reference.measurements {
        match *index >= 16 && *index != personality_index(function) {
            true => writeln!(out, "{index} = \"any\"")?,
            false => writeln!(out, "{index} = \"{digest}\"")?,
        }
    }
    writeln!(
        out,
        "unlisted = \"refuse\"\n\n[device.lock]\nrequire = [\"no-fw-update\"]\nforbid = [\"bind-p2p\"]"
    )?;
    writeln!(
        out,
        "\n[device.xdp]\nmode = \"native\"\ndefault = \"pass\"\n\n[[device.xdp.rule]]"
    )?;
    writeln!(
        out,
        "action = \"drop\"\nprotocol = \"udp\"\ndestination_ports = \"{drop_port}\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> Reference {
        let digest = |byte: &str| byte.repeat(48);
        let measurements = BTreeMap::from([(1, digest("11")), (17, digest("aa")), (18, digest("bb"))]);
        Reference {
            root_sha384: digest("00"),
            measurements,
        }
    }

    #[test]
    fn each_function_pins_its_own_personality_and_leaves_its_siblings_open() {
        let policy: toml::Table = toml::from_str(&strict(&reference(), &[1, 2], 9)).unwrap();
        let devices = policy["device"].as_array().unwrap();
        assert_eq!(devices[0]["measurements"]["17"].as_str(), Some(&*"aa".repeat(48)));
        assert_eq!(devices[0]["measurements"]["18"].as_str(), Some("any"));
        assert_eq!(devices[1]["measurements"]["18"].as_str(), Some(&*"bb".repeat(48)));
        assert_eq!(devices[1]["measurements"]["1"].as_str(), Some(&*"11".repeat(48)));
    }
}
