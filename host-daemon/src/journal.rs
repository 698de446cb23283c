//! The write-ahead journal: every change of more than one step is on disk before its first step is taken.
//!
//! ```text
//!   begin(change) ──fsync──► steps … ──► done ──fsync──►  the change stands
//!        │                     └───────► failed ─────────► the change was taken back
//!        └── kill -9 anywhere here ─────────────────────► replay() lists it as in flight
//! ```
//! One JSON object a line in `<state_dir>/journal`. A last line without its newline is a write that the crash cut
//! short: it is dropped. Anything else that cannot be read stops the daemon, because guessing what stands is how
//! half-enabled devices come about. Opening compacts the file to what stands.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// A change of more than one step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A session with a device.
    Connect {
        /// Name of the device.
        device: String,
    },
    /// The end of one.
    Disconnect {
        /// Name of the device.
        device: String,
    },
    /// A function locked for a VM.
    Bind {
        /// Name of the device.
        device: String,
        /// Its function.
        function: u8,
    },
    /// A function taken from its VM.
    Unbind {
        /// Name of the device.
        device: String,
        /// Its function.
        function: u8,
    },
}

/// What a journal says about the past.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Begun and neither done nor taken back.
    pub in_flight: Vec<Change>,
    /// [`Change::Connect`] and [`Change::Bind`] that were done and not undone.
    pub standing: Vec<Change>,
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    next: u64,
    /// Begun and not ended, by number.
    open: Vec<(u64, Change)>,
    standing: Vec<Change>,
    /// Lines in the file.
    lines: usize,
    /// The last write failed, and may have left a piece of its line.
    torn: bool,
}

/// Lines after which the file is compacted: guests bind as often as they like, and the disk is the host's.
const LINES_MAX: usize = 256;

/// A change that was begun; hand it back to [`Journal::done`] or [`Journal::failed`].
#[derive(Debug)]
#[must_use = "a change that is never ended is in flight at the next start"]
pub struct Ticket(u64);

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error("the journal {} cannot be {verb}: {source}; see that the directory is writable and has room", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A line is not the journal's.
    #[error("{}:{line}: not a journal entry: {what}; move the file away, then unbind and disconnect by hand", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case", deny_unknown_fields)]
enum Entry {
    Begin { id: u64, change: Change },
    Done { id: u64 },
    Failed { id: u64, why: String },
    Stands { change: Change },
}

impl Journal {
    /// Opens the journal in `state_dir`, making both if they are missing, and says what it holds.
    pub fn open(state_dir: &Path) -> Result<(Self, Replay), Error> {
        let path = state_dir.join("journal");
        fs::create_dir_all(state_dir).map_err(failed(&path, "made"))?;
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(&path, "read")(error)),
        };
        let replay = replay(&path, &text)?;
        let open: Vec<_> = (0..).zip(replay.in_flight.iter().cloned()).collect();
        let file = compact(&path, &open, &replay.standing)?;
        let journal = Self {
            file,
            path,
            next: open.len() as u64,
            lines: open.len() + replay.standing.len(),
            torn: false,
            open,
            standing: replay.standing.clone(),
        };
        Ok((journal, replay))
    }

    /// What an earlier life left in flight was sorted out, and is in flight no more.
    pub fn sorted_out(&mut self) -> Result<(), Error> {
        self.open.clear();
        self.compact()
    }

    /// Records that `change` begins. It may begin once this returned.
    pub fn begin(&mut self, change: Change) -> Result<Ticket, Error> {
        let id = self.next;
        self.next += 1;
        self.append(&Entry::Begin {
            id,
            change: change.clone(),
        })?;
        self.open.push((id, change));
        Ok(Ticket(id))
    }

    /// Records that the change stands.
    pub fn done(&mut self, ticket: &Ticket) -> Result<(), Error> {
        self.append(&Entry::Done { id: ticket.0 })?;
        if let Some(change) = self.close(ticket) {
            change.settle(&mut self.standing);
        }
        self.compact_if_long()
    }

    /// Records that the change was taken back.
    pub fn failed(&mut self, ticket: &Ticket, why: &str) -> Result<(), Error> {
        self.append(&Entry::Failed {
            id: ticket.0,
            why: why.into(),
        })?;
        self.close(ticket);
        self.compact_if_long()
    }

    fn close(&mut self, ticket: &Ticket) -> Option<Change> {
        let at = self.open.iter().position(|(id, _)| *id == ticket.0)?;
        Some(self.open.remove(at).1)
    }

    /// A disk that was full may have taken half a line. Nothing is written behind that: the next start could not read
    /// it. The file is made anew first, from what is known.
    fn append(&mut self, entry: &Entry) -> Result<(), Error> {
        if self.torn {
            self.compact()?;
        }
        let write = |file: &mut File| {
            file.write_all(&line(entry)?)?;
            file.sync_data()
        };
        self.lines += 1;
        let written = write(&mut self.file);
        self.torn = written.is_err();
        written.map_err(failed(&self.path, "written"))
    }

    fn compact_if_long(&mut self) -> Result<(), Error> {
        if self.lines < LINES_MAX {
            Ok(())
        } else {
            self.compact()
        }
    }

    fn compact(&mut self) -> Result<(), Error> {
        self.file = compact(&self.path, &self.open, &self.standing)?;
        self.lines = self.open.len() + self.standing.len();
        self.torn = false;
        Ok(())
    }
}

