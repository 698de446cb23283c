//! The operator's side: one request, one answer.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Answer, Request};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "tidelockd cannot be reached at {}: {source}; start it, or name its api_socket with --socket",
        path.display()
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The daemon hung up or is silent.
    #[error("tidelockd gave no answer: {0}; see its log")]
    NoAnswer(io::Error),
    /// The answer is not the API's.
    #[error("tidelockd's answer cannot be read: {0}; is it of the same version as this command?")]
    Malformed(#[from] serde_json::Error),
}

/// Longest wait for an answer: several exchanges with a slow device, each bounded by the daemon.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(180);
const ANSWER_SIZE_MAX: u64 = 16 << 20;

/// Sends `request` to the daemon at `path` and waits for its answer.
pub fn call(path: &Path, request: &Request) -> Result<Answer, ClientError> {
    let unreachable = |source| ClientError::Unreachable {
        path: path.into(),
        source,
    };
    let mut stream = UnixStream::connect(path).map_err(unreachable)?;
    stream
        .set_read_timeout(Some(ANSWER_WAIT_MAX))
        .map_err(unreachable)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(ClientError::NoAnswer)?;
    let mut answer = String::new();
    let read = BufReader::new(stream.take(ANSWER_SIZE_MAX)).read_line(&mut answer);
    if read.map_err(ClientError::NoAnswer)? == 0 {
        return Err(ClientError::NoAnswer(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(serde_json::from_str(&answer)?)
}
