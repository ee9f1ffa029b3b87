//! One connection, as it should be.

use std::mem;
use std::ops::Range;

use crate::answers::{Answer, DROP, HALF, NEVER};
use crate::counts::Counts;
use crate::fragments::{Fragments, Piece};
use crate::hello::{Judgement, judge};
use crate::limits::Limits;
use crate::read::{Bytes, pairs};
use crate::{read, write};

/// The expected behaviour of an agent's connection, worked out from everything that is done to it.
///
/// Tell it each thing before asking the core, then compare what both say: [`next_event`](Self::next_event) until there
/// is none, [`output`](Self::output), [`wants_input`](Self::wants_input), [`deadline`](Self::deadline),
/// [`is_closed`](Self::is_closed).
#[derive(Debug)]
pub struct Oracle {
    limits: Limits,
    now: u64,
    on_hold: bool,
    state: State,
    max_frame_size: u32,
    pipelining: bool,
    fragmentation: bool,
    /// The bytes that the agent has read, from the first one that it has not parsed.
    input: Vec<u8>,
    looked: usize,
    /// The bytes that it has to send, from the first one that it has not sent.
    output: Vec<u8>,
    sent: usize,
    flight: Vec<Flight>,
    /// The number of NOTIFYs that were handed out.
    handed: u64,
    counts: Counts,
    fragments: Fragments,
    /// The last NOTIFY that was put together from pieces.
    joined: Vec<u8>,
    /// The answer to the last NOTIFY, unless it waits in flight.
    answer: Answer,
    end: Option<End>,
    last_active: u64,
    last_sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Hello {
        until: u64,
    },
    /// It will say `code` and tell `told`.
    Refusing {
        code: u32,
        told: u32,
        until: u64,
    },
    Running,
    Draining {
        until: u64,
    },
    Closing {
        until: u64,
    },
    Closed,
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Code(u32),
    Eof { in_flight: usize, mid_frame: bool },
}

/// A NOTIFY that waits for its answer.
#[derive(Debug)]
struct Flight {
    number: u64,
    ids: (u64, u64),
    deadline: u64,
    answer: Answer,
    payload: usize,
}

/// An event that the agent has to report to its application. `P` is a payload: its bytes, or where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<P> {
    /// The HELLO was accepted.
    Ready {
        /// The negotiated frame size.
        max_frame_size: u32,
        /// Pipelining, fragmentation, async.
        capabilities: [bool; 3],
    },
    /// A NOTIFY.
    Notify {
        /// Its stream-id and frame-id.
        ids: (u64, u64),
        /// The number of NOTIFYs that were handed out before it.
        number: u64,
        /// Its payload.
        payload: P,
    },
    /// HAProxy's end came, with so many NOTIFYs in flight, and bytes that were not looked at or not.
    Ended {
        /// The number of NOTIFYs in flight.
        in_flight: usize,
        /// True if unprocessed input was left.
        mid_frame: bool,
    },
    /// The end, with the code that it was or would have been given; [`SILENT`] without any.
    Closed(u32),
}

/// Where the payload of a NOTIFY is.
#[derive(Clone, Debug)]
enum Place {
    Input(Range<usize>),
    Joined,
}

/// The end of a connection without a DISCONNECT.
pub const SILENT: u32 = u32::MAX;

const NEVER_DUE: u64 = u64::MAX;

impl Oracle {
    /// A connection that was just accepted.
    pub fn new(limits: Limits, now: u64) -> Self {
        Self {
            limits,
            now,
            on_hold: false,
            state: State::Hello { until: now + limits.hello_timeout },
            max_frame_size: limits.max_frame_size,
            pipelining: false,
            fragmentation: false,
            input: Vec::new(),
            looked: 0,
            output: Vec::new(),
            sent: 0,
            flight: Vec::new(),
            handed: 0,
            counts: Counts::default(),
            fragments: Fragments::default(),
            joined: Vec::new(),
            answer: Answer::default(),
            end: None,
            last_active: now,
            last_sent: now,
        }
    }

    /// The same, but there is no room for it.
    pub fn refused(self) -> Self {
        let state = State::Refusing { code: 13, told: 0, until: self.now + self.limits.refuse_delay };
        Self { state, ..self }
    }

    /// A connection that was just accepted, in the memory of this one.
    pub fn renewed(mut self, limits: Limits, now: u64) -> Self {
        self.input.clear();
        self.output.clear();
        self.flight.clear();
        let Self { input, output, flight, answer, .. } = self;
        Self { input, output, flight, answer, ..Self::new(limits, now) }
    }

    /// The agent read these bytes.
    pub fn input(&mut self, now: u64, bytes: &[u8]) {
        self.tick(now);
        if self.looks() {
            let is_at_rest = self.looked == self.input.len() && self.flight.is_empty() && !self.fragments.is_open();
            if is_at_rest && !bytes.is_empty() {
                self.last_active = now;
            }
            self.input.extend_from_slice(bytes);
        }
    }

