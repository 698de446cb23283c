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

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe with a name, open both ways, is a port whose host echoes.
    fn echo() -> (tempfile::TempDir, Serial) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("port");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let serial = Serial::open(&path, Instant::now()).unwrap();
        (folder, serial)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[test]
    fn what_is_sent_arrives() {
        let (_folder, mut port) = echo();
        port.send(b"hello", soon()).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(port.receive(&mut buffer, soon()), Ok(5));
        assert_eq!(&buffer[..5], b"hello");
    }

    #[test]
    fn silence_and_a_full_port_end_with_the_deadline() {
        let (_folder, mut port) = echo();
        assert_eq!(port.receive(&mut [0; 16], soon()), Err(StreamError::Deadline));
        assert_eq!(port.send(&vec![0; 1 << 20], soon()), Err(StreamError::Deadline));
    }

    #[test]
    fn a_port_that_does_not_appear_is_named_with_what_to_do() {
        let error = Serial::open(Path::new("/dev/virtio-ports/none"), soon())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/dev/virtio-ports/none cannot be opened"),
            "{error}"
        );
        assert!(error.contains("load virtio_console"), "{error}");
    }
}
