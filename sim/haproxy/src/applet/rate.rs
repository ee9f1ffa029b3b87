//! Events a second, as `src/freq_ctr.c` counts them.

use crate::time::{MILLISECOND, Time};

const PERIOD_MS: u64 = 1000;

/// A counter over the current period and the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    start_ms: u64,
    current: u64,
    past: u64,
}

impl Rate {
    pub(super) fn add(&mut self, now: Time, count: u64) {
        let now_ms = now / MILLISECOND;
        let since = now_ms - self.start_ms.min(now_ms);
        if since >= PERIOD_MS {
            self.past = if since < 2 * PERIOD_MS { self.current } else { 0 };
            self.start_ms = if since < 2 * PERIOD_MS { self.start_ms + PERIOD_MS } else { now_ms };
            self.current = 0;
        }
        self.current += count;
    }

    /// The share of the last period that is still within a second, and all of the current one.
    pub(super) fn read(&self, now: Time) -> u32 {
        let since = (now / MILLISECOND).saturating_sub(self.start_ms);
        let (current, past, left) = match since / PERIOD_MS {
            0 => (self.current, self.past, PERIOD_MS - since),
            1 => (0, self.current, 2 * PERIOD_MS - since),
            _ => (0, 0, 0),
        };
        // "flapping correction": a lone event of the last period counts in full.
        if current == 0 && past <= 1 {
            return past as u32;
        }
        ((past * left + current * PERIOD_MS) / PERIOD_MS) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    #[test]
    fn a_burst_fades_over_two_periods() {
        let mut rate = Rate::default();
        assert_eq!(rate.read(0), 0);
        rate.add(0, 100);
        assert_eq!(rate.read(999 * MILLISECOND), 100);
        assert_eq!(rate.read(1500 * MILLISECOND), 50);
        assert_eq!(rate.read(2 * SECOND), 0);
        rate.add(1500 * MILLISECOND, 1);
        assert_eq!(rate.read(1500 * MILLISECOND), 51);
        rate.add(9 * SECOND, 2);
        assert_eq!(rate.read(9 * SECOND), 2);
    }
}
