//! Bounds the lines per second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The lines of the current second. Workers count them, because a background thread that resets the count might run late.
pub(crate) struct Rate {
    /// The lines per second; `None` for no limit.
    max: Option<u64>,
    start: Instant,
    /// The second since the start in the upper half, and the lines in it in the lower half.
    used: AtomicU64,
}

impl Rate {
    pub(crate) fn new(max: Option<u64>) -> Self {
        Self { max, start: Instant::now(), used: AtomicU64::new(0) }
    }

    /// Counts a line. Returns false if it is above the rate.
    pub(crate) fn allows(&self) -> bool {
        self.max.is_none_or(|max| self.allows_at(self.start.elapsed().as_secs(), max))
    }

    fn allows_at(&self, second: u64, max: u64) -> bool {
        let next = |used: u64| {
            let lines = if used >> 32 == second & 0xffff_ffff { used & 0xffff_ffff } else { 0 };
            (lines < max.min(0xffff_ffff)).then_some(second << 32 | (lines + 1))
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_lines() {
        let rate = Rate::new(Some(2));
        let allowed = |second| (0..4).filter(|_| rate.allows_at(second, 2)).count();
        assert_eq!([0, 0, 1, 7].map(allowed), [2, 0, 2, 2]);
        assert!((0..9).all(|_| Rate::new(None).allows()));
    }
}
