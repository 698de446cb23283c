//! The rules of the house that a machine can check. Every message says the cure.

use docs::page::{Found, Page};
use docs::repository::Repository;
use docs::source::{before_tests, code, has_word, lines_with};
use serde_json::Value;

// ---- who may depend on whom ----

#[test]
fn tdisp_depends_on_nothing_in_the_workspace() {
    let cure = "the protocols stand alone: pass bytes, time and effects in, or move the code to a crate that uses tdisp";
    report(
        depended_on_by("tdisp")
            .into_iter()
            .map(|name| format!("tdisp depends on {name}: {cure}")),
    );
}

#[test]
fn tdisp_has_no_file_socket_clock_thread_or_global() {
    const FORBIDDEN: &[&str] = &[
        "std::fs",
        "std::net",
        "std::os",
        "std::process",
        "std::thread",
        "std::env",
        "std::io",
        "SystemTime",
        "tokio",
        "thread_local!",
        "static mut",
        "OnceLock",
        "LazyLock",
        "OnceCell",
        "println!",
        "eprintln!",
    ];
    let cure = "tdisp is pure: give it the time, the bytes and the provider as arguments, and return effects as outputs";
    report_words(
        &repository(),
        |file| file.starts_with("tdisp/src/"),
        FORBIDDEN,
        cure,
    );
}

#[test]
fn sriov_and_xdp_offload_are_leaves() {
    let mut violations = Vec::new();
    for leaf in ["sriov", "xdp-offload"] {
        for name in depended_on_by(leaf) {
            violations.push(format!(
                "{leaf} depends on {name}: it is a leaf; the crate that uses both joins them"
            ));
        }
        for runtime in ["tokio", "async-std", "smol", "futures"] {
            if all_dependencies_of(leaf).contains(&runtime.to_owned()) {
                violations.push(format!(
                    "{leaf} depends on {runtime}: a leaf is synchronous; its user may wrap it"
                ));
            }
        }
    }
    report(violations);
}

#[test]
fn nothing_depends_on_the_daemon_or_the_agent() {
    let mut violations = Vec::new();
    for user in MEMBERS {
        for name in depended_on_by(user) {
            if name == "host-daemon" || name == "guest-agent" {
                violations.push(format!(
                    "{user} depends on {name}: what both need belongs into tdisp's relay or evidence"
                ));
            }
        }
    }
    report(violations);
}

#[test]
fn every_member_of_the_workspace_is_known_to_these_rules() {
    let names: Vec<String> = packages().iter().map(|package| text(&package["name"])).collect();
    let unknown = names.iter().filter(|name| !MEMBERS.contains(&name.as_str()));
    report(unknown.map(|name| {
        format!("{name} is new: add it to MEMBERS in docs/tests/tidy.rs, and say who may use it")
    }));
}

// ---- sources ----

#[test]
fn unsafe_code_is_only_in_files_that_say_why() {
    let repository = repository();
    let mut violations = Vec::new();
    for file in repository.ending(".rs") {
        let source = repository.text(file);
        if let (Some(line), false) = (first_unsafe(&source), says_why_unsafe(&source)) {
            violations.push(format!(
                "{file}:{line}: unsafe code: find a safe call (rustix has most), or begin the file with \
                 `// UNSAFETY: why` and `#![allow(unsafe_code)]`"
            ));
        }
    }
    report(violations);
}

#[test]
fn a_file_that_says_unsafety_has_unsafe_code() {
    let repository = repository();
    let idle = repository.ending(".rs").filter(|file| {
        let source = repository.text(file);
        says_why_unsafe(&source) && first_unsafe(&source).is_none()
    });
    report(idle.map(|file| {
        format!("{file}: nothing in it is unsafe any more: remove its UNSAFETY comment and its allow")
    }));
}

#[test]
fn tdisp_forbids_unsafe_code() {
    let lib = repository().text("tdisp/src/lib.rs");
    assert!(
        lib.contains("#![forbid(unsafe_code)]"),
        "tdisp/src/lib.rs must have #![forbid(unsafe_code)]"
    );
}

