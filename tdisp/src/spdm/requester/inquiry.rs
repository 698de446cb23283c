//! Questions that a connection may do without: each is asked, perhaps in several requests, until it gives an event.
//!
//! ```text
//!   at rest ── request ─► asking ⟲ an answer that leaves something to ask for
//!     ▲                     │ the last answer: its event
//!     └─────────────────────┤ an ERROR: Event::Refused, and the connection stays
//!                           └ an answer that is none: the connection ends
//! ```

use super::{
    CsrWish, Event, KeyPairWish, Output, Requester, SlotWish,
    certificates::Certificates,
    endpoint::EndpointInfo,
    events::{Subscribe, SupportedTypes, Tell},
    link::{Link, Peer},
    mel::Log,
    operation::{Expect, Next},
    provision::GetKeyPair,
    step::{Ask, Channel, Exchange, Fault},
};
use crate::crypto::Wiped;
use crate::{
    clock::Instant,
    spdm::{
        error::Misuse,
        events::{Subscription, Types},
        msg::{Code, SLOTS, Version, capabilities::Flags},
        responder::usage,
    },
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};

/// A question.
pub(super) trait Inquiry: Send + Sync {
    /// The next request, whose answer may have `room` bytes.
    fn request(&mut self, peer: &Peer, room: usize) -> Result<Vec<u8>, Fault>;
    /// The answer to it: what it leads to, or nothing if there is more to ask for.
    fn on_response(&mut self, exchange: &Exchange<'_>, peer: &Peer) -> Result<Option<Event>, Fault>;
}

/// A question whose answer is waited for.
pub(super) struct ExpectInquiry {
    channel: Channel,
    inquiry: Box<dyn Inquiry>,
}

impl ExpectInquiry {
    fn ask(mut self, link: &Link, output: &mut Output<'_>) -> Next {
        let peer = link.peer()?;
        let request = self.inquiry.request(peer, output.config.transfer_size as usize)?;
        output.ask = Some(Ask {
            request: Wiped::new(request),
            channel: self.channel,
            // Any of them may want a signature, or the device's storage.
            extra: peer.connection.peer_crypto_time,
        });
        Ok(Some(self.into()))
    }
}

impl Expect for ExpectInquiry {
    fn is_optional(&self) -> bool {
        true
    }

    fn on_response(mut self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next {
        match self.inquiry.on_response(exchange, link.peer()?)? {
            Some(event) => {
                output.tell(event);
                Ok(None)
            }
            None => self.ask(link, output),
        }
    }
}

/// What the responder must have for a question.
struct Needs {
    code: Code,
    since: Version,
    flags: Flags,
    what: &'static str,
}

impl Requester {
    /// Asks for a certificate signing request, in a session or outside: [`Event::Csr`]. A device that must be reset first says
    /// so ([`Event::Refused`] with ResetRequired, whose data is the tag to ask with after that).
    pub fn get_csr(&mut self, now: Instant, session: Option<u32>, wish: CsrWish) -> Result<(), Misuse> {
        let needs = Needs {
            code: Code::CSR,
            since: Version::V1_2,
            flags: Flags::CSR,
            what: "CSR_CAP",
        };
        self.inquire(now, session, &needs, wish)
    }

    /// Puts a certificate chain into a slot, or erases it (1.3), in a session or outside: [`Event::CertificateSet`].
    pub fn set_certificate(
        &mut self,
        now: Instant,
        session: Option<u32>,
        wish: SlotWish,
    ) -> Result<(), Misuse> {
        let needs = Needs {
            code: Code::SET_CERTIFICATE_RSP,
            since: match wish.chain {
                Some(_) => Version::V1_2,
                None => Version::V1_3,
            },
            flags: Flags::SET_CERT,
            what: "SET_CERT_CAP",
        };
        self.inquire(now, session, &needs, wish)
    }

    /// Asks for key pair `id`, from 1 on, in a session or outside: [`Event::KeyPairInfo`] (1.3).
    pub fn get_key_pair_info(&mut self, now: Instant, session: Option<u32>, id: u8) -> Result<(), Misuse> {
        let needs = Needs {
            code: Code::KEY_PAIR_INFO,
            since: Version::V1_3,
            flags: Flags::GET_KEY_PAIR_INFO,
            what: "GET_KEY_PAIR_INFO_CAP",
        };
        self.inquire(now, session, &needs, GetKeyPair { id })
    }

    /// Changes, makes or erases a key pair, in a session or outside: [`Event::KeyPairSet`] (1.3).
    pub fn set_key_pair_info(
        &mut self,
        now: Instant,
        session: Option<u32>,
        wish: KeyPairWish,
    ) -> Result<(), Misuse> {
        let needs = Needs {
            code: Code::SET_KEY_PAIR_INFO_ACK,
            since: Version::V1_3,
            flags: Flags::SET_KEY_PAIR_INFO,
            what: "SET_KEY_PAIR_INFO_CAP",
        };
        self.inquire(now, session, &needs, wish)
    }

