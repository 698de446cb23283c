//! Taking times: of this thread's work, so that what else the machine does counts for little.

use rustix::time::{ClockId, clock_gettime};
use std::{hint::black_box, time::Duration};

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// What this thread has computed for, since it began.
pub(crate) fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

pub(crate) fn timed<T>(call: impl FnOnce() -> T) -> (Duration, T) {
    let start = worked();
    let value = black_box(call());
    (worked() - start, value)
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
    const STEP: u32 = 16;
    let start = worked();
    let mut calls = 0;
    while worked() - start < ROUND {
        (0..STEP).for_each(|_| drop(black_box(call())));
        calls += STEP;
    }
    let round = |_| {
        let many = || (0..calls).for_each(|_| drop(black_box(call())));
        timed(many).0 / calls
    };
    Times::of((0..15).map(round).collect()).median
}
