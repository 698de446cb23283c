//! A requester made by hand: every message is bytes, nothing is refused to the caller, and what the answers prove is
//! checked with a cryptography of its own.

use super::crypto::{Direction, Suite, random};

/// What is at the other end: takes a transport unit, gives at most one back.
pub trait Wire {
    /// Says `unit`; what comes back, if anything does.
    fn exchange(&mut self, unit: &[u8]) -> Option<Vec<u8>>;
}

/// The flags of a requester that can do sessions.
pub const SESSION_FLAGS: u32 = CERT | CHAL | ENCRYPT | MAC | KEY_EX | HBEAT | KEY_UPD;
pub const CERT: u32 = 1 << 1;
pub const CHAL: u32 = 1 << 2;
pub const ENCRYPT: u32 = 1 << 6;
pub const MAC: u32 = 1 << 7;
pub const MUT_AUTH: u32 = 1 << 8;
pub const KEY_EX: u32 = 1 << 9;
pub const PSK: u32 = 1 << 10;
pub const ENCAP: u32 = 1 << 12;
pub const HBEAT: u32 = 1 << 13;
pub const KEY_UPD: u32 = 1 << 14;
pub const HANDSHAKE_IN_CLEAR: u32 = 1 << 15;
pub const CHUNK: u32 = 1 << 17;

/// The key that both sides have, and what names it.
pub const PSK_KEY: &[u8] = b"a key of the laboratory";
pub const PSK_HINT: &[u8] = b"lab";

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Nothing,
    /// In clear, with the transport's padding.
    Clear(Vec<u8>),
    Secured(Vec<u8>),
}

pub struct Client {
    wire: Box<dyn Wire>,
    pub mctp: bool,
    pub version: u8,
    pub suite: &'static Suite,
    pub flags: u32,
    pub their_flags: u32,
    /// VERSION to ALGORITHMS.
    pub vca: Vec<u8>,
    /// Digests and certificates since the last reset.
    pub m1: Vec<u8>,
    pub chain: Vec<u8>,
    pub session: Option<Session>,
    /// DataTransferSize and MaxSPDMmsgSize.
    pub transfer_size: u32,
    pub message_size: u32,
}

pub struct Session {
    pub id: u32,
    pub request: Direction,
    pub response: Direction,
    handshake_secret: Vec<u8>,
    th: Vec<u8>,
}

impl Client {
    pub fn new(wire: Box<dyn Wire>, mctp: bool, version: u8, suite: &'static Suite) -> Self {
        Self {
            wire,
            mctp,
            version,
            suite,
            flags: if version == 0x10 { 0 } else { SESSION_FLAGS },
            their_flags: 0,
            vca: Vec::new(),
            m1: Vec::new(),
            chain: Vec::new(),
            session: None,
            transfer_size: 0x1200,
            message_size: 0x1200,
        }
    }

    // The wire

    fn unit(&self, secured: bool, body: &[u8]) -> Vec<u8> {
        if self.mctp {
            return [&[5 + u8::from(secured)], body].concat();
        }
        let size = body.len().next_multiple_of(4);
        let mut unit = vec![1, 0, 1 + u8::from(secured), 0];
        unit.extend_from_slice(&((size / 4 + 2) as u32).to_le_bytes());
        unit.extend_from_slice(body);
        unit.resize(8 + size, 0);
        unit
    }

    fn exchange(&mut self, secured: bool, body: &[u8]) -> Option<(bool, Vec<u8>)> {
        let unit = self.unit(secured, body);
        let answer = self.wire.exchange(&unit)?;
        if self.mctp {
            return Some((answer[0] == 6, answer[1..].to_vec()));
        }
        let size = u32::from_le_bytes(answer[4..8].try_into().unwrap());
        assert_eq!(size as usize * 4, answer.len(), "the object's length");
        Some((answer[2] == 2, answer[8..].to_vec()))
    }

