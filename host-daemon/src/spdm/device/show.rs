//! Facts for people and for programs.

use std::io::{Result, Write};

use serde_json::{Value as Json, json};

use super::facts::{Chain, Facts, Vouched};
use crate::spdm::{check::Outcome, hex, names};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

const UNCHALLENGED: &str = "no CHALLENGE: the device has not shown that it has its key";

pub(super) fn identity(facts: &Facts, out: &mut impl Write) -> Result<()> {
    connection(facts, out)?;
    for (slot, digest) in &facts.slots {
        writeln!(out, "slot {slot}         {digest}")?;
    }
    for chain in &facts.chains {
        brief(chain, out)?;
    }
    sessions(facts, out)?;
    for (_, outcome) in &facts.challenges {
        proof("challenge", Some(outcome), "", out)?;
    }
    if facts.challenges.is_empty() {
        return proof("challenge", None, UNCHALLENGED, out);
    }
    let slots = facts.chains.iter().map(|chain| chain.slot);
    for slot in slots.filter(|slot| of_slot(facts, *slot).is_none()) {
        proof(
            "challenge",
            None,
            &format!("of slot {slot} none: the device has not shown that it has its key"),
            out,
        )?;
    }
    Ok(())
}

fn connection(facts: &Facts, out: &mut impl Write) -> Result<()> {
    if !facts.versions.is_empty() {
        writeln!(
            out,
            "SPDM           {}, of {}",
            facts.spdm.as_deref().unwrap_or("not settled"),
            facts.versions.join(" ")
        )?;
    }
    if let Some((_, names)) = &facts.capabilities {
        writeln!(out, "capabilities   {names}")?;
    }
    if !facts.supported.is_empty() {
        writeln!(out, "could do       {}", listed(&facts.supported))?;
    }
    match listed(&facts.algorithms) {
        none if none.is_empty() => Ok(()),
        some => writeln!(out, "algorithms     {some}"),
    }
}

fn listed(algorithms: &[(String, String)]) -> String {
    let algorithms = algorithms.iter().map(|(kind, name)| format!("{kind} {name}"));
    algorithms.collect::<Vec<_>>().join(", ")
}

fn brief(chain: &Chain, out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "certificates   slot {}, {} bytes",
        chain.slot,
        chain.object.len()
    )?;
    for subject in chain.subjects() {
        writeln!(out, "  {subject}")?;
    }
    root(chain, out)
}

fn sessions(facts: &Facts, out: &mut impl Write) -> Result<()> {
    for (how, outcome) in &facts.sessions {
        let what = format!("session, {}", how.replace('_', " ").to_lowercase());
        proof(&what, outcome.as_ref(), "nothing proves who it is with", out)?;
    }
    Ok(())
}

fn root(chain: &Chain, out: &mut impl Write) -> Result<()> {
    writeln!(out, "  root SHA-384 {}", chain.root)?;
    match &chain.vouched {
        Vouched::By(name) => writeln!(out, "  {GREEN}vouched for{PLAIN} by {name}"),
        Vouched::Refused(why) => writeln!(out, "  {RED}REFUSED{PLAIN}: {why}"),
        Vouched::Nobody => writeln!(
            out,
            "  {YELLOW}nobody vouches for this root{PLAIN}: anybody can make such a chain; give the vendor's root with --root"
        ),
    }
}

pub(super) fn certificates(facts: &Facts, out: &mut impl Write) -> Result<()> {
    for chain in &facts.chains {
        writeln!(out, "slot {}, {} bytes", chain.slot, chain.object.len())?;
        for field in chain.fields.iter().filter(|field| field.name == "Certificate") {
            writeln!(out, "  {}", field.meaning)?;
            for line in &field.inside {
                writeln!(out, "    {:10} {}", line.name.to_lowercase(), line.meaning)?;
            }
        }
        root(chain, out)?;
    }
    Ok(())
}

pub(super) fn measurements(facts: &Facts, out: &mut impl Write) -> Result<()> {
    for measured in &facts.measurements {
        let meaning = if measured.meaning.is_empty() {
            String::new()
        } else {
            format!("  {}", measured.meaning)
        };
        writeln!(
            out,
            "{:>3}  {:34} {}{meaning}{}",
            measured.index,
            measured.kind,
            hex(&measured.value),
            match (&facts.measured, measured.signed) {
                (Some(_), None) => "  (not signed)",
                _ => "",
            }
        )?;
    }
    for chain in &facts.chains {
        brief(chain, out)?;
    }
    sessions(facts, out)?;
    proof(
        "signature",
        facts.measured.as_ref(),
        "not signed: anybody between could have made these up",
        out,
    )
}

