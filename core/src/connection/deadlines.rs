//! The deadlines of a connection: when each timer is due, and its step.

use super::{ABOVE_LIMIT, Connection, State};
use crate::error::PeerError;
use crate::event::{CloseReason, LocalReason};
use crate::status::Status;
use crate::table::{Step, Timer};
use crate::time::Instant;

impl Connection {
    /// Performs the actions that are due at `now`, if there are any.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
        let state = self.state.name();
        for timer in Timer::ALL {
            // A step that leads to another state ends the timers of this one.
            if self.state.name() == state && self.deadline(timer).is_some_and(|at| at <= self.now) {
                self.run_timer(timer);
            }
        }
        debug_assert!(self.in_flight.deadline().is_none_or(|at| at > self.now), "no NOTIFY in flight is overdue");
        self.invariants();
    }

    /// Takes the step of a timer that is due.
    fn run_timer(&mut self, timer: Timer) {
        match self.take_timer(timer) {
            Step::HelloTimeout if self.is_above_limit() => self.close(Some(Status::RESOURCE), ABOVE_LIMIT),
            Step::HelloTimeout => self.fail(PeerError::HelloTimeout),
            Step::Refuse => self.refuse(),
            Step::Expire => self.expire(),
            Step::CloseIdle => self.close(Some(Status::NORMAL), CloseReason::Local(LocalReason::Idle)),
            Step::FinishDrain => self.finish_drain(),
            Step::End => self.end(CloseReason::Local(LocalReason::SendTimeout)),
            _ => {}
        }
    }

    /// Sends an empty ACK for each overdue NOTIFY.
    fn expire(&mut self) {
        while let Some(slot) = self.in_flight.pop_expired(self.now) {
            self.outbox.empty_ack((slot.stream_id, slot.frame_id));
            self.outbox.stats.acks_expired += 1;
            self.last_active = self.now;
        }
    }

    /// Returns the time at which to call [`handle_timeout`](Self::handle_timeout) if nothing happens before. `None`
    /// means never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut first = None::<Instant>;
        self.each_deadline(|_, at| first = Some(first.map_or(at, |first| first.min(at))));
        first
    }

    /// Returns the deadline of a timer; `None` if it does not run.
    pub fn deadline(&self, timer: Timer) -> Option<Instant> {
        let mut found = None;
        self.each_deadline(|running, at| found = if running == timer { Some(at) } else { found });
        found
    }

    /// Calls `report` with each timer that runs, and its deadline. An array of all timers would cost 50 more instructions
    /// per read, because most of them do not run.
    #[inline]
    fn each_deadline(&self, mut report: impl FnMut(Timer, Instant)) {
        let mut report_if = |timer, at: Option<Instant>| {
            if let Some(at) = at {
                report(timer, at);
            }
        };
        match self.state {
            State::AwaitHello { until, .. } => report(Timer::Hello, until),
            State::Refusing { until, .. } => report(Timer::Refusal, until),
            State::Running { .. } => {
                report_if(Timer::Answer, self.in_flight.deadline());
                report_if(Timer::Send, self.send_deadline());
                report_if(Timer::Idle, self.idle_deadline());
            }
            State::Draining { until, .. } => {
                report_if(Timer::Answer, self.in_flight.deadline());
                report_if(Timer::Send, self.send_deadline());
                report(Timer::Grace, until);
            }
            State::Closing { until } => {
                report_if(Timer::Send, self.send_deadline());
                report(Timer::Linger, until);
            }
            State::Closed => {}
        }
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let timeout = self.config.idle_timeout?;
        let quiet = self.in_flight.len() == 0 && !self.has_frame() && self.outbox.send.unsent() == 0;
        quiet.then(|| self.last_active + timeout)
    }

    fn send_deadline(&self) -> Option<Instant> {
        (self.outbox.send.unsent() > 0).then(|| self.last_sent + self.config.send_timeout)
    }
}
