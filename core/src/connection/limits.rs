//! What keeps a NOTIFY from being handed out, and who has to go on.

use super::{Connection, State};
use crate::wire::{Capabilities, FrameType};

impl Connection {
    /// Takes no NOTIFY while `on`, as at [`in_flight_max`](crate::Config::in_flight_max): for limits that many connections share.
    ///
    /// What is in flight goes on, other frames are taken, and the socket is read until the receive buffer is full.
    #[inline]
    pub const fn hold(&mut self, on: bool) {
        self.on_hold = on;
    }

    /// True if a NOTIFY is there that nothing but [`hold`](Self::hold) keeps from being handed out.
    pub fn is_on_hold(&self) -> bool {
        self.is_held_back() && !self.is_at_limit()
    }

    /// True if a NOTIFY is there that is not handed out, for one of its own limits is reached or it is on hold.
    pub fn is_held_back(&self) -> bool {
        self.holds_back() && self.has_frame()
    }

    /// True if it keeps bytes until its peer goes on: part of a frame, fragments, or what the peer does not read.
    pub fn waits_for_peer(&self) -> bool {
        let part = !self.recv.is_empty() && !self.has_frame();
        part || self.reassembly.is_pending() || self.outbox.send.unsent() > 0
    }

    /// True while it is [on hold](Self::hold) or a limit is reached (too much unsent, or as many NOTIFYs in flight as may be,
    /// by number or size) and a NOTIFY is next, or nothing is known to be. Other frames need no room: a DISCONNECT is answered
    /// whatever is in work, unless NOTIFYs that wait were sent before it.
    pub(super) fn holds_back(&self) -> bool {
        // On the way out no NOTIFY takes a place.
        let on_hold = self.on_hold && matches!(self.state, State::Running { .. });
        (on_hold || self.is_at_limit())
            && matches!(self.recv.next_type(), None | Some(FrameType::NOTIFY | FrameType::UNSET))
    }

    /// True while one of its own limits is reached.
    fn is_at_limit(&self) -> bool {
        let Some(negotiated) = self.negotiated() else { return false };
        let pipelining = negotiated.capabilities.contains(Capabilities::PIPELINING);
        let in_flight_max = if pipelining { self.config.in_flight_max } else { 1 };
        self.in_flight.len() >= in_flight_max
            || self.in_flight.bytes() >= self.config.deferred_max
            || self.outbox.send.unsent() >= self.config.unsent_max
    }

    pub(super) fn has_frame(&self) -> bool {
        self.recv.has_frame(self.outbox.max_frame_size)
    }
}
