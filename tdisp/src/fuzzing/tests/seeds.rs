//! What the corpus consists of: `target/name`, and the bytes.

mod asking;
pub(super) mod post_quantum;

use super::{conversation, conversation::step, known::OpenSsl, samples};
use crate::{
    crypto::Secret,
    doe::{Object, ObjectType, discovery},
    evidence::Bundle,
    fuzzing::{
        gullible::BYTE,
        judge::{CERTIFICATES, chain_object, evidence_case},
        machines::INTERFACES,
        messages::{sealed, spdm_context},
    },
    ide_km::msg::{
        AeadLimit, Direction, Key, KeySub, Message, QueryCapabilities, Registers, Slot, Status, SubStream,
    },
    relay::{
        ObjectKind, Rid, TdiId, VmId, courier,
        guest::{self, Binding, Negotiated, TdiInfo, TdiState},
        host,
    },
    spdm::{
        msg::{Header, Version, version::Entry},
        opaque,
    },
    tdi::{
        self,
        msg::{Lock, LockFlags},
        report::{Attributes, Info, Range, Report},
    },
};
use alloc::{format, string::String, vec, vec::Vec};

type Seed = (String, Vec<u8>);

pub(super) fn all() -> Vec<Seed> {
    [
        doe_objects(),
        spdm_messages(),
        spdm_session(),
        ide_km(),
        tdisp(),
        relay_outside(),
        relay_inside(),
        judged(),
        public_keys(),
        machines(),
        asking::all(),
    ]
    .concat()
}

fn seed(target: &str, name: impl core::fmt::Display, bytes: Vec<u8>) -> Seed {
    (format!("{target}/{name}"), bytes)
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn doe_objects() -> Vec<Seed> {
    let object = |kind, body: &[u8]| written(|out| Object::new(kind, body).encode(out));
    let request = written(|out| discovery::Request { index: 1, version: 2 }.encode(out));
    let (vendor, kind, next) = (1, ObjectType::SECURED_SPDM, 2);
    let response = written(|out| discovery::Response { vendor, kind, next }.encode(out));
    vec![
        seed("doe_object", "discovery", object(ObjectType::DISCOVERY, &request)),
        seed(
            "doe_object",
            "discovered",
            object(ObjectType::DISCOVERY, &response),
        ),
        seed(
            "doe_object",
            "get_version",
            object(ObjectType::SPDM, &[0x10, 0x84, 0, 0]),
        ),
    ]
}

/// One of each message in 1.2 and in 1.4, with the connection that it is read in.
fn spdm_messages() -> Vec<Seed> {
    let of_interest =
        |sample: &&samples::Sample| [Version::V1_2, Version::V1_4].contains(&sample.context.version);
    let samples = samples::all();
    let samples = samples.iter().filter(of_interest).enumerate();
    samples
        .map(|(number, sample)| {
            let context = &sample.context;
            let flags = 1
                | u8::from(context.handshake_in_clear) << 1
                | u8::from(context.multi_key) << 2
                | u8::from(context.requester_multi_key) << 3
                | u8::from(context.summary_asked) << 4
                | u8::from(context.signature_asked) << 5;
            assert_eq!(spdm_context(context.version.0, flags), *context);
            let code = Header::peek(&sample.bytes).unwrap().code.0;
            let bytes = [&[context.version.0, flags][..], &sample.bytes].concat();
            seed("spdm_message", format_args!("{number:03}-{code:02x}"), bytes)
        })
        .collect()
}

fn spdm_session() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for version in [Version::V1_1, Version::V1_2] {
        let offered = [Entry(0x1000), Entry(0x1100)];
        let with_version = |write: &dyn Fn(&mut Vec<u8>)| {
            written(|out| {
                out.push(version.0);
                write(out);
            })
        };
        let supported = with_version(&|out| opaque::encode_supported(version, &offered, out));
        let selected = with_version(&|out| opaque::encode_selected(version, offered[1], out));
        seeds.push(seed(
            "spdm_opaque",
            format_args!("supported-{:02x}", version.0),
            supported,
        ));
        seeds.push(seed(
            "spdm_opaque",
            format_args!("selected-{:02x}", version.0),
            selected,
        ));
    }
    for size in [0, 4, 33] {
        let record = sealed(0x0001_ffff, &vec![7; size]).unwrap();
        seeds.push(seed("secured_record", format_args!("{size}-bytes"), record));
    }
    seeds
}

