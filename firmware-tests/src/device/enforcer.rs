//! What the emulated platform enforces on the device's DMA: the facts that the [`gate`](super::gate) decides on,
//! kept for all functions together, and the counts of its verdicts.

use super::FUNCTIONS;
use super::gate::{Access, Ground, RangeError, Ranges, Refusal, Standing, TdiState, decide};
use crate::platform::{FunctionCounters, RefusedAccess};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Facts and counts; shared by the functions, the security manager and the platform socket.
#[derive(Debug, Default)]
pub struct Enforcer {
    facts: RwLock<Facts>,
    counts: [Counts; FUNCTIONS],
}

/// What the gate decides on.
#[derive(Debug, Default)]
pub struct Facts {
    shared: Ranges,
    standings: [Standing; FUNCTIONS],
}

/// DMA is not to be enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "function {function} is {state}, or left the lock that was held; wanted RUN in that lock; hold the lock, ask the \
     device for its state, and enable DMA then"
)]
pub struct NotHeld {
    /// Which function.
    pub function: usize,
    /// Its state.
    pub state: TdiState,
}

/// Counts of one function.
#[derive(Debug, Default)]
struct Counts {
    allowed: AtomicU64,
    allowed_bytes: AtomicU64,
    refused: AtomicU64,
    last_refused: Mutex<Option<RefusedAccess>>,
    tx_packets: AtomicU64,
    rx_packets: AtomicU64,
}

/// A poisoned lock is taken over: every critical section here leaves the facts whole at each step.
fn ignore_poison<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Enforcer {
    /// The facts, held still: while the guard lives no page changes hands.
    pub fn facts(&self) -> RwLockReadGuard<'_, Facts> {
        ignore_poison(self.facts.read())
    }

    fn facts_mut(&self) -> RwLockWriteGuard<'_, Facts> {
        ignore_poison(self.facts.write())
    }

    /// The guest gave pages to the outside. When this returns the device may use them.
    pub fn share(&self, gpa: u64, len: u64) -> Result<(), RangeError> {
        self.facts_mut().shared.insert(gpa, len)
    }

    /// The guest took pages back. When this returns the device no longer touches them.
    pub fn unshare(&self, gpa: u64, len: u64) -> Result<(), RangeError> {
        self.facts_mut().shared.remove(gpa, len)
    }

    /// The TSM is about to ask, over its session, whether the lock that the interface is in is its own: from here on the
    /// gate remembers that lock, and [`Enforcer::enable_dma`] opens it for no other.
    pub fn hold(&self, function: usize) {
        if let Some(standing) = self.facts_mut().standings.get_mut(function) {
            standing.held = matches!(standing.state, TdiState::Locked | TdiState::Run);
        }
    }

    /// The TSM enables or disables a function's DMA to private memory. Enabling wants an interface in RUN that has not
    /// left the lock it was in at [`Enforcer::hold`]: a host could have locked it anew over a session of its own.
    pub fn enable_dma(&self, function: usize, enabled: bool) -> Result<(), NotHeld> {
        let mut facts = self.facts_mut();
        let Some(standing) = facts.standings.get_mut(function) else {
            return Ok(());
        };
        if enabled && !(standing.held && standing.state == TdiState::Run) {
            return Err(NotHeld {
                function,
                state: standing.state,
            });
        }
        standing.dma_enabled = enabled;
        Ok(())
    }

    /// The TSM is gone, and with it every share and every enable.
    pub fn drop_tsm(&self) {
        let mut facts = self.facts_mut();
        facts.shared.clear();
        for standing in &mut facts.standings {
            (standing.held, standing.dma_enabled) = (false, false);
        }
    }

    /// The state of a function's interface changed. An enable is for one run, and a hold for one lock: what comes back
    /// to RUN may be another's.
    pub fn set_state(&self, function: usize, state: TdiState) {
        if let Some(standing) = self.facts_mut().standings.get_mut(function) {
            standing.state = state;
            standing.dma_enabled &= state == TdiState::Run;
            standing.held &= matches!(state, TdiState::Locked | TdiState::Run);
        }
    }

    /// The driver programmed a function's queues; these are all of them.
    pub fn set_rings(&self, function: usize, rings: Ranges) {
        if let Some(standing) = self.facts_mut().standings.get_mut(function) {
            standing.rings = rings;
        }
    }

    /// The state of a function's interface.
    pub fn state(&self, function: usize) -> TdiState {
        self.facts().state(function)
    }

    /// Counts an allowed access.
    pub fn count_allowed(&self, function: usize, len: u64) {
        if let Some(counts) = self.counts.get(function) {
            counts.allowed.fetch_add(1, Ordering::Relaxed);
            counts.allowed_bytes.fetch_add(len, Ordering::Relaxed);
        }
    }

    /// Counts a refused access and keeps it as the last one.
    pub fn count_refused(&self, function: usize, access: Access, gpa: Option<u64>, why: Refusal) {
        let Some(counts) = self.counts.get(function) else {
            return;
        };
        counts.refused.fetch_add(1, Ordering::Relaxed);
        *last(&counts.last_refused) = Some(RefusedAccess {
            iova: access.iova,
            gpa,
            len: access.len,
            write: access.write,
            why: why.to_string(),
        });
    }

    /// Counts packets that went from (`tx`) and to (`rx`) the guest.
    pub fn count_packets(&self, function: usize, tx: u64, rx: u64) {
        if let Some(counts) = self.counts.get(function) {
            counts.tx_packets.fetch_add(tx, Ordering::Relaxed);
            counts.rx_packets.fetch_add(rx, Ordering::Relaxed);
        }
    }

    /// The counts of all functions.
    pub fn counters(&self) -> Vec<FunctionCounters> {
        let facts = self.facts();
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counters = |(function, counts): (usize, &Counts)| FunctionCounters {
            function: function as u8,
            state: facts.state(function).to_string(),
            dma_enabled: facts.standings[function].dma_enabled,
            allowed: get(&counts.allowed),
            allowed_bytes: get(&counts.allowed_bytes),
            refused: get(&counts.refused),
            last_refused: last(&counts.last_refused).clone(),
            tx_packets: get(&counts.tx_packets),
            rx_packets: get(&counts.rx_packets),
        };
        self.counts.iter().enumerate().map(counters).collect()
    }
}

