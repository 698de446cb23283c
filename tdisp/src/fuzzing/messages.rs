//! The decoders: what one reads, its encoder writes, and it reads the same again.

use super::gullible::Gullible;
use crate::{
    crypto::{AeadAlg, HashAlg, Secret},
    doe::{self, discovery},
    ide_km,
    relay::{ObjectKind, courier, guest, host, sealed},
    spdm::{
        key_schedule::Schedule,
        msg::{self, Context, Version, version::Entry},
        opaque,
        secured::{Half, Protection, Record, RecordError},
        transport::Transport,
    },
    tdi,
    wire::Reader,
};
use alloc::{sync::Arc, vec, vec::Vec};

/// If `$decode` reads the bytes, it reads what `$encode` makes of that as the same.
macro_rules! comes_back {
    ($bytes:expr, $decode:expr, $encode:expr) => {
        if let Ok(read) = $decode($bytes) {
            let mut again = Vec::new();
            $encode(&read, &mut again);
            assert_eq!($decode(&again), Ok(read));
        }
    };
}

/// DOE data objects and what discovery puts into them.
pub fn doe_object(bytes: &[u8]) {
    let Ok(object) = doe::Object::decode(bytes) else {
        return;
    };
    let mut again = Vec::new();
    object.encode(&mut again);
    assert_eq!(doe::Object::decode(&again), Ok(object));
    assert_eq!(
        again.len(),
        bytes.len(),
        "an object has the size that its length says"
    );
    comes_back!(
        object.body,
        discovery::Request::decode,
        discovery::Request::encode
    );
    comes_back!(
        object.body,
        discovery::Response::decode,
        discovery::Response::encode
    );
}

/// The connection that [`spdm_message`] reads its messages in: its two first bytes.
///
/// ```text
/// u8 version (0x10 to 0x14) ‖ u8 flags:  0 sizes negotiated (P-384)   1 handshake in clear   2, 3 responder, requester has
///                                        several keys   4 summary asked   5 signature asked   6 encapsulated
///                                        7 supported algorithms asked
/// ```
pub fn spdm_context(version: u8, flags: u8) -> Context {
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let size = |size| if flag(0) { size } else { 0 };
    let context = Context {
        hash_size: size(48),
        signature_size: size(96),
        requester_signature_size: size(64),
        exchange_request_size: size(96),
        exchange_response_size: size(96),
        handshake_in_clear: flag(1),
        multi_key: flag(2),
        requester_multi_key: flag(3),
        summary_asked: flag(4),
        signature_asked: flag(5),
        algorithms_asked: flag(7),
        ..Context::new(Version(version))
    };
    if flag(6) { context.encapsulated() } else { context }
}

/// Every SPDM message, in the connection that the first bytes choose.
pub fn spdm_message(bytes: &[u8]) {
    let [version, flags, message @ ..] = bytes else {
        return;
    };
    let context = spdm_context(*version, *flags);
    let Ok((read, consumed)) = msg::Message::decode(message, &context) else {
        return;
    };
    assert!(consumed <= message.len(), "{read:?} ends beyond what there is");
    let mut again = Vec::new();
    read.encode(&mut again);
    assert_eq!(again.len(), consumed, "{read:?} is written in another size");
    assert_eq!(msg::Message::decode(&again, &context), Ok((read, consumed)));
}

/// The versions of secured messages in opaque data; the first byte is the connection's version.
pub fn spdm_opaque(bytes: &[u8]) {
    let [version, opaque @ ..] = bytes else { return };
    let version = Version(*version);
    comes_back!(
        opaque,
        |bytes| opaque::decode_supported(version, bytes),
        |offered: &Option<Vec<Entry>>, out| if let Some(offered) = offered {
            opaque::encode_supported(version, offered, out)
        }
    );
    comes_back!(
        opaque,
        |bytes| opaque::decode_selected(version, bytes),
        |selected: &Entry, out| opaque::encode_selected(version, *selected, out)
    );
}

/// The direction of a session in which every tag is right.
pub(super) fn open_direction() -> Half {
    direction(Protection::new(AeadAlg::Aes256Gcm))
}

fn direction(protection: Protection) -> Half {
    let schedule = Schedule {
        provider: &Gullible::default(),
        hash: HashAlg::Sha384,
        version: Version::V1_2,
    };
    Half::new(&schedule, protection, Secret::new(vec![0; 48])).expect("every key is a key")
}