#[test]
fn bytes_become_numbers_only_where_a_wire_format_lives() {
    const WORDS: &[&str] = &["from_le_bytes", "from_be_bytes", "to_le_bytes", "to_be_bytes"];
    let cure = "use tdisp::wire::{Reader, Write} or the format's own file; a new format gets a line in WIRE_FORMATS of \
                docs/tests/tidy.rs that says which it is";
    let outside = |file: &str| {
        file.contains("/src/") && !wire_formats().any(|(place, _)| file == place || in_folder(file, place))
    };
    report_words(&repository(), outside, WORDS, cure);
}

#[test]
fn every_named_wire_format_has_its_file() {
    let repository = repository();
    let gone = wire_formats().filter(|(place, _)| !repository.has(place));
    report(gone.map(|(place, format)| {
        format!(
            "WIRE_FORMATS of docs/tests/tidy.rs puts {} into {place}, which is gone",
            format.trim()
        )
    }));
}

#[test]
fn no_module_is_called_by_what_says_nothing() {
    let repository = repository();
    let mut violations = Vec::new();
    for file in repository.ending(".rs") {
        let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
        let name = stem.rsplit('/').next().unwrap_or(stem);
        let source = repository.text(file);
        let inline = NAMES_THAT_SAY_NOTHING.iter().find(|word| {
            lines_with_any(&source, &[&format!("mod {word}")])
                .next()
                .is_some()
        });
        if let Some(word) = NAMES_THAT_SAY_NOTHING
            .iter()
            .find(|word| **word == name)
            .or(inline)
        {
            violations.push(format!(
                "{file}: a module {word:?}: name it after what it is about, or put its code where it is used"
            ));
        }
    }
    report(violations);
}

#[test]
fn nothing_is_left_half_done() {
    let cure = "finish it, or leave it out; what is not implemented is said in the crate's documentation";
    let repository = repository();
    let lines = repository.ending(".rs").flat_map(|file| {
        let source = repository.text(file);
        lines_with_any(&source, &["dbg!", "todo!", "unimplemented!"])
            .map(move |line| format!("{file}:{line}"))
    });
    report_with(cure, lines.collect());
}

#[test]
fn what_only_one_place_may_make_has_no_public_field() {
    let repository = repository();
    let mut violations = Vec::new();
    for (name, folder) in MADE_IN_ONE_PLACE {
        for file in repository.ending(".rs").filter(|file| file.contains("/src/")) {
            let source = repository.text(file);
            if !source.contains(&format!("struct {name}")) {
                continue;
            }
            let code = code(&source);
            let Some(definition) = definition_of(&code, name) else {
                continue;
            };
            if !in_folder(file, folder) && file != *folder {
                violations.push(format!("{file} defines a {name}: there is one, in {folder}"));
            } else if has_word(definition, "pub") {
                violations.push(format!(
                    "{file}: {name} has a public field, so that anybody could make one: add a getter instead"
                ));
            }
        }
    }
    report(violations);
}

// ---- words ----

#[test]
fn the_sentence_that_everything_hangs_on_is_in_the_architecture() {
    let page = repository().text("docs/architecture.md");
    let sentence = "no code path can enable a device without an `Accepted`, and no `Accepted` exists without a `Verified`";
    assert!(
        page.contains(sentence),
        "docs/architecture.md must say: {sentence}"
    );
}

#[test]
fn every_invariant_of_the_architecture_says_where_it_is_kept() {
    let page = repository().text("docs/architecture.md");
    let invariants: Vec<&str> = page
        .split("\n\n")
        .filter(|paragraph| paragraph.starts_with("**Invariant:**"))
        .collect();
    assert!(
        invariants.len() >= 5,
        "docs/architecture.md has {} paragraphs that begin with **Invariant:**, had 5 or more",
        invariants.len()
    );
    let homeless = invariants.iter().filter(|words| !words.contains(".rs`"));
    report(
        homeless.map(|words| {
            format!("docs/architecture.md: name the file that keeps this, or the test: {words}")
        }),
    );
}

