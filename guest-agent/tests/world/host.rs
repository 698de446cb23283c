//! A host and a TSM in this process. They use the real courier frames and the real sealed channel; hooks let the host
//! lie about everything that it carries, and let the TSM have seen something else.

use super::device::Device;
use guest_agent::channel::{Stream, StreamError};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tdisp::crypto::{HashAlg, Ring, Secret, digest};
use tdisp::relay::courier::{Chunk, Code, Decoder, Request, Response, VERSION};
use tdisp::relay::guest::{self, Binding, Status, TdiInfo, TdiState};
use tdisp::relay::{ObjectKind, Rid, TdiId, sealed};

pub(crate) const KEY: [u8; 32] = [7; 32];

/// One interface as the TSM knows it.
#[derive(Clone)]
pub(crate) struct Tdi {
    pub(crate) id: TdiId,
    pub(crate) function_id: u32,
    pub(crate) state: TdiState,
    pub(crate) generation: u64,
    pub(crate) report_count: u64,
    pub(crate) flags: u16,
    pub(crate) dma: bool,
    pub(crate) measurements: Option<Vec<u8>>,
}

/// The host, the TSM and the devices, by the guest's address.
pub(crate) struct Host {
    pub(crate) devices: BTreeMap<Rid, Device>,
    pub(crate) tdis: BTreeMap<Rid, Tdi>,
    /// What the guest asked of the TSM, in words.
    pub(crate) asked: Vec<&'static str>,
    pub(crate) shared: Vec<(u64, u64)>,
    pub(crate) validated: Vec<(u16, u64, u64)>,
    pub(crate) locks: u64,
    /// Says that it released an interface, and does not.
    pub(crate) keeps_bound: bool,
    lies: Lies,
    tsm: sealed::Tsm,
    decoder: Decoder<Request>,
    out: VecDeque<u8>,
    hung_up: bool,
}

type Lie<F> = Option<Box<F>>;

/// Where a test comes in between. Each may be called any number of times.
#[allow(clippy::type_complexity)] // a function's type is said where it is used
#[derive(Default)]
pub(crate) struct Lies {
    /// Changes the host's answer to a request.
    pub(crate) answer: Lie<dyn FnMut(&Request, &mut Response)>,
    /// Changes the bytes of an answer, with the request that it answers.
    pub(crate) bytes: Lie<dyn FnMut(&Request, &mut Vec<u8>)>,
    /// Changes what the TSM has come to, before the n-th question about an interface (from 1).
    pub(crate) tsm: Lie<dyn FnMut(u32, &mut Tdi)>,
    /// Changes the n-th statement of the TSM (from 1).
    pub(crate) info: Lie<dyn FnMut(u32, &mut TdiInfo)>,
    /// Answers a request of the guest in the TSM's place.
    pub(crate) instead: Lie<dyn FnMut(&guest::Request) -> Option<guest::Response>>,
    infos: u32,
}

/// The host's end, shared with the test.
#[derive(Clone)]
pub(crate) struct Shared(pub(crate) Rc<RefCell<Host>>);

impl core::fmt::Debug for Shared {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(crate) fn new(devices: impl IntoIterator<Item = (Rid, Device)>) -> Self {
        Self(Rc::new(RefCell::new(Host {
            devices: devices.into_iter().collect(),
            tdis: BTreeMap::new(),
            asked: Vec::new(),
            shared: Vec::new(),
            validated: Vec::new(),
            locks: 6,
            keeps_bound: false,
            lies: Lies::default(),
            tsm: sealed::Tsm::new(Secret::new(KEY.to_vec()), Arc::new(Ring)).unwrap(),
            decoder: Decoder::default(),
            out: VecDeque::new(),
            hung_up: false,
        })))
    }

    pub(crate) fn lie(&self, change: impl FnOnce(&mut Lies)) {
        change(&mut self.0.borrow_mut().lies);
    }

    pub(crate) fn hang_up(&self) {
        self.0.borrow_mut().hung_up = true;
    }

    /// Whether the TSM lets any interface reach private memory.
    pub(crate) fn any_dma(&self) -> bool {
        self.0.borrow().tdis.values().any(|tdi| tdi.dma)
    }

    pub(crate) fn tdi(&self, guest: Rid) -> Option<Tdi> {
        self.0.borrow().tdis.get(&guest).cloned()
    }

    pub(crate) fn change(&self, guest: Rid, change: impl FnOnce(&mut Tdi)) {
        change(
            self.0
                .borrow_mut()
                .tdis
                .get_mut(&guest)
                .expect("no such interface"),
        );
    }

    pub(crate) fn device(&self, guest: Rid, change: impl FnOnce(&mut Device)) {
        change(
            self.0
                .borrow_mut()
                .devices
                .get_mut(&guest)
                .expect("no such device"),
        );
    }

