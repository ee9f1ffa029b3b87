//! The state of a conversation, and the changes that the [table](crate::table) allows.

use super::Connection;
use crate::error::PeerError;
use crate::event::{CloseReason, LocalReason};
use crate::handshake::Negotiated;
use crate::status::Status;
use crate::table::{Input, StateName, Step, Timer, step, timer_step};
use crate::time::Instant;
use crate::wire::Capabilities;

/// The states of the [table](crate::table), each with its own data.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    AwaitHello {
        until: Instant,
        /// The connection is above a limit, and only answers a health check.
        is_above_limit: bool,
    },
    Refusing {
        status: Status,
        reason: CloseReason,
        until: Instant,
    },
    Running {
        negotiated: Negotiated,
    },
    Draining {
        negotiated: Negotiated,
        reason: LocalReason,
        until: Instant,
    },
    Closing {
        until: Instant,
    },
    Closed,
}

impl State {
    pub(super) const fn name(&self) -> StateName {
        match self {
            Self::AwaitHello { .. } => StateName::AwaitHello,
            Self::Refusing { .. } => StateName::Refusing,
            Self::Running { .. } => StateName::Running,
            Self::Draining { .. } => StateName::Draining,
            Self::Closing { .. } => StateName::Closing,
            Self::Closed => StateName::Closed,
        }
    }
}

impl Connection {
    /// Begins the step for an input.
    #[inline]
    pub(super) fn take(&mut self, input: Input) -> Step {
        self.step = step(self.state.name(), input);
        self.step
    }

    /// Begins the step for a timer that is due.
    pub(super) fn take_timer(&mut self, timer: Timer) -> Step {
        self.step = timer_step(self.state.name(), timer);
        self.step
    }

    /// Enters a state, to which the step in progress has to lead. Nothing else assigns one.
    pub(super) fn enter(&mut self, state: State) {
        let (from, to) = (self.state.name(), state.name());
        debug_assert!(self.step.next(from).contains(to), "{:?} in {from:?} does not lead to {to:?}", self.step);
        self.state = state;
    }

    pub(super) fn drain(&mut self, reason: LocalReason, until: Instant) {
        match &mut self.state {
            State::Running { negotiated } => {
                debug_assert!(until >= self.now, "a grace period ends in the future");
                let negotiated = *negotiated;
                self.enter(State::Draining { negotiated, reason, until });
            }
            State::Draining { until: earlier, .. } => *earlier = until.min(*earlier),
            _ => {}
        }
    }

    /// Ends a drain.
    pub(super) fn finish_drain(&mut self) {
        if let State::Draining { reason, .. } = self.state {
            self.close(Some(Status::NORMAL), CloseReason::Local(reason));
        }
    }

    pub(super) fn refuse(&mut self) {
        if let State::Refusing { status, reason, .. } = self.state {
            self.close(Some(status), reason);
        }
    }

    pub(super) fn fail(&mut self, error: PeerError) {
        self.close(Some(error.status()), CloseReason::Error(error));
    }

    /// Ends the conversation, with an AGENT-DISCONNECT if there is a status, and leaves HAProxy time to read the last
    /// bytes.
    pub(super) fn close(&mut self, status: Option<Status>, reason: CloseReason) {
        debug_assert!(!matches!(self.state, State::Closing { .. } | State::Closed), "a conversation ends once");
        if let Some(status) = status {
            self.outbox.send.disconnect(status);
        }
        self.cancel(reason);
        self.enter(State::Closing { until: self.now + self.config.send_timeout });
    }

    /// Ends the conversation without sending anything more: the socket can be closed.
    pub(super) fn end(&mut self, reason: CloseReason) {
        self.cancel(reason);
        self.outbox.send.clear();
        self.enter(State::Closed);
    }

    fn cancel(&mut self, reason: CloseReason) {
        debug_assert!(!self.is_closed(), "a connection that is closed stays closed");
        if !matches!(self.state, State::Closing { .. } | State::Closed) {
            debug_assert!(self.closed.is_none(), "an end is reported once");
            self.closed = Some(reason);
        }
        self.in_flight.clear();
        self.reassembly.clear();
        self.recv.clear();
    }

    /// True in the states that process frames. In the others input is dropped.
    pub(super) const fn parses_input(&self) -> bool {
        matches!(self.state, State::AwaitHello { .. } | State::Running { .. } | State::Draining { .. })
    }

    /// True if the connection is above a limit, and has not sent its HELLO yet.
    pub(super) const fn is_above_limit(&self) -> bool {
        matches!(self.state, State::AwaitHello { is_above_limit: true, .. })
    }

    pub(super) fn takes_fragments(&self) -> bool {
        self.negotiated().is_some_and(|n| n.capabilities.contains(Capabilities::FRAGMENTATION))
    }

    pub(super) const fn negotiated(&self) -> Option<&Negotiated> {
        match &self.state {
            State::Running { negotiated } | State::Draining { negotiated, .. } => Some(negotiated),
            _ => None,
        }
    }
}
