//! Time as the core knows it: a number that the caller hands in.

use core::ops::Add;
use core::time::Duration;

/// A point in time, in nanoseconds since a zero that the caller chooses (584 years fit).
///
/// The core never looks at a clock. Whoever drives a [`Connection`](crate::Connection) maps its own clock onto this
/// type and hands in values that never go backwards; a value below the last one is read as the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The caller's zero.
    pub const ZERO: Self = Self(0);

    /// The point `nanos` nanoseconds after the zero.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the zero.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates at the end of time instead of wrapping: a far deadline stays far.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_saturates() {
        assert_eq!(Instant::from_nanos(u64::MAX - 1) + Duration::from_secs(1), Instant::from_nanos(u64::MAX));
        assert_eq!(Instant::ZERO + Duration::MAX, Instant::from_nanos(u64::MAX));
        assert_eq!((Instant::ZERO + Duration::from_millis(2)).as_nanos(), 2_000_000);
    }

    #[test]
    fn since_is_never_negative() {
        assert_eq!(Instant::ZERO.saturating_since(Instant::from_nanos(5)), Duration::ZERO);
        assert_eq!(Instant::from_nanos(5).saturating_since(Instant::ZERO), Duration::from_nanos(5));
    }
}
