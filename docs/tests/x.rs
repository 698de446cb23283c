//! The project's command, `./x`: it lists, explains and refuses as its users expect, and counts tests right.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

#[test]
fn x_alone_lists_every_verb_that_it_has() {
    let said = text(&x(&[]));
    let missing: Vec<String> = verbs()
        .into_iter()
        .filter(|verb| !said.contains(&format!("\n  {verb} ")))
        .collect();
    assert!(
        missing.is_empty(),
        "./x does not list {missing:?}: add them to its table"
    );
    assert!(verbs().len() >= 7, "{:?}", verbs());
}

#[test]
fn every_verb_explains_itself() {
    for verb in verbs() {
        let out = x(&[&verb, "--help"]);
        assert!(out.status.success(), "./x {verb} --help: {}", out.status);
        assert!(
            text(&out).starts_with(&format!("usage: ./x {verb}")),
            "{}",
            text(&out)
        );
    }
}

#[test]
fn an_unknown_verb_or_option_is_refused_with_code_2_and_a_hint() {
    let wrong: &[&[&str]] = &[
        &["tset"],
        &["test", "--fast"],
        &["env", "now"],
        &["lint", "all"],
        &["clean", "-x"],
        &["bench", "--x"],
        &["peer", "--fast"],
        &["peer", "one", "two"],
        &["fuzz", "no_target"],
        &["fuzz", "--seconds", "soon"],
    ];
    for arguments in wrong {
        let out = x(arguments);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(
            error.contains("./x") && out.stdout.is_empty(),
            "{arguments:?}: {error}"
        );
    }
}

#[test]
fn there_is_no_colour_where_there_is_no_terminal() {
    assert!(!text(&x(&[])).contains('\u{1b}'));
}

#[test]
fn tests_are_counted_over_all_programs_and_skipped_ones_keep_their_reason() {
    let counted = count(
        "     Running unittests src/lib.rs (target/debug/deps/a)\n\
         test a ... ok\n\
         test b ... ignored, needs root\n\
         test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
         \x20    Running tests/b.rs (target/debug/deps/b)\n\
         test c        ... ignored (no (or no good) environment)\n\
         test d        ... FAILED\n\
         test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n",
    );
    assert_eq!(
        counted,
        "  skipped  b: needs root\n  skipped  c: no (or no good) environment\n  failed   d\n3 1 2\n"
    );
}

#[test]
fn a_test_that_talks_before_its_outcome_is_named_all_the_same() {
    let counted = count(
        "     Running tests/b.rs (target/debug/deps/b)\n\
         test a  ... \n\
         thread 'main' panicked at b.rs:1:1:\n\
         FAILED\n\
         test b  ... booted after 2 s\n\
         ignored (no root)\n\
         test c  ... ok\n\
         test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n",
    );
    assert_eq!(counted, "  failed   a\n  skipped  b: no root\n1 1 1\n");
}

#[test]
fn a_test_program_that_dies_before_its_result_counts_as_a_failure() {
    let counted = count("     Running tests/b.rs (target/debug/deps/b)\ntest a ... ok\n   Doc-tests tdisp\n");
    assert_eq!(counted.matches("ended without a result").count(), 2, "{counted}");
    assert!(counted.ends_with("\n0 2 0\n"), "{counted}");
}

fn x(arguments: &[&str]) -> Output {
    Command::new(root().join("x"))
        .args(arguments)
        .output()
        .expect("x is there and bash too")
}

/// The verbs that have a function in the script.
fn verbs() -> Vec<String> {
    let script = std::fs::read_to_string(root().join("x")).expect("x is there");
    let functions = script
        .lines()
        .filter_map(|line| line.strip_prefix("verb_")?.strip_suffix("() {"));
    functions.map(String::from).collect()
}

fn count(log: &str) -> String {
    let mut awk = Command::new("awk")
        .arg("-f")
        .arg(root().join("firmware-tests/env/count-tests.awk"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("awk is there");
    awk.stdin
        .take()
        .expect("a pipe")
        .write_all(log.as_bytes())
        .expect("awk reads");
    text(&awk.wait_with_output().expect("awk ends"))
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the docs crate has a parent folder")
}