#[test]
fn every_path_that_a_page_names_is_there() {
    let repository = repository();
    let tops: Vec<&str> = repository
        .files()
        .filter_map(|file| file.split_once('/'))
        .map(|(top, _)| top)
        .collect();
    let is_path = |span: &str| {
        let plain = !span.contains(|c: char| c.is_whitespace() || "<>*{}()\"$:…".contains(c));
        let of_ours = span.split_once('/').is_some_and(|(top, _)| tops.contains(&top));
        let source = [".rs", ".md", ".bpf.c", ".h", ".awk"]
            .iter()
            .any(|end| span.ends_with(end))
            && !span.starts_with(['/', '.']);
        plain && (of_ours || source)
    };
    let known = |span: &str| {
        let inside = format!("/{span}");
        repository.has(span) || repository.files().any(|file| file.ends_with(&inside))
    };
    report(pages(&repository).into_iter().flat_map(|(file, page)| {
        let gone: Vec<Found> = page
            .spans
            .into_iter()
            .filter(|span| is_path(&span.text) && !known(&span.text))
            .collect();
        gone.into_iter().map(move |span| {
            format!(
                "{file}:{}: there is no {}: mend the path, or the page",
                span.line, span.text
            )
        })
    }));
}

#[test]
fn every_link_leads_somewhere() {
    let repository = repository();
    let pages = pages(&repository);
    let mut violations = Vec::new();
    for (file, page) in &pages {
        for link in page
            .links
            .iter()
            .filter(|link| !link.text.contains("://") && !link.text.starts_with("mailto:"))
        {
            let (path, anchor) = link.text.split_once('#').unwrap_or((&link.text, ""));
            let target = if path.is_empty() {
                file.clone()
            } else {
                resolved(file, path)
            };
            if !repository.has(&target) {
                violations.push(format!(
                    "{file}:{}: the link to {} leads to {target}, which is not there",
                    link.line, link.text
                ));
                continue;
            }
            let there = pages.iter().find(|(name, _)| *name == target);
            if there
                .is_some_and(|(_, page)| !anchor.is_empty() && !page.anchors.iter().any(|one| one == anchor))
            {
                violations.push(format!("{file}:{}: {target} has no heading #{anchor}", link.line));
            }
        }
    }
    report(violations);
}

#[test]
fn every_verb_of_x_that_a_page_names_exists() {
    let repository = repository();
    let script = repository.text("x");
    let mut violations = Vec::new();
    for (file, page) in pages(&repository) {
        for found in page.spans.iter().chain(&page.block_lines) {
            for verb in found.text.split("./x ").skip(1).filter_map(first_word) {
                if !script.contains(&format!("verb_{verb}() {{")) {
                    violations.push(format!(
                        "{file}:{}: there is no ./x {verb}: ./x alone lists the verbs",
                        found.line
                    ));
                }
            }
        }
    }
    report(violations);
}

#[test]
fn every_option_of_a_program_that_a_page_names_exists() {
    let repository = repository();
    let mut violations = Vec::new();
    for (file, page) in pages(&repository) {
        for found in page.spans.iter().chain(&page.block_lines) {
            for (program, option) in options_named(&found.text) {
                if !declares(&repository, &program, &option) {
                    violations.push(format!(
                        "{file}:{}: {program} has no option --{option}",
                        found.line
                    ));
                }
            }
        }
    }
    report(violations);
}

