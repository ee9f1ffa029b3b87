//! The program around an endpoint: its sockets, its handler, its log and its counters.

use core::time::Duration;

use crate::ack::AckTooBig;
use crate::endpoint::Key;
use crate::event::{CloseReason, Notify};
use crate::handshake::Negotiated;
use crate::in_flight::{Ticket, TicketId};
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::Actions;

/// A non-blocking stream socket.
pub trait Socket {
    /// Reads into `buf`, which is not empty. `Done(0)` is the end. After fewer bytes than `buf` has room for, or `WouldBlock`, the
    /// host reports later bytes as [readable](Readiness::readable).
    fn read(&mut self, buf: &mut [u8]) -> Io;

    /// Writes the first bytes of `bytes`. After fewer than all of them, or `WouldBlock`, the host reports room as
    /// [writable](Readiness::writable).
    fn write(&mut self, bytes: &[u8]) -> Io;

    /// Sends the end of the stream. A failure means that the peer has closed, which the next read reports.
    fn shut_down(&mut self);

    /// Returns the number of bytes of heap memory that the program holds for this connection. They count against the limit of
    /// [`bytes_max`](crate::endpoint::Limits::bytes_max).
    fn memory(&self) -> usize {
        0
    }
}

/// The outcome of a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// So many bytes were read or written.
    Done(usize),
    /// Nothing was, because the socket has no bytes or no room. Readiness is reported later.
    WouldBlock,
    /// The socket has failed (ECONNRESET, EPIPE).
    Failed,
}

/// The readiness of a socket, as epoll or kqueue report it: once for each change.
///
/// A false report does no harm, and neither does one that comes late or stands for several changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There are bytes to read.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The peer has sent the end of the stream; there may be bytes before it.
    pub ended: bool,
    /// The connection was reset: nothing can be sent any more.
    pub reset: bool,
}

/// The outcome of a NOTIFY that was handed to the program.
#[derive(Clone, Copy, Debug)]
pub enum Handled<W> {
    /// It was answered, or dropped, which sends an empty ACK; immediately, or at the deadline if its answer was deferred before.
    Done,
    /// The answer for this ticket follows, from this work.
    Deferred(TicketId, W),
}

/// The answer to a deferred NOTIFY.
#[derive(Debug)]
pub struct Answer<E> {
    /// The connection of the NOTIFY.
    pub key: Key,
    /// The ticket of the NOTIFY.
    pub ticket: Ticket,
    /// The time when the NOTIFY was handed out.
    pub since: Instant,
    /// The answer, or the reason why there is none, which sends an empty ACK.
    pub actions: Result<Actions, E>,
}

/// The program around an endpoint.
pub trait Host {
    /// Its sockets.
    type Socket: Socket;
    /// The reason why a handler has no answer.
    type Error;
    /// A deferred answer in the making.
    type Work: Copy;

    /// Answers a NOTIFY, or defers the answer. It must not panic.
    fn notify(&mut self, key: Key, socket: &mut Self::Socket, notify: Notify<'_>) -> Handled<Self::Work>;

    /// Cancels work on an answer that is not needed any more. Work that has finished may be cancelled, too.
    fn cancel(&mut self, work: Self::Work);

    /// Reports what happened on a connection, for logs and metrics.
    fn report(&mut self, socket: &mut Self::Socket, report: Report<'_, Self::Error>);
}

/// Something that happened on a connection.
#[derive(Debug)]
pub enum Report<'r, E> {
    /// The HELLO was accepted.
    Ready {
        /// The outcome of the handshake.
        negotiated: Negotiated,
        /// The engine-id of HAProxy's filter, if it sent one.
        engine_id: Option<&'r [u8]>,
    },
    /// A HELLO, or the connection itself, is refused. The AGENT-DISCONNECT may follow later.
    Refused(CloseReason),
    /// The counters of the connection have risen.
    Counted {
        /// The counters at the last report.
        before: &'r Stats,
        /// The counters now.
        now: &'r Stats,
        /// The number of deferred answers that were sent in between.
        deferred: u64,
    },
    /// The answer to a deferred NOTIFY is sent, so long after the NOTIFY was handed out.
    Answered(Duration),
    /// The last actions of a deferred answer did not fit.
    AckCut(AckTooBig),
    /// A deferred answer failed, so HAProxy gets an empty ACK.
    Failed(&'r E),
    /// A limit held NOTIFYs back for so long.
    HeldBack(Duration),
    /// The connection was queued, because a limit of all connections is reached.
    Queued(Congestion),
    /// The connection is shed, which holds `bytes`: all connections together held more than `max`.
    Shed {
        /// The bytes that the connection holds.
        bytes: usize,
        /// The limit of all connections.
        max: usize,
    },
    /// The conversation has ended.
    Closed {
        /// The reason.
        reason: CloseReason,
        /// A HELLO was accepted before.
        was_ready: bool,
        /// It was reported as refused before.
        was_refused: bool,
        /// An AGENT-DISCONNECT can still be sent.
        can_send: bool,
        /// The counters of the connection.
        stats: &'r Stats,
    },
}

/// The state of the shared limits when a connection was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Congestion {
    /// The number of queued connections.
    pub queued: usize,
    /// The number of NOTIFYs in flight.
    pub in_flight: usize,
    /// True if the limit of NOTIFYs in flight is nearer, false if that of bytes is.
    pub is_by_number: bool,
}
