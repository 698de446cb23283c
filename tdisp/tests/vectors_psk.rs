//! Sessions on a pre-shared key, and a requester's authentication in encapsulated messages, recomputed over
//! conversations that somebody else's requester and responder had.
//!
//! The key is the one that the emulator which was recorded has built in. The recordings are not part of this repository:
//! see `vectors_support`.

mod vectors_support;

use libtest_mimic::{Arguments, Failed};
use std::path::Path;
use tdisp::{
    crypto::{AeadAlg, HashAlg, Provider, Ring, Secret, SignAlg},
    spdm::{
        key_schedule::{Directions, Schedule},
        msg::{
            Code, Context, Header, Message, Payload, Version, certificate, challenge, digests, encapsulated,
            key_update::Operation, psk_exchange,
        },
        secured::{Half, Protection, Record, session_id},
        signing,
        transcript::Transcript,
        transport::{Kind, Transport},
    },
    wire::Reader,
};
use vectors_support::leaf_key;

const HINT: &[u8] = b"TestPskHint\0";
const KEY: &[u8] = b"TestPskData\0";
const HASH: HashAlg = HashAlg::Sha384;
const AEAD: AeadAlg = AeadAlg::Aes256Gcm;
const SIGN: SignAlg = SignAlg::EcdsaP384;

type Check = fn(&Path) -> Result<(), Failed>;

fn main() {
    let checks: [(&str, Check); 3] = [
        ("the responder's proof follows from the key and TH1", proof),
        (
            "every record of the session opens, through PSK_FINISH and every KEY_UPDATE",
            records,
        ),
        (
            "the requester's CHALLENGE_AUTH is signed over its own M1/M2",
            challenge,
        ),
    ];
    let psk = ["doe_1.2_psk", "doe_1.3_psk"]
        .into_iter()
        .flat_map(|name| checks.map(|check| (name, check)));
    // Its sessions are on key exchanges, which `vectors_keys` has; its requester is challenged too.
    let all = psk.chain([("doe_1.2_p384_encmut", checks[2])]);
    let trials = all.map(|(name, (sentence, check))| {
        vectors_support::trial(format!("{name}: {sentence}"), format!("{name}.pcap"), check)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// One conversation: what is said in clear, with padding, and records.
struct Recording {
    version: Version,
    context: Context,
    vca: Vec<u8>,
    units: Vec<(Kind, Vec<u8>)>,
}

impl Recording {
    fn read(path: &Path) -> Result<Self, Failed> {
        let (_, packets) = vectors_support::pcap(path)?;
        let mut units = Vec::new();
        for packet in &packets {
            if let Some((kind, body)) = Transport::Doe.unwrap(packet)? {
                units.push((kind, body.to_vec()));
            }
        }
        let version = Version(units[2].1[0]);
        let mut context = Context {
            hash_size: HASH.size(),
            signature_size: 96,
            requester_signature_size: 96,
            ..Context::new(version)
        };
        // Both sides of the 1.3 recording have several keys.
        context.multi_key = version >= Version::V1_3;
        context.requester_multi_key = context.multi_key;
        let mut vca = Vec::new();
        for (_, unit) in &units[..6] {
            let (_, size) = Message::decode(unit, &context)?;
            vca.extend_from_slice(&unit[..size]);
        }
        Ok(Self {
            version,
            context,
            vca,
            units,
        })
    }

    fn schedule(&self) -> Schedule<'static> {
        Schedule {
            provider: &Ring,
            hash: HASH,
            version: self.version,
        }
    }

    fn transcript(&self, parts: &[&[u8]]) -> Transcript {
        let mut transcript = Transcript::new(&Ring, HASH, self.version);
        transcript.add(&self.vca);
        parts.iter().for_each(|part| transcript.add(part));
        transcript
    }

    /// The exchange that began the session on the known key, and what followed it.
    fn exchange(&self) -> Result<Exchange<'_>, Failed> {
        let is_it = |pair: &[(Kind, Vec<u8>)]| {
            let (request, _) = psk_exchange::Request::decode_padded(&pair[0].1, &self.context).ok()?;
            (request.hint == HINT).then_some(request.summary.0 != 0)
        };
        let at = (0..self.units.len() - 1).find(|at| is_it(&self.units[*at..]).is_some());
        let at = at.ok_or("no session on the key that is known")?;
        let summary_asked = is_it(&self.units[at..]).unwrap_or_default();
        let (request, response) = (&self.units[at].1, &self.units[at + 1].1);
        let (asked, size) = psk_exchange::Request::decode_padded(request, &self.context)?;
        let context = Context {
            summary_asked,
            ..self.context
        };
        let (message, response_size) = psk_exchange::Response::decode_padded(response, &context)?;
        let proof = message.verify_data;
        Ok(Exchange {
            request: &request[..size],
            unproven: &response[..response_size - proof.len()],
            proof,
            session: session_id(asked.session, message.session),
            rest: &self.units[at + 2..],
        })
    }
}

struct Exchange<'a> {
    request: &'a [u8],
    /// The response up to its proof.
    unproven: &'a [u8],
    proof: &'a [u8],
    session: u32,
    rest: &'a [(Kind, Vec<u8>)],
}

fn handshake_secret(recording: &Recording) -> Secret {
    recording
        .schedule()
        .handshake_secret_from_psk(&Secret::new(KEY.to_vec()))
}

