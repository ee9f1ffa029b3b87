//! One conversation with HAProxy, from its HELLO to the end of the socket.

mod frames;
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
use crate::outbox::Outbox;
use crate::reassembly::Reassembly;
use crate::recv::RecvBuf;
use crate::stats::Stats;
use crate::status::Status;
use crate::table::{Input, StateName, Step, step};
use crate::time::Instant;
use crate::wire::{Capabilities, FrameId, HaproxyHello, StreamId};

/// The agent's end of one socket. See the [crate] for the loop that drives it.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    state: State,
    /// The latest time handed in.
    now: Instant,
    /// No NOTIFY is taken until this is over.
    on_hold: bool,
    recv: RecvBuf,
    outbox: Outbox,
    in_flight: InFlight,
    reassembly: Reassembly,
    /// The end, until it is told.
    closed: Option<CloseReason>,
    /// When the last NOTIFY came or began to come, or the last deferred one was answered or overdue.
    last_active: Instant,
    /// When the socket last took a byte of ours, or had none to take.
    last_sent: Instant,
}

/// The states of the [table](crate::table), each with what only it knows.
#[derive(Clone, Copy, Debug)]
enum State {
    AwaitHello { until: Instant },
    Refusing { status: Status, reason: CloseReason, until: Instant },
    Running { negotiated: Negotiated },
    Draining { negotiated: Negotiated, reason: LocalReason, until: Instant },
    Closing { until: Instant },
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

/// Why a [`Ticket`] is good for nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// An empty ACK left at the deadline.
    #[error("the deadline of this NOTIFY has passed, it was answered empty")]
    Expired,
    /// The conversation ended.
    #[error("the connection of this NOTIFY is closed")]
    Closed,
}

/// An event, as places instead of borrows: what [`Connection::advance`] found.
enum Found {
    Ready { negotiated: Negotiated, hello: Range<usize> },
    Notify { ids: (StreamId, FrameId), payload: Payload, messages: u32 },
    Closed(CloseReason),
}

/// Where the payload of a NOTIFY is.
enum Payload {
    Recv(Range<usize>),
    Reassembled,
}

