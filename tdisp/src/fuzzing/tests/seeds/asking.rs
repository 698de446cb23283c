//! Scripts for those who ask a device, and revocation lists.

use super::{Seed, seed, step, written};
use crate::{
    doe::{Object, ObjectType},
    fuzzing::judge::CERTIFICATES,
    tdi::msg::{Capabilities, LockFlags, Response, State, Version},
    wire::Write,
};
use alloc::{vec, vec::Vec};
use x509_parser::prelude::{FromDer, X509Certificate};

pub(super) fn all() -> Vec<Seed> {
    vec![
        seed("tdi_requester", "lock-report-start-stop", tdisp_flow()),
        seed("tdi_requester", "optional", tdisp_optional()),
        seed("ide_km_requester", "program-go-renew-stop", keys(&[])),
        seed("ide_km_requester", "a-key-refused", keys(&[3])),
        seed("doe_mailbox", "an-answer", mailbox(&[0, 0x8000_0000])),
        seed(
            "doe_mailbox",
            "busy-first",
            mailbox(&[1, 1, 0, 0, 0, 0x8000_0000]),
        ),
        seed(
            "doe_mailbox",
            "an-error",
            written(|out| [4, 0, 4, 0, 0, 0].iter().for_each(|dw| out.u32(*dw))),
        ),
        seed("revocation_list", "none-revoked", revocation_list(1, &[])),
        seed("revocation_list", "the-leaf", revocation_list(1, serial(2))),
        seed("revocation_list", "the-model", revocation_list(0, serial(1))),
    ]
}

/// The body of a response.
fn body(response: &Response<'_>) -> Vec<u8> {
    let object = written(|out| response.encode(crate::fuzzing::machines::INTERFACES[0], out));
    object[16..].to_vec()
}

/// Steps that ask: 11 and up, by `step % 11`.
const ASK: u8 = 11;

fn tdisp_flow() -> Vec<u8> {
    let capabilities = Capabilities {
        dsm_caps: 0,
        requests: Capabilities::REQUESTS_MANDATORY,
        lock_flags: LockFlags(0x1f),
        address_width: 52,
        outstanding_here: 1,
        outstanding_all: 1,
    };
    let portion = |remainder| Response::Report {
        portion: &[7; 20],
        remainder,
    };
    let asked: [(u8, &[Response<'_>]); 9] = [
        (0, &[Response::Version(vec![Version::V1_0])]),
        (1, &[Response::Capabilities(capabilities)]),
        (2, &[Response::Lock { nonce: [4; 32] }]),
        (4, &[Response::State(State::LOCKED)]),
        (3, &[portion(20), portion(0)]),
        (5, &[Response::Start]),
        (6, &[Response::Stop]),
        (2, &[Response::Lock { nonce: [5; 32] }]),
        (6, &[Response::Stop]),
    ];
    written(|out| {
        for (what, answers) in asked {
            step(ASK + what, &[1, 0], out);
            answers.iter().for_each(|answer| step(1, &body(answer), out));
        }
    })
}

fn tdisp_optional() -> Vec<u8> {
    let refused = written(|out| {
        out.u32(0xff);
        out.u32(7);
        out.bytes(&[0, 2, 1, 0, b'n', b'o', b'.']);
    });
    written(|out| {
        for what in [7, 8, 9] {
            step(ASK + what, b"", out);
            step(1, b"", out);
        }
        step(ASK + 10, b"hello", out);
        step(1, &[0, 2, 1, 0, b'h', b'i'], out);
        step(ASK + 10, b"hello", out);
        step(2, &refused, out);
        step(ASK + 4, b"", out);
        step(3, b"", out);
    })
}

/// Steps that ask: 5 and up, by `step % 5`.
fn keys(status: &[u8]) -> Vec<u8> {
    let heard = if status.is_empty() { 1 } else { 2 };
    written(|out| {
        step(5, b"", out);
        step(1, b"", out);
        for _ in 0..2 {
            step(6, b"", out);
            (0..6).for_each(|_| step(heard, status, out));
            for go in [7, 8] {
                step(go, b"", out);
                step(1, b"", out);
            }
        }
        step(9, b"", out);
        (0..4).for_each(|_| step(1, b"", out));
        step(0, &[6, 0, 0, 3, 0, 0, 0], out);
    })
}

/// A one-DW request, these registers, and an answer of four DW.
fn mailbox(registers: &[u32]) -> Vec<u8> {
    let object = written(|out| Object::new(ObjectType::SPDM, &[9; 8]).encode(out));
    written(|out| {
        out.u8(1);
        registers.iter().for_each(|register| out.u32(*register));
        // The answer's DW, and the status where it is looked at again around the last.
        let (last, before) = object
            .as_chunks::<4>()
            .0
            .split_last()
            .expect("an object has a header");
        before.iter().for_each(|dw| out.bytes(dw));
        out.u32(0x8000_0000);
        out.bytes(last);
        out.u32(0);
    })
}

fn certificate(position: usize) -> X509Certificate<'static> {
    let mut rest = CERTIFICATES;
    for _ in 0..position {
        rest = X509Certificate::from_der(rest).expect("a certificate").0;
    }
    X509Certificate::from_der(rest).expect("a certificate").1
}

fn serial(position: usize) -> &'static [u8] {
    certificate(position).raw_serial().to_vec().leak()
}

/// A list of the CA at a position, with a signature that only who believes everything believes.
fn revocation_list(issuer: usize, serial: &[u8]) -> Vec<u8> {
    let algorithm = tlv(0x30, &tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]));
    let entry = tlv(0x30, &[tlv(2, serial), tlv(0x17, b"261102000000Z")].concat());
    let revoked = if serial.is_empty() {
        Vec::new()
    } else {
        tlv(0x30, &entry)
    };
    let number = tlv(0x30, &[tlv(6, &[0x55, 0x1d, 20]), tlv(4, &[2, 1, 7])].concat());
    let signed = [
        tlv(2, &[1]),
        algorithm.clone(),
        certificate(issuer).subject().as_raw().to_vec(),
        tlv(0x17, b"261101000000Z"),
        tlv(0x17, b"261201000000Z"),
        revoked,
        tlv(0xa0, &tlv(0x30, &number)),
    ];
    let signature = [&[0][..], &tlv(0x30, &[2, 1, 1, 2, 1, 1])].concat();
    tlv(
        0x30,
        &[tlv(0x30, &signed.concat()), algorithm, tlv(3, &signature)].concat(),
    )
}

/// An element of less than 64 KiB.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    let head = match content.len() {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head, content.to_vec()].concat()
}