fn last(slot: &Mutex<Option<RefusedAccess>>) -> MutexGuard<'_, Option<RefusedAccess>> {
    ignore_poison(slot.lock())
}

impl Facts {
    /// The gate's verdict on an access by `function`.
    pub fn decide(&self, function: usize, access: Access) -> Result<Ground, Refusal> {
        match self.standings.get(function) {
            Some(standing) => decide(access, &self.shared, standing),
            None => Err(Refusal::NotRunning(TdiState::Unlocked)),
        }
    }

    fn state(&self, function: usize) -> TdiState {
        self.standings
            .get(function)
            .map(|standing| standing.state)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Enforcer {
        let enforcer = Enforcer::default();
        enforcer.set_state(1, TdiState::Locked);
        enforcer.hold(1);
        enforcer.set_state(1, TdiState::Run);
        enforcer.enable_dma(1, true).unwrap();
        enforcer
    }

    #[test]
    fn what_left_run_and_came_back_has_no_dma() {
        for between in [TdiState::Unlocked, TdiState::Locked, TdiState::Error] {
            let enforcer = running();
            enforcer.set_state(1, between);
            assert!(!enforcer.counters()[1].dma_enabled, "{between}");
            enforcer.set_state(1, TdiState::Run);
            assert!(!enforcer.counters()[1].dma_enabled, "{between}, and back");
        }
    }

    #[test]
    fn dma_is_enabled_only_in_the_run_of_the_lock_that_was_held() {
        let enforcer = Enforcer::default();
        enforcer.hold(1);
        enforcer.set_state(1, TdiState::Locked);
        enforcer.set_state(1, TdiState::Run);
        assert!(
            enforcer.enable_dma(1, true).is_err(),
            "nothing was locked when it was held"
        );
        enforcer.hold(1);
        for state in [
            TdiState::Error,
            TdiState::Unlocked,
            TdiState::Locked,
            TdiState::Run,
        ] {
            enforcer.set_state(1, state);
            assert!(enforcer.enable_dma(1, true).is_err(), "{state}");
        }
        enforcer.hold(1);
        assert_eq!(enforcer.enable_dma(1, true), Ok(()));
        enforcer.drop_tsm();
        assert!(enforcer.enable_dma(1, true).is_err(), "a hold goes with its TSM");
        assert_eq!(enforcer.enable_dma(1, false), Ok(()), "closing is never refused");
    }
}