#[test]
fn rust_on_a_page_is_compiled() {
    let repository = repository();
    let library = repository.text("docs/src/lib.rs");
    let mut violations = Vec::new();
    for (file, page) in pages(&repository) {
        let included = file
            .strip_prefix("docs/")
            .map_or(format!("../../{file}"), |name| format!("../{name}"));
        let compiled = library.contains(&format!("include_str!(\"{included}\")"));
        for block in page.languages {
            if block.text.starts_with("rust") && !compiled {
                violations.push(format!(
                    "{file}:{}: a block of Rust that nobody compiles: add `#[doc = include_str!(\"{included}\")]` on a \
                     module of docs/src/lib.rs",
                    block.line
                ));
            }
        }
    }
    report(violations);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let places = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("deb.", "debian.org"),
        concat!("snapshot.", "debian.org"),
        concat!("index.", "crates.io"),
        concat!("static.", "crates.io"),
    ];
    let repository = repository();
    let mut violations = Vec::new();
    for file in repository.files().filter(|file| *file != "LICENSE") {
        for (number, line) in (1..).zip(repository.text(file).lines()) {
            for place in places.iter().filter(|place| line.contains(**place)) {
                violations.push(format!("{file}:{number}: {place}: take it from an argument, the environment or apt's own settings"));
            }
        }
    }
    report(violations);
}

// ---- what the rules know ----

const MEMBERS: &[&str] = &[
    "tdisp",
    "sriov",
    "host-daemon",
    "guest-agent",
    "xdp-offload",
    "firmware-tests",
    "docs",
];

const NAMES_THAT_SAY_NOTHING: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "base", "misc", "stuff",
];

/// Where bytes may be taken apart or put together by hand (a file, or a folder with all in it), and which format that is.
const WIRE_FORMATS: &str = "
tdisp/src/wire.rs                     the reader and writer that all protocol files use
tdisp/src/spdm/key_schedule.rs        SPDM's BinConcat
tdisp/src/spdm/secured.rs             secured messages
tdisp/src/spdm/pkcs10.rs              certificate signing requests, in DER
host-daemon/src/spdm/pcap.rs          capture files
host-daemon/src/spdm/record.rs        secured messages, as a bystander opens them
sriov/src/config.rs                   PCI configuration space, as sysfs shows it
sriov/src/vfio.rs                     PCI configuration space, as VFIO shows it
firmware-tests/src/identity/rekeyed.rs certificates, in DER
firmware-tests/src/device/config.rs   PCI configuration space, as the card keeps it
firmware-tests/src/device/function.rs register accesses over vfio-user
firmware-tests/src/device/measured.rs what the card's measurements are digests of
firmware-tests/src/device/mailbox.rs  the DOE mailbox's registers
firmware-tests/src/device/virtio      virtio registers, rings and headers
";

/// The table's lines: place and format.
fn wire_formats() -> impl Iterator<Item = (&'static str, &'static str)> {
    WIRE_FORMATS
        .trim()
        .lines()
        .filter_map(|line| line.split_once(' '))
}

/// Types whose existence says that something was checked, and the only place that makes them.
const MADE_IN_ONE_PLACE: &[(&str, &str)] = &[
    ("Vouched", "tdisp/src/relay/sealed.rs"),
    ("Verified", "tdisp/src/evidence"),
    ("Accepted", "guest-agent/src/policy"),
];

// ---- how they look ----

fn repository() -> Repository {
    Repository::open().expect("the repository can be read")
}

fn report(violations: impl IntoIterator<Item = String>) {
    let all: Vec<String> = violations.into_iter().collect();
    assert!(all.is_empty(), "\n  {}\n", all.join("\n  "));
}

/// Lists where the concerned files, but for their tests, have one of `words`, and the cure once.
fn report_words(repository: &Repository, concerned: impl Fn(&str) -> bool, words: &[&str], cure: &str) {
    let files = repository
        .ending(".rs")
        .filter(|file| concerned(file) && !is_test(file));
    let lines = files.flat_map(|file| {
        let source = repository.text(file);
        lines_with_any(before_tests(&source), words).map(move |line| format!("{file}:{line}"))
    });
    report_with(cure, lines.collect());
}

fn report_with(cure: &str, mut violations: Vec<String>) {
    if !violations.is_empty() {
        violations.push(cure.into());
    }
    report(violations);
}

/// `line: word` for each of the words in the code of `source`.
fn lines_with_any(source: &str, words: &[&str]) -> impl Iterator<Item = String> + use<> {
    // Most files have none, and need not be read closely.
    let there: Vec<&&str> = words.iter().filter(|word| source.contains(**word)).collect();
    let code = if there.is_empty() {
        String::new()
    } else {
        code(source)
    };
    let found = there.iter().flat_map(|word| {
        lines_with(&code, word)
            .into_iter()
            .map(move |line| format!("{line}: {word}"))
    });
    found.collect::<Vec<_>>().into_iter()
}

