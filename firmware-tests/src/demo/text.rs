//! The report for the terminal. Colours are ANSI; the stream strips them where it is no terminal.

use super::html::{Span, counted};
use super::report::{Device, Path, Report, Verdict};
use std::io::{self, Write};

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Writes the whole report.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    writeln!(out, "\n{BOLD}Steps{PLAIN}")?;
    for step in &report.steps {
        writeln!(
            out,
            "  {:>9}  {:<52} {DIM}{}{PLAIN}",
            Span(step.ms).to_string(),
            step.name,
            step.actor.name()
        )?;
    }
    for device in &report.devices {
        device_lines(out, device)?;
    }
    writeln!(out, "\n{}", super::ABOUT_FIGURES)?;
    writeln!(out, "\n{BOLD}Emulated{PLAIN}")?;
    report
        .emulated
        .iter()
        .try_for_each(|item| writeln!(out, "  {item}"))?;
    match report.failures.as_slice() {
        [] => writeln!(
            out,
            "\n{GREEN}Every step went as it should{PLAIN} in {:.1} s.",
            report.total_ms / 1000.0
        ),
        failures => {
            writeln!(out, "\n{RED}The run failed:{PLAIN}")?;
            failures
                .iter()
                .try_for_each(|failure| writeln!(out, "  {failure}"))
        }
    }
}

fn device_lines(out: &mut dyn Write, device: &Device) -> io::Result<()> {
    let (colour, verdict) = match device.verdict {
        Verdict::Accepted => (GREEN, "accepted"),
        Verdict::Refused => (RED, "refused"),
    };
    writeln!(
        out,
        "\n{BOLD}Function {}{PLAIN} ({})  {colour}{verdict}{PLAIN}",
        device.function, device.bdf
    )?;
    writeln!(out, "  reason   {}", device.reason.replace('\n', "\n           "))?;
    let after = match device.path {
        Path::Direct => "direct",
        Path::Bounce => "bounced",
        Path::None => "no driver",
    };
    write!(
        out,
        "  received {:.1} MiB/s bounced → {:.1} MiB/s {after}",
        device.mib_s_before, device.mib_s_after
    )?;
    match device.ratio() {
        Some(ratio) => writeln!(out, " ({ratio:.2}×)")?,
        None => writeln!(out)?,
    }
    let (before, now) = (device.sent_mib_s_before, device.sent_mib_s_after);
    writeln!(
        out,
        "  sent     {before:.1} MiB/s bounced → {now:.1} MiB/s {after}"
    )?;
    writeln!(
        out,
        "  bounces  {} → {} events",
        device.bounce_events_before, device.bounce_events_after
    )?;
    match &device.xdp {
        Some(xdp) => {
            writeln!(
                out,
                "  XDP      {} mode, {} packets passed, {} dropped",
                xdp.mode, xdp.passed, xdp.dropped
            )?;
        }
        None => writeln!(out, "  XDP      not attached")?,
    }
    writeln!(
        out,
        "  gate     {} refused",
        counted(device.dma_refused, "access", "accesses")
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{accepted, refused};
    use super::*;

    #[test]
    fn the_text_says_each_verdict_its_reason_and_the_ratio() {
        let report = Report {
            versions: Default::default(),
            steps: vec![],
            devices: vec![accepted(), refused()],
            emulated: vec!["the TSM".into()],
            real: vec![],
            total_ms: 1000.0,
            failures: vec![],
        };
        let mut out = Vec::new();
        write(&mut out, &report).unwrap();
        let text = String::from_utf8(out).unwrap();
        for shown in [
            "accepted",
            "refused",
            "measurement 18",
            "(1.50×)",
            "1200 → 0 events",
            "Every step",
        ] {
            assert!(text.contains(shown), "{shown} in {text}");
        }
    }
}
