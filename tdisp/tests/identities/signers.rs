//! Whose key signs: outside sessions the one that was proven last, in a session the one that it was opened with.

use super::{Ends, identified, measured, owners, proven, usual};
use tdisp::spdm::{
    Event, Goal, Misuse, Transport, VERSIONS, msg::Version, requester::Measure, responder::usage,
};

#[test]
fn a_session_goes_on_to_be_signed_for_by_the_key_that_it_was_opened_with() {
    for version in &VERSIONS[1..] {
        for transport in [Transport::Doe, Transport::Mctp] {
            let mut pair = Ends::of(*version).over(transport).connected();
            let first = pair.requester.session();
            assert_eq!(identified(&mut pair, 3), proven(3, owners()));
            measured(&mut pair, first, 0);
            measured(&mut pair, None, 3);
            pair.requester.open_session(pair.now).unwrap();
            pair.run();
            let [Event::SessionReady { id: second }] = pair.requester_events[..] else {
                panic!("{version}: {:?}", pair.requester_events)
            };
            pair.requester_events.clear();
            assert_eq!(identified(&mut pair, 0), proven(0, usual()));
            for _ in 0..2 {
                measured(&mut pair, Some(second), 3);
                measured(&mut pair, first, 0);
                measured(&mut pair, None, 0);
            }
        }
    }
}

/// The slot that signed endpoint information was asked of, by what the two keys are for.
#[test]
fn endpoint_information_in_a_session_is_signed_by_its_key_too() {
    for version in [Version::V1_3, Version::V1_4] {
        for [first, second] in [[usage::ENDPOINT_INFO, 0], [0, usage::ENDPOINT_INFO]] {
            let mut ends = Ends::of(version).with_several_keys();
            let others = usage::ANY & !usage::ENDPOINT_INFO;
            ends.answering.slots[0].as_mut().unwrap().key.usage = others | first;
            ends.answering.slots[3].as_mut().unwrap().key.usage = others | second;
            let mut pair = ends.connected();
            let session = pair.requester.session();
            assert_eq!(identified(&mut pair, 3), proven(3, owners()));
            let what = "key for that in its slot (KeyUsageMask of DIGESTS)";
            for (session, may) in [(session, first != 0), (None, second != 0)] {
                let asked = pair.requester.endpoint_info(pair.now, session, Some([7; 32]));
                if !may {
                    assert_eq!(asked, Err(Misuse::Lacks { what }));
                    continue;
                }
                pair.run();
                let told = std::mem::take(&mut pair.requester_events);
                assert!(
                    matches!(&told[..], [Event::EndpointInfo { signed: true, .. }]),
                    "{told:?}"
                );
            }
        }
    }
}

#[test]
fn a_session_on_a_pre_shared_key_is_signed_for_by_whom_the_responder_has_proven_to_be() {
    for version in &VERSIONS[1..] {
        let mut ends = Ends::of(*version).with_psk();
        ends.asking.goal = Goal::PskSession;
        let mut pair = ends.connected();
        let session = pair.requester.session();
        let asked = pair.requester.measure_in(pair.now, session, Measure::all(None));
        assert_eq!(asked, Err(Misuse::NoMeasurements), "nobody is known");
        for (slot, identity) in [(3, owners()), (0, usual())] {
            assert_eq!(identified(&mut pair, slot), proven(slot, identity));
            measured(&mut pair, session, slot);
        }
    }
}

#[test]
fn what_was_measured_in_a_session_is_signed_with_it_whatever_was_asked_outside() {
    for version in &VERSIONS[1..] {
        let mut pair = Ends::of(*version).connected();
        let session = pair.requester.session();
        let unsigned = Measure {
            signed: false,
            ..Measure::all(None)
        };
        for (place, slot, together) in [(session, 0, true), (None, 3, false)] {
            let alone = measured(&mut pair, place, 0).len();
            pair.requester.measure_in(pair.now, place, unsigned).unwrap();
            pair.run();
            pair.requester_events.clear();
            assert_eq!(identified(&mut pair, 3), proven(3, owners()));
            let all = measured(&mut pair, place, slot).len();
            assert_eq!(all > alone, together, "{version}");
            assert_eq!(identified(&mut pair, 0), proven(0, usual()));
        }
    }
}
