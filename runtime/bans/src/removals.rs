//! The latest removals, so that agents that follow each other agree on what is removed.
//!
//! A change of another agent may arrive after the removal that followed it. Without the time of the removal it would add the ban
//! again, and agents that follow each other in a circle would add and remove it for ever.

use std::collections::{BTreeMap, VecDeque};

use crate::ban::Key;
use crate::record::Timestamp;

/// The number of removals that are kept.
const KEPT: usize = 10_000;

/// The times of the latest removals.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    times: BTreeMap<Key, Timestamp>,
    /// The keys in the order in which they are forgotten; one that was removed again is in it twice.
    order: VecDeque<(Key, Timestamp)>,
}

impl Removals {
    /// Notes that a ban was removed at this time. Returns false if a removal at that time or later is known.
    pub(crate) fn note(&mut self, key: Key, time: Timestamp) -> bool {
        if self.time(key).is_some_and(|known| known >= time) {
            return false;
        }
        self.times.insert(key, time);
        self.order.push_back((key, time));
        if self.order.len() > KEPT
            && let Some((oldest, time)) = self.order.pop_front()
            && self.time(oldest) == Some(time)
        {
            self.times.remove(&oldest);
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// Returns the bans that were removed, and when.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, Timestamp)> {
        self.times.iter().map(|(key, time)| (*key, *time))
    }

    /// Returns the time when a ban was removed, if that is known.
    pub(crate) fn time(&self, key: Key) -> Option<Timestamp> {
        self.times.get(&key).copied()
    }
}
