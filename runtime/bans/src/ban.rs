//! A ban in memory.

use std::borrow::Cow;
use std::sync::Arc;

use spoa_reputation::{ListId, Prefix};

use crate::clock::Moment;
use crate::record::{Action, Record, Timestamp};
use crate::texts::OriginId;

/// Identifies a ban: there is one per prefix, list and origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) prefix: Prefix,
    pub(crate) list: ListId,
    pub(crate) origin: OriginId,
}

impl Key {
    /// Returns the first key that a ban of this prefix can have.
    pub(crate) const fn first_of(prefix: Prefix) -> Self {
        Self { prefix, list: ListId::FIRST, origin: OriginId::FIRST }
    }

    /// Returns the last key that a ban of this prefix can have.
    pub(crate) const fn last_of(prefix: Prefix) -> Self {
        Self { prefix, list: ListId::LAST, origin: OriginId::LAST }
    }
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    pub(crate) score: Option<u8>,
    /// True if it was added by [`Action::Allow`].
    pub(crate) is_allowed: bool,
    pub(crate) created: Timestamp,
    /// The time that orders it among the changes of several agents: `created`, or later if a clock was set back.
    pub(crate) changed: Timestamp,
    pub(crate) end: Option<End>,
    pub(crate) reason: Arc<str>,
}

/// The end of a ban, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// In milliseconds since the system started: this one counts.
    pub(crate) boot: u64,
    /// The same on the clock of the day when it was set, for people and after a restart of the system.
    pub(crate) until: Timestamp,
}

impl End {
    /// Returns the end of a ban by the clock of the day. If that is not set yet after a start of the system, the ban lasts no longer
    /// than it was meant to.
    pub(crate) fn by_day(until: Timestamp, created: Timestamp, now: Moment) -> Self {
        let (left, whole) = (until.0.saturating_sub(now.wall), until.0.saturating_sub(created.0));
        Self { boot: now.boot.saturating_add(left.min(whole)), until }
    }
}

impl Ban {
    /// Returns the ban that a change adds; `created` and `changed` are its times.
    pub(crate) fn new(
        record: &Record<'_>,
        (created, changed): (Timestamp, Timestamp),
        end: Option<End>,
        reason: Arc<str>,
    ) -> Self {
        Self { score: record.score, is_allowed: record.action == Action::Allow, created, changed, end, reason }
    }

    /// Returns the change that adds it.
    pub(crate) fn record<'r>(&'r self, prefix: Prefix, list: &'r str, origin: &'r str) -> Record<'r> {
        Record {
            list: Some(Cow::Borrowed(list)),
            score: self.score,
            until: self.end.map(|end| end.until),
            created: Some(self.created),
            changed: Some(self.changed).filter(|changed| *changed != self.created),
            reason: Cow::Borrowed(&self.reason),
            origin: Some(Cow::Borrowed(origin)).filter(|origin| !origin.is_empty()),
            ..Record::new(if self.is_allowed { Action::Allow } else { Action::Ban }, prefix)
        }
    }

    /// True if replacing `other` by it changes nothing but the time when it was added.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let has_same_end = match (self.end, other.end) {
            // Both: the clock of the day may have been set in between. The two clocks are not read at exactly the same time.
            (Some(end), Some(other)) => end.until == other.until && end.boot.abs_diff(other.boot) < 1000,
            (end, other) => end.is_none() && other.is_none(),
        };
        (self.score, self.is_allowed) == (other.score, other.is_allowed) && self.reason == other.reason && has_same_end
    }

    /// Returns a key that orders the bans of several agents with the same [`Key`]: the last one counts. It has all that
    /// distinguishes them, so that all agents choose the same one.
    pub(crate) fn order(&self) -> (Timestamp, u64, bool, Option<u8>, &str) {
        let until = self.end.map_or(u64::MAX, |end| end.until.0);
        (self.changed, until, self.is_allowed, self.score, &self.reason)
    }
}
