//! Errors of the configuration: the file, the line, what was found and what is known there.

use core::ops::Range;
use std::path::{Path, PathBuf};

/// Why a configuration is refused. Shown as `FILE:LINE: KEY: what is wrong and what would be right`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{}: {message}", .path.display(), shown_line(*.line), shown_key(.key))]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; 0 where the fault has no place in the file.
    pub line: usize,
    /// What stands on the left of the line: the key, or the table's header.
    pub key: String,
    /// What was found, what was wanted.
    pub message: String,
}

/// A fault of meaning, at a place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, in bytes of the file; empty where the whole file is at fault.
    pub span: Range<usize>,
    /// What was found, what was wanted.
    pub message: String,
}

impl Fault {
    /// A fault at `span`.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
        }
    }
}

impl Error {
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self::whole(
            path,
            format!(
                "cannot be read ({error}); the agent decides nothing without its policy: put it there or name another with --config"
            ),
        )
    }

    pub(super) fn too_long(path: &Path, found: u64, max: u64) -> Self {
        Self::whole(path, format!("is {found} bytes long, at most {max} are read"))
    }

    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().trim().replace('\n', "; ");
        Self::meaning(path, text, Fault::at(error.span().unwrap_or_default(), message))
    }

    pub(super) fn meaning(path: &Path, text: &str, fault: Fault) -> Self {
        if fault.span.is_empty() && fault.span.start == 0 {
            return Self::whole(path, fault.message);
        }
        let start = fault.span.start.min(text.len());
        let before = text.get(..start).unwrap_or(text);
        let number = before.matches('\n').count() + 1;
        let line = text.lines().nth(number - 1).unwrap_or_default();
        let key = line.split('=').next().unwrap_or_default().trim().to_owned();
        Self {
            path: path.to_owned(),
            line: number,
            key,
            message: fault.message,
        }
    }

    fn whole(path: &Path, message: String) -> Self {
        Self {
            path: path.to_owned(),
            line: 0,
            key: String::new(),
            message,
        }
    }
}

fn shown_line(line: usize) -> String {
    match line {
        0 => String::new(),
        line => format!(":{line}"),
    }
}

fn shown_key(key: &str) -> String {
    match key {
        "" => String::new(),
        key => format!(": {key}"),
    }
}
