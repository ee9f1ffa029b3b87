//! The expected behaviour of one connection.

mod ends;
mod frames;
mod queries;
mod timers;

use std::mem;
use std::ops::Range;

use crate::answers::Answer;
use crate::counts::Counts;
use crate::fragments::Fragments;
use crate::limits::Limits;

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
    /// HAProxy's id, of the last HELLO.
    engine_id: Option<Vec<u8>>,
    counts: Counts,
    /// The number of actions that did not fit into their ACKs.
    dropped_actions: usize,
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
        /// True for each capability that HAProxy lists, in the same order.
        offered: [bool; 3],
        /// HAProxy's id, if it has sent one.
        engine_id: Option<P>,
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

/// The position of the payload of a NOTIFY, or of an engine-id.
#[derive(Clone, Debug)]
enum PayloadAt {
    Input(Range<usize>),
    Reassembled,
    EngineId,
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
            engine_id: None,
            counts: Counts::default(),
            dropped_actions: 0,
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
        self.ack(notify.ids, &notify.answer);
        true
    }

    /// Returns the event that the agent has to report next, if there is one.
    pub fn next_event(&mut self) -> Option<Event<&[u8]>> {
        Some(match self.advance()? {
            Event::Ready { max_frame_size, capabilities, offered, engine_id } => {
                Event::Ready { max_frame_size, capabilities, offered, engine_id: engine_id.map(|at| self.bytes(&at)) }
            }
            Event::Notify { ids, index, payload } => Event::Notify { ids, index, payload: self.bytes(&payload) },
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

    /// Sets the time. The send timeout does not run while nothing is unsent.
    fn tick(&mut self, now: u64) {
        self.now = now;
        if self.output().is_empty() {
            self.last_sent = now;
        }
    }
}
