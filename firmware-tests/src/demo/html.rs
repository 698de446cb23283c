//! The report as one self-contained HTML page: no script, no font, no picture from anywhere else.
//!
//! Every string that came from a process is escaped by `Text`; numbers are formatted here.

use super::report::{Actor, Device, Path, Report, Step, Verdict};
use std::fmt::{self, Display, Formatter, Write};

/// Renders the whole page.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut out, report);
    out
}

fn write_page(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    )?;
    writeln!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
    )?;
    writeln!(out, "<title>Tidelock demo: {}</title>", headline(report))?;
    writeln!(out, "<style>{STYLE}</style></head><body><main>")?;
    header(out, report)?;
    devices(out, &report.devices)?;
    path_pictures(out, &report.devices)?;
    timeline(out, report)?;
    decisions(out, &report.devices)?;
    evidence(out, &report.devices)?;
    reality(out, report)?;
    versions(out, report)?;
    writeln!(out, "</main></body></html>")
}

fn headline(report: &Report) -> &'static str {
    if report.failures.is_empty() {
        "every step went as it should"
    } else {
        "the run failed"
    }
}

fn header(out: &mut String, report: &Report) -> fmt::Result {
    let class = if report.failures.is_empty() { "good" } else { "bad" };
    writeln!(
        out,
        "<header><h1>Tidelock <span class=\"{class}\">{}</span></h1>",
        headline(report)
    )?;
    writeln!(
        out,
        "<p class=\"lead\">A device earns its way into a confidential VM: {} in {:.1} s.</p></header>",
        verdict_count(&report.devices),
        report.total_ms / 1000.0
    )?;
    if !report.failures.is_empty() {
        writeln!(out, "<section class=\"failures\"><h2>What went wrong</h2><ul>")?;
        for failure in &report.failures {
            writeln!(out, "<li>{}</li>", Text(failure))?;
        }
        writeln!(out, "</ul></section>")?;
    }
    Ok(())
}

fn verdict_count(devices: &[Device]) -> String {
    let accepted = devices
        .iter()
        .filter(|device| device.verdict == Verdict::Accepted)
        .count();
    format!("{accepted} accepted, {} refused", devices.len() - accepted)
}

fn devices(out: &mut String, devices: &[Device]) -> fmt::Result {
    writeln!(out, "<section><h2>Verdicts</h2><div class=\"cards\">")?;
    devices.iter().try_for_each(|device| card(out, device))?;
    writeln!(out, "</div></section>")
}

fn card(out: &mut String, device: &Device) -> fmt::Result {
    let (class, verdict) = match device.verdict {
        Verdict::Accepted => ("good", "accepted"),
        Verdict::Refused => ("bad", "refused"),
    };
    writeln!(
        out,
        "<article class=\"card {class}\"><h3>Function {} <code>{}</code>",
        device.function,
        Text(&device.bdf)
    )?;
    writeln!(
        out,
        "<span class=\"tag\">{verdict}</span></h3><p class=\"reason\">{}</p><dl>",
        Text(&short(&device.reason))
    )?;
    row(out, "path", path_words(device.path))?;
    match &device.xdp {
        Some(xdp) => row(
            out,
            "XDP",
            &format!(
                "{} mode, {} packets passed, {} dropped",
                Text(&xdp.mode),
                xdp.passed,
                xdp.dropped
            ),
        )?,
        None => row(out, "XDP", "not attached")?,
    }
    row(
        out,
        "refused by the DMA gate",
        &counted(device.dma_refused, "access", "accesses"),
    )?;
    writeln!(out, "</dl></article>")
}

/// A count with its noun.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The text with each long number in hex cut to its beginning; the evidence below has them whole.
fn short(text: &str) -> String {
    const SHOWN: usize = 12;
    let mut out = String::new();
    let mut run = String::new();
    for char in text.chars().map(Some).chain([None]) {
        match char {
            Some(digit) if digit.is_ascii_hexdigit() => run.push(digit),
            other => {
                let cut = run.len() >= 32;
                out.push_str(if cut { &run[..SHOWN] } else { &run });
                out.push_str(if cut { "…" } else { "" });
                run.clear();
                out.extend(other);
            }
        }
    }
    out
}

fn path_words(path: Path) -> &'static str {
    match path {
        Path::Direct => "direct DMA",
        Path::Bounce => "bounce buffers",
        Path::None => "none: no driver bound",
    }
}

fn row(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "<dt>{name}</dt><dd>{value}</dd>")
}

