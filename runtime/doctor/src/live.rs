//! The counts of a running agent.

use std::time::Duration;

/// Counts of a running agent since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The time since the start, in whole seconds.
    pub uptime: Duration,
    /// NOTIFYs.
    pub notifies: u64,
    /// Health checks.
    pub health_checks: u64,
    /// Each message that it serves, and how many of them have arrived.
    pub messages: Vec<(String, u64)>,
    /// Messages and arguments whose strings held no address, and how many.
    pub without_address: Vec<(String, String, u64)>,
}
