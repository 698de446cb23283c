//! Requests that another implementation's requester said to its own responder, said to ours: what comes back must be what came
//! back then, byte for byte where nothing in it is random or measured, and otherwise of the same kind and size.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "pair/mod.rs"]
mod harness;
mod vectors_support;

use harness::{Identity, measurements};
use libtest_mimic::{Arguments, Failed};
use std::{path::Path, sync::Arc};
use tdisp::{
    clock::Instant,
    crypto::Ring,
    spdm::{
        Responder, ResponderConfig, Transport,
        msg::Version,
        responder::{KeyPairs, MultiKey, Slot},
        transport::Kind,
    },
};
use vectors_support::{Conversation, NAMES, trial};

fn main() {
    let told = NAMES
        .iter()
        .filter(|(name, told)| *told && !name.contains("p256"));
    let tests = told.map(|(name, _)| {
        let name = (*name).to_owned();
        trial(
            format!("our responder answers as in {name}"),
            format!("{name}.json"),
            answers,
        )
    });
    libtest_mimic::run(&Arguments::from_args(), tests.collect()).exit();
}

/// A responder that has what the recorded one had, but its private keys and its measurements.
fn responder(plain: &[[Vec<u8>; 2]], path: &Path) -> Result<Responder, Failed> {
    let version = plain[1][0][0];
    let usual = Identity::usual();
    let mut config = ResponderConfig {
        versions: vec![Version(version)],
        transport: Transport::Doe,
        heartbeat_s: 0xf0,
        handshake_in_clear: path.to_string_lossy().contains("clear"),
        ..ResponderConfig::new(Vec::new(), usual.signer.clone(), measurements())
    };
    let text = std::fs::read_to_string(path)?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    for (index, slot) in config.slots.iter_mut().enumerate() {
        let chain = json["chains"][index.to_string()].as_str();
        *slot = chain.map(|chain| Slot::new(unhex(chain), usual.signer.clone()));
    }
    // The slots of 1.3 on have keys of their own, of which not all were recorded.
    if version >= 0x13 {
        config.multi_key = MultiKey::Negotiated;
        config.key_pairs = Some(KeyPairs::default());
    }
    Ok(Responder::new(config, Arc::new(Ring)))
}

fn unhex(text: &str) -> Vec<u8> {
    let bytes = (0..text.len()).step_by(2);
    bytes
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn answers(path: &Path) -> Result<(), Failed> {
    let plain = Conversation::read(path)?.plain()?;
    let mut responder = responder(&plain, path)?;
    let (mut said, mut exact) = (0, 0);
    for [request, recorded] in &plain {
        // What is asked in turn is of the requester's certificates; sessions go on with keys that nobody has.
        if matches!(request[1], 0xea | 0xeb) {
            continue;
        }
        if matches!(request[1], 0xe5 | 0xe6) {
            break;
        }
        responder.handle(Instant::START, &Transport::Doe.wrap(Kind::Clear, request));
        let mut unit = Vec::new();
        if !responder.poll_transmit(&mut unit) {
            return Err(format!("no answer to {:02x?}", &request[..4]).into());
        }
        let (_, answer) = Transport::Doe.unwrap(&unit).unwrap().unwrap();
        exact += usize::from(check(request, recorded, answer)?);
        said += 1;
    }
    match said > 8 && exact > 2 {
        true => Ok(()),
        false => Err(format!("{said} requests were said, and {exact} answers are exact").into()),
    }
}

/// Whether the answer is the recorded one; an error if it is of another kind or size.
fn check(request: &[u8], recorded: &[u8], answer: &[u8]) -> Result<bool, Failed> {
    let several_keys = request[0] >= 0x13;
    let differs = |what: &str| {
        let head = |bytes: &[u8]| bytes[..bytes.len().min(16)].to_vec();
        Err(Failed::from(format!(
            "{what}: {:02x?} is answered with {:02x?} of {} bytes instead of {:02x?} of {}",
            head(request),
            head(answer),
            answer.len(),
            head(recorded),
            recorded.len()
        )))
    };
    if answer[..2] != recorded[..2] {
        return differs("another kind");
    }
    match answer[1] {
        // Some slots of the device were not recorded.
        0x01 if several_keys => Ok(false),
        // VERSION, DIGESTS, CERTIFICATE
        0x04 | 0x01 | 0x02 => match trimmed(answer) == trimmed(recorded) {
            true => Ok(true),
            false => differs("other bytes"),
        },
        // CAPABILITIES, ALGORITHMS, CHALLENGE_AUTH, KEY_EXCHANGE_RSP
        0x61 | 0x63 | 0x03 | 0x64 if answer.len() != recorded.len() => differs("another size"),
        // Signed, and nothing changed.
        0x60 if answer[2..4] != recorded[2..4] => differs("another head"),
        _ => Ok(false),
    }
}

/// Without the object's padding, or zeros that the message ends with.
fn trimmed(message: &[u8]) -> &[u8] {
    let end = message.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    &message[..end]
}