/// What the direction in which every tag is right makes of a message.
pub(super) fn sealed(session: u32, message: &[u8]) -> Result<Vec<u8>, RecordError> {
    open_direction().seal_to_vec(&Gullible::default(), session, message)
}

/// What such a record holds.
#[cfg(test)]
pub(super) fn opened(record: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut record = record.to_vec();
    let record = Record::decode(Transport::Doe, &mut record)?;
    open_direction().open(record).map(|message| message.to_vec())
}

/// Secured records on either transport, encrypted or not, whose tag is believed.
pub fn secured_record(bytes: &[u8]) {
    for transport in [Transport::Doe, Transport::Mctp] {
        for encrypted in [true, false] {
            record_comes_back(
                bytes,
                Protection {
                    transport,
                    encrypted,
                    ..Protection::new(AeadAlg::Aes256Gcm)
                },
            );
        }
    }
}

fn record_comes_back(bytes: &[u8], protection: Protection) {
    let mut bytes = bytes.to_vec();
    let Ok(record) = Record::decode(protection.transport, &mut bytes) else {
        return;
    };
    let session = record.session;
    let Ok(message) = direction(protection).open(record) else {
        return;
    };
    let again = direction(protection).seal_to_vec(&Gullible::default(), session, message);
    let mut again = match again {
        // The padding behind a message is of a random length.
        Err(RecordError::TooLong { .. }) if protection.transport == Transport::Mctp => return,
        again => again.expect("what a record brought fits a record"),
    };
    let again = Record::decode(protection.transport, &mut again).expect("what was sealed is a record");
    assert_eq!(again.session, session);
    assert_eq!(direction(protection).open(again), Ok(message));
}

/// IDE_KM's objects.
pub fn ide_km(bytes: &[u8]) {
    comes_back!(bytes, ide_km::msg::Message::decode, ide_km::msg::Message::encode);
}

/// TDISP's requests and responses.
pub fn tdisp_message(bytes: &[u8]) {
    let Ok((header, body)) = tdi::msg::Header::decode(bytes) else {
        return;
    };
    let behind_header = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut again = Vec::new();
        encode(&mut again);
        let (found, body) = tdi::msg::Header::decode(&again).expect("a message begins with its header");
        assert_eq!((found.code, found.interface), (header.code, header.interface));
        body.to_vec()
    };
    if let Ok(request) = tdi::msg::Request::decode(header.code, body) {
        let again = behind_header(&|out| request.encode(header.interface, out));
        assert_eq!(tdi::msg::Request::decode(header.code, &again), Ok(request));
    }
    if let Ok(response) = tdi::msg::Response::decode(header.code, body) {
        let again = behind_header(&|out| response.encode(header.interface, out));
        assert_eq!(tdi::msg::Response::decode(header.code, &again), Ok(response));
    }
}

/// Interface reports.
pub fn interface_report(bytes: &[u8]) {
    let Ok(report) = tdi::report::Report::decode(bytes) else {
        return;
    };
    comes_back!(bytes, tdi::report::Report::decode, tdi::report::Report::encode);
    let mut ranges = report.ranges.clone();
    ranges.sort_by_key(|range| range.first_page);
    for pair in ranges.windows(2) {
        assert!(
            pair[0].end_page() <= pair[1].first_page,
            "ranges overlap: {pair:?}"
        );
    }
}

/// Guest and host: either one's frames, in pieces of the first byte's size, and what chunks put together.
pub fn relay_courier(bytes: &[u8]) {
    let [size, stream @ ..] = bytes else { return };
    let size = usize::from(*size).max(1);
    let mut decoder = courier::Decoder::<courier::Request>::default();
    in_pieces(stream, size, |piece| {
        decoder.push(piece);
        while let Ok(Some((id, request))) = decoder.next() {
            let mut again = Vec::new();
            request.encode(id, &mut again);
            let mut decoder = courier::Decoder::<courier::Request>::default();
            decoder.push(&again);
            assert_eq!(decoder.next(), Ok(Some((id, request))));
        }
    });
    let mut decoder = courier::Decoder::<courier::Response>::default();
    let mut assembly = courier::Assembly::new(ObjectKind::REPORT);
    in_pieces(stream, size, |piece| {
        decoder.push(piece);
        while let Ok(Some((id, response))) = decoder.next() {
            if let courier::Response::Chunk(chunk) = &response
                && let Ok(Some(object)) = assembly.add(chunk)
            {
                assert!(object.len() <= courier::OBJECT_SIZE_MAX as usize);
            }
            let mut again = Vec::new();
            response.encode(id, &mut again);
            let mut decoder = courier::Decoder::<courier::Response>::default();
            decoder.push(&again);
            assert_eq!(decoder.next(), Ok(Some((id, response))));
        }
    });
}

