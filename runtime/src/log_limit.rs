//! Keeps a flood of bad peers from becoming a flood of log lines.

use std::cell::Cell;
use std::time::Duration;

use spoa_core::Instant;

/// Lines a worker may log in each [`PERIOD`].
const LINES_MAX: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// Counts the lines of the current period; those above the limit are counted and told with the next one that passes.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    since: Cell<Option<Instant>>,
    lines: Cell<u32>,
    suppressed: Cell<u64>,
}

impl LogLimit {
    /// True if a line may be logged at `now`.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        if self.since.get().is_none_or(|since| now.saturating_since(since) >= PERIOD) {
            self.since.set(Some(now));
            self.lines.set(0);
            match self.suppressed.take() {
                0 => {}
                lines => tracing::warn!("{lines} more lines like these were left out"),
            }
        }
        let allowed = self.lines.get() < LINES_MAX;
        if allowed {
            self.lines.set(self.lines.get() + 1);
        } else {
            self.suppressed.set(self.suppressed.get() + 1);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_ten_lines_a_second() {
        let limit = LogLimit::default();
        let at = |millis: u64| Instant::ZERO + Duration::from_millis(millis);
        assert_eq!((0..100).filter(|_| limit.allows(at(5))).count(), 10);
        assert!(!limit.allows(at(1004)));
        assert!(limit.allows(at(1005)));
        assert_eq!(limit.suppressed.get(), 0);
    }
}
