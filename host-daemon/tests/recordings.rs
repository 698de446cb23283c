//! Every recording that there is, whatever it is called, is read message by message and recomputed; and wherever a
//! byte of it or of its secrets is changed, that is found and the message named.
//!
//! Recordings are not part of this repository. They are read from `../shared/vectors` beside the workspace, or from
//! the folder that `TIDELOCK_VECTORS` names: `NAME.pcap`, and beside some a `NAME.json` with secrets.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use host_daemon::spdm::{
    check::{Kind, Ledger},
    decode::follow,
    field::Fields,
    follow::{Direction, Entry},
    pcap::Capture,
    secrets::Secrets,
};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

fn main() {
    let arguments = Arguments::from_args();
    let trials = match recordings() {
        Ok(found) => found.iter().flat_map(|path| trials(path)).collect(),
        Err(reason) => vec![Trial::ignorable_test("recordings recompute", move || {
            Ok(Completion::ignored_with(reason))
        })],
    };
    libtest_mimic::run(&arguments, trials).exit();
}

type Test = fn(&Recording) -> Result<(), Failed>;

/// Each with whether it needs secrets.
const TESTS: &[(&str, bool, Test)] = &[
    (
        "every message is read and written again to the same bytes",
        false,
        is_read,
    ),
    ("everything that can be recomputed agrees", false, recomputes),
    (
        "its secrets account for keys, verify data and records",
        true,
        secrets_account,
    ),
    ("a part of the secrets opens records, too", true, parts_suffice),
    (
        "a signature with a bit flipped is named",
        false,
        signatures_flipped,
    ),
    (
        "a response in clear that is another one than was asked for is named",
        false,
        codes_flipped,
    ),
    (
        "a message in clear with a bit flipped is named",
        true,
        clear_flipped,
    ),
    ("a record with a bit flipped is named", true, records_flipped),
    (
        "a secret with a bit flipped is named with the message that shows it",
        true,
        secrets_flipped,
    ),
    (
        "what the secrets say of a message, changed, is named",
        true,
        said_flipped,
    ),
    ("the command says so and exits with 1", false, command_exits),
    (
        "bytes changed at random are no reason to panic",
        false,
        changed_at_random,
    ),
];

fn trials(path: &Path) -> Vec<Trial> {
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let json = path.with_extension("json");
    let has_secrets = json.is_file();
    let tests = TESTS.iter().filter(|(_, needs, _)| has_secrets || !needs);
    tests
        .map(|(sentence, _, test)| {
            let path = path.to_path_buf();
            Trial::test(format!("{name}: {sentence}"), move || {
                test(&Recording::read(&path)?)
            })
        })
        .collect()
}

fn recordings() -> Result<Vec<PathBuf>, String> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("TIDELOCK_VECTORS").map_or_else(beside, PathBuf::from);
    let none = |why: &str| {
        let folder = folder.display();
        format!("no recorded conversations in {folder}{why}: put them there or set TIDELOCK_VECTORS")
    };
    let entries = std::fs::read_dir(&folder).map_err(|error| none(&format!(" ({error})")))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "pcap"))
        .collect();
    found.sort();
    match found.is_empty() {
        true => Err(none("")),
        false => Ok(found),
    }
}

struct Recording {
    path: PathBuf,
    file: Vec<u8>,
    json: Option<Value>,
}

impl Recording {
    fn read(path: &Path) -> Result<Self, Failed> {
        let json = path.with_extension("json");
        let text = json
            .is_file()
            .then(|| std::fs::read_to_string(json))
            .transpose()?;
        Ok(Self {
            path: path.into(),
            file: std::fs::read(path)?,
            json: text.map(|text| serde_json::from_str(&text)).transpose()?,
        })
    }

    fn run(&self) -> Result<(Vec<Entry>, Ledger), Failed> {
        run(&self.file, self.json.as_ref())
    }
}

fn run(file: &[u8], json: Option<&Value>) -> Result<(Vec<Entry>, Ledger), Failed> {
    let capture = Capture::read(file)?;
    let secrets = json.map(|json| Secrets::read(&json.to_string())).transpose()?;
    let mut entries = Vec::new();
    let ledger = follow(&capture, secrets.as_ref(), |entry| {
        entries.push(entry.clone());
        Ok::<(), Failed>(())
    })?;
    Ok((entries, ledger))
}