    /// The agent read the end.
    pub fn eof(&mut self, now: u64) {
        self.tick(now);
        let end = End::Eof { in_flight: self.flight.len(), mid_frame: self.looked < self.input.len() };
        self.die(end);
    }

    /// The agent was told to stop.
    pub fn stop(&mut self, now: u64, grace: u64) {
        self.tick(now);
        match &mut self.state {
            State::Hello { .. } => self.close(Some(13), 0),
            State::Refusing { code, told, .. } => {
                let (code, told) = (*code, *told);
                self.close(Some(code), told);
            }
            State::Running => self.state = State::Draining { until: now + grace },
            State::Draining { until } => *until = (*until).min(now + grace),
            State::Closing { .. } | State::Closed => {}
        }
    }

    /// True if the agent has as many NOTIFYs in flight, of all its connections, as it may have.
    pub fn hold(&mut self, on: bool) {
        self.on_hold = on;
    }

    /// The agent has no memory left for it.
    pub fn shed(&mut self, now: u64) {
        self.tick(now);
        match self.state {
            State::Refusing { code, told, .. } => self.close(Some(code), told),
            State::Hello { .. } | State::Running | State::Draining { .. } if self.output().is_empty() => {
                self.close(Some(13), 13);
            }
            _ => self.die(End::Code(13)),
        }
    }

    /// The agent looked at the time.
    pub fn timeout(&mut self, now: u64) {
        self.tick(now);
        match self.state {
            State::Hello { until } if until <= now => self.close(Some(2), 2),
            State::Refusing { code, told, until } if until <= now => self.close(Some(code), told),
            State::Running | State::Draining { .. } => self.overdue(),
            State::Closing { until } if until.min(self.stalled_at()) <= now => self.die(End::Code(SILENT)),
            _ => {}
        }
    }

    /// The socket took so many bytes.
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

    /// The application answers the NOTIFY of this number, which it had deferred; true if it still can.
    pub fn answer(&mut self, now: u64, number: u64) -> bool {
        self.tick(now);
        let Some(place) = self.flight.iter().position(|flight| flight.number == number) else { return false };
        let flight = self.flight.remove(place);
        self.last_active = now;
        ack(flight.ids, &flight.answer, self.max_frame_size, &mut self.output, &mut self.counts);
        true
    }

    /// Returns the event that the agent has to report next, if there is one.
    pub fn next_event(&mut self) -> Option<Event<&[u8]>> {
        Some(match self.advance()? {
            Event::Ready { max_frame_size, capabilities } => Event::Ready { max_frame_size, capabilities },
            Event::Notify { ids, number, payload } => {
                Event::Notify { ids, number, payload: payload.bytes(&self.input, &self.joined) }
            }
            Event::Closed(code) => Event::Closed(code),
            Event::Ended { in_flight, mid_frame } => Event::Ended { in_flight, mid_frame },
        })
    }

    fn advance(&mut self) -> Option<Event<Place>> {
        loop {
            match self.end.take() {
                Some(End::Code(code)) => return Some(Event::Closed(code)),
                Some(End::Eof { in_flight, mid_frame }) => return Some(Event::Ended { in_flight, mid_frame }),
                None => {}
            }
            if !self.looks() || self.is_blocked() && self.is_notify_next() {
                return None;
            }
            let Some(place) = self.whole_frame() else {
                if self.end.is_some() {
                    continue;
                }
                if matches!(self.state, State::Draining { .. }) && self.flight.is_empty() {
                    self.close(Some(0), 0);
                    continue;
                }
                return None;
            };
            self.looked = place.end;
            if let Some(event) = self.frame(place) {
                return Some(event);
            }
        }
    }

    /// Returns the bytes that the agent has to send.
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// False while the agent must not read.
    pub fn wants_input(&self) -> bool {
        let room = 2 * (4 + self.limits.max_frame_size as usize);
        self.state != State::Closed && self.input.len() - self.looked < room
    }

    /// When the agent has to look at the time, if nothing happens.
    pub fn deadline(&self) -> Option<u64> {
        let own = match self.state {
            State::Closed => return None,
            State::Hello { until } | State::Refusing { until, .. } | State::Closing { until } => until,
            State::Running => self.idle_at(),
            State::Draining { until } => until,
        };
        let answers = self.flight.iter().map(|flight| flight.deadline).min().unwrap_or(NEVER_DUE);
        let first = own.min(answers).min(self.stalled_at());
        (first != NEVER_DUE).then_some(first)
    }

    /// True when the socket may go.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// True when all is said.
    pub fn is_send_finished(&self) -> bool {
        matches!(self.state, State::Closing { .. } | State::Closed) && self.output().is_empty()
    }

