//! The commands of the caller of a connection.

use core::time::Duration;

use super::{Connection, State};
use crate::ack::Ack;
use crate::buffers::Buffers;
use crate::event::{CloseReason, LocalReason};
use crate::in_flight::Ticket;
use crate::status::Status;
use crate::table::{Input, Step};
use crate::time::Instant;

/// The reason why a [`Ticket`] is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The deadline has passed, and an empty ACK was sent.
    #[error("the deadline of this NOTIFY has passed; an empty ACK was sent")]
    Expired,
    /// The conversation has ended.
    #[error("the connection of this NOTIFY is closed")]
    Closed,
}

impl Connection {
    /// Drains the connection: waits up to `grace` for the answers to the NOTIFYs in flight, then sends AGENT-DISCONNECT
    /// with code 0. NOTIFYs that arrive in the meantime get an empty ACK.
    ///
    /// Before the HELLO an AGENT-DISCONNECT with code 13 is sent immediately. Another call can only shorten the grace
    /// period.
    pub fn disconnect(&mut self, now: Instant, grace: Duration) {
        self.tick(now);
        match self.take(Input::Stop) {
            Step::Drain => self.drain(LocalReason::Requested, self.now + grace),
            Step::Reject => self.close(Some(Status::RESOURCE), CloseReason::Local(LocalReason::Requested)),
            Step::Refuse => self.refuse(),
            _ => {}
        }
        debug_assert!(!matches!(self.state, State::Running { .. }), "a connection that is told to end drains");
        self.invariants();
    }

    /// Ends the conversation immediately to free memory, and cancels the NOTIFYs in flight.
    ///
    /// An AGENT-DISCONNECT with code 13 is sent unless earlier bytes are still unsent. In that case they are dropped,
    /// and the socket can be closed.
    pub fn shed(&mut self, now: Instant) {
        self.give_up(now, LocalReason::NoMemory);
    }

    /// Ends the conversation immediately to make room for another connection, as [`shed`](Self::shed) does.
    pub fn evict(&mut self, now: Instant) {
        self.give_up(now, LocalReason::Evicted);
    }

    fn give_up(&mut self, now: Instant, reason: LocalReason) {
        self.tick(now);
        let reason = CloseReason::Local(reason);
        match self.take(Input::Shed) {
            Step::Shed if self.outbox.send.unsent() == 0 => self.close(Some(Status::RESOURCE), reason),
            Step::Shed | Step::End => self.end(reason),
            Step::Refuse => self.refuse(),
            _ => {}
        }
        debug_assert!(matches!(self.state, State::Closing { .. } | State::Closed), "the conversation has ended");
        self.invariants();
    }

    /// Begins the ACK of a deferred NOTIFY.
    ///
    /// # Errors
    /// The ticket is void: its deadline has passed, or the conversation has ended.
    pub fn ack(&mut self, now: Instant, ticket: Ticket) -> Result<Ack<'_>, TicketError> {
        self.tick(now);
        let closed = matches!(self.state, State::Closing { .. } | State::Closed);
        let void = if closed { TicketError::Closed } else { TicketError::Expired };
        let slot = self.in_flight.remove(ticket).ok_or(void)?;
        debug_assert!(!closed, "a NOTIFY is in flight only during the conversation");
        debug_assert!(self.outbox.open.is_none(), "the NOTIFY of the last event was answered");
        self.last_active = self.now;
        Ok(Ack::begin(&mut self.outbox, (slot.stream_id, slot.frame_id)))
    }

    /// Takes the buffers that this connection does not have from `spare`. Call this each time before the connection is
    /// served. Without this call the connection allocates its own buffers.
    ///
    /// No buffer larger than the limits of this connection is taken, so [`Config::memory_max`](crate::Config::memory_max) still holds.
    #[inline]
    pub fn lend_buffers(&mut self, spare: &mut Buffers) {
        self.recv.lend(&mut spare.recv);
        self.outbox.send.lend(&mut spare.send);
        self.in_flight.lend(&mut spare.slots);
    }

    /// Moves every buffer that is not in use to `spare`, which keeps the larger of two buffers. Call this each time
    /// after the connection was served.
    #[inline]
    pub fn release_buffers(&mut self, spare: &mut Buffers) {
        self.settle();
        self.recv.release(&mut spare.recv);
        self.outbox.send.release(&mut spare.send);
        self.in_flight.release(&mut spare.slots);
        debug_assert!(self.usage().memory.total() == 0 || self.is_in_use(), "buffers that are not in use are released");
        self.invariants();
    }
}
