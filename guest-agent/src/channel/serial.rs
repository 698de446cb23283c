//! A virtio-serial port as a [`Stream`].

use super::{Stream, StreamError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant};

/// An open port.
#[derive(Debug)]
pub struct Serial(OwnedFd);

impl Serial {
    /// Opens the port at `path`; waits until `deadline` for it to appear, since its driver may just be starting.
    pub fn open(path: &Path, deadline: Instant) -> Result<Self, StreamError> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        loop {
            match rustix::fs::open(path, flags, Mode::empty()) {
                Ok(fd) => return Ok(Self(fd)),
                Err(Errno::NOENT | Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(errno) => {
                    return Err(StreamError::Io(format!(
                        "{} cannot be opened ({errno}): give the machine that virtio-serial port, and load virtio_console",
                        path.display()
                    )));
                }
            }
        }
    }

    /// Waits for `wanted`. While the host has not opened its end there is only a hang-up to see: that is waited out.
    fn wait(&self, wanted: PollFlags, deadline: Instant) -> Result<(), StreamError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StreamError::Deadline);
            }
            let mut fds = [PollFd::new(&self.0, wanted)];
            match poll(&mut fds, Some(&timespec(left))) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io(errno)),
                Ok(_) if fds[0].revents().intersects(wanted) => return Ok(()),
                Ok(0) => return Err(StreamError::Deadline),
                Ok(_) => std::thread::sleep(PAUSE.min(left)),
            }
        }
    }
}

impl Stream for Serial {
    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            self.wait(PollFlags::OUT, deadline)?;
            match rustix::io::write(&self.0, bytes) {
                Ok(size) => bytes = bytes.get(size..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(io(errno)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<usize, StreamError> {
        loop {
            self.wait(PollFlags::IN, deadline)?;
            match rustix::io::read(&self.0, &mut *buffer) {
                Ok(0) => return Err(StreamError::Closed),
                Ok(size) => return Ok(size),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(io(errno)),
            }
        }
    }
}

fn io(errno: Errno) -> StreamError {
    StreamError::Io(format!("the port fails ({errno})"))
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec {
        tv_sec: i64::MAX,
        tv_nsec: 0,
    })
}

const PAUSE: Duration = Duration::from_millis(20);
