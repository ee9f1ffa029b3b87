//! The limits that hold NOTIFYs back, and the queries that tell a caller which side has to act next.

use super::{Connection, State};
use crate::wire::{Capabilities, FrameType};

impl Connection {
    /// Holds NOTIFYs back while `on` is true, as if [`in_flight_max`](crate::Config::in_flight_max) were reached. This
    /// is for limits that many connections share.
    ///
    /// NOTIFYs in flight can still be answered, other frames are processed, and the socket is read until the receive
    /// buffer is full.
    #[inline]
    pub const fn hold_back(&mut self, on: bool) {
        self.on_hold = on;
    }

    /// True if a NOTIFY is buffered and only [`hold_back`](Self::hold_back) prevents handing it out.
    pub fn needs_permit(&self) -> bool {
        self.is_held_back() && !self.is_at_limit()
    }

    /// True if a NOTIFY is buffered and not handed out, because of [`hold_back`](Self::hold_back) or because a limit of this
    /// connection is reached.
    pub fn is_held_back(&self) -> bool {
        self.holds_back() && self.has_frame()
    }

    /// True if the connection holds bytes until the peer acts: part of a frame, fragments of an incomplete NOTIFY, or
    /// bytes to send that the socket has not accepted yet.
    pub fn waits_for_peer(&self) -> bool {
        self.waits_for_input() || self.outbox.send.unsent() > 0
    }

    /// True if the connection holds part of a frame, or fragments of an incomplete NOTIFY, until more bytes arrive. A whole frame
    /// that is held back is not waited for.
    pub fn waits_for_input(&self) -> bool {
        (!self.recv.is_empty() || self.reassembly.is_pending()) && !self.has_frame()
    }

    /// True between the first and the last fragment of a NOTIFY.
    pub const fn is_reassembling(&self) -> bool {
        self.reassembly.is_pending()
    }

    /// Returns the number of received bytes that were not processed yet.
    pub const fn unprocessed(&self) -> usize {
        self.recv.len()
    }

    /// True while NOTIFYs are held back and the next frame is a NOTIFY, a fragment of one, or of a type that is not
    /// known yet.
    ///
    /// NOTIFYs are held back by [`hold_back`](Self::hold_back) and by the limits of this connection: unsent bytes, and the number
    /// and payload of the NOTIFYs in flight. Other frames need no room, so a DISCONNECT is answered even at a limit,
    /// unless NOTIFYs that are held back precede it.
    pub(super) fn holds_back(&self) -> bool {
        // A drain declines NOTIFYs immediately, so they do not count against shared limits.
        let on_hold = self.on_hold && matches!(self.state, State::Running { .. });
        (on_hold || self.is_at_limit())
            && matches!(self.recv.next_type(), None | Some(FrameType::NOTIFY | FrameType::UNSET))
    }

    /// True while a limit of this connection is reached.
    fn is_at_limit(&self) -> bool {
        let Some(negotiated) = self.negotiated() else { return false };
        let pipelining = negotiated.capabilities.contains(Capabilities::PIPELINING);
        let in_flight_max = if pipelining { self.config.in_flight_max } else { 1 };
        self.in_flight.len() >= in_flight_max
            || self.in_flight.bytes() >= self.config.deferred_max
            || self.outbox.send.unsent() >= self.config.unsent_max
    }

    /// True if a whole frame, or an invalid length, is buffered.
    pub(super) fn has_frame(&self) -> bool {
        self.recv.has_frame(self.outbox.max_frame_size)
    }
}
