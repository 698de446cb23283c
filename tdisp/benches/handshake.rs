//! What a connection costs over the cryptography that it cannot do without.
//!
//! `./x bench [FILTER...]` prints the sections `handshake` (primitives, and a whole connection), `messages` and `records`. Times are medians, on one thread, in one process, without a wire; nothing is asserted about them.

#[path = "handshake/counting.rs"]
mod counting;
#[path = "../tests/pair/mod.rs"]
mod pair;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/messages/samples.rs"]
mod samples;

use counting::{Allocations, Counting, Counts};
use pair::Identity;
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};
use tdisp::{
    clock,
    crypto::{
        AeadAlg, ExchangeAlg, HashAlg, Provider, Ring, Secret, SignAlg, Signable, Signer, TAG_SIZE, wipe,
    },
    spdm::{
        Event, Requester, RequesterConfig, Responder, ResponderConfig, Trust,
        key_schedule::Schedule,
        msg::{Header, Message, Version},
        secured::{Half, OVERHEAD, Protection, Record},
        transport::Transport,
    },
};

type Section = fn();

const SECTIONS: [(&str, Section); 3] = [
    ("handshake", handshake),
    ("messages", messages),
    ("records", records),
];

fn main() {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    for (name, section) in SECTIONS {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            println!("\n{name}");
            section();
        }
    }
}

// ---- handshake ----

/// P-384 primitives, with the one provider that there is: how long each takes.
#[derive(Clone, Copy, Default)]
struct Primitives {
    sign: Duration,
    verify: Duration,
    keygen: Duration,
    agree: Duration,
}

impl Primitives {
    /// Each of them, once.
    fn once() -> Self {
        let signer = &Identity::usual().signer;
        let message = Signable::plain(HashAlg::Sha384, &[7; 146]); // as long as what SPDM 1.2 signs
        let peer = Ring.key_agreement(ExchangeAlg::EcdhP384).expect("P-384 is there");
        let (sign, signature) = timed(|| signer.sign(&message).expect("the key signs"));
        let (verify, verified) =
            timed(|| Ring.verify(SignAlg::EcdsaP384, signer.public_key(), &message, &signature));
        assert!(verified.is_ok());
        let (keygen, own) = timed(|| Ring.key_agreement(ExchangeAlg::EcdhP384).expect("P-384 is there"));
        let (agree, _) = timed(|| own.agree(peer.public()).expect("the peer's value is good"));
        Self {
            sign,
            verify,
            keygen,
            agree,
        }
    }

    /// All of them, as often as a connection needs them, and `links` signatures more to verify.
    fn times(counts: &Counts, links: u32) {
        let signer = &Identity::usual().signer;
        let message = Signable::plain(HashAlg::Sha384, &[7; 146]);
        let peer = Ring.key_agreement(ExchangeAlg::EcdhP384).expect("P-384 is there");
        let signature: Vec<Vec<u8>> = (0..counts.sign)
            .map(|_| signer.sign(&message).expect("the key signs"))
            .collect();
        for _ in 0..counts.verify + links {
            let key = signer.public_key();
            let verified = Ring.verify(SignAlg::EcdsaP384, key, &message, &signature[0]);
            assert!(verified.is_ok());
        }
        // The peer's key pair above is one of those; each private key agrees once.
        let public = peer.public().to_vec();
        let others =
            (1..counts.keygen).map(|_| Ring.key_agreement(ExchangeAlg::EcdhP384).expect("P-384 is there"));
        for key in others.chain([peer]).take(counts.agree as usize) {
            black_box(key.agree(&public).expect("the peer's value is good"));
        }
    }

    fn medians(all: &[Self]) -> Self {
        let of = |time: fn(&Self) -> Duration| middle(all.iter().map(time).collect());
        Self {
            sign: of(|all| all.sign),
            verify: of(|all| all.verify),
            keygen: of(|all| all.keygen),
            agree: of(|all| all.agree),
        }
    }