fn replay(path: &Path, text: &[u8]) -> Result<Replay, Error> {
    let mut open: Vec<(u64, Change)> = Vec::new();
    let mut standing: Vec<Change> = Vec::new();
    // What follows the last newline is a write that was cut short, or nothing.
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end);
    let lines = text[..whole].split(|byte| *byte == b'\n').enumerate();
    for (index, bytes) in lines.filter(|(_, bytes)| !bytes.is_empty()) {
        let malformed = |what: String| Error::Malformed {
            path: path.into(),
            line: index + 1,
            what,
        };
        let entry = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        let mut close = |id| {
            let at = open.iter().position(|(open, _)| *open == id);
            at.map(|at| open.remove(at).1)
                .ok_or_else(|| malformed(format!("change {id} never began")))
        };
        match entry {
            Entry::Begin { id, change } => open.push((id, change)),
            Entry::Done { id } => close(id)?.settle(&mut standing),
            Entry::Failed { id, .. } => drop(close(id)?),
            Entry::Stands { change } => standing.push(change),
        }
    }
    Ok(Replay {
        in_flight: open.into_iter().map(|(_, change)| change).collect(),
        standing,
    })
}

impl Change {
    /// What stands once this change is done.
    fn settle(self, standing: &mut Vec<Self>) {
        match &self {
            Self::Connect { .. } | Self::Bind { .. } => {
                standing.retain(|other| *other != self);
                standing.push(self);
            }
            Self::Disconnect { device } => standing.retain(|other| other.device() != device),
            Self::Unbind { device, function } => {
                let bind = Self::Bind {
                    device: device.clone(),
                    function: *function,
                };
                standing.retain(|other| *other != bind);
            }
        }
    }

    /// Name of the device that it is about.
    pub fn device(&self) -> &str {
        match self {
            Self::Connect { device }
            | Self::Disconnect { device }
            | Self::Bind { device, .. }
            | Self::Unbind { device, .. } => device,
        }
    }
}

/// Writes what stands and what is in flight to a new file, and puts it in the old one's place; open for appending.
fn compact(path: &Path, open: &[(u64, Change)], standing: &[Change]) -> Result<File, Error> {
    let standing = standing.iter().map(|change| Entry::Stands {
        change: change.clone(),
    });
    let open = open.iter().map(|(id, change)| Entry::Begin {
        id: *id,
        change: change.clone(),
    });
    let mut text = Vec::new();
    for entry in standing.chain(open) {
        text.extend(line(&entry).map_err(failed(path, "written"))?);
    }
    write_atomically(path, &text).map_err(failed(path, "written"))?;
    OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(failed(path, "opened"))
}

fn line(entry: &Entry) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    Ok(line)
}

