//! Keeps a flood of bad peers from becoming a flood of log lines.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::text::Count;

/// Lines that a worker may log in each [`PERIOD`].
const LINES_MAX: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// Counts the lines of the current period. Lines above the limit are counted, and reported with the next line that passes.
/// Clones share the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogLimit(Rc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    since: Cell<Option<Instant>>,
    lines: Cell<u32>,
    suppressed: Cell<u64>,
}

impl LogLimit {
    /// True if a line may be logged now.
    pub(crate) fn allows(&self) -> bool {
        self.allows_at(Instant::now())
    }

    fn allows_at(&self, now: Instant) -> bool {
        let Counts { since, lines, suppressed } = &*self.0;
        if since.get().is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            since.set(Some(now));
            lines.set(0);
            match suppressed.take() {
                0 => {}
                suppressed => tracing::warn!(suppressed, "{} like these not logged", Count(suppressed, "more line")),
            }
        }
        let allowed = lines.get() < LINES_MAX;
        if allowed {
            lines.set(lines.get() + 1);
        } else {
            suppressed.set(suppressed.get() + 1);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_ten_lines_a_second() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        assert_eq!((0..100).filter(|_| limit.allows_at(at(5))).count(), 10);
        assert!(!limit.allows_at(at(1004)));
        assert!(limit.clone().allows_at(at(1005)));
        assert_eq!(limit.0.suppressed.get(), 0);
    }
}
