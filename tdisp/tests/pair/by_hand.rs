//! A requester made by hand from the crate's parts, which says whatever a test wants it to, in clear or in a session.

use super::responder;
use tdisp::{
    clock::Instant,
    crypto::{ExchangeAlg, HashAlg, KeyAgreement, Provider, Ring, Secret, digest},
    doe::{Object, ObjectType},
    spdm::{
        Responder, ResponderConfig, SECURED_VERSIONS,
        algorithms::{Needs, Offer},
        key_schedule::Schedule,
        msg::{
            Context, Payload, Summary, Version, algorithms,
            capabilities::{self, Flags, Sizes},
            certificate, finish, key_exchange, psk_exchange, psk_finish, version,
        },
        opaque,
        secured::{Half, Order, Protection, Record, session_id},
        transcript::Transcript,
        transport::Transport,
    },
};

/// GET_CERTIFICATE of the first bytes in slot 0.
pub fn get_certificate(version: Version, length: u32) -> Vec<u8> {
    let request = certificate::Request {
        version,
        slot: 0,
        size_asked: false,
        large: false,
        offset: 0,
        length,
    };
    request.to_vec()
}

pub struct ByHand {
    pub responder: Responder,
    pub now: Instant,
    pub version: Version,
    pub offer: Offer,
    /// SessionPolicy of KEY_EXCHANGE.
    pub policy: u8,
    /// The capabilities that it has.
    pub flags: Flags,
    /// The byte order that it counts records in.
    pub order: Order,
    pub context: Context,
    pub session: Option<HandSession>,
    chain: Vec<u8>,
    vca: Vec<u8>,
}

/// A session, in its handshake or after it.
pub struct HandSession {
    pub id: u32,
    pub request: Half,
    pub response: Half,
    handshake_secret: Secret,
    request_secret: Secret,
    th: Transcript,
}

impl HandSession {
    /// The next request's record; `id` may be another session's.
    pub fn seal(&mut self, id: u32, message: &[u8]) -> Vec<u8> {
        self.request.seal_to_vec(&Ring, id, message).unwrap()
    }

    /// The next response, from its record.
    pub fn open(&mut self, record: &[u8]) -> Vec<u8> {
        let mut record = record.to_vec();
        let record = Record::decode(Transport::Doe, &mut record).unwrap();
        self.response.open(record).unwrap().to_vec()
    }
}

const V: Version = Version::V1_2;

impl ByHand {
    /// Nothing said yet.
    pub fn start(config: ResponderConfig) -> Self {
        Self {
            chain: config.slots[0].as_ref().unwrap().chain.clone(),
            responder: responder(config),
            now: Instant::START,
            version: V,
            offer: Offer::default(),
            policy: 0,
            flags: Flags::ENCRYPT | Flags::MAC | Flags::KEY_EX | Flags::HBEAT | Flags::KEY_UPD,
            order: Order::Little,
            context: Context::new(V),
            session: None,
            vca: Vec::new(),
        }
    }

    pub fn versioned(config: ResponderConfig) -> Self {
        let mut hand = Self::start(config);
        hand.add_vca(&version::Request.to_vec());
        hand
    }

    pub fn capable(config: ResponderConfig) -> Self {
        Self::capable_with(config, Flags(0))
    }

    /// GET_VERSION to NEGOTIATE_ALGORITHMS, in the version and with the offer that are set.
    pub fn say_vca(&mut self) {
        self.vca.clear();
        self.session = None;
        self.context = Context::new(self.version);
        self.add_vca(&version::Request.to_vec());
        let request = self.capabilities();
        self.add_vca(&request.to_vec());
        self.agree();
    }

    /// A connection in a version, with capabilities beyond the usual and sizes.
    pub fn agreed_in(version: Version, config: ResponderConfig, more: Flags, sizes: Sizes) -> Self {
        let mut hand = Self::start(config);
        hand.agree_in(version, more, sizes);
        hand
    }

    /// The same, with the offer that is set.
    pub fn agree_in(&mut self, version: Version, more: Flags, sizes: Sizes) {
        self.version = version;
        self.context = Context::new(version);
        self.offer.mel_specification = u8::from(version >= Version::V1_3);
        self.add_vca(&version::Request.to_vec());
        let mut request = self.capabilities();
        request.flags = request.flags | more;
        request.sizes = Some(sizes);
        self.add_vca(&request.to_vec());
        self.agree();
    }

    /// A session on such a connection.
    pub fn live_in(version: Version, config: ResponderConfig, more: Flags, sizes: Sizes) -> Self {
        let mut hand = Self::agreed_in(version, config, more, sizes);
        hand.key_exchange(7).unwrap();
        hand.finish();
        hand
    }

    /// With capabilities beyond the usual.
    pub fn capable_with(config: ResponderConfig, more: Flags) -> Self {
        let mut hand = Self::versioned(config);
        let mut request = hand.capabilities();
        request.flags = request.flags | more;
        hand.context.handshake_in_clear = more.contains(Flags::HANDSHAKE_IN_THE_CLEAR);
        hand.add_vca(&request.to_vec());
        hand
    }

