//! The state of a connection, for its caller.

use super::{Connection, State};
use crate::event::CloseReason;
use crate::in_flight::TicketId;
use crate::memory::Memory;
use crate::stats::Stats;
use crate::table::StateName;

/// The resources that a connection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The heap memory of each buffer. None exceeds its limit in
    /// [`Config::memory_max_by_buffer`](crate::Config::memory_max_by_buffer), nor their sum
    /// [`Config::memory_max`](crate::Config::memory_max).
    pub memory: Memory,
    /// The number of deferred NOTIFYs in flight.
    pub in_flight: usize,
    /// The total payload of the deferred NOTIFYs in flight, in bytes. Handlers may hold a copy of it.
    pub in_flight_bytes: usize,
    /// The number of received bytes that were not processed yet.
    pub unprocessed: usize,
}

impl Connection {
    /// True if there are bytes to send.
    pub fn has_output(&self) -> bool {
        self.outbox.send.unsent() > 0
    }

    /// True while the ticket with this id can still be answered. Once it is false, work on the answer can be cancelled.
    pub fn is_live(&self, ticket: TicketId) -> bool {
        self.in_flight.contains(ticket)
    }

    /// True if the socket should be read. While it is false, [`recv_buf`](Self::recv_buf) is empty.
    pub fn wants_input(&self) -> bool {
        match self.state {
            State::Closed => false,
            _ => !self.recv.is_full(),
        }
    }

    /// True if no deferred NOTIFY is in flight and no frame, partial frame or fragment is buffered.
    ///
    /// At such a moment an AGENT-DISCONNECT is least likely to cross a NOTIFY, which would then be lost. The safest
    /// such moment is right after an ACK was finished, before it is sent.
    pub fn is_idle(&self) -> bool {
        self.in_flight.len() == 0 && self.recv.is_empty() && !self.reassembly.is_pending()
    }

    /// True once the conversation has ended and our last byte was sent: shut down the socket for writing, and continue
    /// to read.
    pub fn is_send_finished(&self) -> bool {
        matches!(self.state, State::Closing { .. } | State::Closed) && self.outbox.send.unsent() == 0
    }

    /// True once the socket can be closed.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Returns the state of the conversation.
    pub const fn state(&self) -> StateName {
        self.state.name()
    }

    /// Returns why the connection is refused, until the refusal is sent. If HAProxy closes before that, the connection
    /// ends with [`CloseReason::Eof`] and not with this reason.
    pub const fn refusal(&self) -> Option<CloseReason> {
        match self.state {
            State::Refusing { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Returns the counters of this connection.
    pub const fn stats(&self) -> Stats {
        self.outbox.stats
    }

    /// Returns what the connection holds now.
    #[inline]
    pub fn usage(&self) -> Usage {
        Usage {
            memory: Memory {
                recv: self.recv.memory(),
                send: self.outbox.send.memory(),
                in_flight: self.in_flight.memory(),
                reassembly: self.reassembly.memory(),
            },
            in_flight: self.in_flight.len(),
            in_flight_bytes: self.in_flight.bytes(),
            unprocessed: self.recv.len(),
        }
    }
}
