//! The state that all connections of an endpoint share.

use alloc::collections::BTreeSet;
use core::time::Duration;

use crate::buffers::Buffers;
use crate::endpoint::admission::Admission;
use crate::endpoint::{Drain, Key};
use crate::time::Instant;

/// The time after which a connection that has sent no NOTIFY may give way to another.
pub const UNUSED_TIME: Duration = Duration::from_secs(1);

/// The state that all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) admission: Admission,
    /// The buffers of the connection that has its turn.
    pub(super) spare: Buffers,
    /// The connections that have sent no NOTIFY, by the time at which they were accepted.
    pub(super) unused: BTreeSet<(Instant, u32)>,
    /// Set once, when the agent drains.
    pub(super) drain: Option<Drain>,
    /// Other connections wait for their turn.
    pub(super) is_contended: bool,
}

impl Shared {
    /// Notes that a connection which was unused since this time has sent a NOTIFY, or has ended.
    pub(super) fn forget_unused(&mut self, since: Option<Instant>, key: Key) {
        if let Some(since) = since {
            self.unused.remove(&(since, key.index));
        }
    }
}