    pub fn agreed(config: ResponderConfig) -> Self {
        let mut hand = Self::capable(config);
        hand.agree();
        hand
    }

    pub fn agree(&mut self) {
        let offer = self.offer.clone();
        let request = algorithms::Request {
            version: self.version,
            offer: offer.to_set(self.version),
        };
        let answer = self.add_vca(&request.to_vec());
        assert_eq!(answer[1], 0x63, "{answer:02x?}");
        let (message, _) = algorithms::Response::decode_padded(&answer, &self.context).unwrap();
        self.context = offer
            .accept(&message, Needs::SESSION)
            .unwrap()
            .context(self.version, self.context.handshake_in_clear);
    }

    /// VERSION to ALGORITHMS.
    pub fn vca(&self) -> &[u8] {
        &self.vca
    }

    /// KEY_EXCHANGE is answered.
    pub fn shaking(config: ResponderConfig) -> Self {
        let mut hand = Self::agreed(config);
        hand.key_exchange(7).unwrap();
        hand
    }

    /// FINISH is answered.
    pub fn live(config: ResponderConfig) -> Self {
        let mut hand = Self::shaking(config);
        hand.finish();
        hand
    }

    pub fn capabilities(&self) -> capabilities::Request {
        capabilities::Request {
            version: self.version,
            ct_exponent: 0,
            extended_flags: 0,
            flags: self.flags,
            sizes: Some(Sizes {
                transfer: 0x1200,
                message: 0x1200,
            }),
            algorithms_asked: false,
        }
    }

