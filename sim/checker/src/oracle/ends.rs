//! The ends of a connection, and of the NOTIFYs in flight.

use super::{End, Oracle, Reason, State};
use crate::codec;

impl Oracle {
    /// Ends the conversation because of an error of HAProxy.
    pub(super) fn fail(&mut self, code: u32) {
        self.close(Some(code), Reason::Error(code));
    }

    /// Ends the conversation: sends AGENT-DISCONNECT with the code `sent`, if there is one, and reports `reported`.
    pub(super) fn close(&mut self, sent: Option<u32>, reported: Reason) {
        if let Some(code) = sent {
            codec::disconnect(code, &mut self.output);
        }
        self.cancel(End::Reason(reported));
        self.state = State::Closing { until: self.now + self.limits.send_timeout };
    }

    /// Closes the connection immediately. Unsent bytes are dropped.
    pub(super) fn terminate(&mut self, end: End) {
        if self.state == State::Closed {
            return;
        }
        self.cancel(end);
        self.output.clear();
        self.sent = 0;
        self.state = State::Closed;
    }

    /// Cancels the NOTIFYs in flight and reports the end, unless the conversation has already ended.
    pub(super) fn cancel(&mut self, end: End) {
        if !matches!(self.state, State::Closing { .. } | State::Closed) {
            self.end = Some(end);
        }
        self.in_flight.clear();
        self.fragments.forget();
        self.forget_input();
    }

    pub(super) fn forget_input(&mut self) {
        self.input.clear();
        self.parsed = 0;
    }
}
