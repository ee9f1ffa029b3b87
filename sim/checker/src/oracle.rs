//! The expected behaviour of one connection.

use std::mem;
use std::ops::Range;

use crate::answers::{Answer, DROP, HALF, NEVER};
use crate::counts::Counts;
use crate::fragments::{Fragments, Reassembly};
use crate::hello::{Decision, decide};
use crate::limits::Limits;
use crate::read::{Bytes, pairs};
use crate::{read, write};

/// The expected behaviour of a connection of the agent, computed from its inputs.
///
/// Pass each input to the oracle and to the core, then compare: [`next_event`](Self::next_event) until there is none,
/// [`output`](Self::output), [`wants_input`](Self::wants_input), [`deadline`](Self::deadline) and
/// [`is_closed`](Self::is_closed).
#[derive(Debug)]
pub struct Oracle {
    limits: Limits,
    /// The time of the last input, in nanoseconds like all times.
    now: u64,
    /// True while the limit of NOTIFYs in flight on all connections is reached.
    is_limit_reached: bool,
    state: State,
    max_frame_size: u32,
    pipelining: bool,
    fragmentation: bool,
    /// The bytes that the agent has read. It has parsed the first `parsed` of them.
    input: Vec<u8>,
    parsed: usize,
    /// The bytes that the agent has to send. The socket has accepted the first `sent` of them.
    output: Vec<u8>,
    sent: usize,
    /// The deferred NOTIFYs in flight.
    in_flight: Vec<InFlight>,
    /// The number of NOTIFYs that were handed out to the handler.
    delivered: u64,
    counts: Counts,
    fragments: Fragments,
    /// The payload of the last NOTIFY that was reassembled from fragments.
    reassembled: Vec<u8>,
    /// The answer to the last NOTIFY, unless that was deferred.
    answer: Answer,
    /// The end of the conversation, until it is returned as an event.
    end: Option<End>,
    /// The start of the time that counts as idle.
    last_active: u64,
    /// The last time at which the socket accepted bytes or nothing was unsent.
    last_sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Hello {
        until: u64,
        /// The connection is above the limit of connections: only a health check is answered.
        is_above_limit: bool,
    },
    /// AGENT-DISCONNECT will be sent with `code`, and the event will have `reported`.
    Refusing {
        code: u32,
        reported: Reason,
        until: u64,
    },
    Running,
    Draining {
        until: u64,
        reported: Reason,
    },
    Closing {
        until: u64,
    },
    Closed,
}

/// The end of a conversation.
#[derive(Clone, Copy, Debug)]
enum End {
    Reason(Reason),
    Eof { in_flight: usize, unprocessed: bool },
}

/// A deferred NOTIFY.
#[derive(Debug)]
struct InFlight {
    /// The number of NOTIFYs that were handed out before it.
    index: u64,
    ids: (u64, u64),
    deadline: u64,
    answer: Answer,
    payload_len: usize,
}

/// An event that the agent has to report. `P` is the type of a payload: its bytes, or their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<P> {
    /// The HELLO was accepted.
    Ready {
        /// The negotiated frame size, in bytes.
        max_frame_size: u32,
        /// True for each agreed capability: pipelining, fragmentation, async.
        capabilities: [bool; 3],
    },
    /// A NOTIFY is handed out.
    Notify {
        /// Its stream-id and frame-id.
        ids: (u64, u64),
        /// The number of NOTIFYs that were handed out before it.
        index: u64,
        /// Its payload.
        payload: P,
    },
    /// HAProxy closed the connection without a DISCONNECT.
    Eof {
        /// The number of NOTIFYs in flight.
        in_flight: usize,
        /// True if bytes were left that the agent had not parsed.
        unprocessed: bool,
    },
    /// The conversation ended for another reason.
    Closed(Reason),
}

/// The reason of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// HAProxy violated the protocol; the value is the code of our AGENT-DISCONNECT.
    Error(u32),
    /// HAProxy sent HAPROXY-DISCONNECT with this code.
    Peer(u32),
    /// A health check was answered.
    HealthCheck,
    /// A health check was refused.
    HealthCheckRefused,
    /// The connection was above the limit of connections.
    ConnectionLimit,
    /// The agent is stopping.
    Requested,
    /// The largest number of NOTIFYs was reached.
    NotifyMax,
    /// The idle timeout has passed.
    Idle,
    /// HAProxy does not read.
    SendTimeout,
    /// The agent needs the memory.
    NoMemory,
    /// The connection had sent no NOTIFY, and gave way to another one.
    Evicted,
}

