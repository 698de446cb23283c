//! Entries for people and for programs.

use std::io::{Result, Write};

use serde_json::{Value as Json, json};

use super::{
    check::{Check, Disagreement, Ledger, Outcome},
    field::{Field, Value},
    follow::Entry,
    hex,
};

/// Bytes of a value that are shown without being asked for.
const SHOWN: usize = 48;

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// How much is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Nothing of a message.
    Quiet,
    /// One line a message, and what was checked.
    Brief,
    /// All fields.
    Fields,
    /// All fields, all bytes.
    Hex,
}

/// Prints one entry. The colours are for `anstream` to take out where there is no terminal.
pub fn text(entry: &Entry, detail: Detail, out: &mut impl Write) -> Result<()> {
    if detail == Detail::Quiet {
        return Ok(());
    }
    head(entry, out)?;
    if detail != Detail::Brief {
        fields(&entry.fields, 2, out)?;
        for part in &entry.parts {
            writeln!(out, "  {BOLD}{}{PLAIN}", part.title)?;
            match part.title.as_str() {
                "device interface report" => report(&part.fields, out)?,
                _ => fields(&part.fields, 4, out)?,
            }
        }
    }
    for note in &entry.notes {
        writeln!(out, "  {YELLOW}note{PLAIN}  {note}")?;
    }
    for check in &entry.checks {
        outcome(check, out)?;
    }
    if detail == Detail::Hex {
        dump(&entry.bytes, out)?;
    }
    if detail != Detail::Brief {
        writeln!(out)?;
    }
    Ok(())
}

fn head(entry: &Entry, out: &mut impl Write) -> Result<()> {
    let session = entry.session.map_or(String::new(), |id| format!(" [{id:08x}]"));
    let packets = match entry.packets {
        1 => String::new(),
        count => format!(" in {count} packets"),
    };
    writeln!(
        out,
        "{BOLD}{:>5} {} {}{PLAIN}{session}  {DIM}{} bytes at {:#x}, {}{}{packets}{PLAIN}",
        entry.number,
        entry.direction.arrow(),
        entry.title,
        entry.bytes.len(),
        entry.at,
        entry.carrier.name(),
        if entry.header.is_empty() {
            String::new()
        } else {
            format!(" {}", entry.header)
        },
    )
}

fn fields(list: &[Field], indent: usize, out: &mut impl Write) -> Result<()> {
    for field in list {
        let value = match &field.value {
            Value::Int(value) => format!("{value:#0width$x}", width = 2 + 2 * field.at.len()),
            Value::Bytes(bytes) if !field.inside.is_empty() => format!("{} bytes", bytes.len()),
            Value::Bytes(bytes) => shorten(bytes),
            Value::Group => String::new(),
        };
        let meaning = if field.meaning.is_empty() {
            String::new()
        } else {
            format!("  {}", field.meaning)
        };
        let line = format!(
            "{:indent$}{DIM}{:04x}{PLAIN} {:width$} {value}{meaning}",
            "",
            field.at.start,
            field.name,
            width = 32usize.saturating_sub(indent),
        );
        writeln!(out, "{}", line.trim_end())?;
        fields(&field.inside, indent + 2, out)?;
    }
    Ok(())
}

fn shorten(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "empty".into(),
        size if size <= SHOWN => hex(bytes),
        size => format!("{}... ({size} bytes)", hex(&bytes[..SHOWN])),
    }
}

fn outcome(check: &Check, out: &mut impl Write) -> Result<()> {
    match &check.outcome {
        Outcome::Agrees(how) if how.is_empty() => Ok(()),
        Outcome::Agrees(how) => writeln!(out, "  {GREEN}ok{PLAIN}    {}: {how}", check.what),
        Outcome::NotChecked(why) => {
            writeln!(out, "  {YELLOW}--{PLAIN}    {}: not checked: {why}", check.what)
        }
        Outcome::Disagrees { found, wanted } => {
            writeln!(
                out,
                "  {RED}WRONG{PLAIN} {}: found {found}, wanted {wanted}",
                check.what
            )
        }
    }
}

fn dump(bytes: &[u8], out: &mut impl Write) -> Result<()> {
    for (row, line) in bytes.chunks(16).enumerate() {
        let digits: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let show = |byte: &u8| {
            if byte.is_ascii_graphic() || *byte == b' ' {
                char::from(*byte)
            } else {
                '.'
            }
        };
        let text: String = line.iter().map(show).collect();
        writeln!(
            out,
            "  {DIM}{:04x}  {:47}  {text}{PLAIN}",
            row * 16,
            digits.join(" ")
        )?;
    }
    Ok(())
}