    pub fn schedule(&self) -> Schedule<'static> {
        Schedule {
            provider: &Ring,
            hash: HashAlg::Sha384,
            version: self.version,
        }
    }

    fn half(&self, secret: Secret) -> Half {
        let protection = Protection {
            order: self.order,
            ..Protection::new(Offer::default().aead[0])
        };
        Half::new(&self.schedule(), protection, secret).unwrap()
    }

    /// Says one object; what comes back, its kind and its body with padding.
    pub fn say(&mut self, kind: ObjectType, body: &[u8]) -> Option<(ObjectType, Vec<u8>)> {
        let mut object = Vec::new();
        Object::new(kind, body).encode(&mut object);
        self.responder.handle(self.now, &object);
        let mut answer = Vec::new();
        if !self.responder.poll_transmit(&mut answer) {
            return None;
        }
        let mut second = Vec::new();
        assert!(
            !self.responder.poll_transmit(&mut second),
            "two answers to one request"
        );
        let answer = Object::decode(&answer).unwrap();
        Some((answer.kind, answer.body.to_vec()))
    }

    /// Says a message in clear; the answer's body, which must be in clear too.
    pub fn clear(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let (kind, body) = self.say(ObjectType::SPDM, message)?;
        assert_eq!(kind, ObjectType::SPDM);
        Some(body)
    }

    /// Says a message in the session; the answer, opened if it came in the session.
    pub fn secured(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let session = self.session.as_mut().expect("a session");
        let record = session.seal(session.id, message);
        match self.say(ObjectType::SECURED_SPDM, &record)? {
            (ObjectType::SECURED_SPDM, body) => {
                let session = self.session.as_mut().expect("a session");
                Some(session.open(&body))
            }
            (_, body) => Some(body),
        }
    }

    /// VERSION to ALGORITHMS: their requests and answers have no padding.
    fn add_vca(&mut self, request: &[u8]) -> Vec<u8> {
        let answer = self.clear(request).expect("an answer");
        self.vca.extend_from_slice(request);
        self.vca.extend_from_slice(&answer);
        answer
    }

    /// Opens a session whose half of the id is `own`; the error's code and data if that is refused.
    pub fn key_exchange(&mut self, own: u16) -> Result<(), (u8, u8)> {
        let agreement = Ring.key_agreement(ExchangeAlg::EcdhP384).unwrap();
        let offered = self.offered();
        let request = self.key_exchange_of(own, &*agreement, &offered).to_vec();
        let answer = self.clear(&request).expect("an answer");
        if answer[1] == 0x7f {
            return Err((answer[2], answer[3]));
        }
        let (message, size) = key_exchange::Response::decode_padded(&answer, &self.context).unwrap();
        let mut th = Transcript::new(&Ring, HashAlg::Sha384, self.version);
        th.add(&self.vca);
        th.add(digest(&Ring, HashAlg::Sha384, &self.chain).as_ref());
        th.add(&request);
        let proof = message.verify_data.unwrap_or_default();
        th.add(&answer[..size - proof.len()]);
        let handshake_secret = self
            .schedule()
            .handshake_secret(&agreement.agree(message.exchange).unwrap());
        let directions = self.schedule().handshake(&handshake_secret, &th.digest());
        th.add(proof);
        self.session = Some(HandSession {
            id: session_id(own, message.session),
            request: self.half(directions.request.clone()),
            response: self.half(directions.response),
            handshake_secret,
            request_secret: directions.request,
            th,
        });
        Ok(())
    }

    /// Opaque data that offers what we speak.
    pub fn offered(&self) -> Vec<u8> {
        let mut offered = Vec::new();
        opaque::encode_supported(self.version, SECURED_VERSIONS, &mut offered);
        offered
    }

    /// A KEY_EXCHANGE with a public value that works and any opaque data.
    pub fn key_exchange_with(&self, opaque: &[u8]) -> Vec<u8> {
        let agreement = Ring.key_agreement(ExchangeAlg::EcdhP384).unwrap();
        let request = key_exchange::Request {
            policy: 0,
            ..self.key_exchange_of(5, &*agreement, opaque)
        };
        request.to_vec()
    }

    fn key_exchange_of<'m>(
        &self,
        session: u16,
        agreement: &'m dyn KeyAgreement,
        opaque: &'m [u8],
    ) -> key_exchange::Request<'m> {
        key_exchange::Request {
            version: self.version,
            summary: Summary::NONE,
            slot: 0,
            session,
            policy: self.policy,
            random: [3; 32],
            exchange: agreement.public(),
            opaque,
        }
    }

    /// What else the responder says in the session.
    pub fn opened(&mut self) -> Option<Vec<u8>> {
        let mut object = Vec::new();
        if !self.responder.poll_transmit(&mut object) {
            return None;
        }
        let body = Object::decode(&object).unwrap().body.to_vec();
        let session = self.session.as_mut().expect("a session");
        Some(session.open(&body))
    }

    /// A FINISH that the responder must believe; its bytes.
    pub fn right_finish(&mut self) -> Vec<u8> {
        let schedule = self.schedule();
        let version = self.version;
        let session = self.session.as_mut().expect("a handshake");
        let head = [version.0, 0xe5, 0, 0];
        session.th.add(&head);
        if version >= Version::V1_4 {
            session.th.add(&[0, 0]);
        }
        let proof = schedule.verify_data(&session.request_secret, &session.th.digest());
        session.th.add(proof.expose());
        let message = finish::Request {
            version,
            slot: 0,
            opaque: &[],
            signature: None,
            verify_data: proof.expose(),
        };
        message.to_vec()
    }

    pub fn finish(&mut self) {
        let message = self.right_finish();
        let answer = self.secured(&message).expect("an answer");
        assert_eq!(answer[1], 0x65, "{answer:02x?}");
        self.begin_application(&[&answer]);
    }

    /// Goes on with the keys that follow from the handshake and the last of what was said in it.
    fn begin_application(&mut self, said: &[&[u8]]) {
        let schedule = self.schedule();
        let session = self.session.take().expect("a handshake");
        let mut th = session.th;
        said.iter().for_each(|part| th.add(part));
        let master = schedule.master_secret(&session.handshake_secret);
        let directions = schedule.application(&master, &th.digest());
        self.session = Some(HandSession {
            request: self.half(directions.request.clone()),
            response: self.half(directions.response),
            th,
            ..session
        });
    }

    /// A handshake on a pre-shared key, which must come up.
    pub fn psk_exchange(&mut self, request: &psk_exchange::Request<'_>, key: &Secret) {
        let (own, request) = (request.session, request.to_vec());
        let answer = self.clear(&request).expect("an answer");
        let (message, size) = psk_exchange::Response::decode_padded(&answer, &self.context).unwrap();
        let mut th = Transcript::new(&Ring, HashAlg::Sha384, self.version);
        th.add(&self.vca);
        th.add(&request);
        th.add(&answer[..size - message.verify_data.len()]);
        let schedule = self.schedule();
        let handshake_secret = schedule.handshake_secret_from_psk(key);
        let directions = schedule.handshake(&handshake_secret, &th.digest());
        th.add(message.verify_data);
        self.session = Some(HandSession {
            id: session_id(own, message.session),
            request: self.half(directions.request.clone()),
            response: self.half(directions.response),
            request_secret: directions.request,
            handshake_secret,
            th,
        });
    }

    /// A PSK_FINISH with the proof that would be right.
    pub fn right_psk_finish(&self) -> Vec<u8> {
        let session = self.session.as_ref().expect("a handshake");
        let mut message = psk_finish::Request {
            version: self.version,
            opaque: &[],
            verify_data: &[],
        };
        let mut th = session.th.clone();
        th.add(&message.to_vec());
        let proof = self.schedule().verify_data(&session.request_secret, &th.digest());
        message.verify_data = proof.expose();
        message.to_vec()
    }

    /// Ends the handshake on a pre-shared key.
    pub fn psk_finish(&mut self) {
        let message = self.right_psk_finish();
        let answer = self.secured(&message).expect("an answer");
        assert_eq!(answer[1], 0x67, "{answer:02x?}");
        self.begin_application(&[&message, &answer]);
    }
}