    fn rows(&self, counts: &Counts) -> [(&'static str, Duration, u32); 4] {
        [
            ("sign (ECDSA P-384, SHA-384)", self.sign, counts.sign),
            ("verify (ECDSA P-384, SHA-384)", self.verify, counts.verify),
            ("key pair (ECDH P-384)", self.keygen, counts.keygen),
            ("shared secret (ECDH P-384)", self.agree, counts.agree),
        ]
    }
}

/// Links of the pinned chain that the requester verifies with the certificates' own library: middle and leaf.
const LINKS: u32 = 2;

fn handshake() {
    let (decides, pinned) = (
        Trust::RelyingPartyDecides,
        Trust::Pinned(vec![Identity::usual().root]),
    );
    let one = Connection::counted(&decides);
    // In turn, and the floor in one go: what else the machine does interrupts what is long more often than what is short.
    let (mut primitives, mut floors, mut links) = (Vec::new(), Vec::new(), Vec::new());
    let (mut judged_later, mut verified) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        primitives.push(Primitives::once());
        floors.push(timed(|| Primitives::times(&one.counts, 0)).0);
        judged_later.push(timed(|| connect(&decides, Arc::new(Counting::default()))).0);
        links.push(timed(|| Primitives::times(&one.counts, LINKS)).0);
        verified.push(timed(|| connect(&pinned, Arc::new(Counting::default()))).0);
    }
    let primitives = Primitives::medians(&primitives);
    println!(
        "  GET_VERSION to signed MEASUREMENTS in the session, both ends: {} exchanges\n",
        one.exchanges
    );
    println!("  {:<42} {:>10} {:>7} {:>12}", "floor", "µs each", "times", "µs");
    let rows = primitives.rows(&one.counts);
    for (name, time, count) in rows {
        println!(
            "  {name:<42} {:>10.1} {count:>7} {:>12.1}",
            micros(time),
            micros(time * count)
        );
    }
    let sum: Duration = rows.iter().map(|(_, time, count)| *time * *count).sum();
    println!("  {:<42} {:>31.1}\n", "sum", micros(sum));
    println!(
        "  {:<42} {:>9} {:>9} {:>7}   least: {:>9} {:>9} {:>7}",
        "connection", "floor µs", "µs", "ratio", "floor µs", "µs", "ratio"
    );
    row("the relying party judges the chain", floors, judged_later);
    row(
        &format!("root pinned, {LINKS} links of the chain verified"),
        links,
        verified,
    );
    let Counts { hash, hmac, aead, .. } = one.counts;
    println!(
        "\n  also {hash} hashes begun, {hmac} MACs, {aead} AEAD keys; {:.1} kB allocated, all in all",
        one.allocated as f64 / 1e3
    );
}

/// Medians and least times of the primitives in one go and of the connection, and their ratios.
fn row(name: &str, mut floor: Vec<Duration>, mut connection: Vec<Duration>) {
    floor.sort();
    connection.sort();
    let at = |index: usize| {
        let (floor, whole) = (micros(floor[index]), micros(connection[index]));
        format!("{floor:>9.1} {whole:>9.1} {:>7.3}", whole / floor)
    };
    println!("  {name:<42} {}          {}", at(ROUNDS / 2), at(0));
}

/// What one connection does.
struct Connection {
    exchanges: usize,
    counts: Counts,
    /// Bytes, over all allocations of both ends.
    allocated: usize,
}

impl Connection {
    fn counted(trust: &Trust) -> Self {
        let provider = Arc::new(Counting::default());
        let _ = Identity::usual(); // made before anything is counted
        let before = Allocations::bytes();
        let exchanges = connect(trust, provider.clone());
        Self {
            exchanges,
            allocated: Allocations::bytes() - before,
            counts: provider.counts(),
        }
    }
}

/// From GET_VERSION to signed measurements in the session; how many objects each side sent.
fn connect(trust: &Trust, provider: Arc<Counting>) -> usize {
    let now = clock::Instant::START;
    let config = RequesterConfig {
        roots: trust.clone(),
        ..RequesterConfig::default()
    };
    let usual = Identity::usual();
    provider.signs_with(usual.signer.clone());
    let signer = provider.clone();
    let mut requester = Requester::new(config, provider.clone());
    let mut responder = Responder::new(
        ResponderConfig::new(usual.chain.clone(), signer, pair::measurements()),
        provider,
    );
    requester.connect(now);
    let mut exchanges = carry(&mut requester, &mut responder);
    requester
        .measure(now, None)
        .expect("there is a session to measure in");
    exchanges += carry(&mut requester, &mut responder);
    let events: Vec<Event> = std::iter::from_fn(|| requester.poll_event()).collect();
    let measured = events.iter().any(|event| matches!(event, Event::Measurements(_)));
    let challenged = events.iter().any(|event| matches!(event, Event::Challenged));
    assert!(challenged && measured, "{events:?}");
    exchanges
}

fn carry(requester: &mut Requester, responder: &mut Responder) -> usize {
    let now = clock::Instant::START;
    let (mut request, mut response) = (Vec::new(), Vec::new());
    let mut exchanges = 0;
    while requester.poll_transmit(&mut request) {
        responder.handle(now, &request);
        assert!(
            responder.poll_transmit(&mut response),
            "every request is answered"
        );
        requester.handle(now, &response);
        request.clear();
        response.clear();
        exchanges += 1;
    }
    exchanges
}

// ---- messages ----

