//! Chooses when to close a connection during a drain, so that HAProxy does not lose an event.
//!
//! HAProxy never resends a NOTIFY that crosses our AGENT-DISCONNECT. The safe moment is right after an ACK that leaves nothing
//! in flight: HAProxy reads the ACK and the DISCONNECT together, and sends nothing in between.
//!
//! HAProxy up to 3.0 may have sent its next NOTIFY before it reads that ACK, because it reuses the applet that became idle last.
//! ACKs are therefore held back for a few milliseconds, until no NOTIFY has arrived for [`QUIET`].

use std::time::Duration;

use spoa_core::Instant;

use crate::shared::Drain;

/// The handover of one connection: the time from the start of the drain to its AGENT-DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parting {
    /// Closes the connection at this time if no ACK has offered a better moment.
    until: Instant,
    /// The end of the grace period.
    end: Instant,
    held: Option<Held>,
}

/// ACKs that are held back, to be sent together with AGENT-DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// They are sent at this time if no further NOTIFY arrives.
    quiet: Instant,
    /// They are sent at this time in any case.
    until: Instant,
}

/// How long no NOTIFY may arrive before held ACKs are sent together with AGENT-DISCONNECT.
const QUIET: Duration = Duration::from_millis(2);

/// The longest time that an ACK is held back.
const HELD_MAX: Duration = Duration::from_millis(10);

/// The outcome of a turn, before anything is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) time: Instant,
    /// True if output is waiting to be sent.
    pub(crate) unsent: bool,
    /// True if no NOTIFY is in flight and no partial frame is buffered.
    pub(crate) at_rest: bool,
    /// True if a NOTIFY arrived in this turn.
    pub(crate) asked: bool,
}

impl Parting {
    /// Starts the handover at `now`.
    pub(crate) fn new(now: Instant, drain: Drain) -> Self {
        Self { until: now + drain.patience.min(drain.grace), end: now + drain.grace, held: None }
    }

    /// True if the connection should be closed in this turn.
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

    /// True while ACKs are held back.
    pub(crate) const fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Returns the time of its next turn.
    pub(crate) fn due(&self, at_rest: bool) -> Instant {
        match self.held {
            Some(held) if at_rest => held.quiet.min(held.until),
            Some(held) => held.until,
            None => self.until,
        }
    }

    /// Returns the rest of the grace period.
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

    /// While a deferred answer is pending nothing is sent, and there is one turn, when the time is over.
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
