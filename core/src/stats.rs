//! What a connection has seen so far.

/// Counts since the connection was made; they never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Whole frames that were looked at, good or bad; not those that came behind the end.
    pub frames_received: u64,
    /// Whole NOTIFYs, of one frame or of many.
    pub notifies: u64,
    /// ACKs queued, of whatever kind but for those of aborted NOTIFYs.
    pub acks: u64,
    /// ACKs of NOTIFYs that nobody answered: dropped, or the handler failed.
    pub acks_unanswered: u64,
    /// ACKs that left empty because the NOTIFY came when the agent was on its way out.
    pub acks_declined: u64,
    /// ACKs that left empty because the answer was not there at its deadline.
    pub acks_expired: u64,
    /// ACKs that left without their last actions, which did not fit.
    pub acks_cut: u64,
    /// NOTIFYs that were aborted because their fragments grew above the limit.
    pub aborted_by_agent: u64,
    /// NOTIFYs that HAProxy aborted amid their fragments.
    pub aborted_by_haproxy: u64,
    /// Frames of unknown types, which were skipped.
    pub frames_skipped: u64,
}