fn messages() {
    println!(
        "  {:<32} {:>6} {:>10} {:>10}",
        "SPDM 1.2 (P-384, SHA-384)", "bytes", "decode ns", "encode ns"
    );
    for sample in samples::all() {
        if sample.context.version != Version::V1_2 || sample.context.handshake_in_clear {
            continue;
        }
        let decode = || Message::decode(black_box(&sample.bytes), &sample.context);
        let (message, _) = decode().expect("a sample is a good message");
        let mut out = Vec::with_capacity(sample.bytes.len());
        let encode = median(|| {
            out.clear();
            black_box(&message).encode(&mut out);
        });
        let header = Header::peek(&sample.bytes).expect("a message has a header");
        println!(
            "  {:<32} {:>6} {:>10} {:>10}",
            header.code.to_string(),
            sample.bytes.len(),
            median(decode).as_nanos(),
            encode.as_nanos(),
        );
    }
}

// ---- records ----

fn records() {
    println!("  AES-256-GCM, MB/s of message; raw is the cipher alone, in place");
    println!(
        "  {:>8} {:>10} {:>10} {:>8} {:>10} {:>10} {:>8}",
        "bytes", "seal", "raw", "ratio", "open", "raw", "ratio"
    );
    for size in [64, 1024, 4096, 16384, 65517 - 5] {
        let message = vec![7; size];
        let mut sending = half();
        let mut record = Vec::with_capacity(size + OVERHEAD);
        let seal = median(|| {
            record.clear();
            sending.seal(&Ring, 1, &message, &mut record).expect("it fits");
        });
        let open = opening(&message);
        let (raw_seal, raw_open) = raw(&message);
        let rate = |time: Duration| size as f64 / time.as_secs_f64() / 1e6;
        println!(
            "  {size:>8} {:>10.0} {:>10.0} {:>8.2} {:>10.0} {:>10.0} {:>8.2}",
            rate(seal),
            rate(raw_seal),
            rate(seal) / rate(raw_seal),
            rate(open),
            rate(raw_open),
            rate(open) / rate(raw_open),
        );
    }
    println!("  a record adds {OVERHEAD} bytes");
}

fn half() -> Half {
    let schedule = Schedule {
        provider: &Ring,
        hash: HashAlg::Sha384,
        version: Version::V1_2,
    };
    let protection = Protection::new(AeadAlg::Aes256Gcm);
    Half::new(&schedule, protection, Secret::new(vec![7; 48])).expect("a key of the right size")
}

/// Each record opens once, and in its turn: so many are sealed before.
fn opening(message: &[u8]) -> Duration {
    let (mut sending, mut receiving) = (half(), half());
    let count = (8 << 20) / (message.len() + OVERHEAD);
    let mut records: Vec<Vec<u8>> = (0..count.min(20_000))
        .map(|_| sending.seal_to_vec(&Ring, 1, message).expect("it fits"))
        .collect();
    let round = records.len().div_ceil(31);
    let times = records
        .chunks_mut(round)
        .map(|records| {
            let start = Instant::now();
            for record in records.iter_mut() {
                let body = Record::decode(Transport::Doe, record).expect("a record");
                black_box(receiving.open(body).expect("its turn"));
                wipe(record);
            }
            start.elapsed() / records.len() as u32
        })
        .collect();
    middle(times)
}

/// The cipher alone: sealing and opening.
fn raw(message: &[u8]) -> (Duration, Duration) {
    let aead = Ring
        .aead(AeadAlg::Aes256Gcm, &[7; 32])
        .expect("a key of the right size");
    let mut data = message.to_vec();
    let seal = median(|| aead.seal([1; 12], &[0; 6], &mut data).expect("it seals"));
    data.extend_from_slice(&[0; TAG_SIZE]);
    let both = median(|| {
        let (plain, tag) = data.split_at_mut(message.len());
        tag.copy_from_slice(&aead.seal([1; 12], &[0; 6], plain).expect("it seals"));
        aead.open([1; 12], &[0; 6], &mut data).expect("it opens");
    });
    (seal, both.saturating_sub(seal))
}

// ---- time ----

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Rounds of the handshake section.
const ROUNDS: usize = 101;

fn timed<T>(call: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let value = black_box(call());
    (start.elapsed(), value)
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The median time of one call, over 31 rounds of some 10 ms each.
fn median<T>(mut call: impl FnMut() -> T) -> Duration {
    const ROUND: Duration = Duration::from_millis(10);
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed() < ROUND {
        black_box(call());
        calls += 1;
    }
    let round = |_| {
        let many = || (0..calls).for_each(|_| drop(black_box(call())));
        timed(many).0 / calls
    };
    middle((0..31).map(round).collect())
}
