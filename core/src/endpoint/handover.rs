//! Chooses when to close a connection during a drain, so that HAProxy does not lose an event.
//!
//! HAProxy never resends a NOTIFY that crosses our AGENT-DISCONNECT. The safe moment is right after an ACK that leaves nothing
//! in flight: HAProxy reads the ACK and the DISCONNECT together, and sends nothing in between.
//!
//! HAProxy up to 3.0 may have sent its next NOTIFY before it reads that ACK, because it reuses the applet that became idle last.
//! ACKs are therefore held back for a few milliseconds, until no NOTIFY has arrived for [`QUIET`].

use core::time::Duration;

use crate::endpoint::Drain;
use crate::time::Instant;

/// The handover of one connection: the time from the start of the drain to its AGENT-DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handover {
    /// Closes the connection at this time if no ACK has offered a better moment.
    close_at: Instant,
    /// The end of the grace period.
    grace_end: Instant,
    held: Option<HeldAcks>,
}

/// ACKs that are held back, to be sent together with AGENT-DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HeldAcks {
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
pub(super) struct TurnSummary {
    pub(super) time: Instant,
    /// True if output is waiting to be sent.
    pub(super) unsent: bool,
    /// True if no NOTIFY is in flight and no partial frame is buffered.
    pub(super) is_idle: bool,
    /// True if a NOTIFY arrived in this turn.
    pub(super) notified: bool,
}

impl Handover {
    /// Starts the handover at `now`.
    pub(super) fn new(now: Instant, drain: Drain) -> Self {
        Self { close_at: now + drain.patience.min(drain.grace), grace_end: now + drain.grace, held: None }
    }

    /// True if the connection should be closed in this turn.
    pub(super) fn should_close(&mut self, turn: TurnSummary) -> bool {
        let TurnSummary { time, unsent, is_idle, notified } = turn;
        if unsent && is_idle && self.held.is_none() {
            self.held = Some(HeldAcks { quiet: time + QUIET, until: time + HELD_MAX });
        }
        debug_assert!(self.close_at <= self.grace_end, "a connection is closed within the grace period");
        let Some(held) = &mut self.held else { return time >= self.close_at };
        debug_assert!(unsent, "held ACKs wait to be sent");
        if notified {
            held.quiet = time + QUIET;
        }
        time >= held.until || is_idle && time >= held.quiet
    }

    /// True while ACKs are held back.
    pub(super) const fn holds_acks(&self) -> bool {
        self.held.is_some()
    }

    /// Returns the time of its next turn.
    pub(super) fn due(&self, is_idle: bool) -> Instant {
        match self.held {
            Some(held) if is_idle => held.quiet.min(held.until),
            Some(held) => held.until,
            None => self.close_at,
        }
    }

    /// Returns the rest of the grace period.
    pub(super) fn grace(&self, now: Instant) -> Duration {
        self.grace_end.saturating_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Drain = Drain { grace: Duration::from_secs(5), patience: Duration::from_secs(1) };

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn turn(millis: u64, unsent: bool, is_idle: bool, notified: bool) -> TurnSummary {
        TurnSummary { time: at(millis), unsent, is_idle, notified }
    }

    #[test]
    fn who_is_not_notified_ends_when_there_was_time_to() {
        let mut handover = Handover::new(at(0), DRAIN);
        assert_eq!(handover.due(true), at(1_000));
        assert!(!handover.should_close(turn(999, false, true, false)));
        assert!(handover.should_close(turn(1_000, false, true, false)));
        assert_eq!(handover.grace(at(1_000)), Duration::from_secs(4));
    }

    #[test]
    fn acks_are_held_until_nobody_asks() {
        let mut handover = Handover::new(at(0), DRAIN);
        assert!(!handover.should_close(turn(100, true, true, true)));
        assert!(handover.holds_acks());
        assert_eq!(handover.due(true), at(102));
        assert!(!handover.should_close(turn(101, true, true, true)));
        assert!(!handover.should_close(turn(102, true, true, false)));
        assert!(handover.should_close(turn(103, true, true, false)));
    }

    #[test]
    fn acks_are_not_held_for_long_whatever_comes() {
        let mut handover = Handover::new(at(0), DRAIN);
        assert!((100..110).all(|millis| !handover.should_close(turn(millis, true, true, true))));
        assert!(handover.should_close(turn(110, true, true, true)));
    }

    /// While a deferred answer is pending nothing is sent, and there is one turn, when the time is over.
    #[test]
    fn an_answer_that_is_still_to_come_does_not_keep_the_others() {
        let mut handover = Handover::new(at(0), DRAIN);
        assert!(!handover.should_close(turn(100, true, true, true)));
        assert!(!handover.should_close(turn(101, true, false, true)));
        assert_eq!(handover.due(false), at(110));
        assert!(!handover.should_close(turn(109, true, false, false)));
        assert!(handover.should_close(turn(110, true, false, false)));
        let mut waiting = Handover::new(at(0), DRAIN);
        assert!(!waiting.should_close(turn(100, true, false, true)), "with something in flight nothing is held");
        assert!(!waiting.holds_acks());
    }
}
