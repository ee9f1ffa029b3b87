//! The polls of a connection: events, bytes to send, and how many of them were sent.

use core::ops::Range;

use super::{Connection, State};
use crate::error::PeerError;
use crate::event::{CloseReason, Event, Notify};
use crate::handshake::Negotiated;
use crate::table::{Input, Step, Timer};
use crate::time::Instant;
use crate::wire::{FrameId, HaproxyHello, StreamId};

/// An event as byte ranges instead of borrows, returned by [`Connection::advance`].
pub(super) enum EventRanges {
    Ready { negotiated: Negotiated, hello: Range<usize> },
    Notify { ids: (StreamId, FrameId), payload: Payload, messages: u32 },
    Closed(CloseReason),
}

/// The location of the payload of a NOTIFY.
pub(super) enum Payload {
    /// In the receive buffer.
    Recv(Range<usize>),
    /// In the reassembly buffer.
    Reassembled,
}

impl Connection {
    /// Returns the next event, if there is one. Call it again until it returns `None`.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        self.settle();
        let (ids, payload, messages) = match self.advance()? {
            EventRanges::Ready { negotiated, hello } => {
                let hello = HaproxyHello::decode(self.recv.bytes(hello)).expect("this HELLO was decoded before");
                return Some(Event::Ready { negotiated, engine_id: hello.engine_id });
            }
            EventRanges::Closed(reason) => return Some(Event::Closed(reason)),
            EventRanges::Notify { ids, payload, messages } => (ids, payload, messages),
        };
        debug_assert!(self.outbox.open.is_none(), "the NOTIFY of the last event was answered");
        debug_assert!(self.in_flight.len() < self.config.in_flight_max, "a NOTIFY that is handed out can be deferred");
        self.outbox.open = Some(ids);
        let payload = match payload {
            Payload::Recv(range) => self.recv.bytes(range),
            Payload::Reassembled => self.reassembly.payload(),
        };
        Some(Event::Notify(Notify {
            ids,
            payload,
            messages,
            outbox: &mut self.outbox,
            in_flight: &mut self.in_flight,
            deadline: self.now + self.config.ack_timeout,
        }))
    }

    /// Returns the whole frames to send, if there are any. Report with [`transmitted`](Self::transmitted) how many
    /// bytes the socket accepted.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        self.settle();
        match self.outbox.send.bytes() {
            [] => None,
            bytes => Some(bytes),
        }
    }

    /// Reports that the socket accepted the first `len` bytes of [`poll_transmit`](Self::poll_transmit).
    ///
    /// # Panics
    /// If `len` is larger than what [`poll_transmit`](Self::poll_transmit) returned.
    pub fn transmitted(&mut self, now: Instant, len: usize) {
        self.tick(now);
        self.outbox.send.sent(len);
        if len > 0 {
            self.last_sent = self.now;
        }
        if let State::Closing { until } = &mut self.state
            && self.outbox.send.unsent() == 0
        {
            *until = self.now + self.config.linger;
        }
        self.invariants();
    }

    /// Processes the received frames up to the next event.
    #[inline]
    fn advance(&mut self) -> Option<EventRanges> {
        loop {
            if self.closed.is_some() {
                return self.closed.take().map(EventRanges::Closed);
            }
            if !self.parses_input() || self.holds_back() {
                return None;
            }
            match self.recv.next_frame(self.outbox.max_frame_size) {
                Ok(Some(range)) => {
                    if let Some(event) = self.handle_frame(range) {
                        return Some(event);
                    }
                }
                Ok(None) => {
                    if matches!(self.state, State::Draining { .. }) && self.in_flight.len() == 0 {
                        self.take_timer(Timer::Grace);
                        self.finish_drain();
                    }
                    self.closed?;
                }
                Err(error) => self.malformed(error),
            }
        }
    }

    /// Ends the conversation because of bytes that are not a frame, in states that process frames.
    pub(super) fn malformed(&mut self, error: PeerError) {
        if self.take(Input::Malformed) == Step::Fail {
            self.fail(error);
        }
    }
}
