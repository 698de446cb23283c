//! One message of each kind in each version that has it, made with the writers.

use tdisp::spdm::msg::algorithms::{Set, Table, TableKind};
use tdisp::spdm::msg::capabilities::{Flags, Sizes};
use tdisp::spdm::msg::chunk::Chunk;
use tdisp::spdm::msg::digests::{Key, Slot};
use tdisp::spdm::msg::encapsulated::Next;
use tdisp::spdm::msg::error::ErrorCode;
use tdisp::spdm::msg::event_types::{EventType, Group, Groups};
use tdisp::spdm::msg::key_exchange::Mutual;
use tdisp::spdm::msg::key_pair_info::{Abilities, Usage, key_algorithm};
use tdisp::spdm::msg::key_update::Operation;
use tdisp::spdm::msg::measurements::{Block, Kind, Record, Signed};
use tdisp::spdm::msg::set_certificate::Model;
use tdisp::spdm::msg::set_key_pair_info::Desired;
use tdisp::spdm::msg::vendor::{Body, Registry};
use tdisp::spdm::msg::version::Entry;
use tdisp::spdm::msg::*;

pub(crate) const VERSIONS: [Version; 5] = [
    Version::V1_0,
    Version::V1_1,
    Version::V1_2,
    Version::V1_3,
    Version::V1_4,
];

/// A message and what is needed to read it.
pub(crate) struct Sample {
    pub(crate) context: Context,
    pub(crate) bytes: Vec<u8>,
    /// Whether the message's end is said by its own fields. Where it holds another message, it is not.
    pub(crate) closed: bool,
}

/// A connection at a version, with P-384 and SHA-384.
pub(crate) fn connection(version: Version) -> Context {
    Context {
        hash_size: 48,
        signature_size: 96,
        requester_signature_size: 64,
        exchange_request_size: 96,
        exchange_response_size: 96,
        summary_asked: true,
        signature_asked: true,
        multi_key: version >= Version::V1_3,
        ..Context::new(version)
    }
}

pub(crate) fn bytes(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

/// All samples.
pub(crate) fn all() -> Vec<Sample> {
    let usual = VERSIONS.into_iter().flat_map(of_version);
    usual.chain(VERSIONS.into_iter().flat_map(optional)).collect()
}

/// What a connection may do without: provisioning, information and events.
fn optional(version: Version) -> Vec<Sample> {
    let mut messages = Vec::new();
    if version >= Version::V1_2 {
        messages.extend(provisioning(version));
    }
    if version >= Version::V1_3 {
        messages.extend(key_pairs(version));
        messages.extend(information(version));
        messages.extend(events(version));
    }
    let sample = |(unsigned, message): &(bool, Message<'_>)| Sample {
        context: Context {
            signature_asked: !unsigned,
            ..connection(version)
        },
        bytes: bytes(message),
        closed: true,
    };
    messages.iter().map(sample).collect()
}

fn of_version(version: Version) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |context: Context, closed: bool, message: &Message<'_>| {
        samples.push(Sample {
            context,
            bytes: bytes(message),
            closed,
        });
    };
    let context = connection(version);
    for message in start(version)
        .iter()
        .chain(&identity(version))
        .chain(&measured(version))
    {
        add(context, true, message);
    }
    if version >= Version::V1_1 {
        for clear in [false, true] {
            let context = Context {
                handshake_in_clear: clear,
                ..context
            };
            handshake(version, clear)
                .iter()
                .for_each(|message| add(context, true, message));
        }
        session(version)
            .iter()
            .for_each(|message| add(context, true, message));
        encapsulated(version)
            .iter()
            .for_each(|message| add(context, false, message));
    }
    if version >= Version::V1_2 {
        chunks(version)
            .iter()
            .for_each(|message| add(context, true, message));
    }
    samples
}

const HASH: [u8; 48] = [0x11; 48];
const OTHER_HASH: [u8; 48] = [0x22; 48];
const SIGNATURE: [u8; 96] = [0x33; 96];
const REQUESTER_SIGNATURE: [u8; 64] = [0x44; 64];
const PUBLIC: [u8; 96] = [0x55; 96];
const NONCE: [u8; 32] = [0x66; 32];
const OPAQUE: [u8; 5] = [0x77; 5];