fn ide_km() -> Vec<Seed> {
    let slot = Slot {
        stream: 5,
        key_sub: KeySub::new(true, Direction::Transmit, SubStream::CPL),
        port: 1,
    };
    let key = || Key {
        key: Secret::new(vec![3; 32]),
        initial: 1,
    };
    let limit = AeadLimit {
        stream: 5,
        exponent: 40,
        port: 1,
    };
    let registers = Registers {
        abilities: QueryCapabilities(1),
        port: 1,
        device_function: 8,
        bus: 2,
        segment: 0,
        port_max: 7,
        capability: 0x0102_0304,
        control: 0x0506_0708,
        blocks: &[9; 16],
    };
    let objects = [
        Message::Query { port: 1 },
        Message::QueryResp(registers),
        Message::KeyProg(slot, key()),
        Message::KpAck(slot, Status::UNSUPPORTED_VALUE),
        Message::KSetGo(slot),
        Message::KSetStop(slot),
        Message::KGostopAck(slot),
        Message::GetKey(slot),
        Message::GetKeyAck(slot, key()),
        Message::EnableAeadLimit(limit),
        Message::AeadLimitAck(limit),
    ];
    let objects = objects.iter();
    objects
        .map(|object| seed("ide_km", object.id(), written(|out| object.encode(out))))
        .collect()
}

fn report() -> Report {
    let range = |id, first_page, attributes| Range {
        first_page,
        pages: 4,
        attributes: Attributes(attributes),
        id,
    };
    Report {
        info: Info::NO_FW_UPDATE | Info::DMA,
        ranges: vec![range(0, 0x100, 0), range(2, 0x200, 1)],
        ..Report::default()
    }
}

fn tdisp() -> Vec<Seed> {
    use tdi::msg::{Request, Response, State};
    let lock = Lock {
        flags: LockFlags::NO_FW_UPDATE,
        default_stream: 3,
        mmio_reporting_offset: 0x10_0000,
        bind_p2p_address_mask: 0,
    };
    let requests = [
        Request::GetVersion,
        Request::GetCapabilities { tsm_caps: 0 },
        Request::Lock(lock),
        Request::GetReport {
            offset: 0,
            length: 64,
        },
        Request::GetState,
        Request::Start { nonce: [4; 32] },
        Request::Stop,
        Request::BindP2p { stream: 1 },
        Request::UnbindP2p { stream: 1 },
        Request::SetMmioAttribute(report().ranges[0]),
    ];
    let bytes = written(|out| report().encode(out));
    let responses = [
        Response::Lock { nonce: [4; 32] },
        Response::State(State::RUN),
        Response::Error(tdi::msg::Error::new(tdi::msg::ErrorCode(4), 0)),
    ];
    let mut seeds: Vec<Seed> = requests
        .iter()
        .map(|request| {
            let bytes = written(|out| request.encode(INTERFACES[0], out));
            seed("tdisp_message", format_args!("{:02x}", request.code().0), bytes)
        })
        .collect();
    seeds.extend(responses.iter().map(|response| {
        let bytes = written(|out| response.encode(INTERFACES[0], out));
        seed("tdisp_message", format_args!("{:02x}", response.code().0), bytes)
    }));
    seeds.push(seed("interface_report", "two-ranges", bytes));
    let empty = written(|out| Report::default().encode(out));
    seeds.push(seed("interface_report", "no-ranges", empty));
    seeds
}

