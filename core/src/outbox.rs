//! What answers are written to.

use crate::send::SendBuf;
use crate::stats::Stats;
use crate::wire::{Flags, FrameId, StreamId};

/// The send buffer, and what an answer has to know besides.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) send: SendBuf,
    /// The NOTIFY that was handed out, until it is answered or deferred; or the deferred one whose ACK is being
    /// written. If it is still here at the next call, nobody will answer it any more.
    pub(crate) open: Option<(StreamId, FrameId)>,
    pub(crate) stats: Stats,
    /// The largest frame there may be: ours, and from the HELLO on the negotiated one.
    pub(crate) max_frame_size: u32,
}

impl Outbox {
    pub(crate) fn new(send_memory_max: usize, max_frame_size: u32) -> Self {
        Self { send: SendBuf::new(send_memory_max), open: None, stats: Stats::default(), max_frame_size }
    }

    /// Answers the NOTIFY that was handed out and forgotten, or whose ACK was left half-written.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if let Some(ids) = self.open.take() {
            self.empty_ack(ids);
            self.stats.acks_unanswered += 1;
        }
    }

    /// Answers a NOTIFY with no action.
    #[cold]
    pub(crate) fn empty_ack(&mut self, (stream_id, frame_id): (StreamId, FrameId)) {
        self.send.empty_ack(Flags::FIN, stream_id, frame_id);
        self.stats.acks += 1;
    }
}