fn path_pictures(out: &mut String, devices: &[Device]) -> fmt::Result {
    type Figure = fn(&Device) -> (f64, f64);
    let speeds: [(&str, Figure); 2] = [
        ("What the guest received, by TCP", |device| {
            (device.mib_s_before, device.mib_s_after)
        }),
        ("What the guest sent, by TCP", |device| {
            (device.sent_mib_s_before, device.sent_mib_s_after)
        }),
    ];
    writeln!(out, "<section><h2>Bounce or direct</h2><div class=\"charts\">")?;
    let events = |device: &Device| {
        (
            device.bounce_events_before as f64,
            device.bounce_events_after as f64,
        )
    };
    chart(
        out,
        "Bounce events while it ran",
        &pairs(devices, events, |value, _| format!("{value:.0} events")),
    )?;
    for (title, figure) in speeds {
        chart(
            out,
            title,
            &pairs(devices, figure, |value, path| format!("{value:.1} MiB/s {path}")),
        )?;
    }
    writeln!(
        out,
        "</div><p class=\"note\">Upper bar: before the verdict. Lower bar: after it. Bounce events are counted by the "
    )?;
    writeln!(
        out,
        "guest kernel's tracepoint for that device alone. {}</p></section>",
        Text(super::ABOUT_FIGURES)
    )
}

fn pairs(
    devices: &[Device],
    figure: impl Fn(&Device) -> (f64, f64),
    words: impl Fn(f64, &str) -> String,
) -> Vec<Pair> {
    let pair = |device: &Device| {
        let ((before, after), direct) = (figure(device), device.path == Path::Direct);
        Pair {
            label: format!("function {}", device.function),
            before: (before, words(before, "bounced")),
            after: (after, words(after, if direct { "direct" } else { "bounced" })),
            direct,
        }
    };
    devices.iter().map(pair).collect()
}

struct Pair {
    label: String,
    before: (f64, String),
    after: (f64, String),
    direct: bool,
}

fn chart(out: &mut String, title: &str, pairs: &[Pair]) -> fmt::Result {
    let most = pairs
        .iter()
        .flat_map(|pair| [pair.before.0, pair.after.0])
        .fold(0.0, f64::max);
    writeln!(out, "<figure><figcaption>{title}</figcaption>")?;
    for pair in pairs {
        writeln!(
            out,
            "<div class=\"pair\"><div class=\"label\">{}</div>",
            Text(&pair.label)
        )?;
        bar(out, "bounce", &pair.before, most)?;
        bar(
            out,
            if pair.direct { "direct" } else { "bounce" },
            &pair.after,
            most,
        )?;
        writeln!(out, "</div>")?;
    }
    writeln!(out, "</figure>")
}

fn bar(out: &mut String, class: &str, (value, words): &(f64, String), most: f64) -> fmt::Result {
    let width = percent(*value, most);
    writeln!(
        out,
        "<div class=\"bar\"><i class=\"{class}\" style=\"width:{width:.2}%\"></i><span>{}</span></div>",
        Text(words)
    )
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        (100.0 * part / whole).clamp(0.0, 100.0)
    } else {
        0.0
    }
}

fn timeline(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "<section><h2>Timeline</h2><p class=\"legend\">")?;
    for actor in [Actor::Operator, Actor::Host, Actor::Guest] {
        writeln!(out, "<i class=\"{}\"></i>{} ", actor_class(actor), actor.name())?;
    }
    writeln!(
        out,
        "</p><table class=\"timeline\"><thead><tr><th>Step</th><th>Start</th><th>Took</th><th>Of the whole run</th></tr></thead><tbody>"
    )?;
    report
        .steps
        .iter()
        .try_for_each(|step| timeline_row(out, step, report.total_ms))?;
    writeln!(out, "</tbody></table></section>")
}

fn timeline_row(out: &mut String, step: &Step, total_ms: f64) -> fmt::Result {
    writeln!(
        out,
        "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"track\">\
         <i class=\"{}\" style=\"margin-left:{:.2}%;width:max(3px,{:.2}%)\"></i></td></tr>",
        Text(&step.name),
        Span(step.start_ms),
        Span(step.ms),
        actor_class(step.actor),
        percent(step.start_ms, total_ms).min(99.5),
        percent(step.ms, total_ms)
    )
}

fn actor_class(actor: Actor) -> &'static str {
    match actor {
        Actor::Operator => "operator",
        Actor::Host => "host",
        Actor::Guest => "guest",
    }
}