/// The streams between host and its neighbours: all messages in one stream each.
fn relay_outside() -> Vec<Seed> {
    let sealed = || vec![1, 2, 3];
    let (tdi, guest, kind) = (TdiId(0x1001), Rid(0x0101), ObjectKind::REPORT);
    let asked = written(|out| {
        out.push(7);
        courier::Request::Hello { version: 1 }.encode(1, out);
        courier::Request::Bind { guest, flags: 1 }.encode(2, out);
        courier::Request::Object { tdi, kind, offset: 0 }.encode(3, out);
        courier::Request::Guest { sealed: sealed() }.encode(4, out);
        courier::Request::Unbind { guest }.encode(5, out);
    });
    let chunk = |offset| courier::Chunk {
        kind,
        total: 6,
        offset,
        bytes: sealed(),
    };
    let reason = || String::from("no such function");
    let answered = written(|out| {
        out.push(200);
        courier::Response::Hello { version: 1 }.encode(1, out);
        courier::Response::Bound { tdi }.encode(2, out);
        courier::Response::Chunk(chunk(0)).encode(3, out);
        courier::Response::Chunk(chunk(3)).encode(4, out);
        courier::Response::Guest { sealed: sealed() }.encode(5, out);
        courier::Response::Unbound.encode(6, out);
        let (code, reason) = (courier::Code::UNKNOWN, reason());
        courier::Response::Refused { code, reason }.encode(7, out);
    });
    let (device, vm) = (Rid(0x0100), VmId(1));
    let bind = host::Bind {
        device,
        function_id: 0x0101,
        vm,
        guest,
        flags: 1,
        mmio_offset: 0x1000,
    };
    let commands = written(|out| {
        out.push(9);
        host::Command::Status.encode(out);
        host::Command::VmCreate { vm }.encode(out);
        host::Command::DevConnect { device, slot: 0 }.encode(out);
        host::Command::Carried { object: sealed() }.encode(out);
        host::Command::DevStatus { device }.encode(out);
        host::Command::TdiBind(bind).encode(out);
        host::Command::GuestRequest { vm, bytes: sealed() }.encode(out);
        host::Command::CarryFailed { reason: reason() }.encode(out);
        host::Command::TdiUnbind { tdi }.encode(out);
        host::Command::DevDisconnect { device }.encode(out);
        host::Command::VmDestroy { vm }.encode(out);
    });
    let answers = written(|out| {
        out.push(255);
        host::Answer::Carry {
            device,
            object: sealed(),
        }
        .encode(out);
        let (owner, bytes) = (host::Owner::Tdi(tdi), sealed());
        host::Answer::Object { owner, kind, bytes }.encode(out);
        for done in dones() {
            host::Answer::Done(done).encode(out);
        }
        let (code, reason) = (host::Code::DEVICE, reason());
        host::Answer::Failed { code, reason }.encode(out);
    });
    vec![
        seed("relay_courier", "asked", asked),
        seed("relay_courier", "answered", answered),
        seed("relay_host", "commands", commands),
        seed("relay_host", "answers", answers),
    ]
}

fn dones() -> [host::Done; 5] {
    let status = host::Status {
        version: 1,
        devices: 1,
        vms: 1,
        tdis: 1,
    };
    let tdi = host::TdiStatus {
        tdi: TdiId(0x1001),
        function_id: 0x0101,
        vm: VmId(1),
        guest: Rid(0x0101),
        state: TdiState::LOCKED,
        generation: 7,
        dma_enabled: false,
    };
    let device = host::DevStatus {
        connected: true,
        slot: 0,
        spdm: negotiated(),
        certificates_digest: [1; 48],
        measurements_digest: [2; 48],
        tdis: vec![tdi],
    };
    [
        host::Done::Ok,
        host::Done::Status(status),
        host::Done::DevStatus(device),
        host::Done::Bound { tdi: TdiId(0x1001) },
        host::Done::Guest { bytes: vec![1, 2, 3] },
    ]
}

fn negotiated() -> Negotiated {
    Negotiated {
        version: 0x12,
        measurement_hash: 4,
        asym: 0x80,
        pqc_asym: 0,
        hash: 2,
        dhe: 0x10,
        kem: 0,
        aead: 2,
        key_schedule: 1,
    }
}

fn info() -> TdiInfo {
    TdiInfo {
        guest: Rid(0x0101),
        status: Binding::BOUND,
        tdi: TdiId(0x1001),
        function_id: 0x0101,
        state: TdiState::LOCKED,
        generation: 7,
        report_count: 1,
        lock_flags: 1,
        dma_enabled: false,
        measurements_valid: true,
        measurements_fresh: true,
        spdm: negotiated(),
        slot: 0,
        certificates_digest: [BYTE; 48],
        measurements_digest: [BYTE; 48],
        report_digest: [BYTE; 48],
    }
}

