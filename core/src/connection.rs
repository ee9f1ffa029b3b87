//! The state machine of one connection, from HAProxy's HELLO to the end of the socket.

mod frames;
mod invariants;
mod limits;

use core::ops::Range;
use core::time::Duration;

use crate::ack::Ack;
use crate::buffers::Buffers;
use crate::config::Config;
use crate::error::PeerError;
use crate::event::{CloseReason, Event, LocalReason, Notify};
use crate::handshake::Negotiated;
use crate::in_flight::{InFlight, Ticket, TicketId};
use crate::memory::Memory;
use crate::outbox::Outbox;
use crate::reassembly::Reassembly;
use crate::recv::RecvBuf;
use crate::stats::Stats;
use crate::status::Status;
use crate::table::{Input, StateName, Step, step};
use crate::time::Instant;
use crate::wire::{Capabilities, FrameId, HaproxyHello, StreamId};

/// The agent's side of one connection. See the [crate] for the loop that drives it.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    state: State,
    /// The latest time that the caller passed in.
    now: Instant,
    /// True while the caller holds NOTIFYs back; see [`hold_back`](Self::hold_back).
    on_hold: bool,
    recv: RecvBuf,
    outbox: Outbox,
    in_flight: InFlight,
    reassembly: Reassembly,
    /// The reason of the end, until the event that reports it is polled.
    closed: Option<CloseReason>,
    /// The time of the last activity: a NOTIFY or the first bytes of a frame arrived, or a deferred NOTIFY was answered
    /// or expired.
    last_active: Instant,
    /// The last time that the socket accepted bytes, or that there were none to send.
    last_sent: Instant,
}

/// The states of the [table](crate::table), each with its own data.
#[derive(Clone, Copy, Debug)]
enum State {
    AwaitHello {
        until: Instant,
        /// The connection is above a limit, and only answers a health check.
        is_above_limit: bool,
    },
    Refusing {
        status: Status,
        reason: CloseReason,
        until: Instant,
    },
    Running {
        negotiated: Negotiated,
    },
    Draining {
        negotiated: Negotiated,
        reason: LocalReason,
        until: Instant,
    },
    Closing {
        until: Instant,
    },
    Closed,
}

impl State {
    const fn name(&self) -> StateName {
        match self {
            Self::AwaitHello { .. } => StateName::AwaitHello,
            Self::Refusing { .. } => StateName::Refusing,
            Self::Running { .. } => StateName::Running,
            Self::Draining { .. } => StateName::Draining,
            Self::Closing { .. } => StateName::Closing,
            Self::Closed => StateName::Closed,
        }
    }
}

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

/// An event as byte ranges instead of borrows, returned by [`Connection::advance`].
enum EventRanges {
    Ready { negotiated: Negotiated, hello: Range<usize> },
    Notify { ids: (StreamId, FrameId), payload: Payload, messages: u32 },
    Closed(CloseReason),
}

/// The reason to end a connection above a limit.
const ABOVE_LIMIT: CloseReason = CloseReason::Local(LocalReason::ConnectionLimit);

/// The location of the payload of a NOTIFY.
enum Payload {
    /// In the receive buffer.
    Recv(Range<usize>),
    /// In the reassembly buffer.
    Reassembled,
}

impl Connection {
    /// Creates the state of a connection that was just accepted.
    ///
    /// # Panics
    /// If `config` is [out of range](Config::validate).
    pub fn new(config: Config, now: Instant) -> Self {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        Self {
            config,
            state: State::AwaitHello { until: now + config.hello_timeout, is_above_limit: false },
            now,
            on_hold: false,
            recv: RecvBuf::new(config.recv_memory_max()),
            outbox: Outbox::new(config.send_memory_max(), config.max_frame_size),
            in_flight: InFlight::new(config.in_flight_max),
            reassembly: Reassembly::new(config.reassembly_max),
            closed: None,
            last_active: now,
            last_sent: now,
        }
    }

    /// Creates the state of a connection above a limit: a health check is answered, so that HAProxy does not take the agent
    /// for dead, and every other connection is rejected with code 13 after the [`refuse_delay`](Config::refuse_delay), or
    /// after the [`hello_timeout`](Config::hello_timeout) if no HELLO has arrived by then.
    ///
    /// # Panics
    /// If `config` is [out of range](Config::validate).
    pub fn rejected(config: Config, now: Instant) -> Self {
        let until = now + config.refuse_delay.min(config.hello_timeout);
        Self { state: State::AwaitHello { until, is_above_limit: true }, ..Self::new(config, now) }
    }

    /// Returns the buffer for bytes from the socket. If it is empty, do not read now: unread bytes make the peer wait.
    ///
    /// It is empty while the receive buffer is full, with frames that were not polled yet or that a limit holds back,
    /// and once the connection is closed. Otherwise bytes are accepted even at a limit, because the end of the peer's
    /// bytes is only noticed by reading.
    ///
    /// The buffer is not zeroed: it may contain bytes from earlier input and, after
    /// [`lend_buffers`](Self::lend_buffers), from other connections.
    pub fn recv_buf(&mut self) -> &mut [u8] {
        if self.wants_input() { self.recv.space() } else { &mut [] }
    }

