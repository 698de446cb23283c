// UNSAFETY: a child process must die with its parent even if that one is killed; only code between fork and exec can arrange it.
#![allow(unsafe_code)]

//! Processes that never outlive the one that started them.
//!
//! A [`Process`] is ended when it is dropped: asked first, killed when it does not listen. Should the parent be killed itself, the
//! kernel ends the child. Its output goes to a file, whose last lines every error carries.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to end once it was asked to.
const END_GRACE: Duration = Duration::from_secs(3);
/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(2);
/// Bytes of a log that an error carries at most.
const LOG_TAIL_BYTES: usize = 4000;

/// Why a process did not do what it was started for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error(
        "{name} could not be started ({program}): {error}; is it built? `./x demo` builds everything it needs"
    )]
    Start {
        /// What the caller calls it.
        name: String,
        /// The program.
        program: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// It ended too early.
    #[error("{name} ended ({status}) while {waiting_for}; its last words:\n{tail}")]
    Ended {
        /// What the caller calls it.
        name: String,
        /// Exit status.
        status: String,
        /// What was waited for.
        waiting_for: String,
        /// The end of its log.
        tail: String,
    },
    /// It did not get there in time.
    #[error("{name}: waited {waited:?} for {waiting_for}; its last words:\n{tail}")]
    Late {
        /// What the caller calls it.
        name: String,
        /// How long.
        waited: Duration,
        /// What was waited for.
        waiting_for: String,
        /// The end of its log.
        tail: String,
    },
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own, with no input and its output in `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self, ProcessError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |error| ProcessError::Start {
            name: name.into(),
            program,
            error,
        };
        let child = (|| {
            let out = File::create(log)?;
            let err = out.try_clone()?;
            command
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(err)
                .process_group(0);
            die_with_parent(command);
            command.spawn()
        })()
        .map_err(failed)?;
        Ok(Self {
            name: name.into(),
            child,
            log: log.into(),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` answers something, for at most `limit`; an early end of the process is an error.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, ProcessError> {
        let start = Instant::now();
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            self.check(what)?;
            if start.elapsed() > limit {
                return Err(self.late(what, limit));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until the process has made a socket or file at `path`.
    pub fn wait_for_path(&mut self, path: &Path, limit: Duration) -> Result<(), ProcessError> {
        let what = format!(
            "{} to appear",
            path.file_name().unwrap_or(OsStr::new("path")).to_string_lossy()
        );
        self.wait_for(&what, limit, || path.exists().then_some(()))
    }

    /// An error if the process has ended.
    pub fn check(&mut self, waiting_for: &str) -> Result<(), ProcessError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(ProcessError::Ended {
                name: self.name.clone(),
                status: status.to_string(),
                waiting_for: format!("waiting for {waiting_for}"),
                tail: self.log_tail(),
            }),
            _ => Ok(()),
        }
    }

    /// The error of one who waited too long for `what`.
    pub fn late(&self, what: &str, waited: Duration) -> ProcessError {
        ProcessError::Late {
            name: self.name.clone(),
            waited,
            waiting_for: what.into(),
            tail: self.log_tail(),
        }
    }

    /// Asks the process to end and waits; kills it when it does not. Answers whether it ended by itself with success.
    pub fn end(&mut self) -> bool {
        signal(&self.child, libc::SIGTERM);
        let asked = Instant::now();
        while asked.elapsed() < END_GRACE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success();
            }
            std::thread::sleep(POLL);
        }
        signal(&self.child, libc::SIGKILL);
        // Reaps it: SIGKILL cannot be refused.
        let _ = self.child.wait();
        false
    }

    /// The last lines of its output.
    pub fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let tail = &bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..];
        String::from_utf8_lossy(tail).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.end();
        }
    }
}

/// Makes the kernel kill the child when the thread that starts it ends; so start children from the main thread.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only prctl and getppid are called, both async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

fn signal(child: &Child, signal: i32) {
    let Ok(group) = i32::try_from(child.id()) else {
        return;
    };
    // SAFETY: kill takes no pointer. The child was not reaped yet, so its id still names the group that it leads.
    unsafe { libc::kill(-group, signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Process, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(
            "shell",
            Command::new("sh").args(["-c", script]),
            &dir.path().join("log"),
        );
        (process.unwrap(), dir)
    }

    fn alive(id: u32) -> bool {
        Path::new(&format!("/proc/{id}")).exists()
    }

    #[test]
    fn a_process_is_gone_when_its_owner_is() {
        let (process, _dir) = shell("sleep 60");
        let id = process.id();
        assert!(alive(id));
        drop(process);
        assert!(!alive(id));
    }

    #[test]
    fn a_process_that_ends_early_says_its_last_words() {
        let (mut process, dir) = shell("echo no such device; exit 3");
        let error = process
            .wait_for_path(&dir.path().join("never"), Duration::from_secs(20))
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("no such device"),
            "{text}"
        );
    }

    #[test]
    fn a_process_that_is_late_says_what_was_waited_for() {
        let (mut process, dir) = shell("sleep 60");
        let error = process
            .wait_for_path(&dir.path().join("sock"), Duration::from_millis(20))
            .unwrap_err();
        assert!(error.to_string().contains("sock to appear"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            Process::start("device", &mut Command::new("/no/such"), &dir.path().join("log")).unwrap_err();
        assert!(error.to_string().contains("/no/such"), "{error}");
    }
}