/// Unit tests that fill a file or folder of their own.
fn is_test(file: &str) -> bool {
    file.contains("/tests/") || file.ends_with("/tests.rs")
}

fn says_why_unsafe(source: &str) -> bool {
    source.lines().any(|line| line.starts_with("// UNSAFETY: "))
}

fn first_unsafe(source: &str) -> Option<usize> {
    if !source.contains("unsafe") {
        return None; // most files need not be read closely
    }
    lines_with(&code(source), "unsafe").first().copied()
}

fn in_folder(file: &str, folder: &str) -> bool {
    file.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// From `struct NAME` to the end of its fields.
fn definition_of<'a>(code: &'a str, name: &str) -> Option<&'a str> {
    let start = code
        .match_indices("struct ")
        .map(|(at, word)| at + word.len())
        .find(|at| {
            let rest = code[*at..].strip_prefix(name);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })?;
    let rest = &code[start..];
    let end = rest.find(['}', ';']).unwrap_or(rest.len());
    Some(&rest[..end])
}

fn packages() -> Vec<Value> {
    let metadata = repository()
        .metadata(&["--no-deps"])
        .expect("cargo knows the workspace");
    metadata["packages"].as_array().cloned().unwrap_or_default()
}

fn all_dependencies_of(name: &str) -> Vec<String> {
    let packages = packages();
    let package = packages
        .iter()
        .find(|package| package["name"] == name)
        .expect("a member of the workspace");
    let dependencies = package["dependencies"].as_array().cloned().unwrap_or_default();
    dependencies
        .iter()
        .map(|dependency| text(&dependency["name"]))
        .collect()
}

/// The members of the workspace that `name` depends on, also for its tests and its build.
fn depended_on_by(name: &str) -> Vec<String> {
    let mut names = all_dependencies_of(name);
    names.retain(|name| MEMBERS.contains(&name.as_str()));
    names
}

fn pages(repository: &Repository) -> Vec<(String, Page)> {
    // The change log tells of what once was.
    let files = repository.ending(".md").filter(|file| *file != "CHANGELOG.md");
    files
        .map(|file| (file.to_owned(), Page::parse(&repository.text(file))))
        .collect()
}

/// The path that `link` on page `file` means.
fn resolved(file: &str, link: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// `demo` of `demo --out DIR`; nothing of `VERB --help`, which stands for any.
fn first_word(rest: &str) -> Option<&str> {
    let end = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// Programs of ours and their `--options` in a command line.
fn options_named(line: &str) -> Vec<(String, String)> {
    let mut program = None;
    let mut options = Vec::new();
    for word in line.split(|c: char| c.is_whitespace() || "|[]()=,".contains(c)) {
        if word.starts_with("tidelock") {
            program = Some(word.to_owned());
        } else if let (Some(program), Some(option)) = (&program, word.strip_prefix("--"))
            && option.starts_with(|c: char| c.is_ascii_lowercase())
        {
            options.push((program.clone(), option.to_owned()));
        }
    }
    options
}

/// Whether the crate that makes `program` has something that can be this option: a field, or its name in quotes.
fn declares(repository: &Repository, program: &str, option: &str) -> bool {
    let metadata = packages();
    let makes = |package: &&Value| {
        let targets = package["targets"].as_array().cloned().unwrap_or_default();
        targets
            .iter()
            .any(|target| target["name"] == program && target["kind"][0] == "bin")
    };
    let Some(package) = metadata.iter().find(makes) else {
        return false;
    };
    let folder = format!("{}/src", text(&package["name"]));
    let field = option.replace('-', "_");
    repository
        .ending(".rs")
        .filter(|file| in_folder(file, &folder))
        .any(|file| {
            let source = repository.text(file);
            has_word(&source, &field) || source.contains(&format!("\"{option}\""))
        })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}