fn proof(path: &Path) -> Result<(), Failed> {
    let recording = Recording::read(path)?;
    let exchange = recording.exchange()?;
    let th1 = recording
        .transcript(&[exchange.request, exchange.unproven])
        .digest();
    let schedule = recording.schedule();
    let directions = schedule.handshake(&handshake_secret(&recording), &th1);
    let wanted = schedule.verify_data(&directions.response, &th1);
    same("proof in PSK_EXCHANGE_RSP", exchange.proof, wanted.expose())
}

/// The two directions of the session.
struct Session<'a> {
    recording: &'a Recording,
    request: Half,
    response: Half,
}

impl<'a> Session<'a> {
    fn new(recording: &'a Recording, directions: Directions) -> Result<Self, Failed> {
        let schedule = recording.schedule();
        let half = |secret| Half::new(&schedule, Protection::new(AEAD), secret);
        Ok(Self {
            recording,
            request: half(directions.request)?,
            response: half(directions.response)?,
        })
    }

    /// Opens a request and its response; the keys change where KEY_UPDATE says.
    fn open(&mut self, request: &[u8], response: &[u8]) -> Result<[Vec<u8>; 2], Failed> {
        let schedule = self.recording.schedule();
        let request = open(&mut self.request, request)?;
        let header = Header::peek(&request)?;
        if header.code == Code::KEY_UPDATE {
            let operation = Operation(header.param1);
            if operation != Operation::VERIFY_NEW_KEY {
                self.request = self.request.updated(&schedule)?;
            }
            if operation == Operation::UPDATE_ALL_KEYS {
                self.response = self.response.updated(&schedule)?;
            }
        }
        let response = open(&mut self.response, response)?;
        Ok([request, response])
    }
}

fn open(half: &mut Half, record: &[u8]) -> Result<Vec<u8>, Failed> {
    let mut record = record.to_vec();
    let record = Record::decode(Transport::Doe, &mut record)?;
    Ok(half.open(record)?.to_vec())
}

fn records(path: &Path) -> Result<(), Failed> {
    let recording = Recording::read(path)?;
    let exchange = recording.exchange()?;
    let schedule = recording.schedule();
    let secret = handshake_secret(&recording);
    let mut th = recording.transcript(&[exchange.request, exchange.unproven]);
    let directions = schedule.handshake(&secret, &th.digest());
    th.add(exchange.proof);
    let finish_key = directions.request.clone();
    let mut session = Session::new(&recording, directions)?;
    let mut seen = Vec::new();
    for pair in exchange.rest.chunks_exact(2) {
        let [(Kind::Record, request), (Kind::Record, response)] = pair else {
            continue;
        };
        // Others are opened inside this one, on keys that went through it.
        if Reader::new(request).u32("session id")? != exchange.session {
            continue;
        }
        let [request, response] = session.open(request, response)?;
        let code = Header::peek(&request)?.code;
        seen.push(code);
        if code == Code::PSK_FINISH {
            let (head, found) = request.split_at(request.len() - HASH.size());
            th.add(head);
            let wanted = schedule.verify_data(&finish_key, &th.digest());
            same("proof in PSK_FINISH", found, wanted.expose())?;
            th.add(found);
            th.add(&response);
            let master = schedule.master_secret(&secret);
            session = Session::new(&recording, schedule.application(&master, &th.digest()))?;
        }
        if code == Code::END_SESSION {
            break;
        }
    }
    let wanted = [
        Code::PSK_FINISH,
        Code::KEY_UPDATE,
        Code::HEARTBEAT,
        Code::END_SESSION,
    ];
    match wanted.iter().find(|code| !seen.contains(code)) {
        None => Ok(()),
        Some(missing) => Err(format!("the session had no {missing}: {seen:?}").into()),
    }
}

/// What the requester was asked in encapsulated messages before the session, and what it answered.
fn challenge(path: &Path) -> Result<(), Failed> {
    let recording = Recording::read(path)?;
    let inside = recording.context.encapsulated();
    let mut m1 = recording.transcript(&[]);
    let mut chain = Vec::new();
    for (_, unit) in &recording.units {
        let Some(message) = carried(&recording, unit) else {
            continue;
        };
        let (decoded, size) = encapsulated::inner(message, &recording.context)?;
        match decoded {
            Message::GetDigests(digests::Request { .. }) => m1 = recording.transcript(&[]),
            Message::Certificate(certificate::Response { portion, .. }) => chain.extend_from_slice(portion),
            Message::ChallengeAuth(challenge::Response { signature, .. }) => {
                m1.add(&message[..size - signature.len()]);
                let context = signing::Context::RequesterChallengeAuth;
                let signed = signing::message(recording.version, context, &m1);
                let key = leaf_key(&chain, HASH)?;
                assert_eq!(inside.signature_size, signature.len());
                return Ok(Ring.verify(SIGN, &key, &signed, signature)?);
            }
            _ => {}
        }
        m1.add(&message[..size]);
    }
    Err("the requester was not challenged".into())
}

/// The message in an encapsulating one, if it has one.
fn carried<'a>(recording: &Recording, unit: &'a [u8]) -> Option<&'a [u8]> {
    match Message::decode(unit, &recording.context).ok()?.0 {
        Message::EncapsulatedRequest(encapsulated::Request { message, .. })
        | Message::DeliverEncapsulatedResponse(encapsulated::Deliver { message, .. }) => Some(message),
        Message::EncapsulatedResponseAck(encapsulated::Ack {
            next: encapsulated::Next::Message(message),
            ..
        }) => Some(message),
        _ => None,
    }
}

fn same(what: &str, found: &[u8], wanted: &[u8]) -> Result<(), Failed> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what}: found {found:02x?}, wanted {wanted:02x?}").into())
}
