//! Evidence of a connection with ML-DSA-65 and ML-KEM-768: a classical one in which they were chosen instead.

use super::{OpenSsl, conversation, info, report, written};
use crate::{
    crypto::SignAlg,
    evidence::Bundle,
    fuzzing::{
        gullible::BYTE,
        judge::{chain_object, evidence_case},
    },
    relay::guest::{Negotiated, TdiInfo},
    spdm::msg::{
        Context, Payload, Version,
        algorithms::{self, Set, Table, TableKind},
        capabilities, version,
    },
};
use alloc::vec::Vec;

const CHOSEN: u32 = 2;

pub(in crate::fuzzing::tests) fn evidence() -> Vec<u8> {
    let issued = OpenSsl::read().issued("ML-DSA-65");
    let bundle = Bundle {
        certificates: chain_object(&[issued.issuer, issued.subject].concat()),
        measurements: chosen(&conversation::measured(Version::V1_4)),
        report: written(|out| report().encode(out)),
    };
    let info = info();
    let spdm = Negotiated {
        version: Version::V1_4.0,
        asym: 0,
        pqc_asym: CHOSEN,
        dhe: 0,
        kem: CHOSEN as u16,
        ..info.spdm
    };
    written(|out| evidence_case(&bundle, TdiInfo { spdm, ..info }, out))
}

/// The transcript with other algorithms, and what is taken for a signature by them.
fn chosen(transcript: &[u8]) -> Vec<u8> {
    let mut rest = transcript;
    let mut context = Context::new(Version::V1_0);
    next::<version::Request>(&mut rest, &context);
    next::<version::Response>(&mut rest, &context);
    context = Context::new(Version::V1_4);
    context.algorithms_asked = next::<capabilities::Request>(&mut rest, &context).algorithms_asked;
    next::<capabilities::Response<'_>>(&mut rest, &context);
    let before = transcript.len() - rest.len();
    let mut request = next::<algorithms::Request<'_>>(&mut rest, &context);
    let mut response = next::<algorithms::Response<'_>>(&mut rest, &context);
    choose(&mut request.offer);
    choose(&mut response.choice);
    let measured = &rest[..rest.len() - SignAlg::EcdsaP384.signature_size()];
    written(|out| {
        out.extend_from_slice(&transcript[..before]);
        request.encode(out);
        response.encode(out);
        out.extend_from_slice(measured);
        out.resize(out.len() + SignAlg::MlDsa65.signature_size(), BYTE);
    })
}

fn next<'a, T: Payload<'a>>(rest: &mut &'a [u8], context: &Context) -> T {
    let (message, size) = T::decode(rest, context).unwrap();
    *rest = &rest[size..];
    message
}

fn choose(set: &mut Set<'_>) {
    (set.asym, set.pqc_asym) = (0, CHOSEN);
    set.tables.retain(|table| table.kind != TableKind::DHE);
    set.tables.push(Table {
        kind: TableKind::KEM,
        mask: CHOSEN as u16,
        extended: &[],
    });
}
