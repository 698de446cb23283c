//! Every request code in every state of every version.

use super::{
    client::{CHUNK, Client, ENCAP, Heard, PSK, PSK_HINT},
    crypto::P384,
    device,
    table::{Answer, Device, Place, expected},
};
use tdisp::spdm::ResponderConfig;

/// A requester that has come to `place` with the usual device.
pub fn reach(place: Place, version: u8, mctp: bool) -> Client {
    reach_with(device::config(mctp), 0, place, version, mctp)
}

/// A requester that has come to `place` with a device, and has these capabilities besides the usual.
pub fn reach_with(config: ResponderConfig, flags: u32, place: Place, version: u8, mctp: bool) -> Client {
    let mut client = Client::new(device::wire(mctp, config), mctp, version, &P384);
    if version >= 0x11 {
        client.flags |= flags;
    }
    let steps: &[fn(&mut Client)] = match place {
        Place::Start => &[],
        Place::Version => &[Client::say_version],
        Place::Capabilities => &[Client::say_version, Client::say_capabilities],
        _ => &[Client::negotiate],
    };
    steps.iter().for_each(|step| step(&mut client));
    if matches!(place, Place::Digests | Place::Certificate | Place::Challenged) {
        client.digests();
    }
    if matches!(place, Place::Certificate | Place::Challenged) {
        client.certificate(0);
    }
    if place == Place::Challenged {
        client.challenged(0, 0xff);
    }
    if place.is_secured()
        || matches!(
            place,
            Place::BesideHandshake | Place::BesideSession | Place::Ended
        )
    {
        client.shake(0, 0);
    }
    if matches!(
        place,
        Place::Session | Place::VerifyAwaited | Place::BesideSession | Place::Ended
    ) {
        client.finish();
    }
    if place == Place::VerifyAwaited {
        client.update(1);
    }
    if matches!(place, Place::PskHandshake | Place::PskSession) {
        client.psk_shake();
    }
    if place == Place::PskSession {
        client.psk_finish();
    }
    if place == Place::Chunking {
        client.clear(&client.chunk(0));
    }
    if place == Place::Ended {
        client.secured_answer(&client.simple(0xec, 0, 0));
    }
    client
}

/// A request of each code, right in itself.
pub fn right(client: &Client, code: u8) -> Vec<u8> {
    match code {
        0x81 | 0xe8 | 0xea | 0xec => client.simple(code, 0, 0),
        0x82 => client.get_certificate(0, 0, 0x100),
        0x83 => client.challenge(0, 0),
        0x84 => Client::get_version(),
        0xe0 => client.get_measurements(None, 0),
        0xe1 => client.get_capabilities(),
        0xe3 => client.negotiate_algorithms(),
        0xe4 => client.key_exchange_request(0, 0),
        0xe5 => client.finish_with(0, 0, &[0; 48]),
        0x85 => client.chunk(0),
        0x86 if client.version >= 0x14 => [&client.simple(code, 0, 1)[..], &[0; 4]].concat(),
        0x86 => [&client.simple(code, 0, 1)[..], &[0; 2]].concat(),
        0x87 => [&client.simple(code, 1, 0)[..], &[0; 4]].concat(),
        0xe2 => client.simple(code, 0, 0),
        0xe6 => client.psk_exchange(0, PSK_HINT, &client.opaque()),
        0xe7 if client.version >= 0x14 => [&client.simple(code, 0, 0)[..], &[0; 50]].concat(),
        0xed => [&client.simple(code, 0, 0)[..], &[0; 4]].concat(),
        0xee => [&client.simple(code, 9, 0)[..], &[0; 48]].concat(),
        0xef => [&client.simple(code, 0, 0)[..], &[0, 0, 0, 0, 8, 0, 0, 0]].concat(),
        0xf0 => client.simple(code, 0, 0),
        0xfc => [&client.simple(code, 0, 0)[..], &[1]].concat(),
        0xe9 => client.simple(code, 1, 3),
        0xfe => [
            &client.simple(code, 0, 0)[..],
            &[3, 0, 2, 1, 0, 5, 0, 1, 0x10, 0x81, 0, 0],
        ]
        .concat(),
        0xff => client.simple(code, 0x83, 1),
        _ => [&client.simple(code, 0, 0)[..], &[0; 48]].concat(),
    }
}

/// Whether an answer leaves everything as it was.
fn changes_nothing(answer: Answer) -> bool {
    matches!(answer, Answer::Error(code, _) if code != 6)
}

pub fn say(client: &mut Client, place: Place, message: &[u8]) -> Heard {
    match place.is_secured() {
        true => client.secured(message),
        false => client.clear(message),
    }
}

