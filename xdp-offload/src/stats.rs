//! What the program did: its per-CPU counters, summed.

use std::ops::AddAssign;

use libbpf_rs::{MapCore, MapFlags};
use serde::Serialize;

use crate::error::{self, Error};
use crate::rule::RULES_MAX;
use crate::skel::types;

/// Packets and bytes (from the Ethernet header on) by verdict, and by the reason for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Stats {
    /// Packets passed to the stack.
    pub passed_packets: u64,
    /// Their bytes.
    pub passed_bytes: u64,
    /// Packets dropped.
    pub dropped_packets: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
    /// What each rule decided, in order.
    pub rules: Vec<Counter>,
    /// IP packets that no rule matched.
    pub default: Counter,
    /// Frames that are not IP.
    pub non_ip: Counter,
    /// Frames that end inside a header; always dropped.
    pub truncated: Counter,
    /// Frames whose headers contradict themselves; always dropped.
    pub malformed: Counter,
    /// Frames with more VLAN tags or IPv6 extension headers than are followed; always dropped.
    pub too_deep: Counter,
}

/// Packets and bytes that had one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counter {
    /// Packets passed.
    pub passed_packets: u64,
    /// Their bytes.
    pub passed_bytes: u64,
    /// Packets dropped.
    pub dropped_packets: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
}

impl AddAssign for Counter {
    fn add_assign(&mut self, other: Self) {
        self.passed_packets = self.passed_packets.wrapping_add(other.passed_packets);
        self.passed_bytes = self.passed_bytes.wrapping_add(other.passed_bytes);
        self.dropped_packets = self.dropped_packets.wrapping_add(other.dropped_packets);
        self.dropped_bytes = self.dropped_bytes.wrapping_add(other.dropped_bytes);
    }
}

/// Reads the counters of a program with this many rules.
pub(crate) fn read(map: &dyn MapCore, rules: usize) -> Result<Stats, Error> {
    let rules = (0..rules.min(RULES_MAX) as u32).map(|rule| sum(map, rule));
    let mut stats = Stats {
        rules: rules.collect::<Result<_, _>>()?,
        default: sum(map, types::reason::REASON_DEFAULT.0)?,
        non_ip: sum(map, types::reason::REASON_NON_IP.0)?,
        truncated: sum(map, types::reason::REASON_TRUNCATED.0)?,
        malformed: sum(map, types::reason::REASON_MALFORMED.0)?,
        too_deep: sum(map, types::reason::REASON_TOO_DEEP.0)?,
        ..Stats::default()
    };
    let mut total = Counter::default();
    for counter in &stats.rules {
        total += *counter;
    }
    for counter in [
        stats.default,
        stats.non_ip,
        stats.truncated,
        stats.malformed,
        stats.too_deep,
    ] {
        total += counter;
    }
    stats.passed_packets = total.passed_packets;
    stats.passed_bytes = total.passed_bytes;
    stats.dropped_packets = total.dropped_packets;
    stats.dropped_bytes = total.dropped_bytes;
    Ok(stats)
}

fn sum(map: &dyn MapCore, reason: u32) -> Result<Counter, Error> {
    let (passed_packets, passed_bytes) = sum_of(map, reason, types::action::ACTION_PASS)?;
    let (dropped_packets, dropped_bytes) = sum_of(map, reason, types::action::ACTION_DROP)?;
    Ok(Counter {
        passed_packets,
        passed_bytes,
        dropped_packets,
        dropped_bytes,
    })
}

/// Packets and bytes of one verdict for one reason, over all CPUs; the key is `COUNTER` of `bpf/shared.h`.
fn sum_of(map: &dyn MapCore, reason: u32, action: types::action) -> Result<(u64, u64), Error> {
    let key = (reason * 2 + action.0).to_ne_bytes();
    let cpus = map
        .lookup_percpu(&key, MapFlags::ANY)
        .map_err(error::kernel("read the counters"))?;
    let mut total = (0_u64, 0_u64);
    for bytes in cpus.unwrap_or_default() {
        let (packets, bytes) = decode(&bytes)?;
        total = (total.0.wrapping_add(packets), total.1.wrapping_add(bytes));
    }
    Ok(total)
}

fn decode(bytes: &[u8]) -> Result<(u64, u64), Error> {
    let wanted = size_of::<types::counter>();
    match bytes.as_chunks::<8>() {
        ([packets, bytes], []) => Ok((u64::from_ne_bytes(*packets), u64::from_ne_bytes(*bytes))),
        _ => Err(Error::Layout {
            found: bytes.len(),
            wanted,
        }),
    }
}
