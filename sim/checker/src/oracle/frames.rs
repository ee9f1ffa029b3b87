//! HAProxy's frames: each is found in the input, and answered or turned into an event.

use std::mem;
use std::ops::Range;

use super::{Event, InFlight, Oracle, PayloadAt, Reason, State};
use crate::answers::{Answer, DROP, HALF, NEVER};
use crate::codec::{self, Bytes, Value, pairs};
use crate::fragments::Reassembly;
use crate::hello::{Decision, decide};

impl Oracle {
    /// Returns the range of the next frame, without its length. Returns `None` if the frame has not arrived whole, or
    /// if its length is invalid, which closes the connection.
    pub(super) fn whole_frame(&mut self) -> Option<Range<usize>> {
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

    pub(super) fn frame(&mut self, frame: Range<usize>) -> Option<Event<PayloadAt>> {
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
            Decision::Accept {
                max_frame_size,
                pipelining,
                fragmentation,
                asynchronous,
                offered,
                healthcheck,
                engine_id,
            } => {
                self.engine_id = engine_id.map(<[u8]>::to_vec);
                let capabilities = [pipelining, fragmentation, asynchronous];
                let names: Vec<_> = ["pipelining", "fragmentation", "async"]
                    .into_iter()
                    .zip(capabilities)
                    .filter_map(|(name, agreed)| agreed.then_some(name))
                    .collect();
                codec::hello(max_frame_size, &names, &mut self.output);
                if healthcheck {
                    self.close(None, Reason::HealthCheck);
                    return None;
                }
                self.state = State::Running;
                self.max_frame_size = max_frame_size;
                (self.pipelining, self.fragmentation) = (pipelining, fragmentation);
                self.last_active = self.now;
                let engine_id = self.engine_id.is_some().then_some(PayloadAt::EngineId);
                Some(Event::Ready { max_frame_size, capabilities, offered, engine_id })
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
                (b"status-code", Value::Integer(wire, _)) => {
                    code = u32::try_from(wire).ok();
                    true
                }
                (b"message", Value::Text(_)) => true,
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
            let reassembly = self.fragments.first(ids, &self.input[payload], self.limits.reassembly_max as usize);
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
            self.fragments.next(ids, flags & 1 != 0, &self.input[payload], self.limits.reassembly_max as usize)
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
                codec::frame(103, 3, ids, &mut self.output, |_| {});
            }
            Reassembly::OutOfSequence => self.fail(11),
        }
        None
    }

    /// Handles a NOTIFY that has arrived whole: the handler answers it immediately or defers the answer.
    fn whole_notify(&mut self, ids: (u64, u64), payload_at: PayloadAt) -> Option<Event<PayloadAt>> {
        let mut answer = mem::take(&mut self.answer);
        let payload = self.bytes(&payload_at);
        let payload_len = payload.len();
        let is_well_formed = answer.read(payload);
        self.answer = answer;
        if !is_well_formed {
            self.fail(4);
            return None;
        }
        self.counts.notifies += 1;
        self.last_active = self.now;
        if matches!(self.state, State::Draining { .. }) {
            self.counts.acks += 1;
            self.counts.acks_declined += 1;
            codec::frame(103, 1, ids, &mut self.output, |_| {});
            return None;
        }
        if self.limits.notify_max > 0 && self.counts.notifies >= u64::from(self.limits.notify_max) {
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
            let answer = mem::take(&mut self.answer);
            self.ack(ids, &answer);
            self.answer = answer;
        }
        Some(Event::Notify { ids, index, payload: payload_at })
    }

    pub(super) fn bytes(&self, at: &PayloadAt) -> &[u8] {
        match at {
            PayloadAt::Input(range) => &self.input[range.clone()],
            PayloadAt::Reassembled => &self.reassembled,
            PayloadAt::EngineId => self.engine_id.as_deref().unwrap_or_default(),
        }
    }

    /// Sends the ACK with as many whole actions of `answer` as fit into a frame.
    pub(super) fn ack(&mut self, ids: (u64, u64), answer: &Answer) {
        let Self { output, counts, max_frame_size, .. } = self;
        let start = output.len();
        let failed = matches!(answer.kind, DROP | HALF);
        counts.acks += 1;
        counts.acks_unanswered += u64::from(failed);
        codec::frame(103, 1, ids, output, |out| {
            let room = *max_frame_size as usize + 4 - (out.len() - start);
            let (len, dropped) = if failed { (0, 0) } else { answer.fitting(room) };
            counts.acks_cut += u64::from(dropped > 0);
            self.dropped_actions += dropped;
            out.extend_from_slice(&answer.actions[..len]);
        });
    }
}
