//! The input of a connection: bytes, the end of the socket, and the time.

use super::{ABOVE_LIMIT, Connection};
use crate::error::PeerError;
use crate::event::{CloseReason, LocalReason};
use crate::status::Status;
use crate::table::{Input, Step, Timer};
use crate::time::Instant;

impl Connection {
    /// Returns the buffer for bytes from the socket. If it is empty, do not read now: unread bytes make the peer wait.
    ///
    /// It is empty while the receive buffer is full, with frames that were not polled yet or that a limit holds back,
    /// and once the connection is closed. Otherwise bytes are accepted even at a limit, because the end of the peer's
    /// bytes is only noticed by reading.
    ///
    /// The buffer is not zeroed: it may contain bytes from earlier input and, after
    /// [`lend_buffers`](Self::lend_buffers), from other connections.
    pub fn recv_buf(&mut self) -> &mut [u8] {
        if self.wants_input() { self.recv.space() } else { &mut [] }
    }

    /// Reports that the first `len` bytes of [`recv_buf`](Self::recv_buf) were filled.
    ///
    /// # Panics
    /// If `len` is larger than that buffer.
    pub fn handle_input(&mut self, now: Instant, len: usize) {
        self.tick(now);
        if len > 0 && self.is_idle() {
            // The first bytes of a frame count as activity once. Otherwise a frame that never completes would keep an
            // idle connection open.
            self.last_active = self.now;
        }
        self.recv.filled(len);
        if !self.parses_input() {
            self.recv.clear();
        }
        self.invariants();
    }

    /// Reports that the peer will send no more, or that the socket failed (ECONNRESET, EPIPE). SPOP does not
    /// distinguish the two.
    ///
    /// HAProxy does not read after it has closed its side, so nothing more is sent, and the NOTIFYs in flight are
    /// cancelled.
    pub fn handle_eof(&mut self, now: Instant) {
        self.tick(now);
        if self.take(Input::Eof) == Step::End {
            let reason = CloseReason::Eof { in_flight: self.in_flight.len(), unprocessed: !self.recv.is_empty() };
            self.end(reason);
        }
        debug_assert!(self.is_closed(), "after the end of the socket nothing is sent or received");
        self.invariants();
    }

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
}
