//! The input of a connection: bytes, and the end of the socket. `handle_timeout` is in [`deadlines`](super::deadlines).

use super::Connection;
use crate::event::CloseReason;
use crate::table::{Input, Step};
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
}
