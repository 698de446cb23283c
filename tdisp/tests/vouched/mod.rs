//! What a TSM vouches for towards a guest, said through a real channel: there is no other way to make it.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;
use tdisp::{
    crypto::{HashAlg, Ring, Secret, digest},
    evidence::Bundle,
    relay::{
        Rid, TdiId, Vouched,
        guest::{Binding, Negotiated, Request, Response, TdiInfo, TdiState},
        sealed,
    },
};

/// Where the guest has the interface.
pub const GUEST: Rid = Rid(0x0101);

/// The algorithms of most conversations: P-384, SHA-384 and AES-256-GCM.
pub const fn p384(version: u8) -> Negotiated {
    Negotiated {
        version,
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

/// A locked interface whose TSM saw just what the host brings.
pub fn locked(bundle: &Bundle, spdm: Negotiated) -> TdiInfo {
    let of = |bytes: &[u8]| digest(&Ring, HashAlg::Sha384, bytes).as_ref().try_into().unwrap();
    TdiInfo {
        tdi: TdiId(1),
        state: TdiState::LOCKED,
        generation: 1,
        measurements_valid: true,
        measurements_fresh: true,
        spdm,
        certificates_digest: of(&bundle.certificates),
        measurements_digest: of(&bundle.measurements),
        report_digest: of(&bundle.report),
        ..TdiInfo::absent(GUEST, Binding::BOUND)
    }
}

/// The statement, as the guest has it from the channel.
pub fn vouched(info: TdiInfo) -> Vouched<TdiInfo> {
    let key = || Secret::new(vec![3; 32]);
    let mut tsm = sealed::Tsm::new(key(), Arc::new(Ring)).unwrap();
    let (opening, open) = sealed::Guest::begin(&key(), Arc::new(Ring)).unwrap();
    let sealed::Incoming::Opened(opened) = tsm.receive(&open).unwrap() else {
        panic!("an Open opens")
    };
    let mut guest = opening.opened(&opened).unwrap();
    let question = Request::TdiInfo { guest: info.guest };
    tsm.receive(&guest.seal(&question).unwrap()).unwrap();
    let answer = tsm.seal(&Response::TdiInfo(info)).unwrap();
    guest.open(&answer).unwrap().tdi_info().unwrap()
}
