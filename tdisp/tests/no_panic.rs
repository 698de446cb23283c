//! The machines that hear a hostile peer: whatever it says, they answer or are silent, and hold their rules.

use proptest::prelude::*;
use tdisp::{
    crypto::Ring,
    ide_km,
    tdi::{
        self,
        msg::{InterfaceId, Lock, LockFlags, Request, State},
        responder::{Config, Device, Ide, NotSettable, Optional, Step, VendorRefusal},
    },
};

const TDI: InterfaceId = InterfaceId::new(0x0101);

struct NoIde;

impl Device for NoIde {
    fn stream_is_secure(&self, _: u8, _: u32) -> bool {
        false
    }
}

fn device() -> tdi::Responder {
    tdi::Responder::new(Config {
        interfaces: vec![TDI],
        ide: Ide::Absent,
        lock_flags: LockFlags(0b1_0111),
        address_width: 52,
        portion_max: 100,
        optional: Optional {
            peer_streams: true,
            mmio_attributes: true,
            vendor: true,
        },
    })
}

/// A TDISP object with a plausible header.
fn objects() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    (prop_oneof![0x80u8..0x90, 0u8..0x10, Just(0x7f)], body).prop_map(|(code, body)| {
        let mut object = vec![0x10, code, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        object.extend(body);
        object
    })
}

/// Lets a device answer; what it does, it does at once.
fn play(device: &mut tdi::Responder, session: u32, object: &[u8]) -> Option<Vec<u8>> {
    match device.handle(session, object, &NoIde) {
        Step::Respond(answer) => Some(answer),
        Step::Silent => None,
        Step::Lock(token) => Some(device.locked(token, Ok(vec![1, 2, 3]), &Ring)),
        Step::Stop(token) => Some(device.stopped(token)),
        Step::Bind(token) => Some(device.bound(token, Ok(()))),
        Step::Unbind(token) => Some(device.unbound(token)),
        Step::SetAttribute(token) => Some(device.attribute_set(token, Err(NotSettable))),
        Step::Vendor(token) => Some(device.vendor_answered(token, Err(VendorRefusal::Unsupported))),
    }
}

proptest! {
    #[test]
    fn a_device_runs_only_by_the_nonce_of_its_own_lock(
        requests in prop::collection::vec((objects(), 0u32..3), 0..40),
        locked: bool,
    ) {
        let mut device = device();
        if locked {
            let mut object = Vec::new();
            let lock = Lock {
                flags: LockFlags::default(),
                default_stream: 0,
                mmio_reporting_offset: 0,
                bind_p2p_address_mask: 0,
            };
            Request::Lock(lock).encode(TDI, &mut object);
            play(&mut device, 1, &object);
        }
        for (object, session) in requests {
            let answer = play(&mut device, session, &object);
            prop_assert!(answer.is_some_and(|answer| answer.len() >= 16));
            prop_assert_ne!(device.state(TDI), Some(State::RUN), "nobody guesses 32 random bytes");
        }
    }

    #[test]
    fn no_bytes_make_a_device_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = play(&mut device(), 1, &bytes);
        let _ = ide_km::Responder::new(vec![ide_km::responder::Port::default()]).handle(1, &bytes);
    }

    #[test]
    fn no_answers_make_a_tsm_panic_or_lock_twice(
        answers in prop::collection::vec((objects(), 0u8..6), 0..40)
    ) {
        let mut tsm = tdi::Requester::new(TDI);
        for (answer, ask) in answers {
            let asked = match ask {
                0 => tsm.version(),
                1 => tsm.capabilities(),
                2 => tsm.report(),
                3 => tsm.state(),
                4 => tsm.start(),
                _ => tsm.stop(),
            };
            if asked.is_ok() {
                let _ = tsm.handle(&answer);
                tsm.abandon();
            }
            prop_assert!(tsm.start().is_err(), "there never was a lock");
        }
    }

    #[test]
    fn no_answers_make_the_owner_of_the_keys_panic(answers in prop::collection::vec(any::<[u8; 7]>(), 0..20)) {
        let mut keys = ide_km::Requester::new(0, 3);
        for answer in answers {
            let _ = keys.program(&Ring);
            let _ = keys.handle(&answer);
            prop_assert!(keys.go(ide_km::msg::Direction::Receive).is_err());
            keys.abandon();
        }
    }
}