    /// Says a message in clear.
    pub fn clear(&mut self, message: &[u8]) -> Heard {
        match self.exchange(false, message) {
            None => Heard::Nothing,
            Some((false, body)) => Heard::Clear(body),
            Some((true, body)) => Heard::Secured(self.opened(&body)),
        }
    }

    /// Says a message in the session.
    pub fn secured(&mut self, message: &[u8]) -> Heard {
        let mctp = self.mctp;
        let session = self.session.as_mut().expect("a session");
        let record = session.request.seal(mctp, session.id, message);
        self.record(&record)
    }

    /// Says a record as it is.
    pub fn record(&mut self, record: &[u8]) -> Heard {
        match self.exchange(true, record) {
            None => Heard::Nothing,
            Some((false, body)) => Heard::Clear(body),
            Some((true, body)) => Heard::Secured(self.opened(&body)),
        }
    }

    fn opened(&mut self, record: &[u8]) -> Vec<u8> {
        let mctp = self.mctp;
        let session = self.session.as_mut().expect("a session");
        session.response.open(mctp, session.id, record)
    }

    #[track_caller]
    fn answer(&mut self, message: &[u8]) -> Vec<u8> {
        match self.clear(message) {
            Heard::Clear(answer) if answer[1] == message[1] & 0x7f => answer,
            other => panic!(
                "{:02x?} is answered with {other:02x?}",
                &message[..message.len().min(8)]
            ),
        }
    }

    #[track_caller]
    pub fn secured_answer(&mut self, message: &[u8]) -> Vec<u8> {
        match self.secured(message) {
            Heard::Secured(answer) if answer[1] == message[1] & 0x7f => answer,
            other => panic!(
                "{:02x?} is answered with {other:02x?}",
                &message[..message.len().min(8)]
            ),
        }
    }

    // Messages as they should be

    pub fn get_version() -> Vec<u8> {
        vec![0x10, 0x84, 0, 0]
    }

    pub fn get_capabilities(&self) -> Vec<u8> {
        let mut message = vec![self.version, 0xe1, 0, 0];
        if self.version >= 0x11 {
            message.extend_from_slice(&[0, 0, 0, 0]);
            message.extend_from_slice(&self.flags.to_le_bytes());
        }
        if self.version >= 0x12 {
            message.extend_from_slice(&self.transfer_size.to_le_bytes());
            message.extend_from_slice(&self.message_size.to_le_bytes());
        }
        message
    }

    /// With the tables that a version has.
    pub fn negotiate_algorithms(&self) -> Vec<u8> {
        let (sign, hash, dhe, aead) = self.suite.bits;
        let tables: &[(u8, u16)] = match self.version {
            0x10 => &[],
            _ => &[(2, dhe), (3, aead), (4, 1 << 7), (5, 1)],
        };
        let mut message = vec![self.version, 0xe3, tables.len() as u8, 0];
        message.extend_from_slice(&((32 + tables.len() * 4) as u16).to_le_bytes());
        message.extend_from_slice(&[1, if self.version >= 0x12 { 2 } else { 0 }]);
        message.extend_from_slice(&sign.to_le_bytes());
        message.extend_from_slice(&hash.to_le_bytes());
        message.resize(31, 0);
        // MELspecification
        message.push(u8::from(self.version >= 0x13));
        for (kind, bits) in tables {
            message.extend_from_slice(&[*kind, 0x20]);
            message.extend_from_slice(&bits.to_le_bytes());
        }
        message
    }

    pub fn get_certificate(&self, slot: u8, offset: u16, length: u16) -> Vec<u8> {
        let mut message = vec![self.version, 0x82, slot, 0];
        message.extend_from_slice(&offset.to_le_bytes());
        message.extend_from_slice(&length.to_le_bytes());
        message
    }

    pub fn challenge(&self, slot: u8, summary: u8) -> Vec<u8> {
        let mut message = vec![self.version, 0x83, slot, summary];
        message.extend_from_slice(&random::<32>());
        message.resize(36 + self.context_size(), 0x77);
        message
    }

