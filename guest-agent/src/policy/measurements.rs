//! Measurements against reference values.

use super::Finding;
use crate::config::high::{Device, DeviceMode, Expected, SHA384_SIZE, Unlisted};
use std::collections::BTreeSet;
use tdisp::evidence::Measurement;
use tdisp::spdm::msg::measurements::Kind;
use tdisp::wire::{DecodeError, Reader};

pub(super) fn judge(measurements: &[Measurement], device: &Device, findings: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    for measurement in measurements {
        let index = measurement.index;
        if !seen.insert(index) {
            findings.push(Finding::new(
                format!("measurement {index} is there twice"),
                "each index once",
                "do not use this device; its firmware is faulty or lies",
            ));
        }
        match device.measurements.get(&index) {
            Some(expected) => findings.extend(compare(measurement, expected)),
            None if device.unlisted == Unlisted::Ignore => {}
            None => findings.push(Finding::new(
                format!(
                    "measurement {index} ({}) is {}",
                    measurement.kind,
                    shown(&measurement.value)
                ),
                "no measurement that it does not list",
                format!(
                    "if it may be there, add `{index} = …` to [device.measurements] of {}",
                    device.name
                ),
            )),
        }
    }
    for index in device.measurements.keys().filter(|index| !seen.contains(index)) {
        if device.measurements.get(index) != Some(&Expected::Any) {
            findings.push(Finding::new(
                format!("measurement {index} is missing"),
                "it with its reference value",
                "update the device's firmware, or the policy if this device has no such measurement",
            ));
        }
    }
}

fn compare(measurement: &Measurement, expected: &Expected) -> Option<Finding> {
    match expected {
        Expected::Digest(digests) => compare_digest(measurement, digests),
        Expected::SvnMin(minimum) => compare_svn(measurement, *minimum),
        Expected::Mode(DeviceMode::Operational) => compare_mode(measurement),
        Expected::Any => None,
    }
}

fn compare_digest(measurement: &Measurement, digests: &[[u8; SHA384_SIZE]]) -> Option<Finding> {
    let index = measurement.index;
    let wanted = digests
        .iter()
        .map(|digest| hex(digest))
        .collect::<Vec<_>>()
        .join(" or ");
    if measurement.raw {
        // A raw value whose bytes happen to be a digest's would pass for it.
        return Some(Finding::new(
            format!(
                "measurement {index} ({}) is raw data: {}",
                measurement.kind,
                shown(&measurement.value)
            ),
            format!("the digest {wanted}"),
            "ask for digests, or do not use this device",
        ));
    }
    let matches = digests.iter().any(|digest| digest[..] == measurement.value[..]);
    (!matches).then(|| {
        Finding::new(
            format!("measurement {index} ({}) is {}", measurement.kind, hex(&measurement.value)),
            wanted,
            "update the device's firmware to the reference version; if this firmware is meant to be trusted, add its digest to the policy",
        )
    })
}

fn compare_svn(measurement: &Measurement, minimum: u64) -> Option<Finding> {
    let index = measurement.index;
    let wanted = format!("a security version number of at least {minimum}");
    let svn = Reader::all(&measurement.value, |r| r.u64("security version number")).ok();
    match svn.filter(|_| measurement.raw && measurement.kind == Kind::FIRMWARE_SECURITY_VERSION) {
        Some(svn) if svn >= minimum => None,
        Some(svn) => Some(Finding::new(
            format!("the firmware's security version number (measurement {index}) is {svn}"),
            wanted,
            "update the device's firmware",
        )),
        None => Some(Finding::new(
            format!(
                "measurement {index} ({}) is no security version number: {}",
                measurement.kind,
                shown(&measurement.value)
            ),
            wanted,
            "see which index the vendor gives it, and correct the policy",
        )),
    }
}

/// The device mode field (DSP0274, "Device mode field of a measurement block"): what can be, and is, of two kinds.
struct ModeField {
    operational: u32,
    device: u32,
}

/// Operational mode state, bit 2: normal operation.
const NORMAL_OPERATION: u32 = 1 << 2;

impl ModeField {
    fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        Reader::all(value, |r| {
            r.u32("operational mode capabilities")?;
            let operational = r.u32("operational mode state")?;
            r.u32("device mode capabilities")?;
            Ok(Self {
                operational,
                device: r.u32("device mode state")?,
            })
        })
    }
}

fn compare_mode(measurement: &Measurement) -> Option<Finding> {
    let index = measurement.index;
    let wanted = "normal operation, and no debugging now or since manufacturing";
    let mode = ModeField::decode(&measurement.value).ok();
    let found = match mode.filter(|_| measurement.raw && measurement.kind == Kind::DEVICE_MODE) {
        Some(ModeField {
            operational: NORMAL_OPERATION,
            device: 0,
        }) => return None,
        Some(ModeField {
            operational: NORMAL_OPERATION,
            device,
        }) => {
            format!(
                "the device mode (measurement {index}) says that debugging is or was active ({device:#x})"
            )
        }
        Some(ModeField { operational, .. }) => {
            format!(
                "the device mode (measurement {index}) is not normal operation but {}",
                operational_mode(operational)
            )
        }
        None => format!(
            "measurement {index} ({}) is no device mode: {}",
            measurement.kind,
            shown(&measurement.value)
        ),
    };
    Some(Finding::new(
        found,
        wanted,
        "take the device out of debug or recovery mode, or do not use it",
    ))
}

fn operational_mode(state: u32) -> String {
    let names = [
        "manufacturing",
        "validation",
        "normal operation",
        "recovery",
        "return to the manufacturer",
        "decommissioned",
    ];
    let set = names
        .iter()
        .enumerate()
        .filter(|(bit, _)| state >> bit & 1 == 1)
        .map(|(_, name)| *name);
    match set.collect::<Vec<_>>()[..] {
        [] => format!("unknown ({state:#x})"),
        ref names => names.join(" and "),
    }
}

/// Hexadecimal, cut where nobody reads on.
fn shown(value: &[u8]) -> String {
    match value.get(..SHOWN_MAX) {
        Some(start) if value.len() > SHOWN_MAX => format!("{}… ({} bytes)", hex(start), value.len()),
        _ => hex(value),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const SHOWN_MAX: usize = 64;
