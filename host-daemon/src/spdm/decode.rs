//! `tidelock spdm decode`: a file in, its messages out.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use super::{
    args,
    check::{Disagreement, Ledger},
    follow::{Entry, Follow, assign},
    frame::units,
    known::Known,
    pcap::{self, Capture},
    print::{self, Detail},
    secrets::{self, Secrets},
};

/// Bytes of the longest file that is read.
const FILE_MAX: u64 = 1 << 30;

/// What ended the command early, or made it end badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is too long.
    #[error("{} has more than {FILE_MAX} bytes; wanted at most these: cut it with `editcap`", .path.display())]
    Size {
        /// Which one.
        path: PathBuf,
    },
    /// The recording is none.
    #[error("{}: {source}", .path.display())]
    Capture {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: pcap::Error,
    },
    /// The secrets are none.
    #[error("{}: {source}", .path.display())]
    Secrets {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: secrets::Error,
    },
    /// Something does not agree with the rest.
    #[error("{first}{}", more(*.count))]
    Disagrees {
        /// The first that does not.
        first: Disagreement,
        /// How many do not.
        count: usize,
    },
    /// Nothing is in the file.
    #[error("{} has no packets; wanted messages of link type 292 (PCI DOE) or 291 (MCTP)", .path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The file ends where it should not. What is in it agrees.
    #[error("{}: {what}; everything before that is shown: capture again, or copy the whole file", .path.display())]
    Cut {
        /// Which file.
        path: PathBuf,
        /// Where, and what is missing.
        what: String,
    },
    /// The output went away.
    #[error("writing failed: {0}")]
    Output(#[from] std::io::Error),
}

fn more(count: usize) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        more => format!("; {more} more disagree, perhaps because of it"),
    }
}

/// Does what the command line says.
pub fn run(args: &args::Decode, json: bool, out: &mut impl Write) -> Result<(), Error> {
    let capture = read(&args.file)?;
    let secrets = read_secrets(&args.secrets)?;
    let detail = match args {
        args::Decode { quiet: true, .. } => Detail::Quiet,
        args::Decode { brief: true, .. } => Detail::Brief,
        args::Decode { hex: true, .. } => Detail::Hex,
        _ => Detail::Fields,
    };
    if capture.packets.is_empty() && capture.cut.is_none() {
        return Err(Error::Empty {
            path: args.file.clone(),
        });
    }
    let ledger = follow(&capture, secrets.as_ref(), |entry| match (json, detail) {
        (true, Detail::Quiet) => Ok(()),
        (true, _) => writeln!(out, "{}", print::json(entry, detail == Detail::Hex)),
        (false, _) => print::text(entry, detail, out),
    })?;
    finish(&args.file, capture.cut, &ledger, json, out)
}

fn finish(
    path: &Path,
    cut: Option<String>,
    ledger: &Ledger,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Error> {
    let first = ledger.first();
    if json {
        writeln!(out, "{}", print::json_summary(ledger, first, cut.as_deref()))?;
    } else {
        if let Some(cut) = &cut {
            writeln!(out, "note: {cut}")?;
        }
        if ledger.odd > 0 {
            writeln!(
                out,
                "note: {} messages are read otherwise, or not at all, by the codecs of this program",
                ledger.odd
            )?;
        }
        writeln!(out, "{}", ledger.summary())?;
    }
    match (first, cut) {
        (None, None) => Ok(()),
        (None, Some(what)) => Err(Error::Cut {
            path: path.into(),
            what,
        }),
        (Some(first), _) => Err(Error::Disagrees {
            first: first.clone(),
            count: ledger.disagreements(),
        }),
    }
}

/// Follows a capture, and gives each entry to `each`.
pub fn follow<E>(
    capture: &Capture,
    secrets: Option<&Secrets>,
    mut each: impl FnMut(&Entry) -> Result<(), E>,
) -> Result<Ledger, E> {
    follow_with(capture, secrets, |entry, _| each(entry))
}

/// [`follow`], with what is known of the connection after each entry.
pub fn follow_with<E>(
    capture: &Capture,
    secrets: Option<&Secrets>,
    mut each: impl FnMut(&Entry, &Known) -> Result<(), E>,
) -> Result<Ledger, E> {
    let units = units(capture);
    let plan = secrets.map(|secrets| assign(&units, secrets)).unwrap_or_default();
    let mut follow = Follow::new(secrets, &plan);
    for unit in &units {
        let entry = follow.take(unit);
        each(&entry, follow.known())?;
    }
    follow.finish();
    Ok(follow.ledger)
}

/// Reads a capture file.
pub fn read(path: &Path) -> Result<Capture, Error> {
    let bytes = bytes(path)?;
    Capture::read(&bytes).map_err(|source| Error::Capture {
        path: path.into(),
        source,
    })
}

/// Reads files of secrets; `None` if there are none.
pub fn read_secrets(paths: &[PathBuf]) -> Result<Option<Secrets>, Error> {
    let mut secrets = None;
    for path in paths {
        let more = read_one(path)?;
        secrets.get_or_insert_with(Secrets::default).add(more);
    }
    Ok(secrets)
}

fn read_one(path: &Path) -> Result<Secrets, Error> {
    let bytes = bytes(path)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::File {
        path: path.into(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no text"),
    })?;
    Secrets::read(&text).map_err(|source| Error::Secrets {
        path: path.into(),
        source,
    })
}

/// The bytes of a file or, of `-`, of standard input. A pipe does not say how long it will be.
fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File {
        path: path.into(),
        source,
    };
    let from: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(File::open(path).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    from.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > FILE_MAX {
        true => Err(Error::Size { path: path.into() }),
        false => Ok(bytes),
    }
}