impl Connection {
    /// A connection that was just accepted.
    ///
    /// # Panics
    /// If `config` is [out of range](Config::validate).
    pub fn new(config: Config, now: Instant) -> Self {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        Self {
            config,
            state: State::AwaitHello { until: now + config.hello_timeout },
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

    /// A connection that there is no room for: HAProxy is told so with code 13, when it has waited the
    /// [`refuse_delay`](Config::refuse_delay).
    ///
    /// # Panics
    /// If `config` is [out of range](Config::validate).
    pub fn refused(config: Config, now: Instant) -> Self {
        let reason = CloseReason::Local(LocalReason::NoRoom);
        let state = State::Refusing { status: Status::RESOURCE, reason, until: now + config.refuse_delay };
        Self { state, ..Self::new(config, now) }
    }

    /// Where to put bytes from the socket. Empty means: do not read now, let the socket push back.
    ///
    /// It is empty while the receive buffer is full, of frames that wait to be polled or that a limit holds back, and at
    /// the end. Until then bytes are taken even at a limit: an end that nobody reads would go unnoticed.
    pub fn recv_buf(&mut self) -> &mut [u8] {
        if self.wants_input() { self.recv.space() } else { &mut [] }
    }

    /// The first `len` bytes of [`recv_buf`](Self::recv_buf) were filled.
    ///
    /// # Panics
    /// If that is more than were lent.
    pub fn handle_input(&mut self, now: Instant, len: usize) {
        self.tick(now);
        if len > 0 && self.is_at_rest() {
            // It begins; that it never ends keeps nobody.
            self.last_active = self.now;
        }
        self.recv.filled(len);
        if !self.looks_at_frames() {
            self.recv.clear();
        }
    }

    /// The peer will send no more, or the socket failed (ECONNRESET, EPIPE): for SPOP there is no difference.
    ///
    /// HAProxy reads nothing after its own end, so nothing is sent any more and what is in flight is cancelled.
    pub fn handle_eof(&mut self, now: Instant) {
        self.tick(now);
        if step(self.state.name(), Input::Eof) == Step::End {
            let reason = CloseReason::Eof { in_flight: self.in_flight.len(), mid_frame: !self.recv.is_empty() };
            self.end(reason);
        }
    }

    /// Does what is due at `now`; nothing if nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
        match step(self.state.name(), Input::Deadline) {
            Step::Expire => self.expire(),
            Step::HelloTimeout | Step::Refuse | Step::End if self.poll_timeout().is_none_or(|at| at > self.now) => {}
            Step::HelloTimeout => self.fail(PeerError::HelloTimeout),
            Step::Refuse => self.refuse(),
            Step::End => self.end(CloseReason::Local(LocalReason::SendTimeout)),
            _ => {}
        }
    }

    /// Ends the conversation in good order: answers what is in flight for at most `grace`, then says
    /// AGENT-DISCONNECT 0. NOTIFYs that still come are answered empty.
    ///
    /// Before the HELLO it says code 13. Called again, it only brings the end of the grace period forward.
    pub fn disconnect(&mut self, now: Instant, grace: Duration) {
        self.tick(now);
        match step(self.state.name(), Input::Stop) {
            Step::Drain => self.drain(LocalReason::Asked, self.now + grace),
            Step::TurnAway => self.close(Some(Status::RESOURCE), CloseReason::Local(LocalReason::Asked)),
            Step::Refuse => self.refuse(),
            _ => {}
        }
    }

    /// Ends the conversation now and keeps nothing, for want of memory: with AGENT-DISCONNECT 13, unless what was to be
    /// sent before it still waits for the peer to read.
    pub fn shed(&mut self, now: Instant) {
        self.tick(now);
        let reason = CloseReason::Local(LocalReason::NoMemory);
        match step(self.state.name(), Input::Shed) {
            Step::Shed if self.outbox.send.unsent() == 0 => self.close(Some(Status::RESOURCE), reason),
            Step::Shed | Step::End => self.end(reason),
            Step::Refuse => self.refuse(),
            _ => {}
        }
    }

    /// The next event, until there is none.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        self.settle();
        let (ids, payload, messages) = match self.advance()? {
            Found::Ready { negotiated, hello } => {
                let hello = HaproxyHello::decode(self.recv.bytes(hello)).expect("it was decoded to be judged");
                return Some(Event::Ready { negotiated, engine_id: hello.engine_id });
            }
            Found::Closed(reason) => return Some(Event::Closed(reason)),
            Found::Notify { ids, payload, messages } => (ids, payload, messages),
        };
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

    /// Whole frames to send, if any; say with [`transmitted`](Self::transmitted) how much of them the socket took.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        self.settle();
        match self.outbox.send.bytes() {
            [] => None,
            bytes => Some(bytes),
        }
    }