/// The first message that disagrees must be `wanted`.
fn names(what: &str, ledger: &Ledger, wanted: usize) -> Result<(), Failed> {
    match ledger.first() {
        Some(first) if first.number == wanted => Ok(()),
        Some(first) => Err(format!("{what} of message {wanted}: found {first}").into()),
        None => Err(format!("{what} of message {wanted}: nothing disagrees").into()),
    }
}

fn count(ledger: &Ledger, kind: Kind) -> usize {
    ledger.checked.get(&kind).copied().unwrap_or(0)
}

fn is_read(recording: &Recording) -> Result<(), Failed> {
    let (entries, ledger) = recording.run()?;
    let odd: Vec<_> = entries
        .iter()
        .flat_map(|entry| entry.notes.iter().map(move |note| (entry, note)))
        .filter(|(_, note)| note.contains("codec"))
        .collect();
    match odd.first() {
        Some((entry, note)) => Err(format!("message {} ({}): {note}", entry.number, entry.title).into()),
        None if ledger.reencoded < 6 => Err(format!("only {} messages", ledger.reencoded).into()),
        None => Ok(()),
    }
}

fn recomputes(recording: &Recording) -> Result<(), Failed> {
    let (entries, ledger) = recording.run()?;
    if let Some(first) = ledger.first() {
        return Err(format!("{first}; {}", ledger.summary()).into());
    }
    let signed = entries
        .iter()
        .any(|entry| entry.fields.field("Signature").is_some());
    if signed && count(&ledger, Kind::Signature) == 0 {
        return Err(format!("no signature was checked; {}", ledger.summary()).into());
    }
    let otherwise = entries.iter().flat_map(|entry| &entry.checks).find(|check| {
        let how = format!("{:?}", check.outcome);
        how.contains("another transcript than the standard's")
    });
    match otherwise {
        Some(check) => Err(format!("{check:?}").into()),
        None => Ok(()),
    }
}

fn secrets_account(recording: &Recording) -> Result<(), Failed> {
    let (_, ledger) = recording.run()?;
    for kind in [Kind::Key, Kind::VerifyData, Kind::Record] {
        if count(&ledger, kind) == 0 {
            return Err(format!("none: {}; {}", kind.name(0), ledger.summary()).into());
        }
    }
    let secured = recording
        .json
        .as_ref()
        .and_then(|json| json["secured"].as_array())
        .map_or(0, Vec::len);
    match count(&ledger, Kind::Record) >= 2 * secured {
        true => Ok(()),
        false => Err(format!("{secured} pairs of records in the secrets; {}", ledger.summary()).into()),
    }
}

fn parts_suffice(recording: &Recording) -> Result<(), Failed> {
    let json = recording.json.clone().unwrap_or_default();
    let parts: [&[&str]; 6] = [
        &["dhe", "psk"],
        &["handshake_secret"],
        &["handshake_secret", "session_id", "secured"],
        &["req_hs", "rsp_hs", "master_secret", "session_id", "secured"],
        &["req_app", "rsp_app", "K", "secured"],
        &["rsp_app", "th1", "secured"],
    ];
    for part in parts {
        let kept = part.iter().filter(|key| !json[**key].is_null());
        let kept: serde_json::Map<_, _> = kept.map(|key| ((*key).into(), json[*key].clone())).collect();
        let (_, ledger) = run(&recording.file, Some(&kept.into()))?;
        if let Some(first) = ledger.first() {
            return Err(format!("with {part:?}: {first}").into());
        }
        if count(&ledger, Kind::Record) == 0 {
            return Err(format!("with {part:?} no record was opened; {}", ledger.summary()).into());
        }
    }
    Ok(())
}

/// The first, some and the last: all would take minutes.
fn sample<T>(all: Vec<T>) -> Vec<T> {
    const SAMPLE: usize = 6;
    let (count, step) = (all.len(), all.len().div_ceil(SAMPLE).max(1));
    let chosen = |index: &usize| index.is_multiple_of(step) || index + 1 == count;
    let indexed = all.into_iter().enumerate();
    indexed
        .filter(|(index, _)| chosen(index))
        .map(|(_, item)| item)
        .collect()
}

