//! The deadlines of a connection.

use super::{End, NEVER_DUE, Oracle, Reason, State};
use crate::codec;

impl Oracle {
    /// Input: the agent handles the deadlines that have passed.
    pub fn timeout(&mut self, now: u64) {
        self.tick(now);
        match self.state {
            State::Hello { until, is_above_limit: true } if until <= now => {
                self.close(Some(13), Reason::ConnectionLimit);
            }
            State::Hello { until, .. } if until <= now => self.fail(2),
            State::Refusing { code, reported, until } if until <= now => self.close(Some(code), reported),
            State::Running | State::Draining { .. } => self.expire(),
            State::Closing { until } if until.min(self.stalled_at()) <= now => {
                self.terminate(End::Reason(Reason::SendTimeout));
            }
            _ => {}
        }
    }

    /// Returns the time at which the agent has to handle timeouts if nothing happens before; `None` for never.
    pub fn deadline(&self) -> Option<u64> {
        let own = match self.state {
            State::Closed => return None,
            State::Hello { until, .. } | State::Refusing { until, .. } | State::Closing { until } => until,
            State::Running => self.idle_at(),
            State::Draining { until, .. } => until,
        };
        let answers = self.in_flight.iter().map(|notify| notify.deadline).min().unwrap_or(NEVER_DUE);
        let first = own.min(answers).min(self.stalled_at());
        (first != NEVER_DUE).then_some(first)
    }

    /// Sends an empty ACK for each overdue NOTIFY, and closes the connection if a deadline of the connection has
    /// passed.
    fn expire(&mut self) {
        while let Some(at) = self.in_flight.iter().position(|notify| notify.deadline <= self.now) {
            let notify = self.in_flight.remove(at);
            self.counts.acks += 1;
            self.counts.acks_expired += 1;
            codec::frame(103, 1, notify.ids, &mut self.output, |_| {});
            self.last_active = self.now;
        }
        if self.stalled_at() <= self.now {
            self.terminate(End::Reason(Reason::SendTimeout));
            return;
        }
        let (close_at, reported) = match self.state {
            State::Running => (self.idle_at(), Reason::Idle),
            State::Draining { until, reported } => (until, reported),
            _ => return,
        };
        if close_at <= self.now {
            self.close(Some(0), reported);
        }
    }

    /// Returns the time at which the idle timeout ends.
    fn idle_at(&self) -> u64 {
        let is_idle = !self.holds_frame() && self.output().is_empty() && self.in_flight.is_empty();
        if self.limits.idle_timeout > 0 && is_idle { self.last_active + self.limits.idle_timeout } else { NEVER_DUE }
    }

    /// Returns the time at which the send timeout ends.
    fn stalled_at(&self) -> u64 {
        if self.output().is_empty() { NEVER_DUE } else { self.last_sent + self.limits.send_timeout }
    }
}
