//! How a command ended, and what it said.

use std::process::Output;

/// It ended with `code`, and said all of `wanted`, wherever.
#[track_caller]
pub(crate) fn check(output: &Output, code: i32, wanted: &[&str]) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for wanted in wanted {
        assert!(text.contains(wanted), "{text}\ndoes not contain {wanted:?}");
    }
}
