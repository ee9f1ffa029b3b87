//! Points in time, which the caller provides: the core has no clock.

use core::ops::Add;
use core::time::Duration;

/// A point in time, in nanoseconds since a zero that the caller chooses. It covers 584 years.
///
/// The core never reads a clock. The caller of a [`Connection`](crate::Connection) maps its own clock to this type and
/// passes in values that never decrease. A value below an earlier one is treated as that earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The zero that the caller chose.
    pub const ZERO: Self = Self(0);

    /// Returns the point in time `nanos` nanoseconds after the zero.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the zero.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to `self`, or zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Adds a duration. The sum saturates at the largest value, so that a deadline in the far future never wraps to the
/// past.
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
    fn a_difference_saturates_at_zero() {
        assert_eq!(Instant::ZERO.saturating_since(Instant::from_nanos(5)), Duration::ZERO);
        assert_eq!(Instant::from_nanos(5).saturating_since(Instant::ZERO), Duration::from_nanos(5));
    }
}
