//! The send buffer and the other state that is needed to send an answer.

use crate::send::SendBuf;
use crate::stats::Stats;
use crate::wire::{Flags, FrameId, StreamId};

/// The send buffer, the NOTIFY to answer, the counters and the frame size.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) send: SendBuf,
    /// The NOTIFY that was handed out and is neither answered nor deferred yet, or the deferred one whose ACK is being
    /// written. If it is still set at the next call of the connection, it was dropped without an answer.
    pub(crate) open: Option<(StreamId, FrameId)>,
    pub(crate) stats: Stats,
    /// The largest allowed frame, in bytes without its length: our own limit before the HELLO, the negotiated one after
    /// it.
    pub(crate) max_frame_size: u32,
}

impl Outbox {
    pub(crate) fn new(send_memory_max: usize, max_frame_size: u32) -> Self {
        Self { send: SendBuf::new(send_memory_max), open: None, stats: Stats::default(), max_frame_size }
    }

    /// Sends an empty ACK for a NOTIFY that was dropped without an answer, or whose ACK was not finished.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if let Some(ids) = self.open.take() {
            self.empty_ack(ids);
            self.stats.acks_unanswered += 1;
        }
    }

    /// Answers a NOTIFY with an ACK without actions.
    #[cold]
    pub(crate) fn empty_ack(&mut self, (stream_id, frame_id): (StreamId, FrameId)) {
        debug_assert!(self.open.is_none(), "an ACK does not interrupt another one");
        self.send.empty_ack(Flags::FIN, stream_id, frame_id);
        self.stats.acks += 1;
    }
}