    /// Bytes of RequesterContext.
    pub fn context_size(&self) -> usize {
        if self.version >= 0x13 { 8 } else { 0 }
    }

    pub fn get_measurements(&self, signed: Option<u8>, operation: u8) -> Vec<u8> {
        let mut message = vec![self.version, 0xe0, u8::from(signed.is_some()), operation];
        if let Some(slot) = signed {
            message.extend_from_slice(&random::<32>());
            if self.version >= 0x11 {
                message.push(slot);
            }
        }
        message.resize(message.len() + self.context_size(), 0x66);
        message
    }

    /// The opaque data that offers secured messages 1.0 to 1.2.
    pub fn opaque(&self) -> Vec<u8> {
        let element = [0, 0, 9, 0, 1, 1, 3, 0, 0x12, 0, 0x11, 0, 0x10];
        let mut opaque = match self.version {
            0x10 | 0x11 => vec![0x46, 0x54, 0x4d, 0x44, 1, 1, 0, 0],
            _ => vec![1, 0, 0, 0],
        };
        opaque.extend_from_slice(&element);
        opaque.resize(opaque.len().next_multiple_of(4), 0);
        opaque
    }

    /// KEY_EXCHANGE with this exchange data and opaque data.
    pub fn key_exchange_with(&self, slot: u8, summary: u8, exchange: &[u8], opaque: &[u8]) -> Vec<u8> {
        let mut message = vec![self.version, 0xe4, summary, slot];
        message.extend_from_slice(&[0x0d, 0xf0, 0, 0]);
        message.extend_from_slice(&random::<32>());
        message.extend_from_slice(exchange);
        message.extend_from_slice(&(opaque.len() as u16).to_le_bytes());
        message.extend_from_slice(opaque);
        message
    }

    /// A KEY_EXCHANGE that must be answered.
    pub fn key_exchange_request(&self, slot: u8, summary: u8) -> Vec<u8> {
        self.key_exchange_with(slot, summary, &self.suite.ephemeral().1, &self.opaque())
    }

    pub fn finish_with(&self, signed: u8, slot: u8, rest: &[u8]) -> Vec<u8> {
        let opaque: &[u8] = if self.version >= 0x14 { &[0, 0] } else { &[] };
        [&[self.version, 0xe5, signed, slot], opaque, rest].concat()
    }

    /// CHUNK_SEND of chunk `sequence` of a request of 5000 bytes, 100 bytes a chunk.
    pub fn chunk(&self, sequence: u16) -> Vec<u8> {
        let mut message = vec![self.version, 0x85, 0, 7];
        message.extend_from_slice(&sequence.to_le_bytes());
        message.extend_from_slice(&[0, 0, 100, 0, 0, 0]);
        if sequence == 0 {
            message.extend_from_slice(&5000u32.to_le_bytes());
        }
        message.extend_from_slice(&[self.version, 0xed, 0, 0]);
        message.resize(message.len() + 96, 0);
        message
    }

    /// CHUNK_GET until all of a large response is there.
    pub fn chunks(&mut self, handle: u8) -> Vec<u8> {
        let (wide, head) = (self.version >= 0x14, 12);
        let mut large = Vec::new();
        for sequence in 0u32.. {
            let number = sequence.to_le_bytes();
            let request = [
                &self.simple(0x86, 0, handle)[..],
                if wide { &number } else { &number[..2] },
            ]
            .concat();
            let answer = self.answer(&request);
            let size = u32::from_le_bytes(answer[8..12].try_into().unwrap()) as usize;
            let at = if sequence == 0 { head + 4 } else { head };
            large.extend_from_slice(&answer[at..at + size]);
            if answer[2] & 1 == 1 {
                break;
            }
        }
        large
    }

    pub fn simple(&self, code: u8, param1: u8, param2: u8) -> Vec<u8> {
        vec![self.version, code, param1, param2]
    }

    // Conversations as they should be

    /// To ALGORITHMS.
    pub fn negotiate(&mut self) {
        self.say_version();
        self.say_capabilities();
        self.say_algorithms();
    }

