//! Transcripts, signatures, key schedule and records, recomputed over conversations that somebody else's
//! requester and responder had and that were recorded with their secrets.
//!
//! The recordings are not part of this repository. They are read from `../shared/vectors` beside the workspace, or
//! from the folder that `TIDELOCK_VECTORS` names; where there is none, every test here counts as ignored.

#[path = "vectors_keys/replay.rs"]
mod replay;
mod vectors_support;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use replay::Replay;
use std::{collections::HashMap, path::PathBuf};
use tdisp::{
    crypto::{AeadAlg, Digest, HashAlg, Provider, Ring, Secret, SignAlg, digest},
    spdm::{
        key_schedule::Schedule,
        msg::Version,
        signing::{self, Context},
        transcript::Transcript,
        transport::{Kind, Transport},
    },
    wire::Reader,
};
use vectors_support::{hex, leaf_key};

fn main() {
    let arguments = Arguments::from_args();
    let trials = RECORDINGS.iter().flat_map(|recording| {
        CHECKS.iter().map(move |(sentence, check)| {
            let name = format!("{}: {}", recording.name, recording.fill_in(sentence));
            Trial::ignorable_test(name, move || match vectors_support::folder() {
                Err(reason) => Ok(Completion::ignored_with(reason)),
                Ok(folder) => check(&Conversation::read(folder, recording)?).map(|()| Completion::Completed),
            })
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

struct Recording {
    name: &'static str,
    version: Version,
    hash: HashAlg,
    sign: SignAlg,
    aead: AeadAlg,
    /// What carried it.
    transport: Transport,
    /// Whether FINISH goes in clear.
    clear: bool,
    /// Records in the file, and those whose secrets were not recorded.
    records: (usize, usize),
}

impl Recording {
    /// Says how many records are not covered.
    fn fill_in(&self, sentence: &str) -> String {
        let (all, unknown) = self.records;
        sentence.replace("SOME", &format!("{unknown} of {all} records"))
    }
}

const fn p384(name: &'static str, version: Version, clear: bool, records: (usize, usize)) -> Recording {
    Recording {
        name,
        version,
        hash: HashAlg::Sha384,
        sign: SignAlg::EcdsaP384,
        aead: AeadAlg::Aes256Gcm,
        transport: Transport::Doe,
        clear,
        records,
    }
}

/// Each holds three sessions: a first, a second on a pre-shared key made inside the first, and a third. The secrets of
/// the third were not recorded, so its records are not covered; the second figure counts them.
const RECORDINGS: &[Recording] = &[
    p384("doe_1.1_p384_enc", Version::V1_1, false, (216, 92)),
    Recording {
        hash: HashAlg::Sha256,
        sign: SignAlg::EcdsaP256,
        aead: AeadAlg::Aes128Gcm,
        ..p384("doe_1.2_p256_sha256_aes128", Version::V1_2, false, (216, 92))
    },
    p384("doe_1.2_p384_clear", Version::V1_2, true, (212, 90)),
    p384("doe_1.2_p384_enc", Version::V1_2, false, (216, 92)),
    p384("doe_1.2_p384_encmut", Version::V1_2, false, (228, 98)),
    p384("doe_1.3_p384_enc", Version::V1_3, false, (216, 92)),
    p384("doe_1.4_p384_enc", Version::V1_4, false, (216, 92)),
    Recording {
        transport: Transport::Mctp,
        ..p384("mctp_1.2_p384_enc", Version::V1_2, false, (28, 14))
    },
];

type Check = fn(&Conversation) -> Result<(), Failed>;

const CHECKS: &[(&str, Check)] = &[
    ("VCA is the first six messages without padding", vca),
    ("CHALLENGE_AUTH is signed over M1/M2", challenge),
    ("MEASUREMENTS are signed over L1/L2", measurements),
    (
        "the measurements asked for in the session are signed over L1/L2",
        session_measurements,
    ),
    ("KEY_EXCHANGE_RSP is signed over TH", key_exchange),
    ("every secret follows from the shared secret", secrets),
    (
        "FINISH carries the MAC, and where asked the signature, over TH",
        finish,
    ),
    (
        "every record opens to what was said, but SOME whose secrets were not recorded",
        records,
    ),
];

// What a recording holds

struct Conversation {
    is: &'static Recording,
    plain: Vec<[Vec<u8>; 2]>,
    secured: Vec<[Vec<u8>; 2]>,
    chains: HashMap<String, Vec<u8>>,
    values: HashMap<String, Vec<u8>>,
    /// What was carried, with padding; discovery has no kind.
    units: Vec<(Option<Kind>, Vec<u8>)>,
}

impl Conversation {
    fn read(folder: PathBuf, is: &'static Recording) -> Result<Self, Failed> {
        let json = std::fs::read(folder.join(format!("{}.json", is.name)))?;
        let json: serde_json::Value = serde_json::from_slice(&json)?;
        let (link, packets) = vectors_support::pcap(&folder.join(format!("{}.pcap", is.name)))?;
        let units = packets.iter().map(|packet| unit(link, packet));
        let object = |key: &str| json[key].as_object().into_iter().flatten();
        let texts = json.as_object().ok_or("not an object")?.iter();
        Ok(Self {
            is,
            plain: pairs(&json["plain"])?,
            secured: pairs(&json["secured"])?,
            chains: object("chains")
                .map(|(slot, chain)| Ok((slot.clone(), hex(chain)?)))
                .collect::<Result<_, Failed>>()?,
            values: texts
                .filter(|(key, value)| *key != "name" && value.is_string())
                .map(|(key, value)| Ok((key.clone(), hex(value)?)))
                .collect::<Result<_, Failed>>()?,
            units: units.collect::<Result<_, _>>()?,
        })
    }

    fn value(&self, key: &str) -> Result<&[u8], Failed> {
        self.values
            .get(key)
            .map(Vec::as_slice)
            .ok_or_else(|| format!("no {key} in the recording").into())
    }

    fn chain(&self, slot: u8) -> Result<&[u8], Failed> {
        self.chains
            .get(&slot.to_string())
            .map(Vec::as_slice)
            .ok_or_else(|| format!("no chain of slot {slot} in the recording").into())
    }

    fn schedule(&self) -> Schedule<'static> {
        Schedule {
            provider: &Ring,
            hash: self.is.hash,
            version: self.is.version,
        }
    }

    fn transcript(&self, parts: &[&[u8]]) -> Transcript {
        let mut transcript = Transcript::new(&Ring, self.is.hash, self.is.version);
        parts.iter().for_each(|part| transcript.add(part));
        transcript
    }

    fn digest(&self, bytes: &[u8]) -> Digest {
        digest(&Ring, self.is.hash, bytes)
    }

    /// Checks a signature with the leaf key of `slot`'s chain.
    fn verify(
        &self,
        chain: &[u8],
        context: Context,
        transcript: &Transcript,
        signature: &[u8],
    ) -> Result<(), Failed> {
        let message = signing::message(self.is.version, context, transcript);
        let key = leaf_key(chain, self.is.hash)?;
        Ok(Ring.verify(self.is.sign, &key, &message, signature)?)
    }

    fn hash_size(&self) -> usize {
        self.is.hash.size()
    }

    fn signature_size(&self) -> usize {
        self.is.sign.signature_size()
    }

    /// KEY_EXCHANGE and its response, both without padding, of the session whose secrets are known.
    fn exchange(&self) -> Result<Exchange<'_>, Failed> {
        let both = self.value("K")?;
        let (request, response) = both.split_at(key_exchange_size(both)?);
        let verify_size = if self.is.clear { 0 } else { self.hash_size() };
        let (rest, verify) = response.split_at(response.len() - verify_size);
        let (unsigned, signature) = rest.split_at(rest.len() - self.signature_size());
        Ok(Exchange {
            request,
            unsigned,
            signature,
            verify,
        })
    }

    /// TH up to the responder's signature.
    fn th_unsigned(&self) -> Result<Transcript, Failed> {
        let exchange = self.exchange()?;
        let chain = self.digest(self.chain(exchange.request[3])?);
        let parts = [chain.as_ref(), exchange.request, exchange.unsigned];
        let mut th = self.transcript(&[self.value("A")?]);
        th.add(self.first_digests()?);
        parts.iter().for_each(|part| th.add(part));
        Ok(th)
    }

    /// TH through the responder's signature.
    fn th1(&self) -> Result<Transcript, Failed> {
        let mut th = self.th_unsigned()?;
        th.add(self.exchange()?.signature);
        Ok(th)
    }

    /// The first DIGESTS: part of TH where an endpoint may have several keys, which the recordings from 1.3 on do.
    fn first_digests(&self) -> Result<&[u8], Failed> {
        if self.is.version < Version::V1_3 {
            return Ok(&[]);
        }
        let mut responses = self.plain.iter().map(|pair| pair[1].as_slice());
        let digests = responses.find(|message| message[1] == 0x01).ok_or("no DIGESTS")?;
        Ok(&digests[..digests_size(self, digests)])
    }

    /// FINISH and FINISH_RSP of the known session.
    fn finish(&self) -> Result<&[Vec<u8>; 2], Failed> {
        let pairs = if self.is.clear { &self.plain } else { &self.secured };
        let mut pairs = pairs.iter();
        Ok(pairs.find(|pair| pair[0][1] == 0xe5).ok_or("no FINISH")?)
    }
}

/// What a packet carries: DOE's are objects, MCTP's begin with four bytes of its own header.
fn unit(link: u32, packet: &[u8]) -> Result<(Option<Kind>, Vec<u8>), Failed> {
    const MCTP: u32 = 291;
    let carried = match link {
        MCTP => Transport::Mctp.unwrap(packet.get(4..).ok_or("a packet without MCTP header")?)?,
        _ => Transport::Doe.unwrap(packet)?,
    };
    let (kind, body) = carried.unzip();
    Ok((kind, body.unwrap_or_default().to_vec()))
}

struct Exchange<'a> {
    request: &'a [u8],
    unsigned: &'a [u8],
    signature: &'a [u8],
    verify: &'a [u8],
}

fn pairs(list: &serde_json::Value) -> Result<Vec<[Vec<u8>; 2]>, Failed> {
    let list = list.as_array().ok_or("not a list")?;
    list.iter()
        .map(|pair| Ok([hex(&pair[0])?, hex(&pair[1])?]))
        .collect()
}

// True ends: the recordings keep the padding to four bytes, which no transcript holds.

fn field(message: &[u8], at: usize) -> Result<usize, Failed> {
    let bytes = message.get(at..).ok_or("short message")?;
    Ok(Reader::new(bytes).u16("length")?.into())
}

/// KEY_EXCHANGE, of which `bytes` begins with one: the response's header follows it.
fn key_exchange_size(bytes: &[u8]) -> Result<usize, Failed> {
    for public in [64, 96] {
        let opaque = 40 + public;
        let end = opaque + 2 + field(bytes, opaque)?;
        if bytes.get(end..end + 2) == Some(&[bytes[0], 0x64]) {
            return Ok(end);
        }
    }
    Err("KEY_EXCHANGE of an unknown shape".into())
}

// Checks

/// The first six messages: their sizes follow from their own fields and the version.
fn vca(c: &Conversation) -> Result<(), Failed> {
    let mut found = Vec::new();
    for [request, response] in &c.plain[..3] {
        found.extend_from_slice(request);
        found.extend_from_slice(response);
    }
    same("A", &found, c.value("A")?)
}

/// M1/M2 of every CHALLENGE: A, the digests and certificates since the last one, and the challenge itself.
fn challenge(c: &Conversation) -> Result<(), Failed> {
    let mut m = c.transcript(&[c.value("A")?]);
    let mut seen = 0;
    for [request, response] in &c.plain[3..] {
        match request[1] {
            0x81 => {
                m.add(request);
                m.add(&response[..digests_size(c, response)]);
            }
            0x82 => {
                let large = c.is.version >= Version::V1_4 && request[2] & 0x80 != 0;
                m.add(&request[..if large { 16 } else { 8 }]);
                m.add(&response[..certificate_size(response, large)?]);
            }
            0x83 => {
                let size = 36 + if c.is.version >= Version::V1_3 { 8 } else { 0 };
                let (unsigned, signature) = signed(c, response, challenge_auth_size(c, response)?);
                m.add(&request[..size]);
                m.add(unsigned);
                c.verify(c.chain(request[2] & 0xf)?, Context::ChallengeAuth, &m, signature)?;
                seen += 1;
                break;
            }
            _ => break,
        }
    }
    at_least_one("CHALLENGE", seen)
}

fn digests_size(c: &Conversation, message: &[u8]) -> usize {
    let slots = message[3].count_ones() as usize;
    // With several keys a slot also has the id, the kind and the use of its key: four bytes.
    let multi_key = 4 + slots * (c.hash_size() + 4);
    let plain = 4 + slots * c.hash_size();
    if (multi_key..multi_key + 4).contains(&message.len()) {
        multi_key
    } else {
        plain
    }
}

fn certificate_size(message: &[u8], large: bool) -> Result<usize, Failed> {
    Ok(match large {
        true => 16 + Reader::new(&message[8..]).u32("portion")? as usize,
        false => 8 + field(message, 4)?,
    })
}

/// Through the opaque data and, from 1.3 on, the requester's context.
fn challenge_auth_size(c: &Conversation, message: &[u8]) -> Result<usize, Failed> {
    let context = if c.is.version >= Version::V1_3 { 8 } else { 0 };
    // The challenges here ask for a measurement summary.
    let opaque = 4 + c.hash_size() + 32 + c.hash_size();
    Ok(opaque + 2 + field(message, opaque)? + context)
}

fn signed<'a>(c: &Conversation, message: &'a [u8], unsigned: usize) -> (&'a [u8], &'a [u8]) {
    let (unsigned, tail) = message.split_at(unsigned);
    (unsigned, &tail[..c.signature_size()])
}

fn measurements(c: &Conversation) -> Result<(), Failed> {
    signed_measurements(c, &c.plain)
}

fn session_measurements(c: &Conversation) -> Result<(), Failed> {
    signed_measurements(c, &c.secured)
}

fn signed_measurements(c: &Conversation, pairs: &[[Vec<u8>; 2]]) -> Result<(), Failed> {
    let mut seen = 0;
    for [request, response] in pairs.iter().filter(|pair| pair[0][1] == 0xe0) {
        let context = if c.is.version >= Version::V1_3 { 8 } else { 0 };
        let record = Reader::new(&response[5..]).u24("record length")? as usize;
        let opaque = 8 + record + 32;
        let unsigned = opaque + 2 + field(response, opaque)? + context;
        let (unsigned, signature) = signed(c, response, unsigned);
        let mut l = c.transcript(&[]);
        if c.is.version >= Version::V1_2 {
            l.add(c.value("A")?);
        }
        l.add(&request[..37 + context]);
        l.add(unsigned);
        let slot = request[36] & 0xf;
        c.verify(c.chain(slot)?, Context::Measurements, &l, signature)?;
        seen += 1;
    }
    at_least_one("GET_MEASUREMENTS", seen)
}

fn key_exchange(c: &Conversation) -> Result<(), Failed> {
    let exchange = c.exchange()?;
    let chain = c.chain(exchange.request[3])?;
    c.verify(
        chain,
        Context::KeyExchangeRsp,
        &c.th_unsigned()?,
        exchange.signature,
    )
}

fn secrets(c: &Conversation) -> Result<(), Failed> {
    let schedule = c.schedule();
    let th1 = c.th1()?.digest();
    same("th1", th1.as_ref(), c.value("th1")?)?;
    let handshake_secret = schedule.handshake_secret(&Secret::new(c.value("dhe")?.to_vec()));
    same(
        "handshake_secret",
        handshake_secret.expose(),
        c.value("handshake_secret")?,
    )?;
    let handshake = schedule.handshake(&handshake_secret, &th1);
    same("req_hs", handshake.request.expose(), c.value("req_hs")?)?;
    same("rsp_hs", handshake.response.expose(), c.value("rsp_hs")?)?;
    if !c.is.clear {
        let verify = schedule.verify_data(&handshake.response, &th1);
        same("responder's verify data", c.exchange()?.verify, verify.expose())?;
    }
    let master = schedule.master_secret(&handshake_secret);
    same("master_secret", master.expose(), c.value("master_secret")?)?;
    let th2 = th_through_finish(c)?.digest();
    same("th2", th2.as_ref(), c.value("th2")?)?;
    let application = schedule.application(&master, &th2);
    same("req_app", application.request.expose(), c.value("req_app")?)?;
    same("rsp_app", application.response.expose(), c.value("rsp_app")?)?;
    let exporter = schedule.exporter(&master, &th2);
    same("exp_master", exporter.expose(), c.value("exp_master")?)
}

fn finish(c: &Conversation) -> Result<(), Failed> {
    th_through_finish(c).map(drop)
}

/// Checks the proofs of the handshake's end on the way to TH2.
fn th_through_finish(c: &Conversation) -> Result<Transcript, Failed> {
    let schedule = c.schedule();
    let mut th = c.th1()?;
    let [request, response] = c.finish()?;
    th.add(c.exchange()?.verify);
    // FINISH: header, from 1.4 on opaque data, the signature where there is one, the MAC.
    let head = match c.is.version {
        Version::V1_4 => 6 + field(request, 4)?,
        _ => 4,
    };
    let (head, tail) = request.split_at(head);
    let is_signed = request[2] & 1 != 0;
    if is_signed {
        let chain = c.requester_chain()?;
        th.add(c.digest(chain).as_ref());
        th.add(head);
        let (signature, _) = tail.split_at(c.signature_size());
        c.verify(chain, Context::Finish, &th, signature)?;
        th.add(signature);
    } else {
        th.add(head);
    }
    let mac = &tail[if is_signed { c.signature_size() } else { 0 }..][..c.hash_size()];
    let request_secret = Secret::new(c.value("req_hs")?.to_vec());
    let wanted = schedule.verify_data(&request_secret, &th.digest());
    same("requester's verify data", mac, wanted.expose())?;
    th.add(mac);
    let head = match c.is.version {
        Version::V1_4 => 6 + field(response, 4)?,
        _ => 4,
    };
    th.add(&response[..head]);
    if c.is.clear {
        let response_secret = Secret::new(c.value("rsp_hs")?.to_vec());
        let wanted = schedule.verify_data(&response_secret, &th.digest());
        let mac = &response[head..][..c.hash_size()];
        same("verify data of FINISH_RSP", mac, wanted.expose())?;
        th.add(mac);
    }
    Ok(th)
}

impl Conversation {
    /// The chain that the requester showed, in an encapsulated CERTIFICATE of one portion.
    fn requester_chain(&self) -> Result<&[u8], Failed> {
        let delivered = self.plain.iter().chain(&self.secured).map(|pair| &pair[0]);
        let mut certificates =
            delivered.filter(|message| message[1] == 0xeb && message.get(5) == Some(&0x02));
        let certificate = certificates
            .next()
            .ok_or("the requester showed no certificates")?;
        let size = certificate_size(&certificate[4..], false)?;
        Ok(&certificate[12..4 + size])
    }
}

/// Opens every record of the sessions whose secrets are known, through every KEY_UPDATE, and compares the first
/// session's with what the recording says they hold.
fn records(c: &Conversation) -> Result<(), Failed> {
    let mut replay = Replay::new(c);
    for pair in c.units.chunks(2) {
        let [request, response] = pair else {
            return Err("a request without response".into());
        };
        replay.pair(request, response)?;
    }
    same_count(
        "records of known sessions of the first kind",
        replay.first.len(),
        c.secured.len(),
    )?;
    for (number, (found, wanted)) in replay.first.iter().zip(&c.secured).enumerate() {
        same(&format!("request {number}"), &found[0], &wanted[0])?;
        same(&format!("response {number}"), &found[1], &wanted[1])?;
    }
    same_count("records", replay.records, c.is.records.0)?;
    same_count("records without known secrets", replay.unknown, c.is.records.1)
}

fn same(what: &str, found: &[u8], wanted: &[u8]) -> Result<(), Failed> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what}: found {found:02x?}, wanted {wanted:02x?}").into())
}

fn same_count(what: &str, found: usize, wanted: usize) -> Result<(), Failed> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what}: found {found}, wanted {wanted}").into())
}

fn at_least_one(what: &str, seen: usize) -> Result<(), Failed> {
    if seen > 0 {
        return Ok(());
    }
    Err(format!("the recording has no {what}").into())
}
