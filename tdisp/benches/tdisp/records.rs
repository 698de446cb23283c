//! Secured messages against the cipher alone.

use crate::{
    report::Report,
    time::{Times, median, timed},
};
use serde_json::{Value, json};
use std::{hint::black_box, time::Duration};
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
    each(
        message.len() + OVERHEAD,
        |_| sending.seal_to_vec(&Ring, 1, message).expect("it fits"),
        |record| {
            let body = Record::decode(Transport::Doe, record).expect("a record");
            black_box(receiving.open(body).expect("its turn"));
            wipe(record);
        },
    )
}

/// The cipher alone: sealing and opening.
fn raw(message: &[u8]) -> (Duration, Duration) {
    let aead = Ring
        .aead(AeadAlg::Aes256Gcm, &[7; 32])
        .expect("a key of the right size");
    let seal = |data: &mut [u8]| aead.seal([1; 12], &[0; 6], data).expect("it seals");
    let mut data = message.to_vec();
    let sealing = median(|| seal(&mut data));
    let sealed = |_| {
        let mut data = message.to_vec();
        let tag = seal(&mut data);
        data.extend(tag);
        data
    };
    let opening = each(message.len() + TAG_SIZE, sealed, |data| {
        black_box(aead.open([1; 12], &[0; 6], data).expect("it opens"));
        wipe(data);
    });
    (sealing, opening)
}

/// The median time of doing something to each of many buffers of `size` bytes, once.
fn each(size: usize, make: impl FnMut(usize) -> Vec<u8>, mut with: impl FnMut(&mut [u8])) -> Duration {
    let count = ((8 << 20) / size).min(20_000);
    let mut buffers: Vec<Vec<u8>> = (0..count).map(make).collect();
    let round = buffers.len().div_ceil(15);
    let rounds = buffers.chunks_mut(round).map(|round| {
        let all = timed(|| round.iter_mut().for_each(|buffer| with(buffer))).0;
        all / round.len() as u32
    });
    Times::of(rounds.collect()).median
}