    pub fn say_version(&mut self) {
        let request = Self::get_version();
        let answer = self.answer(&request);
        let size = 6 + 2 * usize::from(answer[5]);
        self.vca = [&request, &answer[..size]].concat();
    }

    pub fn say_capabilities(&mut self) {
        let request = self.get_capabilities();
        let answer = self.answer(&request);
        assert_eq!(answer[0], self.version);
        let size = if self.version >= 0x12 { 20 } else { 12 };
        self.their_flags = u32::from_le_bytes(answer[8..12].try_into().unwrap());
        self.vca.extend_from_slice(&request);
        self.vca.extend_from_slice(&answer[..size]);
    }

    pub fn say_algorithms(&mut self) {
        let request = self.negotiate_algorithms();
        let answer = self.answer(&request);
        let size = usize::from(u16::from_le_bytes([answer[4], answer[5]]));
        self.vca.extend_from_slice(&request);
        self.vca.extend_from_slice(&answer[..size]);
        self.m1.clear();
    }

    /// GET_DIGESTS, in clear; the digests by slot.
    pub fn digests(&mut self) -> Vec<(u8, Vec<u8>)> {
        let request = self.simple(0x81, 0, 0);
        let answer = self.answer(&request);
        let size = self.suite.hash_size();
        // Which slots there are is told since 1.3.
        match self.version >= 0x13 {
            true => assert_eq!(answer[2] & answer[3], answer[3]),
            false => assert_eq!(answer[2], 0),
        }
        let slots = (0..8u8).filter(|slot| answer[3] >> slot & 1 == 1);
        let digests = slots.zip(answer[4..].chunks(size).map(<[u8]>::to_vec));
        let digests: Vec<_> = digests.collect();
        self.m1.extend_from_slice(&request);
        self.m1.extend_from_slice(&answer[..4 + size * digests.len()]);
        digests
    }

    /// GET_CERTIFICATE in clear until all is there.
    pub fn certificate(&mut self, slot: u8) -> Vec<u8> {
        let mut chain = Vec::new();
        loop {
            let request = self.get_certificate(slot, chain.len() as u16, 0x400);
            let answer = self.answer(&request);
            let portion = usize::from(u16::from_le_bytes([answer[4], answer[5]]));
            let rest = u16::from_le_bytes([answer[6], answer[7]]);
            assert!((1..=0x400).contains(&portion), "a portion of {portion} bytes");
            chain.extend_from_slice(&answer[8..8 + portion]);
            self.m1.extend_from_slice(&request);
            self.m1.extend_from_slice(&answer[..8 + portion]);
            if rest == 0 {
                break;
            }
        }
        self.chain.clone_from(&chain);
        chain
    }

    /// The key in the last certificate of the chain.
    pub fn leaf_key(&self) -> Vec<u8> {
        let mut rest = &self.chain[4 + self.suite.hash_size()..];
        let mut key = Vec::new();
        while !rest.is_empty() {
            let (after, certificate) = x509_parser::parse_x509_certificate(rest).unwrap();
            key = certificate.public_key().subject_public_key.data.to_vec();
            rest = after;
        }
        key
    }

    /// CHALLENGE, with everything that the answer says checked.
    pub fn challenged(&mut self, slot: u8, summary: u8) {
        let request = self.challenge(slot, summary);
        let answer = self.answer(&request);
        let (hash, sign) = (self.suite.hash_size(), self.suite.signature_size());
        assert_eq!(answer[2] & 0xf, slot);
        assert_eq!(answer[3] >> slot & 1, 1, "the slot is in the mask");
        assert_eq!(
            answer[4..4 + hash],
            self.suite.hash(&self.chain),
            "the chain's hash"
        );
        let summary = if summary == 0 { 0 } else { hash };
        let at = 4 + hash + 32 + summary;
        let opaque = usize::from(u16::from_le_bytes([answer[at], answer[at + 1]]));
        let size = at + 2 + opaque + self.context_size();
        assert_eq!(
            answer[size - self.context_size()..size],
            request[36..],
            "the requester's context"
        );
        let m1 = [&self.vca[..], &self.m1, &request, &answer[..size]].concat();
        let signature = &answer[size..size + sign];
        let context = "responder-challenge_auth signing";
        assert!(
            self.verifies(context, &m1, signature),
            "CHALLENGE_AUTH's signature"
        );
        self.m1.clear();
    }

