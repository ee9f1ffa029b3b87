//! Counters of one connection.

/// Counts since the connection was created. They never decrease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Whole frames that were processed, valid or not. Frames that arrive after the conversation ended are not counted.
    pub frames_received: u64,
    /// Whole NOTIFYs received, in one frame or in fragments.
    pub notifies: u64,
    /// ACKs queued for sending, except those that abort a NOTIFY.
    pub acks: u64,
    /// ACKs sent empty because the caller dropped the NOTIFY, or an ACK that was not finished.
    pub acks_unanswered: u64,
    /// ACKs sent empty because the NOTIFY arrived during a drain.
    pub acks_declined: u64,
    /// ACKs sent empty because there was no answer at the deadline.
    pub acks_expired: u64,
    /// ACKs sent without their last actions, which did not fit into a frame.
    pub acks_cut: u64,
    /// NOTIFYs that the agent aborted because their fragments exceeded the limit.
    pub aborted_by_agent: u64,
    /// NOTIFYs that HAProxy aborted before their last fragment.
    pub aborted_by_haproxy: u64,
    /// Frames of unknown types that were skipped.
    pub frames_skipped: u64,
}

impl Stats {
    /// Returns the counts since `before`, which are those of the same connection at an earlier time.
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            frames_received: self.frames_received - before.frames_received,
            notifies: self.notifies - before.notifies,
            acks: self.acks - before.acks,
            acks_unanswered: self.acks_unanswered - before.acks_unanswered,
            acks_declined: self.acks_declined - before.acks_declined,
            acks_expired: self.acks_expired - before.acks_expired,
            acks_cut: self.acks_cut - before.acks_cut,
            aborted_by_agent: self.aborted_by_agent - before.aborted_by_agent,
            aborted_by_haproxy: self.aborted_by_haproxy - before.aborted_by_haproxy,
            frames_skipped: self.frames_skipped - before.frames_skipped,
        }
    }
}
