//! A device behind its mailbox, and a TSM that speaks to it: what several tests begin with.

#![allow(dead_code, reason = "each test file uses another part")]

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};
use tdisp::{
    clock::Instant,
    crypto::{Digest, HashAlg, Ring, RingSigner, SignAlg, digest},
    dsm::{Config, Dsm, Event, Honest, Personality},
    ide_km::{self, msg::Direction, requester::Progress as KeyProgress, responder::Port},
    spdm::{
        self, Requester, RequesterConfig, ResponderConfig, Trust,
        msg::{
            Version,
            certificate::Chain,
            measurements::Kind,
            vendor::{PciSig, Protocol},
        },
        responder::Measurement,
    },
    tdi::{
        self,
        msg::{Header, InterfaceId, Lock, LockFlags, Request, Response, State},
        report::{Attributes, Info, Range, Report},
        requester::{Answer, Progress},
        responder::{Ide, Optional},
    },
};

pub(crate) const TDI: InterfaceId = InterfaceId::new(0x0101);
pub(crate) const SIBLING: InterfaceId = InterfaceId::new(0x0102);
pub(crate) const NOW: Instant = Instant::START;
pub(crate) const LOCK: Lock = Lock {
    flags: LockFlags::NO_FW_UPDATE,
    default_stream: 3,
    mmio_reporting_offset: 0x10_0000,
    bind_p2p_address_mask: 0,
};

pub(crate) fn report() -> Report {
    let range = Range {
        first_page: 0x80,
        pages: 4,
        attributes: Attributes::default(),
        id: 0,
    };
    Report {
        info: Info::NO_FW_UPDATE | Info::DMA,
        ranges: vec![range],
        ..Report::default()
    }
}

pub(crate) fn honest() -> Honest {
    Honest {
        reports: BTreeMap::from([(TDI, report()), (SIBLING, report())]),
        measurements: measurements(),
    }
}

pub(crate) fn device(ide: Ide, personality: impl Personality + 'static) -> Dsm {
    Dsm::new(config(ide), Box::new(personality), Arc::new(Ring))
}

pub(crate) fn config(ide: Ide) -> Config {
    let (chain, signer) = identity();
    Config {
        spdm: ResponderConfig::new(chain.clone(), signer.clone(), Vec::new()),
        tdi: tdi::responder::Config {
            interfaces: vec![TDI, SIBLING],
            ide,
            lock_flags: LockFlags(0b1_0111),
            address_width: 52,
            portion_max: 32,
            optional: Optional::default(),
        },
        ports: vec![Port::default()],
    }
}

/// A TSM on a device.
pub(crate) struct Pair {
    pub(crate) spdm: Requester,
    pub(crate) tsm: tdi::Requester,
    pub(crate) device: Dsm,
    pub(crate) seen: Vec<Event>,
}

impl Pair {
    /// A session is up.
    pub(crate) fn connected(device: Dsm) -> Self {
        Self::connected_as(device, RequesterConfig::default())
    }

    /// The same with a requester that is told something else.
    pub(crate) fn connected_as(device: Dsm, config: RequesterConfig) -> Self {
        let config = RequesterConfig {
            roots: Trust::RelyingPartyDecides,
            ..config
        };
        let spdm = Requester::new(config, Arc::new(Ring));
        let mut pair = Self {
            spdm,
            tsm: tdi::Requester::new(TDI),
            device,
            seen: Vec::new(),
        };
        pair.spdm.connect(NOW);
        let events = pair.exchange();
        assert!(
            matches!(events.last(), Some(spdm::Event::SessionReady { .. })),
            "{events:?}"
        );
        assert!(matches!(pair.seen.pop(), Some(Event::SessionStarted { .. })));
        pair
    }

    /// Carries objects until nobody has more to say.
    pub(crate) fn exchange(&mut self) -> Vec<spdm::Event> {
        loop {
            let mut object = Vec::new();
            if !self.spdm.poll_transmit(&mut object) {
                return std::iter::from_fn(|| self.spdm.poll_event()).collect();
            }
            self.device.handle(NOW, &object);
            self.seen.extend(std::iter::from_fn(|| self.device.poll_event()));
            let mut answer = Vec::new();
            if self.device.poll_transmit(&mut answer) {
                self.spdm.handle(NOW, &answer);
            }
            let mut more = Vec::new();
            assert!(
                !self.device.poll_transmit(&mut more),
                "at most one answer to an object"
            );
        }
    }

    /// Sends an object of the PCI-SIG's in the session and takes its answer, if there is one. After silence the requester
    /// waits, and nothing more can be asked.
    pub(crate) fn vendor(&mut self, protocol: Protocol, object: &[u8]) -> Option<Vec<u8>> {
        let mut payload = Vec::new();
        PciSig { protocol, object }.encode(&mut payload);
        self.spdm.vendor(NOW, &payload).expect("a session");
        self.vendor_answer(protocol)
    }

    /// The same in one session of several.
    pub(crate) fn vendor_in(&mut self, session: u32, protocol: Protocol, object: &[u8]) -> Option<Vec<u8>> {
        let mut payload = Vec::new();
        PciSig { protocol, object }.encode(&mut payload);
        self.spdm.vendor_in(NOW, session, &payload).expect("the session");
        self.vendor_answer(protocol)
    }

    /// Opens another session beside those that are there; its id.
    pub(crate) fn open_another(&mut self) -> u32 {
        self.spdm.open_session(NOW).expect("a connection");
        let opened = self.exchange().into_iter().find_map(|event| match event {
            spdm::Event::SessionReady { id } => Some(id),
            _ => None,
        });
        opened.expect("a session")
    }