    pub fn verifies(&self, context: &str, transcript: &[u8], signature: &[u8]) -> bool {
        self.suite
            .verifies(&self.leaf_key(), self.version, context, transcript, signature)
    }

    /// KEY_EXCHANGE, with the answer's signature and proof checked; the session is in its handshake.
    pub fn shake(&mut self, slot: u8, summary: u8) {
        if self.chain.is_empty() {
            self.certificate(slot);
        }
        let (own, public) = self.suite.ephemeral();
        let request = self.key_exchange_with(slot, summary, &public, &self.opaque());
        let answer = self.answer(&request);
        if self.flags & MUT_AUTH == 0 {
            assert_eq!(answer[6..8], [0, 0], "nothing is asked of who cannot");
        }
        let (hash, point) = (self.suite.hash_size(), self.suite.point_size());
        let summary = if summary == 0 { 0 } else { hash };
        let at = 40 + point + summary;
        let opaque = usize::from(u16::from_le_bytes([answer[at], answer[at + 1]]));
        let signed = at + 2 + opaque;
        let proof_at = signed + self.suite.signature_size();
        let mut th = self.vca.clone();
        th.extend_from_slice(&self.suite.hash(&self.chain));
        th.extend_from_slice(&request);
        th.extend_from_slice(&answer[..signed]);
        let context = "responder-key_exchange_rsp signing";
        assert!(
            self.verifies(context, &th, &answer[signed..proof_at]),
            "KEY_EXCHANGE_RSP's signature"
        );
        th.extend_from_slice(&answer[signed..proof_at]);
        let shared = self.suite.agree(own, &answer[40..40 + point]);
        let secret = self.suite.hmac(&vec![0; hash], &shared);
        let mut session = self.session_from(secret, th, &request, &answer);
        if !self.in_clear() {
            let proof = session.response.proof(&session.th);
            assert_eq!(answer[proof_at..proof_at + hash], proof, "the responder's proof");
            session.th.extend_from_slice(&proof);
        }
        self.session = Some(session);
        self.m1.clear();
    }

    /// Opens a session, in versions that have some.
    pub fn shake_if_possible(&mut self) {
        if self.version >= 0x11 {
            self.shake(0, 0);
            self.finish();
        }
    }

    /// Whether both sides have the handshake in clear.
    pub fn in_clear(&self) -> bool {
        self.flags & self.their_flags & HANDSHAKE_IN_CLEAR != 0
    }

    fn session_from(&self, secret: Vec<u8>, th: Vec<u8>, request: &[u8], answer: &[u8]) -> Session {
        let (suite, version) = (self.suite, self.version);
        let hash = suite.hash(&th);
        let direction = |label| {
            let secret = suite.expand(&secret, version, label, &hash, suite.hash_size());
            Direction::new(suite, version, secret)
        };
        Session {
            id: u32::from_le_bytes([request[4], request[5], answer[4], answer[5]]),
            request: direction("req hs data"),
            response: direction("rsp hs data"),
            handshake_secret: secret,
            th,
        }
    }

    /// A PSK_EXCHANGE for the key that `hint` names.
    pub fn psk_exchange(&self, summary: u8, hint: &[u8], opaque: &[u8]) -> Vec<u8> {
        let mut message = vec![self.version, 0xe6, summary, 0, 0x0e, 0xf0];
        for size in [hint.len(), 32, opaque.len()] {
            message.extend_from_slice(&(size as u16).to_le_bytes());
        }
        [&message, hint, &random::<32>()[..], opaque].concat()
    }