    /// Fetches the measurement extension log, in a session or outside: [`Event::MeasurementLog`] (1.3).
    pub fn measurement_log(&mut self, now: Instant, session: Option<u32>) -> Result<(), Misuse> {
        let needs = Needs {
            code: Code::MEASUREMENT_EXTENSION_LOG,
            since: Version::V1_3,
            flags: Flags::MEL,
            what: "MEL_CAP",
        };
        self.inquire(now, session, &needs, Log::default())
    }

    /// Asks what class of device it is, in a session or outside: [`Event::EndpointInfo`] (1.3). With a nonce the responder has
    /// to sign its answer.
    pub fn endpoint_info(
        &mut self,
        now: Instant,
        session: Option<u32>,
        nonce: Option<[u8; 32]>,
    ) -> Result<(), Misuse> {
        let flags = match nonce {
            Some(_) => Flags::EP_INFO_SIG,
            None => Flags::EP_INFO_MASK,
        };
        self.ready()?;
        let sign = |nonce| {
            let signer = self.link.signer(session, usage::ENDPOINT_INFO)?;
            Ok((nonce, Arc::clone(signer)))
        };
        let signed = nonce.map(sign).transpose()?;
        let needs = Needs {
            code: Code::ENDPOINT_INFO,
            since: Version::V1_3,
            flags,
            what: "EP_INFO_CAP",
        };
        self.inquire(now, session, &needs, EndpointInfo { signed })
    }

    /// Fetches the certificate chain in a slot, 0 to 7, in a session: [`Event::ChainShown`], or [`Event::SlotRefused`] where
    /// there is none that goes. Unlike [`identify`](Self::identify) it changes nothing about whose key counts.
    pub fn certificates(&mut self, now: Instant, session: u32, slot: u8) -> Result<(), Misuse> {
        if slot >= SLOTS {
            let what = "slot of that number: there are 0 to 7";
            return Err(Misuse::Lacks { what });
        }
        let needs = Needs {
            code: Code::DIGESTS,
            since: Version::V1_1,
            flags: Flags::CERT,
            what: "CERT_CAP",
        };
        let certificates = Certificates::of(session, slot, &self.config);
        self.inquire(now, Some(session), &needs, certificates)
    }

    /// Asks which types of events a session can be told of: [`Event::EventTypes`] (1.3).
    pub fn event_types(&mut self, now: Instant, session: u32) -> Result<(), Misuse> {
        let needs = events(Code::SUPPORTED_EVENT_TYPES, Flags::EVENT);
        self.inquire(now, Some(session), &needs, SupportedTypes)
    }

    /// Subscribes a session to types of events, instead of those before: [`Event::Subscribed`] (1.3).
    pub fn subscribe(&mut self, now: Instant, session: u32, types: Types) -> Result<(), Misuse> {
        let needs = events(Code::SUBSCRIBE_EVENT_TYPES_ACK, Flags::EVENT);
        self.inquire(now, Some(session), &needs, Subscribe(types))
    }

    /// Tells the responder what waits in a subscription of its, in a session: [`Event::EventsTold`] (1.3), upon which the
    /// subscription is to be told that they were [acknowledged](Subscription::acknowledged). Whether there was anything.
    pub fn tell_events(
        &mut self,
        now: Instant,
        session: u32,
        told: &mut Subscription,
    ) -> Result<bool, Misuse> {
        let reach = self.ready_in(session)?.connection.reach();
        let Some(message) = told.next(reach.version, reach.room(true)) else {
            return Ok(false);
        };
        let needs = events(Code::EVENT_ACK, Flags(0));
        self.inquire(now, Some(session), &needs, Tell(message))?;
        Ok(true)
    }

    fn inquire(
        &mut self,
        now: Instant,
        session: Option<u32>,
        needs: &Needs,
        mut inquiry: impl Inquiry + 'static,
    ) -> Result<(), Misuse> {
        let peer = self.ready()?;
        session.map_or(Ok(()), |id| self.link.sessions.is_live(id))?;
        let negotiated = &peer.connection.negotiated;
        let has = needs.flags == Flags(0) || peer.flags().any(needs.flags);
        if negotiated.version < needs.since || !has {
            return Err(Misuse::Lacks { what: needs.what });
        }
        let max = peer.connection.reach().most(session.is_some());
        let room = self.config.transfer_size as usize;
        let request = inquiry.request(peer, room).map_err(|_| Misuse::NoIdentity)?;
        if request.len() > max {
            let size = request.len();
            return Err(Misuse::TooLong { size, max });
        }
        let expect = ExpectInquiry {
            channel: Channel::of(session),
            inquiry: Box::new(inquiry),
        };
        self.begin(now, needs.code, |link, output| expect.ask(link, output));
        Ok(())
    }
}

fn events(code: Code, flags: Flags) -> Needs {
    Needs {
        code,
        since: Version::V1_3,
        flags,
        what: "EVENT_CAP",
    }
}
