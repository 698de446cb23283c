//! Cases 1 to 19: freshness, binding, and blobs against digests.

use crate::providers::{Own, RingBut};
use crate::world::device::Device;
use crate::world::{NET1, RID0, RID1, World, assert_refused, policy};
use std::collections::VecDeque;
use std::sync::Mutex;
use tdisp::crypto::CryptoError;
use tdisp::relay::ObjectKind;
use tdisp::relay::courier::{Request, Response};
use tdisp::relay::guest::{Binding, TdiInfo};

/// Puts `bytes` in the place of an object that the host brings, chunk by chunk as it would.
fn brings(kind: ObjectKind, bytes: Vec<u8>) -> World {
    World::lying(|lies| {
        lies.answer = Some(Box::new(move |request, response| {
            if let (
                Request::Object {
                    kind: asked, offset, ..
                },
                Response::Chunk(chunk),
            ) = (request, response)
                && *asked == kind
            {
                let offset = usize::try_from(*offset).unwrap();
                chunk.total = u32::try_from(bytes.len()).unwrap();
                chunk.bytes = bytes[offset.min(bytes.len())..]
                    .iter()
                    .copied()
                    .take(600)
                    .collect();
            }
        }));
    })
}

/// A lie in the n-th statement of the TSM: 1 detach, 2 inform, 3 verify, 4 recheck, 5 after DMA was enabled.
fn info(at: u32, change: impl Fn(&mut TdiInfo) + 'static) -> World {
    World::lying(|lies| {
        lies.info = Some(Box::new(move |n, info| {
            if n == at {
                change(info);
            }
        }));
    })
}

fn old_transcript() -> (World, Vec<u8>) {
    let mut world = World::honest();
    world.accepted();
    let old = world.host.tdi(RID0).unwrap().measurements.unwrap();
    let mut again = World::honest();
    again.host = world.host;
    again.policy = world.policy;
    again.host.0.borrow_mut().tdis.clear();
    (again, old)
}

#[test]
fn case_01_a_replay_of_old_evidence_is_refused() {
    let (mut world, old) = old_transcript();
    world.host.lie(|lies| {
        lies.answer = Some(Box::new(move |request, response| {
            if let (
                Request::Object {
                    kind: ObjectKind::MEASUREMENTS,
                    offset,
                    ..
                },
                Response::Chunk(chunk),
            ) = (request, response)
            {
                chunk.bytes = old[usize::try_from(*offset).unwrap()..]
                    .iter()
                    .copied()
                    .take(600)
                    .collect();
            }
        }));
    });
    world.refused(&["verify", "the digest of the measurements", "the TSM vouches for"]);
}

#[test]
fn case_02_measurements_of_the_right_device_for_another_nonce_are_refused() {
    World::with_device(|device| device.own_nonce = Some([9; 32])).refused(&["verify", "they are a replay"]);
}

#[test]
fn case_03_measurements_that_are_not_valid_or_not_fresh_are_refused() {
    info(3, |info| info.measurements_valid = false).refused(&["verify", "holds no valid measurements"]);
    info(3, |info| info.measurements_fresh = false).refused(&["verify", "not fresh"]);
}

#[test]
fn case_04_a_lock_that_moves_while_evidence_is_fetched_is_refused() {
    info(3, |info| info.generation += 1).refused(&["verify", "locked anew while its evidence was fetched"]);
}

#[test]
fn case_05_a_lock_that_moves_between_verdict_and_start_is_refused() {
    let mut world = info(4, |info| info.generation += 1);
    world.refused(&[
        "recheck",
        "locked anew: generation 8; wanted 7",
        "bind and verify the device anew",
    ]);
    assert_eq!(world.host.asked("start"), 0);
}

#[test]
fn case_06_a_report_read_anew_between_verdict_and_start_is_refused() {
    let mut world = info(4, |info| info.report_count += 1);
    world.refused(&["recheck", "the report was read anew: count 2; wanted 1"]);
    assert_eq!(world.host.asked("start"), 0);
}

#[test]
fn a_lock_whose_flags_or_interface_change_between_verdict_and_start_is_refused() {
    for change in [
        |info: &mut TdiInfo| info.lock_flags |= 8,
        |info: &mut TdiInfo| info.function_id += 1,
    ] {
        let mut world = info(4, change);
        world.refused(&["recheck", "the lock has other flags"]);
        assert_eq!(world.host.asked("start"), 0);
    }
}

/// A byte for each time that random bytes are drawn, or none.
struct Dice(Mutex<VecDeque<Option<u8>>>);

impl Dice {
    fn new<const N: usize>(thrown: [Option<u8>; N]) -> RingBut<Self> {
        RingBut(Self(Mutex::new(thrown.into())))
    }
}

impl Own for Dice {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        let byte = self
            .0
            .lock()
            .unwrap()
            .pop_front()
            .flatten()
            .ok_or(CryptoError::NoEntropy)?;
        out.fill(byte);
        Ok(())
    }
}

