//! Converts between the clocks of the machine and of the core.

use std::time::{Duration, Instant};

/// Maps the monotonic clock to the clock of the core, which starts at zero when this is created.
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

    /// Returns the machine's time at `at`. A time that the machine cannot represent becomes a year after the start.
    pub(crate) fn std_time(&self, at: spoa_core::Instant) -> Instant {
        self.zero
            .checked_add(Duration::from_nanos(at.as_nanos()))
            .unwrap_or(self.zero + Duration::from_secs(365 * 24 * 3600))
    }
}