    fn vendor_answer(&mut self, protocol: Protocol) -> Option<Vec<u8>> {
        let answer = self.exchange().into_iter().find_map(|event| match event {
            spdm::Event::Vendor(payload) => Some(payload),
            _ => None,
        })?;
        let answer = PciSig::decode(&answer).expect("a protocol byte");
        assert_eq!(answer.protocol, protocol);
        Some(answer.object.to_vec())
    }

    /// Sends bytes as a TDISP object, and reads the answer.
    pub(crate) fn send(&mut self, object: &[u8]) -> Response<'static> {
        let answer = self.vendor(Protocol::TDISP, object).expect("an answer");
        let (header, body) = Header::decode(&answer).expect("an answer has a header");
        assert_eq!(header.version, tdi::msg::Version::V1_0);
        let body = Box::leak(body.to_vec().into_boxed_slice());
        Response::decode(header.code, body).expect("an answer is well-formed")
    }

    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Response<'static> {
        let mut object = Vec::new();
        request.encode(TDI, &mut object);
        self.send(&object)
    }

    /// Brings the interface into a state from whatever state it is in, over a keyed stream. Answers the lock's nonce.
    pub(crate) fn bring_to(&mut self, state: State, lock: Lock) -> [u8; 32] {
        assert_eq!(self.ask(&Request::Stop), Response::Stop);
        let mut nonce = [0; 32];
        if state != State::UNLOCKED {
            let locked = self.ask(&Request::Lock(lock));
            let Response::Lock { nonce: given } = locked else {
                panic!("a lock, not {locked:?}")
            };
            nonce = given;
        }
        match state {
            State::RUN => assert_eq!(self.ask(&Request::Start { nonce }), Response::Start),
            State::ERROR => self.device.fault(TDI),
            _ => {}
        }
        self.assert_state(state);
        self.seen.clear();
        nonce
    }

    #[track_caller]
    pub(crate) fn assert_state(&mut self, state: State) {
        assert_eq!(self.device.state(TDI), Some(state));
        assert_eq!(self.ask(&Request::GetState), Response::State(state));
    }

    pub(crate) fn tdisp(
        &mut self,
        ask: fn(&mut tdi::Requester) -> Result<Vec<u8>, tdi::requester::Misuse>,
    ) -> Result<Answer, tdi::requester::Error> {
        let mut object = ask(&mut self.tsm)?;
        loop {
            let answer = self.vendor(Protocol::TDISP, &object).expect("an answer");
            match self.tsm.handle(&answer)? {
                Progress::More(next) => object = next,
                Progress::Done(answer) => return Ok(answer),
            }
        }
    }

    pub(crate) fn keys(
        &mut self,
        ask: impl FnOnce(&mut ide_km::Requester) -> Vec<u8>,
        keys: &mut ide_km::Requester,
    ) {
        let mut object = ask(keys);
        loop {
            let answer = self.vendor(Protocol::IDE_KM, &object).expect("an answer");
            match keys.handle(&answer).expect("an acknowledgement") {
                KeyProgress::More(next) => object = next.to_vec(),
                KeyProgress::Done(_) => return,
            }
        }
    }

    /// Programs stream 3 and starts it in both directions.
    pub(crate) fn keyed(mut self) -> (Self, ide_km::Requester) {
        let mut keys = ide_km::Requester::new(0, 3);
        self.keys(|keys| keys.program(&Ring).expect("keys").to_vec(), &mut keys);
        for direction in [Direction::Receive, Direction::Transmit] {
            self.keys(|keys| keys.go(direction).expect("a programmed set"), &mut keys);
        }
        (self, keys)
    }

    pub(crate) fn states(&mut self) -> Vec<(InterfaceId, State)> {
        let states = self.seen.drain(..).filter_map(|event| match event {
            Event::TdiState { interface, state } => Some((interface, state)),
            _ => None,
        });
        states.collect()
    }
}

pub(crate) fn root(chain: &[u8]) -> Digest {
    Digest::new(&chain[4..52]).expect("a digest of 48 bytes")
}

/// A chain object of a root and a leaf, and the leaf's key.
pub(crate) fn identity() -> &'static (Vec<u8>, Arc<RingSigner>) {
    static IDENTITY: OnceLock<(Vec<u8>, Arc<RingSigner>)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
        let named = |name: &str, usage| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.key_usages = vec![usage];
            params
        };
        let (root_key, leaf_key) = (key(), key());
        let mut root = named("root", KeyUsagePurpose::KeyCertSign);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_der = root.self_signed(&root_key).expect("a root").der().to_vec();
        let leaf = named("leaf", KeyUsagePurpose::DigitalSignature);
        let leaf = leaf
            .signed_by(&leaf_key, &Issuer::new(root, root_key))
            .expect("a leaf");
        let root_hash = digest(&Ring, HashAlg::Sha384, &root_der);
        let certificates = [&root_der[..], leaf.der()].concat();
        let mut object = Vec::new();
        let chain = Chain {
            root_hash: root_hash.as_ref(),
            certificates: &certificates,
        };
        chain.encode(Version::V1_2, &mut object);
        let signer = RingSigner::from_pkcs8(SignAlg::EcdsaP384, leaf_key.serialized_der());
        (object, Arc::new(signer.expect("a key")))
    })
}

pub(crate) fn measurements() -> Vec<Measurement> {
    let digest = |index, kind, byte| Measurement {
        index,
        kind,
        raw: false,
        value: vec![byte; 48],
        bit_stream: None,
    };
    vec![digest(1, Kind::ROM, 0x11), digest(2, Kind::FIRMWARE, 0x22)]
}