fn two_devices() -> World {
    let mut world = World::honest();
    let second = Device::honest();
    let block = policy(&second.root());
    let (_, block) = block.split_once("[[device]]").unwrap();
    let block = block
        .replace("net0", "net1")
        .replace(crate::world::NET0, NET1)
        .replace("example-", "second-");
    let root = second.root();
    world.policy = format!(
        "{}\n[[device]]{block}\n[[root]]\nname = \"second-nic-vendor\"\nsha384 = \"{root}\"\n",
        world.policy
    );
    world.host.0.borrow_mut().devices.insert(RID1, second);
    world
}

#[test]
fn case_07_a_nonce_that_repeats_or_cannot_be_drawn_stops_the_agent() {
    let wanted = [
        "measure",
        "the random source fails or repeats itself",
        "wanted a fresh nonce",
    ];
    for thrown in [None, Some(0)] {
        let mut world = World::honest();
        world.decide_with(&Dice::new([thrown]), |agent| {
            assert_refused(&agent.report().devices[0], &wanted)
        });
        world.assert_nothing_enabled();
        assert_eq!(world.host.asked("refresh"), 0);
    }
    let mut world = two_devices();
    world.decide_with(&Dice::new([Some(5), Some(5)]), |agent| {
        assert_refused(&agent.report().devices[1], &wanted);
        agent.end("end");
    });
    world.assert_nothing_enabled();
    assert_eq!(world.host.asked("refresh"), 1);
}

#[test]
fn two_devices_earn_their_way_in_one_after_the_other() {
    two_devices().decide(|agent| {
        let report = agent.report();
        assert!(
            report.is_complete(),
            "{} {}",
            report.devices[0].reason,
            report.devices[1].reason
        );
    });
}

#[test]
fn case_09_evidence_of_a_genuine_device_of_another_vm_is_refused() {
    let other = Device::honest();
    brings(ObjectKind::CERTIFICATES, other.chain).refused(&["verify", "the digest of the certificate chain"]);
}

#[test]
fn case_10_a_tsm_that_states_no_digest_is_refused() {
    let mut world = info(3, |info| {
        (
            info.certificates_digest,
            info.measurements_digest,
            info.report_digest,
        ) = ([0; 48], [0; 48], [0; 48]);
    });
    world.refused(&["verify", "the TSM vouches for 000000"]);
}

#[test]
fn case_12_a_certificate_chain_with_one_bit_altered_is_refused() {
    let mut chain = World::honest().host.0.borrow().devices[&RID0].chain.clone();
    let last = chain.len() - 1;
    chain[last] ^= 1;
    brings(ObjectKind::CERTIFICATES, chain).refused(&["verify", "the digest of the certificate chain"]);
}

#[test]
fn case_16_an_empty_object_is_refused() {
    brings(ObjectKind::REPORT, Vec::new()).refused(&["fetch", "the object has 0 bytes"]);
}

#[test]
fn case_43_a_truncated_report_is_refused() {
    let mut report = Device::honest().report_bytes();
    report.truncate(report.len() - 1);
    brings(ObjectKind::REPORT, report).refused(&["verify", "the digest of the interface report"]);
}

#[test]
fn case_13_measurements_swapped_between_two_identical_devices_are_refused() {
    let twin = Device::honest();
    brings(ObjectKind::MEASUREMENTS, twin.transcript([9; 32]))
        .refused(&["verify", "the digest of the measurements"]);
}

#[test]
fn case_14_a_siblings_interface_report_is_refused() {
    let mut sibling = Device::honest();
    sibling.report.ranges[0].first_page += 0x100;
    brings(ObjectKind::REPORT, sibling.report_bytes())
        .refused(&["verify", "the digest of the interface report"]);
}

#[test]
fn case_19_endless_repeated_or_contradictory_chunks_are_refused() {
    let chunks = |change: fn(&mut tdisp::relay::courier::Chunk)| {
        World::lying(|lies| {
            lies.answer = Some(Box::new(move |_, response| {
                if let Response::Chunk(chunk) = response {
                    change(chunk);
                }
            }));
        })
    };
    chunks(|chunk| chunk.total = 17 << 20).refused(&["fetch", "the object has 17825792 bytes"]);
    chunks(|chunk| chunk.total += chunk.offset).refused(&["fetch", "as it said before"]);
    chunks(|chunk| chunk.offset = 0).refused(&["fetch", "the piece at byte 0, wanted the one at byte"]);
    chunks(|chunk| chunk.bytes.clear()).refused(&["fetch", "a piece of 0 bytes"]);
    chunks(|chunk| chunk.kind = ObjectKind::REPORT).refused(&["fetch", "wanted one of CERTIFICATES"]);
}

#[test]
fn evidence_that_trickles_in_is_refused_before_it_is_complete() {
    let mut world = World::lying(|lies| {
        lies.answer = Some(Box::new(|_, response| {
            if let Response::Chunk(chunk) = response {
                chunk.bytes.truncate(1);
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }));
    });
    world.refused(&["fetch", "the object is not complete after 1.6s"]);
}

#[test]
fn a_host_that_says_bound_where_the_tsm_knows_nothing_is_refused() {
    let mut world = info(2, |info| *info = TdiInfo::absent(RID0, Binding::UNBOUND));
    world.refused(&["inform", "the TSM knows no interface", "UNBOUND"]);
}