fn proof(what: &str, outcome: Option<&Outcome>, without: &str, out: &mut impl Write) -> Result<()> {
    match outcome {
        Some(Outcome::Agrees(how)) => writeln!(out, "{what:14} {GREEN}verified{PLAIN}: {how}"),
        Some(Outcome::Disagrees { found, wanted }) => {
            writeln!(out, "{what:14} {RED}WRONG{PLAIN}: found {found}, wanted {wanted}")
        }
        Some(Outcome::NotChecked(why)) => writeln!(out, "{what:14} {YELLOW}not checked{PLAIN}: {why}"),
        None => writeln!(out, "{what:14} {YELLOW}{without}{PLAIN}"),
    }
}

fn by_kind(algorithms: &[(String, String)]) -> Json {
    let algorithms = algorithms.iter().map(|(kind, name)| {
        let key = kind.to_lowercase().replace([' ', '-'], "_");
        (key, json!(name))
    });
    Json::Object(algorithms.collect())
}

/// What the last challenge of a slot's key came to.
fn of_slot(facts: &Facts, slot: u8) -> Option<&Outcome> {
    let challenged = facts.challenges.iter().find(|(of, _)| *of == slot);
    challenged.map(|(_, outcome)| outcome)
}

pub(super) fn json(facts: &Facts) -> Json {
    let signed = |outcome: Option<&Outcome>| match outcome {
        Some(Outcome::Agrees(how)) => json!({"verified": true, "how": how}),
        Some(Outcome::Disagrees { found, wanted }) => {
            json!({"verified": false, "found": found, "wanted": wanted})
        }
        Some(Outcome::NotChecked(why)) => json!({"not_checked": why}),
        None => Json::Null,
    };
    let chains = facts.chains.iter().map(|chain| {
        let vouched = match &chain.vouched {
            Vouched::By(name) => json!({"by": name}),
            Vouched::Refused(why) => json!({"refused": why}),
            Vouched::Nobody => Json::Null,
        };
        let certificates = chain
            .fields
            .iter()
            .filter(|field| field.name == "Certificate")
            .map(|field| {
                let lines = field
                    .inside
                    .iter()
                    .map(|line| (line.name.to_lowercase(), json!(line.meaning)));
                let mut object: serde_json::Map<_, _> = lines.collect();
                object.insert("subject".into(), json!(field.meaning));
                Json::Object(object)
            });
        json!({
            "slot": chain.slot,
            "root_sha384": chain.root.to_string(),
            "vouched": vouched,
            "challenge": signed(of_slot(facts, chain.slot)),
            "certificates": certificates.collect::<Vec<_>>(),
            "der": chain.certificates.iter().map(|der| hex(der)).collect::<Vec<_>>(),
        })
    });
    let measurements = facts.measurements.iter().map(|measured| {
        json!({
            "index": measured.index,
            "kind": measured.kind,
            "value": hex(&measured.value),
            "meaning": measured.meaning,
            "signed": measured.signed.is_some(),
        })
    });
    json!({
        "spdm": facts.spdm,
        "versions": facts.versions,
        "capabilities": facts.capabilities.as_ref().map(|(flags, _)| json!({
            "flags": flags,
            "names": names::capability_list(*flags, false),
        })),
        "algorithms": by_kind(&facts.algorithms),
        "supported_algorithms": (!facts.supported.is_empty()).then(|| by_kind(&facts.supported)),
        "slots": facts.slots.iter().map(|(slot, digest)| json!({"slot": slot, "digest": digest})).collect::<Vec<_>>(),
        "chains": chains.collect::<Vec<_>>(),
        "challenge": signed(facts.challenges.last().map(|(_, outcome)| outcome)),
        "sessions": facts.sessions.iter().map(|(how, outcome)| json!({"opened_with": how, "proof": signed(outcome.as_ref())})).collect::<Vec<_>>(),
        "measurements": measurements.collect::<Vec<_>>(),
        "measurements_signature": signed(facts.measured.as_ref()),
    })
}