    /// PSK_EXCHANGE, with the answer's proof checked; the session is in its handshake.
    pub fn psk_shake(&mut self) {
        let request = self.psk_exchange(0, PSK_HINT, &self.opaque());
        let answer = self.answer(&request);
        let size = |at: usize| usize::from(u16::from_le_bytes([answer[at], answer[at + 1]]));
        let hash = self.suite.hash_size();
        let proof_at = 12 + size(8) + size(10);
        assert!(size(8) > 0, "a context of the responder's");
        let salt = if self.version >= 0x13 { 0xff } else { 0 };
        let secret = self.suite.hmac(&vec![salt; hash], PSK_KEY);
        let th = [&self.vca[..], &request, &answer[..proof_at]].concat();
        let mut session = self.session_from(secret, th, &request, &answer);
        let proof = session.response.proof(&session.th);
        assert_eq!(answer[proof_at..proof_at + hash], proof, "the responder's proof");
        session.th.extend_from_slice(&proof);
        self.session = Some(session);
    }

    /// PSK_FINISH, and the keys after it.
    pub fn psk_finish(&mut self) {
        let opaque: &[u8] = if self.version >= 0x14 { &[0, 0] } else { &[] };
        let head = [&[self.version, 0xe7, 0, 0], opaque].concat();
        let session = self.session.as_mut().expect("a handshake");
        session.th.extend_from_slice(&head);
        let proof = session.request.proof(&session.th);
        session.th.extend_from_slice(&proof);
        let answer = self.secured_answer(&[head, proof].concat());
        self.finished(&answer, false);
    }

    /// A FINISH that must be believed; it is not in the transcript before [`Self::finished`].
    pub fn right_finish(&mut self) -> Vec<u8> {
        let head = self.finish_with(0, 0, &[]);
        let session = self.session.as_mut().expect("a handshake");
        session.th.extend_from_slice(&head);
        let proof = session.request.proof(&session.th);
        session.th.extend_from_slice(&proof);
        [head, proof].concat()
    }

    /// FINISH, in the session or in clear, and the keys after it.
    pub fn finish(&mut self) {
        let request = self.right_finish();
        let answer = match self.in_clear() {
            true => self.answer(&request),
            false => self.secured_answer(&request),
        };
        self.finished(&answer, self.in_clear());
    }

    /// The application's keys.
    fn finished(&mut self, answer: &[u8], in_clear: bool) {
        let (suite, version) = (self.suite, self.version);
        let size = suite.hash_size();
        let session = self.session.take().expect("a handshake");
        let mut th = session.th;
        let head = if version >= 0x14 { 6 } else { 4 };
        match in_clear {
            // Padding may follow.
            true => assert!(answer.len() >= head + size),
            false => assert_eq!(answer.len(), head),
        }
        th.extend_from_slice(&answer[..head]);
        if in_clear {
            let proof = session.response.proof(&th);
            assert_eq!(answer[head..head + size], proof, "the responder's second proof");
            th.extend_from_slice(&proof);
        }
        let salt = suite.expand(&session.handshake_secret, version, "derived", &[], size);
        let master = suite.hmac(&salt, &vec![0; size]);
        let hash = suite.hash(&th);
        let direction =
            |label| Direction::new(suite, version, suite.expand(&master, version, label, &hash, size));
        self.session = Some(Session {
            request: direction("req app data"),
            response: direction("rsp app data"),
            th,
            ..session
        });
    }

    /// KEY_UPDATE without the message that tries the new keys.
    pub fn update(&mut self, operation: u8) {
        let request = self.simple(0xe9, operation, 1);
        let mctp = self.mctp;
        let session = self.session.as_mut().expect("a session");
        let record = session.request.seal(mctp, session.id, &request);
        session.request = session.request.updated();
        if operation == 2 {
            session.response = session.response.updated();
        }
        match self.record(&record) {
            Heard::Secured(answer) => assert_eq!(answer[1..], [0x69, operation, 1]),
            other => panic!("KEY_UPDATE is answered with {other:02x?}"),
        }
    }
}
