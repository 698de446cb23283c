//! Time is given to a machine, never read by it.

use core::time::Duration;

/// A moment, as the time since a start that the caller chose. Only differences mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(Duration);

impl Instant {
    /// The caller's start.
    pub const START: Self = Self(Duration::ZERO);

    /// The moment `since_start` after the caller's start.
    pub const fn at(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `delay` later; the far end of time if that overflows.
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }
}

/// Seconds since 1970-01-01 UTC, for the validity of certificates; given by the caller, who says where it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_never_wraps() {
        let late = Instant::START.after(Duration::MAX).after(Duration::MAX);
        assert_eq!(late.since(Instant::START), Duration::MAX);
        assert_eq!(Instant::START.since(late), Duration::ZERO);
    }
}
