//! The counters of a connection.

/// Counters since the connection was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the counter of that name in the agent's statistics")]
pub struct Counts {
    pub frames_received: u64,
    pub notifies: u64,
    pub acks: u64,
    pub acks_unanswered: u64,
    pub acks_declined: u64,
    pub acks_expired: u64,
    pub acks_cut: u64,
    pub aborted_by_agent: u64,
    pub aborted_by_haproxy: u64,
    pub frames_skipped: u64,
}
