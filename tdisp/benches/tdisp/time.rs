//! Taking times.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) fn timed<T>(call: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let value = black_box(call());
    (start.elapsed(), value)
}

/// The median and the least.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) median: Duration,
    pub(crate) least: Duration,
}

impl Times {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self {
            median: times[times.len() / 2],
            least: times[0],
        }
    }
}

/// The median time of one call, over 15 rounds of some 4 ms each.
pub(crate) fn median<T>(mut call: impl FnMut() -> T) -> Duration {
    const ROUND: Duration = Duration::from_millis(4);
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
    Times::of((0..15).map(round).collect()).median
}
