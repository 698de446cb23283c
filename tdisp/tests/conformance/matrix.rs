//! Every request code in every state of every version.

use super::{
    client::{Client, Heard},
    crypto::P384,
    device,
    table::{Answer, Place, expected},
};

/// A requester that has come to `place`.
pub fn reach(place: Place, version: u8, mctp: bool) -> Client {
    let mut client = Client::new(device::wire(mctp, device::config(mctp)), mctp, version, &P384);
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
    let capabilities = {
        let client = reach(Place::Capabilities, version, mctp);
        client.their_flags
    };
    let mut wrong = Vec::new();
    for place in Place::ALL.into_iter().filter(|place| place.is_in(version)) {
        let mut patient = reach(place, version, mctp);
        for code in 0..=255 {
            let wanted = expected(code, place, version, capabilities);
            let mut fresh = (!changes_nothing(wanted)).then(|| reach(place, version, mctp));
            let client = fresh.as_mut().unwrap_or(&mut patient);
            let request = right(client, code);
            let heard = say(client, place, &request);
            let found = Answer::of(&heard);
            if found != wanted {
                wrong.push(format!(
                    "{code:02x} in {place:?}: {found:02x?} instead of {wanted:02x?}"
                ));
                patient = reach(place, version, mctp);
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

#[test]
fn every_request_code_in_every_state_over_mctp_gets_the_answer_of_the_standard() {
    every_code(0x12, true);
}
