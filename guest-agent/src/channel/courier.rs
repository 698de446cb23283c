//! Requests to the host's courier, one at a time.

use super::{Error, Stream, StreamError};
use std::time::{Duration, Instant};
use tdisp::relay::courier::{Decoder, Request, Response, VERSION};

/// The guest's end of the courier protocol.
pub struct Courier {
    stream: Box<dyn Stream>,
    decoder: Decoder<Response>,
    last_id: u32,
    timeout: Duration,
    given_up: Option<String>,
}

impl core::fmt::Debug for Courier {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Courier(last id {})", self.last_id)
    }
}

impl Courier {
    /// Greets the host. `first_id` is a number that an earlier user of the stream has not used: what the host still has
    /// to say to that one is passed over, once, here.
    pub fn greet(stream: Box<dyn Stream>, first_id: u32, timeout: Duration) -> Result<Self, Error> {
        let mut courier = Self {
            stream,
            decoder: Decoder::default(),
            last_id: first_id,
            timeout,
            given_up: None,
        };
        courier.hello()?;
        Ok(courier)
    }

    /// Clears the stream after an error and greets the host anew.
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.given_up = None;
        self.hello()
    }

    /// Asks, and waits for the one answer.
    pub fn ask(&mut self, asked: &'static str, request: &Request) -> Result<Response, Error> {
        if let Some(first) = &self.given_up {
            return Err(Error::GivenUp {
                asked,
                first: first.clone(),
            });
        }
        let answer = self.exchange(asked, request);
        if let Err(error) = &answer {
            self.given_up = Some(error.to_string());
        }
        match answer? {
            Response::Refused { code, reason } => Err(Error::Refused { asked, code, reason }),
            response => Ok(response),
        }
    }

    fn exchange(&mut self, asked: &'static str, request: &Request) -> Result<Response, Error> {
        let deadline = Instant::now() + self.timeout;
        let wanted = self.send(asked, request, deadline)?;
        let (found, response) = self.receive(asked, deadline)?;
        if found != wanted {
            return Err(Error::WrongId { asked, found, wanted });
        }
        // A second answer that is there already would be taken for the next one's.
        match self.decoder.next() {
            Ok(None) => Ok(response),
            Ok(Some((found, _))) => Err(Error::WrongId {
                asked,
                found,
                wanted: wanted.wrapping_add(1),
            }),
            Err(error) => Err(Error::Frame { asked, error }),
        }
    }

    fn hello(&mut self) -> Result<(), Error> {
        let asked = "greeting the host";
        self.drain(asked)?;
        let deadline = Instant::now() + self.timeout;
        let wanted = self.send(asked, &Request::Hello { version: VERSION }, deadline)?;
        for _ in 0..STALE_ANSWERS_MAX {
            match self.receive(asked, deadline)? {
                (id, Response::Hello { version: VERSION }) if id == wanted => return Ok(()),
                (id, Response::Hello { version }) if id == wanted => {
                    return Err(Error::Version {
                        found: version,
                        wanted: VERSION,
                    });
                }
                (id, Response::Refused { code, reason }) if id == wanted => {
                    return Err(Error::Refused { asked, code, reason });
                }
                (id, response) if id == wanted => {
                    return Err(Error::WrongKind {
                        asked,
                        found: kind(&response),
                    });
                }
                _ => {}
            }
        }
        Err(Error::WrongId {
            asked,
            found: wanted.wrapping_sub(1),
            wanted,
        })
    }

    /// Reads away what was sent before anything was asked, so that the next byte begins a frame.
    fn drain(&mut self, asked: &'static str) -> Result<(), Error> {
        self.decoder = Decoder::default();
        let (end, mut buffer) = (Instant::now() + self.timeout, [0; 4096]);
        loop {
            let quiet = Instant::now() + QUIET;
            match self.stream.receive(&mut buffer, quiet) {
                Ok(_) if Instant::now() < end => {}
                Ok(_) => {
                    return Err(self.failed(asked, StreamError::Io("the host never stops sending".into())));
                }
                Err(StreamError::Deadline) => return Ok(()),
                Err(error) => return Err(self.failed(asked, error)),
            }
        }
    }

    fn send(&mut self, asked: &'static str, request: &Request, deadline: Instant) -> Result<u32, Error> {
        self.last_id = self.last_id.wrapping_add(1);
        let mut bytes = Vec::new();
        request.encode(self.last_id, &mut bytes);
        let sent = self.stream.send(&bytes, deadline);
        sent.map_err(|error| self.failed(asked, error))?;
        Ok(self.last_id)
    }

    fn receive(&mut self, asked: &'static str, deadline: Instant) -> Result<(u32, Response), Error> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(response) = self
                .decoder
                .next()
                .map_err(|error| Error::Frame { asked, error })?
            {
                return Ok(response);
            }
            let received = self.stream.receive(&mut buffer, deadline);
            let size = received.map_err(|error| self.failed(asked, error))?;
            self.decoder.push(buffer.get(..size).unwrap_or(&buffer));
        }
    }

    fn failed(&self, asked: &'static str, error: StreamError) -> Error {
        Error::Stream {
            asked,
            error,
            waited: self.timeout,
        }
    }
}

/// What a response is, for messages.
pub(super) fn kind(response: &Response) -> &'static str {
    match response {
        Response::Hello { .. } => "a greeting",
        Response::Bound { .. } => "a bound interface",
        Response::Unbound => "an unbound interface",
        Response::Chunk(_) => "a piece of evidence",
        Response::Guest { .. } => "a sealed message",
        Response::Refused { .. } => "a refusal",
    }
}

/// So long nothing may come before the stream counts as empty.
const QUIET: Duration = Duration::from_millis(20);
/// Answers to an earlier user of the stream that are passed over.
const STALE_ANSWERS_MAX: usize = 64;
