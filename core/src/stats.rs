//! Counters of one connection.

/// Counts since the connection was created. They never decrease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