    /// The socket took the first `len` bytes of [`poll_transmit`](Self::poll_transmit).
    ///
    /// # Panics
    /// If that is more than were lent.
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
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before; `None` is never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.state {
            State::AwaitHello { until } | State::Refusing { until, .. } | State::Closing { until } => Some(until),
            State::Running { .. } => self.idle_deadline(),
            State::Draining { until, .. } => Some(until),
            State::Closed => return None,
        };
        earliest(own, earliest(self.in_flight.deadline(), self.send_deadline()))
    }

    /// Answers a NOTIFY that was deferred.
    ///
    /// # Errors
    /// The ticket is void: its deadline has passed, or the conversation is over.
    pub fn ack(&mut self, now: Instant, ticket: Ticket) -> Result<Ack<'_>, TicketError> {
        self.tick(now);
        let closed = matches!(self.state, State::Closing { .. } | State::Closed);
        let void = if closed { TicketError::Closed } else { TicketError::Expired };
        let slot = self.in_flight.remove(ticket).ok_or(void)?;
        self.last_active = self.now;
        Ok(Ack::begin(&mut self.outbox, (slot.stream_id, slot.frame_id)))
    }

    /// True while the ticket of this name can still be answered. When it cannot, there is no point in working on.
    pub fn is_live(&self, ticket: TicketId) -> bool {
        self.in_flight.contains(ticket)
    }

    /// False while nothing should be read: [`recv_buf`](Self::recv_buf) would be empty.
    pub fn wants_input(&self) -> bool {
        match self.state {
            State::Closed => false,
            _ => !self.recv.is_full(),
        }
    }

    /// True if HAProxy waits for nothing, and nothing of its next frame has come. That is when an end is likeliest not to
    /// cross a NOTIFY, which would be lost: best right behind an ACK, before that is sent.
    pub fn is_at_rest(&self) -> bool {
        self.in_flight.len() == 0 && self.recv.is_empty() && !self.reassembly.is_pending()
    }

    /// True when our last byte was sent: shut the socket's write side down, then go on reading.
    pub fn is_send_finished(&self) -> bool {
        matches!(self.state, State::Closing { .. } | State::Closed) && self.outbox.send.unsent() == 0
    }

    /// True when the socket can be closed.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Where the conversation is.
    pub const fn state(&self) -> StateName {
        self.state.name()
    }

    /// How many deferred NOTIFYs wait for their answer.
    pub const fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many bytes of payload they had, a copy of which their handlers may keep.
    pub const fn in_flight_bytes(&self) -> usize {
        self.in_flight.bytes()
    }

    /// Why the connection is being refused, while it waits to be told so. HAProxy may be gone before that, and then that is
    /// how it ends.
    pub const fn refusal(&self) -> Option<CloseReason> {
        match self.state {
            State::Refusing { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// What was seen so far.
    pub const fn stats(&self) -> Stats {
        self.outbox.stats
    }

    /// Heap memory held now, in bytes: at most [`Config::memory_max`].
    pub fn memory(&self) -> usize {
        self.recv.memory() + self.outbox.send.memory() + self.in_flight.memory() + self.reassembly.memory()
    }

    /// Takes buffers that it lacks from `spare`, best called before each turn. A connection that is lent none makes its
    /// own.
    ///
    /// None larger than it may have is taken, so [`Config::memory_max`] holds with them.
    #[inline]
    pub fn lend_buffers(&mut self, spare: &mut Buffers) {
        self.recv.lend(&mut spare.recv);
        self.outbox.send.lend(&mut spare.send);
        self.in_flight.lend(&mut spare.slots);
    }

    /// Gives every buffer that holds nothing to `spare`, best called before each wait. Of two the larger one is kept there.
    #[inline]
    pub fn release_buffers(&mut self, spare: &mut Buffers) {
        self.settle();
        self.recv.release(&mut spare.recv);
        self.outbox.send.release(&mut spare.send);
        self.in_flight.release(&mut spare.slots);
    }

    fn tick(&mut self, now: Instant) {
        self.settle();
        self.now = self.now.max(now);
        if self.outbox.send.unsent() == 0 {
            self.last_sent = self.now;
        }
    }

    /// Answers the NOTIFY that was handed out and forgotten, or whose ACK was left half-written.
    #[inline]
    fn settle(&mut self) {
        self.outbox.settle();
        self.reassembly.settle();
    }

    /// Works through what was received up to the next thing to tell.
    #[inline]
    fn advance(&mut self) -> Option<Found> {
        loop {
            if self.closed.is_some() {
                return self.closed.take().map(Found::Closed);
            }
            if !self.looks_at_frames() || self.holds_back() {
                return None;
            }
            match self.recv.next_frame(self.outbox.max_frame_size) {
                Ok(Some(place)) => {
                    if let Some(found) = self.handle_frame(place) {
                        return Some(found);
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

    /// Bytes that are no frame.
    fn malformed(&mut self, error: PeerError) {
        if step(self.state.name(), Input::Malformed) == Step::Fail {
            self.fail(error);
        }
    }

    /// What is due while NOTIFYs are served.
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
                self.state = State::Draining { negotiated: *negotiated, reason, until };
            }
            State::Draining { until: earlier, .. } => *earlier = until.min(*earlier),
            _ => {}
        }
    }

    /// Ends a drain that has nothing left to answer.
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

    /// Says the last word, if there is one to say, and lets HAProxy read it.
    fn close(&mut self, status: Option<Status>, reason: CloseReason) {
        if let Some(status) = status {
            self.outbox.send.disconnect(status);
        }
        self.cancel(reason);
        self.state = State::Closing { until: self.now + self.config.send_timeout };
    }

    /// The socket is of no use any more.
    fn end(&mut self, reason: CloseReason) {
        self.cancel(reason);
        self.outbox.send.clear();
        self.state = State::Closed;
    }

    fn cancel(&mut self, reason: CloseReason) {
        if !matches!(self.state, State::Closing { .. } | State::Closed) {
            self.closed = Some(reason);
        }
        self.in_flight.clear();
        self.reassembly.clear();
        self.recv.clear();
    }

    /// True in the states that look at what comes.
    const fn looks_at_frames(&self) -> bool {
        matches!(self.state, State::AwaitHello { .. } | State::Running { .. } | State::Draining { .. })
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

/// The earlier of two times; `None` is never.
fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => a.or(b),
    }
}
