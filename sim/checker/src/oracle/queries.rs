//! The state of a connection, for comparison with the agent: what it waits for, and what it holds.

use super::{Oracle, State};
use crate::counts::Counts;

impl Oracle {
    /// Returns the bytes that the agent has to send.
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// True if the agent has to read. It stops when its receive buffer is full.
    pub fn wants_input(&self) -> bool {
        let room = 2 * (4 + self.limits.max_frame_size as usize);
        self.state != State::Closed && self.input.len() - self.parsed < room
    }

    /// True once the socket can be closed.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// True once the conversation has ended and its last byte was sent.
    pub fn is_send_finished(&self) -> bool {
        matches!(self.state, State::Closing { .. } | State::Closed) && self.output().is_empty()
    }

    /// True if no memory is needed: for no partial frame, unsent byte, NOTIFY in flight or fragment.
    pub fn holds_nothing(&self) -> bool {
        let is_all_parsed = self.parsed == self.input.len();
        is_all_parsed && self.output().is_empty() && self.in_flight.is_empty() && !self.fragments.is_open()
    }

    /// True if no NOTIFY is in flight and no frame, partial frame or fragment is buffered.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.parsed == self.input.len() && !self.fragments.is_open()
    }

    /// True if the connection is refused, and the AGENT-DISCONNECT is still to come.
    pub fn is_refusing(&self) -> bool {
        matches!(self.state, State::Refusing { .. })
    }

    /// True if the conversation has ended, whether or not its last bytes were sent.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Closing { .. } | State::Closed)
    }

    /// True if the connection holds bytes until HAProxy acts: part of a frame, fragments or unsent bytes.
    pub fn waits_for_peer(&self) -> bool {
        self.waits_for_input() || !self.output().is_empty()
    }

    /// True if the connection holds part of a frame, or fragments of an incomplete NOTIFY, until more bytes arrive.
    pub fn waits_for_input(&self) -> bool {
        (self.unprocessed() > 0 || self.fragments.is_open()) && !self.holds_frame()
    }

    /// True between the first and the last fragment of a NOTIFY.
    pub fn is_reassembling(&self) -> bool {
        self.fragments.is_open()
    }

    /// Returns the number of bytes that the agent has read and not parsed.
    pub fn unprocessed(&self) -> usize {
        self.input.len() - self.parsed
    }

    /// True if a NOTIFY has arrived that a limit holds back.
    pub fn is_held_back(&self) -> bool {
        self.is_at_limit() && self.is_notify_next() && self.holds_frame()
    }

    /// True if a NOTIFY has arrived that only the limit of all connections holds back.
    pub fn needs_permit(&self) -> bool {
        let is_held = self.is_limit_reached && self.state == State::Running;
        is_held && !self.is_at_own_limit() && self.is_notify_next() && self.holds_frame()
    }

    /// Returns the total payload of the NOTIFYs in flight, in bytes.
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight.iter().map(|notify| notify.payload_len).sum()
    }

    /// True if the NOTIFY with this index is in flight.
    pub fn is_in_flight(&self, index: u64) -> bool {
        self.in_flight.iter().any(|notify| notify.index == index)
    }

    /// Returns the number of deferred NOTIFYs in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Returns the number of actions that did not fit into their ACKs.
    pub const fn dropped_actions(&self) -> usize {
        self.dropped_actions
    }

    /// Returns the most bytes that the buffers may have for input, output, NOTIFYs in flight and fragments.
    pub const fn memory_max(&self) -> [usize; 4] {
        self.limits.memory_max()
    }

    /// Returns the counters.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the name of the state, for failures.
    pub fn state(&self) -> &'static str {
        match self.state {
            State::Hello { .. } => "hello",
            State::Refusing { .. } => "refusing",
            State::Running => "running",
            State::Draining { .. } => "draining",
            State::Closing { .. } => "closing",
            State::Closed => "closed",
        }
    }

    /// True if input is parsed in this state. In the other states it is dropped.
    pub(super) fn parses_input(&self) -> bool {
        matches!(self.state, State::Hello { .. } | State::Running | State::Draining { .. })
    }

    /// True if a limit does not allow another NOTIFY now.
    pub(super) fn is_at_limit(&self) -> bool {
        // A connection that drains is not subject to the limit of all connections: it declines NOTIFYs immediately.
        self.is_limit_reached && self.state == State::Running || self.is_at_own_limit()
    }

    /// True if a limit of this connection does not allow another NOTIFY now.
    pub(super) fn is_at_own_limit(&self) -> bool {
        if matches!(self.state, State::Hello { .. }) {
            return false;
        }
        let in_flight_max = if self.pipelining { self.limits.in_flight_max as usize } else { 1 };
        self.in_flight.len() >= in_flight_max
            || self.in_flight_bytes() >= self.limits.deferred_max as usize
            || self.output().len() >= self.limits.unsent_max as usize
    }

    /// True if the next frame is a NOTIFY or a fragment of one, or if its type has not arrived yet.
    pub(super) fn is_notify_next(&self) -> bool {
        matches!(self.input[self.parsed..].get(4), None | Some(0 | 3))
    }

    /// True if the next frame has arrived whole, or its length is invalid.
    pub(super) fn holds_frame(&self) -> bool {
        let unparsed = &self.input[self.parsed..];
        unparsed.first_chunk::<4>().is_some_and(|length| {
            let length = u32::from_be_bytes(*length);
            !(7..=self.max_frame_size).contains(&length) || unparsed.len() - 4 >= length as usize
        })
    }
}
