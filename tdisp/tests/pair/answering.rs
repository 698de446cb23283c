//! A responder's end of a session made by hand from the crate's parts, which answers whatever a test wants it to.

use super::Pair;
use tdisp::{
    clock::Instant,
    crypto::{HashAlg, Ring, Secret},
    doe::{Object, ObjectType},
    spdm::{
        Event, Requester,
        key_schedule::Schedule,
        msg::{Code, Payload, Version, encapsulated, psk_exchange},
        secured::{Half, Order, Protection, Record},
        transcript::Transcript,
    },
};

/// A requester in a session on a pre-shared key, and the keys of the session's other end.
pub struct Answering {
    pub requester: Requester,
    pub now: Instant,
    pub version: Version,
    pub session: u32,
    /// What the requester sends goes under it.
    pub request: Half,
    /// What it is answered goes under it.
    pub response: Half,
}

impl Answering {
    /// Takes the responder's place in the one session of a pair, which has just come up on `key`, without a context of the
    /// responder's: so nothing but the key and what went in clear is needed.
    pub fn of(pair: Pair, key: &Secret) -> Self {
        Self::counting(pair, key, Order::Little)
    }

    /// The same; answers are counted in this byte order. The requester, which speaks first, cannot know it and has the usual one.
    pub fn counting(pair: Pair, key: &Secret, order: Order) -> Self {
        let session = pair.requester.session().expect("a session");
        let [.., Event::Connected(negotiated), Event::SessionReady { .. }] = &pair.requester_events[..]
        else {
            panic!("{:?}", pair.requester_events)
        };
        let (version, algorithms) = (negotiated.version, negotiated.algorithms);
        let context = algorithms.context(version, false);
        let said: Vec<_> = pair
            .carried
            .iter()
            .map(|object| Object::decode(object).unwrap().body)
            .collect();
        let [vca @ .., request, response] = &said[..] else {
            panic!("{} messages", said.len())
        };
        let request_size = psk_exchange::Request::decode_padded(request, &context).unwrap().1;
        let (answer, response_size) = psk_exchange::Response::decode_padded(response, &context).unwrap();
        assert!(answer.psk_context.is_empty());
        let schedule = schedule(version);
        let mut th = Transcript::new(&Ring, HashAlg::Sha384, version);
        vca.iter().for_each(|message| th.add(message));
        th.add(&request[..request_size]);
        th.add(&response[..response_size]);
        let master = schedule.master_secret(&schedule.handshake_secret_from_psk(key));
        let directions = schedule.application(&master, &th.digest());
        let protection = Protection::new(algorithms.aead.unwrap());
        let half = |secret, order| Half::new(&schedule, Protection { order, ..protection }, secret).unwrap();
        Self {
            requester: pair.requester,
            now: pair.now,
            version,
            session,
            request: half(directions.request, Order::Little),
            response: half(directions.response, order),
        }
    }

    /// What the requester says next in the session.
    pub fn asked(&mut self) -> Vec<u8> {
        let mut object = Vec::new();
        assert!(self.requester.poll_transmit(&mut object), "{:?}", self.events());
        let mut body = Object::decode(&object).unwrap().body.to_vec();
        let record = Record::decode(Default::default(), &mut body).unwrap();
        assert_eq!(record.session, self.session);
        self.request.open(record).unwrap().to_vec()
    }

    /// Says a message in the session.
    pub fn say(&mut self, message: &[u8]) {
        let record = self.response.seal_to_vec(&Ring, self.session, message).unwrap();
        let mut object = Vec::new();
        Object::new(ObjectType::SECURED_SPDM, &record).encode(&mut object);
        self.requester.handle(self.now, &object);
    }

    /// Answers with a header alone.
    pub fn say_header(&mut self, code: Code, params: [u8; 2]) {
        self.say(&[self.version.0, code.0, params[0], params[1]]);
    }

    /// Makes a request of its own, number `id`: the first, where none was answered before.
    pub fn ask(&mut self, id: u8, answered: Option<u8>, message: &[u8]) {
        let version = self.version;
        let request = match answered {
            None => encapsulated::Request { version, id, message }.to_vec(),
            Some(answered) => {
                let next = encapsulated::Next::Message(message);
                let ack = encapsulated::Ack {
                    version,
                    id,
                    answered,
                    next,
                };
                ack.to_vec()
            }
        };
        self.say(&request);
    }

    /// What the requester delivers as an answer to request number `id`.
    pub fn delivered(&mut self, id: u8) -> Vec<u8> {
        let message = self.asked();
        assert_eq!(
            message[..3],
            [self.version.0, Code::DELIVER_ENCAPSULATED_RESPONSE.0, id]
        );
        message[4..].to_vec()
    }

    /// New keys for what the requester sends.
    pub fn update_request(&mut self) {
        self.request = self.request.updated(&schedule(self.version)).unwrap();
    }

    /// New keys for what it is answered.
    pub fn update_response(&mut self) {
        self.response = self.response.updated(&schedule(self.version)).unwrap();
    }

    /// What the requester has told since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.requester.poll_event()).collect()
    }
}

fn schedule(version: Version) -> Schedule<'static> {
    Schedule {
        provider: &Ring,
        hash: HashAlg::Sha384,
        version,
    }
}