/// The position of the payload of a NOTIFY.
#[derive(Clone, Debug)]
enum PayloadAt {
    Input(Range<usize>),
    Reassembled,
}

const NEVER_DUE: u64 = u64::MAX;

impl Oracle {
    /// Creates the state of a connection that was just accepted.
    pub fn new(limits: Limits, now: u64) -> Self {
        Self {
            limits,
            now,
            is_limit_reached: false,
            state: State::Hello { until: now + limits.hello_timeout, is_above_limit: false },
            max_frame_size: limits.max_frame_size,
            pipelining: false,
            fragmentation: false,
            input: Vec::new(),
            parsed: 0,
            output: Vec::new(),
            sent: 0,
            in_flight: Vec::new(),
            delivered: 0,
            counts: Counts::default(),
            fragments: Fragments::default(),
            reassembled: Vec::new(),
            answer: Answer::default(),
            end: None,
            last_active: now,
            last_sent: now,
        }
    }

    /// Changes a connection that was just accepted to one above the limit of connections, which has to be rejected.
    pub fn reject(&mut self) {
        let until = self.now + self.limits.refuse_delay.min(self.limits.hello_timeout);
        self.state = State::Hello { until, is_above_limit: true };
    }

    /// Starts again with a connection that was just accepted, and reuses the memory of this one.
    pub fn restart(&mut self, limits: Limits, now: u64) {
        let Self { mut input, mut output, mut in_flight, answer, .. } = mem::replace(self, Self::new(limits, now));
        input.clear();
        output.clear();
        in_flight.clear();
        *self = Self { input, output, in_flight, answer, ..Self::new(limits, now) };
    }

    /// Input: the agent read these bytes.
    pub fn input(&mut self, now: u64, bytes: &[u8]) {
        self.tick(now);
        if self.parses_input() {
            // Only the first bytes of a frame count as activity. A frame that never ends must not keep an idle
            // connection open.
            let is_idle = self.parsed == self.input.len() && self.in_flight.is_empty() && !self.fragments.is_open();
            if is_idle && !bytes.is_empty() {
                self.last_active = now;
            }
            self.input.extend_from_slice(bytes);
        }
    }

    /// Input: the agent read the end of HAProxy's bytes.
    pub fn eof(&mut self, now: u64) {
        self.tick(now);
        let end = End::Eof { in_flight: self.in_flight.len(), unprocessed: self.parsed < self.input.len() };
        self.terminate(end);
    }

    /// Input: the agent is stopping, with this grace period.
    pub fn stop(&mut self, now: u64, grace: u64) {
        self.tick(now);
        match &mut self.state {
            State::Hello { .. } => self.close(Some(13), Reason::Requested),
            State::Refusing { code, reported, .. } => {
                let (code, reported) = (*code, *reported);
                self.close(Some(code), reported);
            }
            State::Running => {
                self.state = State::Draining { until: now + grace, reported: Reason::Requested };
            }
            State::Draining { until, .. } => *until = (*until).min(now + grace),
            State::Closing { .. } | State::Closed => {}
        }
    }

    /// Input: true if the limit of NOTIFYs in flight on all connections is reached. Then NOTIFYs are held back.
    pub fn hold_back(&mut self, is_limit_reached: bool) {
        self.is_limit_reached = is_limit_reached;
    }

    /// Input: the agent needs the memory of the connection.
    pub fn shed(&mut self, now: u64) {
        self.give_up(now, Reason::NoMemory);
    }

    /// Input: the connection gives way to another one.
    pub fn evict(&mut self, now: u64) {
        self.give_up(now, Reason::Evicted);
    }

    fn give_up(&mut self, now: u64, reason: Reason) {
        self.tick(now);
        match self.state {
            State::Refusing { code, reported, .. } => self.close(Some(code), reported),
            State::Hello { .. } | State::Running | State::Draining { .. } if self.output().is_empty() => {
                self.close(Some(13), reason);
            }
            _ => self.terminate(End::Reason(reason)),
        }
    }