/// What guest and TSM say to each other inside their channel.
pub fn relay_guest(bytes: &[u8]) {
    comes_back!(bytes, guest::Request::decode, guest::Request::encode);
    comes_back!(bytes, guest::Response::decode, guest::Response::encode);
}

/// Host and TSM: either one's frames, in pieces of the first byte's size.
pub fn relay_host(bytes: &[u8]) {
    let [size, stream @ ..] = bytes else { return };
    let size = usize::from(*size).max(1);
    let mut decoder = host::Decoder::<host::Command>::default();
    in_pieces(stream, size, |piece| {
        decoder.push(piece);
        while let Ok(Some(command)) = decoder.next() {
            let mut again = Vec::new();
            command.encode(&mut again);
            let mut decoder = host::Decoder::<host::Command>::default();
            decoder.push(&again);
            assert_eq!(decoder.next(), Ok(Some(command)));
        }
    });
    let mut decoder = host::Decoder::<host::Answer>::default();
    in_pieces(stream, size, |piece| {
        decoder.push(piece);
        while let Ok(Some(answer)) = decoder.next() {
            let mut again = Vec::new();
            answer.encode(&mut again);
            let mut decoder = host::Decoder::<host::Answer>::default();
            decoder.push(&again);
            assert_eq!(decoder.next(), Ok(Some(answer)));
        }
    });
}

/// Both ends of the guest's channel, over a host that sends what it likes: `u8 step ‖ u16 size ‖ bytes`, again and again.
///
/// ```text
/// 0 bytes to the TSM   1 bytes to the guest   2 the guest seals the request in bytes   3 the TSM seals the response in bytes
/// ```
/// Steps 2 and 3 deliver what was sealed.
pub fn relay_sealed(bytes: &[u8]) {
    let provider = || Arc::new(Gullible::default());
    let key = || Secret::new(vec![1; sealed::KEY_SIZE_MIN]);
    let mut tsm = sealed::Tsm::new(key(), provider()).expect("the key is long enough");
    let (opening, open) = sealed::Guest::begin(&key(), provider()).expect("the key is long enough");
    let Ok(sealed::Incoming::Opened(opened)) = tsm.receive(&open) else {
        panic!("an honest Open opens a channel");
    };
    let mut guest = opening.opened(&opened).expect("the TSM's answer opens it");
    for (step, bytes) in steps(bytes) {
        match step % 4 {
            0 => drop(tsm.receive(bytes)),
            1 => hear(&mut guest, bytes),
            2 => {
                let request = guest::Request::decode(bytes).ok();
                if let Some(sealed) = request.and_then(|request| guest.seal(&request).ok()) {
                    drop(tsm.receive(&sealed));
                }
            }
            _ => {
                let response = guest::Response::decode(bytes).ok();
                if let Some(sealed) = response.and_then(|response| tsm.seal(&response).ok()) {
                    hear(&mut guest, &sealed);
                }
            }
        }
    }
}

fn hear(guest: &mut sealed::Guest, bytes: &[u8]) {
    if guest.open(bytes).is_err() {
        assert!(!guest.is_open(), "after an error the channel is closed");
    }
}

/// The steps of a script: `u8 step ‖ u16 size ‖ bytes`. The last may be cut short.
pub(super) fn steps(script: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut r = Reader::new(script);
    core::iter::from_fn(move || {
        let step = r.u8("step").ok()?;
        let size = r.u16("size").map_or(0, usize::from);
        let bytes = r.take(size.min(r.remaining()), "bytes").ok()?;
        Some((step, bytes))
    })
}

fn in_pieces(stream: &[u8], size: usize, take: impl FnMut(&[u8])) {
    stream.chunks(size).for_each(take);
}
