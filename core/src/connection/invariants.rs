//! The invariants of a connection between two calls, whatever its peer and its caller do. Debug assertions check them.

use super::{Connection, State};
use crate::wire::{Capabilities, MAX_FRAME_SIZE_MIN};

impl Connection {
    /// Checks the connection after a call.
    #[inline]
    pub(super) fn invariants(&self) {
        if cfg!(debug_assertions) {
            self.check_state();
            self.check_limits();
            self.check_counters();
            self.check_times();
        }
    }

    /// Each state holds only what it needs: data of an earlier state would be parsed, sent or answered later.
    fn check_state(&self) {
        let (unsent, in_flight) = (self.outbox.send.unsent(), self.in_flight.len());
        match self.state {
            State::AwaitHello { .. } => {
                assert_eq!(unsent, 0, "nothing is sent before the HELLO");
                assert_eq!(in_flight, 0, "no NOTIFY precedes the HELLO");
                assert!(!self.reassembly.is_pending(), "no fragment precedes the HELLO");
            }
            State::Refusing { .. } => {
                assert!(self.recv.is_empty(), "input after a HELLO that is refused is dropped");
                assert_eq!(unsent, 0, "a refusal is sent once it is due");
                assert_eq!(in_flight, 0, "no NOTIFY is taken on a connection that is refused");
            }
            State::Running { negotiated } | State::Draining { negotiated, .. } => {
                assert_eq!(negotiated.max_frame_size, self.outbox.max_frame_size, "ACKs have the negotiated size");
                assert!(self.config.capabilities.contains(negotiated.capabilities), "we use only what we offer");
                let is_pipelined = negotiated.capabilities.contains(Capabilities::PIPELINING);
                assert!(is_pipelined || in_flight <= 1, "without pipelining one NOTIFY is in flight");
                let takes_fragments = negotiated.capabilities.contains(Capabilities::FRAGMENTATION);
                assert!(takes_fragments || !self.reassembly.is_pending(), "fragments are taken only if agreed");
            }
            State::Closing { .. } | State::Closed => {
                assert_eq!(in_flight, 0, "no NOTIFY can be answered after the end");
                assert!(!self.reassembly.is_pending(), "fragments are dropped at the end");
                assert!(self.recv.is_empty(), "input is dropped at the end");
            }
        }
        let is_ended = matches!(self.state, State::Closing { .. } | State::Closed);
        assert!(self.closed.is_none() || is_ended, "an end is reported after it has happened");
        assert!(!self.is_closed() || unsent == 0, "a socket that can be closed has nothing to send");
        assert!(!self.is_closed() || self.poll_timeout().is_none(), "a connection that is closed has no deadline");
        let waits_for_ever = matches!(self.state, State::Running { .. } | State::Closed);
        assert!(waits_for_ever || self.poll_timeout().is_some(), "every state but these two ends by itself");
    }

    /// True if the connection holds anything.
    pub(super) fn is_in_use(&self) -> bool {
        self.blocked().waits_for_peer() || self.has_frame() || self.in_flight.len() > 0
    }

    /// Memory is bounded by the configuration alone.
    fn check_limits(&self) {
        let (memory, most) = (self.usage().memory, self.config.memory_max_by_buffer());
        assert!(memory.recv <= most.recv, "the receive buffer holds two frames");
        assert!(memory.send <= most.send, "the send buffer has room for the answers in flight");
        assert!(memory.in_flight <= most.in_flight, "there are slots for the NOTIFYs in flight");
        assert!(memory.reassembly <= most.reassembly, "fragments are joined up to the limit");
        assert!(self.in_flight.len() <= self.config.in_flight_max, "NOTIFYs wait at the limit");
        let largest = self.config.reassembly_max.max(self.config.max_frame_size as usize);
        let copies = self.in_flight.bytes();
        assert!(copies < self.config.deferred_max.saturating_add(largest), "one NOTIFY at most exceeds the limit");
        assert!(self.outbox.max_frame_size <= self.config.max_frame_size, "a frame has at most our size");
        assert!(
            self.outbox.max_frame_size >= MAX_FRAME_SIZE_MIN,
            "a frame has at least the size that SPOE.txt asks for"
        );
    }

    /// Every NOTIFY has one answer, is in flight, is handed out, or was cancelled by the end.
    fn check_counters(&self) {
        let stats = self.outbox.stats;
        let pending = self.in_flight.len() as u64 + u64::from(self.outbox.open.is_some());
        if self.negotiated().is_some() {
            assert_eq!(stats.notifies, stats.acks + pending, "every NOTIFY is answered once");
        } else {
            assert!(stats.notifies >= stats.acks + pending, "no ACK is without a NOTIFY");
        }
        let without_handler = stats.acks_unanswered + stats.acks_declined + stats.acks_expired;
        assert!(without_handler <= stats.acks, "an ACK is counted once as empty");
        assert!(stats.acks_cut <= stats.acks - without_handler, "only answers of handlers are cut");
        assert!(stats.notifies <= stats.frames_received, "a NOTIFY arrives in a frame");
        assert!(stats.frames_skipped <= stats.frames_received, "a frame is skipped after it has arrived");
        let aborted = stats.aborted_by_agent + stats.aborted_by_haproxy;
        assert!(aborted <= stats.frames_received, "an abort answers a frame, or is one");
        let is_over = |max: core::num::NonZeroU64| stats.notifies >= max.get();
        let serves_on = matches!(self.state, State::Running { .. });
        assert!(!serves_on || !self.config.notify_max.is_some_and(is_over), "the last NOTIFY begins a drain");
    }

    /// The time never runs backwards.
    fn check_times(&self) {
        assert!(self.last_active <= self.now, "activity is in the past");
        assert!(self.last_sent <= self.now, "the last write is in the past");
    }
}
