//! The serial console: copied to a file, its last lines kept for error messages, its length bounded.

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

    /// The last lines.
    pub(super) fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().filter(|byte| *byte != b'\r').collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    /// Waits for the last words; to be called when the machine has ended.
    pub(super) fn finish(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            // A panic in there has been printed; the console is for people, and nothing else hangs on it.
            let _ = recorder.join();
        }
    }
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

/// What is kept in memory.
const TAIL_BYTES: usize = 16 << 10;

/// What an error shows: a kernel panic with its trace fits.
const LINES_SHOWN: usize = 40;