/// The ranges of an interface report as a table, behind its other fields.
fn report(list: &[Field], out: &mut impl Write) -> Result<()> {
    let (ranges, others): (Vec<_>, Vec<_>) = list.iter().partition(|field| field.name == "MMIORange");
    for field in others {
        fields(std::slice::from_ref(field), 4, out)?;
    }
    if ranges.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "    {:>18}  {:>10}  {:>5}  attributes",
        "first byte", "bytes", "BAR"
    )?;
    for range in ranges {
        let cell = |at: usize, strip: &str| {
            let meaning = range.inside.get(at).map_or("", |field| field.meaning.as_str());
            meaning.replace(strip, "")
        };
        writeln!(
            out,
            "    {:>18}  {:>10}  {:>5}  {}",
            cell(0, "from "),
            cell(1, " bytes"),
            cell(3, "BAR "),
            cell(2, "")
        )?;
    }
    Ok(())
}

/// One entry as one JSON object.
pub fn json(entry: &Entry, with_bytes: bool) -> Json {
    let mut object = json!({
        "message": entry.number,
        "name": entry.title,
        "direction": entry.direction.arrow(),
        "carrier": entry.carrier.name(),
        "carrier_header": entry.header,
        "packets": entry.packets,
        "offset": entry.at,
        "time_ns": entry.time_ns,
        "size": entry.bytes.len(),
        "fields": json_fields(&entry.fields),
        "parts": entry.parts.iter().map(|part| json!({
            "title": part.title,
            "fields": json_fields(&part.fields),
        })).collect::<Vec<_>>(),
        "checks": entry.checks.iter().map(json_check).collect::<Vec<_>>(),
        "notes": entry.notes,
    });
    if let (Some(id), Json::Object(fields)) = (entry.session, &mut object) {
        fields.insert("session".into(), json!(format!("{id:#010x}")));
    }
    if let (true, Json::Object(fields)) = (with_bytes, &mut object) {
        fields.insert("bytes".into(), json!(hex(&entry.bytes)));
    }
    object
}

fn json_fields(list: &[Field]) -> Vec<Json> {
    list.iter().map(json_field).collect()
}

fn json_field(field: &Field) -> Json {
    let mut object = serde_json::Map::new();
    object.insert("name".into(), json!(field.name));
    object.insert("offset".into(), json!(field.at.start));
    object.insert("size".into(), json!(field.at.len()));
    match &field.value {
        Value::Int(value) => drop(object.insert("value".into(), json!(value))),
        Value::Bytes(bytes) => drop(object.insert("value".into(), json!(hex(bytes)))),
        Value::Group => {}
    }
    if !field.meaning.is_empty() {
        object.insert("meaning".into(), json!(field.meaning));
    }
    if !field.inside.is_empty() {
        object.insert("fields".into(), json!(json_fields(&field.inside)));
    }
    Json::Object(object)
}

fn json_check(check: &Check) -> Json {
    let kind = check.kind.name(1);
    let kind = kind.trim_start_matches("1 ");
    match &check.outcome {
        Outcome::Agrees(how) => json!({"kind": kind, "what": check.what, "agrees": true, "how": how}),
        Outcome::NotChecked(why) => json!({"kind": kind, "what": check.what, "not_checked": why}),
        Outcome::Disagrees { found, wanted } => {
            json!({"kind": kind, "what": check.what, "agrees": false, "found": found, "wanted": wanted})
        }
    }
}

/// The last line for programs.
pub fn json_summary(ledger: &Ledger, first: Option<&Disagreement>, cut: Option<&str>) -> Json {
    let checked: serde_json::Map<_, _> = ledger
        .checked
        .iter()
        .map(|(kind, count)| {
            (
                kind.name(2).trim_start_matches("2 ").replace(' ', "_"),
                json!(count),
            )
        })
        .collect();
    let not: Vec<_> = ledger
        .not_checked
        .iter()
        .map(|((kind, why), count)| json!({"kind": kind.name(1).trim_start_matches("1 "), "count": count, "why": why}))
        .collect();
    json!({
        "checked": checked,
        "not_checked": not,
        "read_and_written_again": ledger.reencoded,
        "refused_or_written_otherwise": ledger.odd,
        "cut": cut,
        "disagreements": ledger.disagreements(),
        "first": first.map(|first| json!({
            "message": first.number,
            "name": first.title,
            "what": first.what,
            "found": first.found,
            "wanted": first.wanted,
        })),
    })
}
