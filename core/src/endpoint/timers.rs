//! The timers of an endpoint: when each connection is due.

use alloc::collections::BTreeSet;

use crate::time::Instant;

/// At most one time per connection.
///
/// A time is changed only if the new one is earlier: most deadlines are never needed, and a connection that is woken too early
/// sets its timer again.
#[derive(Debug, Default)]
pub(super) struct Timers {
    armed: BTreeSet<(Instant, usize)>,
}

/// The armed time of one connection, which the connection stores.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Armed(Option<Instant>);

impl Timers {
    /// Arms the timer of connection `index`, so that it is due at `at` or earlier.
    #[inline]
    pub(super) fn arm(&mut self, index: usize, armed: &mut Armed, at: Option<Instant>) {
        let Some(at) = at else { return };
        if armed.0.is_none_or(|armed| at < armed) {
            self.disarm(index, armed);
            let is_new = self.armed.insert((at, index));
            debug_assert!(is_new, "a connection has one timer");
            armed.0 = Some(at);
        }
    }

    /// Removes the timer of connection `index`, which has ended.
    pub(super) fn disarm(&mut self, index: usize, armed: &mut Armed) {
        if let Some(at) = armed.0.take() {
            let was_armed = self.armed.remove(&(at, index));
            debug_assert!(was_armed, "a connection knows the time of its timer");
        }
    }

    /// Removes and returns a connection that is due at `now`. Its `Armed` has to be [cleared](Armed::clear).
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let &(at, index) = self.armed.first()?;
        if at > now {
            return None;
        }
        self.armed.pop_first();
        Some(index)
    }

    /// Returns the number of armed times.
    pub(super) fn len(&self) -> usize {
        self.armed.len()
    }

    /// Returns the earliest time.
    pub(super) fn first(&self) -> Option<Instant> {
        self.armed.first().map(|(at, _)| *at)
    }
}

impl Armed {
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    pub(super) const fn is_armed(self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Option<Instant> {
        Some(Instant::from_nanos(nanos))
    }

    #[test]
    fn a_time_only_comes_nearer() {
        let (mut timers, mut armed) = (Timers::default(), Armed::default());
        timers.arm(7, &mut armed, at(50));
        timers.arm(7, &mut armed, at(90));
        timers.arm(7, &mut armed, None);
        assert_eq!(timers.first(), at(50));
        timers.arm(7, &mut armed, at(20));
        assert_eq!((timers.first(), timers.armed.len()), (at(20), 1));
        assert_eq!(timers.pop_due(Instant::from_nanos(19)), None);
        assert_eq!(timers.pop_due(Instant::from_nanos(20)), Some(7));
        assert_eq!(timers.first(), None);
    }

    #[test]
    fn the_times_of_those_gone_are_forgotten() {
        let (mut timers, mut one, mut two) = (Timers::default(), Armed::default(), Armed::default());
        timers.arm(1, &mut one, at(5));
        timers.arm(2, &mut two, at(5));
        timers.disarm(1, &mut one);
        assert_eq!(timers.pop_due(Instant::from_nanos(9)), Some(2));
        assert_eq!(timers.pop_due(Instant::from_nanos(9)), None);
    }
}