    /// Input: the agent handles the deadlines that have passed.
    pub fn timeout(&mut self, now: u64) {
        self.tick(now);
        match self.state {
            State::Hello { until, is_above_limit: true } if until <= now => {
                self.close(Some(13), Reason::ConnectionLimit);
            }
            State::Hello { until, .. } if until <= now => self.fail(2),
            State::Refusing { code, reported, until } if until <= now => self.close(Some(code), reported),
            State::Running | State::Draining { .. } => self.expire(),
            State::Closing { until } if until.min(self.stalled_at()) <= now => {
                self.terminate(End::Reason(Reason::SendTimeout));
            }
            _ => {}
        }
    }

    /// Input: the socket accepted the first `len` bytes of the output.
    pub fn sent(&mut self, now: u64, len: usize) {
        self.tick(now);
        self.sent += len;
        if len > 0 {
            self.last_sent = now;
        }
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
            if let State::Closing { until } = &mut self.state {
                *until = now + self.limits.linger;
            }
        }
    }

    /// Input: the handler answers the deferred NOTIFY with this index. Returns false if it is not in flight any more.
    pub fn answer(&mut self, now: u64, index: u64) -> bool {
        self.tick(now);
        let Some(at) = self.in_flight.iter().position(|notify| notify.index == index) else { return false };
        let notify = self.in_flight.remove(at);
        self.last_active = now;
        ack(notify.ids, &notify.answer, self.max_frame_size, &mut self.output, &mut self.counts);
        true
    }

    /// Returns the event that the agent has to report next, if there is one.
    pub fn next_event(&mut self) -> Option<Event<&[u8]>> {
        Some(match self.advance()? {
            Event::Ready { max_frame_size, capabilities } => Event::Ready { max_frame_size, capabilities },
            Event::Notify { ids, index, payload } => {
                Event::Notify { ids, index, payload: payload.bytes(&self.input, &self.reassembled) }
            }
            Event::Closed(reason) => Event::Closed(reason),
            Event::Eof { in_flight, unprocessed } => Event::Eof { in_flight, unprocessed },
        })
    }

    fn advance(&mut self) -> Option<Event<PayloadAt>> {
        loop {
            match self.end.take() {
                Some(End::Reason(reason)) => return Some(Event::Closed(reason)),
                Some(End::Eof { in_flight, unprocessed }) => return Some(Event::Eof { in_flight, unprocessed }),
                None => {}
            }
            if !self.parses_input() || self.is_at_limit() && self.is_notify_next() {
                return None;
            }
            let Some(frame) = self.whole_frame() else {
                if self.end.is_some() {
                    continue;
                }
                if let State::Draining { reported, .. } = self.state
                    && self.in_flight.is_empty()
                {
                    self.close(Some(0), reported);
                    continue;
                }
                return None;
            };
            self.parsed = frame.end;
            if let Some(event) = self.frame(frame) {
                return Some(event);
            }
        }
    }

    /// Returns the bytes that the agent has to send.
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// True if the agent has to read. It stops when its receive buffer is full.
    pub fn wants_input(&self) -> bool {
        let room = 2 * (4 + self.limits.max_frame_size as usize);
        self.state != State::Closed && self.input.len() - self.parsed < room
    }

    /// Returns the time at which the agent has to handle timeouts if nothing happens before; `None` for never.
    pub fn deadline(&self) -> Option<u64> {
        let own = match self.state {
            State::Closed => return None,
            State::Hello { until, .. } | State::Refusing { until, .. } | State::Closing { until } => until,
            State::Running => self.idle_at(),
            State::Draining { until, .. } => until,
        };
        let answers = self.in_flight.iter().map(|notify| notify.deadline).min().unwrap_or(NEVER_DUE);
        let first = own.min(answers).min(self.stalled_at());
        (first != NEVER_DUE).then_some(first)
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

    /// Sets the time. The send timeout does not run while nothing is unsent.
    fn tick(&mut self, now: u64) {
        self.now = now;
        if self.output().is_empty() {
            self.last_sent = now;
        }
    }

    /// True if input is parsed in this state. In the other states it is dropped.
    fn parses_input(&self) -> bool {
        matches!(self.state, State::Hello { .. } | State::Running | State::Draining { .. })
    }

    /// True if a limit does not allow another NOTIFY now.
    fn is_at_limit(&self) -> bool {
        // A connection that drains is not subject to the limit of all connections: it declines NOTIFYs immediately.
        self.is_limit_reached && self.state == State::Running || self.is_at_own_limit()
    }

    /// True if a limit of this connection does not allow another NOTIFY now.
    fn is_at_own_limit(&self) -> bool {
        if matches!(self.state, State::Hello { .. }) {
            return false;
        }
        let in_flight_max = if self.pipelining { self.limits.in_flight_max } else { 1 };
        self.in_flight.len() >= in_flight_max
            || self.in_flight_bytes() >= self.limits.deferred_max
            || self.output().len() >= self.limits.unsent_max
    }

    /// True if the next frame is a NOTIFY or a fragment of one, or if its type has not arrived yet.
    fn is_notify_next(&self) -> bool {
        matches!(self.input[self.parsed..].get(4), None | Some(0 | 3))
    }

    /// True if the next frame has arrived whole, or its length is invalid.
    fn holds_frame(&self) -> bool {
        let unparsed = &self.input[self.parsed..];
        unparsed.first_chunk::<4>().is_some_and(|length| {
            let length = u32::from_be_bytes(*length);
            !(7..=self.max_frame_size).contains(&length) || unparsed.len() - 4 >= length as usize
        })
    }

    /// Returns the range of the next frame, without its length. Returns `None` if the frame has not arrived whole, or
    /// if its length is invalid, which closes the connection.
    fn whole_frame(&mut self) -> Option<Range<usize>> {
        let unparsed = &self.input[self.parsed..];
        if unparsed.is_empty() {
            self.input.clear();
            self.parsed = 0;
            return None;
        }
        let length = u32::from_be_bytes(unparsed.get(..4)?.try_into().ok()?);
        if length > self.max_frame_size {
            self.fail(3);
            return None;
        }
        if length < 7 {
            self.fail(4);
            return None;
        }
        if unparsed.len() - 4 < length as usize {
            return None;
        }
        let start = self.parsed + 4;
        Some(start..start + length as usize)
    }

    fn frame(&mut self, frame: Range<usize>) -> Option<Event<PayloadAt>> {
        self.counts.frames_received += 1;
        let mut bytes = Bytes(&self.input[frame.clone()]);
        let kind = bytes.byte()?;
        let flags = u32::from_be_bytes(bytes.take(4)?.try_into().ok()?);
        let (Some(stream_id), Some(frame_id)) = (bytes.varint(), bytes.varint()) else {
            self.fail(4);
            return None;
        };
        let ids = (stream_id, frame_id);
        let payload = frame.end - bytes.0.len()..frame.end;
        match (self.state, kind) {
            (_, 2) => self.disconnect(flags, ids, payload),
            (State::Hello { .. }, 1) => return self.hello(flags, ids, payload),
            (State::Hello { .. }, _) | (_, 1 | 101..=103) => self.fail(4),
            (_, 3) => return self.notify(flags, ids, payload),
            (_, 0) => return self.unset(flags, ids, payload),
            _ => self.counts.frames_skipped += 1,
        }
        None
    }

    fn hello(&mut self, flags: u32, ids: (u64, u64), payload: Range<usize>) -> Option<Event<PayloadAt>> {
        match decide(flags, ids, &self.input[payload], &self.limits) {
            Decision::Refuse { code, healthcheck } => {
                let delay = if healthcheck { 0 } else { self.limits.refuse_delay };
                if delay == 0 {
                    self.fail(code);
                } else {
                    self.state = State::Refusing { code, reported: Reason::Error(code), until: self.now + delay };
                    self.forget_input();
                }
                None
            }
            Decision::Accept { healthcheck: true, .. } if self.limits.refuse_healthchecks => {
                self.close(Some(13), Reason::HealthCheckRefused);
                None
            }
            Decision::Accept { healthcheck: false, .. }
                if matches!(self.state, State::Hello { is_above_limit: true, .. }) =>
            {
                let until = self.now + self.limits.refuse_delay;
                self.state = State::Refusing { code: 13, reported: Reason::ConnectionLimit, until };
                self.forget_input();
                None
            }
            Decision::Accept { max_frame_size, pipelining, fragmentation, asynchronous, healthcheck } => {
                let capabilities = [pipelining, fragmentation, asynchronous];
                let names: Vec<_> = ["pipelining", "fragmentation", "async"]
                    .into_iter()
                    .zip(capabilities)
                    .filter_map(|(name, agreed)| agreed.then_some(name))
                    .collect();
                write::hello(max_frame_size, &names, &mut self.output);
                if healthcheck {
                    self.close(None, Reason::HealthCheck);
                    return None;
                }
                self.state = State::Running;
                self.max_frame_size = max_frame_size;
                (self.pipelining, self.fragmentation) = (pipelining, fragmentation);
                self.last_active = self.now;
                Some(Event::Ready { max_frame_size, capabilities })
            }
        }
    }

    fn disconnect(&mut self, flags: u32, ids: (u64, u64), payload: Range<usize>) {
        if flags & 1 == 0 {
            return self.fail(10);
        }
        let mut code = Some(0);
        let well_formed = ids == (0, 0)
            && pairs(&self.input[payload], |key, value| match (key, value) {
                (b"status-code", read::Value::Integer(wire, _)) => {
                    code = u32::try_from(wire).ok();
                    true
                }
                (b"message", read::Value::Text(_)) => true,
                (b"status-code" | b"message", _) => false,
                _ => true,
            });
        if !well_formed {
            return self.fail(4);
        }
        let echo = code.filter(|code| *code <= 13 || *code == 99).unwrap_or(99);
        self.close(Some(echo), Reason::Peer(code.unwrap_or(99)));
    }

    fn notify(&mut self, flags: u32, ids: (u64, u64), payload: Range<usize>) -> Option<Event<PayloadAt>> {
        if flags & 1 == 0 {
            if !self.fragmentation {
                self.fail(10);
                return None;
            }
            let reassembly = self.fragments.first(ids, &self.input[payload], self.limits.reassembly_max);
            return self.fragment(ids, reassembly);
        }
        if self.fragments.is_open() {
            self.fail(11);
            return None;
        }
        self.fragments.forget();
        self.whole_notify(ids, PayloadAt::Input(payload))
    }

    fn unset(&mut self, flags: u32, ids: (u64, u64), payload: Range<usize>) -> Option<Event<PayloadAt>> {
        if !self.fragmentation {
            self.fail(10);
            return None;
        }
        let reassembly = if flags & 2 == 0 {
            self.fragments.next(ids, flags & 1 != 0, &self.input[payload], self.limits.reassembly_max)
        } else if self.fragments.abort(ids) {
            self.counts.aborted_by_haproxy += 1;
            Reassembly::Incomplete
        } else {
            Reassembly::OutOfSequence
        };
        self.fragment(ids, reassembly)
    }

    fn fragment(&mut self, ids: (u64, u64), reassembly: Reassembly) -> Option<Event<PayloadAt>> {
        match reassembly {
            Reassembly::Incomplete => {}
            Reassembly::Complete(payload) => {
                self.reassembled = payload;
                return self.whole_notify(ids, PayloadAt::Reassembled);
            }
            Reassembly::TooLarge => {
                self.counts.aborted_by_agent += 1;
                write::frame(103, 3, ids, &mut self.output, |_| {});
            }
            Reassembly::OutOfSequence => self.fail(11),
        }
        None
    }

    /// Handles a NOTIFY that has arrived whole: the handler answers it immediately or defers the answer.
    fn whole_notify(&mut self, ids: (u64, u64), payload_at: PayloadAt) -> Option<Event<PayloadAt>> {
        let payload = payload_at.bytes(&self.input, &self.reassembled);
        let payload_len = payload.len();
        if !self.answer.read(payload) {
            self.fail(4);
            return None;
        }
        self.counts.notifies += 1;
        self.last_active = self.now;
        if matches!(self.state, State::Draining { .. }) {
            self.counts.acks += 1;
            self.counts.acks_declined += 1;
            write::frame(103, 1, ids, &mut self.output, |_| {});
            return None;
        }
        if self.limits.notify_max > 0 && self.counts.notifies >= self.limits.notify_max {
            let until = self.now + self.limits.ack_timeout;
            if !matches!(self.state, State::Draining { .. }) {
                self.state = State::Draining { until, reported: Reason::NotifyMax };
            }
        }
        let index = self.delivered;
        self.delivered += 1;
        if self.answer.delay > 0 || self.answer.kind == NEVER {
            let deadline = self.now + self.limits.ack_timeout;
            self.in_flight.push(InFlight { index, ids, deadline, answer: mem::take(&mut self.answer), payload_len });
        } else {
            ack(ids, &self.answer, self.max_frame_size, &mut self.output, &mut self.counts);
        }
        Some(Event::Notify { ids, index, payload: payload_at })
    }

    /// Sends an empty ACK for each overdue NOTIFY, and closes the connection if a deadline of the connection has
    /// passed.
    fn expire(&mut self) {
        while let Some(at) = self.in_flight.iter().position(|notify| notify.deadline <= self.now) {
            let notify = self.in_flight.remove(at);
            self.counts.acks += 1;
            self.counts.acks_expired += 1;
            write::frame(103, 1, notify.ids, &mut self.output, |_| {});
            self.last_active = self.now;
        }
        if self.stalled_at() <= self.now {
            self.terminate(End::Reason(Reason::SendTimeout));
            return;
        }
        let (close_at, reported) = match self.state {
            State::Running => (self.idle_at(), Reason::Idle),
            State::Draining { until, reported } => (until, reported),
            _ => return,
        };
        if close_at <= self.now {
            self.close(Some(0), reported);
        }
    }

    /// Returns the time at which the idle timeout ends.
    fn idle_at(&self) -> u64 {
        let is_idle = !self.holds_frame() && self.output().is_empty() && self.in_flight.is_empty();
        if self.limits.idle_timeout > 0 && is_idle { self.last_active + self.limits.idle_timeout } else { NEVER_DUE }
    }

    /// Returns the time at which the send timeout ends.
    fn stalled_at(&self) -> u64 {
        if self.output().is_empty() { NEVER_DUE } else { self.last_sent + self.limits.send_timeout }
    }

    /// Ends the conversation because of an error of HAProxy.
    fn fail(&mut self, code: u32) {
        self.close(Some(code), Reason::Error(code));
    }

    /// Ends the conversation: sends AGENT-DISCONNECT with the code `sent`, if there is one, and reports `reported`.
    fn close(&mut self, sent: Option<u32>, reported: Reason) {
        if let Some(code) = sent {
            write::disconnect(code, &mut self.output);
        }
        self.cancel(End::Reason(reported));
        self.state = State::Closing { until: self.now + self.limits.send_timeout };
    }

    /// Closes the connection immediately. Unsent bytes are dropped.
    fn terminate(&mut self, end: End) {
        if self.state == State::Closed {
            return;
        }
        self.cancel(end);
        self.output.clear();
        self.sent = 0;
        self.state = State::Closed;
    }

    /// Cancels the NOTIFYs in flight and reports the end, unless the conversation has already ended.
    fn cancel(&mut self, end: End) {
        if !matches!(self.state, State::Closing { .. } | State::Closed) {
            self.end = Some(end);
        }
        self.in_flight.clear();
        self.fragments.forget();
        self.forget_input();
    }

    fn forget_input(&mut self) {
        self.input.clear();
        self.parsed = 0;
    }
}

impl PayloadAt {
    fn bytes<'p>(&self, input: &'p [u8], reassembled: &'p [u8]) -> &'p [u8] {
        match self {
            Self::Input(range) => &input[range.clone()],
            Self::Reassembled => reassembled,
        }
    }
}

/// Appends the ACK with as many whole actions of `answer` as fit into a frame.
fn ack(ids: (u64, u64), answer: &Answer, max_frame_size: u32, output: &mut Vec<u8>, counts: &mut Counts) {
    let start = output.len();
    let failed = matches!(answer.kind, DROP | HALF);
    counts.acks += 1;
    counts.acks_unanswered += u64::from(failed);
    write::frame(103, 1, ids, output, |out| {
        let room = max_frame_size as usize + 4 - (out.len() - start);
        let len = if failed { 0 } else { answer.fitting(room) };
        counts.acks_cut += u64::from(!failed && len < answer.actions.len());
        out.extend_from_slice(&answer.actions[..len]);
    });
}
