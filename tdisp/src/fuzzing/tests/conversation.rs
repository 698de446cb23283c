//! A requester and the other side talk, and what each of them heard and was asked is written down as a script.

use crate::{
    clock::Instant,
    doe::{Object, ObjectType, discovery},
    fuzzing::{
        machines::{INTERFACES, ask_more, new_dsm, new_requester, responder_of},
        messages::opened,
    },
    ide_km,
    spdm::{
        Event, Requester,
        msg::{
            Version,
            vendor::{PciSig, Protocol},
        },
        responder,
    },
    tdi::msg::{Lock, LockFlags, Request},
    wire::Write,
};

const NOW: Instant = Instant::START;

/// The other side: an object goes in, its answer comes out, and its script is written.
type Peer<'a> = &'a mut dyn FnMut(&[u8], &mut Vec<u8>) -> Option<Vec<u8>>;

pub(super) struct Talk {
    requester: Requester,
    /// The requester's script.
    pub(super) asking: Vec<u8>,
    /// The other side's script.
    pub(super) answering: Vec<u8>,
    pub(super) events: Vec<Event>,
}

impl Talk {
    fn new() -> Self {
        Self {
            requester: new_requester(),
            asking: Vec::new(),
            answering: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Asks for something, as the requester's script does, and carries objects until there are no more.
    fn ask(&mut self, what: u8, bytes: &[u8], peer: Peer<'_>) {
        step(5 | what << 3, bytes, &mut self.asking);
        let done = match what {
            0 => {
                self.requester.connect(NOW);
                Ok(())
            }
            1 => self.requester.open_session(NOW),
            2 => self.requester.measure(NOW, Some(crate::fuzzing::judge::NONCE)),
            3 => self.requester.vendor(NOW, bytes),
            4 => self.requester.update_keys(NOW),
            5 => self.requester.end_session(NOW),
            what => {
                let session = self.requester.session();
                ask_more(&mut self.requester, NOW, what, session, bytes)
            }
        };
        done.unwrap_or_else(|misuse| panic!("{what}: {misuse}: {:?}", self.events));
        let mut object = Vec::new();
        while self.requester.poll_transmit(&mut object) {
            came(&object, &mut self.answering);
            let answer = peer(&object, &mut self.answering).expect("an answer");
            came(&answer, &mut self.asking);
            self.requester.handle(NOW, &answer);
            object.clear();
            self.events
                .extend(std::iter::from_fn(|| self.requester.poll_event()));
        }
    }
}

/// All that can be said with a responder, which answers vendor-defined requests with themselves.
pub(super) fn with_responder(version: Version) -> Talk {
    let mut responder = responder_of(&[version]);
    let mut peer = |object: &[u8], script: &mut Vec<u8>| {
        responder.handle(NOW, object);
        while let Some(event) = responder.poll_event() {
            if let responder::Event::VendorRequest { payload, .. } = event {
                step(5, &payload, script);
                responder.respond_vendor(NOW, Some(&payload));
            }
        }
        let mut answer = Vec::new();
        responder.poll_transmit(&mut answer).then_some(answer)
    };
    let mut talk = Talk::new();
    talk.ask(0, b"", &mut peer);
    talk.ask(2, b"", &mut peer);
    talk.ask(3, b"\x01\x02\x03", &mut peer);
    talk.ask(4, b"", &mut peer);
    talk.ask(3, b"\x01later", &mut peer);
    if version >= Version::V1_2 {
        // More than either end takes at once.
        talk.ask(3, &[7; 700], &mut peer);
    }
    for what in optional(version) {
        talk.ask(what, b"", &mut peer);
    }
    talk.ask(5, b"", &mut peer);
    talk.ask(1, b"", &mut peer);
    talk
}

/// The transcript of the measurements in such a conversation.
pub(super) fn measured(version: Version) -> Vec<u8> {
    let events = with_responder(version).events;
    let measured = events.into_iter().find_map(|event| match event {
        Event::Measurements(record) => Some(record.blob),
        _ => None,
    });
    measured.expect("the conversation measures")
}

/// What else a version has to ask: of what came late, as much as it has; who is in slot 0 of any.
fn optional(version: Version) -> impl Iterator<Item = u8> {
    let late = match version {
        Version::V1_0 | Version::V1_1 => 6..6,
        Version::V1_2 => 6..7,
        _ => 6..15,
    };
    late.chain(15..17)
}

/// A lock, its report and its end with a device.
pub(super) fn with_dsm() -> Talk {
    let mut device = new_dsm();
    let mut talk = Talk::new();
    discover(&mut talk.answering);
    let mut peer = |object: &[u8], _: &mut Vec<u8>| {
        device.handle(NOW, object);
        while device.poll_event().is_some() {}
        let mut answer = Vec::new();
        device.poll_transmit(&mut answer).then_some(answer)
    };
    talk.ask(0, b"", &mut peer);
    talk.ask(3, &ide_query(), &mut peer);
    let lock = Lock {
        flags: LockFlags::default(),
        default_stream: 0,
        mmio_reporting_offset: 0x1000,
        bind_p2p_address_mask: 0,
    };
    let report = |offset| Request::GetReport { offset, length: 40 };
    let before = [
        Request::GetVersion,
        Request::GetCapabilities { tsm_caps: 0 },
        Request::Lock(lock),
        report(0),
        report(32),
        Request::GetState,
    ];
    for request in before {
        talk.ask(3, &tdisp(request), &mut peer);
    }

    let nonce = nonce_of(&talk);
    for request in [Request::Start { nonce }, Request::GetState, Request::Stop] {
        talk.ask(3, &tdisp(request), &mut peer);
    }
    talk.ask(3, &tdisp(Request::Lock(lock)), &mut peer);
    talk.ask(5, b"", &mut peer);
    talk
}

/// The lock's nonce, from the answer to LOCK_INTERFACE.
fn nonce_of(talk: &Talk) -> [u8; 32] {
    let locked = talk.events.iter().find_map(|event| match event {
        Event::Vendor(payload) if payload.get(2) == Some(&crate::tdi::msg::Code::LOCK_RESPONSE.0) => {
            payload.get(17..49)
        }
        _ => None,
    });
    locked.expect("the interface is locked").try_into().unwrap()
}

fn tdisp(request: Request<'_>) -> Vec<u8> {
    let mut object = Vec::new();
    request.encode(INTERFACES[0], &mut object);
    payload(Protocol::TDISP, &object)
}

fn ide_query() -> Vec<u8> {
    let mut object = Vec::new();
    ide_km::msg::Message::Query { port: 0 }.encode(&mut object);
    payload(Protocol::IDE_KM, &object)
}

fn payload(protocol: Protocol, object: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    PciSig { protocol, object }.encode(&mut payload);
    payload
}

fn discover(script: &mut Vec<u8>) {
    let (mut request, mut object) = (Vec::new(), Vec::new());
    discovery::Request { index: 0, version: 0 }.encode(&mut request);
    Object::new(ObjectType::DISCOVERY, &request).encode(&mut object);
    step(0, &object, script);
}

/// Writes that an object came in, as the message in it.
fn came(object: &[u8], script: &mut Vec<u8>) {
    let Object { kind, body, .. } = Object::decode(object).unwrap();
    match kind {
        ObjectType::SPDM => step(1, body, script),
        _ => {
            step(2, &opened(body).unwrap(), script);
        }
    }
}

pub(super) fn step(step: u8, bytes: &[u8], script: &mut Vec<u8>) {
    script.u8(step);
    script.u16(u16::try_from(bytes.len()).unwrap());
    script.bytes(bytes);
}