/// What a correct requester goes on with must work whatever was refused before.
fn go_on(mut client: Client, place: Place) {
    match place {
        Place::Start => client.negotiate(),
        Place::Version => {
            client.say_capabilities();
            client.say_algorithms();
        }
        Place::Capabilities => client.say_algorithms(),
        Place::Handshake => client.finish(),
        Place::Session => {
            client.secured_answer(&client.simple(0x81, 0, 0));
            client.secured_answer(&client.simple(0xec, 0, 0));
        }
        Place::VerifyAwaited => {
            client.secured_answer(&client.simple(0xe9, 3, 9));
            client.secured_answer(&client.simple(0xec, 0, 0));
        }
        Place::BesideHandshake => client.finish(),
        Place::PskHandshake => client.psk_finish(),
        Place::PskSession => {
            client.secured_answer(&client.simple(0xec, 0, 0));
        }
        _ => {
            // Begins M1/M2 anew, whatever the refused requests did to it.
            client.clear(&client.get_measurements(None, 0));
            client.m1.clear();
            client.digests();
            client.certificate(0);
            client.challenged(0, 0);
        }
    }
}

fn every_code(version: u8, mctp: bool) {
    every_code_of(device::config, 0, version, mctp);
}

fn every_code_of(config: fn(bool) -> ResponderConfig, flags: u32, version: u8, mctp: bool) {
    let reach = |place| reach_with(config(mctp), flags, place, version, mctp);
    let device = Device {
        capabilities: reach(Place::Capabilities).their_flags,
        beats: config(mctp).heartbeat_s > 0,
    };
    let mut wrong = Vec::new();
    for place in Place::ALL
        .into_iter()
        .filter(|place| place.is_of(version, device))
    {
        let mut patient = reach(place);
        for code in 0..=255 {
            let wanted = expected(code, place, version, device);
            let mut fresh = (!changes_nothing(wanted)).then(|| reach(place));
            let client = fresh.as_mut().unwrap_or(&mut patient);
            let request = right(client, code);
            let heard = say(client, place, &request);
            let found = Answer::of(&heard);
            if found != wanted {
                wrong.push(format!(
                    "{code:02x} in {place:?}: {found:02x?} instead of {wanted:02x?}"
                ));
                patient = reach(place);
            }
        }
        go_on(patient, place);
    }
    assert!(wrong.is_empty(), "in 1.{}:\n{}", version & 0xf, wrong.join("\n"));
}

#[test]
fn every_request_code_in_every_state_of_1_0_gets_the_answer_of_the_standard() {
    every_code(0x10, false);
}

#[test]
fn every_request_code_in_every_state_of_1_1_gets_the_answer_of_the_standard() {
    every_code(0x11, false);
}

#[test]
fn every_request_code_in_every_state_of_1_2_gets_the_answer_of_the_standard() {
    every_code(0x12, false);
}

#[test]
fn every_request_code_in_every_state_of_1_3_gets_the_answer_of_the_standard() {
    every_code(0x13, false);
}

#[test]
fn every_request_code_in_every_state_of_1_4_gets_the_answer_of_the_standard() {
    every_code(0x14, false);
}

/// What a requester must have for a device that has everything.
const EVERYTHING: u32 = PSK | ENCAP | CHUNK | 1 << 25;

/// Its flags, as far as a version has them.
fn of_everything(version: u8) -> u32 {
    match version {
        0x10 => 0,
        0x11 => EVERYTHING & 0xffff,
        0x12 => EVERYTHING & 0xf_ffff,
        _ => EVERYTHING,
    }
}

#[test]
fn a_device_with_everything_gives_every_request_code_in_every_state_the_answer_of_the_standard() {
    let has = reach_with(
        device::everything(false),
        EVERYTHING,
        Place::Capabilities,
        0x13,
        false,
    );
    // PSK, CHUNK, SET_CERT and CSR, EP_INFO, MEL, EVENT, GET_KEY_PAIR_INFO
    for flag in [11, 17, 19, 20, 22, 24, 25, 28] {
        assert!(
            has.their_flags >> flag & 1 == 1,
            "bit {flag} of {:08x}",
            has.their_flags
        );
    }
    for version in [0x10, 0x11, 0x12, 0x13, 0x14] {
        for mctp in [false, true] {
            every_code_of(device::everything, of_everything(version), version, mctp);
        }
    }
}

#[test]
fn every_request_code_in_every_state_over_mctp_gets_the_answer_of_the_standard() {
    every_code(0x12, true);
}
