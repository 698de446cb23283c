//! A report for people.

use super::{DeviceReport, Path, Report, Verdict};
use core::fmt;

/// Prints a report.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a Report);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for device in &self.0.devices {
            one(device, f)?;
        }
        Ok(())
    }
}

fn one(device: &DeviceReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let verdict = match device.verdict {
        Verdict::Pending => "pending",
        Verdict::Accepted => "accepted",
        Verdict::Refused => "refused",
    };
    let path = match device.path {
        Path::Direct => "direct",
        Path::Bounce => "through bounce buffers",
        Path::None => "no transfers",
    };
    writeln!(f, "{} ({}): {verdict}, {path}", device.name, device.bdf)?;
    if !device.reason.is_empty() {
        writeln!(f, "  why: {}", device.reason)?;
    }
    if let Some(evidence) = &device.evidence {
        writeln!(
            f,
            "  evidence: {}, root {}, SPDM {} with {}",
            evidence.subject,
            evidence.root,
            evidence.spdm,
            evidence.algorithms.join(", ")
        )?;
        for measurement in &evidence.measurements {
            writeln!(f, "    measurement {}: {}", measurement.index, measurement.value)?;
        }
        writeln!(
            f,
            "    lock {}: {}",
            evidence.generation,
            evidence.lock_flags.join(", ")
        )?;
    }
    if let Some(xdp) = &device.xdp {
        writeln!(
            f,
            "  xdp: {}, {} passed, {} dropped",
            xdp.mode, xdp.passed, xdp.dropped
        )?;
    }
    Ok(())
}
