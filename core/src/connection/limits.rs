//! The limits that hold NOTIFYs back, and which side has to act next.

use super::{Connection, State};
use crate::wire::{Capabilities, FrameType};

/// The reason why a connection cannot go on with what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The reason why input is not processed.
    pub input: InputWait,
    /// True if there are bytes to send that the socket has not accepted yet.
    pub output: bool,
    /// True between the first and the last fragment of a NOTIFY.
    pub is_reassembling: bool,
}

/// The reason why input is not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputWait {
    /// There is none, or it can be processed now.
    Nothing,
    /// Part of a frame, or fragments of an incomplete NOTIFY, are held until more bytes arrive.
    Peer,
    /// A NOTIFY is buffered, and only [`hold_back`](Connection::hold_back) prevents handing it out.
    Permit,
    /// A NOTIFY is buffered, and a limit of this connection prevents handing it out.
    Limit,
}

impl Blocked {
    /// True if a NOTIFY is buffered and only [`hold_back`](Connection::hold_back) prevents handing it out.
    pub const fn needs_permit(self) -> bool {
        matches!(self.input, InputWait::Permit)
    }

    /// True if a NOTIFY is buffered and not handed out, for either reason.
    pub const fn is_held_back(self) -> bool {
        matches!(self.input, InputWait::Permit | InputWait::Limit)
    }

    /// True if the connection holds bytes until the peer acts: sends more or reads.
    pub const fn waits_for_peer(self) -> bool {
        matches!(self.input, InputWait::Peer) || self.output
    }
}

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

    /// Returns what the connection is waiting for before it can go on with what it holds.
    pub fn blocked(&self) -> Blocked {
        let input = match self.has_frame() {
            true if !self.holds_back() => InputWait::Nothing,
            true if self.is_at_limit() => InputWait::Limit,
            true => InputWait::Permit,
            false if self.recv.is_empty() && !self.reassembly.is_pending() => InputWait::Nothing,
            false => InputWait::Peer,
        };
        Blocked { input, output: self.outbox.send.unsent() > 0, is_reassembling: self.reassembly.is_pending() }
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
