//! When a connection of an agent that goes is best ended.

use std::time::Duration;

use spoa_core::Instant;

use crate::shared::Drain;

/// A connection that is to end without losing an event: behind an ACK with which nothing is in flight any more. HAProxy reads
/// both together, and sends nothing in between, which would be lost.
///
/// HAProxy up to 3.0 may have sent another NOTIFY by the time it reads that: of several applets it takes the one that became
/// free last. So ACKs are held for some milliseconds, until it is silent: all that ask wait for one of them, or there are as
/// many in flight on this connection as it ever sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parting {
    /// When it ends without an ACK: nobody asks on it.
    until: Instant,
    /// When the grace period is over.
    end: Instant,
    held: Option<Held>,
}

/// ACKs that are held for the end to go with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// When nothing more has come for long enough.
    quiet: Instant,
    /// When they go in any case.
    until: Instant,
}

/// How long HAProxy has to be silent, ...
const QUIET: Duration = Duration::from_millis(2);

/// ... and how long an ACK may be held for that.
const HELD_MAX: Duration = Duration::from_millis(10);

/// What a turn has come to, before anything is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) time: Instant,
    /// Something waits to be sent.
    pub(crate) unsent: bool,
    /// Nothing is in flight, and nothing of a next frame has come.
    pub(crate) at_rest: bool,
    /// A NOTIFY has come.
    pub(crate) asked: bool,
}

impl Parting {
    /// From `now` on.
    pub(crate) fn new(now: Instant, drain: Drain) -> Self {
        Self { until: now + drain.patience.min(drain.grace), end: now + drain.grace, held: None }
    }

    /// True if it is to end in this turn.
    pub(crate) fn is_over(&mut self, now: Now) -> bool {
        let Now { time, unsent, at_rest, asked } = now;
        if unsent && at_rest && self.held.is_none() {
            self.held = Some(Held { quiet: time + QUIET, until: time + HELD_MAX });
        }
        let Some(held) = &mut self.held else { return time >= self.until };
        if asked {
            held.quiet = time + QUIET;
        }
        time >= held.until || at_rest && time >= held.quiet
    }

    /// True while nothing is to be sent.
    pub(crate) const fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// When it has to have its turn.
    pub(crate) fn due(&self, at_rest: bool) -> Instant {
        match self.held {
            Some(held) if at_rest => held.quiet.min(held.until),
            Some(held) => held.until,
            None => self.until,
        }
    }

    /// What is left of the grace period.
    pub(crate) fn grace(&self, now: Instant) -> Duration {
        self.end.saturating_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Drain = Drain { grace: Duration::from_secs(5), patience: Duration::from_secs(1) };

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn turn(millis: u64, unsent: bool, at_rest: bool, asked: bool) -> Now {
        Now { time: at(millis), unsent, at_rest, asked }
    }

    #[test]
    fn who_is_not_asked_ends_when_there_was_time_to() {
        let mut parting = Parting::new(at(0), DRAIN);
        assert_eq!(parting.due(true), at(1_000));
        assert!(!parting.is_over(turn(999, false, true, false)));
        assert!(parting.is_over(turn(1_000, false, true, false)));
        assert_eq!(parting.grace(at(1_000)), Duration::from_secs(4));
    }

    #[test]
    fn acks_are_held_until_nobody_asks() {
        let mut parting = Parting::new(at(0), DRAIN);
        assert!(!parting.is_over(turn(100, true, true, true)));
        assert!(parting.holds());
        assert_eq!(parting.due(true), at(102));
        assert!(!parting.is_over(turn(101, true, true, true)));
        assert!(!parting.is_over(turn(102, true, true, false)));
        assert!(parting.is_over(turn(103, true, true, false)));
    }

    #[test]
    fn acks_are_not_held_for_long_whatever_comes() {
        let mut parting = Parting::new(at(0), DRAIN);
        assert!((100..110).all(|millis| !parting.is_over(turn(millis, true, true, true))));
        assert!(parting.is_over(turn(110, true, true, true)));
    }

    /// A handler that answers later is at work: nothing is sent, and the turn comes once, at the end of that.
    #[test]
    fn an_answer_that_is_still_to_come_does_not_keep_the_others() {
        let mut parting = Parting::new(at(0), DRAIN);
        assert!(!parting.is_over(turn(100, true, true, true)));
        assert!(!parting.is_over(turn(101, true, false, true)));
        assert_eq!(parting.due(false), at(110));
        assert!(!parting.is_over(turn(109, true, false, false)));
        assert!(parting.is_over(turn(110, true, false, false)));
        let mut waiting = Parting::new(at(0), DRAIN);
        assert!(!waiting.is_over(turn(100, true, false, true)), "with something in flight nothing is held");
        assert!(!waiting.holds());
    }
}
