//! The core's time from the machine's clock.

use std::time::{Duration, Instant};

/// Maps the monotonic clock onto the core's, whose zero is when this was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { zero: Instant::now() }
    }

    pub(crate) fn now(&self) -> spoa_core::Instant {
        spoa_core::Instant::ZERO + self.zero.elapsed()
    }

    /// The machine's time at `at`; a time so far that it cannot be told is a year from the zero.
    pub(crate) fn std_time(&self, at: spoa_core::Instant) -> Instant {
        self.zero
            .checked_add(Duration::from_nanos(at.as_nanos()))
            .unwrap_or(self.zero + Duration::from_secs(365 * 24 * 3600))
    }
}
