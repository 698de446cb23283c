//! Reading and writing one message of each kind, in the newest version that has it.

use crate::{
    report::Report,
    samples::{self, Sample},
    time::median,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, hint::black_box};
use tdisp::spdm::msg::{Header, Message};

pub(crate) fn run(report: &mut Report) {
    println!(
        "  {:<38} {:>7} {:>6} {:>10} {:>10}",
        "P-384, SHA-384", "version", "bytes", "decode ns", "encode ns"
    );
    let mut newest = BTreeMap::new();
    for sample in samples::all() {
        let header = Header::peek(&sample.bytes).expect("a message has a header");
        newest.insert(header.code.0, sample); // samples come by ascending version
    }
    report.add("messages", newest.values().map(row).collect());
}

fn row(sample: &Sample) -> Value {
    let decode = || Message::decode(black_box(&sample.bytes), &sample.context);
    let (message, _) = decode().expect("a sample is a good message");
    let mut out = Vec::with_capacity(sample.bytes.len());
    let encode = median(|| {
        out.clear();
        black_box(&message).encode(&mut out);
    });
    let code = message.header().code.to_string();
    let (version, bytes) = (sample.context.version.to_string(), sample.bytes.len());
    let (decode, encode) = (median(decode).as_nanos() as u64, encode.as_nanos() as u64);
    println!("  {code:<38} {version:>7} {bytes:>6} {decode:>10} {encode:>10}");
    json!({
        "message": code,
        "version": version,
        "bytes": bytes,
        "decode_ns": decode,
        "encode_ns": encode,
    })
}