    /// True if nothing is left to be kept: no part of a frame, no answer, no fragment.
    pub fn holds_nothing(&self) -> bool {
        let read = self.looked == self.input.len();
        read && self.output().is_empty() && self.flight.is_empty() && !self.fragments.is_open()
    }

    /// Returns the number of NOTIFYs in flight.
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// Returns its counts.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The name of the state, for reports.
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

    fn tick(&mut self, now: u64) {
        self.now = now;
        if self.output().is_empty() {
            self.last_sent = now;
        }
    }

    fn looks(&self) -> bool {
        matches!(self.state, State::Hello { .. } | State::Running | State::Draining { .. })
    }

    fn is_blocked(&self) -> bool {
        if matches!(self.state, State::Hello { .. }) {
            return false;
        }
        let most = if self.pipelining { self.limits.in_flight_max } else { 1 };
        let kept: usize = self.flight.iter().map(|flight| flight.payload).sum();
        let on_hold = self.on_hold && self.state == State::Running;
        on_hold
            || self.flight.len() >= most
            || kept >= self.limits.deferred_max
            || self.output().len() >= self.limits.unsent_max
    }

    /// True if what waits begins with a NOTIFY or a piece of one, or says nothing yet.
    fn is_notify_next(&self) -> bool {
        matches!(self.input[self.looked..].get(4), None | Some(0 | 3))
    }

    /// True if a frame waits that is whole, or whose length is wrong.
    fn holds_frame(&self) -> bool {
        let waiting = &self.input[self.looked..];
        waiting.first_chunk::<4>().is_some_and(|length| {
            let length = u32::from_be_bytes(*length);
            !(7..=self.max_frame_size).contains(&length) || waiting.len() - 4 >= length as usize
        })
    }

    /// Where the next frame is, without its length; `None` until it is there, or if its length ends everything.
    fn whole_frame(&mut self) -> Option<Range<usize>> {
        let waiting = &self.input[self.looked..];
        if waiting.is_empty() {
            self.input.clear();
            self.looked = 0;
            return None;
        }
        let length = u32::from_be_bytes(waiting.get(..4)?.try_into().ok()?);
        if length > self.max_frame_size {
            self.close(Some(3), 3);
            return None;
        }
        if length < 7 {
            self.close(Some(4), 4);
            return None;
        }
        if waiting.len() - 4 < length as usize {
            return None;
        }
        let start = self.looked + 4;
        Some(start..start + length as usize)
    }

    fn frame(&mut self, place: Range<usize>) -> Option<Event<Place>> {
        self.counts.frames_received += 1;
        let mut bytes = Bytes(&self.input[place.clone()]);
        let kind = bytes.byte()?;
        let flags = u32::from_be_bytes(bytes.take(4)?.try_into().ok()?);
        let (Some(stream), Some(number)) = (bytes.varint(), bytes.varint()) else {
            self.close(Some(4), 4);
            return None;
        };
        let ids = (stream, number);
        let payload = place.end - bytes.0.len()..place.end;
        match (self.state, kind) {
            (_, 2) => self.disconnect(flags, ids, payload),
            (State::Hello { .. }, 1) => return self.hello(flags, ids, payload),
            (State::Hello { .. }, _) | (_, 1 | 101..=103) => self.close(Some(4), 4),
            (_, 3) => return self.notify(flags, ids, payload),
            (_, 0) => return self.unset(flags, ids, payload),
            _ => self.counts.frames_skipped += 1,
        }
        None
    }