    /// What the guest asked of the TSM after its last request called `mark`.
    pub(crate) fn asked_after(&self, mark: &str) -> Vec<&'static str> {
        let host = self.0.borrow();
        let at = host
            .asked
            .iter()
            .rposition(|asked| *asked == mark)
            .map_or(0, |at| at + 1);
        host.asked[at..].to_vec()
    }

    pub(crate) fn asked(&self, what: &str) -> usize {
        self.0
            .borrow()
            .asked
            .iter()
            .filter(|asked| **asked == what)
            .count()
    }
}

impl Stream for Shared {
    fn send(&mut self, bytes: &[u8], _: Instant) -> Result<(), StreamError> {
        let mut host = self.0.borrow_mut();
        if host.hung_up {
            return Err(StreamError::Closed);
        }
        host.decoder.push(bytes);
        while let Some((id, request)) = host.decoder.next().expect("the agent sends frames") {
            let mut response = host.serve(&request);
            if let Some(lie) = &mut host.lies.answer {
                lie(&request, &mut response);
            }
            let mut frame = Vec::new();
            response.encode(id, &mut frame);
            if let Some(lie) = &mut host.lies.bytes {
                lie(&request, &mut frame);
            }
            host.out.extend(frame);
        }
        Ok(())
    }

    /// No waiting: what has not come now will not come.
    fn receive(&mut self, buffer: &mut [u8], _: Instant) -> Result<usize, StreamError> {
        let mut host = self.0.borrow_mut();
        if host.hung_up {
            return Err(StreamError::Closed);
        }
        let size = buffer.len().min(host.out.len());
        for (to, from) in buffer.iter_mut().zip(host.out.drain(..size)) {
            *to = from;
        }
        if size == 0 {
            Err(StreamError::Deadline)
        } else {
            Ok(size)
        }
    }
}

impl Host {
    fn serve(&mut self, request: &Request) -> Response {
        match request {
            Request::Hello { .. } => Response::Hello { version: VERSION },
            Request::Bind { guest, flags } => self.bind(*guest, *flags),
            Request::Unbind { .. } if self.keeps_bound => Response::Unbound,
            Request::Unbind { guest } => match self.tdis.remove(guest) {
                Some(_) => Response::Unbound,
                None => refused(Code::UNKNOWN, "not bound"),
            },
            Request::Object { tdi, kind, offset } => self.object(*tdi, *kind, *offset),
            Request::Guest { sealed } => match self.tsm.receive(sealed) {
                Ok(sealed::Incoming::Opened(answer)) => Response::Guest { sealed: answer },
                Ok(sealed::Incoming::Request(request)) => {
                    let response = self.answer_guest(&request);
                    Response::Guest {
                        sealed: self.tsm.seal(&response).unwrap(),
                    }
                }
                Err(error) => refused(Code::CHANNEL, &error.to_string()),
            },
        }
    }

    fn bind(&mut self, guest: Rid, flags: u16) -> Response {
        if !self.devices.contains_key(&guest) || self.tdis.contains_key(&guest) {
            return refused(Code::BUSY, "no such function, or bound already");
        }
        self.locks += 1;
        let id = TdiId(0x1000 + self.locks);
        let tdi = Tdi {
            id,
            function_id: 1 << 24 | guest.0,
            state: TdiState::LOCKED,
            generation: self.locks,
            report_count: 1,
            flags,
            dma: false,
            measurements: None,
        };
        self.tdis.insert(guest, tdi);
        Response::Bound { tdi: id }
    }

    fn object(&self, tdi: TdiId, kind: ObjectKind, offset: u32) -> Response {
        let Some((guest, tdi)) = self.tdis.iter().find(|(_, bound)| bound.id == tdi) else {
            return refused(Code::UNKNOWN, "no such interface");
        };
        let device = &self.devices[guest];
        let object = match kind {
            ObjectKind::CERTIFICATES => device.chain.clone(),
            ObjectKind::MEASUREMENTS => tdi.measurements.clone().unwrap_or_default(),
            _ => device.report_bytes(),
        };
        let rest = &object[usize::try_from(offset).unwrap().min(object.len())..];
        // Small pieces, so that there are several.
        let bytes = rest[..rest.len().min(600)].to_vec();
        Response::Chunk(Chunk {
            kind,
            total: u32::try_from(object.len()).unwrap(),
            offset,
            bytes,
        })
    }

