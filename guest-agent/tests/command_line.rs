//! The program as it is called: exit codes, and what it says.
//!
//! Only commands that leave the machine alone are called: `isolate`, `untrusted` and `run` would change it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn agent(state: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock-agent"));
    command
        .arg("--state-dir")
        .arg(state)
        .args(arguments)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn report(boot_id: &str, pid: u32, verdict: &str) -> String {
    format!(
        r#"{{"boot_id":"{boot_id}","pid":{pid},"devices":[{{"bdf":"0000:01:00.1","name":"net0","required":true,"verdict":"{verdict}",
        "reason":"appraise: found; the policy wants more","path":"bounce","evidence":null,"xdp":null,"steps":[]}}]}}"#
    )
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .expect("procfs")
        .trim()
        .to_owned()
}

#[test]
fn a_policy_is_checked_without_touching_anything() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/agent.example.toml");
    let good = agent(folder.path(), &["check-policy", file]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("a policy for 1 device(s)"));
    let bad = folder.path().join("bad.toml");
    fs::write(&bad, "[platform]\nfunctions = []\nfunction = []\n").expect("written");
    let refused = agent(folder.path(), &["check-policy", bad.to_str().expect("text")]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(
        said.contains("bad.toml:3: function: unknown field `function`, expected `functions`"),
        "{said}"
    );
}

#[test]
fn help_names_every_exit_code() {
    let help = agent(Path::new("/nonexistent"), &["--help"]);
    let said = text(&help.stdout);
    for code in [
        "0  as it should be",
        "1  a required device",
        "2  the configuration",
        "3  the host or the TSM",
        "4  the kernel",
    ] {
        assert!(said.contains(code), "{said}");
    }
}

#[test]
fn a_word_that_is_no_command_is_an_error_of_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(agent(folder.path(), &["allow"]).status.code(), Some(2));
    assert_eq!(
        agent(folder.path(), &["revoke", "01:00.1"]).status.code(),
        Some(2)
    );
}

#[test]
fn without_an_agent_there_is_no_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    let status = agent(folder.path(), &["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status.stderr).contains("there is no verdict in this boot"));
    let revoke = agent(folder.path(), &["revoke", "0000:01:00.1"]);
    assert_eq!(revoke.status.code(), Some(1));
    assert!(text(&revoke.stderr).contains("no tidelock-agent answers"));
}

#[test]
fn the_last_verdicts_of_this_boot_are_shown_and_decide_the_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("status.json");
    fs::write(&file, report(&boot_id(), 1, "refused")).expect("written");
    let refused = agent(folder.path(), &["status", "--wait"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stdout);
    assert!(
        said.contains("net0 (0000:01:00.1): refused, through bounce buffers"),
        "{said}"
    );
    assert!(
        said.contains("why: appraise: found; the policy wants more"),
        "{said}"
    );
    fs::write(&file, report(&boot_id(), 1, "accepted")).expect("written");
    let accepted = agent(folder.path(), &["status", "--json"]);
    assert_eq!(accepted.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&accepted.stdout).expect("JSON");
    assert_eq!(json["devices"][0]["verdict"], "accepted");
}

#[test]
fn case_76_a_verdict_of_another_boot_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("status.json"),
        report("another boot", 1, "accepted"),
    )
    .expect("written");
    let status = agent(folder.path(), &["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status.stderr).contains("there is no verdict in this boot"));
}

#[test]
fn who_waits_for_an_agent_that_died_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let gone = 0x7fff_fff0; // more than the kernel gives out
    fs::write(
        folder.path().join("status.json"),
        report(&boot_id(), gone, "pending"),
    )
    .expect("written");
    let status = agent(folder.path(), &["status", "--wait"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status.stderr).contains("ended before it reached a verdict"));
}

#[test]
fn completions_and_manual_pages_are_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let completions = agent(folder.path(), &["completions", "bash"]);
    assert!(text(&completions.stdout).contains("tidelock-agent"));
    let man = agent(folder.path(), &["man", folder.path().to_str().expect("text")]);
    assert_eq!(man.status.code(), Some(0), "{}", text(&man.stderr));
    let page = fs::read_to_string(folder.path().join("tidelock-agent.1")).expect("a page");
    assert!(page.contains("tidelock"));
}
