//! Two ends on one desk: a requester and a responder, a clock that only the test moves, and a wire that the test can cut,
//! bend and tangle.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

pub mod answering;
pub mod by_hand;
pub mod endowed;
pub mod suite;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};
use std::{sync::Arc, sync::OnceLock, time::Duration};
use tdisp::{
    clock::Instant,
    crypto::{Digest, HashAlg, Ring, RingSigner, SignAlg, digest},
    doe::{Object, ObjectType},
    spdm::{
        Event, Measurement, Misuse, Requester, RequesterConfig, Responder, ResponderConfig, Trust,
        msg::{Version, certificate::Chain, measurements::Kind},
        responder,
    },
};

/// A device's identity: a chain object with three certificates, and the leaf's key.
pub struct Identity {
    pub chain: Vec<u8>,
    pub root: Digest,
    pub signer: Arc<RingSigner>,
}

impl Identity {
    /// A new one, unlike any other.
    pub fn new(name: &str) -> Self {
        Self::of(
            name,
            authority(&format!("{name} middle")),
            leaf(&format!("{name} leaf")),
        )
    }

    /// One that whoever has a leaf of the root's makes with that leaf's key.
    pub fn minted(name: &str) -> Self {
        Self::of(name, leaf(&format!("{name} leaf")), leaf("whom it likes"))
    }

    /// One whose certificates after the root are these.
    pub fn of(name: &str, middle: CertificateParams, last: CertificateParams) -> Self {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let root = authority(&format!("{name} root"));
        let root_key = key();
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let root_issuer = Issuer::new(root, root_key);
        let middle_key = key();
        let middle_der = middle
            .signed_by(&middle_key, &root_issuer)
            .unwrap()
            .der()
            .to_vec();
        let middle_issuer = Issuer::new(middle, middle_key);
        let leaf_key = key();
        let leaf = last.signed_by(&leaf_key, &middle_issuer).unwrap();
        let root = digest(&Ring, HashAlg::Sha384, &root_der);
        let certificates = [&root_der[..], &middle_der, leaf.der()].concat();
        let mut chain = Vec::new();
        Chain {
            root_hash: root.as_ref(),
            certificates: &certificates,
        }
        .encode(Version::V1_2, &mut chain);
        let signer = RingSigner::from_pkcs8(SignAlg::EcdsaP384, &leaf_key.serialize_der()).unwrap();
        Self {
            chain,
            root,
            signer: Arc::new(signer),
        }
    }

    /// The one that most tests share.
    pub fn usual() -> &'static Self {
        static USUAL: OnceLock<Identity> = OnceLock::new();
        USUAL.get_or_init(|| Self::new("usual"))
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Whose key may sign what its owner says, and no certificates.
pub fn leaf(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

pub fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

pub fn measurements() -> Vec<Measurement> {
    let digest = |index, kind, byte| Measurement {
        index,
        kind,
        raw: false,
        value: vec![byte; 48],
        bit_stream: None,
    };
    vec![
        digest(1, Kind::ROM, 0x11),
        digest(2, Kind::FIRMWARE, 0x22),
        Measurement {
            index: 5,
            kind: Kind::FIRMWARE_SECURITY_VERSION,
            raw: true,
            value: vec![7, 0, 0, 0, 0, 0, 0, 0],
            bit_stream: None,
        },
    ]
}

/// So many measurements that their record does not fit a small message.
pub fn many_measurements(count: u8) -> Vec<Measurement> {
    let measurement = |index| Measurement {
        index,
        kind: Kind::FIRMWARE,
        raw: false,
        value: vec![index; 48],
        bit_stream: None,
    };
    (1..=count).map(measurement).collect()
}

pub fn requester_config() -> RequesterConfig {
    RequesterConfig {
        versions: vec![Version::V1_2],
        roots: Trust::Pinned(vec![Identity::usual().root]),
        ..RequesterConfig::default()
    }
}

pub fn responder_config() -> ResponderConfig {
    let usual = Identity::usual();
    // What is not about versions is tested in one; `versions` has them all.
    ResponderConfig {
        versions: vec![Version::V1_2],
        ..ResponderConfig::new(usual.chain.clone(), usual.signer.clone(), measurements())
    }
}

pub fn requester(config: RequesterConfig) -> Requester {
    Requester::new(config, Arc::new(Ring))
}

pub fn responder(config: ResponderConfig) -> Responder {
    Responder::new(config, Arc::new(Ring))
}

/// What happens to one object on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// It is lost.
    Drop,
    /// It comes twice.
    Duplicate,
    /// Its last DW does not come; the header says so.
    Shorten,
    /// Its last byte does not come.
    Truncate,
    /// One bit of it comes wrong, counted from its first byte and reduced to its size.
    Flip(usize),
    /// It comes after the other end has given up waiting.
    Delay,
    /// The object before it in the same direction comes once more instead.
    Replay,
}

/// Both ends and the wire.
pub struct Pair {
    pub requester: Requester,
    pub responder: Responder,
    pub now: Instant,
    /// Objects that went over the wire, both ways, as they were sent.
    pub carried: Vec<Vec<u8>>,
    /// The number of an object, counted from 0, and what happens to it.
    pub fault: Option<(usize, Fault)>,
    pub requester_events: Vec<Event>,
    pub responder_events: Vec<responder::Event>,
    /// Whether the device keeps silent to vendor-defined requests.
    pub device_is_silent: bool,
    /// Who sits between and bends the bodies of the responder's objects in clear.
    pub bend: Option<Bend>,
}

/// Changes the body of an object in place.
pub type Bend = Box<dyn FnMut(&mut Vec<u8>)>;

impl Pair {
    pub fn new() -> Self {
        Self::of(requester(requester_config()), responder(responder_config()))
    }

