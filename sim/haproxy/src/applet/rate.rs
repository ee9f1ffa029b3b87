//! Counts events per second as `src/freq_ctr.c` does.

use crate::time::{MILLISECOND, Time};

const PERIOD_MS: u64 = 1000;

/// Counts the events of the current period and of the previous one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    start_ms: u64,
    current: u64,
    previous: u64,
}

impl Rate {
    pub(super) fn add(&mut self, now: Time, count: u64) {
        let now_ms = now / MILLISECOND;
        let since = now_ms - self.start_ms.min(now_ms);
        if since >= PERIOD_MS {
            self.previous = if since < 2 * PERIOD_MS { self.current } else { 0 };
            self.start_ms = if since < 2 * PERIOD_MS { self.start_ms + PERIOD_MS } else { now_ms };
            self.current = 0;
        }
        self.current += count;
    }

    /// Returns the events of the last second: all of the current period, and a share of the previous one.
    pub(super) fn read(&self, now: Time) -> u32 {
        let since = (now / MILLISECOND).saturating_sub(self.start_ms);
        let (current, previous, remaining_ms) = match since / PERIOD_MS {
            0 => (self.current, self.previous, PERIOD_MS - since),
            1 => (0, self.current, 2 * PERIOD_MS - since),
            _ => (0, 0, 0),
        };
        // HAProxy's "flapping correction": a single event in the previous period counts in full.
        if current == 0 && previous <= 1 {
            return previous as u32;
        }
        ((previous * remaining_ms + current * PERIOD_MS) / PERIOD_MS) as u32
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