fn requester_context(version: Version) -> Option<RequesterContext> {
    (version >= Version::V1_3).then_some([0x88; 8])
}

pub(crate) fn offer(version: Version) -> Set<'static> {
    let table = |kind, mask| Table {
        kind,
        mask,
        extended: &[],
    };
    let mut set = Set {
        measurement_specification: 1,
        other_params: if version >= Version::V1_2 { 2 } else { 0 },
        asym: 0x80,
        hash: 2,
        extended_hash: &[3, 0, 5, 0],
        ..Set::default()
    };
    if version >= Version::V1_1 {
        set.tables = vec![
            table(TableKind::DHE, 0x10),
            table(TableKind::AEAD, 2),
            table(TableKind::KEY_SCHEDULE, 1),
        ];
    }
    set
}

fn start(version: Version) -> Vec<Message<'static>> {
    let sizes = (version >= Version::V1_2).then_some(Sizes {
        transfer: 4096,
        message: 65536,
    });
    let both = Flags::CERT | Flags::ENCRYPT | Flags::MAC | Flags::KEY_EX | Flags::CHUNK;
    let mut choice = offer(version);
    choice.extended_hash = &[];
    vec![
        Message::GetVersion(version::Request),
        Message::Version(version::Response {
            versions: VERSIONS.map(Entry::of).to_vec(),
        }),
        Message::GetCapabilities(capabilities::Request {
            version,
            ct_exponent: if version > Version::V1_0 { 12 } else { 0 },
            extended_flags: 0,
            flags: if version > Version::V1_0 { both } else { Flags(0) },
            sizes,
            algorithms_asked: false,
        }),
        Message::Capabilities(capabilities::Response {
            version,
            ct_exponent: 31,
            extended_flags: 0,
            flags: both | Flags::CHAL | Flags::MEAS_SIG,
            sizes,
            algorithms: None,
            algorithms_told: false,
        }),
        Message::NegotiateAlgorithms(algorithms::Request {
            version,
            offer: offer(version),
        }),
        Message::Algorithms(algorithms::Response {
            version,
            choice,
            measurement_hash: 4,
        }),
    ]
}

fn identity(version: Version) -> Vec<Message<'static>> {
    let key = |pair| {
        (version >= Version::V1_3).then_some(Key {
            pair,
            certificate_info: 1,
            usage: 0x0f,
        })
    };
    let slot = |number, digest| Slot {
        number,
        digest,
        key: key(number + 1),
    };
    let slots = vec![slot(0, &HASH[..]), slot(4, &OTHER_HASH[..])];
    let large = version >= Version::V1_4;
    vec![
        Message::GetDigests(digests::Request { version }),
        Message::Digests(digests::Response {
            version,
            supported: if version >= Version::V1_3 { 0x13 } else { 0 },
            slots,
        }),
        Message::GetCertificate(certificate::Request {
            version,
            slot: 4,
            size_asked: false,
            large,
            offset: if large { 0x1_0000 } else { 0x400 },
            length: if large { u32::MAX } else { 0xffff },
        }),
        Message::Certificate(certificate::Response {
            version,
            slot: 4,
            certificate_info: u8::from(version >= Version::V1_3),
            large,
            portion: &PUBLIC,
            remainder: if large { 0x1_0000 } else { 0xff00 },
        }),
        Message::Challenge(challenge::Request {
            version,
            slot: 0,
            summary: Summary::ALL,
            nonce: NONCE,
            context: requester_context(version),
        }),
        Message::ChallengeAuth(challenge::Response {
            version,
            slot: 0,
            mutual: false,
            slots: 0x11,
            chain_hash: &HASH,
            nonce: NONCE,
            summary: Some(&OTHER_HASH),
            opaque: &OPAQUE,
            context: requester_context(version),
            signature: &SIGNATURE,
        }),
    ]
}

