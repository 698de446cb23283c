//! The DMA gate: which guest memory the device may touch. It stands in for what a platform's page ownership table
//! and IOMMU enforce together (on AMD: RMP and TEE-IO aware IOMMU), and is pure: facts in, verdict out.
//!
//! ```text
//!   access (iova, gpa, len, write)
//!     │ interface in ERROR?  ───────────────────────────── yes ─► refused
//!     │ inside a queue that the driver gave the device?  ─ yes ─► allowed (coherent memory, shared by the driver)
//!     │ inside pages that the guest made shared?  ──────── yes ─► allowed
//!     │ interface in RUN and DMA enabled by the TSM?  ──── yes ─► allowed
//!     ▼
//!   refused: the page is private
//! ```
//! Before this question stands another, the address translation: an address that the vIOMMU does not map never
//! gets here ([`super::dma`]). A page is private until told otherwise.

use std::collections::BTreeMap;

/// Disjoint, merged ranges of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>); // start → end, exclusive

/// The number of disjoint ranges kept, so that a hostile teller cannot exhaust memory.
pub const RANGES_MAX: usize = 65_536;

/// A range that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Empty, or its end wraps around.
    #[error("range {start:#x}+{len:#x} is empty or wraps around: give a length of at least 1 within 64 bits")]
    Malformed {
        /// First address.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// [`RANGES_MAX`] disjoint ranges are there already.
    #[error("{RANGES_MAX} disjoint ranges are kept already: merge or remove some first")]
    Full,
}

impl Ranges {
    /// Adds a range, merging it with what it touches.
    pub fn insert(&mut self, start: u64, len: u64) -> Result<(), RangeError> {
        let (mut start, mut end) = bounds(start, len)?;
        while let Some((other, other_end)) = self.last_before(end) {
            if other_end < start {
                break;
            }
            self.0.remove(&other);
            (start, end) = (start.min(other), end.max(other_end));
        }
        if self.0.len() >= RANGES_MAX {
            return Err(RangeError::Full);
        }
        self.0.insert(start, end);
        Ok(())
    }

    /// Removes a range, splitting what it cuts. On an error nothing is removed.
    pub fn remove(&mut self, start: u64, len: u64) -> Result<(), RangeError> {
        let (start, end) = bounds(start, len)?;
        let splits = |(other, other_end)| other < start && end < other_end;
        if self.0.len() >= RANGES_MAX && self.last_before(start).is_some_and(splits) {
            return Err(RangeError::Full);
        }
        while let Some((other, other_end)) = self.last_before(end - 1) {
            if other_end <= start {
                break;
            }
            self.0.remove(&other);
            if end < other_end {
                self.0.insert(end, other_end);
            }
            if other < start {
                self.0.insert(other, start);
            }
        }
        Ok(())
    }

    /// Whether every address of a non-empty range is inside.
    pub fn covers(&self, start: u64, len: u64) -> bool {
        let Ok((start, end)) = bounds(start, len) else {
            return false;
        };
        self.last_before(start).is_some_and(|(_, covered)| end <= covered)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The last range that starts at or before `at`.
    fn last_before(&self, at: u64) -> Option<(u64, u64)> {
        self.0.range(..=at).next_back().map(|(start, end)| (*start, *end))
    }
}

fn bounds(start: u64, len: u64) -> Result<(u64, u64), RangeError> {
    let end = start.checked_add(len).filter(|_| len > 0);
    Ok((start, end.ok_or(RangeError::Malformed { start, len })?))
}

/// An interface's TDISP state, as the device's security manager has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TdiState {
    /// CONFIG_UNLOCKED.
    #[default]
    Unlocked,
    /// CONFIG_LOCKED.
    Locked,
    /// RUN.
    Run,
    /// ERROR.
    Error,
}

impl std::fmt::Display for TdiState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unlocked => "unlocked",
            Self::Locked => "locked",
            Self::Run => "run",
            Self::Error => "error",
        })
    }
}

/// One access, within one mapping: `iova` is what the device says, `gpa` what the IOMMU made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Address in the device's space.
    pub iova: u64,
    /// Guest physical address.
    pub gpa: u64,
    /// Bytes.
    pub len: u64,
    /// Whether memory would change.
    pub write: bool,
}

/// What is known of one function.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// State of its interface.
    pub state: TdiState,
    /// Whether it is still in the lock that the TSM holds.
    pub held: bool,
    /// Whether the TSM has enabled its DMA.
    pub dma_enabled: bool,
    /// The queues that its driver programmed, in the device's address space.
    pub rings: Ranges,
}

/// Why an access was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// It is inside a queue that the driver programmed.
    Ring,
    /// The guest made the pages shared.
    Shared,
    /// The interface runs and the TSM has enabled its DMA.
    Trusted,
}

