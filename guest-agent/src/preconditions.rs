//! What must hold before a device is looked at: nothing outside the policy has decided already.

use crate::config::high::Device;
use crate::error::{Fault, Refusal, Step};
use crate::platform::{Path, Platform};
use crate::status::Past;

/// Checks that the boot so far has left the decision to the agent.
pub fn check(device: &Device, past: &Past, platform: &dyn Platform) -> Result<(), Refusal> {
    let step = Step::Preconditions;
    let refused = |fault, message: String| Err(Refusal::new(step, fault, message));
    let platform_error = |error| Refusal::platform(step, &error);
    if !platform
        .functions()
        .map_err(platform_error)?
        .contains(&device.bdf)
    {
        return refused(
            Fault::Host,
            format!(
                "there is no function at {}; wanted the device; let the host attach it, or take it out of the policy",
                device.bdf
            ),
        );
    }
    if let Some(word) = weakening(&platform.command_line().map_err(platform_error)?) {
        return refused(
            Fault::Host,
            format!(
                "the kernel's command line has `{word}`, which takes the decision away from the policy; wanted it without; boot the measured command line"
            ),
        );
    }
    let Some(isolated) = &past.isolated else {
        return refused(
            Fault::Guest,
            "nothing shows that the device had no driver before; wanted the record of `tidelock-agent isolate` of this boot; run it in the initramfs before any module is loaded".to_owned(),
        );
    };
    if let Some(tainted) = isolated
        .tainted
        .iter()
        .find(|tainted| tainted.bdf == device.bdf.to_string())
    {
        return refused(
            Fault::Guest,
            format!(
                "ALERT: driver {} had the device before the agent could isolate it; wanted no driver before the verdict; run `tidelock-agent isolate` before any module is loaded, and reboot",
                tainted.driver
            ),
        );
    }
    if past.accepted.contains(&device.bdf.to_string()) {
        // An agent before this one gave it the direct path, and ended without taking it back. It is taken back now.
        return Ok(());
    }
    let driver = platform.driver(device.bdf).map_err(platform_error)?;
    match driver {
        Some(driver) if platform.path(device.bdf).map_err(platform_error)? == Path::Direct => refused(
            Fault::Guest,
            format!(
                "ALERT: driver {driver} has the device with direct access and no verdict; wanted bounce buffers or no driver; find what bound it, and reboot"
            ),
        ),
        _ => Ok(()),
    }
}

/// A word of the kernel's command line that trusts devices by itself, or takes the IOMMU out of the way.
fn weakening(command_line: &str) -> Option<&str> {
    let weak = |word: &&str| {
        // As the kernel reads it: without quotes, and with dashes for underscores in the key.
        let plain = word.replace('"', "");
        let (key, value) = plain.split_once('=').unwrap_or((&plain, ""));
        match key.replace('-', "_").as_str() {
            "iommu" => value.split(',').any(|part| matches!(part, "pt" | "off")),
            "iommu.passthrough" => value != "0",
            "intel_iommu" | "amd_iommu" => value.split(',').any(|part| part == "off"),
            key => key.ends_with(".trust") && value != "none",
        }
    };
    command_line.split_whitespace().find(weak)
}

#[cfg(test)]
mod tests {
    use super::weakening;

    #[test]
    fn words_that_trust_devices_by_themselves_are_found() {
        for word in [
            "virtio_net.trust=tcb",
            "nvme.trust=auto",
            "iommu=pt",
            "iommu.passthrough=1",
            "intel_iommu=off",
            "intel-iommu=off",
            "\"iommu=pt\"",
            "iommu=\"pt\"",
            "virtio-net.trust=\"tcb\"",
        ] {
            assert_eq!(weakening(&format!("quiet {word} panic=-1")), Some(word));
        }
        assert_eq!(
            weakening("swiotlb=force intel_iommu=on iommu=strict nvme.trust=none root=/dev/vda"),
            None
        );
    }
}
