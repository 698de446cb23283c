//! A connection against its floor: the asymmetric operations that it needs, done bare, in one go.

use crate::{
    counting::{Allocations, Counting, Counts},
    flow::{P256, P384, Suite},
    report::Report,
    time::{Times, micros, timed},
};
use serde_json::{Value, json};
use std::{hint::black_box, sync::Arc, time::Duration};
use tdisp::crypto::{Provider, Ring, Signable, Signer};

/// Connections of each kind.
const ROUNDS: usize = 101;

pub(crate) fn run(report: &mut Report) {
    let suites: Vec<Value> = [&*P384, &*P256].into_iter().map(suite).collect();
    report.add("handshake", suites.into());
}

fn suite(suite: &Suite) -> Value {
    println!("  {}", suite.name);
    let counted = |pinned| {
        let provider = Arc::new(Counting::default());
        suite.connect(pinned, &provider); // what is made once is made now
        let provider = Arc::new(Counting::default());
        let (counted, exchanges) = Allocations::counted(|| suite.connect(pinned, &provider));
        (exchanges, counted.asked, provider.counts())
    };
    let (exchanges, allocated, counts) = counted(true);
    println!(
        "    GET_VERSION to signed MEASUREMENTS in the session: {} messages",
        2 * exchanges
    );
    let primitives = primitives(suite, &counts);
    println!(
        "    {:<34} {:>10} {:>10} {:>7} {:>10} {:>10} {:>7}",
        "both ends, median and least", "floor µs", "µs", "ratio", "floor µs", "µs", "ratio"
    );
    let flows: Vec<Value> = [("root pinned", true), ("relying party judges", false)]
        .into_iter()
        .map(|(name, pinned)| flow(suite, name, pinned, &counted(pinned).2))
        .collect();
    println!(
        "    also {} hashes begun, {} MACs, {} AEAD keys; {:.1} kB asked for, all in all\n",
        counts.hash,
        counts.hmac,
        counts.aead,
        allocated as f64 / 1e3
    );
    json!({
        "suite": suite.name,
        "messages": 2 * exchanges,
        "primitives": primitives,
        "flows": flows,
        "allocated_bytes": allocated,
        "aim": suite.aim,
    })
}

/// How long each takes, and how often it is needed.
fn primitives(suite: &Suite, counts: &Counts) -> Value {
    let (message, signer) = (message(suite), &suite.signer);
    let signature = signer.sign(&message).expect("the key signs");
    let peer = Ring.key_agreement(suite.exchange).expect("the group is there");
    let many = |once: &mut dyn FnMut() -> Duration| Times::of((0..ROUNDS).map(|_| once()).collect()).median;
    let sign = many(&mut || timed(|| signer.sign(&message)).0);
    let verify = many(&mut || timed(|| verify(suite, &message, &signature)).0);
    let keygen = many(&mut || timed(|| Ring.key_agreement(suite.exchange)).0);
    let agree = many(&mut || {
        let own = Ring.key_agreement(suite.exchange).expect("the group is there");
        timed(|| own.agree(peer.public())).0
    });
    let rows = [
        ("sign", sign, counts.sign),
        ("verify", verify, counts.verify),
        ("key pair", keygen, counts.keygen),
        ("shared secret", agree, counts.agree),
    ];
    println!(
        "    {:<34} {:>10} {:>10}",
        "floor, with the root pinned", "µs each", "times"
    );
    for (name, time, count) in rows {
        println!("    {name:<34} {:>10.1} {count:>10}", micros(time));
    }
    let of = |(name, time, count): (&str, Duration, u32)| json!({"name": name, "us": micros(time), "times": count});
    rows.map(of).to_vec().into()
}

/// A connection and its floor, in turn: what else the machine does interrupts both alike.
fn flow(suite: &Suite, name: &str, pinned: bool, counts: &Counts) -> Value {
    let (mut floors, mut flows) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floors.push(timed(|| floor(suite, counts)).0);
        let provider = Arc::new(Counting::default());
        flows.push(timed(|| suite.connect(pinned, &provider)).0);
    }
    let (floor, flow) = (Times::of(floors), Times::of(flows));
    let ratio = |one: fn(&Times) -> Duration| micros(one(&flow)) / micros(one(&floor));
    let (median, least) = (ratio(|times| times.median), ratio(|times| times.least));
    let columns =
        |one: fn(&Times) -> Duration| format!("{:>10.1} {:>10.1}", micros(one(&floor)), micros(one(&flow)));
    println!(
        "    {name:<34} {} {median:>7.3} {} {least:>7.3}   aim {:.2}",
        columns(|times| times.median),
        columns(|times| times.least),
        suite.aim
    );
    json!({
        "name": name,
        "floor_us": micros(floor.median),
        "us": micros(flow.median),
        "ratio": median,
        "least_floor_us": micros(floor.least),
        "least_us": micros(flow.least),
        "least_ratio": least,
    })
}

/// All primitives, as often as a connection needs them.
fn floor(suite: &Suite, counts: &Counts) {
    let message = message(suite);
    let signed = (0..counts.sign).map(|_| suite.signer.sign(&message).expect("the key signs"));
    let signatures: Vec<Vec<u8>> = signed.collect();
    for _ in 0..counts.verify {
        verify(suite, &message, &signatures[0]);
    }
    let key = |_| Ring.key_agreement(suite.exchange).expect("the group is there");
    let keys: Vec<_> = (0..counts.keygen).map(key).collect();
    let public = keys[0].public().to_vec();
    for key in keys.into_iter().take(counts.agree as usize) {
        let _ = black_box(key.agree(&public).expect("the peer's value is good"));
    }
}

fn verify(suite: &Suite, message: &Signable<'_>, signature: &[u8]) {
    let verified = Ring.verify(suite.sign, suite.signer.public_key(), message, signature);
    assert!(verified.is_ok());
}

/// As long as what SPDM 1.2 signs.
fn message(suite: &Suite) -> Signable<'static> {
    Signable {
        hash: suite.hash,
        context: &[],
        message: vec![7; 100 + suite.hash.size()].into(),
    }
}
