//! The guest's own judgement: verified evidence against the policy's rules. Pure.
//!
//! ```text
//!   Verified + what the guest sees ──► appraise(policy) ──► Accepted     every rule holds
//!                                                      └──► Rejection    each rule that does not, in plain words
//! ```
//! [`Accepted`] has no other constructor, and is not `Clone`: one verdict, one acceptance.

mod lock;
mod measurements;
mod mmio;

pub(crate) use lock::flag_names;
pub(crate) use measurements::hex;

use crate::config::high::Device;
use crate::platform::{Bar, Translation};
use core::fmt;
use core::ops::Range;
use sriov::Bdf;
use tdisp::evidence::Verified;

/// What the guest sees of the function by itself, to compare with what the device reports.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Its memory regions.
    pub bars: Vec<Bar>,
    /// The guest's memory.
    pub memory: Vec<Range<u64>>,
    /// What its configuration says about address translation.
    pub translation: Translation,
}

/// A device that the policy accepts. Only [`appraise`] makes one, and only [`accept`](crate::accept) uses it.
#[derive(Debug)]
pub struct Accepted {
    verified: Verified,
    bdf: Bdf,
    placements: Vec<Placement>,
}

/// Where a range of the report is in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The range's id: its BAR.
    pub range_id: u16,
    /// Guest-physical address of its first byte.
    pub gpa: u64,
    /// Pages of 4 KiB.
    pub pages: u64,
}

/// A device that the policy does not accept.
#[derive(Debug)]
pub struct Rejection {
    /// What was verified all the same.
    pub verified: Box<Verified>,
    /// The rules that do not hold; at least one.
    pub findings: Vec<Finding>,
}

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub found: String,
    /// What the policy wants.
    pub wanted: String,
    /// What a person can do.
    pub cure: String,
}

impl Finding {
    fn new(found: impl Into<String>, wanted: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            wanted: wanted.into(),
            cure: cure.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; the policy wants {}; {}",
            self.found, self.wanted, self.cure
        )
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.findings.iter().enumerate() {
            let separator = if n == 0 { "" } else { " | " };
            write!(f, "{separator}{finding}")?;
        }
        Ok(())
    }
}

/// Judges verified evidence.
pub fn appraise(verified: Verified, device: &Device, seen: &Seen) -> Result<Accepted, Rejection> {
    let mut findings = Vec::new();
    measurements::judge(verified.measurements(), device, &mut findings);
    lock::judge(
        verified.lock().flags,
        verified.report().info,
        &device.lock,
        &mut findings,
    );
    mmio::judge_translation(
        verified.report().info,
        seen.translation,
        &device.mmio,
        &mut findings,
    );
    let placements = mmio::place(&verified.report().ranges, seen, &device.mmio, &mut findings);
    match findings.is_empty() {
        true => Ok(Accepted {
            verified,
            bdf: device.bdf,
            placements,
        }),
        false => Err(Rejection {
            verified: Box::new(verified),
            findings,
        }),
    }
}

impl Accepted {
    /// The evidence.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The function.
    pub fn bdf(&self) -> Bdf {
        self.bdf
    }

    /// Where its ranges are.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }
}