    pub fn of(requester: Requester, responder: Responder) -> Self {
        Self {
            requester,
            responder,
            now: Instant::START,
            carried: Vec::new(),
            fault: None,
            requester_events: Vec::new(),
            responder_events: Vec::new(),
            device_is_silent: false,
            bend: None,
        }
    }

    /// A pair whose session is up.
    pub fn in_session() -> Self {
        let mut pair = Self::new();
        pair.connect();
        assert!(pair.requester.session().is_some(), "{:?}", pair.requester_events);
        pair.requester_events.clear();
        pair.responder_events.clear();
        pair
    }

    pub fn connect(&mut self) {
        self.requester.connect(self.now);
        self.run();
    }

    /// Carries objects and moves the clock until neither end has anything to do.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            if self.carry() {
                continue;
            }
            // What the responder alone waits for, an idle session's end, is for the test to reach.
            let Some(at) = self.requester.poll_timeout().filter(|_| self.requester_waits()) else {
                return;
            };
            self.now = self.now.max(at);
            self.requester.handle_timeout(self.now);
            self.collect();
        }
        panic!("the two ends never come to rest");
    }

    /// Whether the requester waits for an answer, and not only for the time of its next heartbeat.
    fn requester_waits(&self) -> bool {
        self.requester.awaited().is_some()
    }

    /// One object each way; whether there was any.
    pub fn carry(&mut self) -> bool {
        let mut object = Vec::new();
        if self.requester.poll_transmit(&mut object) {
            for object in self.through_wire(object) {
                self.responder.handle(self.now, &object);
                self.serve();
                self.answer();
            }
            return true;
        }
        false
    }

    fn answer(&mut self) {
        let mut object = Vec::new();
        while self.responder.poll_transmit(&mut object) {
            let object = self.bent(std::mem::take(&mut object));
            for object in self.through_wire(object) {
                self.requester.handle(self.now, &object);
                self.collect();
            }
        }
    }

    /// The device: it answers a vendor-defined request with the same payload backwards.
    fn serve(&mut self) {
        while let Some(event) = self.responder.poll_event() {
            if let responder::Event::VendorRequest { payload, .. } = &event {
                let answer: Vec<u8> = payload[..1]
                    .iter()
                    .chain(payload[1..].iter().rev())
                    .copied()
                    .collect();
                let answer = (!self.device_is_silent).then_some(&answer[..]);
                self.responder.respond_vendor(self.now, answer);
            }
            self.responder_events.push(event);
        }
    }

    pub fn collect(&mut self) {
        while let Some(event) = self.requester.poll_event() {
            self.requester_events.push(event);
        }
    }

    fn bent(&mut self, object: Vec<u8>) -> Vec<u8> {
        let Some(bend) = self.bend.as_mut() else {
            return object;
        };
        let Object { kind, body, .. } = Object::decode(&object).unwrap();
        if kind != ObjectType::SPDM {
            return object;
        }
        let mut body = body.to_vec();
        bend(&mut body);
        let mut object = Vec::new();
        Object::new(kind, &body).encode(&mut object);
        object
    }

    /// A connection with all that can be said in it, as far as it goes.
    pub fn say_everything(&mut self) {
        self.connect();
        type Step = fn(&mut Requester, Instant) -> Result<(), Misuse>;
        let steps: [Step; 5] = [
            |requester, now| requester.measure(now, None),
            |requester, now| requester.vendor(now, &[1, 2, 3, 4, 5]),
            |requester, now| requester.update_keys(now),
            |requester, now| requester.vendor(now, &[0, 6, 7]),
            |requester, now| requester.end_session(now),
        ];
        for step in steps {
            if self.failure().is_none() {
                step(&mut self.requester, self.now).unwrap();
                self.run();
            }
        }
    }

    fn through_wire(&mut self, object: Vec<u8>) -> Vec<Vec<u8>> {
        let number = self.carried.len();
        self.carried.push(object.clone());
        let Some((_, fault)) = self.fault.filter(|(at, _)| *at == number) else {
            return vec![object];
        };
        match fault {
            Fault::Drop => vec![],
            Fault::Duplicate => vec![object.clone(), object],
            Fault::Shorten => {
                let mut object = object;
                object.truncate(object.len() - 4);
                let dwords = object.len() as u32 / 4;
                object[4..8].copy_from_slice(&dwords.to_le_bytes());
                vec![object]
            }
            Fault::Truncate => vec![object[..object.len() - 1].to_vec()],
            Fault::Flip(bit) => {
                let mut object = object;
                let bit = bit % (object.len() * 8);
                object[bit / 8] ^= 1 << (bit % 8);
                vec![object]
            }
            Fault::Delay => {
                self.now = self.now.after(Duration::from_secs(3600));
                self.requester.handle_timeout(self.now);
                self.responder.handle_timeout(self.now);
                self.collect();
                vec![object]
            }
            Fault::Replay => {
                let before = number.checked_sub(2).map(|at| self.carried[at].clone());
                vec![before.unwrap_or(object)]
            }
        }
    }

    /// Why the requester gave up, if it did.
    pub fn failure(&self) -> Option<&tdisp::spdm::Error> {
        self.requester_events.iter().find_map(|event| match event {
            Event::Failed(error) => Some(error),
            _ => None,
        })
    }
}
