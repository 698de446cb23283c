//! What the guest says: JSON lines on the virtio-serial port `org.tidelock.results.0`.
//!
//! The test listens on a socket, QEMU connects to it when it starts, and the guest's init writes lines with `say`. The
//! guest is believed in nothing but what a test asks of it: lines are bounded, and every wait has an end.

use std::io::{ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The port could not be made or read.
    #[error("the results port {}: {error}", path.display())]
    Port {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// Nothing came in time.
    #[error("the guest said nothing more within {waited:.1?}")]
    Late {
        /// How long was waited.
        waited: Duration,
    },
    /// The other end is gone: the machine has ended, or never started.
    #[error("the guest hung up (the machine ended)")]
    Closed,
    /// A line that is no JSON, or too long.
    #[error("the guest said what is no line of JSON ({error}): {line:?}")]
    NotJson {
        /// The parser's words.
        error: String,
        /// The line's beginning.
        line: String,
    },
}

/// The test's end of the results port.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    listener: UnixListener,
    stream: Option<UnixStream>,
    /// Bytes of lines that were not asked for yet.
    pending: Vec<u8>,
}

impl Results {
    /// Listens at `path`, which must not exist yet.
    pub fn listen(path: &Path) -> Result<Self, GuestError> {
        let listener = UnixListener::bind(path)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|error| GuestError::Port {
                path: path.into(),
                error,
            })?;
        Ok(Self {
            path: path.into(),
            listener,
            stream: None,
            pending: Vec::new(),
        })
    }

    /// The next line's value, waiting for it at most `limit`.
    pub fn next(&mut self, limit: Duration) -> Result<Value, GuestError> {
        let start = Instant::now();
        let end = start + limit;
        loop {
            if let Some(line) = self.take_line() {
                return parse(&line);
            }
            if self.pending.len() > LINE_BYTES_MAX {
                return Err(not_json("longer than a line may be", &self.pending));
            }
            if Instant::now() >= end {
                return Err(GuestError::Late {
                    waited: start.elapsed(),
                });
            }
            self.receive(end)?;
        }
    }

    /// The next value whose `event` is `name`; values before it are passed over.
    pub fn event(&mut self, name: &str, limit: Duration) -> Result<Value, GuestError> {
        let end = Instant::now() + limit;
        loop {
            let value = self.next(end.saturating_duration_since(Instant::now()))?;
            if value.get("event").and_then(Value::as_str) == Some(name) {
                return Ok(value);
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.pending.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.pending.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    /// Reads what is there, waiting a little at most, so that the caller can look at the clock.
    fn receive(&mut self, end: Instant) -> Result<(), GuestError> {
        let pause = POLL
            .min(end.saturating_duration_since(Instant::now()))
            .max(Duration::from_millis(1));
        let outcome = match &mut self.stream {
            Some(stream) => read_some(stream, pause, &mut self.pending),
            None => self.accept(pause).map(|()| 1),
        };
        match outcome {
            Ok(0) => Err(GuestError::Closed),
            Ok(_) => Ok(()),
            Err(error) if is_pause(&error) => Ok(()),
            Err(error) => Err(GuestError::Port {
                path: self.path.clone(),
                error,
            }),
        }
    }

    fn accept(&mut self, pause: Duration) -> std::io::Result<()> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                self.stream = Some(stream);
            }
            Err(error) if is_pause(&error) => std::thread::sleep(pause),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn read_some(stream: &mut UnixStream, pause: Duration, into: &mut Vec<u8>) -> std::io::Result<usize> {
    stream.set_read_timeout(Some(pause))?;
    let mut chunk = [0; 4096];
    let count = stream.read(&mut chunk)?;
    into.extend_from_slice(&chunk[..count]);
    Ok(count)
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn parse(line: &[u8]) -> Result<Value, GuestError> {
    serde_json::from_slice(line).map_err(|error| not_json(&error.to_string(), line))
}

fn not_json(error: &str, line: &[u8]) -> GuestError {
    let beginning = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
    GuestError::NotJson {
        error: error.into(),
        line: beginning,
    }
}

/// A guest that never ends its line must not fill this machine's memory.
const LINE_BYTES_MAX: usize = 1 << 20;

/// How long one read waits before the clock is looked at again.
const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const SOON: Duration = Duration::from_secs(5);

    fn connected() -> (Results, UnixStream, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let results = Results::listen(&dir.path().join("r")).unwrap();
        let guest = UnixStream::connect(&results.path).unwrap();
        (results, guest, dir)
    }

    #[test]
    fn lines_come_in_order_also_when_they_come_in_pieces() {
        let (mut results, mut guest, _dir) = connected();
        guest.write_all(b"{\"event\":\"a\"}\n{\"ev").unwrap();
        assert_eq!(results.next(SOON).unwrap()["event"], "a");
        guest.write_all(b"ent\":\"b\"}\n").unwrap();
        assert_eq!(results.next(SOON).unwrap()["event"], "b");
    }

    #[test]
    fn an_event_is_found_behind_others() {
        let (mut results, mut guest, _dir) = connected();
        guest
            .write_all(b"{\"event\":\"a\"}\n{\"event\":\"b\",\"n\":1}\n")
            .unwrap();
        assert_eq!(results.event("b", SOON).unwrap()["n"], 1);
    }

    #[test]
    fn a_silent_guest_is_late_not_waited_for_forever() {
        let (mut results, _guest, _dir) = connected();
        assert!(matches!(
            results.next(Duration::from_millis(30)),
            Err(GuestError::Late { .. })
        ));
    }

    #[test]
    fn a_guest_that_hangs_up_is_told_apart_from_a_silent_one() {
        let (mut results, guest, _dir) = connected();
        drop(guest);
        assert!(matches!(results.next(SOON), Err(GuestError::Closed)));
    }

    #[test]
    fn a_line_that_is_no_json_is_shown() {
        let (mut results, mut guest, _dir) = connected();
        guest.write_all(b"Segmentation fault\n").unwrap();
        assert!(
            results
                .next(SOON)
                .unwrap_err()
                .to_string()
                .contains("Segmentation fault")
        );
    }
}