    fn answer_guest(&mut self, request: &guest::Request) -> guest::Response {
        self.asked.push(match request {
            guest::Request::TdiInfo { .. } => "info",
            guest::Request::RefreshMeasurements { .. } => "refresh",
            guest::Request::ValidateMmio(_) => "validate",
            guest::Request::Start { .. } => "start",
            guest::Request::EnableDma { .. } => "enable-dma",
            guest::Request::DisableDma { .. } => "disable-dma",
            guest::Request::Stop { .. } => "stop",
            guest::Request::Share { .. } => "share",
            guest::Request::Unshare { .. } => "unshare",
        });
        if let Some(instead) = &mut self.lies.instead
            && let Some(response) = instead(request)
        {
            return response;
        }
        match self.operate(request) {
            Ok(response) => response,
            Err(status) => guest::Response::Refused {
                status,
                reason: "as asked".into(),
            },
        }
    }

    fn operate(&mut self, request: &guest::Request) -> Result<guest::Response, Status> {
        match request {
            guest::Request::TdiInfo { guest } => return Ok(guest::Response::TdiInfo(self.info(*guest))),
            guest::Request::RefreshMeasurements {
                tdi,
                generation,
                nonce,
            } => {
                let (guest, bound) = self.lock(*tdi, Some(*generation))?;
                bound.measurements = Some(Vec::new());
                let transcript = self.devices[&guest].transcript(*nonce);
                self.lock(*tdi, None)?.1.measurements = Some(transcript);
            }
            guest::Request::ValidateMmio(range) => {
                self.lock(range.tdi, Some(range.generation))?;
                self.validated.push((range.range_id, range.gpa, range.pages));
                return Ok(guest::Response::MmioValidated { changed: true });
            }
            guest::Request::Start {
                tdi,
                generation,
                report_count,
            } => {
                let bound = self.lock(*tdi, Some(*generation))?.1;
                if bound.report_count != *report_count {
                    return Err(Status::STALE);
                }
                if bound.state != TdiState::LOCKED {
                    return Err(Status::WRONG_STATE);
                }
                bound.state = TdiState::RUN;
            }
            guest::Request::EnableDma { tdi, generation } => {
                let bound = self.lock(*tdi, Some(*generation))?.1;
                if bound.state != TdiState::RUN {
                    return Err(Status::WRONG_STATE);
                }
                bound.dma = true;
            }
            guest::Request::DisableDma { tdi } => self.lock(*tdi, None)?.1.dma = false,
            guest::Request::Stop { tdi } => {
                let bound = self.lock(*tdi, None)?.1;
                (bound.state, bound.dma) = (TdiState::UNLOCKED, false);
            }
            guest::Request::Share { gpa, len } => self.shared.push((*gpa, *len)),
            guest::Request::Unshare { .. } => return Err(Status::BAD_REQUEST),
        }
        Ok(guest::Response::Done)
    }

    fn lock(&mut self, tdi: TdiId, generation: Option<u64>) -> Result<(Rid, &mut Tdi), Status> {
        let found = self.tdis.iter_mut().find(|(_, bound)| bound.id == tdi);
        let (guest, bound) = found.ok_or(Status::INVALID_TDI)?;
        match generation {
            Some(generation) if generation != bound.generation => Err(Status::STALE),
            _ => Ok((*guest, bound)),
        }
    }

    fn info(&mut self, guest: Rid) -> TdiInfo {
        self.lies.infos += 1;
        let n = self.lies.infos;
        if let (Some(lie), Some(tdi)) = (&mut self.lies.tsm, self.tdis.get_mut(&guest)) {
            lie(n, tdi);
        }
        let mut info = match self.tdis.get(&guest) {
            None => TdiInfo::absent(guest, Binding::UNBOUND),
            Some(tdi) => self.statement(guest, tdi),
        };
        if let Some(lie) = &mut self.lies.info {
            lie(n, &mut info);
        }
        info
    }

    fn statement(&self, guest: Rid, tdi: &Tdi) -> TdiInfo {
        let device = &self.devices[&guest];
        let of = |bytes: &[u8]| digest(&Ring, HashAlg::Sha384, bytes).as_ref().try_into().unwrap();
        TdiInfo {
            guest,
            status: Binding::BOUND,
            tdi: tdi.id,
            function_id: tdi.function_id,
            state: tdi.state,
            generation: tdi.generation,
            report_count: tdi.report_count,
            lock_flags: tdi.flags,
            dma_enabled: tdi.dma,
            measurements_valid: tdi.measurements.is_some(),
            measurements_fresh: tdi.measurements.is_some(),
            spdm: device.negotiated(),
            slot: 0,
            certificates_digest: of(&device.chain),
            measurements_digest: of(tdi.measurements.as_deref().unwrap_or_default()),
            report_digest: of(&device.report_bytes()),
        }
    }
}

fn refused(code: Code, reason: &str) -> Response {
    Response::Refused {
        code,
        reason: reason.to_owned(),
    }
}
