//! What the agent asks of the host and of the TSM.
//!
//! What enables something takes a [`Grant`], which only [`accept`](crate::accept) can make.

use super::courier::{Courier, kind};
use super::{Error, Stream};
use crate::accept::Grant;
use core::ops::Range;
use sriov::Bdf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tdisp::crypto::{Provider, Secret};
use tdisp::relay::courier::{Assembly, Request, Response};
use tdisp::relay::guest::{self, TdiInfo, ValidateMmio};
use tdisp::relay::{ObjectKind, Rid, TdiId, Vouched, sealed};

/// The host's courier, and the sealed channel to the TSM inside it.
pub struct Link {
    courier: Courier,
    tsm: sealed::Guest,
    key: Secret,
    provider: Arc<dyn Provider>,
    timeout: Duration,
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Link({:?}, {:?})", self.courier, self.tsm)
    }
}

/// A whole object may take so many times as long as one answer. While it is fetched no other device is watched.
const OBJECT_TIMEOUTS: u32 = 8;
const OPENING: &str = "opening the channel to the TSM";

impl Link {
    /// Greets the host and opens the channel to the TSM with the key that both hold.
    pub fn open(
        stream: Box<dyn Stream>,
        key: Secret,
        provider: Arc<dyn Provider>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let mut first_id = [0; 4];
        let random = provider.random(&mut first_id);
        random.map_err(|error| Error::Sealed {
            asked: OPENING,
            error: sealed::Error::Crypto(error),
        })?;
        let mut courier = Courier::greet(stream, u32::from_ne_bytes(first_id), timeout)?;
        let tsm = open_sealed(&mut courier, &key, &provider)?;
        Ok(Self {
            courier,
            tsm,
            key,
            provider,
            timeout,
        })
    }