fn measured(version: Version) -> Vec<Message<'static>> {
    let measurement: &[u8] = &[Kind::FIRMWARE.0, 4, 0, 1, 2, 3, 4];
    let block = |index| Block {
        index,
        specification: 1,
        measurement,
    };
    let request = measurements::Request {
        version,
        operation: measurements::Operation::ALL,
        raw: version >= Version::V1_2,
        fresh: version >= Version::V1_3,
        signed: Some(Signed {
            nonce: NONCE,
            slot: u8::from(version > Version::V1_0),
        }),
        context: requester_context(version),
    };
    vec![
        Message::GetMeasurements(request),
        Message::GetMeasurements(measurements::Request {
            signed: None,
            ..request
        }),
        Message::Measurements(measurements::Response {
            version,
            count: 0,
            param2: 0x20,
            record: Record {
                blocks: vec![block(1), block(254)],
            },
            nonce: NONCE,
            opaque: &OPAQUE,
            context: requester_context(version),
            signature: Some(&SIGNATURE),
        }),
        Message::Error(error::Response::new(version, ErrorCode::BUSY, 0)),
        Message::Error(error::Response {
            version,
            code: ErrorCode::RESPONSE_NOT_READY,
            data: 0,
            extended: &[10, 0xe0, 1, 3],
        }),
        Message::RespondIfReady(respond_if_ready::Request {
            version,
            code: Code::GET_MEASUREMENTS,
            token: 1,
        }),
    ]
}

fn handshake(version: Version, clear: bool) -> Vec<Message<'static>> {
    let opaque_1_4: &[u8] = if version >= Version::V1_4 { &OPAQUE } else { &[] };
    let policy = u8::from(version >= Version::V1_2);
    vec![
        Message::KeyExchange(key_exchange::Request {
            version,
            summary: Summary::TCB,
            slot: SLOT_PUBLIC_KEY,
            session: 0xfffe,
            policy,
            random: NONCE,
            exchange: &PUBLIC,
            opaque: &OPAQUE,
        }),
        Message::KeyExchangeRsp(key_exchange::Response {
            version,
            heartbeat_s: 5,
            session: 0xfffd,
            mutual: Mutual::ENCAPSULATED,
            requester_slot: 0,
            random: NONCE,
            exchange: &PUBLIC,
            summary: Some(&OTHER_HASH),
            opaque: &OPAQUE,
            signature: &SIGNATURE,
            verify_data: (!clear).then_some(&HASH[..]),
        }),
        Message::Finish(finish::Request {
            version,
            slot: 2,
            opaque: opaque_1_4,
            signature: Some(&REQUESTER_SIGNATURE),
            verify_data: &HASH,
        }),
        Message::FinishRsp(finish::Response {
            version,
            opaque: opaque_1_4,
            verify_data: clear.then_some(&HASH[..]),
        }),
        Message::PskExchange(psk_exchange::Request {
            version,
            summary: Summary::NONE,
            policy,
            session: 7,
            hint: b"a key",
            psk_context: &NONCE,
            opaque: &OPAQUE,
        }),
        Message::PskExchangeRsp(psk_exchange::Response {
            version,
            heartbeat_s: 0,
            session: 8,
            summary: Some(&OTHER_HASH),
            psk_context: &NONCE,
            opaque: &OPAQUE,
            verify_data: &HASH,
        }),
        Message::PskFinish(psk_finish::Request {
            version,
            opaque: opaque_1_4,
            verify_data: &HASH,
        }),
        Message::PskFinishRsp(psk_finish::Response {
            version,
            opaque: opaque_1_4,
        }),
    ]
}

fn session(version: Version) -> Vec<Message<'static>> {
    let operation = Operation::UPDATE_ALL_KEYS;
    let large = (version >= Version::V1_4).then_some(0xbfab);
    let body = Body {
        version,
        registry: Registry::PCI_SIG,
        vendor: &[1, 0],
        large,
        payload: b"\x01payload",
    };
    vec![
        Message::Heartbeat(heartbeat::Request { version }),
        Message::HeartbeatAck(heartbeat::Response { version }),
        Message::KeyUpdate(key_update::Request {
            version,
            operation,
            tag: 9,
        }),
        Message::KeyUpdateAck(key_update::Response {
            version,
            operation,
            tag: 9,
        }),
        Message::EndSession(end_session::Request {
            version,
            clear_negotiated_state: true,
        }),
        Message::EndSessionAck(end_session::Response { version }),
        Message::VendorDefinedRequest(vendor::Request(body)),
        Message::VendorDefinedResponse(vendor::Response(Body { large: None, ..body })),
        Message::GetEncapsulatedRequest(encapsulated::Get { version }),
        Message::EncapsulatedResponseAck(encapsulated::Ack {
            version,
            id: 0,
            answered: if version >= Version::V1_2 { 3 } else { 0 },
            next: Next::Slot(2),
        }),
    ]
}