fn signatures_flipped(recording: &Recording) -> Result<(), Failed> {
    let (entries, _) = recording.run()?;
    let signed = entries
        .iter()
        .filter(|entry| entry.session.is_none() && entry.packets == 1);
    let places: Vec<_> = signed
        .filter_map(|entry| {
            let field = entry.fields.field("Signature")?;
            Some((entry.number, entry.at + field.at.end - 1))
        })
        .collect();
    for (number, at) in sample(places) {
        let mut file = recording.file.clone();
        file[at] ^= 1;
        // Even without secrets.
        let (_, ledger) = run(&file, None)?;
        names("signature", &ledger, number)?;
    }
    Ok(())
}

fn codes_flipped(recording: &Recording) -> Result<(), Failed> {
    let (entries, _) = recording.run()?;
    let clear = entries.iter().filter(|entry| {
        entry.session.is_none() && entry.packets == 1 && entry.direction == Direction::Response
    });
    let said = clear.filter(|entry| entry.fields.field("RequestResponseCode").is_some());
    let places: Vec<_> = said.map(|entry| (entry.number, entry.at + 1)).collect();
    for (number, at) in sample(places) {
        let mut file = recording.file.clone();
        file[at] ^= 0x40;
        // Even without secrets.
        let (_, ledger) = run(&file, None)?;
        names("code", &ledger, number)?;
    }
    Ok(())
}

fn clear_flipped(recording: &Recording) -> Result<(), Failed> {
    let (entries, _) = recording.run()?;
    let clear = entries.iter().filter(|entry| {
        entry.session.is_none() && entry.packets == 1 && entry.fields.field("SPDMVersion").is_some()
    });
    let places: Vec<_> = clear.map(|entry| (entry.number, entry.at + 3)).collect();
    for (number, at) in sample(places) {
        let mut file = recording.file.clone();
        file[at] ^= 0x40;
        let (_, ledger) = run(&file, recording.json.as_ref())?;
        names("param2", &ledger, number)?;
    }
    Ok(())
}

fn records_flipped(recording: &Recording) -> Result<(), Failed> {
    let (entries, _) = recording.run()?;
    let opened = |entry: &&Entry| {
        let mut checks = entry.checks.iter();
        checks.any(|check| check.kind == Kind::Record && format!("{:?}", check.outcome).contains("number"))
    };
    // Behind the IDs comes, on MCTP, the sequence number and, on either, the length; then the cipher.
    let places: Vec<_> = entries
        .iter()
        .filter(opened)
        .map(|entry| (entry.number, entry.at + 10))
        .collect();
    if places.is_empty() {
        return Err("no record was opened".into());
    }
    for (number, at) in sample(places) {
        let mut file = recording.file.clone();
        file[at] ^= 1;
        let (_, ledger) = run(&file, recording.json.as_ref())?;
        names("cipher", &ledger, number)?;
        file[at] ^= 1;
        // In front of it, the ID.
        file[at - 8] ^= 1;
        let (_, ledger) = run(&file, recording.json.as_ref())?;
        names("session ID", &ledger, number)?;
    }
    Ok(())
}

/// Where each value of the secrets shows: at the response that opens the session, or at the one that ends the handshake.
const AT_EXCHANGE: [&str; 7] = ["K", "th1", "dhe", "psk", "handshake_secret", "req_hs", "rsp_hs"];
const AT_FINISH: [&str; 5] = ["th2", "master_secret", "req_app", "rsp_app", "exp_master"];

fn secrets_flipped(recording: &Recording) -> Result<(), Failed> {
    let json = recording.json.clone().unwrap_or_default();
    let (entries, _) = recording.run()?;
    let number = |names: &[&str]| {
        let checked = |entry: &&Entry| entry.checks.iter().any(|check| check.kind == Kind::Key);
        let named = |entry: &&Entry| names.contains(&entry.title.as_str());
        entries
            .iter()
            .filter(checked)
            .find(named)
            .map(|entry| entry.number)
    };
    let exchange = number(&["KEY_EXCHANGE_RSP", "PSK_EXCHANGE_RSP"]).ok_or("no session was opened")?;
    // Without PSK_FINISH the exchange is the handshake's end, too.
    let finish = number(&["FINISH_RSP", "PSK_FINISH_RSP"]).unwrap_or(exchange);
    let algorithms = entries
        .iter()
        .find(|entry| entry.title == "ALGORITHMS")
        .map_or(0, |entry| entry.number);
    if let Some(id) = json["session_id"].as_u64() {
        let mut changed = json.clone();
        changed["session_id"] = (id ^ 0x10).into();
        let (_, ledger) = run(&recording.file, Some(&changed))?;
        names("session_id", &ledger, exchange)?;
    }
    let places = AT_EXCHANGE
        .map(|key| (key, exchange))
        .into_iter()
        .chain(AT_FINISH.map(|key| (key, finish)));
    for (key, wanted) in places.chain([("A", algorithms)]) {
        let Some(text) = json[key].as_str() else { continue };
        let mut changed = json.clone();
        changed[key] = flip(text).into();
        let (_, ledger) = run(&recording.file, Some(&changed))?;
        names(key, &ledger, wanted)?;
    }
    Ok(())
}