/// Why an access was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The interface is in ERROR, which blocks all its DMA.
    #[error("the interface is in ERROR, which blocks all its DMA")]
    InError,
    /// The page is private and the interface does not run.
    #[error("the page is private and the interface is {0}, not running")]
    NotRunning(TdiState),
    /// The page is private and the TSM has not enabled the interface's DMA.
    #[error("the page is private and the TSM has not enabled DMA for this interface")]
    NotEnabled,
    /// The vIOMMU maps nothing there.
    #[error("no mapping covers the address")]
    NotMapped,
    /// The vIOMMU maps it, but not for this direction.
    #[error("the mapping does not allow this direction")]
    Direction,
    /// An index that is accessed as one value lies at an odd address.
    #[error("an index lies at an odd address")]
    Misaligned,
}

/// Decides about one access. `shared` holds guest physical addresses.
pub fn decide(access: Access, shared: &Ranges, standing: &Standing) -> Result<Ground, Refusal> {
    if standing.state == TdiState::Error {
        return Err(Refusal::InError);
    }
    if standing.rings.covers(access.iova, access.len) {
        return Ok(Ground::Ring);
    }
    if shared.covers(access.gpa, access.len) {
        return Ok(Ground::Shared);
    }
    match (standing.state, standing.dma_enabled) {
        (TdiState::Run, true) => Ok(Ground::Trusted),
        (TdiState::Run, false) => Err(Refusal::NotEnabled),
        (state, _) => Err(Refusal::NotRunning(state)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACCESS: Access = Access {
        iova: 0xf000_0000,
        gpa: 0x1000,
        len: 0x100,
        write: true,
    };

    #[track_caller]
    fn check(
        state: TdiState,
        dma_enabled: bool,
        shared: bool,
        ring: bool,
        expected: Result<Ground, Refusal>,
    ) {
        let (mut shares, mut rings) = (Ranges::default(), Ranges::default());
        if shared {
            shares.insert(0x1000, 0x1000).unwrap();
        }
        if ring {
            rings.insert(0xf000_0000, 0x100).unwrap();
        }
        let standing = Standing {
            state,
            held: dma_enabled,
            dma_enabled,
            rings,
        };
        assert_eq!(decide(ACCESS, &shares, &standing), expected);
    }

    #[test]
    fn a_private_page_is_reached_only_by_a_running_and_enabled_interface() {
        use TdiState::*;
        for (state, enabled, expected) in [
            (Unlocked, false, Err(Refusal::NotRunning(Unlocked))),
            (Unlocked, true, Err(Refusal::NotRunning(Unlocked))),
            (Locked, true, Err(Refusal::NotRunning(Locked))),
            (Run, false, Err(Refusal::NotEnabled)),
            (Run, true, Ok(Ground::Trusted)),
            (Error, true, Err(Refusal::InError)),
        ] {
            check(state, enabled, false, false, expected);
        }
    }

    #[test]
    fn shared_pages_and_rings_are_reached_in_every_state_but_error() {
        for state in [TdiState::Unlocked, TdiState::Locked, TdiState::Run] {
            check(state, false, true, false, Ok(Ground::Shared));
            check(state, false, false, true, Ok(Ground::Ring));
        }
        check(TdiState::Error, true, true, true, Err(Refusal::InError));
    }

    #[test]
    fn an_access_that_leaves_the_shared_pages_is_refused_as_a_whole() {
        let mut shares = Ranges::default();
        shares.insert(0x1000, 0x80).unwrap();
        let verdict = decide(ACCESS, &shares, &Standing::default());
        assert_eq!(verdict, Err(Refusal::NotRunning(TdiState::Unlocked)));
    }

    #[test]
    fn malformed_ranges_are_refused() {
        let mut ranges = Ranges::default();
        assert!(ranges.insert(5, 0).is_err() && ranges.insert(u64::MAX, 2).is_err());
        assert!(ranges.remove(5, 0).is_err() && !ranges.covers(5, 0) && !ranges.covers(u64::MAX, 2));
    }

    #[test]
    fn neither_insertions_nor_removals_make_more_ranges_than_the_most() {
        let mut ranges = Ranges::default();
        ranges.insert(0, 1 << 40).unwrap();
        let holes = (1..).map(|index| ranges.remove(index * 2, 1));
        assert_eq!(holes.take_while(Result::is_ok).count(), RANGES_MAX - 1);
        assert_eq!(ranges.insert(1 << 50, 1), Err(RangeError::Full));
        assert_eq!(ranges.insert(2, 1), Ok(()), "what closes a hole is taken");
    }

    proptest! {
        /// Ranges behave as a set of addresses does, whatever the order of insertions and removals.
        #[test]
        fn ranges_are_a_set_of_addresses(steps in prop::collection::vec((any::<bool>(), 0u64..64, 1u64..24), 0..40)) {
            let (mut ranges, mut set) = (Ranges::default(), [false; 96]);
            for (insert, start, len) in steps {
                let result = if insert { ranges.insert(start, len) } else { ranges.remove(start, len) };
                prop_assert_eq!(result, Ok(()));
                set[start as usize..(start + len) as usize].fill(insert);
            }
            for start in 0..90u64 {
                for len in 1..6u64 {
                    let expected = set[start as usize..(start + len) as usize].iter().all(|in_it| *in_it);
                    prop_assert_eq!(ranges.covers(start, len), expected, "{}+{} in {:?}", start, len, ranges);
                }
            }
            // Merged: no range touches the next.
            let all: Vec<_> = ranges.0.iter().collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