    /// Begins anew on the same stream after an error.
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.courier.reopen()?;
        self.tsm = open_sealed(&mut self.courier, &self.key, &self.provider)?;
        Ok(())
    }

    /// Asks the host to have the interface behind `bdf` locked. The name it gives is only a name.
    pub fn bind(&mut self, bdf: Bdf, flags: u16) -> Result<TdiId, Error> {
        let asked = "asking the host to lock the interface";
        match self.courier.ask(
            asked,
            &Request::Bind {
                guest: rid(bdf),
                flags,
            },
        )? {
            Response::Bound { tdi } => Ok(tdi),
            other => Err(Error::WrongKind {
                asked,
                found: kind(&other),
            }),
        }
    }

    /// Asks the host to forget the interface behind `bdf`.
    pub fn unbind(&mut self, bdf: Bdf) -> Result<(), Error> {
        let asked = "asking the host to release the interface";
        match self.courier.ask(asked, &Request::Unbind { guest: rid(bdf) })? {
            Response::Unbound => Ok(()),
            other => Err(Error::WrongKind {
                asked,
                found: kind(&other),
            }),
        }
    }

    /// Fetches one object of evidence from the host, piece by piece, in bounded memory.
    pub fn object(&mut self, tdi: TdiId, wanted: ObjectKind) -> Result<Vec<u8>, Error> {
        let asked = match wanted {
            ObjectKind::CERTIFICATES => "fetching the certificates",
            ObjectKind::MEASUREMENTS => "fetching the measurements",
            _ => "fetching the interface report",
        };
        let mut assembly = Assembly::new(wanted);
        let (begun, longest) = (Instant::now(), self.timeout * OBJECT_TIMEOUTS);
        loop {
            // Each piece has its own deadline, and a host that gives a byte just before it would take years.
            if begun.elapsed() > longest {
                return Err(Error::Slow { asked, longest });
            }
            let request = Request::Object {
                tdi,
                kind: wanted,
                offset: assembly.offset(),
            };
            let chunk = match self.courier.ask(asked, &request)? {
                Response::Chunk(chunk) => chunk,
                other => {
                    return Err(Error::WrongKind {
                        asked,
                        found: kind(&other),
                    });
                }
            };
            match assembly.add(&chunk) {
                Ok(Some(object)) => return Ok(object),
                Ok(None) => {}
                Err(error) => return Err(Error::Object { asked, error }),
            }
        }
    }

    /// What the TSM vouches for about the interface behind `bdf`.
    pub fn info(&mut self, bdf: Bdf) -> Result<Vouched<TdiInfo>, Error> {
        let asked = "asking the TSM about the interface";
        let answer = self.ask_tsm(asked, &guest::Request::TdiInfo { guest: rid(bdf) })?;
        answer.tdi_info().ok_or(Error::Sealed {
            asked,
            error: sealed::Error::WrongAnswer,
        })
    }

    /// Has the TSM measure the device anew.
    pub fn refresh(&mut self, tdi: TdiId, generation: u64, nonce: [u8; 32]) -> Result<(), Error> {
        let request = guest::Request::RefreshMeasurements {
            tdi,
            generation,
            nonce,
        };
        self.ask_tsm("having the device measured", &request).map(drop)
    }

    /// Lets every device reach a range of guest memory: the bounce buffers.
    pub fn share(&mut self, range: Range<u64>) -> Result<(), Error> {
        let request = guest::Request::Share {
            gpa: range.start,
            len: range.end.saturating_sub(range.start),
        };
        self.ask_tsm("sharing the bounce buffers", &request).map(drop)
    }

    /// Has a range of the device's memory checked and made private. Answers whether anything changed.
    pub fn validate(&mut self, range: ValidateMmio, _: &Grant<'_>) -> Result<bool, Error> {
        let asked = "validating the device's memory";
        match self
            .ask_tsm(asked, &guest::Request::ValidateMmio(range))?
            .into_inner()
        {
            guest::Response::MmioValidated { changed } => Ok(changed),
            _ => Err(Error::Sealed {
                asked,
                error: sealed::Error::WrongAnswer,
            }),
        }
    }

    /// Starts the interface: LOCKED to RUN.
    pub fn start(
        &mut self,
        tdi: TdiId,
        generation: u64,
        report_count: u64,
        _: &Grant<'_>,
    ) -> Result<(), Error> {
        let request = guest::Request::Start {
            tdi,
            generation,
            report_count,
        };
        self.ask_tsm("starting the interface", &request).map(drop)
    }

    /// Lets the interface reach private memory.
    pub fn enable_dma(&mut self, tdi: TdiId, generation: u64, _: &Grant<'_>) -> Result<(), Error> {
        self.ask_tsm("enabling DMA", &guest::Request::EnableDma { tdi, generation })
            .map(drop)
    }

    /// Takes that back.
    pub fn disable_dma(&mut self, tdi: TdiId) -> Result<(), Error> {
        self.ask_tsm("disabling DMA", &guest::Request::DisableDma { tdi })
            .map(drop)
    }

    /// Stops the interface: its lock is void.
    pub fn stop(&mut self, tdi: TdiId) -> Result<(), Error> {
        self.ask_tsm("stopping the interface", &guest::Request::Stop { tdi })
            .map(drop)
    }

    fn ask_tsm(
        &mut self,
        asked: &'static str,
        request: &guest::Request,
    ) -> Result<Vouched<guest::Response>, Error> {
        let broken = |error| Error::Sealed { asked, error };
        let sealed = self.tsm.seal(request).map_err(broken)?;
        let answer = match self.courier.ask(asked, &Request::Guest { sealed })? {
            Response::Guest { sealed } => self.tsm.open(&sealed).map_err(broken)?,
            other => {
                return Err(Error::WrongKind {
                    asked,
                    found: kind(&other),
                });
            }
        };
        match &*answer {
            guest::Response::Refused { status, reason } => Err(Error::Tsm {
                asked,
                status: *status,
                reason: reason.clone(),
            }),
            _ => Ok(answer),
        }
    }
}

fn open_sealed(
    courier: &mut Courier,
    key: &Secret,
    provider: &Arc<dyn Provider>,
) -> Result<sealed::Guest, Error> {
    let broken = |error| Error::Sealed {
        asked: OPENING,
        error,
    };
    let (opening, sealed) = sealed::Guest::begin(key, Arc::clone(provider)).map_err(broken)?;
    match courier.ask(OPENING, &Request::Guest { sealed })? {
        Response::Guest { sealed } => opening.opened(&sealed).map_err(broken),
        other => Err(Error::WrongKind {
            asked: OPENING,
            found: kind(&other),
        }),
    }
}

/// The relay's name of a function. Linux makes up domains beyond 16 bits for what is behind a host controller of its
/// own; no such function is a TDI, and the name that they get here is no function's.
pub(crate) fn rid(bdf: Bdf) -> Rid {
    Rid(u32::from(u16::try_from(bdf.domain()).unwrap_or(u16::MAX)) << 16 | u32::from(bdf.rid()))
}
