//! Secured messages against the cipher alone.

use crate::{
    report::Report,
    time::{Times, median},
};
use serde_json::{Value, json};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};
use tdisp::{
    crypto::{AeadAlg, HashAlg, Provider, Ring, Secret, TAG_SIZE, wipe},
    spdm::{
        key_schedule::Schedule,
        msg::Version,
        secured::{Half, OVERHEAD, Protection, Record},
        transport::Transport,
    },
};

/// Bytes of a message. The largest record has a length of 16 bits.
const SIZES: [usize; 5] = [64, 1024, 4096, 16384, 65536 - 24];

pub(crate) fn run(report: &mut Report) {
    println!("  AES-256-GCM, MB/s of message; raw is the cipher alone, in place");
    println!(
        "  {:>8} {:>10} {:>10} {:>8} {:>10} {:>10} {:>8}",
        "bytes", "seal", "raw", "ratio", "open", "raw", "ratio"
    );
    let rows: Vec<Value> = SIZES.into_iter().map(row).collect();
    println!("  a record adds {OVERHEAD} bytes");
    report.add("records", rows.into());
}

fn row(size: usize) -> Value {
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
    json!({
        "bytes": size,
        "seal_mb_s": rate(seal),
        "raw_seal_mb_s": rate(raw_seal),
        "open_mb_s": rate(open),
        "raw_open_mb_s": rate(raw_open),
    })
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
    Times::of(times).median
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
