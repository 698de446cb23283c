//! The serial console: copied to a file, what tells why a machine ended kept for error messages, its length bounded.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

/// What a thread records until the machine ends.
#[derive(Debug, Default)]
pub(super) struct Console {
    tail: Arc<Mutex<VecDeque<u8>>>,
    recorder: Option<JoinHandle<()>>,
}

impl Console {
    /// Copies what comes out of `pipe` to `log`. At `end` the process group is killed, whoever waits for what.
    pub(super) fn record(pipe: PipeReader, log: &Path, end: Instant, group: Pid) -> std::io::Result<Self> {
        let log = File::create(log)?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let shared = tail.clone();
        let recorder = std::thread::Builder::new()
            .name("console".into())
            .spawn(move || copy(pipe, log, &shared, end, group))?;
        Ok(Self {
            tail,
            recorder: Some(recorder),
        })
    }

    /// The last lines; where the kernel panicked, from shortly before that on, however long its trace is.
    pub(super) fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().filter(|byte| *byte != b'\r').collect();
        telling(&String::from_utf8_lossy(&bytes))
    }

    /// Waits for the last words; to be called when the machine has ended.
    pub(super) fn finish(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            // A panic in there has been printed; the console is for people, and nothing else hangs on it.
            let _ = recorder.join();
        }
    }
}

/// The lines of `text` that [`Console::tail`] shows.
fn telling(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.len().saturating_sub(LINES_SHOWN);
    let panic = lines.iter().position(|line| line.contains(PANIC));
    let before_panic = panic.map_or(last, |at| at.saturating_sub(LINES_BEFORE_PANIC));
    lines[last.min(before_panic)..].join("\n")
}

/// Ends with the pipe, that is with the last process of the group.
fn copy(mut pipe: PipeReader, mut log: File, tail: &Mutex<VecDeque<u8>>, end: Instant, group: Pid) {
    let mut room = LOG_BYTES_MAX;
    let mut chunk = [0; 4096];
    loop {
        if !readable_before(&pipe, end) {
            // While the pipe is open somebody of the group lives, so that the number still names it.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let Ok(count @ 1..) = pipe.read(&mut chunk) else {
            return;
        };
        let bytes = &chunk[..count];
        let kept = count.min(room);
        room -= kept;
        // A full disk costs the log, not the test.
        let _ = log.write_all(&bytes[..kept]);
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(bytes);
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }
}

fn readable_before(pipe: &PipeReader, end: Instant) -> bool {
    let left = end.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: i64::from(left.subsec_nanos()),
    };
    match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
        Ok(0) => false,
        Ok(_) => true,
        Err(_) => Instant::now() < end,
    }
}

/// A guest in a loop of error messages must not fill the disk.
const LOG_BYTES_MAX: usize = 8 << 20;

/// What is kept in memory, and the most that an error shows: a kernel panic with the longest of traces fits.
const TAIL_BYTES: usize = 16 << 10;

/// What an error shows of a machine that did not panic.
const LINES_SHOWN: usize = 40;

/// How the kernel begins to say why it gives up; its trace, whose length differs from run to run, follows.
const PANIC: &str = "Kernel panic - ";

/// The last words of who made the kernel panic.
const LINES_BEFORE_PANIC: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(what: &str, count: usize) -> String {
        (1..=count).map(|number| format!("{what} {number}\n\n")).collect()
    }

    #[test]
    fn the_last_forty_lines_are_shown() {
        let shown = telling(&numbered("line", 100));
        assert_eq!(shown.lines().count(), 40);
        assert!(
            shown.starts_with("line 61\n") && shown.ends_with("line 100"),
            "{shown}"
        );
    }

    #[test]
    fn a_panic_and_the_words_before_it_are_shown_however_long_its_trace_is() {
        let before = numbered("before", 100);
        let panic = "[    3.9] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000700\n";
        for trace in [0, 1, 39, 40, 41, 300] {
            let shown = telling(&format!("{before}{panic}{}", numbered("trace", trace)));
            assert!(shown.contains("before 81\n"), "{trace}: {shown}");
            assert!(shown.contains(panic.trim_end()), "{trace}: {shown}");
            assert_eq!(shown.lines().count(), (20 + 1 + trace).max(40), "{shown}");
        }
    }

    #[test]
    fn a_console_that_said_little_is_shown_whole() {
        assert_eq!(telling(""), "");
        assert_eq!(telling("one\n\n  \ntwo"), "one\ntwo");
        let panicked = format!("{PANIC}not syncing\ntrace");
        assert_eq!(telling(&panicked), panicked);
    }
}
