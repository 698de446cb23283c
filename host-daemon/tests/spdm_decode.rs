//! `tidelock spdm decode` as a command: where it reads from, what it makes of files that are not whole or of something else,
//! and who may stop reading what it says.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod ended;

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    time::Duration,
};

use ended::check;
use host_daemon::spdm::pcap::{LINK_DOE, Writer};
use serde_json::Value;

const GET_VERSION: [u8; 12] = [1, 0, 1, 0, 3, 0, 0, 0, 0x10, 0x84, 0, 0];
const VERSION: [u8; 16] = [1, 0, 1, 0, 4, 0, 0, 0, 0x10, 4, 0, 0, 0, 1, 0, 0x12];

fn recording(link: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = Writer::begin(&mut file, link).unwrap();
    for packet in [&GET_VERSION[..], &VERSION] {
        writer.packet(Duration::ZERO, packet).unwrap();
    }
    file
}

fn tidelock(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock"));
    command.args(words.split(' '));
    command
}

/// `tidelock WORDS` with these bytes at its standard input.
fn decode(words: &str, file: &[u8]) -> Output {
    let mut command = tidelock(words);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(file).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_recording_may_come_through_a_pipe() {
    let wanted = ["1 -> GET_VERSION", "2 <- VERSION"];
    for path in ["-", "/dev/stdin"] {
        let output = decode(&format!("spdm decode --brief {path}"), &recording(LINK_DOE));
        check(&output, 0, &wanted);
    }
}

#[test]
fn a_recording_that_is_cut_off_is_shown_up_to_there_and_is_no_success() {
    let whole = recording(LINK_DOE);
    let cut = &whole[..whole.len() - 1];
    let wanted = [
        "1 -> GET_VERSION",
        "note: the file ends inside a packet: at byte 52 there are 31 bytes left, wanted 32",
        "tidelock: -: the file ends inside a packet",
        "copy the whole file",
    ];
    check(&decode("spdm decode --brief -", cut), 1, &wanted);
    for (file, is_cut) in [(cut, true), (&whole, false)] {
        let output = decode("spdm decode --json -", file);
        assert_eq!(output.status.code(), Some(i32::from(is_cut)));
        let text = String::from_utf8(output.stdout).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["cut"].is_string(), is_cut, "{last}");
        const PAGE: &str = include_str!("../../docs/debugging-spdm.md");
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let field = line["fields"][0].as_object().into_iter().flatten();
            let names = line.as_object().unwrap().iter().chain(field);
            for (name, _) in names {
                assert!(
                    PAGE.contains(&format!("`{name}`")),
                    "the page does not name `{name}`"
                );
            }
        }
    }
}

#[test]
fn packets_of_something_else_are_told_with_what_was_wanted() {
    check(
        &decode("spdm decode --quiet -", &recording(1)),
        1,
        &["its carriage: found link type 1, wanted 292 (PCI DOE) or 291 (MCTP); 1 more"],
    );
    for (file, wanted) in [
        (&b""[..], "the file ends after 0 bytes in its header; wanted 24"),
        (&recording(LINK_DOE)[..24], "has no packets; wanted messages"),
        (b"hello", "the file begins with 68656c6c; wanted a pcap file"),
    ] {
        check(&decode("spdm decode --quiet -", file), 1, &[wanted]);
    }
    check(
        &tidelock("spdm decode /").output().unwrap(),
        1,
        &["/ cannot be read"],
    );
}

#[test]
fn whoever_reads_may_have_seen_enough() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, recording(LINK_DOE)).unwrap();
    let path = file.path().display();
    for words in [
        format!("spdm decode {path}"),
        format!("spdm decode --json {path}"),
        "completions bash".into(),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = tidelock(&words);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words}: {output:?}");
        assert!(output.stderr.is_empty(), "{words}: {output:?}");
    }
}
