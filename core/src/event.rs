//! The events of a connection.

use bytes::Bytes;

use crate::ack::Ack;
use crate::error::PeerError;
use crate::handshake::Negotiated;
use crate::in_flight::{InFlight, Ticket};
use crate::outbox::Outbox;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::{FrameId, Messages, StreamId};

/// An event that a connection reports to its caller.
#[derive(Debug)]
pub enum Event<'c> {
    /// The HELLO was accepted, and NOTIFYs may follow. A health check does not cause this event.
    Ready {
        /// The negotiated frame size and capabilities.
        negotiated: Negotiated,
        /// HAProxy's id for its SPOE filter (since 3.1) or for a thread of it (up to 3.0). Several connections share an
        /// id, so use it only in logs.
        engine_id: Option<&'c [u8]>,
    },
    /// A NOTIFY arrived.
    Notify(Notify<'c>),
    /// The conversation has ended, and NOTIFYs in flight are cancelled. This is the last event, and reported once.
    ///
    /// Bytes may still have to be sent. Keep the socket until [`is_closed`](crate::Connection::is_closed) is true.
    Closed(CloseReason),
}

/// A NOTIFY: the messages of one event, answered by one ACK.
///
/// Answer it immediately with [`ack`](Self::ack), or [`defer`](Self::defer) the answer. If it is dropped, an empty ACK
/// is sent.
#[derive(Debug)]
pub struct Notify<'c> {
    pub(crate) ids: (StreamId, FrameId),
    /// The encoded messages, checked to the last byte.
    pub(crate) payload: &'c [u8],
    /// The number of messages in the payload.
    pub(crate) messages: u32,
    pub(crate) outbox: &'c mut Outbox,
    pub(crate) in_flight: &'c mut InFlight,
    pub(crate) deadline: Instant,
}

impl<'c> Notify<'c> {
    /// Returns the size of the largest allowed ACK, in bytes without its length.
    pub const fn max_frame_size(&self) -> u32 {
        self.outbox.max_frame_size
    }

    /// Returns the id of HAProxy's stream. Different connections may use the same ids: HAProxy's
    /// multiplexer numbers the streams of each connection separately.
    pub const fn stream_id(&self) -> StreamId {
        self.ids.0
    }

    /// Returns the id of the event within its stream.
    pub const fn frame_id(&self) -> FrameId {
        self.ids.1
    }

    /// Returns the messages, borrowed from the buffers of the connection.
    pub const fn messages(&self) -> Messages<'c> {
        Messages::of_checked(self.payload, self.messages)
    }

    /// Returns the encoded messages, borrowed from the buffers of the connection.
    pub const fn payload(&self) -> &'c [u8] {
        self.payload
    }

    /// Copies the messages, for an answer that is deferred beyond this event.
    pub fn to_owned(&self) -> OwnedMessages {
        OwnedMessages { payload: Bytes::copy_from_slice(self.payload), messages: self.messages }
    }

    /// Begins an immediate answer.
    #[inline]
    pub fn ack(self) -> Ack<'c> {
        debug_assert_eq!(self.outbox.open, Some(self.ids), "only the NOTIFY of the last event is answered at once");
        Ack::begin(self.outbox, self.ids)
    }

    /// Defers the answer. Give the ticket to [`Connection::ack`](crate::Connection::ack) to answer; tickets may be used
    /// in any order.
    ///
    /// After [`ack_timeout`](crate::Config::ack_timeout) an empty ACK is sent and the ticket becomes void.
    pub fn defer(self) -> Ticket {
        debug_assert_eq!(self.outbox.open, Some(self.ids), "only the NOTIFY of the last event is deferred");
        self.outbox.open = None;
        self.in_flight.insert(self.ids, self.payload.len(), self.deadline)
    }
}

/// An owned copy of the messages of a NOTIFY. Clones share the same copy.
#[derive(Clone, Debug)]
pub struct OwnedMessages {
    payload: Bytes,
    messages: u32,
}

impl OwnedMessages {
    /// Returns the messages.
    pub fn messages(&self) -> Messages<'_> {
        Messages::of_checked(&self.payload, self.messages) // the payload of a NOTIFY is checked before it is handed out
    }
}

/// The reason why a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// A health check was answered.
    HealthCheck,
    /// HAProxy sent HAPROXY-DISCONNECT with this status. Our AGENT-DISCONNECT echoes it if SPOE.txt defines it, and has
    /// code 99 otherwise.
    Peer(Status),
    /// The agent ended the conversation, by a call of its caller or because of a limit.
    Local(LocalReason),
    /// The peer violated the protocol.
    Error(PeerError),
    /// The socket ended without a DISCONNECT. HAProxy always closes this way since 3.1, and up to 3.0 when it stops.
    Eof {
        /// The number of deferred NOTIFYs without an answer.
        in_flight: usize,
        /// True if bytes that were not processed yet were in the receive buffer, usually part of a frame.
        unprocessed: bool,
    },
}

/// The reason why the agent ended a conversation although the peer had not violated the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalReason {
    /// [`disconnect`](crate::Connection::disconnect) was called.
    Requested,
    /// The connection was created as [rejected](crate::Connection::rejected), because it is above a limit.
    ConnectionLimit,
    /// The HELLO was a health check, and health checks are [refused](crate::Config::refuse_healthchecks).
    HealthCheckRefused,
    /// [`notify_max`](crate::Config::notify_max) was reached.
    NotifyMax,
    /// The connection was idle for [`idle_timeout`](crate::Config::idle_timeout).
    Idle,
    /// The socket accepted no bytes for [`send_timeout`](crate::Config::send_timeout). The unsent bytes were dropped.
    SendTimeout,
    /// [`shed`](crate::Connection::shed) was called.
    NoMemory,
    /// The connection had never sent a NOTIFY, and gave way to another above the limit of connections.
    Evicted,
}