    /// Reports that the first `len` bytes of [`recv_buf`](Self::recv_buf) were filled.
    ///
    /// # Panics
    /// If `len` is larger than that buffer.
    pub fn handle_input(&mut self, now: Instant, len: usize) {
        self.tick(now);
        if len > 0 && self.is_idle() {
            // The first bytes of a frame count as activity once. Otherwise a frame that never completes would keep an
            // idle connection open.
            self.last_active = self.now;
        }
        self.recv.filled(len);
        if !self.parses_input() {
            self.recv.clear();
        }
        self.invariants();
    }

    /// Reports that the peer will send no more, or that the socket failed (ECONNRESET, EPIPE). SPOP does not
    /// distinguish the two.
    ///
    /// HAProxy does not read after it has closed its side, so nothing more is sent, and the NOTIFYs in flight are
    /// cancelled.
    pub fn handle_eof(&mut self, now: Instant) {
        self.tick(now);
        if step(self.state.name(), Input::Eof) == Step::End {
            let reason = CloseReason::Eof { in_flight: self.in_flight.len(), unprocessed: !self.recv.is_empty() };
            self.end(reason);
        }
        debug_assert!(self.is_closed(), "after the end of the socket nothing is sent or received");
        self.invariants();
    }

    /// Performs the actions that are due at `now`, if there are any.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
        match step(self.state.name(), Input::Deadline) {
            Step::Expire => self.expire(),
            Step::HelloTimeout | Step::Refuse | Step::End if self.poll_timeout().is_none_or(|at| at > self.now) => {}
            Step::HelloTimeout if self.is_above_limit() => self.close(Some(Status::RESOURCE), ABOVE_LIMIT),
            Step::HelloTimeout => self.fail(PeerError::HelloTimeout),
            Step::Refuse => self.refuse(),
            Step::End => self.end(CloseReason::Local(LocalReason::SendTimeout)),
            _ => {}
        }
        debug_assert!(self.in_flight.deadline().is_none_or(|at| at > self.now), "no NOTIFY in flight is overdue");
        self.invariants();
    }

    /// Drains the connection: waits up to `grace` for the answers to the NOTIFYs in flight, then sends AGENT-DISCONNECT
    /// with code 0. NOTIFYs that arrive in the meantime get an empty ACK.
    ///
    /// Before the HELLO an AGENT-DISCONNECT with code 13 is sent immediately. Another call can only shorten the grace
    /// period.
    pub fn disconnect(&mut self, now: Instant, grace: Duration) {
        self.tick(now);
        match step(self.state.name(), Input::Stop) {
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
        match step(self.state.name(), Input::Shed) {
            Step::Shed if self.outbox.send.unsent() == 0 => self.close(Some(Status::RESOURCE), reason),
            Step::Shed | Step::End => self.end(reason),
            Step::Refuse => self.refuse(),
            _ => {}
        }
        debug_assert!(matches!(self.state, State::Closing { .. } | State::Closed), "the conversation has ended");
        self.invariants();
    }

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

    /// True if there are bytes to send.
    pub fn has_output(&self) -> bool {
        self.outbox.send.unsent() > 0
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

    /// Returns the time at which to call [`handle_timeout`](Self::handle_timeout) if nothing happens before. `None`
    /// means never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.state {
            State::AwaitHello { until, .. } | State::Refusing { until, .. } | State::Closing { until } => Some(until),
            State::Running { .. } => self.idle_deadline(),
            State::Draining { until, .. } => Some(until),
            State::Closed => return None,
        };
        earliest(own, earliest(self.in_flight.deadline(), self.send_deadline()))
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

    /// Returns the number of deferred NOTIFYs in flight.
    pub const fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Returns the total payload of the deferred NOTIFYs in flight, in bytes. Handlers may hold a copy of it.
    pub const fn in_flight_bytes(&self) -> usize {
        self.in_flight.bytes()
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

    /// Returns the heap memory held now, in bytes. It is at most [`Config::memory_max`].
    pub fn memory(&self) -> usize {
        self.memory_by_buffer().total()
    }

    /// Returns the heap memory of each buffer now. None exceeds its limit in [`Config::memory_max_by_buffer`].
    pub fn memory_by_buffer(&self) -> Memory {
        Memory {
            recv: self.recv.memory(),
            send: self.outbox.send.memory(),
            in_flight: self.in_flight.memory(),
            reassembly: self.reassembly.memory(),
        }
    }

    /// Takes the buffers that this connection does not have from `spare`. Call this each time before the connection is
    /// served. Without this call the connection allocates its own buffers.
    ///
    /// No buffer larger than the limits of this connection is taken, so [`Config::memory_max`] still holds.
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
        debug_assert!(self.memory() == 0 || self.waits_for_peer() || self.has_frame() || self.in_flight.len() > 0);
        self.invariants();
    }

    fn tick(&mut self, now: Instant) {
        self.settle();
        self.now = self.now.max(now);
        if self.outbox.send.unsent() == 0 {
            self.last_sent = self.now;
        }
    }

    /// Completes what the last event borrowed: sends an empty ACK for a NOTIFY that was dropped without an answer, or
    /// whose ACK was not finished, and frees a reassembled payload.
    #[inline]
    fn settle(&mut self) {
        self.outbox.settle();
        self.reassembly.settle();
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
                    self.finish_drain();
                    self.closed?;
                }
                Err(error) => self.malformed(error),
            }
        }
    }

    /// Ends the conversation because of bytes that are not a frame, in states that process frames.
    fn malformed(&mut self, error: PeerError) {
        if step(self.state.name(), Input::Malformed) == Step::Fail {
            self.fail(error);
        }
    }

    /// Performs the actions that are due while NOTIFYs are served.
    fn expire(&mut self) {
        while let Some(slot) = self.in_flight.pop_expired(self.now) {
            self.outbox.empty_ack((slot.stream_id, slot.frame_id));
            self.outbox.stats.acks_expired += 1;
            self.last_active = self.now;
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        if due(self.send_deadline()) {
            self.end(CloseReason::Local(LocalReason::SendTimeout));
        } else if due(self.idle_deadline()) {
            self.close(Some(Status::NORMAL), CloseReason::Local(LocalReason::Idle));
        } else if let State::Draining { reason, until, .. } = self.state
            && until <= self.now
        {
            self.close(Some(Status::NORMAL), CloseReason::Local(reason));
        }
    }

    fn drain(&mut self, reason: LocalReason, until: Instant) {
        match &mut self.state {
            State::Running { negotiated } => {
                debug_assert!(until >= self.now, "a grace period ends in the future");
                self.state = State::Draining { negotiated: *negotiated, reason, until };
            }
            State::Draining { until: earlier, .. } => *earlier = until.min(*earlier),
            _ => {}
        }
    }

    /// Ends the drain if no NOTIFY is in flight.
    fn finish_drain(&mut self) {
        if let State::Draining { reason, .. } = self.state
            && self.in_flight.len() == 0
        {
            self.close(Some(Status::NORMAL), CloseReason::Local(reason));
        }
    }

    fn refuse(&mut self) {
        if let State::Refusing { status, reason, .. } = self.state {
            self.close(Some(status), reason);
        }
    }

    fn fail(&mut self, error: PeerError) {
        self.close(Some(error.status()), CloseReason::Error(error));
    }

    /// Ends the conversation, with an AGENT-DISCONNECT if there is a status, and leaves HAProxy time to read the last
    /// bytes.
    fn close(&mut self, status: Option<Status>, reason: CloseReason) {
        debug_assert!(!matches!(self.state, State::Closing { .. } | State::Closed), "a conversation ends once");
        if let Some(status) = status {
            self.outbox.send.disconnect(status);
        }
        self.cancel(reason);
        self.state = State::Closing { until: self.now + self.config.send_timeout };
    }

    /// Ends the conversation without sending anything more: the socket can be closed.
    fn end(&mut self, reason: CloseReason) {
        self.cancel(reason);
        self.outbox.send.clear();
        self.state = State::Closed;
    }

    fn cancel(&mut self, reason: CloseReason) {
        debug_assert!(!self.is_closed(), "a connection that is closed stays closed");
        if !matches!(self.state, State::Closing { .. } | State::Closed) {
            debug_assert!(self.closed.is_none(), "an end is reported once");
            self.closed = Some(reason);
        }
        self.in_flight.clear();
        self.reassembly.clear();
        self.recv.clear();
    }

    /// True in the states that process frames. In the others input is dropped.
    const fn parses_input(&self) -> bool {
        matches!(self.state, State::AwaitHello { .. } | State::Running { .. } | State::Draining { .. })
    }

    /// True if the connection is above a limit, and has not sent its HELLO yet.
    const fn is_above_limit(&self) -> bool {
        matches!(self.state, State::AwaitHello { is_above_limit: true, .. })
    }

    fn takes_fragments(&self) -> bool {
        self.negotiated().is_some_and(|n| n.capabilities.contains(Capabilities::FRAGMENTATION))
    }

    const fn negotiated(&self) -> Option<&Negotiated> {
        match &self.state {
            State::Running { negotiated } | State::Draining { negotiated, .. } => Some(negotiated),
            _ => None,
        }
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let (State::Running { .. }, Some(timeout)) = (self.state, self.config.idle_timeout) else { return None };
        let quiet = self.in_flight.len() == 0 && !self.has_frame() && self.outbox.send.unsent() == 0;
        quiet.then(|| self.last_active + timeout)
    }

    fn send_deadline(&self) -> Option<Instant> {
        (self.outbox.send.unsent() > 0).then(|| self.last_sent + self.config.send_timeout)
    }
}

/// Returns the earlier of two times. `None` means never.
fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => a.or(b),
    }
}
