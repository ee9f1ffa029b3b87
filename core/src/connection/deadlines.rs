//! The deadlines of a connection, by timer.

use super::{Connection, State};
use crate::table::Timer;
use crate::time::Instant;

impl Connection {
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

    /// Calls `report` with each timer that runs, and its deadline. An array of all timers would cost 50 instructions per read
    /// more, because most of them do not run.
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
