//! What comes in: units, records, chunks and errors, until it is the answer that is waited for.

use super::{
    Requester,
    chunk::{self, Carriage, Receiver},
    identify::expect,
    operation::Operation,
    step::{Channel, Fault, Pending, Received},
};
use crate::crypto::Wiped;
use crate::{
    clock::Instant,
    spdm::{
        error::Misbehaviour,
        msg::{
            Code, Context, Header, Payload, Version,
            error::{self as error_msg, ErrorCode, NotReady},
            respond_if_ready,
        },
        secured::Record,
        transport::Kind,
    },
    wire::DecodeError,
};
use core::{mem, time::Duration};

impl Requester {
    /// Opens the unit and looks for an ERROR in it.
    pub(super) fn receive(&mut self, pending: &mut Pending, unit: &[u8]) -> Result<Received, Fault> {
        let transport = self.config.transport;
        let Some((kind, body)) = transport.unwrap(unit)? else {
            return Err(Fault::Bytes(DecodeError::Invalid {
                what: "type of the transport's unit",
                found: unit.first().copied().unwrap_or_default().into(),
                wanted: "an SPDM message or a record",
            }));
        };
        let overhead = transport.record_overhead();
        let (size, max) = (body.len(), self.config.transfer_size as usize);
        let max = max.saturating_add(overhead).next_multiple_of(4);
        if size > max {
            return Err(Fault::Peer(Misbehaviour::TooLarge { size, max }));
        }
        let (message, channel) = match kind {
            Kind::Clear => (Wiped::new(body.to_vec()), Channel::Clear),
            Kind::Record => self.open(pending.channel, body)?,
        };
        self.take(pending, channel, message)
    }

    /// A message, or what chunks have made up: looks for an ERROR in it, and else whether it is what is waited for.
    fn take(&self, pending: &mut Pending, channel: Channel, message: Wiped) -> Result<Received, Fault> {
        let header = Header::peek(&message)?;
        if header.code == Code::ERROR {
            return self.on_error(pending, channel, &message);
        }
        if channel != pending.channel {
            let in_session = channel != Channel::Clear;
            return Err(Fault::Peer(Misbehaviour::WrongChannel { in_session }));
        }
        if header.code != pending.carriage.awaits(pending.awaited) {
            let found = header.code;
            return Err(Fault::Peer(Misbehaviour::Unexpected { found }));
        }
        if let Carriage::Whole = pending.carriage {
            return Ok(Received::Response(message));
        }
        let carriage = mem::take(&mut pending.carriage);
        let fetched = matches!(carriage, Carriage::Fetching(..));
        match carriage.on_message(&self.receiver(channel), message)? {
            chunk::Step::Send(carriage, next) => Ok(Received::More(carriage, next)),
            chunk::Step::Answer(answer) if fetched => {
                chunk::check_fetched(&answer)?;
                self.take(pending, channel, answer)
            }
            chunk::Step::Answer(answer) => self.take(pending, channel, answer),
        }
    }

    /// How chunks are taken.
    fn receiver(&self, channel: Channel) -> Receiver {
        let max = self.config.chunk.unwrap_or(self.config.transfer_size);
        Receiver {
            version: self.link.reach.map_or(Version::V1_0, |reach| reach.version),
            transport: self.config.transport,
            in_clear: channel == Channel::Clear,
            max: max as usize,
        }
    }

    /// Opens a record, which must be of the session that the request went in.
    fn open(&mut self, asked_in: Channel, body: &[u8]) -> Result<(Wiped, Channel), Fault> {
        let mut body = Wiped::new(body.to_vec());
        let record = Record::decode(self.config.transport, &mut body)?;
        let found = record.session;
        match asked_in {
            Channel::Session(wanted) if found != wanted => Err(Fault::Peer(Misbehaviour::Inconsistent {
                what: "session id",
                found: found.into(),
                wanted: wanted.into(),
            })),
            Channel::Session(_) => Ok((self.link.sessions.open(record)?, asked_in)),
            Channel::Clear => Err(Fault::Peer(Misbehaviour::WrongChannel { in_session: true })),
        }
    }

    /// Busy and ResponseNotReady ask for patience. Other errors end the connection, unless the request was worth a try
    /// only. An error in clear to a request in a session ends it whatever it says: the session's numbers no longer match.
    fn on_error(&self, pending: &Pending, channel: Channel, message: &[u8]) -> Result<Received, Fault> {
        let (error, _) = error_msg::Response::decode(message, &Context::new(Version::V1_0))?;
        let (code, data) = (error.code, error.data);
        let refused = Fault::Peer(Misbehaviour::Refused { code, data });
        if channel != pending.channel || code == ErrorCode::REQUEST_RESYNCH {
            return Err(refused);
        }
        if code == ErrorCode::BUSY {
            // A chunk is sent again; a request of which all chunks have come, from the first on.
            let again = match pending.carriage {
                Carriage::Whole => None,
                _ => pending.again.clone(),
            };
            return self.later(pending, self.config.timing.retry_after, again);
        }
        if let Some(chunk::Step::Send(carriage, first)) = self.large_response(pending, &error) {
            return Ok(Received::More(carriage, first));
        }
        if let Some(not_ready) = error.not_ready() {
            let code = Code(pending.request.get(1).copied().unwrap_or_default());
            check_not_ready(not_ready, code)?;
            let micros = not_ready.delay_us().unwrap_or(u64::MAX);
            let after = Duration::from_micros(micros).min(self.config.timing.crypto_max);
            let again = respond_if_ready::Request {
                version: error.version,
                code,
                token: not_ready.token,
            };
            return self.later(pending, after, Some(Wiped::new(again.to_vec())));
        }
        match self.operation.as_ref().is_some_and(Operation::is_optional) {
            true => Ok(Received::Refused { code, data }),
            false => Err(refused),
        }
    }

    /// An answer that is to be fetched, of a responder that may have such.
    fn large_response(&self, pending: &Pending, error: &error_msg::Response<'_>) -> Option<chunk::Step> {
        let reach = self.link.reach?;
        let receiver = self.receiver(pending.channel);
        reach
            .chunks
            .then(|| pending.carriage.fetch(error, &receiver))
            .flatten()
    }

    fn later(&self, pending: &Pending, after: Duration, again: Option<Wiped>) -> Result<Received, Fault> {
        if pending.retries_left == 0 {
            let tries = self.config.timing.retries.saturating_add(1);
            return Err(Fault::Peer(Misbehaviour::NeverReady { tries }));
        }
        Ok(Received::Later { after, again })
    }

    pub(super) fn postpone(&mut self, now: Instant, pending: Pending, after: Duration, again: Option<Wiped>) {
        self.pending = Some(Pending {
            again,
            retry_at: Some(now.after(after)),
            retries_left: pending.retries_left.saturating_sub(1),
            ..pending
        });
    }
}

/// It is the request that is not ready, and is not dropped before it can be asked for. Some say that it is dropped when it is
/// ready (RDTM 1): they are asked for it then.
fn check_not_ready(not_ready: NotReady, asked: Code) -> Result<(), Misbehaviour> {
    let (found, wanted) = (not_ready.code.0, asked.0);
    expect("request code of ResponseNotReady", found, wanted)?;
    let multiplier = not_ready.multiplier;
    let wanted = multiplier.max(1);
    expect("RDTM of ResponseNotReady", multiplier, wanted)
}
