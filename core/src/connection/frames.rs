//! The effect of each frame on the conversation.

use core::ops::Range;
use core::time::Duration;

use super::polls::{EventRanges, Payload};
use super::{ABOVE_LIMIT, Connection, State};
use crate::error::PeerError;
use crate::event::{CloseReason, LocalReason};
use crate::handshake::{Negotiated, VERSION, negotiate, version_error};
use crate::reassembly::Fragment;
use crate::status::Status;
use crate::table::{Input, Step, step};
use crate::wire::{AgentHello, Disconnect, Flags, Frame, FrameId, FrameType, HaproxyHello, Messages, StreamId};

impl Connection {
    /// Takes the step that the table defines for the frame at `range`. Returns the event that results, if there is one.
    #[inline]
    pub(super) fn handle_frame(&mut self, range: Range<usize>) -> Option<EventRanges> {
        self.outbox.stats.frames_received += 1;
        let bytes = self.recv.bytes(range.clone());
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                let frame_type = FrameType(bytes[0]);
                self.malformed(PeerError::Malformed { frame_type, error });
                return None;
            }
        };
        let payload = range.end - frame.payload.len()..range.end;
        debug_assert!(payload.start > range.start, "a frame has a header");
        let Frame { frame_type, flags, stream_id, frame_id, .. } = frame;
        match self.take(Input::of_frame(frame_type)) {
            Step::Deliver | Step::Decline => return self.handle_notify(flags, (stream_id, frame_id), payload),
            Step::Reassemble => return self.handle_unset(flags, (stream_id, frame_id), payload),
            Step::Negotiate => return self.handle_hello(flags, (stream_id, frame_id), payload),
            Step::Echo => self.handle_disconnect(flags, (stream_id, frame_id), payload),
            Step::Skip => self.outbox.stats.frames_skipped += 1,
            _ => self.fail(PeerError::Unexpected(frame_type)),
        }
        None
    }

    fn handle_hello(&mut self, flags: Flags, ids: (StreamId, FrameId), range: Range<usize>) -> Option<EventRanges> {
        let frame_type = FrameType::HAPROXY_HELLO;
        let payload = self.recv.bytes(range.clone());
        let decoded = HaproxyHello::decode(payload).map_err(|error| PeerError::Malformed { frame_type, error });
        let checked = match check_control(frame_type, flags, ids) {
            Ok(()) => decoded.and_then(|hello| Ok((hello, negotiate(&hello, &self.config)?))),
            // HAProxy before 1.8.10 sends the flags in its native byte order, so that FIN seems clear. The real error
            // is its version.
            Err(error) => Err(decoded.ok().and_then(|hello| version_error(&hello)).unwrap_or(error)),
        };
        let (hello, negotiated) = match checked {
            Ok(checked) => checked,
            Err(error) => {
                let delay =
                    if HaproxyHello::is_healthcheck(payload) { Duration::ZERO } else { self.config.refuse_delay };
                let (status, reason) = (error.status(), CloseReason::Error(error));
                debug_assert!(status != Status::NORMAL, "a refusal has the code of its error");
                self.enter(State::Refusing { status, reason, until: self.now + delay });
                // Input after the HELLO is dropped, whether it arrived together with the HELLO or later.
                self.recv.clear();
                if delay.is_zero() {
                    self.refuse();
                }
                return None;
            }
        };
        let healthcheck = hello.healthcheck;
        if healthcheck && self.config.refuse_healthchecks {
            self.close(Some(Status::RESOURCE), CloseReason::Local(LocalReason::HealthCheckRefused));
            return None;
        }
        if self.is_above_limit() && !healthcheck {
            let until = self.now + self.config.refuse_delay;
            self.enter(State::Refusing { status: Status::RESOURCE, reason: ABOVE_LIMIT, until });
            self.recv.clear();
            return None;
        }
        let Negotiated { max_frame_size, capabilities, .. } = negotiated;
        self.outbox.send.control_frame(|out| AgentHello { version: VERSION, max_frame_size, capabilities }.encode(out));
        if healthcheck {
            self.close(None, CloseReason::HealthCheck);
            return None;
        }
        debug_assert!(max_frame_size <= self.config.max_frame_size, "both sides accept the size");
        debug_assert_eq!(self.outbox.stats.notifies, 0, "the HELLO precedes every NOTIFY");
        self.outbox.max_frame_size = max_frame_size;
        self.enter(State::Running { negotiated });
        self.last_active = self.now;
        Some(EventRanges::Ready { negotiated, hello: range })
    }

    #[inline]
    fn handle_notify(&mut self, flags: Flags, ids: (StreamId, FrameId), range: Range<usize>) -> Option<EventRanges> {
        if flags.is_fin() {
            if let Err(error) = self.reassembly.require_none_pending(FrameType::NOTIFY) {
                self.fail(error);
                return None;
            }
            return self.deliver(ids, Payload::Recv(range));
        }
        if !self.takes_fragments() {
            self.fail(PeerError::Fragmented(FrameType::NOTIFY));
            return None;
        }
        let fragment = self.reassembly.begin(ids, self.recv.bytes(range));
        self.handle_fragment(ids, fragment)
    }

    fn handle_unset(&mut self, flags: Flags, ids: (StreamId, FrameId), range: Range<usize>) -> Option<EventRanges> {
        if !self.takes_fragments() {
            self.fail(PeerError::Fragmented(FrameType::UNSET));
            return None;
        }
        let fragment = if flags.is_abort() {
            self.reassembly.abort(ids).map(|()| {
                self.outbox.stats.aborted_by_haproxy += 1;
                Fragment::Taken
            })
        } else {
            self.reassembly.extend(ids, flags.is_fin(), self.recv.bytes(range))
        };
        self.handle_fragment(ids, fragment)
    }

    fn handle_fragment(
        &mut self,
        ids: (StreamId, FrameId),
        fragment: Result<Fragment, PeerError>,
    ) -> Option<EventRanges> {
        match fragment {
            Ok(Fragment::Taken) => None,
            Ok(Fragment::Last) => self.deliver(ids, Payload::Reassembled),
            Ok(Fragment::TooLarge) => {
                self.outbox.send.empty_ack(Flags::FIN_ABORT, ids.0, ids.1);
                self.outbox.stats.aborted_by_agent += 1;
                None
            }
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// Checks a whole NOTIFY to its last byte, then hands it out or, during a drain, declines it.
    #[inline]
    fn deliver(&mut self, ids: (StreamId, FrameId), payload: Payload) -> Option<EventRanges> {
        let bytes = match &payload {
            Payload::Recv(range) => self.recv.bytes(range.clone()),
            Payload::Reassembled => self.reassembly.payload(),
        };
        debug_assert!(!self.reassembly.is_pending(), "a whole NOTIFY does not arrive between fragments");
        debug_assert!(self.outbox.open.is_none(), "NOTIFYs are handed out one after the other");
        let messages = match Messages::decode(bytes) {
            Ok(messages) => messages.len() as u32,
            Err(error) => {
                self.fail(PeerError::Malformed { frame_type: FrameType::NOTIFY, error });
                return None;
            }
        };
        self.outbox.stats.notifies += 1;
        self.last_active = self.now;
        if step(self.state.name(), Input::Notify) == Step::Decline {
            self.outbox.empty_ack(ids);
            self.outbox.stats.acks_declined += 1;
            self.reassembly.settle();
            return None;
        }
        if self.config.notify_max.is_some_and(|max| self.outbox.stats.notifies >= max.get()) {
            self.drain(LocalReason::NotifyMax, self.now + self.config.ack_timeout);
        }
        Some(EventRanges::Notify { ids, payload, messages })
    }

    fn handle_disconnect(&mut self, flags: Flags, ids: (StreamId, FrameId), range: Range<usize>) {
        let frame_type = FrameType::HAPROXY_DISCONNECT;
        let decoded = check_control(frame_type, flags, ids).and_then(|()| {
            Disconnect::decode(self.recv.bytes(range)).map_err(|error| PeerError::Malformed { frame_type, error })
        });
        match decoded {
            Ok(Disconnect { status, .. }) => self.close(Some(status.known_or_unknown()), CloseReason::Peer(status)),
            Err(error) => self.fail(error),
        }
    }
}

/// Checks the header of a HELLO or DISCONNECT: it must not be a fragment, and both ids must be 0.
fn check_control(frame_type: FrameType, flags: Flags, ids: (StreamId, FrameId)) -> Result<(), PeerError> {
    if !flags.is_fin() {
        return Err(PeerError::Fragmented(frame_type));
    }
    if ids != (StreamId(0), FrameId(0)) {
        return Err(PeerError::NonZeroId(frame_type));
    }
    Ok(())
}