fn said_flipped(recording: &Recording) -> Result<(), Failed> {
    let json = recording.json.clone().unwrap_or_default();
    let (entries, _) = recording.run()?;
    for (key, in_session) in [("plain", false), ("secured", true)] {
        let compared = |entry: &&Entry| {
            let what = format!("{key} of the secrets");
            (entry.session.is_some() == in_session || !in_session)
                && entry.checks.iter().any(|check| check.what == what)
        };
        let numbers: Vec<_> = entries
            .iter()
            .filter(compared)
            .map(|entry| entry.number)
            .collect();
        let pairs = json[key].as_array().map_or(0, Vec::len);
        if numbers.len() != 2 * pairs {
            return Err(format!(
                "{} messages were compared with {pairs} pairs in {key}",
                numbers.len()
            )
            .into());
        }
        for (index, number) in sample(numbers.into_iter().enumerate().collect()) {
            let mut changed = json.clone();
            let message = &mut changed[key][index / 2][index % 2];
            *message = flip(message.as_str().unwrap_or_default()).into();
            let (_, ledger) = run(&recording.file, Some(&changed))?;
            names(key, &ledger, number)?;
        }
    }
    Ok(())
}

/// The same digits but for a bit of the first byte.
fn flip(text: &str) -> String {
    let first = u8::from_str_radix(text.get(..2).unwrap_or("00"), 16).unwrap_or(0);
    format!("{:02x}{}", first ^ 1, text.get(2..).unwrap_or_default())
}

fn command_exits(recording: &Recording) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("recording.pcap");
    let json = recording.path.with_extension("json");
    let decode = |extra: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock"));
        command.args(["spdm", "decode"]).arg(&file).args(extra);
        if json.is_file() {
            command.arg("--secrets").arg(&json);
        }
        command.output()
    };
    std::fs::write(&file, &recording.file)?;
    let good = decode(&[])?;
    let text = String::from_utf8_lossy(&good.stdout).into_owned();
    if good.status.code() != Some(0) || !text.contains("\nchecked: ") {
        return Err(format!("{good:?}").into());
    }
    let lines = decode(&["--json"])?;
    for line in String::from_utf8(lines.stdout)?.lines() {
        serde_json::from_str::<Value>(line)?;
    }
    let (entries, _) = recording.run()?;
    let signed = entries.iter().find(|entry| entry.title == "CHALLENGE_AUTH");
    let signed = signed.ok_or("no CHALLENGE_AUTH")?;
    let mut bad = recording.file.clone();
    bad[signed.at + signed.fields.field("Signature").ok_or("no signature")?.at.start] ^= 0x80;
    std::fs::write(&file, &bad)?;
    let refused = decode(&["--quiet"])?;
    let mut wanted = String::new();
    write!(wanted, "tidelock: message {} (CHALLENGE_AUTH): ", signed.number)?;
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    match refused.status.code() == Some(1) && error.starts_with(&wanted) {
        true => Ok(()),
        false => Err(format!("{:?} {error}", refused.status).into()),
    }
}

fn changed_at_random(recording: &Recording) -> Result<(), Failed> {
    // Large recordings are the small ones' messages many times over.
    let rounds = (600_000 / recording.file.len()).clamp(3, 40);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..rounds {
        let mut file = recording.file.clone();
        for _ in 0..1 + random(40) {
            let at = random(file.len());
            file[at] = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
        }
        file.truncate(file.len() - random(file.len() / 2));
        // Whatever comes of it.
        drop(run(&file, recording.json.as_ref()));
    }
    Ok(())
}