fn decisions(out: &mut String, devices: &[Device]) -> fmt::Result {
    writeln!(
        out,
        "<section><h2>The agent's way to each decision</h2><div class=\"cards\">"
    )?;
    for device in devices {
        let longest = device.steps.iter().map(|step| step.ms).fold(0.0, f64::max);
        writeln!(
            out,
            "<figure><figcaption>Function {}</figcaption><table class=\"timeline\"><tbody>",
            device.function
        )?;
        for step in &device.steps {
            let (name, took, width) = (Text(&step.name), Span(step.ms), percent(step.ms, longest));
            write!(
                out,
                "<tr><td>{name}</td><td class=\"n\">{took}</td><td class=\"track\">"
            )?;
            writeln!(
                out,
                "<i class=\"guest\" style=\"width:max(3px,{width:.2}%)\"></i></td></tr>"
            )?;
        }
        writeln!(out, "</tbody></table></figure>")?;
    }
    writeln!(out, "</div></section>")
}

fn evidence(out: &mut String, devices: &[Device]) -> fmt::Result {
    writeln!(out, "<section><h2>Evidence the guest saw</h2>")?;
    for device in devices.iter().filter(|device| !device.evidence.is_empty()) {
        writeln!(
            out,
            "<h3>Function {}</h3><table class=\"facts\"><tbody>",
            device.function
        )?;
        for (name, value) in &device.evidence {
            writeln!(
                out,
                "<tr><th>{}</th><td><code>{}</code></td></tr>",
                Text(name),
                Text(value)
            )?;
        }
        writeln!(out, "</tbody></table>")?;
    }
    writeln!(out, "</section>")
}

fn reality(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(
        out,
        "<section><h2>What was real, what was emulated</h2><div class=\"cards\">"
    )?;
    for (title, items) in [("Real", &report.real), ("Emulated", &report.emulated)] {
        writeln!(out, "<article class=\"card\"><h3>{title}</h3><ul>")?;
        for item in items {
            writeln!(out, "<li>{}</li>", Text(item))?;
        }
        writeln!(out, "</ul></article>")?;
    }
    writeln!(out, "</div></section>")
}

fn versions(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "<section><h2>Versions</h2><table class=\"facts\"><tbody>")?;
    for (name, version) in &report.versions {
        writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", Text(name), Text(version))?;
    }
    writeln!(out, "</tbody></table></section>")
}

/// A string that came from elsewhere: escaped for text and attribute values.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

/// Milliseconds as a person reads them.
pub(super) struct Span(pub f64);

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms >= 1000.0 => write!(f, "{:.2} s", ms / 1000.0),
            ms if ms >= 10.0 => write!(f, "{ms:.0} ms"),
            ms => write!(f, "{ms:.1} ms"),
        }
    }
}

const STYLE: &str = include_str!("report.css");

#[cfg(test)]
mod tests {
    use super::super::report::tests::{accepted, refused};
    use super::*;
    use std::collections::BTreeMap;

    fn report() -> Report {
        Report {
            versions: BTreeMap::from([("QEMU".into(), "11.1".into())]),
            steps: vec![Step {
                name: "connect".into(),
                actor: Actor::Host,
                start_ms: 1.0,
                ms: 2500.0,
            }],
            devices: vec![accepted(), refused()],
            emulated: vec!["the TSM".into()],
            real: vec!["the kernel".into()],
            total_ms: 5000.0,
            failures: vec![],
        }
    }

    #[test]
    fn the_page_needs_nothing_from_anywhere_else() {
        let page = page(&report());
        for outside in ["http", "<script", "<link", "<img", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn words_of_a_device_cannot_become_markup() {
        let page = page(&report());
        assert!(page.contains("found &lt;aa&gt;, the policy wants bb &amp; nothing else"));
        assert!(!page.contains("<aa>"));
    }

    #[test]
    fn the_page_shows_verdicts_figures_and_steps() {
        let page = page(&report());
        for shown in [
            "accepted",
            "refused",
            "60.0 MiB/s direct",
            "20.0 MiB/s direct",
            "1300 events",
            "2.50 s",
            "the TSM",
            "11.1",
        ] {
            assert!(page.contains(shown), "{shown}");
        }
    }

    #[test]
    fn a_digest_in_a_reason_is_cut_and_a_word_is_not() {
        let digest = "ab".repeat(48);
        assert_eq!(
            short(&format!("index 17 is {digest}; added")),
            "index 17 is abababababab…; added"
        );
        assert_eq!(short("deadbeef facade"), "deadbeef facade");
    }

    #[test]
    fn a_failed_run_says_so_first() {
        let failed = Report {
            failures: vec!["function 1: no <XDP>".into()],
            ..report()
        };
        let page = page(&failed);
        assert!(page.contains("the run failed") && page.contains("no &lt;XDP&gt;"));
    }

    #[test]
    fn a_chart_of_nothing_but_zeros_has_bars_of_no_width() {
        assert_eq!(
            (percent(0.0, 0.0), percent(5.0, 0.0), percent(1.0, 2.0)),
            (0.0, 0.0, 50.0)
        );
    }
}
