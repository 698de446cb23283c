//! The socket of the agent that runs: one JSON line asked, one answered.

use super::Report;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask", deny_unknown_fields)]
pub enum Request {
    /// The report, with the counters of this moment.
    Status,
    /// Take a device's trust away.
    Revoke {
        /// Its address.
        bdf: String,
    },
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Report(Report),
    Error(String),
}

/// The listening socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens at `path`; a socket left by an agent that is gone is replaced.
    pub fn listen(path: &Path) -> std::io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            let message = format!("{} answers already: another tidelock-agent runs", path.display());
            return Err(std::io::Error::new(ErrorKind::AddrInUse, message));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves one asker if one comes within `wait`; a signal ends the wait early.
    pub fn serve(
        &self,
        wait: Duration,
        answer: impl FnOnce(Request) -> Result<Report, String>,
    ) -> std::io::Result<()> {
        let timeout = Timespec::try_from(wait).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        match poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        match self.listener.accept() {
            // What one asker does wrong is no fault of the agent's.
            Ok((asker, _)) => drop(talk(asker, answer)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to do about it if it is gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Asks the agent that listens at `path`.
pub fn ask(path: &Path, request: &Request, patience: Duration) -> Result<Report, String> {
    let unreachable = |error: std::io::Error| {
        format!(
            "no tidelock-agent answers at {} ({error}); start `tidelock-agent run`",
            path.display()
        )
    };
    let mut stream = UnixStream::connect(path).map_err(unreachable)?;
    stream.set_read_timeout(Some(patience)).map_err(unreachable)?;
    let mut line = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    line.push(b'\n');
    stream.write_all(&line).map_err(unreachable)?;
    match serde_json::from_reader(stream) {
        Ok(Answer::Report(report)) => Ok(report),
        Ok(Answer::Error(message)) => Err(message),
        Err(error) => Err(format!("the agent's answer makes no sense ({error})")),
    }
}

fn talk(
    mut asker: UnixStream,
    answer: impl FnOnce(Request) -> Result<Report, String>,
) -> std::io::Result<()> {
    asker.set_nonblocking(false)?;
    asker.set_read_timeout(Some(PATIENCE))?;
    asker.set_write_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    BufReader::new((&asker).take(REQUEST_SIZE_MAX)).read_until(b'\n', &mut line)?;
    let answer = match serde_json::from_slice(&line) {
        Ok(request) => answer(request).map_or_else(Answer::Error, Answer::Report),
        Err(error) => Answer::Error(format!(
            "no request ({error}); known: {{\"ask\":\"status\"}}, {{\"ask\":\"revoke\",\"bdf\":…}}"
        )),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    asker.write_all(&line)
}

/// One that does not speak holds up the monitor no longer than this.
const PATIENCE: Duration = Duration::from_millis(500);
const REQUEST_SIZE_MAX: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            boot_id: "boot-1".into(),
            pid: 1,
            devices: Vec::new(),
        }
    }

    /// Serves one asker, who sends `line`; what is answered.
    fn exchange(line: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let server = Server::listen(&path).unwrap();
        let mut asker = UnixStream::connect(&path).unwrap();
        asker.write_all(line).unwrap();
        server.serve(Duration::from_secs(5), |_| Ok(report())).unwrap();
        let mut answer = String::new();
        asker.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn who_asks_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let server = Server::listen(&path).unwrap();
        let asker = std::thread::spawn(move || {
            let request = Request::Revoke {
                bdf: "0000:01:00.1".into(),
            };
            ask(&path, &request, Duration::from_secs(5))
        });
        let answer = |request| match request {
            Request::Revoke { bdf } => Err(format!("{bdf} is not trusted")),
            Request::Status => Ok(report()),
        };
        server.serve(Duration::from_secs(5), answer).unwrap();
        assert_eq!(asker.join().unwrap(), Err("0000:01:00.1 is not trusted".into()));
    }

    #[test]
    fn an_asker_who_makes_no_sense_or_no_end_is_answered_and_harms_nothing() {
        assert!(exchange(b"{\"ask\":\"status\"}\n").contains("boot-1"));
        for line in [
            &b"\n"[..],
            b"{\"ask\":\"open-all\"}\n",
            b"\xff\xfe\n",
            &[b'x'; 1024],
        ] {
            assert!(exchange(line).contains("no request"), "{line:?}");
        }
    }

    #[test]
    fn an_asker_who_says_nothing_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let server = Server::listen(&path).unwrap();
        let _silent = UnixStream::connect(&path).unwrap();
        let start = std::time::Instant::now();
        server.serve(Duration::from_secs(5), |_| Ok(report())).unwrap();
        assert!(start.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn a_second_agent_is_refused_and_a_dead_ones_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let first = Server::listen(&path).unwrap();
        let error = Server::listen(&path).unwrap_err();
        assert!(
            error.to_string().contains("another tidelock-agent runs"),
            "{error}"
        );
        // A process that is killed leaves its socket behind.
        std::mem::forget(first.listener.try_clone().unwrap());
        drop(first);
        std::fs::write(&path, "").unwrap();
        Server::listen(&path).unwrap();
    }
}