fn encapsulated(version: Version) -> Vec<Message<'static>> {
    let message = bytes(&Message::GetCertificate(certificate::Request {
        version,
        slot: 1,
        size_asked: false,
        large: false,
        offset: 0,
        length: 0xffff,
    }));
    let message: &'static [u8] = message.leak();
    let next = Next::Message(message);
    vec![
        Message::EncapsulatedRequest(encapsulated::Request {
            version,
            id: 1,
            message,
        }),
        Message::DeliverEncapsulatedResponse(encapsulated::Deliver {
            version,
            id: 1,
            message,
        }),
        Message::EncapsulatedResponseAck(encapsulated::Ack {
            version,
            id: 2,
            answered: u8::from(version >= Version::V1_2),
            next,
        }),
    ]
}

fn chunks(version: Version) -> Vec<Message<'static>> {
    let chunk = Chunk {
        handle: 6,
        sequence: 0,
        last: false,
        large_size: Some(1000),
        part: b"the beginning",
    };
    let last = Chunk {
        sequence: 0xffff,
        last: true,
        large_size: None,
        ..chunk
    };
    vec![
        Message::ChunkSend(chunk::Send { version, chunk }),
        Message::ChunkSend(chunk::Send { version, chunk: last }),
        Message::ChunkSendAck(chunk::SendAck {
            version,
            early_error: false,
            handle: 6,
            sequence: 0xfffe,
            response: &[],
        }),
        Message::ChunkGet(chunk::Get {
            version,
            handle: 6,
            sequence: 0xfffe,
        }),
        Message::ChunkResponse(chunk::Response { version, chunk }),
        Message::ChunkResponse(chunk::Response { version, chunk: last }),
    ]
}

fn provisioning(version: Version) -> Vec<(bool, Message<'static>)> {
    let v1_3 = version >= Version::V1_3;
    let chain: &[u8] = &[8, 0, 0, 0, 1, 2, 3, 4];
    let request = csr::Request {
        version,
        key_pair: if v1_3 { 2 } else { 0 },
        model: if v1_3 { 3 } else { 0 },
        tag: if v1_3 { 5 } else { 0 },
        overwrite: v1_3,
        info: b"DER",
        opaque: &OPAQUE,
    };
    let set = set_certificate::Request {
        version,
        slot: 7,
        model: Model(if v1_3 { 2 } else { 0 }),
        key_pair: if v1_3 { 9 } else { 0 },
        chain: Some(chain),
    };
    let mut messages = vec![
        Message::GetCsr(request),
        Message::Csr(csr::Response {
            version,
            csr: b"a request",
        }),
        Message::SetCertificate(set),
        Message::SetCertificateRsp(set_certificate::Response { version, slot: 7 }),
        Message::Error(error::Response {
            version,
            code: ErrorCode::LARGE_RESPONSE,
            data: 0,
            extended: &[6],
        }),
        Message::Error(error::Response::new(version, ErrorCode::RESET_REQUIRED, 5)),
    ];
    if v1_3 {
        let erase = set_certificate::Request { chain: None, ..set };
        messages.push(Message::SetCertificate(erase));
    }
    if version >= Version::V1_4 {
        messages.push(Message::Error(error::Response {
            version,
            code: ErrorCode::DATA_TOO_LARGE,
            data: 0,
            extended: &[0, 0, 1, 0],
        }));
    }
    messages.into_iter().map(|message| (false, message)).collect()
}