    fn hello(&mut self, flags: u32, ids: (u64, u64), payload: Range<usize>) -> Option<Event<Place>> {
        match judge(flags, ids, &self.input[payload], &self.limits) {
            Judgement::Refuse { code, healthcheck } => {
                let delay = if healthcheck { 0 } else { self.limits.refuse_delay };
                if delay == 0 {
                    self.close(Some(code), code);
                } else {
                    self.state = State::Refusing { code, told: code, until: self.now + delay };
                    self.forget_input();
                }
                None
            }
            Judgement::Accept { healthcheck: true, .. } if self.limits.refuse_healthchecks => {
                self.close(Some(13), 13);
                None
            }
            Judgement::Accept { max_frame_size, pipelining, fragmentation, asynchronous, healthcheck } => {
                let capabilities = [pipelining, fragmentation, asynchronous];
                let names: Vec<_> = ["pipelining", "fragmentation", "async"]
                    .into_iter()
                    .zip(capabilities)
                    .filter_map(|(name, agreed)| agreed.then_some(name))
                    .collect();
                write::hello(max_frame_size, &names, &mut self.output);
                if healthcheck {
                    self.close(None, SILENT);
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
            return self.close(Some(10), 10);
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
            return self.close(Some(4), 4);
        }
        let echo = code.filter(|code| *code <= 13 || *code == 99).unwrap_or(99);
        self.close(Some(echo), echo);
    }

    fn notify(&mut self, flags: u32, ids: (u64, u64), payload: Range<usize>) -> Option<Event<Place>> {
        if flags & 1 == 0 {
            if !self.fragmentation {
                self.close(Some(10), 10);
                return None;
            }
            let piece = self.fragments.first(ids, &self.input[payload], self.limits.reassembly_max);
            return self.piece(ids, piece);
        }
        if self.fragments.is_open() {
            self.close(Some(11), 11);
            return None;
        }
        self.fragments.forget();
        self.whole(ids, Place::Input(payload))
    }

    fn unset(&mut self, flags: u32, ids: (u64, u64), payload: Range<usize>) -> Option<Event<Place>> {
        if !self.fragmentation {
            self.close(Some(10), 10);
            return None;
        }
        let piece = if flags & 2 == 0 {
            self.fragments.next(ids, flags & 1 != 0, &self.input[payload], self.limits.reassembly_max)
        } else if self.fragments.abort(ids) {
            self.counts.aborted_by_haproxy += 1;
            Piece::More
        } else {
            Piece::OutOfPlace
        };
        self.piece(ids, piece)
    }

    fn piece(&mut self, ids: (u64, u64), piece: Piece) -> Option<Event<Place>> {
        match piece {
            Piece::More => {}
            Piece::Whole(payload) => {
                self.joined = payload;
                return self.whole(ids, Place::Joined);
            }
            Piece::TooLarge => {
                self.counts.aborted_by_agent += 1;
                write::frame(103, 3, ids, &mut self.output, |_| {});
            }
            Piece::OutOfPlace => self.close(Some(11), 11),
        }
        None
    }

    /// A NOTIFY is there: the application answers it, now or later.
    fn whole(&mut self, ids: (u64, u64), place: Place) -> Option<Event<Place>> {
        let payload = place.bytes(&self.input, &self.joined);
        let len = payload.len();
        if !self.answer.read(payload) {
            self.close(Some(4), 4);
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
            self.state = State::Draining { until: self.now + self.limits.ack_timeout };
        }
        let number = self.handed;
        self.handed += 1;
        if self.answer.after > 0 || self.answer.kind == NEVER {
            let deadline = self.now + self.limits.ack_timeout;
            self.flight.push(Flight { number, ids, deadline, answer: mem::take(&mut self.answer), payload: len });
        } else {
            ack(ids, &self.answer, self.max_frame_size, &mut self.output, &mut self.counts);
        }
        Some(Event::Notify { ids, number, payload: place })
    }

    fn overdue(&mut self) {
        while let Some(place) = self.flight.iter().position(|flight| flight.deadline <= self.now) {
            let flight = self.flight.remove(place);
            self.counts.acks += 1;
            self.counts.acks_expired += 1;
            write::frame(103, 1, flight.ids, &mut self.output, |_| {});
            self.last_active = self.now;
        }
        if self.stalled_at() <= self.now {
            self.die(End::Code(SILENT));
            return;
        }
        let over = match self.state {
            State::Running => self.idle_at(),
            State::Draining { until } => until,
            _ => NEVER_DUE,
        };
        if over <= self.now {
            self.close(Some(0), 0);
        }
    }

    fn idle_at(&self) -> u64 {
        let quiet = !self.holds_frame() && self.output().is_empty() && self.flight.is_empty();
        if self.limits.idle_timeout > 0 && quiet { self.last_active + self.limits.idle_timeout } else { NEVER_DUE }
    }

    fn stalled_at(&self) -> u64 {
        if self.output().is_empty() { NEVER_DUE } else { self.last_sent + self.limits.send_timeout }
    }

    fn close(&mut self, say: Option<u32>, code: u32) {
        if let Some(code) = say {
            write::disconnect(code, &mut self.output);
        }
        self.cancel(End::Code(code));
        self.state = State::Closing { until: self.now + self.limits.send_timeout };
    }

    fn die(&mut self, end: End) {
        if self.state == State::Closed {
            return;
        }
        self.cancel(end);
        self.output.clear();
        self.sent = 0;
        self.state = State::Closed;
    }

    fn cancel(&mut self, end: End) {
        if !matches!(self.state, State::Closing { .. } | State::Closed) {
            self.end = Some(end);
        }
        self.flight.clear();
        self.fragments.forget();
        self.forget_input();
    }

    fn forget_input(&mut self) {
        self.input.clear();
        self.looked = 0;
    }
}

impl Place {
    fn bytes<'p>(&self, input: &'p [u8], joined: &'p [u8]) -> &'p [u8] {
        match self {
            Self::Input(range) => &input[range.clone()],
            Self::Joined => joined,
        }
    }
}

/// Appends the ACK with as much of `answer` as a frame may hold.
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
