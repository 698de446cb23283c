//! The interface report against what the guest sees: each memory range in its place, whole, private and alone.
//!
//! The report's addresses are shifted by an offset that only the host's side knows, so the guest takes the address from
//! its own BAR and the size from the report. That is sound only where one range is one whole BAR: anything else is
//! refused. That the host has really mapped that range there is the TSM's to check, in ValidateMmio.

use super::{Finding, Placement, Seen};
use crate::config::high::Mmio;
use crate::platform::{Bar, Translation};
use core::ops::Range as Span;
use std::collections::BTreeMap;
use tdisp::tdi::report::{Attributes, Info, Range};

/// The device's word on address translation, its configuration's, and the policy's.
pub(super) fn judge_translation(info: Info, seen: Translation, rules: &Mmio, findings: &mut Vec<Finding>) {
    for (name, bit, seen, allowed) in [
        (
            "address translation (ATS)",
            Info::ATS,
            seen.ats,
            rules.translation,
        ),
        ("page requests (PRS)", Info::PRS, seen.prs, rules.translation),
        ("DMA with PASID", Info::DMA_WITH_PASID, seen.pasid, rules.pasid),
    ] {
        let reported = info.contains(bit);
        let word = |on: bool| if on { "on" } else { "off" };
        if reported != seen {
            findings.push(Finding::new(
                format!(
                    "the device reports {name} {}, its configuration says {}",
                    word(reported),
                    word(seen)
                ),
                "both to say the same",
                "the host may have changed the configuration after the lock: bind the device anew",
            ));
        }
        if (reported || seen) && !allowed {
            findings.push(Finding::new(
                format!("the device uses {name}"),
                "it off",
                "turn it off before the lock, or allow it in [device.mmio]",
            ));
        }
    }
}

/// Where each range of the report is in the guest; what does not fit is a finding.
pub(super) fn place(
    ranges: &[Range],
    seen: &Seen,
    rules: &Mmio,
    findings: &mut Vec<Finding>,
) -> Vec<Placement> {
    if ranges.len() > rules.max_ranges {
        findings.push(Finding::new(
            format!("the report lists {} memory ranges", ranges.len()),
            format!("at most {}", rules.max_ranges),
            "raise max_ranges in [device.mmio] if the device is made so",
        ));
    }
    let mut by_bar: BTreeMap<u16, Vec<&Range>> = BTreeMap::new();
    ranges
        .iter()
        .for_each(|range| by_bar.entry(range.id).or_default().push(range));
    let mut placements = Vec::new();
    for (id, ranges) in &by_bar {
        let bar = seen.bars.iter().find(|bar| u16::from(bar.index) == *id);
        match (bar, &ranges[..]) {
            (Some(bar), [range]) => placements.extend(place_one(bar, range, seen, rules, findings)),
            (Some(bar), several) => findings.push(Finding::new(
                format!("the report has {} ranges with id {}", several.len(), bar.index),
                "each id once: one range for a whole BAR",
                "the guest cannot tell such ranges apart; use a device or firmware that reports whole BARs",
            )),
            (None, _) => findings.push(Finding::new(
                format!("the report has a range for BAR {id}, which the guest does not see"),
                format!("ranges of {}", bars(seen)),
                "let the host pass the whole function through",
            )),
        }
    }
    let unreported =
        |bar: &&Bar| !by_bar.contains_key(&bar.index.into()) && !rules.unreported_bars.contains(&bar.index);
    findings.extend(seen.bars.iter().filter(unreported).map(|bar| {
        Finding::new(
            format!("BAR {} is not in the report", bar.index),
            "every BAR reported, so that none is left to the host",
            "if the driver can do without its protection, add it to unreported_bars in [device.mmio]",
        )
    }));
    placements
}

fn place_one(
    bar: &Bar,
    range: &Range,
    seen: &Seen,
    rules: &Mmio,
    findings: &mut Vec<Finding>,
) -> Option<Placement> {
    let before = findings.len();
    let index = bar.index;
    if range.size() != bar.size {
        findings.push(Finding::new(
            format!(
                "the report covers {:#x} bytes of BAR {index}, the guest sees {:#x}",
                range.size(),
                bar.size
            ),
            "all of the BAR",
            "the host shows another size than the device has: bind the device anew",
        ));
    }
    if !bar.base.is_multiple_of(PAGE) || bar.base == 0 {
        findings.push(Finding::new(
            format!("BAR {index} is at {:#x}", bar.base),
            "the start of a page",
            "let the virtual machine place it so",
        ));
    }
    let span = bar.base..bar.base.saturating_add(bar.size);
    if let Some(memory) = seen.memory.iter().find(|memory| overlap(memory, &span)) {
        findings.push(Finding::new(
            format!(
                "BAR {index} at {:#x} lies in the guest's memory {:#x}-{:#x}",
                bar.base, memory.start, memory.end
            ),
            "device memory outside the guest's own",
            "the host placed it there on purpose or by mistake: do not use this machine",
        ));
    }
    if let Some(other) = seen
        .bars
        .iter()
        .find(|other| other.index != index && overlap(&span_of(other), &span))
    {
        findings.push(Finding::new(
            format!(
                "BAR {index} and BAR {} overlap at {:#x}",
                other.index,
                bar.base.max(other.base)
            ),
            "each BAR on its own",
            "let the virtual machine place them so",
        ));
    }
    let open = [
        (Attributes::NON_TEE, "is not protected"),
        (Attributes::UPDATABLE, "can be made unprotected"),
    ];
    for (_, what) in open
        .iter()
        .filter(|(bit, _)| range.attributes.contains(*bit) && !rules.non_tee_bars.contains(&index))
    {
        findings.push(Finding::new(
            format!("the memory of BAR {index} {what} (non-TEE)"),
            "it private to the guest",
            "if the driver keeps no secrets there, add the BAR to non_tee_bars in [device.mmio]",
        ));
    }
    let fits = findings.len() == before;
    fits.then(|| Placement {
        range_id: range.id,
        gpa: bar.base,
        pages: range.pages.into(),
    })
}

fn bars(seen: &Seen) -> String {
    let indices: Vec<_> = seen.bars.iter().map(|bar| format!("BAR {}", bar.index)).collect();
    if indices.is_empty() {
        "no BAR".to_owned()
    } else {
        indices.join(", ")
    }
}

fn span_of(bar: &Bar) -> Span<u64> {
    bar.base..bar.base.saturating_add(bar.size)
}

fn overlap(a: &Span<u64>, b: &Span<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

const PAGE: u64 = 4096;