fn key_pairs(version: Version) -> Vec<(bool, Message<'static>)> {
    let mask: &[u8] = if version >= Version::V1_4 {
        &[1, 0, 0, 0]
    } else {
        &[]
    };
    let desired = Desired {
        usage: Usage::CHALLENGE,
        algorithm: key_algorithm::ECC_P384,
        slots: 0x03,
        pqc_algorithm: mask,
    };
    let change = set_key_pair_info::Request {
        version,
        operation: set_key_pair_info::Operation::CHANGE,
        key_pair: 4,
        desired: Some(desired),
    };
    let messages = [
        Message::GetKeyPairInfo(key_pair_info::Request { version, key_pair: 4 }),
        Message::KeyPairInfo(key_pair_info::Response {
            version,
            total: 6,
            key_pair: 4,
            abilities: Abilities::GENERATE | Abilities::SHARE,
            usages: Usage::CHALLENGE | Usage::MEASUREMENTS,
            usage: Usage::CHALLENGE,
            algorithms: key_algorithm::ECC_P256 | key_algorithm::ECC_P384,
            algorithm: key_algorithm::ECC_P384,
            slots: 0x03,
            public_key_info: b"algorithm identifier",
            pqc_algorithms: mask,
            pqc_algorithm: &mask[..mask.len() / 2],
        }),
        Message::SetKeyPairInfo(change),
        Message::SetKeyPairInfo(set_key_pair_info::Request {
            operation: set_key_pair_info::Operation::ERASE,
            desired: None,
            ..change
        }),
        Message::SetKeyPairInfoAck(set_key_pair_info::Response { version }),
    ];
    messages.map(|message| (false, message)).into()
}

fn information(version: Version) -> Vec<(bool, Message<'static>)> {
    let signed = endpoint_info::Signed {
        nonce: NONCE,
        slot: 0x0f,
    };
    let ask = endpoint_info::Request {
        version,
        subject: endpoint_info::Subject::DEVICE_CLASS,
        signed: Some(signed),
    };
    let response = endpoint_info::Response {
        version,
        slot: 0x0f,
        nonce: Some(NONCE),
        info: &[1, 0, 0, 0, 7, 0, 0, 1, 3, 0x12, 0x34, 0x56],
        signature: Some(&SIGNATURE),
    };
    let offset = 0xffff_fff0;
    vec![
        (
            false,
            Message::GetMeasurementExtensionLog(mel::Request {
                version,
                offset,
                length: u32::MAX,
            }),
        ),
        (
            false,
            Message::MeasurementExtensionLog(mel::Response {
                version,
                portion: &PUBLIC,
                remainder: offset,
            }),
        ),
        (false, Message::GetEndpointInfo(ask)),
        (false, Message::EndpointInfo(response)),
        (
            true,
            Message::GetEndpointInfo(endpoint_info::Request { signed: None, ..ask }),
        ),
        (
            true,
            Message::EndpointInfo(endpoint_info::Response {
                slot: 0,
                nonce: None,
                signature: None,
                ..response
            }),
        ),
    ]
}

fn events(version: Version) -> Vec<(bool, Message<'static>)> {
    let groups = Groups {
        groups: vec![Group::dmtf(&EventType::ALL)],
    };
    let mut list = Vec::new();
    groups.encode(&mut list);
    let list: &'static [u8] = list.leak();
    let event = send_event::Event {
        number: 1,
        registry: 0,
        vendor: &[],
        kind: EventType::CERTIFICATE_CHANGED.0,
        detail: &[0x81],
    };
    let vendors = send_event::Event {
        number: 2,
        registry: 3,
        vendor: &[0x36, 0x1b],
        kind: 0x100,
        detail: &[],
    };
    let messages = [
        Message::GetSupportedEventTypes(event_types::Request { version }),
        Message::SupportedEventTypes(event_types::Response {
            version,
            count: 1,
            list,
        }),
        Message::SubscribeEventTypes(subscribe::Request {
            version,
            count: 1,
            list,
        }),
        Message::SubscribeEventTypes(subscribe::Request {
            version,
            count: 0,
            list: &[],
        }),
        Message::SubscribeEventTypesAck(subscribe::Response { version }),
        Message::SendEvent(send_event::Request {
            version,
            events: vec![event, vendors],
        }),
        Message::EventAck(send_event::Response { version }),
    ];
    messages.map(|message| (false, message)).into()
}