/// What goes through the guest's channel, and the channel itself.
fn relay_inside() -> Vec<Seed> {
    use guest::{Request, Response, Status};
    let (tdi, generation) = (TdiId(0x1001), 7);
    let validate = guest::ValidateMmio {
        tdi,
        generation,
        range_id: 0,
        gpa: 0x8000_0000,
        pages: 4,
    };
    let (gpa, len, nonce) = (0x1000, 0x2000, [5; 32]);
    let requests = [
        Request::TdiInfo { guest: Rid(0x0101) },
        Request::RefreshMeasurements {
            tdi,
            generation,
            nonce,
        },
        Request::ValidateMmio(validate),
        Request::Start {
            tdi,
            generation,
            report_count: 1,
        },
        Request::EnableDma { tdi, generation },
        Request::DisableDma { tdi },
        Request::Stop { tdi },
        Request::Share { gpa, len },
        Request::Unshare { gpa, len },
    ];
    let reason = String::from("the lock is another one");
    let responses = [
        Response::TdiInfo(info()),
        Response::MmioValidated { changed: true },
        Response::Done,
        Response::Refused {
            status: Status(1),
            reason,
        },
    ];
    let requests = requests.map(|request| written(|out| request.encode(out)));
    let responses = responses.map(|response| written(|out| response.encode(out)));
    let mut seeds = Vec::new();
    for (number, bytes) in requests.iter().chain(&responses).enumerate() {
        seeds.push(seed("relay_guest", format_args!("{number:02}"), bytes.clone()));
    }
    let answers = [0, 2, 1, 2, 2, 2, 2, 3];
    let script = written(|out| {
        for (request, answer) in requests.iter().zip(answers) {
            step(2, request, out);
            step(3, &responses[answer], out);
        }
        step(0, b"not sealed", out);
    });
    seeds.push(seed("relay_sealed", "asked-and-answered", script));
    seeds
}

pub(super) fn good_evidence() -> Vec<u8> {
    let bundle = Bundle {
        certificates: chain_object(CERTIFICATES),
        measurements: conversation::measured(Version::V1_2),
        report: written(|out| report().encode(out)),
    };
    written(|out| evidence_case(&bundle, info(), out))
}

fn judged() -> Vec<Seed> {
    vec![
        seed("certificate_chain", "three", chain_object(CERTIFICATES)),
        seed("evidence", "good", good_evidence()),
        seed("evidence", "post-quantum", post_quantum::evidence()),
    ]
}

fn public_keys() -> Vec<Seed> {
    let known = OpenSsl::read();
    let keys = ["P256", "P384", "Rsa2048", "MlDsa44"];
    let keys = keys.map(|name| seed("public_key", name.to_lowercase(), known.key(name).spki));
    let certificates = known.certificates().into_iter();
    let certificates =
        certificates.filter(|issued| issued.name.contains("2048") || issued.name.contains("P256"));
    let certificates = certificates.map(|issued| {
        let name = issued.name.to_lowercase().replace(' ', "-");
        seed("public_key", format_args!("certificate-{name}"), issued.subject)
    });
    keys.into_iter().chain(certificates).collect()
}

fn machines() -> Vec<Seed> {
    let spdm = conversation::with_responder(Version::V1_2);
    let others = [Version::V1_1, Version::V1_3, Version::V1_4];
    let device = conversation::with_dsm();
    let pauses = |script: &[u8]| {
        written(|out| {
            out.extend_from_slice(&script[..script.len() / 2]);
            step(4, b"", out);
            step(3, &[0, 16, 0, 0], out);
            out.extend_from_slice(script);
        })
    };
    let in_others = others.into_iter().flat_map(|version| {
        let talk = conversation::with_responder(version);
        let name = format!("everything-{:02x}", version.0);
        [
            seed("responder", &name, talk.answering),
            seed("requester", &name, talk.asking),
        ]
    });
    let mut seeds = vec![
        seed("responder", "everything", spdm.answering.clone()),
        seed("responder", "a-pause", pauses(&spdm.answering)),
        seed("requester", "everything", spdm.asking.clone()),
        seed("requester", "a-pause", pauses(&spdm.asking)),
        seed("requester", "a-device", device.asking),
        seed("dsm", "a-lock", device.answering),
    ];
    seeds.extend(in_others);
    seeds
}
