//! What a connection tells its driver.

use bytes::Bytes;

use crate::ack::Ack;
use crate::error::PeerError;
use crate::handshake::Negotiated;
use crate::in_flight::{InFlight, Ticket};
use crate::outbox::Outbox;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::{FrameId, Messages, StreamId};

/// What happened on a connection.
#[derive(Debug)]
pub enum Event<'c> {
    /// The HELLO was accepted; NOTIFYs may come. Not after a health check.
    Ready {
        /// What both sides settled on.
        negotiated: Negotiated,
        /// HAProxy's name for its filter, or for the thread of it. For logs: several connections share one.
        engine_id: Option<&'c [u8]>,
    },
    /// HAProxy asks.
    Notify(Notify<'c>),
    /// The conversation is over; what was in flight is cancelled. Once, and the last event.
    ///
    /// Bytes may still have to be sent, and the socket be kept until
    /// [`is_closed`](crate::Connection::is_closed).
    Closed(CloseReason),
}

/// One NOTIFY: messages that wait for one ACK.
///
/// Answer it with [`ack`](Self::ack) or [`defer`](Self::defer); dropped, it is answered empty.
#[derive(Debug)]
pub struct Notify<'c> {
    pub(crate) ids: (StreamId, FrameId),
    /// Checked to its last byte.
    pub(crate) payload: &'c [u8],
    /// How many messages are in it.
    pub(crate) messages: u32,
    pub(crate) outbox: &'c mut Outbox,
    pub(crate) in_flight: &'c mut InFlight,
    pub(crate) deadline: Instant,
}

impl<'c> Notify<'c> {
    /// The largest ACK there may be, in bytes without its length.
    pub const fn max_frame_size(&self) -> u32 {
        self.outbox.max_frame_size
    }

    /// HAProxy's stream. Not unique: the multiplexer uses the same numbers on every connection.
    pub const fn stream_id(&self) -> StreamId {
        self.ids.0
    }

    /// The event in its stream.
    pub const fn frame_id(&self) -> FrameId {
        self.ids.1
    }

    /// The messages, borrowed from the receive buffer.
    pub const fn messages(&self) -> Messages<'c> {
        Messages::of_checked(self.payload, self.messages)
    }

    /// The encoded messages, borrowed.
    pub const fn payload(&self) -> &'c [u8] {
        self.payload
    }

    /// A copy of the messages that outlives this event, for an answer that comes later.
    pub fn to_owned(&self) -> OwnedMessages {
        OwnedMessages { payload: Bytes::copy_from_slice(self.payload), messages: self.messages }
    }

    /// Answers now.
    #[inline]
    pub fn ack(self) -> Ack<'c> {
        Ack::begin(self.outbox, self.ids)
    }

    /// Answers later, in any order, with [`Connection::ack`](crate::Connection::ack).
    ///
    /// At [`ack_timeout`](crate::Config::ack_timeout) an empty ACK leaves and the ticket is void.
    pub fn defer(self) -> Ticket {
        self.outbox.open = None;
        self.in_flight.insert(self.ids, self.payload.len(), self.deadline)
    }
}

/// The messages of a NOTIFY, kept. Clones share the one copy.
#[derive(Clone, Debug)]
pub struct OwnedMessages {
    payload: Bytes,
    messages: u32,
}

impl OwnedMessages {
    /// The messages.
    pub fn messages(&self) -> Messages<'_> {
        Messages::of_checked(&self.payload, self.messages) // copied from a NOTIFY, which is checked before it is shown
    }
}

/// Why a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It was a health check, which was answered.
    HealthCheck,
    /// HAProxy said HAPROXY-DISCONNECT, with this status as it came; ours echoes it.
    Peer(Status),
    /// We ended it, by [`disconnect`](crate::Connection::disconnect) or one of our limits.
    Local(LocalReason),
    /// HAProxy, or whoever is there, did wrong.
    Error(PeerError),
    /// The socket ended without a DISCONNECT: how HAProxy closes since 3.1, always, and before it when it stops.
    Eof {
        /// NOTIFYs that were not answered yet.
        in_flight: usize,
        /// True inside a frame.
        mid_frame: bool,
    },
}

/// Why we ended a conversation that was in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalReason {
    /// [`disconnect`](crate::Connection::disconnect) was called.
    Asked,
    /// It was [refused](crate::Connection::refused) from the start.
    NoRoom,
    /// It was a health check, and those are [refused](crate::Config::refuse_healthchecks).
    HealthCheckRefused,
    /// [`notify_max`](crate::Config::notify_max) was reached.
    NotifyMax,
    /// Nothing came for [`idle_timeout`](crate::Config::idle_timeout).
    Idle,
    /// HAProxy left our bytes unread for [`send_timeout`](crate::Config::send_timeout); nothing more was sent.
    SendTimeout,
    /// [`shed`](crate::Connection::shed) was called.
    NoMemory,
}