/// Replaces the file at `path` so that a crash leaves the old content or the new, never a mixture.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn failed(path: &Path, verb: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, verb, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect() -> Change {
        Change::Connect {
            device: "nic0".into(),
        }
    }
    fn bind(function: u8) -> Change {
        Change::Bind {
            device: "nic0".into(),
            function,
        }
    }

    #[test]
    fn a_change_that_was_never_ended_is_in_flight_and_the_done_ones_stand() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, empty) = Journal::open(dir.path()).unwrap();
        assert_eq!(empty, Replay::default());
        let ticket = journal.begin(connect()).unwrap();
        journal.done(&ticket).unwrap();
        let ticket = journal.begin(bind(1)).unwrap();
        journal.failed(&ticket, "the device hung up").unwrap();
        let _in_flight = journal.begin(bind(2)).unwrap();
        drop(journal);
        let wanted = Replay {
            in_flight: vec![bind(2)],
            standing: vec![connect()],
        };
        for _ in 0..2 {
            assert_eq!(
                Journal::open(dir.path()).unwrap().1,
                wanted,
                "compacting loses nothing"
            );
        }
    }

    #[test]
    fn a_guest_that_binds_without_end_does_not_fill_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        let ticket = journal.begin(connect()).unwrap();
        journal.done(&ticket).unwrap();
        let _in_flight = journal.begin(bind(2)).unwrap();
        for _ in 0..=LINES_MAX / 2 {
            let ticket = journal.begin(bind(1)).unwrap();
            journal.failed(&ticket, "refused").unwrap();
        }
        let lines = fs::read_to_string(dir.path().join("journal"))
            .unwrap()
            .lines()
            .count();
        assert!(lines < LINES_MAX, "{lines}");
        drop(journal);
        let (mut journal, replay) = Journal::open(dir.path()).unwrap();
        assert_eq!(
            replay,
            Replay {
                in_flight: vec![bind(2)],
                standing: vec![connect()]
            }
        );
        journal.sorted_out().unwrap();
        drop(journal);
        let replay = Journal::open(dir.path()).unwrap().1;
        assert_eq!(
            replay,
            Replay {
                in_flight: vec![],
                standing: vec![connect()]
            }
        );
    }

    #[test]
    fn half_a_line_that_a_full_disk_took_is_gone_before_the_next_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        let ticket = journal.begin(connect()).unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"phase\":\"do")
            .unwrap();
        journal.file = File::open(&path).unwrap(); // not for writing, so that writing fails
        journal.done(&ticket).unwrap_err();
        journal.failed(&ticket, "the journal cannot be written").unwrap();
        let ticket = journal.begin(bind(1)).unwrap();
        journal.done(&ticket).unwrap();
        drop(journal);
        let replay = Journal::open(dir.path()).unwrap().1;
        assert_eq!((replay.in_flight, replay.standing), (vec![], vec![bind(1)]));
    }

    #[test]
    fn an_undone_change_stands_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        let device = || "nic0".to_owned();
        let unbind = Change::Unbind {
            device: device(),
            function: 1,
        };
        for change in [connect(), bind(1), bind(2), unbind] {
            let ticket = journal.begin(change).unwrap();
            journal.done(&ticket).unwrap();
        }
        assert_eq!(
            Journal::open(dir.path()).unwrap().1.standing,
            [connect(), bind(2)]
        );
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        let ticket = journal.begin(Change::Disconnect { device: device() }).unwrap();
        journal.done(&ticket).unwrap();
        assert_eq!(Journal::open(dir.path()).unwrap().1, Replay::default());
    }

    #[test]
    fn a_last_line_cut_short_is_dropped_and_any_other_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let begin = r#"{"phase":"begin","id":0,"change":{"op":"connect","device":"nic0"}}"#;
        fs::write(&path, format!("{begin}\n{{\"phase\":\"do")).unwrap();
        assert_eq!(Journal::open(dir.path()).unwrap().1.in_flight, [connect()]);
        fs::write(&path, format!("{{\"phase\":\"do\n{begin}\n")).unwrap();
        let message = Journal::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("journal:1: not a journal entry"), "{message}");
        fs::write(&path, "{\"phase\":\"done\",\"id\":7}\n").unwrap();
        let message = Journal::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("change 7 never began"), "{message}");
    }
}
